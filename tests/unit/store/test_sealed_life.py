"""What becomes of sealed files later: eviction, sweeping, moving packs, storing anew, leaving, purging, verifying."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from plain_codec import plain_codec
from sealing import count, drop_raw, only_sealed, relative, safetensors, seal, sealed, tensor_rows, tuned, weights
from sqlalchemy import update
from store_cas import Cas
from xet_building import File, Xorb, all_of, sha256_of, unpacked

from headwater.ground.errors import Conflict, Corrupt, EntryMissing, Invalid
from headwater.ground.names import Sha256
from headwater.store import check, purge, rebase, report, sweep, tables
from headwater.store.entries import Bounds
from headwater.store.evict import Evicted, evict
from headwater.store.objects import read_pieces
from headwater.store.seal import Sealer

__all__ = ["plain_codec"]

pytestmark = pytest.mark.usefixtures("plain_codec")

A, B = weights(1), weights(2, 70_001)
FILE = safetensors({"a": A, "b": B})
CHILD = safetensors({"a": tuned(A, 5), "b": B})
FOREVER = 1 << 62


def evicted(cas: Cas, cache_bytes: int = 0) -> Evicted:
    now = cas.clock.now_ms()
    return evict(cas.store, cas.xets, now - 3600_000, now - 28 * 86_400_000, cache_bytes, cas.store.take_heat())


def findings(cas: Cas) -> list[check.Finding]:
    return list(check.check(cas.store, cas.xets, 100, random.Random(1), lambda _n: None))


def forget_file(cas: Cas, data: bytes) -> None:
    """As the sweep does with a file that nobody holds."""
    cas.clock.advance(1)
    assert sweep.blobs(cas.store, [sha256_of(data)], cas.clock.now_ms()).blobs == 1


# --- raw copies ---


def test_raw_bytes_stay_for_the_grace_then_leave_and_a_look_later_are_deleted(cas: Cas) -> None:
    sha256 = sealed(cas, FILE)
    assert evicted(cas) == Evicted()
    cas.clock.advance(3601)
    assert evicted(cas) == Evicted(leaving=1)
    assert cas.path(sha256).exists()
    assert cas.read(sha256) == FILE
    assert evicted(cas) == Evicted(gone=1, freed_bytes=len(FILE))
    assert not cas.path(sha256).exists()
    assert cas.read(sha256) == FILE
    assert evicted(cas) == Evicted()


def test_a_reader_that_was_told_of_the_object_still_finds_it_after_the_first_look(cas: Cas) -> None:
    sha256 = sealed(cas, FILE)
    cas.clock.advance(3601)
    runs = cas.store.runs(cas.store.blob(sha256), 0, len(FILE))
    evicted(cas)
    assert b"".join(read_pieces(runs)) == FILE


def test_a_hot_file_keeps_its_raw_bytes_or_gets_them_back_as_far_as_there_is_room(cas: Cas) -> None:
    hot, cold = sealed(cas, FILE), sealed(cas, CHILD)
    cas.clock.advance(3601)
    cas.read(hot)
    assert evicted(cas, cache_bytes=len(FILE)).leaving == 1
    assert cas.store.blob(hot).raw_here
    assert not cas.store.blob(cold).raw_here
    evicted(cas)
    evicted(cas)
    assert not cas.path(hot).exists()
    cas.read(hot)
    cas.read(cold)
    assert evicted(cas, cache_bytes=len(FILE) + 10).warmed == 1
    assert [cas.path(one).exists() for one in (hot, cold)].count(True) == 1
    assert cas.read(hot) + cas.read(cold) == FILE + CHILD


def test_bytes_that_were_uploaded_again_after_the_raw_ones_left_are_not_needed(cas: Cas) -> None:
    sha256 = only_sealed(cas, FILE)
    blob = cas.put(FILE)
    assert blob.sealed
    assert not cas.path(sha256).exists()
    assert cas.read(sha256) == FILE


# --- Xet ---

CUT = 60_000


def _xorb(data: bytes) -> Xorb:
    return Xorb(tuple(data[at : at + CUT] for at in range(0, len(data), CUT)))


X, Y = _xorb(FILE), _xorb(weights(30, 90_000))


def _virtual(cas: Cas, *files: File) -> list[Sha256]:
    """Files that came by Xet, sealed, and their xorbs virtual."""
    names = []
    for file in files:
        (blob,) = cas.register(file)
        assert seal(cas, blob.sha256, name="data.bin").sealed
        names.append(blob.sha256)
    cas.clock.advance(3601)
    first, second = evicted(cas), evicted(cas)
    assert first.leaving == len(files)
    assert second.freed_bytes > 0
    return names


def test_a_xorb_whose_files_are_sealed_is_made_from_them(cas: Cas) -> None:
    cas.land(X)
    file = all_of(X)
    (sha256,) = _virtual(cas, file)

    assert cas.xorb_state(X) == "virtual"
    assert not cas.xorb_path(X).exists()
    assert cas.read(sha256) == file.data
    layout = cas.xets.layout(cas.store.blob(sha256), 1000, 50_000)
    assert {part.xorb for part in layout.parts} == {X.name}
    (part,) = cas.xets.layout(cas.store.blob(sha256), 0, len(file.data)).parts
    assert tuple(unpacked(b"".join(cas.xets.fetch(part.source, part.start, part.stop)))) == X.chunks


def test_another_file_can_be_built_on_a_virtual_xorb_and_keeps_what_it_is_made_from(cas: Cas) -> None:
    cas.land(X, Y)
    file = all_of(X)
    (sha256,) = _virtual(cas, file)
    other = all_of(Y, X)
    (blob,) = cas.register(other)
    assert cas.read(blob.sha256) == other.data

    cas.clock.advance(1)
    assert sweep.blobs(cas.store, [sha256], cas.clock.now_ms()).blobs == 0  # the other one needs it
    assert seal(cas, blob.sha256, name="data.bin").sealed
    cas.clock.advance(3601)
    evicted(cas)
    assert sweep.blobs(cas.store, [sha256], cas.clock.now_ms()).blobs == 1
    assert cas.read(blob.sha256) == other.data
    assert cas.xorb_state(X) == "gone"
    parts = cas.xets.layout(cas.store.blob(blob.sha256), 0, len(other.data)).parts
    assert {part.source.kind for part in parts} == {"piece"}


def test_a_hot_file_that_came_by_xet_gets_its_xorbs_back_and_leaves_again_when_it_cools(cas: Cas) -> None:
    cas.land(Y)
    (by_xet,) = _virtual(cas, all_of(Y))
    assert not cas.xorb_path(Y).exists()
    cas.read(by_xet)
    assert evicted(cas, cache_bytes=len(Y.plain) - 1).warmed == 0
    cas.read(by_xet)
    assert evicted(cas, cache_bytes=len(Y.plain)).warmed == 1
    assert cas.store.blob(by_xet).raw_here
    assert cas.xorb_state(Y) == "here"
    assert cas.xorb_path(Y).read_bytes() == Y.plain
    assert findings(cas) == []
    assert cas.read(by_xet) == Y.plain
    for _ in range(4):
        cas.store.take_heat()
        evicted(cas)
    assert not cas.xorb_path(Y).exists()
    assert cas.xorb_state(Y) == "virtual"
    assert cas.read(by_xet) == Y.plain


def test_a_hot_file_whose_xorb_can_t_be_made_takes_no_room_from_one_that_can_come_back(cas: Cas) -> None:
    cas.land(Y)
    (by_xet,) = _virtual(cas, all_of(Y))
    with cas.db.write() as connection:
        connection.execute(update(tables.xorb).values(state="gone"))
    plain = only_sealed(cas, FILE)
    for _ in range(20):
        cas.read(by_xet)
    cas.read(plain)
    assert evicted(cas, cache_bytes=len(FILE)).warmed == 1
    assert cas.store.blob(plain).raw_here
    assert cas.read(by_xet) + cas.read(plain) == Y.plain + FILE


def test_a_xorb_that_is_sent_again_is_an_object_again(cas: Cas) -> None:
    cas.land(X)
    (sha256,) = _virtual(cas, all_of(X))
    cas.land(X)
    assert cas.xorb_state(X) == "here"
    assert cas.xorb_path(X).exists()
    assert cas.read(sha256) == X.plain


def test_T27_damage_of_a_virtual_xorbs_source_reaches_the_files_that_are_made_from_it(cas: Cas) -> None:
    cas.land(X, Y)
    (sha256,) = _virtual(cas, all_of(X))
    other = all_of(Y, X)
    (blob,) = cas.register(other)
    _spoil(cas)
    with pytest.raises(Corrupt):
        cas.read(blob.sha256)
    assert [cas.state(name) for name in (sha256, blob.sha256)] == ["damaged", "damaged"]
    with pytest.raises(Invalid):  # a client is told to send it
        cas.register(all_of(X))


def _spoil(cas: Cas, number: int = 0) -> Callable[[], None]:
    """A byte of a tensor's entry changes on the disk; called, what is returned changes it back."""
    row = tensor_rows(cas)[number]
    path = cas.store.packs.path(row.pack)

    def flip() -> None:
        data = bytearray(path.read_bytes())
        data[row.start + 30] ^= 0xFF
        path.write_bytes(data)
        cas.store.tensors.forget()

    flip()
    return flip


# --- damage, and what is left ---

THIRD = safetensors({"a": tuned(A, 9)})
FAMILY = (FILE, CHILD, THIRD)


def _found_by_verify(cas: Cas) -> None:
    assert findings(cas)


def _found_by_a_reader(cas: Cas) -> None:
    assert cas.read(sha256_of(CHILD)) == CHILD


def _found_beside(cas: Cas) -> None:
    """By another process, while ours remembers what was."""
    reader = cas.beside()
    assert findings(reader)
    reader.db.close()


def _leaving(cas: Cas) -> None:
    """A base and two that stand on it, sealed, their raw bytes on their way out."""
    sealed(cas, FILE)
    for data in (CHILD, THIRD):
        sealed(cas, data, relative(FILE))
    cas.clock.advance(3601)
    assert evicted(cas).leaving == len(FAMILY)


@pytest.mark.parametrize("find", [_found_by_verify, _found_by_a_reader, _found_beside])
def test_T27_a_pack_damaged_while_raw_copies_leave_costs_no_file_a_byte(cas: Cas, find: Callable[[Cas], None]) -> None:
    _leaving(cas)
    _spoil(cas)
    find(cas)
    for _ in range(3):
        assert evicted(cas).gone == 0
    for data in FAMILY:
        assert cas.read(sha256_of(data)) == data
        blob = cas.store.blob(sha256_of(data))
        assert (blob.damaged, blob.sealed, blob.raw_here) == (False, False, True)
    assert cas.happened() == []
    assert findings(cas) == []
    sweep.tensors(cas.store)
    for data in FAMILY:  # and they are sealed as if they had just come
        only_sealed(cas, data)
        assert cas.read(sha256_of(data)) == data


def test_T27_raw_bytes_go_by_no_mark_of_their_own_while_what_they_stand_on_is_marked(cas: Cas) -> None:
    """As after a crash between the mark of a tensor and those of its files."""
    _leaving(cas)
    _spoil(cas)
    with cas.db.write() as connection:
        base = tables.tensor.c.id == tensor_rows(cas)[0].id
        connection.execute(tables.tensor.update().where(base).values(state="damaged"))
    assert evicted(cas).gone == 0
    for data in FAMILY:
        assert cas.read(sha256_of(data)) == data


def test_T27_of_two_copies_that_are_damaged_neither_goes_and_either_heals(cas: Cas) -> None:
    for bring_back in ("the pack", "the raw bytes"):
        sha256 = sealed(cas, FILE)
        cas.clock.advance(3601)
        evicted(cas)
        cas.path(sha256).write_bytes(FILE[:-1] + b"?")
        undo = _spoil(cas)
        findings(cas)
        for _ in range(2):
            evicted(cas)
            assert sweep.unnamed(cas.store, FOREVER).objects == 0
            sweep.tensors(cas.store)
            sweep.packs(cas.store)
        assert cas.state(sha256) == "damaged"
        assert cas.path(sha256).exists()
        with pytest.raises(Corrupt):
            cas.read(sha256)
        if bring_back == "the pack":
            undo()
        else:
            cas.path(sha256).write_bytes(FILE)
        assert [one.what for one in findings(cas)] == ["tensor"] * (bring_back != "the pack")
        assert cas.read(sha256) == FILE
        assert cas.state(sha256) == "whole"
        assert findings(cas) == []
        forget_file(cas, FILE)
        sweep.tensors(cas.store)
        sweep.packs(cas.store)


def test_T25_a_mark_on_a_tensor_goes_when_verify_finds_it_right_after_all(cas: Cas) -> None:
    only_sealed(cas, FILE)
    only_sealed(cas, CHILD, relative(FILE))
    number = next(number for number, row in enumerate(tensor_rows(cas)) if row.depth)
    undo = [_spoil(cas), _spoil(cas, number)]  # a parent, and what stands on it
    reader = cas.beside()
    assert len(findings(cas)) > 0
    for data in (FILE, CHILD):
        with pytest.raises(Corrupt):
            reader.read(sha256_of(data))
    marked = [one for one in findings(cas) if one.what == "tensor"]
    assert {file for one in marked for file in one.files} == {sha256_of(FILE), sha256_of(CHILD)}
    for back in undo:
        back()

    steps: list[int] = []
    expected = check.count(cas.store)
    assert list(check.check(cas.store, cas.xets, 0, random.Random(1), steps.append)) == []

    assert sum(steps) == expected
    assert {row.state for row in tensor_rows(cas)} == {"whole"}
    for data in (FILE, CHILD):
        assert reader.read(sha256_of(data)) == cas.read(sha256_of(data)) == data
    reader.db.close()


def test_a_file_that_came_by_xet_is_healed_by_its_xorbs_at_once(cas: Cas) -> None:
    xorb = Xorb((*X.chunks, weights(31, 50_000)))
    cas.land(xorb)
    file = File(((xorb, 0, len(X.chunks)),))  # not all of it: it stays what it is for as long as clients remember it
    (blob,) = cas.register(file)
    assert seal(cas, blob.sha256, name="data.bin").sealed
    cas.clock.advance(3601)
    for _ in range(2):
        evicted(cas)
    assert (cas.xorb_state(xorb), cas.store.blob(blob.sha256).raw_here) == ("here", False)
    _spoil(cas)

    assert cas.read(blob.sha256) == file.data

    now = cas.store.blob(blob.sha256)
    assert (now.damaged, now.sealed, now.raw_here, now.terms is not None) == (False, False, True, True)
    assert cas.happened() == []
    cas.clock.advance(29 * 86_400)
    for _ in range(2):
        evicted(cas)
    assert cas.read(blob.sha256) == file.data
    assert {part.xorb for part in cas.xets.layout(now, 0, now.size).parts} == {xorb.name}


def test_a_xorb_that_is_about_to_be_virtual_heals_the_files_that_it_would_be_made_from(cas: Cas) -> None:
    cas.land(X)
    (blob,) = cas.register(all_of(X))
    assert seal(cas, blob.sha256, name="data.bin").sealed
    cas.clock.advance(3601)
    evicted(cas)
    assert (cas.xorb_state(X), cas.xorb_path(X).exists()) == ("virtual", True)
    _spoil(cas)
    assert cas.read(blob.sha256) == X.plain
    assert cas.xorb_state(X) == "here"
    for _ in range(2):
        assert evicted(cas).freed_bytes == 0
    assert cas.read(blob.sha256) == X.plain
    assert findings(cas) == []


def test_T27_the_xorbs_of_a_damaged_file_stay_for_as_long_as_it_is_damaged(cas: Cas) -> None:
    xorb = Xorb((*X.chunks, weights(31, 50_000)))
    cas.land(xorb, Y)
    (blob,) = cas.register(File(((xorb, 0, len(X.chunks)), (Y, 0, len(Y.chunks)))))
    assert seal(cas, blob.sha256, name="data.bin").sealed
    cas.clock.advance(3601)
    for _ in range(2):
        evicted(cas)
    assert (cas.xorb_state(xorb), cas.xorb_state(Y)) == ("here", "virtual")
    undo = _spoil(cas)
    findings(cas)
    assert cas.state(blob.sha256) == "damaged"
    cas.clock.advance(29 * 86_400)
    for _ in range(2):
        evicted(cas)
    assert cas.xorb_path(xorb).exists()
    cas.land(Y)  # what is missing comes again
    assert [one.what for one in findings(cas)] == ["tensor"]
    assert cas.read(blob.sha256) == X.plain + Y.plain
    undo()
    assert findings(cas) == []


def test_a_virtual_xorb_is_made_again_once_its_file_is_right_after_all(cas: Cas) -> None:
    cas.land(X, Y)
    (sha256,) = _virtual(cas, all_of(X))
    other = all_of(Y, X)
    (blob,) = cas.register(other)
    undo = _spoil(cas)
    findings(cas)
    assert (cas.xorb_state(X), cas.state(blob.sha256)) == ("damaged", "damaged")
    undo()
    findings(cas)
    assert findings(cas) == []
    assert cas.xorb_state(X) == "virtual"
    for name, data in ((sha256, X.plain), (blob.sha256, other.data)):
        assert cas.read(name) == data
        parts = cas.xets.layout(cas.store.blob(name), 0, len(data)).parts
        assert X.name in {part.xorb for part in parts}


def test_a_xorb_that_was_marked_and_is_right_after_all_is_used_again(cas: Cas) -> None:
    cas.land(X)
    (blob,) = cas.register(all_of(X))
    whole = cas.xorb_path(X).read_bytes()
    cas.xorb_path(X).write_bytes(whole[:-1] + b"?")
    assert {one.what for one in findings(cas)} == {"xorb", "blob"}
    cas.xorb_path(X).write_bytes(whole)
    assert findings(cas) == []
    assert (cas.xorb_state(X), cas.state(blob.sha256)) == ("here", "whole")
    assert cas.xets.index(X.name) is not None


# --- sweeping ---


def test_a_deleted_base_stays_as_long_as_a_derivative_stands_on_it_and_no_longer(cas: Cas) -> None:
    only_sealed(cas, FILE)
    only_sealed(cas, CHILD, relative(FILE))
    forget_file(cas, FILE)
    sweep.tensors(cas.store)
    assert cas.read(sha256_of(CHILD)) == CHILD
    assert len(tensor_rows(cas)) == 3  # the base's a, the child's a, and b, which both have
    forget_file(cas, CHILD)
    assert sweep.tensors(cas.store).tensors == 3
    assert count(cas, tables.tensor) == count(cas, tables.tensor_parent) == 0
    assert sweep.packs(cas.store).packs == 1
    assert list(cas.store.packs.ids()) == []


def test_a_half_empty_pack_is_written_anew_and_readers_follow(cas: Cas) -> None:
    only_sealed(cas, FILE)
    rest = safetensors({"c": weights(8, 5000)})
    sha256 = only_sealed(cas, rest)
    reader = cas.beside()
    assert reader.read(sha256) == rest
    reader.store.tensors._blocks.clear()
    forget_file(cas, FILE)
    sweep.tensors(cas.store)
    swept = sweep.packs(cas.store)
    assert swept.packs == 1
    assert swept.freed_bytes > 0.9 * len(FILE) * 0.5
    assert list(cas.store.packs.ids()) == [2]
    assert cas.read(sha256) == reader.read(sha256) == rest
    assert sweep.packs(cas.store).packs == 0


def test_T29_what_a_crash_left_behind_the_ends_of_packs_is_swept_from_all_of_them(
    cas: Cas, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(name: str) -> None:
        if name == "seal.packed":
            raise KeyboardInterrupt

    monkeypatch.setattr("headwater.store.writing.PACK_BYTES_MAX", 5000)  # so that one file fills several
    monkeypatch.setattr("headwater.store.seal.checkpoint", crash)
    monkeypatch.setattr("headwater.store.writing.Writing.back", lambda _writing: None)  # as if the process were gone
    with pytest.raises(KeyboardInterrupt):
        only_sealed(cas, safetensors({name: weights(seed, 4000) for seed, name in enumerate("abcd")}))
    monkeypatch.undo()
    left = sum(cas.store.packs.size(number) or 0 for number in cas.store.packs.ids())
    assert len(list(cas.store.packs.ids())) > 1
    assert sweep.packs(cas.store).freed_bytes == left
    assert sum(cas.store.packs.size(number) or 0 for number in cas.store.packs.ids()) == 0
    only_sealed(cas, FILE)
    assert cas.read(sha256_of(FILE)) == FILE


def test_while_somebody_writes_packs_none_is_emptied(cas: Cas) -> None:
    only_sealed(cas, FILE)
    forget_file(cas, FILE)
    sweep.tensors(cas.store)
    with cas.store.packs.alone():
        assert sweep.packs(cas.store) == sweep.Swept()
    assert list(cas.store.packs.ids()) == [1]


def test_T28_a_tensor_that_is_swept_while_a_file_is_sealed_on_it_is_written_again(
    cas: Cas,
) -> None:
    only_sealed(cas, FILE)
    blob = cas.put(safetensors({"b": B, "d": weights(40)}))
    swept: list[int] = []

    def going() -> bool:
        if not swept and count(cas, tables.blob) == 2:
            forget_file(cas, FILE)
            swept.append(1)
        return True

    def progress(done: int, _total: int) -> None:
        if done > 10_000:
            sweep.tensors(cas.store)

    sealer = Sealer(cas.store, going=going, progress=progress)
    assert sealer.seal(blob.sha256, "model.safetensors").same == 0
    drop_raw(cas, blob.sha256)
    assert cas.read(blob.sha256)[-1000:] == weights(40)[-1000:]


# --- storing anew ---


def rebased(cas: Cas, data: bytes, *relatives: object, **bounds: int) -> int:
    made = rebase.Rebaser(cas.store, Bounds(**bounds))  # type: ignore[arg-type]
    return made.rebase(sha256_of(data), "model.safetensors", relatives).derived  # type: ignore[arg-type]


def test_a_file_that_is_swept_while_it_is_sealed_is_missing(cas: Cas, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = cas.put(FILE).sha256
    proving = Sealer._prove

    def prove(*of: object) -> None:
        proving(*of)
        forget_file(cas, FILE)

    monkeypatch.setattr(Sealer, "_prove", prove)
    with pytest.raises(EntryMissing):
        seal(cas, sha256)
    assert tensor_rows(cas) == []


def test_a_file_moves_to_a_better_parent_that_came_later(cas: Cas) -> None:
    only_sealed(cas, CHILD)
    only_sealed(cas, FILE)
    before = report.stats(cas.store).live_bytes
    assert rebased(cas, CHILD, relative(FILE)) == 1
    assert report.stats(cas.store).live_bytes < 0.7 * before
    assert cas.read(sha256_of(CHILD)) == CHILD
    assert rebased(cas, CHILD, relative(FILE)) == 0


def test_a_parent_that_may_not_be_one_any_more_is_left(cas: Cas) -> None:
    only_sealed(cas, FILE)
    only_sealed(cas, CHILD, relative(FILE))
    assert rebased(cas, CHILD) == 1
    assert count(cas, tables.tensor_parent) == 0
    assert max(row.depth for row in tensor_rows(cas)) == 0
    assert cas.read(sha256_of(CHILD)) == CHILD
    forget_file(cas, FILE)
    sweep.tensors(cas.store)
    assert cas.read(sha256_of(CHILD)) == CHILD


def test_nothing_ever_comes_to_stand_on_itself(cas: Cas) -> None:
    third = safetensors({"a": tuned(A, 9), "b": B})
    only_sealed(cas, FILE)
    only_sealed(cas, CHILD, relative(FILE))
    only_sealed(cas, third, relative(CHILD))
    assert rebased(cas, FILE, relative(third), relative(CHILD)) == 0
    for data in (FILE, CHILD, third):
        assert cas.read(sha256_of(data)) == data


def test_what_stands_on_a_moved_tensor_knows_its_new_depth(cas: Cas) -> None:
    third = safetensors({"a": tuned(A, 9), "b": B})
    only_sealed(cas, CHILD)
    only_sealed(cas, third, relative(CHILD))
    only_sealed(cas, FILE)
    assert rebased(cas, CHILD, relative(FILE)) == 1
    depths = sorted(row.depth for row in tensor_rows(cas) if row.size == len(A))
    assert depths == [0, 1, 2]
    assert cas.read(sha256_of(third)) == third
    fourth = safetensors({"a": tuned(A, 12), "b": B})
    only_sealed(cas, fourth)
    assert rebased(cas, FILE, relative(fourth), depth_max=2) == 0  # it would be too deep


def test_a_reader_with_old_knowledge_reads_what_was_stored_anew_meanwhile(cas: Cas) -> None:
    only_sealed(cas, FILE)
    only_sealed(cas, CHILD, relative(FILE))
    reader = cas.beside()
    assert reader.read(sha256_of(CHILD), 0, 1000) == CHILD[:1000]
    rebased(cas, CHILD)
    forget_file(cas, FILE)
    sweep.tensors(cas.store)
    sweep.packs(cas.store)
    reader.store.tensors._blocks.clear()
    assert reader.read(sha256_of(CHILD)) == CHILD
    assert reader.state(sha256_of(CHILD)) == "whole"


# --- purging ---


def test_a_reader_with_old_knowledge_reads_what_was_swept_and_sent_again_meanwhile(cas: Cas) -> None:
    xorb = Xorb((FILE[:100_000], FILE[100_000:200_000], FILE[200_000:], B))

    def by_xet() -> None:
        cas.land(xorb)
        cas.register(File(((xorb, 0, 3),)))

    for send in (lambda: cas.put(FILE), lambda: only_sealed(cas, FILE), by_xet):
        sha256 = only_sealed(cas, FILE)
        reader = cas.beside()
        assert reader.read(sha256) == FILE
        forget_file(cas, FILE)
        send()
        assert reader.read(sha256, 100_000) == FILE[100_000:]
        forget_file(cas, FILE)
    only_sealed(cas, B)
    reader = cas.beside()
    assert reader.read(sha256_of(B)) == B
    forget_file(cas, B)
    with pytest.raises(EntryMissing):
        reader.read(sha256_of(B))


def test_a_purge_stores_dependants_anew_and_leaves_nothing_of_the_file(cas: Cas) -> None:
    secret = random.Random(77).randbytes(50_000)
    base = safetensors({"a": secret, "b": B})
    child = safetensors({"a": tuned(secret, 3, 0.001), "b": B})
    only_sealed(cas, base)
    only_sealed(cas, child, relative(base))
    assert any(row.depth for row in tensor_rows(cas))
    cas.clock.advance(1)

    moved: list[Sha256] = []
    told = purge.purge(cas.store, cas.xets, rebase.Rebaser(cas.store), [sha256_of(base)], moved.extend)

    assert (told.files, told.anew, moved) == (1, 1, [sha256_of(child)])
    with pytest.raises(EntryMissing):
        cas.read(sha256_of(base))
    assert cas.read(sha256_of(child)) == child
    assert len(tensor_rows(cas)) == 2
    assert max(row.depth for row in tensor_rows(cas)) == 0
    assert cas.store.packs.size(1) is None


def test_a_purge_says_which_damaged_files_keep_it_from_its_end(cas: Cas) -> None:
    secret = random.Random(78).randbytes(50_000)
    base = safetensors({"a": secret, "b": B})
    child = safetensors({"a": tuned(secret, 3, 0.001), "b": B})
    only_sealed(cas, base)
    only_sealed(cas, child, relative(base))
    (own,) = [row.key for row in tensor_rows(cas) if row.depth]
    cas.store.flag_tensor(own, "a test says so")
    cas.clock.advance(1)
    for _ in range(2):
        with pytest.raises(Conflict, match=f"1 damaged files are stored on .*{sha256_of(child)}"):
            purge.purge(cas.store, cas.xets, rebase.Rebaser(cas.store), [sha256_of(base)])
    purge.purge(cas.store, cas.xets, rebase.Rebaser(cas.store), [sha256_of(child)])
    purge.purge(cas.store, cas.xets, rebase.Rebaser(cas.store), [sha256_of(base)])
    assert tensor_rows(cas) == []
    assert cas.store.packs.size(1) is None


# --- verify and report ---


def test_verify_is_content_with_a_sound_store(cas: Cas) -> None:
    only_sealed(cas, FILE)
    sealed(cas, CHILD, relative(FILE))
    assert findings(cas) == []
    assert check.count(cas.store) == 2 + len(tensor_rows(cas))


def test_T25_verify_names_the_file_of_a_damaged_block(cas: Cas) -> None:
    only_sealed(cas, FILE)
    only_sealed(cas, CHILD, relative(FILE))
    _spoil(cas)
    found = findings(cas)
    assert {one.name for one in found if one.what == "blob"} == {sha256_of(FILE), sha256_of(CHILD)}
    assert cas.state(sha256_of(FILE)) == cas.state(sha256_of(CHILD)) == "damaged"


def _cut(cas: Cas) -> None:
    with cas.store.packs.path(1).open("r+b") as file:
        file.truncate(cas.store.packs.path(1).stat().st_size - 10)


def _lose(cas: Cas) -> None:
    cas.store.packs.delete(1)


@pytest.mark.parametrize("harm", [_cut, _lose])
def test_T29_verify_without_reading_notices_packs_that_are_cut_or_gone(cas: Cas, harm: Callable[[Cas], None]) -> None:
    only_sealed(cas, FILE)
    harm(cas)
    found = list(check.check(cas.store, cas.xets, 0, random.Random(1), lambda _n: None))
    assert {one.what for one in found} >= {"tensor"}
    assert all(one.files == (sha256_of(FILE),) for one in found if one.what == "tensor")
    assert cas.state(sha256_of(FILE)) == "damaged"


def test_verify_takes_a_bad_sealed_copy_away_while_the_raw_one_is_here(cas: Cas) -> None:
    sha256 = sealed(cas, FILE)
    _spoil(cas)
    assert len(findings(cas)) == 1
    blob = cas.store.blob(sha256)
    assert (blob.damaged, blob.sealed) == (False, False)
    assert cas.read(sha256) == FILE


def test_verify_takes_a_bad_raw_copy_away_while_the_sealed_one_is_here(cas: Cas) -> None:
    sha256 = sealed(cas, FILE)
    cas.path(sha256).write_bytes(FILE[:-1] + b"?")
    assert len(findings(cas)) == 1
    assert cas.state(sha256) == "whole"
    assert cas.read(sha256) == FILE
    assert findings(cas) == []


def test_T25_a_file_is_never_sealed_on_a_copy_that_nobody_knew_was_damaged(cas: Cas) -> None:
    only_sealed(cas, FILE)
    _spoil(cas)
    child = safetensors({"a": A, "b": B, "c": tuned(A, 4)})
    sha256 = only_sealed(cas, child, relative(FILE, pairs={"a": "a", "b": "b", "c": "a"}))
    assert cas.read(sha256) == child
    assert cas.state(sha256_of(FILE)) == "whole"  # healed by it
    assert cas.read(sha256_of(FILE)) == FILE


def test_a_file_is_explained_tensor_by_tensor(cas: Cas) -> None:
    only_sealed(cas, FILE)
    sha256 = only_sealed(cas, CHILD, relative(FILE))
    told = report.explain(cas.store, sha256, "model.safetensors")
    assert told.state == "sealed"
    a, b = told.tensors
    assert (a.name, a.kind, a.why, a.depth, a.others) == ("a", "delta", "its base", 1, 0)
    assert len(a.parents) == 1
    assert a.stored_bytes < 0.3 * a.alone_bytes
    assert (b.name, b.kind, b.others) == ("b", "alone", 1)
    assert told.own_bytes + told.shared_bytes < len(CHILD)
    raw = cas.put(b"x" * 5000)
    assert report.explain(cas.store, raw.sha256, "x.bin").note == "not looked at yet"


def test_the_stores_totals_add_up(cas: Cas) -> None:
    only_sealed(cas, FILE)
    sealed(cas, CHILD, relative(FILE))
    cas.put(b"not sealed" * 1000)
    told = report.stats(cas.store)
    assert (told.files, told.sealed, told.undecided, told.damaged) == (3, 2, 1, 0)
    assert told.raw_bytes == len(FILE) + len(CHILD) + 10_000
    assert told.raw_copies_bytes == len(CHILD)
    assert told.packs_bytes == cas.store.packs.size(1)
    assert told.disk_bytes == len(CHILD) + 10_000 + told.packs_bytes
    assert sum(kind.stored_bytes for kind in told.kinds) == told.live_bytes
