"""Totals: how the store stands, for administrators of the hub: what it saves and by which relation, what waits to be
sealed, what went wrong, and what is damaged. Nobody else may be shown any of it: it tells of all repos.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from headwater.ground.jobs import job
from headwater.ground.names import RepoId, Sha256
from headwater.repos.tables import hold, repo
from headwater.store import Store, report
from headwater.store.blobs import files_on
from headwater.store.sealing import is_paused
from headwater.store.tables import blob, blob_tensor, tensor

FAULTS_SHOWN = 20
WAITING_SHOWN = 20
DAMAGED_SHOWN = 20
FILES_SHOWN = 10  # of one damaged tensor
JOBS = "lineage."  # how the kinds of the jobs that seal begin
_OF_REPO = ("survey", "review")  # their key is a repo's number; that of the others a file's SHA-256


@dataclass(frozen=True, slots=True)
class Place:
    """A file that a repo holds; `path` is empty where the repo as a whole is meant."""

    rid: RepoId
    path: str


@dataclass(frozen=True, slots=True)
class Queue:
    """Jobs of one kind: `seal`, `reseal`, `survey`, `review`. `due`: of those that wait, what could begin now."""

    kind: str
    waiting: int
    due: int
    running: int
    given_up: int


@dataclass(frozen=True, slots=True)
class Fault:
    """The last error of a job that is tried again, or was given up."""

    kind: str
    place: Place | None
    key: str
    text: str
    attempts: int
    given_up: bool
    at_ms: int


@dataclass(frozen=True, slots=True)
class Damaged:
    """A stored tensor (or a file kept raw, without a kind) that does not come back, and whom it touches."""

    key: str
    kind: str
    size_bytes: int
    files: int
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """`uses` and `uses_bytes`: how often stored tensors are used by files in all, and what those uses would take raw;
    what is beyond the tensors themselves was not stored again."""

    stats: report.Stats
    uses: int
    uses_bytes: int
    on: bool
    paused: bool
    queues: tuple[Queue, ...]
    waiting: tuple[Place, ...]
    waiting_bytes: int
    faults: tuple[Fault, ...]
    damaged: tuple[Damaged, ...]
    damaged_tensors: int

    @property
    def same_tensors(self) -> int:
        return self.uses - self.stats.tensors

    @property
    def same_bytes(self) -> int:
        return self.uses_bytes - sum(kind.raw_bytes for kind in self.stats.kinds)


def totals(store: Store, now_ms: int, *, on: bool) -> Totals:
    """`on`: whether this hub seals at all (setting `seal`)."""
    stats = report.stats(store)
    with store.db.read() as connection:
        uses = connection.execute(
            select(func.count(), func.coalesce(func.sum(tensor.c.size), 0)).join_from(
                blob_tensor, tensor, tensor.c.id == blob_tensor.c.tensor
            )
        ).one()
        waiting = blob.c.seal_ms.is_(None) & blob.c.sealed.is_(None) & (blob.c.state == "whole")
        names = connection.execute(
            select(blob.c.sha256).where(waiting).order_by(blob.c.size.desc()).limit(WAITING_SHOWN)
        ).scalars()
        return Totals(
            stats=stats,
            uses=int(uses[0]),
            uses_bytes=int(uses[1]),
            on=on,
            paused=is_paused(store.objects.root),
            queues=_queues(connection, now_ms),
            waiting=tuple(place for name in list(names) for place in _places(connection, [Sha256(name)], 1)),
            waiting_bytes=connection.execute(
                select(func.coalesce(func.sum(blob.c.size), 0)).where(waiting)
            ).scalar_one(),
            faults=_faults(connection),
            damaged=_damaged(connection),
            damaged_tensors=connection.execute(
                select(func.count()).select_from(tensor).where(tensor.c.state == "damaged")
            ).scalar_one(),
        )


def _queues(connection: Connection, now_ms: int) -> tuple[Queue, ...]:
    rows = connection.execute(
        select(job.c.kind, job.c.state, func.count(), func.coalesce(func.sum(job.c.until_ms <= now_ms), 0))
        .where(job.c.kind.startswith(JOBS))
        .group_by(job.c.kind, job.c.state)
    )
    found: dict[str, dict[str, int]] = {}
    for kind, state, count, due in rows:
        states = found.setdefault(kind.removeprefix(JOBS), {})
        states[state] = count
        if state == "waiting":
            states["due"] = int(due)
    return tuple(
        Queue(kind, *(states.get(state, 0) for state in ("waiting", "due", "running", "given_up")))
        for kind, states in sorted(found.items())
    )


def _faults(connection: Connection) -> tuple[Fault, ...]:
    rows = connection.execute(
        select(job)
        .where(job.c.kind.startswith(JOBS), job.c.error.is_not(None))
        .order_by(job.c.since_ms.desc(), job.c.id.desc())
        .limit(FAULTS_SHOWN)
    ).all()
    made = []
    for row in rows:
        kind = row.kind.removeprefix(JOBS)
        place = _repo(connection, row.key) if kind in _OF_REPO else None
        if place is None:
            place = next(iter(_places(connection, [Sha256(row.key)], 1)), None)
        made.append(Fault(kind, place, row.key, row.error, row.attempts, row.state == "given_up", row.since_ms))
    return tuple(made)


def _repo(connection: Connection, key: str) -> Place | None:
    if not key.isdigit():
        return None
    row = connection.execute(
        select(repo.c.type, repo.c.namespace, repo.c.name).where(repo.c.id == int(key), repo.c.state == "live")
    ).first()
    return Place(RepoId(row.type, row.namespace, row.name), "") if row else None


def _places(connection: Connection, files: Sequence[Sha256], limit: int) -> Iterable[Place]:
    rows = connection.execute(
        select(repo.c.type, repo.c.namespace, repo.c.name, hold.c.path)
        .join_from(hold, repo, repo.c.id == hold.c.repo_id)
        .where(hold.c.sha256.in_(files), repo.c.state == "live")
        .order_by(hold.c.held_ms)
        .limit(limit)
    ).all()
    return [Place(RepoId(row.type, row.namespace, row.name), row.path) for row in rows]


def _damaged(connection: Connection) -> tuple[Damaged, ...]:
    """Tensors first; then files without any, whose only copy was raw."""
    made = []
    rows = connection.execute(
        select(tensor.c.key, tensor.c.kind, tensor.c.size)
        .where(tensor.c.state == "damaged")
        .order_by(tensor.c.id)
        .limit(DAMAGED_SHOWN)
    ).all()
    for row in rows:
        touched = [Sha256(name) for name in connection.execute(files_on(row.key)).scalars()]
        places = tuple(_places(connection, touched[:FILES_SHOWN], FILES_SHOWN))
        made.append(Damaged(row.key.hex(), row.kind, row.size, len(touched), places))
    raw = connection.execute(
        select(blob.c.sha256, blob.c.size)
        .where(blob.c.state == "damaged", blob.c.sealed.is_(None))
        .order_by(blob.c.sha256)
        .limit(DAMAGED_SHOWN)
    ).all()
    for sha256, size in raw:
        places = tuple(_places(connection, [Sha256(sha256)], FILES_SHOWN))
        made.append(Damaged(sha256, "", size, 1, places))
    return tuple(made[:DAMAGED_SHOWN])
