# shellcheck shell=bash
# What a session leaves for git to run by itself is held back until somebody approves it; the rest of its work is there.

folder=$(new_folder 'checked')
mkdir "$folder/project"
git_in "$folder/project" init -q
echo "one" >"$folder/project/file"
git_in "$folder/project" add -A
git_in "$folder/project" commit -qm first
expect 0 ringfence folder add "$folder"
cd "$folder"
proof=$WORK/evil-ran
# An ordinary hour of git on the host: whatever is in force runs.
# shellcheck disable=SC2317
git_on_host() {
    for place in project nested; do
        git_in "$folder/$place" status -s
        git_in "$folder/$place" commit -q --allow-empty -m "by the host"
        git_in "$folder/$place" evil || true
    done
}

held_count() { ringfence status --json | jq --arg path "$folder" '.folders[] | select(.path == $path) | .held_count'; }

step "inside: commits, an alias, a hook, fsmonitor, a nested repository; git there is content"
expect 0 inside "$folder" '
    set -e
    git config --global user.name A; git config --global user.email a@example.org
    cd project
    echo two >> file; git commit -qam "by the agent"
    git config remote.origin.url https://example.org/x
    git config alias.evil "!touch $1"
    git config core.fsmonitor "touch $1; false"
    printf "#!/bin/sh\ntouch %s\n" "$1" > .git/hooks/post-commit
    chmod +x .git/hooks/post-commit
    git init -q ../nested; cd ../nested
    echo three > file; git add file; git commit -qm "in the nested one"
    git config alias.evil "!touch $1"
    cp ../project/.git/hooks/post-commit .git/hooks/post-commit' "$proof"
says "Held back"
says "project/.git/hooks/post-commit (git hook"
says "nested/.git/hooks/post-commit (git hook"
says "core.fsmonitor"
says "alias.evil"
says "ringfence folder approve"

step "on the host none of it is in force, and the commits are there"
equal "the agent's commit" "$(git_in project log -1 --format=%s)" "by the agent"
equal "the nested commit" "$(git_in nested log -1 --format=%s)" "in the nested one"
git_in project fsck --full --strict
if [ -e project/.git/hooks/post-commit ] || [ -e nested/.git/hooks/post-commit ]; then die "a hook is in the folder"; fi
if git_in project config core.fsmonitor || git_in project config alias.evil; then die "a dangerous key is in force"; fi
git_on_host >/dev/null 2>&1
if [ -e "$proof" ]; then die "the host ran what the agent left"; fi
equal "the problems" "$(fact '[.problems[] | select(.message | test("held back until"))] | length')" 1
equal "held in status" "$(held_count)" 4
session=$(ringfence session list --json | jq -r '.sessions[0].id')
equal "held in the session" "$(ringfence session show "$session" --json | jq '[.exit_check.hazards[] | select(.state == "held")] | length')" 4

step "a killed daemon forgets nothing"
kill -9 "$(daemon_pid)"
equal "held" "$(held_count)" 4

step "approved, after a look, it is in force"
expect 4 ringfence folder approve "$folder"
expect 0 ringfence folder approve "$folder" --dry-run
says "project/.git/hooks/post-commit"
expect 0 ringfence folder approve "$folder" --yes
equal "held" "$(held_count)" 0
git_on_host >/dev/null 2>&1
[ -e "$proof" ] || die "what was approved is not in force"
rm "$proof"

step "the same again is no hazard any more; undo takes a held hook along"
expect 0 inside "$folder" 'cd project; echo more >> file; git commit -qam more'
if grep -qa "Held back" "$ERR"; then die "what was approved is held: $(cat "$ERR")"; fi
expect 0 inside "$folder" 'echo "touch evil" > project/.git/hooks/pre-push'
says "project/.git/hooks/pre-push"
expect 0 ringfence undo --yes
equal "held" "$(held_count)" 0

step "warn only tells, hold holds everything, off does not look and is seen"
expect 0 ringfence folder set "$folder" --exit-check warn
expect 0 inside "$folder" 'echo "touch evil" > project/.git/hooks/pre-push'
says "the host runs it by itself"
[ -e project/.git/hooks/pre-push ] || die "it was held although it was only to be told"
expect 0 ringfence folder set "$folder" --exit-check hold
expect 0 inside "$folder" 'echo "all: ;" > project/Makefile; echo x >> project/file'
[ ! -e project/Makefile ] || die "it was not held"
equal "the last line" "$(tail -n 1 project/file)" x
expect 0 ringfence folder approve "$folder" --drop --yes
expect 0 ringfence folder set "$folder" --exit-check off
expect 0 inside "$folder" 'echo "touch evil" > project/.git/hooks/pre-merge-commit'
if grep -qa "pre-merge-commit" "$ERR"; then die "it was looked at"; fi
equal "seen in status" "$(fact '[.problems[] | select(.message | test("nothing looks at"))] | length')" 1
expect_failure ringfence folder set "$folder" --exit-check on
