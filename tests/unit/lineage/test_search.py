"""The search: ten thousand models in a second, and rows that are not what they should be."""

from __future__ import annotations

import hashlib
import time

import numpy as np
from conftest import Hub
from model_building import base, reader, safetensors, tuned
from sqlalchemy import delete, func, insert, select, update

from headwater.ground.names import Sha256
from headwater.lineage import search
from headwater.lineage.align import Probed, probed
from headwater.lineage.files import sketch_of
from headwater.lineage.tables import kin, sketch, sketch_data, sketch_shape
from headwater.repos.tables import hold
from headwater.store.tables import blob


def looked_at(data: bytes) -> Probed:
    made = sketch_of(reader(data), "m.safetensors", len(data))
    assert made is not None
    return probed(made)


def test_ten_thousand_models_of_one_shape_are_searched_in_a_second(hub: Hub) -> None:
    root = base(1, layers=6)
    target = looked_at(safetensors(tuned(root, 5)))
    chosen = search.choose(looked_at(safetensors(root)))
    assert len(chosen.rows) > search.NAMED_MAX
    rng = np.random.default_rng(1)
    shas = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(10_000)]
    rows = []
    for n, sha256 in enumerate(shas):
        other = chosen.rows.copy()
        if n == 7_777:
            pass  # the base itself
        elif n % 2:  # a sibling
            other["words"] ^= rng.integers(0, 8, other["words"].shape, np.uint16)
        else:  # a stranger
            other["words"] = rng.integers(0x3A00, 0x3D00, other["words"].shape, np.uint16)
        rows.append({"id": n + 1, "sha256": sha256, "tensors": 1, "probes": other.tobytes(), "made_ms": 0})
    shapes = [{"shape": shape, "sketch_id": n + 1} for n in range(10_000) for shape in chosen.shapes[:3]]
    with hub.db.write_soft() as connection:
        connection.execute(insert(blob), [{"sha256": sha256, "size": 1, "created_ms": 0} for sha256 in shas])
        connection.execute(insert(sketch), rows)
        connection.execute(insert(sketch_shape), shapes)
    began = time.process_time()
    found = hub.sketches.near(target)
    took_s = time.process_time() - began
    assert found[0].sha256 == shas[7_777]
    assert {int(near.id) % 2 for near in found[1:1000]} == {0}  # ids count from 1: the siblings
    assert took_s < 1, took_s


def test_two_sketches_of_one_model_choose_the_same_tensors() -> None:
    root = base(1, layers=8)
    one, other = (search.choose(looked_at(safetensors(model))) for model in (root, tuned(root, 5)))
    assert len(set(one.rows["key"]) & set(other.rows["key"])) >= search.NAMED_MAX + 4
    assert len(one.rows) <= search.ROWS_MAX
    assert one.shapes == other.shapes


def test_rows_that_are_not_whole_are_no_rows(hub: Hub) -> None:
    chosen = search.choose(looked_at(safetensors(base(1))))
    told = search.nearness_of(chosen.rows, [b"", b"x", chosen.rows.tobytes()[:-1], chosen.rows.tobytes()])
    assert told.related.tolist() == [False, False, False, True]


def test_noise_in_rows_relates_nobody() -> None:
    chosen = search.choose(looked_at(safetensors(base(1))))
    noise = np.random.default_rng(1).bytes(search.ROW.itemsize * 48)
    assert not search.nearness_of(chosen.rows, [noise] * 3).related.any()
    assert not search.nearness_of(search.rows_of(b""), [chosen.rows.tobytes()]).related.any()
    assert search.nearness_of(chosen.rows, []).related.tolist() == []


def test_a_few_equal_elements_prove_nothing() -> None:
    one = np.zeros(1, search.ROW)
    one["words"][0, :7] = np.arange(7) + 0x3C00
    assert not search.nearness_of(one, [one.tobytes()]).related.any()


def test_a_file_is_looked_at_once_and_goes_with_its_blob(hub: Hub) -> None:
    data = safetensors(base(1))
    sha256 = hub.put("ada/base", data)
    first = hub.sketches.known(sha256)
    assert first is not None
    assert hub.sketches.put(sha256, None) == first
    assert hub.sketches.put(Sha256("0" * 64), None) is None
    hub.sketches.forget(sha256)
    assert hub.sketches.known(sha256) is None
    assert hub.sketches.of(sha256) is None


def test_a_sweep_of_the_blob_is_not_held_up_by_its_sketch(hub: Hub) -> None:
    root = base(1)
    parent = hub.put("ada/base", safetensors(root))
    child = hub.put("eve/child", safetensors(tuned(root, 5)))
    hub.parents.record(child, hub.found(child))
    with hub.db.write_soft() as connection:
        assert connection.execute(select(func.count()).select_from(kin)).scalar() == 1
        connection.execute(delete(hold))
        connection.execute(delete(blob).where(blob.c.sha256 == parent))
        left = [
            connection.execute(select(func.count()).select_from(table)).scalar() for table in (sketch, sketch_data, kin)
        ]
    assert left == [1, 1, 0]


def test_a_sketch_that_can_not_be_read_costs_a_chance_and_no_more(hub: Hub) -> None:
    root = base(1)
    hub.put("ada/base", safetensors(root))
    child = hub.put("eve/child", safetensors(tuned(root, 5)))
    with hub.db.write_soft() as connection:
        connection.execute(update(sketch_data).where(sketch_data.c.sketch_id == 1).values(data=b"\x01rubbish"))
    assert hub.found(child) == []
    with hub.db.write_soft() as connection:
        connection.execute(update(sketch_data).values(data=b"\x01rubbish"))
    assert hub.found(child) == []
