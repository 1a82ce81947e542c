"""What every handler of a page begins and ends with: who looks at which hub, and HTML with the headers of a page.

Links are made from the configured public URL, never from a request's Host header (T62).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from headwater import __version__
from headwater.front import answer as answers
from headwater.front.answer import Answer
from headwater.front.pages.present import Site, Viewer
from headwater.front.pages.render import PAGE_HEADERS
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground.log import redact
from headwater.ground.settings import Settings

HERE_CHARS_MAX = 2000  # of the way back after signing in; a longer one is forgotten


def site(rooms: Rooms, request: Request) -> Site:
    return Site(
        public_url=rooms.settings.base_url,
        base_path=base_path(rooms.settings),
        viewer=Viewer(request.actor.name, request.csrf, request.actor.is_admin),
        now_ms=rooms.clock.now_ms(),
        version=__version__,
        here=_here(request),
    )


def base_path(settings: Settings) -> str:
    """The path prefix of the public URL, without a trailing slash."""
    return urlsplit(settings.base_url).path.rstrip("/")


def _here(request: Request) -> str:
    if request.method not in ("GET", "HEAD") or b"ticket=" in request.query_bytes:
        return "/"
    query = request.query_bytes.decode("ascii", "replace")
    here = f"{request.raw_path}?{query}" if query else request.raw_path
    # An address that is a secret itself is no way back: the page that shows it may be shown to others (T45).
    secret = {"ticket", "secret"} & request.params.keys() or redact(here) != here
    return here if len(here) <= HERE_CHARS_MAX and not secret else "/"


def shown(page: str, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return answers.html(page, status, {**PAGE_HEADERS, **(headers or {})})


def see(rooms: Rooms, path: str, status: int = 303) -> Answer:
    """Go and look there: `path` is one of ours, without the base path."""
    return answers.redirect(base_path(rooms.settings) + path, status, {"Cache-Control": "no-store"})
