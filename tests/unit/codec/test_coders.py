"""Coders: every bit pattern comes back, ratios stay within sight of the yardstick, damage is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # importlib mode leaves it out

import contextlib

from bitx import bitx_bytes
from weights import bf16, drifted, f16, f32, weights

from headwater.codec.coders import Coder, decode_words, encode_words, suits, warm
from headwater.codec.form import Undecodable
from headwater.codec.layout import Plane, layout_of

DTYPES = ["BF16", "F16", "F32", "F64", "F8_E4M3", "F8_E5M2", "I8", "U8", "I16", "I32", "I64"]


def plane_of(dtype: str) -> Plane:
    return layout_of(dtype).planes[0]


def patterns(plane: Plane, size: int, seed: int) -> np.ndarray:
    """Random bits, with what is special in floats among them: zeros, infinities, NaN payloads, subnormals."""
    rng = np.random.default_rng(seed)
    words = np.frombuffer(rng.bytes(size * plane.dtype.itemsize), plane.dtype).copy()
    top = 1 << (plane.bits - 1)
    exponent = ((1 << plane.exponent_bits) - 1) << plane.mantissa_bits
    special = [0, top, 1, top | 1, exponent, top | exponent, exponent | 1, top | exponent | 5, 2 * top - 1]
    at = rng.random(size) < 0.3
    words[at] = rng.choice(np.array(special, plane.dtype), int(at.sum()))
    return words


def coded(coder: Coder, plane: Plane, target: np.ndarray, base: np.ndarray) -> bytes:
    data = encode_words(coder, plane, target, base)
    back = decode_words(plane, target.size, data, lambda: base)
    assert target.tobytes() == back.tobytes()
    return data


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [0, 1, 2, 3, 8, 9, 1001])
@pytest.mark.parametrize("coder", [coder for coder in Coder if coder is not Coder.EXACT])
def test_every_bit_pattern_comes_back(dtype: str, size: int, coder: Coder) -> None:
    plane = plane_of(dtype)
    if not suits(coder, plane):
        return
    target = patterns(plane, size, 1)
    coded(coder, plane, target, patterns(plane, size, 2))
    near = target.copy()
    near[::3] += plane.dtype.type(1)
    coded(coder, plane, target, near)
    coded(coder, plane, target, target)


def test_words_that_are_predicted_exactly_take_one_byte() -> None:
    words = patterns(plane_of("BF16"), 500, 1)
    assert len(coded(Coder.EXACT, plane_of("BF16"), words, words)) == 1


LIGHT, USUAL, HEAVY = 4e-4, 1.3e-3, 3e-2  # drift relative to the weights, as in pure SFT, usual SFT, long pre-training


@pytest.mark.parametrize(
    ("dtype", "words", "drift", "bar"),
    [
        ("BF16", bf16, LIGHT, 0.45),
        ("BF16", bf16, USUAL, 0.50),
        ("BF16", bf16, HEAVY, 0.75),
        ("F16", f16, USUAL, 0.75),
        ("F32", f32, USUAL, 0.92),
    ],
)
def test_a_fine_tune_takes_less_than_with_bitx(dtype: str, words, drift: float, bar: float) -> None:
    base = weights(1024, 512, 1)
    target, predicted = words(drifted(base, drift, 2)).reshape(-1), words(base).reshape(-1)
    left = len(coded(Coder.DELTA, plane_of(dtype), target, predicted))
    assert left <= bar * bitx_bytes(target, predicted, plane_of(dtype).mantissa_bits)


@pytest.mark.parametrize(("dtype", "words", "removed"), [("BF16", bf16, 0.33), ("F16", f16, 0.15), ("F32", f32, 0.167)])
def test_weights_alone_lose_the_redundancy_of_their_exponents(dtype: str, words, removed: float) -> None:
    target = words(weights(1024, 512, 1)).reshape(-1)
    assert len(coded(Coder.ALONE, plane_of(dtype), target, target)) <= (1 - removed) * target.nbytes


def test_floats_that_were_widened_lose_the_zeros() -> None:
    target = f32(bf16(weights(256, 512, 1)).astype(np.uint32).__lshift__(16).view(np.float32)).reshape(-1)
    assert len(coded(Coder.ALONE, plane_of("F32"), target, target)) <= 0.34 * target.nbytes


def test_quantized_codes_of_a_fine_tune_take_little() -> None:
    rng = np.random.default_rng(1)
    real = rng.standard_normal(1 << 19) * 30
    base = real.round().astype(np.int8).view(np.uint8)
    target = (real + rng.standard_normal(1 << 19) * 0.04).round().astype(np.int8).view(np.uint8)
    for coder in (Coder.DELTA, Coder.CONDITIONAL):
        assert len(coded(coder, plane_of("I8"), target, base)) <= 0.035 * target.nbytes


@pytest.mark.parametrize(("dtype", "words"), [("BF16", bf16), ("F16", f16), ("F32", f32)])
def test_rows_that_were_never_touched_cost_nothing(dtype: str, words) -> None:
    base = weights(1024, 256, 1)
    tuned = drifted(base, USUAL, 2)
    tuned[np.random.default_rng(3).random(1024) < 0.5] *= 0
    tuned = np.where(tuned == 0, base, tuned)
    plane, skip = plane_of(dtype), 100  # a block that begins within a row
    target, predicted = words(tuned).reshape(-1)[skip:], words(base).reshape(-1)[skip:]
    data = encode_words(Coder.ROWS, plane, target, predicted, (256, skip))
    assert target.tobytes() == decode_words(plane, target.size, data, lambda: predicted).tobytes()
    assert len(data) < 0.91 * len(coded(Coder.DELTA, plane, target, predicted))


@pytest.mark.parametrize("columns", [1, 2, 7, 500, 1000])
def test_rows_of_any_length_come_back(columns: int) -> None:
    for dtype in ("BF16", "F32", "F8_E5M2"):
        plane = plane_of(dtype)
        target, base = patterns(plane, 501, 1), patterns(plane, 501, 2)
        for skip in {0, columns // 2, columns - 1}:
            data = encode_words(Coder.ROWS, plane, target, base, (columns, skip))
            assert target.tobytes() == decode_words(plane, 501, data, lambda base=base: base).tobytes()


def test_loosely_related_weights_are_better_conditioned_than_subtracted() -> None:
    base = weights(512, 512, 1)
    target, predicted = f32(drifted(base, 1.5, 2)).reshape(-1), f32(base).reshape(-1)
    plane = plane_of("F32")
    by_condition = len(coded(Coder.CONDITIONAL, plane, target, predicted))
    assert by_condition < len(coded(Coder.DELTA, plane, target, predicted))
    assert by_condition < len(coded(Coder.ALONE, plane, target, predicted))


@pytest.mark.parametrize("coder", [coder for coder in Coder if coder is not Coder.RAW])
@pytest.mark.parametrize("dtype", ["BF16", "F32", "F64", "I8", "I64"])
def test_damaged_payloads_never_do_anything_but_be_refused_or_give_words(coder: Coder, dtype: str) -> None:
    """What passes here is caught by the block's checksum; the point is that nothing else happens."""
    plane = plane_of(dtype)
    if not suits(coder, plane):
        return
    rng = np.random.default_rng(1)
    target, base = patterns(plane, 300, 1), patterns(plane, 300, 2)
    data = encode_words(coder, plane, target, base)
    hostile = [data[:cut] for cut in range(0, len(data), 7)]
    for _ in range(150):
        flipped = bytearray(data)
        flipped[rng.integers(len(data))] ^= 1 << rng.integers(8)
        hostile.append(bytes(flipped))
    for each in hostile:
        with contextlib.suppress(Undecodable):
            assert decode_words(plane, 300, each, lambda: base).size == 300


def test_a_coder_of_a_later_version_is_refused() -> None:
    with pytest.raises(Undecodable):
        decode_words(plane_of("U8"), 1, b"\xfa1", lambda: np.zeros(1, np.uint8))


def test_a_coder_that_does_not_suit_the_words_is_refused() -> None:
    data = encode_words(Coder.CONDITIONAL, plane_of("BF16"), *[patterns(plane_of("BF16"), 9, 1)] * 2)
    with pytest.raises(Undecodable):
        decode_words(plane_of("F64"), 9, data, lambda: np.zeros(9, np.uint64))


def test_the_loops_are_compiled_when_told_to() -> None:
    assert warm() == "headwater.codec.kernels"


WARMED = """
import numpy as np
from headwater.codec import kernels, warm
from headwater.codec.coders import Coder, decode_words, encode_words, suits
from headwater.codec.layout import layout_of

def versions():
    return {name: len(loop.signatures) for name, loop in vars(kernels).items() if hasattr(loop, "signatures")}

warm()
found = versions()
assert found["undelta"] == 4, found
for dtype in ("U8", "F8_E4M3", "BF16", "F16", "F32", "I32", "F64", "I64"):
    plane = layout_of(dtype).planes[0]
    base = np.arange(100).astype(plane.dtype)
    for coder in filter(lambda coder: suits(coder, plane), Coder):
        odd = memoryview(b"x" + encode_words(coder, plane, base[::-1], base, (7, 3)))[1:]
        decode_words(plane, base.size, odd, lambda: base)
assert versions() == found, versions()
"""


def test_after_warming_nothing_is_left_to_compile() -> None:
    subprocess.run([sys.executable, "-c", WARMED], check=True)
