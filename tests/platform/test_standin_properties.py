# SPDX-License-Identifier: Apache-2.0
"""Additional properties and last wills."""

import json

import pytest
from helpers_platform import A, B, USER, arrivals, ask, events, login


def test_properties(server):
    with login(server, "a") as a:
        assert ask(a, "set", '{"site":"North","n":1.5,"list":[1,null],"gone":true}') is None
        assert ask(a, "get") == {"site": "North", "n": 1.5, "list": [1, None], "gone": True}
        assert ask(a, "set", '{"gone":null,"site":"South"}') is None
        assert ask(a, "get", '["site","gone","unknown"]') == {"site": "South"}
    assert server.properties(A)["site"] == "South"


def test_property_reference_gives_the_last_value(server):
    with login(server, "a") as a:
        ask(a, "set", '{"t":{"channel":"Greenhouse/t"},"none":{"channel":"never"}}')
        for at, value in ((10, 1), (30, 3), (20, 2)):
            a.publish("/data/Greenhouse/t", '{"data":{"v":%d},"at":%d}' % (value, at))
        assert ask(a, "get", '["t","none"]') == {"t": {"v": 3}, "none": None}
        server.switch(resolve_reference=False)
        assert ask(a, "get", '["t"]') == {"t": {"channel": "Greenhouse/t"}}


@pytest.mark.parametrize("what, payload", [("set", "[]"), ("set", ""), ("set", "{"), ("get", "{}"), ("get", "[1]")])
def test_property_errors(server, what, payload):
    with login(server, "a") as a:
        answer = ask(a, what, payload)
    assert answer["err"] == 400 and answer["msg"]


def test_properties_of_another_device(server):
    with login(server, "a") as a, server.client() as user:
        assert ask(a, "get", plug_id=B)["err"] == 403
        user.connect("x", USER, "secret")
        assert ask(user, "get", plug_id=B) == {}


def test_property_answer_only_to_subscribers(server):
    server.switch(answer_unasked=False)
    with login(server, "a") as a:
        a.publish(f"{A}/ag/prop/get")
        assert a.messages_until_answered() == []
        a.subscribe(f"{A}/ag/prop/get")
        assert ask(a, "get") is not None


def test_property_request_is_echoed_where_publishers_hear_themselves(server):
    server.switch(hear_own=True, set_answer="object")
    with login(server, "a") as a:
        a.subscribe("/ag/prop/set")
        a.publish("/ag/prop/set", '{"x":1}')
        assert a.message() == (f"{A}/ag/prop/set", b'{"x":1}')
        assert a.message() == (f"{A}/ag/prop/set", b"{}")


@pytest.mark.parametrize("end", ["close", "reset", "kick", "takeover"])
def test_will_is_published_when_the_connection_is_lost(server, end):
    message = '{"data":"offline","at":99}'
    a = login(server, "a", will=("/data/status", message, 0, False))
    with login(server, "b") as b:
        b.subscribe(f"{A}/data/status")
        if end == "kick":
            server.kick(login=A, will=True)
        elif end == "takeover":
            login(server, "a").disconnect()
        else:
            getattr(a, end)()
        topic, payload = b.message()
        assert topic == f"{A}/data/status" and json.loads(payload)["data"] == "offline"
    row = arrivals(server)[0]
    assert row.will == 1 and row.at == 99
    assert len(events(server, "will")) == 1


def test_no_will_after_disconnect(server):
    login(server, "a", will=("/data/status", '{"data":"offline"}')).disconnect()
    server.wait_event("disconnect", since=server.start_event)
    assert arrivals(server, fate=None) == []
