"""Repos into a bundle: their git objects, what lies at each of their refs, and every large file of their histories.

Reads while the hub serves and writes; whoever calls is the operator, so private repos are exported too. Refuses to know
HTTP and what becomes of the folder.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from headwater.accounts import OPERATOR
from headwater.accounts.tickets import load_secret
from headwater.carry.listings import Inline, Lister, large_files, pointers_below
from headwater.carry.manifest import FORMAT, PART_BYTES_MIN, REPOS_MAX, Carried, Manifest, Ref, Source, encode
from headwater.carry.parts import STEP, PartsWriter, Progress
from headwater.catalog import cards
from headwater.ground import events
from headwater.ground.clock import Clock, iso
from headwater.ground.db import Database
from headwater.ground.errors import Corrupt, EntryMissing, Invalid, TooMuch, Unavailable
from headwater.ground.names import CommitId, FilePath, RepoId, Sha256
from headwater.ground.settings import Settings
from headwater.repos import Repo, Repos, child, objects
from headwater.repos.git import Git
from headwater.repos.moves import MAIN
from headwater.repos.objects import CommitObject, PackWriter, disk_errors
from headwater.store import Store

CARD_BYTES_MAX = 1 << 20  # of a card that is read for its licence
END_WAIT_S = 60.0  # from the end of git's output to git's own
HISTORY = ("refs/heads/", "refs/tags/", "refs/convert/")
PULLS = "refs/pr/"


@dataclass(frozen=True, slots=True)
class Rooms:
    """What exporting and importing ask."""

    data: Path
    settings: Settings
    clock: Clock
    db: Database
    repos: Repos
    store: Store


@dataclass(frozen=True, slots=True)
class Wanted:
    """`revision` None: the whole history of all branches and tags. `pulls`: of pull refs as well."""

    rids: Sequence[RepoId]
    revision: str | None = None
    pulls: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    id: str
    repos: int
    files: int
    parts: int
    size_bytes: int
    manifest_sha256: str


@dataclass(frozen=True, slots=True)
class _Plan:
    """A repo on its way: `refs` -> target, `snapshot_of` the commit whose files alone are exported."""

    repo: Repo
    refs: dict[str, str]
    large: dict[Sha256, int]
    snapshot_of: CommitId | None = None

    @property
    def shown(self) -> str:
        return f"{self.repo.rid.type} {self.repo.rid.full}"


def export(rooms: Rooms, wanted: Wanted, folder: Path, part_size: int, progress: Progress) -> Exported:
    """A bundle in `folder`, which must be empty or new. It is one when this returns, and not before.

    Corrupt if a file is damaged; TooMuch if it would be larger than bundles may be.
    """
    if part_size < PART_BYTES_MIN:
        raise Invalid(f"part size: {part_size} bytes is below {PART_BYTES_MIN}")
    if not 0 < len(wanted.rids) <= REPOS_MAX:
        raise TooMuch(f"A bundle holds 1 to {REPOS_MAX} repos, not {len(wanted.rids)}; make several")
    with rooms.db.read() as connection:
        sequence = events.last_id(connection)  # before any ref is read: what is read later is at least as new
    plans = [_plan(rooms, rid, wanted) for rid in wanted.rids]
    done, total = 0, sum(sum(plan.large.values()) for plan in plans)

    def wrote(size: int) -> None:
        nonlocal done
        done += size
        progress(done, max(done, total))

    writer = PartsWriter(folder, part_size, wrote)
    try:
        repos = [_carry(rooms, plan, writer, folder) for plan in plans]
        writer.close()
        manifest = Manifest(
            format=FORMAT,
            id=rooms.clock.token(16),
            made=iso(rooms.clock.now_ms()),
            source=Source(source_id(rooms.data), rooms.settings.base_url),
            sequence=sequence,
            part_size=part_size,
            parts=writer.parts,
            files=list(writer.files.values()),
            repos=repos,
        )
        text = writer.finish(partial(encode, manifest))
    finally:
        writer.close()
    return Exported(
        manifest.id, len(repos), len(manifest.files), len(manifest.parts), manifest.size,
        hashlib.sha256(text).hexdigest(),
    )  # fmt: skip


def source_id(data: Path) -> str:
    """The name of a data folder that stays what it is when the hub moves, and tells nothing of the folder's secret."""
    return hashlib.blake2b(b"headwater bundle source", key=load_secret(data)[:64], digest_size=16).hexdigest()


def _plan(rooms: Rooms, rid: RepoId, wanted: Wanted) -> _Plan:
    repo = rooms.repos.open(OPERATOR, rid, "read")
    git = rooms.repos.git
    if wanted.revision is not None:
        commit = rooms.repos.refs.resolve(repo, wanted.revision)
        tree = git.commit(repo.id, commit).tree
        large = {one.sha256: one.size for one in pointers_below(git, repo.id, tree, set())}
        return _Plan(repo, _snapshot_refs(git.refs(repo.id), wanted.revision), large, commit)
    prefixes = (*HISTORY, PULLS) if wanted.pulls else HISTORY
    # A tag may lead to something else than a commit (pushed): it has no files, and no other hub would take it.
    refs = {
        ref: target
        for ref, target in sorted(git.refs(repo.id).items())
        if ref.startswith(prefixes) and git.find_commit(repo.id, target) is not None
    }
    return _Plan(repo, refs, large_files(git, repo.id, [_at(git, repo.id, target).commit for target in refs.values()]))


def _snapshot_refs(refs: Iterable[str], revision: str) -> dict[str, str]:
    """A snapshot is `main`, and has the name that was asked for as well if it is another branch's or a tag's."""
    named = next((ref for ref in (f"refs/heads/{revision}", f"refs/tags/{revision}") if ref in refs), MAIN)
    return {MAIN: "", named: ""}


@dataclass(frozen=True, slots=True)
class _At:
    """Where a ref of the bundle stands: `files` is the commit of this hub that has the same ones."""

    target: str
    commit: CommitId
    files: CommitId


def _carry(rooms: Rooms, plan: _Plan, writer: PartsWriter, folder: Path) -> Carried:
    git, repo = rooms.repos.git, plan.repo
    with disk_errors(), tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as made:
        if plan.snapshot_of is not None:
            snapshot, pack = _snapshot(git, repo.id, plan.snapshot_of, Path(made))
            at = {ref: _At(snapshot, snapshot, plan.snapshot_of) for ref in plan.refs}
        else:
            pack = _history(git, repo.id, sorted(set(plan.refs.values())), Path(made))
            at = {ref: _at(git, repo.id, target) for ref, target in plan.refs.items()}
        with pack.open("rb") as opened:
            pack_sha256 = Sha256(hashlib.file_digest(opened, "sha256").hexdigest())
        writer.add(pack_sha256, partial(_steps, pack))
    lister = Lister(git, repo.id, plan.shown)
    refs = []
    for ref, stands in at.items():
        listing = lister.listing(stands.files)
        writer.add(listing, partial(lister.lines, stands.files))
        refs.append(Ref(ref, stands.target, stands.commit, listing))
    for sha256, inline in lister.inline.items():
        writer.add(sha256, partial(_inline, git, repo.id, inline))
    for sha256 in sorted(plan.large):
        with _named(plan, sha256):
            writer.add(sha256, partial(rooms.store.read, sha256))
    rid = repo.rid
    return Carried(
        rid.type, rid.full, repo.private, repo.gated, repo.sdk,  # type: ignore[arg-type]  # the columns say which
        _licence(rooms, repo, at[MAIN].files) if MAIN in at else None,
        plan.snapshot_of, pack_sha256, refs, sorted(plan.large),
    )  # fmt: skip


def _at(git: Git, repo_id: int, target: str) -> _At:
    commit = git.find_commit(repo_id, target)
    assert commit is not None, target
    return _At(target, commit, commit)


@contextmanager
def _named(plan: _Plan, sha256: str) -> Iterator[None]:
    """Says whose file it is that can't be read."""
    try:
        yield
    except (Corrupt, EntryMissing) as error:
        raise Corrupt(f"{plan.shown}, file {sha256}: {error.text}") from error


def _steps(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while data := file.read(STEP):
            yield data


def _inline(git: Git, repo_id: int, inline: Inline) -> list[bytes]:
    return [git.blob(repo_id, inline.oid)]


def _history(git: Git, repo_id: int, tips: Sequence[str], folder: Path) -> Path:
    """One pack with all that the tips lead to, by git itself: it reuses the deltas that the repo's packs have."""
    path = folder / "history.pack"
    words = ["pack-objects", "-q", "--revs", "--stdout", "--delta-base-offset"]
    with _asked(tips) as asked, child.running(words, git.path(repo_id), asked) as running, path.open("xb") as pack:
        while data := running.stdout.read(STEP):
            pack.write(data)
        if not (running.done(END_WAIT_S) and running.process.returncode == 0):
            raise Unavailable(f"git pack-objects failed: {child.reason(running, git.path(repo_id))}")
    return path


@contextmanager
def _asked(tips: Sequence[str]) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as asked:
        asked.write("".join(f"{tip}\n" for tip in tips).encode())
        asked.flush()
        os.lseek(asked.fileno(), 0, os.SEEK_SET)
        yield asked


def _snapshot(git: Git, repo_id: int, commit_id: CommitId, folder: Path) -> tuple[CommitId, Path]:
    """A commit with the files of another and nothing before it, and a pack of that; always the same for the same."""
    old = git.commit(repo_id, commit_id)
    pack = PackWriter(folder, "snapshot")
    try:
        _add_tree(git, repo_id, old.tree, pack)
        text = f"Snapshot of {commit_id}\n\n{old.text}"
        made = CommitObject(old.tree, (), old.author_name, old.author_email, old.at_s, text)
        name = CommitId(pack.add("commit", objects.encode_commit(made)).hex())
        pack.finish(folder)
    finally:
        pack.abandon()
    return name, next(folder.glob("pack-*.pack"))


def _add_tree(git: Git, repo_id: int, tree: str, pack: PackWriter) -> None:
    seen: set[bytes] = set()
    todo = [bytes.fromhex(tree)]
    while todo:
        oid = todo.pop()
        if oid in seen:
            continue
        seen.add(oid)
        if oid.hex() == objects.EMPTY_TREE:
            pack.add("tree", b"")
            continue
        kind, data = git.object(repo_id, oid.hex())
        pack.add(kind, data)
        if kind == "tree":
            todo += [target for mode, _name, target in objects.parse_tree(data) if mode != objects.SUBMODULE]


def _licence(rooms: Rooms, repo: Repo, commit: CommitId) -> str | None:
    """As its card says, for whoever looks at the bundle; cards that can't be read say nothing."""
    try:
        entry = rooms.repos.tree.entry(repo, commit, FilePath("README.md"))
    except EntryMissing:
        return None
    if entry.kind != "file" or entry.sha256 is not None or entry.size > CARD_BYTES_MAX:
        return None
    return (cards.read(rooms.repos.tree.read_inline(repo, entry)).license or "")[:512] or None
