"""Withdrawn models: how many, when, by whom."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose was quoted in population.py
from __future__ import annotations

from headwater.observatory.questions.periods import period
from headwater.observatory.questions.plan import POPULATION, UNMAPPED, Plan, Question, Scope
from headwater.observatory.questions.population import models

BY = ("author", "country", "family", "modality", "period")
CAVEAT = "Seen by a crawler that looks at what is new: of the whole Hub it says nothing."


def _total(scope: Scope) -> Plan:
    select = (
        "select count(*) filter (removed) as removed, count(*) as n, "
        "round(100.0 * count(*) filter (removed) / count(*), 2) as pct, min(removed_at) as first, "
        "max(removed_at) as last, count(distinct author) filter (removed) as authors, "
        "round(median(date_diff('hour', created_at, removed_at)) filter (removed) / 24.0, 2) as median_age_days from m"
    )
    return Plan(models(scope, "removed", "removed_at", "created_at"), select, "n", None, (), (CAVEAT,))


def _by(scope: Scope) -> Plan:
    by = scope.by(BY)
    keys = {
        "author": "m.author", "country": f"coalesce(a.country, '{UNMAPPED}')",
        "modality": "coalesce(pipeline_tag, 'none')",
        "family": "coalesce(family_of(m.id), 'other')", "period": period(scope, "removed_at", "day"),
    }  # fmt: skip
    select = (
        f"select {keys[by]} as {by}, count(*) filter (removed) as removed, count(*) as n, "
        "round(100.0 * count(*) filter (removed) / count(*), 2) as pct, count(distinct m.author) as authors "
        "from m left join accounts a on a.account = m.author group by 1 having removed > 0"
    )
    return Plan(models(scope, "removed", "removed_at", "created_at", "pipeline_tag"), select,
                f"removed desc, n, {by}", 100, (), (CAVEAT,))  # fmt: skip


QUESTIONS = (
    Question(
        "withdrawn", "withdrawn", "Withdrawn models",
        "Models that the source marks as removed, of all that it ever saw; the first and the last moment at which one "
        "was; their median age at that moment.",
        "design/observatory.md, section 4", ("models.removed",), POPULATION,
        (("removed", "models"), ("n", "all models seen"), ("pct", "removed of all"), ("first", "removal seen"),
         ("last", "removal seen"), ("authors", "distinct accounts of the removed"),
         ("median_age_days", "from creation to removal")),
        _total, suits=("radar",), chart="table",
    ),
    Question(
        "withdrawn-by", "withdrawn", "Withdrawn models by author, country, family or time",
        "The same, grouped.", "design/observatory.md, section 4", ("models.removed",), (*POPULATION, "by", "grain"),
        (("author", "or what `by` says"), ("removed", "models"), ("n", "all models of the group"), ("pct",
                                                                                                    "removed of n"),
         ("authors", "distinct accounts")),
        _by, suits=("radar",), by=BY,
    ),
)  # fmt: skip
