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
    """The samples in the order of their times, and how many copies came. What is newest may come first."""
    first, copies = {}, 0
    for row in platform.query("SELECT id, at, data, time_us FROM arrivals WHERE channel = ? AND fate = 'stored' ORDER BY seq", CHANNEL):
        known = first.setdefault(row.id, row)
        assert (row.at, row.data) == (known.at, known.data), f"{row.id} has come again, changed"
        copies += known is not row
    rows = sorted(first.values(), key=lambda row: row.at or 0)
    assert all(row.at is not None and row.at >= YEAR_2020 * 1000 for row in rows), f"a time is none: {rows[0].at}"
    assert len({row.at for row in rows}) == len(rows), "a time was used twice"
    return rows, copies


def by_value(rows):
    """{value: its row} of one life of the counter."""
    found = {int(json.loads(row.data)): row for row in rows}
    assert len(found) == len(rows), "a sample has come under two ids"
    return found


def lives_of(rows):
    """[{value: its row}, …]: where the values begin anew."""
    lives, last = [], None
    for row in rows:
        value = int(json.loads(row.data))
        if last is None or value <= last:
            lives.append([])
        lives[-1].append(row)
        last = value
    return [by_value(life) for life in lives]


def wait_held(machine, n, timeout=90):
    return wait_for(lambda: status(machine)["Held"] >= n and status(machine)["Held"], f"{n} samples are held", timeout, 0.3)


def go_on(machine, seconds):
    """Until the worker has handed over as many samples more."""
    n = sensor(machine, COUNTER["name"])["Samples"] + int(seconds * 10)
    wait_for(lambda: sensor(machine, COUNTER["name"])["Samples"] >= n, f"{seconds} s of samples", 60 + 3 * seconds, 0.3)


def wait_all(platform, lives, n, timeout=90):
    """Until the first n samples of the last of so many lives have come, and of those before it all. Returns lives, copies."""
    def there():
        rows, copies = arrived(platform)
        found = lives_of(rows) if lives > 1 else [by_value(rows)]
        whole = len(found) == lives and all(sorted(life) == list(range(len(life))) for life in found[:-1])
        return (found, copies) if whole and all(value in found[-1] for value in range(n)) else None
    return wait_for(there, f"{n} samples of life {lives} arrive, and all before them", timeout, 0.5)


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
    (life,), copies = wait_all(standin, 1, held)
    recovery = max(life[value].time_us for value in range(shown["Held"])) / 1e6 - difference - began
    rows = [life[value] for value in range(held)]
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
        end = sensor(vm, COUNTER["name"])["Samples"]
        marks.append((mark, end, time.time() + ahead(vm)[0]))
    assert status(vm)["ClockSetBack"] == 1
    assert re.search(r"set back", vm.journal())
    last = sensor(vm, COUNTER["name"])["Samples"]
    begin = time.time()
    standin.start()
    vm.run("plugctl reconnect")
    (life,), more = wait_all(standin, 1, last)
    recovery = time.time() - begin
    for (mark, end, clock_said), jump in zip(marks, ("ahead", "back", "ahead again")):
        # The new time holds. (What was taken at the jump may be of either side.)
        rows = [life[value] for value in range(mark + 20, end)]
        assert rises(rows), jump
        assert -20 < rows[-1].at / 1000 - clock_said < 2, f"{jump}: the last is of {rows[-1].at}, the clock said {clock_said:.1f}"
    back, again = life[marks[1][0] + 20].at, life[marks[2][0] + 20].at
    assert life[marks[0][0] + 20].at - back > 1.9 * HOUR * 1000 < again - back
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
        vm.put(UNIT_1970, "/etc/systemd/system/in-1970.service")
        vm.run("systemctl enable in-1970 && touch /root/in-1970")
        platform.close()
        taken = []
        for _ in range(2):
            vm.reboot()
            booted = time.time()
            assert int(vm.out("date +%s")) < HOUR, "it is 1970"
            go_on(vm, pause)
            before, samples = time.time(), sensor(vm, COUNTER["name"])["Samples"]
            taken.append((samples, before, time.time()))
            held = wait_held(vm, sum(n for n, _, _ in taken))
        platform.start()
        vm.run("plugctl reconnect")
        wait_state(vm, "online")
        assert len(lives_of(arrived(platform)[0])) == 1, "nothing goes out without its time"
        began = time.time()
        vm.set_clock()
        difference, off = ahead(vm)
        (_, first, second), copies = wait_all(platform, 3, taken[1][0])
        recovery = max(second[value].time_us for value in range(taken[1][0])) / 1e6 - difference - began
        assert len(first) >= taken[0][0], "a sample of the first boot is missing"
        assert rises([first[value] for value in sorted(first)] + [second[value] for value in sorted(second)])
        shown = status(vm)
        assert shown["Estimated"] == len(first) and shown["Held"] == 0 and not shown["ClockTrouble"]
        assert re.search(rf"{len(first)} messages of .*estimated", vm.journal())
        # By how much each is off: when the last of the counted was taken is known here.
        wrong = [life[n - 1].at / 1000 - difference - before for life, (n, before, _) in zip((first, second), taken)]
        assert -3 - off < wrong[1] < taken[1][2] - taken[1][1] + 1 + off, "of the last boot it is exact"
        assert -3 - off < wrong[0] < booted - taken[0][1], "of the boot before it is late, by as long as the machine was down"
        figure(f"clock, booted twice in 1970, then set: {len(first)} and {held - len(first)} messages held, 0 lost, {copies} sent again, {shown['Estimated']} estimated, "
               f"which are late by {wrong[0]:.1f} s, the others by {wrong[1]:.1f} s; all there {recovery:.1f} s after the clock was set")
