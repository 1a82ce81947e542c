"""Charts: rows -> a Vega-Lite specification, as plain data; and specifications -> PNG and SVG.

Every chart is a pure function of a table with named columns, so that it can be drawn from any question's answer, from a
file or in a test. Colours are the site's, in an order that readers with colour-blindness can tell apart, and nothing is
said by colour alone. Texts out of the data are cleaned and cut, field names never come from the data, and no link,
image, address or expression does either. Refuses to know questions and snapshots.

Vega-Lite has no flows; `licence_flows` computes their ribbons here.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa

from headwater.ground.errors import Invalid, Unavailable
from headwater.observatory.texts import plain

Spec = dict[str, Any]
Theme = Literal["light", "dark"]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
VEGA_LITE = "6.4"  # of vl-convert; the pages carry the same major version
LABEL_CHARS_MAX = 60
MARKS_MAX = 20_000  # of one chart: more is a picture of nothing and stalls a phone
WIDTH_PX = 720
PHONE_PX = 420  # below this, labels are cut shorter and legends go under the title
WIDTH_MIN_PX, WIDTH_MAX_PX = 240, 2_400
SCALE_MAX = 4.0
ROW_PX = 22
TITLE_CHAR_PX = 8.5  # a letter of a title, so that a phone shows it in lines
CALENDAR_DAYS = 370  # a year, and the week that it begins in
CALENDARS_MAX = 12
POINTS_MAX = 200  # with more, lines have no dots
TIMES_MIN = 3  # of a line: two moments are compared, not joined
BARS_MAX = 30  # the rest is in the table
CELLS_NAMED_MAX = 150
ROOM = 1.16  # of an axis beyond the longest bar: for the number at its end
SERIES_MAX = 6  # as many as there are colours; the rest is drawn in grey
_QUIET = {"ticks": False, "domain": False}
_DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_FLOW_STEPS = 24  # points along one ribbon: smooth at any width

GREY = "#839290"
"""For what is beside the point: seen on both backgrounds."""

FONT = "-apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of one theme: those of front/pages/static/app.css."""

    background: str
    text: str
    muted: str
    line: str
    strong: str
    rest: str
    series: tuple[str, ...]
    ramp: tuple[str, ...]


PALETTES: dict[Theme, Palette] = {
    "light": Palette(
        "#ffffff", "#12201f", "#566866", "#e0e7e6", "#bccac8", "#8a9694",
        ("#0b7f87", "#c2660c", "#3f6fb5", "#a35b86", "#7a9b3a", "#5b4b8a"),
        ("#e4f2f2", "#a5d4d3", "#5fb0b2", "#1f8990", "#0b5f66", "#063c42"),
    ),
    "dark": Palette(
        "#111a1b", "#e2ebea", "#93a6a4", "#213031", "#3a4d4d", "#7c8b89",
        ("#49bdb8", "#f0a04b", "#7ea6e6", "#d48fb8", "#a9c96b", "#b9a5f0"),
        ("#14302f", "#1b5553", "#23807e", "#3aaba6", "#7fd6cf", "#d3f5f1"),
    ),
}  # fmt: skip


_CLASSES = {"??": "unmapped", "USER": "persons", "INT": "several countries"}
"""What is no country, in words."""


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


_PERIODS = {"Q1": "01", "Q2": "04", "Q3": "07", "Q4": "10", "H1": "01", "H2": "07"}


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


# --- the charts ----------------------------------------------------------------------------------------------------


def country_shares(
    choices: Sequence[tuple[str, pa.Table]], share: str = "pct_downloads", group: str = "country", shown: int = 2
) -> Spec:
    """Shares of the leading groups under each of several choices, one line per choice: where the order of the dots
    changes, the headline flips.

    choices: (what was chosen, rows with `group` and `share` in percent). The `shown` groups that lead anywhere are
    joined and named; what is no country stands in grey.
    """
    points: list[Spec] = []
    lead: dict[str, float] = {}
    for name, table in choices:
        for row in rows_of(table, group, share):
            pct = number(row[share])
            if pct is not None and row[group] is not None:
                key = label(row[group], 24)
                points.append({"choice": label(name), "group": key, "pct": round(pct, 2)})
                if row[group] not in _CLASSES:
                    lead[key] = max(lead.get(key, 0.0), pct)
    leaders = sorted(lead, key=lambda key: -lead[key])[:shown]
    for point in points:
        point["kind"] = point["group"] if point["group"] in leaders else "others"
    drawn = [point for point in points if point["kind"] != "others" or point["pct"] >= 1]
    for name in {point["choice"] for point in drawn}:
        most = max(
            (p for p in drawn if p["choice"] == name and p["kind"] != "others"), key=lambda p: p["pct"], default=None
        )
        if most:
            most["leads"] = f"{most['group']} {most['pct']:.1f} %"
    order = [label(name) for name, _ in choices]
    y = {"field": "choice", "type": "nominal", "sort": order, "title": None,
         "axis": {"domain": False, "ticks": False, "labels": False, "grid": True, "gridDash": [1, 3]}}  # fmt: skip
    widest = max((point["pct"] for point in drawn), default=1) * ROOM * ROOM
    x = {"field": "pct", "type": "quantitative", "title": "share, %", "scale": {"domain": [0, widest], "nice": False}}
    colour = {"condition": {"test": "datum.kind === 'others'", "value": GREY}, "field": "kind", "type": "nominal",
              "title": None, "sort": leaders, "scale": {"domain": leaders}}  # fmt: skip
    shape = {"condition": {"test": "datum.kind === 'others'", "value": "stroke"}, "field": "kind", "type": "nominal",
             "title": None, "sort": leaders, "scale": {"domain": leaders}}  # fmt: skip
    joined = {"transform": [{"filter": "datum.kind !== 'others'"}],
              "mark": {"type": "line", "strokeWidth": 3, "opacity": 0.35, "color": GREY},
              "encoding": {"x": x, "y": y, "detail": {"field": "choice"}}}  # fmt: skip
    dots = {"mark": {"type": "point", "filled": True, "size": 130, "opacity": 1},
            "encoding": {"x": x, "y": y, "color": colour, "shape": shape,
                         "size": {"condition": {"test": "datum.kind === 'others'", "value": 50}, "value": 130},
                         "tooltip": _tooltip(("choice", "choice"), ("group", group), ("pct", "share, %"))}}  # fmt: skip
    named = {"transform": [{"filter": "isValid(datum.leads)"}],
             "mark": {"type": "text", "align": "left", "dx": 10, "fontWeight": 600},
             "encoding": {"x": x, "y": y, "text": {"field": "leads"}}}  # fmt: skip
    # The choice stands above its line, not beside it: on a phone it would be cut.
    told = {"transform": [{"filter": "isValid(datum.leads)"}],
            "mark": {"type": "text", "align": "left", "dy": -16, "fontSize": 12},
            "encoding": {"x": {"datum": 0, "type": "quantitative"}, "y": y, "text": {"field": "choice"}}}  # fmt: skip
    return _chart("Shares under each choice", drawn, [joined, dots, named, told], rows=len(order), row_px=46)


def bars(table: pa.Table, name: str, value: str, title: str = "", unit: str = "", mark: str = "") -> Spec:
    """One bar per row, in the order of the rows; `mark`: a second column, drawn as a tick on each bar."""
    needed = (name, value, mark) if mark else (name, value)
    data: list[Spec] = []
    for row in rows_of(table, *needed)[:BARS_MAX]:
        length = number(row[value])
        if length is not None:
            data.append({"name": label("(none)" if row[name] is None else row[name]), "value": length})
            if mark:
                data[-1]["mark"] = number(row[mark])
    order = list(dict.fromkeys(point["name"] for point in data))
    longest = max((point["value"] for point in data), default=1) or 1
    x = {
        "field": "value",
        "type": "quantitative",
        "title": unit or spoken(value),
        "scale": {"domain": [min(0, *(point["value"] for point in data), 0), longest * ROOM], "nice": False},
    }
    y = {"field": "name", "type": "nominal", "sort": order, "title": None, "axis": {"domain": False, "ticks": False}}
    layers: list[Spec] = [
        {"mark": {"type": "bar", "cornerRadiusEnd": 2, "height": {"band": 0.72}},
         "encoding": {"x": x, "y": y, "tooltip": _tooltip(("name", spoken(name)), ("value", spoken(value)))}},
        {"mark": {"type": "text", "align": "left", "dx": 5},
         "encoding": {"x": x, "y": y, "text": {"field": "value", "format": ",.7~r"}}},
    ]  # fmt: skip
    if mark:
        layers[1:1] = [
            {"mark": {"type": "tick", "thickness": 3, "height": {"band": 0.9}},
             "encoding": {"x": {"field": "mark", "type": "quantitative"}, "y": y,
                          "color": {"datum": spoken(mark), "type": "nominal", "legend": {"title": None}},
                          "tooltip": _tooltip(("name", spoken(name)), ("mark", spoken(mark)))}},
        ]  # fmt: skip
        layers[0]["encoding"]["color"] = {"datum": spoken(value), "type": "nominal"}
    return _chart(title or spoken(value), data, layers, rows=len(order))


def families(
    table: pa.Table, family: str = "family", derivatives: str = "derivatives", authors: str = "authors"
) -> Spec:
    """Derivatives per family, with the distinct authors behind them where the table has them."""
    mark = authors if authors in table.column_names else ""
    return bars(table, family, derivatives, "Derivatives per family", "models", mark)


def release_months(table: pa.Table, org: str = "org", month: str = "month", repos: str = "repos") -> Spec:
    """Organisation x month: how many repos were released; the number is written where there is room."""
    data: list[Spec] = []
    total: dict[str, float] = {}
    for row in rows_of(table, org, month, repos):
        day, count = iso_day(row[month]), number(row[repos])
        if day and count is not None:
            key = label(row[org], 30)
            total[key] = total.get(key, 0) + count
            data.append({"org": key, "month": day[:7] + "-01", "repos": count})
    order = sorted(total, key=lambda key: -total[key])[:40]
    kept = [point for point in data if point["org"] in set(order)]
    x = {
        "field": "month",
        "type": "ordinal",
        "timeUnit": "utcyearmonth",
        "title": None,
        "axis": {"format": "%b %y", "labelOverlap": True, "labelAngle": 0, "domain": False, "ticks": False},
    }
    y = {"field": "org", "type": "nominal", "sort": order, "title": None, "axis": {"domain": False, "ticks": False}}
    cells = {
        "mark": {"type": "rect", "cornerRadius": 2, "stroke": None},
        "encoding": {
            "x": x,
            "y": y,
            "color": _heat("repos", "repos a month"),
            "tooltip": _tooltip(("org", "organisation"), ("month", "month"), ("repos", "repos")),
        },
    }
    return _chart("Releases per organisation and month", kept, [cells], rows=len(order))


def release_calendar(
    table: pa.Table, day: str = "day", repos: str = "repos", org: str = "org", until: date | None = None
) -> Spec:
    """A calendar of the year before `until` (default: the newest day) for each organisation: weeks across, days down.

    Rows of whole weeks make a strip of one line. At most 12 organisations, those with the most repos of that year.
    """
    rows = [
        (iso_day(row[day]), number(row[repos]), label(row.get(org) or "all", 30)) for row in rows_of(table, day, repos)
    ]
    dated = [(date.fromisoformat(at), count, who) for at, count, who in rows if at and count is not None]
    if not dated:
        return _chart("Releases of a year", [], [_nothing()], rows=1)
    last = until or max(at for at, _, _ in dated)
    counted, orgs = _of_a_year(dated, last)
    weekly = len({at.weekday() for _, at in counted}) == 1
    data = _calendar_cells(counted, orgs, last, every_day=not weekly)
    x = {
        "field": "week",
        "type": "ordinal",
        "title": None,
        "axis": {
            "labelExpr": "date(toDate(datum.value)) <= 7 ? timeFormat(toDate(datum.value), '%b') : ''",
            "labelAngle": 0,
            "labelOverlap": False,
            **_QUIET,
        },
    }
    y = (
        {"field": "org", "type": "nominal", "sort": orgs, "title": None, "axis": {"ticks": False, "domain": False}}
        if weekly
        else {
            "field": "weekday",
            "type": "ordinal",
            "sort": list(_DAY_NAMES),
            "title": None,
            "axis": {"values": ["Mon", "Wed", "Fri"], "ticks": False, "domain": False},
        }
    )
    cells: Spec = {
        "mark": {"type": "rect", "cornerRadius": 2},
        "encoding": {
            "x": x,
            "y": y,
            "color": _heat("repos", "repos"),
            "tooltip": _tooltip(("org", "organisation"), ("day", "day"), ("repos", "repos")),
        },
    }
    if weekly or len(orgs) < 2:
        return _chart("Releases of a year", data, [cells], rows=len(orgs) if weekly else 7)
    cells["encoding"]["row"] = {
        "field": "org",
        "type": "nominal",
        "sort": orgs,
        "title": None,
        "header": {"labelAngle": 0, "labelAlign": "left", "labelOrient": "top", "labelAnchor": "start"},
    }
    made = _chart("Releases of a year", data, [cells], rows=7, row_px=12)
    made.update(made.pop("layer")[0])
    return made


def _of_a_year(dated: Sequence[tuple[date, float, str]], last: date) -> tuple[dict[tuple[str, date], float], list[str]]:
    """Counts per organisation and day of the year that ends with `last`, and the organisations with most of them."""
    counted: dict[tuple[str, date], float] = {}
    total: dict[str, float] = {}
    for at, count, who in dated:
        if last - timedelta(days=CALENDAR_DAYS) < at <= last:
            counted[who, at] = counted.get((who, at), 0) + count
            total[who] = total.get(who, 0) + count
    return counted, sorted(total, key=lambda who: -total[who])[:CALENDARS_MAX]


def _calendar_cells(
    counted: Mapping[tuple[str, date], float], orgs: Sequence[str], last: date, *, every_day: bool
) -> list[Spec]:
    """One cell per day with a count; `every_day`: also per day without."""
    days = [(who, at) for who, at in sorted(counted) if who in orgs]
    if every_day:
        year = [last - timedelta(days=n) for n in range(CALENDAR_DAYS)]
        days = [(who, at) for who in orgs for at in year]
    return [
        {
            "org": who,
            "week": (at - timedelta(days=at.weekday())).isoformat(),
            "weekday": _DAY_NAMES[at.weekday()],
            "day": at.isoformat(),
            "repos": counted.get((who, at), 0),
        }
        for who, at in days
    ]


def licence_flows(
    table: pa.Table,
    base: str = "base_family",
    derivative: str = "derivative_family",
    edges: str = "edges",
    order: Sequence[str] = (),
) -> Spec:
    """Licence families of bases (left) and of their derivatives (right), joined by ribbons.

    order: families from permissive to restrictive, so that ribbons that rise lead to fewer restrictions.
    """
    flows: dict[tuple[str, str], float] = {}
    for row in rows_of(table, base, derivative, edges):
        count = number(row[edges])
        if count:
            key = (label(row[base] or "none declared", 30), label(row[derivative] or "none declared", 30))
            flows[key] = flows.get(key, 0) + count
    ranked = list(dict.fromkeys([*order, *LICENCE_ORDER, *sorted({name for pair in flows for name in pair})]))
    left = [name for name in ranked if any(pair[0] == name for pair in flows)]
    right = [name for name in ranked if any(pair[1] == name for pair in flows)]
    total = sum(flows.values()) or 1
    ribbons, nodes = _ribbons(flows, left, right, total)
    x = {
        "field": "x",
        "type": "quantitative",
        "axis": None,
        "scale": {
            "domainMin": {"expr": "width < 420 ? -1.1 : -0.42"},
            "domainMax": {"expr": "width < 420 ? 2.1 : 1.42"},
            "nice": False,
            "zero": False,
        },
    }
    y = {
        "field": "y",
        "type": "quantitative",
        "axis": None,
        "scale": {"domain": [0, 1], "reverse": True, "nice": False, "zero": False},
    }
    colour = {"field": "base", "type": "nominal", "sort": left, "legend": None, "scale": {"domain": left}}
    layers: list[Spec] = [
        {"data": {"values": ribbons}, "mark": {"type": "area", "opacity": 0.55, "interpolate": "monotone"},
         "encoding": {"x": x, "y": y, "y2": {"field": "y2"}, "color": colour, "detail": {"field": "flow"},
                      "tooltip": _tooltip(("base", "base"), ("derivative", "derivative"), ("edges", "edges"))}},
        {"data": {"values": nodes}, "mark": {"type": "bar", "width": 8},
         "encoding": {"x": x, "y": y, "y2": {"field": "y2"}, "color": {"value": GREY},
                      "tooltip": _tooltip(("name", "licence family"), ("edges", "edges"))}},
    ]  # fmt: skip
    for side, align, dx in (("left", "right", -10), ("right", "left", 10)):
        layers.append(
            {"data": {"values": [node for node in nodes if node["side"] == side]},
             "mark": {"type": "text", "align": align, "dx": dx, "baseline": "middle"},
             "encoding": {"x": x, "y": {**y, "field": "label_y"}, "text": {"field": "text"}}}
        )  # fmt: skip
    made = _chart("Licences: base to derivative", [], layers, rows=16)
    del made["data"]
    return made


LICENCE_ORDER = ("permissive", "copyleft", "custom-commercial", "use-restricted", "non-commercial", "unclassified",
                 "none declared")  # fmt: skip


def _ribbons(
    flows: Mapping[tuple[str, str], float], left: Sequence[str], right: Sequence[str], total: float
) -> tuple[list[Spec], list[Spec]]:
    gap = 0.03
    nodes: list[Spec] = []
    at: dict[tuple[str, str], float] = {}
    for side, names, part in (("left", left, 0), ("right", right, 1)):
        free = 1 - gap * max(len(names) - 1, 0)
        y = 0.0
        lowest = -1.0
        for name in names:
            count = sum(edges for pair, edges in flows.items() if pair[part] == name)
            height = free * count / total
            middle = max(y + height / 2, lowest + 0.045)  # thin neighbours' labels must not lie on each other
            lowest = middle
            nodes.append({"side": side, "name": name, "edges": count, "x": part, "y": y, "y2": y + height,
                          "label_y": middle, "text": f"{name} {count:,.0f}"})  # fmt: skip
            at[side, name] = y
            y += height + gap
    ribbons: list[Spec] = []
    scale = {"left": 1 - gap * max(len(left) - 1, 0), "right": 1 - gap * max(len(right) - 1, 0)}
    for one in left:
        for other in right:
            edges = flows.get((one, other), 0)
            if not edges:
                continue
            a, b = at["left", one], at["right", other]
            wide_a, wide_b = edges / total * scale["left"], edges / total * scale["right"]
            at["left", one] += wide_a
            at["right", other] += wide_b
            for step in range(_FLOW_STEPS + 1):
                t = step / _FLOW_STEPS
                s = t * t * (3 - 2 * t)
                top = a + (b - a) * s
                wide = wide_a + (wide_b - wide_a) * s
                ribbons.append({"flow": f"{one} > {other}", "base": one, "derivative": other, "edges": edges,
                                "x": 0.015 + t * 0.97, "y": round(top, 5), "y2": round(top + wide, 5)})  # fmt: skip
    return ribbons, nodes


def curves(
    table: pa.Table,
    x: str,
    value: str,
    series: str = "",
    title: str = "",
    *,
    step: bool = False,
    log: str = "",
    rule: float | None = None,
    y_title: str = "",
) -> Spec:
    """Lines over time or over a measure. `log`: logarithmic axes (x, y, xy); `rule`: a value to compare with."""
    data, domain, over_time = _points(table, x, value, series, log)
    across: Spec = {
        "field": "x",
        "type": "temporal" if over_time else "quantitative",
        "title": None if over_time else spoken(x),
    }
    if over_time:
        across |= {"scale": {"type": "utc"}, "axis": {"format": _date_format([point["x"] for point in data])}}
    elif "x" in log:
        across |= {"scale": {"type": "log"}, "axis": {"tickCount": 5}}
    up: Spec = {"field": "y", "type": "quantitative", "title": y_title or spoken(value)}
    up |= {"scale": {"type": "log"}, "axis": {"tickCount": 5}} if "y" in log else {"scale": {"zero": True}}
    colour = {"field": "shown", "type": "nominal", "sort": domain, "scale": {"domain": domain}, "title": None,
              "legend": None if len(domain) < 2 else {"symbolType": "stroke"}}  # fmt: skip
    dash = {"field": "shown", "type": "nominal", "sort": domain, "legend": None,
            "scale": {"domain": domain, "range": _DASHES}}  # fmt: skip
    line: Spec = {
        "mark": {
            "type": "line",
            "strokeWidth": 2,
            "interpolate": "step-after" if step else "linear",
            "point": {"size": 24} if len(data) < POINTS_MAX else False,
        },
        "encoding": {
            "x": across,
            "y": up,
            "color": colour,
            "detail": {"field": "series"},
            "strokeDash": dash,
            "tooltip": [
                {"field": "x", "type": across["type"], "title": spoken(x)},
                *_tooltip(("y", spoken(value)), ("series", series and spoken(series))),
            ],
        },
    }
    layers = [line]
    if rule is not None:
        layers.append(
            {"mark": {"type": "rule", "strokeDash": [4, 4], "opacity": 0.7}, "encoding": {"y": {"datum": rule}}}
        )
    return _chart(title or spoken(value), data, layers, rows=13)


_DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [1, 3], [1, 1]]


def _points(table: pa.Table, x: str, value: str, series: str, log: str) -> tuple[list[Spec], list[str], bool]:
    """Points of lines, the names that get a colour, and whether x is time."""
    data: list[Spec] = []
    over_time = True
    for row in rows_of(table, *(name for name in (x, value, series) if name)):
        height, over = number(row[value]), number(row[x])
        where = over if over is not None else iso_day(row[x])
        over_time = over_time and over is None
        if height is None or where is None or ("y" in log and height <= 0):
            continue
        if "x" in log and over is not None and over <= 0:
            continue
        data.append({"x": where, "y": height, "series": label(row[series]) if series else spoken(value)})
    if not over_time:
        data = [point for point in data if not isinstance(point["x"], str)]
    last: dict[str, Spec] = {}
    for point in data:
        if point["series"] not in last or point["x"] >= last[point["series"]]["x"]:
            last[point["series"]] = point
    names = sorted(last, key=lambda name: -last[name]["y"])
    for point in data:
        point["shown"] = point["series"] if point["series"] in names[:SERIES_MAX] else "others"
    return data, [*names[:SERIES_MAX], *(["others"] if len(names) > SERIES_MAX else [])], over_time


def diffusion(table: pa.Table, month: str = "month", cumulative: str = "cumulative", series: str = "") -> Spec:
    """How many providers have listed a family by each month."""
    return curves(table, month, cumulative, series, "Providers that have listed it", step=True, y_title="providers")


def diffusion_spans(
    table: pa.Table, provider: str = "provider", first: str = "first_seen", last: str = "last_seen", family: str = ""
) -> Spec:
    """One line per provider from the first to the last day on which a catalogue listed it."""
    data: list[Spec] = []
    for row in rows_of(table, provider, first):
        start = iso_day(row[first])
        if start:
            data.append({"provider": label(row[provider], 30), "first": start, "last": iso_day(row.get(last)) or start,
                         "family": label(row.get(family) or "", 30)})  # fmt: skip
    data.sort(key=lambda point: (point["first"], point["provider"]))
    order = list(dict.fromkeys(point["provider"] for point in data))[:60]
    kept = [point for point in data if point["provider"] in set(order)]
    dates = _date_format([point[end] for point in kept for end in ("first", "last")])
    x = {
        "field": "first",
        "type": "temporal",
        "scale": {"type": "utc"},
        "title": "listed by",
        "axis": {"format": dates},
    }
    y = {
        "field": "provider",
        "type": "nominal",
        "sort": order,
        "title": None,
        "axis": {"domain": False, "ticks": False},
    }
    shown: Spec = {"color": {"field": "family", "type": "nominal", "title": None}} if family else {}
    layers = [
        {"mark": {"type": "rule", "strokeWidth": 3, "opacity": 0.35},
         "encoding": {"x": x, "x2": {"field": "last"}, "y": y, **shown}},
        {"mark": {"type": "point", "filled": True, "size": 60},
         "encoding": {"x": x, "y": y, **shown,
                      "tooltip": _tooltip(("provider", "provider"), ("first", "first seen"), ("last", "last seen"))}},
    ]  # fmt: skip
    return _chart("First and last seen per provider", kept, layers, rows=len(order), row_px=18)


def concentration(
    table: pa.Table, rank_pct: str = "rank_pct", cumulative_pct: str = "cumulative_pct", series: str = ""
) -> Spec:
    """Which share of the whole the first x % have, over a logarithmic x: equality would be the far corner only."""
    return curves(
        table, rank_pct, cumulative_pct, series, "Share of the first x %", log="x", y_title="share of the whole, %"
    )


def adoption(table: pa.Table, age: str = "age_days", score: str = "score", series: str = "id") -> Spec:
    """Relative adoption over a model's age; above 1 it is on course for its class's first ten."""
    return curves(table, age, score, series, "Relative adoption by age", log="y", rule=1.0, y_title="relative adoption")


def grid(table: pa.Table, x: str, y: str, value: str, title: str = "") -> Spec:
    """Two names and a number as a table of shades; the numbers are written where there is room."""
    data = [
        {"a": label(row[x], 30), "b": label(row[y], 30), "value": number(row[value])}
        for row in rows_of(table, x, y, value)
        if number(row[value]) is not None
    ]
    rows = list(dict.fromkeys(point["b"] for point in data))
    across = {"field": "a", "type": "nominal", "title": None, "sort": None,
              "axis": {"labelAngle": 0, "ticks": False, "domain": False, "orient": "top"}}  # fmt: skip
    down = {"field": "b", "type": "nominal", "title": None, "sort": None, "axis": {"ticks": False, "domain": False}}
    layers: list[Spec] = [
        {"mark": {"type": "rect", "cornerRadius": 2},
         "encoding": {"x": across, "y": down, "color": _heat("value", spoken(value)),
                      "tooltip": _tooltip(("a", spoken(x)), ("b", spoken(y)), ("value", spoken(value)))}},
    ]  # fmt: skip
    if len(data) <= CELLS_NAMED_MAX:
        paper = {"type": "text", "strokeWidth": 2, "strokeJoin": "round", "style": "halo"}
        text = {"field": "value", "format": ",.3~r"}
        # the first is a halo: the number is read on any shade
        layers += [
            {"mark": mark, "encoding": {"x": across, "y": down, "text": text}} for mark in (paper, {"type": "text"})
        ]
    return _chart(title or spoken(value), data, layers, rows=len(rows))


# --- from an answer to its chart -----------------------------------------------------------------------------------


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


_SIDES = (
    {"pct_uploader": "by uploader", "pct_origin": "by origin"},
    {"pct_30d": "30 days", "pct_all_time": "all time", "pct_30d_young": "30 days, young models"},
)
"""Columns that answer the same question under another choice, and stand side by side."""


def sides(table: pa.Table) -> Spec:
    """Shares of groups under several choices, side by side; or one bar each where only one was asked for."""
    group = _first_text(table)
    shown = next((one for one in _SIDES if set(one) <= set(table.column_names)), None)
    if shown is None:
        return bars(table, group, _best_number(table), spoken(group), "share, %")
    points: list[Spec] = []
    order: list[str] = []
    for row in rows_of(table, group, *shown)[:BARS_MAX]:
        name = label(row[group], 40)
        order.append(name)
        for column, choice in shown.items():
            pct = number(row[column])
            if pct is not None:
                points.append({"name": name, "side": choice, "pct": pct})
    x = {"field": "pct", "type": "quantitative", "title": "share of downloads, %"}
    y = {"field": "name", "type": "nominal", "sort": order, "title": None,
         "axis": {"domain": False, "ticks": False, "grid": True, "gridDash": [1, 3]}}  # fmt: skip
    side: Spec = {"field": "side", "type": "nominal", "title": None, "scale": {"domain": list(shown.values())}}
    layers = [
        {"mark": {"type": "line", "strokeWidth": 3, "opacity": 0.35, "color": GREY},
         "encoding": {"x": x, "y": y, "detail": {"field": "name"}}},
        {"mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
         "encoding": {"x": x, "y": y, "color": side, "shape": side,
                      "tooltip": _tooltip(("name", spoken(group)), ("side", "choice"), ("pct", "share, %"))}},
    ]  # fmt: skip
    return _chart(f"Share of downloads by {spoken(group)}", points, layers, rows=len(order), row_px=26)


def lines(table: pa.Table) -> Spec:
    """Over the first column of dates, or of ages or sizes: the best number, one line for each name."""
    x = next((name for name in table.column_names if _is_time(table, name)), "")
    if not x:
        x = next((name for name in table.column_names if name in _MEASURES), "")
    if not x:
        return guessed(table)
    named = [name for name in _texts(table) if name != x and _varies(table, name)]
    enough = next((n for n in range(1, len(named)) if _apart(table, x, named[:n])), len(named))
    if enough > 1:  # one name does not tell the lines apart
        words = sorted(named[:enough], key=lambda name: -len(set(table[name].to_pylist())))
        joined = [", ".join(str(one) for one in row.values()) for row in table.select(words).to_pylist()]
        table, named = table.append_column("line", pa.array(joined)), ["line"]
    return curves(table, x, _best_number(table, x), named[0] if named else "", step="cumulative" in table.column_names)


def guessed(table: pa.Table) -> Spec:
    """What fits the columns: lines over time, choices side by side, a grid for two names, else bars."""
    texts, times = _texts(table), [name for name in table.column_names if _is_time(table, name)]
    if any(set(one) <= set(table.column_names) for one in _SIDES) and texts:
        return sides(table)
    if times and len(set(table[times[0]].to_pylist())) >= TIMES_MIN:
        return lines(table)
    texts = texts or times
    texts = texts or times or [name for name in _MEASURES if name in table.column_names]
    if not texts:
        return _figures(table)
    value = _best_number(table, *times, *texts)
    if times and not _varies(table, times[0]):
        texts = [name for name in texts if name not in times] or texts
    varied = [name for name in texts if _varies(table, name)] or texts[:1]
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
    time = next((name for name in table.column_names if _is_time(table, name)), "")
    names = [name for name in _texts(table) if name not in (time, "snapshot")]
    if not time or not names:
        return guessed(table)
    share = next((one for one in ("pct_models", "pct_downloads", "pct") if one in table.column_names), "")
    share = share or _best_number(table, time)
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
            "tooltip": _tooltip(("at", "period"), ("kind", spoken(names[0])), ("pct", spoken(share))),
        },
    }
    return _chart(spoken(share), data, [bar], rows=13)


def grouped(table: pa.Table) -> Spec:
    """A name and a column per year (y2024, y2025): a grid of both."""
    years = [name for name in table.column_names if name[:1] == "y" and name[1:5].isdecimal()]
    name = _first_text(table)
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


def ranking(table: pa.Table) -> Spec:
    """A list in its order: the name and the best number."""
    name = next((one for one in ("id", "unit", "org", "provider") if one in table.column_names), "") or _first_text(
        table
    )
    return bars(table, name, _best_number(table, "rank"))


def _figures(table: pa.Table) -> Spec:
    """One row of numbers: a bar for each."""
    row = table.to_pylist()[0]
    named = {spoken(name): number(value) for name, value in row.items() if number(value) is not None}
    return bars(pa.table({"figure": list(named), "value": list(named.values())}), "figure", "value", "Figures")


def _varies(table: pa.Table, name: str) -> bool:
    return len(set(table[name].to_pylist())) > 1


def heat(table: pa.Table) -> Spec:
    """Organisation x month, or the calendar where the rows are days."""
    time = next((name for name in table.column_names if _is_time(table, name)), "")
    texts = [name for name in _texts(table) if name != time]
    if not time or not texts:
        return guessed(table)
    who = next((name for name in texts if name in ("organisation", "org", "author", "account")), texts[0])
    value = "repos" if "repos" in table.column_names else _best_number(table, time)
    if time in ("day", "week") or len(set(table[time].to_pylist())) > 60:
        return release_calendar(table, time, value, who)
    return release_months(table, who, time, value)


def _flows(table: pa.Table) -> Spec:
    texts = [name for name in _texts(table) if "snapshot" not in name]
    bases = [name for name in texts if "base" in name]
    others = [name for name in texts if name not in bases and ("deriv" in name or "child" in name)]
    if not bases or not others:
        return guessed(table)
    count = next((name for name in ("edges", "n") if name in table.column_names), "") or _best_number(table)
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
    "adoption": lines,
    "ranking": ranking,
    "stacked": stacked,
    "grouped": grouped,
    "curve": curve,
    "concentration": lines,
    "curves": lines,
}
_MEASURES = ("rank_pct", "top_pct", "age_days", "days", "depth", "rank", "step", "at")
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


def draw(kind: str, table: pa.Table, title: str = "") -> Spec:
    """The chart that a question names for the columns that its answer has; by another name, what fits the columns."""
    if kind == "table":
        raise Invalid("chart: this question is answered by a table alone")
    if not table.num_rows:
        made = _chart(title, [], [_nothing()], rows=2)
    else:
        made = _DRAWN.get(kind, guessed)(table)
    if title:
        made["title"] = {"text": label(title, 80), "anchor": "start"}
    return made


def _texts(table: pa.Table) -> list[str]:
    return [one.name for one in table.schema if pa.types.is_string(one.type) and not _is_time(table, one.name)]


def _first_text(table: pa.Table) -> str:
    found = _texts(table)
    if not found:
        raise Invalid(f"chart: no column has names; the table has {', '.join(table.column_names)}")
    return found[0]


def _is_time(table: pa.Table, name: str) -> bool:
    kind = table.schema.field(name).type
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return True
    if name not in ("month", "week", "day", "date", "quarter", "period") or not pa.types.is_string(kind):
        return False
    return all(iso_day(value) for value in table[name].slice(0, 50).to_pylist())


def _best_number(table: pa.Table, *but: str) -> str:
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


# --- what all charts share -----------------------------------------------------------------------------------------


def spoken(column: str) -> str:
    """A column's name as an axis says it."""
    words = column.replace("_pct", " %").replace("pct_", "% of ").replace("pct", "%").replace("_", " ")
    return label(words.replace("downloads 30d", "downloads in 30 days").strip(), 40)


def _date_format(days: Sequence[str]) -> str:
    """Days where the axis is short, else months."""
    if not days:
        return "%b %y"
    span = date.fromisoformat(max(days)) - date.fromisoformat(min(days))
    return "%-d %b" if span.days < 100 else "%b %y"


def _tooltip(*fields: tuple[str, str]) -> list[Spec]:
    return [{"field": field, "title": title} for field, title in fields if title]


def _heat(field: str, title: str) -> Spec:
    return {"field": field, "type": "quantitative", "title": title, "scale": {"type": "sqrt"},
            "legend": {"orient": "top", "gradientLength": 140, "gradientThickness": 8}}  # fmt: skip


def _nothing() -> Spec:
    return {"mark": {"type": "text"}, "encoding": {"text": {"value": "nothing to show"}}}


def _chart(title: str, data: list[Spec], layers: list[Spec], rows: int, row_px: int = ROW_PX) -> Spec:
    if len(data) > MARKS_MAX:
        raise Invalid(f"chart: has {len(data)} marks; {MARKS_MAX} can be drawn. Ask for fewer with `top`")
    return {
        "$schema": SCHEMA,
        "title": {"text": title, "anchor": "start"},
        "data": {"values": data},
        "width": WIDTH_PX,
        "height": max(rows, 3) * row_px,
        "layer": layers if data or any("data" in one for one in layers) else [_nothing()],
    }


def themed(spec: Spec, theme: Theme = "light", width_px: int = WIDTH_PX) -> Spec:
    """The chart in the site's colours at a width; all text of it included, in CSS pixels."""
    if not WIDTH_MIN_PX <= width_px <= WIDTH_MAX_PX:
        raise Invalid(f"width: {width_px} must be {WIDTH_MIN_PX} to {WIDTH_MAX_PX} pixels")
    made = {**spec, "config": config(theme, width_px)}
    title = made["title"]["text"]
    if isinstance(title, str):
        made["title"] = {**made["title"], "text": textwrap.wrap(title, max(int(width_px / TITLE_CHAR_PX), 20)) or title}
    made["width"] = width_px
    made["autosize"] = {"type": "fit-x", "contains": "padding"}
    if "row" in made.get("encoding", {}):  # Vega-Lite can't fit facets: leave room for the days' names
        made["width"] = width_px - 70
        del made["autosize"]
    return made


def config(theme: Theme, width_px: int = WIDTH_PX) -> Spec:
    """Vega-Lite's configuration: the site's colours and sizes. Pages swap it with the theme."""
    p = PALETTES[theme]
    phone = width_px <= PHONE_PX
    return {
        "background": p.background,
        "font": FONT,
        "padding": 8 if phone else 14,
        "title": {"color": p.text, "fontSize": 14 if phone else 15, "fontWeight": 600, "offset": 12},
        "axis": {
            "labelColor": p.muted,
            "titleColor": p.muted,
            "gridColor": p.line,
            "domainColor": p.strong,
            "tickColor": p.strong,
            "labelFontSize": 11 if phone else 12,
            "titleFontSize": 12,
            "titleFontWeight": 400,
            "labelPadding": 6,
        },
        "axisY": {"labelLimit": 120 if phone else 260},
        "axisX": {"tickCount": 4 if phone else 8, "labelFlush": True},
        "legend": {
            "orient": "top",
            "labelColor": p.text,
            "titleColor": p.muted,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": 400,
            "symbolStrokeWidth": 3,
            "columns": 2 if phone else 3,
            "labelLimit": 110 if phone else 200,
            "symbolOpacity": 1,
        },
        "header": {"labelColor": p.text, "labelFontSize": 12, "labelFontWeight": 600},
        "view": {"stroke": None},
        "range": {"category": [*p.series, p.rest], "ramp": list(p.ramp), "heatmap": list(p.ramp)},
        "bar": {"color": p.series[0]},
        "line": {"color": p.series[0]},
        "point": {"color": p.series[0]},
        "rect": {"color": p.series[0]},
        "tick": {"color": p.series[1]},
        "area": {"color": p.series[0]},
        "style": {"halo": {"stroke": p.background, "strokeOpacity": 0.75}},
        "rule": {"color": p.series[0]},
        "text": {"color": p.text, "fontSize": 11 if phone else 12},
    }


def svg(spec: Spec) -> str:
    """The picture as SVG. Unavailable: vl-convert is not installed."""
    text: str = _converter().vegalite_to_svg(spec, vl_version=VEGA_LITE, allowed_base_urls=[])
    return text


def png(spec: Spec, scale: float = 2.0) -> bytes:
    """The picture as PNG; `scale` is pixels per CSS pixel. Unavailable: vl-convert is not installed."""
    if not 0 < scale <= SCALE_MAX:
        raise Invalid(f"scale: {scale} must be more than 0 and at most {SCALE_MAX}")
    made: bytes = _converter().vegalite_to_png(spec, vl_version=VEGA_LITE, scale=scale, allowed_base_urls=[])
    return made


def _converter() -> Any:
    try:
        import vl_convert  # noqa: PLC0415 - 60 MB that only pictures need
    except ImportError as error:
        raise Unavailable("Pictures need the package vl-convert-python, which is not installed") from error
    return vl_convert
