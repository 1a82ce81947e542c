"""Estimates: near the entropy of the whole, on the safe side where nothing is shared, and for every bit pattern."""

from __future__ import annotations

import numpy as np
import pytest
from model_building import base, bf16, q4_0, q8_0, tuned

from headwater.lineage.blocks import BLOCK_TYPES
from headwater.lineage.estimate import FAR_BITS, alone_bits, estimate, nearness
from headwater.lineage.samples import Samples, cast_to, form_of, numbers

NAME = "model.layers.0.mlp.up_proj.weight"
RNG = np.random.default_rng(11)


def samples(dtype: str, raw: bytes, count: int | None = None) -> Samples:
    form = form_of(dtype)
    words, values = form.decode(raw, 0, len(raw) if count is None else count)
    return Samples(form, words, values)


def some(array: np.ndarray, dtype: str = "BF16") -> Samples:
    return Samples(form_of(dtype), cast_to(form_of(dtype), array.reshape(-1).astype(np.float32)))


def weights(seed: int, count: int = 65_536) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(count) * 0.02).astype(np.float32)


def true_bits(target: np.ndarray, parent: np.ndarray) -> float:
    """Entropy of the ordered difference in contexts of the parent's exponent, over all elements."""
    one, other = some(target).words.astype(np.int64), some(parent).words.astype(np.int64)

    def ordered(words: np.ndarray) -> np.ndarray:
        return np.where(words & 0x8000, -(words & 0x7FFF), words)

    context, step = (other >> 7) & 255, ordered(one) - ordered(other)

    def bits(symbols: np.ndarray) -> float:
        counts = np.unique(symbols, return_counts=True)[1]
        return float(-(counts * np.log2(counts / counts.sum())).sum())

    return (bits(context * 200_000 + step) - bits(context)) / len(one)


@pytest.mark.parametrize("step", [1e-5, 1e-4, 1e-3])
def test_2048_samples_tell_the_bits_of_the_whole_within_a_tenth(step: float) -> None:
    parent = weights(1, 1 << 21)
    target = parent + np.random.default_rng(2).standard_normal(len(parent)).astype(np.float32) * step
    told = estimate(some(target[:2048]), some(parent[:2048]))
    assert told.given == pytest.approx(true_bits(target, parent), rel=0.1, abs=0.05)
    assert told.alone == pytest.approx(10.6, abs=0.3)
    assert told.pays


def test_strangers_do_not_pay_however_few_samples_there_are() -> None:
    for count in (64, 128, 256, 512, 2048):
        told = estimate(some(weights(1, count)), some(weights(2, count)))
        assert not told.pays, count
        assert told.given > 0.98 * told.alone or count < 256


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"])
def test_equal_tensors_cost_nothing(dtype: str) -> None:
    same = some(weights(1, 2048) * 30, dtype)
    assert estimate(same, same).given == 0


def test_a_mask_costs_little_more_than_its_edge() -> None:
    parent = weights(1, 2048)
    target = np.where(np.abs(parent) < np.median(np.abs(parent)), 0, parent)
    assert estimate(some(target), some(parent)).given < 0.6


def test_a_random_mask_costs_a_bit() -> None:
    parent = weights(1, 2048)
    target = np.where(RNG.random(2048) < 0.5, 0, parent)
    assert 0.8 < estimate(some(target), some(parent)).given < 1.2


def test_zeros_alone_cost_nothing() -> None:
    assert alone_bits(some(np.zeros(2048))) == 0
    assert not estimate(some(np.zeros(2048)), some(weights(1, 2048))).pays


def test_a_finer_type_costs_its_own_noise_given_a_coarser_one() -> None:
    parent = weights(1, 2048)
    target = parent + np.random.default_rng(2).standard_normal(2048).astype(np.float32) * 2e-5
    told = estimate(some(target, "F32"), some(parent, "BF16"))
    assert 14 < told.given < 20
    assert told.pays


def test_a_cast_costs_nothing_in_either_direction() -> None:
    whole = weights(1, 2048)
    assert estimate(some(whole, "BF16"), some(whole, "F32")).given < 0.01
    rounded = numbers(form_of("BF16"), some(whole, "BF16").words)
    assert estimate(some(rounded, "F32"), some(whole, "BF16")).given == 0


@pytest.mark.parametrize(("dtype", "make"), [("Q8_0", q8_0), ("Q4_0", q4_0)])
def test_codes_that_follow_from_the_parent_cost_next_to_nothing(dtype: str, make: object) -> None:
    whole = weights(1, 2048)
    target = samples(dtype, make(whole), 2048)  # type: ignore[operator]
    told = estimate(target, some(whole, "F32"))
    assert told.given < 0.15 * told.alone
    stranger = estimate(target, some(weights(2, 2048), "F32"))
    assert not stranger.pays


@pytest.mark.parametrize(("dtype", "make", "most"), [("Q8_0", q8_0, 0.5), ("Q4_0", q4_0, 0.3)])
def test_the_same_quantization_of_the_base_helps(dtype: str, make: object, most: float) -> None:
    parent = weights(1, 2048)
    target = parent + np.random.default_rng(2).standard_normal(2048).astype(np.float32) * 1e-4
    one, base_, stranger = (samples(dtype, make(a), 2048) for a in (target, parent, weights(3, 2048)))  # type: ignore[operator]
    told = estimate(one, base_)
    assert told.given < most * told.alone
    assert not estimate(one, stranger).pays


@pytest.mark.parametrize("zero", [0, 128, 90])
def test_codes_whose_scale_lies_elsewhere_cost_next_to_nothing_given_what_they_were_made_of(zero: int) -> None:
    whole = weights(1, 2048).reshape(32, 64) * np.exp(np.random.default_rng(2).normal(0, 0.5, (32, 1)))
    scale = np.abs(whole).max(axis=1, keepdims=True) / (127 if zero in (0, 128) else 90)
    codes = np.rint(whole / scale).astype(np.int64) + zero
    target = samples("U8" if zero else "I8", codes.astype(np.uint8).tobytes())
    told = estimate(target, some(whole, "F32"))
    assert told.given < 0.25 * told.alone
    assert not estimate(target, some(weights(2, 2048), "F32")).pays
    bits, places = nearness(target.canonical()[None, ::128], some(whole).canonical()[None, ::128])
    far, _ = nearness(target.canonical()[None, ::128], some(weights(2, 2048)).canonical()[None, ::128])
    assert bits[0] < 6
    assert far[0] > 8
    assert places[0] >= 14


def test_bytes_help_only_where_they_are_equal() -> None:
    raw = RNG.integers(0, 256, 2048, np.uint8)
    other = np.where(RNG.random(2048) < 0.1, RNG.integers(0, 256, 2048), raw).astype(np.uint8)
    told = estimate(samples("I32", raw.tobytes()), samples("I32", other.tobytes()))
    assert 0.4 < told.given < 1.6
    assert not estimate(samples("I32", raw.tobytes()), samples("I32", raw[::-1].tobytes())).pays


def test_kinds_that_have_nothing_in_common_do_not_help() -> None:
    floats, raw = some(weights(1, 2048)), samples("I32", RNG.bytes(2048))
    assert not estimate(floats, raw).pays
    assert not estimate(raw, floats).pays
    assert not estimate(samples("I8", RNG.bytes(2048)), floats).pays


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I8", "U8", "I64"])
@pytest.mark.parametrize("other", ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I8", "U8", "I64"])
def test_no_bit_pattern_is_too_strange(dtype: str, other: str) -> None:
    def anything(name: str) -> Samples:
        form = form_of(name)
        raw = np.random.default_rng(3).integers(0, 256, 512 * form.unit_bytes, np.uint8)
        raw[: 64 * form.unit_bytes] = 0xFF  # NaN
        raw[64 * form.unit_bytes : 128 * form.unit_bytes] = 0
        return samples(name, raw.tobytes(), 512)

    told = estimate(anything(dtype), anything(other))
    assert 0 <= told.given <= told.alone <= form_of(dtype).bits
    bits, places = nearness(anything(dtype).canonical()[None], anything(other).canonical()[None])
    assert 0 <= bits[0] <= FAR_BITS
    assert 0 <= places[0] <= 512


@pytest.mark.parametrize("dtype", sorted(BLOCK_TYPES))
def test_every_block_of_noise_has_codes_of_its_width(dtype: str) -> None:
    kind = BLOCK_TYPES[dtype]
    raw = np.random.default_rng(4).integers(0, 256, kind.size_bytes * 8, np.uint8).tobytes()
    one = samples(dtype, raw, kind.elements * 8)
    assert len(one.words) == len(one.numbers()) == kind.elements * 8
    assert int(one.words.max()) < 1 << kind.bits
    assert 0 <= estimate(one, one).given < 0.3


@pytest.mark.parametrize(("dtype", "make", "step"), [("Q8_0", q8_0, 127), ("Q4_0", q4_0, 8)])
def test_codes_stand_for_the_numbers_they_were_made_of(dtype: str, make: object, step: int) -> None:
    whole = weights(1, 4096)
    one = samples(dtype, make(whole), 4096)  # type: ignore[operator]
    off = np.abs(one.numbers() - whole).reshape(-1, 32).max(axis=1)
    assert (off <= np.abs(whole).reshape(-1, 32).max(axis=1) / step * 1.02).all()


def k_block(dtype: str) -> tuple[bytes, np.ndarray]:
    """A block of a K-quant and its values, computed one by one as ggml-quants.c does."""
    kind = BLOCK_TYPES[dtype]
    raw = np.random.default_rng(6).integers(0, 256, kind.size_bytes, np.uint8)
    halves = {"Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}[dtype]
    for at in halves:
        raw[at : at + 2] = np.frombuffer(np.float16(0.013 + at / 1000).tobytes(), np.uint8)
    block = raw.tobytes()
    half = [float(np.frombuffer(block[at : at + 2], "<f2")[0]) for at in halves]
    values = np.zeros(256)
    if dtype == "Q6_K":
        low, high, scales = block[:128], block[128:192], np.frombuffer(block[192:208], np.int8)
        for i in range(256):
            part, place = divmod(i, 128)
            row, at = divmod(place, 32)
            code = (low[64 * part + at + 32 * (row % 2)] >> (4 * (row // 2))) & 15
            code |= ((high[32 * part + at] >> (2 * row)) & 3) << 4
            values[i] = half[0] * float(scales[i // 16]) * (code - 32)
        return block, values
    packed, codes = block[4:16], block[48:176] if dtype == "Q5_K" else block[16:144]
    for i in range(256):
        group, at = divmod(i, 32)
        if group < 4:
            scale, least = packed[group] & 63, packed[group + 4] & 63
        else:
            scale = (packed[group + 4] & 15) | ((packed[group - 4] >> 6) << 4)
            least = (packed[group + 4] >> 4) | ((packed[group] >> 6) << 4)
        code = (codes[32 * (group // 2) + at] >> (4 * (group % 2))) & 15
        if dtype == "Q5_K":
            code |= ((block[16 + at] >> group) & 1) << 4
        values[i] = half[0] * scale * code - half[1] * least
    return block, values


@pytest.mark.parametrize("dtype", ["Q4_K", "Q5_K", "Q6_K"])
def test_k_quants_are_read_as_ggml_reads_them(dtype: str) -> None:
    block, expected = k_block(dtype)
    assert np.allclose(samples(dtype, block, 256).numbers(), expected, rtol=1e-5, atol=1e-6)


def test_a_run_inside_a_block_is_cut_out_of_it() -> None:
    block, expected = k_block("Q4_K")
    _, values = form_of("Q4_K").decode(block, 64, 64)
    assert values is not None
    assert np.allclose(values, expected[64:128], rtol=1e-5, atol=1e-6)


def test_bf16_is_rounded_as_everybody_rounds_it() -> None:
    array = base(1)[NAME].reshape(-1)
    assert some(array).words.tobytes() == bf16(array)


def test_eight_bit_floats_stand_for_their_numbers() -> None:
    words = np.array([0x00, 0x01, 0x08, 0x38, 0x7E, 0xB8, 0xFE], np.uint8)
    expected = [0, 2**-9, 2**-6, 1, 448, -1, -448]
    assert numbers(form_of("F8_E4M3"), words).tolist() == expected
    assert cast_to(form_of("F8_E4M3"), np.array(expected, np.float32)).tolist() == words.tolist()
    assert np.isnan(numbers(form_of("F8_E4M3"), np.array([0x7F, 0xFF], np.uint8))).all()


def test_tuned_weights_are_near_and_strangers_are_far() -> None:
    root = base(1)
    one, near, far = (some(model[NAME]).canonical()[None] for model in (root, tuned(root, 2), base(2)))
    assert nearness(one, near)[0][0] < 4
    assert nearness(one, far)[0][0] > 9.5
