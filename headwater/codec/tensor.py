"""Encoded tensors: their heads and blocks, how a tensor is cut, and `Decoder`, which gives its bytes back.

A tensor is cut into blocks of whole units (`layout`), at most 2 MiB each. A block is a checksum of the raw bytes and
either these bytes or each plane's words as a coder wrote them; it decodes by itself, given the same range of the
parents. What all blocks share is the head: the predictor and its parameters. Tables of frequencies are a block's own:
that costs 0.1 % of a large tensor, adapts to it, and spares the encoder a pass.

A checksum that does not match, a head for another form, a block in another place: all are `Undecodable`. Neither the
file that the tensor came from nor where its blocks are kept is known here.

    head   u8 version = 1, 8 bytes of check, u8 predictor (0: none), u8 parents, the predictor's parameters
    block  8 bytes of check, u8 kind (0: raw bytes follow, 1: u32 length and bytes for each plane)

The check of a head is the start of BLAKE3 over what follows it, the form and the size; of a block, over its raw bytes
and its number.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from blake3 import blake3

from headwater.codec import predict
from headwater.codec.coders import decode_words
from headwater.codec.form import Form, Parent, Undecodable, key
from headwater.codec.layout import BYTES, Layout, Words, layout_of
from headwater.codec.predict.contract import Predictor
from headwater.codec.scratch import lent
from headwater.codec.streams import Parts
from headwater.tensors.dtypes import elements

BLOCK_BYTES_MAX = 2 << 20
"""Of raw bytes in a block. Half as much costs 0.1 % more, twice as much makes a short range slow."""

BLOCK_ELEMENTS_MAX = 1 << 20  # of quantized codes: so that the floats they are predicted from fit into memory too
NEED_BYTES_MAX = 64 << 20  # what a predictor may ask of parents for one block; 8 parents of 8 MiB
HEAD_BYTES_MAX = 64 << 20  # a low-rank predictor of the largest matrices has 15 MB of factors
PARENTS_MAX = 16

VERSION = 1
RAW_BLOCK, PLANES_BLOCK = 0, 1
NO_PREDICTOR = 0
_CHECK_BYTES = 8
_HEAD_BYTES_MIN = 1 + _CHECK_BYTES + 2


@dataclass(frozen=True, slots=True)
class Cut:
    """How a tensor falls into blocks; the same for encoder and decoder, from form and size alone."""

    layout: Layout
    size: int
    typed: bool

    @property
    def unit_bytes(self) -> int:
        return self.layout.unit_bytes

    @property
    def units(self) -> int:
        return self.size // self.layout.unit_bytes

    @property
    def block_units(self) -> int:
        return min(BLOCK_BYTES_MAX // self.layout.unit_bytes, BLOCK_ELEMENTS_MAX // self.layout.unit_elements)

    @property
    def blocks(self) -> int:
        return -(-self.units // self.block_units)

    def block(self, number: int) -> tuple[int, int]:
        """Units of a block."""
        return number * self.block_units, min((number + 1) * self.block_units, self.units)


def cut_of(form: Form, size: int) -> Cut:
    """A size that is not the form's makes a tensor a row of bytes."""
    layout = layout_of(form.dtype)
    if size * layout.unit_elements == elements(form.shape) * layout.unit_bytes and size % layout.unit_bytes == 0:
        return Cut(layout, size, typed=True)
    return Cut(layout_of(BYTES), size, typed=False)


@contextmanager
def _distrusted() -> Iterator[None]:
    """Around what computes with a head's parameters: arithmetic that these make impossible is their fault."""
    try:
        yield
    except (ArithmeticError, LookupError, ValueError) as error:
        raise Undecodable(f"codec: a predictor's parameters are nonsense: {error}") from error


class Ancestry:
    """A predictor with the parents that it reads."""

    def __init__(self, cut: Cut, predictor: Predictor, parents: Sequence[Parent]) -> None:
        self._cut, self._predictor, self._parents = cut, predictor, parents
        self._layouts = [layout_of(parent.form.dtype) for parent in parents]

    def predicted(self, start: int, stop: int) -> list[Words]:
        """The words of units [start, stop), plane by plane."""
        width = self._cut.layout.unit_elements
        with _distrusted():
            needs = self._predictor.needs(start * width, stop * width)
        spans = [self._span(*need) for need in needs]
        if sum(last - first for _, first, last in spans) > NEED_BYTES_MAX:
            raise Undecodable("codec: a predictor asks for too much of its parents")
        planes = [self._planes(*span) for span in spans]
        with _distrusted():
            found = self._predictor.predict(start * width, stop * width, planes)
        wanted = [(plane.dtype, plane.words * (stop - start)) for plane in self._cut.layout.planes]
        if [(words.dtype, words.size) for words in found] != wanted:
            raise Undecodable("codec: a predictor speaks of other planes")
        return found

    def _span(self, number: int, start: int, stop: int) -> tuple[int, int, int]:
        """Bytes of a parent, out of elements."""
        if not 0 <= number < len(self._parents):
            raise Undecodable(f"codec: a predictor asks for parent {number} of {len(self._parents)}")
        layout, size = self._layouts[number], self._parents[number].size
        first, last = start // layout.unit_elements, -(-stop // layout.unit_elements)
        if not 0 <= first <= last or last * layout.unit_bytes > size:
            raise Undecodable(f"codec: a predictor asks for elements {start} to {stop} of a smaller parent")
        return number, first * layout.unit_bytes, last * layout.unit_bytes

    def _planes(self, number: int, start: int, stop: int) -> list[Words]:
        raw = self._parents[number].read(start, stop)
        if len(raw) != stop - start:
            raise Undecodable(f"codec: a parent gave {len(raw)} bytes instead of {stop - start}")
        return self._layouts[number].split(raw)


class Decoder:
    """Blocks of one encoded tensor, in any order. `parents` are those that `Encoded.parents` names, in that order.

    Block `number` has the raw bytes from number * block_bytes on, `block_bytes` of them but for the last. Several
    threads may ask if the parents may be read by several.
    """

    def __init__(self, head: bytes, form: Form, size: int, parents: Sequence[Parent] = ()) -> None:
        self._cut = cut_of(form, size)
        self.block_bytes = self._cut.block_units * self._cut.unit_bytes
        self.blocks = self._cut.blocks
        number, count, params = _parsed(head, form, size)
        self.needs_parents = tuple(range(count))
        if len(parents) != count:
            raise Undecodable(f"codec: a tensor of {count} parents was given {len(parents)}")
        self._ancestry: Ancestry | None = None
        if number != NO_PREDICTOR:
            if not self._cut.typed:
                raise Undecodable("codec: bytes of no type cannot be predicted")
            forms = [parent.form for parent in parents]
            with _distrusted():
                predictor = predict.from_params(number, params, form, forms)
            self._ancestry = Ancestry(self._cut, predictor, parents)

    def block(self, number: int, data: bytes | memoryview) -> bytes:
        """The raw bytes of a block, out of what is stored of it. Raises `Undecodable`, or what a parent's read does."""
        return self.hashed(number, data)[0]

    def hashed(self, number: int, data: bytes | memoryview) -> tuple[bytes, bytes]:
        """The same with the BLAKE3 of the raw bytes (32 bytes): whoever keeps one of his own need not hash again."""
        assert 0 <= number < self.blocks, (number, self.blocks)
        start, stop = self._cut.block(number)
        parts = Parts(data)
        check, kind = bytes(parts.bytes(_CHECK_BYTES)), parts.byte()
        if kind == RAW_BLOCK:
            raw = bytes(parts.bytes(len(data) - _CHECK_BYTES - 1))
        elif kind == PLANES_BLOCK:
            raw = self._joined(start, stop, parts)
        else:
            raise Undecodable(f"codec: a block of kind {kind}")
        hasher = blake3(raw)
        digest = hasher.digest()
        if len(raw) != (stop - start) * self._cut.unit_bytes or _numbered(hasher, number) != check:
            raise Undecodable(f"codec: block {number} does not match its checksum")
        return raw, digest

    def _joined(self, start: int, stop: int, parts: Parts) -> bytes:
        ancestry = self._ancestry

        @cache  # the parents are read once for all planes, and not at all if no plane wants them
        def predicted() -> list[Words]:
            if ancestry is None:
                raise Undecodable("codec: a block needs a prediction where there is none")
            return ancestry.predicted(start, stop)

        def words(number: int) -> Callable[[], Words]:
            return lambda: predicted()[number]

        planes = self._cut.layout.planes
        with lent() as scratch:
            found = [
                decode_words(plane, plane.words * (stop - start), parts.part(), words(number), scratch)
                for number, plane in enumerate(planes)
            ]
            parts.end()
            return self._cut.layout.join(found)


def parents_of(head: bytes) -> int:
    """How many parents a head says that its tensor needs; what `Decoder` wants to be given."""
    if len(head) < _HEAD_BYTES_MIN:
        raise Undecodable("codec: a head is cut short")
    return head[_HEAD_BYTES_MIN - 1]


def _parsed(head: bytes, form: Form, size: int) -> tuple[int, int, bytes]:
    """Predictor, count of parents, parameters."""
    count = parents_of(head)
    if head[0] != VERSION:
        raise Undecodable(f"codec: a head of version {head[0]}")
    if len(head) > HEAD_BYTES_MAX or head_check(form, size, head[1 + _CHECK_BYTES :]) != head[1 : 1 + _CHECK_BYTES]:
        raise Undecodable("codec: a head is damaged, or of another tensor")
    number = head[1 + _CHECK_BYTES]
    if (number == NO_PREDICTOR) != (count == 0) or count > PARENTS_MAX:
        raise Undecodable(f"codec: predictor {number} with {count} parents")
    return number, count, head[_HEAD_BYTES_MIN:]


def head_check(form: Form, size: int, rest: bytes | memoryview) -> bytes:
    return blake3(struct.pack("<Q", size) + key(form, bytes(32)) + rest).digest(_CHECK_BYTES)


def block_check(number: int, raw: bytes) -> bytes:
    return _numbered(blake3(raw), number)


def _numbered(hasher: blake3, number: int) -> bytes:
    return hasher.update(struct.pack("<Q", number)).digest(_CHECK_BYTES)
