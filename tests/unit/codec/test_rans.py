"""Tables and streams: small, exact, and refused when they are not what an encoder writes."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from headwater.codec import rans
from headwater.codec.form import Undecodable
from headwater.codec.scratch import Scratch
from headwater.codec.streams import Parts, part, squeezed, unsqueezed, unzipped, zipped


def tokens(size: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Tokens whose spread depends on their key, as differences' on exponents."""
    rng = np.random.default_rng(seed)
    key = rng.normal(120, 2, size).astype(np.uint8)
    return key, np.minimum(np.abs(rng.standard_normal(size)) * np.exp2(120.0 - key) * 3, 160).astype(np.uint8)


def counted(key: np.ndarray, token: np.ndarray) -> np.ndarray:
    counts = np.zeros((256, 256), np.uint32)
    np.add.at(counts, (key, token), 1)
    return counts


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 1000, 70_001])
def test_tokens_come_back(size: int) -> None:
    key, token = tokens(size)
    tables = rans.fit(counted(key, token))
    stream = rans.encode(key, token, tables, Scratch(0))
    cells = key.copy()
    rans.decode(cells, stream, rans.unpack(tables.pack(), 256), Scratch(0))
    assert token.tobytes() == cells.tobytes()


def test_a_stream_takes_what_the_entropy_of_its_tables_says() -> None:
    key, token = tokens(200_000)
    counts = counted(key, token)
    tables = rans.fit(counts)
    share = counts[counts.sum(axis=1) > 0].astype(float)
    total = share.sum(axis=1, keepdims=True)
    entropy = -(share * np.log2(np.maximum(share, 1) / total)).sum()
    stored = 8 * (len(rans.encode(key, token, tables, Scratch(0))) + len(tables.pack()))
    assert tables.bits(counts) + 8 * 32 <= stored <= 1.02 * entropy + 8 * 32


def test_keys_that_are_alike_share_a_table_and_others_do_not() -> None:
    counts = np.zeros((256, 256), np.uint32)
    counts[10:20, 0] = counts[10:20, 1] = 5000
    counts[20:30, 2] = counts[20:30, 3] = 5000
    tables = rans.fit(counts)
    assert tables.starts == (0, 20)
    assert tables.frequencies[:, :4].tolist() == [[1024, 1024, 0, 0], [0, 0, 1024, 1024]]


def test_the_rarest_token_among_many_still_has_a_slot() -> None:
    counts = np.zeros((256, 256), np.uint32)
    counts[0, :] = 1
    counts[0, 7] = 1 << 31
    tables = rans.fit(counts)
    assert tables.frequencies.min() == 1
    assert tables.frequencies.sum() == 2048


def test_tables_say_that_a_token_they_lack_cannot_be_coded() -> None:
    counts = np.zeros((256, 256), np.uint32)
    counts[0, 3] = 9
    tables = rans.fit(counts)
    counts[0, 5] = 1
    assert tables.bits(counts) == float("inf")


def packed(rows: int, columns: int, starts: list[int], frequencies: list[int]) -> bytes:
    f = np.array(frequencies, np.uint16)
    low, high = (f & 255).astype(np.uint8), (f >> 8).astype(np.uint8)
    return squeezed(bytes([rows - 1, columns - 1, *starts]) + low.tobytes() + high.tobytes())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x07abc",
        b"\x00",
        b"\x01no frame",
        packed(1, 2, [0], [1024, 1023]),
        packed(1, 2, [0], [2048, 1]),
        packed(1, 1, [1], [2048]),
        packed(2, 1, [0, 0], [2048, 2048]),
        packed(3, 1, [0, 9, 4], [2048, 2048, 2048]),
        packed(1, 1, [0], [2048, 0]),
        packed(1, 200, [0], [2048] + [0] * 199),
        squeezed(bytes(1 << 20)),
    ],
)
def test_tables_that_are_none_are_refused(data: bytes) -> None:
    with pytest.raises(Undecodable):
        rans.unpack(data, 164)


def test_a_stream_that_is_cut_or_longer_is_refused() -> None:
    key, token = tokens(5000)
    tables = rans.fit(counted(key, token))
    stream = rans.encode(key, token, tables, Scratch(0))
    for data in [b"", stream[:-4], stream[:-1], stream[:31], stream + bytes(4), bytes(len(stream))]:
        with pytest.raises(Undecodable):
            rans.decode(key.copy(), data, tables, Scratch(0))


def test_without_numba_the_plain_loops_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def missing(name: str) -> object:
        if name.endswith("kernels"):
            raise ImportError(name)
        return real(name)

    rans.engine.cache_clear()
    monkeypatch.setattr(importlib, "import_module", missing)
    try:
        assert rans.engine().__name__ == "headwater.codec.reference"
    finally:
        rans.engine.cache_clear()


def test_a_frame_of_another_size_or_with_a_tail_is_refused() -> None:
    frame = zipped(bytes(1000))
    assert unzipped(frame, 1000) == bytes(1000)
    for data, size in [(frame, 999), (frame + b"x", 1000), (frame[:-1], 1000), (b"", 9), (frame, 0)]:
        with pytest.raises(Undecodable):
            unzipped(data, size)


def test_a_frame_that_tells_a_huge_size_is_refused_before_anything_is_allocated() -> None:
    frame = bytes.fromhex("28b52ffd" + "e0" + "ff" * 7 + "7f" + "010000")
    with pytest.raises(Undecodable):
        unzipped(frame, 1 << 20)


def test_parts_are_read_in_order_and_nothing_may_be_left() -> None:
    parts = Parts(part(b"one") + b"\x07" + part(b""))
    assert (parts.part(), parts.byte(), parts.part()) == (b"one", 7, b"")
    parts.end()
    with pytest.raises(Undecodable):
        Parts(b"\xff\xff\xff\xffabc").part()
    with pytest.raises(Undecodable):
        Parts(b"x").end()
    assert unsqueezed(squeezed(b""), 0) == b""
