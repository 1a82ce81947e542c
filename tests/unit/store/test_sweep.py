"""The sweep takes what nobody needs, and never what somebody might: not at the worst of moments either."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from sqlalchemy import Column, ForeignKey, MetaData, Table, select
from store_cas import Cas
from xet_building import a_file, a_xorb, all_of, noise, sha256_of

from headwater.ground.errors import EntryMissing, Invalid
from headwater.ground.names import Sha256
from headwater.store import sweep, tables
from headwater.store.objects import read_pieces
from headwater.store.sweep import Swept

DATA = noise("swept", 5000)
SHA256 = sha256_of(DATA)
X, Y = a_xorb("x", 1000, 2000), a_xorb("y", 500)


def past(cas: Cas) -> int:
    return cas.clock.now_ms() + 1


def holds(cas: Cas, *names: Sha256) -> None:
    """What `repos` does to keep a blob: a row that refers to it."""
    table = Table("hold_of_a_test", MetaData(), Column("sha256", ForeignKey(tables.blob.c.sha256), primary_key=True))
    with cas.db.write() as connection:
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS hold_of_a_test (sha256 TEXT REFERENCES blob (sha256))")
        for name in names:
            connection.execute(table.insert().values(sha256=name))


def test_a_blob_that_nobody_holds_goes_with_its_object(cas: Cas) -> None:
    cas.put(DATA)
    assert sweep.blobs(cas.store, [SHA256], past(cas)) == Swept(blobs=1, freed_bytes=5000)
    assert (cas.store.find(SHA256), cas.objects) == (None, [])
    with pytest.raises(EntryMissing):
        cas.read(SHA256)


def test_T28_a_blob_that_was_held_since_the_candidates_were_listed_stays(cas: Cas) -> None:
    cas.put(DATA)
    holds(cas, SHA256)
    assert sweep.blobs(cas.store, [SHA256], past(cas)) == Swept()
    assert cas.read(SHA256) == DATA


def test_T28_a_reader_who_knew_a_file_that_was_swept_finds_none_and_marks_nothing(cas: Cas) -> None:
    known, reader = cas.put(DATA), cas.beside()
    assert reader.read(SHA256) == DATA
    (run,) = reader.store.runs(known, 0, len(DATA))
    assert sweep.blobs(cas.store, [SHA256], past(cas)).blobs == 1
    with pytest.raises(EntryMissing):
        reader.store.runs(known, 0, len(DATA))
    reader.store.flag_object(run.path, "ENOENT")  # as whoever opens it then
    assert cas.happened() == []


def test_T28_a_file_that_was_swept_and_sent_again_is_not_marked_by_who_knew_the_first_one(cas: Cas) -> None:
    file = all_of(X)
    known, reader = cas.put(X.plain), cas.beside()
    assert reader.read(file.real_sha256) == X.plain
    (run,) = reader.store.runs(known, 0, known.size)
    assert sweep.blobs(cas.store, [file.real_sha256], past(cas)).blobs == 1
    cas.land(X)
    cas.register(file)  # by the other way: there is no object of its own any more
    assert b"".join(read_pieces(reader.store.runs(known, 0, known.size))) == X.plain
    reader.store.flag_object(run.path, "ENOENT")
    assert (cas.state(file.real_sha256), cas.happened()) == ("whole", [])


def test_T28_a_mark_is_for_the_bytes_that_were_read_and_not_for_those_sent_since(cas: Cas) -> None:
    known = cas.put(DATA)
    cas.clock.advance(5)
    sweep.blobs(cas.store, [SHA256], past(cas))
    cas.put(DATA)
    cas.store.flag(SHA256, "a test", sent_ms=known.sent_ms)
    assert cas.read(SHA256) == DATA


def test_T28_a_blob_over_xorbs_that_is_held_keeps_all_its_rows(cas: Cas) -> None:
    cas.land(X)
    (blob,) = cas.register(all_of(X))
    holds(cas, blob.sha256)
    assert sweep.blobs(cas.store, [blob.sha256], past(cas)) == Swept()
    assert sweep.xorbs(cas.xets, [X.name], past(cas)) == Swept()
    assert cas.read(blob.sha256) == X.plain


def test_T28_a_blob_that_was_sent_again_since_the_candidates_were_listed_stays(cas: Cas) -> None:
    cas.put(DATA)
    before_ms = past(cas)
    cas.clock.advance(60)
    cas.put(DATA)
    assert sweep.blobs(cas.store, [SHA256], before_ms) == Swept()
    assert cas.read(SHA256) == DATA


def test_a_candidate_that_is_gone_already_is_passed_over(cas: Cas) -> None:
    assert sweep.blobs(cas.store, [SHA256], past(cas)) == Swept()
    assert sweep.xorbs(cas.xets, [X.name], past(cas)) == Swept()


def test_a_blob_over_xorbs_frees_nothing_until_its_xorbs_go(cas: Cas) -> None:
    cas.land(X)
    (blob,) = cas.register(all_of(X))
    assert sweep.blobs(cas.store, [blob.sha256], past(cas)) == Swept(blobs=1)
    assert len(cas.objects) == 1
    assert sweep.xorbs(cas.xets, [X.name], past(cas)) == Swept(xorbs=1, freed_bytes=3000)
    assert cas.objects == []


def test_a_xorb_that_a_blob_is_built_on_stays(cas: Cas) -> None:
    cas.land(X, Y)
    cas.register(a_file((X, 0, 1), (Y, 0, 1)))
    assert sweep.xorbs(cas.xets, [X.name, Y.name], past(cas)) == Swept()


def test_a_xorb_that_a_client_may_still_remember_stays(cas: Cas) -> None:
    cas.land(X)
    assert sweep.xorbs(cas.xets, [X.name], cas.clock.now_ms()) == Swept()
    cas.clock.advance(1)
    cas.xets.offered([X.name])
    assert sweep.xorbs(cas.xets, [X.name], cas.clock.now_ms()) == Swept()


def test_of_a_swept_xorb_a_tombstone_stays_and_nothing_else(cas: Cas) -> None:
    cas.land(X)
    (blob,) = cas.register(all_of(X))
    sweep.blobs(cas.store, [blob.sha256], past(cas))
    sweep.xorbs(cas.xets, [X.name], past(cas))
    assert cas.xorb_state(X) == "gone"
    assert cas.xets.index(X.name) is None
    with cas.db.read() as connection:
        assert connection.execute(select(tables.dedup)).all() == []
        assert connection.execute(select(tables.xorb.c.hashes)).scalar_one() == X.index.hashes
    with pytest.raises(Invalid, match="not stored here"):
        cas.register(all_of(X))


def test_a_tombstone_comes_back_when_the_xorb_is_sent_again(cas: Cas) -> None:
    cas.land(X)
    sweep.xorbs(cas.xets, [X.name], past(cas))
    assert cas.land(X) == [True]
    assert cas.xorb_state(X) == "here"
    cas.register(all_of(X))
    assert cas.read(all_of(X).real_sha256) == X.plain


def age(cas: Cas, path: Path, seconds: float) -> None:
    at = cas.clock.now_ms() / 1000 - seconds
    os.utime(path, (at, at))


def test_an_object_that_no_row_names_goes_if_it_is_old_enough(cas: Cas) -> None:
    cas.put(DATA)
    cas.land(X, Y)
    sweep.xorbs(cas.xets, [Y.name], past(cas))
    strays = [cas.path(sha256_of(b"old")), cas.path(sha256_of(b"young")), cas.xorb_path(Y)]
    for path in strays:
        path.write_bytes(b"12345")
    foreign = strays[0].parent / "notes by the operator.txt"
    foreign.write_bytes(b"mine")
    for path in (strays[0], strays[2], cas.path(SHA256), cas.xorb_path(X), foreign):
        age(cas, path, 10)
    age(cas, strays[1], 0)
    assert sweep.unnamed(cas.store, cas.clock.now_ms() - 5000) == Swept(objects=2, freed_bytes=10)
    assert [path.exists() for path in strays] == [False, True, False]
    assert foreign.exists()
    assert cas.read(SHA256) == DATA
    assert cas.xorb_path(X).exists()


def test_a_damaged_file_is_named_and_stays_for_whoever_wants_to_look_at_it(cas: Cas) -> None:
    cas.put(DATA)
    cas.land(X)
    age(cas, cas.path(SHA256), 10)
    age(cas, cas.xorb_path(X), 10)
    cas.store.flag(SHA256, "test")
    cas.store.flag_xorb(X.name, "test")
    assert sweep.unnamed(cas.store, cas.clock.now_ms()) == Swept()


def test_T28_uploads_and_sweeps_of_the_same_file_at_once_never_leave_a_file_without_its_bytes(cas: Cas) -> None:
    """Four threads upload and hold, or sweep, the same two files: whenever an upload ends well, its bytes are there."""
    holds(cas)
    files = [(sha256_of(data), data) for data in (DATA, noise("another", 400))]
    failures: list[str] = []
    together = threading.Barrier(4)
    rounds = 25

    def upload(sha256: Sha256, data: bytes) -> None:
        together.wait(10)
        for _ in range(rounds):
            cas.put(data)
            stored = cas.store.find(sha256)
            # The object may have been swept together with its row, but never alone.
            if stored is not None and not cas.path(sha256).exists() and cas.beside().store.find(sha256) is not None:
                failures.append(sha256)

    def collect() -> None:
        together.wait(10)
        for _ in range(rounds):
            sweep.blobs(cas.store, [name for name, _ in files], cas.clock.now_ms() + 1)

    threads = [threading.Thread(target=upload, args=file) for file in files]
    threads += [threading.Thread(target=collect) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for sha256, data in files:
        cas.put(data)
        assert cas.read(sha256) == data
    assert len(cas.objects) == 2
    assert cas.incoming == []


def test_T28_xorbs_and_shards_and_sweeps_at_once_never_leave_a_file_without_its_bytes(cas: Cas) -> None:
    file = all_of(X, Y)
    done: list[bool] = []
    failures: list[BaseException] = []
    together = threading.Barrier(2)

    def upload() -> None:
        together.wait(10)
        for _ in range(30):
            try:
                cas.land(X, Y)
                cas.register(file)
                done.append(True)
            except Invalid:
                done.append(False)  # swept in between: the client is told to send it again
            except BaseException as error:  # noqa: BLE001 - told below
                failures.append(error)

    def collect() -> None:
        together.wait(10)
        for _ in range(60):
            before_ms = cas.clock.now_ms() + 1
            sweep.blobs(cas.store, [file.real_sha256], before_ms)
            sweep.xorbs(cas.xets, [X.name, Y.name], before_ms)

    threads = [threading.Thread(target=upload), threading.Thread(target=collect)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    cas.land(X, Y)
    cas.register(file)
    assert cas.read(file.real_sha256) == file.data
    assert cas.happened() == []
