"""One repo: what it is and which files it has, on a branch's head or at any revision."""

from __future__ import annotations

from typing import Any

from headwater.catalog import cards, search, uses
from headwater.catalog.cards import Card
from headwater.catalog.index import CARD_BYTES_MAX
from headwater.catalog.search import Extra, Known
from headwater.front import opening
from headwater.front.answer import Answer, json
from headwater.front.hub import shapes
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground.errors import EntryMissing, RepoMissing
from headwater.ground.names import CommitId, FilePath
from headwater.repos import Repo

SIBLINGS_MAX = 50_000  # more belong into the paged tree, which today's clients use
README = FilePath("README.md")


def get(rooms: Rooms, request: Request) -> Answer:
    found = opening.repo(rooms, request)
    fields = shapes.expanded(request, found.rid.type)
    commit = opening.revision(rooms, request, found)
    head = rooms.repos.refs.resolve(found, "main") if "rev" in request.params else commit
    known = known_now(rooms, found, head)
    shown = shapes.Shown(
        known,
        commit,
        extra=lambda: extra_of(rooms, found),
        siblings=lambda: siblings(rooms, found, commit, blobs=request.flag("blobs")),
        readme=lambda: readme(rooms, found, commit),
        spaces=lambda: uses.spaces(rooms.db, request.actor, found.rid.full),
        children=lambda: uses.children(rooms.db, request.actor, found.rid.full),
        now_ms=rooms.clock.now_ms(),
        older=commit != head,
    )
    answer = shapes.repo_json(shown, fields or shapes.USUAL[found.rid.type])
    if request.flag("securityStatus"):
        # nothing was scanned, so nothing is claimed
        answer["securityRepoStatus"] = {"scansDone": False, "filesWithIssues": []}
    return json(answer, headers={"X-Repo-Commit": commit})


def known_now(rooms: Rooms, found: Repo, head: CommitId) -> Known:
    """The catalog's row, brought up to date if the repo moved since it was read."""
    known = rooms.index.fresh(found.id, head)
    if known is None:
        raise RepoMissing(found.rid.full)  # deleted this very moment
    return known


def extra_of(rooms: Rooms, found: Repo) -> Extra | None:
    with rooms.db.read() as connection:
        return search.extras(connection, [found.id]).get(found.id)


def siblings(rooms: Rooms, found: Repo, commit: CommitId, *, blobs: bool = False) -> list[dict[str, Any]]:
    """Every file by its path; with sizes and hashes when `blobs` are asked for."""
    listed: list[dict[str, Any]] = []
    after: str | None = None
    while len(listed) < SIBLINGS_MAX:
        page = rooms.repos.tree.listing(found, commit, "", recursive=True, after=after)
        for entry in page.entries:
            if entry.kind == "directory":
                continue
            one: dict[str, Any] = {"rfilename": entry.path}
            if blobs:
                one |= {"size": entry.size, "blobId": entry.oid}
                if entry.sha256 is not None:
                    one["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
            listed.append(one)
        after = page.next
        if after is None:
            break
    return listed


def readme(rooms: Rooms, found: Repo, commit: CommitId) -> Card:
    """The card of a revision; an empty one where there is none, or none that a card can be."""
    try:
        entry = rooms.repos.tree.entry(found, commit, README)
    except EntryMissing:
        return cards.read("")
    if entry.kind != "file" or entry.sha256 is not None or entry.size > CARD_BYTES_MAX:
        return cards.read("")
    return cards.read(rooms.repos.tree.read_inline(found, entry))
