"""Ways in: passwords, one-time links, browser sessions. Refuses to know cookies' attributes and pages: `front`.

Nothing here tells whether a user exists: text, status and time are the same (T46). Secrets are random, kept as hashes.
"""

from __future__ import annotations

import hmac

from sqlalchemy import delete, insert, select, update

from headwater.accounts import passwords
from headwater.accounts.actor import Actor
from headwater.accounts.actors import OPERATOR, fingerprint
from headwater.accounts.people import People, require_hub_admin, tell
from headwater.accounts.tables import namespace, session, signin_link, user
from headwater.ground import names
from headwater.ground.clock import Clock
from headwater.ground.db import Database
from headwater.ground.errors import EntryMissing, Unauthenticated
from headwater.ground.settings import Settings

SECRET_BYTES = 32
SESSIONS_PER_USER_MAX = 50  # browsers of one person; the oldest session ends


class SignIn(People):
    def __init__(self, db: Database, clock: Clock, settings: Settings) -> None:
        super().__init__(db, clock, settings)
        self._tries = passwords.Tries(clock, settings.signin_tries_max)

    # ---- passwords ----

    def actor_by_password(self, name: str, password: str, address: str = "") -> Actor:
        """Whom name and password name. To be followed by `sign_in`; tools use tokens.

        `address` is the client's, as far as it is believed. Unauthenticated with one text for every cause; TooMuch
        (429) after `signin_tries_max` failures per account or address in ten minutes, whether the account exists
        or not.
        """
        key = names.key(name[: names.NAME_LENGTH_MAX + 1])
        tries = [f"name {key}", *([passwords.address_key(address)] if address else [])]
        self._tries.take(*tries)
        question = (
            select(user.c.id, user.c.password_hash)
            .join(namespace, namespace.c.id == user.c.id)
            .where(namespace.c.key == key, namespace.c.state == "live", user.c.disabled.is_(False))
        )
        with self.db.read() as connection:
            row = connection.execute(question).one_or_none()
        if not passwords.fits(row.password_hash if row else None, password) or row is None:
            raise Unauthenticated("Wrong name or password")
        self._tries.give_back(*tries)
        return self.actor_again(row.id, None)

    # ---- sessions ----

    def sign_in(self, user_id: int) -> str:
        """A session that did not exist before, so none that was planted (fixation); its cookie's value."""
        self.actor_again(user_id, None)
        cookie = self.clock.token(SECRET_BYTES)
        now_ms = self.clock.now_ms()
        row = {
            "hash": fingerprint(cookie),
            "user_id": user_id,
            "csrf": self.clock.token(SECRET_BYTES),
            "created_ms": now_ms,
            "expires_ms": now_ms + self.settings.session_s * 1000,
        }
        mine = session.c.user_id == user_id
        newest = (
            select(session.c.hash).where(mine).order_by(session.c.created_ms.desc()).limit(SESSIONS_PER_USER_MAX - 1)
        )
        with self.db.write() as connection:
            connection.execute(delete(session).where(session.c.expires_ms <= now_ms))
            connection.execute(delete(session).where(mine, session.c.hash.not_in(newest)))
            connection.execute(insert(session).values(row))
        return cookie

    def sign_out(self, actor: Actor) -> None:
        """Ends the session that the actor came by."""
        with self.db.write() as connection:
            connection.execute(delete(session).where(session.c.hash == actor.session_hash))

    # ---- one-time links ----

    def make_signin_link(self, user_id: int, *, by: Actor = OPERATOR) -> str:
        """The secret part of a link that signs in once, within `signin_link_s`; only administrators make them."""
        secret = self.clock.token(SECRET_BYTES)
        now_ms = self.clock.now_ms()
        with self.db.write() as connection:
            require_hub_admin(connection, by)
            found = select(namespace.c.name).where(namespace.c.id == user_id, namespace.c.kind == "user")
            name = connection.execute(found.where(namespace.c.state == "live")).scalar()
            if name is None:
                raise EntryMissing(str(user_id), text=f"No user has the number {user_id}")
            connection.execute(delete(signin_link).where(signin_link.c.expires_ms <= now_ms))
            expires_ms = now_ms + self.settings.signin_link_s * 1000
            connection.execute(
                insert(signin_link).values(hash=fingerprint(secret), user_id=user_id, expires_ms=expires_ms)
            )
            tell(connection, "user.changed", now_ms, by, id=user_id, name=name, what="sign-in link made")
        return secret

    def use_signin_link(self, secret: str) -> int:
        """The number of the user it signs in, once. Unauthenticated if unknown, used, expired, or he is disabled.

        One statement decides and marks it used, so that of two at once one gets in; it is the same for every cause.
        """
        now_ms = self.clock.now_ms()
        may = select(user.c.id).join(namespace, namespace.c.id == user.c.id)
        may = may.where(namespace.c.state == "live", user.c.disabled.is_(False))
        use = (
            update(signin_link)
            .where(signin_link.c.hash == fingerprint(secret[: 4 * SECRET_BYTES]))
            .where(signin_link.c.used_ms.is_(None), signin_link.c.expires_ms > now_ms, signin_link.c.user_id.in_(may))
            .values(used_ms=now_ms)
            .returning(signin_link.c.user_id)
        )
        with self.db.write() as connection:
            user_id: int | None = connection.execute(use).scalar()
        if user_id is None:
            raise Unauthenticated("This sign-in link was used before, or is too old; ask for a new one")
        return user_id


def csrf_fits(expected: str, given: str) -> bool:
    """Whether a form carries its session's secret; in the same time however much of it is right."""
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogatepass"))
