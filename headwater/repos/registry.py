"""The registry: which repos there are, what they are called, and who gets one. `open` is the only way to a Repo.

Whoever may not know of a repo gets exactly what he would get if there were none (T33). A name that was given up leads
to where its repo went, and goes to nobody else by accident (T41). Rows are the truth of names; the git directory of a
repo is found by its number and never moves with its name.

Refuses to know: what is in a repo (commit, tree), which bytes it holds (holds), and how lists are made (catalog).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.sql import func

from headwater.accounts.actor import Actor, Want
from headwater.accounts.actors import author_id
from headwater.accounts.people import Namespace
from headwater.accounts.tables import namespace, org
from headwater.ground import events, names
from headwater.ground.clock import Clock
from headwater.ground.db import Database, batches
from headwater.ground.errors import (
    Conflict,
    Disabled,
    Forbidden,
    Gated,
    HeadwaterError,
    Invalid,
    RepoMissing,
    Unauthenticated,
)
from headwater.ground.faults import checkpoint
from headwater.ground.names import CommitId, FilePath, RepoId, Sha256
from headwater.ground.settings import Settings
from headwater.repos.git import Git
from headwater.repos.lru import Lru
from headwater.repos.moves import Moves
from headwater.repos.tables import hold, old_name, repo
from headwater.repos.trash import RECOVERABLE, Trash, freed_key, give_up, had_key
from headwater.repos.values import Repo

SDKS = ("gradio", "docker", "static", "streamlit")
GATES = ("auto", "manual")
OPEN_KEPT = 4096  # repos, less than 1 KB each: a busy hub's working set
LOOK_ALIKES_NAMED_MAX = 3  # in one warning; more would not help to choose a name
EXPIRED_AT_ONCE = 20  # repos in one transaction: each may hold many files, and other writers wait
DELETED_MAX = 1000  # deleted repos in one list, newest first; older ones are found by their names


class Moved(HeadwaterError):
    """The name leads to a repo that has another one now, which this actor may know of. 307, as the Hub answers."""

    code: ClassVar[str] = "Moved"
    status = 307
    exit_status: ClassVar[int] = 10
    meaning = "The repo has another name now; the answer leads there."

    def __init__(self, new: RepoId, **more: Any) -> None:
        super().__init__(f"This repo is now called {new.full}", **more)
        self.new = new


class _Unset:
    """`UNSET`: leave it as it is, where None has a meaning of its own."""


UNSET: Final = _Unset()


@dataclass(frozen=True, slots=True)
class Created:
    repo: Repo
    commit: CommitId
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deleted:
    """A deleted repo that can be brought back until `until_ms`. `repo.rid` is the name that it had."""

    repo: Repo
    deleted_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class _Namespace:
    """Where a new name is to stand; `id` None: among the repos that have no namespace."""

    id: int | None
    name: str | None
    default_visibility: str | None  # of an organization


_OPEN = select(repo).where(repo.c.type == bindparam("of_type"), repo.c.key == bindparam("of_key"))
_BY_ID = select(repo).where(repo.c.id == bindparam("of_id"), repo.c.state == "live")
_ELSEWHERE = (
    select(repo)
    .join_from(old_name, repo, old_name.c.repo_id == repo.c.id)
    .where(old_name.c.type == bindparam("of_type"), old_name.c.key == bindparam("of_key"), repo.c.state == "live")
)
_OLD = select(old_name).where(old_name.c.type == bindparam("of_type"), old_name.c.key == bindparam("of_key"))
_FORGET_OLD = delete(old_name).where(old_name.c.type == bindparam("of_type"), old_name.c.key == bindparam("of_key"))
_LEAVE_OLD = upsert(old_name)
_LEAVE_OLD = _LEAVE_OLD.on_conflict_do_update(
    index_elements=[old_name.c.type, old_name.c.key],
    set_={column: _LEAVE_OLD.excluded[column] for column in ("repo_id", "namespace_id", "at_ms")},
)
_NAMESPACE = (
    select(namespace.c.id, namespace.c.name, org.c.default_visibility)
    .join_from(namespace, org, org.c.id == namespace.c.id, isouter=True)
    .where(namespace.c.key == bindparam("of_key"), namespace.c.state == "live")
)
_RECOVERABLE = select(repo).where(RECOVERABLE)
_FOLDED: Any = func.replace(func.replace(func.lower(repo.c.name), "_", "-"), ".", "-")
for _ in range(3):  # runs of up to eight separators become one, as names.skeleton has it
    _FOLDED = func.replace(_FOLDED, "--", "-")
_LOOK_ALIKES = (
    select(repo.c.name)
    .where(
        repo.c.type == bindparam("of_type"),
        repo.c.namespace_id.is_not_distinct_from(bindparam("of_namespace")),
        repo.c.state == "live",
        repo.c.key != bindparam("of_key"),
        bindparam("of_skeleton") == _FOLDED,
    )
    .order_by(repo.c.name)
    .limit(LOOK_ALIKES_NAMED_MAX)
)


class Registry:
    def __init__(self, db: Database, git: Git, moves: Moves, clock: Clock, settings: Settings) -> None:
        self._db = db
        self._git = git
        self._moves = moves
        self._clock = clock
        self._settings = settings
        self._trash = Trash(db, git)
        self._open: Lru[tuple[int, str, str], Repo] = Lru(OPEN_KEPT)

    # Finding

    def open(self, actor: Actor, rid: RepoId, want: Want) -> Repo:
        """The repo, if this actor may know of it and do that with it. The id's case does not matter.

        RepoMissing: there is none, or he may not know. Moved: it has another name. Unauthenticated (nobody) or
        Forbidden (somebody): he sees it, but may not write or administer it. Disabled: policy refuses it.
        """
        key = (self._db.version(), rid.type, names.key(rid.full))
        found = self._open.get(key)
        # Remembered only for whoever sees it: to others it must take as long as one that is not there.
        if found is None or not actor.sees(private=found.private, namespace_id=found.namespace_id):
            with self._db.read() as connection:
                row = connection.execute(_OPEN, {"of_type": key[1], "of_key": key[2]}).first()
            if row is None or not actor.sees(private=row.private, namespace_id=row.namespace_id):
                raise self._elsewhere(actor, rid)
            found = as_repo(row)
            self._open.put(key, found)
        if found.disabled and not actor.is_admin:
            raise Disabled
        if want != "read":
            require(actor, found, want)
        return found

    def _elsewhere(self, actor: Actor, rid: RepoId) -> HeadwaterError:
        # Asked for invisible repos as well as for absent ones, so that both take the same time.
        with self._db.read() as connection:
            row = connection.execute(_ELSEWHERE, {"of_type": rid.type, "of_key": names.key(rid.full)}).first()
        if row is None or not actor.sees(private=row.private, namespace_id=row.namespace_id):
            return RepoMissing(rid.full)
        return Moved(as_repo(row).rid)

    def by_id(self, repo_id: int) -> Repo:
        """For work that no actor asked for (following events, checking); RepoMissing once it is deleted."""
        with self._db.read() as connection:
            row = connection.execute(_BY_ID, {"of_id": repo_id}).first()
        if row is None:
            raise RepoMissing(f"#{repo_id}")
        return as_repo(row)

    def admit_content(self, actor: Actor, to: Repo) -> None:
        """Whether he may read the files: of a gated repo only those who belong to it may, so far."""
        if to.gated is None or actor.is_admin or to.namespace_id in actor.namespace_ids:
            return
        if not actor.signed_in:
            raise Gated(f"Access to {to.rid.type} {to.rid.full} is restricted. Sign in, or send a token.")
        raise Gated(
            f"Access to {to.rid.type} {to.rid.full} is restricted and you are not in the authorized list. "
            "Ask its owners for access."
        )

    # Making

    def create(
        self, actor: Actor, rid: RepoId, private: bool | None, sdk: str | None = None, *, gated: str | None = None
    ) -> Created:
        """A new repo with an initial commit by its creator. `private` None: as the namespace's owner has it.

        A name without a namespace is for administrators of the hub alone.
        Conflict with `url` if the name is taken; warnings name repos of the namespace that look alike (T42).
        """
        _signed_in(actor)
        user_id = author_id(actor)
        _check_name(rid)
        _check_sdk(rid, sdk)
        _check_gate(gated)
        with self._db.write() as connection:
            place = self._place(connection, actor, rid)
            warnings = _look_alikes(connection, rid, place.id)
            now_ms = self._clock.now_ms()
            row = {
                "type": rid.type,
                "namespace_id": place.id,
                "namespace": place.name,
                "name": rid.name,
                "key": names.key(rid.full),
                "private": self._is_private(place) if private is None else private,
                "gated": gated,
                "disabled": False,
                "sdk": sdk,
                "creator_id": user_id,
                "created_ms": now_ms,
                "updated_ms": now_ms,
            }
            connection.execute(_FORGET_OLD, {"of_type": rid.type, "of_key": row["key"]})
            made = connection.execute(insert(repo).returning(repo), row).one()
            # Inside the transaction, since the folder is named by the row's number. If the row is undone, the folder
            # stays, unknown to anybody, and gives way to the next repo of that number.
            commit = self._git.create(made.id, first_files(rid, sdk), actor.name, now_ms, "initial commit")
            checkpoint("create.founded")
            events.append(
                connection, "repo.created", now_ms, repo_id=made.id, actor_id=user_id,
                type=rid.type, name=as_repo(made).rid.full, private=made.private, commit=commit,
            )  # fmt: skip
        return Created(as_repo(made), commit, warnings)

    def _is_private(self, place: _Namespace) -> bool:
        return (place.default_visibility or self._settings.default_visibility) == "private"

    def _place(self, connection: Connection, actor: Actor, rid: RepoId, moving: Repo | None = None) -> _Namespace:
        """Where the name is to stand, if this actor may put a repo there and nothing stands in the way."""
        place = _namespace(connection, rid)
        if place is None or not actor.may_create_in(place.id):
            where = f'the namespace "{rid.namespace}"' if rid.namespace else "a name without a namespace"
            raise Forbidden(f"You don't have the rights to create a {rid.type} under {where}{_of_token(actor)}")
        asked = {"of_type": rid.type, "of_key": names.key(rid.full)}
        standing = connection.execute(_OPEN, asked).first()
        if standing is not None and (moving is None or standing.id != moving.id):
            raise self._taken(as_repo(standing).rid, moving)
        if rid.namespace is None and connection.execute(_NAMESPACE, {"of_key": names.key(rid.name)}).first():
            raise Conflict(f"{rid.name!r} is the name of a user or an organization; choose another")
        old = connection.execute(_OLD, asked).first()
        if old is None or (moving is not None and old.repo_id == moving.id):
            return place
        if not actor.may_administer(namespace_id=old.namespace_id, creator_id=None):
            raise Conflict(
                f"{rid.full} was the name of a {rid.type} that was moved or deleted. Only the owner or an "
                "administrator of the namespace may use it again."
            )
        return place

    def _taken(self, standing: RepoId, moving: Repo | None) -> Conflict:
        url = self._settings.base_url + standing.url_path
        if moving is not None:
            return Conflict(f"A {standing.type} repository called {standing.full} already exists", url=url)
        return Conflict(f"You already created this {standing.type} repo: {standing.full}", url=url, id=standing.full)

    # Changing

    def move(self, actor: Actor, source: RepoId, target: RepoId) -> Repo:
        """Another name or namespace for the repo; the old name leads to it from now on."""
        moving = self.open(actor, source, "admin")
        if target.type != source.type:
            raise Invalid(f"type: a {source.type} can't become a {target.type}")
        _check_name(target)
        key = names.key(target.full)
        with self._db.write() as connection:
            moving = self._again(connection, actor, moving)
            place = self._place(connection, actor, target, moving)
            now_ms = self._clock.now_ms()
            new = {"namespace_id": place.id, "namespace": place.name, "name": target.name, "key": key}
            old_key = names.key(moving.rid.full)
            connection.execute(_FORGET_OLD, {"of_type": target.type, "of_key": key})
            moved = connection.execute(update(repo).where(repo.c.id == moving.id).values(new).returning(repo)).one()
            if old_key != key:
                _leave_old(connection, moving, moving.id, now_ms)
            events.append(
                connection, "repo.moved", now_ms, repo_id=moving.id, actor_id=author_id(actor),
                type=target.type, old=moving.rid.full, new=as_repo(moved).rid.full,
            )  # fmt: skip
        return as_repo(moved)

    def update(
        self, actor: Actor, changing: Repo, private: bool | None = None, gated: str | _Unset | None = UNSET
    ) -> Repo:
        """Visibility and gate. `private` None and `gated` UNSET: as it was; `gated` None: no gate."""
        wanted: dict[str, Any] = {}
        if private is not None:
            wanted["private"] = private
        if not isinstance(gated, _Unset):
            _check_gate(gated)
            wanted["gated"] = gated
        with self._db.write() as connection:
            now = self._again(connection, actor, changing)
            changes = {name: value for name, value in wanted.items() if getattr(now, name) != value}
            if not changes:
                return now
            connection.execute(update(repo).where(repo.c.id == now.id).values(changes))
            events.append(
                connection, "repo.changed", self._clock.now_ms(), repo_id=now.id, actor_id=author_id(actor), **changes
            )
        return replace(now, **changes)

    def delete(self, actor: Actor, rid: RepoId) -> None:
        """The repo is gone for everybody, its name kept for the namespace's owner, its git directory in the trash.

        For `undelete_s` seconds all that it holds is kept for `undelete`; then, or at once if that is 0, bytes that
        nobody else holds are collected.
        """
        dying = self.open(actor, rid, "admin")
        with self._moves.turn(dying.id):
            with self._db.write() as connection:
                dying = self._again(connection, actor, dying)
                now_ms = self._clock.now_ms()
                freed = {"state": "deleted", "key": freed_key(dying.id, names.key(dying.rid.full))}
                marked = update(repo).where(repo.c.id == dying.id)
                connection.execute(marked.values(deleted_ms=now_ms, **freed))
                _leave_old(connection, dying, None, now_ms)
                events.append(
                    connection, "repo.deleted", now_ms, repo_id=dying.id, actor_id=author_id(actor),
                    type=dying.rid.type, name=dying.rid.full,
                )  # fmt: skip
                if self._settings.undelete_s == 0:
                    give_up(connection, [dying.id], now_ms, author_id(actor))
            checkpoint("delete.marked")
            self._trash.put(dying.id)
        if self._settings.undelete_s == 0:
            self._trash.empty()

    # Bringing back

    def deleted(self, actor: Actor) -> list[Deleted]:
        """What can be brought back in the namespaces that he administers, DELETED_MAX at most, the newest first."""
        asked = _RECOVERABLE.where(repo.c.deleted_ms > self._over_ms())
        if not actor.is_admin:
            mine = [one for one in actor.namespace_ids if one == actor.user_id or actor.roles.get(one) == "admin"]
            asked = asked.where(repo.c.namespace_id.in_(sorted(mine)))
        with self._db.read() as connection:
            rows = connection.execute(asked.order_by(repo.c.deleted_ms.desc(), repo.c.id.desc()).limit(DELETED_MAX))
            return [self._as_deleted(row) for row in rows]

    def find_deleted(self, actor: Actor, rid: RepoId) -> Deleted:
        """The one that was deleted last under this name. RepoMissing: there is none, or he may not know."""
        asked = _RECOVERABLE.where(repo.c.type == rid.type, had_key(names.key(rid.full)))
        with self._db.read() as connection:
            rows = connection.execute(asked.order_by(repo.c.deleted_ms.desc(), repo.c.id.desc())).all()
        for row in rows:
            if row.deleted_ms > self._over_ms() and _is_of(actor, row):
                return self._as_deleted(row)
        raise RepoMissing(rid.full)

    def undelete(self, actor: Actor, repo_id: int, to: RepoId | None = None) -> Repo:
        """The deleted repo is there again as it was: git, files, likes, settings, under its name or the name `to`.

        For who administers its namespace. RepoMissing: there is no such repo, or its time is over. Conflict: the name
        is taken. Invalid: `to` is no name in the same namespace.
        """
        with self._moves.turn(repo_id):
            with self._db.write() as connection:
                row = self._again_deleted(connection, actor, repo_id)
                was = as_repo(row)
                if was.disabled and not actor.is_admin:
                    raise Disabled
                if row.deleted_ms <= self._over_ms():
                    raise RepoMissing(was.rid.full)
                target = was.rid if to is None else _beside(was.rid, to)
                self._check_free(connection, actor, target, was)
                # The directory first: a live row without one must never be. In the transaction, since nothing else
                # keeps other processes from emptying the trash.
                self._trash.take(repo_id)
                checkpoint("undelete.taken")
                self._moves.settle_in(connection, repo_id)
                back = self._live_again(connection, was, target)
                events.append(
                    connection, "repo.undeleted", self._clock.now_ms(), repo_id=repo_id, actor_id=author_id(actor),
                    type=target.type, name=target.full,
                )  # fmt: skip
                checkpoint("undelete.marked")
            checkpoint("undelete.live")
        return back

    def purge(self, actor: Actor, repo_id: int) -> None:
        """A deleted repo is gone for good before its time is over; what only it held is collected."""
        with self._moves.turn(repo_id):
            with self._db.write() as connection:
                row = self._again_deleted(connection, actor, repo_id)
                give_up(connection, [row.id], self._clock.now_ms(), author_id(actor))
            checkpoint("purge.marked")
            self._trash.put(repo_id)
        self._trash.empty()

    def purge_holders(self, files: Sequence[Sha256]) -> list[RepoId]:
        """Deleted repos that hold one of these files are gone for good, if no live repo holds it; their old names.

        For files that must not be readable again: a repo without one of its files is not brought back.
        """
        found: dict[int, RepoId] = {}
        with self._db.write() as connection:
            for batch in batches(files):
                held = select(hold.c.sha256).join(repo, repo.c.id == hold.c.repo_id).where(hold.c.sha256.in_(batch))
                live = held.where(repo.c.state == "live")
                dead = _RECOVERABLE.join(hold, hold.c.repo_id == repo.c.id).where(
                    hold.c.sha256.in_(batch), hold.c.sha256.not_in(live)
                )
                found |= {row.id: as_repo(row).rid for row in connection.execute(dead)}
            give_up(connection, sorted(found), self._clock.now_ms(), None)
        self._trash.empty()
        return list(found.values())

    def expire(self) -> int:
        """What was deleted `undelete_s` seconds ago is gone for good; how many repos. Also empties the trash."""
        count = 0
        while True:
            with self._db.write() as connection:
                over = _RECOVERABLE.where(repo.c.deleted_ms <= self._over_ms()).order_by(repo.c.deleted_ms)
                ids = [row.id for row in connection.execute(over.limit(EXPIRED_AT_ONCE))]
                give_up(connection, ids, self._clock.now_ms(), None)
            if not ids:
                break
            count += len(ids)
            checkpoint("expire.marked")
        self._trash.empty()
        return count

    def _over_ms(self) -> int:
        """What was deleted then, or before, can't be brought back any more."""
        return self._clock.now_ms() - self._settings.undelete_s * 1000

    def _as_deleted(self, row: Row[Any]) -> Deleted:
        return Deleted(as_repo(row), row.deleted_ms, row.deleted_ms + self._settings.undelete_s * 1000)

    def _again_deleted(self, connection: Connection, actor: Actor, repo_id: int) -> Row[Any]:
        """The row of a deleted repo, inside the transaction that changes it, if he administers its namespace.

        Whoever made a repo in somebody's namespace may delete it, but not bring back what that one deleted.
        """
        row = connection.execute(_RECOVERABLE.where(repo.c.id == repo_id)).first()
        if row is None or not _is_of(actor, row):
            raise RepoMissing(f"#{repo_id}")
        require(actor, replace(as_repo(row), creator_id=None), "admin")
        return row

    def _check_free(self, connection: Connection, actor: Actor, target: RepoId, was: Repo) -> None:
        """Conflict, with what helps, where another repo has the name by now."""
        if target != was.rid:
            _check_name(target)
        try:
            self._place(connection, actor, target, was)
        except Conflict as taken:
            raise Conflict(f"{taken.text}; name another one to bring this repo back to", **taken.details) from taken

    def _live_again(self, connection: Connection, was: Repo, target: RepoId) -> Repo:
        key, old = names.key(target.full), {"of_type": was.rid.type, "of_key": names.key(was.rid.full)}
        kept = connection.execute(_OLD, old).first()
        connection.execute(_FORGET_OLD, {"of_type": target.type, "of_key": key})
        live = {"state": "live", "deleted_ms": None, "name": target.name, "key": key}
        row = connection.execute(update(repo).where(repo.c.id == was.id).values(live).returning(repo)).one()
        if kept is not None and kept.repo_id is None and key != old["of_key"]:
            _leave_old(connection, was, was.id, self._clock.now_ms())  # its old name is nobody's: it leads here
        return as_repo(row)

    def follow_namespace(self, connection: Connection, before: Namespace, after: Namespace) -> None:
        """Inside the transaction that renames or deletes a namespace: its repos follow, or prevent it.

        Conflict: it is to be deleted and still has repos. A rename leaves old names that lead to the repos.
        """
        if after.state == "dead":
            question = select(func.count()).where(repo.c.namespace_id == before.id, repo.c.state == "live")
            if count := connection.execute(question).scalar_one():
                raise Conflict(f"{before.name!r} still has repos ({count}): move or delete them first")
            # Nobody is left to whom its deleted repos could be given back.
            dead = connection.execute(_RECOVERABLE.where(repo.c.namespace_id == before.id)).all()
            give_up(connection, [row.id for row in dead], self._clock.now_ms(), None)
            return
        now_ms = self._clock.now_ms()
        for row in connection.execute(_RECOVERABLE.where(repo.c.namespace_id == after.id)).all():
            rid = replace(as_repo(row).rid, namespace=after.name)
            moved = {"namespace": after.name, "key": freed_key(row.id, names.key(rid.full))}
            connection.execute(update(repo).where(repo.c.id == row.id).values(moved))
        for row in connection.execute(
            select(repo).where(repo.c.namespace_id == after.id, repo.c.state == "live")
        ).all():
            moving = as_repo(row)
            rid = replace(moving.rid, namespace=after.name)
            key = names.key(rid.full)
            connection.execute(_FORGET_OLD, {"of_type": rid.type, "of_key": key})
            connection.execute(update(repo).where(repo.c.id == moving.id).values(namespace=after.name, key=key))
            if names.key(before.name) != names.key(after.name):
                _leave_old(connection, moving, moving.id, now_ms)
            events.append(
                connection, "repo.moved", now_ms, repo_id=moving.id, type=rid.type, old=moving.rid.full, new=rid.full
            )

    def finish(self) -> None:
        """At start: a crash may have left a deleted repo's git directory in its place, on its way there or back."""
        self._trash.put_all()

    def _again(self, connection: Connection, actor: Actor, seen: Repo) -> Repo:
        """The repo as it is now, inside the transaction that changes it, if he may still administer it."""
        row = connection.execute(_BY_ID, {"of_id": seen.id}).first()
        if row is None:
            raise RepoMissing(seen.rid.full)
        now = as_repo(row)
        require(actor, now, "admin")
        return now


def as_repo(row: Row[Any]) -> Repo:
    """A row of `repo` as a value; whoever reads such rows himself filters them by what the actor sees."""
    return Repo(
        id=row.id,
        rid=RepoId(row.type, row.namespace, row.name),
        namespace_id=row.namespace_id,
        private=row.private,
        gated=row.gated,
        disabled=row.disabled,
        sdk=row.sdk,
        creator_id=row.creator_id,
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
    )


def _is_of(actor: Actor, row: Row[Any]) -> bool:
    """Whether he knows of a deleted repo at all: a member of its namespace, or an administrator of the hub."""
    return actor.is_admin or row.namespace_id in actor.namespace_ids


def _beside(was: RepoId, to: RepoId) -> RepoId:
    """`to` as the name of a repo in the namespace of `was`."""
    named = RepoId(was.type, to.namespace or was.namespace, to.name)
    if to.type != was.type or names.key(named.namespace or "") != names.key(was.namespace or ""):
        raise Invalid(f"to: {named.full[:100]!r} is no {was.type} of the same owner; bring it back first, then move it")
    return replace(was, name=to.name)


def require(actor: Actor, to: Repo, want: Want) -> None:
    """Whether somebody who sees the repo may also do that; the refusal names the grant that is missing."""
    may = actor.may_write if want == "write" else actor.may_administer
    if want == "read" or may(namespace_id=to.namespace_id, creator_id=to.creator_id):
        return
    _signed_in(actor)
    what = "write to" if want == "write" else "administer"
    raise Forbidden(f"You don't have the rights to {what} the {to.rid.type} {to.rid.full}{_of_token(actor)}")


def first_files(rid: RepoId, sdk: str | None) -> dict[FilePath, bytes]:
    """What a new repo holds: path -> bytes."""
    patterns = LFS_PATTERNS + (LFS_PATTERNS_OF_DATASETS if rid.type == "dataset" else ())
    lines = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in patterns)
    files = {FilePath(".gitattributes"): lines.encode()}
    if sdk == "static":
        files[FilePath("README.md")] = f"---\ntitle: {_yaml_text(rid.name)}\nsdk: static\npinned: false\n---\n".encode()
        files[FilePath("index.html")] = _STATIC_PAGE.replace("NAME", rid.name).encode()
        files[FilePath("style.css")] = _STATIC_STYLE
    return files


# Formats of weights and archives, as hub-contract.md section 2 lists them for the Hub's own new repos.
# fmt: off
LFS_PATTERNS = (
    "*.7z", "*.arrow", "*.bin", "*.bz2", "*.ckpt", "*.ftz", "*.gz", "*.h5", "*.joblib", "*.lfs.*", "*.mlmodel",
    "*.model", "*.msgpack", "*.npy", "*.npz", "*.onnx", "*.ot", "*.parquet", "*.pb", "*.pickle", "*.pkl", "*.pt",
    "*.pth", "*.rar", "*.safetensors", "saved_model/**/*", "*.tar.*", "*.tar", "*.tflite", "*.tgz", "*.wasm", "*.xz",
    "*.zip", "*.zst", "*tfevents*",
)
LFS_PATTERNS_OF_DATASETS = (
    "*.lz4", "*.mds", "*.pcm", "*.sam", "*.raw", "*.aac", "*.flac", "*.mp3", "*.ogg", "*.wav", "*.bmp", "*.gif",
    "*.png", "*.tiff", "*.jpg", "*.jpeg", "*.webp", "*.mp4", "*.webm",
)
# fmt: on
_STATIC_STYLE = b"body {\n  font-family: sans-serif;\n  margin: 2rem auto;\n  max-width: 40rem;\n}\n"
_STATIC_PAGE = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width" />
    <title>NAME</title>
    <link rel="stylesheet" href="style.css" />
  </head>
  <body>
    <h1>NAME</h1>
    <p>This page is <code>index.html</code> of the Space. Edit it, commit, and it changes.</p>
  </body>
</html>
"""


def _namespace(connection: Connection, rid: RepoId) -> _Namespace | None:
    """A live namespace by its name in any case, or the place of names without one."""
    if rid.namespace is None:
        return _Namespace(None, None, None)
    row = connection.execute(_NAMESPACE, {"of_key": names.key(rid.namespace)}).first()
    return None if row is None else _Namespace(row.id, row.name, row.default_visibility)


def _leave_old(connection: Connection, was: Repo, repo_id: int | None, now_ms: int) -> None:
    """The name that `was` had leads to `repo_id`, or (None) is kept from strangers."""
    connection.execute(
        _LEAVE_OLD,
        {
            "type": was.rid.type,
            "key": names.key(was.rid.full),
            "repo_id": repo_id,
            "namespace_id": was.namespace_id,
            "at_ms": now_ms,
        },
    )


def _look_alikes(connection: Connection, rid: RepoId, namespace_id: int | None) -> tuple[str, ...]:
    # Whoever may create in a namespace sees all of it, so that naming them tells nothing.
    asked = {
        "of_type": rid.type,
        "of_namespace": namespace_id,
        "of_key": names.key(rid.full),
        "of_skeleton": names.skeleton(rid.name),
    }
    alike = connection.execute(_LOOK_ALIKES, asked).scalars()
    return tuple(f"{rid.full} looks like {name}, which exists already" for name in alike)


def _check_name(rid: RepoId) -> None:
    names.new_repo_name(rid.name)
    if rid.namespace is None:
        names.new_namespace(rid.name)  # it stands where namespaces stand


def _signed_in(actor: Actor) -> None:
    if not actor.signed_in:
        raise Unauthenticated("This needs an account: sign in, or send a token.")


def _of_token(actor: Actor) -> str:
    return ": your token has only the role 'read'" if actor.signed_in and not actor.can_write else ""


def _check_sdk(rid: RepoId, sdk: str | None) -> None:
    if rid.type == "space" and sdk not in SDKS:
        raise Invalid(f"sdk: {sdk!r} is not one of {', '.join(SDKS)}")
    if rid.type != "space" and sdk is not None:
        raise Invalid(f"sdk: a {rid.type} has none")


def _check_gate(gated: str | None) -> None:
    if gated is not None and gated not in GATES:
        raise Invalid(f"gated: {gated!r} is not one of auto, manual, false")


def _yaml_text(text: str) -> str:
    return '"' + text + '"'  # names hold neither quotes nor backslashes
