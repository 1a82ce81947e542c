"""zipnn beside the codec: built into a folder of its own, run in the environment that has torch (`zipnn_child.py`).

It knows bf16, fp16, fp32 and fp8, each alone and as its delta (XOR with a base, byte planes, Huffman). What it does not
know (int8 and the quantized types of GGUF) counts as zstd-3, for a delta of the XOR with the base.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zstandard

from benchmarks.figures import Skipped
from benchmarks.processes import ROOT
from benchmarks.store.measure import File, alike

FOLDER = ROOT / ".cache" / "bench" / "zipnn"
VERSION = "0.5.4"
DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of a file's tensors: each by itself, and as a delta to the first parent of the same form."""

    alone: int
    delta: int


def build() -> None:
    """Needs a C compiler. Skipped where it does not build."""
    if FOLDER.exists():
        return
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(FOLDER), f"zipnn=={VERSION}"]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skipped(f"zipnn {VERSION} does not build here: {done.stderr.strip().splitlines()[-1][:200]}")


def sizes(python: Path, files: Mapping[str, tuple[File, Sequence[File]]]) -> dict[str, Sizes]:
    """Of files by name, each with its possible parents."""
    build()
    asked = [_asked(child, parents) for child, parents in files.values()]
    done = subprocess.run(
        [str(python), "-m", "benchmarks.store.zipnn_child"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(FOLDER)},
        check=False,
    )
    if done.returncode:
        raise Skipped(f"zipnn ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    told = json.loads(done.stdout)
    others = [_others(child, parents) for child, parents in files.values()]
    return {
        name: Sizes(alone + other.alone, delta + other.delta)
        for name, (alone, delta), other in zip(files, told, others, strict=True)
    }


def _asked(child: File, parents: Sequence[File]) -> list[list[object]]:
    listed: list[list[object]] = []
    for name, tensor in child.tensors.items():
        if tensor.dtype not in DTYPES:
            continue
        base = next((one for one in parents if alike(one, name, tensor)), None)
        place = [None, 0] if base is None else [str(base.path), base.tensors[name].start]
        listed.append([str(child.path), tensor.start, tensor.stop, DTYPES[tensor.dtype], *place])
    return listed


def _others(child: File, parents: Sequence[File]) -> Sizes:
    alone = delta = 0
    for name, tensor in child.tensors.items():
        if tensor.dtype in DTYPES:
            continue
        raw = child.read(name)(0, tensor.stop - tensor.start)
        plain = min(len(raw), len(zstandard.compress(raw, 3)))
        base = next((one for one in parents if alike(one, name, tensor)), None)
        alone, delta = alone + plain, delta + min(plain, _changed(raw, base.read(name)(0, len(raw))) if base else plain)
    return Sizes(alone, delta)


def _changed(raw: bytes, base: bytes) -> int:
    return len(zstandard.compress((np.frombuffer(raw, np.uint8) ^ np.frombuffer(base, np.uint8)).tobytes(), 3))
