"""Own events: what this hub itself served, by the Hub's rules and by its own stricter count."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose goes in as quoted literals
from __future__ import annotations

from headwater.observatory.questions.periods import period
from headwater.observatory.questions.plan import Plan, Question, Scope
from headwater.observatory.questions.population import day_sql, here, listed, owner

RULES = (
    "Days are UTC. Days from before pulls were kept have downloads and clients alone. Clients of several days or repos "
    "must not be added up: their hashes change daily."
)
_DEFINED = (
    "downloads_hub: of models, requests (GET or HEAD) for a query file by the Hub's published rules, each of them; of "
    "data sets, and of requests that carry X-HF-Download-Counter where none is for a query file, one client once in "
    "five minutes. pulls: distinct (client, repo, commit) in five minutes that got bytes of weights by resolve, LFS or "
    "Xet, however many files and ranges; files are weights by their ending; LFS does not tell the commit. pulls_ci: "
    "the same by agents that say is_ci/true or name a CI system. heads: HEAD requests for files. bytes: of weights, in "
    "answers that were begun. A client is an address, kept only as a hash whose salt is thrown away at midnight."
)


def _where(scope: Scope) -> str:
    choices = scope.choices
    conditions = [here(scope)]
    if choices.since:
        conditions.append(f"day >= {day_sql(choices.since)}")
    if choices.until:
        conditions.append(f"day < {day_sql(choices.until)}")
    if choices.id:
        conditions.append(f"id in ({listed(choices.id)})")
    if choices.account:
        conditions.append(f"{owner('id')} in ({listed(choices.account)})")
    return " and ".join(conditions)


_SUMS = ("sum(downloads_hub)::bigint as downloads_hub, sum(pulls)::bigint as pulls, sum(pulls_ci)::bigint as pulls_ci, "
         "sum(heads)::bigint as heads, sum(bytes)::bigint as bytes")  # fmt: skip


def _by_day(scope: Scope) -> Plan:
    select = (
        f"select {period(scope, 'day', 'day')} as period, {_SUMS}, count(distinct id) as repos, "
        f"max(clients) as clients_of_one_repo_and_day from event_day where {_where(scope)} group by 1"
    )
    return Plan((), select, "period", None, (), (RULES,))


def _by_repo(scope: Scope) -> Plan:
    select = (
        f"select id, {_SUMS}, count(distinct day) as days, max(clients) as clients_of_one_day, "
        "round(sum(downloads_hub) / nullif(sum(pulls), 0), 2) as downloads_per_pull "
        f"from event_day where {_where(scope)} group by id"
    )
    return Plan((), select, "pulls desc, downloads_hub desc, id", 200, (), (RULES,))


_COLUMNS = (
    ("downloads_hub", "by the Hub's rules"), ("pulls", "distinct, with bytes of weights"), ("pulls_ci", "by CI agents"),
    ("heads", "HEAD requests"), ("bytes", "sent"),
)  # fmt: skip
_SOURCE = "hub-docs, models-download-stats (2026-08-06); pulls: headwater/catalog/pulls.py"
_HONOURS = ("population", "id", "account", "since", "until")
QUESTIONS = (
    Question(
        "own-downloads", "events", "What this hub served, over time",
        f"Sums over repos per period of own events. {_DEFINED}", _SOURCE, ("event_day",), (*_HONOURS, "grain"),
        (("period", "day, or by grain"), *_COLUMNS, ("repos", "distinct"), ("clients_of_one_repo_and_day", "the most")),
        _by_day, chart="lines",
    ),
    Question(
        "own-repos", "events", "What this hub served, per repo",
        f"Sums over days per repo of own events. {_DEFINED}", _SOURCE, ("event_day",), _HONOURS,
        (("id", "repo"), *_COLUMNS, ("days", "with an event"), ("clients_of_one_day", "the most"),
         ("downloads_per_pull", "how much the Hub's rules overstate")),
        _by_repo, chart="ranking",
    ),
)  # fmt: skip
