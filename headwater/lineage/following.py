"""From what happens to repos to the jobs that `job.py` works off, in the serving process: it loads nothing heavy.

Only a repo that holds large files gives work. Text is kept by git, and starts no process that seals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from headwater.ground import events, jobs
from headwater.ground.clock import Clock
from headwater.ground.db import Database
from headwater.ground.events import Event
from headwater.repos.holds import holding

FOLLOWER = "lineage"
"""Of events; and the first part of all its jobs' kinds."""

SURVEY, SEAL, REVIEW, RESEAL = "lineage.survey", "lineage.seal", "lineage.review", "lineage.reseal"
SETTLE_MS = 5_000  # the catalog reads the card meanwhile, and shards of one upload come together

_NEW_FILES = frozenset(("ref.moved", "repo.created", "repo.undeleted"))
_OTHER_READERS = frozenset(("repo.changed", "repo.moved", "repo.deleted", "repo.undeleted"))


def follow(db: Database, clock: Clock) -> int:
    """Enqueues what is to be done about the events since the last call; how many events there were."""

    def take(connection: Connection, batch: Sequence[Event]) -> None:
        wanted = list(dict.fromkeys(_wanted(batch)))
        known = holding(connection, {repo_id for _, repo_id in wanted})
        for kind, repo_id in wanted:
            if repo_id in known:
                jobs.enqueue(connection, clock, kind, str(repo_id), {}, wait_ms=SETTLE_MS)

    return events.follow(db, FOLLOWER, take)


def _wanted(batch: Sequence[Event]) -> Iterator[tuple[str, int]]:
    for event in batch:
        if event.repo_id is not None and event.kind in _NEW_FILES:
            yield SURVEY, event.repo_id
        if event.repo_id is not None and event.kind in _OTHER_READERS:
            yield REVIEW, event.repo_id
