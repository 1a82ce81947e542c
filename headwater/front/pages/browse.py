"""Pages that list: home, models, data sets, spaces; what a person or an organization has.

Everything shown comes from `catalog.search`, which leaves out what the viewer may not see. Refuses to know what is in
a repo: `repository`.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from headwater.catalog import search
from headwater.catalog.search import Known, Query, Sort
from headwater.front.answer import Answer
from headwater.front.pages import frame, render, repository
from headwater.front.pages.present import (
    Choice,
    Facet,
    ListPage,
    Pager,
    ProfilePage,
    RepoRow,
    task_title,
    with_query,
)
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground import names
from headwater.ground.errors import EntryMissing, HeadwaterError
from headwater.ground.names import REPO_TYPES, RepoId, RepoType

ROWS = 30
PROFILE_ROWS = 12
FACET_OPTIONS = 8
SEARCH_WORDS_MAX = search.TERMS_MAX

_SORTS: tuple[tuple[str, str, Sort], ...] = (
    ("trending", "Trending", "trendingScore"),
    ("downloads", "Downloads", "downloads"),
    ("likes", "Likes", "likes"),
    ("created", "Created", "createdAt"),
    ("updated", "Updated", "lastModified"),
)


@dataclass(frozen=True, slots=True)
class _Filter:
    """A parameter of the address, and the tag it asks for: `prefix` before the value."""

    name: str
    title: str
    prefix: str
    sort_of_tag: str  # as `catalog.tags` sorts them; empty: never offered, only kept when given


_FILTERS: dict[RepoType, tuple[_Filter, ...]] = {
    "model": (
        _Filter("pipeline_tag", "Task", "", "pipeline_tag"),
        _Filter("library", "Library", "", "library"),
        _Filter("license", "Licence", "license:", "license"),
        _Filter("other", "Tag", "", ""),
    ),
    "dataset": (
        _Filter("task_categories", "Task", "task_categories:", "task_categories"),
        _Filter("size_categories", "Size", "size_categories:", "size_categories"),
        _Filter("license", "Licence", "license:", "license"),
        _Filter("other", "Tag", "", ""),
    ),
    "space": (
        _Filter("license", "Licence", "license:", "license"),
        _Filter("other", "Tag", "", ""),
    ),
}


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the address asks for: `chosen` maps a filter's name to its value."""

    kind: RepoType
    search: str
    sort: str
    author: str
    chosen: dict[str, str]

    @property
    def plain(self) -> bool:
        return not (self.search or self.author or self.chosen)

    @property
    def carried(self) -> tuple[tuple[str, str], ...]:
        """What a new search keeps."""
        sort = "" if self.sort == _SORTS[0][0] else self.sort
        pairs = (("author", self.author), *self.chosen.items(), ("sort", sort))
        return tuple((name, value) for name, value in pairs if value)

    def href(self, cursor: str = "", **changes: str) -> str:
        """The same list with other choices; an empty one is taken back."""
        pairs = {"search": self.search, "author": self.author, **self.chosen, "sort": self.sort, **changes}
        if pairs["sort"] == _SORTS[0][0]:
            del pairs["sort"]
        return with_query(f"/{self.kind}s", [*pairs.items(), ("cursor", cursor)])


def listing(rooms: Rooms, request: Request) -> Answer:
    """The home page, too: it lists the models."""
    asked = _asked(request)
    cursor = request.arg("cursor")
    found = search.search(
        rooms.db,
        request.actor,
        Query(
            type=asked.kind,
            search=asked.search,
            author=asked.author or None,
            tags=tuple(one.prefix + asked.chosen[one.name] for one in _FILTERS[asked.kind] if one.name in asked.chosen),
            sort=next(sort for name, _, sort in _SORTS if name == asked.sort),
            limit=ROWS,
            cursor=cursor or None,
        ),
    )
    page = ListPage(
        kind=asked.kind,
        rows=tuple(row_of(known) for known in found.rows),
        search=asked.search,
        hidden=asked.carried,
        sorts=tuple(Choice(title, asked.href(sort=name), name == asked.sort) for name, title, _ in _SORTS),
        facets=_facets(rooms, asked),
        total=len(found.rows) if found.next is None and not cursor else None,
        pager=Pager(asked.href() if cursor else "", asked.href(found.next) if found.next else ""),
        new_hub=not found.rows and asked.plain and not cursor,
        clear="" if asked.plain else f"/{asked.kind}s",
    )
    return frame.shown(render.render_list(frame.site(rooms, request), page))


def _asked(request: Request) -> _Asked:
    kind = names.repo_type(request.params["type"])
    words = request.arg("search").split()[:SEARCH_WORDS_MAX]
    chosen = {one.name: value for one in _FILTERS[kind] if (value := request.arg(one.name))}
    sort = request.arg("sort")
    return _Asked(
        kind,
        " ".join(words)[: search.SEARCH_CHARS_MAX],
        sort if any(sort == name for name, _, _ in _SORTS) else _SORTS[0][0],
        request.arg("author"),
        chosen,
    )


def _facets(rooms: Rooms, asked: _Asked) -> tuple[Facet, ...]:
    """The most used tags of each sort; one that is chosen is always among them."""
    known = rooms.tags.by_type(asked.kind)
    made: list[Facet] = []
    for one in _FILTERS[asked.kind]:
        chosen = asked.chosen.get(one.name, "")
        offered = [tag.id.removeprefix(one.prefix) for tag in known.get(one.sort_of_tag, [])[:FACET_OPTIONS]]
        if chosen and chosen not in offered:
            offered = [chosen, *offered[: FACET_OPTIONS - 1]]
        if not offered:
            continue
        options = tuple(
            Choice(
                task_title(value) if one.title == "Task" else value,
                asked.href(**{one.name: "" if value == chosen else value}),
                value == chosen,
            )
            for value in offered
        )
        made.append(Facet(one.title, options, chosen, asked.href(**{one.name: ""}) if chosen else ""))
    if asked.author:
        clear = asked.href(author="")
        made.insert(0, Facet("Owner", (Choice(asked.author, clear, active=True),), asked.author, clear))
    return tuple(made)


def row_of(known: Known) -> RepoRow:
    tags: list[str] = msgspec.json.decode(known.tags)
    kind = names.repo_type(known.type)
    tasks = [tag.removeprefix("task_categories:") for tag in tags if tag.startswith("task_categories:")]
    return RepoRow(
        rid=RepoId(kind, known.namespace, known.name),
        updated_ms=known.modified_ms,
        private=known.private,
        gated=known.gated,
        pipeline=known.pipeline_tag or (tasks[0] if tasks else ""),
        library=known.library_name or "",
        licence=next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), ""),
        sdk=known.sdk or "",
        parameters=known.parameters,
        downloads=known.downloads,
        likes=known.likes,
    )


def namespace(rooms: Rooms, request: Request) -> Answer:
    """A person's or an organization's page; or the page of a repo that has no namespace, for both are `/{name}`."""
    try:
        name = names.name(request.params["name"])
        found = rooms.accounts.profile(name)
    except HeadwaterError as error:
        if not isinstance(error, EntryMissing):
            raise
        request.params["type"] = "model"
        return repository.card(rooms, request)
    space = found.namespace
    if space.name != name:
        return frame.see(rooms, f"/{space.name}", 307)
    groups: list[tuple[RepoType, tuple[RepoRow, ...], str]] = []
    for kind in REPO_TYPES:
        query = Query(type=kind, author=space.name, sort="lastModified", limit=PROFILE_ROWS)
        page = search.search(rooms.db, request.actor, query)
        more = with_query(f"/{kind}s", [("author", space.name), ("sort", "updated")]) if page.next else ""
        groups.append((kind, tuple(row_of(known) for known in page.rows), more))
    shown = ProfilePage(
        name=space.name,
        fullname=space.fullname,
        kind=space.kind,
        groups=tuple(groups),
        members=tuple((one.name, one.role) for one in found.memberships),
        since_ms=found.created_ms,
        own=request.actor.signed_in and request.actor.user_id == space.id,
    )
    return frame.shown(render.render_profile(frame.site(rooms, request), shown))
