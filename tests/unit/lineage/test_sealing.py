"""The whole way with the store's own sealer: an upload is stored on its parent, and comes back bit for bit."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Hub
from model_building import base, eight_bits, onnx, safetensors, tuned
from sqlalchemy import delete

from headwater.ground import events, jobs
from headwater.ground.jobs import Runner
from headwater.ground.names import Sha256
from headwater.lineage import graphs
from headwater.lineage.following import RESEAL, SETTLE_MS, follow
from headwater.lineage.graphs import Place
from headwater.lineage.job import Work
from headwater.repos.tables import hold
from headwater.store import Store, Xets, purge, report
from headwater.store.kin import tensors_of
from headwater.store.rebase import Rebaser
from headwater.store.seal import Sealer
from headwater.store.splitting import Beside

ROOT = base(1, layers=1, words=128)
SMALL = {name: array for name, array in ROOT.items() if "proj" in name and array.shape[0] == array.shape[1]}


class Yard:
    def __init__(self, hub: Hub, folder: Path) -> None:
        self.hub = hub
        self.store = Store(hub.db, folder / "store", hub.clock, 1 << 30)
        self.store.objects.prepare()
        sealer, rebaser = Sealer(self.store), Rebaser(self.store)
        self.work = Work(hub.db, hub.clock, self.store.read, sealer.seal, rebaser.rebase)
        self.runner = Runner(hub.db, hub.clock, self.work.handlers)

    def store_file(self, full: str, data: bytes, path: str = "model.safetensors", **more: Any) -> Sha256:
        sha256 = Sha256(hashlib.sha256(data).hexdigest())
        self.store.ingest([data], sha256, len(data))
        self.hub.hold(full, sha256, path, **more)
        return sha256

    def upload(self, full: str, data: bytes, path: str = "model.safetensors", **more: Any) -> Sha256:
        sha256 = self.store_file(full, data, path, **more)
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


def noted(data: bytes, note: str) -> bytes:
    """The same tensors in another file."""
    (length,) = struct.unpack("<Q", data[:8])
    text = json.dumps({"__metadata__": {"note": note}} | json.loads(data[8 : 8 + length])).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def test_T34_public_files_do_not_vouch_for_each_others_private_parents(yard: Yard) -> None:
    base_data, tune_data = safetensors(SMALL), safetensors(tuned(SMALL, 5))
    hidden = yard.upload("ada/base", base_data, private=True)
    tune = yard.upload("ada/tune", tune_data, private=True)
    assert yard.work.parents.stands_on(tune) == {hidden}

    both = [noted(tune_data, "one"), noted(tune_data, "two")]
    names = [yard.store_file("bob/both", data, f"{number}.safetensors") for number, data in enumerate(both)]
    yard.happen("ref.moved", "bob/both")
    late_data = noted(tune_data, "three")
    late = yard.upload("eve/late", late_data)

    for name in (*names, late, tune):
        assert yard.store.blob(name).sealed
        assert yard.work.parents.stands_on(name) <= {*names, late, tune}
        assert not yard.work.parents.forbidden(name)
    for name, data in ((hidden, base_data), (tune, tune_data), *zip(names, both, strict=True), (late, late_data)):
        assert yard.bytes_of(name) == data


def test_what_stood_on_a_purged_file_finds_another_relative(yard: Yard) -> None:
    root_data = safetensors(SMALL)
    datas = [safetensors(tuned(SMALL, seed)) for seed in (5, 6)]
    root = yard.upload("ada/base", root_data)
    one, two = (yard.upload(f"eve/child{number}", data) for number, data in enumerate(datas))
    assert root in yard.work.parents.stands_on(one) & yard.work.parents.stands_on(two)
    with yard.hub.db.write_soft() as connection:
        connection.execute(delete(hold).where(hold.c.sha256 == root))
    moved: list[Sha256] = []
    purge.purge(yard.store, Xets(yard.store), Rebaser(yard.store), [root], moved.extend)
    assert set(moved) == {one, two}
    assert [yard.work.parents.stands_on(name) for name in (one, two)] == [set(), set()]
    with yard.hub.db.write_soft() as connection:
        for name in moved:
            jobs.enqueue(connection, yard.hub.clock, RESEAL, name, {})
    yard.runner.drain()
    assert {frozenset(yard.work.parents.stands_on(name) - {name}) for name in (one, two)} in (
        {frozenset(), frozenset({one})},
        {frozenset(), frozenset({two})},
    )
    assert [yard.bytes_of(name) for name in (one, two)] == datas


@pytest.mark.parametrize(("dtype", "declared"), [("I8", "ada/base"), ("I8", None), ("U8", None)])
def test_eight_bits_of_a_stored_model_cost_their_scales(yard: Yard, dtype: str, declared: str | None) -> None:
    yard.upload("ada/base", safetensors(SMALL))
    data = eight_bits(SMALL, dtype)
    made = yard.upload("eve/quantized", data, base_model=declared)
    told = report.explain(yard.store, made, "model.safetensors")
    codes = [one for one in told.tensors if one.dtype == dtype]
    assert len(codes) == len([array for array in SMALL.values() if array.ndim > 1])
    assert {one.why for one in codes} == {"declared base model" if declared else "similar weights"}
    assert sum(one.stored_bytes for one in codes) < 0.1 * sum(one.raw_bytes for one in codes)
    assert yard.bytes_of(made) == data


def test_weights_beside_a_graph_are_parents_and_shared_like_those_of_any_other_format(yard: Yard) -> None:
    graph_data, data = onnx(SMALL, "model.onnx_data")
    yard.store_file("ada/graph", graph_data, "onnx/model.onnx")
    yard.store_file("ada/graph", safetensors(base(9, layers=1)), "other.onnx")  # no graph, whatever it is called
    weights = yard.upload("ada/graph", data, "onnx/model.onnx_data")
    child_data = safetensors(tuned(SMALL, 5), "F32")
    child = yard.upload("eve/child", child_data)
    assert yard.work.parents.stands_on(child) == {weights}
    yard.upload("bob/same", safetensors(SMALL, "F32"))
    with yard.hub.db.read() as connection:
        place = graphs.place(connection, weights)
    assert place is not None
    told = report.explain(yard.store, weights, place.path, place.beside)
    assert [(one.name, one.dtype, one.others) for one in told.tensors] == [(name, "F32", 1) for name in SMALL]
    assert (yard.bytes_of(weights), yard.bytes_of(child)) == (data, child_data)
    yard.hub.change("ada/graph", private=True)  # the same weights are still open to all
    yard.happen("repo.changed", "ada/graph")
    assert weights in yard.work.parents.stands_on(child)


def test_a_graph_that_is_gone_or_damaged_by_the_time_says_nothing(yard: Yard) -> None:
    graph_data, data = onnx(SMALL, "model.onnx_data")
    graph = yard.store_file("ada/graph", graph_data, "model.onnx")
    weights = yard.store_file("ada/graph", data, "model.onnx_data")
    with yard.hub.db.read() as connection:
        place = graphs.place(connection, weights)
    assert place is not None
    assert place.beside == (Beside("model.onnx", graph, len(graph_data)),)
    yard.store.flag(graph, "a test says so")
    blob = yard.store.blob(weights)
    assert tensors_of(yard.store, blob, place.path, place.beside) == ()
    with yard.hub.db.read() as connection:
        assert graphs.place(connection, weights) == Place("model.onnx_data")


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("onnx/model_q4.onnx_data", ["onnx/model_q4.onnx", "onnx/model.onnx", "a.onnx"]),
        ("weights.bin", ["a.onnx"]),
        ("onnx/model.onnx", []),
        ("model.safetensors", []),
    ],
)
def test_graphs_of_the_folder_and_those_above_are_asked_the_one_of_that_name_first(
    hub: Hub, path: str, asked: list[str]
) -> None:
    for name in ("a.onnx", "onnx/model.onnx", "onnx/model_q4.onnx", "deep/er.onnx"):
        if name != path:
            hub.put("ada/graph", name.encode(), name)
    hub.put("eve/other", b"g", "model_q4.onnx")
    weights = hub.put("ada/graph", b"weights", path)
    with hub.db.read() as connection:
        place = graphs.place(connection, weights)
    assert place is not None
    assert [one.name for one in place.beside] == asked
