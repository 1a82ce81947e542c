"""Users and the names they are given, for ever."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from headwater.accounts import OPERATOR, Accounts, people
from headwater.accounts.actor import NOBODY, Actor
from headwater.accounts.people import Namespace
from headwater.ground.clock import FixedClock
from headwater.ground.errors import Conflict, EntryMissing, Forbidden, Invalid, Unauthenticated
from headwater.ground.events import Event
from headwater.ground.settings import Settings

Told = Callable[[], list[Event]]


def test_a_user_is_found_whatever_the_case(accounts: Accounts) -> None:
    made = accounts.create_user("Alice", "Alice A.", "alice@example.org", is_admin=True)
    assert made == accounts.user("aLICE")
    assert (
        made.name, made.fullname, made.email, made.is_admin, made.has_password,
    ) == ("Alice", "Alice A.", "alice@example.org", True, False)  # fmt: skip
    assert made.id == accounts.namespace("ALICE").id


def test_a_namespace_without_its_own_default_has_the_hubs(accounts: Accounts, acme: Actor) -> None:
    accounts.settings = Settings(default_visibility="private")
    assert accounts.namespace("alice").default_visibility == "private"
    assert accounts.namespace("acme").default_visibility == "public"


def test_what_is_missing_is_named(accounts: Accounts) -> None:
    with pytest.raises(EntryMissing, match="'nobody-here'"):
        accounts.user("nobody-here")
    with pytest.raises(EntryMissing):
        accounts.namespace_by_id(12)
    with pytest.raises(EntryMissing):
        accounts.profile("x" * 5000)


@pytest.mark.parametrize(
    "name", ["api", "Datasets", "resolve", "..", "a/b", "", "x" * 97, "-a", "con", "münchen", "\u0430"]
)
def test_T42_reserved_and_malformed_names_are_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(Invalid):
        accounts.create_user(name)
    with pytest.raises(Invalid):
        accounts.create_org(OPERATOR, name)
    assert accounts.users() == []


@pytest.mark.parametrize("like", ["ALICE-smith", "alice_smith", "alice.smith", "Alice_Smith"])
def test_T42_look_alikes_of_any_namespace_are_refused(accounts: Accounts, like: str) -> None:
    accounts.create_user("alice-smith")
    with pytest.raises(Conflict, match=r"taken|looks like"):
        accounts.create_user(like)
    with pytest.raises(Conflict, match=r"taken|looks like"):
        accounts.create_org(OPERATOR, like)


def test_T41_a_deleted_name_is_never_given_again(accounts: Accounts) -> None:
    old_id = accounts.create_user("alice-smith").id
    accounts.delete_namespace(OPERATOR, "alice-smith")
    for name in ("alice-smith", "Alice-Smith", "alice_smith"):
        with pytest.raises(Conflict):
            accounts.create_user(name)
        with pytest.raises(Conflict):
            accounts.create_org(OPERATOR, name)
    with pytest.raises(EntryMissing):
        accounts.namespace("alice-smith")
    assert accounts.namespace_by_id(old_id).state == "dead"


def test_T41_an_old_name_leads_to_the_renamed_and_to_nobody_else(accounts: Accounts, acme: Actor) -> None:
    accounts.rename_namespace(acme, "acme", "umbrella")
    accounts.rename_namespace(acme, "umbrella", "initech")
    made = accounts.namespace("acme")
    assert ("initech", made) == (made.name, accounts.namespace("umbrella"))
    assert made == accounts.namespace_by_id(made.id)
    for name in ("acme", "umbrella", "ACME"):
        with pytest.raises(Conflict, match=r"not given again|looks like|taken"):
            accounts.create_user(name)


def test_T41_a_name_left_behind_survives_the_deletion_of_its_owner(accounts: Accounts, acme: Actor) -> None:
    accounts.rename_namespace(acme, "acme", "umbrella")
    accounts.delete_namespace(acme, "umbrella")
    for name in ("acme", "umbrella"):
        with pytest.raises(EntryMissing):
            accounts.namespace(name)
        with pytest.raises(Conflict):
            accounts.create_org(OPERATOR, name)


def test_T41_nobody_takes_a_name_by_renaming(accounts: Accounts, somebody: Callable[..., Actor]) -> None:
    accounts.create_user("bob")
    accounts.create_user("gone")
    accounts.delete_namespace(OPERATOR, "gone")
    alice = somebody("alice")
    for name in ("bob", "BOB", "gone", "b-ob", "bo.b"):
        if name in ("b-ob", "bo.b"):
            continue
        with pytest.raises(Conflict):
            accounts.rename_namespace(alice, "alice", name)
    with pytest.raises(Invalid):
        accounts.rename_namespace(alice, "alice", "api")
    assert accounts.user("alice").id == alice.user_id


def test_an_own_old_name_can_be_taken_back(accounts: Accounts, somebody: Callable[..., Actor]) -> None:
    alice = somebody("alice")
    for new in ("alicia", "alice", "alicia", "alice-b", "alice_b", "Alice_B"):
        assert accounts.rename_namespace(alice, accounts.namespace("alice").name, new).name == new
        for name in ("alice", new):
            assert (alice.user_id, new) == (accounts.namespace(name).id, accounts.namespace(name).name)
    assert accounts.namespace("alicia").name == "Alice_B"


def test_names_cannot_be_collected_by_renaming(
    accounts: Accounts, somebody: Callable[..., Actor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "OLD_NAMES_MAX", 2)
    alice = somebody("alice")
    accounts.rename_namespace(alice, "alice", "alice2")
    accounts.rename_namespace(alice, "alice2", "alice3")
    with pytest.raises(Forbidden):
        accounts.rename_namespace(alice, "alice3", "alice4")
    accounts.rename_namespace(OPERATOR, "alice3", "alice4")


def test_only_he_himself_in_a_browser_or_an_administrator_renames_a_user(
    accounts: Accounts, somebody: Callable[..., Actor], make_token: Callable[..., str]
) -> None:
    somebody("alice")
    by_token = accounts.actor_by_token(make_token("alice"))
    for actor, error in ((somebody("bob"), Forbidden), (by_token, Forbidden), (NOBODY, Unauthenticated)):
        with pytest.raises(error):
            accounts.rename_namespace(actor, "alice", "mallory")
        with pytest.raises(error):
            accounts.set_password(actor, "alice", "correct horse")
        with pytest.raises(error):
            accounts.delete_namespace(actor, "alice")
    accounts.rename_namespace(somebody("root1", is_admin=True), "alice", "alicia")


def test_authority_is_what_the_database_says_now(accounts: Accounts, somebody: Callable[..., Actor]) -> None:
    boss = somebody("boss", is_admin=True)
    accounts.create_user("alice")
    accounts.create_user("root1", is_admin=True)
    accounts.disable(boss, "alice")
    accounts.set_admin(OPERATOR, "boss", is_admin=False)
    assert boss.is_admin  # what he came with
    with pytest.raises(Forbidden):
        accounts.enable(boss, "alice")
    with pytest.raises(Forbidden):
        accounts.set_admin(boss, "boss", is_admin=True)


def test_T38_deleting_a_user_cuts_every_grant(accounts: Accounts, acme: Actor, make_token: Callable[..., str]) -> None:
    bob = accounts.create_user("bob", password="correct horse")
    accounts.set_member(acme, "acme", "bob", "write")
    token, cookie, link = make_token("bob"), accounts.sign_in(bob.id), accounts.make_signin_link(bob.id)
    accounts.delete_namespace(OPERATOR, "bob")
    for way in (
        lambda: accounts.actor_by_token(token),
        lambda: accounts.actor_by_session(cookie),
        lambda: accounts.use_signin_link(link),
        lambda: accounts.actor_by_password("bob", "correct horse"),
        lambda: accounts.actor_again(bob.id, None),
        lambda: accounts.sign_in(bob.id),
    ):
        with pytest.raises(Unauthenticated):
            way()
    assert [one.name for one in accounts.members("acme")] == ["alice"]
    assert [one.name for one in accounts.users()] == ["alice"]


def test_the_last_admin_of_an_organization_is_not_deleted_from_under_it(accounts: Accounts, acme: Actor) -> None:
    with pytest.raises(Conflict, match="acme"):
        accounts.delete_namespace(OPERATOR, "alice")
    accounts.create_user("bob")
    accounts.set_member(acme, "acme", "bob", "admin")
    accounts.delete_namespace(OPERATOR, "alice")


def test_disabling_signs_out_everywhere_and_enabling_brings_tokens_back(
    accounts: Accounts, acme: Actor, make_token: Callable[..., str]
) -> None:
    token, cookie = make_token("alice"), accounts.sign_in(acme.user_id or 0)
    accounts.disable(OPERATOR, "alice")
    with pytest.raises(Unauthenticated):
        accounts.actor_by_token(token)
    accounts.enable(OPERATOR, "alice")
    assert accounts.actor_by_token(token).name == "alice"
    with pytest.raises(Unauthenticated):
        accounts.actor_by_session(cookie)


def test_every_change_tells_one_event_and_a_change_to_the_same_none(accounts: Accounts, told: Told) -> None:
    steps: list[tuple[str, Callable[[], object]]] = [
        ("user.created", lambda: accounts.create_user("alice", "A", "a@example.org", "correct horse")),
        ("user.changed", lambda: accounts.set_password(OPERATOR, "alice", "battery staple")),
        ("user.changed", lambda: accounts.set_profile(OPERATOR, "alice", "B", "")),
        ("user.changed", lambda: accounts.disable(OPERATOR, "alice")),
        ("user.changed", lambda: accounts.enable(OPERATOR, "alice")),
        ("user.changed", lambda: accounts.set_admin(OPERATOR, "alice", is_admin=True)),
        ("user.changed", lambda: accounts.make_signin_link(accounts.user("alice").id)),
        ("namespace.renamed", lambda: accounts.rename_namespace(OPERATOR, "alice", "alicia")),
        ("namespace.deleted", lambda: accounts.delete_namespace(OPERATOR, "alicia")),
    ]
    accounts.create_user("root1", is_admin=True)
    told()
    for kind, step in steps:
        step()
        (event,) = told()
        assert kind == event.kind
        for secret in ("correct", "battery", "argon2", "@"):
            assert secret not in str(event.data)
    accounts.create_user("bob")
    told()
    accounts.enable(OPERATOR, "bob")
    accounts.set_admin(OPERATOR, "bob", is_admin=False)
    accounts.set_profile(OPERATOR, "bob", "", "")
    accounts.rename_namespace(OPERATOR, "bob", "bob")
    assert told() == []


def test_a_refused_change_leaves_no_event(accounts: Accounts, told: Told) -> None:
    accounts.create_user("alice")
    told()
    with pytest.raises(Conflict):
        accounts.create_user("alice")
    with pytest.raises(Conflict):
        accounts.create_org(OPERATOR, "alice")
    assert told() == []


def test_a_follower_sees_renames_and_deletions_and_may_prevent_them(accounts: Accounts, told: Told) -> None:
    seen = []

    def follow(connection: Connection, before: Namespace, after: Namespace) -> None:
        seen.append((before.name, after.name, after.state))
        if after.state == "dead":
            raise Conflict("it still has repos")

    accounts.followers = (follow,)
    accounts.create_user("alice")
    accounts.rename_namespace(OPERATOR, "alice", "alicia")
    told()
    with pytest.raises(Conflict):
        accounts.delete_namespace(OPERATOR, "alicia")
    assert accounts.user("alicia").disabled is False
    assert seen == [("alice", "alicia", "live"), ("alicia", "alicia", "dead")]
    assert told() == []


@pytest.mark.parametrize("email", ["x", "@", "a@", "@b", "a b@c", "a@b\n", "x" * 250 + "@abcd"])
def test_an_email_that_cannot_be_one_is_refused(accounts: Accounts, email: str) -> None:
    with pytest.raises(Invalid, match="email"):
        accounts.create_user("alice", email=email)


def test_full_names_in_any_script_but_without_hidden_marks(accounts: Accounts) -> None:
    for number, fullname in enumerate(["Ærøskøbing", "李小龙", "\u0646\u200c\u062e", "O'Brien <b>"]):
        assert accounts.create_user(f"user{number}", fullname).fullname == fullname
    for fullname in ("x" * 201, "a\nb", "\u202egnp.exe", "\x00"):
        with pytest.raises(Invalid, match="fullname"):
            accounts.create_user("bob", fullname)


@pytest.mark.parametrize("password", ["", "short", "x" * 1025, "é" * 513])
def test_passwords_too_short_or_too_long_are_refused(accounts: Accounts, password: str) -> None:
    with pytest.raises(Invalid, match="password") as refused:
        accounts.create_user("alice", password=password)
    assert not password or password not in refused.value.text


def test_users_come_in_pages_by_name(accounts: Accounts) -> None:
    for name in ("Carol", "alice", "bob"):
        accounts.create_user(name)
    assert [one.name for one in accounts.users(limit=2)] == ["alice", "bob"]
    assert [one.name for one in accounts.users(after="bob")] == ["Carol"]


def test_an_administrator_is_there_once_he_has_a_way_in(accounts: Accounts, clock: FixedClock) -> None:
    accounts.create_user("bob", password="correct horse")
    root = accounts.create_user("root1", is_admin=True)
    link = accounts.make_signin_link(root.id)
    assert not accounts.has_admin()
    accounts.sign_in(accounts.use_signin_link(link))
    assert accounts.has_admin()
    clock.advance(accounts.settings.session_s)
    assert not accounts.has_admin()
    accounts.set_password(OPERATOR, "root1", "correct horse")
    assert accounts.has_admin()
    accounts.create_user("root2", is_admin=True)
    accounts.disable(OPERATOR, "root1")
    assert not accounts.has_admin()


def test_the_last_administrator_of_the_hub_stays_one(accounts: Accounts, told: Told) -> None:
    accounts.create_user("root1", is_admin=True)
    accounts.create_user("root2", is_admin=True)
    accounts.disable(OPERATOR, "root2")
    told()
    for unseat in (
        lambda: accounts.set_admin(OPERATOR, "root1", is_admin=False),
        lambda: accounts.disable(OPERATOR, "root1"),
        lambda: accounts.delete_namespace(OPERATOR, "root1"),
    ):
        with pytest.raises(Conflict, match="'root1' is the last administrator of this hub"):
            unseat()
    assert told() == []
    accounts.enable(OPERATOR, "root2")
    accounts.set_admin(OPERATOR, "root1", is_admin=False)
    assert [one.name for one in accounts.users() if one.is_admin] == ["root2"]


def test_the_first_administrator_is_made_under_a_name_that_nobody_else_has_or_had(accounts: Accounts) -> None:
    accounts.create_org(OPERATOR, "admin")
    made = accounts.first_admin()
    assert (made.name, made.is_admin) == ("admin-2", True)
    assert accounts.first_admin() == made
    accounts.create_user("boss", is_admin=True)
    accounts.delete_namespace(OPERATOR, "admin-2")
    assert accounts.first_admin().name == "boss"


def test_somebody_who_happens_to_be_called_admin_is_not_made_one(accounts: Accounts) -> None:
    accounts.create_user("admin")
    assert accounts.first_admin().name == "admin-2"
    assert not accounts.user("admin").is_admin


def test_profiles_tell_memberships_both_ways_and_no_email(accounts: Accounts, acme: Actor) -> None:
    accounts.set_profile(acme, "alice", "Alice A.", "alice@example.org")
    user, org = accounts.profile("alice"), accounts.profile("acme")
    assert [(one.name, one.role) for one in user.memberships] == [("acme", "admin")]
    assert [(one.name, one.fullname) for one in org.memberships] == [("alice", "Alice A.")]
    assert (user.namespace.kind, org.namespace.kind) == ("user", "org")
    assert "example.org" not in f"{user}{org}"
