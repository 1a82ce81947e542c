"""Listings of a revision: tree, paths-info, commits, compare; the headers of safetensors files."""

from __future__ import annotations

from typing import Any

import msgspec

from headwater.catalog.pulls import is_weights
from headwater.front import opening
from headwater.front.answer import Answer, json, text
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground import names
from headwater.ground.clock import iso
from headwater.ground.errors import EntryMissing, Invalid, TooMuch
from headwater.ground.names import CommitId, FilePath
from headwater.repos import Commit, Entry, Repo
from headwater.tensors import safetensors

PAGE_MAX = 1000  # entries a page; the Hub's own size
EXPANDED_PAGE_MAX = 100  # with the last commit of each entry, which costs a walk
PATHS_MAX = 10_000
SHARDS_MAX = 2000  # the largest model seen has 500
COMMITS_PAGE = 50
COMMITS_PAGE_MAX = 1000


def listing(rooms: Rooms, request: Request) -> Answer:
    found = opening.contents(rooms, request)
    commit = opening.revision(rooms, request, found)
    folder = opening.folder(request, commit)
    expand = request.flag("expand")
    most = EXPANDED_PAGE_MAX if expand else PAGE_MAX
    page = rooms.repos.tree.listing(
        found,
        commit,
        folder,
        recursive=request.flag("recursive"),
        after=request.arg("cursor") or None,
        limit=request.number("limit", most, most),
        soon_read=True,
    )
    headers = {"X-Repo-Commit": commit, **(opening.next_link(request, page.next) if page.next else {})}
    return json(_shown(rooms, found, commit, page.entries, expand=expand), headers=headers)


def paths_info(rooms: Rooms, request: Request) -> Answer:
    found = opening.contents(rooms, request)
    commit = opening.revision(rooms, request, found)
    kind = request.headers.get("content-type", "")
    if kind.startswith("multipart/"):
        raise Invalid(f"{kind[:40]}: send the paths as application/x-www-form-urlencoded or as JSON", status=415)
    form = request.form()
    asked = [value for key, value in form if key in ("paths", "paths[]")]
    if len(asked) > PATHS_MAX:
        raise TooMuch(f"paths: {len(asked)} at once; at most {PATHS_MAX}")
    expand = any(key == "expand" and value.lower() in ("true", "1") for key, value in form)
    paths = [path for one in asked if (path := opening.storable(one.strip("/"))) is not None]
    entries = rooms.repos.tree.paths_info(found, commit, paths)
    return json(_shown(rooms, found, commit, entries, expand=expand), headers={"X-Repo-Commit": commit})


def _shown(rooms: Rooms, found: Repo, commit: CommitId, entries: list[Entry], *, expand: bool) -> list[dict[str, Any]]:
    last = rooms.repos.tree.last_commits(found, commit, [entry.path for entry in entries]) if expand else {}
    for entry in entries:
        # A client that was told a file's Xet hash here fetches it without naming it again.
        if entry.sha256 is not None and not is_weights(found.rid.type, entry.path):
            rooms.counts.pulls.no_weights(entry.sha256)
    return [entry_json(rooms, entry, last.get(entry.path), expand=expand) for entry in entries]


def entry_json(rooms: Rooms, entry: Entry, last: Commit | None, *, expand: bool = False) -> dict[str, Any]:
    """One entry as tree and paths-info show it."""
    if entry.kind == "directory":
        shown: dict[str, Any] = {"type": "directory", "oid": entry.oid, "size": 0, "path": entry.path}
    else:
        shown = {"type": "file", "oid": entry.oid, "size": entry.size, "path": entry.path}
    if entry.sha256 is not None:
        shown["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
        blob = rooms.store.find(entry.sha256)
        if blob is not None:
            shown["xetHash"] = blob.xet_hash
    if expand and last is not None:
        shown["lastCommit"] = {"id": last.id, "title": last.title, "date": iso(last.at_ms)}
    if expand and entry.kind == "file":
        # not scanned is not safe: no verdict is given
        shown["securityFileStatus"] = {"status": "unscanned", "avScan": None, "pickleImportScan": None}
    return shown


def commits(rooms: Rooms, request: Request) -> Answer:
    found = opening.contents(rooms, request)
    cursor = request.arg("cursor")
    page = rooms.repos.refs.commits(
        found,
        request.params.get("rev") or "main",
        after=names.commit_id(cursor) if cursor else None,
        limit=request.number("limit", COMMITS_PAGE, COMMITS_PAGE_MAX),
    )
    formatted = "formatted" in request.args("expand")
    return json(
        [_commit_json(commit, formatted=formatted) for commit in page.commits],
        headers={
            "X-Total-Count": str(rooms.repos.refs.count(found, request.params.get("rev") or "main")),
            **(opening.next_link(request, page.next) if page.next else {}),
        },
    )


def _commit_json(commit: Commit, *, formatted: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": commit.id,
        "title": commit.title,
        "message": commit.message,
        "date": iso(commit.at_ms),
        "authors": [{"user": commit.author_name}],
        "parents": list(commit.parents),
    }
    if formatted:
        shown["formatted"] = {"title": _escaped(commit.title), "message": _escaped(commit.message)}
    return shown


def _escaped(words: str) -> str:
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def compare(rooms: Rooms, request: Request) -> Answer:
    found = opening.contents(rooms, request)
    first, dots, second = request.params["range"].partition("..")
    if not dots:
        raise Invalid("compare: the address must be .../compare/A..B")
    return text(rooms.repos.refs.compare(found, first, second.lstrip(".")))


def safetensors_metadata(rooms: Rooms, request: Request) -> Answer:
    """The headers of a safetensors file, or of all the shards that an index names.

    `index` is there in both cases, because clients read it, and without its weight map, which the headers repeat.
    """
    found = opening.contents(rooms, request)
    commit = opening.revision(rooms, request, found)
    path = opening.path(request, commit)
    index: dict[str, Any] = {}
    shards = [str(path)]
    if path.endswith(".index.json"):
        index = _small_json(rooms, found, commit, path)
        folder = path.rpartition("/")[0]
        named = index.pop("weight_map", None)
        listed = sorted({str(shard) for shard in named.values()}) if isinstance(named, dict) else []
        if not listed or len(listed) > SHARDS_MAX:
            raise Invalid(f"{path} is no index of at most {SHARDS_MAX} safetensors shards", status=422)
        shards = [f"{folder}/{shard}" if folder else shard for shard in listed]
    headers = {shard: _header(rooms, found, commit, shard) for shard in shards}
    return json({"index": index, "headers": headers}, headers={"X-Repo-Commit": commit})


def _small_json(rooms: Rooms, found: Repo, commit: CommitId, path: FilePath) -> dict[str, Any]:
    entry = rooms.repos.tree.entry(found, commit, path)
    if entry.sha256 is not None or entry.kind != "file":
        raise Invalid(f"{path} is too large to be an index", status=422)
    try:
        value = msgspec.json.decode(rooms.repos.tree.read_inline(found, entry))
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid(f"{path} is not valid JSON", status=422) from error
    return value if isinstance(value, dict) else {}


def _header(rooms: Rooms, found: Repo, commit: CommitId, path: str) -> dict[str, Any]:
    entry = rooms.repos.tree.entry(found, commit, names.file_path(path))
    if entry.sha256 is None:
        if entry.kind != "file":
            raise EntryMissing(path, commit)
        data = rooms.repos.tree.read_inline(found, entry)
        return safetensors.read_header(lambda start, stop: data[start:stop], len(data)).header_json
    sha256 = entry.sha256
    return safetensors.read_header(
        lambda start, stop: b"".join(rooms.store.read(sha256, start, stop)), entry.size
    ).header_json
