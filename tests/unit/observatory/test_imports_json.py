"""Models as JSON: saved answers of the list API, JSON lines, one file per model; and Parquet of other eras."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headwater.ground.errors import Invalid
from headwater.observatory.imports.door import Report
from headwater.observatory.world import World

Take = Callable[..., Report]
Ask = Callable[..., list[dict[str, Any]]]

API_MODEL = {
    "_id": "65f1a2b3c4d5e6f708192a3b",
    "id": "ada/tuned",
    "modelId": "ada/tuned",
    "author": "ada",
    "createdAt": "2026-03-02T23:29:04.000Z",
    "lastModified": "2026-04-02T00:00:00.000Z",
    "downloads": 12,
    "downloadsAllTime": 345,
    "likes": 6,
    "trendingScore": 1.5,
    "gated": "manual",
    "private": False,
    "pipeline_tag": "text-generation",
    "library_name": "transformers",
    "tags": ["gguf", "safetensors", "gptq", "dataset:ada/data", "arxiv:2401.00001", "license:mit", "base_model:x/base"],
    "cardData": {"license": "apache-2.0", "language": "en", "license_name": "mine"},
    "config": {
        "architectures": ["QwenForCausalLM"],
        "model_type": "qwen",
        "quantization_config": {"quant_method": "fp8"},
    },
    "safetensors": {"parameters": {"BF16": 10, "F32": 5}, "total": 15},
    "gguf": {"total": 14, "architecture": "qwen2", "context_length": 4096},
    "baseModels": {"relation": "merge", "models": [{"_id": "1" * 24, "id": "x/base"}, {"id": "y/base"}]},
    "usedStorage": 1 << 40,
    "inferenceProviderMapping": [
        {"provider": "together", "providerId": "q", "status": "live", "task": "conversational"}
    ],
}
RADAR_MODEL = {
    "schema": 1, "id": "ada/radar", "author": "ada", "created_at": "2026-08-14T18:48:26.000Z",
    "updated_at": "2026-09-20T13:42:25.000Z", "license": "apache-2.0", "license_family": "oss",
    "pipeline_tag": "text-generation", "library": "transformers", "languages": ["en"],
    "tags": ["gguf", "base_model:x/base", "base_model:quantized:x/base"], "likes": 5, "downloads_30d": 16,
    "trending_score": 44, "parameters": 26895998464, "storage_bytes": 3991680042032, "base_model": "x/base",
    "formats": ["gguf"], "gated": False, "removed": True, "removed_at": "2026-09-21T00:00:00Z", "benchmarks": [],
    "sources": [{"title": "<b>x</b>", "url": "javascript:alert(1)"}],
}  # fmt: skip


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


@pytest.mark.parametrize("form", ["list", "lines", "lines.gz", "one"])
def test_an_answer_of_the_list_api_arrives_whole(take: Take, ask: Ask, tmp_path: Path, form: str) -> None:
    if form == "list":
        path = write(tmp_path / "models.json", [API_MODEL])
    elif form == "one":
        path = write(tmp_path / "model.json", json.dumps(API_MODEL, indent=2))
    else:
        path = write(tmp_path / "models.jsonl", json.dumps(API_MODEL) + "\n")
        if form == "lines.gz":
            path = tmp_path / "models.jsonl.gz"
            path.write_bytes(gzip.compress(json.dumps(API_MODEL).encode()))
    report = take(path, name="api", date="2026-05-01")
    assert (report.kind, report.rows) == ("hub-stats", {"model": 1, "edge": 2, "listing": 1})
    (row,) = ask("select * exclude (snapshot, created_at, modified_at, removed, removed_at, first_seen) from model")
    assert row == {
        "key": "65f1a2b3c4d5e6f708192a3b", "id": "ada/tuned", "author": "ada", "downloads_30d": 12,
        "downloads_all": 345, "likes": 6, "trending": 1.5, "pipeline_tag": "text-generation",
        "library": "transformers", "license": "mit", "license_name": "mine", "tags": API_MODEL["tags"],
        "languages": ["en"], "datasets": ["ada/data"], "arxiv": ["2401.00001"], "parameters": 15,
        "storage_bytes": 1 << 40, "architecture": "QwenForCausalLM", "model_type": "qwen", "layers": None,
        "hidden_size": None, "vocab_size": None, "experts": None, "context_length": 4096, "quantization": "fp8",
        "formats": ["gguf", "safetensors"], "gated": "manual", "private": False,
    }  # fmt: skip
    assert ask("select base, base_key, relation, position from edge order by position") == [
        {"base": "x/base", "base_key": "1" * 24, "relation": "merge", "position": 1},
        {"base": "y/base", "base_key": None, "relation": "merge", "position": 2},
    ]
    assert ask("select catalogue, provider, key, listed_at_end as l from listing") == [
        {"catalogue": "hub", "provider": "together", "key": "ada/tuned", "l": True}
    ]


def test_a_folder_of_one_file_per_model_is_read_as_the_radar_writes_it(take: Take, ask: Ask, tmp_path: Path) -> None:
    write(tmp_path / "data/ada/radar.json", RADAR_MODEL)
    write(tmp_path / "data/ada/radar.md", "# prose is not read")
    write(tmp_path / "data/bob/other.json", {**RADAR_MODEL, "id": "bob/other", "tags": []})
    write(tmp_path / "data/bob/broken.json", "{")
    report = take(tmp_path / "data", name="radar-git")
    assert (report.kind, report.rows, report.rows_dropped) == ("radar", {"model": 2, "edge": 1}, 1)
    assert (report.date, report.dated_by) == ("2026-09-20T13:42:25", "the newest updated_at")
    (row,) = ask(
        "select likes, parameters, removed, gated, quantization as q, license from model where id = 'ada/radar'"
    )
    assert row == {
        "likes": 5,
        "parameters": 26895998464,
        "removed": True,
        "gated": "no",
        "q": "gguf",
        "license": "apache-2.0",
    }
    assert ask("select child, base, relation from edge") == [
        {"child": "ada/radar", "base": "x/base", "relation": "quantized"}
    ]


def test_an_older_era_without_resolved_bases_falls_back_to_tags_and_then_to_the_card(
    take: Take, ask: Ask, tmp_path: Path
) -> None:
    tagged = {
        "id": "a/tagged",
        "createdAt": "2024-01-01",
        "tags": ["base_model:adapter:x/t"],
        "cardData": {"base_model": "x/c"},
    }
    carded = {"id": "a/carded", "createdAt": "2024-01-01", "tags": ["x"], "cardData": {"base_model": ["x/c", "x/d"]}}
    take(write(tmp_path / "models.json", [tagged, carded]), name="old", date="2024-02-01")
    assert ask("select child, base, relation, position from edge order by all") == [
        {"child": "a/carded", "base": "x/c", "relation": None, "position": 1},
        {"child": "a/carded", "base": "x/d", "relation": None, "position": 2},
        {"child": "a/tagged", "base": "x/t", "relation": "adapter", "position": 1},
    ]


def test_nested_columns_of_parquet_are_read_as_structs(take: Take, ask: Ask, tmp_path: Path) -> None:
    config = {"architectures": ["A", "B"], "model_type": "t", "quantization_config": {"quant_method": "awq"}}
    table = pa.Table.from_pylist(
        [
            {
                "_id": "2" * 24, "id": "a/x", "createdAt": "2026-01-01", "config": config, "gguf": {"total": 9},
                "cardData": {"license": "mit", "language": ["de"]}, "gated": False,
            }
        ]
    )  # fmt: skip
    pq.write_table(table, tmp_path / "s.parquet")
    take(tmp_path / "s.parquet", date="2026-02-01")
    (row,) = ask(
        "select key, architecture as a, quantization as q, parameters as p, license as l, languages as g, gated from model"
    )
    assert row == {"key": "2" * 24, "a": "A", "q": "awq", "p": 9, "l": "mit", "g": ["de"], "gated": "no"}


def test_shards_of_one_table_are_one_snapshot_with_rows_counted_through(take: Take, ask: Ask, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(3):
        ids = [f"a/m{number}", "a/same", None]
        pq.write_table(
            pa.table({"id": ids, "createdAt": ["2026-01-01"] * 3}), folder / f"train-{number:05d}-of-00003.parquet"
        )
    report = take(folder, date="2026-02-01")
    assert (report.name, report.rows["model"], report.rows_dropped) == ("shards", 4, 5)
    assert ask("select row from unread order by row") == [{"row": row} for row in (2, 3, 5, 6, 9)]


def test_the_same_input_twice_is_one_snapshot(take: Take, world: World, tmp_path: Path) -> None:
    path = write(tmp_path / "models.json", [API_MODEL])
    first, second = take(path, name="api", date="2026-05-01"), take(path, name="api", date="2026-05-01")
    assert (first.already, second.already) == (False, True)
    assert first.snapshot == second.snapshot
    later = take(path, name="api", date="2026-05-02")
    assert len(world.snapshots()) == 2
    assert later.snapshot == "api@2026-05-02"


def test_what_the_operator_says_of_a_source_is_kept(take: Take, world: World, tmp_path: Path) -> None:
    path = write(tmp_path / "models.json", [API_MODEL])
    take(path, name="api", date="2026-05-01", licence="CC0-1.0", attribution="Ada", url="https://x.example", ship="yes")
    said = world.snapshot("api").manifest
    assert (said.licence, said.attribution, said.url, said.ship) == ("CC0-1.0", "Ada", "https://x.example", "yes")


@pytest.mark.parametrize(
    ("name", "value"), [("url", "javascript:alert(1)"), ("ship", "maybe"), ("name", "../x"), ("date", "1.5.2026")]
)
def test_what_the_operator_says_is_checked_too(take: Take, world: World, tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(Invalid, match=name):
        take(write(tmp_path / "models.json", [API_MODEL]), **{name: value})
    assert world.snapshots() == []


def test_nobody_may_ship_what_nobody_said_a_licence_of(take: Take, world: World, tmp_path: Path) -> None:
    take(write(tmp_path / "models.json", [API_MODEL]), date="2026-05-01")
    assert world.snapshot("models").manifest.ship == "facts-only"


def test_a_name_for_a_folder_of_several_sources_is_refused(take: Take, tmp_path: Path) -> None:
    for name in ("a", "b"):
        pq.write_table(pa.table({"id": ["a/x"], "createdAt": ["2026-01-01"]}), tmp_path / f"{name}.parquet")
    with pytest.raises(Invalid, match="one by one"):
        take(tmp_path, name="both")
