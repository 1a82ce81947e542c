"""What zipnn makes of tensors, alone and as its delta. For an environment that has torch, with zipnn's folder:

    PYTHONPATH=ZIPNN python -m benchmarks.store.zipnn_child < asked > told

Asked, in JSON, is a list of files, each a list of tensors `[path, start, stop, dtype, path of base, its start]`; told
is for each file `[bytes of its tensors alone, bytes as deltas where there is a base]`. Every tensor is decompressed
again and compared. One thread. zipnn changes the bytes that it is given, so it is given copies.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from zipnn import ZipNN

BYTES_MIN = 4096  # smaller ones count as they are: its headers are dozens of bytes, and some make it crash


def main() -> None:
    told = []
    for tensors in json.load(sys.stdin):
        alone = delta = 0
        for plain, as_delta in map(_sizes, tensors):
            alone, delta = alone + plain, delta + as_delta
        told.append([alone, delta])
    json.dump(told, sys.stdout)


def _sizes(asked: list[Any]) -> tuple[int, int]:
    path, start, stop, dtype, base_path, base_start = asked
    raw = _bytes(path, start, stop - start)
    if len(raw) < BYTES_MIN:
        return len(raw), len(raw)
    alone = min(len(raw), _made(raw, dtype, {}, {}))
    if base_path is None:
        return alone, alone
    base = _bytes(base_path, base_start, len(raw))
    return alone, min(alone, _made(raw, dtype, {"delta_compressed_type": "byte"}, {"delta_second_data": base}))


def _made(raw: bytes, dtype: str, how: dict[str, Any], given: dict[str, Any]) -> int:
    """The size, if it comes back."""
    made = ZipNN(input_format="byte", bytearray_dtype=dtype, threads=1, **how)
    packed = bytes(made.compress(bytes(bytearray(raw)), **given))
    size = len(packed)
    back = ZipNN(input_format="byte", bytearray_dtype=dtype, threads=1, **how)
    if bytes(back.decompress(packed, **given)) != raw:
        raise RuntimeError(f"zipnn does not give {len(raw)} bytes of {dtype} back")
    return size


def _bytes(path: str, start: int, size: int) -> bytes:
    with Path(path).open("rb") as file:
        file.seek(start)
        return file.read(size)


if __name__ == "__main__":
    main()
