"""This hub's own events as tables: what was counted is what a snapshot says, public repos alone unless asked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import delete, insert, update

from headwater.app import open_rooms, prepare
from headwater.catalog.pulls import DAY_MS, Visitor
from headwater.catalog.tables import download, pull_day
from headwater.cli.observatory import observatory
from headwater.front.rooms import Rooms
from headwater.ground import names
from headwater.ground.clock import FixedClock
from headwater.ground.settings import Settings
from headwater.observatory import Choices, World, ask
from headwater.observatory.imports.door import snapshot_own
from headwater.observatory.imports.job import Options, Silent
from headwater.observatory.imports.own_events import SAYS, key_of
from headwater.observatory.run import run
from headwater.repos.tables import repo

NOW_MS = 1_795_262_400_000  # 2026-11-21, noon
TODAY = dt.date(2026, 11, 21)
COMMIT = "a" * 40
Hub = tuple[Rooms, dict[str, int], FixedClock]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Three public models, a private and a disabled one; nothing was ever served."""
    clock = FixedClock(NOW_MS)
    rooms = open_rooms(Settings(data=str(tmp_path / "data")), clock)
    prepare(rooms)
    rooms.accounts.create_user("ada", "Ada", "", None)
    actor = rooms.accounts.actor_again(rooms.accounts.namespace("ada").id, None)
    ids = {}
    for name in ("base", "tuned", "quiet", "secret", "banned"):
        rid = names.repo_id("model", f"ada/{name}")
        ids[name] = rooms.repos.registry.create(actor, rid, name == "secret").repo.id
    with rooms.db.write() as connection:
        connection.execute(update(repo).where(repo.c.id == ids["banned"]).values(disabled=True))
    rooms.index.rebuild(lambda *_: None)
    yield rooms, ids, clock
    rooms.db.close()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "observatory")


def serve(rooms: Rooms, repo_id: int, *, pulls: int = 0, pulls_ci: int = 0, heads: int = 0, downloads: int = 0) -> None:
    """As the front notes it; each pull has a client and ten bytes."""
    for number in range(pulls):
        rooms.counts.pulls.weights(repo_id, COMMIT, Visitor(f"192.0.2.{number}"), 10)
    for number in range(pulls_ci):
        rooms.counts.pulls.weights(repo_id, COMMIT, Visitor(f"198.51.100.{number}", ci=True), 10)
    for _ in range(heads):
        rooms.counts.pulls.head(repo_id, Visitor("192.0.2.0"))
    for number in range(downloads):
        rooms.counts.note(repo_id, f"192.0.2.{number}")
    rooms.counts.flush()


def rows(world: World, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run(world, sql, (), world.snapshots()).to_pylist()
    return found


def test_a_day_is_what_was_counted_that_day(hub: Hub, world: World) -> None:
    rooms, ids, clock = hub
    serve(rooms, ids["base"], pulls=3, pulls_ci=2, heads=4, downloads=5)
    clock.advance(86_400)
    serve(rooms, ids["base"], heads=1)
    report = snapshot_own(world, rooms.db, clock.now_ms(), Options(), Silent())
    assert report.rows == {"model": 3, "count": 2, "event_day": 2}
    assert rows(world, "select * exclude (snapshot) from event_day order by day") == [
        {"day": TODAY, "repo_key": key_of(ids["base"]), "id": "ada/base", "downloads_hub": 5, "pulls": 3,
         "pulls_ci": 2, "heads": 4, "clients": 3, "bytes": 50},
        {"day": TODAY + dt.timedelta(1), "repo_key": key_of(ids["base"]), "id": "ada/base", "downloads_hub": 0,
         "pulls": 0, "pulls_ci": 0, "heads": 1, "clients": 1, "bytes": 0},
    ]  # fmt: skip


def test_daily_counts_go_back_further_than_the_days_of_the_lists(hub: Hub, world: World) -> None:
    rooms, ids, clock = hub
    for _ in range(100):
        serve(rooms, ids["base"], downloads=2)
        clock.advance(86_400)
    snapshot_own(world, rooms.db, clock.now_ms(), Options(), Silent())
    counts = rows(world, "select downloads_all as n from count order by counted_at")
    assert [row["n"] for row in counts] == list(range(2, 202, 2))
    assert rows(world, "select downloads_all as n from model where id = 'ada/base'") == [{"n": 200}]


def test_days_from_before_pulls_were_kept_have_downloads_and_clients(hub: Hub, world: World) -> None:
    rooms, ids, clock = hub
    today = NOW_MS // DAY_MS
    with rooms.db.write() as connection:
        for day, count, clients in ((0, 12, 0), (today - 1, 20, 3)):
            row = {"repo_id": ids["base"], "day": day, "count": count, "clients": clients}
            connection.execute(insert(download), row)
    serve(rooms, ids["base"], downloads=1, pulls=1)
    snapshot_own(world, rooms.db, clock.now_ms(), Options(), Silent())
    found = rows(world, "select downloads_hub as d, pulls as p, clients as c from event_day order by day")
    assert found == [{"d": 20, "p": None, "c": 3}, {"d": 1, "p": 1, "c": 1}]
    assert rows(world, "select downloads_all as n from count order by counted_at") == [{"n": 32}, {"n": 33}]


def test_what_came_before_the_days_that_are_kept_is_in_the_cumulative_count(hub: Hub, world: World) -> None:
    rooms, ids, clock = hub
    serve(rooms, ids["base"], downloads=7)
    clock.advance(70 * 86_400)
    serve(rooms, ids["base"], downloads=2)
    with rooms.db.write() as connection:
        connection.execute(delete(pull_day).where(pull_day.c.downloads == 7))
    snapshot_own(world, rooms.db, clock.now_ms(), Options(), Silent())
    assert rows(world, "select downloads_all as n from count") == [{"n": 9}]


def test_a_day_that_is_still_to_come_is_left_out(hub: Hub, world: World) -> None:
    rooms, ids, clock = hub
    serve(rooms, ids["base"], downloads=1, pulls=1)
    clock.at_ms += 1000 * DAY_MS
    serve(rooms, ids["tuned"], downloads=1, pulls=1)
    clock.at_ms -= 1000 * DAY_MS
    snapshot_own(world, rooms.db, clock.now_ms(), Options(), Silent())
    assert rows(world, "select id from event_day") == rows(world, "select id from count") == [{"id": "ada/base"}]


def test_public_models_alone_and_the_snapshot_says_so(hub: Hub, world: World) -> None:
    rooms, ids, clock = hub
    for name in ids:
        serve(rooms, ids[name], pulls=1, downloads=1)
    report = snapshot_own(world, rooms.db, clock.now_ms(), Options(), Silent())
    made = world.snapshot("own").manifest
    assert report.notes[0] == made.biases == SAYS["public"]
    assert (report.name, made.ship) == ("own", "yes")
    public = [{"id": f"ada/{name}"} for name in ("base", "quiet", "tuned")]
    for table in ("model", "event_day", "count"):
        assert rows(world, f"select distinct id from {table} order by id") == public
    for path in world.snapshot("own").folder.iterdir():
        assert b"secret" not in path.read_bytes()


def test_private_models_come_when_asked_for_under_a_name_of_their_own(hub: Hub, world: World) -> None:
    rooms, ids, clock = hub
    serve(rooms, ids["secret"], pulls=1)
    report = snapshot_own(world, rooms.db, clock.now_ms(), Options(), Silent(), "all")
    made = world.snapshot("own-private").manifest
    assert report.notes[0] == made.biases == SAYS["all"]
    assert made.ship == "facts-only"
    assert rows(world, "select id from event_day") == [{"id": "ada/secret"}]
    assert rows(world, "select id, private from model where private") == [{"id": "ada/secret", "private": True}]
    assert rows(world, "select id from model where id like '%banned%'") == []


def test_the_questions_of_own_events_are_answered_from_it(hub: Hub, world: World) -> None:
    rooms, ids, clock = hub
    serve(rooms, ids["base"], pulls=3, downloads=6)
    serve(rooms, ids["tuned"], pulls_ci=1, heads=2)
    snapshot_own(world, rooms.db, clock.now_ms(), Options(), Silent())
    by_repo = ask(world, "own-repos").table.to_pylist()
    assert [(row["id"], row["pulls"], row["pulls_ci"], row["downloads_per_pull"]) for row in by_repo] == [
        ("ada/base", 3, 0, 2.0), ("ada/tuned", 0, 1, None),
    ]  # fmt: skip
    (by_day,) = ask(world, "own-downloads", Choices(grain="month")).table.to_pylist()
    assert (by_day["downloads_hub"], by_day["pulls"], by_day["heads"], by_day["bytes"]) == (6, 3, 2, 40)


@pytest.mark.parametrize(("option", "said", "count"), [([], "public", 3), (["--private"], "all", 4)])
def test_the_command_says_which_repos_are_in_it(hub: Hub, option: list[str], said: str, count: int) -> None:
    rooms, ids, _ = hub
    serve(rooms, ids["base"], pulls=1)
    done = CliRunner().invoke(observatory, ["snapshot", "--data", rooms.settings.data, *option])
    assert done.exit_code == 0, done.output
    assert f"{count} model" in done.stdout
    assert SAYS[said] in done.stdout  # type: ignore[index]
