# shellcheck shell=bash
# Old states of a folder can be listed, looked at and brought back, whole or by path.

folder=$(new_folder 'diary')
make_project "$folder"
before=$(reference "$folder")
cd "$folder"

step "a session's states are in the history, with profile and session"
expect 0 inside "$folder" 'echo second > notes.txt; rm -rf build'
after=$(reference "$folder")
ringfence history --json >"$OUT"
jq -e '[.snapshots[] | .kind] | index("opening") and index("closing")' "$OUT" >/dev/null || die "opening and closing snapshot are not both listed"
opening=$(jq -r '[.snapshots[] | select(.kind == "opening")][0].id' "$OUT")
equal "profile of the opening snapshot" "$(jq -r --arg id "$opening" '.snapshots[] | select(.id == $id) | .profile' "$OUT")" shell

step "a file of an old state is printed, byte for byte"
ringfence show "$opening" build/cache/object | cmp - "$before/build/cache/object" || die "show printed something else"

step "a dry run says what it would do and does nothing"
expect 0 ringfence restore --dry-run --at "$opening"
says "notes.txt"
identical "$after" "$folder"

step "one path comes back, the rest stays"
expect 0 ringfence restore --yes --at "$opening" notes.txt
cmp "$before/notes.txt" "$folder/notes.txt" || die "notes.txt did not come back"
[ ! -e "$folder/build" ] || die "more than the named path came back"

step "a state is put into another directory"
expect 0 ringfence restore --yes --at "$opening" --to "$WORK/folders/diary-elsewhere"
identical "$before" "$WORK/folders/diary-elsewhere"

step "a snapshot that does not exist is a clear error, and nothing changes"
now=$(reference "$folder")
expect_failure ringfence restore --yes --at 0000000000
identical "$now" "$folder"
