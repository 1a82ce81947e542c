"""The heat of change: which layers a fine-tune touched, and by how much."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Hub
from model_building import base, gguf, safetensors, tuned

from headwater.ground.names import Sha256
from headwater.lineage.heat import heat

ROOT = base(1)


def test_only_the_layer_that_was_trained_is_warm(hub: Hub) -> None:
    root = hub.put("ada/base", safetensors(ROOT))
    child = hub.put("eve/child", safetensors(tuned(ROOT, 5, 1e-3, only=lambda name: ".layers.1." in name)))
    rows = heat(hub.sketches, child, root)
    assert {row.layer for row in rows if row.changed_pct > 0} == {1}
    assert {row.kind for row in rows if row.layer == 1} == {
        "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down",
    }  # fmt: skip
    assert [row.layer for row in rows[:2]] == [None, None]
    assert rows[0].rel_step == 0


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_steps_are_told_as_a_share_of_the_base(hub: Hub, dtype: str) -> None:
    root = hub.put("ada/base", safetensors(ROOT, dtype))
    child = hub.put("eve/child", safetensors(tuned(ROOT, 5, 1e-3), dtype))
    rows = heat(hub.sketches, child, root)
    assert len(rows) == 23
    for row in rows:
        size = float(np.sqrt(np.square(ROOT[row.tensor]).mean()))
        assert row.rel_step == pytest.approx(1e-3 / size, rel=0.3)
        assert row.changed_pct > 80


def test_a_quantization_is_compared_by_its_numbers(hub: Hub) -> None:
    root = hub.put("ada/base", safetensors(ROOT))
    rows = heat(hub.sketches, hub.put("ada/gguf", gguf(ROOT, "Q8_0"), "m.gguf"), root)
    assert {row.tensor for row in rows} >= {"blk.0.attn_q.weight", "token_embd.weight"}
    assert all(row.rel_step is not None and row.rel_step < 0.02 for row in rows)


def test_bytes_have_no_step(hub: Hub) -> None:
    def packed(seed: int) -> bytes:
        raw = safetensors(
            {"a.qweight": np.random.default_rng(seed).standard_normal((64, 64)).astype(np.float32)}, "F32"
        )
        return raw.replace(b'"F32"', b'"I32"')

    rows = heat(hub.sketches, hub.put("ada/one", packed(1)), hub.put("ada/two", packed(2)))
    assert [(row.rel_step, row.changed_pct > 50) for row in rows] == [(None, True)]


def test_numbers_that_are_none_break_nothing(hub: Hub) -> None:
    wild = {name: np.full_like(array, np.nan) for name, array in ROOT.items()}
    wild["lm_head.weight"] = np.full_like(ROOT["lm_head.weight"], 3e38)
    one, two = hub.put("ada/wild", safetensors(wild, "F32")), hub.put("ada/base", safetensors(ROOT, "F32"))
    assert len(heat(hub.sketches, one, two)) == len(heat(hub.sketches, two, one)) == 23


def test_without_a_sketch_there_is_nothing_to_show(hub: Hub) -> None:
    root = hub.put("ada/base", safetensors(ROOT))
    assert heat(hub.sketches, root, Sha256("0" * 64)) == heat(hub.sketches, Sha256("0" * 64), root) == []
