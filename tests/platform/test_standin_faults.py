# SPDX-License-Identifier: Apache-2.0
"""What the stand-in does wrong on demand, and what it does by hand."""

import json
import socket
import subprocess
import sys
import threading
import time

import mqtt
import pytest
from standin import HERE, ControlError, StandIn, device, template

MODEL = "mod-0123456789abcdef01234567"
ENROL = f"{MODEL}/thing/pass"
A = "dev-" + "a" * 24


@pytest.fixture(scope="module")
def shared():
    with StandIn(templates=[template(MODEL, "pass")], devices=[device(A, "auth", "hw", "name")],
                 switches={"reenrol": True}) as s:
        yield s


@pytest.fixture
def server(shared):
    shared.clear()
    shared.kick()
    shared.start_seq, shared.start_event = shared.last_arrival(), shared.last_event()
    return shared


def login(address, timeout=5.0):
    client = mqtt.Client(address, timeout=timeout)
    assert client.connect("hw/name", A, "auth") == 0
    return client


def enrolling(server, client_id="serial"):
    client = server.client()
    assert client.connect(client_id, "", "") == 0
    assert client.subscribe(ENROL) == [0]
    return client


def nothing_more(client, seconds=0.3):
    """Silence has no event to wait for, so this alone waits by the clock."""
    with pytest.raises(TimeoutError):
        client.receive(seconds)
    return True


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5])
def test_refuse_the_next_logins(server, code):
    server.fault("login", "refuse", code=code, count=2)
    for _ in range(2):
        with server.client() as client:
            assert client.connect("hw/name", A, "auth") == code
            assert client.wait_closed()
    login(server.address).close()
    assert [e.code for e in server.events("refused", since=server.start_event)] == [code, code]


def test_close_instead_of_connack(server):
    server.fault("login", "close")
    with server.client() as client, pytest.raises(mqtt.Closed):
        client.connect("hw/name", A, "auth")


def test_enrolment_error(server):
    server.fault("enrol", "error", code=77, msg="no more of these")
    client = enrolling(server)
    topic, payload = client.message()
    assert topic == ENROL and json.loads(payload) == {"err": 77, "msg": "no more of these"}
    assert client.wait_closed()
    assert client.received == ["CONNACK", "SUBACK", "PUBLISH"]


@pytest.mark.parametrize("text", ["nonsense", "", "{", "[]", '{"id":"dev-short","auth":"x"}'])
def test_enrolment_answered_with_nonsense(server, text):
    server.fault("enrol", "text", text=text)
    with enrolling(server) as client:
        assert client.message() == (ENROL, text.encode())
        client.ping()


def test_enrolment_not_answered(server):
    server.fault("enrol", "silent")
    with enrolling(server) as client:
        assert client.messages_until_answered() == [] and nothing_more(client)


def test_enrolment_closed_instead_of_answered(server):
    server.fault("enrol", "close")
    client = enrolling(server)
    assert client.wait_closed()
    assert client.received == ["CONNACK", "SUBACK"]


def test_enrolment_answered_late(server):
    server.fault("enrol", "delay", delay_ms=400)
    with enrolling(server, "late") as client:
        start = time.monotonic()
        answer = json.loads(client.message()[1])
        assert 0.35 < time.monotonic() - start < 2 and answer["id"]


def test_late_answer_is_not_given_to_a_later_connection(server):
    server.fault("enrol", "delay", delay_ms=300)
    enrolling(server, "late").close()
    with server.client() as client:
        assert client.connect("late", "", "") == 0
        assert nothing_more(client, 0.8)


@pytest.mark.parametrize("mode, expected", [
    ("error", b'{"err":12,"msg":"m"}'), ("text", b"oops"), ("delay", b"{}"), ("silent", None)])
def test_property_faults(server, mode, expected):
    server.fault("property", mode, code=12, msg="m", text="oops", delay_ms=150)
    with login(server.address) as client:
        client.publish(f"{A}/ag/prop/get")
        if expected is None:
            assert client.messages_until_answered() == [] and nothing_more(client)
        else:
            assert client.message() == (f"{A}/ag/prop/get", expected)


def test_drop_the_next_messages(server):
    server.fault("publish", "silent", count=2)
    with login(server.address) as client:
        for i in range(4):
            client.publish("/data/d", '{"data":%d}' % i)
        client.ping()
    rows = server.arrivals("d", since=server.start_seq, fate=None)
    assert [(r.data, r.fate) for r in rows] == [("0", "dropped"), ("1", "dropped"), ("2", "stored"), ("3", "stored")]


def test_close_upon_a_message(server):
    server.fault("publish", "close")
    with login(server.address) as client:
        client.publish("/data/d", '{"data":1}')
        assert client.wait_closed()


def test_subscription_that_delivers_nothing(server):
    server.fault("subscribe", "silent")
    with login(server.address) as client:
        assert client.subscribe(f"{A}/data/#", f"{A}/other/#") == [0, 0]
        server.publish(f"{A}/data/x", {"data": 1})
        assert client.messages_until_answered() == []


@pytest.mark.parametrize("packet", ["UNSUBACK", "PINGRESP", "SUBACK", "CONNACK"])
def test_withhold(server, packet):
    ways = {"UNSUBACK": lambda c: c.unsubscribe("x"), "PINGRESP": lambda c: c.ping(),
            "SUBACK": lambda c: c.subscribe("x")}
    server.withhold(packet, 1)
    client = server.client()
    ways["CONNACK"] = lambda c: c.connect("hw/name", A, "auth")
    if packet != "CONNACK":
        ways["CONNACK"](client)
    client.timeout = 0.3
    with pytest.raises(TimeoutError):
        ways.pop(packet)(client)
    client.timeout = 5
    ways.pop("CONNACK", None)
    for way in ways.values():
        way(client)
    client.close()


def test_kick_and_inject(server):
    with login(server.address) as client:
        client.subscribe("/data/Fan", "/data/raw")
        server.publish(f"{A}/data/Fan", {"data": True, "at": 5})
        assert json.loads(client.message()[1])["at"] == 5
        server.publish(f"{A}/data/raw", "not JSON", raw=True)
        assert client.message() == (f"{A}/data/raw", b"not JSON")
        assert server.kick(login=A) == 1
        assert client.wait_closed()


def test_status_and_refused_commands(server):
    with login(server.address) as client:
        client.subscribe("/data/x")
        status = server.status()
    assert [(s["client"], s["login"], s["subscriptions"]) for s in status["sessions"]] == [("hw/name", A, ["/data/x"])]
    assert status["wire"] is True
    for command in ({"cmd": "unknown"}, {"cmd": "fault", "point": "login", "mode": "delay"},
                    {"cmd": "withhold", "packet": "x"}, {"cmd": "set", "switches": {"typo": True}}):
        with pytest.raises(ControlError):
            server.control(**command)


def test_without_preloading(tmp_path):
    """All but what wire.h is for."""
    with StandIn(state=tmp_path, devices=[device(A, "auth", "hw")], preload=False) as plain:
        with plain.client() as client:
            assert client.connect("hw", A, "wrong") == 5
        with login(plain.address) as client:
            client.publish("/data/x", '{"data":1}')
            client.ping()
        assert plain.count() == 1 and plain.status()["wire"] is False
        assert plain.wait_event("disconnect").detail == "unknown"
        with pytest.raises(ControlError, match="LD_PRELOAD"):
            plain.withhold("UNSUBACK")


def test_control_is_not_for_others(server):
    with login(server.address) as client:
        client.publish("$CONTROL/platform/v1", '{"cmd":"clear"}')
        assert client.messages_until_answered() == []
    with server.client() as client:
        assert client.connect("x", "$admin", "guess") == 5


def test_freeze_and_thaw(server):
    with login(server.address) as client:
        server.freeze()
        try:
            client.send(mqtt.packet(0xC0, b""))
            assert nothing_more(client)
            server.events()
        finally:
            server.thaw()
        client.expect("PINGRESP")


def test_visible_within_a_tenth_of_a_second(server):
    with login(server.address) as client:
        for i in range(20):
            since = server.last_arrival()
            start = time.monotonic()
            client.publish("/data/latency", '{"data":%d}' % i)
            server.wait_arrivals(1, since=since, timeout=5)
            # The promise is 0.1 s; the rest is for a busy machine.
            assert time.monotonic() - start < 0.5


def test_many_messages(server):
    n = 50000
    with login(server.address, timeout=60) as client:
        client.send(b"".join(
            mqtt.publish_packet(f"{A}/data/m{i % 7}", '{"id":"%024x","data":%d,"at":%d}' % (i, i, i))
            for i in range(n)))
        client.unsubscribe("barrier")
    rows = server.query("SELECT data FROM arrivals WHERE seq > ? ORDER BY seq", server.start_seq)
    assert [int(r.data) for r in rows] == list(range(n))
    assert server.query("SELECT count(*) AS n FROM records WHERE arrival > ?", server.start_seq)[0].n == n


def test_by_hand(tmp_path, shared):
    def run(*arguments):
        return [sys.executable, str(HERE / "standin.py"), "--state", str(tmp_path), "--plugin", str(shared.plugin),
                *arguments]

    port = socket.create_server(("127.0.0.1", 0))
    number = port.getsockname()[1]
    port.close()
    (tmp_path / "more.json").write_text(json.dumps({"users": [{"email": "p@example.com", "password": "x"}],
                                                    "switches": {"reenrol": True}}))
    process = subprocess.Popen(run("--port", str(number), "--template", f"{MODEL}:pa:ss", "--device", f"{A}:auth:hw",
                                   "--config", str(tmp_path / "more.json"), "--follow"),
                               stdout=subprocess.PIPE, text=True)
    # A bound on all that is read below.
    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    try:
        assert process.stdout.readline() == f"mqtt://127.0.0.1:{number}\n"
        assert process.stdout.readline().startswith("database ")
        with login(("127.0.0.1", number)) as client:
            client.publish("/data/hand", '{"data":42,"at":7}')
            client.ping()
            lines = [process.stdout.readline() for _ in range(2)]
            assert lines[0].startswith(f"{A} [connect] ") and lines[1].startswith(f"{A} hand 42 at=7 id=")
            with mqtt.Client(("127.0.0.1", number)) as user:
                assert user.connect("x", "p@example.com", "x") == 0
            answer = subprocess.run(run("--ctl", '{"cmd":"kick","login":"%s"}' % A), capture_output=True, text=True, timeout=20)
            assert json.loads(answer.stdout) == {"kicked": 1}
    finally:
        process.terminate()
        assert process.wait(15) == 0
        watchdog.cancel()
    shown = subprocess.run(run("--show"), capture_output=True, text=True, timeout=20).stdout
    assert f"{A} hand 42 at=7" in shown and f"{A} [device] hwid=hw" in shown
