# SPDX-License-Identifier: Apache-2.0
"""Logins and enrolment."""

import json

import mqtt
import pytest
from helpers_platform import A, B, C, MODEL, OTHER_MODEL, PASS, USER, arrivals, enrol, events, login


@pytest.mark.parametrize("client_id", ["hw-a", "hw-a/Some name", "hw-a/with/slashes"])
def test_login_by_plug_id(server, client_id):
    with server.client() as client:
        assert client.connect(client_id, A, "auth-a", keepalive=240) == 0
        client.ping()
    connect = events(server, "connect")[0]
    assert connect.device == A and connect.client == client_id
    assert json.loads(connect.detail)["keepalive"] == 240


def test_name_is_assigned_at_login(server):
    login(server, "a", "First").close()
    login(server, "a").close()
    assert server.devices(plug_id=A)[0]["name"] == "First"
    login(server, "a", "Second").close()
    row = server.devices(plug_id=A)[0]
    assert (row["name"], row.auth, row.model) == ("Second", "auth-a", MODEL)


@pytest.mark.parametrize("keepalive, violations", [(0, 1), (240, 0), (299, 0), (300, 1)])
def test_keepalive_of_five_minutes_is_a_violation(server, keepalive, violations):
    with server.client() as client:
        assert client.connect("hw-a", A, "auth-a", keepalive=keepalive) == 0
    assert len(events(server, "violation")) == violations


@pytest.mark.parametrize("username, password, client_id, code", [
    (A, "wrong", "hw-a", 4), (A, None, "hw-a", 4), (C, "auth-c", "hw-c", 5), (A, "auth-a", "hw-b", 2),
    (USER, "wrong", "anything", 4), ("nobody@example.com", "x", "anything", 5), ("", "password", "hw-a", 5)])
def test_login_refused(server, username, password, client_id, code):
    with server.client() as client:
        assert client.connect(client_id, username, password) == code
        assert client.wait_closed()
    assert [e.code for e in events(server, "refused")] == [code]


def test_login_codes_can_be_chosen(server):
    server.switch(code_password=5)
    with server.client() as client:
        assert client.connect("hw-a", A, "wrong") == 5


def test_login_by_email_is_attached_to_no_device(server):
    with server.client() as client, login(server, "a") as listener:
        listener.subscribe(f"{A}/data/#")
        assert client.connect("any id", USER, "secret") == 0
        client.publish("/data/x", '{"data":1}')
        client.publish(f"{A}/data/x", '{"data":2}')
        client.ping()
        assert [json.loads(p)["data"] for _, p in listener.messages_until_answered()] == [2]
    assert [a.fate for a in arrivals(server, fate=None)] == ["invalid", "stored"]


def test_login_takes_over_the_same_client_id(server):
    first = login(server, "a")
    with login(server, "a"):
        assert first.wait_closed()
    assert events(server, "disconnect")[0].detail == "taken over"


def test_ends_of_connections_are_told_apart(server):
    def end_of(client, end):
        since = server.last_event()
        end(client)
        return server.wait_event("disconnect", since=since).detail

    assert end_of(login(server, "a"), mqtt.Client.disconnect) == "disconnect"
    assert end_of(login(server, "a"), mqtt.Client.close) == "closed"
    assert end_of(login(server, "a"), mqtt.Client.reset) == "reset"
    assert end_of(login(server, "a"), lambda _: server.kick(login=A)) == "kicked"


def test_connection_without_pings_is_lost(server):
    with server.client() as client:
        assert client.connect("hw-a", A, "auth-a", keepalive=1) == 0
        assert client.wait_closed(10)
    assert server.wait_event("disconnect", since=server.start_event).detail == "keepalive"


@pytest.mark.parametrize("username, password", [("", ""), (None, None), ("", None)])
def test_enrol_a_thing_and_log_in(server, username, password):
    client, answer = enrol(server, "serial-1/Greenhouse", f"{MODEL}/thing/{PASS}", username, password)
    client.disconnect()
    assert set(answer) == {"id", "auth"} and answer["id"].startswith("dev-") and len(answer["id"]) == 28
    row = server.devices(plug_id=answer["id"])[0]
    assert (row.hwid, row["name"], row.model, row.thing) == ("serial-1", "Greenhouse", MODEL, None)
    with server.client() as again:
        assert again.connect("serial-1/Greenhouse", answer["id"], answer["auth"]) == 0


def test_enrol_a_controller(server):
    client, answer = enrol(server, "pilot", f"{MODEL}/ctrl/hw-a/{PASS}")
    client.close()
    assert server.devices(plug_id=answer["id"])[0].thing == A
    # It may publish as the thing that it controls, and as no other.
    with server.client() as pilot:
        assert pilot.connect("pilot", answer["id"], answer["auth"]) == 0
        pilot.publish(f"{A}/data/Fan", '{"data":true}')
        pilot.publish(f"{B}/data/Fan", '{"data":true}')
        pilot.ping()
    assert [(a.device, a.fate) for a in arrivals(server, fate=None)] == [(A, "stored"), (B, "denied")]


@pytest.mark.parametrize("topic, err", [
    (f"{MODEL}/thing/wrong", 401), (f"{MODEL}/ctrl/hw-a/wrong", 401), ("mod-" + "1" * 24 + f"/thing/{PASS}", 404),
    (f"{MODEL}/ctrl/unknown/{PASS}", 404), (f"{OTHER_MODEL}/ctrl/hw-a/thing only", 403),
    (f"{MODEL}/neither/{PASS}", 400), (f"{MODEL}/ctrl/{PASS.split('/')[0]}", 400)])
def test_enrolment_fails_and_the_server_closes(server, topic, err):
    client, answer = enrol(server, "serial-2", topic)
    assert answer["err"] == err and isinstance(answer["msg"], str)
    assert client.wait_closed()
    assert [e.code for e in events(server, "enrol-refused")] == [err]
    assert not server.devices(hwid="serial-2")


def test_controller_of_a_thing_of_another_model(server):
    server.add_device(C, "auth-c", "hw-c", model=OTHER_MODEL)
    client, answer = enrol(server, "pilot", f"{MODEL}/ctrl/hw-c/{PASS}")
    assert answer["err"] == 403
    client.wait_closed()


def test_known_hwid_may_not_enrol_again_unless_told(server):
    client, answer = enrol(server, "hw-a", f"{MODEL}/thing/{PASS}")
    assert answer["err"] == 409
    client.wait_closed()
    server.switch(reenrol=True)
    client, answer = enrol(server, "hw-a", f"{MODEL}/thing/{PASS}")
    client.close()
    assert answer["id"] == A and answer["auth"] != "auth-a"
    with server.client() as old:
        assert old.connect("hw-a", A, "auth-a") == 4


def test_unenrolled_may_do_nothing_else(server):
    with server.client() as client, login(server, "a") as listener:
        listener.subscribe("#")
        assert client.connect("serial-3", "", "") == 0
        client.publish(f"{A}/data/x", '{"data":1}')
        client.publish("/data/x", '{"data":1}')
        client.ping()
        assert listener.messages_until_answered() == []
    assert [a.fate for a in arrivals(server, fate=None)] == ["denied", "denied"]


def test_empty_login_may_be_had_in_one_form_only(server):
    for form, accepted in (("zero", ("", "")), ("absent", (None, None))):
        server.switch(empty_login=form)
        for credentials in (("", ""), (None, None)):
            with server.client() as client:
                assert (client.connect("serial-4", *credentials) == 0) == (credentials == accepted)
