# SPDX-License-Identifier: Apache-2.0
"""plugctl without a platform: terminals, shells, standard input and output, plugins that are none, a daemon that isn't
there."""

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import termios
import time

import harness
import pytest
from conftest import sim
from harness import CTL, NAME, PLUGINS, ROOT, wait_for

VERBS = "status sensors show publish enroll reconnect restart plugins check help".split()


@pytest.fixture(scope="module")
def gateway():
    folder = harness.make_folder()
    bus = harness.Bus(folder)
    gateway = harness.Gateway(folder, bus, {"device": {"hwid": "test-0001", "name": "greenhouse"},
                                            "sensors": [sim("door", interval=0.1), sim("dark", interval=3600)]})
    try:
        gateway.start()
        wait_for(lambda: gateway.sensor("dark")["Samples"] == 1, "both sensors have a value")
        yield gateway
        assert gateway.stop() == 0
    finally:
        gateway.cleanup()
        bus.stop()
        harness.remove_folder(folder)


def run(gateway, *arguments, stdin=None, **environment):
    return subprocess.run([str(CTL), "--user", *arguments], env={**gateway.environment, **environment}, timeout=30,
                          capture_output=True, text=True, input=stdin or "", cwd="/")


def on_terminal(gateway, *arguments, columns=80, **environment):
    """What it prints on a terminal of that width."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    settings = {key: value for key, value in gateway.environment.items() if key != "NO_COLOR"}
    process = subprocess.Popen([str(CTL), "--user", *arguments], env={**settings, "TERM": "xterm", **environment},
                               stdin=subprocess.DEVNULL, stdout=follower, stderr=subprocess.PIPE, cwd="/")
    os.close(follower)
    text = b""
    try:
        while chunk := os.read(leader, 65536):
            text += chunk
    except OSError:
        pass  # a terminal's way to say that its last user has gone
    finally:
        os.close(leader)
        process.stderr.close()
    assert process.wait(30) == 0
    return text.decode()


def test_colours_are_for_terminals(gateway):
    assert "\033[31moffline\033[0m" in on_terminal(gateway, "status")
    assert "\033" not in on_terminal(gateway, "status", "--no-color")
    assert "\033" not in on_terminal(gateway, "status", NO_COLOR="1")
    assert "\033" not in on_terminal(gateway, "status", TERM="dumb")
    assert "\033" not in run(gateway, "status").stdout
    assert "\033" not in on_terminal(gateway, "status", "--json")


def test_tables_fit_the_terminal(gateway):
    wide, narrow = (on_terminal(gateway, "status", "--no-color", columns=columns) for columns in (200, 40))
    # Of sentences nothing is cut away.
    assert "fill it in" in wide and "fill it in" in " ".join(narrow.split())
    assert max(map(len, narrow.splitlines())) <= 40 < max(map(len, wide.splitlines()))


def test_json_has_the_names_of_dbus(gateway):
    status = json.loads(run(gateway, "status", "--json").stdout)
    properties = gateway.properties()
    assert set(status) == {*properties, "Sensors"}
    assert status["HardwareId"] == "test-0001" and status["State"] == "offline" and status["ConnectedSince"] == 0
    assert [sensor["Name"] for sensor in status["Sensors"]] == ["dark", "door"]
    shown = json.loads(run(gateway, "show", "dark", "--json").stdout)
    assert shown == gateway.sensor("dark")
    assert [sensor["Name"] for sensor in json.loads(run(gateway, "--json", "sensors").stdout)] == ["dark", "door"]


def test_publish_reads_standard_input(gateway):
    for data in ("21.5", '{"a": [1, null]}\n', " true "):
        result = run(gateway, "publish", "By/Hand", "-", stdin=data)
        assert result.returncode == 0 and len(result.stdout.strip()) == 24, result.stderr
    for data in ("", "{", "1 2", "x" * 70000, "1\0"):
        result = run(gateway, "publish", "By/Hand", "-", stdin=data)
        assert result.returncode == 1 and result.stderr.startswith("plugctl: "), data[:10]


def test_publish_takes_what_looks_like_an_option(gateway):
    assert run(gateway, "publish", "By/Hand", "-5.5").returncode == 0
    assert run(gateway, "publish", "--", "By/Hand", "-5.5").returncode == 0
    assert run(gateway, "publish", "By/Hand", "--five").returncode == 2


def test_a_bare_word_is_explained(gateway):
    result = run(gateway, "publish", "Door", "open")
    assert result.returncode == 1 and "'\"open\"'" in result.stderr
    for channel in ("", "a//b", "a/#", "a\nb", "x" * 201):
        result = run(gateway, "publish", channel, "1")
        assert result.returncode == 1 and "channel" in result.stderr, channel


def test_unknown_sensors(gateway):
    for name in ("nobody", "", "a/b", "Door", "x" * 300, "°"):
        for verb in ("show", "restart"):
            result = run(gateway, verb, name)
            assert result.returncode == 1 and "dark, door" in result.stderr, (verb, name)


def test_output_that_cannot_be_written(gateway):
    with open("/dev/full", "w") as full:
        result = subprocess.run([str(CTL), "--user", "status"], env=gateway.environment, stdout=full, stderr=subprocess.PIPE,
                                stdin=subprocess.DEVNULL, text=True, timeout=30)
    assert result.returncode == 1 and "cannot write" in result.stderr


def test_plugins_that_are_none(gateway, tmp_path):
    for file in PLUGINS.glob("*.so"):
        shutil.copy(file, tmp_path)
    (tmp_path / "junk.so").write_text("not a plugin")
    (tmp_path / "README.txt").write_text("not even called one")
    result = run(gateway, "plugins", PLUGD_PLUGIN_DIR=str(tmp_path))
    assert result.returncode == 0
    assert "junk: " in result.stdout and "wave" in result.stdout and "README" not in result.stdout
    plugins = {plugin["name"]: plugin for plugin in json.loads(run(gateway, "plugins", "--json", PLUGD_PLUGIN_DIR=str(tmp_path)).stdout)}
    assert plugins["junk"]["error"] and "error" not in plugins["sim"]
    assert any(option["name"] == "wave" and "sine" in option["choices"] for option in plugins["sim"]["options"])
    result = run(gateway, "plugins", PLUGD_PLUGIN_DIR=str(tmp_path / "none"))
    assert result.returncode == 1 and str(tmp_path / "none") in result.stderr
    result = run(gateway, "plugins", PLUGD_WORKER="/nonexistent/plugd-worker")
    assert result.returncode == 0 and "/nonexistent/plugd-worker" in result.stdout


def worker_script(folder, name, command):
    """A folder of plugins with one more, and a worker that does this when it is asked for it."""
    for file in PLUGINS.glob("*.so"):
        shutil.copy(file, folder)
    shutil.copy(PLUGINS / "sim.so", folder / f"{name}.so")
    script = folder / "worker"
    script.write_text(f"#!/bin/sh\nif [ $2 = {name} ]; then {command}; fi\nexec {harness.WORKER} \"$@\"\n")
    script.chmod(0o755)
    return {"PLUGD_PLUGIN_DIR": str(folder), "PLUGD_WORKER": str(script)}


def test_a_plugin_that_hangs_while_loading(gateway, tmp_path):
    environment = worker_script(tmp_path, "hang", "exec sleep 60")
    begin = time.monotonic()
    result = run(gateway, "plugins", **environment)
    assert 4.5 < time.monotonic() - begin < 9
    assert result.returncode == 0 and "hang: it took longer than 5 s to load\n" in result.stdout
    assert "wave" in result.stdout, "the others are shown all the same"


def test_a_plugin_that_crashes_while_loading(gateway, tmp_path):
    environment = worker_script(tmp_path, "crash", "kill -SEGV $$")
    result = run(gateway, "plugins", **environment)
    assert result.returncode == 0 and "crash: it crashed when it was loaded (it was ended by signal 11" in result.stdout
    environment = worker_script(tmp_path, "crash", "exit 5")
    assert "ended with status 5 and no word" in run(gateway, "plugins", **environment).stdout


def test_plugins_fit_the_terminal(gateway):
    whole = run(gateway, "plugins").stdout
    assert "channels: declared when an instance opens" in whole
    for columns in (60, 80, 100):
        text = on_terminal(gateway, "plugins", "--no-color", columns=columns)
        assert all(len(line) <= columns for line in text.splitlines()), columns
        assert "none, crash, hang, flood, garbage, exit" in " ".join(text.split())
        if columns == 80:  # nothing is cut
            assert text.split() == whole.replace("\n", "\r\n").split()


def test_check_passes_the_exit_code_through(gateway, tmp_path):
    bad = tmp_path / "bad.conf"
    bad.write_text("nonsense = 1;\n")
    assert run(gateway, "check", str(bad)).returncode == 3
    result = run(gateway, "check", str(bad), "--json")
    report = json.loads(result.stdout)
    assert result.returncode == 3 and report["Status"] == 3 and report["Valid"] is False
    assert any("bad.conf:1" in message for message in report["Messages"])
    good = json.loads(run(gateway, "check", str(gateway.config), "--json").stdout)
    assert good["Valid"] is True and good["Status"] == 0
    result = run(gateway, "check", str(bad), PLUGD_DAEMON="/nonexistent/plugd")
    assert result.returncode == 1 and "/nonexistent/plugd" in result.stderr


def complete(gateway, line):
    """What bash offers for that line, with the installed completion."""
    script = f"""
        source {ROOT}/daemon/ctl/plugctl.bash
        line={line!r}
        read -r -a COMP_WORDS <<<"$line"
        [[ $line == *' ' ]] && COMP_WORDS+=('')
        COMP_WORDS[0]={CTL}
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _plugctl
        ((${{#COMPREPLY[@]}})) && printf '%s\\n' "${{COMPREPLY[@]}}"
        exit 0
    """
    result = subprocess.run(["bash", "--norc", "-c", script], env=gateway.environment, capture_output=True, text=True,
                            timeout=30, stdin=subprocess.DEVNULL, cwd=gateway.folder)
    assert result.returncode == 0 and not result.stderr, result.stderr
    return result.stdout.split()


def test_bash_completes(gateway):
    assert complete(gateway, "plugctl ") == VERBS
    assert complete(gateway, "plugctl s") == ["status", "sensors", "show"]
    assert complete(gateway, "plugctl --user s") == ["status", "sensors", "show"]
    assert complete(gateway, "plugctl --user show ") == ["dark", "door"]
    assert complete(gateway, "plugctl restart --user do") == ["door"]
    assert complete(gateway, "plugctl --user show door ") == []
    assert complete(gateway, "plugctl status --n") == ["--no-color"]
    assert complete(gateway, "plugctl enroll --n") == ["--no-wait", "--no-color"]
    assert complete(gateway, "plugctl help re") == ["reconnect", "restart"]
    assert "plugd.conf" in complete(gateway, "plugctl check ")
    assert complete(gateway, "plugctl nonsense ") == []
    # Without a bus: quietly nothing.
    gone = harness.Gateway.__new__(harness.Gateway)
    gone.folder, gone.environment = gateway.folder, {**gateway.environment, "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent"}
    assert complete(gone, "plugctl --user show ") == []


def test_help_has_every_verb_and_option(gateway):
    text = run(gateway, "--help").stdout
    for word in (*VERBS, "--user", "--json", "--no-wait", "--no-color", "--help", "-h", "--version"):
        assert word in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_help_on_a_verb(gateway):
    text = run(gateway, "--help").stdout
    assert run(gateway, "-h").stdout == run(gateway, "help").stdout == text
    for verb in VERBS:
        more = run(gateway, "help", verb)
        assert more.returncode == 0 and more.stdout.startswith(f"plugctl [OPTION…] {verb}"), verb
        assert more.stdout == run(gateway, verb, "--help").stdout == run(gateway, "-h", verb).stdout
        assert "--json" in more.stdout and ("--no-wait" in more.stdout) == (verb in ("enroll", "reconnect")), verb
        assert f"Example:\n  plugctl {verb}" in more.stdout
        assert all(len(line) <= 100 and line == line.rstrip() for line in more.stdout.splitlines()), verb
    assert "CHANNEL JSON" in run(gateway, "publish", "--help").stdout
    assert run(gateway, "help", "nonsense").returncode == run(gateway, "nonsense", "-h").returncode == 2


def test_no_bus_and_no_daemon(gateway, folder):
    result = run(gateway, "status", DBUS_SESSION_BUS_ADDRESS="unix:path=/nonexistent")
    assert result.returncode == 1 and "session bus" in result.stderr
    bus = harness.Bus(folder)
    try:
        result = run(gateway, "status", DBUS_SESSION_BUS_ADDRESS=bus.address)
        assert result.returncode == 1 and "plugd is not running" in result.stderr and NAME in result.stderr
        result = subprocess.run([str(CTL), "status"], env={**gateway.environment, "DBUS_SYSTEM_BUS_ADDRESS": bus.address},
                                capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
        assert result.returncode == 1 and "system bus" in result.stderr and "systemctl start plugd" in result.stderr
    finally:
        bus.stop()


def test_looking_does_not_start_a_daemon(gateway, folder):
    """The bus could start plugd (activation): somebody who looks at the status doesn't want that."""
    services = folder / "services"
    services.mkdir()
    (services / f"{NAME}.service").write_text(f"[D-BUS Service]\nName={NAME}\nExec=/usr/bin/touch {folder}/started\n")
    config = folder / "bus.conf"
    bus = harness.Bus(folder)
    bus.stop()
    config.write_text(config.read_text().replace("</busconfig>", f"<servicedir>{services}</servicedir></busconfig>"))
    bus.start()
    try:
        result = run(gateway, "status", DBUS_SESSION_BUS_ADDRESS=bus.address)
        assert result.returncode == 1 and "plugd is not running" in result.stderr
        assert not (folder / "started").exists()
        # The service file is one that works: who asks for the service itself starts it.
        bus.busctl("call", NAME, "/", "org.freedesktop.DBus.Peer", "Ping", check=False)
        wait_for((folder / "started").exists, "the bus starts it")
    finally:
        bus.stop()
