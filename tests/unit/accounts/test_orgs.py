"""Organizations: who belongs, as what, and who may say so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headwater.accounts import OPERATOR, Accounts, orgs
from headwater.accounts.actor import NOBODY, Actor
from headwater.ground.errors import Conflict, EntryMissing, Forbidden, Invalid, Unauthenticated
from headwater.ground.events import Event
from headwater.ground.settings import Settings

Somebody = Callable[..., Actor]


def roles(accounts: Accounts) -> dict[str, str]:
    return {one.name: one.role for one in accounts.members("acme")}


def test_the_creator_becomes_admin(accounts: Accounts, acme: Actor) -> None:
    assert roles(accounts) == {"alice": "admin"}
    assert acme.roles == {accounts.namespace("acme").id: "admin"}


def test_the_operators_organization_has_no_members_yet(accounts: Accounts) -> None:
    accounts.create_user("alice")
    accounts.create_org(OPERATOR, "acme", "Acme Ltd", "private")
    assert roles(accounts) == {}
    accounts.set_member(OPERATOR, "acme", "alice", "read")
    assert roles(accounts) == {"alice": "read"}
    assert accounts.namespace("acme").default_visibility == "private"


@pytest.mark.parametrize("role", ["read", "contributor", "write"])
def test_T39_a_member_raises_nobody_and_takes_nobody_in(
    accounts: Accounts, acme: Actor, somebody: Somebody, role: str
) -> None:
    bob = somebody("bob")
    somebody("carol")
    accounts.set_member(acme, "acme", "bob", role)
    bob = accounts.actor_again(bob.user_id or 0, None)
    for user, to in (("bob", "admin"), ("carol", "admin"), ("carol", "read"), ("alice", "read")):
        with pytest.raises(Forbidden, match="'admin'"):
            accounts.set_member(bob, "acme", user, to)
    for change in (
        lambda: accounts.remove_member(bob, "acme", "alice"),
        lambda: accounts.set_org(bob, "acme", "Bob's"),
        lambda: accounts.rename_namespace(bob, "acme", "bobs-acme"),
        lambda: accounts.delete_namespace(bob, "acme"),
    ):
        with pytest.raises(Forbidden):
            change()
    assert roles(accounts) == {"alice": "admin", "bob": role}


def test_T39_one_who_was_admin_when_he_came_is_none_when_he_acts(
    accounts: Accounts, acme: Actor, somebody: Somebody
) -> None:
    somebody("bob")
    accounts.set_member(acme, "acme", "bob", "admin")
    accounts.set_member(OPERATOR, "acme", "alice", "read")
    with pytest.raises(Forbidden):
        accounts.set_member(acme, "acme", "alice", "admin")


def test_strangers_and_nobody_and_read_tokens_change_nothing(
    accounts: Accounts, acme: Actor, somebody: Somebody, make_token: Callable[..., str]
) -> None:
    reader = accounts.actor_by_token(make_token("alice", role="read"))
    somebody("carol")
    for actor, error in ((somebody("bob"), Forbidden), (NOBODY, Unauthenticated), (reader, Forbidden)):
        with pytest.raises(error):
            accounts.set_member(actor, "acme", "carol", "read")
        with pytest.raises(error):
            accounts.remove_member(actor, "acme", "alice")
    with pytest.raises(Unauthenticated):
        accounts.create_org(NOBODY, "evil")
    with pytest.raises(Forbidden):
        accounts.create_org(reader, "evil")
    with pytest.raises(Unauthenticated):
        accounts.remove_member(NOBODY, "acme", "nobody-here")


def test_an_organization_never_loses_its_last_admin(accounts: Accounts, acme: Actor, somebody: Somebody) -> None:
    for actor in (acme, OPERATOR):
        with pytest.raises(Conflict, match="needs an admin"):
            accounts.set_member(actor, "acme", "alice", "write")
        with pytest.raises(Conflict, match="needs an admin"):
            accounts.remove_member(actor, "acme", "alice")
    somebody("bob")
    accounts.set_member(acme, "acme", "bob", "admin")
    accounts.remove_member(acme, "acme", "alice")
    assert roles(accounts) == {"bob": "admin"}


def test_T38_who_leaves_or_is_removed_keeps_no_grant(
    accounts: Accounts, acme: Actor, somebody: Somebody, make_token: Callable[..., str]
) -> None:
    bob = somebody("bob")
    org_id = accounts.namespace("acme").id
    accounts.set_member(acme, "acme", "bob", "write")
    token = make_token("bob")
    assert accounts.actor_by_token(token).may_write(namespace_id=org_id, creator_id=None)
    accounts.remove_member(bob, "acme", "bob")
    assert not accounts.actor_by_token(token).sees(private=True, namespace_id=org_id)
    with pytest.raises(EntryMissing):
        accounts.remove_member(acme, "acme", "bob")


def test_deleting_an_organization_ends_its_memberships(accounts: Accounts, acme: Actor) -> None:
    accounts.delete_namespace(acme, "acme")
    assert not accounts.actor_again(acme.user_id or 0, None).roles
    assert accounts.profile("alice").memberships == ()
    with pytest.raises(EntryMissing):
        accounts.members("acme")
    with pytest.raises(EntryMissing):
        accounts.set_member(OPERATOR, "acme", "alice", "admin")


def test_users_and_organizations_are_not_taken_for_each_other(accounts: Accounts, acme: Actor) -> None:
    with pytest.raises(EntryMissing, match="Organization"):
        accounts.set_member(acme, "alice", "alice", "read")
    with pytest.raises(EntryMissing, match="User"):
        accounts.set_member(acme, "acme", "acme", "read")
    with pytest.raises(EntryMissing, match="User"):
        accounts.set_password(OPERATOR, "acme", "correct horse")


@pytest.mark.parametrize("role", ["owner", "", "ADMIN"])
def test_unknown_roles_are_refused(accounts: Accounts, acme: Actor, role: str) -> None:
    with pytest.raises(Invalid, match="admin, write, contributor, read"):
        accounts.set_member(acme, "acme", "alice", role)


def test_settings_change_one_by_one(accounts: Accounts, acme: Actor) -> None:
    accounts.set_org(acme, "acme", "Acme Ltd")
    accounts.set_org(acme, "acme", default_visibility="private")
    made = accounts.namespace("acme")
    assert (made.fullname, made.default_visibility) == ("Acme Ltd", "private")
    assert [made] == accounts.orgs()
    with pytest.raises(Invalid):
        accounts.set_org(acme, "acme", default_visibility="secret")


def test_a_new_organization_has_the_hubs_default_visibility(accounts: Accounts) -> None:
    accounts.settings = Settings(default_visibility="private")
    assert accounts.create_org(OPERATOR, "acme").default_visibility == "private"


def test_there_is_a_most_for_ordinary_users(
    accounts: Accounts, somebody: Somebody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orgs, "ORGS_PER_USER_MAX", 1)
    alice, boss = somebody("alice"), somebody("boss", is_admin=True)
    accounts.create_org(alice, "one")
    with pytest.raises(Forbidden):
        accounts.create_org(alice, "two")
    accounts.create_org(boss, "two")
    accounts.create_org(boss, "three")


def test_every_change_tells_one_event_and_the_same_again_none(
    accounts: Accounts, acme: Actor, somebody: Somebody, told: Callable[[], list[Event]]
) -> None:
    somebody("bob")
    told()
    for kind, step in (
        ("org.created", lambda: accounts.create_org(acme, "umbrella")),
        ("org.changed", lambda: accounts.set_org(acme, "acme", "Acme")),
        ("member.changed", lambda: accounts.set_member(acme, "acme", "bob", "read")),
        ("member.changed", lambda: accounts.set_member(acme, "acme", "bob", "write")),
        ("member.changed", lambda: accounts.remove_member(acme, "acme", "bob")),
    ):
        step()
        (event,) = told()
        assert (kind, acme.user_id) == (event.kind, event.actor_id)
    accounts.set_org(acme, "acme", "Acme")
    accounts.set_member(acme, "acme", "alice", "admin")
    assert told() == []
