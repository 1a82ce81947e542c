"""What is in a push: every object that is new to the repo is looked at before any of them becomes part of it.

Refused: files too large for git, binary files that should have come by LFS, LFS pointers to bytes this repo does not
hold, names that some client cannot check out, names that differ only in case, cards that the hub would not accept.
Symbolic links and submodules are kept as they are; nothing here follows them (T48).

The objects lie in quarantine, so they are read through git child processes that see it; memory is bounded however large
the push is. Refuses to know refs' rules, holds' tables and what a card is: the last two are asked through callables.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from headwater.ground.errors import Corrupt, Invalid
from headwater.ground.names import PATH_DEPTH_MAX, PATH_LENGTH_MAX, Sha256, file_path
from headwater.repos import child, objects, pointers
from headwater.repos.lru import Lru
from headwater.repos.tree import SAMPLE_BYTES_MAX, is_binary

NAMED_MAX = 20  # findings of one sort that are listed; the rest is counted
TREE_BYTES_MAX = 32 << 20  # one folder's listing: half a million names, far more than clients can show
TREES_BYTES_MAX = 4 << 30  # all new listings of a push: what a few minutes of reading allow; packs can unfold to more
ENTRIES_MAX = 1_000_000  # files and folders of one revision: no more are looked at when what is in it is told
EXTENTS_KEPT = 65_536  # folders of which it is remembered what they come to, 200 bytes each; most never change
COMMIT_BYTES_MAX = 1 << 20  # a commit or a tag with its message: these are held in memory when history is shown
POINTERS_MAX = 200_000  # distinct objects named by one push
NAMES_KEPT_MAX = 100_000  # names known to be fine; a history repeats the same ones in every commit
ASKED_AT_ONCE = 256  # object names written ahead of their answers; they fit into a pipe, so nobody waits for ever
STEP_OBJECTS = 512  # between two signs of life
READ_BYTES = 64 << 20  # the same

POINTER_BYTES_MIN = 120  # the shortest pointer has 125

INCOMPLETE = "missing necessary objects: push with the full history"
MIGRATE = "Track them with git-lfs (git lfs migrate import --include=PATH) and push again."
RULE = "-" * 73
"""The line that frames a refusal, as the Hub's users know it."""

Check = Callable[[bytes], list[str]]
"""A README.md's bytes -> what is wrong in its front matter."""
Sizes = Callable[[Collection[Sha256]], Mapping[Sha256, int]]
"""Which of these blobs the repo holds, and their sizes in bytes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`text_only`: a file in git itself must be text, as everything is that preupload leaves there."""

    inline_file_max: int
    text_only: bool = False


@dataclass(frozen=True, slots=True)
class Tip:
    """What a ref is to be moved to; `old` None: the ref is new. Only branches and pull refs have a card."""

    ref: str
    old: str | None
    new: str
    is_tag: bool


class Extent(NamedTuple):
    """What a folder comes to with all that is below it: how many names, how deep, and its longest path's characters."""

    entries: int
    depth: int
    length: int


Extents = Lru[bytes, Extent]
"""By a tree's object name, which says all of it: true in every repo."""


@dataclass(slots=True)
class _Folder:
    """A folder that is being measured; `left` are the folders in it that were not yet looked at, with their names."""

    oid: bytes
    name: str
    entries: int
    depth: int
    length: int
    left: list[tuple[str, bytes]]

    def take(self, name: str, inner: Extent) -> None:
        """A folder in it; counted up to where it is too many anyway."""
        self.entries = min(self.entries + inner.entries, ENTRIES_MAX + 1)
        self.depth = max(self.depth, 1 + inner.depth)
        self.length = max(self.length, len(name) + 1 + inner.length)


@dataclass(slots=True)
class _List:
    """Some of many."""

    named: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, text: str) -> None:
        self.count += 1
        if len(self.named) < NAMED_MAX:
            self.named.append(text)

    def lines(self) -> list[str]:
        more = [f"  ... and {self.count - len(self.named)} more"] if self.count > len(self.named) else []
        return [f"  - {text}" for text in self.named] + more


@dataclass(slots=True)
class Findings:
    """What speaks against one ref's push; empty: nothing."""

    ref: str
    large: _List = field(default_factory=_List)
    binary: _List = field(default_factory=_List)
    missing: _List = field(default_factory=_List)
    paths: _List = field(default_factory=_List)
    card: _List = field(default_factory=_List)
    other: _List = field(default_factory=_List)

    def reason(self) -> str | None:
        """One line for the ref's status, of the gravest finding; None if there is none."""
        for found, text in (
            (self.other, None),
            (self.large, "pre-receive check: files too large for git"),
            (self.binary, "pre-receive check: binary files that are not tracked by git-lfs"),
            (self.missing, "pre-receive check: LFS objects were not uploaded"),
            (self.paths, "pre-receive check: paths that not every client can hold"),
            (self.card, "pre-receive check: README.md has invalid metadata"),
        ):
            if found.count:
                return text or found.named[0]
        return None

    def text(self, limits: Limits) -> list[str]:
        """For people: what is wrong, and what to do."""
        told: list[str] = []
        size = f"{limits.inline_file_max / (1 << 20):g} MiB"
        for found, head, advice in (
            (self.other, "Your push was rejected.", []),
            (
                self.large,
                f"Your push was rejected because it contains files larger than {size}.",
                [MIGRATE, "Offending files:"],
            ),
            (
                self.binary,
                "Your push was rejected because it contains binary files.",
                [MIGRATE, "Offending files:"],
            ),
            (
                self.missing,
                "Your push was rejected because it contains LFS pointers to objects that this repo does not hold.",
                ["Upload them (git lfs push --all REMOTE) and push again.", "Missing objects:"],
            ),
            (
                self.paths,
                "Your push was rejected because it contains paths that not every client can hold.",
                ["Rename them in every pushed commit and push again.", "Offending paths:"],
            ),
            (self.card, "Your push was rejected because the metadata in README.md is invalid.", ["What is wrong:"]),
        ):
            if found.count:
                told += [RULE, head, *advice, *found.lines(), RULE]
        return told


class Inspection:
    """`environment` lets git see the quarantine in front of the repo's own objects."""

    def __init__(
        self,
        git_dir: Path,
        environment: Mapping[str, str],
        limits: Limits,
        sizes: Sizes,
        check_card: Check,
        *,
        extents: Extents,
    ) -> None:
        self._git_dir = git_dir
        self._environment = environment
        self._limits = limits
        self._sizes = sizes
        self._check_card = check_card
        self._extents = extents
        self._fine: set[bytes] = set()
        self._trees_bytes = 0
        self._pointers: dict[Sha256, tuple[int, str, Findings]] = {}
        self.findings: list[Findings] = []

    def steps(self, tips: Sequence[Tip]) -> Iterator[None]:
        """Looks at everything, in steps between which the caller may show that it lives; results in `findings`."""
        seen: list[str] = []
        with self._git(["cat-file", "--batch"], subprocess.PIPE) as reader:
            for tip in tips:
                found = Findings(tip.ref)
                self.findings.append(found)
                if tip.new not in seen and self._is_sound(tip, found):
                    yield from self._look(reader, tip, seen, found)
                    if found.reason() is None:
                        yield from self._look_at_extent(reader, tip, found)
                    seen.append(tip.new)
                if not tip.is_tag and found.reason() is None:
                    self._look_at_card(reader, tip, found)
        self._look_for_objects()

    def held_paths(self) -> dict[Sha256, str]:
        """The blobs that the push names, each with a path."""
        return {sha256: path for sha256, (_, path, _) in self._pointers.items()}

    def _git(self, arguments: list[str], source: int | IO[bytes]) -> AbstractContextManager[child.Child]:
        return child.running(arguments, self._git_dir, source, self._environment)

    def _is_sound(self, tip: Tip, found: Findings) -> bool:
        """A branch leads to a commit, a tag to a commit at last; neither is a book."""
        with tempfile.TemporaryFile() as asked:
            asked.write(f"{tip.new}\n{tip.new}^{{commit}}\n".encode())
            asked.seek(0)
            with self._git(["cat-file", "--batch-check"], asked) as sizes:
                answers = [answer.split() for answer in sizes.stdout.read().decode().splitlines()]
        kinds = [answer[1] for answer in answers]
        if len(kinds) < 2 or kinds[1] != "commit" or (kinds[0] != "commit" and not tip.is_tag):
            found.other.add("missing object" if "missing" in kinds[:1] else "does not lead to a commit")
        elif any(int(answer[2]) > COMMIT_BYTES_MAX for answer in answers):
            found.other.add(f"a commit or tag is larger than {COMMIT_BYTES_MAX} bytes")
        return found.other.count == 0

    def _look(self, reader: child.Child, tip: Tip, seen: Sequence[str], found: Findings) -> Iterator[None]:
        """All objects that `tip` brings and neither the repo nor the tips in `seen` have."""
        with tempfile.TemporaryFile() as asked:
            asked.write("".join(f"{name}\n" for name in [tip.new, *(f"^{name}" for name in seen)]).encode())
            asked.seek(0)
            with (
                self._git(["rev-list", "--objects", "--stdin", "--not", "--all"], asked) as lister,
                self._git(
                    ["cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize) %(rest)"], lister.stdout
                ) as sizer,
            ):
                lister.stdout.close()  # the sizer has it; its end must reach the lister
                asked_for: list[tuple[str, str, str]] = []
                for i, row in enumerate(sizer.stdout):
                    if i % STEP_OBJECTS == 0:
                        yield
                    wanted = self._weigh(row, tip, found)
                    if wanted:
                        asked_for.append(wanted)
                    if len(asked_for) == ASKED_AT_ONCE:
                        yield from self._read(reader, asked_for, tip, found)
                        asked_for = []
                yield from self._read(reader, asked_for, tip, found)
                if not (lister.done(child.END_WAIT_S) and lister.process.returncode == 0):
                    found.other.add(INCOMPLETE)

    def _weigh(self, row: bytes, tip: Tip, found: Findings) -> tuple[str, str, str] | None:
        """What a new object's name, kind and size say; the object itself if it has to be read."""
        parts = row.rstrip(b"\n").split(b" ", 3)
        if len(parts) < 4:
            found.other.add(INCOMPLETE)
            return None
        oid, kind, path, size = parts[0], parts[1], parts[3].decode("utf-8", "replace"), int(parts[2])
        if kind == b"blob":
            if size > self._limits.inline_file_max:
                found.large.add(f"{_shown(path)} (ref: {tip.ref})")
            elif self._limits.text_only or POINTER_BYTES_MIN <= size <= pointers.POINTER_BYTES_MAX:
                return oid.decode(), "blob", path
        elif kind == b"tree":
            self._trees_bytes += size
            if size > TREE_BYTES_MAX or self._trees_bytes > TREES_BYTES_MAX:
                found.other.add(f"too many names in folders; {path[:200]!r} was the last one looked at")
            else:
                return oid.decode(), "tree", path
        elif size > COMMIT_BYTES_MAX:
            found.other.add(f"a commit or tag is larger than {COMMIT_BYTES_MAX} bytes")
        return None

    def _read(
        self, reader: child.Child, asked: Sequence[tuple[str, str, str]], tip: Tip, found: Findings
    ) -> Iterator[None]:
        reader.feed("".join(f"{oid}\n" for oid, _, _ in asked).encode())
        left_bytes = READ_BYTES
        for _oid, kind, path in asked:
            answer = _answer(reader)
            if answer is None:
                found.other.add(INCOMPLETE)
                continue
            left_bytes -= len(answer[1])
            if left_bytes < 0:
                left_bytes = READ_BYTES
                yield
            if kind == "tree":
                self._look_at_tree(path, answer[1], found)
            else:
                self._look_at_blob(path, answer[1], tip, found)

    def _look_at_blob(self, path: str, data: bytes, tip: Tip, found: Findings) -> None:
        pointer = pointers.parse(data)
        if pointer is not None:
            self._look_at_pointer(path, pointer, found)
        elif self._limits.text_only and is_binary(data[:SAMPLE_BYTES_MAX], whole=len(data) <= SAMPLE_BYTES_MAX):
            found.binary.add(f"{_shown(path)} (ref: {tip.ref})")

    def _look_at_pointer(self, path: str, pointer: pointers.Pointer, found: Findings) -> None:
        if len(self._pointers) >= POINTERS_MAX:
            found.other.add(f"more than {POINTERS_MAX} LFS objects at once; push the history in parts")
            return
        known = self._pointers.setdefault(pointer.sha256, (pointer.size, path, found))
        if known[0] != pointer.size:
            found.missing.add(f"{pointer.sha256} of {pointer.size} bytes ({_shown(path)})")

    def _look_at_tree(self, path: str, data: bytes, found: Findings) -> None:
        try:
            items = objects.parse_tree(data)
        except Corrupt:
            found.other.add(f"the folder {path[:200]!r} is malformed")
            return
        folded: dict[str, str] = {}
        longest = ""
        for _mode, raw, _oid in items:
            name = self._name(path, raw, found)
            other = folded.setdefault(name.casefold(), name)
            if other != name:
                found.paths.add(f"{_shown(_join(path, other))} and {_shown(name)} differ only in case")
            longest = max(longest, name, key=len)
        if longest and path:
            self._is_fine(_join(path, longest), found)

    def _look_at_extent(self, reader: child.Child, tip: Tip, found: Findings) -> Iterator[None]:
        """How far the tip's folders unfold. A folder may be in many places, and what is new in a push may hold what is
        old: so neither the number of objects nor the places in which they were seen first say how much it is."""
        root = self._opened(reader, f"{tip.new}^{{tree}}", (b"", ""), found)
        stack = [root] if root else []
        steps = 0
        while stack:
            at = stack[-1]
            if not at.left:
                stack.pop()
                extent = Extent(at.entries, at.depth, at.length)
                if at.oid:
                    self._extents.put(at.oid, extent)
                    stack[-1].take(at.name, extent)
                else:
                    _look_at_size(extent, found)
                continue
            name, oid = at.left.pop()
            known = self._extents.get(oid)
            if known is not None:
                at.take(name, known)
                continue
            inner = self._opened(reader, oid.hex(), (oid, name), found)
            if inner is None:
                return
            stack.append(inner)
            steps += 1
            if steps % STEP_OBJECTS == 0:
                yield

    def _opened(self, reader: child.Child, asked: str, named: tuple[bytes, str], found: Findings) -> _Folder | None:
        reader.feed(f"{asked}\n".encode())
        answer = _answer(reader)
        if answer is None:
            found.other.add(INCOMPLETE)
            return None
        items = [(mode, raw.decode("utf-8", "replace"), oid) for mode, raw, oid in objects.parse_tree(answer[1])]
        longest = max((len(name) for _, name, _ in items), default=0)
        left = [(name, oid) for mode, name, oid in items if mode == objects.FOLDER]
        return _Folder(*named, len(items), 1, longest, left)

    def _name(self, path: str, raw: bytes, found: Findings) -> str:
        name = raw.decode("utf-8", "replace")
        if raw in self._fine:
            return name
        if "\ufffd" in name:
            found.paths.add(f"{_join(path, name)!r} is not UTF-8")
        elif self._is_fine(name, found, at=path):
            if len(self._fine) >= NAMES_KEPT_MAX:
                self._fine.clear()
            self._fine.add(raw)
        return name

    @staticmethod
    def _is_fine(path: str, found: Findings, at: str = "") -> bool:
        """True: it is fine."""
        try:
            file_path(path)
        except Invalid as error:
            found.paths.add(error.text.removeprefix("path: ") + (f" (in {_shown(at)})" if at else ""))
            return False
        return True

    def _look_at_card(self, reader: child.Child, tip: Tip, found: Findings) -> None:
        """README.md at the root, unless it is the one that was there."""
        card, known = (self._readme(reader, commit) for commit in (tip.new, tip.old))
        if card is not None and card != known:
            for wrong in self._check_card(card):
                found.card.add(wrong)

    def _readme(self, reader: child.Child, commit: str | None) -> bytes | None:
        if commit is None:
            return None
        reader.feed(f"{commit}:README.md\n".encode())
        answer = _answer(reader)
        return answer[1] if answer is not None and answer[0] == b"blob" else None

    def _look_for_objects(self) -> None:
        """Every LFS object that the push names must be this repo's (T16, T17), with the size that the pointer says."""
        held = self._sizes(self._pointers.keys())
        for sha256, (size, path, found) in self._pointers.items():
            if held.get(sha256) != size:
                found.missing.add(f"{sha256} of {size} bytes ({_shown(path)})")


def _look_at_size(extent: Extent, found: Findings) -> None:
    if extent.entries > ENTRIES_MAX:
        found.other.add(f"more than {ENTRIES_MAX} files and folders in one revision")
    if extent.depth > PATH_DEPTH_MAX or extent.length > PATH_LENGTH_MAX:
        found.paths.add(
            f"a path has {extent.depth} parts, or another {extent.length} characters; at most {PATH_DEPTH_MAX} and "
            f"{PATH_LENGTH_MAX} are possible"
        )


def _answer(reader: child.Child) -> tuple[bytes, bytes] | None:
    """One answer of `cat-file --batch`: kind and bytes; None: no such object. Sizes were looked at before."""
    head = reader.stdout.readline().split(b" ")
    if len(head) != 3:
        return None
    data = reader.stdout.read(int(head[2]) + 1)
    return head[1], data[:-1]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _shown(path: str) -> str:
    """For a terminal that is not ours."""
    return path[:200] if path.isprintable() else ascii(path[:200])
