"""HEAD of a file with a token, over 16 connections that each wait for the answer: the hottest route of a hub.

The sender is a process of its own (`load.py`) that costs a few per cent of a core. Beside it nginx, the same HEAD of a
file on the disk: no token, no database, no git.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks import calls, inputs
from benchmarks.bench import Bench
from benchmarks.figures import Figure, Skipped
from benchmarks.processes import ROOT, TOKEN, Hub, Nginx, Server, environment

CONNECTIONS = 16
RATE_LEAST = 1500.0
P99_MOST_MS = 15.0
LFS_BYTES = 1_000_000
SMALL_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class Load:
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    """Of the server, per request."""


def measure(bench: Bench) -> Iterator[Figure]:
    source = bench.work / "heads"
    source.mkdir()
    sha256 = inputs.noise(source / "model.bin", LFS_BYTES, 4)
    with Hub(bench.work / "heads-hub") as hub:
        repo = calls.create_repo(hub, "heads", private=True)
        calls.put_lfs(hub, repo, source / "model.bin", sha256)
        lines = [
            calls.lfs_file("model.bin", sha256, LFS_BYTES),
            calls.inline("config.json", b" " * SMALL_BYTES),
        ]
        calls.commit(hub, repo, lines)
        try:
            with Nginx(bench.work / "nginx-heads", source).await_listening() as nginx:
                beside = _load(bench, nginx, "/files/model.bin")
        except Skipped:
            beside = None
        for kind, file in (("LFS file", "model.bin"), ("small file", "config.json")):
            found = _load(bench, hub, f"/{repo}/resolve/main/{file}")
            yield from _figures(f"HEAD resolve, {kind}", found, beside)


def _figures(what: str, found: Load, beside: Load | None) -> Iterator[Figure]:
    rate = beside.rate if beside else None
    late = beside.p99_ms if beside else None
    note = f"{found.cpu_ms:.2f} CPU-ms each; p50 {found.p50_ms:.1f} ms"
    yield Figure(what, found.rate, "/s", RATE_LEAST, at_least=True, peer="nginx", peer_value=rate, note=note)
    yield Figure(f"{what}: p99", found.p99_ms, "ms", P99_MOST_MS, peer="nginx", peer_value=late)


def _load(bench: Bench, server: Server, path: str) -> Load:
    command = [sys.executable, "-m", "benchmarks.load", str(server.port), path, TOKEN]
    words = [*command, str(CONNECTIONS), str(bench.heads_s)]
    with server.cost() as cost:
        done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"HEAD {path}: {done.stderr[-1000:]}")
    told = json.loads(done.stdout)
    return Load(told["rate"], told["p50_ms"], told["p99_ms"], 1000 * cost.cpu_s / told["requests"])
