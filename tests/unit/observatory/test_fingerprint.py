"""The fingerprint test: equal shapes with an equal count, or smaller by exactly the words that were cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater.observatory.ask import ask
from headwater.observatory.choices import Choices
from headwater.observatory.world import World

HIDDEN, WORDS, WHOLE = 4_096, 128_000, 8_000_000_000


@pytest.fixture
def shapes(take: Callable[..., Any], parquet: Callable[..., Path]) -> Callable[..., None]:
    """llmfit's table of models: (id, parameters, vocabulary, release, layers)."""

    def made(*rows: tuple[str, int, int, str, int]) -> None:
        columns: dict[str, list[Any]] = {
            "id": [row[0] for row in rows], "author": [row[0].partition("/")[0] for row in rows],
            "parameters": [row[1] for row in rows], "downloads_30d": [5] * len(rows),
            "likes": [1] * len(rows), "release_date": [row[3] for row in rows],
            "pipeline_tag": ["text-generation"] * len(rows), "architecture": ["llama"] * len(rows),
            "license": ["mit"] * len(rows), "context_length": [4_096] * len(rows), "is_moe": [False] * len(rows),
            "num_experts": [None] * (len(rows) - 1) + [0], "layers": [row[4] for row in rows],
            "hidden_size": [HIDDEN] * len(rows), "vocab_size": [row[2] for row in rows],
            "gguf_repos": [["x/y"]] * len(rows), "provider_label": ["x"] * len(rows),
            "discovered": [False] * len(rows),
        }  # fmt: skip
        take(parquet("fit.parquet", **columns), kind="llmfit", name="fit", date="2026-10-15")

    return made


def test_an_equal_count_under_another_name_is_found(world: World, shapes: Callable[..., None]) -> None:
    shapes(("meta-llama/Llama-9", WHOLE, WORDS, "2025-01-01", 32), ("new/Own-Brain", WHOLE, WORDS, "2025-05-01", 32))
    (found,) = ask(world, "fingerprint").rows()
    assert (found["id"], found["reference"], found["kind"]) == ("new/Own-Brain", "meta-llama/Llama-9", "equal count")


@pytest.mark.parametrize(
    ("tables", "kind"), [(1, "vocabulary cut, embedding"), (2, "vocabulary cut, embedding and head")]
)
def test_a_cut_of_the_vocabulary_is_explained_exactly(
    tables: int, kind: str, world: World, shapes: Callable[..., None]
) -> None:
    cut = 465
    shapes(
        ("meta-llama/Llama-9", WHOLE, WORDS, "2025-01-01", 32),
        ("new/Own-Brain", WHOLE - cut * HIDDEN * tables, WORDS - cut, "2025-05-01", 32),
        ("new/Nearly", WHOLE - cut * HIDDEN * tables - 1, WORDS - cut, "2025-05-01", 32),
    )
    (found,) = ask(world, "fingerprint").rows()
    assert (found["id"], found["kind"], found["vocab_cut"]) == ("new/Own-Brain", kind, cut)
    assert found["parameters_cut"] == cut * HIDDEN * tables


def test_other_shapes_and_the_same_owner_are_nothing(world: World, shapes: Callable[..., None]) -> None:
    shapes(
        ("meta-llama/Llama-9", WHOLE, WORDS, "2025-01-01", 32),
        ("meta-llama/Llama-9-Chat", WHOLE, WORDS, "2025-05-01", 32),
        ("new/Deeper", WHOLE, WORDS, "2025-05-01", 48),
    )
    assert ask(world, "fingerprint").rows() == []


def test_who_comes_first_is_the_reference(world: World, shapes: Callable[..., None]) -> None:
    shapes(("new/Own-Brain", WHOLE, WORDS, "2024-01-01", 32), ("meta-llama/Llama-9", WHOLE, WORDS, "2025-05-01", 32))
    assert ask(world, "fingerprint").rows() == []


def test_cogito_is_deepseek_v3_to_the_last_parameter(shared_world: tuple[World, Any]) -> None:
    rows = ask(shared_world[0], "fingerprint", Choices(id=("deepcogito/cogito-671b-v2.1",))).rows()
    (found,) = rows
    assert found["kind"] == "vocabulary cut, embedding and head"
    assert (found["vocab_cut"], found["parameters_cut"]) == (129_280 - 128_815, 6_666_240)
    assert found["parameters"] == 671_019_752_960
    assert found["family_of_reference"] == "DeepSeek"


def test_r1_under_a_licence_of_its_own_is_found(shared_world: tuple[World, Any]) -> None:
    rows = ask(shared_world[0], "fingerprint", Choices(by="equal")).rows()
    found = next(row for row in rows if row["id"] == "Kronumos/Kronumos-Aion")
    assert (found["parameters"], found["licence"]) == (684_489_845_504, "tokenectomy-dual-license")
