"""Lines over time or over a measure, and the spans of providers from the first to the last sight."""

from __future__ import annotations

import pyarrow as pa

from headwater.observatory.charts.parts import QUIET, Spec, chart, date_format, tooltip
from headwater.observatory.charts.values import iso_day, label, number, rows_of, spoken

POINTS_MAX = 200  # with more, lines have no dots
SERIES_MAX = 6  # as many as there are colours; the rest is drawn in grey
NAME_CHARS_MAX = 40  # of a line: what a phone has room for beside its colour; the middle of a longer one goes
SHORT_CHARS = 16  # names that stand beside each other in a legend
_LONG = {"columns": {"expr": "width < 420 ? 1 : 2"}, "labelLimit": 280}
"""A legend of long names: one under the other on a phone."""
_DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [1, 3], [1, 0]]


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
        across |= {"scale": {"type": "utc"}, "axis": {"format": date_format([point["x"] for point in data])}}
    elif "x" in log:
        across |= {"scale": {"type": "log"}, "axis": {"tickCount": 5}}
    up: Spec = {"field": "y", "type": "quantitative", "title": y_title or spoken(value)}
    up |= {"scale": {"type": "log"}, "axis": {"tickCount": 5}} if "y" in log else {"scale": {"zero": True}}
    legend: Spec = {"symbolType": "stroke", **(_LONG if max(map(len, domain), default=0) > SHORT_CHARS else {})}
    told = {"title": None, "legend": None if len(domain) < 2 else legend}
    colour = {"field": "shown", "type": "nominal", "sort": domain, "scale": {"domain": domain}, **told}
    dash = {**colour, "scale": {"domain": domain, "range": _DASHES}}
    line: Spec = {
        "mark": {
            "type": "line",
            "interpolate": "step-after" if step else "linear",
            "point": {"size": 24} if len(data) < POINTS_MAX else False,
        },
        "encoding": {
            "x": across,
            "y": up,
            "color": colour,
            "detail": {"field": "series"},
            "strokeDash": dash,
            "strokeWidth": {"condition": {"test": "datum.shown === 'others'", "value": 1}, "value": 2},
            "tooltip": [
                {"field": "x", "type": across["type"], "title": spoken(x)},
                *tooltip(("y", spoken(value)), ("series", series and spoken(series))),
            ],
        },
    }
    layers = [line]
    if rule is not None:
        layers.append(
            {"mark": {"type": "rule", "strokeDash": [4, 4], "opacity": 0.7}, "encoding": {"y": {"datum": rule}}}
        )
    return chart(title or spoken(value), data, layers, rows=13)


def _points(table: pa.Table, x: str, value: str, series: str, log: str) -> tuple[list[Spec], list[str], bool]:
    """Points of lines, the names that get a colour, and whether x is time."""
    data: list[Spec] = []
    over_time = True
    named = _apart(table[series].to_pylist()) if series and series in table.column_names else {}
    for row in rows_of(table, *(name for name in (x, value, series) if name)):
        height, over = number(row[value]), number(row[x])
        where = over if over is not None else iso_day(row[x])
        over_time = over_time and over is None
        if height is None or where is None or ("y" in log and height <= 0):
            continue
        if "x" in log and over is not None and over <= 0:
            continue
        data.append({"x": where, "y": height, "series": named[row[series]] if series else spoken(value)})
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


def _apart(names: list[object]) -> dict[object, str]:
    """What each line is called: short, and no two the same."""
    made: dict[object, str] = {}
    for name in dict.fromkeys(names):
        shown = label(name, 4 * NAME_CHARS_MAX)
        if len(shown) > NAME_CHARS_MAX:
            shown = f"{shown[: NAME_CHARS_MAX // 2 - 1]}…{shown[-NAME_CHARS_MAX // 2 :]}"
        again = sum(1 for one in made.values() if one == shown or one.startswith(f"{shown} ("))
        made[name] = f"{shown} ({again + 1})" if again else shown
    return made


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
    dates = date_format([point[end] for point in kept for end in ("first", "last")])
    x = {
        "field": "first",
        "type": "temporal",
        "scale": {"type": "utc"},
        "title": "listed by",
        "axis": {"format": dates},
    }
    y = {"field": "provider", "type": "nominal", "sort": order, "title": None, "axis": {**QUIET, "offset": 8}}
    shown: Spec = {"color": {"field": "family", "type": "nominal", "title": None}} if family else {}
    layers = [
        {"mark": {"type": "rule", "strokeWidth": 3, "opacity": 0.35},
         "encoding": {"x": x, "x2": {"field": "last"}, "y": y, **shown}},
        {"mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
         "encoding": {"x": x, "y": y, **shown,
                      "tooltip": tooltip(("provider", "provider"), ("first", "first seen"), ("last", "last seen"))}},
    ]  # fmt: skip
    return chart("First and last seen per provider", kept, layers, rows=len(order), row_px=18)


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
