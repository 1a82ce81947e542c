"""A seed file is made to hold, all of it or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater.accounts import OPERATOR, Accounts
from headwater.accounts import seed as seeding
from headwater.accounts.seed import SeedReport, seed
from headwater.ground.clock import FixedClock
from headwater.ground.errors import Conflict, Forbidden, Invalid, Unauthenticated
from headwater.ground.events import Event

Told = Callable[[], list[Event]]
TOKEN = "hf_" + "s" * 37
DOCUMENT: dict[str, Any] = {
    "users": [
        {"name": "alice", "fullname": "Alice A.", "email": "alice@example.org", "password": "pw", "token": TOKEN},
        {"name": "bob", "token": "hf_" + "b" * 37, "token_role": "read"},
    ],
    "orgs": [
        {
            "name": "acme",
            "fullname": "Acme",
            "members": {"alice": "admin", "bob": "read"},
            "default_visibility": "private",
        }
    ],
}


def sow(accounts: Accounts, document: object) -> SeedReport:
    return seed(accounts, json.dumps(document).encode())


def test_everything_in_the_file_holds(accounts: Accounts) -> None:
    report = sow(accounts, DOCUMENT)
    assert report.warnings == ()
    assert report.counts == {"users_created": 2, "tokens_created": 2, "orgs_created": 1, "members_changed": 2}
    alice = accounts.actor_by_token(TOKEN)
    assert (alice.name, alice.token_role) == ("alice", "write")
    assert accounts.actor_by_token("hf_" + "b" * 37).token_role == "read"
    assert accounts.actor_by_password("alice", "pw").user_id == alice.user_id
    assert alice.roles == {accounts.namespace("acme").id: "admin"}
    assert accounts.namespace("acme").default_visibility == "private"
    assert (accounts.user("alice").fullname, accounts.user("alice").email) == ("Alice A.", "alice@example.org")


def test_the_same_file_again_changes_nothing_and_tells_nothing(accounts: Accounts, told: Told) -> None:
    sow(accounts, DOCUMENT)
    told()
    assert sow(accounts, DOCUMENT).counts == {}
    assert told() == []


def test_what_differs_is_changed_and_the_rest_left(accounts: Accounts, told: Told) -> None:
    sow(accounts, DOCUMENT)
    cookie = accounts.sign_in(accounts.user("alice").id)
    told()
    report = sow(
        accounts,
        {
            "users": [{"name": "Alice", "password": "other", "token": TOKEN, "token_role": "read"}],
            "orgs": [{"name": "acme", "members": {"alice": "write", "bob": "admin"}}],
        },
    )
    assert report.counts == {"users_changed": 2, "members_changed": 2}
    assert [event.kind for event in told()] == ["user.changed"] * 2 + ["member.changed"] * 2
    assert accounts.user("alice").fullname == "Alice A."
    assert accounts.actor_by_token(TOKEN).token_role == "read"
    assert {one.name: one.role for one in accounts.members("acme")} == {"alice": "write", "bob": "admin"}
    assert accounts.namespace("acme").default_visibility == "private"
    with pytest.raises(Unauthenticated):
        accounts.actor_by_session(cookie)


def test_a_running_hub_sees_it_within_five_seconds(accounts: Accounts, elsewhere: Accounts, clock: FixedClock) -> None:
    with pytest.raises(Unauthenticated):
        accounts.actor_by_token(TOKEN)
    sow(elsewhere, DOCUMENT)
    clock.advance(5)
    assert accounts.actor_by_token(TOKEN).name == "alice"


def test_unknown_keys_are_ignored_with_a_warning(accounts: Accounts) -> None:
    report = sow(accounts, {"users": [{"name": "alice", "colour": "red"}, {"name": "bob", "colour": 1}], "version": 2})
    assert report.counts == {"users_created": 2}
    assert {"unknown key 'users[].colour' ignored (2 times)", "unknown key 'version' ignored"} == set(report.warnings)


@pytest.mark.parametrize(
    ("document", "choices"),
    [
        ({"users": [{"name": "alice", "token_role": "god"}]}, "read, write"),
        ({"orgs": [{"name": "acme", "members": {"al.ice": "god"}}]}, "admin, write, contributor, read"),
        ({"orgs": [{"name": "acme", "default_visibility": "god"}]}, "public, private"),
    ],
)
def test_a_wrong_choice_is_refused_with_the_right_ones(
    accounts: Accounts, document: dict[str, object], choices: str
) -> None:
    with pytest.raises(Invalid, match=f"'god'.*; it is one of {choices}$"):
        sow(accounts, document)


def test_a_file_may_begin_with_a_byte_order_mark(accounts: Accounts) -> None:
    assert seed(accounts, b'\xef\xbb\xbf{"orgs": [{"name": "acme"}]}').counts == {"orgs_created": 1}


def test_nothing_is_needed_but_names(accounts: Accounts) -> None:
    sow(accounts, {})
    sow(accounts, {"users": [{"name": "alice", "fullname": None, "password": None, "token": None}]})
    sow(accounts, {"orgs": [{"name": "acme"}]})
    assert not accounts.user("alice").has_password
    assert accounts.namespace("acme").default_visibility == "public"


@pytest.mark.parametrize(
    ("mistake", "names"),
    [
        ({"orgs": [{"name": "acme", "members": {"ghost": "read"}}]}, "'ghost'"),
        ({"orgs": [{"name": "acme", "members": {"good": "owner"}}]}, "owner"),
        ({"orgs": [{"name": "acme", "default_visibility": "hidden"}]}, "hidden"),
        ({"users": [{"name": "good"}, {"name": "GOOD"}]}, "'good' is there 2 times"),
        ({"users": [{"name": "good"}], "orgs": [{"name": "good"}]}, "2 times"),
        ({"users": [{"name": "good"}, {"name": "api", "password": "x"}]}, "'api'"),
        ({"users": [{"name": "good"}, {"name": "bad/name"}]}, "bad/name"),
        ({"users": [{"name": "good"}, {"fullname": "x"}]}, "name"),
        ({"users": [{"name": 5}]}, "users"),
        ({"users": [{"name": "good"}, {"name": "x", "email": "nowhere"}]}, "'x'"),
        ({"users": [{"name": "good"}, {"name": "x", "password": ""}]}, "'x'"),
        ({"users": [{"name": "good"}, {"name": "x", "password": "p" * 2000}]}, "'x'"),
        ({"users": [{"name": "good"}, {"name": "x", "token": ""}]}, "'x'"),
        ({"users": [{"name": "good"}, {"name": "x", "token": "hf_ü"}]}, "'x'"),
        ({"users": [{"name": "good"}, {"name": "x", "token": "t" * 513}]}, "'x'"),
        ({"users": [{"name": "good"}, {"name": "x", "token_role": "admin"}]}, "token_role"),
        ({"users": None}, "users"),
        ([], "object"),
        ("text", "object"),
    ],
)
def test_a_file_with_a_mistake_changes_nothing_and_says_where(
    accounts: Accounts, told: Told, mistake: object, names: str
) -> None:
    with pytest.raises(Invalid, match=r"^seed: ") as refused:
        sow(accounts, mistake)
    assert names in refused.value.text
    assert told() == []
    assert accounts.users() == []
    assert accounts.orgs() == []


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff", b'{"users": NaN}', b"[" * 100_000, b'{"users": ' + b"[" * 100_000]
)
def test_what_is_not_json_is_refused(accounts: Accounts, text: bytes) -> None:
    with pytest.raises(Invalid, match=r"^seed: "):
        seed(accounts, text)


def test_files_and_lists_that_are_too_long_are_refused(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeding, "ENTRIES_MAX", 2)
    with pytest.raises(Invalid, match="more than 2 orgs"):
        sow(accounts, {"orgs": [{"name": f"org{number}"} for number in range(3)]})
    monkeypatch.setattr(seeding, "BYTES_MAX", 10)
    with pytest.raises(Invalid, match="more than 10 bytes"):
        sow(accounts, DOCUMENT)


def test_T41_seeding_takes_no_name_from_anybody(accounts: Accounts) -> None:
    for name in ("gone", "moved", "taken"):
        accounts.create_user(name)
    accounts.delete_namespace(OPERATOR, "gone")
    accounts.rename_namespace(OPERATOR, "moved", "elsewhere")
    accounts.create_org(OPERATOR, "an-org")
    for document in (
        {"users": [{"name": "gone"}]},
        {"users": [{"name": "moved", "password": "x"}]},
        {"users": [{"name": "an-org"}]},
        {"users": [{"name": "an_org"}]},
        {"orgs": [{"name": "taken"}]},
    ):
        with pytest.raises(Conflict, match=r"^seed: "):
            sow(accounts, document)


def test_a_token_that_is_anothers_is_refused_without_being_shown(accounts: Accounts) -> None:
    sow(accounts, DOCUMENT)
    with pytest.raises(Conflict, match="somebody else") as refused:
        sow(accounts, {"users": [{"name": "carol", "token": TOKEN}]})
    assert TOKEN not in refused.value.text
    assert len(accounts.users()) == 2


def test_a_revoked_token_stays_revoked(accounts: Accounts) -> None:
    sow(accounts, DOCUMENT)
    accounts.revoke_token(OPERATOR, accounts.actor_by_token(TOKEN).token_id or 0)
    report = sow(accounts, DOCUMENT)
    assert "revoked" in report.warnings[0]
    with pytest.raises(Unauthenticated):
        accounts.actor_by_token(TOKEN)


def test_a_second_token_of_a_user_stands_beside_the_first(accounts: Accounts) -> None:
    for letter in "abc":
        sow(accounts, {"users": [{"name": "alice", "token": "hf_" + letter * 37}]})
    for letter in "abc":
        assert accounts.actor_by_token("hf_" + letter * 37).name == "alice"


def test_a_token_that_can_be_guessed_is_taken_with_a_warning_and_no_hint(accounts: Accounts) -> None:
    report = sow(accounts, {"users": [{"name": "alice", "token": "1234"}]})
    assert "'alice'" in report.warnings[0]
    assert "1234" not in report.warnings[0]
    assert accounts.list_tokens(accounts.user("alice").id)[0].hint == ""


def test_an_organization_is_not_seeded_out_of_its_last_admin(accounts: Accounts) -> None:
    sow(accounts, DOCUMENT)
    with pytest.raises(Conflict, match="acme"):
        sow(accounts, {"users": [{"name": "carol"}], "orgs": [{"name": "acme", "members": {"alice": "read"}}]})
    assert len(accounts.users()) == 2


def test_too_many_tokens_are_refused_by_name(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.accounts.tokens.PER_USER_MAX", 0)
    with pytest.raises(Forbidden, match=r"^seed: user 'alice'"):
        sow(accounts, DOCUMENT)


def test_T45_no_secret_of_the_file_is_kept_or_told(accounts: Accounts, told: Told) -> None:
    document = {"users": [{"name": "alice", "password": "canary-password", "token": TOKEN}]}
    sow(accounts, document)
    assert "canary" not in str(told())
    for path in Path(accounts.db.path).parent.iterdir():
        for secret in (b"canary-password", TOKEN.encode()):
            assert secret not in path.read_bytes()
