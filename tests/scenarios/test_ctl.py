# SPDX-License-Identifier: Apache-2.0
"""plugctl: what people and their scripts see."""

import json
import re

import pytest
from conftest import sim
from harness import wait_for


@pytest.fixture
def gateway(scene):
    gateway = scene.online(sim("one", wave="counter"), sim("two", wave="square"))
    scene.counter("Sim/one", 3)
    return gateway


def verb(gateway, *arguments, code=0):
    result = gateway.ctl(*arguments)
    assert result.returncode == code, (arguments, result)
    assert "\033" not in result.stdout, "no colours without a terminal"
    return result.stdout


def test_status(gateway):
    text = verb(gateway, "status")
    for part in (gateway.get("PlugId"), "online", gateway.get("Server"), "test-0001"):
        assert part in text
    status = json.loads(verb(gateway, "status", "--json"))
    flat = json.dumps(status)
    for part in (gateway.get("PlugId"), "online", "test-0001"):
        assert part in flat


def test_options_stand_before_or_behind_the_verb(gateway):
    assert json.loads(verb(gateway, "--json", "status")).keys() == json.loads(verb(gateway, "status", "--json")).keys()


def test_sensors_and_show(gateway):
    text = verb(gateway, "sensors")
    for part in ("one", "two", "sim", "running"):
        assert part in text
    shown = json.dumps(json.loads(verb(gateway, "sensors", "--json")))
    assert "one" in shown and "two" in shown
    text = verb(gateway, "show", "one")
    assert "Sim/one" in text and "running" in text
    assert "Sim/one" in json.dumps(json.loads(verb(gateway, "show", "one", "--json")))
    result = gateway.ctl("show", "nobody")
    assert result.returncode == 1 and "nobody" in result.stderr


def test_publish_prints_the_id(scene, gateway):
    text = verb(gateway, "publish", "By/Hand", '{"a": 1}')
    (row,) = scene.platform.wait_arrivals(1, "By/Hand")
    assert row.id in text and row.value == {"a": 1}
    answer = json.loads(verb(gateway, "publish", "By/Hand", "2", "--json"))
    _, row = scene.platform.wait_arrivals(2, "By/Hand")
    assert row.id in json.dumps(answer)
    for channel, data in (("a/+", "1"), ("ok", "{")):
        result = gateway.ctl("publish", channel, data)
        assert result.returncode == 1 and result.stderr.strip()


def test_restart(gateway):
    before = gateway.worker("two")
    verb(gateway, "restart", "two")
    wait_for(lambda: gateway.workers().get("two") not in (None, before), "another worker")


def test_reconnect_and_enroll(scene, gateway):
    verb(gateway, "reconnect")
    wait_for(lambda: len(scene.platform.events("connect")) >= 3, "it connects anew")
    gateway.wait_online()
    scene.platform.switch(reenrol=True)
    verb(gateway, "enroll")
    wait_for(lambda: len(scene.platform.events("enrolled")) == 2, "it enrols anew")
    gateway.wait_online()


def test_plugins(gateway):
    text = verb(gateway, "plugins")
    for part in ("sim", "system", "wave", "misbehave"):
        assert part in text
    plugins = json.loads(verb(gateway, "plugins", "--json"))
    assert {"sim", "system"} <= {plugin["name"] for plugin in (plugins if isinstance(plugins, list) else plugins["plugins"])}


def test_check(gateway):
    gateway.config.with_name("bad.conf").write_text("nonsense = 1;\n")
    assert gateway.ctl("check", gateway.config).returncode == 0
    result = gateway.ctl("check", gateway.config.with_name("bad.conf"))
    assert result.returncode == 3
    assert "bad.conf:1" in result.stdout + result.stderr and "nonsense" in result.stdout + result.stderr


def test_usage_errors_are_2_and_help_is_0(gateway):
    for arguments in ([], ["nonsense"], ["show"], ["publish", "only-a-channel"], ["status", "--nonsense"],
                      ["sensors", "superfluous"]):
        result = gateway.ctl(*arguments)
        assert result.returncode == 2 and result.stderr.strip(), arguments
    text = verb(gateway, "--help")
    for name in "status sensors show publish enroll reconnect restart plugins check".split():
        assert re.search(rf"\b{name}\b", text)
    assert re.search(r"\d+\.\d+\.\d+", verb(gateway, "--version"))


def test_without_a_daemon_it_says_so(gateway):
    gateway.stop()
    result = gateway.ctl("status")
    assert result.returncode == 1
    assert "plugd" in result.stderr and "running" in result.stderr
