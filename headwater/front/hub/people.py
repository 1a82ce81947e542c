"""Who am I; users and organizations as the clients ask for them; a namespace's repos and what they weigh."""

from __future__ import annotations

import re
from typing import Any

from headwater.accounts.actor import Actor
from headwater.catalog import overview
from headwater.front import opening
from headwater.front.answer import Answer, json
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground.clock import iso
from headwater.ground.errors import EntryMissing, Invalid, Unauthenticated
from headwater.ground.names import REPO_TYPES

REPOS_MAX = 1000
_CURSOR = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")


def whoami(rooms: Rooms, request: Request) -> Answer:
    if not request.actor.signed_in:
        raise Unauthenticated("Invalid user token")
    who = rooms.accounts.whoami(request.actor)
    token = who["token"]
    shown: dict[str, Any] = {
        "type": "user",
        "id": f"{who['id']:024x}",
        "name": who["name"],
        "fullname": who["fullname"] or who["name"],
        "email": who["email"],
        "emailVerified": bool(who["email"]),
        "isPro": False,
        "canPay": False,
        "avatarUrl": "",
        "isAdmin": who["is_admin"],
        "orgs": [
            {
                "type": "org",
                "id": f"{one['id']:024x}",
                "name": one["name"],
                "fullname": one["fullname"] or one["name"],
                "roleInOrg": one["role"],
                "isEnterprise": False,
                "avatarUrl": "",
            }
            for one in who["orgs"]
        ],
        "auth": {"type": "access_token" if token else "session"},
    }
    if token:
        shown["auth"]["accessToken"] = {
            "displayName": token["name"],
            "role": token["role"],
            "createdAt": iso(token["created_ms"]),
        }
    return json(shown)


def user_overview(rooms: Rooms, request: Request) -> Answer:
    profile = rooms.accounts.profile(request.params["user"])
    if profile.namespace.kind != "user":
        raise EntryMissing(request.params["user"], text="User not found")
    space = profile.namespace
    return json(
        {
            "_id": f"{space.id:024x}",
            "user": space.name,
            "fullname": space.fullname or space.name,
            "type": "user",
            "avatarUrl": "",
            "isPro": False,
            "createdAt": iso(profile.created_ms),
            "orgs": [
                {"id": f"org-{one.name}", "name": one.name, "fullname": one.fullname or one.name, "avatarUrl": ""}
                for one in profile.memberships
            ],
            **_counts(rooms, request.actor, space.name),
            "numLikes": overview.likes(rooms.db, request.actor, space.id),
            "numFollowers": 0,
            "numFollowing": 0,
        }
    )


def org_overview(rooms: Rooms, request: Request) -> Answer:
    profile = rooms.accounts.profile(request.params["org"])
    if profile.namespace.kind != "org":
        raise EntryMissing(request.params["org"], text="Organization not found")
    space = profile.namespace
    return json(
        {
            "_id": f"{space.id:024x}",
            "name": space.name,
            "fullname": space.fullname or space.name,
            "type": "org",
            "avatarUrl": "",
            "isVerified": False,
            "createdAt": iso(profile.created_ms),
            "numUsers": len(profile.memberships),
            **_counts(rooms, request.actor, space.name),
            "numFollowers": 0,
        }
    )


def org_members(rooms: Rooms, request: Request) -> Answer:
    profile = rooms.accounts.profile(request.params["org"])
    if profile.namespace.kind != "org":
        raise EntryMissing(request.params["org"], text="Organization not found")
    return json(
        [
            {"user": one.name, "fullname": one.fullname or one.name, "type": "user", "avatarUrl": "", "isPro": False}
            for one in profile.memberships
        ]
    )


def nobody_follows(rooms: Rooms, request: Request) -> Answer:
    """Followers are not kept here; the namespace must exist all the same."""
    rooms.accounts.namespace(request.params.get("user") or request.params["org"])
    return json([])


def _counts(rooms: Rooms, actor: Actor, namespace: str) -> dict[str, int]:
    """How many repos of each type the asking actor may see."""
    counted = overview.counts(rooms.db, actor, namespace)
    return {f"num{kind.capitalize()}s": counted.get(kind, 0) for kind in REPO_TYPES}


def own_repositories(rooms: Rooms, request: Request) -> Answer:
    return _repositories(rooms, request, request.actor.name)


def org_repositories(rooms: Rooms, request: Request) -> Answer:
    space = rooms.accounts.namespace(request.params["org"])
    if space.id not in request.actor.namespace_ids and not request.actor.is_admin:
        raise EntryMissing(request.params["org"], text="Organization not found")
    return _repositories(rooms, request, space.name)


def _repositories(rooms: Rooms, request: Request, namespace: str) -> Answer:
    page = overview.storage(
        rooms.db, request.actor, namespace, request.number("limit", REPOS_MAX, REPOS_MAX), _after(request.arg("cursor"))
    )
    shown = [
        {
            "id": row.full_name,
            "type": row.type,
            "updatedAt": iso(row.modified_ms),
            "visibility": "private" if row.private else "public",
            "storage": row.used_storage,
            "storagePercent": 100 * row.used_storage / max(page.total_bytes, 1),
        }
        for row in page.rows
    ]
    return json(shown, headers=opening.next_link(request, "{}-{}".format(*page.next)) if page.next else None)


def _after(cursor: str) -> tuple[int, int] | None:
    """The weight and the number of the last repo of the page before."""
    if not cursor:
        return None
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise Invalid("cursor: it is not one that this hub gave out")
    return int(match[1]), int(match[2])
