"""Checking finds every flipped bit that it reads, names it, and sees to it that it is served no more."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest
from sqlalchemy import update
from store_cas import Cas
from xet_building import a_file, a_xorb, all_of, flip, noise, sha256_of

from headwater.ground.errors import Corrupt
from headwater.store import check, sweep, tables
from headwater.store.check import Finding

DATA = noise("checked", 5000)
SHA256 = sha256_of(DATA)
X, Y = a_xorb("x", 1000, 2000), a_xorb("y", 500)
FILE = a_file((X, 0, 2), (Y, 0, 1))


@pytest.fixture
def full(cas: Cas) -> Cas:
    """A plain file, a file over two xorbs, and one over the second of them."""
    cas.put(DATA)
    cas.land(X, Y)
    cas.register(FILE, all_of(Y))
    return cas


def found(cas: Cas, read_percent: float = 100) -> list[Finding]:
    return list(check.check(cas.store, cas.xets, read_percent, random.Random(1), lambda _count: None))


def names(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(finding.what, finding.name) for finding in findings}


@pytest.mark.parametrize("read_percent", [0, 50, 100])
def test_a_sound_store_has_no_findings(full: Cas, read_percent: float) -> None:
    steps: list[int] = []
    assert list(check.check(full.store, full.xets, read_percent, random.Random(1), steps.append)) == []
    assert sum(steps) == check.count(full.store) == 5
    assert full.happened() == []


def test_more_objects_than_one_page_are_all_looked_at(full: Cas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "BATCH", 2)
    steps: list[int] = []
    list(check.check(full.store, full.xets, 0, random.Random(1), steps.append))
    assert sum(steps) == 5


def test_T25_a_flipped_bit_in_a_plain_file_is_found_and_no_longer_served(full: Cas) -> None:
    flip(full.path(SHA256), 4999)
    assert found(full, 0) == []
    assert names(found(full)) == {("blob", SHA256)}
    with pytest.raises(Corrupt):
        full.read(SHA256)
    assert [event.data["sha256"] for event in full.happened()] == [SHA256]
    assert full.put(DATA).damaged is False
    assert found(full) == []


def test_T25_a_flipped_bit_in_a_xorb_is_found_with_every_file_that_is_built_on_it(full: Cas) -> None:
    flip(full.xorb_path(Y), 499)
    findings = found(full)
    assert names(findings) == {("xorb", Y.name), ("blob", FILE.real_sha256), ("blob", all_of(Y).real_sha256)}
    assert "chunk 0 of 1" in findings[0].text
    for name in (FILE.real_sha256, all_of(Y).real_sha256):
        with pytest.raises(Corrupt):
            full.read(name)
    # sent again, it is taken, and the files are whole
    assert full.land(Y) == [True]
    full.register(FILE, all_of(Y))
    assert found(full) == []


@pytest.mark.parametrize("harm", ["missing", "shorter", "longer"])
def test_T25_an_object_of_another_size_is_found_without_reading_it(full: Cas, harm: str) -> None:
    for path, data in ((full.path(SHA256), DATA), (full.xorb_path(X), X.plain)):
        if harm == "missing":
            path.unlink()
        else:
            path.write_bytes(data[:-1] if harm == "shorter" else data + b"x")
    assert {("blob", SHA256), ("xorb", X.name)} <= names(found(full, 0))
    with pytest.raises(Corrupt):
        full.read(SHA256)


def test_T25_a_damaged_row_of_a_xorb_is_found_without_reading_it(full: Cas) -> None:
    with full.db.write() as connection:
        hashes = bytes([X.index.hashes[0] ^ 1]) + X.index.hashes[1:]
        connection.execute(update(tables.xorb).where(tables.xorb.c.hash == X.name).values(hashes=hashes))
    full.xets.forget(X.name)
    assert ("xorb", X.name) in names(found(full, 0))


@pytest.mark.parametrize("values", [{"hashes": b"x"}, {"lengths": b"\0\0\0\0"}, {"lengths": b"\1"}])
def test_T25_a_row_that_makes_no_sense_is_a_finding_and_not_the_end_of_the_check(
    full: Cas, values: dict[str, bytes]
) -> None:
    with full.db.write() as connection:
        connection.execute(update(tables.xorb).where(tables.xorb.c.hash == X.name).values(**values))
    full.xets.forget(X.name)
    full.path(SHA256).unlink()
    assert {("xorb", X.name), ("blob", SHA256)} <= names(found(full, 0))


def test_a_recipe_that_cannot_be_read_is_a_finding(full: Cas) -> None:
    full.change(FILE.real_sha256, recipe=b"\x09")
    assert names(found(full)) == {("blob", FILE.real_sha256)}


def test_a_row_with_another_size_than_its_recipe_makes_is_a_finding(full: Cas) -> None:
    full.change(FILE.real_sha256, size=3499)
    assert names(found(full)) == {("blob", FILE.real_sha256)}


def test_T04_a_disk_that_does_not_read_is_a_finding_and_not_the_end_of_the_check(
    full: Cas, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def failing(path: Path, *given: object, **more: object) -> object:
        if path == full.xorb_path(X):
            raise OSError(errno.EIO, "Input/output error")
        return real(path, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", failing)
    assert names(found(full)) == {("xorb", X.name), ("blob", FILE.real_sha256)}


def test_a_damaged_file_whose_bytes_came_back_is_whole_again(full: Cas) -> None:
    full.path(SHA256).rename(full.root / "aside")
    assert names(found(full, 0)) == {("blob", SHA256)}
    assert names(found(full, 0)) == {("blob", SHA256)}
    (full.root / "aside").rename(full.path(SHA256))
    assert found(full, 0) == []
    assert full.read(SHA256) == DATA


def test_what_is_swept_while_the_check_runs_is_no_finding(full: Cas, monkeypatch: pytest.MonkeyPatch) -> None:
    real_index, real_find = full.xets.index, full.store.find
    beside = full.beside()
    past = full.clock.now_ms() + 1
    swept: list[str] = []

    def sweep_first(name: str) -> None:
        if name not in swept:
            swept.append(name)
            sweep.blobs(beside.store, [FILE.real_sha256, all_of(Y).real_sha256, SHA256], past)
            sweep.xorbs(beside.xets, [X.name, Y.name], past)

    def index(name: object) -> object:
        got = real_index(name)  # type: ignore[arg-type]
        sweep_first("xorbs")
        return got

    monkeypatch.setattr(full.xets, "index", index)
    monkeypatch.setattr(full.store, "find", lambda name: (real_find(name), sweep_first("blobs"))[0])
    assert found(full) == []
    beside.db.close()
