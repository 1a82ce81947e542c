"""Collecting: what nobody needs goes after its grace period, what somebody might need never."""

from __future__ import annotations

import os

import pytest
from hub_building import Hub
from sqlalchemy import select
from xet_building import a_xorb, all_of, noise

from headwater.ground import names
from headwater.ground.errors import EntryMissing, HeadwaterError
from headwater.ground.jobs import job
from headwater.repos.tables import repo as repo_table
from headwater.store import sweep
from headwater.upkeep import COLLECT_EVERY_S, Collected

DATA = noise("weights", 4000)
X = a_xorb("x", 1000, 2000)
DAY_S = 86_400


def test_a_new_hub_has_nothing_to_collect(hub: Hub) -> None:
    assert hub.upkeep.collect() == Collected(0, 0, 0, 0, 0, 0)


def test_T23_an_upload_that_no_commit_names_is_collected_after_its_grace_period(hub: Hub) -> None:
    repo = hub.repo("ada/x")
    sha256 = hub.upload(repo, DATA)
    hub.clock.advance(7 * DAY_S)
    assert hub.upkeep.collect() == Collected(0, 0, 0, 0, 0, 0)
    assert hub.read(sha256) == DATA
    hub.clock.advance(1)
    assert hub.upkeep.collect() == Collected(holds=1, uploads=0, blobs=1, xorbs=0, unnamed=0, freed_bytes=4000)
    assert not hub.object(sha256).exists()
    assert not hub.rooms.repos.holds.has(repo.id, sha256)
    with pytest.raises(EntryMissing):
        hub.read(sha256)


def test_T28_what_a_commit_names_stays_for_ever(hub: Hub) -> None:
    repo = hub.repo("ada/x")
    sha256 = hub.upload(repo, DATA)
    hub.commit(repo, large={"a.bin": sha256})
    hub.clock.advance(1000 * DAY_S)
    assert hub.upkeep.collect() == Collected(0, 0, 0, 0, 0, 0)
    # and stays reachable in the history after a later commit replaced it
    hub.commit(repo, {"a.bin": b"small now"})
    hub.clock.advance(1000 * DAY_S)
    hub.upkeep.collect()
    assert hub.read(sha256) == DATA


def test_T28_bytes_that_two_repos_hold_stay_until_the_second_cannot_be_brought_back(hub: Hub) -> None:
    repos = [hub.repo("ada/x"), hub.repo("ada/y")]
    for repo in repos:
        hub.commit(repo, large={"a.bin": hub.upload(repo, DATA)})
    hub.clock.advance(8 * DAY_S)
    for repo, blobs in zip(repos, (0, 1), strict=True):
        hub.rooms.repos.registry.delete(hub.ada, repo.rid)
        assert hub.upkeep.collect() == Collected(0, 0, 0, 0, 0, 0)
        hub.clock.advance(7 * DAY_S)
        assert (found := hub.upkeep.collect()) and (found.repos, found.blobs) == (1, blobs)


def test_a_xorb_outlives_its_file_for_as_long_as_clients_remember_it(hub: Hub) -> None:
    repo = hub.repo("ada/x")
    sha256 = hub.upload_xet(repo, all_of(X))
    hub.clock.advance(8 * DAY_S)
    assert hub.upkeep.collect() == Collected(holds=1, uploads=0, blobs=1, xorbs=0, unnamed=0, freed_bytes=0)
    assert hub.xorb(X).exists()
    hub.clock.advance(21 * DAY_S)
    assert hub.upkeep.collect() == Collected(holds=0, uploads=0, blobs=0, xorbs=1, unnamed=0, freed_bytes=3000)
    assert not hub.xorb(X).exists()
    # sent again, all of it is back
    assert hub.upload_xet(repo, all_of(X)) == sha256
    assert hub.read(sha256) == X.plain


def test_T23_uploads_in_parts_are_collected_too(hub: Hub) -> None:
    upload = hub.rooms.uploads.begin("repo 1", hub.upload(hub.repo("ada/x"), DATA), 10_000, 1000)
    hub.clock.advance(7 * DAY_S + 1)
    assert hub.upkeep.collect().uploads == 1
    with pytest.raises(HeadwaterError):
        hub.rooms.uploads.part(upload, 1)


def test_more_than_one_page_of_leftovers_goes_in_one_round(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.upkeep.PAGE", 2)
    repo = hub.repo("ada/x")
    for number in range(5):
        hub.upload(repo, noise(number, 10))
    hub.clock.advance(8 * DAY_S)
    assert hub.upkeep.collect() == Collected(holds=5, uploads=0, blobs=5, xorbs=0, unnamed=0, freed_bytes=50)


def test_the_next_round_is_scheduled_with_repos_whose_packs_should_be_joined(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanting, other = hub.repo("ada/x"), hub.repo("ada/y")
    monkeypatch.setattr(hub.rooms.repos.git, "needs_maintenance", lambda repo_id: repo_id == wanting.id)
    hub.upkeep.collect_and_schedule()
    with hub.rooms.db.read() as connection:
        jobs = {(row.kind, row.key): row.until_ms - hub.clock.now_ms() for row in connection.execute(select(job))}
        live = connection.execute(select(repo_table.c.id)).scalars().all()
    assert jobs[("upkeep", "all")] == COLLECT_EVERY_S * 1000
    assert ("git.maintenance", str(wanting.id)) in jobs
    assert ("git.maintenance", str(other.id)) not in jobs
    assert set(live) == {wanting.id, other.id}
    hub.upkeep.maintain(wanting.id)


def test_T01_what_a_crash_left_without_a_row_goes_after_the_grace_period(hub: Hub) -> None:
    repo = hub.repo("ada/x")
    sha256 = hub.upload(repo, DATA)
    hub.commit(repo, large={"a.bin": sha256})
    stray = hub.object(names.sha256("ab" * 32))
    stray.write_bytes(b"landed, and then the power went")
    for path in (stray, hub.object(sha256)):
        os.utime(path, (hub.clock.now_ms() / 1000 - 1, hub.clock.now_ms() / 1000 - 1))
    hub.upkeep.collect()
    assert stray.exists()
    hub.clock.advance(7 * DAY_S)
    assert hub.upkeep.collect() == Collected(0, 0, 0, 0, unnamed=1, freed_bytes=31)
    assert not stray.exists()
    assert hub.read(sha256) == DATA


def test_all_objects_are_walked_once_a_day_and_not_every_hour(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    walks: list[int] = []
    monkeypatch.setattr(sweep, "unnamed", lambda _store, before_ms: walks.append(before_ms) or sweep.Swept())
    upkeep = hub.upkeep
    for _ in range(26):
        upkeep.collect()
        hub.clock.advance(3600)
    assert len(walks) == 2
