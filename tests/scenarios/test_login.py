# SPDX-License-Identifier: Apache-2.0
"""Connections: refused, lost, secured; the last will; stopping in the middle of it all."""

import socket
import time

import pytest
from conftest import sim
from harness import wait_for


@pytest.mark.parametrize("code", [2, 4, 5])
def test_refused_login_keeps_the_credentials(scene, code):
    gateway = scene.online()
    (device,) = scene.platform.devices()
    gateway.stop()
    scene.platform.fault("login", "refuse", code=code, count=-1)
    gateway.start()
    gateway.wait_state("refused")
    assert gateway.get("LastError")
    assert gateway.get("ConnectedSince") == 0
    assert device.auth in (gateway.state / "credentials.json").read_text()
    # It goes on trying, without enrolling anew.
    scene.platform.clear()
    gateway.call("Reconnect")
    gateway.wait_online()
    assert len(scene.platform.devices()) == 1 and gateway.get("PlugId") == device.plug_id


def test_refused_login_is_tried_again_by_itself(scene):
    gateway = scene.online()
    gateway.stop()
    scene.platform.fault("login", "refuse", code=5)
    gateway.start()
    gateway.wait_state("refused")
    gateway.wait_online(15)


def test_server_unavailable_is_an_outage_and_no_refusal(scene):
    gateway = scene.online()
    gateway.stop()
    scene.platform.fault("login", "refuse", code=3, count=2)
    gateway.start()
    wait_for(lambda: gateway.get("LastError"), "the outage is named")
    assert gateway.get("State") in ("offline", "connecting")
    gateway.wait_online()
    assert "refused" not in gateway.get("State")


def test_will_and_the_message_after_connecting(scene):
    gateway = scene.online(will={"channel": "Life", "data": {"alive": False}, "online": {"alive": True}})
    (birth,) = scene.platform.wait_arrivals(1, "Life")
    assert birth.value == {"alive": True} and not birth.will
    assert birth.id and len(birth.id) == 24
    gateway.kill()
    _, will = scene.platform.wait_arrivals(2, "Life")
    assert will.value == {"alive": False} and will.will
    assert will.at == birth.at + 1
    assert will.id != birth.id
    # A clean stop is no accident.
    gateway.start().wait_online()
    assert gateway.stop() == 0
    time_of_stop = scene.platform.last_arrival()
    gateway.start().wait_online()
    births = [row for row in scene.platform.arrivals("Life") if row.value == {"alive": True}]
    assert len(births) == 3
    wills = [row for row in scene.platform.arrivals("Life") if row.will]
    assert len(wills) == 1, f"a will after a clean stop ({time_of_stop})"
    assert [row.at for row in births] == sorted(row.at for row in births)


def test_default_will(scene):
    gateway = scene.online()
    (birth,) = scene.platform.wait_arrivals(1, "status")
    assert birth.value == "online"
    gateway.kill()
    scene.platform.wait_arrivals(1, "status", data='"offline"')


# --- TLS --------------------------------------------------------------------------------------------------------------

def secure(make_scene, certificates, **options):
    return make_scene(tls_port=0, certificate_dir=certificates, **options)


def over_tls(scene, **tls):
    return scene.settings(sim("one"), server={"port": scene.platform.tls_port, "tls": tls or True})


def test_tls_with_a_ca_file(make_scene, certificates):
    scene = secure(make_scene, certificates)
    gateway = scene.gateway(over_tls(scene, ca=str(scene.platform.certificates["ca"]))).start().wait_online()
    assert gateway.get("Secure") is True
    scene.counter("Sim/one", 3)


def fails_for(scene, settings, *words):
    gateway = scene.gateway(settings).start()
    error = gateway.wait_error(*words)
    assert gateway.get("State") in ("offline", "connecting")
    assert not scene.platform.events("connect"), "no credentials before the server is known"
    assert gateway.get("Secure") is False
    return error


def test_tls_unknown_authority(make_scene, certificates):
    scene = secure(make_scene, certificates)
    fails_for(scene, over_tls(scene), "certificate")


def test_tls_stranger_as_ca(make_scene, certificates):
    scene = secure(make_scene, certificates)
    fails_for(scene, over_tls(scene, ca=str(scene.platform.certificates["stranger"])), "certificate")


def test_tls_wrong_host_name(make_scene, certificates):
    scene = secure(make_scene, certificates, server_certificate="wrong_host")
    fails_for(scene, over_tls(scene, ca=str(scene.platform.certificates["ca"])), "certificate")


def test_tls_expired(make_scene, certificates):
    scene = secure(make_scene, certificates, server_certificate="expired")
    fails_for(scene, over_tls(scene, ca=str(scene.platform.certificates["ca"])), "certificate")


def test_tls_client_certificate(make_scene, certificates):
    scene = secure(make_scene, certificates, require_certificate=True)
    files = scene.platform.certificates
    gateway = scene.gateway(over_tls(scene, ca=str(files["ca"]), cert=str(files["client"]),
                                     key=str(files["client_key"]))).start().wait_online()
    assert gateway.get("Secure") is True


def test_tls_client_certificate_missing(make_scene, certificates):
    scene = secure(make_scene, certificates, require_certificate=True)
    gateway = scene.gateway(over_tls(scene, ca=str(scene.platform.certificates["ca"]))).start()
    wait_for(lambda: gateway.get("LastError"), "the failure is named")
    assert gateway.get("State") != "online" and not scene.platform.events("connect")


def test_tls_towards_a_plain_port(scene):
    gateway = scene.gateway(scene.settings(server={"tls": True})).start()
    wait_for(lambda: gateway.get("LastError"), "the failure is named")
    assert not scene.platform.events("connect")


# --- servers that don't answer ------------------------------------------------------------------------------------------

@pytest.fixture
def deaf_server():
    """An address that takes no connection: its backlog is full."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    held = []
    for _ in range(3):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(server.getsockname())
        held.append(client)
    yield server.getsockname()[1]
    for client in held:
        client.close()
    server.close()


def stops_quickly(gateway):
    begin = time.monotonic()
    assert gateway.stop(5) == 0
    assert time.monotonic() - begin < 4


def test_stop_while_connecting_to_a_deaf_server(scene, deaf_server):
    gateway = scene.gateway(scene.settings(sim("one"), server={"port": deaf_server})).start()
    wait_for(lambda: gateway.get("State") in ("connecting", "enrolling"), "it tries")
    wait_for(lambda: gateway.sensor("one")["Samples"] > 20, "the loop goes on")
    stops_quickly(gateway)


def test_stop_while_a_name_is_looked_up_in_vain(scene):
    """A resolver that never answers, for this one process."""
    resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    resolver.bind(("127.0.0.77", 53))
    etc = scene.folder / "etc"
    etc.mkdir()
    (etc / "resolv.conf").write_text("nameserver 127.0.0.77\noptions timeout:30 attempts:3\n")
    (etc / "nsswitch.conf").write_text("hosts: dns\n")
    script = f'mount --bind {etc} /etc && exec "$@"'
    gateway = scene.gateway(scene.settings(sim("one"), server={"host": "gateway.example"}),
                            wrapper=["unshare", "-m", "sh", "-c", script, "sh"]).start()
    resolver.settimeout(20)
    assert b"example" in resolver.recv(512)
    begin = gateway.sensor("one")["Samples"]
    wait_for(lambda: gateway.sensor("one")["Samples"] > begin + 20, "the loop goes on")
    stops_quickly(gateway)
    resolver.close()


def test_no_connack_within_20_s(scene):
    server = socket.create_server(("127.0.0.1", 0))
    gateway = scene.gateway(scene.settings(sim("one"), server={"port": server.getsockname()[1]})).start()
    connection, _ = server.accept()
    begin = time.monotonic()
    gateway.wait_error("20 s", timeout=30)
    assert time.monotonic() - begin > 15
    connection.close()
    stops_quickly(gateway)
    server.close()


def test_back_off_grows_and_a_server_that_returns_is_found(scene):
    gateway = scene.online(sim("one"))
    scene.platform.stop()
    wait_for(lambda: gateway.get("State") != "online", "the loss is noticed")
    assert gateway.get("ConnectedSince") == 0
    scene.platform.start()
    gateway.wait_online(30)
    # The words of the loss may stay until the new connection has shown that it takes messages.
    wait_for(lambda: gateway.properties()["LastError"] == "", "the error is history")
