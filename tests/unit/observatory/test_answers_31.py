"""The 31 answers of shared/data/expected_answers.json, by the Observatory's own questions over its own tables.

The file's SQL is not run; only its columns and rows are compared, within the file's own rounding.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from headwater.observatory.ask import ask
from headwater.observatory.choices import Choices
from headwater.observatory.world import World

COUNTRY = {"population": "radar", "attribution": "uploader"}
DRIFT = {"population": "radar", "known": "llmfit,hub-stats"}
R1_V3 = {"part": "litellm", "family": "DeepSeek", "variant": "R1,V3"}


@dataclass(frozen=True)
class Same:
    """How an answer of the file is asked for here. `columns`: the file's name -> ours; `key`: what names a row."""

    question: str
    choices: Mapping[str, str]
    key: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    order: str = ""
    keys: Mapping[Any, Any] = field(default_factory=dict)
    source: str = ""


SAME: dict[str, list[Same]] = {
    "A1": [Same("downloads-by-country", COUNTRY, ("country",), order="pct_downloads")],
    "A2": [Same("downloads-by-country", COUNTRY | {"population": "head"}, ("country",), order="pct_downloads")],
    "A3": [Same("downloads-by-country", COUNTRY | {"population": "head", "modality": "llm"}, ("country",), order="pct_downloads")],
    "A4": [Same("downloads-by-country", COUNTRY | {"attribution": "root", "sort": "pct_downloads_young"}, ("country",), order="pct_downloads_young")],
    "A5": [Same("downloads-by-country-windows", {"population": "hub-stats"}, ("country",), order="pct_30d")],
    "A6": [Same("published-shares", {"population": "top100-2025"}, ("country",), {"pct_of_all_2025_downloads": "pct_of_total"}, "pct_of_total")],
    "A7": [Same("downloads-by-country", COUNTRY | {"population": "llmfit"}, ("country",), order="pct_downloads")],
    "B1": [Same("derivatives-by-family", {"population": "radar"}, ("family",), order="derivatives")],
    "B2": [Same("derivatives-by-base-owner", {"population": "radar", "top": "1000"}, ("org",), order="derivatives")],
    "B3": [Same("derivatives-by-base", {"population": "radar", "top": "1000"}, ("base",), order="derivatives")],
    "B4": [
        Same("relation-shares", {"population": "radar"}, ("relation",), {"n": "edges"}, "edges", source="radar 2026-08"),
        Same("relation-shares", {"population": "textgen-2025"}, ("relation",), {"n": "edges"}, "edges", source="textgen graph 2025-06"),
        Same("relation-shares", {"population": "trending"}, ("relation",), {"n": "edges"}, "edges", source="trending-1000 2026-05-04"),
        # The file counts each model of hub-stats once: a merge has one row there, and several bases.
        Same("relation-shares", {"population": "hub-stats"}, ("relation",), {"n": "derivatives"}, source="hub-stats sample 2026-06"),
    ],
    "B5": [Same("chain-depth", {"population": "radar"}, ("depth",), order="")],
    "B7": [Same("undeclared-bases", {"population": "radar"}, ("family",), keys={None: "(all)"}, order="models")],
    "B8": [Same("bytes-by-relation", {"population": "radar"}, ("relation",), order="terabytes")],
    "C1": [Same("licence-families", {"population": "radar"}, ("family",), order="n", source="radar 2026-08")],
    "C2": [Same("licence-families", {"population": "hub-2022-02"}, ("family",), order="n")],
    "C3": [Same("licence-drift", DRIFT, ("relation",), order="edges")],
    "D1": [Same("most-liked", {"population": "head"}, ("id",), order="likes")],
    "D2": [Same("liked-countries", {"population": "head"}, ("cut", "country"))],
    "E1": [Same("releases-by-organisation", {"part": "Nvidia/data/org_weeks_0_0.json"}, ("org",), {"y2025_to_oct": "y2025"}, "y2025")],
    "E2": [Same("releases-by-organisation", {"part": "OpenSource2026/extended/data.json", "sort": "y2025"}, ("org",), {"y2026_h1": "y2026"}, "y2025")],
    "F1": [Same("concentration", {"population": "radar"})],
    "F2": [Same("concentration", {"population": "radar", "over": "owners"})],
    "F3": [Same("concentration", {"population": "hub-2022-02"})],
    "F5": [Same("concentration", {"population": "hub-2022-07"})],
    "F6": [Same("concentration", {"population": "hub-2022-07", "over": "owners"})],
    "G1": [Same("provider-first-seen", R1_V3, ("provider",), order="first_seen")],
    "G2": [Same("provider-diffusion", R1_V3 | {"since": "2024-12-20"}, ("month",), order="month")],
    "G5": [Same("support-first-seen", {"part": "hf_inference_provider"}, ("name",), order="first_seen")],
    "H1": [Same("token-shares", {}, ("date",), {"date": "day"})],
    "I2": [Same("withdrawn", {"population": "radar"})],
}  # fmt: skip


@pytest.fixture(scope="session")
def expected(shared_world: tuple[World, Any]) -> dict[str, Any]:
    file = Path(__file__).resolve().parents[4] / "shared/data/expected_answers.json"
    answers = json.loads(file.read_text("utf-8"))["answers"]
    return {name.split()[0]: answer for name, answer in answers.items()}


def said(value: Any) -> Any:
    """As JSON says it."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value


def agree(want: Any, got: Any) -> bool:
    """Within the rounding of the file: its last digit may be one off."""
    if isinstance(want, int | float) and isinstance(got, int | float) and not isinstance(want, bool):
        digits = len(f"{want!r}".partition(".")[2]) if isinstance(want, float) else 0
        return math.isclose(want, got, abs_tol=1.01 * 10 ** -min(digits, 4) if isinstance(want, float) else 0)
    return bool(want == said(got))


@pytest.mark.parametrize("name", SAME)
def test_an_answer_of_the_file_is_reproduced(
    name: str, shared_world: tuple[World, Any], expected: dict[str, Any]
) -> None:
    world, _ = shared_world
    answer = expected[name]
    for same in SAME[name]:
        found = ask(world, same.question, Choices.parse(same.choices.items()))
        rows = wanted_rows(answer, same)
        assert rows, "the file has rows of this source"
        ours = {tuple(said(row[same.columns.get(one, one)]) for one in same.key): row for row in found.rows()}
        for at, row in enumerate(rows):
            key = tuple(same.keys.get(row[one], row[one]) for one in same.key)
            if name == "C3" and row["relation"] == "(all)" and row["edges"] == 2:
                key = ("untyped",)  # the file's query calls edges without a type by the name of the sum
            assert key in ours, f"no row {key}"
            for column, want in row.items():
                if column in same.key:
                    continue
                got = ours[key][same.columns.get(column, column)]
                assert agree(want, got), f"{key}.{column}: {want} here {got}"
            if same.order:  # equal values may stand in any order, so the values are compared, place by place
                mine = said(found.rows()[at][same.order])
                assert agree(said(ours[key][same.order]), mine), f"place {at + 1}: {key} here has {mine}"


def wanted_rows(answer: Mapping[str, Any], same: Same) -> list[dict[str, Any]]:
    rows = [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]
    if same.source:
        rows = [
            {name: value for name, value in row.items() if name != "src"} for row in rows if row["src"] == same.source
        ]
    return rows


def test_all_31_are_compared(expected: dict[str, Any]) -> None:
    assert set(expected) == set(SAME)
    assert len(SAME) == 31


def test_the_whole_of_a_table_is_the_same_where_the_file_is_not_cut(
    shared_world: tuple[World, Any], expected: dict[str, Any]
) -> None:
    """No row too many: what the file does not have must not be here either."""
    world, _ = shared_world
    for name in ("A3", "B5", "B8", "C1", "C2", "D2", "E1", "E2", "G1", "G2", "G5"):
        (same,) = SAME[name]
        found = ask(world, same.question, Choices.parse(same.choices.items()))
        assert found.table.num_rows == len(expected[name]["rows"]), name


@pytest.mark.parametrize(
    ("question", "choices", "where", "want"),
    [  # figures of design/observatory.md that the file does not have
        ("downloads-by-country", {"population": "radar", "exclude": "id:sentence-transformers/all-MiniLM-L6-v2", "attribution": "uploader"}, {"country": "US"}, {"pct_downloads": 40.8}),
        ("downloads-by-country", {"population": "radar", "exclude": "id:sentence-transformers/all-MiniLM-L6-v2", "attribution": "uploader"}, {"country": "DE"}, {"pct_downloads": 1.7}),
        ("downloads-by-country", {"population": "head", "exclude": "id:amazon/chronos-2", "attribution": "uploader"}, {"country": "CN"}, {"pct_downloads_young": 45.2}),
        ("downloads-by-country", {"population": "hub-stats", "window": "all", "attribution": "uploader"}, {"country": "US"}, {"pct_downloads": 67.0}),
        ("derivatives-by-family", {"population": "textgen-2025", "steps": "12"}, {"family": "Llama"}, {"pct": 32.2}),
        ("derivatives-by-family", {"population": "textgen-2025", "steps": "12"}, {"family": "Qwen"}, {"pct": 21.3}),
        ("derivatives-by-base-owner", {"population": "textgen-2025"}, {"org": "unsloth"}, {"derivatives": 7073}),
        ("chain-depth", {"population": "textgen-2025", "steps": "12"}, {"depth": 12}, {"unended": 24}),
        ("concentration", {"population": "hub-2022-02", "over": "owners"}, {}, {"hhi": 509, "top10_pct": 62, "top_0_1_pct": 60, "zero_pct": 49}),
        ("liked-and-downloaded", {"population": "head", "cuts": "25"}, {"cut": 25}, {"in_both": 2, "rank_correlation": -0.42}),
        ("licence-drift", DRIFT, {"relation": "adapter"}, {"half_life_steps": 1.1}),
        ("licence-drift", DRIFT, {"relation": "quantized"}, {"half_life_steps": 9.4}),
        ("licence-drift", DRIFT | {"by": "tool"}, {"tool": "unsloth"}, {"more_permissive": 196}),
        ("provider-reach", {"part": "models.dev"}, {"family": "GLM"}, {"providers": 105, "providers_all": 191}),
        ("provider-reach", {"part": "models.dev"}, {"family": "Kimi"}, {"providers": 102}),
        ("provider-reach", {"part": "models.dev", "by": "variant", "family": "DeepSeek"}, {"variant": "V4"}, {"providers": 77}),
        ("provider-diffusion", {"part": "models.dev", "family": "DeepSeek", "variant": "R1,V3"}, {"month": "2025-12"}, {"cumulative": 33}),
        ("provider-diffusion", {"part": "models.dev", "family": "DeepSeek", "variant": "R1,V3"}, {"month": "2026-08"}, {"cumulative": 64}),
        ("token-countries", {"day": "2026-05-16"}, {"country": "CN"}, {"share_pct": 42.7}),
        ("support-first-seen", {"part": "runtime_architecture"}, {"name": "deepseek2"}, {"first_seen": date(2024, 5, 28)}),
        ("published-shares", {"population": "top100-2025"}, {"country": "China"}, {"pct_of_total": 41.85}),
    ],
)  # fmt: skip
def test_a_figure_of_the_design_is_reproduced(
    question: str,
    choices: Mapping[str, str],
    where: dict[str, Any],
    want: dict[str, Any],
    shared_world: tuple[World, Any],
) -> None:
    found = ask(shared_world[0], question, Choices.parse(choices.items()))
    rows = [row for row in found.rows() if all(row[name] == value for name, value in where.items())]
    assert rows, f"no row with {where}"
    for name, value in want.items():
        got = rows[0][name]
        if isinstance(value, int | float):
            digits = len(f"{value!r}".partition(".")[2]) if isinstance(value, float) else 0
            assert abs(got - value) <= 0.51 * 10**-digits, f"{name}: {value} here {got}"
        else:
            assert value == got


def test_the_order_by_uploader_is_stable_on_all_days_of_the_head(shared_world: tuple[World, Any]) -> None:
    rows = ask(shared_world[0], "shares-over-days", Choices(population=("head",))).rows()
    young = {(row["day"], row["country"]): row["pct_downloads_young"] for row in rows}
    days = sorted({day for day, _ in young})
    assert len(days) == 16
    assert all(young[day, "US"] > young[day, "CN"] for day in days)
    assert 43 < min(young[day, "US"] for day in days) < max(young[day, "US"] for day in days) < 45
