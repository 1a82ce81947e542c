"""A thousand small files up and down with the newest real client.

Beside it a stub that only pretends to be a hub (`stub.py`): what the client and the network cost whatever the server.
"""

from __future__ import annotations

import http.client
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import calls, clients, inputs
from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.processes import TOKEN, USER, Cost, Hub, Server, free_port

FILES = 1000
FILE_BYTES = 10_000
UP_LEAST = 600.0
DOWN_LEAST = 300.0
CPU_MOST_S = 0.5
TRIES = 3
CONNECTIONS = 8  # as many as the client's threads


def measure(bench: Bench) -> Iterator[Figure]:
    clients.newest_client()
    source = bench.work / "small"
    inputs.small_texts(source, FILES, FILE_BYTES)
    port = free_port()
    with Server([sys.executable, "-m", "benchmarks.stub", str(port)], port, bench.work / "stub.log") as stub:
        stub.await_answer("/api/models")
        beside = _both_ways(bench, stub, [f"{USER}/small-{number}" for number in range(TRIES)], source)
    with Hub(bench.work / "small-hub") as hub:
        repos = [calls.create_repo(hub, f"small-{number}") for number in range(TRIES)]
        found = _both_ways(bench, hub, repos, source)
        paths = sorted(file.relative_to(source).as_posix() for file in source.rglob("*.txt"))
        bare_s = _bare(hub, repos[0], paths)
    peer, note = "ASGI stub", f"median of {TRIES}"
    bars = {"up": UP_LEAST, "down": DOWN_LEAST}
    for way, least in bars.items():
        what = f"{FILES:,} files of {FILE_BYTES // 1000} kB {way}"
        rate, peer_rate = FILES / found[way].wall_s, FILES / beside[way].wall_s
        yield Figure(what, rate, "files/s", least, at_least=True, peer=peer, peer_value=peer_rate, note=note)
        spent = found[way].cpu_s
        yield Figure(f"{what}: server", spent, "CPU-s", CPU_MOST_S, peer=peer, peer_value=beside[way].cpu_s, note=note)
    what = f"{FILES:,} files of {FILE_BYTES // 1000} kB down, the same requests without the client"
    yield Figure(what, FILES / bare_s, "files/s", DOWN_LEAST, at_least=True, note=f"{CONNECTIONS} connections")


def _bare(hub: Server, repo: str, paths: list[str]) -> float:
    """Seconds for the requests that the client makes, a HEAD and a GET for each file, made by next to nothing."""

    def fetch(some: list[str]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=calls.TIMEOUT_S)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        for path in some:
            for method in ("HEAD", "GET"):
                connection.request(method, f"/{repo}/resolve/main/{path}", headers=headers)
                answer = connection.getresponse()
                if answer.status != 200 or len(answer.read()) != (FILE_BYTES if method == "GET" else 0):
                    raise RuntimeError(f"{method} {path}: {answer.status}")
        connection.close()

    begun_s = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        list(threads.map(fetch, [paths[first::CONNECTIONS] for first in range(CONNECTIONS)]))
    return time.perf_counter() - begun_s


def _both_ways(bench: Bench, server: Server, repos: list[str], source: Path) -> dict[str, Cost]:
    """What each way costs the server, and how long the client's call took without its start; medians over the repos."""
    costs: dict[str, list[Cost]] = {"up": [], "down": []}
    for repo in repos:
        back = bench.work / f"back-{server.port}-{len(costs['up'])}"
        for way, verb, folder in (("up", "upload", source), ("down", "download", back)):
            with server.cost() as cost:
                called_s = clients.run(server.url, verb, repo, folder, bench.work)
            costs[way].append(Cost(cost.cpu_s, called_s))
        got = sum(1 for file in back.rglob("*.txt") if file.stat().st_size == FILE_BYTES)
        if got != FILES:
            raise RuntimeError(f"{got} of {FILES} files came back whole")
    return {
        way: Cost(statistics.median(one.cpu_s for one in some), statistics.median(one.wall_s for one in some))
        for way, some in costs.items()
    }
