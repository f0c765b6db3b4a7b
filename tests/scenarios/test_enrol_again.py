# SPDX-License-Identifier: Apache-2.0
"""Enrolling on request: an answer that comes once is not lost, and a refusal is seen."""

from conftest import MODEL, PASS, sim
from harness import PATH, SENSOR, wait_for


def wait_asked(scene, gateway):
    wait_for(lambda: scene.platform.events("subscribe"), "the enrolment is with the server")
    assert gateway.get("State") == "enrolling"


def test_an_enrolment_that_is_with_the_server_is_not_asked_anew(scene):
    """The server gives an auth once: who asks in between must not lose it."""
    scene.platform.fault("enrol", "delay", delay_ms=1500)
    gateway = scene.gateway().start()
    wait_asked(scene, gateway)
    for call in ("Enroll", "Reconnect", "Enroll"):
        gateway.call(call)
    gateway.wait_online()
    assert len(scene.platform.events("subscribe")) == 1
    assert len(scene.platform.events("enrolled")) == 1
    assert gateway.get("LastError") == ""


def test_enrolling_anew_that_is_refused_goes_on_as_before_and_says_so(scene):
    gateway = scene.online(sim("one"))
    plug_id = gateway.get("PlugId")
    scene.platform.fault("enrol", "error", code=9, msg="it exists")
    gateway.call("Enroll")
    gateway.wait_error("error 9", "it exists", plug_id)
    gateway.wait_online()
    assert "it exists" in gateway.get("LastError")
    assert gateway.get("PlugId") == plug_id
    # What was read meanwhile arrives, and the error goes with what comes next.
    scene.counter("Sim/one", 5)
    gateway.call("Enroll")
    wait_for(lambda: "it exists" not in gateway.get("LastError"), "a new try has its own words")


def test_a_refused_login_while_enrolling_is_a_refusal(scene):
    scene.platform.fault("login", "refuse", count=1, code=5)
    gateway = scene.gateway().start()
    gateway.wait_state("refused")
    gateway.wait_error("not authorised", "CONNACK 5")
    gateway.call("Enroll")
    gateway.wait_online()


def test_a_pass_that_the_server_quotes_is_masked(scene):
    scene.platform.fault("enrol", "error", code=5, msg=f"pass {PASS} is wrong")
    gateway = scene.gateway().start()
    gateway.wait_error("error 5", "is wrong")
    assert PASS not in gateway.get("LastError")
    assert PASS not in gateway.log


def with_pass_file(scene, *sensors, password):
    file = scene.folder / "pass"
    file.write_text(password + "\n")
    file.chmod(0o600)
    return file, scene.settings(*sensors, device={"enroll": {"as": "thing", "model": MODEL, "pass_file": str(file)}})


def test_enrolling_that_cannot_begin_disturbs_nothing(scene):
    file, settings = with_pass_file(scene, sim("one"), password=PASS)
    gateway = scene.gateway(settings).start().wait_online()
    since = gateway.get("ConnectedSince")
    file.write_text("a+b\n")
    refused = gateway.ctl("enroll")
    assert refused.returncode == 1 and "'+'" in refused.stderr
    assert gateway.get("State") == "online" and gateway.get("ConnectedSince") == since
    taken = gateway.sensor("one")["Samples"]
    scene.counter("Sim/one", taken + 10)


def test_a_refused_login_while_enrolling_anew_goes_on_as_before(scene):
    gateway = scene.online(sim("one"))
    plug_id = gateway.get("PlugId")
    scene.platform.fault("login", "refuse", count=1, code=5)
    refused = gateway.ctl("enroll")
    assert refused.returncode == 1 and "CONNACK 5" in refused.stderr and plug_id in refused.stderr
    gateway.wait_online()
    taken = gateway.sensor("one")["Samples"]
    scene.counter("Sim/one", taken + 5)


def test_a_pass_of_stars_that_the_server_quotes(scene):
    _, settings = with_pass_file(scene, password="***")
    scene.platform.fault("enrol", "error", code=5, msg="no *** for you, ****")
    gateway = scene.gateway(settings).start()
    gateway.wait_error("error 5")
    assert gateway.get("State") == "enrolment-failed"


def test_reconnect_after_a_refusal_waits_for_the_new_answer(scene):
    gateway = scene.online()
    scene.platform.fault("login", "refuse", count=1, code=4)
    gateway.ctl("reconnect")
    gateway.wait_state("refused")
    again = gateway.ctl("reconnect")
    assert again.returncode == 0, again.stderr
    assert gateway.get("State") == "online" and gateway.get("LastError") == ""


def test_an_answer_that_waits_to_be_saved_outlives_reconnect(scene):
    """The server gives it once: neither request may drop it for the credentials that were there before."""
    gateway = scene.online()
    (device,) = scene.platform.devices()
    scene.platform.switch(reenrol=True)
    # A folder in the way of the file: nothing can be renamed onto it, not even by root.
    file = gateway.state / "credentials.json"
    file.rename(gateway.state / "kept")
    (file / "in the way").mkdir(parents=True)
    gateway.call("Enroll")
    gateway.wait_error("could not be saved")
    gateway.call("Reconnect")
    gateway.call("Enroll")
    (file / "in the way").rmdir()
    file.rmdir()
    gateway.call("Reconnect")
    gateway.wait_online()
    (renewed,) = scene.platform.devices()
    assert renewed.plug_id == device.plug_id and renewed.auth != device.auth
    assert renewed.auth in file.read_text()
    assert len(scene.platform.events("subscribe")) == 2


def test_a_sensor_is_not_started_again_while_stopping(scene):
    gateway = scene.online(sim("one"), sim("hung", misbehave="hang"))
    gateway.process.terminate()
    wait_for(lambda: gateway.sensor("one")["State"] == "stopped", "the one has stopped, the other hangs", interval=0.02)
    result = gateway.call("Restart", path=f"{PATH}/sensors/one", interface=SENSOR, check=False)
    assert result.returncode != 0 and "stopping" in result.stderr, result
    assert gateway.process.wait(10) == 0
