# SPDX-License-Identifier: Apache-2.0
"""What is in the gpio plugin's way, in words; and that it works when that is gone, without plugd being restarted."""

import json
import time
from contextlib import contextmanager

import gateway as gateways
import pytest
from gateway import StandIn, configure, restart, sensor
from gpio_bench import Chip, chip, door, initial, tool_chip, wait_error, wait_mended  # noqa: F401
from standin import template

DROP_IN = "/run/systemd/system/plugd.service.d/lab.conf"


@contextmanager
def same_daemon(vm):
    ask = "systemctl show -P MainPID -P NRestarts plugd"
    before = vm.out(ask)
    yield
    assert vm.out(ask) == before


@pytest.fixture
def drop_in(vm):
    """drop_in(lines…): of plugd.service."""
    def write(*lines):
        vm.run(f"mkdir -p $(dirname {DROP_IN})")
        vm.put("[Service]\n" + "".join(f"{line}\n" for line in lines), DROP_IN)
        vm.run("systemctl daemon-reload")
    yield write
    vm.run(f"rm -f {DROP_IN}; systemctl daemon-reload")


def works(standin, wired, channel="Door", offset=0, level=True):
    """A change comes through."""
    since = standin.last_arrival()
    wired.edges([[level, 0]], offset)
    standin.wait_arrivals(1, channel=channel, since=since, data=json.dumps(level), timeout=30)


def test_no_chip_yet(vm, chip, plugd, standin):  # noqa: F811
    plugd(door("garden"))
    error = wait_error(vm, "garden")
    assert f"{chip.name} (bench, 8 lines)" in error, error
    garden = Chip(vm, "garden", "garden", lines=2)
    try:
        with same_daemon(vm):
            garden.make()
            wait_mended(vm)
            assert initial(standin).value is False
            works(standin, garden)
    finally:
        vm.run("systemctl stop plugd")
        garden.remove()


def test_no_such_line_yet(vm, chip, plugd, standin):  # noqa: F811
    plugd(door(chip, name="offset", channel="Offset", chip="bench", line=8),
          {"name": "name", "plugin": "gpio", "channel": "Name", "chip": "bench", "line_name": "gate", "interval": 3600},
          {"name": "anywhere", "plugin": "gpio", "channel": "Anywhere", "line_name": "well", "interval": 3600})
    assert "has 8 lines, 0 to 7" in wait_error(vm, "no line 8", name="offset")
    assert chip.name in wait_error(vm, "gate", name="name")
    assert "any chip" in wait_error(vm, "well", name="anywhere")
    with same_daemon(vm):
        chip.remove()
        chip.lines, chip.names = 16, {3: "gate", 4: "well"}
        chip.make()
        for name, channel, offset in (("offset", "Offset", 8), ("name", "Name", 3), ("anywhere", "Anywhere", 4)):
            wait_mended(vm, name)
            assert initial(standin, channel).value is False
            works(standin, chip, channel, offset)


def test_ambiguous_name(vm, chip, plugd, standin):  # noqa: F811
    twin = Chip(vm, "twin", "bench", lines=2, names={1: "door"})
    try:
        twin.make()
        plugd(door("bench", name="label", line=2), {"name": "line", "plugin": "gpio", "channel": "Line", "line_name": "door", "interval": 3600})
        for name in ("label", "line"):
            wait_error(vm, "2 ", chip.name, twin.name, name=name)
    finally:
        vm.run("systemctl stop plugd")
        twin.remove()
    vm.run("systemctl start plugd")
    for name in ("label", "line"):
        wait_mended(vm, name)


def test_line_in_use(vm, plugd, standin):
    """By another program, and by the kernel itself."""
    used = Chip(vm, "used", "used", lines=4, hogs={1: "fan"})
    try:
        used.make()
        vm.run(f"setsid gpiomon {tool_chip(used)} 0 </dev/null >/dev/null 2>&1 & echo $! >/tmp/user.pid; "
               f"until gpioinfo {tool_chip(used)} | grep -q gpiomon; do sleep 0.1; done")
        plugd(door(used), door(used, name="fan", channel="Fan", line=1), door(used, name="free", channel="Free", line=2))
        assert "in use" in wait_error(vm, "line 0 of " + used.name, "'gpiomon'")
        assert "in use" in wait_error(vm, "line 1 of " + used.name, "'fan'", name="fan")
        assert initial(standin, "Free").value is False
        with same_daemon(vm):
            works(standin, used, "Free", 2)
            vm.run("kill $(cat /tmp/user.pid)")
            wait_mended(vm)
            assert initial(standin).value is False
            works(standin, used)
            assert "'fan'" in sensor(vm, "fan")["LastError"]
        # And the other way round: others are told that it's plugd's.
        consumer = vm.run(f"gpioinfo {tool_chip(used)}").stdout
        assert "plugd" in next(line for line in consumer.splitlines() if "line   0" in line)
    finally:
        vm.run("systemctl stop plugd; kill $(cat /tmp/user.pid) 2>/dev/null; true")
        used.remove()


def test_no_permission(vm, chip, plugd, standin):  # noqa: F811
    device = f"/dev/{chip.name}"
    vm.run(f"chgrp root {device}; chmod 600 {device}")
    plugd(door(chip))
    error = wait_error(vm, device, "by root only")
    assert "0660" in error and "udev" in error, error
    with same_daemon(vm):
        vm.run(f"chgrp gpio {device}; chmod 660 {device}")
        wait_mended(vm)
        assert initial(standin).value is False
        works(standin, chip)


def test_not_in_the_group(vm, chip, plugd, standin, drop_in):  # noqa: F811
    """What the words say to do is done."""
    drop_in("SupplementaryGroups=", "SupplementaryGroups=i2c")
    plugd(door(chip))
    advice = "usermod -aG gpio plugd"
    assert "root and group gpio only" in wait_error(vm, f"/dev/{chip.name}", advice)
    try:
        vm.run(advice)
        restart(vm)
        wait_mended(vm)
        works(standin, chip)
    finally:
        vm.run("gpasswd -d plugd gpio")


def test_kept_from_it_by_the_service(vm, chip, plugd, standin, drop_in):  # noqa: F811
    drop_in("DeviceAllow=")
    plugd(door(chip))
    advice = "DeviceAllow=char-gpiochip rw"
    wait_error(vm, f"/dev/{chip.name}", advice)
    drop_in(advice)
    restart(vm)
    wait_mended(vm)
    works(standin, chip)


def test_unplugged_while_in_use(make_vm, figure):
    """In a machine of its own: the kernel's simulation of interrupts complains of those that are still waited for."""
    vm = make_vm(snapshot=True)
    gateways.install(vm)
    lost, kept = Chip(vm, "lost", "lost"), Chip(vm, "kept", "kept")
    lost.make()
    kept.make()
    with StandIn(vm, templates=[template(gateways.MODEL, gateways.PASS)]) as standin:
        configure(vm, standin, sensors=[
            door("lost", interval=3600), door("lost", name="level", channel="Level", line=1, edge="none", interval=1),
            door("kept", name="kept", channel="Kept", interval=1)])
        for channel in ("Door", "Level", "Kept"):
            assert initial(standin, channel).value is False
        with same_daemon(vm):
            lost.unplug()
            begin = time.monotonic()
            errors = [wait_error(vm, "lost", name=name) for name in ("door", "level")]
            figure(f"gpio: a chip that is gone is known after {time.monotonic() - begin:.1f} s; then: {errors[0]}")
            assert all("there is no chip 'lost'" in error and f"{kept.name} (kept, 8 lines)" in error for error in errors), errors
            since = standin.last_arrival()
            standin.wait_arrivals(5, channel="Kept", since=since, timeout=60)
            works(standin, kept, "Kept")
            assert not [row for row in standin.arrivals(since=since) if row.channel in ("Door", "Level")]
            lost.plug_in()
            for name in ("door", "level"):
                wait_mended(vm, name)
            works(standin, lost)
            works(standin, lost, "Level", 1)
        journal = vm.journal()
        assert "is gone: was it unplugged, or its driver removed?" in journal
        for name in ("door", "level", "kept"):
            assert sensor(vm, name)["State"] == "running"
