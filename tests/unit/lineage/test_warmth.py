"""The grid of change: files of a revision joined, kinds that are many made one, and bases that a viewer may read."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Hub
from model_building import base, safetensors, tuned

from headwater.accounts.actor import NOBODY, Actor
from headwater.ground.names import RepoId
from headwater.lineage import warmth
from headwater.lineage.warmth import KINDS_MAX, LAYERS_MAX, Cell

ROOT = base(1)


def halves(model: dict[str, np.ndarray]) -> list[bytes]:
    names = list(model)
    return [safetensors({name: model[name] for name in part}) for part in (names[:12], names[12:])]


def test_shards_are_joined_into_one_grid(hub: Hub) -> None:
    child = tuned(ROOT, 5, 1e-3, only=lambda name: ".layers.1." in name)
    parents = [hub.put("ada/base", data, f"{n}.safetensors") for n, data in enumerate(halves(ROOT))]
    files = [hub.put("eve/child", data, f"{n}.safetensors") for n, data in enumerate(halves(child))]
    made = warmth.grid(hub.db, hub.clock, list(zip(files, parents, strict=True)))
    assert made.kinds == ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    assert [layer for layer, _ in made.layers] == [0, 1, 2]
    assert [min(cell.changed_pct for cell in cells if cell) > 50 for _, cells in made.layers] == [False, True, False]
    assert [kind for kind, _ in made.outside] == ["output", "token_embd"]
    assert made.tensors == len(made.cells) == 23


def test_without_sketches_the_grid_is_empty(hub: Hub) -> None:
    file = hub.put("eve/child", safetensors(ROOT))
    made = warmth.grid(hub.db, hub.clock, [(file, "0" * 64)])  # type: ignore[list-item]
    assert (made.tensors, made.layers, made.outside) == (0, (), ())


def test_experts_are_one_kind_and_biases_another() -> None:
    assert warmth._kind("block_sparse_moe.experts.17.w1") == "block_sparse_moe.experts.*.w1"
    assert warmth._kind("attn_q.bias") == warmth._kind("ffn_up.bias") == "bias"
    assert len(warmth._kind("x" * 1000)) == warmth.KIND_CHARS_MAX


def test_cells_are_joined_by_the_number_of_their_tensors() -> None:
    joined = warmth._joined([Cell(100.0, 0.3, 1), Cell(0.0, 0.1, 3), Cell(20.0, None, 1)])
    assert joined.changed_pct == pytest.approx(24.0)
    assert joined.rel_step == pytest.approx(((0.09 + 3 * 0.01) / 4) ** 0.5)
    assert joined.tensors == 5


def test_a_strange_model_makes_no_endless_grid() -> None:
    cells = {(layer, f"kind{n}"): Cell(1.0, None, 1) for layer in range(300) for n in range(40)}
    made = warmth._grid({**cells, **{(None, f"out{n}"): Cell(1.0, None, 1) for n in range(90)}})
    assert (len(made.kinds), made.kinds[-1]) == (KINDS_MAX, "other")
    assert (len(made.layers), len(made.outside)) == (LAYERS_MAX, KINDS_MAX)
    assert made.layers[0][1][-1] == Cell(1.0, None, 40 - KINDS_MAX + 1)


def test_only_bases_that_the_viewer_may_read_are_offered(hub: Hub) -> None:
    root = hub.put("ada/base", safetensors(ROOT))
    child = hub.put("eve/child", safetensors(tuned(ROOT, 5)))
    hub.parents.record(child, hub.found(child))
    shown = [warmth.Base(root, RepoId("model", "ada", "base"))]
    with hub.db.read() as connection:
        assert warmth.bases(connection, NOBODY, child) == shown
    for how in ({"private": True}, {"private": False, "gated": "auto"}, {"gated": None, "disabled": True}):
        hub.change("ada/base", **how)
        with hub.db.read() as connection:
            assert warmth.bases(connection, NOBODY, child) == []
            assert warmth.bases(connection, Actor(user_id=77), child) == []
            assert warmth.bases(connection, Actor(user_id=1, is_admin=True), child) == shown
