"""The accounts room on a database of its own, with a clock that stands until a test moves it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import headwater.accounts.tables  # noqa: F401  (its tables belong to the schema)
from headwater.accounts import OPERATOR, Accounts
from headwater.accounts.actor import Actor
from headwater.ground import events
from headwater.ground.clock import FixedClock
from headwater.ground.db import Database, metadata
from headwater.ground.settings import Settings

OURS = ("namespace", "user_account", "org", "member", "token", "session", "signin_link", "event", "event_position")
SECRET = b"k" * 32


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("accounts") / "headwater.sqlite"
    db = Database(path)
    with db.write() as connection:
        metadata.create_all(connection, tables=[metadata.tables[name] for name in OURS])
    db.close()
    return path


@pytest.fixture
def db(tmp_path: Path, empty_database: Path) -> Iterator[Database]:
    path = tmp_path / "headwater.sqlite"
    shutil.copy(empty_database, path)
    opened = Database(path)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def accounts(db: Database, clock: FixedClock) -> Accounts:
    return Accounts(db, clock, Settings(), SECRET)


@pytest.fixture
def elsewhere(db: Database, clock: FixedClock) -> Accounts:
    """Another process on the same data: it shares the database and no memory."""
    return Accounts(db, clock, Settings(), SECRET)


@pytest.fixture
def somebody(accounts: Accounts) -> Callable[..., Actor]:
    """`somebody("alice")`: a new user, as after his sign-in."""

    def make(name: str, *, is_admin: bool = False) -> Actor:
        return accounts.actor_again(accounts.create_user(name, is_admin=is_admin).id, None)

    return make


@pytest.fixture
def acme(accounts: Accounts, somebody: Callable[..., Actor]) -> Actor:
    """The organization acme; its admin, alice, is returned."""
    alice = somebody("alice")
    accounts.create_org(alice, "acme")
    return accounts.actor_again(alice.user_id or 0, None)


@pytest.fixture
def told(accounts: Accounts) -> Callable[[], list[events.Event]]:
    """`told()`: the events since it was last called."""
    seen = 0

    def new() -> list[events.Event]:
        nonlocal seen
        with accounts.db.read() as connection:
            found = events.since(connection, seen)
        seen = found[-1].id if found else seen
        return found

    return new


@pytest.fixture
def make_token(accounts: Accounts) -> Callable[..., str]:
    """`make_token("alice", role="read")`: the value of a new token."""

    def make(name: str, role: str = "write", expires_ms: int | None = None) -> str:
        title = f"token {accounts.clock.token(4)}"
        return accounts.create_token(OPERATOR, title, role, expires_ms, owner=name)[1]

    return make
