"""What a question may see, and what it may not do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headwater.ground.errors import Invalid, TooMuch
from headwater.observatory.imports.door import Report
from headwater.observatory.run import Reader, run
from headwater.observatory.schema import REFERENCE, TABLES
from headwater.observatory.world import World

Take = Callable[..., Report]
Parquet = Callable[..., Path]


def models(parquet: Parquet, file: str, *ids: str, **columns: list[Any]) -> Path:
    return parquet(file, id=list(ids), createdAt=["2026-01-01T00:00:00.000Z"] * len(ids), **columns)


def test_an_empty_world_has_every_view_with_its_columns(world: World) -> None:
    with Reader(world, ()) as reader:
        for table in TABLES.values():
            found = reader.table(f'select * from "{table.name}"')
            assert found.schema.names == ["snapshot", *table.names]
            assert found.num_rows == 0
        for table in REFERENCE.values():
            assert reader.table(f'select * from "{table.name}"').schema.names == list(table.names)


def test_only_the_chosen_snapshots_are_seen(world: World, take: Take, parquet: Parquet) -> None:
    old = take(models(parquet, "a.parquet", "x/a"), name="hub", date="2026-01-02")
    new = take(models(parquet, "b.parquet", "x/a", "x/b"), name="hub", date="2026-01-03")
    seen = run(world, "select snapshot, count(*) as n from model group by 1", (), [world.snapshot(new.snapshot)])
    assert seen.to_pylist() == [{"snapshot": new.snapshot, "n": 2}]
    both = run(world, "select count(*) as n from model", (), world.snapshots())
    assert both.to_pylist() == [{"n": 3}]
    assert old.snapshot != new.snapshot


@pytest.mark.parametrize(
    "sql",
    [
        "copy (select 1) to '/tmp/stolen.csv'",
        "select 1; select 2",
        "create table a as select 1",
        "attach '/tmp/x.db'",
        "install httpfs",
        "load httpfs",
        "set threads = 64",
        "pragma version",
        "drop view model",
        "explain analyze select 1",
        "",
    ],
)
def test_anything_but_one_select_is_refused(world: World, sql: str) -> None:
    with pytest.raises(Invalid):
        run(world, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from '/etc/passwd'",
        "select * from read_text('/etc/hostname')",
        "select * from glob('/*')",
        "select * from read_parquet('https://example.org/a.parquet')",
        "select getenv('HOME')",
        "select * from sniff_csv('/etc/passwd')",
        "select * from query('copy (select 1) to ''/tmp/stolen.csv''')",
    ],
)
def test_a_question_opens_no_file_and_no_network(world: World, sql: str) -> None:
    with pytest.raises(Invalid):
        run(world, sql)


def test_other_snapshots_files_are_out_of_reach(world: World, take: Take, parquet: Parquet) -> None:
    take(models(parquet, "a.parquet", "x/a"), name="one", date="2026-01-02")
    take(models(parquet, "b.parquet", "x/b"), name="two", date="2026-01-02")
    other = world.snapshot("two").table_path("model")
    with pytest.raises(Invalid, match=r"Permission|disabled"):
        run(world, f"select * from read_parquet('{other}')", (), [world.snapshot("one")])


def test_a_query_that_takes_too_long_is_stopped(world: World) -> None:
    endless = "with recursive r(n) as (select 1 union all select n + 1 from r where n < 100000000) select max(n) from r"
    with Reader(world, ()) as reader, pytest.raises(TooMuch, match="too long"):
        reader.table(endless, wait_s=0.2)


def test_a_query_that_means_nothing_says_what_is_wrong(world: World) -> None:
    with pytest.raises(Invalid, match="nonsense"):
        run(world, "select nonsense from model")


def test_values_go_in_as_parameters(world: World) -> None:
    assert run(world, "select ? as x, ? as y", ["a'; drop", 3]).to_pylist() == [{"x": "a'; drop", "y": 3}]


def test_a_defined_table_serves_later_questions(world: World) -> None:
    with Reader(world, ()) as reader:
        reader.define("numbers", "select range as n from range(5)")
        assert reader.table("select sum(n)::bigint as s from numbers").to_pylist() == [{"s": 10}]


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("x/QwEn3-8B", "Qwen"),
        ("a/vicuna-7b", "Llama"),
        ("m/phi-4", "Phi"),
        ("m/phi4", None),
        ("x/SmolVLA", "SmolLM/VLA"),
    ],
)
def test_a_family_is_read_off_a_name(world: World, name: str, family: str | None) -> None:
    assert run(world, "select family_of(?) as f", [name]).to_pylist() == [{"f": family}]


def test_an_account_has_one_row_as_of_the_day_asked_for(world: World, tmp_path: Path, take: Take) -> None:
    file = tmp_path / "who.csv"
    file.write_text("account,country,valid_from,valid_to\nmoved,DE,,2025-01-01\nmoved,US,2025-01-01,\n")
    take(file, name="who")
    sql = "select country from accounts where account = 'moved'"
    assert run(world, sql, as_of=date(2024, 12, 31)).to_pylist() == [{"country": "DE"}]
    assert run(world, sql, as_of=date(2025, 1, 1)).to_pylist() == [{"country": "US"}]


def test_a_renamed_model_is_known_by_its_key(world: World, take: Take, parquet: Parquet) -> None:
    keys = ["0" * 24, "1" * 24]
    take(models(parquet, "a.parquet", "old/a", "x/b", _id=keys), name="hub", date="2026-01-02")
    take(models(parquet, "b.parquet", "new/a", "x/b", _id=keys), name="hub", date="2026-01-03")
    take(models(parquet, "c.parquet", "else/a", "x/b", _id=keys), name="another", date="2026-01-04")
    renames = run(world, "select * from rename", (), world.snapshots()).to_pylist()
    assert renames == [{"key": "0" * 24, "old_id": "old/a", "new_id": "new/a", "snapshot": "hub@2026-01-03"}]


def test_a_file_written_before_a_column_was_thought_of_reads_as_unknown(
    world: World, take: Take, parquet: Parquet
) -> None:
    take(models(parquet, "a.parquet", "x/a"), name="hub", date="2026-01-02")
    path = world.snapshot("hub").table_path("model")
    assert path is not None
    path.chmod(0o644)
    pq.write_table(pq.read_table(path).drop(["experts"]), path)
    assert run(world, "select experts from model", (), world.snapshots()).to_pylist() == [{"experts": None}]


def test_answers_are_arrow_tables(world: World) -> None:
    assert isinstance(run(world, "select 1 as x"), pa.Table)
