# SPDX-License-Identifier: Apache-2.0
"""Becoming a device of the platform, and staying it."""

import json
import stat

from conftest import HWID, MODEL, PASS, sim
from harness import children, wait_for


def events(scene, kind):
    return scene.platform.events(kind)


def test_thing_enrols_logs_in_and_publishes(scene):
    gateway = scene.online(sim("one"))
    (device,) = scene.platform.devices()
    assert device.hwid == HWID and device.name == "greenhouse" and not device.thing
    assert device.model == MODEL
    properties = gateway.properties()
    assert properties["PlugId"] == device.plug_id
    assert properties["HardwareId"] == HWID
    assert properties["LastError"] == ""
    assert properties["Server"] == f"{scene.platform.host}:{scene.platform.port}"
    assert properties["Secure"] is False
    assert properties["ConnectedSince"] > 0
    scene.counter("Sim/one", 5)

    # As the seed has it: an empty login with the client id HWID/NAME, one subscription, then a login of its own.
    connects = events(scene, "connect")
    assert [connect.client for connect in connects] == [f"{HWID}/greenhouse"] * 2
    assert [event.topic for event in events(scene, "subscribe")] == [f"{MODEL}/thing/{PASS}"]
    assert not events(scene, "violation")


def test_credentials_are_saved_for_their_owner_alone(scene):
    gateway = scene.online()
    (device,) = scene.platform.devices()
    file = gateway.state / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert device.auth in file.read_text()
    assert gateway.stop() == 0


def test_restart_logs_in_without_enrolling_again(scene):
    gateway = scene.online(sim("one"))
    plug_id = gateway.get("PlugId")
    gateway.restart().wait_online()
    assert gateway.get("PlugId") == plug_id
    gateway.kill()
    gateway.start().wait_online()
    assert gateway.get("PlugId") == plug_id
    assert len(events(scene, "enrolled")) == 1


def test_controller_enrols_for_its_thing(scene):
    thing = scene.online()
    thing.stop()
    gateway = scene.gateway(scene.settings(device={
        "hwid": "ctrl-0001", "name": None,
        "enroll": {"as": "controller", "model": MODEL, "thing": HWID, "pass": PASS}})).start().wait_online()
    thing_device, controller = scene.platform.devices()
    assert controller.hwid == "ctrl-0001" and controller.thing == thing_device.plug_id
    assert gateway.get("PlugId") == controller.plug_id
    assert events(scene, "subscribe")[-1].topic == f"{MODEL}/ctrl/{HWID}/{PASS}"
    assert events(scene, "connect")[-1].client == "ctrl-0001"


def test_refused_enrolment_shows_err_and_msg_and_can_be_asked_again(scene):
    scene.platform.fault("enrol", "error", code=4711, msg="no licences left")
    gateway = scene.gateway().start()
    gateway.wait_state("enrolment-failed")
    error = gateway.wait_error("4711", "no licences left")
    assert "4711" in gateway.log and "no licences left" in gateway.log, error
    status = gateway.ctl("status")
    assert "no licences left" in status.stdout
    # The next try by itself is half a minute away; asked for, it comes at once.
    gateway.call("Enroll")
    gateway.wait_online(10)
    wait_for(lambda: gateway.properties()["LastError"] == "", "the error is history")


def test_wrong_pass_is_refused_in_words(scene):
    gateway = scene.gateway(scene.settings(device={
        "enroll": {"as": "thing", "model": MODEL, "pass": "another-pass-1"}})).start()
    gateway.wait_state("enrolment-failed")
    gateway.wait_error("401", "wrong enrolling pass")
    assert "another-pass-1" not in gateway.log


def test_nonsense_instead_of_an_answer(scene):
    scene.platform.fault("enrol", "text", text="<html>502 Bad Gateway</html>")
    gateway = scene.gateway().start()
    gateway.wait_state("enrolment-failed")
    first = gateway.wait_error("JSON")
    scene.platform.fault("enrol", "text", text='{"id":"dev-short","auth":"x"}')
    gateway.call("Enroll")
    wait_for(lambda: gateway.get("State") == "enrolment-failed" and gateway.get("LastError") not in ("", first),
             "other nonsense, other words")
    gateway.call("Enroll")
    gateway.wait_online()


def test_connection_closed_instead_of_an_answer(scene):
    scene.platform.fault("enrol", "close")
    gateway = scene.gateway().start()
    wait_for(lambda: "closed" in gateway.get("LastError"), "the closing is named")
    gateway.call("Enroll")
    gateway.wait_online()


def test_no_answer_to_enrolling_within_30_s(scene):
    scene.platform.fault("enrol", "silent")
    gateway = scene.gateway().start()
    gateway.wait_state("enrolling")
    gateway.wait_state("enrolment-failed", 45)
    gateway.wait_error("30 s")


def test_a_pass_that_no_topic_can_carry(scene):
    gateway = scene.gateway(scene.settings(device={
        "enroll": {"as": "thing", "model": MODEL, "pass": "with+plus"}}))
    gateway.start()
    # Said before connecting; whether the configuration or the daemon says it, nothing was asked of the server.
    wait_for(lambda: "+" in gateway.log and ("pass" in gateway.log), "the pass is named in the log")
    assert "with+plus" not in gateway.log
    assert not events(scene, "connect")


def test_a_name_with_a_slash_is_part_of_the_client_id(scene):
    scene.gateway(scene.settings(device={"name": "north/greenhouse"})).start().wait_online()
    (device,) = scene.platform.devices()
    assert (device.hwid, device.name) == (HWID, "north/greenhouse")


def test_credentials_of_another_platform_are_kept_and_named(scene):
    gateway = scene.online()
    first = gateway.get("PlugId")
    gateway.stop()
    # "localhost" is another name, so to plugd another platform.
    settings = scene.settings(server={"host": "localhost"})
    gateway = scene.gateway(settings)
    (gateway.state.parent / "plugd").mkdir(exist_ok=True)
    saved = scene.gateways[0].state / "credentials.json"
    (gateway.state / "credentials.json").write_bytes(saved.read_bytes())
    gateway.start()
    gateway.wait_error("127.0.0.1")
    assert gateway.get("State") == "offline"
    assert len(events(scene, "connect")) == 2
    # On request it enrols anew, and forgets nothing.
    scene.platform.switch(reenrol=True)
    gateway.call("Enroll")
    gateway.wait_online()
    kept = (gateway.state / "credentials.json").read_text()
    assert "127.0.0.1" in kept and "localhost" in kept and first in kept
    json.loads(kept)


def test_given_credentials_instead_of_enrolling(scene):
    plug_id = "dev-aaaaaaaaaaaaaaaaaaaaaaaa"
    scene.platform.add_device(plug_id, "given-auth-77", HWID)
    auth = scene.folder / "auth"
    auth.write_text("given-auth-77\n")
    auth.chmod(0o600)
    gateway = scene.online(device={"enroll": None, "plug_id": plug_id, "auth_file": str(auth)})
    assert gateway.get("PlugId") == plug_id
    assert not events(scene, "enrolled")


def test_secrets_from_the_credential_store(scene):
    store = scene.folder / "credentials"
    store.mkdir()
    (store / "plugd.pass").write_text(PASS)
    scene.gateway(scene.settings(device={"enroll": {"as": "thing", "model": MODEL}}),
                  environment={"CREDENTIALS_DIRECTORY": str(store)}).start().wait_online()
    assert len(scene.platform.devices()) == 1


def test_no_secret_leaves_by_bus_argv_or_log(scene):
    gateway = scene.online(sim("one"))
    (device,) = scene.platform.devices()
    gateway.ctl("status")
    shown = json.dumps(gateway.objects()) + gateway.ctl("status", "--json").stdout + gateway.log
    for pid in (gateway.pid, *children(gateway.pid)):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            shown += file.read().decode()
    for pid in children(gateway.pid):
        with open(f"/proc/{pid}/environ", "rb") as file:
            shown += file.read().decode()
    assert device.auth not in shown and PASS not in shown


def test_not_configured_it_runs_and_says_so(scene):
    gateway = scene.gateway(scene.settings(sim("one"), device={"enroll": None})).start()
    error = gateway.wait_error("not configured: ")
    assert error.startswith("not configured: ")
    assert gateway.get("State") == "offline"
    wait_for(lambda: gateway.get("SpoolMessages") > 3, "samples are kept meanwhile")
    assert not events(scene, "connect")
