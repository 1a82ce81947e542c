"""Exchange: files and large bodies between a real socket and an ASGI app, past parser, loop and queue."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from headwater.front import exchange, protocol
from headwater.front.exchange import TAKE, TAKE_BYTES_MIN, VISIT_BYTES, ZERO_COPY
from headwater.front.protocol import Connection, uvicorn_options
from headwater.ground.settings import Settings

LARGE = 2 * VISIT_BYTES + 12_345  # more than one visit to a worker thread, and no round number
GET = b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n"
Serve = Callable[..., int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`serve(app, **settings)`: a port where uvicorn serves the app over our connections, until the test ends."""
    with contextlib.ExitStack() as stack:

        def start(app: Any, **given: Any) -> int:
            sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            server = uvicorn.Server(uvicorn.Config(app, **uvicorn_options(Settings(**given))))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
            thread.start()
            stack.callback(thread.join)
            stack.callback(setattr, server, "should_exit", True)
            return int(sock.getsockname()[1])

        yield start


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def answer_of(sock: socket.socket) -> tuple[int, bytes]:
    """Status and body of the next answer, which must state its length; a connection that breaks raises."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(sock)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(lines[b"content-length"]):
        body += _some(sock)
    return int(head.split()[1]), body


def _some(sock: socket.socket) -> bytes:
    data = sock.recv(1 << 20)
    if not data:
        raise ConnectionResetError
    return data


async def start(send: Any, length: int, status: int = 200) -> None:
    headers = [(b"content-length", str(length).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def body(send: Any, data: bytes = b"", *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


class Sends:
    """An app that sends the bytes [start, stop) of a file, between b'<' and b'>'. `ended` is what came of it."""

    def __init__(self, path: Path, start: int, stop: int) -> None:
        self.path, self.start, self.stop = path, start, stop
        self.ended = threading.Event()
        self.error: OSError | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert ZERO_COPY in scope["extensions"]
        await start(send, self.stop - self.start + 2)
        await body(send, b"<", more=True)
        with self.path.open("rb") as file:
            run = {"file": file.fileno(), "offset": self.start, "count": self.stop - self.start}
            try:
                await send({"type": ZERO_COPY, **run, "more_body": True})
            except OSError as error:
                self.error = error
                raise
            finally:
                self.ended.set()
        await body(send, b">")


class Takes:
    """An app that takes a body and answers with its length. `refuse_from`: `write` refuses what reaches it."""

    def __init__(self, refuse_from: int = LARGE + 1) -> None:
        self.got: list[bytes] = []
        self.refuse_from = refuse_from
        self.ended = threading.Event()
        self.error: Exception | None = None

    def write(self, data: bytes) -> None:
        if sum(map(len, self.got)) + len(data) >= self.refuse_from:
            raise ValueError("no more")
        self.got.append(data)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await scope["extensions"][TAKE](self.write)
        except (ConnectionError, TimeoutError, ValueError) as error:
            self.error = error
            self.ended.set()
            if not isinstance(error, ValueError):
                raise
        rest, more = b"", True
        while more:
            message = await receive()
            assert message["type"] == "http.request", message
            rest, more = rest + message["body"], message["more_body"]
        self.got.append(rest)
        said = str(sum(map(len, self.got))).encode()
        await start(send, len(said), 413 if self.error else 200)
        await body(send, said)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(LARGE))
    return path


def put(length: int, *more: bytes) -> bytes:
    return b"\r\n".join([b"PUT / HTTP/1.1", b"Host: hub", b"Content-Length: %d" % length, *more, b"", b""])


# --- out ---


def test_a_part_of_a_file_is_sent_between_other_bytes_and_the_connection_goes_on(serve: Serve, large: Path) -> None:
    wanted = b"<" + large.read_bytes()[1000 : LARGE - 7] + b">"
    with connected(serve(Sends(large, 1000, LARGE - 7))) as sock:
        for _ in range(2):
            sock.sendall(GET)
            assert answer_of(sock) == (200, wanted)


def test_two_requests_at_once_are_answered_one_after_the_other(serve: Serve, large: Path) -> None:
    wanted = b"<" + large.read_bytes()[:100] + b">"
    with connected(serve(Sends(large, 0, 100))) as sock:
        sock.sendall(GET + GET)
        got = b""
        while got.count(b"\r\n\r\n") < 2 or not got.endswith(wanted):
            got += _some(sock)
        assert got.count(wanted) == 2


def test_a_file_that_ends_too_early_is_an_error_and_no_whole_answer(serve: Serve, large: Path) -> None:
    app = Sends(large, 0, LARGE + 1)
    with connected(serve(app)) as sock:
        sock.sendall(GET)
        with pytest.raises(ConnectionError):
            answer_of(sock)
    assert app.error is not None and app.error.errno == errno.EIO


def test_a_client_that_leaves_ends_the_sending(serve: Serve, large: Path) -> None:
    app = Sends(large, 0, LARGE)
    with connected(serve(app)) as sock:
        sock.sendall(GET)
        _some(sock)
    assert app.ended.wait(30) and app.error is None


def test_a_client_that_leaves_with_the_last_byte_of_a_file_is_no_mistake(
    serve: Serve, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Sends(large, 0, 1000)
    sending, left, sent = exchange._send_some, threading.Event(), threading.Event()
    ended: list[BaseException | None] = []

    def send_some(out: socket.socket, *part: int) -> int:
        count = sending(out, *part)
        sent.set()
        assert left.wait(30)
        return count

    class Watched(exchange.Exchange):
        async def _send_file(self, *run: int) -> None:
            try:
                await super()._send_file(*run)
            except BaseException as error:
                ended.append(error)
                raise
            ended.append(None)

    lost = Connection.connection_lost

    def connection_lost(connection: Connection, error: Exception | None) -> None:
        lost(connection, error)
        left.set()

    monkeypatch.setattr(exchange, "_send_some", send_some)
    monkeypatch.setattr(protocol, "Exchange", Watched)
    monkeypatch.setattr(Connection, "connection_lost", connection_lost)
    with connected(serve(app)) as sock:
        sock.sendall(GET)
        assert sent.wait(30)
    assert app.ended.wait(30)
    assert ended == [None]


def test_a_client_that_takes_nothing_for_the_idle_time_is_cut_off(serve: Serve, large: Path) -> None:
    app = Sends(large, 0, LARGE)
    with connected(serve(app, idle_timeout_s=0.2)) as sock:
        sock.sendall(GET)
        assert app.ended.wait(30) and app.error is None
        with pytest.raises(ConnectionError):
            answer_of(sock)


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb", b"a\0b"])
def test_a_header_that_would_begin_another_is_not_sent(serve: Serve, value: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-evil", value)]})

    with connected(serve(app)) as sock:
        sock.sendall(GET)
        assert answer_of(sock) == (500, b"Internal Server Error")


def test_a_body_shorter_than_its_length_breaks_the_connection(serve: Serve) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, 10)
        await body(send, b"short")

    with connected(serve(app)) as sock, pytest.raises(ConnectionError):
        sock.sendall(GET)
        answer_of(sock)


# --- in ---


def test_a_large_body_reaches_write_in_order_and_the_connection_goes_on(serve: Serve) -> None:
    app, data = Takes(), os.urandom(LARGE)
    with connected(serve(app)) as sock:
        for _ in range(2):
            app.got.clear()
            sock.sendall(put(LARGE) + data)
            assert answer_of(sock) == (200, b"%d" % LARGE)
            assert b"".join(app.got) == data


def test_a_body_of_which_the_first_bytes_came_with_the_head_is_whole(serve: Serve) -> None:
    app, data = Takes(), os.urandom(TAKE_BYTES_MIN + 5000)
    with connected(serve(app)) as sock:
        sock.sendall(put(len(data)) + data[:3000])
        sock.sendall(data[3000:])
        assert answer_of(sock) == (200, b"%d" % len(data))
    assert b"".join(app.got) == data


def test_a_short_body_is_left_to_receive(serve: Serve) -> None:
    app = Takes()
    with connected(serve(app)) as sock:
        sock.sendall(put(5) + b"short")
        assert answer_of(sock) == (200, b"5")
    assert app.got == [b"short"]


def test_a_client_that_asks_first_is_told_to_go_on(serve: Serve) -> None:
    app, data = Takes(), os.urandom(TAKE_BYTES_MIN)
    with connected(serve(app)) as sock:
        sock.sendall(put(len(data), b"Expect: 100-continue"))
        assert _some(sock) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(data)
        assert answer_of(sock) == (200, b"%d" % len(data))
    assert b"".join(app.got) == data


@pytest.mark.parametrize("refuse_from", [1, TAKE_BYTES_MIN, LARGE])
def test_what_write_refuses_leaves_the_rest_to_receive_and_the_connection_goes_on(
    serve: Serve, refuse_from: int
) -> None:
    app, data = Takes(refuse_from), os.urandom(LARGE)
    with connected(serve(app)) as sock:
        sock.sendall(put(LARGE) + data)
        status, _ = answer_of(sock)
        assert status == 413
        app.refuse_from, app.error = LARGE, None
        app.got.clear()
        sock.sendall(put(5) + b"again")
        assert answer_of(sock) == (200, b"5")


def test_a_client_that_leaves_within_a_body_is_told_to_the_app(serve: Serve) -> None:
    app = Takes()
    with connected(serve(app)) as sock:
        sock.sendall(put(LARGE) + bytes(TAKE_BYTES_MIN))
    assert app.ended.wait(30) and isinstance(app.error, ConnectionError)


def test_a_client_that_sends_nothing_for_the_idle_time_is_told_to_the_app(serve: Serve) -> None:
    app = Takes()
    with connected(serve(app, idle_timeout_s=0.2)) as sock:
        sock.sendall(put(LARGE) + b"one")
        assert app.ended.wait(30) and isinstance(app.error, TimeoutError)
