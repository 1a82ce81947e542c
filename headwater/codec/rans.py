"""Static rANS in contexts: fitted tables, their bytes, and streams of tokens. It knows no tensor and no prediction.

Each token (a byte) comes with a key (a byte) that the decoder knows before. Neighbouring keys whose tokens are alike
share a context; each context has its own frequencies, 2048 in all. Four states of 64 bits take turns and are
renormalised by 32 bits, so that a decoder has four independent chains to work on. Source of the coder: J. Duda,
"Asymmetric numeral systems", arXiv 1311.2540; the interleaving is F. Giesen's, arXiv 1402.3392.

The stream is little-endian u32: the four states, high half first, then what the decoder shifts in, in its order.
Decoding must use the stream up and end with all states at 2^31, which finds most damage by itself.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.codec.form import Undecodable
from headwater.codec.scratch import Scratch
from headwater.codec.streams import Parts, squeezed, unsqueezed

U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]
Counts = NDArray[np.uint32]
"""(256, 256): how often each token came with each key."""

KEYS = 256
TOKENS = 256
SLOTS = 2048  # 11 bits: 4096 gain 0.04 % and cost the decoder its cache
STATE_NUMBERS = 5  # room that the decoding loops want
_PAD_WORDS = 4  # they want them after the stream
_STATE_WORDS = 8
_LIST_BITS = 6.0  # what an entry of a packed table takes, about
_ROW_BITS = 24.0  # what a row takes besides


@cache
def engine() -> ModuleType:
    """The compiled loops, or the plain ones where numba is missing or refuses this machine."""
    try:
        return importlib.import_module("headwater.codec.kernels")
    except (ImportError, OSError, RuntimeError):
        return importlib.import_module("headwater.codec.reference")


def fixed(array: NDArray[Any]) -> NDArray[Any]:
    """The array as the loops want their inputs: contiguous, aligned, read-only; copied only if it must be."""
    if not (array.flags.c_contiguous and array.flags.aligned):
        array = array.copy()
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, slots=True)
class Tables:
    """Contexts and their frequencies. Keys [starts[c], starts[c + 1]) are of context c; rows add up to `SLOTS`.

    Packed and then `squeezed`: u8 rows - 1, u8 columns - 1, a u8 for each row's first key, the low bytes of all
    frequencies row by row, their high bytes. A slot x (the low 11 bits of a state) is of the token t whose slots
    [first, first + f) have it; the state becomes f * (state >> 11) + x - first, and below 2^31 takes in 32 bits.
    """

    starts: tuple[int, ...]
    frequencies: NDArray[np.uint16]

    def lut(self) -> U8:
        """The context of each key."""
        runs = np.diff([*self.starts, KEYS])
        return np.repeat(np.arange(len(self.starts), dtype=np.uint8), runs)

    def first_slots(self) -> U32:
        """For each key where its context's slots begin, those of all contexts being in one array."""
        return self.lut() * np.uint32(SLOTS)

    def pack(self) -> bytes:
        rows, columns = self.frequencies.shape
        low = (self.frequencies & 255).astype(np.uint8).tobytes()
        high = (self.frequencies >> 8).astype(np.uint8).tobytes()
        return squeezed(bytes([rows - 1, columns - 1, *self.starts]) + low + high)

    def bits(self, counts: Counts) -> float:
        """What tokens with these counts take with these tables, without the tables; inf if one has no slot."""
        merged = np.add.reduceat(counts.astype(np.float64), self.starts, axis=0)
        if merged[:, self.frequencies.shape[1] :].any():
            return float("inf")
        merged = merged[:, : self.frequencies.shape[1]]
        if merged[self.frequencies == 0].any():
            return float("inf")
        return float(-(merged * np.log2(np.maximum(self.frequencies, 1) / SLOTS)).sum())


def fit(counts: Counts) -> Tables:
    """Tables for these counts: keys are merged with their neighbours while that saves more than it costs."""
    used = np.nonzero(counts.any(axis=1))[0]
    if not used.size:
        return Tables((0,), np.array([[SLOTS]], np.uint16))
    columns = int(np.nonzero(counts.any(axis=0))[0][-1]) + 1
    starts, rows = _merged(used, counts[used, :columns].astype(np.float64))
    return Tables((0, *starts[1:]), np.stack([_to_slots(row) for row in rows]))


def unpack(data: bytes | memoryview, alphabet: int) -> Tables:
    """The tables that `pack` wrote. Tokens are below `alphabet`."""
    flat = Parts(unsqueezed(data, 2 + KEYS + 2 * KEYS * TOKENS))
    rows, columns = flat.byte() + 1, flat.byte() + 1
    if columns > alphabet:
        raise Undecodable(f"codec: a table of {columns} tokens where there are {alphabet}")
    starts = np.frombuffer(flat.bytes(rows), np.uint8).astype(np.int64)
    low = np.frombuffer(flat.bytes(rows * columns), np.uint8).astype(np.uint16)
    high = np.frombuffer(flat.bytes(rows * columns), np.uint8).astype(np.uint16)
    flat.end()
    frequencies = (low | high << np.uint16(8)).reshape(rows, columns)
    if starts[0] != 0 or (np.diff(starts) <= 0).any() or (frequencies.sum(axis=1, dtype=np.int64) != SLOTS).any():
        raise Undecodable("codec: a table of frequencies that is none")
    return Tables(tuple(starts.tolist()), frequencies)


def encode(key: U8, token: U8, tables: Tables, scratch: Scratch) -> bytes:
    """The stream of `token`. Each token has a frequency in the context of its key: the tables were fitted to them."""
    f = tables.frequencies.astype(np.uint32)
    steps = np.zeros((len(f), TOKENS), np.uint32)
    steps[:, : f.shape[1]] = f | (np.cumsum(f, axis=1, dtype=np.uint32) - f) << np.uint32(16)
    out = scratch.array(token.size // 2 + 16, np.uint32)
    begin = engine().encode_tokens(fixed(key), fixed(token), fixed(steps[tables.lut()].reshape(-1)), out)
    return out[begin:].tobytes()


def decode(cells: U8, stream: bytes | memoryview, tables: Tables, scratch: Scratch) -> None:
    """Makes of each key in `cells` its token."""
    slots, words = prepared(stream, tables, scratch)
    state = np.empty(STATE_NUMBERS, np.uint64)
    if not engine().decode_tokens(fixed(tables.first_slots()), slots, words, state, cells):
        raise Undecodable("codec: a damaged stream of tokens")


def prepared(stream: bytes | memoryview, tables: Tables, scratch: Scratch) -> tuple[U32, U32]:
    """The slots of all contexts, and the stream's words, as the loops want them."""
    if len(stream) % 4 or len(stream) < 4 * _STATE_WORDS:
        raise Undecodable(f"codec: a stream of {len(stream)} bytes")
    words = scratch.array(len(stream) // 4 + _PAD_WORDS, np.uint32)
    words[:-_PAD_WORDS] = np.frombuffer(stream, np.uint32)
    words[-_PAD_WORDS:] = 0
    slots = scratch.array(len(tables.starts) * SLOTS, np.uint32)
    engine().fill_slots(fixed(tables.frequencies.reshape(-1)), tables.frequencies.shape[1], slots)
    return fixed(slots), fixed(words)


def _merged(used: NDArray[np.int64], rows: NDArray[np.float64]) -> tuple[list[int], NDArray[np.float64]]:
    starts = used
    while len(rows) > 1:
        alone = _bits(rows)
        gain = alone[:-1] + alone[1:] - _bits(rows[:-1] + rows[1:])
        taken = _apart(gain)
        if not taken.size:
            break
        rows[taken] += rows[taken + 1]
        rows = np.delete(rows, taken + 1, axis=0)
        starts = np.delete(starts, taken + 1)
    return starts.tolist(), rows


def _bits(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    total = rows.sum(axis=1, keepdims=True)
    part = np.maximum(rows, 1e-9)  # 0 log 0 is 0, near enough
    cost: NDArray[np.float64] = -(rows * np.log2(part / total)).sum(axis=1) + _LIST_BITS * (rows > 0).sum(axis=1)
    return cost + _ROW_BITS


def _apart(gain: NDArray[np.float64]) -> NDArray[np.int64]:
    """Pairs that gain, no two of them neighbours: those that gain at least what both neighbours do."""
    before = np.concatenate([[-np.inf], gain[:-1]])
    after = np.concatenate([gain[1:], [-np.inf]])
    return np.nonzero((gain > 0) & (gain >= before) & (gain > after))[0]


def _to_slots(row: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Counts as `SLOTS` in all, at least one for each that is not zero."""
    share = np.where(row > 0, np.maximum(np.rint(row * (SLOTS / row.sum())), 1), 0).astype(np.int64)
    left = SLOTS - int(share.sum())
    while left:
        largest = int(np.argmax(share))
        change = left if left > 0 else max(left, -(int(share[largest]) // 2))
        share[largest] += change
        left -= change
    return share.astype(np.uint16)
