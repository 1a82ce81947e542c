"""Chunk boundaries and Xet hashes of files equal those of Xet's own client."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.store import chunking, hashes
from headwater.store.chunking import CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, GEAR

MASK64 = (1 << 64) - 1


def stream(size_bytes: int) -> bytes:
    """The same random-looking bytes everywhere and always."""
    return hashlib.shake_128(b"headwater").digest(size_bytes)


def splitmix(size_bytes: int) -> bytes:
    """The random bytes of xet-core's own chunking test (SplitMix64, seed 0)."""
    state, words = 0, []
    for _ in range(-(-size_bytes // 8)):
        state = (state + 0x9E3779B97F4A7C15) & MASK64
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK64
        words.append((z ^ (z >> 31)).to_bytes(8, "little"))
    return b"".join(words)[:size_bytes]


# Bytes after which the gear hash fits once: repeated, with zeros between, they try every case near the minimum.
HITTING = bytes.fromhex(
    "9a342a229f4b7ee046ec0cc44fecb27c7f3263b22cb0ae7efaebcdaefc7a230a1465d645c10873699ee4786f88a2c6fbd3b7fdfca4933f10"
    "baa27517aa24cdbbae4cd2aed3af0cad913b0246deb59fe3b69cbd33e26a1832b79d8c0a0817d4460aea1721dbfe27ec4631bf7409730f65"
    "1a9fa5dc0faa387d5ca35eeb26283151"
)


def slow_boundaries(data: bytes) -> list[int]:
    """The rule byte by byte, as one reads it."""
    gear = [int(word) for word in GEAR]
    cuts, start, h = [], 0, 0
    for i, byte in enumerate(data):
        h = ((h << 1) + gear[byte]) & MASK64
        size = i + 1 - start
        if (size >= CHUNK_BYTES_MIN and h >> 48 == 0) or size == CHUNK_BYTES_MAX:
            cuts.append(i + 1)
            start, h = i + 1, 0
    return cuts if start == len(data) else [*cuts, len(data)]


def test_random_bytes_are_cut_where_xet_core_cuts_them() -> None:
    expected = [
        84493, 134421, 144853, 243318, 271793, 336457, 467529, 494581, 582000, 596735, 616815, 653164, 678202, 724510,
        815591, 827760, 958832, 991092, 1000000,
    ]  # fmt: skip
    assert expected == chunking.boundaries(splitmix(1_000_000))


def test_constant_bytes_are_cut_at_the_maximum() -> None:
    assert chunking.boundaries(b"\x3b" * 500_000) == [131072, 262144, 393216, 500000]


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        (0, [8256, 16448, 24640, 32832, 41024, 49216, 57408, 65536]),
        (1, [8320, 16576, 24832, 33088, 41344, 49600, 57856, 65536]),
        (2, [8254, 16574, 24894, 33214, 41534, 49854, 58174, 65536]),
        (5, [8310, 16556, 24802, 33048, 41294, 49540, 57786, 65536]),
    ],
)
def test_a_fit_before_the_minimum_is_passed_over(padding: int, expected: list[int]) -> None:
    unit = HITTING + bytes(padding)
    data = (unit * (65_536 // len(unit) + 1))[:65_536]
    assert expected == chunking.boundaries(data)


@pytest.mark.parametrize("make", [stream, bytes, lambda size: (HITTING * (size // len(HITTING) + 1))[:size]])
def test_boundaries_are_those_of_the_rule_read_byte_by_byte(make: Callable[[int], bytes]) -> None:
    data = make(300_001)
    assert slow_boundaries(data) == chunking.boundaries(data)


def test_the_empty_file_has_no_chunks() -> None:
    assert chunking.boundaries(b"") == []
    assert list(chunking.chunks([])) == []
    assert list(chunking.chunks([b"", b""])) == []


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, 700_000), max_size=4), st.integers(1, 1_500_000))
def test_chunks_do_not_depend_on_the_pieces_they_come_in(ends: list[int], piece_bytes: int) -> None:
    data = b"".join(stream(end) for end in ends)
    pieces = [data[i : i + piece_bytes] for i in range(0, len(data), piece_bytes)]
    chunks = list(chunking.chunks(pieces))
    assert b"".join(chunks) == data
    cuts = chunking.boundaries(data)
    assert [stop - start for start, stop in zip([0, *cuts], cuts, strict=False)] == [len(chunk) for chunk in chunks]


# Computed with hf_xet 1.8.0's hash_files.
KNOWN = {
    "empty": (b"", "0" * 64),
    "hello": (b"Hello World!", "a9dae0ad88b060bdd7e7c87abdcf95b132c95a0414b06d4f6beb68d287b87165"),
    "the minimum": (stream(8192), "88dc02d16ffeaeecf4ffd0faaa9ccfb9cfdb99fef8817d43422b11a51b1dae7a"),
    "one more": (stream(8193), "1f70da1d012cb72b4555b6a37a62910a3795fc784ce05080eb2d24da7a7f6d83"),
    "the maximum and 1": (stream(131_073), "2ddced84eee3caa83b7f2e48ecb50feb9ae84e56f6838e14115cfdd3f6438f1a"),
    "several levels": (stream(1_000_000), "0e8d251dfc0eedacd6011e25f428693fc3be3523e15534313adb81a5806bdde0"),
    "zeros": (bytes(300_000), "3d7bd4178bc2851ba07d59c24c3a88ae0c7220e9920d6c5c6a06b01556d46404"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_hash_of_a_file_is_what_the_client_computes(name: str) -> None:
    data, expected = KNOWN[name]
    assert expected == chunking.xet_hash([data])
    assert expected == chunking.xet_hash(data[i : i + 4099] for i in range(0, len(data), 4099))


def test_the_client_installed_here_computes_the_same_hashes(tmp_path: Path) -> None:
    hf_xet = pytest.importorskip("hf_xet")
    sizes = [1, 64, 65, 8191, 8193, 65_536, 131_071, 131_072, 262_145, 2_000_000]
    paths = [tmp_path / str(size) for size in sizes]
    for path, size in zip(paths, sizes, strict=True):
        path.write_bytes(stream(size))
    expected = [info.hash for info in hf_xet.hash_files([str(path) for path in paths])]
    assert expected == [chunking.xet_hash(_pieces(path)) for path in paths]


def _pieces(path: Path) -> Iterator[bytes]:
    yield path.read_bytes()


def test_a_long_file_is_hashed_in_batches_to_the_same_hash() -> None:
    data = HITTING * 70_000  # 1,100 chunks of 8 KiB
    chunks = list(chunking.chunks([data]))
    assert len(chunks) > chunking.BATCH_CHUNKS
    whole = hashes.file_hash(b"".join(map(hashes.chunk_hash, chunks)), [len(chunk) for chunk in chunks])
    assert hashes.to_text(whole) == chunking.xet_hash([data])
