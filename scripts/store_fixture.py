"""Makes a store that is kept as a fixture: `python scripts/store_fixture.py 0.2` writes tests/fixtures/stores/0.2.

Once for each version that changed what lies in a data folder, and never again: later versions are tested on the bytes
that this one wrote. A version that is there is not overwritten. In it: files as they came and files of xorbs, raw and
sealed; a tensor for each predictor, dtype and coder; a xorb that is made of a sealed file; two packs, second copies.
"""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "unit" / "store"))

from sqlalchemy import func, select, text
from store_cas import Cas
from tensor_cases import Case, cases, entries, files, several_blocks, touched
from xet_building import Xorb, a_file, all_of, noise, sha256_of

from headwater import __version__
from headwater.app import open_rooms
from headwater.ground.clock import FixedClock
from headwater.ground.names import Sha256
from headwater.ground.settings import Settings
from headwater.store import tables, twice
from headwater.store.evict import evict
from headwater.store.seal import Bounds, Relative, Sealer

ROOT = Path(__file__).resolve().parents[1]
STORES = ROOT / "tests" / "fixtures" / "stores"
SECOND_COPY_FROM = 2  # others that stand on a tensor
LATER_MS = 1 << 50  # every grace is over


def main(version: str) -> None:
    target = STORES / version
    if target.exists():
        raise SystemExit(f"{target} is there, and is never made again")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "data"
        folder.mkdir()
        manifest = filled(folder)
        target.mkdir(parents=True)
        (target / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        with tarfile.open(target / "data.tar.xz", "w:xz", preset=9) as archive:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                archive.add(path, str(path.relative_to(folder)), filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def filled(folder: Path) -> dict[str, Any]:
    """A data folder, and what is in it."""
    working = folder.parent / "working"
    clock = FixedClock()
    rooms = open_rooms(Settings(data=str(working)), clock)
    rooms.store.objects.prepare()
    cas = Cas(working, rooms.db, clock, rooms.store, rooms.xets, rooms.uploads)
    names = dict(_stored(cas))
    manifest = {
        "headwater": __version__,
        "files": [_described(cas, sha256, name) for sha256, name in names.items()],
        "counts": _counts(cas),
    }
    rooms.db.copy_to(folder / "headwater.sqlite")
    rooms.db.close()
    shutil.move(working / "store", folder / "store")
    return manifest


def _stored(cas: Cas) -> Iterator[tuple[Sha256, str]]:
    """Everything, in the order in which a hub would have come by it: SHA-256 and a name."""
    yield cas.put(b"as it came\n").sha256, "note.txt"
    yield cas.put(b"").sha256, "empty"
    spoken, own = (
        Xorb(tuple(_lines(number, 9000) for number in range(4))),
        Xorb((noise("own", 3000), noise("own2", 900))),
    )
    cas.land(spoken, own)
    (log,) = cas.register(all_of(spoken))
    yield _sealed(cas, log.sha256, "log.txt"), "log.txt"
    yield from _tensors(cas)
    evict(cas.store, cas.xets, LATER_MS, 0, 0, {})
    evict(cas.store, cas.xets, 0, 0, 0, {})  # objects that were leaving are deleted
    (mixed,) = cas.register(a_file((spoken, 2, 4), (own, 0, 2), (spoken, 0, 1)))
    yield mixed.sha256, "mixed.bin"
    yield _sealed(cas, cas.put(_lines(9, 40_000)).sha256, "fresh.txt"), "fresh.txt"
    twice.keep(cas.store, SECOND_COPY_FROM)


def _tensors(cas: Cas) -> Iterator[tuple[Sha256, str]]:
    """Parents first, without a margin: what follows needs them whatever they cost."""
    levels = files([*cases(), several_blocks()])
    relatives = []
    for of, (*above, _child) in levels.items():
        stem, _, suffix = of.partition(".")
        for number, data in enumerate(above):
            name = f"{stem}-parent-{number}.{suffix}"
            sha256 = _sealed(cas, cas.put(data).sha256, name, margin=-1.0)
            relatives.append(Relative(sha256, "a parent", name))
            yield sha256, name
    for of, (*_above, child) in levels.items():
        yield _sealed(cas, cas.put(child).sha256, of, *relatives), of
    # A third generation: what stands on a sum, a mask, codes, ... in turn.
    again = files([Case(one.name, 1, touched(one.child, 5), (one.child,)) for one in cases() if one.predictor > 1])
    for of, (middle, grandchild) in again.items():
        name = f"again-{of}"
        yield _sealed(cas, cas.put(middle).sha256, name, margin=-1.0), name
        ours = Relative(sha256_of(middle), "it is the same", name)
        yield _sealed(cas, cas.put(grandchild).sha256, f"third-{of}", ours), f"third-{of}"


def _sealed(cas: Cas, sha256: Sha256, name: str, *relatives: Relative, margin: float = 0.03) -> Sha256:
    report = Sealer(cas.store, Bounds(margin=margin)).seal(sha256, name, relatives)
    assert report.sealed, report
    return sha256


def _lines(number: int, size_bytes: int) -> bytes:
    return b"".join(b"%d: line %d of a text\n" % (number, line) for line in range(size_bytes))[:size_bytes]


def _described(cas: Cas, sha256: Sha256, name: str) -> dict[str, Any]:
    blob = cas.store.blob(sha256)
    assert sha256_of(cas.read(sha256)) == sha256, name
    found = entries(cas.store, sha256) if blob.sealed else []
    return {
        "name": name,
        "sha256": sha256,
        "size": blob.size,
        "raw": blob.raw_here,
        "sealed": blob.sealed,
        "dtypes": sorted({dtype for dtype, _predictor, _coders in found}),
        "predictors": sorted({predictor for _dtype, predictor, _coders in found}),
        "coders": sorted(set().union(*(coders for _dtype, _predictor, coders in found))),
    }


def _counts(cas: Cas) -> dict[str, Any]:
    asked = {table.name: select(func.count()).select_from(table) for table in (tables.pack, tables.tensor)}
    asked["second copies"] = select(func.count()).select_from(tables.tensor_copy)
    asked["virtual xorbs"] = select(func.count()).where(tables.xorb.c.state == "virtual")
    with cas.db.read() as connection:
        schema = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        return {"schema": schema, **{name: connection.execute(one).scalar_one() for name, one in asked.items()}}


if __name__ == "__main__":
    main(sys.argv[1])
