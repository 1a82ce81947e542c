"""What lies at a revision, as plain lines that need no git to be read; and which large files a history names.

A line is a JSON array `[path, mode, SHA-256, size]` in git's order; mode is git's, a symbolic link's bytes are what it
points to, and a submodule has its commit where the others have a SHA-256. Refuses to know bundles and stores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from headwater.carry.manifest import canonical
from headwater.ground.errors import TooMuch
from headwater.ground.names import CommitId, Sha256
from headwater.repos import objects, pointers
from headwater.repos.git import Git, Item
from headwater.repos.inspection import POINTER_BYTES_MIN
from headwater.repos.pointers import POINTER_BYTES_MAX, Pointer

LINES_MAX = 1_000_000  # of one revision: folders that hold themselves many times over would never end


@dataclass(frozen=True, slots=True)
class Inline:
    """A file that lies in git: `oid` is its object's name."""

    sha256: Sha256
    size: int
    oid: str


class Lister:
    """Lists revisions of one repo; each of its blobs is hashed once, however many revisions have it."""

    def __init__(self, git: Git, repo_id: int, shown: str) -> None:
        self._git, self._repo_id, self._shown = git, repo_id, shown
        self._known: dict[tuple[bytes, bool], Inline | Pointer] = {}
        self._listings: dict[str, Sha256] = {}

    def listing(self, commit: str) -> Sha256:
        """The SHA-256 of a revision's lines."""
        tree = self._git.commit(self._repo_id, commit).tree
        known = self._listings.get(tree)
        if known is None:
            digest = hashlib.sha256()
            for line in self.lines(commit):
                digest.update(line)
            known = self._listings[tree] = Sha256(digest.hexdigest())
        return known

    def lines(self, commit: str) -> Iterator[bytes]:
        """TooMuch if there are more than anybody can list."""
        for count, (path, (mode, oid)) in enumerate(self._walk(self._git.commit(self._repo_id, commit).tree)):
            if count >= LINES_MAX:
                raise TooMuch(f"{self._shown}: revision {commit} has more than {LINES_MAX} files")
            shown = mode.decode()
            if mode == objects.SUBMODULE:
                yield canonical([path, shown, oid.hex(), 0])
                continue
            found = self._file(oid, may_be_pointer=mode != objects.SYMLINK)
            yield canonical([path, shown, found.sha256, found.size])

    @property
    def inline(self) -> dict[Sha256, Inline]:
        """The files in git that the listings so far name."""
        return {one.sha256: one for one in self._known.values() if isinstance(one, Inline)}

    def _walk(self, tree: str) -> Iterator[tuple[str, Item]]:
        """Every file below a tree; without recursion, and lazily."""
        folders = [("", iter(self._git.tree(self._repo_id, tree).items()))]
        seen = 0
        while folders:
            above, left = folders[-1]
            item = next(left, None)
            if item is None:
                folders.pop()
                continue
            name, (mode, oid) = item
            path = above + name.decode("utf-8", "replace")
            if mode != objects.FOLDER:
                yield path, item[1]
                continue
            seen += 1
            if seen > LINES_MAX:
                raise TooMuch(f"{self._shown}: a revision has more than {LINES_MAX} folders")
            folders.append((f"{path}/", iter(self._git.tree(self._repo_id, oid.hex()).items())))

    def _file(self, oid: bytes, *, may_be_pointer: bool) -> Inline | Pointer:
        known = self._known.get((oid, may_be_pointer))
        if known is not None:
            return known
        data = self._git.blob(self._repo_id, oid.hex())
        pointer = pointers.parse(data) if may_be_pointer else None
        found = pointer or Inline(Sha256(hashlib.sha256(data).hexdigest()), len(data), oid.hex())
        self._known[oid, may_be_pointer] = found
        return found


def large_files(git: Git, repo_id: int, tips: list[CommitId]) -> dict[Sha256, int]:
    """Every file that some commit of the history names by a pointer, with its size. Looks at each object once.

    Memory grows by some hundred bytes an object of the history.
    """
    found: dict[Sha256, int] = {}
    seen: set[bytes] = set()
    commits, todo = set(tips), list(dict.fromkeys(tips))
    while todo:
        commit = git.commit(repo_id, todo.pop())
        for pointer in pointers_below(git, repo_id, commit.tree, seen):
            found[pointer.sha256] = pointer.size
        for parent in commit.parents:
            if parent not in commits:
                commits.add(parent)
                todo.append(parent)
    return found


def pointers_below(git: Git, repo_id: int, tree: str, seen: set[bytes]) -> Iterator[Pointer]:
    """Of the large files below a tree, but for what was `seen` before."""
    trees = [bytes.fromhex(tree)]
    while trees:
        oid = trees.pop()
        if oid in seen:
            continue
        seen.add(oid)
        for mode, target in git.tree(repo_id, oid.hex()).values():
            if mode == objects.FOLDER:
                trees.append(target)
            elif mode != objects.SUBMODULE and target not in seen:  # links too: so the rules for pushes have it
                seen.add(target)
                pointer = _pointer(git, repo_id, target.hex())
                if pointer is not None:
                    yield pointer


def _pointer(git: Git, repo_id: int, oid: str) -> Pointer | None:
    size = (git.kind_and_size(repo_id, oid) or ("blob", 0))[1]
    return pointers.parse(git.blob(repo_id, oid)) if POINTER_BYTES_MIN <= size <= POINTER_BYTES_MAX else None
