# SPDX-License-Identifier: Apache-2.0
"""Memory and time to the first message, with little, much and very much in the spool at the start."""

import contextlib
import statistics
import time

from bench import Line, Peak, free_port, spread
from harness import memory_kib, wait_for

SETTINGS = {"spool": {"max_size": "1G"}}
LIMIT_KIB = 6 * 1024


def offline(bench, number):
    """KiB with nobody to send to."""
    with contextlib.ExitStack() as stack:
        plugd = bench.plugd(stack, free_port(), spool=bench.spool(number), settings=SETTINGS)
        plugd.start()
        wait_for(lambda: plugd.get("SpoolMessages") == number, "it has seen what is in the spool")
        time.sleep(1)
        return memory_kib(plugd.pid)


def online(bench, number):
    """KiB at the most while all of it goes out; ms from exec to the first of it at the subscriber."""
    with contextlib.ExitStack() as stack:
        broker = bench.broker(stack)
        subscriber = bench.subscriber(stack, broker)
        plugd = bench.plugd(stack, broker.port, spool=bench.spool(number), settings=SETTINGS)
        plugd.start()
        peak = Peak(lambda: memory_kib(plugd.pid))
        report = subscriber.wait("distinct", number, 300)
        plugd.wait_confirmed(60)
        time.sleep(0.2)
        return max(peak.stop(), memory_kib(plugd.pid)), (report["first_usec"] - plugd.started_usec) / 1000


def rows(bench):
    lines, highest = [], {}
    for number in (10, 10_000, 100_000) if bench.quick else (10, 100_000, 1_000_000):
        idle = [offline(bench, number) for _ in range(bench.runs)]
        busy = [online(bench, number) for _ in range(bench.runs)]
        highest[number] = statistics.median(max(pair) for pair in zip(idle, (kib for kib, _ in busy)))
        bench.say(f"{number:,}: {spread(idle)} KiB offline, {spread([b[0] for b in busy])} KiB draining, "
                  f"first after {spread([b[1] for b in busy])} ms")
        lines += [
            Line(f"PSS of the daemon with {number:,} records, KiB: offline", spread(idle), target="at most 6 MiB",
                 good=max(idle) <= LIMIT_KIB),
            Line("… at the most while draining", spread([b[0] for b in busy]), target="at most 6 MiB",
                 good=max(b[0] for b in busy) <= LIMIT_KIB),
            Line("… ms from exec to the first message", spread([b[1] for b in busy])),
        ]
    # With a handful some buffers are never needed.
    most = max(highest)
    growth = highest[most] / highest[most // 10]
    lines.append(Line(f"… with {most:,} to with a tenth of them", f"{growth:.2f}", target="flat: at most 1.2", good=growth <= 1.2))
    return lines
