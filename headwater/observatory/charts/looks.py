"""Themes, sizes and pictures: the site's colours around a specification, what a browser needs of it, PNG and SVG.

Colours are in an order that readers with colour-blindness can tell apart. Refuses to know what is drawn.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any, Literal

from headwater.ground.errors import Invalid, Unavailable
from headwater.observatory.charts.parts import WIDTH_PX, Spec

Theme = Literal["light", "dark"]
VEGA_LITE = "6.4"  # of vl-convert; the pages carry the same major version
PHONE_PX = 420  # below this, labels are cut shorter and legends go under the title
WIDTH_MIN_PX, WIDTH_MAX_PX = 240, 2_400
SCALE_MAX = 4.0
TITLE_CHAR_PX = 8.5  # a letter of a title, so that a phone shows it in lines
FACET_LABELS_PX = 70  # beside the cells of a calendar, which Vega-Lite can't fit to a width
DIMMED = 0.12  # opacity of what was not picked: still there, and out of the way
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
        made["width"] = width_px - FACET_LABELS_PX
        del made["autosize"]
    return made


def live(spec: Spec) -> Spec:
    """What a browser needs to draw the chart at any width and in either theme: `spec` without a title, which the page
    has, `config` per theme and size, `phone_px`, the width up to which `narrow` applies, and `beside_px`, what a width
    must leave free. A click in the legend picks out what it names."""
    facets = "row" in spec.get("encoding", {})
    shown = {name: value for name, value in spec.items() if name != "title"}
    if not facets:
        shown["autosize"] = {"type": "fit-x", "contains": "padding"}
        shown["layer"] = _picked(spec["layer"])
    looks = {
        theme: {"wide": config(theme), "narrow": config(theme, PHONE_PX)} for theme in PALETTES
    }  # fmt: skip
    return {"spec": shown, "config": looks, "phone_px": PHONE_PX, "beside_px": FACET_LABELS_PX if facets else 0}


def _picked(layers: list[Spec]) -> list[Spec]:
    """The layers with everything dimmed that is not of the name last clicked in the legend."""
    coloured = [layer.get("encoding", {}).get("color", {}) for layer in layers]
    legends = (one for one in coloured if one.get("type") == "nominal" and "field" in one and one.get("legend", one))
    field = next((one["field"] for one in legends), "")
    if not field:
        return layers
    made = []
    for layer, colour in zip(layers, coloured, strict=True):
        made.append(layer)
        if colour.get("field") == field:
            opacity = {"condition": {"param": "picked", "value": layer["mark"].get("opacity", 1)}, "value": DIMMED}
            made[-1] = {**layer, "encoding": {**layer["encoding"], "opacity": opacity}}
            if not any("params" in one for one in made):
                select = {"type": "point", "fields": [field]}
                made[-1]["params"] = [{"name": "picked", "select": select, "bind": "legend"}]
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
        "axisX": {"tickCount": 4 if phone else 8, "labelFlush": True, "labelOverlap": True, "labelSeparation": 8},
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
        "style": {"ink": {"color": p.text}, "paper": {"color": p.background}},
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
