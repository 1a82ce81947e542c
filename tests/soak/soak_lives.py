"""What the processes of the soak do with a data folder until they are killed. Each tells of every step before the next.

As in production there are several at once: the *hub* takes files in, gives them out, deletes, sweeps and evicts; the
*sealer* seals and stores anew; the *janitor* is a person's `headwater store sweep` and `headwater verify` beside them.
Alone with the data folder are the *purger*, the *auditor*, who looks at everything, and the *leaver*, who deletes all.
Each begins as a fork of a process that has everything in memory and nothing open.
"""

from __future__ import annotations

import fcntl
import json
import random
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soak_corpus import Sample, Shipping
from sqlalchemy import ColumnElement, Connection, Select, exists, func, select, text
from xet_building import a_shard, unpacked

from headwater.ground import faults
from headwater.ground.clock import SystemClock
from headwater.ground.db import Database
from headwater.ground.errors import Conflict, Corrupt, EntryMissing, HeadwaterError, Invalid, Unavailable
from headwater.ground.names import Sha256
from headwater.store import Store, Xets, check, purge, rebase, sweep, tables, twice, writing
from headwater.store.entries import Bounds
from headwater.store.evict import evict
from headwater.store.kin import Relative
from headwater.store.objects import Unreadable, read_pieces
from headwater.store.seal import Sealer

DATABASE = "headwater.sqlite"
FILE_MAX = 1 << 30
BLOCK_CACHE_BYTES = 8 << 20  # little, so that blocks are decoded again and again
PACK_BYTES = (1 << 20, 3 << 20)  # instead of a GiB: packs begin, fill and empty all the time
HOUR_MS = 3600_000
REST_S = 0.15  # of the sealer, so that others come to write packs, too
COPIED_FROM = (0, 1, 1, 1, 2, 2, 3)  # so many tensors that stand on one: it is kept twice; families here are small
FILLED_SHARE = 0.85  # of the corpus: below it the hub rather takes files in
SWEEPING = ("sweep.tensors", "sweep.moved", "sweep.packs")
TWICE = ("twice.written", "twice.named")
STORING_ANEW = ("pack.blocks", "rebase.packed", "rebase.switched")
CRASHES = {
    "hub": ("object-written", "object-landed", "evict.leaving", "evict.deleted", "evict.virtual", *SWEEPING, *TWICE),
    "sealer": ("seal.packed", "seal.proven", "seal.switched", *STORING_ANEW),
    "janitor": SWEEPING,
    "purger": (*SWEEPING, *STORING_ANEW),
    "leaver": SWEEPING,
}
"""Checkpoints that each passes, and may die at."""


class Wrong(Exception):
    """What must never happen."""


@dataclass
class Life:
    """What a process knows when it begins, and the rooms that it opens then."""

    role: str
    data: Path
    chance: random.Random
    samples: Mapping[Sha256, Sample]
    shipping: Shipping
    present: set[Sha256]
    doubtful: set[Sha256]
    """What was being stored or deleted when an earlier one was killed: it has happened, or has not."""
    say: Callable[[object], None]
    crash: tuple[str, int] | None = None
    counts: dict[str, int] = field(default_factory=dict)

    def open(self) -> None:
        if self.crash is not None:
            faults._AT, faults._left = self.crash  # what HEADWATER_CRASH_AT would have said
        writing.PACK_BYTES_MAX = self.chance.choice(PACK_BYTES)
        self.db = Database(self.data / DATABASE, busy_wait_s=60.0)
        self.store = Store(self.db, self.data / "store", SystemClock(), FILE_MAX, BLOCK_CACHE_BYTES)
        self.xets = Xets(self.store)

    @property
    def soon_ms(self) -> int:
        """A grace of none: everything is older."""
        return self.store.clock.now_ms() + 1

    def step(self, kind: str, work: Callable[[], str], sha256: str = "") -> str:
        """One operation. Busy is no fault; what else may come of it `work` says itself."""
        self.say(["begin", kind, sha256])
        try:
            told = work()
        except Unavailable as error:
            if "busy" not in error.text and "Another process" not in error.text:
                raise
            told = "busy"
        self.say(["end", told])
        return told

    @contextmanager
    def readers_may_be_told(self, mode: int) -> Iterator[bool]:
        """Between two looks of eviction lies an hour, longer than any read by another process: here this lock."""
        with (self.data / "evict-lock").open("ab") as lock:
            try:
                fcntl.flock(lock, mode | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def any_of(self, names: set[Sha256]) -> Sha256:
        return self.chance.choice(sorted(names))

    def whole(self, sha256: Sha256) -> None:
        self.same(sha256, b"".join(self.store.read(sha256)), 0)

    def same(self, sha256: Sha256, found: bytes, start: int) -> None:
        sample = self.samples[sha256]
        wanted = sample.data[start : start + len(found)]
        if found != wanted or (start == 0 and len(found) not in (0, len(wanted))):
            raise Wrong(f"{sample.name}: {len(found)} bytes from {start} on are not right")


def play(life: Life) -> None:
    life.open()
    ROLES[life.role](life)
    life.db.close()


# --- the hub ---


def _hub(life: Life) -> None:
    life.store.objects.prepare()
    _settle(life)
    steps: list[tuple[Callable[[Life], object], int]] = [
        (_put, 6), (_put_by_xet, 6), (_read, 14), (_read_part, 24), (_read_by_xet, 10), (_delete, 2), (_sweep, 6),
        (_evict, 14), (_twice, 6),
    ]  # fmt: skip
    while True:
        if len(life.present) < FILLED_SHARE * len(life.samples) and life.chance.random() < 0.5:
            life.chance.choice((_put, _put_by_xet))(life)
            continue
        (step,) = life.chance.choices([one for one, _weight in steps], [weight for _one, weight in steps])
        step(life)
        if life.chance.random() < 0.1:
            life.store.follow()


def _settle(life: Life) -> None:
    """What was under way at a kill has happened wholly, or not at all."""
    for sha256 in sorted(life.doubtful):
        here = life.store.find(sha256) is not None
        if here:
            life.whole(sha256)
            life.present.add(sha256)
        life.say(["settled", sha256, here])


def _wanted(life: Life) -> Sha256:
    """A file to store; mostly one that is not here."""
    absent = set(life.samples) - life.present
    return life.any_of(absent if absent and life.chance.random() < 0.9 else set(life.samples))


def _put(life: Life) -> None:
    sha256 = _wanted(life)
    data = life.samples[sha256].data
    cuts = sorted(life.chance.randrange(len(data) + 1) for _ in range(life.chance.randrange(4)))
    pieces = [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    def work() -> str:
        life.store.ingest(pieces, sha256, len(data))
        return "done"

    if life.step("put", work, sha256) == "done":
        life.present.add(sha256)


def _put_by_xet(life: Life) -> None:
    sha256 = _wanted(life)
    if sha256 not in life.shipping.files:
        return

    def work() -> str:
        # a client sends what it is not told to be here; one that is refused sends all again
        for attempt in range(3):
            for xorb in life.shipping.needed(sha256):
                if attempt or life.xets.index(xorb.name) is None:
                    sink = life.xets.sink(xorb.name)
                    sink.write(xorb.wire)
                    sink.land()
            try:
                life.xets.register(a_shard(life.shipping.files[sha256]), lambda _name: True, lambda _done, _total: None)
            except Invalid:
                continue
            return "done"
        raise Wrong(f"{life.samples[sha256].name} was refused three times")

    if life.step("put.xet", work, sha256) == "done":
        life.present.add(sha256)


def _read(life: Life) -> None:
    if not life.present:
        return
    sha256 = life.any_of(life.present)

    def work() -> str:
        life.whole(sha256)
        blob = life.store.blob(sha256)
        if blob.damaged:
            raise Wrong(f"{life.samples[sha256].name} is marked damaged")
        return "raw" if blob.raw_here else "sealed"

    life.step("read", work, sha256)


def _range(life: Life, sha256: Sha256) -> tuple[int, int]:
    size = len(life.samples[sha256].data)
    start = life.chance.randrange(size + 1)
    return start, min(size, start + life.chance.choice((1, 1000, 70_000, size)))


def _read_part(life: Life) -> None:
    if not life.present:
        return
    sha256 = life.any_of(life.present)

    def work() -> str:
        for _ in range(4):
            start, stop = _range(life, sha256)
            found = b"".join(life.store.read(sha256, start, stop))
            if found != life.samples[sha256].data[start:stop]:
                raise Wrong(f"{life.samples[sha256].name}: the bytes {start} to {stop} are not right")
        return "raw" if life.store.blob(sha256).raw_here else "sealed"

    life.step("read.part", work, sha256)


def _read_by_xet(life: Life) -> None:
    """As a client of Xet does: where the parts lie, and then each."""
    if not life.present:
        return
    sha256 = life.any_of(life.present)

    def work() -> str:
        start, stop = _range(life, sha256)
        if start == stop:
            return "nothing"
        layout = life.xets.layout(life.store.blob(sha256), start, stop)
        containers = [b"".join(life.xets.fetch(part.source, part.start, part.stop)) for part in layout.parts]
        found = b"".join(chunk for container in containers for chunk in unpacked(container))
        if found[layout.skip : layout.skip + stop - start] != life.samples[sha256].data[start:stop]:
            raise Wrong(f"{life.samples[sha256].name}: the bytes {start} to {stop} by Xet are not right")
        return layout.parts[0].source.kind

    life.step("read.xet", work, sha256)


def _delete(life: Life) -> None:
    if not life.present:
        return
    sha256 = life.any_of(life.present)

    def work() -> str:
        return "gone" if sweep.blobs(life.store, [sha256], life.soon_ms).blobs else "needed"

    if life.step("delete", work, sha256) == "gone":
        life.present.remove(sha256)


def _sweep(life: Life) -> None:
    def work() -> str:
        swept = sweep.xorbs(life.xets, _unused_xorbs(life), life.soon_ms)
        if life.chance.random() < 0.3:
            sweep.unnamed(life.store, life.soon_ms + HOUR_MS)
        emptied = sweep.tensors(life.store).tensors, sweep.packs(life.store).packs
        return f"{'xorbs ' * bool(swept.xorbs)}{'tensors ' * bool(emptied[0])}{'packs' * bool(emptied[1])}".strip()

    life.step("sweep", work)


def _unused_xorbs(life: Life) -> list[str]:
    """As `Holds.unheld_xorbs` finds them."""
    used = exists().where(tables.blob_xorb.c.xorb == tables.xorb.c.hash)
    with life.db.read() as connection:
        return list(
            connection.execute(select(tables.xorb.c.hash).where(tables.xorb.c.state == "here", ~used)).scalars()
        )


def _evict(life: Life) -> None:
    cache_bytes = life.chance.choice((0, 0, 0, 1_000_000, 5_000_000))
    keep_ms = life.chance.choice((0, life.soon_ms))

    def work() -> str:
        with life.readers_may_be_told(fcntl.LOCK_EX) as alone:
            if not alone:
                return "later"
            done = evict(life.store, life.xets, life.soon_ms, keep_ms, cache_bytes, life.store.take_heat())
        return " ".join(name for name in ("leaving", "gone", "warmed", "virtual") if getattr(done, name))

    life.step("evict", work)


def _twice(life: Life) -> None:
    least = life.chance.choice(COPIED_FROM)

    def work() -> str:
        kept = twice.keep(life.store, least)
        return f"{'written ' * bool(kept.written)}{'dropped' * bool(kept.dropped)}".strip()

    life.step("twice", work)


# --- the sealer ---


def _sealer(life: Life) -> None:
    while True:
        names = _files(life, tables.blob.c.sealed.is_(None) & tables.blob.c.seal_ms.is_(None))
        if not names or life.chance.random() < 0.1:
            names = _files(life, tables.blob.c.sealed.is_(None))
        if names and life.chance.random() < 0.75:
            _seal(life, life.chance.choice(names))
        elif sealed := _files(life, tables.blob.c.sealed.is_not(None)):
            _rebase(life, life.chance.choice(sealed))
        time.sleep(life.chance.random() * REST_S)


def _files(life: Life, where: ColumnElement[bool]) -> list[Sha256]:
    asked = select(tables.blob.c.sha256).where(where).order_by(tables.blob.c.sha256)
    with life.db.read() as connection:
        return [Sha256(name) for name in connection.execute(asked).scalars()]


def _bounds(life: Life) -> Bounds:
    return Bounds(
        cpu_s=20.0, depth_max=life.chance.choice((1, 2, 3, 3)), margin=life.chance.choice((0.0, 0.03))
    )  # fmt: skip


def _relatives(life: Life, sha256: Sha256) -> list[Relative]:
    """Mostly sealed ones of the family: others are of no use."""
    sealed = set(_files(life, tables.blob.c.sealed.is_not(None))) if life.chance.random() < 0.9 else set(life.samples)
    some = [life.samples[name] for name in sorted(sealed - {sha256})]
    if life.chance.random() < 0.85:
        some = [one for one in some if one.family == life.samples[sha256].family]
    chosen = life.chance.sample(some, min(life.chance.choice((0, 1, 2, 3, 4, 8)), len(some)))
    return [Relative(one.sha256, "chance said so", one.name) for one in chosen]


def _store_anew(life: Life, kind: str, sha256: Sha256, work: Callable[[], str]) -> None:
    """What the hub does meanwhile may make it fail; what that may be, the parent knows."""

    def tried() -> str:
        try:
            return work()
        except (Conflict, EntryMissing) as error:
            return type(error).__name__
        except Unreadable:
            return "outrun"  # the raw bytes went between being told of and being opened: never within an hour
        except Corrupt as error:
            return f"Corrupt: {error.text}"
        except HeadwaterError:
            raise
        except Exception:  # noqa: BLE001 - a mistake of the codec's: nothing is lost, and the parent tells of it
            return f"fault: {traceback.format_exc()[-3000:]}"

    life.step(kind, tried, sha256)


def _seal(life: Life, sha256: Sha256) -> None:
    sealer = Sealer(life.store, _bounds(life), wait_s=life.chance.choice((0.0, 1.0)))
    relatives = _relatives(life, sha256)

    def work() -> str:
        report = sealer.seal(sha256, life.samples[sha256].name, relatives)
        if not report.sealed:
            return "kept raw"
        return "derived" if report.derived else "same" if report.same else "alone"

    _store_anew(life, "seal", sha256, work)


def _rebase(life: Life, sha256: Sha256) -> None:
    rebaser = rebase.Rebaser(life.store, _bounds(life), wait_s=life.chance.choice((0.0, 1.0)))
    relatives = _relatives(life, sha256)

    def work() -> str:
        return "moved" if rebaser.rebase(sha256, life.samples[sha256].name, relatives).derived else "stays"

    _store_anew(life, "rebase", sha256, work)


# --- the janitor ---


def _janitor(life: Life) -> None:
    while True:
        if life.chance.random() < 0.7:
            life.step("sweep.beside", lambda: _swept_beside(life))
        else:
            life.step("verify", lambda: _verified(life))
        time.sleep(life.chance.random() * 0.3)  # people are slower


def _swept_beside(life: Life) -> str:
    return (
        f"{'tensors ' * bool(sweep.tensors(life.store).tensors)}{'packs' * bool(sweep.packs(life.store).packs)}".strip()
    )


def _verified(life: Life) -> str:
    with life.readers_may_be_told(fcntl.LOCK_SH) as quiet:
        if not quiet:
            return "later"
        findings = list(check.check(life.store, life.xets, 30, life.chance, lambda _done: None))
    if findings:
        raise Wrong(f"verify found {findings[:5]}")
    return "done"


# --- alone with the data folder ---


def _purger(life: Life) -> None:
    """Destroys files, as `headwater store purge` does while no hub runs."""
    life.store.objects.prepare()
    _settle(life)
    while life.present:
        sha256 = life.any_of(life.present)
        rebaser = rebase.Rebaser(life.store, _bounds(life))

        def work(sha256: Sha256 = sha256, rebaser: rebase.Rebaser = rebaser) -> str:
            try:
                purge.purge(life.store, life.xets, rebaser, [sha256])
            except Conflict:
                return "needed"
            return "gone"

        if life.step("purge", work, sha256) == "gone":
            life.present.remove(sha256)


def _auditor(life: Life) -> None:
    """Everything is looked at, and nobody interferes."""
    life.store.objects.prepare()
    _settle(life)
    twice.keep(life.store, life.chance.choice(COPIED_FROM))
    for sha256 in life.samples:
        if sha256 in life.present:
            life.whole(sha256)
            blob = life.store.blob(sha256)
            if blob.sealed:  # whatever lies beside it
                life.same(sha256, b"".join(life.store.sealed_bytes(blob)), 0)
        elif life.store.find(sha256) is not None:
            raise Wrong(f"{life.samples[sha256].name} was deleted and is here")
    _xorbs_are_right(life)
    if findings := list(check.check(life.store, life.xets, 100, life.chance, lambda _done: None)):
        raise Wrong(f"verify found {findings[:5]}")
    _rows_are_right(life)
    sweep.tensors(life.store)
    sweep.packs(life.store)
    life.say(["audited", _told(life)])


def _xorbs_are_right(life: Life) -> None:
    """Also those that are made from sealed files."""
    asked = select(tables.xorb.c.hash).where(tables.xorb.c.state.in_(("here", "virtual")))
    with life.db.read() as connection:
        names = list(connection.execute(asked).scalars())
    for name in names:
        plain = life.shipping.xorbs[name].plain
        if b"".join(read_pieces(life.store.xorb_pieces(name, 0, len(plain)))) != plain:
            raise Wrong(f"the xorb {name} gives other bytes")


_ENTRIES = select(tables.tensor.c.pack, tables.tensor.c.start, tables.tensor.c.length, tables.tensor.c.key).union_all(
    select(tables.tensor_copy.c.pack, tables.tensor_copy.c.start, tables.tensor.c.length, tables.tensor.c.key).join(
        tables.tensor, tables.tensor.c.id == tables.tensor_copy.c.tensor
    )
)
"""(pack, start, length, key) of all entries, second copies among them."""


def _rows_are_right(life: Life) -> None:
    """What the database says of itself, and of what lies in the folder."""
    wrong = [*life.db.problems()]
    with life.db.read() as connection:
        wrong += [f"a row without its parent: {row}" for row in connection.execute(text("PRAGMA foreign_key_check"))]
        for table in (tables.blob, tables.tensor, tables.xorb):
            damaged = connection.execute(select(func.count()).where(table.c.state == "damaged")).scalar_one()
            wrong += [f"{damaged} damaged rows of {table.name}"] * bool(damaged)
        end: dict[int, int] = {}
        for pack, start, length, key in sorted(connection.execute(_ENTRIES).all()):
            if start < end.get(pack, 0):
                wrong.append(f"the entry of {key.hex()} lies on another")
            end[pack] = start + length
        together = select(tables.tensor.c.key).join(
            tables.tensor_copy, tables.tensor_copy.c.tensor == tables.tensor.c.id
        )
        for key in connection.execute(together.where(tables.tensor_copy.c.pack == tables.tensor.c.pack)).scalars():
            wrong.append(f"both copies of {key.hex()} lie in one pack")
        for row in connection.execute(select(tables.pack)):
            size = life.store.packs.size(row.id)
            if end.get(row.id, 0) > row.size_bytes or (row.size_bytes and (size or 0) < row.size_bytes):
                wrong.append(
                    f"the pack {row.id} has {size} bytes; its row says {row.size_bytes}, its entries {end.get(row.id)}"
                )
        wrong += list(_depths_are_wrong(connection))
        sealed = (
            connection.execute(select(tables.blob.c.sha256).where(tables.blob.c.sealed.is_not(None))).scalars().all()
        )
        for sha256 in sealed:
            keys = set(connection.execute(_tensors_of(sha256)).scalars())
            if keys != life.store.sealed_recipe(life.store.blob(Sha256(sha256))).keys:
                wrong.append(f"{sha256} is made of other tensors than its rows say")
    if wrong:
        raise Wrong("; ".join(wrong[:10]))


def _tensors_of(sha256: str) -> Select[Any]:
    link = tables.blob_tensor
    return select(tables.tensor.c.key).join(link, link.c.tensor == tables.tensor.c.id).where(link.c.sha256 == sha256)


def _depths_are_wrong(connection: Connection) -> Iterator[str]:
    parent = tables.tensor.alias()
    link = tables.tensor_parent
    deepest = (
        select(func.max(parent.c.depth) + 1)
        .join(link, link.c.parent == parent.c.id)
        .where(link.c.tensor == tables.tensor.c.id)
        .correlate(tables.tensor)
        .scalar_subquery()
    )
    for row in connection.execute(select(tables.tensor.c.key, tables.tensor.c.depth, deepest.label("right"))):
        if row.depth != (row.right or 0):
            yield f"the tensor {row.key.hex()} says depth {row.depth} and stands at {row.right or 0}"


def _told(life: Life) -> dict[str, int]:
    """Figures for people, once everything was swept. Wrong when packs keep more than they may."""
    with life.db.read() as connection:
        row = connection.execute(select(func.count(), func.max(tables.tensor.c.depth))).one()
        live = sum(entry.length for entry in connection.execute(_ENTRIES))
        copies = connection.execute(select(func.count()).select_from(tables.tensor_copy)).scalar_one()
        sealed = connection.execute(select(func.count()).where(tables.blob.c.sealed.is_not(None))).scalar_one()
        alone = connection.execute(select(func.count()).where(tables.blob.c.raw == "gone")).scalar_one()
        virtual = connection.execute(select(func.count()).where(tables.xorb.c.state == "virtual")).scalar_one()
        sizes = connection.execute(select(func.coalesce(func.sum(tables.pack.c.size_bytes), 0))).scalar_one()
    on_disk = sum(life.store.packs.size(number) or 0 for number in life.store.packs.ids())
    if sizes > 2 * live + 1000:
        raise Wrong(f"swept packs hold {sizes} bytes for {live} that are needed")
    return {
        "files": len(life.present), "sealed": sealed, "sealed only": alone, "virtual xorbs": virtual, "tensors": row[0],
        "copies": copies, "depth": row[1] or 0, "raw bytes": sum(len(life.samples[one].data) for one in life.present),
        "packs": on_disk, "live": live,
    }  # fmt: skip


def _leaver(life: Life) -> None:
    """Everybody leaves: the space is free again."""
    life.store.objects.prepare()
    _settle(life)
    while life.present:
        before = len(life.present)
        for sha256 in sorted(life.present):
            if life.step("delete", lambda sha256=sha256: _deleted(life, sha256), sha256) == "gone":
                life.present.remove(sha256)
        if len(life.present) == before:
            raise Wrong(f"{before} files can't be deleted: each is said to be needed")
    for _ in range(2):
        life.step("evict", lambda: str(evict(life.store, life.xets, life.soon_ms, life.soon_ms, 0, {}).gone))
    life.step("sweep", lambda: str(sweep.xorbs(life.xets, _unused_xorbs(life), life.soon_ms).xorbs))
    life.step("sweep", lambda: str(sweep.unnamed(life.store, life.soon_ms + HOUR_MS).objects))
    life.step("sweep", lambda: str(sweep.tensors(life.store).tensors))
    life.step("sweep", lambda: str(sweep.packs(life.store).packs))
    life.say(
        [
            "left",
            sorted(str(file) for file in life.store.objects.root.rglob("*") if file.is_file() and file.stat().st_size),
        ]
    )


def _deleted(life: Life, sha256: Sha256) -> str:
    return "gone" if sweep.blobs(life.store, [sha256], life.soon_ms).blobs else "needed"


ROLES: dict[str, Callable[[Life], None]] = {
    "hub": _hub, "sealer": _sealer, "janitor": _janitor, "purger": _purger, "auditor": _auditor, "leaver": _leaver,
}  # fmt: skip


def line(told: object) -> bytes:
    return json.dumps(told).encode() + b"\n"
