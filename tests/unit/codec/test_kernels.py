"""The compiled loops give the same bytes as the plain ones, whatever they are given."""

from __future__ import annotations

from itertools import product

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
    for loops in LOOPS:
        out = np.empty_like(target)
        loops.apply(fixed(predicted), fixed(token), ordered, out)
        if dtype is not np.uint8:
            taken = loops.patch(fixed(predicted), fixed(token), eights, ordered, fixed(raw), out)
            assert bits == taken
        assert target.tobytes() == out.tobytes()


@pytest.mark.parametrize("dtype", WORDS[1:])
def test_too_few_low_bits_are_noticed(dtype: type) -> None:
    target, predicted = related(dtype, 100)
    token, eights = padded(100)
    raw = np.zeros(1000, np.uint64)
    bits = kernels.tokenise(fixed(target), fixed(predicted), True, token, eights, raw)
    short = fixed(raw[: (bits - 1) // 64 + 1])  # too few whole words of bits, and the one that follows them
    for loops in LOOPS:
        out = np.empty_like(target)
        assert loops.patch(fixed(predicted), fixed(token), eights, True, short, out) == -1


@pytest.mark.parametrize("size", SIZES)
def test_streams_of_tokens_are_the_same(size: int) -> None:
    rng = np.random.default_rng(size)
    key = rng.integers(0, 9, size).astype(np.uint8)
    token = rng.geometric(0.4, size).clip(0, 200).astype(np.uint8)
    counts = [np.zeros(256 * 256, np.uint32) for _ in LOOPS]
    for loops, each in zip(LOOPS, counts, strict=True):
        loops.count(fixed(key), fixed(token), each)
    assert counts[0].tobytes() == counts[1].tobytes()
    tables = rans.fit(counts[0].reshape(256, 256))
    f = tables.frequencies.astype(np.uint32)
    steps = np.zeros((len(f), 256), np.uint32)
    steps[:, : f.shape[1]] = f | (np.cumsum(f, axis=1, dtype=np.uint32) - f) << np.uint32(16)
    streams = []
    for loops in LOOPS:
        out = np.zeros(size // 2 + 16, np.uint32)
        begin = loops.encode_tokens(fixed(key), fixed(token), fixed(steps[tables.lut()].reshape(-1)), out)
        streams.append(out[begin:].tobytes())
    assert streams[0] == streams[1]
    for loops in LOOPS:
        slots = np.zeros(len(f) * 2048, np.uint32)
        loops.fill_slots(fixed(tables.frequencies.reshape(-1)), f.shape[1], slots)
        words = np.concatenate([np.frombuffer(streams[0], np.uint32), np.zeros(4, np.uint32)])
        back = np.zeros(size, np.uint8)
        assert loops.decode_tokens(fixed(key), fixed(tables.lut()), fixed(slots), fixed(words), back)
        assert token.tobytes() == back.tobytes()


@pytest.mark.parametrize("seed", range(20))
def test_a_hostile_stream_is_refused_by_both_in_the_same_way(seed: int) -> None:
    rng = np.random.default_rng(seed)
    key = rng.integers(0, 2, 300).astype(np.uint8)
    lut = np.minimum(np.arange(256), 1).astype(np.uint8)
    frequencies = np.array([[2048, 0, 0], [1000, 1047, 1]], np.uint16)
    words = rng.integers(0, 1 << 32, 12 + seed, dtype=np.uint32)
    words[: seed % 9] = 0  # states that no encoder makes
    found = []
    for loops in LOOPS:
        slots = np.zeros(2 * 2048, np.uint32)
        loops.fill_slots(fixed(frequencies.reshape(-1)), 3, slots)
        token = np.zeros(300, np.uint8)
        found.append(bool(loops.decode_tokens(fixed(key), fixed(lut), fixed(slots), fixed(words), token)))
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
