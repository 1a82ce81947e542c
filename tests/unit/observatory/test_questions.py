"""Questions: whatever a snapshot has, there is an answer with its evidence, or an error that says what is missing."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from headwater import observatory
from headwater.cli.observe_ask import ask as ask_command
from headwater.cli.observe_ask import questions as questions_command
from headwater.ground.errors import EntryMissing, Invalid
from headwater.observatory.answer import csv_text, json_bytes, parquet_bytes
from headwater.observatory.ask import QUESTIONS, ask, can_answer, describe
from headwater.observatory.choices import Choices
from headwater.observatory.run import run
from headwater.observatory.world import World

YOUNG, OLD = "2026-05-01T00:00:00", "2020-01-01T00:00:00"
HUB = [  # id, downloads of 30 days, of all time, created, task, tags
    ("meta-llama/base", 100, 5_000, OLD, "text-generation", ["license:llama3.1"]),
    ("Qwen/base", 60, 900, YOUNG, "text-generation", ["license:apache-2.0"]),
    ("amazon/series", 50, 50, YOUNG, "time-series-forecasting", []),
    ("someone/Qwen-tune", 30, 30, YOUNG, "text-generation", ["base_model:finetune:Qwen/base", "license:mit"]),
    ("someone/llama-tune", 10, 10, YOUNG, "text-generation", ["base_model:adapter:meta-llama/base"]),
    ("trl-internal-testing/tiny-random", 40, 40, YOUNG, None, []),
]


@pytest.fixture
def hub(listed: Callable[..., World]) -> World:
    """Six models of hub-stats' kind in a snapshot named hub."""
    columns: dict[str, list[Any]] = {
        "id": [row[0] for row in HUB],
        "author": [row[0].partition("/")[0] for row in HUB],
        "downloads": [row[1] for row in HUB],
        "downloadsAllTime": [row[2] for row in HUB],
        "likes": [7, 9, 1, 0, 0, 0],
        "createdAt": [row[3] for row in HUB],
        "pipeline_tag": [row[4] for row in HUB],
        "tags": [row[5] for row in HUB],
    }
    return listed("hub.parquet", columns, kind="hub-stats", name="hub", date="2026-06-05")


def shares(world: World, column: str = "pct_downloads", **choices: Any) -> dict[str, float]:
    given = {"attribution": "uploader"} | choices
    return {row["country"]: row[column] for row in ask(world, "downloads-by-country", Choices(**given)).rows()}


# --- shares are functions of stated choices ---


@pytest.mark.parametrize("attribution", ["uploader", "origin", "root", "named"])
@pytest.mark.parametrize("modality", [(), ("llm",), ("none",)])
def test_shares_add_up_to_a_hundred(attribution: str, modality: tuple[str, ...], hub: World) -> None:
    assert sum(shares(hub, attribution=attribution, modality=modality).values()) == pytest.approx(100, abs=0.05)


def test_a_share_is_of_the_downloads_in_the_window(hub: World) -> None:
    assert shares(hub)["CN"] == pytest.approx(100 * 60 / 290, abs=0.01)
    assert shares(hub, window="all")["CN"] == pytest.approx(100 * 900 / 6_030, abs=0.01)


def test_origin_counts_for_the_root_and_the_uploader_for_itself(hub: World) -> None:
    assert shares(hub, attribution="root")["CN"] == pytest.approx(100 * 90 / 290, abs=0.01)
    rows = {row["country"]: row for row in ask(hub, "downloads-by-country").rows()}
    assert rows["CN"]["pct_uploader"] == pytest.approx(100 * 60 / 290, abs=0.01)
    assert rows["CN"]["pct_origin"] == pytest.approx(100 * 90 / 290, abs=0.01)


def test_without_edges_the_family_in_the_name_stands_for_the_origin(hub: World) -> None:
    named = shares(hub, attribution="named")
    assert named["CN"] == pytest.approx(100 * 90 / 290, abs=0.01)
    assert named["US"] == pytest.approx(100 * (100 + 50 + 10) / 290, abs=0.01)


def test_young_models_are_counted_apart(hub: World) -> None:
    assert shares(hub, "pct_downloads_young")["CN"] == pytest.approx(100 * 60 / 190, abs=0.01)
    assert shares(hub, age_days_max=365)["CN"] == pytest.approx(100 * 60 / 190, abs=0.01)
    assert shares(hub, "models_young", young_days=10)["CN"] == 0


def test_ages_are_counted_from_the_moment_chosen(hub: World) -> None:
    assert "CN" not in shares(hub, age_days_max=30, as_of="2026-07-30T00:00:00")


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        (("id:amazon/series",), 240),
        (("account:someone",), 250),
        (("tests",), 250),
        (("tests", "account:someone", "id:amazon/series"), 160),
    ],
)
def test_what_is_excluded_is_in_no_sum(exclude: tuple[str, ...], left: int, hub: World) -> None:
    answer = ask(hub, "downloads-by-country", Choices(attribution="uploader", exclude=exclude))
    assert sum(row["downloads"] for row in answer.rows()) == left


def test_mirrors_are_what_the_registry_calls_so(hub: World) -> None:
    hub.registry_folder.mkdir(parents=True, exist_ok=True)
    (hub.registry_folder / "own.accounts.csv").write_text("account,country,type\nsomeone,INT,mirror\n", "utf-8")
    answer = ask(hub, "downloads-by-country", Choices(attribution="uploader", exclude=("mirrors",)))
    assert sum(row["downloads"] for row in answer.rows()) == 250


def test_the_head_is_the_union_of_most_liked_and_most_downloaded(hub: World) -> None:
    answer = ask(hub, "concentration", Choices(head=2))
    assert answer.rows()[0]["downloads"] == 160


def test_the_answer_says_its_choices_its_sources_and_its_registry(hub: World) -> None:
    answer = ask(hub, "downloads-by-country", Choices(modality=("llm",)))
    assert answer.stated["modality"] == "llm"
    assert answer.stated["attribution"] == "both"
    assert answer.stated["young_days"] == "365"
    assert answer.stated["population"] == "hub@2026-06-05"
    assert answer.registry_version == hub.registry().version
    assert [source.id for source in answer.snapshots] == ["hub@2026-06-05"]
    assert any("who downloads is not known" in text for text in answer.caveats)


# --- evidence ---


def test_coverage_authors_and_gap_are_what_a_hand_computes(hub: World) -> None:
    answer = ask(hub, "downloads-by-country", Choices(attribution="uploader", exclude=("tests",)))
    one = answer.evidence[0]
    assert answer.coverage_pct == pytest.approx(100 * 210 / 250)
    assert answer.authors == 4
    assert (one.leader, one.runner_up) == ("US", "CN")
    assert one.gap_pct == pytest.approx(100 * (150 - 60) / 250)


def test_the_range_of_the_gap_is_that_of_leaving_out_each_model_and_each_account(hub: World) -> None:
    known = {row["account"]: row["country"] for row in run(hub, "select account, country from accounts").to_pylist()}
    sums = [(row[0], row[0].partition("/")[0], row[1]) for row in HUB]

    def gap(model: str, account: str) -> float:
        kept = [(author, d) for name, author, d in sums if name != model and author != account]
        of = {c: sum(d for author, d in kept if known.get(author) == c) for c in ("US", "CN")}
        return 100 * (of["US"] - of["CN"]) / sum(d for _, d in kept)

    one = ask(hub, "downloads-by-country", Choices(attribution="uploader")).evidence[0]
    models = [gap(name, "") for name, _, _ in sums]
    accounts = [gap("", author) for _, author, _ in sums]
    assert one.without_one_model is not None
    assert one.without_one_account is not None
    assert (one.without_one_model.low, one.without_one_model.high) == pytest.approx((min(models), max(models)))
    assert (one.without_one_account.low, one.without_one_account.high) == pytest.approx((min(accounts), max(accounts)))
    assert one.without_one_model.low_without == "meta-llama/base"


def test_a_lead_that_one_account_makes_is_said_to_flip(hub: World) -> None:
    answer = ask(hub, "downloads-by-country", Choices(attribution="uploader", exclude=("tests", "id:amazon/series")))
    assert answer.evidence[0].flips


# --- errors ---


def test_an_unknown_question_names_what_is_near(hub: World) -> None:
    with pytest.raises(EntryMissing, match="downloads-by-country"):
        ask(hub, "downloads-by-planet")


def test_a_choice_that_is_not_honoured_is_an_error_and_never_ignored(hub: World) -> None:
    with pytest.raises(Invalid, match="grain: concentration does not honour"):
        ask(hub, "concentration", Choices(grain="year"))


def test_a_by_that_the_question_cannot_do_is_refused(hub: World) -> None:
    with pytest.raises(Invalid, match="is not one of relation, author, tool"):
        ask(hub, "licence-drift", Choices(by="moon"))


def test_a_value_of_the_wrong_kind_is_refused_in_python_too(hub: World) -> None:
    with pytest.raises(Invalid, match="top"):
        ask(hub, "concentration", Choices(top="many"))  # type: ignore[arg-type]


def test_what_a_snapshot_lacks_is_named_with_who_has_it(
    hub: World, take: Callable[..., Any], parquet: Callable[..., Path]
) -> None:
    take(parquet("c.parquet", date=["2026-01-01"], id=["a/b"], downloads_30d=[1]), name="series-of-counts")
    with pytest.raises(Invalid, match=r"no edge\. Snapshots that can answer: hub@2026-06-05"):
        ask(hub, "relation-shares", Choices(population=("series-of-counts",)))
    with pytest.raises(Invalid, match=r"models\.downloads_all"):
        ask(hub, "downloads-by-country", Choices(population=("series-of-counts",), window="all"))


def test_a_window_of_days_needs_counts_that_can_be_added_up(hub: World) -> None:
    with pytest.raises(EntryMissing, match="no snapshot has what it needs"):
        ask(hub, "downloads-by-country", Choices(window="2026-01-01..2026-02-01"))


def test_discovered_roots_are_refused_where_nobody_looked_at_weights(hub: World) -> None:
    with pytest.raises(Invalid, match="no discovered edges"):
        ask(hub, "downloads-by-country", Choices(attribution="discovered"))


def test_an_empty_world_says_what_to_import(world: World) -> None:
    with pytest.raises(EntryMissing, match="headwater observatory import"):
        ask(world, "downloads-by-country")


def test_a_sort_by_no_column_is_refused(hub: World) -> None:
    with pytest.raises(Invalid, match="sort: 'beauty' is not a column; there are n, hhi"):
        ask(hub, "concentration", Choices(sort="beauty"))


@pytest.mark.parametrize("hostile", ["x'); drop table model; --", "a/b' or '1'='1", "%", "\\", "ü'"])
@pytest.mark.parametrize("name", ["account", "id", "family", "licence", "modality", "country"])
def test_a_hostile_value_is_a_value(name: str, hostile: str, hub: World) -> None:
    given: dict[str, Any] = {name: (hostile,)}
    answer = ask(hub, "downloads-by-country", Choices(attribution="uploader", **given))
    assert answer.rows() == []


def test_a_hostile_exclusion_excludes_nothing(hub: World) -> None:
    answer = ask(hub, "downloads-by-country", Choices(attribution="uploader", exclude=("id:x') or true --",)))
    assert sum(row["downloads"] for row in answer.rows()) == 290


def test_no_downloads_at_all_are_no_shares_and_no_error(
    world: World, take: Callable[..., Any], parquet: Callable[..., Path]
) -> None:
    nothing = {"id": ["Qwen/a", "meta-llama/b"], "downloads": [0, 0], "createdAt": [YOUNG, YOUNG], "likes": [0, 0]}
    take(parquet("hub.parquet", **nothing), kind="hub-stats", name="hub", date="2026-06-05")
    rows = ask(world, "downloads-by-country", Choices(attribution="uploader")).rows()
    assert [row["pct_downloads"] for row in rows] == [None, None]
    (numbers,) = ask(world, "concentration").rows()
    assert (numbers["n"], numbers["hhi"], numbers["zero_pct"]) == (2, None, 100.0)


# --- other groups, on models that a hand can count ---


def test_concentration_is_that_of_the_definition(hub: World) -> None:
    (got,) = ask(hub, "concentration", Choices(cuts=(1, 2))).rows()
    counts = sorted(row[1] for row in HUB)
    total, n = sum(counts), len(counts)
    assert got["hhi"] == pytest.approx(10_000 * sum((d / total) ** 2 for d in counts), abs=0.1)
    gini = 2 * sum(rank * d for rank, d in enumerate(counts, 1)) / (n * total) - (n + 1) / n
    assert got["gini"] == pytest.approx(gini, abs=1e-4)
    assert (got["top1_pct"], got["top2_pct"]) == pytest.approx((100 * 100 / total, 100 * 160 / total), abs=0.01)
    (owners,) = ask(hub, "concentration", Choices(over="owners")).rows()
    assert owners["n"] == 5


def test_a_curve_ends_at_all_of_it(hub: World) -> None:
    rows = ask(hub, "concentration-curve").rows()
    assert (rows[-1]["units"], rows[-1]["pct_downloads"]) == (6, 100.0)
    assert [row["pct_downloads"] for row in rows] == sorted(row["pct_downloads"] for row in rows)


def test_drift_tells_silence_and_permission_apart(hub: World) -> None:
    rows = {row["relation"]: row for row in ask(hub, "licence-drift").rows()}
    assert rows["adapter"]["derivative_undeclared"] == 1
    assert rows["finetune"]["same"] == 0
    assert rows["(all)"]["edges"] == 2
    tools = {row["tool"]: row for row in ask(hub, "licence-drift", Choices(by="tool")).rows()}
    assert set(tools) == {"(all)", "Qwen", "meta-llama"}


def test_releases_are_counted_from_dates_of_creation_too(hub: World) -> None:
    rows = {row["org"]: row for row in ask(hub, "releases-by-organisation").rows()}
    assert rows["someone"]["y2026"] == 2
    days = ask(hub, "release-calendar", Choices(grain="day", account=("someone",))).rows()
    assert [(row["period"], row["models"]) for row in days] == [("2026-05-01", 2)]


def test_counts_over_time_make_a_population_of_a_day(
    world: World, take: Callable[..., Any], parquet: Callable[..., Path]
) -> None:
    days = ["2026-01-01", "2026-01-01", "2026-01-02", "2026-01-02"]
    ids = ["Qwen/a", "meta-llama/b"] * 2
    take(parquet("c.parquet", date=days, id=ids, downloads_30d=[1, 3, 4, 4]), name="counts")
    assert shares(world) == {"CN": 50.0, "US": 50.0}
    assert shares(world, day=date(2026, 1, 1)) == {"CN": 25.0, "US": 75.0}


def test_a_window_is_the_difference_of_cumulative_counts(
    world: World, take: Callable[..., Any], parquet: Callable[..., Path]
) -> None:
    days = ["2026-01-01", "2026-01-01", "2026-02-01", "2026-02-01"]
    take(
        parquet(
            "c.parquet", date=days, id=["Qwen/a", "meta-llama/b"] * 2, downloads_all=[10, 10, 40, 20],
            downloads_30d=[1, 1, 1, 1],
        ),
        name="counts",
    )  # fmt: skip
    assert shares(world, window="2026-01-02..2026-02-02") == {"CN": 75.0, "US": 25.0}


def test_adoption_is_measured_against_ten_of_the_same_size_and_age(
    world: World, take: Callable[..., Any], parquet: Callable[..., Path]
) -> None:
    ids = [f"lab/m{n}" for n in range(1, 13)]
    days = [f"2026-01-{day:02d}" for day in range(1, 16)]
    rows = [(day, name, 100 * n * at) for at, day in enumerate(days) for n, name in enumerate(ids, 1)]
    take(
        parquet(
            "c.parquet", date=[r[0] for r in rows], id=[r[1] for r in rows], downloads_all=[r[2] for r in rows],
            downloads_30d=[1] * len(rows),
        ),
        name="counts",
    )  # fmt: skip
    sizes: dict[str, list[Any]] = {
        "id": ids, "downloads": [1] * 12, "createdAt": ["2026-01-01T00:00:00"] * 12,
        "safetensors": [json.dumps({"total": 7_000_000_000})] * 12,
    }  # fmt: skip
    take(parquet("hub.parquet", **sizes), kind="hub-stats", name="hub", date="2026-06-05")
    first = {(row["id"], row["age_days"]): row for row in ask(world, "relative-adoption", Choices(by="v1")).rows()}
    second = {(row["id"], row["age_days"]): row for row in ask(world, "relative-adoption", Choices(by="v2")).rows()}
    assert {age for _, age in first} == {7, 14}
    # The ten most downloaded at day 7 have 2,100 to 8,400: median 5,250; the tenth has 2,100.
    assert (first["lab/m12", 7]["downloads"], first["lab/m12", 7]["reference"]) == (8_400, 5_250)
    assert first["lab/m12", 7]["ram"] == 1.6
    assert (second["lab/m12", 7]["reference"], second["lab/m12", 7]["ram"]) == (2_100, 4.0)
    assert second["lab/m1", 7]["on_course"] is False
    assert second["lab/m12", 14]["reference"] >= second["lab/m12", 7]["reference"]


def test_too_few_peers_are_no_measure(world: World, take: Callable[..., Any], parquet: Callable[..., Path]) -> None:
    take(
        parquet("c.parquet", date=["2026-01-01", "2026-01-08"], id=["lab/a"] * 2, downloads_all=[0, 5], likes=[1, 2]),
        name="counts",
    )
    sizes: dict[str, list[Any]] = {
        "id": ["lab/a"], "downloads": [1], "createdAt": ["2026-01-01T00:00:00"],
        "safetensors": [json.dumps({"total": 7_000_000_000})],
    }  # fmt: skip
    take(parquet("hub.parquet", **sizes), kind="hub-stats", name="hub", date="2026-06-05")
    (row,) = ask(world, "relative-adoption").rows()
    assert (row["downloads"], row["peers"], row["reference"], row["ram"]) == (5, 1, None, None)


# --- all of them ---


def test_every_question_answers_over_the_shared_data_and_its_sql_is_what_was_run(
    shared_world: tuple[World, Any],
) -> None:
    world, _ = shared_world
    without = {name for name in QUESTIONS if not can_answer(world, name)}
    assert without == {"own-downloads", "own-repos", "renamed-models"}, "own events, and two snapshots of one source"
    for name, question in QUESTIONS.items():
        if name in without:
            continue
        answer = ask(world, name)
        assert answer.table.num_rows > 0, name
        assert not any(pa.types.is_decimal(field.type) for field in answer.table.schema), name
        assert answer.sql.lower().startswith(("with ", "select ")), name
        described = {column for column, _ in question.columns}
        assert described & set(answer.table.column_names), f"{name}: no column is described"


@pytest.mark.parametrize("name", ["downloads-by-country", "derivatives-by-family", "licence-drift", "concentration"])
def test_the_sql_of_an_answer_gives_the_same_table_to_anybody(name: str, hub: World) -> None:
    answer = ask(hub, name)
    again = run(hub, answer.sql, (), [hub.snapshot("hub")])
    assert again.to_pylist() == answer.rows()


def test_all_populations_are_answered_side_by_side(shared_world: tuple[World, Any]) -> None:
    world, _ = shared_world
    answer = ask(world, "concentration", Choices(population=("all",)))
    assert answer.table.column_names[0] == "snapshot"
    names = {row["snapshot"].partition("@")[0] for row in answer.rows()}
    assert {"radar", "head", "hub-2022-02", "hub-2022-07", "hub-stats", "llmfit", "trending"} <= names
    assert {one.snapshot.partition("@")[0] for one in answer.evidence} == names
    two = ask(world, "downloads-by-country", Choices(population=("head", "radar"), attribution="uploader"))
    assert {one.snapshot for one in two.evidence} == {"head@2026-08-22", "radar@2026-08-22"}


@pytest.mark.parametrize("population", ["radar", "head", "hub-2022-02", "hub-2022-07", "hub-stats", "llmfit", "trending",
                                        "top30", "transformersjs", "kblab", "radar-history", "llmfit-history"])  # fmt: skip
def test_shares_are_total_over_everything_that_counts_downloads(
    population: str, shared_world: tuple[World, Any]
) -> None:
    answer = ask(shared_world[0], "downloads-by-country", Choices(population=(population,), attribution="uploader"))
    assert sum(row["pct_downloads"] for row in answer.rows()) == pytest.approx(100, abs=0.2)


# --- the cache ---


def test_the_same_question_comes_from_the_cache_and_says_so(hub: World) -> None:
    first = ask(hub, "downloads-by-country")
    second = ask(hub, "downloads-by-country")
    assert (first.cached, second.cached) == (False, True)
    assert second.table.equals(first.table)
    assert (second.evidence, second.sql, second.caveats) == (first.evidence, first.sql, first.caveats)
    assert ask(hub, "downloads-by-country", fresh=True).cached is False


def test_another_registry_is_another_answer(hub: World) -> None:
    before = ask(hub, "downloads-by-country", Choices(attribution="uploader"))
    hub.registry_folder.mkdir(parents=True, exist_ok=True)
    (hub.registry_folder / "own.accounts.csv").write_text("account,country\nsomeone,FR\n", "utf-8")
    after = ask(hub, "downloads-by-country", Choices(attribution="uploader"))
    assert after.cached is False
    assert before.registry_version != after.registry_version
    assert "FR" in {row["country"] for row in after.rows()}


def test_a_damaged_cache_is_asked_again(hub: World) -> None:
    first = ask(hub, "concentration")
    (file,) = (hub.cache / "answers").glob("*.arrow")
    file.write_bytes(b"ARROW1 broken")
    assert ask(hub, "concentration").table.equals(first.table)


# --- ways out ---


def test_a_table_is_an_arrow_table(hub: World) -> None:
    answer = observatory.ask(hub, "downloads-by-country", observatory.Choices(attribution="uploader"))
    assert isinstance(answer.table, pa.Table)


def test_csv_json_and_parquet_have_the_same_rows(hub: World) -> None:
    answer = ask(hub, "derivatives-by-base")
    rows = answer.rows()
    assert [line.split(",")[0] for line in csv_text(answer).splitlines()] == ["base", *(row["base"] for row in rows)]
    read = json.loads(json_bytes(answer))
    assert read["rows"] == rows
    assert read["snapshots"][0]["id"] == "hub@2026-06-05"
    table = pq.read_table(io.BytesIO(parquet_bytes(answer)))
    assert table.to_pylist() == rows
    assert json.loads(table.schema.metadata[b"headwater"])["question"] == "derivatives-by-base"


def test_a_cell_that_looks_like_a_formula_is_only_text(
    world: World, take: Callable[..., Any], parquet: Callable[..., Path]
) -> None:
    columns: dict[str, list[Any]] = {
        "id": ["a/b"], "downloads": [1], "createdAt": [YOUNG], "tags": [["base_model:finetune:=cmd|x/y"]]
    }  # fmt: skip
    take(parquet("hub.parquet", **columns), kind="hub-stats", name="hub", date="2026-06-05")
    text = csv_text(ask(world, "derivatives-by-base"))
    assert "\n=" not in text
    assert "'=cmd" in text or "=cmd" not in text


def test_the_command_prints_a_table_and_what_stands_behind_it(hub: World) -> None:
    data = ["--data", str(hub.root.parent)]
    result = CliRunner().invoke(ask_command, ["downloads-by-country", "--choice", "attribution=uploader", *data])
    assert result.exit_code == 0, result.output
    assert "pct_downloads" in result.stdout
    assert "leads" in result.stderr
    csv = CliRunner().invoke(ask_command, ["concentration", "--csv", *data])
    assert csv.stdout.startswith("n,hhi,gini")
    js = CliRunner().invoke(ask_command, ["concentration", "--json", *data])
    assert json.loads(js.stdout)["rows"][0]["n"] == 6
    sql = CliRunner().invoke(ask_command, ["concentration", "--sql", *data])
    assert sql.stdout.startswith("with m as (")


def test_the_command_writes_parquet_and_keeps_what_is_there(hub: World, tmp_path: Path) -> None:
    data, file = ["--data", str(hub.root.parent)], tmp_path / "x.parquet"
    result = CliRunner().invoke(ask_command, ["concentration", "--parquet", str(file), *data])
    assert result.exit_code == 0, result.output
    assert pq.read_table(file).num_rows == 1
    again = CliRunner().invoke(ask_command, ["concentration", "--parquet", str(file), *data])
    assert "exists" in str(again.exception)


def test_the_command_lists_questions_and_explains_one(hub: World) -> None:
    data = ["--data", str(hub.root.parent)]
    listed = CliRunner().invoke(questions_command, ["--json", *data])
    assert {row["question"] for row in json.loads(listed.stdout)} == set(QUESTIONS)
    one = CliRunner().invoke(questions_command, ["concentration", *data])
    assert "HHI" in one.stdout


def test_the_reference_page_has_every_question_choice_and_source() -> None:
    text = describe()
    for name, question in QUESTIONS.items():
        assert f"### `{name}`" in text
        assert question.source in text
        assert question.columns
        assert set(question.honours) <= set(Choices.__struct_fields__), name
    for name in Choices.__struct_fields__:
        assert f"| `{name}` |" in text
