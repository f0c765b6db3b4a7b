# SPDX-License-Identifier: Apache-2.0
"""The real daemon with everything around it, for scenarios: a private bus, a configuration, processes ended by pid.

Nothing here sleeps for a fixed time: `wait_for` asks until a condition holds or its deadline has passed.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("PLUGD_BUILD", ROOT / "build-tests" / "gcc")).resolve()
PLATFORM = Path(os.environ.get("PLUGD_PLATFORM", BUILD / "tests" / "platform")).resolve()
DAEMON = BUILD / "daemon" / "plugd"
CTL = BUILD / "daemon" / "ctl" / "plugctl"
WORKER = BUILD / "daemon" / "worker" / "plugd-worker"
PLUGINS = BUILD / "plugins"
TEST_PLUGINS = BUILD / "tests" / "plugins"

NAME = "com.cloudplugs.Gateway1"
PATH = "/com/cloudplugs/Gateway1"
MANAGER = NAME + ".Manager"
SENSOR = NAME + ".Sensor"

# What a sanitizer says of a program that did wrong.
SANITIZER = re.compile(r"ERROR: (Address|Leak)Sanitizer|runtime error:|ERROR SUMMARY: [1-9]|definitely lost: [1-9]")


class BusError(Exception):
    """A call on the bus has failed."""


def wait_for(condition, what, timeout=20.0, interval=0.05):
    """Asks until condition() is true, and returns what it gave. An exception of the last try is shown."""
    deadline = time.monotonic() + timeout
    trouble = None
    while True:
        try:
            result = condition()
            trouble = None
        except (BusError, OSError, LookupError, ValueError) as error:
            result, trouble = None, error
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what} (last: {result!r}{f', {trouble}' if trouble else ''})")
        time.sleep(interval)


def to_libconfig(value, depth=0):
    """A Python value as libconfig writes it: dict a group, list a list."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value}L" if abs(value) > 0x7FFFFFFF else str(value)
    if isinstance(value, float):
        return repr(value) if "." in repr(value) or "e" in repr(value) else f"{value!r}.0"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(value, dict):
        indent = "  " * (depth + 1)
        lines = "".join(f"{indent}{key} = {to_libconfig(member, depth + 1)};\n" for key, member in value.items())
        return "{\n" + lines + "  " * depth + "}"
    return "( " + ", ".join(to_libconfig(member, depth + 1) for member in value) + " )"


def write_config(path, settings):
    """settings: a dict, or the text itself."""
    if isinstance(settings, dict):
        settings = "".join(f"{key} = {to_libconfig(value)};\n" for key, value in settings.items())
    path.write_text(settings)
    path.chmod(0o600)
    return path


def process_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid):
    """{pid: argv} of the living children."""
    found = {}
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            try:
                found[int(child)] = [a.decode() for a in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[:-1]]
            except FileNotFoundError:
                pass
    return {child: argv for child, argv in found.items() if argv}


def memory_kib(pid):
    """Proportional set size."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+)", text, re.M).group(1))


class Bus:
    """A dbus-daemon of our own. policy: text of more <policy> rules (then it takes the role of the system bus)."""

    def __init__(self, folder, policy=None):
        self.folder = folder
        self.socket = folder / "bus"
        self.address = f"unix:path={self.socket}"
        allow_all = '<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>'
        basic = ('<policy context="default"><allow user="*"/><deny own="*"/><deny send_type="method_call"/>'
                 '<allow send_type="signal"/><allow send_requested_reply="true" send_type="method_return"/>'
                 '<allow send_requested_reply="true" send_type="error"/><allow receive_type="method_call"/>'
                 '<allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/>'
                 '<allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>'
                 '<allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>'
                 '</policy>')
        config = folder / "bus.conf"
        config.write_text(
            '<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" '
            '"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">\n'
            f"<busconfig><type>{'system' if policy else 'session'}</type><listen>{self.address}</listen>"
            f"<auth>EXTERNAL</auth>{basic + policy if policy else allow_all}</busconfig>\n")
        config.chmod(0o644)
        self.process = None
        self.start()

    def start(self):
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(["dbus-daemon", f"--config-file={self.folder / 'bus.conf'}", "--nofork", "--nopidfile"],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=open(self.folder / "bus.log", "a"))
        wait_for(self.socket.exists, "the bus listens")

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def busctl(self, *arguments, check=True, timeout=30, user=None):
        command = ["busctl", f"--address={self.address}", "--json=short", "--", *map(str, arguments)]
        if user is not None:
            command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
        if check and result.returncode != 0:
            raise BusError(f"busctl {' '.join(map(str, arguments))}: {result.stderr.strip()}")
        return result


def plain(value):
    """busctl's {"type", "data"} of variants, as the plain value."""
    if isinstance(value, dict):
        if set(value) == {"type", "data"}:
            return plain(value["data"])
        return {key: plain(member) for key, member in value.items()}
    if isinstance(value, list):
        return [plain(member) for member in value]
    return value


class Gateway:
    """plugd --user, with folders of its own below `folder`."""

    def __init__(self, folder, bus, settings, plugins=PLUGINS, wrapper=(), environment=None):
        self.folder, self.bus, self.wrapper = folder, bus, list(wrapper)
        self.config = write_config(folder / "plugd.conf", settings)
        self.log_file = folder / "plugd.log"
        self.state = folder / "state" / "plugd"
        self.runtime = folder / "runtime" / "plugd"
        for name in ("state", "runtime"):
            (folder / name).mkdir(mode=0o700, exist_ok=True)
        self.environment = {
            **{key: value for key, value in os.environ.items() if key not in ("CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM")},
            "DBUS_SESSION_BUS_ADDRESS": bus.address,
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_RUNTIME_DIR": str(folder / "runtime"),
            "HOME": str(folder),
            "PLUGD_PLUGIN_DIR": str(plugins),
            "PLUGD_WORKER": str(WORKER),
            "PLUGD_DAEMON": str(DAEMON),
            **(environment or {}),
        }
        self.process = None

    # --- its life ---------------------------------------------------------------------------------------------------

    def start(self, *arguments):
        assert self.process is None
        with open(self.log_file, "a") as log:
            self.process = subprocess.Popen([*self.wrapper, str(DAEMON), "--user", "--config", str(self.config), "--log-level", "debug", *arguments],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, cwd="/")
        return self

    @property
    def pid(self):
        return self.process.pid

    def stop(self, timeout=10.0):
        """SIGTERM, as systemd does it. Returns the exit code."""
        process, self.process = self.process, None
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"plugd had not stopped {timeout:g} s after SIGTERM") from None

    def kill(self):
        process, self.process = self.process, None
        workers = children(process.pid)
        process.kill()
        process.wait()
        # Its workers see the end of their socket.
        wait_for(lambda: not any(process_alive(pid) for pid in workers), "workers end after their daemon")

    def wait_exit(self, timeout=20.0):
        process, self.process = self.process, None
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"plugd still ran after {timeout:g} s") from None

    def restart(self):
        assert self.stop() == 0
        return self.start()

    def cleanup(self):
        if self.process:
            workers = children(self.process.pid)
            self.process.kill()
            self.process.wait()
            for pid in workers:
                if process_alive(pid):
                    os.kill(pid, signal.SIGKILL)
            self.process = None

    # --- what it says -----------------------------------------------------------------------------------------------

    @property
    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def objects(self):
        result = self.bus.busctl("call", NAME, PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
        return plain(json.loads(result.stdout)["data"][0])

    def properties(self, interface=MANAGER, path=PATH):
        result = self.bus.busctl("call", NAME, path, "org.freedesktop.DBus.Properties", "GetAll", "s", interface)
        return plain(json.loads(result.stdout)["data"][0])

    def get(self, name):
        return self.properties()[name]

    def sensor(self, name):
        return self.properties(SENSOR, f"{PATH}/sensors/{name}")

    def call(self, method, signature="", *arguments, path=PATH, interface=MANAGER, check=True):
        signed = [signature, *arguments] if signature else []
        result = self.bus.busctl("call", NAME, path, interface, method, *signed, check=check)
        if not check:
            return result
        return plain(json.loads(result.stdout)["data"]) if result.stdout.strip() else None

    def publish(self, channel, data):
        return self.call("Publish", "ss", channel, json.dumps(data))[0]

    def ctl(self, *arguments, timeout=30):
        result = subprocess.run([str(CTL), "--user", *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                                text=True, env=self.environment, timeout=timeout)
        assert not SANITIZER.search(result.stderr), result.stderr
        return result

    def wait_state(self, state, timeout=20.0):
        wait_for(lambda: self.get("State") == state, f"State is {state}", timeout)

    def wait_online(self, timeout=20.0):
        self.wait_state("online", timeout)
        return self

    def wait_error(self, *texts, timeout=20.0):
        """LastError holds all of the texts. Returns it."""
        def holds():
            error = self.get("LastError")
            return error if all(text in error for text in texts) else None
        return wait_for(holds, f"LastError has {texts}", timeout)

    def wait_confirmed(self, timeout=20.0):
        """All that was published is confirmed, and the spool empty."""
        return wait_for(lambda: self.get("SpoolMessages") == 0, "the spool is empty", timeout)

    def workers(self):
        """{sensor: pid}: the sensor's name is an element of the worker's argv."""
        names = [path.rsplit("/", 1)[1] for path in self.objects() if path.startswith(PATH + "/sensors/")]
        found = {}
        for pid, argv in children(self.pid).items():
            for name in names:
                if name in argv[1:]:
                    found[name] = pid
        return found

    def worker(self, name, timeout=10.0):
        return wait_for(lambda: self.workers().get(name), f"{name} has a worker", timeout)


def make_folder():
    """Short, for sockets, and open to other users for those tests that have some."""
    folder = Path(tempfile.mkdtemp(prefix="plugd-"))
    folder.chmod(0o755)
    return folder


def remove_folder(folder):
    shutil.rmtree(folder, ignore_errors=True)
