#!/usr/bin/env python3
"""The half of 95-power-cut.sh that runs inside the machine whose power is cut.

    power_cut.py change DIR        changes the folder, waits until it is protected, prints SNAPSHOT HASH, and stays
    power_cut.py verify DIR SNAPSHOT HASH…    what was printed before the cut is restored and compared

DIR holds a Ringfence of its own: DIR/h and DIR/folder. Only the standard library is used.
"""

import datetime
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

DATA = "data.bin"
#: Small files beside it, so that more than one pack and directory is written.
SMALL = 40
PATIENCE = 120.0


def ringfence(home, *arguments):
    done = subprocess.run(
        ["ringfence", *arguments],
        env={**os.environ, "RINGFENCE_HOME": str(home / "h")},
        cwd=home / "folder",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"power_cut: exit code {done.returncode} from {' '.join(arguments)}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def digest(folder):
    """One hash over all that `change` writes."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            total.update(os.fsencode(path.relative_to(folder)) + b"\0" + path.read_bytes())
    return total.hexdigest()


def change(home):
    folder = home / "folder"
    if not folder.exists():
        folder.mkdir(parents=True)
        ringfence(home, "folder", "add", str(folder))
    (folder / DATA).write_bytes(os.urandom(300_000))
    directory = folder / f"d{time.time_ns()}"
    directory.mkdir()
    for number in range(SMALL):
        (directory / str(number)).write_bytes(os.urandom(500))
    written = datetime.datetime.now(datetime.timezone.utc)
    deadline = time.monotonic() + PATIENCE
    while True:
        (status,) = json.loads(ringfence(home, "status", "--json"))["folders"]
        until = (status.get("watch") or {}).get("protected_until")
        if until and datetime.datetime.fromisoformat(until) >= written:
            break
        if time.monotonic() > deadline:
            sys.exit(f"power_cut: not protected after {PATIENCE:.0f} s: {json.dumps(status)}")
    # Flushed at once: the power is cut when the first byte of it arrives.
    print(status["last_snapshot"]["id"], digest(folder), flush=True)
    time.sleep(PATIENCE)


def verify(home, promised):
    for snapshot, wanted in zip(promised[::2], promised[1::2]):
        back = home / "back"
        shutil.rmtree(back, ignore_errors=True)
        ringfence(home, "restore", "--yes", "--at", snapshot, "--to", str(back))
        if digest(back) != wanted:
            sys.exit(f"power_cut: snapshot {snapshot} is not what was said to be protected")
    ringfence(home, "backup", "check")
    ringfence(home, "daemon", "stop")
    print("verified", len(promised) // 2)


def main(act, home, *promised):
    {"change": change, "verify": lambda home: verify(home, promised)}[act](pathlib.Path(home))


if __name__ == "__main__":
    main(*sys.argv[1:])
