# SPDX-License-Identifier: Apache-2.0
"""What a plugin may not, on a real kernel under the installed service, and which layer keeps it from that. The same
plugin tries it all, each time with one layer more around it: as a program of plugd's user, in plugd's unit, in a worker
of a kernel without Landlock, and in a worker as it is. And whatever becomes of a worker, the others don't notice."""

import json
import re
import shlex
import time

import gateway
import pytest
from gateway import sensor
from harness import wait_for
from ledger import COUNTER, NAME, PATH
from machine import LAB, ROOT, Machine
from standin import template

LAYERS = ("rights", "unit", "seccomp and limits", "Landlock")
SEALED = ["no-new-privileges", "seccomp", "landlock"]
DROP_IN = "/run/systemd/system/plugd.service.d"
# The kernel came as far as to look at what it was given, which is nothing good on purpose.
REACHED = {"ok", "EFAULT", "EINVAL", "EBADF", "ENODEV", "ENXIO"}

# PID: the daemon, or another worker. Neither to be read nor to be written, by no plugin.
CLOSED = (
    "/var/lib/plugd/credentials.json", "/run/credentials/plugd.service/plugd.pass", "/etc/credstore/plugd.pass",
    "/etc/plugd/plugd.conf",
    *(f"/proc/PID/{name}" for name in ("environ", "mem", "maps", "auxv", "fd", "fd/0", "fd/3", "root/etc/passwd",
                                       "root/var/lib/plugd/credentials.json", "cwd/etc/passwd", "stack")),
    "/dev/mem", "/dev/vda", "/dev/watchdog", "/dev/rtc0", "/dev/i2c-0", "/dev/fuse", "/proc/kcore",
    "/run/dbus/system_bus_socket", "/home/member/.profile",
)
FOLDERS = ("/var/lib/plugd", "/run/plugd", "/root", "/home/member")

# To be read, some of them, but not to be written.
KEPT = ("/etc/passwd", "/proc/sysrq-trigger", "/proc/self/oom_score_adj", "/proc/sys/kernel/hostname", "/sys/power/state",
        "/sys/fs/cgroup/system.slice/plugd.service/cgroup.procs", "/sys/class/gpio/export", "/usr/lib/os-release")


def expectations():
    """The table of the unit test, which tries the same on the machine that builds."""
    text = (ROOT / "tests/unit/test-worker-sandbox.c").read_text()
    return {name: re.findall(r'"([^"]+)"', re.search(rf"\b{name}\[\] = \{{(.*?)\}};", text, re.S).group(1))
            for name in ("filtered", "shut", "allowed")}


# --- collecting -------------------------------------------------------------------------------------------------------

def decoy(machine, name):
    """A file as the credentials are, to be read, written, cut, renamed."""
    path = f"/var/lib/plugd/decoy-{name}"
    machine.run(f"mkdir -p /var/lib/plugd && rm -rf {path}* && echo secret >/root/decoy && install -o plugd -g plugd -m 600 /root/decoy {path}")
    return path


def probe(machine, name, own, other, **options):
    """A sensor that tries all at its start."""
    return {"name": name, "plugin": "probe", "channel": name.title(), "interval": 3600, "device": own, "other": other,
            "path": decoy(machine, name), "others": " ".join((*CLOSED, *FOLDERS, *KEPT)), "x32": False, **options}


def bare_line(machine, name, own, other):
    """The same in no worker. Says it in the file bare.json."""
    options = probe(machine, name, own, other)
    words = [f"{key}={options[key]}" for key in ("device", "other", "path", "others")]
    return (f"python3 {LAB}/guest/bare.py /usr/lib/*-linux-gnu/plugd/plugins/probe.so {shlex.join(words)} x32=0 "
            f"pid=${{MAINPID:-$(systemctl show -P MainPID plugd)}}")


def report(machine, name):
    def values():
        shown = sensor(machine, name)
        return shown if shown["Values"] else None
    return wait_for(values, f"{name} has tried all", 60, 0.5)["Values"][name.title()]


class Seen:
    """What is there and what came of it, in one machine."""


def collect(machine, layers):
    seen = Seen()
    machine.run("modprobe -a i2c-i801 cuse")
    stub, chip = machine.guest("i2c", "load", "0x76"), machine.guest("gpio", "make", "sandbox", "4", "sandbox")["chip"]
    machine.guest("i2c", "bytes", "0x76", "0xd0", "0x58")
    seen.gpio, seen.own, seen.other = chip, f"i2c-{stub}", "i2c-0"
    assert machine.out("stat -c '%a %G' /dev/i2c-0") == "660 i2c" and seen.own != seen.other
    machine.run(f"systemctl stop plugd; rm -rf /var/lib/plugd/* /run/plugd/* /var/lib/standin; mkdir -p {DROP_IN}")
    seen.reports, seen.sandbox, seen.inside = {}, {}, {}
    try:
        with gateway.StandIn(machine, templates=[template(gateway.MODEL, gateway.PASS)]) as platform:
            if "unit" in layers:
                # With the daemon beside it, in the same unit.
                machine.put("until [ -e /var/lib/plugd/credentials.json ]; do sleep 0.1; done\n"
                            f"{bare_line(machine, 'unit', seen.own, seen.other)} >/run/plugd/bare.json\n", f"{LAB}/bare.sh")
                machine.put(f"[Service]\nExecStartPost=/bin/bash {LAB}/bare.sh\n", f"{DROP_IN}/bare.conf")
                machine.run("systemctl daemon-reload")
            # Enrolled before anybody looks for what there is to read then.
            gateway.configure(machine, platform, sensors=[COUNTER])
            if "unit" in layers:
                seen.reports["unit"] = json.loads(machine.out("cat /run/plugd/bare.json"))
                machine.run(f"rm -r {DROP_IN} && systemctl daemon-reload")
            if "rights" in layers:
                line = bare_line(machine, "rights", seen.own, seen.other)
                machine.put(line + "\n", f"{LAB}/bare.sh")
                seen.reports["rights"] = json.loads(machine.out(
                    f"MAINPID=$(systemctl show -P MainPID plugd) setpriv --reuid plugd --regid plugd --groups plugd,gpio,i2c bash {LAB}/bare.sh"))
            sensors = [COUNTER, probe(machine, "daemon", seen.own, seen.other, pid=0), probe(machine, "sibling", chip, seen.own, pid=-1),
                       {"name": "x32", "plugin": "probe", "channel": "X32", "interval": 3600},
                       {"name": "door", "plugin": "gpio", "channel": "Door", "chip": chip, "line": 1},
                       {"name": "climate", "plugin": "bme280", "channel": "Climate", "bus": stub, "address": 0x76, "interval": 60}]
            gateway.configure(machine, platform, sensors=sensors)
            before = sensor(machine, "count")["ProcessId"], machine.out("systemctl show -P MainPID plugd")
            for name in ("daemon", "sibling"):
                seen.reports[name] = report(machine, name)
                seen.sandbox[name] = sensor(machine, name)["Sandbox"]
            wait_for(lambda: sensor(machine, "door")["State"] == "running", "the chip is open")
            wait_for(lambda: sensor(machine, "climate")["LastError"] or sensor(machine, "climate")["Samples"], "the bus is open")
            seen.climate = sensor(machine, "climate")["LastError"]
            seen.sandbox["door"] = sensor(machine, "door")["Sandbox"]
            for name in ("door", "climate"):
                seen.inside[name] = machine.guest("inside", sensor(machine, name)["ProcessId"], f"/dev/{chip}", f"/dev/{seen.own}",
                                                  f"/dev/{seen.other}", "/dev/null", "/dev/tty", "/var/lib/plugd/credentials.json")
            samples = sensor(machine, "count")["Samples"]
            wait_for(lambda: sensor(machine, "count")["Samples"] > samples + 20, "the others go on")
            seen.same = before == (sensor(machine, "count")["ProcessId"], machine.out("systemctl show -P MainPID plugd"))
            seen.decoys = machine.out("cd /var/lib/plugd; cat decoy-daemon decoy-sibling 2>/dev/null; ls -d decoy-daemon* decoy-sibling*").split()
            seen.x32 = wait_for(lambda: sensor(machine, "x32")["LastError"], "it has ended")
            seen.restarts = [sensor(machine, one["name"])["Restarts"] for one in sensors if one["name"] != "x32"]
    finally:
        machine.run(f"systemctl stop plugd; rm -rf {DROP_IN} /var/lib/plugd/* /run/plugd/* /tmp/plugd-probe; systemctl daemon-reload", timeout=90)
        machine.guest("gpio", "remove", "sandbox")
        machine.guest("i2c", "unload")
    return seen


@pytest.fixture(scope="module")
def sealed(vm):
    return collect(vm, ("rights", "unit"))


# --- what a worker holds ----------------------------------------------------------------------------------------------

def differences(found, name):
    """Where a worker's report is another than it should be."""
    table, wrong = expectations(), []

    def expect(holds, what):
        if not holds(found.get(what)):
            wrong.append(f"{what}: {found.get(what)}")
    for what in set(table["filtered"]) - {"x32"}:
        expect(lambda answer: answer == "EPERM", what)
    for what in table["shut"]:
        expect(lambda answer: answer is not None and answer not in REACHED, what)
    for what in table["allowed"]:
        expect(lambda answer: answer == "ok", what)
    for what in ("clone3", "read-openat2", "other-openat2"):
        expect(lambda answer: answer == "ENOSYS", what)
    for path in CLOSED:
        for how in ("read", "write"):
            expect(lambda answer: answer is not None and answer not in REACHED, f"{how} {path}")
    for path in FOLDERS:
        expect(lambda answer: answer is not None and answer not in REACHED, f"read {path}")
    for path in KEPT:
        expect(lambda answer: answer is not None and answer not in REACHED, f"write {path}")
    for what in ("device-read", "device-write", "read /etc/passwd"):
        expect(lambda answer: answer == "ok", what)
    expect(lambda answer: answer == "0 1 2 3", "descriptors")
    expect(lambda answer: answer == "none", "core")
    expect(lambda answer: answer == "own", "group")
    expect(lambda answer: answer is not None and set(answer.split()) <= {"PLUGD_PLUGIN_DIR", "PATH", "LANG", "TZ"}, "environment")
    return [f"{name}: {text}" for text in wrong]


@pytest.mark.parametrize("whom", ["daemon", "sibling"])
def test_all_that_a_plugin_may_not_is_refused(sealed, whom):
    """Bothering the daemon, with an I2C bus of its own; and another worker, with a GPIO chip of its own."""
    assert sealed.sandbox[whom] == SEALED
    assert differences(sealed.reports[whom], whom) == []


def test_calls_of_another_architecture_are_the_end(sealed):
    """The unit's filter and the worker's refuse them, and the harder one holds."""
    assert "signal 31 (Bad system call)" in sealed.x32


def test_nobody_was_bothered(sealed):
    assert sealed.same and sealed.restarts == [0] * len(sealed.restarts)
    assert sealed.decoys == ["secret", "secret", "decoy-daemon", "decoy-sibling"], "neither cut nor written, nor anything beside"


def test_plugins_open_their_own_devices_only(sealed, figure):
    """What the workers of the real plugins can open, tried from inside these very processes."""
    assert sealed.sandbox["door"] == SEALED
    assert not re.search("open|permission|kept", sealed.climate)
    other = {"/dev/null": "ok", "/dev/tty": "EACCES", "/var/lib/plugd/credentials.json": "EACCES", f"/dev/{sealed.other}": "EACCES"}
    assert sealed.inside["door"] == {f"/dev/{sealed.gpio}": "ok", f"/dev/{sealed.own}": "EACCES", **other}
    assert sealed.inside["climate"] == {f"/dev/{sealed.gpio}": "EACCES", f"/dev/{sealed.own}": "ok", **other}
    for name, plugin in (("door", "gpio"), ("climate", "bme280")):
        figure(f"sandbox: inside the worker of {plugin}: " + ", ".join(f"{path} {answer}" for path, answer in sealed.inside[name].items()))


# --- which layer ------------------------------------------------------------------------------------------------------

def holder(answers):
    """The layer from which on it is refused. The kernel itself: what makes no sense to anybody."""
    reached = max((i for i, answer in enumerate(answers) if answer in REACHED), default=-1)
    return LAYERS[reached + 1] if reached + 1 < len(LAYERS) else "nothing" if answers[-1] == "ok" else "kernel"


def test_without_landlock(release, make_vm, sealed, figure):
    """A kernel that has it, and was told at boot to do without."""
    line = Machine(release, snapshot=False).command_line()
    others = "lsm=lockdown,yama,loadpin,safesetid,integrity,apparmor,bpf"
    machine = make_vm(arguments=["-append", f"{line[line.index('-append') + 1]} {others}"])
    gateway.install(machine)
    modules = machine.out("cat /sys/kernel/security/lsm").split(",")
    assert "landlock" not in modules and "apparmor" in modules
    seen = collect(machine, ())
    for name in ("daemon", "door"):
        assert seen.sandbox[name] == ["no-new-privileges", "seccomp"]
    assert seen.same

    table = expectations()
    found = seen.reports["daemon"]
    assert [what for what in table["filtered"] if what != "x32" and found[what] != "EPERM"] == [], "seccomp holds without Landlock"
    assert [what for what in table["allowed"] if found[what] != "ok"] == []
    for path in ("environ", "mem", "maps", "fd", "root/etc/passwd"):
        for whom in ("daemon", "sibling"):
            assert seen.reports[whom][f"read /proc/PID/{path}"] not in REACHED, "not dumpable: it is none of its user's"
    assert seen.inside["door"][f"/dev/{seen.own}"] == "ok", "the devices are a matter of Landlock"

    reports = [sealed.reports["rights"], sealed.reports["unit"], found, sealed.reports["daemon"]]
    ignored = {"descriptors", "environment", "core", "group"}
    names = [what for what, answer in sealed.reports["daemon"].items() if what not in ignored and answer != "EISDIR"]
    held = {}
    figure(f"sandbox: {'':52} " + " ".join(f"{layer[:8]:8}" for layer in LAYERS) + " held by")
    for what in names:
        answers = [one.get(what, "-") for one in reports]
        layer = holder(answers)
        held.setdefault(layer, []).append(what)
        figure(f"sandbox: {what:52} " + " ".join(f"{answer:8}" for answer in answers) + f" {layer}")
    for layer, what in held.items():
        figure(f"sandbox: of {len(names)} attempts held by {layer}: {len(what)}")
    figure("sandbox: without Landlock these stay open: " + ", ".join(
        what for what in names if found[what] in REACHED and sealed.reports["daemon"][what] not in REACHED))
    # What needs which layer, as the README and plugin.h have it.
    by = {what: holder([one.get(what, "-") for one in reports]) for what in names}
    assert {by[what] for what in ("socket", "kill", "tgkill", "pidfd_open", "exec", "fork", "truncate", "chmod", "memfd", "shared-memory",
                                  "more-memory", "more-files")} == {"seccomp and limits"}
    assert {by[what] for what in ("read /var/lib/plugd/credentials.json", "read /run/credentials/plugd.service/plugd.pass",
                                  "read /dev/i2c-0", "rename", "create")} == {"Landlock"}
    assert {by[what] for what in ("shadow", "read /proc/PID/mem", "read /proc/PID/environ", "ptrace", "write /dev/mem")} == {"rights"}


# --- promise 4 ----------------------------------------------------------------------------------------------------------

def sensors_of(machine):
    """All of them, by one command."""
    shown = json.loads(machine.out(f"busctl --json=short call {NAME} {PATH} org.freedesktop.DBus.ObjectManager GetManagedObjects"))["data"][0]
    found = [objects[f"{NAME}.Sensor"] for objects in shown.values() if f"{NAME}.Sensor" in objects]
    return {one["Name"]["data"]: {key: value["data"] for key, value in one.items()} for one in found}


def ill(name, interval=0.05, **options):
    return {"name": name, "plugin": "sim", "channel": f"Ill/{name}", "interval": interval, **options}


# Until when it is waited for: each ill one has shown all of its illness.
SYMPTOMS = {
    "crash": lambda one, states: one["Restarts"] >= 2 and "signal 11" in one["LastError"],
    "exit": lambda one, states: one["Restarts"] >= 2 and "exited" in one["LastError"],
    "garbage": lambda one, states: one["Restarts"] >= 2 and one["LastError"],
    "hang": lambda one, states: one["Restarts"] >= 1 and "silent" in states,
    "stopped": lambda one, states: one["Restarts"] >= 1 and "silent" in states,
    "flood": lambda one, states: "rate_limit" in one["LastError"] and one["Dropped"] > 1000,
    "leak": lambda one, states: one["Restarts"] >= 1 and "no memory left of the 64 MiB" in one["LastError"],
}


def unharmed(vm, standin, main, pid, since):
    """The counter, its worker, the daemon and the connection, from then on. Returns what arrived of the counter."""
    counter = sensor(vm, "count")
    assert (counter["ProcessId"], counter["Restarts"], counter["State"]) == (pid, 0, "running")
    wait_for(lambda: standin.query("SELECT count(*) AS n FROM arrivals WHERE channel = 'Count'")[0].n >= counter["Samples"], "its values arrive", 30)
    rows = gateway.in_time(standin.query("SELECT id, at, data FROM arrivals WHERE channel = 'Count' AND fate = 'stored' ORDER BY seq"))
    assert [int(float(row.data)) for row in rows] == list(range(len(rows))), "one life, without a gap"
    shown = gateway.status(vm)
    assert (shown["State"], shown["ConnectedSince"]) == ("online", since), "the connection stays"
    assert vm.out("systemctl show -P MainPID -P NRestarts plugd").split() == [main, "0"]
    return rows


def test_the_healthy_do_not_notice_the_ill(vm, plugd, standin, figure):
    """All ways of being ill at once, beside a counter of 50 values a second."""
    plugd(COUNTER, *(ill(how, misbehave=how, after=20) for how in ("crash", "exit", "garbage", "hang")),
          ill("flood", misbehave="flood", after=20, rate_limit=100), ill("stopped", 0.5),
          {"name": "leak", "plugin": "script", "channel": "Ill/leak", "interval": 0.2, "script": "leak"})
    main, pid, since = vm.out("systemctl show -P MainPID plugd"), sensor(vm, "count")["ProcessId"], gateway.status(vm)["ConnectedSince"]
    vm.run(f"kill -STOP {sensor(vm, 'stopped')['ProcessId']}")
    begin, states, missing = time.monotonic(), {}, dict(SYMPTOMS)

    def all_shown():
        for name, one in sensors_of(vm).items():
            states.setdefault(name, set()).add(one["State"])
            if name in missing and missing[name](one, states[name]):
                del missing[name]
        return not missing
    try:
        wait_for(all_shown, "all have been ill", 150, 0.5)
    finally:
        if missing:
            print("not ill yet:", {name: (one["State"], one["Restarts"], one["LastError"]) for name, one in sensors_of(vm).items() if name in missing})
    rows = unharmed(vm, standin, main, pid, since)
    pauses = sorted(later.at - earlier.at for earlier, later in zip(rows, rows[1:]))
    restarts = {name: one["Restarts"] for name, one in sensors_of(vm).items() if one["Restarts"]}
    took = time.monotonic() - begin
    figure(f"sandbox: beside {', '.join(f'{name} ({n} restarts)' for name, n in restarts.items())} and a flood, in {took:.0f} s: "
           f"{len(rows)} values of the counter, none missing; 20 ms between two, 99 of 100 within {pauses[len(pauses) * 99 // 100]} ms, "
           f"at most {pauses[-1]} ms")


def test_want_of_memory_takes_the_one_that_leaks(vm, plugd, standin, figure):
    """With less for the whole unit than one plugin may have: the kernel ends one of its processes."""
    vm.run("dmesg -C; systemctl set-property --runtime plugd.service MemoryMax=48M")
    try:
        plugd(COUNTER, {"name": "leak", "plugin": "script", "channel": "Ill/leak", "interval": 0.2, "script": "leak"})
        main, pid, since = vm.out("systemctl show -P MainPID plugd"), sensor(vm, "count")["ProcessId"], gateway.status(vm)["ConnectedSince"]
        assert vm.out(f"cat /proc/{main}/oom_score_adj /proc/{pid}/oom_score_adj").split() == ["0", "300"]
        wait_for(lambda: sensor(vm, "leak")["Restarts"] >= 3, "it was ended again and again", 90, 0.5)
        assert "signal 9 (Killed)" in sensor(vm, "leak")["LastError"]
        unharmed(vm, standin, main, pid, since)
        killed = re.findall(r"Memory cgroup out of memory: Killed process \d+ \((\S+)\).*? anon-rss:(\d+)kB", vm.out("dmesg"))
        assert len(killed) >= 3 and all(name == "plugd-worker" and int(size) > 10 << 10 for name, size in killed)
        figure(f"sandbox: MemoryMax=48M and a leak: {len(killed)} times out of memory, and each time it is the leaking worker "
               f"that goes ({', '.join(str(int(size) >> 10) for _, size in killed)} MiB)")
    finally:
        vm.run("systemctl revert plugd.service")
