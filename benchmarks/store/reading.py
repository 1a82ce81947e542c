"""Reading sealed files: short ranges, the first byte, a whole file, and what that takes of the hub's memory.

Warm: pages in the system's cache, the codec loaded, the hub asked before. The blocks that a range needs are never in
the cache of blocks: each is asked for once.
"""

from __future__ import annotations

import random
import resource
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import calls
from benchmarks.figures import Figure
from benchmarks.processes import TOKEN, USER, Hub
from benchmarks.store import large, sealed_hub
from benchmarks.store.large import GB, Made
from headwater import app, codec
from headwater.ground.names import Sha256
from headwater.ground.settings import Settings
from headwater.store import Store

RANGE_BYTES = 64 << 10
BLOCK_BYTES = codec.BLOCK_BYTES_MAX
RANGES = 200
RANGE_MOST_MS = 10.0
FIRST_BYTES = 150
FIRST_BYTE_MOST = 2.0
OVER_IDLE_MOST_MB = 150.0
READERS = 8
WARM_WAIT_S = 5.0
ROOM = 5  # times a file: three raw, and what is sealed of two


@dataclass(frozen=True, slots=True)
class _Files:
    data: Path
    base: Made
    tune: Made
    raw: Made
    seal_s: float
    """CPU time for sealing the fine-tune: the command from its start on, looking for parents, encoding, the proof."""


def measure(size_gb: float) -> Iterator[Figure]:
    """Of a base, stored alone, and a fine-tune of it, on one parent; beside them a raw file of the same size."""
    with sealed_hub.room_for(int(ROOM * size_gb * GB)) as work:
        files = _prepared(work, int(size_gb * GB))
        speed = files.tune.size / GB / files.seal_s
        yield Figure("sealing a fine-tune, from the command's start to the proof", speed, "GB per CPU-s")
        yield from _inside(files)
        with Hub(files.data, settings={"HEADWATER_SEAL": "false"}) as hub:
            yield from _started(hub)
            yield from _first_bytes(hub)
            yield from _ranges(hub, files)
            yield from _memory(hub, files)


def _prepared(work: Path, size_bytes: int) -> _Files:
    data = work / "hub"
    with Hub(data, settings={"HEADWATER_SEAL": "false"}) as hub:
        made = []
        for name, seed, drift, of in (
            ("base", 1, 0.0, ""),
            ("tune", 1, large.DRIFT, "bench/base"),
            ("plain", 3, 0.0, ""),
        ):
            made.append(large.make(work / "model.safetensors", size_bytes, seed, drift))
            sealed_hub.upload(hub, name, made[-1], of)
    for name in ("base", "tune"):
        before_s = _children_s()
        sealed_hub.by_hand(data, "seal", f"{USER}/{name}")
        seal_s = _children_s() - before_s
    sealed_hub.evict(data)
    files = _Files(data, *made, seal_s)
    for one, where in ((files.base, "gone"), (files.tune, "gone"), (files.raw, "here")):
        found = sealed_hub.state(data, one.sha256)
        if found is None or found[2] != where:
            raise RuntimeError(f"the raw copy of {one.sha256} is not {where}: {found}")
    return files


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _inside(files: _Files) -> Iterator[Figure]:
    """Without HTTP, in this process."""
    codec.warm()
    rooms = app.open_rooms(Settings(data=str(files.data)))
    try:
        for what, made in (("stored alone", files.base), ("on one parent", files.tune)):
            read = partial(_read, rooms.store, Sha256(made.sha256))
            yield from _figures(f"64 KiB of a sealed file, {what}", made, read)
    finally:
        rooms.db.close()


def _read(store: Store, sha256: Sha256, start: int, stop: int) -> bytes:
    return b"".join(store.read(sha256, start, stop))


def _figures(what: str, made: Made, read: Callable[[int, int], bytes]) -> Iterator[Figure]:
    taken = _taken_ms(made, read)
    yield Figure(f"{what}: p50", statistics.median(taken), "ms", RANGE_MOST_MS, note=f"of {len(taken)}")
    yield Figure(f"{what}: p99", _share(taken, 0.99), "ms", RANGE_MOST_MS, note="3 % of the ranges need two blocks")


def _taken_ms(made: Made, read: Callable[[int, int], bytes]) -> list[float]:
    """Of ranges in blocks that were not read before."""
    chance = random.Random(5)
    blocks = list(range(1, made.size // BLOCK_BYTES - 2, 2))  # every other: a range may reach into the next
    chance.shuffle(blocks)
    taken = []
    for block in blocks[:RANGES]:
        start = block * BLOCK_BYTES + chance.randrange(BLOCK_BYTES)
        begun_s = time.perf_counter()
        got = read(start, start + RANGE_BYTES)
        taken.append(1000 * (time.perf_counter() - begun_s))
        if len(got) != RANGE_BYTES:
            raise RuntimeError(f"{len(got)} bytes from {start} on instead of {RANGE_BYTES}")
    return taken


def _share(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def _started(hub: Hub) -> Iterator[Figure]:
    """The codec loads by itself soon after the start; then the first read is like any other."""
    time.sleep(WARM_WAIT_S)
    first_ms = 1000 * _Client(hub, "tune").first_byte_s()
    yield Figure("the first read of a sealed file after a start", first_ms, "ms", note=f"{WARM_WAIT_S:.0f} s after it")


def _first_bytes(hub: Hub) -> Iterator[Figure]:
    raw, sealed = [], []
    for _ in range(FIRST_BYTES):  # in turns: what else runs on the machine slows both
        raw.append(1000 * _Client(hub, "plain").first_byte_s())
        sealed.append(1000 * _Client(hub, "tune").first_byte_s())
    half = FIRST_BYTES // 2  # the first half warms
    ours, theirs = statistics.median(sealed[half:]), statistics.median(raw[half:])
    note = f"sealed {ours:.2f} ms, p99 {_share(sealed[half:], 0.99):.1f} ms"
    yield Figure("first byte of a sealed file, to a raw one", ours / theirs, "x", FIRST_BYTE_MOST, note=note)
    yield Figure("first byte of a sealed file", ours, "ms", peer="raw", peer_value=theirs)


def _ranges(hub: Hub, files: _Files) -> Iterator[Figure]:
    for what, name, made in (("stored alone", "base", files.base), ("on one parent", "tune", files.tune)):
        client = _Client(hub, name)
        client.read(0, RANGE_BYTES)
        yield from _figures(f"64 KiB by HTTP, {what}", made, client.read)


def _memory(hub: Hub, files: _Files) -> Iterator[Figure]:
    idle = sealed_hub.rss_mb(hub.pid)
    begun_s = time.perf_counter()
    with hub.peak_rss() as peak:
        calls.download(f"{hub.url}/{USER}/tune/resolve/main/model.safetensors")
    speed = files.tune.size / 1e6 / (time.perf_counter() - begun_s)
    size = f"{files.tune.size / GB:.2g} GB"
    note = f"{speed:.0f} MB/s; before it {idle:.0f} MB, the codec and its cache of blocks included"
    over = peak[0] / 1e6 - idle
    yield Figure(f"serving a sealed file of {size}: memory over idle", over, "MB", OVER_IDLE_MOST_MB, note=note)
    threads = [threading.Thread(target=_many_ranges, args=(hub, files.tune, seed)) for seed in range(READERS)]
    with hub.peak_rss() as peak:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    over = peak[0] / 1e6 - idle
    yield Figure(f"{READERS} readers of ranges at once: memory over idle", over, "MB", OVER_IDLE_MOST_MB)


def _many_ranges(hub: Hub, made: Made, seed: int) -> None:
    chance, client = random.Random(seed), _Client(hub, "tune")
    for _ in range(RANGES // 4):
        start = chance.randrange(made.size - BLOCK_BYTES)
        client.read(start, start + RANGE_BYTES)


class _Client:
    """A connection, made before the clock starts."""

    def __init__(self, hub: Hub, name: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", hub.port), 60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = (
            f"GET /{USER}/{name}/resolve/main/model.safetensors HTTP/1.1\r\nHost: bench\r\n"
            f"Authorization: Bearer {TOKEN}\r\n"
        )

    def first_byte_s(self) -> float:
        """Until a byte of the body is here; the rest is not taken."""
        begun_s = time.perf_counter()
        self._socket.sendall(f"{self._head}\r\n".encode())
        self._body()
        taken_s = time.perf_counter() - begun_s
        self._socket.close()
        return taken_s

    def read(self, start: int, stop: int) -> bytes:
        self._socket.sendall(f"{self._head}Range: bytes={start}-{stop - 1}\r\n\r\n".encode())
        got = self._body()
        while len(got) < stop - start:
            got += self._more()
        return got

    def _body(self) -> bytes:
        """What came of the body together with the head, or right after it."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        if head.split()[1] not in (b"200", b"206"):
            raise RuntimeError(f"the hub answers {head[:300]!r}")
        return body or self._more()

    def _more(self) -> bytes:
        data = self._socket.recv(1 << 20)
        if not data:
            raise RuntimeError("the hub closed the connection")
        return data
