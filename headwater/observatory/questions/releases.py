"""Releases: who published how much and when, as a table by year and as a calendar."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose was quoted in population.py
from __future__ import annotations

from headwater.observatory.families import quoted
from headwater.observatory.questions.periods import period
from headwater.observatory.questions.plan import POPULATION, Plan, Question, Scope
from headwater.observatory.questions.population import day_sql, here, listed, models
from headwater.observatory.steps import Step

MEASURES = ("repos", "models", "datasets", "spaces", "likes", "downloads")
YEARS_MAX = 30  # columns of the table by year
ORGS_MAX = 40  # of a calendar, unless accounts are named: what a page can show
SURVIVORS = "Counted by the date of creation of repos that still existed when the source was read."
_NEED = "release|models.created_at"
_HONOURS = (*POPULATION, "by")
ORGANISATIONS = {
    "Alibaba Cloud": "Qwen", "Cohere Labs": "CohereLabs", "Inclusion AI": "inclusionAI", "Meta Llama": "meta-llama",
    "Mistral AI_": "mistralai", "OpenGVLab": "OpenGVLab", "Shanghai AI Lab": "internlm", "Z.ai": "zai-org",
}  # fmt: skip
"""Names of organisations in a table of releases that the registry has otherwise -> accounts of the registry."""
UNNAMED = "By country: of the source's organisations those whose name, or account, the registry knows."


def _rows(scope: Scope) -> tuple[Step, ...]:
    """The steps up to `made`: (org, day, repos, models, datasets, spaces, likes, downloads)."""
    if not scope.has("release"):
        counted = (
            "select coalesce(a.organisation, m.author) as org, created_at::date as day, 1 as repos, 1 as models, "
            "0 as datasets, 0 as spaces, likes, d as downloads, m.author from m left join accounts a "
            "on a.account = m.author where created_at is not null"
        )
        return (*models(scope, "created_at", "likes", "d"), Step("made", counted))
    choices = scope.choices
    conditions = [here(scope)]
    if choices.part:
        conditions.append(f"variant in ({listed(choices.part)})")
    else:
        latest = f"select arg_max(variant, (day, variant)) from release where {here(scope)}"
        conditions.append(f"variant = ({latest})")
    if choices.account:
        conditions.append(f"org in ({listed(choices.account)})")
    if choices.excluded_accounts:
        conditions.append(f"org not in ({listed(choices.excluded_accounts)})")
    if choices.country:
        conditions.append(_of_countries(choices.country))
    if choices.since:
        conditions.append(f"day >= {day_sql(choices.since)}")
    if choices.until:
        conditions.append(f"day < {day_sql(choices.until)}")
    columns = "org, day, repos, models, datasets, spaces, likes, downloads, null::varchar as author"
    return (Step("made", f"select {columns} from release where {' and '.join(conditions)}"),)


def _of_countries(countries: tuple[str, ...]) -> str:
    of = f"from accounts where country in ({listed(countries)})"
    pairs = ", ".join(f"({quoted(org)}, {quoted(account)})" for org, account in ORGANISATIONS.items())
    return (
        f"(lower(org) in (select lower(organisation) {of} and organisation is not null union all select lower(account) "
        f"{of}) or org in (select named from (values {pairs}) n(named, account) where account in "
        f"(select account {of})))"
    )


def _said(scope: Scope) -> tuple[str, ...]:
    if not scope.has("release"):
        return SURVIVORS, "Models only: the snapshot lists no datasets and no spaces."
    return (SURVIVORS, UNNAMED) if scope.choices.country else (SURVIVORS,)


def _by_year(scope: Scope) -> Plan:
    steps = _rows(scope)
    by = scope.by(MEASURES)
    written = ", ".join(f"{step.name} as ({step.sql})" for step in steps)
    rows = scope.look(f"with {written} select min(year(day)) as low, max(year(day)) as high from made").to_pylist()
    low, high = (rows[0]["low"], rows[0]["high"]) if rows and rows[0]["low"] else (scope.snapshot.at.year,) * 2
    years = range(max(low, high - YEARS_MAX + 1), high + 1)
    cells = ", ".join(f"sum({by}) filter (year(day) = {year})::bigint as y{year}" for year in years)
    select = (
        f"select org, {cells}, sum({by})::bigint as total, count(distinct author) as accounts from made group by org"
    )
    return Plan(steps, select, f"y{high} desc nulls last, total desc, org", 100, (), _said(scope))


def _calendar(scope: Scope) -> Plan:
    by = scope.by(MEASURES)
    when = period(scope, "day", "month")
    orgs = "" if scope.choices.account else (
        f" where org in (select org from made group by org order by sum({by}) desc nulls last, org limit {ORGS_MAX})"
    )  # fmt: skip
    select = (
        f"select org, {when} as period, {', '.join(f'sum({one})::bigint as {one}' for one in MEASURES)} from "
        f"made{orgs} group by all"
    )
    return Plan(_rows(scope), select, "org, period", None, (), _said(scope))


def _growth(scope: Scope) -> Plan:
    conditions = [here(scope)]
    part = scope.choices.part or ("all",)
    conditions.append(f"filter in ({listed(part)})")
    if scope.choices.since:
        conditions.append(f"month >= {day_sql(scope.choices.since)}")
    if scope.choices.until:
        conditions.append(f"month < {day_sql(scope.choices.until)}")
    by = scope.by(("task", "total"))
    task = "task" if by == "task" else quoted("all")
    if by == "total":
        conditions.append("(task not in ('all_total', 'all') or kind = 'model')")
    select = (
        f"select {period(scope, 'month', 'month')} as period, kind, {task} as task, sum(repos)::bigint as repos "
        f"from growth where {' and '.join(conditions)} group by all"
    )
    return Plan((), select, "period, kind, repos desc, task", None, (), ("Only repos with a task tag are counted.",))


QUESTIONS = (
    Question(
        "releases-by-organisation", "releases", "New repos per organisation and year",
        "What `by` counts (repos, that is models, datasets and spaces; or one of them, or their likes or downloads), "
        "added up per organisation and year of creation: from a source's own table of releases (`part` names its "
        "variant, by default the one that reaches furthest), else from the dates of creation of the population's "
        "models, per organisation of the registry. A table of releases honours account, country, exclude=account:NAME, "
        "part, since and until; with any other choice the population is one that lists models. An empty cell: none.",
        "aiWorld/CEPS open-source timeline; design/observatory.md, section 3", (_NEED,), _HONOURS,
        (("org", "organisation, or account"), ("y2025", "one column per year"), ("total", "of all years shown"),
         ("accounts", "distinct accounts, where known")),
        _by_year, suits=("releases",), by=MEASURES, chart="grouped",
    ),
    Question(
        "release-calendar", "releases", "Release heatmap",
        "New repos per organisation and day, week, month, quarter, half or year (`grain`, by default month), from the "
        f"same sources as releases-by-organisation. The {ORGS_MAX} organisations with most, unless `account` names "
        "some.",
        "Spaces cfahlgren1/model-release-heatmap and zh-ai-community/model-release-heatmap-zh: repos by createdAt",
        (_NEED,), (*_HONOURS, "grain"),
        (("org", "organisation, or account"), ("period", "of creation"), ("repos", "models, datasets and spaces"),
         ("models", "of these"), ("datasets", "of these"), ("spaces", "of these"), ("likes", "of these repos"),
         ("downloads", "of these repos")),
        _calendar, suits=("releases",), by=MEASURES, chart="heatmap", paged=True,
    ),
    Question(
        "hub-growth", "releases", "New repos of the whole Hub per month and task",
        "As a source counted them; `part` is its own threshold (all, likes, downloads).",
        "aiWorld/CEPS", ("growth",), ("population", "part", "since", "until", "grain", "by"),
        (("period", "of creation"), ("kind", "model or dataset"), ("task", "the task tag, or all"), ("repos", "new")),
        _growth, suits=("growth-models",), by=("task", "total"), chart="lines",
    ),
)  # fmt: skip
