"""The ASGI application: one request from its first byte to its last.

Order: id, path prefix, route, credentials, body, handler (in a worker thread), answer. Errors of the taxonomy become
HTTP in `answer.of_error`; anything else is a bug: 500 with the request's id, the traceback in the log once.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

from headwater.accounts.actor import NOBODY, Actor
from headwater.accounts.signin import csrf_fits
from headwater.front import answer as answers
from headwater.front import body as bodies
from headwater.front.answer import Answer
from headwater.front.request import Request
from headwater.front.revisited import Revisited
from headwater.front.rooms import Rooms
from headwater.front.router import Route, Router
from headwater.ground.errors import Conflict, Forbidden, HeadwaterError, Unauthenticated, Unavailable
from headwater.ground.log import REDACTED, log
from headwater.repos import Moved
from headwater.store import Unreadable

_ID = re.compile(r"[A-Za-z0-9=;:._-]{1,100}\Z")
SESSION_COOKIE = "headwater_session"
WAITING_THREADS = 64  # clones and shard checks under way at once; more wait their turn
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SECURITY_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_SECURITY_ENCODED = bodies.encoded(SECURITY_HEADERS)

ErrorPage = Callable[[Rooms, Request, Answer, HeadwaterError], Answer]


BEGUN = "headwater.begun"
"""Where a connection leaves, in the scope, what it has begun."""


@dataclass(slots=True)
class Begun:
    """A request, its route, and its answer where that was made at once."""

    request: Request
    route: Route | None
    answer: Answer | None

    def packet(self) -> bodies.Packet | None:
        """The whole answer to a request without a body, if it is in memory."""
        if self.answer is None:
            return None
        return bodies.packet(_signed(self.request, self.answer), head_only=self.request.method == "HEAD")


class App:
    def __init__(self, rooms: Rooms, router: Router) -> None:
        self.rooms = rooms
        self.router = router
        self.pool = ThreadPoolExecutor(rooms.settings.threads, thread_name_prefix="request")
        self._waiting = ThreadPoolExecutor(WAITING_THREADS, thread_name_prefix="waiting")
        self.traffic = bodies.Traffic(self.pool, self._waiting, rooms.settings.idle_timeout_s)
        self._base_url = rooms.settings.base_url
        self._prefix = urlsplit(self._base_url).path.rstrip("/")
        self._spool_folder = str(Path(rooms.settings.data) / "incoming")
        self._proxies = {a.strip() for a in rooms.settings.trusted_proxies.split(",") if a.strip()}
        self._page_error: ErrorPage | None = None
        self._revisited = Revisited(rooms, router)
        # Told to everybody, so no secret; the system's own generator is a twentieth of what a small request costs.
        self._ids = Random(rooms.clock.token(16))  # noqa: S311

    async def __call__(self, scope: bodies.Message, receive: bodies.Receive, send: bodies.Send) -> None:
        if scope["type"] != "http":
            return
        begun: Begun = scope.get(BEGUN) or self.begin(scope)
        request = begun.request
        incoming = bodies.Incoming(receive, request.headers, self.traffic, scope.get("extensions"))
        if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
            incoming.complete = True
        try:
            answer = begun.answer or await self._answered(begun.route, request, incoming)
            answer = _signed(request, await self._with_first_bytes(request, answer))
            head_only = request.method == "HEAD"
            await bodies.send(answer, send, receive, self.traffic, incoming, head_only=head_only)
        except (bodies.ClientGone, asyncio.CancelledError):  # the second: the hub stops, and has waited long enough
            _break_off(receive)
        except Unreadable as error:
            await self._flag(error)
            _break_off(receive)
        except Exception as error:  # noqa: BLE001 - a disk or a bug in the middle of a body: no answer fits any more
            log.error("broken off", id=request.id, method=request.method, path=_said(request), exc_info=error)
            _break_off(receive)
        finally:
            if request.file is not None:
                request.file.close()

    def begin(self, scope: bodies.Message) -> Begun:
        """Finds the route, and answers where the route is quick or there is none. Raises nothing."""
        request = self._request(scope)
        route: Route | None = None
        answer: Answer | None = None
        try:
            route = self._revisited.find(request)
            if route is not None:
                answer = route.handler(self.rooms, request)
            else:
                route, request.params = self.router.match(request.method, request.raw_path)
                if route.quick and route.first is not None:
                    version = self.rooms.db.version()  # before anything is read that is remembered under it
                    answer = self._handle(route, request)
                    self._revisited.keep(request, route, version)
                elif route.quick:
                    answer = self._handle(route, request)
        except HeadwaterError as error:
            answer = self._refused(request, route, error)
        except Exception as error:  # noqa: BLE001 - as in `_answered`
            answer = self._bug(request, error)
        return Begun(request, route, answer)

    def _request(self, scope: bodies.Message) -> Request:
        raw = scope["headers"]
        headers: dict[str, str] = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}
        if len(headers) < len(raw):
            headers = _joined(raw)
        given = headers.get("x-request-id") or headers.get("x-amzn-trace-id") or ""
        path = scope["raw_path"].decode("ascii", "replace")
        if self._prefix and (path == self._prefix or path.startswith(self._prefix + "/")):
            path = path[len(self._prefix) :] or "/"
        peer = scope["client"][0] if scope.get("client") else ""
        if peer in self._proxies and (forwarded := headers.get("x-forwarded-for")):
            peer = forwarded.rsplit(",", 1)[-1].strip()
        return Request(
            method=scope["method"],
            raw_path=path,
            query_bytes=scope.get("query_string", b""),
            headers=headers,
            id=given if _ID.match(given) else f"{self._ids.getrandbits(96):024x}",
            client=peer,
            base_url=self._base_url,
        )

    async def _with_first_bytes(self, request: Request, answer: Answer) -> Answer:
        """The answer with its first bytes in hand, or the error of a disk that does not give them."""
        if request.method == "HEAD":
            return answer
        try:
            await bodies.begin(answer, self.traffic)
        except HeadwaterError as error:
            if isinstance(error, Unreadable):
                await self._flag(error)
            return self._refused(request, None, error)
        return answer

    async def _flag(self, error: Unreadable) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(Unavailable):  # a disk that fails may not take the mark either
            await loop.run_in_executor(self.pool, self.rooms.store.flag_object, error.path, error.why)

    async def _answered(self, route: Route | None, request: Request, incoming: bodies.Incoming) -> Answer:
        """The handler's answer, or the error's; never raises but when the client left."""
        assert route is not None  # else there is an answer already
        loop = asyncio.get_running_loop()
        try:
            if route.body == "none":
                return await loop.run_in_executor(self.pool, self._handle, route, request)
            return await self._with_body(route, request, incoming)
        except HeadwaterError as error:
            return self._refused(request, route, error)
        except (bodies.ClientGone, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - the one door where a bug becomes a 500
            return self._bug(request, error)

    async def _with_body(self, route: Route, request: Request, incoming: bodies.Incoming) -> Answer:
        loop, settings = asyncio.get_running_loop(), self.rooms.settings
        # credentials first: nobody fills our disk without a right to
        await loop.run_in_executor(self.pool, self._admit, route, request, True)
        setting = route.body_max or "json_body_max"
        most = getattr(settings, setting)
        if route.body == "sink":
            sink = await loop.run_in_executor(self.pool, route.handler, self.rooms, request)
            return await incoming.into(sink)
        if route.body == "spool":
            line_max = bodies.line_max(settings.inline_file_max) if route.lines else None
            request.file = await incoming.spool(most, setting, self._spool_folder, line_max)
        else:
            request.body = await incoming.whole(most, setting)
        return await loop.run_in_executor(self.pool, self._run, route, request)

    def _handle(self, route: Route, request: Request) -> Answer:
        self._admit(route, request, False)
        return self._run(route, request)

    def _run(self, route: Route, request: Request) -> Answer:
        self._check_csrf(request)
        if route.first is not None:
            request.opened = route.first(self.rooms, request)
        answer: Answer = route.handler(self.rooms, request)
        return answer

    def _admit(self, route: Route, request: Request, body_follows: bool) -> None:
        if route.auth == "actor":
            request.actor, request.csrf = self._actor(request)
            if route.needs not in ("", "read") and not request.actor.signed_in:
                raise Unauthenticated("Sign in first: this needs a token or a session")
            if body_follows and route.needs in ("write", "admin") and not request.actor.can_write:
                raise Forbidden("This token may only read; use one with the role 'write'")
        if route.admits is not None:
            self._check_csrf(request)
            route.admits(self.rooms, request)

    def _actor(self, request: Request) -> tuple[Actor, str]:
        if token := request.credentials():
            return self.rooms.accounts.actor_by_token(token), ""
        if cookie := request.cookie(SESSION_COOKIE):
            with contextlib.suppress(Unauthenticated):
                # an old cookie is no reason to refuse what everybody may see
                return self.rooms.accounts.actor_by_session(cookie)
        return NOBODY, ""

    def _check_csrf(self, request: Request) -> None:
        """A browser session may change things only with the page's own secret: another site cannot know it (T46)."""
        if not request.actor.session_hash or request.method in SAFE_METHODS:
            return
        given = request.headers.get("x-csrf-token") or (
            request.field("csrf") if "form" in request.headers.get("content-type", "") else ""
        )
        if not csrf_fits(request.csrf, given):
            raise Forbidden("This form is out of date or came from another site; open the page again")

    def _refused(self, request: Request, route: Route | None, error: HeadwaterError) -> Answer:
        if isinstance(error, Moved) and "name" not in request.params:
            # the old name stands in the body, where no redirect reaches it
            error = Conflict(f"{error.text}; use that name")
        # a ticket is not the user's own credentials: asking for those (401) would not help
        by_ticket = route is not None and route.auth == "ticket"
        answer = answers.of_error(error, request.id, signed_in=request.actor.signed_in or by_ticket)
        if isinstance(error, Moved) and route is not None:
            answer.headers["Location"] = self._new_place(route, request, error)
        if answer.status >= 500:
            log.warning("refused", id=request.id, path=_said(request), code=error.code, text=error.text)
        return self._for_people(request, answer, error)

    def _for_people(self, request: Request, answer: Answer, error: HeadwaterError) -> Answer:
        if self._page_error is not None and "text/html" in request.headers.get("accept", ""):
            return self._page_error(self.rooms, request, answer, error)
        return answer

    def _new_place(self, route: Route, request: Request, moved: Moved) -> str:
        """The same address under the repo's new name. A path alone: older clients follow no absolute one."""
        parts, pattern = request.raw_path.split("/"), route.pattern.split("/")
        at = pattern.index("{name}")
        first = at - ("{ns}" in pattern)
        ending = ".git" if request.params["name"].endswith(".git") else ""
        path = "/".join([*parts[:first], f"{moved.new.full}{ending}", *parts[at + 1 :]])
        query = f"?{request.query_bytes.decode('ascii', 'replace')}" if request.query_bytes else ""
        return f"{self._prefix}{path}{query}"

    def _bug(self, request: Request, error: Exception) -> Answer:
        log.error("bug", id=request.id, method=request.method, path=_said(request), exc_info=error)
        text = f"The hub made a mistake; its log names it under the request id {request.id}"
        bug = HeadwaterError(text, code="InternalError")
        answer = answers.of_error(bug, request.id, signed_in=True)
        answer.headers["X-Error-Code"] = "InternalError"
        return self._for_people(request, answer, bug)

    def show_errors_as_pages(self, page: ErrorPage) -> None:
        """`page(rooms, request, answer, error) -> Answer`: what a browser gets instead of JSON."""
        self._page_error = page

    def close(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)
        self._waiting.shutdown(wait=True, cancel_futures=True)


def _signed(request: Request, answer: Answer) -> Answer:
    """With what every answer says."""
    if answer.headers:
        answer.headers = {"X-Request-Id": request.id, **SECURITY_HEADERS, **answer.headers}
    else:
        answer.encoded = (*answer.encoded, *_SECURITY_ENCODED, (b"x-request-id", request.id.encode("ascii")))
    return answer


def _said(request: Request) -> str:
    """The path as the log may have it: some addresses are secrets themselves (T45)."""
    path = request.raw_path
    for name in ("ticket", "secret"):
        if secret := request.params.get(name):
            path = path.replace(secret, REDACTED)
    return path


def _break_off(receive: bodies.Receive) -> None:
    """The connection may stand in the middle of a body: no further request may use it."""
    cycle: Any = getattr(receive, "__self__", None)
    with contextlib.suppress(AttributeError):
        cycle.transport.abort()
        cycle.disconnected = True


def _joined(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers of which some come more than once."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
