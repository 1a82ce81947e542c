"""Recipe: how a blob is rebuilt from stored objects. Versioned; the blob's bytes never change, its recipe may.

No recipe (NULL in the row): the blob is one object of its own. Version 1: a list of terms, each a run of chunks of one
xorb. `docs/spec/store.md` has the layout byte by byte.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headwater.ground.errors import Corrupt
from headwater.store.hashes import XetHash, from_text, to_text

VERSION = 1
_TERM = np.dtype([("xorb", "V32"), ("chunks", "<u4", 2), ("raw", "<u4", 2)])


@dataclass(frozen=True, slots=True)
class Term:
    """Chunks [chunk_start, chunk_stop) of a xorb: its decoded bytes [raw_start, raw_stop)."""

    xorb: XetHash
    chunk_start: int
    chunk_stop: int
    raw_start: int
    raw_stop: int

    @property
    def size(self) -> int:
        return self.raw_stop - self.raw_start


def encode(terms: list[Term]) -> bytes:
    rows = np.empty(len(terms), _TERM)
    for row, term in zip(rows, terms, strict=True):
        row["xorb"] = np.void(from_text(term.xorb))
        row["chunks"] = (term.chunk_start, term.chunk_stop)
        row["raw"] = (term.raw_start, term.raw_stop)
    return bytes([VERSION]) + rows.tobytes()


def decode(data: bytes) -> list[Term]:
    if not data or data[0] != VERSION or (len(data) - 1) % _TERM.itemsize:
        raise Corrupt(
            f"a recipe of version {data[:1].hex()} and {len(data)} bytes can't be read; see `headwater verify`"
        )
    return [
        Term(to_text(row["xorb"].tobytes()), *(int(n) for n in row["chunks"]), *(int(n) for n in row["raw"]))
        for row in np.frombuffer(data, _TERM, offset=1)
    ]


def size(terms: list[Term]) -> int:
    return sum(term.size for term in terms)
