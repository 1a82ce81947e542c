"""What is remembered from one file of a revision to the next outlives nothing that it was made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asgi_hub import Hub
from hypothesis import example, given
from hypothesis import strategies as st

from headwater.front.hub import resolve
from headwater.front.revisited import split
from headwater.front.router import Route, Router, decoded
from headwater.front.routes import ROUTES
from headwater.ground.clock import FixedClock
from headwater.ground.errors import NotOffered

FILES = {"a.txt": b"first", "in/b c.txt": b"second"}


@pytest.fixture(scope="module")
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture(scope="module")
def hub(new_hub: Callable[..., Hub], clock: FixedClock) -> Hub:
    return new_hub(clock)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the repos that were opened for a file, in the order of the requests that had to."""
    seen: list[str] = []
    true = resolve.opening.contents

    def contents(rooms: Any, request: Any) -> Any:
        seen.append(request.params["name"])
        return true(rooms, request)

    monkeypatch.setattr(resolve.opening, "contents", contents)
    return seen


def file(repo: str, path: str = "a.txt", revision: str = "main") -> str:
    return f"/{repo}/resolve/{revision}/{path}"


def visited(hub: Hub, as_: str = "ada", **more: Any) -> str:
    """A repo, and a file of it that was just read by somebody."""
    repo = hub.repo("ada", **more)
    hub.committed(repo, FILES)
    assert hub.get(file(repo), as_).body == b"first"
    return repo


def test_the_files_of_a_revision_open_their_repo_once(hub: Hub, opened: list[str]) -> None:
    repo = visited(hub, private=True)
    answers = [hub.head(file(repo), "ada"), hub.get(file(repo, "in/b%20c.txt"), "ada"), hub.get(file(repo), "ada")]
    assert [one.body for one in answers] == [b"", b"second", b"first"]
    assert answers[0].headers["etag"] == answers[2].headers["etag"] != answers[1].headers["etag"]
    assert len(opened) == 1
    assert hub.get(file(repo, "no.txt"), "ada").code == "EntryNotFound"
    assert hub.get(file(repo, "%ff"), "ada").status == 400
    assert len(opened) == 1


def test_each_revision_and_each_who_asks_is_another(hub: Hub, opened: list[str]) -> None:
    repo = visited(hub)
    hub.ok("POST", hub.api(repo, "/branch/other"), "ada", json={})
    hub.committed(repo, {"a.txt": b"changed"}, rev="other")
    for revision, holds in (("main", b"first"), ("other", b"changed"), ("refs%2Fheads%2Fother", b"changed")):
        for as_ in ("ada", "sam", ""):
            assert [hub.get(file(repo, "a.txt", revision), as_).body for _ in range(2)] == [holds, holds]
    assert len(opened) == 1 + 9


def test_nobody_comes_in_on_what_others_were_let_into(hub: Hub) -> None:
    repo = visited(hub, private=True)
    for as_ in ("sam", "", hub.revoked_token("ada"), hub.expired_token("ada"), "hf_nobodysNobodysNobodysNobodysNob"):
        for method in ("GET", "HEAD"):
            assert hub.send(method, file(repo), as_).status in (401, 404)
    assert hub.get(file(repo), headers=hub.session("sam")).status == 404
    both = {**hub.session("sam"), "authorization": f"Bearer {hub.tokens['ada']}"}
    assert hub.get(file(repo), headers=both).body == b"first"  # the token counts, as without the memory


@pytest.mark.parametrize("how", ["commit", "ref", "private", "gate", "name", "end"])
def test_what_changed_is_seen_by_the_next_request(hub: Hub, how: str) -> None:
    repo = visited(hub, "sam")
    if how == "commit":
        hub.committed(repo, {"a.txt": b"changed"})
        assert hub.get(file(repo), "sam").body == b"changed"
    elif how == "ref":
        hub.ok("POST", hub.api(repo, "/tag/main"), "ada", json={"tag": "here"})
        assert hub.get(file(repo, "a.txt", "here"), "sam").status == 200
        hub.ok("DELETE", hub.api(repo, "/tag/here"), "ada")
        assert hub.get(file(repo, "a.txt", "here"), "sam").code == "RevisionNotFound"
    elif how == "private":
        hub.ok("PUT", hub.api(repo, "/settings"), "ada", json={"private": True})
        assert hub.get(file(repo), "sam").code == "RepoNotFound"
    elif how == "gate":
        hub.ok("PUT", hub.api(repo, "/settings"), "ada", json={"gated": "manual"})
        assert hub.get(file(repo), "sam").code == "GatedRepo"
    elif how == "name":
        new = f"ada/{hub.name()}"
        hub.ok("POST", "/api/repos/move", "ada", json={"fromRepo": repo, "toRepo": new, "type": "model"})
        moved = hub.get(file(repo), "sam")
        assert (moved.status, moved.headers["location"]) == (307, file(new))
    else:
        hub.ok("DELETE", "/api/repos/delete", "ada", json={"name": repo.split("/")[1], "type": "model"})
        assert hub.get(file(repo), "sam").code == "RepoNotFound"


def test_a_token_ends_to_the_millisecond_and_at_once_when_it_is_revoked(hub: Hub, clock: FixedClock) -> None:
    repo = visited(hub, private=True)
    _, ending = hub.new_token("ada", expires_ms=clock.now_ms() + 1000)
    number, revoked = hub.new_token("ada")
    assert hub.get(file(repo), ending).status == 200
    clock.advance(0.999)
    assert hub.get(file(repo), ending).status == 200
    clock.advance(0.001)
    assert hub.get(file(repo), ending).status == 401
    assert hub.get(file(repo), revoked).status == 200
    hub.rooms.accounts.revoke_token(hub.actor("ada"), number)
    assert hub.get(file(repo), revoked).status == 401


def test_T37_a_decision_about_a_token_is_made_anew_after_seconds(
    hub: Hub, clock: FixedClock, opened: list[str]
) -> None:
    repo = visited(hub)
    clock.advance(hub.rooms.settings.token_cache_s)
    assert hub.get(file(repo), "ada").status == 200
    assert len(opened) == 2


ROUTER = Router(ROUTES)
PARTS = st.sampled_from(["resolve", "main", "a", "datasets", "api", "models", "x.git", "resolve%2Fmain", "tree", ""])


@example(["datasets"], "resolve", ["resolve"], ["resolve", "resolve"])  # a data set called `resolve`, once it is longer
@example(["datasets"], "tree", ["a"], ["a", "b"])
@given(
    st.lists(PARTS, max_size=3), PARTS, st.lists(PARTS, min_size=1, max_size=4), st.lists(PARTS, min_size=1, max_size=4)
)
def test_an_address_is_read_as_the_router_reads_it(
    repo: list[str], revision: str, path: list[str], other: list[str]
) -> None:
    """The memory splits addresses at the first `/resolve/`. Once the router has read one so, it reads all of them so
    that begin like it."""
    start = "/".join(["", *repo, "resolve", revision, ""])
    first, second = (split(start + "/".join(rest)) for rest in (path, other))
    assert first[:2] == second[:2]
    route, params = matched(start + "/".join(path))
    if route is None or route.first is None or not ROUTER.settles(f"{first[0]}/resolve/{first[1]}", route):
        return  # is not remembered
    assert params["path"] == decoded(first[2])
    again, read = matched(start + "/".join(other))
    assert again is route
    assert read == {**params, "path": decoded(second[2])}


def matched(raw_path: str) -> tuple[Route | None, dict[str, str]]:
    try:
        return ROUTER.match("GET", raw_path)
    except NotOffered:
        return None, {}


@pytest.mark.parametrize("start", ["/ada/x", "/gpt2", "/datasets/ada/x", "/datasets/squad", "/spaces/ada/x"])
@pytest.mark.parametrize("revision", ["main", "refs%2Fpr%2F1", "c" * 40])
def test_the_files_of_every_kind_of_repo_are_remembered(start: str, revision: str) -> None:
    route, _ = matched(f"{start}/resolve/{revision}/in/a.txt")
    assert route is not None
    assert route.first is not None
    assert ROUTER.settles(f"{start}/resolve/{revision}", route)
