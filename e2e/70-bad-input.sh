# shellcheck shell=bash
# Wrong input is refused before anything is started, with the code of the contract and
# words that help. No machine is needed.

machines() { ringfence machine list --json | jq '.machines | length'; }
had=$(machines)

# refused CODE TEXT FOLDER: running in FOLDER ends with CODE and says TEXT.
refused() {
    expect "$1" ringfence run --yes --folder "$3" -- true
    says "$2"
}

step "folders that no agent may see"
refused 254 "/" /
refused 254 "home" "$HOME"
refused 254 "operating system" /etc
refused 254 "" "$RINGFENCE_HOME"
refused 254 "" "$RINGFENCE_HOME/state"
refused 254 "" "$WORK"

step "things that are no folders"
bad=$(new_folder 'bad')
echo >"$bad/file"
ln -s . "$bad/link-loop-free"
refused 252 "not a directory" "$bad/file"
refused 252 "no such" "$bad/missing"
mkdir "$bad/"$'new\nline' "$bad/"$'not\xe9text'
refused 254 "control character" "$bad/"$'new\nline'
refused 254 "UTF-8" "$bad/"$'not\xe9text'
ln -s / "$bad/link-to-root"
refused 254 "/" "$bad/link-to-root"

step "a folder that may not be read"
if [ "$(id -u)" = 0 ]; then
    closed="$WORK/closed"
    mkdir -m 0700 "$closed"
    other="$WORK/other-user"
    mkdir -m 0700 "$other"
    chown 12345:12345 "$other"
    as_other() { setpriv --reuid 12345 --regid 12345 --clear-groups env HOME="$other" RINGFENCE_HOME="$other/h" "$RINGFENCE_BIN/ringfence" "$@"; }
    chmod 0711 "$closed"
    mkdir -m 0700 "$closed/private"
    expect 251 as_other run --yes --folder "$closed/private" -- true
    grep -qiE 'permi|read' "$OUT" "$ERR" || die "the reason is not told: $(cat "$ERR")"
    as_other daemon stop
else
    not_checked "a folder of somebody else (needs root to be somebody else)"
fi

step "usage and configuration"
expect 252 ringfence run --no-such-flag
expect 252 ringfence run claude --profile codex --folder "$bad" --yes
expect 2 ringfence history --no-such-flag
expect 2 ringfence no-such-command
refused_profile() { ringfence run no-such-profile --yes --folder "$bad/file-free" -- true; }
mkdir "$bad/file-free"
expect_failure refused_profile
says no-such-profile
mkdir -p "$RINGFENCE_HOME/config"
printf '[[folder]]\npath = "/tmp/x"\nprofils = ["claude"]\n' >"$RINGFENCE_HOME/config/config.toml"
expect 253 ringfence run --yes --folder "$bad/file-free" -- true
says "profils"
says "profiles"
says "config.toml"
rm "$RINGFENCE_HOME/config/config.toml"

step "what does not exist"
expect_failure ringfence exec no-such-machine -- true
says no-such-machine
expect_failure ringfence machine start no-such-machine
expect_failure ringfence undo --yes --folder "$bad/file-free"
expect_failure ringfence image build --from "$bad/file"

step "switching protection off needs the name"
expect 0 ringfence folder add "$bad/file-free"
expect_failure ringfence backup off "$bad/file-free"
expect_failure ringfence backup off "$bad/file-free" --i-understand wrong-name

equal "machines after all this" "$(machines)" "$had"
