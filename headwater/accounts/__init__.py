"""Who asks, and what he may do: users, organizations, members, tokens, browser sessions.

Nouns: Actor. Invariants: a secret is shown once and kept as a hash; a name that was ever given is never given to
somebody else; a decision about a credential is at most five seconds old. Refuses to know: repos, bytes, HTTP.
"""

from __future__ import annotations

from headwater.accounts.actors import OPERATOR
from headwater.accounts.orgs import Orgs
from headwater.accounts.signin import SignIn
from headwater.accounts.tickets import Tickets
from headwater.accounts.tokens import Tokens
from headwater.ground.clock import Clock
from headwater.ground.db import Database
from headwater.ground.settings import Settings

__all__ = ["OPERATOR", "Accounts", "Tickets"]


class Accounts(Orgs, Tokens, SignIn):
    """The whole room; `tickets` signs with the data folder's `secret`."""

    def __init__(self, db: Database, clock: Clock, settings: Settings, secret: bytes) -> None:
        super().__init__(db, clock, settings)
        self.tickets = Tickets(secret, clock)
