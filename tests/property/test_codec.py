"""The codec on any bits at all: what goes in comes out, and what was never put in is refused."""

from __future__ import annotations

import contextlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headwater.codec import Decoder, Form, Limits, Parent, Undecodable, encode
from headwater.codec.coders import Coder, decode_words, encode_words, suits
from headwater.codec.layout import layout_of
from headwater.codec.tensor import VERSION, block_check, head_check

PLAIN = ["BF16", "F16", "F32", "F64", "F8_E4M3", "F8_E5M2", "I8", "I16", "I32", "I64", "U8", "BOOL"]
BLOCKED = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
SPECIAL = [0x0000, 0x8000, 0x7F80, 0xFF80, 0x7FC1, 0xFFFF, 0x0001, 0x8001, 0x7C00, 0xFC01, 0x3F80]


def related(size: int, seed: int) -> tuple[bytes, bytes]:
    """Two byte strings: stretches of noise, of special floats, of equal and of nearly equal words."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 1 << 16, (size + 1) // 2, dtype=np.uint16)
    at = rng.random(words.size) < rng.choice([0.0, 0.1, 0.9])
    words[at] = rng.choice(np.array(SPECIAL, np.uint16), int(at.sum()))
    other = words.copy()
    near = rng.random(words.size) < rng.choice([0.0, 0.01, 0.5, 1.0])
    other[near] += rng.integers(0, int(rng.choice([2, 100, 1 << 16])), int(near.sum())).astype(np.uint16)
    return words.tobytes()[:size], other.tobytes()[:size]


@given(st.sampled_from(PLAIN + BLOCKED), st.integers(0, 300), st.integers(0, 1 << 30), st.sampled_from(list(Coder)))
def test_a_plane_comes_back_from_every_coder(dtype: str, units: int, seed: int, coder: Coder) -> None:
    layout = layout_of(dtype)
    raw, other = related(units * layout.unit_bytes, seed)
    for plane, target, base in zip(layout.planes, layout.split(raw), layout.split(other), strict=True):
        if not suits(coder, plane):
            continue
        predicted = target if coder is Coder.EXACT else base
        data = encode_words(coder, plane, target, predicted)
        found = decode_words(plane, target.size, data, lambda predicted=predicted: predicted)
        assert target.tobytes() == found.tobytes()


@given(st.sampled_from(PLAIN + BLOCKED), st.integers(0, 300), st.integers(0, 1 << 30))
def test_a_tensor_comes_back_with_and_without_parents(dtype: str, units: int, seed: int) -> None:
    layout = layout_of(dtype)
    raw, other = related(units * layout.unit_bytes, seed)
    form = Form(dtype, (units, layout.unit_elements))
    parents = [Parent(form, len(other), lambda start, stop: other[start:stop])]
    for offered in ([], parents):
        found = encode(form, len(raw), lambda start, stop: raw[start:stop], offered, Limits(cpu_s=0.2))
        decoder = Decoder(found.head, form, len(raw), [offered[number] for number in found.parents])
        assert raw == b"".join(decoder.block(number, data) for number, data in enumerate(found.blocks))


@given(st.binary(max_size=300), st.sampled_from(PLAIN + BLOCKED), st.integers(0, 255))
def test_a_payload_that_nobody_wrote_gives_words_or_is_refused(data: bytes, dtype: str, kind: int) -> None:
    layout = layout_of(dtype)
    for plane in layout.planes:
        base = np.zeros(4 * plane.words, plane.dtype)
        for payload in (data, bytes([kind % 6]) + data):
            with contextlib.suppress(Undecodable):
                assert decode_words(plane, base.size, payload, lambda base=base: base).size == base.size


@given(st.integers(0, 16), st.integers(0, 3), st.binary(max_size=200), st.sampled_from(["BF16", "F32", "Q8_0", "I8"]))
def test_a_head_that_nobody_wrote_is_refused_or_its_blocks_are(
    predictor: int, count: int, params: bytes, dtype: str
) -> None:
    """Even where its checksum is right: whoever can write into the store can make one."""
    layout = layout_of(dtype)
    form = Form(dtype, (4, layout.unit_elements * 8))
    size = 32 * layout.unit_bytes
    parents = [Parent(form, size, lambda start, stop: bytes(stop - start))] * count
    rest = bytes([predictor, count]) + params
    head = bytes([VERSION]) + head_check(form, size, rest) + rest
    exact = len(layout.planes) * (b"\x01\x00\x00\x00" + bytes([Coder.EXACT]))
    try:
        decoder = Decoder(head, form, size, parents)
        assert len(decoder.block(0, block_check(0, bytes(size)) + b"\x01" + exact)) == size
    except Undecodable:
        pass


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_bytes_that_are_no_head_or_block_are_refused(head: bytes, block: bytes) -> None:
    form = Form("BF16", (100,))
    try:
        Decoder(head, form, 200)
    except Undecodable:
        pass
    else:
        raise AssertionError(head)
    found = encode(form, 200, lambda start, stop: bytes(stop - start))
    decoder = Decoder(found.head, form, 200)
    with contextlib.suppress(Undecodable):
        assert decoder.block(0, block) == bytes(200)
