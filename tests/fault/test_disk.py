"""T03 to T05: a disk that is full, that does not give back what it holds, or that has become read-only.

Each test has one hub on a disk of its own. Refused writes say so with a code, leave nothing, and work when the disk
does again; reads go on as long as the disk gives anything.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from conftest import Hubs
from fault_hub import Answer, Download, Hub, clone_of, git, problems
from fault_power import shim_environment

from headwater.store.objects import blob_key
from headwater.store.xorb import CHUNK_HEADER_BYTES, XorbReader

DISK = 48 << 20
PAGE = 4096
SmallDisk = Callable[[int], Path]


def noise(seed: str, size: int) -> bytes:
    return hashlib.shake_128(seed.encode()).digest(size)


def a_xorb(data: bytes) -> tuple[str, bytes]:
    """Its name and what a client sends: uncompressed chunks of 64 KiB."""
    sent = b""
    for start in range(0, len(data), 65536):
        chunk = data[start : start + 65536]
        sent += (len(chunk) << 8 | len(chunk) << 40).to_bytes(CHUNK_HEADER_BYTES, "little") + chunk
    reader = XorbReader()
    reader.feed(sent)
    return reader.finish().hash, sent


def post_xorb(hub: Hub, data: bytes) -> Answer:
    token = hub.good("GET", "/api/models/alice/m/xet-write-token/main").json["accessToken"]
    name, sent = a_xorb(data)
    return hub.ask("POST", f"/xet/v1/xorbs/default/{name}", sent, token=token)


@contextmanager
def only_left(disk: Path, left: int) -> Iterator[None]:
    """The disk has room for so many bytes while the block runs."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        free = 1
        while free > 0:  # what the hub does by itself may take or free some meanwhile
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - left
            with suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size + max(free, 1))
    try:
        yield
    finally:
        filler.unlink()


def leftovers(data: Path) -> list[Path]:
    """What half-done uploads would leave."""
    places = [data / "incoming", data / "store" / "incoming", data / "git" / "incoming"]
    return [found for place in places for found in place.iterdir()]


# --- T03 ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def full(small_disk: SmallDisk, template: Path, hubs: Hubs) -> tuple[Hub, Path]:
    """A hub on a small disk."""
    disk = small_disk(DISK)
    return hubs(clone_of(template, disk / "data")).start(), disk


BIG = noise("big", 3_000_000)
LARGER_THAN_MEMORY = noise("larger", 8_000_000)  # a commit's body of this size is spooled to the disk


def _upload(hub: Hub, _work: Path) -> Answer | None:
    return hub.upload("alice/m", BIG)


def _xorb(hub: Hub, _work: Path) -> Answer:
    return post_xorb(hub, BIG)


def _commit(hub: Hub, _work: Path) -> Answer:
    return hub.commit("alice/m", {"big.txt": BIG})


def _spooled_commit(hub: Hub, _work: Path) -> Answer:
    return hub.commit("alice/m", {"larger.txt": LARGER_THAN_MEMORY})


WRITES = {"an LFS upload": _upload, "a xorb": _xorb, "a commit": _commit, "a spooled commit": _spooled_commit}


def test_T03_on_a_full_disk_each_write_is_refused_with_507_and_works_when_space_returns(
    full: tuple[Hub, Path], tmp_path: Path
) -> None:
    hub, disk = full
    head, before = hub.head("alice/m"), hub.files("alice/m")

    with only_left(disk, 1 << 20):
        for name, write in WRITES.items():
            answer = write(hub, tmp_path)
            assert answer is not None and (answer.status, answer.code) == (507, "Unavailable"), f"{name}: {answer}"
            assert "full" in answer.json["error"], name
            assert leftovers(hub.data) == [], name
        assert (hub.head("alice/m"), hub.files("alice/m")) == (head, before)
        assert hub.good("GET", "/health/ready").status == 200

    for name, write in WRITES.items():
        answer = write(hub, tmp_path)
        assert answer is None or answer.status == 200, f"{name}: {answer}"
    hub.committed("alice/m", {}, large={"big.bin": BIG})
    assert hub.files("alice/m") == {
        **before, "big.txt": BIG, "larger.txt": LARGER_THAN_MEMORY, "big.bin": BIG,
    }  # fmt: skip
    assert problems(hub.data) == []


@pytest.mark.parametrize("size", [3_000_000, 9_000_000], ids=["in memory", "spooled"])
def test_T03_a_push_to_a_full_disk_is_refused_whole_and_works_when_space_returns(
    full: tuple[Hub, Path], tmp_path: Path, size: int
) -> None:
    hub, disk = full
    place = tmp_path / "clone"
    git("clone", "-q", f"{hub.url}/alice/m", str(place), cwd=tmp_path)
    words = base64.b64encode(noise("pushed", size * 3 // 4))
    (place / "pushed.txt").write_bytes(words)
    git("add", "-A", cwd=place)
    git("commit", "-qm", "pushed", cwd=place)
    head = hub.head("alice/m")
    push = ["-c", "http.postBuffer=16777216", "push", f"{hub.with_login()}/alice/m", "main"]

    with only_left(disk, 1 << 20):
        said = git(*push, cwd=place, wants=1)
        assert "rejected" in said or "507" in said, said
        assert hub.head("alice/m") == head
        assert leftovers(hub.data) == []

    git(*push, cwd=place)
    assert hub.head("alice/m") == git("rev-parse", "HEAD", cwd=place).strip()
    assert hub.files("alice/m")["pushed.txt"] == words
    hub.fsck("alice/m")


def test_T03_at_every_amount_of_space_a_commit_happens_and_is_acknowledged_or_neither(
    full: tuple[Hub, Path],
) -> None:
    hub, disk = full
    acknowledged: list[str] = []
    refused = 0
    for pages in range(24):
        with only_left(disk, pages * PAGE):
            answer = hub.commit("alice/m", {f"{pages}.txt": noise(str(pages), 5000)})
        if answer.status == 200:
            acknowledged.append(answer.json["commitOid"])
        else:
            assert (answer.status, answer.code) == (507, "Unavailable"), answer
            refused += 1
        assert leftovers(hub.data) == []

    acknowledged.append(hub.committed("alice/m", {"last.txt": b"last"}))
    history = [one["id"] for one in hub.good("GET", "/api/models/alice/m/commits/main?limit=100").json]
    assert history[: len(acknowledged)] == acknowledged[::-1]
    assert len(history) == len(acknowledged) + 2  # the first commit, and the template's
    assert refused > 0
    assert problems(hub.data) == []


# --- T04 ---------------------------------------------------------------------------------------------------------


LARGE = noise("large", 3_000_000)
OID = hashlib.sha256(LARGE).hexdigest()


@pytest.fixture
def failing(hubs: Hubs, shim: Path, tmp_path: Path) -> Iterator[tuple[Hub, Path]]:
    """A hub whose disk fails by switches in the second folder; alice/m has large.bin."""
    hub = hubs()
    control = tmp_path / "control"
    control.mkdir()
    hub.env.update(shim_environment(shim, hub.data, control, None, tmp_path))
    hub.start()
    hub.uploaded("alice/m", LARGE)
    hub.committed("alice/m", {"small.txt": b"small"}, large={"large.bin": LARGE})
    yield hub, control


def _events(hub: Hub, kind: str) -> list[str]:
    with closing(sqlite3.connect(hub.data / "headwater.sqlite")) as db:
        return [data for (data,) in db.execute("SELECT data FROM event WHERE kind = ?", (kind,))]


def _is_refused_and_flagged(hub: Hub) -> None:
    """No byte of it is served, now or later, and one event says so."""
    for _ in range(2):
        answer = hub.ask("GET", "/alice/m/resolve/main/large.bin")
        assert (answer.status, answer.code) == (500, "Corrupt"), answer.status
        assert "upload it again" in answer.json["error"]
    assert len(_events(hub, "blob.damaged")) == 1
    found = hub.headwater("verify", "--read-data", "100")
    assert found.returncode == 22
    assert OID in found.stdout and "alice/m" in found.stdout


def _heals(hub: Hub) -> None:
    hub.uploaded("alice/m", LARGE)
    assert hub.files("alice/m")["large.bin"] == LARGE
    assert problems(hub.data) == []


@pytest.mark.parametrize("harm", ["cut short", "gone", "grown"])
def test_T04_a_file_of_another_length_is_refused_and_flagged_and_an_upload_heals_it(hubs: Hubs, harm: str) -> None:
    hub = hubs().start()
    hub.uploaded("alice/m", LARGE)
    hub.committed("alice/m", {}, large={"large.bin": LARGE})
    stored = hub.data / "store" / blob_key(OID)
    if harm == "gone":
        stored.unlink()
    else:
        os.truncate(stored, len(LARGE) - 1 if harm == "cut short" else len(LARGE) + 1)

    _is_refused_and_flagged(hub)
    _heals(hub)


def test_T04_a_disk_that_does_not_give_a_file_makes_a_5xx_and_a_flag_and_never_a_200(
    failing: tuple[Hub, Path],
) -> None:
    hub, control = failing
    (control / "eio").write_text(str(hub.data / "store" / blob_key(OID)))

    _is_refused_and_flagged(hub)
    assert hub.good("GET", "/alice/m/resolve/main/small.txt").body == b"small"
    (control / "eio").unlink()
    _heals(hub)


def test_T04_an_answer_that_the_disk_interrupts_breaks_off_and_is_not_taken_for_whole(
    failing: tuple[Hub, Path],
) -> None:
    hub, control = failing
    data = noise("long", 24 << 20)  # more than the connection's buffers hold
    hub.uploaded("alice/m", data)
    hub.committed("alice/m", {}, large={"long.bin": data})
    stored = str(hub.data / "store" / blob_key(hashlib.sha256(data).hexdigest()))
    download = Download(hub, "/alice/m/resolve/main/long.bin")
    (control / "eio").write_text(stored)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        download.rest()

    (control / "eio").unlink()
    assert hub.ask("GET", "/alice/m/resolve/main/long.bin").status == 500
    assert len(_events(hub, "blob.damaged")) == 1


# --- T05 ---------------------------------------------------------------------------------------------------------


def test_T05_on_a_read_only_disk_reads_go_on_and_writes_are_503_until_it_is_writable_again(
    failing: tuple[Hub, Path], tmp_path: Path
) -> None:
    hub, control = failing
    before, head = hub.files("alice/m"), hub.head("alice/m")
    place = tmp_path / "clone"
    git("clone", "-q", f"{hub.url}/alice/m", str(place), cwd=tmp_path, GIT_LFS_SKIP_SMUDGE="1")
    (place / "pushed.txt").write_text("pushed")
    git("add", "pushed.txt", cwd=place)
    git("commit", "-qm", "pushed", cwd=place)
    upload = hub.upload_path("alice/m", hashlib.sha256(BIG).hexdigest(), len(BIG))
    assert upload is not None

    (control / "readonly").touch()
    writes = {
        "upload": hub.ask("PUT", upload, BIG, token=""),
        "xorb": post_xorb(hub, BIG),
        "commit": hub.commit("alice/m", {"more.txt": b"more"}),
        "spooled": hub.commit("alice/m", {"larger.txt": LARGER_THAN_MEMORY}),
        "branch": hub.ask("POST", "/api/models/alice/m/branch/two", b"{}"),
        "create": hub.ask("POST", "/api/repos/create", b'{"name": "two"}'),
    }
    said = git("push", f"{hub.with_login()}/alice/m", "main", cwd=place, wants=1)
    for name, answer in writes.items():
        assert (answer.status, answer.code) == (503, "Unavailable"), f"{name}: {answer}"
        assert int(answer.headers["retry-after"]) > 0, name
    assert "503" in said or "read-only" in said, said
    assert (hub.files("alice/m"), hub.head("alice/m")) == (before, head)
    git("clone", "-q", f"{hub.url}/alice/m", str(tmp_path / "again"), cwd=tmp_path, GIT_LFS_SKIP_SMUDGE="1")

    (control / "readonly").unlink()
    hub.committed("alice/m", {"more.txt": b"more"})
    assert hub.files("alice/m") == {**before, "more.txt": b"more"}
    assert problems(hub.data) == []
