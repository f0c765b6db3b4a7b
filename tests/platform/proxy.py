# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy for tests that misbehaves on order: it forwards a loopback port to a server, byte for byte.

    with Proxy(server.address) as proxy:
        ... connect to proxy.host, proxy.port ...
        proxy.black_hole()          # says nothing more, closes nothing
        proxy.forward()             # well again; what was held back is lost if drop=True, else comes now

Orders hold for the connections that are and those to come, and are in force when the method returns. Works under TLS,
but for withhold(), which reads MQTT. One thread; no data is kept beyond a small buffer for each direction, so a slow
reader slows the writer, as on a real network."""

import selectors
import socket
import struct
import threading
import time

CHUNK = 65536
HELD_MAX = 1 << 20
PACKETS = {"CONNACK": 2, "PUBLISH": 3, "SUBACK": 9, "UNSUBACK": 11, "PINGRESP": 13}
TO_SERVER, TO_CLIENT = "to server", "to client"


class Direction:
    """One way of one connection."""

    def __init__(self, source, target, name):
        self.source, self.target, self.name = source, target, name
        self.pending = b""      # read, not yet written
        self.partial = b""      # of an MQTT packet that isn't whole yet
        self.forwarded = 0
        self.ended = self.shut = False
        self.budget_time = time.monotonic()


class Pair:
    def __init__(self, client, server):
        self.client, self.server = client, server
        self.ways = (Direction(client, server, TO_SERVER), Direction(server, client, TO_CLIENT))


class Proxy:
    def __init__(self, target, port=0, host="127.0.0.1"):
        self.target = tuple(target)
        self._listener = socket.create_server((host, port), backlog=128)
        self._listener.setblocking(False)
        self.host, self.port = self._listener.getsockname()
        self._selector = selectors.DefaultSelector()
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_in.setblocking(False)
        self._orders, self._lock = [], threading.Lock()
        self._pairs = []
        self._mute, self._hole, self._drop, self._rate, self._cut = False, None, False, None, {}
        self._withheld = {}
        self.accepted = 0       # connections so far
        self.held_back = {}     # MQTT type -> how many packets were withheld
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def address(self):
        return self.host, self.port

    # --- orders

    def forward(self):
        """Well again, in every respect."""
        def order():
            self._mute, self._hole, self._rate, self._cut, self._withheld = False, None, None, {}, {}
            for pair in self._pairs:
                for way in pair.ways:
                    way.budget_time = time.monotonic()
                    way.pending = b"" if self._drop else way.pending + way.partial
                    way.partial = b""
            self._drop = False
        self._order(order)

    def black_hole(self, direction=None, drop=True):
        """Forward nothing more, close nothing. `drop`: read and throw away; else stop reading, so that the writer's
        socket fills up. `direction`: TO_SERVER, TO_CLIENT, or None for both."""
        def order():
            self._hole, self._drop = direction or "both", drop
        self._order(order)

    def mute(self):
        """Accept new connections, and never connect them to anything. Those that are go on."""
        def order():
            self._mute = True
        self._order(order)

    def slow(self, bytes_per_second):
        """In each direction of each connection."""
        def order():
            self._rate = bytes_per_second
        self._order(order)

    def cut_after(self, n, direction=TO_SERVER, reset=True):
        """Each connection ends when `n` more bytes have gone that way; reset or in good order."""
        def order():
            self._cut = {"direction": direction, "after": n, "reset": reset}
            for pair in self._pairs:
                for way in pair.ways:
                    way.forwarded = 0
        self._order(order)

    def withhold(self, packet, count=-1):
        """Swallow MQTT packets of that type from the server; `count` -1: until forward(). Order it while no packet
        from the server is under way, since it is there that the reading of packets begins."""
        def order():
            self._withheld[PACKETS[packet]] = count
        self._order(order)

    def reset(self):
        """RST to both sides of every connection. New ones are welcome. Returns how many there were."""
        return self._order(lambda: self._end_all(reset=True))

    def disconnect(self):
        """FIN to both sides of every connection."""
        return self._order(lambda: self._end_all(reset=False))

    def refuse(self):
        """Stop listening: connections are refused until accept()."""
        def order():
            if self._listener:
                self._selector.unregister(self._listener)
                self._listener.close()
                self._listener = None
        self._order(order)

    def accept(self):
        """Listen again, on the same port."""
        def order():
            if not self._listener:
                self._listener = socket.create_server((self.host, self.port), backlog=128)
                self._listener.setblocking(False)
                self._selector.register(self._listener, selectors.EVENT_READ)
        self._order(order)

    def connections(self):
        return self._order(lambda: len(self._pairs))

    def close(self):
        def order():
            self._end_all(reset=False)
            self._stopping = True
        if self._thread.is_alive():
            self._order(order)
            self._thread.join(10)

    def _order(self, function, timeout=10):
        """Runs `function` in the proxy's thread and waits until it has."""
        done, result = threading.Event(), []

        def order():
            try:
                result.append(function())
            finally:
                done.set()
        with self._lock:
            self._orders.append(order)
        self._wake_out.send(b"x")
        if not done.wait(timeout):
            raise TimeoutError("the proxy's thread does not answer")
        return result[0] if result else None

    # --- the proxy's thread

    def _run(self):
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        while not self._stopping:
            pause = 0.01 if self._rate and self._pairs else None
            ready = {key.fileobj: events for key, events in self._selector.select(pause)}
            if self._wake_in in ready:
                self._wake_in.recv(4096)
                with self._lock:
                    orders, self._orders = self._orders, []
                for order in orders:
                    order()
                # What was ready before an order need not be so after it.
                ready = {}
            elif self._listener in ready:
                self._accept_one()
            for pair in list(self._pairs):
                self._serve(pair, ready)
        for s in (self._listener, self._wake_in, self._wake_out):
            if s:
                s.close()
        self._selector.close()

    def _accept_one(self):
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        self.accepted += 1
        server = None
        if not self._mute:
            try:
                server = socket.create_connection(self.target, 5)
            except OSError:
                self._close_socket(client, reset=True)
                return
        for s in filter(None, (client, server)):
            s.setblocking(False)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = Pair(client, server)
        self._pairs.append(pair)
        self._watch(pair)

    def _holed(self, way):
        return self._hole in ("both", way.name)

    def _watch(self, pair):
        """Tells the selector what this connection waits for."""
        wanted = {pair.client: 0}
        if pair.server:
            wanted[pair.server] = 0
            for way in pair.ways:
                if not way.ended and not way.pending and (not self._holed(way) or self._drop):
                    wanted[way.source] |= selectors.EVENT_READ
                if way.pending and not self._holed(way) and not self._rate:
                    wanted[way.target] |= selectors.EVENT_WRITE
        else:
            wanted[pair.client] = selectors.EVENT_READ
        for s, events in wanted.items():
            known = self._selector.get_map().get(s.fileno()) if s.fileno() >= 0 else None
            if known and not events:
                self._selector.unregister(s)
            elif known and known.events != events:
                self._selector.modify(s, events)
            elif not known and events and s.fileno() >= 0:
                self._selector.register(s, events)

    def _serve(self, pair, ready):
        try:
            if pair.server is None:
                # Muted: the client may say what it likes, until it gives up.
                if pair.client in ready and not pair.client.recv(CHUNK):
                    return self._end(pair, reset=False)
            else:
                for way in pair.ways:
                    if way.source in ready and ready[way.source] & selectors.EVENT_READ:
                        self._read(way)
                    self._write(way)
                    if self._cut and way.name == self._cut["direction"] and way.forwarded >= self._cut["after"]:
                        return self._end(pair, self._cut["reset"])
                if all(way.shut for way in pair.ways):
                    return self._end(pair, reset=False)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            return self._end(pair, reset=True)
        self._watch(pair)

    def _read(self, way):
        if way.ended or way.pending:
            return
        data = way.source.recv(CHUNK)
        if not data:
            way.ended = True
        elif not self._holed(way):
            way.pending = self._sift(way, data) if way.name == TO_CLIENT and self._withheld else data
        elif not self._drop:
            way.pending = data

    def _sift(self, way, data):
        """Takes the withheld packets out. What isn't a whole packet yet waits for its rest."""
        data, kept, start = way.partial + data, b"", 0
        while (end := self._packet_end(data, start)) is not None:
            kind = data[start] >> 4
            left = self._withheld.get(kind, 0)
            if left:
                self._withheld[kind] = left - (left > 0)
                self.held_back[kind] = self.held_back.get(kind, 0) + 1
            else:
                kept += data[start:end]
            start = end
        way.partial = data[start:]
        return kept

    @staticmethod
    def _packet_end(data, start):
        length = 0
        for i in range(start + 1, min(len(data), start + 5)):
            length |= (data[i] & 0x7F) << 7 * (i - start - 1)
            if not data[i] & 0x80:
                end = i + 1 + length
                return end if end <= len(data) else None
        return None

    def _write(self, way):
        if self._holed(way) or way.shut:
            return
        if way.pending:
            size = len(way.pending)
            if self._rate:
                now = time.monotonic()
                # No saving up while idle.
                span = min(now - way.budget_time, max(0.1, 1 / self._rate))
                size = min(size, int(span * self._rate + 1e-6))
                if size <= 0:
                    return
                way.budget_time = now
            if self._cut and way.name == self._cut["direction"]:
                size = min(size, self._cut["after"] - way.forwarded)
            try:
                sent = way.target.send(way.pending[:size]) if size > 0 else 0
            except BlockingIOError:
                return
            way.forwarded += sent
            way.pending = way.pending[sent:]
        if way.ended and not way.pending:
            way.shut = True
            way.target.shutdown(socket.SHUT_WR)

    def _close_socket(self, s, reset):
        if s is None or s.fileno() < 0:
            return
        if s.fileno() in self._selector.get_map():
            self._selector.unregister(s)
        if reset:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()

    def _end(self, pair, reset):
        self._close_socket(pair.client, reset)
        self._close_socket(pair.server, reset)
        self._pairs.remove(pair)

    def _end_all(self, reset):
        n = len(self._pairs)
        for pair in list(self._pairs):
            self._end(pair, reset)
        return n
