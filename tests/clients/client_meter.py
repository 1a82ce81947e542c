"""A byte-counting TCP relay that stands between the real clients and the hub under test.

It lets a test say "this upload sent no data" or "this download came by Xet" from what went over the wire, without
believing the client or the server, and it can cut one answer short so that a client must resume. It passes bytes
through unchanged and refuses to understand HTTP beyond the first line of each message.

Its second port speaks to the tests: `GET /state?since=N` and `GET /cut?after_bytes=N`, both answered in JSON.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

BLOCK_BYTES = 1 << 18
REQUEST_LINE = re.compile(rb"(?:^|\r\n\r\n)(GET|HEAD|POST|PUT|PATCH|DELETE) (\S+) HTTP/1\.[01]\r\n")
STATUS_LINE = re.compile(rb"^HTTP/1\.[01] (\d{3})")


@dataclass
class Meter:
    """Relays every connection on `port` to `target_port`; both on 127.0.0.1. Counts are bytes since the start."""

    target_port: int = 0
    port: int = 0
    control_port: int = 0
    up_bytes: int = 0
    down_bytes: int = 0
    lines: list[str] = field(default_factory=list)
    cut_after_bytes: int | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _listener: socket.socket | None = None
    _control: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Listen on two free ports and serve them from daemon threads."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        self._control = ThreadingHTTPServer(("127.0.0.1", 0), _control_handler(self))
        self.control_port = self._control.server_address[1]
        threading.Thread(target=self._accept, daemon=True).start()
        threading.Thread(target=self._control.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Close both ports; relayed connections end with the peers that hold them."""
        if self._listener is not None:
            with suppress(OSError):  # wakes the thread that waits in accept()
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        if self._control is not None:
            self._control.shutdown()
            self._control.server_close()

    @property
    def url(self) -> str:
        """The address that clients are given as the hub's."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def control_url(self) -> str:
        """The address under which a client script asks for the counts."""
        return f"http://127.0.0.1:{self.control_port}"

    def state(self, since: int = 0) -> dict[str, Any]:
        """Return bytes sent up and down so far, and the message lines from index `since` on."""
        with self._lock:
            return {
                "up_bytes": self.up_bytes,
                "down_bytes": self.down_bytes,
                "count": len(self.lines),
                "lines": self.lines[since:],
            }

    def _accept(self) -> None:
        assert self._listener is not None
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:  # the hub is gone: the client sees what it would see without a relay
                client.close()
                continue
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._relay_up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._relay_down, args=(server, client), daemon=True).start()

    def _relay_up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while block := client.recv(BLOCK_BYTES):
                seen = [f"{m[1].decode()} {m[2].decode('latin-1')}" for m in REQUEST_LINE.finditer(block)]
                with self._lock:
                    self.up_bytes += len(block)
                    self.lines.extend(seen)
                server.sendall(block)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _relay_down(self, server: socket.socket, client: socket.socket) -> None:
        passed_bytes = 0
        with suppress(OSError):
            while block := server.recv(BLOCK_BYTES):
                status = STATUS_LINE.match(block)
                with self._lock:
                    self.down_bytes += len(block)
                    if status:
                        self.lines.append(f"  -> {status[1].decode()}")
                        passed_bytes = 0
                    passed_bytes += len(block)
                    cut = self.cut_after_bytes is not None and passed_bytes >= self.cut_after_bytes
                    if cut:
                        self.cut_after_bytes = None
                        self.lines.append("  -- cut")
                if cut:
                    break
                client.sendall(block)
        for sock in (client, server):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


def _control_handler(meter: Meter) -> type[BaseHTTPRequestHandler]:
    class Control(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            query = parse_qs(asked.query)
            if asked.path == "/cut":
                meter.cut_after_bytes = int(query["after_bytes"][0])
            body = json.dumps(meter.state(int(query.get("since", ["0"])[0]))).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Stay silent: the test run's output is for the clients' words."""

    return Control
