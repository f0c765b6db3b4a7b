# SPDX-License-Identifier: Apache-2.0
"""Who may do what on the system bus, by the policy that is installed; what the installed introspection says beside the
signatures; and that there is one gateway on a bus. The bus is a private one with the system bus's rules."""

import grp
import json
import subprocess
import xml.etree.ElementTree as ElementTree

import harness
import pytest
from conftest import sim
from harness import MANAGER, NAME, PATH, ROOT, SENSOR, wait_for

NOBODY = 65534
ONE = f"{PATH}/sensors/one"
DOC = "org.gtk.GDBus.DocString"
EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"

# Who plays the user and the group plugd, which this machine need not have.
GROUP = grp.getgrnam("games")


def as_user(*options):
    return ["setpriv", *options]


WHO = {
    "root": [],
    "anybody": as_user(f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    "member": as_user(f"--reuid={NOBODY}", f"--regid={NOBODY}", f"--groups={GROUP.gr_gid}"),
    "own group": as_user(f"--reuid={NOBODY}", f"--regid={GROUP.gr_gid}", "--clear-groups"),
}
READS = {
    "Get": ("get-property", NAME, PATH, MANAGER, "State"),
    "GetAll": ("call", NAME, ONE, "org.freedesktop.DBus.Properties", "GetAll", "s", SENSOR),
    "Introspect": ("call", NAME, ONE, "org.freedesktop.DBus.Introspectable", "Introspect"),
    "Ping": ("call", NAME, PATH, "org.freedesktop.DBus.Peer", "Ping"),
    "GetManagedObjects": ("call", NAME, PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"),
    "busctl introspect": ("introspect", NAME, PATH),
    "busctl tree": ("tree", NAME),
}
# Each with the errors of plugd itself that a caller may get who is let through: this gateway has no platform.
CHANGES = {
    "Publish": (("call", NAME, PATH, MANAGER, "Publish", "ss", "By/Hand", "1"), None),
    "Enroll": (("call", NAME, PATH, MANAGER, "Enroll"), "nothing to enrol with"),
    "Reconnect": (("call", NAME, PATH, MANAGER, "Reconnect"), "nothing to connect as"),
    "Restart": (("call", NAME, ONE, SENSOR, "Restart"), None),
    "Interval": (("set-property", NAME, ONE, SENSOR, "Interval", "d", "7"), None),
}


@pytest.fixture(scope="module")
def system():
    """(bus, gateway): plugd on a bus with the policy."""
    (policy,) = (ROOT / "systemd").glob(f"{NAME}.conf")
    rules = "".join(ElementTree.tostring(element, encoding="unicode")
                    for element in ElementTree.parse(policy).getroot().findall("policy"))
    rules = rules.replace('user="plugd"', 'user="daemon"').replace('group="plugd"', f'group="{GROUP.gr_name}"')
    folder = harness.make_folder()
    bus = harness.Bus(folder, policy=rules)
    gateway = harness.Gateway(folder, bus, {"device": {"hwid": "test-0001"}, "sensors": [sim("one", interval=0.1)]})
    try:
        gateway.start()
        wait_for(lambda: gateway.sensor("one")["State"] == "running", "it runs")
        yield bus, gateway
        assert gateway.stop() == 0
        assert not harness.SANITIZER.search(gateway.log), gateway.log[-6000:]
    finally:
        gateway.cleanup()
        bus.stop()
        harness.remove_folder(folder)


def ask(bus, who, call):
    return subprocess.run([*WHO[who], "busctl", f"--address={bus.address}", "--no-pager", *call], capture_output=True,
                          text=True, timeout=30, stdin=subprocess.DEVNULL, cwd="/")


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("who", WHO)
def test_everybody_reads(system, who, read):
    result = ask(system[0], who, READS[read])
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("who", WHO)
def test_root_and_the_group_change(system, who, change):
    bus, gateway = system
    call, refusal = CHANGES[change]
    before = gateway.sensor("one")["Interval"], gateway.sensor("one")["Restarts"]
    result = ask(bus, who, call)
    if who == "anybody":
        assert result.returncode != 0 and "Access denied" in result.stderr
        assert before == (gateway.sensor("one")["Interval"], gateway.sensor("one")["Restarts"])
    elif refusal:
        assert result.returncode != 0 and refusal in result.stderr
    else:
        assert result.returncode == 0, result.stderr


def test_everybody_hears_of_changes(system):
    bus, gateway = system
    bus.busctl("set-property", NAME, ONE, SENSOR, "Interval", "d", "0.1")
    heard = gateway.folder / "heard"
    with open(heard, "w") as file:
        monitor = subprocess.Popen([*WHO["anybody"], "dbus-monitor", "--address", bus.address,
                                    f"type='signal',interface='org.freedesktop.DBus.Properties',path='{ONE}'"],
                                   stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.DEVNULL, cwd="/")
    try:
        wait_for(lambda: '"Values"' in heard.read_text(), "the sensor's values are told")
    finally:
        monitor.terminate()
        monitor.wait(10)


def test_plugctl_says_who_may(system):
    bus, gateway = system

    def ctl(who, *arguments):
        return subprocess.run([*WHO[who], str(harness.CTL), "--user", *arguments], env=gateway.environment, cwd="/",
                              capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    assert ctl("anybody", "status").returncode == 0
    refused = ctl("anybody", "restart", "one")
    assert refused.returncode == 1 and "root" in refused.stderr and "group plugd" in refused.stderr
    assert ctl("member", "restart", "one").returncode == 0


def test_a_second_plugd_ends_at_once(system, folder):
    """It says why, and has not started a worker, nor touched the first."""
    bus, gateway = system
    second = harness.Gateway(folder, bus, {"device": {"hwid": "test-0002"}, "sensors": [sim("other")]})
    try:
        second.start()
        assert second.wait_exit(10) == 1
    finally:
        second.cleanup()
    assert NAME in second.log and "another plugd" in second.log
    assert "worker" not in second.log
    assert gateway.sensor("one")["State"] in ("running", "starting")


# --- what is installed says ---------------------------------------------------------------------------------------------

def described(root):
    """{(interface, member): (arguments with their names, how changes are told)}"""
    found = {}
    for interface in root.iter("interface"):
        if not interface.get("name").startswith(NAME):
            continue
        for member in interface:
            if member.tag == "annotation":
                continue
            notes = {note.get("name"): note.get("value") for note in member.findall("annotation")}
            arguments = [(argument.get("name"), argument.get("type"), argument.get("direction")) for argument in member.findall("arg")]
            found[interface.get("name"), member.get("name")] = (
                member.tag, member.get("type"), member.get("access"), arguments, notes.get(EMITS, "true"),
                {name for name in notes if name not in (EMITS, DOC)})
    return found


def installed(interface):
    return ElementTree.parse(ROOT / "daemon" / f"{interface}.xml").getroot()


@pytest.mark.parametrize("interface, path", [(MANAGER, PATH), (SENSOR, ONE)])
def test_what_is_installed_is_what_runs(system, interface, path):
    bus, _ = system
    result = bus.busctl("call", NAME, path, "org.freedesktop.DBus.Introspectable", "Introspect")
    assert described(ElementTree.fromstring(json.loads(result.stdout)["data"][0])) == described(installed(interface))


@pytest.mark.parametrize("interface", [MANAGER, SENSOR])
def test_each_member_is_described(interface):
    (node,) = installed(interface).iter("interface")
    for member in [node, *(member for member in node if member.tag != "annotation")]:
        texts = [note.get("value") for note in member.findall("annotation") if note.get("name") == DOC]
        assert len(texts) == 1 and len(texts[0]) > 20, member.get("name")
        for argument in member.findall("arg"):
            assert f"{argument.get('name')}:" in texts[0], (member.get("name"), argument.get("name"))
