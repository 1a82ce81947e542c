"""Revisited: what an address says before the path of a file, remembered from one file of a revision to the next.

Clients ask for the files of one revision one after the other, each by HEAD and GET. Who asks, which repo that is,
whether he may see it and which commit is meant are the same for all of them, and half of what a small answer costs.
Remembered is only what was let in, under the credentials as they were sent, until anybody commits anything or the
credentials have to be looked at again. Used by the event loop alone. Refuses to know what is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headwater.accounts.actors import STRANGER, Known
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.front.router import Route, Router, decoded

WORD = "/resolve/"  # the routes with a `first` are `{repo}/resolve/{rev}/{path*}`
KEPT_MAX = 1_000  # revisions times those who ask for them, about 2 KB each
_METHODS = frozenset(("GET", "HEAD"))


@dataclass(frozen=True, slots=True)
class Seen:
    """`opened` is what the route's `first` found for these parameters and for who this is."""

    known: Known
    route: Route
    params: dict[str, str]
    opened: Any


class Revisited:
    def __init__(self, rooms: Rooms, router: Router) -> None:
        self._rooms = rooms
        self._router = router
        self._seen: dict[tuple[str, str, str], Seen] = {}
        self._version = 0  # of the database, under which all of them were found

    def find(self, request: Request) -> Route | None:
        """The route of a request for another file of a revision; the request gets all that its handler needs.

        None: it has to go the usual way. Invalid as the router says it.
        """
        headers = request.headers
        if request.method not in _METHODS or "cookie" in headers:
            return None
        repo, revision, path = split(request.raw_path)
        seen = self._seen.get((repo, revision, headers.get("authorization", "")))
        if seen is None or self._version != self._rooms.db.version() or not self._rooms.accounts.is_good(seen.known):
            return None
        request.params = {**seen.params, "path": decoded(path)}
        request.actor, request.opened = seen.known.actor, seen.opened
        return seen.route

    def keep(self, request: Request, route: Route, version: int) -> None:
        """Remembers what was found for a request since the database had `version`."""
        repo, revision, _ = split(request.raw_path)
        if "cookie" in request.headers or not self._router.settles(f"{repo}{WORD}{revision}", route):
            return  # a browser, or an address whose meaning hangs on its path
        token = request.credentials()
        known = self._rooms.accounts.known_by_token(token) if token else STRANGER
        if version != self._version or len(self._seen) >= KEPT_MAX:
            self._seen.clear()
            self._version = version
        key = (repo, revision, request.headers.get("authorization", ""))
        self._seen[key] = Seen(known, route, request.params, request.opened)


def split(raw_path: str) -> tuple[str, str, str]:
    """Repo, revision and path of a file's address, as they are written."""
    repo, _, rest = raw_path.partition(WORD)
    revision, _, path = rest.partition("/")
    return repo, revision, path
