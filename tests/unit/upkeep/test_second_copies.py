"""Upkeep writes second copies, `verify` tells of a bad one with the repos it touches, and a backup holds both."""

from __future__ import annotations

import random

import pytest
from hub_building import Hub, memory_folder, open_hub
from plain_codec import plain_codec
from sealing import safetensors, tuned, weights
from sqlalchemy import Table, select
from xet_building import flip, sha256_of

from headwater.store import tables
from headwater.store.kin import Relative
from headwater.store.seal import Sealer
from headwater.upkeep import backup as keeping
from headwater.upkeep import verify as checking
from headwater.upkeep.verify import Problem

__all__ = ["plain_codec"]

pytestmark = pytest.mark.usefixtures("plain_codec")

A = weights(1, 100_000)
BASE = safetensors({"a": A})
CHILDREN = [safetensors({"a": tuned(A, seed)}) for seed in range(10, 20)]


@pytest.fixture
def family(hub: Hub) -> Hub:
    """A base and ten files on it, as many as the setting asks for, each in a repo of its own; all sealed."""
    for number, data in enumerate((BASE, *CHILDREN)):
        repo = hub.repo(f"ada/{number}")
        hub.commit(repo, large={"model.safetensors": hub.upload(repo, data)})
        relatives = [Relative(sha256_of(BASE), "its base", "model.safetensors")] if number else []
        assert Sealer(hub.rooms.store).seal(sha256_of(data), "model.safetensors", relatives).sealed
    with hub.rooms.db.write() as connection:
        connection.execute(tables.blob.update().values(raw="gone"))
    for data in (BASE, *CHILDREN):
        hub.object(sha256_of(data)).unlink()
        hub.rooms.store.forget(sha256_of(data))
    return hub


def problems(hub: Hub) -> list[Problem]:
    rooms = hub.rooms
    return list(checking.verify(rooms.db, rooms.repos, rooms.store, rooms.xets, 100, lambda _count: None))


def place(hub: Hub, table: Table) -> tuple[int, int]:
    """Pack and start of the one tensor that is kept twice, in this table."""
    pair = (tables.tensor_copy.c.pack, tables.tensor_copy.c.start)
    if table is tables.tensor:
        pair = (tables.tensor.c.pack, tables.tensor.c.start)
    joined = select(*pair).join_from(
        tables.tensor, tables.tensor_copy, tables.tensor_copy.c.tensor == tables.tensor.c.id
    )
    with hub.rooms.db.read() as connection:
        row = connection.execute(joined).one()
        return row.pack, row.start


def spoil(hub: Hub, table: Table) -> None:
    pack, start = place(hub, table)
    flip(hub.rooms.store.packs.path(pack), start + random.Random(3).randrange(1000))
    hub.rooms.store.tensors.forget()


def test_the_round_of_upkeep_writes_the_copies_that_the_setting_asks_for(family: Hub) -> None:
    assert family.upkeep.collect().second_copies == 1
    assert family.upkeep.collect().second_copies == 0
    assert problems(family) == []


@pytest.mark.parametrize("table", [tables.tensor, tables.tensor_copy])
def test_T25_verify_names_the_repos_that_a_bad_copy_touches_and_upkeep_writes_another(
    family: Hub, table: Table
) -> None:
    family.upkeep.collect()
    spoil(family, table)
    (problem,) = problems(family)
    assert problem.what == "tensor"
    assert set(problem.repos) == {f"model ada/{number}" for number in range(11)}
    assert problems(family) == []
    assert family.upkeep.collect().second_copies == 1
    for data in (BASE, *CHILDREN):
        assert family.read(sha256_of(data)) == data


def test_a_restored_backup_reads_on_the_second_copy(family: Hub) -> None:
    family.upkeep.collect()
    with memory_folder() as folder:
        keeping.backup(family.data, folder / "backup", "1", "2026-11-22T00:00:00.000Z", lambda _done, _total: None)
        keeping.restore(folder / "backup", folder / "data", lambda _done, _total: None)
        back = open_hub(folder / "data")
        spoil(back, tables.tensor)
        for data in (BASE, *CHILDREN):
            assert back.read(sha256_of(data)) == data
        back.close()
