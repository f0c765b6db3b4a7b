# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: tells whoever reads its output what plugd is given, and when its disk is synced, until the power is
cut. Times are CLOCK_MONOTONIC in seconds; a line each, at once:

    w TIME PID BYTES                what a worker has written to the daemon, from its beginning
    s TIME PID CALL [RESULT]        fdatasync or fsync begins; has ended
    p TIME NUMBER ID                Publish() of that number on the channel has returned
    b TIME                          nothing, 20 times a second

    witness.py prepare              begins to trace; at boot, before plugd
    witness.py watch CHANNEL PERIOD SIZE NUMBER     Publish() each PERIOD seconds, SIZE bytes, from that number on
"""

import ctypes
import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

TRACE = Path("/sys/kernel/tracing/instances/witness")
CALLS = {"sys_exit_write": 'comm == "plugd-worker"', **{f"sys_{when}_{call}": 'comm ~ "plugd*"' for when in ("enter", "exit")
                                                       for call in ("fdatasync", "fsync")}}
LINE = re.compile(r"^.*-(\d+)\s+\[\d+\] \S+\s+([\d.]+): sys_(write|fdatasync|fsync)(?: -> 0x([0-9a-f]+))?")
NAME, PATH = b"com.cloudplugs.Gateway1", b"/com/cloudplugs/Gateway1"


def prepare():
    if not TRACE.parent.exists():
        subprocess.run(["mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing"], check=True)
    TRACE.mkdir(exist_ok=True)
    (TRACE / "trace_clock").write_text("mono")
    (TRACE / "buffer_size_kb").write_text("4096")
    for event, which in CALLS.items():
        (TRACE / f"events/syscalls/{event}/filter").write_text(which)
        (TRACE / f"events/syscalls/{event}/enable").write_text("1")


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def publish(channel, period, size, number):
    bus, library = ctypes.c_void_p(), ctypes.CDLL("libsystemd.so.0")
    if library.sd_bus_open_system(ctypes.byref(bus)) < 0:
        sys.exit("no bus")
    due = time.monotonic()
    while True:
        text = json.dumps({"n": number, "pad": os.urandom(size // 2).hex()}).encode()
        reply, ident = ctypes.c_void_p(), ctypes.c_char_p()
        r = library.sd_bus_call_method(bus, NAME, PATH, NAME + b".Manager", b"Publish", None, ctypes.byref(reply), b"ss", channel.encode(), text)
        if r >= 0 and library.sd_bus_message_read(reply, b"s", ctypes.byref(ident)) > 0:
            say("p", time.monotonic(), number, ident.value.decode())
            number += 1
            library.sd_bus_message_unref(reply)
        due = max(due + period, time.monotonic())
        time.sleep(max(due - time.monotonic(), 0))


def watch():
    pipe, rest = os.open(TRACE / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK), b""
    while True:
        select.select([pipe], [], [], 0.05)
        try:
            rest += os.read(pipe, 65536)
        except BlockingIOError:
            pass
        *lines, rest = rest.split(b"\n")
        for line in lines:
            found = LINE.match(line.decode(errors="replace"))
            if found:
                pid, at, call, result = found.groups()
                value = int(result, 16) if result is not None else None
                if call == "write":
                    say("w", at, pid, value if value < 1 << 31 else 0)
                else:
                    say("s", at, pid, call, *([value] if result is not None else []))
        say("b", time.monotonic())


if sys.argv[1] == "prepare":
    prepare()
else:
    threading.Thread(target=publish, args=(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])), daemon=True).start()
    watch()
