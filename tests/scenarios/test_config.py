# SPDX-License-Identifier: Apache-2.0
"""The configuration: mistakes named all in one go, exit codes, the file that is installed."""

import os
import re
import shutil
import subprocess

import harness
import pytest
from conftest import MODEL, PASS, sim
from harness import DAEMON, ROOT, wait_for

MISTAKES = """\
server: {
  host = "127.0.0.1";
  prot = 1883;
  tls = false;
  keepalive = 5;
};
device: {
  hwid = 12;
};
sensors = (
  { name = "one"; plugin = "sim"; channel = "Bad/+/Channel"; },
  { name = "two"; plugin = "no_such_plugin"; }
);
"""


def run(folder, *arguments, timeout=30):
    environment = {**os.environ, "PLUGD_PLUGIN_DIR": str(harness.PLUGINS), "PLUGD_WORKER": str(harness.WORKER),
                   "XDG_RUNTIME_DIR": str(folder), "XDG_STATE_HOME": str(folder), "HOME": str(folder),
                   "DBUS_SESSION_BUS_ADDRESS": f"unix:path={folder}/none"}
    return subprocess.run([str(DAEMON), *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env=environment, timeout=timeout)


def mistakes_are_named(text, file):
    found = {int(line): words for line, words in re.findall(rf"{re.escape(str(file))}:(\d+):? (.*)", text)}
    assert set(found) == {3, 5, 8, 11, 12}, text
    assert "prot" in found[3]
    assert "keepalive" in found[5] and "10" in found[5] and "290" in found[5]
    assert "hwid" in found[8]
    assert "Bad/+/Channel" in found[11]
    assert "no_such_plugin" in found[12]


@pytest.mark.parametrize("mode", [["--check"], ["--user"]])
def test_five_mistakes_are_named_in_one_go(folder, mode):
    file = folder / "plugd.conf"
    file.write_text(MISTAKES)
    result = run(folder, *mode, "--config", file)
    assert result.returncode == 3
    mistakes_are_named(result.stderr, file)


def test_good_file_is_checked_and_nothing_is_started(folder):
    file = harness.write_config(folder / "plugd.conf", {
        "server": {"host": "127.0.0.1", "tls": False},
        "device": {"hwid": "x", "enroll": {"as": "thing", "model": MODEL, "pass": PASS}},
        "sensors": [sim("one")]})
    result = run(folder, "--check", "--config", file)
    assert result.returncode == 0, result.stderr
    assert result.stderr == "" and "good (1 sensor, 0 warnings)" in result.stdout
    assert PASS not in result.stdout + result.stderr
    assert [entry.name for entry in folder.iterdir()] == ["plugd.conf"]


@pytest.mark.parametrize("text, line, words", [
    (None, None, "device.enroll (or device.plug_id and device.auth_file) is missing"),
    ("", None, "device.enroll (or device.plug_id and device.auth_file) is missing"),
    ('server: {};\ndevice: { hwid = "x"; };\n', 2, "device.enroll (or device.plug_id and device.auth_file) is missing"),
    (f'device: {{\n  enroll: {{ model = "{MODEL}"; }};\n}};\n', 2, "systemd credential plugd.pass"),
    ('device: {\n\n plug_id = "dev-0123456789abcdef01234567";\n};\n', 3, "systemd credential plugd.auth"),
])
def test_a_file_that_nothing_logs_in_with_is_good_with_a_warning(folder, text, line, words):
    file = folder / "plugd.conf"
    if text is None:
        text = (ROOT / "etc" / "plugd.conf").read_text()
        line = 1 + text[:text.index("\ndevice: {") + 1].count("\n")
    file.write_text(text)
    result = run(folder, "--check", "--config", file)
    assert result.returncode == 0 and "good (0 sensors, 1 warning)" in result.stdout, result.stderr
    place = f"{file}:{line}:" if line else f"{file}:"
    assert result.stderr.startswith(f"{place} warning: not configured"), result.stderr
    assert words in result.stderr and result.stderr.count("\n") == 1


def test_the_sensors_that_the_default_file_shows_are_right(folder):
    text = (ROOT / "etc" / "plugd.conf").read_text()
    start = text.index("\nsensors = (")
    sensors = text[start:]
    file = folder / "plugd.conf"
    file.write_text(text[:start] + re.sub(r"^( *)//", r"\1", sensors, flags=re.M))
    result = run(folder, "--check", "--config", file)
    count = len(re.findall(r"// \{ name", sensors))
    assert count >= 5
    assert result.returncode == 0 and f"good ({count} sensors, 1 warning)" in result.stdout, result.stderr


def test_a_key_that_stands_twice_is_named_with_both_lines_beside_other_mistakes(folder):
    file = folder / "plugd.conf"
    file.write_text('server: {\n  port = 1883;\n  tls = false;\n  port = 8883;\n};\nspool: { sync = "x"; };\n')
    result = run(folder, "--check", "--config", file)
    assert result.returncode == 3 and "2 errors" in result.stderr
    assert re.search(rf"^{re.escape(str(file))}:4: server\.port: .*{re.escape(str(file))}:2\b", result.stderr, re.M)
    assert re.search(rf"^{re.escape(str(file))}:6: spool\.sync: ", result.stderr, re.M)


def test_missing_file_is_a_configuration_error(folder):
    result = run(folder, "--check", "--config", folder / "none.conf")
    assert result.returncode == 3 and "none.conf" in result.stderr


def test_syntax_error_has_file_and_line(folder):
    file = folder / "plugd.conf"
    file.write_text('server: {\n  host = "a"\n  port = = 1;\n};\n')
    result = run(folder, "--check", "--config", file)
    assert result.returncode == 3 and re.search(rf"{re.escape(str(file))}:3:? ", result.stderr), result.stderr


def test_a_number_too_wide_is_not_silently_another_port(folder):
    file = folder / "plugd.conf"
    for port in ("4294969179L", "4294969179", "0x10000075B"):
        file.write_text(f'server: {{ host = "127.0.0.1"; tls = false;\nport = {port}; }};\n')
        result = run(folder, "--check", "--config", file)
        assert result.returncode == 3 and ":2" in result.stderr, (port, result.stderr)


def test_an_inline_secret_that_others_may_read_is_warned_about(folder):
    file = harness.write_config(folder / "plugd.conf", {
        "device": {"hwid": "x", "enroll": {"as": "thing", "model": MODEL, "pass": PASS}}})
    assert "warning" not in run(folder, "--check", "--config", file).stderr
    file.chmod(0o644)
    result = run(folder, "--check", "--config", file)
    assert result.returncode == 0 and "warning" in result.stderr and PASS not in result.stderr
    # A command that works here.
    command = re.search(r": (ch\w+ .*)", result.stderr)[1].replace(", then ", " && ")
    subprocess.run(["sh", "-c", command], check=True, stdin=subprocess.DEVNULL, timeout=10)
    assert "warning" not in run(folder, "--check", "--config", file).stderr


def test_sensors_d_beside_the_file_adds_sensors(scene):
    gateway = scene.gateway(scene.settings(sim("one")))
    more = gateway.folder / "sensors.d"
    more.mkdir()
    harness.write_config(more / "10-more.conf", {"sensors": [sim("two"), sim("three")]})
    (more / "ignored.conf.off").write_text("nonsense")
    gateway.start().wait_online()
    scene.counter("Sim/three", 3)
    assert {path.rsplit("/", 1)[1] for path in gateway.objects() if "/sensors/" in path} == {"one", "two", "three"}


def test_a_mistake_in_sensors_d_names_that_file(folder):
    harness.write_config(folder / "plugd.conf", {"server": {"host": "127.0.0.1", "tls": False}})
    (folder / "sensors.d").mkdir()
    (folder / "sensors.d" / "a.conf").write_text('sensors = (\n{ name = "one"; plugin = "sim"; wave = "round"; } );\n')
    result = run(folder, "--check", "--config", folder / "plugd.conf")
    assert result.returncode == 3 and f"{folder / 'sensors.d' / 'a.conf'}:2" in result.stderr, result.stderr


def test_the_default_file_is_good_and_says_what_to_fill_in(scene):
    settings = (ROOT / "etc" / "plugd.conf").read_text()
    gateway = scene.gateway(settings).start()
    error = gateway.wait_error("not configured: ")
    assert gateway.log.count("not configured") == 1, "said once in the log"
    assert "enroll" in error or "hwid" in error
    assert gateway.get("State") == "offline"
    assert gateway.get("HardwareId"), "hwid = auto found one"
    with open("/etc/machine-id", encoding="ascii") as file:
        assert gateway.get("HardwareId") != file.read().strip()


def test_every_key_of_the_contract_stands_in_the_default_file():
    text = (ROOT / "etc" / "plugd.conf").read_text()
    for key in ("host port tls ca cert key keepalive hwid name enroll as model pass pass_file thing plug_id auth "
                "auth_file channel data online max_size memory sync priority ttl when_full confirm confirm_timeout "
                "drain_rate wait_sync wait_max sensors plugin interval rate_limit").split():
        assert re.search(rf"^\s*(//\s*)?(#\s+)?{key}\b|\b{key} = ", text, re.M), f"{key} isn't in etc/plugd.conf"


def test_usage(folder):
    for arguments in (["--nonsense"], ["extra"], ["--log-level", "loud"], ["--config"]):
        result = run(folder, *arguments)
        assert result.returncode == 2 and result.stderr, arguments
    result = run(folder, "--version")
    assert result.returncode == 0 and re.fullmatch(r"plugd \d+\.\d+\.\d+\n", result.stdout)
    result = run(folder, "--help")
    assert result.returncode == 0
    for option in ("--config", "--check", "--user", "--log-level", "--version", "--help"):
        assert option in result.stdout


def test_a_second_daemon_is_refused(scene):
    first = scene.online(sim("one"))
    second = scene.gateway(scene.settings(device={"hwid": "second"})).start()
    assert second.wait_exit() == 1
    assert re.search(r"(another|already)", second.log), second.log
    assert len(scene.platform.devices()) == 1
    assert first.get("State") == "online"


@pytest.mark.plain
def test_an_unreadable_file_says_why(folder):
    file = harness.write_config(folder / "plugd.conf", {"server": {"host": "127.0.0.1"}})
    assert shutil.which("setpriv")
    result = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(DAEMON), "--check",
                             "--config", str(file)], capture_output=True, text=True, timeout=30,
                            env={"PATH": os.environ["PATH"]}, stdin=subprocess.DEVNULL)
    assert result.returncode == 3 and "ermission" in result.stderr, result.stderr


def test_it_runs_from_any_working_folder_and_with_relative_names(scene):
    (scene.folder / "secret").write_text(PASS + "\n")
    gateway = scene.gateway(scene.settings(device={"enroll": {"as": "thing", "model": MODEL, "pass_file": "secret"}}))
    (gateway.folder / "secret").write_text(PASS + "\n")
    (gateway.folder / "secret").chmod(0o600)
    gateway.start()
    wait_for(lambda: gateway.get("State") == "online", "pass_file is found beside the configuration")


def test_a_plugin_that_can_not_be_asked_in_time_is_no_mistake_in_the_file(scene, folder):
    """A slow machine: exit 1, so that systemd tries again; 3 would keep the gateway down."""
    worker = folder / "slow-worker"
    worker.write_text("#!/bin/sh\nexec sleep 30\n")
    worker.chmod(0o755)
    gateway = scene.gateway(scene.settings(sim("one")), environment={"PLUGD_WORKER": str(worker)})
    gateway.start()
    assert gateway.process.wait(15) == 1
    assert "longer than 5 s" in gateway.log
    checked = subprocess.run([str(DAEMON), "--check", "--config", str(gateway.config)], env=gateway.environment,
                             capture_output=True, text=True, timeout=15)
    assert checked.returncode == 3
