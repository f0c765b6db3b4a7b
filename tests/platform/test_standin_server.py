# SPDX-License-Identifier: Apache-2.0
"""The broker's own clients, TLS, restarts."""

import json
import ssl
import subprocess

import mqtt
import pytest
from helpers_platform import A, B, MODEL, PASS, ask, enrol
from standin import StandIn, device, template


def test_mosquitto_clients(server):
    common = ["-h", server.host, "-p", str(server.port), "-V", "mqttv311"]
    subscriber = subprocess.Popen(["mosquitto_sub", *common, "-i", "hw-b", "-u", B, "-P", "auth-b", "-t", "+/data/m",
                                   "-C", "1", "-W", "10"], stdout=subprocess.PIPE)
    server.wait_event("subscribe", since=server.start_event)
    subprocess.run(["mosquitto_pub", *common, "-i", "hw-a", "-u", A, "-P", "auth-a", "-t", f"{A}/data/m",
                    "-m", '{"id":"333333333333333333333333","data":1,"at":1}'], check=True, timeout=10)
    assert json.loads(subscriber.communicate(timeout=15)[0])["data"] == 1


@pytest.fixture(scope="module")
def certificate_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("certificates")


@pytest.mark.parametrize("certificate, reason", [("good", None), ("expired", "expired"), ("wrong_host", "mismatch")])
def test_tls(certificate_dir, certificate, reason):
    with StandIn(tls_port=0, plain=False, server_certificate=certificate, certificate_dir=certificate_dir,
                 devices=[device(A, "auth-a", "hw-a")]) as server:
        context = ssl.create_default_context(cafile=server.certificates["ca"])
        if reason:
            with pytest.raises(ssl.SSLCertVerificationError, match=reason):
                mqtt.Client(server.tls_address, tls=context)
            return
        for hostname in ("localhost", "127.0.0.1"):
            with mqtt.Client(server.tls_address, tls=context, server_hostname=hostname) as client:
                assert client.connect("hw-a", A, "wrong") == 4
        with mqtt.Client(server.tls_address, tls=context) as client:
            assert client.connect("hw-a", A, "auth-a") == 0
            client.publish("/data/x", '{"data":1}')
            client.ping()
            server.withhold("PINGRESP")
            client.send(mqtt.packet(0xC0, b""))
            client.unsubscribe("x")
            assert "PINGRESP" not in client.received[2:]
            client.disconnect()
        assert server.wait_event("disconnect").detail == "disconnect"
        assert server.count() == 1


def test_tls_with_client_certificate(certificate_dir):
    with StandIn(tls_port=0, require_certificate=True, certificate_dir=certificate_dir,
                 devices=[device(A, "auth-a", "hw-a")]) as server:
        paths = server.certificates
        for name, welcome in (("client", True), ("stranger_client", False), (None, False)):
            context = ssl.create_default_context(cafile=paths["ca"])
            if name:
                context.load_cert_chain(paths[name], paths[name + "_key"])
            if welcome:
                with mqtt.Client(server.tls_address, tls=context) as client:
                    assert client.connect("hw-a", A, "auth-a") == 0
            else:
                with pytest.raises((ssl.SSLError, mqtt.Closed, ConnectionError)):
                    mqtt.Client(server.tls_address, tls=context).connect("hw-a", A, "auth-a")


@pytest.mark.parametrize("kill", [False, True])
def test_restart_keeps_what_was_stored(kill):
    with StandIn(templates=[template(MODEL, PASS)]) as server:
        port = server.port
        client, answer = enrol(server, "serial-9", f"{MODEL}/thing/{PASS}")
        client.close()
        with server.client() as client:
            client.connect("serial-9", answer["id"], answer["auth"])
            ask(client, "set", '{"p":1}', answer["id"])
            client.publish("/data/x", '{"data":1}')
            client.unsubscribe("barrier")
        server.restart(kill=kill)
        assert server.port == port
        with server.client() as client:
            assert client.connect("serial-9", answer["id"], answer["auth"]) == 0
            assert ask(client, "get", "", answer["id"]) == {"p": 1}
        assert [r.data for r in server.records("x")] == ["1"]
