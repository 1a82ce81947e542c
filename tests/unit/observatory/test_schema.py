"""The tables' own rules."""

from __future__ import annotations

import duckdb
import pytest

from headwater.observatory.schema import REFERENCE, TABLES, Table, arrow_schema

EVERY = [*TABLES.values(), *REFERENCE.values()]


@pytest.mark.parametrize("table", EVERY, ids=lambda table: table.name)
def test_every_column_of_every_table_can_be_written_without_quotes(table: Table) -> None:
    with duckdb.connect() as duck:
        duck.execute(
            f'create table "{table.name}" ({", ".join(f"{c.name} {c.type}" for c in table.columns if c.name != "table")})'
        )
        for column in table.names:
            if column != "table":
                duck.execute(f'select {column} as x from "{table.name}" order by {column}')


@pytest.mark.parametrize("table", EVERY, ids=lambda table: table.name)
def test_every_table_has_an_arrow_schema_of_the_same_columns(table: Table) -> None:
    assert arrow_schema(table).names == list(table.names)
    assert len(set(table.names)) == len(table.names)


def test_a_columns_note_travels_with_the_arrow_schema() -> None:
    assert arrow_schema(TABLES["model"]).field("author").metadata[b"note"].startswith(b"what stands before the slash")
