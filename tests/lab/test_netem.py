# SPDX-License-Identifier: Apache-2.0
"""A bad network between plugd and the server, made by the kernel's netem both ways: loss, delay, packets twice and in
another order. Nothing is lost, and nothing comes under another id."""

import json
import re
import time

import gateway
import pytest
from gateway import sensor, status
from harness import wait_for
from ledger import COUNTER
from standin import template

SHORT_SEC, FULL_SEC = 20, 180
SERVER, GATEWAY = "10.99.0.2", "10.99.0.1"
FAULTS = {
    "loss 30 %": "loss 30%",
    "delay 2 s": "delay 2s",
    "duplicates and another order": "delay 100ms 60ms duplicate 30% reorder 25% 50%",
}


@pytest.fixture(scope="module")
def lan(vm):
    """The server is at the other end of a cable, in a network namespace of its own."""
    vm.run("modprobe -a veth sch_netem && ip netns add server && ip link add lan0 type veth peer name lan1 netns server && "
           f"ip address add {GATEWAY}/24 dev lan0 && ip link set lan0 up && "
           f"ip -n server address add {SERVER}/24 dev lan1 && ip -n server link set lan1 up && ip -n server link set lo up")
    yield vm
    vm.run("ip link delete lan0; ip netns delete server")


@pytest.fixture
def platform(lan):
    lan.run("rm -rf /var/lib/standin")
    gateway.reset(lan)
    with gateway.StandIn(lan, prefix="ip netns exec server", host=SERVER, templates=[template(gateway.MODEL, gateway.PASS)]) as made:
        gateway.configure(lan, made, sensors=[{**COUNTER, "interval": 0.1}], server={"host": SERVER})
        yield made
        lan.run("tc qdisc del dev lan0 root 2>/dev/null; tc -n server qdisc del dev lan1 root 2>/dev/null; true")
    gateway.reset(lan)


def arrived(platform):
    """{value: its first row}, and how many copies came."""
    first, ids, copies = {}, {}, 0
    for row in platform.query("SELECT id, at, data, time_us FROM arrivals WHERE channel = ? AND fate = 'stored' ORDER BY seq", COUNTER["channel"]):
        known = ids.setdefault(row.id, row)
        assert (row.at, row.data) == (known.at, known.data), f"{row.id} has come again, changed"
        if known is not row:
            copies += 1
            continue
        value = int(json.loads(row.data))
        assert value not in first, f"sample {value} has come under two ids"
        first[value] = row
    times = [first[value].at for value in sorted(first)]
    assert times == sorted(set(times)), "the times increase strictly with the samples"
    return first, copies


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_lost(lan, platform, full, figure, name):
    platform.wait_arrivals(10, channel=COUNTER["channel"], timeout=30)
    connections = platform.count("events", kind="connect")
    first = sensor(lan, COUNTER["name"])["Samples"]
    began = float(lan.out(f"tc qdisc add dev lan0 root netem limit 10000 {FAULTS[name]} && tc -n server qdisc add dev lan1 root netem limit 10000 {FAULTS[name]} && "
                          "date +%s.%N"))
    time.sleep(FULL_SEC if full else SHORT_SEC)
    shown = lan.out("tc -s qdisc show dev lan0; tc -n server -s qdisc show dev lan1")
    waiting, last = status(lan)["SpoolMessages"], sensor(lan, COUNTER["name"])["Samples"]
    ended = float(lan.out("tc qdisc del dev lan0 root && tc -n server qdisc del dev lan1 root && date +%s.%N"))
    sent, dropped = (sum(map(int, found)) for found in zip(*re.findall(r"Sent \d+ bytes (\d+) pkt \(dropped (\d+)", shown)))
    assert sent > 20, f"nothing went through netem: {shown}"
    assert dropped > 0 or not name.startswith("loss"), shown

    def all_there():
        found, copies = arrived(platform)
        return (found, copies) if all(value in found for value in range(last)) else None
    found, copies = wait_for(all_there, f"all of the {last} samples arrive", 120, 0.5)
    missing = set(range(max(found) + 1)) - set(found)
    # The newest may have overtaken a backlog, which is on its way.
    wait_for(lambda: status(lan)["SpoolMessages"] < 40, "the backlog is gone", 60, 0.5)
    wait_for(lambda: missing <= set(arrived(platform)[0]), "no gap is left", 60, 0.5)
    assert status(lan)["Dropped"] == 0
    recovered = max([found[value].time_us / 1e6 for value in range(last)])
    figure(f"netem, {name}, both ways for {ended - began:.0f} s: {last - first} messages, 0 lost, {copies} sent again, {platform.count('events', kind='connect') - connections} "
           f"connections more; {dropped} of {sent + dropped} packets dropped; {waiting} were waiting at its end, all there {max(recovered - ended, 0):.1f} s later")
