# SPDX-License-Identifier: Apache-2.0
"""What the proxy does wrong on demand."""

import socket
import time

import mqtt
import pytest
from proxy import TO_CLIENT, Proxy
from standin import StandIn, device, template

MODEL = "mod-0123456789abcdef01234567"
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


def nothing_more(client, seconds=0.3):
    """Silence has no event to wait for, so this alone waits by the clock."""
    with pytest.raises(TimeoutError):
        client.receive(seconds)
    return True


@pytest.fixture
def proxy(server):
    with Proxy(server.address) as p:
        yield p


def test_proxy_forwards(server, proxy):
    with login(proxy.address) as client:
        client.publish("/data/big", '{"data":"%s"}' % ("x" * 300000))
        client.ping()
        client.disconnect()
    assert server.wait_event("disconnect", since=server.start_event).detail == "disconnect"
    assert len(server.arrivals("big", since=server.start_seq)[0].data) == 300002
    assert proxy.accepted == 1


@pytest.mark.parametrize("drop", [True, False])
def test_proxy_black_hole(server, proxy, drop):
    with login(proxy.address) as client:
        proxy.black_hole(drop=drop)
        client.send(mqtt.packet(0xC0, b""))
        assert nothing_more(client)
        proxy.forward()
        if drop:
            assert nothing_more(client)
        else:
            client.expect("PINGRESP")
        client.ping()


def test_proxy_black_hole_one_way(server, proxy):
    with login(proxy.address) as client:
        proxy.black_hole(TO_CLIENT)
        client.publish("/data/w", '{"data":1}')
        server.wait_arrivals(1, "w", since=server.start_seq)
        client.send(mqtt.packet(0xC0, b""))
        assert nothing_more(client)


def test_proxy_reset_and_disconnect(server, proxy):
    for order, reason in ((proxy.reset, "reset"), (proxy.disconnect, "closed")):
        since = server.last_event()
        client = login(proxy.address)
        assert order() == 1
        assert client.wait_closed()
        assert server.wait_event("disconnect", since=since).detail == reason
    login(proxy.address).close()


def test_proxy_mute_and_refuse(server, proxy):
    proxy.mute()
    with mqtt.Client(proxy.address, timeout=0.3) as client, pytest.raises(TimeoutError):
        client.connect("hw/name", A, "auth")
    proxy.forward()
    login(proxy.address).close()
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(proxy.address, 1)
    proxy.accept()
    login(proxy.address).close()


def test_proxy_slow(server, proxy):
    with login(proxy.address) as client:
        proxy.slow(10000)
        start = time.monotonic()
        client.publish("/data/slow", '{"data":"%s"}' % ("x" * 5000))
        client.ping()
        assert 0.3 < time.monotonic() - start < 5


def test_proxy_cut(server, proxy):
    with login(proxy.address) as client:
        proxy.cut_after(100)
        client.publish("/data/cut", '{"data":"%s"}' % ("x" * 5000))
        assert client.wait_closed()
    assert server.wait_event("disconnect", since=server.start_event).detail == "reset"
    assert server.arrivals("cut", since=server.start_seq, fate=None) == []


def test_proxy_withhold(server, proxy):
    with login(proxy.address) as client:
        proxy.withhold("UNSUBACK", 1)
        client.unsubscribe("x", wait=False)
        client.ping()
        assert client.received == ["CONNACK", "PINGRESP"] and proxy.held_back == {11: 1}
        client.unsubscribe("x")
