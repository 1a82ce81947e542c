"""A hub's tables with people, repos and files made by plain SQL: this room takes them as given."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from sqlalchemy import insert, update

sys.path.insert(0, str(Path(__file__).resolve().parent))  # importlib mode leaves it out; our modules import each other

from model_building import reader

import headwater.ground.events
import headwater.ground.jobs
import headwater.lineage.tables  # noqa: F401 - all tables belong to the schema
from headwater.accounts.tables import namespace
from headwater.catalog.tables import catalog
from headwater.ground import names
from headwater.ground.clock import FixedClock
from headwater.ground.db import Database, metadata
from headwater.ground.names import Sha256
from headwater.lineage.files import sketch_of
from headwater.lineage.parents import Candidate, Parents
from headwater.lineage.sketches import Sketches
from headwater.repos.tables import hold, repo
from headwater.store.tables import blob

MEMORY = Path("/dev/shm")


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as made:
        yield Path(made)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("database") / "hub.db"
    db = Database(path)
    metadata.create_all(db._durable)
    db.close()
    return path


@pytest.fixture
def db(folder: Path, empty_database: Path) -> Iterator[Database]:
    shutil.copy(empty_database, folder / "hub.db")
    opened = Database(folder / "hub.db")
    yield opened
    opened.close()


@dataclass
class Hub:
    """Repos and files by name: `hub.put("ada/base", model)` makes what is missing."""

    db: Database
    clock: FixedClock
    sketches: Sketches
    parents: Parents
    namespaces: dict[str, int] = field(default_factory=dict)
    repos: dict[str, int] = field(default_factory=dict)
    held: int = 0

    def namespace(self, name: str) -> int:
        if name not in self.namespaces:
            row = {"name": name, "key": name, "skeleton": name, "kind": "user", "created_ms": 0}
            with self.db.write_soft() as connection:
                made = connection.execute(insert(namespace).values(row).returning(namespace.c.id)).scalar_one()
            self.namespaces[name] = made
        return self.namespaces[name]

    def repo(self, full: str, base_model: str | list[str] | None = None, **more: Any) -> int:
        if full not in self.repos:
            owner, _, name = full.rpartition("/")
            row = {
                "type": "model", "namespace_id": self.namespace(owner), "namespace": owner, "name": name,
                "key": names.key(full), "private": False, "created_ms": 0, "updated_ms": 0, **more,
            }  # fmt: skip
            with self.db.write_soft() as connection:
                made = connection.execute(insert(repo).values(row).returning(repo.c.id)).scalar_one()
                card = {"base_model": base_model} if base_model else {}
                connection.execute(
                    insert(catalog).values(
                        repo_id=made, sha="", used_storage=0, tags="[]", tag_ids="[]", card=json.dumps(card)
                    )
                )
            self.repos[full] = made
        return self.repos[full]

    def change(self, full: str, **columns: Any) -> None:
        with self.db.write_soft() as connection:
            connection.execute(update(repo).where(repo.c.id == self.repos[full]).values(columns))

    def hold(self, full: str, sha256: Sha256, path: str = "model.safetensors", **more: Any) -> None:
        self.held += 1
        repo_id = self.repo(full, **more)
        with self.db.write_soft() as connection:
            connection.execute(
                insert(hold).values(repo_id=repo_id, sha256=sha256, path=path, committed=True, held_ms=self.held)
            )

    def put(self, full: str, data: bytes, path: str = "model.safetensors", **more: Any) -> Sha256:
        """A file that a commit of the repo names, looked at."""
        sha256 = Sha256(hashlib.sha256(data).hexdigest())
        with self.db.write_soft() as connection:
            connection.execute(insert(blob).values(sha256=sha256, size=len(data), created_ms=0))
        self.hold(full, sha256, path, **more)
        self.sketches.put(sha256, sketch_of(reader(data), path, len(data)))
        return sha256

    def found(self, sha256: Sha256) -> list[Candidate]:
        return self.parents.candidates(sha256)


@pytest.fixture
def hub(db: Database) -> Hub:
    clock = FixedClock()
    sketches = Sketches(db, clock)
    return Hub(db, clock, sketches, Parents(db, sketches))
