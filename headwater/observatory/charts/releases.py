"""Releases of organisations: by month, and as a calendar of a year."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import pyarrow as pa

from headwater.observatory.charts.parts import QUIET, Spec, chart, nothing, shades, tooltip
from headwater.observatory.charts.values import iso_day, label, number, rows_of

CALENDAR_DAYS = 370  # a year, and the week that it begins in
CALENDARS_MAX = 12
_DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


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
            "color": shades("repos", "repos a month"),
            "tooltip": tooltip(("org", "organisation"), ("month", "month"), ("repos", "repos")),
        },
    }
    return chart("Releases per organisation and month", kept, [cells], rows=len(order))


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
        return chart("Releases of a year", [], [nothing()], rows=1)
    last = until or max(at for at, _, _ in dated)
    counted, orgs = _of_a_year(dated, last)
    weekly = len({at.weekday() for _, at in counted}) == 1
    data = _calendar_cells(counted, orgs, last, every_day=not weekly)
    x = {
        "field": "week",
        "type": "ordinal",
        "title": None,
        "axis": {
            # On a phone every second month: there is no room for more.
            "labelExpr": "date(toDate(datum.value)) <= 7 && (width >= 420 || month(toDate(datum.value)) % 2 === 0)"
            " ? timeFormat(toDate(datum.value), '%b') : ''",
            "labelAngle": 0,
            "labelOverlap": False,
            **QUIET,
        },
    }
    y: Spec = {"field": "org", "type": "nominal", "sort": orgs, "title": None, "axis": QUIET}
    if not weekly:
        y = {"field": "weekday", "type": "ordinal", "sort": list(_DAY_NAMES), "title": None,
             "axis": {"values": ["Mon", "Wed", "Fri"], **QUIET}}  # fmt: skip
    cells: Spec = {
        "mark": {"type": "rect", "cornerRadius": 2},
        "encoding": {
            "x": x,
            "y": y,
            "color": shades("repos", "repos"),
            "tooltip": tooltip(("org", "organisation"), ("day", "day"), ("repos", "repos")),
        },
    }
    if weekly or len(orgs) < 2:
        return chart("Releases of a year", data, [cells], rows=len(orgs) if weekly else 7)
    cells["encoding"]["row"] = {
        "field": "org",
        "type": "nominal",
        "sort": orgs,
        "title": None,
        "header": {"labelAngle": 0, "labelAlign": "left", "labelOrient": "top", "labelAnchor": "start"},
    }
    made = chart("Releases of a year", data, [cells], rows=7, row_px=12)
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
