"""Zip directories: where stored members lie, and every way in which an archive can be two archives (T55)."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zipfile

import pytest
from tensor_files import reader, zip_file

from headwater.tensors import Malformed, zips

FILES = [("a.txt", b"first"), ("folder/b.bin", bytes(range(256))), ("ünï.npy", b"third" * 100)]


def located(content: bytes) -> dict[str, bytes]:
    directory = zips.read_directory(reader(content), len(content))
    places = zips.places(reader(content), directory, [member for member in directory.members if member.stored])
    return {name: content[start:stop] for name, (start, stop) in places.items()}


def refusal(content: bytes) -> str:
    with pytest.raises(Malformed) as caught:
        located(content)
    return caught.value.text


def end_of(count: int, directory_bytes: int, start: int, comment: bytes = b"") -> bytes:
    return struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, directory_bytes, start, len(comment)) + comment


def central_of(name: bytes, size: int, header_start: int, extra: bytes = b"", raw_size: int | None = None) -> bytes:
    raw_size = size if raw_size is None else raw_size
    lengths = (len(name), len(extra), 0, 0, 0)
    return (
        struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, size, raw_size, *lengths, 0, header_start)
        + name
        + extra
    )


def local_of(name: bytes, data: bytes, size: int | None = None, extra: bytes = b"") -> bytes:
    size = len(data) if size is None else size
    head = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, size, size, len(name), len(extra))
    return head + name + extra + data


def one_member(local: bytes, central: bytes, count: int = 1) -> bytes:
    return local + central + end_of(count, len(central), len(local))


@pytest.mark.parametrize("sizes_follow", [False, True])
def test_stored_members_are_where_they_are(sizes_follow: bool) -> None:
    assert dict(FILES) == located(zip_file(FILES, sizes_follow=sizes_follow))


def test_compressed_members_are_named_and_not_located() -> None:
    content = zip_file(FILES, zipfile.ZIP_DEFLATED)
    members = zips.read_directory(reader(content), len(content)).members
    assert [name for name, _ in FILES] == [member.name for member in members]
    assert not any(member.stored for member in members)


def test_an_archive_without_members_is_good() -> None:
    assert located(zip_file([])) == {}


def test_a_comment_that_holds_an_end_record_of_its_own_is_refused() -> None:
    inner = end_of(0, 0, 0)
    assert "2 end records" in refusal(end_of(0, 0, 0, inner))


def test_zip64_numbers_count_where_the_narrow_ones_are_all_ones() -> None:
    extra = struct.pack("<HHQQQ", 1, 24, 5, 5, 0)
    local = local_of(b"x", b"hello", 0xFFFFFFFF, struct.pack("<HHQQ", 1, 16, 5, 5))
    central = central_of(b"x", 0xFFFFFFFF, 0xFFFFFFFF, extra)
    wide = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(central), len(local))
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, len(local) + len(central), 1)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert located(local + central + wide + locator + end) == {"x": b"hello"}
    narrow = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 2, 2, len(central), len(local), 0)
    assert "says 2 where zip64's says 1" in refusal(local + central + wide + locator + narrow)
    lost = struct.pack("<4sIQI", b"PK\x06\x07", 0, 3, 1)
    assert "no zip64 end record" in refusal(local + central + wide + lost + end)
    beyond = struct.pack("<4sIQI", b"PK\x06\x07", 0, 1 << 63, 1)
    assert "does not lie before its locator" in refusal(local + central + wide + beyond + end)
    bare = central_of(b"x", 0xFFFFFFFF, 0xFFFFFFFF)
    assert "zip64 numbers are missing" in refusal(one_member(local, bare))


def test_T55_a_member_that_is_there_twice_is_refused() -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = zip_file([("a", b"1"), ("a", b"2")])
    assert "'a' is there twice" in refusal(content)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "0 end records"),
        (b"PK\x03\x04" + bytes(100), "0 end records"),
        (end_of(1, 0, 0), "do not fit"),
        (end_of(0, 10, 0), "does not end where 0 begins"),
        (end_of(0, 0, 7), "does not end where 0 begins"),
        (b"#!/bin/sh\n" + zip_file(FILES), "does not end where"),
        (zip_file(FILES) + b"junk", "0 end records"),
        (one_member(local_of(b"x", b"12345"), central_of(b"x", 5, 0), count=2), "do not fit"),
        (one_member(local_of(b"x", b"12345"), central_of(b"x", 5, 0) + b"?"), "1 bytes of the directory belong to no"),
        (one_member(local_of(b"x", b"12345"), b"?" * 60), "begins with b'????'"),
        (one_member(local_of(b"x", b"12345"), central_of(b"x", 50, 0)), "ends beyond the directory's start"),
        (one_member(local_of(b"x", b"12345"), central_of(b"x", 5, 1 << 31)), "ends beyond the directory's start"),
        (one_member(local_of(b"x", b"12345"), central_of(b"x", 5, 0, raw_size=9)), "are said to become 9"),
        (one_member(local_of(b"y", b"12345"), central_of(b"x", 5, 0)), "another name in its local header"),
        (one_member(local_of(b"xyz", b"123"), central_of(b"x", 5, 0)), "another name in its local header"),
        (one_member(b"?" * 40, central_of(b"x", 5, 0)), "no local header at byte 0"),
        (one_member(local_of(b"x", b"12345", size=4), central_of(b"x", 5, 0)), "its local header says 4"),
        (
            one_member(local_of(b"x", b"12345", extra=b"")[:26] + b"\1\0\377\377x12345", central_of(b"x", 5, 0)),
            "beyond",
        ),
    ],
    ids=range(18),
)
def test_T55_an_archive_that_can_be_read_in_two_ways_is_refused(content: bytes, text: str) -> None:
    assert text in refusal(content)


def test_T55_members_on_top_of_each_other_are_refused() -> None:
    inside = local_of(b"b", b"BBBB")
    outer = local_of(b"a", inside)
    central = central_of(b"a", len(inside), 0) + central_of(b"b", 4, len(outer) - len(inside))
    assert "'b' lies on top of 'a'" in refusal(one_member(outer, central, 2))


def test_T55_the_same_bytes_under_ten_thousand_names_are_refused() -> None:
    local = local_of(b"bomb-0000", bytes(1000))
    central = b"".join(central_of(b"bomb-%04d" % number, 1000, 0) for number in range(10_000))
    assert "another name" in refusal(one_member(local, central, 10_000))


def test_T55_a_directory_of_absurd_size_is_not_read() -> None:
    tail = end_of(0xFFFF, 1 << 31, 0)
    size = (1 << 31) + len(tail)

    def read(start: int, stop: int) -> bytes:
        assert stop - start < 1 << 17, "only the tail may be read"
        return (bytes(1 << 17) + tail)[start - size + (1 << 17) + len(tail) :][: stop - start]

    with pytest.raises(Malformed, match="over the limit of 33554432"):
        zips.read_directory(read, size)


def test_T55_every_cut_and_every_flipped_byte_is_refused_or_leaves_members_inside_the_file() -> None:
    content = zip_file(FILES)
    for size in range(len(content)):
        refusal(content[:size])
    chance = random.Random(3)
    for _ in range(2_000):
        damaged = bytearray(content)
        damaged[chance.randrange(len(content))] = chance.randrange(256)
        try:
            found = located(bytes(damaged))
        except Malformed:
            continue
        assert sum(map(len, found.values())) <= len(content)


def test_ten_thousand_members_take_little_memory() -> None:
    content = zip_file([(f"archive/data/{number}", b"w") for number in range(10_000)])
    tracemalloc.start()
    try:
        assert len(located(content)) == 10_000
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()
