"""`pip install` of the wheel with everything it needs into a fresh environment. Slow, and needs a package index."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.processes import ROOT

INSTALL_MOST_S = 45.0


def measure(bench: Bench) -> Iterator[Figure]:
    wheels = bench.work / "wheels"
    python = bench.work / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([sys.executable, "-m", "venv", str(python.parent.parent)], check=True)
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(wheels), str(ROOT)], check=True)
    (wheel,) = wheels.glob("*.whl")
    before, begun_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*pip, "install", "--no-cache-dir", str(wheel)], check=True)
    wall_s, after = time.perf_counter() - begun_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    yield Figure("install: pip install, wall", wall_s, "s", INSTALL_MOST_S, note="nothing cached")
    yield Figure("install: pip install, CPU", spent_s, "CPU-s")
    place = python.parent.parent / "lib"
    size_mb = sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) / 1e6
    yield Figure("install: on the disk", size_mb, "MB", note="with pip itself")
