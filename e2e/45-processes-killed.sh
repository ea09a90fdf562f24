# shellcheck shell=bash
# Promise 7: gateway, share or QEMU are killed in the middle of a run. Each time the
# user hears of it, the folder is saved, and the next run works.

agent='i=0; while [ ! -e stop ]; do i=$((i + 1)); echo $i > tick || exit 1; sleep 0.3; done; rm -f stop; exit 0'
start_agent() {
    "$RINGFENCE_BIN/ringfence" run --yes --machine "$MACHINE" --folder "$folder" -- sh -c "$agent" >"$OUT" 2>"$ERR" &
    client=$!
    wait_for 120 "the agent works" test -s "$folder/tick"
}
ends() {
    local code=0
    wait_for 180 "the command line ends" sh -c "! kill -0 $client"
    wait "$client" || code=$?
    client=
    printf '%s\n' "$code" >"$WORK/code"
}
# another KIND PID: a process of that kind runs that is not PID.
another() { processes_of "$1" | grep -vqx "$2"; }
sessions_over() { [ "$(fact '[.sessions[] | select(.state != "ended" and .state != "failed")] | length')" = 0 ]; }

for kind in gateway share qemu; do
    folder=$(new_folder "killed-$kind")
    make_project "$folder"
    before=$(reference "$folder")

    step "$kind is killed"
    start_agent
    mapfile -t victims < <(processes_of "$kind")
    [ "${#victims[@]}" -gt 0 ] || die "no $kind process was found"
    kill -9 "${victims[@]}"
    if [ "$kind" = gateway ]; then
        step "the machine goes on and gets a new gateway"
        # Its connections drop, and with them the session; the machine is not to blame.
        running=$client client=
        wait_for 60 "a new gateway runs" another gateway "${victims[0]}"
        equal "state of the machine" "$(fact ".machines[] | select(.name == \"$MACHINE\") | .state")" running
        client=$running
    fi
    ends
    [ "$(cat "$WORK/code")" != 0 ] || die "the loss of $kind was reported as success"
    [ -s "$ERR" ] || die "the loss of $kind was not explained"
    wait_for 180 "no session is left over" sessions_over

    step "the next run works, and nothing is lost"
    expect 0 inside "$folder" 'echo again > again'
    rm -f "$folder/tick" "$folder/again"
    # Files came and went in it: its own time is not the question here.
    touch -r "$before" "$folder"
    identical "$before" "$folder"
done
