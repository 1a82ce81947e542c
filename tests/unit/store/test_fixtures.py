"""Stores that earlier versions wrote are read by this one, and by the reader that does not know Headwater."""

from __future__ import annotations

import hashlib
import importlib
import json
import random
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tensor_cases import ALL_DTYPES, NUMBERS, entries

from headwater.app import open_rooms
from headwater.codec.coders import Coder
from headwater.front.rooms import Rooms
from headwater.ground.names import Sha256
from headwater.ground.settings import Settings
from headwater.store import Store
from headwater.store.seal import Relative, Sealer
from headwater.upkeep.verify import verify

ROOT = Path(__file__).resolve().parents[3]
STORES = ROOT / "tests" / "fixtures" / "stores"
NEVER_MADE_AGAIN = {
    "0.1": "ccfe89fa366aedbf3655ab5b5820c895966e582514767b5887329bdcde06545c",
}

sys.path.append(str(ROOT / "tools"))
reader: Any = importlib.import_module("restore")


@dataclass(frozen=True)
class Opened:
    folder: Path
    manifest: dict[str, Any]
    rooms: Rooms

    @property
    def store(self) -> Store:
        return self.rooms.store

    def read(self, sha256: str, start: int = 0, stop: int | None = None) -> bytes:
        return b"".join(self.store.read(Sha256(sha256), start, stop))

    @property
    def files(self) -> list[dict[str, Any]]:
        return list(self.manifest["files"])

    def named(self, name: str) -> Sha256:
        return next(Sha256(file["sha256"]) for file in self.files if file["name"] == name)


@pytest.fixture(params=sorted(NEVER_MADE_AGAIN))
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """A copy of the data folder of an earlier version, opened by this one."""
    kept = STORES / request.param
    with tarfile.open(kept / "data.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    rooms = open_rooms(Settings(data=str(tmp_path)))
    rooms.store.objects.prepare()
    yield Opened(tmp_path, json.loads((kept / "manifest.json").read_text()), rooms)
    rooms.db.close()


def test_every_store_that_is_kept_is_the_one_that_was_written() -> None:
    found = {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in STORES.glob("*/data.tar.xz")}
    assert found == NEVER_MADE_AGAIN


def test_every_file_is_read_whole_and_by_ranges(old: Opened) -> None:
    chance = random.Random(1)
    for file in old.files:
        data = old.read(file["sha256"])
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["size"], file["sha256"]), file["name"]
        for _ in range(5):
            start, stop = sorted(chance.randrange(len(data) + 1) for _ in range(2))
            assert old.read(file["sha256"], start, stop) == data[start:stop], (file["name"], start, stop)


def test_verify_finds_nothing(old: Opened) -> None:
    rooms = old.rooms
    assert list(verify(rooms.db, rooms.repos, rooms.store, rooms.xets, 100, lambda _done: None)) == []


def test_every_file_is_restored_without_headwater(old: Opened) -> None:
    for file in old.files:
        digest = hashlib.sha256()
        for piece in reader.Store(old.folder).pieces(file["sha256"]):
            digest.update(piece)
        assert digest.hexdigest() == file["sha256"], file["name"]


def test_entries_are_what_they_were_when_they_were_written(old: Opened) -> None:
    for file in old.files:
        found = entries(old.store, Sha256(file["sha256"])) if file["sealed"] else []
        assert sorted({dtype for dtype, _predictor, _coders in found}) == file["dtypes"]
        assert sorted({predictor for _dtype, predictor, _coders in found}) == file["predictors"]
        assert sorted(set().union(*(coders for _dtype, _predictor, coders in found))) == file["coders"]


def test_a_new_file_is_sealed_on_an_old_one(old: Opened) -> None:
    name = "model.gguf"
    changed = bytearray(old.read(old.named(name)))
    for at in range(len(changed) // 2, len(changed), 997):
        changed[at] ^= 1
    data = bytes(changed)
    sha256 = Sha256(hashlib.sha256(data).hexdigest())
    old.store.ingest([data], sha256, len(data))
    report = Sealer(old.store).seal(sha256, name, [Relative(old.named(name), "as it was", name)])
    assert report.sealed
    assert report.derived
    assert b"".join(old.store.sealed_bytes(old.store.blob(sha256))) == data


def test_the_first_store_has_something_of_everything() -> None:
    manifest = json.loads((STORES / "0.1" / "manifest.json").read_text())
    files = manifest["files"]
    assert {number for file in files for number in file["predictors"]} == {0, *NUMBERS.values()}
    assert {number for file in files for number in file["coders"]} == set(Coder) - {Coder.RAW}
    assert {dtype for file in files for dtype in file["dtypes"]} == {"BYTES", *ALL_DTYPES}
    assert {(file["raw"], file["sealed"]) for file in files} == {(True, False), (True, True), (False, True)}
    counts = manifest["counts"]
    assert counts["schema"] == "0005"
    assert min(counts["pack"], counts["second copies"], counts["virtual xorbs"]) >= 1
