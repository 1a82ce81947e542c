"""All of the shared data, imported by the one command; skipped where it is absent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater.observatory.imports.door import Report, import_source
from headwater.observatory.imports.job import Options, Silent
from headwater.observatory.run import run
from headwater.observatory.world import World

Shared = tuple[World, dict[str, Report]]
Take = Callable[..., Report]

# name -> (kind, date, table, rows of it, rows dropped)
EXPECTED = {
    "radar": ("radar", "2026-08-22T20:00:00", "model", 15_904, 0),
    "radar-history": ("history", "2026-08-22T20:00:29", "count", 43_260, 0),
    "hub-2022-02": ("hub-2022", "2022-02-21", "model", 29_432, 0),
    "hub-2022-07": ("hub-2022", "2022-07-02", "model", 55_524, 0),
    "hub-stats": ("hub-stats", "2026-06-05", "model", 4_167, 0),
    "llmfit": ("llmfit", "2026-10-15", "model", 16_849, 0),
    "llmfit-history": ("history", "2026-10-15", "count", 12_627, 0),
    "head": ("top-lists", "2026-08-22", "model", 529, 0),
    "top30": ("top-lists", "2026-08-22", "rank", 6_718, 0),
    "trending": ("top-lists", "2026-05-04", "rank", 5_200, 0),
    "transformersjs": ("history", "2026-05-07", "count", 111_873, 0),
    "kblab": ("history", "2026-08-19", "count", 2_710, 0),
    "textgen-2025": ("edges", "2025-06-18", "edge", 30_383, 0),
    "providers": ("providers", "2026-11-21", "listing", 14_922, 0),
    "support": ("support", "2026-08-21", "support", 457, 0),
    "releases": ("releases", "2026-07-11", "release", 7_656, 0),
    "growth-models": ("growth-models", "2026-04-30", "growth", 3 * 337, 0),
    "growth-datasets": ("growth-datasets", "2026-05-14", "growth", 8 * 51, 0),
    "top100-2025": ("published", "2025-12-16", "published", 100, 0),
    "new100-2025": ("published", "2025-07-02", "published", 100, 0),
    "epoch": ("notable", "2025-04-22", "notable", 2_225, 3),
    "openrouter": ("tokens", "2026-05-16", "tokens", 396, 0),
    "org-country": ("registry", "", "accounts", 447, 0),
    "licence-families": ("licences", "", "licences", 84, 0),
}


def ask(shared: Shared, name: str, sql: str) -> list[dict[str, Any]]:
    world = shared[0]
    rows: list[dict[str, Any]] = run(world, sql, (), [world.snapshot(name)]).to_pylist()
    return rows


def test_every_file_of_the_folder_is_imported(shared_world: Shared) -> None:
    assert {report.name for report in shared_world[1].values() if not report.error} == set(EXPECTED)
    assert not [report.error for report in shared_world[1].values() if report.error]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_becomes_its_kind_date_and_rows(shared_world: Shared, name: str) -> None:
    report = shared_world[1][name]
    kind, date, table, rows, dropped = EXPECTED[name]
    assert (report.kind, report.date, report.rows[table], report.rows_dropped) == (kind, date, rows, dropped)


def test_licence_attribution_and_biases_are_kept(shared_world: Shared) -> None:
    radar = shared_world[0].snapshot("radar").manifest
    assert (radar.licence, radar.ship) == ("CC-BY-4.0", "yes")
    assert "HF//RADAR" in radar.attribution
    assert "crawler" in radar.biases
    assert shared_world[0].snapshot("head").manifest.ship == "facts-only"


def test_importing_the_folder_again_makes_nothing_new(shared_world: Shared, shared: Path) -> None:
    world = shared_world[0]
    before = {one.id for one in world.snapshots()}
    again = import_source(world, str(shared), Options(), Silent())
    assert all(report.already for report in again)
    assert {one.id for one in world.snapshots()} == before


def test_the_hub_stats_columns_arrive_typed(shared_world: Shared) -> None:
    (row,) = ask(shared_world, "hub-stats", "select * from model where id = 'NousResearch/Hermes-2-Pro-Mistral-7B'")
    assert row["parameters"] == 7_241_994_240
    assert (row["license"], row["languages"], row["library"]) == ("apache-2.0", ["en"], "transformers")
    assert row["datasets"] == ["teknium/OpenHermes-2.5"]
    assert (row["author"], row["key"]) == ("NousResearch", "name:NousResearch/Hermes-2-Pro-Mistral-7B")
    (edge,) = ask(shared_world, "hub-stats", "select * from edge where child = 'NousResearch/Hermes-2-Pro-Mistral-7B'")
    assert (edge["base"], edge["relation"], edge["position"]) == ("mistralai/Mistral-7B-v0.1", "finetune", 1)
    assert len(edge["base_key"]) == 24


def test_relations_are_as_many_as_the_source_declares(shared_world: Shared) -> None:
    sql = "select relation, count(distinct child) as n from edge group by 1 order by 2 desc limit 2"
    assert ask(shared_world, "hub-stats", sql) == [
        {"relation": "finetune", "n": 1401}, {"relation": "merge", "n": 1116},
    ]  # fmt: skip
    assert ask(shared_world, "radar", "select count(*) as n from edge") == [{"n": 8468}]
    assert ask(shared_world, "trending", "select count(*) as n from model") == [{"n": 1000}]


def test_a_list_has_every_day_and_the_models_of_the_last(shared_world: Shared) -> None:
    sql = "select count(distinct day) as days, count(*) filter (day = date '2026-08-22') as last from rank"
    assert ask(shared_world, "head", sql) == [{"days": 16, "last": 529}]


def test_change_only_histories_are_told_from_complete_ones(shared_world: Shared) -> None:
    for name, expected in (
        ("radar-history", True),
        ("llmfit-history", True),
        ("kblab", False),
        ("transformersjs", False),
    ):
        assert ask(shared_world, name, "select distinct change_only as c from count") == [{"c": expected}], name


def test_the_circles_of_the_merge_graph_are_flagged(shared_world: Shared) -> None:
    (found,) = ask(shared_world, "textgen-2025", "select count(*) filter (cyclic) as c, count(*) as n from edge")
    assert 0 <= found["c"] < found["n"] // 100


def test_a_day_of_a_list_can_be_chosen(shared: Path, take: Take, world: World) -> None:
    report = take(shared / "hub_top_daily_2026-08.parquet", date="2026-08-10")
    assert report.snapshot == "head@2026-08-10"
    days = run(world, "select max(day) as d, (select count(*) from model) as n from rank", (), world.snapshots())
    (row,) = days.to_pylist()
    assert row["d"].isoformat() == "2026-08-10"
    assert 450 < row["n"] < 600


def test_the_manifest_names_every_parquet_file_that_we_read(shared: Path) -> None:
    assert set(json.loads((shared / "MANIFEST.json").read_text())) >= {file.name for file in shared.glob("*.parquet")}
