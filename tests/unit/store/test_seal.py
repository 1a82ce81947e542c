"""Sealing: what it stores, what it proves, what it leaves alone, and what comes back."""

from __future__ import annotations

import errno
import random
from itertools import count as count_from
from typing import Any

import pytest
from plain_codec import plain_codec
from sealing import count, drop_raw, only_sealed, relative, safetensors, seal, sealed, tensor_rows, tuned, weights
from store_cas import Cas
from xet_building import sha256_of

from headwater import codec
from headwater.codec import Encoded, Form
from headwater.ground.errors import Corrupt, Unavailable
from headwater.store import seal as sealing_module
from headwater.store import tables, writing
from headwater.store.entries import Bounds
from headwater.store.objects import FileRun
from headwater.store.packs import Pack
from headwater.store.seal import Relative, Sealer, Stopped
from headwater.store.sealing import needs_codec

__all__ = ["plain_codec"]

pytestmark = pytest.mark.usefixtures("plain_codec")

A, B = weights(1), weights(2, 70_001)
FILE = safetensors({"a": A, "b": B})


def test_a_sealed_file_comes_back_whole_and_takes_less(cas: Cas) -> None:
    blob = cas.put(FILE)

    report = seal(cas, blob.sha256)

    assert report.sealed
    assert (report.tensors, report.same, report.derived) == (2, 0, 0)
    assert report.stored_bytes < 0.6 * len(FILE)
    assert cas.read(blob.sha256) == FILE
    drop_raw(cas, blob.sha256)
    assert cas.read(blob.sha256) == FILE


def test_any_range_of_a_sealed_file_comes_back(cas: Cas) -> None:
    sha256 = only_sealed(cas, FILE)
    chance = random.Random(7)
    ends = [0, 1, 8, len(FILE) - 1, len(FILE), len(FILE) - len(B), len(FILE) - len(B) - 1]
    ranges = [sorted(chance.choices(range(len(FILE) + 1), k=2)) for _ in range(40)]
    for start, stop in [*ranges, *([a, b] for a in ends for b in ends if a <= b)]:
        assert cas.read(sha256, start, stop) == FILE[start:stop], (start, stop)


def test_a_derivative_costs_what_it_changed(cas: Cas) -> None:
    only_sealed(cas, FILE)
    child = safetensors({"a": tuned(A, 5), "b": B})

    blob = cas.put(child)
    report = seal(cas, blob.sha256, relative(FILE))

    assert (report.same, report.derived) == (1, 1)
    assert report.stored_bytes < 0.15 * len(child)
    drop_raw(cas, blob.sha256)
    assert cas.read(blob.sha256) == child
    assert cas.read(blob.sha256, 150_000, 150_100) == child[150_000:150_100]


def test_equal_tensors_are_stored_once_under_any_name_in_any_file(cas: Cas) -> None:
    only_sealed(cas, FILE)
    other = safetensors({"x.weight": B, "twice": B, "y": A})
    only_sealed(cas, other)
    assert len([row for row in tensor_rows(cas) if row.dtype == "U8"]) == 2
    assert cas.read(sha256_of(other)) == other


def test_the_same_bytes_of_another_dtype_or_shape_are_another_tensor(cas: Cas) -> None:
    only_sealed(cas, FILE)
    only_sealed(cas, safetensors({"a": A, "b": B}, dtype="I8"))
    assert len([row for row in tensor_rows(cas) if row.dtype in ("U8", "I8")]) == 4


def test_a_parent_may_bear_another_name(cas: Cas) -> None:
    only_sealed(cas, FILE)
    child = safetensors({"new.a": tuned(A, 5)})
    blob = cas.put(child)
    assert seal(cas, blob.sha256, relative(FILE)).derived == 0
    cas.change(blob.sha256, sealed=None, seal_ms=None)
    with cas.db.write_soft() as connection:
        connection.execute(tables.blob_tensor.delete().where(tables.blob_tensor.c.sha256 == blob.sha256))
        connection.execute(tables.tensor.delete().where(tables.tensor.c.id == tensor_rows(cas)[-1].id))
    assert seal(cas, blob.sha256, relative(FILE, pairs={"new.a": ("b", "a")})).derived == 1
    drop_raw(cas, blob.sha256)
    assert cas.read(blob.sha256) == child


def test_a_relative_that_is_not_sealed_is_told_and_not_used(cas: Cas) -> None:
    cas.put(FILE)
    child = safetensors({"a": tuned(A, 5), "b": B})
    report = seal(cas, cas.put(child).sha256, relative(FILE), Relative(sha256_of(b"?"), "a guess"))
    assert report.sealed
    assert report.derived == 0
    assert [text.split(": ")[0] for text in report.unused] == [sha256_of(FILE), sha256_of(b"?")]


@pytest.mark.parametrize("allowed", [True, False])
def test_chains_end_at_the_depth_limit_and_go_on_from_the_root_if_that_is_allowed(cas: Cas, allowed: bool) -> None:
    before = FILE
    only_sealed(cas, before)
    sealer = Sealer(cas.store, Bounds(depth_max=2))
    for level in range(1, 6):
        after = safetensors({"a": tuned(A, level, 0.001 * level), "b": B})
        report = sealer.seal(cas.put(after).sha256, "model.safetensors", [relative(before)], lambda _key: allowed)
        assert report.derived == (1 if allowed or level % 3 else 0), level
        drop_raw(cas, report.sha256)
        before = after
    assert max(row.depth for row in tensor_rows(cas)) == 2
    assert cas.read(sha256_of(before)) == before


def test_what_is_no_tensor_is_kept_by_chunks_and_equal_stretches_once(cas: Cas) -> None:
    text = random.Random(3).choices(b"abcdefgh \n", k=600_000)
    one, two = bytes(text), b"something before " * 40 + bytes(text)
    report = seal(cas, cas.put(one).sha256, name="data.txt")
    assert report.sealed
    again = seal(cas, cas.put(two).sha256, name="data.txt")
    assert again.stored_bytes < 0.5 * report.stored_bytes
    for data in (one, two):
        drop_raw(cas, sha256_of(data))
        assert cas.read(sha256_of(data)) == data


def test_of_much_that_is_no_tensor_no_more_pieces_are_made_and_equal_ones_are_still_found(
    cas: Cas, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = bytes(random.Random(3).choices(b"abcdefgh \n", k=3_000_000))
    seal(cas, cas.put(text[:-1]).sha256, name="data.txt")
    fine = count(cas, tables.tensor)
    monkeypatch.setattr(sealing_module, "FINE_BYTES", 400_000)

    one, two = text, b"something before " * 40 + text
    report = seal(cas, cas.put(one).sha256, name="data.txt")
    coarse = count(cas, tables.tensor) - fine
    again = seal(cas, cas.put(two).sha256, name="data.txt")

    assert report.sealed
    assert again.sealed
    assert 1 < coarse < fine / 3
    assert again.stored_bytes < 0.5 * report.stored_bytes
    for data in (one, two):
        drop_raw(cas, sha256_of(data))
        assert cas.read(sha256_of(data)) == data


def test_a_header_leaves_before_the_first_tensor_is_decoded(cas: Cas, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = only_sealed(cas, FILE)
    begins = FILE.index(A)
    monkeypatch.setattr(codec.Decoder, "block", lambda *_: pytest.fail("a block was decoded"))

    pieces = cas.store.read(sha256)

    assert next(pieces) == FILE[:begins]


def test_the_codec_is_needed_once_a_raw_copy_is_gone(cas: Cas) -> None:
    assert not needs_codec(cas.store)
    blob = cas.put(FILE)
    assert not needs_codec(cas.store)
    seal(cas, blob.sha256)
    assert not needs_codec(cas.store)
    cas.change(blob.sha256, raw="leaving")
    assert needs_codec(cas.store)


@pytest.mark.parametrize("data", [b"", b"x", b"\0" * 5000, random.Random(1).randbytes(100_000)])
def test_what_would_not_shrink_stays_as_it_is(cas: Cas, data: bytes) -> None:
    blob = cas.put(data)
    report = seal(cas, blob.sha256, margin=0.99)
    assert not report.sealed
    assert "would take" in report.note
    assert cas.read(blob.sha256) == data
    assert cas.store.blob(blob.sha256).raw_here
    assert count(cas, tables.tensor) == count(cas, tables.blob_tensor) == 0
    assert not list(cas.store.packs.ids()) or cas.store.packs.size(1) in (0, None)


def test_a_file_that_breaks_its_formats_rules_is_kept_by_chunks(cas: Cas) -> None:
    broken = FILE[:-1]
    report = seal(cas, cas.put(broken).sha256)
    assert report.sealed
    assert report.tensors == 0
    drop_raw(cas, sha256_of(broken))
    assert cas.read(sha256_of(broken)) == broken


def test_T31_a_codec_that_does_not_give_the_bytes_back_costs_space_and_no_byte(
    cas: Cas, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = codec.Decoder.block
    monkeypatch.setattr(
        codec.Decoder,
        "block",
        lambda self, number, data: (
            good(self, number, data)[:-1] + b"?" if self._size == len(A) else good(self, number, data)
        ),
    )
    blob = cas.put(FILE)
    report = seal(cas, blob.sha256)
    assert (report.sealed, report.tensors) == (True, 0)  # by chunks
    drop_raw(cas, blob.sha256)
    assert cas.read(blob.sha256) == FILE


def test_raw_bytes_that_are_wrong_are_found_at_sealing_and_never_sealed(cas: Cas) -> None:
    blob = cas.put(FILE)
    cas.path(blob.sha256).write_bytes(FILE[:-1] + b"?")
    with pytest.raises(Corrupt):
        seal(cas, blob.sha256)
    assert cas.state(blob.sha256) == "damaged"
    assert count(cas, tables.tensor) == 0
    cas.put(FILE)
    assert seal(cas, blob.sha256).sealed


def test_sealing_that_is_told_to_stop_leaves_nothing(cas: Cas) -> None:
    blob = cas.put(FILE)
    answers = iter([True, False])
    with pytest.raises(Stopped):
        Sealer(cas.store, going=lambda: next(answers)).seal(blob.sha256, "model.safetensors")
    assert count(cas, tables.tensor) == 0
    assert (cas.store.packs.size(1) or 0) == 0
    assert seal(cas, blob.sha256).sealed


def test_one_process_seals_at_a_time(cas: Cas) -> None:
    blob = cas.put(FILE)
    with cas.store.packs.alone(), pytest.raises(Unavailable):
        seal(cas, blob.sha256)


def test_sealing_twice_changes_nothing(cas: Cas) -> None:
    sha256 = sealed(cas, FILE)
    before = tensor_rows(cas)
    assert seal(cas, sha256).note == "it is sealed"
    assert tensor_rows(cas) == before


def test_while_its_raw_bytes_are_here_a_sealed_file_is_sent_as_a_file(cas: Cas) -> None:
    sha256 = sealed(cas, FILE)
    assert cas.store.runs(cas.store.blob(sha256), 0, 10) == [FileRun(cas.path(sha256), 0, 10)]


def test_another_process_that_sealed_and_dropped_the_raw_bytes_is_noticed(cas: Cas) -> None:
    blob = cas.put(FILE)
    assert cas.read(blob.sha256) == FILE  # the row is remembered
    other = cas.beside()
    only_sealed(other, FILE)
    assert cas.read(blob.sha256) == FILE
    assert cas.state(blob.sha256) == "whole"


def test_raw_bytes_that_are_lost_cost_a_sealed_file_nothing(cas: Cas) -> None:
    sha256 = sealed(cas, FILE)
    cas.path(sha256).unlink()
    assert cas.read(sha256) == FILE
    cas.store.flag_object(cas.path(sha256), "gone")
    assert cas.state(sha256) == "whole"
    assert cas.read(sha256) == FILE


def _flip(cas: Cas, position: int, pack: int = 1) -> None:
    path = cas.store.packs.path(pack)
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)
    cas.store.tensors.forget()


def test_T25_no_flipped_bit_in_a_pack_is_ever_served(cas: Cas) -> None:
    only_sealed(cas, FILE)
    child = safetensors({"a": tuned(A, 5), "b": B})
    only_sealed(cas, child, relative(FILE))
    size = cas.store.packs.size(1) or 0
    chance = random.Random(11)
    for position in [*range(16, 300, 7), *range(size - 300, size, 5), *(chance.randrange(16, size) for _ in range(40))]:
        _flip(cas, position)
        for data in (FILE, child):
            try:
                assert cas.read(sha256_of(data)) == data, position
            except Corrupt:
                assert cas.state(sha256_of(data)) == "damaged"
                cas.store.mend(sha256_of(data))
        _flip(cas, position)
        with cas.db.write_soft() as connection:
            connection.execute(tables.tensor.update().values(state="whole"))


def test_T27_a_damaged_tensor_names_every_file_that_stands_on_it(cas: Cas) -> None:
    base, child = FILE, safetensors({"a": tuned(A, 5), "b": tuned(B, 6)})
    grandchild = safetensors({"a": tuned(A, 5), "b": tuned(B, 6), "c": weights(9)})
    apart = safetensors({"z": weights(10)})
    only_sealed(cas, base)
    only_sealed(cas, child, relative(base))
    only_sealed(cas, grandchild, relative(child))
    only_sealed(cas, apart)
    row = next(row for row in tensor_rows(cas) if row.depth == 0 and row.size == len(A))
    _flip(cas, row.start + 40)

    with pytest.raises(Corrupt):
        cas.read(sha256_of(base), 100, len(A))

    states = [cas.state(sha256_of(data)) for data in (base, child, grandchild, apart)]
    assert states == ["damaged", "damaged", "damaged", "whole"]
    told = {event.data["sha256"] for event in cas.happened() if event.kind == "blob.damaged"}
    assert told == {sha256_of(base), sha256_of(child), sha256_of(grandchild)}


def test_T25_a_file_whose_sealed_copy_is_damaged_lives_on_by_its_raw_bytes(cas: Cas) -> None:
    sha256 = sealed(cas, FILE)
    _flip(cas, 40)
    key = tensor_rows(cas)[0].key
    cas.store.flag_tensor(key, "found by verify")
    blob = cas.store.blob(sha256)
    assert (blob.damaged, blob.sealed, blob.raw_here) == (False, False, True)
    assert seal(cas, sha256).sealed
    drop_raw(cas, sha256)
    assert cas.read(sha256) == FILE


def test_T25_a_damaged_tensor_is_healed_for_all_by_uploading_one_file_that_has_it(cas: Cas) -> None:
    child = safetensors({"a": tuned(A, 5), "b": tuned(B, 6)})
    only_sealed(cas, FILE)
    only_sealed(cas, child, relative(FILE))
    _flip(cas, tensor_rows(cas)[0].start + 20)
    with pytest.raises(Corrupt):
        cas.read(sha256_of(child))
    assert cas.state(sha256_of(FILE)) == "damaged"

    cas.put(FILE)
    assert cas.read(sha256_of(FILE)) == FILE
    assert cas.state(sha256_of(child)) == "damaged"
    assert seal(cas, sha256_of(FILE)).sealed

    assert cas.state(sha256_of(child)) == "whole"
    assert cas.read(sha256_of(child)) == child


def test_T29_a_pack_that_is_gone_is_damage_and_not_a_crash(cas: Cas) -> None:
    sha256 = only_sealed(cas, FILE)
    cas.store.packs.delete(1)
    cas.store.tensors.forget()
    with pytest.raises(Corrupt):
        cas.read(sha256)
    assert cas.state(sha256) == "damaged"


@pytest.mark.parametrize("at", [0, 1, 5, 30, 60, -40, -1])
def test_T25_a_recipe_with_a_flipped_bit_is_corrupt(cas: Cas, at: int) -> None:
    sha256 = only_sealed(cas, FILE)
    with cas.db.read() as connection:
        data = bytearray(connection.execute(tables.blob.select()).one().sealed)
    data[at] ^= 4
    cas.change(sha256, sealed=bytes(data))
    with pytest.raises(Corrupt):
        cas.read(sha256)
    assert cas.state(sha256) == "damaged"


def test_a_recipe_fits_no_other_file(cas: Cas) -> None:
    one = only_sealed(cas, FILE)
    two = only_sealed(cas, safetensors({"b": B, "a": A}))
    with cas.db.read() as connection:
        data = {row.sha256: row.sealed for row in connection.execute(tables.blob.select())}
    cas.change(one, sealed=data[two])
    with pytest.raises(Corrupt):
        cas.read(one)


def test_several_packs_hold_one_file(cas: Cas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "PACK_BYTES_MAX", 50_000)
    sha256 = only_sealed(cas, FILE)
    assert len(list(cas.store.packs.ids())) == 2
    assert cas.read(sha256) == FILE
    only_sealed(cas, safetensors({"n": weights(20), "m": weights(21)}))
    assert len(list(cas.store.packs.ids())) >= 3


def test_a_mistake_of_the_codecs_costs_space_and_not_the_sealing(cas: Cas, monkeypatch: pytest.MonkeyPatch) -> None:
    good = codec.encode

    def encode(form: Form, *rest: Any) -> Encoded:
        if form.dtype == "U8" and form.shape == (len(A),):
            raise IndexError("a bug")
        return good(form, *rest)

    monkeypatch.setattr(codec, "encode", encode)
    sha256 = only_sealed(cas, FILE)
    assert {row.dtype for row in tensor_rows(cas) if row.size == len(A)} == {"BYTES"}
    assert cas.read(sha256) == FILE


@pytest.mark.parametrize("nth", [1, 2, 3, 5])
def test_T03_a_full_disk_stops_sealing_and_leaves_nothing_behind(
    cas: Cas, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    good, calls = Pack._write, count_from(1)

    def write(self: Pack, data: bytes) -> None:
        if next(calls) == nth:
            raise OSError(errno.ENOSPC, "full")
        good(self, data)

    blob = cas.put(FILE)
    with monkeypatch.context() as patch:
        patch.setattr(Pack, "_write", write)
        with pytest.raises(Unavailable) as refused:
            seal(cas, blob.sha256)
    assert refused.value.status == 507
    assert count(cas, tables.tensor) == 0
    assert (cas.store.packs.size(1) or 0) <= 16  # its mark at most
    assert seal(cas, blob.sha256).sealed
    drop_raw(cas, blob.sha256)
    assert cas.read(blob.sha256) == FILE
