# shellcheck shell=bash
# A session is as good as a local command: bytes, codes, signals, terminal.

folder=$(new_folder 'pipes')
cd "$folder"
mkdir -p deep/er
run=("$RINGFENCE_BIN/ringfence" run --yes --machine "$MACHINE" --folder "$folder")

step "bytes go through both ways, unchanged"
mebibytes=24
[ -z "${RINGFENCE_SOAK:-}" ] || mebibytes=1024
head -c "${mebibytes}M" /dev/urandom >"$WORK/bytes"
"${run[@]}" -- cat <"$WORK/bytes" 2>"$ERR" | cmp - "$WORK/bytes" || die "bytes were changed or lost"
rm "$WORK/bytes"

step "standard output and standard error stay apart"
"${run[@]}" -- sh -c 'echo out; echo err >&2' >"$OUT" 2>"$ERR"
equal "standard output" "$(cat "$OUT")" out
grep -qx err "$ERR" || die "standard error did not come through"

step "exit codes come through, also those that Ringfence uses itself"
for code in 0 1 130 250 255; do
    expect "$code" "${run[@]}" --exit-file "$WORK/exit" -- sh -c "exit $code"
    grep -q "$code" "$WORK/exit" || die "the exit file does not say $code"
done

step "the command starts in the same directory, relative to the folder"
(cd deep/er && "${run[@]}" -- pwd) >"$OUT" 2>"$ERR"
case $(cat "$OUT") in */deep/er) ;; *) die "it started in $(cat "$OUT")" ;; esac

step "a signal reaches the command, and nothing of it is left"
"${run[@]}" -- sh -c 'trap "echo stopped > stopped; exit 3" TERM; echo > started; while :; do sleep 0.2; done' >"$OUT" 2>"$ERR" &
client=$!
wait_for 60 "the command runs" test -e "$folder/started"
kill -TERM "$client"
code=0
wait "$client" || code=$?
client=
equal "exit code after the signal" "$code" 3
[ -e "$folder/stopped" ] || die "the command did not get the signal"

step "with a terminal the command has one too: size, colours, Ctrl-C"
terminal() { tmux -S "$WORK/tmux" "$@"; }
terminal -f /dev/null new-session -d -x 91 -y 33 -s pipes \
    "env RINGFENCE_HOME=$RINGFENCE_HOME $RINGFENCE_BIN/ringfence run --yes --machine $MACHINE --folder $folder -- sh -c 'stty size > size; echo > ready; cat'; echo \"code \$?\" > $WORK/tmux-code; sleep 60"
wait_for 60 "the command has its terminal" test -e "$folder/ready"
equal "size of the terminal" "$(cat "$folder/size")" "33 91"
terminal send-keys -t pipes C-c
wait_for 60 "Ctrl-C ends it" test -s "$WORK/tmux-code"
equal "after Ctrl-C" "$(cat "$WORK/tmux-code")" "code 130"
terminal kill-server
