"""ONNX: where the weights lie in a protobuf message, found by walking its wire format and stepping over the rest.

Initializers, constants of nodes and of the graphs in them, and weights kept in files beside the model. Refuses to know
the graph's meaning and the weights' values. Sources: `onnx.proto` of ONNX 1.19 for the numbers of fields and types; the
protobuf encoding guide for the wire format.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from headwater.tensors import TENSORS_MAX, Malformed, Read, Tensor
from headwater.tensors.dtypes import SAFETENSORS_BITS, elements
from headwater.tensors.reading import Steps

FIELDS_MAX = 1_000_000  # large exported graphs have some 50,000 nodes of ten fields; one to two seconds
DEPTH_MAX = 64  # of messages in messages: a branch in a branch takes four
NAME_BYTES_MAX = 1_024
VALUE_BYTES_MAX = 4_096  # of an external file's location
DIMENSIONS_MAX = 64
KEPT_BYTES_MAX = 1 << 25  # of all names and shapes together, as they are in memory
BYTES = "BYTES"

_DTYPES = {
    1: "F32", 2: "U8", 3: "I8", 4: "U16", 5: "I16", 6: "I32", 7: "I64", 9: "BOOL", 10: "F16", 11: "F64", 12: "U32",
    13: "U64", 14: "C64", 16: "BF16", 17: "F8_E4M3", 18: "F8_E4M3FNUZ", 19: "F8_E5M2", 20: "F8_E5M2FNUZ",
    24: "F8_E8M0",
}  # fmt: skip
# Types that exist and that we have no name for, by their bits: complex128, and four bits packed two to a byte.
_OTHER_BITS = {15: 128, 21: 4, 22: 4, 23: 4}

_VARINT, _EIGHT, _SPAN, _FOUR = 0, 1, 2, 5

# Which fields of which messages may hold tensors further down.
_TENSOR = "TensorProto"
_INSIDE: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "GraphProto": {1: "NodeProto", 5: _TENSOR, 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: _TENSOR, 6: "GraphProto", 10: _TENSOR, 11: "GraphProto", 22: "SparseTensorProto", 23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: _TENSOR, 2: _TENSOR},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """`tensors` lie in the file itself, in the order of their bytes.

    `external` has, by location (a path beside the model), tensors whose offsets count from that file's beginning; the
    file's size is not known here, so a `stop` may lie beyond its end.
    """

    tensors: tuple[Tensor, ...]
    external: dict[str, tuple[Tensor, ...]]


def looks_like_onnx(head: bytes) -> bool:
    """Whether a file begins as a ModelProto does: the format's version (field 1), then another of its fields."""
    return len(head) > 2 and head[0] == 0x08 and 0 < head[1] <= 32 and head[2] in b"\x12\x1a\x22\x28\x32\x3a\x42\x72"


def read_tensors(read: Read, size: int) -> OnnxFile:
    """Walk a model of `size` bytes. Raises `Malformed`; weights are stepped over unread."""
    return _Walk(read, size).walk()


@dataclass(slots=True)
class _Found:
    """A TensorProto so far. `data` is [start, stop) and the dtype that it was written in."""

    dims: list[int] = field(default_factory=list)
    kind: int = 0
    name: str = ""
    data: tuple[int, int, int] | None = None
    external: dict[str, str] = field(default_factory=dict)


class _Walk:
    def __init__(self, read: Read, size: int) -> None:
        self._steps = Steps(read, size, "onnx")
        self._size = size
        self._fields = 0
        self._tensors: list[Tensor] = []
        self._external: dict[str, list[Tensor]] = {}
        self._external_count = 0
        self._kept_bytes = 0

    def walk(self) -> OnnxFile:
        open_messages = [("ModelProto", self._size)]
        steps = self._steps
        while open_messages:
            kind, stop = open_messages[-1]
            if steps.position == stop:
                open_messages.pop()
                continue
            number, wire = self._tag()
            inner = _INSIDE[kind].get(number)
            if inner is None or wire != _SPAN:
                self._skip(wire, stop)
                continue
            inner_stop = self._span(stop)
            if inner == _TENSOR:
                self._keep(self._tensor(inner_stop))
            elif len(open_messages) >= DEPTH_MAX:
                raise Malformed(f"onnx: messages nest deeper than {DEPTH_MAX} (at byte {steps.position})")
            else:
                open_messages.append((inner, inner_stop))
        external = {location: tuple(tensors) for location, tensors in self._external.items()}
        return OnnxFile(tuple(self._tensors), external)

    def _tag(self) -> tuple[int, int]:
        self._fields += 1
        if self._fields > FIELDS_MAX:
            raise Malformed(f"onnx: over {FIELDS_MAX} fields")
        tag = self._steps.varint()
        if tag < 8:
            raise Malformed(f"onnx: field number 0 before byte {self._steps.position}")
        return tag >> 3, tag & 7

    def _span(self, stop: int) -> int:
        """Where a field of so many bytes ends, which must be within the message that it is in."""
        length = self._steps.varint()
        if self._steps.position + length > stop:
            raise Malformed(f"onnx: a field of {length} bytes at byte {self._steps.position} ends beyond {stop}")
        return self._steps.position + length

    def _skip(self, wire: int, stop: int) -> None:
        steps = self._steps
        if wire == _SPAN:
            steps.position = self._span(stop)
        elif wire == _VARINT:
            steps.varint()
        elif wire in {_EIGHT, _FOUR}:
            steps.position += 8 if wire == _EIGHT else 4
        else:
            raise Malformed(f"onnx: wire type {wire} before byte {steps.position} does not exist in proto3")
        if steps.position > stop:
            raise Malformed(f"onnx: the field before byte {steps.position} ends beyond its message at {stop}")

    def _tensor(self, stop: int) -> _Found:
        steps, found = self._steps, _Found()
        while steps.position < stop:
            number, wire = self._tag()
            if number == 1 and wire == _VARINT:
                self._dimension(found)
            elif number == 2 and wire == _VARINT:
                found.kind = steps.varint()
            elif wire != _SPAN or number not in {1, 4, 8, 9, 10, 13}:
                self._skip(wire, stop)
            else:
                self._tensor_span(found, number, self._span(stop))
        if steps.position != stop:
            raise Malformed(f"onnx: the tensor {found.name!r} ends inside a field (at byte {stop})")
        return found

    def _tensor_span(self, found: _Found, number: int, stop: int) -> None:
        steps = self._steps
        if number == 1:
            while steps.position < stop:
                self._dimension(found)
        elif number == 8:
            found.name = self._text(stop, NAME_BYTES_MAX)
        elif number == 13:
            key, value = self._entry(stop)
            found.external[key] = value
            if len(found.external) > 16:
                raise Malformed(f"onnx: tensor {found.name!r} says over 16 things of its external file")
        else:
            # raw_data, and the two packed fields that hold the same bytes as it would
            found.data = (steps.position, stop, {4: 1, 9: 0, 10: 11}[number])
            steps.position = stop
        if steps.position != stop:
            raise Malformed(f"onnx: a field of tensor {found.name!r} does not end at byte {stop}")

    def _dimension(self, found: _Found) -> None:
        found.dims.append(self._steps.varint())
        if len(found.dims) > DIMENSIONS_MAX:
            raise Malformed(f"onnx: a tensor has over {DIMENSIONS_MAX} dimensions (at byte {self._steps.position})")

    def _text(self, stop: int, bytes_max: int) -> str:
        length = stop - self._steps.position
        if length > bytes_max:
            raise Malformed(f"onnx: a text of {length} bytes at byte {self._steps.position} is over {bytes_max}")
        return self._steps.take(length).decode(errors="replace")

    def _entry(self, stop: int) -> tuple[str, str]:
        """A StringStringEntryProto."""
        texts = {1: "", 2: ""}
        while self._steps.position < stop:
            number, wire = self._tag()
            if wire == _SPAN and number in texts:
                texts[number] = self._text(self._span(stop), VALUE_BYTES_MAX)
            else:
                self._skip(wire, stop)
        return texts[1], texts[2]

    def _keep(self, found: _Found) -> None:
        self._kept_bytes += len(found.name) + 36 * len(found.dims)
        if self._kept_bytes > KEPT_BYTES_MAX:
            raise Malformed(f"onnx: the tensors' names and shapes take over {KEPT_BYTES_MAX} bytes")
        if found.external:
            tensor, location = _outside(found)
            self._external.setdefault(location, []).append(tensor)
            self._external_count += 1
        elif found.data is not None and found.data[0] < found.data[1]:
            start, stop, written = found.data
            self._tensors.append(_typed(found, start, stop, written or found.kind))
        if len(self._tensors) + self._external_count > TENSORS_MAX:
            raise Malformed(f"onnx: over {TENSORS_MAX} tensors")


def _bits(kind: int, where: str) -> int:
    bits = SAFETENSORS_BITS[_DTYPES[kind]] if kind in _DTYPES else _OTHER_BITS.get(kind)
    if bits is None:
        raise Malformed(f"{where}: type {kind} has no raw data")
    return bits


def _typed(found: _Found, start: int, stop: int, kind: int) -> Tensor:
    where = f"onnx: tensor {found.name[:200]!r}"
    shape = tuple(found.dims)
    size_bytes = -(-elements(shape) * _bits(kind, where) // 8)
    if size_bytes != stop - start:
        dtype = _DTYPES.get(kind, f"type {kind}")
        raise Malformed(f"{where}: {dtype} of shape {list(shape)} needs {size_bytes} bytes, there are {stop - start}")
    if kind not in _DTYPES:
        return Tensor(found.name, BYTES, (stop - start,), start, stop)
    return Tensor(found.name, _DTYPES[kind], shape, start, stop)


def _outside(found: _Found) -> tuple[Tensor, str]:
    where = f"onnx: tensor {found.name[:200]!r}"
    location = found.external.get("location", "")
    if not location or location.startswith("/") or "\\" in location or ".." in location.split("/"):
        raise Malformed(f"{where}: external location {location[:200]!r} must be a path beside the model")
    start = _whole(found.external.get("offset", "0"), where)
    length = -(-elements(tuple(found.dims)) * _bits(found.kind, where) // 8)
    stop = start + (_whole(found.external["length"], where) if "length" in found.external else length)
    return _typed(found, start, stop, found.kind), location.removeprefix("./")


def _whole(text: str, where: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 19:
        raise Malformed(f"{where}: {text[:40]!r} must be a whole number")
    return int(text)
