# SPDX-License-Identifier: Apache-2.0
"""A plugin can do no harm: whatever becomes of one worker, the other sensors and the connection don't notice."""

import json
import os
import re
import signal
import stat
from pathlib import Path

import pytest
from conftest import sim
from harness import BUILD, WORKER, children, process_alive, wait_for

SANITIZED = b"__asan_init" in WORKER.read_bytes()


class Watch:
    """The sensor "steady" beside the one that is ill."""

    def __init__(self, scene, gateway):
        self.scene, self.gateway = scene, gateway
        self.pid = gateway.worker("steady")
        scene.counter("Sim/steady", 10)

    def unharmed(self, beyond=60):
        """Its counter goes on from where it is now, without a gap, in the same process, over the same connection."""
        taken = self.gateway.sensor("steady")["Samples"]
        values = self.scene.counter("Sim/steady", taken + beyond, 30)
        assert values == list(range(len(values))), "one run, without a gap"
        assert self.gateway.worker("steady") == self.pid
        sensor = self.gateway.sensor("steady")
        assert sensor["Restarts"] == 0 and sensor["State"] == "running"
        assert self.gateway.get("State") == "online"
        assert len(self.scene.platform.events("connect")) == 2, "one to enrol, one to stay"


def watched(scene, **options):
    gateway = scene.online(sim("steady", interval=0.02), sim("ill", interval=0.02, **options))
    return gateway, Watch(scene, gateway)


def test_worker_killed(scene):
    gateway, watch = watched(scene)
    before = gateway.worker("ill")
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: gateway.sensor("ill")["Restarts"] == 1, "it counts")
    wait_for(lambda: gateway.sensor("ill")["State"] == "running", "it comes back")
    assert gateway.worker("ill") != before
    watch.unharmed()
    scene.check_counter("Sim/ill")


def test_worker_stopped_is_warned_about_killed_and_replaced(scene):
    gateway, watch = watched(scene)
    before = gateway.worker("ill")
    os.kill(before, signal.SIGSTOP)
    wait_for(lambda: gateway.sensor("ill")["State"] == "silent", "it is warned about", 14)
    assert process_alive(before)
    wait_for(lambda: not process_alive(before), "it is killed", 12)
    wait_for(lambda: gateway.sensor("ill")["State"] == "running", "it comes back")
    assert gateway.sensor("ill")["Restarts"] == 1
    watch.unharmed()


@pytest.mark.parametrize("how", ["crash", "exit", "garbage"])
def test_plugin_that_ends_badly(scene, how):
    gateway, watch = watched(scene, misbehave=how, after=5)
    wait_for(lambda: gateway.sensor("ill")["Restarts"] >= 2, "it is started again, more than once", 30)
    assert gateway.sensor("ill")["LastError"]
    watch.unharmed()


def test_a_crash_loop_is_seen_while_it_runs(scene):
    """Good samples between two crashes don't hide how the worker ended."""
    gateway = scene.online(sim("ill", interval=0.1, misbehave="crash", after=15))
    wait_for(lambda: gateway.sensor("ill")["Restarts"] >= 1, "it is started again", 30)
    samples = gateway.sensor("ill")["Samples"]
    wait_for(lambda: gateway.sensor("ill")["Samples"] > samples + 3, "it gives samples")
    sensor = gateway.sensor("ill")
    assert (sensor["State"], sensor["LastError"]) == ("running", "worker ended by signal 11 (Segmentation fault)")


def test_plugin_that_hangs(scene):
    gateway, watch = watched(scene, misbehave="hang", after=5)
    wait_for(lambda: gateway.sensor("ill")["State"] == "silent", "it is warned about", 16)
    watch.unharmed()
    wait_for(lambda: gateway.sensor("ill")["Restarts"] >= 1, "it is killed and replaced", 12)
    watch.unharmed()


def test_plugin_that_floods(scene):
    gateway, watch = watched(scene, misbehave="flood", after=5, rate_limit=100)
    dropped = gateway.get("Dropped")
    wait_for(lambda: gateway.get("Dropped") > dropped + 1000 or gateway.sensor("ill")["State"] != "running",
             "the flood is limited", 30)
    watch.unharmed(150)
    seconds = 2.0
    first = scene.platform.count(channel="Sim/ill")
    begin = gateway.sensor("steady")["Samples"]
    wait_for(lambda: gateway.sensor("steady")["Samples"] >= begin + seconds / 0.02, "two seconds pass", 30)
    assert scene.platform.count(channel="Sim/ill") - first <= 100 * (seconds + 4)
    assert re.fullmatch(r"gives more than 100 samples a second \(rate_limit\); \d+ dropped", gateway.sensor("ill")["LastError"])
    gateway.stop()


@pytest.fixture
def scripted(scene):
    """scripted(sensor=script, …): a gateway with a steady sensor and these, of the plugin that does what it is told."""
    plugins = scene.folder / "plugins"
    plugins.mkdir()
    for path in (BUILD / "plugins" / "sim.so", BUILD / "tests" / "plugins" / "script.so"):
        (plugins / path.name).write_bytes(path.read_bytes())

    def make(**scripts):
        sensors = [{"name": name, "plugin": "script", "channel": f"Script/{name}", "interval": 0.2, "script": script,
                    "open_failures": 100 if name == "closed" else 0} for name, script in scripts.items()]
        gateway = scene.gateway(scene.settings(sim("steady", interval=0.02), *sensors), plugins=plugins).start()
        return gateway.wait_online()
    return make


def test_what_is_wrong_with_a_plugin_is_said(scene, scripted):
    gateway = scripted(closed="ok", nan="badnan", text="nojson", leaking="leak", odd="errno")
    watch = Watch(scene, gateway)

    def says(name, state, text):
        def holds():
            sensor = gateway.sensor(name)
            return sensor["State"] == state and text in sensor["LastError"]
        wait_for(holds, f"{name} is {state}: {text}", 30)
    says("closed", "failing", "of the script fails: wait")
    says("nan", "failing", "emit() on 'number': NaN is no JSON number")
    says("text", "running", "a value of channel 'Script/text/json' is dropped: it is not JSON")
    says("odd", "failing", "returned -99999, which is no errno value")
    assert gateway.log.count("NaN is no JSON number") == 1
    assert gateway.log.count("it is not JSON") == 1
    if not SANITIZED:
        wait_for(lambda: "no memory left of the 64 MiB" in gateway.sensor("leaking")["LastError"], "it has leaked", 30)
        wait_for(lambda: gateway.sensor("leaking")["Restarts"] >= 1, "it is started again")
    watch.unharmed()


def test_a_crash_on_the_way_out_is_said(scene, scripted):
    gateway = scripted(ill="ok crash-in-close")
    wait_for(lambda: gateway.sensor("ill")["Samples"] > 0, "it works")
    gateway.call("Restart", path="/com/cloudplugs/Gateway1/sensors/ill", interface="com.cloudplugs.Gateway1.Sensor")
    wait_for(lambda: "asked to stop, but ended by signal 6 (Aborted) instead of closing plugin 'script'" in gateway.log,
             "the log has it")


def test_restart_on_request(scene):
    gateway, watch = watched(scene)
    before = gateway.worker("ill")
    gateway.call("Restart", path="/com/cloudplugs/Gateway1/sensors/ill", interface="com.cloudplugs.Gateway1.Sensor")
    wait_for(lambda: gateway.workers().get("ill") not in (None, before), "another worker")
    wait_for(lambda: gateway.sensor("ill")["State"] == "running", "it runs")
    watch.unharmed()


def test_a_plugin_that_is_gone_is_no_reason_to_end(scene):
    """The file disappears after the start: the sensor says so, the others go on."""
    plugins = scene.folder / "plugins"
    plugins.mkdir()
    for name in ("sim.so", "system.so"):
        (plugins / name).write_bytes((BUILD / "plugins" / name).read_bytes())
    gateway = scene.gateway(scene.settings(
        sim("steady", interval=0.02), {"name": "ill", "plugin": "system", "channel": "Ill", "interval": 0.5}),
        plugins=plugins).start().wait_online()
    watch = Watch(scene, gateway)
    (plugins / "system.so").unlink()
    os.kill(gateway.worker("ill"), signal.SIGKILL)
    wait_for(lambda: "system" in gateway.sensor("ill")["LastError"] and gateway.sensor("ill")["Restarts"] >= 1,
             "the missing plugin is named", 30)
    watch.unharmed()


def test_workers_have_their_sandbox_from_the_first(scene):
    gateway = scene.online(sim("one"))
    pid = gateway.worker("one")
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    argv = children(gateway.pid)[pid]
    assert argv[0].endswith("plugd-worker") and "one" in argv[1:]
    # What it inherited: the three standard ones and its end of the socket; nothing of the daemon's.
    wait_for(lambda: gateway.sensor("one")["Samples"] > 3, "it works")
    sockets = [link for link in (os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir())
               if link.startswith("socket:")]
    assert len(sockets) == 1
    shown = gateway.sensor("one")
    assert any("andbox" in name for name in shown), f"the bus says what of the sandbox holds: {sorted(shown)}"


def test_a_device_that_comes_later_and_is_replaced(scene):
    """A worker may open what its plugin names, as it was when it began; for another it gets a successor."""
    plugins = scene.folder / "plugins"
    plugins.mkdir()
    for path in (BUILD / "plugins" / "sim.so", BUILD / "tests" / "plugins" / "probe.so"):
        (plugins / path.name).write_bytes(path.read_bytes())
    device = Path(f"/dev/plugd-scenario-{os.getpid()}")
    aside = device.with_suffix(".aside")

    def plug():
        os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    try:
        plug()
        device.unlink()
    except OSError as error:
        pytest.skip(f"no device can be made: {error}")
    gateway = scene.gateway(scene.settings(
        sim("steady", interval=0.02),
        {"name": "probe", "plugin": "probe", "channel": "Probe", "interval": 0.2, "device": device.name, "open": True}),
        plugins=plugins).start().wait_online()
    watch = Watch(scene, gateway)

    def probe_is(state, restarts):
        def holds():
            sensor = gateway.sensor("probe")
            return (sensor["State"], sensor["Restarts"]) == (state, restarts)
        wait_for(holds, f"it is {state} after {restarts} restarts", 30)
    probe_is("failing", 0)
    if "landlock" not in gateway.sensor("probe")["Sandbox"]:
        pytest.skip("the kernel has no Landlock")
    assert "No such file" in gateway.sensor("probe")["LastError"]
    try:
        plug()
        probe_is("running", 1)
        assert gateway.sensor("probe")["LastError"] == ""
        report = json.loads(gateway.sensor("probe")["Values"]["Probe"])
        assert report["device-write"] == "ok" and report["tty"] == "EACCES"
        device.rename(aside)
        plug()
        probe_is("running", 2)
    finally:
        device.unlink(missing_ok=True)
        aside.unlink(missing_ok=True)
    assert gateway.log.count("probe: its devices have changed: it gets a new worker") == 2
    watch.unharmed()


def test_workers_end_with_their_daemon(scene):
    gateway = scene.online(sim("one"), sim("two"))
    pids = [gateway.worker("one"), gateway.worker("two")]
    gateway.kill()
    wait_for(lambda: not any(map(process_alive, pids)), "they end")
