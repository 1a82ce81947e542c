"""Git objects as bytes: names, trees, commits and tags, and the writer that puts many of them into one pack.

Formats from git's own documentation: gitformat-pack (pack version 2, index version 2) and the tree, commit and tag
objects of "Git Objects". Knows no repository, no ref and no path checks: it is handed a folder and writes files.

One commit is one pack, however many files it has, so that a commit costs a constant number of fsyncs.
"""

from __future__ import annotations

import bisect
import codecs
import contextlib
import errno
import hashlib
import itertools
import operator
import os
import re
import struct
import zlib
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headwater.ground.errors import Corrupt, Unavailable
from headwater.ground.faults import checkpoint
from headwater.ground.names import CommitId

Kind = Literal["commit", "tree", "blob", "tag"]

FOLDER = b"40000"
FILE = b"100644"
EXECUTABLE = b"100755"
SYMLINK = b"120000"
SUBMODULE = b"160000"

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

_KIND_NUMBER: dict[Kind, int] = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
_STEP = 1 << 20  # bytes read at a time when a finished pack is hashed again
_BUFFER = 1 << 18  # written at a time: 10 kB objects one by one would be a system call each
_OFFSET_32_MAX = 1 << 31  # from here on an index keeps offsets in its 64-bit table


def object_name(kind: Kind, data: bytes) -> bytes:
    """Git's name of an object: SHA-1 over its kind, size and bytes; 20 raw bytes."""
    digest = hashlib.sha1(b"%s %d\0" % (kind.encode(), len(data)), usedforsecurity=False)
    digest.update(data)
    return digest.digest()


# Trees

Item = tuple[bytes, bytes]
"""Mode and 20-byte object name."""

_TREE_ITEM = re.compile(rb"([0-7]{5,6}) ([^\0/]++)\0(.{20})", re.DOTALL)
_RAW_ITEM = re.compile(rb"[0-7]{5,6} [^\0/]++\0.{20}", re.DOTALL)  # the same, in one piece
_SIXTH = operator.itemgetter(5)  # of an item's bytes: the space behind a mode of five digits, or a digit
_SPACE = ord(" ")
_NAME_BEHIND_SIX = operator.itemgetter(slice(7, -21))
_FOLDER_BEGINS = FOLDER + b" "
SPLICED_MAX = 256  # items put into their places one by one, 60 us each in 100,000; reading and sorting take 25 ms


def parse_tree(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """(mode, name, 20-byte object name) in git's order. Corrupt if it is not a tree, byte for byte."""
    items = _TREE_ITEM.findall(data)
    if sum(len(mode) + len(name) for mode, name, _ in items) + 22 * len(items) != len(data):
        raise _malformed_tree()
    return items


class TreeObject(Mapping[bytes, Item]):
    """A tree, name -> item, in the order in which it lies in the repository. Never changed: `spliced` makes another.

    Items are kept as the bytes that they are in the object: 100,000 of them are read in half the time that tuples
    take, the garbage collector has nothing to look at, and versions of a folder share what they have in common. Where
    there are no folders in it and git's order is kept, as in any large folder, that is all: names are found by
    bisection. Else they have a dict.
    """

    __slots__ = ("_by_name", "_raw")

    def __init__(self, data: bytes = b"") -> None:
        """Corrupt if `data` is not a tree, byte for byte. Of items with one name the last one counts."""
        self._raw: list[bytes] = _RAW_ITEM.findall(data)
        self._by_name: dict[bytes, bytes] | None = None
        if sum(map(len, self._raw)) != len(data):
            raise _malformed_tree()
        if not _is_plain(self._raw):
            self._by_name = self._named()
            self._raw = list(self._by_name.values())

    def __getitem__(self, name: bytes) -> Item:
        return _item(self._find(name))

    def __iter__(self) -> Iterator[bytes]:
        return map(_NAME_BEHIND_SIX if self._by_name is None else _name, self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def items(self) -> ItemsView[bytes, Item]:
        return _ItemsInOrder(self)

    def values(self) -> ValuesView[Item]:
        return _ValuesInOrder(self)

    @property
    def weight(self) -> int:
        """What it takes of memory, in items of about 100 bytes; the dict is as large again as what is in it."""
        return 1 + len(self._raw) * (1 if self._by_name is None else 2)

    def behind(self, name: bytes | None) -> Iterator[tuple[bytes, Item]]:
        """Names and items that come after `name`, which must be there; None: all."""
        start = 0 if name is None else self._raw.index(self._find(name)) + 1
        return ((_name(raw), _item(raw)) for raw in itertools.islice(self._raw, start, None))

    def differing(self, other: TreeObject) -> list[bytes]:
        """The names whose items are not the same in both, sorted."""
        return sorted(set(map(_name, set(self._raw).symmetric_difference(other._raw))))

    def encoded(self) -> bytes:
        """The object's bytes."""
        return b"".join(self._raw)

    def spliced(self, changes: Mapping[bytes, Item | None]) -> TreeObject:
        """With these items in place of those of the same names (None: without), all of it in git's order."""
        made = TreeObject()
        stays_plain = self._by_name is None and all(item is None or len(item[0]) == 6 for item in changes.values())
        if stays_plain and len(changes) <= SPLICED_MAX:
            made._raw = list(self._raw)
            for name, item in changes.items():
                at, is_there = self._place(made._raw, name)
                made._raw[at : at + is_there] = [] if item is None else [_whole(name, item)]
            return made
        by_name = self._named()
        for name, item in changes.items():
            if item is None:
                by_name.pop(name, None)
            else:
                by_name[name] = _whole(name, item)
        made._raw = sorted(by_name.values(), key=_raw_key)
        if not _is_plain(made._raw):
            made._by_name = by_name
        return made

    def _find(self, name: bytes) -> bytes:
        if self._by_name is not None:
            return self._by_name[name]
        at, is_there = self._place(self._raw, name)
        if not is_there:
            raise KeyError(name)
        return self._raw[at]

    def _named(self) -> dict[bytes, bytes]:
        return dict(zip(map(_name, self._raw), self._raw, strict=True))

    @staticmethod
    def _place(raw: list[bytes], name: bytes) -> tuple[int, bool]:
        """Where the name is in a plain list or would have to be, and whether it is there."""
        at = bisect.bisect_left(raw, name, key=_NAME_BEHIND_SIX)
        return at, at < len(raw) and _NAME_BEHIND_SIX(raw[at]) == name


class _ItemsInOrder(ItemsView[bytes, Item]):
    """Read front to back, where a mapping's own view looks every name up again."""

    def __init__(self, tree: TreeObject) -> None:
        super().__init__(tree)
        self._tree = tree

    def __iter__(self) -> Iterator[tuple[bytes, Item]]:
        return self._tree.behind(None)


class _ValuesInOrder(ValuesView[Item]):
    """The same."""

    def __init__(self, tree: TreeObject) -> None:
        super().__init__(tree)
        self._tree = tree

    def __iter__(self) -> Iterator[Item]:
        return (item for _name, item in self._tree.behind(None))


def _malformed_tree() -> Corrupt:
    return Corrupt("A git tree object is malformed; run `headwater verify`.")


def _is_plain(raw: list[bytes]) -> bool:
    """No modes of five digits, hence no folders, and every name once, in ascending order."""
    if _SPACE in map(_SIXTH, raw):
        return False
    return all(itertools.starmap(operator.lt, itertools.pairwise(map(_NAME_BEHIND_SIX, raw))))


def _name(raw: bytes) -> bytes:
    return raw[6:-21] if raw[5] == _SPACE else raw[7:-21]


def _item(raw: bytes) -> Item:
    return raw[:5] if raw[5] == _SPACE else raw[:6], raw[-20:]


def _whole(name: bytes, item: Item) -> bytes:
    return b"%s %s\0%s" % (item[0], name, item[1])


def _raw_key(raw: bytes) -> bytes:
    """`tree_key` of an item in one piece."""
    return _name(raw) + b"/" if raw.startswith(_FOLDER_BEGINS) else _name(raw)


def tree_key(mode: bytes, name: bytes) -> bytes:
    """Git sorts folders as if their names ended in a slash."""
    return name + b"/" if mode == FOLDER else name


def encode_tree(items: Iterable[tuple[bytes, bytes, bytes]]) -> bytes:
    """A tree of (mode, name, 20-byte object name), put into git's order."""
    ordered = sorted(items, key=lambda item: tree_key(item[0], item[1]))
    return b"".join(b"%s %s\0%s" % item for item in ordered)


# Commits and tags


@dataclass(frozen=True, slots=True)
class CommitObject:
    tree: str
    parents: tuple[CommitId, ...]
    author_name: str
    author_email: str
    at_s: int
    text: str

    @property
    def weight_bytes(self) -> int:
        """About what it takes of memory: a pushed one may have a long text, long names or many parents."""
        return len(self.text) + len(self.author_name) + len(self.author_email) + PARENT_BYTES * len(self.parents)


PARENT_BYTES = 90  # of memory for its name
AT_S_MAX = 253_402_300_799  # the end of the year 9999: later ones (pushed commits say what they like) have no date
_PERSON = re.compile(rb"(?P<name>[^<]*?) ?<(?P<mail>[^>]*)> ?(?P<at>-?\d{1,18})?")
_HEX40 = re.compile(rb"[0-9a-f]{40}\Z")
# What `i18n.commitEncoding` is set to where it is not UTF-8. Not any codec that Python has: some take for ever.
_ENCODING = re.compile(
    r"(?:iso-?8859-?\d{1,2}|latin-?\d|(?:windows|cp)-?125\d|gbk|gb2312|gb18030|big5|euc-?(?:jp|kr)|"
    r"shift[_-]?jis|koi8-?[ru])\Z",
    re.IGNORECASE,
)


def encode_commit(commit: CommitObject) -> bytes:
    """Author and committer are one and the same, at UTC: the hub writes on the author's behalf."""
    person = f"{person_safe(commit.author_name)} <{person_safe(commit.author_email)}> {commit.at_s} +0000"
    lines = [f"tree {commit.tree}", *(f"parent {p}" for p in commit.parents), f"author {person}", f"committer {person}"]
    return "\n".join([*lines, "", commit.text]).encode("utf-8", "replace")


def parse_commit(data: bytes) -> CommitObject:
    """What a commit says; of pushed ones only the tree and the parents are believed to be well-formed.

    Corrupt if there is no tree or a parent is no object name. A strange author is shown as far as it can be read.
    """
    head, _, text = data.partition(b"\n\n")
    tree, person, encoding, parents = b"", b"", "utf-8", []
    for line in head.split(b"\n"):
        word, _, rest = line.partition(b" ")
        if word == b"tree":
            tree = rest
        elif word == b"parent":
            parents.append(rest)
        elif word == b"author" and not person:
            person = rest
        elif word == b"encoding":
            encoding = _codec(rest)
    if not all(_HEX40.match(name) for name in [tree, *parents]):
        raise Corrupt("A git commit object is malformed; run `headwater verify`.")
    who = _PERSON.match(person)
    name, mail, at = (who["name"], who["mail"], int(who["at"] or 0)) if who else (person, b"", 0)
    return CommitObject(
        tree=tree.decode(),
        parents=tuple(CommitId(parent.decode()) for parent in parents),
        author_name=name.decode(encoding, "replace").strip(),
        author_email=mail.decode(encoding, "replace"),
        at_s=min(max(at, 0), AT_S_MAX),
        text=text.decode(encoding, "replace"),
    )


def _codec(name: bytes) -> str:
    """Python's name for a commit's `encoding`; UTF-8 for what is not known."""
    said = name.decode("ascii", "replace").strip()
    if _ENCODING.match(said):
        with contextlib.suppress(LookupError):
            return codecs.lookup(said).name
    return "utf-8"


def encode_tag(target: str, name: str, tagger: str, at_s: int, text: str) -> bytes:
    """An annotated tag of a commit; `tagger` is `Name <mail>`."""
    return f"object {target}\ntype commit\ntag {name}\ntagger {tagger} {at_s} +0000\n\n{text}\n".encode(
        "utf-8", "replace"
    )


def person_safe(text: str) -> str:
    """`text` without the characters that would end its field in a commit."""
    return re.sub(r"[\x00-\x1f<>]", "", text)


# The pack writer


class PackWriter:
    """Objects, one after another, into one pack file that `finish` makes durable and visible at once.

    Memory grows by about 150 bytes an object, never with their sizes. Until `finish`, and after `abandon`, the
    repository knows nothing of them.
    """

    def __init__(self, incoming: Path, stem: str) -> None:
        self._path = incoming / f"{stem}.pack"
        self._index_path = incoming / f"{stem}.idx"
        self._places: dict[bytes, tuple[int, int]] = {}  # name -> (crc32, offset)
        self._buffer: list[bytes] = []
        self._buffered = 0
        with disk_errors():
            self._file = self._path.open("w+b", buffering=0)
        self._at = 0
        self._put(b"PACK" + struct.pack(">II", 2, 0))

    def __len__(self) -> int:
        return len(self._places)

    def add(self, kind: Kind, data: bytes) -> bytes:
        """Its 20-byte name. Twice the same object is stored once."""
        name = object_name(kind, data)
        if name in self._places:
            return name
        left = len(data) >> 4
        head = bytearray([_KIND_NUMBER[kind] << 4 | len(data) & 15])
        while left:
            head[-1] |= 0x80
            head.append(left & 0x7F)
            left >>= 7
        # Level 1: a commit is waited for; the background repack finds deltas, which save far more than levels do.
        packed = bytes(head) + zlib.compress(data, 1)
        self._places[name] = (zlib.crc32(packed), self._at)
        self._put(packed)
        return name

    def finish(self, pack_folder: Path) -> None:
        """The objects are in the repository and survive power loss when this returns."""
        with disk_errors():
            self._flush()
            self._file.seek(8)
            self._file.write(struct.pack(">I", len(self._places)))
            checksum = self._hash()
            self._file.seek(0, os.SEEK_END)
            self._file.write(checksum)
            os.fsync(self._file.fileno())
            self._file.close()
            write_durably(self._index_path, self._index(checksum))
            checkpoint("pack.written")
            stem = pack_folder / f"pack-{checksum.hex()}"
            # The pack first: git looks for indexes and expects the pack beside them.
            self._path.rename(stem.with_suffix(".pack"))
            self._index_path.rename(stem.with_suffix(".idx"))
            fsync_folder(pack_folder)
        checkpoint("pack.visible")

    def abandon(self) -> None:
        """Nothing of it stays; harmless after `finish`."""
        self._file.close()
        self._path.unlink(missing_ok=True)
        self._index_path.unlink(missing_ok=True)

    def _put(self, data: bytes) -> None:
        self._buffer.append(data)
        self._buffered += len(data)
        self._at += len(data)
        if self._buffered >= _BUFFER:
            with disk_errors():
                self._flush()

    def _flush(self) -> None:
        left = memoryview(b"".join(self._buffer))
        while left:
            left = left[self._file.write(left) :]
        self._buffer, self._buffered = [], 0

    def _hash(self) -> bytes:
        # The number of objects stands before them and is known only now, so the file is read once more.
        digest = hashlib.sha1(usedforsecurity=False)
        self._file.seek(0)
        while step := self._file.read(_STEP):
            digest.update(step)
        return digest.digest()

    def _index(self, checksum: bytes) -> bytes:
        names = sorted(self._places)
        fanout = [0] * 256
        for name in names:
            fanout[name[0]] += 1
        for i in range(1, 256):
            fanout[i] += fanout[i - 1]
        crcs: list[int] = []
        offsets: list[int] = []
        far: list[int] = []
        for name in names:
            crc, offset = self._places[name]
            crcs.append(crc)
            if offset < _OFFSET_32_MAX:
                offsets.append(offset)
            else:
                offsets.append(_OFFSET_32_MAX | len(far))
                far.append(offset)
        n = len(names)
        index = b"".join(
            [
                b"\377tOc" + struct.pack(">I256I", 2, *fanout),
                b"".join(names),
                struct.pack(f">{n}I", *crcs),
                struct.pack(f">{n}I", *offsets),
                struct.pack(f">{len(far)}Q", *far),
                checksum,
            ]
        )
        return index + hashlib.sha1(index, usedforsecurity=False).digest()


# Files that stay


def write_durably(path: Path, data: bytes) -> None:
    """A new file with these bytes, on the disk when this returns; its name is so only after `fsync_folder`."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def fsync_folder(path: Path) -> None:
    """The names in this folder, as they are now, survive power loss."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """A disk that is full, read-only or failing, in the taxonomy's words."""
    try:
        yield
    except OSError as error:
        raise _meaning(error) from error


_MEANINGS: dict[int, Callable[[], Unavailable]] = {
    errno.ENOSPC: lambda: Unavailable(
        "The disk is full; nothing was stored. Free some space and try again.", status=507
    ),
    errno.EDQUOT: lambda: Unavailable(
        "The disk is full; nothing was stored. Free some space and try again.", status=507
    ),
    errno.EROFS: lambda: Unavailable("The hub's disk is read-only; nothing was stored.", retry_after_s=60),
    errno.EIO: lambda: Unavailable("The hub's disk answers with errors; nothing was stored.", retry_after_s=60),
    errno.EMFILE: lambda: Unavailable("The hub has too many open files; nothing was stored. Try again in a moment."),
}


def _meaning(error: OSError) -> Exception:
    meaning = _MEANINGS.get(error.errno or 0)
    return meaning() if meaning else error
