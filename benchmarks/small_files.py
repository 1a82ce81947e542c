"""A thousand small files up and down with the newest real client.

Beside it a stub that only pretends to be a hub (`stub.py`): what the client and the network cost whatever the server.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import calls, clients, inputs
from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.processes import USER, Cost, Hub, Server, free_port

FILES = 1000
FILE_BYTES = 10_000
UP_LEAST = 600.0
DOWN_LEAST = 300.0
CPU_MOST_S = 0.5


def measure(bench: Bench) -> Iterator[Figure]:
    clients.newest_client()
    source = bench.work / "small"
    inputs.small_texts(source, FILES, FILE_BYTES)
    port = free_port()
    with Server([sys.executable, "-m", "benchmarks.stub", str(port)], port, bench.work / "stub.log") as stub:
        stub.await_answer("/api/models")
        beside = _both_ways(bench, stub, f"{USER}/small", source)
    with Hub(bench.work / "small-hub") as hub:
        found = _both_ways(bench, hub, calls.create_repo(hub, "small"), source)
    peer = "ASGI stub"
    bars = {"up": UP_LEAST, "down": DOWN_LEAST}
    for way, least in bars.items():
        what = f"{FILES:,} files of {FILE_BYTES // 1000} kB {way}"
        rate, peer_rate = FILES / found[way].wall_s, FILES / beside[way].wall_s
        yield Figure(what, rate, "files/s", least, at_least=True, peer=peer, peer_value=peer_rate)
        spent = found[way].cpu_s
        yield Figure(f"{what}: server", spent, "CPU-s", CPU_MOST_S, peer=peer, peer_value=beside[way].cpu_s)


def _both_ways(bench: Bench, server: Server, repo: str, source: Path) -> dict[str, Cost]:
    """What each way costs the server, and how long the client's call took without its start."""
    costs: dict[str, Cost] = {}
    back = bench.work / f"back-{server.port}"
    for way, verb, folder in (("up", "upload", source), ("down", "download", back)):
        with server.cost() as cost:
            called_s = clients.run(server.url, verb, repo, folder, bench.work)
        costs[way] = Cost(cost.cpu_s, called_s)
    got = sum(1 for file in back.rglob("*.txt") if file.stat().st_size == FILE_BYTES)
    if got != FILES:
        raise RuntimeError(f"{got} of {FILES} files came back whole")
    return costs
