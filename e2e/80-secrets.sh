# shellcheck shell=bash
# No secret is in a command line, an environment, a log or a file that others may read;
# and every process that reads an agent's bytes has next to no rights.

folder=$(new_folder 'quiet')
make_project "$folder"
"$RINGFENCE_BIN/ringfence" run --yes --machine "$MACHINE" --folder "$folder" -- sh -c 'echo > started; while [ ! -e stop ]; do sleep 0.3; done' >"$OUT" 2>"$ERR" &
client=$!
wait_for 120 "the session runs" test -e "$folder/started"

step "what must be nowhere: the vault's password, the private keys"
secrets="$WORK/secrets"
ringfence backup key "$folder" >"$secrets"
# Files come and go meanwhile, and one that is gone is no mistake.
{ find "$RINGFENCE_HOME/state" -type f -print0 | xargs -0 grep -slZ 'PRIVATE KEY' || true; } | while IFS= read -r -d '' key; do
    equal "mode of $key" "$(stat -c %a "$key")" 600
    # The middle of a key: its head is the same in all keys.
    sed '/-----/d' "$key" | sed -n '3p' >>"$secrets"
done
[ "$(grep -c . "$secrets")" -ge 2 ] || die "no private key was found: nothing would be checked"

step "no command line and no environment of any process holds one"
seen=0
for kind in serve qemu share keeper gateway session ssh; do
    mapfile -t pids < <(processes_of "$kind")
    [ "${#pids[@]}" -gt 0 ] || die "no process of kind $kind was found"
    for pid in "${pids[@]}"; do
        for file in cmdline environ; do
            if tr '\0' '\n' <"/proc/$pid/$file" | grep -qFf "$secrets"; then die "$file of $kind ($pid) holds a secret"; fi
        done
        seen=$((seen + 1))
    done
done
echo "$seen processes looked at"

step "no log holds one"
if find "$RINGFENCE_HOME/state" "$RINGFENCE_HOME/run" -name '*.log' -print0 | xargs -0 -r grep -lFf "$secrets"; then die "a log holds a secret"; fi

step "what reads an agent's bytes has no capability, no way to get one, and a filter on system calls"
for kind in qemu share keeper gateway; do
    for pid in $(processes_of "$kind"); do
        status="/proc/$pid/status"
        equal "NoNewPrivs of $kind" "$(awk '/^NoNewPrivs/ { print $2 }' "$status")" 1
        equal "Seccomp of $kind" "$(awk '/^Seccomp:/ { print $2 }' "$status")" 2
        # A keeper reads what the share sends, and keeps the user's files: it is the user.
        if [ "$(id -u)" = 0 ] && [ "$kind" != keeper ]; then
            [ "$(awk '/^Uid/ { print $2 }' "$status")" != 0 ] || die "$kind runs as root"
        fi
        if [ "$kind" != share ] && [ "$kind" != keeper ]; then
            equal "capabilities of $kind" "$(awk '/^CapEff/ { print $2 }' "$status")" 0000000000000000
        fi
    done
done

step "a share holds no right to open by handle, to load modules or to administer"
for pid in $(processes_of share); do
    effective=$((16#$(awk '/^CapEff/ { print $2 }' "/proc/$pid/status")))
    for capability in 2 16 21 39; do # DAC_READ_SEARCH, SYS_MODULE, SYS_ADMIN, BPF
        equal "capability $capability of the share" "$((effective >> capability & 1))" 0
    done
done

step "sockets are the user's alone"
equal "sockets that others may use" "$(find "$RINGFENCE_HOME/run" -type s -perm /007 | wc -l)" 0

touch "$folder/stop"
wait "$client"
client=

step "secrets of a profile: from a file, a command and the environment, in this session's environment only"
other=$(new_folder 'beside')
values="$WORK/values"
printf 'rf-value-%s\n' "$(head -c 9 /dev/urandom | od -An -tx1 | tr -d ' \n')"{-file,-command} >"$values"
install -m 600 <(sed -n 1p "$values") "$WORK/key-file"
mkdir -p "$RINGFENCE_HOME/config"
had=
if [ -e "$RINGFENCE_HOME/config/config.toml" ]; then had=$(cat "$RINGFENCE_HOME/config/config.toml"); fi
cat >>"$RINGFENCE_HOME/config/config.toml" <<CONFIG

[secret.from-file]
file = "$WORK/key-file"

[secret.from-command]
command = ["sed", "-n", "2p", "$values"]
as = "SECOND"

[profile.keyed]
secrets = ["from-file", "from-command"]

[[folder]]
path = "$other"
secrets = ["from-command"]
CONFIG
expect 0 ringfence profile show keyed
says "$WORK/key-file"
if grep -qaFf "$values" "$OUT" "$ERR"; then die "profile show tells a value"; fi
expect_either() { "$@" >"$OUT" 2>"$ERR" || true; }
expect_either ringfence doctor
says 'from-command can be had from the command `sed`'
if grep -qaFf "$values" "$OUT" "$ERR"; then die "doctor tells a value"; fi

rm -f "$folder/started" "$folder/stop"
# A daemon that logs all it can.
ringfence daemon stop
export RINGFENCE_LOG=trace
ringfence -vv run keyed --yes --machine "$MACHINE" --folder "$folder" -- sh -c 'printf "%s\n" "$FROM_FILE" "$SECOND" | sha256sum >seen; echo >started; while [ ! -e stop ]; do sleep 0.3; done' >"$WORK/keyed.out" 2>"$WORK/keyed.err" &
client=$!
wait_for 120 "the session runs" test -e "$folder/started"
equal "what the session has" "$(cat "$folder/seen")" "$(sha256sum <"$values")"

step "nowhere on the host: command lines, environments, logs, state, what -vv prints"
nowhere() {
    local file found
    for file in /proc/[0-9]*/cmdline /proc/[0-9]*/environ; do
        if { tr '\0' '\n' <"$file" | grep -qaFf "$values"; } 2>/dev/null; then die "$file holds a secret $1"; fi
    done
    # The machine's disk and memory are the machine's own: looked at from inside.
    found=$(find "$RINGFENCE_HOME" -type f ! -name '*.qcow2' ! -path '*/cache/*' -print0 | { xargs -0 -r grep -slaFf "$values" || true; })
    [ -z "$found" ] || die "a secret is in $found $1"
    if grep -qaFf "$values" "$WORK/keyed.out" "$WORK/keyed.err"; then die "what was printed holds a secret $1"; fi
    if command -v journalctl >/dev/null && journalctl --since -1h --no-pager 2>/dev/null | grep -qaFf "$values"; then die "the journal holds a secret $1"; fi
}
nowhere "while it runs"

step "inside, only the processes of that session have it"
cat >"$WORK/look-inside" <<'INSIDE'
pattern=$(cat)
printf '%s\n' "$pattern" | sudo grep -slaF -f - /proc/[0-9]*/environ | while read -r file; do
    sed 's|.*/|environ |' "${file%/environ}/cgroup"
done | sort -u
printf '%s\n' "$pattern" | sudo grep -slaF -f - /proc/[0-9]*/cmdline | sed 's/^/cmdline /'
# Files of the machine's own; a folder that is closed would answer nothing.
printf '%s\n' "$pattern" | sudo bash -c 'pattern=$(cat)
    mapfile -d "" -t files < <(find /run /tmp /var/log /var/tmp /etc /home -xdev -type f -print0)
    grep -slaFf <(printf "%s\n" "$pattern") -- "${files[@]}"' | sed 's/^/file /'
sudo journalctl --no-pager 2>/dev/null | grep -qaF "$(printf '%s\n' "$pattern")" && echo journal
env | grep -aF "$(printf '%s\n' "$pattern")" && echo own
true
INSIDE
look=$(new_folder 'look')
look_inside() { inside "$look" "$(cat "$WORK/look-inside")" <"$values"; }
session=$(ringfence session list --json | jq -r '.sessions[] | select(.profile == "keyed") | .id' | tail -n 1)
expect 0 look_inside
equal "who has it inside" "$(cat "$OUT")" "environ session-$session"

step "a folder whose rule leaves a secret out does not come beside a session that has it"
expect 254 ringfence run --yes --machine "$MACHINE" --folder "$other" -- true
says "secret from-file"

step "a daemon that was killed adopts the session and need not know"
kill -9 "$(daemon_pid)"
touch "$folder/stop"
wait "$client" || die "the session did not survive the daemon"
client=
expect 0 ringfence log --decisions --profile keyed --json
equal "decisions that survived it" "$(jq -r '[.decisions[].outcome] | join(" ")' "$OUT")" "admitted"
says 'carries the secrets from-file, from-command'

step "gone with the session, on both sides"
nowhere "after the run"
expect 0 look_inside
equal "who has it inside" "$(cat "$OUT")" ""

step "a secret that cannot be had: nothing runs, and the message has the name, the source and a command, not the value"
chmod 644 "$WORK/key-file"
expect 253 ringfence run keyed --yes --machine "$MACHINE" --folder "$folder" -- touch ran
says 'secret from-file cannot be had from the file'
says "chmod 600 $WORK/key-file"
[ ! -e "$folder/ran" ] || die "it ran"
if grep -qaFf "$values" "$OUT" "$ERR"; then die "the refusal tells a value"; fi
chmod 600 "$WORK/key-file"

step "the folder narrows: what its rule does not name is not carried"
expect 0 ringfence run keyed --yes --machine "$MACHINE" --folder "$other" -- sh -c 'echo "${FROM_FILE-none} ${SECOND:+some}"'
equal "what the session has" "$(cat "$OUT")" "none some"
printf '%s\n' "$had" >"$RINGFENCE_HOME/config/config.toml"
