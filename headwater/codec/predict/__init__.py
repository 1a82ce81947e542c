"""Predictors: what a tensor's words probably are, given its parents'. This is their registry.

`candidates` seeks what may pay for one tensor, cheapest search first; `from_params` builds a predictor again from what
is stored. One module for each family: `identity`, `cast`, `rows` (grown vocabularies, llama.cpp's row order), `ggml`,
`scaled` and `graded` (quantizations computed again), `mask` (pruned), `linear` (merges), `lowrank` (merged adapters,
abliteration). How the rest is coded, and which candidate is taken, is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from headwater.codec.form import Form, Limits, Parent, Read
from headwater.codec.predict import cast, ggml, graded, identity, linear, lowrank, mask, rows, scaled
from headwater.codec.predict.contract import Candidate, Need, Params, Planes, Predictor
from headwater.codec.predict.source import Range, Search, Source, predicted, residual_bits, source_of

__all__ = ["PARENTS_MAX", "Candidate", "Need", "Planes", "Predictor", "candidates", "from_params"]

_T = TypeVar("_T")

PARENTS_MAX = 16  # that are looked at for one tensor; each costs reading a sample of it

_PAYS_SHARE = 0.97  # of what the tensor takes alone; above it the estimate's own error is larger than the gain
_NEAR_SHARE = 1.1  # a simple predictor is offered although another was better by less than this
_SETTLED_SHARE = 0.0005  # of the raw size: nothing is left that a dearer predictor could save
_STRANGE_SHARE = 0.7  # of what it takes alone: rows may be in another order
_REORDERED_SHARE = 0.8  # what the right order must at least save on the first stretch
_DEARER_SHARE = 0.85  # of the best so far: what a predictor with more parents or more parameters must reach
_LOW_RANK_PARENTS = 2  # the dearest search is made for the parents that came nearest


def candidates(form: Form, size: int, read: Read, parents: Sequence[Parent], limits: Limits) -> Iterator[Candidate]:
    """Predictors that a sample says may pay. Each is better than those before, or nearly as good and simpler.

    Reads the tensor and the parents by ranges; the dearer families read them several times. Takes about
    `limits.cpu_s` at most, and `limits.memory_bytes` beyond a few blocks. The same call may give other candidates on
    a slower machine, but each of them is right everywhere.
    """
    target = Source(form, size, read)
    read_from = list(map(source_of, parents[:PARENTS_MAX]))
    places = [place for place, source in enumerate(read_from) if source.sound]
    if not target.sound or not target.elements or not places:
        return
    sources = [read_from[place] for place in places]
    found = _Found(Search(target, sources, limits), places)
    for number, source in enumerate(sources):
        yield from found.offered(_simple(found.search, source), (number,))
    if found.best > _STRANGE_SHARE * found.search.alone_bits:
        for number, source in enumerate(sources):
            yield from found.offered(_in_another_order(target, source, found.search.ranges), (number,))
    if found.settled:
        return
    for number, source in enumerate(sources):
        yield from found.offered(graded.offers(found.search, target, source), (number,), _DEARER_SHARE)
        yield from found.offered(mask.offers(found.search, target, source), (number,))
    if found.settled:
        return
    for sum_, numbers in _quietly(linear.offers(found.search, sources)):
        yield from found.offered(iter([sum_]), numbers, _DEARER_SHARE)
    if found.settled:
        return
    for number in found.nearest()[:_LOW_RANK_PARENTS]:
        dear = lowrank.offers(found.search, target, sources[number])
        yield from found.offered(dear, (number,), _DEARER_SHARE)


def from_params(id: int, data: bytes, form: Form, parent_forms: Sequence[Form]) -> Predictor:  # noqa: A002
    """The predictor with this number and parameters. Undecodable if there is none for these forms."""
    return _built(id, Params(data, f"predictor {id}"), form, parent_forms)


def _built(number: int, params: Params, form: Form, parents: Sequence[Form]) -> Predictor:
    if number == rows.Prefix.id:
        return rows.prefix_from_params(params, form, parents, _inner)
    if number == rows.Reordered.id:
        return rows.reordered_from_params(params, form, parents, _inner)
    if number in _OUTER:
        return _OUTER[number](params, form, parents)
    return _inner(number, params, form, parents)


def _inner(number: int, params: Params, form: Form, parents: Sequence[Form]) -> Predictor:
    """Those that may stand inside another: so that parameters cannot nest without end."""
    if number not in _INNER:
        raise params.refused("no predictor has this number")
    return _INNER[number](params, form, parents)


_Builder = Callable[[Params, Form, Sequence[Form]], Predictor]

_INNER: dict[int, _Builder] = {
    identity.Identity.id: identity.from_params,
    cast.Cast.id: cast.from_params,
    ggml.Requantized.id: ggml.from_params,
    scaled.Scaled.id: scaled.from_params,
}
_OUTER: dict[int, _Builder] = {
    mask.Mask.id: mask.from_params,
    linear.Linear.id: linear.from_params,
    lowrank.LowRank.id: lowrank.from_params,
    graded.Graded.id: graded.from_params,
}


def _plain(form: Form, parent: Form) -> Iterator[Predictor]:
    """Predictors that follow from the forms alone."""
    if identity.fits(form, parent):
        yield identity.Identity()
    yield from cast.offers(form, parent)
    yield from ggml.offers(form, parent)


def _simple(search: Search, source: Source) -> Iterator[Predictor]:
    target = search.target
    yield from _plain(target.form, source.form)
    if (recovered := scaled.fit(search, target, source)) is not None:
        yield recovered
    if (forms := rows.common(target.form, source.form)) is not None:
        for inner in _plain(*forms):
            yield rows.prefix_of(inner, target.form, forms[0].shape[0])


def _in_another_order(target: Source, source: Source, ranges: Sequence[Range]) -> Iterator[Predictor]:
    """The plain predictor in the row order that fits one stretch best, if it does so clearly better than without."""
    stretch = ranges[len(ranges) // 2]
    words = target.planes(*stretch)

    def cost(predictor: Predictor) -> float:
        return sum(map(residual_bits, words, predicted(predictor, stretch, [source]), target.layout.planes))

    for inner in _plain(target.form, source.form):
        tried = [rows.reordered(inner, target.form, *order) for order in rows.orders(target.form)]
        best = min(tried, key=cost, default=None)
        if best is not None and cost(best) < _REORDERED_SHARE * cost(inner):
            yield best


def _quietly(found: Iterator[_T]) -> Iterator[_T]:
    """Without warnings of arithmetic: any values may be in a tensor, and the sample judges what comes of them."""
    while True:
        with np.errstate(all="ignore"):
            item = next(found, None)
        if item is None:
            return
        yield item


class _Found:
    """What was found so far: what the best candidate takes, and with which parents alone simple ones did well."""

    def __init__(self, search: Search, places: Sequence[int]) -> None:
        self.search, self._places = search, places
        self.best = search.alone_bits
        self._singles: dict[int, float] = {}

    @property
    def settled(self) -> bool:
        return self.best <= _SETTLED_SHARE * 8 * self.search.target.size or self.search.left_s() <= 0

    def offered(
        self, predictors: Iterator[Predictor], numbers: tuple[int, ...], share: float = _NEAR_SHARE
    ) -> Iterator[Candidate]:
        """Those of the predictors that may pay: that take less than `share` of what the best so far takes."""
        sources = [self.search.parents[number] for number in numbers]
        for predictor in _quietly(predictors):
            bits = self.search.bits(predictor, sources)
            if len(numbers) == 1:
                self._singles[numbers[0]] = min(bits, self._singles.get(numbers[0], bits))
            if bits < _PAYS_SHARE * self.search.alone_bits and bits < share * self.best:
                self.best = min(self.best, bits)
                parents = tuple(self._places[number] for number in numbers)
                yield Candidate(predictor, parents, bits, self.search.alone_bits)

    def nearest(self) -> list[int]:
        """The parents that say anything by themselves, those that say most first."""
        told = [number for number, bits in self._singles.items() if bits < _PAYS_SHARE * self.search.alone_bits]
        return sorted(told, key=lambda number: self._singles[number])
