"""safetensors: 8 bytes of length, a JSON header, then the tensors' bytes without gaps.

Refuses to know the tensors' values. Source: the format section of the safetensors README, and what its library
(0.8) enforces: at most 100 MB of header, offsets that cover the rest of the file exactly once.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from headwater.tensors import HEADER_BYTES_MAX, TENSORS_MAX, Malformed, Read, Tensor
from headwater.tensors.dtypes import SAFETENSORS_BITS, elements

LENGTH_BYTES = 8
# Non-ASCII text takes up to four bytes a character once decoded: a big header must be ASCII to fit into memory.
HEADER_BYTES_MAX_NOT_ASCII = 16_000_000
# Values in the JSON, counted before it is parsed, because each costs some 100 bytes. A tensor has about ten.
VALUES_MAX = 10 * TENSORS_MAX
DIMENSIONS_MAX = 64  # NumPy's own limit
INTEGER_DIGITS_MAX = 20  # 2**64 has 20; longer ones cost quadratic time
_METADATA = "__metadata__"


@dataclass(frozen=True, slots=True)
class SafetensorsFile:
    """What a header says. `tensors` are in the order of their bytes; `data_start` is where the first one begins.

    `parameters` counts elements by dtype, as the Hub's API shows them.
    """

    tensors: tuple[Tensor, ...]
    metadata: dict[str, str]
    parameters: dict[str, int]
    data_start: int

    @property
    def total(self) -> int:
        """How many parameters in all."""
        return sum(self.parameters.values())

    @property
    def header_json(self) -> dict[str, Any]:
        """The header in its own terms (offsets from `data_start`), made anew from what was checked."""
        header: dict[str, Any] = {_METADATA: self.metadata} if self.metadata else {}
        for tensor in self.tensors:
            header[tensor.name] = {
                "dtype": tensor.dtype,
                "shape": list(tensor.shape),
                "data_offsets": [tensor.start - self.data_start, tensor.stop - self.data_start],
            }
        return header


def read_header(read: Read, size: int) -> SafetensorsFile:
    """Read and check the header of a file of `size` bytes. Raises `Malformed`; reads nothing but the header."""
    if size < LENGTH_BYTES:
        raise Malformed(f"safetensors: the file has {size} bytes; its header length alone takes {LENGTH_BYTES}")
    (length,) = struct.unpack("<Q", _exactly(read, 0, LENGTH_BYTES))
    if length > HEADER_BYTES_MAX:
        raise Malformed(f"safetensors: header length {length} is over the limit of {HEADER_BYTES_MAX} bytes")
    data_start = LENGTH_BYTES + length
    if data_start > size:
        raise Malformed(f"safetensors: header length {length} does not fit into a file of {size} bytes")
    header = _parsed(_exactly(read, LENGTH_BYTES, data_start))
    metadata = _metadata(header.pop(_METADATA, {}))
    if len(header) > TENSORS_MAX:
        raise Malformed(f"safetensors: {len(header)} tensors are over the limit of {TENSORS_MAX}")
    tensors = sorted(
        (_tensor(name, entry, data_start) for name, entry in header.items()), key=lambda t: (t.start, t.stop)
    )
    _cover(tensors, data_start, size)
    return SafetensorsFile(tuple(tensors), metadata, _parameters(tensors), data_start)


def _exactly(read: Read, start: int, stop: int) -> bytes:
    piece = read(start, stop)
    if len(piece) != stop - start:
        raise Malformed(f"safetensors: the file ends at byte {start + len(piece)}, inside its header")
    return piece


def _parsed(raw: bytes) -> dict[str, Any]:
    if raw[:1] != b"{":
        raise Malformed(f"safetensors: the header must begin with '{{', not with {raw[:8]!r}")
    values = raw.count(b",") + raw.count(b"{") + raw.count(b"[")
    if values > VALUES_MAX:
        raise Malformed(f"safetensors: the header has about {values} values, over the limit of {VALUES_MAX}")
    if len(raw) > HEADER_BYTES_MAX_NOT_ASCII and not raw.isascii():
        raise Malformed(f"safetensors: a header over {HEADER_BYTES_MAX_NOT_ASCII} bytes must be ASCII")
    try:
        text = raw.decode()
        del raw  # up to 100 MB that the parser need not carry along
        parsed = json.loads(text, object_pairs_hook=_object, parse_int=_integer, parse_constant=_constant)
    except RecursionError:
        raise Malformed("safetensors: the header's JSON nests too deeply") from None
    except ValueError as error:  # also what is not UTF-8
        raise Malformed(f"safetensors: the header is not JSON: {error}") from None
    assert isinstance(parsed, dict), type(parsed)  # it begins with '{'
    return parsed


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object that names nothing twice: readers disagree on which of two entries counts."""
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Malformed(f"safetensors: the header names {twice[:200]!r} twice")
    return made


def _integer(digits: str) -> int:
    if len(digits) > INTEGER_DIGITS_MAX:
        raise Malformed(f"safetensors: the header has a number of {len(digits)} digits")
    return int(digits)


def _constant(name: str) -> float:
    raise Malformed(f"safetensors: the header has {name}, which is not JSON")


def _metadata(given: Any) -> dict[str, str]:
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise Malformed(f"safetensors: {_METADATA} must map text to text")
    for key, value in given.items():
        _encodable(key)
        _encodable(value)
    return given


def _encodable(text: str) -> None:
    """JSON can spell half of a surrogate pair, which no answer of ours could carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Malformed(f"safetensors: {text[:200]!a} is not valid Unicode") from None


def _tensor(name: str, entry: Any, data_start: int) -> Tensor:
    _encodable(name)
    where = f"safetensors: tensor {name[:200]!r}"
    if not isinstance(entry, dict):
        raise Malformed(f"{where} must be described by an object")
    dtype = entry.get("dtype")
    if not isinstance(dtype, str) or dtype not in SAFETENSORS_BITS:
        raise Malformed(f"{where}: unknown dtype {ascii(dtype)[:60]}")
    shape = _integers(entry.get("shape"), f"{where}: shape")
    offsets = _integers(entry.get("data_offsets"), f"{where}: data_offsets")
    if len(shape) > DIMENSIONS_MAX:
        raise Malformed(f"{where}: {len(shape)} dimensions are over the limit of {DIMENSIONS_MAX}")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise Malformed(f"{where}: data_offsets {list(offsets[:4])} must be [start, stop]")
    start, stop = offsets
    bits = elements(shape) * SAFETENSORS_BITS[dtype]
    if bits % 8:
        raise Malformed(f"{where}: {dtype} of shape {list(shape)} does not end at a byte")
    if bits // 8 != stop - start:
        raise Malformed(f"{where}: {dtype} of shape {list(shape)} needs {bits // 8} bytes, offsets give {stop - start}")
    return Tensor(name, dtype, shape, data_start + start, data_start + stop)


def _integers(given: Any, where: str) -> tuple[int, ...]:
    # `type() is`, because JSON's true is an int in Python.
    if not isinstance(given, list) or not all(type(value) is int and value >= 0 for value in given):
        raise Malformed(f"{where} must be a list of whole numbers")
    return tuple(given)


def _cover(tensors: Iterable[Tensor], data_start: int, size: int) -> None:
    """Every byte after the header belongs to exactly one tensor: what nobody describes could hold anything."""
    reached = data_start
    for tensor in tensors:
        if tensor.stop > size:
            raise Malformed(f"safetensors: tensor {tensor.name[:200]!r} ends beyond the file ({tensor.stop} > {size})")
        if tensor.start != reached:
            fault = "overlaps the one before it" if tensor.start < reached else "leaves a gap before it"
            raise Malformed(f"safetensors: tensor {tensor.name[:200]!r} {fault} (at byte {tensor.start})")
        reached = tensor.stop
    if reached != size:
        raise Malformed(f"safetensors: {size - reached} bytes after the last tensor belong to none")


def _parameters(tensors: Iterable[Tensor]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for tensor in tensors:
        counts[tensor.dtype] = counts.get(tensor.dtype, 0) + elements(tensor.shape)
    return counts
