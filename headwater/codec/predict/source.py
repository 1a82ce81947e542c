"""A tensor while predictors are sought for it: any range of it as planes or values, and what a guess of it would cost.

Costs are entropies on a sample: how the coders do, without their loops. Only the encoder comes here: nothing of it
has to be the same on another machine.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from headwater.codec.form import Form, Limits, Parent, Read
from headwater.codec.layout import Plane, Words
from headwater.codec.predict.contract import Planes, Predictor, grid_of, layout_for
from headwater.codec.predict.words import FLOATS, Reals, reals

STRETCHES = 16
STRETCH_ELEMENTS = 4096  # with 16 of them: 64 Ki words, where the entropy of a few hundred symbols is known to 1 %
ALIGNED_ELEMENTS = 256  # a multiple of every layout's unit

Range = tuple[int, int]


class Source:
    """One tensor: its form, and its planes for any range of elements."""

    def __init__(self, form: Form, size: int, read: Read) -> None:
        self.form, self.size, self._read = form, size, read
        self.layout = layout_for(form)
        self.grid = grid_of(form)
        self.elements = self.grid.elements
        self.kind = FLOATS.get(form.dtype)

    @property
    def sound(self) -> bool:
        """Whether the size is what the form says; where it is not, nothing can be said of single elements."""
        return self.elements * self.layout.unit_bytes == self.size * self.layout.unit_elements

    def planes(self, start: int, stop: int) -> list[Words]:
        unit, size = self.layout.unit_elements, self.layout.unit_bytes
        assert start % unit == 0, (start, unit)
        raw = self._read(start // unit * size, -(-stop // unit) * size)
        return self.layout.split(raw)

    def words(self, start: int, stop: int) -> Words:
        """Of a layout that has one plane with one word for each element."""
        return self.planes(start, stop)[0]

    def values(self, start: int, stop: int) -> Reals:
        assert self.kind is not None, self.form
        return reals(self.words(start, stop), self.kind)

    def stretches(self) -> list[Range]:
        """Ranges spread evenly over the tensor, or all of it if it is small."""
        if self.elements <= STRETCHES * STRETCH_ELEMENTS:
            return [(0, self.elements)] if self.elements else []
        step = (self.elements - STRETCH_ELEMENTS) // (STRETCHES - 1) // ALIGNED_ELEMENTS * ALIGNED_ELEMENTS
        return [(i * step, i * step + STRETCH_ELEMENTS) for i in range(STRETCHES)]


def source_of(parent: Parent) -> Source:
    return Source(parent.form, parent.size, parent.read)


class Search:
    """What one search for predictors shares: the tensor, its parents, its sample, and what is left of the budget."""

    def __init__(self, target: Source, parents: Sequence[Source], limits: Limits) -> None:
        self.target, self.parents, self.limits = target, parents, limits
        self.ranges = target.stretches()
        self.sample = _joined([target.planes(*range_) for range_ in self.ranges])
        self.share = sum(stop - start for start, stop in self.ranges) / max(target.elements, 1)
        self.alone_bits = self._scaled(sum(map(alone_bits, self.sample, target.layout.planes)))
        self._started_s = time.thread_time()

    def left_s(self) -> float:
        """How many seconds of CPU may still be spent."""
        return self.limits.cpu_s - (time.thread_time() - self._started_s)

    def bits(self, predictor: Predictor, parents: Sequence[Source]) -> float:
        """What the whole tensor would take with this predictor: an estimate from the sample."""
        if not self.sample:
            return 0.0
        guess = _joined([predicted(predictor, range_, parents) for range_ in self.ranges])
        cost = sum(map(residual_bits, self.sample, guess, self.target.layout.planes))
        return self._scaled(cost) + 8 * len(predictor.params())

    def _scaled(self, bits: float) -> float:
        return bits / self.share if self.share else 0.0


def predicted(predictor: Predictor, range_: Range, parents: Sequence[Source]) -> list[Words]:
    """What a predictor makes of a range, its parents being read for it."""
    start, stop = range_
    needs: list[Planes] = [parents[number].planes(first, last) for number, first, last in predictor.needs(start, stop)]
    return predictor.predict(start, stop, needs)


def alone_bits(words: Words, plane: Plane) -> float:
    """Bits of words coded by themselves: the entropy of a float's exponent or of a small code, the rest raw."""
    if plane.symbols:
        return min(_entropy(words.astype(np.int64)), float(words.size * plane.bits))
    if plane.exponent_bits:
        exponents = (words >> words.dtype.type(plane.mantissa_bits)) & words.dtype.type((1 << plane.exponent_bits) - 1)
        return _entropy(exponents.astype(np.int64)) + words.size * (plane.bits - plane.exponent_bits)
    return float(words.size * plane.bits)


def residual_bits(words: Words, guess: Words, plane: Plane) -> float:
    """Bits of words given guesses: the smaller of coding the difference and of coding the word where it depends on the
    guess's leading bits, each in contexts of the guess."""
    if np.array_equal(words, guess):
        return 0.0
    if plane.symbols and not plane.exponent_bits:
        return _code_bits(words, guess, plane)
    delta = _delta_bits(words, guess, plane)
    # What is raw either way is most of what the other takes, and needs no counting.
    return delta if delta <= _rest_bits(words, plane) else min(delta, _conditional_bits(words, guess, plane))


def _code_bits(words: Words, guess: Words, plane: Plane) -> float:
    difference = (words.astype(np.int64) - guess) & (plane.symbols - 1)
    # A table of codes by guesses is right but large: its estimate on a sample is too good, this one is a little bad.
    exact = words == guess
    return min(
        _entropy(difference),
        _entropy(exact.astype(np.int64)) + _entropy(words[~exact].astype(np.int64)),
    )


def _delta_bits(words: Words, guess: Words, plane: Plane) -> float:
    difference = _ordered(words) - _ordered(guess)  # modulo the width of the word
    if difference.dtype.itemsize == 2:
        tokens, lengths = _short_tokens()
        token, raw = tokens[difference], float(lengths[difference].sum())
    else:
        token, raw_bits = _tokens(difference)
        raw = float(raw_bits.sum())
    context = _leading(guess, plane, 0)
    span = 1 << int(token.max(initial=0)).bit_length()
    return _entropy(context * span + token) - _entropy(context) + raw


def _tokens(difference: Words) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What differences are coded as, about: the token of each, and how many raw bits follow it."""
    negative = difference >> difference.dtype.type(8 * difference.dtype.itemsize - 1) != 0
    size = np.where(negative, ~difference, difference)
    token = np.where(size < 16, size, 0).astype(np.int64)
    large = size >= 16
    # A large difference is its length, two bits below its top, and raw bits. Float64 holds its leading bits rightly.
    fraction, length = np.frexp(size[large].astype(np.float64))
    token[large] = 16 + length * 4 + ((fraction * 8).astype(np.int64) & 3)
    raw = np.zeros(token.size, np.int64)
    raw[large] = np.maximum(length - 3, 0)
    return token * 2 + negative, raw


@cache
def _short_tokens() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of all differences of 16 bits."""
    return _tokens(np.arange(1 << 16, dtype=np.uint16))


def _rest_bits(words: Words, plane: Plane) -> int:
    """The bits of the mantissas below those that depend on the guess."""
    return int(words.size) * (plane.bits - 1 - plane.exponent_bits - min(2, plane.mantissa_bits))


def _conditional_bits(words: Words, guess: Words, plane: Plane) -> float:
    extra = min(2, plane.mantissa_bits)
    code, context = _leading(words, plane, extra), _leading(guess, plane, extra)
    counts = np.unique((context << 20) + code, return_counts=True)[1]
    return _of_counts(counts) - _entropy(context) + _rest_bits(words, plane) + 8.0 * len(counts)


def _leading(words: Words, plane: Plane, extra: int) -> NDArray[np.int64]:
    """The exponent of floats; with `extra`, their sign and that many bits of mantissa too. Of others: the top byte."""
    if not plane.exponent_bits:
        return (words >> words.dtype.type(max(plane.bits - 8, 0))).astype(np.int64)
    top = (words >> words.dtype.type(plane.mantissa_bits - extra)).astype(np.int64)
    return top if extra else top & ((1 << plane.exponent_bits) - 1)


def _ordered(words: Words) -> Words:
    """A float's bits as integers in the order of the values: sign and magnitude to one's complement, moved up."""
    top = words.dtype.type(1 << (8 * words.dtype.itemsize - 1))
    return np.where(words & top, ~words, words | top)


def _entropy(symbols: NDArray[np.int64]) -> float:
    """Bits in all, by counts."""
    if not symbols.size:
        return 0.0
    if int(symbols.min()) >= 0 and int(symbols.max()) < 1 << 18:
        counts = np.bincount(symbols)
        return _of_counts(counts[counts > 0])
    return _of_counts(np.unique(symbols, return_counts=True)[1])


def _of_counts(counts: NDArray[np.int64]) -> float:
    total = int(counts.sum())
    return float(total * np.log2(total) - (counts * np.log2(counts)).sum()) if total else 0.0


def _joined(pieces: Sequence[Sequence[Words]]) -> list[Words]:
    return [np.concatenate(list(same)) for same in zip(*pieces, strict=True)]
