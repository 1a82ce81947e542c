"""A store over a database and a folder of its own, in memory-backed storage, with a clock that stands."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # importlib mode leaves it out; our modules import each other

from store_cas import FILE_MAX, Cas

from headwater.ground import events
from headwater.ground.clock import FixedClock
from headwater.ground.db import Database, metadata
from headwater.store import Store, Uploads, Xets, tables
from headwater.store.objects import LocalObjects

MEMORY = Path("/dev/shm")
OURS = (
    tables.blob, tables.xorb, tables.blob_xorb, tables.dedup, tables.upload, tables.pack, tables.tensor,
    tables.tensor_parent, tables.tensor_copy, tables.blob_tensor, events.event, events.position,
)  # fmt: skip


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as made:
        yield Path(made)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "hub.db"
    db = Database(path)
    with db.write_soft() as connection:
        metadata.create_all(connection, tables=list(OURS))
    db.close()
    return path


@pytest.fixture(scope="session")
def folders() -> Iterator[Path]:
    """The 512 folders of a store, made once: making and removing them takes longer than most tests."""
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as made:
        LocalObjects(Path(made) / "store").prepare()
        yield Path(made)


@pytest.fixture
def cas(tmp_path: Path, folders: Path, empty_store: Path) -> Iterator[Cas]:
    shutil.copy(empty_store, tmp_path / "hub.db")
    db, clock = Database(tmp_path / "hub.db"), FixedClock()
    store = Store(db, folders / "store", clock, FILE_MAX)
    yield Cas(tmp_path, db, clock, store, Xets(store), Uploads(store, tmp_path / "uploads"))
    db.close()
    for folder, _, files in os.walk(folders):
        for name in files:
            (Path(folder) / name).unlink()
