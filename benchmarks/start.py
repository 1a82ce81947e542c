"""From exec to ready, and what an idle hub holds in memory. Beside it: a bare uvicorn that says hello."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.processes import Hub, Server, cpu_s, free_port

TRIES = 5
READY_MOST_S = 1.5
RSS_MOST_MB = 100.0
IDLE_S = 5.0
_HELLO = """
import uvicorn
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
uvicorn.run(app, port=%d, lifespan="off", log_level="critical")
"""


def measure(bench: Bench) -> Iterator[Figure]:
    data = bench.work / "start"
    with Hub(data):
        pass  # the first start makes the schema
    ready_s, hello_s, rss_mb, hello_mb, spent_s = [], [], [], [], []
    for _ in range(TRIES):
        hub = Hub(data)
        ready_s.append(hub.await_answer("/health/ready"))
        spent_s.append(cpu_s(hub.pid))
        with hub:
            time.sleep(IDLE_S)
            rss_mb.append(hub.rss_bytes() / 1e6)
        port = free_port()
        with Server([sys.executable, "-c", _HELLO % port], port, bench.work / "hello.log") as hello:
            hello_s.append(hello.await_answer("/"))
            hello_mb.append(hello.rss_bytes() / 1e6)
    peer = "bare uvicorn"
    note = f"median of {TRIES} starts; {statistics.median(spent_s):.2f} CPU-s"
    ready, beside = statistics.median(ready_s), statistics.median(hello_s)
    yield Figure("start: exec to ready", ready, "s", READY_MOST_S, peer=peer, peer_value=beside, note=note)
    fresh = bench.work / "start-fresh"
    hub = Hub(fresh)
    first = hub.await_answer("/health/ready")
    with hub:
        yield Figure("start: the same over an empty folder", first, "s", note="makes schema and folders")
    held, beside = statistics.median(rss_mb), statistics.median(hello_mb)
    yield Figure("start: RSS, idle", held, "MB", RSS_MOST_MB, peer=peer, peer_value=beside, note=f"after {IDLE_S:g} s")
