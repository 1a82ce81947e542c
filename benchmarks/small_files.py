"""A thousand small files up and down with the newest real client."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import calls, clients, inputs
from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.processes import Hub

FILES = 1000
FILE_BYTES = 10_000
UP_LEAST = 600.0
DOWN_LEAST = 300.0
CPU_MOST_S = 0.5


def measure(bench: Bench) -> Iterator[Figure]:
    clients.newest_client()
    source = bench.work / "small"
    inputs.small_texts(source, FILES, FILE_BYTES)
    what = f"{FILES:,} files of {FILE_BYTES // 1000} kB"
    with Hub(bench.work / "small-hub") as hub:
        repo = calls.create_repo(hub, "small")
        with hub.cost() as cost:
            wall_s = clients.run(hub.url, "upload", repo, source, bench.work)
        yield Figure(f"{what} up", FILES / wall_s, "files/s", UP_LEAST, at_least=True)
        yield Figure(f"{what} up: server", cost.cpu_s, "CPU-s", CPU_MOST_S)
        with hub.cost() as cost:
            wall_s = clients.run(hub.url, "download", repo, bench.work / "small-back", bench.work)
        got = sum(1 for file in (bench.work / "small-back").rglob("*.txt") if file.stat().st_size == FILE_BYTES)
        if got != FILES:
            raise RuntimeError(f"{got} of {FILES} files came back whole")
        yield Figure(f"{what} down", FILES / wall_s, "files/s", DOWN_LEAST, at_least=True)
        yield Figure(f"{what} down: server", cost.cpu_s, "CPU-s", CPU_MOST_S)
