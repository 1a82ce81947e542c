"""Repos as things: create, move, settings, duplicate, delete, bring back; likes."""

from __future__ import annotations

import re
from typing import Any

from headwater.accounts.actor import Actor
from headwater.accounts.actors import author_id
from headwater.front import opening, storing
from headwater.front.answer import Answer, empty, json
from headwater.front.hub import commit, info
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground import names
from headwater.ground.clock import iso
from headwater.ground.errors import (
    Conflict,
    EntryMissing,
    Forbidden,
    HeadwaterError,
    Invalid,
    RevisionMissing,
    TooMuch,
)
from headwater.ground.names import RepoId, RepoType
from headwater.repos import UNSET, AddInline, Message, Moved, Repo
from headwater.upkeep import leaving

LIKES_PAGE = 1000
FIRST_FILES_MAX = 100
NOT_KEPT_TOLD = 20
_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,62}[A-Za-z0-9+]")
# What each of these addresses does something about.
_OF_CREATE = frozenset({"name", "organization", "type", "visibility", "private", "sdk", "template", "files"})
_OF_SETTINGS = frozenset({"visibility", "private", "gated", "xetEnabled"})
_OF_DUPLICATE = frozenset({"repository", "visibility", "private"})


def create(rooms: Rooms, request: Request) -> Answer:
    asked = request.json()
    rid = _new_id(rooms, request.actor, asked)
    private = _private(asked)
    sdk = asked.get("sdk") if rid.type == "space" else None
    if asked.get("template"):
        raise Invalid(f"template: {str(asked['template'])[:200]!r} is not a template of this hub, which has none")
    files = _first_files(asked, rid.type)
    try:
        made = rooms.repos.registry.create(request.actor, rid, private, sdk)
    except Conflict as conflict:
        # the client reads `url` even out of a refusal (exist_ok)
        conflict.details.setdefault("url", f"{rooms.settings.base_url}{rid.url_path}")
        raise
    if files:
        _commit_first(rooms, request.actor, made.repo, files)
    rooms.jobs.wake()
    shown = {
        "url": opening.url(rooms, made.repo),
        "name": made.repo.rid.full,
        "id": made.repo.rid.full,
        "type": made.repo.rid.type,
        "private": made.repo.private,
    }
    if made.warnings:
        return json(shown, headers={"X-HF-Warning": f"look-alike; {' '.join(made.warnings)[:500]}"})
    known = _OF_CREATE if rid.type == "space" else _OF_CREATE | {"license"}
    return json(shown, headers=_not_kept(asked, known))


def _first_files(asked: dict[str, Any], kind: RepoType) -> list[AddInline]:
    """What huggingface.js lets a repo begin with: a few small files, and a card that names the licence."""
    written, licence = asked.get("files") or [], asked.get("license")
    if not isinstance(written, list) or not all(isinstance(one, dict) for one in written):
        raise Invalid("files: a list of {path, content, encoding} is required")
    if len(written) > FIRST_FILES_MAX:
        raise TooMuch(f"files: {len(written)} at creation; at most {FIRST_FILES_MAX}, commit the others afterwards")
    files = [commit.inline(one, kind) for one in written]
    for one in files:
        # Seen before the repo is there: deleting it again would keep its name from everybody but the namespace's owner.
        folder = next((file.path for file in files if one.path.startswith(f"{file.path}/")), None)
        if folder is not None:
            raise Invalid(f"files: {one.path[:200]!r} goes through {folder[:200]!r}, which is a file", status=422)
    if licence and kind != "space" and not any(one.path == info.README for one in files):
        if not isinstance(licence, str) or not _LICENCE.fullmatch(licence):
            raise Invalid(f"license: {str(licence)[:60]!r} is not the id of a licence")
        files.append(AddInline(info.README, f"---\nlicense: {licence}\n---\n".encode()))
    return files


def _commit_first(rooms: Rooms, actor: Actor, made: Repo, files: list[AddInline]) -> None:
    """The repo comes with them or not at all."""
    try:
        rooms.repos.commit.apply(actor, made, "main", None, Message("Add the first files", ""), iter(files))
    except HeadwaterError:
        rooms.repos.registry.delete(actor, made.rid)
        raise


def _not_kept(asked: dict[str, Any], known: frozenset[str]) -> dict[str, str] | None:
    """A warning of what was asked for and is not done; clients show it. Nobody may take a secret for set."""
    ignored = sorted(name[:40] for name, value in asked.items() if value and name not in known)[:NOT_KEPT_TOLD]
    words = ", ".join("".join(c for c in name if c.isascii() and c.isalnum()) for name in ignored)
    return {"X-HF-Warning": f"not kept; Not kept by this hub: {words}"} if ignored else None


def _new_id(rooms: Rooms, actor: Actor, asked: dict[str, Any]) -> RepoId:
    """`name` may be `ns/name`; without an organization it is the caller's own namespace."""
    name, organization = asked.get("name"), asked.get("organization")
    if not isinstance(name, str) or not (organization is None or isinstance(organization, str)):
        raise Invalid("name: text is required; organization: text, if it is given")
    rid = names.repo_id(names.repo_type(str(asked.get("type") or "model")), name)
    if organization:
        owner = names.name(organization, "organization")
        if rid.namespace and names.key(rid.namespace) != names.key(owner):
            raise Invalid(f"name: {name!r} does not lie in the organization {organization!r}; give one of the two")
        return RepoId(rid.type, owner, rid.name)
    return rid if rid.namespace else RepoId(rid.type, actor.name, rid.name)


def _private(asked: dict[str, Any]) -> bool | None:
    visibility, private = asked.get("visibility"), asked.get("private")
    if visibility is not None:
        if visibility not in ("public", "private"):
            raise Invalid(f"visibility: {str(visibility)[:40]!r} is not public or private")
        return bool(visibility == "private")
    if private is not None and not isinstance(private, bool):
        raise Invalid("private: must be true or false")
    return private


def delete(rooms: Rooms, request: Request) -> Answer:
    """Says what that frees and what stays for whom; the Hub's clients show no more of it than a warning."""
    rid = _new_id(rooms, request.actor, request.json())
    left = storing.of_leaving(rooms, request, rooms.repos.registry.open(request.actor, rid, "admin"))
    rooms.repos.registry.delete(request.actor, rid)
    rooms.jobs.wake()
    said = leaving.sentence(left, rooms.settings.undelete_s)
    stays = left.dependants or left.alike or left.shared_files
    return json(
        {
            "files": left.files,
            "freed": left.freed_bytes,
            "kept": left.kept_bytes,
            "keptFor": [{"id": one.full, "type": one.type} for one in left.kept_for],
            "dependants": left.dependants,
            "alike": left.alike,
            "sharedFiles": left.shared_files,
            "shared": left.shared_bytes,
            "message": said,
        },
        headers={"X-HF-Warning": f"deleted; {said[:500]}"} if stays else None,
    )


def deleted(rooms: Rooms, request: Request) -> Answer:
    """In the namespaces that the caller administers; for an administrator of the hub, all."""
    return json(
        [
            {
                "number": one.repo.id,
                "id": one.repo.rid.full,
                "type": one.repo.rid.type,
                "private": one.repo.private,
                "deletedAt": iso(one.deleted_ms),
                "until": iso(one.until_ms),
            }
            for one in rooms.repos.registry.deleted(request.actor)
        ]
    )


def undelete(rooms: Rooms, request: Request) -> Answer:
    """Named as for `delete`, the one that was deleted last; or by its `number` in the list of the deleted ones."""
    asked = request.json()
    number, to = asked.get("number"), asked.get("to")
    if to is not None and not isinstance(to, str):
        raise Invalid("to: a name in the same namespace")
    if number is None:
        rid = _new_id(rooms, request.actor, asked)
        number, kind = rooms.repos.registry.find_deleted(request.actor, rid).repo.id, rid.type
    elif isinstance(number, int) and not isinstance(number, bool) and 0 < number < 1 << 60:
        kind = names.repo_type(str(asked.get("type") or "model"))
    else:
        raise Invalid(f"number: {str(number)[:40]!r} is not a deleted repo's number")
    back = rooms.repos.registry.undelete(request.actor, number, None if to is None else names.repo_id(kind, to))
    rooms.jobs.wake()
    return json({"url": opening.url(rooms, back), "name": back.rid.full, "id": back.rid.full, "type": back.rid.type})


def move(rooms: Rooms, request: Request) -> Answer:
    asked = request.json()
    kind = names.repo_type(str(asked.get("type") or "model"))
    source, target = asked.get("fromRepo"), asked.get("toRepo")
    if not isinstance(source, str) or not isinstance(target, str):
        raise Invalid("fromRepo and toRepo: both are required")
    moved = rooms.repos.registry.move(request.actor, names.repo_id(kind, source), names.repo_id(kind, target))
    rooms.jobs.wake()
    return json({"url": opening.url(rooms, moved), "name": moved.rid.full, "id": moved.rid.full})


def settings(rooms: Rooms, request: Request) -> Answer:
    found = opening.repo(rooms, request, "admin")
    asked = request.json()
    gated: Any = asked.get("gated", UNSET)
    if gated is not UNSET:
        if gated not in ("auto", "manual", False, None):
            raise Invalid(f"gated: {str(gated)[:40]!r} is not auto, manual or false")
        gated = gated or None
    changed = rooms.repos.registry.update(request.actor, found, _private(asked), gated)
    rooms.jobs.wake()
    shown = {"private": changed.private, "gated": changed.gated or False, "visibility": visibility(changed)}
    return json(shown, headers=_not_kept(asked, _OF_SETTINGS))


def visibility(found: Repo) -> str:
    return "private" if found.private else "public"


def duplicate(rooms: Rooms, request: Request) -> Answer:
    source = opening.contents(rooms, request)
    asked = request.json()
    name = asked.get("repository") or f"{request.actor.name}/{source.rid.name}"
    if not isinstance(name, str):
        raise Invalid("repository: the new repo's id is required")
    target = names.repo_id(source.rid.type, name)
    if target.namespace is None:
        target = RepoId(target.type, request.actor.name, target.name)
    private = _private(asked)
    made = rooms.repos.copies.duplicate(request.actor, source, target, source.private if private is None else private)
    rooms.jobs.wake()
    shown = {"url": opening.url(rooms, made), "id": made.rid.full, "filesCopyPending": False}
    return json(shown, headers=_not_kept(asked, _OF_DUPLICATE))


def like(rooms: Rooms, request: Request) -> Answer:
    """By a person in a browser; the Hub refuses likes by token, and so do we."""
    found = opening.repo(rooms, request)
    if request.actor.token_role is not None:
        raise Forbidden("Likes are given on the repo's page, not by token")
    rooms.repos.likes.like(request.actor, found)
    return empty()


def unlike(rooms: Rooms, request: Request) -> Answer:
    rooms.repos.likes.unlike(request.actor, opening.repo(rooms, request))
    return empty()


def likers(rooms: Rooms, request: Request) -> Answer:
    found = opening.repo(rooms, request)
    after = request.number("cursor", 0, 1 << 60) if request.arg("cursor") else 0
    limit = request.number("limit", LIKES_PAGE, LIKES_PAGE)
    page = rooms.repos.likes.likers(found, after, limit)
    return json(
        [
            {"user": one.name, "fullname": one.fullname, "avatarUrl": "", "type": "user", "likedAt": iso(one.at_ms)}
            for one in page
        ],
        headers=opening.next_link(request, str(page[-1].user_id)) if len(page) == limit else None,
    )


def likes_of(rooms: Rooms, request: Request) -> Answer:
    user = rooms.accounts.namespace(request.params["user"])
    if user.kind != "user":
        raise EntryMissing(user.name, text=f"User not found: {user.name!r}")
    after = request.number("cursor", 0, 1 << 60) if request.arg("cursor") else 0
    limit = request.number("limit", LIKES_PAGE, LIKES_PAGE)
    page = rooms.repos.likes.likes_of(request.actor, user.id, after, limit)
    return json(
        [{"createdAt": iso(one.at_ms), "repo": {"name": one.repo.rid.full, "type": one.repo.rid.type}} for one in page],
        headers=opening.next_link(request, str(page[-1].repo.id)) if len(page) == limit else None,
    )


def auth_check(rooms: Rooms, request: Request) -> Answer:
    opening.contents(rooms, request)
    return empty()


def auth_check_write(rooms: Rooms, request: Request) -> Answer:
    opening.repo(rooms, request, "write")
    return empty()


def lfs_files(rooms: Rooms, request: Request) -> Answer:
    found = opening.repo(rooms, request, "write")
    limit = request.number("limit", LIKES_PAGE, LIKES_PAGE)
    page = rooms.repos.holds.lfs_files(found.id, request.arg("cursor"), limit)
    on_main = _on_main(rooms, found, [one.path for one in page])
    return json(
        [
            {
                "fileOid": one.sha256,
                "filename": one.path,
                "oid": one.sha256,
                "pushedAt": iso(one.held_ms),
                "size": one.size_bytes,
                "ref": "refs/heads/main" if (one.path, one.sha256) in on_main else None,
            }
            for one in page
        ],
        headers=opening.next_link(request, page[-1].sha256) if len(page) == limit else None,
    )


def _on_main(rooms: Rooms, found: Repo, paths: list[str]) -> set[tuple[str, str | None]]:
    """Which large files stand at these paths there; the others are those of other refs, or of history."""
    try:
        head = rooms.repos.refs.resolve(found, "main")
    except RevisionMissing:
        return set()
    storable = [path for one in paths if (path := opening.storable(one)) is not None]
    return {(one.path, one.sha256) for one in rooms.repos.tree.paths_info(found, head, storable)}


def lfs_files_delete(rooms: Rooms, request: Request) -> Answer:
    found = opening.repo(rooms, request, "admin")
    deletions = request.json().get("deletions")
    listed = deletions.get("sha") if isinstance(deletions, dict) else None
    if not isinstance(listed, list) or not all(isinstance(oid, str) for oid in listed):
        raise Invalid("deletions: {sha: [...], rewriteHistory: true or false} is required")
    rewrite = deletions.get("rewriteHistory") is True if isinstance(deletions, dict) else False
    files = [names.sha256(oid) for oid in listed]
    rooms.repos.copies.forget_files(request.actor, found, files, rewrite_history=rewrite)
    rooms.jobs.wake()
    return empty()


def lfs_files_duplicate(rooms: Rooms, request: Request) -> Answer:
    """Lets another repo of the caller's hold files of this one: the server side of a copy across repos."""
    source = opening.contents(rooms, request)
    asked = request.json()
    target, files = asked.get("target"), asked.get("files")
    if not isinstance(target, dict) or not isinstance(files, list) or len(files) > LIKES_PAGE:
        raise Invalid(f"target: {{type, name}} and files: at most {LIKES_PAGE} of {{sha256, xetHash, filename}}")
    rid = names.repo_id(names.repo_type(str(target.get("type") or "model")), str(target.get("name")))
    try:
        to = rooms.repos.registry.open(request.actor, rid, "write")
    except Moved as moved:
        # not a redirect: the address names the other repo
        raise Conflict(f"{moved.text}; use that name") from moved
    failed: list[dict[str, str]] = []
    wanted: list[names.Sha256] = []
    for file in files:
        oid = names.sha256(str(file.get("sha256") if isinstance(file, dict) else ""))
        if rooms.repos.holds.shown(source.id, oid) is not None:
            wanted.append(oid)
        else:
            failed.append({"sha256": oid, "error": f"{source.rid.full} has no such file"})
    rooms.repos.holds.hold(to.id, wanted, author_id(request.actor))
    return json({"failed": failed})
