"""A folder served to one machine by the guarded share and another by the stock virtiofsd, as processes of their own."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time

from common import output, target_directory

#: The version of the crate that the share is built on.
STOCK = "1.14.0"
#: The agent's user inside.
AGENT = 1000
TICKS = os.sysconf("SC_CLK_TCK")


class Side:
    """A folder on the host, the processes that serve it, and where the machine sees it."""

    def __init__(self, name, work):
        self.name = name
        self.folder = work / f"folder-{name}"
        self.folder.mkdir()
        self.socket = work / f"{name}.sock"
        self.processes = []

    def cpu(self):
        """Seconds of processor time that the processes used so far."""
        return sum(ticks(process.pid) for process in self.processes) / TICKS

    def device(self):
        return ["-chardev", f"socket,id={self.name},path={self.socket}", "-device", f"vhost-user-fs-pci,chardev={self.name},tag={self.name}"]

    def end(self):
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
            process.wait()


def ticks(pid):
    """Of a process and its children: virtiofsd does its work in one."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    children = (child for task in pathlib.Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split())
    return int(fields[11]) + int(fields[12]) + sum(ticks(child) for child in children)


def start_stock(side, program):
    command = [program, f"--socket-path={side.socket}", f"--shared-dir={side.folder}", "--cache=auto", "--log-level=error"]
    side.processes.append(subprocess.Popen(command))
    wait_for(side.socket)


def start_ours(side, work, program):
    def role(arguments, spec):
        process = subprocess.Popen([program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        side.processes.append(process)
        process.stdin.write(json.dumps(spec))
        process.stdin.close()
        answer = json.loads(process.stdout.readline())
        if "ready" not in answer:
            raise SystemExit(f"bench: {program} {' '.join(arguments)}: {answer}")

    store = work / "kept"
    store.mkdir(mode=0o700)
    folder, keep, keep_control = str(side.folder), str(work / "keep.sock"), work / "keep.ctl"
    role(["keeper"], {"folder": folder, "store": str(store), "socket": keep, "control_socket": str(keep_control), "quota": 64 << 30})
    spec = {"folder": folder, "vhost_socket": str(side.socket), "control_socket": str(work / "ours.ctl"), "tag": side.name, "access": "rw"}
    role([], {**spec, "mode": "rw", "run_as": 60001, "front_end": 0, "keeper": keep})
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(keep_control))
        line.sendall(b'{"begin":"bench"}\n')
        line.recv(4096)


def wait_for(path):
    deadline = time.monotonic() + 20
    while not path.exists():
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: {path.name} did not come up")
        time.sleep(0.05)


def stock_program():
    """Built from the registry by the same compiler, once."""
    place = target_directory() / "bench-tools"
    program = place / "bin/virtiofsd"
    if not program.exists():
        output("cargo", "install", "--locked", "--root", place, "--version", f"={STOCK}", "virtiofsd")
    return program
