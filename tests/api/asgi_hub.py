"""A hub in this process, spoken to by ASGI: no socket, no client library, about a millisecond a request.

Knows HTTP as the application sees it (raw paths, bodies that come in pieces, clients that wait or leave) and the few
steps that most tests begin with: a repo, a commit, a file by LFS. Refuses to know what any test expects.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from sqlalchemy import update

from headwater.accounts.actor import Actor
from headwater.accounts.tables import token
from headwater.app import make_app, open_rooms, prepare
from headwater.front.rooms import Rooms
from headwater.ground import names
from headwater.ground.clock import Clock
from headwater.ground.settings import Settings
from headwater.repos import Repo

URL = "http://hub.test"
PLURALS = {"model": "models", "dataset": "datasets", "space": "spaces"}
GONE_S = 20.0  # no request of these tests takes so long: a hanging one fails by its name


@dataclass(frozen=True)
class Answer:
    """One answer, read whole; header names in lower case, cookies apart because they may come more than once."""

    status: int
    headers: dict[str, str]
    body: bytes
    cookies: tuple[str, ...] = ()
    taken: int = 0
    """Bytes of the request's body that the hub asked for before it answered."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.headers.get("x-error-code", "")

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def error(self) -> str:
        """What the error says; header and body must say the same."""
        said = self.json["error"]
        shown = "".join(c if 32 <= ord(c) < 127 else "?" for c in said)[:1000]
        assert self.headers["x-error-message"] == shown
        assert self.json["code"] == self.code
        assert self.json["request_id"] == self.headers["x-request-id"]
        return str(said)


@dataclass
class Body:
    """A request's body, and how it arrives: `length` is what Content-Length says ("" to say nothing)."""

    pieces: Iterable[bytes]
    length: int | str | None = None
    cut: bool = False
    """The client leaves after the last piece instead of ending the body."""


@dataclass
class Midway:
    """Something that happens after the first piece of the answer has gone out, before the next one may."""

    do: Callable[[], Awaitable[Any]]
    done: list[Any] = field(default_factory=list)


class Hub:
    """One hub over one data folder, with people in it (see conftest.py); close it."""

    def __init__(self, data: Path, clock: Clock | None = None, **settings: Any) -> None:
        settings.setdefault("public_url", URL)
        settings.setdefault("threads", 4)
        self.data = data
        self.rooms: Rooms = open_rooms(Settings(data=str(data), **settings), clock)
        prepare(self.rooms)
        self.app = make_app(self.rooms)
        self.loop = asyncio.new_event_loop()
        self.prefix = urlsplit(self.rooms.settings.base_url).path.rstrip("/")
        self.tokens: dict[str, str] = {}
        self._named = 0

    def close(self) -> None:
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        self.app.close()
        self.rooms.db.close()

    # --- requests ---

    def send(self, method: str, path: str, as_: str = "", **more: Any) -> Answer:
        """`path` as it stands in a request line; `as_` a person (conftest.PEOPLE) or a token; see `asend`."""
        return self.loop.run_until_complete(asyncio.wait_for(self.asend(method, path, as_, **more), GONE_S))

    def together(self, *requests: Awaitable[Answer]) -> list[Answer]:
        """At the same time, as far as the hub lets them."""

        async def gathered() -> list[Answer]:
            return list(await asyncio.wait_for(asyncio.gather(*requests), 3 * GONE_S))

        return self.loop.run_until_complete(gathered())

    async def asend(
        self,
        method: str,
        path: str,
        as_: str = "",
        *,
        json: Any = None,
        body: bytes | Body | None = None,
        headers: dict[str, str] | None = None,
        client: str = "127.0.0.1",
        midway: Midway | None = None,
    ) -> Answer:
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        if as_ and "authorization" not in sent:
            sent["authorization"] = f"Bearer {self.tokens.get(as_, as_)}"
        if json is not None:
            body = _encode(json)
            sent.setdefault("content-type", "application/json")
        incoming = body if isinstance(body, Body) else Body([body] if body else [])
        if incoming.length is None:
            incoming.length = len(body) if isinstance(body, bytes) else 0 if body is None else ""
        if incoming.length != "":
            sent.setdefault("content-length", str(incoming.length))
        elif "content-length" not in sent:
            sent["transfer-encoding"] = "chunked"
        raw_path, _, query = path.removeprefix(f"{URL}").partition("?")
        scope = {
            "type": "http",
            "method": method,
            "raw_path": raw_path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in sent.items()],
            "client": (client, 50_000),
        }
        exchange = _Exchange(incoming, midway)
        await self.app(scope, exchange.receive, exchange.send)
        return exchange.answer()

    def get(self, path: str, as_: str = "", **more: Any) -> Answer:
        return self.send("GET", path, as_, **more)

    def head(self, path: str, as_: str = "", **more: Any) -> Answer:
        return self.send("HEAD", path, as_, **more)

    def post(self, path: str, as_: str = "", **more: Any) -> Answer:
        return self.send("POST", path, as_, **more)

    def ok(self, method: str, path: str, as_: str = "", **more: Any) -> Answer:
        """A request that has to succeed; anything else is shown."""
        answer = self.send(method, path, as_, **more)
        assert answer.status in (200, 201, 206), (method, path, answer.status, answer.headers, answer.body[:800])
        return answer

    def settle(self) -> None:
        """What the hub does in the background (nothing runs by itself here): the lists follow what happened."""
        self.rooms.index.follow()
        self.rooms.jobs.drain()
        self.rooms.counts.flush()

    def local(self, url: str) -> str:
        """The path and query of one of the hub's own absolute addresses."""
        base = self.rooms.settings.base_url
        assert url.startswith(base + "/"), url
        return url.removeprefix(base.removesuffix(self.prefix))

    # --- people ---

    def actor(self, name: str) -> Actor:
        """By browser session, as far as the rooms can tell: no token."""
        return self.rooms.accounts.actor_again(self.rooms.accounts.namespace(name).id, None)

    def session(self, name: str) -> dict[str, str]:
        """Headers of a browser in which that person is signed in, with the secret of its forms."""
        cookie = self.rooms.accounts.sign_in(self.rooms.accounts.namespace(name).id)
        csrf = self.rooms.accounts.actor_by_session(cookie)[1]
        return {"cookie": f"headwater_session={cookie}", "x-csrf-token": csrf}

    def token(self, name: str, role: str = "write") -> str:
        return self.new_token(name, role)[1]

    def new_token(self, name: str, role: str = "write", expires_ms: int | None = None) -> tuple[int, str]:
        """Its number and its value."""
        self._named += 1
        made, secret = self.rooms.accounts.create_token(self.actor(name), f"made {self._named}", role, expires_ms)
        return made.id, secret

    def expired_token(self, name: str) -> str:
        number, secret = self.new_token(name, expires_ms=self.rooms.clock.now_ms() + 3_600_000)
        with self.rooms.db.write() as connection:
            connection.execute(update(token).where(token.c.id == number).values(expires_ms=1))
        return secret

    def revoked_token(self, name: str) -> str:
        number, secret = self.new_token(name)
        self.rooms.accounts.revoke_token(self.actor(name), number)
        return secret

    # --- repos ---

    def name(self, stem: str = "repo") -> str:
        """A name that nothing has yet; all of a stem have the same length."""
        self._named += 1
        return f"{stem}{self._named:06d}"

    def repo(self, as_: str = "ada", *, owner: str = "", kind: str = "model", private: bool = False) -> str:
        """A new repo's id, made by the API."""
        asked = {"name": self.name(), "organization": owner or as_, "type": kind, "private": private}
        if kind == "space":
            asked["sdk"] = "docker"
        return str(self.ok("POST", "/api/repos/create", as_, json=asked).json["id"])

    def row(self, repo: str, kind: str = "model") -> Repo:
        """The repo as the rooms know it."""
        return self.rooms.repos.registry.open(ROOT, names.repo_id(kind, repo), "read")  # type: ignore[arg-type]

    def api(self, repo: str, rest: str = "", kind: str = "model") -> str:
        return f"/api/{PLURALS[kind]}/{repo}{rest}"

    def commit(
        self,
        repo: str,
        files: dict[str, bytes] | Sequence[dict[str, Any]],
        as_: str = "ada",
        *,
        rev: str = "main",
        query: str = "",
        kind: str = "model",
        **header: Any,
    ) -> Answer:
        """Any answer: `files` by path, or operations as they stand in the lines."""
        operations = [inline(path, data) for path, data in files.items()] if isinstance(files, dict) else files
        lines = [{"key": "header", "value": {"summary": "by a test", **header}}, *operations]
        path = self.api(repo, f"/commit/{quote(rev, safe='')}{query}", kind)
        return self.send("POST", path, as_, body=ndjson(lines), headers={"content-type": "application/x-ndjson"})

    def committed(self, repo: str, files: dict[str, bytes] | Sequence[dict[str, Any]], **more: Any) -> str:
        """The commit's id."""
        answer = self.commit(repo, files, **more)
        assert answer.status == 200, answer.body
        return str(answer.json["commitOid"])

    def head_of(self, repo: str, branch: str = "main", kind: str = "model") -> str:
        return self.rooms.repos.refs.resolve(self.row(repo, kind), branch)

    # --- LFS ---

    def batch(
        self, repo: str, oids: Iterable[tuple[str, int]], as_: str = "ada", *, kind: str = "model", **more: Any
    ) -> Answer:
        asked = {"operation": "upload", "transfers": ["basic"], "hash_algo": "sha256", **more}
        asked["objects"] = [{"oid": oid, "size": size} for oid, size in oids]
        return self.send("POST", f"{page(repo, kind)}.git/info/lfs/objects/batch", as_, json=asked)

    def upload_address(self, repo: str, data: bytes, as_: str = "ada", kind: str = "model") -> str:
        action = self.batch(repo, [(sha(data), len(data))], as_, kind=kind).json["objects"][0]["actions"]["upload"]
        return self.local(action["href"])

    def upload(self, repo: str, data: bytes, as_: str = "ada", kind: str = "model") -> str:
        """A file by LFS, not committed yet: its SHA-256."""
        answer = self.batch(repo, [(sha(data), len(data))], as_, kind=kind).json["objects"][0]
        if "actions" in answer:
            self.ok("PUT", self.local(answer["actions"]["upload"]["href"]), body=data)
        return sha(data)

    def with_lfs(self, repo: str, path: str, data: bytes, as_: str = "ada", kind: str = "model") -> str:
        """A file by LFS, committed: its SHA-256."""
        oid = self.upload(repo, data, as_, kind)
        self.committed(repo, [lfs_file(path, oid, len(data))], as_=as_, kind=kind)
        return oid

    def xet(self, repo: str, scope: str = "read", as_: str = "ada", query: str = "", kind: str = "model") -> str:
        """A Xet token."""
        answer = self.ok("GET", self.api(repo, f"/xet-{scope}-token/main{query}", kind), as_)
        return str(answer.json["accessToken"])


ROOT = Actor(user_id=0, name="operator", is_admin=True)


class _Exchange:
    """The two callables that an ASGI application is given."""

    def __init__(self, body: Body, midway: Midway | None) -> None:
        self._pieces: Iterator[bytes] = iter(body.pieces)
        self._next = next(self._pieces, None)
        self._cut = body.cut
        self._midway = midway
        self._ended = False
        self._taken = 0
        self._over = asyncio.Event()
        self._start: dict[str, Any] = {}
        self._parts: list[bytes] = []

    async def receive(self) -> dict[str, Any]:
        if self._answered():
            return {"type": "http.disconnect"}  # who has his answer sends nothing more
        if self._next is not None:
            piece, self._next = self._next, next(self._pieces, None)
            self._taken += 0 if self._start else len(piece)
            return {"type": "http.request", "body": piece, "more_body": self._next is not None or self._cut}
        if self._cut or self._ended:
            if not self._cut:
                await self._over.wait()
            return {"type": "http.disconnect"}
        self._ended = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            assert not self._start, "a second answer"
            self._start = message
            return
        self._parts.append(message.get("body", b""))
        if self._midway is not None and self._parts[-1]:
            midway, self._midway = self._midway, None
            midway.done.append(await midway.do())
        if not message.get("more_body"):
            self._ended = True
            self._over.set()

    def _answered(self) -> bool:
        lengths = [int(value) for name, value in self._start.get("headers", ()) if name == b"content-length"]
        return bool(lengths) and sum(map(len, self._parts)) >= lengths[0] and bool(self._parts)

    def answer(self) -> Answer:
        assert self._start, "no answer"
        headers, cookies = {}, []
        for raw_name, raw_value in self._start["headers"]:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            if name == "set-cookie":
                cookies.append(value)
            else:
                assert name not in headers, f"{name} twice"
                headers[name] = value
        return Answer(self._start["status"], headers, b"".join(self._parts), tuple(cookies), self._taken)


@contextmanager
def open_hub(data: Path, clock: Clock | None = None, **settings: Any) -> Iterator[Hub]:
    hub = Hub(data, clock, **settings)
    try:
        yield hub
    finally:
        hub.close()


# --- what requests are made of ---


def _encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def page(repo: str, kind: str = "model") -> str:
    """The path of a repo's page, below which its files and git lie."""
    return f"/{repo}" if kind == "model" else f"/{PLURALS[kind]}/{repo}"


def ndjson(lines: Iterable[Any]) -> bytes:
    return b"".join(_encode(line) + b"\n" for line in lines)


def inline(path: str, data: bytes) -> dict[str, Any]:
    content = base64.b64encode(data).decode()
    return {"key": "file", "value": {"path": path, "content": content, "encoding": "base64"}}


def lfs_file(path: str, oid: str, size: int | None = None) -> dict[str, Any]:
    value: dict[str, Any] = {"path": path, "algo": "sha256", "oid": oid}
    return {"key": "lfsFile", "value": value if size is None else {**value, "size": size}}


def deleted(path: str) -> dict[str, Any]:
    return {"key": "deletedFile", "value": {"path": path}}


def copied(source: str, path: str, revision: str | None = None) -> dict[str, Any]:
    value = {"srcPath": source, "path": path}
    return {"key": "copyFile", "value": value if revision is None else {**value, "srcRevision": revision}}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_sha(data: bytes) -> str:
    """Git's name of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def noise(name: str, size_bytes: int) -> bytes:
    """Bytes that nothing compresses, the same for the same name."""
    return hashlib.shake_128(name.encode()).digest(size_bytes)


def in_pieces(data: bytes, count: int) -> list[bytes]:
    step = max(1, math.ceil(len(data) / count))
    return [data[i : i + step] for i in range(0, len(data), step)]


def links(answer: Answer) -> dict[str, str]:
    """The Link header: rel -> address."""
    found = {}
    for part in answer.headers.get("link", "").split(", <"):
        address, _, rel = part.lstrip("<").partition('>; rel="')
        if rel:
            found[rel.rstrip('"')] = address
    return found
