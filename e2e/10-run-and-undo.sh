# shellcheck shell=bash
# Promise 2: nothing an agent does to a folder is final.

folder=$(new_folder 'shop')
make_project "$folder"
entries=$(files_in "$folder")
before=$(reference "$folder")
inode=$(stat -c %i "$folder")
cd "$folder"

step "an agent destroys the project; its exit code comes through"
expect 7 ringfence run --yes --machine "$MACHINE" -- sh -c 'rm -rf ./* ./.[!.]*; exit 7'
equal "entries left on the host" "$(files_in "$folder")" 0
destroyed=$(reference "$folder")

step "the difference counts what is gone"
expect 0 ringfence diff --stat
says "notes.txt"
equal "deleted entries" "$(ringfence diff --json | jq '[.changes[] | select(.change == "deleted")] | length')" "$entries"

step "undo brings back every byte, mode, link and time, in the very same directory"
expect 0 ringfence undo --yes --json
overwritten=$(jq -r .before "$OUT")
identical "$before" "$folder"
equal "inode of the folder" "$(stat -c %i "$folder")" "$inode"

step "the undo can be undone"
expect 0 ringfence restore --yes --at "$overwritten"
identical "$destroyed" "$folder"
expect 0 ringfence undo --yes
identical "$before" "$folder"

step "a session that changes nothing leaves nothing changed"
expect 0 inside "$folder" true
identical "$before" "$folder"

step "an agent that edits, commits and adds is undone as well"
expect 0 inside "$folder" '
    git config user.name Agent; git config user.email agent@example.org
    echo "// edited" >> src/main.rs; echo new > added.txt; mv notes.txt moved.txt
    chmod 0700 Makefile; ln -sf /etc/passwd link; rm with\ space.txt; git add -A; git commit -qm agent'
[ -e "$folder/added.txt" ] || die "what the agent wrote is not on the host"
expect 0 ringfence diff --stat
says "added.txt"
expect 0 ringfence undo --yes
identical "$before" "$folder"
