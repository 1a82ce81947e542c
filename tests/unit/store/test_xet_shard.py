"""Shards are read whole or refused, and a file in one is believed only where the stored xorbs bear it out."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.ground.errors import DigestMismatch, HeadwaterError, Invalid, TooMuch
from headwater.store import hashes, shard
from headwater.store.hashes import ZERO, XetHash
from headwater.store.shard import Term
from headwater.store.xorb import XorbIndex

# A shard as hf_xet 1.8.0 writes it (to a local:// endpoint, hence with a footer, and lookup tables that are empty): three
# small files, all in the xorb of test_xet_xorb.py.
REAL = zlib.decompress(
    base64.b85decode(
        "c-r%D3ra1>_f0KHbV)2pWC+bncg?D93~ye#_h!u5i(V_47$D#Tl%BAn#-l87r7KIprF);Y9#n5mo)oik+lO|U>B)-~=P|khl^kGX"
        "K!C%USEnTS^1pfX_MrH!N4ih=i}va>mV11Qs@7M$zVDVDNR0+70|Q78$Sy_m4Kszbf=qaXcpv`s^?6qy9PbqGbAR$TC56fF_V}nV"
        "pn*Ag!bfbyk|Um6*}KAMiACLdrQoRdq0D>t)#~1#_j!{Yy80Q{R-b%kH$BCDhx)x5i=|ziSEn7Q6L<Kf=4PiUZle5x9QSW!fv5%P"
        "lRLRhe%oZ_IB9*I`Aj-<LpDZxXB$`_=~}X@;LIn-2|v)?b6b8_+H97#%euwCMMEBcxxi!)Anv-!F+F|_L&uZeRtI$T)Aqd!lKH^!"
        "eQSbX^goHXeP&OB9n1}y|Iafz$MZE|D?3@?4-I=}AZ9V@io3Qh^8_c;t!cS?+0uU>?+<<(S=h4hNY}xq?K?ct-Lu{(I*^~i%>4Qi"
        "mJdB*D(g=$WNo_2E2W@ziaFqS>Z3R4>i-h}=<11aKgivzToCozkvfjmH-As~JwfA+fq|{y)JhjV9!oFJ?tr6CywVJ&Nb%JGB64n>"
        "k+cocO1c+y$#q8OriFVec9>4<IAZkpNTZ)4TjK|iT2T6gsn1xl#p#s$7L_|H*W${#W=l0pSdqSU{>u|(qJ@j&<frP~<%EPMOg*Xo"
        "g~go#lwJVMfD@Qe)e+*;3&6r1M#J0z0Mk@X!2"
    )
)
REAL_XORB = "ec0f4d6094d569c3e42de2da17c1ede2f64877012fbd720f3edabed7212f7b5a"
REAL_CONTENTS = [
    b"".join(struct.pack("<f", 1 + i * i / 7e6) for i in range(301)) + b"!",
    b"the quick brown fox jumps over the lazy dog\n" * 30,
    hashlib.shake_128(b"headwater").digest(40),
]
UPLOADED = REAL[:40] + bytes(8) + REAL[48:-200]  # what the same client sends

END = b"\xff" * 32 + bytes(16)
HEAD = shard.HEADER_TAG + struct.pack("<QQ", 2, 0)
KEY = bytes(range(1, 33))


def chunk_of(number: int) -> bytes:
    return hashlib.shake_128(b"chunk %d" % number).digest(100 + number)


def index_of(numbers: range) -> XorbIndex:
    chunks = [chunk_of(n) for n in numbers]
    raw = b"".join(map(hashes.chunk_hash, chunks))
    lengths = np.array([len(c) for c in chunks], np.uint32)
    return XorbIndex(hashes.to_text(hashes.merkle_root(raw, lengths)), raw, lengths, sum(map(len, chunks)))


ONE, TWO = index_of(range(20)), index_of(range(20, 50))
STORED = {index.hash: index for index in (ONE, TWO)}


def record(name: bytes, *numbers: int) -> bytes:
    return name + struct.pack("<4I", *numbers, *[0] * (4 - len(numbers)))


def file_records(
    spans: list[tuple[XorbIndex, int, int]],
    *,
    flags: int = 3 << 30,
    name: bytes | None = None,
    sha256: str = "ab" * 32,
    raw_more: int = 0,
    ranges: list[bytes] | None = None,
) -> bytes:
    """The records of a file made of these chunks, right in every detail that is not named."""
    parts = [index.hashes[32 * a : 32 * b] for index, a, b in spans]
    sizes = [index.lengths[a:b] for index, a, b in spans]
    if name is None:
        name = hashes.file_hash(b"".join(parts), np.concatenate(sizes)) if spans else ZERO
    out = record(name, flags, len(spans))
    for (index, a, b), size in zip(spans, sizes, strict=True):
        out += record(hashes.from_text(index.hash), 0, int(size.sum()) + raw_more, a, b)
    if flags & 1 << 31:
        out += b"".join(record(r) for r in ranges or [hashes.range_hash(part) for part in parts])
    if flags & 1 << 30:
        out += record(hashes.from_text(sha256))
    return out


def xorb_records(index: XorbIndex, eligible: int = -1) -> bytes:
    out = record(hashes.from_text(index.hash), 0, len(index.lengths), index.raw_bytes)
    start = 0
    for i, size in enumerate(index.lengths.tolist()):
        out += record(index.hashes[32 * i : 32 * i + 32], start, size, (i == eligible) << 31)
        start += size
    return out


def a_shard(files: bytes = b"", xorbs: bytes = b"") -> bytes:
    return HEAD + files + END + xorbs + END


GOOD = a_shard(
    file_records([(ONE, 3, 7), (TWO, 0, 30), (ONE, 0, 1)]), xorb_records(ONE, eligible=2) + xorb_records(TWO)
)


def checked(files: bytes, find: Callable[[XetHash], XorbIndex | None] = STORED.get) -> None:
    for file in shard.parse(a_shard(files)).files:
        shard.check(file, find)


# --- reading -----------------------------------------------------------------------------------------------------


STALE_HEADER = REAL[:-200]  # hf_xet 1.2 sends no footer either, but announces one


@pytest.mark.parametrize("data", [REAL, UPLOADED, STALE_HEADER], ids=["with footer", "as uploaded", "by hf_xet 1.2"])
def test_a_real_clients_shard_is_read_and_proves_right(data: bytes) -> None:
    read = shard.parse(data)
    (xorb,) = read.xorbs
    assert REAL_XORB == xorb.hash == hashes.to_text(hashes.merkle_root(xorb.chunk_hashes, xorb.lengths))
    assert set(map(hashes.chunk_hash, REAL_CONTENTS)) == {xorb.chunk_hashes[i : i + 32] for i in (0, 32, 64)}
    assert xorb.dedup_eligible.all()  # each is the first chunk of a file
    expected = {hashlib.sha256(content).hexdigest(): len(content) for content in REAL_CONTENTS}
    assert expected == {file.sha256: file.raw_bytes for file in read.files}
    index = XorbIndex(xorb.hash, xorb.chunk_hashes, xorb.lengths, int(xorb.lengths.sum()))
    for file in read.files:
        shard.check(file, {index.hash: index}.get)
    assert (read.footer is None) == (data is not REAL)


def test_terms_range_hashes_and_flags_are_read_as_written() -> None:
    read = shard.parse(GOOD)
    (file,) = read.files
    sizes = [int(ONE.lengths[3:7].sum()), TWO.raw_bytes, int(ONE.lengths[0])]
    assert [
        Term(ONE.hash, sizes[0], 3, 7),
        Term(TWO.hash, sizes[1], 0, 30),
        Term(ONE.hash, sizes[2], 0, 1),
    ] == file.terms
    assert file.range_hashes is not None
    assert hashes.range_hash(ONE.hashes[96:224]) == file.range_hashes[0]
    assert sum(sizes) == file.raw_bytes
    assert file.sha256 == "ab" * 32
    assert [ONE.hash, TWO.hash] == [xorb.hash for xorb in read.xorbs]
    assert np.flatnonzero(read.xorbs[0].dedup_eligible).tolist() == [2]
    assert read.xorbs[1].chunk_hashes == TWO.hashes
    assert read.footer is None


def test_a_sha256_is_read_as_ordinary_hex() -> None:
    digest = hashlib.sha256(b"").hexdigest()
    (file,) = shard.parse(a_shard(file_records([(ONE, 0, 1)], sha256=digest))).files
    assert digest == file.sha256


def test_the_empty_file_has_its_true_sha256_whatever_the_client_says() -> None:
    (file,) = shard.parse(a_shard(file_records([], sha256="0" * 64))).files
    assert (file.hash, file.sha256, file.raw_bytes) == ("0" * 64, hashlib.sha256(b"").hexdigest(), 0)
    shard.check(file, STORED.get)


def test_a_file_without_chunks_that_is_not_the_empty_one_is_refused() -> None:
    with pytest.raises(Invalid, match="has no terms"):
        shard.parse(a_shard(file_records([], name=b"\1" * 32)))


@pytest.mark.parametrize("cut", range(0, len(GOOD), 48))
def test_a_shard_that_ends_early_is_refused(cut: int) -> None:
    for data in (GOOD[:cut], GOOD[: cut + 17], GOOD[: cut + 47]):
        with pytest.raises(Invalid):
            shard.parse(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "does not begin"),
        (b"X" + GOOD[1:], "does not begin"),
        (shard.HEADER_TAG + struct.pack("<QQ", 3, 0) + END + END, "version 3"),
        (shard.HEADER_TAG + struct.pack("<QQ", 2, 199) + END + END, "footer of 199"),
        (shard.HEADER_TAG + struct.pack("<QQ", 2, 2**64 - 1) + END + END, "footer of 18446744073709551615"),
        (shard.HEADER_TAG + struct.pack("<QQ", 2, 200) + END + END + END, "48 bytes after its end"),
        (GOOD + b"\0", "1 bytes after its end"),
        (GOOD + END, "48 bytes after its end"),
        (HEAD + END, "within its xorbs"),
        (HEAD, "within its files"),
        (a_shard(record(b"\1" * 32, 0, 2**32 - 1)), "4294967295 terms announced, room for 2"),
        (a_shard(record(b"\1" * 32, 1 << 31, 2)), "2 range hashes announced, room for 0"),
        (a_shard(record(b"\1" * 32, 1, 0)), "unknown file flags"),
        (a_shard(record(b"\1" * 32, 0, 1) + record(b"\2" * 32, 0, 5, 3, 3)), "impossible range"),
        (a_shard(record(b"\1" * 32, 0, 1) + record(b"\2" * 32, 0, 5, 4, 3)), "impossible range"),
        (a_shard(record(b"\1" * 32, 0, 1) + record(b"\2" * 32, 0, 5, 0, 8193)), "impossible range"),
        (a_shard(b"", record(b"\1" * 32, 0, 2**32 - 1)), "4294967295 chunks"),
        (a_shard(b"", record(b"\1" * 32, 0, 8192)), "8192 chunks announced, room for 1"),
        (a_shard(b"", record(b"\1" * 32, 0, 0)), "has 0 chunks"),
        (a_shard(b"", record(b"\1" * 32, 0, 1, 6) + record(b"\2" * 32, 0, 5)), "do not add up"),
    ],
)
def test_what_is_odd_is_refused_with_its_reason(data: bytes, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        shard.parse(data)


def test_lengths_that_overflow_32_bits_do_not_add_up() -> None:
    chunks = record(b"\2" * 32, 0, 2**31) * 2
    with pytest.raises(Invalid, match="do not add up"):
        shard.parse(a_shard(b"", record(b"\1" * 32, 0, 2, 0) + chunks))


def test_limits_are_told_as_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard, "SHARD_CHUNKS_MAX", 34)
    with pytest.raises(TooMuch, match="more than 34 chunks"):
        shard.parse(GOOD)
    monkeypatch.setattr(shard, "SHARD_BYTES_MAX", len(GOOD) - 1)
    with pytest.raises(TooMuch, match="fewer files at a time"):
        shard.parse(GOOD)


def test_many_small_files_are_read_in_a_time_that_grows_with_their_number_only() -> None:
    files = file_records([(ONE, 0, 1)]) * 20_000
    started_s = time.thread_time()
    assert len(shard.parse(a_shard(files)).files) == 20_000
    assert time.thread_time() - started_s < 3


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_random_records_raise_nothing_but_our_own_errors(data: bytes, with_header: bool) -> None:
    with contextlib.suppress(HeadwaterError):
        shard.parse((HEAD if with_header else b"") + data)


@settings(max_examples=250, deadline=None)
@given(
    st.sampled_from([GOOD, REAL]),
    st.lists(st.tuples(st.integers(0, 2**16), st.sampled_from([0, 1, 127, 255])), min_size=1, max_size=4),
)
def test_a_damaged_shard_raises_nothing_but_our_own_errors(data: bytes, edits: list[tuple[int, int]]) -> None:
    damaged = bytearray(data)
    for at, value in edits:
        damaged[at % len(damaged)] = value
    with contextlib.suppress(HeadwaterError):
        for file in shard.parse(bytes(damaged)).files:
            shard.check(file, STORED.get)


# --- footers -----------------------------------------------------------------------------------------------------


def refooted(data: bytes, field: int, value: int) -> bytes:
    """A footer with one of its u64 changed (the first 9; 13 and on lie behind the key)."""
    at = len(data) - 200 + 8 * field
    return data[:at] + struct.pack("<Q", value) + data[at + 8 :]


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        (0, 2, "footer version 2"),
        (1, 96, "does not point to its sections"),
        (2, 48, "does not point to its sections"),
        (24, 0, "does not point to its sections"),
        (3, 1, "lookup tables"),
        (4, 2**63, "lookup tables"),
        (7, 2**64 - 1, "lookup tables"),
        (8, 2, "lookup tables"),
    ],
)
def test_a_footer_that_points_elsewhere_is_refused(field: int, value: int, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        shard.parse(refooted(REAL, field, value))


def test_empty_lookup_tables_may_lie_at_zero_as_huggingface_js_writes_them() -> None:
    data = REAL
    for field in range(3, 9):
        data = refooted(data, field, 0)
    assert len(shard.parse(data).files) == 3


def test_lookup_tables_of_older_clients_are_passed_over() -> None:
    end = len(REAL) - 200
    data = REAL[:end] + bytes(12 * 3 + 12 + 16 * 3) + REAL[end:]
    for field, value in ((3, end), (4, 3), (5, end + 36), (6, 1), (7, end + 48), (8, 3), (24, end + 96)):
        data = refooted(data, field, value)
    assert len(shard.parse(data).files) == 3
    with pytest.raises(Invalid, match="lookup tables"):
        shard.parse(refooted(data, 5, end + 90))


def test_bytes_between_records_and_footer_that_no_table_covers_are_refused() -> None:
    stuffed = REAL[:-200] + bytes(16) + REAL[-200:]
    with pytest.raises(Invalid, match="lookup tables"):
        shard.parse(refooted(stuffed, 24, len(stuffed) - 200))


def test_a_dedup_answer_hides_its_hashes_and_can_be_read() -> None:
    answer = shard.build_dedup([ONE, TWO], KEY, expiry_s=2_000_000_000, created_s=1_900_000_000)
    read = shard.parse(answer)
    assert read.footer == shard.ShardFooter(KEY, 1_900_000_000, 2_000_000_000)
    assert read.files == []
    assert [ONE.hash, TWO.hash] == [xorb.hash for xorb in read.xorbs]
    for index, xorb in zip((ONE, TWO), read.xorbs, strict=True):
        raw = [index.hashes[i : i + 32] for i in range(0, len(index.hashes), 32)]
        assert b"".join(hashes.keyed(KEY, one) for one in raw) == xorb.chunk_hashes
        assert index.lengths.tolist() == xorb.lengths.tolist()
        assert not any(one in answer for one in raw)
    starts = [struct.unpack_from("<I", answer, 48 * (3 + i) + 32)[0] for i in range(3)]
    assert starts == [0, 100, 201]


def test_an_empty_dedup_answer_is_a_shard_too() -> None:
    assert shard.parse(shard.build_dedup([], KEY, 2, 1)).xorbs == []


# --- checking ----------------------------------------------------------------------------------------------------


def test_a_file_that_its_xorbs_bear_out_is_accepted() -> None:
    checked(file_records([(ONE, 3, 7), (TWO, 0, 30), (ONE, 0, 1)]))


def test_each_xorb_is_looked_up_once_for_terms_that_follow_each_other() -> None:
    asked = []

    def find(name: XetHash) -> XorbIndex | None:
        asked.append(name)
        return STORED.get(name)

    checked(file_records([(ONE, i, i + 1) for i in range(20)]), find)
    assert asked == [ONE.hash]


def test_a_missing_xorb_is_named_with_the_remedy() -> None:
    with pytest.raises(Invalid) as caught:
        checked(file_records([(ONE, 0, 1), (TWO, 0, 1)]), {ONE.hash: ONE}.get)
    for part in (TWO.hash, "~/.cache/huggingface/xet/*/shard-cache", "HF_XET_CACHE", "upload again"):
        assert part in caught.value.text
    assert {"xorb": TWO.hash} == caught.value.details


def test_a_file_without_range_hashes_proves_nothing_and_is_refused() -> None:
    with pytest.raises(Invalid, match="without range hashes"):
        checked(file_records([(ONE, 0, 1)], flags=1 << 30))


def test_a_file_without_sha256_is_refused() -> None:
    with pytest.raises(Invalid, match="without a sha256"):
        checked(file_records([(ONE, 0, 1)], flags=1 << 31))


def test_knowing_a_xorbs_name_is_not_knowing_its_content() -> None:
    guess = hashes.range_hash(hashes.from_text(ONE.hash))
    with pytest.raises(Invalid, match=r"term 1 .* wrong range hash"):
        checked(file_records([(TWO, 0, 2), (ONE, 0, 20)], ranges=[hashes.range_hash(TWO.hashes[:64]), guess]))


def test_a_term_of_another_length_is_refused() -> None:
    with pytest.raises(Invalid, match=r"term 0 .* is not 101 bytes long"):
        checked(file_records([(ONE, 0, 1)], raw_more=1))


def test_a_term_beyond_its_xorb_is_refused() -> None:
    longer = replace(TWO, hash=ONE.hash)
    with pytest.raises(Invalid, match="goes beyond xorb"):
        checked(file_records([(longer, 0, 21)]))


def test_a_file_under_another_files_name_is_refused() -> None:
    with pytest.raises(DigestMismatch, match="file hash"):
        checked(file_records([(ONE, 0, 2)], name=b"\5" * 32))
