"""Bodies: bounded on the way in, exactly the bytes of the range on the way out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headwater.front import body as bodies
from headwater.front.answer import Answer
from headwater.front.body import ClientGone, Incoming, Traffic, Unsatisfiable, ranged, ranges
from headwater.ground.errors import TooMuch
from headwater.store import FileRun

DATA = bytes(range(256)) * 4
SIZE = len(DATA)


@pytest.fixture(scope="module")
def traffic() -> Iterator[Traffic]:
    with ThreadPoolExecutor(2) as pool:
        yield Traffic(pool, pool, 5.0)


# --- ranges ---


@pytest.mark.parametrize(
    ("header", "runs"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-", [(0, SIZE)]),
        ("bytes=10-19", [(10, 20)]),
        ("bytes=-1", [(SIZE - 1, SIZE)]),
        ("bytes=-5000", [(0, SIZE)]),
        ("bytes=1000-5000", [(1000, SIZE)]),
        ("bytes=0-1,4-5", [(0, 2), (4, 6)]),
        ("bytes=4-5, 0-1", [(4, 6), (0, 2)]),
        ("bytes=0-1,5000-", [(0, 2)]),
        ("Bytes = 0-0", [(0, 1)]),
        ("bytes=0-999999999999999999", [(0, SIZE)]),
        # what is malformed is as if it were not there
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=5-4", None),
        ("bytes=a-b", None),
        ("bytes=0-1,x", None),
        ("bytes=--1", None),
        ("bytes=0-9999999999999999999", None),
        ("items=0-1", None),
        ("0-1", None),
        ("bytes=0-1,", None),
    ],
)
def test_T58_a_range_header_as_rfc_9110_reads_it(header: str, runs: list[tuple[int, int]] | None) -> None:
    assert ranges(header, SIZE) == runs


@pytest.mark.parametrize(
    "header",
    [
        "bytes=1024-",
        "bytes=5000-6000",
        "bytes=-0",
        "bytes=0-10,5-20",
        "bytes=0-,0-",
        ",".join(["bytes=0-0", *["1-1"] * 16]),
        "bytes=" + ",".join(["0-0"] * 10_000),
    ],
)
def test_T58_what_no_byte_answers_or_would_send_more_than_the_file_is_416(header: str) -> None:
    with pytest.raises(Unsatisfiable) as refused:
        ranges(header, SIZE)
    assert refused.value.status == 416
    assert refused.value.headers["Content-Range"] == f"bytes */{SIZE}"
    assert len(refused.value.text) < 300


def test_T58_of_an_empty_file_no_range_exists() -> None:
    with pytest.raises(Unsatisfiable):
        ranges("bytes=0-", 0)


def answered(boundary: str = "req", **asked: str) -> tuple[Answer, bytes]:
    answer = Answer(headers={"ETag": '"abc"', "Content-Type": "text/plain"})
    headers = {name.replace("_", "-"): value for name, value in asked.items()}
    done = ranged(answer, SIZE, lambda start, stop: [DATA[start:stop]], headers, boundary)
    sent = b"".join(piece for piece in done.pieces or () if isinstance(piece, bytes))
    assert done.pieces is None or done.length == len(sent)
    return done, sent


def test_without_a_range_all_of_it_is_sent() -> None:
    answer, sent = answered()
    assert (answer.status, sent, answer.headers["Accept-Ranges"]) == (200, DATA, "bytes")


def test_T58_one_range_is_a_206_with_its_place() -> None:
    answer, sent = answered(range="bytes=10-19")
    assert (answer.status, sent, answer.headers["Content-Range"]) == (206, DATA[10:20], f"bytes 10-19/{SIZE}")


@pytest.mark.parametrize("boundary", ["req", "Root=1-67891233-abcdef012345678912345678;Self=x", "=;:._-", "x" * 100])
def test_T58_several_ranges_are_one_multipart_answer_that_parses(boundary: str) -> None:
    answer, sent = answered(boundary, range="bytes=0-1,10-19,-3")
    assert answer.status == 206
    found = re.fullmatch(r"multipart/byteranges; boundary=([A-Za-z0-9]{1,70})", answer.headers["Content-Type"])
    assert found is not None
    mark = f"\r\n--{found[1]}".encode()
    preamble, *parts, end = sent.split(mark)
    assert (preamble, end) == (b"", b"--\r\n")
    expected = [(0, 2), (10, 20), (SIZE - 3, SIZE)]
    assert parts == [
        f"\r\nContent-Type: text/plain\r\nContent-Range: bytes {a}-{b - 1}/{SIZE}\r\n\r\n".encode() + DATA[a:b]
        for a, b in expected
    ]


@pytest.mark.parametrize("tag", ['"abc"', 'W/"abc"', '"x", "abc"', '"abc" , "y"'])
def test_what_the_client_has_is_not_sent_again(tag: str) -> None:
    answer, sent = answered(if_none_match=tag, range="bytes=0-1")
    assert (answer.status, sent, answer.headers["ETag"]) == (304, b"", '"abc"')


def test_a_range_of_another_version_gets_the_whole_of_this_one() -> None:
    assert answered(range="bytes=0-1", if_range='"abc"')[0].status == 206
    for other in ('"old"', "Wed, 21 Oct 2015 07:28:00 GMT", 'W/"abc"'):
        answer, sent = answered(range="bytes=0-1", if_range=other)
        assert (answer.status, sent) == (200, DATA)


# --- in ---


def incoming(pieces: list[bytes | None], traffic: Traffic, **headers: str) -> Incoming:
    """A body that arrives in these pieces; None: the client leaves."""
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        piece = left.pop(0)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    return Incoming(receive, {name.replace("_", "-"): value for name, value in headers.items()}, traffic)


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def begin() -> Any:
        return await work()

    return asyncio.run(begin())


def test_a_body_is_put_together_from_its_pieces(traffic: Traffic) -> None:
    body = incoming([b"ab", b"", b"cd"], traffic)
    assert run(lambda: body.whole(4, "x")) == b"abcd"
    assert body.complete


def test_T24_a_body_over_the_limit_is_refused_by_its_announced_length_before_it_is_read(traffic: Traffic) -> None:
    body = incoming([], traffic, content_length="5")
    with pytest.raises(TooMuch, match="json_body_max"):
        run(lambda: body.whole(4, "json_body_max"))


def test_T24_a_body_over_the_limit_is_refused_also_if_it_announced_nothing(traffic: Traffic) -> None:
    with pytest.raises(TooMuch):
        run(lambda: incoming([b"abc", b"def"], traffic).whole(4, "x"))


def test_a_client_that_leaves_in_the_middle_ends_the_reading(traffic: Traffic) -> None:
    with pytest.raises(ClientGone):
        run(lambda: incoming([b"abc", None], traffic).whole(10, "x"))


@pytest.mark.parametrize("length", ["", "-1", "1e3", "x", "٣", "9" * 30])
def test_T60_an_announced_length_that_is_no_number_counts_for_nothing(traffic: Traffic, length: str) -> None:
    assert incoming([], traffic, content_length=length).declared is None


class Taken:
    """A sink that remembers, and fails where a test says so."""

    def __init__(self, fail_at: str = "") -> None:
        self.data = b""
        self.ended = ""
        self._fail_at = fail_at

    def write(self, data: bytes) -> None:
        if self._fail_at == "write":
            raise TooMuch("no")
        self.data += data

    def finish(self) -> Answer:
        if self._fail_at == "finish":
            raise TooMuch("no")
        self.ended = "finished"
        return Answer(201)

    def abort(self) -> None:
        self.ended = "aborted"


def test_a_sink_gets_every_piece_and_then_its_end(traffic: Traffic) -> None:
    sink = Taken()
    assert run(lambda: incoming([b"ab", b"cd"], traffic).into(sink)).status == 201
    assert (sink.data, sink.ended, traffic.running) == (b"abcd", "finished", 0)


@pytest.mark.parametrize(("pieces", "fail_at"), [([b"ab", None], ""), ([b"ab"], "write"), ([b"ab"], "finish")])
def test_a_sink_hears_of_whatever_goes_wrong(traffic: Traffic, pieces: list[bytes | None], fail_at: str) -> None:
    sink = Taken(fail_at)
    with pytest.raises((ClientGone, TooMuch)):
        run(lambda: incoming(pieces, traffic).into(sink))
    assert (sink.ended, traffic.running) == ("aborted", 0)


# --- out ---


def sent_of(answer: Answer, traffic: Traffic, *, head_only: bool = False) -> tuple[dict[str, str], bytes]:
    messages: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        messages.append(dict(message))

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def go() -> None:
        asked = Incoming(receive, {}, traffic)
        asked.complete = True
        await bodies.send(answer, send, receive, traffic, asked, head_only=head_only)

    run(go)
    start, *rest = messages
    assert [message["type"] for message in rest] == ["http.response.body"] * len(rest)
    assert rest[-1].get("more_body", False) is False
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return headers, b"".join(message.get("body", b"") for message in rest)


def test_pieces_of_every_kind_are_sent_in_order(traffic: Traffic, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    pieces = [b"first ", FileRun(tmp_path / "file", 3, 700), iter([b" made", b" up"])]
    headers, body = sent_of(Answer(200, {"ETag": "x"}, pieces=pieces), traffic)
    assert body == b"first " + DATA[3:700] + b" made up"
    assert "content-length" not in headers
    assert headers["etag"] == "x"


def test_a_head_has_the_length_and_no_body(traffic: Traffic) -> None:
    headers, body = sent_of(Answer(pieces=[DATA], length=SIZE), traffic, head_only=True)
    assert (headers["content-length"], body) == (str(SIZE), b"")


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_states_no_length(traffic: Traffic, status: int) -> None:
    assert "content-length" not in sent_of(Answer(status), traffic)[0]


def test_cookies_are_headers_of_their_own(traffic: Traffic) -> None:
    headers, body = sent_of(Answer(body=b"x", cookies=("a=1",)), traffic)
    assert (headers["set-cookie"], headers["content-length"], body) == ("a=1", "1", b"x")


def test_T24_steps_get_smaller_when_many_bodies_are_under_way(traffic: Traffic) -> None:
    alone = traffic.step
    traffic.running = bodies.CROWD
    crowded, traffic.running = traffic.step, 0
    assert crowded < alone <= 1 << 20
