# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: a plugin without its worker, so that nothing holds it but what holds the process itself.

    bare.py PLUGIN.so NAME=VALUE…     one read() with these options, texts or whole numbers; prints what it gives
"""

import ctypes
import os
import socket
import sys
from ctypes import CFUNCTYPE, POINTER, Structure, Union, c_char_p, c_double, c_int, c_int64, c_size_t, c_uint32, c_void_p

BOOLEAN, INTEGER, NUMBER, STRING = 1, 2, 3, 4


class Data(Union):
    _fields_ = [("integer", c_int64), ("number", c_double), ("string", c_char_p)]


class Value(Structure):
    _fields_ = [("type", c_uint32), ("count", c_uint32), ("data", Data)]


EMIT = CFUNCTYPE(c_int, c_void_p, c_uint32, POINTER(Value), c_int64)
LOG = CFUNCTYPE(None, c_void_p, c_int, c_char_p)
OPTION = CFUNCTYPE(c_void_p, c_void_p, c_char_p)


class Host(Structure):
    _fields_ = [("abi", c_uint32), ("size", c_uint32), ("context", c_void_p), ("emit", EMIT), ("log", LOG), ("option", OPTION),
                ("declare", c_void_p), ("setting", c_void_p)]


class Plugin(Structure):
    _fields_ = [("abi", c_uint32), ("size", c_uint32), ("name", c_char_p), ("description", c_char_p), ("options", c_void_p),
                ("n_options", c_size_t), ("channels", c_void_p), ("n_channels", c_size_t),
                ("open", CFUNCTYPE(c_int, POINTER(Host), POINTER(c_void_p))), ("read", CFUNCTYPE(c_int, c_void_p))]


def value_of(text):
    if text.lstrip("-").isdigit():
        return Value(INTEGER, 0, Data(integer=int(text)))
    return Value(STRING, 0, Data(string=text.encode()))


def main():
    options = {name.encode(): value_of(text) for name, _, text in (word.partition("=") for word in sys.argv[2:])}

    @EMIT
    def emit(_host, _channel, value, _when):
        print(value.contents.data.string.decode(), flush=True)
        return 0

    @LOG
    def log(_host, _priority, text):
        print(text.decode(), file=sys.stderr)

    @OPTION
    def option(_host, name):
        found = options.get(name)
        return ctypes.addressof(found) if found is not None else None

    # As in a worker: a group of its own, and a socket to the host.
    os.setpgid(0, 0)
    pair = socket.socketpair()
    os.dup2(pair[0].fileno(), 3)
    plugin = Plugin.in_dll(ctypes.CDLL(sys.argv[1]), "plugd_plugin_v1")
    host, instance = Host(1, ctypes.sizeof(Host), None, emit, log, option), c_void_p()
    sys.exit(1 if plugin.open(host, ctypes.byref(instance)) < 0 or plugin.read(instance) < 0 else 0)


main()
