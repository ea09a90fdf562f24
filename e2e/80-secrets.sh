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
