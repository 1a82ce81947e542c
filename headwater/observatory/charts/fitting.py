"""From an answer to its chart: what a question names, or what fits the columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from headwater.ground.errors import Invalid
from headwater.observatory.charts.curves import SERIES_MAX, adoption, concentration, curves, diffusion_spans
from headwater.observatory.charts.flows import licence_flows
from headwater.observatory.charts.looks import GREY
from headwater.observatory.charts.parts import QUIET, Spec, chart, nothing, tooltip
from headwater.observatory.charts.releases import release_calendar, release_months
from headwater.observatory.charts.shares import BARS_MAX, bars, country_shares, grid
from headwater.observatory.charts.values import (
    MEASURES,
    best_number,
    first_text,
    is_time,
    iso_day,
    label,
    number,
    rows_of,
    spoken,
    text_columns,
    varies,
)

TIMES_MIN = 3  # of a line: two moments are compared, not joined
SHARE_PCT_MIN = 0.05  # of a dot: less is zero to the eye, and lies on the names
_SIDES = (
    {"pct_uploader": "by uploader", "pct_origin": "by origin"},
    {"pct_30d": "30 days", "pct_all_time": "all time", "pct_30d_young": "30 days, young models"},
)
"""Columns that answer the same question under another choice, and stand side by side."""


def draw(kind: str, table: pa.Table, title: str = "") -> Spec:
    """The chart that a question names for the columns that its answer has; by another name, what fits the columns."""
    if kind == "table":
        raise Invalid("chart: this question is answered by a table alone")
    if not table.num_rows:
        made = chart(title, [], [nothing()], rows=2)
    else:
        made = _DRAWN.get(kind, guessed)(table)
    if title:
        made["title"] = {"text": label(title, 80), "anchor": "start"}
    return made


def flips(table: pa.Table) -> Spec:
    """Rows of the question country-flip: one line for every combination of choices."""
    made: dict[str, list[Spec]] = {}
    for row in rows_of(table, "attribution", "ages", "country", "pct"):
        without = str(row.get("without") or "").rpartition("/")[2]
        words = (row["attribution"], "under a year" if row["ages"] == "young" else "",
                 "language models" if row.get("modality") == "llm" else "", f"without {without}" if without else "",
                 row.get("snapshot") or "")  # fmt: skip
        made.setdefault(", ".join(word for word in words if word), []).append(row)
    tables = [
        (name, pa.table({"country": [row["country"] for row in rows], "pct": [row["pct"] for row in rows]}))
        for name, rows in made.items()
    ]
    return country_shares(tables, "pct", "country")


def sides(table: pa.Table) -> Spec:
    """Shares of groups under several choices, side by side; or one bar each where only one was asked for."""
    group = first_text(table)
    shown = next((one for one in _SIDES if set(one) <= set(table.column_names)), None)
    if shown is None:
        return bars(table, group, best_number(table), spoken(group), "share, %")
    points: list[Spec] = []
    order: list[str] = []
    for row in rows_of(table, group, *shown)[:BARS_MAX]:
        if max(number(row[column]) or 0 for column in shown) < SHARE_PCT_MIN:
            continue
        name = label(row[group], 40)
        order.append(name)
        for column, choice in shown.items():
            pct = number(row[column])
            if pct is not None:
                points.append({"name": name, "side": choice, "pct": pct})
    x = {"field": "pct", "type": "quantitative", "title": "share of downloads, %"}
    y = {"field": "name", "type": "nominal", "sort": order, "title": None,
         "axis": {**QUIET, "grid": True, "gridDash": [1, 3], "offset": 10}}  # fmt: skip
    side: Spec = {"field": "side", "type": "nominal", "title": None, "scale": {"domain": list(shown.values())}}
    layers = [
        {"mark": {"type": "line", "strokeWidth": 3, "opacity": 0.35, "color": GREY},
         "encoding": {"x": x, "y": y, "detail": {"field": "name"}}},
        {"mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
         "encoding": {"x": x, "y": y, "color": side, "shape": side,
                      "tooltip": tooltip(("name", spoken(group)), ("side", "choice"), ("pct", "share, %"))}},
    ]  # fmt: skip
    return chart(f"Share of downloads by {spoken(group)}", points, layers, rows=len(order), row_px=26)


def lines(table: pa.Table) -> Spec:
    """Over the first column of dates, or of ages or sizes: the best number, one line for each name."""
    x = next((name for name in table.column_names if is_time(table, name)), "")
    if not x:
        x = next((name for name in table.column_names if name in MEASURES), "")
    if not x:
        return guessed(table)
    named = [name for name in text_columns(table) if name != x and varies(table, name)]
    enough = next((n for n in range(1, len(named)) if _apart(table, x, named[:n])), len(named))
    if enough > 1:  # one name does not tell the lines apart
        words = sorted(named[:enough], key=lambda name: -len(set(table[name].to_pylist())))
        joined = [", ".join(str(one) for one in row.values()) for row in table.select(words).to_pylist()]
        table, named = table.append_column("line", pa.array(joined)), ["line"]
    return curves(table, x, best_number(table, x), named[0] if named else "", step="cumulative" in table.column_names)


def guessed(table: pa.Table) -> Spec:
    """What fits the columns: lines over time, choices side by side, a grid for two names, else bars."""
    texts, times = text_columns(table), [name for name in table.column_names if is_time(table, name)]
    if any(set(one) <= set(table.column_names) for one in _SIDES) and texts:
        return sides(table)
    if times and len(set(table[times[0]].to_pylist())) >= TIMES_MIN:
        return lines(table)
    texts = texts or times
    texts = texts or times or [name for name in MEASURES if name in table.column_names]
    if not texts:
        return _figures(table)
    value = best_number(table, *times, *texts)
    if times and not varies(table, times[0]):
        texts = [name for name in texts if name not in times] or texts
    varied = [name for name in texts if varies(table, name)] or texts[:1]
    if len(varied) > 1 and table.num_rows > len(set(table[varied[0]].to_pylist())):
        few, many = sorted(varied[:2], key=lambda name: len(set(table[name].to_pylist())))
        return grid(table, few, many, value)
    counted = "authors" in table.column_names and value in ("derivatives", "models", "edges", "n")
    return bars(table, varied[0], value, mark="authors" if counted else "")


def _apart(table: pa.Table, x: str, names: Sequence[str]) -> bool:
    """Whether these names leave one row for every x."""
    keys = set(zip(*(table[name].to_pylist() for name in (x, *names)), strict=True))
    return len(keys) == int(table.num_rows)


def stacked(table: pa.Table) -> Spec:
    """Shares of each period, one on the other: the largest kinds in colours, the rest in grey."""
    time = next((name for name in table.column_names if is_time(table, name)), "")
    names = [name for name in text_columns(table) if name not in (time, "snapshot")]
    if not time or not names:
        return guessed(table)
    share = next((one for one in ("pct_models", "pct_downloads", "pct") if one in table.column_names), "")
    share = share or best_number(table, time)
    points = [(iso_day(row[time]), label(row[names[0]], 40), number(row[share])) for row in rows_of(table)]
    total: dict[str, float] = {}
    for _, kind, pct in points:
        total[kind] = total.get(kind, 0) + (pct or 0)
    kept = sorted(total, key=lambda kind: -total[kind])[:SERIES_MAX]
    domain = [*kept, *(["others"] if len(total) > SERIES_MAX else [])]
    data = [
        {
            "at": at,
            "kind": kind if kind in kept else "others",
            "pct": pct,
            "order": domain.index(kind) if kind in kept else 99,
        }
        for at, kind, pct in points
        if at and pct is not None
    ]
    x = {"field": "at", "type": "ordinal", "title": None,
         "axis": {"labelExpr": "utcFormat(toDate(datum.value), '%b %y')", "labelAngle": 0, "labelOverlap": True,
                  "ticks": False}}  # fmt: skip
    bar = {
        "mark": {"type": "bar", "width": {"band": 0.92}},
        "encoding": {
            "x": x,
            "y": {
                "field": "pct",
                "type": "quantitative",
                "title": spoken(share),
                "stack": "zero",
                "scale": {"domain": [0, 100], "clamp": True} if share.startswith("pct") else {},
            },
            "color": {"field": "kind", "type": "nominal", "title": None, "scale": {"domain": domain}},
            "order": {"field": "order"},
            "tooltip": tooltip(("at", "period"), ("kind", spoken(names[0])), ("pct", spoken(share))),
        },
    }
    return chart(spoken(share), data, [bar], rows=13)


def grouped(table: pa.Table) -> Spec:
    """A name and a column per year (y2024, y2025): a grid of both."""
    years = [name for name in table.column_names if name[:1] == "y" and name[1:5].isdecimal()]
    name = first_text(table)
    if len(years) < 2:
        return ranking(table)
    rows = rows_of(table, name, *years)[:BARS_MAX]
    cells = [(row[name], year[1:].replace("_", " "), row[year]) for row in rows for year in years]
    columns = dict(zip(("name", "year", "repos"), map(list, zip(*cells, strict=True)), strict=True))
    return grid(pa.table(columns), "year", "name", "repos")


def curve(table: pa.Table) -> Spec:
    """The share of the whole that the first x % have."""
    if not {"pct_units", "pct_downloads"} <= set(table.column_names):
        return lines(table)
    return concentration(table, "pct_units", "pct_downloads", "snapshot" if "snapshot" in table.column_names else "")


def _adoption(table: pa.Table) -> Spec:
    """Scores over the age; where no class has ten models to compare with, there are only their downloads."""
    score = next((one for one in ("ram", "score") if one in table.column_names), "")
    if not score or table[score].null_count == table.num_rows:
        return lines(table)
    return adoption(table, "age_days", score, "id")


def ranking(table: pa.Table) -> Spec:
    """A list in its order: the name and the best number."""
    name = next((one for one in ("id", "unit", "org", "provider") if one in table.column_names), "") or first_text(
        table
    )
    return bars(table, name, best_number(table, "rank"))


def _figures(table: pa.Table) -> Spec:
    """One row of numbers: a bar for each."""
    row = table.to_pylist()[0]
    named = {spoken(name): number(value) for name, value in row.items() if number(value) is not None}
    return bars(pa.table({"figure": list(named), "value": list(named.values())}), "figure", "value", "Figures")


def heat(table: pa.Table) -> Spec:
    """Organisation x month, or the calendar where the rows are days."""
    time = next((name for name in table.column_names if is_time(table, name)), "")
    texts = [name for name in text_columns(table) if name != time]
    if not time or not texts:
        return guessed(table)
    who = next((name for name in texts if name in ("organisation", "org", "author", "account")), texts[0])
    value = "repos" if "repos" in table.column_names else best_number(table, time)
    if any((iso_day(at) or "-01")[-3:] != "-01" for at in table[time].to_pylist()):  # days or weeks, no months
        return release_calendar(table, time, value, who)
    return release_months(table, who, time, value)


def _flows(table: pa.Table) -> Spec:
    texts = [name for name in text_columns(table) if "snapshot" not in name]
    bases = [name for name in texts if "base" in name]
    others = [name for name in texts if name not in bases and ("deriv" in name or "child" in name)]
    if not bases or not others:
        return guessed(table)
    count = next((name for name in ("edges", "n") if name in table.column_names), "") or best_number(table)
    return licence_flows(table, bases[0], others[0], count)


def _spans(table: pa.Table) -> Spec:
    who = next((name for name in ("provider", "name") if name in table.column_names), "")
    if who and "first_seen" in table.column_names:
        return diffusion_spans(table, who)
    return guessed(table)


_DRAWN: dict[str, Callable[[pa.Table], Spec]] = {
    "bar": guessed,
    "lines": lines,
    "line": lines,
    "steps": lines,
    "shares": sides,
    "flip": flips,
    "heatmap": heat,
    "calendar": heat,
    "flows": _flows,
    "spans": _spans,
    "gantt": _spans,
    "adoption": _adoption,
    "ranking": ranking,
    "stacked": stacked,
    "grouped": grouped,
    "curve": curve,
    "concentration": lines,
    "curves": lines,
}
