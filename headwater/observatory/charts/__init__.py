"""Charts: rows -> a Vega-Lite specification, as plain data; and specifications -> PNG and SVG.

Every chart is a pure function of a table with named columns, so that it can be drawn from any question's answer, from a
file or in a test. Colours are the site's, and nothing is said by colour alone. Texts out of the data are cleaned and
cut, field names never come from the data, and no link, image, address or expression does either. Refuses to know
questions and snapshots.
"""

from headwater.observatory.charts.curves import adoption, concentration, curves, diffusion, diffusion_spans
from headwater.observatory.charts.fitting import draw
from headwater.observatory.charts.flows import licence_flows
from headwater.observatory.charts.looks import PALETTES, Theme, live, png, svg, themed
from headwater.observatory.charts.parts import Spec
from headwater.observatory.charts.releases import CALENDAR_DAYS, release_calendar, release_months
from headwater.observatory.charts.shares import bars, country_shares, families, grid
from headwater.observatory.charts.values import LABEL_CHARS_MAX, MARKS_MAX, finite, iso_day, spoken

__all__ = [
    "CALENDAR_DAYS", "LABEL_CHARS_MAX", "MARKS_MAX", "PALETTES", "Spec", "Theme", "adoption", "bars", "concentration",
    "country_shares", "curves", "diffusion", "diffusion_spans", "draw", "families", "finite", "grid", "iso_day",
    "licence_flows", "live", "png", "release_calendar", "release_months", "spoken", "svg", "themed",
]  # fmt: skip
