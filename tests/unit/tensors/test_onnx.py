"""ONNX: weights are found in a protobuf message wherever they are, and a hostile message is refused in bounded time."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from tensor_files import external, noise, number, onnx_file, onnx_tensor, reader, span, varint

from headwater.tensors import Malformed, Tensor, onnx

F32, U8, I8, I64, STRING, F16, F64, C128, BF16, INT4 = 1, 2, 3, 7, 8, 10, 11, 15, 16, 22


def opened(content: bytes) -> onnx.OnnxFile:
    return onnx.read_tensors(reader(content), len(content))


def refusal(content: bytes) -> str:
    with pytest.raises(Malformed) as caught:
        opened(content)
    return caught.value.text


def constant(tensor: bytes, field: int = 5) -> bytes:
    """A node with an attribute that holds a tensor."""
    return span(2, "out") + span(4, "Constant") + span(5, span(1, "value") + span(field, tensor))


def branch(*graphs: bytes) -> bytes:
    return span(4, "If") + b"".join(span(5, span(1, "then_branch") + span(6, graph)) for graph in graphs)


def test_initializers_are_found_with_name_type_shape_and_place() -> None:
    first, second = noise(24), noise(10, 2)
    content = onnx_file([onnx_tensor("w", F32, [2, 3], first), onnx_tensor("q", U8, [10], second)])
    found = opened(content)
    assert [(t.name, t.dtype, t.shape) for t in found.tensors] == [("w", "F32", (2, 3)), ("q", "U8", (10,))]
    assert [content[t.start : t.stop] for t in found.tensors] == [first, second]
    assert found.external == {}


def test_packed_floats_are_the_same_bytes_as_raw_data() -> None:
    floats, doubles = noise(24), noise(24, 2)
    content = onnx_file(
        [onnx_tensor("f", F32, [6], more=span(4, floats)), onnx_tensor("d", F64, [3], more=span(10, doubles))]
    )
    found = opened(content).tensors
    assert [(t.dtype, content[t.start : t.stop]) for t in found] == [("F32", floats), ("F64", doubles)]


def test_dimensions_may_be_packed() -> None:
    content = onnx_file([span(1, varint(300) + varint(2)) + number(2, U8) + span(9, noise(600))])
    assert opened(content).tensors[0].shape == (300, 2)


def test_constants_are_found_in_nodes_branches_lists_functions_and_sparse_tensors() -> None:
    inner = onnx_tensor("inner", F16, [4], noise(8))
    deep = span(1, branch(span(1, constant(onnx_tensor("deep", F16, [2], noise(4))))))
    content = onnx_file(
        [],
        [constant(onnx_tensor("node", F16, [4], noise(8))), branch(span(5, inner), deep), constant(inner, field=10)],
    )
    content += span(25, span(7, constant(onnx_tensor("function", F16, [1], noise(2)))))
    content += span(7, span(15, span(1, onnx_tensor("sparse", F16, [3], noise(6)))))
    names = [tensor.name for tensor in opened(content).tensors]
    assert names == ["node", "inner", "deep", "inner", "function", "sparse"]


def test_types_without_a_name_of_ours_are_bytes() -> None:
    content = onnx_file([onnx_tensor("c", C128, [2], noise(32)), onnx_tensor("i", INT4, [5], noise(3))])
    assert [(t.dtype, t.shape) for t in opened(content).tensors] == [("BYTES", (32,)), ("BYTES", (3,))]


def test_tensors_in_other_files_are_listed_by_file() -> None:
    content = onnx_file(
        [
            onnx_tensor("a", F32, [2, 2], more=external("model.onnx.data", offset=64, length=16)),
            onnx_tensor("b", BF16, [5], more=external("./model.onnx.data")),
            onnx_tensor("c", I8, [7], more=external("weights/c.bin", offset=0)),
        ]
    )
    found = opened(content)
    assert found.tensors == ()
    assert found.external == {
        "model.onnx.data": (Tensor("a", "F32", (2, 2), 64, 80), Tensor("b", "BF16", (5,), 0, 10)),
        "weights/c.bin": (Tensor("c", "I8", (7,), 0, 7),),
    }


@pytest.mark.parametrize("location", ["", "/etc/passwd", "../x", "a/../../x", "..\\x"])
def test_locations_that_are_not_beside_the_model_are_refused(location: str) -> None:
    assert "must be a path beside the model" in refusal(onnx_file([onnx_tensor("a", U8, [1], more=external(location))]))


@pytest.mark.parametrize("said", ["-1", "1e3", "٣", "9" * 20, ""])
def test_offsets_that_are_no_numbers_are_refused(said: str) -> None:
    entry = span(13, span(1, "location") + span(2, "x")) + span(13, span(1, "offset") + span(2, said))
    assert "must be a whole number" in refusal(onnx_file([onnx_tensor("a", U8, [1], more=entry)]))


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (onnx_tensor("w", F32, [2, 3], noise(23)), "needs 24 bytes, there are 23"),
        (onnx_tensor("w", F32, [1 << 62, 1 << 62], noise(24)), "there are 24"),
        (onnx_tensor("w", F32, [(1 << 64) - 1], noise(24)), "there are 24"),
        (onnx_tensor("w", STRING, [2], noise(24)), "type 8 has no raw data"),
        (onnx_tensor("w", 0, [2], noise(24)), "type 0 has no raw data"),
        (onnx_tensor("w", 999, [2], noise(24)), "type 999 has no raw data"),
        (onnx_tensor("w", F32, [1] * 65, noise(4)), "over 64 dimensions"),
        (span(1, varint(1) * 65), "over 64 dimensions"),
        (onnx_tensor("n" * 1025, F32, [1], noise(4)), "a text of 1025 bytes"),
        (onnx_tensor("w", F32, [1], more=external("x", length=3)), "needs 4 bytes, there are 3"),
        (onnx_tensor("w", F32, [1], more=b"".join(span(13, span(1, f"{n}")) for n in range(20))), "over 16 things"),
        (span(1, b"\x80"), "does not end at byte"),
        (number(1, 1) + b"\x08\x80", "ends inside a field"),
        (b"\x4b", "wire type 3"),
        (b"\x4c", "wire type 4"),
        (b"\x4f", "wire type 7"),
        (b"\x00\x01", "field number 0"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "over ten bytes"),
        (varint(9 << 3 | 2) + varint(1 << 63), "ends beyond"),
        (varint(3 << 3 | 2) + varint(100), "ends beyond"),
        (varint(9 << 3 | 1) + b"1234", "ends beyond its message"),
    ],
)
def test_tensors_that_lie_are_refused(tensor: bytes, text: str) -> None:
    assert text in refusal(onnx_file([tensor]))


def test_messages_nested_too_deeply_are_refused() -> None:
    graph = b""
    for _ in range(10_000):
        graph = span(1, branch(graph))
        if len(graph) > 300_000:
            break
    assert "nest deeper than 64" in refusal(number(1, 8) + span(7, graph))


def test_more_fields_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "FIELDS_MAX", 1_000)
    assert "over 1000 fields" in refusal(number(1, 1) * 2_000)


def test_more_tensors_or_names_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = onnx_file([onnx_tensor("name", U8, [1], b"w")] * 20)
    monkeypatch.setattr(onnx, "TENSORS_MAX", 19)
    assert "over 19 tensors" in refusal(content)
    monkeypatch.setattr(onnx, "KEPT_BYTES_MAX", 100)
    assert "names and shapes take over 100 bytes" in refusal(content)


def test_every_cut_is_refused_or_ends_between_fields() -> None:
    content = onnx_file(
        [onnx_tensor("w", F32, [2, 3], noise(24)), onnx_tensor("x", U8, [3], more=external("d"))],
        [constant(onnx_tensor("c", U8, [5], noise(5)))],
    )
    whole = opened(content)
    for size in range(len(content)):
        try:
            assert opened(content[:size]).tensors in ((), whole.tensors)
        except Malformed:
            continue


def test_a_reader_that_gives_less_than_the_file_has_is_noticed() -> None:
    content = onnx_file([onnx_tensor("w", F32, [2, 3], noise(24))])
    with pytest.raises(Malformed, match="the file ends at byte 20"):
        onnx.read_tensors(lambda start, stop: content[start : min(stop, 20)], len(content))


def test_weights_are_stepped_over_unread() -> None:
    big = 1 << 40
    head = number(1, 8) + varint(7 << 3 | 2)
    tensor = number(1, big) + number(2, U8) + span(8, "w") + varint(9 << 3 | 2) + varint(big)
    size = len(tensor) + big
    graph_size = 1 + len(varint(size)) + size
    content = head + varint(graph_size) + varint(5 << 3 | 2) + varint(size) + tensor
    read_bytes = 0

    def read(start: int, stop: int) -> bytes:
        nonlocal read_bytes
        read_bytes += min(stop, len(content)) - start
        return content[start:stop] + bytes(max(0, stop - max(start, len(content))))

    found = onnx.read_tensors(read, len(content) + big)
    assert found.tensors == (Tensor("w", "U8", (big,), len(content), len(content) + big),)
    assert read_bytes <= 4_096


def test_ten_thousand_tensors_are_read_in_a_second_and_little_memory() -> None:
    content = onnx_file([onnx_tensor(f"layer.{n}.weight", F32, [5, 5], noise(100, n)) for n in range(10_000)])
    tracemalloc.start()
    opened(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20
    started = time.thread_time()
    assert len(opened(content).tensors) == 10_000
    assert time.thread_time() - started < 3, "a third of that where the machine is not shared"


@pytest.mark.parametrize("head", [b"\x08\x08\x12\x07pytorch", b"\x08\x07:\x80", b"\x08\x0aB\x02"])
def test_beginnings_of_models_are_known(head: bytes) -> None:
    assert onnx.looks_like_onnx(head)


@pytest.mark.parametrize(
    "head", [b"", b"\x08\x08", b"\x08\x00\x12", b"\x08\xff\x12", b"\x08\x08\x00", b"{}", b"PK\x03"]
)
def test_other_beginnings_are_not(head: bytes) -> None:
    assert not onnx.looks_like_onnx(head)
