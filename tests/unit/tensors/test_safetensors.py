"""safetensors headers: what a good one says, and T53, every way in which a bad one is refused."""

from __future__ import annotations

import json
import struct
import tracemalloc
from typing import Any

import pytest

from headwater.tensors import HEADER_BYTES_MAX, TENSORS_MAX, Malformed, Tensor, safetensors

MIB = 1 << 20


def file_of(header: object, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def entry(dtype: str, shape: list[Any], start: Any, stop: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def opened(content: bytes) -> safetensors.SafetensorsFile:
    return safetensors.read_header(lambda start, stop: content[start:stop], len(content))


def refusal(header: object, data: bytes = b"") -> str:
    with pytest.raises(Malformed) as caught:
        opened(file_of(header, data))
    return caught.value.text


def test_a_header_gives_tensors_metadata_and_parameter_counts() -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "w": entry("BF16", [2, 3], 0, 12),
        "b": entry("F32", [], 12, 16),
        "empty": entry("F32", [0, 5], 16, 16),
    }
    content = file_of(header, bytes(16))
    found = opened(content)
    start = len(content) - 16
    assert found.tensors == (
        Tensor("w", "BF16", (2, 3), start, start + 12),
        Tensor("b", "F32", (), start + 12, start + 16),
        Tensor("empty", "F32", (0, 5), start + 16, start + 16),
    )
    assert found.metadata == {"format": "pt"}
    assert found.parameters == {"BF16": 6, "F32": 1}
    assert found.total == 7
    assert found.header_json == header


def test_tensors_come_in_the_order_of_their_bytes() -> None:
    found = opened(file_of({"z": entry("U8", [1], 1, 2), "a": entry("U8", [1], 0, 1)}, b"ab"))
    assert [tensor.name for tensor in found.tensors] == ["a", "z"]


def test_a_header_padded_with_spaces_and_without_tensors_is_good() -> None:
    assert opened(file_of(b"{}      ")).tensors == ()


def test_types_smaller_than_a_byte_are_counted_in_bits() -> None:
    found = opened(file_of({"four": entry("F4", [4], 0, 2), "six": entry("F6_E2M3", [4], 2, 5)}, bytes(5)))
    assert found.parameters == {"F4": 4, "F6_E2M3": 4}


def test_T53_header_length_of_2_to_the_63_is_refused_after_eight_bytes() -> None:
    asked: list[tuple[int, int]] = []

    def read(start: int, stop: int) -> bytes:
        asked.append((start, stop))
        return struct.pack("<Q", 1 << 63)

    with pytest.raises(Malformed, match="over the limit"):
        safetensors.read_header(read, 1 << 62)
    assert asked == [(0, 8)]


def test_T53_header_of_more_than_100_MB_is_refused_unread() -> None:
    with pytest.raises(Malformed, match="over the limit of 100000000 bytes"):
        safetensors.read_header(lambda *_: struct.pack("<Q", HEADER_BYTES_MAX + 1), 1 << 40)


def test_T53_header_longer_than_the_file_is_refused() -> None:
    with pytest.raises(Malformed, match="does not fit into a file of 30 bytes"):
        safetensors.read_header(lambda *_: struct.pack("<Q", 23), 30)


@pytest.mark.parametrize("size", range(8))
def test_T53_file_shorter_than_its_length_field_is_refused(size: int) -> None:
    with pytest.raises(Malformed, match=f"has {size} bytes"):
        opened(bytes(size))


def test_T53_file_cut_inside_its_header_is_refused() -> None:
    content = file_of({"w": entry("U8", [1], 0, 1)}, b"x")
    with pytest.raises(Malformed, match="ends at byte 20"):
        safetensors.read_header(lambda start, stop: content[start : min(stop, 20)], len(content))


def test_T53_header_of_100_MB_of_brackets_costs_no_more_than_its_bytes() -> None:
    raw = b"{" + b"[" * (HEADER_BYTES_MAX - 1)
    content_size = 8 + len(raw)

    def read(start: int, stop: int) -> bytes:
        return struct.pack("<Q", len(raw)) if start == 0 else raw

    tracemalloc.start()
    try:
        with pytest.raises(Malformed, match="over the limit of 1000000"):
            safetensors.read_header(read, content_size)
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


def test_T53_the_biggest_header_that_is_parsed_stays_within_its_memory() -> None:
    # As many values as are let through, in the form that costs most: a dict each.
    raw = b'{"w":[' + b",".join([b'{"a":1}'] * (safetensors.VALUES_MAX // 2 - 3)) + b"]}"
    tracemalloc.start()
    try:
        with pytest.raises(Malformed, match="must be described by an object"):
            opened(file_of(raw))
        assert tracemalloc.get_traced_memory()[1] < 300 * MIB
    finally:
        tracemalloc.stop()


def test_T53_deeply_nested_json_is_refused() -> None:
    assert "nests too deeply" in refusal(b'{"a":' * 200_000)
    assert "nests too deeply" in refusal(b'{"a":' + b"[" * 500_000)


def test_T53_too_many_tensors_are_refused() -> None:
    names = b",".join(b'"%d":0' % number for number in range(TENSORS_MAX + 1))
    assert "over the limit of 100000" in refusal(b"{" + names + b"}")


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, "'b' overlaps the one before it"),
        ({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 0, 2)}, "'b' overlaps the one before it"),
        ({"a": entry("U8", [1], 0, 1), "b": entry("U8", [1], 2, 3)}, "'b' leaves a gap before it"),
        ({"a": entry("U8", [2], 1, 3)}, "'a' leaves a gap before it"),
        ({"a": entry("U8", [4], 0, 4)}, "ends beyond the file"),
        ({"a": entry("U8", [1 << 62], 0, 1 << 62)}, "ends beyond the file"),
        ({"a": entry("U8", [0], 2, 1)}, "must be [start, stop]"),
        ({"a": entry("U8", [3], -1, 2)}, "must be a list of whole numbers"),
        ({"a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 1, 3]}}, "must be [start, stop]"),
        ({"a": {"dtype": "U8", "shape": [3]}}, "data_offsets must be a list"),
    ],
)
def test_T53_overlapping_or_out_of_file_offsets_are_refused(header: object, text: str) -> None:
    assert text in refusal(header, b"abc")


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ({"a": entry("F32", [1], 0, 3)}, "needs 4 bytes, offsets give 3"),
        ({"a": entry("F32", [1 << 62, 4], 0, 3)}, "needs 73786976294838206464 bytes"),
        ({"a": entry("F64", [1 << 63] * 64, 0, 3)}, "offsets give 3"),
        ({"a": entry("U8", [1] * 65, 0, 3)}, "65 dimensions are over the limit"),
        ({"a": entry("F4", [1], 0, 1)}, "does not end at a byte"),
        ({"a": entry("F1024", [3], 0, 3)}, "unknown dtype 'F1024'"),
        ({"a": {"dtype": ["U8"], "shape": [3], "data_offsets": [0, 3]}}, "unknown dtype ['U8']"),
        ({"a": entry("U8", [True, 3], 0, 3)}, "must be a list of whole numbers"),
        ({"a": entry("U8", [3.0], 0, 3)}, "must be a list of whole numbers"),
        ({"a": entry("U8", [-3, -1], 0, 3)}, "must be a list of whole numbers"),
        ({"a": 7}, "must be described by an object"),
        (b'{"a":{"dtype":"U8","shape":[' + b"9" * 100_000 + b'],"data_offsets":[0,3]}}', "a number of 100000 digits"),
        (b'{"a":NaN}', "NaN, which is not JSON"),
    ],
)
def test_T53_dtype_and_shape_overflow_are_refused(header: object, text: str) -> None:
    assert text in refusal(header, b"abc")


@pytest.mark.parametrize(
    ("raw", "twice"),
    [
        (
            b'{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}',
            "a",
        ),
        (b'{"a":1,"\\u0061":2}', "a"),
        (b'{"a":{"dtype":"U8","dtype":"I8","shape":[3],"data_offsets":[0,3]}}', "dtype"),
        (b'{"__metadata__":{},"__metadata__":{}}', "__metadata__"),
    ],
)
def test_T53_duplicate_names_are_refused(raw: bytes, twice: str) -> None:
    assert f"names {twice!r} twice" in refusal(raw, b"abc")


def test_T53_trailing_junk_is_refused() -> None:
    assert "2 bytes after the last tensor belong to none" in refusal({"a": entry("U8", [1], 0, 1)}, b"abc")
    assert "3 bytes after the last tensor" in refusal({}, b"abc")
    assert "not JSON" in refusal(b"{}{}")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", "must begin with '{'"),
        (b" {}", "must begin with '{'"),
        (b"[]", "must begin with '{'"),
        (b"{\xff}", "not JSON"),
        ("{}".encode("utf-16"), "must begin with '{'"),
        (b'{"a\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}', "not valid Unicode"),
        (b'{"__metadata__":{"k":"\\udc00"}}', "not valid Unicode"),
        (b'{"__metadata__":{"k":1}}', "must map text to text"),
        (b'{"__metadata__":[]}', "must map text to text"),
        (b'{"w":"' + "é".encode() * 8_000_001 + b'"}', "must be ASCII"),
    ],
    ids=range(10),
)
def test_T53_headers_that_are_not_plain_json_are_refused(raw: bytes, text: str) -> None:
    assert text in refusal(raw)
