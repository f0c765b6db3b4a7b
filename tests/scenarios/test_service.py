# SPDX-License-Identifier: Apache-2.0
"""What systemd is told, what is installed, and what it costs."""

import os
import re
import socket
import subprocess
import time

import harness
import pytest
from conftest import sim
from harness import BUILD, ROOT, children, memory_kib, wait_for


class Notify:
    """systemd's end of the notify protocol."""

    def __init__(self, folder):
        self.path = folder / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(0.05)
        self.messages = []

    def receive(self):
        while True:
            try:
                self.messages += [(time.monotonic(), line) for line in self.socket.recv(65536).decode().splitlines()]
            except TimeoutError:
                return self.messages

    def said(self, text, since=0):
        return [line for moment, line in self.receive() if text in line and moment >= since]


@pytest.fixture
def notify(folder):
    made = Notify(folder)
    yield made
    made.socket.close()


def test_ready_status_watchdog_and_stopping(scene, notify):
    gateway = scene.gateway(scene.settings(sim("one")), environment={
        "NOTIFY_SOCKET": str(notify.path), "WATCHDOG_USEC": "1000000"}).start()
    wait_for(lambda: notify.said("READY=1"), "it is ready")
    gateway.wait_online()
    plug_id = gateway.get("PlugId")
    wait_for(lambda: [line for line in notify.said("STATUS=") if plug_id in line or "online" in line], "a status line")
    wait_for(lambda: len(notify.said("WATCHDOG=1")) >= 3, "the watchdog is fed")
    # Only while the loop goes round.
    gateway.process.send_signal(19)
    begin = time.monotonic()
    notify.receive()
    begin = time.monotonic()
    wait_for(lambda: time.monotonic() - begin > 2, "two periods pass")
    assert not notify.said("WATCHDOG=1", begin)
    gateway.process.send_signal(18)
    wait_for(lambda: notify.said("WATCHDOG=1", begin), "and again")
    assert gateway.stop() == 0
    assert notify.said("STOPPING=1")


def test_ready_without_a_server(scene, notify):
    scene.platform.stop()
    scene.gateway(environment={"NOTIFY_SOCKET": str(notify.path)}).start()
    wait_for(lambda: notify.said("READY=1"), "the start waits for no network", 10)


def test_not_ready_with_a_bad_configuration(scene, notify):
    gateway = scene.gateway("nonsense = 1;\n", environment={"NOTIFY_SOCKET": str(notify.path)}).start()
    assert gateway.wait_exit() == 3
    assert not notify.said("READY=1")


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_signals_end_it_in_good_order(scene, name):
    gateway = scene.online(sim("one", interval=0.01))
    workers = children(gateway.pid)
    gateway.process.send_signal(getattr(__import__("signal"), "SIG" + name))
    assert gateway.wait_exit(8) == 0
    assert not any(map(harness.process_alive, workers))
    gateway.start().wait_online()
    scene.check_counter("Sim/one")


# --- installed ------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """The build, configured for a prefix of its own and installed there."""
    folder = harness.make_folder()
    build = folder / "build"
    run = dict(check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    subprocess.run(["meson", "setup", f"--prefix={folder / 'usr'}", str(build), str(ROOT)], **run)
    subprocess.run(["meson", "install", "-C", str(build)], **run)
    yield folder / "usr"
    harness.remove_folder(folder)


def one(prefix, pattern):
    (found,) = prefix.glob(pattern)
    return found


@pytest.mark.plain
def test_all_of_it_is_below_the_prefix(prefix):
    for pattern in ("bin/plugd", "bin/plugctl", "libexec/plugd-worker", "lib/*/plugd/plugins/sim.so",
                    "lib/*/plugd/plugins/system.so", "include/plugd/plugin.h", "lib/*/pkgconfig/plugd.pc",
                    "etc/plugd/plugd.conf", "etc/plugd/sensors.d", "lib/systemd/system/plugd.service",
                    "lib/sysusers.d/plugd.conf", "lib/udev/rules.d/60-plugd.rules",
                    "share/dbus-1/system.d/com.cloudplugs.Gateway1.conf",
                    "share/dbus-1/system-services/com.cloudplugs.Gateway1.service",
                    "share/dbus-1/interfaces/com.cloudplugs.Gateway1*.xml",
                    "share/bash-completion/completions/plugctl"):
        assert list(prefix.glob(pattern)), pattern
    rest = subprocess.run(["readelf", "-d", str(prefix / "bin/plugd")], capture_output=True, text=True, check=True).stdout
    assert str(BUILD) not in rest


@pytest.mark.plain
def test_installed_it_works_from_its_prefix(prefix, scene):
    gateway = scene.gateway(scene.settings(sim("one")))
    environment = {key: value for key, value in gateway.environment.items() if not key.startswith("PLUGD_")}
    process = subprocess.Popen([str(prefix / "bin/plugd"), "--user", "--config", str(gateway.config)],
                               env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, cwd="/")
    try:
        gateway.wait_online()
        scene.counter("Sim/one", 5)
        assert {os.readlink(f"/proc/{pid}/exe") for pid in children(process.pid)} == {str(prefix / "libexec/plugd-worker")}
        for verb in ("status", "plugins"):
            shown = subprocess.run([str(prefix / "bin/plugctl"), "--user", verb], env=environment, capture_output=True,
                                   text=True, timeout=30, stdin=subprocess.DEVNULL)
            assert shown.returncode == 0, shown.stderr
    finally:
        process.terminate()
        assert process.wait(10) == 0


@pytest.mark.plain
def test_default_configuration_is_read_from_the_prefix(prefix):
    result = subprocess.run([str(prefix / "bin/plugd"), "--check"], capture_output=True, text=True, timeout=30,
                            stdin=subprocess.DEVNULL, env={"PATH": os.environ["PATH"]})
    assert result.returncode == 0, result.stderr
    assert str(prefix / "etc/plugd/plugd.conf") in result.stdout


@pytest.mark.plain
def test_unit_is_good(prefix):
    unit = prefix / "lib/systemd/system/plugd.service"
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True,
                            timeout=60, stdin=subprocess.DEVNULL)
    assert result.returncode == 0 and not [line for line in result.stderr.splitlines() if "plugd" in line], result.stderr
    text = unit.read_text()
    assert f"ExecStart={prefix}/bin/plugd\n" in text
    for line in ("Type=notify", "StateDirectory=plugd", "RuntimeDirectory=plugd", "RuntimeDirectoryPreserve=yes",
                 "Restart=always", "StartLimitIntervalSec=0", "RestartPreventExitStatus=3", "NoNewPrivileges=yes",
                 "User=plugd"):
        assert f"{line}\n" in text, line
    assert re.search(r"^WatchdogSec=", text, re.M)


@pytest.mark.plain
def test_sysusers_make_what_the_unit_needs(prefix, folder):
    (folder / "etc").mkdir()
    result = subprocess.run(["systemd-sysusers", f"--root={folder}", str(prefix / "lib/sysusers.d/plugd.conf")],
                            capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    assert result.returncode == 0, result.stderr
    groups = {line.split(":")[0] for line in (folder / "etc/group").read_text().splitlines()}
    users = {line.split(":")[0] for line in (folder / "etc/passwd").read_text().splitlines()}
    assert {"plugd", "gpio", "i2c"} <= groups and "plugd" in users


@pytest.mark.plain
def test_uninstalled_it_runs_in_meson_devenv(scene):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PLUGD_")}

    def devenv(*command):
        return subprocess.run(["meson", "devenv", "-C", str(BUILD), *command], capture_output=True, text=True, timeout=60,
                              env=environment, stdin=subprocess.DEVNULL)
    assert re.search(r"^plugd \d", devenv("plugd", "--version").stdout, re.M)
    assert "sim" in devenv("plugctl", "plugins").stdout
    file = harness.write_config(scene.folder / "check.conf", scene.settings(sim("one")))
    result = devenv("plugd", "--check", "--config", str(file))
    assert result.returncode == 0, result.stderr


def pkg_config(prefix, *arguments):
    return subprocess.run(["pkg-config", *arguments, "plugd"], check=True, capture_output=True, text=True,
                          env={**os.environ, "PKG_CONFIG_PATH": str(one(prefix, "lib/*/pkgconfig"))}).stdout.split()


def build_plugin(prefix, source):
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", *pkg_config(prefix, "--cflags"), "-o",
                    source.with_suffix(".so"), source], check=True, cwd=source.parent, timeout=60)


@pytest.mark.plain
def test_pkg_config(prefix):
    assert pkg_config(prefix, "--variable=abi") == ["1"]
    assert pkg_config(prefix, "--variable=plugindir") == [str(one(prefix, "lib/*/plugd/plugins"))]
    assert pkg_config(prefix, "--cflags") == [f"-I{prefix}/include"]


@pytest.mark.plain
def test_plugin_of_a_third_party(prefix, scene):
    """tests/plugin, copied elsewhere, built from the installed header alone, described and loaded."""
    (code,) = (ROOT / "tests" / "plugin").glob("*.c")
    source = scene.folder / code.name
    source.write_bytes(code.read_bytes())
    build_plugin(prefix, source)
    name = source.stem
    describe = subprocess.run([str(prefix / "libexec/plugd-worker"), "--describe", name], capture_output=True, text=True,
                              env={**os.environ, "PLUGD_PLUGIN_DIR": str(scene.folder)}, timeout=30, stdin=subprocess.DEVNULL)
    assert describe.returncode == 0 and f'"{name}"' in describe.stdout, describe
    scene.gateway(scene.settings({"name": "mine", "plugin": name, "channel": "Mine", "interval": 0.1}),
                  plugins=scene.folder).start().wait_online()
    wait_for(lambda: [row for row in scene.platform.arrivals() if row.channel.startswith("Mine")], "its values arrive")


@pytest.mark.plain
def test_plugin_of_the_readme(prefix, scene):
    (code,) = re.findall(r"^```c\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    source = scene.folder / "file.c"
    source.write_text(code)
    build_plugin(prefix, source)
    scene.gateway(scene.settings({"name": "load", "plugin": "file", "path": "/proc/loadavg", "interval": 0.1},
                                 {"name": "none", "plugin": "file", "path": "/proc/none", "interval": 0.1}),
                  plugins=scene.folder).start().wait_online()
    row = scene.platform.wait_arrivals(1, "load")[0]
    assert isinstance(row.value, (int, float))
    gateway = scene.gateways[0]
    wait_for(lambda: "/proc/none can't be opened" in gateway.sensor("none")["LastError"], "its words are its error")
    assert gateway.sensor("none")["State"] == "failing"


I2C_PLUGIN = """
#include <errno.h>
#include <plugd/i2c.h>
#include <plugd/plugin.h>

static int chip_open(const struct plugd_host *host, void **ret_instance)
{
        struct plugd_i2c *i2c;
        int r = plugd_i2c_new((unsigned) host->option(host, "bus")->integer, 0x48, 100000, NULL, &i2c);

        if (r == 0)
                r = plugd_i2c_open(i2c);
        if (r < 0) {
                host->log(host, PLUGD_ERROR, "%s", i2c ? plugd_i2c_error(i2c) : "no memory");
                plugd_i2c_free(i2c);
                return r;
        }
        *ret_instance = i2c;
        return 0;
}

static int chip_read(void *instance)
{
        (void) instance;
        return -EAGAIN;
}

static void chip_close(void *instance)
{
        plugd_i2c_free(instance);
}

static const struct plugd_option options[] = {{.name = "bus", .type = PLUGD_INTEGER, .flags = PLUGD_REQUIRED}};
static const struct plugd_channel channels[] = {{.name = "value", .type = PLUGD_NUMBER, .flags = PLUGD_READABLE}};
static const char *const devices[] = {"/dev/i2c-{bus}", NULL};

const struct plugd_plugin plugd_plugin_v1 = {
        .abi = PLUGD_ABI, .size = sizeof(struct plugd_plugin), .name = "chip", .description = "A chip.",
        .options = options, .n_options = 1, .channels = channels, .n_channels = 1,
        .open = chip_open, .read = chip_read, .close = chip_close, .devices = devices,
};
"""


@pytest.mark.plain
def test_plugin_with_the_i2c_library(prefix, scene):
    """By README's line, under a prefix that the linker knows nothing of."""
    source = scene.folder / "chip.c"
    source.write_text(I2C_PLUGIN)
    (line,) = re.findall(r"^ *(cc .*plugd-i2c.*)$", (ROOT / "README.md").read_text(), re.M)
    environment = {**os.environ, "PKG_CONFIG_PATH": str(one(prefix, "lib/*/pkgconfig"))}
    subprocess.run(line, shell=True, check=True, cwd=scene.folder, env=environment, timeout=60)
    scene.gateway(scene.settings({"name": "chip", "plugin": "chip", "bus": 200}),
                  plugins=scene.folder, environment={"PLUGD_WORKER": str(prefix / "libexec/plugd-worker")}).start().wait_online()
    gateway = scene.gateways[0]
    error = wait_for(lambda: gateway.sensor("chip")["LastError"], "it has tried")
    assert "there is no bus 200" in error


@pytest.mark.plain
def test_a_plain_setup_needs_no_test_libraries(prefix):
    names = {file.name for file in (prefix.parent / "build").rglob("*.so")}
    assert "platform.so" not in names and not list((prefix.parent / "build").glob("tests/*"))


# --- what it costs, and what valgrind says ------------------------------------------------------------------------------

@pytest.mark.plain
def test_worker_links_libc_alone():
    text = subprocess.run(["readelf", "-d", str(harness.WORKER)], capture_output=True, text=True, check=True).stdout
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", text))
    assert needed <= {"libc.so.6", "libdl.so.2", "libm.so.6"}, needed


@pytest.mark.plain
def test_memory(scene, figure):
    gateway = scene.online(*[sim(f"s{number}", interval=1) for number in range(9)],
                           {"name": "machine", "plugin": "system", "channel": "Machine", "interval": 1})
    wait_for(lambda: gateway.sensor("s8")["Samples"] > 3, "they run")
    workers = gateway.workers()
    daemon = memory_kib(gateway.pid)
    each = {name: memory_kib(pid) for name, pid in workers.items()}
    figure(f"PSS: daemon {daemon} KiB; workers {sum(each.values())} KiB in all: "
           + ", ".join(f"{name} {kib}" for name, kib in sorted(each.items())))
    assert daemon < 8 * 1024 and max(each.values()) < 1024


@pytest.mark.plain
def test_time_to_the_first_confirmed_message(scene, figure):
    """The second start: credentials are there, and a message waits in the spool."""
    gateway = scene.online()
    gateway.stop()
    seen = []
    for _ in range(3):
        gateway.start()
        gateway.wait_online()
        gateway.publish("By/Hand", 1)
        gateway.wait_confirmed()
        since = scene.platform.last_arrival()
        scene.platform.stop()
        gateway.wait_state("offline")
        gateway.publish("By/Hand", 2)
        gateway.stop()
        scene.platform.start()
        begin = time.time()
        gateway.start()
        (row, *_) = scene.platform.wait_arrivals(1, "By/Hand", since=since)
        arrived = row.time_us / 1e6 - begin
        wait_for(lambda: gateway.get("SpoolMessages") == 0, "it is confirmed", interval=0.01)
        seen.append((arrived, time.time() - begin))
        gateway.stop()
    seen.sort()
    figure(f"exec to first message at the server {seen[1][0] * 1000:.0f} ms, to first message confirmed "
           f"{seen[1][1] * 1000:.0f} ms (median of {len(seen)}; the first barrier comes "
           "1 s after a message, the second, which confirms it, 1 s after the first)")
    assert seen[1][0] < 0.5


@pytest.mark.plain
def test_valgrind_is_clean(scene):
    gateway = scene.gateway(
        scene.settings(sim("one"), sim("two", interval=0.5)),
        wrapper=["valgrind", "-q", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect", "--error-exitcode=99",
                 "--child-silent-after-fork=yes"]).start()
    gateway.wait_online(60)
    scene.counter("Sim/one", 10, 60)
    gateway.publish("By/Hand", {"a": [1, 2, 3]})
    gateway.call("Publish", "ss", "bad/+", "1", check=False)
    gateway.ctl("status")
    gateway.ctl("sensors")
    os.kill(gateway.worker("two"), 9)
    wait_for(lambda: gateway.sensor("two")["Restarts"] == 1 and gateway.sensor("two")["State"] == "running",
             "a worker comes back", 30)
    scene.platform.restart()
    wait_for(lambda: gateway.get("State") == "online" and len(scene.platform.events("connect")) >= 3, "it reconnects", 60)
    confirmed = gateway.get("Confirmed")
    wait_for(lambda: gateway.get("Confirmed") > confirmed + 20, "messages are confirmed again", 60)
    assert gateway.stop(30) == 0, gateway.log[-5000:]


# --- the house ----------------------------------------------------------------------------------------------------------

@pytest.mark.plain
@pytest.mark.parametrize("include, file", [
    ("#include <mosquitto.h>\n", "daemon/spool.c"),
    ("#include <json-c/json.h>\n", "daemon/util/text.c"),
    ('#include "manager.h"\n', "daemon/link.c"),
    ('#include "spool.h"\n', "daemon/worker/worker.c"),
    ('#include "link.h"\n', "daemon/ctl/ctl.c"),
    ('#include "../daemon/util/log.h"\n', "plugins/sim.c"),
    ("#include <stdio.h>\n", "plugins/plugin.h"),
    ("int x;\n", "daemon/attic.c"),
])
def test_the_floors_are_held(folder, include, file):
    """The test of the floors finds what it is there to find."""
    for part in ("daemon", "plugins"):
        for source in (ROOT / part).rglob("*.[ch]"):
            target = folder / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    check = [str(ROOT / "tests" / "check-floors.py"), str(folder)]
    clean = subprocess.run(check, capture_output=True, text=True, timeout=60)
    assert clean.returncode == 0, clean.stdout
    target = folder / file
    target.write_text(include + (target.read_text() if target.exists() else ""))
    broken = subprocess.run(check, capture_output=True, text=True, timeout=60)
    assert broken.returncode == 1 and file in broken.stdout
