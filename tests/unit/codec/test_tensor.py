"""Whole tensors: what is chosen, that it comes back bit for bit, and that nothing else ever does."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # importlib mode leaves it out

from weights import bf16, drifted, weights

from headwater.codec import (
    BLOCK_BYTES_MAX,
    Decoder,
    Encoded,
    Form,
    Hasher,
    Limits,
    Parent,
    Undecodable,
    encode,
    key,
    key_of,
    parents_of,
    tensor,
)
from headwater.codec.predict import Candidate
from headwater.codec.predict.identity import Identity, fits
from headwater.ground.errors import Corrupt


@pytest.fixture(autouse=True)
def only_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search for predictors has its own tests, and takes its time."""

    def candidates(form: Form, size: int, read: object, parents: list[Parent], limits: Limits) -> list[Candidate]:
        fitting = [number for number, each in enumerate(parents) if fits(form, each.form) and each.size == size]
        for number in fitting:
            parents[number].read(0, 1)
        return [Candidate(Identity(), (number,), 1.0, 2.0) for number in fitting]

    monkeypatch.setattr(tensor.predict, "candidates", candidates)


def reader(raw: bytes) -> Callable[[int, int], bytes]:
    return lambda start, stop: raw[start:stop]


def parent(form: Form, raw: bytes) -> Parent:
    return Parent(form, len(raw), reader(raw))


def encoded(form: Form, raw: bytes, parents: tuple[Parent, ...] = (), limits: Limits | None = None) -> Encoded:
    found = encode(form, len(raw), reader(raw), parents, limits)
    blocks = tuple(found.blocks)
    return Encoded(found.head, blocks, found.parents, found.chosen, found.stored_bytes, found.alone_bytes)


def decoded(form: Form, size: int, found: Encoded, parents: tuple[Parent, ...] = ()) -> bytes:
    decoder = Decoder(found.head, form, size, [parents[number] for number in found.parents])
    assert decoder.blocks == len(found.blocks)
    pieces = [decoder.block(number, data) for number, data in enumerate(found.blocks)]
    assert all(len(piece) == decoder.block_bytes for piece in pieces[:-1])
    return b"".join(pieces)


def stored(found: Encoded) -> int:
    return len(found.head) + sum(map(len, found.blocks))


FORM = Form("BF16", (256, 512))
BASE = bf16(weights(256, 512, 1)).tobytes()
TUNED = bf16(drifted(weights(256, 512, 1), 1.3e-3, 2)).tobytes()
LARGE = Form("BF16", (3000, 1024))
LARGE_BASE = bf16(weights(3000, 1024, 1)).tobytes()
LARGE_TUNED = bf16(drifted(weights(3000, 1024, 1), 1.3e-3, 2)).tobytes()


def test_a_fine_tune_is_stored_as_its_difference_and_comes_back() -> None:
    parents = (parent(FORM, BASE),)
    found = encoded(FORM, TUNED, parents)
    assert found.chosen == "delta"
    assert found.parents == (0,)
    assert found.stored_bytes == stored(found) < 0.13 * len(TUNED)
    assert decoded(FORM, len(TUNED), found, parents) == TUNED


def test_a_tensor_of_several_blocks_comes_back_in_any_order() -> None:
    parents = (parent(LARGE, LARGE_BASE),)
    found = encoded(LARGE, LARGE_TUNED, parents)
    decoder = Decoder(found.head, LARGE, len(LARGE_TUNED), parents)
    assert decoder.blocks == 3
    for number in (2, 0, 1):
        start = number * decoder.block_bytes
        wanted = LARGE_TUNED[start : start + decoder.block_bytes]
        assert len(wanted) <= BLOCK_BYTES_MAX
        assert decoder.block(number, found.blocks[number]) == wanted
    assert found.stored_bytes == pytest.approx(stored(found), rel=0.05)


def test_the_right_one_of_several_parents_is_taken_and_the_others_are_not_needed() -> None:
    other = bf16(weights(256, 512, 9)).tobytes()
    parents = (parent(FORM, other), parent(Form("I8", (3,)), b"abc"), parent(FORM, BASE))
    found = encoded(FORM, TUNED, parents)
    assert found.parents == (2,)
    assert parents_of(found.head) == 1
    assert decoded(FORM, len(TUNED), found, parents) == TUNED


def test_a_parent_that_is_no_relative_is_not_taken() -> None:
    found = encoded(FORM, TUNED, (parent(FORM, bf16(weights(256, 512, 9)).tobytes()),))
    assert (found.chosen, found.parents) == ("alone", ())
    assert stored(found) < 0.67 * len(TUNED)
    assert decoded(FORM, len(TUNED), found) == TUNED


def test_no_parent_is_taken_where_none_may_be() -> None:
    assert encoded(FORM, TUNED, (parent(FORM, BASE),), Limits(depth=0)).parents == ()


@pytest.mark.parametrize("whose", ["tensor", "parent"])
def test_what_cannot_be_read_is_told(whose: str) -> None:
    def damaged(start: int, stop: int) -> bytes:
        raise Corrupt("damaged")

    read = damaged if whose == "tensor" else reader(TUNED)
    parents = [Parent(FORM, len(BASE), damaged)] if whose == "parent" else []
    with pytest.raises(Corrupt, match="damaged"):
        tuple(encode(FORM, len(TUNED), read, parents).blocks)


def test_where_little_is_left_no_dearer_predictor_is_sought(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def candidates(*_: object) -> Iterator[Candidate]:
        for number in range(3):
            asked.append(number)
            yield Candidate(Identity(), (0,), 1.0, 2.0)

    monkeypatch.setattr(tensor.predict, "candidates", candidates)
    encoded(FORM, BASE[:-2] + b"ab", (parent(FORM, BASE),))
    assert asked == [0]
    encoded(FORM, TUNED, (parent(FORM, BASE),))
    assert asked == [0, 0, 1, 2]


@pytest.mark.parametrize("raw", [np.random.default_rng(1).bytes(300_000), np.random.default_rng(1).bytes(5_000_001)])
def test_noise_is_kept_as_it_is_at_the_price_of_nine_bytes_a_block(raw: bytes) -> None:
    form = Form("BYTES", (len(raw),))
    found = encoded(form, raw)
    assert found.chosen == "raw"
    assert stored(found) == len(found.head) + len(raw) + 9 * len(found.blocks)
    assert decoded(form, len(raw), found) == raw


def test_text_is_zipped() -> None:
    raw = b"".join(b"line %d of a vocabulary\n" % number for number in range(90_000))
    form = Form("BYTES", (len(raw),))
    found = encoded(form, raw)
    assert found.chosen in {"zstd", "alone"}  # alone tries zstd on every plane of bytes, and this is one
    assert stored(found) < 0.3 * len(raw)
    assert decoded(form, len(raw), found) == raw


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 1001])
@pytest.mark.parametrize("dtype", ["BF16", "F64", "Q4_K", "I64", "F4", "BOOL", "no such dtype"])
def test_sizes_that_do_not_fit_the_form_come_back_all_the_same(dtype: str, size: int) -> None:
    raw = np.random.default_rng(size).bytes(size)
    for form in (Form(dtype, (size,)), Form(dtype, ()), Form(dtype, (7, 0)), Form(dtype, (1 << 62, 1 << 62))):
        found = encoded(form, raw, (parent(form, raw),))
        assert decoded(form, size, found, (parent(form, raw),)) == raw


@pytest.mark.parametrize("dtype", ["Q4_0", "Q8_0", "Q4_K", "Q6_K", "F8_E4M3", "I8", "F16", "F32", "F64"])
def test_the_same_quantization_of_a_base_is_coded_field_by_field(dtype: str) -> None:
    layout = tensor.layout_of(dtype)
    units = 60_000 // layout.unit_bytes
    raw = np.random.default_rng(1).bytes(units * layout.unit_bytes)
    changed = bytearray(raw)
    changed[:: 10 * layout.unit_bytes] = bytes(len(changed[:: 10 * layout.unit_bytes]))
    form = Form(dtype, (units, layout.unit_elements))
    parents = (parent(form, raw),)
    found = encoded(form, bytes(changed), parents)
    assert found.parents == (0,)
    assert stored(found) < 0.12 * len(raw)
    assert decoded(form, len(raw), found, parents) == bytes(changed)


def test_ten_thousand_tiny_tensors() -> None:
    rng = np.random.default_rng(1)
    for number in range(10_000):
        form = Form("F32", (number % 9,))
        raw = rng.bytes(4 * (number % 9))
        found = encoded(form, raw, (parent(form, raw),))
        assert decoded(form, len(raw), found) == raw


def test_without_time_the_rest_is_kept_as_it_is() -> None:
    parents = (parent(LARGE, LARGE_BASE),)
    found = encoded(LARGE, LARGE_TUNED, parents, Limits(cpu_s=0.0))
    assert stored(found) > len(LARGE_TUNED)
    assert decoded(LARGE, len(LARGE_TUNED), found, parents) == LARGE_TUNED


def test_a_part_that_has_nothing_to_do_with_the_parent_is_coded_alone() -> None:
    mixed = LARGE_TUNED[: 4 << 20] + bf16(weights(3000, 1024, 7)).tobytes()[4 << 20 :]
    parents = (parent(LARGE, LARGE_BASE),)
    found = encoded(LARGE, mixed, parents)
    assert found.parents == (0,)
    assert len(found.blocks[0]) < 0.13 * BLOCK_BYTES_MAX
    assert len(found.blocks[2]) < 0.67 * (len(mixed) - (4 << 20))
    assert decoded(LARGE, len(mixed), found, parents) == mixed


@pytest.mark.parametrize("rows", [512, 9000])
def test_an_embedding_whose_rows_were_half_untouched_takes_less(rows: int) -> None:
    form = Form("BF16", (rows, 300))
    real = weights(rows, 300, 1)
    tuned = drifted(real, 1.3e-3, 2)
    whole = bf16(tuned).tobytes()
    tuned[::2] = real[::2]
    base, half = bf16(real).tobytes(), bf16(tuned).tobytes()
    parents = (parent(form, base),)
    found = encoded(form, half, parents)
    assert found.chosen == "delta"
    assert stored(found) < 0.53 * stored(encoded(form, whole, parents))
    assert decoded(form, len(half), found, parents) == half


def test_memory_does_not_grow_with_the_tensor() -> None:
    form = Form("BF16", (48, 1 << 20))
    size = 96 << 20
    piece = np.frombuffer(LARGE_BASE[: 2 << 20], np.uint16)

    def read(start: int, stop: int) -> bytes:
        return np.resize(np.roll(piece, -(start // 2)), (stop - start) // 2).tobytes()

    def near(start: int, stop: int) -> bytes:
        return (np.frombuffer(read(start, stop), np.uint16) + np.uint16(1)).tobytes()

    tracemalloc.start()
    try:
        parents = [Parent(form, size, read)]
        found = encode(form, size, near, parents, Limits(cpu_s=20))
        decoder = Decoder(found.head, form, size, [parents[number] for number in found.parents])
        for number, data in enumerate(found.blocks):
            start = number * decoder.block_bytes
            if number % 16 == 0:
                assert decoder.block(number, data) == near(start, start + decoder.block_bytes)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20


# --- damage and malice ----------------------------------------------------------------------------------------------


def test_a_block_of_another_place_or_parent_is_refused() -> None:
    parents = (parent(LARGE, LARGE_BASE),)
    found = encoded(LARGE, LARGE_TUNED, parents)
    decoder = Decoder(found.head, LARGE, len(LARGE_TUNED), parents)
    with pytest.raises(Undecodable):
        decoder.block(0, found.blocks[1])
    with pytest.raises(Undecodable):
        Decoder(found.head, LARGE, len(LARGE_TUNED), [parent(LARGE, LARGE_TUNED)]).block(0, found.blocks[0])
    for wrong in ([], [*parents, *parents], [parent(Form("BF16", (9,)), bytes(18))]):
        with pytest.raises(Undecodable):
            Decoder(found.head, LARGE, len(LARGE_TUNED), wrong).block(0, found.blocks[0])


def test_two_equal_blocks_are_not_interchangeable() -> None:
    form = Form("BF16", (2 << 20,))
    found = encoded(form, bytes(4 << 20))
    decoder = Decoder(found.head, form, 4 << 20)
    assert decoder.block(0, found.blocks[0]) == bytes(2 << 20)
    with pytest.raises(Undecodable):
        decoder.block(1, found.blocks[0])


def test_a_head_of_another_form_is_refused() -> None:
    found = encoded(FORM, TUNED)
    for form, size in [(Form("F16", FORM.shape), len(TUNED)), (FORM, len(TUNED) - 2), (Form("BF16", (9,)), 18)]:
        with pytest.raises(Undecodable):
            Decoder(found.head, form, size)


def test_every_flipped_bit_and_every_cut_of_a_head_is_refused() -> None:
    parents = (parent(FORM, BASE),)
    head = encoded(FORM, TUNED, parents).head
    hostile = [head[:cut] for cut in range(len(head))]
    for bit in range(8 * len(head)):
        flipped = bytearray(head)
        flipped[bit // 8] ^= 1 << bit % 8
        hostile.append(bytes(flipped))
    for each in hostile:
        with pytest.raises(Undecodable):
            Decoder(each, FORM, len(TUNED), parents)


@pytest.mark.parametrize("relative", [True, False])
def test_a_damaged_block_is_refused_and_never_gives_wrong_bytes(relative: bool) -> None:
    parents = (parent(FORM, BASE),) if relative else ()
    found = encoded(FORM, TUNED, parents)
    decoder = Decoder(found.head, FORM, len(TUNED), parents)
    block = found.blocks[0]
    rng = np.random.default_rng(1)
    hostile = [block[: rng.integers(len(block))] for _ in range(40)] + [b"", block + b"x"]
    for at in [*range(60), *rng.integers(0, len(block), 140)]:
        flipped = bytearray(block)
        flipped[at] ^= 1 << rng.integers(8)
        hostile.append(bytes(flipped))
    right = 0  # a bit that nothing depends on, as the last ones of a packed row
    for each in hostile:
        try:
            assert decoder.block(0, each) == TUNED
        except Undecodable:
            continue
        right += 1
    assert right < 5


class Rogue:
    """A predictor as a head with a right checksum could make it."""

    id, name = 1, "rogue"

    def __init__(self, needs: list[tuple[int, int, int]], words: object = ()) -> None:
        self._needs, self._words = needs, words

    def params(self) -> bytes:
        return b""

    def needs(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        return self._needs

    def predict(self, start: int, stop: int, parents: object) -> object:
        if isinstance(self._words, Exception):
            raise self._words
        return self._words


@pytest.mark.parametrize(
    "rogue",
    [
        Rogue([(1, 0, 1)]),
        Rogue([(-1, 0, 1)]),
        Rogue([(0, 5, 1)]),
        Rogue([(0, -5, 1)]),
        Rogue([(0, 0, 1 << 60)]),
        Rogue([(0, 0, 256 * 512)] * 300),
        Rogue([], [np.zeros(5, np.uint16)]),
        Rogue([], [np.zeros(256 * 512, np.uint32)]),
        Rogue([], []),
        Rogue([], IndexError("past the end")),
        Rogue([], OverflowError("too large")),
    ],
)
def test_whatever_a_predictor_asks_for_or_says_is_checked(rogue: Rogue, monkeypatch: pytest.MonkeyPatch) -> None:
    parents = (parent(FORM, BASE),)
    found = encoded(FORM, TUNED, parents)
    monkeypatch.setattr(tensor.predict, "from_params", lambda *_: rogue)
    with pytest.raises(Undecodable):
        Decoder(found.head, FORM, len(TUNED), parents).block(0, found.blocks[0])


def test_a_block_that_is_predicted_where_no_predictor_is_is_refused() -> None:
    parents = (parent(FORM, BASE),)
    block = encoded(FORM, TUNED, parents).blocks[0]
    with pytest.raises(Undecodable):
        Decoder(encoded(FORM, TUNED).head, FORM, len(TUNED)).block(0, block)


# --- keys -----------------------------------------------------------------------------------------------------------


def test_a_key_names_bytes_dtype_and_shape() -> None:
    hasher = Hasher(FORM)
    hasher.update(BASE[:1000])
    hasher.update(BASE[1000:])
    assert hasher.key() == key_of(FORM, [BASE])
    others = {
        key_of(form, [raw])
        for form in (FORM, Form("F16", FORM.shape), Form("BF16", (512, 256)), Form("BF16", (256 * 512,)))
        for raw in (BASE, TUNED)
    }
    assert len(others) == 8


def test_keys_are_what_they_were() -> None:
    """Stored: a change here loses every tensor of every store."""
    assert key(Form("BF16", (2, 3)), bytes(32)).hex() == KEPT_KEY


KEPT_KEY = "2098b5f4ad0253771e7a17dc1040d1ac041d23832ca71381dbde7613a99f8d07"


def test_importing_the_codec_does_not_import_numba() -> None:
    """It takes a second and 60 MB, which no process pays that neither seals nor reads sealed files."""
    code = "import sys, headwater.codec; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
