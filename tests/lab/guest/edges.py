# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: makes edges on lines of gpio-sim, and writes down when.

    edges.py PULL_FILE… <SCHEDULE

SCHEDULE is JSON: [[level, seconds since the one before at least], …]. Each level goes to all of the lines, one after the
other. Prints JSON: `edges`, for each [level, ns just before, ns just after], of CLOCK_REALTIME, and `ahead`, how many ns that
clock is ahead of CLOCK_MONOTONIC, at the start and at the end."""

import json
import os
import sys
import time
from pathlib import Path


def ahead():
    """The best of some tries: the two clocks can't be read at once."""
    tries = []
    for _ in range(20):
        before, real, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        tries.append((after - before, real - (before + after) // 2))
    return min(tries)[1]


def stay_together():
    """On one processor with the kernel's threads for the lines' interrupts and with plugd's workers, which are served first there,
    as on hardware. A busy host may hold up the other one for so long that the kernel makes one edge of two, or its queue runs
    over."""
    os.sched_setaffinity(0, {0})
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text().startswith(("irq/", "plugd-worker")):
                os.sched_setaffinity(int(comm.parent.name), {0})
        except OSError:
            pass


def main():
    stay_together()
    schedule = json.load(sys.stdin)
    files = [os.open(path, os.O_WRONLY) for path in sys.argv[1:]]
    begin, edges, last = ahead(), [], time.monotonic_ns()
    for level, pause in schedule:
        text = b"pull-up" if level else b"pull-down"
        if pause:
            # Never closer than asked for: what is late stays late.
            time.sleep(max(last + pause * 1e9 - time.monotonic_ns(), 0) / 1e9)
        last, before = time.monotonic_ns(), time.time_ns()
        for file in files:
            os.pwrite(file, text, 0)
        edges.append([level, before, time.time_ns()])
    print(json.dumps({"edges": edges, "ahead": [begin, ahead()]}))


main()
