# SPDX-License-Identifier: Apache-2.0
"""What the tests of the stand-in share: a model, a few devices, a user, and how they come in."""

import json

MODEL, OTHER_MODEL = "mod-0123456789abcdef01234567", "mod-ffffffffffffffffffffffff"
PASS = "p4/ss/w0rd="
A, B, C = (f"dev-{c * 24}" for c in "abc")
USER = "person@example.com"


def login(server, letter, name="", will=None):
    client = server.client()
    client_id = f"hw-{letter}" + (f"/{name}" if name else "")
    assert client.connect(client_id, f"dev-{letter * 24}", f"auth-{letter}", will=will) == 0
    return client


def enrol(server, client_id, topic, username="", password=""):
    client = server.client()
    assert client.connect(client_id, username, password) == 0
    assert client.subscribe(topic) == [0]
    answered_on, payload = client.message()
    assert answered_on == topic
    assert client.received == ["CONNACK", "SUBACK", "PUBLISH"]
    return client, json.loads(payload)


def arrivals(server, **conditions):
    return server.arrivals(since=server.start_seq, **conditions)


def events(server, kind, **conditions):
    return server.events(kind, since=server.start_event, **conditions)


def ask(client, what, payload="", plug_id=A):
    client.publish(f"{plug_id}/ag/prop/{what}", payload)
    topic, answer = client.message()
    assert topic == f"{plug_id}/ag/prop/{what}"
    return json.loads(answer) if answer else None
