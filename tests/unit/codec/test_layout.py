"""Layouts: every bit of every dtype goes into exactly one plane and comes back."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.codec.layout import BYTES, layout_of
from headwater.tensors.dtypes import GGML_TYPES, SAFETENSORS_BITS

GGML = {kind.name: kind for kind in GGML_TYPES.values()}
NAMES = sorted(SAFETENSORS_BITS.keys() | GGML.keys() | {BYTES, "a name nobody knows"})
CODES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "MXFP4"]


def noise(size: int, seed: int = 1) -> bytes:
    return np.random.default_rng(seed).bytes(size)


@pytest.mark.parametrize("dtype", NAMES)
@pytest.mark.parametrize("units", [0, 1, 2, 97])
def test_any_bytes_come_back_from_their_planes(dtype: str, units: int) -> None:
    layout = layout_of(dtype)
    raw = noise(units * layout.unit_bytes)
    assert raw == layout.join(layout.split(raw))
    assert raw == layout.join(layout.split(memoryview(bytearray(raw))))


@pytest.mark.parametrize("dtype", NAMES)
def test_every_bit_of_a_unit_is_one_bit_of_one_plane(dtype: str) -> None:
    layout = layout_of(dtype)
    assert layout.unit_bytes * 8 == sum(plane.bits * plane.words for plane in layout.planes)
    for bit in range(layout.unit_bytes * 8):
        raw = (1 << bit).to_bytes(layout.unit_bytes, "little")
        ones = sum(int(word).bit_count() for words in layout.split(raw) for word in words)
        assert ones == 1
        assert raw == layout.join(layout.split(raw))


@pytest.mark.parametrize("dtype", NAMES)
def test_planes_are_arrays_as_they_say(dtype: str) -> None:
    layout = layout_of(dtype)
    for plane, words in zip(layout.planes, layout.split(noise(layout.unit_bytes * 50)), strict=True):
        assert words.dtype == plane.dtype
        assert words.shape == (50 * plane.words,)
        assert int(words.max()) < 1 << plane.bits
        assert plane.symbols == (1 << plane.bits if plane.bits <= 8 else 0)
        if plane.exponent_bits:
            assert plane.bits == 1 + plane.exponent_bits + plane.mantissa_bits


def test_units_are_the_blocks_of_the_tables() -> None:
    for kind in GGML.values():
        layout = layout_of(kind.name)
        assert (layout.unit_bytes, layout.unit_elements) == (kind.block_bytes, kind.block_elements)
    for name, bits in SAFETENSORS_BITS.items():
        layout = layout_of(name)
        assert layout.unit_bytes * 8 == layout.unit_elements * bits


@pytest.mark.parametrize("dtype", CODES)
def test_blocks_with_codes_have_one_code_per_element(dtype: str) -> None:
    layout = layout_of(dtype)
    (codes,) = [plane for plane in layout.planes if plane.name == "codes"]
    assert layout.unit_elements == codes.words


def test_floats_say_where_their_exponent_is() -> None:
    found = {name: (p.exponent_bits, p.mantissa_bits) for name in NAMES for p in layout_of(name).planes[:1]}
    assert found["BF16"] == (8, 7)
    assert found["F16"] == (5, 10)
    assert found["F32"] == (8, 23)
    assert found["F64"] == (11, 52)
    assert found["F8_E4M3"] == (4, 3)
    assert found["F8_E5M2"] == (5, 2)
    assert found["Q4_K"] == (5, 10)
    assert found["I8"] == found["I64"] == found["IQ1_S"] == (0, 0)


def test_codes_are_in_the_order_of_their_elements() -> None:
    """Element by element, as the format's own dequantization loops index them."""
    q4_0, q5_0 = noise(18), noise(22)
    assert layout_of("Q4_0").split(q4_0)[1].tolist() == [
        q4_0[2 + e] & 15 if e < 16 else q4_0[2 + e - 16] >> 4 for e in range(32)
    ]
    high = int.from_bytes(q5_0[2:6], "little")
    assert layout_of("Q5_0").split(q5_0)[1].tolist() == [
        (q5_0[6 + e] & 15 if e < 16 else q5_0[6 + e - 16] >> 4) | (high >> e & 1) << 4 for e in range(32)
    ]
    q6, q3 = noise(210), noise(110)
    assert layout_of("Q6_K").split(q6)[2].tolist() == [
        (q6[64 * (e // 128) + e % 64] >> 4 * (e // 64 % 2) & 15)
        | (q6[128 + 32 * (e // 128) + e % 32] >> 2 * (e // 32 % 4) & 3) << 4
        for e in range(256)
    ]
    assert layout_of("Q3_K").split(q3)[2].tolist() == [
        (q3[32 + 32 * (e // 128) + e % 32] >> 2 * (e // 32 % 4) & 3) | (q3[e % 32] >> e // 32 & 1) << 2
        for e in range(256)
    ]
    q5, q4 = noise(176), noise(144)
    nibbles = [q5[48 + 32 * (e // 64) + e % 32] >> 4 * (e // 32 % 2) & 15 for e in range(256)]
    assert layout_of("Q5_K").split(q5)[3].tolist() == [
        nibble | (q5[16 + e % 32] >> e // 32 & 1) << 4 for e, nibble in enumerate(nibbles)
    ]
    assert layout_of("Q4_K").split(q4)[3].tolist() == [
        q4[16 + 32 * (e // 64) + e % 32] >> 4 * (e // 32 % 2) & 15 for e in range(256)
    ]


def test_words_too_big_for_their_plane_lose_their_top_and_touch_nothing_else() -> None:
    layout = layout_of("Q4_0")
    scale, codes = layout.split(noise(18 * 5))
    assert layout.join([scale, codes]) == layout.join([scale, codes | 0xF0])


def test_pieces_of_a_unit_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(AssertionError):
        layout_of("Q4_0").split(bytes(19))
    with pytest.raises(AssertionError):
        layout_of("Q4_0").join([np.zeros(2, "<u2"), np.zeros(63, np.uint8)])
