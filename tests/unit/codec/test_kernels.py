"""The compiled loops give the same bytes as the plain ones, whatever they are given."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from headwater.codec import kernels, rans, reference
from headwater.codec.rans import fixed

WORDS = [np.uint8, np.uint16, np.uint32, np.uint64]
SIZES = [0, 1, 7, 8, 9, 1003]
LOOPS = (kernels, reference)


def related(dtype: type, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays whose words are equal, near, or have nothing to do with each other."""
    rng = np.random.default_rng(size)
    a = rng.integers(0, np.iinfo(dtype).max, size, dtype=dtype, endpoint=True)
    b = a + rng.integers(0, 3, size).astype(dtype) * rng.integers(0, 200, size).astype(dtype)
    b[::5] = rng.integers(0, np.iinfo(dtype).max, b[::5].size, dtype=dtype, endpoint=True)
    return a, b


def padded(size: int) -> tuple[np.ndarray, np.ndarray]:
    token = np.zeros((size + 7) // 8 * 8, np.uint8)
    return token, fixed(token.view(np.uint64))


def test_the_two_have_the_same_loops() -> None:
    public = {name for name in vars(reference) if not name.startswith("_") and callable(vars(reference)[name])}
    loops = {name for name in public if vars(reference)[name].__module__ == reference.__name__}
    compiled = {name for name, value in vars(kernels).items() if hasattr(value, "py_func") and name[0] != "_"}
    assert loops == compiled


def steps_of(tables: rans.Tables) -> np.ndarray:
    f = tables.frequencies.astype(np.uint32)
    steps = np.zeros((len(f), 256), np.uint32)
    steps[:, : f.shape[1]] = f | (np.cumsum(f, axis=1, dtype=np.uint32) - f) << np.uint32(16)
    return fixed(steps[tables.lut()].reshape(-1))


def slots_of(loops: ModuleType, frequencies: np.ndarray) -> np.ndarray:
    slots = np.zeros(len(frequencies) * 2048, np.uint32)
    loops.fill_slots(fixed(frequencies.reshape(-1)), frequencies.shape[1], slots)
    return fixed(slots)


def streamed(key: np.ndarray, token: np.ndarray) -> tuple[rans.Tables, list[np.ndarray]]:
    """Tables for these tokens, and the stream as each of the loops writes it, with the words that follow it."""
    counts = np.zeros((256, 256), np.uint32)
    np.add.at(counts, (key, token), 1)
    tables = rans.fit(counts)
    streams = []
    for loops in LOOPS:
        out = np.zeros(key.size // 2 + 16, np.uint32)
        begin = loops.encode_tokens(fixed(key), fixed(token), steps_of(tables), out)
        streams.append(fixed(np.concatenate([out[begin:], np.zeros(4, np.uint32)])))
    return tables, streams


def room_of(cells: int) -> tuple[np.ndarray, ...]:
    token = np.zeros(cells, np.uint8)
    return np.zeros(rans.STATE_NUMBERS, np.uint64), token, fixed(token.view(np.uint64))


@dataclass(frozen=True)
class Difference:
    """What `undelta` is given to make `target` again, and how many raw bits that takes."""

    target: np.ndarray
    predicted: np.ndarray
    contexts: tuple[Any, ...]
    tables: rans.Tables
    words: np.ndarray
    raw: np.ndarray
    bits: int

    def back(self, loops: ModuleType, words: np.ndarray, raw: np.ndarray, cells: int = 64) -> tuple[int, np.ndarray]:
        out = np.zeros_like(self.target)
        stream = slots_of(loops, self.tables.frequencies), fixed(words), fixed(raw)
        taken = loops.undelta(fixed(self.predicted), self.contexts, stream, room_of(cells), out)
        return int(taken), out


def difference(dtype: type, size: int, ordered: bool, columns: int = 1 << 20, skip: int = 0) -> Difference:
    target, predicted = related(dtype, size)
    shift, mask = 8 * target.itemsize - 6, 31
    classes = np.random.default_rng(1).integers(0, 3, (size + skip) // columns + 1).astype(np.uint8)
    luts = (np.arange(3)[:, None] * 7 + np.arange(256) // 4 % 40).astype(np.uint8)
    row = (np.arange(size) + skip) // columns
    key = luts[classes[row], (predicted.astype(np.uint64) >> np.uint64(shift) & np.uint64(mask)).astype(np.int64)]
    token, eights = padded(size)
    raw = np.zeros(size * target.itemsize // 8 + 2, np.uint64)
    bits = int(kernels.tokenise(fixed(target), fixed(predicted), ordered, token, eights, raw))
    tables, streams = streamed(key, token[:size])
    starts = fixed(tables.first_slots()[luts].reshape(-1))
    contexts = (shift, mask, ordered, columns, skip, fixed(classes), starts)
    return Difference(target, predicted, contexts, tables, streams[0], raw[: bits // 64 + 2], bits)


@pytest.mark.parametrize(("dtype", "size", "ordered"), list(product(WORDS, SIZES, [True, False])))
def test_differences_become_tokens_and_come_back(dtype: type, size: int, ordered: bool) -> None:
    target, predicted = related(dtype, size)
    found = []
    for loops in LOOPS:
        token, eights = padded(size)
        raw = np.zeros(size * target.itemsize // 8 + 2, np.uint64)
        bits = loops.tokenise(fixed(target), fixed(predicted), ordered, token, eights, raw)
        found.append((bits, token.tobytes(), raw.tobytes()))
    assert found[0] == found[1]
    given = difference(dtype, size, ordered)
    for loops, cells in product(LOOPS, (8, 64, 2048)):
        taken, out = given.back(loops, given.words, given.raw, cells)
        assert (taken, out.tobytes()) == (given.bits, target.tobytes())


@pytest.mark.parametrize("dtype", WORDS)
@pytest.mark.parametrize(("columns", "skip"), [(1, 0), (3, 2), (90, 37), (64, 0), (1003, 1)])
def test_rows_have_contexts_of_their_own(dtype: type, columns: int, skip: int) -> None:
    given = difference(dtype, 1003, True, columns, skip)
    for loops in LOOPS:
        taken, out = given.back(loops, given.words, given.raw)
        assert (taken, out.tobytes()) == (given.bits, given.target.tobytes())


def test_words_of_the_most_usual_type_have_the_same_fields() -> None:
    """The loop has a way of its own for them."""
    target, predicted = related(np.uint16, 1003)
    token, eights = padded(1003)
    raw = np.zeros(300, np.uint64)
    bits = kernels.tokenise(fixed(target), fixed(predicted), True, token, eights, raw)
    tables, streams = streamed((predicted >> 7).astype(np.uint8), token[:1003])
    contexts = (7, 255, True, 1003, 0, fixed(np.zeros(1, np.uint8)), fixed(tables.first_slots()))
    given = Difference(target, predicted, contexts, tables, streams[0], raw, bits)
    for loops in LOOPS:
        assert given.back(loops, given.words, raw)[1].tobytes() == target.tobytes()


@pytest.mark.parametrize("dtype", WORDS[1:])
def test_too_few_low_bits_are_noticed(dtype: type) -> None:
    given = difference(dtype, 100, True)
    short = given.raw[: (given.bits - 1) // 64 + 1]  # too few whole words of bits, and the one that follows them
    for loops in LOOPS:
        assert given.back(loops, given.words, short)[0] == -1


@pytest.mark.parametrize("dtype", WORDS)
@pytest.mark.parametrize("seed", range(130))
def test_damaged_differences_are_refused_or_are_some_words_by_both_in_the_same_way(dtype: type, seed: int) -> None:
    """Streams with bits flipped, cut short, longer, or of nothing but noise."""
    rng = np.random.default_rng(seed)
    given = difference(dtype, 203, bool(seed % 2), 50, seed % 50)
    stream, raw = given.words[:-4].copy(), given.raw.copy()
    match seed % 4:
        case 0:
            stream[rng.integers(stream.size)] ^= np.uint32(1 << rng.integers(32))
        case 1:
            stream = stream[: rng.integers(8, stream.size)] if stream.size > 8 else stream
        case 2:
            stream = rng.integers(0, 1 << 32, rng.integers(8, 2 * stream.size), dtype=np.uint32)
            stream[: rng.integers(9)] = 0  # states that no encoder makes
        case _:
            raw = rng.integers(0, 1 << 64, rng.integers(1, raw.size + 1), dtype=np.uint64)
    words = np.concatenate([stream, np.zeros(4, np.uint32)])
    found = [given.back(loops, words, raw) for loops in LOOPS]
    assert found[0][0] == found[1][0]
    if found[0][0] >= 0:
        assert found[0][1].tobytes() == found[1][1].tobytes()


@pytest.mark.parametrize("size", SIZES)
def test_streams_of_tokens_are_the_same(size: int) -> None:
    rng = np.random.default_rng(size)
    key = rng.integers(0, 9, size).astype(np.uint8)
    token = rng.geometric(0.4, size).clip(0, 200).astype(np.uint8)
    counts = [np.zeros(256 * 256, np.uint32) for _ in LOOPS]
    for loops, each in zip(LOOPS, counts, strict=True):
        loops.count(fixed(key), fixed(token), each)
    assert counts[0].tobytes() == counts[1].tobytes()
    tables, streams = streamed(key, token)
    assert streams[0].tobytes() == streams[1].tobytes()
    for loops in LOOPS:
        cells, state = key.copy(), np.zeros(rans.STATE_NUMBERS, np.uint64)
        slots = slots_of(loops, tables.frequencies)
        assert loops.decode_tokens(fixed(tables.first_slots()), slots, streams[0], state, cells)
        assert token.tobytes() == cells.tobytes()


@pytest.mark.parametrize("seed", range(20))
def test_a_hostile_stream_is_refused_by_both_in_the_same_way(seed: int) -> None:
    rng = np.random.default_rng(seed)
    key = rng.integers(0, 2, 300).astype(np.uint8)
    tables = rans.Tables((0, 1), np.array([[2048, 0, 0], [1000, 1047, 1]], np.uint16))
    words = rng.integers(0, 1 << 32, 12 + seed, dtype=np.uint32)
    words[: seed % 9] = 0  # states that no encoder makes
    found = []
    for loops in LOOPS:
        slots, state = slots_of(loops, tables.frequencies), np.zeros(rans.STATE_NUMBERS, np.uint64)
        found.append(bool(loops.decode_tokens(fixed(tables.first_slots()), slots, fixed(words), state, key.copy())))
    assert found == [False, False]


@pytest.mark.parametrize(("dtype", "bits"), [(np.uint16, 3), (np.uint16, 6), (np.uint32, 19), (np.uint32, 1)])
@pytest.mark.parametrize("size", SIZES)
def test_low_bits_are_packed_alike_and_come_back(dtype: type, bits: int, size: int) -> None:
    words = related(dtype, size)[0]
    packed = [np.zeros(size * bits // 64 + 1, np.uint64) for _ in LOOPS]
    for loops, out in zip(LOOPS, packed, strict=True):
        loops.pack_bits(fixed(words), bits, out)
    assert packed[0].tobytes() == packed[1].tobytes()
    raw = np.concatenate([packed[0], np.zeros(1, np.uint64)])
    for loops in LOOPS:
        back = np.zeros(size, dtype)
        loops.unpack_bits(fixed(raw), bits, back)
        assert (words & ((1 << bits) - 1)).tobytes() == back.tobytes()


@pytest.mark.parametrize("dtype", WORDS)
def test_keys_of_words(dtype: type) -> None:
    words = related(dtype, 500)[0]
    for shift, mask in [(0, 255), (3, 15), (7, 255), (5, 1)]:
        out = [np.zeros(500, np.uint8) for _ in LOOPS]
        for loops, each in zip(LOOPS, out, strict=True):
            loops.keys(fixed(words), shift, mask, each)
        assert out[0].tobytes() == out[1].tobytes()


@pytest.mark.parametrize(("dtype", "mantissa"), [(np.uint16, 7), (np.uint16, 10), (np.uint32, 23), (np.uint8, 3)])
def test_scales_of_rows(dtype: type, mantissa: int) -> None:
    target, predicted = related(dtype, 1000)
    stops = np.minimum(np.arange(1, 13) * 90 - 37, 1000).astype(np.uint64)
    out = [np.zeros(12) for _ in LOOPS]
    for loops, each in zip(LOOPS, out, strict=True):
        loops.row_scales(fixed(target), fixed(predicted), fixed(np.exp2(np.arange(256))), mantissa, fixed(stops), each)
    np.testing.assert_allclose(out[0], out[1], rtol=1e-9)


def test_keys_by_rows() -> None:
    rng = np.random.default_rng(1)
    key = rng.integers(0, 256, 1000).astype(np.uint8)
    luts = rng.integers(0, 256, 4 * 256).astype(np.uint8)
    classes = rng.integers(0, 4, 12).astype(np.uint8)
    out = [np.zeros(1000, np.uint8) for _ in LOOPS]
    for loops, each in zip(LOOPS, out, strict=True):
        loops.remap_rows(fixed(key), fixed(luts), fixed(classes), 37, 90, each)
    assert out[0].tobytes() == out[1].tobytes()
    assert luts[int(classes[0]) * 256 + int(key[52])] == out[0][52]
    assert luts[int(classes[1]) * 256 + int(key[53])] == out[0][53]
