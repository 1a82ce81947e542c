"""Who uses a model, as far as an actor may see them: spaces that name it, models whose cards say they come from it."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, func, select

from headwater.accounts.actor import Actor, visible
from headwater.catalog.cards import RELATIONS, Relation
from headwater.catalog.search import Query, of_use, search
from headwater.catalog.tables import POSTING_SHIFT, posting, tag
from headwater.ground.db import Database
from headwater.ground.names import RepoType
from headwater.repos.tables import repo

SPACES_MAX = 100  # the Hub's own

_TAG = select(tag.c.id).where(tag.c.type == bindparam("of_type"), tag.c.key == bindparam("of_key"))


def spaces(db: Database, actor: Actor, model: str) -> list[str]:
    """The first of them, by what trends."""
    with db.read() as connection:
        # Most models are used by none, and to list none takes twenty times as long.
        if _tag(connection, "space", of_use("model", model)) is None:
            return []
    return [one.full_name for one in search(db, actor, Query(type="space", models=(model,), limit=SPACES_MAX)).rows]


def children(db: Database, actor: Actor, model: str) -> dict[Relation, int]:
    """How many models were made from it, by how; ways in which none was are left out."""
    found: dict[Relation, int] = {}
    with db.read() as connection:
        for relation in RELATIONS:
            tag_id = _tag(connection, "model", f"base_model:{relation}:{model}".lower())
            if tag_id is None:
                continue
            first = tag_id << POSTING_SHIFT
            counted = (
                select(func.count())
                .select_from(posting)
                .join(repo, repo.c.id == posting.c.id - first)
                .where(
                    posting.c.id.between(first, first + (1 << POSTING_SHIFT) - 1),
                    repo.c.state == "live",
                    visible(actor, repo.c.private, repo.c.namespace_id),
                )
            )
            if not actor.is_admin:
                counted = counted.where(repo.c.disabled.is_(False))
            count = connection.execute(counted).scalar_one()
            if count:
                found[relation] = count
    return found


def _tag(connection: Connection, kind: RepoType, key: str) -> int | None:
    found: int | None = connection.execute(_TAG, {"of_type": kind, "of_key": key}).scalar()
    return found
