"""Xorbs are checked as they arrive, whatever is sent and however it is cut, and served again byte for byte."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import lz4.frame
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.ground.errors import Corrupt, HeadwaterError, Invalid, TooMuch
from headwater.store import hashes, xorb
from headwater.store.xorb import CHUNK_RAW_BYTES_MAX, XorbIndex, XorbReader

# A xorb as hf_xet 1.8.0 writes it (to a local:// endpoint, hence with a footer): TEXT in LZ4, RAMP in BG4, NOISE plain.
REAL_NAME = "ec0f4d6094d569c3e42de2da17c1ede2f64877012fbd720f3edabed7212f7b5a"
REAL = zlib.decompress(
    base64.b85decode(
        "c-mvAV`5<1%EG{+<SUWj(3H=_!0`RQ3Iii6x3HYHwQpj@#I>hi^BG6AY`ibvQnl%=R@Ryi<_)JMGxrE)9+I!U=d?ng`bGFj+by~)"
        ")Rt+kGu!WTEBpTx-Qy|DOFci#bosO>l<Q!%`M2#=4jh-}=Q)VHJ~F>H)?S7C>%$8Nx2#$;XXcDq^OmgLaqQZQzoL3xnVoAd{Zb8V"
        "-1JN)biz5lfT?%XiVg^->=Mj5snPj1c#ry2*77&WcOtHZ-%5C1^siTbv*)8)sa-LQD+2$nj^RI2WA=GdvH9O)6XWz4uC8fKw3lak"
        "aemjbsclsSnJI~h$?19J%@Y@GJ@x31gn2~GqEla$f?9UI*GyUTST%doAI}*tZ6>{TUCfknQhx?Z(WB5)PJ1l2TkLi`74oQ%dAi>5"
        "WQK*#FD6($o9gy+eY(>9`3b78w>0=EG5`S!gCHX#!~g$$Od!Av1S~8ptgNhTY;5f8>>M1NoSa--+}u1oyu5sT{QLp}f`UTA!Xl!g"
        "Vq)SF5|UEV(lWBLa`Fm_ib~2Vs;X-08k$<#Iy$;~`UZwZ#wMm_<`$M#);6|w4vtRFF0O9wo?hNQzWxD$K_Q`G;gM0%v2pQ<Ny({c"
        ">6uwMx%mZ!#U*9sl~pyh^$kret?eCMJ-z)CCrz0;edg>r^A;>zyma}BRcqF5*tB`;_MN-;?muwo$gvZr&YZh&>B_Ymx9;3~@aW02"
        "7q8yD|M>aq_n*K2F)*>PadPwW3yFwHNXyDAsi<jc>lqlCnp@e}IXb&}c>4wfg@#AP#3!YsXXfM=mXuZ2)HSxWb@ud6oHBjZocW8E"
        "HUI$&!)5tKMh1O(dtgwBB-n!iDD)V-7#J8eSYfHq8YuEXpd=$zp|CVFIa?vAD8D>UAuYc`A*(dEpjaWlEVW2Mo?(7YVpXL=N`5+*"
        "4lv~Z|9_qU;ek!mfZ#hxm3;EE4kmvxNZ<NETmQOIi-OPZBaS@@H!PHV=9WaC_mbleURh-m;Tq!P<L|_HIP>b11YiC)kKP^>zx7D>"
        "34hUEea3Q+Z&B6yir4quvWsx?aq<ZEU|<FsuN|r5Sbg*Ngx?c1?id)@3Qnzb;p4IN^6U;c>clI}V48F5jHGRlR?@wwORh6IH!a*-"
        "vBPv)#}T8)M;iSc*&07&EZO38%6*H<9hGZw<y^C+8YZkr-#Y*0i89f`#c}debwGAG`MEHH>}msM%o{+=0ptL)E5lt*1_oB3PeF2P"
        "fY^Zn6I=me07j;I(*"
    )
)
TEXT = b"the quick brown fox jumps over the lazy dog\n" * 30
RAMP = b"".join(struct.pack("<f", 1 + i * i / 7e6) for i in range(301)) + b"!"
NOISE = hashlib.shake_128(b"headwater").digest(40)
REAL_FOOTER = REAL.index(b"XETBLOB")


def header(stored: int, scheme: int, raw: int, version: int = 0) -> bytes:
    return bytes([version]) + stored.to_bytes(3, "little") + bytes([scheme]) + raw.to_bytes(3, "little")


def group(data: bytes) -> bytes:
    return b"".join(data[plane::4] for plane in range(4))


def frame(data: bytes, **options: object) -> bytes:
    return bytes(lz4.frame.compress(data, block_linked=False, store_size=False, **options))


def packed(data: bytes, scheme: int) -> bytes:
    stored = {0: lambda: data, 1: lambda: frame(data), 2: lambda: frame(group(data))}[scheme]()
    return header(len(stored), scheme, len(data)) + stored


def read(data: bytes, piece_bytes: int = 1 << 30) -> tuple[bytes, XorbIndex]:
    reader = XorbReader()
    chunks = [bytes(c) for i in range(0, len(data), piece_bytes) for c in reader.feed(data[i : i + piece_bytes])]
    return b"".join(chunks), reader.finish()


def stream(size_bytes: int) -> bytes:
    return hashlib.shake_128(b"xorb").digest(size_bytes)


def index_of(chunks: list[bytes]) -> XorbIndex:
    raw = b"".join(map(hashes.chunk_hash, chunks))
    lengths = np.array([len(c) for c in chunks], np.uint32)
    return XorbIndex(hashes.to_text(hashes.merkle_root(raw, lengths)), raw, lengths, sum(map(len, chunks)))


@pytest.mark.parametrize("piece_bytes", [1, 7, 8, 9, 100, 1 << 20])
@pytest.mark.parametrize("data", [REAL, REAL[:REAL_FOOTER]], ids=["with footer", "without"])
def test_a_real_clients_xorb_is_read_to_its_files_and_its_name(data: bytes, piece_bytes: int) -> None:
    assert {0, 1, 2} == {REAL[4], *_schemes(REAL[:REAL_FOOTER])}
    raw, index = read(data, piece_bytes)
    assert sorted([TEXT, RAMP, NOISE]) == sorted(
        raw[start:stop] for start, stop in zip(*_spans(index.lengths), strict=True)
    )
    assert index.hash == REAL_NAME
    assert len(raw) == index.raw_bytes


def _schemes(data: bytes) -> Iterator[int]:
    position = 0
    while position < len(data):
        yield data[position + 4]
        position += 8 + int.from_bytes(data[position + 1 : position + 4], "little")


def _spans(lengths: np.ndarray) -> tuple[list[int], list[int]]:
    offsets = xorb.raw_offsets(lengths).tolist()
    return offsets[:-1], offsets[1:]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5000), st.sampled_from([0, 1, 2])), min_size=1, max_size=6),
    st.integers(1, 6000),
)
def test_chunks_of_every_scheme_come_out_as_they_went_in(shape: list[tuple[int, int]], piece_bytes: int) -> None:
    chunks = [(b"ab" * size)[:size] if size % 2 else stream(size) for size, _ in shape]
    data = b"".join(packed(chunk, scheme) for chunk, (_, scheme) in zip(chunks, shape, strict=True))
    raw, index = read(data, piece_bytes)
    assert b"".join(chunks) == raw
    expected = index_of(chunks)
    assert expected.hash == index.hash
    assert expected.hashes == index.hashes
    assert expected.lengths.tolist() == index.lengths.tolist()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 8, 65_537, CHUNK_RAW_BYTES_MAX])
def test_byte_groups_are_undone_for_every_remainder(size: int) -> None:
    data = stream(size)
    assert data == bytes(xorb.regroup(group(data)))


def test_frames_with_checksums_or_large_blocks_are_read_too() -> None:
    data = TEXT * 90
    stored = frame(data, content_checksum=True, block_checksum=True, block_size=lz4.frame.BLOCKSIZE_MAX4MB)
    raw, _ = read(header(len(stored), 1, len(data)) + stored)
    assert data == raw


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (header(5, 0, 5, version=1), "version 1"),
        (header(5, 3, 5), "scheme 3"),
        (header(5, 99, 5), "scheme 99"),
        (header(0, 0, 0), "0 bytes raw"),
        (header(0, 1, 9), "0 bytes stored"),
        (header(5, 0, 6), "6 bytes raw"),
        (header(9, 1, CHUNK_RAW_BYTES_MAX + 1), "131073 bytes raw"),
        (header(2 * CHUNK_RAW_BYTES_MAX + 1, 1, 9), "262145 bytes stored"),
        (header(0xFFFFFF, 0, 0xFFFFFF), "16777215 bytes raw"),
    ],
)
def test_a_bad_chunk_header_is_refused_before_its_data_comes(bad: bytes, why: str) -> None:
    reader = XorbReader()
    reader.feed(packed(b"good", 0))
    with pytest.raises(Invalid, match=f"chunk 1 has a bad header .*{why}"):
        reader.feed(bad)


def test_T56_a_decompression_bomb_is_stopped_at_the_declared_length() -> None:
    bomb = frame(bytes(60_000_000), block_size=lz4.frame.BLOCKSIZE_MAX4MB)
    assert len(bomb) <= xorb.CHUNK_STORED_BYTES_MAX
    reader = XorbReader()
    tracemalloc.start()
    try:
        with pytest.raises(Invalid, match="does not unpack to its 1000 bytes"):
            reader.feed(header(len(bomb), 1, 1000) + bomb)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1_000_000


@pytest.mark.parametrize(
    "stored",
    [
        frame(TEXT)[:-4],  # no end mark
        frame(TEXT) + b"\0",  # something behind it
        frame(TEXT[:-1]),  # one byte short
        frame(TEXT + b"!"),  # one byte long
        frame(b""),
        b"\x50\x2a\x4d\x18\x04\0\0\0skip",  # a skippable frame
        stream(50),
        b"\x04",
    ],
)
def test_a_frame_that_is_not_exactly_its_chunk_is_refused(stored: bytes) -> None:
    for scheme in (1, 2):
        with pytest.raises(Invalid, match="chunk 0"):
            read(header(len(stored), scheme, len(TEXT)) + stored)


@pytest.mark.parametrize("cut", [*range(1, 40), REAL_FOOTER - 1])
def test_a_xorb_that_ends_early_is_refused(cut: int) -> None:
    with pytest.raises(Invalid, match=r"it ends within chunk|no chunks"):
        read(REAL[:cut], 5)


def test_nothing_is_no_xorb() -> None:
    with pytest.raises(Invalid, match="no chunks"):
        read(b"")
    with pytest.raises(Invalid, match="no chunks"):
        read(REAL[REAL_FOOTER:])


def test_a_footer_that_was_cut_off_is_told_and_one_that_lies_is_not_believed() -> None:
    with pytest.raises(Invalid, match="footer"):
        read(REAL[:-1])
    with pytest.raises(Invalid, match="footer"):
        read(REAL + b"more")
    lying = bytearray(REAL)
    lying[REAL_FOOTER + 8 : -4] = bytes(len(REAL) - REAL_FOOTER - 12)
    _, index = read(bytes(lying), 11)
    assert index.hash == REAL_NAME


def test_an_endless_footer_is_refused() -> None:
    reader = XorbReader()
    reader.feed(packed(b"good", 0) + b"XETBLOB\1")
    with pytest.raises(Invalid, match="footer is longer"):
        for _ in range(10):
            reader.feed(bytes(100_000))


def test_more_than_8192_chunks_are_refused() -> None:
    _, index = read(packed(b"x", 0) * xorb.CHUNKS_MAX)
    assert len(index.lengths) == xorb.CHUNKS_MAX
    with pytest.raises(TooMuch, match="8192 chunks"):
        read(packed(b"x", 0) * (xorb.CHUNKS_MAX + 1))


def test_more_than_64_mib_of_chunks_are_refused() -> None:
    full = packed(bytes(CHUNK_RAW_BYTES_MAX), 1)
    _, index = read(full * 512)
    assert index.raw_bytes == xorb.RAW_BYTES_MAX
    with pytest.raises(TooMuch, match="67108864 bytes"):
        read(full * 512 + packed(b"x", 0))


def test_a_padded_xorb_is_refused_at_its_serialised_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xorb, "SERIALISED_BYTES_MAX", 1000)
    with pytest.raises(TooMuch, match="longer than 1000 bytes"):
        read(packed(stream(300), 0) * 5, 400)


def test_no_more_than_one_chunk_waits_in_the_reader() -> None:
    reader = XorbReader()
    data = packed(stream(CHUNK_RAW_BYTES_MAX), 0) * 20
    for i in range(0, len(data), 1000):
        reader.feed(data[i : i + 1000])
        assert reader._waiting_bytes < CHUNK_RAW_BYTES_MAX + 1008


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 50))
def test_random_bytes_raise_nothing_but_our_own_errors(data: bytes, piece_bytes: int) -> None:
    with pytest.raises(HeadwaterError):
        read(header(1, 7, 1) + data, piece_bytes)
    with contextlib.suppress(HeadwaterError):
        read(data, piece_bytes)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(REAL) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_xorb_is_refused_or_has_another_name(edits: list[tuple[int, int]]) -> None:
    damaged = bytearray(REAL)
    for at, value in edits:
        damaged[at] = value
    try:
        raw, index = read(bytes(damaged), 100)
    except HeadwaterError:
        return
    same = index.hash == REAL_NAME
    assert same == (raw == read(REAL)[0])


# --- serving it again --------------------------------------------------------------------------------------------


def some_chunks() -> list[bytes]:
    return [stream(size) for size in (1, 5, 300, 7, 4096, 2)]


def reading(raw: bytes, piece_bytes: int = 100) -> Callable[[int, int], Iterator[bytes]]:
    def pieces(start: int, stop: int) -> Iterator[bytes]:
        for at in range(start, stop, piece_bytes):
            yield raw[at : min(at + piece_bytes, stop)]

    return pieces


def test_what_is_served_is_an_uncompressed_xorb_of_the_same_name() -> None:
    raw, index = read(REAL)
    size = xorb.serialised_size(index.lengths)
    served = b"".join(xorb.serialise(index.lengths, reading(raw), 0, size))
    assert len(served) == size == len(raw) + 8 * len(index.lengths)
    assert (raw, REAL_NAME) == (read(served)[0], read(served)[1].hash)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_range_is_that_part_of_the_whole(data: st.DataObject) -> None:
    chunks = some_chunks()
    index, raw = index_of(chunks), b"".join(chunks)
    whole = b"".join(packed(chunk, 0) for chunk in chunks)
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    piece_bytes = data.draw(st.sampled_from([1, 100, 10_000]))
    assert whole[start:stop] == b"".join(xorb.serialise(index.lengths, reading(raw, piece_bytes), start, stop))


def test_only_the_bytes_that_are_needed_are_read() -> None:
    chunks = some_chunks()
    index = index_of(chunks)
    asked = []

    def note(start: int, stop: int) -> list[bytes]:
        asked.append((start, stop))
        return [b"".join(chunks)[start:stop]]

    offsets = xorb.serialised_offsets(index.lengths).tolist()
    list(xorb.serialise(index.lengths, note, offsets[2], offsets[4]))
    list(xorb.serialise(index.lengths, note, offsets[1] + 9, offsets[1] + 11))
    list(xorb.serialise(index.lengths, note, offsets[2], offsets[2] + 3))
    assert asked == [(6, 313), (2, 4), (6, 6)]


def test_pieces_are_about_a_mebibyte() -> None:
    chunks = [stream(100_000)] * 60
    index = index_of(chunks)
    size = xorb.serialised_size(index.lengths)
    pieces = list(xorb.serialise(index.lengths, reading(b"".join(chunks), 1 << 20), 0, size))
    assert b"".join(pieces) == b"".join(packed(chunk, 0) for chunk in chunks)
    assert {len(piece) for piece in pieces[:-1]} == {11 * 100_008}


@pytest.mark.parametrize("wrong", [b"", b"short", stream(5000)])
def test_stored_bytes_of_another_length_are_corrupt(wrong: bytes) -> None:
    index = index_of(some_chunks())
    with pytest.raises(Corrupt):
        list(xorb.serialise(index.lengths, lambda *_: [wrong], 0, xorb.serialised_size(index.lengths)))


def test_offsets_are_sums_of_lengths_and_headers() -> None:
    lengths = np.array([10, 1, 300], np.uint32)
    assert xorb.raw_offsets(lengths).tolist() == [0, 10, 11, 311]
    assert xorb.serialised_offsets(lengths).tolist() == [0, 18, 27, 335]
    assert xorb.serialised_size(lengths) == 335
    assert xorb.serialised_offsets(lengths).dtype == np.uint64
    large = np.full(8192, CHUNK_RAW_BYTES_MAX, np.uint32)
    assert xorb.raw_offsets(large)[-1] == 8192 * CHUNK_RAW_BYTES_MAX
