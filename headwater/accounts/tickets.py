"""Tickets: small signed notes that the hub hands out and gets back, in upload URLs, Xet tokens and range URLs.

Refuses to know what the fields mean: whoever reads a ticket compares them with what is asked (T43). A ticket is good
for one purpose, until its time. Form: base64url(MessagePack [boot, tick_until_ms, from_ms, until_ms, fields]) and 24
more characters, base64url of the first 18 bytes of HMAC-SHA256 (RFC 2104; 144 bits, above the 128 that NIST
SP 800-107 asks for).
"""

from __future__ import annotations

import contextlib
import hmac
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path

import msgspec

from headwater.ground.clock import Clock
from headwater.ground.errors import Corrupt, Unauthenticated

LENGTH_MAX = 4096  # of a ticket: it must fit into a URL
LIFETIME_S_MAX = 7 * 86_400
LEEWAY_MS = 60_000  # between the clock of the process that signed and this one's
SECRET_BYTES = 32
_MAC_BYTES = 18
_MAC_CHARS = 24

Fields = dict[str, str | int]


class _Body(msgspec.Struct, array_like=True, frozen=True):
    boot: str
    tick_until_ms: int
    from_ms: int
    until_ms: int
    fields: Fields


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Body).decode


class Tickets:
    def __init__(self, secret: bytes, clock: Clock) -> None:
        assert len(secret) >= SECRET_BYTES, len(secret)
        self._key = hmac.digest(secret, b"headwater tickets", "sha256")
        self._clock = clock
        self._boot = clock.token(8)

    def sign(self, purpose: str, fields: Fields, lifetime_s: float) -> str:
        """URL-safe text that `read` takes for `lifetime_s` seconds. The fields can be read by whoever holds it."""
        assert 0 < lifetime_s <= LIFETIME_S_MAX, lifetime_s
        now_ms, tick_ms, lifetime_ms = self._clock.now_ms(), int(self._clock.tick_s() * 1000), int(lifetime_s * 1000)
        body = _Body(self._boot, tick_ms + lifetime_ms, now_ms, now_ms + lifetime_ms, fields)
        text = urlsafe_b64encode(_encode(body)).rstrip(b"=")
        ticket = text + self._mac(purpose, text)
        assert len(ticket) <= LENGTH_MAX, len(ticket)
        return ticket.decode()

    def read(self, purpose: str, text: str) -> Fields:
        """The fields as signed. Unauthenticated: not ours, altered, for another purpose, or its time is over."""
        if not _MAC_CHARS < len(text) <= LENGTH_MAX:
            raise Unauthenticated("The ticket is not valid")
        raw = text.encode("utf-8", "surrogatepass")
        said, mac = raw[:-_MAC_CHARS], raw[-_MAC_CHARS:]
        # Text is compared, not bytes: base64 has several spellings of the same bytes, of which one is ours.
        if not hmac.compare_digest(self._mac(purpose, said), mac):
            raise Unauthenticated("The ticket is not valid")
        body = _decode(urlsafe_b64decode(said + b"=" * (-len(said) % 4)))
        if not self._in_time(body):
            raise Unauthenticated("The ticket has expired; ask for a new one")
        return body.fields

    def _in_time(self, body: _Body) -> bool:
        # A ticket of this very process is timed by the clock that does not jump, so that setting the wall clock back
        # by a day lengthens nothing and setting it forward ends nothing (T11). One of an earlier process has only wall
        # time: what seems to come from the future was signed before the clock was set back, and is refused.
        if body.boot == self._boot:
            return self._clock.tick_s() * 1000 < body.tick_until_ms
        return body.from_ms - LEEWAY_MS <= self._clock.now_ms() < body.until_ms

    def _mac(self, purpose: str, text: bytes) -> bytes:
        # The purpose is signed but not sent: a ticket for another purpose is as good as forged.
        return urlsafe_b64encode(hmac.digest(self._key, purpose.encode() + b"\0" + text, "sha256")[:_MAC_BYTES])


def load_secret(data: Path) -> bytes:
    """The key of this data folder, made at the first call. Safe if several processes call it first at once."""
    path = data / "secret"
    if not path.exists():
        _make_secret(path)
    secret = path.read_bytes()
    if len(secret) < SECRET_BYTES:
        raise Corrupt(f"{path} is damaged: it must hold {SECRET_BYTES} random bytes. Delete it to get a new one.")
    return secret


def _make_secret(path: Path) -> None:
    # Written whole under another name first: nobody, not even after a power cut, finds half a secret under this one.
    fresh = path.with_name(f"secret.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # A link, not a rename: it fails where another process came first, whose secret then holds.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(fresh)
    finally:
        fresh.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
