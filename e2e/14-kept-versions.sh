# shellcheck shell=bash
# What a session makes and destroys between two snapshots is kept, byte for byte.

folder=$(new_folder 'attic')
make_project "$folder"
cd "$folder"
session_of() { ringfence session list --json | jq -r --arg f "$folder" '[.sessions[] | select(.folder_path == $f)][0].id'; }

step "an agent makes files and destroys them in every usual way"
expect 0 inside "$folder" '
    printf one > made; printf two > made; rm made
    printf draft > a; printf final > b; mv b a
    printf 1234567890 > cut; truncate -s 3 cut
    printf secret > shredded; shred -u shredded
    echo first > log; echo second >> log; rm log
    mkdir -p modules/x; for n in 1 2 3 4 5; do echo "module $n" > modules/x/$n; done; rm -rf modules'
session=$(session_of)

step "each version is listed with its path and the way it was lost"
ringfence session kept "$session" --json >"$OUT"
lost() { jq -e --arg p "$1" --arg l "$2" --argjson b "$3" 'any(.versions[]; .path == $p and .loss == $l and .bytes == $b)' "$OUT" >/dev/null || die "not kept: $1 $2 $3"; }
lost made overwritten 3
lost made removed 3
lost a replaced 5
lost cut overwritten 10
lost log extended 6
lost log removed 13
for n in 1 2 3 4 5; do lost "modules/x/$n" removed 9; done

step "and its content comes back, byte for byte"
content() { ringfence session kept "$session" "$(jq -r --arg p "$1" --arg l "$2" '[.versions[] | select(.path == $p and .loss == $l)][0].number' "$OUT")"; }
equal "the first version" "$(content made overwritten)" one
equal "the second version" "$(content made removed)" two
equal "what was renamed over" "$(content a replaced)" draft
equal "what was cut off" "$(content cut overwritten)" 1234567890
equal "what was only added to" "$(content log extended)" first
jq -e 'any(.versions[]; .bytes == 6 and (.path | test("^(shredded|0+)$")))' "$OUT" >/dev/null || die "what was shredded is gone"

step "no share shows what is kept, and its files are the user's alone"
kept=$RINGFENCE_HOME/state/kept
equal "rights" "$(stat -c %a "$kept" | sort -u)" 700
expect_failure ringfence folder add "$kept"

step "what the opening snapshot has is not kept again"
sleep 1.1
expect 0 inside "$folder" 'rm .env; echo more >> notes.txt; printf x > notes.txt'
equal "versions of the second session" "$(ringfence session kept "$(session_of)" --json | jq '[.versions[] | select(.path == ".env")] | length')" 0
expect 0 ringfence undo --yes
equal "the file" "$(cat "$folder/.env")" PASSWORD=1

step "where the keeper was killed, the next session has another one"
keeper=$(processes_of keeper | sort -n | tail -n 1)
kill -9 "$keeper"
expect 0 inside "$folder" 'printf precious > p; rm p'
ringfence session kept "$(session_of)" --json >"$OUT"
lost p removed 8
