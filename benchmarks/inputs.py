"""The files that are sent: bf16 weights, random bytes, small texts; each from a seed, so that runs can be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

BLOCK_BYTES = 16 << 20
ZEROS = bytes(1 << 20)
EDIT = b"three small edits of a few bytes"


def weights(path: Path, size_bytes: int, seed: int) -> str:
    """A safetensors-sized heap of bf16 numbers with a normal distribution, as weights have it. Its SHA-256."""
    chance = np.random.default_rng(seed)

    def blocks() -> Iterator[bytes]:
        for size in _sizes(size_bytes):
            numbers = chance.standard_normal(size // 2 + 1, np.float32) * np.float32(0.02)
            yield (numbers.view(np.uint32) >> 16).astype(np.uint16).tobytes()[:size]

    return _write(path, blocks())


def noise(path: Path, size_bytes: int, seed: int) -> str:
    """Random bytes, which nothing compresses. Its SHA-256."""
    chance = np.random.default_rng(seed)
    return _write(path, (chance.bytes(size) for size in _sizes(size_bytes)))


def edited(source: Path, path: Path) -> str:
    """A copy with three small edits: bytes replaced near the front, put in in the middle, taken out near the end."""
    size_bytes = source.stat().st_size
    data = bytearray(source.read_bytes())
    end, middle, front = size_bytes * 9 // 10, size_bytes // 2, size_bytes // 10
    del data[end : end + len(EDIT)]
    data[middle:middle] = EDIT
    data[front : front + len(EDIT)] = EDIT
    return _write(path, iter([bytes(data)]))


def zeros(path: Path, size_bytes: int) -> str:
    """A hole of that size: nothing on the disk, whatever its length. The SHA-256 of as many zeros."""
    with path.open("wb") as file:
        file.truncate(size_bytes)
    digest = hashlib.sha256()
    for size in _sizes(size_bytes):
        for _ in range(size // len(ZEROS)):
            digest.update(ZEROS)
        digest.update(ZEROS[: size % len(ZEROS)])
    return digest.hexdigest()


def small_texts(folder: Path, count: int, size_bytes: int) -> None:
    """Texts of words, each file different, in ten folders."""
    chance = np.random.default_rng(count)
    words = np.array([chance.bytes(size % 4 + 2).hex() for size in range(2000)])
    for number in range(count):
        place = folder / f"part-{number % 10}"
        place.mkdir(parents=True, exist_ok=True)
        text = " ".join(chance.choice(words, size_bytes // 4))
        (place / f"record-{number:05}.txt").write_text(text[:size_bytes])


def _sizes(size_bytes: int) -> Iterator[int]:
    while size_bytes > 0:
        yield min(BLOCK_BYTES, size_bytes)
        size_bytes -= BLOCK_BYTES


def _write(path: Path, blocks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for block in blocks:
            file.write(block)
            digest.update(block)
    return digest.hexdigest()
