"""What sealing takes of memory, whatever a file's size: the peak of the hub's own sealing child over its idle size."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.processes import Hub
from benchmarks.store import large, sealed_hub
from benchmarks.store.large import GB, Made

SIZES_GB = (0.1, 1.0, 4.0)
TINY_BYTES = 2_000_000  # sealing it loads what sealing loads
OVER_IDLE_MOST_MB = 150.0
ROOM = 3.5  # times the largest file: all sealed, one raw, and the file that is sent


def measure(size_max_gb: float) -> Iterator[Figure]:
    """Of a base and a fine-tune of several sizes up to `size_max_gb`, uploaded and sealed as users' files are."""
    sizes = sorted({min(size, size_max_gb) for size in SIZES_GB})
    with sealed_hub.room_for(int(ROOM * sizes[-1] * GB)) as work:
        idle, _peak, _took_s = _sealed(work / "hub", "tiny", large.make(work / "tiny.safetensors", TINY_BYTES, 99))
        for number, size in enumerate(sizes):
            base = f"base-{number}"
            for name, drift, of in ((base, 0.0, ""), (f"tune-{number}", large.DRIFT, f"bench/{base}")):
                made = large.make(work / "model.safetensors", int(size * GB), 10 + number, drift)
                _rss, peak, took_s = _sealed(work / "hub", name, made, of)
                what = f"sealing {'a fine-tune' if of else 'a base'} of {made.size / GB:.2g} GB: memory over idle"
                note = f"idle {idle:.0f} MB; sealed {took_s:.0f} s after its commit"
                yield Figure(what, peak - idle, "MB", OVER_IDLE_MOST_MB, note=note)


def _sealed(data: Path, name: str, made: Made, base: str = "") -> tuple[float, float, float]:
    """The child's memory at the end, and at most, in MB; and how long it took. The raw bytes are gone afterwards."""
    with Hub(data) as hub:
        sealed_hub.upload(hub, name, made, base)
        begun_s = time.perf_counter()
        peak = sealed_hub.await_sealed(hub, made.sha256)
        took_s = time.perf_counter() - begun_s
        rss = sealed_hub.rss_mb(sealed_hub.sealing_children(hub)[0].pid)
    sealed_hub.evict(data)
    return rss, peak, took_s
