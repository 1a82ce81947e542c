"""The composition root: one process per data folder, rooms over it, and what follows an event."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "upkeep"))  # importlib mode leaves it out

from hub_building import Hub, copy_of, make_template, memory_folder, settings_of

from headwater import app as root
from headwater import codec
from headwater.catalog import search
from headwater.ground import db as db_module
from headwater.ground import events, names
from headwater.ground.clock import FixedClock
from headwater.ground.db import Database
from headwater.ground.errors import Corrupt, Invalid, Unavailable
from headwater.ground.jobs import enqueue, given_up
from headwater.lineage.following import SETTLE_MS


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    with memory_folder() as folder:
        make_template(folder / "data")
        yield folder / "data"


@pytest.fixture
def hub(template: Path) -> Iterator[Hub]:
    with copy_of(template) as opened:
        yield opened


@pytest.fixture
def folder() -> Iterator[Path]:
    with memory_folder() as made:
        yield made


# --- one process ---


def test_T10_a_second_owner_is_refused_with_the_first_ones_number_and_does_no_damage(folder: Path) -> None:
    with root.owning(folder / "data"):
        with (
            pytest.raises(Unavailable, match=rf"process {os.getpid()}\) serves .*another --data"),
            root.owning(folder / "data"),
        ):
            raise AssertionError
        assert (folder / "data/lock").read_text() == f"{os.getpid()}\n"
    with root.owning(folder / "data"):
        pass


def test_T10_an_owner_that_was_killed_leaves_no_lock_behind(folder: Path) -> None:
    program = (
        "import sys, pathlib, headwater.app as root\n"
        f"with root.owning(pathlib.Path({str(folder)!r})):\n"
        "    print('mine', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"mine\n"
        with pytest.raises(Unavailable, match=f"process {owner.pid}"), root.owning(folder):
            raise AssertionError
        owner.send_signal(signal.SIGKILL)
    with root.owning(folder):
        assert (folder / "lock").read_text() == f"{os.getpid()}\n"


def test_a_lock_with_an_unreadable_owner_is_still_a_lock(folder: Path) -> None:
    with root.owning(folder) as lock:
        lock.truncate(0)
        with pytest.raises(Unavailable, match="process unknown"), root.owning(folder):
            raise AssertionError


def test_a_data_folder_that_is_a_file_is_refused_in_words(folder: Path) -> None:
    (folder / "file").write_text("x")
    for place in (folder / "file", folder / "file/below"):
        with pytest.raises(Invalid, match="data folder"), root.owning(place):
            raise AssertionError


# --- rooms ---


def test_a_new_data_folder_has_what_the_specification_says(folder: Path) -> None:
    rooms = root.open_rooms(settings_of(folder / "data"), FixedClock())
    root.prepare(rooms)
    rooms.db.close()
    found = {path.name for path in (folder / "data").iterdir()}
    assert {"headwater.sqlite", "secret", "store", "git", "incoming"} <= found
    assert (folder / "data/secret").stat().st_mode & 0o777 == 0o600


def test_opening_again_changes_nothing(hub: Hub) -> None:
    repo = hub.repo("ada/x")
    again = root.open_rooms(settings_of(hub.data), FixedClock())
    root.prepare(again)
    assert again.repos.registry.by_id(repo.id) == hub.rooms.repos.registry.by_id(repo.id)
    again.db.close()


def test_T01_what_a_crash_left_half_written_is_cleared_before_the_first_request(hub: Hub) -> None:
    half = hub.rooms.store.objects.begin()
    half.write(b"half")
    (hub.data / "git/incoming/own-1.pack").write_bytes(b"half")
    root.prepare(hub.rooms)
    assert list(hub.rooms.store.objects.incoming.iterdir()) == []
    assert list((hub.data / "git/incoming").iterdir()) == []
    half.drop()


def test_a_folder_of_a_newer_headwater_is_refused(hub: Hub) -> None:
    with hub.rooms.db.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Unavailable, match="newer Headwater"):
        root.open_rooms(settings_of(hub.data), FixedClock())


def test_a_database_that_is_none_is_refused_in_words(folder: Path) -> None:
    (folder / "headwater.sqlite").write_bytes(b"this is not what we think" * 1000)
    with pytest.raises(Corrupt, match="damaged"):
        root.open_rooms(settings_of(folder), FixedClock())


# --- who follows whom ---


def test_a_commit_is_read_by_the_index_once_the_jobs_run(hub: Hub) -> None:
    repo = hub.repo("ada/x")
    hub.commit(repo, {"README.md": b"---\nlicense: mit\n---\n# x\n"})
    for feed in hub.rooms.jobs._feeds:
        feed()
    hub.rooms.jobs.drain()
    with hub.rooms.db.read() as connection:
        known = search.one(connection, repo.id)
        assert given_up(connection) == []
    assert known is not None
    assert "license:mit" in known.tags


def test_the_hub_follows_what_other_processes_find_damaged_and_looks_only_after_a_commit(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db_module, "VERSION_BELIEVED_S", 0.0)
    forgotten: list[str] = []
    monkeypatch.setattr(hub.rooms.store, "forget", forgotten.append)
    store_feed = next(feed for feed in hub.rooms.jobs._feeds if feed.__qualname__ == "Store.follow")
    store_feed()
    other = Database(hub.data / "headwater.sqlite")
    with other.write() as connection:
        events.append(connection, "blob.damaged", 0, sha256="a" * 64, xorb=None)
    other.close()
    store_feed()
    assert forgotten == ["a" * 64]
    monkeypatch.setattr(hub.rooms.db, "read", None)  # whoever asked the rows now would fail
    store_feed()


def test_only_files_that_the_store_keeps_start_the_process_that_seals(hub: Hub) -> None:
    repo = hub.repo("ada/x")

    def wanted() -> bool:
        for feed in hub.rooms.jobs._feeds:
            feed()
        hub.clock.advance(SETTLE_MS / 1000)
        return root._is_there_to_seal(hub.rooms.db, hub.clock)

    hub.commit(repo, {f"{n}.txt": b"text" for n in range(10)})
    assert not wanted()
    hub.commit(repo, large={"model.safetensors": hub.upload(repo, b"weights")})
    assert wanted()


def test_a_renamed_namespace_takes_its_repos_along(hub: Hub) -> None:
    repo = hub.repo("ada/x")
    hub.rooms.accounts.rename_namespace(hub.ada, "ada", "lovelace")
    assert hub.rooms.repos.registry.by_id(repo.id).rid == names.repo_id("model", "lovelace/x")


@pytest.mark.parametrize("needed", [True, False])
def test_the_codec_is_loaded_at_the_start_of_a_hub_that_keeps_files_only_sealed_and_of_no_other(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, needed: bool
) -> None:
    warmed: list[str] = []
    monkeypatch.setattr(root, "needs_codec", lambda _store: needed)
    monkeypatch.setattr(codec, "warm", lambda: warmed.append("warm"))
    with hub.rooms.db.write() as connection:
        enqueue(connection, hub.clock, "upkeep", "all", {})
    hub.rooms.jobs.drain(["upkeep"])
    assert bool(warmed) is needed


def test_every_kind_of_job_that_is_enqueued_has_a_handler_that_ends_well(hub: Hub) -> None:
    repo = hub.repo("ada/x")
    with hub.rooms.db.write_soft() as connection:
        enqueue(connection, hub.clock, "upkeep", "all", {})
        enqueue(connection, hub.clock, "git.maintenance", str(repo.id), {})
    assert hub.rooms.jobs.drain() >= 2
    with hub.rooms.db.read() as connection:
        assert given_up(connection) == []


def test_T07_jobs_that_a_killed_process_was_running_are_taken_over(hub: Hub) -> None:
    repo = hub.repo("ada/x")
    with hub.rooms.db.write_soft() as connection:
        enqueue(connection, hub.clock, "git.maintenance", str(repo.id), {})
    assert hub.rooms.jobs._claim(("git.maintenance",)) is not None
    # another process, after kill -9 of this one
    after = root.open_rooms(settings_of(hub.data), hub.clock)
    assert after.jobs.drain(["git.maintenance"]) == 0
    root.start_work(after)
    root.stop_work(after)
    with after.db.read() as connection:
        left = connection.exec_driver_sql("SELECT count(*) FROM job WHERE state = 'running'").scalar_one()
    after.db.close()
    assert left == 0


def test_stopping_writes_down_what_was_counted(hub: Hub) -> None:
    repo = hub.repo("ada/x")
    hub.rooms.counts.note(repo.id, "127.0.0.1")
    root.stop_work(hub.rooms)
    db = Database(hub.rooms.db.path)
    with db.read() as connection:
        assert connection.exec_driver_sql("SELECT sum(count) FROM download").scalar_one() == 1
    db.close()
