"""The search: which of all sketched files are near a given one. Pure arithmetic over rows of a few KB.

Of each file up to ROWS_MAX tensors are looked at, chosen so that two files of one family choose the same ones: those
whose names and shapes have the smallest hashes; and, for files whose names nobody knows, of each large shape the
tensors whose signs, read as a number, are smallest. Refuses to know where rows come from and who may see which.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.lineage.align import NEAR_BITS, PROBES, Probed
from headwater.lineage.estimate import nearness
from headwater.lineage.names import common_name
from headwater.lineage.sketch import TensorSketch

NAMED_MAX = 32
SHAPES_MAX = 8  # the largest ones by bytes; real families have five to nine in all
OF_A_SHAPE = 2
ROWS_MAX = NAMED_MAX + SHAPES_MAX * OF_A_SHAPE  # 40 bytes each
UNRELATED_BITS = 9.0  # of mean difference: weights that have nothing to do with each other have 9.5
SAVED_MIN = 64.0  # what seven equal elements save: less is chance
ROW = np.dtype([("key", "<i8"), ("words", "<u2", (PROBES,))])

Rows = NDArray[np.void]
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Probes:
    """What the search keeps of a file: `rows` in order of their keys, and the keys of its largest shapes."""

    rows: Rows
    shapes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Nearness:
    """`saved` is about how many bits of the compared elements the file would save, in its tensors that are near at all;
    `bits` is the mean difference in these.
    """

    saved: Array
    bits: Array

    @property
    def related(self) -> Array:
        """What is worth a closer look."""
        return self.saved >= SAVED_MIN


def _key(*parts: object) -> int:
    """A number that a database column can hold."""
    text = "\n".join(map(str, parts)).encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little", signed=True)


def shape_key(tensor: TensorSketch) -> int:
    return _key("shape", *tensor.grid)


def choose(file: Probed) -> Probes:
    """What the search keeps of this file. The first of two tensors with one key counts."""
    tensors = [(i, tensor) for i, tensor in enumerate(file.sketch.tensors) if tensor.samples is not None]
    named = {_key("name", common_name(tensor.name), *tensor.grid): i for i, tensor in reversed(tensors)}
    chosen = {key: named[key] for key in sorted(named)[:NAMED_MAX]}
    shapes: dict[int, list[int]] = {}
    sizes: dict[int, int] = {}
    for i, tensor in tensors:
        key = shape_key(tensor)
        shapes.setdefault(key, []).append(i)
        sizes[key] = sizes.get(key, 0) + tensor.size_bytes
    largest = sorted(sizes, key=lambda key: (-sizes[key], key))[:SHAPES_MAX]
    for shape in largest:
        for place, i in enumerate(_fewest_signs(file, shapes[shape])):
            chosen.setdefault(_key("signs", shape, place), i)
    rows = np.zeros(len(chosen), ROW)
    for row, key in zip(rows, sorted(chosen), strict=True):
        row["key"], row["words"] = key, file.probes[chosen[key]]
    return Probes(rows, tuple(largest))


def _fewest_signs(file: Probed, among: Sequence[int]) -> list[int]:
    """Those whose signs, as a number, are smallest: small changes of the weights hardly change which these are."""
    signs = (file.probes[list(among)] >> 15) @ (1 << np.arange(PROBES, dtype=np.int64))
    return [among[place] for place in np.argsort(signs, kind="stable")[:OF_A_SHAPE]]


def rows_of(data: bytes) -> Rows:
    """Rows as they lie in the database; none for what is not whole rows."""
    return np.frombuffer(data, ROW) if len(data) % ROW.itemsize == 0 else np.zeros(0, ROW)


def nearness_of(target: Rows, files: Sequence[bytes]) -> Nearness:
    """Of each file, given as its rows' bytes, to the target. Vectorised: 10,000 files take a fifth of a second."""
    found = [rows_of(data) for data in files]
    owners = np.repeat(np.arange(len(files)), [len(rows) for rows in found])
    if len(target) == 0 or len(owners) == 0:
        nothing = np.zeros(len(files))
        return Nearness(nothing, nothing)
    rows = np.concatenate(found)
    at = np.minimum(np.searchsorted(target["key"], rows["key"]), len(target) - 1)
    same = target["key"][at] == rows["key"]
    owners, at, words = owners[same], at[same], rows["words"][same]
    mean, count = nearness(target["words"][at], words)
    # Only what is near counts: a frozen embedding under new layers is kin, too.
    owners, mean, count = (one[mean < NEAR_BITS] for one in (owners, mean, count))
    bits = np.bincount(owners, mean * count, len(files))
    places = np.bincount(owners, count, len(files))
    return Nearness(UNRELATED_BITS * places - bits, bits / np.maximum(places, 1))
