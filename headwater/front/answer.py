"""Answer: status, headers, body; and the only place where an error becomes HTTP.

A body is bytes, or a list of pieces (bytes, runs of a file, or an iterator) that `body.send` streams.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from headwater.ground.errors import Forbidden, Gated, HeadwaterError, RepoMissing
from headwater.ground.log import redact
from headwater.store import FileRun

_encode = msgspec.json.Encoder().encode


Piece = bytes | FileRun | Iterable[bytes]


@dataclass(slots=True)
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    pieces: Sequence[Piece] | None = None
    """Instead of `body`: streamed in order; `length` must be set, or the answer is chunked."""
    length: int | None = None
    encoded: Sequence[tuple[bytes, bytes]] = ()
    """Headers beside `headers`, as they go over the line: for those that are the same in many answers."""
    cookies: tuple[str, ...] = ()
    """Whole Set-Cookie values: the one header that may come more than once."""


def json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, _encode(value))


def text(words: str, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, {"Content-Type": "text/plain; charset=utf-8", **(headers or {})}, words.encode())


def empty(status: int = 200) -> Answer:
    return Answer(status)


def redirect(url: str, status: int = 307, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, {"Location": url, **(headers or {})})


def html(page: str, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, {"Content-Type": "text/html; charset=utf-8", **(headers or {})}, page.encode())


def of_error(error: HeadwaterError, request_id: str, *, signed_in: bool) -> Answer:
    """The Hub's headers, and a body that says the same: `{"error", "code", "request_id"}` and the error's details.

    Who is nobody gets 401 where somebody would get 404 or 403: the Hub's rule, and what makes git ask for a password.
    """
    status = error.status
    if not signed_in and isinstance(error, RepoMissing | Gated | Forbidden):
        status = 401
    words = redact(error.text)
    headers = {
        "X-Error-Code": error.code,
        "X-Error-Message": "".join(c if 32 <= ord(c) < 127 else "?" for c in words)[:1000],
        **error.headers,
    }
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="Headwater", charset="UTF-8"'
    return json({"error": words, "code": error.code, "request_id": request_id, **error.details}, status, headers)
