"""One import: a relation of raw rows, the tables that are made from it, and the account of what could not be read.

The input is read once per table and once for the account, in a stream: nothing is sorted or held but the ids that
occur twice. Refuses to know any particular source.
"""

# ruff: noqa: S608 - the SQL put together here is this package's own; column names are quoted
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec
import pyarrow.parquet as pq

from headwater.ground.errors import HeadwaterError, Invalid
from headwater.observatory.families import quoted
from headwater.observatory.imports.fields import NOTHING, Fault, Fields, Value, name_sql
from headwater.observatory.run import Engine, literal
from headwater.observatory.schema import TABLES, UNREAD, VALUE_CHARS_MAX
from headwater.observatory.world import Draft

ROW = "source_row"
RESERVED = frozenset({ROW, "bases", "card_parts", "shown_id"})  # columns that we add ourselves
COLUMNS_MAX = 1_000  # of an input; the widest honest one has some thirty
UNREAD_MAX = 5_000_000  # rows of the account: more, and the input is not of this kind


class Progress(Protocol):
    """Told what goes on, for people to watch."""

    def stage(self, text: str) -> None:
        """A new step begins."""

    def done(self, count: int, total: int | None, unit: str) -> None:
        """Within the step."""

    def watch(self, percent: Callable[[], float]) -> None:
        """How far the step is can be asked for here, by any thread; below 0: not known."""


class Silent:
    def stage(self, text: str) -> None:
        """Nobody watches."""

    def done(self, count: int, total: int | None, unit: str) -> None:
        """Nobody watches."""

    def watch(self, percent: Callable[[], float]) -> None:
        """Nobody watches."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator says of a source; empty: the source itself says it."""

    kind: str = ""
    name: str = ""
    date: str = ""
    licence: str = ""
    attribution: str = ""
    url: str = ""
    ship: str = ""
    biases: str = ""
    note: str = ""


@dataclass(slots=True)
class Job:
    """What an importer works on. `relation` stands after FROM; it has the column ROW, from 1."""

    engine: Engine
    draft: Draft
    relation: str
    newest: datetime
    options: Options
    progress: Progress
    rows: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _unread: list[Path] = field(default_factory=list)

    @property
    def fields(self) -> Fields:
        return self.fields_of(self.relation)

    def fields_of(self, relation: str) -> Fields:
        return Fields(self.engine.columns(relation), self.newest, lambda sql: type_of(self.engine, relation, sql))

    def fill(
        self, table: str, values: Mapping[str, Value], relation: str = "", where: str = "true", shown: str = ""
    ) -> None:
        """Writes a table and its account. `where`: the rows meant for it; `shown`: the id that the account names."""
        relation = relation or self.relation
        self.progress.stage(f"{table}: checking rows")
        self.account(table, values, relation, where, shown)
        self.progress.stage(f"{table}: writing rows")
        kept = [where, *(f"({value.sql}) is not null" for value in values.values() if value.needed)]
        columns = ", ".join(
            f"cast({values.get(column.name, NOTHING).sql} as {column.type}) as {name_sql(column.name)}"
            for column in TABLES[table].columns
        )
        assert not set(values) - set(TABLES[table].names), set(values) - set(TABLES[table].names)
        self.write(table, f"select {columns} from {relation} where {' and '.join(f'({one})' for one in kept)}")

    def write(self, table: str, select: str) -> None:
        """The rows of a SELECT as a table of the snapshot."""
        self.rows[table] = self.engine.write(select, self.draft.path(table))
        if not self.rows[table]:
            self.draft.path(table).unlink()
            del self.rows[table]

    def account(self, table: str, values: Mapping[str, Value], relation: str, where: str, shown: str) -> None:
        """Every value of `relation` that is not taken as it is, with the reason."""
        faults: list[tuple[str, Fault, bool]] = []
        for name, value in values.items():
            faults += [(name, fault, value.needed and fault.lost) for fault in value.faults]
            if value.needed:
                known = " or ".join(f"({fault.when})" for fault in value.faults if fault.lost) or "false"
                missing = f"({value.sql}) is null and not coalesce({known}, false)"
                faults.append((name, Fault(missing, "null::varchar", "is missing"), True))
        if not faults:
            return
        cases = ", ".join(
            f"case when {fault.when} then {{'field': {quoted(name)}, 'value': {given_sql(fault.given)}, "
            f"'why': {quoted(fault.why)}, 'dropped': {str(dropped).lower()}}} end"
            for name, fault, dropped in faults
        )
        some = " or ".join(f"({fault.when})" for _, fault, _ in faults)
        self.refuse(
            f'select {quoted(table)} as "table", {ROW} as row, {given_sql("shown_id")} as id, '
            f"f.field, f.value, f.why, f.dropped from (select {ROW}, {shown or 'null::varchar'} as shown_id, "
            f"unnest(list_filter([{cases}], lambda f: f is not null)) as f "
            f"from {relation} where ({where}) and ({some}))"
        )

    def refuse(self, select: str) -> None:
        """Adds rows to the account: a SELECT of the columns of UNREAD, in their order."""
        path = self.draft.scratch / f"unread-{len(self._unread)}.parquet"
        count = self.engine.write(f"select * from ({select}) limit {UNREAD_MAX}", path)
        if count:
            self._unread.append(path)

    def finish_account(self) -> tuple[int, int, list[tuple[str, str, str, int, bool]]]:
        """Writes unread.parquet: (problems, rows dropped, [(table, field, why, how many, dropped)])."""
        if not self._unread:
            return 0, 0, []
        files = f"read_parquet([{', '.join(literal(path) for path in self._unread)}])"
        columns = ", ".join(f"cast({name_sql(c.name)} as {c.type}) as {name_sql(c.name)}" for c in UNREAD.columns)
        self.write("unread", f"select {columns} from {files}")
        counts = self.engine.rows(
            f'select "table", field, why, count(*), dropped from {files} group by all order by 4 desc, 1, 2, 3'
        )
        dropped = self.engine.value(f'select count(distinct ("table", row)) from {files} where dropped')
        return sum(row[3] for row in counts), int(dropped), counts


def given_sql(raw: str) -> str:
    """A raw value as the report shows it: as text, harmless, short."""
    return f"plain(left(cast({raw} as varchar), {VALUE_CHARS_MAX * 4}), {VALUE_CHARS_MAX})"


def type_of(engine: Engine, relation: str, sql: str) -> str | None:
    """The type of an expression over a relation, or None if it means nothing there."""
    try:
        return str(engine.rows(f"describe select {sql} as x from {relation}")[0][1])
    except HeadwaterError:
        return None


def parquet_relation(engine: Engine, files: Sequence[Path]) -> str:
    """Parquet files as one relation with ROW, counted through in the order given; made a view named `raw`."""
    parts = []
    before = 0
    for file in files:
        columns = engine.columns(f"read_parquet({literal(file)})")
        if len(columns) > COLUMNS_MAX:
            raise Invalid(f"{file.name}: has more than {COLUMNS_MAX} columns")
        left_out = ", ".join(["file_row_number", *(name_sql(name) for name in columns if name.lower() in RESERVED)])
        parts.append(
            f"select * exclude ({left_out}), file_row_number + {before + 1} as {ROW} "
            f"from read_parquet({literal(file)}, file_row_number = true)"
        )
        before += pq.read_metadata(file).num_rows
    engine.run(f"create or replace view raw as {' union all by name '.join(parts)}")
    return "raw"


def newest_of(
    engine: Engine, relation: str, column: str, kind: str, to_time: Callable[[str, str], str]
) -> datetime | None:
    """The newest time in a column that is not in the future."""
    now = datetime.now(UTC).replace(tzinfo=None)
    found = engine.value(
        f"select max(t) from (select {to_time(column, kind)} as t from {relation}) where t <= ?", [now]
    )
    return found if isinstance(found, datetime) else None
