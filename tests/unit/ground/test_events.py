"""The record of what happened: in order, never given the same position twice, there exactly if what it tells of is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from sqlalchemy import delete

from headwater.ground import events
from headwater.ground.db import Database, metadata
from headwater.ground.events import Event


@pytest.fixture
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    opened = Database(tmp_path_factory.mktemp("events") / "hub.sqlite")
    with opened.write_soft() as connection:
        metadata.create_all(connection, tables=[events.event, events.position])
    yield opened
    opened.close()


def happened(db: Database, *kinds: str) -> None:
    with db.write_soft() as connection:
        for kind in kinds:
            events.append(connection, kind, 1000)


def told(db: Database, after: int = 0, limit: int = 500) -> list[Event]:
    with db.read() as connection:
        return events.since(connection, after, limit)


def test_an_event_is_told_as_it_was_written(db: Database) -> None:
    with db.write_soft() as connection:
        events.append(connection, "ref.moved", 1234, repo_id=7, actor_id=8, ref="refs/heads/main", old=None, new="ab")
    expected = Event(1, "ref.moved", 7, 8, {"ref": "refs/heads/main", "old": None, "new": "ab"}, 1234)
    assert told(db) == [expected]


def test_events_come_in_the_order_in_which_they_happened_a_page_at_a_time(db: Database) -> None:
    happened(db, "user.created", "repo.created", "repo.liked", "repo.unliked", "repo.deleted")
    first = told(db, limit=2)
    rest = told(db, first[-1].id)
    assert [event.kind for event in first] == ["user.created", "repo.created"]
    assert [event.kind for event in rest] == ["repo.liked", "repo.unliked", "repo.deleted"]
    assert told(db, rest[-1].id) == []


def test_an_event_of_what_did_not_happen_is_not_there(db: Database) -> None:
    with contextlib.suppress(RuntimeError), db.write() as connection:
        events.append(connection, "repo.created", 1)
        raise RuntimeError
    assert told(db) == []


def test_a_position_is_never_given_twice_even_when_the_last_rows_were_lost(db: Database) -> None:
    happened(db, "user.created", "user.changed")
    with db.write_soft() as connection:
        connection.execute(delete(events.event))
    happened(db, "repo.created")
    assert [event.id for event in told(db)] == [3]


def test_an_unknown_kind_is_a_bug(db: Database) -> None:
    with pytest.raises(AssertionError, match=r"repo\.exploded"):
        happened(db, "repo.exploded")


def test_the_last_position_of_an_empty_record_is_0(db: Database) -> None:
    with db.read() as connection:
        assert events.last_id(connection) == 0
    happened(db, "user.created", "user.changed")
    with db.read() as connection:
        assert events.last_id(connection) == 2


def test_every_kind_is_explained_in_a_sentence() -> None:
    assert all(text.endswith(".") and len(text) > 15 for text in events.KINDS.values())
