# SPDX-License-Identifier: Apache-2.0
"""The platform's stand-in: starts a mosquitto with platform.so, tells it what to do wrong, and reads what came.

    with StandIn(templates=[template("mod-…", "pass")]) as server:
        ... connect something to server.host, server.port ...
        server.wait_arrivals(3, channel="Door/Front")

README.md beside this file has the rest. Python's standard library only."""

import argparse
import ctypes
import json
import os
import pathlib
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import certificates  # noqa: E402
import mqtt  # noqa: E402
from tables import Tables  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
CONTROL_TOPIC = "$CONTROL/platform/v1"
UNIX_PATH_MAX = 100


def plugin_path():
    given = os.environ.get("PLUGD_PLATFORM_SO")
    return pathlib.Path(given) if given else HERE.parent.parent / "build/tests/platform/platform.so"


def template(model, password, allow="both"):
    return {"model": model, "pass": password, "allow": allow}


def device(plug_id, auth, hwid, name="", model=None, thing=None):
    return {k: v for k, v in locals().items() if v is not None}


def free_port(host="127.0.0.1"):
    with socket.socket() as s:
        s.bind((host, 0))
        return s.getsockname()[1]


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class ControlError(Exception):
    """The stand-in refused a command."""


class Control:
    """The control connection: MQTT on a Unix-domain socket, one JSON object each way."""

    def __init__(self, path, password, timeout=10.0):
        self._path, self._password, self._timeout = path, password, timeout
        self._client = None
        self._lock = threading.Lock()

    def call(self, cmd, **arguments):
        with self._lock:
            try:
                return self._call(cmd, arguments)
            except (mqtt.Closed, OSError):
                self.close()
                raise

    def _call(self, cmd, arguments):
        if not self._client:
            self._client = mqtt.Client(self._path, timeout=self._timeout)
            code = self._client.connect(f"$admin-{os.getpid()}-{id(self):x}", "$admin", self._password, keepalive=0)
            if code:
                raise ControlError(f"control connection refused: {code}")
        tag = secrets.token_hex(4)
        self._client.publish(CONTROL_TOPIC, json.dumps({"cmd": cmd, **arguments, "tag": tag}))
        while True:
            _, payload = self._client.message()
            answer = json.loads(payload)
            if answer.pop("tag", None) == tag:
                break
        if not answer.pop("ok"):
            raise ControlError(answer.get("error"))
        return answer

    def close(self):
        if self._client:
            self._client.close()
            self._client = None


class Orders:
    """What a test may order. Each returns when it is in force."""

    def control(self, cmd, **arguments):
        return self._control.call(cmd, **arguments)

    def fault(self, point, mode, count=1, **details):
        """See README.md: e.g. fault("login", "refuse", code=4), fault("enrol", "error", code=7, msg="no"),
        fault("enrol", "delay", delay_ms=500). `count` strikes; -1 until clear()."""
        self.control("fault", point=point, mode=mode, count=count, **details)

    def withhold(self, packet, count=1):
        """Hold back the next packets of that type: CONNACK, PUBLISH, SUBACK, UNSUBACK, PINGRESP. -1: until clear()."""
        self.control("withhold", packet=packet, count=count)

    def clear(self):
        self.control("clear")

    def kick(self, client=None, login=None, will=False):
        """Close connections by client id or by Plug-ID or e-mail; all without either. Returns how many."""
        arguments = {k: v for k, v in {"client": client, "login": login}.items() if v is not None}
        return self.control("kick", will=will, **arguments)["kicked"]

    def switch(self, **switches):
        self.control("set", switches=switches)

    def permissions(self, *rules):
        """Replaces all rules: {"who", "do": "publish"|"subscribe"|"property", "of", "channel", "permit": false}."""
        self.control("set", permissions=list(rules))

    def templates(self, *templates):
        self.control("set", templates=list(templates))

    def add_device(self, plug_id, auth, hwid, name="", model=None, thing=None):
        self.control("device", **device(plug_id, auth, hwid, name, model, thing))

    def forget(self, plug_id):
        self.control("forget", plug_id=plug_id)

    def publish(self, topic, payload, raw=False):
        """As if it came by another way than MQTT. `raw` delivers any text, and stores nothing."""
        self.control("publish", topic=topic, payload=payload if isinstance(payload, str) else json.dumps(payload),
                     raw=raw)

    def status(self):
        return self.control("status")


class StandIn(Tables, Orders):
    def __init__(self, state=None, port=0, tls_port=None, host="127.0.0.1", templates=(), devices=(), users=(),
                 permissions=(), switches=None, server_certificate="good", require_certificate=False,
                 certificate_dir=None, plain=True, plugin=None, mosquitto=None, preload=True):
        """Port 0: any free one, kept over restarts. `tls_port` None: no TLS. Without `state` a temporary directory
        is used, and removed at the end."""
        self._own_state = state is None
        self.state = pathlib.Path(state or tempfile.mkdtemp(prefix="platform-")).absolute()
        self.state.mkdir(parents=True, exist_ok=True)
        super().__init__(str(self.state / "platform.db"))
        self.host, self.plain = host, plain
        self._asked_port, self._asked_tls_port = port, tls_port
        self.port, self.tls_port = port or None, tls_port or None
        self.server_certificate, self.require_certificate = server_certificate, require_certificate
        self.certificates, self._preload = None, preload
        self.log_path = self.state / "mosquitto.log"
        self.plugin = pathlib.Path(plugin or plugin_path()).absolute()
        self._mosquitto = mosquitto or shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if tls_port is not None:
            self.certificates = certificates.make(certificate_dir or self.state / "certificates")
        self._socket_dir = None
        self._control_path = self.state / "control.sock"
        if len(str(self._control_path)) > UNIX_PATH_MAX:
            self._socket_dir = tempfile.mkdtemp(prefix="platform-")
            self._control_path = pathlib.Path(self._socket_dir) / "control.sock"
        admin = secrets.token_hex(16)
        self.config = {"database": self.path, "admin": admin, "templates": list(templates),
                       "devices": list(devices), "users": list(users), "permissions": list(permissions),
                       "switches": dict(switches or {})}
        self._control = Control(self._control_path, admin)
        self._process = None

    # --- starting and ending

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    @property
    def pid(self):
        return self._process.pid if self._process else None

    @property
    def running(self):
        return self._process is not None and self._process.poll() is None

    def start(self):
        if not self.plugin.exists():
            raise FileNotFoundError(f"{self.plugin} is not there: meson setup -Dtests=enabled builds it; "
                                    "PLUGD_PLATFORM_SO says where it is")
        if not self._mosquitto:
            raise FileNotFoundError("mosquitto is not installed")
        (self.state / "platform.json").write_text(json.dumps(self.config, indent=2))
        for attempt in range(5):
            self._choose_ports()
            try:
                self._launch()
                break
            except RuntimeError:
                # Somebody else took the free port first; one that was asked for is not exchanged for another.
                if attempt == 4 or (self._asked_port and (self._asked_tls_port is None or self._asked_tls_port)):
                    raise
                self.port, self.tls_port = self._asked_port or None, self._asked_tls_port or None
        (self.state / "standin.json").write_text(json.dumps({
            "pid": self.pid, "host": self.host, "port": self.port, "tls_port": self.tls_port,
            "control": str(self._control_path), "admin": self.config["admin"]}))
        return self

    def _choose_ports(self):
        if self.plain and not self.port:
            self.port = free_port(self.host)
        if self._asked_tls_port is not None and not self.tls_port:
            self.tls_port = free_port(self.host)

    def _write_conf(self):
        # Not max_queued_messages 0: 2.0.11 then closes the connection of whoever publishes and is denied.
        lines = ["per_listener_settings false", "persistence false", "sys_interval 0", "max_queued_messages 1000000",
                 "set_tcp_nodelay true", "allow_anonymous true", f"log_dest file {self.log_path}",
                 "log_type error", "log_type warning", "log_type notice", "log_type information",
                 "log_timestamp_format %Y-%m-%dT%H:%M:%S", f"plugin {self.plugin}",
                 f"plugin_opt_config {self.state / 'platform.json'}"]
        if os.geteuid() == 0:
            lines.append("user root")
        lines.append(f"listener 0 {self._control_path}")
        if self.plain:
            lines.append(f"listener {self.port} {self.host}")
        if self.tls_port:
            name = self.server_certificate
            lines += [f"listener {self.tls_port} {self.host}", f"cafile {self.certificates['ca']}",
                      f"certfile {self.certificates[name]}", f"keyfile {self.certificates[name + '_key']}",
                      f"require_certificate {'true' if self.require_certificate else 'false'}"]
        path = self.state / "mosquitto.conf"
        path.write_text("\n".join(lines) + "\n")
        return path

    def _launch(self):
        """Returns when mosquitto says READY=1, as it would to systemd. RuntimeError if it ends instead."""
        conf = self._write_conf()
        with tempfile.TemporaryDirectory(prefix="platform-") as directory, \
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, open(self.log_path, "ab") as log:
            notify.bind(f"{directory}/notify")
            environment = {**os.environ, "NOTIFY_SOCKET": f"{directory}/notify"}
            if self._preload:
                environment["LD_PRELOAD"] = str(self.plugin)
            main = threading.current_thread() is threading.main_thread()
            self._process = subprocess.Popen([self._mosquitto, "-c", str(conf)], env=environment,
                                             stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                             preexec_fn=_die_with_parent if main else None)
            pidfd = os.pidfd_open(self._process.pid)
            try:
                deadline = time.monotonic() + 20
                while True:
                    ready, _, _ = select.select([notify, pidfd], [], [], max(deadline - time.monotonic(), 0))
                    if notify in ready and b"READY=1" in notify.recv(4096):
                        return
                    if not ready or pidfd in ready:
                        break
            finally:
                os.close(pidfd)
        self.kill()
        tail = self.log_path.read_text(errors="replace").splitlines()[-5:]
        raise RuntimeError("mosquitto did not start: " + " | ".join(tail))

    def _wait(self, timeout):
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process = None
        self._control.close()

    def stop(self):
        """In good order; the database stays readable."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._wait(10)

    def kill(self):
        """SIGKILL. What came in the last moments (20 to 120 ms) may be missing from the tables."""
        if self._process:
            self._process.kill()
            self._wait(10)

    def restart(self, kill=False):
        """On the same ports, with what was stored; faults are forgotten."""
        self.kill() if kill else self.stop()
        return self.start()

    def freeze(self):
        """SIGSTOP: the kernel still acknowledges, nothing is read or answered. No orders until thaw()."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self._process.send_signal(signal.SIGCONT)

    def close(self):
        self.stop()
        self.close_tables()
        if self._socket_dir:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
        if self._own_state:
            shutil.rmtree(self.state, ignore_errors=True)

    def _listening(self):
        """Is it worth asking? Not when it is dead or stopped, by us or by another."""
        try:
            stat = pathlib.Path(f"/proc/{self._process.pid}/stat").read_text()
        except (AttributeError, OSError):
            return False
        return stat.rpartition(")")[2].split()[0] in "RSD"

    def query(self, sql, *values):
        """Rows of any SELECT, with everything that the stand-in has answered for up to now."""
        if self._listening():
            try:
                self.control("ping")
            except (TimeoutError, OSError, mqtt.Closed):
                pass
        return super().query(sql, *values)

    # --- conveniences

    @property
    def address(self):
        return self.host, self.port

    @property
    def tls_address(self):
        return self.host, self.tls_port

    def log(self):
        return self.log_path.read_text(errors="replace")

    def client(self, **arguments):
        """A raw MQTT client, connected on TCP."""
        return mqtt.Client(self.address, **arguments)


# --- by hand

def format_arrival(row):
    data = row.data if row.data is not None else repr(row.payload)
    note = "" if row.fate == "stored" else f" ({row.fate})"
    return f"{row.device or '-'} {row.channel or row.topic} {data} at={row.at} id={row.id}{' will' * row.will}{note}"


def format_event(row):
    parts = [row.device or "-", f"[{row.kind}]", row.topic, None if row.code is None else f"code={row.code}",
             row.detail, f"client={row.client}" if row.client else None]
    return " ".join(str(p) for p in parts if p is not None)


def follow(server, stop, arrival, event):
    """One line for each arrival and event after those, in the order of their times."""
    while not stop.is_set() and server.running:
        arrivals, events = server.arrivals(since=arrival, fate=None), server.events(since=event)
        arrival = arrivals[-1].seq if arrivals else arrival
        event = events[-1].seq if events else event
        for _, line in sorted([(r.time_us, format_arrival(r)) for r in arrivals] +
                              [(r.time_us, format_event(r)) for r in events], key=lambda pair: pair[0]):
            print(line, flush=True)
        stop.wait(0.05)


def show(state):
    tables = Tables(str(pathlib.Path(state) / "platform.db"))
    for row in tables.devices():
        kind = f"controller of {row.thing}" if row.thing else "thing"
        print(f"{row.plug_id} [device] hwid={row.hwid} name={row['name']} {kind}")
    for row in tables.records():
        print(f"{row.device} {row.channel} {row.data} at={row.at} id={row.id}")
    for row in tables.events():
        print(format_event(row))


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description="A stand-in for the CloudPlugs platform, on loopback.")
    parser.add_argument("--state", required=True, metavar="DIR", help="where database, log and certificates live")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--tls-port", type=int, metavar="PORT")
    parser.add_argument("--require-certificate", action="store_true", help="of TLS clients")
    parser.add_argument("--template", action="append", default=[], metavar="MODEL:PASS")
    parser.add_argument("--user", action="append", default=[], metavar="EMAIL:PASSWORD")
    parser.add_argument("--device", action="append", default=[], metavar="PLUG_ID:AUTH:HWID")
    parser.add_argument("--config", metavar="FILE", help="JSON: templates, devices, users, permissions, switches")
    parser.add_argument("--reenrol", action="store_true", help="a known HWID may enrol again")
    parser.add_argument("--hear-own", action="store_true", help="publishers hear their own messages")
    parser.add_argument("--plugin", help="platform.so (else PLUGD_PLATFORM_SO, else the build directory's)")
    parser.add_argument("--follow", action="store_true", help="print a line for each event and arrival")
    parser.add_argument("--show", action="store_true", help="print what DIR holds, and exit")
    parser.add_argument("--ctl", metavar="JSON", help="send a command to the stand-in that runs in DIR, and exit")
    return parser.parse_args(arguments)


def describe(options):
    """The platform that the command line asks for, on top of the file that it names."""
    given = json.loads(pathlib.Path(options.config).read_text()) if options.config else {}
    templates = [template(*t.split(":", 1)) for t in options.template]
    users = [dict(zip(("email", "password"), u.split(":", 1))) for u in options.user]
    devices = [device(*d.split(":", 2)) for d in options.device]
    switches = {name: True for name in ("reenrol", "hear_own") if getattr(options, name)}
    return {"templates": given.get("templates", []) + templates, "users": given.get("users", []) + users,
            "devices": given.get("devices", []) + devices, "permissions": given.get("permissions", []),
            "switches": {**given.get("switches", {}), **switches}}


def control_by_hand(state, text):
    about = json.loads((pathlib.Path(state) / "standin.json").read_text())
    try:
        print(json.dumps(Control(about["control"], about["admin"]).call(**json.loads(text)), indent=2))
    except ControlError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    return 0


def main(arguments=None):
    options = parse_arguments(arguments)
    if options.show:
        return show(options.state)
    if options.ctl:
        return control_by_hand(options.state, options.ctl)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    server = StandIn(state=options.state, port=options.port, tls_port=options.tls_port, plugin=options.plugin,
                     require_certificate=options.require_certificate,
                     **describe(options))
    with server:
        since = server.last_arrival(), server.last_event()
        print(f"mqtt://{server.host}:{server.port}", flush=True)
        if server.tls_port:
            print(f"mqtts://{server.host}:{server.tls_port} ca={server.certificates['ca']}", flush=True)
        print(f"database {server.path}", flush=True)
        if options.follow:
            follow(server, stop, *since)
        else:
            while server.running and not stop.wait(0.5):
                pass
        if not stop.is_set():
            print(f"mosquitto has ended; see {server.log_path}", file=sys.stderr)
    return 0 if stop.is_set() else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FileNotFoundError as error:
        sys.exit(f"standin.py: {error}")
