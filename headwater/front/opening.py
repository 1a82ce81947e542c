"""What nearly every handler begins with: the repo, the revision and the path that the address names."""

from __future__ import annotations

from urllib.parse import urlencode

from headwater.accounts.actor import Want
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground import names
from headwater.ground.names import CommitId, FilePath
from headwater.repos import Repo


def repo(rooms: Rooms, request: Request, want: Want = "read") -> Repo:
    """The repo, if this actor may do what he wants with it."""
    return rooms.repos.registry.open(request.actor, request.repo_id(), want)


def contents(rooms: Rooms, request: Request) -> Repo:
    """The repo, if this actor may read its files (a gated repo's name and card are open, its files are not)."""
    found = repo(rooms, request)
    rooms.repos.registry.admit_content(request.actor, found)
    return found


def revision(rooms: Rooms, request: Request, found: Repo) -> CommitId:
    return rooms.repos.refs.resolve(found, request.params.get("rev") or "main")


def path(request: Request) -> FilePath:
    return names.file_path(request.params["path"])


def url(rooms: Rooms, found: Repo) -> str:
    """The page of a repo, as clients parse it."""
    return f"{rooms.settings.base_url}{found.rid.url_path}"


def next_link(request: Request, cursor: str) -> dict[str, str]:
    """The Link header of a page that is not the last; absolute, as clients require."""
    kept = [(name, value) for name, value in request.query if name != "cursor"]
    address = f"{request.base_url}{request.raw_path}?{urlencode([*kept, ('cursor', cursor)])}"
    return {"Link": f'<{address}>; rel="next"'}
