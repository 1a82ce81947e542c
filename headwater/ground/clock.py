"""Now and chance, handed in, so that tests own time.

Wall time (`now_ms`) is for what people and other machines see; `tick_s` never runs backwards and is what every lease,
cache and time limit inside the process is measured with (T11).
"""

from __future__ import annotations

import secrets
import time
from typing import Protocol


class Clock(Protocol):
    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC; may jump."""

    def tick_s(self) -> float:
        """Seconds of a clock that never goes back; only differences mean anything."""

    def token(self, size_bytes: int) -> str:
        """`size_bytes` of randomness, as lower-case hex."""


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def tick_s(self) -> float:
        return time.monotonic()

    def token(self, size_bytes: int) -> str:
        return secrets.token_hex(size_bytes)


class FixedClock:
    """A clock that stands until it is moved; for tests."""

    def __init__(self, now_ms: int = 1_767_225_600_000) -> None:
        self.at_ms = now_ms
        self.ticked_s = 1000.0

    def now_ms(self) -> int:
        return self.at_ms

    def tick_s(self) -> float:
        return self.ticked_s

    def token(self, size_bytes: int) -> str:
        return secrets.token_hex(size_bytes)

    def advance(self, seconds: float) -> None:
        self.at_ms += int(seconds * 1000)
        self.ticked_s += seconds


def iso(at_ms: int) -> str:
    """`2022-08-19T07:19:38.123Z`: the only form that huggingface_hub parses."""
    whole, ms = divmod(at_ms, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{ms:03d}Z"
