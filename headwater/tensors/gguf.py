"""GGUF: magic, version, key-value metadata, tensor table, then the tensors' bytes at aligned offsets.

Refuses to know the tensors' values and what the metadata mean, but for architecture and context length, which the
Hub's API shows. Source: `docs/gguf.md` of the ggml project; versions 2 and 3, either byte order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from headwater.tensors import HEADER_BYTES_MAX, TENSORS_MAX, Malformed, Read, Tensor
from headwater.tensors.dtypes import GGML_TYPES, elements

MAGIC = b"GGUF"
VERSIONS = (2, 3)
STEP_BYTES = 1 << 20  # read at once; a step is all of the file that is in memory
KEYS_MAX = 65_536  # real files have 20 to 60
KEY_BYTES_MAX = 65_535  # the specification's bound
NAME_BYTES_MAX = 1_024  # the specification says 64, some writers exceed it
DIMENSIONS_MAX = 4  # GGML_MAX_DIMS
ARRAY_DEPTH_MAX = 4  # the specification allows nesting, no known file nests at all
ARRAY_KEPT_MAX = 64  # longer arrays are token lists: only their length is of use to a reader of pages
TEXT_KEPT_BYTES_MAX = 1 << 18  # the longest chat template seen has 30 KB
KEPT_BYTES_MAX = 1 << 24  # all keys together, and all kept values together
VALUE_BYTES = 64  # what a small Python object and its place in a list take
ARRAYS_MAX = KEYS_MAX  # each costs a microsecond and at least 12 bytes, which would allow eight million
ALIGNMENT_DEFAULT = 32
ALIGNMENT_MAX = 1 << 20
# The fewest bytes an entry can take: a count that the file has no room for is refused before the first entry.
_KEY_BYTES_MIN = 8 + 4 + 1
_TENSOR_BYTES_MIN = 8 + 4 + 4 + 8

_SCALARS: dict[int, tuple[str, str]] = {
    0: ("UINT8", "B"),
    1: ("INT8", "b"),
    2: ("UINT16", "H"),
    3: ("INT16", "h"),
    4: ("UINT32", "I"),
    5: ("INT32", "i"),
    6: ("FLOAT32", "f"),
    7: ("BOOL", "?"),
    10: ("UINT64", "Q"),
    11: ("INT64", "q"),
    12: ("FLOAT64", "d"),
}
_STRING = 8
_ARRAY = 9
_TYPE_NAMES = {number: name for number, (name, _) in _SCALARS.items()} | {_STRING: "STRING", _ARRAY: "ARRAY"}


@dataclass(frozen=True, slots=True)
class Omitted:
    """Stands in the metadata for a value too long to keep: `count` elements of an array, or bytes of a STRING."""

    type: str
    count: int


@dataclass(frozen=True, slots=True)
class GgufFile:
    """What a header says. `tensors` are in the order of the table; their dtype is GGML's name (`Q4_K`).

    `metadata` values are int, float, bool, str, list of these, or `Omitted`; floats may be infinite or NaN.
    """

    version: int
    metadata: dict[str, Any]
    tensors: tuple[Tensor, ...]
    parameters: dict[str, int]
    data_start: int

    @property
    def total(self) -> int:
        """How many parameters in all."""
        return sum(self.parameters.values())

    @property
    def architecture(self) -> str | None:
        value = self.metadata.get("general.architecture")
        return value if isinstance(value, str) else None

    @property
    def context_length(self) -> int | None:
        """Tokens, as `<architecture>.context_length` says."""
        value = self.metadata.get(f"{self.architecture}.context_length")
        return value if type(value) is int else None


def read_header(read: Read, size: int) -> GgufFile:
    """Read and check the header of a file of `size` bytes. Raises `Malformed`; reads in steps, nothing but the header.

    Long arrays of numbers are stepped over unread; long strings and arrays appear as `Omitted`.
    """
    cursor = _Cursor(read, size)
    version = _version(cursor)
    tensor_count, key_count = cursor.unpack("QQ")
    _fits("tensors", tensor_count, TENSORS_MAX, _TENSOR_BYTES_MIN, cursor.left)
    _fits("metadata keys", key_count, KEYS_MAX, _KEY_BYTES_MIN, cursor.left)
    metadata = _metadata(cursor, key_count)
    alignment = _alignment(metadata)
    entries = [_entry(cursor) for _ in range(tensor_count)]
    data_start = -(-cursor.position // alignment) * alignment
    tensors = _placed(entries, data_start, alignment, size)
    parameters: dict[str, int] = {}
    for tensor in tensors:
        parameters[tensor.dtype] = parameters.get(tensor.dtype, 0) + elements(tensor.shape)
    return GgufFile(version, metadata, tensors, parameters, data_start)


class _Cursor:
    """A position in the header, with one step of bytes after it; every move is checked against the bounds."""

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self._stop = min(size, HEADER_BYTES_MAX)
        self._size = size
        self._step = b""
        self._step_start = 0
        self._at = 0
        self.order = "<"
        self._kept_bytes = 0
        self.arrays = 0

    @property
    def position(self) -> int:
        return self._step_start + self._at

    @property
    def left(self) -> int:
        return self._stop - self.position

    def take(self, count: int) -> bytes:
        """The next `count` bytes; callers have bounded `count`."""
        self._need(count)
        if len(self._step) - self._at < count:
            start = self.position
            self._step = self._read(start, min(start + max(count, STEP_BYTES), self._stop))
            self._step_start, self._at = start, 0
            if len(self._step) < count:
                raise Malformed(f"gguf: the file ends at byte {start + len(self._step)}, inside its header")
        piece = self._step[self._at : self._at + count]
        self._at += count
        return piece

    def skip(self, count: int) -> None:
        self._need(count)
        if count <= len(self._step) - self._at:
            self._at += count
        else:
            self._step_start, self._step, self._at = self.position + count, b"", 0

    def unpack(self, form: str) -> tuple[Any, ...]:
        form = self.order + form
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def skip_strings(self, count: int) -> None:
        """Step over `count` strings: token lists have hundreds of thousands, so the loop works on the bytes itself."""
        unpack_from = struct.Struct(self.order + "Q").unpack_from
        while count:
            if len(self._step) - self._at < 8:
                self.take(8)
                self._at -= 8
            step, at = self._step, self._at
            end = len(step) - 8
            while count and at <= end:
                at += 8 + unpack_from(step, at)[0]
                count -= 1
            self._at = 0
            self.skip(at)

    def keep(self, count: int) -> bool:
        """Whether `count` more bytes of metadata may stay in memory; if so, they are charged."""
        if self._kept_bytes + count > KEPT_BYTES_MAX:
            return False
        self._kept_bytes += count
        return True

    def _need(self, count: int) -> None:
        if count > self.left:
            bound = "the file ends" if self._stop == self._size else "the limit of a header is"
            raise Malformed(f"gguf: {count} bytes are needed at byte {self.position}, but {bound} at {self._stop}")


def _version(cursor: _Cursor) -> int:
    magic = cursor.take(4)
    if magic != MAGIC:
        raise Malformed(f"gguf: the file must begin with {MAGIC!r}, not with {magic!r}")
    (version,) = cursor.unpack("I")
    if version & 0xFFFF == 0 and version:  # no version will reach 65,536: the file is big-endian
        cursor.order = ">"
        version = int.from_bytes(version.to_bytes(4, "little"), "big")
    if version not in VERSIONS:
        raise Malformed(f"gguf: version {version} is not read here (2 and 3 are); convert it with llama.cpp's tools")
    return int(version)


def _fits(what: str, count: int, count_max: int, entry_bytes: int, left_bytes: int) -> None:
    if count > count_max:
        raise Malformed(f"gguf: {count} {what} are over the limit of {count_max}")
    if count * entry_bytes > left_bytes:
        raise Malformed(f"gguf: {count} {what} do not fit into the {left_bytes} bytes that are left")


def _text(cursor: _Cursor, bytes_max: int, what: str) -> str:
    (length,) = cursor.unpack("Q")
    if length > bytes_max:
        raise Malformed(f"gguf: a {what} of {length} bytes is over the limit of {bytes_max}")
    raw = cursor.take(length)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Malformed(f"gguf: the {what} {raw[:80]!r} is not UTF-8") from None


def _metadata(cursor: _Cursor, count: int) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    keys_bytes = 0
    for _ in range(count):
        key = _text(cursor, KEY_BYTES_MAX, "metadata key")
        if key in metadata:
            raise Malformed(f"gguf: the metadata key {key[:200]!r} is there twice")
        keys_bytes += len(key)
        if keys_bytes > KEPT_BYTES_MAX:
            raise Malformed(f"gguf: the metadata keys take over {KEPT_BYTES_MAX} bytes")
        (kind,) = cursor.unpack("I")
        metadata[key] = _value(cursor, kind, 0)
    return metadata


def _value(cursor: _Cursor, kind: int, depth: int) -> Any:
    if kind in _SCALARS:
        (value,) = cursor.unpack(_SCALARS[kind][1])
        return value
    if kind == _STRING:
        return _string(cursor)
    if kind == _ARRAY:
        if depth >= ARRAY_DEPTH_MAX:
            raise Malformed(f"gguf: arrays nest deeper than {ARRAY_DEPTH_MAX}")
        return _array(cursor, depth)
    raise Malformed(f"gguf: metadata type {kind} does not exist")


def _string(cursor: _Cursor) -> str | Omitted:
    (length,) = cursor.unpack("Q")
    if length > TEXT_KEPT_BYTES_MAX or not cursor.keep(VALUE_BYTES + length):
        cursor.skip(length)
        return Omitted("STRING", length)
    # Values are for people to read, and tokens are often not whole characters.
    return cursor.take(length).decode(errors="replace")


def _array(cursor: _Cursor, depth: int) -> list[Any] | Omitted:
    kind, count = cursor.unpack("IQ")
    if kind not in _TYPE_NAMES:
        raise Malformed(f"gguf: metadata type {kind} does not exist")
    cursor.arrays += 1
    if cursor.arrays > ARRAYS_MAX:
        raise Malformed(f"gguf: the metadata have over {ARRAYS_MAX} arrays")
    if kind == _ARRAY:
        kept = [_value(cursor, kind, depth + 1) for _ in range(min(count, ARRAYS_MAX + 1))]
        return kept if count <= ARRAY_KEPT_MAX else Omitted("ARRAY", count)
    if count <= ARRAY_KEPT_MAX and cursor.keep(VALUE_BYTES * count):
        return [_value(cursor, kind, depth + 1) for _ in range(count)]
    if kind == _STRING:
        cursor.skip_strings(count)
    else:
        cursor.skip(count * struct.calcsize("<" + _SCALARS[kind][1]))
    return Omitted(_TYPE_NAMES[kind], count)


def _alignment(metadata: dict[str, Any]) -> int:
    alignment = metadata.get("general.alignment", ALIGNMENT_DEFAULT)
    if type(alignment) is not int or not 0 < alignment <= ALIGNMENT_MAX or alignment & (alignment - 1):
        raise Malformed(f"gguf: general.alignment {str(alignment)[:40]} must be a power of two up to {ALIGNMENT_MAX}")
    return alignment


def _entry(cursor: _Cursor) -> Tensor:
    """One line of the tensor table; `start` and `stop` are still counted from where the data will begin."""
    name = _text(cursor, NAME_BYTES_MAX, "tensor name")
    where = f"gguf: tensor {name[:200]!r}"
    (dimension_count,) = cursor.unpack("I")
    if dimension_count > DIMENSIONS_MAX:
        raise Malformed(f"{where}: {dimension_count} dimensions are over the limit of {DIMENSIONS_MAX}")
    stored = cursor.unpack(f"{dimension_count}Q")
    kind, offset = cursor.unpack("IQ")
    layout = GGML_TYPES.get(kind)
    if layout is None:
        raise Malformed(f"{where}: tensor type {kind} is not known to this version")
    row = stored[0] if stored else 1
    if row % layout.block_elements:
        raise Malformed(f"{where}: a row of {row} is not whole blocks of {layout.block_elements} ({layout.name})")
    shape = tuple(int(dimension) for dimension in reversed(stored))
    size_bytes = elements(shape) // layout.block_elements * layout.block_bytes
    return Tensor(name, layout.name, shape, offset, offset + size_bytes)


def _placed(entries: list[Tensor], data_start: int, alignment: int, size: int) -> tuple[Tensor, ...]:
    """The entries with offsets from the file's beginning, checked to lie aligned, apart and inside the file."""
    names: set[str] = set()
    placed = []
    for entry in entries:
        where = f"gguf: tensor {entry.name[:200]!r}"
        if entry.name in names:
            raise Malformed(f"{where} is there twice")
        names.add(entry.name)
        if entry.start % alignment:
            raise Malformed(f"{where}: offset {entry.start} is not a multiple of the alignment {alignment}")
        if data_start + entry.stop > size:
            raise Malformed(f"{where} ends beyond the file ({data_start + entry.stop} > {size})")
        placed.append(Tensor(entry.name, entry.dtype, entry.shape, data_start + entry.start, data_start + entry.stop))
    _apart(placed)
    return tuple(placed)


def _apart(tensors: Iterable[Tensor]) -> None:
    reached = 0
    for tensor in sorted(tensors, key=lambda t: (t.start, t.stop)):
        if tensor.start < reached:
            raise Malformed(f"gguf: tensor {tensor.name[:200]!r} overlaps another (at byte {tensor.start})")
        reached = max(reached, tensor.stop)
