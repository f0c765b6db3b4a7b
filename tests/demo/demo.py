#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs plugd for a while and shows what it does. tests/demo.sh builds it and says what the options mean."""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "scenarios"), str(TESTS / "platform"), str(TESTS / "demo")]

MODEL, PASS = "mod-0123456789abcdef01234567", "demo/Pa55=word"
LOOK_SEC = 0.5
SILENCE_SEC, SETTLE_SEC = 86400, 5
STATUS_CHANNEL = "status"  # of will and birth, by default


def parse(arguments):
    parser = argparse.ArgumentParser(prog="demo.sh", add_help=False, allow_abbrev=False,
                                     usage="demo.sh [OPTIONS]; demo.sh --help lists them")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--forever", action="store_true")
    parser.add_argument("--server")
    parser.add_argument("--port", type=int)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--ca", type=os.path.abspath)
    parser.add_argument("--model")
    parser.add_argument("--pass-file", type=os.path.abspath)
    parser.add_argument("--plug-id")
    parser.add_argument("--auth-file", type=os.path.abspath)
    parser.add_argument("--hwid", default="auto")
    parser.add_argument("--name", default=re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()) or "demo")
    parser.add_argument("--state", type=Path)
    parser.add_argument("--check-arguments", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    enrol = (options.model, options.pass_file)
    login = (options.plug_id, options.auth_file)
    if options.server:
        if not (all(enrol) and not any(login) or all(login) and not any(enrol)):
            parser.error("--server needs --model and --pass-file to enrol with, or --plug-id and --auth-file to log in")
        for file in (options.pass_file, options.auth_file, options.ca):
            if file and not os.access(file, os.R_OK):
                parser.error(f"{file} can't be read")
    elif any(enrol + login) or options.port or options.plain or options.ca or options.state:
        parser.error("--port, --plain, --ca, --model, --plug-id and the like go with --server")
    if options.seconds is None:
        options.seconds = 30
    elif options.forever:
        parser.error("--seconds and --forever: one of them")
    if options.seconds <= 0:
        parser.error("--seconds is more than 0")
    return options


def sensors():
    return [
        {"name": "machine", "plugin": "system", "channel": "Machine", "interval": 5},
        {"name": "counter", "plugin": "sim", "channel": "Demo/Counter", "interval": 1, "wave": "counter"},
        {"name": "tide", "plugin": "sim", "channel": "Demo/Tide", "interval": 1, "wave": "sine"},
        {"name": "walk", "plugin": "sim", "channel": "Demo/Walk", "interval": 2.5, "wave": "walk"},
    ]


def fit(text, width):
    return text if len(text) <= width else text[:width - 1] + "…"


def short(value, width=14):
    return fit(f"{value:.4g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False), width)


def clock(msec):
    return time.strftime("%H:%M:%S", time.localtime(msec / 1000)) + f".{msec % 1000:03d}"


class Picture:
    """What is known of the gateway at one look."""

    def __init__(self, gateway, harness, before):
        objects = gateway.objects()
        self.manager = gateway.properties()
        self.sensors = {members[harness.SENSOR]["Name"]: members[harness.SENSOR]
                        for members in objects.values() if harness.SENSOR in members}
        self.before = before

    def changed(self, name):
        return self.before is None or self.before.manager[name] != self.manager[name]


class Lines:
    """One plain line an event, the Plug-ID first."""

    def __init__(self, options):
        self.plug_id = None

    def line(self, text):
        print(f"{self.plug_id} {text}", flush=True)

    def show(self, picture, arrivals, totals, left):
        manager = picture.manager
        if not self.plug_id:
            # Nothing can begin with a Plug-ID before there is one; trouble is said on stderr meanwhile.
            if manager["LastError"] and picture.changed("LastError"):
                print(f"demo.sh: {manager['State']}: {manager['LastError']}", file=sys.stderr, flush=True)
            if not manager["PlugId"]:
                return
            self.plug_id = manager["PlugId"]
            self.line(f"enrolled hwid={manager['HardwareId']} name={manager['Name']} server={manager['Server']}")
            self.line(f"state {manager['State']}")
        elif picture.changed("State"):
            self.line(f"state {manager['State']}")
        if manager["LastError"] and picture.changed("LastError"):
            self.line(f"error {manager['LastError']}")
        for name, sensor in sorted(picture.sensors.items()):
            old = picture.before and picture.before.sensors.get(name)
            if not old or old["State"] != sensor["State"]:
                self.line(f"sensor {name} {sensor['State']}" + (f" ({sensor['LastError']})" if sensor["LastError"] else ""))
            if not old or old["LastSampleAt"] != sensor["LastSampleAt"]:
                for channel, value in sorted(sensor["Values"].items()):
                    self.line(f"read {channel} {json.dumps(value)}")
        for row in arrivals:
            self.line(f"arrived {row.channel} {row.data} id={row.id} at={row.at}")
        if picture.changed("Published"):
            self.line(f"published {manager['Published']}")
        if picture.changed("Confirmed"):
            self.line(f"confirmed {manager['Confirmed']} (in the spool: {manager['SpoolMessages']})")

    def end(self, summary):
        if self.plug_id:
            self.line(summary)
        else:
            print(f"demo.sh: {summary}", file=sys.stderr, flush=True)


class Screen:
    """A live view that is drawn over itself."""

    COLOURS = {"online": 32, "running": 32, "refused": 31, "enrolment-failed": 31, "failing": 31, "silent": 33}

    def __init__(self, options):
        self.options, self.height, self.latest = options, 0, []
        self.started = time.monotonic()
        sys.stdout.write("\033[?25l")

    def state(self, text):
        return f"\033[{self.COLOURS.get(text, 33)}m{text}\033[0m"

    def show(self, picture, arrivals, totals, left):
        manager = picture.manager
        self.latest = (self.latest + [f"  {clock(row.at)}  {fit(row.channel, 30):<30} {fit(row.data, 16):<16} id {row.id}" for row in arrivals])[-4:]
        time_left = "until Ctrl-C" if left is None else f"{max(left, 0):.0f} s left, Ctrl-C ends it"
        lines = [
            f"\033[1mplugd demo\033[0m   {time_left}",
            "",
            f"  1 enrolled   {manager['PlugId'] or '-'}   (hardware id {manager['HardwareId']})",
            f"    connected  {self.state(manager['State'])} at {manager['Server']}"
            + (", TLS" if manager["Secure"] else ", plain MQTT" if manager["State"] == "online" else ""),
        ]
        if manager["LastError"]:
            lines.append(f"               {manager['LastError']}")
        rows = [f"               {fit(channel, 30):<30}  {short(value):<14} {sensor['Samples']:>7}  {name} " + self.state(sensor["State"])
                for name, sensor in sorted(picture.sensors.items(), key=lambda item: (len(item[1]["Values"]), item[0]))
                for channel, value in sorted(sensor["Values"].items()) or [("-", None)]]
        tail = [
            "",
            f"  3 published  {manager['Published']:>7}   handed to the connection",
            f"    confirmed  {manager['Confirmed']:>7}   the server has read them: gone from the spool",
            f"    spool      {manager['SpoolMessages']:>7}   written before they were published, not confirmed yet"
            + (f"; {manager['Dropped']} dropped" if manager["Dropped"] else ""),
        ]
        if totals is not None:
            tail += ["", f"  4 at the platform: {totals} messages; the last of them"] + self.latest
        # What doesn't fit are readings.
        room = shutil.get_terminal_size((100, 40)).lines - 1 - len(lines) - 2 - len(tail)
        if len(rows) > max(room, 1):
            rows = rows[:max(room - 1, 1)] + [f"               … and {len(rows) - max(room - 1, 1)} more"]
        lines += ["", "  2 read       channel                         value          samples  sensor"] + rows + tail
        self.draw(lines)

    def draw(self, lines):
        width, height = shutil.get_terminal_size((100, 40))
        lines = [self.cut(line, width) for line in lines[:max(height - 1, 5)]]
        text = f"\033[{self.height}A" if self.height else ""
        text += "".join(f"\r\033[K{line}\n" for line in lines) + "\033[J"
        self.height = len(lines)
        sys.stdout.write(text)
        sys.stdout.flush()

    @staticmethod
    def cut(line, width):
        """At most `width` columns; colours take none."""
        out, column = [], 0
        for part in re.split(r"(\033\[\d*m)", line):
            if part.startswith("\033"):
                out.append(part)
            else:
                out.append(part[:max(width - column, 0)])
                column += len(part)
        return "".join(out)

    def end(self, summary):
        sys.stdout.write("\033[?25h")
        print("\n" + summary, flush=True)


class Demo:
    def __init__(self, options):
        import harness

        self.options, self.harness = options, harness
        self.folder = harness.make_folder()
        self.folder.chmod(0o700)
        self.platform = self.bus = self.gateway = self.picture = None
        self.arrived = self.messages = 0  # the last seen, and how many beside the gateway's own status

    def start(self):
        options = self.options
        environment = {}
        if options.server:
            server = {"host": options.server, "tls": {"ca": options.ca} if options.ca else not options.plain}
            if options.port:
                server["port"] = options.port
            device = {"hwid": options.hwid, "name": options.name}
            if options.model:
                device["enroll"] = {"as": "thing", "model": options.model, "pass_file": options.pass_file}
            else:
                device |= {"plug_id": options.plug_id, "auth_file": options.auth_file}
            state = options.state or Path("/var/lib/plugd-demo") / re.sub(
                r"[^A-Za-z0-9.-]", "-", f"{options.server}-{options.port or 'default'}-{options.model or options.plug_id}")
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            environment["XDG_STATE_HOME"] = str(state.absolute())
            print(f"demo.sh: credentials and what is not sent yet stay in {state} for the next run", file=sys.stderr, flush=True)
        else:
            os.environ["PLUGD_PLATFORM_SO"] = str(self.harness.PLATFORM / "platform.so")
            from standin import StandIn, template

            self.platform = StandIn(state=self.folder / "platform", templates=[template(MODEL, PASS)]).start()
            server = {"host": self.platform.host, "port": self.platform.port, "tls": False}
            device = {"hwid": options.hwid, "name": options.name, "enroll": {"as": "thing", "model": MODEL, "pass": PASS}}
        self.bus = self.harness.Bus(self.folder)
        self.gateway = self.harness.Gateway(self.folder, self.bus, {"server": server, "device": device, "sensors": sensors()},
                                            environment=environment)
        self.gateway.start()
        self.harness.wait_for(self.look, "plugd is on the bus", 20)

    def look(self):
        if self.gateway.process.poll() is not None:
            raise RuntimeError(f"plugd has ended with exit code {self.gateway.process.returncode}")
        try:
            self.picture = Picture(self.gateway, self.harness, self.picture)
        except (self.harness.BusError, LookupError, ValueError):
            return False
        return True

    def arrivals(self):
        if not self.platform:
            return []
        rows = self.platform.arrivals(since=self.arrived)
        if rows:
            self.arrived = rows[-1].seq
        self.messages += sum(row.channel != STATUS_CHANNEL for row in rows)
        return rows

    def watch(self, view):
        end = None if self.options.forever else time.monotonic() + self.options.seconds
        self.picture = None
        while end is None or time.monotonic() < end:
            if self.look():
                self.show(view, end and end - time.monotonic())
            time.sleep(LOOK_SEC)

    def show(self, view, left):
        view.show(self.picture, self.arrivals(), self.messages if self.platform else None, left)

    def settle(self, view):
        """Nothing new is read, and what was read gets the time to be confirmed: the sums come out even."""
        for name in self.picture.sensors:
            self.gateway.bus.busctl("set-property", self.harness.NAME, f"{self.harness.PATH}/sensors/{name}",
                                    self.harness.SENSOR, "Interval", "d", SILENCE_SEC)
        deadline = time.monotonic() + SETTLE_SEC
        while time.monotonic() < deadline:
            if self.look():
                self.show(view, 0)
                if self.picture.manager["SpoolMessages"] == 0 or self.picture.manager["State"] != "online":
                    break
            time.sleep(LOOK_SEC)

    def verdict(self):
        """(did it work, a sentence)."""
        if not self.picture:
            return False, "plugd did not come up"
        manager = self.picture.manager
        read = sum(sensor["Samples"] for sensor in self.picture.sensors.values())
        done = {"enrolled": bool(manager["PlugId"]), "read": read, "published": manager["Published"],
                "confirmed": manager["Confirmed"]}
        text = ", ".join([f"{'enrolled' if done['enrolled'] else 'not enrolled'}", f"{read} read",
                          f"{manager['Published']} published", f"{manager['Confirmed']} confirmed",
                          f"{manager['SpoolMessages']} in the spool", f"{manager['Dropped']} dropped"])
        if self.platform:
            done["arrived"] = self.messages
            text += f", {self.messages} at the platform"
        missing = [name for name, count in done.items() if not count]
        if missing:
            text += f"; nothing was {' or '.join(missing)}" + f": the gateway is {manager['State']}" + (
                f": {manager['LastError']}" if manager["LastError"] else "")
        return not missing, "summary: " + text

    def close(self):
        for end in (self.gateway and self.gateway.process and self.gateway.stop, self.bus and self.bus.stop,
                    self.platform and self.platform.close):
            try:
                if end:
                    end()
            except AssertionError as error:
                print(f"demo.sh: {error}", file=sys.stderr)
        self.harness.remove_folder(self.folder)


def main():
    options = parse(sys.argv[1:])
    if options.check_arguments:
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    view, demo, good, summary = None, Demo(options), False, ""
    try:
        demo.start()
        view = Screen(options) if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" else Lines(options)
        demo.watch(view)
        demo.settle(view)
    except KeyboardInterrupt:
        pass
    except (RuntimeError, OSError, AssertionError) as error:
        print(f"demo.sh: {error}", file=sys.stderr)
        if demo.gateway:
            print(f"demo.sh: the last of plugd's log:\n{demo.gateway.log[-2000:]}", file=sys.stderr)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        good, summary = demo.verdict()
        try:
            if view:
                view.end(summary)
            else:
                print(f"demo.sh: {summary}", file=sys.stderr)
        except OSError:
            sys.stdout = open(os.devnull, "w")
        demo.close()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
