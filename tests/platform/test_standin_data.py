# SPDX-License-Identifier: Apache-2.0
"""Publishing, retrieval, storage, permissions."""

import json

import pytest
from helpers_platform import A, B, C, USER, arrivals, events, login


@pytest.mark.parametrize("topic", [f"{A}/data/My/Sensor", "/data/My/Sensor"])
def test_publish_with_and_without_plug_id(server, topic):
    message = '{"id":"%s", "data": {"t" : 1.50}, "at":1700000000000}' % ("1" * 24)
    with login(server, "a") as a, login(server, "b") as b:
        b.subscribe(f"{A}/data/My/Sensor")
        a.publish(topic, message)
        assert b.message() == (f"{A}/data/My/Sensor", message.encode())
    row = arrivals(server)[0]
    assert (row.device, row.topic, row.channel, row.id, row.at, row.data, row.qos, row.retain) == \
        (A, topic, "My/Sensor", "1" * 24, 1700000000000, '{"t" : 1.50}', 0, 0)
    assert server.records(id="1" * 24)[0].value == {"t": 1.5}


def test_missing_id_and_at_are_filled_in(server):
    with login(server, "a") as a, login(server, "b") as b:
        b.subscribe("+/data/x")
        a.publish("/data/x", ' {"data": null, "ttl": 5}')
        message = json.loads(b.message()[1])
    assert set(message) == {"id", "data", "at", "ttl"} and message["data"] is None and len(message["id"]) == 24
    row = arrivals(server)[0]
    assert row.id is None and row.at is None
    assert server.records(id=message["id"])[0].at == message["at"]


@pytest.mark.parametrize("mask, expected", [
    (f"{A}/data/My/Sensor", [(A, "My/Sensor")]), ("+/data/My/Sensor", [(A, "My/Sensor"), (B, "My/Sensor")]),
    (f"{A}/data/#", [(A, "My/Sensor"), (A, "x")]), ("+/data/+", [(A, "x"), (B, "x")]),
    ("+/data/My/#", [(A, "My/Sensor"), (B, "My/Sensor")]), ("/data/x", []), (f"{C}/data/#", []),
    (f"{A}/data/My/+", [(A, "My/Sensor")]), ("#", [(A, "My/Sensor"), (A, "x"), (B, "My/Sensor"), (B, "x")])])
def test_retrieval(server, mask, expected):
    server.add_device(C, "auth-c", "hw-c")
    with login(server, "a") as a, login(server, "b") as b, login(server, "c") as c:
        assert c.subscribe(mask) == [0]
        for publisher in (a, b):
            for channel in ("My/Sensor", "x"):
                publisher.publish(f"/data/{channel}", '{"data":1}')
            publisher.ping()
        assert [t for t, _ in c.messages_until_answered()] == [f"{d}/data/{channel}" for d, channel in expected]


def test_own_channel_without_plug_id(server):
    """/data/MASK is what others, such as a user, publish on the own channels."""
    with login(server, "a") as a, server.client() as user:
        a.subscribe("/data/Fan")
        user.connect("x", USER, "secret")
        user.publish(f"{A}/data/Fan", '{"data":true}')
        user.publish(f"{B}/data/Fan", '{"data":true}')
        user.ping()
        assert [t for t, _ in a.messages_until_answered()] == [f"{A}/data/Fan"]


def test_unsubscribe(server):
    with login(server, "a") as a, login(server, "b") as b:
        b.subscribe(f"{A}/data/x", f"{A}/data/y")
        b.unsubscribe(f"{A}/data/x", "never/subscribed")
        a.publish("/data/x", '{"data":1}')
        a.publish("/data/y", '{"data":1}')
        a.ping()
        assert [t for t, _ in b.messages_until_answered()] == [f"{A}/data/y"]
    assert [e.detail for e in events(server, "unsubscribe")] == [None, "was not subscribed"]


@pytest.mark.parametrize("hear_own", [False, True])
def test_hearing_oneself(server, hear_own):
    server.switch(hear_own=hear_own)
    with login(server, "a") as a:
        a.subscribe(f"{A}/data/x")
        a.publish("/data/x", '{"data":1}')
        assert len(a.messages_until_answered()) == hear_own


def test_overlapping_subscriptions_deliver_once(server):
    with login(server, "a") as a, login(server, "b") as b:
        b.subscribe(f"{A}/data/x", "+/data/#", "#")
        a.publish("/data/x", '{"data":1}')
        a.ping()
        assert len(b.messages_until_answered()) == 1


@pytest.mark.parametrize("payload", [
    b"", b"1", b"[]", b"{}", b"nonsense", b'{"data":1', b'{"data":1}x', b'{"data":"\xff"}', b'{"data":1,"at":"x"}',
    b'{"data":1,"id":"short"}', b'{"data":1,"id":7}', b'{"at":1}', b"{'data':1}", b'{"data":NaN}'])
def test_invalid_payload_is_dropped_and_noted(server, payload):
    with login(server, "a") as a, login(server, "b") as b:
        b.subscribe("+/data/#")
        a.publish("/data/x", payload)
        a.ping()
        assert b.messages_until_answered() == []
    row = arrivals(server, fate="invalid")[0]
    assert (row.payload or b"") == payload or row.payload is None
    assert events(server, "invalid")[0].detail
    assert not server.records(device=A, channel="x", arrival=row.seq)


@pytest.mark.parametrize("topic", [
    "data/x", f"{A}/x", f"{A}/data/", f"{A}/data/a//b", f"{A}/data/a/", "dev-xyz/data/x", f"{C}/data/x",
    f"{A}/data/" + "x" * 201, "nonsense"])
def test_invalid_topic_is_dropped_and_noted(server, topic):
    with login(server, "a") as a:
        a.publish(topic, '{"data":1}')
        a.ping()
    assert [r.topic for r in arrivals(server, fate="invalid")] == [topic]


@pytest.mark.parametrize("data", [
    "null", "true", "-0.10", "1e3", '"a\\"b}, \\"data\\": 2"', "[1, {\"data\": 3}]", "{}", '{"data" :{"data":[]}}',
    "123456789012345678", '"\u00e9 \U0001f600"'])
def test_data_is_kept_verbatim(server, data):
    with login(server, "a") as a:
        a.publish("/data/v", '{ "x":"data", "data":%s , "at":5}' % data)
        a.ping()
    assert arrivals(server)[0].data == data


def test_qos_above_0_is_a_violation(server):
    with login(server, "a") as a:
        a.publish("/data/x", '{"data":1}', qos=1)
        a.expect("PUBACK")
    assert events(server, "violation")[0].code == 1


def test_record_is_replaced_by_id(server):
    with login(server, "a") as a:
        for value in (1, 2):
            a.publish("/data/r", '{"id":"%s","data":%d,"at":%d}' % ("2" * 24, value, 1000 + value))
        a.ping()
    assert [r.data for r in arrivals(server)] == ["1", "2"]
    assert [(r.data, r.at) for r in server.records("r", A)] == [("2", 1002)]


def test_second_record_with_the_same_at_overwrites_the_first(server):
    with login(server, "a") as a, login(server, "b") as b:
        for client in (a, b):
            for i, channel in enumerate(("s", "s", "t")):
                client.publish(f"/data/{channel}", '{"data":%d,"at":77}' % i)
            client.ping()
    for plug_id in (A, B):
        assert [r.data for r in server.records("s", plug_id)] == ["1"]
        assert [r.data for r in server.records("t", plug_id)] == ["2"]
    assert len(arrivals(server)) == 6


def test_denied_publish_is_silent(server):
    server.permissions({"who": A, "do": "publish", "channel": "secret/#"})
    with login(server, "a") as a, login(server, "b") as b:
        b.subscribe("+/data/#")
        a.publish("/data/secret/x", '{"data":1}')
        a.publish("/data/open", '{"data":1}')
        a.publish(f"{B}/data/open", '{"data":1}')
        a.ping()
        assert [t for t, _ in b.messages_until_answered()] == [f"{A}/data/open"]
    assert [(r.topic, r.fate) for r in arrivals(server, fate=None)] == [
        ("/data/secret/x", "denied"), ("/data/open", "stored"), (f"{B}/data/open", "denied")]


def test_denied_subscription_is_silent(server):
    server.permissions({"who": B, "do": "subscribe", "of": A, "channel": "secret/#"})
    with login(server, "a") as a, login(server, "b") as b:
        assert b.subscribe(f"{A}/data/secret/#", "+/data/+") == [0, 0]
        a.publish("/data/secret/x", '{"data":1}')
        a.publish("/data/open", '{"data":1}')
        a.ping()
        assert [t for t, _ in b.messages_until_answered()] == [f"{A}/data/open"]
    assert len(arrivals(server)) == 2


def test_first_rule_that_fits_decides(server):
    server.permissions({"who": "thing", "do": "publish", "of": B, "permit": True}, {"do": "*", "permit": False})
    with login(server, "a") as a:
        a.publish(f"{B}/data/x", '{"data":1}')
        a.publish(f"{A}/data/x", '{"data":1}')
        a.ping()
    assert [r.fate for r in arrivals(server, fate=None)] == ["stored", "denied"]
