# shellcheck shell=bash
# Old states as directories: read-only, gone after Ctrl-C, and what remains after a kill -9 is named. Boots no machine.

[ -w /dev/fuse ] || skip "/dev/fuse cannot be opened here"
folder=$(new_folder 'browsed')
make_project "$folder"
expect 0 ringfence folder add "$folder"
before=$(reference "$folder")
echo later >"$folder/later.txt"
expect 0 ringfence backup now "$folder"
at=$WORK/snapshots
# A scenario that fails leaves no mount behind.
trap '[ -z "$client" ] || kill -9 "$client" 2>/dev/null || true; umount -l "$at" 2>/dev/null || fusermount3 -uz "$at" 2>/dev/null || true' EXIT
mount_processes() { pgrep -f "^$(realpath "$RINGFENCE_BIN/ringfenced") mount" || true; }
# Content, kind, mode, owner, time; the mount shows no attributes, and each name of a file by itself.
same() { ! rsync -anc --delete --itemize-changes "$1/" "$2/" | grep -q .; }

step "every snapshot is a directory"
"$RINGFENCE_BIN/ringfence" backup mount "$folder" "$at" >"$OUT" 2>"$ERR" &
client=$!
wait_for 60 "it is mounted" test -L "$at/latest"
equal "directories" "$(find "$at" -mindepth 1 -maxdepth 1 -type d | wc -l)" 2
oldest=$(echo "$at"/*_"$(ringfence history "$folder" --json | jq -r '.snapshots[-1].id[:8]')")
same "$before" "$oldest" || die "the oldest differs: $(rsync -anc --delete --itemize-changes "$before/" "$oldest/")"
equal "the newest" "$(cat "$at/latest/later.txt")" later
[ ! -e "$oldest/later.txt" ] || die "the oldest has what came later"
expect_failure touch "$at/latest/new"
says 'Read-only'

step "it outlives the daemon and ends with Ctrl-C"
kill -9 "$(daemon_pid)"
equal "the newest without a daemon" "$(cat "$at/latest/later.txt")" later
kill -INT "$client"
wait "$client" || die "Ctrl-C is how it ends: $(cat "$ERR")"
client=
[ ! -e "$at" ] || die "the directory that it made is still there"
equal "processes that show snapshots" "$(mount_processes)" ""

step "it ends when the command is killed"
mkdir "$at"
"$RINGFENCE_BIN/ringfence" backup mount "$folder" "$at" >"$OUT" 2>"$ERR" &
client=$!
wait_for 60 "it is mounted" test -L "$at/latest"
kill -9 "$client"
wait "$client" || true
client=
wait_for 30 "it is unmounted" test ! -L "$at/latest"

step "what a killed process leaves is named, with the cure"
"$RINGFENCE_BIN/ringfence" backup mount "$folder" "$at" >"$OUT" 2>"$ERR" &
client=$!
wait_for 60 "it is mounted" test -L "$at/latest"
for process in $(mount_processes); do kill -9 "$process"; done
wait "$client" && die "the command did not notice"
client=
grep -q "died without unmounting" "$ERR" || die "what happened is not told: $(cat "$ERR")"
expect 6 ringfence backup mount "$folder" "$at"
says 'whose process was killed'
says "fusermount3 -u $at"
fusermount3 -u "$at" 2>/dev/null || umount "$at"

step "no agent is to see it"
mkdir "$folder/inside"
expect 4 ringfence backup mount "$folder" "$folder/inside"
rmdir "$folder/inside"
