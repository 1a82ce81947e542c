"""Support: when runtimes, libraries and apps learnt an architecture or a name, beside the diffusion over providers."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose goes in as quoted literals
from __future__ import annotations

from headwater.observatory.questions.periods import period
from headwater.observatory.questions.plan import Plan, Question, Scope
from headwater.observatory.questions.population import day_sql, here, listed
from headwater.observatory.steps import Step

MODULES = ("types", "consts", "providerHelper")
"""Files of huggingface.js beside its providers that are no providers."""
CAVEAT = "The first commit on the main line, which comes before a release and says nothing of quality."


def _rows(scope: Scope) -> Step:
    choices = scope.choices
    conditions = [here(scope), f"not (kind = 'hf_inference_provider' and name in ({listed(MODULES)}))"]
    if choices.part:
        conditions.append(f"kind in ({listed(choices.part)})")
    if choices.account:
        conditions.append(f"source in ({listed(choices.account)})")
    if choices.family:
        conditions.append(f"family_of(name) in ({listed(choices.family)})")
    if choices.since:
        conditions.append(f"first_seen >= {day_sql(choices.since)}")
    if choices.until:
        conditions.append(f"first_seen < {day_sql(choices.until)}")
    columns = "kind, source, name, label, first_seen, source_until, family_of(name) as family"
    return Step("supported", f"select {columns} from support where {' and '.join(conditions)}")


def _first_seen(scope: Scope) -> Plan:
    select = (
        "select kind, name, min(first_seen) as first_seen, any_value(family) as family, any_value(label) as label, "
        "string_agg(distinct source, ', ' order by source) as sources, max(source_until) as read_until "
        "from supported group by kind, name"
    )
    return Plan((_rows(scope),), select, "first_seen, kind, name", None, (), (CAVEAT,))


def _growth(scope: Scope) -> Plan:
    begun = "select kind, name, min(first_seen) as first_seen from supported group by kind, name"
    when = period(scope, "first_seen", "month")
    select = (
        f"select kind, {when} as period, count(*) as new, sum(count(*)) over (partition by kind order by "
        f"{when})::bigint as cumulative, string_agg(name, ', ' order by first_seen, name) as names from begun "
        "where first_seen is not null group by kind, period"
    )
    return Plan((_rows(scope), Step("begun", begun)), select, "kind, period", None, (), (CAVEAT,))


_HONOURS = ("population", "part", "account", "family", "since", "until")
_SOURCE = "git history of llama.cpp, ollama, huggingface.js and huggingface_hub; design/observatory.md, section 3"
QUESTIONS = (
    Question(
        "support-first-seen", "support", "First support in runtimes, libraries and apps",
        "Per kind (runtime_architecture, hub_library, hub_local_app, hf_inference_provider; chosen by `part`) and "
        "name: "
        "the first commit that names it in any of the sources. `account` chooses sources, `family` those whose name "
        "names the family.", _SOURCE, ("support",), _HONOURS,
        (("kind", "of support"), ("name", "architecture, library, app or provider"), ("first_seen", "first commit"),
         ("family", "that the name names"), ("label", "as shown to people"), ("sources", "repositories"),
         ("read_until", "the source was read up to this day")),
        _first_seen, chart="gantt",
    ),
    Question(
        "support-growth", "support", "Support over time", "New names per kind and period, and how many so far.",
        _SOURCE, ("support",), (*_HONOURS, "grain"),
        (("kind", "of support"), ("period", "of the first commit"), ("new", "names"), ("cumulative", "so far"),
         ("names", "the new ones")),
        _growth, chart="steps",
    ),
)  # fmt: skip
