"""`headwater admin repo`, as an operator types it; a running hub sees what it does."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from click.testing import CliRunner, Result
from hub_building import Hub

from headwater.cli import program
from headwater.ground.errors import Conflict, EntryMissing, HeadwaterError, Invalid, RepoMissing
from headwater.ground.names import RepoId
from headwater.repos import Moved


def run(hub: Hub, *words: str, stdin: str = "") -> Result:
    name, *rest = words
    return CliRunner().invoke(
        program, ["admin", "repo", name, "--data", str(hub.data), *rest], input=stdin, standalone_mode=False
    )


def ok(hub: Hub, *words: str, stdin: str = "") -> str:
    result = run(hub, *words, stdin=stdin)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def refused(hub: Hub, *words: str) -> HeadwaterError:
    error = run(hub, *words).exception
    assert isinstance(error, HeadwaterError), error
    return error


def private(hub: Hub, name: str) -> bool:
    return hub.rooms.repos.registry.open(hub.ada, RepoId("model", "ada", name), "read").private


def test_a_repo_that_is_made_is_there_for_the_running_hub(a_hub: Hub) -> None:
    assert ok(a_hub, "create", "ada/x") == "ada/x\n"
    assert ok(a_hub, "create", "ada/y", "--visibility", "private") == "ada/y\n"
    assert (private(a_hub, "x"), private(a_hub, "y")) == (False, True)


def test_a_space_that_is_made_is_static_unless_said_otherwise(a_hub: Hub) -> None:
    ok(a_hub, "create", "ada/page", "--type", "space")
    ok(a_hub, "create", "ada/app", "--type", "space", "--sdk", "gradio")
    open_ = a_hub.rooms.repos.registry.open
    made = [open_(a_hub.ada, RepoId("space", "ada", name), "read").sdk for name in ("page", "app")]
    assert made == ["static", "gradio"]
    assert isinstance(refused(a_hub, "create", "ada/m", "--sdk", "gradio"), Invalid)


def test_a_repo_without_a_namespace_may_be_made_by_the_operator(a_hub: Hub) -> None:
    assert ok(a_hub, "create", "gpt2") == "gpt2\n"
    assert a_hub.rooms.repos.registry.open(a_hub.ada, RepoId("model", None, "gpt2"), "read")


@pytest.mark.parametrize(
    ("name", "kind", "error"),
    [
        ("ada/x", "model", Conflict),
        ("ada/..", "model", Invalid),
        ("nobody/x", "model", EntryMissing),
        ("", "model", Invalid),
    ],
)
def test_a_repo_that_cannot_be_made_is_refused(a_hub: Hub, name: str, kind: str, error: type[HeadwaterError]) -> None:
    a_hub.repo("ada/x")
    assert isinstance(refused(a_hub, "create", name, "--type", kind), error)


def test_a_name_that_looks_like_another_is_made_with_a_warning(a_hub: Hub) -> None:
    a_hub.repo("ada/fal-con")
    result = run(a_hub, "create", "ada/fal_con")
    assert (result.exit_code, result.stdout) == (0, "ada/fal_con\n")
    assert "looks like fal-con" in result.stderr


def test_all_repos_are_listed_private_ones_too(a_hub: Hub) -> None:
    a_hub.repo("ada/x")
    a_hub.repo("ada/secret", "dataset", private=True)
    assert json.loads(ok(a_hub, "list", "--json")) == [
        {"type": "dataset", "id": "ada/secret", "visibility": "private"},
        {"type": "model", "id": "ada/x", "visibility": "public"},
    ]
    assert ok(a_hub, "list").split() == ["dataset", "private", "ada/secret", "model", "public", "ada/x"]


def test_visibility_is_changed_both_ways(a_hub: Hub) -> None:
    a_hub.repo("ada/x")
    for visibility, expected in (("private", True), ("public", False)):
        ok(a_hub, "set-visibility", "ada/x", visibility)
        assert private(a_hub, "x") is expected


def test_T41_a_moved_repo_is_found_under_its_old_name(a_hub: Hub) -> None:
    a_hub.repo("ada/x")
    ok(a_hub, "move", "ada/x", "ada/y")
    assert private(a_hub, "y") is False
    with pytest.raises(Moved):
        private(a_hub, "x")


def test_a_deletion_asks_first(a_hub: Hub) -> None:
    a_hub.repo("ada/x")
    assert run(a_hub, "delete", "ada/x", stdin="n\n").exit_code != 0
    assert private(a_hub, "x") is False
    ok(a_hub, "delete", "ada/x", stdin="y\n")
    with pytest.raises(RepoMissing):
        private(a_hub, "x")


def test_a_deleted_repo_is_listed_and_brought_back(a_hub: Hub) -> None:
    made = a_hub.repo("ada/x", "dataset")
    said = ok(a_hub, "delete", "ada/x", "--type", "dataset", "--yes")
    assert said == "Frees 0 bytes in 7 days.\n"
    (listed,) = json.loads(ok(a_hub, "deleted", "--json"))
    since, until = (datetime.fromisoformat(listed.pop(name)) for name in ("deleted", "until"))
    assert (listed, until - since) == ({"number": made.id, "type": "dataset", "id": "ada/x"}, timedelta(days=7))
    assert ok(a_hub, "deleted").split()[-1] == "ada/x"
    assert ok(a_hub, "undelete", "ada/x", "--type", "dataset") == "ada/x\n"
    assert ok(a_hub, "deleted") == ""


def test_a_repo_comes_back_by_its_number_and_to_another_name(a_hub: Hub) -> None:
    first = a_hub.repo("ada/x")
    ok(a_hub, "delete", "ada/x", "--yes")
    a_hub.repo("ada/x")
    assert isinstance(refused(a_hub, "undelete", f"#{first.id}"), Conflict)
    assert ok(a_hub, "undelete", f"#{first.id}", "--to", "ada/y") == "ada/y\n"
    assert private(a_hub, "y") is False
    assert isinstance(refused(a_hub, "undelete", f"#{first.id}"), RepoMissing)


def test_a_repo_that_is_purged_or_deleted_at_once_does_not_come_back(a_hub: Hub) -> None:
    a_hub.repo("ada/x")
    a_hub.repo("ada/y")
    assert ok(a_hub, "delete", "ada/x", "--now", "--yes") == "Frees 0 bytes.\n"
    ok(a_hub, "delete", "ada/y", "--yes")
    assert run(a_hub, "purge", "ada/y", stdin="n\n").exit_code != 0
    ok(a_hub, "purge", "ada/y", "--yes")
    assert ok(a_hub, "deleted") == ""
    for name in ("ada/x", "ada/y"):
        assert isinstance(refused(a_hub, "undelete", name), RepoMissing)
    assert list((a_hub.data / "git" / "trash").iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("set-visibility", "ada/no", "public"),
        ("move", "ada/no", "ada/x"),
        ("delete", "ada/no", "--yes"),
        ("undelete", "ada/no"),
        ("undelete", "#999"),
        ("purge", "ada/no", "--yes"),
    ],
)
def test_what_is_not_there_is_said_to_be_missing(a_hub: Hub, words: tuple[str, ...]) -> None:
    assert isinstance(refused(a_hub, *words), RepoMissing)
