"""What nearly every handler begins with: the repo, the revision and the path that the address names."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlencode

from headwater.accounts.actor import Want
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground import names
from headwater.ground.errors import EntryMissing, Invalid
from headwater.ground.names import CommitId, FilePath
from headwater.repos import Repo
from headwater.repos.tree import PATH_CHARS_TOLD


def repo(rooms: Rooms, request: Request, want: Want = "read") -> Repo:
    """The repo, if this actor may do what he wants with it."""
    return rooms.repos.registry.open(request.actor, request.repo_id(), want)


def changing(rooms: Rooms, request: Request) -> Repo:
    """The repo, if this actor may commit to the revision in the address.

    Who may write to it, or whose pull request the revision is; and with `create_pr` whoever sees the repo.
    """
    found, actor = repo(rooms, request), request.actor
    if request.flag("create_pr") or actor.may_write(namespace_id=found.namespace_id, creator_id=found.creator_id):
        return found
    if rooms.repos.pull_requests.is_own(actor, found, request.params["rev"]):
        return found
    return repo(rooms, request, "write")  # which says what is missing


def contents(rooms: Rooms, request: Request) -> Repo:
    """The repo, if this actor may read its files (a gated repo's name and card are open, its files are not)."""
    found = repo(rooms, request)
    rooms.repos.registry.admit_content(request.actor, found)
    return found


def revision(rooms: Rooms, request: Request, found: Repo) -> CommitId:
    return rooms.repos.refs.resolve(found, request.params.get("rev") or "main")


def path(request: Request, commit: CommitId) -> FilePath:
    """The file that the address names. EntryMissing for what no repo can hold, as for what this one does not hold."""
    return readable(request.params["path"], commit)


def folder(request: Request, commit: CommitId) -> FilePath | Literal[""]:
    """The file or folder that the address names, '' for the top; EntryMissing as in `path`."""
    written = request.params.get("path", "").strip("/")
    return readable(written, commit) if written else ""


def readable(written: str, commit: CommitId) -> FilePath:
    found = storable(written)
    if found is None:
        raise EntryMissing(written[:PATH_CHARS_TOLD], commit)
    return found


def storable(written: str) -> FilePath | None:
    """The path, if a repo can hold it: whoever only reads is told of no rule, but that nothing is there."""
    try:
        return names.file_path(written)
    except Invalid:
        return None


def url(rooms: Rooms, found: Repo) -> str:
    """The page of a repo, as clients parse it."""
    return f"{rooms.settings.base_url}{found.rid.url_path}"


def next_link(request: Request, cursor: str) -> dict[str, str]:
    """The Link header of a page that is not the last; absolute, as clients require."""
    kept = [(name, value) for name, value in request.query if name != "cursor"]
    address = f"{request.base_url}{request.raw_path}?{urlencode([*kept, ('cursor', cursor)])}"
    return {"Link": f'<{address}>; rel="next"'}
