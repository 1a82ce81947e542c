"""Search: filters, sorts and pages over all repos -> one SQL text. Whoever asks sees only what he may (T33, T34).

Every equality (a tag, an author, a library) is a range of integers in `posting`, see tables.py. A list is made in one
of two ways, whichever is expected to touch fewer rows:

* walk the sort's index from the page's start and ask each row for its tags, until the page is full;
* take all repos of one filter (or of the search, or all that the actor can see), ask them for the rest, and sort.

That gives ids. The statement that reads their rows asks the truth, the table `repo`, who may see each: no row leaves
the database unasked. Where the actor sees most repos, finding ids does not ask it as well, but finds a few more than
the page needs; where he sees few, it does.

The estimate takes conditions for independent of each other, which they may not be: a walk that gets further than
expected without filling its page is broken off, once, and the choice made anew; and where more was hidden than
expected, the rest of the page is found by asking. No estimate changes an answer.
Refuses to know: HTTP parameters, and how an answer is shaped.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import msgspec
from sqlalchemy import Column, ColumnElement, Connection, FromClause, Select, and_, bindparam, select, union
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import func, literal, literal_column, tuple_
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.selectable import CompoundSelect, Join

from headwater.accounts.actor import Actor, visible
from headwater.accounts.tables import namespace
from headwater.catalog.tables import MARK, POSTING_SHIFT, catalog, catalog_search, posting, standing, tag
from headwater.ground import names
from headwater.ground.db import Database
from headwater.ground.errors import Invalid
from headwater.ground.names import RepoType
from headwater.repos.tables import like, repo

Sort = Literal["trendingScore", "lastModified", "createdAt", "downloads", "likes"]
SORTS: tuple[Sort, ...] = get_args(Sort)

LIMIT_MAX = 1_000  # the Hub's own
FILTERS_MAX = 32  # tags in one query
FILTER_CHARS_MAX = 256  # no card tag is longer
SEARCH_CHARS_MAX = 200
TERMS_MAX = 8  # words in one search
CURSOR_CHARS_MAX = 300
TRIGRAM = 3  # a shorter term is looked up where words begin
COUNTED_MAX = 40_000  # matches counted before a search or a range is called common
NOT_RARE = 1 << 30
RENAMES_FOLLOWED_MAX = 8

# Microseconds, measured with benchmarks/lists.py's database on one core; only their ratios matter.
STEP_COST = 0.05  # one id of a walk or a filter
ASK_COST = 0.2  # whether an id has a tag, in the order of ids
ASK_COST_WALKING = 0.3  # in any other order
ROW_COST = 0.3  # what `standing` says of an id, in the order of ids
SEEN_COST = 0.8  # what `repo` says of it, likewise
PLACE_COST = 0.7  # a place among the best so far
ROW_COST_WALKING = 2.5  # either in any other order: hardly two of them are on one page of the table
WALK_MARGIN = 1.5  # how much further than expected a walk may get, and at least:
WALK_STEPS_MIN = 3_000
IDS_KEPT_MAX = 2_000  # of a search: asked once and handed to the list, instead of asked twice
SEEN_BY_FEW = 0.5  # an actor who sees less than this share of the repos is asked about while ids are found
SPARE = 1.0  # times the square root of what is wanted: about twice the spread of how many of them are hidden
SPARE_SORTED = 1.5  # times what is wanted is kept when sorting: more costs little there, and sorting again all


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What to list. All conditions hold together.

    `search`: words, all of which must occur in `namespace/name`. `tags`: as clients filter by them, in any case.
    `models`, `datasets`: what a space uses; `linked`: that it uses any. `liked_by`: a user's id. `limit`: rows of a
    page.
    """

    type: RepoType
    search: str = ""
    author: str | None = None
    tags: tuple[str, ...] = ()
    pipeline_tag: str | None = None
    library: str | None = None
    gated: bool | None = None
    models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    linked: bool = False
    parameters_min: int | None = None
    parameters_max: int | None = None
    liked_by: int | None = None
    sort: Sort = "trendingScore"
    descending: bool = True
    limit: int = 50
    cursor: str | None = None


class Known(msgspec.Struct, frozen=True):
    """What is known about a repo, without its card. `tags`, `config` and `safetensors` are JSON text.

    `trending` is for ordering; counts.trending_score makes a number for people of it. `sha` is the commit that was
    read, empty if there was none.
    """

    id: int
    type: RepoType
    namespace: str | None
    name: str
    private: bool
    gated: str | None
    disabled: bool
    sdk: str | None
    created_ms: int
    modified_ms: int
    sha: str
    library_name: str | None
    pipeline_tag: str | None
    tags: str
    config: str | None
    safetensors: str | None
    parameters: int | None
    used_storage: int
    downloads: int
    downloads_all: int
    likes: int
    trending: float

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class Page:
    """`next` is the cursor of the page after this one; None: this is the last."""

    rows: list[Known]
    next: str | None


@dataclass(frozen=True, slots=True)
class Extra:
    """What can be large: JSON texts of a card's front matter and of a GGUF file's summary."""

    card: str
    gguf: str | None


def search(db: Database, actor: Actor, query: Query) -> Page:
    """One page. Invalid: a sort, limit, cursor or text that breaks its rule; an unknown tag just finds nothing."""
    _check(query)
    after = _after(query)
    with db.read() as connection:
        found = _listed(connection, _Asked(actor, query, after, *_criteria(connection, actor, query)))
    rows = [row for row, _ in found[: query.limit]]
    return Page(rows, _cursor(query, *found[query.limit - 1][1]) if len(found) > query.limit else None)


def one(connection: Connection, repo_id: int) -> Known | None:
    """What is known about one repo, which the caller was let into by `Repos.open`."""
    row = connection.execute(_ONE, {"of_repo": repo_id}).first()
    return None if row is None else Known(*row)


def extras(connection: Connection, repo_ids: Sequence[int]) -> dict[int, Extra]:
    """Cards and GGUF summaries of repos that the caller may show; those without a row are left out."""
    return {
        repo_id: Extra(card, gguf) for repo_id, card, gguf in connection.execute(_EXTRAS, {"of_repos": list(repo_ids)})
    }


class _Straight(Join):
    """A join whose left side is walked first, come what may: here the order is known, not to be guessed."""

    inherit_cache = True


def _visit_straight(join: _Straight, compiler: SQLCompiler, **more: Any) -> str:
    more["asfrom"] = True
    left = compiler.process(join.left, **more)
    right = compiler.process(join.right, **more)
    condition = compiler.process(join.onclause, from_linter=more.get("from_linter"))  # type: ignore[arg-type]
    return f"{left} CROSS JOIN {right} ON {condition}"


compiles(_Straight, "sqlite")(_visit_straight)


_SORTED_BY: dict[Sort, Column[Any]] = {
    "trendingScore": standing.c.trending,
    "lastModified": standing.c.modified_ms,
    "createdAt": standing.c.created_ms,
    "downloads": standing.c.downloads,
    "likes": standing.c.likes,
}
_RISING_WITH_ID: tuple[Sort, ...] = ("createdAt", "lastModified")
_SHOWN: tuple[Column[Any], ...] = (
    repo.c.id, repo.c.type, repo.c.namespace, repo.c.name, repo.c.private, repo.c.gated, repo.c.disabled, repo.c.sdk,
    repo.c.created_ms, standing.c.modified_ms, catalog.c.sha, catalog.c.library_name, catalog.c.pipeline_tag,
    catalog.c.tags, catalog.c.config, catalog.c.safetensors, standing.c.parameters, catalog.c.used_storage,
    standing.c.downloads, standing.c.downloads_all, standing.c.likes, standing.c.trending,
)  # fmt: skip
_ONE = (
    select(*_SHOWN)
    .join_from(repo, standing, standing.c.repo_id == repo.c.id)
    .join(catalog, catalog.c.repo_id == repo.c.id)
    .where(repo.c.id == bindparam("of_repo"), repo.c.state == "live")
)
# Apart from the statement that finds the ids: of that there are hundreds of forms, which stay small so.
# In the order of ids, not of the list: a quarter quicker, since neighbours share pages.
_IDS = func.json_each(bindparam("ids")).table_valued("value", name="ids")
_THESE = select(*_SHOWN).select_from(
    _Straight(
        _Straight(_Straight(_IDS, repo, repo.c.id == _IDS.c.value), standing, standing.c.repo_id == repo.c.id),
        catalog,
        catalog.c.repo_id == repo.c.id,
    )
)
_EXTRAS = select(catalog.c.repo_id, catalog.c.card, catalog.c.gguf).where(
    catalog.c.repo_id.in_(bindparam("of_repos", expanding=True))
)
_TAGS = select(tag.c.key, tag.c.id, tag.c.count).where(
    tag.c.type == bindparam("of_type"), tag.c.key.in_(bindparam("of_keys", expanding=True))
)
_NAMESPACE = select(namespace.c.id, namespace.c.state, namespace.c.moved_to).where(
    namespace.c.key == bindparam("of_key")
)
_MOVED_TO = select(namespace.c.id, namespace.c.state, namespace.c.moved_to).where(namespace.c.id == bindparam("of_id"))
_MATCH = literal_column("catalog_search").op("MATCH")


# Tags that nobody wrote: index.py puts them on repos, queries ask for them.
PUBLIC, PRIVATE, GATED, LINKED = MARK + "public", MARK + "private", MARK + "gated", MARK + "linked"


def of_namespace(namespace_id: int) -> str:
    return f"{MARK}namespace:{namespace_id}"


def of_pipeline(name: str) -> str:
    return f"{MARK}pipeline:{name.lower()}"


def of_library(name: str) -> str:
    return f"{MARK}library:{name.lower()}"


def of_use(kind: Literal["model", "dataset"], name: str) -> str:
    return f"{MARK}uses-{kind}:{name.lower()}"


def word_starts(key: str) -> str:
    """What `catalog_search.starts` holds for a name: of each word the first two characters, after two spaces each."""
    return "".join(f"  {word[:2]}" for word in _words(key))


def _words(key: str) -> list[str]:
    for separator in "-_.":
        key = key.replace(separator, "/")
    return [word for word in key.split("/") if word]


@dataclass(frozen=True, slots=True)
class _Criterion:
    """A condition, as something to start from and as a question. `rows`: about how many repos meet it.

    `of_id` asks an id alone, `of_row` a row of `standing`, `of_repo` one of `repo`: exactly one of them is there.
    (`_seen` has none: visibility is always asked.) `by_id`: what `source` can be walked by, either way, unsorted.
    """

    rows: int
    source: Select[Any] | CompoundSelect[Any]  # with a column `repo_id`
    of_id: Callable[[ColumnElement[int]], ColumnElement[bool]] | None = None
    of_row: ColumnElement[bool] | None = None
    of_repo: ColumnElement[bool] | None = None
    by_id: ColumnElement[int] | None = None


_Place = tuple[int, float]
"""A repo id, and its value of what is sorted by."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query with all that a plan is made from. `total`: how many repos of the type there are.

    `listed`: how many rows of the page were found before `after`; if any, more was hidden from the actor than
    expected, and the others are found by asking what he sees.
    """

    actor: Actor
    query: Query
    after: _Place | None
    total: int
    seen: _Criterion | None
    criteria: tuple[_Criterion, ...]
    listed: int | None = None

    def share(self, criteria: Iterable[_Criterion]) -> float:
        """Of all repos, if conditions hold independently of each other."""
        return math.prod((min(one.rows / max(self.total, 1), 1.0) for one in criteria), start=1.0)

    @property
    def _share_seen(self) -> float:
        return self.share([self.seen] if self.seen else [])

    @property
    def asks_repo(self) -> bool:
        """Whether ids are found by asking `repo`."""
        of_repo = any(one.of_repo is not None for one in self.criteria)
        return of_repo or self.listed is not None or self._share_seen < SEEN_BY_FEW

    @property
    def wanted(self) -> int:
        """How many ids to find, so that the actor sees a page of them and one more."""
        if self.asks_repo:
            return self.query.limit + 1 - (self.listed or 0)
        expected = (self.query.limit + 1) / self._share_seen
        return math.ceil(expected + SPARE * math.sqrt(expected))

    @property
    def kept(self) -> int:
        """How many ids to find by sorting."""
        return self.wanted if self.asks_repo else math.ceil(self.wanted * SPARE_SORTED)

    def sort_cost(self, start: _Criterion) -> float:
        asked = [one for one in self.criteria if one.of_id is not None and one is not start]
        rows = start.rows * self.share(asked)
        # In random order, the n-th is among the best so far with the chance kept / n.
        places = min(rows, self.kept * (1 + math.log(max(rows / self.kept, 1))))
        row_cost = ROW_COST + (SEEN_COST if self.asks_repo else 0)
        return start.rows * (STEP_COST + self._questions(asked) * ASK_COST) + rows * row_cost + places * PLACE_COST

    @property
    def walk_steps(self) -> float:
        """How far a walk is expected to get before the page is full."""
        met = self.share(self.criteria) * (self._share_seen if self.asks_repo else 1)
        return min(self.wanted / max(met, 1e-9), float(self.total))

    @property
    def step_cost(self) -> float:
        asked = [one for one in self.criteria if one.of_id is not None]
        looks_up = self.asks_repo or len(asked) < len(self.criteria)
        row_cost = ROW_COST_WALKING * self.share(asked) if looks_up else 0
        return STEP_COST + self._questions(asked) * ASK_COST_WALKING + row_cost

    def _questions(self, asked: Sequence[_Criterion]) -> float:
        """How many of these tags an id is asked for: one after the other, as long as the answer is yes."""
        return sum(self.share(asked[:before]) for before in range(len(asked)))


def _listed(connection: Connection, asked: _Asked) -> list[tuple[Known, _Place]]:
    """The page's rows and their places, and one more if there are more."""
    found, all_found = _found(connection, asked)
    listed: list[tuple[Known, _Place]] = []
    for part in (found[: asked.wanted], found[asked.wanted :]):
        if len(listed) <= asked.query.limit:
            listed += _seen_of(connection, asked, part)
    if len(listed) <= asked.query.limit and not all_found and not asked.asks_repo:
        listed += _listed(connection, replace(asked, after=found[-1], listed=len(listed)))
    return listed[: asked.query.limit + 1]


def _seen_of(connection: Connection, asked: _Asked, found: Sequence[_Place]) -> list[tuple[Known, _Place]]:
    """Rows of those that the actor may see, in the order given."""
    if not found:
        return []
    ids = {"ids": _json(sorted([repo_id for repo_id, _ in found]))}
    known = {row[0]: Known(*row) for row in connection.execute(_THESE.where(*_may_see(asked)), ids)}
    return [(known[place[0]], place) for place in found if place[0] in known]


def _found(connection: Connection, asked: _Asked) -> tuple[list[_Place], bool]:
    """Ids with what they are sorted by, in order, as many as wanted or more; and whether these are all."""
    starts = [*asked.criteria, *((asked.seen,) if asked.seen and asked.asks_repo else ())]
    start = min(starts, key=asked.sort_cost, default=None)
    sort_cost = math.inf if start is None else asked.sort_cost(start)
    # A walk that has to be broken off has cost that much more.
    if asked.walk_steps * asked.step_cost * WALK_MARGIN < sort_cost:
        until = None
        # Broken off only for something better: where sorting costs more than walking to the very end, it goes on.
        if start is not None and sort_cost < asked.total * asked.step_cost:
            until = _place(connection, asked, int(asked.walk_steps * WALK_MARGIN) + WALK_STEPS_MIN)
        found = _places(connection, _statement(asked, None, until))
        if until is None or len(found) == asked.wanted:
            return found, len(found) < asked.wanted
    found = _places(connection, _statement(asked, start, None))
    return found, len(found) < asked.kept


def _places(connection: Connection, statement: Select[Any]) -> list[_Place]:
    return [(repo_id, value) for repo_id, value in connection.execute(statement)]


def _place(connection: Connection, asked: _Asked, steps: int) -> _Place | None:
    """Where a walk of so many steps ends; None: all are fewer."""
    by = _SORTED_BY[asked.query.sort]
    order = _order(asked.query, by, standing.c.repo_id)
    walk = select(standing.c.repo_id, by).where(*_within(asked, None)).order_by(*order).limit(1).offset(steps)
    row = connection.execute(walk).first()
    return None if row is None else (row[0], row[1])


def _within(asked: _Asked, until: _Place | None) -> list[ColumnElement[bool]]:
    """The stretch of the sort's index from where the page begins."""
    by = _SORTED_BY[asked.query.sort]
    here = tuple_(by, standing.c.repo_id)
    found: list[ColumnElement[bool]] = [standing.c.type == asked.query.type]
    for place, later in ((asked.after, True), (until, False)):
        if place is not None:
            there = tuple_(literal(place[1], by.type), literal(place[0]))
            found.append(here < there if later == asked.query.descending else here > there)
    return found


def _statement(asked: _Asked, start: _Criterion | None, until: _Place | None) -> Select[Any]:
    """Ids and what they are sorted by, as one SQL text: sort what `start` gives, or (None) walk, up to `until`."""
    query = asked.query
    by = _SORTED_BY[query.sort]
    repo_id: ColumnElement[int] = standing.c.repo_id
    source: FromClause = standing
    if start is not None:
        started = _started(start, query)
        repo_id = started.c.repo_id
        source = _Straight(started, standing, standing.c.repo_id == repo_id)
    conditions = _within(asked, until)
    for one in asked.criteria:
        if one is not start:
            conditions += [one.of_id(repo_id)] if one.of_id is not None else []
            conditions += [question for question in (one.of_row, one.of_repo) if question is not None]
    if asked.asks_repo:
        source = _Straight(source, repo, repo.c.id == standing.c.repo_id)
        conditions += _may_see(asked)
    return (
        select(standing.c.repo_id, by)
        .select_from(source)
        .where(*conditions)
        .order_by(*_order(query, by, standing.c.repo_id))
        .limit(asked.wanted if start is None else asked.kept)
    )


def _started(start: _Criterion, query: Query) -> FromClause:
    """What `start` gives, newest first if that is wanted.

    Sorting keeps the best so far, and ids rise with time: newest last, every single one would be put among the best.
    """
    if start.by_id is None or query.sort not in _RISING_WITH_ID:
        return start.source.subquery()
    # The limit, which is none, keeps SQLite from making one query of both and forgetting the order.
    return start.source.order_by(start.by_id.desc() if query.descending else start.by_id).limit(-1).subquery()


def _may_see(asked: _Asked) -> list[ColumnElement[bool]]:
    """What `repo` must say of every row that is shown."""
    conditions = [repo.c.state == "live", visible(asked.actor, repo.c.private, repo.c.namespace_id)]
    if not asked.actor.is_admin:
        conditions.append(repo.c.disabled.is_(False))
    if asked.query.gated is not None:
        conditions.append(repo.c.gated.is_not(None) if asked.query.gated else repo.c.gated.is_(None))
    return conditions


def _order(query: Query, by: ColumnElement[Any], repo_id: ColumnElement[int]) -> list[ColumnElement[Any]]:
    return [by.desc(), repo_id.desc()] if query.descending else [by, repo_id]


def _criteria(
    connection: Connection, actor: Actor, query: Query
) -> tuple[int, _Criterion | None, tuple[_Criterion, ...]]:
    """How many repos there are; those the actor may see (None: all); and what the query asks for."""
    wanted = _wanted_tags(connection, query)
    mine = [] if actor.is_admin else [of_namespace(one_id) for one_id in sorted(actor.namespace_ids)]
    keys = {PUBLIC, PRIVATE, *wanted, *mine}
    known = {
        key: (tag_id, count)
        for key, tag_id, count in connection.execute(_TAGS, {"of_type": query.type, "of_keys": sorted(keys)})
    }
    # A tag that nobody has is asked for all the same, as number 0: no answer is quicker for what does not exist.
    criteria = [_tagged(*known.get(key, (0, 0))) for key in wanted]
    total = sum(known.get(key, (0, 0))[1] for key in (PUBLIC, PRIVATE))
    criteria += _searched(connection, query)
    if query.parameters_min is not None or query.parameters_max is not None:
        criteria.append(_sized(connection, query))
    if query.liked_by is not None:
        criteria.append(_liked(connection, query.liked_by))
    seen = None if actor.is_admin else _seen(total, [known[key] for key in (PUBLIC, *mine) if key in known])
    # The rarest is asked first.
    return total, seen, tuple(sorted(criteria, key=lambda one: one.rows))


def _wanted_tags(connection: Connection, query: Query) -> list[str]:
    wanted = [text.lower() for text in query.tags]
    if query.author is not None:
        wanted.append(of_namespace(_namespace_id(connection, query.author)))
    if query.pipeline_tag is not None:
        wanted.append(of_pipeline(query.pipeline_tag))
    if query.library is not None:
        wanted.append(of_library(query.library))
    wanted += [of_use("model", name) for name in query.models]
    wanted += [of_use("dataset", name) for name in query.datasets]
    if query.linked:
        wanted.append(LINKED)
    if query.gated:
        wanted.append(GATED)
    return list(dict.fromkeys(wanted))


def _namespace_id(connection: Connection, author: str) -> int:
    """Also by a name that a namespace had before; -1 for a name that nobody has."""
    row = connection.execute(_NAMESPACE, {"of_key": names.key(author)}).first()
    for _ in range(RENAMES_FOLLOWED_MAX):
        if row is None or row.moved_to is None or row.state == "live":
            break
        row = connection.execute(_MOVED_TO, {"of_id": row.moved_to}).first()
    return -1 if row is None else row.id


def _tagged(tag_id: int, count: int) -> _Criterion:
    first = literal(tag_id << POSTING_SHIFT)
    return _Criterion(
        count, _range(tag_id), lambda repo_id: (first + repo_id).in_(select(posting.c.id)), by_id=posting.c.id
    )


def _range(tag_id: int) -> Select[Any]:
    first = tag_id << POSTING_SHIFT
    one_range = posting.c.id.between(first, first + (1 << POSTING_SHIFT) - 1)
    return select((posting.c.id - literal(first)).label("repo_id")).where(one_range)


def _seen(total: int, known: list[tuple[int, int]]) -> _Criterion:
    """All that the actor can see, roughly: only a place to start from, since `visible` is always asked as well."""
    ranges = [_range(tag_id) for tag_id, _ in known] or [_range(0)]
    # What is public and what is his overlap: most of his own is public too.
    hidden = math.prod(1 - min(count / max(total, 1), 1.0) for _, count in known)
    return _Criterion(math.ceil(total * (1 - hidden)), ranges[0] if len(ranges) == 1 else union(*ranges))


def _searched(connection: Connection, query: Query) -> list[_Criterion]:
    terms: list[str] = []
    for term in query.search.lower().split():
        # Words begin after separators, so that a short term has none: "7-" is "7".
        terms += [term] if len(term) >= TRIGRAM else _words(term)
    if not terms:
        return []
    tests = [
        func.instr(repo.c.key, term) > 0 if len(term) >= TRIGRAM else func.instr(_separated(), "/" + term) > 0
        for term in terms
    ]
    words = " AND ".join(_match(term) for term in terms)
    matching: Select[Any] = select(catalog_search.c.rowid.label("repo_id")).where(_MATCH(literal(words)))
    few = matching.limit(IDS_KEPT_MAX + 1).subquery()
    rows, ids = connection.execute(select(func.count(), func.json_group_array(few.c.repo_id))).one()
    if rows <= IDS_KEPT_MAX:
        listed = func.json_each(ids).table_valued("value")
        matching = select(listed.c.value.label("repo_id"))
        return [_Criterion(rows, matching, lambda repo_id: repo_id.in_(matching))]
    rows = _count(connection, matching)
    if rows < NOT_RARE:
        return [_Criterion(rows, matching, lambda repo_id: repo_id.in_(matching), by_id=catalog_search.c.rowid)]
    # So common that most rows can be asked themselves sooner than all matches are gathered.
    return [_Criterion(rows, matching, of_repo=and_(*tests))]


def _count(connection: Connection, criterion: Select[Any]) -> int:
    """How many rows meet it; NOT_RARE if they are too many to count."""
    counted = select(func.count()).select_from(criterion.limit(COUNTED_MAX).subquery())
    rows: int = connection.execute(counted).scalar_one()
    return rows if rows < COUNTED_MAX else NOT_RARE


def _separated() -> Any:
    """The name with every word after a slash, as `_words` cuts it."""
    key: Any = repo.c.key
    for separator in "-_.":
        key = func.replace(key, separator, "/")
    return literal("/") + key


def _match(term: str) -> str:
    """FTS5's words for: this term occurs. Quoted, so that nothing in it is an operator."""
    if len(term) >= TRIGRAM:
        return f'name: "{term.replace(chr(34), chr(34) * 2)}"'
    return f'starts: "{" " * (TRIGRAM - len(term))}{term.replace(chr(34), chr(34) * 2)}"'


def _sized(connection: Connection, query: Query) -> _Criterion:
    other = standing.alias()

    def within(column: ColumnElement[Any]) -> ColumnElement[bool]:
        low = [column >= query.parameters_min] if query.parameters_min is not None else []
        high = [column <= query.parameters_max] if query.parameters_max is not None else []
        return and_(*low, *high)

    sized = select(other.c.repo_id).where(other.c.type == query.type, within(other.c.parameters))
    rows = _count(connection, sized)
    # `+ 0`: as a question only, so that SQLite does not walk this index instead of the sort's.
    return _Criterion(rows, sized, of_row=within(standing.c.parameters + 0))


def _liked(connection: Connection, user_id: int) -> _Criterion:
    liked = select(like.c.repo_id).where(like.c.user_id == user_id)
    rows = _count(connection, liked)
    return _Criterion(rows, liked, lambda repo_id: repo_id.in_(liked))


def _json(ids: Sequence[int]) -> str:
    return msgspec.json.encode(ids).decode()


def _check(query: Query) -> None:
    if query.sort not in SORTS:
        raise Invalid(f"sort: {str(query.sort)[:40]!r} is not one of {', '.join(SORTS)}")
    if not 1 <= query.limit <= LIMIT_MAX:
        raise Invalid(f"limit: {query.limit} must be 1 to {LIMIT_MAX}")
    if len(query.search) > SEARCH_CHARS_MAX or len(query.search.split()) > TERMS_MAX:
        raise Invalid(f"search: must have at most {SEARCH_CHARS_MAX} characters and {TERMS_MAX} words")
    texts = [*query.tags, *query.models, *query.datasets]
    texts += [text for text in (query.author, query.pipeline_tag, query.library) if text is not None]
    if len(texts) > FILTERS_MAX:
        raise Invalid(f"filter: {len(texts)} conditions are over the limit of {FILTERS_MAX}")
    for text in (*texts, *query.search.split()):
        # Also keeps MARK and half surrogate pairs away from the database.
        if len(text) > FILTER_CHARS_MAX or not text.isprintable():
            raise Invalid(f"filter: {text[:80]!a} must be printable and at most {FILTER_CHARS_MAX} characters")
    for size in (query.parameters_min, query.parameters_max):
        if size is not None and not 0 <= size < 1 << 63:
            raise Invalid(f"num_parameters: {size} is out of range")


def _fingerprint(query: Query) -> str:
    """Ties a cursor to its list: with another sort or filter it would mean nothing."""
    same = msgspec.structs.replace(query, cursor=None, limit=1)
    return hashlib.blake2b(msgspec.json.encode(same), digest_size=6, person=b"hw-cursor").hexdigest()


def _cursor(query: Query, repo_id: int, value: float) -> str:
    place = msgspec.json.encode([value, repo_id, _fingerprint(query)])
    return base64.urlsafe_b64encode(place).decode().rstrip("=")


def _after(query: Query) -> _Place | None:
    """Where the page begins: after this value of what is sorted by, and this repo."""
    if query.cursor is None:
        return None
    padded = query.cursor[:CURSOR_CHARS_MAX] + "=" * (-len(query.cursor) % 4)
    try:
        place = base64.b64decode(padded, altchars=b"-_", validate=True)
        value, repo_id, fingerprint = msgspec.json.decode(place, type=tuple[int | float, int, str])
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise Invalid("cursor: it is not one that this hub gave out") from None
    if fingerprint != _fingerprint(query) or not 0 <= repo_id < 1 << 32 or not abs(value) < 1 << 62:
        raise Invalid("cursor: it belongs to another list; begin again without it")
    return repo_id, value
