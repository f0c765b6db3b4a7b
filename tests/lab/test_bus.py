# SPDX-License-Identifier: Apache-2.0
"""Who may do what on the real system bus, with the files as the package installs them: everybody reads; root and the
group plugd change something; and the bus starts a service that is not there."""

import json

import gateway
import pytest
from gateway import restart, sensor, status
from harness import wait_for
from ledger import COUNTER, NAME, PATH
from standin import template

MANAGER, SENSOR, ONE = f"{NAME}.Manager", f"{NAME}.Sensor", f"{PATH}/sensors/{COUNTER['name']}"
DENIED = "org.freedesktop.DBus.Error.AccessDenied"
WHO = ("root", "member", "visitor")
READS = {
    "Get": f"busctl get-property {NAME} {PATH} {MANAGER} State",
    "GetAll": f"busctl call {NAME} {ONE} org.freedesktop.DBus.Properties GetAll s {SENSOR}",
    "GetManagedObjects": f"busctl call {NAME} {PATH} org.freedesktop.DBus.ObjectManager GetManagedObjects",
    "Introspect": f"busctl introspect {NAME} {PATH}",
    "Ping": f"busctl call {NAME} {PATH} org.freedesktop.DBus.Peer Ping",
    "tree": f"busctl tree {NAME}",
    "plugctl status": "plugctl status",
    "plugctl sensors": "plugctl sensors",
    "plugctl show": "plugctl show count",
    "plugctl plugins": "plugctl plugins",
}


def call(path, member, *arguments):
    """dbus-send says the error's name, which busctl keeps to itself."""
    return " ".join(["dbus-send --system --print-reply", f"--dest={NAME}", path, member, *arguments])


CHANGES = {
    "Publish": call(PATH, f"{MANAGER}.Publish", "string:By/Hand", "string:1"),
    "Reconnect": call(PATH, f"{MANAGER}.Reconnect"),
    "Enroll": call(PATH, f"{MANAGER}.Enroll"),
    "Restart": call(ONE, f"{SENSOR}.Restart"),
    "Interval": call(ONE, "org.freedesktop.DBus.Properties.Set", f"string:{SENSOR}", "string:Interval", "variant:double:7"),
    "busctl Interval": f"busctl set-property {NAME} {ONE} {SENSOR} Interval d 0.5",
}
VERBS = {
    "publish": ("plugctl publish By/Hand 2", "Publish"),
    "reconnect": ("plugctl reconnect", "Reconnect"),
    "restart": ("plugctl restart count", "Restart"),
}


@pytest.fixture(scope="module")
def bus(vm):
    """plugd enrolled and online, with a counter, for all tests of this file."""
    clean = "systemctl stop plugd; systemctl reset-failed plugd 2>/dev/null; rm -rf /var/lib/plugd/* /run/plugd/* /var/lib/standin"
    vm.run(clean, timeout=90)
    with gateway.StandIn(vm, templates=[template(gateway.MODEL, gateway.PASS)]) as platform:
        gateway.configure(vm, platform, sensors=[COUNTER])
        yield vm
    vm.run(clean, timeout=90)


@pytest.mark.parametrize("who", WHO)
def test_everybody_reads(bus, who):
    for name, command in READS.items():
        result = bus.run(command, check=False, user=who)
        assert result.status == 0 and (len(result.stdout) > 3 or name == "Ping"), (name, result)


# What is other then: of (Interval, ProcessId, ConnectedSince), before and after.
EFFECTS = {
    "Reconnect": lambda before, after: after[2] not in (0, before[2]),
    "Restart": lambda before, after: after[1] not in (0, before[1]),
    "Interval": lambda before, after: after[0] == 7,
    "busctl Interval": lambda before, after: after[0] == 0.5,
}


def seen(bus):
    one = sensor(bus, "count")
    return one["Interval"], one["ProcessId"], status(bus)["ConnectedSince"]


def settled(bus):
    return wait_for(lambda: status(bus)["State"] == "online" and sensor(bus, "count")["State"] == "running" and seen(bus),
                    "online, and the counter runs", 60)


@pytest.mark.parametrize("change", CHANGES)
def test_root_and_the_group_change(bus, change):
    command = CHANGES[change]
    before = settled(bus)
    refused = bus.run(command, check=False, user="visitor")
    assert refused.status != 0 and (DENIED in refused.stderr or command.startswith("busctl") and "Access denied" in refused.stderr), refused
    assert seen(bus) == before
    for who in ("root", "member"):
        before = settled(bus)
        result = bus.run(command, check=False, user=who)
        assert result.status == 0, (who, result)
        if change in EFFECTS:
            wait_for(lambda: EFFECTS[change](before, seen(bus)), f"{change} by {who} changes what it should", 60)


@pytest.mark.parametrize("verb", VERBS)
def test_plugctl_says_who_may(bus, verb):
    command, method = VERBS[verb]
    refused = bus.run(command, check=False, user="visitor")
    assert (refused.status, refused.stdout) == (1, "")
    assert refused.stderr == f"plugctl: not allowed: {method} is for root and members of the group plugd\n"
    for who in ("root", "member"):
        assert bus.run(command, check=False, user=who).status == 0, who


def test_everybody_hears_of_changes(bus):
    restart(bus)
    heard = bus.out(f"timeout 20 dbus-monitor --system \"type='signal',sender='{NAME}',path='{ONE}',"
                    "interface='org.freedesktop.DBus.Properties'\" | grep -m 1 -A 3 Values", user="visitor")
    assert '"Count"' in heard


def test_nobody_else_takes_the_name(bus):
    result = bus.run(f"dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.RequestName string:{NAME} uint32:7",
                     check=False, user="member")
    assert result.status != 0 and DENIED in result.stderr
    bus.run("install -d -o plugd -m 700 /tmp/second /tmp/second/state /tmp/second/runtime")
    second = bus.run("setpriv --reuid=plugd --regid=plugd --clear-groups env STATE_DIRECTORY=/tmp/second/state "
                     "RUNTIME_DIRECTORY=/tmp/second/runtime plugd; status=$?; rm -r /tmp/second; exit $status", check=False)
    assert second.status == 1 and NAME in second.stderr and "another plugd" in second.stderr
    assert bus.out("systemctl is-active plugd") == "active"


# --- activation -------------------------------------------------------------------------------------------------------

def test_the_bus_starts_the_service(bus):
    """By a call of root's, as the unit has it: not a plugd of the bus's own."""
    bus.run("systemctl stop plugd")
    assert f"{NAME} - - - (activatable)" in " ".join(bus.out("busctl list --no-pager --activatable").split())
    assert json.loads(bus.out(f"busctl --json=short get-property {NAME} {PATH} {MANAGER} Version"))["data"]
    pid = bus.out("systemctl show -P MainPID plugd")
    assert bus.out(f"systemctl is-active plugd; ps -o user= -p {pid}").split() == ["active", "plugd"]
    assert bus.out(f"busctl status {NAME} | sed -n 's/^Unit=//p'") == "plugd.service"
    assert int(bus.out("pgrep -c -x plugd")) == 1


def test_the_bus_does_not_start_a_service_that_is_disabled(bus):
    bus.run("systemctl disable --now plugd")
    try:
        for who in WHO:
            asked = bus.run(f"busctl get-property {NAME} {PATH} {MANAGER} Version", check=False, user=who)
            assert asked.status != 0
            assert bus.run("systemctl is-active plugd", check=False).stdout == "inactive\n", who
    finally:
        bus.run("systemctl enable --now plugd")
    wait_for(lambda: status(bus)["State"] == "online", "it is back")


def test_to_look_with_plugctl_starts_nothing(bus):
    bus.run("systemctl stop plugd")
    for who in WHO:
        for verb in ("status", "sensors", "publish By/Hand 1"):
            result = bus.run(f"plugctl {verb}", check=False, user=who)
            assert result.status == 1 and "plugd is not running" in result.stderr and "systemctl start plugd" in result.stderr
    assert bus.run("systemctl is-active plugd", check=False).stdout == "inactive\n"
    refused = bus.run(call(PATH, f"{MANAGER}.Reconnect"), check=False, user="visitor")
    assert DENIED in refused.stderr
    assert bus.run("systemctl is-active plugd", check=False).stdout == "inactive\n", "nor does a call that is refused"
    bus.run("systemctl start plugd")
    wait_for(lambda: status(bus)["State"] == "online", "it is back")
