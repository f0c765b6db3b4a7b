# SPDX-License-Identifier: Apache-2.0
"""What the tests of the gpio plugin share: simulated chips, edges, and how sensors are waited for."""

import json
import shlex
from types import SimpleNamespace

import gateway
import pytest

CONFIG = "/sys/kernel/config/gpio-sim"


class Chip:
    """A chip of gpio-sim. `names`: of lines, by offset. `hogs`: lines that the kernel itself holds, and under which name."""

    def __init__(self, vm, device, label, lines=8, names=None, hogs=None):
        self.vm, self.device, self.label, self.lines = vm, device, label, lines
        self.names, self.hogs = names or {}, hogs or {}
        self.name = self.folder = None  # "gpiochip0", and its place in /sys; None: it isn't there

    def make(self):
        bank = f"{CONFIG}/{self.device}/bank0"
        commands = [f"mkdir -p {bank}", f"echo {self.lines} >{bank}/num_lines", f"echo {shlex.quote(self.label)} >{bank}/label"]
        for offset, name in self.names.items():
            commands += [f"mkdir {bank}/line{offset}", f"echo {shlex.quote(name)} >{bank}/line{offset}/name"]
        for offset, name in self.hogs.items():
            commands += [f"mkdir -p {bank}/line{offset}/hog", f"echo {shlex.quote(name)} >{bank}/line{offset}/hog/name",
                         f"echo input >{bank}/line{offset}/hog/direction"]
        self.vm.run("set -e; mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config; modprobe gpio-sim; "
                    + "; ".join(commands))
        return self.plug_in()

    def plug_in(self):
        """Returns when udev has given the device its group."""
        bank = f"{CONFIG}/{self.device}/bank0"
        self.name, place = self.vm.out(
            f"echo 1 >{CONFIG}/{self.device}/live && read -r chip <{bank}/chip_name && read -r place <{CONFIG}/{self.device}/dev_name && "
            'until [ "$(stat -c %G /dev/$chip 2>/dev/null)" = gpio ]; do sleep 0.05; done; echo $chip $place', timeout=30).split()
        self.folder = f"/sys/devices/platform/{place}/{self.name}"
        return self

    def unplug(self):
        self.vm.run(f"echo 0 >{CONFIG}/{self.device}/live")
        self.name = self.folder = None

    def remove(self):
        """Nobody may use it: with an edge that is waited for the kernel's simulation of interrupts complains."""
        if self.name:
            self.unplug()
        self.vm.run(f"cd {CONFIG} && if [ -d {self.device} ]; then find {self.device} -mindepth 1 -depth -type d -delete; rmdir {self.device}; fi")

    def path(self, offset, attribute="pull"):
        return f"{self.folder}/sim_gpio{offset}/{attribute}"

    def pull(self, offset, level):
        self.vm.run(f"echo pull-{'up' if level else 'down'} >{self.path(offset)}")

    def edges(self, schedule, *offsets):
        """Edges as guest/edges.py makes them; each with level, before and after, in ms since 1970."""
        made = self.vm.guest("edges", *(self.path(offset) for offset in offsets), input=json.dumps(schedule), timeout=120)
        assert abs(made["ahead"][1] - made["ahead"][0]) < 1e6, "the guest's clock was set meanwhile"
        return [SimpleNamespace(level=bool(level), before=before / 1e6, after=after / 1e6) for level, before, after in made["edges"]], \
            made["ahead"][0] / 1e6


def alternating(n, pause, first=1):
    return [[(first + i) % 2, pause] for i in range(n)]


def door(wired, **options):
    """A sensor on one line of a chip, or of what has that name or label. Its interval doesn't come while a test runs."""
    return {"name": "door", "plugin": "gpio", "channel": "Door", "chip": wired if isinstance(wired, str) else wired.name, "line": 0,
            "interval": 3600, **options}


def wait_sensor(vm, name="door", timeout=60.0, **properties):
    return gateway.wait_sensor(vm, name, timeout, **properties)


def wait_error(vm, *texts, name="door", timeout=60.0):
    return gateway.wait_error(vm, name, *texts, timeout=timeout)


def wait_mended(vm, name="door", timeout=60.0):
    return wait_sensor(vm, name, timeout, State="running", LastError="")


def tool_chip(chip):
    """How libgpiod's tools are told which chip."""
    return chip.name if chip.vm.release == "bookworm" else f"-c {chip.name}"


def levels(rows):
    return [row.value for row in rows]


@pytest.fixture
def chip(vm):
    """Asked for before plugd: removed after it has ended."""
    made = Chip(vm, "bench", "bench", names={0: "door", 1: "pump"})
    try:
        yield made.make()
    finally:
        made.remove()


def initial(standin, channel="Door"):
    """The value at the start."""
    return standin.wait_arrivals(1, channel=channel, timeout=30)[0]


def settled(vm, standin, channel, since, samples, quiet=2.0):
    """Every edge that will come has come: as many samples as the sensor counts, and no more for a while."""
    vm.run(f"sleep {quiet:g}")
    n = gateway.sensor(vm, "door")["Samples"] - samples
    return standin.wait_arrivals(n, channel=channel, since=since, timeout=60)


def check_order(rows):
    ats = [row.at for row in rows]
    assert all(later > earlier for earlier, later in zip(ats, ats[1:])), "the times increase strictly"
    assert len({row.id for row in rows}) == len(rows), "no id twice"


def check_times(rows, edges, slack=1.5):
    """The kernel took the time of an edge while it was made. `at` is whole milliseconds."""
    for row, edge in zip(rows, edges):
        assert edge.before - slack <= row.at <= edge.after + slack, (row.at, edge)
