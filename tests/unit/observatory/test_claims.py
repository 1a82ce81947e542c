"""Claims: verdicts are computed from cases, files are checked, and nothing that a claim says is believed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from headwater.ground.errors import EntryMissing, Invalid
from headwater.observatory import claims
from headwater.observatory.claims import Case, CaseResult, Claim, Claims, Source, check, judge, parse
from headwater.observatory.run import run
from headwater.observatory.world import World


def case(name: str, holds: bool | None, **choices: claims.Word) -> CaseResult:
    return CaseResult(name=name, holds=holds, choices=choices, why="" if holds is not None else "no rows")


def claim(**more: Any) -> Claim:
    given = {
        "id": "a-claim",
        "sentence": "Qwen is liked most.",
        "source": Source("A blog"),
        "sql": "select id, likes from model order by likes desc limit (select first from choice)",
        "holds": "(select bool_and(id like 'Qwen/%') from answer)",
        "case": (Case("the first", ("tiny",), values={"first": 1}), Case("two", ("tiny",), values={"first": 2})),
    }
    return Claim(**(given | more))


@pytest.fixture
def tiny(world: World, take: Callable[..., Any], parquet: Callable[..., Path]) -> World:
    """Two models of hub-stats' kind in a snapshot named tiny."""
    columns: dict[str, list[Any]] = {
        "id": ["Qwen/a", "meta-llama/b"], "author": ["Qwen", "meta-llama"], "likes": [9, 5], "downloads": [1, 7],
        "downloadsAllTime": [10, 70], "createdAt": ["2026-01-01T00:00:00", "2020-01-01T00:00:00"],
        "tags": [["license:mit"], ["license:mit"]],
    }  # fmt: skip
    take(
        parquet("tiny.parquet", **columns), kind="hub-stats", name="tiny", date="2026-06-05", licence="MIT",
        biases="two models",
    )  # fmt: skip
    return world


def test_cases_that_agree_reproduce_or_contradict_a_claim() -> None:
    assert judge(claim(), (), (case("a", True), case("b", None))).verdict == "reproduced"
    assert judge(claim(), (), (case("a", False), case("b", False))).verdict == "contradicted"


def test_cases_that_disagree_show_the_nearest_choice_that_flips_them() -> None:
    result = judge(
        claim(),
        (),
        (
            case("first", True, attribution="uploader", modality="all"),
            case("far", False, attribution="origin", modality="llm"),
            case("near", False, attribution="origin", modality="all"),
        ),
    )
    assert result.verdict == "depends on"
    assert result.flip is not None
    assert (result.flip.first, result.flip.other) == ("first", "near")
    assert result.flip.differs == {"attribution": ("uploader", "origin")}


def test_a_claim_without_data_is_undecidable_and_says_what_would_decide_it() -> None:
    result = judge(claim(decides="A census."), (), (case("a", None),))
    assert (result.verdict, result.missing) == ("undecidable", "A census. No rows.")


def test_unmet_needs_make_a_claim_undecidable_whatever_its_cases_say(tiny: World) -> None:
    result = check(tiny, claim(needs=("event_day.client_country",)))
    assert result.verdict == "undecidable"
    assert "event_day.client_country" in result.missing
    assert check(tiny, claim(needs=("model.likes",))).verdict == "depends on"


def test_a_verdict_is_computed_from_the_rows(tiny: World) -> None:
    result = check(tiny, claim(figures={"first": "select id from answer order by likes desc limit 1"}))
    assert [one.holds for one in result.cases] == [True, False]
    assert result.verdict == "depends on"
    assert result.flip is not None
    assert result.flip.differs == {"first": ("1", "2")}
    assert result.cases[0].figures == {"first": "Qwen/a"}
    assert check(tiny, claim(holds="(select count(*) > 5 from answer)")).verdict == "contradicted"


def test_a_case_carries_its_query_and_its_data_with_date_licence_and_biases(tiny: World) -> None:
    result = check(tiny, claim())
    (data,) = result.cases[1].data
    assert (data.id, data.date, data.licence, data.biases) == ("tiny@2026-06-05", "2026-06-05", "MIT", "two models")
    assert claims.data_of(result) == [data]
    # What is shown can be asked as it stands, and gives what the rule was asked of.
    assert run(tiny, result.cases[1].sql, snapshots=tiny.snapshots()).num_rows == 2
    asked = check(tiny, claim(
        sql="", question="most-liked", holds="(select count(*) > 0 from answer)",
        case=(Case("two", choices={"population": "tiny", "exclude": ["id:a/b", "account:it's"], "top": 2}),),
    ))  # fmt: skip
    assert asked.cases[0].data == (data,)
    assert claims.query(asked.claim, asked.cases[0]) == "population=tiny&exclude=id%3Aa%2Fb%2Caccount%3Ait%27s&top=2"
    assert claims.command(asked.claim, asked.cases[0]) == (
        "headwater observatory ask most-liked --choice population=tiny "
        """--choice 'exclude=id:a/b,account:it'"'"'s' --choice top=2"""
    )
    assert claims.command(result.claim, result.cases[0]) == ""


def test_a_verdict_that_an_import_came_into_is_not_kept(
    tiny: World, take: Callable[..., Any], parquet: Callable[..., Path]
) -> None:
    def importing(world: World, name: str, choices: dict[str, claims.Word]) -> claims.Answered:
        take(parquet("b.parquet", id=["a/b"], likes=[1]), kind="hub-stats", name="later", date="2026-07-01")
        return claims.ask_question(world, name, choices)

    state = claims.state_of(tiny)
    one = claim(
        sql="", question="most-liked", holds="(select true)", case=(Case("one", choices={"population": "tiny"}),)
    )
    check(tiny, one, importing, state)
    assert claims.kept_result(tiny, one, state) is None
    assert claims.kept_result(tiny, one, claims.state_of(tiny)) is None
    made = check(tiny, one)
    assert claims.kept_result(tiny, one, claims.state_of(tiny)) == made


def test_a_kept_verdict_is_taken_only_for_the_same_claim_and_data(tiny: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = check(tiny, claim())
    with monkeypatch.context() as patched:
        patched.setattr(claims, "_case", None)
        assert check(tiny, claim()) == first
        with pytest.raises(TypeError):
            check(tiny, claim(holds="(select true)"))


def test_a_damaged_cache_is_no_cache(tiny: World) -> None:
    first = check(tiny, claim())
    for file in (tiny.cache / "claims").iterdir():
        file.write_bytes(b"{")
    assert check(tiny, claim()) == first


def test_a_question_is_asked_with_the_choices_of_each_case(tiny: World) -> None:
    result = check(
        tiny,
        claim(
            sql="", question="downloads-by-country",
            holds="(select max(pct_downloads) filter (country = 'CN') > 50 from answer)",
            case=(
                Case("all ages", choices={"population": "tiny", "attribution": "uploader"}),
                Case("without", choices={"population": "tiny", "attribution": "uploader", "exclude": ["id:meta-llama/b"]}),
            ),
        ),
    )  # fmt: skip
    assert all(one.snapshots == ("tiny@2026-06-05",) for one in result.cases), result.cases


def test_a_case_whose_snapshot_is_missing_says_so_and_the_others_decide(tiny: World) -> None:
    result = check(
        tiny, claim(case=(Case("gone", ("radar",), values={"first": 1}), Case("here", ("tiny",), values={"first": 1})))
    )
    assert result.verdict == "reproduced"
    assert "radar" in result.cases[0].why


def test_a_star_asks_every_snapshot_that_has_the_table(tiny: World) -> None:
    result = check(
        tiny,
        claim(case=(Case("every", ("*model",), values={"first": 1}), Case("edges", ("*edge",), values={"first": 1}))),
    )
    assert result.cases[0].snapshots == ("tiny@2026-06-05",)
    assert result.cases[1].why == "no snapshot here has rows of edge"


@pytest.mark.parametrize(
    "rule",
    [
        "1) from answer; drop table snapshots; select (1",
        "(select count(*) > 0 from read_csv('/etc/passwd'))",
        "(select nonsense from answer)",
        "(select 'no truth' from answer)",
    ],
)
def test_a_rule_that_is_no_expression_or_reaches_out_decides_nothing(tiny: World, rule: str) -> None:
    result = check(tiny, claim(holds=rule))
    assert result.verdict == "undecidable"
    assert all(one.why for one in result.cases)


def test_a_users_file_is_a_claim_and_replaces_a_shipped_one(world: World) -> None:
    world.claims_folder.mkdir(parents=True)
    text = 'id = "r1-under-mit"\nsentence = "Mine."\nneeds = ["survey"]\n[source]\ntitle = "me"\n'
    (world.claims_folder / "mine.toml").write_text(text)
    assert Claims.load(world).named("r1-under-mit").sentence == "Mine."


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("id = ", "Invalid value"),
        ('id = "UPPER"\nsentence = "x"\n[source]\ntitle = "t"', "id"),
        ('id = "a"\nsentence = "x"\nverdict = "reproduced"\n[source]\ntitle = "t"', "verdict"),
        ('id = "a"\nsentence = "x"\nneeds = ["m"]\n[source]\ntitle = "t"\nurl = "javascript:alert(1)"', "https"),
        ('id = "a"\nsentence = "x"\n[source]\ntitle = "t"', "needs a question or sql"),
        ('id = "a"\nsentence = "x"\nsql = "select 1"\nholds = "true"\n[source]\ntitle = "t"\n[[case]]\nname = "c"\n[case.values]\n"a; drop" = 1', "no name"),
        ("\udcff", "utf"),
        ("[" * 100_000, "bytes"),
    ],
)  # fmt: skip
def test_a_bad_file_is_told_and_stops_no_other(world: World, text: str, why: str) -> None:
    world.claims_folder.mkdir(parents=True)
    (world.claims_folder / "bad.toml").write_bytes(text.encode(errors="surrogateescape"))
    loaded = Claims.load(world)
    assert [one.file for one in loaded.unreadable] == ["bad.toml"]
    assert why in loaded.unreadable[0].why
    assert len(loaded.claims) > 10


def test_an_unknown_claim_names_those_that_there_are(world: World) -> None:
    with pytest.raises(EntryMissing, match="r1-under-mit"):
        Claims.load(world).named("nope")


def test_deeply_nested_toml_is_refused() -> None:
    with pytest.raises(Invalid):
        parse(b"id = " + b"[" * 5_000)


def test_rows_survive_the_way_into_a_rule(world: World) -> None:
    table = pa.table({"a b": [1, None], 'q"': ["it's", "\\"], "f": [0.5, float("nan")], "l": [["x", "y'"], []]})
    back = run(world, f"select * from ({claims.rows_sql(table)})")
    assert repr(back.to_pylist()) == repr(table.to_pylist())
    assert run(world, claims.rows_sql(table.slice(0, 0))).column_names == table.column_names


def test_without_any_data_every_shipped_claim_is_undecidable(world: World) -> None:
    results, unreadable = claims.check_all(world)
    assert not unreadable
    assert {one.verdict for one in results} == {"undecidable"}
    assert all(one.missing for one in results)


def test_the_designs_table_of_claims_is_reproduced(shared_world: tuple[World, Any]) -> None:
    results, _ = claims.check_all(shared_world[0])
    found = {one.claim.id: one for one in results}
    assert {name: one.verdict for name, one in found.items()} == {
        "adoption-in-africa-and-south-east-asia": "undecidable",
        "baidu-none-in-2024": "contradicted",
        "baidu-over-100-in-2025": "depends on",
        "bytedance-eightfold": "contradicted",
        "china-41-percent-2025": "reproduced",
        "china-downloads-surpass-us": "depends on",
        "chinese-releases-2025": "reproduced",
        "cogito-is-deepseek-v3": "reproduced",
        "every-cloud-offers-deepseek": "reproduced",
        "liked-is-not-downloaded": "contradicted",
        "new-models-china-leads": "depends on",
        "one-percent-is-99": "contradicted",
        "qwen-113000-derivatives": "undecidable",
        "qwen-most-derivatives": "depends on",
        "r1-most-liked": "contradicted",
        "r1-under-mit": "reproduced",
        "startups-80-percent": "undecidable",
        "tencent-eightfold": "contradicted",
        "top-liked-not-us": "reproduced",
        "velocity-in-all-regions": "undecidable",
    }
    young = found["new-models-china-leads"]
    assert young.flip is not None
    assert young.flip.differs == {"exclude": ("default", "id:amazon/chronos-2")}
    assert young.cases[0].figures == {"China %": 40.52, "United States %": 43.88, "unmapped %": 7.35}
    assert found["chinese-releases-2025"].cases[0].figures["February to July 2025"] == 570
    assert found["cogito-is-deepseek-v3"].cases[0].figures["missing parameters"] == 6_666_240
