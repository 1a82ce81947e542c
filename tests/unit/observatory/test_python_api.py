"""`from headwater import observatory`: typed calls, Arrow tables out, and whatever speaks Arrow's capsules reads them."""

from __future__ import annotations

import inspect
import typing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import headwater
from headwater import observatory
from headwater.ground.errors import EntryMissing, Invalid


class OnlyCapsules:
    """What pandas, polars and others see of a table: the Arrow PyCapsule interface and nothing else."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


@pytest.fixture
def asked(world, take, parquet) -> observatory.World:
    take(
        parquet(
            "models.parquet",
            id=["Qwen/a", "google/b", "unsloth/a-GGUF"], downloads=[5, 4, 3], likes=[1, 2, 3],
            tags=[[], [], ["base_model:quantized:Qwen/a"]], createdAt=["2026-01-01T00:00:00.000Z"] * 3,
        ),
        name="made", date="2026-08-22",
    )  # fmt: skip
    return world


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(headwater.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize("name", [name for name in observatory.__all__ if name != "QUESTIONS"])
def test_every_public_name_is_documented_and_every_function_typed(name: str) -> None:
    public = getattr(observatory, name)
    assert (public.__doc__ or "").strip(), name
    if inspect.isfunction(public):
        hints = typing.get_type_hints(public)
        assert "return" in hints
        assert set(inspect.signature(public).parameters) <= set(hints)


def test_an_answer_is_an_arrow_table_with_its_choices(asked) -> None:
    answer = observatory.ask(asked, "downloads-by-country", observatory.Choices(attribution="origin"))
    assert isinstance(answer.table, pa.Table)
    assert {row["country"]: row["downloads"] for row in answer.rows()} == {"CN": 8, "US": 4}
    assert answer.stated["attribution"] == "origin"
    assert (answer.coverage_pct, answer.authors) == (100.0, 3)
    assert answer.table.schema.field("downloads").type == pa.int64()


@pytest.mark.parametrize("name", ["downloads-by-country", "most-liked", "derivatives-by-base", "concentration"])
def test_whatever_speaks_arrows_capsules_reads_an_answer(asked, name: str) -> None:
    table = observatory.ask(asked, name).table
    assert pa.table(OnlyCapsules(table)).equals(table)
    assert pa.RecordBatchReader.from_stream(OnlyCapsules(table)).read_all().num_rows == table.num_rows > 0
    read = duckdb.connect().from_arrow(table).fetchall()
    assert [tuple(row.values()) for row in table.to_pylist()] == read


def test_no_column_of_an_answer_is_of_a_type_that_data_frames_lack(asked) -> None:
    """128-bit numbers become decimals in Arrow, which pandas and polars do not add up."""
    for name in observatory.QUESTIONS:
        if observatory.can_answer(asked, name):
            for field in observatory.ask(asked, name).table.schema:
                assert not pa.types.is_decimal(field.type), (name, field)


def test_sql_of_ones_own_answers_a_table(asked) -> None:
    sql = "select count(*) as n, max(downloads_30d) as most from model where author = $1"
    table = observatory.run(asked, sql, ("Qwen",), asked.snapshots())
    assert table.to_pylist() == [{"n": 1, "most": 5}]


def test_what_can_not_be_answered_says_what_can(asked) -> None:
    with pytest.raises(EntryMissing, match="downloads-by-country"):
        observatory.ask(asked, "downloads-by-planet")
    with pytest.raises(Invalid, match="does not honour"):
        observatory.ask(asked, "most-liked", observatory.Choices(grain="week"))
    assert [one.id for one in observatory.can_answer(asked, "most-liked")] == ["made@2026-08-22"]
