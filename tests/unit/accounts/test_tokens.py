"""Access tokens: made, shown once, revoked."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from headwater.accounts import OPERATOR, Accounts, tokens
from headwater.accounts.actor import NOBODY, Actor
from headwater.ground.clock import FixedClock
from headwater.ground.errors import Conflict, EntryMissing, Forbidden, Invalid, Unauthenticated
from headwater.ground.events import Event

MakeToken = Callable[..., str]


def test_a_token_has_the_form_that_clients_and_the_logs_redaction_know(accounts: Accounts, acme: Actor) -> None:
    row, secret = accounts.create_token(acme, "laptop", "write")
    assert re.fullmatch(r"hf_[A-Za-z0-9]{40}", secret)
    assert row.hint == secret[-4:]
    assert [row] == accounts.list_tokens(acme.user_id or 0)


def test_secrets_differ(clock: FixedClock) -> None:
    assert len({tokens.fresh_secret(clock) for _ in range(100)}) == 100


def test_T45_a_tokens_value_is_nowhere_in_the_data(accounts: Accounts, acme: Actor) -> None:
    _, secret = accounts.create_token(acme, "laptop", "write")
    accounts.actor_by_token(secret)
    accounts.flush_used()
    for path in Path(accounts.db.path).parent.iterdir():
        assert secret.encode() not in path.read_bytes()


def test_T36_a_read_token_makes_and_revokes_no_token(accounts: Accounts, acme: Actor, make_token: MakeToken) -> None:
    reader = accounts.actor_by_token(make_token("alice", role="read"))
    with pytest.raises(Forbidden):
        accounts.create_token(reader, "more", "write")
    with pytest.raises(Forbidden):
        accounts.revoke_token(reader, reader.token_id or 0)
    assert len(accounts.list_tokens(acme.user_id or 0)) == 1


def test_a_token_makes_no_token_so_that_revoking_it_is_the_end(
    accounts: Accounts, acme: Actor, make_token: MakeToken
) -> None:
    writer = accounts.actor_by_token(make_token("alice"))
    with pytest.raises(Forbidden, match="browser"):
        accounts.create_token(writer, "more", "write")


def test_nobody_and_not_for_others(accounts: Accounts, acme: Actor) -> None:
    accounts.create_user("bob")
    with pytest.raises(Unauthenticated):
        accounts.create_token(NOBODY, "t", "read")
    with pytest.raises(Unauthenticated):
        accounts.revoke_token(NOBODY, 1)
    with pytest.raises(Forbidden):
        accounts.create_token(acme, "t", "read", owner="bob")


def test_T35_anothers_token_does_not_exist(accounts: Accounts, acme: Actor, somebody: Callable[..., Actor]) -> None:
    row, secret = accounts.create_token(acme, "laptop", "write")
    for other in (somebody("bob"), somebody("root1", is_admin=True)):
        with pytest.raises(EntryMissing) as anothers:
            accounts.revoke_token(other, row.id)
        with pytest.raises(EntryMissing) as absent:
            accounts.revoke_token(other, 999)
        assert absent.value.text == anothers.value.text
    assert accounts.actor_by_token(secret).name == "alice"


def test_a_revoked_token_is_refused_at_once_and_its_name_is_free_again(accounts: Accounts, acme: Actor) -> None:
    for _ in range(3):
        row, secret = accounts.create_token(acme, "laptop", "write")
        accounts.actor_by_token(secret)
        accounts.revoke_token(acme, row.id)
        with pytest.raises(Unauthenticated):
            accounts.actor_by_token(secret)
        with pytest.raises(EntryMissing):
            accounts.revoke_token(acme, row.id)
    assert accounts.list_tokens(acme.user_id or 0) == []


def test_two_tokens_of_one_name_are_refused(accounts: Accounts, acme: Actor) -> None:
    accounts.create_token(acme, "laptop", "write")
    with pytest.raises(Conflict, match="'laptop'"):
        accounts.create_token(acme, "laptop", "read")


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", " a", "a\x1f1", "\u202eabc"])
def test_names_that_cannot_be_shown_are_refused(accounts: Accounts, acme: Actor, name: str) -> None:
    with pytest.raises(Invalid):
        accounts.create_token(acme, name, "read")


@pytest.mark.parametrize("role", ["admin", "", "WRITE"])
def test_unknown_roles_are_refused(accounts: Accounts, acme: Actor, role: str) -> None:
    with pytest.raises(Invalid, match="read, write"):
        accounts.create_token(acme, "t", role)


@pytest.mark.parametrize("ahead_ms", [0, -1, 1 << 60])
def test_an_expiry_must_be_a_time_to_come(accounts: Accounts, acme: Actor, clock: FixedClock, ahead_ms: int) -> None:
    with pytest.raises(Invalid):
        accounts.create_token(acme, "t", "read", clock.now_ms() + ahead_ms)


def test_there_is_a_most(accounts: Accounts, acme: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "PER_USER_MAX", 2)
    accounts.create_token(acme, "1", "read")
    accounts.create_token(acme, "2", "read")
    with pytest.raises(Forbidden):
        accounts.create_token(acme, "3", "read")


def test_making_and_revoking_tell_one_event_each(
    accounts: Accounts, acme: Actor, told: Callable[[], list[Event]]
) -> None:
    told()
    row, secret = accounts.create_token(acme, "laptop", "write")
    accounts.revoke_token(acme, row.id)
    created, revoked = told()
    assert (created.kind, revoked.kind) == ("token.created", "token.revoked")
    assert acme.user_id == created.actor_id
    assert {"id": row.id, "user_id": acme.user_id, "name": "laptop"} == revoked.data
    assert secret not in str(created)


def test_the_operator_names_the_owner_and_revokes_any(accounts: Accounts, acme: Actor) -> None:
    row, secret = accounts.create_token(OPERATOR, "ci", "write", owner="ALICE")
    assert accounts.actor_by_token(secret).user_id == acme.user_id
    accounts.revoke_token(OPERATOR, row.id)
    with pytest.raises(Unauthenticated):
        accounts.actor_by_token(secret)
