"""Finding parents: the true one among many, or none; and what it takes to be one."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from conftest import Hub
from model_building import base, gguf, pruned, renamed, safetensors, tuned

from headwater.lineage.parents import GAIN_MIN


@functools.cache
def stranger(number: int) -> bytes:
    return safetensors(base(1000 + number))


def a_crowd(hub: Hub, count: int = 6) -> None:
    """Unrelated models of the same shapes."""
    for n in range(count):
        hub.put(f"other/model-{n}", stranger(n))


def test_the_true_parent_is_found_among_siblings_grandparents_and_strangers(hub: Hub) -> None:
    a_crowd(hub, 14)
    root = base(1)
    root_file = hub.put("ada/base", safetensors(root))
    children = [tuned(root, 10 + n) for n in range(8)]
    files = [hub.put(f"ada{n}/child", safetensors(child)) for n, child in enumerate(children)]
    for n, child in enumerate(children[:7]):
        hub.put(f"bob{n}/grandchild", safetensors(tuned(child, 50 + n)))
    child = hub.put("eve/child", safetensors(tuned(root, 99)))
    grandchild = hub.put("eve/grandchild", safetensors(tuned(children[3], 98)))
    assert hub.found(child)[0].sha256 == root_file
    assert hub.found(grandchild)[0].sha256 == files[3]
    assert hub.found(grandchild)[0].why == "similar"
    assert len(hub.found(grandchild)[0].matches) == sum(array.ndim > 1 for array in root.values())


def test_a_model_that_is_nobodys_child_has_no_parent(hub: Hub) -> None:
    a_crowd(hub)
    assert hub.found(hub.put("eve/new", safetensors(base(7)))) == []


def test_a_model_without_any_company_has_no_parent(hub: Hub) -> None:
    assert hub.found(hub.put("eve/new", safetensors(base(7)))) == []


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_a_pruned_model_is_known_by_what_was_left(hub: Hub, share: float) -> None:
    a_crowd(hub)
    root = base(1)
    hub.put("bob/sibling", safetensors(tuned(root, 5)))
    file = hub.put("ada/base", safetensors(root))
    found = hub.found(hub.put("eve/pruned", safetensors(pruned(root, share))))
    assert found[0].sha256 == file
    assert found[0].score > 0.55 * (1 - share)


def test_the_base_of_a_pruned_model_finds_it(hub: Hub) -> None:
    root = base(1)
    file = hub.put("eve/pruned", safetensors(pruned(root)))
    assert [one.sha256 for one in hub.found(hub.put("ada/base", safetensors(root)))] == [file]


def test_renamed_tensors_are_found_by_shape_and_weights(hub: Hub) -> None:
    a_crowd(hub)
    root = base(1)
    file = hub.put("ada/base", safetensors(root))
    strange = {name: f"w{n:03d}" for n, name in enumerate(root)}
    found = hub.found(hub.put("eve/renamed", safetensors(renamed(tuned(root, 5), strange))))
    assert found[0].sha256 == file
    large = {strange[name]: name for name, array in root.items() if array.ndim > 1}
    assert {target: parent for target, parent in found[0].pairs.items() if target in large} == large


def test_a_wrapped_model_is_known_by_its_common_names(hub: Hub) -> None:
    root = base(1)
    file = hub.put("ada/base", safetensors(root))
    found = hub.found(hub.put("eve/wrapped", safetensors(renamed(tuned(root, 5), lambda n: f"base_model.model.{n}"))))
    assert found[0].sha256 == file
    assert found[0].pairs["base_model.model.model.layers.0.self_attn.q_proj.weight"] == (
        "model.layers.0.self_attn.q_proj.weight"
    )


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "BF16"])
def test_a_gguf_file_is_known_by_the_model_that_it_was_made_from(hub: Hub, kind: str) -> None:
    a_crowd(hub)
    root = base(1)
    hub.put("bob/sibling", safetensors(tuned(root, 5)))
    file = hub.put("ada/base", safetensors(root))
    found = hub.found(hub.put("eve/gguf", gguf(root, kind), "model.gguf"))
    assert found[0].sha256 == file
    assert found[0].score > 0.5
    pairs = found[0].pairs
    assert pairs["blk.1.attn_q.weight"] == "model.layers.1.self_attn.q_proj.weight"
    assert pairs["token_embd.weight"] == "model.embed_tokens.weight"
    heads = {match.target: (match.heads, match.parent_heads) for match in found[0].matches}
    assert heads["blk.1.attn_q.weight"] == (4, 0)
    assert heads["blk.1.attn_k.weight"] == (2, 0)
    assert heads["blk.1.attn_v.weight"] == (0, 0)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_a_quantized_fine_tune_finds_the_same_quantization_of_the_base(hub: Hub, kind: str) -> None:
    root = base(1)
    file = hub.put("ada/gguf", gguf(root, kind), "model.gguf")
    found = hub.found(hub.put("eve/gguf", gguf(tuned(root, 5, 3e-5), kind), "model.gguf"))
    assert [one.sha256 for one in found] == [file]
    assert all(match.heads == match.parent_heads for match in found[0].matches)


@pytest.mark.parametrize(("dtype", "least"), [("F32", 0.15), ("F16", 0.2), ("F64", 0.05)])
def test_other_float_types_have_their_parents_too(hub: Hub, dtype: str, least: float) -> None:
    a_crowd(hub)
    root = base(1)
    file = hub.put("ada/base", safetensors(root, dtype))
    found = hub.found(hub.put("eve/child", safetensors(tuned(root, 5), dtype)))
    assert found[0].sha256 == file
    assert found[0].score > least


def test_a_cast_finds_what_it_was_cast_from(hub: Hub) -> None:
    root = base(1)
    file = hub.put("ada/base", safetensors(root, "F32"))
    found = hub.found(hub.put("eve/half", safetensors(root, "BF16")))
    assert [one.sha256 for one in found] == [file]
    assert found[0].score > 0.6


def test_int8_weights_find_the_same_of_the_base(hub: Hub) -> None:
    root = base(1)
    file = hub.put("ada/base", safetensors(root, "I8"))
    assert [one.sha256 for one in hub.found(hub.put("eve/int8", safetensors(tuned(root, 5), "I8")))] == [file]


def test_an_extended_vocabulary_has_the_shorter_one_as_its_parent(hub: Hub) -> None:
    root = base(1)
    file = hub.put("ada/base", safetensors(root))
    longer = tuned(root, 5)
    rng = np.random.default_rng(3)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        more = rng.standard_normal((24, root[name].shape[1])).astype(np.float32) * 0.02
        longer[name] = np.concatenate((longer[name], more))
    found = hub.found(hub.put("eve/longer", safetensors(longer)))
    assert found[0].sha256 == file
    assert "model.embed_tokens.weight" in found[0].pairs
    assert next(m for m in found[0].matches if m.target == "lm_head.weight").saved_bytes > 0


def test_an_untied_output_matrix_finds_the_embedding_that_it_came_from(hub: Hub) -> None:
    root = base(1)
    tied = {name: array for name, array in root.items() if name != "lm_head.weight"}
    hub.put("ada/base", safetensors(tied))
    untied = {**tuned(tied, 5), "lm_head.weight": tuned(tied, 6)["model.embed_tokens.weight"]}
    found = hub.found(hub.put("eve/untied", safetensors(untied)))
    assert found[0].pairs["lm_head.weight"] == "model.embed_tokens.weight"


def test_layers_that_were_moved_are_found_where_they_came_from(hub: Hub) -> None:
    root = base(1, layers=4)
    hub.put("ada/base", safetensors(root))
    moved = {name: array for name, array in tuned(root, 5).items() if ".layers.1." not in name}
    moved = renamed(moved, lambda n: n.replace(".layers.2.", ".layers.1.").replace(".layers.3.", ".layers.2."))
    found = hub.found(hub.put("eve/merge", safetensors(moved)))
    assert found[0].pairs["model.layers.1.mlp.up_proj.weight"] == "model.layers.2.mlp.up_proj.weight"
    assert found[0].pairs["model.layers.0.mlp.up_proj.weight"] == "model.layers.0.mlp.up_proj.weight"


def test_a_file_made_of_two_shards_has_both_as_parents(hub: Hub) -> None:
    root = base(1, layers=4)
    first = {name: array for n, (name, array) in enumerate(root.items()) if n < len(root) // 2}
    second = {name: array for name, array in root.items() if name not in first}
    shards = {
        hub.put("ada/base", safetensors(first), "model-00001-of-00002.safetensors"),
        hub.put("ada/base", safetensors(second), "model-00002-of-00002.safetensors"),
    }
    hub.put("bob/sibling", safetensors({**tuned(first, 4, 4e-4)}))
    child = hub.put("eve/child", safetensors(tuned(root, 5)))
    assert {one.sha256 for one in hub.found(child)[:2]} == shards


def test_a_soup_has_both_of_its_parents_in_front(hub: Hub) -> None:
    root = base(1)
    one, two = tuned(root, 2, 4e-4), tuned(root, 3, 4e-4)
    hub.put("ada/base", safetensors(root))
    parents = {hub.put("ada/one", safetensors(one)), hub.put("ada/two", safetensors(two))}
    soup = {name: (one[name] + two[name]) / 2 for name in root}
    assert parents <= {found.sha256 for found in hub.found(hub.put("eve/soup", safetensors(soup)))}


def test_frozen_parts_are_enough_to_be_kin(hub: Hub) -> None:
    root, new = base(1), base(2)
    file = hub.put("ada/base", safetensors(root))
    grown = {**new, "model.embed_tokens.weight": root["model.embed_tokens.weight"]}
    found = hub.found(hub.put("eve/frozen", safetensors(grown)))
    assert [one.sha256 for one in found] == [file]
    assert "model.embed_tokens.weight" in found[0].pairs
    assert "model.layers.0.mlp.up_proj.weight" not in found[0].pairs


def test_a_tensor_of_zeros_makes_nobody_kin(hub: Hub) -> None:
    hub.put("ada/base", safetensors({name: np.zeros_like(array) for name, array in base(1).items()}))
    zeros = {**base(2), "model.layers.0.mlp.up_proj.weight": np.zeros((192, 128), np.float32)}
    assert hub.found(hub.put("eve/zeros", safetensors(zeros))) == []


# --- hints ---


def test_a_declared_base_is_told_apart_from_what_is_only_similar(hub: Hub) -> None:
    root = base(1)
    file = hub.put("ada/base", safetensors(root))
    child = hub.put("eve/child", safetensors(tuned(root, 5)), base_model="Ada/Base")
    assert [(one.sha256, one.why) for one in hub.found(child)] == [(file, "declared")]


def test_a_declared_base_that_is_none_is_not_believed(hub: Hub) -> None:
    hub.put("ada/base", safetensors(base(1)))
    child = hub.put("eve/child", safetensors(base(2)), base_model=["ada/base", "no such/thing at all", "ada/gone"])
    assert hub.found(child) == []


def test_an_earlier_revision_in_the_same_repo_is_a_parent(hub: Hub) -> None:
    root = base(1)
    file = hub.put("ada/base", safetensors(root))
    later = hub.put("ada/base", safetensors(tuned(root, 5)), "other.safetensors")
    assert [(one.sha256, one.why, one.place.path) for one in hub.found(later)] == [(file, "repo", "model.safetensors")]


def test_what_came_later_is_no_parent_but_a_relative(hub: Hub) -> None:
    root = base(1)
    file = hub.put("ada/base", safetensors(root))
    later = hub.put("eve/child", safetensors(tuned(root, 5)))
    assert hub.found(file) == []
    assert [one.sha256 for one in hub.parents.relatives(file)] == [later]


def test_a_base_does_not_stand_on_a_child_that_declares_it(hub: Hub) -> None:
    root = base(1)
    child = hub.put("eve/child", safetensors(tuned(root, 5)), base_model="ada/base")
    file = hub.put("ada/base", safetensors(root))
    assert hub.found(file) == []
    assert [one.sha256 for one in hub.parents.later_children(file)] == [child]


def test_two_that_declare_each_other_may_still_stand_on_each_other(hub: Hub) -> None:
    root = base(1)
    one = hub.put("ada/base", safetensors(root), base_model="eve/child")
    other = hub.put("eve/child", safetensors(tuned(root, 5)), base_model="ada/base")
    assert [found.sha256 for found in hub.found(other)] == [one]


# --- what comes late ---


def test_a_true_base_that_comes_late_is_better_for_its_children_only(hub: Hub) -> None:
    root = base(1)
    children = [hub.put(f"eve/child-{n}", safetensors(tuned(root, 5 + n, 8e-4))) for n in range(3)]
    hub.put("bob/stranger", safetensors(base(2)))
    for child in children:
        hub.parents.record(child, hub.found(child))
    file = hub.put("ada/base", safetensors(root))
    later = hub.parents.later_children(file)
    assert later[0].sha256 == children[0]  # it had no parent at all
    assert later[0].before == 0
    assert {one.sha256 for one in later} <= set(children)
    assert all(one.score >= one.before + GAIN_MIN for one in later)


def test_a_child_with_as_good_a_parent_is_left_alone(hub: Hub) -> None:
    root = base(1)
    hub.put("ada/base", safetensors(root))
    child = hub.put("eve/child", safetensors(tuned(root, 5)))
    hub.parents.record(child, hub.found(child))
    sibling = hub.put("bob/sibling", safetensors(tuned(root, 6)))
    assert child not in [one.sha256 for one in hub.parents.later_children(sibling)]


def test_what_was_never_looked_at_has_no_relatives(hub: Hub) -> None:
    nobody = "0" * 64
    assert hub.parents.candidates(nobody) == hub.parents.relatives(nobody) == hub.parents.later_children(nobody) == []
    hub.parents.record(nobody, [])
