"""GGUF headers: what a good one says, and T54, every way in which a bad one is refused."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Sequence

import pytest

from headwater.tensors import HEADER_BYTES_MAX, TENSORS_MAX, Malformed, Tensor, gguf

MIB = 1 << 20
U32, F32, BOOL, STRING, ARRAY, U64 = 4, 6, 7, 8, 9, 10


def text(value: str | bytes, order: str = "<") -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(order + "Q", len(raw)) + raw


def pair(key: str | bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def array(kind: int, count: int, body: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + body


def line(name: str, stored_shape: Sequence[int], kind: int, offset: int) -> bytes:
    return (
        text(name)
        + struct.pack(f"<I{len(stored_shape)}Q", len(stored_shape), *stored_shape)
        + struct.pack("<IQ", kind, offset)
    )


def file_of(pairs: Sequence[bytes] = (), lines: Sequence[bytes] = (), data: bytes = b"", version: int = 3) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(lines), len(pairs)) + b"".join(pairs) + b"".join(lines)
    return head + bytes(-len(head) % 32) + data


def opened(content: bytes) -> gguf.GgufFile:
    return gguf.read_header(lambda start, stop: content[start:stop], len(content))


def refusal(content: bytes) -> str:
    with pytest.raises(Malformed) as caught:
        opened(content)
    return caught.value.text


@pytest.mark.parametrize("version", [2, 3])
def test_a_header_gives_metadata_tensors_and_parameter_counts(version: int) -> None:
    content = file_of(
        [
            pair("general.architecture", STRING, text("llama")),
            pair("llama.context_length", U32, struct.pack("<I", 8192)),
            pair("tokenizer.ggml.add_bos_token", BOOL, b"\x01"),
            pair("general.languages", ARRAY, array(STRING, 2, text("en") + text("fr"))),
            pair("nested", ARRAY, array(ARRAY, 1, array(U32, 1, struct.pack("<I", 5)))),
        ],
        [line("embd", [64, 2], 2, 0), line("norm", [3], 0, 96)],
        bytes(96 + 12),
        version,
    )
    found = opened(content)
    start = len(content) - 108
    assert (found.version, found.architecture, found.context_length) == (version, "llama", 8192)
    assert found.metadata == {
        "general.architecture": "llama",
        "llama.context_length": 8192,
        "tokenizer.ggml.add_bos_token": True,
        "general.languages": ["en", "fr"],
        "nested": [[5]],
    }
    assert found.tensors == (
        Tensor("embd", "Q4_0", (2, 64), start, start + 72),
        Tensor("norm", "F32", (3,), start + 96, start + 108),
    )
    assert found.parameters == {"Q4_0": 128, "F32": 3}
    assert found.total == 131


def test_a_big_endian_file_is_read() -> None:
    head = b"GGUF" + struct.pack(">IQQ", 3, 0, 1) + text("k", ">") + struct.pack(">IQ", STRING, 2) + b"ok"
    assert opened(head).metadata == {"k": "ok"}


def test_long_arrays_and_strings_are_omitted_and_what_follows_is_found() -> None:
    words = b"".join(text("w" * (number % 50)) for number in range(100_000))
    found = opened(
        file_of(
            [
                pair("tokens", ARRAY, array(STRING, 100_000, words)),
                pair("scores", ARRAY, array(F32, 500_000, bytes(2_000_000))),
                pair("lists", ARRAY, array(ARRAY, 65, array(U32, 0) * 65)),
                pair("novel", STRING, text(b"n" * 3_000_000)),
                pair("after", U64, struct.pack("<Q", 9)),
            ]
        )
    )
    assert found.metadata == {
        "tokens": gguf.Omitted("STRING", 100_000),
        "scores": gguf.Omitted("FLOAT32", 500_000),
        "lists": gguf.Omitted("ARRAY", 65),
        "novel": gguf.Omitted("STRING", 3_000_000),
        "after": 9,
    }


def test_what_is_stepped_over_is_not_read() -> None:
    content = file_of([pair("scores", ARRAY, array(F32, 10_000_000, bytes(40_000_000)))])
    read_bytes = 0

    def read(start: int, stop: int) -> bytes:
        nonlocal read_bytes
        read_bytes += stop - start
        return content[start:stop]

    assert gguf.read_header(read, len(content)).metadata == {"scores": gguf.Omitted("FLOAT32", 10_000_000)}
    assert read_bytes <= gguf.STEP_BYTES


def test_tokens_that_are_not_whole_characters_are_shown_as_far_as_they_go() -> None:
    assert opened(file_of([pair("t", STRING, text(b"a\xff"))])).metadata == {"t": "a\ufffd"}


def test_context_length_and_architecture_of_another_type_are_nothing() -> None:
    found = opened(
        file_of([pair("general.architecture", STRING, text("x")), pair("x.context_length", STRING, text("y"))])
    )
    assert found.context_length is None
    assert opened(file_of([pair("general.architecture", U32, bytes(4))])).architecture is None


@pytest.mark.parametrize(("tensor_count", "key_count"), [(1 << 60, 0), (0, 1 << 60), (TENSORS_MAX + 1, 0)])
def test_T54_counts_of_2_to_the_60_are_refused_at_once(tensor_count: int, key_count: int) -> None:
    content = b"GGUF" + struct.pack("<IQQ", 3, tensor_count, key_count)
    tracemalloc.start()
    try:
        with pytest.raises(Malformed, match="over the limit"):
            gguf.read_header(lambda start, stop: content[start:stop], 1 << 62)
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("tensor_count", "key_count"), [(50_000, 0), (0, 50_000)])
def test_T54_counts_that_the_file_has_no_room_for_are_refused(tensor_count: int, key_count: int) -> None:
    assert "do not fit" in refusal(b"GGUF" + struct.pack("<IQQ", 3, tensor_count, key_count) + bytes(1000))


@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1, 1 << 40, 200])
def test_T54_string_length_overflow_is_refused(length: int) -> None:
    overlong = struct.pack("<Q", length)
    assert "are needed at byte" in refusal(file_of([pair("k", STRING, overlong)]))
    assert "are needed at byte" in refusal(file_of([pair("k", ARRAY, array(STRING, 1, overlong))]))
    assert "are needed at byte" in refusal(file_of([pair("k", ARRAY, array(STRING, 1000, overlong))]))
    assert "metadata key" in refusal(file_of([overlong + bytes(40)])) or length == 200
    assert "tensor name" in refusal(file_of([], [overlong + bytes(40)])) or length == 200


def test_T54_array_length_overflow_is_refused() -> None:
    for kind in (*range(8), STRING, ARRAY, U64, 11, 12):
        assert "needed at byte" in refusal(file_of([pair("k", ARRAY, array(kind, (1 << 64) - 1))]))


def test_T54_recursive_arrays_are_refused() -> None:
    deep = array(ARRAY, 1) * 100_000 + array(U32, 0)
    assert "arrays nest deeper than 4" in refusal(file_of([pair("k", ARRAY, deep)]))


def test_T54_millions_of_empty_arrays_in_an_array_are_refused() -> None:
    wide = array(ARRAY, 1_000_000, array(U32, 0) * 1_000_000)
    assert "over 65536 arrays" in refusal(file_of([pair("k", ARRAY, wide)]))


@pytest.mark.parametrize(
    ("lines", "part"),
    [
        ([line("w", [8], 0, 64)], "ends beyond the file"),
        ([line("w", [8], 0, 1 << 63)], "ends beyond the file"),
        ([line("w", [(1 << 64) - 1] * 4, 0, 0)], "ends beyond the file"),
        ([line("w", [1 << 61, 8], 0, 0)], "ends beyond the file"),
        ([line("a", [8], 0, 0), line("b", [8], 0, 0)], "'b' overlaps another"),
        ([line("a", [16], 0, 0), line("b", [8], 0, 32)], "'b' overlaps another"),
        ([line("w", [1], 0, 4)], "not a multiple of the alignment 32"),
        ([line("w", [33], 2, 0)], "a row of 33 is not whole blocks of 32 (Q4_0)"),
        ([line("w", [1] * 5, 0, 0)], "5 dimensions are over the limit"),
        ([line("w", [1], 999, 0)], "tensor type 999 is not known"),
        ([line("w", [1], 0, 0), line("w", [1], 0, 32)], "'w' is there twice"),
    ],
    ids=range(11),
)
def test_T54_tensors_beyond_the_end_or_on_top_of_each_other_are_refused(lines: list[bytes], part: str) -> None:
    assert part in refusal(file_of([], lines, bytes(64)))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "4 bytes are needed at byte 0"),
        (b"GGUX" + bytes(20), "must begin with b'GGUF'"),
        (file_of(version=1), "version 1 is not read here"),
        (file_of(version=4), "version 4 is not read here"),
        (file_of(version=0), "version 0 is not read here"),
        (b"GGUF" + struct.pack(">IQQ", 1, 0, 0), "version 1 is not read here"),
        (file_of([pair("k", 13, b"")]), "metadata type 13 does not exist"),
        (file_of([pair("k", ARRAY, array(13, 0))]), "metadata type 13 does not exist"),
        (file_of([pair("k", BOOL, b"\x00")] * 2), "'k' is there twice"),
        (file_of([pair(b"\xff", BOOL, b"\x00")]), "is not UTF-8"),
        (file_of([pair("general.alignment", U32, struct.pack("<I", 0))]), "general.alignment 0"),
        (file_of([pair("general.alignment", U32, struct.pack("<I", 48))]), "general.alignment 48"),
        (file_of([pair("general.alignment", U32, struct.pack("<I", 1 << 31))]), "general.alignment 2147483648"),
        (file_of([pair("general.alignment", STRING, text("32"))]), "general.alignment 32"),
    ],
    ids=range(14),
)
def test_T54_other_broken_rules_are_named(content: bytes, part: str) -> None:
    assert part in refusal(content)


def test_T54_every_cut_of_a_good_file_is_refused() -> None:
    content = file_of(
        [pair("k", STRING, text("value")), pair("a", ARRAY, array(STRING, 70, text("x") * 70))],
        [line("w", [8], 0, 0)],
        bytes(32),
    )
    for size in range(len(content)):
        refusal(content[:size])
    assert opened(content).total == 8


def test_T54_a_reader_that_gives_less_than_the_file_has_is_noticed() -> None:
    content = file_of([pair("k", STRING, text("value"))])
    with pytest.raises(Malformed, match="ends at byte 30, inside its header"):
        gguf.read_header(lambda start, stop: content[start : min(stop, 30)], len(content))


def test_T54_a_header_over_100_MB_is_refused_within_its_memory() -> None:
    # After the array's head the same string for ever, as a sparse file of any size could hold it.
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair("k", ARRAY, array(STRING, 1 << 50))
    word = text(bytes(1016))
    words = word * (gguf.STEP_BYTES // len(word) + 2)

    def read(start: int, stop: int) -> bytes:
        if start == 0:
            return (head + words)[:stop]
        phase = (start - len(head)) % len(word)
        return words[phase : phase + stop - start]

    tracemalloc.start()
    try:
        with pytest.raises(Malformed, match=f"the limit of a header is at {HEADER_BYTES_MAX}"):
            gguf.read_header(read, 1 << 62)
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


def test_T54_many_values_are_kept_only_within_their_memory() -> None:
    few_numbers = array(U64, 64, struct.pack("<64Q", *range(1 << 60, (1 << 60) + 64)))
    content = file_of([pair(f"key {number}", ARRAY, few_numbers) for number in range(6_000)])
    tracemalloc.start()
    try:
        metadata = opened(content).metadata
        assert tracemalloc.get_traced_memory()[1] < 40 * MIB
    finally:
        tracemalloc.stop()
    assert isinstance(metadata["key 0"], list)
    assert metadata["key 5999"] == gguf.Omitted("UINT64", 64)
