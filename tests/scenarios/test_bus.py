# SPDX-License-Identifier: Apache-2.0
"""D-Bus: what is promised by the introspection XML is what is there; who may do what; a bus that comes and goes."""

import json
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest
from conftest import sim
from harness import MANAGER, NAME, PATH, ROOT, SENSOR, plain, wait_for


def members(node):
    """{(interface, kind, name): what defines it} of an introspection document."""
    found = {}
    for interface in node.iter("interface"):
        if not interface.get("name").startswith(NAME):
            continue
        for member in interface:
            if member.tag not in ("method", "signal", "property"):
                continue
            arguments = tuple((argument.get("type"), argument.get("direction", "in" if member.tag == "method" else "out"))
                              for argument in member.iter("arg"))
            found[interface.get("name"), member.tag, member.get("name")] = (
                member.get("type"), member.get("access"), arguments)
    return found


def installed():
    found = {}
    files = [file for folder in ("daemon", "systemd") for file in (ROOT / folder).rglob(f"{NAME}*.xml")]
    assert files
    for file in files:
        found.update(members(ElementTree.parse(file)))
    return found


def running(gateway, path):
    result = gateway.bus.busctl("call", NAME, path, "org.freedesktop.DBus.Introspectable", "Introspect")
    return members(ElementTree.fromstring(json.loads(result.stdout)["data"][0]))


def test_introspection_is_what_is_installed(scene):
    gateway = scene.online(sim("one"))
    shown = {**running(gateway, PATH), **running(gateway, f"{PATH}/sensors/one")}
    assert shown == installed()


def test_contract(scene):
    gateway = scene.online(sim("one"))
    manager, sensor = running(gateway, PATH), running(gateway, f"{PATH}/sensors/one")
    for name, kind in {**dict.fromkeys("Version HardwareId PlugId Name State Server LastError".split(), "s"),
                       "Secure": "b", "ConnectedSince": "t",
                       **dict.fromkeys("Published Confirmed Dropped SpoolMessages SpoolBytes".split(), "t")}.items():
        assert manager[MANAGER, "property", name][0] == kind, name
    for name, kind in {**dict.fromkeys("NextTry Connections RoundTrip SpoolLimit SpoolRateSpan Held Estimated "
                                       "ClockSetBack".split(), "t"),
                       **dict.fromkeys("SpoolHours SpoolRate SpoolMessageRate".split(), "d"), "ClockTrouble": "s",
                       "SpoolFull": "b", "Confirm": "s"}.items():
        assert manager[MANAGER, "property", name][0] == kind, name
    assert manager[MANAGER, "method", "Publish"][2] == (("s", "in"), ("s", "in"), ("s", "out"))
    assert manager[MANAGER, "method", "Enroll"][2] == manager[MANAGER, "method", "Reconnect"][2] == ()
    for name, kind in {**dict.fromkeys("Name Plugin State LastError".split(), "s"), "Values": "a{sv}",
                       "LastSampleAt": "t", "Samples": "t", "Restarts": "u", "Interval": "d"}.items():
        assert sensor[SENSOR, "property", name][0] == kind, name
    assert sensor[SENSOR, "property", "Interval"][1] == "readwrite"
    assert sensor[SENSOR, "method", "Restart"][2] == ()
    # What later issues bring is absent, not stubbed.
    for absent in ("GetAdditionalProperties", "SetAdditionalProperties", "Reload"):
        assert (MANAGER, "method", absent) not in manager
    assert (MANAGER, "signal", "MessageReceived") not in manager


def test_busctl_introspects_both_objects(scene):
    gateway = scene.online(sim("one"))
    for path, expected in ((PATH, "Publish"), (f"{PATH}/sensors/one", "Restart")):
        result = subprocess.run(["busctl", f"--address={gateway.bus.address}", "--no-pager", "introspect", NAME, path],
                                capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL, check=True)
        assert expected in result.stdout


def test_object_manager_has_every_sensor(scene):
    gateway = scene.online(sim("one"), sim("two"))
    objects = gateway.objects()
    assert {path for path in objects if path.startswith(f"{PATH}/sensors/")} == {f"{PATH}/sensors/one", f"{PATH}/sensors/two"}
    assert objects[f"{PATH}/sensors/two"][SENSOR]["Plugin"] == "sim"


def test_values_and_interval(scene):
    gateway = scene.online(sim("one", interval=0.02))
    scene.counter("Sim/one", 5)
    sensor = gateway.sensor("one")
    assert set(sensor["Values"]) == {"Sim/one"} and sensor["Values"]["Sim/one"] >= 5
    assert sensor["Name"] == "one" and sensor["State"] == "running" and sensor["Interval"] == 0.02
    assert sensor["Samples"] > 5 and sensor["LastSampleAt"] > 1_600_000_000_000_000

    def set_interval(value):
        return gateway.bus.busctl("set-property", NAME, f"{PATH}/sensors/one", SENSOR, "Interval", "d", value,
                                  check=False).returncode
    assert set_interval(3600) == 0
    assert gateway.sensor("one")["Interval"] == 3600
    assert set_interval(0.0001) != 0 and set_interval(1e9) != 0 and set_interval("nan") != 0
    assert set_interval(0.02) == 0
    taken = gateway.sensor("one")["Samples"]
    wait_for(lambda: gateway.sensor("one")["Samples"] > taken + 10, "the shorter interval holds at once")


def test_changes_are_told_but_values_at_most_once_a_second(scene):
    gateway = scene.online(sim("one", interval=0.01))
    monitor = subprocess.Popen(["busctl", f"--address={gateway.bus.address}", "--json=short", "monitor",
                                f"--match=type='signal',interface='org.freedesktop.DBus.Properties',path='{PATH}/sensors/one'"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        times = []
        while len(times) < 5:
            message = json.loads(monitor.stdout.readline())
            interface, changed, _ = message["payload"]["data"]
            if interface == SENSOR and "Values" in changed:
                times.append(message["timestamp-realtime"] / 1e6 if "timestamp-realtime" in message else message["realtime"] / 1e6)
    finally:
        monitor.terminate()
        monitor.wait(10)
        monitor.stdout.close()
    assert all(later - earlier > 0.8 for earlier, later in zip(times, times[1:])), times


@pytest.mark.parametrize("confirm", ["barrier", "none"])
def test_what_listeners_know_ends_as_it_is(scene, confirm):
    """Sent and confirmed after it was stored: the counters that were told last are those that are."""
    gateway = scene.online(delivery={"confirm": confirm})
    with open(scene.folder / "told", "w") as file:
        monitor = subprocess.Popen(["busctl", f"--address={gateway.bus.address}", "--json=short", "monitor",
                                    f"--match=type='signal',interface='org.freedesktop.DBus.Properties',path='{PATH}'"],
                                   stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE, text=True)
    try:
        def told():
            values = {}
            for line in (scene.folder / "told").read_text().splitlines():
                values.update(plain(json.loads(line)["payload"]["data"][1]))
            return values

        assert "Monitoring" in monitor.stderr.readline()
        for burst in (1, 200):
            before = gateway.get("Published")
            if burst == 1:
                gateway.publish("By/Hand", 1)
            else:  # a backlog, sent at once when the server is back
                scene.platform.stop()
                wait_for(lambda: gateway.get("State") != "online", "it notices")
                for number in range(burst):
                    gateway.publish("By/Hand", number)
                scene.platform.start()
                gateway.call("Reconnect")
                gateway.wait_online()
            wait_for(lambda: gateway.get("Published") > before and gateway.get("SpoolMessages") == 0, "all is delivered")
            actual = gateway.properties()
            wait_for(lambda: all(told().get(name) == actual[name] for name in ("Published", "Confirmed", "SpoolMessages", "SpoolBytes")
                                 if name in told() or actual[name]), "it is told", 3)
    finally:
        monitor.terminate()
        monitor.wait(10)
        monitor.stderr.close()


def test_unknown_names_are_errors_with_a_sentence(scene):
    gateway = scene.online(sim("one"))
    result = gateway.call("Nonsense", check=False)
    assert result.returncode != 0
    result = gateway.bus.busctl("get-property", NAME, f"{PATH}/sensors/none", SENSOR, "State", check=False)
    assert result.returncode != 0


def test_the_bus_may_go_and_come_back(scene):
    gateway = scene.online(sim("one"))
    scene.bus.stop()
    scene.counter("Sim/one", scene.check_counter("Sim/one")[-1] + 20)
    scene.bus.start()
    gateway.wait_state("online", 30)
    assert len(scene.platform.events("connect")) == 2


def test_it_starts_without_a_bus(scene):
    scene.bus.stop()
    gateway = scene.gateway(scene.settings(sim("one"))).start()
    scene.counter("Sim/one", 10)
    scene.bus.start()
    gateway.wait_state("online", 30)
