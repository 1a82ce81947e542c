"""Chooses how one tensor is stored, by what a sample of it takes, and encodes it block by block.

It knows the bytes of one tensor and of the parents it is offered; who may be a parent is not its question.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headwater.codec import predict
from headwater.codec.coders import Coder, coder_of, encode_words, suits
from headwater.codec.form import Encoded, Form, Limits, Parent, Read
from headwater.codec.layout import Plane, Words
from headwater.codec.predict.contract import Candidate
from headwater.codec.streams import part
from headwater.codec.tensor import (
    HEAD_BYTES_MAX,
    NO_PREDICTOR,
    PARENTS_MAX,
    PLANES_BLOCK,
    RAW_BLOCK,
    VERSION,
    Ancestry,
    Cut,
    block_check,
    cut_of,
    head_check,
)

_SAMPLES = 8
_SAMPLE_BYTES = 64 << 10  # each; 512 KiB in all tell sizes to a few per cent
_ACCEPT = 0.9  # a parent must save a tenth: it costs reading, and ties lives together
_GUARD = 0.95  # of a block alone: where a prediction does worse the block is also coded alone
_SETTLED_SHARE = 0.01  # of the raw size: what is left then is not worth a dearer search
_TINY_BYTES = 256  # kept as they are: a store's index takes as much for a tensor as could be saved
_PROBE_BYTES = 64 << 10  # on which zstd is tried before it is given a whole sample
_PROBE_GAIN = 0.95  # of its share alone: what zstd must reach there
_ROWS_GAIN = 0.985  # of its size without: what the scales of rows must reach to be tried on further blocks
_ROWS_AGAIN = 16  # blocks after which they are tried again
_COLUMNS_MIN = 32  # a row's scale takes 2 bits or so, and must be worth them
_CLOSE_SHARE = 0.25  # of the raw size: where differences take less, looser coders are not tried


@dataclass(frozen=True, slots=True)
class _Choice:
    """A way to store the tensor, with what a sample of it took: for each plane a payload and its share of raw."""

    payloads: tuple[bytes, ...]
    shares: tuple[float, ...]
    candidate: Candidate | None = None
    ancestry: Ancestry | None = None

    @property
    def coders(self) -> tuple[Coder, ...]:
        return tuple(coder_of(payload) for payload in self.payloads)

    @property
    def sample_bytes(self) -> int:
        return sum(map(len, self.payloads))

    @property
    def params(self) -> bytes:
        return self.candidate.predictor.params() if self.candidate else b""

    @property
    def name(self) -> str:
        """The predictor, unless it is the parent itself, and the coder of most bytes."""
        largest = max(range(len(self.payloads)), key=lambda number: len(self.payloads[number]))
        coder = self.coders[largest] if self.shares[largest] < 1 else Coder.RAW
        words = ["delta" if coder is Coder.ROWS else coder.name.lower()]
        if self.candidate and self.candidate.predictor.name != "identity":
            words.insert(0, self.candidate.predictor.name)
        return "+".join(words)


def encode(form: Form, size: int, read: Read, parents: Sequence[Parent] = (), limits: Limits | None = None) -> Encoded:
    """Chooses by size on a sample, then codes block by block while `Encoded.blocks` is iterated (once).

    A parent is taken only if that leaves less than 0.9 of what the tensor takes alone. Of a tensor of several blocks
    `stored_bytes` is an estimate. What the `read` of the tensor or of a parent raises passes through; nothing else is.
    """
    limits = limits or Limits()
    cut = cut_of(form, size)
    if size <= _TINY_BYTES:
        return _tiny(form, size, read)
    started_s = time.thread_time()
    sample = _sample(cut, read)
    share = sum(stop - start for start, stop in sample.ranges) / cut.units
    columns = _columns(cut, form)
    alone = _measured(cut, sample.planes, None)
    alone_bytes = _scaled(alone, share)
    best = alone
    if cut.typed and parents and limits.depth > 0:
        # Half the budget is the search's, so that it cannot leave a large tensor to be kept raw.
        for candidate in predict.candidates(form, size, read, parents, replace(limits, cpu_s=limits.cpu_s / 2)):
            choice = _tried(cut, sample, candidate, parents)
            if choice and _scaled(choice, share) < min(_scaled(best, share), _ACCEPT * alone_bytes):
                best = choice
            # The dearest searches come last.
            spent_s = time.thread_time() - started_s
            if _scaled(best, share) < _SETTLED_SHARE * size or spent_s > limits.cpu_s / 2:
                break
    head = _head(form, size, best)
    left_s = max(limits.cpu_s - (time.thread_time() - started_s), limits.cpu_s / 2)
    blocks: Iterable[bytes]
    if cut.blocks == 1:
        best = _by_rows(cut, sample, best, columns) if columns else best
        blocks = (_sealed(0, sample.raw, best.payloads),)
        stored = len(blocks[0])
    else:
        blocks = _Blocks(cut, read, best, alone, columns).coded(left_s)
        stored = int(_scaled(best, share) - len(best.params))
    used = best.candidate.parents if best.candidate else ()
    return Encoded(head, blocks, used, best.name, len(head) + stored, int(alone_bytes))


def _tiny(form: Form, size: int, read: Read) -> Encoded:
    head = _head(form, size, None)
    blocks = (_sealed(0, read(0, size), None),) if size else ()
    stored = len(head) + sum(map(len, blocks))
    return Encoded(head, blocks, (), "raw", stored, stored)


@dataclass(frozen=True, slots=True)
class _Sample:
    """Some units, their planes joined; `raw` are their bytes."""

    ranges: tuple[tuple[int, int], ...]
    raw: bytes
    planes: list[Words]


def _sample(cut: Cut, read: Read) -> _Sample:
    """All of a tensor of one block, else stretches spread evenly."""
    ranges: tuple[tuple[int, int], ...] = ((0, cut.units),)
    if cut.blocks != 1:
        width = min(max(_SAMPLE_BYTES // cut.unit_bytes, 1), cut.block_units // _SAMPLES)
        step = max((cut.units - width) // (_SAMPLES - 1), 0)
        ranges = tuple((at * step, at * step + width) for at in range(_SAMPLES))
    raw = b"".join(_raw(cut, read, start, stop) for start, stop in ranges)
    return _Sample(ranges, raw, cut.layout.split(raw))


def _raw(cut: Cut, read: Read, start: int, stop: int) -> bytes:
    raw = read(start * cut.unit_bytes, stop * cut.unit_bytes)
    assert len(raw) == (stop - start) * cut.unit_bytes, (len(raw), start, stop)
    return raw


def _tried(cut: Cut, sample: _Sample, candidate: Candidate, parents: Sequence[Parent]) -> _Choice | None:
    """What the sample takes with a candidate; None if it cannot be stored."""
    if len(candidate.parents) > PARENTS_MAX or len(candidate.predictor.params()) > HEAD_BYTES_MAX // 2:
        return None
    ancestry = Ancestry(cut, candidate.predictor, [parents[number] for number in candidate.parents])
    pieces = [ancestry.predicted(start, stop) for start, stop in sample.ranges]
    predicted = [np.concatenate(list(same)) for same in zip(*pieces, strict=True)]
    measured = _measured(cut, sample.planes, predicted)
    return _Choice(measured.payloads, measured.shares, candidate, ancestry)


def _by_rows(cut: Cut, sample: _Sample, choice: _Choice, columns: int) -> _Choice:
    """The same with the scales of rows where that is smaller; for a sample that is the whole tensor."""
    if not choice.ancestry or choice.coders != (Coder.DELTA,) or not suits(Coder.ROWS, cut.layout.planes[0]):
        return choice
    base = choice.ancestry.predicted(0, cut.units)[0]
    payload = encode_words(Coder.ROWS, cut.layout.planes[0], sample.planes[0], base, (columns, 0))
    if len(payload) >= _ROWS_GAIN * choice.sample_bytes:
        return choice
    return _Choice((payload,), choice.shares, choice.candidate, choice.ancestry)


def _measured(cut: Cut, target: Sequence[Words], predicted: Sequence[Words] | None) -> _Choice:
    """The smallest payload of each plane, by all coders that may pay."""
    bases: Sequence[Words | None] = predicted or [None] * len(target)
    payloads = [_smallest(*each) for each in zip(cut.layout.planes, target, bases, strict=True)]
    shares = [len(payload) / max(words.nbytes, 1) for payload, words in zip(payloads, target, strict=True)]
    return _Choice(tuple(payloads), tuple(shares))


def _smallest(plane: Plane, words: Words, base: Words | None) -> bytes:
    if base is not None:
        if np.array_equal(base, words):
            return encode_words(Coder.EXACT, plane, words, base)
        delta = encode_words(Coder.DELTA, plane, words, base)
        if len(delta) < _CLOSE_SHARE * words.nbytes * plane.bits / (8 * words.itemsize):
            return delta
        if suits(Coder.CONDITIONAL, plane):
            return min(delta, encode_words(Coder.CONDITIONAL, plane, words, base), _alone(plane, words), key=len)
        return min(delta, _alone(plane, words), key=len)
    return _alone(plane, words)


def _alone(plane: Plane, words: Words) -> bytes:
    payload = encode_words(Coder.ALONE, plane, words, None)
    probe = words[: _PROBE_BYTES // words.itemsize]
    zipped = encode_words(Coder.ZSTD, plane, probe, None)
    if len(zipped) * words.size < _PROBE_GAIN * len(payload) * probe.size:
        payload = min(payload, encode_words(Coder.ZSTD, plane, words, None), key=len)
    return payload


def _scaled(choice: _Choice, share: float) -> float:
    return choice.sample_bytes / share + len(choice.params)


def _columns(cut: Cut, form: Form) -> int:
    """Of the rows whose scales may be worth telling; 0 if there are none."""
    columns = form.shape[-1] if len(form.shape) > 1 and cut.typed and len(cut.layout.planes) == 1 else 0
    return columns if _COLUMNS_MIN <= columns <= cut.block_units and columns < cut.units else 0


class _Blocks:
    """Codes a tensor of several blocks as it was chosen, one block at a time."""

    def __init__(self, cut: Cut, read: Read, choice: _Choice, alone: _Choice, columns: int) -> None:
        self._cut, self._read, self._choice, self._alone, self._columns = cut, read, choice, alone, columns
        self._rows_pay = False

    def coded(self, left_s: float) -> Iterator[bytes]:
        for number in range(self._cut.blocks):
            started_s = time.thread_time()
            raw = _raw(self._cut, self._read, *self._cut.block(number))
            # Out of budget, the rest is kept as it is.
            yield _sealed(number, raw, self._payloads(number, raw) if left_s > 0 else None)
            left_s -= time.thread_time() - started_s

    def _payloads(self, number: int, raw: bytes) -> list[bytes]:
        """Each plane with the coder that won on the sample, or a better one where that disappoints."""
        start, stop = self._cut.block(number)
        ancestry = self._choice.ancestry
        target = self._cut.layout.split(raw)
        predicted = ancestry.predicted(start, stop) if ancestry else [None] * len(target)
        return [self._payload(number, at, *pair) for at, pair in enumerate(zip(target, predicted, strict=True))]

    def _payload(self, number: int, at: int, words: Words, base: Words | None) -> bytes:
        plane, coder, fallback = self._cut.layout.planes[at], self._choice.coders[at], self._alone.coders[at]
        if base is None or coder is fallback:
            return encode_words(coder, plane, words, None)
        if np.array_equal(words, base):
            return encode_words(Coder.EXACT, plane, words, base)
        if coder is Coder.CONDITIONAL:
            payload = encode_words(coder, plane, words, base)
        else:  # EXACT is what the sample was; this block is not
            payload = self._difference(number, plane, words, base)
        if len(payload) > _GUARD * self._alone.shares[at] * words.nbytes:
            payload = min(payload, encode_words(fallback, plane, words, None), key=len)
        return payload

    def _difference(self, number: int, plane: Plane, words: Words, base: Words) -> bytes:
        """With or without the scales of rows: what was better at the last block where both were tried."""
        if not self._columns or not suits(Coder.ROWS, plane):
            return encode_words(Coder.DELTA, plane, words, base)
        grid = (self._columns, self._cut.block(number)[0] % self._columns)
        if number % _ROWS_AGAIN:
            return encode_words(Coder.ROWS if self._rows_pay else Coder.DELTA, plane, words, base, grid)
        plain = encode_words(Coder.DELTA, plane, words, base)
        by_rows = encode_words(Coder.ROWS, plane, words, base, grid)
        self._rows_pay = len(by_rows) < _ROWS_GAIN * len(plain)
        return by_rows if self._rows_pay else plain


def _sealed(number: int, raw: bytes, payloads: Sequence[bytes] | None) -> bytes:
    body = b"".join(map(part, payloads)) if payloads is not None else raw
    if len(body) >= len(raw):
        return block_check(number, raw) + bytes([RAW_BLOCK]) + raw
    return block_check(number, raw) + bytes([PLANES_BLOCK]) + body


def _head(form: Form, size: int, choice: _Choice | None) -> bytes:
    rest = bytes([NO_PREDICTOR, 0])
    if choice and choice.candidate:
        rest = bytes([choice.candidate.predictor.id, len(choice.candidate.parents)]) + choice.params
    return bytes([VERSION]) + head_check(form, size, rest) + rest
