"""Errors as pages, for browsers."""

from __future__ import annotations

from urllib.parse import urlencode

from headwater.front.answer import Answer
from headwater.front.pages import frame, render
from headwater.front.pages.present import ErrorPage
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground.errors import (
    EntryMissing,
    Forbidden,
    Gated,
    HeadwaterError,
    NotOffered,
    RepoMissing,
    RevisionMissing,
    Unauthenticated,
)
from headwater.ground.log import redact
from headwater.repos import Moved

_TITLES = {
    400: "That can't be right",
    401: "Sign in first",
    403: "Not for you",
    404: "Not here",
    405: "Not like that",
    409: "Already there",
    413: "Too much",
    429: "Too fast",
    500: "Something broke here",
    503: "Not just now",
    507: "No room left",
}
# Forms whose address is also their page's: who was signed out meanwhile signs in and finds the form again.
_FORMS = ("/new", "/settings/tokens", "/settings/deleted")


def error_page(rooms: Rooms, request: Request, answer: Answer, error: HeadwaterError) -> Answer:
    """What a browser gets instead of the JSON of `answer`; its headers stay, but for the one that opens a dialog.

    The Hub's rule "401 for whoever has no token" is for tools: a page says 404 or 403 and offers to sign in.
    """
    if isinstance(error, Moved):
        return frame.see(rooms, error.new.url_path, 307)
    if answer.status < 400:
        return answer
    if isinstance(error, NotOffered) and (plain := _without_slash(request)):
        return frame.see(rooms, plain, 307)
    site = frame.site(rooms, request)
    if isinstance(error, Unauthenticated) and not request.actor.signed_in and request.method == "GET":
        return frame.see(rooms, f"/login?{urlencode({'next': site.here})}")
    status = error.status
    text = "There is no such repo, or none that you may see." if isinstance(error, RepoMissing) else redact(error.text)
    page = ErrorPage(
        status=status,
        title=_TITLES.get(status, "That did not work"),
        text=text,
        request_id=request.id if status >= 500 else "",
        offer_sign_in=not request.actor.signed_in
        and isinstance(error, RepoMissing | Gated | Forbidden | Unauthenticated),
        after=request.raw_path if request.raw_path in _FORMS else site.here,
        # Of a repo that he may not see it is never told what it lacks, so its page may be named.
        repo=request.repo_id()
        if isinstance(error, RevisionMissing | EntryMissing) and "name" in request.params
        else None,
    )
    kept = {name: value for name, value in answer.headers.items() if name not in ("WWW-Authenticate", "Content-Type")}
    made = frame.shown(render.render_error(site, page), status, kept)
    made.cookies = answer.cookies
    return made


def _without_slash(request: Request) -> str:
    """The address as people meant it who wrote a `/` at its end; none that a browser could take for another host."""
    path = request.raw_path.rstrip("/")
    if request.method not in ("GET", "HEAD") or path == request.raw_path or path[1:2] in ("", "/", "\\"):
        return ""
    query = request.query_bytes.decode("ascii", "replace")
    return f"{path}?{query}" if query else path
