"""Turns: how many long checks are under way at once, and how many bytes of input they hold in memory together.

Checks that do not fit wait; beyond a number of those the next one is refused. Small ones pass a large one that waits
for room, so nobody's small upload stands behind somebody's large one.
"""

from __future__ import annotations

import threading
from types import TracebackType

from headwater.ground.errors import Unavailable

RETRY_S = 10  # clients try five times, three seconds after the first and longer after each


class Turns:
    def __init__(self, most: int, bytes_most: int) -> None:
        self._most, self._bytes_most = most, bytes_most
        self._changed = threading.Condition()
        self._taken = 0
        self._bytes = 0

    def take(self, size: int) -> Turn:
        """A turn for a check of `size` bytes of input. Whoever takes it has to enter it. Unavailable: too many wait."""
        with self._changed:
            if self._taken >= self._most:
                raise Unavailable(
                    "The hub is checking as many uploads as it can; try again in a moment", retry_after_s=RETRY_S
                )
            self._taken += 1
        return Turn(self, size)

    def begin(self, size: int) -> None:
        with self._changed:
            # one that is larger than all the room there is has it alone
            self._changed.wait_for(lambda: not self._bytes or self._bytes + size <= self._bytes_most)
            self._bytes += size

    def end(self, size: int) -> None:
        with self._changed:
            self._taken -= 1
            self._bytes -= size
            self._changed.notify_all()


class Turn:
    """Entering it waits for room."""

    def __init__(self, turns: Turns, size: int) -> None:
        self._turns, self._size = turns, size

    def __enter__(self) -> None:
        self._turns.begin(self._size)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turns.end(self._size)
