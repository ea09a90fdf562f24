# shellcheck shell=bash
# A full disk, under the vault and under the folder: a clear error, nothing lost, and it
# works again as soon as there is room. Needs root for two small disks.

[ "$(id -u)" = 0 ] || skip "needs root to mount a small disk"

step "the vault's disk cannot be written: a session that has no opening snapshot is not started"
folder=$(new_folder 'unprotected')
make_project "$folder"
expect 0 ringfence folder add "$folder"
echo "not in any snapshot" >"$folder/latest"
before=$(reference "$folder")
vault=$RINGFENCE_HOME/state/vaults/$(ringfence status --json | jq -r --arg folder "$folder" '.folders[] | select(.path == $folder) | .id')
[ -d "$vault" ] || die "no vault at $vault"
mount --bind "$vault" "$vault" || skip "no file system can be mounted here"
mount -o remount,bind,ro "$vault"
trap 'umount "$vault" 2>/dev/null || true' EXIT
expect 255 ringfence run --yes --machine "$MACHINE" --folder "$folder" -- sh -c 'echo > agent-was-here'
says "nothing was shared"
identical "$before" "$folder"
umount "$vault"
expect 0 ringfence run --yes --machine "$MACHINE" --folder "$folder" -- true

small="$WORK/small"
mkdir -p "$small"
mount -t tmpfs -o size=24m,mode=0755 none "$small" || skip "no file system can be mounted here"
export RINGFENCE_HOME="$small/h"
mkdir "$RINGFENCE_HOME"
cleanup() {
    ringfence daemon stop >/dev/null 2>&1 || true
    wait_for 20 "the disk is free" umount "$small"
    umount "$WORK/folders/tight" 2>/dev/null || true
}
trap cleanup EXIT

step "the vault's disk is full: the folder is not called protected, and no agent gets to write"
folder=$(new_folder 'big')
make_project "$folder"
head -c 40M /dev/urandom >"$folder/big"
before=$(reference "$folder")
expect_failure ringfence folder add "$folder"
grep -qi -e "space" -e "full" "$OUT" "$ERR" || die "the reason is not told: $(cat "$ERR")"
expect 255 ringfence run --yes --folder "$folder" -- sh -c 'echo > agent-was-here'
identical "$before" "$folder"
protection=$(ringfence status --json | jq -r --arg folder "$folder" '[.folders[] | select(.path == $folder) | .protection][0]')
equal "protection" "$protection" failing

step "with room it works, and nothing is left over from before"
mount -o remount,size=200m "$small"
expect 0 ringfence folder add "$folder"
expect 0 ringfence backup now "$folder"
expect 0 ringfence backup check "$folder"

step "the folder's disk is full in the middle of a restore: the error is told, and the restore can be repeated"
disk=$(new_folder 'tight')
mount -t tmpfs -o size=16m none "$disk"
# A folder below the mount point: a restore prepares its entries beside the folder, on the same file system.
tight=$disk/project
make_project "$tight"
head -c 8M /dev/urandom >"$tight/half"
before=$(reference "$tight")
expect 0 ringfence folder add "$tight"
expect 0 ringfence backup now "$tight"
rm "$tight/half"
head -c 14M /dev/urandom >"$tight/new" 2>/dev/null || true
expect_failure ringfence restore --yes --folder "$tight" half
grep -qi -e "space" -e "full" "$OUT" "$ERR" || die "the reason is not told: $(cat "$ERR")"
rm "$tight/new"
expect 0 ringfence restore --yes --folder "$tight" half
# The directory's own time is the host's business: it deleted a file in it.
touch -r "$before" "$tight"
identical "$before" "$tight"
