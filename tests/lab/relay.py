# SPDX-License-Identifier: Apache-2.0
"""relay.py PORT: standard input and output become a connection to that port of this machine (see Machine's `services`).
Ends when either side does, or isn't there."""

import os
import select
import socket
import sys


def write_all(descriptor, data):
    while data:
        data = data[os.write(descriptor, data):]


def main():
    try:
        server = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10)
    except OSError:
        return
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server.setblocking(True)
    ways = {0: server.fileno(), server.fileno(): 1}
    while True:
        for source in select.select(list(ways), [], [])[0]:
            data = os.read(source, 65536)
            if not data:
                return
            write_all(ways[source], data)


try:
    main()
except OSError:
    pass
