"""Alignment: which tensor of one file stands for which of another. Pure: two sketches in, pairs of names out.

By name; by what other tools call the same tensor; an output matrix for a tied embedding; and, where names do not help
or lie, by shape and samples. A pair is a proposal: whoever stores the tensor measures what it saves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headwater.lineage.estimate import nearness
from headwater.lineage.names import EMBEDDING, OUTPUT, common_name
from headwater.lineage.samples import Canonical
from headwater.lineage.sketch import RUN, RUNS_MIN, Sketch, TensorSketch

PROBES = 16  # elements of a tensor that are compared at a glance
NEAR_BITS = 8.0  # of mean difference in BF16: unrelated weights have 10 to 11, four-bit quantizations 6 at most
NEAR_PLACES_MIN = PROBES // 2  # that are not zero
COMPARISONS_MAX = 1 << 18  # of tensors by samples, for one pair of files: some 200 MB/s, so a second at most

Found = Literal["name", "renamed", "tied", "weights"]


@dataclass(frozen=True, slots=True)
class Pair:
    """`parent` stands for `target`: indices into the tensors of two sketches."""

    target: int
    parent: int
    found: Found


@dataclass(frozen=True, slots=True)
class Probed:
    """A sketch with what a glance at it needs: (tensors, PROBES) BF16 words; zeros, which say nothing, where a tensor
    has no samples.
    """

    sketch: Sketch
    probes: Canonical


def probed(sketch: Sketch) -> Probed:
    found = [_probe(tensor) for tensor in sketch.tensors]
    return Probed(sketch, np.stack(found) if found else np.zeros((0, PROBES), np.uint16))


def _probe(tensor: TensorSketch) -> Canonical:
    if tensor.samples is None:
        return np.zeros(PROBES, np.uint16)
    # All over the runs that every sketch of this shape has, however many more it has.
    count = min(len(tensor.samples.words), RUNS_MIN * RUN)
    return tensor.samples.take(np.arange(PROBES) * count // PROBES).canonical()


def align(target: Probed, parent: Probed) -> list[Pair]:
    """At most one pair for each tensor of the target, in its order. Shapes are equal, or differ in the first number."""
    ours, theirs = target.sketch.tensors, parent.sketch.tensors
    pairs = _by_name(ours, theirs)
    near = _near(pairs, target.probes, parent.probes)
    doubtful = [i for i, tensor in enumerate(ours) if tensor.samples is not None and i not in near]
    taken = {pairs[i].parent for i in near}
    free = [j for j, tensor in enumerate(theirs) if tensor.samples is not None and j not in taken]
    pairs.update(_by_weights(target, parent, doubtful, free))
    return sorted(pairs.values(), key=lambda pair: pair.target)


def fits(target: TensorSketch, parent: TensorSketch) -> bool:
    """Equal shapes, or another number of rows: an extended or a cut vocabulary."""
    if target.shape == parent.shape:
        return True
    return len(target.shape) == len(parent.shape) > 1 and target.shape[1:] == parent.shape[1:]


def _by_name(ours: Sequence[TensorSketch], theirs: Sequence[TensorSketch]) -> dict[int, Pair]:
    exact = {tensor.name: j for j, tensor in enumerate(theirs)}
    common: dict[str, int] = {}
    for j, tensor in enumerate(theirs):
        common.setdefault(common_name(tensor.name), j)
    found: dict[int, Pair] = {}
    for i, tensor in enumerate(ours):
        name = common_name(tensor.name)
        tried: tuple[tuple[int | None, Found], ...] = (
            (exact.get(tensor.name), "name"),
            (common.get(name), "renamed"),
            (common.get({OUTPUT: EMBEDDING, EMBEDDING: OUTPUT}.get(name, "")), "tied"),
        )
        for candidate, how in tried:
            if candidate is not None and fits(tensor, theirs[candidate]):
                found[i] = Pair(i, candidate, how)
                break
    return found


def _near(pairs: dict[int, Pair], ours: Canonical, theirs: Canonical) -> set[int]:
    """The targets whose pair is seen to be near."""
    if not pairs:
        return set()
    index = np.array([(pair.target, pair.parent) for pair in pairs.values()])
    bits, places = nearness(ours[index[:, 0]], theirs[index[:, 1]])
    return set(index[(places >= NEAR_PLACES_MIN) & (bits < NEAR_BITS), 0].tolist())


def _by_weights(target: Probed, parent: Probed, doubtful: Sequence[int], free: Sequence[int]) -> dict[int, Pair]:
    """For each doubtful tensor the nearest free one of its shape, if one is near."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for j in free:
        shapes.setdefault(parent.sketch.tensors[j].shape, []).append(j)
    found: dict[int, Pair] = {}
    left = COMPARISONS_MAX
    for i in doubtful:
        tried = shapes.get(target.sketch.tensors[i].shape, [])[:left]
        if not tried:
            continue
        left -= len(tried)
        nearest = _nearest(target.probes[i], parent.probes[tried])
        if nearest is not None:
            found[i] = Pair(i, tried[nearest], "weights")
    return found


def _nearest(probe: Canonical, among: NDArray[Any]) -> int | None:
    bits, places = nearness(probe[None, :], among)
    bits = np.where(places >= NEAR_PLACES_MIN, bits, np.inf)
    best = int(bits.argmin())
    return best if bits[best] < NEAR_BITS else None
