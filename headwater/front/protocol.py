"""uvicorn's HTTP/1.1 connection, with the limits that an open port needs (T59 to T61).

httptools (llhttp) judges the syntax strictly; what uvicorn does not limit is limited here: the time until the headers
are complete, their size and number, the length of the URL, and the number of connections.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from headwater.front import answer as answers
from headwater.front.asgi import BEGUN, SECURITY_HEADERS, App
from headwater.front.exchange import ANSWERED, TAKE, ZERO_COPY, Answered, Exchange, head
from headwater.ground.errors import HeadwaterError, Invalid, NotOffered, TooMuch, Unavailable
from headwater.ground.settings import Settings

HEADERS_MAX = 100  # browsers send about 20, the clients about 12
_WITHOUT_BODY = frozenset(("GET", "HEAD"))
_MORE_FOLLOWS = frozenset((b"content-length", b"transfer-encoding", b"expect"))
LINGER_S = 2.0  # what a refused client still sends is read and dropped: a reset would take the answer from it


def limited(settings: Settings) -> type[Connection]:
    """The connection class for these settings (uvicorn makes the instances itself)."""
    return type("Connection", (Connection,), {"settings": settings})


class Connection(HttpToolsProtocol):
    """One connection; `limited` makes a class of its own for each hub's settings."""

    settings: Settings
    _timer: asyncio.TimerHandle | None = None
    _idle_from_s = math.inf
    _header_bytes = 0
    _in_headers = False
    _refused = False
    _newest: Exchange | Answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.settings.connections_max:
            self._refuse(Unavailable("Too many connections; try again in a moment"))
            transport.close()
        else:
            self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._in_headers or self._between_requests():
            # counted here too: llhttp reports a header only when it is complete
            self._header_bytes += len(data)
            if self._header_bytes > 4 * self.settings.header_bytes_max + self.settings.url_bytes_max:
                self._too_large()
                return
        try:
            super().data_received(data)
        except _Refused:
            return
        # Nearly every request comes in one piece and needs no timer. A few blank lines are no request.
        if self._timer is None and self._idle_from_s == math.inf and self._between_requests():
            self._await_headers()

    def on_message_begin(self) -> None:
        self.url, self.expect_100_continue, self.headers = b"", False, []
        scope: Any = {"type": "http", "client": self.client, "headers": self.headers}
        self.scope = scope
        self._in_headers = True
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self.settings.url_bytes_max:
            most = self.settings.url_bytes_max
            self._refuse(TooMuch(f"The address is longer than {most} bytes (setting url_bytes_max)", status=414))
            raise _Refused

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))
        self._header_bytes += len(name) + len(value)
        if len(self.headers) > HEADERS_MAX or self._header_bytes > self.settings.header_bytes_max:
            self._too_large()
            raise _Refused

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._stop_timer()
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            self._refuse(NotOffered("Only HTTP/1.1 and HTTP/1.0 are spoken here", status=505))
            raise _Refused
        given = {name for name, _ in self.headers}
        if b"expect" in given:
            self.expect_100_continue = (b"expect", b"100-continue") in [(n, v.lower()) for n, v in self.headers]
        if version == "1.0" and b"transfer-encoding" in given:
            # RFC 9112, 6.1: faulty framing, which a proxy in front may read otherwise
            self._refuse(Invalid("HTTP/1.0 has no Transfer-Encoding"))
            raise _Refused
        url = httptools.parse_url(self.url)
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = version
        self.scope["raw_path"] = url.path
        self.scope["query_string"] = url.query or b""
        keep_alive = version == "1.1" and self.parser.should_keep_alive()
        # An answer can only be made at once where nothing of the request is left to come.
        if keep_alive and given.isdisjoint(_MORE_FOLLOWS) and self._answers_at_once():
            return
        self._exchange(keep_alive=keep_alive)

    def _exchange(self, *, keep_alive: bool) -> None:
        """As uvicorn has it at the end of the headers, with exchanges of our own, and without upgrades."""
        free = self._between_requests()
        made = Exchange(self, self._on_body_taken, self.settings.idle_timeout_s, keep_alive=keep_alive)
        self.cycle = self._newest = made
        extensions: dict[str, Any] = {ZERO_COPY: {}, TAKE: made.take}
        # What ASGI wants beside what we read.
        self.scope["path"] = unquote(self.scope["raw_path"].decode("ascii"))
        self.scope["asgi"] = {"version": self.asgi_version, "spec_version": "2.3"}
        self.scope["server"], self.scope["scheme"] = self.server, self.scheme or "http"
        self.scope["root_path"], self.scope["state"] = self.root_path, self.app_state.copy()
        self.scope["extensions"] = extensions
        if free:
            self._start_asgi_task(made, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((made, self.app))

    def _answers_at_once(self) -> bool:
        """Sends what is ready without a task and an exchange: half of what a small answer costs.

        False: it has to go the usual way, with what was begun here.
        """
        app = self.app
        if (
            self.scope["method"] not in _WITHOUT_BODY
            or not self._between_requests()
            or self.flow.write_paused
            or not isinstance(app, App)
        ):
            return False
        scope: Any = self.scope
        begun = app.begin(scope)
        packet = begun.packet()
        if packet is None:
            scope[BEGUN] = begun
            return False
        status, headers, body = packet
        self.transport.write(head(status, [*self.server_state.default_headers, *headers]) + body)
        answered: Any = ANSWERED
        self.cycle = self._newest = answered
        self.on_response_complete()
        return True

    def on_response_complete(self) -> None:
        """As uvicorn has it, but for the timer of idle connections: one that rings and is put off costs less than one
        that is made and cancelled for every request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self._idle_from_s = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self._look_if_idle)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_from_s = math.inf

    def _look_if_idle(self) -> None:
        left_s = min(self._idle_from_s - self.loop.time(), 0.0) + self.timeout_keep_alive
        if left_s > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left_s, self._look_if_idle)
        else:
            self.timeout_keep_alive_handler()

    def on_body(self, body: bytes) -> None:
        if isinstance(self._newest, Exchange) and not self._newest.response_complete and self._newest.holds(body):
            self.flow.pause_reading()

    def _on_body_taken(self) -> None:
        """The parser waits for a body that was read beside it: another one goes on with the next request."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own

    def send_400_response(self, msg: str) -> None:
        """Where the parser gives up, perhaps in the middle of a body."""
        if self._refused:
            return
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self._refuse(Invalid(msg))
        elif cycle.response_started or self.pipeline:
            self.transport.abort()  # as in `_refuse`
        else:
            self._refused = True
            self._send_refusal(Invalid(msg))
            self.transport.close()  # at once: what the request was answered otherwise must not follow

    def _between_requests(self) -> bool:
        # uvicorn's cycle is None until the first request, whatever its annotation says
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _too_large(self) -> None:
        most = self.settings.header_bytes_max
        words = f"More than {HEADERS_MAX} headers, or {most} bytes of them (setting header_bytes_max)"
        self._refuse(TooMuch(words, status=431))

    def _await_headers(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self.settings.header_timeout_s, self._late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self._in_headers:
            self._refuse(Invalid("The headers took too long", status=408))
        elif not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, error: HeadwaterError) -> None:
        self._refused = True
        self._stop_timer()
        if not self._between_requests():
            # An earlier answer is on its way: nothing may get into its bytes.
            self.transport.abort()
        elif not self.transport.is_closing():
            self._send_refusal(error)
            self.transport.write_eof()
            self._timer = self.loop.call_later(LINGER_S, self.transport.close)

    def _send_refusal(self, error: HeadwaterError) -> None:
        """As the app words its errors, for what never reaches it."""
        request_id = secrets.token_hex(12)
        made = answers.of_error(error, request_id, signed_in=True)
        made.headers |= SECURITY_HEADERS
        made.headers |= {"X-Request-Id": request_id, "Connection": "close", "Content-Length": str(len(made.body))}
        told = [(name.lower().encode(), value.encode("ascii")) for name, value in made.headers.items()]
        self.transport.write(head(made.status, [*self.server_state.default_headers, *told]) + made.body)


class _Refused(Exception):
    """Stops the parser after an answer has gone out."""


def uvicorn_options(settings: Settings) -> dict[str, Any]:
    """What `uvicorn.Config` gets besides the app."""
    return {
        "host": settings.host,
        "port": settings.port,
        "http": limited(settings),
        "ws": "none",
        "lifespan": "off",
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "date_header": True,
        "proxy_headers": False,
        "timeout_keep_alive": settings.keep_alive_s,
        "timeout_graceful_shutdown": settings.stop_grace_s,
        "backlog": 2048,
    }
