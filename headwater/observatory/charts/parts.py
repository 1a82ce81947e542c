"""What all charts share: the frame around the layers, tooltips, shades and axes.

Refuses to know what is drawn, and in which colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from headwater.ground.errors import Invalid
from headwater.observatory.charts.values import MARKS_MAX

Spec = dict[str, Any]
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
WIDTH_PX = 720
ROW_PX = 22
QUIET = {"ticks": False, "domain": False}


def chart(title: str, data: list[Spec], layers: list[Spec], rows: int, row_px: int = ROW_PX) -> Spec:
    if len(data) > MARKS_MAX:
        raise Invalid(f"chart: has {len(data)} marks; {MARKS_MAX} can be drawn. Ask for fewer with `top`")
    return {
        "$schema": SCHEMA,
        "title": {"text": title, "anchor": "start"},
        "data": {"values": data},
        "width": WIDTH_PX,
        "height": max(rows, 3) * row_px,
        "layer": layers if data or any("data" in one for one in layers) else [nothing()],
    }


def nothing() -> Spec:
    return {"mark": {"type": "text"}, "encoding": {"text": {"value": "nothing to show"}}}


def tooltip(*fields: tuple[str, str]) -> list[Spec]:
    return [{"field": field, "title": title} for field, title in fields if title]


def shades(field: str, title: str) -> Spec:
    return {"field": field, "type": "quantitative", "title": title, "scale": {"type": "sqrt"},
            "legend": {"orient": "top", "gradientLength": 140, "gradientThickness": 8}}  # fmt: skip


def date_format(days: Sequence[str]) -> str:
    """Days where the axis is short, else months."""
    if not days:
        return "%b %y"
    span = date.fromisoformat(max(days)) - date.fromisoformat(min(days))
    return "%-d %b" if span.days < 100 else "%b %y"
