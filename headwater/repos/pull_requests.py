"""Pull requests: who opened which `refs/pr/N`, under which title, and from where it set out.

All of it stands in the event of the ref's making, and nowhere else: what a commit says of its author is what the client
said. Whoever opened one may commit to its ref, as the Hub lets him, and to no other. Refuses to know: who may open one
(the repo was opened for it), comments, states and merging.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Row, Select, select

from headwater.accounts.actor import Actor
from headwater.ground.db import Database
from headwater.ground.errors import RevisionMissing
from headwater.ground.events import event
from headwater.ground.names import CommitId, RefName
from headwater.repos.git import Git
from headwater.repos.lru import Lru
from headwater.repos.moves import MAIN, Moves
from headwater.repos.refs import Refs, commit_text, pull_number
from headwater.repos.values import Message, RefMove, Repo

OPENERS_KEPT = 65_536  # who opened which, 100 bytes each; it never changes

_PULL_REFS = '"ref":"refs/pr/'
# The causes by which somebody opens one; those that came with an import or a copy have no opener here.
_OPENED = frozenset({"commit", "pull"})


@dataclass(frozen=True, slots=True)
class PullRequest:
    """`opener_id` and `start` None: it came here with an import or a copy, which does not say. `event_id` of its
    making."""

    number: int
    ref: RefName
    opener_id: int | None
    title: str
    description: str
    at_ms: int
    start: CommitId | None
    event_id: int


class PullRequests:
    def __init__(self, db: Database, git: Git, moves: Moves, refs: Refs) -> None:
        self._db = db
        self._git = git
        self._moves = moves
        self._refs = refs
        self._openers: Lru[tuple[int, str], int | None] = Lru(OPENERS_KEPT)

    def open(self, actor: Actor, repo: Repo, message: Message) -> PullRequest:
        """A new ref at the head of main, with no commit of its own yet."""
        commit_text(message)
        with self._moves.turn(repo.id):
            refs = self._git.refs(repo.id)
            if MAIN not in refs:
                raise RevisionMissing("main")
            head = CommitId(refs[MAIN])
            ref = next_ref(refs)
            data = opened(head, message) | {"description": message.description.strip()}
            self._moves.apply(actor, repo, [RefMove(ref, None, head)], "pull", data=data)
        return self.get(repo, pull_number(ref) or 0)

    def get(self, repo: Repo, number: int) -> PullRequest:
        """RevisionMissing: this repo has no such pull ref."""
        ref = RefName(f"refs/pr/{number}")
        head = self._git.refs(repo.id).get(ref)
        if head is None or pull_number(ref) != number:
            raise RevisionMissing(ref, f"There is no pull request {number} here")
        row = self._making(repo.id, ref)
        return self._as_told(repo, ref, head, row, msgspec.json.decode(row.data) if row is not None else {})

    def list(self, repo: Repo) -> list[PullRequest]:
        """All of a repo, the newest first."""
        with self._db.read() as connection:
            rows = connection.execute(_moves_of_pulls(repo.id)).all()
        made = {data["ref"]: (row, data) for row, data in _makings(rows)}
        heads = {ref: head for ref, head in self._git.refs(repo.id).items() if pull_number(ref) is not None}
        newest = sorted(heads, key=lambda ref: -(pull_number(ref) or 0))
        return [self._as_told(repo, ref, heads[ref], *made.get(ref, (None, {}))) for ref in newest]

    def _as_told(self, repo: Repo, ref: str, head: str, row: Row[Any] | None, data: Mapping[str, Any]) -> PullRequest:
        """By the event of its making, or by its newest commit where there is none."""
        commit = self._refs.commit(repo, CommitId(data.get("new", head)))
        return PullRequest(
            pull_number(ref) or 0,
            RefName(ref),
            _opener(row, data),
            str(data.get("title") or commit.title),
            str(data.get("description", "")),
            row.at_ms if row is not None else commit.at_ms,
            CommitId(data["base"]) if "base" in data else None,
            row.id if row is not None else 0,
        )

    def is_own(self, actor: Actor, repo: Repo, revision: str) -> bool:
        """Whether commits to `revision` move the ref of a pull request that this actor opened, and may still add to."""
        if not actor.can_write or pull_number(revision) is None:
            return False
        try:
            ref, _ = self._refs.branch(repo, revision)
        except RevisionMissing:
            return False
        return ref == revision and self._opener_of(repo.id, ref) == actor.user_id

    def has_own(self, actor: Actor, repo: Repo) -> bool:
        """Whether he opened any, and so may push to something."""
        if not actor.can_write:
            return False
        with self._db.read() as connection:
            rows = connection.execute(_moves_of_pulls(repo.id).where(event.c.actor_id == actor.user_id)).all()
        return any(_opener(row, data) == actor.user_id for row, data in _makings(rows))

    def _opener_of(self, repo_id: int, ref: str) -> int | None:
        key = (repo_id, ref)
        known = self._openers.get(key)
        if known is None:
            row = self._making(repo_id, ref)
            known = None if row is None else _opener(row, msgspec.json.decode(row.data))
            if known is not None:
                self._openers.put(key, known)
        return known

    def _making(self, repo_id: int, ref: str) -> Row[Any] | None:
        """The event of the ref's making; None while its intent could not be settled yet."""
        asked = _moves_of_pulls(repo_id).where(event.c.data.contains(f'"ref":"{ref}"'))
        with self._db.read() as connection:
            return next((row for row, data in _makings(connection.execute(asked)) if data["ref"] == ref), None)


def next_ref(refs: Iterable[str]) -> RefName:
    """The first number after all that were given; pull refs stay, so none is given twice."""
    return RefName(f"refs/pr/{max((pull_number(other) or 0 for other in refs), default=0) + 1}")


def opened(base: CommitId, message: Message) -> dict[str, Any]:
    """What the event of a pull ref's making tells beside who and when."""
    return {"base": base, "title": message.summary.strip()}


def _moves_of_pulls(repo_id: int) -> Select[Any]:
    # A walk over the repo's events, asked for by whoever may not write to all of it, and by readers of one request.
    return (
        select(event)
        .where(event.c.repo_id == repo_id, event.c.kind == "ref.moved", event.c.data.contains(_PULL_REFS))
        .order_by(event.c.id)
    )


def _makings(rows: Iterable[Row[Any]]) -> Iterable[tuple[Row[Any], dict[str, Any]]]:
    for row in rows:
        data = msgspec.json.decode(row.data)
        if data["old"] is None and pull_number(data["ref"]) is not None:
            yield row, data


def _opener(row: Row[Any] | None, data: Mapping[str, Any]) -> int | None:
    return None if row is None or data.get("cause") not in _OPENED else row.actor_id
