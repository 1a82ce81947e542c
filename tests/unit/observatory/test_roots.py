"""The walk to the root of a declared chain: ends on whatever people declare, and every derivative has one root."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from headwater.observatory.ask import ask
from headwater.observatory.choices import Choices, Parent
from headwater.observatory.roots import walk
from headwater.observatory.run import Reader
from headwater.observatory.world import World

Edge = tuple[str, str] | tuple[str, str, int]


def walked(
    world: World, edges: Iterable[Edge], steps_max: int = 8, parent: Parent = "alphabetical"
) -> dict[str, tuple[str, int, bool]]:
    """id -> (root, depth, ended)"""
    values = ", ".join(f"('{edge[0]}', '{edge[1]}', {edge[2] if len(edge) > 2 else 1})" for edge in edges)
    with Reader(world, ()) as reader:
        reader.define("given", f"select * from (values {values}) e(id, base, position)")
        for step in walk("given", parent, steps_max):
            reader.define(step.name, step.sql)
        rows = reader.table("select * from root").to_pylist()
    assert len({row["id"] for row in rows}) == len(rows), "one root each"
    return {row["id"]: (row["root"], row["depth"], row["ended"]) for row in rows}


def test_a_chain_ends_at_what_declares_nothing(world: World) -> None:
    found = walked(world, [("c", "b"), ("b", "a")])
    assert found == {"c": ("a", 2, True), "b": ("a", 1, True)}


def test_a_model_that_names_itself_is_its_own_root(world: World) -> None:
    assert walked(world, [("a", "a"), ("b", "a")]) == {"a": ("a", 1, True), "b": ("a", 1, True)}


def test_two_that_name_each_other_end(world: World) -> None:
    found = walked(world, [("a", "b"), ("b", "a")])
    assert {name: root for name, (root, _, _) in found.items()} == {"a": "b", "b": "a"}


def test_a_circle_and_what_hangs_on_it_end_within_the_steps(world: World) -> None:
    found = walked(world, [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a"), ("e", "d")])
    assert set(found) == set("abcde")
    assert all(depth <= 8 for _, depth, _ in found.values())
    assert found["d"][2] is False
    assert found["d"][1] == 8


def test_a_chain_longer_than_the_steps_is_cut_and_says_so(world: World) -> None:
    chain = [(f"m{n}", f"m{n - 1}") for n in range(1, 13)]
    found = walked(world, chain, steps_max=5)
    assert found["m12"] == ("m7", 5, False)
    assert found["m3"] == ("m0", 3, True)
    assert walked(world, chain, steps_max=20)["m12"] == ("m0", 12, True)


def test_of_several_bases_one_is_followed(world: World) -> None:
    merge: list[Edge] = [("m", "z", 1), ("m", "a", 2)]
    assert walked(world, merge)["m"][0] == "a"
    assert walked(world, merge, parent="first")["m"][0] == "z"


@pytest.mark.parametrize("parent", ["alphabetical", "first"])
def test_the_same_base_twice_is_one_parent(world: World, parent: Parent) -> None:
    assert walked(world, [("m", "a", 1), ("m", "a", 2)], parent=parent) == {"m": ("a", 1, True)}


def test_a_derivative_counts_for_the_owner_of_its_root(
    world: World, take: Callable[..., Any], parquet: Callable[..., Path]
) -> None:
    columns: dict[str, list[Any]] = {
        "id": ["meta-llama/base", "nobody-x/tuned", "nobody-y/quant"],
        "author": ["meta-llama", "nobody-x", "nobody-y"],
        "downloads": [10, 30, 60],
        "createdAt": ["2026-01-01T00:00:00"] * 3,
        "tags": [[], ["base_model:finetune:meta-llama/base"], ["base_model:quantized:nobody-x/tuned"]],
    }
    take(parquet("hub.parquet", **columns), kind="hub-stats", name="hub", date="2026-06-05")
    up = {
        row["country"]: row["pct_downloads"]
        for row in ask(world, "downloads-by-country", Choices(attribution="uploader")).rows()
    }
    root = {
        row["country"]: row["pct_downloads"]
        for row in ask(world, "downloads-by-country", Choices(attribution="root")).rows()
    }
    assert up == {"??": 90.0, "US": 10.0}
    assert root == {"US": 100.0}
    one_step = ask(world, "downloads-by-country", Choices(attribution="root", steps=1)).rows()
    assert {row["country"]: row["pct_downloads"] for row in one_step} == {"US": 40.0, "??": 60.0}
