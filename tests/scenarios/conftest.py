# SPDX-License-Identifier: Apache-2.0
"""What scenarios ask for: a folder, a bus, the platform's stand-in, and gateways. Whatever a test starts is ended after
it, and no log may have a secret or a sanitizer's complaint in it."""

import os
import sys
from pathlib import Path

import harness
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))
os.environ.setdefault("PLUGD_PLATFORM_SO", str(harness.PLATFORM / "platform.so"))
from standin import StandIn, template  # noqa: E402

MODEL = "mod-0123456789abcdef01234567"
PASS = "aB3/kL9=s3cr3t"
HWID = "test-0001"

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for thing in item.funcargs.values():
            if isinstance(thing, Scene):
                for gateway in thing.gateways:
                    report.sections.append((f"log of {gateway.folder.name}", gateway.log[-12000:]))


def pytest_terminal_summary(terminalreporter):
    figures = [text for reports in terminalreporter.stats.values() for report in reports
               if getattr(report, "when", None) == "call" for name, text in report.user_properties if name == "figure"]
    if figures:
        terminalreporter.section("figures")
        for text in figures:
            terminalreporter.write_line(text)


@pytest.fixture
def figure(record_property):
    """figure("sentence"): shown at the end of the run."""
    return lambda text: record_property("figure", text)


@pytest.fixture
def folder():
    made = harness.make_folder()
    yield made
    harness.remove_folder(made)


class Scene:
    """One test's world."""

    def __init__(self, folder, bus, platform):
        self.folder, self.bus, self.platform = folder, bus, platform
        self.gateways = []

    def settings(self, *sensors, server=None, device=None, **more):
        """A whole configuration: enrols as a thing with the stand-in. Parts given are merged in, None takes a key
        out."""
        def merge(base, changes):
            return {key: value for key, value in {**base, **(changes or {})}.items() if value is not None}
        base_server = {"host": self.platform.host, "port": self.platform.port, "tls": False} if self.platform else {}
        enroll = {"as": "thing", "model": MODEL, "pass": PASS}
        result = {
            "server": merge(base_server, server),
            "device": merge({"hwid": HWID, "name": "greenhouse", "enroll": enroll}, device),
            **more,
        }
        if sensors:
            result["sensors"] = list(sensors)
        return result

    def gateway(self, settings=None, bus=None, **arguments):
        """Made, not started."""
        folder = self.folder / f"gateway{len(self.gateways)}"
        folder.mkdir()
        gateway = harness.Gateway(folder, bus or self.bus, settings or self.settings(), **arguments)
        self.gateways.append(gateway)
        return gateway

    def online(self, *sensors, **changes):
        """A gateway that is enrolled and online."""
        return self.gateway(self.settings(*sensors, **changes)).start().wait_online()

    def counter(self, channel, start=1, timeout=20.0, since=0):
        """Waits until the counter on that channel has reached `start` in the stand-in, and checks what has come."""
        harness.wait_for(lambda: any(row.value >= start for row in self.platform.arrivals(channel, since)),
                         f"{channel} counts to {start}", timeout)
        return self.check_counter(channel, since)

    def check_counter(self, channel, since=0, timeout=10.0):
        """Of a sim counter: everything once or more, unchanged, without a gap in the order of its times. Returns the
        distinct values in that order: after an outage the newest arrive before the backlog, which is waited for.

        A worker that starts anew counts from 0 again."""
        def distinct():
            first = {}
            for row in self.platform.arrivals(channel, since):
                if row.id in first:
                    assert (row.at, row.data) == first[row.id], f"{row.id} came again, changed"
                else:
                    first[row.id] = (row.at, row.data)
            times = [at for at, _ in first.values()]
            assert len(times) == len(set(times)), f"{channel}: a time was used twice"
            return [int(float(data)) for _, data in sorted(first.values())]

        def whole():
            values = distinct()
            for before, value in zip(values, values[1:]):
                if value not in (before + 1, 0):
                    raise LookupError(f"{channel}: {value} after {before} of {values}")
            return values or [None]

        return [value for value in harness.wait_for(whole, f"{channel} has no gaps", timeout) if value is not None]


def sim(name, interval=0.05, channel=None, **options):
    return {"name": name, "plugin": "sim", "channel": channel or f"Sim/{name}", "interval": interval, **options}


@pytest.fixture
def make_scene(folder):
    """make_scene(platform options): for what `scene` doesn't do."""
    scenes, ends = [], []

    def make(**options):
        bus = harness.Bus(folder)
        ends.append(bus.stop)
        platform = StandIn(state=folder / "platform", templates=[template(MODEL, PASS)], **options).start()
        ends.append(platform.close)
        scene = Scene(folder, bus, platform)
        scenes.append(scene)
        return scene

    yield make
    logs = []
    for scene in scenes:
        for gateway in scene.gateways:
            gateway.cleanup()
            logs.append(gateway.log)
    auths = [device.auth for scene in scenes for device in scene.platform.devices()]
    for end in reversed(ends):
        end()
    for log in logs:
        assert not harness.SANITIZER.search(log), log[-6000:]
        for secret in [PASS, *auths]:
            assert secret not in log, "a secret is in the log"


@pytest.fixture
def scene(make_scene):
    return make_scene()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return tmp_path_factory.mktemp("certificates")
