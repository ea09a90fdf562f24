# shellcheck shell=bash
# Promise 2, before the damage is done: too many files at once, and the session stands still.

folder=$(new_folder 'archive')
mkdir "$folder/tree"
(cd "$folder/tree" && seq -f 'file-%05g' 10000 | split -l 1 -a 5 -d - file-)
equal "files of the tree" "$(find "$folder/tree" -type f | wc -l)" 10000
before=$(reference "$folder")
cd "$folder"
session_of() { ringfence session list --json | jq -r --arg f "$folder" '[.sessions[] | select(.folder_path == $f)][0].id'; }
left() { find "$folder/tree" -type f | wc -l; }

step "an agent removes ten thousand files: it is frozen before the thousandth is gone, and the code says so"
expect 250 inside "$folder" 'rm -rf tree; exit 3'
says "ringfence session undo"
remain=$(left)
[ "$remain" -gt 9000 ] || die "only $remain files are left"
[ "$remain" -lt 10000 ] || die "the guard stopped it before anything was lost"
session=$(session_of)
equal "state" "$(ringfence session show "$session" --json | jq -r .state)" frozen
equal "the problem's command" "$(fact "[.problems[] | select(.message | contains(\"$session\"))][0].command")" "ringfence session undo $session"
equal "how bad" "$(fact '.problems[0].severity')" error

step "nothing goes on while it stands, also after the daemon was killed and came back"
kill -9 "$(daemon_pid)"
sleep 2
equal "state" "$(ringfence session show "$session" --json | jq -r .state)" frozen
equal "files" "$(left)" "$remain"
expect 250 inside "$folder" true
says "$session"

step "undo ends it and brings every file back"
expect 0 ringfence session undo "$session" --dry-run
equal "state after a dry run" "$(ringfence session show "$session" --json | jq -r .state)" frozen
expect 0 ringfence session undo "$session" --yes
identical "$before" "$folder"
equal "state" "$(ringfence session show "$session" --json | jq -r .state)" ended
equal "problems" "$(fact "[.problems[] | select(.message | contains(\"$session\"))] | length")" 0

step "who resumes it lets it go on to its own end"
expect 250 inside "$folder" 'rm -rf tree; exit 3'
session=$(session_of)
expect 0 ringfence session resume "$session"
is_over() { [ "$(ringfence session show "$session" --json | jq -r .state)" = ended ]; }
wait_for 240 "the session is over" is_over
equal "exit code" "$(ringfence session show "$session" --json | jq -r .exit.code)" 3
[ ! -e "$folder/tree" ] || die "resumed, and $(left) files are left"
expect_failure ringfence session resume "$session"
expect 0 ringfence session undo "$session" --yes
identical "$before" "$folder"

step "stop ends it as it is"
expect 250 inside "$folder" 'for f in tree/*; do echo x > "$f"; done; exit 3'
session=$(session_of)
expect 0 ringfence session stop "$session"
kept=$(grep -L -x x tree/* | wc -l)
[ "$kept" -gt 9000 ] || die "only $kept files are as they were"
expect 0 ringfence undo --yes
identical "$before" "$folder"

step "where it is off nothing stops it; --yes does not turn it off"
expect 3 ringfence run --yes --guard off --machine "$MACHINE" -- sh -c 'find tree -name "*0" -delete; exit 3'
equal "files" "$(left)" 9000
expect 0 ringfence undo --yes
identical "$before" "$folder"
