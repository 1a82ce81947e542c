"""A private repo is told from a missing one by nothing: not by who asks how, not by what the hub does to answer (T33).

`test_access_matrix.py` compares the answers of every route; here other askers and other ways to ask, and, in place of
time, which questions the hub puts to its database on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from access_rows import LFS, ROWS, SAFETENSORS, XET, key
from asgi_hub import ROOT, Hub
from sqlalchemy import event, update
from test_access_matrix import Who, aim, ask, names_a_repo, spellings, told
from xet_files import with_xet

from headwater.front.router import Route
from headwater.ground.names import REPO_TYPES, RepoId
from headwater.repos.tables import repo as repo_table

CASES = [case for case in spellings() if names_a_repo(case.values[0])]


@dataclass(frozen=True)
class Hidden:
    """Private repos with the same files, by type and owner; `disabled` ones as well."""

    private: dict[tuple[str, str], str]
    disabled: dict[tuple[str, str], str]


@pytest.fixture(scope="module")
def hub(new_hub: Callable[..., Hub]) -> Hub:
    return new_hub(lfs_part_size=1024, signin_tries_max=1)


@pytest.fixture(scope="module")
def hidden(hub: Hub) -> Hidden:
    return Hidden(made(hub), made(hub, disabled=True))


def made(hub: Hub, *, disabled: bool = False) -> dict[tuple[str, str], str]:
    found = {}
    for kind in REPO_TYPES:
        for owner in ("acme", ""):
            rid = RepoId(kind, owner or None, hub.name("shut"))
            hub.rooms.repos.registry.create(ROOT, rid, True, "docker" if kind == "space" else None)
            hub.committed(rid.full, {"folder/note.txt": b"note", "m.safetensors": SAFETENSORS}, as_="root", kind=kind)
            hub.with_lfs(rid.full, "m.bin", LFS, "root", kind)
            with_xet(hub, rid.full, "x.bin", XET, "root", kind)
            if disabled:
                with hub.rooms.db.write() as connection:
                    number = hub.row(rid.full, kind).id
                    connection.execute(update(repo_table).where(repo_table.c.id == number).values(disabled=True))
            found[kind, owner] = rid.full
    return found


@pytest.fixture(scope="module")
def strangers(hub: Hub) -> dict[str, Who]:
    return {
        "nobody": Who(may_write=False),
        "stranger": Who(person="sam", token="sam"),
        "stranger with a read token": Who(person="sam", token=hub.token("sam", "read"), may_write=False),
    }


def absent(repo: str) -> str:
    return repo.replace("shut", "gone")


def pair(hub: Hub, route: Route, kind: str, repo: str, asking: Who, **more: str) -> tuple[Any, Any]:
    """What is told of the repo, and of one that is not there."""
    row = replace(ROWS[key(route)], before=None)
    first, second = [told(ask(route, row, aim(hub, kind, one, asking), asking, **more)) for one in (repo, absent(repo))]
    return first, second


@pytest.mark.parametrize(("route", "kind", "owner"), CASES)
def test_T33_also_if_it_is_disabled_or_asked_for_with_a_read_token_or_as_git_asks(
    hub: Hub, strangers: dict[str, Who], hidden: Hidden, route: Route, kind: str, owner: str
) -> None:
    repo = hidden.private[kind, owner]
    found, none = pair(hub, route, kind, hidden.disabled[kind, owner], strangers["stranger"])
    assert found == none
    found, none = pair(hub, route, kind, repo, strangers["stranger with a read token"])
    assert found == none
    as_git = {"user-agent": "git/2.47.0", "git-protocol": "version=2", "range": "bytes=0-0", "if-none-match": "*"}
    for name in ("nobody", "stranger"):
        found, none = pair(hub, route, kind, repo, strangers[name], **as_git)
        assert found == none


@pytest.mark.parametrize("spelled", [str.upper, str.title], ids=["upper", "title"])
def test_T33_the_name_is_told_as_it_was_asked_for(hub: Hub, hidden: Hidden, spelled: Callable[[str], str]) -> None:
    """Names have no case when they are looked up: the answer must not tell how the owner writes it."""
    repo = hidden.private["model", "acme"]
    asked = spelled(repo)
    for who in ("", "sam"):
        for method in ("GET", "HEAD"):
            for address in (
                f"/api/models/{asked}",
                f"/{asked}/resolve/main/m.bin",
                f"/{asked}.git/info/refs?service=x",
            ):
                said = [
                    hub.send(method, one, who) for one in (address, address.replace(spelled("shut"), spelled("gone")))
                ]
                assert [answer.status for answer in said] == [said[0].status] * 2
                assert repo not in str(said[0].headers) + said[0].text


@contextmanager
def questions(hub: Hub) -> Iterator[list[str]]:
    """Every statement that the hub's database is given meanwhile."""
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    engines = [hub.rooms.db._readers, hub.rooms.db._durable, hub.rooms.db._soft]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize(("route", "kind", "owner"), CASES)
def test_T33_the_hub_does_the_same_work_for_a_private_repo_as_for_none(
    hub: Hub, strangers: dict[str, Who], hidden: Hidden, route: Route, kind: str, owner: str
) -> None:
    """The same questions in the same order take the same time, as far as a caller can measure."""
    row = replace(ROWS[key(route)], before=None)
    repo = hidden.private[kind, owner]
    for name in ("nobody", "stranger"):
        asking = strangers[name]
        asked = []
        for one in (repo, absent(repo)):
            target = aim(hub, kind, one, asking)
            hub.get(hub.api(one, kind=kind), "root")  # a repo that somebody uses is remembered
            ask(route, row, target, asking)  # and so is who asks
            with questions(hub) as statements:
                ask(route, row, target, asking)
            asked.append(list(statements))
        assert asked[0] == asked[1]
