"""Whatever a file is made of and however it was damaged: its segments cover it exactly, and nothing but refusals come."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit/tensors"))  # importlib mode leaves it out

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

from headwater.codec.layout import layout_of
from headwater.tensors.dtypes import GGML_TYPES, SAFETENSORS_BITS
from headwater.tensors.segments import TENSOR_BYTES_MIN, Sibling, examine

BIG = noise(3000)
GRAPH = onnx_file([onnx_tensor("w", 2, [3000], more=external("data", offset=7, length=3000))])
SAFE = safetensors_file({"a": ("U8", [3000], BIG), "b": ("F32", [2], bytes(8))})
PLAIN = [
    SAFE,
    gguf_file({"a": (2, [32, 70], noise(70 * 18)), "b": (0, [300], noise(1200))}),
    npy_file("'|u1'", (3000,), BIG),
    onnx_file([onnx_tensor("a", 2, [3000], BIG), onnx_tensor("b", 1, [300], more=external("data", offset=0))]),
    torch_file({"a": floats(30, 30), "b": {"c": [floats(500, kind="HalfStorage", width=2)]}}),
    torch_file([floats(300)], protocol=5),
    old_torch_file({"a": floats(30, 30), "b": [floats(500, kind="HalfStorage", width=2)]}),
    zip_file([("a.npy", npy_file("'<f4'", (750,), BIG)), ("b", BIG)]),
    zip_file([("a", SAFE)], zipfile.ZIP_DEFLATED),
    tar_file([("a" * 200, SAFE), ("b", noise(70_000))]),
    bytes(7) + BIG,
    b"",
]
NAMES = st.sampled_from(
    ["model.safetensors", "model.gguf", "model.onnx", "data", "x.npz", "x.npy", "x.pth", "x.tar", ""]
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good file, perhaps in an archive, then cut, overwritten, with parts doubled, dropped or out of another file."""
    content = bytearray(draw(st.sampled_from(PLAIN)))
    if draw(st.booleans()):
        wrap = draw(st.sampled_from([zip_file, tar_file]))
        content = bytearray(wrap([("inner", bytes(content)), ("other", draw(st.sampled_from(PLAIN)))]))
    for _ in range(draw(st.integers(0, 4))):
        # Headers are at the beginning, directories at the end: most damage is done there.
        at = draw(
            st.one_of(st.integers(0, 400), st.integers(0, len(content)), st.integers(len(content) - 400, len(content)))
        )
        at = min(max(at, 0), len(content))
        match draw(st.integers(0, 4)):
            case 0:
                content[at : at + 8] = draw(st.binary(max_size=8))
            case 1:
                content[at : at + 1] = bytes([draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))])
            case 2:
                content[at : at + 8] = b"\xff" * draw(st.integers(1, 8))
            case 3:
                del content[at : at + draw(st.integers(1, 64))]
            case _:
                other = draw(st.sampled_from(PLAIN))
                content[at:at] = other[: draw(st.integers(0, 64))]
    return bytes(content[: draw(st.integers(0, len(content)))]) if draw(st.booleans()) else bytes(content)


@settings(max_examples=600)
@given(NAMES, damaged())
@example("data", bytes(7) + BIG)
def test_segments_cover_any_file_exactly(name: str, content: bytes) -> None:
    found = examine(name, len(content), reader(content), [Sibling("model.onnx", len(GRAPH), reader(GRAPH))])
    assert covers(found.segments, len(content))
    for segment in tensors_of(found.segments):
        assert segment.stop - segment.start >= TENSOR_BYTES_MIN
        assert segment.dtype == "BYTES" or segment.dtype in SAFETENSORS_BITS or segment.dtype in GGML
        # what the codec is told fits the bytes: as many whole units as the shape has elements
        layout, count = layout_of(segment.dtype), 1
        for dimension in segment.shape:
            count *= dimension
        assert count * layout.unit_bytes == (segment.stop - segment.start) * layout.unit_elements


GGML = {kind.name for kind in GGML_TYPES.values()}


@settings(max_examples=150)
@given(NAMES, st.binary(max_size=2_000))
def test_segments_cover_any_bytes_exactly(name: str, content: bytes) -> None:
    assert covers(examine(name, len(content), reader(content)).segments, len(content))


@settings(max_examples=150)
@given(NAMES, damaged(), st.integers(0, 5_000), st.integers(0, 1 << 70))
def test_a_reader_that_gives_less_than_it_should_is_survived(
    name: str, content: bytes, given_bytes: int, size: int
) -> None:
    short = content[:given_bytes]
    found = examine(name, max(size, len(content)), reader(short))
    assert covers(found.segments, max(size, len(content)))


@settings(max_examples=200)
@given(st.sampled_from(sorted(SAFETENSORS_BITS.keys() | GGML | {"BYTES"})), st.data())
def test_planes_join_to_the_same_bytes(dtype: str, data: st.DataObject) -> None:
    layout = layout_of(dtype)
    units = data.draw(st.integers(0, 5))
    raw = data.draw(st.binary(min_size=units * layout.unit_bytes, max_size=units * layout.unit_bytes))
    assert raw == layout.join(layout.split(raw))
