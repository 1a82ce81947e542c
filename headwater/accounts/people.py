"""Namespaces and the users among them: made, renamed, deleted. A name that was ever given never changes hands (T41).

A renamed namespace keeps its number; its old name stays behind as a row of state `moved` that points to it. A deleted
one stays as a row of state `dead`. Authority is read from the database inside the transaction that uses it, never from
what the Actor remembers (T37). Refuses to know repos: who must follow a rename or a deletion is handed in as a
`Follower`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict, cast

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, exists, func, insert, or_, select, update

from headwater.accounts import passwords
from headwater.accounts.actor import Actor, Role
from headwater.accounts.actors import OPERATOR, Actors, author_id
from headwater.accounts.tables import member, namespace, org, session, signin_link, token, user
from headwater.ground import events, names
from headwater.ground.errors import Conflict, EntryMissing, Forbidden, Invalid, Unauthenticated

Kind = Literal["user", "org"]
State = Literal["live", "dead", "moved"]
Visibility = Literal["public", "private"]

FULLNAME_LENGTH_MAX = 200
EMAIL_LENGTH_MAX = 254  # RFC 5321 section 4.5.3.1.3, less the angle brackets
FIRST_ADMIN = "admin"
FIRST_ADMIN_TRIES = 100  # names like it, when it is taken
OLD_NAMES_MAX = 10  # per namespace: every old name is kept from all others for ever
PAGE_MAX = 1000
_BY_HIMSELF = frozenset({"password", "profile"})  # the changes that a user makes to himself
_SIGNS_OUT = frozenset({"password", "disabled"})  # those that end his sessions
_UNSEATS = frozenset({"disabled", "not admin"})  # those after which he administers nothing
_JOINERS = str.maketrans("", "", "\u200c\u200d")  # invisible, but Persian and Indic names are spelled with them


@dataclass(frozen=True, slots=True)
class Namespace:
    """`default_visibility` is that of new repos in it."""

    id: int
    name: str
    kind: Kind
    state: State
    fullname: str
    default_visibility: Visibility


@dataclass(frozen=True, slots=True)
class User:
    id: int
    name: str
    fullname: str
    email: str
    is_admin: bool
    disabled: bool
    has_password: bool
    created_ms: int


@dataclass(frozen=True, slots=True)
class Membership:
    """One user in one organization, told by the name of the other side."""

    name: str
    fullname: str
    role: Role


@dataclass(frozen=True, slots=True)
class Profile:
    """What everybody may know of a namespace. `memberships`: a user's organizations, or an organization's members."""

    namespace: Namespace
    created_ms: int
    memberships: tuple[Membership, ...]


class TokenData(TypedDict):
    name: str
    role: str
    created_ms: int


class OrgData(TypedDict):
    id: int
    name: str
    fullname: str
    role: Role


class WhoAmI(TypedDict):
    id: int
    name: str
    fullname: str
    email: str
    is_admin: bool
    orgs: list[OrgData]
    token: TokenData | None


Follower = Callable[[Connection, Namespace, Namespace], None]
"""Called with (before, after) inside the transaction that renames or deletes a namespace; may raise to prevent it."""


# ---- on a connection: shared by the methods below, orgs.py and seed.py ----

_SPACE = (
    select(
        namespace.c.id,
        namespace.c.name,
        namespace.c.kind,
        namespace.c.state,
        func.coalesce(user.c.fullname, org.c.fullname, "").label("fullname"),
        func.coalesce(org.c.default_visibility, "").label("default_visibility"),
        namespace.c.moved_to,
        namespace.c.created_ms,
    )
    .outerjoin(user, user.c.id == namespace.c.id)
    .outerjoin(org, org.c.id == namespace.c.id)
)
_USER = (
    select(
        user.c.id,
        namespace.c.name,
        user.c.fullname,
        user.c.email,
        user.c.is_admin,
        user.c.disabled,
        user.c.password_hash.is_not(None),
        namespace.c.created_ms,
    )
    .join(namespace, namespace.c.id == user.c.id)
    .where(namespace.c.state == "live", namespace.c.kind == "user")
)
_ABLE_ADMINS = _USER.where(user.c.is_admin, user.c.disabled.is_(False))


def find(connection: Connection, where: ColumnElement[bool]) -> tuple[Namespace, int | None] | None:
    """The namespace row `where`, and where it moved to; whatever its state."""
    row = connection.execute(_SPACE.where(where)).one_or_none()
    return None if row is None else (Namespace(*row[:6]), row.moved_to)


def live(connection: Connection, name: str, kind: Kind | None = None) -> Namespace:
    """The namespace that `name` leads to today, old names followed. EntryMissing if none, or of another kind."""
    found = find(connection, namespace.c.key == names.key(name))
    if found is not None and found[1] is not None:
        found = find(connection, namespace.c.id == found[1])
    if found is None or found[0].state != "live" or (kind is not None and found[0].kind != kind):
        what = {"user": "User", "org": "Organization", None: "User or organization"}[kind]
        raise EntryMissing(name, text=f"{what} not found: {name[:100]!r}")
    return found[0]


def add_namespace(connection: Connection, name: str, kind: Kind, at_ms: int) -> int:
    """A name given for the first time. Invalid if reserved, Conflict if it or its like was ever given (T41, T42)."""
    names.new_namespace(name)
    _refuse_used(connection, name, own_id=None)
    row = {"name": name, "key": names.key(name), "skeleton": names.skeleton(name), "kind": kind, "created_ms": at_ms}
    namespace_id: int = connection.execute(insert(namespace).values(row).returning(namespace.c.id)).scalar_one()
    return namespace_id


def _refuse_used(connection: Connection, name: str, own_id: int | None) -> None:
    rows = connection.execute(
        select(namespace.c.id, namespace.c.name, namespace.c.key, namespace.c.state, namespace.c.moved_to).where(
            or_(namespace.c.key == names.key(name), namespace.c.skeleton == names.skeleton(name))
        )
    ).all()
    # The same name before a mere look-alike: the clearer text wins.
    for row in sorted(rows, key=lambda row: row.key != names.key(name)):
        if own_id is not None and own_id in (row.id, row.moved_to):
            continue
        if row.key != names.key(name):
            raise Conflict(f"The name {name!r} looks like {row.name!r}, which is taken; choose another")
        if row.state == "live":
            raise Conflict(f"The name {name!r} is taken; choose another")
        raise Conflict(f"The name {name!r} belonged to somebody else before and is not given again; choose another")


def rename(connection: Connection, space: Namespace, new: str, at_ms: int) -> Namespace:
    """The row keeps its number and takes the new name; a row of state `moved` keeps the old one."""
    names.new_namespace(new)
    _refuse_used(connection, new, own_id=space.id)
    to_new = {"name": new, "key": names.key(new), "skeleton": names.skeleton(new)}
    to_old = {"name": space.name, "key": names.key(space.name), "skeleton": names.skeleton(space.name)}
    if to_new["key"] == to_old["key"]:
        connection.execute(update(namespace).where(namespace.c.id == space.id).values(to_new))
        return replace(space, name=new)
    # Keys are unique at every moment, so the row for the old name waits under a key that is no name. If he takes an
    # old name of his own back, that name's row serves for the one he leaves.
    waiting = {"key": f" {space.id}"}
    back = connection.execute(
        update(namespace).where(namespace.c.key == to_new["key"]).values(waiting).returning(namespace.c.id)
    ).scalar()
    if back is None:
        row = {**to_old, **waiting, "kind": space.kind, "state": "moved", "moved_to": space.id, "created_ms": at_ms}
        back = connection.execute(insert(namespace).values(row).returning(namespace.c.id)).scalar_one()
    connection.execute(update(namespace).where(namespace.c.id == space.id).values(to_new))
    connection.execute(update(namespace).where(namespace.c.id == back).values(to_old))
    return replace(space, name=new)


def check_fullname(text: str) -> str:
    if len(text) > FULLNAME_LENGTH_MAX or not text.translate(_JOINERS).isprintable():
        raise Invalid(f"fullname: must have at most {FULLNAME_LENGTH_MAX} printable characters")
    return text


def check_email(text: str) -> str:
    """Empty, or something that mail could be sent to; only a mail sent would prove more."""
    before, at, after = text.rpartition("@")
    if text and (
        len(text) > EMAIL_LENGTH_MAX or not (before and at and after) or not text.isprintable() or " " in text
    ):
        raise Invalid(f"email: {text[:100]!r} is not an address like name@example.org")
    return text


def add_user(connection: Connection, name: str, at_ms: int, **columns: str | bool | None) -> int:
    """The rows of a new user, whose `columns` were checked; no event."""
    user_id = add_namespace(connection, name, "user", at_ms)
    connection.execute(insert(user).values(id=user_id, **columns))
    return user_id


def end_sessions(connection: Connection, user_id: int) -> None:
    """Signed out everywhere, and no link that would sign in again."""
    connection.execute(delete(session).where(session.c.user_id == user_id))
    connection.execute(delete(signin_link).where(signin_link.c.user_id == user_id))


def tell(connection: Connection, kind: str, at_ms: int, actor: Actor, **data: Any) -> None:
    """The one event of a change, in the change's transaction; `data` holds no secret and no address."""
    events.append(connection, kind, at_ms, actor_id=author_id(actor), **data)


# ---- authority ----


def require_sign_in(actor: Actor) -> None:
    """Whether the credential allows changes at all."""
    if not actor.signed_in:
        raise Unauthenticated("Sign in to do this")
    if not actor.can_write:
        raise Forbidden("This token may only read; use one with the role 'write'")


def is_hub_admin(connection: Connection, actor: Actor) -> bool:
    if actor is OPERATOR:
        return True
    question = select(user.c.is_admin & ~user.c.disabled).where(user.c.id == actor.user_id)
    return actor.can_write and bool(connection.execute(question).scalar())


def require_hub_admin(connection: Connection, actor: Actor) -> None:
    require_sign_in(actor)
    if not is_hub_admin(connection, actor):
        raise Forbidden("Only administrators of this hub may do this")


def _keep_a_hub_admin(connection: Connection, space: Namespace) -> None:
    """To be called before a user stops being one: nobody could administer the hub then, nor start it again."""
    if {one.id for one in connection.execute(_ABLE_ADMINS.limit(2))} == {space.id}:
        raise Conflict(f"{space.name!r} is the last administrator of this hub: make somebody else one first")


def require_rule(connection: Connection, actor: Actor, space: Namespace) -> None:
    """Of an organization: its admins. Of a user: he himself, in a browser and not by token. Hub admins: of all."""
    require_sign_in(actor)
    if space.kind == "user":
        ruled = actor.user_id == space.id and actor.token_role is None
        text = f"Only {space.name!r} himself, signed in in a browser, may do this"
    else:
        question = select(member.c.role).where(member.c.org_id == space.id, member.c.user_id == actor.user_id)
        ruled = connection.execute(question).scalar() == "admin"
        text = f"You need the role 'admin' in the organization {space.name!r} to do this"
    if not ruled and not is_hub_admin(connection, actor):
        raise Forbidden(text)


class People(Actors):
    """Users and namespaces. Names are given as people type them; they are looked up without regard to case."""

    followers: tuple[Follower, ...] = ()
    """Set once, where the hub is put together: `repos` keeps its rows in step with names."""

    # ---- asked ----

    def namespace(self, name: str) -> Namespace:
        """The live namespace of that name today; `.name` differs from what was asked if it moved. EntryMissing."""
        with self.db.read() as connection:
            return self._filled(live(connection, name))

    def namespace_by_id(self, namespace_id: int) -> Namespace:
        """Also a dead one. EntryMissing if there never was one of that number."""
        with self.db.read() as connection:
            found = find(connection, namespace.c.id == namespace_id)
        if found is None:
            raise EntryMissing(str(namespace_id), text=f"No user or organization has the number {namespace_id}")
        return self._filled(found[0])

    def _filled(self, space: Namespace) -> Namespace:
        if space.default_visibility:
            return space
        return replace(space, default_visibility=cast(Visibility, self.settings.default_visibility))

    def user(self, name: str) -> User:
        with self.db.read() as connection:
            return User(*connection.execute(_USER.where(user.c.id == live(connection, name, "user").id)).one())

    def users(self, after: str = "", limit: int = PAGE_MAX) -> list[User]:
        """By name, those behind `after`; at most PAGE_MAX."""
        page = _USER.where(namespace.c.key > names.key(after)).order_by(namespace.c.key).limit(min(limit, PAGE_MAX))
        with self.db.read() as connection:
            return [User(*row) for row in connection.execute(page)]

    def has_admin(self) -> bool:
        """Whether some administrator of the hub has a way in: a password, or a browser that is signed in."""
        signed_in = exists().where(session.c.user_id == user.c.id, session.c.expires_ms > self.clock.now_ms())
        able = _ABLE_ADMINS.where(or_(user.c.password_hash.is_not(None), signed_in))
        with self.db.read() as connection:
            return connection.execute(able.limit(1)).first() is not None

    def first_admin(self) -> User:
        """The administrator who was there first; one is made, under a name that is free, if the hub has none."""
        with self.db.read() as connection:
            row = connection.execute(_ABLE_ADMINS.order_by(user.c.id).limit(1)).one_or_none()
        if row is not None:
            return User(*row)
        # Whoever else has the name, or had it, is not made administrator by a start of the hub.
        for number in range(1, FIRST_ADMIN_TRIES + 1):
            with contextlib.suppress(Conflict):
                name = FIRST_ADMIN if number == 1 else f"{FIRST_ADMIN}-{number}"
                return self.create_user(name, "Administrator", is_admin=True)
        raise Conflict("This hub has no administrator: make one with `headwater admin user create NAME --admin`")

    def profile(self, name: str) -> Profile:
        with self.db.read() as connection:
            space = live(connection, name)
            mine, other = (
                (member.c.user_id, member.c.org_id)
                if space.kind == "user"
                else (
                    member.c.org_id,
                    member.c.user_id,
                )
            )
            rows = connection.execute(memberships(other).where(mine == space.id))
            found = tuple(Membership(row.name, row.fullname, row.role) for row in rows)
            created_ms = connection.execute(
                select(namespace.c.created_ms).where(namespace.c.id == space.id)
            ).scalar_one()
        return Profile(self._filled(space), created_ms, found)

    def whoami(self, actor: Actor) -> WhoAmI:
        """What `whoami-v2` tells (hub-contract 3.1). Unauthenticated for nobody."""
        if actor.user_id is None:
            raise Unauthenticated
        with self.db.read() as connection:
            row = connection.execute(_USER.where(user.c.id == actor.user_id)).one_or_none()
            if row is None:
                raise Unauthenticated
            orgs = connection.execute(memberships(member.c.org_id).where(member.c.user_id == actor.user_id)).all()
            by = connection.execute(
                select(token.c.name, token.c.role, token.c.created_ms).where(token.c.id == actor.token_id)
            ).one_or_none()
        who = User(*row)
        return {
            "id": who.id,
            "name": who.name,
            "fullname": who.fullname,
            "email": who.email,
            "is_admin": who.is_admin,
            "orgs": [{"id": o.id, "name": o.name, "fullname": o.fullname, "role": o.role} for o in orgs],
            "token": None if by is None else {"name": by.name, "role": by.role, "created_ms": by.created_ms},
        }

    # ---- changed ----

    def create_user(
        self,
        name: str,
        fullname: str = "",
        email: str = "",
        password: str | None = None,
        is_admin: bool = False,
        *,
        by: Actor = OPERATOR,
    ) -> User:
        """A new user, without a password one who signs in by link. Whether `by` may is the caller's to decide.

        Invalid, Conflict as in `add_namespace`.
        """
        check_fullname(fullname)
        check_email(email)
        if password is not None:
            passwords.check_new(password)
        names.new_namespace(name)  # before the hash is paid for
        password_hash = None if password is None else passwords.hashed(password)
        at_ms = self.clock.now_ms()
        with self.db.write() as connection:
            columns = {"fullname": fullname, "email": email, "password_hash": password_hash, "is_admin": is_admin}
            user_id = add_user(connection, name, at_ms, **columns)
            tell(connection, "user.created", at_ms, by, id=user_id, name=name, is_admin=is_admin)
            return User(*connection.execute(_USER.where(user.c.id == user_id)).one())

    def set_password(self, actor: Actor, name: str, password: str) -> None:
        """Ends all sessions and links of the user; his tokens stay."""
        passwords.check_new(password)
        self._change_user(actor, name, "password", password_hash=passwords.hashed(password))

    def set_profile(self, actor: Actor, name: str, fullname: str, email: str) -> None:
        self._change_user(actor, name, "profile", fullname=check_fullname(fullname), email=check_email(email))

    def disable(self, actor: Actor, name: str) -> None:
        """Signed out everywhere, and no token of his works, until he is enabled again. Not the hub's last admin."""
        self._change_user(actor, name, "disabled", disabled=True)

    def enable(self, actor: Actor, name: str) -> None:
        self._change_user(actor, name, "enabled", disabled=False)

    def set_admin(self, actor: Actor, name: str, is_admin: bool) -> None:
        """Makes an administrator of the whole hub, or an ordinary user again; one always stays."""
        self._change_user(actor, name, "admin" if is_admin else "not admin", is_admin=is_admin)

    def _change_user(self, actor: Actor, name: str, what: str, **columns: str | bool) -> None:
        at_ms = self.clock.now_ms()
        with self.db.write() as connection:
            space = live(connection, name, "user")
            if what in _BY_HIMSELF:
                require_rule(connection, actor, space)
            else:
                require_hub_admin(connection, actor)
            if what in _UNSEATS:
                _keep_a_hub_admin(connection, space)
            same = and_(*(user.c[column] == value for column, value in columns.items()))
            changed = connection.execute(
                update(user).where(user.c.id == space.id, ~same | same.is_(None)).values(columns)
            )
            if changed.rowcount == 0:
                return
            if what in _SIGNS_OUT:
                end_sessions(connection, space.id)
            tell(connection, "user.changed", at_ms, actor, id=space.id, name=space.name, what=what)

    def rename_namespace(self, actor: Actor, name: str, new: str) -> Namespace:
        """A user or an organization under another name; the old one leads there and is nobody else's, ever (T41)."""
        at_ms = self.clock.now_ms()
        with self.db.write() as connection:
            before = live(connection, name)
            require_rule(connection, actor, before)
            old_names = select(func.count()).where(namespace.c.moved_to == before.id)
            if connection.execute(old_names).scalar_one() >= OLD_NAMES_MAX and not is_hub_admin(connection, actor):
                raise Forbidden(f"{before.name!r} was renamed {OLD_NAMES_MAX} times, which is the most")
            if new == before.name:
                return self._filled(before)
            after = rename(connection, before, new, at_ms)
            for follow in self.followers:
                follow(connection, before, after)
            data = {"id": after.id, "type": after.kind, "old": before.name, "new": after.name}
            tell(connection, "namespace.renamed", at_ms, actor, **data)
        return self._filled(after)

    def delete_namespace(self, actor: Actor, name: str) -> None:
        """Ends a user's or an organization's every grant for good; the name is kept from reuse (T38, T41).

        An organization: by its admins. A user: by administrators of the hub. Conflict if he is the last admin of the
        hub or of an organization, or if a follower says so (repos are left).
        """
        at_ms = self.clock.now_ms()
        with self.db.write() as connection:
            before = live(connection, name)
            if before.kind == "user":
                require_hub_admin(connection, actor)
                _keep_a_hub_admin(connection, before)
                _refuse_last_admin(connection, before)
                _end_user(connection, before.id, at_ms)
            else:
                require_rule(connection, actor, before)
                connection.execute(delete(member).where(member.c.org_id == before.id))
            connection.execute(update(namespace).where(namespace.c.id == before.id).values(state="dead"))
            after = replace(before, state="dead")
            for follow in self.followers:
                follow(connection, before, after)
            data = {"id": before.id, "type": before.kind, "name": before.name}
            tell(connection, "namespace.deleted", at_ms, actor, **data)


def memberships(other: ColumnElement[int]) -> Select[int, str, str, Role]:
    """(id, name, fullname, role) of the namespaces that `other`, a column of member, names; in the order of names."""
    return (
        select(
            namespace.c.id,
            namespace.c.name,
            func.coalesce(user.c.fullname, org.c.fullname, "").label("fullname"),
            member.c.role,
        )
        .select_from(member)
        .join(namespace, namespace.c.id == other)
        .outerjoin(user, user.c.id == namespace.c.id)
        .outerjoin(org, org.c.id == namespace.c.id)
        .order_by(namespace.c.key)
    )


def _refuse_last_admin(connection: Connection, space: Namespace) -> None:
    others = member.alias()
    other_admin = exists().where(
        others.c.org_id == member.c.org_id, others.c.role == "admin", others.c.user_id != space.id
    )
    alone = memberships(member.c.org_id).where(member.c.user_id == space.id, member.c.role == "admin", ~other_admin)
    orgs = [row.name for row in connection.execute(alone.limit(10))]
    if orgs:
        raise Conflict(f"{space.name!r} is the last admin of {', '.join(orgs)}: make somebody else admin there first")


def _end_user(connection: Connection, user_id: int, at_ms: int) -> None:
    end_sessions(connection, user_id)
    connection.execute(delete(member).where(member.c.user_id == user_id))
    connection.execute(
        update(token).where(token.c.user_id == user_id, token.c.revoked_ms.is_(None)).values(revoked_ms=at_ms)
    )
    gone = {"fullname": "", "email": "", "password_hash": None, "is_admin": False, "disabled": True}
    connection.execute(update(user).where(user.c.id == user_id).values(gone))
