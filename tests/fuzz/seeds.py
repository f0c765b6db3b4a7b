#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""seeds.py FOLDER: writes FOLDER/NAME/…, inputs that the fuzzers of binary formats begin with.

What comes of them is minimised (tests/fuzz.sh --merge) and lies in corpus/; this is for when a format changes.
"""

import struct
import sys
from pathlib import Path

BOOLEAN, INTEGER, NUMBER, STRING, JSON, GROUPS = range(1, 7)


# --- wire --------------------------------------------------------------------------------------------------

def string(text):
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<I", len(data)) + data + b"\0"


def value(kind, content):
    if kind == BOOLEAN:
        return struct.pack("<BB", kind, content)
    if kind == INTEGER:
        return struct.pack("<Bq", kind, content)
    if kind == NUMBER:
        return struct.pack("<Bd", kind, content)
    if kind == GROUPS:
        return struct.pack("<BI", kind, len(content)) + b"".join(group(*g) for g in content)
    return struct.pack("<B", kind) + string(content)


def group(*settings):
    return struct.pack("<I", len(settings)) + b"".join(string(n) + value(k, c) for n, k, c in settings)


def frame(kind, body=b""):
    return struct.pack("<IB", len(body) + 1, kind) + body


def opened(*channels):
    return frame(2, struct.pack("<I", len(channels)) +
                 b"".join(string(n) + string(u) + struct.pack("<II", t, f) for n, u, t, f in channels))


def sample(channel, kind, content, taken=1000000):
    return frame(3, struct.pack("<IQ", channel, taken) + value(kind, content))


HELLO = frame(1, struct.pack("<II", 2, 7))
ONE = opened(("value", "°C", NUMBER, 1))
ALL = opened(("a", "", BOOLEAN, 1), ("b", "V", INTEGER, 1), ("c", "", NUMBER, 1), ("d", "", STRING, 3),
             ("e/f", "", JSON, 1))
OPTIONS = group(("wave", STRING, "sine"), ("period", NUMBER, 2.5), ("count", INTEGER, 118), ("loud", BOOLEAN, 1),
                ("lines", GROUPS, [[("name", STRING, "a"), ("line", INTEGER, 7)], []]))
START = frame(64, struct.pack("<IdI", 2, 1.5, 2) + string("/dev/i2c-*") + string("/dev/x") + OPTIONS)
SAMPLES = (sample(0, BOOLEAN, 1) + sample(1, INTEGER, -5) + sample(2, NUMBER, 21.5) + sample(2, INTEGER, 3) +
           sample(3, STRING, 'ein "Wort"\n') + sample(4, JSON, '{"a":[1,null]}'))
FAILED = {f"failed-{what}": HELLO + ONE + frame(5, struct.pack("<BI", what, 5) + string("no such chip")) +
          frame(7) for what in (1, 2, 3, 4)}


def wire():
    yield "start", START
    yield "interval-stop", frame(65, struct.pack("<d", 0.5)) + frame(66)
    yield "hello-all", HELLO + ALL + SAMPLES
    yield "options", OPTIONS
    yield "json", value(JSON, "[1]")
    yield from FAILED.items()


def host():
    for how in (0, 1, 2, 3):
        yield f"all-{how}", bytes([how]) + HELLO + ALL + SAMPLES + frame(6) + frame(4, b"\x04" + string("says"))
    yield "one", b"\0" + HELLO + ONE + sample(0, NUMBER, 1.0) * 3
    yield "refused", b"\0" + HELLO + ALL + sample(2, NUMBER, float("nan")) + sample(3, STRING, b"\xff") + \
        sample(4, JSON, "{") + sample(2, NUMBER, 1e300)
    yield "flood", b"\1" + HELLO + ONE + sample(0, INTEGER, 1) * 1100
    yield "like-a-host", b"\0" + HELLO + frame(66)
    yield "other-version", b"\0" + frame(1, struct.pack("<II", 3, 0))
    yield "twice", b"\0" + HELLO + ONE + ONE
    yield "same-name", b"\0" + HELLO + opened(("a", "", NUMBER, 1), ("a", "", NUMBER, 1))
    yield "bad-name", b"\0" + HELLO + opened(("a", "", NUMBER, 1), ("b//c", "", NUMBER, 1))
    yield "log", b"\0" + HELLO + frame(4, b"\xff" + string("a\tb\x01")) * 30
    for name, data in FAILED.items():
        yield name, b"\2" + data


# --- records -----------------------------------------------------------------------------------------------

def record(kind, sequence, body):
    return b"\0" * 8 + struct.pack("<BQ", kind, sequence) + body


def sample_body(sensor, channel, data, boot=b""):
    return (bytes(range(12)) + struct.pack("<Q", 1700000000000) + boot +
            struct.pack("<BB", len(sensor), len(channel)) + sensor + b"\0" + channel + b"\0" + data + b"\0")


def footer(sequence, count, *times):
    body = struct.pack("<I", count) + b"".join(struct.pack("<Q", at) + string(name) for at, name in times)
    return record(2, sequence, body + struct.pack("<I", 17 + len(body) + 8) + b"SEAL")


def summary(sequence, count, entries, boots=()):
    body = struct.pack("<II", count, len(entries))
    for sensor, channel, messages, size, timeless, at, last, last_size in entries:
        body += string(sensor) + string(channel)
        body += struct.pack("<IIIQQI", messages, size, timeless, at, last, last_size)
    for boot, first, at, messages in boots:
        body += boot + struct.pack("<QQI", first, at, messages)
    return record(4, sequence, body + struct.pack("<I", 17 + len(body) + 8) + b"SEAL")


def piece(right, data):
    return struct.pack("<BH", right, len(data)) + data


def records():
    one = piece(1, record(1, 1, sample_body(b"door", "Halle/Tür".encode(), b"true")))
    two = piece(1, record(1, 5, sample_body(b"", b"c", b'{"a":1}')))
    held = piece(1, record(3, 7, sample_body(b"s", b"c", b"21.5", bytes(16))))
    end = piece(1, footer(7, 3, (1, "a"), (2, "b"), (1, "a")))
    noise = piece(0, b"\0" * 40)
    yield "all", one + two + held + end
    yield "noise", noise + one + noise + two + noise + held + piece(0, b"x") + end + noise
    yield "disorder", two + one + held + one
    yield "footer", end
    yield "summary", one + two + held + piece(1, summary(
        7, 3, [("door", "Halle/Tür", 1, 65, 0, 5, 1, 65), ("", "c", 1, 60, 0, 6, 5, 60), ("s", "c", 1, 70, 1, 0, 7, 70),
               ("s", "c", 1, 70, 0, 9, 6, 70)], [(bytes(16), 7, 9, 1), (bytes(range(16)), 8, 9, 1), (bytes(16), 6, 5, 1)]))
    yield "empty", piece(1, record(1, 2, sample_body(b"", b"", b"")))
    yield "torn", one + piece(0, record(1, 3, sample_body(b"door", b"c", b"1"))[:20])
    yield "large", piece(1, record(1, 9, sample_body(b"s", b"c", b"1" * 2000)))
    yield "header", b"PLUGDSEG" + struct.pack("<IQ", 1, 42) + b"\0" * 12


# --- the spool: programs for spool-files.h -----------------------------------------------------------------------

LIVE, SMALL, SENSORS, TTL, KILLED = (1 << bit for bit in range(3, 8))  # how a start is, with how many are appended
OLD = 0x80
SEAL = bytes([5, 0])


def put(n, tier=0):
    return bytes([tier, n - 1])


def segment(folder, first_version=False):
    return bytes([0x43 if first_version else 3, folder])


def follow(tier=0, before=0):
    return bytes([6 | tier, before])


def jump(by, tier=0):
    """By so many numbers, or from 128 on, far away."""
    return bytes([4 | tier, by])


def island(before):
    return bytes([0x47, before << 1 | 1])


def damage(how, file, offset, byte, more=b""):
    return struct.pack("<BBBHB", 8 + how, 0, file, offset, byte) + more


def spool():
    """(patient, appended and share confirmed at two starts, scale) and steps."""
    for name, head, steps in (
            ("empty", (0, 3, 128, 2, 0, 1), b""),
            ("young", (0, 3, 128, 2, 0, 1), put(20)),
            ("old-young", (0, 3, 128, 2, 0, 1), put(20, OLD) + SEAL + segment(0) + put(10, OLD) + follow() + put(10)),
            ("copied", (1, 1, 0, 0, 0, 1), put(20) + put(12, OLD)),
            ("spare", (1, 1, 0, 50, 50, 1), put(5) + segment(2) + put(5) + segment(1) + put(5) + bytes([7, 9])),
            ("bits", (1, 1, 0, 0, 0, 1), put(20, OLD) + SEAL + follow() + put(12) + damage(0, 0, 300, 7) +
             damage(0, 1, 200, 7)),
            ("cut", (0, 1, 0, 0, 0, 1), put(20, OLD) + follow() + put(12) + damage(1, 0, 300, 7) +
             damage(1, 1, 200, 7)),
            ("blank-more-gone", (0, 1, 0, 0, 0, 4), put(20, OLD) + SEAL + follow() + put(12) + segment(2) + put(3) +
             damage(2, 0, 300, 70) + damage(3, 1, 200, 7, b"abcdefg") + damage(4, 2, 0, 0)),
            ("foreign", (0, 1, 0, 0, 0, 1), put(2) + b"".join(bytes([13, i]) for i in range(12)) + put(3) +
             put(2, OLD)),
            ("raw", (0, 1, 0, 0, 0, 1), put(2) + bytes([15, 0, 1, 0, 29]) + bytes(20) + b"\1\1s\0c\0" + b"1\0"),
            ("renamed", (0, 1, 0, 0, 0, 1), put(2) + bytes([14, 5, 0]) + put(2)),
            ("killed", (0, 0x83, 128, 0x82, 0, 1), put(20) + put(12, OLD) + SEAL),
            ("first-version", (0, 1, 0, 0, 0, 1), segment(0, True) + put(20, OLD) + SEAL + segment(0, True) +
             put(10, OLD) + follow() + put(10)),
            ("lanes", (1, LIVE | 5, 40, LIVE | KILLED | 3, 0, 1), put(20, OLD) + SEAL + follow() + put(10)),
            ("islands", (1, 1, 0, LIVE | 2, 0, 1), put(30, OLD) + SEAL + follow(0, 10) + put(20) + island(7) +
             put(10) + island(3)),
            ("far", (0, 1, 0, KILLED | 1, 0, 1), put(5) + jump(130) + put(5) + jump(200, OLD) + put(5, OLD) + SEAL),
            ("policies", (0, SENSORS | TTL | 3, 0, SENSORS | 1, 90, 1), put(32, OLD) + SEAL + follow() + put(32)),
            ("full", (1, SENSORS | SMALL | 7, 0, SENSORS | SMALL | TTL | 7, 60, 250), b"".join(
                segment(0) + put(12, OLD) + SEAL for _ in range(9)) + follow() + put(12)),
            ("full-killed", (0, SENSORS | SMALL | KILLED | 7, 0, SMALL | LIVE | KILLED | 7, 60, 240), b"".join(
                segment(0) + put(12, OLD) + SEAL for _ in range(9)) + follow() + put(12)),
            ("large", (1, 1, 10, 1, 100, 255), put(20, OLD) + put(20))):
        yield name, bytes(head) + steps


def main():
    for name, seeds in (("wire", wire), ("host", host), ("record", records), ("spool", spool)):
        folder = Path(sys.argv[1]) / name
        folder.mkdir(parents=True, exist_ok=True)
        for seed, data in seeds():
            (folder / seed).write_bytes(data)


if __name__ == "__main__":
    main()
