"""The store against a dictionary: put, by Xet or plainly, seal, keep twice, read, delete, sweep, evict, rebase, damage
and crash in any order.

A crash is a process that is gone: all that it remembered with it, and what it wrote behind the packs' ends still there.
Damage is done to one of two copies, or undone in time, and somebody comes upon it: no file may be lost by it.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "store"))  # importlib mode leaves it out

import plain_codec
from sealing import safetensors, tuned, weights
from sqlalchemy import Row, exists, select
from store_cas import FILE_MAX
from xet_building import File, Xorb, a_shard, all_of, flip, sha256_of, unpacked

from headwater import codec
from headwater.ground import events
from headwater.ground.clock import FixedClock
from headwater.ground.db import Database, metadata
from headwater.ground.errors import Corrupt, HeadwaterError
from headwater.ground.names import Sha256
from headwater.store import Source, Store, Xets, check, entries, packs, rebase, seal, sweep, tables, twice
from headwater.store.blobs import files_on
from headwater.store.evict import evict
from headwater.store.kin import Relative
from headwater.store.objects import blob_key, xorb_key
from headwater.store.seal import Sealer

MEMORY = Path("/dev/shm")
TABLES = (
    tables.blob, tables.xorb, tables.blob_xorb, tables.dedup, tables.pack, tables.tensor, tables.tensor_parent,
    tables.tensor_copy, tables.blob_tensor, events.event, events.position,
)  # fmt: skip
EXAMPLES = int(os.environ.get("HEADWATER_STORE_EXAMPLES", "40"))  # more for a soak, and other ones each time
SIZE = 3000
CHUNK = 2500  # of a file that comes by Xet: a model has a few
ROOTS = [weights(seed, SIZE) for seed in range(2)]
SEALING = ("pack.blocks", "seal.packed", "seal.proven", "seal.switched")
REBASING = (*SEALING, "rebase.packed", "rebase.switched")
SWEEPING = ("sweep.tensors", "sweep.moved", "sweep.packs")
EVICTING = ("evict.leaving", "evict.deleted", "evict.virtual")
TWICE = ("twice.written", "twice.named")


class Crash(BaseException):
    """The process ended here."""


def model(numbers: list[tuple[int, int]]) -> bytes:
    """A file of tensors, each a root or one tuned from it."""
    parts = {f"t{n}": tuned(ROOTS[root], tune, 0.01) if tune else ROOTS[root] for n, (root, tune) in enumerate(numbers)}
    return safetensors(parts)


NAMES = ("t0", "t1", "t2")
FILES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4)), min_size=1, max_size=3).map(model) | st.integers(
    0, 50
).map(lambda n: f"line {n} of a text that is no model\n".encode() * 100)


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self.root = Path(self.folder.name)
        self.clock = FixedClock()
        self.files: dict[Sha256, bytes] = {}
        self.xorbs: list[Xorb] = []
        self.open()
        with self.db.write_soft() as connection:
            metadata.create_all(connection, tables=list(TABLES))

    def open(self) -> None:
        """As after a start."""
        self.db = Database(self.root / "hub.db")
        self.store = Store(self.db, self.root / "store", self.clock, FILE_MAX, 20_000)
        if not self.store.objects.incoming.exists():
            self.store.objects.prepare()
        self.xets = Xets(self.store)

    def crashed(self) -> None:
        self.db.close()
        self.open()

    def teardown(self) -> None:
        self.db.close()
        self.folder.cleanup()

    def run(self, work: Callable[[], object], crash_at: str | None) -> bool:
        """Whether it came to the crash."""

        def at(name: str) -> None:
            if name == crash_at:
                raise Crash

        with pytest.MonkeyPatch.context() as patch:
            for module in (packs, seal, rebase, sweep, twice, sys.modules[evict.__module__]):
                patch.setattr(module, "checkpoint", at)
            # a process that is gone takes nothing back
            patch.setattr(entries.Writing, "back", lambda _self: None)
            try:
                work()
            except Crash:
                self.crashed()
                return True
            except HeadwaterError as error:
                assert not isinstance(error, Corrupt), error
        return False

    @initialize(data=FILES)
    def begins(self, data: bytes) -> None:
        self.put(data)

    @rule(data=FILES)
    def put(self, data: bytes) -> None:
        sha256 = sha256_of(data)
        self.store.ingest([data], sha256, len(data))
        self.files[sha256] = data

    @rule(data=FILES, before=st.data())
    def put_by_xet(self, data: bytes, before: st.DataObject) -> None:
        """As a client does: only what is not here is sent; a file may begin with what another one was built from."""
        fresh = Xorb(tuple(data[at : at + CHUNK] for at in range(0, len(data), CHUNK)))
        known = before.draw(st.none() | st.sampled_from(self.xorbs)) if self.xorbs else None
        self.send(all_of(fresh) if known is None or known == fresh else all_of(known, fresh))
        self.xorbs += [fresh] * (fresh not in self.xorbs)

    def send(self, file: File) -> None:
        for xorb, _start, _stop in file.spans:
            if self.xets.index(xorb.name) is None:
                sink = self.xets.sink(xorb.name)
                sink.write(xorb.wire)
                sink.land()
        self.xets.register(a_shard(file), lambda _name: True, lambda _done, _total: None)
        self.files[file.real_sha256] = file.data

    def any_file(self, data: st.DataObject) -> Sha256:
        return data.draw(st.sampled_from(sorted(self.files)))

    def relatives(self, data: st.DataObject) -> list[Relative]:
        names = sorted(self.files)
        chosen = names if data.draw(st.booleans()) else data.draw(st.lists(st.sampled_from(names), max_size=2))
        pairs = dict.fromkeys(NAMES, NAMES)
        return [Relative(sha256, "somebody said so", "model.safetensors", pairs) for sha256 in chosen]

    @precondition(lambda self: self.files)
    @rule(data=st.data(), crash=st.none() | st.sampled_from(SEALING))
    def sealing(self, data: st.DataObject, crash: str | None) -> None:
        sha256, relatives = self.any_file(data), self.relatives(data)
        sealer = Sealer(self.store, entries.Bounds(margin=0.0, depth_max=2))
        self.run(lambda: sealer.seal(sha256, "model.safetensors", relatives), crash)

    @precondition(lambda self: self.files)
    @rule(data=st.data(), crash=st.none() | st.sampled_from(REBASING))
    def rebasing(self, data: st.DataObject, crash: str | None) -> None:
        sha256, relatives = self.any_file(data), self.relatives(data)
        rebaser = rebase.Rebaser(self.store, entries.Bounds(margin=0.0, depth_max=2))
        self.run(lambda: rebaser.rebase(sha256, "model.safetensors", relatives), crash)

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def deleting(self, data: st.DataObject) -> None:
        sha256 = self.any_file(data)
        self.clock.advance(1)
        if sweep.blobs(self.store, [sha256], self.clock.now_ms()).blobs:
            del self.files[sha256]
        else:
            assert self.is_needed(sha256)

    def is_needed(self, sha256: Sha256) -> bool:
        """Whether another file, that is not sealed, may be built from what is made of this one's bytes."""
        mine, other = tables.blob_xorb.alias(), tables.blob_xorb.alias()
        asked = (
            select(tables.xorb.c.hash)
            .join(mine, mine.c.xorb == tables.xorb.c.hash)
            .join(other, other.c.xorb == tables.xorb.c.hash)
            .join(tables.blob, tables.blob.c.sha256 == other.c.sha256)
            .where(mine.c.sha256 == sha256, other.c.sha256 != sha256)
            .where(tables.xorb.c.state == "virtual", tables.blob.c.raw == "here")
        )
        with self.db.read() as connection:
            return connection.execute(asked).first() is not None

    @rule(crash=st.none() | st.sampled_from(SWEEPING))
    def sweeping(self, crash: str | None) -> None:
        self.clock.advance(1)
        used = exists().where(tables.blob_xorb.c.xorb == tables.xorb.c.hash)
        with self.db.read() as connection:
            unused = connection.execute(select(tables.xorb.c.hash).where(tables.xorb.c.state == "here", ~used))
            names = list(unused.scalars())

        def work() -> None:
            sweep.xorbs(self.xets, names, self.clock.now_ms())
            sweep.tensors(self.store)
            sweep.packs(self.store)

        self.run(work, crash)

    @rule(crash=st.none() | st.sampled_from(EVICTING), cache=st.sampled_from([0, 10_000]))
    def evicting(self, crash: str | None, cache: int) -> None:
        self.evict(crash, cache)

    def evict(self, crash: str | None, cache: int = 0) -> bool:
        """Whether it was killed."""
        self.clock.advance(1)
        now = self.clock.now_ms()
        return self.run(lambda: evict(self.store, self.xets, now, now, cache, self.store.take_heat()), crash)

    @rule(crash=st.none() | st.sampled_from(TWICE), least=st.integers(0, 2))
    def keeping_twice(self, crash: str | None, least: int) -> None:
        self.run(lambda: twice.keep(self.store, least), crash)

    def sealed_now(self, data: st.DataObject) -> Sha256 | None:
        """A file that is sealed, perhaps just now, its raw bytes perhaps on their way out, perhaps gone."""
        sha256, looks = self.any_file(data), data.draw(st.integers(0, 2))
        sealer = Sealer(self.store, entries.Bounds(margin=0.0, depth_max=2))
        relatives = self.relatives(data)
        self.run(lambda: sealer.seal(sha256, "model.safetensors", relatives), None)
        for _ in range(looks):
            self.evict(None)
        return sha256 if self.store.blob(sha256).sealed else None

    def tensor_of(self, sha256: Sha256 | None, data: st.DataObject) -> Row[Any] | None:
        """One that a sealed file has; None of a file that has none."""
        mine = select(tables.tensor).join(tables.blob_tensor).where(tables.blob_tensor.c.sha256 == sha256)
        with self.db.read() as connection:
            rows = connection.execute(mine.order_by(tables.tensor.c.id)).all()
        return data.draw(st.sampled_from(rows)) if rows else None

    @precondition(lambda self: self.files)
    @rule(data=st.data(), at=st.integers(0, 10_000))
    def damaging_a_pack(self, data: st.DataObject, at: int) -> None:
        """A tensor's only copy while the raw bytes of all that need it are there, or either of two."""
        row = self.tensor_of(self.sealed_now(data), data)
        if row is None:
            return
        if data.draw(st.booleans()):
            self.run(lambda: twice.keep(self.store, 1), None)
        copy = tables.tensor_copy
        with self.db.read() as connection:
            seconds = connection.execute(select(copy.c.pack, copy.c.start).where(copy.c.tensor == row.id)).all()
            needing = list(connection.execute(files_on(row.key)).scalars())
        places = [(row.pack, row.start), *((second.pack, second.start) for second in seconds)]
        if len(places) == 1 and not all(self.has_raw(Sha256(name)) for name in needing):
            return
        pack, start = data.draw(st.sampled_from(places))
        flip(self.store.packs.path(pack), start + at % row.length)
        self.come_upon(data)
        for _ in range(data.draw(st.integers(0, 3))):
            self.evict(None)

    @precondition(lambda self: self.files)
    @rule(data=st.data(), at=st.integers(0, 10_000))
    def damaging_raw_bytes(self, data: st.DataObject, at: int) -> None:
        """Of a file that is sealed, too; of a xorb all of whose files are."""
        sha256 = self.sealed_now(data)
        if sha256 is None or not (blob := self.store.blob(sha256)).raw_here:
            return
        key, files = blob_key(sha256), [sha256]
        if blob.terms is not None:
            key = xorb_key(blob.terms[0].xorb)
            with self.db.read() as connection:
                built = select(tables.blob_xorb.c.sha256).where(tables.blob_xorb.c.xorb == blob.terms[0].xorb)
                files = [Sha256(name) for name in connection.execute(built).scalars()]
        size = self.store.objects.size(key)
        if size and all(self.store.blob(name).sealed for name in files):
            flip(self.store.objects.path(key), at % size)
            assert self.verify()

    @precondition(lambda self: self.files)
    @rule(data=st.data(), at=st.integers(0, 10_000), crash=st.none() | st.sampled_from((*EVICTING, *TWICE)))
    def damaging_what_comes_back(self, data: st.DataObject, at: int, crash: str | None) -> None:
        """What collects meanwhile leaves what is marked alone; once the bytes are back, verify takes the marks off."""
        row = self.tensor_of(self.sealed_now(data), data)
        if row is None:
            return
        flip(self.store.packs.path(row.pack), row.start + at % row.length)
        self.come_upon(data)
        for _ in range(2):
            self.evict(crash)
        self.run(lambda: twice.keep(self.store, 0), crash)
        flip(self.store.packs.path(row.pack), row.start + at % row.length)
        self.crashed()
        self.verify()
        assert self.verify() == []

    def has_raw(self, sha256: Sha256) -> bool:
        """Whether the raw bytes lie in objects, used or not."""
        blob = self.store.blob(sha256)
        if blob.terms is None:
            path = self.store.objects.path(blob_key(sha256))
            return path.exists() and path.read_bytes() == self.files[sha256]
        paths = [(self.store.objects.path(xorb_key(term.xorb)), term) for term in blob.terms]
        found = [path.read_bytes()[term.raw_start : term.raw_stop] for path, term in paths if path.exists()]
        return b"".join(found) == self.files[sha256]

    def verify(self) -> list[check.Finding]:
        return list(check.check(self.store, self.xets, 100, random.Random(0), lambda _done: None))

    def come_upon(self, data: st.DataObject) -> None:
        """A check, or readers, who remember nothing of what was right. They may be told of damage, and of no wrong byte."""
        self.crashed()
        if data.draw(st.booleans()):
            for sha256, whole in self.files.items():
                with suppress(Corrupt):
                    assert b"".join(self.store.read(sha256)) == whole
        self.verify()

    @rule()
    def restarting(self) -> None:
        self.crashed()

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def reading_a_part(self, data: st.DataObject) -> None:
        sha256 = self.any_file(data)
        whole = self.files[sha256]
        start = data.draw(st.integers(0, len(whole)))
        stop = data.draw(st.integers(start, len(whole)))
        assert b"".join(self.store.read(sha256, start, stop)) == whole[start:stop]
        layout = self.xets.layout(self.store.blob(sha256), start, stop)
        parts = [b"".join(self.xets.fetch(part.source, part.start, part.stop)) for part in layout.parts]
        found = b"".join(chunk for part in parts for chunk in unpacked(part))
        assert found[layout.skip : layout.skip + stop - start] == whole[start:stop]

    @invariant()
    def every_file_is_whole(self) -> None:
        for sha256, data in self.files.items():
            assert b"".join(self.store.read(sha256)) == data
            assert not self.store.blob(sha256).damaged


@pytest.mark.usefixtures("_plain")
@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_T28_ten_thousand_random_interleavings_leave_every_file_whole() -> None:
    """About twelve minutes of an idle core."""
    checked = settings(
        max_examples=10_000,
        stateful_step_count=12,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    run_state_machine_as_test(Life, settings=checked)


@pytest.mark.usefixtures("_plain")
def test_T28_T29_whatever_happens_in_whatever_order_every_file_is_whole() -> None:
    checked = settings(
        max_examples=EXAMPLES,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize="HEADWATER_STORE_EXAMPLES" not in os.environ,
    )
    run_state_machine_as_test(Life, settings=checked)


@pytest.mark.usefixtures("_plain")
@pytest.mark.parametrize("crash", EVICTING)
def test_T01_killed_while_a_xorb_becomes_virtual_its_file_and_what_is_built_on_it_stay_whole(crash: str) -> None:
    life = Life()
    first, second = (Xorb((data[:CHUNK], data[CHUNK:])) for data in (model([(0, 0)]), model([(1, 3)])))
    alone, both = all_of(first), all_of(first, second)
    life.send(alone)
    Sealer(life.store, entries.Bounds(margin=0.0)).seal(alone.real_sha256, "model.safetensors")
    if crash == "evict.deleted":
        life.evict(None)
    assert life.evict(crash)
    life.every_file_is_whole()
    life.send(both)  # by then the first xorb may have no bytes of its own
    Sealer(life.store, entries.Bounds(margin=0.0)).seal(both.real_sha256, "model.safetensors")
    for _ in range(3):
        life.evict(None)
    life.every_file_is_whole()
    assert not list(life.store.objects.keys("xorbs"))
    for one in (first, second):
        assert b"".join(life.xets.fetch(Source("xorb", one.name), 0, len(one.wire))) == one.wire
    life.teardown()


@pytest.fixture
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "encode", plain_codec.encode)
    monkeypatch.setattr(codec, "Decoder", plain_codec.Decoder)
