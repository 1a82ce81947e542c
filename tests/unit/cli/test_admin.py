"""`headwater admin`, as an operator types it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import insert, select

from headwater.accounts import OPERATOR, Accounts
from headwater.cli.admin import admin, open_accounts
from headwater.ground.db import Database
from headwater.ground.errors import HeadwaterError, Unauthenticated
from headwater.ground.settings import Settings
from headwater.repos.tables import repo


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWATER_CONFIG", raising=False)
    monkeypatch.setenv("HEADWATER_PUBLIC_URL", "https://hub.test/prefix/")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("admin") / "headwater.sqlite"
    db = Database(path)
    db.migrate()
    db.close()
    return path


@pytest.fixture
def data(tmp_path: Path, empty_database: Path) -> Path:
    shutil.copy(empty_database, tmp_path / "headwater.sqlite")
    return tmp_path


@pytest.fixture
def hub(data: Path) -> Iterator[Accounts]:
    """The accounts as a running hub has them open."""
    accounts = open_accounts(Settings(data=str(data), token_cache_s=0))
    yield accounts
    accounts.db.close()


def run(data: Path, *words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(admin, ["--data", str(data), *words], input=stdin)


def refused(data: Path, *words: str, stdin: str = "") -> tuple[int, str]:
    """The exit status that `headwater` ends with, and what it says."""
    error = run(data, *words, stdin=stdin).exception
    assert isinstance(error, HeadwaterError), error
    return error.exit_status, error.text


def ok(data: Path, *words: str, stdin: str = "") -> str:
    result = run(data, *words, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_user_without_a_password_gets_a_link_that_signs_in_once(data: Path, hub: Accounts) -> None:
    printed = ok(data, "user", "create", "alice", "--admin", "--fullname", "Alice A.", "--email", "a@example.org")
    (secret,) = re.findall(r"^https://hub\.test/prefix/login/link/([0-9a-f]{64})$", printed, re.MULTILINE)
    assert hub.use_signin_link(secret) == hub.user("alice").id
    assert (hub.user("alice").is_admin, hub.user("alice").fullname) == (True, "Alice A.")


def test_passwords_come_from_standard_input_or_a_prompt(data: Path, hub: Accounts) -> None:
    assert ok(data, "user", "create", "alice", "--password-stdin", stdin="correct horse\n") == ""
    assert hub.actor_by_password("alice", "correct horse").name == "alice"
    output = ok(data, "user", "set-password", "alice", stdin="battery staple\nbattery staple\n")
    assert "battery" not in output
    assert hub.actor_by_password("alice", "battery staple").name == "alice"
    ok(data, "user", "create", "bob", "--ask-password", stdin="correct horse\ncorrect horse\n")
    assert hub.user("bob").has_password


def test_users_are_listed_as_a_table_and_as_json(data: Path, hub: Accounts) -> None:
    hub.create_user("alice", "[bold]A[/bold]", is_admin=True)
    hub.create_user("bob")
    hub.disable(OPERATOR, "bob")
    table = ok(data, "user", "list")
    assert "[bold]A[/bold]" in table
    assert "disabled" in table
    rows = json.loads(ok(data, "user", "list", "--json"))
    assert [(row["name"], row["is_admin"]) for row in rows] == [("alice", True), ("bob", False)]
    assert "password_hash" not in rows[0]


def test_a_full_name_and_an_address_are_changed_one_without_the_other(data: Path, hub: Accounts) -> None:
    hub.create_user("alice", "Alice A.", "a@example.org")
    ok(data, "user", "set-profile", "alice", "--fullname", "Alice B.")
    ok(data, "user", "set-profile", "alice")
    assert (hub.user("alice").fullname, hub.user("alice").email) == ("Alice B.", "a@example.org")
    ok(data, "user", "set-profile", "alice", "--email", "")
    assert (hub.user("alice").fullname, hub.user("alice").email) == ("Alice B.", "")
    assert refused(data, "user", "set-profile", "alice", "--email", "nowhere")[0] == 2
    assert refused(data, "user", "set-profile", "nobody", "--fullname", "N")[0] == 12
    hub.create_org(OPERATOR, "lab", "Lab", "private")
    ok(data, "org", "set-profile", "lab", "--fullname", "River Lab")
    assert [(one.fullname, one.default_visibility) for one in hub.orgs()] == [("River Lab", "private")]
    assert refused(data, "org", "set-profile", "alice", "--fullname", "x")[0] == 12


def test_disable_enable_and_make_admin(data: Path, hub: Accounts) -> None:
    hub.create_user("alice")
    ok(data, "user", "disable", "alice")
    assert hub.user("alice").disabled
    ok(data, "user", "enable", "alice")
    ok(data, "user", "make-admin", "alice")
    assert (hub.user("alice").disabled, hub.user("alice").is_admin) == (False, True)
    status, said = refused(data, "user", "make-admin", "alice", "--undo")
    assert (status, "last administrator" in said) == (17, True)
    hub.create_user("bob", is_admin=True)
    ok(data, "user", "make-admin", "alice", "--undo")
    assert not hub.user("alice").is_admin


def test_rename_and_delete_take_the_name_of_today(data: Path, hub: Accounts) -> None:
    hub.create_user("alice")
    ok(data, "user", "rename", "alice", "alicia")
    for words in (("user", "delete", "alice", "--yes"), ("user", "rename", "alice", "x1"), ("org", "delete", "alicia")):
        refused(data, *words)
    assert run(data, "user", "delete", "alicia", stdin="n\n").exit_code == 1
    assert hub.user("alicia").name == "alicia"
    ok(data, "user", "delete", "alicia", stdin="y\n")
    assert hub.users() == []


def test_repos_follow_a_rename_and_prevent_a_deletion(data: Path, hub: Accounts) -> None:
    user = hub.create_user("alice")
    with hub.db.write() as connection:
        row = {"type": "model", "namespace_id": user.id, "name": "m", "key": "alice/m", "private": False}
        connection.execute(insert(repo).values(**row, created_ms=1, updated_ms=1))
    status, said = refused(data, "user", "delete", "alice", "--yes")
    assert status == 17
    assert "still has repos (1)" in said
    ok(data, "user", "rename", "alice", "alicia")
    with hub.db.write() as connection:
        assert connection.execute(select(repo.c.key)).scalar_one() == "alicia/m"
        connection.execute(repo.update().values(state="deleted"))
    ok(data, "user", "delete", "alicia", "--yes")


def test_organizations_and_members(data: Path, hub: Accounts) -> None:
    hub.create_user("alice")
    hub.create_user("bob")
    assert refused(data, "org", "create", "acme", "--admin", "ghost")[0] == 12
    assert hub.orgs() == []
    ok(data, "org", "create", "acme", "--admin", "alice", "--visibility", "private", "--fullname", "Acme")
    ok(data, "member", "set", "acme", "bob", "write")
    assert (json.loads(ok(data, "member", "list", "acme", "--json"))) == [
        {"name": "alice", "fullname": "", "role": "admin"},
        {"name": "bob", "fullname": "", "role": "write"},
    ]
    assert "contributor" not in ok(data, "member", "list", "acme")
    ok(data, "member", "remove", "acme", "bob")
    assert refused(data, "member", "remove", "acme", "alice")[0] == 17
    ok(data, "org", "set-visibility", "acme", "public")
    assert [(row["name"], row["default_visibility"]) for row in json.loads(ok(data, "org", "list", "--json"))] == [
        ("acme", "public")
    ]
    ok(data, "org", "rename", "acme", "umbrella")
    assert "umbrella" in ok(data, "org", "list")
    ok(data, "org", "delete", "umbrella", "--yes")
    assert hub.orgs() == []


def test_a_token_is_printed_once_and_revoked_by_number(data: Path, hub: Accounts) -> None:
    hub.create_user("alice")
    secret = ok(data, "token", "create", "alice", "laptop", "--role", "write", "--days", "3").strip()
    assert hub.actor_by_token(secret).token_role == "write"
    (row,) = json.loads(ok(data, "token", "list", "alice", "--json"))
    assert (row["name"], row["role"]) == ("laptop", "write")
    for listed in (ok(data, "token", "list", "alice"), json.dumps(row)):
        assert secret not in listed
    ok(data, "token", "revoke", str(row["id"]))
    with pytest.raises(Unauthenticated):
        hub.actor_by_token(secret)


def test_a_seed_file_and_standard_input_while_the_hub_runs(data: Path, hub: Accounts, tmp_path: Path) -> None:
    document = json.dumps({"users": [{"name": "alice", "token": "hf_" + "s" * 37, "shoe": 43}]})
    file = tmp_path / "seed.json"
    file.write_text(document)
    result = run(data, "seed", str(file))
    assert result.exit_code == 0
    assert "users[].shoe" in result.stderr
    assert "1 user created" in result.stdout
    assert hub.actor_by_token("hf_" + "s" * 37).name == "alice"
    assert "held already" in ok(data, "seed", "-", stdin=document)


def test_data_may_stand_behind_the_command(data: Path, hub: Accounts) -> None:
    result = CliRunner().invoke(admin, ["seed", "-", "--data", str(data)], input='{"orgs": [{"name": "acme"}]}')
    assert result.exit_code == 0, result.output
    assert hub.namespace("acme").kind == "org"


def test_refusals_are_the_taxonomys_with_its_exit_status(data: Path, hub: Accounts) -> None:
    hub.create_user("alice")
    for status, words in (
        (17, ("user", "create", "alice")),
        (2, ("user", "create", "api")),
        (12, ("user", "disable", "ghost")),
        (12, ("token", "revoke", "99")),
        (2, ("seed", "-")),
    ):
        assert refused(data, *words, stdin="{")[0] == status


def test_a_data_folder_is_made_before_the_first_start(tmp_path: Path) -> None:
    data = tmp_path / "new" / "hub"
    result = run(data, "seed", "-", stdin='{"users": [{"name": "alice"}]}')
    assert result.exit_code == 0
    assert str(data) in result.stderr
    assert "alice" in ok(data, "user", "list")


def test_no_other_command_makes_a_data_folder_by_mistake(tmp_path: Path) -> None:
    data = tmp_path / "mistyped"
    for words in (
        ("user", "list"),
        ("user", "link", "alice"),
        ("token", "create", "alice", "t"),
        ("member", "set", "acme", "alice", "read"),
        ("repo", "list"),
        ("repo", "create", "alice/x"),
    ):
        status, said = refused(data, *words)
        assert (status, str(data) in said) == (2, True)
        assert not data.exists()


def test_help_needs_no_data(tmp_path: Path) -> None:
    for words in ([], ["user"], ["user", "create"], ["seed"], ["token"], ["member"], ["org", "rename"]):
        result = CliRunner().invoke(admin, [*words, "--help"])
        assert result.exit_code == 0
    assert list(tmp_path.iterdir()) == []
