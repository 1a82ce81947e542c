"""Automated series: found by name, base and time; measured against labels made by hand (series_labels.csv)."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from headwater.observatory import series
from headwater.observatory.ask import ask
from headwater.observatory.choices import Choices
from headwater.observatory.run import Reader
from headwater.observatory.world import World

LABELS = Path(__file__).with_name("series_labels.csv")
PRECISION_MIN = 0.95
RECALL_MIN = 0.80  # of series whose names differ in numbers and hashes, which is what is looked for
RECALL_OF_ALL_MIN = 0.65  # of everything that a person takes for made by machine


@pytest.fixture
def hub(world: World, take: Callable[..., Any], parquet: Callable[..., Path]) -> Callable[..., list[dict[str, Any]]]:
    """Series among models given as (id, created at, base)."""

    def found(rows: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
        columns: dict[str, list[Any]] = {
            "id": [row[0] for row in rows],
            "author": [row[0].partition("/")[0] for row in rows],
            "downloads": [1] * len(rows),
            "createdAt": [row[1] for row in rows],
            "tags": [[f"base_model:finetune:{row[2]}"] if row[2] else ["x"] for row in rows],
        }
        take(parquet("hub.parquet", **columns), kind="hub-stats", name="hub", date="2026-06-05")
        return ask(world, "automated-series").rows()

    return found


def at(hour: int, day: int = 1) -> str:
    return f"2026-05-{day:02d}T{hour:02d}:00:00"


def test_ids_equal_up_to_numbers_in_a_burst_are_one_series(hub: Callable[..., Any]) -> None:
    (one,) = hub([(f"lab/run-seed{n}", at(n), "x/base") for n in range(5)])
    assert (one["series"], one["members"], one["base"]) == ("lab/run-seed0", 5, "x/base")


def test_hashes_are_such_numbers(hub: Callable[..., Any]) -> None:
    names = ("lab/ex-39d09aff5238", "lab/ex-518922ffe0ca", "lab/ex-8d6015611683")
    (one,) = hub([(name, at(n), "") for n, name in enumerate(names)])
    assert one["members"] == 3


def test_sizes_are_not(hub: Callable[..., Any]) -> None:
    sizes = ("0.6b", "4b", "8b", "32b")
    assert hub([(f"lab/model-{size}-chat", at(n), "") for n, size in enumerate(sizes)]) == []


def test_other_bases_are_other_series(hub: Callable[..., Any]) -> None:
    assert hub([(f"lab/conversion-{n}", at(n), f"x/base{n}") for n in range(5)]) == []


def test_other_accounts_are_other_series(hub: Callable[..., Any]) -> None:
    assert hub([(f"lab{n}x/run-1", at(n), "x/base") for n in range(5)]) == []


def test_one_a_day_is_no_burst(hub: Callable[..., Any]) -> None:
    assert hub([(f"lab/phase-{n}", at(3, day=n), "x/base") for n in range(1, 8)]) == []


def test_a_pause_ends_a_series(hub: Callable[..., Any]) -> None:
    rows = [(f"lab/run-{n}", at(n), "x/b") for n in range(3)]
    rows += [(f"lab/run-{n + 10}", at(n, day=20), "x/b") for n in range(4)]
    assert sorted(one["members"] for one in hub(rows)) == [3, 4]


def test_seeds_that_take_turns_with_others_are_one_burst(hub: Callable[..., Any]) -> None:
    rows = [
        (f"lab/{name}-seed{n}", at(6 * n % 24, day=1 + 6 * n // 24), "x/b") for n in range(4) for name in ("u", "v")
    ]
    assert [one["members"] for one in hub(rows)] == [4, 4]


def test_counts_come_with_each_series_as_one(hub: Callable[..., Any], world: World) -> None:
    hub([(f"lab/run-{n}", at(n), "x/b") for n in range(5)] + [("other/model", at(1), "x/b")])
    (models, derivatives, accounts, downloads) = ask(world, "series-effect").rows()
    assert (models["every"], models["series_as_one"]) == (6, 2)
    assert (derivatives["every"], derivatives["series_as_one"]) == (6, 2)
    assert accounts["every"] == accounts["series_as_one"] == 2
    assert downloads["in_series"] == 5
    with_all = ask(world, "derivatives-by-base").rows()[0]
    without = ask(world, "derivatives-by-base", Choices(exclude=("series",))).rows()[0]
    assert (with_all["derivatives"], without["derivatives"]) == (6, 2)


def test_the_detector_is_as_good_as_it_says_on_labels_made_by_hand(shared_world: tuple[World, Any]) -> None:
    world, _ = shared_world
    groups = list(csv.DictReader(LABELS.read_text("utf-8").splitlines()))
    assert len(groups) >= 30
    found = judged(world, groups)
    right = found["numbers", True] + found["words", True]
    assert right / (right + found["none", True]) >= PRECISION_MIN
    assert found["numbers", True] / (found["numbers", True] + found["numbers", False]) >= RECALL_MIN
    missed = found["numbers", False] + found["words", False]
    assert right / (right + missed) >= RECALL_OF_ALL_MIN


def judged(world: World, groups: Sequence[dict[str, str]]) -> dict[tuple[str, bool], int]:
    """(kind of the label, taken for a series) -> groups. A group is taken if half of its models are in some series."""
    one = world.snapshot("radar")
    with Reader(world, (one,)) as reader:
        for step in series.steps("model", "select child as id, base from edge"):
            reader.define(step.name, step.sql)
        within = set(reader.table("select id from series")["id"].to_pylist())
        ids = reader.table("select id, author from model").to_pylist()
    counts = {(kind, taken): 0 for kind in ("numbers", "words", "none") for taken in (True, False)}
    for group in groups:
        pattern = re.compile(group["pattern"])
        members = [
            row["id"] for row in ids if row["author"] == group["author"] and pattern.search(row["id"].partition("/")[2])
        ]
        assert len(members) >= 3, f"the label {group} fits {len(members)} models"
        taken = sum(member in within for member in members)
        counts[group["kind"], 2 * taken >= len(members)] += 1
    return counts
