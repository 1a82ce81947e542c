"""A namespace at a glance: how many repos of each type an actor may see there, and what they weigh."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, bindparam, func, select

from headwater.accounts.actor import Actor, visible
from headwater.catalog.tables import catalog, standing
from headwater.ground import names
from headwater.ground.db import Database
from headwater.ground.names import RepoType
from headwater.repos.tables import repo


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


def storage(db: Database, actor: Actor, namespace: str, limit: int) -> list[Weighed]:
    """Repos with the bytes that their files add up to, the heaviest first."""
    used = func.coalesce(catalog.c.used_storage, 0).label("used")
    query = (
        select(repo, func.coalesce(standing.c.modified_ms, repo.c.updated_ms).label("modified_ms"), used)
        .outerjoin(catalog, catalog.c.repo_id == repo.c.id)
        .outerjoin(standing, standing.c.repo_id == repo.c.id)
        .where(_of(namespace), repo.c.state == "live", visible(actor, repo.c.private, repo.c.namespace_id))
        .order_by(used.desc(), repo.c.id)
        .limit(limit)
    )
    with db.read() as connection:
        return [
            Weighed(names.repo_type(row.type), f"{row.namespace}/{row.name}", row.private, row.modified_ms, row.used)
            for row in connection.execute(query)
        ]


def _of(namespace: str) -> ColumnElement[bool]:
    return func.lower(repo.c.namespace) == bindparam("of_namespace", names.key(namespace))
