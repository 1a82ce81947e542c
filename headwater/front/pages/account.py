"""Pages that need a person: signing in and out, access tokens, a new repo, a like, what was deleted.

Every form carries the session's CSRF secret, which the door (`asgi.py`) checks; the two forms for those who have no
session yet are taken only from our own pages. Refuses to know how passwords and tokens are kept: `accounts`.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from headwater.front import opening
from headwater.front.answer import Answer
from headwater.front.asgi import SESSION_COOKIE
from headwater.front.pages import frame, render
from headwater.front.pages.present import (
    DeletedPage,
    DeletedRow,
    LinkPage,
    NewRepoPage,
    SignInPage,
    TokenRow,
    TokensPage,
)
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground import names
from headwater.ground.errors import (
    Conflict,
    EntryMissing,
    Forbidden,
    HeadwaterError,
    Invalid,
    RepoMissing,
    TooMuch,
    Unauthenticated,
)
from headwater.ground.names import REPO_TYPES, RepoId, RepoType
from headwater.ground.settings import DAY_S

NEXT_CHARS_MAX = 2000
SECRET_CHARS_MAX = 200
NUMBER_DIGITS_MAX = 18  # of a row's number, which fits into 64 bits
EXPIRY_DAYS = ("7", "30", "90", "365")
_PRIVATE_REFERRER = {"Referrer-Policy": "strict-origin"}  # the address of a one-time link is a secret (T45)
_CREATORS = ("admin", "write", "contributor")


# ---- in and out ----


def sign_in_page(rooms: Rooms, request: Request) -> Answer:
    after = _next(request.arg("next"))
    if request.actor.signed_in:
        return frame.see(rooms, after)
    return frame.shown(render.render_signin(frame.site(rooms, request), SignInPage(after)))


def sign_in(rooms: Rooms, request: Request) -> Answer:
    _require_own_page(rooms, request)
    name, after = request.field("name").strip(), _next(request.field("next"))
    try:
        found = rooms.accounts.actor_by_password(name, request.field("password"), request.client)
    except (Unauthenticated, TooMuch) as error:
        page = SignInPage(after, error.text, name[: names.NAME_LENGTH_MAX])
        return frame.shown(render.render_signin(frame.site(rooms, request), page), error.status, error.headers)
    assert found.user_id is not None, name
    return _signed_in(rooms, request, found.user_id, after)


def link_page(rooms: Rooms, request: Request) -> Answer:
    page = LinkPage(request.params["secret"][:SECRET_CHARS_MAX])
    return frame.shown(render.render_link(frame.site(rooms, request), page), headers=_PRIVATE_REFERRER)


def sign_in_by_link(rooms: Rooms, request: Request) -> Answer:
    _require_own_page(rooms, request)
    try:
        user_id = rooms.accounts.use_signin_link(request.field("secret")[:SECRET_CHARS_MAX])
    except Unauthenticated as error:
        page = LinkPage("", error.text)
        return frame.shown(render.render_link(frame.site(rooms, request), page), error.status)
    return _signed_in(rooms, request, user_id, "/")


def _signed_in(rooms: Rooms, request: Request, user_id: int, after: str) -> Answer:
    if request.actor.session_hash:
        rooms.accounts.sign_out(request.actor)
    made = frame.see(rooms, after)
    made.cookies = (_cookie(rooms, rooms.accounts.sign_in(user_id), rooms.settings.session_s),)
    return made


def sign_out(rooms: Rooms, request: Request) -> Answer:
    if request.actor.session_hash:
        rooms.accounts.sign_out(request.actor)
    made = frame.see(rooms, "/")
    made.cookies = (_cookie(rooms, "", 0),)
    return made


def _cookie(rooms: Rooms, value: str, age_s: int) -> str:
    path = frame.base_path(rooms.settings) or "/"
    secure = "; Secure" if rooms.settings.base_url.startswith("https:") else ""
    return f"{SESSION_COOKIE}={value}; Path={path}; Max-Age={age_s}; HttpOnly; SameSite=Lax{secure}"


def _next(given: str) -> str:
    """A path of this hub: anything that a browser could take for another place leads to the start."""
    plain = given.isascii() and given.isprintable() and len(given) <= NEXT_CHARS_MAX
    if plain and given.startswith("/") and not given.startswith("//") and "\\" not in given:
        return given
    return "/"


def _require_own_page(rooms: Rooms, request: Request) -> None:
    """Who has no session has no CSRF secret: another site could sign him in as somebody else (T46)."""
    fetched_from = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    ours = {urlsplit(rooms.settings.base_url).netloc, request.headers.get("host", "")}
    foreign = fetched_from not in ("same-origin", "none") if fetched_from else False
    if foreign or (origin is not None and urlsplit(origin).netloc not in ours - {""}):
        raise Forbidden("This form came from another site; open the sign-in page here")


# ---- access tokens ----


def tokens_page(rooms: Rooms, request: Request) -> Answer:
    return _tokens(rooms, request, TokensPage(()))


def create_token(rooms: Rooms, request: Request) -> Answer:
    """The answer itself shows the token, this once: a redirect would have to keep it somewhere."""
    name, days = request.field("name").strip(), request.field("days")
    try:
        expires_ms = _expiry(rooms, days)
        _, secret = rooms.accounts.create_token(request.actor, name, request.field("role"), expires_ms)
    except (Invalid, Conflict) as error:
        return _tokens(rooms, request, TokensPage((), name=name, problem=error.text), error.status)
    return _tokens(rooms, request, TokensPage((), made=secret, made_name=name))


def _expiry(rooms: Rooms, days: str) -> int | None:
    if not days:
        return None
    if days not in EXPIRY_DAYS:
        raise Invalid(f"expiry: {days[:20]!r} is not one of {', '.join(EXPIRY_DAYS)} days")
    return rooms.clock.now_ms() + int(days) * DAY_S * 1000


def revoke_token(rooms: Rooms, request: Request) -> Answer:
    written = request.field("id")
    if not written.isascii() or not written.isdigit() or len(written) > NUMBER_DIGITS_MAX:
        raise Invalid(f"id: {written[:40]!r} is not a token's number")
    rooms.accounts.revoke_token(request.actor, int(written))
    return frame.see(rooms, "/settings/tokens")


def _tokens(rooms: Rooms, request: Request, page: TokensPage, status: int = 200) -> Answer:
    """The page, with the rows that there are now."""
    assert request.actor.user_id is not None, request.raw_path  # the route needs somebody who is signed in
    now_ms = rooms.clock.now_ms()
    rows = tuple(
        TokenRow(
            one.id,
            one.name,
            one.role,
            one.hint,
            one.created_ms,
            one.used_ms,
            one.expires_ms,
            expired=one.expires_ms is not None and one.expires_ms <= now_ms,
        )
        for one in rooms.accounts.list_tokens(request.actor.user_id)
    )
    return frame.shown(render.render_tokens(frame.site(rooms, request), replace(page, rows=rows)), status)


# ---- new repo ----


def new_repo_page(rooms: Rooms, request: Request) -> Answer:
    return _new_repo(rooms, request, _kind(request.arg("type")), request.arg("owner"))


def create_repo(rooms: Rooms, request: Request) -> Answer:
    kind, owner = _kind(request.field("type")), request.field("owner")
    private = {"public": False, "private": True}.get(request.field("visibility"))
    try:
        rid = RepoId(kind, names.name(owner, "owner"), names.name(request.field("name").strip(), "name"))
        # A space's files decide what it is; without any it is a page that shows itself.
        made = rooms.repos.registry.create(request.actor, rid, private, "static" if kind == "space" else None)
    except (Invalid, Conflict, Forbidden) as error:
        return _new_repo(rooms, request, kind, owner, error)
    rooms.jobs.wake()
    return frame.see(rooms, made.repo.rid.url_path)


def _new_repo(
    rooms: Rooms, request: Request, kind: RepoType, owner: str, problem: HeadwaterError | None = None
) -> Answer:
    me = rooms.accounts.whoami(request.actor)
    owners = (me["name"], *(one["name"] for one in me["orgs"] if one["role"] in _CREATORS))
    chosen = request.field("visibility") if problem else ""
    page = NewRepoPage(
        tuple((name, rooms.accounts.namespace(name).default_visibility) for name in owners),
        owner if owner in owners else owners[0],
        kind,
        request.field("name") if problem else "",
        chosen if chosen in ("public", "private") else "",
        problem.text if problem else "",
    )
    shown = render.render_new_repo(frame.site(rooms, request), page)
    return frame.shown(shown, problem.status if problem else 200)


# ---- a like ----


def like(rooms: Rooms, request: Request) -> Answer:
    """The heart of a repo's page: given, or taken back with `undo`. Back to where it was pressed."""
    found = opening.repo(rooms, request)
    if request.actor.token_role is not None:
        raise Forbidden("Likes are given on the repo's page, not by token")
    if request.field("undo"):
        rooms.repos.likes.unlike(request.actor, found)
    else:
        rooms.repos.likes.like(request.actor, found)
    rooms.jobs.wake()
    after = _next(request.field("next"))
    return frame.see(rooms, found.rid.url_path if after == "/" else after)


# ---- recently deleted ----


def deleted_page(rooms: Rooms, request: Request) -> Answer:
    return _deleted(rooms, request)


def undelete(rooms: Rooms, request: Request) -> Answer:
    written = request.field("number")
    number = int(written) if written.isascii() and written.isdigit() and len(written) <= NUMBER_DIGITS_MAX else 0
    try:
        found = next((one for one in rooms.repos.registry.deleted(request.actor) if one.repo.id == number), None)
        if found is None:
            raise EntryMissing(written, text="There is no such repo, or it can't be brought back any more")
        to = replace(found.repo.rid, name=names.name(request.field("name").strip(), "name"))
        back = rooms.repos.registry.undelete(request.actor, number, to)
    except (Invalid, Conflict, Forbidden, EntryMissing, RepoMissing) as error:
        return _deleted(rooms, request, error, number)
    rooms.jobs.wake()
    return frame.see(rooms, back.rid.url_path)


def _deleted(rooms: Rooms, request: Request, problem: HeadwaterError | None = None, number: int = 0) -> Answer:
    rows = tuple(
        DeletedRow(
            one.repo.id,
            one.repo.rid,
            one.repo.private,
            one.deleted_ms,
            one.until_ms,
            request.field("name")[: names.NAME_LENGTH_MAX] if problem and one.repo.id == number else one.repo.rid.name,
        )
        for one in rooms.repos.registry.deleted(request.actor)
    )
    page = DeletedPage(rows, problem.text if problem else "")
    shown = render.render_deleted(frame.site(rooms, request), page)
    return frame.shown(shown, problem.status if problem else 200)


def _kind(written: str) -> RepoType:
    return next((kind for kind in REPO_TYPES if kind == written), "model")
