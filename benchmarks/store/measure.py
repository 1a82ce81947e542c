"""What the codec leaves of a file, given its parents, tensor by tensor, and what that costs; beside it BitX.

Every block is decoded again and compared: a size of something that does not come back is none.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import zstandard

from benchmarks.processes import ROOT
from headwater import codec
from headwater.tensors import Read, Tensor, gguf, safetensors

sys.path.insert(0, str(ROOT / "tests" / "unit" / "codec"))
from bitx import bitx_bytes

MANTISSA = {"BF16": 7, "F16": 10, "F32": 23}


@dataclass(slots=True)
class File:
    """A tensor file in memory: its tensors by name."""

    path: Path
    data: memoryview
    tensors: dict[str, Tensor]

    def read(self, name: str) -> Read:
        tensor = self.tensors[name]
        return lambda start, stop: bytes(self.data[tensor.start + start : tensor.start + stop])

    def parent(self, name: str) -> codec.Parent:
        tensor = self.tensors[name]
        # as the store's cache of blocks: what was read a moment ago is given again, and not copied
        read = lru_cache(64)(self.read(name))
        return codec.Parent(form_of(tensor), tensor.stop - tensor.start, read)


@dataclass(slots=True)
class Left:
    """Bytes in all and what is left of them; CPU-seconds of one thread."""

    raw: int = 0
    ours: int = 0
    bitx: int = 0
    zstd: int = 0
    encode_s: float = 0.0
    decode_s: float = 0.0
    hash_s: float = 0.0
    """SHA-256 and BLAKE3 of the raw bytes, once each: what sealing adds."""
    chosen: dict[str, int] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Per cent of raw."""
        return 100 * self.ours / max(self.raw, 1)

    @property
    def to_bitx(self) -> float:
        return self.ours / max(self.bitx, 1)


def form_of(tensor: Tensor) -> codec.Form:
    return codec.Form(tensor.dtype, tensor.shape)


def opened(path: Path) -> File:
    data = memoryview(path.read_bytes())

    def read(start: int, stop: int) -> bytes:
        return bytes(data[start:stop])

    parse = gguf if path.suffix == ".gguf" else safetensors
    tensors = parse.read_header(read, len(data)).tensors
    return File(path, data, {tensor.name: tensor for tensor in tensors})


def joined(file: File) -> File:
    """The matrices of a file as one, in rows as long as its hidden size."""
    matrices = [one for one in file.tensors.values() if len(one.shape) == 2 and one.stop - one.start > 1 << 16]
    data = b"".join(bytes(file.data[one.start : one.stop]) for one in matrices)
    columns = min(one.shape[1] for one in matrices)
    whole = Tensor("joined", matrices[0].dtype, (len(data) // (2 * columns), columns), 0, len(data))
    return File(file.path, memoryview(data), {"joined": whole})


def left_of(child: File, parents: Sequence[File], kinds: Sequence[str] = ()) -> Left:
    """All tensors of a file (the matrices of these dtypes), each given the tensors of the same name."""
    left = Left()
    for name, tensor in child.tensors.items():
        if kinds and (len(tensor.shape) < 2 or tensor.dtype not in kinds):
            continue
        given = [parent.parent(name) for parent in parents if name in parent.tensors]
        _add(left, child, name, given)
        left.bitx += _bitx(child, name, next((one for one in parents if alike(one, name, tensor)), None))
    return left


def alike(parent: File, name: str, tensor: Tensor) -> bool:
    """Whether it has a tensor of that name and the same form."""
    other = parent.tensors.get(name)
    return other is not None and form_of(other) == form_of(tensor)


def _add(left: Left, child: File, name: str, given: Sequence[codec.Parent]) -> None:
    tensor, read = child.tensors[name], child.read(name)
    size, form = tensor.stop - tensor.start, form_of(tensor)
    begun_s = time.thread_time()
    encoded = codec.encode(form, size, read, given)
    blocks = list(encoded.blocks)
    left.encode_s += time.thread_time() - begun_s
    begun_s = time.thread_time()
    decoder = codec.Decoder(encoded.head, form, size, [given[number] for number in encoded.parents])
    left.decode_s += time.thread_time() - begun_s
    # One block after the other, as readers and sealing do: holding a whole file would measure the system's memory.
    for number, block in enumerate(blocks):
        begun_s = time.thread_time()
        back = decoder.block(number, block)
        left.decode_s += time.thread_time() - begun_s
        start = number * decoder.block_bytes
        if back != read(start, min(start + decoder.block_bytes, size)):
            raise RuntimeError(f"{name} does not come back")
    raw = read(0, size)
    begun_s = time.thread_time()
    hashlib.sha256(raw)
    codec.key_of(form, [raw])
    left.hash_s += time.thread_time() - begun_s
    stored = len(encoded.head) + sum(map(len, blocks))
    left.raw += size
    left.ours += stored
    left.chosen[encoded.chosen] = left.chosen.get(encoded.chosen, 0) + stored


def _bitx(child: File, name: str, parent: File | None) -> int:
    """BitX where there is a base of the same form, else zstd-3: it has nothing for these."""
    tensor = child.tensors[name]
    raw = child.read(name)(0, tensor.stop - tensor.start)
    if parent is None or tensor.dtype not in MANTISSA:
        base = parent.read(name)(0, len(raw)) if parent is not None else bytes(len(raw))
        changed = np.frombuffer(raw, np.uint8) ^ np.frombuffer(base, np.uint8)
        return len(zstandard.ZstdCompressor(level=3).compress(changed.tobytes()))
    words = "<u4" if tensor.dtype == "F32" else "<u2"
    ours, theirs = (np.frombuffer(data, words) for data in (raw, parent.read(name)(0, len(raw))))
    return bitx_bytes(ours, theirs, MANTISSA[tensor.dtype])


def entropy_gap(child: File, parent: File) -> Iterator[float]:
    """Points of raw, for each matrix: what delta takes over the entropy of its model, differences given exponents."""
    for name, tensor in child.tensors.items():
        if len(tensor.shape) < 2 or tensor.dtype != "BF16" or not alike(parent, name, tensor):
            continue
        left = Left()
        _add(left, child, name, [parent.parent(name)])
        ours, theirs = (
            np.frombuffer(file.read(name)(0, tensor.stop - tensor.start), "<u2") for file in (child, parent)
        )
        yield 100 * (left.ours - _entropy_bits(ours, theirs) / 8) / left.raw


def _entropy_bits(target: np.ndarray, base: np.ndarray) -> float:
    """Of ordered-integer differences, given the base's exponent (design store.md, A.2)."""
    ordered = [np.where(words >> 15, 0xFFFF - words, words + 0x8000).astype(np.int64) for words in (target, base)]
    difference = ((ordered[0] - ordered[1]) & 0xFFFF).astype(np.int64)
    exponent = (base.astype(np.int64) >> 7) & 0xFF
    bits = 0.0
    for one in np.unique(exponent):
        counts = np.bincount(difference[exponent == one])
        counts = counts[counts > 0]
        bits -= float((counts * np.log2(counts / counts.sum())).sum())
    return bits


def zstd_bytes(file: File) -> int:
    return len(zstandard.ZstdCompressor(level=3).compress(bytes(file.data)))


def total(parts: Mapping[str, Left]) -> Left:
    whole = Left()
    for one in parts.values():
        whole.raw, whole.ours = whole.raw + one.raw, whole.ours + one.ours
        whole.bitx, whole.zstd = whole.bitx + one.bitx, whole.zstd + one.zstd
    return whole
