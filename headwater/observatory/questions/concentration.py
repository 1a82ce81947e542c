"""Concentration: how few models and owners have how many of the downloads."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose was quoted in population.py
from __future__ import annotations

from headwater.observatory.choices import Over
from headwater.observatory.questions.plan import POPULATION, Plan, Question, Scope, Share
from headwater.observatory.questions.population import models
from headwater.observatory.questions.shares import COUNTRY, FAMILY, ORGANISATION, Grouping, shown_sides, sides_of
from headwater.observatory.steps import Step

GROUPINGS: dict[Over, Grouping] = {"organisations": ORGANISATION, "countries": COUNTRY, "families": FAMILY}
"""Units that a model belongs to by its uploader or by its origin; models and owners are what they are."""
FOREMOST = 1_000  # models that the evidence looks at one by one; the others are one group
REST = "(the rest)"
CUTS = (10,)
TOP = 100
POINTS = 200  # of a curve: as many as a chart can show
HERFINDAHL = (
    "Longpre et al. (arXiv 2512.03073) use HHI and Gini over downloads; Osborne et al. (arXiv 2405.13058) top shares"
)
GINI = "Gini is near 0.995 for every hub and tells little: HHI and the shares of the first move."


def _sides(scope: Scope) -> tuple[str, ...]:
    """The sides that units are made for; one of no name where there is only one."""
    return shown_sides(scope) if scope.choices.over in GROUPINGS else ("",)


def _units(scope: Scope) -> tuple[tuple[Step, ...], tuple[Share, ...]]:
    """The steps up to `unit` and `summed`, one row per unit (side, k, d, models), and what stands behind them."""
    over = scope.choices.over or "models"
    if over in GROUPINGS:
        grouping = GROUPINGS[over]
        sides = sides_of(scope, grouping)
        unit = (
            f"select {sides.uploader} as uploader, {sides.origin} as origin, m.author, count(*) as n, "
            f"sum(d)::bigint as d, max(d) as most, arg_max(m.id, d) as most_id from m{sides.join} group by all"
        )
        summed = " union all ".join(
            f"select '{side}' as side, {side} as k, sum(d)::bigint as d, sum(n)::bigint as models from unit "
            f"group by {side} having sum(d) is not null"
            for side in _sides(scope)
        )
        shares = tuple(
            Share(f"{over}, {side}", "unit", side, "d", "most", "most_id", "n", grouping.classes, grouping.unknown)
            for side in _sides(scope)
        )
        return (*models(scope, "d"), *sides.steps, Step("unit", unit), Step("summed", summed)), shares
    if over == "owners":
        unit = (
            "select author as k, author, count(*) as n, sum(d)::bigint as d, max(d) as most, arg_max(id, d) as most_id "
            "from m group by author"
        )
        summed = "select '' as side, k, d, n as models from unit where d is not null"
        steps = (*models(scope, "d"), Step("unit", unit), Step("summed", summed))
    else:  # A model is its own unit: no grouping of three million rows by name.
        leading = f"select id, author, d from m where d is not null order by d desc, id limit {FOREMOST}"
        unit = (  # no ids of millions that none would miss
            "select id as k, author, 1 as n, d, d as most, id as most_id from leading_models union all select "
            f"'{REST}' as k, author, count(*) as n, sum(d)::bigint as d, 0 as most, '' as most_id from m where id not "
            "in (select id from leading_models) group by author"
        )
        summed = "select '' as side, id as k, d, 1 as models from m where d is not null"
        steps = (*models(scope, "d"), Step("leading_models", leading), Step("unit", unit), Step("summed", summed))
    return steps, (Share(over, "unit", "k", "d", "most", "most_id", "n", (REST,)),)


def _counted() -> tuple[Step, ...]:
    """The steps `whole` (side, n, t) and `counted`: units per distinct number of downloads, with those above and below.

    Sorting the few distinct numbers says the same as sorting the units.
    """
    whole = "select side, count(*) as n, nullif(sum(d), 0)::double as t from summed group by side"
    counted = (
        "select side, d, c, (sum(c) over (partition by side order by d))::bigint - c as below, "
        "(sum(c) over (partition by side order by d desc))::bigint - c as above, "
        "(sum(d * c::hugeint) over (partition by side order by d desc))::double - d * c::double as d_above "
        "from (select side, d, count(*) as c from summed group by side, d) distinct_values"
    )
    return Step("whole", whole), Step("counted", counted)


def _said_sides(scope: Scope, of: str = "") -> str:
    """The first column of an answer with two sides."""
    return f"{of}side as attribution, " if len(_sides(scope)) > 1 else ""


def _order(scope: Scope, column: str) -> str:
    return f"attribution desc, {column}" if len(_sides(scope)) > 1 else column


def _first(units: str) -> str:
    """The share of the first units, in percent; of equals at the edge as many as fit."""
    return f"round(100.0 * sum(d::double * greatest(0, least(c, {units} - above))) / any_value(t), 2)"


def _numbers(scope: Scope) -> Plan:
    cuts = scope.choices.cuts or CUTS
    tops = ", ".join(f"{_first(str(int(cut)))} as top{int(cut)}_pct" for cut in cuts)
    select = (
        f"select {_said_sides(scope)}any_value(n) as n, round(1e4 * sum(c * (d / t) ** 2), 1) as hhi, "
        "round(2.0 * sum(d::double * c * (below + (c + 1) / 2.0)) / (any_value(n) * any_value(t)) - "
        "(any_value(n) + 1.0) / any_value(n), 4) as gini, "
        f"{tops}, {_first('ceil(n * 0.001)')} as top_0_1_pct, {_first('ceil(n * 0.01)')} as top_1_pct, "
        "round(100.0 * sum(c) filter (d = 0) / any_value(n), 1) as zero_pct, "
        "round(1 / nullif(sum(c * (d / t) ** 2), 0), 1) as equal_units, coalesce(any_value(t), 0)::bigint as downloads "
        "from counted join whole using (side) group by side"
    )
    zero = f"select * replace (coalesce(zero_pct, 0) as zero_pct) from ({select}) numbers where n > 0"
    units, shares = _units(scope)
    return Plan((*units, *_counted()), zero, _order(scope, "n"), None, shares, (GINI,))


def _curve(scope: Scope) -> Plan:
    """Points of the Lorenz curve, close together where it turns."""
    wanted = Step(
        "wanted",
        f"select distinct side, greatest(1, least(n, round(exp(ln(n) * step / {POINTS}))))::bigint as place, n, t "
        f"from whole, range({POINTS + 1}) r(step) where n > 0",
    )
    select = (
        f"select {_said_sides(scope, 'w.')}w.place as units, round(100.0 * w.place / w.n, 5) as pct_units, "
        "round(100.0 * (c.d_above + c.d::double * (w.place - c.above)) / w.t, 3) as pct_downloads "
        "from wanted w asof join counted c on c.side = w.side and w.place > c.above"
    )
    units, shares = _units(scope)
    return Plan((*units, *_counted(), wanted), select, _order(scope, "units"), None, shares, ())


def _leaders(scope: Scope) -> Plan:
    whole = Step("whole", "select side, nullif(sum(d), 0)::double as t from summed group by side")
    limit = scope.choices.top or TOP
    firsts = [f"(select * from summed where side = '{side}' order by d desc, k limit {limit})"
              for side in _sides(scope)]  # fmt: skip
    first = Step("foremost", " union all ".join(firsts))
    within = "over (partition by side order by d desc, k)"
    select = (
        f"select {_said_sides(scope)}row_number() {within} as place, k as unit, models, d as downloads, "
        f"round(100.0 * d / t, 2) as pct, round(100.0 * sum(d) {within} / t, 2) as pct_cumulative "
        "from foremost join whole using (side)"
    )
    units, shares = _units(scope)
    return Plan((*units, whole, first), select, _order(scope, "place"), TOP, shares, ())


_OVER = (
    "Units are models, owners (accounts), organisations, countries or families (`over`, by default models). "
    "Organisations, countries and families are counted by uploader and by origin, as in downloads-by-country; with "
    "`attribution=both` a column says which."
)
_HONOURS = (*POPULATION, "over", "attribution", "parent", "steps")
_SIDE = ("attribution", "uploader or origin, where it is both")
QUESTIONS = (
    Question(
        "concentration", "concentration", "Concentration of downloads",
        "Over units with a known number of downloads d and their sum t: HHI = 10,000 x sum((d/t)^2), from near 0 (all "
        "alike) to 10,000 (one has all); Gini = 2 x sum(rank x d)/(n x t) - (n+1)/n with ranks from the smallest; "
        f"shares of the first `cuts` units, of the first 0.1 % and 1 %; units with none. {_OVER}",
        HERFINDAHL, ("models.d",), (*_HONOURS, "cuts"),
        (_SIDE, ("n", "units"), ("hhi", "0 to 10,000"), ("gini", "0 to 1"),
         ("top10_pct", "share of the first; one per cut"),
         ("top_0_1_pct", "share of the first 0.1 %"), ("top_1_pct", "share of the first 1 %"),
         ("zero_pct", "units without any download"), ("equal_units", "as concentrated as so many equal units"),
         ("downloads", "of all")),
        _numbers, suits=("radar",), chart="table", paged=True,
    ),
    Question(
        "concentration-curve", "concentration", "Concentration curve",
        f"Downloads of the first k units as a share of all, for k from 1 to all in steps of equal ratio. {_OVER}",
        HERFINDAHL, ("models.d",), _HONOURS,
        (_SIDE, ("units", "k"), ("pct_units", "k of all units"), ("pct_downloads", "share of the first k")),
        _curve, suits=("radar",), chart="curve", paged=True,
    ),
    Question(
        "concentration-leaders", "concentration", "Units with most downloads",
        f"In the order of downloads, with the sum so far. {_OVER}", HERFINDAHL, ("models.d",), _HONOURS,
        (_SIDE, ("place", "from 1"), ("unit", "id, account, organisation, country or family"),
         ("models", "of the unit"),
         ("downloads", "in the window"), ("pct", "of all"), ("pct_cumulative", "with all before it")),
        _leaders, suits=("head",), chart="ranking",
    ),
)  # fmt: skip
