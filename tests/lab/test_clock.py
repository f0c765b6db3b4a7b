# SPDX-License-Identifier: Apache-2.0
"""A machine whose clock starts in 1970 and jumps: samples wait until it is set and have their true time then (promise 6)."""

import json
import re
import time

import gateway
import pytest
from gateway import sensor, status, wait_state
from harness import wait_for
from ledger import COUNTER
from standin import template

LOAD = {**COUNTER, "interval": 0.1}
CHANNEL = COUNTER["channel"]
SHORT_SEC, FULL_SEC = 5, 60  # of each clock
HOUR = 3600
# Nothing here is older.
YEAR_2020 = 1577836800

UNIT_1970 = """[Unit]
ConditionPathExists=/root/in-1970
DefaultDependencies=no
After=local-fs.target
Before=basic.target plugd.service
[Service]
Type=oneshot
ExecStart=/usr/bin/date -s @600
[Install]
WantedBy=sysinit.target
"""


def ahead(machine):
    """The guest's clock less this machine's, and how far that may be off."""
    tries = []
    for _ in range(3):
        before = time.time()
        there = float(machine.out("date +%s.%N"))
        after = time.time()
        tries.append(((after - before) / 2, there - (before + after) / 2))
    off, difference = min(tries)
    return difference, off


def arrived(platform):
    """The samples as they first came, life by life: rows in the order of their values; and how many copies."""
    first, copies, lives = {}, 0, []
    for row in platform.query("SELECT id, at, data, time_us FROM arrivals WHERE channel = ? AND fate = 'stored' ORDER BY seq", CHANNEL):
        known = first.setdefault(row.id, row)
        assert (row.at, row.data) == (known.at, known.data), f"{row.id} has come again, changed"
        copies += known is not row
    rows = list(first.values())
    assert all(row.at is not None and row.at >= YEAR_2020 * 1000 for row in rows), f"a time is none: {min(row.at or 0 for row in rows)}"
    assert len({row.at for row in rows}) == len(rows), "a time was used twice"
    for row in rows:
        value = int(json.loads(row.data))
        life = next((life for life in lives if value not in life), None)
        if life is None:
            lives.append(life := {})
        life[value] = row
    return lives, copies


def wait_held(machine, n, timeout=90):
    return wait_for(lambda: status(machine)["Held"] >= n and status(machine)["Held"], f"{n} samples are held", timeout, 0.3)


def go_on(machine, seconds):
    """Until the worker has handed over as many samples more."""
    n = sensor(machine, COUNTER["name"])["Samples"] + int(seconds * 10)
    wait_for(lambda: sensor(machine, COUNTER["name"])["Samples"] >= n, f"{seconds} s of samples", 60 + 3 * seconds, 0.3)


def wait_all(platform, life, n, timeout=90):
    """Until the first n samples of that life, and of those before it all, have come."""
    def there():
        lives, copies = arrived(platform)
        return (lives, copies) if len(lives) > life and all(value in lives[life] for value in range(n)) else None
    lives, copies = wait_for(there, f"{n} samples of life {life + 1} arrive", timeout, 0.5)
    for one in lives:
        assert sorted(one) == list(range(len(one))) or one is lives[-1], "a sample is missing"
    return lives, copies


def rises(rows):
    times = [row.at for row in rows]
    return times == sorted(set(times))


@pytest.fixture
def clock(plugd, vm):
    """Sets it right at the end, before plugd's state is removed."""
    yield
    vm.set_clock()


@pytest.mark.timeout(1200)
def test_a_clock_that_starts_in_1970_and_jumps(vm, standin, plugd, clock, full, figure):
    pause = FULL_SEC if full else SHORT_SEC
    plugd()
    vm.run(f"systemctl stop plugd; date -s @{HOUR}")  # not before what it has been up
    begin = time.time()
    gateway.configure(vm, standin, sensors=[LOAD])
    wait_held(vm, 1)
    seen = time.time()
    go_on(vm, pause)
    shown = status(vm)
    assert shown["Held"] >= pause * 10 and "1970-01-01" in shown["ClockTrouble"] and shown["Estimated"] == 0
    assert "1970-01-01" in vm.out("plugctl status")
    assert standin.count(channel=CHANNEL) == 0, "nothing goes out without its time"
    # To now.
    began = time.time()
    vm.set_clock()
    held = sensor(vm, COUNTER["name"])["Samples"]
    difference, off = ahead(vm)
    lives, copies = wait_all(standin, 0, held)
    recovery = max(lives[0][value].time_us for value in range(shown["Held"])) / 1e6 - difference - began
    assert len(lives) == 1
    rows = [lives[0][value] for value in range(held)]
    assert rises(rows)
    steps = [(after.at - before.at) / 1000 for before, after in zip(rows, rows[1:])]
    assert begin - off <= rows[0].at / 1000 - difference <= seen + off + 0.2, "the first has the time at which it was taken"
    shown = wait_for(lambda: (lambda s: s if s["Held"] == 0 and not s["ClockTrouble"] else None)(status(vm)), "nothing is held")
    assert shown["Estimated"] == 0 and shown["ClockSetBack"] == 0
    figure(f"clock, from 1970 to now: {held} messages held, 0 lost, {copies} sent again, the first at {(rows[0].at / 1000 - difference - begin):.2f} s after "
           f"plugd's start began (it was seen after {seen - begin:.2f}), {max(steps):.2f} s between two at most; all there {recovery:.1f} s after the clock was set")

    # Offline, so that all times meet in the spool: an hour ahead, two back, and ahead again into the hour that was.
    standin.stop()
    wait_state(vm, "offline")
    marks, jumped = [], []
    for jump in (HOUR, -2 * HOUR, 2 * HOUR - 3):
        mark = sensor(vm, COUNTER["name"])["Samples"]
        vm.set_clock(time.time() + sum(jumped) + jump)
        jumped.append(jump)
        go_on(vm, pause)
        marks.append((mark, sensor(vm, COUNTER["name"])["Samples"], ahead(vm)[0]))
    assert status(vm)["ClockSetBack"] == 1
    assert re.search(r"set back", vm.journal())
    last = sensor(vm, COUNTER["name"])["Samples"]
    begin = time.time()
    standin.start()
    vm.run("plugctl reconnect")
    lives, more = wait_all(standin, 0, last)
    recovery = time.time() - begin
    for (mark, end, difference), jump in zip(marks, ("ahead", "back", "ahead again")):
        # The new time holds: these are as far ahead as the clock was then. (What was taken at the jump may be of either side.)
        rows = [lives[0][value] for value in range(mark + 20, end)]
        assert rises(rows), jump
        assert all(abs(row.at / 1000 - difference - rows[0].at / 1000 + difference - (value - mark - 20) * 0.1) < 10 for value, row in enumerate(rows, mark + 20)), jump
    back, again = lives[0][marks[1][0] + 20].at, lives[0][marks[2][0] + 20].at
    assert lives[0][marks[0][0] + 20].at - back > 1.9 * HOUR * 1000 < again - back
    assert status(vm)["Dropped"] == 0
    figure(f"clock, ahead 1 h, back 2 h, ahead 2 h, offline: {last - held} messages, 0 lost, no time used twice, {more - copies} sent again; set back once, as counted; "
           f"all there {recovery:.1f} s after the server")


@pytest.mark.timeout(1200)
def test_reboots_before_the_clock_is_set(fresh_vm, full, figure):
    vm, pause = fresh_vm, FULL_SEC if full else SHORT_SEC
    with gateway.StandIn(vm, templates=[template(gateway.MODEL, gateway.PASS)]) as platform:
        gateway.configure(vm, platform, sensors=[LOAD])
        platform.wait_arrivals(1, channel=CHANNEL, timeout=60)
        vm.run("systemctl stop plugd")  # what it has not confirmed lies in the spool, with its times
        life = len(arrived(platform)[0])
        vm.put(UNIT_1970, "/etc/systemd/system/in-1970.service")
        vm.run("systemctl enable in-1970 && touch /root/in-1970")
        platform.close()
        taken, ends = [], []
        for boot in range(2):
            vm.reboot()
            assert int(vm.out("date +%s")) < HOUR, "it is 1970"
            go_on(vm, pause)
            before, samples = time.time(), sensor(vm, COUNTER["name"])["Samples"]
            taken.append((samples, before))
            held = wait_held(vm, sum(n for n, _ in taken))
        platform.start()
        vm.run("plugctl reconnect")
        wait_state(vm, "online")
        assert platform.count(channel=CHANNEL, since=0) == sum(map(len, arrived(platform)[0])), "nothing goes out without its time"
        began = time.time()
        vm.set_clock()
        difference, off = ahead(vm)
        lives, copies = wait_all(platform, life + 1, taken[1][0])
        recovery = max(lives[life + 1][value].time_us for value in range(taken[1][0])) / 1e6 - difference - began
        first, second = lives[life], lives[life + 1]
        assert sorted(first) == list(range(len(first))) and len(first) >= taken[0][0], "a sample of the first boot is missing"
        assert rises([first[value] for value in sorted(first)] + [second[value] for value in sorted(second)])
        shown = status(vm)
        assert shown["Estimated"] == len(first) and shown["Held"] == 0 and not shown["ClockTrouble"]
        assert re.search(rf"{len(first)} messages of .*estimated", vm.journal())
        # By how much each is off: when the last of the counted was taken is known here.
        wrong = [lives[life + boot][n - 1].at / 1000 - difference - before for boot, (n, before) in enumerate(taken)]
        assert abs(wrong[1]) < 2 + off, "of the last boot it is exact"
        assert 0 <= wrong[0] + 2 < 120, "of the boot before, as late as the machine was down"
        figure(f"clock, booted twice in 1970, then set: {len(first)} and {held - len(first)} messages held, 0 lost, {copies} sent again, {shown['Estimated']} estimated, "
               f"which are late by {wrong[0]:.1f} s, the others by {wrong[1]:.1f} s; all there {recovery:.1f} s after the clock was set")
