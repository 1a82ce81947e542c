"""Sends the same HEAD over some connections, each waiting for its answer, and says how fast and how late.

    python -m benchmarks.load PORT PATH TOKEN CONNECTIONS SECONDS

Prints JSON: requests, rate (per second), p50_ms, p99_ms. Speaks just enough HTTP for the answer to a HEAD.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import partial
from typing import cast

import uvloop

WARM_S = 1.0  # not counted: caches fill, connections open


class Caller(asyncio.Protocol):
    """One connection. `spent_s` gets the seconds from each request to the end of its answer's head."""

    def __init__(self, request: bytes, spent_s: list[float]) -> None:
        self._request = request
        self._spent_s = spent_s
        self._got = b""
        self._sent_s = 0.0
        self.broken = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is none by inheritance
        self._send()

    def data_received(self, data: bytes) -> None:
        self._got += data
        if self._got.endswith(b"\r\n\r\n"):
            self._spent_s.append(time.perf_counter() - self._sent_s)
            if not self._got.startswith(b"HTTP/1.1 200"):
                self.broken = self._got[:200].decode("latin-1")
                self._transport.close()
                return
            self._got = b""
            self._send()

    def _send(self) -> None:
        self._sent_s = time.perf_counter()
        self._transport.write(self._request)


def _same(caller: Caller) -> Caller:
    return caller


async def main() -> None:
    port, path, token, connections, seconds = sys.argv[1:]
    request = (
        f"HEAD {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        "User-Agent: bench/1\r\nAccept: */*\r\nAccept-Encoding: identity\r\nConnection: keep-alive\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    spent_s: list[float] = []
    callers = [Caller(request, spent_s) for _ in range(int(connections))]
    for caller in callers:
        await loop.create_connection(partial(_same, caller), "127.0.0.1", int(port))
    await asyncio.sleep(WARM_S)
    spent_s.clear()
    begun_s = time.perf_counter()
    await asyncio.sleep(float(seconds))
    wall_s = time.perf_counter() - begun_s
    ordered = sorted(spent_s)
    broken = next((caller.broken for caller in callers if caller.broken), "")
    if broken or not ordered:
        raise SystemExit(f"no good answer: {broken}")
    told = {
        "requests": len(ordered),
        "rate": len(ordered) / wall_s,
        "p50_ms": 1000 * ordered[len(ordered) // 2],
        "p99_ms": 1000 * ordered[len(ordered) * 99 // 100],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    uvloop.run(main())
