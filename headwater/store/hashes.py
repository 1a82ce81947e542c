"""Xet's hashes: of a chunk, of a xorb, of a file, and of a range of chunks. It knows no container and no storage.

A hash is 32 raw bytes here and in every array (n hashes are one `bytes` of 32 * n). Its text form is not plain hex:
see `to_text`. All hashing is BLAKE3 in keyed mode with one fixed key per purpose, so that the hash of a chunk can
never be passed off as the hash of a node.

Sources: xet-core `merklehash/data_hash.rs` (keys, text form), `merklehash/aggregated_hashes.rs` (the tree),
`metadata_shard/chunk_verification.rs` (range hash); IETF draft `draft-denis-xet`, which states the tree's cut rule.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NewType

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from headwater.ground.errors import Invalid

XetHash = NewType("XetHash", str)
"""64 lower-case hex digits in Xet's order: the name of a chunk, a xorb or a Xet file."""

Lengths = Sequence[int] | npt.NDArray[np.uint32] | npt.NDArray[np.uint64]
"""Lengths of chunks, in bytes."""

HASH_BYTES = 32

DATA_KEY = bytes.fromhex("6697f5775b9550de3135cbaca597181c9de421109beb2b58b4d0b04b93adf229")
NODE_KEY = bytes.fromhex("017ec5c7a5472996fd946666b48a02e65ddd536f37c76dd2f86352e64a53713f")
RANGE_KEY = bytes.fromhex("7f1857d6ce56ed66127ff913e7a5c3f3a4cd26d5b5db49e64124987f28fb94c3")
ZERO = bytes(HASH_BYTES)
"""The hash of nothing, and the key of file hashes (Xet's repo salt, which the hub leaves at zero)."""

NODE_CHILDREN_MIN = 2  # a cut is looked for after this many, so a node has at least three children (but for the last)
NODE_CHILDREN_MAX = 9  # twice Xet's mean branching factor of 4, plus 1
NODE_CUT_MASK = 3  # a node ends after a child whose last u64 is a multiple of 4
TREE_WINDOW = 16_384  # nodes of a level worked on at a time: 2 MiB of text

_TEXT = re.compile(r"[0-9a-f]{64}\Z")


def to_text(raw: bytes) -> XetHash:
    """The text form of a hash: its four little-endian u64 as hex numbers, so the bytes of each are turned round."""
    if len(raw) != HASH_BYTES:
        raise Invalid(f"xet hash: {len(raw)} bytes instead of {HASH_BYTES}")
    return XetHash((raw[7::-1] + raw[15:7:-1] + raw[23:15:-1] + raw[31:23:-1]).hex())


def from_text(text: str) -> bytes:
    """The 32 bytes of a hash's text form."""
    if not _TEXT.match(text):
        raise Invalid(f"xet hash: {text[:80]!r} is not 64 lower-case hex digits")
    turned = bytes.fromhex(text)
    return turned[7::-1] + turned[15:7:-1] + turned[23:15:-1] + turned[31:23:-1]


def chunk_hash(data: bytes | memoryview) -> bytes:
    """The hash of a chunk's (uncompressed) bytes."""
    return blake3(data, key=DATA_KEY).digest()


def keyed(key: bytes, raw_hash: bytes) -> bytes:
    """A hash under a key of 32 bytes: how dedup answers hide chunk hashes from whoever does not have the chunk."""
    return blake3(raw_hash, key=key).digest()


def range_hash(raw_hashes: bytes | memoryview) -> bytes:
    """The hash over consecutive chunks' hashes: whoever states it for a term has seen these hashes."""
    return blake3(raw_hashes, key=RANGE_KEY).digest()


def merkle_root(raw_hashes: bytes | memoryview, lengths: Lengths) -> bytes:
    """The hash of a xorb with these chunks; one chunk alone is its own root, no chunk is all zeros."""
    tree = Tree()
    tree.add(raw_hashes, lengths)
    return tree.root()


def file_hash(raw_hashes: bytes | memoryview, lengths: Lengths) -> bytes:
    """The hash of a file made of these chunks; the empty file's is all zeros."""
    return file_hash_of_root(merkle_root(raw_hashes, lengths)) if len(raw_hashes) else ZERO


def file_hash_of_root(root: bytes) -> bytes:
    """The hash of a (not empty) file whose chunks have this `Tree.root`."""
    return keyed(ZERO, root)


class Tree:
    """The Merkle tree over chunks, built as they come: a terabyte's 16 million chunks need a few MiB.

    A level turns into the next one node by node. The node that starts at position i takes everything when at most
    two are left; else it ends after the first child at i+2 ... i+8 whose last u64 is a multiple of 4; else it takes
    nine, or all that is left. Its hash is that of the lines `hex : length` of its children, its length their sum.
    """

    def __init__(self) -> None:
        self._levels: list[_Level] = [_Level()]

    def add(self, raw_hashes: bytes | memoryview, lengths: Lengths) -> None:
        """Append chunks: 32 bytes of hash and a length in bytes for each."""
        sizes = np.asarray(lengths, dtype=np.uint64)
        if len(raw_hashes) != HASH_BYTES * len(sizes):
            raise Invalid(f"chunk hashes: {len(raw_hashes)} bytes for {len(sizes)} lengths")
        self._push(0, np.frombuffer(raw_hashes, np.uint8).reshape(-1, HASH_BYTES), sizes)

    def root(self) -> bytes:
        """The root over all that was added. The tree is used up."""
        at = 0
        while True:
            level = self._levels[at]
            hashes, sizes = level.take()
            if level.passed_up or len(hashes) > 1:
                self._push(at + 1, *_parents(hashes, sizes, final=True)[:2])
                at += 1
            else:
                return hashes.tobytes() if len(hashes) else ZERO

    def _push(self, at: int, hashes: _Hashes, sizes: _Sizes) -> None:
        if at == len(self._levels):
            self._levels.append(_Level())
        level = self._levels[at]
        level.hashes.append(hashes)
        level.sizes.append(sizes)
        level.waiting += len(hashes)
        while level.waiting >= TREE_WINDOW:
            all_hashes, all_sizes = level.take()
            done = 0
            # The last nine wait: how they are cut depends on what follows them.
            while len(all_hashes) - done >= TREE_WINDOW:
                window = slice(done, done + TREE_WINDOW)
                up_hashes, up_sizes, used = _parents(all_hashes[window], all_sizes[window], final=False)
                level.passed_up = True
                done += used
                self._push(at + 1, up_hashes, up_sizes)
            level.hashes.append(all_hashes[done:])
            level.sizes.append(all_sizes[done:])
            level.waiting = len(all_hashes) - done


_Hashes = npt.NDArray[np.uint8]
_Sizes = npt.NDArray[np.uint64]


class _Level:
    """Nodes of one level that have no parent yet."""

    def __init__(self) -> None:
        self.hashes: list[_Hashes] = []
        self.sizes: list[_Sizes] = []
        self.waiting = 0
        self.passed_up = False

    def take(self) -> tuple[_Hashes, _Sizes]:
        hashes = np.concatenate(self.hashes) if self.hashes else np.empty((0, HASH_BYTES), np.uint8)
        sizes = np.concatenate(self.sizes) if self.sizes else np.empty(0, np.uint64)
        self.hashes, self.sizes, self.waiting = [], [], 0
        return hashes, sizes


def _parents(hashes: _Hashes, sizes: _Sizes, *, final: bool) -> tuple[_Hashes, _Sizes, int]:
    """The parents of these nodes, and how many nodes have one: all if `final`, else all but the last few."""
    cuts = _cuts(hashes, final=final)
    used = cuts[-1]
    turned = np.ascontiguousarray(hashes[:used]).view("<u8").astype(">u8").tobytes().hex()
    width = 2 * HASH_BYTES
    lines = [f"{turned[i * width : (i + 1) * width]} : {size}\n" for i, size in enumerate(sizes[:used].tolist())]
    digests = [
        blake3("".join(lines[start:stop]).encode("ascii"), key=NODE_KEY).digest() for start, stop in pairwise(cuts)
    ]
    parents = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, HASH_BYTES)
    sums = np.add.reduceat(sizes[:used], cuts[:-1]) if used else np.empty(0, np.uint64)
    return parents, sums, used


def _cuts(hashes: _Hashes, *, final: bool) -> list[int]:
    """Where the nodes' families begin, from 0 on, and where the last one ends."""
    count = len(hashes)
    # For each position the first one, from there on, that may close a family: the loop below then only looks up.
    closers = np.where((hashes[:, 24] & NODE_CUT_MASK) == 0, np.arange(count), count)
    next_closer = np.minimum.accumulate(closers[::-1])[::-1].tolist() if count else []
    cuts = [0]
    start = 0
    last_start = count - 1 if final else count - NODE_CHILDREN_MAX
    while start <= last_start:
        if count - start <= NODE_CHILDREN_MIN:
            stop = count
        else:
            stop = min(start + NODE_CHILDREN_MAX, count, next_closer[start + NODE_CHILDREN_MIN] + 1)
        cuts.append(stop)
        start = stop
    return cuts
