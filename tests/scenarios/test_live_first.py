# SPDX-License-Identifier: Apache-2.0
"""After an outage: the newest at once, the backlog beside what is new, in order, and the last value is the true one."""

import time

from conftest import sim
from harness import wait_for


def outage(scene, gateway, count, channel="By/Hand"):
    """Ids of what is published while the server is down."""
    scene.platform.stop()
    gateway.wait_state("offline")
    ids = [gateway.publish(channel, number) for number in range(count)]
    assert gateway.get("SpoolMessages") >= count
    return ids


def wait_all(scene, ids, channel="By/Hand", timeout=20.0):
    """Waits for all of them, and gives the rows of the channel."""
    wait_for(lambda: set(ids) <= {row.id for row in scene.platform.arrivals(channel)}, "everything arrives", timeout)
    return scene.platform.arrivals(channel)


def check_bytes(rows):
    copies = {}
    for row in rows:
        copies.setdefault(row.id, set()).add((row.at, row.data))
    assert all(len(versions) == 1 for versions in copies.values()), "the same bytes however often"


def test_the_newest_is_first_and_the_backlog_in_order(scene):
    gateway = scene.online()
    first = gateway.publish("By/Hand", "before")
    gateway.wait_confirmed()
    ids = outage(scene, gateway, 30)
    scene.platform.start()
    gateway.wait_online(30)
    gateway.wait_confirmed()
    rows = wait_all(scene, ids)
    assert [row.id for row in rows] == [first, ids[-1], *ids]
    check_bytes(rows)
    assert gateway.get("Confirmed") == 31 and gateway.get("Published") == 32


def test_each_channel_ends_with_its_newest(scene):
    gateway = scene.online(sim("one", interval=0.02), sim("two", interval=0.05))
    scene.counter("Sim/one", 20)
    ids = outage(scene, gateway, 20)
    wait_for(lambda: gateway.get("SpoolMessages") > 150, "samples are taken meanwhile")
    begin = scene.platform.query("SELECT max(seq) AS seq FROM arrivals")[0].seq
    scene.platform.start()
    gateway.wait_online(30)
    taken = gateway.sensor("one")["Samples"]
    scene.counter("Sim/one", taken + 20)
    scene.counter("Sim/two", 30)
    wait_all(scene, ids)
    for channel in ("Sim/one", "Sim/two"):
        rows = [row for row in scene.platform.arrivals(channel) if row.seq > begin]
        check_bytes(rows)
        assert rows[0].at > max(row.at for row in rows[1:20]), f"{channel}: the newest before its backlog"
        newest = max(range(len(rows)), key=lambda index: rows[index].at)
        assert rows[-1].at == rows[newest].at, f"{channel}: the last value is the newest"
    assert scene.platform.arrivals("By/Hand")[-1].id == ids[-1]


def test_drain_rate_paces_the_backlog_and_nothing_else(scene):
    gateway = scene.online(sim("one", interval=0.05), delivery={"drain_rate": 50})
    scene.counter("Sim/one", 5)
    ids = outage(scene, gateway, 120)
    waiting = gateway.get("SpoolMessages")
    scene.platform.start()
    gateway.wait_online(30)
    wait_for(lambda: len(scene.platform.arrivals("By/Hand")) > len(ids), "everything arrives in its turn", 30)
    rows = scene.platform.arrivals("By/Hand")
    assert [row.id for row in rows] == [ids[-1], *ids]
    # What waited on Sim/one is paced with it. The bucket holds a tenth of a second's worth.
    seconds = (rows[-1].time_us - rows[1].time_us) / 1e6
    assert 1.5 < seconds < 2 * waiting / 50 + 2
    live = [row for row in scene.platform.arrivals("Sim/one") if rows[1].time_us < row.time_us < rows[-1].time_us]
    prompt = [row for row in live if row.time_us / 1e6 - row.at / 1000 < 0.5]
    assert len(prompt) > 15 * seconds, "what is new goes on beside it, at once"
    scene.check_counter("Sim/one")
    check_bytes(rows)


def test_the_link_fails_in_the_middle_of_the_backlog(scene):
    gateway = scene.online(sim("one", interval=0.05), delivery={"drain_rate": 100})
    scene.counter("Sim/one", 5)
    ids = outage(scene, gateway, 200)
    for _ in range(3):
        arrived = len({row.id for row in scene.platform.arrivals("By/Hand")})
        scene.platform.start()
        gateway.call("Reconnect")  # at once
        gateway.wait_online(30)
        wait_for(lambda: len({row.id for row in scene.platform.arrivals("By/Hand")}) > arrived + 20, "some of it arrives")
        scene.platform.kill()
        gateway.wait_state("offline")
    ids.append(gateway.publish("By/Hand", "last"))
    scene.platform.start()
    gateway.call("Reconnect")
    gateway.wait_online(30)
    rows = wait_all(scene, ids, timeout=30)
    wait_for(lambda: scene.platform.arrivals("By/Hand")[-1].id == ids[-1], "the last value is the newest")
    check_bytes(rows)
    first = list(dict.fromkeys(row.id for row in rows))
    order = [ids.index(message) for message in first if message not in (ids[-1], ids[-2])]
    assert order == sorted(order), "in order, but for the newest"
    scene.counter("Sim/one", gateway.sensor("one")["Samples"] + 5)
    assert gateway.get("Dropped") == 0


def test_kill_9_in_the_middle_of_the_backlog(scene):
    gateway = scene.online(delivery={"drain_rate": 40})
    ids = outage(scene, gateway, 250)
    live = []
    for round_number in range(3):
        if round_number == 0:
            scene.platform.start()
        gateway.wait_online(30)
        arrived = len({row.id for row in scene.platform.arrivals("By/Hand")})
        for number in range(10):
            live.append(gateway.publish("By/Hand", [round_number, number]))
        wait_for(lambda: len({row.id for row in scene.platform.arrivals("By/Hand")}) > arrived + 20, "some arrive")
        wait_for(lambda: gateway.get("Confirmed") > 0, "and count")
        spooled = gateway.get("SpoolMessages")
        gateway.kill()
        gateway.start()
        wait_for(lambda: gateway.get("State"), "it is on the bus")
        assert gateway.get("SpoolMessages") <= spooled, "what had arrived is known"
    gateway.wait_online(30)
    last = gateway.publish("By/Hand", "last")
    rows = wait_all(scene, [*ids, *live, last], timeout=30)
    gateway.wait_confirmed()
    check_bytes(rows)
    assert {row.id for row in rows} == {*ids, *live, last}, "nothing else arrives"
    assert scene.platform.arrivals("By/Hand")[-1].id == last, "the last value is the newest"


def test_a_large_backlog_keeps_nothing_new_waiting(scene):
    gateway = scene.online(sim("flood", interval=0.001, rate_limit=0, channel="Flood"))
    scene.counter("Flood", 5)
    scene.platform.stop()
    gateway.wait_state("offline")
    wait_for(lambda: gateway.get("SpoolMessages") > 8000, "a backlog grows", 60)
    scene.platform.start()
    gateway.wait_online(60)
    begin = time.monotonic()
    message = gateway.publish("By/Hand", "new")
    wait_for(lambda: [row for row in scene.platform.arrivals("By/Hand") if row.id == message], "it arrives", 5, 0.01)
    assert time.monotonic() - begin < 3
    scene.check_counter("Flood", timeout=60)
