# shellcheck shell=bash
# Promise 5: a folder is seen only by whom its rule allows, also through what a machine has
# kept of it, and through the folder around it. Two machines: one for each folder.

config=$RINGFENCE_HOME/config/config.toml
mkdir -p "$(dirname "$config")"
[ ! -e "$config" ] || cp "$config" "$WORK/config.before"
secret=$(new_folder 'secret')
open=$(new_folder 'open')
echo "under an agreement" >"$secret/plan.txt"
mkdir -p "$open/inner/deep" "$open/docs"
echo "not for everybody" >"$open/inner/deep/offer.txt"
echo "read me" >"$open/docs/index"
ln "$open/inner/deep/offer.txt" "$open/also-the-offer"
{
    [ ! -e "$config" ] || cat "$config"
    printf '\n[profile.e2e-own]\nlabels = ["self-hosted"]\n[profile.e2e-other]\n'
    printf '\n[[folder]]\npath = "%s"\nprofiles = ["label:self-hosted"]\n' "$secret"
    # Nobody ever registers these two: the rules alone hold.
    printf '\n[[folder]]\npath = "%s/inner"\nprofiles = ["label:self-hosted"]\n' "$open"
    printf '\n[[folder]]\npath = "%s/docs"\naccess = "ro"\n' "$open"
} >"$config.new"
mv "$config.new" "$config"
run() { ringfence run --yes --machine "$1" --profile "$2" --folder "$3" -- sh -c "$4"; }

step "a profile that the label admits leaves a copy on its machine's disk"
expect 0 run e2e-a e2e-own "$secret" 'cp plan.txt /var/tmp/copy && sync && cat plan.txt'
says "under an agreement"

step "another profile may not see the folder, and not run where a copy may lie"
expect 254 run e2e-b e2e-other "$secret" 'cat plan.txt'
says "its rule allows label:self-hosted"
expect 254 run e2e-a e2e-other "$open" 'cat /var/tmp/copy'
says "it has seen $secret, which profile e2e-other may not see"
if grep -q "under an agreement" "$OUT"; then die "the copy was read"; fi
expect 254 ringfence exec e2e-a -- cat /var/tmp/copy
says "may not see"

step "without a name another machine is made, and the run and the status say why"
ringfence machine stop e2e-a >/dev/null 2>&1
expect 0 ringfence run --yes --profile e2e-other --folder "$open" -- sh -c 'cat /var/tmp/copy 2>/dev/null; ls; cat docs/index'
says "not in machine e2e-a: it has seen $secret"
says "read me"
if grep -q "under an agreement" "$OUT"; then die "the copy was read"; fi
expect 0 ringfence status
says "not in machine e2e-a: it has seen $secret, which profile e2e-other may not see"
machine=$(fact '[.machines[] | select(.because != null) | .name] | last')
case $machine in null | e2e-a) die "no other machine: '$machine'" ;; esac

step "what lies in the folder and has a stricter rule is not there, and cannot be told from what never was"
before=$(reference "$open")
expect 0 run "$machine" e2e-other "$open" '
    for name in inner never; do
        for what in "ls -d $name" "stat $name" "cd $name" "cat $name/deep/offer.txt" "rmdir $name" "mv $name x" "rm $name"; do
            sudo sh -c "$what" 2>&1 | sed "s/$name/NAME/g"
        done >"/tmp/$name"
    done
    cmp /tmp/inner /tmp/never && [ "$(grep -c "No such file" /tmp/never)" = 6 ] && echo answered alike
    ls -a; find . | sort; cat also-the-offer
    exit 0'
if grep -qE "inner|not for everybody" "$OUT"; then die "it was seen: $(cat "$OUT")"; fi
says "answered alike"
expect_failure run "$machine" e2e-other "$open" 'sudo mkdir inner || sudo ln -s /etc inner'
expect_failure run "$machine" e2e-other "$open" 'sudo sh -c "echo x >> docs/index" || sudo touch docs/new || sudo mv docs elsewhere'
identical "$before" "$open"

step "who runs in it is judged by its own rule"
expect 254 run "$machine" e2e-other "$open/inner/deep" 'cat offer.txt'
says "its rule allows label:self-hosted"

step "a rule that becomes stricter stops the session that has more"
ringfence run --yes --machine "$machine" --profile e2e-other --folder "$open" -- \
    sh -c 'echo > started; while sleep 0.2; do date >> log; done' >"$OUT" 2>"$ERR" &
client=$!
wait_for 120 "the session runs" test -e "$open/started"
id=$(fact '.sessions[] | select(.state == "running") | .id')
printf '\n[[folder]]\npath = "%s"\nprofiles = ["e2e-own"]\n' "$open" >>"$config"
frozen() { [ "$(fact ".sessions[] | select(.id == \"$id\") | .state")" = frozen ]; }
# shellcheck disable=SC2034 # The command ends now, with 250: `wait_for` is not to mind.
client=''
wait_for 30 "it is frozen" frozen
expect 0 ringfence status
says "the rules became stricter"
size=$(stat -c %s "$open/log")
sleep 1
equal "what it wrote since" "$(stat -c %s "$open/log")" "$size"
expect 0 ringfence session undo "$id" --yes
identical "$before" "$open"

step "what was asked for is gone with it"
expect 0 ringfence machine delete e2e-a --yes
expect 0 ringfence machine delete "$machine" --yes
if [ -e "$WORK/config.before" ]; then cp "$WORK/config.before" "$config"; else rm "$config"; fi
