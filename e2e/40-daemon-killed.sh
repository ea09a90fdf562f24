# shellcheck shell=bash
# Promise 7: it comes back by itself. The daemon, then the command line, are killed in
# the middle of a run; the agent goes on, and the folder is saved all the same.

folder=$(new_folder 'survivor')
make_project "$folder"
agent='i=0; while [ ! -e stop ]; do i=$((i + 1)); echo $i > tick; sleep 0.3; done; rm stop; echo finished > result; exit 9'
ticks_on() {
    local seen
    seen=$(cat "$folder/tick")
    wait_for 60 "the agent works on after $seen" sh -c "test \"\$(cat '$folder/tick')\" -gt $seen"
}
session_fact() { ringfence session list --json | jq -r --arg folder "$folder" "[.sessions[] | select(.folder_path == \$folder)][0] | $1"; }
session_is() { [ "$(session_fact .state)" = "$1" ]; }

step "kill -9 of the daemon: the agent goes on, the next daemon finds it"
"$RINGFENCE_BIN/ringfence" run --yes --machine "$MACHINE" --folder "$folder" -- sh -c "$agent" >"$OUT" 2>"$ERR" &
client=$!
wait_for 90 "the agent works" test -s "$folder/tick"
old=$(daemon_pid)
kill -9 "$old"
ticks_on
session_is running || die "the session is '$(session_fact .state)' after the daemon's death"
[ "$(daemon_pid)" != "$old" ] || die "the daemon was not killed"

step "the command line is still attached and gets the agent's exit code"
touch "$folder/stop"
code=0
wait "$client" || code=$?
client=
equal "exit code" "$code" 9
wait_for 60 "the session is over" session_is ended
[ "$(session_fact .closing_snapshot)" != null ] || die "no closing snapshot was taken"

step "the closing snapshot holds what the agent wrote after the daemon's death"
equal "the agent's result" "$(cd "$folder" && ringfence show "$(session_fact .closing_snapshot)" result)" finished

step "kill -9 of the command line: the agent goes on, and can be stopped"
rm "$folder/tick"
"$RINGFENCE_BIN/ringfence" run --yes --machine "$MACHINE" --folder "$folder" -- sh -c "$agent" >"$OUT" 2>"$ERR" &
client=$!
wait_for 90 "the agent works" test -s "$folder/tick"
kill -9 "$client"
wait "$client" || true
client=
ticks_on
expect 0 ringfence session stop "$(session_fact .id)"
wait_for 60 "the session is over" session_is ended
quiet=$(cat "$folder/tick")
[ "$(session_fact .closing_snapshot)" != null ] || die "no closing snapshot was taken"
equal "ticks after the end" "$(cat "$folder/tick")" "$quiet"

step "both at once, and nobody looks: the closing snapshot is taken when the daemon is back"
rm "$folder/tick"
"$RINGFENCE_BIN/ringfence" run --yes --machine "$MACHINE" --folder "$folder" -- sh -c "$agent" >"$OUT" 2>"$ERR" &
client=$!
wait_for 90 "the agent works" test -s "$folder/tick"
kill -9 "$client" "$(daemon_pid)"
wait "$client" || true
client=
ticks_on
touch "$folder/stop"
wait_for 60 "the agent ended" test ! -e "$folder/stop"
wait_for 90 "the session is over" session_is ended
[ "$(session_fact .closing_snapshot)" != null ] || die "no closing snapshot was taken"
expect 0 ringfence undo --yes --folder "$folder"
