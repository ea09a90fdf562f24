# shellcheck shell=bash
# Second copies on real servers, cut in the middle, and a folder back on a computer that has nothing but the key and a copy.
# Boots no machine; has a home of its own.

export RINGFENCE_HOME=$WORK/copies-home
servers=()
ended() {
    ringfence daemon stop >/dev/null 2>&1 || true
    for server in "${servers[@]}"; do kill "$server" 2>/dev/null || true; done
}
trap ended EXIT

rclone=$(dirname "$RINGFENCE_BIN")/test-tools/bin/rclone
[ -x "$rclone" ] || skip "rclone is not installed (scripts/setup-host --tests)"
[ -x /usr/sbin/sshd ] || skip "sshd is not installed (scripts/setup-host --tests)"

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

at=$WORK/copies
mkdir -p "$at"/{disk,sftp,s3/bucket,rest,ssh} "$RINGFENCE_HOME/config"
step "an S3 store, a restic REST server that only lets add, and an sshd"
s3=$(free_port) rest=$(free_port) sftp=$(free_port)
"$rclone" serve s3 --config /dev/null --addr "127.0.0.1:$s3" --auth-key 'e2e-access,e2e-hush' "$at/s3" >"$at/s3.log" 2>&1 &
servers+=("$!")
"$rclone" serve restic --config /dev/null --addr "127.0.0.1:$rest" --append-only --user ann --pass e2e-hush "$at/rest" >"$at/rest.log" 2>&1 &
servers+=("$!")
for key in host user; do ssh-keygen -q -t ed25519 -N '' -f "$at/ssh/$key"; done
printf '%s\n' "ListenAddress 127.0.0.1:$sftp" "HostKey $at/ssh/host" "AuthorizedKeysFile $at/ssh/user.pub" 'PidFile none' \
    'StrictModes no' 'UsePAM no' 'PasswordAuthentication no' 'Subsystem sftp internal-sftp' >"$at/ssh/sshd.conf"
printf '[127.0.0.1]:%s %s\n' "$sftp" "$(cat "$at/ssh/host.pub")" >"$at/ssh/known"
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd
/usr/sbin/sshd -D -e -f "$at/ssh/sshd.conf" >"$at/sshd.log" 2>&1 &
servers+=("$!")
for port in "$s3" "$rest" "$sftp"; do wait_for 30 "port $port answers" listens "$port"; done

user=$(id -un)
targets=("$at/disk" "sftp://$user@127.0.0.1:$sftp/$at/sftp" "s3:http://127.0.0.1:$s3/bucket" "rest:http://127.0.0.1:$rest/ann")
places=("$at/disk" "$at/sftp" "$at/s3/bucket" "$at/rest/ann")
{
    printf '[defaults.backup]\ncopy_rate = "6MiB"\ncopy = ['
    printf '"%s", ' "${targets[@]}"
    printf ']\n'
} >"$RINGFENCE_HOME/config/config.toml"
secrets=$RINGFENCE_HOME/config/copy-secrets.toml
cat >"$secrets" <<EOF
["${targets[1]}"]
identity = "$at/ssh/user"
known_hosts = "$at/ssh/known"
["${targets[2]}"]
access_key = "e2e-access"
secret_key = "e2e-hush"
["${targets[3]}"]
user = "ann"
password = "e2e-hush"
EOF

chmod 0600 "$secrets"

step "a folder whose backup has a key that must not be lost, which is said"
folder=$(new_folder 'copied')
make_project "$folder"
head -c 24000000 /dev/urandom >"$folder/big"
expect 0 ringfence folder add "$folder"
says 'nobody can read the backup'
copies() { fact ".folders[0].copies[] | $1"; }

step "the daemon is killed in the middle of copying"
some_pack_is_there() { [ -n "$(find "${places[@]}" -path '*/data/*' -type f -size +1M 2>/dev/null | head -n 1)" ]; }
ringfence backup copy "$folder" >/dev/null 2>&1 &
copying=$!
wait_for 60 "a pack is copied" some_pack_is_there
kill -9 "$(daemon_pid)"
wait "$copying" && die "the copy was complete before the daemon was killed"
[ "$(find "$at" -path '*/snapshots/*' -type f | wc -l)" -lt 4 ] || die "nothing was left to do"

step "the next daemon goes on by itself, until every copy is up to date"
all_made() { [ "$(copies 'select(.last != null and .behind == 0 and .error == null) | .target' | wc -l)" = 4 ]; }
wait_for 180 "every copy is made" all_made
id=$(fact '.folders[0].id')
equal "what status shows of targets" "$(copies .target | grep -c "$id")" 4

step "stock restic finds each of them whole, reading all data, with the same password"
export RESTIC_CACHE_DIR="$WORK/restic-cache"
RESTIC_PASSWORD=$(ringfence backup key "$folder")
export RESTIC_PASSWORD
for place in "${places[@]}"; do
    expect 0 restic -q -r "$place/$id" check --no-lock --read-data
done
expect 0 env AWS_ACCESS_KEY_ID=e2e-access AWS_SECRET_ACCESS_KEY=e2e-hush restic -q -r "${targets[2]}/$id" check --no-lock

step "a new snapshot follows by itself, and only what is new is sent"
packs=$(find "$at/disk" -path '*/data/*' -type f | wc -l)
echo more >"$folder/notes.txt"
expect 0 ringfence backup now "$folder"
wait_for 60 "the new snapshot is copied" all_made
equal "snapshots in the copy" "$(find "$at/disk/$id/snapshots" -type f | wc -l)" 2
[ "$(find "$at/disk" -path '*/data/*' -type f | wc -l)" -le $((packs + 2)) ] || die "it was all sent again"

step "no login and no key is in a log, a status, a state file or a command line"
{
    ringfence status --json
    ringfence backup status --json
    cat "$RINGFENCE_HOME/state/logs/daemon.log"
    find "$RINGFENCE_HOME/state/copies" -type f -exec cat {} +
    for process in /proc/[0-9]*/cmdline; do
        case $(tr '\0' ' ' <"$process" 2>/dev/null) in *rclone*) ;; *ringfence* | *ssh*) cat "$process" ;; esac
    done 2>/dev/null
} >"$WORK/told"
for secret in e2e-hush "$RESTIC_PASSWORD"; do
    if grep -qaF -e "$secret" "$WORK/told"; then die "a secret is told"; fi
done

step "a file of logins that others can read is not used"
chmod 0644 "$secrets"
expect 3 ringfence backup copy "$folder"
says 'chmod 600'
chmod 0600 "$secrets"

step "the recovery sheet"
ringfence backup key --sheet "$folder" >"$WORK/sheet"
grep -qF "$RESTIC_PASSWORD" "$WORK/sheet" || die "the sheet has no key"
reference=$(reference "$folder")
ringfence daemon stop >/dev/null

step "another computer: nothing but the sheet, the logins and the copies"
logins=$(cat "$secrets")
for number in 0 1 2 3; do
    export RINGFENCE_HOME=$WORK/fresh-$number
    mkdir -p "$RINGFENCE_HOME/config"
    printf '%s\n' "$logins" >"$RINGFENCE_HOME/config/copy-secrets.toml"
    chmod 0600 "$RINGFENCE_HOME/config/copy-secrets.toml"
    back=$WORK/folders/back-$number
    expect 6 ringfence backup recover "${targets[number]}/$id" --to "$back" --key-file - --protect <<<'aaaaa-aaaaa-aaaaa-aaaaa-aaaaa-aaaaa-aaaaa-aaaaa'
    says 'does not open the copy'
    [ ! -e "$back" ] || die "a wrong key made something"
    expect 0 ringfence backup recover "${targets[number]}/$id" --to "$back" --key-file "$WORK/sheet" --protect
    identical "$reference" "$back"
    equal "old snapshots in the history" "$(ringfence history "$back" --json | jq '.snapshots | length >= 2')" true
    expect 0 ringfence backup check --read-data "$back"
    ringfence daemon stop >/dev/null
done
