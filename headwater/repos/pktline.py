"""Git's framing on the wire: pkt-lines, side-bands, and a request body read piece by piece.

Source: git's gitprotocol-common and gitprotocol-pack. Knows no repository and no rule; only how long a line may be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from headwater.ground.errors import Invalid, TooMuch

FLUSH = b"0000"
LINE_BYTES_MAX = 65_520  # the format's own limit, with the four digits of the length
KEEPALIVE = b"0005\x01"  # an empty piece of side-band 1: clients skip it, proxies see life

REPORT, PROGRESS = 1, 2


def line(payload: bytes) -> bytes:
    return b"%04x%s" % (len(payload) + 4, payload)


def band(number: int, payload: bytes) -> Iterator[bytes]:
    """`payload` on a side-band, in as many lines as it takes."""
    step = LINE_BYTES_MAX - 5
    for start in range(0, len(payload), step):
        yield line(bytes([number]) + payload[start : start + step])


class Body:
    """A request body as a stream of exact reads; what is behind the lines stays unread until `rest`.

    TooMuch beyond `bytes_max`; Invalid if it ends in the middle of a line.
    """

    def __init__(self, steps: Iterable[bytes], bytes_max: int) -> None:
        self._steps = iter(steps)
        self._bytes_max = bytes_max
        self._held = b""
        self.read_bytes = 0

    def lines(self, lines_max: int) -> Iterator[bytes]:
        """Payloads up to the flush packet, or to the end of a body that ends between lines."""
        for _ in range(lines_max + 1):
            head = self._exactly(4, may_end=True)
            if head in (b"", FLUSH):
                return
            try:
                size = int(head, 16)
            except ValueError:
                raise Invalid("git request: a line does not begin with its length") from None
            if not 4 < size <= LINE_BYTES_MAX:
                raise Invalid(f"git request: a line of {size} bytes")
            yield self._exactly(size - 4)
        raise TooMuch(f"git request: more than {lines_max} lines; push fewer refs at once")

    def rest(self) -> Iterator[bytes]:
        """Everything behind the lines, in steps as they come."""
        if self._held:
            held, self._held = self._held, b""
            yield held
        while step := self._step():
            yield step

    def _exactly(self, size: int, *, may_end: bool = False) -> bytes:
        while len(self._held) < size:
            step = self._step()
            if not step:
                if may_end and not self._held:
                    return b""
                raise Invalid("git request: it ends in the middle of a line")
            self._held += step
        taken, self._held = self._held[:size], self._held[size:]
        return taken

    def _step(self) -> bytes:
        for step in self._steps:
            if step:
                self.read_bytes += len(step)
                if self.read_bytes > self._bytes_max:
                    raise TooMuch(
                        f"This git request is larger than {self._bytes_max} bytes (setting push_max). "
                        "Keep large files in LFS, or push the history in parts."
                    )
                return step
        return b""
