"""Files inside of files: the members of a zip or tar that lie there as they are, so that each can be looked into.

Nothing is decompressed, and no name of a member is ever a path: it is shown, and tells formats apart. Refuses to know
what a member is. Sources: `zips` for zip files; POSIX.1-2017 `pax` (ustar and extended headers) and the GNU tar manual
(long names, numbers in base 256) for tar.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from headwater.tensors import Malformed, Read, zips
from headwater.tensors.reading import exactly

TAR_BLOCK_BYTES = 512
TAR_MEMBERS_MAX = 100_000  # one read each
_PAX_BYTES_MAX = 1 << 16  # a name and a size; what is longer holds neither
_MAGIC_AT = 257


@dataclass(frozen=True, slots=True)
class Inner:
    """A file at [start, stop) of another."""

    name: str
    start: int
    stop: int


def looks_like_zip(head: bytes) -> bool:
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def looks_like_tar(head: bytes) -> bool:
    return head[_MAGIC_AT : _MAGIC_AT + 5] == b"ustar"


def in_zip(read: Read, directory: zips.Directory, bytes_min: int) -> tuple[Inner, ...]:
    """The stored members of at least `bytes_min` bytes, in the order of their bytes. Raises `Malformed`."""
    wanted = [member for member in directory.members if member.stored and member.size >= max(bytes_min, 1)]
    found = zips.places(read, directory, wanted)
    return tuple(Inner(name, *place) for name, place in sorted(found.items(), key=lambda item: item[1]))


def in_tar(read: Read, size: int, bytes_min: int) -> tuple[Inner, ...]:
    """The plain files of at least `bytes_min` bytes, in the order of their bytes. Raises `Malformed`."""
    return tuple(inner for inner in _tar_files(read, size) if inner.stop - inner.start >= max(bytes_min, 1))


def _tar_files(read: Read, size: int) -> Iterator[Inner]:
    at = 0
    name: str | None = None  # what the headers before say of the next member
    said_size: int | None = None
    for _ in range(TAR_MEMBERS_MAX):
        if at + TAR_BLOCK_BYTES > size:
            return  # many writers leave the two empty blocks out
        head = exactly(read, at, at + TAR_BLOCK_BYTES, "tar")
        if not head.strip(b"\0"):
            return
        _summed(head, at)
        kind, start = head[156:157], at + TAR_BLOCK_BYTES
        length = _number(head[124:136], at) if said_size is None or kind in b"xgLK" else said_size
        if start + length > size:
            raise Malformed(f"tar: the member at byte {at} has {length} bytes, the file ends at {size}")
        at = start + -(-length // TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES
        if kind == b"x":
            name, said_size = _extended(read, start, length, name)
        elif kind == b"L":
            name = (
                exactly(read, start, start + min(length, _PAX_BYTES_MAX), "tar").rstrip(b"\0").decode(errors="replace")
            )
        elif kind == b"S":
            raise Malformed(f"tar: the member at byte {start - TAR_BLOCK_BYTES} is sparse, which is not read here")
        elif kind not in b"gK":
            if kind in b"0\0" and length:
                yield Inner(name or _name(head), start, start + length)
            name, said_size = None, None
    raise Malformed(f"tar: over {TAR_MEMBERS_MAX} members")


def _summed(head: bytes, at: int) -> None:
    """The sum of the header's bytes, its own field as blanks; old writers summed signed bytes."""
    blank = head[:148] + b" " * 8 + head[156:]
    said = _number(head[148:156], at)
    unsigned = sum(blank)
    if said not in (unsigned, unsigned - 256 * sum(byte > 127 for byte in blank)):
        raise Malformed(f"tar: the header at byte {at} sums up to {unsigned}, not to {said}")


def _number(raw: bytes, at: int) -> int:
    if raw[0] & 0x80:  # GNU: base 256; negative numbers begin with 0xFF
        if raw[0] != 0x80:
            raise Malformed(f"tar: the header at byte {at} has the number {raw!r}")
        return int.from_bytes(raw[1:], "big")
    digits = raw.strip(b" \0")
    if digits.strip(b"01234567"):
        raise Malformed(f"tar: the header at byte {at} has the number {raw!r}, which is not octal")
    return int(digits or b"0", 8)


def _name(head: bytes) -> str:
    name, prefix = (head[start:stop].partition(b"\0")[0] for start, stop in ((0, 100), (345, 500)))
    # GNU's own magic ("ustar  ") has times where ustar has the prefix.
    whole = prefix + b"/" + name if prefix and head[_MAGIC_AT + 5] == 0 else name
    return whole.decode(errors="replace")


def _extended(read: Read, start: int, length: int, name: str | None) -> tuple[str | None, int | None]:
    """`path` and `size` of a pax header: lines of "LENGTH KEY=VALUE", each with its own length."""
    if length > _PAX_BYTES_MAX:
        raise Malformed(f"tar: an extended header of {length} bytes is over the limit of {_PAX_BYTES_MAX}")
    raw = exactly(read, start, start + length, "tar")
    said_size: int | None = None
    at = 0
    while at < len(raw):
        digits, _, _ = raw[at : at + 8].partition(b" ")
        line_bytes = int(digits) if digits.isdigit() else 0
        line = raw[at + len(digits) + 1 : at + line_bytes - 1]
        if line_bytes <= len(digits) + 1 or at + line_bytes > len(raw):
            raise Malformed(f"tar: a line of the extended header at byte {start + at} is broken")
        at += line_bytes
        key, _, value = line.partition(b"=")
        if key == b"path":
            name = value.decode(errors="replace")
        elif key == b"size":
            if not value.isdigit() or len(value) > 19:
                raise Malformed(f"tar: the extended header at byte {start} has the size {value[:40]!r}")
            said_size = int(value)
        elif key.startswith(b"GNU.sparse."):
            raise Malformed(f"tar: the member after byte {start} is sparse, which is not read here")
    return name, said_size
