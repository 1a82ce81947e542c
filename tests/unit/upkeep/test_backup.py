"""A backup is the hub as it was at one event, taken while it serves; a restore never writes over anything."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hub_building import Hub, memory_folder, open_hub
from xet_building import a_file, a_xorb, noise

from headwater.app import owning
from headwater.ground import events, names
from headwater.ground.db import Database
from headwater.ground.errors import Conflict, Corrupt, Invalid
from headwater.repos import DeleteFile, Message
from headwater.repos.tables import intent
from headwater.upkeep import backup as keeping
from headwater.upkeep import verify as checking
from headwater.upkeep.backup import Manifest, Report

DATA = noise("weights", 4000)
X, Y = a_xorb("x", 1000, 2000), a_xorb("y", 500)
FILE = a_file((X, 0, 2), (Y, 0, 1))
MADE = "2026-11-21T12:00:00.000Z"


@pytest.fixture
def full(hub: Hub) -> Hub:
    repo = hub.repo("ada/x")
    hub.commit(repo, {"README.md": b"# x\n"}, {"a.bin": hub.upload(repo, DATA), "b.bin": hub.upload_xet(repo, FILE)})
    hub.rooms.repos.refs.create_tag(hub.ada, repo, "v1", "main", None)
    hub.commit(repo, {"later.txt": b"2\n"})
    hub.rooms.repos.refs.create_branch(hub.ada, repo, "dev", "main")
    return hub


@pytest.fixture
def target() -> Iterator[Path]:
    with memory_folder() as folder:
        yield folder / "backup"


def back_up(hub: Hub, target: Path) -> Report:
    return keeping.backup(hub.data, target, "1.2.3", MADE, lambda _done, _total: None)


def restored(target: Path, folder: Path) -> Hub:
    keeping.restore(target, folder, lambda _done, _total: None)
    return open_hub(folder)


def problems(hub: Hub) -> list[checking.Problem]:
    rooms = hub.rooms
    return list(checking.verify(rooms.db, rooms.repos, rooms.store, rooms.xets, 100, lambda _count: None))


def test_a_restored_hub_is_the_same_hub(full: Hub, target: Path) -> None:
    report = back_up(full, target)
    assert (report.repos, report.objects) == (1, 3)
    copy = restored(target, target.parent / "data")
    assert problems(copy) == []
    old, new = (hub.rooms.repos.registry.open(hub.ada, rid_of(hub), "read") for hub in (full, copy))
    assert old == new
    assert full.rooms.repos.refs.refs(old) == copy.rooms.repos.refs.refs(new)
    assert copy.read(FILE.real_sha256) == FILE.data
    assert (copy.data / "secret").read_bytes() == (full.data / "secret").read_bytes()
    # and it works: a commit and an upload land, wherever their hashes may lie
    for number in range(3):
        copy.commit(new, {f"{number}.txt": b"x"}, {f"{number}.bin": copy.upload(new, noise(number, 100))})
    assert problems(copy) == []
    copy.close()


def rid_of(hub: Hub) -> names.RepoId:
    return hub.rooms.repos.registry.by_id(1).rid


def test_the_manifest_says_what_the_backup_is(full: Hub, target: Path) -> None:
    report = back_up(full, target)
    manifest = msgspec.json.decode((target / keeping.MANIFEST).read_bytes(), type=Manifest)
    assert manifest == Manifest(1, "1.2.3", MADE, report.event_id)


def test_a_second_backup_copies_only_what_is_new(full: Hub, target: Path) -> None:
    first = back_up(full, target)
    assert first.copied_bytes > 7500
    before = {path: path.stat().st_ino for path in (target / "store").rglob("*") if path.is_file()}
    repo = full.rooms.repos.registry.by_id(1)
    full.commit(repo, large={"c.bin": full.upload(repo, noise("new", 300))})
    second = back_up(full, target)
    assert second.objects == first.objects + 1
    assert second.event_id == first.event_id + 1
    assert 300 < second.copied_bytes < 3000
    assert before == {path: path.stat().st_ino for path in before}
    copy = restored(target, target.parent / "data")
    assert problems(copy) == []
    copy.close()


def test_T09_a_backup_under_four_writers_holds_every_commit_up_to_its_mark_and_verifies(hub: Hub, target: Path) -> None:
    repos = [hub.repo(f"ada/r{number}") for number in range(2)]
    stop = threading.Event()
    acknowledged: list[tuple[int, str]] = []
    failures: list[BaseException] = []

    def write(number: int) -> None:
        repo, count = repos[number % 2], 0
        try:
            while not stop.is_set() and count < 200:
                sha256 = hub.upload(repo, noise(f"{number}:{count}", 200))
                acknowledged.append((repo.id, hub.commit(repo, large={f"{number}/{count}.bin": sha256})))
                count += 1
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    while len(acknowledged) < 8 and not failures:
        stop.wait(0.001)
    before = list(acknowledged)
    report = back_up(hub, target)
    stop.set()
    for writer in writers:
        writer.join()
    assert failures == []
    assert report.event_id < hub_events(hub)
    copy = restored(target, target.parent / "data")
    assert problems(copy) == []
    for repo_id, commit in before:
        tip = copy.rooms.repos.git.refs(repo_id)["refs/heads/main"]
        assert copy.rooms.repos.git.contains(repo_id, tip, commit)
    copy.close()


def hub_events(hub: Hub) -> int:
    with hub.rooms.db.read() as connection:
        return events.last_id(connection)


def once(work: Callable[[], object]) -> Callable[[int, int], None]:
    """A progress bar that lets something happen in the middle of a backup, the first time it is shown."""
    left = [work]

    def show(_done: int, _total: int) -> None:
        if left:
            left.pop()()

    return show


def test_T28_what_is_deleted_and_swept_while_a_backup_runs_does_not_end_it(full: Hub, target: Path) -> None:
    kept = full.repo("ada/kept")
    full.commit(kept, large={"k.bin": full.upload(kept, noise("kept", 100))})

    def delete_and_sweep() -> None:
        full.rooms.repos.registry.delete(full.ada, full.rooms.repos.registry.by_id(1).rid)
        full.clock.advance(40 * 86_400)
        collected = full.upkeep.collect()
        assert (collected.blobs, collected.xorbs) == (2, 2)

    keeping.backup(full.data, target, "1", MADE, once(delete_and_sweep))
    copy = restored(target, target.parent / "data")
    assert problems(copy) == []
    assert [repo.rid.full for repo in (copy.rooms.repos.registry.by_id(kept.id),)] == ["ada/kept"]
    copy.close()


def test_packs_that_are_joined_while_a_backup_runs_are_all_there(full: Hub, target: Path) -> None:
    repo = full.rooms.repos.registry.by_id(1)
    for number in range(8):
        full.commit(repo, {f"{number}.txt": b"x\n"})

    def join() -> None:
        full.upkeep.maintain(repo.id)

    keeping.backup(full.data, target, "1", MADE, once(join))
    copy = restored(target, target.parent / "data")
    assert problems(copy) == []
    copy.close()


def test_an_object_that_is_truly_gone_ends_the_backup_and_it_is_unfinished(full: Hub, target: Path) -> None:
    full.object(full.upload(full.rooms.repos.registry.by_id(1), DATA)).unlink()
    with pytest.raises(Corrupt, match="headwater verify"):
        back_up(full, target)
    assert not (target / keeping.MANIFEST).exists()
    with pytest.raises(Invalid, match="no finished backup"):
        keeping.restore(target, target.parent / "data", lambda _done, _total: None)


def test_a_damaged_file_does_not_end_a_backup(full: Hub, target: Path) -> None:
    sha256 = full.upload(full.rooms.repos.registry.by_id(1), DATA)
    full.object(sha256).unlink()
    with pytest.raises(Corrupt):
        full.read(sha256)
    assert back_up(full, target).objects == 2


def test_moves_that_were_under_way_at_the_mark_did_not_happen_in_the_copy(full: Hub, target: Path) -> None:
    with full.rooms.db.write() as connection:
        row = {"repo_id": 1, "ref": "refs/heads/main", "old": None, "new": "ab" * 20, "kind": "commit", "data": "{}"}
        connection.execute(intent.insert().values(**row, at_ms=0))
    back_up(full, target)
    copy = restored(target, target.parent / "data")
    with copy.rooms.db.read() as connection:
        assert connection.execute(intent.select()).all() == []
    assert problems(copy) == []
    copy.close()


def test_files_that_were_deleted_and_refs_that_are_gone_stay_gone(full: Hub, target: Path) -> None:
    repo = full.rooms.repos.registry.by_id(1)
    back_up(full, target)
    full.rooms.repos.refs.delete_branch(full.ada, repo, "dev")
    full.rooms.repos.commit.apply(
        full.ada, repo, "main", None, Message("less"), iter([DeleteFile(names.FilePath("later.txt"))])
    )
    back_up(full, target)
    copy = restored(target, target.parent / "data")
    assert sorted(copy.rooms.repos.git.refs(1)) == ["refs/heads/main", "refs/tags/v1"]
    assert copy.rooms.repos.git.refs(1) == full.rooms.repos.git.refs(1)
    copy.close()


def test_what_an_earlier_killed_run_left_is_no_part_of_the_backup(full: Hub, target: Path) -> None:
    back_up(full, target)
    (target / f"{keeping.DATABASE}-wal").write_bytes(b"an old log that must not be taken for this one's" * 100)
    (target / "store/blobs/aa").mkdir(exist_ok=True)
    (target / "store/blobs/aa/.x.half").write_bytes(b"half")
    back_up(full, target)
    copy = restored(target, target.parent / "data")
    assert problems(copy) == []
    assert not list(copy.data.rglob("*.half"))
    copy.close()


def test_a_backup_that_did_not_finish_is_refused_also_where_an_earlier_one_had(
    full: Hub, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(full, target)

    def killed(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keeping.backup(full.data, target, "1", MADE, killed)
    with pytest.raises(Invalid, match="no finished backup"):
        keeping.restore(target, target.parent / "data", lambda _done, _total: None)
    assert not (target.parent / "data").exists()


def test_everything_is_on_the_disk_before_the_manifest_says_so(
    full: Hub, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(os, "sync", lambda: seen.append((target / keeping.MANIFEST).exists()))
    back_up(full, target)
    assert seen == [False]


def test_a_backup_into_the_data_folder_is_refused(full: Hub) -> None:
    for place in (full.data, full.data / "backup"):
        with pytest.raises(Invalid, match="lies inside"):
            back_up(full, place)


def test_a_backup_over_another_hub_is_refused_and_leaves_it_whole(full: Hub, target: Path) -> None:
    with owning(target):
        (target / "headwater.sqlite").write_bytes(b"another hub's")
    with pytest.raises(Conflict, match="data folder of a hub"):
        back_up(full, target)
    assert sorted(path.name for path in target.iterdir()) == ["headwater.sqlite", "lock"]
    assert (target / "headwater.sqlite").read_bytes() == b"another hub's"


@pytest.mark.parametrize("there", ["file", "folder"])
def test_a_restore_into_a_folder_that_is_not_empty_is_refused_and_changes_nothing(
    full: Hub, target: Path, there: str
) -> None:
    back_up(full, target)
    data = target.parent / "data"
    data.mkdir()
    if there == "file":
        (data / "note").write_text("mine")
    else:
        (data / "git").mkdir()
    with pytest.raises(Conflict, match="not empty"):
        keeping.restore(target, data, lambda _done, _total: None)
    assert [path.name for path in data.iterdir()] == ["note" if there == "file" else "git"]


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        (b"{", "can't be read"),
        (b'{"format": 1}', "can't be read"),
        (b'{"format": 99, "version": "9.9", "made": "x", "event_id": 1}', "9.9"),
    ],
)
def test_a_manifest_that_is_damaged_or_of_a_later_format_is_refused(
    full: Hub, target: Path, manifest: bytes, why: str
) -> None:
    back_up(full, target)
    (target / keeping.MANIFEST).write_bytes(manifest)
    with pytest.raises(Invalid, match=why):
        keeping.restore(target, target.parent / "data", lambda _done, _total: None)


@pytest.mark.parametrize("name", ["headwater.sqlite", "secret"])
def test_a_backup_that_lost_what_every_hub_has_is_refused(full: Hub, target: Path, name: str) -> None:
    back_up(full, target)
    (target / name).unlink()
    with pytest.raises(Corrupt, match=f"{name} is missing"):
        keeping.restore(target, target.with_name("restored"), lambda _done, _total: None)
    assert not target.with_name("restored").exists()


def test_a_folder_without_a_backup_is_refused(target: Path) -> None:
    with pytest.raises(Invalid, match="no finished backup"):
        keeping.restore(target, target.parent / "data", lambda _done, _total: None)


def test_the_secret_of_a_restored_hub_is_for_its_owner_alone(full: Hub, target: Path) -> None:
    back_up(full, target)
    (target / "secret").chmod(0o644)
    restored(target, target.parent / "data").close()
    assert (target.parent / "data/secret").stat().st_mode & 0o777 == 0o600


def test_new_folders_are_for_their_owner_alone_and_old_ones_keep_their_mode(full: Hub, target: Path) -> None:
    old, new = target / "old", target / "restored"
    old.mkdir(0o750, parents=True)
    back_up(full, old)
    back_up(full, target / "new")
    keeping.restore(old, new, lambda _done, _total: None)
    assert [path.stat().st_mode & 0o777 for path in (old, target / "new", new)] == [0o750, 0o700, 0o700]


def test_a_restore_that_is_killed_leaves_no_database_that_a_command_would_open(full: Hub, target: Path) -> None:
    back_up(full, target)
    data = target.parent / "data"

    def killed(done: int, total: int) -> None:
        if done == total - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keeping.restore(target, data, killed)
    assert not (data / keeping.DATABASE).exists()


def test_refs_come_from_events_and_not_from_the_live_repository(full: Hub) -> None:
    db = Database(full.rooms.db.path)
    assert keeping.refs_of_events(db) == {1: dict(full.rooms.repos.git.refs(1))}
    db.close()


def test_a_duplicated_repo_is_whole_in_the_backup(full: Hub, target: Path) -> None:
    repo = full.rooms.repos.registry.by_id(1)
    twin = full.rooms.repos.copies.duplicate(full.ada, repo, names.repo_id("model", "ada/twin"), False)
    back_up(full, target)
    shutil.rmtree(full.data / "git")  # the packs were linked; not even a link leads back
    copy = restored(target, target.parent / "data")
    assert problems(copy) == []
    assert copy.rooms.repos.git.refs(twin.id) == copy.rooms.repos.git.refs(1)
    copy.close()
