"""Kinship: what one sketched file would save as the parent of another, tensor by tensor. Pure.

It decides which pairs are worth offering; whoever encodes measures again, and believes only that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headwater.lineage.align import Found, Probed, align
from headwater.lineage.estimate import Estimate, estimate
from headwater.lineage.samples import Samples, form_of
from headwater.lineage.sketch import TensorSketch, common

GLANCE_TENSORS = 48  # the largest ones
GLANCE_WORDS = 512
OFFERED_BELOW = 0.98  # of what the tensor takes alone: the codec has better predictors than the estimate knows


@dataclass(frozen=True, slots=True)
class Match:
    """A tensor and the one that stands for it in the parent. `saved_bytes` is estimated, 0 where nothing was sampled.

    `heads`, `parent_heads`: the rows are in llama.cpp's order for that many heads; where the two differ, row `i` of
    one is another row of the other. Rows may differ in number: a vocabulary was extended, or cut.
    """

    target: str
    parent: str
    found: Found
    saved_bytes: float
    heads: int
    parent_heads: int


@dataclass(frozen=True, slots=True)
class Kinship:
    """`score` is the share of the whole file that would be saved, `saved` each tensor's part of it."""

    score: float
    matches: tuple[Match, ...]
    saved: dict[int, float]


def glance(target: Probed, parent: Probed) -> float:
    """About the bytes that would be saved in the largest tensors: for ranking many."""
    ours, theirs = target.sketch.tensors, parent.sketch.tensors
    pairs = [pair for pair in align(target, parent) if ours[pair.target].samples is not None]
    pairs.sort(key=lambda pair: -ours[pair.target].size_bytes)
    return sum(
        _saved_bytes(one, other, _estimate(one, other, GLANCE_WORDS))
        for one, other in ((ours[pair.target], theirs[pair.parent]) for pair in pairs[:GLANCE_TENSORS])
    )


def compare(target: Probed, parent: Probed) -> Kinship:
    """All tensors. Pairs that would save nothing are left out; those of tensors too small to tell are kept."""
    ours, theirs = target.sketch.tensors, parent.sketch.tensors
    total = max(1, target.sketch.size_bytes)
    matches: list[Match] = []
    saved: dict[int, float] = {}
    for pair in align(target, parent):
        one, other = ours[pair.target], theirs[pair.parent]
        told = _estimate(one, other, None)
        if told is not None and told.given > OFFERED_BELOW * told.alone:
            continue
        saved_bytes = _saved_bytes(one, other, told)
        saved[pair.target] = saved_bytes / total
        matches.append(Match(one.name, other.name, pair.found, saved_bytes, one.heads, other.heads))
    score = sum(saved.values())
    return Kinship(score, tuple(matches) if score else (), saved)


def _estimate(one: TensorSketch, other: TensorSketch, words_max: int | None) -> Estimate | None:
    """None: it can't be told."""
    shared = common(one, other)
    if shared is None:
        return None
    ours, theirs = shared
    return estimate(_cut(ours, words_max), _cut(theirs, words_max))


def _cut(samples: Samples, words_max: int | None) -> Samples:
    return samples.take(slice(words_max))


def _saved_bytes(one: TensorSketch, other: TensorSketch, told: Estimate | None) -> float:
    if told is None or not told.pays:
        return 0.0
    rows = min(1.0, other.grid[0] / one.grid[0])  # what was added to a vocabulary has no parent
    return one.size_bytes * rows * (told.alone - told.given) / form_of(one.dtype).size_bits


def choose(found: Sequence[Kinship], count_max: int, share_min: float) -> list[int]:
    """Which of these to offer together, best first: first whoever adds most to those before, then the rest by score.

    A file in shards, or one that was merged, has several parents; each saves something that the others do not.
    """
    best: dict[int, float] = {}
    chosen: list[int] = []
    left = {i for i, one in enumerate(found) if one.score >= share_min}
    while left and len(chosen) < count_max:
        gains = {i: sum(max(0.0, v - best.get(t, 0.0)) for t, v in found[i].saved.items()) for i in left}
        i = max(left, key=lambda one: (gains[one], found[one].score, -one))
        if gains[i] < share_min:
            break
        chosen.append(i)
        left.discard(i)
        for tensor, value in found[i].saved.items():
            best[tensor] = max(value, best.get(tensor, 0.0))
    rest = sorted(left, key=lambda one: (-found[one].score, one))
    return chosen + rest[: count_max - len(chosen)]
