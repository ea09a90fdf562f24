"""What the benchmarks share: running commands loudly, making folders, taking turns."""

import json
import pathlib
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def output(*command, **options):
    """What a command prints; fails loudly with what it complained about."""
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise SystemExit(f"bench: exit code {done.returncode} from {' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def target_directory():
    """Where the build leaves its results."""
    return pathlib.Path(output(ROOT / "scripts/target-directory").strip())


def seconds(action):
    """How long an action takes."""
    started = time.monotonic()
    action()
    return time.monotonic() - started


def in_turns(rounds, sides):
    """Every side once a round, the other way round each second time, so that what the host does meanwhile hits all."""
    for turn in range(rounds):
        for side in sides if turn % 2 == 0 else reversed(sides):
            yield turn, side


def lines_of(index):
    """The content of a small text file."""
    return b"%d\n" % index * (1 + index % 50)


def make_tree(directory, files, content=lines_of):
    """Small files, a hundred in a directory, a hundred directories in one above."""
    for index in range(files):
        place = directory / f"{index // 10000}" / f"{index // 100 % 100}"
        if index % 100 == 0:
            place.mkdir(parents=True)
        (place / f"file-{index}.txt").write_bytes(content(index))


def write_results(path, short, results):
    """Keeps the results for a program to read."""
    path.write_text(json.dumps({"schema": 1, "short": short, "results": results}, indent=1) + "\n")


def end_cleanly():
    """A request to end runs what clears up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
