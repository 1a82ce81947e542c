"""Files as a Xet client would send them: cut into chunks, packed into xorbs, described by shards.

Written from the store's hashes alone, so that a shard can also be made wrong in any one detail.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import lz4.frame
import numpy as np
from asgi_hub import Answer, Body, Hub, lfs_file

from headwater.store import hashes, shard

CHUNK_BYTES = 32 << 10
END = b"\xff" * 32 + bytes(16)
VERIFIED, WITH_SHA256 = 1 << 31, 1 << 30


def chunks_of(data: bytes, size_bytes: int = CHUNK_BYTES) -> list[bytes]:
    """Cut at every so many bytes: the hub believes any cut within Xet's limits."""
    return [data[i : i + size_bytes] for i in range(0, len(data), size_bytes)]


def packed(chunk: bytes, scheme: int = 0) -> bytes:
    """A chunk in Xet's container: 0 plain, 1 LZ4, 2 bytes in four groups and LZ4."""
    if scheme == 2:
        stored = b"".join(chunk[i::4] for i in range(4))
    else:
        stored = chunk
    if scheme:
        stored = lz4.frame.compress(stored, block_linked=False, store_size=False)
    return bytes([0]) + len(stored).to_bytes(3, "little") + bytes([scheme]) + len(chunk).to_bytes(3, "little") + stored


def unpacked(data: bytes) -> bytes:
    """The plain bytes of chunks as the hub serves them."""
    plain, at = [], 0
    while at < len(data):
        stored, scheme = int.from_bytes(data[at + 1 : at + 4], "little"), data[at + 4]
        raw = int.from_bytes(data[at + 5 : at + 8], "little")
        assert (data[at], scheme) == (0, 0)
        assert stored == raw
        plain.append(data[at + 8 : at + 8 + stored])
        at += 8 + stored
    assert at == len(data)
    return b"".join(plain)


@dataclass(frozen=True)
class Xorb:
    chunks: tuple[bytes, ...]

    @property
    def raw_hashes(self) -> bytes:
        return b"".join(map(hashes.chunk_hash, self.chunks))

    @property
    def lengths(self) -> list[int]:
        return [len(chunk) for chunk in self.chunks]

    @property
    def name(self) -> str:
        return hashes.to_text(hashes.merkle_root(self.raw_hashes, self.lengths))

    def serialised(self, scheme: int = 0) -> bytes:
        return b"".join(packed(chunk, scheme) for chunk in self.chunks)

    def records(self) -> bytes:
        out = _record(hashes.from_text(self.name), 0, len(self.chunks), sum(self.lengths))
        at = 0
        for chunk in self.chunks:
            out += _record(hashes.chunk_hash(chunk), at, len(chunk))
            at += len(chunk)
        return out


@dataclass(frozen=True)
class XetFile:
    """A file made of runs of xorbs' chunks; each of the fields below can be replaced by a lie."""

    spans: tuple[tuple[Xorb, int, int], ...]
    lies: dict[str, Any] = field(default_factory=dict)

    @property
    def data(self) -> bytes:
        return b"".join(b"".join(xorb.chunks[a:b]) for xorb, a, b in self.spans)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def name(self) -> str:
        raw = b"".join(xorb.raw_hashes[32 * a : 32 * b] for xorb, a, b in self.spans)
        sizes = np.array([n for xorb, a, b in self.spans for n in xorb.lengths[a:b]], np.uint32)
        return hashes.to_text(hashes.file_hash(raw, sizes))

    @property
    def first_chunk(self) -> str:
        """What a client asks the dedup index for."""
        xorb, start, _ = self.spans[0]
        return hashes.to_text(hashes.chunk_hash(xorb.chunks[start]))

    @property
    def xorbs(self) -> list[Xorb]:
        return list(dict.fromkeys(xorb for xorb, _, _ in self.spans))

    def but(self, **lies: Any) -> XetFile:
        return replace(self, lies=lies)

    def records(self) -> bytes:
        lie = self.lies.get
        flags = lie("flags", VERIFIED | WITH_SHA256)
        out = _record(hashes.from_text(lie("name", self.name)), flags, len(self.spans))
        for xorb, a, b in self.spans:
            size = sum(xorb.lengths[a:b]) + lie("longer", 0)
            out += _record(hashes.from_text(lie("xorb", xorb.name)), 0, size, a, lie("stop", b))
        if flags & VERIFIED:
            for xorb, a, b in self.spans:
                out += _record(lie("range", hashes.range_hash(xorb.raw_hashes[32 * a : 32 * b])))
        if flags & WITH_SHA256:
            out += _record(hashes.from_text(lie("sha256", self.sha256)))
        return out


def xet_file(data: bytes, chunk_bytes: int = CHUNK_BYTES) -> XetFile:
    """A file that is one xorb."""
    xorb = Xorb(tuple(chunks_of(data, chunk_bytes)))
    return XetFile(((xorb, 0, len(xorb.chunks)),))


def shard_of(*files: XetFile, xorbs: Sequence[Xorb] = ()) -> bytes:
    head = shard.HEADER_TAG + struct.pack("<QQ", 2, 0)
    described = xorbs or list(dict.fromkeys(xorb for file in files for xorb in file.xorbs))
    return head + b"".join(f.records() for f in files) + END + b"".join(x.records() for x in described) + END


def _record(raw: bytes, *numbers: int) -> bytes:
    return raw + struct.pack("<4I", *numbers, *[0] * (4 - len(numbers)))


# --- sending them ---


def post_xorb(hub: Hub, token: str, xorb: Xorb, body: bytes | Body | None = None, name: str = "") -> Answer:
    sent = xorb.serialised() if body is None else body
    return hub.post(f"/xet/v1/xorbs/default/{name or xorb.name}", token, body=sent)


def post_shard(hub: Hub, token: str, *files: XetFile) -> Answer:
    return hub.post("/xet/v1/shards", token, body=shard_of(*files))


def with_xet(hub: Hub, repo: str, path: str, file: XetFile, as_: str = "ada", kind: str = "model") -> None:
    """A file by Xet, committed."""
    token = hub.xet(repo, "write", as_, kind=kind)
    for xorb in file.xorbs:
        assert post_xorb(hub, token, xorb).status == 200
    answer = post_shard(hub, token, file)
    assert answer.status == 200, answer.body
    hub.committed(repo, [lfs_file(path, file.sha256, len(file.data))], as_=as_, kind=kind)


def rebuilt(hub: Hub, token: str, name: str, asked: str = "", version: int = 2) -> bytes:
    """The bytes as a Xet client puts them together: each term from its fetch, the skip cut off, the range's end too."""
    headers = {"range": asked} if asked else {}
    plan = hub.ok("GET", f"/xet/v{version}/reconstructions/{name}", token, headers=headers).json
    fetched = fetched_v2(hub, plan) if version == 2 else fetched_v1(hub, plan)
    parts = []
    for term in plan["terms"]:
        run = (term["hash"], term["range"]["start"], term["range"]["end"])
        assert len(fetched[run]) == term["unpacked_length"]
        parts.append(fetched[run])
    whole = b"".join(parts)[plan["offset_into_first_range"] :]
    if asked:
        first, last = asked.removeprefix("bytes=").split("-")
        whole = whole[: int(last) - int(first) + 1]
    return whole


Runs = dict[tuple[str, int, int], bytes]


def fetched_v2(hub: Hub, plan: Any) -> Runs:
    found: Runs = {}
    for name, entries in plan["xorbs"].items():
        for entry in entries:
            for one in entry["ranges"]:
                data = fetch(hub, entry["url"], one["bytes"]["start"], one["bytes"]["end"])
                found[name, one["chunks"]["start"], one["chunks"]["end"]] = unpacked(data)
    return found


def fetched_v1(hub: Hub, plan: Any) -> Runs:
    found: Runs = {}
    urls = [entry["url"] for entries in plan["fetch_info"].values() for entry in entries]
    assert len(urls) == len(set(urls))  # hf_xet 1.1 and 1.2 tell downloads apart by their address
    for name, entries in plan["fetch_info"].items():
        for entry in entries:
            data = fetch(hub, entry["url"], entry["url_range"]["start"], entry["url_range"]["end"])
            found[name, entry["range"]["start"], entry["range"]["end"]] = unpacked(data)
    return found


def fetch(hub: Hub, url: str, first: int, last: int) -> bytes:
    """Without any credential, as clients do."""
    answer = hub.get(hub.local(url), headers={"range": f"bytes={first}-{last}"})
    assert answer.status == 206, answer.body
    assert len(answer.body) == last - first + 1
    return answer.body
