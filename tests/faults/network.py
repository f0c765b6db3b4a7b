# SPDX-License-Identifier: Apache-2.0
"""Two network namespaces with a wire between them: the device's, and the server's with a name server in it. They have no
names and end with the processes that hold them, so nothing of them is left, whatever becomes of a test.

    device 10.123.0.2 --- 10.123.0.1 server, which listens at 10.123.9.1, behind a route
"""

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
import threading

from harness import wait_for

CLONE_NEWNET = 0x40000000
DEVICE, ROUTER, SERVER, SERVER_LATER = "10.123.0.2", "10.123.0.1", "10.123.9.1", "10.123.9.2"
SERVER_NET = "10.123.9.0/24"
NAME = "broker.faults.test"


class Namespace:
    def __init__(self):
        self._holder = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        self.pid = self._holder.pid
        ours = os.readlink("/proc/self/ns/net")
        wait_for(lambda: os.readlink(f"/proc/{self.pid}/ns/net") != ours, "there is a network namespace", interval=0.01)
        self.ip("link", "set", "lo", "up")

    def close(self):
        self._holder.kill()
        self._holder.wait()

    def ip(self, *arguments):
        subprocess.run(["nsenter", f"--net=/proc/{self.pid}/ns/net", "ip", *arguments], check=True, stdin=subprocess.DEVNULL, timeout=20)

    def inside(self, function):
        """What function() gives in a thread in this namespace: sockets and processes that it makes belong there."""
        result = []

        def run():
            try:
                with open(f"/proc/{self.pid}/ns/net", "rb") as file:
                    if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                result.append((function(), None))
            except BaseException as error:  # given on below
                result.append((None, error))
        thread = threading.Thread(target=run, name="inside")
        thread.start()
        thread.join()
        value, error = result[0]
        if error:
            raise error
        return value


class NameServer:
    """Knows one name. mode: answer, silent, 2 (SERVFAIL), 3 (NXDOMAIN) or 5 (REFUSED)."""

    def __init__(self, namespace, address):
        self.mode, self.address, self.asked = "answer", address, 0
        self._socket = namespace.inside(self._listen)
        self._thread = threading.Thread(target=self._run, name="name server", daemon=True)
        self._thread.start()

    @staticmethod
    def _listen():
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((ROUTER, 53))
        return made

    def close(self):
        with contextlib.suppress(OSError):     # it wakes the thread, and says that nobody is connected
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()

    def _run(self):
        while True:
            try:
                data, client = self._socket.recvfrom(4096)
            except OSError:
                return
            if not data:
                return
            self.asked += 1
            if self.mode != "silent":
                self._socket.sendto(self._answer(data), client)

    def _answer(self, data):
        end = data.index(b"\0", 12) + 5
        (kind,) = struct.unpack(">H", data[end - 4:end - 2])
        known = self.mode == "answer" and kind == 1
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(self.address) if known else b""
        code = self.mode if isinstance(self.mode, int) else 0
        return data[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, 1 if known else 0, 0, 0) + data[12:end] + record


class Network:
    def __init__(self, folder):
        self.device, self.server = Namespace(), Namespace()
        self.device.ip("link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", str(self.server.pid))
        self.server.ip("address", "add", f"{ROUTER}/24", "dev", "wire")
        self.server.ip("address", "add", f"{SERVER}/32", "dev", "lo")
        self.server.ip("link", "set", "wire", "up")
        self.device.ip("address", "add", f"{DEVICE}/24", "dev", "wire")
        self.device.ip("link", "set", "wire", "up")
        self.route()
        self.names = NameServer(self.server, SERVER)
        self._resolv = folder / "resolv.conf"
        self._resolv.write_text(f"nameserver {ROUTER}\n")

    def close(self):
        self.names.close()
        self.device.close()
        self.server.close()

    def route(self):
        """As whatever configures the device's network does it once the link is up."""
        self.device.ip("route", "replace", SERVER_NET, "via", ROUTER)

    @property
    def wrapper(self):
        """Before a command: it lives in the device's network, with the name server there, and stays the same process."""
        return ["nsenter", f"--net=/proc/{self.device.pid}/ns/net", "unshare", "--mount", "sh", "-c",
                'mount --bind "$0" /etc/resolv.conf && exec "$@"', str(self._resolv)]
