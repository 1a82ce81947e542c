"""Relations: fine-tunes, adapters, merges and quantizations, in numbers and in bytes."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose was quoted in population.py
from __future__ import annotations

from headwater.observatory.questions.plan import EDGES, OF_LISTINGS, UNWEIGHED, Plan, Question, Scope, Share
from headwater.observatory.questions.population import edges, here, listed, models, told
from headwater.observatory.steps import Step

NO_BASE = "no declared base"


def edges_on(scope: Scope) -> tuple[Step, ...]:
    """The steps up to `e`, as in population.py; only those on bases of the families chosen."""
    steps = edges(scope)
    if not scope.choices.family:
        return steps
    families = listed(scope.choices.family)
    on = f"select * from every_edge where coalesce(family_of(base), 'other') in ({families})"
    return (*steps[:-1], Step("every_edge", steps[-1].sql), Step("e", on))


def _shares(scope: Scope) -> Plan:
    unit = Step(
        "unit",
        "select relation as k, author, count(*) as n, count(distinct id) as derivatives, 1 as most, min(id) as most_id "
        "from e group by all",
    )
    select = (
        "select k as relation, sum(n)::bigint as edges, round(100.0 * sum(n) / sum(sum(n)) over (), 1) as pct, "
        "sum(derivatives)::bigint as derivatives, "
        "round(100.0 * sum(derivatives) / sum(sum(derivatives)) over (), 1) as pct_derivatives, "
        "count(distinct author) as authors from unit group by k"
    )
    share = Share("edges by relation", "unit", "k", "n", "most", "most_id", "n", ())
    return Plan((*edges_on(scope), unit), select, "edges desc, relation", None, (share,),
                ("A merge has several edges: count derivatives where models are meant.",))  # fmt: skip


def _bytes(scope: Scope) -> Plan:
    first = (
        "select child as id, arg_min(coalesce(relation, 'untyped'), coalesce(position, 1000000)) as relation "
        f"from edge where {here(scope)} group by child"
    )
    unit = (
        f"select coalesce(f.relation, '{NO_BASE}') as k, m.author, m.id, m.storage_bytes as d from m "
        "left join first_relation f on f.id = m.id"
    )
    steps = (*models(scope, "storage_bytes"), Step("first_relation", first), Step("sized", unit),
             Step("unit",
                  "select k, author, count(*) as n, sum(d)::bigint as d, max(d) as most, arg_max(id, d) as most_id "
                  "from sized group by all"))  # fmt: skip
    select = (
        "select k as relation, count(*) as models, round(sum(d) / 1e12, 2) as terabytes, "
        "round(median(d) / 1e9, 2) as median_gb, round(100.0 * sum(d) / nullif(sum(sum(d)) over (), 0), 1) as "
        "pct_bytes from sized group by k"
    )
    share = Share("bytes by relation", "unit", "k", "d", "most", "most_id", "n", (NO_BASE,))
    return Plan(steps, select, "terabytes desc nulls last, relation", None, (share,), (
        "Bytes as the Hub reports them per repo, all revisions included; a mirror's bytes count again.",
    ))  # fmt: skip


def _unchanged(scope: Scope) -> Plan:
    """How often a derivative has exactly as many parameters as its base."""
    sized = told(scope, "parameters", "parameters", "select id from e union all select base from e")
    pair = Step(
        "pair",
        "select e.relation, e.author, e.id, c.parameters = b.parameters as same from e join known_parameters c on "
        "c.id = e.id join known_parameters b on b.id = e.base where e.id <> e.base",
    )
    unit = Step("unit", "select relation as k, author, count(*) as n, 1 as most, min(id) as most_id from pair "
                "group by all")  # fmt: skip
    select = (
        "select relation, count(*) as edges, count(*) filter (same) as same, "
        "round(100.0 * count(*) filter (same) / count(*), 1) as pct, "
        "count(distinct author) as authors from pair group by relation"
    )
    share = Share("edges with both numbers known, by relation", "unit", "k", "n", "most", "most_id", "n", ())
    return Plan((*edges_on(scope), sized, pair, unit), select, "edges desc, relation", None, (share,), (
        "Equal counts are a first filter for discovery, not a verdict: one shape has many sets of weights.",
    ))  # fmt: skip


QUESTIONS = (
    Question(
        "relation-shares", "relations", "Shares of relations",
        "Declared edges per relation (`family`: on bases of these families). "
        "`edges` counts every declared base, `derivatives` every model once per relation; "
        "`untyped`: the card names a base and no relation.",
        "Laufer, Oderinwale, Kleinberg (arXiv 2508.06811), table of edges", ("edge",), EDGES,
        (("relation", "finetune, adapter, merge, quantized or untyped"), ("edges", "declared bases"),
         ("pct", "of all edges"), ("derivatives", "distinct models"), ("pct_derivatives", "of the sum of derivatives"),
         ("authors", "distinct accounts")),
        _shares, suits=("radar",), paged=True,
    ),
    Question(
        "bytes-by-relation", "relations", "Bytes by relation",
        "Storage of all models by the relation of their first declared base, and without any; terabytes are 10^12 "
        "bytes, the median is over models of known size.",
        "design/observatory.md, section 3", ("model.storage_bytes", "edge"),
        tuple(name for name in UNWEIGHED if name not in OF_LISTINGS),
        (("relation", f"of the first base, or {NO_BASE}"), ("models", "models"), ("terabytes", "sum of storage"),
         ("median_gb", "median storage of one model"), ("pct_bytes", "of all bytes")),
        _bytes, suits=("radar",),
    ),
    Question(
        "parameters-unchanged", "relations", "Derivatives with exactly their base's number of parameters",
        "Edges whose two ends both have a known number of parameters, in the population or else in a snapshot of "
        "`known`, and how many are equal.",
        "design/observatory.md, section 0.7", ("edge",), (*EDGES, "known"),
        (("relation", "of the edge"), ("edges", "with both numbers known"), ("same", "equal"), ("pct", "same of edges"),
         ("authors", "distinct accounts")),
        _unchanged, wants=("model.parameters",), suits=("radar",),
    ),
)  # fmt: skip
