"""Costs: what the files of a repo take in the store, and on what they stand, as far as one actor may know.

The rule: what is told is what a hub would tell that held nothing but what this actor may read. A tensor that stands,
directly or not, on one that he may not read is told as if it stood on nothing, with what it would take alone; one that
others share, of whom he may see none, is told as if it were shared with nobody; and the reason why something is a
parent is not what whoever stored it first was told, but what can be seen here: the same repo, the card, or neither.
Tensors without parents are always told by their size alone, so that the one case does not differ from the other.
What stands on a tensor whose files are all deleted is told as it is, unless somebody else shares it unseen; a repo that
was deleted counts as gone, though it may be brought back.

All by SQL over the dependency tables; nothing is read of the files themselves. Refuses to know HTTP, and how layers
changed (lineage.warmth).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select
from sqlalchemy.sql import false

from headwater.accounts.actor import Actor
from headwater.catalog import cards
from headwater.catalog.tables import catalog
from headwater.ground import names
from headwater.ground.db import batches
from headwater.ground.errors import Invalid
from headwater.ground.names import RepoId, Sha256
from headwater.repos.tables import hold, repo
from headwater.store.tables import blob, blob_tensor, tensor, tensor_parent

FILES_MAX = 2_000  # of a revision; what is beyond is not counted
PARENT_FILES_MAX = 4  # named for one file
PARENT_TENSORS_ASKED = 64  # the largest ones: whose files tell which files the parents are
PARENT_USERS_READ = 20_000  # files times tensors that are looked through for one file's parents
SETTLE_MS = 3_600_000  # how long a file that was sealed before anybody here could see it is told as waiting
ALONE, CHUNKS = "alone", "chunks"
"""Ways of storing that are told beside the codec's own: without parents; and what is no tensor."""

State = Literal["sealed", "raw", "waiting", "damaged"]
"""raw: it would not become smaller. waiting: it was not looked at, or not yet."""
Why = Literal["same repo", "declared base model", "similar weights", "no longer here"]


@dataclass(frozen=True, slots=True)
class File:
    """A large file of a revision."""

    path: str
    sha256: Sha256
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Way:
    """Tensors that are stored in one way. `alone_bytes` is what they would take without parents."""

    kind: str
    tensors: int
    raw_bytes: int
    stored_bytes: int
    alone_bytes: int
    shared_bytes: int
    """Of the stored bytes, what files of other repos use as well."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A file that tensors stand on: `raw_bytes` of them. `rid` is None for one that no repo holds any more."""

    rid: RepoId | None
    path: str
    sha256: Sha256 | None
    why: Why
    raw_bytes: int
    tensors: int


@dataclass(frozen=True, slots=True)
class FileCost:
    """`stored_bytes` is what it takes, whoever else uses it; `shared_bytes` of it is used by other repos, too."""

    file: File
    state: State
    stored_bytes: int
    shared_bytes: int
    ways: tuple[Way, ...] = ()
    parents: tuple[Parent, ...] = ()


@dataclass(frozen=True, slots=True)
class Costs:
    """Of a whole revision: what several of its files share is counted once."""

    files: tuple[FileCost, ...]
    size_bytes: int
    stored_bytes: int
    shared_bytes: int
    ways: tuple[Way, ...]
    parents: tuple[Parent, ...]

    def count(self, state: State) -> int:
        return sum(one.state == state for one in self.files)


@dataclass(frozen=True, slots=True)
class Viewed:
    """Who looks at what, and when. `margin` is the share by which a file must shrink to be sealed."""

    actor: Actor
    repo_id: int
    now_ms: int
    margin: float


@dataclass(frozen=True, slots=True)
class Shown:
    """A stored tensor, as it is told. `parents` are those it stands on itself."""

    id: int
    key: bytes
    kind: str
    raw_bytes: int
    stored_bytes: int
    alone_bytes: int
    shared: bool
    parents: tuple[int, ...]


def readable(actor: Actor) -> ColumnElement[bool]:
    """Of the rows of `repo`: whose files this actor may read."""
    live = repo.c.state == "live"
    if actor.is_admin:
        return live
    mine = repo.c.namespace_id.in_(sorted(actor.namespace_ids)) if actor.namespace_ids else false()
    open_to_all = and_(repo.c.private.is_(False), repo.c.gated.is_(None))
    return and_(live, repo.c.disabled.is_(False), or_(open_to_all, mine))


def costs(connection: Connection, viewed: Viewed, files: Sequence[File]) -> Costs:
    """What these files of the repo take. The repo must be one that the actor may read."""
    unique = list({one.sha256: one for one in files}.values())
    told: dict[Sha256, FileCost] = {}
    tensors: dict[Sha256, list[Shown]] = {}
    for batch in batches(unique):
        shown = tensors_of(connection, viewed, [one.sha256 for one in batch])
        blobs = _blobs(connection, viewed, [one.sha256 for one in batch])
        for one in batch:
            if one.sha256 in blobs:
                told[one.sha256] = _file_cost(viewed, one, blobs[one.sha256], shown.get(one.sha256, []))
        tensors.update(shown)
    sealed = [one for one in told.values() if one.ways]
    declared = _declared(connection, viewed.repo_id) if sealed else frozenset()
    for cost in sealed:
        found = _parents(connection, viewed, cost.file.sha256, tensors[cost.file.sha256], declared)
        told[cost.file.sha256] = replace(cost, parents=found)
    every = {one.id: one for cost in sealed for one in tensors[cost.file.sha256]}
    listed = tuple(replace(told[one.sha256], file=one) for one in files if one.sha256 in told)
    own = sum(one.stored_bytes - _bytes(one.ways) for one in told.values())  # recipes, and files that are not sealed
    shared = sum(one.shared_bytes for one in told.values() if not one.ways)
    return Costs(
        files=listed,
        size_bytes=sum(one.file.size_bytes for one in listed),
        stored_bytes=own + sum(one.stored_bytes for one in every.values()),
        shared_bytes=shared + sum(one.stored_bytes for one in every.values() if one.shared),
        ways=_ways(every.values()),
        parents=_together(told.values()),
    )


def _bytes(ways: Iterable[Way]) -> int:
    return sum(way.stored_bytes for way in ways)


# ---- files ----


@dataclass(frozen=True, slots=True)
class _Blob:
    """`first_ms`: since when somebody holds it of whom the actor may know; `shared`: another one of those does."""

    state: str
    sealed_bytes: int | None
    seal_ms: int | None
    first_ms: int
    shared: bool


def _blobs(connection: Connection, viewed: Viewed, files: Sequence[Sha256]) -> dict[Sha256, _Blob]:
    held = (
        select(hold.c.sha256, func.min(hold.c.held_ms), func.max(repo.c.id != viewed.repo_id))
        .join_from(hold, repo, repo.c.id == hold.c.repo_id)
        .where(hold.c.sha256.in_(files), hold.c.committed.is_(True))
        .where(or_(repo.c.id == viewed.repo_id, readable(viewed.actor)))
        .group_by(hold.c.sha256)
    )
    holders = {row[0]: (row[1], bool(row[2])) for row in connection.execute(held)}
    rows = connection.execute(
        select(blob.c.sha256, blob.c.state, blob.c.seal_ms, func.length(blob.c.sealed).label("sealed_bytes")).where(
            blob.c.sha256.in_(files)
        )
    )
    return {
        row.sha256: _Blob(row.state, row.sealed_bytes, row.seal_ms, *holders.get(row.sha256, (viewed.now_ms, False)))
        for row in rows
    }


def _file_cost(viewed: Viewed, file: File, row: _Blob, tensors: Sequence[Shown]) -> FileCost:
    """As the rule has it: what would not have been sealed, or not yet, but for what is hidden, is told so."""
    if row.state == "damaged":
        return FileCost(file, "damaged", file.size_bytes, 0)
    as_it_is = FileCost(file, "raw", file.size_bytes, file.size_bytes if row.shared else 0)
    early = row.seal_ms is not None and row.seal_ms < row.first_ms and viewed.now_ms < row.first_ms + SETTLE_MS
    if row.seal_ms is None or early:
        return replace(as_it_is, state="waiting")
    if row.sealed_bytes is None:
        return as_it_is
    new = row.sealed_bytes + sum(one.stored_bytes for one in tensors if not one.shared)
    if new > file.size_bytes * (1 - viewed.margin):
        return as_it_is
    return FileCost(
        file,
        "sealed",
        row.sealed_bytes + sum(one.stored_bytes for one in tensors),
        sum(one.stored_bytes for one in tensors if one.shared),
        _ways(tensors),
    )


def _ways(tensors: Iterable[Shown]) -> tuple[Way, ...]:
    groups: dict[str, list[Shown]] = {}
    for one in tensors:
        groups.setdefault(one.kind, []).append(one)
    made = [
        Way(
            kind,
            len(found),
            sum(one.raw_bytes for one in found),
            sum(one.stored_bytes for one in found),
            sum(one.alone_bytes for one in found),
            sum(one.stored_bytes for one in found if one.shared),
        )
        for kind, found in groups.items()
    ]
    return tuple(sorted(made, key=lambda way: (-way.raw_bytes, way.kind)))


# ---- tensors ----


def tensors_of(connection: Connection, viewed: Viewed, files: Sequence[Sha256]) -> dict[Sha256, list[Shown]]:
    """The stored tensors of one batch of sealed files."""
    mine = blob_tensor.c.sha256.in_(files)
    ours = select(blob_tensor.c.tensor).where(mine)
    direct: dict[int, list[int]] = {}
    for child, parent in connection.execute(
        select(tensor_parent.c.tensor, tensor_parent.c.parent).where(tensor_parent.c.tensor.in_(ours))
    ):
        direct.setdefault(child, []).append(parent)
    hidden = _hidden(connection, viewed, files) if direct else set()
    shared = set(connection.execute(ours.where(_used_elsewhere(viewed)).distinct()).scalars())
    rows = connection.execute(
        select(
            blob_tensor.c.sha256,
            tensor.c.id,
            tensor.c.key,
            tensor.c.size,
            tensor.c.length,
            tensor.c.alone_bytes,
            tensor.c.kind,
            tensor.c.dtype,
        )
        .join_from(blob_tensor, tensor, tensor.c.id == blob_tensor.c.tensor)
        .where(mine)
    )
    found: dict[Sha256, list[Shown]] = {}
    for row in rows:
        parents = () if row.id in hidden else tuple(direct.get(row.id, ()))
        alone = CHUNKS if row.dtype == "BYTES" else ALONE
        found.setdefault(Sha256(row.sha256), []).append(
            Shown(
                id=row.id,
                key=row.key,
                kind=row.kind if parents else alone,
                raw_bytes=row.size,
                stored_bytes=row.length if parents else row.alone_bytes,
                alone_bytes=row.alone_bytes,
                shared=row.id in shared,
                parents=parents,
            )
        )
    return found


def _used_elsewhere(viewed: Viewed) -> ColumnElement[bool]:
    """Of rows of `blob_tensor`: whether a file of another repo uses the tensor, of which the actor may know."""
    other = blob_tensor.alias()
    return exists().where(
        other.c.tensor == blob_tensor.c.tensor,
        hold.c.sha256 == other.c.sha256,
        hold.c.committed.is_(True),
        hold.c.repo_id != viewed.repo_id,
        repo.c.id == hold.c.repo_id,
        readable(viewed.actor),
    )


def _hidden(connection: Connection, viewed: Viewed, files: Sequence[Sha256]) -> set[int]:
    """Tensors of these files that stand on something of which the actor may not know."""
    above = (
        select(tensor_parent.c.tensor.label("root"), tensor_parent.c.parent.label("id"))
        .join(blob_tensor, blob_tensor.c.tensor == tensor_parent.c.tensor)
        .where(blob_tensor.c.sha256.in_(files))
        .cte("above", recursive=True)
    )
    link = tensor_parent.alias()
    above = above.union(select(above.c.root, link.c.parent).join(above, link.c.tensor == above.c.id))
    seen = exists().where(
        blob_tensor.c.tensor == above.c.id,
        hold.c.sha256 == blob_tensor.c.sha256,
        hold.c.committed.is_(True),
        repo.c.id == hold.c.repo_id,
        or_(repo.c.id == viewed.repo_id, readable(viewed.actor)),
    )
    held = exists().where(
        blob_tensor.c.tensor == above.c.id,
        hold.c.sha256 == blob_tensor.c.sha256,
        repo.c.id == hold.c.repo_id,
        repo.c.state == "live",
    )
    rows = connection.execute(select(above.c.root, held.label("held")).where(~seen)).all()
    hidden = {row.root for row in rows if row.held}
    gone = {row.root for row in rows} - hidden
    return hidden | _used_unseen(connection, viewed, sorted(gone))


def _used_unseen(connection: Connection, viewed: Viewed, tensors: Sequence[int]) -> set[int]:
    """Those that a file uses of which the actor may not know."""
    found: set[int] = set()
    for batch in batches(tensors):
        asked = (
            select(blob_tensor.c.tensor)
            .join(hold, hold.c.sha256 == blob_tensor.c.sha256)
            .join(repo, repo.c.id == hold.c.repo_id)
            .where(blob_tensor.c.tensor.in_(batch), repo.c.id != viewed.repo_id, repo.c.state == "live")
            .where(~readable(viewed.actor))
        )
        found |= set(connection.execute(asked.distinct()).scalars())
    return found


# ---- parents ----


@dataclass(frozen=True, slots=True)
class _User:
    """A file that the actor may read, and the best of the repos that hold it."""

    sha256: Sha256
    rid: RepoId
    path: str
    rank: tuple[bool, bool, int]
    """Another repo than the one that is looked at; private; since when it is held."""


def _parents(
    connection: Connection, viewed: Viewed, sha256: Sha256, tensors: Sequence[Shown], declared: frozenset[str]
) -> tuple[Parent, ...]:
    """The files that this one stands on: those that most of it does."""
    weights: dict[int, int] = {}
    for one in tensors:
        for parent in one.parents:
            weights[parent] = weights.get(parent, 0) + one.raw_bytes
    if not weights:
        return ()
    asked = sorted(weights, key=lambda one: -weights[one])[:PARENT_TENSORS_ASKED]
    users, uses = _users(connection, viewed, sha256, asked)
    found: list[Parent] = []
    left = set(asked)
    while left and uses and len(found) < PARENT_FILES_MAX:
        best = min(uses, key=lambda name: (-sum(weights[one] for one in uses[name] & left), users[name].rank, name))
        if not uses[best] & left:
            break
        left -= uses.pop(best)
        found.append(_parent(connection, viewed, users[best], tensors, declared))
    if left and len(found) < PARENT_FILES_MAX:
        on = [one for one in tensors if left & set(one.parents)]
        found.append(Parent(None, "", None, "no longer here", sum(one.raw_bytes for one in on), len(on)))
    return tuple(sorted(found, key=lambda one: -one.raw_bytes))


def by_key(connection: Connection, viewed: Viewed, cost: FileCost) -> dict[bytes, tuple[Shown, Parent | None]]:
    """The tensors of a file by their keys, each with that one of the file's parents on which it stands."""
    if not cost.ways:
        return {}  # nothing of its tensors may be told, or it has none
    shown = tensors_of(connection, viewed, [cost.file.sha256]).get(cost.file.sha256, [])
    theirs = [(one, _tensors_in(connection, one.sha256)) for one in cost.parents if one.sha256]
    gone = next((one for one in cost.parents if one.sha256 is None), None)
    return {
        one.key: (one, next((parent for parent, ids in theirs if not ids.isdisjoint(one.parents)), gone))
        if one.parents
        else (one, None)
        for one in shown
    }


def _tensors_in(connection: Connection, sha256: Sha256) -> set[int]:
    return set(connection.execute(select(blob_tensor.c.tensor).where(blob_tensor.c.sha256 == sha256)).scalars())


def _users(
    connection: Connection, viewed: Viewed, sha256: Sha256, tensors: Sequence[int]
) -> tuple[dict[Sha256, _User], dict[Sha256, set[int]]]:
    rows = connection.execute(
        select(
            blob_tensor.c.tensor,
            blob_tensor.c.sha256,
            hold.c.path,
            hold.c.held_ms,
            repo.c.id,
            repo.c.type,
            repo.c.namespace,
            repo.c.name,
            repo.c.private,
        )
        .join_from(blob_tensor, hold, hold.c.sha256 == blob_tensor.c.sha256)
        .join(repo, repo.c.id == hold.c.repo_id)
        .where(blob_tensor.c.tensor.in_(tensors), blob_tensor.c.sha256 != sha256, hold.c.committed.is_(True))
        .where(or_(repo.c.id == viewed.repo_id, readable(viewed.actor)))
        .limit(PARENT_USERS_READ)
    )
    users: dict[Sha256, _User] = {}
    uses: dict[Sha256, set[int]] = {}
    for row in rows:
        rank = (row.id != viewed.repo_id, row.private, row.held_ms)
        user = _User(Sha256(row.sha256), RepoId(row.type, row.namespace, row.name), row.path, rank)
        if user.sha256 not in users or rank < users[user.sha256].rank:
            users[user.sha256] = user
        uses.setdefault(user.sha256, set()).add(row.tensor)
    return users, uses


def _parent(
    connection: Connection, viewed: Viewed, user: _User, tensors: Sequence[Shown], declared: frozenset[str]
) -> Parent:
    theirs = _tensors_in(connection, user.sha256)
    on = [one for one in tensors if not theirs.isdisjoint(one.parents)]
    why: Why = "similar weights"
    if not user.rank[0]:
        why = "same repo"
    elif user.rid.type == "model" and names.key(user.rid.full) in declared:
        why = "declared base model"
    return Parent(user.rid, user.path, user.sha256, why, sum(one.raw_bytes for one in on), len(on))


def _declared(connection: Connection, repo_id: int) -> frozenset[str]:
    """The keys of the models that the repo's card names as its bases."""
    card = connection.execute(select(catalog.c.card).where(catalog.c.repo_id == repo_id)).scalar()
    front: Any = msgspec.json.decode(card) if card else {}
    keys = set()
    for text in cards.base_models(front) if isinstance(front, dict) else ():
        try:
            keys.add(names.key(names.repo_id("model", text).full))
        except Invalid:
            continue  # somebody's text
    return frozenset(keys)


def _together(files: Iterable[FileCost]) -> tuple[Parent, ...]:
    """The repos that a revision stands on, each once, the one first that most of it does."""
    found: dict[RepoId | None, Parent] = {}
    for cost in files:
        for one in cost.parents:
            known = found.get(one.rid)
            if known is None:
                found[one.rid] = replace(one, path="", sha256=None)
            else:
                found[one.rid] = replace(
                    known, raw_bytes=known.raw_bytes + one.raw_bytes, tensors=known.tensors + one.tensors
                )
    return tuple(sorted(found.values(), key=lambda one: (-one.raw_bytes, one.rid is None)))


WAYS: Mapping[str, str] = {
    ALONE: "on its own, without a parent: the exponents of floating-point numbers take few bits",
    CHUNKS: "what is no tensor (headers, text), in pieces found again wherever they lie",
    "delta": "as the difference to its parent",
    "exact": "nothing is left to store: its parent tells it wholly",
    "conditional": "as seen from its parent, which is related only weakly",
    "zstd": "by general compression of what its parent does not tell",
    "raw": "as it is",
    "linear": "as a weighted sum of its parents",
    "slerp": "as a merge of its parents on a sphere",
    "mask": "as its parent with weights set to zero",
    "lowrank": "as its parent and a product of two thin matrices",
    "cast": "as its parent in another number format",
    "requant": "as its parent quantized once more",
    "prefix": "as its parent with rows added or left out",
    "reordered": "as its parent with rows in another order",
    "scaled": "as its parent divided by scales and rounded",
    "graded": "as its parent rounded to the codes of a quantization",
}
"""Words of a kind, as the codec names it (`lowrank+delta`), for people."""


def told(kind: str) -> str:
    """A kind in words; as it is named, where there are none."""
    words = [WAYS[word] for part in kind.split("+") for word in part.split() if word in WAYS]
    return "; ".join(dict.fromkeys(words)) or kind
