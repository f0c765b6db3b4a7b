# SPDX-License-Identifier: Apache-2.0
"""From exec to the first message at the server, without TLS. plugd's is a sample, read by a worker that it started."""

import contextlib
import statistics
import subprocess

from bench import Line, PLUG_ID, end, now_usec, spread

SENSOR = {"name": "first", "plugin": "sim", "channel": "Bench/first", "interval": 60}


def start_plugd(bench):
    with contextlib.ExitStack() as stack:
        broker = bench.broker(stack)
        subscriber = bench.subscriber(stack, broker)
        plugd = bench.plugd(stack, broker.port, settings={"sensors": [SENSOR]})
        plugd.start()
        report = subscriber.wait("messages", 1, 30, 0.02)
        return (report["first_usec"] - plugd.started_usec) / 1000


def start_pub(bench):
    with contextlib.ExitStack() as stack:
        broker = bench.broker(stack)
        subscriber = bench.subscriber(stack, broker)
        began = now_usec()
        process = subprocess.Popen(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.port), "-q", "0",
                                    "-t", f"{PLUG_ID}/data/Bench/first", "-m", "0"])
        stack.callback(end, process)
        report = subscriber.wait("messages", 1, 30, 0.02)
        return (report["first_usec"] - began) / 1000


def rows(bench):
    ours, theirs = [], []
    for _ in range(bench.runs * 3):
        ours.append(start_plugd(bench))
        theirs.append(start_pub(bench))
    middle, ratio = statistics.median(ours), statistics.median(ours) / statistics.median(theirs)
    bench.say(f"plugd {spread(ours, '{:.1f}')} ms, mosquitto_pub {spread(theirs, '{:.1f}')} ms")
    return [Line("exec to the first message, no TLS, ms", spread(ours, "{:.1f}"), "mosquitto_pub " + spread(theirs, "{:.1f}"),
                 f"{ratio:.2f}", "at most 100 ms, or 1.5", middle <= 100 or ratio <= 1.5)]
