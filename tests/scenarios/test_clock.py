# SPDX-License-Identifier: Apache-2.0
"""A machine whose clock starts in 1970, is set, jumps, and is lost: nothing is lost with it, and every time is true.

The daemon (not its workers, which only ask for clocks that never jump) runs with tests/clock/fake-clock.c preloaded."""

import re
import struct
import time
import uuid

import pytest
from conftest import sim
from harness import BUILD, wait_for

FAKE_CLOCK = BUILD / "tests" / "clock" / "fake-clock.so"
CHANNEL = "By/Hand"
YEAR = 365 * 86400.0
EPOCH = 60.0  # "1970": a minute after the epoch


class Clock:
    """What the gateway's machine takes for the time."""

    def __init__(self, path):
        self.path = path
        self.ahead = self.boot_ahead = 0.0
        self.synchronised = False
        self.boot_id = ""
        self.write()

    def write(self):
        data = struct.pack("=qqq40s", int(self.ahead * 1e6), int(self.boot_ahead * 1e6), self.synchronised, self.boot_id.encode())
        with open(self.path, "r+b" if self.path.exists() else "wb") as file:
            file.write(data)

    def set(self, when):
        """The clock says `when` (s) from now on."""
        self.ahead = when - time.time()
        self.write()

    def right(self):
        self.ahead = 0.0
        self.write()

    def boot(self, uptime=10.0):
        """Another boot, with the clock in 1970."""
        self.boot_id = str(uuid.uuid4())
        self.boot_ahead = uptime - time.clock_gettime(time.CLOCK_BOOTTIME)
        self.set(EPOCH)


@pytest.fixture
def clock(folder):
    return Clock(folder / "clock")


@pytest.fixture
def make_gateway(scene, clock):
    def make(*sensors, **changes):
        return scene.gateway(scene.settings(*sensors, **changes), environment={
            "LD_PRELOAD": str(FAKE_CLOCK), "FAKE_CLOCK": str(clock.path)})
    return make


def on_bus(gateway):
    wait_for(lambda: gateway.get("State"), "it is on the bus")
    return gateway


def publish(gateway, count, taken, start=0):
    """`taken` gets id: (value, when it was published, by the right clock)."""
    for number in range(start, start + count):
        before = time.time()
        identity = gateway.publish(CHANNEL, number)
        taken[identity] = (number, before, time.time())


def arrived(scene, channel, count):
    """One row an id, in the order of their times; however often it came, it was the same."""
    scene.platform.wait_arrivals(count, channel)
    rows = {}
    for row in scene.platform.arrivals(channel):
        first = rows.setdefault(row.id, row)
        assert (first.at, first.data) == (row.at, row.data), "it came again, changed"
    return sorted(rows.values(), key=lambda row: row.at)


def assert_counts(rows):
    """A counter without a gap; a worker that starts anew begins at 0."""
    ats = [row.at for row in rows]
    assert len(ats) == len(set(ats)), "no time is used twice"
    values = [int(row.value) for row in rows]
    for before, value in zip(values, values[1:]):
        assert value in (before + 1, 0), f"{value} after {before} of {values}"


def assert_true_times(rows, taken, slack=0.5):
    assert [row.id for row in rows] == list(taken), "everything, in order, and nothing else"
    for row in rows:
        value, before, after = taken[row.id]
        assert row.value == value
        assert before - slack <= row.at / 1000 <= after + slack
    ats = [row.at for row in rows]
    assert ats == sorted(set(ats)), "strictly increasing"


def births(scene):
    return [row for row in scene.platform.arrivals("status") if not row.will]


def test_samples_wait_until_the_clock_is_set(scene, clock, make_gateway, figure):
    clock.set(EPOCH)
    begin = time.time()
    gateway = make_gateway(sim("one", interval=0.02)).start().wait_online()
    taken = {}
    publish(gateway, 5, taken)
    wait_for(lambda: gateway.sensor("one")["Samples"] > 20, "samples are taken")
    gateway.kill()
    gateway.start().wait_online()
    publish(gateway, 5, taken, 5)
    wait_for(lambda: gateway.sensor("one")["Samples"] > 20, "samples are taken")
    assert gateway.stop() == 0
    gateway.start().wait_online()
    publish(gateway, 5, taken, 10)
    wait_for(lambda: len(births(scene)) == 3, "each birth arrives")
    assert all(row.at is None for row in births(scene)), "and has no time"
    assert {row.channel for row in scene.platform.arrivals()} == {"status"}, "nothing else goes out"
    assert gateway.get("SpoolMessages") >= 15 + 40
    assert "1970-01-01" in gateway.log and "until it is set" in gateway.log
    status = gateway.ctl("status").stdout
    assert re.search(r"^Clock  +.* samples wait until it is set;", status, re.M) and "\nTimes" not in status

    clock.right()
    was_set = time.time()
    assert_true_times(arrived(scene, CHANNEL, 15), taken)
    figure(f"clock: from its being set to the arrival of all that waited: {time.time() - was_set:.2f} s")
    gateway.wait_online()
    publish(gateway, 5, taken, 15)
    assert_true_times(arrived(scene, CHANNEL, 20), taken)
    rows = arrived(scene, "Sim/one", 100)
    assert_counts(rows)
    assert begin - 0.5 <= rows[0].at / 1000 and rows[-1].at / 1000 <= time.time() + 0.5
    # Known from here on: a clock that is lost again changes nothing, also over a restart.
    clock.set(EPOCH)
    publish(gateway, 5, taken, 20)
    gateway.kill()
    gateway.start().wait_online()
    publish(gateway, 5, taken, 25)
    assert_true_times(arrived(scene, CHANNEL, 30), taken)
    assert gateway.stop() == 0
    gateway.start().wait_online()
    assert_counts(arrived(scene, "Sim/one", 150))


def test_times_stay_the_same_over_a_kill_while_they_are_sent(scene, clock, make_gateway):
    clock.set(EPOCH)
    gateway = make_gateway(delivery={"confirm_timeout": 2}).start().wait_online()
    taken = {}
    publish(gateway, 20, taken)
    scene.platform.withhold("UNSUBACK", -1)
    clock.right()
    arrived(scene, CHANNEL, 20)
    gateway.kill()
    # What the clock says has changed a little, what was sent has not.
    clock.ahead = 7.0
    clock.write()
    scene.platform.clear()
    gateway.start().wait_online()
    gateway.wait_confirmed()
    rows = scene.platform.arrivals(CHANNEL)
    assert len(rows) >= 40, "all came again"
    assert_true_times(arrived(scene, CHANNEL, 40), taken)


def test_boots_that_ended_before_the_clock_was_set(scene, clock, make_gateway):
    clock.right()
    gateway = make_gateway().start().wait_online()
    assert gateway.stop() == 0
    scene.platform.stop()
    taken = {}
    for boot in range(3):
        clock.boot(uptime=30.0 + boot)
        on_bus(gateway.start())
        publish(gateway, 4, taken, 4 * boot)
        wait_for(lambda count=len(taken): gateway.get("SpoolMessages") >= count, "they are kept")
        assert gateway.stop() == 0  # a power cut would need to sync first; the spool's tests have those
    clock.boot(uptime=30.0)
    on_bus(gateway.start())
    publish(gateway, 4, taken, 12)
    scene.platform.start()
    gateway.wait_online(30)
    assert not scene.platform.arrivals(CHANNEL)
    clock.right()
    rows = arrived(scene, CHANNEL, 16)
    assert [row.id for row in rows] == list(taken)
    ats = [row.at for row in rows]
    assert ats == sorted(set(ats))
    assert "12 messages of 3 earlier boots" in gateway.log and "estimated" in gateway.log
    # Of this boot exact; the one before ended when this one began.
    _, before, after = list(taken.values())[12]
    assert before - 0.5 <= rows[12].at / 1000 <= after + 0.5
    for boot in (2, 1, 0):
        last, first = rows[4 * boot + 3].at, rows[4 * boot + 4].at
        assert 25_000 < first - last < 40_000, (boot, first - last)
    gateway.wait_confirmed()
    assert gateway.stop() == 0


def test_a_clock_that_jumps_uses_no_time_twice(scene, clock, make_gateway):
    """A thousand samples a second leave hardly a millisecond free; years ahead, back again, with kill -9 between."""
    clock.right()
    gateway = make_gateway(sim("fast", interval=0.001), spool={"max_size": "16M"}).start().wait_online()
    scene.platform.wait_arrivals(10, "Sim/fast")
    scene.platform.stop()
    gateway.wait_state("offline")
    begin = time.time()

    def take(count):
        before = gateway.sensor("fast")["Samples"]
        wait_for(lambda: gateway.sensor("fast")["Samples"] > before + count, "samples are taken")

    take(1500)
    clock.set(time.time() + 60 * YEAR)
    take(300)
    gateway.kill()
    clock.set(begin)
    clock.synchronised = True
    clock.write()
    on_bus(gateway.start())
    take(1500)
    assert "set back" in gateway.log
    clock.set(time.time() + 600)
    take(300)
    clock.set(begin + 0.5)
    take(1500)
    assert gateway.get("Dropped") == 0
    messages = gateway.get("SpoolMessages")
    scene.platform.start()
    gateway.wait_online(30)
    scene.platform.wait_arrivals(messages, "Sim/fast", timeout=60)
    rows = arrived(scene, "Sim/fast", messages)
    assert len({row.at for row in rows}) == len(rows), "no time is used twice"
    # The new time holds: nothing but what was taken then is of the future.
    assert sum(row.at / 1000 > begin + 30 * YEAR for row in rows) < 1000


def test_wait_sync(scene, clock, make_gateway):
    """true: a clock that could be right isn't enough. false: nothing waits."""
    clock.right()
    gateway = make_gateway(time={"wait_sync": True}).start().wait_online()
    taken = {}
    publish(gateway, 3, taken)
    wait_for(lambda: len(births(scene)) == 1, "the birth arrives")
    assert not scene.platform.arrivals(CHANNEL)
    clock.synchronised = True
    clock.write()
    assert_true_times(arrived(scene, CHANNEL, 3), taken)
    gateway.wait_confirmed()
    assert gateway.stop() == 0

    clock.boot()
    other = make_gateway(time={"wait_sync": False}, device={"hwid": "test-0002"}).start().wait_online()
    identity = other.publish(CHANNEL, "untimed")
    row = wait_for(lambda: [row for row in scene.platform.arrivals(CHANNEL) if row.id == identity], "it arrives")[0]
    assert row.at is None
    assert other.stop() == 0
