# SPDX-License-Identifier: Apache-2.0
"""A sensor that never pauses, without a limit: how much of it gets through worker, spool and link to a subscriber."""

import contextlib
import statistics
import time

from bench import Line, cpu_usec, login, spread
from drain import drain_lines

SETTINGS = {"spool": {"max_size": "3G"}, "time": {"wait_sync": False}}
SENSOR = {"name": "flood", "plugin": "sim", "channel": "Bench/flood", "misbehave": "flood", "rate_limit": 0}


def flood(bench, seconds):
    """Messages a second that arrive, and that go in; CPU of daemon and worker a message, µs; how many are missing in
    the end."""
    with contextlib.ExitStack() as stack:
        broker = bench.broker(stack)
        subscriber = bench.subscriber(stack, broker)
        plugd = bench.plugd(stack, broker.port, settings={**SETTINGS, "sensors": [SENSOR]})
        plugd.start()
        subscriber.wait("messages", 1, 30)
        time.sleep(1)
        before = subscriber.ask()
        time.sleep(seconds)
        after = subscriber.ask()
        cpu = cpu_usec(plugd.pid)
        samples, dropped = plugd.sensor("flood")["Samples"], plugd.get("Dropped")
        lasted = (after["last_usec"] - plugd.started_usec) / 1e6

        # What is left in the spool comes from a daemon without the sensor.
        assert plugd.stop(60) == 0
        plugd.configure({**SETTINGS, **login(broker.port)})
        plugd.start()
        plugd.wait_online()
        plugd.wait_confirmed(300)
        report = subscriber.ask()
        missing = report["highest"] + 1 - report["distinct"]
        return ((after["messages"] - before["messages"]) / ((after["last_usec"] - before["last_usec"]) / 1e6),
                samples / lasted, cpu / samples, missing, dropped, after["messages"])


def rows(bench):
    seconds = 4 if bench.quick else 10
    ours, theirs = [], []
    for i in range(bench.runs):
        ours.append(flood(bench, seconds))
        theirs.append(drain_lines(bench, 100_000 if bench.quick else 1_000_000))
        bench.say(f"run {i + 1}: plugd {ours[-1][0]:,.0f}/s arrive of {ours[-1][1]:,.0f}/s taken, {ours[-1][2]:.2f} µs, "
                  f"{ours[-1][3]:,} missing, {ours[-1][4]:,} dropped; mosquitto_pub {theirs[-1].rate:,.0f}/s")
    ratio = statistics.median(o[0] for o in ours) / statistics.median(t.rate for t in theirs)
    missing = sum(o[3] for o in ours)
    return [Line("sim flooding: messages/s that arrive" + (f"; {missing:,} MISSING" if missing else ""),
                 spread([o[0] for o in ours]), "mosquitto_pub " + spread([t.rate for t in theirs]), f"{ratio:.2f}",
                 "at least 0.6", ratio >= 0.6 and missing == 0),
            Line("… samples/s taken in", spread([o[1] for o in ours])),
            Line("… CPU of the daemon a sample, µs", spread([o[2] for o in ours], "{:.2f}"))]
