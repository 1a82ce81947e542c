"""Several snapshots of one source are one population over time: windows, histories, names that change, providers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headwater.ground.errors import EntryMissing, Invalid
from headwater.observatory.ask import ask, can_answer
from headwater.observatory.choices import Choices
from headwater.observatory.imports.door import Report
from headwater.observatory.imports.folder import dated_name_of, name_of
from headwater.observatory.questions import over_time
from headwater.observatory.run import run
from headwater.observatory.world import World

Take = Callable[..., Report]
Parquet = Callable[..., Path]

OLD, BORN = "2020-01-01T00:00:00", "2026-01-20T00:00:00"
# key, id, all-time downloads, of 30 days, created
JANUARY = [
    ("aaaa0001", "meta-llama/base", 1_000, 100, OLD),
    ("aaaa0002", "Qwen/base", 500, 50, OLD),
    ("aaaa0003", "someone/tune", 10, 10, OLD),
]
FEBRUARY = [
    ("aaaa0001", "meta-llama/base", 1_300, 110, OLD),
    ("aaaa0002", "Qwen/base-renamed", 900, 70, OLD),
    ("aaaa0003", "someone/tune", 10, 0, OLD),
    ("aaaa0004", "google/new", 200, 200, BORN),
    ("aaaa0005", "mistralai/late", 9_000, 900, OLD),
]
WINDOW = "2026-01-10..2026-02-10"


@pytest.fixture
def dump(take: Take, parquet: Parquet) -> Callable[..., Report]:
    """A whole listing of a day, under a name that has the day in it."""

    def dumped(rows: list[tuple[str, str, int, int, str]], day: str, **options: str) -> Report:
        file = parquet(
            f"dump_{day}.parquet", _id=[row[0] for row in rows], id=[row[1] for row in rows],
            downloadsAllTime=[row[2] for row in rows], downloads=[row[3] for row in rows], likes=[1] * len(rows),
            createdAt=[row[4] for row in rows], safetensors=[json.dumps({"total": 7_000_000_000})] * len(rows),
        )  # fmt: skip
        return take(file, **({"date": day} | options))

    return dumped


@pytest.fixture
def two(world: World, dump: Callable[..., Report]) -> World:
    """The Hub in January and in February."""
    dump(JANUARY, "2026-01-10")
    dump(FEBRUARY, "2026-02-10")
    return world


def rows(world: World, question: str, **choices: Any) -> list[dict[str, Any]]:
    return ask(world, question, Choices(**choices)).rows()


# --- windows ---


def test_a_window_between_two_dumps_is_the_difference_of_their_counts(two: World) -> None:
    answer = ask(two, "downloads-by-organisation", Choices(window=WINDOW, attribution="uploader", top=50))
    downloads = {row["organisation"]: row["downloads"] for row in answer.rows()}
    # The renamed one goes on; the new one counts from 0; the late one, which is older, from its first count.
    assert sum(downloads.values()) == 300 + 400 + 0 + 200 + 0
    countries = {row["country"]: row["downloads"] for row in rows(two, "downloads-by-country", window=WINDOW,
                                                                  attribution="uploader")}  # fmt: skip
    assert (countries["US"], countries["CN"]) == (500, 400)
    assert any("A model created within it counts from 0" in text for text in answer.caveats)
    assert any("2 snapshots over time (2026-01-10, 2026-02-10)" in text for text in answer.caveats)
    assert [(one.id, one.role) for one in answer.snapshots][:2] == [
        ("dump@2026-02-10", "population"), ("dump@2026-01-10", "earlier"),
    ]  # fmt: skip


def test_the_sql_of_a_window_gives_the_same_table_to_anybody(two: World) -> None:
    answer = ask(two, "downloads-by-country", Choices(window=WINDOW, attribution="uploader"))
    assert run(two, answer.sql, (), two.snapshots()).to_pylist() == answer.rows()


def test_a_window_that_no_two_dumps_span_is_refused(two: World, dump: Callable[..., Report]) -> None:
    for window in ("2025-01-01..2026-01-01", "2025-01-01..2026-01-10", "2026-03-01..2026-04-01"):
        with pytest.raises((Invalid, EntryMissing)):
            ask(two, "downloads-by-country", Choices(window=window))
    dump(FEBRUARY, "2026-03-10")
    assert sum(row["downloads"] for row in rows(two, "downloads-by-country", window="2026-02-10..2026-03-10",
                                                attribution="uploader")) == 0  # fmt: skip


def test_dumps_without_stable_keys_are_joined_by_name(world: World, take: Take, parquet: Parquet) -> None:
    for day, counts in (("2026-01-10", [10, 20]), ("2026-02-10", [40, 30])):
        file = parquet(f"plain_{day}.parquet", id=["Qwen/a", "meta-llama/b"], downloadsAllTime=counts,
                       downloads=[1, 1], createdAt=[OLD, OLD])  # fmt: skip
        take(file, date=day)
    found = rows(world, "downloads-by-country", window=WINDOW, attribution="uploader")
    assert {row["country"]: row["pct_downloads"] for row in found} == {"CN": 75.0, "US": 25.0}


def test_dumps_of_which_one_knows_no_keys_are_joined_by_name_too(world: World, take: Take, parquet: Parquet) -> None:
    common = {"id": ["Qwen/a", "meta-llama/b"], "downloads": [1, 1], "createdAt": [OLD, OLD]}
    take(parquet("mixed_2026-01-10.parquet", downloadsAllTime=[10, 20], **common), date="2026-01-10")
    keyed = {"_id": ["aaaa0001", "aaaa0002"], **common}
    take(parquet("mixed_2026-02-10.parquet", downloadsAllTime=[40, 30], **keyed), date="2026-02-10")
    found = rows(world, "downloads-by-country", window=WINDOW, attribution="uploader")
    assert {row["country"]: row["pct_downloads"] for row in found} == {"CN": 75.0, "US": 25.0}


def test_a_history_of_days_counts_what_was_born_within_the_window(world: World, take: Take, parquet: Parquet) -> None:
    """As issue 4's review found it: the new model's first count lies within the window."""
    cells = [("2026-01-01", "Qwen/old", 100), ("2026-01-04", "Qwen/old", 130), ("2026-01-31", "Qwen/old", 400)]
    cells += [("2026-01-10", "google/new", 0), ("2026-01-31", "google/new", 2_200)]
    cells += [("2026-01-12", "mistralai/old", 5_000), ("2026-01-31", "mistralai/old", 5_100)]
    file = parquet("counts.parquet", date=[c[0] for c in cells], id=[c[1] for c in cells],
                   downloads_all=[c[2] for c in cells])  # fmt: skip
    report = take(file)
    assert (report.kind, report.rows) == ("history", {"count": 7})
    answer = ask(world, "downloads-by-country", Choices(window="2026-01-05..2026-02-01", attribution="uploader"))
    # Nothing is told of births: all that was not counted before counts from its first count.
    assert {row["country"]: row["downloads"] for row in answer.rows()} == {"CN": 270, "US": 2_200, "FR": 100}
    assert any("from its first count within it" in text for text in answer.caveats)


def test_a_birth_that_another_source_tells_makes_a_model_count_from_nothing(
    world: World, take: Take, parquet: Parquet
) -> None:
    file = parquet("counts.parquet", date=["2026-01-01", "2026-01-31", "2026-01-31"],
                   id=["Qwen/old", "Qwen/old", "google/new"], downloads_all=[100, 400, 2_200])  # fmt: skip
    take(file)
    facts = parquet("facts.parquet", id=["google/new"], downloads=[1], createdAt=["2026-01-20T00:00:00"])
    take(facts, kind="hub-stats", name="facts", date="2026-02-05")
    found = rows(world, "downloads-by-country", window="2026-01-05..2026-02-01", attribution="uploader",
                 population=("counts",))  # fmt: skip
    assert {row["country"]: row["downloads"] for row in found} == {"CN": 300, "US": 2_200}


def test_a_count_that_fell_is_no_negative_download(world: World, take: Take, parquet: Parquet) -> None:
    file = parquet("counts.parquet", date=["2026-01-01", "2026-01-31"] * 2, id=["Qwen/a"] * 2 + ["google/b"] * 2,
                   downloads_all=[100, 400, 500, 20])  # fmt: skip
    take(file)
    found = rows(world, "downloads-by-country", window="2026-01-05..2026-02-01", attribution="uploader")
    assert {row["country"]: row["downloads"] for row in found} == {"CN": 300, "US": 0}


def test_files_of_a_history_by_the_month_are_one_history(world: World, take: Take, parquet: Parquet) -> None:
    """A day that several files have is told by the newest."""
    take(parquet("h_2026-01.parquet", date=["2026-01-01", "2026-01-31"], id=["Qwen/a"] * 2, downloads_all=[10, 40]))
    take(parquet("h_2026-02.parquet", date=["2026-01-31", "2026-02-28"], id=["Qwen/a"] * 2, downloads_all=[50, 90]))
    assert {one.name for one in world.snapshots()} == {"h"}
    found = rows(world, "model-history", id=("Qwen/a",))
    assert [row["downloads_all"] for row in found] == [10, 50, 90]
    (total,) = rows(world, "downloads-by-country", window="2026-01-02..2026-03-01", attribution="uploader")
    assert total["downloads"] == 80


# --- histories ---


@pytest.mark.parametrize("name", ["Qwen/base", "Qwen/base-renamed"])
def test_a_models_history_goes_on_under_its_new_name_and_is_found_by_either(two: World, name: str) -> None:
    found = rows(two, "model-history", id=(name,))
    assert [(row["id"], row["moment"].date(), row["downloads_all"]) for row in found] == [
        ("Qwen/base-renamed", date(2026, 1, 10), 500), ("Qwen/base-renamed", date(2026, 2, 10), 900),
    ]  # fmt: skip
    (moved,) = rows(two, "volatility", id=(name,))
    assert (moved["counts"], moved["first"], moved["last"]) == (2, 50, 70)


def test_without_an_id_a_history_is_that_of_what_has_most(two: World) -> None:
    found = rows(two, "model-history")
    assert {row["id"] for row in found} == {row[1] for row in FEBRUARY}
    assert len(found) == len(JANUARY) + len(FEBRUARY)


def test_a_name_that_another_model_took_over_tells_them_apart(two: World, dump: Callable[..., Report]) -> None:
    dump([*FEBRUARY, ("aaaa0006", "Qwen/base", 7, 7, BORN)], "2026-03-10")
    found = rows(two, "model-history", id=("Qwen/base",))
    assert [(row["id"], row["downloads_all"]) for row in found] == [
        ("Qwen/base", 7), ("Qwen/base-renamed", 500), ("Qwen/base-renamed", 900), ("Qwen/base-renamed", 900),
    ]  # fmt: skip


def test_shares_go_from_dump_to_dump(two: World) -> None:
    found = rows(two, "shares-over-days", by="author")
    downloads = {(str(row["day"]), row["author"]): row["downloads"] for row in found}
    assert downloads["2026-01-10", "Qwen"] == 50
    assert downloads["2026-02-10", "Qwen"] == 70
    assert ("2026-01-10", "google") not in downloads


def test_adoption_is_measured_from_dumps(two: World, dump: Callable[..., Report]) -> None:
    older = [("aaaa0004", "google/new", 900, 700, BORN)]
    dump(older, "2026-02-19")
    curve = rows(two, "adoption-curves", id=("google/new",))
    assert [(row["age_days"], row["downloads"]) for row in curve] == [(21, 200), (30, 900)]
    found = rows(two, "relative-adoption")
    assert [(row["id"], row["age_days"], row["downloads"]) for row in found] == [("google/new", 30, 900)]


def test_a_day_of_dumps_is_the_newest_until_then(two: World) -> None:
    found = rows(two, "downloads-by-country", day=date(2026, 1, 15), attribution="uploader")
    assert {row["country"]: row["downloads"] for row in found} == {"US": 100, "CN": 50, "??": 10}


def test_one_dump_is_no_history(world: World, dump: Callable[..., Report]) -> None:
    dump(JANUARY, "2026-01-10")
    for question in ("model-history", "relative-adoption", "shares-over-days", "renamed-models"):
        assert can_answer(world, question) == [], question


def test_an_older_dump_is_asked_as_if_later_ones_had_not_come(two: World, dump: Callable[..., Report]) -> None:
    dump(FEBRUARY, "2026-03-10")
    found = rows(two, "model-history", id=("Qwen/base",), population=("dump@2026-02-10",))
    assert len(found) == 2
    with pytest.raises(Invalid, match="no count"):
        ask(two, "model-history", Choices(population=("dump@2026-01-10",)))


def test_a_question_about_one_moment_reads_one_snapshot(two: World) -> None:
    answer = ask(two, "downloads-by-country", Choices(attribution="uploader"))
    assert "2026-01-10" not in answer.sql
    assert not any(one.role == "earlier" for one in answer.snapshots)


def test_so_many_dumps_that_they_can_not_all_be_read_are_thinned_evenly(
    two: World, dump: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    for month in range(3, 10):
        dump(FEBRUARY, f"2026-{month:02d}-10")
    monkeypatch.setattr(over_time, "PAST_MODELS_MAX", 15)
    answer = ask(two, "model-history", Choices(id=("meta-llama/base",)))
    days = [row["moment"].date().isoformat() for row in answer.rows()]
    assert len(days) < 9
    assert (days[0], days[-1]) == ("2026-01-10", "2026-09-10")


def test_of_lists_that_have_all_days_again_only_the_newest_is_read(world: World, take: Take, parquet: Parquet) -> None:
    for last in (2, 3, 4):
        days = [f"2026-05-{day:02d}" for day in range(1, last + 1)]
        file = parquet(f"list_2026-05-{last:02d}.parquet", date=days, rank=[1] * last, id=["Qwen/a"] * last,
                       created_at=[OLD] * last, downloads_30d=[last] * last)  # fmt: skip
        take(file)
    answer = ask(world, "shares-over-days", Choices(attribution="uploader"))
    assert [row["downloads"] for row in answer.rows()] == [4] * 4
    assert not any(one.role == "earlier" for one in answer.snapshots)


# --- names that change ---


def test_every_change_of_a_name_is_told_with_its_day(two: World, dump: Callable[..., Report]) -> None:
    dump([("aaaa0002", "other/base", 950, 70, OLD)], "2026-03-10")
    found = rows(two, "renamed-models")
    assert [(row["old_id"], row["new_id"], row["seen"], row["id"]) for row in found] == [
        ("Qwen/base-renamed", "other/base", date(2026, 3, 10), "other/base"),
        ("Qwen/base", "Qwen/base-renamed", date(2026, 2, 10), "other/base"),
    ]
    assert len(rows(two, "renamed-models", id=("Qwen/base",))) == 2
    assert [row["new_id"] for row in rows(two, "renamed-models", account=("other",))] == ["other/base"]
    assert [row["new_id"] for row in rows(two, "renamed-models", until=date(2026, 3, 1))] == ["Qwen/base-renamed"]


# --- providers ---

PRICES = {"litellm_provider": "azure_ai", "mode": "chat", "input_cost_per_token": 2e-6, "output_cost_per_token": 4e-6}


def prices(tmp_path: Path, day: str, **listed: dict[str, Any]) -> Path:
    file = tmp_path / f"model_prices_{day}.json"
    file.write_text(json.dumps({name.replace("__", "/"): entry for name, entry in listed.items()}))
    return file


@pytest.fixture
def maps(world: World, take: Take, tmp_path: Path) -> World:
    """litellm's price map of January and of June, and the Hub's own list of November."""
    later = PRICES | {"output_cost_per_token": 1e-6}
    take(prices(tmp_path, "2026-01-01", **{"azure_ai__deepseek-r1": PRICES, "azure_ai__deepseek-v3": PRICES}))
    take(prices(tmp_path, "2026-06-01", **{"azure_ai__deepseek-r1": later,
                                           "together__deepseek-r1": PRICES | {"litellm_provider": "together_ai"}}))  # fmt: skip
    served = [{"provider": "novita", "providerId": "x", "status": "live", "task": "conversational"}]
    page = tmp_path / "page.json"
    page.write_text(json.dumps([{
        "_id": "aaaa0001", "id": "deepseek-ai/DeepSeek-R1", "createdAt": OLD, "downloads": 5,
        "inferenceProviderMapping": served,
    }]))  # fmt: skip
    take(page, name="hub-list", date="2026-11-22")
    return world


def test_first_and_last_sight_are_those_of_all_snapshots(maps: World) -> None:
    found = {row["provider"]: row for row in rows(maps, "provider-first-seen", part=("litellm",))}
    assert (found["azure_ai"]["first_seen"], found["azure_ai"]["last_seen"]) == (date(2026, 1, 1), date(2026, 6, 1))
    assert found["azure_ai"]["v3"] == date(2026, 1, 1)
    assert found["together_ai"]["first_seen"] == date(2026, 6, 1)
    v3 = rows(maps, "provider-first-seen", part=("litellm",), variant=("V3",))
    assert [(row["last_seen"], row["listed_at_end"]) for row in v3] == [(date(2026, 1, 1), False)]


def test_a_newer_list_of_the_hub_does_not_take_the_place_of_the_catalogues(maps: World) -> None:
    assert next(one.id for one in can_answer(maps, "provider-first-seen")) == "model_prices@2026-06-01"
    only = can_answer(maps, "provider-first-seen", Choices(part=("hub",)))
    assert [one.id for one in only] == ["hub-list@2026-11-22"]
    with pytest.raises(Invalid, match=r"no part hub .*hub-list@2026-11-22"):
        ask(maps, "provider-diffusion", Choices(part=("hub",), population=("model_prices",)))
    with pytest.raises(EntryMissing, match="no snapshot"):
        ask(maps, "provider-diffusion", Choices(part=("nowhere",)))


def test_diffusion_reach_and_prices_are_those_of_all_snapshots(maps: World) -> None:
    months = rows(maps, "provider-diffusion", part=("litellm",))
    assert [(row["month"], row["new_providers"], row["cumulative"]) for row in months] == [
        ("2026-01", 1, 1), ("2026-06", 1, 2),
    ]  # fmt: skip
    (then,) = rows(maps, "provider-reach", part=("litellm",), day=date(2026, 3, 1))
    assert (then["providers"], then["keys"]) == (1, 1)
    (now,) = rows(maps, "provider-reach", part=("litellm",), day=date(2026, 6, 1))
    assert (now["providers"], now["keys"]) == (2, 2)
    (price,) = rows(maps, "provider-prices", part=("litellm",), account=("azure_ai",), variant=("R1",))
    assert (price["usd_per_mtok_out_first"], price["usd_per_mtok_out_last"]) == (4.0, 1.0)


# --- names of sources ---


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("model_prices_2026-01-01.json", "model_prices"),
        ("models-2026-10.parquet", "models"),
        ("2026-01-01_models.parquet", "models"),
        ("hub_models_2026-08.parquet", "radar"),
        ("h_2022-2026.csv", "h_2022-2026"),
        ("daily_2026-08-07..22.csv", "daily_2026-08-07-22"),
    ],
)
def test_a_files_name_without_its_day_is_the_name_of_the_source(tmp_path: Path, file: str, name: str) -> None:
    path = tmp_path / file
    path.touch()
    assert name_of(path) == name.replace("07-22", "07..22")


def test_a_file_that_is_named_by_its_day_alone_has_its_folders_name(tmp_path: Path) -> None:
    path = tmp_path / "Weekly Dumps" / "2026-01-01.parquet"
    path.parent.mkdir()
    path.touch()
    assert name_of(path) == "weekly-dumps"


def test_what_was_imported_under_a_name_with_its_day_is_known_again_and_of_the_same_source(
    world: World, take: Take, tmp_path: Path
) -> None:
    """As a data folder of an older version has it."""
    old = prices(tmp_path, "2026-01-01", **{"azure_ai__deepseek-r1": PRICES})
    assert dated_name_of(old) == "model_prices_2026-01-01"
    take(old, name=dated_name_of(old))
    again = take(old)
    assert (again.already, again.snapshot) == (True, "model_prices_2026-01-01@2026-01-01")
    newer = prices(tmp_path, "2026-06-01", **{"azure_ai__deepseek-r1": PRICES})
    assert take(newer).already is False
    assert take(newer).already is True
    assert [one.id for one in world.snapshots()] == [
        "model_prices_2026-01-01@2026-01-01", "model_prices@2026-06-01",
    ]  # fmt: skip
    assert world.snapshot("model_prices").id == "model_prices@2026-06-01"
    assert world.snapshot("model_prices_2026-01-01").id == "model_prices_2026-01-01@2026-01-01"
    (found,) = rows(world, "provider-first-seen")
    assert found["first_seen"] == date(2026, 1, 1)


def test_of_two_imports_of_one_day_the_last_one_counts(world: World, dump: Callable[..., Report]) -> None:
    dump(JANUARY, "2026-01-10")
    better = [(key, name, total + 100, month, born) for key, name, total, month, born in JANUARY]
    second = dump(better, "2026-01-10")
    manifest = next(one for one in world.snapshots() if one.id == second.snapshot)
    file = manifest.folder / "manifest.json"
    file.chmod(0o644)
    later = msgspec.structs.replace(manifest.manifest, imported_at="2099-01-01T00:00:00Z")
    file.write_bytes(msgspec.json.encode(later))
    dump(FEBRUARY, "2026-02-10")
    found = rows(world, "model-history", id=("meta-llama/base",))
    assert [row["downloads_all"] for row in found] == [1_100, 1_300]


def test_lists_of_several_snapshots_are_one_list(world: World, take: Take, parquet: Parquet) -> None:
    for day, counts in (("2026-05-01", [10, 30]), ("2026-05-02", [40, 60])):
        file = parquet(f"list_{day}.parquet", date=[day] * 2, rank=[1, 2], id=["Qwen/a", "google/b"],
                       created_at=[OLD] * 2, downloads_30d=counts)  # fmt: skip
        take(file)
    found = rows(world, "shares-over-days", attribution="uploader")
    assert {(str(row["day"]), row["country"]): row["downloads"] for row in found} == {
        ("2026-05-01", "CN"): 10, ("2026-05-01", "US"): 30, ("2026-05-02", "CN"): 40, ("2026-05-02", "US"): 60,
    }  # fmt: skip
    earlier = rows(world, "downloads-by-country", day=date(2026, 5, 1), attribution="uploader")
    assert {row["country"]: row["downloads"] for row in earlier} == {"CN": 10, "US": 30}
