"""Reading parts of a file through `read(start, stop)`: exactly so many bytes, a file inside a file, small steps.

Refuses to know any format: whoever asks names it, for the text of a refusal.
"""

from __future__ import annotations

from headwater.tensors import Malformed, Read

STEP_BYTES = 4_096  # fields lie between weights that are stepped over: more would read weights, less would read often


def exactly(read: Read, start: int, stop: int, what: str) -> bytes:
    """The bytes [start, stop); a file that ends before is `Malformed`. Callers have bounded the length."""
    piece = read(start, stop)
    if len(piece) != stop - start:
        raise Malformed(f"{what}: the file ends at byte {start + len(piece)}, before byte {stop}")
    return piece


def inside(read: Read, start: int, stop: int) -> Read:
    """A reader of the file that lies at [start, stop) of another one."""
    return lambda inner_start, inner_stop: read(start + inner_start, min(start + inner_stop, stop))


class Steps:
    """A position in a file, with a few bytes after it in memory; nothing is read of what is stepped over."""

    def __init__(self, read: Read, stop: int, what: str) -> None:
        self._read = read
        self._stop = stop
        self._what = what
        self._step = b""
        self._step_start = 0
        self.position = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes; callers have bounded `count`."""
        start = self.position - self._step_start
        if start < 0 or start + count > len(self._step):
            self._fill(count)
            start = 0
        self.position += count
        return self._step[start : start + count]

    def varint(self) -> int:
        """A protobuf number: seven bits a byte, the lowest first, at most 64 bits."""
        value = shift = 0
        while True:
            at = self.position - self._step_start
            if not 0 <= at < len(self._step):
                self._fill(1)
                at = 0
            byte = self._step[at]
            self.position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF
            shift += 7
            if shift >= 70:
                raise Malformed(f"{self._what}: the number before byte {self.position} has over ten bytes")

    def _fill(self, count: int) -> None:
        start = self.position
        if start + count > self._stop:
            raise Malformed(f"{self._what}: {count} bytes are needed at byte {start}, the file ends at {self._stop}")
        self._step = self._read(start, min(start + max(count, STEP_BYTES), self._stop))
        self._step_start = start
        if len(self._step) < count:
            raise Malformed(f"{self._what}: the file ends at byte {start + len(self._step)}, before {self._stop}")
