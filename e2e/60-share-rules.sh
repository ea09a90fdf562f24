# shellcheck shell=bash
# Promise 1, files: what root in a machine can do to a folder, and what it cannot do
# through it.

folder=$(new_folder 'guarded')
outside="$WORK/outside"
mkdir -p "$outside"
echo "not for the agent" >"$outside/secret"
chmod 0644 "$outside/secret"
ln -s "$outside/secret" "$folder/way-out"
ln -s ../../outside/secret "$folder/way-up"
echo mine >"$folder/mine"
if [ "$(id -u)" = 0 ]; then chown -R 1234:1234 "$folder"; fi
owner=$(stat -c %u:%g "$folder")

step "what is made inside belongs to the owner of the folder, whoever makes it"
expect 0 inside "$folder" 'echo a > by-agent; mkdir d; sudo sh -c "echo r > by-root; mkdir d/by-root"'
for name in by-agent by-root d d/by-root; do
    equal "owner of $name" "$(stat -c %u:%g "$folder/$name")" "$owner"
done

step "chown answers success and changes nothing on the host"
expect 0 inside "$folder" 'sudo chown 0:0 by-agent && sudo chown 4321 by-root'
equal "owner of by-agent" "$(stat -c %u:%g "$folder/by-agent")" "$owner"

# only_not_here SCRIPT: root in the machine may do it on the machine's own disk, and not in the folder.
only_not_here() {
    expect 0 inside "$folder" 'cd "$(mktemp -d -p /var/tmp)" && cp /bin/true tool && eval "$1"' "$1"
    expect_failure inside "$folder" "$1"
}

step "no set-uid, no set-gid on files, no device node"
expect 0 inside "$folder" 'cp /bin/true tool'
only_not_here 'sudo chmod u+s tool'
only_not_here 'sudo chmod g+s tool'
only_not_here 'sudo install -m 4755 /bin/true planted'
equal "files with such bits" "$(find "$folder" -type f -perm /6000 | wc -l)" 0
only_not_here 'sudo mknod disk b 8 0'
only_not_here 'sudo mknod mem c 1 1'
equal "device nodes" "$(find "$folder" -type b -o -type c | wc -l)" 0

step "no security attribute"
only_not_here 'sudo python3 -c "import os; os.setxattr(\"tool\", \"trusted.x\", b\"1\")"'
only_not_here 'sudo python3 -c "import os, struct; os.setxattr(\"tool\", \"security.capability\", struct.pack(\"<5I\", 0x2000001, 1 << 13, 0, 0, 0))"'

step "links that lead out end in the machine, not on the host"
expect_failure inside "$folder" 'sudo cat way-out way-up'
if grep -q "not for the agent" "$OUT"; then die "a link led out"; fi
expect 0 inside "$folder" "ln -s '$outside/secret' made-inside; sudo sh -c 'mkdir -p $outside; echo overwritten > made-inside || true'"
equal "the file outside" "$(cat "$outside/secret")" "not for the agent"

step "a hard link to something outside cannot be made"
expect_failure inside "$folder" "ln $outside/secret hard || ln /etc/hostname hard"

step "a folder that is read-only is so for root inside as well"
readonly_folder=$(new_folder 'look-only')
echo original >"$readonly_folder/file"
expect 0 ringfence folder add "$readonly_folder"
expect 0 ringfence folder set "$readonly_folder" --access ro
expect 0 inside "$readonly_folder" 'cat file'
says original
expect_failure inside "$readonly_folder" 'sudo sh -c "echo changed > file"'
expect_failure inside "$readonly_folder" 'sudo mount -o remount,rw . ; sudo rm file'
expect_failure inside "$readonly_folder" 'sudo touch new'
equal "the file" "$(cat "$readonly_folder/file")" original

step "after the session the share answers nothing"
expect_failure ringfence exec "$MACHINE" -- sudo cat "$folder/mine"

step "a folder is not seen by a profile that its rule leaves out, in no machine"
expect 0 ringfence folder set "$folder" --profiles claude
expect 254 inside "$folder" 'cat mine'
says claude
if grep -q mine "$OUT"; then die "the folder was shown"; fi

step "a machine that has seen it serves that profile nowhere else either"
other=$(new_folder 'other')
expect 254 inside "$other" true
says guarded
says "may not see"

step "nor may it carry what it has seen into a folder that more profiles see: that is only to be read"
expect 0 ringfence folder set "$folder" --profiles claude,shell
echo kept >"$other/file"
expect 0 inside "$other" 'cat file; ! sudo sh -c "echo carried > file" && ! sudo touch new'
says "carried over"
equal "the file" "$(cat "$other/file")" kept
# The other scenarios use this machine: from here on every profile may see everything in it.
every=$(ringfence profile list --json | jq -r '[.profiles[].name] | join(",")')
expect 0 ringfence folder set "$folder" --profiles "$every"
expect 0 inside "$other" true
