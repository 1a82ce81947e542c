"""Lists by day, histories, edges, providers and the small tables, from files made here."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from headwater.observatory.imports.door import Report
from headwater.observatory.imports.folder import day_in_name, day_of, name_of

Take = Callable[..., Report]
Parquet = Callable[..., Path]
Ask = Callable[..., list[dict[str, Any]]]

LITELLM = {
    "sample_spec": {"litellm_provider": "one of", "mode": "chat"},
    "deepseek/deepseek-r1": {
        "litellm_provider": "deepseek", "mode": "chat", "max_input_tokens": 65536, "input_cost_per_token": 5.5e-07,
        "output_cost_per_token": 2.19e-06, "supports_reasoning": True,
    },
    "evil": {"litellm_provider": "x<script>", "input_cost_per_token": "NaN", "max_tokens": -5},
    "not a model": "text",
}  # fmt: skip
MODELS_DEV = {
    "deepinfra": {
        "id": "deepinfra",
        "models": {
            "deepseek-ai/DeepSeek-R1-0528": {
                "family": "deepseek", "open_weights": False, "reasoning": True, "release_date": "2025-05-28",
                "limit": {"context": 163840}, "cost": {"input": 0.5, "output": 2.15},
            },
            "broken": [],
        },
    }
}  # fmt: skip


def test_a_list_has_its_days_in_rank_and_count_and_its_last_day_in_model(
    take: Take, parquet: Parquet, ask: Ask
) -> None:
    path = parquet(
        "list.parquet",
        date=["2026-05-01", "2026-05-01", "2026-05-02"],
        rank=[1, 2, 1],
        id=["a/x", "a/y", "a/y"],
        created_at=["2026-01-01"] * 3,
        downloads_30d=[10, 20, 30],
        likes=[1, 2, 3],
        base_models=[["x/b"], [], ["x/c", "x/d"]],
        base_relations=[["finetune"], [], ["merge", "merge"]],
    )
    report = take(path, name="list")
    assert (report.date, report.rows) == ("2026-05-02", {"model": 1, "edge": 2, "count": 3, "rank": 3})
    assert ask("select id, downloads_30d as d from model") == [{"id": "a/y", "d": 30}]
    assert ask("select base, relation from edge order by position") == [
        {"base": "x/c", "relation": "merge"}, {"base": "x/d", "relation": "merge"},
    ]  # fmt: skip
    assert ask("select list, rank, id from rank where day = date '2026-05-01' order by rank") == [
        {"list": "trending", "rank": 1, "id": "a/x"}, {"list": "trending", "rank": 2, "id": "a/y"},
    ]  # fmt: skip


def test_an_earlier_day_of_a_list_forgets_what_came_later(take: Take, parquet: Parquet, ask: Ask) -> None:
    days = ["2026-05-01", "2026-05-02", "someday"]
    path = parquet("list.parquet", date=days, rank=[1, 1, 1], id=["a/x", "a/y", "a/z"], created_at=["2026-01-01"] * 3)
    report = take(path, name="list", date="2026-05-01")
    assert ask("select id from rank") == [{"id": "a/x"}]
    assert ask("select id from model") == [{"id": "a/x"}]
    assert [(one.table, one.field, one.dropped) for one in report.problems] == [("rank", "day", True)]


def history(parquet: Parquet, repeat: bool) -> Path:
    days = [f"2026-05-{day:02d}" for day in range(1, 32)] * 5
    ids = [f"a/m{model}" for model in range(5) for _ in range(31)]
    return parquet("h.parquet", date=days, id=ids, downloads_30d=[(i // (2 if repeat else 1)) for i in range(155)])


@pytest.mark.parametrize("repeat", [True, False])
def test_a_history_without_repetitions_is_change_only(take: Take, parquet: Parquet, ask: Ask, repeat: bool) -> None:
    report = take(history(parquet, repeat), name="h")
    assert report.rows == {"count": 155}
    assert ask("select distinct change_only as c from count") == [{"c": not repeat}]


@pytest.mark.parametrize("column", ["downloads_all", "downloadsAllTime"])
def test_cumulative_counts_by_the_day_are_a_history(take: Take, ask: Ask, tmp_path: Path, column: str) -> None:
    csv = tmp_path / "daily.csv"
    csv.write_text(f"date,id,{column}\n2026-01-01,a/x,5\n2026-01-02,a/x,9\n", "utf-8")
    report = take(csv)
    assert (report.kind, report.date, report.rows) == ("history", "2026-01-02", {"count": 2})
    assert [row["d"] for row in ask("select downloads_all as d from count order by counted_at")] == [5, 9]


def test_edges_come_in_several_spellings(take: Take, parquet: Parquet, ask: Ask, tmp_path: Path) -> None:
    take(parquet("a.parquet", base=["x/b"], derivative=["a/1"], relation=["quantized"]), name="a", date="2025-06-18")
    take(parquet("b.parquet", parent=["x/b"], child=["a/2"]), name="b", date="2025-06-18")
    csv = tmp_path / "c_2025-06.csv"
    csv.write_text("\ufeffsource;target;type\nx/b;a/3;Finetune\n", "utf-8")
    assert take(csv).date == "2025-06-15"
    assert ask("select child, child_key, base, relation, source from edge order by child") == [
        {"child": f"a/{n}", "child_key": f"name:a/{n}", "base": "x/b", "relation": relation, "source": "declared"}
        for n, relation in ((1, "quantized"), (2, None), (3, "finetune"))
    ]


def test_litellms_price_map_becomes_listings_of_its_day(take: Take, ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "model_prices_2026-08-01.json"
    path.write_text(json.dumps(LITELLM))
    report = take(path)
    assert (report.kind, report.date, report.rows) == ("providers", "2026-08-01", {"listing": 2})
    (row,) = ask("select * exclude (snapshot) from listing where provider = 'deepseek'")
    assert row == {
        "catalogue": "litellm", "provider": "deepseek", "key": "deepseek/deepseek-r1", "family": None,
        "first_seen": date(2026, 8, 1), "last_seen": date(2026, 8, 1), "listed_at_end": True, "open_weights": None,
        "release_date": None, "mode": "chat", "context": 65536, "reasoning": True, "usd_per_mtok_in_first": None,
        "usd_per_mtok_out_first": None, "usd_per_mtok_in_last": 0.55, "usd_per_mtok_out_last": 2.19,
    }  # fmt: skip
    assert {one.field for one in report.problems} == {"context"}


def test_models_dev_is_read_as_json_and_as_a_folder(take: Take, ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "api.json"
    path.write_text(json.dumps(MODELS_DEV))
    assert take(path, name="dev-json", date="2026-08-18").rows == {"listing": 1}
    folder = tmp_path / "checkout"
    models = folder / "providers/deepinfra/models/deepseek-ai"
    models.mkdir(parents=True)
    (models / "DeepSeek-R1-0528.toml").write_text(
        'family = "deepseek"\nopen_weights = false\nreasoning = true\nrelease_date = 2025-05-28\n'
        "[limit]\ncontext = 163840\n[cost]\ninput = 0.5\noutput = 2.15\n"
    )
    (models / "broken.toml").write_text("= nonsense")
    secret = tmp_path / "secret.toml"
    secret.write_text('family = "stolen"')
    (models / "leak.toml").symlink_to(secret)
    report = take(folder, name="dev-folder", date="2026-08-18")
    assert (report.rows, report.rows_dropped) == ({"listing": 1}, 1)
    rows = ask("select * exclude (snapshot) from listing")
    assert len(rows) == 2
    assert rows[0] == rows[1]
    assert (rows[0]["key"], rows[0]["context"], rows[0]["open_weights"]) == (
        "deepseek-ai/DeepSeek-R1-0528",
        163840,
        False,
    )


def test_the_small_tables_are_known_by_their_columns(take: Take, parquet: Parquet) -> None:
    for file, table, columns in (
        ("t.parquet", "tokens", {"date": ["2026-05-01"], "rank": [1], "author": ["x"], "tokens_week": [5], "share_pct": [1.5]}),
        ("s.parquet", "support", {"kind": ["k"], "name": ["n"], "first_seen": ["2026-01-01"], "commit": ["abc"]}),
        ("r.parquet", "release", {"org": ["o"], "week": ["2026-01-05"], "repos_week": [3]}),
        ("d.parquet", "release", {"org": ["o"], "day": ["2026-01-05"], "repos": [3]}),
        ("p.parquet", "published", {"id": ["a/x"], "pct_of_total": [1.0], "country": ["China"]}),
        ("g.parquet", "growth", {"task": ["nlp"], "year": [2026], "month": [4], "count": [9]}),
        ("n.parquet", "notable", {"model": ["m"], "accessibility": ["open"], "training_compute_flop": [1e25]}),
    ):  # fmt: skip
        assert take(parquet(file, **columns)).rows == {table: 1}, file


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("@ 95e4d93, 2026-08-22 20:00 UTC", "2026-08-22T20:00:00"),
        ("daily 2026-08-07..22", ""),
        ("(2022-02-21; newest last_modified 2022-02-15)", "2022-02-21"),
        ("2025-06..2026-07", ""),
        ("2026-13-45", ""),
    ],
)
def test_a_day_is_read_out_of_a_sentence(text: str, day: str) -> None:
    assert day_of(text) == day


def test_a_files_name_tells_its_day_and_its_name(tmp_path: Path) -> None:
    assert day_in_name(Path("models_2026-10.parquet")) == "2026-10-15"
    assert day_in_name(Path("models_2026-10-03.parquet")) == "2026-10-03"
    assert day_in_name(Path("models_2022-2026.parquet")) == ""
    file = tmp_path / "My Models (1).parquet"
    file.touch()
    assert name_of(file) == "my-models-1"
