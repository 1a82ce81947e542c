"""DuckDB, and who may do what with it. The only file that imports it.

An `Engine` is the importers': it may read and write files. A `Reader` is for questions: it sees views over chosen
snapshots and the registries, one SELECT at a time, and can open nothing else, neither files nor the network nor
extensions; memory and time are bounded. SQL that a user wrote is only ever given to a Reader.
"""

# ruff: noqa: S608 - the SQL put together here is this package's own; values go in as parameters or quoted literals
from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.ground.errors import Corrupt, Invalid, TooMuch, Unavailable
from headwater.observatory.families import Families, quoted
from headwater.observatory.schema import REFERENCE, TABLES, Table
from headwater.observatory.steps import digest, reads
from headwater.observatory.texts import macros
from headwater.observatory.world import Snapshot, World

MEMORY_MAX = "4GB"  # of the 6 GB that a run may take in all; DuckDB's own limit leaves out some buffers
IMPORT_MEMORY_MAX = "2500MB"  # of the 4 GB of an import
THREADS = 2  # the hub serves requests beside it
RUN_S_MAX = 60.0  # twelve times what a question may take
SQL_CHARS_MAX = 100_000
TEMPORARY_MAX = "20GB"  # of spilled rows on the disk
RESTING_MAX = 2  # readers that wait for the next question: a page asks two sets of snapshots at most
RESTING_BYTES_MAX = 768 << 20  # of what each of them keeps: two million derivatives with their roots, and their sums
RESTING_S_MAX = 300.0  # nobody asks on: the memory is the hub's again
LASTING_FILES_MAX = 200  # tables kept on the disk: some of each snapshot; the one not used for longest goes

_SETTINGS = ("set TimeZone = 'UTC'", "set enable_progress_bar = true", "set enable_progress_bar_print = false")


class Engine:
    """A DuckDB of one thread, in memory; `spill` takes what does not fit."""

    def __init__(self, spill: Path | None, memory: str = IMPORT_MEMORY_MAX) -> None:
        self._duck = duckdb.connect(":memory:", config=_config(spill, memory))
        for statement in (*_SETTINGS, *macros()):
            self._duck.execute(statement)

    def run(self, sql: str, params: Sequence[object] = ()) -> None:
        with _translated():
            self._duck.execute(sql, list(params))

    def rows(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with _translated():
            return self._duck.execute(sql, list(params)).fetchall()

    def value(self, sql: str, params: Sequence[object] = ()) -> Any:
        """The first column of the first row, or None."""
        rows = self.rows(sql, params)
        return rows[0][0] if rows else None

    def columns(self, relation: str) -> dict[str, str]:
        """Name -> type of what can stand after FROM."""
        return {row[0]: row[1] for row in self.rows(f"describe select * from {relation}")}

    def table(self, sql: str, params: Sequence[object] = ()) -> pa.Table:
        with _translated():
            return self._duck.sql(sql, params=list(params)).to_arrow_table()

    def register(self, name: str, table: pa.Table) -> None:
        self._duck.register(name, table)

    def write(self, sql: str, path: Path) -> int:
        """The rows of a SELECT into a Parquet file; how many."""
        self.run(f"copy ({sql}) to {literal(path)} (format parquet, compression zstd, row_group_size 122880)")
        return int(self.value(f"select count(*) from read_parquet({literal(path)})"))

    def percent(self) -> float:
        """How far the running statement is, for another thread to ask; below 0: not known."""
        try:
            return float(self._duck.query_progress())
        except duckdb.Error:  # closed between the question and the answer
            return -1.0

    def interrupt(self) -> None:
        self._duck.interrupt()

    def close(self) -> None:
        self._duck.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Reader:
    """Views over chosen snapshots; `table` answers one SELECT. Not for several threads at once.

    Views: every table of schema.TABLES with a first column `snapshot`, restricted to the chosen snapshots (empty where
    none has rows), `snapshots`, and schema.REFERENCE. Macro: `family_of(name)`.
    """

    def __init__(self, world: World, snapshots: Sequence[Snapshot], as_of: date | None = None) -> None:
        self.world = world
        self.snapshots = tuple(snapshots)
        self.as_of = as_of or max((one.at.date() for one in snapshots), default=datetime.now(UTC).date())
        self.registry = world.registry()
        self._meant: dict[str, str] = {}  # name -> table, of what this question has defined
        self._tables: dict[str, None] = {}  # by their last use
        self._engine = Engine(_spill(world), MEMORY_MAX)
        try:
            self._define_views()
            self._lock_up()
        except BaseException:
            self._engine.close()
            raise

    def _define_views(self) -> None:
        for table in TABLES.values():
            self._engine.run(f'create view "{table.name}" as {snapshot_sql(table, self.snapshots)}')
        families = Families.load()
        rows: dict[str, list[tuple[object, ...]]] = {
            "accounts": self.registry.account_rows(self.as_of),
            "licence_family": self.world.licences().licence_rows(),
            "family_pattern": [tuple(row) for row in families.pattern_rows()],
            "family_owner": [tuple(row) for row in families.owner_rows()],
            "rename": [],
        }
        for name, table in REFERENCE.items():
            self._keep(table, rows[name])
        self._engine.run(families.macro())
        self._engine.run('drop table "rename"')
        self._engine.run(f'create view "rename" as {rename_sql(self.snapshots)}')
        self._engine.run(
            "create table snapshots (id varchar, name varchar, kind varchar, dated timestamp, ship varchar)"
        )
        for one in self.snapshots:
            row = (one.id, one.name, one.manifest.source, one.at, one.manifest.ship)
            self._engine.run("insert into snapshots values (?, ?, ?, ?, ?)", row)

    def _keep(self, table: Table, rows: list[tuple[object, ...]]) -> None:
        columns = ", ".join(f'"{column.name}" {column.type}' for column in table.columns)
        self._engine.run(f'create table "{table.name}" ({columns})')
        if rows:
            arrays = [pa.array(list(values)) for values in zip(*rows, strict=True)]
            self._engine.register("given", pa.table(arrays, names=list(table.names)))
            self._engine.run(f'insert into "{table.name}" select * from given')
            self._engine.run("drop view given")

    def _lock_up(self) -> None:
        files = [str(path) for one in self.snapshots for name in TABLES if (path := one.table_path(name))]
        self._engine.run(f"set allowed_paths = [{', '.join(quoted(file) for file in files)}]")
        if _made(_steps(self.world)):  # for `define`; a SELECT that a user wrote may read it, it is of this data
            self._engine.run(f"set allowed_directories = [{quoted(str(_steps(self.world)))}]")
        self._engine.run("set enable_external_access = false")
        self._engine.run("set lock_configuration = true")

    def define(self, name: str, sql: str, known_by: str = "", lasting: str = "") -> None:
        """Keeps the rows of a SELECT under a name for later ones; `sql` is this package's own.

        known_by: a text that is the same only where the rows are: what was kept under it is not made again. lasting:
        the same for rows that other processes may use too: they are kept on the disk.
        """
        if lasting and (file := self._lasting(sql, lasting)):
            shown = f"read_parquet({literal(file)})"
        else:
            parts = [table for part, table in self._meant.items() if reads(sql, part)]
            table = self._table(name, known_by or "\n".join((sql, *parts)))
            if table not in self._tables:
                self._engine.run(f'create temp table "{table}" as {sql}')
            self._tables.pop(table, None)
            self._tables[table] = None
            shown = f'"{table}"'
        self._meant[name] = shown
        self._engine.run(f'create or replace temp view "{name}" as select * from {shown}')

    def keeps(self, name: str, known_by: str, lasting: str = "") -> bool:
        """Whether `define` would have nothing to do."""
        return self._table(name, known_by) in self._tables or (
            bool(lasting) and self._sound(self._lasting_path(lasting))
        )

    def _sound(self, file: Path) -> bool:
        """Whether the file is there and whole; one that a power cut has left torn goes away."""
        if not file.exists():
            return False
        try:
            self._engine.run(f"describe select * from read_parquet({literal(file)})")
        except (Invalid, Corrupt):
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
            return False
        return True

    @staticmethod
    def _table(name: str, known_by: str) -> str:
        return f"{name}_{digest(known_by)}"

    def _lasting_path(self, lasting: str) -> Path:
        return _steps(self.world) / f"{digest(lasting)}.parquet"

    def _lasting(self, sql: str, lasting: str) -> Path | None:
        """The file of the rows, made if it is not there; None where nothing can be written."""
        path = self._lasting_path(lasting)
        draft = path.with_name(f"{secrets.token_hex(8)}.draft")
        try:
            if path.exists():
                os.utime(path)
                return path
            self._engine.run(f"copy ({sql}) to {literal(draft)} (format parquet, compression lz4)")
            draft.replace(path)
            _sweep(path.parent)
        except (OSError, Invalid, Unavailable):  # a world on a read-only or full disk can be asked
            return path if path.exists() else None
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
        return path

    def rest(self) -> None:
        """The question is answered: forgets its names, and the tables that were not used for longest if they are too
        large to keep."""
        for name in self._meant:
            self._engine.run(f'drop view "{name}"')
        self._meant.clear()
        held = "select coalesce(sum(memory_usage_bytes + temporary_storage_bytes), 0) from duckdb_memory()"
        while self._tables and self._engine.value(held) > RESTING_BYTES_MAX:
            oldest = next(iter(self._tables))
            self._engine.run(f'drop table "{oldest}"')
            del self._tables[oldest]

    def table(self, sql: str, params: Sequence[object] = (), wait_s: float = RUN_S_MAX) -> pa.Table:
        """The answer to one SELECT. Invalid: it is no SELECT, or not understood. TooMuch: too long, too large."""
        refuse_all_but_select(sql)
        alarm = threading.Timer(wait_s, self._engine.interrupt)
        alarm.daemon = True
        alarm.start()
        try:
            return self._engine.table(sql, params)
        finally:
            alarm.cancel()

    def close(self) -> None:
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Readers:
    """Readers that rest between questions, with the tables that they have made. One question at a time has one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._resting: dict[tuple[object, ...], tuple[Reader, float]] = {}  # by the time at which they came to rest
        self._alarm: threading.Timer | None = None

    @contextlib.contextmanager
    def reader(self, world: World, snapshots: Sequence[Snapshot], as_of: date) -> Iterator[Reader]:
        """A reader for one question, that of an earlier one over the same snapshots and registries if it rests."""
        data = tuple((one.folder, one.manifest.sha256, one.manifest.version) for one in snapshots)
        key = (world.root, data, as_of, world.registry().version, world.licences().version)
        with self._lock:
            found, _ = self._resting.pop(key, (None, 0.0))
        reader = found or Reader(world, snapshots, as_of)
        try:
            yield reader
            reader.rest()
        except BaseException:
            reader.close()
            raise
        with self._lock:
            replaced, _ = self._resting.pop(key, (None, 0.0))
            self._resting[key] = (reader, time.monotonic())
            left = [replaced] if replaced else []
            while len(self._resting) > RESTING_MAX:
                left.append(self._resting.pop(next(iter(self._resting)))[0])
            self._wake()
        for one in left:
            one.close()

    def close(self) -> None:
        """None rests any more."""
        with self._lock:
            left = [reader for reader, _ in self._resting.values()]
            self._resting.clear()
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None
        for one in left:
            one.close()

    def _wake(self) -> None:
        """Sees to it that somebody looks when the first has rested for long enough."""
        if self._alarm is None and self._resting:
            self._alarm = threading.Timer(RESTING_S_MAX, self._retire)
            self._alarm.daemon = True
            self._alarm.start()

    def _retire(self) -> None:
        old = time.monotonic() - RESTING_S_MAX
        with self._lock:
            self._alarm = None
            left = [key for key, (_, since) in self._resting.items() if since <= old]
            retired = [self._resting.pop(key)[0] for key in left]
            self._wake()
        for one in retired:
            one.close()


RESTING = Readers()
"""Those of this process."""
atexit.register(RESTING.close)  # before DuckDB itself is taken down


def run(
    world: World, sql: str, params: Sequence[object] = (), snapshots: Sequence[Snapshot] = (), as_of: date | None = None
) -> pa.Table:
    """One SELECT over the chosen snapshots; the registry as of a day (default: the newest snapshot's)."""
    with Reader(world, snapshots, as_of) as reader:
        return reader.table(sql, params)


def snapshot_sql(table: Table, snapshots: Sequence[Snapshot]) -> str:
    """A SELECT of a table's rows in these snapshots, in the schema's columns; older files may lack some."""
    parts = []
    for one in snapshots:
        path = one.table_path(table.name)
        if path is not None:
            parts.append(
                f"select {quoted(one.id)} as snapshot, {columns_sql(table, path)} from read_parquet({literal(path)})"
            )
    if parts:
        return " union all ".join(parts)
    nothing = ", ".join(f'null::{column.type} as "{column.name}"' for column in table.columns)
    return f"select null::varchar as snapshot, {nothing} where false"


def columns_sql(table: Table, path: Path) -> str:
    """The schema's columns, of a file that may have been written before some of them were thought of."""
    try:
        have = set(pq.read_schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise Corrupt(f"observatory: {path} can't be read ({error}); remove its snapshot and import again") from error
    return ", ".join(
        f'"{column.name}"' if column.name in have else f'null::{column.type} as "{column.name}"'
        for column in table.columns
    )


def rename_sql(snapshots: Sequence[Snapshot]) -> str:
    """Models whose id changed between snapshots of one name, known by the Hub's stable key."""
    dated = [one for one in snapshots if one.table_path("model")]
    rows = ", ".join(f"({quoted(one.id)}, {quoted(one.line)}, timestamp {quoted(str(one.at))})" for one in dated)
    if not rows:
        rows = "(null::varchar, null::varchar, null::timestamp)"
    return (
        "select key, old_id, new_id, snapshot from (select m.key, m.id as new_id, m.snapshot, "
        "lag(m.id) over (partition by s.name, m.key order by s.dated) as old_id "
        f"from model m join (values {rows}) s(snapshot, name, dated) on m.snapshot = s.snapshot "
        "where not starts_with(m.key, 'name:')) where old_id <> new_id"
    )


def refuse_all_but_select(sql: str) -> None:
    """Raises Invalid unless `sql` is exactly one SELECT."""
    if len(sql) > SQL_CHARS_MAX:
        raise Invalid(f"sql: has more than {SQL_CHARS_MAX} characters")
    with _translated():
        statements = duckdb.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise Invalid("sql: must be exactly one SELECT")


def literal(path: Path) -> str:
    """A path as an SQL literal. A name with wildcards would be read as a pattern."""
    text = str(path)
    if any(c in text for c in "*?["):
        raise Invalid(f"path: {text[:200]!r} must not contain '*', '?' or '['")
    return quoted(text)


def _config(spill: Path | None, memory: str) -> dict[str, str | bool | int | float | list[str]]:
    return {
        "threads": THREADS,
        "memory_limit": memory,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "temp_directory": str(spill) if spill else "",
        "max_temp_directory_size": TEMPORARY_MAX if spill else "0GB",
        "preserve_insertion_order": False,
    }


def _spill(world: World) -> Path | None:
    folder = world.cache / "spill"
    return folder if _made(folder) else None  # what does not fit in memory is otherwise refused


def _steps(world: World) -> Path:
    return world.cache / "steps"


def _made(folder: Path) -> bool:
    """Whether the folder is there; a read-only world can be asked too."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return True


def _sweep(folder: Path) -> None:
    files = sorted(folder.glob("*.parquet"), key=lambda file: file.stat().st_mtime)
    for file in files[: max(0, len(files) - LASTING_FILES_MAX)]:
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """DuckDB's errors as the taxonomy's."""
    try:
        yield
    except duckdb.InterruptException as error:
        raise TooMuch("observatory: the query took too long and was stopped; ask for less") from error
    except duckdb.OutOfMemoryException as error:
        raise TooMuch("observatory: the query needs more memory than it may have; ask for less") from error
    except duckdb.IOException as error:
        if "space" in str(error).lower():
            raise Unavailable(
                "The disk is full; nothing was stored. Free some space and try again.", status=507
            ) from error
        raise Invalid(f"observatory: {_said(error)}") from error
    except duckdb.Error as error:
        raise Invalid(f"observatory: {_said(error)}") from error


def _said(error: duckdb.Error) -> str:
    return str(error).split("\n\n", 1)[0][:500]
