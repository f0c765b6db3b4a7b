# SPDX-License-Identifier: Apache-2.0
"""The device's own network fails, in namespaces of its own: the link, addresses, routes, the lookup of names."""

import contextlib
import time

import pytest
from caller import Caller
from harness import MANAGER, PATH
from load import Load, now_us
from network import NAME, SERVER, SERVER_LATER, SERVER_NET, Network
from test_server import COUNTERS, FULL, SHORT, settings


@contextlib.contextmanager
def link_down(network, platform):
    network.device.ip("link", "set", "wire", "down")
    yield
    network.device.ip("link", "set", "wire", "up")
    network.route()


@contextlib.contextmanager
def cable_pulled(network, platform):
    """The other end: no carrier, and the routes stay."""
    network.server.ip("link", "set", "wire", "down")
    yield
    network.server.ip("link", "set", "wire", "up")


@contextlib.contextmanager
def flapping(network, platform):
    for _ in range(10):
        network.device.ip("link", "set", "wire", "down")
        time.sleep(0.2)
        network.device.ip("link", "set", "wire", "up")
        network.route()
        time.sleep(0.3)
    yield


@contextlib.contextmanager
def address_changed(network, platform):
    """Another one from DHCP: the old connection is nobody's."""
    network.device.ip("address", "flush", "dev", "wire")
    yield
    network.device.ip("address", "add", "10.123.0.77/24", "dev", "wire")
    network.route()


@contextlib.contextmanager
def server_moved(network, platform):
    """Its name has another address."""
    network.server.ip("address", "del", f"{SERVER}/32", "dev", "lo")
    yield
    network.server.ip("address", "add", f"{SERVER_LATER}/32", "dev", "lo")
    network.names.address = SERVER_LATER


@contextlib.contextmanager
def route_lost(network, platform):
    network.device.ip("route", "del", SERVER_NET)
    yield
    network.route()


@contextlib.contextmanager
def route_prohibited(network, platform):
    """A firewall on the way says so."""
    network.device.ip("route", "replace", "prohibit", SERVER_NET)
    yield
    network.device.ip("route", "del", "prohibit", SERVER_NET)
    network.route()


def lookup(mode):
    @contextlib.contextmanager
    def outage(network, platform):
        network.names.mode = mode
        network.server.inside(lambda: platform.restart(kill=True))
        asked = network.names.asked
        yield
        assert network.names.asked > asked, "nobody asked the name server"
        network.names.mode = "answer"
    return outage


ALL = {
    "link down and up": link_down,
    "cable pulled": cable_pulled,
    "link flapping, 10 times": flapping,
    "address changed": address_changed,
    "server has another address": server_moved,
    "route lost": route_lost,
    "route prohibited": route_prohibited,
    "name lookup hangs": lookup("silent"),
    "name lookup fails (SERVFAIL)": lookup(2),
    "name lookup fails (NXDOMAIN)": lookup(3),
}


@pytest.fixture
def network(folder):
    made = Network(folder)
    yield made
    made.close()


@pytest.fixture
def load(network, make_scene, full):
    scene = network.server.inside(lambda: make_scene(host="0.0.0.0", port=1883))
    made = Load(scene, COUNTERS, server={"host": NAME, "port": 1883}, wrapper=network.wrapper, **settings(full))
    made.start().gateway.wait_online()
    time.sleep(1)
    return made


class Watch:
    """The bus is answered all the time."""

    def __init__(self, bus):
        self.caller, self.longest = Caller(bus), 0

    def watch(self, seconds):
        until = time.monotonic() + seconds
        while (begin := time.monotonic()) < until:
            self.caller.get(MANAGER, PATH, "State")
            self.longest = max(self.longest, time.monotonic() - begin)
            time.sleep(0.05)
        self.caller.close()


@pytest.mark.parametrize("name", ALL)
def test_outage(network, load, name, full, line):
    watch = Watch(load.scene.bus)
    with ALL[name](network, load.scene.platform):
        watch.watch(FULL if full else SHORT)
        end = now_us()
    assert watch.longest < 4, f"the bus waited {watch.longest:.1f} s"
    load.settle(end, name, line, leaky=name.startswith("link flapping"))


def test_a_stop_does_not_wait_for_a_lookup(network, load, line):
    with lookup("silent")(network, load.scene.platform):
        time.sleep(4)
        begin = time.monotonic()
        load.stop()
        seconds = time.monotonic() - begin
        load.start()
        time.sleep(1)
        end = now_us()
    assert seconds < 5
    load.settle(end, f"stopped while a lookup hangs, which took {seconds:.1f} s", line)
