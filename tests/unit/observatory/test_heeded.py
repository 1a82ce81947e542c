"""Choices: every one that a question honours is run over the shared data, means something, or is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pytest

from headwater.ground.errors import EntryMissing, Invalid
from headwater.observatory.ask import QUESTIONS, ask, can_answer
from headwater.observatory.choices import Choices
from headwater.observatory.heeded import heeds
from headwater.observatory.questions.plan import Plan, Question, Scope
from headwater.observatory.run import RESTING
from headwater.observatory.steps import Step
from headwater.observatory.world import Snapshot, World

Given = dict[str, Any]
VALUES: dict[str, tuple[Given, ...]] = {
    "day": ({"day": date(2026, 8, 10)}, {"day": date(2026, 5, 16)}),
    "head": ({"head": 50},),
    "attribution": ({"attribution": "uploader"}, {"attribution": "uploader", "over": "countries"}),
    "parent": ({"parent": "first"}, {"parent": "first", "by": "depth"},
               {"parent": "first", "over": "countries", "attribution": "root"},
               {"parent": "first", "attribution": "root"}),
    "steps": ({"steps": 2}, {"steps": 2, "by": "depth"}, {"steps": 2, "over": "countries", "attribution": "root"},
              {"steps": 2, "attribution": "root"}),
    "window": ({"window": "all"},),
    "age_days_max": ({"age_days_max": 90},),
    "young_days": ({"young_days": 90},),
    "as_of": ({"as_of": datetime(2026, 8, 1)}, {"as_of": datetime(2026, 8, 1), "age_days_max": 90}),  # noqa: DTZ001
    "modality": ({"modality": ("llm",)},),
    "exclude": tuple({"exclude": (one,)} for one in ("mirrors", "tests", "series", "removed", "account:Qwen",
                                                     "id:Qwen/Qwen3-8B")),
    "account": ({"account": ("Qwen", "google")},),
    "country": ({"country": ("CN",)},),
    "family": ({"family": ("Qwen",)},),
    "variant": ({"variant": ("R1",)},),
    "id": ({"id": ("Qwen/Qwen3-8B",)},),
    "relation": ({"relation": ("finetune",)},),
    "licence": ({"licence": ("mit",)},),
    "part": (*({"part": (one,)} for one in ("litellm", "top300", "likes", "runtime_architecture",
                                            "Nvidia/data/org_weeks_0_0.json")),
             {"part": ("trending",), "day": date(2026, 5, 1)}, {"part": ("top300",), "day": date(2026, 8, 10)}),
    "known": ({"known": ("hub-stats",)}, {"known": ("hub-stats",), "parameters_b_min": 7.0, "day": date(2026, 8, 10)},
              {"known": ("hub-stats",), "parameters_b_min": 7.0, "day": date(2026, 5, 1)}),
    "over": ({"over": "countries"},),
    "by": (),
    "grain": ({"grain": "quarter"}, {"grain": "quarter", "by": "period"}),
    "since": ({"since": date(2026, 1, 1)},),
    "until": ({"until": date(2026, 5, 10)},),
    "downloads_min": ({"downloads_min": 100},),
    "likes_min": ({"likes_min": 10},),
    "parameters_b_min": ({"parameters_b_min": 7.0},),
    "parameters_b_max": ({"parameters_b_max": 7.0},),
    "cuts": ({"cuts": (3, 7)},),
    "sizes_b": ({"sizes_b": (3.0, 9.0)},),
    "ages_days": ({"ages_days": (10, 20)},),
    "top": ({"top": 3},),
}  # fmt: skip
"""For each choice values that mean something, the first that does so for a question; some only beside another."""
FREE = frozenset({"population", "sort"})
"""Choices of every question, that have tests of their own."""
NOBODY = {
    ("downloads-by-country-windows", "day"), ("downloads-by-country-windows", "known"), ("chain-depth", "attribution"),
}  # fmt: skip
"""What nobody in the shared data can do: series of counts of all time, and roots that were discovered in weights."""


@pytest.fixture(scope="session")
def answering(shared_world: tuple[World, Any]) -> dict[str, list[Snapshot]]:
    """Who can answer each question by default."""
    return {name: can_answer(shared_world[0], name) for name in QUESTIONS}


def scopes(world: World, asked: Question, able: list[Snapshot], choices: Choices) -> Iterator[Scope]:
    told = tuple(world.snapshot(name) for name in choices.known) or tuple(world.having("model"))
    for one in able:
        known = tuple(other for other in told if other.id != one.id) if "known" in asked.honours else ()
        yield Scope(choices, one, known, lambda _: pa.table({}))


def whole(plan: Plan) -> str:
    """All of a plan as one SELECT that gives no rows: it is understood, and nothing is computed."""
    steps = ", ".join(f"{step.name} as ({step.sql})" for step in plan.steps)
    shares = "".join(f", (select count({one.weight}) from {one.units})" for one in plan.shares)
    return (
        f"{f'with {steps} ' if steps else ''}select *{shares} from ({plan.select}) answer order by {plan.order} limit 0"
    )


def understood(reader: Any, asked: Question, scope: Scope) -> str:
    """The SQL of a plan, after DuckDB has understood it: it tells the columns, which takes half of what no rows take."""
    sql = whole(asked.build(replace(scope, look=reader.table)))
    assert reader._engine.columns(f"({sql})"), sql
    return sql


def heeding(world: World, asked: Question, able: list[Snapshot], given: Given) -> Scope | None:
    """The first snapshot to whose answer the choices mean something."""
    try:
        choices = Choices(**given)
    except Invalid:
        return None
    if set(choices.made()) - set(asked.choices) or (
        "attribution" in choices.made() and choices.attribution not in asked.attributions
    ):
        return None
    return next((one for one in scopes(world, asked, able, choices) if heeds(asked, one)), None)


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_choice_that_a_question_honours_means_something(
    name: str, shared_world: tuple[World, Any], answering: dict[str, list[Snapshot]]
) -> None:
    world, asked, able = shared_world[0], QUESTIONS[name], answering[name]
    if not able:
        pytest.skip("nobody in the shared data can answer it: it needs own events, or a source imported twice")
    with RESTING.reader(world, tuple(world.snapshots()), date(2026, 8, 22)) as reader:
        for choice in asked.choices:
            if choice in FREE or (name, choice) in NOBODY:
                continue
            values: tuple[Given, ...] = VALUES[choice] or tuple({"by": one} for one in asked.by[1:])
            found = {at: scope for at, given in enumerate(values) if (scope := heeding(world, asked, able, given))}
            assert found, f"{choice}: no value of it means anything to {name}"
            for at, scope in found.items():
                rest: Given = {one: value for one, value in values[at].items() if one != choice}
                sql = understood(reader, asked, scope)
                if choice not in ("as_of", "top"):  # the registry of another day; the rows that are shown
                    known = () if choice == "known" else scope.known
                    plain = whole(asked.build(replace(scope, choices=Choices(**rest), known=known)))
                    assert sql != plain, f"{choice}: ignored by {name}"


@pytest.mark.parametrize("name", [name for name, one in QUESTIONS.items() if "exclude" in one.honours])
def test_a_question_answers_without_automated_series(
    name: str, shared_world: tuple[World, Any], answering: dict[str, list[Snapshot]]
) -> None:
    """The detector's parts must not have the names of a question's own."""
    world, asked = shared_world[0], QUESTIONS[name]
    given: Given = {"exclude": ("series", "tests", "mirrors")}
    if heeding(world, asked, answering[name], given) is None:
        with pytest.raises((Invalid, EntryMissing), match=r"exclude|no snapshot has"):
            ask(world, name, Choices(**given))
        return
    assert ask(world, name, Choices(**given)).table.num_rows > 0


def test_a_plan_never_has_two_steps_of_one_name() -> None:
    with pytest.raises(AssertionError, match="two steps of one name"):
        Plan((Step("named", "select 1 as x"), Step("named", "select 2 as x")), "select x from named", "x")


# --- refusals ---

YOUNG = "2026-05-01T00:00:00"


@pytest.fixture
def hub(listed: Callable[..., World]) -> World:
    columns: dict[str, list[Any]] = {
        "id": ["Qwen/base", "someone/Qwen-tune", "meta-llama/base"], "downloads": [60, 30, 100], "likes": [9, 0, 7],
        "pipeline_tag": ["text-generation"] * 3,
        "createdAt": [YOUNG] * 3,
        "tags": [["license:mit"], ["base_model:finetune:Qwen/base"], []],
    }  # fmt: skip
    return listed("hub.parquet", columns, kind="hub-stats", name="hub", date="2026-06-05")


@pytest.mark.parametrize(
    ("name", "given", "why"),
    [
        ("downloads-by-country", {"part": ("zzz",)}, "part changes nothing in downloads-by-country of hub@2026-06-05"),
        ("downloads-by-country", {"parent": "first", "attribution": "uploader"}, "parent changes nothing"),
        ("concentration", {"attribution": "root"}, "attribution changes nothing .*; it would with over=countries"),
        ("chain-depth", {"attribution": "uploader"}, "attribution: chain-depth can do root, origin, discovered"),
        ("chain-depth", {"window": "all"}, "window: chain-depth does not honour"),
        ("downloads-by-country", {"exclude": ("tests", "removed")}, "exclude: removed needs removed, which snapshot"),
        ("licence-drift", {"steps": 2}, "steps changes nothing .*; it would with by=depth"),
    ],
)
def test_a_choice_that_changes_nothing_is_refused_with_what_would_honour_it(
    name: str, given: Given, why: str, hub: World
) -> None:
    with pytest.raises(Invalid, match=why):
        ask(hub, name, Choices(**given))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("concentration", {"cuts": (10,)}),
        ("concentration", {"over": "models"}),
        ("modality-over-time", {"by": "group"}),
        ("release-calendar", {"grain": "month"}),
        ("derivatives-by-family", {"attribution": "root"}),
        ("licence-drift", {"by": "relation"}),
    ],
)
def test_a_value_that_is_the_default_is_no_choice_that_is_ignored(name: str, given: Given, hub: World) -> None:
    answer = ask(hub, name, Choices(**given))
    assert answer.table.equals(ask(hub, name).table)


def test_what_means_nothing_is_not_stated_and_what_was_done_is(hub: World) -> None:
    assert "attribution" not in ask(hub, "concentration").stated
    assert ask(hub, "concentration", Choices(over="countries")).stated["attribution"] == "both"
    assert ask(hub, "derivatives-by-family").stated["attribution"] == "root"


def test_the_population_is_one_to_which_the_choices_mean_something(shared_world: tuple[World, Any]) -> None:
    world, _ = shared_world
    assert ask(world, "release-calendar").stated["population"].startswith("releases@")
    by_model = ask(world, "release-calendar", Choices(country=("CN",), modality=("llm",)))
    assert not by_model.stated["population"].startswith("releases@")
    assert by_model.table.num_rows > 0
    chinese = {row["org"] for row in ask(world, "releases-by-organisation", Choices(country=("CN",))).rows()}
    assert {"BAIDU", "Alibaba Cloud", "Z.ai", "DeepSeek"} <= chinese
    assert not {"AMD", "Google", "Meta Llama"} & chinese


# --- what the choices do ---


def test_edges_alone_tell_drift_only_of_derivatives_that_a_listing_knows(shared_world: tuple[World, Any]) -> None:
    world, _ = shared_world
    given: Given = {"population": ("textgen-2025",), "known": ("llmfit", "hub-stats")}
    rows = {row["relation"]: row for row in ask(world, "licence-drift", Choices(**given)).rows()}
    assert 0 < rows["(all)"]["edges"] < 10_000
    assert rows["(all)"]["pct_undeclared"] < 50


def test_derivatives_can_be_counted_by_root_or_by_uploader(hub: World) -> None:
    def counted(**given: Any) -> dict[str, int]:
        answer = ask(hub, "derivatives-by-country", Choices(**given))
        return {row["country"]: row["derivatives"] for row in answer.rows()}

    assert counted() == counted(attribution="root") == {"CN": 1}
    assert counted(attribution="uploader") == {"??": 1}
    assert counted(attribution="named") == {"CN": 1}
    assert counted(family=("Llama",)) == {}


def test_derivatives_per_family_over_time_add_up_to_a_hundred_in_each_period(shared_world: tuple[World, Any]) -> None:
    rows = ask(shared_world[0], "derivatives-by-family", Choices(population=("radar",), grain="month")).rows()
    sums: dict[str, float] = {}
    for row in rows:
        sums[row["period"]] = sums.get(row["period"], 0) + row["pct"]
    assert len(sums) > 1
    assert all(value == pytest.approx(100, abs=1.5) for value in sums.values())
    total = sum(row["derivatives"] for row in ask(shared_world[0], "derivatives-by-family").rows())
    assert sum(row["derivatives"] for row in rows) <= total


def test_sizes_bound_a_population_and_its_derivatives(shared_world: tuple[World, Any]) -> None:
    world, _ = shared_world

    def number(**given: Any) -> int:
        rows = ask(world, "licence-families", Choices(population=("llmfit",), **given)).rows()
        return sum(row["n"] for row in rows)

    large, small = number(parameters_b_min=20.0), number(parameters_b_max=20.0)
    assert 0 < large < small
    assert large + small <= number()
    assert number(parameters_b_min=7.0, parameters_b_max=8.0) < small
    with pytest.raises(Invalid, match="must be less than parameters_b_max"):
        Choices(parameters_b_min=8.0, parameters_b_max=7.0)


def test_both_sides_stand_beside_each_other(shared_world: tuple[World, Any]) -> None:
    world, _ = shared_world
    for name, share in (("shares-over-days", "pct_downloads"), ("downloads-by-country-windows", "pct_all_time"),
                        ("liked-countries", "pct")):  # fmt: skip
        both = ask(world, name)
        one = ask(world, name, Choices(attribution="uploader"))
        columns = [column for column in both.table.column_names if not column.endswith("_origin")]
        assert columns == one.table.column_names, name
        assert f"{share}_origin" in both.table.column_names, name
        assert len(both.evidence) == 2 * len(one.evidence) > 0, name
    sides = ask(world, "concentration", Choices(over="countries")).rows()
    assert [row["attribution"] for row in sides] == ["uploader", "origin"]
    origin = ask(world, "concentration", Choices(over="countries", attribution="origin")).rows()
    assert origin[0]["hhi"] == sides[1]["hhi"] != sides[0]["hhi"]


def test_shares_over_days_leave_out_what_is_excluded(shared_world: tuple[World, Any]) -> None:
    world, _ = shared_world
    every = ask(world, "shares-over-days", Choices(population=("radar-history",), attribution="uploader")).rows()
    left = ask(
        world, "shares-over-days",
        Choices(population=("radar-history",), attribution="uploader", exclude=("removed", "tests", "series")),
    ).rows()  # fmt: skip
    assert 0 < sum(row["models"] for row in left) < sum(row["models"] for row in every)


@pytest.mark.parametrize("name", ["concentration", "concentration-curve", "size-over-time", "mean-size-over-time",
                                  "modality-over-time", "family-over-time", "licence-drift", "withdrawn-by",
                                  "token-countries", "chain-depth", "shares-over-days"])  # fmt: skip
def test_evidence_stands_behind_concentration_and_shares_over_time(name: str, shared_world: tuple[World, Any]) -> None:
    answer = ask(shared_world[0], name)
    assert answer.authors
    assert answer.leave_one_out is not None
    first = answer.evidence[0]
    assert first.leader != first.runner_up
    assert first.gap_pct is not None
    assert first.without_one_account is not None
