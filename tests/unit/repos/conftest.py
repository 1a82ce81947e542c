"""A hub's rooms under `repos`, in a temp folder: people and a standing clock."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from sqlalchemy import insert

import headwater.catalog.tables  # noqa: F401 - its tables belong to the schema
from headwater.accounts.actor import Actor
from headwater.accounts.tables import member, namespace, org, user
from headwater.ground import names
from headwater.ground.clock import FixedClock
from headwater.ground.db import Database, metadata
from headwater.ground.events import Event, since
from headwater.ground.names import FilePath, Sha256
from headwater.ground.settings import Settings
from headwater.repos.commit import Commits
from headwater.repos.git import Git
from headwater.repos.holds import Holds
from headwater.repos.likes import Likes
from headwater.repos.moves import Moves
from headwater.repos.refs import Refs
from headwater.repos.registry import Registry
from headwater.repos.tree import Tree
from headwater.repos.values import AddInline, CommitResult, Message, Operation, Repo
from headwater.store.tables import blob


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("database") / "hub.db"
    db = Database(path)
    metadata.create_all(db._durable)
    db.close()
    return path


@pytest.fixture
def db(tmp_path: Path, empty_database: Path) -> Iterator[Database]:
    shutil.copy(empty_database, tmp_path / "hub.db")
    opened = Database(tmp_path / "hub.db")
    yield opened
    opened.close()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=str(tmp_path), public_url="https://hub.test")


@dataclass
class People:
    """Namespaces made by plain SQL, and actors made by hand: this room takes both as given."""

    db: Database
    orgs: dict[str, int]
    roles: dict[str, dict[int, Any]]
    ids: dict[str, int]

    def _namespace(self, name: str, kind: str) -> int:
        row = {"name": name, "key": names.key(name), "skeleton": names.skeleton(name), "kind": kind, "created_ms": 0}
        with self.db.write() as connection:
            return connection.execute(insert(namespace).values(row).returning(namespace.c.id)).scalar_one()

    def user(self, name: str, **more: Any) -> Actor:
        if name not in self.ids:
            self.ids[name] = self._namespace(name, "user")
            with self.db.write() as connection:
                connection.execute(insert(user).values(id=self.ids[name]))
        return self.actor(name, **more)

    def actor(self, name: str, **more: Any) -> Actor:
        return Actor(self.ids[name], name, roles=MappingProxyType(dict(self.roles.get(name, {}))), **more)

    def org(self, name: str, default_visibility: str = "public", **members: str) -> int:
        self.orgs[name] = self._namespace(name, "org")
        with self.db.write() as connection:
            connection.execute(insert(org).values(id=self.orgs[name], default_visibility=default_visibility))
        for who, role in members.items():
            self.user(who)
            with self.db.write() as connection:
                connection.execute(insert(member).values(org_id=self.orgs[name], user_id=self.ids[who], role=role))
            self.roles.setdefault(who, {})[self.orgs[name]] = role
        return self.orgs[name]


@pytest.fixture
def people(db: Database) -> People:
    return People(db, {}, {}, {})


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return Git(tmp_path / "git")


@pytest.fixture
def moves(db: Database, git: Git, clock: FixedClock) -> Moves:
    return Moves(db, git, clock)


@pytest.fixture
def registry(db: Database, git: Git, moves: Moves, clock: FixedClock, settings: Settings) -> Registry:
    return Registry(db, git, moves, clock, settings)


@pytest.fixture
def holds(db: Database, clock: FixedClock) -> Holds:
    return Holds(db, clock)


@pytest.fixture
def likes(db: Database, clock: FixedClock) -> Likes:
    return Likes(db, clock)


@pytest.fixture
def a_repo(registry: Registry) -> Callable[..., Repo]:
    def make(actor: Actor, text: str, kind: names.RepoType = "model", **more: Any) -> Repo:
        return registry.create(actor, names.repo_id(kind, text), more.pop("private", False), **more).repo

    return make


@pytest.fixture
def a_blob(db: Database) -> Callable[..., Sha256]:
    def make(sha256: str, size: int = 10, created_ms: int = 0) -> Sha256:
        with db.write() as connection:
            connection.execute(insert(blob).values(sha256=sha256 * 64, size=size, created_ms=created_ms))
        return Sha256(sha256 * 64)

    return make


@pytest.fixture
def happened(db: Database) -> Callable[..., list[Event]]:
    def read(kind: str) -> list[Event]:
        with db.read() as connection:
            return [event for event in since(connection, 0) if event.kind == kind]

    return read


@pytest.fixture
def refs(git: Git, moves: Moves, clock: FixedClock) -> Refs:
    return Refs(git, moves, clock)


@pytest.fixture
def tree(git: Git, settings: Settings) -> Tree:
    return Tree(git, settings)


@pytest.fixture
def commits(
    git: Git, moves: Moves, refs: Refs, tree: Tree, holds: Holds, clock: FixedClock, settings: Settings
) -> Commits:
    return Commits(git, moves, refs, tree, holds=holds, clock=clock, settings=settings)


@pytest.fixture
def ada(people: People) -> Actor:
    return people.user("ada")


@pytest.fixture
def model(a_repo: Callable[..., Repo], ada: Actor) -> Repo:
    """A repo of ada's that holds nothing but its first `.gitattributes`."""
    return a_repo(ada, "ada/falcon")


@pytest.fixture
def commit(commits: Commits, ada: Actor, model: Repo) -> Callable[..., CommitResult]:
    """`commit({"a.txt": b"1"})`, or operations, to `model`'s main."""

    def make(
        what: dict[str, bytes] | list[Operation],
        revision: str = "main",
        parent: str | None = None,
        text: str = "change",
        **more: Any,
    ) -> CommitResult:
        operations: list[Operation] = (
            [AddInline(FilePath(path), data) for path, data in what.items()] if isinstance(what, dict) else what
        )
        return commits.apply(ada, model, revision, parent, Message(text), operations, **more)

    return make
