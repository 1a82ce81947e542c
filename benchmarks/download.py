"""One large file over one connection: by the hub itself, by nginx alone, and by nginx on the hub's word."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from benchmarks import calls, inputs
from benchmarks.bench import Bench
from benchmarks.figures import Figure, Skipped
from benchmarks.processes import UNSEALED, Hub, Nginx, Server, free_port

TRIES = 3
PYTHON_MOST = 0.35
NGINX_MOST = 0.1
UNIT = "CPU-s/GB"


def measure(bench: Bench) -> Iterator[Figure]:
    source = bench.work / "download" / "weights.bin"
    source.parent.mkdir(parents=True)
    sha256 = inputs.noise(source, bench.size_bytes, 1)
    data = bench.work / "download-hub"
    with Hub(data, settings=UNSEALED) as hub:
        repo = calls.create_repo(hub, "large", private=True)
        calls.put_lfs(hub, repo, source, sha256)
        calls.commit(hub, repo, [calls.lfs_file("weights.bin", sha256, bench.size_bytes)])
        address = f"/{repo}/resolve/main/weights.bin"
        beside: float | None = None
        beside_mb: float | None = None
        try:
            with Nginx(bench.work / "nginx", source.parent).await_listening() as nginx:
                beside, _, beside_mb = _fetch(bench, f"{nginx.url}/files/weights.bin", nginx)
        except Skipped:
            pass
        per_gb, _, mb = _fetch(bench, hub.url + address, hub)
    what = f"download {bench.size_gb:g} GB, one connection"
    peer = "nginx sendfile"
    note = f"median of {TRIES}; without the sealing process"
    yield Figure(what, per_gb, UNIT, PYTHON_MOST, peer=peer, peer_value=beside, note=note)
    yield Figure(f"{what}: speed", mb, "MB/s", peer=peer, peer_value=beside_mb)
    port = free_port()
    settings = {**UNSEALED, "HEADWATER_ACCEL_REDIRECT_PREFIX": "/_blobs/"}
    public_url = f"http://127.0.0.1:{port}"
    with (
        Hub(data, public_url=public_url, settings=settings) as hub,
        Nginx(
            bench.work / "nginx-front", source.parent, port=port, hub_port=hub.port, store=data / "store"
        ).await_listening() as nginx,
    ):
        own, nginx_own, mb = _fetch(bench, public_url + address, hub, nginx)
    what = f"{what}, nginx in front"
    yield Figure(what, own, UNIT, NGINX_MOST, note="the hub's process")
    yield Figure(f"{what}: together", own + nginx_own, UNIT, peer=peer, peer_value=beside, note="hub and nginx")
    yield Figure(f"{what}: speed", mb, "MB/s", peer=peer, peer_value=beside_mb)


def _fetch(bench: Bench, url: str, server: Server, beside: Server | None = None) -> tuple[float, float, float]:
    """CPU-seconds per GB of the server, and of one beside it, and MB/s; medians."""
    spent, spent_beside, speeds = [], [], []
    for _ in range(TRIES):
        with server.cost() as cost, (beside or server).cost() as other:
            got = calls.download(url)
        if got != bench.size_bytes:
            raise RuntimeError(f"{url}: {got} bytes instead of {bench.size_bytes}")
        spent.append(cost.cpu_s / bench.size_gb)
        spent_beside.append(other.cpu_s / bench.size_gb)
        speeds.append(bench.size_bytes / 1e6 / other.wall_s)
    return statistics.median(spent), statistics.median(spent_beside), statistics.median(speeds)
