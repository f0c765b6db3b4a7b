# SPDX-License-Identifier: Apache-2.0
"""From a reading to the server: nothing lost, nothing changed, whoever ends in between."""

import json
import re
import time

from conftest import sim
from harness import wait_for


def test_payload_has_id_data_and_at_and_nothing_else(scene):
    gateway = scene.online(sim("one", wave="sine"))
    scene.platform.wait_arrivals(3, "Sim/one")
    row = scene.platform.query("SELECT * FROM arrivals WHERE channel = 'Sim/one' ORDER BY seq")[0]
    assert row.topic == f"{gateway.get('PlugId')}/data/Sim/one"
    assert re.fullmatch(r"[0-9a-f]{24}", row.id)
    assert abs(row.at / 1000 - row.time_us / 1e6) < 5
    assert isinstance(row.value, (int, float))
    assert not row.retain and row.qos == 0


def test_counter_arrives_in_order_without_gaps(scene):
    scene.online(sim("one", interval=0.01), sim("two", interval=0.02))
    assert len(scene.counter("Sim/one", 100)) >= 100  # what was taken before the login is through
    since = max(row.seq for row in scene.platform.arrivals())
    assert len(scene.counter("Sim/one", 300)) >= 300
    assert len(scene.counter("Sim/two", 100)) >= 100
    rows = scene.platform.arrivals(since=since)
    ids = [row.id for row in rows]
    assert len(ids) == len(set(ids)), "on a steady connection nothing comes twice"
    for channel in ("Sim/one", "Sim/two"):
        times = [row.at for row in rows if row.channel == channel]
        assert len(times) > 30 and times == sorted(times), "and all in order"


def test_publish_returns_the_id_that_arrives(scene):
    gateway = scene.online()
    values = [None, True, -3, 2.5, "grün \"quoted\"\n", [1, [2, {}]], {"a": {"b": None}}]
    ids = [gateway.publish("By/Hand", value) for value in values]
    rows = scene.platform.wait_arrivals(len(values), "By/Hand")
    assert [row.id for row in rows] == ids
    assert [row.value for row in rows] == values
    ats = [row.at for row in rows]
    assert ats == sorted(set(ats))
    gateway.wait_confirmed()
    wait_for(lambda: gateway.get("Confirmed") >= len(values), "they count as confirmed")


def test_publish_refuses_what_cannot_be_published(scene):
    gateway = scene.online()
    for channel, text in (("a/+/b", "1"), ("", "1"), ("a//b", "1"), ("x" * 201, "1"), ("ok", "{nope"), ("ok", ""),
                          ("ok", "1 2"), ("ok", "NaN"), ("ok", '"' + "x" * 70000 + '"')):
        result = gateway.call("Publish", "ss", channel, text, check=False)
        assert result.returncode != 0, (channel, text[:20])
        assert len(result.stderr.strip()) > 10
    assert gateway.get("SpoolMessages") == 0


def test_what_was_taken_before_the_first_enrolment_goes_out_after_it(scene):
    scene.platform.stop()
    gateway = scene.gateway(scene.settings(sim("one"))).start()
    wait_for(lambda: gateway.get("State"), "it is on the bus")
    ids = [gateway.publish("By/Hand", number) for number in range(10)]
    wait_for(lambda: gateway.sensor("one")["Samples"] > 20, "samples are taken")
    assert gateway.get("PlugId") == ""
    gateway.restart()
    wait_for(lambda: gateway.get("SpoolMessages") > 25, "they outlive a restart")
    scene.platform.start()
    gateway.wait_online(30)
    wait_for(lambda: {row.id for row in scene.platform.arrivals("By/Hand")} == set(ids), "all of them arrive")
    assert scene.counter("Sim/one", 20)[:20] == list(range(20))


def test_server_down_and_up_again_loses_nothing(scene):
    gateway = scene.online(sim("one", interval=0.02))
    scene.counter("Sim/one", 20)
    for kill in (False, True):
        scene.platform.kill() if kill else scene.platform.stop()
        gateway.wait_state("offline")
        taken = gateway.sensor("one")["Samples"]
        wait_for(lambda: gateway.sensor("one")["Samples"] > taken + 50, "samples are taken meanwhile")
        assert gateway.get("SpoolMessages") >= 50
        scene.platform.start()
        gateway.wait_online(30)
        scene.counter("Sim/one", taken + 60, 30)
    assert gateway.get("Dropped") == 0


def test_kill_9_and_clean_restarts_keep_the_spool(scene):
    gateway = scene.online()
    scene.platform.stop()
    gateway.wait_state("offline")
    ids = []
    for round_number in range(4):
        ids += [gateway.publish("By/Hand", [round_number, number]) for number in range(15)]
        if round_number % 2:
            gateway.restart()
        else:
            gateway.kill()
            gateway.start()
        wait_for(lambda: gateway.get("SpoolMessages") >= len(ids), "nothing is lost")
    scene.platform.start()
    gateway.wait_online(30)
    rows = scene.platform.wait_arrivals(len(ids), "By/Hand")
    assert list(dict.fromkeys(row.id for row in rows)) == ids
    assert len({row.at for row in rows}) == len(ids)


def test_kill_9_while_publishing_loses_nothing(scene):
    gateway = scene.online(sim("one", interval=0.01))
    ids = []
    for _ in range(3):
        for number in range(20):
            ids.append(gateway.publish("By/Hand", number))
        gateway.kill()
        gateway.start().wait_online()
    wait_for(lambda: set(ids) <= {row.id for row in scene.platform.arrivals("By/Hand")}, "all ids arrive")
    scene.check_counter("Sim/one")
    copies = {}
    for row in scene.platform.arrivals("By/Hand"):
        copies.setdefault(row.id, set()).add((row.at, row.data))
    assert all(len(versions) == 1 for versions in copies.values()), "the same bytes however often"
    assert set(copies) == set(ids), "nothing else arrives"


def test_a_silent_server_is_noticed_by_its_missing_barrier(scene):
    gateway = scene.online(sim("one"), delivery={"confirm_timeout": 2})
    scene.counter("Sim/one", 5)
    scene.platform.freeze()
    begin = time.monotonic()
    wait_for(lambda: gateway.get("State") != "online", "the silence is noticed", 15)
    assert time.monotonic() - begin < 10
    scene.platform.thaw()
    gateway.wait_online(40)
    taken = gateway.sensor("one")["Samples"]
    scene.counter("Sim/one", taken, 30)


def test_a_server_that_answers_no_barrier_stays_named(scene):
    """It takes every login, so being online says nothing: the error stays until a barrier is answered."""
    gateway = scene.online(sim("one"), delivery={"confirm_timeout": 1})
    scene.counter("Sim/one", 5)
    scene.platform.withhold("UNSUBACK", -1)
    gateway.wait_error("barrier")
    since = scene.platform.last_event()
    for _ in range(2):
        since = scene.platform.wait_event("connect", 30, since).seq
        wait_for(lambda: gateway.get("State") == "online", "online again")
        assert "barrier" in gateway.get("LastError")
    scene.platform.clear()
    wait_for(lambda: gateway.get("State") == "online" and gateway.get("LastError") == "", "an answer clears it", 60)


def test_barriers_unsubscribe_from_what_was_never_subscribed(scene):
    gateway = scene.online(sim("one"))
    scene.counter("Sim/one", 10)
    wait_for(lambda: gateway.get("Confirmed") > 5, "barriers are answered")
    topics = {event.topic for event in scene.platform.events("unsubscribe")}
    subscribed = {event.topic for event in scene.platform.events("subscribe")}
    assert topics and not topics & subscribed


def test_withheld_barriers_confirm_nothing(scene):
    gateway = scene.online(delivery={"confirm_timeout": 3})
    gateway.publish("By/Hand", 0)
    gateway.wait_confirmed()
    scene.platform.withhold("UNSUBACK", -1)
    message = gateway.publish("By/Hand", 1)
    wait_for(lambda: gateway.get("State") != "online", "the missing answer ends the connection", 15)
    assert gateway.get("SpoolMessages") == 1
    scene.platform.clear()
    gateway.wait_online(40)
    gateway.wait_confirmed()
    rows = [row for row in scene.platform.arrivals("By/Hand") if row.id == message]
    assert len(rows) >= 2 and len({(row.at, row.data) for row in rows}) == 1


def test_confirm_none_needs_no_barrier(scene):
    gateway = scene.online(sim("one"), delivery={"confirm": "none"})
    scene.counter("Sim/one", 20)
    gateway.call("Reconnect")
    gateway.wait_online()
    scene.counter("Sim/one", 40)
    assert not scene.platform.events("unsubscribe")


def test_real_readings_of_this_machine(scene):
    scene.online({"name": "machine", "plugin": "system", "channel": "Machine", "interval": 0.5})
    channels = wait_for(lambda: {row.channel for row in scene.platform.arrivals()
                                 if row.channel.startswith("Machine/")}, "readings arrive")
    wait_for(lambda: len({row.channel for row in scene.platform.arrivals()
                          if row.channel.startswith("Machine/")}) >= 4, f"several of them, not only {channels}")
    for row in scene.platform.arrivals():
        if row.channel.startswith("Machine/"):
            assert isinstance(row.value, (int, float)), row
    with open("/proc/uptime", encoding="ascii") as file:
        uptime = float(file.read().split()[0])
    (last,) = [row for row in scene.platform.arrivals() if row.channel.endswith("uptime")][-1:] or [None]
    assert last is not None and abs(last.value - uptime) < 60


def test_numbers_on_the_bus_agree_with_the_server(scene):
    gateway = scene.online()
    for number in range(5):
        gateway.publish("By/Hand", number)
    gateway.wait_confirmed()
    properties = gateway.properties()
    assert properties["Published"] >= 5 and properties["Confirmed"] == 5
    assert properties["SpoolMessages"] == 0
    assert json.dumps(properties["Dropped"]) == "0"
