"""Made tensors for the tests of predictors: forms with their bytes, and what the registry finds for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headwater.codec.form import Form, Limits, Parent
from headwater.codec.layout import layout_of
from headwater.codec.predict import Candidate, Predictor, candidates, from_params
from headwater.codec.predict.source import Source, predicted, residual_bits
from headwater.codec.predict.words import FLOATS, nearest, reals


@dataclass(frozen=True)
class Made:
    """A tensor in memory."""

    form: Form
    raw: bytes

    def read(self, start: int, stop: int) -> bytes:
        return self.raw[start:stop]

    @property
    def parent(self) -> Parent:
        return Parent(self.form, len(self.raw), self.read)

    @property
    def source(self) -> Source:
        return Source(self.form, len(self.raw), self.read)

    @property
    def planes(self) -> list[np.ndarray]:
        return layout_of(self.form.dtype).split(self.raw)

    @property
    def values(self) -> np.ndarray:
        return reals(self.planes[0], FLOATS[self.form.dtype]).reshape(self.form.shape)


def made(dtype: str, values: np.ndarray) -> Made:
    """Values rounded to a float type."""
    words = nearest(np.asarray(values, np.float64).reshape(-1), FLOATS[dtype])
    return Made(Form(dtype, np.shape(values)), words.tobytes())


def of_words(dtype: str, words: np.ndarray) -> Made:
    """Words of a type with one plane, as they are."""
    return Made(Form(dtype, words.shape), np.ascontiguousarray(words).tobytes())


def found(target: Made, parents: Sequence[Made], limits: Limits | None = None) -> list[Candidate]:
    whole = [parent.parent for parent in parents]
    return list(candidates(target.form, len(target.raw), target.read, whole, limits or Limits()))


def best(target: Made, parents: Sequence[Made], limits: Limits | None = None) -> Candidate:
    return min(found(target, parents, limits), key=lambda candidate: candidate.bits)


def rebuilt(candidate: Candidate, target: Made, parents: Sequence[Made]) -> Predictor:
    """The predictor as a reader of the store builds it."""
    forms = [parents[place].form for place in candidate.parents]
    again = from_params(candidate.predictor.id, candidate.predictor.params(), target.form, forms)
    assert again.params() == candidate.predictor.params()
    return again


def guess(candidate: Candidate, target: Made, parents: Sequence[Made], steps: int = 0) -> list[np.ndarray]:
    """What the predictor makes of the whole tensor, in ranges of `steps` elements (0: at once)."""
    predictor = rebuilt(candidate, target, parents)
    sources = [parents[place].source for place in candidate.parents]
    total = target.source.elements
    ranges = [(at, min(at + steps, total)) for at in range(0, total, steps)] if steps else [(0, total)]
    pieces = [predicted(predictor, range_, sources) for range_ in ranges]
    return [np.concatenate(same) for same in zip(*pieces, strict=True)]


def missed(candidate: Candidate, target: Made, parents: Sequence[Made]) -> float:
    """The share of words that are not as predicted, in the worst plane."""
    pairs = zip(target.planes, guess(candidate, target, parents), strict=True)
    return max(float(np.mean(words != guessed)) for words, guessed in pairs)


def left(candidate: Candidate, target: Made, parents: Sequence[Made]) -> float:
    """What is left of the raw size: the residual's entropy in contexts of the guess, and the parameters."""
    planes = layout_of(target.form.dtype).planes
    guessed = guess(candidate, target, parents)
    bits = sum(map(residual_bits, target.planes, guessed, planes))
    return (bits / 8 + len(candidate.predictor.params())) / len(target.raw)


def weights(rows: int, columns: int, seed: int, spread: float = 0.02) -> np.ndarray:
    """As training leaves them: heavier tails than a normal distribution's."""
    return np.random.default_rng(seed).standard_t(6, (rows, columns)) * spread
