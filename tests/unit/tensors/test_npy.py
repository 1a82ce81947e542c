"""npy headers: read without evaluating anything, refused where they lie."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from tensor_files import noise, npy_file, reader

from headwater.tensors import Malformed, Tensor, npy


def opened(content: bytes) -> npy.NpyFile:
    return npy.read_header(reader(content), len(content), "w")


def saved(array: np.ndarray, **options: bool) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def with_header(text: str, data: bytes = b"", version: int = 1) -> bytes:
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode("latin-1") + data


def refusal(content: bytes) -> str:
    with pytest.raises(Malformed) as caught:
        opened(content)
    return caught.value.text


@pytest.mark.parametrize(
    ("dtype", "name"),
    [("f2", "F16"), ("f4", "F32"), ("f8", "F64"), ("c8", "C64"), ("?", "BOOL"), ("i1", "I8"), ("u1", "U8"),
     ("i2", "I16"), ("i4", "I32"), ("i8", "I64"), ("u2", "U16"), ("u4", "U32"), ("u8", "U64")],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3, 4)])
def test_what_numpy_saves_is_read(dtype: str, name: str, shape: tuple[int, ...]) -> None:
    array = np.ones(shape, dtype)
    content = saved(array)
    start = len(content) - array.nbytes
    assert opened(content) == npy.NpyFile(Tensor("w", name, shape, start, len(content)), start)


def test_a_fortran_array_has_the_shape_of_its_bytes() -> None:
    tensor = opened(saved(np.asfortranarray(np.ones((2, 3, 4), "f4")))).tensor
    assert tensor is not None
    assert tensor.shape == (4, 3, 2)


@pytest.mark.parametrize(
    "array",
    [np.ones(3, ">f4"), np.ones(3, "c16"), np.array(["text"]), np.array([b"octets"]), np.zeros(2, "M8[ns]"),
     np.zeros(2, [("a", "f4"), ("b", "i4", (2,))]), np.array([{}, []], dtype=object), np.zeros(2, "V2")],
    ids=range(8),
)  # fmt: skip
def test_arrays_without_a_type_of_ours_are_no_tensors(array: np.ndarray) -> None:
    assert opened(saved(array)).tensor is None


@pytest.mark.parametrize("version", [1, 2, 3])
def test_all_versions_of_the_header_are_read(version: int) -> None:
    content = with_header("{'shape': (3L,), 'descr': '<f4' , 'fortran_order':False}\n", noise(12), version)
    tensor = opened(content).tensor
    assert tensor is not None
    assert tensor.shape == (3,)


def test_what_follows_the_array_belongs_to_nobody() -> None:
    content = npy_file("'<f4'", (2,), noise(8))
    assert opened(content + b"more").tensor == opened(content).tensor


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "must begin with"),
        (b"\x93NUMPY\x01", "must begin with"),
        (b"\x93NUMPX\x01\x00" + bytes(20), "must begin with"),
        (b"\x93NUMPY\x09\x00" + bytes(20), "version 9.0"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(20), "a header of 4294967295 bytes is over the limit"),
        (b"\x93NUMPY\x01\x00\xff\x00" + bytes(20), "a header of 255 bytes does not fit"),
        (with_header("__import__('os').system('touch canary')"), "must be a dictionary"),
        (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': __import__('os')}"), "not understood from"),
        (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)} or exit()}"), "not understood from"),
        (with_header("{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': (3,)}"), "'descr' twice"),
        (with_header("{'descr': '<f4', 'shape': (3,)}"), "must name descr, fortran_order and shape"),
        (with_header("{}"), "must name descr"),
        (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", noise(11)), "needs 12 bytes"),
        (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)}", noise(12)), "needs 48 bytes"),
        (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 4)}"), "there are 0"),
        (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 5000 + ",)}"), "whole numbers"),
        (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 65 + ")}"), "65 dimensions"),
        (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1 1)}"), "whole numbers"),
        (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"), "not understood from"),
        (with_header("{'descr': '<f999999999', 'fortran_order': False, 'shape': (3,)}"), "needs 2999999997 bytes"),
    ],
    ids=range(20),
)
def test_headers_that_lie_or_do_something_are_refused(content: bytes, text: str) -> None:
    assert text in refusal(content)


def test_every_cut_is_refused() -> None:
    content = npy_file("'<f4'", (3, 2), noise(24))
    for size in range(len(content)):
        refusal(content[:size])
