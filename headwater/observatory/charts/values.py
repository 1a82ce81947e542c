"""Rows out of an answer, made fit for a chart: names cleaned and cut, numbers that JSON has, days as text.

Texts come from strangers. Refuses to know Vega-Lite.
"""

from __future__ import annotations

import math
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa

from headwater.ground.errors import Invalid
from headwater.observatory.texts import plain

LABEL_CHARS_MAX = 60
MARKS_MAX = 20_000  # of one chart: more is a picture of nothing and stalls a phone
_CLASSES = {"??": "unmapped", "USER": "persons", "INT": "several countries"}
"""What is no country, in words."""
_PERIODS = {"Q1": "01", "Q2": "04", "Q3": "07", "Q4": "10", "H1": "01", "H2": "07"}
MEASURES = ("rank_pct", "top_pct", "age_days", "days", "depth", "rank", "step", "at")
_BEST = (
    "pct_downloads",
    "derivatives",
    "terabytes",
    "likes",
    "pct",
    "pct_of_total",
    "share_pct",
    "cumulative_pct",
    "cumulative",
    "ram",
    "score",
    "mean_b",
    "repos",
    "models",
    "edges",
    "n",
    "downloads_30d",
    "downloads",
)
_WORDS = {
    "n": "number",
    "pct": "share, %",
    "pct_of_total": "share of the total, %",
    "mean_b": "mean size, 10⁹ parameters",
}


def label(value: object, chars_max: int = LABEL_CHARS_MAX) -> str:
    """A text out of the data as a chart shows it."""
    text = _CLASSES.get(str(value)) or plain(str(value), chars_max * 4)
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


def number(value: object) -> float | int | None:
    """A number that JSON has, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    made = value if isinstance(value, int) else float(value)
    return made if math.isfinite(made) else None


def finite(value: Any) -> Any:
    """A cell as JSON has it: NaN and infinities are none, decimals are numbers."""
    return number(value) if isinstance(value, float | Decimal) else value


def iso_day(value: object) -> str | None:
    """A day as text; a month (2025-03), quarter (2025-Q1), half (2025-H1) or year is its first day."""
    if isinstance(value, date):  # a datetime is one, too
        return value.isoformat()[:10]
    text = str(value or "")
    if len(text) == 7 and text[5:] in _PERIODS:
        text = text[:5] + _PERIODS[text[5:]]
    text += {4: "-01-01", 7: "-01"}.get(len(text), "")
    try:
        return date.fromisoformat(text[:10]).isoformat()
    except ValueError:
        return None


def rows_of(table: pa.Table, *needed: str) -> list[dict[str, Any]]:
    """The rows as dicts. Invalid: a column is missing, or there are too many rows for a picture."""
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        raise Invalid(f"chart: needs the column {', '.join(missing)}; the table has {', '.join(table.column_names)}")
    if table.num_rows > MARKS_MAX:
        raise Invalid(f"chart: has {table.num_rows} rows; {MARKS_MAX} can be drawn. Ask for fewer with `top`")
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def text_columns(table: pa.Table) -> list[str]:
    return [one.name for one in table.schema if pa.types.is_string(one.type) and not is_time(table, one.name)]


def first_text(table: pa.Table) -> str:
    found = text_columns(table)
    if not found:
        raise Invalid(f"chart: no column has names; the table has {', '.join(table.column_names)}")
    return found[0]


def is_time(table: pa.Table, name: str) -> bool:
    kind = table.schema.field(name).type
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return True
    if name not in ("month", "week", "day", "date", "quarter", "period") or not pa.types.is_string(kind):
        return False
    return all(iso_day(value) for value in table[name].slice(0, 50).to_pylist())


def best_number(table: pa.Table, *but: str) -> str:
    names = [
        one.name
        for one in table.schema
        if one.name not in but
        and table[one.name].null_count < table.num_rows
        and (pa.types.is_integer(one.type) or pa.types.is_floating(one.type) or pa.types.is_decimal(one.type))
    ]
    if not names:
        raise Invalid(f"chart: no column has numbers; the table has {', '.join(table.column_names)}")
    return next((name for name in _BEST if name in names), names[0])


def varies(table: pa.Table, name: str) -> bool:
    return len(set(table[name].to_pylist())) > 1


def spoken(column: str) -> str:
    """A column's name as an axis says it."""
    if column in _WORDS:
        return _WORDS[column]
    words = column.replace("_pct", " %").replace("pct_", "% of ").replace("pct", "%").replace("_", " ")
    return label(words.replace("downloads 30d", "downloads in 30 days").strip(), 40)
