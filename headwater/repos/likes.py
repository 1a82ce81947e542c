"""Likes: who likes which repo. Everybody counts once; a like of a private repo is seen by those who see the repo.

Refuses to know: how likes are ranked (the catalog's business) and what a user's page looks like.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.sql import func

from headwater.accounts.actor import Actor, visible
from headwater.accounts.actors import author_id
from headwater.accounts.tables import namespace, user
from headwater.ground import events
from headwater.ground.clock import Clock
from headwater.ground.db import Database
from headwater.ground.errors import Forbidden, Unauthenticated
from headwater.repos.registry import as_repo
from headwater.repos.tables import like, repo
from headwater.repos.values import Repo

PAGE_MAX = 1000  # rows of one page: a popular repo has more likers than one answer should


@dataclass(frozen=True, slots=True)
class Liker:
    user_id: int
    name: str
    fullname: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Liked:
    repo: Repo
    at_ms: int


_LIKE = (
    insert(like)
    .from_select(
        ["user_id", "repo_id", "at_ms"],
        select(
            bindparam("user", type_=like.c.user_id.type), repo.c.id, bindparam("now", type_=like.c.at_ms.type)
        ).where(repo.c.id == bindparam("repo"), repo.c.state == "live"),
    )
    .on_conflict_do_nothing()
)
_UNLIKE = delete(like).where(like.c.user_id == bindparam("user"), like.c.repo_id == bindparam("repo"))
_MINE = select(like.c.at_ms).where(like.c.user_id == bindparam("user"), like.c.repo_id == bindparam("repo"))
_COUNT = select(func.count()).select_from(like).where(like.c.repo_id == bindparam("repo"))


class Likes:
    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    def like(self, actor: Actor, liked: Repo) -> None:
        """Liking twice is liking once. `liked` was opened by this actor, so he sees it."""
        user_id = _liker(actor)
        now_ms = self._clock.now_ms()
        with self._db.write() as connection:
            if connection.execute(_LIKE, {"user": user_id, "repo": liked.id, "now": now_ms}).rowcount:
                events.append(connection, "repo.liked", now_ms, repo_id=liked.id, actor_id=user_id)

    def unlike(self, actor: Actor, liked: Repo) -> None:
        user_id = _liker(actor)
        with self._db.write() as connection:
            if connection.execute(_UNLIKE, {"user": user_id, "repo": liked.id}).rowcount:
                events.append(connection, "repo.unliked", self._clock.now_ms(), repo_id=liked.id, actor_id=user_id)

    def count(self, repo_id: int) -> int:
        with self._db.read() as connection:
            return connection.execute(_COUNT, {"repo": repo_id}).scalar_one()

    def likes(self, user_id: int, repo_id: int) -> bool:
        """Whether this user likes that repo."""
        with self._db.read() as connection:
            return connection.execute(_MINE, {"user": user_id, "repo": repo_id}).first() is not None

    def likers(self, liked: Repo, after_user_id: int = 0, limit: int = PAGE_MAX) -> list[Liker]:
        """Who likes it, in order of user ids after `after_user_id`."""
        asked = (
            select(like.c.user_id, like.c.at_ms, namespace.c.name, user.c.fullname)
            .join_from(like, user, user.c.id == like.c.user_id)
            .join(namespace, namespace.c.id == user.c.id)
            .where(like.c.repo_id == liked.id, like.c.user_id > after_user_id)
            .order_by(like.c.user_id)
            .limit(min(limit, PAGE_MAX))
        )
        with self._db.read() as connection:
            return [Liker(r.user_id, r.name, r.fullname, r.at_ms) for r in connection.execute(asked)]

    def likes_of(self, viewer: Actor, user_id: int, after_repo_id: int = 0, limit: int = PAGE_MAX) -> list[Liked]:
        """What a user likes, as far as the viewer may know of it (T34), in order of repo ids after `after_repo_id`."""
        asked = (
            select(repo, like.c.at_ms)
            .join_from(like, repo, repo.c.id == like.c.repo_id)
            .where(
                like.c.user_id == user_id,
                like.c.repo_id > after_repo_id,
                repo.c.state == "live",
                visible(viewer, repo.c.private, repo.c.namespace_id),
            )
            .order_by(like.c.repo_id)
            .limit(min(limit, PAGE_MAX))
        )
        with self._db.read() as connection:
            return [Liked(as_repo(row), row.at_ms) for row in connection.execute(asked)]


def _liker(actor: Actor) -> int:
    user_id = author_id(actor)
    if user_id is None:
        raise Unauthenticated("Sign in to like a repo, or send a token.")
    if not actor.can_write:
        raise Forbidden("Your token has only the role 'read'; likes need a token with the role 'write'.")
    return user_id
