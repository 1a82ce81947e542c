"""Adoption: how fast models are taken up, beside others of their size at the same age."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose was quoted in population.py
from __future__ import annotations

from headwater.observatory.questions.over_time import counts, only_listed, renames
from headwater.observatory.questions.plan import Plan, Question, Scope
from headwater.observatory.questions.population import day_sql, here, listed, owner, told
from headwater.observatory.questions.trends import UNKNOWN, size_class
from headwater.observatory.steps import Step

AGES_DAYS = (7, 14, 30, 60, 90, 180, 365)  # of RAM, as the ATOM project has them
SIZES_B = (1.0, 5.0, 10.0, 50.0, 100.0, 250.0)
PEERS = 10  # the most downloaded of a size class that are the measure
SLACK_DAYS = 2  # how much older than the age a count may be: daily series miss days
ROLLING_DAYS = 30  # a model no older than this has had all its downloads within the rolling window
VERSIONS = ("v2", "v1")
TOP = 200
ATOM = "ATOM project, Relative Adoption Metric v1 (2026-01) and v2 (2026-05), arXiv 2604.07190"
_EITHER = "count.downloads_all|event_day|count.downloads_30d"
ROLLING = (
    f"The snapshot has no cumulative counts: only ages up to {ROLLING_DAYS} days can be measured, at which the rolling "
    "count of 30 days is all that the model ever had."
)
SPARSE = (
    f"Fewer than {PEERS} models of a class with a count at that age have no reference: the score is empty, not 1. The "
    "ATOM project measures hand-picked mainline models of the whole Hub; here the peers are those of the snapshot."
)


def _cumulative(scope: Scope) -> bool:
    return scope.has("count.downloads_all") or scope.has("event_day")


def _counts(scope: Scope) -> Step:
    """`counted`: (id, moment, downloads, holds) from what the snapshot keeps; holds: until the next row of the id."""
    choices = scope.choices
    if scope.has("event_day"):
        chosen = f" and id in ({listed(choices.id)})" if choices.id else ""
        sql = (
            "select id, day::timestamp + interval 1 day as moment, sum(downloads_hub) over "
            "(partition by id order by day)::bigint as downloads, true as holds from event_day where "
            f"{here(scope)}{chosen}"
        )
    else:
        column = "downloads_all" if scope.has("count.downloads_all") else "downloads_30d"
        sql = (
            f"select id, counted_at as moment, {column} as downloads, change_only as holds "
            f"from ({counts(scope, listed(choices.id))}) every where {column} is not null"
        )
    return Step("counted", sql)


def _aged(scope: Scope) -> tuple[Step, ...]:
    """The steps up to `born`: models of known birth with their size class."""
    ids = "select id from counted"
    classes = size_class(scope.choices.sizes_b or SIZES_B)
    excluded = []
    if scope.choices.excluded_ids:
        excluded.append(f"id not in ({listed(scope.choices.excluded_ids)})")
    if scope.choices.excluded_accounts:
        excluded.append(f"{owner('id')} not in ({listed(scope.choices.excluded_accounts)})")
    where = f" where {' and '.join(excluded)}" if excluded else ""
    born = (
        f"select id, known_created_at.created_at, parameters, {classes} as size_class from known_created_at "
        f"left join known_parameters using (id){where}"
    )
    return (_counts(scope), told(scope, "created_at", "created_at", ids), told(scope, "parameters", "parameters", ids),
            Step("born", born))  # fmt: skip


def _ram(scope: Scope) -> Plan:
    version = scope.by(VERSIONS)
    ages = [age for age in scope.choices.ages_days or AGES_DAYS if _cumulative(scope) or age <= ROLLING_DAYS]
    values = ", ".join(f"({age})" for age in ages) or "(null::integer)"
    target = (
        "select b.id, b.size_class, b.created_at, a.age_days, b.created_at + to_days(a.age_days::integer) as due from "
        f"born b cross join (values {values}) a(age_days) where b.size_class <> '{UNKNOWN}' "
        "and b.created_at + to_days(a.age_days::integer) between (select min(moment) from counted) and "
        "(select max(moment) from counted)"
    )
    # The last count at or before the age; one from before birth is another repo's, or a wrong date. A count that holds
    # until the next one is as new as the last look at any model.
    looked = "select distinct moment from counted"
    met = (
        "select t.id, t.size_class, t.age_days, c.downloads from (select t.*, l.moment as seen from target t "
        "asof join looked l on t.due >= l.moment) t asof join counted c on t.id = c.id and t.due >= c.moment "
        "where c.moment >= t.created_at and case when c.holds then t.seen else c.moment end >= "
        f"t.due - interval {SLACK_DAYS} day"
    )
    ranked = (
        "select *, row_number() over (partition by size_class, age_days order by downloads desc, id) as place, "
        "count(*) over (partition by size_class, age_days) as peers from met"
    )
    first = (
        f"select size_class, age_days, any_value(peers) as peers, {_reference(version)} as reference from ranked "
        f"where place <= {PEERS} group by all"
    )
    cutoff = first
    if version == "v2":  # a cutoff never falls with age, though fewer models have reached it
        cutoff = (
            "select size_class, age_days, peers, max(reference) over (partition by size_class order by age_days) "
            f"as reference from ({first}) f"
        )
    select = (
        "select r.id, r.size_class, r.age_days, r.downloads, c.reference, r.peers, "
        "round(r.downloads / nullif(c.reference, 0), 3) as ram, r.downloads > c.reference as on_course "
        "from ranked r join cutoff c using (size_class, age_days)"
    )
    steps = (*_aged(scope), Step("target", target), Step("looked", looked), Step("met", met), Step("ranked", ranked),
             Step("cutoff", cutoff))  # fmt: skip
    said = (SPARSE,) if _cumulative(scope) else (SPARSE, ROLLING)
    return Plan(steps, select, "age_days, size_class, downloads desc, id", 1_000, (), said)


def _reference(version: str) -> str:
    """v1: the median of the ten; v2: the tenth. NULL where there are no ten."""
    value = "median(downloads)" if version == "v1" else "min(downloads)"
    return f"case when any_value(peers) >= {PEERS} then {value}::double end"


def _curves(scope: Scope) -> Plan:
    cumulative = _cumulative(scope)
    young = "" if cumulative else f" and c.moment <= b.created_at + interval {ROLLING_DAYS} day"
    aged = (
        "select c.id, b.size_class, date_diff('day', b.created_at, c.moment) as age_days, max(c.downloads) as "
        f"downloads from counted c join born b using (id) where c.moment >= b.created_at{young} group by all"
    )
    named = "" if scope.choices.id else (
        " where id in (select id from aged group by id order by max(downloads) desc, id limit 20)"
    )  # fmt: skip
    select = f"select id, size_class, age_days, downloads from aged{named}"
    return Plan((*_aged(scope), Step("aged", aged)), select, "id, age_days", None, (), () if cumulative else (ROLLING,))


def _history(scope: Scope) -> Plan:
    choices = scope.choices
    ids = listed(choices.id)
    if not choices.id:  # of listings the newest names them: all of a history need not be read for ten models
        table = "model" if only_listed(scope) else "count"
        ids = (
            f"select id from {table} where {here(scope)} group by id order by max(downloads_30d) desc nulls last, id "
            "limit 10"
        )
    select = (
        "select id, counted_at as moment, downloads_30d, downloads_all, likes, trending "
        f"from ({counts(scope, ids)}) every where {_when(scope)}"
    )
    return Plan((), select, "id, moment", None, (), ("Rolling counts of 30 days overlap: never add them up.",))


def _volatility(scope: Scope) -> Plan:
    choices = scope.choices
    lowest = f" having max(downloads_30d) >= {int(choices.downloads_min)}" if choices.downloads_min else ""
    select = (
        "select id, min(counted_at) as since, max(counted_at) as until, count(*) as counts, "
        "arg_min(downloads_30d, counted_at) as first, arg_max(downloads_30d, counted_at) as last, "
        "min(downloads_30d) as lowest, max(downloads_30d) as highest, "
        "round(arg_max(downloads_30d, counted_at) / nullif(arg_min(downloads_30d, counted_at), 0), 3) as factor, "
        "arg_min(likes, counted_at) as likes_first, arg_max(likes, counted_at) as likes_last "
        f"from ({counts(scope, listed(choices.id))}) every where downloads_30d is not null and {_when(scope)} "
        f"group by id{lowest}"
    )
    return Plan((), select, "highest desc, id", TOP, (), ("A factor of a rolling count says nothing of users.",))


def _when(scope: Scope) -> str:
    choices = scope.choices
    since = [f"counted_at >= {day_sql(choices.since)}"] if choices.since else []
    until = [f"counted_at < {day_sql(choices.until)}"] if choices.until else []
    return " and ".join((*since, *until)) or "true"


def _renames(scope: Scope) -> Plan:
    """Every name that a model was seen to change, with the name that it has now."""
    choices = scope.choices
    found = ["true"]
    if choices.id:
        found.append(f"key in (select key from renamed where old_id in ({listed(choices.id)}) or "
                     f"new_id in ({listed(choices.id)}))")  # fmt: skip
    if choices.account:
        found.append(f"({owner('old_id')} in ({listed(choices.account)}) or "
                     f"{owner('new_id')} in ({listed(choices.account)}))")  # fmt: skip
    if choices.since:
        found.append(f"seen_at >= {day_sql(choices.since)}")
    if choices.until:
        found.append(f"seen_at < {day_sql(choices.until)}")
    select = (
        "select id, old_id, new_id, seen_at::date as seen, key from (select *, arg_max(new_id, seen_at) over "
        f"(partition by key) as id from renamed) named where {' and '.join(found)}"
    )
    said = "A change is dated by the first snapshot with the new name; all that happened between two is one change."
    return Plan((Step("renamed", renames(scope)),), select, "seen desc, id, old_id", TOP, (), (said,))


_ID = ("population", "known", "id", "exclude")
QUESTIONS = (
    Question(
        "relative-adoption", "adoption", "Relative adoption (RAM)",
        "Of every model of known birth and size that has a count at the age t (7, 14, 30, 60, 90, 180, 365 days, or "
        "`ages_days`): its cumulative downloads until then, divided by a reference of its size class at the same age. "
        f"by=v1: the median of the {PEERS} most downloaded models of the class at that age. by=v2: the {PEERS}th most "
        "downloaded of the class, made monotone: never lower than at a younger age. A score over 1: on course for an "
        f"all-time top {PEERS} of its size. The count taken is the last at or before the age, at most {SLACK_DAYS} "
        "days older. Births and sizes come from the snapshot or from those of `known`. Size classes by `sizes_b`, by "
        "default bounded at 1, 5, 10, 50, 100 and 250 thousand million parameters.",
        ATOM, (_EITHER,), (*_ID, "ages_days", "sizes_b", "by"),
        (("id", "model"), ("size_class", "by parameters"), ("age_days", "t"), ("downloads", "until then, cumulative"),
         ("reference", "of the class at that age"), ("peers", "models of the class with a count at that age"),
         ("ram", "downloads / reference"), ("on_course", "over 1")),
        _ram, by=VERSIONS, wants=("count.downloads_all", "event_day"), chart="adoption",
    ),
    Question(
        "adoption-curves", "adoption", "Adoption curves",
        "Cumulative downloads of a model by its age in days: those named by `id`, else the 20 with most.",
        ATOM, (_EITHER,), (*_ID, "sizes_b"),
        (("id", "model"), ("size_class", "by parameters"), ("age_days", "since creation"), ("downloads", "until then")),
        _curves, wants=("count.downloads_all", "event_day"), chart="lines",
    ),
    Question(
        "model-history", "adoption", "A model's counts over time",
        "Every count kept of the models named by `id`, else of the ten with most downloads, over all snapshots of the "
        "source. A model is known by the Hub's stable key: under another name it goes on, under its newest.",
        "design/observatory.md, section 1.1", ("count",), ("population", "id", "since", "until"),
        (("id", "model"), ("moment", "of the count"), ("downloads_30d", "rolling"), ("downloads_all", "cumulative"),
         ("likes", "so far"), ("trending", "score")),
        _history, suits=("llmfit-history", "head"), chart="lines",
    ),
    Question(
        "volatility", "adoption", "How much a model's downloads move",
        "First, last, lowest and highest count of 30-day downloads in the time looked at, and last divided by first.",
        "design/observatory.md, section 1.1", ("count.downloads_30d",),
        ("population", "id", "since", "until", "downloads_min"),
        (("id", "model"), ("since", "first count"), ("until", "last count"), ("counts", "kept"), ("first", "downloads"),
         ("last", "downloads"), ("lowest", "downloads"), ("highest", "downloads"), ("factor", "last / first"),
         ("likes_first", "likes"), ("likes_last", "likes")),
        _volatility, suits=("head",), chart="table",
    ),
    Question(
        "renamed-models", "adoption", "Models that got another name",
        "Every model that one snapshot of the source has under another name than the snapshot before, told by the "
        "Hub's stable key. `id` finds a model by any name that it had, `account` what moved from an account or to it.",
        "design/observatory.md, section 1.2: snapshots are to be joined by the Hub's key, not by the name",
        ("rename",), ("population", "id", "account", "since", "until"),
        (("id", "its name now"), ("old_id", "before"), ("new_id", "afterwards"), ("seen", "first with the new name"),
         ("key", "the Hub's")),
        _renames, chart="table",
    ),
)  # fmt: skip
