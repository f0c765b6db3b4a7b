# SPDX-License-Identifier: Apache-2.0
"""The lab's machines: a QEMU of our own for each, on a disk of its own over the cached one, reached by ssh.

A machine starts from a snapshot, which takes seconds, or boots. Its folder has its console log and what QEMU says; both
end with the process that started it, even by kill -9. Nothing here waits without a limit.
"""

import ctypes
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent / "scenarios"), str(HERE.parent / "platform")]
from harness import wait_for  # noqa: E402

RELEASES = ("bookworm", "trixie")
MEMORY_MIB = 1024
PREFIX = "plugd-lab-"
BOOT_SEC = 240.0  # under emulation, on a busy machine
LAB = "/opt/lab"  # in the guest

# Loaded before the snapshot is taken. i2c-stub is loaded by those who know the addresses.
MODULES = ("gpio-sim", "i2c-dev", "cuse", "loop")
# What every test will run: in the snapshot these come from the page cache.
WARM = ("python3 -c 'import json, sqlite3, socket, ssl, select, ctypes, subprocess, tempfile'; busctl --no-pager list; dpkg --version; "
        "mosquitto -h; gpiodetect; i2cdetect -l; tar --version; ls -lR /etc/systemd; perl -e 1; systemctl is-system-running; "
        "cat /usr/lib/x86_64-linux-gnu/lib{config,json-c,mosquitto,sqlite3,ssl,crypto,systemd}*.so* | wc -c")


class LabError(Exception):
    """The lab itself is at fault, not what is tested in it."""


class GuestHung(LabError):
    """The guest's kernel says that its timer has stopped."""


class CommandError(AssertionError):
    """A command in the guest has failed."""


def make(product, release):
    """The folder of a product, made if it isn't in the cache."""
    result = subprocess.run([HERE / "make.sh", product, release], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if result.returncode != 0:
        raise LabError(f"{product} for {release} could not be made")
    return Path(result.stdout.strip())


def end_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def sweep():
    """Removes the folders of machines whose process was killed."""
    for folder in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        try:
            if time.time() - folder.stat().st_mtime < 60:
                continue
            with open(folder / "alive") as alive:
                fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass


class Monitor:
    """QEMU's monitor, in its machine-readable form."""

    def __init__(self, path, timeout=30.0):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))
        self._stream = self._socket.makefile("rw")
        self._events = []
        self._read()
        self.execute("qmp_capabilities")

    def _read(self):
        line = self._stream.readline()
        if not line:
            raise LabError("QEMU has closed its monitor")
        return json.loads(line)

    def execute(self, command, **arguments):
        self._stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._stream.flush()
        while True:
            answer = self._read()
            if "error" in answer:
                raise LabError(f"QEMU: {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
            self._events.append(answer)

    def wait_event(self, name, timeout):
        """An event since the last call."""
        def seen():
            self.execute("query-status")
            return any(event.get("event") == name for event in self._events)
        wait_for(seen, f"QEMU says {name}", timeout, 0.1)
        self._events.clear()

    def line(self, text):
        """A command as a person types it."""
        return self.execute("human-monitor-command", **{"command-line": text})

    def close(self):
        self._stream.close()
        self._socket.close()


class Machine:
    """One guest. `snapshot`: start from the snapshot, else boot. `services`: {"address:port": command}, where a connection
    from the guest to that address of 10.0.2.0/24 gets a command of this machine, which is its input and output."""

    def __init__(self, release="bookworm", snapshot=True, arguments=(), services=None):
        if release not in RELEASES:
            raise LabError(f"there is no release '{release}' in the lab, only {' and '.join(RELEASES)}")
        self.release, self.arguments = release, list(arguments)
        self.services = dict(services or {})
        self.system = make("system", release)
        self._snapshot = make("snapshot", release) if snapshot else None
        self.products = {"system": self.system, **({"snapshot": self._snapshot} if snapshot else {})}
        self.disk = None
        self.folder = None
        self.times = {}  # what took how long, in seconds
        self._qemu = self._ssh = self._monitor = self._port = None
        self._patience = 0  # with a guest that may not be there yet, in seconds
        self._locks = []

    # --- its life ---------------------------------------------------------------------------------------------------

    def start(self):
        sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock(self.folder / "alive", fcntl.LOCK_EX, "w")
        for product in filter(None, (self.system, self._snapshot)):
            self._lock(product, fcntl.LOCK_SH)
        backing, kind = (self._snapshot / "disk.qcow2", "qcow2") if self._snapshot else (self.system / "root.img", "raw")
        self.disk = self.folder / "disk.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", backing, "-F", kind, self.disk], check=True,
                       stdin=subprocess.DEVNULL)
        begin = time.monotonic()
        self.power_on(self._snapshot and self._snapshot / "state")
        self.times["snapshot" if self._snapshot else "boot"] = time.monotonic() - begin
        return self

    def _lock(self, path, how, mode=None):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT if mode else os.O_RDONLY, 0o600)
        fcntl.flock(descriptor, how)
        self._locks.append(descriptor)

    def command_line(self, state=None):
        return [
            "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "max", "-smp", "2",
            "-m", str(MEMORY_MIB), "-nodefaults", "-display", "none",
            "-kernel", str(self.system / "vmlinuz"), "-initrd", str(self.system / "initrd"),
            "-append", "root=/dev/vda rw console=ttyS0 quiet panic=-1 mitigations=off net.ifnames=0",
            "-serial", f"file:{self.folder}/console.log",
            "-qmp", f"unix:{self.folder}/monitor,server=on,wait=off",
            "-drive", f"if=none,id=disk,file={self.disk},format=qcow2,cache=writeback", "-device", "virtio-blk-pci,drive=disk",
            # No way out of the guest but to the services. The port is any free one: QEMU says which.
            "-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"
            + "".join(f",guestfwd=tcp:{address}-cmd:{shlex.join(map(str, command))}" for address, command in self.services.items()),
            "-device", "virtio-net-pci,netdev=net,romfile=",
            "-device", "virtio-rng-pci", "-device", "i6300esb", "-action", "watchdog=reset",
            *(["-incoming", f"exec:cat {shlex.quote(str(state))}"] if state else []), *self.arguments,
        ]

    def power_on(self, state=None):
        """On the machine's own disk: boots, unless a saved state is given. Returns when ssh answers."""
        try:
            return self._power_on(state)
        except GuestHung as error:
            print(f"lab: {error}: once more", file=sys.stderr)
            return self._power_on(state)

    def _power_on(self, state):
        for name in ("monitor", "ssh"):
            (self.folder / name).unlink(missing_ok=True)
        with open(self.folder / "qemu.log", "ab") as log:
            self._qemu = subprocess.Popen(self.command_line(state), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                          preexec_fn=end_with_parent, cwd="/")
        try:
            wait_for(lambda: self._alive() and (self.folder / "monitor").exists(), "QEMU has a monitor")
            self._monitor = Monitor(self.folder / "monitor")
            self._port = int(re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", self._monitor.line("info usernet")).group(1))
            if state:
                wait_for(lambda: self._monitor.execute("query-status")["running"], "the snapshot is loaded", 60, 0.02)
            self.connect()
            if state:
                self.set_clock()
        except BaseException:
            self._complain()
            self.power_cut()
            raise
        return self

    def _alive(self):
        if self._qemu.poll() is not None:
            raise LabError(f"QEMU has ended (status {self._qemu.returncode}): {(self.folder / 'qemu.log').read_text()[-1000:]}")
        # Where the host was busy when the kernel measured its timers, an emulated processor's may never come.
        if self.console().count("timer wakeup didn't happen") > 1:
            raise GuestHung("the guest's timer has stopped")
        return True

    def _complain(self):
        print(f"lab: the end of the console of a {self.release} guest that doesn't answer:\n{self.console()[-3000:]}", file=sys.stderr)

    def connect(self, timeout=BOOT_SEC):
        """One ssh connection for all commands. Its process ends with us."""
        self._disconnect()
        deadline = time.monotonic() + timeout
        self._patience = 2.0
        wait_for(lambda: self._alive() and self._greets(), "the guest answers on ssh's port", timeout, 0.1)
        while True:
            self._alive()
            with open(self.folder / "ssh.log", "ab") as log:
                self._ssh = subprocess.Popen([*self.ssh_command(), "-M", "-N", "-o", "ConnectTimeout=30", "root@127.0.0.1"],
                                             stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=end_with_parent)
            while self._ssh.poll() is None and not (self.folder / "ssh").exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            if (self.folder / "ssh").exists() and self._ssh.poll() is None:
                return
            if time.monotonic() >= deadline:
                raise LabError(f"the guest has not answered ssh within {timeout:g} s")
            self._disconnect()
            time.sleep(0.2)

    def _greets(self):
        """QEMU takes the connection before there is a guest, so a connection says nothing yet. Each waits longer than the one
        before: on a busy machine every probe keeps the guest from answering."""
        with socket.create_connection(("127.0.0.1", self._port), 2) as probe:
            probe.settimeout(self._patience)
            self._patience = min(self._patience * 1.2, 20)
            return probe.recv(4) == b"SSH-"

    def _disconnect(self):
        if self._ssh:
            self._ssh.kill()
            self._ssh.wait()
            self._ssh = None
        (self.folder / "ssh").unlink(missing_ok=True)

    def power_cut(self):
        """kill -9: what the guest had not synced is lost. power_on() boots from what is left."""
        if self._qemu:
            self._qemu.kill()
            self._qemu.wait()
        if self._monitor:
            self._monitor.close()
        self._qemu = self._monitor = None
        self._disconnect()

    def reboot(self, timeout=BOOT_SEC):
        """In good order, in the same QEMU."""
        begin = time.monotonic()
        self.run("systemctl --no-block reboot")
        self._monitor.wait_event("RESET", 120)
        self.connect(timeout)
        self.times["reboot"] = time.monotonic() - begin

    def stop(self, keep=False):
        """Ends the machine; its disk is gone. keep: leaves its folder, with console log and disk."""
        self.power_cut()
        for descriptor in self._locks:
            os.close(descriptor)
        self._locks = []
        if self.folder and not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def save(self, folder):
        """Into `folder`: this machine's state, and its disk as it is at that moment. The machine is over then."""
        self.run("sync")
        self._monitor.execute("migrate-set-parameters", **{"max-bandwidth": 10**10})
        self._monitor.execute("migrate", uri=f"exec:cat > {shlex.quote(str(folder / 'state'))}")
        status = wait_for(lambda: self._monitor.execute("query-migrate").get("status") in ("completed", "failed")
                          and self._monitor.execute("query-migrate")["status"], "the state is saved", 120)
        if status != "completed":
            raise LabError(f"the state could not be saved: {self._monitor.execute('query-migrate')}")
        self._monitor.execute("quit")
        self._qemu.wait(30)
        shutil.copyfile(self.disk, folder / "disk.qcow2")

    # --- commands ---------------------------------------------------------------------------------------------------

    def ssh_command(self):
        """ssh and its options, without a host."""
        return ["ssh", "-F", "none", "-q", "-i", str(self.system / "key"), "-p", str(self._port), "-S", str(self.folder / "ssh"),
                "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "UserKnownHostsFile=/dev/null",
                "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR", "-o", "GSSAPIAuthentication=no",
                "-o", "PreferredAuthentications=publickey", "-o", "HostKeyAlgorithms=ssh-ed25519",
                "-o", "KexAlgorithms=curve25519-sha256", "-o", "Ciphers=chacha20-poly1305@openssh.com",
                "-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=6"]

    def run(self, command, check=True, timeout=60.0, input=None, user=None, text=True):
        """A command in the guest, as root or `user`: a list, or a line for bash. Returns status, stdout, stderr."""
        line = command if isinstance(command, str) else shlex.join(map(str, command))
        guarded = ["timeout", "-k", "2", f"{timeout:g}", "bash", "-c", line]
        if user:
            guarded = ["runuser", "-u", user, "--", *guarded]
        try:
            done = subprocess.run([*self.ssh_command(), "root@127.0.0.1", shlex.join(guarded)], capture_output=True, text=text,
                                  timeout=timeout + 20, **({"input": input} if input is not None else {"stdin": subprocess.DEVNULL}))
        except subprocess.TimeoutExpired:
            if check:
                raise CommandError(f"no answer within {timeout:g} s: {line}") from None
            return SimpleNamespace(status=124, stdout="", stderr="no answer")
        result = SimpleNamespace(status=done.returncode, stdout=done.stdout, stderr=done.stderr)
        if check and result.status != 0:
            what = {124: f"not within {timeout:g} s", 255: "ssh failed or status 255"}.get(result.status, f"status {result.status}")
            raise CommandError(f"{what}: {line}\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
        return result

    def out(self, command, **arguments):
        """What a command prints, without the last newline."""
        return self.run(command, **arguments).stdout.rstrip("\n")

    def python(self, script, *arguments, **options):
        """A Python script's text, run in the guest."""
        return self.out(["python3", "-", *arguments], input=script, **options)

    def guest(self, script, *arguments, **options):
        """A script of tests/lab/guest, with its arguments; returns the JSON that it prints."""
        text = self.out(["python3", f"{LAB}/guest/{script}.py", *arguments], **options)
        return json.loads(text) if text else None

    def put(self, content, path, mode=0o644):
        """A file in the guest, of this content (text, bytes, or a Path to read)."""
        data = content.read_bytes() if isinstance(content, Path) else content.encode() if isinstance(content, str) else content
        self.run(f"umask 077; cat > {shlex.quote(path)} && chmod {mode:o} {shlex.quote(path)}", input=data, text=False)

    def put_tree(self, folder, path, pattern="*"):
        """What is in a folder here and matches the pattern, into a folder of the guest."""
        names = sorted(found.name for found in Path(folder).glob(pattern))
        data = subprocess.run(["tar", "-C", folder, "--owner=0", "--group=0", "-cf", "-", "--", *names], check=True, stdout=subprocess.PIPE).stdout
        self.run(f"mkdir -p {shlex.quote(path)} && tar -C {shlex.quote(path)} -xmf -", input=data, text=False)

    def get(self, path):
        return self.run(["cat", path], text=False).stdout

    def wait_for(self, command, timeout=30.0, what=None):
        """Until the command succeeds. Returns what it printed."""
        def succeeds():
            result = self.run(command, check=False)
            return [result.stdout] if result.status == 0 else None
        return wait_for(succeeds, what or f"success of {command}", timeout, 0.2)[0]

    def interactive(self, command=None, terminal=False):
        """With this process's own input and output. Returns the exit status."""
        return subprocess.run([*self.ssh_command(), *(["-t"] if terminal else []), "root@127.0.0.1", *([command] if command else [])]).returncode

    def forward(self, guest_port, port):
        """127.0.0.1:guest_port in the guest becomes 127.0.0.1:port here, until the guest goes down."""
        subprocess.run([*self.ssh_command(), "-O", "forward", "-R", f"127.0.0.1:{guest_port}:127.0.0.1:{port}", "root@127.0.0.1"],
                       check=True, stdin=subprocess.DEVNULL, timeout=30)

    # --- what is around the guest -----------------------------------------------------------------------------------

    def monitor(self, line):
        return self._monitor.line(line)

    def console(self):
        path = self.folder / "console.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def boot_id(self):
        return self.out("cat /proc/sys/kernel/random/boot_id")

    def set_clock(self, seconds=None):
        """Sets the guest's clock: to this machine's, or to so many seconds since 1970."""
        self.run(f"date -s @{time.time() if seconds is None else seconds:.3f}")

    def journal(self, unit="plugd"):
        return self.out(f"journalctl -b --no-pager -o short-monotonic -u {shlex.quote(unit)}")


def make_snapshot(release, folder):
    """Boots, loads the modules, and saves all of it into `folder`."""
    with Machine(release, snapshot=False) as machine:
        wait_for(lambda: machine.run("systemctl is-system-running", check=False).stdout.strip() in ("running", "degraded"), "the guest has started", 120, 0.5)
        machine.run(["modprobe", "-a", *MODULES])
        machine.run(f"for i in 1 2; do {WARM}; done >/dev/null 2>&1; systemctl stop 'ssh@*' 2>/dev/null; true", timeout=120)
        machine.save(Path(folder))


if __name__ == "__main__":
    make_snapshot(*sys.argv[1:])
