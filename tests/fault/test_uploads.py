"""T23: abandoned uploads are collected and their space returns, pending ones stay. T11: whatever the clock does."""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Hubs
from fault_hub import ALICE, LFS_JSON, Gone, Hub, clone_of, du, problems
from test_disk import a_xorb

from headwater import app as root
from headwater.accounts.actor import Actor
from headwater.front.rooms import Rooms
from headwater.ground.clock import FixedClock
from headwater.ground.errors import Invalid
from headwater.ground.names import FilePath, RepoId, Sha256
from headwater.ground.settings import Settings
from headwater.repos import AddPointer, Message
from headwater.repos.values import Repo

MIB = 1 << 20
DAY_S = 86_400
AT_ONCE = {"HEADWATER_UPLOAD_GRACE_S": "0", "HEADWATER_XORB_KEEP_S": "0"}


def noise(seed: object, size: int) -> bytes:
    return hashlib.shake_128(str(seed).encode()).digest(size)


# --- T23 ---------------------------------------------------------------------------------------------------------


def _upload_parts(hub: Hub, data: bytes, count: int) -> None:
    """Begins an upload in parts and abandons it after some."""
    oid = hashlib.sha256(data).hexdigest()
    asked = {"operation": "upload", "transfers": ["multipart"], "objects": [{"oid": oid, "size": len(data)}]}
    batch = hub.good("POST", "/alice/m.git/info/lfs/objects/batch", json.dumps(asked).encode(), headers=LFS_JSON)
    header = batch.json["objects"][0]["actions"]["upload"]["header"]
    size = int(header["chunk_size"])
    for number in range(1, count + 1):
        part = data[(number - 1) * size : number * size]
        path = header[str(number)].removeprefix(hub.url)
        assert hub.ask("PUT", path, part, token="").status == 200


def _post_xorb(hub: Hub, data: bytes) -> None:
    token = hub.good("GET", "/api/models/alice/m/xet-write-token/main").json["accessToken"]
    name, sent = a_xorb(data)
    assert hub.ask("POST", f"/xet/v1/xorbs/default/{name}", sent, token=token).status == 200


def test_T23_abandoned_uploads_are_collected_after_their_grace_and_their_space_returns(hubs: Hubs) -> None:
    hub = hubs(HEADWATER_LFS_PART_SIZE=str(MIB)).start()
    kept, abandoned = noise("kept", 2 * MIB), noise("abandoned", 6 * MIB)
    hub.uploaded("alice/m", kept)
    hub.committed("alice/m", {}, large={"kept.bin": kept})
    before = du(hub.data / "store") + du(hub.data / "uploads")
    hub.uploaded("alice/m", abandoned)
    _upload_parts(hub, noise("parts", 5 * MIB), 3)
    _post_xorb(hub, noise("xorb", 4 * MIB))
    full = du(hub.data / "store") + du(hub.data / "uploads")
    assert full - before > 12 * MIB
    assert hub.stop() == 0

    pending = hub.headwater("collect", "--json")
    assert (pending.returncode, json.loads(pending.stdout)["freed_bytes"]) == (0, 0)
    assert du(hub.data / "store") + du(hub.data / "uploads") == full

    done = hub.headwater("collect", "--json", data=hub.data, **AT_ONCE)
    assert done.returncode == 0, done.stderr
    assert du(hub.data / "store") + du(hub.data / "uploads") == before
    told = json.loads(done.stdout)
    assert (told["holds"], told["uploads"], told["blobs"], told["xorbs"]) == (1, 1, 1, 1)

    hub.start()
    assert hub.files("alice/m")["kept.bin"] == kept
    assert hub.commit("alice/m", {}, large={"gone.bin": abandoned}).status == 422
    hub.uploaded("alice/m", abandoned)
    hub.committed("alice/m", {}, large={"back.bin": abandoned})
    assert hub.files("alice/m")["back.bin"] == abandoned
    assert problems(hub.data) == []


def test_T23_what_a_crash_left_of_an_upload_is_collected_too(hubs: Hubs) -> None:
    """Killed when the bytes had landed and nothing named them yet."""
    hub = hubs(HEADWATER_CRASH_AT="object-landed").start()
    before = du(hub.data / "store")
    with pytest.raises(Gone):
        hub.uploaded("alice/m", noise("orphan", 4 * MIB))
    assert hub.ended() == -9
    assert du(hub.data / "store") - before >= 4 * MIB

    done = hub.headwater("collect", data=hub.data, **AT_ONCE, HEADWATER_CRASH_AT="")

    assert done.returncode == 0, done.stderr
    assert du(hub.data / "store") == before


@pytest.fixture
def rooms(template: Path, tmp_path: Path) -> Rooms:
    """Rooms in this process, whose clock the test owns; uploads that no commit names go at once."""
    data = clone_of(template, tmp_path / "data")
    settings = Settings(data=str(data), upload_grace_s=0)
    opened = root.open_rooms(settings, FixedClock())
    root.prepare(opened)
    return opened


@pytest.fixture
def alice(rooms: Rooms) -> Actor:
    return rooms.accounts.actor_by_token(ALICE)


def _repo(rooms: Rooms, alice: Actor) -> Repo:
    return rooms.repos.registry.open(alice, RepoId("model", "alice", "m"), "write")


def _upload(rooms: Rooms, repo: Repo, data: bytes) -> Sha256:
    name = Sha256(hashlib.sha256(data).hexdigest())
    rooms.store.ingest([data], name, len(data))
    rooms.repos.holds.hold(repo.id, [name])
    return name


def _commit(rooms: Rooms, alice: Actor, path: str, name: Sha256) -> str:
    operations = [AddPointer(FilePath(path), name, None)]
    return rooms.repos.commit.apply(
        alice, _repo(rooms, alice), "main", None, Message("a change", ""), operations
    ).commit


def test_T23_collecting_races_with_commits_and_never_takes_what_one_of_them_names(rooms: Rooms, alice: Actor) -> None:
    clock, upkeep, done = rooms.clock, root.upkeep_of(rooms), threading.Event()
    assert isinstance(clock, FixedClock)
    repo, committed, refused = _repo(rooms, alice), {}, []

    def work(number: int) -> None:
        for turn in range(25):
            # the same bytes come again and again: landing and deleting them meet
            data = noise((number, turn % 5), 3000)
            name = Sha256(hashlib.sha256(data).hexdigest())
            try:
                _upload(rooms, repo, data)  # refused if it is collected before it is held: here the grace is nothing
                clock.advance(0.001)
                _commit(rooms, alice, f"{number}-{turn}.bin", name)
                committed[f"{number}-{turn}.bin"] = name
            except Invalid as error:
                assert error.status == 422 and name in error.details["missing"]
                refused.append(name)

    def collect() -> None:
        while not done.is_set():
            clock.advance(0.001)
            upkeep.collect()

    with ThreadPoolExecutor(4) as threads:
        collector = threads.submit(collect)
        workers = [threads.submit(work, number) for number in range(3)]
        try:
            for worker in workers:
                worker.result()
        finally:
            done.set()
        collector.result()

    assert committed
    for name in committed.values():
        assert hashlib.sha256(b"".join(rooms.store.read(name))).hexdigest() == name
    rooms.db.close()
    assert problems(Path(rooms.settings.data)) == []


# --- T11 ---------------------------------------------------------------------------------------------------------


def test_T11_commits_stay_in_the_order_of_their_acknowledgement_whatever_the_clock_does(
    rooms: Rooms, alice: Actor
) -> None:
    clock, made = rooms.clock, []
    assert isinstance(clock, FixedClock)
    for number, jump_s in enumerate((0, -DAY_S, 2 * DAY_S, -1, 1, -3 * DAY_S, 0)):
        clock.at_ms += jump_s * 1000
        made.append(_commit(rooms, alice, f"{number}.bin", _upload(rooms, _repo(rooms, alice), b"%d" % number)))

    listed = [commit.id for commit in rooms.repos.refs.commits(_repo(rooms, alice), "main").commits]

    assert listed[: len(made)] == made[::-1]
    rooms.db.close()
    assert problems(Path(rooms.settings.data)) == []


def test_T11_an_upload_made_while_the_clock_was_a_day_wrong_can_be_committed_and_is_not_collected(
    template: Path, tmp_path: Path
) -> None:
    clock = FixedClock()
    rooms = root.open_rooms(Settings(data=str(clone_of(template, tmp_path / "data"))), clock)
    root.prepare(rooms)
    alice = rooms.accounts.actor_by_token(ALICE)
    for jump_s in (-DAY_S, DAY_S, 1, -1):
        clock.at_ms += jump_s * 1000
        name = _upload(rooms, _repo(rooms, alice), noise(jump_s, 1000))
        clock.at_ms -= jump_s * 1000

        assert root.upkeep_of(rooms).collect().freed_bytes == 0
        _commit(rooms, alice, f"{jump_s}.bin", name)
    rooms.db.close()
    assert problems(Path(rooms.settings.data)) == []
