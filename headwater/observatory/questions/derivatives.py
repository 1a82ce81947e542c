"""Derivatives: what is built on what, per root family, base organisation and base model, and how deep chains go."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose was quoted in population.py
from __future__ import annotations

from headwater.observatory.questions.periods import period
from headwater.observatory.questions.plan import CLASSES, EDGES, POPULATION, UNMAPPED, Plan, Question, Scope, Share
from headwater.observatory.questions.population import (
    edges,
    family_countries,
    here,
    listed,
    models,
    owner,
    roots,
    weights,
)
from headwater.observatory.questions.shares import origin_kind
from headwater.observatory.steps import Step

CAVEAT = ("Declared bases only: what people wrote into a card. Of the names that claim a family, about a quarter "
          "declare none.")  # fmt: skip
MANY = ("Many derivatives by few authors are often one automated series: read the authors beside the count, or "
        "exclude series.")  # fmt: skip
LAUFER = "Laufer, Oderinwale, Kleinberg (arXiv 2508.06811): declared edges; design/observatory.md, section 3"
TOP = 50  # of rankings without end: what a page can show


ATTRIBUTIONS = ("root", "origin", "uploader", "named", "discovered")


def _rooted(scope: Scope, family: str = "") -> tuple[Step, ...]:
    """The steps up to `child`: every derivative of the population once, with its root and depth.

    family: what the families chosen are compared with, an expression over root; empty: not here. Where nothing is
    read of the roots nothing is walked.
    """
    if _attributed(scope) != "root" and not (family and scope.choices.family):
        return (*edges(scope), Step("child", "select distinct id, author from e"))
    child = f"select id, {owner('id')} as author, root, depth, ended from root where id in (select id from e)"
    if family and scope.choices.family:
        child += f" and coalesce({family}, 'other') in ({listed(scope.choices.family)})"
    return (*edges(scope), *roots(scope), Step("child", child))


def _attributed(scope: Scope) -> str:
    """What a derivative counts for: its root, itself, or what its name says. Invalid: nobody looked at weights."""
    chosen = scope.choices.attribution
    if chosen == "discovered":
        origin_kind(scope)
    return "root" if chosen in ("both", "origin", "discovered") else chosen


_BORN = Step("dated", "select id, min(declared_at) as born from e group by id")


def _share(of: str, classes: tuple[str, ...] = (), unknown: str = UNMAPPED) -> Share:
    """Shares of derivatives: every one weighs the same, so leaving one model out moves little."""
    return Share(of, "unit", "k", "n", "most", "most_id", "n", classes, unknown)


def _by_family(scope: Scope) -> Plan:
    read = "root" if _attributed(scope) == "root" else "id"
    named = f"select {read}, coalesce(family_of({read}), 'other') as k from (select distinct {read} from child) roots"
    steps = (*_rooted(scope), Step("weight", weights(scope)), Step("named", named))
    period_column, joined = "", ""
    if scope.choices.grain:
        steps = (*steps, _BORN)
        period_column, joined = f"{period(scope, 'born')} as period, ", "join dated using (id) "
    unit = (
        f"select {period_column}n.k, c.author, count(*) as n, sum(w.d)::bigint as d, 1 as most, min(c.id) as most_id "
        f"from child c join named n on n.{read} = c.{read} {joined}left join weight w on w.id = c.id group by all"
    )
    where = f" where family in ({listed(scope.choices.family)})" if scope.choices.family else ""
    period_key, of_period = ("period, ", "partition by period") if scope.choices.grain else ("", "")
    select = (
        f"select {period_key}k as family, sum(n)::bigint as derivatives, round(100.0 * sum(n) / sum(sum(n)) over "
        f"({of_period}), 1) as pct, count(distinct author) as authors, sum(d)::bigint as downloads_30d from unit "
        f"{'where period is not null ' if scope.choices.grain else ''}group by {period_key}k"
    )
    share = _share("derivatives by family", ("other",), "other")
    return Plan((*steps, Step("unit", unit)), f"select * from ({select}) s{where}",
                f"{period_key}derivatives desc, family", None, (share,), (CAVEAT, MANY))  # fmt: skip


def _by_base(scope: Scope, column: str, expression: str) -> Plan:
    where = ""
    if scope.choices.family:
        where = f" where coalesce(family_of(base), 'other') in ({listed(scope.choices.family)})"
    pair = Step("pair", f"select distinct {expression} as k, id, author from e{where}")
    select = (
        f"select k as {column}, count(*) as derivatives, count(distinct author) as authors, "
        "round(100.0 * count(*) / (select count(distinct id) from e), 2) as pct from pair group by k"
    )
    unit = Step("unit", "select k, author, count(*) as n, 1 as most, min(id) as most_id from pair group by all")
    return Plan((*edges(scope), pair, unit), select, f"derivatives desc, authors desc, {column}", TOP,
                (_share(f"derivatives by {column}"),), (CAVEAT, MANY))  # fmt: skip


def _by_country(scope: Scope) -> Plan:
    """Derivatives per country of the root, or of the uploader, over time."""
    steps = (*_rooted(scope, "family_of(root)"), _BORN)
    chosen = _attributed(scope)
    account = owner("root") if chosen == "root" else "child.author"
    join, country = f"left join accounts a on a.account = {account}", "a.country"
    if chosen == "named":
        steps = (*steps, family_countries())
        join += " left join family_country f on f.family = family_of(child.id)"
        country = "f.country, a.country"
    when = period(scope, "born") if scope.choices.grain else "'all'"
    joined = (
        f"select coalesce({country}, '{UNMAPPED}') as k, {when} as period, child.id, child.author from child "
        f"join dated using (id) {join}"
    )
    unit = "select k, period, author, count(*) as n, 1 as most, min(id) as most_id from joined group by all"
    select = (
        "select period, k as country, sum(n)::bigint as derivatives, count(distinct author) as authors, "
        "round(100.0 * sum(n) / sum(sum(n)) over (partition by period), 2) as pct from unit where period is not null "
        "group by period, k"
    )
    return Plan((*steps, Step("joined", joined), Step("unit", unit)), select, "period, derivatives desc, country", None,
                (_share("derivatives by country", CLASSES),), (CAVEAT, MANY))  # fmt: skip


def _depth(scope: Scope) -> Plan:
    _attributed(scope)
    select = (
        "select depth, count(*) as n, count(distinct author) as authors, count(*) filter (not ended) as unended "
        "from child group by depth"
    )
    unit = "select depth::varchar as k, author, count(*) as n, 1 as most, min(id) as most_id from child group by all"
    return Plan(
        (*_rooted(scope, "family_of(root)"), Step("unit", unit)),
        select,
        "depth",
        None,
        (Share("derivatives by depth", "unit", "k", "n", "most", "most_id", "n", ()),),
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
_WALK = ("attribution", "parent", "steps")

QUESTIONS = (
    Question(
        "derivatives-by-family", "derivatives", "Derivatives per root family",
        "Every model that declares a base is walked along one base per step (`parent`, by default the alphabetically "
        "first) to the root of its chain, at most `steps` steps; the family is the first rule of families.toml whose "
        "text occurs in the root's id; with attribution=uploader or named, in the derivative's own. `pct` is the share "
        "of all derivatives; with a grain, of those created in the period.",
        LAUFER, ("edge",), (*EDGES, *_WALK, "window", "grain"),
        (("period", "of creation, with a grain"),
         ("family", "or other"), ("derivatives", "models whose chain ends in the family"), ("pct",
                                                                                            "of all derivatives"),
         ("authors", "distinct accounts of theirs"), ("downloads_30d", "their downloads in the window")),
        _by_family, wants=("model.downloads_30d",), suits=("radar",), paged=True, attributions=ATTRIBUTIONS,
    ),
    Question(
        "derivatives-by-base-owner", "derivatives", "Derivatives per owner of the direct base",
        "Distinct models that declare any base of the owner, and distinct accounts of theirs; `pct` is the share of "
        "all derivatives, and sums to more than 100 because a merge has several bases. `family` is the base's.",
        LAUFER, ("edge",), EDGES,
        (("org", "the account that owns the base"), *_COUNTS, ("pct", "of all derivatives")),
        lambda scope: _by_base(scope, "org", owner("base")), suits=("radar",),
    ),
    Question(
        "derivatives-by-base", "derivatives", "Derivatives per direct base model",
        "Distinct models that declare this base, and distinct accounts of theirs.",
        LAUFER, ("edge",), EDGES, (("base", "id as declared"), *_COUNTS, ("pct", "of all derivatives")),
        lambda scope: _by_base(scope, "base", "base"), suits=("radar",),
    ),
    Question(
        "derivatives-by-country", "derivatives", "Derivatives per country of the root, over time",
        "As derivatives-by-family, by the country that the registry has for the root's account (attribution=root), for "
        "the derivative's own (uploader), or for the owners of the family that its name names (named). `family` is "
        "the root's. With a grain, per period of the derivative's creation; `pct` is then the share of that period.",
        "ATOM project (arXiv 2604.07190) and Longpre et al. (arXiv 2512.03073): share of new fine-tunes by origin of "
        "the base", ("edge",), (*EDGES, *_WALK, "grain"),
        (("period", "of creation, or all"), ("country", "of the account it counts for"), *_COUNTS,
         ("pct", "of the period")),
        _by_country, wants=("edge.declared_at",), suits=("radar",), attributions=ATTRIBUTIONS,
    ),
    Question(
        "chain-depth", "derivatives", "Depth of declared chains",
        "How many steps it is from each derivative to the root of its chain; 1: the base declares none itself. "
        "`family` is the root's.",
        LAUFER, ("edge",), (*EDGES, *_WALK),
        (("depth", "steps to the root"), ("n", "derivatives"), ("authors", "distinct accounts"),
         ("unended", "walks cut off by `steps`")),
        _depth, suits=("radar",), attributions=("root", "origin", "discovered"),
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
