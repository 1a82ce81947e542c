"""The append-only record of what happened. Everything derived starts from it and names the position it has reached.

Knows no room: an event is a kind, whom it concerns and a small JSON object. Rows are never changed nor deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, Connection, Index, Integer, Table, Text, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.sql import func

from headwater.ground.db import Database, metadata

READ_MAX = 500  # events in one transaction

event = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("repo_id", Integer),
    Column("actor_id", Integer),
    Column("data", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Index("event_repo", "repo_id", "id"),
    sqlite_autoincrement=True,  # a position is never given twice, even if the last rows were lost
)

position = Table(
    "event_position",
    metadata,
    Column("follower", Text, primary_key=True),
    Column("event_id", Integer, nullable=False),
)

KINDS: dict[str, str] = {
    "user.created": "A user account was made.",
    "user.changed": "A user's name, e-mail, password or state changed.",
    "org.created": "An organization was made.",
    "org.changed": "An organization's settings changed.",
    "member.changed": "Somebody joined or left an organization, or got another role.",
    "namespace.renamed": "A user or an organization got another name.",
    "namespace.deleted": "A user or an organization was deleted; its name is kept from reuse.",
    "token.created": "An access token was made.",
    "token.revoked": "An access token was revoked.",
    "repo.created": "A repo was made.",
    "repo.moved": "A repo got another name or owner.",
    "repo.changed": "A repo's settings changed.",
    "repo.deleted": "A repo was deleted.",
    "repo.undeleted": "A deleted repo was brought back.",
    "repo.purged": "A deleted repo can't be brought back any more: its time was over, or somebody would not wait.",
    "repo.liked": "Somebody liked a repo.",
    "repo.unliked": "Somebody took a like back.",
    "ref.moved": "A branch, tag or pull ref was created, moved or deleted: a commit, a push, a squash.",
    "blob.damaged": "Stored bytes were found not to match their hash.",
    "copy.damaged": "One of the two copies of a tensor was found damaged; the other one serves.",
}
"""Every kind there is; `docs/reference/events.md` is generated from it."""


@dataclass(frozen=True, slots=True)
class Event:
    id: int
    kind: str
    repo_id: int | None
    actor_id: int | None
    data: dict[str, Any]
    at_ms: int


_INSERT = insert(event)
_REACH = upsert(position)
_REACH = _REACH.on_conflict_do_update(index_elements=[position.c.follower], set_={"event_id": _REACH.excluded.event_id})


def append(
    connection: Connection,
    kind: str,
    at_ms: int,
    *,
    repo_id: int | None = None,
    actor_id: int | None = None,
    **data: Any,
) -> None:
    """One line, inside the caller's transaction: the event is there exactly if what it tells of is."""
    assert kind in KINDS, kind
    connection.execute(
        _INSERT,
        {
            "kind": kind,
            "repo_id": repo_id,
            "actor_id": actor_id,
            "data": msgspec.json.encode(data).decode(),
            "at_ms": at_ms,
        },
    )


def since(connection: Connection, after_id: int, limit: int = READ_MAX) -> list[Event]:
    rows = connection.execute(select(event).where(event.c.id > after_id).order_by(event.c.id).limit(limit))
    return [
        Event(row.id, row.kind, row.repo_id, row.actor_id, msgspec.json.decode(row.data), row.at_ms) for row in rows
    ]


def last_id(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(event.c.id), 0))).scalar_one())


def reached(connection: Connection, follower: str) -> int:
    """The last event that a follower has taken; 0 if none."""
    return connection.execute(select(position.c.event_id).where(position.c.follower == follower)).scalar() or 0


def reach(connection: Connection, follower: str, event_id: int) -> None:
    connection.execute(_REACH, {"follower": follower, "event_id": event_id})


def follow(db: Database, follower: str, take: Callable[[Connection, list[Event]], None]) -> int:
    """Hands what happened since the last call to `take`, batch by batch; how many events there were.

    What `take` writes and the position are one transaction: after a crash nothing is left out, and nothing is done
    twice but what may be. For one caller at a time.
    """
    followed = 0
    while True:
        with db.read() as connection:  # usually there is nothing new, and no writer need wait
            batch = since(connection, reached(connection, follower))
        if not batch:
            return followed
        with db.write_soft() as connection:
            take(connection, batch)
            reach(connection, follower, batch[-1].id)
        followed += len(batch)
