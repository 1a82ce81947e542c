"""Uploads in parts: resumed, joined, hashed; a file exists only at the end, and what was abandoned goes."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
from sqlalchemy import select
from store_cas import Cas
from xet_building import noise, sha256_of

from headwater.ground.errors import DigestMismatch, EntryMissing, Invalid, Unavailable
from headwater.store import tables

PART = 1000
DATA = noise("parts", 2500)
SHA256 = sha256_of(DATA)
PARTS = [DATA[:1000], DATA[1000:2000], DATA[2000:]]
ETAGS = {number + 1: sha256_of(part) for number, part in enumerate(PARTS)}


def begin(cas: Cas, scope: str = "repo 1") -> str:
    return cas.uploads.begin(scope, SHA256, len(DATA), PART)


def send(cas: Cas, upload: str, *numbers: int, other: bytes | None = None) -> list[str]:
    etags = []
    for number in numbers:
        sink = cas.uploads.part(upload, number)
        sink.write(PARTS[number - 1] if other is None else other)
        sink.land()
        etags.append(sink.etag)
    return etags


def finish(cas: Cas, upload: str) -> None:
    cas.uploads.complete(upload, ETAGS)
    cas.uploads.drop(upload)


def left(cas: Cas) -> list[str]:
    """What lies in the folder of parts."""
    root = cas.root / "uploads"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*")) if root.exists() else []


def test_parts_in_any_order_become_the_file(cas: Cas) -> None:
    upload = begin(cas)
    assert send(cas, upload, 3, 1, 2) == [ETAGS[3], ETAGS[1], ETAGS[2]]
    assert cas.store.find(SHA256) is None
    blob = cas.uploads.complete(upload, ETAGS)
    assert (blob.sha256, blob.size, cas.read(SHA256)) == (SHA256, 2500, DATA)
    cas.uploads.drop(upload)
    assert (left(cas), cas.incoming) == ([], [])


def test_T15_an_upload_is_resumed_with_the_parts_that_are_there(cas: Cas) -> None:
    upload = begin(cas)
    send(cas, upload, 1, 2)
    assert begin(cas) == upload
    send(cas, upload, 3)
    cas.uploads.complete(upload, {})
    assert cas.read(SHA256) == DATA


def test_T17_nobody_completes_what_others_have_sent_nor_writes_over_it(cas: Cas) -> None:
    theirs = begin(cas, "repo 1")
    send(cas, theirs, 1, 2, 3)
    mine = begin(cas, "repo 2")
    assert mine != theirs
    with pytest.raises(Invalid, match="were not uploaded"):
        cas.uploads.complete(mine, ETAGS)
    send(cas, mine, 1, other=noise("evil", PART))
    cas.uploads.complete(theirs, ETAGS)
    assert cas.read(SHA256) == DATA


def test_a_missing_part_is_named_and_can_be_sent(cas: Cas) -> None:
    upload = begin(cas)
    send(cas, upload, 1, 3)
    with pytest.raises(Invalid, match=r"parts \[2\] of 3"):
        cas.uploads.complete(upload, ETAGS)
    assert (cas.store.find(SHA256), cas.incoming) == (None, [])
    send(cas, upload, 2)
    cas.uploads.complete(upload, ETAGS)
    assert cas.read(SHA256) == DATA


def test_a_part_that_is_not_the_one_the_client_names_is_refused_and_can_be_sent_again(cas: Cas) -> None:
    upload = begin(cas)
    send(cas, upload, 1, 2, 3)
    with pytest.raises(DigestMismatch, match="part 2"):
        cas.uploads.complete(upload, {**ETAGS, 2: "ab" * 32})
    assert (cas.store.find(SHA256), cas.incoming) == (None, [])
    cas.uploads.complete(upload, ETAGS)


def test_T13_parts_that_do_not_make_the_file_are_refused(cas: Cas) -> None:
    upload = begin(cas)
    send(cas, upload, 1, 3)
    send(cas, upload, 2, other=noise("wrong", PART))
    with pytest.raises(DigestMismatch):
        cas.uploads.complete(upload, {})
    assert (cas.store.find(SHA256), cas.objects, cas.incoming) == (None, [], [])
    send(cas, upload, 2)
    cas.uploads.complete(upload, {})
    assert cas.read(SHA256) == DATA


@pytest.mark.parametrize(("number", "data"), [(1, DATA[:999]), (1, DATA[:1001]), (3, DATA[:1000]), (3, b"")])
def test_T13_a_part_of_another_size_is_refused_and_leaves_nothing(cas: Cas, number: int, data: bytes) -> None:
    upload = begin(cas)
    sink = cas.uploads.part(upload, number)
    with pytest.raises(DigestMismatch):
        sink.write(data)
        sink.land()
    sink.abort()
    assert (left(cas), cas.incoming) == ([upload], [])


@pytest.mark.parametrize("number", [0, -1, 4, 99999])
def test_a_part_that_the_file_does_not_have_is_refused(cas: Cas, number: int) -> None:
    upload = begin(cas)
    with pytest.raises(Invalid, match="1 to 3"):
        cas.uploads.part(upload, number)
    assert cas.incoming == []


def test_a_part_that_is_sent_again_replaces_the_earlier_one(cas: Cas) -> None:
    upload = begin(cas)
    send(cas, upload, 1, other=noise("first try", PART))
    send(cas, upload, 1, 2, 3)
    cas.uploads.complete(upload, ETAGS)
    assert cas.read(SHA256) == DATA


def test_an_upload_that_is_finished_is_unknown_afterwards(cas: Cas) -> None:
    upload = begin(cas)
    send(cas, upload, 1, 2, 3)
    late = cas.uploads.part(upload, 2)
    late.write(PARTS[1])
    finish(cas, upload)
    for again in (lambda: cas.uploads.complete(upload, ETAGS), lambda: cas.uploads.part(upload, 1), late.land):
        with pytest.raises(EntryMissing, match="begin it again"):
            again()
    assert (left(cas), cas.incoming) == ([], [])


def test_who_joins_the_parts_while_another_has_done_so_is_told_that_it_is_finished(
    cas: Cas, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = begin(cas)
    send(cas, upload, 1, 2, 3)
    real = cas.store.sink

    def overtaken(*given: object) -> object:
        monkeypatch.setattr(cas.store, "sink", real)
        finish(cas, upload)
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(cas.store, "sink", overtaken)
    with pytest.raises(EntryMissing):
        cas.uploads.complete(upload, ETAGS)
    assert (cas.read(SHA256), cas.incoming) == (DATA, [])


def test_an_upload_whose_folder_a_crash_or_a_restore_took_goes_on(cas: Cas) -> None:
    upload = begin(cas)
    send(cas, upload, 1)
    shutil.rmtree(cas.root / "uploads")
    assert begin(cas) == upload
    with pytest.raises(Invalid, match="were not uploaded"):
        cas.uploads.complete(upload, ETAGS)
    send(cas, upload, 1, 2, 3)
    cas.uploads.complete(upload, ETAGS)


def test_T23_an_abandoned_upload_is_collected_with_its_parts_and_a_younger_one_is_not(cas: Cas) -> None:
    old = begin(cas, "old")
    send(cas, old, 1, 2)
    cas.clock.advance(100)
    young = begin(cas, "young")
    send(cas, young, 1)
    assert cas.uploads.expire(cas.clock.now_ms()) == 1
    assert left(cas) == [young, f"{young}/00001"]
    with pytest.raises(EntryMissing):
        cas.uploads.part(old, 3)
    assert begin(cas, "old") != old


def test_T23_what_a_crash_left_of_a_finished_upload_is_collected(cas: Cas) -> None:
    upload = begin(cas)
    send(cas, upload, 1)
    with cas.db.write_soft() as connection:
        connection.execute(tables.upload.delete())
    assert cas.uploads.expire(0) == 0
    assert left(cas) == []


def test_T03_a_disk_that_fails_while_the_parts_are_joined_leaves_them_for_another_try(
    cas: Cas, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = begin(cas)
    send(cas, upload, 1, 2, 3)
    real = Path.open

    def failing(path: Path, *given: object, **more: object) -> object:
        if path.name == "00002":
            raise OSError(errno.EIO, "Input/output error")
        return real(path, *given, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", failing)
        with pytest.raises(Unavailable):
            cas.uploads.complete(upload, ETAGS)
    assert (cas.incoming, len(left(cas))) == ([], 4)
    finish(cas, upload)
    with cas.db.read() as connection:
        assert connection.execute(select(tables.upload)).all() == []
