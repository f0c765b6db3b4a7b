# SPDX-License-Identifier: Apache-2.0
"""What tests/lab.sh does, once the packages are there."""

import argparse
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import gateway
from machine import HERE, RELEASES, CommandError, LabError, Machine, make

PRODUCTS = ("system", "snapshot", "package", "tools")


def cache():
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("PLUGD_LAB_CACHE") or Path(home) / "plugd" / "lab")


def build(options):
    for product in PRODUCTS:
        begin = time.monotonic()
        folder = make(product, options.release)
        print(f"{product} {time.monotonic() - begin:.1f} s {folder}", flush=True)
    return 0


def clean(_):
    """All but what somebody uses, or makes, at this moment."""
    held = []

    def free(path):
        held.append(os.open(path, os.O_RDONLY))
        try:
            fcntl.flock(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"lab.sh: {path} is in use, and stays", file=sys.stderr)
            return False
        return True

    # Who makes a product has its lock, and keeps what it makes in a folder that nobody has locked.
    products = [path.stem for path in cache().glob("*.lock") if free(path)]
    for product in products:
        for folder in [*cache().glob(f"making-{product}.*"), *cache().glob(f"{product}-{'?' * 16}")]:
            if free(folder):
                shutil.rmtree(folder)
    for descriptor in held:
        os.close(descriptor)
    return 0


def with_machine(options, act):
    machine = Machine(options.release, snapshot=options.snapshot)
    try:
        machine.start()
        if options.plugd:
            gateway.install(machine)
        print("lab: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in machine.times.items()), file=sys.stderr, flush=True)
        return act(machine)
    finally:
        machine.stop(keep=options.keep)
        if options.keep and machine.folder:
            print(f"lab: console log and disk stay in {machine.folder}", file=sys.stderr)


def run(options):
    if not options.command:
        raise LabError("run needs a command")
    # One word is a line for the shell, as with ssh.
    line = options.command[0] if len(options.command) == 1 else shlex.join(options.command)
    return with_machine(options, lambda machine: machine.interactive(line))


def shell(options):
    return with_machine(options, lambda machine: machine.interactive(terminal=sys.stdin.isatty()))


def test(options):
    # Made here, where it says so, and outside of the tests' limits of time.
    for product in PRODUCTS:
        make(product, options.release)
    command = [sys.executable, "-m", "pytest", "-c", str(HERE / "pytest.ini"), f"--release={options.release}", *options.command]
    # pytest's options may come without a file: then it is all of the lab's tests.
    if not any(word.split("::")[0].endswith(".py") for word in options.command):
        command.append(str(HERE))
    return subprocess.run(command).returncode


def parse():
    parser = argparse.ArgumentParser(prog="lab.sh", allow_abbrev=False, add_help=False)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, act in {"build": build, "run": run, "shell": shell, "test": test, "clean": clean}.items():
        verb = verbs.add_parser(name, allow_abbrev=False, add_help=False)
        verb.set_defaults(act=act, command=[])
        verb.add_argument("--release", choices=RELEASES, default=RELEASES[0])
        if name in ("run", "shell"):
            verb.add_argument("--no-snapshot", dest="snapshot", action="store_false")
            verb.add_argument("--no-plugd", dest="plugd", action="store_false")
            verb.add_argument("--keep", action="store_true")
        if name == "run":
            verb.add_argument("command", nargs=argparse.REMAINDER)
    options, rest = parser.parse_known_args()
    if options.verb == "test":
        options.command = rest
    elif rest:
        parser.error(f"unknown argument {rest[0]}")
    if options.command[:1] == ["--"]:
        del options.command[0]
    return options


def on_signal(number, _):
    sys.exit(128 + number)


def main():
    options = parse()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    try:
        return options.act(options)
    except (LabError, CommandError, AssertionError) as error:
        print(f"lab.sh: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
