"""Search and pages over repos; the tags there are."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial
from typing import TypeVar

from headwater.accounts.actor import Actor
from headwater.catalog import search, uses
from headwater.catalog.cards import Card
from headwater.catalog.search import Extra, Known, Query, Sort
from headwater.front import opening
from headwater.front.answer import Answer, json
from headwater.front.hub import info, shapes
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground import names
from headwater.ground.errors import Invalid, NotOffered, RepoMissing, RevisionMissing
from headwater.ground.names import CommitId, RepoType
from headwater.repos import Repo

_Read = TypeVar("_Read")

LIMIT = 1000  # of a page when the client does not say: the Hub's own
_READ = frozenset({"siblings", "description", "citation", "spaces", "childrenModelCount"})
_READ_LIMIT = 100  # of a page with what has to be read repo by repo; clients follow the link to the next
_SORTS: dict[str, Sort] = {
    "trendingScore": "trendingScore", "trending_score": "trendingScore", "trending": "trendingScore",
    "lastModified": "lastModified", "last_modified": "lastModified", "modified": "lastModified",
    "createdAt": "createdAt", "created_at": "createdAt", "created": "createdAt",
    "downloads": "downloads", "likes": "likes",
}  # fmt: skip
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)([KMBT]?)\Z", re.IGNORECASE)
# Local apps that run GGUF files; what others need is not known from a repo alone.
_GGUF_APPS = frozenset({"llama.cpp", "ollama", "lmstudio", "jan", "gpt4all", "koboldcpp", "msty", "ramalama"})


def listing(rooms: Rooms, request: Request) -> Answer:
    kind = _kind(request.params["type"])
    fields = shapes.expanded(request, kind)
    if request.arg("inference") or request.args("inference_provider"):
        return json([])  # no inference is served from here, so nothing matches
    wanted = fields or _fields(request, kind)
    page = search.search(rooms.db, request.actor, _query(request, kind, _READ_LIMIT if wanted & _READ else LIMIT))
    extras = cache(partial(_extras, rooms, page.rows))
    shown = [shapes.repo_json(_shown(rooms, request.actor, row, extras), wanted) for row in page.rows]
    return json(shown, headers=opening.next_link(request, page.next) if page.next else None)


def _kind(plural: str) -> RepoType:
    if plural not in ("models", "datasets", "spaces"):
        raise NotOffered(f"/api/{plural[:40]} is not offered by this version")
    return names.repo_type(plural)


def _fields(request: Request, kind: RepoType) -> frozenset[str]:
    fields = set(shapes.LISTED)
    if request.flag("full"):
        fields |= shapes.FULL[kind]
    if request.flag("cardData"):
        fields.add("cardData")
    if request.flag("config"):
        fields.add("config")
    return frozenset(fields) & {*shapes.EXPANDABLE[kind], "sdk"}


def _query(request: Request, kind: RepoType, limit: int) -> Query:
    sort = request.arg("sort") or "trendingScore"
    if sort not in _SORTS:
        raise Invalid(f'"sort" must be one of [{", ".join(sorted(set(_SORTS.values())))}]; got {sort[:40]!r}')
    low, high = _parameters(request.arg("num_parameters"))
    pipeline, library = request.arg("pipeline_tag"), request.args("library")
    return Query(
        type=kind,
        # huggingface_hub 2 sends one for each of its own arguments: all must be found
        search=" ".join(value for key, value in request.query if key == "search"),
        author=request.arg("author") or None,
        tags=(*request.args("filter"), *request.args("tags"), *library[1:], *_apps(request)),
        pipeline_tag=pipeline or None,
        library=library[0] if library else None,
        gated=_gated(request.arg("gated")),
        models=tuple(request.args("models")),
        datasets=tuple(request.args("datasets")),
        parameters_min=low,
        parameters_max=high,
        sort=_SORTS[sort],
        linked=request.flag("linked"),
        descending=_descending(request.arg("direction")),
        limit=request.number("limit", limit, limit),
        cursor=request.arg("cursor") or None,
    )


def _apps(request: Request) -> tuple[str, ...]:
    asked = request.args("apps")
    unknown = [app for app in asked if app.lower() not in _GGUF_APPS]
    if unknown:
        raise NotOffered(f"apps={unknown[0][:40]} can't be answered here; filter by tag or library instead", status=501)
    return ("gguf",) if asked else ()


_YES, _NO = ("true", "1", "auto", "manual"), ("false", "0")
_DOWN, _UP = ("", "-1", "desc"), ("1", "asc")


def _gated(written: str) -> bool | None:
    if written and written.lower() not in _YES + _NO:
        raise Invalid(f"gated: {written[:40]!r} is not true or false")
    return written.lower() in _YES if written else None


def _descending(written: str) -> bool:
    if written not in _DOWN + _UP:
        raise Invalid(f"direction: {written[:40]!r} is not -1 (the largest first) or 1")
    return written in _DOWN


def _parameters(written: str) -> tuple[int | None, int | None]:
    """`min:6B,max:128B` -> whole numbers."""
    found: dict[str, int] = {}
    for part in filter(None, written.split(",")):
        which, _, size = part.partition(":")
        match = _SIZE.match(size.strip())
        if which not in ("min", "max") or match is None:
            raise Invalid(f"num_parameters: {written[:60]!r} is not of the form min:6B,max:128B")
        found[which] = int(float(match.group(1)) * _UNITS[match.group(2).upper()])
    return found.get("min"), found.get("max")


def _extras(rooms: Rooms, rows: list[Known]) -> dict[int, Extra]:
    with rooms.db.read() as connection:
        return search.extras(connection, [row.id for row in rows])


def _shown(rooms: Rooms, actor: Actor, row: Known, extras: Callable[[], dict[int, Extra]]) -> shapes.Shown:
    def read(what: Callable[[Rooms, Repo, CommitId], _Read]) -> _Read | None:
        """Of the commit that the catalog has read. A repo that was deleted meanwhile must not spoil the whole list."""
        try:
            return what(rooms, rooms.repos.registry.by_id(row.id), CommitId(row.sha))
        except (RepoMissing, RevisionMissing):
            return None

    return shapes.Shown(
        row,
        row.sha,
        extra=lambda: extras().get(row.id),
        siblings=lambda: read(info.siblings) if row.sha else [],
        readme=lambda: (read(info.readme) if row.sha else None) or Card({}, "", ()),
        spaces=lambda: uses.spaces(rooms.db, actor, row.full_name),
        children=lambda: uses.children(rooms.db, actor, row.full_name),
        now_ms=rooms.clock.now_ms(),
    )


def space_templates(rooms: Rooms, request: Request) -> Answer:
    """The Hub's own templates are spaces there, and none of them is here."""
    return json({"templates": []})


def semantic_search(rooms: Rooms, request: Request) -> Answer:
    raise NotOffered("Search by meaning is not offered; /api/spaces?search= looks for words", status=501)


def no_hardware(rooms: Rooms, request: Request) -> Answer:
    raise NotOffered("This hub runs no spaces, so there is no hardware to choose", status=501)


def model_tags(rooms: Rooms, request: Request) -> Answer:
    return json(rooms.tags.by_type("model"))


def dataset_tags(rooms: Rooms, request: Request) -> Answer:
    return json(rooms.tags.by_type("dataset"))
