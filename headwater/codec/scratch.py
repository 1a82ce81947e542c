"""Memory for the arrays that live while one block is coded, used again for the next. It knows no coder.

Arrays of megabytes that are freed after each block go back to the system, and each page of the next ones costs a fault
and its zeroing: measured, 0.3 to 2.3 us a page, a third of what decoding a block of 2 MiB took.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

BYTES = 8 << 20
"""Of one piece: what coding a block of 2 MiB takes, with room. Pages that are never written take no memory."""

KEPT_MAX = 4  # pieces for threads that come later; more threads at once are rare, and take theirs with them

_ALIGNED_BYTES = 64


class Scratch:
    """A piece of memory, given out from front to back. What does not fit is allocated as ever."""

    def __init__(self, size: int) -> None:
        self._memory = np.empty(size, np.uint8)
        self._taken = 0

    def array(self, count: int, dtype: DTypeLike) -> NDArray[Any]:
        """One of `count` elements, whose values are whatever was there."""
        kind = np.dtype(dtype)
        stop = self._taken + count * kind.itemsize
        if stop > self._memory.size:
            return np.empty(count, kind)
        found = self._memory[self._taken : stop].view(kind)
        self._taken = -(-stop // _ALIGNED_BYTES) * _ALIGNED_BYTES
        return found

    def zeros(self, count: int, dtype: DTypeLike) -> NDArray[Any]:
        found = self.array(count, dtype)
        found.fill(0)
        return found

    def clear(self) -> None:
        """Whoever still has an array of it must not use it any more."""
        self._taken = 0


_kept: list[Scratch] = []


@cache
def _keep_what_is_freed() -> None:
    """So that a block that is done with makes room for the next, too: they are bytes, which no scratch can hold.

    The C library gives free memory at the end of its heap back when there is more than twice as much of it as in the
    largest piece that it ever mapped and freed (glibc, mallopt(3): M_MMAP_THRESHOLD); elsewhere this does nothing.
    """
    np.empty(BYTES, np.uint8)


@contextmanager
def lent() -> Iterator[Scratch]:
    """A piece for the caller alone. Its arrays must not leave the block."""
    _keep_what_is_freed()
    try:
        scratch = _kept.pop()
    except IndexError:
        scratch = Scratch(BYTES)
    try:
        yield scratch
    finally:
        scratch.clear()
        if len(_kept) < KEPT_MAX:
            _kept.append(scratch)
