"""Branches and tags: list, make, delete; squash a branch's history."""

from __future__ import annotations

from typing import Any

from headwater.front import opening
from headwater.front.answer import Answer, empty, json
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground import names
from headwater.ground.errors import Invalid
from headwater.repos import RefInfo


def listing(rooms: Rooms, request: Request) -> Answer:
    found = opening.repo(rooms, request)
    refs = rooms.repos.refs.refs(found)
    shown: dict[str, Any] = {
        "branches": [_shown(ref) for ref in refs.branches],
        "converts": [_shown(ref) for ref in refs.converts],
        "tags": [_shown(ref) for ref in refs.tags],
    }
    if request.flag("include_prs"):
        shown["pullRequests"] = [_shown(ref) for ref in refs.pulls]
    return json(shown)


def _shown(ref: RefInfo) -> dict[str, str]:
    return {"name": ref.name, "ref": ref.ref, "targetCommit": ref.target}


def create_branch(rooms: Rooms, request: Request) -> Answer:
    found = opening.repo(rooms, request, "write")
    asked = request.json()
    rooms.repos.refs.create_branch(
        request.actor,
        found,
        names.ref_part(request.params["branch"], "branch"),
        _text(asked, "startingPoint") or "main",
        empty=asked.get("emptyBranch") is True,
        overwrite=asked.get("overwrite") is True,
    )
    return empty()


def delete_branch(rooms: Rooms, request: Request) -> Answer:
    found = opening.repo(rooms, request, "write")
    rooms.repos.refs.delete_branch(request.actor, found, request.params["branch"])
    return empty()


def create_tag(rooms: Rooms, request: Request) -> Answer:
    found = opening.repo(rooms, request, "write")
    asked = request.json()
    tag = names.ref_part(_text(asked, "tag"), "tag")
    text = _text(asked, "message")
    rooms.repos.refs.create_tag(request.actor, found, tag, request.params["rev"], text or None)
    return empty()


def delete_tag(rooms: Rooms, request: Request) -> Answer:
    found = opening.repo(rooms, request, "write")
    rooms.repos.refs.delete_tag(request.actor, found, request.params["rev"])
    return empty()


def super_squash(rooms: Rooms, request: Request) -> Answer:
    found = opening.repo(rooms, request, "write")
    branch = request.params["branch"]
    message = _text(request.json(), "message") or f"Super-squash branch '{branch}'"
    rooms.repos.refs.super_squash(request.actor, found, branch, message)
    rooms.jobs.wake()
    return empty()


def _text(asked: dict[str, Any], key: str) -> str:
    value = asked.get(key) or ""
    if not isinstance(value, str):
        raise Invalid(f"{key}: must be text")
    return value
