#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the house's floors against the #includes.

A room is a file and its parts: spool.c, spool-segment.c and spool-internal.h are the room "spool". Each room may
include what its floor allows, the header of a neighbour only where that is written below, and a foreign library only
where that library has its one home. A file that no rule knows is a mistake too.
"""

import re
import sys
from pathlib import Path

MODEL = {"config", "topic", "payload", "sample", "filter", "descriptor", "group", "latest", "paths", "ranges"}
SERVICES = {
    # room: the neighbours on its floor that it may know
    "host": set(),
    "spool": set(),
    "link": set(),
    "delivery": {"spool", "link"},
    "enrol": {"link"},
    "credentials": set(),
    "catalog": set(),
}
# room: all rooms it may know, beside itself
ROOMS = {room: MODEL | {"util", "abi"} for room in MODEL}
ROOMS["group"] = {"util", "abi"}
ROOMS["util"] = set()
ROOMS["wire"] = {"util", "abi", "group"}
for room, neighbours in SERVICES.items():
    ROOMS[room] = MODEL | {"util", "abi", "wire"} | neighbours
BELOW_MANAGER = MODEL | set(SERVICES) | {"util", "abi", "wire"}
ROOMS["manager"] = BELOW_MANAGER
ROOMS["bus"] = BELOW_MANAGER | {"manager", "names"}
ROOMS["main"] = BELOW_MANAGER | {"manager", "bus", "names", "log", "notify"}
ROOMS["notify"] = BELOW_MANAGER | {"manager"}
ROOMS["ctl"] = {"util", "payload", "names"}
ROOMS["worker"] = {"util", "abi", "wire", "group"}
ROOMS["plugin"] = {"abi", "i2c", "gpio-lines"}
ROOMS["gpio-lines"] = set()
ROOMS["i2c"] = set()
ROOMS["abi"] = set()
ROOMS["names"] = set()
ROOMS["log"] = {"util"}

# library: the rooms that may see it
LIBRARIES = {
    "libconfig.h": {"config"},
    "gpiod.h": {"gpio-lines"},
    "linux/i2c": {"i2c"},
    "json-c/": {"payload"},
    "mosquitto": {"link"},
    "openssl/": {"link"},
    "systemd/sd-event.h": set(SERVICES) | {"manager", "bus", "main"},
    "systemd/sd-bus.h": {"bus", "main", "ctl"},
    "systemd/sd-bus-vtable.h": {"bus"},
    "systemd/sd-daemon.h": {"main", "notify"},
    "systemd/sd-journal.h": {"main", "log"},
    "systemd/sd-id128.h": {"credentials", "main"},
}
ABI_ALONE = {"stdint.h", "stddef.h"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def room_of(path):
    """The room of a source file, by its path from the root; None where there is none."""
    parts = path.parts
    if parts == ("plugins", "plugin.h"):
        return "abi"
    if parts[:2] == ("plugins", "i2c"):
        return "i2c"
    if parts[0] == "plugins" and path.stem.startswith("gpio-lines"):
        return "gpio-lines"
    if parts[0] == "plugins":
        return "plugin"
    if parts[0] != "daemon":
        return None
    if parts[1] in ("util", "worker", "ctl"):
        return parts[1]
    stem = path.stem
    if stem == "bus-names":
        return "names"
    return next((room for room in sorted(ROOMS, key=len, reverse=True)
                 if len(parts) == 2 and (stem == room or stem.startswith(room + "-"))), None)


def problems(root):
    for path in sorted(p.relative_to(root) for folder in ("daemon", "plugins") for p in (root / folder).rglob("*.[ch]")):
        room = room_of(path)
        if room not in ROOMS:
            yield f"{path}: belongs to no room that tests/check-floors.py knows"
            continue
        for quote, name in INCLUDE.findall((root / path).read_text()):
            if quote == "<":
                home = next((rooms for library, rooms in LIBRARIES.items() if name.startswith(library)), None)
                foreign = name.startswith(("systemd/", "dbus/", "glib", "gpiod"))
                if home is not None and room not in home or home is None and foreign and room != "plugin":
                    yield f"{path}: <{name}> is not for {room}"
                public = room == "abi" or path.parts == ("plugins", "i2c", "i2c.h")
                if public and name not in ABI_ALONE:
                    yield f"{path}: a public header includes <{name}>; it may include only {', '.join(sorted(ABI_ALONE))}"
                continue
            if name == "plugd-build.h":
                continue
            found = next((p for p in ((root / path).parent / name, root / "daemon" / name) if p.is_file()), None)
            if found is None:
                yield f"{path}: \"{name}\" is neither beside it nor below daemon/"
                continue
            other = found.resolve().relative_to(root)
            target = room_of(other)
            if target == room == "plugin" and other.parent != path.parent:
                yield f"{path}: one plugin may not know another (\"{name}\")"
            if target == room:
                continue
            if target is None or target not in ROOMS[room]:
                yield f"{path}: {room} may not know {target or other} (\"{name}\")"
            elif other.stem.endswith(("-internal", "-private")):
                yield f"{path}: \"{name}\" is private to {target}"


def forgotten(root):
    """Unit tests that nobody runs."""
    listed = (root / "tests" / "unit" / "meson.build").read_text() if (root / "tests" / "unit").is_dir() else ""
    for path in sorted((root / "tests" / "unit").glob("test-*.c")):
        if f"'{path.stem.removeprefix('test-')}'" not in listed:
            yield f"{path.relative_to(root)}: isn't in tests/unit/meson.build"


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
    found = [*problems(root), *forgotten(root)]
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
