"""Landing: repos that were checked in a staging folder become repos of this hub, in the process that owns its data.

The objects first, then holds and intents in one transaction, then the refs, by `Moves.apply`: a repo shows nothing of
a bundle, or a ref with all that it names. Doing it again changes nothing. What would be lost is refused, unless forced.

The folder is handed over by name, since whoever checked it may be another process than the one that owns the data.
Refuses to know the bundle's format and where its bytes came from.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy import Connection, select

from headwater.accounts import OPERATOR
from headwater.ground.clock import Clock
from headwater.ground.db import Database
from headwater.ground.errors import Conflict, HeadwaterError, RepoMissing, Unavailable
from headwater.ground.events import event
from headwater.ground.jobs import Job
from headwater.ground.names import RefName, RepoId, RepoType, Sha256
from headwater.repos import RefMove, Repo, Repos
from headwater.repos.git import Git
from headwater.repos.moves import MAIN
from headwater.repos.objects import disk_errors, fsync_folder, write_durably
from headwater.store import Store

FOLDER = "carry"  # below the data folder; each import has a folder in it, and cleans up after those that were killed
JOB = "carry.land"
CAUSE = "import"  # of the events
PLAN, RESULT, LOCK, GIT = "plan.json", "result.json", "lock", "git"


class Aim(msgspec.Struct, frozen=True):
    """A repo that is to land: `number` in the staging folder, and what it is to be here."""

    number: int
    type: RepoType
    namespace: str | None
    name: str
    private: bool | None
    gated: str | None
    sdk: str | None
    pack: str
    """The file name of its git objects, without suffix."""
    refs: dict[str, str]
    large: dict[str, str]
    """SHA-256 -> a path that it is committed under."""

    @property
    def rid(self) -> RepoId:
        return RepoId(self.type, self.namespace, self.name)

    @property
    def shown(self) -> str:
        return f"{self.type} {self.rid.full}"


class Plan(msgspec.Struct, frozen=True):
    bundle: str
    source: str
    sequence: int
    force: bool
    again: bool
    repos: list[Aim]


class Landed(msgspec.Struct, frozen=True):
    """`moved` refs lead where the bundle says; `ahead` are those that had all of it and more, and stay."""

    repo: str
    created: bool
    moved: list[str]
    ahead: list[str]


class Result(msgspec.Struct, frozen=True):
    """`error` is empty if all went well; what had landed before it stays."""

    landed: list[Landed]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Last:
    """The newest bundle of a source that a repo got."""

    sequence: int
    bundle: str


def last_import(connection: Connection, repo_id: int, source: str) -> Last | None:
    """Events tell it, so that it is part of every backup."""
    asked = select(event.c.data).where(
        event.c.repo_id == repo_id, event.c.kind == "ref.moved", event.c.data.contains(f'"cause":"{CAUSE}"')
    )
    found: Last | None = None
    for data in connection.execute(asked).scalars():
        told = json.loads(data)
        if told.get("cause") == CAUSE and told.get("source") == source:
            one = Last(int(told["sequence"]), str(told["bundle"]))
            found = one if found is None or one.sequence >= found.sequence else found
    return found


class Landing:
    def __init__(self, db: Database, clock: Clock, repos: Repos, store: Store, data: Path) -> None:
        self._db, self._clock, self._repos, self._store = db, clock, repos, store
        self.folder = data / FOLDER

    def work(self, job: Job) -> None:
        """The job of the process that owns the data folder. What is refused is told to whoever waits for it."""
        folder = self.folder / Path(job.key).name
        with contextlib.suppress(FileNotFoundError), locked(folder):
            landed: list[Landed] = []
            error = ""
            try:
                for one in self.land(folder):
                    landed.append(one)  # noqa: PERF402 - what landed before an error is told too
            except HeadwaterError as refused:
                error = refused.text
            with disk_errors():
                half = folder / f".{RESULT}.half"
                write_durably(half, msgspec.json.encode(Result(landed, error)))
                half.rename(folder / RESULT)

    def check(self, folder: Path, plan: Plan) -> None:
        """What can be said before anything lands. Conflict: a bundle that is too old, or refs that would be lost."""
        scratch = Git(folder / GIT)
        for aim in plan.repos:
            repo = self._find(aim)
            if repo is not None:
                self._against_replay(plan, aim, repo)
                self._moves(scratch, plan, aim, repo)

    def check_age(self, plan: Plan) -> None:
        """The same, as far as it needs nothing but the manifest."""
        for aim in plan.repos:
            repo = self._find(aim)
            if repo is not None:
                self._against_replay(plan, aim, repo)

    def land(self, folder: Path) -> Iterator[Landed]:
        """Repo by repo. Only in the process that owns the data folder, after its rooms were prepared."""
        plan = msgspec.json.decode((folder / PLAN).read_bytes(), type=Plan)
        self.check(folder, plan)
        scratch = Git(folder / GIT)
        for aim in plan.repos:
            yield self._land(scratch, plan, aim)

    def _land(self, scratch: Git, plan: Plan, aim: Aim) -> Landed:
        self._look_for_files(aim)
        repo, created = self._find(aim), False
        if repo is None:
            registry = self._repos.registry
            repo, created = registry.create(OPERATOR, aim.rid, aim.private, aim.sdk, gated=aim.gated).repo, True
        names = {Sha256(sha256): path for sha256, path in aim.large.items()}

        def hold(connection: Connection) -> None:
            self._repos.holds.hold_in(connection, repo.id, names)
            self._repos.holds.commit(connection, repo.id, names)

        with self._repos.moves.turn(repo.id):
            self._against_replay(plan, aim, repo)
            moves, ahead = self._moves(scratch, plan, aim, repo)
            if moves:
                self._take_pack(scratch, aim, repo)
            elif self._is_news(plan, repo):
                # written down as a move to where it is: an older bundle must not come after this one
                at = self._repos.git.refs(repo.id)[MAIN]
                self._repos.moves.apply(OPERATOR, repo, [RefMove(MAIN, at, at)], CAUSE, data=_told(plan))
            if moves:
                self._repos.moves.apply(OPERATOR, repo, moves, CAUSE, data=_told(plan), with_intent=hold)
        return Landed(aim.shown, created, [move.ref for move in moves], ahead)

    def _find(self, aim: Aim) -> Repo | None:
        try:
            return self._repos.open(OPERATOR, aim.rid, "read")
        except RepoMissing:
            return None

    def _look_for_files(self, aim: Aim) -> None:
        """They were stored by the import, perhaps by another process, and nobody held them until now."""
        for name in aim.large:
            sha256 = Sha256(name)
            self._store.forget(sha256)  # what is remembered may be of before it was healed
            blob = self._store.find(sha256)
            if blob is None or blob.damaged:
                raise Unavailable(f"{aim.shown}: file {name} is not here any more; import the bundle again")
            self._store.runs(blob, 0, blob.size)

    def _against_replay(self, plan: Plan, aim: Aim, repo: Repo) -> None:
        with self._db.read() as connection:
            last = last_import(connection, repo.id, plan.source)
        if last is not None and plan.sequence < last.sequence and not plan.again:
            raise Conflict(
                f"{aim.shown} has bundle {last.bundle} (sequence {last.sequence}) of the same hub already, and this "
                f"one is older (sequence {plan.sequence}). Nothing was imported; say --again if that is what you want."
            )

    def _is_news(self, plan: Plan, repo: Repo) -> bool:
        with self._db.read() as connection:
            last = last_import(connection, repo.id, plan.source)
        return last is None or plan.sequence > last.sequence

    def _moves(self, scratch: Git, plan: Plan, aim: Aim, repo: Repo) -> tuple[list[RefMove], list[str]]:
        """What is to move, `main` last, and what is ahead of the bundle. Conflict: it would lose commits."""
        now = self._repos.git.refs(repo.id)
        moves: list[RefMove] = []
        ahead: list[str] = []
        lost: list[str] = []
        for ref, target in sorted(aim.refs.items(), key=lambda item: (item[0] == MAIN, item[0])):
            old = now.get(ref)
            if old == target:
                continue
            if old is None or plan.force or self._is_forward(scratch, aim, repo, ref):
                moves.append(RefMove(RefName(ref), old, target))
            elif not ref.startswith("refs/tags/") and self._repos.git.contains(repo.id, old, target):
                ahead.append(ref)
            else:
                lost.append(ref)
        if lost:
            raise Conflict(
                f"{aim.shown}: {', '.join(lost[:10])} went another way here than in the bundle. Nothing was imported; "
                "say --force to have what the bundle says, or --as for another name."
            )
        return moves, ahead

    def _is_forward(self, scratch: Git, aim: Aim, repo: Repo, ref: str) -> bool:
        """Whether the bundle's commit has the one that is here in its history; a repo that is as it was made has none.

        Tags do not go forward: another commit under the same tag is another thing.
        """
        now = self._repos.git.refs(repo.id)
        if ref.startswith("refs/tags/"):
            return False
        if ref == MAIN and self._is_untouched(repo, now[MAIN]):
            return True
        return scratch.contains(aim.number, aim.refs[ref], now[ref])

    def _is_untouched(self, repo: Repo, main: str) -> bool:
        asked = select(event.c.data).where(event.c.repo_id == repo.id, event.c.kind == "repo.created")
        with self._db.read() as connection:
            born = connection.execute(asked).scalar()
        return born is not None and json.loads(born).get("commit") == main

    def _take_pack(self, scratch: Git, aim: Aim, repo: Repo) -> None:
        """The checked objects are the repo's as well, durably. The index last: git looks for indexes."""
        there = self._repos.git.path(repo.id) / "objects/pack"
        with disk_errors():
            for suffix in (".pack", ".idx"):
                file = pack_folder(scratch, aim.number) / f"{aim.pack}{suffix}"
                if not (there / file.name).exists():
                    _link(file, there)
            fsync_folder(there)
        self._repos.git.forget(repo.id)


def pack_folder(git: Git, number: int) -> Path:
    return git.path(number) / "objects/pack"


def _told(plan: Plan) -> dict[str, str | int]:
    return {"bundle": plan.bundle, "source": plan.source, "sequence": plan.sequence}


def _link(file: Path, folder: Path) -> None:
    """The same file in another folder; a copy of it, if that is on another disk."""
    half = folder / f"tmp_{file.name}"  # git takes no notice of such names
    half.unlink(missing_ok=True)
    try:
        os.link(file, half)
    except OSError:
        shutil.copyfile(file, half)
    handle = os.open(half, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    half.rename(folder / file.name)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While the folder is used; by several at once. FileNotFoundError if it is gone."""
    with (folder / LOCK).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def clean(root: Path) -> None:
    """Takes away what killed imports left. The lock is the kernel's: nobody holds one who is gone."""
    for folder in root.iterdir() if root.exists() else ():
        try:
            with (folder / LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
        except (BlockingIOError, FileNotFoundError, NotADirectoryError):
            continue
