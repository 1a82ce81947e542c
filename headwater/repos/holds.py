"""Holds: which repo may read which blob and which xorb; and so which bytes nobody needs any more.

A blob belongs to nobody: the same bytes may be held by many repos. A hold is made only by whoever showed that he has
the bytes (by sending them, or by reading them in a repo that he sees), never by whoever merely names their SHA-256
(T17). It is *pending* until a commit names it, and then stays as long as the repo does, since history is never lost.
Whoever sees a repo may open a pull request: so a pending one is for him who sent it, and for who may write to the repo.

A deleted repo keeps its holds as long as it can be brought back: they keep bytes, and let nobody read or name anything.

Refuses to know: how bytes are kept, what a commit is, and HTTP. Every question here is answered by SQL alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.sql import false, true

from headwater.accounts.actor import Actor, visible
from headwater.accounts.actors import author_id
from headwater.ground.clock import Clock
from headwater.ground.db import Database, batches
from headwater.ground.errors import Invalid
from headwater.ground.names import Sha256
from headwater.repos.tables import hold, repo, xorb_hold
from headwater.repos.values import Repo
from headwater.store.tables import blob, blob_xorb, xorb

NAMED_MAX = 100  # missing objects listed in one error; the rest is counted
PAGE_MAX = 1000  # rows of one page, so that no answer grows with the repo


@dataclass(frozen=True, slots=True)
class LfsFile:
    """A blob that a repo holds: `path` is the last one it was committed under; pending ones have none."""

    sha256: Sha256
    path: str
    size_bytes: int
    held_ms: int


@dataclass(frozen=True, slots=True)
class Pending:
    repo_id: int
    sha256: Sha256
    held_ms: int


def missing_objects(missing: Sequence[str]) -> Invalid:
    """The refusal of a commit or push that names objects its repo does not hold; every OID is listed (T16)."""
    more = f" and {len(missing) - NAMED_MAX} more" if len(missing) > NAMED_MAX else ""
    return Invalid(
        "LFS pointer pointed to a file that does not exist in this repo; upload these objects first: "
        + ", ".join(missing[:NAMED_MAX])
        + more,
        status=422,
        missing=list(missing[:NAMED_MAX]),
    )


_FRESH = insert(hold).from_select(
    ["repo_id", "sha256", "path", "committed", "held_ms", "sender_id"],
    # Only of a live repo: an upload that outlives its repo must not keep bytes for ever.
    select(
        repo.c.id,
        blob.c.sha256,
        literal(""),
        false(),
        bindparam("now", type_=hold.c.held_ms.type),
        bindparam("sender", type_=hold.c.sender_id.type),
    )
    .join_from(repo, blob, true())
    .where(
        repo.c.id == bindparam("repo"), repo.c.state == "live", blob.c.sha256.in_(bindparam("names", expanding=True))
    ),
)
# A second upload of the same bytes starts the grace period anew.
_HOLD = _FRESH.on_conflict_do_update(
    index_elements=[hold.c.repo_id, hold.c.sha256],
    set_={"held_ms": _FRESH.excluded.held_ms, "sender_id": _FRESH.excluded.sender_id},
    where=hold.c.committed.is_(False),
)
_OF_LIVE = exists().where(repo.c.id == hold.c.repo_id, repo.c.state == "live")
_SIZES = select(hold.c.sha256, blob.c.size).join_from(hold, blob, hold.c.sha256 == blob.c.sha256).where(
    hold.c.repo_id == bindparam("repo"), hold.c.sha256.in_(bindparam("names", expanding=True)), _OF_LIVE
)  # fmt: skip
_HAS = select(literal(1)).where(hold.c.repo_id == bindparam("repo"), hold.c.sha256 == bindparam("name"), _OF_LIVE)
_COMMIT = (
    update(hold)
    .where(hold.c.repo_id == bindparam("of_repo"), hold.c.sha256 == bindparam("of_name"), _OF_LIVE)
    .values(committed=True, path=bindparam("at_path"))
)
_KNOWN = select(blob.c.sha256).where(blob.c.sha256.in_(bindparam("names", expanding=True)))
_FRESH_XORBS = insert(xorb_hold).from_select(
    ["repo_id", "xorb", "held_ms", "sender_id"],
    select(
        repo.c.id,
        xorb.c.hash,
        bindparam("now", type_=xorb_hold.c.held_ms.type),
        bindparam("sender", type_=xorb_hold.c.sender_id.type),
    )
    .join_from(repo, xorb, true())
    .where(repo.c.id == bindparam("repo"), repo.c.state == "live", xorb.c.hash.in_(bindparam("names", expanding=True))),
)
_HOLD_XORBS = _FRESH_XORBS.on_conflict_do_update(
    index_elements=[xorb_hold.c.repo_id, xorb_hold.c.xorb],
    set_={"held_ms": _FRESH_XORBS.excluded.held_ms, "sender_id": _FRESH_XORBS.excluded.sender_id},
)


class Holds:
    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    # A repo's own blobs

    def hold(self, repo_id: int, names: Iterable[Sha256], sender_id: int | None = None) -> None:
        """The repo may name these blobs in a commit from now on; who calls this has seen the bytes arrive.

        `sender_id` sent them, and may name them too if he may not write to the repo.
        """
        with self._db.write() as connection:
            self.hold_in(connection, repo_id, names, sender_id)

    def hold_in(
        self, connection: Connection, repo_id: int, names: Iterable[Sha256], sender_id: int | None = None
    ) -> None:
        """`hold` inside the caller's transaction. A name that is no blob is a 422."""
        now_ms = self._clock.now_ms()
        for batch in batches(names):
            known = set(connection.execute(_KNOWN, {"names": batch}).scalars())
            if len(known) < len(set(batch)):
                raise missing_objects(sorted(set(batch) - known))
            connection.execute(_HOLD, {"repo": repo_id, "names": batch, "now": now_ms, "sender": sender_id})

    def has(self, repo_id: int, name: Sha256) -> bool:
        with self._db.read() as connection:
            return connection.execute(_HAS, {"repo": repo_id, "name": name}).first() is not None

    def sizes(self, repo_id: int, names: Iterable[Sha256]) -> dict[Sha256, int]:
        """Of those the repo holds, pending or not: name -> size in bytes. What is absent is not held."""
        return self._sizes(_SIZES, repo_id, names)

    def nameable(self, actor: Actor, of: Repo, names: Iterable[Sha256]) -> dict[Sha256, int]:
        """As `sizes`, of those that this actor may name in a commit to the repo."""
        return self._sizes(_SIZES.where(_may_name(actor, of)), of.id, names)

    def _sizes(self, asked: Select[tuple[str, int]], repo_id: int, names: Iterable[Sha256]) -> dict[Sha256, int]:
        found: dict[Sha256, int] = {}
        with self._db.read() as connection:
            for batch in batches(names):
                rows = connection.execute(asked, {"repo": repo_id, "names": batch})
                found.update((Sha256(row.sha256), row.size) for row in rows)
        return found

    def shown(self, repo_id: int, name: Sha256) -> int | None:
        """The size of a blob that some commit of the repo names. Pending ones are nobody's to read yet: None."""
        with self._db.read() as connection:
            rows = connection.execute(_SIZES.where(hold.c.committed.is_(True)), {"repo": repo_id, "names": [name]})
            return next((row.size for row in rows), None)

    def commit(self, connection: Connection, repo_id: int, paths: Mapping[Sha256, str]) -> None:
        """Marks holds as named by a commit, inside the durable transaction that comes before the ref moves.

        Before and not after: a crash in between leaves bytes that nobody needs, never a commit without its bytes.
        A hold that expired since it was looked up is a 422, and the caller's transaction is undone.
        """
        missing = [
            name
            for name, path in paths.items()
            if connection.execute(_COMMIT, {"of_repo": repo_id, "of_name": name, "at_path": path}).rowcount == 0
        ]
        if missing:
            raise missing_objects(missing)

    def lfs_files(self, repo_id: int, after: str = "", limit: int = PAGE_MAX) -> list[LfsFile]:
        """Committed blobs of the repo in order of their names, after `after`."""
        asked = (
            select(hold.c.sha256, hold.c.path, hold.c.held_ms, blob.c.size)
            .join_from(hold, blob, hold.c.sha256 == blob.c.sha256)
            .where(hold.c.repo_id == repo_id, hold.c.committed.is_(True), hold.c.sha256 > after, _OF_LIVE)
            .order_by(hold.c.sha256)
            .limit(min(limit, PAGE_MAX))
        )
        with self._db.read() as connection:
            return [LfsFile(Sha256(r.sha256), r.path, r.size, r.held_ms) for r in connection.execute(asked)]

    # Other repos' blobs

    def readable(self, actor: Actor, name: Sha256) -> bool:
        """Whether some repo that this actor may read has the blob in its history."""
        with self._db.read() as connection:
            return bool(self._readable(connection, actor, [name]))

    def hold_if_readable(self, actor: Actor, of: Repo, names: Iterable[Sha256]) -> set[Sha256]:
        """Lets the repo hold those that the actor can read elsewhere anyway; returns the ones he may name there now.

        For the others the caller answers as if they did not exist: he must send the bytes (T17). So he must for one
        that was found damaged: that heals it.
        """
        held: set[Sha256] = set()
        with self._db.write() as connection:
            for batch in batches(names):
                found = self._readable(connection, actor, batch)
                self.hold_in(connection, of.id, sorted(found), author_id(actor))
                whole = _SIZES.where(blob.c.state == "whole", _may_name(actor, of))
                rows = connection.execute(whole, {"repo": of.id, "names": batch})
                held.update(Sha256(row.sha256) for row in rows)
        return held

    def _readable(self, connection: Connection, actor: Actor, names: Sequence[Sha256]) -> set[Sha256]:
        asked = (
            select(hold.c.sha256)
            .join_from(hold, repo, hold.c.repo_id == repo.c.id)
            .where(hold.c.sha256.in_(names), hold.c.committed.is_(True), contents_visible(actor))
            .distinct()
        )
        return {Sha256(row.sha256) for row in connection.execute(asked)}

    # Xorbs

    def hold_xorbs(self, repo_id: int, hashes: Iterable[str], sender_id: int | None = None) -> None:
        """The repo's writers may build files from these xorbs, and `sender_id`, who sent them here."""
        with self._db.write() as connection:
            self.hold_xorbs_in(connection, repo_id, hashes, sender_id)

    def hold_xorbs_in(
        self, connection: Connection, repo_id: int, hashes: Iterable[str], sender_id: int | None = None
    ) -> None:
        now_ms = self._clock.now_ms()
        for batch in batches(hashes):
            connection.execute(_HOLD_XORBS, {"repo": repo_id, "names": batch, "now": now_ms, "sender": sender_id})

    def xorb_readable(self, actor: Actor, name: str) -> bool:
        return bool(self.xorbs_readable(actor, [name]))

    def xorbs_readable(self, actor: Actor, hashes: Iterable[str]) -> set[str]:
        """Those of these xorbs that this actor sent, or that a committed blob is built from, in a repo he may read."""
        found: set[str] = set()
        with self._db.read() as connection:
            for batch in batches(hashes):
                sent = (
                    select(xorb_hold.c.xorb)
                    .join_from(xorb_hold, repo, xorb_hold.c.repo_id == repo.c.id)
                    .where(xorb_hold.c.xorb.in_(batch), _sent(actor, xorb_hold.c.sender_id), contents_visible(actor))
                )
                through_a_blob = (
                    select(blob_xorb.c.xorb)
                    .join_from(blob_xorb, hold, hold.c.sha256 == blob_xorb.c.sha256)
                    .join(repo, hold.c.repo_id == repo.c.id)
                    .where(blob_xorb.c.xorb.in_(batch), hold.c.committed.is_(True), contents_visible(actor))
                )
                found.update(connection.execute(sent.union(through_a_blob)).scalars())
        return found

    def may_use_xorb(self, actor: Actor, of: Repo, name: str) -> bool:
        """Whether the repo itself holds the xorb, or a blob that is built from it, which this actor may name there.

        The question of a Xet token.
        """
        built = select(hold.c.sha256).join_from(hold, blob_xorb, hold.c.sha256 == blob_xorb.c.sha256)
        sent = exists().where(
            xorb_hold.c.repo_id == of.id, xorb_hold.c.xorb == name, _writes_or_sent(actor, of, xorb_hold.c.sender_id)
        )
        there = or_(sent, exists(built.where(hold.c.repo_id == of.id, blob_xorb.c.xorb == name, _may_name(actor, of))))
        asked = select(and_(exists().where(repo.c.id == of.id, repo.c.state == "live"), there))
        with self._db.read() as connection:
            return bool(connection.execute(asked).scalar_one())

    # What the sweep asks

    def pending(self, before_ms: int, limit: int = PAGE_MAX) -> list[Pending]:
        """Holds older than `before_ms` that no commit has named, oldest first."""
        asked = (
            select(hold.c.repo_id, hold.c.sha256, hold.c.held_ms)
            .where(hold.c.committed.is_(False), hold.c.held_ms < before_ms)
            .order_by(hold.c.held_ms)
            .limit(min(limit, PAGE_MAX))
        )
        with self._db.read() as connection:
            return [Pending(r.repo_id, Sha256(r.sha256), r.held_ms) for r in connection.execute(asked)]

    def release(self, old: Iterable[Pending]) -> int:
        """Drops those that are still as old and still pending; returns how many. A commit that came first wins."""
        asked = delete(hold).where(
            hold.c.repo_id == bindparam("of_repo"),
            hold.c.sha256 == bindparam("of_name"),
            hold.c.held_ms == bindparam("of_ms"),
            hold.c.committed.is_(False),
        )
        with self._db.write() as connection:
            return sum(
                connection.execute(asked, {"of_repo": p.repo_id, "of_name": p.sha256, "of_ms": p.held_ms}).rowcount
                for p in old
            )

    def unheld_blobs(self, before_ms: int, after: str = "", limit: int = PAGE_MAX) -> list[Sha256]:
        """Blobs made before `before_ms` that no repo holds, by name. Deleting the row of a held one fails anyway."""
        asked = _page(
            select(blob.c.sha256).where(
                blob.c.created_ms < before_ms, ~exists().where(hold.c.sha256 == blob.c.sha256), blob.c.sha256 > after
            ),
            blob.c.sha256,
            limit,
        )
        with self._db.read() as connection:
            return [Sha256(row.sha256) for row in connection.execute(asked)]

    def unheld_xorbs(self, before_ms: int, after: str = "", limit: int = PAGE_MAX) -> list[str]:
        """Xorbs last offered before `before_ms` of which no blob is built.

        A xorb's own hold says who may build on it, not that anybody did: it does not keep the xorb.
        """
        unused = ~exists().where(blob_xorb.c.xorb == xorb.c.hash)
        asked = _page(
            select(xorb.c.hash).where(
                xorb.c.state == "here", xorb.c.offered_ms < before_ms, unused, xorb.c.hash > after
            ),
            xorb.c.hash,
            limit,
        )
        with self._db.read() as connection:
            return [row.hash for row in connection.execute(asked)]


def holding(connection: Connection, repo_ids: Iterable[int]) -> set[int]:
    """Those of these repos of which some commit names a large file."""
    found: set[int] = set()
    for batch in batches(repo_ids):
        held = select(hold.c.repo_id).where(hold.c.repo_id.in_(batch), hold.c.committed.is_(True)).distinct()
        found.update(connection.execute(held).scalars())
    return found


def _may_name(actor: Actor, of: Repo) -> ColumnElement[bool]:
    """The WHERE clause over `hold`: committed, or pending and his who sent it or may write to the repo."""
    return or_(hold.c.committed.is_(True), _writes_or_sent(actor, of, hold.c.sender_id))


def _writes_or_sent(actor: Actor, of: Repo, sender_id: ColumnElement[int | None]) -> ColumnElement[bool]:
    if actor.may_write(namespace_id=of.namespace_id, creator_id=of.creator_id):
        return true()
    return _sent(actor, sender_id)


def _sent(actor: Actor, sender_id: ColumnElement[int | None]) -> ColumnElement[bool]:
    return false() if actor.user_id is None else sender_id == actor.user_id


def contents_visible(actor: Actor) -> ColumnElement[bool]:
    """The WHERE clause over `repo` for reading files, not only names: a gated repo's files are its members' alone."""
    live = and_(repo.c.state == "live", repo.c.disabled.is_(False), visible(actor, repo.c.private, repo.c.namespace_id))
    if actor.is_admin:
        return live
    mine = repo.c.namespace_id.in_(sorted(actor.namespace_ids)) if actor.namespace_ids else false()
    return and_(live, or_(repo.c.gated.is_(None), mine))


def _page(asked: Select[tuple[str]], key: ColumnElement[str], limit: int) -> Select[tuple[str]]:
    return asked.order_by(key).limit(min(limit, PAGE_MAX))
