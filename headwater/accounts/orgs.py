"""Organizations and who belongs to them. Only admins change who belongs and as what (T39); one admin always stays."""

from __future__ import annotations

from typing import cast, get_args

from sqlalchemy import Connection, delete, func, insert, select, update

from headwater.accounts.actor import Actor, Role
from headwater.accounts.actors import OPERATOR, author_id
from headwater.accounts.people import (
    Membership,
    Namespace,
    People,
    Visibility,
    add_namespace,
    check_fullname,
    find,
    is_hub_admin,
    live,
    memberships,
    require_rule,
    require_sign_in,
    tell,
)
from headwater.accounts.tables import member, namespace, org
from headwater.ground import names
from headwater.ground.errors import Conflict, EntryMissing, Forbidden, Invalid

ROLES: tuple[Role, ...] = get_args(Role)
ORGS_PER_USER_MAX = 100  # that an ordinary user may be admin of: names are given for ever
PAGE_MAX = 1000


def check_role(text: str) -> Role:
    if text not in ROLES:
        raise Invalid(f"role: {text[:40]!r} is not one of {', '.join(ROLES)}")
    return text


def check_visibility(text: str) -> Visibility:
    if text not in ("public", "private"):
        raise Invalid(f"default_visibility: {text[:40]!r} is not one of public, private")
    return cast(Visibility, text)


def add_org(connection: Connection, name: str, at_ms: int, fullname: str, visibility: Visibility) -> int:
    """The rows of a new organization, without members; no event."""
    org_id = add_namespace(connection, name, "org", at_ms)
    connection.execute(insert(org).values(id=org_id, fullname=fullname, default_visibility=visibility))
    return org_id


def put_member(connection: Connection, org_id: int, user_id: int, role: Role) -> Role | None:
    """Makes `role` hold and returns what held before; no event. Conflict if no admin would be left."""
    mine = (member.c.org_id == org_id) & (member.c.user_id == user_id)
    before = cast(Role | None, connection.execute(select(member.c.role).where(mine)).scalar())
    if before is None:
        connection.execute(insert(member).values(org_id=org_id, user_id=user_id, role=role))
    elif before != role:
        _keep_an_admin(connection, org_id, before)
        connection.execute(update(member).where(mine).values(role=role))
    return before


def _keep_an_admin(connection: Connection, org_id: int, before: Role) -> None:
    """To be called before somebody whose role is `before` loses it."""
    admins = select(func.count()).where(member.c.org_id == org_id, member.c.role == "admin")
    if before == "admin" and connection.execute(admins).scalar_one() == 1:
        raise Conflict("An organization needs an admin: make somebody else admin first, or delete the organization")


class Orgs(People):
    def create_org(
        self, actor: Actor, name: str, fullname: str = "", default_visibility: str | None = None
    ) -> Namespace:
        """Any user may; he becomes its admin. One that the operator makes has no members until he sets some."""
        visibility = check_visibility(default_visibility or self.settings.default_visibility)
        check_fullname(fullname)
        at_ms = self.clock.now_ms()
        with self.db.write() as connection:
            require_sign_in(actor)
            mine = select(func.count()).where(member.c.user_id == actor.user_id, member.c.role == "admin")
            if connection.execute(mine).scalar_one() >= ORGS_PER_USER_MAX and not is_hub_admin(connection, actor):
                raise Forbidden(f"You are admin of {ORGS_PER_USER_MAX} organizations, which is the most")
            org_id = add_org(connection, name, at_ms, fullname, visibility)
            creator_id = author_id(actor)
            if creator_id is not None:
                put_member(connection, org_id, creator_id, "admin")
            data = {"id": org_id, "name": name, "default_visibility": visibility}
            tell(connection, "org.created", at_ms, actor, **data)
        return Namespace(org_id, name, "org", "live", fullname, visibility)

    def set_org(
        self, actor: Actor, name: str, fullname: str | None = None, default_visibility: str | None = None
    ) -> Namespace:
        """Changes what is given and leaves the rest. Its admins may."""
        at_ms = self.clock.now_ms()
        with self.db.write() as connection:
            before = live(connection, name, "org")
            require_rule(connection, actor, before)
            after = Namespace(
                before.id,
                before.name,
                "org",
                "live",
                before.fullname if fullname is None else check_fullname(fullname),
                before.default_visibility if default_visibility is None else check_visibility(default_visibility),
            )
            if after != before:
                values = {"fullname": after.fullname, "default_visibility": after.default_visibility}
                connection.execute(update(org).where(org.c.id == before.id).values(values))
                data = {"id": after.id, "name": after.name, "default_visibility": after.default_visibility}
                tell(connection, "org.changed", at_ms, actor, **data)
        return after

    def orgs(self, after: str = "", limit: int = PAGE_MAX) -> list[Namespace]:
        """By name, those behind `after`; at most PAGE_MAX."""
        page = (
            select(namespace.c.id, namespace.c.name, namespace.c.kind, namespace.c.state)
            .add_columns(org.c.fullname, org.c.default_visibility)
            .join(org, org.c.id == namespace.c.id)
            .where(namespace.c.state == "live", namespace.c.key > names.key(after))
            .order_by(namespace.c.key)
            .limit(min(limit, PAGE_MAX))
        )
        with self.db.read() as connection:
            return [Namespace(*row) for row in connection.execute(page)]

    def members(self, org_name: str, after: str = "", limit: int = PAGE_MAX) -> list[Membership]:
        """By name, those behind `after`; at most PAGE_MAX."""
        with self.db.read() as connection:
            space = live(connection, org_name, "org")
            page = memberships(member.c.user_id).where(member.c.org_id == space.id, namespace.c.key > names.key(after))
            rows = connection.execute(page.limit(min(limit, PAGE_MAX)))
            return [Membership(row.name, row.fullname, row.role) for row in rows]

    def set_member(self, actor: Actor, org_name: str, user_name: str, role: str) -> None:
        """Takes a user in, or gives a member another role. Only admins of the organization or of the hub (T39)."""
        checked = check_role(role)
        at_ms = self.clock.now_ms()
        with self.db.write() as connection:
            space = live(connection, org_name, "org")
            require_rule(connection, actor, space)
            who = live(connection, user_name, "user")
            before = put_member(connection, space.id, who.id, checked)
            if before != checked:
                _tell(connection, at_ms, actor, space, who, before, checked)

    def remove_member(self, actor: Actor, org_name: str, user_name: str) -> None:
        """Admins remove anybody, a member removes himself. Ends all his grants there (T38)."""
        at_ms = self.clock.now_ms()
        with self.db.write() as connection:
            space = live(connection, org_name, "org")
            require_sign_in(actor)
            if not self._is(connection, actor, user_name):
                require_rule(connection, actor, space)
            who = live(connection, user_name, "user")
            mine = (member.c.org_id == space.id) & (member.c.user_id == who.id)
            before = cast(Role | None, connection.execute(select(member.c.role).where(mine)).scalar())
            if before is None:
                raise EntryMissing(user_name, text=f"{who.name!r} is not a member of {space.name!r}")
            _keep_an_admin(connection, space.id, before)
            connection.execute(delete(member).where(mine))
            _tell(connection, at_ms, actor, space, who, before, None)

    def _is(self, connection: Connection, actor: Actor, name: str) -> bool:
        found = find(connection, namespace.c.key == names.key(name))
        return found is not None and actor is not OPERATOR and actor.user_id == found[0].id


def _tell(
    connection: Connection,
    at_ms: int,
    actor: Actor,
    space: Namespace,
    who: Namespace,
    *roles: Role | None,
) -> None:
    before, after = roles
    data = {"org_id": space.id, "org": space.name, "user_id": who.id, "user": who.name, "before": before, "role": after}
    tell(connection, "member.changed", at_ms, actor, **data)
