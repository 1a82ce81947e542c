"""From a credential to an Actor, and how soon a lost right is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headwater.accounts import OPERATOR, Accounts, actors
from headwater.accounts.actor import NOBODY, Actor
from headwater.ground.clock import FixedClock
from headwater.ground.errors import Unauthenticated

DAY_S = 86_400
MakeToken = Callable[..., str]


def test_a_token_names_its_owner_with_his_roles_and_its_own(
    accounts: Accounts, acme: Actor, make_token: MakeToken
) -> None:
    org = accounts.namespace("acme")
    actor = accounts.actor_by_token(make_token("alice", role="read"))
    assert ("alice", {org.id: "admin"}, "read") == (actor.name, dict(actor.roles), actor.token_role)
    assert not actor.can_write
    assert accounts.actor_by_token(make_token("alice")).can_write


@pytest.mark.parametrize("text", ["", "hf_" + "x" * 40, "x" * 2000, "\ud800", "hf_é", "\x00"])
def test_what_was_never_given_out_is_refused_with_the_hubs_text(accounts: Accounts, text: str) -> None:
    for _ in range(2):
        with pytest.raises(Unauthenticated, match=r"^Invalid credentials in Authorization header$"):
            accounts.actor_by_token(text)


def test_a_cookie_is_no_token_and_a_token_no_cookie(accounts: Accounts, acme: Actor, make_token: MakeToken) -> None:
    token, cookie = make_token("alice"), accounts.sign_in(acme.user_id or 0)
    accounts.actor_by_token(token)
    accounts.actor_by_session(cookie)
    with pytest.raises(Unauthenticated):
        accounts.actor_by_session(token)
    with pytest.raises(Unauthenticated):
        accounts.actor_by_token(cookie)


def test_an_expired_token_is_refused_to_the_millisecond_even_while_remembered(
    accounts: Accounts, acme: Actor, clock: FixedClock, make_token: MakeToken
) -> None:
    token = make_token("alice", expires_ms=clock.now_ms() + 1000)
    clock.advance(0.5)
    accounts.actor_by_token(token)
    clock.advance(0.5)
    with pytest.raises(Unauthenticated):
        accounts.actor_by_token(token)
    accounts.create_user("bob")  # after any commit it is read again
    with pytest.raises(Unauthenticated):
        accounts.actor_by_token(token)


def test_T37_a_right_taken_in_this_process_is_gone_with_the_next_request(
    accounts: Accounts, acme: Actor, make_token: MakeToken
) -> None:
    token = make_token("alice")
    assert accounts.actor_by_token(token).roles
    accounts.create_user("bob")
    accounts.set_member(acme, "acme", "bob", "admin")
    accounts.remove_member(acme, "acme", "alice")
    assert not accounts.actor_by_token(token).roles
    accounts.disable(OPERATOR, "alice")
    with pytest.raises(Unauthenticated):
        accounts.actor_by_token(token)


@pytest.mark.parametrize("loss", ["revoked", "disabled", "deleted"])
def test_T37_a_right_taken_by_another_process_is_gone_within_five_seconds(
    accounts: Accounts, elsewhere: Accounts, clock: FixedClock, make_token: MakeToken, loss: str
) -> None:
    user = accounts.create_user("alice")
    token = make_token("alice")
    cookie = accounts.sign_in(user.id)
    token_id = accounts.actor_by_token(token).token_id or 0
    accounts.actor_by_session(cookie)
    if loss == "revoked":
        elsewhere.revoke_token(OPERATOR, token_id)
    elif loss == "disabled":
        elsewhere.disable(OPERATOR, "alice")
    else:
        elsewhere.delete_namespace(OPERATOR, "alice")
    clock.advance(accounts.settings.token_cache_s)
    assert accounts.settings.token_cache_s <= 5
    with pytest.raises(Unauthenticated):
        accounts.actor_by_token(token)
    with pytest.raises(Unauthenticated):
        accounts.actor_again(user.id, token_id)
    if loss != "revoked":
        with pytest.raises(Unauthenticated):
            accounts.actor_by_session(cookie)
        with pytest.raises(Unauthenticated):
            accounts.actor_again(user.id, None)


def test_T37_a_look_up_that_runs_during_a_change_is_not_remembered(
    accounts: Accounts, acme: Actor, make_token: MakeToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = make_token("alice")
    read = accounts._read_token

    def overtaken(*given: object) -> object:
        known = read(*given)  # type: ignore[arg-type]
        accounts.disable(OPERATOR, "alice")
        return known

    monkeypatch.setattr(accounts, "_read_token", overtaken)
    accounts.actor_by_token(token)  # it began before the change
    monkeypatch.undo()
    with pytest.raises(Unauthenticated):
        accounts.actor_by_token(token)


def test_T11_clock_jumps_neither_lengthen_nor_shorten_what_is_remembered(
    accounts: Accounts, elsewhere: Accounts, acme: Actor, clock: FixedClock, make_token: MakeToken
) -> None:
    token = make_token("alice")
    accounts.actor_by_token(token)
    for jump_s in (DAY_S, -2 * DAY_S, -1):
        clock.at_ms += jump_s * 1000
        assert accounts.actor_by_token(token).name == "alice"
    elsewhere.disable(OPERATOR, "alice")
    clock.at_ms -= DAY_S * 1000
    clock.ticked_s += accounts.settings.token_cache_s
    with pytest.raises(Unauthenticated):
        accounts.actor_by_token(token)


def test_a_token_made_elsewhere_works_at_once_though_it_was_tried_too_early(
    accounts: Accounts, elsewhere: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts.create_user("alice")
    monkeypatch.setattr("headwater.accounts.tokens.fresh_secret", lambda _clock: "hf_" + "a" * 40)
    with pytest.raises(Unauthenticated):
        accounts.actor_by_token("hf_" + "a" * 40)
    elsewhere.create_token(OPERATOR, "late", "read", owner="alice")
    assert accounts.actor_by_token("hf_" + "a" * 40).name == "alice"


def test_T37_what_another_process_takes_away_is_gone_at_once(
    accounts: Accounts, elsewhere: Accounts, make_token: MakeToken
) -> None:
    accounts.create_user("alice")
    token = make_token("alice")
    assert accounts.actor_by_token(token).name == "alice"
    elsewhere.disable(OPERATOR, "alice")
    with pytest.raises(Unauthenticated):
        accounts.actor_by_token(token)


def test_guesses_neither_fill_the_memory_nor_push_out_tokens_in_use(
    accounts: Accounts, acme: Actor, make_token: MakeToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "UNKNOWN_MAX", 10)
    token = make_token("alice")
    accounts.actor_by_token(token)
    for number in range(35):
        with pytest.raises(Unauthenticated):
            accounts.actor_by_token(f"guess {number}")
    assert len(accounts._unknown) <= 10
    monkeypatch.setattr(accounts, "_read_token", lambda *_: pytest.fail("was forgotten"))
    assert accounts.actor_by_token(token).name == "alice"


def test_many_tokens_in_use_do_not_fill_the_memory(
    accounts: Accounts, acme: Actor, make_token: MakeToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "KNOWN_MAX", 3)
    for token in [make_token("alice") for _ in range(8)]:
        accounts.actor_by_token(token)
        assert len(accounts._known) <= 3


def test_the_last_use_is_written_when_the_hub_asks_and_at_most_once_a_minute(
    accounts: Accounts, acme: Actor, clock: FixedClock, make_token: MakeToken
) -> None:
    token, user_id = make_token("alice"), acme.user_id or 0
    first_ms = clock.now_ms()
    accounts.actor_by_token(token)
    assert accounts.list_tokens(user_id)[0].used_ms is None
    accounts.flush_used()
    assert accounts.list_tokens(user_id)[0].used_ms == first_ms
    clock.advance(59)
    accounts.actor_by_token(token)
    accounts.flush_used()
    assert accounts.list_tokens(user_id)[0].used_ms == first_ms
    clock.advance(61)
    accounts.actor_by_token(token)
    accounts.flush_used()
    assert accounts.list_tokens(user_id)[0].used_ms == first_ms + 120_000


def test_T35_a_ticket_cannot_pair_one_user_with_anothers_token(
    accounts: Accounts, acme: Actor, make_token: MakeToken
) -> None:
    bob = accounts.create_user("bob")
    token_id = accounts.actor_by_token(make_token("alice")).token_id
    assert accounts.actor_again(acme.user_id or 0, token_id).token_role == "write"
    with pytest.raises(Unauthenticated):
        accounts.actor_again(bob.id, token_id)


def test_whoami_tells_orgs_with_roles_and_the_token(accounts: Accounts, acme: Actor, make_token: MakeToken) -> None:
    accounts.set_profile(acme, "alice", "Alice A.", "alice@example.org")
    actor = accounts.actor_by_token(make_token("alice", role="read"))
    who = accounts.whoami(actor)
    assert (
        who["name"], who["fullname"], who["email"], who["is_admin"],
    ) == ("alice", "Alice A.", "alice@example.org", False)  # fmt: skip
    assert [(org["name"], org["role"]) for org in who["orgs"]] == [("acme", "admin")]
    assert who["token"] is not None
    assert who["token"]["role"] == "read"
    assert who["token"]["name"].startswith("token ")
    assert accounts.whoami(acme)["token"] is None


def test_nobody_is_nobody(accounts: Accounts) -> None:
    with pytest.raises(Unauthenticated):
        accounts.whoami(NOBODY)
    with pytest.raises(Unauthenticated):
        accounts.actor_again(77, None)
