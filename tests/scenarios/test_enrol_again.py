# SPDX-License-Identifier: Apache-2.0
"""Enrolling on request: an answer that comes once is not lost, and a refusal is seen."""

from conftest import sim
from harness import wait_for


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
    from conftest import PASS

    scene.platform.fault("enrol", "error", code=5, msg=f"pass {PASS} is wrong")
    gateway = scene.gateway().start()
    gateway.wait_error("error 5", "is wrong")
    assert PASS not in gateway.get("LastError")
    assert PASS not in gateway.log
