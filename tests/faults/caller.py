# SPDX-License-Identifier: Apache-2.0
"""Calls methods on a bus over one connection, one after the other: a process of busctl for each would be too slow a load.
As much of D-Bus as plugd's methods of strings and its properties need."""

import os
import socket
import struct

import harness

METHOD_CALL, METHOD_RETURN, ERROR = 1, 2, 3
PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SIGNATURE = 1, 2, 3, 4, 5, 6, 8
FIXED = {"y": ("B", 1), "b": ("I", 4), "n": ("h", 2), "q": ("H", 2), "i": ("i", 4), "u": ("I", 4), "x": ("q", 8), "t": ("Q", 8), "d": ("d", 8)}
# The bus says these when the method can't have been called, or hasn't been.
NOT_THERE = {"org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner"}


class CallError(Exception):
    def __init__(self, name, text):
        super().__init__(f"{name}: {text}")
        self.name, self.text = name, text


def align(data, size):
    return data + bytes(-len(data) % size)


def string(data, text):
    raw = text.encode()
    return align(data, 4) + struct.pack("<I", len(raw)) + raw + b"\0"


def field(data, code, signature, text):
    data = align(data, 8) + bytes([code, 1]) + signature.encode() + b"\0"
    return data + bytes([len(text)]) + text.encode() + b"\0" if signature == "g" else string(data, text)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def fixed(self, code, size):
        self.at += -self.at % size
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += size
        return value

    def text(self, size):
        start = self.at
        self.at += size + 1
        return self.data[start:start + size].decode()

    def one(self, signature):
        if signature in "so":
            return self.text(self.fixed("I", 4))
        if signature == "g":
            return self.text(self.fixed("B", 1))
        if signature == "v":
            return self.one(self.one("g"))
        return self.fixed(*FIXED[signature])


class Caller:
    def __init__(self, bus, timeout=30):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(str(bus.socket))
        self._buffer, self._serial = b"", 0
        self._socket.sendall(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\n")
        while b"\r\n" not in self._buffer:
            self._buffer += self._socket.recv(4096)
        assert self._buffer.startswith(b"OK"), self._buffer
        self._buffer = b""
        self._socket.sendall(b"BEGIN\r\n")
        self._call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")

    def close(self):
        self._socket.close()

    def publish(self, channel, text):
        """The id. CallError: it was refused, or there is no knowing."""
        return self._call(harness.NAME, harness.PATH, harness.MANAGER, "Publish", channel, text)

    def get(self, interface, path, name):
        return self._call(harness.NAME, path, "org.freedesktop.DBus.Properties", "Get", interface, name)

    def samples(self, sensor):
        return self.get(harness.SENSOR, f"{harness.PATH}/sensors/{sensor}", "Samples")

    def _call(self, destination, path, interface, member, *texts):
        self._serial += 1
        body = b""
        for text in texts:
            body = string(body, text)
        fields = field(b"", PATH, "o", path)
        for code, text in ((INTERFACE, interface), (MEMBER, member), (DESTINATION, destination)):
            fields = field(fields, code, "s", text)
        if texts:
            fields = field(fields, SIGNATURE, "g", "s" * len(texts))
        head = struct.pack("<cBBBII", b"l", METHOD_CALL, 0, 1, len(body), self._serial) + struct.pack("<I", len(fields)) + fields
        self._socket.sendall(align(head, 8) + body)
        while True:
            kind, found, body = self._message()
            if found.get(REPLY_SERIAL) != self._serial:
                continue
            reader, signature = Reader(body), found.get(SIGNATURE, "")
            value = reader.one(signature[0]) if signature else None
            if kind == ERROR:
                raise CallError(found[ERROR_NAME], value)
            return value

    def _message(self):
        size = 16
        while True:
            if len(self._buffer) >= 16:
                kind, (body_size,), (fields_size,) = self._buffer[1], *(struct.unpack_from("<I", self._buffer, at) for at in (4, 12))
                size = 16 + fields_size + -fields_size % 8 + body_size
                if len(self._buffer) >= size:
                    break
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError("the bus has gone")
            self._buffer += data
        reader, found = Reader(self._buffer[:16 + fields_size]), {}
        reader.at = 16
        while reader.at < 16 + fields_size:
            reader.at += -reader.at % 8
            code = reader.fixed("B", 1)
            found[code] = reader.one("v")
        body, self._buffer = self._buffer[size - body_size:size], self._buffer[size:]
        return kind, found, body
