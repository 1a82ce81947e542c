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
_TOLD = {"licence": "varchar", "parameters": "bigint", "created_at": "timestamp"}
_OF_MODELS = ("day", "head", "modality", "age_days_max", "licence", "downloads_min", "likes_min")
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
    order = ("rank", "count", "event_day") if scope.choices.day else ("model", "rank", "count", "event_day")
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
    return [_weight_name(scope) if need == "models.d" else need.replace("|", " or ") for need in lacking]


def _there(scope: Scope, need: str) -> bool:
    table, _, column = need.partition(".")
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
    conditions = [here(scope), "source = 'declared'", *_of_accounts(scope)]
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
    places = " ".join(f"when {quoted(one.id)} then {place}" for place, one in enumerate(_telling(scope)))
    if not places:
        return Step(f"known_{name}", f"select null::varchar as id, null::{_TOLD[name]} as {name} where false")
    said = (
        f"select id, {expression} as {name}, case snapshot {places} end as place from model "
        f"where {_fact_condition(scope)} and id in (select id from ({ids}) wanted)"
    )
    first = f"select id, arg_min({name}, place) as {name} from ({said}) said where {name} is not null group by id"
    return Step(f"known_{name}", first)


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
    join = f" left join ({_in_window(scope)}) windowed using (id)" if "d" in columns and _windowed(scope) else ""
    return f"select {', '.join(('id', 'author', *shown))} from ({flat}) flat{join}"


def _behind(scope: Scope, column: str) -> tuple[str, ...]:
    """The columns of MODEL that a column of the step `m` is made of."""
    if column == "d":
        return () if _windowed(scope) else (_weight_column(scope),)
    return {"young": ("created_at",), "licence": ("license", "license_name")}.get(column, (column,))


def _expression(scope: Scope, column: str) -> str:
    if column == "d":
        return "windowed.downloads" if _windowed(scope) else _weight_column(scope)
    if column == "young":
        return f"created_at > {moment_sql(scope.as_of - timedelta(days=scope.choices.young_days))}"
    return "coalesce(license, license_name)" if column == "licence" else column


def _listing(scope: Scope, plain: set[str]) -> str:
    return f"select {', '.join(('id', 'author', *sorted(plain - {'id', 'author'})))} from model where {here(scope)}"


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
            f"where {_fact_condition(scope)} and model.id in (select id from {table} where {here(scope)}) "
            "group by model.id) fact using (id)"
        )
    author = f"{owner('id')} as author"
    return f"select {', '.join(('id', author, *shown))} from ({ids}) drawn{join}"


def _drawn_ids(scope: Scope, table: str, columns: Sequence[str]) -> str:
    """The members of a list on a day, the last counts up to a day, or what had events until then; one row per id."""
    conditions = [here(scope)]
    stop = day_sql((scope.choices.day or scope.snapshot.at.date()) + timedelta(days=1))
    if table == "rank":
        if scope.choices.part:
            conditions.append(f"list in ({listed(scope.choices.part)})")
        chosen = day_sql(scope.choices.day) if scope.choices.day else f"(select max(day) from rank where {here(scope)})"
        conditions.append(f"day = {chosen}")
        values = ", ".join(f"max({one}) as {one}" for one in columns)
    elif table == "count":
        last = f"(select max(counted_at)::date from count where {here(scope)} and counted_at < {stop})"
        conditions += [f"counted_at < {stop}", f"(change_only or counted_at >= {last})"]
        values = ", ".join(f"arg_max({one}, counted_at) as {one}" for one in columns)
    else:
        conditions.append(f"day < {stop}")
        values = ""
    return f"select id{', ' + values if values else ''} from {table} where {' and '.join(conditions)} group by id"


def _fact_condition(scope: Scope) -> str:
    return f"snapshot in ({listed(one.id for one in _telling(scope))})"


def _telling(scope: Scope) -> tuple[Snapshot, ...]:
    own = (scope.snapshot,) if scope.has("model") else ()
    return (*own, *(one for one in scope.known if one.id != scope.snapshot.id))


def _windowed(scope: Scope) -> bool:
    """Whether downloads come from days that are added up, not from a column."""
    return bool(scope.choices.window_days) or kind(scope) == "event_day"


def _weight_column(scope: Scope) -> str:
    return "downloads_all" if scope.choices.window == "all" else "downloads_30d"


def _weight_known(scope: Scope) -> bool:
    if scope.choices.window_days:
        return scope.has("event_day") or scope.has("count.downloads_all")
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
    before = f"filter (counted_at < {day_sql(start)})"
    return (
        f"select id, arg_max(downloads_all, counted_at) - arg_max(downloads_all, counted_at) {before} as downloads "
        f"from count where {here(scope)} and counted_at < {day_sql(stop)} group by id"
    )


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
    for name, column in (("removed", "removed"), ("private", "private"), ("restricted", "gated")):
        if name in choices.exclude:
            used.add(column)
    return used


def _conditions(scope: Scope) -> list[str]:
    choices = scope.choices
    found = _of_accounts(scope)
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
    if choices.downloads_min is not None or choices.likes_min is not None:
        bounds = (("d", choices.downloads_min), ("likes", choices.likes_min))
        found.append("(" + " or ".join(f"{name} >= {int(low)}" for name, low in bounds if low is not None) + ")")
    if "removed" in choices.exclude:
        found.append("removed is not true")
    if "private" in choices.exclude:
        found.append("private is not true")
    if "restricted" in choices.exclude:
        found.append("coalesce(gated, 'no') = 'no'")
    return found


def _of_accounts(scope: Scope) -> list[str]:
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
