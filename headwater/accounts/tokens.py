"""Access tokens: made, shown once, kept as a hash, revoked. Refuses to know whether a token is any good: `actors.py`.

A token that leaked must not be able to outlive its revocation, so no token can make another one.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import cast

from sqlalchemy import Connection, func, insert, select, update

from headwater.accounts.actor import Actor, TokenRole
from headwater.accounts.actors import OPERATOR, fingerprint
from headwater.accounts.people import Namespace, People, live, require_sign_in, tell
from headwater.accounts.tables import namespace, token, user
from headwater.ground.clock import Clock
from headwater.ground.errors import Conflict, EntryMissing, Forbidden, Invalid

PREFIX = "hf_"  # huggingface.js refuses tokens that begin otherwise
RANDOM_CHARS = 40  # of 62 kinds: 238 bits
NAME_LENGTH_MAX = 100
PER_USER_MAX = 1000
HINT_CHARS = 4
HINTED_LENGTH_MIN = 20  # of shorter ones, which only a seed file brings, four characters say too much
_ALPHABET = string.ascii_letters + string.digits
# A revoked token gives its name free; what follows this mark, which no name may contain, tells it from its successor.
_REVOKED = "\x1f"


@dataclass(frozen=True, slots=True)
class Token:
    """What may be shown of a token after it was made; `hint` is its end, empty for short ones."""

    id: int
    user_id: int
    name: str
    hint: str
    role: TokenRole
    created_ms: int
    expires_ms: int | None
    used_ms: int | None


_TOKEN = select(
    token.c.id,
    token.c.user_id,
    token.c.name,
    token.c.hint,
    token.c.role,
    token.c.created_ms,
    token.c.expires_ms,
    token.c.used_ms,
).where(token.c.revoked_ms.is_(None))


def check_role(text: str) -> TokenRole:
    if text not in ("read", "write"):
        raise Invalid(f"token role: {text[:40]!r} is not one of read, write")
    return cast(TokenRole, text)


def fresh_secret(clock: Clock) -> str:
    number = int(clock.token(32), 16)
    digits = []
    for _ in range(RANDOM_CHARS):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return PREFIX + "".join(digits)


def add_token(
    connection: Connection,
    owner: Namespace,
    name: str,
    secret: str,
    role: TokenRole,
    *,
    at_ms: int,
    expires_ms: int | None = None,
) -> int:
    """The row of a token whose value is `secret`, no event. Conflict if the owner has one of that name."""
    live_ones = (token.c.user_id == owner.id) & token.c.revoked_ms.is_(None)
    if connection.execute(select(token.c.id).where(live_ones, token.c.name == name)).first():
        raise Conflict(f"{owner.name!r} has a token named {name!r}; revoke it or choose another name")
    if connection.execute(select(func.count()).select_from(token).where(live_ones)).scalar_one() >= PER_USER_MAX:
        raise Forbidden(f"{owner.name!r} has {PER_USER_MAX} tokens, which is the most; revoke some")
    row = {
        "user_id": owner.id,
        "name": name,
        "hash": fingerprint(secret),
        "hint": secret[-HINT_CHARS:] if len(secret) >= HINTED_LENGTH_MIN else "",
        "role": role,
        "created_ms": at_ms,
        "expires_ms": expires_ms,
    }
    token_id: int = connection.execute(insert(token).values(row).returning(token.c.id)).scalar_one()
    return token_id


class Tokens(People):
    def create_token(
        self, actor: Actor, name: str, role: str, expires_ms: int | None = None, *, owner: str | None = None
    ) -> tuple[Token, str]:
        """A token of the actor, or of `owner` if the operator asks; with its value, which is nowhere else.

        `expires_ms` is wall time. Forbidden to actors who came by token themselves.
        """
        checked = check_role(role)
        at_ms = self.clock.now_ms()
        if not 1 <= len(name) <= NAME_LENGTH_MAX or not name.isprintable() or name != name.strip():
            raise Invalid(f"token name: must have 1 to {NAME_LENGTH_MAX} printable characters and no spaces around")
        if expires_ms is not None and not at_ms < expires_ms < 1 << 53:
            raise Invalid("token expiry: must lie in the future")
        secret = fresh_secret(self.clock)
        with self.db.write() as connection:
            whose = _owner(connection, actor, owner)
            token_id = add_token(connection, whose, name, secret, checked, at_ms=at_ms, expires_ms=expires_ms)
            data = {"id": token_id, "user_id": whose.id, "name": name, "role": role, "expires_ms": expires_ms}
            tell(connection, "token.created", at_ms, actor, **data)
            return Token(*connection.execute(_TOKEN.where(token.c.id == token_id)).one()), secret

    def list_tokens(self, user_id: int) -> list[Token]:
        """Those not revoked, the newest first."""
        with self.db.read() as connection:
            rows = connection.execute(_TOKEN.where(token.c.user_id == user_id).order_by(token.c.id.desc()))
            return [Token(*row) for row in rows]

    def revoke_token(self, actor: Actor, token_id: int) -> None:
        """One of the actor's own, or any if the operator asks. EntryMissing: others' tokens do not exist (T35)."""
        at_ms = self.clock.now_ms()
        with self.db.write() as connection:
            require_sign_in(actor)
            question = _TOKEN.where(token.c.id == token_id)
            if actor is not OPERATOR:
                question = question.where(token.c.user_id == actor.user_id)
            row = connection.execute(question).one_or_none()
            if row is None:
                text = f"No token has the ID {token_id}" if actor is OPERATOR else "You have no such token"
                raise EntryMissing(str(token_id), text=text)
            gone = {"revoked_ms": at_ms, "name": f"{row.name}{_REVOKED}{token_id}"}
            connection.execute(update(token).where(token.c.id == token_id).values(gone))
            tell(connection, "token.revoked", at_ms, actor, id=token_id, user_id=row.user_id, name=row.name)


def _owner(connection: Connection, actor: Actor, owner: str | None) -> Namespace:
    if actor is OPERATOR:
        assert owner is not None
        return live(connection, owner, "user")
    require_sign_in(actor)
    if owner is not None or actor.token_role is not None:
        raise Forbidden("Tokens are made by their owner, signed in in a browser, or by `headwater admin`")
    name = select(namespace.c.name).join(user, user.c.id == namespace.c.id)
    return live(connection, connection.execute(name.where(user.c.id == actor.user_id)).scalar_one(), "user")
