# shellcheck shell=bash
# Promise 3: whatever an agent does to a file, the state before it can be had, also between two snapshots.

folder=$(new_folder 'moments')
make_project "$folder"
cd "$folder"
printf 'to be edited\n' >edited.txt
printf 'one name\n' >one
printf 'another name\n' >another
git_in "$folder" checkout -q -b side
printf 'loose\n' | git_in "$folder" hash-object -w --stdin >/dev/null
unguarded() {
    ringfence run --yes --guard off --machine "$MACHINE" --folder "$folder" -- sh -c "$1"
}
session_of() { ringfence session list --json | jq -r --arg f "$folder" '[.sessions[] | select(.folder_path == $f)][0].id'; }

step "undo takes back whatever destroys files"
before=$(reference "$folder")
for act in \
    'git -c safe.directory="*" clean -fdxq' \
    'find . -type f -not -path "./.git/*" -delete' \
    'shred -u notes.txt .env' \
    'sed -i s/edited/gone/ edited.txt' \
    'mv one another' \
    'truncate -s0 edited.txt build/cache/object' \
    'git -c safe.directory="*" checkout -qf' \
    'git -c safe.directory="*" -c gc.reflogExpire=now gc -q --prune=now' \
    ': > edited.txt; > one'; do
    step "  $act"
    expect 0 unguarded "$act"
    [ -n "$(differences "$before" "$folder")" ] || die "it changed nothing"
    expect 0 ringfence undo --yes
    identical "$before" "$folder"
done

step "a file that is overwritten three times, and comes and goes, within one session"
expect 0 inside "$folder" '
    printf v1 > three; sleep 1.2; printf v2 > three; sleep 1.2; printf "v3, longer" > three; sleep 1.2
    mkdir later; printf x > later/made; rm .env; printf more >> notes.txt; sleep 1.2
    rm three; mv edited.txt moved.txt'
session=$(session_of)
ringfence session kept "$session" --json >"$OUT"
# A little before the operation that destroyed a version.
before_loss() {
    local time micros
    time=$(jq -r --arg p "$1" --argjson n "$2" '[.versions[] | select(.path == $p)][$n].time' "$OUT")
    micros=$(($(date -d "$time" +%s%N) / 1000 - 400000))
    date -u -d "@${micros%??????}.${micros: -6}" +%Y-%m-%dT%H:%M:%S.%NZ
}
first=$(before_loss three 0)
second=$(before_loss three 1)
third=$(before_loss three 2)
at() { ringfence restore --at "$1" --to "$2" >/dev/null 2>&1 </dev/null --yes || die "no restore to $1"; }
check_moments() {
    rm -rf "$WORK"/at-*
    at "$first" "$WORK/at-1"
    at "$second" "$WORK/at-2"
    at "$third" "$WORK/at-3"
    equal "the first version" "$(cat "$WORK/at-1/three")" v1
    equal "the second version" "$(cat "$WORK/at-2/three")" v2
    equal "the third version" "$(cat "$WORK/at-3/three")" 'v3, longer'
    for n in 1 2; do
        equal "what was removed later" "$(cat "$WORK/at-$n/.env")" PASSWORD=1
        [ ! -e "$WORK/at-$n/later" ] || die "it was made later"
    done
    [ ! -e "$WORK/at-3/.env" ] || die "it was gone by then"
    equal "what was made" "$(cat "$WORK/at-3/later/made")" x
    equal "what was added to" "$(cat "$WORK/at-3/notes.txt")" 'the only copy'$'\n''more'
    equal "what was renamed" "$(cat "$WORK/at-3/edited.txt")" 'to be edited'
    [ ! -e "$WORK/at-3/moved.txt" ] || die "it had its old name"
}
check_moments

step "what the session did, operation by operation, and what came of it"
expect 0 ringfence diff --session "$session" --json
jq -e 'any(.operations[]; .path == "three" and .act == "overwritten") and any(.operations[]; .path == "edited.txt" and .other.path == "moved.txt")
    and any(.diff.changes[]; .path == ".env" and .change == "deleted") and .complete' "$OUT" >/dev/null || die "the session is not told"
expect 0 ringfence diff --session "$session" --stat
says overwritten
ringfence session kept "$session" --json >"$OUT"

step "the plan says where each path comes from"
expect 0 ringfence restore --at "$second" --dry-run -v
says "before it was overwritten"
expect 0 ringfence restore --at "$second" --dry-run --json
jq -e '.moment != null and any(.sources[]; .path == "three" and (.source | contains("kept at")))' "$OUT" >/dev/null || die "no source"
number=$(ringfence session kept "$session" --json | jq -r '[.versions[] | select(.path == "three")][1].number')
expect 0 ringfence restore --at "before operation $number of session $session" --yes three
equal "right before the operation" "$(cat "$folder/three")" v2
rm "$folder/three"

step "what was kept is in the vault by now, and nowhere else; everything is found there"
kept=$(find "$RINGFENCE_HOME/state/kept" -mindepth 1 -maxdepth 1 -exec test -e '{}'/"$session" ';' -print)
is_released() { [ -z "$(find "$RINGFENCE_HOME/state/kept" -mindepth 2 -maxdepth 2 -name "$session*")" ]; }
wait_for 120 "it is released${kept:+ from $kept}" is_released
ringfence session kept "$session" --json >"$OUT"
check_moments
number=$(jq -r '[.versions[] | select(.path == "three")][2].number' "$OUT")
equal "a version" "$(ringfence session kept "$session" "$number")" 'v3, longer'
ringfence history --json | jq -e 'all(.snapshots[]; .kind != "kept")' >/dev/null || die "history lists what was kept"
expect 0 ringfence backup check

step "stock restic reads it as well"
if command -v restic >/dev/null; then
    vault=$(fact ".folders[] | select(.path == \"$folder\") | .vault")
    RESTIC_PASSWORD=$(ringfence backup key "$folder") && export RESTIC_PASSWORD
    restic -q -r "$vault" --no-lock --no-cache restore "latest" --tag "kept,session=$session" --target "$WORK/kept-by-restic"
    equal "by restic" "$(cat "$WORK"/kept-by-restic/files/three.~"$number"~ 2>/dev/null || find "$WORK/kept-by-restic" -name "three.~$number~" -exec cat '{}' ';')" 'v3, longer'
    unset RESTIC_PASSWORD
else
    not_checked "stock restic: it is not installed"
fi

step "only the deletions are taken back, only one file, and what no snapshot has"
expect 0 ringfence undo "$session" --deletions --yes
equal "what was removed" "$(cat "$folder/.env")" PASSWORD=1
equal "what was added to stays" "$(cat "$folder/notes.txt")" 'the only copy'$'\n''more'
[ -e "$folder/moved.txt" ] || die "a new name is no deletion"
expect 0 ringfence undo "$session" notes.txt --yes
equal "only this file" "$(cat "$folder/notes.txt")" 'the only copy'
[ -e "$folder/later/made" ] || die "another path was touched"
expect 0 ringfence undelete --yes three
equal "what no snapshot has" "$(cat "$folder/three")" 'v3, longer'
