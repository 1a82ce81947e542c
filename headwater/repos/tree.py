"""What is at a revision: entries, pages of folders, last commits, and how a file to be uploaded should come.

Everything here is about commits, which never change, so answers are remembered under (repo, commit, path) and never go
stale. Refuses to know: who may read (the repo was opened), where a pointer's blob lies, and the database.
"""

from __future__ import annotations

import codecs
import heapq
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Literal, NamedTuple, TypeVar

from headwater.ground.errors import EntryMissing, Invalid, TooMuch
from headwater.ground.names import CommitId, FilePath
from headwater.ground.settings import Settings
from headwater.repos import objects, pointers
from headwater.repos.git import Git, Item, Items
from headwater.repos.lru import Lru
from headwater.repos.patterns import PATTERN_FILE_BYTES_MAX, Attributes, Ignores, read_attributes, read_ignores
from headwater.repos.pointers import POINTER_BYTES_MAX, Pointer
from headwater.repos.refs import as_commit
from headwater.repos.values import Candidate, Commit, Entry, EntryKind, Repo, UploadMode

ENTRIES_MAX = 65_536  # entries remembered, about 450 bytes each
BLOBS_MAX = 65_536  # blobs whose size and pointer are remembered, about 200 bytes each
PAGE_MAX = 1_000  # entries of one page
PATHS_MAX = 10_000  # asked for in one question
CANDIDATES_MAX = 5_000  # of one preupload question; clients ask for 256
LAST_COMMITS_WALK_MAX = 5_000  # commits looked at for one page's last commits
LAST_COMMITS_ITEMS_MAX = 1_000_000  # tree entries looked at for them
ATTRIBUTE_FILES_MAX = 64  # .gitattributes and .gitignore files kept in parsed form
PATH_CHARS_TOLD = 200  # of one that is not there
POINTER_BYTES_MIN = 120  # the shortest pointer has 125: what is smaller need not be read to know that it is none
SAMPLE_BYTES_MAX = 512  # what clients send of a file, so that it can be told text or not

_KINDS: dict[bytes, EntryKind] = {
    objects.FOLDER: "directory",
    objects.SYMLINK: "symlink",
    objects.SUBMODULE: "submodule",
}
# Control characters that are found in text: tab, line feed, form feed, carriage return, backspace, escape.
_BINARY = frozenset(map(chr, range(32))) - frozenset("\t\n\f\r\b\x1b") | {"\x7f"}


Folders = dict[str, dict[str, Item]]
"""Paths by folder ("" is the root): folder -> name -> what it is."""
T = TypeVar("T")


class Page(NamedTuple):
    """`next`: what to hand in as `after` for the next page; None at the end."""

    entries: list[Entry]
    next: FilePath | None


class Found(NamedTuple):
    """An item of a tree with its whole path."""

    path: str
    mode: bytes
    oid: bytes


class Tree:
    def __init__(self, git: Git, settings: Settings) -> None:
        self._git = git
        self._settings = settings
        self._entries: Lru[tuple[int, str, str], Entry] = Lru(ENTRIES_MAX)
        self._blobs: Lru[tuple[int, bytes], tuple[int, Pointer | None]] = Lru(BLOBS_MAX)
        self._attributes: Lru[tuple[int, str], Attributes] = Lru(ATTRIBUTE_FILES_MAX)
        self._ignores: Lru[tuple[int, str], Ignores] = Lru(ATTRIBUTE_FILES_MAX)

    # Entries

    def entry(self, repo: Repo, commit: CommitId, path: FilePath) -> Entry:
        """The file or folder at `path`; EntryMissing, with the commit, if there is none."""
        key = (repo.id, commit, path)
        known = self._entries.get(key)
        if known is not None:
            return known
        found = self.find(repo, commit, path)
        if found is None:
            raise EntryMissing(path[:PATH_CHARS_TOLD], commit)
        entry = self._entry(repo.id, found)
        self._entries.put(key, entry)
        return entry

    def paths_info(self, repo: Repo, commit: CommitId, paths: Collection[FilePath]) -> list[Entry]:
        """Those of `paths` that exist, each once, in the order asked."""
        if len(paths) > PATHS_MAX:
            raise TooMuch(f"At most {PATHS_MAX} paths in one question.")
        found = (self.find(repo, commit, path) for path in dict.fromkeys(paths))
        return [self._entry(repo.id, item) for item in found if item is not None]

    def listing(
        self,
        repo: Repo,
        commit: CommitId,
        path: FilePath | Literal[""],
        *,
        recursive: bool = False,
        after: str | None = None,
        limit: int = PAGE_MAX,
        soon_read: bool = False,
    ) -> Page:
        """One page of a folder (`path` "": of the whole revision), from behind the path `after`.

        In git's order, folders before what is in them. A page costs what it holds and the folders on the way to it,
        never what comes before it. EntryMissing if `path` is no folder. `soon_read`: the files are asked for next.
        """
        root = self._folder(repo, commit, path)
        prefix = f"{path}/" if path else ""
        behind = _parts_below(prefix, after)
        walk = self._walk(repo.id, root, prefix, behind) if recursive else self._flat(repo.id, root, prefix, behind)
        wanted = max(1, min(limit, PAGE_MAX))
        found = list(itertools.islice(walk, wanted + 1))
        entries = [self._entry(repo.id, item) for item in found[:wanted]]
        if soon_read:
            for entry in entries:
                self._entries.put((repo.id, commit, entry.path), entry)
        return Page(entries, entries[-1].path if len(found) > wanted else None)

    def changes(self, repo_id: int, old: CommitId, new: CommitId) -> Iterator[tuple[Entry | None, Entry | None]]:
        """What is not the same in two revisions, folders and what is in them: before and after; None: not there.

        Costs what differs and the folders that it is in; equal folders are not looked into.
        """
        left = [("", self._git.commit(repo_id, old).tree, self._git.commit(repo_id, new).tree)]
        while left:
            above, *pair = left.pop()
            before, after = (self._git.tree(repo_id, tree) for tree in pair)
            for name in before.differing(after):
                path = above + _text(name)
                was, now = (Found(path, *items[name]) if name in items else None for items in (before, after))
                yield self._shown(repo_id, was), self._shown(repo_id, now)
                oids = [found.oid.hex() if found and found.mode == objects.FOLDER else "" for found in (was, now)]
                if any(oids):
                    left.append((f"{path}/", oids[0] or objects.EMPTY_TREE, oids[1] or objects.EMPTY_TREE))

    def pointers(self, repo_id: int, commit: CommitId) -> Iterator[Entry]:
        """Every LFS or Xet file of a revision; lazily, reads the whole tree.

        A folder without any is entered once, in however many places it is: a few folders, each of them many times in
        the next, would be billions otherwise.
        """
        barren: set[bytes] = set()
        count = 0
        stack = [("", b"", count, self._git.tree(repo_id, self._git.commit(repo_id, commit).tree).behind(None))]
        while stack:
            above, oid, before, left = stack[-1]
            item = next(left, None)
            if item is None:
                stack.pop()
                if count == before:
                    barren.add(oid)
                continue
            found = Found(above + _text(item[0]), *item[1])
            if found.mode == objects.FOLDER:
                if found.oid not in barren:
                    inside = self._git.tree(repo_id, found.oid.hex()).behind(None)
                    stack.append((f"{found.path}/", found.oid, count, inside))
                continue
            entry = self._entry(repo_id, found)
            if entry.sha256 is not None:
                count += 1
                yield entry

    def find(self, repo: Repo, commit: CommitId, path: str) -> Found | None:
        """The bare tree item at `path`; costs one look into each folder on the way."""
        oid, mode = self._git.commit(repo.id, commit).tree, objects.FOLDER
        for part in path.split("/"):
            item = self._git.tree(repo.id, oid).get(part.encode()) if mode == objects.FOLDER else None
            if item is None:
                return None
            mode, oid = item[0], item[1].hex()
        return Found(path, mode, bytes.fromhex(oid))

    def read_inline(self, repo: Repo, entry: Entry) -> bytes:
        """The bytes of a regular file or symlink (of its pointer, for an LFS file); hashed while reading."""
        return self._git.blob(repo.id, entry.oid)

    # Last commits

    def last_commits(self, repo: Repo, commit: CommitId, paths: Collection[FilePath]) -> dict[FilePath, Commit]:
        """For each path the commit that made it what it is, as `git log -1 -- path` tells it.

        Bounded: paths whose last change lies further back than the walk goes are left out.
        """
        wanted: Folders = {}
        for path in paths:
            item = self.find(repo, commit, path)
            if item is not None:
                folder, _, name = path.rpartition("/")
                wanted.setdefault(folder, {})[name] = (item.mode, item.oid)
        found: dict[FilePath, Commit] = {}
        for folder, name, at in self._origins(repo.id, commit, wanted):
            path = FilePath(f"{folder}/{name}" if folder else name)
            found[path] = as_commit(at, self._git.commit(repo.id, at))
        return found

    def _origins(self, repo_id: int, tip: CommitId, wanted: Folders) -> Iterator[tuple[str, str, CommitId]]:
        """Each path is handed from a commit to the first parent that has it unchanged; where none has, it was made."""
        pending = {tip: wanted}
        newest_first = [(-self._git.commit(repo_id, tip).at_s, tip)]
        left_items = LAST_COMMITS_ITEMS_MAX
        for _ in range(LAST_COMMITS_WALK_MAX):
            if not newest_first or left_items < 0:
                return
            _, at = heapq.heappop(newest_first)
            here = pending.pop(at)
            made = self._git.commit(repo_id, at)
            for parent in made.parents:
                before = self._git.commit(repo_id, parent)
                same, here, read = self._unchanged(repo_id, (made.tree, before.tree), here)
                left_items -= read
                if same and parent not in pending:
                    heapq.heappush(newest_first, (-before.at_s, parent))
                    pending[parent] = {}
                for folder, names in same.items():
                    pending[parent][folder] = {**pending[parent].get(folder, {}), **names}
            for folder, names in here.items():
                yield from ((folder, name, at) for name in names)

    def _unchanged(self, repo_id: int, trees: tuple[str, str], asked: Folders) -> tuple[Folders, Folders, int]:
        """`asked`, which is so in the first tree, split into what is the same in the second and what is not; and how
        many items that took."""
        same: Folders = {}
        other: Folders = {}
        read = 0
        pairs: dict[str, tuple[str | None, str | None]] = {"": trees}
        for folder, names in asked.items():
            mine, theirs = self._folder_pair(repo_id, pairs, folder)
            read += 1
            if mine == theirs:
                same[folder] = names
                continue
            items = self._git.tree(repo_id, theirs) if theirs else {}
            read += len(items)
            kept = {name: item for name, item in names.items() if items.get(name.encode()) == item}
            if kept:
                same[folder] = kept
            if len(kept) < len(names):
                other[folder] = {name: item for name, item in names.items() if name not in kept}
        return same, other, read

    def _folder_pair(
        self, repo_id: int, known: dict[str, tuple[str | None, str | None]], folder: str
    ) -> tuple[str | None, str | None]:
        """The same folder's object in two trees; looked up through its parents once."""
        pair = known.get(folder)
        if pair is None:
            above, _, name = folder.rpartition("/")
            mine, theirs = self._folder_pair(repo_id, known, above)
            pair = known[folder] = (self._inner(repo_id, mine, name), self._inner(repo_id, theirs, name))
        return pair

    def _inner(self, repo_id: int, tree: str | None, name: str) -> str | None:
        item = self._git.tree(repo_id, tree).get(name.encode()) if tree else None
        return item[1].hex() if item is not None and item[0] == objects.FOLDER else None

    # How to upload

    def modes(
        self,
        repo: Repo,
        commit: CommitId,
        files: Sequence[Candidate],
        *,
        git_ignore: str | None = None,
        git_attributes: str | None = None,
    ) -> list[UploadMode]:
        """The LFS-or-regular rule of hub-contract.md section 2, from the files at the root of the revision.

        `git_ignore` and `git_attributes` are the contents that the client is about to upload, and go before the
        revision's own.
        """
        if len(files) > CANDIDATES_MAX:
            raise TooMuch(f"At most {CANDIDATES_MAX} files in one question.")
        attributes = self._rules(repo, commit, ".gitattributes", git_attributes, (self._attributes, read_attributes))
        ignores = self._rules(repo, commit, ".gitignore", git_ignore, (self._ignores, read_ignores))
        return [self._mode(repo, commit, file, attributes, ignores) for file in files]

    def _mode(
        self, repo: Repo, commit: CommitId, file: Candidate, attributes: Attributes, ignores: Ignores
    ) -> UploadMode:
        lfs = file.size > 0 and (
            file.size > self._settings.inline_file_max
            or attributes.is_lfs(file.path)
            or is_binary(file.sample[:SAMPLE_BYTES_MAX], whole=file.size <= len(file.sample))
        )
        there = self.find(repo, commit, file.path)
        entry = self._entry(repo.id, there) if there is not None else None
        oid = (entry.sha256 or entry.oid) if entry is not None and entry.kind == "file" else None
        return UploadMode(file.path, "lfs" if lfs else "regular", ignores.ignores(file.path), oid)

    def _rules(
        self,
        repo: Repo,
        commit: CommitId,
        name: str,
        given: str | None,
        reading: tuple[Lru[tuple[int, str], T], Callable[[str], T]],
    ) -> T:
        known, read = reading
        if given is not None:
            return read(given)
        found = self.find(repo, commit, name)
        if found is None or found.mode not in (objects.FILE, objects.EXECUTABLE):
            return read("")
        key = (repo.id, found.oid.hex())
        rules = known.get(key)
        if rules is None:
            size, _ = self._blob(repo.id, found.oid)
            # A file too large to be rules is no rules: reading a part of it would make others of them.
            text = self._git.blob(repo.id, key[1]) if size <= PATTERN_FILE_BYTES_MAX else b""
            rules = read(text.decode("utf-8", "replace"))
            known.put(key, rules)
        return rules

    # Helpers

    def _folder(self, repo: Repo, commit: CommitId, path: str) -> str:
        if not path:
            return self._git.commit(repo.id, commit).tree
        found = self.find(repo, commit, path)
        if found is None or found.mode != objects.FOLDER:
            raise EntryMissing(path, commit)
        return found.oid.hex()

    def _flat(self, repo_id: int, tree: str, prefix: str, behind: Sequence[str]) -> Iterator[Found]:
        items = self._git.tree(repo_id, tree)
        if len(behind) > 1:
            raise _bad_cursor()
        for name, (mode, oid) in _behind(items, behind[0] if behind else None):
            yield Found(prefix + _text(name), mode, oid)

    def _walk(self, repo_id: int, tree: str, prefix: str, behind: Sequence[str]) -> Iterator[Found]:
        """Depth first. The folders of `behind` are entered again; nothing before them is looked at."""
        stack: list[tuple[str, Iterator[tuple[bytes, Item]]]] = []
        inside: str | None = tree
        for part in behind:
            if inside is None:
                raise _bad_cursor()
            items = self._git.tree(repo_id, inside)
            stack.append((prefix, _behind(items, part)))
            mode, oid = items[_name(part)]
            prefix, inside = f"{prefix}{part}/", oid.hex() if mode == objects.FOLDER else None
        if inside is not None:
            stack.append((prefix, self._git.tree(repo_id, inside).behind(None)))
        while stack:
            above, left = stack[-1]
            item = next(left, None)
            if item is None:
                stack.pop()
                continue
            name, (mode, oid) = item
            found = Found(above + _text(name), mode, oid)
            yield found
            if mode == objects.FOLDER:
                stack.append((f"{found.path}/", self._git.tree(repo_id, oid.hex()).behind(None)))

    def _shown(self, repo_id: int, found: Found | None) -> Entry | None:
        return None if found is None else self._entry(repo_id, found)

    def _entry(self, repo_id: int, found: Found) -> Entry:
        kind = _KINDS.get(found.mode, "file")
        path, oid = FilePath(found.path), found.oid.hex()
        if kind in ("directory", "submodule"):
            return Entry(path, kind, oid, 0)
        size, pointer = self._blob(repo_id, found.oid)
        if pointer is None or kind == "symlink":
            return Entry(path, kind, oid, size)
        return Entry(path, kind, oid, pointer.size, pointer.sha256, size)

    def _blob(self, repo_id: int, oid: bytes) -> tuple[int, Pointer | None]:
        known = self._blobs.get((repo_id, oid))
        if known is not None:
            return known
        name = oid.hex()
        kind, size = self._git.kind_and_size(repo_id, name) or ("", 0)
        if size > POINTER_BYTES_MAX or (kind == "blob" and size < POINTER_BYTES_MIN):
            facts: tuple[int, Pointer | None] = (size, None)
        else:
            data = self._git.blob(repo_id, name)
            facts = (len(data), pointers.parse(data))
        self._blobs.put((repo_id, oid), facts)
        return facts


def is_binary(sample: bytes, *, whole: bool) -> bool:
    """Whether these first bytes are not text: zeros, control characters or no UTF-8. Unless it is the `whole` file, a
    character that is cut at the end is not held against it."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(sample, whole)
    except UnicodeDecodeError:
        return True
    return not _BINARY.isdisjoint(text)


def _parts_below(prefix: str, after: str | None) -> list[str]:
    if after is None:
        return []
    if not after.startswith(prefix) or after == prefix:
        raise _bad_cursor()
    return after[len(prefix) :].split("/")


def _behind(items: Items, name: str | None) -> Iterator[tuple[bytes, Item]]:
    """The items that come after `name`; None: all."""
    if name is not None and _name(name) not in items:
        raise _bad_cursor()
    return items.behind(None if name is None else _name(name))


def _bad_cursor() -> Invalid:
    return Invalid("cursor: not one that this listing gave; start again from the first page")


def _name(part: str) -> bytes:
    return part.encode("utf-8", "replace")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
