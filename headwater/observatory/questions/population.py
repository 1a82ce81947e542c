"""Which models a question is about: the steps that choices become, the same for every question.

`models` makes the step `m` (one row per model, only the columns asked for), `edges` the step `e` (one row per declared
base), `roots` the steps `par` and `root`. A population comes from whatever the snapshot keeps: a listing, a list of a
day, a series of counts, own events. Refuses to know what is done with them.
"""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose goes in as quoted literals
from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta

from headwater.ground.errors import Invalid
from headwater.observatory import series
from headwater.observatory.choices import UNTAGGED, Parent
from headwater.observatory.families import quoted
from headwater.observatory.questions.over_time import (
    counts,
    lacks_part,
    listed_counts,
    listed_on,
    only_listed,
    ranks,
    spanning,
    windowed_by_key,
)
from headwater.observatory.questions.plan import Question, Scope, has
from headwater.observatory.roots import walk
from headwater.observatory.schema import MODEL
from headwater.observatory.steps import Step
from headwater.observatory.world import Snapshot

TEST_AUTHORS = "(^|-)(internal-)?testing$|^testing-"
"""Accounts that hold models for tests only, by their names; beside those that the registry types `test`."""
TEST_NAMES = "tiny-random"
UNTYPED = "untyped"
EVENT_WINDOW_DAYS = 30  # what the Hub's own `downloads` covers

_DRAWN = {
    "rank": ("downloads_30d", "likes", "trending", "pipeline_tag", "library", "created_at"),
    "count": ("downloads_30d", "downloads_all", "likes", "trending", "removed"),
    "event_day": (),
}
_FACTS = ("created_at", "pipeline_tag", "library", "license", "license_name", "parameters", "architecture",
          "quantization")  # fmt: skip
"""What may be learnt of a model from another snapshot; counts never are."""
_TOLD = {"licence": "varchar", "parameters": "bigint", "created_at": "timestamp", "pipeline_tag": "varchar"}
_OF_MODELS = ("day", "head", "modality", "age_days_max", "licence", "downloads_min", "likes_min", "parameters_b_min",
              "parameters_b_max")  # fmt: skip
_CLASSES_OF_MODELS = frozenset({"removed", "private", "restricted"})


def owner(expression: str) -> str:
    """The owner in an id; a name without one is its own owner."""
    return f"split_part({expression}, '/', 1)"


def listed(items: Iterable[str]) -> str:
    """Texts as the inside of an SQL `in (...)`."""
    return ", ".join(quoted(item) for item in items)


def day_sql(value: date) -> str:
    return f"date '{value.isoformat()}'"


def moment_sql(value: datetime) -> str:
    return f"timestamp '{value.isoformat(sep=' ')}'"


def here(scope: Scope) -> str:
    """The condition that a row is of the population's snapshot."""
    return f"snapshot = {quoted(scope.snapshot.id)}"


def kind(scope: Scope) -> str:
    """The table that names the population's models: model, rank, count or event_day."""
    order: tuple[str, ...] = ("rank", "count", "event_day")
    if not scope.choices.day:
        order = ("model", *order)
    elif only_listed(scope):  # the listing of that day
        order = ("model",) if listed_on(scope, scope.choices.day) else ()
    for table in order:
        if scope.has(table):
            return table
    what = "keeps no days" if scope.choices.day else "lists no models"
    raise Invalid(f"snapshot {scope.snapshot.id}: {what}; choose another population")


def knows(scope: Scope, column: str) -> bool:
    """Whether a column of MODEL, or `d` or `young`, has any value in this population."""
    if column == "d":
        return _weight_known(scope)
    if column == "young":
        column = "created_at"
    table = kind(scope)
    if column in ("id", "author") or scope.has(f"{table}.{column}"):
        return True
    return table != "model" and column in _FACTS and any(has(one, f"model.{column}") for one in _telling(scope))


def missing(question: Question, scope: Scope) -> list[str]:
    """What the question needs and this snapshot does not have. `a|b`: either will do."""
    lacking = [need for need in question.needs if not any(_there(scope, one) for one in need.split("|"))]
    named = [_weight_name(scope) if need == "models.d" else need.replace("|", " or ") for need in lacking]
    lost = [table for need in question.needs for table in need.split("|") if lacks_part(scope, table)]
    return [*named, *(f"part {', '.join(scope.choices.part)} of its table {table}" for table in lost)]


def _there(scope: Scope, need: str) -> bool:
    table, _, column = need.partition(".")
    if table == "told":  # by the population's listing, or by any that may tell facts
        return any(has(one, f"model.{column}") for one in (scope.snapshot, *scope.known))
    if table != "models":
        return scope.has(need)
    if not any(scope.has(one) for one in ("model", "rank", "count", "event_day")):
        return False
    return not column or knows(scope, column)


def models(scope: Scope, *columns: str) -> tuple[Step, ...]:
    """The steps up to `m`: id, author and `columns` (of MODEL; `d` downloads by the window; `young`; `licence`).

    A column that the population does not know is NULL.
    """
    chosen = ", ".join(dict.fromkeys(("id", "author", *columns)))
    source = _source(scope, {*columns, *_filtering(scope)})
    if scope.choices.head:
        source = f"select * from ({source}) qualify {_first(scope, 'd')} or {_first(scope, 'likes')}"
    conditions = _conditions(scope)
    steps: list[Step] = []
    if "series" in scope.choices.exclude:
        listing = f"select id, author, created_at from ({_source(scope, {'created_at'})}) p"
        steps += [Step("listed", listing), *series.steps("listed", bases(scope))]
        conditions.append("id not in (select id from series where place > 1)")
    where = f" where {' and '.join(conditions)}" if conditions else ""
    return (*steps, Step("m", f"select {chosen} from ({source}) p{where}"))


def edges(scope: Scope) -> tuple[Step, ...]:
    """The steps up to `e`: id, author, base, relation, position, declared_at; the children are the population."""
    choices = scope.choices
    conditions = [here(scope), "source = 'declared'", *of_accounts(scope)]
    if choices.relation:
        conditions.append(f"relation in ({listed(choices.relation)})")
    if choices.since:
        conditions.append(f"declared_at >= {day_sql(choices.since)}")
    if choices.until:
        conditions.append(f"declared_at < {day_sql(choices.until)}")
    steps: tuple[Step, ...] = ()
    if any(getattr(choices, name) for name in _OF_MODELS) or _CLASSES_OF_MODELS & set(choices.exclude):
        steps = models(scope.without("family"))
        conditions.append("id in (select id from m)")
    elif "series" in choices.exclude:
        children = f"select child as id, {owner('child')} as author, min(declared_at) as created_at from edge"
        listing = Step("listed", f"{children} where {here(scope)} group by child")
        steps = (listing, *series.steps("listed", bases(scope)))
        conditions.append("id not in (select id from series where place > 1)")
    every = (
        f"select snapshot, source, child as id, {owner('child')} as author, base, "
        f"coalesce(relation, '{UNTYPED}') as relation, position, declared_at from edge"
    )
    columns = "id, author, base, relation, position, declared_at"
    return (*steps, Step("e", f"select {columns} from ({every}) every where {' and '.join(conditions)}"))


def weights(scope: Scope) -> str:
    """A SELECT of id and d of every model that the snapshot knows, whatever was chosen; d is NULL if it counts none."""
    try:
        counted = _weight_known(scope)
    except Invalid:  # a snapshot of edges alone
        counted = False
    if not counted:
        return "select null::varchar as id, null::bigint as d where false"
    return f"select id, d from ({_source(scope, {'d'})}) every"


def told(scope: Scope, name: str, expression: str, ids: str) -> Step:
    """A step (id, `name`): what `model` says of each id of a relation, first in the population, then in the snapshots
    that may tell facts, in their order."""
    telling = _telling(scope)
    if not telling:
        return Step(f"known_{name}", f"select null::varchar as id, null::{_TOLD[name]} as {name} where false")
    first = f"snapshot = {quoted(telling[0].id)} and ({expression}) is not null"
    own = f"select id, {expression} as {name} from model where {first}"
    wanted = f"select id from ({ids}) wanted"
    if len(telling) == 1:
        return Step(f"known_{name}", f"{own} and id in ({wanted})")
    # Most are told by the first, whose ids are its models': only what is left must be put in order.
    places = " ".join(f"when {quoted(one.id)} then {place}" for place, one in enumerate(telling[1:]))
    said = (
        f"select id, {expression} as {name}, case snapshot {places} end as place from model where snapshot in "
        f"({listed(one.id for one in telling[1:])}) and id in ({wanted}) and id not in (select id from ({own}) own)"
    )
    rest = f"select id, arg_min({name}, place) as {name} from ({said}) said where {name} is not null group by id"
    return Step(f"known_{name}", f"{own} and id in ({wanted}) union all {rest}")


def roots(scope: Scope) -> tuple[Step, ...]:
    """The steps up to `par` and `root`: every model that declares a base, with the root of its chain.

    The walk goes over all edges of the snapshot: exclusions say which models count, not which bases they have.
    """
    parent: Parent
    if scope.choices.attribution == "discovered":  # what was found in the weights goes before what was declared
        order = "row_number() over (partition by child order by source <> 'discovered', position, base) as position"
        every, parent = f"select child as id, base, {order} from edge where {here(scope)}", "first"
    else:
        every = f"select child as id, base, position from edge where {here(scope)} and source = 'declared'"
        parent = scope.choices.parent
    return (Step("known_edge", every), *walk("known_edge", parent, scope.choices.steps))


def family_countries() -> Step:
    """`family_country`: the country of a family whose owners all are of one."""
    return Step(
        "family_country",
        "select f.family, min(a.country) as country from family_owner f join accounts a on a.account = f.account "
        "group by f.family having count(distinct a.country) = 1",
    )


def _source(scope: Scope, columns: set[str]) -> str:
    """A SELECT of id, author and `columns` of every model of the snapshot."""
    plain = {one for column in columns for one in _behind(scope, column)}
    table = kind(scope)
    flat = _listing(scope, plain) if table == "model" else _drawn(scope, table, plain)
    shown = [f"{_expression(scope, column)} as {column}" for column in sorted(columns)]
    join = ""
    if "d" in columns and _windowed(scope):
        join = f" left join ({_in_window(scope)}) windowed using ({'key' if _by_key(scope) else 'id'})"
    return f"select {', '.join(('id', 'author', *shown))} from ({flat}) flat{join}"


def _behind(scope: Scope, column: str) -> tuple[str, ...]:
    """The columns of MODEL that a column of the step `m` is made of."""
    if column == "d" and _windowed(scope):
        by_key = ("key",) if _by_key(scope) else ()
        return () if scope.has("event_day") else ("created_at", *by_key)
    if column == "d":
        return (_weight_column(scope),)
    return {"young": ("created_at",), "licence": ("license", "license_name")}.get(column, (column,))


def _expression(scope: Scope, column: str) -> str:
    if column == "d" and _windowed(scope):
        return "windowed.downloads" if scope.has("event_day") else _difference(scope)
    if column == "d":
        return _weight_column(scope)
    if column == "young":
        return f"created_at > {moment_sql(scope.as_of - timedelta(days=scope.choices.young_days))}"
    return "coalesce(license, license_name)" if column == "licence" else column


def _listing(scope: Scope, plain: set[str]) -> str:
    where, day = here(scope), scope.choices.day
    if day and (one := listed_on(scope, day)) is not None:
        where = f"snapshot = {quoted(one.id)} and {moment_sql(one.at)} < {day_sql(day + timedelta(days=1))}"
    return f"select {', '.join(('id', 'author', *sorted(plain - {'id', 'author'})))} from model where {where}"


def _drawn(scope: Scope, table: str, plain: set[str]) -> str:
    """A listing put together from the lists or counts of a day, with facts that other snapshots tell."""
    own, told = set(_DRAWN[table]) & plain, set(_FACTS) & plain
    shown = []
    for column in sorted(plain):
        places = [f"{place}.{column}" for place, there in (("drawn", own), ("fact", told)) if column in there]
        nothing = f"null::{MODEL.type_of(column)}"
        known = f"coalesce({', '.join(places)})" if places else nothing
        shown.append(f"{known} as {column}")
    ids = _drawn_ids(scope, table, sorted(own))
    join = ""
    if told:
        facts = ", ".join(f"arg_max({one}, dated) as {one}" for one in sorted(told))
        join = (
            f" left join (select model.id, {facts} from model join snapshots on snapshots.id = model.snapshot "
            f"where {_fact_condition(scope)} and model.id in (select id from ({ids}) wanted) "
            "group by model.id) fact using (id)"
        )
    author = f"{owner('id')} as author"
    return f"select {', '.join(('id', author, *shown))} from ({ids}) drawn{join}"


def _drawn_ids(scope: Scope, table: str, columns: Sequence[str]) -> str:
    """The members of a list on a day, the last counts up to a day, or what had events until then; one row per id."""
    conditions = []
    source = ranks(scope) if table == "rank" else counts(scope) if table == "count" else ""
    rows = f"({source or f'select * from {table} where {here(scope)}'}) rows"
    stop = day_sql((scope.choices.day or scope.snapshot.at.date()) + timedelta(days=1))
    if table == "rank":
        if scope.choices.part:
            conditions.append(f"list in ({listed(scope.choices.part)})")
        chosen = day_sql(scope.choices.day) if scope.choices.day else f"(select max(day) from {rows})"
        conditions.append(f"day = {chosen}")
        values = ", ".join(f"max({one}) as {one}" for one in columns)
    elif table == "count":
        last = f"(select max(counted_at)::date from {rows} where counted_at < {stop})"
        conditions += [f"counted_at < {stop}", f"(change_only or counted_at >= {last})"]
        values = ", ".join(f"arg_max({one}, counted_at) as {one}" for one in columns)
    else:
        conditions.append(f"day < {stop}")
        values = ""
    return f"select id{', ' + values if values else ''} from {rows} where {' and '.join(conditions)} group by id"


def _fact_condition(scope: Scope) -> str:
    return f"snapshot in ({listed(one.id for one in _telling(scope))})"


def _telling(scope: Scope) -> tuple[Snapshot, ...]:
    own = (scope.snapshot,) if scope.has("model") else ()
    older = [one for one in reversed(scope.past) if has(one, "model")]
    return (*own, *older, *(one for one in scope.known if one not in (scope.snapshot, *older)))


def _windowed(scope: Scope) -> bool:
    """Whether downloads come from days that are added up, not from a column."""
    return bool(scope.choices.window_days) or kind(scope) == "event_day"


def _weight_column(scope: Scope) -> str:
    return "downloads_all" if scope.choices.window == "all" else "downloads_30d"


def _weight_known(scope: Scope) -> bool:
    if scope.choices.window_days:
        return scope.has("event_day") or (scope.has("count.downloads_all") and spanning(scope))
    table = kind(scope)
    return table == "event_day" or scope.has(f"{table}.{_weight_column(scope)}")


def _weight_name(scope: Scope) -> str:
    if scope.choices.window_days:
        return "count.downloads_all or event_day (rolling counts can't be added up to a window)"
    return f"models.{_weight_column(scope)}"


def _in_window(scope: Scope) -> str:
    """Downloads per id between two days: own events added up, or the difference of two cumulative counts."""
    if scope.has("event_day"):
        last = scope.choices.day or scope.snapshot.at.date()
        start, stop = scope.choices.window_days or (last - timedelta(days=EVENT_WINDOW_DAYS - 1), last + timedelta(1))
        begun = "" if scope.choices.window == "all" else f" and day >= {day_sql(start)}"
        return (
            f"select id, sum(downloads_hub)::bigint as downloads from event_day where {here(scope)}{begun} "
            f"and day < {day_sql(stop)} group by id"
        )
    assert scope.choices.window_days is not None
    start, stop = scope.choices.window_days
    by_key = _by_key(scope)
    rows = " union all ".join(listed_counts(scope, "key")) if by_key else counts(scope)
    # A count of a day is that of its end. Of a listing nobody says at what time of its day it was taken: it stands for
    # the beginning, so that the listings of two days are the window between them.
    until = "counted_at::date <= {0}" if only_listed(scope) else "counted_at < {0}"
    name = "key" if by_key else "id"
    early = until.format(day_sql(start))
    return (
        f"select {name}, arg_max(downloads_all, counted_at) as last, arg_min(downloads_all, counted_at) filter (not "
        f"{early}) as first, arg_max(downloads_all, counted_at) filter ({early}) as before from ({rows}) told "
        f"where {until.format(day_sql(stop))} group by {name}"
    )


def _by_key(scope: Scope) -> bool:
    return windowed_by_key(scope) and kind(scope) == "model"


def _difference(scope: Scope) -> str:
    """Downloads in the window. Of what was not counted before it: from 0 if it was made within it, else from its first
    count; what it had before that is not of the window."""
    assert scope.choices.window_days is not None
    born = f"flat.created_at >= {day_sql(scope.choices.window_days[0])}"
    before = f"coalesce(windowed.before, case when {born} then 0 else windowed.first end)"
    return f"greatest(windowed.last - {before}, 0)"


def _filtering(scope: Scope) -> set[str]:
    """The columns that the choices look at."""
    choices = scope.choices
    used: set[str] = set()
    if choices.head or choices.downloads_min is not None or choices.likes_min is not None:
        used |= {"d", "likes"}
    if choices.age_days_max or choices.since or choices.until:
        used.add("created_at")
    if choices.modality:
        used.add("pipeline_tag")
    if choices.licence:
        used.add("licence")
    if choices.parameters_b_min or choices.parameters_b_max:
        used.add("parameters")
    for name, column in (("removed", "removed"), ("private", "private"), ("restricted", "gated")):
        if name in choices.exclude:
            used.add(column)
    return used


def _conditions(scope: Scope) -> list[str]:
    choices = scope.choices
    found = of_accounts(scope)
    if choices.age_days_max:
        found.append(f"created_at > {moment_sql(scope.as_of - timedelta(days=choices.age_days_max))}")
    if choices.since:
        found.append(f"created_at >= {day_sql(choices.since)}")
    if choices.until:
        found.append(f"created_at < {day_sql(choices.until)}")
    if choices.modality:
        found.append(f"coalesce(pipeline_tag, '{UNTAGGED}') in ({listed(choices.tags)})")
    if choices.family:
        found.append(f"coalesce(family_of(id), 'other') in ({listed(choices.family)})")
    if choices.licence:
        found.append(f"licence in ({listed(choices.licence)})")
    found += _bounds(scope)
    if "removed" in choices.exclude:
        found.append("removed is not true")
    if "private" in choices.exclude:
        found.append("private is not true")
    if "restricted" in choices.exclude:
        found.append("coalesce(gated, 'no') = 'no'")
    return found


def _bounds(scope: Scope) -> list[str]:
    """Conditions on numbers of models."""
    choices = scope.choices
    found = []
    if choices.parameters_b_min:
        found.append(f"parameters >= {choices.parameters_b_min * 1e9:.0f}")
    if choices.parameters_b_max:
        found.append(f"parameters < {choices.parameters_b_max * 1e9:.0f}")
    if choices.downloads_min is not None or choices.likes_min is not None:
        bounds = (("d", choices.downloads_min), ("likes", choices.likes_min))
        found.append("(" + " or ".join(f"{name} >= {int(low)}" for name, low in bounds if low is not None) + ")")
    return found


def of_accounts(scope: Scope) -> list[str]:
    """Conditions on the columns id and author, which edges and models share."""
    choices = scope.choices
    found = []
    if choices.id:
        found.append(f"id in ({listed(choices.id)})")
    if choices.account:
        names = listed(choices.account)
        found.append(
            f"(author in ({names}) or author in (select account from accounts where organisation in ({names})))"
        )
    if choices.country:
        found.append(f"author in (select account from accounts where country in ({listed(choices.country)}))")
    if choices.excluded_accounts:
        found.append(f"author not in ({listed(choices.excluded_accounts)})")
    if choices.excluded_ids:
        found.append(f"id not in ({listed(choices.excluded_ids)})")
    if "mirrors" in choices.exclude:
        found.append("author not in (select account from accounts where type = 'mirror')")
    if "tests" in choices.exclude:
        found.append("author not in (select account from accounts where type = 'test')")
        found.append(f"not regexp_matches(lower(author), {quoted(TEST_AUTHORS)})")
        found.append(f"not contains(lower(id), '{TEST_NAMES}')")
    return found


def bases(scope: Scope) -> str:
    """A SELECT of every model that declares a base, with each of them."""
    return f"select child as id, base from edge where {here(scope)}"


def _first(scope: Scope, column: str) -> str:
    return f"row_number() over (order by {column} desc nulls last, id) <= {int(scope.choices.head or 0)}"
