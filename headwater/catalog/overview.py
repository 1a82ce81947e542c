"""A namespace at a glance: how many repos of each type an actor may see there, what they weigh, what a user likes."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, bindparam, func, or_, select

from headwater.accounts.actor import Actor, visible
from headwater.catalog.tables import catalog, standing
from headwater.ground import names
from headwater.ground.db import Database
from headwater.ground.names import RepoType
from headwater.repos.tables import like, repo


@dataclass(frozen=True, slots=True)
class Weighed:
    type: RepoType
    full_name: str
    private: bool
    modified_ms: int
    used_storage: int


def counts(db: Database, actor: Actor, namespace: str) -> dict[RepoType, int]:
    """Repos by type."""
    query = (
        select(repo.c.type, func.count())
        .where(_of(namespace), repo.c.state == "live", visible(actor, repo.c.private, repo.c.namespace_id))
        .group_by(repo.c.type)
    )
    with db.read() as connection:
        return {names.repo_type(kind): count for kind, count in connection.execute(query)}


def likes(db: Database, actor: Actor, user_id: int) -> int:
    """How many repos that the actor may see this user likes."""
    query = (
        select(func.count())
        .select_from(like)
        .join(repo, repo.c.id == like.c.repo_id)
        .where(like.c.user_id == user_id, repo.c.state == "live", visible(actor, repo.c.private, repo.c.namespace_id))
    )
    with db.read() as connection:
        return connection.execute(query).scalar_one()


@dataclass(frozen=True, slots=True)
class Weights:
    """`total_bytes`: of all repos, also of those on other pages. `next`: what to ask the next page `after`."""

    rows: list[Weighed]
    total_bytes: int
    next: tuple[int, int] | None


def storage(db: Database, actor: Actor, namespace: str, limit: int, after: tuple[int, int] | None = None) -> Weights:
    """Repos with the bytes that their files add up to, the heaviest first."""
    used = func.coalesce(catalog.c.used_storage, 0)
    theirs = (
        select(
            repo.c.id,
            repo.c.type,
            repo.c.namespace,
            repo.c.name,
            repo.c.private,
            func.coalesce(standing.c.modified_ms, repo.c.updated_ms).label("modified_ms"),
            used.label("used"),
        )
        .outerjoin(catalog, catalog.c.repo_id == repo.c.id)
        .outerjoin(standing, standing.c.repo_id == repo.c.id)
        .where(_of(namespace), repo.c.state == "live", visible(actor, repo.c.private, repo.c.namespace_id))
    )
    page = theirs.order_by(used.desc(), repo.c.id).limit(limit + 1)
    if after is not None:
        page = page.where(or_(used < after[0], and_(used == after[0], repo.c.id > after[1])))
    with db.read() as connection:
        total = connection.execute(select(func.coalesce(func.sum(theirs.subquery().c.used), 0))).scalar_one()
        rows = connection.execute(page).all()
    return Weights(
        [
            Weighed(names.repo_type(row.type), f"{row.namespace}/{row.name}", row.private, row.modified_ms, row.used)
            for row in rows[:limit]
        ],
        total,
        (rows[limit - 1].used, rows[limit - 1].id) if len(rows) > limit else None,
    )


def _of(namespace: str) -> ColumnElement[bool]:
    return func.lower(repo.c.namespace) == bindparam("of_namespace", names.key(namespace))
