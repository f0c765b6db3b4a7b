# SPDX-License-Identifier: Apache-2.0
"""The lab itself: what the other tests rely on, and how long it takes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from gateway import reset, restart, status
from harness import process_alive, wait_for
from machine import HERE, ROOT

# The marks that a foreign, forced or live-patching module leaves in the kernel, and those of gpio-sim: out of tree, and
# signed by nobody. (A warning of the kernel leaves another, which says nothing of what kernel it is.)
FOREIGN = sum(1 << bit for bit in (0, 1, 3, 12, 13, 15, 16, 17))
TAINT = 1 << 12 | 1 << 13


def test_release(vm, release):
    assert vm.out(". /etc/os-release && echo $ID $VERSION_CODENAME") == f"debian {release}"


def test_stock_kernel(vm, figure):
    kernel = vm.out("uname -r")
    assert vm.out(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Maintainer}", f"linux-image-{kernel}"]).startswith("installed Debian Kernel Team")
    assert kernel == (vm.system / "kernel").read_text().strip()
    assert int(vm.out("cat /proc/sys/kernel/tainted")) & FOREIGN & ~TAINT == 0
    tainting = vm.out("grep -l . /sys/module/*/taint").split()
    assert [path.split("/")[3] for path in tainting if vm.out(["cat", path])] == ["gpio_sim"]
    figure(f"lab: {vm.release}, kernel {kernel}, {vm.out('systemctl --version').splitlines()[0]}")


def test_systemd(vm):
    assert vm.out("readlink /proc/1/exe").endswith("/systemd")
    assert vm.run("systemctl is-system-running", check=False).stdout.strip() == "running", vm.out("systemctl --failed")


def test_clock(vm):
    """Set from outside by a command, so it may be late by as long as a command takes."""
    before = time.time()
    guest = float(vm.out("date +%s.%N"))
    after = time.time()
    assert before - 2 - (after - before) <= guest <= after + 1


def test_commands(vm):
    result = vm.run("echo out; echo err >&2; exit 7", check=False)
    assert (result.status, result.stdout, result.stderr) == (7, "out\n", "err\n")
    assert vm.run("sleep 30", check=False, timeout=1).status == 124
    assert vm.out("id -un", user="visitor") == "visitor"
    assert vm.python("import sys; print(sys.argv[1:])", "a b", "c") == "['a b', 'c']"
    content = bytes(range(256))
    vm.put(content, "/tmp/put me", 0o640)
    assert vm.get("/tmp/put me") == content
    assert vm.out("stat -c %a '/tmp/put me'") == "640"


def test_gpio(vm):
    chip = vm.guest("gpio", "make", "self", "4", "self-test", "2=door")
    try:
        assert (chip["label"], chip["lines"]) == ("self-test", 4)
        assert vm.out(f"stat -c %G /dev/{chip['chip']}") == "gpio"
        get = "gpioget self-test 2" if vm.release == "bookworm" else f"gpioget --numeric -c {chip['chip']} 2"
        for direction, value in (("up", 1), ("down", 0), ("up", 1)):
            vm.guest("gpio", "pull", "self", "2", direction)
            assert vm.guest("gpio", "value", "self", "2") == value
            assert vm.out(get) == str(value)
        begin = time.time()
        edges = vm.guest("gpio", "pace", "self", "2", "5", "0.05")
        assert [edge[0] for edge in edges] == [0, 1, 0, 1, 0]
        assert all(after[2] - before[2] >= 50_000_000 for before, after in zip(edges, edges[1:]))
        assert all(abs(edge[1] / 1e9 - begin) < 30 for edge in edges)
    finally:
        vm.guest("gpio", "remove", "self")
    assert vm.run(f"test -e /dev/{chip['chip']}", check=False).status != 0


def test_i2c(vm):
    bus = vm.guest("i2c", "load", "0x48", "0x76")
    try:
        assert vm.out(f"stat -c %G /dev/i2c-{bus}") == "i2c"
        vm.guest("i2c", "words", "0x48", "0", "0x8019")
        vm.guest("i2c", "bytes", "0x76", "0xd0", "0x58", "0x12")
        assert vm.out(f"i2cget -y {bus} 0x48 0 w; i2cget -y {bus} 0x76 0xd0; i2cget -y {bus} 0x76 0xd1").split() == ["0x8019", "0x58", "0x12"]
        assert vm.guest("i2c", "get", "0x76", "0xd0", "2") == [0x58, 0x12]
    finally:
        vm.guest("i2c", "unload")


def test_plugd_is_installed(vm):
    """As the package leaves it: enabled, started, readable by everybody, not configured."""
    assert vm.out("dpkg-query -S /lib/systemd/system/plugd.service").startswith("plugd:")
    reset(vm)
    vm.run("systemctl start plugd")
    assert vm.out("systemctl is-enabled plugd; systemctl is-active plugd").split() == ["enabled", "active"]
    assert "plugd" in vm.out("id -nG member").split() and "plugd" not in vm.out("id -nG visitor").split()
    shown = json.loads(vm.out("plugctl --json status", user="visitor"))
    assert shown["State"] == "offline" and "not configured" in shown["LastError"]


def test_gateway(vm, plugd, standin):
    """From a plugin to the stand-in, seen from outside."""
    plugd({"name": "wave", "plugin": "sim", "channel": "Lab/Wave", "interval": 1})
    rows = standin.wait_arrivals(3, channel="Lab/Wave", timeout=30)
    assert [row.device for row in rows] == [status(vm)["PlugId"]] * len(rows)
    assert json.loads(rows[0].data) == rows[0].value
    seen = standin.last_arrival()
    standin.kick()
    standin.wait_arrivals(1, channel="Lab/Wave", since=seen, timeout=60)
    # The stand-in comes back with what it had, and so does plugd.
    plug_id = status(vm)["PlugId"]
    standin.close()
    standin.start()
    restart(vm)
    assert status(vm)["PlugId"] == plug_id
    assert len(standin.devices()) == 1


def test_boot_reboot_and_power_cut(fresh_vm, figure):
    """A machine that boots, reboots with its changes, and loses in a power cut what was not synced at most."""
    assert fresh_vm.run("systemctl is-system-running --wait", check=False).stdout.strip() == "running"
    fresh_vm.run("echo kept >/root/kept && sync")
    fresh_vm.reboot()
    assert fresh_vm.get("/root/kept") == b"kept\n"
    assert fresh_vm.out("systemctl is-active plugd") == "active"
    fresh_vm.run("echo synced >/root/synced && sync /root/synced && echo lost >/root/lost")
    begin = time.monotonic()
    fresh_vm.power_cut()
    fresh_vm.power_on()
    after = time.monotonic() - begin
    assert fresh_vm.get("/root/synced") == b"synced\n"
    assert fresh_vm.run("cat /root/lost", check=False).stdout in ("", "lost\n")
    assert abs(float(fresh_vm.out("date +%s.%N")) - time.time()) < 5
    times = fresh_vm.times
    figure(f"lab: boot to ssh {times['boot']:.1f} s, reboot {times['reboot']:.1f} s, boot after a power cut {after:.1f} s")


def test_times(vm, figure):
    made = {product: int((folder / "seconds").read_text()) for product, folder in vm.products.items()}
    figure("lab: without cache " + ", ".join(f"{name} {seconds} s" for name, seconds in made.items()))
    figure(f"lab: snapshot to ssh {vm.times['snapshot']:.1f} s, then plugd and tools {vm.times['install']:.1f} s, of which dpkg {vm.times['dpkg']:.1f} s")


def test_run(release):
    """lab.sh run passes input, output and exit status on."""
    done = subprocess.run([ROOT / "tests" / "lab.sh", "run", "--release", release, "--no-plugd", "cat; echo err >&2; exit 7"],
                          input="in", capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (7, "in"), done.stderr
    assert "err\n" in done.stderr


def test_nothing_is_left(release):
    """kill -9 of what started a machine ends the machine and its connection."""
    script = ("import sys, time; sys.path.insert(0, sys.argv[1]); from machine import Machine\n"
              "m = Machine(sys.argv[2]).start(); print(m._qemu.pid, m._ssh.pid, flush=True); time.sleep(600)")
    owner = subprocess.Popen([sys.executable, "-c", script, HERE, release], stdout=subprocess.PIPE, text=True)
    try:
        pids = [int(word) for word in owner.stdout.readline().split()]
        assert len(pids) == 2 and all(process_alive(pid) for pid in pids)
    finally:
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
        owner.stdout.close()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() and process_alive(pid) for pid in pids), "the machine is gone")
