"""Words and values: exact both ways, rounded as IEEE 754 says, one NaN."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.codec.predict.words import FLOATS, Float, nearest, reals, rounding_cells, toward_zero

SHORT = ["BF16", "F16", "F8_E4M3", "F8_E5M2"]


def every_word(kind: Float) -> np.ndarray:
    if kind.bits <= 16:
        return np.arange(1 << kind.bits, dtype=kind.word)
    return np.frombuffer(np.random.default_rng(1).bytes(20_000 * kind.bits // 8), kind.word)


def value_by_definition(word: int, kind: Float) -> float:
    exponent = (word >> kind.mantissa_bits) & ((1 << kind.exponent_bits) - 1)
    fraction = (word & ((1 << kind.mantissa_bits) - 1)) / (1 << kind.mantissa_bits)
    size = (fraction + (exponent > 0)) * 2.0 ** (max(exponent, 1) - kind.bias)
    return -size if word & kind.sign else size


@pytest.mark.parametrize("dtype", sorted(FLOATS))
def test_every_value_goes_back_to_its_word_and_every_nan_to_one(dtype: str) -> None:
    kind = FLOATS[dtype]
    words = every_word(kind)
    values = reals(words, kind)
    expected = np.where(np.isnan(values), words.dtype.type(kind.nan), words)
    assert np.array_equal(expected, nearest(values, kind))


@pytest.mark.parametrize("dtype", SHORT)
def test_words_have_the_values_of_their_definition(dtype: str) -> None:
    kind = FLOATS[dtype]
    words = every_word(kind)
    values = reals(words, kind)
    finite = np.isfinite(values)
    assert finite.sum() == {"BF16": 65280, "F16": 63488, "F8_E4M3": 254, "F8_E5M2": 248}[dtype]
    for word in words[finite][:: max(1, len(words) // 512)]:
        assert value_by_definition(int(word), kind) == values[word]


@pytest.mark.parametrize("dtype", SHORT)
def test_halfway_goes_to_the_even_word_and_all_else_to_the_nearer(dtype: str) -> None:
    kind = FLOATS[dtype]
    positive = every_word(kind)[: kind.sign]
    values = reals(positive, kind)
    lower = positive[:-1][np.isfinite(values[:-1]) & np.isfinite(values[1:])]
    halfway = (reals(lower, kind) + reals(lower + 1, kind)) / 2
    even = lower + (lower & 1)
    assert np.array_equal(even, nearest(halfway, kind))
    assert np.array_equal(even | kind.sign, nearest(-halfway, kind))
    # One step of float32 aside, since that is what values pass through.
    single = halfway.astype(np.float32)
    assert np.array_equal(lower, nearest(np.nextafter(single, np.float32(-1)).astype(np.float64), kind))
    assert np.array_equal(lower + 1, nearest(np.nextafter(single, np.float32(np.inf)).astype(np.float64), kind))


@pytest.mark.parametrize(("dtype", "word"), [("BF16", 0x7F80), ("F16", 0x7C00), ("F8_E5M2", 0x7C), ("F8_E4M3", 0x7F)])
def test_what_is_too_large_becomes_infinite_or_nan(dtype: str, word: int) -> None:
    kind = FLOATS[dtype]
    huge = np.array([1e39, np.inf, -1e39, -np.inf])
    assert [word, word, word | kind.sign, word | kind.sign] == nearest(huge, kind).tolist()


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_values_inside_a_rounding_cell_round_to_its_word(dtype: str) -> None:
    kind = FLOATS[dtype]
    words = every_word(kind)
    low, high = rounding_cells(words, kind)
    assert (low < high).all()
    bounded = np.isfinite(low) & np.isfinite(high)
    for share in (0.01, 0.5, 0.99):
        inside = low[bounded] + share * (high[bounded] - low[bounded])
        assert np.mean(nearest(inside, kind) == words[bounded]) > 0.9999  # but for cells around +-0


def test_cutting_off_never_moves_away_from_zero() -> None:
    singles = np.random.default_rng(2).standard_normal(10_000).astype(np.float32)
    cut = reals(toward_zero(singles, FLOATS["BF16"]), FLOATS["BF16"])
    assert (np.abs(cut) <= np.abs(singles)).all()
    assert (np.abs(singles - cut) < np.abs(singles) * 2**-7).all()
