# shellcheck shell=bash
# What was said to be protected is there after a power cut. A Ringfence runs inside a machine,
# on file systems of the machine's own; as soon as it says that a change is protected, the
# machine's QEMU is killed. What its guest had only in memory is lost, as when the power goes.

readonly VICTIM=power
rounds=1
[ -z "${RINGFENCE_SOAK:-}" ] || rounds=20

cleanup() { ringfence machine delete --yes "$VICTIM" >/dev/null 2>&1 || true; }
trap cleanup EXIT
guest() { ringfence exec "$VICTIM" -- "$@"; }
# put NAME MODE: standard input becomes a file in the machine.
put() { guest sudo sh -c 'cat > "$1" && chmod "$2" "$1"' sh "$1" "$2"; }

step "a machine with a Ringfence of its own, and two file systems"
expect 0 ringfence machine create "$VICTIM"
expect 0 ringfence machine start "$VICTIM"
for binary in ringfence ringfenced; do
    strip -o "$WORK/$binary" "$RINGFENCE_BIN/$binary"
    put "/usr/local/bin/$binary" 0755 <"$WORK/$binary"
    rm "$WORK/$binary"
done
put /usr/local/bin/power-cut 0755 <"$E2E/power_cut.py"
truncate -s 400M "$WORK/other.img"
mkfs.btrfs -q "$WORK/other.img"
gzip -1 <"$WORK/other.img" | guest sudo sh -c 'gzip -d | dd of=/var/other.img conv=sparse bs=1M status=none; sync'
rm "$WORK/other.img"
# As a person sets up a disk: mounted at boot, the same after every cut.
printf '/var/other.img /var/other btrfs loop 0 0\n' | guest sudo sh -c 'mkdir -p /var/other && cat >> /etc/fstab'
expect 0 guest sudo sh -c 'mount /var/other && mkdir -p /var/root /var/other/place && chown agent: /var/root /var/other/place && sync'

# cut DIR: changes, waits for the promise, cuts the power, and remembers what was promised.
declare -A promised=()
cut() {
    local line=
    # The command's end is of no interest: its machine is killed under it.
    coproc CHANGE { guest power-cut change "$1" 2>"$ERR"; }
    # shellcheck disable=SC2153 # set by coproc
    read -r -t 180 line <&"${CHANGE[0]}" || die "nothing was protected: $(tail -n 5 "$ERR")"
    kill -9 "$(the_qemu "$RINGFENCE_HOME" "$VICTIM")"
    wait "$CHANGE_PID" || true
    promised[$1]+=" $line"
}

for ((round = 1; round <= rounds; round++)); do
    for place in /var/root /var/other/place; do
        step "cut $round on $(guest stat -f -c %T "$place"): all that was promised so far is there"
        cut "$place"
        expect 0 ringfence machine start "$VICTIM"
        # shellcheck disable=SC2086 # words
        expect 0 guest power-cut verify "$place" ${promised[$place]}
        says "verified $round"
    done
done
