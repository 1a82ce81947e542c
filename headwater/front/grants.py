"""Xet tokens: who may read or write which repo's files, for a quarter of an hour.

A token names the user and the token it came from, so a lost right ends with the next request (T37), not with the
token. JSON for hf_xet's refresher and the same in headers for huggingface_hub: clients read either (xet.md, 1.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from headwater.accounts.actor import NOBODY, Actor, Want
from headwater.accounts.people import require_sign_in
from headwater.accounts.tickets import Fields
from headwater.catalog.pulls import COMMIT_CHARS, Visitor
from headwater.front import opening
from headwater.front.answer import Answer, json
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground.errors import Forbidden, RepoMissing, Unauthenticated
from headwater.repos import Repo

Scope = Literal["read", "write"]
PURPOSE = "xet"


@dataclass(frozen=True, slots=True)
class Grant:
    token: str
    until_s: int
    cas_url: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls the CAS, on behalf of which repo."""

    actor: Actor
    repo: Repo
    scope: Scope
    pull: Fields
    """What a pull is counted by: `c`, the commit that the token was asked for, and `ci`, by an agent of CI."""


def make(rooms: Rooms, actor: Actor, found: Repo, scope: Scope, pull: Fields | None = None) -> Grant:
    lifetime_s = rooms.settings.xet_token_s
    token = rooms.tickets.sign(PURPOSE, {**owner(actor, found), "scope": scope, **(pull or {})}, lifetime_s)
    return Grant(token, rooms.clock.now_ms() // 1000 + lifetime_s, f"{rooms.settings.base_url}/xet")


def headers(grant: Grant) -> dict[str, str]:
    return {
        "X-Xet-Cas-Url": grant.cas_url,
        "X-Xet-Access-Token": grant.token,
        "X-Xet-Token-Expiration": str(grant.until_s),
    }


def read_token(rooms: Rooms, request: Request) -> Answer:
    found = opening.contents(rooms, request)
    commit = opening.revision(rooms, request, found)
    # hf_xet, which fetches with this token, names neither the commit nor its caller's agent
    who = Visitor.of(request.client, request.headers.get("user-agent", ""))
    pull: Fields = {"c": commit[:COMMIT_CHARS], "ci": int(who.ci)}
    return _answer(make(rooms, request.actor, found, "read", pull))


def write_token(rooms: Rooms, request: Request) -> Answer:
    """The revision may be a branch that does not exist yet, or `None` for a pull request: it is not looked at."""
    found = opening.changing(rooms, request)
    require_sign_in(request.actor)
    return _answer(make(rooms, request.actor, found, "write"))


def _answer(grant: Grant) -> Answer:
    shown = {"accessToken": grant.token, "exp": grant.until_s, "casUrl": grant.cas_url}
    return json(shown, headers={**headers(grant), "Cache-Control": "no-store"})


def caller(rooms: Rooms, request: Request, scope: Scope) -> Caller:
    """Checks the bearer token of a CAS call, and that the right behind it still stands."""
    token = request.credentials()
    if not token:
        raise Unauthenticated("A Xet access token is required")
    fields = rooms.tickets.read(PURPOSE, token)
    granted = cast(Scope, fields["scope"])
    if scope == "write" and granted != "write":
        raise Forbidden("This Xet token may only read")
    # A pull request may be opened by who only reads: what he uploads is held, and named by nothing but his request.
    actor, found = by_now(rooms, fields, "read")
    if scope == "write" and not actor.can_write:
        raise Forbidden("This token may only read; use one with the role 'write'")
    return Caller(actor, found, granted, {"c": fields.get("c", ""), "ci": fields.get("ci", 0)})


def signed(rooms: Rooms, purpose: str, ticket: str, want: Want) -> tuple[Actor, Repo, Fields]:
    """By whom and for which repo an address was signed and what it says, if the right behind it still stands (T37).

    It is no credential that one could ask for, so a bad one is 403, on which Xet clients ask for another.
    """
    try:
        fields = rooms.tickets.read(purpose, ticket)
        return *by_now(rooms, fields, want), fields
    except (Unauthenticated, RepoMissing) as error:
        raise Forbidden("This address is not good, or no longer; ask for a new one") from error


def owner(actor: Actor, found: Repo) -> Fields:
    """The fields that name on whose behalf and for which repo a note is signed."""
    return {"repo": found.id, "user": actor.user_id or 0, "token": actor.token_id or 0}


def by_now(rooms: Rooms, fields: Fields, want: Want) -> tuple[Actor, Repo]:
    """Whom and which repo the fields name, as they are by now; refused as anybody is who asks for the repo."""
    user_id = int(fields["user"])
    actor = rooms.accounts.actor_again(user_id, int(fields["token"]) or None) if user_id else NOBODY
    found = rooms.repos.registry.open(actor, rooms.repos.registry.by_id(int(fields["repo"])).rid, want)
    rooms.repos.registry.admit_content(actor, found)
    return actor, found
