"""Search and pages over repos; the tags there are."""

from __future__ import annotations

import re
from typing import Any

from headwater.catalog import search
from headwater.catalog.search import Extra, Known, Query, Sort
from headwater.front import opening
from headwater.front.answer import Answer, json
from headwater.front.hub import info, shapes
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground import names
from headwater.ground.errors import Invalid, NotOffered
from headwater.ground.names import CommitId, RepoType

LIMIT = 1000  # of a page when the client does not say: the Hub's own
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
    page = search.search(rooms.db, request.actor, _query(rooms, request, kind))
    wanted = fields or _fields(request, kind)
    extras = _extras(rooms, page.rows) if wanted & {"cardData", "gguf", "model-index", "description"} else {}
    shown = [shapes.repo_json(_shown(rooms, row, extras.get(row.id)), wanted) for row in page.rows]
    return json(shown, headers=opening.next_link(request, page.next) if page.next else None)


def _kind(plural: str) -> RepoType:
    if plural not in ("models", "datasets", "spaces"):
        raise NotOffered(f"/api/{plural[:40]} is not offered by this version")
    return names.repo_type(plural)


def _fields(request: Request, kind: RepoType) -> frozenset[str]:
    fields = set(shapes.LISTED)
    if request.flag("full"):
        fields |= {"siblings", "lastModified", "sha", "gated"}
    if request.flag("cardData"):
        fields.add("cardData")
    if request.flag("config"):
        fields.add("config")
    if kind != "dataset":
        fields.discard("description")
    return frozenset(fields) & {*shapes.EXPANDABLE[kind], "sdk"}


def _query(rooms: Rooms, request: Request, kind: RepoType) -> Query:
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
        descending=request.arg("direction", "-1") in ("-1", "desc"),
        limit=request.number("limit", LIMIT, LIMIT),
        cursor=request.arg("cursor") or None,
    )


def _apps(request: Request) -> tuple[str, ...]:
    asked = request.args("apps")
    unknown = [app for app in asked if app.lower() not in _GGUF_APPS]
    if unknown:
        raise NotOffered(f"apps={unknown[0][:40]} can't be answered here; filter by tag or library instead", status=501)
    return ("gguf",) if asked else ()


def _gated(written: str) -> bool | None:
    return None if not written else written.lower() in ("true", "1", "auto", "manual")


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


def _shown(rooms: Rooms, row: Known, extra: Extra | None) -> shapes.Shown:
    def siblings() -> list[dict[str, Any]]:
        if not row.sha:
            return []
        return info.siblings(rooms, rooms.repos.registry.by_id(row.id), CommitId(row.sha))

    return shapes.Shown(row, row.sha, lambda: extra, siblings, rooms.clock.now_ms())


def space_templates(rooms: Rooms, request: Request) -> Answer:
    """The Hub's own templates are spaces there, and none of them is here."""
    return json({"templates": []})


def semantic_search(rooms: Rooms, request: Request) -> Answer:
    raise NotOffered("Search by meaning is not offered; /api/spaces?search= looks for words", status=501)


def model_tags(rooms: Rooms, request: Request) -> Answer:
    return json(rooms.tags.by_type("model"))


def dataset_tags(rooms: Rooms, request: Request) -> Answer:
    return json(rooms.tags.by_type("dataset"))
