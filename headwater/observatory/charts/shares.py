"""Shares as dots under several choices, amounts as bars, two names as a table of shades."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyarrow as pa

from headwater.observatory.charts.looks import GREY
from headwater.observatory.charts.parts import QUIET, Spec, chart, shades, tooltip
from headwater.observatory.charts.values import _CLASSES, label, number, rows_of, spoken

BARS_MAX = 30  # the rest is in the table
CELLS_NAMED_MAX = 150
LETTER_PX = 6.5  # of an axis
PHONE_PLOT_PX = 180  # what is left between the labels of a chart on a phone
ROOM = 1.16  # of an axis beyond the longest bar: for the number at its end


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
                         "tooltip": tooltip(("choice", "choice"), ("group", group), ("pct", "share, %"))}}  # fmt: skip
    named = {"transform": [{"filter": "isValid(datum.leads)"}],
             "mark": {"type": "text", "align": "left", "dx": 10, "fontWeight": 600},
             "encoding": {"x": x, "y": y, "text": {"field": "leads"}}}  # fmt: skip
    # The choice stands above its line, not beside it: on a phone it would be cut.
    told = {"transform": [{"filter": "isValid(datum.leads)"}],
            "mark": {"type": "text", "align": "left", "dy": -16, "fontSize": 12},
            "encoding": {"x": {"datum": 0, "type": "quantitative"}, "y": y, "text": {"field": "choice"}}}  # fmt: skip
    return chart("Shares under each choice", drawn, [joined, dots, named, told], rows=len(order), row_px=46)


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
         "encoding": {"x": x, "y": y, "tooltip": tooltip(("name", spoken(name)), ("value", spoken(value)))}},
        {"mark": {"type": "text", "align": "left", "dx": 5},
         "encoding": {"x": x, "y": y, "text": {"field": "value", "format": ",.7~r"}}},
    ]  # fmt: skip
    if mark:
        layers[1:1] = [
            {"mark": {"type": "tick", "thickness": 3, "height": {"band": 0.9}},
             "encoding": {"x": {"field": "mark", "type": "quantitative"}, "y": y,
                          "color": {"datum": spoken(mark), "type": "nominal", "legend": {"title": None}},
                          "tooltip": tooltip(("name", spoken(name)), ("mark", spoken(mark)))}},
        ]  # fmt: skip
        layers[0]["encoding"]["color"] = {"datum": spoken(value), "type": "nominal"}
    return chart(title or spoken(value), data, layers, rows=len(order))


def families(
    table: pa.Table, family: str = "family", derivatives: str = "derivatives", authors: str = "authors"
) -> Spec:
    """Derivatives per family, with the distinct authors behind them where the table has them."""
    mark = authors if authors in table.column_names else ""
    return bars(table, family, derivatives, "Derivatives per family", "models", mark)


def grid(table: pa.Table, x: str, y: str, value: str, title: str = "") -> Spec:
    """Two names and a number as a table of shades; the numbers are written where there is room."""
    data: list[Spec] = []
    for row in rows_of(table, x, y, value):
        count = number(row[value])
        if count is not None:
            data.append({"a": label(row[x], 30), "b": label(row[y], 30), "value": count})
    rows = list(dict.fromkeys(point["b"] for point in data))
    columns = list(dict.fromkeys(point["a"] for point in data))
    # On a phone, long names of columns would lie on each other.
    crowded = max(map(len, columns), default=0) * len(columns) * LETTER_PX > PHONE_PLOT_PX
    slanted = {"labelAngle": {"expr": "width < 420 ? -40 : 0"},
               "labelAlign": {"expr": "width < 420 ? 'left' : 'center'"}}  # fmt: skip
    across = {"field": "a", "type": "nominal", "title": None, "sort": None,
              "axis": {**(slanted if crowded else {"labelAngle": 0}), **QUIET, "orient": "top",
                       "labelOverlap": False}}  # fmt: skip
    down = {"field": "b", "type": "nominal", "title": None, "sort": None, "axis": QUIET}
    layers: list[Spec] = [
        {"mark": {"type": "rect", "cornerRadius": 2},
         "encoding": {"x": across, "y": down, "color": shades("value", spoken(value)),
                      "tooltip": tooltip(("a", spoken(x)), ("b", spoken(y)), ("value", spoken(value)))}},
    ]  # fmt: skip
    if len(data) <= CELLS_NAMED_MAX:
        # The deep half of the ramp takes the colour of the paper, in either theme.
        roots = [math.sqrt(max(point["value"], 0)) for point in data] or [0.0]
        middle = (min(roots) + max(roots)) / 2
        for point in data:
            point["deep"] = math.sqrt(max(point["value"], 0)) > middle
        text = {"field": "value", "format": ",.3~r"}
        layers += [
            {"transform": [{"filter": {"field": "deep", "equal": deep}}], "mark": {"type": "text", "style": style},
             "encoding": {"x": across, "y": down, "text": text}}
            for deep, style in ((False, "ink"), (True, "paper"))
        ]  # fmt: skip
    return chart(title or spoken(value), data, layers, rows=len(rows))
