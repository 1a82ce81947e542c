"""Small files of every format, made by hand as their own writers make them; torch and onnx are not needed."""

from __future__ import annotations

import io
import json
import pickle
import struct
import sys
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from headwater.tensors import Read
from headwater.tensors.segments import Segment


def reader(content: bytes) -> Read:
    return lambda start, stop: content[start:stop]


@cache
def noise(size: int, seed: int = 1) -> bytes:
    """Bytes without a pattern, the same every time."""
    state, out = seed * 2654435761 % (1 << 32), bytearray()
    while len(out) < size:
        state = (state * 1664525 + 1013904223) % (1 << 32)
        out += state.to_bytes(4, "big")[:2]
    return bytes(out[:size])


def covers(segments: Sequence[Segment], size: int) -> bool:
    """Exactly [0, size), in order, each at least a byte, and never bytes beside bytes."""
    reached, before = 0, ""
    for segment in segments:
        if segment.start != reached or segment.stop <= segment.start or segment.kind == before == "bytes":
            return False
        reached, before = segment.stop, segment.kind
    return reached == size


def tensors_of(segments: Sequence[Segment]) -> list[Segment]:
    return [segment for segment in segments if segment.kind == "tensor"]


# safetensors, GGUF, npy


def safetensors_file(tensors: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    header, data = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def gguf_file(tensors: dict[str, tuple[int, list[int], bytes]], order: str = "<") -> bytes:
    table, data = b"", b""
    for name, (kind, stored_shape, raw) in tensors.items():
        table += struct.pack(order + "Q", len(name)) + name.encode()
        table += struct.pack(f"{order}I{len(stored_shape)}Q", len(stored_shape), *stored_shape)
        table += struct.pack(order + "IQ", kind, len(data))
        data += raw + bytes(-len(raw) % 32)
    head = b"GGUF" + struct.pack(order + "IQQ", 3, len(tensors), 0) + table
    return head + bytes(-len(head) % 32) + data


def npy_file(descr: str, shape: tuple[int, ...], raw: bytes, fortran: bool = False) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape!r}, }}"
    text += " " * (-(10 + len(text) + 1) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + raw


# Archives


class _Unseekable(io.BytesIO):
    """What makes zipfile write sizes after the member, as PyTorch's writer does."""

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise OSError


def zip_file(
    members: Sequence[tuple[str, bytes]], method: int = zipfile.ZIP_STORED, *, sizes_follow: bool = False
) -> bytes:
    out = _Unseekable() if sizes_follow else io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, raw in members:
            archive.writestr(zipfile.ZipInfo(name), raw, method)
    return out.getvalue()


def tar_file(members: Sequence[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, raw in members:
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return out.getvalue()


# PyTorch


@dataclass(eq=False)
class Storage:
    """A storage of a class by that name; `raw` goes into a member of its own."""

    kind: str
    raw: bytes
    count: int


@dataclass(eq=False)
class Torch:
    """A tensor: a view of a storage."""

    storage: Storage
    shape: tuple[int, ...]
    offset: int = 0
    strides: tuple[int, ...] | None = None
    dtype: str | None = None  # given: rebuilt by _rebuild_tensor_v3, which says the type itself
    parameter: bool = False

    def __reduce_ex__(self, protocol: Any) -> Any:
        utils = sys.modules["torch._utils"]
        strides = self.strides
        if strides is None:
            strides, width = (), 1
            for dimension in reversed(self.shape):
                strides, width = (width, *strides), width * dimension
        common = (self.storage, self.offset, self.shape, strides, False, OrderedDict())
        if self.dtype is not None:
            return utils._rebuild_tensor_v3, (*common, getattr(sys.modules["torch"], self.dtype), None)
        if self.parameter:
            bare = Torch(self.storage, self.shape, self.offset, self.strides)
            return utils._rebuild_parameter, (bare, True, OrderedDict())
        return utils._rebuild_tensor_v2, common


STORAGES = (
    "FloatStorage", "HalfStorage", "BFloat16Storage", "DoubleStorage", "LongStorage", "ByteStorage", "BoolStorage",
    "UntypedStorage", "StrangeStorage",
)  # fmt: skip
_FUNCTIONS = ("_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter")


class _Dtype:
    """torch.float8_e4m3fn and the like pickle as a global of their name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> str:
        return self.name


def _named(name: str) -> Any:
    def made(*arguments: Any) -> None: ...

    made.__name__ = made.__qualname__ = name
    made.__module__ = "torch._utils"
    return made


@contextmanager
def faked_torch() -> Iterator[None]:
    """Modules and names for the pickler to refer to; nothing of torch's is in them."""
    torch, utils = ModuleType("torch"), ModuleType("torch._utils")
    for name in STORAGES:
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    for name in ("float8_e4m3fn", "uint16", "quint4x2"):
        dtype = _Dtype(name)
        dtype.__module__ = "torch"  # type: ignore[misc]
        setattr(torch, name, dtype)
    for name in _FUNCTIONS:
        setattr(utils, name, _named(name))
    torch._utils = utils  # type: ignore[attr-defined]
    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules |= {"torch": torch, "torch._utils": utils}
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class _Pickler(pickle.Pickler):
    def __init__(self, out: io.BytesIO, protocol: int) -> None:
        super().__init__(out, protocol)
        self.storages: dict[int, Storage] = {}
        self.keys: dict[int, str] = {}

    def persistent_id(self, given: Any) -> Any:
        if not isinstance(given, Storage):
            return None
        key = self.keys.setdefault(id(given), str(len(self.keys)))
        self.storages[int(key)] = given
        return ("storage", getattr(sys.modules["torch"], given.kind), key, "cpu", given.count)


def torch_pickle(value: Any, protocol: int = 2) -> tuple[bytes, list[Storage]]:
    out = io.BytesIO()
    with faked_torch():
        pickler = _Pickler(out, protocol)
        pickler.dump(value)
    return out.getvalue(), list(pickler.storages.values())


def torch_file(value: Any, protocol: int = 2, byteorder: bytes = b"little", stem: str = "archive") -> bytes:
    """As torch.save writes it: the pickle, the byte order, a member per storage, the version."""
    pickled, storages = torch_pickle(value, protocol)
    members = [(f"{stem}/data.pkl", pickled), (f"{stem}/byteorder", byteorder)]
    members += [(f"{stem}/data/{number}", storage.raw) for number, storage in enumerate(storages)]
    return zip_file([*members, (f"{stem}/version", b"3\n")], sizes_follow=True)


def old_torch_file(value: Any) -> bytes:
    """As torch.save wrote it before 1.6: five pickles, then each storage behind its number of elements."""
    pickled, storages = torch_pickle(value)
    keys = [str(number) for number in range(len(storages))]
    before = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    data = b"".join(struct.pack("<q", storage.count) + storage.raw for storage in storages)
    return b"".join([*before, pickled, pickle.dumps(keys, 2), data])


def floats(*shape: int, seed: int = 1, kind: str = "FloatStorage", width: int = 4) -> Torch:
    count = 1
    for dimension in shape:
        count *= dimension
    return Torch(Storage(kind, noise(count * width, seed), count), shape)


# ONNX


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def span(field: int, raw: bytes | str) -> bytes:
    raw = raw.encode() if isinstance(raw, str) else raw
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def onnx_tensor(name: str, kind: int, dims: Sequence[int], raw: bytes = b"", *, more: bytes = b"") -> bytes:
    data = span(9, raw) if raw else b""
    return b"".join(number(1, dim) for dim in dims) + number(2, kind) + span(8, name) + data + more


def external(location: str, **said: int) -> bytes:
    entries = {"location": location, **{key: str(value) for key, value in said.items()}}
    return b"".join(span(13, span(1, key) + span(2, value)) for key, value in entries.items()) + number(14, 1)


def onnx_file(initializers: Sequence[bytes] = (), nodes: Sequence[bytes] = ()) -> bytes:
    graph = b"".join(span(1, node) for node in nodes) + span(2, "graph")
    graph += b"".join(span(5, tensor) for tensor in initializers)
    return number(1, 8) + span(2, "writer") + span(7, graph) + span(8, number(2, 17))
