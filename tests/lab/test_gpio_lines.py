# SPDX-License-Identifier: Apache-2.0
"""What a line of the gpio plugin can be told: which one it is, its polarity, edges, bias, interval, debouncing."""

import json

import pytest
from gateway import in_time, restart, sensor, status
from gpio_bench import Chip, alternating, check_order, check_times, chip, door, initial, levels, settled  # noqa: F401
from harness import wait_for

DEBOUNCE = 0.25


@pytest.fixture
def second_chip(vm):
    made = Chip(vm, "aux", "aux-chip", lines=4, names={3: "tank"})
    try:
        yield made.make()
    finally:
        made.remove()


def channels(standin, since=0):
    """Of all that plugd sent, but for its own status."""
    return sorted(channel for channel in {row.id: row.channel for row in standin.arrivals(since=since)}.values() if channel != "status")


def test_named_lines(vm, chip, second_chip, plugd, standin):  # noqa: F811
    """By offset and by name, in one sensor and in several; the chip by name, number, path and label, or left out."""
    number = chip.name.removeprefix("gpiochip")
    chip.pull(2, True)
    plugd({"name": "hall", "plugin": "gpio", "channel": "Hall", "chip": chip.label, "interval": 3600,
           "lines": [{"name": "front", "line": 2}, {"name": "pump", "line_name": "pump"}, {"name": "Floor/dry", "line": 4, "active_low": True}]},
          {"name": "tank", "plugin": "gpio", "channel": "Tank", "line_name": "tank", "interval": 3600},
          door(chip, name="number", channel="Number", chip=number, line=5), door(chip, name="path", channel="Path", chip=f"/dev/{chip.name}", line=6),
          {"name": "name", "plugin": "gpio", "channel": "Name", "chip": chip.name, "line_name": "door", "interval": 3600})
    starts = {"Hall/front": True, "Hall/pump": False, "Hall/Floor/dry": True, "Tank": False, "Number": False, "Path": False, "Name": False}
    assert {channel: initial(standin, channel).value for channel in starts} == starts
    assert channels(standin) == sorted(starts)
    since = standin.last_arrival()
    wires = [(chip, 2, "Hall/front"), (chip, 1, "Hall/pump"), (chip, 4, "Hall/Floor/dry"), (second_chip, 3, "Tank"), (chip, 5, "Number"),
             (chip, 6, "Path"), (chip, 0, "Name")]
    for wired, offset, channel in wires:
        wired.edges([[channel != "Hall/front", 0]], offset)
        row, = standin.wait_arrivals(1, channel=channel, since=since, timeout=30)
        assert row.value is not starts[channel], channel
    assert channels(standin, since) == sorted(starts), "each line speaks for itself alone"
    assert sensor(vm, "hall")["Values"] == {"Hall/front": False, "Hall/pump": True, "Hall/Floor/dry": False}


def test_polarity_and_edges(vm, chip, plugd, standin):  # noqa: F811
    """All on one line of wires: seven lines that are pulled together."""
    def line(name, offset, **options):
        return {"name": name, "line": offset, **options}
    plugd({"name": "door", "plugin": "gpio", "channel": "L", "chip": chip.name, "interval": 3600, "lines": [
        line("both", 0), line("both_low", 1, active_low=True), line("rising", 2, edge="rising"), line("falling", 3, edge="falling"),
        line("rising_low", 4, edge="rising", active_low=True), line("falling_low", 5, edge="falling", active_low=True),
        line("none", 6, edge="none")]})
    names = ("both", "both_low", "rising", "falling", "rising_low", "falling_low", "none")
    assert {name: initial(standin, f"L/{name}").value for name in names} == {name: "low" in name for name in names}
    samples, since = sensor(vm, "door")["Samples"], standin.last_arrival()
    edges, _ = chip.edges(alternating(6, 0.05), *range(7))
    rows = settled(vm, standin, None, since, samples)
    high, low = [edge for edge in edges if edge.level], [edge for edge in edges if not edge.level]
    expected = {"both": (edges, None), "both_low": (edges, None), "rising": (high, True), "falling": (low, False),
                "rising_low": (low, True), "falling_low": (high, False), "none": ([], None)}
    for name, (made, value) in expected.items():
        mine = [row for row in rows if row.channel == f"L/{name}"]
        assert levels(mine) == [edge.level is not (name == "both_low") if value is None else value for edge in made], name
        check_order(mine)
        check_times(mine, made)


def test_interval_without_edges(vm, chip, plugd, standin):  # noqa: F811
    plugd(door(chip, edge="none", interval=0.5))
    initial(standin)
    changes = []
    for level in (True, False, True):
        changes += chip.edges([[level, 0]], 0)[0]
        standin.wait_arrivals(2, channel="Door", since=standin.last_arrival(), data=json.dumps(level), timeout=30)
    rows = in_time(standin.arrivals(channel="Door"))
    check_order(rows)
    for row in rows:
        # The time is from just before the level was read: a busy machine may lie in between.
        before = [False] + [edge.level for edge in changes if edge.after < row.at - 1.5]
        meanwhile = [edge.level for edge in changes if row.at - 1.5 <= edge.after and edge.before <= row.at + 500]
        assert row.value in before[-1:] + meanwhile
    assert levels(rows)[-1] is True


def test_level_at_the_start(vm, chip, plugd, standin):  # noqa: F811
    """What happened while plugd was away is not invented, and what it led to is known."""
    plugd(door(chip))
    assert initial(standin).value is False
    for level in (True, False):
        # What the server may not have would come again.
        wait_for(lambda: status(vm)["SpoolMessages"] == 0, "all is confirmed")
        vm.run("systemctl stop plugd")
        since = standin.last_arrival()
        chip.edges(alternating(5 if level else 3, 0.02, first=int(level)), 0)
        before = float(vm.out("date +%s.%N")) * 1000
        restart(vm)
        rows = standin.wait_arrivals(1, channel="Door", since=since, timeout=30)
        assert levels(rows) == [level]
        assert rows[0].at >= before - 1.5, "the level is as of now"
        edge, = chip.edges([[not level, 0]], 0)[0]
        rows = standin.wait_arrivals(2, channel="Door", since=since, timeout=30)
        assert levels(rows) == [level, not level]
        check_times(rows[1:], [edge])
        chip.pull(0, level)


def test_bias(vm, chip, plugd, standin):  # noqa: F811
    """The simulated chip has resistors."""
    chip.pull(1, True)
    plugd({"name": "door", "plugin": "gpio", "channel": "L", "chip": chip.name, "interval": 3600, "lines": [
        {"name": "up", "line": 0, "bias": "pull-up"}, {"name": "down", "line": 1, "bias": "pull-down"},
        {"name": "off", "line": 2, "bias": "disabled"}]})
    assert {name: initial(standin, f"L/{name}").value for name in ("up", "down", "off")} == {"up": True, "down": False, "off": False}


def test_debounce(vm, chip, plugd, standin, figure):  # noqa: F811
    """A contact that bounces when it closes and when it opens, and a glitch between the two."""
    plugd(door(chip, debounce=DEBOUNCE))
    assert initial(standin).value is False
    samples, since = sensor(vm, "door")["Samples"], standin.last_arrival()
    schedule = [*alternating(5, 0.01), [0, 1], [1, 0.01], [0, 1], [1, 0.01], [0, 0.01]]
    edges, _ = chip.edges(schedule, 0)
    bounces = [later.before - earlier.before for earlier, later, (_, pause) in zip(edges, edges[1:], schedule[1:]) if pause < 1]
    assert max(bounces) < 1000 * DEBOUNCE, "the machine is too slow to bounce"
    rows = settled(vm, standin, "Door", since, samples)
    assert levels(rows) == [True, False]
    # With libgpiod 1, the edge with which the level began; the kernel gives the moment from which it counts.
    late = 0 if vm.release == "bookworm" else 1000 * DEBOUNCE
    stable = [edges[4], edges[-1]]
    for row, edge in zip(rows, stable):
        assert edge.before + late - 1.5 <= row.at <= edge.after + late + (100 if late else 1.5)
    figure(f"gpio: debounced by {DEBOUNCE * 1000:g} ms, `at` is {max(row.at - edge.before for row, edge in zip(rows, stable)):.1f} ms "
           f"after the edge with which the level began at most")
