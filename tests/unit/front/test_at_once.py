"""Answers that are ready at once leave without a task, between others that are not, and in order."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from headwater.front.answer import Answer
from headwater.front.asgi import App
from headwater.front.protocol import uvicorn_options
from headwater.front.request import Request
from headwater.front.router import Route, Router
from headwater.ground.clock import SystemClock
from headwater.ground.errors import EntryMissing
from headwater.ground.names import CommitId, FilePath
from headwater.ground.settings import Settings
from headwater.store import FileRun

Ask = Callable[..., list[tuple[int, dict[str, str], bytes]]]


def told(_rooms: object, request: Request) -> Answer:
    return Answer(headers={"Content-Type": "text/plain"}, body=f"{request.method} {request.raw_path}".encode())


def thread_of(_rooms: object, _request: Request) -> Answer:
    return Answer(body=threading.current_thread().name.encode())


def missing(_rooms: object, _request: Request) -> Answer:
    raise EntryMissing(FilePath("no"), CommitId("0" * 40))


def broken(_rooms: object, _request: Request) -> Answer:
    raise ZeroDivisionError


def split(_rooms: object, _request: Request) -> Answer:
    return Answer(headers={"X-Given": "a\r\nX-Other: b"}, body=b"never")


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Ask]:
    """`ask(b"GET /quick ...", ...)`: what comes back when all that is sent in one packet."""
    (tmp_path / "incoming").mkdir()
    (tmp_path / "file").write_bytes(b"of a file")

    def file(_rooms: object, _request: Request) -> Answer:
        return Answer(pieces=[FileRun(tmp_path / "file", 3, 9)], length=6)

    handlers = {"told": told, "quick": thread_of, "missing": missing, "broken": broken, "split": split, "file": file}
    routes = [
        Route("GET", f"/{name}", handler, "for a test", auth="open", quick=True) for name, handler in handlers.items()
    ]
    routes.append(Route("GET", "/slow", thread_of, "for a test", auth="open"))
    settings = Settings(data=str(tmp_path), header_timeout_s=30)
    rooms: Any = SimpleNamespace(settings=settings, clock=SystemClock())
    app = App(rooms, Router(routes))
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server = uvicorn.Server(uvicorn.Config(app, **uvicorn_options(settings)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, name="loop")
        thread.start()
        stack.callback(app.close)
        stack.callback(thread.join)
        stack.callback(setattr, server, "should_exit", True)
        yield lambda *requests: asked(sock.getsockname()[1], requests)


def asked(port: int, requests: tuple[bytes, ...]) -> list[tuple[int, dict[str, str], bytes]]:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client, client.makefile("rb") as answers:
        client.sendall(b"".join(requests))
        return [answer_of(answers, head_only=one.startswith(b"HEAD")) for one in requests]


def answer_of(answers: Any, *, head_only: bool) -> tuple[int, dict[str, str], bytes]:
    status = int(answers.readline().split()[1])
    headers: dict[str, str] = {}
    while line := answers.readline().strip().decode():
        name, _, value = line.partition(": ")
        headers[name] = value
    return status, headers, b"" if head_only else answers.read(int(headers["content-length"]))


def request(path: str, method: str = "GET", headers: str = "", body: str = "") -> bytes:
    return f"{method} /{path} HTTP/1.1\r\nHost: hub\r\n{headers}\r\n{body}".encode()


def test_answers_of_one_packet_come_in_order_quick_or_not(ask: Ask) -> None:
    paths = ["told?1", "slow", "told?2", "told?3", "slow", "file", "told?4"]
    bodies = [body for _, _, body in ask(*map(request, paths))]
    assert [body for body in bodies if body.startswith(b"GET")] == [b"GET /told"] * 4
    assert bodies[0] == bodies[2] == b"GET /told"
    assert bodies[5] == b"a file"
    assert all(body.startswith(b"request") for body in (bodies[1], bodies[4]))  # a thread of the pool


def test_a_quick_route_is_answered_by_the_loops_own_thread_however_it_is_asked(ask: Ask) -> None:
    with_body = request("quick", headers="Content-Length: 4\r\n", body="body")
    assert [body for _, _, body in ask(request("quick"), request("quick"), with_body)] == [b"loop"] * 3


def test_an_answer_at_once_says_what_every_answer_says(ask: Ask) -> None:
    ((status, headers, body),) = ask(request("told", headers="X-Request-Id: mine\r\n"))
    assert (status, body) == (200, b"GET /told")
    assert headers["x-request-id"] == "mine"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-length"] == "9"
    assert "date" in headers
    assert "connection" not in headers


def test_head_has_the_length_and_no_body_and_the_connection_goes_on(ask: Ask) -> None:
    head, after = ask(request("told", "HEAD"), request("told"))
    assert (head[0], head[1]["content-length"]) == (200, "10")
    assert after[2] == b"GET /told"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("missing", 404, "EntryNotFound"), ("broken", 500, "InternalError"), ("nowhere", 404, "NotOffered")],
)
def test_an_error_is_an_answer_and_the_connection_goes_on(ask: Ask, path: str, status: int, code: str) -> None:
    error, after = ask(request(path), request("told"))
    assert (error[0], error[1]["x-error-code"]) == (status, code)
    assert after[2] == b"GET /told"


def test_a_client_that_wants_to_be_left_is_left(ask: Ask) -> None:
    ((_, headers, body),) = ask(request("told", headers="Connection: close\r\n"))
    assert (headers["connection"], body) == ("close", b"GET /told")


def test_a_header_cannot_begin_another_one(ask: Ask) -> None:
    with contextlib.suppress(ConnectionError, IndexError):  # nothing at all may come
        ((status, headers, _),) = ask(request("split"))
        assert status >= 400
        assert "x-other" not in headers
