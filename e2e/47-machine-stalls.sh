# shellcheck shell=bash
# A machine that stands still: because it does not answer, and because the host's disk is
# full under its own. The user hears of it, nothing is lost, and it works again afterwards.

folder=$(new_folder 'stalled')
make_project "$folder"
before=$(reference "$folder")
expect 0 inside "$folder" true

step "a machine that does not answer: the run gives up, says so, and the folder is as it was"
victim=$(the_qemu "$RINGFENCE_HOME" "$MACHINE")
[ -n "$victim" ] || die "the machine's process was not found"
kill -STOP "$victim"
trap 'kill -CONT "$victim" 2>/dev/null || true' EXIT
code=0
inside "$folder" 'echo > agent-was-here' >"$OUT" 2>"$ERR" || code=$?
equal "exit code" "$code" 255
says "$MACHINE"
says "ringfence machine"
identical "$before" "$folder"

step "status answers all the same, and nobody is left waiting"
expect 0 ringfence status
equal "sessions that go on" "$(fact '[.sessions[] | select(.state != "ended" and .state != "failed")] | length')" 0

step "when it answers again it works again"
kill -CONT "$victim"
trap - EXIT
expect 0 inside "$folder" 'echo back > back'
rm "$folder/back"
touch -r "$before" "$folder"
identical "$before" "$folder"

[ "$(id -u)" = 0 ] || {
    not_checked "a full disk under a machine (needs root to mount a small disk)"
    exit 0
}
small="$WORK/tight-host"
mkdir -p "$small"
mount -t tmpfs -o size=600m,mode=0755 none "$small" || {
    not_checked "a full disk under a machine (no file system can be mounted here)"
    exit 0
}
warm_home=$RINGFENCE_HOME
export RINGFENCE_HOME="$small/h"
mkdir -m 0755 "$RINGFENCE_HOME"
ln -s "$(realpath "$warm_home/cache")" "$RINGFENCE_HOME/cache"
cleanup() {
    rm -f "$small/filler"
    "$E2E/clean"
    wait_for 30 "the disk is free" umount "$small"
}
trap cleanup EXIT
tight() { ringfence run --yes --machine tight --folder "$folder" -- sh -c "$1"; }
state_of_tight() { fact '.machines[] | select(.name == "tight") | .state'; }
is_held() { [ "$(state_of_tight)" = held ]; }
is_running() { [ "$(state_of_tight)" = running ]; }

step "the host's disk is full while a machine boots: said plainly, and nothing is shared"
fill() { cat /dev/zero >"$small/filler" 2>/dev/null || true; }
tight 'echo > agent-was-here' >"$OUT" 2>"$ERR" &
client=$!
# Its disk is the last thing that is made before it boots.
wait_for 60 "the machine is made" test -e "$RINGFENCE_HOME/state/machines/tight/disk.qcow2"
fill
code=0
wait "$client" || code=$?
client=
equal "exit code" "$code" 255
# Either the machine's disk or the vault is the first to find no room.
grep -qE 'cannot grow|space|full' "$OUT" "$ERR" || die "the reason is not told: $(cat "$ERR")"
identical "$before" "$folder"
equal "sessions that go on" "$(fact '[.sessions[] | select(.state != "ended" and .state != "failed")] | length')" 0

step "with room the next run works"
rm "$small/filler"
expect 0 tight 'echo back > back'
rm "$folder/back"
touch -r "$before" "$folder"

step "it fills up in the middle of a run: the machine stands still, and goes on when there is room"
tight 'echo > begun; head -c 200M /dev/zero | tr "\0" x > /var/tmp/large; sync; stat -c %s /var/tmp/large > size' >"$WORK/tight.out" 2>"$WORK/tight.err" &
run=$!
wait_for 60 "the agent works" test -e "$folder/begun"
fill
wait_for 120 "the machine is held" is_held
expect 0 ringfence status
says "cannot grow"
rm "$small/filler"
wait_for 60 "the machine goes on" is_running
code=0
wait "$run" || code=$?
equal "exit code of the agent" "$code" 0
equal "what it wrote" "$(cat "$folder/size")" $((200 * 1024 * 1024))
