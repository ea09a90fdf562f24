# shellcheck shell=bash
# Promise 9: backups are plain restic repositories. Promise 3: no machine reaches them.

folder=$(new_folder 'kept')
make_project "$folder"
before=$(reference "$folder")
expect 0 inside "$folder" 'echo changed > notes.txt'

vault=$(ringfence backup status --json | jq -r --arg path "$folder" '.folders[] | select(.path == $path) | .vault')
[ -d "$vault" ] || die "the vault '$vault' is no directory"
export RESTIC_PASSWORD RESTIC_CACHE_DIR="$WORK/restic-cache"
RESTIC_PASSWORD=$(ringfence backup key "$folder")

step "stock restic finds nothing wrong, reading all data"
expect 0 restic -q -r "$vault" check --read-data

step "stock restic restores the state before the session"
opening=$(ringfence history "$folder" --json | jq -r '[.snapshots[] | select(.kind == "opening")][0].id')
expect 0 restic -q -r "$vault" restore "$opening" --target "$WORK/by-restic"
root=$(dirname "$(find "$WORK/by-restic" -name with\ space.txt)")
# restic keeps nothing of the directory that it was pointed at itself, only of what is in it.
touch -r "$before" "$root"
chmod --reference="$before" "$root"
identical "$before" "$root"

step "another password does not open it, an empty one least of all"
expect_failure env RESTIC_PASSWORD=wrong restic -q -r "$vault" snapshots
expect_failure env RESTIC_PASSWORD= restic -q -r "$vault" snapshots

step "key and vault are the user's alone"
equal "mode of the key" "$(stat -c %a "$RINGFENCE_HOME"/state/keys/*.key | sort -u)" 600
for directory in "$RINGFENCE_HOME/state/keys" "$RINGFENCE_HOME/state/vaults"; do
    case $(stat -c %a "$directory") in *00) ;; *) die "others may enter $directory" ;; esac
done

step "inside, neither is to be found"
expect 0 ringfence exec "$MACHINE" -- sudo find / -xdev -name "$(basename "$vault")*" -not -path '/proc/*'
equal "what was found" "$(cat "$OUT")" ""

step "ringfence checks it too, and finds the damage that is done to it"
expect 0 ringfence backup check "$folder"
pack=$(find "$vault/data" -type f -printf '%s %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2)
copy="$WORK/pack"
cp -a "$pack" "$copy"
chmod u+w "$pack"
printf 'damage' | dd of="$pack" bs=1 seek=100 conv=notrunc status=none
expect_failure ringfence backup check --read-data "$folder"
says pack-damaged

step "the daemon looks by itself: within one interval the status is red and names the snapshots"
cp -a "$copy" "$pack"
expect 0 ringfence backup check --read-data "$folder"
mkdir -p "$RINGFENCE_HOME/config"
printf '[defaults.backup]\ncheck = "30s"\n' >>"$RINGFENCE_HOME/config/config.toml"
health() { ringfence backup status --json | jq -e --arg path "$folder" ".folders[] | select(.path == \$path) | $1"; }
wait_for 180 "the newest snapshot is verified" health '.health.verified != null and .protection == "protected"'
chmod u+w "$pack"
printf 'damage' | dd of="$pack" bs=1 seek=100 conv=notrunc status=none
wait_for 180 "the status is red" health '.protection == "damaged" and (.health.findings[0].snapshots | length) > 0'
expect 0 ringfence status
says "its vault is damaged"

step "a repair moves the damaged pack aside, and what the folder still has comes back"
ringfence backup check --repair --read-data --yes --json "$folder" >"$WORK/repair.json" || true
jq -e '.applied and (.steps | length) > 0' "$WORK/repair.json" >/dev/null || die "no repair: $(head -c 2000 "$WORK/repair.json")"
[ -n "$(ls "$vault/set-aside")" ] || die "nothing was moved aside"

step "the pack that was kept makes it whole again, for restic too"
mkdir -p "$(dirname "$pack")"
cp -a "$copy" "$pack"
ringfence backup check --repair --read-data --yes "$folder" >"$OUT" 2>"$ERR" || true
expect 0 ringfence backup check --read-data "$folder"
expect 0 restic -q -r "$vault" check --read-data
rm "$RINGFENCE_HOME/config/config.toml"
