# SPDX-License-Identifier: Apache-2.0
"""A small MQTT 3.1.1 client that hides nothing: every packet in the order it came, every CONNACK code, and how the
connection ended. For tests of servers; blocking, one thread, every wait bounded by `timeout`."""

import collections
import socket
import struct
import time

TYPES = {1: "CONNECT", 2: "CONNACK", 3: "PUBLISH", 4: "PUBACK", 5: "PUBREC", 6: "PUBREL", 7: "PUBCOMP",
         8: "SUBSCRIBE", 9: "SUBACK", 10: "UNSUBSCRIBE", 11: "UNSUBACK", 12: "PINGREQ", 13: "PINGRESP",
         14: "DISCONNECT"}

Packet = collections.namedtuple("Packet", "type flags body topic payload")


class Closed(Exception):
    """The server ended the connection."""


def text(value):
    data = value.encode() if isinstance(value, str) else bytes(value)
    return struct.pack(">H", len(data)) + data


def packet(first, body):
    head, length = bytes([first]), len(body)
    while True:
        length, digit = divmod(length, 128)
        head += bytes([digit | (0x80 if length else 0)])
        if not length:
            return head + body


def publish_packet(topic, payload=b"", qos=0, retain=False, mid=1):
    payload = payload.encode() if isinstance(payload, str) else bytes(payload)
    return packet(0x30 | qos << 1 | bool(retain), text(topic) + (struct.pack(">H", mid) if qos else b"") + payload)


class Client:
    def __init__(self, address, tls=None, server_hostname="localhost", timeout=5.0):
        """`address` is (host, port), or the path of a Unix-domain socket; `tls` an ssl.SSLContext."""
        self.timeout = timeout
        self.received = []   # the types of all packets, in order
        self._buffer = b""
        self._waiting = collections.deque()   # packets that came while another was awaited
        self._mid = 0
        if isinstance(address, (str, bytes)) or hasattr(address, "__fspath__"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(str(address))
        else:
            self.socket = socket.create_connection(address, timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname=server_hostname)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def connect(self, client_id, username=None, password=None, keepalive=60, clean=True, will=None):
        """Returns the CONNACK's code. `will` is (topic, payload[, qos[, retain]])."""
        flags, body = 0x02 * clean, text(client_id)
        if will:
            topic, payload, qos, retain = (tuple(will) + (0, False))[:4] if len(will) < 4 else will
            flags |= 0x04 | qos << 3 | 0x20 * bool(retain)
            body += text(topic) + text(payload)
        if username is not None:
            flags |= 0x80
            body += text(username)
        if password is not None:
            flags |= 0x40
            body += text(password)
        self.send(packet(0x10, text("MQTT") + struct.pack(">BBH", 4, flags, keepalive) + body))
        return self.expect("CONNACK").body[1]

    def subscribe(self, *topics, qos=0):
        """Returns the codes of the SUBACK."""
        self.send(packet(0x82, self._next_mid() + b"".join(text(t) + bytes([qos]) for t in topics)))
        return list(self.expect("SUBACK").body[2:])

    def unsubscribe(self, *topics, wait=True):
        self.send(packet(0xA2, self._next_mid() + b"".join(text(t) for t in topics)))
        if wait:
            self.expect("UNSUBACK")

    def publish(self, topic, payload=b"", qos=0, retain=False):
        self._mid += 1
        self.send(publish_packet(topic, payload, qos, retain, self._mid))

    def ping(self):
        self.send(packet(0xC0, b""))
        self.expect("PINGRESP")

    def message(self, timeout=None):
        """The next PUBLISH, as (topic, payload)."""
        p = self.expect("PUBLISH", timeout)
        return p.topic, p.payload

    def messages_until_answered(self):
        """All PUBLISHes that the server had sent before it answered a ping: no more are to come."""
        self.ping()
        found = [(p.topic, p.payload) for p in self._waiting if p.type == "PUBLISH"]
        self._waiting.clear()
        return found

    def expect(self, kind, timeout=None):
        """The next packet of that type; others that come before it are kept."""
        for i, p in enumerate(self._waiting):
            if p.type == kind:
                del self._waiting[i]
                return p
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            p = self.receive(max(deadline - time.monotonic(), 0.001))
            if p.type == kind:
                return p
            self._waiting.append(p)

    def receive(self, timeout=None):
        """The next packet from the wire. TimeoutError, or Closed."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while (size := self._packet_size()) is None:
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data = self.socket.recv(65536)
            except (ConnectionError, BrokenPipeError) as error:
                raise Closed(str(error)) from error
            if not data:
                raise Closed("end of file")
            self._buffer += data
        head, raw, self._buffer = size[0], self._buffer[:size[1]], self._buffer[size[1]:]
        body, kind, topic, payload = raw[head:], TYPES.get(raw[0] >> 4, "?"), None, None
        if kind == "PUBLISH":
            end = 2 + struct.unpack(">H", body[:2])[0]
            topic = body[2:end].decode()
            payload = body[end + (2 if raw[0] & 0x06 else 0):]
        self.received.append(kind)
        return Packet(kind, raw[0] & 0x0F, body, topic, payload)

    def wait_closed(self, timeout=None):
        """Reads until the server closes; what comes before that is kept. TimeoutError if it doesn't."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        try:
            while True:
                self._waiting.append(self.receive(max(deadline - time.monotonic(), 0.001)))
        except Closed:
            return True

    def send(self, data):
        self.socket.settimeout(self.timeout)
        try:
            self.socket.sendall(data)
        except (ConnectionError, BrokenPipeError) as error:
            raise Closed(str(error)) from error

    def disconnect(self):
        self.send(packet(0xE0, b""))
        self.close()

    def close(self):
        """Without DISCONNECT."""
        self.socket.close()

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _next_mid(self):
        self._mid = self._mid % 65535 + 1
        return struct.pack(">H", self._mid)

    def _packet_size(self):
        """(size of the head, size of all) of the first packet in the buffer, or None while it isn't whole."""
        length = 0
        for i in range(1, min(len(self._buffer), 5)):
            length |= (self._buffer[i] & 0x7F) << 7 * (i - 1)
            if not self._buffer[i] & 0x80:
                size = i + 1 + length
                return (i + 1, size) if len(self._buffer) >= size else None
        return None
