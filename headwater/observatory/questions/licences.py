"""Licences: what models declare, how that drifts from a base to its derivatives, and by whose hand."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose was quoted in population.py
from __future__ import annotations

from dataclasses import replace

from headwater.observatory.questions.plan import EDGES, POPULATION, Plan, Question, Scope, Share
from headwater.observatory.questions.population import knows, models, owner, roots, told
from headwater.observatory.questions.relations import edges_on
from headwater.observatory.steps import Step

NONE, UNCLASSIFIED = "none declared", "unclassified"
DRIFT_BY = ("relation", "author", "tool", "base", "pair", "family", "depth")
TOP = 100
NOT_LAW = "Families and ranks are a coarse order for statistics, not legal advice."
INHERITED = (
    "Inherited: what the base, else the root of the declared chain, is known to declare. That a licence passes on is "
    "an assumption of this count, not law."
)
_DECLARED = "coalesce(license, license_name)"
ANATOMY = "Laufer, Oderinwale, Kleinberg (arXiv 2508.06811), licence drift; design/observatory.md, sections 0.5 and 3"


def family(licence: str, rank: str = "f.family") -> str:
    """The licence's family; what declares none and what is in no family are families of their own."""
    return f"coalesce({rank}, case when {licence} is null then '{NONE}' else '{UNCLASSIFIED}' end)"


def _families(scope: Scope) -> Plan:
    counted = knows(scope, "d")
    unit = (
        f"select {family('m.licence')} as k, m.author, count(*) as n, sum(m.d)::bigint as d, max(m.d) as most, "
        "arg_max(m.id, m.d) as most_id, 1 as one, min(m.id) as one_id from m "
        "left join licence_family f on m.licence = f.license group by all"
    )
    downloads = "round(100.0 * sum(d) / nullif(sum(sum(d)) over (), 0), 1)" if counted else "null::double"
    select = (
        "select k as family, sum(n)::bigint as n, round(100.0 * sum(n) / sum(sum(n)) over (), 1) as pct, "
        f"{downloads} as pct_downloads, count(distinct author) as authors from unit group by k"
    )
    classes = (NONE, UNCLASSIFIED)
    share = Share("licence families by models", "unit", "k", "n", "one", "one_id", "n", classes, UNCLASSIFIED)
    if counted:
        share = Share("licence families by downloads", "unit", "k", "d", "most", "most_id", "n", classes, UNCLASSIFIED)
    return Plan((*models(scope, "licence", "d"), Step("unit", unit)), select, "n desc, family", None, (share,),
                (NOT_LAW,))  # fmt: skip


def _listed_licences(scope: Scope) -> Plan:
    select = (
        f"select coalesce(m.licence, '{NONE}') as licence, any_value({family('m.licence')}) as family, "
        "any_value(f.rank) as rank, count(*) as n, round(100.0 * count(*) / sum(count(*)) over (), 2) as pct, "
        "sum(m.d)::bigint as downloads, count(distinct m.author) as authors from m "
        "left join licence_family f on m.licence = f.license group by 1"
    )
    return Plan(models(scope, "licence", "d"), select, "n desc, licence", TOP, (), (NOT_LAW,))


def _paired(scope: Scope, *more: Step) -> tuple[Step, ...]:
    """The steps up to `pair`: every edge whose base's licence is known, with both licences and their ranks."""
    pair = (
        "select e.id, e.author, e.base, e.relation, c.licence, b.licence as base_licence, fc.rank as rank, "
        f"fb.rank as base_rank, {family('c.licence', 'fc.family')} as family, "
        f"{family('b.licence', 'fb.family')} as base_family from e join base_licence b on b.id = e.base "
        "left join own_licence c on c.id = e.id left join licence_family fc on fc.license = c.licence "
        "left join licence_family fb on fb.license = b.licence"
    )
    if not scope.has("model.license"):  # of edges alone: that others do not know a derivative is no silence of its card
        pair += " where e.id in (select id from model)"
    bases = told(scope, "licence", _DECLARED, "select distinct base as id from e")
    own = told(_alone(scope), "licence", _DECLARED, "select distinct id from e")
    return (*edges_on(scope), *more, Step("base_licence", bases.sql), Step("own_licence", own.sql), Step("pair", pair))


def _alone(scope: Scope) -> Scope:
    """The scope without other snapshots: what a derivative declares is read in the population only."""
    return replace(scope, known=()) if scope.has("model.license") else scope


def _drift(scope: Scope) -> Plan:
    by = scope.by(DRIFT_BY)
    keys = {
        "relation": "relation", "author": "author", "tool": owner("base"), "base": "base",
        "pair": "base_licence || ' -> ' || coalesce(licence, 'none')", "family": "base_family || ' -> ' || family",
        "depth": "depth",
    }  # fmt: skip
    source, steps = "pair", _paired(scope)
    if by == "depth":
        steps = _paired(scope, *roots(scope))
        source = "(select pair.*, root.depth from pair join root using (id)) deep"
    counts = (
        "count(*) as edges, count(distinct author) as authors, count(*) filter (licence is null) as "
        "derivative_undeclared, count(*) filter (licence = base_licence) as same, "
        "count(*) filter (rank < base_rank) as more_permissive, count(*) filter (rank > base_rank) as "
        "more_restrictive, count(*) filter (base_rank > 0 and rank is not null) as restricted_base_with_known_licence, "
        "round(100.0 * count(*) filter (licence is null) / count(*), 1) as pct_undeclared, "
        "round(case when count(*) filter (licence is null) between 1 and count(*) - 1 then "
        "ln(0.5) / ln(1 - count(*) filter (licence is null) / count(*)) end, 2) as half_life_steps"
    )
    key = f"({keys[by]})::varchar"
    select = f"select case when grouping(k) = 1 then '(all)' else k end as {by}, {counts} from keyed group by rollup(k)"
    keyed = Step("keyed", f"select *, {key} as k from {source}")
    unit = Step("unit", "select k, author, count(*) as n, 1 as most, min(id) as most_id from keyed group by all")
    share = Share(f"edges by {by}", "unit", "k", "n", "most", "most_id", "n", ())
    return Plan((*steps, keyed, unit), select, f"edges desc, {by}", TOP, (share,), (
        "Only edges whose base has a known licence, in the population or in the snapshots of `known`.",
        "Where the population tells no licences: only edges whose derivative is in one of those snapshots.",
        "Much of a drift is the default of one tool: read it by author and by tool (the owner of the base) too.",
        NOT_LAW,
    ))  # fmt: skip


def _flows(scope: Scope) -> Plan:
    select = (
        "select base_family, family as derivative_family, count(*) as edges, count(distinct author) as authors, "
        "round(100.0 * count(*) / sum(count(*)) over (), 2) as pct from pair group by all"
    )
    return Plan(_paired(scope), select, "edges desc, base_family, derivative_family", None, (), (NOT_LAW,))


def _inherited(scope: Scope) -> Plan:
    """What models that declare no licence would inherit: from their base, else from the root of their chain."""
    ids = "select distinct base as id from root union all select distinct root from root"
    inherited = (  # licences go along, no names
        "select root.id, b.licence as of_base, r.licence as of_root from root "
        "left join known_licence b on b.id = root.base left join known_licence r on r.id = root.root "
        "where b.licence is not null or r.licence is not null"
    )
    resolved = (
        "select m.author, m.d, coalesce(m.licence, i.of_base, i.of_root) as resolved, "
        "case when m.licence is not null then 'declared' when i.of_base is not null then 'base' "
        "when i.of_root is not null then 'root' else 'nobody' end as said_by from m "
        "left join inherited i on i.id = m.id"
    )
    steps = (*models(scope, "licence", "d"), *roots(scope), told(scope, "licence", _DECLARED, ids),
             Step("inherited", inherited), Step("resolved", resolved))  # fmt: skip
    select = (
        f"select said_by, {family('r.resolved')} as family, count(*) as n, "
        "round(100.0 * count(*) / sum(count(*)) over (), 2) as pct, sum(d)::bigint as downloads, "
        "count(distinct author) as authors from resolved r left join licence_family f on f.license = r.resolved "
        "group by all"
    )
    return Plan(steps, select, "n desc, said_by, family", None, (), (INHERITED, NOT_LAW))


_DRIFT_COLUMNS = (
    ("edges", "declared edges whose base's licence is known"), ("authors", "distinct accounts of the derivatives"),
    ("derivative_undeclared", "edges whose derivative declares no licence"), ("same", "the same licence at both ends"),
    ("more_permissive", "the derivative's family ranks lower, i.e. more permissive"),
    ("more_restrictive", "the derivative's family ranks higher"),
    ("restricted_base_with_known_licence", "the base is not permissive and the derivative's licence is classified"),
    ("pct_undeclared", "derivative_undeclared of edges"),
    ("half_life_steps", "steps after which half of the derivatives say nothing, if each step loses that share"),
)  # fmt: skip

QUESTIONS = (
    Question(
        "licence-families", "licences", "Licence families",
        "Models by the family of the licence that they declare: the licence tag, else the card's own name for it. "
        f"`{NONE}`: neither; `{UNCLASSIFIED}`: in no family of licence_families.csv.",
        "design/observatory.md, section 3; families: licence_families.csv", ("model.license",), POPULATION,
        (("family", "permissive, copyleft, use-restricted, custom-commercial, non-commercial, ..."), ("n", "models"),
         ("pct", "of models"), ("pct_downloads", "of downloads in the window"), ("authors", "distinct accounts")),
        _families, wants=("model.downloads_30d",), suits=("radar",), paged=True,
    ),
    Question(
        "licences", "licences", "Licences as declared",
        "Models per licence as declared.", "the Hub's licence tags", ("model.license",), POPULATION,
        (("licence", "as declared"), ("family", "of licence_families.csv"), ("rank",
                                                                             "0 permissive to 4 non-commercial"),
         ("n", "models"), ("pct", "of models"), ("downloads", "in the window"), ("authors", "distinct accounts")),
        _listed_licences, suits=("radar",),
    ),
    Question(
        "licence-drift", "licences", "Licence drift along declared edges",
        "Edges whose base has a known licence, by what the derivative declares: nothing, the same, a more permissive "
        "or a more restrictive one by the rank of its family. `family` is the base's. "
        "`by`: relation, author of the derivative, tool (owner of "
        "the base, for example unsloth), base, pair of licences, pair of families, depth in the chain.",
        ANATOMY, ("edge", "told.license"), (*EDGES, "known", "parent", "steps", "by"),
        (("relation", "or what `by` says; (all) is the sum"), *_DRIFT_COLUMNS),
        _drift, wants=("model.license",), suits=("radar",), by=DRIFT_BY, paged=True,
    ),
    Question(
        "licence-flows", "licences", "Licences from bases to derivatives",
        "The same edges as licence-drift, by the families at both ends.", ANATOMY, ("edge", "told.license"),
        (*EDGES, "known"),
        (("base_family", "of the base"), ("derivative_family", "of the derivative"), ("edges", "edges"),
         ("authors", "distinct accounts"), ("pct", "of edges")),
        _flows, wants=("model.license",), suits=("radar",), chart="flows",
    ),
    Question(
        "licences-inherited", "licences", "Licences declared, resolved and inherited",
        "Every model's licence: as declared, else that of its base, else that of the root of its chain, else nobody's.",
        "issue 4; arXiv 2605.24383 on restrictions that are lost on the way", ("edge", "model.license"),
        (*POPULATION, "parent", "steps"),
        (("said_by", "declared, base, root or nobody"), ("family", "of the licence that results"), ("n", "models"),
         ("pct", "of models"), ("downloads", "in the window"), ("authors", "distinct accounts")),
        _inherited, suits=("radar",),
    ),
)  # fmt: skip
