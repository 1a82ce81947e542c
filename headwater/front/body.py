"""Bodies in and out: steps of up to 1 MiB, ranges, conditional requests, clients that leave or stand still.

HTTP's inclusive range ends exist only in this file. Never Starlette's FileResponse: 64 KiB steps cost five times the
CPU (performance.md). A `send` does not fail after the client has left, so long bodies watch for that themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import re
import struct
import tempfile
import termios
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import Executor
from functools import lru_cache, partial
from itertools import pairwise
from typing import IO, Any, Protocol

from headwater.front.answer import Answer, Piece
from headwater.front.exchange import TAKE, ZERO_COPY
from headwater.ground.errors import Invalid, TooMuch
from headwater.store import FileRun, Unreadable, meaning, unreadable

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Coroutine[Any, Any, None]]
Take = Callable[[Callable[[bytes], None]], Awaitable[None]]

STEP = 1 << 20  # 1 MiB: cheapest per byte; 4 MiB pieces cost twice as much (performance.md)
CROWDED_STEP = 128 << 10  # when many transfers run at once, so that slow peers hold little memory
CROWD = 48
LINGER_BYTES = 32 << 20  # and no more than this of it: an endless body ends with the connection
LINGER_S = 3.0  # after an early refusal the rest of a body is read: a reset would take the answer from the client
SPOOL_MEMORY = 4 << 20  # a spooled body up to this size never touches the disk
HEADER_NAMES_KEPT = 256  # answers have a few dozen
RANGES_MAX = 16  # parts of one multipart answer; more is an attack, not a client


def line_max(inline_file_max: int) -> int:
    """Bytes of a commit's line: base64 is a third longer than the file; the rest is room for path and quoting."""
    return inline_file_max * 4 // 3 + 64 * 1024


class ClientGone(Exception):
    """The client left, or stood still for too long, in the middle of a body."""


class Sink(Protocol):
    """Takes a body piece by piece, in worker threads, so that no thread waits for a slow client."""

    def write(self, data: bytes) -> None: ...
    def finish(self) -> Answer: ...
    def abort(self) -> None:
        """The body ended early or was refused: leave nothing behind."""


class Traffic:
    """How many long bodies are under way, and how they are cut into steps."""

    def __init__(self, pool: Executor, waiting: Executor, idle_timeout_s: float) -> None:
        self.pool = pool
        self.waiting = waiting
        """For bodies made by iterators, which may wait for a child process or a long check."""
        self.idle_timeout_s = idle_timeout_s
        self.running = 0

    @property
    def step(self) -> int:
        return STEP if self.running < CROWD else CROWDED_STEP


class Incoming:
    """One request's body as the network delivers it."""

    def __init__(
        self, receive: Receive, headers: dict[str, str], traffic: Traffic, extensions: Message | None = None
    ) -> None:
        self._receive = receive
        self._traffic = traffic
        self._take: Take | None = (extensions or {}).get(TAKE)
        self.zero_copy = ZERO_COPY in (extensions or {})
        """Whether the connection sends files by itself."""
        self.complete = False
        length = headers.get("content-length", "")
        self.declared = int(length) if length.isascii() and length.isdigit() and len(length) < 19 else None

    def refuse_over(self, most: int, setting: str) -> None:
        """Refuses by the declared length, before a byte is read."""
        if self.declared is not None and self.declared > most:
            raise TooMuch(f"The body has {self.declared} bytes; at most {most} are taken here (setting {setting})")

    async def step(self) -> bytes:
        """The next piece, gathered up to the step size; b'' at the end."""
        parts: list[bytes] = []
        size, most = 0, self._traffic.step
        while size < most and not self.complete:
            try:
                async with asyncio.timeout(self._traffic.idle_timeout_s):
                    message = await self._receive()
            except TimeoutError:
                raise ClientGone from None
            if message["type"] == "http.disconnect":
                raise ClientGone
            if piece := message.get("body", b""):
                parts.append(piece)
                size += len(piece)
            self.complete = not message.get("more_body", False)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def forget(self) -> None:
        """Reads on for a while and drops it, so that a client that only sends can get to our answer."""
        dropped = 0
        with contextlib.suppress(ClientGone, TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while not self.complete and dropped < LINGER_BYTES:
                    dropped += len(await self.step())

    async def whole(self, most: int, setting: str) -> bytes:
        self.refuse_over(most, setting)
        parts: list[bytes] = []
        size = 0
        while piece := await self.step():
            size += len(piece)
            if size > most:
                raise TooMuch(f"The body has more than {most} bytes (setting {setting})")
            parts.append(piece)
        return b"".join(parts)

    async def spool(self, most: int, setting: str, folder: str, line_max: int | None) -> IO[bytes]:
        """The body as a file at its start: in memory while small, on the data disk when not.

        `line_max`: more bytes than this without a line's end are refused.
        """
        self.refuse_over(most, setting)
        loop = asyncio.get_running_loop()
        file = tempfile.SpooledTemporaryFile(SPOOL_MEMORY, dir=folder)  # noqa: SIM115 - the request closes it
        size = line_size = 0
        try:
            while piece := await self.step():
                size += len(piece)
                if size > most:
                    raise TooMuch(f"The body has more than {most} bytes (setting {setting})")
                # only what has no end yet is looked at: whoever reads the lines measures the others
                end = piece.rfind(b"\n") + 1
                line_size = len(piece) - end if end else line_size + len(piece)
                if line_max is not None and line_size > line_max:
                    raise TooMuch(
                        f"A line of the body is longer than {line_max} bytes: larger files have to go through LFS or "
                        "Xet (setting inline_file_max)"
                    )
                if size > SPOOL_MEMORY:
                    await loop.run_in_executor(self._traffic.pool, file.write, piece)
                else:
                    file.write(piece)
            file.seek(0)
        except OSError as error:
            file.close()
            raise meaning(error, "taking the body") from error
        except BaseException:
            file.close()
            raise
        return file

    async def into(self, sink: Sink) -> Answer:
        """Feeds the sink; whatever goes wrong, the sink hears of it."""
        loop, pool = asyncio.get_running_loop(), self._traffic.pool
        self._traffic.running += 1
        try:
            if self._take is not None:
                await self._taken(self._take, sink)
            while piece := await self.step():
                await loop.run_in_executor(pool, sink.write, piece)
            return await loop.run_in_executor(pool, sink.finish)
        except BaseException:
            await asyncio.shield(loop.run_in_executor(pool, sink.abort))
            raise
        finally:
            self._traffic.running -= 1

    async def _taken(self, take: Take, sink: Sink) -> None:
        try:
            await take(sink.write)
        except (ConnectionError, TimeoutError):
            raise ClientGone from None


async def begin(answer: Answer, traffic: Traffic) -> None:
    """Reads the first step of a stored file before a status goes out: what the disk does not give is an error then.

    Bodies without a known length are left alone: they are made by processes that may think for long.
    """
    pieces: list[Piece] = list(answer.pieces or ())
    at = next((number for number, piece in enumerate(pieces) if not isinstance(piece, bytes)), None)
    if at is None or answer.length is None:
        return
    piece = pieces[at]
    loop = asyncio.get_running_loop()
    if isinstance(piece, FileRun):
        # It stays open: from here on nobody can delete it under the client's hands.
        # A small step: many may begin at once, before any of them is counted.
        pieces[at] = await loop.run_in_executor(traffic.pool, _begun, piece, CROWDED_STEP)
        answer.pieces = pieces
    else:
        assert not isinstance(piece, bytes)
        steps = iter(piece)
        made = await loop.run_in_executor(traffic.waiting, _next, steps)
        answer.pieces = [*pieces[:at], made or b"", steps, *pieces[at + 1 :]]


class _Reading:
    """A run of a file, open. `ahead` was read and not yet sent."""

    def __init__(self, run: FileRun) -> None:
        self._run = run
        self._at = run.start
        self.ahead = b""
        try:
            self._file = run.path.open("rb", buffering=0)
            self._file.seek(run.start)
        except OSError as error:
            raise unreadable(run.path, error) from error

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return self._run.stop - self._at

    def step(self, most: int) -> bytes:
        """The next bytes; b'' at the end."""
        if self.ahead:
            data, self.ahead = self.ahead, b""
            return data
        size = min(most, self.left)
        try:
            data = self._file.read(size)
        except OSError as error:
            raise unreadable(self._run.path, error) from error
        if size and not data:
            # a file shorter than its row: the connection breaks, so that no client takes it for whole
            raise Unreadable(self._run.path, f"it ends before byte {self._run.stop}")
        self._at += len(data)
        return data

    async def send_rest(self, send: Send) -> None:
        """By the connection itself, which also sees to clients that stand still (`protocol.py`)."""
        message = {"type": ZERO_COPY, "file": self._file.fileno(), "offset": self._at, "count": self.left}
        self._at = self._run.stop
        try:
            await send({**message, "more_body": True})
        except OSError as error:
            raise unreadable(self._run.path, error) from error

    def __iter__(self) -> Iterator[bytes]:
        return iter(partial(self.step, STEP), b"")

    def close(self) -> None:
        self._file.close()


def _begun(run: FileRun, most: int) -> _Reading:
    reading = _Reading(run)
    try:
        reading.ahead = reading.step(most)
    except BaseException:
        reading.close()
        raise
    return reading


@lru_cache(HEADER_NAMES_KEPT)
def _name(name: str) -> bytes:
    return name.lower().encode("latin-1")


def encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as they go over the line."""
    return [(_name(name), value.encode("latin-1")) for name, value in headers.items()]


def _headers(answer: Answer) -> list[tuple[bytes, bytes]]:
    length = answer.length if answer.pieces is not None else len(answer.body)
    headers = [*answer.encoded, *encoded(answer.headers)]
    if answer.cookies:
        headers.extend((b"set-cookie", value.encode("latin-1")) for value in answer.cookies)
    if length is not None and answer.status not in (204, 304):
        headers.append((b"content-length", b"%d" % length))
    return headers


Packet = tuple[int, list[tuple[bytes, bytes]], bytes]
"""Status, headers and body of a whole answer."""


def packet(answer: Answer, *, head_only: bool) -> Packet | None:
    """An answer that is in memory as a whole; None: it has to be streamed."""
    body = b"" if head_only else _in_memory(answer)
    return None if body is None else (answer.status, _headers(answer), body)


def _in_memory(answer: Answer) -> bytes | None:
    if answer.pieces is None:
        return answer.body
    if len(answer.pieces) == 1 and isinstance(whole := answer.pieces[0], bytes) and len(whole) <= STEP:
        return whole
    return None


async def send(
    answer: Answer, send: Send, receive: Receive, traffic: Traffic, incoming: Incoming, *, head_only: bool
) -> None:
    """The whole answer. Where the request's body was not read to its end, the connection closes after."""
    headers = _headers(answer)
    if not incoming.complete:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if head_only or answer.pieces is None:
        if not incoming.complete:
            await send({"type": "http.response.body", "body": b"" if head_only else answer.body, "more_body": True})
            await incoming.forget()
            await send({"type": "http.response.body", "body": b""})
            return
        await send({"type": "http.response.body", "body": b"" if head_only else answer.body})
        return
    if (whole := _in_memory(answer)) is not None:
        await send({"type": "http.response.body", "body": whole})
        return
    left = asyncio.Event()
    watch = asyncio.create_task(_watch(receive, left)) if incoming.complete else None
    traffic.running += 1
    try:
        if answer.length is None:
            # the head goes out now, however long the first piece takes
            await _send_step(b"", send, left, traffic, more=True)
        for piece in answer.pieces:
            if isinstance(piece, FileRun | _Reading):
                await _send_run(piece, send, left, traffic, incoming)
            else:
                await _send_made([piece] if isinstance(piece, bytes) else piece, send, left, traffic)
        await _send_step(b"", send, left, traffic, more=False)
    finally:
        traffic.running -= 1
        if watch is not None:
            watch.cancel()
        for piece in answer.pieces:
            close = getattr(piece, "close", None)
            if close is not None:
                await asyncio.get_running_loop().run_in_executor(traffic.waiting, close)


async def _watch(receive: Receive, left: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    left.set()


async def _send_run(
    piece: FileRun | _Reading, send: Send, left: asyncio.Event, traffic: Traffic, incoming: Incoming
) -> None:
    loop = asyncio.get_running_loop()
    reading = piece if isinstance(piece, _Reading) else await loop.run_in_executor(traffic.pool, _Reading, piece)
    with contextlib.closing(reading):
        if reading.ahead:
            await _send_step(reading.step(0), send, left, traffic, more=True)
        while reading.left:
            if left.is_set():
                raise ClientGone
            if incoming.zero_copy:
                await reading.send_rest(send)
            else:
                data = await loop.run_in_executor(traffic.pool, reading.step, traffic.step)
                await _send_step(data, send, left, traffic, more=True)


async def _send_made(piece: Iterable[bytes], send: Send, left: asyncio.Event, traffic: Traffic) -> None:
    steps, loop = iter(piece), asyncio.get_running_loop()
    while (made := await loop.run_in_executor(traffic.waiting, _next, steps)) is not None:
        await _send_step(made, send, left, traffic, more=True)


def _next(steps: Iterator[bytes]) -> bytes | None:
    return next(steps, None)


async def _send_step(data: bytes, send: Send, left: asyncio.Event, traffic: Traffic, *, more: bool) -> None:
    """Hands on a step; ClientGone when nothing at all was taken for the idle time. A slow client is not a dead one."""
    if left.is_set():
        raise ClientGone
    sending = asyncio.ensure_future(send({"type": "http.response.body", "body": data, "more_body": more}))
    try:
        unsent = _unsent(send)
        while not (await asyncio.wait({sending}, timeout=traffic.idle_timeout_s))[0]:
            before, unsent = unsent, _unsent(send)
            if unsent >= before:
                raise ClientGone
        await sending
    finally:
        sending.cancel()


def _unsent(send: Send) -> int:
    """Bytes that the client has not taken: those in our buffer, and in the system's, which may hold megabytes."""
    # uvicorn's `send` is a method of what knows the transport
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None or transport.is_closing():
        return 0
    waiting = int(transport.get_write_buffer_size())
    with contextlib.suppress(OSError, AttributeError):
        sock = transport.get_extra_info("socket")
        waiting += struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
    return waiting


# --- ranges (RFC 9110 section 14) -------------------------------------------------------------------------------

_NO_BOUNDARY = re.compile(r"[^A-Za-z0-9]")
_RANGE = re.compile(r"(\d{0,18})-(\d{0,18})\Z")


class Unsatisfiable(Invalid):
    """No byte of the range exists: 416 with the size in Content-Range."""

    def __init__(self, header: str, size: int) -> None:
        super().__init__(
            f"Range {header[:100]!r} can't be satisfied: the file has {size} bytes",
            status=416,
            headers={"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"},
        )


def ranges(header: str, size: int) -> list[tuple[int, int]] | None:
    """Half-open runs that a Range header asks for; None: no usable header, send everything.

    Raises Unsatisfiable for runs outside the file, too many of them, or runs that overlap: answering those would send
    more than the file (T58).
    """
    unit, equals, listed = header.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    specs = listed.split(",")
    if len(specs) > RANGES_MAX:
        raise Unsatisfiable(header, size)
    runs: list[tuple[int, int]] = []
    for spec in specs:
        found = _RANGE.match(spec.strip())
        if found is None or found.group(0) == "-":
            return None  # malformed: RFC 9110 says to ignore it
        first, last = found.groups()
        if first == "":
            start, stop = max(0, size - int(last)), size
        else:
            start, stop = int(first), min(int(last) + 1, size) if last else size
            if last and int(last) < int(first):
                return None
        if start < stop:
            runs.append((start, stop))
    if not runs:
        raise Unsatisfiable(header, size)
    ordered = sorted(runs)
    if any(a[1] > b[0] for a, b in pairwise(ordered)):
        raise Unsatisfiable(header, size)
    return runs


CONDITIONS = frozenset(("if-none-match", "range", "if-range"))
"""The headers of a request that `ranged` heeds: without them the answer is the whole file."""
WHOLE = {"Accept-Ranges": "bytes"}
"""What every answer with a file says."""


def ranged(
    answer: Answer, size: int, pieces: Callable[[int, int], Sequence[Piece]], asked: dict[str, str], boundary: str
) -> Answer:
    """Completes `answer` (which carries ETag and Content-Type) with the bytes that the request's headers ask for."""
    etag = answer.headers.get("ETag", "")
    answer.headers |= WHOLE
    known = [tag.strip().removeprefix("W/") for tag in asked.get("if-none-match", "").split(",")]
    if etag and (etag in known or "*" in known):
        return Answer(304, answer.headers)
    header = asked.get("range", "")
    if_range = asked.get("if-range", "")
    runs = ranges(header, size) if header and (not if_range or if_range == etag) else None
    if runs is None:
        answer.pieces, answer.length = pieces(0, size), size
    elif len(runs) == 1:
        start, stop = runs[0]
        answer.status = 206
        answer.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        answer.pieces, answer.length = pieces(start, stop), stop - start
    else:
        _multipart(answer, size, pieces, runs, boundary)
    return answer


def _multipart(
    answer: Answer,
    size: int,
    pieces: Callable[[int, int], Sequence[Piece]],
    runs: list[tuple[int, int]],
    boundary: str,
) -> None:
    kind = answer.headers.get("Content-Type", "application/octet-stream")
    # the request's id may be the client's, with characters and a length that RFC 2046 does not allow here
    boundary = _NO_BOUNDARY.sub("", boundary)[:60] or "part"
    parts: list[Piece] = []
    length = 0
    for start, stop in runs:
        head = (
            f"\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: bytes {start}-{stop - 1}/{size}\r\n\r\n"
        ).encode()
        parts.append(head)
        parts.extend(pieces(start, stop))
        length += len(head) + stop - start
    tail = f"\r\n--{boundary}--\r\n".encode()
    parts.append(tail)
    answer.status = 206
    answer.headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
    answer.pieces, answer.length = parts, length + len(tail)
