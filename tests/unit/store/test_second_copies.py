"""What many stand on is kept twice: one damage costs nobody a byte, two are told, and a purge takes both."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plain_codec import BLOCK, plain_codec
from sealing import count, only_sealed, relative, safetensors, tensor_rows, tuned, weights
from sqlalchemy import select
from store_cas import Cas
from xet_building import sha256_of

from headwater.ground.errors import Corrupt, Unavailable
from headwater.ground.names import Sha256
from headwater.store import check, purge, rebase, report, sweep, tables, twice
from headwater.store.packs import Pack
from headwater.store.twice import Kept

__all__ = ["plain_codec"]

pytestmark = pytest.mark.usefixtures("plain_codec")

A, B = weights(1, 100_000), weights(2, 5000)
BASE = safetensors({"a": A, "b": B})
CHILDREN = [safetensors({"a": tuned(A, seed)}) for seed in (5, 6, 7)]
FAMILY = [BASE, *CHILDREN]


@pytest.fixture
def family(cas: Cas) -> Cas:
    """A base, and three files on whose `a` stands theirs; only sealed."""
    only_sealed(cas, BASE)
    for child in CHILDREN:
        only_sealed(cas, child, relative(BASE))
    return cas


def root(cas: Cas) -> Any:
    """The row of the base's `a`."""
    return next(row for row in tensor_rows(cas) if row.size == len(A) and row.depth == 0)


def copies(cas: Cas) -> list[Any]:
    with cas.db.read() as connection:
        return list(connection.execute(select(tables.tensor_copy).order_by(tables.tensor_copy.c.tensor)))


def flip(cas: Cas, pack: int, at: int) -> None:
    path = cas.store.packs.path(pack)
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)
    cas.store.tensors.forget()


def flip_first(cas: Cas, within: int = 30) -> None:
    row = root(cas)
    flip(cas, row.pack, row.start + (within if within >= 0 else row.length + within))


def flip_second(cas: Cas, within: int = 30) -> None:
    (copy,) = copies(cas)
    flip(cas, copy.pack, copy.start + (within if within >= 0 else root(cas).length + within))


def all_right(cas: Cas) -> None:
    for data in FAMILY:
        assert cas.read(sha256_of(data)) == data
        assert cas.state(sha256_of(data)) == "whole"


def told(cas: Cas) -> list[str]:
    return [event.kind for event in cas.happened()]


def found(cas: Cas, read_percent: float = 100) -> list[check.Finding]:
    return list(check.check(cas.store, cas.xets, read_percent, random.Random(1), lambda _n: None))


def forget_file(cas: Cas, data: bytes) -> None:
    cas.clock.advance(1)
    assert sweep.blobs(cas.store, [sha256_of(data)], cas.clock.now_ms()).blobs == 1
    sweep.tensors(cas.store)


# --- which, and where ---


def test_a_tensor_that_enough_others_stand_on_is_kept_twice_in_two_packs(family: Cas) -> None:
    assert twice.keep(family.store, 4) == Kept()
    kept = twice.keep(family.store, 3)
    (copy,) = copies(family)
    row = root(family)
    assert kept == Kept(written=1, written_bytes=row.length)
    assert (copy.tensor, copy.pack == row.pack) == (row.id, False)
    first = family.store.packs.read(row.pack, row.start, row.start + row.length)
    assert family.store.packs.read(copy.pack, copy.start, copy.start + row.length) == first
    assert twice.keep(family.store, 3) == Kept()
    assert found(family) == []


def test_what_stands_on_others_counts_for_what_they_stand_on(cas: Cas) -> None:
    grown = [A]
    only_sealed(cas, safetensors({"a": A}))
    for seed in (5, 6, 7):
        grown.append(tuned(grown[-1], seed))
        only_sealed(cas, safetensors({"a": grown[-1]}), relative(safetensors({"a": grown[-2]})), depth_max=5)
    assert twice.keep(cas.store, 3).written == 1
    assert copies(cas)[0].tensor == root(cas).id


def test_with_the_setting_0_nothing_is_kept_twice_and_what_was_goes(family: Cas) -> None:
    assert twice.keep(family.store, 0) == Kept()
    twice.keep(family.store, 3)
    assert twice.keep(family.store, 0) == Kept(dropped=1)
    assert copies(family) == []


def test_a_family_that_shrinks_a_little_keeps_its_copy_and_one_that_is_halved_does_not(family: Cas) -> None:
    twice.keep(family.store, 3)
    forget_file(family, CHILDREN[0])
    assert twice.keep(family.store, 3) == Kept()
    forget_file(family, CHILDREN[1])
    assert twice.keep(family.store, 3) == Kept(dropped=1)
    forget_file(family, CHILDREN[2])
    forget_file(family, BASE)
    assert count(family, tables.tensor) == 0


def test_a_copy_goes_with_its_tensor(family: Cas) -> None:
    twice.keep(family.store, 3)
    for data in FAMILY:
        family.clock.advance(1)
        sweep.blobs(family.store, [sha256_of(data)], family.clock.now_ms())
    sweep.tensors(family.store)
    assert count(family, tables.tensor) == count(family, tables.tensor_copy) == 0
    sweep.packs(family.store)
    assert list(family.store.packs.ids()) == []


def test_as_much_is_written_at_once_as_is_said_and_the_rest_at_the_next_call(family: Cas) -> None:
    only_sealed(family, safetensors({"c": weights(50)}))
    for seed in (51, 52, 53):
        only_sealed(family, safetensors({"c": tuned(weights(50), seed)}), relative(safetensors({"c": weights(50)})))
    assert [twice.keep(family.store, 3, bytes_max=1).written for _ in range(3)] == [1, 1, 0]
    assert len(copies(family)) == 2


def test_the_totals_tell_of_second_copies(family: Cas) -> None:
    before = report.stats(family.store)
    twice.keep(family.store, 3)
    after = report.stats(family.store)
    length = root(family).length
    assert (before.copies, before.copies_bytes) == (0, 0)
    assert (after.copies, after.copies_bytes, after.live_bytes - before.live_bytes) == (1, length, length)


# --- reading ---


@pytest.mark.parametrize("within", [30, BLOCK // 2 + 9000, -40], ids=["first block", "later block", "index"])
def test_T27_a_bit_flipped_in_a_first_copy_costs_no_file_a_byte_is_told_and_healed(family: Cas, within: int) -> None:
    twice.keep(family.store, 3)
    before, (copy,) = root(family), copies(family)
    flip_first(family, within)

    all_right(family)

    assert told(family) == ["copy.damaged"]
    assert family.happened()[0].data["pack"] == before.pack
    after = root(family)
    assert (after.pack, after.start, after.state) == (copy.pack, copy.start, "whole")
    assert copies(family) == []
    assert twice.keep(family.store, 3).written == 1
    assert copies(family)[0].pack != after.pack
    assert found(family) == []
    all_right(family)


def test_T27_a_pack_that_is_gone_costs_nothing_that_is_kept_twice(family: Cas) -> None:
    forget_file(family, CHILDREN[2])
    twice.keep(family.store, 2)
    row = root(family)
    only = [one for one in tensor_rows(family) if one.depth]
    family.store.packs.delete(row.pack)
    family.store.tensors.forget()
    assert family.store.tensors.read(row.key, 0, len(A)) == A
    assert told(family) == ["copy.damaged"]
    with pytest.raises(Corrupt):
        family.store.tensors.read(only[0].key, 0, 10)


def test_T27_a_block_that_is_damaged_in_both_copies_names_all_files_of_the_family(family: Cas) -> None:
    twice.keep(family.store, 3)
    flip_first(family)
    flip_second(family)
    with pytest.raises(Corrupt):
        family.read(sha256_of(CHILDREN[1]))
    assert {event.data["sha256"] for event in family.happened()} == {sha256_of(data) for data in FAMILY}
    for data in FAMILY:
        assert family.state(sha256_of(data)) == "damaged"
        with pytest.raises(Corrupt):
            family.read(sha256_of(data))
    # one of them comes again, and heals them all
    family.put(BASE)
    assert only_sealed(family, BASE) == sha256_of(BASE)
    assert copies(family) == []
    all_right(family)
    twice.keep(family.store, 3)
    assert found(family) == []


def test_copies_that_are_damaged_in_different_blocks_still_give_every_byte(family: Cas) -> None:
    twice.keep(family.store, 3)
    before = root(family)
    flip_first(family)
    flip_second(family, before.length - before.index_bytes - 100)
    all_right(family)
    assert len(copies(family)) == 1  # neither is good enough to be the only one
    (finding,) = found(family)
    assert set(finding.files) == {sha256_of(data) for data in FAMILY}
    all_right(family)


def test_a_reader_whose_knowledge_is_older_than_all_of_this_reads_on(family: Cas) -> None:
    reader = family.beside()
    assert reader.read(sha256_of(CHILDREN[0]), 0, 1000) == CHILDREN[0][:1000]
    twice.keep(family.store, 3)
    flip_first(family)
    all_right(family)
    twice.keep(family.store, 3)
    sweep.packs(family.store, shred=frozenset({1}))
    reader.store.tensors._blocks.clear()
    all_right(reader)
    assert told(family) == ["copy.damaged"]
    reader.db.close()


def test_a_database_that_takes_no_writes_keeps_no_reader_from_his_bytes(
    family: Cas, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice.keep(family.store, 3)
    flip_first(family)

    def refused() -> None:
        raise Unavailable("The hub's disk is read-only; nothing was stored.")

    with monkeypatch.context() as patched:
        patched.setattr(family.db, "write", refused)
        all_right(family)
    assert told(family) == []
    family.beside().read(sha256_of(BASE))
    assert told(family) == ["copy.damaged"]


# --- verify ---


@pytest.mark.parametrize("flip_one", [flip_first, flip_second])
@pytest.mark.parametrize("within", [30, -40])
def test_T25_verify_finds_a_bad_copy_and_puts_the_good_one_in_its_place(
    family: Cas, flip_one: Callable[[Cas, int], None], within: int
) -> None:
    twice.keep(family.store, 3)
    flip_one(family, within)
    (finding,) = found(family)
    assert (finding.what, finding.name) == ("tensor", root(family).key.hex())
    assert set(finding.files) == {sha256_of(data) for data in FAMILY}
    assert told(family) == ["copy.damaged"]
    all_right(family)
    assert copies(family) == []
    assert twice.keep(family.store, 3).written == 1
    assert found(family) == []


def test_T25_verify_without_reading_notices_that_a_second_copys_pack_is_cut(family: Cas) -> None:
    twice.keep(family.store, 3)
    (copy,) = copies(family)
    with family.store.packs.path(copy.pack).open("r+b") as file:
        file.truncate(copy.start + root(family).length - 1)
    assert [finding.what for finding in found(family, 0)] == ["tensor"]
    assert found(family, 0) == []
    all_right(family)


def test_T25_verify_names_all_files_when_both_copies_are_bad(family: Cas) -> None:
    twice.keep(family.store, 3)
    flip_first(family)
    flip_second(family)
    tensor = next(finding for finding in found(family) if finding.what == "tensor")
    assert set(tensor.files) == {sha256_of(data) for data in FAMILY}
    assert {family.state(sha256_of(data)) for data in FAMILY} == {"damaged"}


def test_a_first_copy_that_is_damaged_already_is_marked_and_not_copied(family: Cas) -> None:
    flip_first(family)
    assert twice.keep(family.store, 3) == Kept()
    assert copies(family) == []
    assert {family.state(sha256_of(data)) for data in FAMILY} == {"damaged"}


def test_a_copy_that_the_disk_wrote_wrong_is_not_named(family: Cas, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Pack.copy

    def wrong(pack: Pack, *given: Any) -> int:
        begin = real(pack, *given)
        flip(family, pack.number, begin + 30)
        return begin

    with monkeypatch.context() as patched:
        patched.setattr(Pack, "copy", wrong)
        assert twice.keep(family.store, 3) == Kept()
    assert copies(family) == []
    all_right(family)
    assert told(family) == []
    assert twice.keep(family.store, 3).written == 1


@pytest.mark.parametrize("flip_back", [flip_first, flip_second])
def test_a_tensor_marked_in_both_copies_is_whole_again_by_the_one_that_came_back(
    family: Cas, flip_back: Callable[[Cas], None]
) -> None:
    twice.keep(family.store, 3)
    flip_first(family)
    flip_second(family)
    found(family)
    assert twice.keep(family.store, 0) == Kept()  # neither is given up while nobody can tell which is right
    sweep.packs(family.store)
    before, (copy,) = root(family), copies(family)
    right = before if flip_back is flip_first else copy

    flip_back(family)
    assert found(family, 0) == []

    all_right(family)
    assert ((after := root(family)).pack, after.start) == (right.pack, right.start)
    assert copies(family) == []
    assert twice.keep(family.store, 3).written == 1


def test_a_second_copy_is_not_given_up_for_a_first_that_is_damaged(family: Cas) -> None:
    twice.keep(family.store, 3)
    flip_first(family)
    assert twice.keep(family.store, 0) == Kept()
    assert told(family) == ["copy.damaged"]
    all_right(family)
    assert copies(family) == found(family) == []


# --- packs, storing anew ---


def test_copies_count_as_needed_in_their_pack_and_move_with_it_but_never_together(family: Cas) -> None:
    twice.keep(family.store, 3)
    assert sweep.packs(family.store).packs == 0
    for number in range(3):
        (copy,), row = copies(family), root(family)
        emptied = ({copy.pack}, {row.pack}, {copy.pack, row.pack})[number]
        assert sweep.packs(family.store, shred=frozenset(emptied)).packs == len(emptied)
        (moved,), row = copies(family), root(family)
        assert moved.pack != row.pack
        assert not {moved.pack, row.pack} & emptied
        assert found(family) == []
        all_right(family)


@pytest.mark.parametrize("emptied", ["first", "second"])
def test_a_copy_that_a_reader_heals_while_its_pack_is_emptied_is_not_lost(
    family: Cas, emptied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice.keep(family.store, 3)
    (copy,), row = copies(family), root(family)
    reader = family.beside()

    def meanwhile(step: str) -> None:
        if step == "sweep.moved" and not told(family):
            flip_first(family)
            assert reader.read(sha256_of(BASE)) == BASE
            assert told(family) == ["copy.damaged"]

    monkeypatch.setattr(sweep, "checkpoint", meanwhile)
    sweep.packs(family.store, shred=frozenset({row.pack if emptied == "first" else copy.pack}))
    assert (root(family).pack, root(family).start) == (copy.pack, copy.start)
    all_right(family)
    assert found(family) == []
    sweep.packs(family.store, shred=frozenset({copy.pack}))
    all_right(family)
    reader.db.close()


def test_a_pack_that_cannot_be_read_keeps_no_other_from_being_emptied(
    family: Cas, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice.keep(family.store, 3)
    (copy,), row = copies(family), root(family)
    family.store.packs.delete(copy.pack)
    monkeypatch.setattr(sweep, "LIVE_SHARE_MIN", 1.1)  # each is worth it
    sweep.packs(family.store)
    assert root(family).pack != row.pack
    all_right(family)


def test_a_tensor_that_is_stored_anew_leaves_its_copy(family: Cas) -> None:
    below = safetensors({"a": tuned(A, 90)})
    only_sealed(family, below)
    twice.keep(family.store, 3)
    rebaser = rebase.Rebaser(family.store)
    assert rebaser.rebase(sha256_of(BASE), "model.safetensors", [relative(below)]).derived == 1
    assert copies(family) == []
    all_right(family)
    assert twice.keep(family.store, 3).written == 2  # it, and what it stands on by now
    assert found(family) == []


def test_while_somebody_else_writes_packs_copies_wait(family: Cas) -> None:
    with family.store.packs.alone():
        assert twice.keep(family.store, 3) == Kept()
    assert twice.keep(family.store, 3).written == 1


# --- crashes ---

KEEPING = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
import plain_codec
from headwater import codec
from headwater.ground.clock import FixedClock
from headwater.ground.db import Database
from headwater.store import Store, twice
codec.encode, codec.Decoder = plain_codec.encode, plain_codec.Decoder
twice.keep(Store(Database(Path({db!r})), Path({root!r}), FixedClock(), 10**12), 3)
"""


@pytest.mark.parametrize(("step", "written"), [("twice.written", 0), ("twice.named", 1)])
def test_T01_killed_at_any_step_the_copy_is_there_and_right_or_is_not(family: Cas, step: str, written: int) -> None:
    words = KEEPING.format(here=str(Path(__file__).parent), db=str(family.db.path), root=str(family.store.objects.root))
    killed = subprocess.run(
        [sys.executable, "-c", words], env={**os.environ, "HEADWATER_CRASH_AT": step}, check=False, timeout=60
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(copies(family)) == written
    assert found(family) == []
    assert twice.keep(family.store, 3).written == 1 - written
    assert found(family) == []
    all_right(family)


# --- purging ---


def lies_somewhere(cas: Cas, data: bytes) -> bool:
    """Whether a stretch of it is in any pack: bytes that do not shrink are stored as they are."""
    packs = [path.read_bytes() for path in cas.store.packs.folder.iterdir()]
    stretches = [data[at : at + 64] for at in range(100, len(data) - 64, 1000)]
    return any(stretch in pack for pack in packs for stretch in stretches)


SECRET = random.Random(77).randbytes(50_000)
HIDDEN = safetensors({"a": SECRET, "b": B})
OF_HIDDEN = [safetensors({"a": tuned(SECRET, seed, 0.001)}) for seed in (1, 2)]


def _nothing(_cas: Cas) -> None:
    """Both copies are named."""


def _dropped(cas: Cas) -> None:
    """The second copy was given up, and lies in its pack between what is named."""
    only_sealed(cas, safetensors({"z": weights(60, 300_000)}))
    assert twice.keep(cas.store, 0).dropped == 1


def _healed(cas: Cas) -> None:
    """The first copy was found damaged, where its key is; its pack holds what others need."""
    row = next(row for row in tensor_rows(cas) if row.size == len(SECRET) and row.depth == 0)
    flip(cas, row.pack, row.start + row.length - row.index_bytes + 60)
    cas.read(sha256_of(HIDDEN))
    assert told(cas) == ["copy.damaged"]


def _gone_before(cas: Cas) -> None:
    """Its file was deleted and swept long ago, and so were those that stood on it."""
    only_sealed(cas, safetensors({"z": weights(60, 300_000)}))
    for data in (HIDDEN, *OF_HIDDEN):
        forget_file(cas, data)


@pytest.mark.parametrize("before", [_nothing, _dropped, _healed, _gone_before])
def test_a_purge_leaves_no_byte_of_any_copy_there_ever_was(cas: Cas, before: Callable[[Cas], None]) -> None:
    only_sealed(cas, HIDDEN)
    for data in OF_HIDDEN:
        only_sealed(cas, data, relative(HIDDEN))
    other = only_sealed(cas, safetensors({"y": weights(61, 400_000)}))
    assert twice.keep(cas.store, 2).written == 1
    before(cas)
    names: list[Sha256] = [sha256_of(data) for data in (HIDDEN, *OF_HIDDEN)]
    cas.clock.advance(1)
    assert lies_somewhere(cas, SECRET)

    purge.purge(cas.store, cas.xets, rebase.Rebaser(cas.store), names)

    assert not lies_somewhere(cas, SECRET)
    assert cas.store.find(names[0]) is None
    assert cas.read(other) == safetensors({"y": weights(61, 400_000)})
    assert found(cas) == []


def test_a_purge_stores_those_anew_that_stand_on_it_and_takes_both_copies(cas: Cas) -> None:
    only_sealed(cas, HIDDEN)
    for data in OF_HIDDEN:
        only_sealed(cas, data, relative(HIDDEN))
    twice.keep(cas.store, 2)
    cas.clock.advance(1)
    key = next(row.key for row in tensor_rows(cas) if row.size == len(SECRET) and row.depth == 0)
    assert purge.purge(cas.store, cas.xets, rebase.Rebaser(cas.store), [sha256_of(HIDDEN)]).anew == 2
    assert all(key not in path.read_bytes() for path in cas.store.packs.folder.iterdir())
    assert copies(cas) == []
    for data in OF_HIDDEN:
        assert cas.read(sha256_of(data)) == data
