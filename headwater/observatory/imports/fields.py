"""SQL expressions that turn a stranger's column into one of ours, each with the test of what could not be read.

Written for DuckDB, so that millions of rows pass without a loop in Python. An expression never raises on a value: what
does not fit is NULL, and the field's tests say so in the report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from headwater.observatory.families import quoted
from headwater.observatory.schema import (
    COUNT_MAX,
    FUTURE_GRACE_DAYS,
    ID_CHARS_MAX,
    LIST_ITEMS_MAX,
    PAST_YEAR_MIN,
    TAG_CHARS_MAX,
    TEXT_CHARS_MAX,
)

CELL_CHARS_MAX = 1 << 20  # of JSON in one cell; the largest honest card data is some ten thousand
ID_PATTERN = r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?"
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")


@dataclass(frozen=True, slots=True)
class Expr:
    """An SQL expression and its DuckDB type."""

    sql: str
    type: str = "VARCHAR"

    @property
    def nested(self) -> bool:
        return self.type.endswith("]") or self.type.startswith(("STRUCT", "MAP", "UNION"))


@dataclass(frozen=True, slots=True)
class Fault:
    """A test of a row: where `when` is true, `given` is reported with `why`. `lost`: the value is not kept."""

    when: str
    given: str
    why: str
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Value:
    """A column of ours. `needed`: without it the row is left out."""

    sql: str
    faults: tuple[Fault, ...] = ()
    needed: bool = False


NOTHING = Value("null")


def name_sql(name: str) -> str:
    """A column's name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class Fields:
    """Expressions over one relation. `columns`: its names and types; `newest`: the data's date."""

    columns: Mapping[str, str]
    newest: datetime
    probe: Callable[[str], str | None]
    _by_case: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_case.update({name.lower(): name for name in self.columns})

    def column(self, *names: str) -> Expr | None:
        """The first of these columns that there is."""
        for name in names:
            real = self._by_case.get(name.lower())
            if real is not None:
                return Expr(name_sql(real), self.columns[real])
        return None

    def part(self, name: str, *path: str) -> Expr | None:
        """What lies at a path inside a nested column: a STRUCT's field, or a key of JSON text."""
        whole = self.column(name)
        if whole is None:
            return None
        if whole.type.startswith("STRUCT"):
            sql = ".".join([whole.sql, *(name_sql(step) for step in path)])
            found = self.probe(sql)
            return Expr(sql, found) if found else None
        if whole.type in ("VARCHAR", "JSON"):
            return Expr(f"json_extract_string({json_sql(whole)}, {quoted('$.' + '.'.join(path))})")
        return None

    def either(self, source: str | Expr | None) -> Expr | None:
        return self.column(source) if isinstance(source, str) else source

    def text(self, *sources: str | Expr | None, chars_max: int = TEXT_CHARS_MAX, needed: bool = False) -> Value:
        """One line of text; the first source that has something."""
        found = [expr for source in sources if (expr := self.either(source)) is not None]
        if not found:
            return NOTHING
        raws = [scalar_sql(expr) for expr in found]
        raw = raws[0] if len(raws) == 1 else f"coalesce({', '.join(raws)})"
        value = f"plain({raw}, {chars_max})"
        faults = (
            Fault(f"length({raw}) > {chars_max}", raw, f"cut to {chars_max} characters"),
            Fault(f"hostile({raw})", raw, "hidden or control characters were removed"),
        )
        return Value(value, faults, needed)

    def model_id(self, *sources: str | Expr | None) -> Value:
        """A model's id; a row without one is left out. It is refused, not cleaned: cleaned, it could be another's."""
        raw = self._scalar(*sources)
        sql = f"case when strlen({raw}) <= {ID_CHARS_MAX} and regexp_full_match({raw}, '{ID_PATTERN}') then {raw} end"
        return Value(sql, (Fault(f"({sql}) is null", raw, "is no id of a model", lost=True),), needed=True)

    def whole(self, *sources: str | Expr | None, top: int = COUNT_MAX, needed: bool = False) -> Value:
        """A whole number from 0 to `top`."""
        expr = self._first(*sources)
        if expr is None:
            return NOTHING
        raw = scalar_sql(expr)
        number = raw if expr.type in _WHOLE else f"try_cast({raw} as bigint)"
        sql = f"case when {number} between 0 and {top} then try_cast({number} as bigint) end"
        return Value(sql, (_unusable(raw, sql, expr, f"must be a whole number from 0 to {top}"),), needed)

    def real(self, *sources: str | Expr | None, low: float = 0.0, top: float = 1e30) -> Value:
        """A finite number."""
        expr = self._first(*sources)
        if expr is None:
            return NOTHING
        raw = scalar_sql(expr)
        number = f"try_cast({raw} as double)"
        sql = f"case when isfinite({number}) and {number} between {low} and {top} then {number} end"
        return Value(sql, (_unusable(raw, sql, expr, f"must be a finite number from {low:g} to {top:g}"),))

    def moment(self, *sources: str | Expr | None, needed: bool = False) -> Value:
        """A time between the year 2000 and a day after the data's date."""
        expr = self._first(*sources)
        if expr is None:
            return NOTHING
        raw = scalar_sql(expr)
        latest = self.newest + timedelta(days=FUTURE_GRACE_DAYS)
        when = time_sql(raw, expr.type)
        sql = (
            f"case when {when} between timestamp '{PAST_YEAR_MIN}-01-01' "
            f"and timestamp {quoted(latest.isoformat(sep=' '))} then {when} end"
        )
        why = f"must be a time from {PAST_YEAR_MIN} to {latest.date()}"
        return Value(sql, (_unusable(raw, sql, expr, why),), needed)

    def day(self, *sources: str | Expr | None, needed: bool = False) -> Value:
        found = self.moment(*sources, needed=needed)
        return found if found is NOTHING else Value(f"cast({found.sql} as date)", found.faults, needed)

    def choice(self, source: str | Expr | None, words: tuple[str, ...]) -> Value:
        """One of a few words."""
        raw = self._scalar(source)
        sql = f"case when {raw} in ({', '.join(map(quoted, words))}) then {raw} end"
        why = f"must be one of {', '.join(words)}"
        return Value(sql, (Fault(f"{raw} is not null and {raw} <> '' and ({sql}) is null", raw, why, lost=True),))

    def truth(self, *sources: str | Expr | None) -> Value:
        expr = self._first(*sources)
        if expr is None:
            return NOTHING
        raw = scalar_sql(expr)
        return Value(raw if expr.type == "BOOLEAN" else f"try_cast({raw} as boolean)")

    def texts(self, source: str | Expr | None) -> Value:
        """A list of short texts."""
        expr = self.either(source)
        if expr is None:
            return NOTHING
        raw = list_sql(expr)
        value = f"plain_list({raw})"
        longest = f"coalesce(list_max(list_transform({raw}, lambda t: length(t))), 0)"
        cut = f"len({raw}) > {LIST_ITEMS_MAX} or {longest} > {TAG_CHARS_MAX}"
        shown = f"array_to_string({raw}, ', ')"
        faults = (
            Fault(cut, shown, f"cut to {LIST_ITEMS_MAX} items of {TAG_CHARS_MAX} characters"),
            Fault(f"hostile({shown})", shown, "hidden or control characters were removed"),
        )
        return Value(value, faults)

    def _first(self, *sources: str | Expr | None) -> Expr | None:
        found = [expr for source in sources if (expr := self.either(source)) is not None]
        if not found:
            return None
        if len(found) == 1 or all(expr.type == found[0].type for expr in found):
            return Expr(
                found[0].sql if len(found) == 1 else f"coalesce({', '.join(e.sql for e in found)})", found[0].type
            )
        return Expr(f"coalesce({', '.join(f'cast({scalar_sql(e)} as varchar)' for e in found)})")

    def _scalar(self, *sources: str | Expr | None) -> str:
        expr = self._first(*sources)
        return "null::varchar" if expr is None else f"cast({scalar_sql(expr)} as varchar)"


def json_sql(expr: Expr) -> str:
    """JSON text that is bounded and well-formed, else NULL."""
    return f"case when strlen({expr.sql}) <= {CELL_CHARS_MAX} and json_valid({expr.sql}) then {expr.sql} end"


def bad_json(expr: Expr) -> Fault:
    raw = f"cast({expr.sql} as varchar)"
    return Fault(f"{raw} is not null and ({json_sql(expr)}) is null", raw, "is no JSON, or too long", lost=True)


def scalar_sql(expr: Expr) -> str:
    """A nested value where a single one is expected becomes JSON text, which then fails the field's tests."""
    if expr.nested or expr.type == "JSON":
        return f"cast(to_json({expr.sql}) as varchar)"
    return f"cast({expr.sql} as varchar)" if expr.type in ("BLOB", "UUID") or expr.type.startswith("ENUM") else expr.sql


def list_sql(expr: Expr) -> str:
    """A list of texts: of a list column, of JSON text, or of one text."""
    if expr.type == "VARCHAR[]":
        return expr.sql
    if expr.type.endswith("[]"):
        return f"try_cast({expr.sql} as varchar[])"
    raw = scalar_sql(expr)
    listed = f"try(from_json({raw}, '[\"VARCHAR\"]'))"
    return f"case when {raw} is null then null when starts_with({raw}, '[') then {listed} else [{raw}] end"


def time_sql(raw: str, kind: str) -> str:
    """A naive time in UTC."""
    if kind.startswith("TIMESTAMP") and not kind.endswith("TIME ZONE"):
        return f"cast({raw} as timestamp)"
    if kind == "DATE":
        return f"try_cast({raw} as timestamp)"
    if kind == "VARCHAR":
        # as timestamptz: a cast to timestamp would drop the zone that the text names
        return f"try(make_timestamp(epoch_us(try_cast({raw} as timestamptz))))"
    if kind.startswith("TIMESTAMP"):
        return f"try(make_timestamp(epoch_us({raw})))"
    if kind in _WHOLE:
        return f"try(make_timestamp(cast({raw} as bigint) * case when {raw} > 100000000000 then 1000 else 1000000 end))"
    return "null::timestamp"


def _unusable(raw: str, sql: str, expr: Expr, why: str) -> Fault:
    given = f"{raw} is not null and {raw} <> ''" if expr.type == "VARCHAR" else f"{raw} is not null"
    return Fault(f"({given}) and ({sql}) is null", f"cast({raw} as varchar)", why, lost=True)
