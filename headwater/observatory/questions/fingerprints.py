"""Fingerprints: models whose shape and number of parameters say whose weights they may be, by metadata alone."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose was quoted in population.py
from __future__ import annotations

from headwater.observatory.choices import ROWS_MAX
from headwater.observatory.questions.plan import OF_LISTINGS, POPULATION, Plan, Question, Scope
from headwater.observatory.questions.population import listed, models
from headwater.observatory.steps import Step

PARAMETERS_MIN = 100_000_000  # below, shapes are few and counts coincide
NO_VERDICT = "Candidates for a look at the weights, not verdicts: metadata shows shapes, only weights show training."
COPIES = (
    "The reference is whoever published the count first in this snapshot: often a copy, where the original says "
    "nothing of its size."
)


_SHAPED = (
    "select id, author, architecture, layers, hidden_size, coalesce(experts, 0) as experts, vocab_size, parameters, "
    "licence, created_at, d from m where layers > 0 and hidden_size > 0 and vocab_size > 0 "
    f"and parameters >= {PARAMETERS_MIN}"
)
_OWNERS = (
    "select layers, hidden_size, experts, vocab_size, parameters, author, arg_min(id, (coalesce(created_at, "
    "timestamp '2100-01-01'), id)) as id, min(created_at) as born, any_value(architecture) as architecture, "
    "any_value(licence) as licence, max(d) as d from shaped group by layers, hidden_size, experts, vocab_size, "
    "parameters, author"
)
# A reference is the owner of the shape: whoever published that exact count first.
_REFERENCES = (
    "select layers, hidden_size, experts, vocab_size, parameters, arg_min(id, (coalesce(born, timestamp "
    "'2100-01-01'), id)) as id, arg_min(author, (coalesce(born, timestamp '2100-01-01'), id)) as author, "
    "min(born) as born, any_value(architecture) as architecture, count(*) as owners from owners "
    "group by layers, hidden_size, experts, vocab_size, parameters"
)
TOP = 500
_ORDER = "parameters desc, kind, id, vocab_cut"
_KINDS = ("equal count", "vocabulary cut, embedding", "vocabulary cut, embedding and head")


def _verdict() -> str:
    """Pairs by equality joins: what is left of the parameters without the tables of words must be equal.

    All pairs of one shape would be thousands of millions.
    """
    rest = "{0}.parameters - {0}.vocab_size * {0}.hidden_size * {1}"
    parts = []
    for tables, kind in enumerate(_KINDS):
        words = "r.vocab_size = c.vocab_size" if tables == 0 else "r.vocab_size <> c.vocab_size"
        parts.append(
            "select c.id, c.architecture, c.layers, c.hidden_size, c.experts, c.vocab_size, c.parameters, c.licence, "
            f"c.born, c.d, r.id as reference, r.architecture as reference_architecture, '{kind}' as kind, "
            "r.vocab_size - c.vocab_size as vocab_cut, r.parameters - c.parameters as parameters_cut from owners c "
            "join refs r on r.layers = c.layers and r.hidden_size = c.hidden_size and r.experts = c.experts and "
            f"{rest.format('r', tables)} = {rest.format('c', tables)} and {words} "
            "where r.author <> c.author and (r.born <= c.born or r.born is null or c.born is null)"
        )
    return " union all ".join(parts)


def _matches(scope: Scope) -> Plan:
    """Candidates against the first owner of an equal shape.

    First one row per distinct (shape, vocabulary, parameters, owner): thousands of copies of one model are one row.
    """
    chosen = f" and kind like {_kind(scope)}" if scope.choices.by else ""
    renamed = "family_named is distinct from family_of_reference and family_of_reference is not null"
    wanted = f"id in ({listed(scope.choices.id)})" if scope.choices.id else renamed
    # Names and lists of references only of what is shown: there may be half a million pairs.
    found = (
        "select id, kind, vocab_cut, parameters_cut, min(reference) as reference, any_value(parameters) as parameters, "
        "family_of(id) as family_named, family_of(min(reference)) as family_of_reference from verdict "
        f"where true{chosen} group by id, kind, vocab_cut, parameters_cut having {wanted} "
        f"order by {_ORDER} limit {scope.choices.top or (ROWS_MAX if scope.choices.sort else TOP)}"
    )
    cells = ", ".join(
        f"any_value(v.{name}) as {name}"
        for name in ("architecture", "reference_architecture", "layers", "hidden_size", "experts", "vocab_size")
    )
    select = (
        "select f.id, f.kind, f.reference, string_agg(distinct v.reference, ', ' order by v.reference) as "
        f"references_found, {cells}, f.vocab_cut, f.parameters, f.parameters_cut, any_value(v.licence) as licence, "
        "min(v.born) as created_at, any_value(v.d) as downloads, f.family_named, f.family_of_reference from found f "
        "join verdict v using (id, kind, vocab_cut, parameters_cut) group by f.id, f.kind, f.vocab_cut, "
        "f.parameters_cut, f.reference, f.parameters, f.family_named, f.family_of_reference"
    )
    steps = (
        *models(_everybody(scope), "architecture", "layers", "hidden_size", "experts", "vocab_size", "parameters",
                "licence",
                "created_at", "d"),
        Step("shaped", _SHAPED), Step("owners", _OWNERS), Step("refs", _REFERENCES),
        Step("verdict", _verdict()), Step("found", found),
    )  # fmt: skip
    return Plan(steps, select, _ORDER, TOP, (), (NO_VERDICT, COPIES))


def _kind(scope: Scope) -> str:
    return {"equal": "'equal%'", "cut": "'vocabulary%'"}[scope.by(("equal", "cut"))]


def _everybody(scope: Scope) -> Scope:
    """All models are references, whichever ids are asked about."""
    return scope.without("id")


QUESTIONS = (
    Question(
        "fingerprint", "fingerprints", "Equal shapes under another name",
        "Pairs of models of different owners with equal layers, hidden size and number of experts of which the later "
        "has exactly the earlier's number of parameters (`equal count`), or differs from it by exactly the "
        "difference of "
        "the vocabularies x hidden size x 1 or 2: the embedding, or embedding and head, cut to a smaller vocabulary. "
        "Without `id`: only models whose name names another family than the reference's, or none. The Cogito case: "
        "cogito-671b-v2.1 is DeepSeek-V3 without its extra head, (129,280 - 128,815) x 7,168 x 2 parameters smaller.",
        "design/observatory.md, section 0.7", ("model.layers", "model.hidden_size", "model.vocab_size",
                                               "model.parameters"),
        (*(name for name in POPULATION if name not in OF_LISTINGS), "by"),
        (("id", "the later model"), ("kind", "equal count, or which vocabulary cut"), ("reference",
                                                                                       "the earlier model"),
         ("references_found", "all of them"), ("architecture", "as declared"), ("reference_architecture",
                                                                                "as declared"),
         ("layers", "equal"), ("hidden_size", "equal"), ("experts", "equal; 0: none known"), ("vocab_size",
                                                                                              "of the later"),
         ("vocab_cut", "reference minus later"), ("parameters", "of the later"), ("parameters_cut",
                                                                                  "reference minus later"),
         ("licence", "of the later"), ("created_at", "of the later"), ("downloads", "in the window"),
         ("family_named", "by the later's name"), ("family_of_reference", "by the reference's name")),
        _matches, suits=("llmfit",), by=("equal", "cut"), chart="table",
    ),
)  # fmt: skip
