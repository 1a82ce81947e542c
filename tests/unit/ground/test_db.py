"""The database: what is durable, who waits for whom, and what SQLite's failures mean to a client."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import func

import headwater.accounts.tables
import headwater.catalog.tables
import headwater.ground.jobs
import headwater.lineage.tables
import headwater.repos.tables
import headwater.store.tables  # noqa: F401 - all rooms' tables belong to the schema
from headwater.ground import db as db_module
from headwater.ground import migrations
from headwater.ground.db import Database, metadata
from headwater.ground.errors import Corrupt, Unavailable
from headwater.ground.events import event, position

MEMORY = Path("/dev/shm")


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as made:
        yield Path(made)


@pytest.fixture
def db(folder: Path) -> Iterator[Database]:
    """With two tables, and a patience that tests can sit out."""
    opened = Database(folder / "hub.sqlite", busy_wait_s=0.05)
    with opened.write() as connection:
        metadata.create_all(connection, tables=[event, position])
    yield opened
    opened.close()


def follow(name: str, at: int = 0) -> object:
    return insert(position).values(follower=name, event_id=at)


def followers(db: Database) -> list[str]:
    with db.read() as connection:
        return list(connection.execute(select(position.c.follower).order_by(position.c.follower)).scalars())


# --- durability ---


@pytest.mark.parametrize(("kind", "synchronous"), [("write", 2), ("write_soft", 1), ("read", 1)])
def test_only_write_waits_for_the_disk(db: Database, kind: str, synchronous: int) -> None:
    with getattr(db, kind)() as connection:
        found = {name: connection.scalar(text(f"PRAGMA {name}")) for name in ("synchronous", "journal_mode")}
    assert found == {"synchronous": synchronous, "journal_mode": "wal"}


@pytest.mark.parametrize("kind", ["write", "write_soft"])
def test_a_write_that_fails_half_way_has_not_happened(db: Database, kind: str) -> None:
    with pytest.raises(RuntimeError), getattr(db, kind)() as connection:
        connection.execute(follow("a"))
        raise RuntimeError
    assert followers(db) == []


def test_foreign_keys_are_enforced_on_every_connection(db: Database) -> None:
    for kind in (db.read, db.write, db.write_soft):
        with kind() as connection:
            assert connection.scalar(text("PRAGMA foreign_keys")) == 1


def test_a_broken_uniqueness_is_left_to_the_room_that_knows_its_meaning(db: Database) -> None:
    with db.write() as connection:
        connection.execute(follow("a"))
    with pytest.raises(IntegrityError), db.write() as connection:
        connection.execute(follow("a"))


# --- who waits for whom ---


def test_a_reader_keeps_its_view_while_others_write_and_hinders_nobody(db: Database) -> None:
    count = select(func.count()).select_from(position)
    with db.read() as before:
        assert before.scalar(count) == 0
        with db.write() as connection:
            connection.execute(follow("a"))
        assert before.scalar(count) == 0
    assert followers(db) == ["a"]


def test_readers_go_on_while_a_write_is_under_way_and_do_not_see_it(db: Database) -> None:
    with db.write() as connection:
        connection.execute(follow("a"))
        assert followers(db) == []
    assert followers(db) == ["a"]


def test_T12_a_write_that_waits_too_long_for_its_turn_is_refused_and_loses_nothing(db: Database) -> None:
    inside, leave = threading.Event(), threading.Event()

    def slow() -> None:
        with db.write() as connection:
            connection.execute(follow("slow"))
            inside.set()
            leave.wait(10)

    writer = threading.Thread(target=slow)
    writer.start()
    assert inside.wait(10)
    with pytest.raises(Unavailable) as refused, db.write_soft() as connection:
        connection.execute(follow("late"))
    leave.set()
    writer.join()
    assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "5"})
    with db.write() as connection:
        connection.execute(follow("later"))
    assert followers(db) == ["later", "slow"]


@pytest.mark.parametrize("kind", ["write", "write_soft"])
def test_T12_a_write_that_another_process_holds_up_is_refused_with_503(db: Database, kind: str) -> None:
    with contextlib.closing(sqlite3.connect(db.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable) as refused, getattr(db, kind)() as connection:
            connection.execute(follow("a"))
        assert refused.value.status == 503
        other.execute("ROLLBACK")
    with getattr(db, kind)() as connection:
        connection.execute(follow("a"))
    assert followers(db) == ["a"]


def test_more_readers_than_there_are_connections_are_told_to_come_again(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db_module, "READERS_MAX", 2)
    crowded = Database(db.path, busy_wait_s=0.05)
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(crowded.read())
        with pytest.raises(Unavailable), crowded.read():
            pass
    with crowded.read():
        pass
    crowded.close()


# --- failures ---


def test_T03_a_full_disk_is_507_and_the_hub_works_again_when_there_is_room(db: Database) -> None:
    with pytest.raises(Unavailable) as refused, db.write() as connection:
        pages = connection.scalar(text("PRAGMA page_count"))
        connection.execute(text(f"PRAGMA max_page_count={pages}"))
        connection.execute(follow("x" * 100_000))
    assert refused.value.status == 507
    with db.write() as connection:
        connection.execute(text("PRAGMA max_page_count=1000000"))
        connection.execute(follow("y"))
    assert followers(db) == ["y"]


def test_T05_a_disk_that_is_read_only_gives_503_and_reads_go_on(db: Database) -> None:
    with db.write() as connection:
        connection.execute(follow("a"))
    with pytest.raises(Unavailable) as refused, db.write_soft() as connection:
        connection.execute(text("PRAGMA query_only=1"))
        connection.execute(follow("b"))
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "60")
    assert followers(db) == ["a"]


def test_a_mistake_of_ours_stays_a_mistake_of_ours(db: Database) -> None:
    with pytest.raises(Exception, match="no such table") as bug, db.read() as connection:
        connection.execute(text("SELECT 1 FROM nowhere"))
    assert not isinstance(bug.value, Unavailable | Corrupt)


def test_T25_a_damaged_page_is_found_and_named(db: Database) -> None:
    assert db.problems() == []
    with db.write() as connection:
        for number in range(400):
            connection.execute(follow(f"{number:0100d}"))
    db.close()
    with contextlib.closing(sqlite3.connect(db.path)) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(db.path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4096] = bytes(4096)
    db.path.write_bytes(data)
    assert db.problems() != []


def test_what_is_no_database_is_said_to_be_damaged(folder: Path) -> None:
    (folder / "hub.sqlite").write_bytes(b"not a database at all, but long enough to be looked at\n" * 100)
    broken = Database(folder / "hub.sqlite")
    with pytest.raises(Corrupt):
        broken.migrate()
    assert broken.problems() != []
    broken.close()


def test_a_database_in_a_folder_that_is_not_there_is_unavailable(folder: Path) -> None:
    nowhere = Database(folder / "no" / "hub.sqlite")
    with pytest.raises(Unavailable):
        nowhere.migrate()


def test_a_copy_is_of_one_piece_while_others_write(db: Database, folder: Path) -> None:
    with db.write() as connection:
        connection.execute(follow("a"))
    with db.write() as connection:
        connection.execute(follow("b"))
        db.copy_to(folder / "copy.sqlite")
    copy = Database(folder / "copy.sqlite")
    assert followers(copy) == ["a"]
    assert copy.problems() == []
    copy.close()


def test_a_copy_to_where_nothing_can_be_written_is_refused(db: Database, folder: Path) -> None:
    with pytest.raises(Unavailable):
        db.copy_to(folder / "no" / "copy.sqlite")


# --- the schema ---


def schema(path: Path) -> dict[str, str]:
    """Name -> statement of everything in a database, blanks aside."""
    with contextlib.closing(sqlite3.connect(path)) as raw:
        rows = raw.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {
        name: re.sub(r"\s*([(),])\s*", r"\1", " ".join(sql.split())).replace("IF NOT EXISTS ", "")
        for name, sql in rows
        if name not in ("alembic_version", "sqlite_sequence")
    }


@pytest.fixture
def migrated(folder: Path) -> Iterator[Database]:
    opened = Database(folder / "migrated.sqlite")
    migrations.walk(opened._durable)
    yield opened
    opened.close()


def test_the_migrations_lead_to_exactly_the_tables_that_the_code_declares(migrated: Database, folder: Path) -> None:
    declared = Database(folder / "declared.sqlite")
    with declared.write() as connection:
        metadata.create_all(connection)
    declared.close()
    expected = schema(folder / "declared.sqlite")
    # A difference means: write another step in ground/migrations/versions, and never change one that was released.
    assert schema(migrated.path) == expected
    assert "catalog_search" in expected


def test_a_new_database_is_made_at_once_and_is_what_the_steps_lead_to(migrated: Database, folder: Path) -> None:
    made = Database(folder / "made.sqlite")
    made.migrate()
    with made.read() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == migrations.HEAD
    made.close()
    assert schema(folder / "made.sqlite") == schema(migrated.path)


def test_alembic_finds_nothing_left_to_migrate(migrated: Database) -> None:
    with migrated.write() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_object": lambda _o, name, kind, _r, _c: not name.startswith("catalog_search")},
        )
        assert compare_metadata(context, metadata) == []


def test_the_newest_step_is_the_one_that_a_start_compares_with(migrated: Database) -> None:
    with migrated.read() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == migrations.HEAD


def test_a_schema_that_is_up_to_date_is_left_alone(migrated: Database) -> None:
    with contextlib.closing(sqlite3.connect(migrated.path)) as other:
        before = other.execute("PRAGMA data_version").fetchone()
        migrated.migrate()
        assert other.execute("PRAGMA data_version").fetchone() == before


def test_a_newer_headwaters_schema_is_refused_politely_and_not_touched(migrated: Database) -> None:
    with migrated.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    before = schema(migrated.path)
    with pytest.raises(Unavailable, match="newer Headwater"):
        migrated.migrate()
    assert schema(migrated.path) == before


def test_the_version_changes_with_every_commit_of_anybody_and_with_nothing_else(
    migrated: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db_module, "VERSION_BELIEVED_S", 0.0)  # what other processes commit is seen at once
    other = Database(migrated.path)
    before = migrated.version()
    with other.read() as connection:
        connection.scalar(text("SELECT count(*) FROM repo"))
    assert migrated.version() == before
    for write in (migrated.write, migrated.write_soft, other.write, other.write_soft):
        with write() as connection:
            connection.execute(insert(event).values(kind="x", data="{}", at_ms=1))
        after = migrated.version()
        assert after != before
        before = after
    with contextlib.suppress(ZeroDivisionError), migrated.write() as connection:
        connection.execute(insert(event).values(kind="y", data="{}", at_ms=1))
        raise ZeroDivisionError
    assert migrated.version() == before
    with contextlib.closing(sqlite3.connect(migrated.path)) as process, process:
        process.execute("INSERT INTO event (kind, data, at_ms) VALUES ('z', '{}', 1)")
    assert migrated.version() != before
    other.close()


def test_a_version_is_believed_for_a_moment_and_never_after_a_write_of_this_process(
    migrated: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db_module, "VERSION_BELIEVED_S", 3600.0)
    other = Database(migrated.path)
    before = migrated.version()
    with contextlib.closing(sqlite3.connect(migrated.path)) as process, process:
        process.execute("INSERT INTO event (kind, data, at_ms) VALUES ('z', '{}', 1)")
    assert migrated.version() == before
    for write in (migrated.write_soft, other.write_soft):
        with write() as connection:
            connection.execute(insert(event).values(kind="y", data="{}", at_ms=1))
        after = migrated.version()
        assert after != before
        before = after
    other.close()


def test_a_new_file_that_another_process_prepares_is_waited_for(folder: Path) -> None:
    path = folder / "hub.sqlite"
    first = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    first.execute("CREATE TABLE other (n)")
    first.execute("BEGIN IMMEDIATE")  # SQLite does not wait for this one by itself
    waiting = Database(path)
    opened = threading.Thread(target=waiting.migrate)
    opened.start()
    opened.join(0.2)
    assert opened.is_alive()
    first.execute("ROLLBACK")
    first.close()
    opened.join(30)
    assert "repo" in schema(path)
    waiting.close()
    impatient = Database(folder / "busy.sqlite", busy_wait_s=0.05)
    with contextlib.closing(sqlite3.connect(impatient.path, isolation_level=None)) as owner:
        owner.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="busy"):
            impatient.migrate()
    impatient.close()


def test_two_processes_that_start_at_once_migrate_once(folder: Path) -> None:
    hubs = [Database(folder / "hub.sqlite") for _ in range(4)]
    failures: list[BaseException] = []
    ready = threading.Barrier(len(hubs))

    def start(hub: Database) -> None:
        ready.wait()
        try:
            hub.migrate()
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=start, args=(hub,)) for hub in hubs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for hub in hubs:
        hub.close()
    assert failures == []
    assert "repo" in schema(folder / "hub.sqlite")
