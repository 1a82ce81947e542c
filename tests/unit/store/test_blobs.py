"""Blobs: what was sent comes back, exactly, or an error; and what was found damaged is healed by sending it again."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from store_cas import Cas
from xet_building import a_file, a_xorb, all_of, flip, noise, sha256_of

from headwater.ground.errors import Corrupt, DigestMismatch, EntryMissing, HeadwaterError, Invalid, TooMuch
from headwater.ground.names import Sha256
from headwater.store import tables
from headwater.store.objects import FileRun

DATA = noise("blob", 300_000)
SHA256 = sha256_of(DATA)
OTHER = noise("other", len(DATA))
X, Y = a_xorb("x", 1000, 2000, 3000), a_xorb("y", 500, 700)


# --- in ---


def test_what_was_sent_comes_back(cas: Cas) -> None:
    blob = cas.put(DATA)
    assert (blob.sha256, blob.size, blob.terms, blob.damaged) == (SHA256, len(DATA), None, False)
    assert cas.read(SHA256) == DATA
    assert cas.path(SHA256).read_bytes() == DATA
    assert cas.incoming == []


def test_the_empty_file_is_a_file(cas: Cas) -> None:
    cas.put(b"")
    assert cas.read(sha256_of(b"")) == b""


def test_a_blob_is_not_visible_before_all_of_it_was_hashed(cas: Cas) -> None:
    sink = cas.store.sink(SHA256, len(DATA))
    sink.write(DATA[:-1])
    assert (cas.store.find(SHA256), cas.objects) == (None, [])
    sink.write(DATA[-1:])
    assert (cas.store.find(SHA256), cas.objects) == (None, [])
    sink.land()
    assert cas.read(SHA256) == DATA


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (OTHER, len(DATA)),  # other bytes
        (DATA[:-1], len(DATA)),  # too short
        (DATA, len(DATA) - 1),  # longer than announced
        (DATA, len(DATA) + 1),  # shorter than announced
        (b"", len(DATA)),
        (DATA + b"x", len(DATA)),
    ],
)
def test_T13_a_body_of_another_length_or_hash_is_refused_and_nothing_is_stored(
    cas: Cas, data: bytes, size: int
) -> None:
    with pytest.raises(DigestMismatch):
        cas.put(data, SHA256, size)
    assert (cas.store.find(SHA256), cas.objects, cas.incoming) == (None, [], [])


def test_T13_the_byte_too_many_is_refused_before_it_is_written(cas: Cas) -> None:
    sink = cas.store.sink(SHA256, 10)
    sink.write(b"0123456789")
    with pytest.raises(DigestMismatch, match="more than 10 bytes"):
        sink.write(b"x")
    assert cas.incoming == []


def test_T19_a_file_that_is_too_large_is_refused_before_a_byte_is_taken(cas: Cas) -> None:
    with pytest.raises(TooMuch, match="lfs_file_max"):
        cas.store.sink(SHA256, 10**12 + 1)
    with pytest.raises(Invalid):
        cas.store.sink(SHA256, -1)
    assert cas.incoming == []


def test_an_upload_that_ends_early_leaves_nothing(cas: Cas) -> None:
    def cut() -> object:
        yield DATA[:1000]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        cas.store.ingest(cut(), SHA256, len(DATA))  # type: ignore[arg-type]
    sink = cas.store.sink(SHA256, len(DATA))
    sink.write(DATA[:1000])
    sink.abort()
    assert (cas.objects, cas.incoming) == ([], [])


def test_the_same_file_twice_is_one_object_that_is_not_written_again(cas: Cas) -> None:
    cas.put(DATA)
    before = cas.path(SHA256).stat().st_ino
    cas.clock.advance(60)
    assert cas.put(DATA) == cas.store.blob(SHA256)
    assert cas.path(SHA256).stat().st_ino == before
    assert len(cas.objects) == 1


def test_T14_other_bytes_under_a_name_that_is_taken_change_nothing(cas: Cas) -> None:
    cas.put(DATA)
    with pytest.raises(DigestMismatch):
        cas.put(OTHER, SHA256)
    assert cas.read(SHA256) == DATA
    assert cas.incoming == []


def test_many_uploads_of_the_same_file_at_once_are_one_blob(cas: Cas) -> None:
    failures: list[BaseException] = []
    together = threading.Barrier(4)

    def upload() -> None:
        try:
            together.wait(10)
            cas.put(DATA)
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=upload) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert cas.read(SHA256) == DATA
    assert (len(cas.objects), cas.incoming) == (1, [])


# --- out ---


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (5, 5), (10, 20_000), (299_999, 300_000), (0, None), (7, 10**9)])
def test_any_part_of_a_file_can_be_read(cas: Cas, start: int, stop: int | None) -> None:
    cas.put(DATA)
    assert cas.read(SHA256, start, stop) == DATA[start:stop]


def test_a_file_over_xorbs_is_read_like_any_other(cas: Cas) -> None:
    file = a_file((X, 1, 3), (Y, 0, 2), (X, 0, 1), (X, 1, 2))
    cas.land(X, Y)
    cas.register(file)
    for start, stop in [(0, None), (0, 1), (1999, 2001), (4999, 5001), (5000, 6200), (6199, 7200), (9_000, 9_001)]:
        assert cas.read(file.real_sha256, start, stop) == file.data[start:stop]


def test_neighbouring_terms_of_one_xorb_are_one_run(cas: Cas) -> None:
    file = a_file((X, 0, 1), (X, 1, 3))
    cas.land(X)
    (blob,) = cas.register(file)
    assert cas.store.runs(blob, 0, blob.size) == [FileRun(cas.xorb_path(X), 0, 6000)]
    assert cas.store.runs(blob, 999, 1001) == [FileRun(cas.xorb_path(X), 999, 1001)]


def test_an_unknown_name_is_an_entry_that_is_missing(cas: Cas) -> None:
    assert cas.store.find(SHA256) is None
    with pytest.raises(EntryMissing):
        cas.store.blob(SHA256)


def test_a_file_is_found_by_the_name_that_xet_clients_know(cas: Cas) -> None:
    cas.land(X)
    (xet,) = cas.register(all_of(X))
    plain = cas.put(DATA)
    assert cas.store.by_xet_hash(xet.xet_hash) == [xet]
    assert cas.store.by_xet_hash(plain.xet_hash) == [plain]
    assert plain.xet_hash == SHA256
    assert cas.store.by_xet_hash(X.chunk_name(0)) == []


# --- damage ---


@pytest.mark.parametrize("harm", ["missing", "shorter", "longer"])
def test_T25_an_object_that_is_gone_or_has_another_size_is_flagged_and_never_served(cas: Cas, harm: str) -> None:
    cas.put(DATA)
    path = cas.path(SHA256)
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(DATA[:-1] if harm == "shorter" else DATA + b"x")
    for _ in range(2):
        with pytest.raises(Corrupt):
            cas.read(SHA256, 0, 1)
    assert cas.state(SHA256) == "damaged"
    assert [(event.kind, event.data["sha256"]) for event in cas.happened()] == [("blob.damaged", SHA256)]


def test_T25_a_missing_xorb_is_corrupt_and_flags_every_file_that_is_built_on_it(cas: Cas) -> None:
    whole, shared = all_of(Y), a_file((X, 0, 2), (Y, 0, 1))
    cas.land(X, Y)
    cas.register(whole, shared, all_of(X))
    cas.xorb_path(Y).unlink()
    with pytest.raises(Corrupt):
        cas.read(whole.real_sha256)
    assert cas.xorb_state(Y) == "damaged"
    assert cas.state(shared.real_sha256) == "damaged"
    assert cas.read(all_of(X).real_sha256) == X.plain
    assert cas.xets.index(Y.name) is None
    assert {event.data["sha256"] for event in cas.happened()} == {whole.real_sha256, shared.real_sha256}


def test_T25_a_xorb_that_was_cut_short_is_corrupt_too(cas: Cas) -> None:
    cas.land(X)
    cas.register(all_of(X))
    cas.xorb_path(X).write_bytes(X.plain[:-1])
    with pytest.raises(Corrupt):
        cas.read(all_of(X).real_sha256)
    assert cas.xorb_state(X) == "damaged"


def damage(cas: Cas, path: Path, sha256: Sha256) -> None:
    path.unlink()
    with pytest.raises(Corrupt):
        cas.read(sha256)


def test_a_damaged_file_is_healed_by_sending_it_again(cas: Cas) -> None:
    cas.put(DATA)
    damage(cas, cas.path(SHA256), SHA256)
    assert cas.put(DATA).damaged is False
    assert cas.read(SHA256) == DATA
    assert cas.state(SHA256) == "whole"


def test_other_bytes_do_not_heal_a_damaged_file(cas: Cas) -> None:
    cas.put(DATA)
    damage(cas, cas.path(SHA256), SHA256)
    with pytest.raises(DigestMismatch):
        cas.put(OTHER, SHA256)
    with pytest.raises(Corrupt):
        cas.read(SHA256)


def test_a_damaged_plain_file_is_healed_by_a_xet_upload(cas: Cas) -> None:
    file = all_of(X)
    cas.put(X.plain)
    damage(cas, cas.path(file.real_sha256), file.real_sha256)
    cas.land(X)
    (blob,) = cas.register(file)
    assert (blob.damaged, blob.xet_hash) == (False, file.xet_hash)
    assert cas.read(file.real_sha256) == X.plain
    # nothing is left of the plain copy, damaged as it was
    assert not cas.path(file.real_sha256).exists()


def test_a_damaged_xet_file_is_healed_by_a_plain_upload(cas: Cas) -> None:
    file = all_of(X)
    cas.land(X)
    cas.register(file)
    damage(cas, cas.xorb_path(X), file.real_sha256)
    blob = cas.put(X.plain)
    assert (blob.damaged, blob.terms) == (False, None)
    assert cas.read(file.real_sha256) == X.plain
    # it needs the xorb no more
    with cas.db.read() as connection:
        assert connection.execute(tables.blob_xorb.select()).all() == []


def test_a_damaged_xet_file_is_healed_by_sending_its_xorb_again(cas: Cas) -> None:
    file = all_of(X)
    cas.land(X)
    cas.register(file)
    damage(cas, cas.xorb_path(X), file.real_sha256)
    assert cas.land(X) == [True]
    cas.register(file)
    assert cas.read(file.real_sha256) == X.plain


def test_an_object_that_is_gone_is_written_again_even_if_nobody_noticed_yet(cas: Cas) -> None:
    cas.put(DATA)
    cas.path(SHA256).unlink()
    cas.put(DATA)
    assert cas.read(SHA256) == DATA
    assert cas.happened() == []


def test_what_another_process_found_damaged_is_not_served_any_more(cas: Cas) -> None:
    cas.store.follow()
    file = all_of(X)
    cas.land(X)
    cas.register(file)
    cas.put(DATA)
    assert cas.read(SHA256)
    assert cas.read(file.real_sha256)
    beside = cas.beside()
    beside.store.flag(SHA256, "found by headwater verify")
    beside.store.flag_xorb(X.name, "found by headwater verify")
    beside.db.close()
    cas.store.follow()
    for name in (SHA256, file.real_sha256):
        with pytest.raises(Corrupt):
            cas.read(name)
    assert cas.xets.index(X.name) is None


def test_a_file_is_flagged_once_however_often_it_is_read(cas: Cas) -> None:
    cas.put(DATA)
    for _ in range(3):
        cas.store.flag(SHA256, "x")
    assert len(cas.happened()) == 1


def test_a_recipe_that_cannot_be_read_is_corrupt_and_no_crash(cas: Cas) -> None:
    cas.put(DATA)
    cas.change(SHA256, recipe=b"\x09nonsense")
    with pytest.raises(Corrupt):
        cas.read(SHA256)


def test_a_flipped_bit_is_what_verify_is_for(cas: Cas) -> None:
    # Plain reads hash nothing; docs/spec/store.md says so. The test is here to notice if that changes.
    cas.put(DATA)
    flip(cas.path(SHA256), 1234)
    assert cas.read(SHA256) != DATA


def test_the_cache_of_rows_stays_small_and_forgets_what_it_must(cas: Cas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.store.blobs.ROWS_CACHED", 3)
    names = [cas.put(noise(number, 10)).sha256 for number in range(6)]
    assert [cas.store.find(name) is not None for name in names] == [True] * 6
    assert len(cas.store._rows) == 3


def test_a_row_that_was_read_before_it_was_forgotten_is_not_remembered_after(
    cas: Cas, monkeypatch: pytest.MonkeyPatch
) -> None:
    cas.put(DATA)
    cas.store.forget(SHA256)
    read, go = threading.Event(), threading.Event()
    real_decode = cas.store.db.read

    class Slow:
        """The row is read, and then the thread stands still."""

        def __enter__(self) -> object:
            self._real = real_decode()
            return self._real.__enter__()

        def __exit__(self, *error: object) -> None:
            self._real.__exit__(*error)  # type: ignore[arg-type]
            if threading.current_thread() is not threading.main_thread():
                read.set()
                go.wait(10)

    monkeypatch.setattr(cas.store.db, "read", Slow)
    reader = threading.Thread(target=cas.store.find, args=(SHA256,))
    reader.start()
    assert read.wait(10)
    cas.store.flag(SHA256, "meanwhile")
    go.set()
    reader.join()
    with pytest.raises(HeadwaterError):
        cas.read(SHA256)


def test_a_file_whose_recipe_cannot_be_read_is_healed_by_sending_it_again(cas: Cas) -> None:
    cas.land(X)
    cas.register(all_of(X))
    cas.change(all_of(X).real_sha256, recipe=b"\x09")
    with pytest.raises(Corrupt):
        cas.read(all_of(X).real_sha256)
    cas.register(all_of(X))
    assert cas.read(all_of(X).real_sha256) == X.plain
