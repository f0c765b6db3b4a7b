# SPDX-License-Identifier: Apache-2.0
"""How long a sample takes from the plugin's emit() to a subscriber."""

import contextlib
import statistics
import time

from bench import Line, TOOLS, percentile, pour, spread

INTERVAL = 0.01


def latencies(bench, seconds):
    with contextlib.ExitStack() as stack:
        broker = bench.broker(stack)
        subscriber = bench.subscriber(stack, broker)
        plugd = bench.plugd(stack, broker.port, plugins=TOOLS,
                            settings={"sensors": [pour(interval=INTERVAL, stamp=True)]})
        plugd.start()
        subscriber.wait("messages", 100, 30)
        subscriber.ask("latency")
        time.sleep(seconds)
        return subscriber.ask("latencies")


def rows(bench):
    seconds = 5 if bench.quick else 20
    results = [latencies(bench, seconds) for _ in range(bench.runs)]
    p50, p99, most = ([percentile(result, part) / 1000 for result in results] for part in (0.5, 0.99, 1))
    bench.say(f"{[len(r) for r in results]} samples: p50 {spread(p50, '{:.2f}')} ms, p99 {spread(p99, '{:.2f}')} ms")
    return [Line(f"emit() to the subscriber, {1 / INTERVAL:.0f} samples/s, ms: p50", spread(p50, "{:.2f}")),
            Line("… p99", spread(p99, "{:.2f}"), target="at most 5 ms", good=statistics.median(p99) <= 5),
            Line("… the longest", spread(most, "{:.2f}"))]
