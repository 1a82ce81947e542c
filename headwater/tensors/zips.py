"""The directory of a zip file: which members it has, and where the bytes of a stored member lie.

Nothing is ever decompressed. Zip files can be written so that two readers see two different archives; whatever allows
that (bytes that no directory covers, names that are there twice, local headers that disagree, members on top of each
other) is `Malformed` here. Refuses to know what the members are. Source: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 to
4.5, zip64 included.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from headwater.tensors import TENSORS_MAX, Malformed, Read
from headwater.tensors.reading import exactly

MEMBERS_MAX = 2 * TENSORS_MAX  # a tensor takes one member, and a package adds its own
DIRECTORY_BYTES_MAX = 1 << 25  # 100,000 members with names of 250 bytes
STORED = 0

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_COMMENT_BYTES_MAX = 0xFFFF
_U16, _U32 = 0xFFFF, 0xFFFF_FFFF
_ENCRYPTED, _SIZES_FOLLOW, _UTF8 = 0x0001, 0x0008, 0x0800
_EXTRA_ZIP64 = 1


@dataclass(frozen=True, slots=True)
class Member:
    """What the directory says of one member: `size` is its bytes in the archive, `header_start` of its local header.

    `stored` members are in the archive as they are: neither compressed nor encrypted.
    """

    name: str
    raw_name: bytes
    stored: bool
    flags: int
    size: int
    header_start: int


@dataclass(frozen=True, slots=True)
class Directory:
    """The members in the directory's order; they all lie before `start`, where the directory begins."""

    members: tuple[Member, ...]
    start: int


def read_directory(read: Read, size: int) -> Directory:
    """Read and check the central directory of a file of `size` bytes. Raises `Malformed`."""
    count, start, stop = _end(read, size)
    if count > MEMBERS_MAX:
        raise Malformed(f"zip: {count} members are over the limit of {MEMBERS_MAX}")
    if stop - start > DIRECTORY_BYTES_MAX:
        raise Malformed(f"zip: a directory of {stop - start} bytes is over the limit of {DIRECTORY_BYTES_MAX}")
    if count * _CENTRAL.size > stop - start:
        raise Malformed(f"zip: {count} members do not fit into a directory of {stop - start} bytes")
    raw = exactly(read, start, stop, "zip")
    members: list[Member] = []
    at = 0
    for _ in range(count):
        member, at = _member(raw, at, start)
        members.append(member)
    if at != len(raw):
        raise Malformed(f"zip: {len(raw) - at} bytes of the directory belong to no member")
    _named_once(members)
    return Directory(tuple(members), start)


def places(read: Read, directory: Directory, wanted: Iterable[Member]) -> dict[str, tuple[int, int]]:
    """Where the bytes of the wanted stored members lie: name to (start, stop). Raises `Malformed`.

    One short read per member: the local header, which must agree with the directory.
    """
    found = {member.name: _place(read, directory, member) for member in wanted}
    reached, before = 0, ""
    for header_start, stop, name in sorted((first, stop, name) for name, (first, _, stop) in found.items()):
        if header_start < reached:
            raise Malformed(f"zip: member {name[:200]!r} lies on top of {before[:200]!r} (at byte {header_start})")
        reached, before = stop, name
    return {name: (start, stop) for name, (_, start, stop) in found.items()}


def _end(read: Read, size: int) -> tuple[int, int, int]:
    """How many members, and the directory's [start, stop), as the end record says, or zip64's where it is there."""
    tail_start = max(0, size - _END.size - _COMMENT_BYTES_MAX)
    tail = exactly(read, tail_start, size, "zip")
    found = list(_ends(tail))
    if len(found) != 1:
        raise Malformed(f"zip: {len(found)} end records reach the end of the file, there must be exactly one")
    position = tail_start + found[0]
    given: tuple[int, ...] = _END.unpack_from(tail, found[0])[1:7]
    if position >= _LOCATOR.size:
        locator = exactly(read, position - _LOCATOR.size, position, "zip")
        if locator.startswith(b"PK\x06\x07"):
            position, given = _end_64(read, position - _LOCATOR.size, locator, given)
    disk, first_disk, here, count, directory_bytes, start = given
    if disk or first_disk or here != count:
        raise Malformed("zip: an archive in several parts is not read here")
    if start + directory_bytes != position:
        raise Malformed(f"zip: the directory [{start}, {start + directory_bytes}) does not end where {position} begins")
    return count, start, position


def _ends(tail: bytes) -> Iterable[int]:
    """Where an end record begins whose comment reaches exactly to the end."""
    at = tail.find(b"PK\x05\x06")
    while at >= 0:
        if at + _END.size <= len(tail) and at + _END.size + _END.unpack_from(tail, at)[7] == len(tail):
            yield at
        at = tail.find(b"PK\x05\x06", at + 1)


def _end_64(read: Read, locator_start: int, locator: bytes, given: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    _, disk, position, disks = _LOCATOR.unpack(locator)
    if disk or disks > 1:
        raise Malformed("zip: an archive in several parts is not read here")
    if position + _END_64.size > locator_start:
        raise Malformed(f"zip: the zip64 end record at {position} does not lie before its locator at {locator_start}")
    magic, record_bytes, _, _, *wide = _END_64.unpack(exactly(read, position, position + _END_64.size, "zip"))
    if magic != b"PK\x06\x06" or position + 12 + record_bytes != locator_start:
        raise Malformed(f"zip: no zip64 end record reaches from {position} to its locator at {locator_start}")
    for narrow, bound, value in zip(given, (_U16, _U16, _U16, _U16, _U32, _U32), wide, strict=True):
        if narrow not in (bound, value):
            raise Malformed(f"zip: the end record says {narrow} where zip64's says {value}")
    return position, tuple(wide)


def _member(raw: bytes, at: int, directory_start: int) -> tuple[Member, int]:
    if at + _CENTRAL.size > len(raw):
        raise Malformed(f"zip: the directory ends inside its entry at byte {directory_start + at}")
    magic, _, _, flags, method, _, _, _, size, raw_size, *lengths, disk, _, _, header_start = _CENTRAL.unpack_from(
        raw, at
    )
    if magic != b"PK\x01\x02":
        raise Malformed(f"zip: the directory's entry at byte {directory_start + at} begins with {magic!r}")
    name_stop = at + _CENTRAL.size + lengths[0]
    extra_stop = name_stop + lengths[1]
    stop = extra_stop + lengths[2]
    if stop > len(raw):
        raise Malformed(f"zip: the directory ends inside its entry at byte {directory_start + at}")
    raw_name = raw[at + _CENTRAL.size : name_stop]
    where = f"zip: member {raw_name[:200]!r}"
    if _U32 in (size, raw_size, header_start):
        raw_size, size, header_start = _wide(raw[name_stop:extra_stop], (raw_size, size, header_start), where)
    if disk not in (0, _U16):
        raise Malformed(f"{where} is in another part of the archive")
    stored = method == STORED and not flags & _ENCRYPTED
    if stored and size != raw_size:
        raise Malformed(f"{where} is stored, yet {size} bytes are said to become {raw_size}")
    if header_start + _LOCAL.size + len(raw_name) + size > directory_start:
        raise Malformed(f"{where} ends beyond the directory's start at {directory_start}")
    return Member(_text(raw_name), raw_name, stored, flags, size, header_start), stop


def _wide(extra: bytes, narrow: tuple[int, int, int], where: str) -> tuple[int, ...]:
    """Zip64: each number that is all ones stands, 64 bits wide, in the extra field, in this order."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        at += 4
        if kind == _EXTRA_ZIP64:
            numbers = list(struct.unpack_from(f"<{min(length, len(extra) - at) // 8}Q", extra, at))
            if len(numbers) < narrow.count(_U32):
                break
            return tuple(numbers.pop(0) if value == _U32 else value for value in narrow)
        at += length
    raise Malformed(f"{where}: its zip64 numbers are missing")


def _text(raw_name: bytes) -> str:
    try:
        return raw_name.decode()
    except UnicodeDecodeError:
        return raw_name.decode("cp437")


def _named_once(members: Iterable[Member]) -> None:
    names: set[str] = set()
    for member in members:
        if member.name in names:
            raise Malformed(f"zip: member {member.name[:200]!r} is there twice")
        names.add(member.name)


def _place(read: Read, directory: Directory, member: Member) -> tuple[int, int, int]:
    """(start of the local header, start, stop of the bytes), if the local header says what the directory does."""
    where = f"zip: member {member.name[:200]!r}"
    assert member.stored, member.name
    name_start = member.header_start + _LOCAL.size
    head = exactly(read, member.header_start, name_start + len(member.raw_name), "zip")
    magic, _, flags, method, _, _, _, size, raw_size, name_bytes, extra_bytes = _LOCAL.unpack_from(head)
    if magic != b"PK\x03\x04":
        raise Malformed(f"{where} has no local header at byte {member.header_start}")
    if name_bytes != len(member.raw_name) or head[_LOCAL.size :] != member.raw_name:
        raise Malformed(f"{where} has another name in its local header")
    if method != STORED or (flags ^ member.flags) & (_ENCRYPTED | _SIZES_FOLLOW):
        raise Malformed(f"{where} is kept in another way by its local header")
    unsaid = {0, _U32} if flags & _SIZES_FOLLOW else {_U32}
    if {size, raw_size} - unsaid - {member.size}:
        raise Malformed(f"{where} has {member.size} bytes, its local header says {size} and {raw_size}")
    start = name_start + name_bytes + extra_bytes
    if start + member.size > directory.start:
        raise Malformed(f"{where} ends beyond the directory's start at {directory.start}")
    return member.header_start, start, start + member.size
