"""NumPy's .npy: magic, version, a Python dictionary as text, then the array's bytes. npz is a zip of them.

The dictionary is matched by hand: nothing is evaluated, and an array of Python objects is bytes, never unpickled.
Refuses to know the array's values. Source: NumPy's format specification (NEP 1), versions 1.0, 2.0 and 3.0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from headwater.tensors import Malformed, Read, Tensor
from headwater.tensors.dtypes import elements
from headwater.tensors.reading import exactly

MAGIC = b"\x93NUMPY"
HEADER_BYTES_MAX = 1 << 16  # NumPy itself refuses over 10,000 characters
DIMENSIONS_MAX = 64  # NumPy's own limit
_DIGITS_MAX = 19  # 2**63 has as many; longer ones cost quadratic time

_DTYPES = {
    "<f2": "F16", "<f4": "F32", "<f8": "F64", "<c8": "C64",
    "|b1": "BOOL", "|i1": "I8", "|u1": "U8",
    "<i2": "I16", "<i4": "I32", "<i8": "I64", "<u2": "U16", "<u4": "U32", "<u8": "U64",
}  # fmt: skip
_DESCR = re.compile(r"[<>|=]([biufcmMSUV])([0-9]{1,9})(?:\[[^\]]{1,16}\])?")
_ITEM = re.compile(
    r"""\s*'(?:(descr)'\s*:\s*'([^'\\]{1,64})'|(fortran_order)'\s*:\s*(True|False)|(shape)'\s*:\s*\(([0-9L, ]*)\))\s*"""
)


@dataclass(frozen=True, slots=True)
class NpyFile:
    """`tensor` has the shape of its bytes in row-major order (a Fortran array's is reversed), or is None.

    None stands for what has no element type of ours: objects, records, text, big-endian numbers.
    """

    tensor: Tensor | None
    data_start: int


def read_header(read: Read, size: int, name: str = "") -> NpyFile:
    """Read and check the header of a file of `size` bytes; `name` becomes the tensor's. Raises `Malformed`."""
    head = exactly(read, 0, min(size, 12), "npy")
    if not head.startswith(MAGIC) or len(head) < 12:
        raise Malformed(f"npy: the file must begin with {MAGIC!r} and a version, not with {head!r}")
    if head[6] not in (1, 2, 3):
        raise Malformed(f"npy: version {head[6]}.{head[7]} is not read here (1 to 3 are)")
    start = 10 if head[6] == 1 else 12
    length = int.from_bytes(head[8:start], "little")
    if length > HEADER_BYTES_MAX:
        raise Malformed(f"npy: a header of {length} bytes is over the limit of {HEADER_BYTES_MAX}")
    if start + length > size:
        raise Malformed(f"npy: a header of {length} bytes does not fit into a file of {size} bytes")
    header = exactly(read, start, start + length, "npy").decode("latin-1").strip()
    return NpyFile(_tensor(header, start + length, size, name), start + length)


def _tensor(header: str, data_start: int, size: int, name: str) -> Tensor | None:
    items = _items(header)
    if items is None:
        return None
    descr, shape = items["descr"], _shape(items["shape"])
    kind = _DESCR.fullmatch(descr)
    if kind is None:
        return None
    item_bytes = int(kind[2]) * (4 if kind[1] == "U" else 1)
    size_bytes = elements(shape) * item_bytes
    if data_start + size_bytes > size:
        raise Malformed(
            f"npy: {descr!r} of shape {list(shape)} needs {size_bytes} bytes, there are {size - data_start}"
        )
    if descr not in _DTYPES:
        return None
    if items["fortran_order"] == "True":
        shape = shape[::-1]
    return Tensor(name, _DTYPES[descr], shape, data_start, data_start + size_bytes)


def _items(header: str) -> dict[str, str] | None:
    """The three entries; None where the type is a record or an object, which this does not read further."""
    if not header.startswith("{") or not header.endswith("}"):
        raise Malformed(f"npy: the header must be a dictionary, not {header[:80]!r}")
    items: dict[str, str] = {}
    at = 1
    while match := _ITEM.match(header, at):
        key = match[1] or match[3] or match[5]
        if key in items:
            raise Malformed(f"npy: the header names {key!r} twice")
        items[key] = (match[2] or match[4] or match[6] or "").strip()
        at = match.end()
        if header[at] != ",":
            break
        at += 1
    if header[at:].strip() != "}":
        if "descr" not in items:
            return None
        raise Malformed(f"npy: the header is not understood from {header[at : at + 80]!r} on")
    if len(items) != 3:
        raise Malformed(f"npy: the header must name descr, fortran_order and shape, not {sorted(items)}")
    return items


def _shape(text: str) -> tuple[int, ...]:
    # Python 2 wrote 3L.
    parts = [part.strip().removesuffix("L") for part in text.removesuffix(",").split(",")] if text else []
    if len(parts) > DIMENSIONS_MAX:
        raise Malformed(f"npy: {len(parts)} dimensions are over the limit of {DIMENSIONS_MAX}")
    if not all(part.isdecimal() and len(part) <= _DIGITS_MAX for part in parts):
        raise Malformed(f"npy: shape ({text[:80]}) must be whole numbers")
    return tuple(int(part) for part in parts)
