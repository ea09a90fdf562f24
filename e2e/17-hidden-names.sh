# shellcheck shell=bash
# Rules on names: what a folder hides does not exist inside, what it protects cannot be changed there.

folder=$(new_folder 'locked')
make_project "$folder"
mkdir -p "$folder/config/deep"
echo "deep secret" >"$folder/config/deep/.env"
echo "a hook" >"$folder/.git/hooks/pre-commit"
ln "$folder/.env" "$folder/looks-harmless"
before=$(reference "$folder")
expect 0 ringfence folder add "$folder"
expect 0 ringfence folder set "$folder" --hide .env --hide '/build/**' --protect '/.git/hooks/**' --protect run.sh
expect_failure ringfence folder set "$folder" --hide '[a'
cd "$folder"
# none_works COMMANDS…: root inside tries each of them, and none may succeed.
none_works() {
    expect 0 inside "$folder" 'for way; do if sudo sh -c "$way"; then echo "WORKED: $way"; fi; done' "$@"
    if grep -a WORKED "$OUT" >&2; then die "something is not refused"; fi
}

step "hidden names are not to be seen, listed, reached through links, or found by another way to the folder"
expect 0 inside "$folder" 'ls -aR . ; find . -name ".e*"; ls build; cat link >/dev/null; sudo ls -aR /proc/self/root"$PWD"'
if grep -qaE "\.env|looks-harmless|cache" "$OUT"; then die "a hidden name is listed: $(cat "$OUT")"; fi
none_works 'cat .env' 'cat looks-harmless' 'cat config/deep/.env' 'cat /proc/self/cwd/.env' 'cat /proc/1/root"$PWD"/.env' \
    'ln -s "$PWD/.env" /tmp/way && cat /tmp/way' 'cat build/cache/object' 'stat .env' 'cp -a .env /tmp/taken'
if grep -qaE "PASSWORD|deep secret" "$OUT"; then die "a hidden file was read"; fi

step "nor can they be made, moved, replaced or linked"
none_works 'touch .env' 'mkdir config/deep/.env' 'ln run.sh .env' 'ln -s x .env' 'mv notes.txt .env' 'mv .env x' 'rm .env' \
    'echo x > build/new' 'mv config elsewhere' 'mv build elsewhere' 'rm -r config'

step "protected names can be read and not changed"
expect 0 inside "$folder" 'cat .git/hooks/pre-commit run.sh'
says "a hook"
none_works 'echo x >> .git/hooks/pre-commit' 'echo x > .git/hooks/post-commit' 'rm run.sh' 'mv run.sh x' 'mv notes.txt run.sh' \
    'truncate -s 0 run.sh' 'chmod 0777 run.sh' 'ln run.sh y' 'mv .git git' 'mv .git/hooks x'

step "on the host all of it is as it was, and the rest can be changed as ever"
identical "$before" "$folder"
expect 0 inside "$folder" 'echo more >> notes.txt; git add -A; git -c user.name=A -c user.email=a@example.org commit -qm inside --no-verify'
equal "the secret" "$(cat .env)" PASSWORD=1

step "the rules are taken back by name, and hold for the next session"
expect 0 ringfence folder set "$folder" --hide none --protect none
expect 0 inside "$folder" 'cat .env && echo x >> run.sh'
says "PASSWORD=1"
