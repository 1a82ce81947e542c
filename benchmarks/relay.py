"""A relay between a client and the hub that counts what the client sends, by what it is sent for.

So "0 data bytes" is what went over the wire, not what the client or the server says of itself. Understands HTTP/1.1
requests just far enough to tell heads from bodies; passes every byte through unchanged.
"""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from contextlib import suppress

BLOCK_BYTES = 1 << 18
HEAD_BYTES_MAX = 1 << 20
XORBS = re.compile(r"/xet/(v1/)?xorb")  # the routes that take data; shards only say where data lies
_LENGTH = re.compile(rb"(?im)^content-length:[ \t]*(\d+)")
_CHUNKED = re.compile(rb"(?im)^transfer-encoding:.*chunked")


class RequestCounter:
    """Feeds on one connection's bytes; adds each body's length to `bodies` under the request's path."""

    def __init__(self, bodies: Counter[str]) -> None:
        self._bodies = bodies
        self._head = bytearray()
        self._path = ""
        self._left = 0
        self._chunked = False

    def feed(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            if self._left:
                part = min(self._left, len(view))
                self._left -= part
                self._bodies[self._path] += part
                view = view[part:]
            else:
                self._head += view
                view = memoryview(self._after_line() if self._chunked else self._after_head())

    def _after_head(self) -> bytes:
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            assert len(self._head) < HEAD_BYTES_MAX, "not HTTP"
            return b""
        head, rest = bytes(self._head[: end + 2]), bytes(self._head[end + 4 :])
        self._head.clear()
        self._path = head.split(b" ", 2)[1].decode("latin-1")
        length = _LENGTH.search(head)
        self._left = int(length[1]) if length else 0
        self._chunked = _CHUNKED.search(head) is not None
        return rest

    def _after_line(self) -> bytes:
        """The next chunk's size line; the line end that closes the chunk before it is skipped."""
        start = 2 if self._head.startswith(b"\r\n") else 0
        end = self._head.find(b"\r\n", start)
        if end < 0 or self._head == b"\r\n":
            return b""
        size, rest = int(bytes(self._head[start:end]).split(b";")[0], 16), bytes(self._head[end + 2 :])
        self._head.clear()
        self._left = size
        if size == 0:
            self._chunked = False
            rest = rest.removeprefix(b"\r\n")
        return rest


class Relay:
    """Listens on `port`; hands on to `target`, which may be set later than clients are told the port."""

    def __init__(self) -> None:
        self.target = 0
        self.up_bytes = 0
        self.bodies: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data_bytes(self) -> int:
        """Bodies sent to the routes that take xorbs."""
        with self._lock:
            return sum(size for path, size in self.bodies.items() if XORBS.match(path))

    def reset(self) -> None:
        with self._lock:
            self.up_bytes = 0
            self.bodies.clear()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        counter = RequestCounter(self.bodies)
        with suppress(OSError):
            while block := client.recv(BLOCK_BYTES):
                with self._lock:
                    self.up_bytes += len(block)
                    counter.feed(block)
                server.sendall(block)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while block := server.recv(BLOCK_BYTES):
                client.sendall(block)
        for sock in (client, server):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
