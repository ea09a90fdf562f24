# shellcheck shell=bash
# Two of anything at once: sessions in one folder, command lines, machines of one name.

folder=$(new_folder 'pair')
make_project "$folder"
before=$(reference "$folder")
expect 0 inside "$folder" true

step "two sessions in one folder at once: both work, each with its own exit code"
inside "$folder" 'echo > one; while [ ! -e two ]; do sleep 0.2; done; exit 11' >"$OUT" 2>"$ERR" &
first=$!
inside "$folder" 'echo > two; while [ ! -e one ]; do sleep 0.2; done; exit 12' >"$WORK/out2" 2>"$WORK/err2" &
second=$!
code=0
wait "$first" || code=$?
equal "exit code of the first" "$code" 11
code=0
wait "$second" || code=$?
equal "exit code of the second" "$code" 12

step "the end of one takes nothing from the other"
inside "$folder" 'echo > long; while [ ! -e stop ]; do echo x >> long || exit 1; sleep 0.2; done' >"$OUT" 2>"$ERR" &
client=$!
wait_for 60 "the long one works" test -s "$folder/long"
expect 0 inside "$folder" 'echo short > short'
size=$(stat -c %s "$folder/long")
wait_for 60 "the long one works on" sh -c "test \"\$(stat -c %s '$folder/long')\" -gt $size"
touch "$folder/stop"
wait "$client"
client=

step "what both did is undone, one after the other"
rm "$folder/stop"
expect 0 ringfence undo --yes --all --folder "$folder"
opening=$(ringfence history "$folder" --json | jq -r '[.snapshots[] | select(.kind == "opening")][-1].id')
expect 0 ringfence restore --yes --folder "$folder" --at "$opening"
identical "$before" "$folder"

step "many command lines at once get their answers"
for number in 1 2 3 4 5 6 7 8; do
    ringfence status --json >"$WORK/status-$number" 2>&1 &
done
wait
for number in 1 2 3 4 5 6 7 8; do
    jq -e .schema "$WORK/status-$number" >/dev/null || die "a status failed: $(cat "$WORK/status-$number")"
done

step "a machine's name is given once"
expect_failure ringfence machine create "$MACHINE"
says "$MACHINE"
