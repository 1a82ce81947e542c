"""Range arithmetic against an oracle that knows nothing but RFC 9110 section 14 and counts bytes one by one (T58)."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from headwater.front.answer import Answer
from headwater.front.body import RANGES_MAX, Unsatisfiable, ranged, ranges

SIZES = st.integers(0, 40)
NUMBER = st.integers(0, 60).map(str) | st.just("")
SPEC = st.tuples(NUMBER, NUMBER)
DATA = bytes(range(64))


def asked_bytes(spec: tuple[str, str], size: int) -> list[int] | None:
    """The positions that one range asks for; None: it is no range."""
    first, last = spec
    if first == "" and last == "":
        return None
    if first == "":
        return [at for at in range(size) if at >= size - int(last)]
    if last == "":
        return [at for at in range(size) if at >= int(first)]
    if int(last) < int(first):
        return None
    return [at for at in range(size) if int(first) <= at <= int(last)]


@given(st.lists(SPEC, min_size=1, max_size=5), SIZES)
@example([("0", "0"), ("0", "0")], 10)
@example([("5", ""), ("", "5")], 10)
def test_the_runs_are_the_bytes_that_were_asked_for(specs: list[tuple[str, str]], size: int) -> None:
    header = "bytes=" + ",".join(f"{first}-{last}" for first, last in specs)
    wanted = [asked_bytes(spec, size) for spec in specs]
    try:
        runs = ranges(header, size)
    except Unsatisfiable:
        given_bytes = [at for found in wanted if found for at in found]
        # nothing to send, or the same byte twice
        assert None not in wanted
        assert not given_bytes or len(given_bytes) > len(set(given_bytes))
        return
    if runs is None:
        assert None in wanted
        return
    assert [list(range(start, stop)) for start, stop in runs] == [found for found in wanted if found]
    assert sum(stop - start for start, stop in runs) <= size


@given(st.text(max_size=60), SIZES)
@example("bytes=" + "0-0," * RANGES_MAX + "1-1", 10)
@example("bytes=٣-٤", 10)
def test_any_header_is_ignored_answered_or_refused(header: str, size: int) -> None:
    try:
        runs = ranges(header, size)
    except Unsatisfiable as refused:
        assert refused.headers["Content-Range"] == f"bytes */{size}"
        return
    assert runs is None or all(0 <= start < stop <= size for start, stop in runs)


@given(st.lists(SPEC, min_size=1, max_size=4), st.integers(1, 64), st.text(max_size=30))
def test_what_is_sent_is_as_long_as_announced_and_parses_to_those_bytes(
    specs: list[tuple[str, str]], size: int, boundary: str
) -> None:
    header = "bytes=" + ",".join(f"{first}-{last}" for first, last in specs)
    answer = Answer(headers={"Content-Type": "text/plain"})
    try:
        done = ranged(answer, size, lambda start, stop: [DATA[start:stop]], {"range": header}, boundary)
    except Unsatisfiable:
        return
    sent = b"".join(piece for piece in done.pieces or () if isinstance(piece, bytes))
    assert len(sent) == done.length
    runs = ranges(header, size)
    if runs is None:
        assert (done.status, sent) == (200, DATA[:size])
    elif len(runs) == 1:
        assert (done.status, sent) == (206, DATA[slice(*runs[0])])
    else:
        found = re.fullmatch(r"multipart/byteranges; boundary=(\w+)", done.headers["Content-Type"], re.ASCII)
        assert found is not None
        parts = sent.split(f"\r\n--{found[1]}".encode())[1:-1]
        assert [part.partition(b"\r\n\r\n")[2] for part in parts] == [DATA[start:stop] for start, stop in runs]
