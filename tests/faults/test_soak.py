# SPDX-License-Identifier: Apache-2.0
"""A week in an hour: outages of all kinds, one after the other, with two gateways under load. One goes through all of them
in one life, and its memory and descriptors, and those of its workers, have to stay what they were. The other is killed and
restarted besides. Neither loses anything."""

import os
import statistics
import time

import outages
import pytest
from conftest import sanitized
from harness import memory_kib, wait_for
from load import Load, now_us, spread
from proxy import Proxy

SHORT_SECONDS, FULL_SECONDS = 90, 3600
# A heap creeps up to its size for a while, and tables of the daemon's take their pages one by one: by some 50 KiB from the
# first third to the last. In the short form, with some 15 outages between the middles of the two, the allocator gives back
# what is free, so that a leak of 5 kB an outage is seen; the long form, with some 600, sees one of 150 bytes.
GROWTH_KIB = 88
SHARP = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "4096", "MALLOC_TOP_PAD_": "4096", "MALLOC_MMAP_THRESHOLD_": "16384"}
# The spool keeps its young segments open, sometimes one more, sometimes one less.
MORE_DESCRIPTORS = 2
KINDS = list(outages.ALL)
# A heap has its size from what was most at once: these take longer than those that come by chance.
WARM_UP = ["connections refused", "UNSUBACK withheld", "one byte a second", "black hole", "reset in a packet", "2 kB/s"]
COUNTERS = {"a": 0.01, "b": 0.02, "c": 0.05, "d": 0.1, "e": 0.2, "f": 0.5}

PSS, ANONYMOUS, DESCRIPTORS = range(3)


def anonymous_kib(pid):
    """Its heap, its stacks, and what it has written to of its libraries. A leak is in here."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss_Anon:"))


class Footprint:
    """Of the daemon that lives on, and of its workers: PSS and what of it is private and not of a file, in KiB; descriptors.
    PSS goes up and down with the processes that share its libraries, so what may not grow is the private part."""

    def __init__(self, gateway):
        self.gateway, self.samples = gateway, []

    def take(self):
        pids = {"plugd": self.gateway.pid, **self.gateway.workers()}
        self.samples.append({name: (memory_kib(pid), anonymous_kib(pid), len(os.listdir(f"/proc/{pid}/fd"))) for name, pid in pids.items()})

    def ends(self, name, index):
        """Medians of the first and the last third, after a quarter of all to warm up."""
        values = self.series(name, index)
        values = values[len(values) // 4:]
        part = max(len(values) // 3, 1)
        return statistics.median(values[:part]), statistics.median(values[-part:])

    def check(self):
        for name in ("plugd", *COUNTERS):
            first, last = self.ends(name, ANONYMOUS)
            assert last - first <= GROWTH_KIB, f"{name} has grown from {first} to {last} KiB: {self.series(name, ANONYMOUS)}"
            first, last = self.ends(name, DESCRIPTORS)
            assert last <= first + MORE_DESCRIPTORS, f"{name} has {last} descriptors after {first}: {self.series(name, DESCRIPTORS)}"

    def series(self, name, index):
        return [sample[name][index] for sample in self.samples if name in sample]


def quiet(load):
    """It is online, and has nothing left but what comes just now. Its backoff is cut short: an hour is short."""
    def holds():
        state = load.gateway.get("State")
        if state in ("offline", "refused"):
            load.gateway.call("Reconnect", check=False)
            time.sleep(0.3)
        return state == "online" and load.gateway.get("SpoolMessages") < 800
    wait_for(holds, f"{load.name} is online and has caught up", 90, 0.2)


def end_victim(load, rng):
    """In one of the ways in which a daemon ends. SIGHUP may leave it alone, or end it in order."""
    how = rng.choice(["kill -9", "restart", "SIGHUP"])
    if how == "SIGHUP":
        load.hang_up()
    elif how == "restart":
        load.stop()
        load.start()
    else:
        load.kill()
        time.sleep(rng.uniform(0, 0.5))
        load.start()
    return how


def strike(platform, proxy, victim, rng):
    """One outage, at random, and perhaps an end of the victim during it. Their names."""
    name = rng.choice(KINDS)
    names = [name]
    with outages.ALL[name](platform, proxy):
        time.sleep(rng.uniform(0.2, 2))
        if rng.random() < 0.5:
            names.append(end_victim(victim, rng))
        time.sleep(rng.uniform(0, 0.5))
    return names


def first_after(load, end_us, mark):
    (row,) = load.scene.platform.query("SELECT min(time_us) AS first FROM arrivals WHERE seq > ? AND time_us > ? AND channel LIKE ?",
                                       mark, end_us, f"%/{load.name}/%")
    return row.first and (row.first - end_us) / 1e6


@pytest.mark.timeout(2 * FULL_SECONDS)
def test_soak(request, scene, second_scene, full, rng, line, figure):
    seconds = request.config.getoption("seconds") or (FULL_SECONDS if full else SHORT_SECONDS)
    slower = 3 if full else 1
    with Proxy(scene.platform.address) as proxy:
        options = {"server": {"port": proxy.port}, "spool": {"sync": 1, "memory": "512K"}, "delivery": {"confirm_timeout": 1}}
        lasting = Load(scene, {name: interval * slower for name, interval in COUNTERS.items()}, publish=20 / slower, name="lasting",
                       environment=None if full else SHARP, **options)
        victim = Load(second_scene, {"a": 0.01 * slower, "b": 0.1}, publish=20 / slower, name="victim", device={"hwid": "test-0002"}, **options)
        for load in (lasting, victim):
            load.start().gateway.wait_online()
        footprint, counts, recovery = Footprint(lasting.gateway), {}, []
        until = time.monotonic() + seconds
        for name in WARM_UP:
            with outages.ALL[name](scene.platform, proxy):
                time.sleep(3)
            quiet(lasting)
        while time.monotonic() < until:
            for name in strike(scene.platform, proxy, victim, rng):
                counts[name] = counts.get(name, 0) + 1
            end, mark = now_us(), scene.platform.last_arrival()
            for load in (lasting, victim):
                quiet(load)
            recovery.append(first_after(lasting, end, mark))
            footprint.take()
        victim_verdict = victim.finish()
        assert lasting.gateway.process.poll() is None, "the lasting one has ended"
        last = lasting.recovery(end)[1]
        lasting_verdict = lasting.finish()
    number = sum(counts.values())
    line(f"soak, {seconds} s, {number} faults: one life", lasting_verdict, "/".join(spread(recovery)), last)
    line("    the one that was killed and restarted too", victim_verdict)
    figure(f"    {', '.join(f'{name} {count}' for name, count in sorted(counts.items()))}")
    for name in ("plugd", "a"):
        pss, anonymous, descriptors = (footprint.ends(name, index) for index in (PSS, ANONYMOUS, DESCRIPTORS))
        figure(f"    {name if name == 'plugd' else 'a worker'}, medians of the first and the last third: PSS {pss[0]:g} and {pss[1]:g} KiB, "
               f"of that private {anonymous[0]:g} and {anonymous[1]:g}; descriptors {descriptors[0]:g} and {descriptors[1]:g}")
    if not sanitized():
        footprint.check()
