"""One large file by LFS, hashed and fsynced; and what a very large one does to the hub's memory.

Beside it nginx, which takes the same PUT without a hash and without fsync, plus the bare cost of SHA-256.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import calls, inputs
from benchmarks.bench import GB, Bench
from benchmarks.figures import Figure, Skipped
from benchmarks.processes import UNSEALED, Hub, Nginx

TRIES = 3
UPLOAD_MOST = 1.6
MEMORY_MOST_MB = 100.0
UNIT = "CPU-s/GB"


def measure(bench: Bench) -> Iterator[Figure]:
    folder = bench.work / "upload"
    folder.mkdir()
    source = folder / "weights.bin"
    per_gb, speeds, beside, hashing = [], [], [], []
    with Hub(bench.work / "upload-hub", settings=UNSEALED) as hub:
        repo = calls.create_repo(hub, "large")
        for number in range(TRIES):
            sha256 = inputs.noise(source, bench.size_bytes, 100 + number)
            with hub.cost() as cost:
                calls.put_lfs(hub, repo, source, sha256)
            per_gb.append(cost.cpu_s / bench.size_gb)
            speeds.append(bench.size_bytes / 1e6 / cost.wall_s)
            hashing.append(_hashing(source) / bench.size_gb)
            beside.append(_nginx_put(bench, source))
    floor = statistics.median(hashing)
    taken = [one for one in beside if one is not None]
    peer_value = statistics.median(taken) + floor if taken else None
    what = f"upload {bench.size_gb:g} GB by LFS"
    peer = "nginx PUT + SHA-256"
    note = f"median of {TRIES}; SHA-256 alone {floor:.2f}"
    yield Figure(what, statistics.median(per_gb), UNIT, UPLOAD_MOST, peer=peer, peer_value=peer_value, note=note)
    yield Figure(f"{what}: speed", statistics.median(speeds), "MB/s")


def measure_memory(bench: Bench) -> Iterator[Figure]:
    source = bench.work / "zeros.bin"
    sha256 = inputs.zeros(source, bench.put_bytes)
    with Hub(bench.work / "memory-hub") as hub:
        repo = calls.create_repo(hub, "huge")
        url = calls.lfs_address(hub, repo, sha256, bench.put_bytes)
        idle = hub.rss_bytes()
        with hub.peak_rss() as peak, hub.cost() as cost:
            calls.upload(url, source)
    grown_mb = (peak[0] - idle) / 1e6
    what = f"memory during a PUT of {bench.put_bytes / GB:g} GB"
    note = f"peak RSS over idle ({idle / 1e6:.0f} MB); {bench.put_bytes / 1e6 / cost.wall_s:.0f} MB/s"
    yield Figure(what, grown_mb, "MB", MEMORY_MOST_MB, note=note)


def _hashing(source: Path) -> float:
    """CPU-seconds of SHA-256 alone, over the whole file in pieces of 1 MiB."""
    spent_s, digest = 0.0, hashlib.sha256()
    with source.open("rb") as file:
        while piece := file.read(1 << 20):
            begun_s = time.thread_time()
            digest.update(piece)
            spent_s += time.thread_time() - begun_s
    return spent_s


def _nginx_put(bench: Bench, source: Path) -> float | None:
    folder = bench.work / "nginx-put"
    try:
        with Nginx(folder, source.parent).await_listening() as nginx:
            with nginx.cost() as cost:
                calls.upload(f"{nginx.url}/puts/taken.bin", source)
            (folder / "taken.bin").unlink()
            return cost.cpu_s / bench.size_gb
    except Skipped:
        return None
