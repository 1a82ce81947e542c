"""A hub's truth in memory, as the catalog's `Reader` sees it, beside a real database in a temp folder."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from headwater.accounts.actor import Actor
from headwater.accounts.tables import namespace, user
from headwater.catalog.counts import Counts
from headwater.catalog.index import JOB, Index
from headwater.catalog.search import Known, Query, search
from headwater.ground import events, names
from headwater.ground.clock import FixedClock
from headwater.ground.db import Database, metadata
from headwater.ground.errors import Corrupt
from headwater.ground.jobs import Runner
from headwater.ground.names import CommitId, RepoId, RepoType
from headwater.repos.tables import hold, like, repo
from headwater.store.tables import blob
from headwater.tensors import Read


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("catalog") / "hub.db"
    db = Database(path)
    metadata.create_all(db._durable)
    db.close()
    return path


@pytest.fixture
def db(tmp_path: Path, empty_database: Path) -> Iterator[Database]:
    shutil.copy(empty_database, tmp_path / "hub.db")
    opened = Database(tmp_path / "hub.db")
    yield opened
    opened.close()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@dataclass(frozen=True)
class Row:
    id: int
    rid: RepoId
    namespace_id: int | None
    private: bool
    gated: str | None
    sdk: str | None
    created_ms: int
    updated_ms: int


@dataclass(frozen=True)
class File:
    path: str
    data: bytes
    sha256: str | None = None
    kind: str = "file"

    @property
    def oid(self) -> str:
        return hashlib.sha1(self.data).hexdigest()

    @property
    def size(self) -> int:
        return len(self.data)


@dataclass
class Hub:
    """Makes repos and answers the index. What was read is kept in `reads`."""

    db: Database
    clock: FixedClock
    files_of: dict[int, dict[str, File]] = field(default_factory=dict)
    revisions: dict[str, dict[str, File]] = field(default_factory=dict)
    surveyed: list[int] = field(default_factory=list)
    heads: dict[int, str] = field(default_factory=dict)
    namespaces: dict[str, int] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    # The truth

    def namespace(self, name: str) -> int:
        if name not in self.namespaces:
            row = {"name": name, "key": name.lower(), "skeleton": name.lower(), "kind": "user", "created_ms": 0}
            with self.db.write() as connection:
                made = connection.execute(insert(namespace).values(row).returning(namespace.c.id)).scalar_one()
                connection.execute(insert(user).values(id=made))
            self.namespaces[name] = made
        return self.namespaces[name]

    def actor(self, name: str, *orgs: str, is_admin: bool = False) -> Actor:
        roles = MappingProxyType({self.namespace(org): "read" for org in orgs})
        return Actor(self.namespace(name), name, is_admin=is_admin, roles=roles)  # type: ignore[arg-type]

    def repo(
        self, full: str, files: dict[str, bytes | str] | None = None, kind: RepoType = "model", **columns: Any
    ) -> int:
        owner, _, name = full.rpartition("/")
        now_ms = self.clock.now_ms()
        row = {
            "type": kind, "namespace_id": self.namespace(owner) if owner else None, "namespace": owner or None,
            "name": name, "key": names.key(full), "private": False, "created_ms": now_ms, "updated_ms": now_ms,
        }  # fmt: skip
        with self.db.write() as connection:
            made: int = connection.execute(insert(repo).values(row | columns).returning(repo.c.id)).scalar_one()
            events.append(connection, "repo.created", now_ms, repo_id=made)
        self.commit(made, files or {})
        return made

    def commit(self, repo_id: int, files: dict[str, bytes | str], lfs: Iterable[str] = ()) -> str:
        """All files of the next revision of main."""
        kept = {}
        for path, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            sha256 = (
                hashlib.sha256(data).hexdigest() if path in lfs or path.endswith((".safetensors", ".gguf")) else None
            )
            kept[path] = File(path, data, sha256)
        self.files_of[repo_id] = kept
        listed = json.dumps([self.heads.get(repo_id), *((path, file.oid) for path, file in kept.items())])
        self.heads[repo_id] = hashlib.sha1(listed.encode()).hexdigest()
        self.revisions[self.heads[repo_id]] = kept
        self.change(repo_id, "ref.moved", ref="refs/heads/main", updated_ms=self.clock.now_ms())
        return self.heads[repo_id]

    def change(self, repo_id: int, kind: str, ref: str | None = None, **columns: Any) -> None:
        with self.db.write() as connection:
            if columns:
                connection.execute(update(repo).where(repo.c.id == repo_id).values(columns))
            events.append(connection, kind, self.clock.now_ms(), repo_id=repo_id, **({"ref": ref} if ref else {}))

    def like(self, who: str, repo_id: int) -> None:
        user_id = self.namespace(who)
        with self.db.write() as connection:
            connection.execute(insert(like).values(user_id=user_id, repo_id=repo_id, at_ms=self.clock.now_ms()))
            events.append(connection, "repo.liked", self.clock.now_ms(), repo_id=repo_id, actor_id=user_id)

    def hold(self, repo_id: int, size: int, committed: bool = True) -> None:
        name = hashlib.sha256(f"{repo_id} {size}".encode()).hexdigest()
        with self.db.write() as connection:
            connection.execute(insert(blob).values(sha256=name, size=size, created_ms=0))
            connection.execute(insert(hold).values(repo_id=repo_id, sha256=name, committed=committed, held_ms=0))

    # Reader

    def row(self, repo_id: int) -> Row | None:
        with self.db.read() as connection:
            found = connection.execute(select(repo).where(repo.c.id == repo_id, repo.c.state == "live")).first()
        if found is None:
            return None
        rid = RepoId(found.type, found.namespace, found.name)
        return Row(
            found.id, rid, found.namespace_id, found.private, found.gated, found.sdk, found.created_ms, found.updated_ms
        )

    def head(self, repo_id: int) -> CommitId | None:
        head = self.heads.get(repo_id)
        return None if head is None else CommitId(head)

    def files(self, repo_id: int, commit: CommitId) -> Iterable[File]:
        self.surveyed.append(repo_id)
        return iter(self.files_of[repo_id].values())

    def changes(self, repo_id: int, old: CommitId, new: CommitId) -> Iterable[tuple[File | None, File | None]]:
        before, after = self.revisions[old], self.revisions[new]
        if self.broken & (before.keys() | after.keys()):
            raise Corrupt(f"{old} is damaged")
        for path in before.keys() | after.keys():
            if before.get(path) != after.get(path):
                yield before.get(path), after.get(path)

    def text(self, repo_id: int, commit: CommitId, path: str, bytes_max: int) -> bytes | None:
        self.reads.append(path)
        file = self.files_of[repo_id].get(path)
        return None if file is None else file.data[:bytes_max]

    def open(self, repo_id: int, commit: CommitId, path: str) -> Read:
        self.reads.append(path)
        if path in self.broken:
            raise Corrupt(f"{path} is damaged")
        data = self.files_of[repo_id][path].data
        return lambda start, stop: data[start:stop]


class AsReader:
    """`Hub` under the names that `Reader` asks by; `repo` makes one there and finds one here."""

    def __init__(self, hub: Hub) -> None:
        self.repo, self.head, self.files, self.changes = hub.row, hub.head, hub.files, hub.changes
        self.text, self.open = hub.text, hub.open


@pytest.fixture
def hub(db: Database, clock: FixedClock) -> Hub:
    return Hub(db, clock)


@pytest.fixture
def index(db: Database, clock: FixedClock, hub: Hub) -> Index:
    return Index(db, clock, AsReader(hub))


@dataclass
class Catalog:
    """Index and search together, as the composition root would drive them."""

    db: Database
    index: Index
    runner: Runner

    def catch_up(self) -> int:
        self.index.follow()
        return self.runner.drain()

    def list(self, actor: Actor, kind: RepoType = "model", **conditions: Any) -> list[str]:
        return [row.full_name for row in self.rows(actor, kind, **conditions)]

    def rows(self, actor: Actor, kind: RepoType = "model", **conditions: Any) -> list[Known]:
        return search(self.db, actor, Query(type=kind, **conditions)).rows


@pytest.fixture
def known(db: Database, clock: FixedClock, index: Index) -> Catalog:
    return Catalog(db, index, Runner(db, clock, {JOB: index.work}))


@pytest.fixture
def counts(db: Database, clock: FixedClock) -> Counts:
    return Counts(db, clock)


def a_safetensors(**tensors: tuple[str, list[int]]) -> bytes:
    """A file of zeros: name=(dtype, shape)."""
    bits = {"F32": 32, "BF16": 16, "I8": 8}
    header: dict[str, Any] = {}
    at = 0
    for name, (dtype, shape) in tensors.items():
        size = bits[dtype] // 8
        for dimension in shape:
            size *= dimension
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(at)


def a_gguf(architecture: str = "llama", context_length: int = 4096, elements: int = 32) -> bytes:
    """One F32 tensor and the keys that pages show."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    keys = text("general.architecture") + struct.pack("<I", 8) + text(architecture)
    keys += text(f"{architecture}.context_length") + struct.pack("<II", 4, context_length)
    keys += text("tokenizer.chat_template") + struct.pack("<I", 8) + text("{{ messages }}")
    tensor = text("w") + struct.pack("<IQIQ", 1, elements, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 3) + keys + tensor
    return head + bytes(-len(head) % 32) + bytes(elements * 4)
