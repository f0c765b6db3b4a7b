# SPDX-License-Identifier: Apache-2.0
"""plugd under systemd, as its package installs it: who it is, what ends it, what comes back, what it may. Nothing that
was handed over is lost, whoever ends in between."""

import json
import re
import time

import gateway
import pytest
from gateway import sensor, status, wait_state
from harness import wait_for
from ledger import COUNTER, NAME, PATH, Ledger
from standin import template

CONFIG = "/etc/plugd/plugd.conf"
DROP_IN = "/run/systemd/system/plugd.service.d"
KILL = "kill -9 $(systemctl show -P MainPID plugd)"
RESTART = "systemctl restart plugd"
# The system plugin, with a worker that opens files all over /proc and /sys.
HOST = {"name": "host", "plugin": "system", "channel": "Host", "interval": 1}


def show(machine, *names):
    """Properties of the unit, as text."""
    shown = machine.out(["systemctl", "show", "plugd", "-p", ",".join(names)])
    found = dict(line.split("=", 1) for line in shown.splitlines())
    return found[names[0]] if len(names) == 1 else [found[name] for name in names]


def now(machine):
    """For journal(). Not a cursor: journalctl 252 leaves out the first record that matches after it."""
    return machine.out("date +@%s.%6N")


def journal(machine, since, *matches):
    """Records of plugd's unit, and of systemd on it, as dicts."""
    shown = machine.out(["journalctl", "--no-pager", "-o", "json", "--since", since, *(matches or ("-u", "plugd"))])
    return [json.loads(line) for line in shown.splitlines()]


def process(machine, pid):
    """The kernel's word on a process."""
    return {key: value.split() for key, _, value in (line.partition(":") for line in machine.out(["cat", f"/proc/{pid}/status"]).splitlines())}


@pytest.fixture
def drop_in(vm):
    """drop_in("Key=value"…): more lines for the unit's [Service], until the test is over."""
    def write(*lines):
        vm.run(f"mkdir -p {DROP_IN}")
        vm.put("\n".join(["[Service]", *lines, ""]), f"{DROP_IN}/test.conf")
        vm.run("systemctl daemon-reload")

    yield write
    vm.run(f"rm -rf {DROP_IN}; systemctl daemon-reload")


# --- who it is ------------------------------------------------------------------------------------------------------

def test_runs_as_its_own_user(vm, plugd, standin):
    plugd(COUNTER, HOST)
    kind, state, text, user, pid = show(vm, "Type", "ActiveState", "StatusText", "User", "MainPID")
    assert (kind, state, user) == ("notify", "active", "plugd")
    assert text.startswith("online at 127.0.0.1:1883 as dev-") and text.endswith("2 sensors")
    uid = vm.out("id -u plugd")
    groups = {vm.out(["getent", "group", name]).split(":")[2] for name in ("plugd", "gpio", "i2c")}
    workers = [str(sensor(vm, name)["ProcessId"]) for name in ("count", "host")]
    for one in (pid, *workers):
        is_ = process(vm, one)
        assert is_["Uid"] == [uid] * 4
        assert set(is_["Gid"]) | set(is_["Groups"]) == groups
        assert is_["NoNewPrivs"] == ["1"] and is_["Seccomp"] == ["2"]
        assert {int(is_[name][0], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert all(process(vm, worker)["PPid"] == [pid] for worker in workers)


def test_enrols_with_the_pass_of_the_credential_store(vm, plugd, standin):
    plugd(COUNTER)
    assert vm.out("stat -c '%a %U' /etc/credstore/plugd.pass") == "600 root"
    (device,) = standin.devices()
    assert device.plug_id == status(vm)["PlugId"]
    assert vm.out("stat -c '%a %U %G' /var/lib/plugd/credentials.json") == "600 plugd plugd"
    (stored,) = json.loads(vm.out("cat /var/lib/plugd/credentials.json"))["platforms"]
    assert (stored["plug_id"], stored["auth"]) == (device.plug_id, device.auth)
    assert vm.out("stat -c '%a %U' /var/lib/plugd /run/plugd").split() == ["700", "plugd"] * 2
    for command in ("cat /var/lib/plugd/credentials.json", "ls /run/plugd", "cat /run/credentials/plugd.service/plugd.pass"):
        assert "ermission denied" in vm.run(command, check=False, user="visitor").stderr
    # Enrolled is enrolled: without the pass as well.
    vm.run("rm /etc/credstore/plugd.pass")
    gateway.restart(vm)
    assert len(standin.devices()) == 1


def test_the_unit_sandbox_leaves_the_workers_theirs(vm, plugd, standin):
    plugd(COUNTER, HOST)
    for name in ("count", "host"):
        assert sensor(vm, name)["Sandbox"] == ["no-new-privileges", "seccomp", "landlock"]
    values = wait_for(lambda: (lambda values: values if len(values) > 8 else None)(sensor(vm, "host")["Values"]), "the machine's figures")
    assert abs(values["Host/uptime"] - float(vm.out("cat /proc/uptime").split()[0])) < 30
    assert {"Host/load/1min", "Host/memory/available", "Host/disk/root/free", "Host/network/eth0/received", "Host/cpu/usage"} <= set(values)
    assert sensor(vm, "host")["LastError"] == ""


def test_unit_is_verified(vm):
    result = vm.run("systemd-analyze verify plugd.service")
    assert result.stdout + result.stderr == ""


def test_exposure(vm, figure):
    last = vm.out("systemd-analyze security --no-pager plugd.service").splitlines()[-1]
    score = float(re.search(r"plugd\.service: ([\d.]+)", last).group(1))
    figure(f"service: systemd-analyze security: exposure {score} (0 is none, 10 is all)")
    assert score <= 2.5


# --- nothing lost ---------------------------------------------------------------------------------------------------

@pytest.fixture
def ledger(vm, standin):
    made = Ledger(vm, standin)
    yield made
    made.close()


def test_nothing_is_lost_by_kills_and_restarts(vm, ledger, plugd, standin, figure):
    plugd(COUNTER)
    ledger.watch()
    ledger.take(30)
    ledger.end("kill -9", KILL, False)
    ledger.take(30)
    standin.stop()
    wait_state(vm, "offline")
    ledger.take(100)
    ledger.end("kill -9 offline", KILL, False)
    assert int(show(vm, "NRestarts")) == 2
    ledger.take(50)
    assert status(vm)["SpoolMessages"] > 150
    ledger.end("restart offline", RESTART, True)
    ledger.take(20)
    ledger.end("stop and start offline", "systemctl stop plugd; systemctl start plugd", True)
    standin.start()
    wait_state(vm, "online")
    ledger.end("restart with a backlog", RESTART, True)
    ledger.take(30)
    ledger.end("kill -9 of daemon and workers", "systemctl kill -s KILL plugd", False)
    wait_state(vm, "online")
    ledger.take(30)
    ledger.end("stop and start", "systemctl stop plugd; systemctl start plugd", True)
    ledger.check(figure, "service: nothing lost")
    assert status(vm)["Dropped"] == 0


def test_nothing_is_lost_by_a_reboot(fresh_vm, figure):
    """Unconfirmed messages, young ones in memory among them, and no server when the machine goes down and comes up."""
    with gateway.StandIn(fresh_vm, templates=[template(gateway.MODEL, gateway.PASS)]) as platform:
        ledger = Ledger(fresh_vm, platform)
        gateway.configure(fresh_vm, platform, sensors=[COUNTER])
        ledger.watch()
        ledger.take(30)
        platform.stop()
        wait_state(fresh_vm, "offline")
        ledger.take(100)
        waiting, samples = status(fresh_vm)["SpoolMessages"], sensor(fresh_vm, "count")["Samples"]
        assert waiting >= 100
        platform.close()
        fresh_vm.reboot()
        ledger.note("reboot", samples, True, rebooted=True)
        assert fresh_vm.out("systemctl is-active plugd") == "active"
        assert status(fresh_vm)["SpoolMessages"] >= waiting
        ledger.watch()
        ledger.take(20)
        platform.start()
        wait_state(fresh_vm, "online")
        ledger.check(figure, f"service: nothing lost, {waiting} messages waiting")


def failed(vm):
    return show(vm, "ActiveState", "Result", "ExecMainStatus", "NRestarts") if show(vm, "ActiveState") == "failed" else None


def test_a_broken_file_stops_it_and_its_repair_brings_all_back(vm, ledger, plugd, standin, figure):
    """Exit 3, by a restart and by a kill -9: not tried again, the file and the line are named, the spool stays."""
    plugd(COUNTER)
    ledger.watch()
    standin.stop()
    wait_state(vm, "offline")
    line = len(vm.out(f"cat {CONFIG}").splitlines()) + 1
    for how, command in (("restart", RESTART), ("kill -9", KILL)):
        ledger.take(60)
        since = now(vm)
        vm.run(f"echo 'nonsense = 1;' >>{CONFIG}")
        samples = int(sensor(vm, "count")["Samples"])
        result = vm.run(command, check=False)
        assert how != "restart" or result.status != 0 and "plugd.service" in result.stderr
        _, why, code, restarts = wait_for(lambda: failed(vm), "the unit has failed")
        assert (why, code) == ("exit-code", "3")
        begin = time.monotonic()
        wait_for(lambda: time.monotonic() - begin > 6, "three times RestartSec pass", interval=1)
        assert failed(vm) == ["failed", "exit-code", "3", restarts], "it is not tried again"
        errors = [record["MESSAGE"] for record in journal(vm, since) if record["PRIORITY"] == "3" and record.get("SYSLOG_IDENTIFIER") == "plugd"]
        assert f"{CONFIG}:{line}:" in errors[0] and "nonsense" in errors[0]
        assert any("plugd --check" in error for error in errors)
        assert vm.out("stat -c '%a %U' /run/plugd") == "700 plugd", "what is young stays where it is"
        if how == "kill -9":
            assert int(vm.out("cat /run/plugd/spool/*.seg | wc -c")) > 0
        # As a person mends it.
        check = vm.run("plugd --check", check=False)
        assert check.status == 3 and f"{CONFIG}:{line}:" in check.stderr
        vm.run(f"sed -i '$d' {CONFIG} && plugd --check && systemctl start plugd")
        ledger.note(f"exit 3 after {how}", samples, how == "restart")
        ledger.watch()
    standin.start()
    wait_state(vm, "online")
    ledger.check(figure, "service: nothing lost")


def test_the_watchdog_ends_a_stuck_loop(vm, ledger, plugd, standin, drop_in, figure):
    drop_in("WatchdogSec=5")
    plugd(COUNTER)
    assert show(vm, "WatchdogUSec") == "5s"
    ledger.watch()
    standin.stop()
    wait_state(vm, "offline")
    ledger.take(50)
    since, pid = now(vm), show(vm, "MainPID")
    begin = time.monotonic()
    ledger.end("watchdog", f"kill -STOP {pid}; while [ -d /proc/{pid} ]; do sleep 0.1; done", False)
    took = time.monotonic() - begin
    (end,) = [record for record in journal(vm, since) if "UNIT_RESULT" in record]
    assert end["UNIT_RESULT"] == "watchdog"
    assert show(vm, "NRestarts") == "1" and show(vm, "MainPID") != pid
    standin.start()
    wait_state(vm, "online")
    ledger.check(figure, f"service: WatchdogSec=5 and a stuck loop, ended and a worker there again in {took:.1f} s")


# --- the journal ----------------------------------------------------------------------------------------------------

def test_journal_has_fields_and_no_secrets(vm, plugd, standin, drop_in):
    since = now(vm)
    drop_in("ExecStart=", "ExecStart=/usr/bin/plugd --log-level debug")
    plugd(COUNTER, {"name": "ill", "plugin": "sim", "channel": "Ill", "interval": 0.05, "misbehave": "crash", "after": 3})
    (device,) = standin.devices()
    wait_for(lambda: sensor(vm, "ill")["Restarts"] >= 1, "it is ill")
    record = wait_for(lambda: [found for found in journal(vm, since, "SENSOR=ill") if found["PRIORITY"] == "4"], "its end is said")[0]
    assert record["SYSLOG_IDENTIFIER"] == "plugd" and record["_SYSTEMD_UNIT"] == "plugd.service"
    assert "signal 11" in record["MESSAGE"]
    assert journal(vm, since, "SENSOR=count")
    levels = {found["PRIORITY"] for found in journal(vm, since, "_SYSTEMD_UNIT=plugd.service")}
    assert {"4", "6", "7"} <= levels <= {"3", "4", "5", "6", "7"}
    gateway.restart(vm)
    standin.wait_arrivals(1, channel="Count", timeout=30)
    for command in ("journalctl -b -o export --all --no-pager", "cat /proc/[0-9]*/cmdline", "systemctl status --no-pager -l plugd",
                    f"busctl --json=short call {NAME} {PATH} org.freedesktop.DBus.ObjectManager GetManagedObjects",
                    "plugctl --json status; plugctl --json show count"):
        seen = vm.run(command, text=False, check=False, timeout=120).stdout
        assert len(seen) > 100, command
        assert device.auth.encode() not in seen and gateway.PASS.encode() not in seen, command
