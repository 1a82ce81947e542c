"""Predictors that follow from one parent's form: the same, cast, grown, reordered, quantized again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # importlib mode leaves it out

from predicted import Made, best, found, guess, left, made, missed, of_words, weights

from headwater.codec.form import Form
from headwater.codec.layout import layout_of
from headwater.codec.predict.words import FLOATS, nearest_of_singles

single = np.float32


def noise(dtype: str, shape: tuple[int, ...], seed: int = 1) -> Made:
    layout = layout_of(dtype)
    units = int(np.prod(shape)) // layout.unit_elements
    return Made(Form(dtype, shape), np.random.default_rng(seed).bytes(units * layout.unit_bytes))


# ---------------------------------------------------------------- identity
@pytest.mark.parametrize(
    "dtype", ["BF16", "F32", "F64", "I8", "I64", "BOOL", "F8_E4M3", "Q8_0", "Q4_K", "IQ1_M", "C64"]
)
def test_a_copy_is_predicted_whole_by_its_parent(dtype: str) -> None:
    tensor = noise(dtype, (16, 512))
    candidate = best(tensor, [tensor])
    assert candidate.predictor.name == "identity"
    assert missed(candidate, tensor, [tensor]) == 0.0
    assert candidate.bits == 0


def test_a_fine_tune_is_predicted_by_its_base_and_the_nearer_of_two_is_told() -> None:
    base = made("BF16", weights(128, 512, 1))
    rng = np.random.default_rng(2)
    near, far = (made("BF16", base.values + rng.normal(0, step, base.values.shape)) for step in (2e-5, 4e-4))
    child = made("BF16", near.values + rng.normal(0, 1e-5, base.values.shape))
    candidate = best(child, [far, base, near])
    assert (candidate.predictor.name, candidate.parents) == ("identity", (2,))
    assert candidate.bits < 0.1 * candidate.alone_bits


def test_an_unrelated_tensor_is_no_parent() -> None:
    target, other = made("BF16", weights(128, 512, 1)), made("BF16", weights(128, 512, 2))
    assert found(target, [other]) == []


def test_the_same_quantization_of_a_base_predicts_scales_and_codes() -> None:
    base = weights(64, 512, 1)
    child = base + np.random.default_rng(2).normal(0, 2e-5, base.shape)
    candidate = best(q8_0(child), [q8_0(base)])
    assert candidate.predictor.name == "identity"
    assert left(candidate, q8_0(child), [q8_0(base)]) < 0.06


# ---------------------------------------------------------------- casts
PAIRS = [(a, b) for a in ("BF16", "F16", "F32", "F64") for b in ("BF16", "F16", "F32", "F64") if a != b]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_cast_between_float_types_is_exact(source: str, target: str) -> None:
    parent = made(source, weights(64, 128, 3))
    child = made(target, parent.values)
    candidate = best(child, [parent])
    assert candidate.predictor.name == "cast"
    assert missed(candidate, child, [parent]) == 0.0


def test_casts_agree_with_numpy_on_every_kind_of_value() -> None:
    parent = noise("F32", (1, 4096), 5)
    values = np.frombuffer(parent.raw, single)
    with np.errstate(all="ignore"):
        expected = values.astype(np.float16)
    child = of_words("F16", expected.view("<u2").reshape(1, -1))
    candidate = best(child, [parent])
    same = guess(candidate, child, [parent])[0] == expected.view("<u2")
    assert (same | np.isnan(expected)).all()


def test_widening_bf16_keeps_the_payload_of_a_nan() -> None:
    parent = of_words("BF16", np.arange(65536, dtype="<u2"))
    child = of_words("F32", np.arange(65536, dtype="<u4") << 16)
    assert missed(best(child, [parent]), child, [parent]) == 0.0


def test_a_cast_that_cut_the_mantissa_off_is_told_from_one_that_rounded() -> None:
    parent = made("F32", weights(64, 128, 3))
    child = of_words("BF16", (parent.planes[0] >> 16).astype("<u2").reshape(64, 128))
    assert missed(best(child, [parent]), child, [parent]) == 0.0


# ---------------------------------------------------------------- rows
def test_a_grown_vocabulary_is_predicted_where_the_parent_has_rows_and_nowhere_else() -> None:
    parent = made("BF16", weights(96, 64, 1))
    child = made("BF16", np.concatenate([parent.values, weights(10, 64, 2)]))
    candidate = best(child, [parent])
    words = guess(candidate, child, [parent])[0]
    assert candidate.predictor.name == "prefix"
    assert np.array_equal(child.planes[0][: 96 * 64], words[: 96 * 64])
    assert not words[96 * 64 :].any()
    assert candidate.predictor.needs(640, 100 * 64) == [(0, 640, 96 * 64)]
    assert candidate.predictor.needs(96 * 64, 106 * 64) == []


def test_a_trimmed_vocabulary_in_another_type_is_predicted_whole() -> None:
    parent = made("F32", weights(96, 64, 1))
    child = made("F16", parent.values[:80])
    candidate = best(child, [parent])
    assert candidate.predictor.name == "prefix cast"
    assert missed(candidate, child, [parent]) == 0.0


def to_pairs(matrix: np.ndarray, heads: int) -> np.ndarray:
    rows, columns = matrix.shape
    return np.ascontiguousarray(matrix.reshape(heads, 2, -1, columns).swapaxes(1, 2)).reshape(rows, columns)


@pytest.mark.parametrize("head_rows", [32, 64, 80, 128])
def test_rows_in_the_order_of_llama_cpp_are_found_both_ways(head_rows: int) -> None:
    original = made("BF16", weights(4 * head_rows, 96, 1))
    moved = made("BF16", to_pairs(original.values, 4))
    for child, parent in ((moved, original), (original, moved)):
        candidate = best(child, [parent])
        assert candidate.predictor.name == "reordered"
        assert missed(candidate, child, [parent]) == 0.0


def test_reordered_rows_may_be_quantized_too() -> None:
    original = weights(128, 96, 1)
    child, parent = q8_0(to_pairs(original, 2)), made("F32", original)
    candidate = best(child, [parent])
    assert candidate.predictor.name == "reordered requant"
    assert missed(candidate, child, [parent]) == 0.0


# ---------------------------------------------------------------- GGML's quantizers, element by element
def ggml(dtype: str, values: np.ndarray, block: object) -> Made:
    pieces = [block(row) for row in values.astype(single).reshape(-1, 32)]  # type: ignore[operator]
    planes = [np.concatenate(list(same)) for same in zip(*pieces, strict=True)]
    return Made(Form(dtype, values.shape), layout_of(dtype).join(planes))


def half(value: np.float32) -> np.ndarray:
    return np.array([value], np.float16).view("<u2")


def q8_0(values: np.ndarray) -> Made:
    def block(row: np.ndarray) -> list[np.ndarray]:
        scale = single(np.abs(row).max()) / single(127)
        factor = single(1) / scale if scale else single(0)
        codes = [int(np.floor(abs(float(x * factor)) + 0.5) * np.sign(x)) for x in row]
        return [half(scale), np.array(codes, np.int8).view(np.uint8)]

    return ggml("Q8_0", values, block)


def one_sided(dtype: str, half_range: int) -> object:
    def block(row: np.ndarray) -> list[np.ndarray]:
        extreme = row[0]
        for x in row:
            if abs(x) > abs(extreme):
                extreme = x
        scale = extreme / single(-half_range)
        factor = single(1) / scale if scale else single(0)
        codes = [min(2 * half_range - 1, int(single(x * factor) + single(half_range + 0.5))) for x in row]
        return [half(scale), np.array(codes, np.uint8)]

    return block


def with_minimum(top: int) -> object:
    def block(row: np.ndarray) -> list[np.ndarray]:
        low = row.min()
        scale = (row.max() - low) / single(top)
        factor = single(1) / scale if scale else single(0)
        codes = [min(top, int(single(single(x - low) * factor) + single(0.5))) for x in row]
        return [half(scale), half(low), np.array(codes, np.uint8)]

    return block


BLOCKS = {
    "Q4_0": one_sided("Q4_0", 8),
    "Q5_0": one_sided("Q5_0", 16),
    "Q4_1": with_minimum(15),
    "Q5_1": with_minimum(31),
}


@pytest.mark.parametrize("dtype", sorted(BLOCKS))
@pytest.mark.parametrize("source", ["F32", "BF16", "F16"])
def test_blocks_of_four_and_five_bits_follow_from_the_floats(dtype: str, source: str) -> None:
    parent = made(source, weights(32, 64, 7))
    child = ggml(dtype, parent.values, BLOCKS[dtype])
    candidate = best(child, [parent])
    assert candidate.predictor.name == "requant"
    assert missed(candidate, child, [parent]) == 0.0


@pytest.mark.parametrize("source", ["F32", "BF16", "F16"])
def test_blocks_of_eight_bits_follow_from_the_floats(source: str) -> None:
    parent = made(source, weights(32, 64, 7))
    child = q8_0(parent.values)
    assert missed(best(child, [parent]), child, [parent]) == 0.0


def test_blocks_of_zeros_and_of_what_is_not_finite_have_codes_too() -> None:
    values = weights(4, 64, 7)
    values[1] = 0.0
    parent = made("F32", values)
    child = q8_0(values)
    assert missed(best(child, [parent]), child, [parent]) == 0.0
    strange = of_words("F32", np.frombuffer(np.random.default_rng(1).bytes(4 * 256), "<u4").reshape(4, 64))
    for dtype in (*BLOCKS, "Q8_0"):
        noise_ = noise(dtype, (4, 64))
        for candidate in found(noise_, [strange]):
            guess(candidate, noise_, [strange])


def test_eight_bits_of_full_weights_mostly_follow_from_those_that_were_released() -> None:
    full = weights(64, 256, 9)
    child, parent = q8_0(full), made("BF16", full)
    assert left(best(child, [parent]), child, [parent]) < 0.1


# ---------------------------------------------------------------- scales that are not in the tensor
def int8(values: np.ndarray, axis: int | None, kind: type) -> Made:
    values = values.astype(single)
    scale = (np.abs(values).max(axis=axis, keepdims=True) / single(127)).astype(kind).astype(single)
    return of_words("I8", np.clip(np.rint(values / scale), -127, 127).astype(np.int8))


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("axis", [None, 1])
def test_int8_by_tensor_or_row_follows_whatever_its_scale_is(axis: int | None, kind: type) -> None:
    parent = made("BF16", weights(160, 384, 1))
    child = int8(parent.values, axis, kind)
    candidate = best(child, [parent])
    assert candidate.predictor.name == "scaled"
    assert missed(candidate, child, [parent]) < 1e-3
    assert left(candidate, child, [parent]) < 0.015


def test_int8_by_column_follows() -> None:
    parent = made("BF16", weights(384, 160, 1))
    child = int8(parent.values, 0, np.float32)
    assert missed(best(child, [parent]), child, [parent]) < 2e-3


def test_int8_of_full_weights_mostly_follows_from_those_that_were_released() -> None:
    full = weights(160, 384, 1)
    child, parent = int8(full, 1, np.float32), made("BF16", full)
    assert left(best(child, [parent]), child, [parent]) < 0.05


@pytest.mark.parametrize("axis", [None, 1])
def test_uint8_with_a_zero_point_follows(axis: int | None) -> None:
    parent = made("F16", weights(160, 384, 1) + 0.01)
    values = parent.values.astype(single)
    low, high = values.min(axis=axis, keepdims=True), values.max(axis=axis, keepdims=True)
    scale = (high - low) / single(255)
    child = of_words("U8", np.clip(np.rint(values / scale) + np.rint(-low / scale), 0, 255).astype(np.uint8))
    assert left(best(child, [parent]), child, [parent]) < 0.02


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2"])
@pytest.mark.parametrize("shape", [(1, 1, 256, 384), (256, 1, 1, 384), (2, 3, 128, 128)])
def test_fp8_with_scales_of_any_shape_follows(dtype: str, shape: tuple[int, ...]) -> None:
    parent = made("BF16", weights(256, 384, 1))
    down, across, rows, columns = shape
    cells = parent.values.astype(single).reshape(down, rows, across, columns)
    scale = np.abs(cells).max(axis=(1, 3), keepdims=True) / single({"F8_E4M3": 448, "F8_E5M2": 57344}[dtype])
    words = nearest_of_singles((cells / scale).reshape(-1), FLOATS[dtype])
    child = of_words(dtype, words.reshape(256, 384))
    candidate = best(child, [parent])
    assert missed(candidate, child, [parent]) < 1e-3
    assert left(candidate, child, [parent]) < 0.015


def test_fp8_without_a_scale_is_a_cast() -> None:
    parent = made("BF16", weights(64, 128, 1))
    child = made("F8_E5M2", parent.values)
    candidate = best(child, [parent])
    assert candidate.predictor.name == "cast"
    assert missed(candidate, child, [parent]) == 0.0
