"""Large files by Xet, sent by the newest real client: weights, noise, the same again, and a copy with small edits.

Beside it the bare cost of what verification can't do without: BLAKE3 of the chunks and SHA-256 of the file.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from benchmarks import calls, clients, inputs
from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.processes import UNSEALED, Hub
from benchmarks.relay import Relay

WEIGHTS_MOST = 4.5
NOISE_MOST = 3.5
EDITED_MOST_PERCENT = 1.0
UNIT = "CPU-s/GB"
NAME = "weights.bin"


def measure(bench: Bench) -> Iterator[Figure]:
    clients.newest_client()
    relay = Relay()
    try:
        with Hub(bench.work / "xet-hub", public_url=relay.url, settings=UNSEALED) as hub:
            relay.target = hub.port
            yield from _measure(bench, hub, relay)
    finally:
        relay.close()


def _measure(bench: Bench, hub: Hub, relay: Relay) -> Iterator[Figure]:
    size = f"{bench.size_gb:g} GB"
    random = bench.work / "xet-noise" / NAME
    random.parent.mkdir()
    inputs.noise(random, bench.size_bytes, 2)
    yield from _send(bench, hub, relay, random, (f"upload {size} by Xet, random", NOISE_MOST))
    random.unlink()
    first = bench.work / "xet-weights" / NAME
    first.parent.mkdir()
    inputs.weights(first, bench.size_bytes, 3)
    yield from _send(bench, hub, relay, first, (f"upload {size} by Xet, bf16 weights", WEIGHTS_MOST))

    repo = calls.create_repo(hub, "again")
    relay.reset()
    clients.run(relay.url, "upload", repo, first.parent, bench.work)
    note = f"{relay.up_bytes / 1e3:.0f} kB of requests and shards in all"
    yield Figure("the same file from a fresh client", relay.data_bytes, "data bytes sent", 0, note=note)

    copy = bench.work / "xet-edited" / NAME
    copy.parent.mkdir()
    inputs.edited(first, copy)
    repo = calls.create_repo(hub, "edited")
    relay.reset()
    clients.run(relay.url, "upload", repo, copy.parent, bench.work)
    sent = 100 * relay.up_bytes / bench.size_bytes
    note = f"{relay.data_bytes / 1e3:.0f} kB of data, {relay.up_bytes / 1e3:.0f} kB in all"
    yield Figure("a copy with three small edits", sent, "% sent", EDITED_MOST_PERCENT, note=note)


def _send(bench: Bench, hub: Hub, relay: Relay, file: Path, asked: tuple[str, float]) -> Iterator[Figure]:
    what, most = asked
    repo = calls.create_repo(hub, file.parent.name)
    relay.reset()
    with hub.cost() as cost:
        wall_s = clients.run(relay.url, "upload", repo, file.parent, bench.work)
    floor = _verifying(file) / bench.size_gb
    peer = "BLAKE3 + SHA-256"
    note = f"{bench.size_bytes / 1e6 / wall_s:.0f} MB/s; {relay.data_bytes / 1e6:.0f} MB sent"
    yield Figure(what, cost.cpu_s / bench.size_gb, UNIT, most, peer=peer, peer_value=floor, note=note)


def _verifying(file: Path) -> float:
    """CPU-seconds of both hashes over the whole file, in chunks of 64 KiB."""
    spent_s, digest = 0.0, hashlib.sha256()
    with file.open("rb") as source:
        while piece := source.read(1 << 16):
            begun_s = time.thread_time()
            digest.update(piece)
            blake3(piece, key=bytes(32)).digest()
            spent_s += time.thread_time() - begun_s
    return spent_s
