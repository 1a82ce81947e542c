"""Xet's description of files: read one, check a file in it against the xorbs it names, and write dedup answers.

A shard is a header of 48 bytes, then records of 48 bytes: of files (which chunks of which xorbs they are made of),
an end mark, of xorbs (their chunks), an end mark. Clients since 1.2 upload just that; older ones, and our own dedup
answers, go on with lookup tables (ignored; they may be empty) and a footer of 200 bytes.

Refuses to know: where xorbs are kept (`check` is handed a way to ask), who uploads, what a repo is. The xorb section
is only what the client says of xorbs; the truth about a xorb is the index made when it arrived.

Sources: xet-core `metadata_shard/shard_format.rs`, `file_structs.rs`, `xorb_structs.rs`; design xet.md, 2.5 and 2.6.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from struct import Struct

import numpy as np
import numpy.typing as npt

from headwater.ground.errors import DigestMismatch, Invalid, TooMuch
from headwater.store import hashes
from headwater.store.hashes import HASH_BYTES, XetHash
from headwater.store.xorb import CHUNKS_MAX, XorbIndex, raw_offsets

HEADER_TAG = b"HFRepoMetaData\0" + bytes.fromhex("556967456a7b815783a5bdd95ccdd14aa9")
HEADER_VERSION = 2
FOOTER_VERSION = 1
RECORD_BYTES = 48
FOOTER_BYTES = 200
SHARD_BYTES_MAX = 96 * 1024 * 1024  # clients close a shard at 64 MiB; the last file may carry it over
SHARD_CHUNKS_MAX = 1 << 24  # chunks that its files name, counted each time: a tebibyte of content, 15 s of hashing
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
LOOKUP_ENTRY_BYTES = (12, 12, 16)  # of the file, xorb and chunk tables

_VERIFIED = 1 << 31  # file flag: range hashes follow the terms
_WITH_SHA256 = 1 << 30  # file flag: a sha256 follows
_DEDUP_ELIGIBLE = 1 << 31  # chunk flag: the client would ask for this chunk in a dedup query
_BOOKEND = b"\xff" * HASH_BYTES

_RECORD = np.dtype([("hash", "u1", (HASH_BYTES,)), ("a", "<u4"), ("b", "<u4"), ("c", "<u4"), ("d", "<u4")])
"""One record. Of a term: a flags, b raw bytes, c first chunk, d end of chunks. Of a chunk: a raw start, b raw bytes,
c flags, d unused."""
_HEAD = Struct("<32sIIII")
_FOOTER = Struct("<9Q32sQQ48s4Q")

_Records = npt.NDArray[np.void]
_Lengths = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Term:
    """A part of a file: chunks chunk_start ... chunk_stop of a xorb, together `raw_bytes` long."""

    xorb: XetHash
    raw_bytes: int
    chunk_start: int
    chunk_stop: int


@dataclass(frozen=True, slots=True, eq=False)
class ShardFile:
    """A file as the client describes it. `sha256` is ordinary hex, and (but for the empty file) a claim.

    Terms and range hashes stay records until they are asked for: a shard of 64 MiB may hold a million.
    """

    hash: XetHash
    sha256: str | None
    term_records: _Records
    range_records: _Records | None

    @property
    def terms(self) -> list[Term]:
        return list(self.each_term())

    def each_term(self) -> Iterator[Term]:
        """The terms in order; consecutive ones of a xorb share its name."""
        raw, name = b"", XetHash("")
        for record in self.term_records:
            xorb = record["hash"].tobytes()
            if xorb != raw:
                raw, name = xorb, hashes.to_text(xorb)
            yield Term(name, int(record["b"]), int(record["c"]), int(record["d"]))

    @property
    def range_hashes(self) -> list[bytes] | None:
        """One for each term; None where the client sent none."""
        if self.range_records is None:
            return None
        joined = self.range_records["hash"].tobytes()
        return [joined[i : i + HASH_BYTES] for i in range(0, len(joined), HASH_BYTES)]

    @property
    def raw_bytes(self) -> int:
        """The file's size."""
        return int(self.term_records["b"].sum(dtype=np.uint64))


@dataclass(frozen=True, slots=True, eq=False)
class ShardXorb:
    """A xorb as the client describes it: 32 bytes of hash, a length and a dedup flag for each chunk."""

    hash: XetHash
    chunk_hashes: bytes
    lengths: _Lengths
    dedup_eligible: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ShardFooter:
    """The part of a footer that means something. A key of zeros: the chunk hashes are not keyed. Times are Unix s."""

    key: bytes
    created_s: int
    expiry_s: int


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    files: list[ShardFile]
    xorbs_reader: Callable[[], Iterator[ShardXorb]]
    footer: ShardFooter | None

    @property
    def xorbs(self) -> list[ShardXorb]:
        """Made anew each time: a shard may describe a million, of which the hub believes nothing."""
        return list(self.xorbs_reader())


def parse(data: bytes) -> Shard:
    """Read a shard with or without footer. Raises Invalid where anything is not as it should be, TooMuch on limits."""
    if len(data) > SHARD_BYTES_MAX:
        raise TooMuch(f"shard: longer than {SHARD_BYTES_MAX} bytes; upload fewer files at a time")
    if len(data) < RECORD_BYTES or data[: len(HEADER_TAG)] != HEADER_TAG:
        raise Invalid("shard: it does not begin as a shard")
    version, footer_bytes = (int.from_bytes(data[at : at + 8], "little") for at in (32, 40))
    if version != HEADER_VERSION:
        raise Invalid(f"shard: version {version} is not {HEADER_VERSION}")
    if footer_bytes not in (0, FOOTER_BYTES):
        raise Invalid(f"shard: a footer of {footer_bytes} bytes, instead of {FOOTER_BYTES} or none")
    reader = _Reader(data)
    files = _files(reader)
    xorbs_start = reader.position_bytes
    xorbs = partial(_described, data, reader.position)
    for _ in _xorbs(reader):
        pass  # checked, and not kept
    left = len(data) - reader.position_bytes
    if not left:
        # hf_xet 1.1.10 to 1.2 cut the footer off before sending, and left its size in the header.
        return Shard(files, xorbs, None)
    if not footer_bytes or left < footer_bytes:
        raise Invalid(f"shard: {left} bytes after its end, where a footer of {footer_bytes} was announced")
    return Shard(files, xorbs, _footer(data, xorbs_start, reader.position_bytes))


class _Reader:
    """The records of a shard, one after the other."""

    def __init__(self, data: bytes, position: int = 1) -> None:
        self._data = data
        self._records = np.frombuffer(data, _RECORD, count=len(data) // RECORD_BYTES)
        self.position = position  # in records; 1: behind the header, which is as long as one

    @property
    def position_bytes(self) -> int:
        return self.position * RECORD_BYTES

    def head(self, what: str) -> tuple[bytes, int, int, int, int]:
        if self.position >= len(self._records):
            raise Invalid(f"shard: it ends within its {what}, without an end mark")
        fields = _HEAD.unpack_from(self._data, self.position_bytes)
        self.position += 1
        return fields

    def take(self, count: int, what: str) -> _Records:
        """So many records, as a view: a count of 2**32 - 1 costs nothing."""
        left = len(self._records) - self.position
        if count > left:
            raise Invalid(f"shard: {count} {what} announced, room for {left}")
        records = self._records[self.position : self.position + count]
        self.position += count
        return records


def _files(reader: _Reader) -> list[ShardFile]:
    files: list[ShardFile] = []
    while True:
        raw_hash, flags, count, _, _ = reader.head("files")
        if raw_hash == _BOOKEND:
            break
        if flags & ~(_VERIFIED | _WITH_SHA256):
            raise Invalid(f"shard: unknown file flags {flags:#x}")
        if not count and raw_hash != hashes.ZERO:
            raise Invalid(f"shard: file {hashes.to_text(raw_hash)} has no terms")
        terms = reader.take(count, "terms")
        ranges = reader.take(count, "range hashes") if flags & _VERIFIED else None
        # A sha256 is stored as hashes are, its u64 turned round: the text form undoes that.
        sha256 = str(hashes.to_text(reader.head("files")[0])) if flags & _WITH_SHA256 else None
        if not count:
            sha256 = EMPTY_SHA256  # clients send zeros for the empty file
        files.append(ShardFile(hashes.to_text(raw_hash), sha256, terms, ranges))
    _check_ranges(files)
    return files


def _check_ranges(files: list[ShardFile]) -> None:
    """All terms at once: there may be half a million files with one each."""
    terms = [file.term_records for file in files if len(file.term_records)]
    if not terms:
        return
    starts = np.concatenate([records["c"] for records in terms]).astype(np.int64)
    stops = np.concatenate([records["d"] for records in terms]).astype(np.int64)
    if not ((starts < stops) & (stops <= CHUNKS_MAX)).all():
        raise Invalid(f"shard: a term has an impossible range of chunks (0 <= start < stop <= {CHUNKS_MAX})")
    if int((stops - starts).sum()) > SHARD_CHUNKS_MAX:
        raise TooMuch(f"shard: its files have more than {SHARD_CHUNKS_MAX} chunks; upload fewer files at a time")


def _xorbs(reader: _Reader) -> Iterator[ShardXorb]:
    while True:
        raw_hash, _, count, raw_bytes, _ = reader.head("xorbs")
        if raw_hash == _BOOKEND:
            return
        name = hashes.to_text(raw_hash)
        if not 0 < count <= CHUNKS_MAX:
            raise Invalid(f"shard: xorb {name} has {count} chunks")
        chunks = reader.take(count, "chunks")
        if int(chunks["b"].sum(dtype=np.uint64)) != raw_bytes:
            raise Invalid(f"shard: the chunks of xorb {name} do not add up to its {raw_bytes} bytes")
        eligible = (chunks["c"] & np.uint32(_DEDUP_ELIGIBLE)) != 0
        yield ShardXorb(name, chunks["hash"].tobytes(), chunks["b"].copy(), eligible)


def _described(data: bytes, position: int) -> Iterator[ShardXorb]:
    return _xorbs(_Reader(data, position))


def _footer(data: bytes, xorbs_start: int, tables_start: int) -> ShardFooter:
    """Check a footer against where its sections really lie: nothing may hide between them and it."""
    footer_start = len(data) - FOOTER_BYTES
    fields = _FOOTER.unpack_from(data, footer_start)
    version, files_at, xorbs_at = fields[:3]
    tables = [(fields[3 + 2 * i], fields[4 + 2 * i] * LOOKUP_ENTRY_BYTES[i]) for i in range(3)]
    if version != FOOTER_VERSION:
        raise Invalid(f"shard: footer version {version} is not {FOOTER_VERSION}")
    if (files_at, xorbs_at, fields[-1]) != (RECORD_BYTES, xorbs_start, footer_start):
        raise Invalid("shard: its footer does not point to its sections")
    # huggingface.js leaves the place of an empty table zero.
    in_place = all(at == size == 0 or (tables_start <= at and at + size <= footer_start) for at, size in tables)
    if not in_place or sum(size for _, size in tables) != footer_start - tables_start:
        raise Invalid("shard: its lookup tables do not lie between its records and its footer")
    return ShardFooter(key=fields[9], created_s=fields[10], expiry_s=fields[11])


def check(file: ShardFile, index_of: Callable[[XetHash], XorbIndex | None]) -> None:
    """Check a file against the stored xorbs' indexes, which `index_of` finds.

    Proves that the uploader knows the content (a range hash over the chunk hashes of every term), that terms are as
    long as stated, and that the file's hash is that of its chunks. It does not prove the sha256: that is a claim
    until the bytes were hashed. Raises Invalid or DigestMismatch.
    """
    if file.sha256 is None:
        raise Invalid(f"shard: file {file.hash} comes without a sha256, by which commits name it")
    range_hashes = file.range_hashes
    if range_hashes is None:
        raise Invalid(f"shard: file {file.hash} comes without range hashes, the proof that its bytes are at hand")
    # Consecutive terms mostly name the same few xorbs; a file as a whole may name thousands.
    recent = lru_cache(maxsize=8)(index_of)
    tree = hashes.Tree()
    for number, (term, stated) in enumerate(zip(file.each_term(), range_hashes, strict=True)):
        index = recent(term.xorb)
        if index is None:
            raise missing(term.xorb)
        if term.chunk_stop > len(index.lengths):
            raise Invalid(f"shard: term {number} of file {file.hash} goes beyond xorb {term.xorb}")
        lengths = index.lengths[term.chunk_start : term.chunk_stop]
        raw_hashes = index.hashes[term.chunk_start * HASH_BYTES : term.chunk_stop * HASH_BYTES]
        if int(lengths.sum(dtype=np.uint64)) != term.raw_bytes:
            raise Invalid(f"shard: term {number} of file {file.hash} is not {term.raw_bytes} bytes long, as it states")
        # In constant time: who does not have the bytes must not find the hash by trying.
        if not hmac.compare_digest(stated, hashes.range_hash(raw_hashes)):
            raise Invalid(f"shard: term {number} of file {file.hash} has a wrong range hash")
        tree.add(raw_hashes, lengths)
    computed = hashes.ZERO if not len(file.term_records) else hashes.file_hash_of_root(tree.root())
    if hashes.to_text(computed) != file.hash:
        raise DigestMismatch("shard: file hash", file.hash, hashes.to_text(computed))


def missing(xorb: XetHash) -> Invalid:
    """The client relies on a xorb that was never here or is gone; it does not find that out by itself."""
    return Invalid(
        f"xorb {xorb} is not stored here, but this client's cache says that it is. Delete that cache, the folder "
        "~/.cache/huggingface/xet/*/shard-cache (where HF_XET_CACHE is set: $HF_XET_CACHE/*/shard-cache), and upload "
        "again.",
        xorb=xorb,
    )


def build_dedup(xorbs: Sequence[XorbIndex], key: bytes, expiry_s: int, created_s: int) -> bytes:
    """A dedup answer: these xorbs' chunks with their hashes under `key` (32 bytes, not all zero).

    Whoever has a chunk can find it in there; nobody learns a hash from it. Clients drop it at `expiry_s` (Unix time).
    """
    assert len(key) == HASH_BYTES, len(key)
    assert key != hashes.ZERO, "a key of zeros means: not keyed"
    parts = [HEADER_TAG, HEADER_VERSION.to_bytes(8, "little"), FOOTER_BYTES.to_bytes(8, "little"), _bookend()]
    xorbs_start = RECORD_BYTES * 2
    for xorb in xorbs:
        count = len(xorb.lengths)
        parts.append(_HEAD.pack(hashes.from_text(xorb.hash), 0, count, xorb.raw_bytes, 0))
        raw = xorb.hashes
        keyed = b"".join(hashes.keyed(key, raw[i : i + HASH_BYTES]) for i in range(0, len(raw), HASH_BYTES))
        chunks = np.zeros(count, _RECORD)
        chunks["hash"] = np.frombuffer(keyed, np.uint8).reshape(-1, HASH_BYTES)
        chunks["a"] = raw_offsets(xorb.lengths)[:-1]
        chunks["b"] = xorb.lengths
        parts.append(chunks.tobytes())
    parts.append(_bookend())
    end = sum(len(part) for part in parts)
    raw_bytes = sum(xorb.raw_bytes for xorb in xorbs)
    tables = (end, 0) * 3
    figures = (raw_bytes, raw_bytes, raw_bytes, end)
    footer = _FOOTER.pack(
        FOOTER_VERSION, RECORD_BYTES, xorbs_start, *tables, key, created_s, expiry_s, bytes(48), *figures
    )
    return b"".join([*parts, footer])


def _bookend() -> bytes:
    return _BOOKEND + bytes(RECORD_BYTES - HASH_BYTES)
