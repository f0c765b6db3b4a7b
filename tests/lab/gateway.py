# SPDX-License-Identifier: Apache-2.0
"""plugd in a guest of the lab, installed as a user would have it, and the platform's stand-in beside it.

    install(machine)
    with StandIn(machine, templates=[…]) as platform:
        configure(machine, platform, sensors=[…])
        platform.wait_arrivals(3, channel="Door/Front")
"""

import base64
import json
import select
import subprocess
import threading
import time

from machine import HERE, LAB, CommandError, LabError, end_with_parent, make
from harness import to_libconfig, wait_for
from tables import Row

MODEL = "mod-0123456789abcdef01234567"
PASS = "aB3/kL9=s3cr3t"
HWID = "lab-0001"
PORT = 1883
TLS_PORT = 8883


def install(machine):
    """plugd's package, and the tests' tools. `member` is in plugd's group then, `visitor` isn't."""
    begin = time.monotonic()
    package, tools = make("package", machine.release), make("tools", machine.release)
    machine.products |= {"package": package, "tools": tools}
    machine.put_tree(HERE / "guest", f"{LAB}/guest", "*.py")
    machine.put_tree(HERE.parent / "platform", f"{LAB}/platform", "*.py")
    machine.put_tree(tools / "tools", LAB)
    debs = [path for path in package.glob("plugd_*.deb")]
    if len(debs) != 1:
        raise LabError(f"{package} should have one package of plugd, and has {debs}")
    machine.put(debs[0], "/tmp/plugd.deb")
    began = time.monotonic()
    machine.run("DEBIAN_FRONTEND=noninteractive dpkg -i /tmp/plugd.deb && rm /tmp/plugd.deb", timeout=180)
    machine.times["dpkg"] = time.monotonic() - began
    machine.run(f"usermod -aG plugd member && cp {LAB}/plugins/*.so /usr/lib/*-linux-gnu/plugd/plugins/ && cp /etc/plugd/plugd.conf {LAB}/")
    machine.times["install"] = time.monotonic() - begin


def in_time(rows):
    """Arrivals in the order of their times, each once: where some had waited, the newest is sent first, and once more."""
    return sorted({row.id: row for row in rows}.values(), key=lambda row: row.at)


class StandIn:
    """The stand-in of tests/platform, run in the guest. Has the methods of the StandIn there, and its `port`.

    It ends with the connection to the guest; after a reboot start() brings it back, with what was stored. `prefix`: words
    before its command, as those that take it into a network namespace."""

    def __init__(self, machine, state="/var/lib/standin", port=PORT, prefix="", **options):
        self.machine, self._prefix = machine, prefix
        self._options = {"state": state, "port": port, **options}
        self._process = None
        self._lock = threading.Lock()

    def start(self):
        command = [*self.machine.ssh_command(), "root@127.0.0.1",
                   f"PLUGD_PLATFORM_SO={LAB}/platform/platform.so exec {self._prefix} python3 {LAB}/guest/standin_agent.py"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=end_with_parent)
        self._ask(self._options, 60)
        return self

    def _ask(self, request, timeout):
        with self._lock:
            if not self._process:
                raise LabError("the stand-in doesn't run")
            try:
                self._process.stdin.write(json.dumps(request).encode() + b"\n")
                self._process.stdin.flush()
            except OSError:
                raise LabError("the stand-in's connection is closed") from None
            ready, _, _ = select.select([self._process.stdout], [], [], timeout)
            line = self._process.stdout.readline() if ready else b""
        if not line:
            self.abandon()
            raise LabError(f"the stand-in has not answered to {request} within {timeout:g} s" if not ready else "the stand-in has ended")
        answer = json.loads(line, object_hook=_decode)
        if "error" in answer:
            raise {"TimeoutError": TimeoutError}.get(answer["kind"], LabError)(answer["error"])
        return answer["result"]

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        if name in ("port", "tls_port", "host", "pid", "running"):
            return self._ask({"get": name}, 30)

        def call(*arguments, **options):
            return self._ask({"call": name, "arguments": arguments, "options": options}, options.get("timeout", 10) + 60)
        return call

    def wait_for(self, predicate, timeout=30.0, what=None):
        """As the other: predicate() runs here."""
        return wait_for(predicate, what or "what the stand-in is waited for", timeout)

    def certificate(self, name="ca"):
        return self._ask({"certificate": name}, 30)

    def abandon(self):
        """Without a word to it, as after a power cut."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process.stdin.close()
            self._process.stdout.close()
            self._process = None

    def close(self):
        if self._process:
            try:
                self._process.stdin.close()
                self._process.wait(20)
            except (OSError, subprocess.TimeoutExpired):
                pass
            self.abandon()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()


def _decode(value):
    if set(value) == {"base64"}:
        return base64.b64decode(value["base64"])
    return Row(value["row"]) if set(value) == {"row"} else value


def configure(machine, platform=None, sensors=(), server=None, device=None, online=True, timeout=60.0, **more):
    """Writes plugd.conf as the README tells a user to: enrolment with the pass in the credential store. `server` and
    `device` are merged in, None takes a key out; `more` are other groups. Restarts the service, waits until it is online."""
    def merge(base, changes):
        return {key: value for key, value in {**base, **(changes or {})}.items() if value is not None}
    settings = {
        "server": merge({"host": "127.0.0.1", "port": platform.port if platform else PORT, "tls": False}, server),
        "device": merge({"hwid": HWID, "name": "lab", "enroll": {"as": "thing", "model": MODEL}}, device),
        **more,
    }
    if sensors:
        settings["sensors"] = list(sensors)
    machine.run("mkdir -p -m 700 /etc/credstore")
    machine.put(PASS, "/etc/credstore/plugd.pass", 0o600)
    machine.put("".join(f"{key} = {to_libconfig(value)};\n" for key, value in settings.items()), "/etc/plugd/plugd.conf")
    restart(machine, online, timeout)


def reset(machine):
    """plugd as its package left it, but stopped: no configuration, nothing stored."""
    machine.run("systemctl stop plugd; systemctl reset-failed plugd 2>/dev/null; "
                "rm -rf /var/lib/plugd/* /run/plugd/* /etc/plugd/sensors.d/* /etc/credstore/plugd.*; "
                f"cp {LAB}/plugd.conf /etc/plugd/plugd.conf", timeout=90)


def restart(machine, online=True, timeout=60.0):
    result = machine.run("systemctl restart plugd", check=False, timeout=timeout)
    if result.status != 0:
        raise CommandError(f"plugd doesn't start:\n{result.stderr}{machine.journal()[-4000:]}")
    if online:
        wait_state(machine, "online", timeout)


def status(machine):
    """What plugctl says of the gateway: a dict with the names of D-Bus."""
    return json.loads(machine.out("plugctl --json status"))


def sensor(machine, name):
    return json.loads(machine.out(["plugctl", "--json", "show", name]))


def wait_sensor(machine, name, timeout=60.0, **properties):
    """Until these properties of it are so; True: not empty."""
    def holds():
        shown = sensor(machine, name)
        return shown if all(shown[key] == value or value is True and shown[key] for key, value in properties.items()) else None
    return wait_for(holds, f"sensor {name} has {properties}", timeout, 0.3)


def wait_error(machine, name, *texts, timeout=60.0):
    """Until LastError has all the texts; returns it."""
    def holds():
        error = sensor(machine, name)["LastError"]
        return error if error and all(text in error for text in texts) else None
    return wait_for(holds, f"LastError of {name} has {texts}", timeout, 0.3)


def wait_state(machine, state="online", timeout=60.0):
    """In the guest, so that it costs one command."""
    result = machine.run(f"until busctl get-property com.cloudplugs.Gateway1 /com/cloudplugs/Gateway1 com.cloudplugs.Gateway1.Manager State "
                         f"2>/dev/null | grep -qx 's \"{state}\"'; do sleep 0.1; done", check=False, timeout=timeout)
    if result.status != 0:
        shown = machine.run("plugctl status", check=False)
        raise CommandError(f"plugd is not {state} after {timeout:g} s:\n{shown.stdout}{shown.stderr}{machine.journal()[-4000:]}")
