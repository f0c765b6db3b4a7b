# SPDX-License-Identifier: Apache-2.0
"""The server and the way to it fail while the load goes on. Nothing is lost, and all of it arrives soon after."""

import contextlib
import time

import outages
import pytest
from load import Load, now_us
from proxy import Proxy

# Short: an outage of some seconds, noticed by confirm_timeout = 2. Full: the default, and longer than that.
SHORT, FULL = 5, 45
COUNTERS = {"fast": 0.005, "slow": 0.1}


def settings(full):
    return {} if full else {"delivery": {"confirm_timeout": 2}}


def run_outage(scene, proxy, outage, full, line, title, leaky=False, **more):
    load = Load(scene, COUNTERS, **settings(full), **more)
    load.start().gateway.wait_online()
    time.sleep(2)
    with outage(scene.platform, proxy):
        time.sleep(FULL if full else SHORT)
        end = now_us()
    load.settle(end, title, line, leaky)


@pytest.mark.parametrize("name", outages.ALL)
def test_outage(scene, name, full, line):
    with Proxy(scene.platform.address) as proxy:
        run_outage(scene, proxy, outages.ALL[name], full, line, name, name in outages.LEAKY, server={"port": proxy.port})


@contextlib.contextmanager
def restarted_often(platform, proxy):
    for _ in range(4):
        platform.restart(kill=True)
        time.sleep(1)
    yield


def test_server_killed_again_and_again(scene, full, line):
    with Proxy(scene.platform.address) as proxy:
        run_outage(scene, proxy, restarted_often, full, line, "server killed 4 times, a second between", True,
                   server={"port": proxy.port})


# In the handshake's first record, in the middle of its last ones, in what follows it.
@pytest.mark.parametrize("after", [100, 560, 3000])
def test_reset_in_tls(make_scene, certificates, after, full, line):
    scene = make_scene(tls_port=0, certificate_dir=certificates)

    @contextlib.contextmanager
    def outage(platform, proxy):
        proxy.reset()
        with outages.reset_in_packets(platform, proxy, after):
            yield
    with Proxy(scene.platform.tls_address) as proxy:
        run_outage(scene, proxy, outage, full, line, f"TLS: each connection reset after {after} bytes", True,
                   server={"host": "localhost", "port": proxy.port, "tls": {"ca": str(scene.platform.certificates["ca"])}})


@pytest.mark.parametrize("name", ["black hole", "server frozen", "one byte a second"])
def test_outage_under_tls(make_scene, certificates, name, full, line):
    scene = make_scene(tls_port=0, certificate_dir=certificates)
    with Proxy(scene.platform.tls_address) as proxy:
        run_outage(scene, proxy, outages.ALL[name], full, line, f"TLS: {name}",
                   server={"host": "localhost", "port": proxy.port, "tls": {"ca": str(scene.platform.certificates["ca"])}})
