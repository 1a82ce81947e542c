"""The reader that does not know Headwater restores what the store has sealed, bit for bit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from sealing import only_sealed, relative
from store_cas import Cas
from xet_building import Xorb, all_of, sha256_of

TOOL = Path(__file__).resolve().parents[3] / "tools" / "restore.py"
LINES_MAX = 200


def _model(seed: int, drift: float) -> bytes:
    """BF16, F32, F16 and integers; `drift` is how far it is from the model of that seed."""
    chance, tuning = np.random.default_rng(seed), np.random.default_rng(seed + 99)
    parts: dict[str, tuple[str, np.ndarray]] = {}
    for dtype in ("F32", "BF16", "F16"):
        values = chance.normal(0, 0.02, (64, 96)).astype("<f4")
        values += tuning.normal(0, 1, values.shape).astype("<f4") * np.float32(drift)
        words = {"F32": values, "F16": values.astype("<f2"), "BF16": (values.view("<u4") >> 16).astype("<u2")}[dtype]
        parts[dtype] = (dtype, words)
    counts = chance.integers(0, 9, 4000).astype("<i4")
    counts[:7] += int(drift * 1e5)
    parts["counts"] = ("I32", counts)
    header, at = {}, 0
    for name, (dtype, words) in parts.items():
        header[name] = {"dtype": dtype, "shape": list(words.shape), "data_offsets": [at, at + words.nbytes]}
        at += words.nbytes
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(words.tobytes() for _dtype, words in parts.values())


def test_the_reader_fits_on_a_few_pages_and_imports_nothing_of_ours() -> None:
    lines = [line for line in TOOL.read_text().splitlines() if line.strip()]
    assert len(lines) <= LINES_MAX
    assert not [line for line in lines if "import headwater" in line or "from headwater" in line]


def test_every_sealed_file_is_restored_without_headwater(cas: Cas) -> None:
    base, tuned = _model(1, 0.0), _model(1, 1e-4)
    text = b"lines that look alike, one after the other\n" * 9000
    xorb = Xorb((b"x" * 9000, b"y" * 8500))
    cas.land(xorb)
    cas.register(all_of(xorb))
    raw = cas.put(b"as it came")
    only_sealed(cas, base)
    only_sealed(cas, tuned, relative(base))
    only_sealed(cas, text, name="notes.txt")
    folder = cas.root / "data"
    folder.mkdir()
    shutil.copytree(cas.store.objects.root, folder / "store")
    cas.db.copy_to(folder / "headwater.sqlite")

    for data in (base, tuned, text, b"as it came", xorb.plain):
        target = folder / "restored"
        command = [sys.executable, "-I", str(TOOL), str(folder), sha256_of(data), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert target.read_bytes() == data
    listed = subprocess.run(
        [sys.executable, "-I", str(TOOL), str(folder)], capture_output=True, text=True, check=True
    ).stdout
    assert raw.sha256 in listed
