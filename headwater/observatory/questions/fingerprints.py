"""Fingerprints: models whose shape and number of parameters say whose weights they may be, by metadata alone."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose was quoted in population.py
from __future__ import annotations

from headwater.observatory.questions.plan import POPULATION, Plan, Question, Scope
from headwater.observatory.questions.population import models
from headwater.observatory.steps import Step

PARAMETERS_MIN = 100_000_000  # below, shapes are few and counts coincide
TABLES_MAX = 2  # embedding and head: the matrices with one row per word
NO_VERDICT = "Candidates for a look at the weights, not verdicts: metadata shows shapes, only weights show training."
COPIES = (
    "The reference is whoever published the count first in this snapshot: often a copy, where the original says "
    "nothing "
    "of its size."
)


_SHAPED = (
    "select id, author, architecture, layers, hidden_size, coalesce(experts, 0) as experts, vocab_size, "
    "parameters, "
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
_PAIRED = (
    "select c.id, c.author, c.architecture, c.layers, c.hidden_size, c.experts, c.vocab_size, c.parameters, "
    "c.licence, c.born, c.d, r.id as reference, r.architecture as reference_architecture, r.owners, "
    "r.vocab_size - c.vocab_size as vocab_cut, r.parameters - c.parameters as parameters_cut from owners c "
    "join refs r on r.layers = c.layers and r.hidden_size = c.hidden_size and r.experts = c.experts "
    "where r.author <> c.author and (r.born <= c.born or r.born is null or c.born is null)"
)


def _matches(scope: Scope) -> Plan:
    """Candidates against every model of equal shape by another owner.

    First one row per distinct (shape, vocabulary, parameters, owner): thousands of copies of one model are one row.
    """
    kinds = (
        "case when vocab_cut = 0 and parameters_cut = 0 then 'equal count' "
        + " ".join(
            f"when vocab_cut <> 0 and parameters_cut = vocab_cut * hidden_size * {tables} then 'vocabulary cut, "
            f"{'embedding and head' if tables == 2 else 'embedding'}'"
            for tables in range(1, TABLES_MAX + 1)
        )
        + " end"
    )
    verdict = f"select *, {kinds} as kind from paired"
    chosen = f" and kind like {_kind(scope)}" if scope.choices.by else ""
    select = (
        "select id, kind, min(reference) as reference, string_agg(distinct reference, ', ' order by reference) as "
        "references_found, any_value(architecture) as architecture, any_value(reference_architecture) as "
        "reference_architecture, any_value(layers) as layers, any_value(hidden_size) as hidden_size, "
        "any_value(experts) "
        "as experts, any_value(vocab_size) as vocab_size, vocab_cut, any_value(parameters) as parameters, "
        "parameters_cut, "
        "any_value(licence) as licence, min(born) as created_at, any_value(d) as downloads, family_of(id) as "
        "family_named, "
        "family_of(min(reference)) as family_of_reference from verdict "
        f"where kind is not null{chosen} group by id, kind, vocab_cut, parameters_cut"
    )
    filtered = (
        f"select * from ({select}) s" + (" where family_named is distinct from family_of_reference and "
        "family_of_reference is not null" if not scope.choices.id else "")
    )  # fmt: skip
    steps = (
        *models(_everybody(scope), "architecture", "layers", "hidden_size", "experts", "vocab_size", "parameters",
                "licence",
                "created_at", "d"),
        Step("shaped", _SHAPED), Step("owners", _OWNERS), Step("refs", _REFERENCES), Step("paired", _PAIRED),
        Step("verdict", verdict),
    )  # fmt: skip
    if scope.choices.id:
        names = ", ".join("'" + one.replace("'", "''") + "'" for one in scope.choices.id)
        filtered += f" where id in ({names})"
    order = "parameters desc, kind, id, vocab_cut"
    return Plan(steps, filtered, order, 500, (), (NO_VERDICT, COPIES))


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
                                               "model.parameters"), (*POPULATION, "by"),
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
