# SPDX-License-Identifier: Apache-2.0
"""Power cuts: the guest and its disk's volatile cache are gone at a random moment, or in the middle of a flush; then it
boots again, and plugd starts by itself. At most the last spool.sync seconds and the disk's own time are lost (promise 2)."""

import random
import tempfile
import time
from pathlib import Path

import gateway
import pytest
from disk import VolatileDisk
from machine import LabError, make
from power_bench import CANARY, Bench, make_image, service, spread
from standin import StandIn, template

CUTS, CUTS_FULL = 4, 30
# The first cut comes right after the enrolment; then these in turn.
MODES = ("offline", "in a flush", "draining", "online")


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="plugd-power-") as name:
        yield Path(name)


@pytest.fixture
def disk(folder):
    make_image(folder / "state.img")
    made = VolatileDisk(folder / "state.img")
    yield made
    made.close()


@pytest.fixture
def server(folder):
    """On this machine: it stays when the guest goes."""
    with StandIn(folder / "standin", templates=[template(gateway.MODEL, gateway.PASS)],
                 plugin=make("tools", "bookworm") / "tools/platform/platform.so") as made:
        yield made


@pytest.fixture
def machine(make_vm, disk, server):
    made = make_vm(arguments=disk.arguments(), services=service(server.port))
    gateway.install(made)
    return made


def prepare(bench, mode):
    """Goes on until the moment has come."""
    chance, disk, server = bench.random, bench.disk, bench.server
    bench.wait_samples(20)
    if mode in ("enrolled", "online"):
        time.sleep(chance.uniform(0, 1 if mode == "enrolled" else 6))
        return
    server.stop()
    gateway.wait_state(bench.machine, "offline")
    time.sleep(chance.uniform(5, 14))
    if mode == "in a flush":
        disk.hold()
        assert disk.held.wait(30), "plugd syncs its disk while it is offline"
        time.sleep(chance.uniform(0, 0.2))
    elif mode == "draining":
        seen = server.last_arrival()
        server.start()
        bench.machine.run("plugctl reconnect")  # not after the pause that it has come to
        server.wait_arrivals(1, since=seen, timeout=90)
        time.sleep(chance.uniform(0, 0.3))


def cut(bench, mode, number, figure):
    """One cut and what follows. Returns its figures."""
    chance, disk, server, machine = bench.random, bench.disk, bench.server, bench.machine
    prepare(bench, mode)
    life, first = bench.life, number == 1
    flushes = bench.write_canary() if first else disk.flushes
    cache = bench.cut(0 if first else chance.choice((0.5, chance.random()) if mode == "in a flush" else (0, 0.5, 1, chance.random())))
    if not server.running:
        server.start()
    seen = server.last_arrival()
    begin = bench.power_on()
    booted = time.time() - begin
    if first:
        assert cache.writes > 0 and machine.get(CANARY) == bytes(4096) or disk.flushes > flushes, \
            "the disk forgets what was not flushed: without that, nothing is tested here"
    gateway.wait_state(machine, "online", 150)
    # The same device, with the credentials it was given once; and nobody started plugd but the boot.
    assert gateway.status(machine)["PlugId"] == bench.plug_id and len(server.devices()) == 1
    assert machine.out("systemctl show -P NRestarts plugd") == "0"
    said = bench.set_aside()
    lost, rows, copies = bench.settled(life)
    late = [row.time_us / 1e6 - begin for row in rows if row.time_us / 1e6 > begin]
    (after,) = server.query("SELECT min(time_us) AS time_us FROM arrivals WHERE seq > ?", seen)
    soon = after.time_us / 1e6 - begin
    found = {"messages": len(life.samples) + len(life.published), "lost": len(lost), "copies": copies, "boot": booted, "first": soon,
             "oldest": life.cut - min(lost, default=life.cut), "all": max(late, default=soon), "said": len(said), "torn": cache.torn}
    figure(f"power cut {number}, {mode}: {found['messages']} messages, 0 lost that were older than {life.limit:.2f} s, {len(lost)} lost of the last "
           f"{found['oldest']:.2f} s; {len(late)} came after it, {copies} sent again; the disk's cache had {cache.writes} writes, of which {cache.kept} "
           f"stayed and {cache.torn} in part; {len(said)} parts set aside; from power to ssh {booted:.1f} s, to the first message {soon:.1f} s, to all {found['all']:.1f} s")
    return found


@pytest.mark.timeout(5400)
def test_power_cuts(machine, disk, server, full, figure):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    bench = Bench(machine, disk, server, random.Random(seed))
    cuts = []
    for number in range(1, (CUTS_FULL if full else CUTS) + 1):
        mode = MODES[(number - 2) % len(MODES)] if number > 1 else "enrolled"
        try:
            cuts.append(cut(bench, mode, number, figure))
        except (AssertionError, LabError, TimeoutError) as error:
            raise AssertionError(f"cut {number}, {mode}, seed {seed}: {error}") from error
    # Nothing of the lives before is sent anew by a later one, and nothing came that is of none.
    for channel in ("Count", "Cut"):
        lives = [set(bench.arrived(life, channel)[0]) for life in bench.lives]
        assert sum(map(len, lives)) == len(set().union(*lives)), "no id is used in two lives"
        assert set().union(*lives) == {row.id for row in server.query("SELECT DISTINCT id FROM arrivals WHERE channel = ?", channel)}
    column = {key: [one[key] for one in cuts] for key in cuts[0]}
    figure(f"power cuts: {len(cuts)}, {sum(column['messages'])} messages, 0 lost that were older than the window, {sum(column['lost'])} lost in it, "
           f"{sum(column['copies'])} sent again, {sum(column['torn'])} writes torn, {sum(column['said'])} parts set aside; median and most: age of the oldest lost "
           f"{spread(column['oldest'])} s, from power to ssh {spread(column['boot'])} s, to the first message {spread(column['first'])} s, to all {spread(column['all'])} s")
