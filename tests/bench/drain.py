# SPDX-License-Identifier: Apache-2.0
"""How fast, and for how much CPU, a spool is emptied into a server with a subscriber."""

import contextlib
import dataclasses
import statistics

from bench import DATA_SIZE, Line, PAYLOAD_SIZE, cpu_usec, publish_lines, rate, spread


SETTINGS = {"spool": {"max_size": "1G"}}


@dataclasses.dataclass
class Drained:
    rate: float  # messages a second
    cpu: float  # µs a message
    server: float = 0  # µs of the server's CPU a message: mosquitto has one thread

    def __str__(self):
        return f"{self.rate:,.0f}/s at {self.cpu:.2f} µs" + (f" (the server {self.server:.2f})" if self.server else "")


def start_server(bench, stack, served):
    """mosquitto with a subscriber, or the counter alone as the server. (port, subscriber, CPU of the server)."""
    if not served:
        subscriber = bench.subscriber(stack)
        return subscriber.port, subscriber, lambda: 0
    broker = bench.broker(stack)
    return broker.port, bench.subscriber(stack, broker), lambda: cpu_usec(broker.process.pid)


def drain_plugd(bench, number, served=True):
    with contextlib.ExitStack() as stack:
        port, subscriber, server = start_server(bench, stack, served)
        plugd = bench.plugd(stack, port, spool=bench.spool(number), settings=SETTINGS)
        plugd.start()
        report = subscriber.wait("distinct", number, 300)
        result = Drained(rate(report, number), cpu_usec(plugd.pid) / number, server() / number)
        plugd.wait_confirmed(60)
        return result


def drain_lines(bench, number, served=True):
    with contextlib.ExitStack() as stack:
        port, subscriber, server = start_server(bench, stack, served)
        process = publish_lines(stack, port, bench.lines(number))
        report = subscriber.wait("distinct", number, 300)
        return Drained(rate(report, number), cpu_usec(process.pid) / number, server() / number)


def compare(bench, number, served, work, target=None):
    """The line of rates, and what plugd and mosquitto_pub made of it, in turn."""
    ours, theirs = [], []
    for i in range(bench.runs):
        ours.append(drain_plugd(bench, number, served))
        theirs.append(drain_lines(bench, number, served))
        bench.say(f"run {i + 1}: plugd {ours[-1]}, mosquitto_pub {theirs[-1]}")
    ratio = statistics.median(o.rate for o in ours) / statistics.median(t.rate for t in theirs)
    line = Line(f"{work}: messages/s", spread([o.rate for o in ours]), "mosquitto_pub " + spread([t.rate for t in theirs]),
                f"{ratio:.2f}", f"at least {target}" if target else "", ratio >= target if target else None)
    return line, ours, theirs


def rows(bench):
    number = 100_000 if bench.quick else 1_000_000
    work = f"drain {number:,} spooled records of {PAYLOAD_SIZE} B ({DATA_SIZE} B of data)"
    line, ours, theirs = compare(bench, number, True, work, 1.2)
    cpu, their_cpu = (statistics.median(d.cpu for d in side) for side in (ours, theirs))
    busy = [statistics.median(d.rate * d.server for d in side) / 1e4 for side in (ours, theirs)]
    return [
        line,
        Line("… CPU a message, µs", spread([d.cpu for d in ours], "{:.2f}"),
             "mosquitto_pub " + spread([d.cpu for d in theirs], "{:.2f}"), f"{cpu / their_cpu:.2f}", "at most 6 µs", cpu <= 6),
        Line("… how busy mosquitto's one thread was, %", f"{busy[0]:.0f}", f"mosquitto_pub {busy[1]:.0f}"),
        compare(bench, number, False, "… into a server that only counts")[0],
    ]
