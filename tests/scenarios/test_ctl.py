# SPDX-License-Identifier: Apache-2.0
"""plugctl: what people and their scripts see."""

import json
import os
import re
import signal
import subprocess
import time

import pytest
from conftest import sim
from harness import CTL, wait_for


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


def row(text, key):
    """What stands behind a key of the status, None where it isn't there."""
    found = re.search(rf"^{key}  +(.*)$", text, re.M)
    return found and found[1]


def test_status_tells_how_full_the_spool_is(gateway):
    text = verb(gateway, "status")
    assert re.fullmatch(r"[0-9,]+ messages?, [0-9.]+ .*B of 64 MiB", row(text, "Spool")), text
    status = json.loads(verb(gateway, "status", "--json"))
    assert status["SpoolLimit"] == 64 * 1024 * 1024
    assert status["SpoolRate"] > status["SpoolMessageRate"] > 10
    # In the first minute nobody can tell how long it will hold.
    assert status["SpoolRateSpan"] < 60 and status["SpoolHours"] == -1 and row(text, "Room for") == "known after a minute"


def test_status_tells_that_the_spool_is_full(scene):
    gateway = scene.online(spool={"max_size": "1M", "memory": "1M", "sync": 0.1})
    assert gateway.get("SpoolFull") is False and "full" not in row(verb(gateway, "status"), "Spool")
    scene.platform.stop()
    for _ in range(60):
        verb(gateway, "publish", "By/Hand", '"' + "x" * 40000 + '"')
    wait_for(lambda: gateway.get("SpoolFull"), "it is full")
    assert re.fullmatch(r"[0-9]+ messages, .*B of 1.0 MiB; full, dropping", row(verb(gateway, "status"), "Spool"))
    assert gateway.get("Dropped") > 0
    scene.platform.start()
    gateway.wait_online(30)
    wait_for(lambda: gateway.get("SpoolMessages") == 0, "all is sent")
    wait_for(lambda: not gateway.get("SpoolFull"), "a moment later it is no longer full", 15)
    assert "full" not in row(verb(gateway, "status"), "Spool")


def test_status_claims_no_confirmation_that_was_not_asked_for(scene):
    scene.platform.switch(reenrol=True)
    for confirm, words in (("barrier", "[0-9,]+ confirmed"), ("none", "confirmation not asked for")):
        gateway = scene.online(delivery={"confirm": confirm})
        assert gateway.get("Confirm") == confirm
        assert re.fullmatch(f"[0-9,]+ published, {words}, 0 dropped", row(verb(gateway, "status"), "Messages"))
        assert gateway.stop() == 0


def test_status_is_quiet_about_clocks_that_are_right(gateway):
    text = verb(gateway, "status")
    assert row(text, "Clock") is None and row(text, "Times") is None
    assert [gateway.get(name) for name in ("Held", "Estimated", "ClockSetBack", "ClockTrouble")] == [0, 0, 0, ""]


def test_status_tells_of_the_connection(gateway):
    wait_for(lambda: gateway.get("RoundTrip") > 0, "a barrier was answered")
    connections = gateway.get("Connections")
    assert connections == 2, "to enrol, and to log in"
    assert re.fullmatch(r"2; the last answer took [0-9.]+ ms", row(verb(gateway, "status"), "Connections"))
    assert gateway.get("NextTry") == 0 and row(verb(gateway, "status"), "Next try") is None
    verb(gateway, "reconnect")
    assert gateway.get("Connections") == 3


def test_status_tells_when_it_is_tried_again(scene, gateway):
    scene.platform.fault("login", "refuse", code=5, count=-1)
    assert gateway.ctl("reconnect").returncode == 1
    gateway.wait_state("refused")
    wait_for(lambda: gateway.get("NextTry") > 0, "the next try is known")
    assert 0 <= gateway.get("NextTry") / 1e6 - time.time() < 7
    assert re.fullmatch(r"in \d+ m?s", row(verb(gateway, "status"), "Next try"))


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


def test_reconnect_and_enroll_wait_for_what_comes_of_it(scene, gateway):
    plug_id = gateway.get("PlugId")
    assert verb(gateway, "reconnect") == f"online as {plug_id}\n"
    assert len(scene.platform.events("connect")) == 3 and gateway.get("State") == "online"
    scene.platform.switch(reenrol=True)
    assert verb(gateway, "enroll") == f"online as {plug_id}\n"
    assert len(scene.platform.events("enrolled")) == 2 and gateway.get("State") == "online"
    for name in ("enroll", "reconnect"):
        assert json.loads(verb(gateway, name, "--json")) == {"Done": True, "PlugId": plug_id}
    # What the last try left behind is not this one's.
    scene.platform.switch(reenrol=False)
    verb(gateway, "enroll", code=1)
    scene.platform.switch(reenrol=True)
    assert verb(gateway, "enroll") == f"online as {plug_id}\n"


def test_enroll_says_why_it_is_refused(scene, gateway):
    result = gateway.ctl("enroll")
    assert result.returncode == 1 and result.stdout == ""
    assert "409" in result.stderr and f"going on as {gateway.get('PlugId')}" in result.stderr
    gateway.wait_online()
    assert "409" in verb(gateway, "status"), "who comes later can still see it"
    assert verb(gateway, "reconnect").startswith("online as ")


def test_enroll_for_the_first_time(scene):
    scene.platform.fault("enrol", "error", count=2, code=4711, msg="no licences left")
    gateway = scene.gateway().start()
    gateway.wait_state("enrolment-failed")
    result = gateway.ctl("enroll")
    assert result.returncode == 1 and "4711" in result.stderr and "no licences left" in result.stderr
    assert verb(gateway, "enroll") == f"online as {gateway.get('PlugId')}\n"


def test_nobody_has_to_wait(scene, gateway):
    scene.platform.switch(reenrol=True)
    scene.platform.fault("enrol", "delay", count=2, delay_ms=2000)
    begin = time.monotonic()
    assert "plugctl status" in verb(gateway, "enroll", "--no-wait")
    assert json.loads(verb(gateway, "--no-wait", "enroll", "--json")) == {"Done": True}
    assert time.monotonic() - begin < 2 and gateway.get("State") == "enrolling"
    gateway.wait_online()
    assert "plugctl status" in verb(gateway, "reconnect", "--no-wait")
    gateway.wait_online()
    assert gateway.ctl("status", "--no-wait").returncode == 2


def test_ctrl_c_ends_only_the_waiting(scene, gateway):
    scene.platform.switch(reenrol=True)
    scene.platform.fault("enrol", "delay", delay_ms=5000)
    process = subprocess.Popen([str(CTL), "--user", "enroll"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               env=gateway.environment)
    gateway.wait_state("enrolling")
    process.send_signal(signal.SIGINT)
    assert process.wait(4) == -signal.SIGINT
    assert gateway.get("State") == "enrolling"
    gateway.wait_online()
    assert len(scene.platform.events("enrolled")) == 2


def test_reconnect_says_why_it_cannot(scene, gateway):
    scene.platform.stop()
    for _ in range(2):
        result = gateway.ctl("reconnect")
        assert result.returncode == 1 and gateway.get("Server") in result.stderr, result
        assert result.stderr.strip().removeprefix("plugctl: ") == gateway.get("LastError")


def test_waiting_ends_with_the_daemon(scene, gateway):
    scene.platform.switch(reenrol=True)
    scene.platform.fault("enrol", "silent")
    process = subprocess.Popen([str(CTL), "--user", "enroll"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               env=gateway.environment, text=True)
    gateway.wait_state("enrolling")
    gateway.stop()
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 1 and "plugd" in errors, errors


def test_a_daemon_that_stops_takes_no_more_orders(gateway):
    os.kill(gateway.worker("one"), signal.SIGSTOP)  # so that it takes a while
    gateway.process.terminate()
    wait_for(lambda: "stopping, because of" in gateway.log, "it begins to stop")
    for name in ("enroll", "reconnect"):
        result = gateway.ctl(name)
        assert result.returncode == 1 and result.stderr == "plugctl: plugd is stopping\n", result
    result = gateway.call("Enroll", check=False)
    assert result.returncode != 0 and "plugd is stopping" in result.stderr
    assert gateway.wait_exit() == 0


def below(text, name):
    """The row of that sensor and the line below it."""
    lines = text.splitlines()
    (row,) = [i for i, line in enumerate(lines) if line.startswith(f"{name} ")]
    return lines[row], lines[row + 1] if row + 1 < len(lines) else ""


def test_trouble_is_in_the_tables(scene):
    gateway = scene.online(sim("fine"), sim("crasher", misbehave="crash", after=1),
                           sim("flooder", misbehave="flood", rate_limit=100))
    wait_for(lambda: gateway.sensor("crasher")["Restarts"] >= 2 and gateway.sensor("crasher")["State"] == "restarting"
             and gateway.sensor("flooder")["Dropped"] > 0, "both are ill")
    for name in ("status", "sensors"):
        text = verb(gateway, name)
        (heading,) = [line for line in text.splitlines() if line.startswith("SENSOR")]
        row, error = below(text, "crasher")
        end = heading.index("RESTARTS") + len("RESTARTS")
        assert re.search(r" [2-9]$", row[:end]), text
        assert error.startswith("    ") and error.strip() == gateway.sensor("crasher")["LastError"], text
        row, _ = below(text, "flooder")
        assert re.search(r" [0-9]+$", row[:heading.index("DROPPED") + len("DROPPED")]), text
        row, after = below(text, "fine")
        assert row[end - 1:end] in ("", " ") and not after.startswith("    "), text


def test_tables_are_short_where_all_is_well(gateway):
    for name in ("status", "sensors"):
        text = verb(gateway, name)
        assert "RESTARTS" not in text and "DROPPED" not in text


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
