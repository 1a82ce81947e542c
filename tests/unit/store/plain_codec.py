"""A codec that fits on a page: what the store needs of one, so that its tests wait for no compiler.

Blocks of 64 KiB, each zlib of the bytes, or of their XOR with the first parent's bytes where that is shorter.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import pytest
from blake3 import blake3

from headwater import codec
from headwater.codec import Encoded, Form, Limits, Parent, Read, Undecodable

BLOCK = 64 << 10


def _xor(one: bytes, other: bytes) -> bytes:
    size = len(one)
    return (int.from_bytes(one) ^ int.from_bytes(other[:size].ljust(size, b"\0"))).to_bytes(size)


def encode(form: Form, size: int, read: Read, parents: Sequence[Parent] = (), limits: Limits | None = None) -> Encoded:
    del limits, form
    ranges = [(at, min(at + BLOCK, size)) for at in range(0, size, BLOCK)]
    alone = [zlib.compress(read(*one)) for one in ranges]
    best, used = alone, ()
    for number, parent in enumerate(parents):
        if parent.size >= size:
            delta = [zlib.compress(_xor(read(*one), parent.read(*one))) for one in ranges]
            if sum(map(len, delta)) < 0.9 * sum(map(len, best)):
                best, used = delta, (number,)
    head = b"P1" if used else b"P0"
    return Encoded(head, tuple(best), used, "delta" if used else "alone", sum(map(len, best)), sum(map(len, alone)))


class Decoder:
    def __init__(self, head: bytes, form: Form, size: int, parents: Sequence[Parent] = ()) -> None:
        del form
        if head not in (b"P0", b"P1") or len(parents) != int(head[1:]):
            raise Undecodable("the head is no plain codec's")
        self._size, self._parents = size, parents
        self.block_bytes = BLOCK
        self.blocks = -(-size // BLOCK)
        self.needs_parents = tuple(range(len(parents)))

    def block(self, number: int, data: bytes) -> bytes:
        start = number * BLOCK
        stop = min(start + BLOCK, self._size)
        try:
            plain = zlib.decompress(data)
        except zlib.error as error:
            raise Undecodable(str(error)) from None
        return _xor(plain, self._parents[0].read(start, stop)) if self._parents else plain

    def hashed(self, number: int, data: bytes) -> tuple[bytes, bytes]:
        raw = self.block(number, data)
        return raw, blake3(raw).digest()


@pytest.fixture
def plain_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "encode", encode)
    monkeypatch.setattr(codec, "Decoder", Decoder)
