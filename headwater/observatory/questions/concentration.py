"""Concentration: how few models and owners have how many of the downloads."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose was quoted in population.py
from __future__ import annotations

from headwater.observatory.choices import Over
from headwater.observatory.questions.plan import POPULATION, UNMAPPED, Plan, Question, Scope
from headwater.observatory.questions.population import models
from headwater.observatory.steps import Step

KEYS: dict[Over, str] = {
    "models": "m.id", "owners": "m.author", "organisations": "coalesce(a.organisation, m.author)",
    "countries": f"coalesce(a.country, '{UNMAPPED}')", "families": "coalesce(family_of(m.id), 'other')",
}  # fmt: skip
CUTS = (10,)
TOP = 100
POINTS = 200  # of a curve: as many as a chart can show
HERFINDAHL = (
    "Longpre et al. (arXiv 2512.03073) use HHI and Gini over downloads; Osborne et al. (arXiv 2405.13058) top shares"
)
GINI = "Gini is near 0.995 for every hub and tells little: HHI and the shares of the first move."


def _units(scope: Scope) -> tuple[Step, ...]:
    """The steps up to `summed`: one row per unit (k, d, models)."""
    key = KEYS[scope.choices.over or "models"]
    joined = " left join accounts a on a.account = m.author" if "a." in key else ""
    # A model is its own unit: no grouping of three million rows for nothing.
    summed = (
        "select id as k, d, 1 as models from m where d is not null" if key == "m.id" else
        f"select k, sum(d)::bigint as d, count(*) as models from (select {key} as k, m.d from m{joined}) keyed "
        "group by k having sum(d) is not null"
    )  # fmt: skip
    return (*models(scope, "d"), Step("summed", summed))


def _counted() -> tuple[Step, ...]:
    """The steps `whole` (n, t) and `counted`: units per distinct number of downloads, with those above and below.

    Sorting the few distinct numbers says the same as sorting the units.
    """
    whole = "select count(*) as n, nullif(sum(d), 0)::double as t from summed"
    counted = (
        "select d, c, (sum(c) over (order by d))::bigint - c as below, (sum(c) over (order by d desc))::bigint - c as "
        "above, (sum(d * c::hugeint) over (order by d desc))::double - d * c::double as d_above "
        "from (select d, count(*) as c from summed group by d) distinct_values"
    )
    return Step("whole", whole), Step("counted", counted)


def _first(units: str) -> str:
    """The share of the first units, in percent; of equals at the edge as many as fit."""
    return f"round(100.0 * sum(d::double * greatest(0, least(c, {units} - above))) / any_value(t), 2)"


def _numbers(scope: Scope) -> Plan:
    cuts = scope.choices.cuts or CUTS
    tops = ", ".join(f"{_first(str(int(cut)))} as top{int(cut)}_pct" for cut in cuts)
    select = (
        "select any_value(n) as n, round(1e4 * sum(c * (d / t) ** 2), 1) as hhi, "
        "round(2.0 * sum(d::double * c * (below + (c + 1) / 2.0)) / (any_value(n) * any_value(t)) - "
        "(any_value(n) + 1.0) / any_value(n), 4) as gini, "
        f"{tops}, {_first('ceil(n * 0.001)')} as top_0_1_pct, {_first('ceil(n * 0.01)')} as top_1_pct, "
        "round(100.0 * sum(c) filter (d = 0) / any_value(n), 1) as zero_pct, "
        "round(1 / nullif(sum(c * (d / t) ** 2), 0), 1) as equal_units, coalesce(any_value(t), 0)::bigint as downloads "
        "from counted cross join whole"
    )
    zero = f"select * replace (coalesce(zero_pct, 0) as zero_pct) from ({select}) numbers where n > 0"
    return Plan((*_units(scope), *_counted()), zero, "n", None, (), (GINI,))


def _curve(scope: Scope) -> Plan:
    """Points of the Lorenz curve, close together where it turns."""
    wanted = Step(
        "wanted",
        f"select distinct greatest(1, least(n, round(exp(ln(n) * step / {POINTS}))))::bigint as place, n, t "
        f"from whole, range({POINTS + 1}) r(step) where n > 0",
    )
    select = (
        "select w.place as units, round(100.0 * w.place / w.n, 5) as pct_units, "
        "round(100.0 * (c.d_above + c.d::double * (w.place - c.above)) / w.t, 3) as pct_downloads "
        "from wanted w asof join counted c on w.place > c.above"
    )
    return Plan((*_units(scope), *_counted(), wanted), select, "units", None, (), ())


def _leaders(scope: Scope) -> Plan:
    whole = Step("whole", "select nullif(sum(d), 0)::double as t from summed")
    first = Step("foremost", f"select * from summed order by d desc, k limit {scope.choices.top or TOP}")
    select = (
        "select row_number() over (order by d desc, k) as place, k as unit, models, d as downloads, "
        "round(100.0 * d / t, 2) as pct, "
        "round(100.0 * sum(d) over (order by d desc, k) / t, 2) as pct_cumulative from foremost cross join whole"
    )
    return Plan((*_units(scope), whole, first), select, "place", TOP, (), ())


_OVER = "Units are models, owners (accounts), organisations, countries or families (`over`, by default models)."
QUESTIONS = (
    Question(
        "concentration", "concentration", "Concentration of downloads",
        "Over units with a known number of downloads d and their sum t: HHI = 10,000 x sum((d/t)^2), from near 0 (all "
        "alike) to 10,000 (one has all); Gini = 2 x sum(rank x d)/(n x t) - (n+1)/n with ranks from the smallest; "
        f"shares of the first `cuts` units, of the first 0.1 % and 1 %; units with none. {_OVER}",
        HERFINDAHL, ("models.d",), (*POPULATION, "over", "cuts"),
        (("n", "units"), ("hhi", "0 to 10,000"), ("gini", "0 to 1"), ("top10_pct", "share of the first; one per cut"),
         ("top_0_1_pct", "share of the first 0.1 %"), ("top_1_pct", "share of the first 1 %"),
         ("zero_pct", "units without any download"), ("equal_units", "as concentrated as so many equal units"),
         ("downloads", "of all")),
        _numbers, suits=("radar",), chart="table", paged=True,
    ),
    Question(
        "concentration-curve", "concentration", "Concentration curve",
        f"Downloads of the first k units as a share of all, for k from 1 to all in steps of equal ratio. {_OVER}",
        HERFINDAHL, ("models.d",), (*POPULATION, "over"),
        (("units", "k"), ("pct_units", "k of all units"), ("pct_downloads", "share of the first k")),
        _curve, suits=("radar",), chart="curve", paged=True,
    ),
    Question(
        "concentration-leaders", "concentration", "Units with most downloads",
        f"In the order of downloads, with the sum so far. {_OVER}", HERFINDAHL, ("models.d",), (*POPULATION, "over"),
        (("place", "from 1"), ("unit", "id, account, organisation, country or family"), ("models", "of the unit"),
         ("downloads", "in the window"), ("pct", "of all"), ("pct_cumulative", "with all before it")),
        _leaders, suits=("head",), chart="ranking",
    ),
)  # fmt: skip
