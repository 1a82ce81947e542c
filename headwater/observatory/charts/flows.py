"""Licences of bases and of their derivatives, joined by ribbons; Vega-Lite has no flows, so they are computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from headwater.observatory.charts.looks import GREY
from headwater.observatory.charts.parts import Spec, chart, tooltip
from headwater.observatory.charts.values import label, number, rows_of

_FLOW_STEPS = 24  # points along one ribbon: smooth at any width
LICENCE_ORDER = ("permissive", "copyleft", "custom-commercial", "use-restricted", "non-commercial", "unclassified",
                 "none declared")  # fmt: skip


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
                      "tooltip": tooltip(("base", "base"), ("derivative", "derivative"), ("edges", "edges"))}},
        {"data": {"values": nodes}, "mark": {"type": "bar", "width": 8},
         "encoding": {"x": x, "y": y, "y2": {"field": "y2"}, "color": {"value": GREY},
                      "tooltip": tooltip(("name", "licence family"), ("edges", "edges"))}},
    ]  # fmt: skip
    for side, align, dx in (("left", "right", -10), ("right", "left", 10)):
        layers.append(
            {"data": {"values": [node for node in nodes if node["side"] == side]},
             "mark": {"type": "text", "align": align, "dx": dx, "baseline": "middle"},
             "encoding": {"x": x, "y": {**y, "field": "label_y"}, "text": {"field": "text"}}}
        )  # fmt: skip
    made = chart("Licences: base to derivative", [], layers, rows=16)
    del made["data"]
    return made


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
