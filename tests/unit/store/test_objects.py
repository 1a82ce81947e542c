"""Objects: nothing is visible before it is whole, nothing is left of what was given up, and what a bad disk means."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from headwater.ground.errors import Corrupt, Unavailable
from headwater.store import objects as module
from headwater.store.objects import FileRun, LocalObjects, blob_key, meaning, read_runs, xorb_key

KEY = blob_key("ab" * 32)


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjects:
    made = LocalObjects(tmp_path / "store")
    made.prepare()
    return made


def incoming(objects: LocalObjects) -> list[str]:
    return [path.name for path in objects.incoming.iterdir()]


def test_keys_spread_over_256_folders_by_their_first_byte() -> None:
    assert blob_key("ab" * 32) == "blobs/ab/" + "ab" * 31
    assert xorb_key("0f" * 32) == "xorbs/0f/" + "0f" * 31


def test_an_object_is_there_only_once_it_landed(objects: LocalObjects) -> None:
    part = objects.begin()
    part.write(b"hello ")
    part.write(memoryview(b"world"))
    assert (objects.size(KEY), list(objects.keys("blobs"))) == (None, [])
    objects.land(part, KEY)
    assert (objects.size(KEY), objects.path(KEY).read_bytes()) == (11, b"hello world")
    assert incoming(objects) == []


def test_a_part_that_is_given_up_leaves_nothing(objects: LocalObjects) -> None:
    with objects.begin() as part:
        part.write(b"x")
        assert len(incoming(objects)) == 1
    assert incoming(objects) == []
    part.drop()


def test_an_object_that_landed_is_not_taken_away_by_closing_its_part(objects: LocalObjects) -> None:
    with objects.begin() as part:
        part.write(b"x")
        objects.land(part, KEY)
    assert objects.size(KEY) == 1


def test_bytes_and_folder_are_on_the_disk_before_landing_returns(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    real_sync, real_folder, real_replace = os.fdatasync, module.sync_folder, Path.replace

    def sync(handle: int) -> None:
        order.append("bytes")
        real_sync(handle)

    def sync_folder(folder: Path) -> None:
        order.append(f"folder {folder.name}")
        real_folder(folder)

    def replace(path: Path, target: Path) -> Path:
        order.append("rename")
        return real_replace(path, target)

    monkeypatch.setattr(os, "fdatasync", sync)
    monkeypatch.setattr(module, "sync_folder", sync_folder)
    monkeypatch.setattr(Path, "replace", replace)
    with objects.begin() as part:
        part.write(b"x")
        objects.land(part, KEY)
    assert order == ["bytes", "rename", "folder ab"]


def test_a_large_upload_is_written_back_on_the_way(objects: LocalObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(module, "WRITE_BACK_STEP", 10)
    monkeypatch.setattr(os, "fdatasync", synced.append)
    with objects.begin() as part:
        for _ in range(10):
            part.write(b"12345")
    assert len(synced) == 5


@pytest.mark.parametrize(
    ("number", "status", "retry_after"),
    [(errno.ENOSPC, 507, "5"), (errno.EDQUOT, 507, "5"), (errno.EROFS, 503, "60"), (errno.EIO, 503, "5")],
)
def test_T03_what_a_failing_disk_means(number: int, status: int, retry_after: str) -> None:
    error = meaning(OSError(number, "x"), "writing")
    assert (error.status, error.headers["Retry-After"]) == (status, retry_after)
    assert isinstance(error, Unavailable)


@pytest.mark.parametrize("step", ["write", "fdatasync", "rename", "folder"])
def test_T03_a_disk_that_fails_at_any_step_leaves_no_object_and_no_part(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    part = objects.begin()
    if step == "write":
        part._file.close()
        part._file = (objects.root / "stand-in").open("wb", buffering=0)
        monkeypatch.setattr(part, "_file", _Full(part._file))
    elif step == "fdatasync":
        monkeypatch.setattr(os, "fdatasync", full)
    elif step == "rename":
        monkeypatch.setattr(Path, "replace", full)
    else:
        monkeypatch.setattr(module, "sync_folder", full)
    with pytest.raises(Unavailable) as refused:
        part.write(b"x")
        objects.land(part, KEY)
    assert refused.value.status == 507
    assert incoming(objects) == []
    assert step == "folder" or objects.size(KEY) is None


class _Full:
    def __init__(self, file: object) -> None:
        self._file = file

    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None:
        self._file.close()  # type: ignore[attr-defined]


def test_T03_a_disk_that_takes_no_new_file_refuses_at_the_beginning(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_given: object, **_more: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(Unavailable) as refused:
        objects.begin()
    assert refused.value.headers["Retry-After"] == "60"


def test_preparing_clears_what_a_crash_left_half_written_and_nothing_else(objects: LocalObjects) -> None:
    part = objects.begin()
    objects.land(part, KEY)
    left = objects.begin()
    left.write(b"half")
    objects.prepare()
    assert incoming(objects) == []
    assert objects.size(KEY) == 0
    left.drop()


def test_preparing_makes_the_folders_that_a_restored_store_lacks(tmp_path: Path) -> None:
    (tmp_path / "store/blobs/ff").mkdir(parents=True)
    objects = LocalObjects(tmp_path / "store")
    objects.prepare()
    for kind in module.KINDS:
        assert len(list((tmp_path / "store" / kind).iterdir())) == 256


def test_keys_are_listed_in_order(objects: LocalObjects) -> None:
    names = [f"{number:02x}" * 32 for number in (200, 3, 100)]
    for name in names:
        objects.land(objects.begin(), blob_key(name))
    assert list(objects.keys("blobs")) == [blob_key(name) for name in sorted(names)]
    assert list(objects.keys("xorbs")) == []


def test_deleting_what_is_not_there_is_no_error(objects: LocalObjects) -> None:
    objects.land(objects.begin(), KEY)
    objects.delete(KEY)
    objects.delete(KEY)
    assert objects.size(KEY) is None


def test_a_disk_that_refuses_to_delete_is_unavailable(objects: LocalObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_given: object, **_more: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(Unavailable):
        objects.delete(KEY)


def test_T04_a_disk_that_does_not_tell_the_size_is_corrupt_not_absent(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_given: object, **_more: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "stat", fail)
    with pytest.raises(Corrupt):
        objects.size(KEY)


# --- reading ---


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))
    return path


def test_runs_are_read_in_order_and_in_steps(file: Path) -> None:
    pieces = list(read_runs([FileRun(file, 90, 100), FileRun(file, 0, 5), FileRun(file, 7, 7)], step=4))
    assert b"".join(pieces) == bytes([*range(90, 100), *range(5)])
    assert max(map(len, pieces)) <= 4


def test_a_run_knows_its_length(file: Path) -> None:
    assert len(FileRun(file, 3, 10)) == 7


def test_a_file_that_is_shorter_than_its_run_is_corrupt_and_never_taken_for_whole(file: Path) -> None:
    reading = read_runs([FileRun(file, 95, 101)])
    assert next(reading) == bytes(range(95, 100))
    with pytest.raises(Corrupt):
        next(reading)


def test_a_file_that_is_gone_is_corrupt(tmp_path: Path) -> None:
    with pytest.raises(Corrupt):
        list(read_runs([FileRun(tmp_path / "gone", 0, 1)]))
