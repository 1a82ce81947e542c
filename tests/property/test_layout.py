"""Whatever a file is made of and whatever part of it is asked for: what a Xet client rebuilds is exactly those bytes."""

from __future__ import annotations

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from store_cas import Cas
from xet_building import File, Xorb, noise, unpacked

from headwater.store import Blob
from headwater.store import xets as module
from headwater.store.xorb import CHUNK_RAW_BYTES_MAX

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=6)


@st.composite
def files(draw: st.DrawFn) -> File:
    """A file of any spans of up to three xorbs, each used as often and in as any order as may be."""
    made = [
        Xorb(tuple(noise(f"{number}:{at}:{size}:{sizes}", size) for at, size in enumerate(sizes)))
        for number, sizes in enumerate(draw(st.lists(SIZES, min_size=1, max_size=3)))
    ]
    spans = []
    for _ in range(draw(st.integers(1, 6))):
        xorb = draw(st.sampled_from(made))
        start = draw(st.integers(0, len(xorb.chunks) - 1))
        spans.append((xorb, start, draw(st.integers(start + 1, len(xorb.chunks)))))
    return File(tuple(spans))


def rebuilt(cas: Cas, blob: Blob, start: int, stop: int) -> bytes:
    """What a client makes of a reconstruction: every part fetched, unpacked, joined; skipped, and cut."""
    layout = cas.xets.layout(blob, start, stop)
    out = b""
    for part in layout.parts:
        chunks = unpacked(b"".join(cas.xets.fetch(part.source, part.start, part.stop)))
        assert len(chunks) == part.chunk_stop - part.chunk_start
        assert sum(map(len, chunks)) == part.size
        out += b"".join(chunks)
    assert layout.skip < max(len(layout.parts) and layout.parts[0].size, 1)
    return out[layout.skip : layout.skip + stop - start]


@settings(max_examples=60)
@given(files(), st.data())
def test_a_file_over_xorbs_is_rebuilt_from_any_range(cas: Cas, file: File, data: st.DataObject) -> None:
    size = len(file.data)
    start = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(start + 1, size))
    cas.land(*{xorb.name: xorb for xorb, _, _ in file.spans}.values())
    (blob,) = cas.register(file)
    assume(blob.terms is not None)
    assert rebuilt(cas, blob, start, stop) == file.data[start:stop]
    assert cas.read(blob.sha256, start, stop) == file.data[start:stop]
    # no byte is fetched that lies in a chunk outside the range
    first, last = cas.xets.layout(blob, start, start + 1).parts, cas.xets.layout(blob, stop - 1, stop).parts
    assert len(first) == len(last) == 1


@settings(max_examples=25)
@given(st.integers(1, 7 * CHUNK_RAW_BYTES_MAX), st.data())
def test_a_plain_file_is_rebuilt_from_any_range_of_its_pseudo_xorbs(cas: Cas, size: int, data: st.DataObject) -> None:
    edges = [*range(0, size + 1, CHUNK_RAW_BYTES_MAX), size]
    near = st.sampled_from(edges).flatmap(lambda at: st.integers(max(at - 2, 0), min(at + 2, size)))
    start = data.draw(st.integers(0, size) | near)
    stop = data.draw(st.integers(0, size) | near)
    assume(start < stop)
    piece_bytes, module.PIECE_BYTES = module.PIECE_BYTES, 2 * CHUNK_RAW_BYTES_MAX  # tests can't fill 64 MiB
    try:
        plain = noise("plain", size)
        blob = cas.put(plain)
        assert rebuilt(cas, blob, start, stop) == plain[start:stop]
    finally:
        module.PIECE_BYTES = piece_bytes


@settings(max_examples=60)
@given(files(), st.data())
def test_any_part_of_a_fetch_is_that_part_of_the_whole_fetch(cas: Cas, file: File, data: st.DataObject) -> None:
    cas.land(*{xorb.name: xorb for xorb, _, _ in file.spans}.values())
    (blob,) = cas.register(file)
    (part, *_) = cas.xets.layout(blob, 0, len(file.data)).parts
    whole = b"".join(cas.xets.fetch(part.source, part.start, part.stop))
    assert len(whole) == part.stop - part.start
    low = data.draw(st.integers(part.start, part.stop))
    high = data.draw(st.integers(low, part.stop))
    assert b"".join(cas.xets.fetch(part.source, low, high)) == whole[low - part.start : high - part.start]
