"""Withdrawn models: how many, when, by whom."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose was quoted in population.py
from __future__ import annotations

from headwater.observatory.questions.periods import period
from headwater.observatory.questions.plan import CLASSES, UNMAPPED, UNWEIGHED, Plan, Question, Scope, Share
from headwater.observatory.questions.population import models
from headwater.observatory.steps import Step

_HONOURS = tuple(name for name in UNWEIGHED if name != "part")
BY = ("author", "country", "family", "modality", "period")
CAVEAT = "Only removals that the source saw: what was gone before it looked, or never listed by it, is not in here."


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
    unit = (
        f"select {keys[by]} as k, m.author, count(*) as n, count(*) filter (removed) as removed, 1 as most, "
        "min(m.id) filter (removed) as most_id from m left join accounts a on a.account = m.author group by all"
    )
    select = (
        f"select k as {by}, sum(removed)::bigint as removed, sum(n)::bigint as n, "
        "round(100.0 * sum(removed) / sum(n), 2) as pct, count(distinct author) as authors from unit group by k "
        "having sum(removed) > 0"
    )
    classes, unknown = {"country": (CLASSES, UNMAPPED), "family": (("other",), "other")}.get(by, ((), UNMAPPED))
    share = Share(f"withdrawn by {by}", "unit", "k", "removed", "most", "most_id", "n", classes, unknown)
    return Plan((*models(scope, "removed", "removed_at", "created_at", "pipeline_tag"), Step("unit", unit)), select,
                f"removed desc, n, {by}", 100, (share,), (CAVEAT,))  # fmt: skip


QUESTIONS = (
    Question(
        "withdrawn", "withdrawn", "Withdrawn models",
        "Models that the source marks as removed, of all that it ever saw; the first and the last moment at which one "
        "was; their median age at that moment.",
        "design/observatory.md, section 4", ("models.removed",), _HONOURS,
        (("removed", "models"), ("n", "all models seen"), ("pct", "removed of all"), ("first", "removal seen"),
         ("last", "removal seen"), ("authors", "distinct accounts of the removed"),
         ("median_age_days", "from creation to removal")),
        _total, suits=("radar",), chart="table",
    ),
    Question(
        "withdrawn-by", "withdrawn", "Withdrawn models by author, country, family or time",
        "The same, grouped; by=period is the time of the removal, per `grain`.",
        "design/observatory.md, section 4", ("models.removed",), (*_HONOURS, "by", "grain"),
        (("author", "or what `by` says"), ("removed", "models"), ("n", "all models of the group"), ("pct",
                                                                                                    "removed of n"),
         ("authors", "distinct accounts")),
        _by, suits=("radar",), by=BY,
    ),
)  # fmt: skip
