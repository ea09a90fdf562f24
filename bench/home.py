"""A RINGFENCE_HOME for the length of one benchmark, what runs in it, and the plainest machine to compare its machine with."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from common import output, target_directory

MACHINE = "bench"


class Home:
    """One RINGFENCE_HOME, with images that are kept between runs."""

    def __init__(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="rf-bench-", dir="/tmp"))
        self.work.chmod(0o755)
        self.home = self.work / "h"
        self.home.mkdir()
        target = target_directory()
        cache = pathlib.Path(os.environ.get("RINGFENCE_TEST_CACHE", f"{target}/test-cache")).absolute()
        cache.mkdir(parents=True, exist_ok=True)
        (self.home / "cache").symlink_to(cache)
        self.binaries = os.environ.get("RINGFENCE_BIN", f"{target}/release")
        self.environment = {**os.environ, "RINGFENCE_HOME": str(self.home), "NO_COLOR": "1"}

    def ringfence(self, *arguments, **options):
        return output(f"{self.binaries}/ringfence", *arguments, env=self.environment, **options)

    def facts(self, *arguments):
        return json.loads(self.ringfence(*arguments, "--json"))

    def clean(self):
        try:
            for machine in self.facts("machine", "list")["machines"]:
                self.ringfence("machine", "delete", "--yes", machine["name"])
            self.ringfence("daemon", "stop")
        except SystemExit as problem:
            print(problem, file=sys.stderr)
        shutil.rmtree(self.work, ignore_errors=True)

    def machine_words(self):
        """The command line of the running machine."""
        disk = str(self.home / "state/machines" / MACHINE)
        return command_line(lambda words: "qemu-system" in words[0] and any(disk in word for word in words))

    def ssh_words(self):
        """The product's own SSH connection: its control socket and how it reaches the guest."""
        run = str(self.home / "run/m" / MACHINE)
        return command_line(lambda words: os.path.basename(words[0]).startswith("ssh") and any(run in word for word in words))

    def bare_machine(self, directory, extra=()):
        """The plainest machine from the running one's kernel, disk and identity; that one is stopped."""
        words = self.machine_words()
        key = next(word.split("=", 1)[1].strip('"') for word in self.ssh_words() if word.startswith("IdentityFile="))
        self.ringfence("machine", "stop", MACHINE)
        return BareMachine(directory, self.home / "state/machines" / MACHINE, words, key, extra)


def command_line(wanted):
    """The command line of the one process that `wanted` picks by it."""
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            except OSError:
                continue
            if words and wanted(words):
                return words
    raise SystemExit("bench: a process that should run was not found")


class BareMachine:
    """The same kernel, disk content, limits and identity under the plainest QEMU command line that boots them."""

    def __init__(self, directory, machine, words, key, extra=()):
        directory.mkdir()
        self.directory, self.process = directory, None
        shutil.copy(machine / "disk.qcow2", directory / "disk.qcow2")
        value = dict(zip(words, words[1:]))
        mac = re.search(r"mac=([0-9a-f:]{17})", " ".join(words)).group(1)
        port = free_port()
        network = f"user,id=net,net=192.0.0.0/29,host=192.0.0.1,dns=192.0.0.3,dhcpstart=192.0.0.4,hostfwd=tcp:127.0.0.1:{port}-192.0.0.2:22"
        self.command = [words[0], "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35"]
        for flag in ("-accel", "-cpu", "-smp", "-m", "-kernel", "-initrd", "-append"):
            self.command += [flag, value[flag]]
        for flag, word in zip(words, words[1:]):
            if flag == "-smbios":
                self.command += [flag, word]
        if extra:
            # A share's process reads and writes the guest's memory.
            memory = value["-m"]
            self.command += ["-object", f"memory-backend-memfd,id=ram,size={memory},share=on", "-numa", "node,memdev=ram"]
        self.command += ["-drive", f"file={directory}/disk.qcow2,if=virtio,format=qcow2", "-netdev", network]
        self.command += ["-device", f"virtio-net-pci,netdev=net,mac={mac},romfile=", "-device", "virtio-rng-pci", *extra]
        self.ssh = ["ssh", "-F", "none", "-i", key, "-p", str(port), "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]
        self.ssh += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        self.ssh += ["-o", "ConnectTimeout=20", "agent@127.0.0.1"]

    def start(self):
        """Seconds from the start of QEMU to the end of the first `ssh true`."""
        started = time.monotonic()
        self.process = subprocess.Popen(self.command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            while (tried := subprocess.run([*self.ssh, "true"], stdin=subprocess.DEVNULL, capture_output=True, text=True)).returncode != 0:
                if self.process.poll() is not None:
                    raise SystemExit(f"bench: the bare QEMU ended: {self.process.stderr.read().decode()}")
                if time.monotonic() - started > 300:
                    raise SystemExit(f"bench: the bare machine did not answer SSH within 300 s: {tried.stderr.strip()}")
                time.sleep(0.2)
        except BaseException:
            self.stop()
            raise
        return time.monotonic() - started

    def stop(self):
        subprocess.run([*self.ssh, "sudo", "poweroff"], stdin=subprocess.DEVNULL, capture_output=True)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def boot(self):
        """As `start`, and stops it again."""
        took = self.start()
        self.stop()
        return took

    def run(self, script):
        """What a shell script prints that the agent's user runs inside."""
        return output(*self.ssh, script)

    def put(self, path, content):
        """A file of these bytes, inside."""
        subprocess.run([*self.ssh, f"cat > {path}"], input=content, capture_output=True, check=True)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
