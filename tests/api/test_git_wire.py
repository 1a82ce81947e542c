"""git over HTTP as the application answers it: refusals that git shows, and long checks that nobody else waits for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgi_hub import Hub
from git_pushes import FILE, Workshop

from headwater.repos import inspection

GIT = {"user-agent": "git/2.39.5"}


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    made = Workshop(tmp_path / "work.git")
    made.init()
    return made


def a_push(workshop: Workshop) -> bytes:
    tree = workshop.tree((FILE, "a.txt", workshop.blob(b"pushed\n")))
    return workshop.push(workshop.commit(tree), ref="refs/heads/new")


@pytest.mark.parametrize(
    ("as_", "service", "status", "why"),
    [
        ("sam", "git-receive-pack", 403, "You don't have the rights to write to the model REPO"),
        ("sam", "git-archive", 403, "Only git's smart protocol is offered; upgrade git"),
        ("", "git-receive-pack", 401, "This needs an account: sign in, or send a token."),
    ],
)
def test_git_is_told_in_plain_text_which_it_shows_and_others_in_json(
    hub: Hub, as_: str, service: str, status: int, why: str
) -> None:
    repo = hub.repo()
    path = f"/{repo}.git/info/refs?service={service}"
    other = hub.get(path, as_)
    told = hub.get(path, as_, headers=GIT)
    assert (status, status) == (other.status, told.status)
    assert other.error == why.replace("REPO", repo)
    assert told.headers["content-type"].startswith("text/plain")
    assert told.text == f"{other.error}\n"
    for name in ("x-error-code", "x-error-message", "www-authenticate"):
        assert other.headers.get(name) == told.headers.get(name)


def test_T33_git_is_told_the_same_of_a_private_repo_as_of_none(hub: Hub) -> None:
    private = hub.repo(private=True)
    for as_, status in (("sam", 404), ("", 401)):
        for service in ("git-upload-pack", "git-receive-pack"):
            there, none = (
                hub.get(f"/{name}.git/info/refs?service={service}", as_, headers=GIT) for name in (private, "ada/none")
            )
            assert (status, there.body) == (there.status, none.body)
            assert {**there.headers, "x-request-id": ""} == {**none.headers, "x-request-id": ""}


def test_a_renamed_repo_still_leads_git_to_its_new_name(hub: Hub) -> None:
    repo = hub.repo()
    hub.ok("POST", "/api/repos/move", "ada", json={"fromRepo": repo, "toRepo": f"{repo}-new", "type": "model"})
    answer = hub.get(f"/{repo}.git/info/refs?service=git-upload-pack", headers=GIT)
    assert (307, f"/{repo}-new.git/info/refs?service=git-upload-pack") == (answer.status, answer.headers["location"])


def test_pushes_are_checked_where_no_other_request_waits_for_them(
    hub: Hub, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, threads, steps = hub.repo(), [], inspection.Inspection.steps

    def noted(self: Any, tips: Any) -> Iterator[None]:
        threads.append(threading.current_thread().name)
        yield from steps(self, tips)

    monkeypatch.setattr(inspection.Inspection, "steps", noted)
    answer = hub.ok("POST", f"/{repo}.git/git-receive-pack", "ada", body=a_push(workshop))
    assert b"unpack ok" in answer.body
    assert [name.rpartition("_")[0] for name in threads] == ["waiting"]
