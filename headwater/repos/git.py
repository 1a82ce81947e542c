"""Git repositories on the disk, one bare folder a repo: the only importer of pygit2.

Reads go through libgit2 in this process; objects are written by `objects.PackWriter`, refs by one atomic rename each,
and both are on the disk when the call returns. No process is started but by `maintenance`.

One process owns the folder, and every ref is moved by `move_ref`: that is why refs can be answered from memory.
Refuses to know: database, actors, rules about what may be committed. Repos are numbers here.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import re
import shutil
import subprocess
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import pygit2
from pygit2.enums import ConfigLevel, ObjectType, RepositoryOpenFlag

from headwater.ground.errors import Corrupt, RepoMissing, Unavailable
from headwater.ground.faults import checkpoint
from headwater.ground.names import CommitId, FilePath
from headwater.repos import objects
from headwater.repos.lru import Lru
from headwater.repos.objects import CommitObject, Kind, PackWriter, disk_errors, fsync_folder, write_durably

OPEN_MAX = 16  # repositories that one thread keeps open: a hot set; each costs some 100 KiB and its share of files
OPEN_FILES_MAX = 256  # pack files that libgit2 keeps open in the whole process; the usual limit of a process is 1,024
MAPPED_BYTES_MAX = 512 << 20  # of packs mapped at a time: mapped pages count as ours in every memory report
WINDOW_BYTES = 16 << 20
OBJECT_CACHE_BYTES = 16 << 20  # libgit2's own; 256 MiB otherwise
TREES_WEIGHT_MAX = 262_144  # about 100 bytes each: a folder of 100,000 files before and after a commit stays warm
COMMITS_MAX = 16_384  # parsed commits kept
SMALL_BYTES_MAX = 64 << 10  # a larger file is not kept
SMALL_ENTRY_BYTES = 300  # of memory beside the file's own
SMALL_KEPT_BYTES = 16 << 20  # of small files kept: a thousand cards and configurations, which every client asks for
REFS_KEPT = 262_144  # refs kept in memory, 200 bytes each
REF_TABLE_WEIGHT = 8  # what a repo's table takes beside them, in refs: some 20,000 repos are kept, or a dozen full ones
REF_READS_MAX = 100  # readings of one repo's refs that a deletion may spoil, each another one
REFS_MAX = 20_000  # of one repo: all of them are held in memory and listed in one answer
PACKS_MAX = 50  # of one repo: a look-up may ask each; from here on `maintenance` joins them
CHILD_WAIT_S = 3600.0  # for git to join packs or check a repository: an hour of work is more than one may hold
PROBLEMS_MAX = 100  # lines of one repository's check

_CONFIG = b"""[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
\tfsync = all
[gc]
\tauto = 0
[maintenance]
\tauto = false
"""
# One thread and little memory: this is background work beside a serving hub.
_SMALL = ("-c", "pack.threads=1", "-c", "pack.windowMemory=64m", "-c", "pack.deltaCacheSize=16m")
_OBJECT_TYPES: dict[int, Kind] = {
    int(ObjectType.COMMIT): "commit",
    int(ObjectType.TREE): "tree",
    int(ObjectType.BLOB): "blob",
    int(ObjectType.TAG): "tag",
}
_HEX40 = re.compile(r"[0-9a-f]{40}\Z")

Item = objects.Item
Items = objects.TreeObject
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs between two trees. Sizes in bytes; `patch` is lazy, since it may be large."""

    old_path: str
    new_path: str
    old_size: int
    new_size: int
    patch: Callable[[], bytes]


class Git:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._mine = threading.local()
        self._ages: dict[int, int] = {}  # repo -> how often its handles became worthless
        self._serial = itertools.count(1)
        self._maintaining = threading.Lock()  # one at a time: it is the hub's most expensive idle work
        self._ref_tables: Lru[int, dict[str, str]] = Lru(REFS_KEPT)
        self._ref_changes = 0
        self._ref_lock = threading.Lock()
        self._trees: Lru[tuple[int, str], Items] = Lru(TREES_WEIGHT_MAX)
        self._commits: Lru[tuple[int, str], CommitObject] = Lru(COMMITS_MAX)
        self._small: Lru[tuple[int, str], bytes] = Lru(SMALL_KEPT_BYTES)
        _configure_libgit2()
        with disk_errors():
            self._incoming = root / "incoming"
            self._incoming.mkdir(parents=True, exist_ok=True)

    # Folders

    def path(self, repo_id: int) -> Path:
        return self._root / place_of(repo_id)

    @property
    def incoming(self) -> Path:
        """A folder on the repositories' file system for what is not yet part of one; emptied at start."""
        return self._incoming

    def empty_incoming(self) -> None:
        """Drops what a killed process left half-written; only before anything is written."""
        for leftover in self._incoming.iterdir():
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()

    def stem(self) -> str:
        """A name in `incoming` that nobody else uses, no command beside the hub either."""
        return f"own-{os.getpid()}-{next(self._serial)}"

    def create(self, repo_id: int, files: Mapping[FilePath, bytes], author: str, at_ms: int, title: str) -> CommitId:
        """A bare repository whose `main` is one commit of these files, none of them in a folder. Durable.

        No intent is needed: until the caller's row is there nobody can ask for it. A folder that an earlier, undone
        creation left under the same number is put aside.
        """
        building, place = self._incoming / self.stem(), self.path(repo_id)
        pack = self.pack()
        try:
            items = [(objects.FILE, path.encode(), pack.add("blob", data)) for path, data in files.items()]
            tree = pack.add("tree", objects.encode_tree(items))
            name, mail = signature(author)
            commit = CommitObject(tree.hex(), (), name, mail, at_ms // 1000, f"{title}\n")
            commit_id = CommitId(pack.add("commit", objects.encode_commit(commit)).hex())
            with disk_errors():
                for folder in ("objects/pack", "objects/info", "refs/heads", "refs/tags"):
                    (building / folder).mkdir(parents=True)
                pack.finish(building / "objects/pack")
                write_durably(building / "HEAD", b"ref: refs/heads/main\n")
                write_durably(building / "config", _CONFIG)
                write_durably(building / "refs/heads/main", f"{commit_id}\n".encode())
                for folder in ("objects", "refs/heads", "refs", "."):
                    fsync_folder(building / folder)
                self._make_folder(place.parent)
                if place.exists():
                    self.retire(repo_id, self._incoming / self.stem())
                building.rename(place)
                fsync_folder(place.parent)
        except BaseException:
            pack.abandon()
            shutil.rmtree(building, ignore_errors=True)
            raise
        self._refs_change(repo_id)
        return commit_id

    def retire(self, repo_id: int, to: Path) -> None:
        """Moves the whole repository away (same file system). Readers that have it open finish undisturbed."""
        with disk_errors():
            self._make_folder(to.parent)
            self.path(repo_id).rename(to)
            fsync_folder(to.parent)
            fsync_folder(self.path(repo_id).parent)
        self.forget(repo_id)

    def restore(self, repo_id: int, source: Path) -> None:
        """Undoes `retire`, durably. RepoMissing if there is nothing to restore from."""
        place = self.path(repo_id)
        with disk_errors():
            if not source.is_dir():
                raise RepoMissing(str(repo_id))
            self._make_folder(place.parent)
            source.rename(place)
            fsync_folder(place.parent)
            fsync_folder(source.parent)
        self.forget(repo_id)

    def forget(self, repo_id: int) -> None:
        """What is remembered of the repo's files is asked again: after its packs or refs changed without `Git`."""
        self._ages[repo_id] = self._ages.get(repo_id, 0) + 1
        self._refs_change(repo_id)

    # Objects

    def kind_and_size(self, repo_id: int, oid: str) -> tuple[Kind, int] | None:
        """None: this repo has no such object. Reads no contents."""
        found = self._ask(repo_id, lambda repository: repository.odb.read_header(oid))
        return (_OBJECT_TYPES[found[0]], found[1]) if found else None

    def object(self, repo_id: int, oid: str) -> tuple[Kind, bytes]:
        """An object that must be there, since something points at it. Its bytes hash to its name."""
        found = self._ask(repo_id, lambda repository: repository.odb.read(oid))
        if found is None:
            raise Corrupt(f"Git object {oid} of repo {repo_id} is missing; run `headwater verify`.")
        kind, data = _OBJECT_TYPES[found[0]], found[1]
        if objects.object_name(kind, data).hex() != oid:
            raise Corrupt(f"Git object {oid} of repo {repo_id} is damaged; run `headwater verify`.")
        return kind, data

    def blob(self, repo_id: int, oid: str) -> bytes:
        """A file that must be there, small ones from memory after the first time."""
        known = self._small.get((repo_id, oid))
        if known is None:
            known = self._of_kind(repo_id, oid, "blob")
            self.remember_blob(repo_id, oid, known)
        return known

    def remember_blob(self, repo_id: int, oid: str, data: bytes) -> None:
        """A file of the repo, read or about to land, under the name that its bytes hash to."""
        if len(data) <= SMALL_BYTES_MAX:
            self._small.put((repo_id, oid), data, weight=len(data) + SMALL_ENTRY_BYTES)

    def tree(self, repo_id: int, oid: str) -> Items:
        known = self._trees.get((repo_id, oid))
        if known is not None:
            return known
        items = Items(self._of_kind(repo_id, oid, "tree")) if oid != objects.EMPTY_TREE else Items()
        self.remember_tree(repo_id, oid, items)
        return items

    def remember_tree(self, repo_id: int, oid: str, items: Items) -> None:
        """A tree of the repo, read or just landed, so that the next question does not read it (again)."""
        self._trees.put((repo_id, oid), items, items.weight)

    def commit(self, repo_id: int, commit_id: str) -> CommitObject:
        """A commit that must be there."""
        known = self._commits.get((repo_id, commit_id))
        if known is not None:
            return known
        commit = objects.parse_commit(self._of_kind(repo_id, commit_id, "commit"))
        self._commits.put((repo_id, commit_id), commit, weight=1 + commit.weight_bytes // 1024)
        return commit

    def find_commit(self, repo_id: int, oid: str) -> CommitId | None:
        """The commit of this repo that `oid` names: itself, or what an annotated tag leads to."""
        for _ in range(8):  # tags of tags; deeper ones are somebody's joke
            if self._commits.get((repo_id, oid)) is not None:
                return CommitId(oid)
            found = self.kind_and_size(repo_id, oid)
            if found is None or found[0] not in ("commit", "tag"):
                return None
            if found[0] == "commit":
                return CommitId(oid)
            target = re.match(rb"object ([0-9a-f]{40})\n", self._of_kind(repo_id, oid, "tag"))
            if target is None:
                return None
            oid = target[1].decode()
        return None

    def expand(self, repo_id: int, prefix: str) -> CommitId | None:
        """The one commit whose id begins with `prefix`; None also if there are several."""
        found = self._ask(repo_id, lambda repository: repository.expand_id(prefix))
        return self.find_commit(repo_id, str(found)) if found else None

    def contains(self, repo_id: int, tip: str, commit_id: str) -> bool:
        """Whether `commit_id` is `tip` or one of its ancestors."""
        if tip == commit_id:
            return True
        if self.find_commit(repo_id, commit_id) is None:
            return False
        return bool(self._ask(repo_id, lambda repository: repository.descendant_of(tip, commit_id)))

    def walk(self, repo_id: int, tip: CommitId) -> Iterator[CommitId]:
        """`tip` and its ancestors, the latest first as far as their times can be believed, each after a child of its.

        Lazily: whoever iterates decides how far, and pays for that far only (libgit2's walker reads all of it first).
        """
        seen = {tip}
        latest = [(-self.commit(repo_id, tip).at_s, 0, tip)]
        while latest:
            _, _, at = heapq.heappop(latest)
            yield at
            for parent in self.commit(repo_id, at).parents:
                if parent not in seen:
                    seen.add(parent)
                    # The order in which they were found decides between equals.
                    heapq.heappush(latest, (-self.commit(repo_id, parent).at_s, len(seen), parent))

    def changes(self, repo_id: int, old_tree: str, new_tree: str) -> Iterator[Change]:
        """What differs between two trees, in order of paths, renames not searched for."""

        def compare(repository: pygit2.Repository) -> pygit2.Diff:
            old, new = repository[old_tree].peel(pygit2.Tree), repository[new_tree].peel(pygit2.Tree)
            return old.diff_to_tree(new)

        diff = self._ask(repo_id, compare)
        if diff is None:
            raise Corrupt(f"A tree of repo {repo_id} is missing; run `headwater verify`.")
        for i, delta in enumerate(diff.deltas):
            old_size, new_size = (self._size(repo_id, str(side.id)) for side in (delta.old_file, delta.new_file))
            patch = partial(self._patch, repo_id, diff, i)
            yield Change(delta.old_file.path, delta.new_file.path, old_size, new_size, patch)

    def _patch(self, repo_id: int, diff: pygit2.Diff, i: int) -> bytes:
        patch = diff[i]
        if patch is None:
            return b""
        for side in (patch.delta.old_file, patch.delta.new_file):
            if self._size(repo_id, str(side.id)):
                self.object(repo_id, str(side.id))  # libgit2 took its bytes as they came
        return bytes(patch.data)

    def _size(self, repo_id: int, oid: str) -> int:
        """Of a side that is there: an added file has no old one, and a submodule's commit is in another repository."""
        found = self.kind_and_size(repo_id, oid) if oid.strip("0") else None
        return found[1] if found else 0

    def pack(self) -> PackWriter:
        """A writer whose objects belong to no repo until `land`."""
        return PackWriter(self._incoming, self.stem())

    def land(self, repo_id: int, pack: PackWriter) -> None:
        """The pack's objects are the repo's, durably. RepoMissing if it was moved away meanwhile."""
        with missing_if_gone(self.path(repo_id)):
            pack.finish(self.path(repo_id) / "objects/pack")

    # Refs

    def refs(self, repo_id: int) -> Mapping[str, str]:
        """Every ref -> 40 hex (a tag object's for an annotated tag). From memory after the first time."""
        known = self._ref_tables.get(repo_id)
        if known is None:
            before = self._ref_changes
            known = _read_refs(self.path(repo_id))
            with self._ref_lock:
                # What was read while a ref moved may be the old state: good for this caller, not to be remembered.
                if before == self._ref_changes:
                    self._ref_tables.put(repo_id, known, REF_TABLE_WEIGHT + len(known))
        return known

    def _refs_change(self, repo_id: int, table: dict[str, str] | None = None) -> None:
        """Forgets the repo's table, or puts a new one in its place; tables being read meanwhile are not kept."""
        with self._ref_lock:
            self._ref_changes += 1
            self._ref_tables.drop(repo_id)
            if table is not None:
                self._ref_tables.put(repo_id, table, REF_TABLE_WEIGHT + len(table))

    def move_ref(self, repo_id: int, ref: str, new: str | None) -> None:
        """One atomic, durable step; None deletes. The caller holds the repo's turn and has compared the old value."""
        root = self.path(repo_id)
        table = dict(self.refs(repo_id))
        if not root.is_dir():
            raise RepoMissing(str(repo_id))  # what is remembered of it may be older than its end
        self._refs_change(repo_id)  # before the rename too: a table read from here on may be of either state
        staged = self._incoming / self.stem()
        with missing_if_gone(root), disk_errors(), _gone_if_left(staged):
            if new is None:
                _delete_ref(root, ref, staged)
                table.pop(ref, None)
            else:
                write_durably(staged, f"{new}\n".encode())
                place = root / ref
                self._make_folder(place.parent, root)
                if place.is_dir():
                    _remove_empty(place)
                checkpoint("ref.staged")
                staged.rename(place)
                checkpoint("ref.renamed")
                fsync_folder(place.parent)
                table[ref] = new
        # A new table, never a changed one: whoever iterates the old one sees refs as they were.
        self._refs_change(repo_id, table)

    # Maintenance

    def needs_maintenance(self, repo_id: int) -> bool:
        return len(_packs(self.path(repo_id))) > PACKS_MAX

    def maintenance(self, repo_id: int) -> None:
        """Joins small packs into one, while others read and commit. Every object stays, reachable or not.

        A commit's pack is in the folder before its ref moves, so nothing may ever be dropped for being unreachable.
        Large packs are left alone until the small ones beside them weigh half as much: the work stays proportional to
        what was written since.
        """
        with self._maintaining:
            age = self._ages.get(repo_id, 0)
            try:
                joined = _worth_joining(_packs(self.path(repo_id)))
                if len(joined) > 1:
                    self._join_packs(repo_id, joined)
                    self.forget(repo_id)
            except (Unavailable, OSError):
                if self.path(repo_id).exists() and self._ages.get(repo_id, 0) == age:
                    raise
                # Deleted while its packs were joined, and perhaps brought back: they are as they were.

    def _join_packs(self, repo_id: int, joined: list[Path]) -> None:
        folder = self.path(repo_id) / "objects/pack"
        stem = self.stem()
        try:
            child = self._child(
                repo_id,
                ["pack-objects", "-q", "--stdin-packs", "--delta-base-offset", str(self._incoming / stem)],
                given="".join(f"{pack.name}\n" for pack in joined).encode(),
            )
            if child.returncode != 0:
                said = child.stderr.decode("utf-8", "replace")[:500]
                raise Unavailable(f"git pack-objects failed on repo {repo_id}, whose packs stay as they are: {said}")
            made = child.stdout.decode().strip()
            with disk_errors():
                self._swap_packs(folder, joined, self._incoming / f"{stem}-{made}", f"pack-{made}")
        finally:
            for left in self._incoming.glob(f"{stem}-*"):
                left.unlink(missing_ok=True)

    def _swap_packs(self, folder: Path, old: list[Path], made: Path, name: str) -> None:
        for suffix in (".pack", ".idx"):
            write = os.open(made.with_name(made.name + suffix), os.O_RDONLY)
            try:
                os.fsync(write)
            finally:
                os.close(write)
            made.with_name(made.name + suffix).rename(folder / f"{name}{suffix}")
        made.with_name(made.name + ".rev").unlink(missing_ok=True)
        fsync_folder(folder)
        checkpoint("packs.joined")
        for pack in old:
            if pack.stem != name:
                # The index first: a reader that still finds it looks for the pack.
                pack.with_suffix(".idx").unlink(missing_ok=True)
                pack.unlink(missing_ok=True)

    def problems(self, repo_id: int) -> list[str]:
        """What `git fsck` finds, the first of it; empty when every object is there and hashes to its name."""
        found: list[str] = []
        for _ in range(2):  # packs that are joined meanwhile look like missing ones, once
            child = self._child(repo_id, ["fsck", "--full", "--no-dangling", "--no-progress"])
            said = (child.stdout + child.stderr).decode("utf-8", "replace").splitlines()
            found = [line for line in said if not line.startswith("notice:")]
            if child.returncode == 0:
                return []
        return found[:PROBLEMS_MAX] or ["git fsck failed and did not say why"]

    def _child(self, repo_id: int, words: Sequence[str], given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(  # noqa: S603  # fixed words and names of our own
                ["git", *_SMALL, *words],  # noqa: S607
                input=given,
                capture_output=True,
                env=child_environment(self.path(repo_id)),
                timeout=CHILD_WAIT_S,
                check=False,
            )
        except FileNotFoundError as error:
            raise Unavailable("The program git is not installed where the hub runs; install it.") from error
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"git worked on repo {repo_id} for {CHILD_WAIT_S:g} s and was ended.") from error

    # Handles

    def _of_kind(self, repo_id: int, oid: str, kind: Kind) -> bytes:
        found, data = self.object(repo_id, oid)
        if found != kind:
            raise Corrupt(f"Git object {oid} of repo {repo_id} is a {found} and should be a {kind}.")
        return data

    def _ask(self, repo_id: int, question: Callable[[pygit2.Repository], T]) -> T | None:
        """The answer, or None if the object asked for is not there.

        Asked a second time on a fresh handle: an open one may know packs that maintenance has joined since.
        """
        broken: Exception | None = None
        for fresh in (False, True):
            try:
                return question(self._open(repo_id, fresh))
            except (KeyError, ValueError):
                broken = None
            except (pygit2.GitError, OSError) as error:
                broken = error
        if not self.path(repo_id).exists():
            raise RepoMissing(str(repo_id))  # moved away since the handle was opened: nothing of it is lost or damaged
        if broken is None:
            return None
        raise _damaged(repo_id, broken) from broken

    def _open(self, repo_id: int, fresh: bool = False) -> pygit2.Repository:
        mine = cast("OrderedDict[int, tuple[int, pygit2.Repository]] | None", getattr(self._mine, "open", None))
        if mine is None:
            mine = self._mine.open = OrderedDict()
        age = self._ages.get(repo_id, 0)
        known = mine.get(repo_id)
        if known is not None and known[0] == age and not fresh:
            mine.move_to_end(repo_id)
            return known[1]
        path = self.path(repo_id)
        try:
            repository = pygit2.Repository(str(path), RepositoryOpenFlag.BARE | RepositoryOpenFlag.NO_SEARCH)
        except (pygit2.GitError, KeyError, OSError) as error:
            if not path.exists():
                raise RepoMissing(str(repo_id)) from error  # deleted since the caller's row was read
            raise _damaged(repo_id, error) from error
        mine[repo_id] = (age, repository)
        mine.move_to_end(repo_id)
        if len(mine) > OPEN_MAX:
            mine.popitem(last=False)
        return repository

    def _make_folder(self, path: Path, root: Path | None = None) -> None:
        """With its parents, each durable in its own. `root` and what is above it has to be there: a ref of a repo that
        was deleted would make the repo's folder anew."""
        if path.is_dir() or path == root:
            return
        self._make_folder(path.parent, root)
        with contextlib.suppress(FileExistsError):
            path.mkdir()
        fsync_folder(path.parent)


def place_of(repo_id: int) -> str:
    """Where a repo's bare repository lies below the git root."""
    return f"{repo_id % 256:02x}/{repo_id}.git"


def signature(name: str) -> tuple[str, str]:
    """Name and mail address of an author; the address belongs to nobody, since real ones are private."""
    safe = objects.person_safe(name) or "headwater"
    return safe, f"{safe}@users.noreply.headwater"


def child_environment(git_dir: Path) -> dict[str, str]:
    """For a git process: no configuration but the repository's own, no prompts, no locale."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_DIR": str(git_dir),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
    }


def _configure_libgit2() -> None:
    settings = pygit2.settings
    settings.cache_max_size(OBJECT_CACHE_BYTES)
    settings.mwindow_size = WINDOW_BYTES
    settings.mwindow_mapped_limit = MAPPED_BYTES_MAX
    settings.mwindow_file_limit = OPEN_FILES_MAX
    # What leaves here is hashed by `Git.object`, at a tenth of the price: libgit2's SHA-1 also looks for collisions,
    # which concerns what comes in. For its own walks zlib's checksum has to do.
    settings.enable_strict_hash_verification(False)
    settings.owner_validation = False  # the data folder was chosen by whoever started the hub, perhaps as another user
    for level in (ConfigLevel.SYSTEM, ConfigLevel.XDG, ConfigLevel.GLOBAL, ConfigLevel.PROGRAMDATA):
        settings.search_path[level] = ""  # no configuration but the repository's own


def _damaged(repo_id: int, error: Exception) -> Corrupt:
    return Corrupt(f"The git repository of repo {repo_id} can't be read ({error}); run `headwater verify`.")


def _read_refs(root: Path) -> dict[str, str]:
    """Every ref of a repository. An unreadable one is `Corrupt`: a branch must not vanish silently.

    Read anew if a ref was deleted under the reader. RepoMissing: the repository was moved away, before or meanwhile.
    """
    for _ in range(REF_READS_MAX):
        try:
            table = _refs_now(root)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            if not (root / "refs").is_dir():
                raise RepoMissing(root.stem) from None
            continue
        broken = [name for name, target in table.items() if not _HEX40.match(target)]
        if broken:
            raise Corrupt(f"The ref {broken[0]} of repo {root.stem} is damaged; run `headwater verify`.")
        return table
    raise Corrupt(f"The refs of repo {root.stem} can't be read; run `headwater verify`.")


def _refs_now(root: Path) -> dict[str, str]:
    """Loose refs, then packed ones under them: `_delete_ref` goes the other way, so that none comes back to life."""
    table: dict[str, str] = {}
    left = ["refs"]
    while left:
        folder = left.pop()
        with os.scandir(root / folder) as found:
            for item in found:
                name = f"{folder}/{item.name}"
                if item.is_dir(follow_symlinks=False):
                    left.append(name)
                elif not name.endswith(".lock"):
                    text = Path(item.path).read_text("utf-8", "replace").strip()
                    if not text.startswith("ref:"):
                        table[name] = text
    packed = root / "packed-refs"
    if packed.exists():
        for line in packed.read_text("utf-8", "surrogateescape").splitlines():
            if line[:1] not in ("#", "^", ""):
                table.setdefault(line[41:], line[:40])
    return table


@contextlib.contextmanager
def missing_if_gone(root: Path) -> Iterator[None]:
    """What fails since a repository was moved away, by a command beside the hub: RepoMissing."""
    try:
        yield
    except (OSError, Unavailable) as error:
        if root.is_dir():
            raise
        raise RepoMissing(root.stem) from error


@contextlib.contextmanager
def _gone_if_left(staged: Path) -> Iterator[None]:
    """A staged file that was not renamed into its place must not fill a disk that is full already."""
    try:
        yield
    finally:
        staged.unlink(missing_ok=True)


def _delete_ref(root: Path, ref: str, staged: Path) -> None:
    packed = root / "packed-refs"
    if packed.exists():
        lines = packed.read_bytes().splitlines(keepends=True)
        ends = b" " + ref.encode() + b"\n"
        at = next((i for i, line in enumerate(lines) if line.endswith(ends)), None)
        if at is not None:
            stop = at + 1 + (at + 1 < len(lines) and lines[at + 1].startswith(b"^"))
            write_durably(staged, b"".join(lines[:at] + lines[stop:]))
            staged.rename(packed)
            fsync_folder(root)
    place = root / ref
    if place.is_file():
        place.unlink()
        checkpoint("ref.deleted")
        fsync_folder(place.parent)
    # Empty folders would stand in the way of a ref with the folder's name.
    folder = place.parent
    while folder.parent != root / "refs" and folder != root:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def _remove_empty(folder: Path) -> None:
    for inner in folder.iterdir():
        _remove_empty(inner)
    folder.rmdir()


def _packs(root: Path) -> list[Path]:
    folder = root / "objects/pack"
    try:
        return [path for path in folder.iterdir() if path.name.startswith("pack-") and path.suffix == ".pack"]
    except FileNotFoundError:
        return []


def _worth_joining(packs: list[Path]) -> list[Path]:
    """The smallest packs, up to where the next is at least twice as large as all before it together."""
    by_size = sorted((pack.stat().st_size, pack) for pack in packs)
    total = 0
    cut = 0
    for i, (size, _) in enumerate(by_size):
        if i <= PACKS_MAX // 2 or size < 2 * total:
            cut = i + 1
        total += size
    return [pack for _, pack in by_size[:cut]]
