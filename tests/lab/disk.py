# SPDX-License-Identifier: Apache-2.0
"""A disk with a volatile cache, as those of real machines: what was written can be read, and is safe only after a flush.
At a power cut any part of what was not flushed is lost, sector by sector, whatever the order it was written in.

Killing QEMU is no power cut for what its guest has written: that lies in this machine's page cache, and stays. So QEMU
reaches this disk by NBD (the protocol's fixed newstyle handshake and simple replies), and what is kept is decided here."""

import mmap
import os
import socket
import struct
import threading
from types import SimpleNamespace

SECTOR = 512

# The protocol's numbers (the document proto.md of the project NetworkBlockDevice/nbd).
OPTION_MAGIC, REPLY_MAGIC = 0x49484156454F5054, 0x3E889045565A9
REQUEST_MAGIC, ANSWER_MAGIC = 0x25609513, 0x67446698
OPT_EXPORT_NAME, OPT_ABORT, OPT_INFO, OPT_GO = 1, 2, 6, 7
REP_ACK, REP_INFO, REP_UNSUPPORTED = 1, 3, 1 << 31 | 1
INFO_EXPORT, INFO_BLOCK_SIZE = 0, 3
READ, WRITE, DISCONNECT, FLUSH = 0, 1, 2, 3
HAS_FLAGS, SEND_FLUSH = 1, 4
EINVAL = 22


class VolatileDisk:
    """Serves the image at `path` on a socket beside it. One client at a time, which is a machine's QEMU."""

    def __init__(self, path):
        self.path, self.socket = path, f"{path}.socket"
        self.writes = self.flushes = 0
        self._pending = []  # (offset, data), in their order
        self._lock = threading.Lock()
        self._hold = False
        self.held = threading.Event()  # a flush has come, and is not answered
        with open(path, "r+b") as image:
            self._now = mmap.mmap(image.fileno(), 0)  # as the machine sees it
        self._safe = bytearray(self._now)
        self._client = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.socket)
        self._listener.listen(1)
        threading.Thread(target=self._serve, daemon=True).start()

    def arguments(self):
        """For QEMU: the guest has it as the next virtio disk, with a cache that it has to flush."""
        return ["-drive", f"if=none,id=state,file.driver=nbd,file.server.type=unix,file.server.path={self.socket},format=raw,cache=writeback",
                "-device", "virtio-blk-pci,drive=state"]

    def hold(self):
        """The next flush with something to flush isn't answered: `held` is set, and only a cut goes on from there."""
        self.held.clear()
        self._hold = True

    def cut(self, random, keep):
        """The power is gone; QEMU has been killed. Of each write since the last flush all its sectors are kept, or none,
        or some; `keep` is how likely it is for a sector. Returns how many writes there were, and what became of them."""
        with self._lock:
            self._drop_client()
            lost = SimpleNamespace(writes=len(self._pending), kept=0, torn=0)
            for offset, data in self._pending:
                sectors = range(0, len(data), SECTOR)
                whole = random.random() < 0.5
                kept = [at for at in sectors if random.random() < keep] if not whole else list(sectors) if random.random() < keep else []
                for at in kept:
                    self._safe[offset + at:offset + at + SECTOR] = data[at:at + SECTOR]
                lost.kept += len(kept) == len(sectors)
                lost.torn += 0 < len(kept) < len(sectors)
            self._pending.clear()
            self._now[:] = bytes(self._safe)
            self._hold = False
            self.held.clear()
        return lost

    def close(self):
        self._listener.close()
        with self._lock:
            self._drop_client()
        os.unlink(self.socket)

    def _drop_client(self):
        client, self._client = self._client, None
        if client:
            client.close()

    # --- the protocol -----------------------------------------------------------------------------------------------

    def _serve(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._client = client
            try:
                stream = client.makefile("rb")
                if self._shake_hands(client, stream):
                    while self._request(client, stream):
                        pass
            except (OSError, EOFError, ValueError):
                pass  # it was killed; who waits for it will see
            client.close()

    @staticmethod
    def _take(stream, layout):
        return struct.unpack(layout, VolatileDisk._bytes(stream, struct.calcsize(layout)))

    @staticmethod
    def _bytes(stream, size):
        data = stream.read(size)
        if len(data) < size:
            raise EOFError
        return data

    def _shake_hands(self, client, stream):
        client.sendall(b"NBDMAGIC" + struct.pack(">QH", OPTION_MAGIC, 3))
        no_zeroes = self._take(stream, ">I")[0] & 2
        flags = HAS_FLAGS | SEND_FLUSH
        while True:
            magic, option, size = self._take(stream, ">QII")
            if magic != OPTION_MAGIC:
                return False
            self._bytes(stream, size)

            def reply(kind, data=b""):
                client.sendall(struct.pack(">QIII", REPLY_MAGIC, option, kind, len(data)) + data)
            if option == OPT_EXPORT_NAME:
                client.sendall(struct.pack(">QH", len(self._now), flags) + (b"" if no_zeroes else bytes(124)))
                return True
            if option in (OPT_GO, OPT_INFO):
                reply(REP_INFO, struct.pack(">HQH", INFO_EXPORT, len(self._now), flags))
                reply(REP_INFO, struct.pack(">HIII", INFO_BLOCK_SIZE, SECTOR, 4096, 32 << 20))
                reply(REP_ACK)
                if option == OPT_GO:
                    return True
            elif option == OPT_ABORT:
                reply(REP_ACK)
                return False
            else:
                reply(REP_UNSUPPORTED)

    def _request(self, client, stream):
        magic, flags, kind, handle, offset, size = self._take(stream, ">IHHQQI")
        if magic != REQUEST_MAGIC or kind == DISCONNECT:
            return False
        data = self._bytes(stream, size) if kind == WRITE else b""
        with self._lock:
            if self._client is not client:
                return False  # came after the cut
            error, answer = self._act(flags, kind, offset, size, data)
        if error is None:
            self.held.set()
            return True
        client.sendall(struct.pack(">IIQ", ANSWER_MAGIC, error, handle) + answer)
        return True

    def _act(self, flags, kind, offset, size, data):
        if flags or offset + size > len(self._now):
            return EINVAL, b""
        if kind == READ:
            return 0, self._now[offset:offset + size]
        if kind == WRITE:
            self._now[offset:offset + size] = data
            self._pending.append((offset, data))
            self.writes += 1
            return 0, b""
        if kind != FLUSH:
            return EINVAL, b""
        if self._hold and self._pending:
            return None, b""
        for start, written in self._pending:
            self._safe[start:start + len(written)] = written
        self._pending.clear()
        self.flushes += 1
        return 0, b""
