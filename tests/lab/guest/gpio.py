# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: simulated GPIO chips (the kernel's gpio-sim), made and driven. Prints JSON.

    gpio.py make DEVICE LINES [LABEL] [OFFSET=NAME…]     a chip of a device of that name; prints chip, label, lines
    gpio.py remove DEVICE
    gpio.py pull DEVICE OFFSET up|down                   as if somebody outside pulled the line
    gpio.py value DEVICE OFFSET                          what the line is now: 0 or 1
    gpio.py pace DEVICE OFFSET COUNT PERIOD_SEC          COUNT edges, PERIOD_SEC apart, from the value it has; prints for
                                                         each [value, CLOCK_REALTIME ns, CLOCK_MONOTONIC ns], from just
                                                         before the pull
"""

import json
import os
import sys
import time
from pathlib import Path

CONFIG = Path("/sys/kernel/config/gpio-sim")
PULLS = {"up": "pull-up", "down": "pull-down"}


def make(device, lines, *more):
    folder = CONFIG / device
    bank = folder / "bank0"
    bank.mkdir(parents=True)
    (bank / "num_lines").write_text(lines)
    for word in more:
        if "=" in word:
            offset, name = word.split("=", 1)
            line = bank / f"line{int(offset)}"
            line.mkdir()
            (line / "name").write_text(name)
        else:
            (bank / "label").write_text(word)
    (folder / "live").write_text("1")
    chip = (bank / "chip_name").read_text().strip()
    # udev gives it its group.
    deadline = time.monotonic() + 20
    while not Path("/dev", chip).exists():
        if time.monotonic() > deadline:
            sys.exit(f"/dev/{chip} doesn't appear")
        time.sleep(0.02)
    os.system("udevadm settle --timeout=20")
    label = next((word for word in more if "=" not in word), f"{(folder / 'dev_name').read_text().strip()}-node0")
    return {"chip": chip, "label": label, "lines": int(lines)}


def remove(device):
    folder = CONFIG / device
    if not folder.exists():
        return
    (folder / "live").write_text("0")
    for line in folder.glob("bank*/line*"):
        line.rmdir()
    for bank in folder.glob("bank*"):
        bank.rmdir()
    folder.rmdir()


def attribute(device, offset, name):
    folder = CONFIG / device
    return Path("/sys/devices/platform", (folder / "dev_name").read_text().strip(), (folder / "bank0/chip_name").read_text().strip(),
                f"sim_gpio{int(offset)}", name)


def pull(device, offset, direction):
    attribute(device, offset, "pull").write_text(PULLS[direction])


def value(device, offset):
    return int(attribute(device, offset, "value").read_text())


def pace(device, offset, count, period):
    now, period_ns = value(device, offset), int(float(period) * 1e9)
    pulls = os.open(attribute(device, offset, "pull"), os.O_WRONLY)
    edges, due = [], time.monotonic_ns()
    for _ in range(int(count)):
        now = 1 - now
        time.sleep(max(due - time.monotonic_ns(), 0) / 1e9)
        edges.append([now, time.time_ns(), time.monotonic_ns()])
        os.pwrite(pulls, b"pull-up" if now else b"pull-down", 0)
        # Never closer than the period: what is late stays late.
        due = max(due + period_ns, edges[-1][2] + period_ns)
    return edges


def main():
    os.system("mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config; modprobe gpio-sim")
    verb = {"make": make, "remove": remove, "pull": pull, "value": value, "pace": pace}[sys.argv[1]]
    print(json.dumps(verb(*sys.argv[2:])))


main()
