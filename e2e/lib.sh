#!/usr/bin/env bash
# Helpers of the scenarios. A scenario is a bash file that reads as prose: `step` says
# what happens next, every other helper ends the scenario when what it expects is not so.
#
# Given by e2e/run: WORK, RINGFENCE_HOME, RINGFENCE_BIN, E2E.

# The machine that scenarios share, so that not each has to boot one.
readonly MACHINE=warm
OUT=$(mktemp "$WORK/out.XXXXXX")
ERR=$(mktemp "$WORK/err.XXXXXX")

step() { printf '\n-- %s\n' "$*"; }
die() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}
not_checked() { printf 'NOT CHECKED: %s\n' "$*"; }
skip() {
    printf 'SKIP: %s\n' "$*"
    exit 77
}

ringfence() { "$RINGFENCE_BIN/ringfence" "$@"; }

# expect CODE COMMAND…: runs it with its output in $OUT and $ERR; its exit code must be CODE.
expect() {
    local wanted=$1 code=0
    shift
    "$@" >"$OUT" 2>"$ERR" || code=$?
    if [ "$code" != "$wanted" ]; then
        printf 'standard output of %s:\n' "$*" >&2
        tail -n 20 "$OUT" >&2
        printf 'standard error:\n' >&2
        tail -n 20 "$ERR" >&2
        die "expected exit code $wanted, got $code: $*"
    fi
}

# expect_failure COMMAND…: any exit code but 0.
expect_failure() {
    if "$@" >"$OUT" 2>"$ERR"; then
        head -n 20 "$OUT" >&2
        die "should have failed: $*"
    fi
}

# says TEXT: the last command printed TEXT, to either output.
says() { grep -qaF -e "$1" "$OUT" "$ERR" || die "no word of '$1' in: $(head -c 2000 "$OUT" "$ERR")"; }

# equal NAME GOT WANTED
equal() { [ "$2" = "$3" ] || die "$1 is '$2', expected '$3'"; }

# wait_for SECONDS TEXT COMMAND…: until the command succeeds. Gives up early when the background
# process whose id is in $client is gone.
client=
wait_for() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ -n "$client" ] && ! kill -0 "$client" 2>/dev/null && ! "$@" >/dev/null 2>&1; then
            tail -n 20 "$OUT" "$ERR" >&2
            die "the command ended while waiting until $what"
        fi
        [ "$SECONDS" -lt "$deadline" ] || die "gave up waiting until $what"
        sleep 0.2
    done
}

# fact JQ-FILTER: a fact out of the status.
fact() { ringfence status --json | jq -r "$1"; }

# inside FOLDER SCRIPT [ARGUMENTS…]: runs a shell script in the shared machine with the folder visible.
inside() {
    local folder=$1 script=$2
    shift 2
    ringfence run --yes --machine "$MACHINE" --folder "$folder" -- sh -c "$script" sh "$@"
}

# new_folder NAME: an empty directory for a scenario, printed.
new_folder() {
    local folder="$WORK/folders/$1"
    rm -rf "$folder"
    mkdir -p "$folder"
    printf '%s\n' "$folder"
}

git_in() { git -C "$1" -c user.name=Ann -c user.email=ann@example.org -c init.defaultBranch=main "${@:2}"; }

# make_project DIR: a git project with all that people have lying around.
make_project() {
    local dir=$1
    mkdir -p "$dir/src" "$dir/empty/inner" "$dir/build/cache"
    printf 'fn main() {}\n' >"$dir/src/main.rs"
    printf 'build/\n.env\n' >"$dir/.gitignore"
    printf 'all: ;\n' >"$dir/Makefile"
    git_in "$dir" init -q
    git_in "$dir" add -A
    git_in "$dir" commit -qm 'first'
    printf '// not committed\n' >>"$dir/src/main.rs"
    printf 'the only copy\n' >"$dir/notes.txt"
    printf 'PASSWORD=1\n' >"$dir/.env"
    head -c 300000 /dev/urandom >"$dir/build/cache/object"
    printf 'a name with a space\n' >"$dir/with space.txt"
    printf 'a name that is no text\n' >"$dir/"$'caf\xe9.txt'
    printf '#!/bin/sh\n' >"$dir/run.sh"
    chmod 0755 "$dir/run.sh"
    chmod 0600 "$dir/.env"
    chmod 0500 "$dir/empty/inner"
    ln "$dir/notes.txt" "$dir/hard-link.txt"
    ln -s src/main.rs "$dir/link"
    ln -s /nowhere "$dir/dangling"
    touch -d '2001-02-03 04:05:06' "$dir/Makefile" "$dir/empty"
}

# files_in DIR: how many entries.
files_in() { find "$1" -mindepth 1 -printf x | wc -c; }

# reference DIR: a copy to compare with, made by a tool that is not ours; its path is printed.
reference() {
    local copy
    copy=$(mktemp -d "$WORK/reference.XXXXXX")
    cp -a "$1/." "$copy"
    printf '%s\n' "$copy"
}

# differences A B: what differs in content, mode, owner, time, link, attribute; nothing when identical.
differences() { rsync -aHAXnc --delete --itemize-changes "$1/" "$2/"; }

# identical A B
identical() {
    local found
    found=$(differences "$1" "$2")
    [ -z "$found" ] || die "$2 differs from $1:"$'\n'"$found"
}

# daemon_pid: the process id of the daemon.
daemon_pid() { ringfence daemon status | sed -n 's/.*process \([0-9]*\).*/\1/p'; }

# processes_of KIND: ids of the processes of this test's Ringfence: qemu, share, gateway, session, serve, ssh.
processes_of() {
    local directory arguments
    for directory in /proc/[0-9]*; do
        arguments=$({ tr '\0' ' ' <"$directory/cmdline"; } 2>/dev/null) || continue
        case "$1 $arguments" in
        "qemu "*qemu-system*"$RINGFENCE_HOME"*) ;;
        "ssh "*ssh*"$RINGFENCE_HOME"*) ;;
        "share "*ringfenced\ share\ * | "keeper "*ringfenced\ keeper\ * | "gateway "*ringfenced\ gateway\ * | "session "*ringfenced\ session\ * | "serve "*ringfenced\ serve*)
            [ "$(readlink "$directory/exe" | sed 's/ (deleted)$//')" = "$(realpath "$RINGFENCE_BIN/ringfenced")" ] || continue
            ;;
        *) continue ;;
        esac
        printf '%s\n' "${directory#/proc/}"
    done
}

# the_qemu HOME MACHINE: the process of one machine.
the_qemu() {
    local pid
    for pid in $(processes_of qemu); do
        if tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qF "$1/state/machines/$2/"; then printf '%s\n' "$pid"; fi
    done
}
