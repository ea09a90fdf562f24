# shellcheck shell=bash
# The vault's key in a desktop's keyring: a real one, in a session bus of its own. Boots no machine.

for program in dbus-run-session gnome-keyring-daemon secret-tool dbus-send; do
    command -v "$program" >/dev/null || skip "$program is not installed (scripts/setup-host --tests)"
done
export RINGFENCE_HOME=$WORK/keyring-home HOME=$WORK/keyring-user
mkdir -p "$RINGFENCE_HOME" "$HOME"
folder=$(new_folder 'kept-twice')
make_project "$folder"

# Runs the rest of the scenario inside a session with an unlocked keyring, or a locked one.
in_session() {
    local unlock=$1
    shift
    env -u DBUS_SESSION_BUS_ADDRESS dbus-run-session -- bash -euo pipefail -c '
        unlock=$1; shift
        . "$E2E/lib.sh"
        trap "ringfence daemon stop >/dev/null 2>&1 || true" EXIT
        if [ "$unlock" = yes ]; then printf hush | gnome-keyring-daemon --unlock --components=secrets >/dev/null; fi
        "$@"' bash "$unlock" "$@" || die "in the session: $*"
}
# in_keyring FOLDER ID
in_keyring() { [ "$(secret-tool lookup application ringfence vault "$2")" = "$(ringfence backup key "$1")" ]; }
key_file() { find "$RINGFENCE_HOME/state/keys" -name '*.key'; }
export -f key_file in_keyring

put() {
    expect 0 ringfence folder add "$1"
    local id
    id=$(fact '.folders[0].id')
    wait_for 30 "the key is in the keyring" in_keyring "$1" "$id"
    ringfence daemon stop
    mv "$(key_file)" "$WORK/key-aside"
    expect 0 ringfence history "$1"
    cmp -s <(jq -r .password "$WORK/key-aside") <(jq -r .password "$(key_file)") || die "another key came back"
    [ "$(stat -c %a "$(key_file)")" = 600 ] || die "others can read the key"
}
none() {
    mv "$(key_file)" "$WORK/key-aside-2"
    vault=$(find "$RINGFENCE_HOME/state/vaults" -type f | sort | xargs sha256sum)
    expect 6 ringfence history "$1"
    says 'is missing'
    expect 6 ringfence backup now "$1"
    [ -z "$(key_file)" ] || die "a new key was made over the old vault"
    [ "$vault" = "$(find "$RINGFENCE_HOME/state/vaults" -type f | sort | xargs sha256sum)" ] || die "the vault was changed"
}
export -f put none

step "in a session with an unlocked keyring the key is there as well, and comes back from there"
in_session yes put "$folder"

step "without keyring and key: a plain error, and nothing is overwritten"
in_session no none "$folder"
