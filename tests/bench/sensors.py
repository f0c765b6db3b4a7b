# SPDX-License-Identifier: Apache-2.0
"""Ten sensors at 1 Hz, each in its own process, beside collectd with ten values at 1 Hz: memory, CPU, wake-ups."""

import contextlib
import statistics
import subprocess
import time

from bench import Line, cpu_usec, end, spread, switches, tree
from harness import memory_kib

SENSORS = 10
COLLECTD = """Hostname "bench"
FQDNLookup false
Interval 1
BaseDir "{folder}"
PIDFile "{folder}/pid"
TypesDB "/usr/share/collectd/types.db"
LoadPlugin mqtt
# Ten values: six, and four times one.
LoadPlugin memory
LoadPlugin load
LoadPlugin uptime
LoadPlugin entropy
LoadPlugin contextswitch
<Plugin mqtt>
  <Publish "bench">
    Host "127.0.0.1"
    Port {port}
    QoS 0
    Prefix "collectd"
  </Publish>
</Plugin>
"""


def start_collectd(bench, stack, broker):
    folder = bench.make_folder(stack)
    config = folder / "collectd.conf"
    config.write_text(COLLECTD.format(folder=folder, port=broker.port))
    process = subprocess.Popen(["/usr/sbin/collectd", "-f", "-C", str(config)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
    stack.callback(end, process)
    return process


def look(subscriber, pids):
    return {"messages": subscriber.ask()["messages"], "cpu": sum(map(cpu_usec, pids)), "switches": sum(map(switches, pids)),
            "time": time.monotonic()}


def compare(before, after):
    messages = after["messages"] - before["messages"]
    return {"messages": messages, "cpu": (after["cpu"] - before["cpu"]) / max(messages, 1),
            "wakeups": (after["switches"] - before["switches"]) / (after["time"] - before["time"])}


def side_by_side(bench, seconds):
    with contextlib.ExitStack() as stack:
        ours, theirs = bench.broker(stack), bench.broker(stack)
        subscribers = bench.subscriber(stack, ours), bench.subscriber(stack, theirs, "collectd/#")
        plugd = bench.plugd(stack, ours.port, settings={"sensors": [
            {"name": f"s{i}", "plugin": "sim", "channel": f"Bench/s{i}", "wave": "sine", "interval": 1} for i in range(SENSORS)]})
        plugd.start()
        collectd = start_collectd(bench, stack, theirs)
        subscribers[0].wait("messages", 5 * SENSORS, 30)
        subscribers[1].wait("messages", 5 * SENSORS, 30)
        pids = tree(plugd.pid), [collectd.pid]
        assert len(pids[0]) == 1 + SENSORS
        before = [look(*pair) for pair in zip(subscribers, pids)]
        time.sleep(seconds)
        after = [look(*pair) for pair in zip(subscribers, pids)]
        result = [compare(*pair) for pair in zip(before, after)]
        for one, ids in zip(result, pids):
            one["kib"] = sum(map(memory_kib, ids))
        result[0]["daemon_kib"] = memory_kib(plugd.pid)
        result[0]["daemon_cpu"] = (cpu_usec(plugd.pid)) / max(subscribers[0].ask()["messages"], 1)
        return result


def rows(bench):
    seconds = 15 if bench.quick else 60
    pairs = []
    for i in range(bench.runs):
        pairs.append(side_by_side(bench, seconds))
        bench.say(f"run {i + 1}: plugd {pairs[-1][0]}, collectd {pairs[-1][1]}")

    def line(work, key, form, target="", good=lambda value: None):
        ours, theirs = [p[0][key] for p in pairs], [p[1][key] for p in pairs if key in p[1]]
        middle = statistics.median(ours)
        return Line(work, spread(ours, form), "collectd " + spread(theirs, form) if theirs else "",
                    f"{middle / statistics.median(theirs):.2f}" if theirs else "", target, good(middle))

    expected = seconds * SENSORS
    return [
        line(f"ten sensors at 1 Hz for {seconds} s: PSS of all processes, KiB", "kib", "{:,.0f}", "at most 5 MiB",
             lambda kib: kib <= 5 * 1024),
        line("… of the daemon, KiB", "daemon_kib", "{:,.0f}", "at most 2 MiB", lambda kib: kib <= 2 * 1024),
        line("… CPU a sample, all processes, µs", "cpu", "{:.0f}", "at most 80 µs", lambda cpu: cpu <= 80),
        line("… wake-ups a second, all threads", "wakeups", "{:.0f}"),
        line(f"… samples that arrived, of {expected}", "messages", "{:,.0f}", f"{expected}, but for 10",
             lambda messages: abs(messages - expected) <= SENSORS),
    ]
