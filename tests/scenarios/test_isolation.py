# SPDX-License-Identifier: Apache-2.0
"""A plugin can do no harm: whatever becomes of one worker, the other sensors and the connection don't notice."""

import os
import signal
from pathlib import Path

import pytest
from conftest import sim
from harness import BUILD, children, process_alive, wait_for


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
    gateway.stop()


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


def test_workers_end_with_their_daemon(scene):
    gateway = scene.online(sim("one"), sim("two"))
    pids = [gateway.worker("one"), gateway.worker("two")]
    gateway.kill()
    wait_for(lambda: not any(map(process_alive, pids)), "they end")
