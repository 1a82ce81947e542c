"""Integer factors of a low-rank matrix as bytes. It knows no tensor.

The entries of one factor are nearly normal, and each factor has its own spread. An entry is cut into low bits, which
are noise and are packed as they are, and a high part of a few values, which zstd's Huffman stage squeezes: within a
tenth of a bit of the entropy, without a coder of its own.
"""

from __future__ import annotations

import struct
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from headwater.codec.predict.contract import Params, pack

Integers: TypeAlias = NDArray[np.int32]

LOW_BITS_MAX = 24  # an entry has at most 31 bits, and 7 of them are in the high part
_HIGH_BITS = 3  # of the high part, per standard deviation: more would be noise


def factors_packed(factors: Integers) -> bytes:
    """A matrix with one row for each factor.

    For each factor u8 how many low bits its entries have; the high parts of all entries as i8, as `pack` writes them;
    for each factor the low bits of its entries, from the lowest on, eight to a byte, the first in the top bit.
    """
    highs, lows, widths = [], [], []
    for row in factors:
        spread = float(np.sqrt(np.mean(row.astype(np.float64) ** 2))) if row.size else 0.0
        low = max(0, int(np.floor(np.log2(max(spread, 1.0)))) - _HIGH_BITS)
        while row.size and max(int(row.max()) >> low, -1 - (int(row.min()) >> low)) > 127:
            low += 1
        assert low <= LOW_BITS_MAX, low
        widths.append(low)
        highs.append((row >> low).astype(np.int8))
        bits = (row[:, None] >> np.arange(low)) & 1
        lows.append(np.packbits(bits.astype(np.uint8).reshape(-1)).tobytes())
    return bytes(widths) + pack(np.concatenate(highs).tobytes()) + b"".join(lows)


def factors_unpacked(params: Params, rank: int, entries: int) -> Integers:
    """What `factors_packed` packed: `rank` rows of `entries`. The caller bounds their product."""
    widths = struct.unpack(f"{rank}B", params.take_bytes(rank))
    if any(width > LOW_BITS_MAX for width in widths):
        raise params.refused("a factor is too wide")
    highs = np.frombuffer(params.packed(rank * entries), np.int8).reshape(rank, entries)
    factors = np.empty((rank, entries), np.int32)
    for number, width in enumerate(widths):
        packed = np.frombuffer(params.take_bytes(-(-entries * width // 8)), np.uint8)
        bits = np.unpackbits(packed, count=entries * width).reshape(entries, width)
        row = highs[number].astype(np.int32) << width
        for place in range(width):
            row |= bits[:, place].astype(np.int32) << place
        factors[number] = row
    return factors
