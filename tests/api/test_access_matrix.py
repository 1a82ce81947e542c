"""Every route of the table, tried by everybody, on a public and on a private repo: who gets in is written in ROWS.

A route without a row fails, and so does a row without a route. What a private repo answers to whoever may not see it is
compared, byte for byte, with what a repo answers that does not exist (T33).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from access_rows import LFS, ROWS, SAFETENSORS, XET, Row, Target, key, spelled
from asgi_hub import ROOT, Answer, Hub, git_sha, page
from xet_files import with_xet

from headwater.front.router import Route
from headwater.front.routes import ROUTES
from headwater.ground.names import REPO_TYPES, RepoId

OUTSIDE = ("nobody", "stranger", "other organization")
WAYS = (
    *((name, "", "*/*") for name in OUTSIDE),
    ("nobody", "HEAD", "*/*"),
    ("stranger", "HEAD", "*/*"),
    ("nobody", "", "text/html"),
    ("stranger in a browser", "", "text/html"),
)


@dataclass(frozen=True)
class Who:
    """Somebody who asks. `rights`: in the organization that owns the repos; `all` for those without an owner too."""

    rights: frozenset[str] = frozenset()
    person: str = "nobody"
    token: str = ""
    """Empty for a person: by browser session."""
    wrong: bool = False
    may_write: bool = True


def who(*rights: str, **more: Any) -> Who:
    return Who(frozenset(rights), **more)


@pytest.fixture(scope="module")
def hub(new_hub: Callable[..., Hub]) -> Hub:
    return new_hub(lfs_part_size=1024, signin_tries_max=1)


@pytest.fixture(scope="module")
def everybody(hub: Hub) -> dict[str, Who]:
    expired, revoked, only_read = hub.expired_token("ada"), hub.revoked_token("ada"), hub.token("ada", "read")
    return {
        "nobody": who(may_write=False),
        "stranger": who(person="sam", token="sam"),
        "reader": who("see", person="rea", token="rea"),
        "reader in a browser": who("see", "session", person="rea"),
        "stranger in a browser": who("session", person="sam"),
        "contributor": who("see", "create", person="cyd", token="cyd"),
        "writer": who("see", "create", "write", person="wim", token="wim"),
        "admin": who("see", "create", "write", "admin", person="ada", token="ada"),
        "other organization": who(person="otto", token="otto"),
        "expired": who(person="ada", token=expired, wrong=True),
        "revoked": who(person="ada", token=revoked, wrong=True),
        "wrong scope": who("see", person="ada", token=only_read, may_write=False),
        "hub admin": who("see", "create", "write", "admin", "all", person="root", token="root"),
    }


@pytest.fixture(scope="module")
def repos(hub: Hub) -> dict[tuple[str, str, str], str]:
    """(type, "acme" or "", "open" or "shut") -> repo id; all with the same files."""
    found = {}
    for kind in REPO_TYPES:
        for owner in ("acme", ""):
            for visibility in ("open", "shut"):
                rid = RepoId(kind, owner or None, hub.name(visibility))
                hub.rooms.repos.registry.create(ROOT, rid, visibility == "shut", "docker" if kind == "space" else None)
                hub.committed(
                    rid.full, {"folder/note.txt": b"note", "m.safetensors": SAFETENSORS}, as_="root", kind=kind
                )  # fmt: skip
                hub.with_lfs(rid.full, "m.bin", LFS, "root", kind)
                with_xet(hub, rid.full, "x.bin", XET, "root", kind)
                found[kind, owner, visibility] = rid.full
    return found


def spellings() -> list[Any]:
    """(route, type, owner) to try; the API is asked for each type, everything else says its type itself."""
    cases = []
    for route in ROUTES:
        owner = "" if "{name}" in route.pattern and "{ns}" not in route.pattern else "acme"
        if "{type}/" in route.pattern:
            kinds = REPO_TYPES if owner else REPO_TYPES[:1]
        else:
            kinds = next(((kind,) for kind in REPO_TYPES if route.pattern.startswith(f"/{kind}s/")), REPO_TYPES[:1])
        cases += [pytest.param(route, kind, owner, id=f"{route.method} {route.pattern} {kind}") for kind in kinds]
    return cases


def names_a_repo(route: Route) -> bool:
    row = ROWS.get(key(route))
    return "{name}" in route.pattern or (row is not None and row.names_repo)


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    assert sorted({key(route) for route in ROUTES}) == sorted(ROWS)


def test_a_route_that_asks_for_a_right_says_so_in_the_table() -> None:
    """`needs` of a route is what the reference tells people; it may promise less than the row, never more."""
    rank = {"": 0, "read": 0, "signed-in": 1, "write": 2, "admin": 3}
    of_row = {
        "open": 0,
        "anybody": 0,
        "see": 0,
        "signed-in": 1,
        "create": 1,
        "writes": 1,
        "session": 1,
        "write": 2,
        "admin": 3,
        "hub": 3,
    }
    assert [r.pattern for r in ROUTES if rank[r.needs] > of_row[ROWS[key(r)].needs]] == []


@pytest.mark.parametrize(("route", "kind", "owner"), spellings())
def test_who_gets_in(
    hub: Hub, everybody: dict[str, Who], repos: dict[tuple[str, str, str], str], route: Route, kind: str, owner: str
) -> None:
    row = ROWS[key(route)]
    by_visibility = names_a_repo(route) or row.scope or "whole" in row.path
    wrong = []
    for visibility in ("open", "shut") if by_visibility else ("open",):
        for name, asking in everybody.items():
            target = aim(hub, kind, repos[kind, owner, visibility], asking)
            answer = ask(route, row, target, asking)
            wanted = expected(route, row, asking, target)
            if outcome(answer, row, name) not in wanted:
                said = f"{answer.status} {answer.code} {answer.body[:100]!r}"
                wrong.append(f"{name} on {visibility}: wanted {wanted}, got {said}")
            if answer.status >= 500 and answer.status != row.ok:
                wrong.append(f"{name} on {visibility}: {answer.status}")
    assert wrong == []


def aim(hub: Hub, kind: str, repo: str, asking: Who) -> Target:
    return Target(hub, kind, repo, asking.token, "open" not in repo, asking.person)


def ask(route: Route, row: Row, target: Target, asking: Who, method: str = "", **more: str) -> Answer:
    if not (asking.token or target.headers or asking.person == "nobody"):
        target = replace(target, headers=target.hub.session(asking.person))
    if row.before is not None and right(row, asking, target):
        target = row.before(target)
    address = spelled(route, row, target)
    given = row.json(target) if callable(row.json) else row.json
    body = row.body(target) if callable(row.body) else row.body
    token = xet_token(row, target) if row.scope else asking.token
    headers = {**row.headers, **target.headers, **more}
    return target.hub.send(method or route.method, address, token, json=given, body=body, headers=headers)


def xet_token(row: Row, target: Target) -> str:
    """The best that he can get: for a write, a read token is tried as well."""
    for scope in ("write", "read") if row.scope == "write" else ("read",):
        path = target.hub.api(target.repo, f"/xet-{scope}-token/main", target.kind)
        answer = target.hub.get(path, target.token, headers=target.headers)
        if answer.status == 200:
            return str(answer.json["accessToken"])
    return target.token


def rights(asking: Who, target: Target) -> frozenset[str]:
    """In this repo. One without an owner is its hub's: its members have no part in it."""
    held = asking.rights if target.owner or "all" in asking.rights else asking.rights & {"session"}
    if not target.private:
        held |= {"see"}
    if asking.may_write:
        held |= {"writes"}
    return held


def right(row: Row, asking: Who, target: Target) -> bool:
    held = rights(asking, target)
    return not asking.wrong and "see" in held and (row.needs in held or row.needs == "signed-in")


def expected(route: Route, row: Row, asking: Who, target: Target) -> tuple[str, ...]:
    held = rights(asking, target)
    nobody = asking.person == "nobody"
    if row.needs == "open":
        return ("in",)
    if route.auth == "ticket":
        return ("in",) if right(row, asking, target) else ("unauthenticated", "forbidden")
    if asking.wrong:
        return ("unauthenticated",)
    if row.needs == "anybody" or (row.needs == "signed-in" and not nobody):
        return ("in",)
    if nobody and (route.needs not in ("", "read") or row.needs == "signed-in"):
        return ("unauthenticated",)
    if route.needs in ("write", "admin") and route.body != "none" and not asking.may_write:
        return ("forbidden",)
    if row.needs == "hub":
        return ("in",) if "all" in asking.rights else ("forbidden",)
    if "see" not in held and row.needs != "create":
        return ("absent",)
    return ("in",) if row.needs in held else ("absent",) if row.hides else ("forbidden",)


def outcome(answer: Answer, row: Row, name: str) -> str:
    if answer.status in (row.ok if isinstance(row.ok, tuple) else (row.ok,)) and answer.code not in (
        "RepoNotFound",
        "InvalidCredentials",
    ):
        return "in"
    if answer.code == "RepoNotFound" and answer.status == (401 if name == "nobody" else 404):
        return "absent"
    if answer.status == 401 and answer.code == "InvalidCredentials":
        assert answer.headers["www-authenticate"].startswith("Basic ")
        return "unauthenticated"
    return "forbidden" if answer.status == 403 else "something else"


# --- T33 ---


@pytest.mark.parametrize(("route", "kind", "owner"), [case for case in spellings() if names_a_repo(case.values[0])])
def test_T33_a_private_repo_answers_as_one_that_does_not_exist(
    hub: Hub, everybody: dict[str, Who], repos: dict[tuple[str, str, str], str], route: Route, kind: str, owner: str
) -> None:
    row = replace(ROWS[key(route)], before=None)
    hidden = repos[kind, owner, "shut"]
    absent = hidden.replace("shut", "gone")
    for name, method, accept in WAYS:
        if method == "HEAD" and route.method != "GET":
            continue
        asking = everybody[name]
        browser = hub.session(asking.person) if name.endswith("browser") else {}
        targets = [replace(aim(hub, kind, repo, asking), headers=browser) for repo in (hidden, absent)]
        pair = [ask(route, row, target, asking, method, accept=accept) for target in targets]
        assert told(pair[0]) == told(pair[1])
        assert pair[0].status in (401, 403, 404, 303)


def told(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """All that an answer tells, without what differs by request: its id, and the repo's name as it was asked for."""
    own_id = answer.headers["x-request-id"]
    headers = {name: value.replace("shut", "gone") for name, value in answer.headers.items() if name != "x-request-id"}
    return answer.status, headers, answer.body.replace(own_id.encode(), b"ID").replace(b"shut", b"gone")


DOORS = [
    ("POST", "API/preupload/main?create_pr=1", {"files": []}),
    ("POST", "API/commit/main?create_pr=1", None),
    ("GET", "API/xet-write-token/main?create_pr=1", None),
    ("GET", "API/xet-write-token/None?create_pr=1", None),
    ("GET", "REPO.git/info/refs?service=git-receive-pack", None),
    ("GET", "REPO.git/info/refs?service=git-upload-pack", None),
    ("GET", "REPO.git/info/refs?service=no-such", None),
    ("POST", "REPO.git/info/lfs/objects/batch", {"operation": "upload", "objects": []}),
    ("POST", "REPO.git/info/lfs/objects/batch", {"operation": "nonsense"}),
    ("GET", "API?expand=nonsense", None),
    ("GET", "API/revision/no-such", None),
    ("GET", "API/tree/main/no-such?cursor=nonsense", None),
    ("GET", "REPO/resolve/main/no-such", None),
    ("GET", "REPO/resolve/main/..%2f..%2fetc", None),
    ("GET", "API/commits/main?cursor=nonsense", None),
    ("GET", "API/likers?limit=nonsense", None),
    ("GET", "API/compare/nonsense", None),
    ("POST", "API/duplicate", {"repository": 7}),
    ("POST", "API/lfs-files/duplicate", {}),
    ("PUT", "API/settings", {"gated": "nonsense"}),
    ("POST", "API/branch/a..b", {}),
    ("POST", "API/tag/main", {"tag": "a b"}),
    ("GET", "API/discussions", None),
    ("POST", "API/discussions", {"title": "t"}),
    ("POST", "API/discussions", {"title": 7, "pullRequest": True}),
    ("GET", "API/discussions/9", None),
    ("GET", "API/discussions/nonsense", None),
    ("POST", "API/commit/refs%2Fpr%2F1", None),
    ("POST", "API/preupload/refs%2Fpr%2F1", {"files": []}),
    ("GET", "API/xet-write-token/refs%2Fpr%2F1", None),
    ("DELETE", "API", None),
    ("GET", "REPO/no/such/page", None),
]


@pytest.mark.parametrize(("method", "address", "given"), DOORS, ids=[f"{m} {a}" for m, a, _ in DOORS])
def test_T33_also_when_the_question_itself_is_wrong(
    hub: Hub, everybody: dict[str, Who], repos: dict[tuple[str, str, str], str], method: str, address: str, given: Any
) -> None:
    hidden = repos["dataset", "acme", "shut"]
    for name in OUTSIDE:
        pair = []
        for repo in (hidden, hidden.replace("shut", "gone")):
            where = address.replace("API", hub.api(repo, kind="dataset")).replace("REPO", page(repo, "dataset"))
            pair.append(hub.send(method, where, everybody[name].token, json=given))
        assert told(pair[0]) == told(pair[1])
        assert pair[0].status in (400, 401, 403, 404, 405, 422)


def test_a_file_of_a_private_repo_is_there_for_its_members_alone(
    hub: Hub, everybody: dict[str, Who], repos: dict[tuple[str, str, str], str]
) -> None:
    path = f"{page(repos['space', 'acme', 'shut'], 'space')}/resolve/main/folder/note.txt"
    answer = hub.get(path, "rea")
    assert (200, b"note", f'"{git_sha(b"note")}"') == (answer.status, answer.body, answer.headers["etag"])
    assert answer.headers["cache-control"] == "private, no-cache"
