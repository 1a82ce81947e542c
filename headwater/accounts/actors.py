"""From a token or a cookie to an Actor, remembered for a few seconds; the ground the rest of the room stands on.

One SQL statement per question, none while the answer is remembered. Refuses to know how credentials are made, and
what their owner may do (`actor.py` says that).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from sqlalchemy import Select, bindparam, join, select, update

from headwater.accounts.actor import NOBODY, Actor, Role
from headwater.accounts.tables import member, namespace, session, token, user
from headwater.ground.clock import Clock
from headwater.ground.db import Database
from headwater.ground.errors import Unauthenticated
from headwater.ground.settings import Settings

CREDENTIAL_LENGTH_MAX = 1024  # longer ones were never given out; hashing megabytes for strangers is not our work
KNOWN_MAX = 20_000  # remembered credentials, about 1 KB each
UNKNOWN_MAX = 20_000  # remembered wrong ones, kept apart so that guesses cannot push out what is in use
UNKNOWN_CACHE_S = 0.5  # a wrong credential is looked up again after this long, or after any commit
USED_STEP_MS = 60_000  # the last-used time of a token is kept to the minute
NEVER_MS = 1 << 62

T = TypeVar("T")

OPERATOR = Actor(user_id=0, name="operator", is_admin=True)
"""Who runs `headwater admin` on the machine itself. No user has number 0: never store it as a creator or member."""


def author_id(actor: Actor) -> int | None:
    """The number that events and rows may keep: none for nobody and for the operator."""
    return actor.user_id or None


def fingerprint(secret: str) -> str:
    """SHA-256, as lower-case hex: what is stored of tokens, cookies and links, which are random and need no argon2."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Known:
    """Who somebody is: good until the credential expires, and for `token_cache_s` at most (T37)."""

    actor: Actor
    csrf: str
    """The secret of a browser session; '' for others."""
    expires_ms: int
    until_s: float


STRANGER = Known(NOBODY, "", NEVER_MS, math.inf)
"""Who sends no credentials."""


# One row per membership; who it is and whether he may come in at all is the same in every question.
_WHO = (
    user.c.id,
    namespace.c.name,
    user.c.is_admin,
    user.c.disabled,
    namespace.c.state,
    member.c.org_id,
    member.c.role,
)
_OF_USER = join(user, namespace, namespace.c.id == user.c.id).outerjoin(member, member.c.user_id == user.c.id)
_TOKEN = (
    *_WHO,
    token.c.expires_ms,
    token.c.id.label("token_id"),
    token.c.role.label("token_role"),
    token.c.revoked_ms,
    token.c.used_ms,
)
_OF_TOKEN = _OF_USER.join(token, token.c.user_id == user.c.id)

_BY_TOKEN = select(*_TOKEN).select_from(_OF_TOKEN).where(token.c.hash == bindparam("hash"))
_BY_TOKEN_ID = select(*_TOKEN).select_from(_OF_TOKEN).where(token.c.id == bindparam("id"))
_BY_USER_ID = select(*_WHO).select_from(_OF_USER).where(user.c.id == bindparam("id"))
_BY_SESSION = (
    select(*_WHO, session.c.expires_ms, session.c.csrf)
    .select_from(_OF_USER.join(session, session.c.user_id == user.c.id))
    .where(session.c.hash == bindparam("hash"))
)

_USED = update(token).where(token.c.id == bindparam("token_id")).values(used_ms=bindparam("at_ms"))


class Actors:
    """Who asks, by token, cookie or number; with what was decided in the last seconds."""

    def __init__(self, db: Database, clock: Clock, settings: Settings) -> None:
        self.db = db
        self.clock = clock
        self.settings = settings
        self._known: dict[str, Known] = {}
        self._unknown: dict[str, float] = {}
        self._used: dict[int, int] = {}

    def actor_by_token(self, text: str) -> Actor:
        """Whose token it is. Unauthenticated if unknown, expired, revoked, or its owner is disabled or gone.

        A decision is at most `token_cache_s` old (T37); a token's own expiry is honoured to the millisecond.
        """
        return self.known_by_token(text).actor

    def known_by_token(self, text: str) -> Known:
        """As `actor_by_token`, with how long it may be believed."""
        digest = _digest(text)
        return self._look_up("token " + digest, lambda: self._read_token(_BY_TOKEN, {"hash": digest}))

    def actor_by_session(self, cookie: str) -> tuple[Actor, str]:
        """Whose browser session it is, and the session's CSRF secret. Unauthenticated if it ended."""
        digest = _digest(cookie)
        known = self._look_up("session " + digest, lambda: self._read_session(digest))
        return known.actor, known.csrf

    def is_good(self, known: Known) -> bool:
        """Whether it may still be believed, where nobody has committed anything since."""
        return self.clock.tick_s() < known.until_s and self.clock.now_ms() < known.expires_ms

    def actor_again(self, user_id: int, token_id: int | None) -> Actor:
        """The actor that an earlier answer was made for (a signed ticket names him by number), as he is by now.

        With `token_id` the token must still be good, so that revoking it cuts the tickets that came of it (T37, T38).
        Unauthenticated as in `actor_by_token`.
        """
        if token_id is None:
            return self._look_up(f"user {user_id}", lambda: self._read_user(user_id)).actor
        actor = self._look_up(f"token_id {token_id}", lambda: self._read_token(_BY_TOKEN_ID, {"id": token_id})).actor
        if actor.user_id != user_id:
            raise Unauthenticated
        return actor

    def flush_used(self) -> None:
        """Writes the last-used times noted since the last call; the hub calls it about once a minute."""
        used, self._used = self._used, {}
        if used:
            with self.db.write_soft() as connection:
                connection.execute(_USED, [{"token_id": key, "at_ms": at_ms} for key, at_ms in used.items()])

    def _look_up(self, key: str, read: Callable[[], Known | None]) -> Known:
        # Whatever anybody commits, here or in another process (`headwater admin` beside a running hub), makes every
        # remembered key another; asked before reading, so that a change in between leaves no old answer behind.
        key = f"{self.db.version()} {key}"
        tick_s = self.clock.tick_s()
        known = self._known.get(key)
        if known is not None and tick_s < known.until_s:
            if self.clock.now_ms() >= known.expires_ms:
                raise Unauthenticated
            return known
        refused_until_s = self._unknown.get(key)
        if refused_until_s is not None and tick_s < refused_until_s:
            raise Unauthenticated
        known = read()
        if known is not None:
            _remember(self._known, key, known, KNOWN_MAX)
        else:
            _remember(self._unknown, key, tick_s + min(UNKNOWN_CACHE_S, self.settings.token_cache_s), UNKNOWN_MAX)
        if known is None:
            raise Unauthenticated
        return known

    def _read_token(self, question: Select[*tuple[object, ...]], given: Mapping[str, object]) -> Known | None:
        until_s = self.clock.tick_s() + self.settings.token_cache_s
        with self.db.read() as connection:
            rows = connection.execute(question, given).all()
        if not rows:
            return None
        first, now_ms = rows[0], self.clock.now_ms()
        expires_ms = NEVER_MS if first.expires_ms is None else first.expires_ms
        if first.revoked_ms is not None or first.disabled or first.state != "live" or now_ms >= expires_ms:
            return None
        # abs: after the clock was set back the time is noted all the same (T11)
        if first.used_ms is None or abs(now_ms - first.used_ms) >= USED_STEP_MS:
            self._used[first.token_id] = now_ms
        roles = _roles((row.org_id, row.role) for row in rows)
        actor = Actor(first.id, first.name, first.is_admin, roles, first.token_role, first.token_id)
        return Known(actor, "", expires_ms, until_s)

    def _read_session(self, digest: str) -> Known | None:
        until_s = self.clock.tick_s() + self.settings.token_cache_s
        with self.db.read() as connection:
            rows = connection.execute(_BY_SESSION, {"hash": digest}).all()
        if not rows:
            return None
        first = rows[0]
        if first.disabled or first.state != "live" or self.clock.now_ms() >= first.expires_ms:
            return None
        roles = _roles((row.org_id, row.role) for row in rows)
        actor = Actor(first.id, first.name, first.is_admin, roles, session_hash=digest)
        return Known(actor, first.csrf, first.expires_ms, until_s)

    def _read_user(self, user_id: int) -> Known | None:
        until_s = self.clock.tick_s() + self.settings.token_cache_s
        with self.db.read() as connection:
            rows = connection.execute(_BY_USER_ID, {"id": user_id}).all()
        if not rows or rows[0].disabled or rows[0].state != "live":
            return None
        first = rows[0]
        actor = Actor(first.id, first.name, first.is_admin, _roles((row.org_id, row.role) for row in rows))
        return Known(actor, "", NEVER_MS, until_s)


def _digest(credential: str) -> str:
    if not credential or len(credential) > CREDENTIAL_LENGTH_MAX:
        raise Unauthenticated
    return fingerprint(credential)


def _roles(memberships: Iterable[tuple[int | None, Role]]) -> Mapping[int, Role]:
    """Roles by organization, of an outer join's rows: one without an organization when there are none."""
    return MappingProxyType({org_id: role for org_id, role in memberships if org_id is not None})


def _remember(memory: dict[str, T], key: str, value: T, most: int) -> None:
    # Emptied whole when full: rare, bounded, and cheaper on every other call than keeping an order.
    if len(memory) >= most:
        memory.clear()
    memory[key] = value
