"""What each route of the table should let whom do: one row a route, by hand; `test_access_matrix.py` tries them all.

A row says what it takes (`needs`), how a request is made that succeeds once it is let in, and with which status. Routes
that differ only in how they spell the repo (its type, its namespace) share a row.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import quote

from asgi_hub import PLURALS, ROOT, Hub, inline, ndjson, noise, page, sha
from xet_files import XetFile, shard_of, xet_file

from headwater.front.router import Route
from headwater.repos import Message

Needs = Literal["open", "anybody", "signed-in", "see", "write", "admin", "create", "writes", "session", "hub"]
"""open: credentials are not even read. anybody: but no wrong credential. see, write, admin: that right in the repo.
create: a repo in its namespace. writes: to see the repo, by a token that may write. session: to see it, in a browser.
hub: to be an administrator of the hub.
"""

XET: XetFile = xet_file(noise("in every repo, by Xet", 70_000))
LFS = noise("in every repo, by LFS", 3000)
NEVER_SENT = noise("announced, and never sent", 3000)
SAFETENSORS = (2).to_bytes(8, "little") + b"{}"
GIT_FLUSH = b"0000"


@dataclass(frozen=True)
class Target:
    """A repo to be asked for, and who asks: what the functions of a row are given."""

    hub: Hub
    kind: str
    repo: str
    token: str = ""
    private: bool = False
    me: str = "nobody"
    headers: dict[str, str] = field(default_factory=dict)
    """Of the person's browser, if he has no token."""

    @property
    def owner(self) -> str:
        return self.repo.rpartition("/")[0]

    @property
    def short(self) -> str:
        return self.repo.rpartition("/")[2]

    def row(self) -> Any:
        return self.hub.row(self.repo, self.kind)


@dataclass(frozen=True)
class Row:
    needs: Needs
    ok: int | tuple[int, ...] = 200
    path: dict[str, str | Callable[[Target], str]] = field(default_factory=dict)
    query: str = ""
    json: Callable[[Target], Any] | Any = None
    body: bytes | Callable[[Target], bytes] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    before: Callable[[Target], Target] | None = None
    """Prepares something that the request uses up; may lead to another repo."""
    scope: Literal["", "read", "write"] = ""
    """Comes with a Xet token of that scope, as far as the caller can get one."""
    names_repo: bool = False
    """The repo stands in the body, so the row is tried with a private repo as well."""
    hides: bool = False
    """Whoever lacks the right is told that there is none, of public repos too: it was deleted."""


def key(route: Route) -> str:
    """The row's key: `API...` below a repo's API address, `REPO...` below its page, else the pattern itself."""
    pattern = re.sub(r"\A/api/\{type\}(/\{ns\})?/\{name\}", "API", route.pattern)
    pattern = re.sub(r"\A(/datasets|/spaces)?(/\{ns\})?/\{name\}(?=/|\Z)", "REPO", pattern)
    if route.pattern == "/{name}":
        pattern = route.pattern
    return f"{route.method} {pattern}"


# --- what rows prepare ---


def a_fresh_repo(target: Target) -> Target:
    """Another repo of the same visibility, for requests after which it is gone."""
    hub, rid = target.hub, target.row().rid
    fresh = replace(rid, name=hub.name(rid.name[:4]))
    hub.rooms.repos.registry.create(ROOT, fresh, target.private, "docker" if target.kind == "space" else None)
    return replace(target, repo=fresh.full)


def a_deleted_repo(target: Target) -> Target:
    gone = a_fresh_repo(target)
    target.hub.rooms.repos.registry.delete(ROOT, gone.row().rid)
    return gone


def a_branch(target: Target) -> Target:
    target.hub.rooms.repos.refs.create_branch(ROOT, target.row(), "spare", overwrite=True)
    return target


def a_tag(target: Target) -> Target:
    row = target.row()
    if "refs/tags/spare" not in target.hub.rooms.repos.moves.refs(row.id):
        target.hub.rooms.repos.refs.create_tag(ROOT, row, "spare", "main")
    return target


def a_pull_request(target: Target) -> Target:
    row = target.row()
    if "refs/pr/1" not in target.hub.rooms.repos.moves.refs(row.id):
        target.hub.rooms.repos.pull_requests.open(ROOT, row, Message("Prepared"))
    return target


def new_name(target: Target) -> str:
    return target.hub.name("new")


def one_commit(target: Target) -> bytes:
    return ndjson([{"key": "header", "value": {"summary": "s"}}, inline(target.hub.name("file"), b"1")])


def in_batch(operation: str) -> dict[str, Any]:
    return {"operation": operation, "transfers": ["basic"], "objects": [{"oid": sha(LFS), "size": len(LFS)}]}


def created(target: Target) -> dict[str, Any]:
    return {"name": target.hub.name(), "organization": target.owner, "type": target.kind}


def named(target: Target) -> dict[str, Any]:
    return {"name": target.short, "organization": target.owner, "type": target.kind}


def moved(target: Target) -> dict[str, Any]:
    return {"fromRepo": target.repo, "toRepo": f"{target.owner}/{target.hub.name()}", "type": target.kind}


def duplicated(target: Target) -> dict[str, Any]:
    return {"repository": f"{target.me}/{target.hub.name()}"}


def held_elsewhere(target: Target) -> dict[str, Any]:
    """Into a repo of the caller's own."""
    mine = "x/y" if target.me == "nobody" else target.hub.repo(target.me)
    return {"target": {"type": "model", "name": mine}, "files": [{"sha256": sha(LFS), "filename": "m.bin"}]}


def lfs_ticket(purpose: str, known: bytes | None = None) -> Callable[[Target], str]:
    """The address that a batch gives; a made-up one for whom it gives none."""

    def made(target: Target) -> str:
        data = noise(target.hub.name(), 3000) if known is None else known
        asked = {"operation": purpose, "transfers": ["multipart"], "objects": [{"oid": sha(data), "size": len(data)}]}
        where = f"{page(target.repo, target.kind)}/info/lfs/objects/batch"
        answer = target.hub.post(where, target.token, json=asked, headers=target.headers)
        found = (answer.json.get("objects") or [{}])[0] if answer.status == 200 else {}
        action = found.get("actions", {}).get(
            purpose, {"href": f"{target.hub.rooms.settings.base_url}/lfs/{sha(data)}?ticket=no"}
        )
        return target.hub.local(action["href"])

    return made


MAIN = {"rev": "main"}
FILE = {"rev": "main", "path": "folder/note.txt"}
NDJSON = {"content-type": "application/x-ndjson"}
XORB = {"prefix": "default", "hash": XET.xorbs[0].name}
OF_XET = {"file": XET.name}

ROWS: dict[str, Row] = {
    # --- repos, files, commits ---
    "GET API": Row("see"),
    "GET API/revision/{rev}": Row("see", path=MAIN),
    "GET REPO/resolve/{rev}/{path*}": Row("see", path=FILE),
    "GET REPO/raw/{rev}/{path*}": Row("see", path={"rev": "main", "path": "m.bin"}),
    "POST /api/repos/create": Row("create", json=created),
    "DELETE /api/repos/delete": Row("admin", json=named, before=a_fresh_repo, names_repo=True),
    "GET /api/deleted": Row("signed-in"),
    "POST /api/repos/undelete": Row("admin", json=named, before=a_deleted_repo, names_repo=True, hides=True),
    "POST /api/repos/move": Row("admin", json=moved, before=a_fresh_repo, names_repo=True),
    "PUT API/settings": Row("admin", json={"gated": False}),
    "POST API/duplicate": Row("writes", json=duplicated),
    "POST API/preupload/{rev}": Row(
        "write", path=MAIN, json={"files": [{"path": "a.txt", "size": 1, "sample": "YQ=="}]}
    ),
    "POST API/commit/{rev}": Row("write", path=MAIN, body=one_commit, headers=NDJSON),
    "POST /api/validate-yaml": Row("anybody", json={"content": "---\nlicense: mit\n---\n", "repoType": "model"}),
    "GET /api/whoami-v2": Row("signed-in"),
    "GET API/auth-check": Row("see"),
    "GET API/auth-check/write": Row("write"),
    "GET API/tree/{rev}": Row("see", path=MAIN, query="recursive=true&expand=true"),
    "GET API/tree/{rev}/{path*}": Row("see", path={"rev": "main", "path": "folder"}),
    "POST API/paths-info/{rev}": Row("see", path=MAIN, json={"paths": ["m.bin", "folder"], "expand": True}),
    "GET API/storage": Row("see"),
    "GET API/storage/{rev}": Row("see", path=MAIN),
    "GET /api/settings/store": Row("hub"),
    "GET API/safetensors-metadata/{path*}": Row("see", path={"path": "m.safetensors"}),
    "GET /api/models-tags-by-type": Row("anybody"),
    "GET /api/datasets-tags-by-type": Row("anybody"),
    "GET /api/telemetry/{topic*}": Row("open", path={"topic": "a/b"}),
    "GET /api/agent-harnesses": Row("open"),
    # --- LFS and Xet ---
    "POST REPO/info/lfs/objects/batch": Row("see", json=in_batch("download")),
    "PUT /lfs/{oid}": Row("writes", 400, path={"whole": lfs_ticket("upload")}, body=b"not these bytes"),
    "GET /lfs/{oid}": Row("see", path={"whole": lfs_ticket("download", LFS)}),
    "PUT /lfs/{oid}/part/{number}": Row("writes", 400, path={"whole": lfs_ticket("upload")}, body=b"no part of it"),
    "POST /lfs/{oid}/verify": Row(
        "writes",
        404,
        path={"whole": lfs_ticket("upload", NEVER_SENT)},
        json={"oid": sha(NEVER_SENT), "size": len(NEVER_SENT)},
    ),
    "POST /lfs/{oid}/complete": Row("writes", 400, path={"whole": lfs_ticket("upload")}, json={"oid": "", "parts": []}),
    "GET API/lfs-files": Row("write"),
    "POST API/lfs-files/batch": Row("admin", json={"deletions": {"sha": [], "rewriteHistory": False}}),
    "POST API/lfs-files/duplicate": Row("writes", json=held_elsewhere),
    "GET API/xet-read-token/{rev}": Row("see", path=MAIN),
    "GET API/xet-write-token/{rev}": Row("write", path=MAIN),
    "POST /xet/v1/xorb-grants/{prefix}/{hash}": Row("write", (200, 201), path=XORB, json={"length": 1}, scope="write"),
    "PUT /xet/v1/xorb-puts/{hash}": Row("open", 403, path=XORB, query="ticket=no", body=b"x"),
    "POST /xet/v1/xorb-commits/{prefix}/{hash}/grant/{id}": Row(
        "write", path={**XORB, "id": "1"}, json={}, scope="write"
    ),
    "GET /xet/v1/xorbs/{prefix}/{hash}": Row("see", path=XORB, scope="read"),
    "POST /xet/v2/shards": Row("write", body=shard_of(XET), scope="write"),
    "PUT /xet/shard/{prefix}/{hash}": Row("write", path=XORB, body=shard_of(XET), scope="write"),
    "GET /xet/v2/reconstructions/{file}": Row("see", path=OF_XET, scope="read"),
    "GET /xet/fetch/{ticket}": Row("open", 403, path={"ticket": "no"}),
    "GET /xet/v1/files/{file}": Row("see", path=OF_XET, scope="read"),
    "POST /xet/v1/telemetry": Row("see", json={"event": "xet_download_summary"}, scope="read"),
    **{
        f"POST /xet/{path}/{{prefix}}/{{hash}}": Row("write", path=XORB, body=XET.xorbs[0].serialised(), scope="write")
        for path in ("v1/xorbs", "xorbs", "xorb")
    },
    **{
        f"POST /xet/{path}": Row("write", path=XORB, body=shard_of(XET), scope="write")
        for path in ("v1/shards", "shards", "shard/{prefix}/{hash}")
    },
    **{
        f"GET /xet/{path}/{{prefix}}/{{hash}}": Row(
            "see", path={"prefix": "default", "hash": XET.first_chunk}, scope="read"
        )
        for path in ("v1/chunks", "chunks", "chunk")
    },
    **{
        f"GET /xet/{path}/{{file}}": Row("see", path=OF_XET, scope="read")
        for path in ("v1/reconstructions", "reconstructions", "reconstruction")
    },
    # --- refs, history ---
    "GET API/refs": Row("see", query="include_prs=1"),
    "POST API/branch/{branch*}": Row("write", path={"branch": new_name}, json={}),
    "DELETE API/branch/{branch*}": Row("write", path={"branch": "spare"}, before=a_branch),
    "POST API/tag/{rev*}": Row("write", path=MAIN, json=lambda target: {"tag": new_name(target)}),
    "DELETE API/tag/{rev*}": Row("write", path={"rev": "spare"}, before=a_tag),
    "GET API/commits/{rev}": Row("see", path=MAIN),
    "POST API/super-squash/{branch*}": Row("write", path={"branch": "spare"}, json={"message": "m"}, before=a_branch),
    "GET API/compare/{range*}": Row("see", path={"range": "main..main"}),
    # --- lists, people ---
    "GET /api/{type}": Row("anybody", path={"type": "models"}),
    "GET /api/spaces/templates": Row("anybody"),
    "GET /api/spaces/semantic-search": Row("anybody", 501, query="q=a+cat"),
    "GET /api/spaces/hardware": Row("anybody", 501),
    # in a repo of its own: whoever opened one may push to it
    "POST API/discussions": Row("writes", json={"title": "t", "pullRequest": True}, before=a_fresh_repo),
    "GET API/discussions": Row("see", before=a_pull_request),
    "GET API/discussions/{num}": Row("see", path={"num": "1"}, query="diff=1", before=a_pull_request),
    "POST API/like": Row("session"),
    "DELETE API/like": Row("writes"),
    "GET API/likers": Row("see"),
    "GET /api/users/{user}/likes": Row("anybody", path={"user": "ada"}),
    "GET /api/users/{user}/overview": Row("anybody", path={"user": "ada"}),
    "GET /api/users/{user}/followers": Row("anybody", path={"user": "ada"}),
    "GET /api/users/{user}/following": Row("anybody", path={"user": "ada"}),
    "GET /api/organizations/{org}/overview": Row("anybody", path={"org": "acme"}),
    "GET /api/organizations/{org}/members": Row("anybody", path={"org": "acme"}),
    "GET /api/organizations/{org}/followers": Row("anybody", path={"org": "acme"}),
    "GET /api/settings/repositories": Row("signed-in"),
    "GET /api/organizations/{org}/settings/repositories": Row("signed-in", (200, 404), path={"org": "acme"}),
    # --- git ---
    "GET REPO/info/refs": Row("see", query="service=git-upload-pack", headers={"git-protocol": "version=2"}),
    "POST REPO/git-upload-pack": Row("see", body=GIT_FLUSH, headers={"git-protocol": "version=2"}),
    "POST REPO/git-receive-pack": Row("write", body=GIT_FLUSH),
    # --- the Observatory: what is in its snapshots, everybody may see ---
    "GET /api/observatory": Row("anybody"),
    "GET /api/observatory/questions/{question}": Row("anybody", path={"question": "downloads-by-country"}),
    "GET /api/observatory/answers/{question}": Row("anybody", 404, path={"question": "downloads-by-country"}),
    "GET /api/observatory/claims": Row("anybody"),
    # --- the hub itself ---
    "GET /health/live": Row("open"),
    "GET /health/ready": Row("open"),
    "GET /api/openapi.json": Row("open"),
    "GET /robots.txt": Row("open"),
    "GET /favicon.ico": Row("open"),
    # --- pages ---
    "GET /": Row("anybody"),
    "GET /models": Row("anybody"),
    "GET /datasets": Row("anybody"),
    "GET /spaces": Row("anybody"),
    "GET /{name}": Row("see"),
    "GET REPO": Row("see"),
    "GET REPO/tree/{rev}": Row("see", path=MAIN),
    "GET REPO/tree/{rev}/{path*}": Row("see", path={"rev": "main", "path": "folder"}),
    "GET REPO/blob/{rev}/{path*}": Row("see", path=FILE),
    "GET REPO/commits/{rev}": Row("see", path=MAIN),
    "GET REPO/commit/{rev}": Row("see", 302, path=MAIN),
    "GET REPO/discussions/{number}": Row("see", 302, path={"number": "1"}, before=a_pull_request),
    "POST REPO/like": Row("session", 303, json={}),
    "GET REPO/storage": Row("see"),
    "GET REPO/storage/{rev}": Row("see", path=MAIN),
    "GET /settings/store": Row("hub"),
    "GET /login": Row("anybody", (200, 303)),
    "POST /login": Row("anybody", (401, 429), json={"name": "nobody", "password": "wrong"}),
    "GET /login/link/{secret}": Row("anybody", path={"secret": "s"}),
    "POST /login/link": Row("anybody", 401, json={"secret": "wrong"}),
    "POST /logout": Row("anybody", 303, json={}),
    "GET /settings/tokens": Row("signed-in"),
    "POST /settings/tokens": Row("signed-in", (200, 403), json={"name": "n", "role": "read"}),
    "POST /settings/tokens/revoke": Row("signed-in", (404, 403), json={"id": "999"}),
    "GET /settings/deleted": Row("signed-in"),
    "POST /settings/deleted/undelete": Row("signed-in", 404, json={"number": "999999"}),
    "GET /new": Row("signed-in"),
    "POST /new": Row(
        "create", 303, json=lambda target: {"type": target.kind, "owner": target.owner, "name": new_name(target)}
    ),
    "GET /docs": Row("anybody"),
    "GET /docs/{path*}": Row("anybody", 404, path={"path": "no-such-page"}),
    "GET /observatory": Row("anybody"),
    "GET /observatory/claims": Row("anybody"),
    "GET /observatory/questions/{question}": Row("anybody", path={"question": "downloads-by-country"}),
    "GET /observatory/charts/{look}/{file}": Row("anybody", 404, path={"look": "light-wide", "file": "no-such.svg"}),
    "GET /static/{file}": Row("open", 404, path={"file": "none.css"}),
}


def spelled(route: Route, row: Row, target: Target) -> str:
    """The request line's address for that repo."""
    params: dict[str, str] = {"type": PLURALS[target.kind], "ns": target.owner, "name": target.short}
    for name, value in row.path.items():
        params[name] = value(target) if callable(value) else value
    if "whole" in params:
        address, _, query = params["whole"].partition("?")
        rest = route.pattern.removeprefix("/lfs/{oid}").replace("{number}", "1")
        return f"{address.removesuffix('/complete')}{rest}?{query}"
    parts = [
        quote(params[part.strip("{}*")], safe="/" if part.endswith("*}") else "") if part.startswith("{") else part
        for part in route.pattern.split("/")
    ]
    return "/".join(parts) + (f"?{row.query}" if row.query else "")
