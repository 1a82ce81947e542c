"""Sketches: where samples lie, what they cost, that they come back, and that nothing hostile gets through."""

from __future__ import annotations

import contextlib
import random
import time

import msgspec
import numpy as np
import pytest
from model_building import base, gguf, reader, safetensors, tuned

from headwater.ground.errors import Corrupt
from headwater.lineage import search
from headwater.lineage.align import probed
from headwater.lineage.files import sketch_of
from headwater.lineage.sketch import (
    RUN,
    RUNS_IN_FILE_MAX,
    RUNS_MAX,
    SAMPLED_MAX,
    Sketch,
    TensorSketch,
    common,
    decode,
    encode,
    make,
    stored_row,
)
from headwater.tensors import Tensor


def sketched(data: bytes, name: str = "model.safetensors") -> Sketch:
    made = sketch_of(reader(data), name, len(data))
    assert made is not None
    return made


def one(shape: tuple[int, ...], dtype: str = "U8", size: int | None = None) -> TensorSketch:
    size = int(np.prod(shape)) if size is None else size
    data = np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()
    return make(reader(data), [Tensor("a", dtype, shape, 0, size)]).tensors[0]


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F64", "I8"])
def test_a_sketch_comes_back_as_it_was(dtype: str) -> None:
    made = sketched(safetensors(base(1), dtype))
    again = decode(encode(made))
    assert encode(again) == encode(made)
    assert [tensor.name for tensor in again.tensors] == [tensor.name for tensor in made.tensors]
    words = [[tensor.samples.words.tolist() for tensor in one.tensors if tensor.samples] for one in (made, again)]
    assert len(words[0]) == 23
    assert words[0] == words[1]


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_a_gguf_sketch_comes_back_with_its_values(kind: str) -> None:
    made = sketched(gguf(base(1), kind), "m.gguf")
    again = decode(encode(made))
    assert encode(again) == encode(made)
    assert {tensor.heads for tensor in again.tensors} == {0, 2, 4}


def test_places_follow_from_the_shape_alone() -> None:
    assert one((300, 256)).places() == one((300, 256), "I8").places()
    places = one((300, 256)).places()
    assert len(places) == RUNS_MAX == len(set(places))
    assert all(row < 300 and column in (0, 64, 128, 192) for row, column in places)


def test_a_tensor_with_some_more_rows_is_sampled_at_almost_the_same_places() -> None:
    shorter, longer = one((32_000, 64)).places(), one((32_256, 64)).places()
    assert len(set(shorter) & set(longer)) >= RUNS_MAX - 2
    assert max(row for row, _ in shorter) > 20_000  # not only its beginning
    shared = common(one((32_000, 64)), one((32_256, 64)))
    assert shared is not None
    assert (shared[0].words == shared[1].words).all()


@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ((512, 128), (512, 128)),
        ((8, 16, 128), (128, 128)),  # experts
        ((64, 32, 3, 3), (64, 288)),  # kernels
        ((1000, 16), (250, 64)),  # no row is long enough: one long row, cut
        ((5000,), (78, 64)),
        ((100, 63), (98, 64)),
    ],
)
def test_every_tensor_has_rows_that_are_long_enough(shape: tuple[int, ...], grid: tuple[int, int]) -> None:
    made = one(shape)
    assert made.grid == grid
    assert made.samples is not None
    assert len(made.samples.words) > 1000


def test_a_file_costs_few_small_reads() -> None:
    data = safetensors(base(1))
    asked: list[tuple[int, int]] = []

    def read(start: int, stop: int) -> bytes:
        asked.append((start, stop))
        return data[start:stop]

    sketch_of(read, "model.safetensors", len(data))
    assert len(asked) < 23 * RUNS_MAX + 10
    assert sum(stop - start for start, stop in asked) < 23 * RUNS_MAX * RUN * 2 + 100_000


def test_many_tensors_share_the_reads_of_a_file() -> None:
    data = bytes(range(256)) * 4 * 3000
    reads = 0

    def read(start: int, stop: int) -> bytes:
        nonlocal reads
        reads += 1
        return data[start:stop]

    made = make(read, [Tensor(f"t{n}", "U8", (16, 64), 1024 * n, 1024 * (n + 1)) for n in range(3000)])
    assert reads <= RUNS_IN_FILE_MAX
    assert sum(tensor.samples is not None for tensor in made.tensors) == SAMPLED_MAX
    assert len(encode(made)) < 2 << 20


def test_what_the_search_keeps_of_an_8b_model_is_under_9_kb() -> None:
    shapes = [(128, 64), (64, 64), (16, 64), (16, 64), (64, 64), (224, 64), (224, 64), (64, 224)]
    tensors, at = [], 0
    for layer in range(32):
        for n, shape in enumerate(shapes):
            size = shape[0] * shape[1]
            tensors.append(Tensor(f"model.layers.{layer}.w{n}", "U8", shape, at, at + size))
            at += size
    data = np.random.default_rng(0).integers(0, 256, at, np.uint8).tobytes()
    assert len(search.choose(probed(make(reader(data), tensors))).rows.tobytes()) < 9_000


def test_llama_cpps_order_of_rows_is_undone() -> None:
    rows, heads = 24, 3
    order = np.arange(rows).reshape(heads, 2, rows // heads // 2, 1).swapaxes(1, 2).reshape(rows)
    assert [int(order[stored_row(row, rows, heads)]) for row in range(rows)] == list(range(rows))
    assert [stored_row(row, rows, 0) for row in range(rows)] == list(range(rows))


def test_heads_that_do_not_divide_the_rows_reorder_nothing() -> None:
    assert stored_row(5, 10, 3) == 5


@pytest.mark.parametrize(
    ("shape", "dtype", "size"),
    [
        ((1024,), "U8", 1024),  # small and flat
        ((), "F32", 4),
        ((5, 1), "F32", 20),
    ],
)
def test_small_tensors_are_known_by_name_only(shape: tuple[int, ...], dtype: str, size: int) -> None:
    assert one(shape, dtype, size).samples is None


def test_empty_tensors_are_left_out() -> None:
    tensors = [Tensor("a", "U8", (0, 5000), 0, 0), Tensor("b", "F32", (1 << 70, 0), 0, 0)]
    assert make(reader(b""), tensors).tensors == ()


@pytest.mark.parametrize("shape", [(5000,), (70_001,), (3, 5, 7, 11), (2000, 1), (1, 3000), (2, 700)])
def test_every_odd_shape_is_sampled_inside_its_bytes(shape: tuple[int, ...]) -> None:
    made = one(shape, "BF16", 2 * int(np.prod(shape)))
    assert made.samples is not None
    assert encode(decode(encode(Sketch((made,))))) == encode(Sketch((made,)))


@pytest.mark.parametrize("dtype", ["I32", "IQ2_XXS", "BOOL", "F4", "no such type", "BYTES", "F8_E8M0"])
def test_a_type_that_has_no_numbers_is_sampled_as_bytes(dtype: str) -> None:
    made = one((64, 64), dtype, 2112)
    assert made.samples is not None
    assert made.samples.form.kind == "bytes"
    assert len(made.samples.words) >= 16


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2"])
def test_eight_bit_floats_are_numbers(dtype: str) -> None:
    made = one((64, 64), dtype)
    assert made.samples is not None
    assert np.isfinite(made.samples.numbers()).mean() > 0.9


def test_a_file_shorter_than_its_header_says_has_no_samples() -> None:
    made = make(reader(b"x" * 1000), [Tensor("a", "U8", (64, 64), 0, 4096)])
    assert made.tensors[0].samples is None


def test_a_type_whose_rows_are_not_whole_blocks_has_no_samples() -> None:
    assert one((64, 40), "Q8_0", 1000).samples is None


def test_no_bit_pattern_breaks_a_sketch_or_a_comparison() -> None:
    rng = np.random.default_rng(5)
    for dtype, bits in (("F32", 32), ("F16", 16), ("BF16", 16), ("F64", 64), ("F8_E4M3", 8), ("F8_E5M2", 8)):
        words = rng.integers(0, 1 << 8, 4096 * bits // 8, np.uint8).tobytes()
        tensors = [Tensor("w", dtype, (64, 64), 0, len(words))]
        made = decode(encode(make(reader(words), tensors)))
        assert probed(made).probes.shape == (1, 16)


# --- hostile ---


def test_a_damaged_sketch_is_corrupt_and_never_anything_else() -> None:
    whole = encode(sketched(gguf(base(1, layers=1), "Q8_0"), "m.gguf"))
    rng = random.Random(7)
    for _ in range(1500):
        data = bytearray(whole)
        match rng.randrange(3):
            case 0:
                data[rng.randrange(min(len(data), 1200))] ^= 1 << rng.randrange(8)
            case 1:
                del data[rng.randrange(len(data)) :]
            case _:
                data[rng.randrange(len(data))] = rng.randrange(256)
        with contextlib.suppress(Corrupt):
            probed(decode(bytes(data)))


@pytest.mark.parametrize(
    "row",
    [
        ["a", "BF16", [1 << 70, 1 << 70], 8, 0, 64],
        ["a", "BF16", [64, 64], 8, 0, 1 << 40],
        ["a", "BF16", [64, -64], 8, 0, 64],
        ["a", "BF16", [2, 2], 8, 0, 64],
        ["a", "BF16", [2] * 1000, 8, 0, 64],
        ["a", "BF16", [64, 64], -1, 0, 64],
        ["a", "BF16", [64, 64], 8, 1 << 20, 64],
        ["a", "Q8_0", [64, 64], 8, 0, 64],
        ["a", 5, [64, 64], 8, 0, 64],
        ["a"],
    ],
)
def test_a_made_up_table_is_refused(row: list[object]) -> None:
    table = msgspec.msgpack.encode([row]) if max(map(_size, row)) < 1 << 64 else b"\xff"
    data = b"\x01" + len(table).to_bytes(4, "little") + table + b"\0" * 128
    with pytest.raises(Corrupt):
        decode(data)


def _size(value: object) -> int:
    if isinstance(value, list):
        return max(map(_size, value))
    return abs(value) if isinstance(value, int) else 0


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x02\0\0\0\0\x90", b"\x01\xff\xff\xff\xff", b"\x01\0\0\0\0"])
def test_a_stump_of_a_sketch_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt):
        decode(data)


def test_words_wider_than_their_type_are_refused() -> None:
    table = msgspec.msgpack.encode([["a", "Q4_0", [32, 64], 1152, 0, 64]])
    data = b"\x01" + len(table).to_bytes(4, "little") + table + b"\xff" * 64 + b"\0" * 256
    with pytest.raises(Corrupt, match="4 bits"):
        decode(data)


def test_a_header_of_many_tensors_takes_bounded_time() -> None:
    count = 20_000
    data = b"\0" * 4096
    tensors = [Tensor(f"model.layers.{n}.w", "U8", (64 + n % 3000, 16), 0, 4096) for n in range(count)]
    began = time.process_time()
    made = make(reader(data), tensors)
    probed(decode(encode(made)))
    assert time.process_time() - began < 5


def test_a_file_that_is_no_tensor_file_has_no_sketch() -> None:
    assert sketch_of(reader(b"hello" * 1000), "model.safetensors", 5000) is None
    assert sketch_of(reader(b""), "model.gguf", 0) is None


def test_hostile_head_counts_are_no_heads() -> None:
    for count in (0, 0xFFFFFFFF):
        data = gguf(base(1, layers=1)).replace(
            (4).to_bytes(4, "little") * 2, (4).to_bytes(4, "little") + count.to_bytes(4, "little")
        )
        made = sketched(data, "m.gguf")
        assert {tensor.heads for tensor in made.tensors} == {0}


def test_other_architectures_are_not_reordered() -> None:
    assert {tensor.heads for tensor in sketched(gguf(base(1, layers=1), architecture="qwen2"), "m.gguf").tensors} == {0}


def test_the_sketch_of_a_changed_model_differs() -> None:
    root = base(1)
    assert encode(sketched(safetensors(root))) != encode(sketched(safetensors(tuned(root, 5))))
