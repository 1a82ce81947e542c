"""Exchange: one request and its answer on a connection, with what large bodies need to cost little.

Files leave by sendfile(2), which ASGI's extension `http.response.zerocopysend` asks for. A large body of known length
is read by the worker thread that hashes it, straight from the socket (`headwater.take`, an extension of our own).
Either way through parser, loop and queue takes about twice the CPU. Refuses to know what is sent and why.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import select
import socket
import sys
import termios
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

ZERO_COPY = "http.response.zerocopysend"  # sends a part of an open file
TAKE = "headwater.take"  # `await take(write)` hands the body to `write`
TAKE_BYTES_MIN = 1 << 20  # a shorter rest of a body comes by `receive`
READ_STEP = 1 << 20
VISIT_BYTES = 8 << 20  # in one visit to a worker thread: a few milliseconds of a quick client's time
VISIT_WAIT_MS = 5  # the thread waits so long for a client; for a slower one the event loop does
WAITING_BYTES_MAX = 512 << 10  # of a body, beyond what was asked for
_UNFIT = bytes([*range(9), *range(10, 32), 127])  # in a header's name or value: it would begin another header

T = TypeVar("T")


def head(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head of an answer as it goes over the line. RuntimeError: a header would begin another one."""
    lines = [b"%b: %b" % header for header in headers]
    joined = b"".join(lines)
    if len(joined.translate(None, _UNFIT)) < len(joined):
        raise RuntimeError("a header of this answer holds control characters")
    return STATUS_LINE[status] + b"\r\n".join(lines) + b"\r\n\r\n"


class Answered:
    """Stands in an exchange's place once its answer went out at once: what uvicorn asks of an exchange that is over."""

    response_started = response_complete = keep_alive = True
    disconnected = False

    def __init__(self) -> None:
        self.message_event = asyncio.Event()  # nobody waits for it


ANSWERED = Answered()


class Exchange(RequestResponseCycle):
    """uvicorn's cycle, with other bodies. `on_taken` is called when the parser's body was read beside the parser."""

    def __init__(
        self, connection: HttpToolsProtocol, on_taken: Callable[[], None], idle_timeout_s: float, *, keep_alive: bool
    ) -> None:
        super().__init__(
            scope=connection.scope,
            transport=connection.transport,
            flow=connection.flow,
            logger=connection.logger,
            access_logger=connection.access_logger,
            access_log=False,
            default_headers=connection.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=connection.expect_100_continue,
            keep_alive=keep_alive,
            on_response=connection.on_response_complete,
        )
        self._on_taken = on_taken
        self._idle_timeout_s = idle_timeout_s
        declared = [value for name, value in connection.headers if name == b"content-length"]
        self._left_bytes = int(declared[0]) if declared else 0  # of the body; the parser refuses two and bad ones
        self._pieces: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._aside = False  # the body is read from the socket, the parser is passed by
        self._head = b""

    def holds(self, piece: bytes) -> bool:
        """Takes a piece of the body from the network; True when no more should come for now."""
        self._pieces.append(piece)
        self._waiting_bytes += len(piece)
        self._left_bytes -= len(piece)
        self.message_event.set()
        return self._waiting_bytes > WAITING_BYTES_MAX

    async def receive(self) -> Any:
        """A piece of the body as the network gave it; the bytes are not copied."""
        if self._aside:
            return await self._receive_aside()
        self._let_come()
        if not self._pieces and not self.disconnected and not self.response_complete:
            self.flow.resume_reading()
            await self.message_event.wait()
            self.message_event.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        piece = self._pieces.popleft() if self._pieces else b""
        self._waiting_bytes -= len(piece)
        if self._waiting_bytes < WAITING_BYTES_MAX // 2:
            self.flow.resume_reading()
        return {"type": "http.request", "body": piece, "more_body": self.more_body or bool(self._pieces)}

    async def take(self, write: Callable[[bytes], None]) -> None:
        """Hands a large body to `write`, piece by piece in worker threads; leaves a short one to `receive`.

        ConnectionError or TimeoutError when the client leaves or stands still; what `write` raises ends it too.
        """
        if self._left_bytes < TAKE_BYTES_MIN:
            return
        self.flow.pause_reading()
        self._let_come()
        here, self._waiting_bytes = list(self._pieces), 0
        self._pieces.clear()
        self._aside = True
        await _unhurried(_write_all, write, here)
        with self._own_socket() as source:
            while self._left_bytes:
                before = self._left_bytes
                await _unhurried(self._take_some, source, write, VISIT_BYTES)
                if self._left_bytes and before - self._left_bytes < VISIT_BYTES:
                    async with asyncio.timeout(self._idle_timeout_s):
                        await _readable(source)
        self._end_aside()

    async def _receive_aside(self) -> Any:
        """What `take` left of the body when `write` refused it; the parser knows nothing of it any more."""
        pieces: list[bytes] = []
        if self._left_bytes:
            try:
                with self._own_socket() as source:
                    await _readable(source)
                    await _unhurried(self._take_some, source, pieces.append, READ_STEP)
            except ConnectionError:
                return {"type": "http.disconnect"}
        if not self._left_bytes:
            self._end_aside()
        return {"type": "http.request", "body": b"".join(pieces), "more_body": self._aside}

    def _take_some(self, source: socket.socket, write: Callable[[bytes], None], most: int) -> None:
        """Up to `most` bytes of the body, fewer when the client sends no more for a while. In a worker thread."""
        most = min(most, self._left_bytes)
        while most:
            try:
                piece = source.recv(min(READ_STEP, most))
            except BlockingIOError:
                if not _wait_briefly(source, select.POLLIN):
                    return
                continue
            except OSError as error:
                raise ConnectionResetError(*error.args) from error
            if not piece:
                raise ConnectionResetError(errno.ECONNRESET, "the client left within a body")
            most -= len(piece)
            self._left_bytes -= len(piece)  # whatever `write` says to it
            write(piece)

    def _end_aside(self) -> None:
        self._aside = False
        self.more_body = False
        self.message_event.set()
        self._on_taken()

    def _let_come(self) -> None:
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.waiting_for_100_continue = False

    def _is_gone(self) -> bool:
        """Most of what a transport offers fails from then on."""
        return self.disconnected or self.transport.is_closing()

    def _own_socket(self) -> socket.socket:
        """The connection's socket under another descriptor, which outlives the transport's until it is closed."""
        if self._is_gone():
            raise ConnectionResetError
        return socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno()))

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.start":
            self._begin(message["status"], message["headers"])
        elif kind == ZERO_COPY:
            self._write(b"")
            self.expected_content_length -= message["count"]
            await self._send_file(message["file"], message["offset"], message["count"])
        else:
            self._send_body(message.get("body", b""), more=message.get("more_body", False))

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        assert not self.response_started
        sent = [*self.default_headers]
        for name, value in headers:
            if name == b"content-length":
                self.expected_content_length, self.chunked_encoding = int(value), False
            elif name == b"connection" and value == b"close":
                self.keep_alive = False
                continue
            sent.append((name, value))
        if not self.keep_alive:
            sent.append((b"connection", b"close"))
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in (204, 304):
            self.chunked_encoding = True
            sent.append((b"transfer-encoding", b"chunked"))
        self._head = head(status, sent)
        self.response_started = True
        self.waiting_for_100_continue = False

    def _send_body(self, body: bytes, *, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            self.expected_content_length, body = 0, b""
        elif self.chunked_encoding:
            body = b"".join([b"%x\r\n%b\r\n" % (len(body), body) if body else b"", b"" if more else b"0\r\n\r\n"])
        else:
            self.expected_content_length -= len(body)
        if self.expected_content_length < 0 or (self.expected_content_length and not more):
            raise RuntimeError("the answer's body has another length than its head says")
        self._write(body)
        if not more:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()

    def _write(self, body: bytes) -> None:
        """The head goes with the first bytes: one packet, one wake-up of the client."""
        head, self._head = self._head, b""
        if head and len(body) > WAITING_BYTES_MAX:
            self.transport.write(head)
            self.transport.write(body)
        elif head or body:
            self.transport.write(head + body if head else body)

    async def _send_file(self, file: int, offset: int, count: int) -> None:
        """Bytes [offset, offset + count) of an open file, from the page cache to the socket without passing through us.

        The transport has nothing left to write meanwhile, so its socket is free to be written to by its other name.
        Worker threads use both descriptors: whatever ends this early waits for them first.
        """
        self.transport.set_write_buffer_limits(high=0)
        await asyncio.sleep(0)  # a loop may write at the end of its turn
        if self.flow.write_paused:
            await self.flow.drain()
        try:
            with self._own_socket() as out:
                while count:
                    sent = await _unhurried(_send_some, out, file, offset, count)
                    offset, count = offset + sent, count - sent
                    if count and sent < VISIT_BYTES:
                        await self._slow_client(out)
        except (ConnectionError, TimeoutError):
            # what the head promised can't follow, so nothing may: the client has gone, or stands still
            self.transport.abort()
        else:
            if not self._is_gone():  # a client may leave as soon as it has the last byte
                self.transport.set_write_buffer_limits()

    async def _slow_client(self, out: socket.socket) -> None:
        """Until there is room for more. TimeoutError when nothing at all was taken for the idle time."""
        unsent = _unsent_bytes(out)
        while True:
            try:
                async with asyncio.timeout(self._idle_timeout_s):
                    return await _writable(out)
            except TimeoutError:
                before, unsent = unsent, _unsent_bytes(out)
                if unsent >= before:
                    raise


def _send_some(out: socket.socket, file: int, offset: int, count: int) -> int:
    """How many bytes went out: at most VISIT_BYTES, fewer when the client takes no more for a while.

    ConnectionError when the client has gone, any other OSError when the file does not have these bytes.
    """
    sent, most = 0, min(count, VISIT_BYTES)
    while sent < most:
        try:
            step = os.sendfile(out.fileno(), file, offset + sent, most - sent)
        except BlockingIOError:
            if not _wait_briefly(out, select.POLLOUT):
                break
            continue
        if not step:
            raise OSError(errno.EIO, "the file ends too early")
        sent += step
    return sent


def _write_all(write: Callable[[bytes], None], pieces: list[bytes]) -> None:
    for piece in pieces:
        write(piece)


def _unsent_bytes(out: socket.socket) -> int:
    """What lies in the kernel for a client that has not taken it."""
    return int.from_bytes(fcntl.ioctl(out, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def _wait_briefly(sock: socket.socket, event: int) -> bool:
    waiting = select.poll()
    waiting.register(sock, event)
    return bool(waiting.poll(VISIT_WAIT_MS))


async def _unhurried(work: Callable[..., T], *given: object) -> T:
    """`work` in a worker thread. A cancellation waits for the thread, which uses descriptors that the caller closes."""
    running = asyncio.get_running_loop().run_in_executor(None, work, *given)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        raise


async def _writable(out: socket.socket) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(out.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(out.fileno())


async def _readable(source: socket.socket) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(source.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(source.fileno())
