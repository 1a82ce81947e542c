"""Xet's container of chunks: check one as it arrives, and write one again from nothing but lengths and plain bytes.

At rest a xorb is the plain bytes of its chunks, one after the other; its index (chunk hashes and lengths) is kept by
the caller. A xorb's name covers hashes and lengths only, never how chunks were compressed, so any xorb can be served
as uncompressed chunks with headers made from the lengths: a "virtual" serialisation (design xet.md, 6.2).

Refuses to know: where bytes are kept, HTTP ranges, files. Trusts nothing that is declared: a chunk is decompressed
into no more room than its header asked for, and its header may ask for no more than Xet's limit (T56).

Sources: xet-core `xorb_object/xorb_chunk_format.rs`, `constants.rs`, `compression_scheme.rs`; LZ4 frame format 1.6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from struct import Struct

import lz4.frame
import numpy as np
import numpy.typing as npt

from headwater.ground.errors import Corrupt, Invalid, TooMuch
from headwater.store import hashes
from headwater.store.hashes import XetHash

CHUNK_HEADER_BYTES = 8
CHUNK_RAW_BYTES_MAX = 128 * 1024  # Xet's largest chunk; strict, its clients refuse longer ones too
CHUNK_STORED_BYTES_MAX = 2 * CHUNK_RAW_BYTES_MAX  # what Xet's own readers accept, though writers never exceed the raw
CHUNKS_MAX = 8192  # per xorb, Xet's limit
RAW_BYTES_MAX = 64 * 1024 * 1024  # per xorb, Xet's limit
SERIALISED_BYTES_MAX = RAW_BYTES_MAX + CHUNKS_MAX * CHUNK_HEADER_BYTES
FOOTER_BYTES_MAX = 128 + 44 * CHUNKS_MAX  # both footer versions: under 128 bytes, and at most 40 for each chunk
FOOTER_MARK = b"XETBLOB"
PIECE_BYTES = 1024 * 1024  # what `serialise` yields at a time: large enough to cost little, small enough to hold many

LENGTH_BYTES = 4  # of a chunk's length in the row of its xorb

SCHEME_NONE, SCHEME_LZ4, SCHEME_BG4_LZ4 = 0, 1, 2

Lengths = npt.NDArray[np.uint32]
"""Lengths of a xorb's chunks in order, uncompressed, in bytes; shape (n,)."""
Offsets = npt.NDArray[np.uint64]
"""Where chunks begin, and where the last one ends; shape (n + 1,)."""

_WORD = Struct("<Q")
_FOOTER_MASK = (1 << 56) - 1
_FOOTER_WORD = int.from_bytes(FOOTER_MARK, "little")


@dataclass(frozen=True, slots=True, eq=False)
class XorbIndex:
    """What is known of a xorb without its bytes. `hashes` is 32 bytes for each chunk."""

    hash: XetHash
    hashes: bytes
    lengths: Lengths
    raw_bytes: int


def index_of(name: XetHash, raw_bytes: int, chunk_hashes: bytes, lengths: bytes) -> XorbIndex | None:
    """The index that a row tells of; None when it makes no sense."""
    count, rest = divmod(len(lengths), LENGTH_BYTES)
    if rest or len(chunk_hashes) != count * hashes.HASH_BYTES:
        return None
    return XorbIndex(name, chunk_hashes, np.frombuffer(lengths, "<u4"), raw_bytes)


class XorbReader:
    """Checks a serialised xorb while it arrives, in pieces of any size, and hands out its chunks' plain bytes.

    Holds at most one compressed chunk between calls. One call hands out what its piece holds: up to 252 times its
    size where the chunks are all one byte repeated, and never more than RAW_BYTES_MAX; feed 64 KiB at a time to stay
    below 16 MiB. Any `HeadwaterError` ends it: nothing of the xorb may then be kept. Not for two threads at once.
    """

    def __init__(self) -> None:
        self._waiting: list[bytes | memoryview] = []
        self._waiting_bytes = 0
        self._needed_bytes = CHUNK_HEADER_BYTES  # how much must wait before there is anything to do
        self._fed_bytes = 0
        self._raw_bytes = 0
        self._hashes: list[bytes] = []
        self._lengths: list[int] = []
        self._footer_bytes: int | None = None  # None until the footer begins
        self._footer_end = b""
        self._lz4 = lz4.frame.create_decompression_context()

    def feed(self, data: bytes | memoryview) -> list[bytes | memoryview]:
        """The plain bytes of the chunks that this piece completes, in order.

        They may be views into `data`, which must therefore not be changed afterwards.
        """
        if self._footer_bytes is not None:
            self._feed_footer(data)
            return []
        self._fed_bytes += len(data)
        if self._waiting_bytes + len(data) < self._needed_bytes:
            self._wait_for(data, self._needed_bytes)
            return []
        if self._waiting:
            data = b"".join([*self._waiting, data])
            self._waiting, self._waiting_bytes = [], 0
        return self._chunks(memoryview(data))

    def finish(self) -> XorbIndex:
        """The index of the xorb, once all of it was fed. Its `hash` is computed: compare it with the one asked for."""
        if self._waiting_bytes:
            raise Invalid(f"xorb: it ends within chunk {len(self._lengths)}")
        if not self._lengths:
            raise Invalid("xorb: it has no chunks")
        if self._footer_bytes is not None:
            # The footer repeats what the chunks say, and is never believed; but one that was cut off is told.
            stated = int.from_bytes(self._footer_end, "little")
            if stated != self._footer_bytes - 4:
                raise Invalid(f"xorb: its footer has {self._footer_bytes} bytes and states {stated}")
        lengths = np.array(self._lengths, np.uint32)
        lengths.flags.writeable = False
        raw_hashes = b"".join(self._hashes)
        name = hashes.to_text(hashes.merkle_root(raw_hashes, lengths))
        return XorbIndex(name, raw_hashes, lengths, self._raw_bytes)

    def _chunks(self, view: memoryview) -> list[bytes | memoryview]:
        """Every whole chunk at the front of `view`; the rest of it waits."""
        chunks: list[bytes | memoryview] = []
        position, size = 0, len(view)
        needed = CHUNK_HEADER_BYTES
        while size - position >= CHUNK_HEADER_BYTES:
            (word,) = _WORD.unpack_from(view, position)
            if word & _FOOTER_MASK == _FOOTER_WORD:
                self._footer_bytes = 0
                self._feed_footer(view[position:])
                return chunks
            version, stored, scheme, raw = word & 0xFF, word >> 8 & 0xFFFFFF, word >> 32 & 0xFF, word >> 40
            if (
                version
                or scheme > SCHEME_BG4_LZ4
                or not 0 < raw <= CHUNK_RAW_BYTES_MAX
                or not 0 < stored <= CHUNK_STORED_BYTES_MAX
                or (scheme == SCHEME_NONE and stored != raw)
            ):
                raise Invalid(
                    f"xorb: chunk {len(self._lengths)} has a bad header (version {version}, {stored} bytes stored, "
                    f"scheme {scheme}, {raw} bytes raw)"
                )
            start = position + CHUNK_HEADER_BYTES
            stop = start + stored
            if stop > size:
                needed = CHUNK_HEADER_BYTES + stored
                break
            chunk = view[start:stop] if scheme == SCHEME_NONE else self._decoded(view[start:stop], scheme, raw)
            chunks.append(chunk)
            self._count(chunk, raw)
            position = stop
        if self._fed_bytes > SERIALISED_BYTES_MAX:
            raise TooMuch(f"xorb: longer than {SERIALISED_BYTES_MAX} bytes")
        self._wait_for(view[position:], needed)
        return chunks

    def _count(self, chunk: bytes | memoryview, raw_bytes: int) -> None:
        self._hashes.append(hashes.chunk_hash(chunk))
        self._lengths.append(raw_bytes)
        self._raw_bytes += raw_bytes
        if self._raw_bytes > RAW_BYTES_MAX:
            raise TooMuch(f"xorb: more than {RAW_BYTES_MAX} bytes of chunks")
        if len(self._lengths) > CHUNKS_MAX:
            raise TooMuch(f"xorb: more than {CHUNKS_MAX} chunks")

    def _wait_for(self, rest: bytes | memoryview, needed_bytes: int) -> None:
        self._needed_bytes = needed_bytes
        if len(rest):
            self._waiting.append(rest)
            self._waiting_bytes += len(rest)

    def _decoded(self, stored: memoryview, scheme: int, raw_bytes: int) -> bytes | memoryview:
        try:
            lz4.frame.reset_decompression_context(self._lz4)
            # Room for exactly what the header declared: a frame that holds more is not at its end then.
            plain, used, ended = lz4.frame.decompress_chunk(self._lz4, stored, max_length=raw_bytes)
        except (RuntimeError, ValueError, MemoryError) as error:
            raise Invalid(f"xorb: chunk {len(self._lengths)} is not a good LZ4 frame: {error}") from None
        if not ended or used != len(stored) or len(plain) != raw_bytes:
            raise Invalid(f"xorb: chunk {len(self._lengths)} does not unpack to its {raw_bytes} bytes")
        plain_bytes: bytes = plain
        return regroup(plain_bytes) if scheme == SCHEME_BG4_LZ4 else plain_bytes

    def _feed_footer(self, data: bytes | memoryview) -> None:
        self._footer_bytes = (self._footer_bytes or 0) + len(data)
        if self._footer_bytes > FOOTER_BYTES_MAX:
            raise Invalid(f"xorb: its footer is longer than {FOOTER_BYTES_MAX} bytes")
        self._footer_end = (self._footer_end + bytes(data[-4:]))[-4:]


def regroup(planes: bytes) -> memoryview:
    """Undo BG4: bytes that were sorted by their index modulo 4 take turns again.

    Where the length is not a multiple of 4, the first planes have one byte more. Four strided copies cost 0.34
    CPU-s/GB; widening to u16 and u32 and shifting is no faster once its scratch space is counted (0.33 kept, 1.3
    allocated), a transposed copy takes three times as long (numpy 2.4, AMD EPYC, within a whole verification).
    """
    source = np.frombuffer(planes, np.uint8)
    plain = np.empty(len(planes), np.uint8)
    rows, longer = divmod(len(planes), 4)
    start = 0
    for plane in range(4):
        stop = start + rows + (plane < longer)
        plain[plane::4] = source[start:stop]
        start = stop
    return plain.data


def raw_offsets(lengths: Lengths) -> Offsets:
    """Where each chunk begins in the plain bytes."""
    offsets = np.zeros(len(lengths) + 1, np.uint64)
    np.cumsum(lengths, dtype=np.uint64, out=offsets[1:])
    return offsets


def serialised_offsets(lengths: Lengths) -> Offsets:
    """Where each chunk's header begins in the uncompressed serialisation."""
    return raw_offsets(lengths) + np.arange(len(lengths) + 1, dtype=np.uint64) * np.uint64(CHUNK_HEADER_BYTES)


def serialised_size(lengths: Lengths) -> int:
    """The length of the uncompressed serialisation, in bytes."""
    return int(lengths.sum(dtype=np.uint64)) + CHUNK_HEADER_BYTES * len(lengths)


def serialise(
    lengths: Lengths,
    read: Callable[[int, int], Iterable[bytes | memoryview]],
    start: int,
    stop: int,
    piece_bytes: Callable[[], int] = lambda: PIECE_BYTES,
) -> Iterator[bytes]:
    """Bytes start ... stop of the uncompressed serialisation, in pieces of about as much as `piece_bytes` says.

    `read(raw_start, raw_stop)` gives that range of the xorb's plain bytes, in pieces of any size; it is called once,
    with an empty range where only headers are asked for.
    Raises Corrupt where it gives more or less than was asked for.
    """
    assert 0 <= start <= stop <= serialised_size(lengths), (start, stop)
    if start == stop:
        return
    offsets = serialised_offsets(lengths)
    first = max(int(np.searchsorted(offsets, start, side="right")) - 1, 0)
    last = int(np.searchsorted(offsets, stop, side="left"))
    sizes = lengths[first:last].astype(np.uint64)
    headers = (sizes << np.uint64(8) | sizes << np.uint64(40)).astype("<u8").tobytes()
    plain = _Pieces(read(_raw_position(offsets, start), _raw_position(offsets, stop)))
    parts: list[bytes | memoryview] = []
    waiting_bytes = 0
    spans = offsets[first : last + 1].tolist()
    for i, (chunk_start, chunk_stop) in enumerate(pairwise(spans)):
        header = headers[i * CHUNK_HEADER_BYTES : (i + 1) * CHUNK_HEADER_BYTES]
        parts.append(header[max(start - chunk_start, 0) : stop - chunk_start])
        parts.extend(plain.take(max(min(chunk_stop, stop) - max(chunk_start + CHUNK_HEADER_BYTES, start), 0)))
        waiting_bytes += chunk_stop - chunk_start
        if waiting_bytes >= piece_bytes():
            yield b"".join(parts)
            parts, waiting_bytes = [], 0
    plain.end()
    if parts:
        yield b"".join(parts)


def _raw_position(offsets: Offsets, position: int) -> int:
    """How many plain bytes lie before a position in the serialisation."""
    chunk = max(int(np.searchsorted(offsets, position, side="right")) - 1, 0)
    in_chunk = max(position - int(offsets[chunk]) - CHUNK_HEADER_BYTES, 0)
    return int(offsets[chunk]) - chunk * CHUNK_HEADER_BYTES + in_chunk


class _Pieces:
    """Bytes that come in pieces, taken in other pieces, without a copy."""

    def __init__(self, source: Iterable[bytes | memoryview]) -> None:
        self._source = iter(source)
        self._rest = memoryview(b"")

    def take(self, size_bytes: int) -> list[memoryview]:
        """Exactly so many bytes, in as many parts as they came in."""
        parts = []
        while size_bytes:
            if not self._rest:
                piece = next(self._source, None)
                if piece is None:
                    raise Corrupt(f"xorb: its stored bytes end {size_bytes} bytes before the end of a chunk")
                self._rest = memoryview(piece)
                continue
            part = self._rest[:size_bytes]
            self._rest = self._rest[len(part) :]
            size_bytes -= len(part)
            parts.append(part)
        return parts

    def end(self) -> None:
        if self._rest or any(len(piece) for piece in self._source):
            raise Corrupt("xorb: its stored bytes are longer than its chunks")
