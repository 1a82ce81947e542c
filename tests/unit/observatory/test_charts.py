"""Charts: what they say of the rows that they are given, and what hostile rows can't make them say."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pytest

from headwater.ground.errors import Invalid
from headwater.observatory import charts

HOSTILE = "<script>alert(1)</script>\u202e" + "x" * 500


def drawn_rows(spec: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = spec["data"]["values"]
    return rows


def one(**columns: list[Any]) -> pa.Table:
    return pa.table(columns)


EVERY = {
    "flip": one(
        attribution=["uploader"] * 2 + ["origin"] * 2, ages=["young"] * 4, modality=["all"] * 4, without=["", "", "", ""],
        country=["US", "CN", "US", "CN"], pct=[44.0, 40.0, 32.0, 58.0],
    ),
    "shares": one(country=["US", "??"], pct_uploader=[60.0, 40.0], pct_origin=[30.0, 70.0]),
    "lines": one(day=[date(2026, 8, 1), date(2026, 8, 2)] * 2, country=["US", "US", "CN", "CN"], pct=[1.0, 2.0, 3.0, 4.0]),
    "stacked": one(period=["2026-01", "2026-01", "2026-02"], size=["1B", "7B", "1B"], pct_models=[40.0, 60.0, 100.0]),
    "heatmap": one(org=["A", "A", "B"], period=["2026-01", "2026-02", "2026-01"], repos=[1, 2, 3]),
    "flows": one(base_family=["permissive", "permissive"], derivative_family=["permissive", None], edges=[9, 1]),
    "curve": one(pct_units=[0.1, 1.0, 100.0], pct_downloads=[50.0, 90.0, 100.0]),
    "ranking": one(rank=[1, 2], id=["a/b", "c/d"], likes=[10, 5]),
    "grouped": one(org=["A", "B"], y2024=[1, 2], y2025=[3, 4], total=[4, 6]),
    "spans": one(provider=["azure"], first_seen=[date(2025, 2, 1)], last_seen=[date(2026, 1, 1)]),
    "bar": one(family=["Qwen", "Llama"], derivatives=[9, 3], authors=[2, 3]),
    "adoption": one(age_days=[7, 14], score=[0.5, 2.0], id=["a/b", "a/b"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_kind_of_chart_becomes_a_picture_at_desktop_and_phone_width(kind: str, theme: charts.Theme) -> None:
    pytest.importorskip("vl_convert")
    spec = charts.draw(kind, EVERY[kind], "A title")
    for width in (720, 340):
        picture = charts.svg(charts.themed(spec, theme, width))
        assert picture.startswith("<svg")
        assert "A title" in picture
        assert charts.PALETTES[theme].background in picture


def test_two_models_of_a_legend_never_look_the_same() -> None:
    ids = [f"nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-{'x' * 40}-{end}" for end in ("FP8", "NVFP4")]
    ids.append("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-other-" + ids[0][-40:])
    table = one(id=[*ids, *ids], age_days=[1, 1, 1, 9, 9, 9], downloads=[1, 2, 3, 4, 5, 6])
    spec = charts.draw("lines", table)
    names = {row["series"] for row in drawn_rows(spec)}
    assert len(names) == 3
    assert all(len(name) <= 44 for name in names)
    legend = spec["layer"][0]["encoding"]["color"]["legend"]
    assert legend["columns"] == {"expr": "width < 420 ? 1 : 2"}  # on a phone the whole name, in a line of its own
    short = charts.draw("lines", one(id=["a", "b"] * 2, age_days=[1, 1, 9, 9], downloads=[1, 2, 3, 4]))
    assert "columns" not in short["layer"][0]["encoding"]["color"]["legend"]


def test_relative_adoption_is_drawn_by_its_score_and_without_scores_by_downloads() -> None:
    table = one(id=["a/b", "a/b"], age_days=[7, 14], downloads=[5, 9], ram=[0.5, 2.0])
    spec = charts.draw("adoption", table, "RAM")
    assert [row["y"] for row in drawn_rows(spec)] == [0.5, 2.0]
    assert spec["layer"][1]["encoding"]["y"] == {"datum": 1.0}
    bare = table.set_column(3, "ram", pa.array([None, None], pa.float64()))
    assert [row["y"] for row in drawn_rows(charts.draw("adoption", bare))] == [5, 9]


def test_a_picture_can_be_a_png() -> None:
    pytest.importorskip("vl_convert")
    assert charts.png(charts.themed(charts.draw("bar", EVERY["bar"])), 1.0).startswith(b"\x89PNG")


def test_the_flip_names_who_leads_under_each_choice() -> None:
    rows = drawn_rows(charts.draw("flip", EVERY["flip"]))
    assert {row["choice"]: row["leads"] for row in rows if "leads" in row} == {
        "uploader, under a year": "US 44.0 %",
        "origin, under a year": "CN 58.0 %",
    }


def test_what_is_no_country_never_leads() -> None:
    table = one(country=["??", "USER", "FR"], pct=[70.0, 20.0, 10.0])
    rows = drawn_rows(charts.country_shares([("all", table)], "pct", "country"))
    assert [row["leads"] for row in rows if "leads" in row] == ["FR 10.0 %"]


def test_flows_are_as_wide_as_their_edges_are_many() -> None:
    spec = charts.licence_flows(EVERY["flows"])
    ribbons = spec["layer"][0]["data"]["values"]
    wide = {row["derivative"]: row["y2"] - row["y"] for row in ribbons if row["x"] < 0.02}
    assert wide["permissive"] == pytest.approx(9 * wide["none declared"], rel=1e-3)


def test_a_calendar_has_every_day_of_a_year_and_no_other() -> None:
    days = [date(2025, 1, 1) + timedelta(days=n) for n in range(600)]
    table = one(day=days, org=["A"] * 600, repos=[1] * 600)
    rows = drawn_rows(charts.release_calendar(table))
    assert len(rows) == charts.CALENDAR_DAYS
    assert max(row["day"] for row in rows) == days[-1].isoformat()


def test_weeks_make_one_strip_per_organisation() -> None:
    weeks = [date(2026, 1, 5) + timedelta(weeks=n) for n in range(10)]
    spec = charts.release_calendar(one(day=weeks * 2, org=["A"] * 10 + ["B"] * 10, repos=[1] * 10 + [2] * 10))
    assert spec["layer"][0]["encoding"]["y"]["field"] == "org"
    assert spec["layer"][0]["encoding"]["y"]["sort"] == ["B", "A"]


def test_hostile_texts_are_cut_and_only_ever_data() -> None:
    table = one(**{"family": [HOSTILE, "=1+1"], "derivatives": [1, 2], HOSTILE: [1, 2]})
    spec = charts.draw("bar", table, HOSTILE)
    said = json.dumps(spec)
    assert "\u202e" not in said
    assert "\\u202e" not in said
    assert all(len(row["name"]) <= charts.LABEL_CHARS_MAX for row in drawn_rows(spec))
    for forbidden in ('"href"', '"url"', '"signal"', '"image"'):
        assert forbidden not in said
    pytest.importorskip("vl_convert")
    assert "<script" not in charts.svg(charts.themed(spec))


def test_nan_and_infinite_numbers_are_left_out() -> None:
    table = one(family=["a", "b", "c"], pct=[float("nan"), float("inf"), 1.0])
    assert [row["name"] for row in drawn_rows(charts.draw("bar", table))] == ["c"]


def test_an_empty_answer_says_so_in_its_picture() -> None:
    spec = charts.draw("shares", one(country=pa.array([], pa.string()), pct=pa.array([], pa.float64())), "Nothing")
    assert "nothing to show" in json.dumps(spec)


def test_more_rows_than_can_be_seen_are_refused() -> None:
    many = charts.MARKS_MAX + 1
    with pytest.raises(Invalid, match="can be drawn"):
        charts.curves(one(x=list(range(many)), y=[1.0] * many), "x", "y")


def test_a_missing_column_is_named() -> None:
    with pytest.raises(Invalid, match="needs the column derivatives"):
        charts.families(one(family=["Qwen"], n=[1]))


def test_quarters_and_halves_are_dates() -> None:
    assert [charts.iso_day(text) for text in ("2025-Q3", "2025-H2", "2025-03", "2025", "soon")] == [
        "2025-07-01", "2025-07-01", "2025-03-01", "2025-01-01", None,
    ]  # fmt: skip


@pytest.mark.parametrize("width", [0, 10_000])
def test_absurd_widths_are_refused(width: int) -> None:
    with pytest.raises(Invalid, match="width"):
        charts.themed(charts.draw("bar", EVERY["bar"]), "light", width)
