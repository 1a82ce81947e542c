"""Derivatives: what is built on what, per root family, base organisation and base model, and how deep chains go."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose was quoted in population.py
from __future__ import annotations

from headwater.observatory.questions.periods import period
from headwater.observatory.questions.plan import CLASSES, EDGES, POPULATION, UNMAPPED, Plan, Question, Scope, Share
from headwater.observatory.questions.population import edges, here, listed, models, owner, roots, weights
from headwater.observatory.steps import Step

CAVEAT = ("Declared bases only: what people wrote into a card. Of the names that claim a family, about a quarter "
          "declare none.")  # fmt: skip
MANY = ("Many derivatives by few authors are often one automated series: read the authors beside the count, or "
        "exclude series.")  # fmt: skip
LAUFER = "Laufer, Oderinwale, Kleinberg (arXiv 2508.06811): declared edges; design/observatory.md, section 3"
TOP = 50  # of rankings without end: what a page can show


def _rooted(scope: Scope) -> tuple[Step, ...]:
    """The steps up to `child`: every derivative of the population once, with its root and depth."""
    child = f"select id, {owner('id')} as author, root, depth, ended from root where id in (select id from e)"
    return (*edges(scope), *roots(scope), Step("child", child))


def _share(of: str, unknown: tuple[str, ...] = ()) -> Share:
    """Shares of derivatives: every one weighs the same, so leaving one model out moves little."""
    return Share(of, "unit", "k", "n", "most", "most_id", "n", unknown)


def _by_family(scope: Scope) -> Plan:
    named = "select root, coalesce(family_of(root), 'other') as k from (select distinct root from child) roots"
    unit = (
        "select n.k, c.author, count(*) as n, sum(w.d)::bigint as d, 1 as most, min(c.id) as most_id from child c "
        "join named n on n.root = c.root left join weight w on w.id = c.id group by all"
    )
    steps = (*_rooted(scope), Step("weight", weights(scope)), Step("named", named), Step("unit", unit))
    where = f" where family in ({listed(scope.choices.family)})" if scope.choices.family else ""
    select = (
        "select k as family, sum(n)::bigint as derivatives, round(100.0 * sum(n) / sum(sum(n)) over (), 1) as pct, "
        "count(distinct author) as authors, sum(d)::bigint as downloads_30d from unit group by k"
    )
    return Plan(steps, f"select * from ({select}) s{where}", "derivatives desc, family",
                None, (_share("derivatives by root family", ("other",)),), (CAVEAT, MANY))  # fmt: skip


def _by_base(scope: Scope, column: str, expression: str) -> Plan:
    pair = Step("pair", f"select distinct {expression} as k, id, author from e")
    where = ""
    if scope.choices.family:
        where = f" where coalesce(family_of({column}), 'other') in ({listed(scope.choices.family)})"
    select = (
        f"select {column}, derivatives, authors, pct from (select k as {column}, count(*) as derivatives, "
        "count(distinct author) as authors, round(100.0 * count(*) / (select count(distinct id) from e), 2) as pct "
        f"from pair group by k) counted{where}"
    )
    unit = Step("unit", "select k, author, count(*) as n, 1 as most, min(id) as most_id from pair group by all")
    return Plan((*edges(scope), pair, unit), select, f"derivatives desc, authors desc, {column}", TOP,
                (_share(f"derivatives by {column}"),), (CAVEAT, MANY))  # fmt: skip


def _by_country(scope: Scope) -> Plan:
    """Derivatives per country of the root, over time."""
    steps = (*_rooted(scope), Step("dated", "select id, min(declared_at) as born from e group by id"))
    country = f"coalesce(a.country, '{UNMAPPED}')"
    when = period(scope, "born") if scope.choices.grain else "'all'"
    joined = (
        f"select {country} as k, {when} as period, child.id, child.author from child "
        f"join dated using (id) left join accounts a on a.account = {owner('root')}"
    )
    unit = "select k, period, author, count(*) as n, 1 as most, min(id) as most_id from joined group by all"
    select = (
        "select period, k as country, sum(n)::bigint as derivatives, count(distinct author) as authors, "
        "round(100.0 * sum(n) / sum(sum(n)) over (partition by period), 2) as pct from unit where period is not null "
        "group by period, k"
    )
    return Plan((*steps, Step("joined", joined), Step("unit", unit)), select, "period, derivatives desc, country", None,
                (_share("derivatives by country of the root", CLASSES),), (CAVEAT, MANY))  # fmt: skip


def _depth(scope: Scope) -> Plan:
    select = (
        "select depth, count(*) as n, count(distinct author) as authors, count(*) filter (not ended) as unended "
        "from child group by depth"
    )
    return Plan(
        _rooted(scope),
        select,
        "depth",
        None,
        (),
        (f"A walk ends after {scope.choices.steps} steps; `unended` counts those that could have gone on.", CAVEAT),
    )


def _undeclared(scope: Scope) -> Plan:
    name = "case when contains(m.id, '/') then split_part(m.id, '/', 2) else m.id end"
    named = (
        f"select m.id, m.author, m.d, family_of({name}) as family, m.id not in (select child from edge where "
        f"{here(scope)} "
        "and child is not null) as undeclared from m where m.author not in (select account from family_owner)"
    )
    steps = (*models(scope.without("family"), "d"), Step("named", named))
    chosen = f" and family in ({listed(scope.choices.family)})" if scope.choices.family else ""
    select = (
        "select case when grouping(family) = 1 then '(all)' else family end as family, count(*) as models, "
        "count(*) filter (undeclared) as undeclared, "
        "round(100.0 * count(*) filter (undeclared) / count(*), 1) as pct, count(distinct author) as authors, "
        "coalesce(sum(d) filter (undeclared), 0)::bigint as downloads_undeclared "
        f"from named where family is not null{chosen} group by rollup(family)"
    )
    return Plan(steps, select, "models desc, family", None, (), (
        "The name is a claim: a model may name a family that it only imitates, distils or is meant for.",
        "Owners of a family are left out: their own models need no base.",
    ))  # fmt: skip


_COUNTS = (("derivatives", "distinct models that declare it"), ("authors", "distinct accounts of theirs"))
_WALK = ("attribution", "parent", "steps", "family", "window")

QUESTIONS = (
    Question(
        "derivatives-by-family", "derivatives", "Derivatives per root family",
        "Every model that declares a base is walked along one base per step (`parent`, by default the alphabetically "
        "first) to the root of its chain, at most `steps` steps; the family is the first rule of families.toml whose "
        "text occurs in the root's id. `pct` is the share of all derivatives.",
        LAUFER, ("edge",), (*EDGES, *_WALK),
        (("family", "or other"), ("derivatives", "models whose chain ends in the family"), ("pct",
                                                                                            "of all derivatives"),
         ("authors", "distinct accounts of theirs"), ("downloads_30d", "their downloads in the window")),
        _by_family, wants=("model.downloads_30d",), suits=("radar",), paged=True,
    ),
    Question(
        "derivatives-by-base-owner", "derivatives", "Derivatives per owner of the direct base",
        "Distinct models that declare any base of the owner, and distinct accounts of theirs; `pct` is the share of "
        "all derivatives, and sums to more than 100 because a merge has several bases.",
        LAUFER, ("edge",), (*EDGES, "family"),
        (("org", "the account that owns the base"), *_COUNTS, ("pct", "of all derivatives")),
        lambda scope: _by_base(scope, "org", owner("base")), suits=("radar",),
    ),
    Question(
        "derivatives-by-base", "derivatives", "Derivatives per direct base model",
        "Distinct models that declare this base, and distinct accounts of theirs.",
        LAUFER, ("edge",), (*EDGES, "family"), (("base", "id as declared"), *_COUNTS, ("pct", "of all derivatives")),
        lambda scope: _by_base(scope, "base", "base"), suits=("radar",),
    ),
    Question(
        "derivatives-by-country", "derivatives", "Derivatives per country of the root, over time",
        "As derivatives-by-family, by the country that the registry has for the root's account. With a grain, per "
        "period of the derivative's creation; `pct` is then the share of that period.",
        "ATOM project (arXiv 2604.07190) and Longpre et al. (arXiv 2512.03073): share of new fine-tunes by origin of "
        "the base", ("edge",), (*EDGES, *_WALK, "grain"),
        (("period", "of creation, or all"), ("country", "of the root's account"), *_COUNTS, ("pct", "of the period")),
        _by_country, wants=("edge.declared_at",), suits=("radar",),
    ),
    Question(
        "chain-depth", "derivatives", "Depth of declared chains",
        "How many steps it is from each derivative to the root of its chain; 1: the base declares none itself.",
        LAUFER, ("edge",), (*EDGES, *_WALK),
        (("depth", "steps to the root"), ("n", "derivatives"), ("authors", "distinct accounts"),
         ("unended", "walks cut off by `steps`")),
        _depth, suits=("radar",),
    ),
    Question(
        "undeclared-bases", "derivatives", "Names that claim a family and declare no base",
        "Models whose name (after the slash) names a family, by accounts that own no family; `undeclared` are those "
        "without any declared base.",
        "design/observatory.md, section 3", ("models", "edge"), POPULATION,
        (("family", "or (all)"), ("models", "that name it"), ("undeclared", "of these, that declare no base"),
         ("pct", "undeclared of models"), ("authors", "distinct accounts"),
         ("downloads_undeclared", "downloads of the undeclared in the window")),
        _undeclared, suits=("radar",),
    ),
)  # fmt: skip
