"""The whole way with the store's own sealer: an upload is stored on its parent, and comes back bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Hub
from model_building import base, safetensors, tuned

from headwater.ground import events
from headwater.ground.jobs import Runner
from headwater.ground.names import Sha256
from headwater.lineage.following import SETTLE_MS, follow
from headwater.lineage.job import Work
from headwater.store import Store
from headwater.store.rebase import Rebaser
from headwater.store.seal import Sealer

ROOT = base(1, layers=1, words=128)


class Yard:
    def __init__(self, hub: Hub, folder: Path) -> None:
        self.hub = hub
        self.store = Store(hub.db, folder / "store", hub.clock, 1 << 30)
        self.store.objects.prepare()
        sealer, rebaser = Sealer(self.store), Rebaser(self.store)
        self.work = Work(hub.db, hub.clock, self.store.read, sealer.seal, rebaser.rebase)
        self.runner = Runner(hub.db, hub.clock, self.work.handlers)

    def upload(self, full: str, data: bytes, **more: object) -> Sha256:
        sha256 = Sha256(hashlib.sha256(data).hexdigest())
        self.store.ingest([data], sha256, len(data))
        self.hub.hold(full, sha256, **more)
        self.happen("ref.moved", full)
        return sha256

    def happen(self, kind: str, full: str) -> None:
        with self.hub.db.write_soft() as connection:
            events.append(connection, kind, 0, repo_id=self.hub.repos[full])
        follow(self.hub.db, self.hub.clock)
        self.hub.clock.advance(SETTLE_MS / 1000)
        self.runner.drain()

    def bytes_of(self, sha256: Sha256) -> bytes:
        return b"".join(self.store.read(sha256))


@pytest.fixture
def yard(hub: Hub, folder: Path) -> Iterator[Yard]:
    yield Yard(hub, folder)


def test_a_child_stands_on_its_base_until_that_is_hidden_from_its_readers(yard: Yard) -> None:
    root_data, child_data = safetensors(ROOT), safetensors(tuned(ROOT, 5))
    root, child = yard.upload("ada/base", root_data), yard.upload("eve/child", child_data)
    assert yard.store.blob(child).sealed
    assert yard.work.parents.stands_on(child) == {root}
    assert yard.bytes_of(child) == child_data
    yard.hub.change("ada/base", private=True)
    yard.happen("repo.changed", "ada/base")
    assert yard.work.parents.stands_on(child) == set()
    assert not yard.work.parents.forbidden(child)
    assert (yard.bytes_of(child), yard.bytes_of(root)) == (child_data, root_data)


def test_a_declared_base_that_comes_late_becomes_the_root(yard: Yard) -> None:
    child_data, root_data = safetensors(tuned(ROOT, 5)), safetensors(ROOT)
    child = yard.upload("eve/child", child_data, base_model="ada/base")
    root = yard.upload("ada/base", root_data)
    assert yard.work.parents.stands_on(child) == {root}
    assert yard.work.parents.stands_on(root) == set()
    assert (yard.bytes_of(child), yard.bytes_of(root)) == (child_data, root_data)
