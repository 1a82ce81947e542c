"""Codes that follow from stored scales and the parent: every block type, any way of choosing the scales."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # importlib mode leaves it out

from predicted import Made, best, guess, left, made, missed, rebuilt

from headwater.codec.form import Form, Undecodable
from headwater.codec.layout import layout_of
from headwater.codec.predict import from_params
from headwater.codec.predict.graded import Graded

UNEVEN = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
DTYPES = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL"]


def half(raw: bytes, at: int) -> float:
    return float(np.frombuffer(raw[at : at + 2], "<f2")[0])


def six_bits(packed: bytes, number: int) -> tuple[int, int]:
    """Scale and minimum of a group of Q4_K and Q5_K, as `get_scale_min_k4` reads them."""
    if number < 4:
        return packed[number] & 63, packed[number + 4] & 63
    scale = (packed[number + 4] & 15) | ((packed[number - 4] >> 6) << 4)
    return scale, (packed[number + 4] >> 4) | ((packed[number] >> 6) << 4)


def signed_six_bits(packed: bytes, number: int) -> int:
    """Scale of a group of Q3_K."""
    low = (packed[number % 8] >> (4 * (number // 8))) & 15
    return (low | (((packed[8 + number % 4] >> (2 * (number // 4))) & 3) << 4)) - 32


def value(dtype: str, raw: bytes, number: int, code: int) -> float:
    """What code `code` of element `number` of a block means, by the format's definition, out of the block's bytes."""
    if dtype == "Q4_K" or dtype == "Q5_K":
        scale, low = six_bits(raw[4:16], number // 32)
        return half(raw, 0) * scale * code - half(raw, 2) * low
    if dtype == "Q2_K":
        byte = raw[number // 16]
        return half(raw, 80) * (byte & 15) * code - half(raw, 82) * (byte >> 4)
    if dtype == "Q3_K":
        return half(raw, 108) * signed_six_bits(raw[96:108], number // 16) * (code - 4)
    if dtype == "Q6_K":
        return half(raw, 208) * int(np.int8(np.uint8(raw[192 + number // 16]))) * (code - 32)
    if dtype in ("Q4_1", "Q5_1"):
        return half(raw, 0) * code + half(raw, 2)
    if dtype == "IQ4_NL":
        return half(raw, 0) * UNEVEN[code]
    offset = {"Q4_0": 8, "Q5_0": 16, "Q8_0": 0}[dtype]
    return half(raw, 0) * ((code if dtype != "Q8_0" else int(np.int8(np.uint8(code)))) - offset)


def quantized(dtype: str, shape: tuple[int, int], seed: int = 1) -> tuple[Made, np.ndarray]:
    """A tensor with arbitrary scales and codes, and values that lie nearest to these codes."""
    layout, rng = layout_of(dtype), np.random.default_rng(seed)
    units = shape[0] * shape[1] // layout.unit_elements
    planes = []
    for plane in layout.planes:
        if plane.bits == 16:
            planes.append((rng.integers(1, 1024, units) * 2.0**-14).astype(np.float16).view("<u2"))
        else:
            # Without the outer codes of types whose scale would follow from the largest and the least value.
            edge = 2 if dtype in ("Q4_1", "Q5_1") else 0
            planes.append(rng.integers(edge, (1 << plane.bits) - edge, units * plane.words).astype(np.uint8))
    raw = layout.join(planes)
    size = layout.unit_bytes
    values = [
        value(
            dtype, raw[unit * size : (unit + 1) * size], number, int(planes[-1][unit * layout.unit_elements + number])
        )
        for unit in range(units)
        for number in range(layout.unit_elements)
    ]
    return Made(Form(dtype, shape), raw), np.array(values).reshape(shape)


@pytest.mark.parametrize("dtype", DTYPES)
def test_codes_follow_whatever_the_scales_are(dtype: str) -> None:
    child, values = quantized(dtype, (32, 256))
    parent = made("F32", values)
    candidate = best(child, [parent])
    assert candidate.predictor.name == "graded"
    # Groups whose scale is 0 say nothing of their codes.
    assert missed(candidate, child, [parent]) < 0.15
    told = values.reshape(-1) != np.roll(values.reshape(-1), 1)
    words = guess(candidate, child, [parent])[-1]
    assert np.mean((words != child.planes[-1])[told]) < 0.08
    assert all(np.array_equal(a, b) for a, b in zip(child.planes[:-1], guess(candidate, child, [parent]), strict=False))


@pytest.mark.parametrize("dtype", ["Q4_K", "Q6_K", "Q5_0"])
def test_rows_may_be_in_the_order_of_llama_cpp(dtype: str) -> None:
    child, values = quantized(dtype, (64, 256))
    original = values.reshape(2, 16, 2, 256).swapaxes(1, 2).reshape(64, 256)
    parent = made("F32", original)
    candidate = best(child, [parent])
    assert candidate.predictor.name == "graded"
    assert missed(candidate, child, [parent]) < 0.15
    whole = guess(candidate, child, [parent])
    pieces = guess(candidate, child, [parent], 256 * 5)
    assert all(np.array_equal(*pair) for pair in zip(whole, pieces, strict=True))


def test_weights_with_searched_scales_leave_an_eighth_of_their_quantization() -> None:
    """As quantizers do: scales near the largest weight of a group, each of six bits."""
    rng = np.random.default_rng(3)
    values = rng.standard_t(6, (64, 1024)).astype(np.float32) * 0.02
    groups = values.reshape(-1, 16, 16)
    wanted = np.abs(groups).max(axis=2) / 32 * rng.uniform(0.9, 1.1, groups.shape[:2])
    top = wanted.max(axis=1, keepdims=True) / 127
    small = np.rint(wanted / top).astype(np.int8)
    steps = top.astype(np.float16).astype(np.float32) * small
    codes = np.clip(np.rint(groups / steps[:, :, None]), -32, 31) + 32
    planes = [top.astype(np.float16).view("<u2").reshape(-1), small.view(np.uint8).reshape(-1), codes.astype(np.uint8)]
    child = Made(Form("Q6_K", values.shape), layout_of("Q6_K").join([planes[0], planes[1], planes[2].reshape(-1)]))
    parent = made("F32", values)
    candidate = best(child, [parent])
    assert candidate.predictor.name == "graded"
    assert missed(candidate, child, [parent]) < 1e-4
    assert left(candidate, child, [parent]) < 0.12


@pytest.mark.parametrize("dtype", DTYPES)
def test_cut_or_changed_parameters_are_refused_or_harmless(dtype: str) -> None:
    child, values = quantized(dtype, (8, 256))
    parent = made("F32", values)
    candidate = best(child, [parent])
    rebuilt(candidate, child, [parent])
    data = candidate.predictor.params()
    for stop in (0, 1, 4, 5, 9, len(data) // 2, len(data) - 1):
        with pytest.raises(Undecodable):
            from_params(Graded.id, data[:stop], child.form, [parent.form])
    with pytest.raises(Undecodable):
        from_params(Graded.id, data + b"\0", child.form, [parent.form])
    for form in (Form("BF16", (8, 256)), Form("Q4_K", (7, 100)), Form("Q4_K", (1 << 30, 1 << 10))):
        with pytest.raises(Undecodable):
            from_params(Graded.id, data, form, [Form("F32", form.shape)])
    rng = np.random.default_rng(1)
    strange = Made(parent.form, rng.bytes(len(parent.raw)))
    for _ in range(30):
        harmed = bytearray(data)
        harmed[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            predictor = from_params(Graded.id, bytes(harmed), child.form, [parent.form])
        except Undecodable:
            continue
        needs = predictor.needs(0, 8 * 256)
        planes = predictor.predict(0, 8 * 256, [strange.source.planes(first, last) for _, first, last in needs])
        assert [plane.size for plane in planes] == [plane.size for plane in child.planes]
