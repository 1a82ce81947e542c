"""Alignment: names of every tool, and what weights say where names do not."""

from __future__ import annotations

import numpy as np
import pytest
from model_building import base, gguf, reader, renamed, safetensors, tuned

from headwater.lineage import align as aligning
from headwater.lineage.align import Probed, align, probed
from headwater.lineage.files import sketch_of
from headwater.lineage.names import NAME_CHARS_MAX, common_name, layer_and_kind


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        # llama, mistral, qwen2, qwen3
        ("model.layers.11.self_attn.q_proj.weight", "blk.11.attn_q.weight"),
        ("model.layers.0.self_attn.o_proj.weight", "blk.0.attn_output.weight"),
        ("model.layers.0.self_attn.k_proj.bias", "blk.0.attn_k.bias"),
        ("model.layers.0.self_attn.q_norm.weight", "blk.0.attn_q_norm.weight"),
        ("model.layers.0.mlp.gate_proj.weight", "blk.0.ffn_gate.weight"),
        ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"),
        ("model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight"),
        ("model.layers.0.post_attention_layernorm.weight", "blk.0.ffn_norm.weight"),
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("lm_head.weight", "output.weight"),
        ("model.norm.weight", "output_norm.weight"),
        # gemma, phi
        ("model.layers.3.post_feedforward_layernorm.weight", "blk.3.post_ffw_norm.weight"),
        ("model.layers.3.self_attn.qkv_proj.weight", "blk.3.attn_qkv.weight"),
        ("model.layers.3.mlp.gate_up_proj.weight", "blk.3.ffn_up.weight"),
        ("model.layers.3.mlp.fc1.weight", "blk.3.ffn_up.weight"),
        # gpt-2, gpt-neox
        ("transformer.h.5.attn.c_attn.weight", "blk.5.attn_qkv.weight"),
        ("transformer.wte.weight", "token_embd.weight"),
        ("gpt_neox.layers.2.mlp.dense_h_to_4h.weight", "blk.2.ffn_up.weight"),
        # bert
        ("bert.encoder.layer.7.attention.self.query.weight", "blk.7.attn_q.weight"),
        ("encoder.layer.7.attention.output.dense.weight", "blk.7.attn_output.weight"),
        ("encoder.layer.7.output.LayerNorm.weight", "blk.7.layer_output_norm.weight"),
        ("embeddings.word_embeddings.weight", "token_embd.weight"),
        # wrappers
        ("base_model.model.model.layers.1.mlp.up_proj.base_layer.weight", "blk.1.ffn_up.weight"),
        ("_orig_mod.module.model.layers.1.mlp.up_proj.weight", "blk.1.ffn_up.weight"),
    ],
)
def test_every_tools_name_has_a_common_form(theirs: str, ours: str) -> None:
    assert common_name(theirs) == ours
    assert common_name(ours) == ours


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "model.", "blk..attn_q", "layers.99999999.x", "a\nb.layers.1.c", "v.blk.0.attn_q.weight",
        "vision_tower.encoder.layers.0.self_attn.q_proj.weight", "x" * 5000, "layers." * 200 + "1.a", "\udc80",
    ],
)  # fmt: skip
def test_any_text_is_a_name(name: str) -> None:
    common_name(name)
    layer_and_kind(name)
    assert "blk.0.attn_q" not in common_name(name)[:12]


def test_a_name_too_long_to_be_one_is_left_alone() -> None:
    name = "model.layers.1." + "x" * NAME_CHARS_MAX
    assert common_name(name) == name


def test_layer_and_kind_are_told_for_pages() -> None:
    assert layer_and_kind("model.layers.11.self_attn.q_proj.weight") == (11, "attn_q")
    assert layer_and_kind("blk.11.attn_q.bias") == (11, "attn_q.bias")
    assert layer_and_kind("model.embed_tokens.weight") == (None, "token_embd")


def looked_at(data: bytes, name: str = "m.safetensors") -> Probed:
    made = sketch_of(reader(data), name, len(data))
    assert made is not None
    return probed(made)


def pairs(target: Probed, parent: Probed) -> dict[str, tuple[str, str]]:
    return {
        target.sketch.tensors[pair.target].name: (parent.sketch.tensors[pair.parent].name, pair.found)
        for pair in align(target, parent)
    }


def test_hugging_face_and_gguf_names_meet_in_both_directions() -> None:
    root = base(1)
    ours, theirs = looked_at(safetensors(root)), looked_at(gguf(root), "m.gguf")
    assert len(pairs(ours, theirs)) == len(pairs(theirs, ours)) == len(ours.sketch.tensors) == 23
    assert pairs(ours, theirs)["model.layers.2.self_attn.k_proj.weight"] == ("blk.2.attn_k.weight", "renamed")


def test_queries_are_near_although_llama_cpp_reordered_their_rows() -> None:
    root = base(1)
    ours, theirs = looked_at(safetensors(root)), looked_at(gguf(root, "BF16"), "m.gguf")
    index = {tensor.name: i for i, tensor in enumerate(theirs.sketch.tensors)}
    for i, tensor in enumerate(ours.sketch.tensors):
        other = pairs(ours, theirs)[tensor.name][0]
        assert (ours.probes[i] == theirs.probes[index[other]]).all(), tensor.name


def test_a_name_that_lies_is_not_believed_where_the_weights_are_elsewhere() -> None:
    root = base(1)
    swapped = renamed(root, {
        "model.layers.0.mlp.up_proj.weight": "model.layers.1.mlp.up_proj.weight",
        "model.layers.1.mlp.up_proj.weight": "model.layers.0.mlp.up_proj.weight",
    })  # fmt: skip
    found = pairs(looked_at(safetensors(tuned(swapped, 3))), looked_at(safetensors(root)))
    assert found["model.layers.0.mlp.up_proj.weight"] == ("model.layers.1.mlp.up_proj.weight", "weights")
    assert found["model.layers.2.mlp.up_proj.weight"] == ("model.layers.2.mlp.up_proj.weight", "name")


def test_other_columns_are_no_pair() -> None:
    found = pairs(looked_at(safetensors(base(1))), looked_at(safetensors(base(1, width=160))))
    assert "model.layers.0.self_attn.q_proj.weight" not in found


def test_nothing_aligns_with_nothing() -> None:
    some = looked_at(safetensors(base(1)))
    none = Probed(type(some.sketch)(()), some.probes[:0])
    assert align(some, none) == align(none, some) == align(none, none) == []


def test_comparing_by_weights_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aligning, "COMPARISONS_MAX", 10)
    root = {f"a{n}": array for n, array in enumerate(base(1).values())}
    other = {f"b{n}": array for n, array in enumerate(tuned(root, 3).values())}
    assert 0 < len(pairs(looked_at(safetensors(other)), looked_at(safetensors(root)))) < 10


def test_copies_of_one_tensor_may_all_have_the_same_parent() -> None:
    root = base(1)
    twice = {**root, "extra.weight": root["model.layers.0.mlp.up_proj.weight"]}
    del twice["model.layers.0.mlp.up_proj.weight"]
    found = pairs(looked_at(safetensors(twice)), looked_at(safetensors(root)))
    assert found["extra.weight"] == ("model.layers.0.mlp.up_proj.weight", "weights")
    assert np.ptp([len(found), len(twice) - 3]) == 0  # norms are too small to be looked at
