"""Connection: what is refused before it is a request says what every error says (hub-contract 1)."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from headwater.front.protocol import uvicorn_options
from headwater.ground.settings import Settings

HOST = b"Host: hub\r\n"
LIMITS = Settings(url_bytes_max=1000, header_bytes_max=2000, header_timeout_s=0.3, connections_max=2)
REFUSED = {
    "a long address": (b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, "LimitExceeded"),
    "long headers": (b"GET / HTTP/1.1\r\nX-A: " + b"a" * 3000 + b"\r\n\r\n", 431, "LimitExceeded"),
    "no end of headers": (b"GET / HTTP/1.1\r\n" + HOST, 408, "BadRequest"),
    "no HTTP": (b"what do you want\r\n\r\n", 400, "BadRequest"),
    "a bad header": (b"GET / HTTP/1.1\r\nHost hub\r\n\r\n", 400, "BadRequest"),
    "HTTP/1.0 in chunks": (
        b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "BadRequest"
    ),
    "another version": (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505, "NotOffered"),
    "a bad chunk": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nno\r\n", 400, "BadRequest"),
}  # fmt: skip


async def waits(_scope: Any, receive: Any, send: Any) -> None:
    """An app that answers when the body is there."""
    while (message := await receive())["type"] != "http.disconnect" and message.get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def port() -> Iterator[int]:
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server = uvicorn.Server(uvicorn.Config(waits, **uvicorn_options(LIMITS)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        stack.callback(thread.join)
        stack.callback(setattr, server, "should_exit", True)
        yield int(sock.getsockname()[1])


class Standing:
    """Of an event loop and a transport what a connection asks between requests; time is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits: list[tuple[float, Callable[[], None]]] = []
        self.closed = False

    def time(self) -> float:
        return self.now_s

    def call_later(self, delay_s: float, what: Callable[[], None]) -> object:
        self.waits.append((self.now_s + delay_s, what))
        return object()

    def ring(self) -> None:
        self.now_s, what = self.waits.pop(0)
        what()

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def test_a_connection_that_is_used_keeps_its_one_timer_and_an_idle_one_ends() -> None:
    standing: Any = Standing()
    config = uvicorn.Config(waits, **uvicorn_options(Settings(keep_alive_s=10)), loop="none")
    config.load()
    kind: Any = config.http_protocol_class
    one = kind(config=config, server_state=ServerState(), app_state={}, _loop=standing)
    one.transport, one.flow = standing, FlowControl(standing)
    for at_s in (0.0, 4.0, 8.0):
        standing.now_s = at_s
        one.on_response_complete()
    assert len(standing.waits) == 1
    standing.ring()
    assert (standing.now_s, standing.closed) == (10.0, False)
    one._unset_keepalive_if_required()  # as uvicorn does when a request begins
    standing.ring()
    assert (standing.now_s, standing.closed) == (18.0, False)  # within a request
    one.on_response_complete()
    standing.ring()
    assert (standing.now_s, standing.closed) == (28.0, True)
    assert standing.waits == []


def heard(sock: socket.socket) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON body of the one answer on this connection, which the hub then closes."""
    data = b""
    while piece := sock.recv(1 << 16):
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    assert len(body) == int(headers["content-length"]), data
    return int(lines[0].split()[1]), headers, json.loads(body)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_request_is_refused_with_the_contracts_headers_and_body(port: int, name: str) -> None:
    sent, status, code = REFUSED[name]

    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(sent)
        found, headers, body = heard(sock)

    assert (found, headers["x-error-code"]) == (status, code.lower())
    assert re.fullmatch(r"[0-9a-f]{24}", headers["x-request-id"])
    assert body == {"error": body["error"], "code": code, "request_id": headers["x-request-id"]}
    assert headers["x-error-message"] == body["error"].lower()
    assert headers["content-type"].startswith("application/json")
    assert headers["connection"] == "close"
    assert "date" in headers


def test_one_connection_too_many_is_told_when_to_come_again(port: int) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(LIMITS.connections_max):
            kept = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            kept.sendall(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            assert kept.recv(1 << 16).endswith(b"ok")
        sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        status, headers, body = heard(sock)

    assert (status, headers["x-error-code"], headers["retry-after"]) == (503, "unavailable", "5")
    assert body["request_id"] == headers["x-request-id"]


def test_two_refusals_have_two_ids(port: int) -> None:
    ids = set()
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
            sock.sendall(REFUSED["no HTTP"][0])
            ids.add(heard(sock)[1]["x-request-id"])
    assert len(ids) == 2


def test_nothing_gets_into_an_answer_that_is_on_its_way(port: int) -> None:
    """A request that waits its turn behind another, and bytes that are none behind both: the connection breaks off."""
    waiting = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\n12345"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(waiting + waiting + b"what do you want\r\n\r\n")
        data = b""
        with contextlib.suppress(ConnectionError):
            while piece := sock.recv(1 << 16):
                data += piece
    assert b" 400 " not in data
