"""Pull requests as huggingface_hub opens and reads them; `upload_folder(create_pr=True)` does both before it commits.

Discussions, comments, states and merging are not offered by this version.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Any

from headwater.accounts.people import require_sign_in
from headwater.front import opening
from headwater.front.answer import Answer, json
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground.clock import iso
from headwater.ground.errors import EntryMissing, Gated, Invalid, NotOffered
from headwater.repos import Commit, Message, PullRequest, Repo

EVENTS_MAX = 1000  # commits of one pull request that are told, the newest
NUMBER_LENGTH_MAX = 9  # as of refs
PAGE = 50  # of a list
_TYPES = ("", "all", "discussion", "pull_request")
_STATES = ("", "all", "open", "closed", "draft", "merged")


def create(rooms: Rooms, request: Request) -> Answer:
    """A pull ref at main's head, by whoever may open one with a commit (T36)."""
    found = opening.repo(rooms, request)
    require_sign_in(request.actor)
    asked = request.json()
    if asked.get("pullRequest") is not True:
        raise NotOffered("Discussions are not offered by this version, pull requests are (pullRequest)", status=501)
    message = Message(_text(asked, "title"), _text(asked, "description"))
    if not message.summary.strip():
        raise Invalid("title: a pull request needs one")
    return json(_shown(rooms, request, found, rooms.repos.pull_requests.open(request.actor, found, message)))


def listing(rooms: Rooms, request: Request) -> Answer:
    """The pull requests, the newest first, by type, status and author; drafts are open, as on the Hub."""
    found = opening.repo(rooms, request)
    kind, status, author = (request.arg(name) for name in ("type", "status", "author"))
    page = request.arg("p") or "0"
    for name, given, choices in (("type", kind, _TYPES), ("status", status, _STATES)):
        if given not in choices:
            raise Invalid(f"{name}: {given[:40]!r} is none of {', '.join(filter(None, choices))}")
    if not _is_number(page):
        raise Invalid(f"p: {page[:20]!r} is not the number of a page")
    # Nothing but pull requests is made here, and all of them stay drafts.
    offered = kind != "discussion" and status not in ("closed", "merged")
    pulls = rooms.repos.pull_requests.list(found) if offered else []
    named = [(pull, _name(rooms, pull.opener_id)) for pull in pulls]
    if author:
        named = [(pull, name) for pull, name in named if name and name["name"].lower() == author.lower()]
    start = int(page) * PAGE
    return json(
        {
            "count": len(named),
            "start": start,
            "discussions": [_told(found, pull, name) for pull, name in named[start : start + PAGE]],
        }
    )


def get(rooms: Rooms, request: Request) -> Answer:
    found = opening.repo(rooms, request)
    number = request.params["num"]
    if not _is_number(number):
        raise Invalid(f"number: {number[:20]!r} is not the number of a pull request")
    return json(_shown(rooms, request, found, rooms.repos.pull_requests.get(found, int(number))))


def _shown(rooms: Rooms, request: Request, found: Repo, pull: PullRequest) -> dict[str, Any]:
    """A draft for ever, as the Hub's own are until somebody says otherwise. What is in it, only for who may read it."""
    author = _name(rooms, pull.opener_id)
    may_read = _may_read(rooms, request, found)
    shown: dict[str, Any] = {
        **_told(found, pull, author),
        "changes": {"base": "refs/heads/main"},
        # Nothing is merged here, so nobody looks for conflicts; there are none as long as main stays where it was.
        "filesWithConflicts": [] if pull.start == rooms.repos.refs.resolve(found, "main") else None,
        "events": [*_description(pull, author), *(_commits(rooms, found, pull) if may_read else [])],
    }
    if request.flag("diff") and may_read and pull.start is not None:
        shown["diff"] = rooms.repos.refs.compare(found, pull.start, pull.ref)
    return shown


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= NUMBER_LENGTH_MAX


def _told(found: Repo, pull: PullRequest, author: dict[str, str] | None) -> dict[str, Any]:
    return {
        "num": pull.number,
        "title": pull.title,
        "status": "draft",
        "createdAt": iso(pull.at_ms),
        "isPullRequest": True,
        "repo": {"name": found.rid.full, "type": found.rid.type},
        **({"author": author} if author else {}),
    }


def _may_read(rooms: Rooms, request: Request, found: Repo) -> bool:
    try:
        rooms.repos.registry.admit_content(request.actor, found)
    except Gated:
        return False
    return True


def _name(rooms: Rooms, user_id: int | None) -> dict[str, str] | None:
    """None: nobody knows, or the account is deleted."""
    if user_id is None:
        return None
    try:
        known = rooms.accounts.namespace_by_id(user_id)
    except EntryMissing:
        return None
    return None if known.state == "dead" else {"name": known.name}


def _description(pull: PullRequest, author: dict[str, str] | None) -> list[dict[str, Any]]:
    """What was said when it was opened: the first comment, as on the Hub."""
    if not pull.description:
        return []
    said = {"edited": False, "hidden": False, "latest": {"raw": pull.description, "updatedAt": iso(pull.at_ms)}}
    return [
        {
            "id": f"{pull.event_id:024x}",
            "type": "comment",
            "createdAt": iso(pull.at_ms),
            **({"author": author} if author else {}),
            "data": {**said, "history": []},
        }
    ]


def _commits(rooms: Rooms, found: Repo, pull: PullRequest) -> list[dict[str, Any]]:
    """Those that came since it was opened, the oldest first."""
    if pull.start is None:
        return []
    newest = rooms.repos.refs.commits(found, pull.ref, limit=EVENTS_MAX).commits
    since = list(takewhile(lambda commit: commit.id != pull.start, newest))
    return [_commit(commit) for commit in reversed(since)]


def _commit(commit: Commit) -> dict[str, Any]:
    return {
        "id": commit.id[:24],
        "type": "commit",
        "createdAt": iso(commit.at_ms),
        "author": {"name": commit.author_name},
        "data": {"subject": commit.title, "oid": commit.id},
    }


def _text(asked: dict[str, Any], key: str) -> str:
    value = asked.get(key) or ""
    if not isinstance(value, str):
        raise Invalid(f"{key}: must be text")
    return value
