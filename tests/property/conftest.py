"""The same examples every time: a property that fails here fails on every machine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings

# importlib mode leaves them out; our modules import each other
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit/store"))

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

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,  # the machine is shared
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("ci")


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        LocalObjects(Path(folder) / "store").prepare()
        db = Database(Path(folder) / "empty.db")
        with db.write_soft() as connection:
            metadata.create_all(connection, tables=list(OURS))
        db.close()
        yield Path(folder)


@pytest.fixture
def cas(memory: Path) -> Iterator[Cas]:
    """One store for all examples of a test: what they put there does not meet, unless they mean it to."""
    shutil.copy(memory / "empty.db", memory / "hub.db")
    db, clock = Database(memory / "hub.db"), FixedClock()
    store = Store(db, memory / "store", clock, FILE_MAX)
    yield Cas(memory, db, clock, store, Xets(store), Uploads(store, memory / "uploads"))
    db.close()
    for folder, _, files in os.walk(memory / "store"):
        for name in files:
            (Path(folder) / name).unlink()
