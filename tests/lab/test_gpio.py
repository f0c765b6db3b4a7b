# SPDX-License-Identifier: Apache-2.0
"""The gpio plugin's edges, on a real kernel's simulated lines: from the line to the stand-in, with the kernel's times."""

import json
import re

from gateway import in_time, sensor
from gpio_bench import alternating, check_order, check_times, chip, door, initial, levels, settled, tool_chip, wait_sensor  # noqa: F401
from harness import wait_for

# What each release's libgpiod lets the kernel do: how many edges of a line it keeps, and whether these are numbered.
QUEUE = {"bookworm": 16, "trixie": 256}


def test_edges_at_100_hz(vm, chip, plugd, standin, figure):
    plugd(door(chip))
    assert initial(standin).value is False
    samples, since = sensor(vm, "door")["Samples"], standin.last_arrival()
    edges, _ = chip.edges(alternating(1000, 0.01), 0)
    rows = settled(vm, standin, "Door", since, samples)
    seen = sensor(vm, "door")["Samples"] - samples
    took = (edges[-1].before - edges[0].before) / 1000
    figure(f"gpio: {len(edges)} edges in {took:.1f} s: {seen} seen, {len(rows)} published")
    assert (seen, len(rows)) == (1000, 1000)
    assert levels(rows) == [edge.level for edge in edges]
    check_order(rows)
    check_times(rows, edges)
    # When an edge was made is known as exactly as the machine was not held up meanwhile.
    exact = [abs(row.at - edge.before) for row, edge in zip(rows, edges) if edge.after - edge.before < 1]
    assert len(exact) >= 50
    figure(f"gpio: `at` lies in the time that it took to make the edge, for all; largest error, of the {len(exact)} edges made within "
           f"1 ms: {max(exact):.2f} ms")
    assert sensor(vm, "door")["Dropped"] == 0
    assert not lost_lines(vm)


def test_times_as_of_gpiomon(vm, chip, plugd, standin, figure):
    """libgpiod's own tool on a second line, which is pulled right after the first."""
    n = 100
    plugd(door(chip))
    initial(standin)
    since = standin.last_arrival()
    times = "%e %s.%n" if vm.release == "bookworm" else "%e %S"
    vm.run(f"gpiomon -n {n} -F '{times}' {tool_chip(chip)} 1 >/tmp/gpiomon 2>&1 & echo $! >/tmp/gpiomon.pid; "
           f"until gpioinfo {tool_chip(chip)} | grep -q gpiomon; do sleep 0.1; done", timeout=30)
    edges, ahead = chip.edges(alternating(n, 0.02), 0, 1)
    rows = standin.wait_arrivals(n, channel="Door", since=since, timeout=30)
    theirs = vm.out("tail --pid=$(cat /tmp/gpiomon.pid) -f /dev/null; cat /tmp/gpiomon", timeout=30).splitlines()
    assert len(theirs) == len(rows) == n
    differences = []
    for row, edge, line in zip(rows, edges, theirs):
        kind, when = line.split()
        seconds, nanoseconds = when.split(".")  # of bookworm's tool these are numbers, not digits
        assert row.value is edge.level is (kind == "1")
        their_at = int(seconds) * 1000 + int(nanoseconds) / 1e6 + ahead
        assert edge.before <= their_at + 0.1 and their_at <= edge.after + 0.1
        differences.append(their_at - row.at)
        assert -1.5 <= their_at - row.at <= edge.after - edge.before + 1.5
    figure(f"gpio: `at` and gpiomon's times differ by {min(differences):.2f} to {max(differences):.2f} ms (a second line, pulled right after)")


def lost_lines(vm):
    """What this plugd's log has of lost edges: each (counted, edges or signs of a loss, those since it was opened)."""
    log = vm.out("journalctl --no-pager -o cat _SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID plugd)")
    counted = re.findall(r"lost (\d+) edges? of line 0.*?, (\d+) since it was opened", log)
    signs = re.findall(r"lost or misread some edges of line 0 .*?\(signs of it: (\d+), (\d+) since it was opened\)", log)
    return [(True, int(n), int(total)) for n, total in counted] + [(False, int(n), int(total)) for n, total in signs]


def test_more_than_the_kernel_keeps(vm, chip, plugd, standin, figure):
    """The worker stands still for two seconds, as on a machine that is too busy, while 601 edges are made."""
    plugd(door(chip, rate_limit=0))
    assert initial(standin).value is False
    samples, since, kept = sensor(vm, "door")["Samples"], standin.last_arrival(), QUEUE[vm.release]
    pid = sensor(vm, "door")["ProcessId"]
    vm.run(f"kill -STOP {pid}")
    try:
        edges, _ = chip.edges(alternating(601, 0.002), 0)
    finally:
        vm.run(f"kill -CONT {pid}")
    told = wait_for(lambda: lost_lines(vm), "the loss is in the log", 30)
    rows = settled(vm, standin, "Door", since, samples)
    assert rows[-1].value is True is edges[-1].level, "the last value is the line's"
    check_order(rows)
    assert len(told) == 1 == len(lost_lines(vm)), "it is said once"
    counted, lost, total = told[0]
    assert lost == total
    if vm.release == "bookworm":
        # The first ones are kept, and it can't be known how many came then.
        assert not counted and 1 <= lost <= 601 - kept
        assert levels(rows) == [edge.level for edge in edges[:kept]] + [True]
        check_times(rows[:kept], edges)
        assert rows[-1].at >= edges[-1].before - 1.5
    else:
        assert counted and lost == 601 - kept
        assert levels(rows) == [edge.level for edge in edges[-kept:]]
        # Several in a millisecond: each is a millisecond later than the one before then.
        check_times(rows, edges[-kept:], slack=5)
    shown = sensor(vm, "door")
    assert (shown["State"], shown["ProcessId"], shown["Values"]) == ("running", pid, {"Door": True})
    figure(f"gpio: worker stopped, 601 edges: {len(rows)} published, told: {lost}{'' if counted else ' signs of it'}")


def test_burst(vm, chip, plugd, standin, figure):
    """As fast as they can be made. Whatever gets lost, the last value is the line's."""
    plugd(door(chip, rate_limit=0))
    assert initial(standin).value is False
    samples, since = sensor(vm, "door")["Samples"], standin.last_arrival()
    edges, _ = chip.edges(alternating(2001, 0), 0)
    vm.run("sleep 2")  # a loss is told when there was none for a second
    rows = settled(vm, standin, "Door", since, samples)
    shown = sensor(vm, "door")
    told = lost_lines(vm)
    took = edges[-1].after - edges[0].before
    figure(f"gpio: burst of {len(edges)} edges in {took / 1000:.2f} s: {len(rows)} published, told: lost "
           f"{sum(lost for _, lost, _ in told)}{'' if not told or told[0][0] else ' signs of it'}")
    check_order(rows)
    assert rows[-1].value is edges[-1].level is True
    assert shown["Values"] == {"Door": True}
    # The kernel itself melts edges into one another that come while it is busy with the line: these nobody can count.
    assert 1 <= len(rows) <= 2002
    assert sum(lost for _, lost, _ in told) <= len(edges)
    assert len(told) <= 1 + took / 60000
    if vm.release == "bookworm" and len(rows) < len(edges) / 2:
        assert told, "of so many losses, some show"
    # It goes on as if nothing had been.
    since = standin.last_arrival()
    more, _ = chip.edges(alternating(6, 0.05, first=0), 0)
    rows = standin.wait_arrivals(6, channel="Door", since=since, timeout=30)
    assert levels(rows) == [edge.level for edge in more]
    check_times(rows, more)


def test_nothing_happens_where_nothing_happens(vm, chip, plugd, standin):
    """No edge of an idle line, beside the interval's values; none at a restart."""
    chip.pull(1, True)
    plugd({"name": "door", "plugin": "gpio", "channel": "Door", "chip": chip.name, "interval": 2,
           "lines": [{"name": "low", "line": 0}, {"name": "high", "line": 1}]})
    low, high = initial(standin, "Door/low"), initial(standin, "Door/high")
    chip.edges(alternating(100, 0.02), 5)  # a neighbour
    vm.run("sleep 8")
    for start, level in ((low, False), (high, True)):
        rows = in_time(standin.arrivals(channel=f"Door/{'high' if level else 'low'}"))
        assert set(levels(rows)) == {level}
        gaps = [later.at - earlier.at for earlier, later in zip(rows, rows[1:])]
        assert len(gaps) >= 3 and all(1500 < gap < 3500 for gap in gaps), gaps
    for _ in range(2):
        since, restarts = standin.last_arrival(), sensor(vm, "door")["Restarts"]
        vm.run("plugctl restart door")
        wait_sensor(vm, State="running", Restarts=restarts + 1)
        rows = standin.wait_arrivals(4, since=since, timeout=30)
        assert [(row.channel, row.value) for row in rows[:2]] == [("Door/low", False), ("Door/high", True)]
        assert {(row.channel, row.value) for row in rows} == {("Door/low", False), ("Door/high", True)}
        assert json.loads(vm.out("plugctl --json show door"))["LastError"] == ""
