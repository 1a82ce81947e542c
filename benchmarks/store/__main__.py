"""The store's sizes and speeds: `make bench-store`, or

    python -m benchmarks.store [--corpora DIR] [--only ROW,...] [--large-gb SIZE]

Makes the corpora if they are missing (`corpora.py`, in the client environments), encodes every derivative given its
parents with the product's codec, decodes and compares, and prints what is left beside BitX and others. Then seals very
large files in a hub of its own, and reads them. Exits with 1 if a bar of issue 3 is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.figures import Figure, Skipped, table
from benchmarks.processes import ROOT
from benchmarks.store import measure, memory, reading, zipnn_peer
from benchmarks.store.measure import File, Left
from benchmarks.store.zipnn_peer import Sizes

CLIENTS = Path.home() / ".cache" / "headwater" / "clients"
CORPORA = ROOT / ".cache" / "bench" / "corpora"
ACCELERATE = ROOT / ".cache" / "bench" / "accelerate"  # what transformers wants to read a GGUF file with
FAMILY = {
    "light": ("L0",), "rl-like": ("L0",), "usual": ("L0",), "usual2": ("L0",), "frozen": ("L0",),
    "second": ("usual", "L0"), "heavy": ("L0",), "lora": ("L0",), "soup": ("usual", "usual2"),
    "pruned": ("usual", "L0"), "abliterated": ("L0",), "vocabulary": ("usual", "L0"), "fp8-L0": ("L0",),
    "int8-L0": ("L0",), "Q8_0-L0": ("L0",), "Q4_0-L0": ("L0",), "fp8-usual": ("fp8-L0", "usual"),
    "int8-usual": ("int8-L0", "usual"), "Q8_0-usual": ("Q8_0-L0", "usual"), "Q4_0-usual": ("Q4_0-L0", "usual"),
}  # fmt: skip
"""One base and twenty derivatives, each with what the store would offer as parents, the nearest first."""
TO_BITX = {"light": 0.45, "usual": 0.50, "heavy": 0.75}
OF_RAW = {"lora": 6.0, "abliterated": 1.0, "pruned": 0.1, "soup": 0.5}
SAME_QUANTIZATION = {"int8": 3.5, "fp8": 5.0, "Q8_0": 6.0, "Q4_0": 2.0}
LARGE_GB = 4.0
QUANTIZED = ("I8", "F8_E4M3", "Q8_0", "Q4_0")


class Corpora:
    """`large_gb` is for what is measured of a few very large files; these are made by whoever wants them."""

    def __init__(self, folder: Path, large_gb: float) -> None:
        self.folder, self.large_gb = folder, large_gb
        self._open: dict[str, File] = {}
        self._zipnn: dict[str, Sizes] = {}

    def make(self) -> None:
        command = [str(CLIENTS / "libs" / "bin" / "python"), "-m", "benchmarks.store.corpora", str(CLIENTS / "real")]
        environment = {**os.environ, "PYTHONPATH": f"{ACCELERATE}{os.pathsep}{ROOT}"}
        setup = [sys.executable, str(ROOT / "scripts" / "clients" / "setup.py"), "libs", "real"]
        subprocess.run(setup, check=True)
        if not ACCELERATE.exists():
            pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(ACCELERATE)]
            subprocess.run([*pip, "accelerate==1.15.0", "psutil==7.2.2"], check=True)
        subprocess.run([*command, str(self.folder)], check=True, cwd=ROOT, env=environment)

    def file(self, name: str) -> File:
        if name not in self._open:
            path = self.folder / f"{name}.safetensors"
            self._open[name] = measure.opened(path if path.exists() else self.folder / f"{name}.gguf")
        return self._open[name]

    def left(self, name: str, *parents: str, kinds: Sequence[str] = ()) -> Left:
        return measure.left_of(self.file(name), [self.file(parent) for parent in parents], kinds)

    def zipnn(self) -> dict[str, Sizes]:
        """Of the family."""
        if not self._zipnn:
            given = {"L0": (), **FAMILY}
            files = {name: (self.file(name), [self.file(one) for one in parents]) for name, parents in given.items()}
            self._zipnn = zipnn_peer.sizes(CLIENTS / "libs" / "bin" / "python", files)
        return self._zipnn


def _fine_tunes(corpora: Corpora) -> Iterator[Figure]:
    for name, most in TO_BITX.items():
        left = corpora.left(name, "L0")
        yield Figure(f"{name} fine-tune, bf16: to BitX", left.to_bitx, "x", most, note=_said(left))
    for kind, most in (("fp16", 0.75), ("fp32", 0.92)):
        left = corpora.left(f"E1-{kind}", f"E0-{kind}")
        yield Figure(f"fine-tune, {kind}: to BitX", left.to_bitx, "x", most, note=_said(left))


def _structured(corpora: Corpora) -> Iterator[Figure]:
    for name, most in OF_RAW.items():
        left = corpora.left(name, *FAMILY[name], kinds=() if name == "soup" else ("BF16",))
        yield Figure(f"{name}: left of raw", left.share, "%", most, note=_said(left))
    for kind, most in SAME_QUANTIZATION.items():
        left = corpora.left(f"{kind}-usual", f"{kind}-L0", kinds=QUANTIZED)
        yield Figure(f"{kind} given the base's {kind}: left", left.share, "%", most, note=_said(left))
    for kind in SAME_QUANTIZATION:
        left = corpora.left(f"{kind}-usual", "usual", kinds=QUANTIZED)
        yield Figure(f"{kind} given its own source: left", left.share, "%", note=_said(left))


def _alone(corpora: Corpora) -> Iterator[Figure]:
    for name, least in (("L0", 33.0), ("E0-fp32", 17.0), ("E0-fp16", 15.0)):
        left = corpora.left(name)
        yield Figure(f"{name} alone: removed", 100 - left.share, "%", least, at_least=True, note=_said(left))
    gaps = list(measure.entropy_gap(corpora.file("usual"), corpora.file("L0")))
    yield Figure("usual: over the entropy of the model", statistics.mean(gaps), "points", 0.5, note="mean of matrices")


def _speed(corpora: Corpora) -> Iterator[Figure]:
    """All matrices of a file as one tensor, as large as real ones: for small ones most is the search for predictors."""
    base = measure.joined(corpora.file("L0"))
    for name, least in (("usual", 0.6), ("heavy", 0.25)):
        tries = [measure.left_of(measure.joined(corpora.file(name)), [base]) for _ in range(3)]
        best = min(tries, key=lambda left: left.decode_s)
        yield Figure(f"{name}: decode, one core", best.raw / 1e9 / best.decode_s, "GB/s", least, at_least=True)
        if name == "usual":
            best = min(tries, key=lambda left: left.encode_s)
            speed = best.raw / 1e9 / best.encode_s
            yield Figure("usual: encode, one core", speed, "GB/s", 0.2, at_least=True, note=_said(best))
            both_s = best.encode_s + best.decode_s + best.hash_s
            yield Figure("usual: encode, verified", best.raw / 1e9 / both_s, "GB/s", 0.12, at_least=True)


def _family(corpora: Corpora) -> Iterator[Figure]:
    parts = {"L0": corpora.left("L0")} | {name: corpora.left(name, *given) for name, given in FAMILY.items()}
    try:
        zipnn, missing = corpora.zipnn(), ""
    except Skipped as why:
        zipnn, missing = {}, str(why)
    print(f"  {'':12} {'MB':>7}  {'left %':>7} {'BitX':>7} {'zipnn':>7} {'delta':>7} {'zstd-3':>7}  {missing}")
    for name, part in parts.items():
        part.zstd = measure.zstd_bytes(corpora.file(name))
        beside = (zipnn[name].alone, zipnn[name].delta) if zipnn else (0, 0)
        told = " ".join(f"{100 * size / part.raw:7.2f}" for size in (part.ours, part.bitx, *beside, part.zstd))
        print(f"  {name:12} {part.raw / 1e6:7.1f}  {told}  {_ways(part)}", flush=True)
    whole = measure.total(parts)
    bitx, zstd = 100 * whole.bitx / whole.raw, 100 * whole.zstd / whole.raw
    theirs = missing
    if zipnn:
        alone, delta = sum(one.alone for one in zipnn.values()), sum(one.delta for one in zipnn.values())
        theirs = f"zipnn {100 * alone / whole.raw:.1f} %, its delta {100 * delta / whole.raw:.1f} %"
    note = f"{len(parts)} files, {whole.raw / 1e6:.0f} MB; {theirs}, zstd-3 {zstd:.1f} %"
    yield Figure("a family: left of raw", whole.share, "%", 15.0, peer="BitX", peer_value=bitx, note=note)


def _zipnn(corpora: Corpora) -> Iterator[Figure]:
    raw = sum(len(corpora.file(name).data) for name in corpora.zipnn())
    for what, sizes in (
        ("zipnn", [one.alone for one in corpora.zipnn().values()]),
        ("zipnn's delta", [one.delta for one in corpora.zipnn().values()]),
    ):
        yield Figure(f"a family by {what}: left of raw", 100 * sum(sizes) / raw, "%", note="every tensor comes back")


def _memory(corpora: Corpora) -> Iterator[Figure]:
    yield from memory.measure(corpora.large_gb)


def _reading(corpora: Corpora) -> Iterator[Figure]:
    yield from reading.measure(min(corpora.large_gb, 1.0))


def _ways(left: Left) -> str:
    chosen = sorted(left.chosen.items(), key=lambda one: -one[1])[:3]
    return ", ".join(f"{name} {100 * size / max(left.ours, 1):.0f} %" for name, size in chosen)


def _said(left: Left) -> str:
    return f"{left.share:.2f} % of raw (BitX {100 * left.bitx / max(left.raw, 1):.2f}): {_ways(left)}"


ROWS: dict[str, Callable[[Corpora], Iterator[Figure]]] = {
    "fine-tunes": _fine_tunes,
    "structured": _structured,
    "alone": _alone,
    "speed": _speed,
    "family": _family,
    "zipnn": _zipnn,
    "memory": _memory,
    "reading": _reading,
}
OF_LARGE = {"memory", "reading"}
"""Rows that need no corpora."""


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--corpora", type=Path, default=CORPORA)
    arguments.add_argument("--only", default=",".join(ROWS))
    arguments.add_argument("--as-they-are", action="store_true", help="use the corpora that are there, make none")
    arguments.add_argument(
        "--large-gb", type=float, default=LARGE_GB, help=f"of the largest file ({LARGE_GB}); 0.2 is a quick run"
    )
    given = arguments.parse_args()
    corpora, rows = Corpora(given.corpora, given.large_gb), given.only.split(",")
    if not given.as_they_are and not OF_LARGE.issuperset(rows):
        corpora.make()
    figures: list[Figure] = []
    skipped: list[str] = []
    for row in rows:
        try:
            for figure in ROWS[row](corpora):
                figures.append(figure)
                print(f"  {figure.what}: {figure.value:.3f} {figure.unit} {figure.verdict}  {figure.note}", flush=True)
        except Skipped as why:
            skipped.append(f"{row}: skipped, {why}")
    print("\n".join([table(figures), *skipped, f"load of the machine: {os.getloadavg()[0]:.1f}"]))
    return 1 if any(figure.verdict == "MISSED" for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
