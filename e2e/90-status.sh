# shellcheck shell=bash
# Promise 6: the truth is visible.

folder=$(new_folder 'seen')
make_project "$folder"
"$RINGFENCE_BIN/ringfence" run --yes --machine "$MACHINE" --folder "$folder" -- sh -c 'echo > started; while [ ! -e stop ]; do sleep 0.3; done' >"$OUT" 2>"$ERR" &
client=$!
wait_for 120 "the session runs" test -e "$folder/started"

step "machine, share, session and the age of the last snapshot are in the status"
ringfence status --json >"$WORK/status.json"
check() { jq -e --arg folder "$folder" --arg machine "$MACHINE" "$1" "$WORK/status.json" >/dev/null || die "not so: $1"; }
check '.schema | type == "number"'
check '.engine | .name == "qemu" and (.accelerator == "kvm" or .accelerator == "tcg")'
check '.machines[] | select(.name == $machine) | .state == "running" and .memory_bytes > 0 and .cpu_seconds > 0 and .ssh_port > 0'
check '.machines[] | select(.name == $machine).shares[] | select(.path == $folder) | .mode == "read-write"'
check '.sessions[] | select(.folder_path == $folder) | .state == "running" and .id != "" and .machine == $machine'
check '.folders[] | select(.path == $folder) | .protection == "protected" and .last_snapshot.age_seconds < 600 and (.health.findings | length) == 0'
check '.problems | type == "array"'

step "the table tells the same"
expect 0 ringfence status
says "$MACHINE"
says running
says "$folder"

step "by itself, the daemon comes to know a snapshot as good"
verified() { ringfence status --json | jq -e --arg folder "$folder" '.folders[] | select(.path == $folder) | .health.verified.id != null'; }
wait_for 180 "a snapshot is verified" verified

step "afterwards the session is over"
touch "$folder/stop"
wait "$client"
client=
ringfence status --json >"$WORK/status.json"
check '[.sessions[] | select(.folder_path == $folder)][0] | .state == "ended" and .exit.code == 0 and .closing_snapshot != null'

step "doctor looks at this host and finds nothing broken"
ringfence doctor --json >"$WORK/doctor.json" || die "doctor found something broken: $(jq -c '.findings[] | select(.verdict == "bad")' "$WORK/doctor.json")"
