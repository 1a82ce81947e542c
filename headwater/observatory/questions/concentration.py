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
POINTS = 200  # of a curve: as many as a chart can show
HERFINDAHL = (
    "Longpre et al. (arXiv 2512.03073) use HHI and Gini over downloads; Osborne et al. (arXiv 2405.13058) top shares"
)
GINI = "Gini is near 0.995 for every hub and tells little: HHI and the shares of the first move."


def _units(scope: Scope) -> tuple[Step, ...]:
    """The steps up to `ordered`: one row per unit, from the smallest; rn counts from 1, n units, t all downloads."""
    key = KEYS[scope.choices.over or "models"]
    joined = " left join accounts a on a.account = m.author" if "a." in key else ""
    # A model is its own unit: no grouping of three million rows for nothing.
    summed = (
        "select id as k, author, d, 1 as models from m where d is not null" if key == "m.id" else
        f"select k, any_value(author) as author, sum(d)::bigint as d, count(*) as models from (select {key} as k, "
        "m.author, "
        f"m.d from m{joined}) keyed group by k having sum(d) is not null"
    )  # fmt: skip
    ordered = (
        "select k, author, d, models, row_number() over (order by d, k) as rn, count(*) over () as n, "
        "nullif(sum(d) over (), 0)::double as t from summed"
    )
    return (*models(scope, "d"), Step("summed", summed), Step("ordered", ordered))


def _numbers(scope: Scope) -> Plan:
    cuts = scope.choices.cuts or CUTS
    tops = ", ".join(
        f"round(100.0 * sum(d) filter (rn > n - {int(cut)}) / any_value(t), 2) as top{int(cut)}_pct" for cut in cuts
    )
    select = (
        "select count(*) as n, round(1e4 * sum((d / t) ** 2), 1) as hhi, "
        "round(2.0 * sum(rn * d::double) / (any_value(n) * any_value(t)) - (any_value(n) + 1.0) / any_value(n), 4) "
        f"as gini, {tops}, "
        "round(100.0 * sum(d) filter (rn > n - n * 0.001) / any_value(t), 2) as top_0_1_pct, "
        "round(100.0 * sum(d) filter (rn > n - n * 0.01) / any_value(t), 2) as top_1_pct, "
        "round(100.0 * count(*) filter (d = 0) / count(*), 1) as zero_pct, "
        "round(1 / nullif(sum((d / t) ** 2), 0), 1) as equal_units, coalesce(any_value(t), 0)::bigint as downloads "
        "from ordered"
    )
    return Plan(_units(scope), select, "n", None, (), (GINI,))


def _curve(scope: Scope) -> Plan:
    """Points of the Lorenz curve, close together where it turns."""
    ranked = Step("ranked", "select n - rn + 1 as place, d, n, t from ordered")
    summed = Step("running", "select place, n, sum(d) over (order by place) / nullif(t, 0) as share from ranked")
    wanted = Step(
        "wanted",
        f"select distinct greatest(1, least(n, round(exp(ln(n) * step / {POINTS}))))::bigint as place "
        f"from (select any_value(n) as n from ranked) s, range({POINTS + 1}) r(step)",
    )
    select = (
        "select r.place as units, round(100.0 * r.place / n, 5) as pct_units, round(100.0 * share, 3) as pct_downloads "
        "from running r join wanted using (place)"
    )
    return Plan((*_units(scope), ranked, summed, wanted), select, "units", None, (), ())


def _leaders(scope: Scope) -> Plan:
    select = (
        "select n - rn + 1 as place, k as unit, models, d as downloads, round(100.0 * d / nullif(t, 0), 2) as pct, "
        "round(100.0 * sum(d) over (order by n - rn + 1) / nullif(t, 0), 2) as pct_cumulative from ordered"
    )
    return Plan(_units(scope), select, "place", 100, (), ())


_OVER = "Units are models, owners (accounts), organisations, countries or families (`over`, by default models)."
QUESTIONS = (
    Question(
        "concentration", "concentration", "Concentration of downloads",
        "Over units with a known number of downloads d and their sum t: HHI = 10,000 x sum((d/t)^2), from near 0 (all "
        "alike) to 10,000 (one has all); Gini = 2 x sum(rank x d)/(n x t) - (n+1)/n with ranks from the smallest; "
        "shares "
        "of the first `cuts` units, of the first 0.1 % and 1 %; units with none. "
        f"{_OVER}",
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
