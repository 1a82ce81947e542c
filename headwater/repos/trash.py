"""The trash: git directories of deleted repos, and the rows that keep their bytes until they can't come back any more.

A deleted repo with `deleted_ms` can be brought back: its holds, likes and git directory stay. Without, it is gone for
good: `give_up` drops the rows in the caller's transaction, and `empty` removes what lies in the trash without such a
row. The row decides, always: a git directory is put where the row says, by whoever comes by next.

Refuses to know: names, and who may delete or bring back what.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, delete, literal, select, update

from headwater.ground import events
from headwater.ground.db import Database, batches
from headwater.ground.faults import checkpoint
from headwater.repos.git import Git
from headwater.repos.objects import disk_errors, fsync_folder
from headwater.repos.tables import hold, intent, like, repo, xorb_hold

FOLDER = "trash"
RECOVERABLE = (repo.c.state == "deleted") & repo.c.deleted_ms.is_not(None)
"""Of the rows of `repo`."""

_GONE = (repo.c.state == "deleted") & repo.c.deleted_ms.is_(None)
_FREED = "#deleted/"
_NAME = re.compile(r"([0-9]{1,18})\.git\Z")


class Trash:
    def __init__(self, db: Database, git: Git) -> None:
        self._db = db
        self._git = git
        self._folder = git.incoming.parent / FOLDER

    def put(self, repo_id: int) -> None:
        """The git directory of a deleted repo goes into the trash, if it is not there yet.

        With the writer's turn, so that nobody brings the repo back meanwhile, in whatever process.
        """
        with self._db.write() as connection:
            dead = connection.execute(select(repo.c.id).where(repo.c.id == repo_id, repo.c.state == "deleted")).first()
            if dead is not None and self._git.path(repo_id).exists():
                self._git.retire(repo_id, self._place(repo_id))

    def take(self, repo_id: int) -> None:
        """The git directory is in its place again, durably. Inside the transaction that makes the repo live.

        If that is undone, the directory lies in its place without anybody knowing, until the next start or try.
        """
        if not self._git.path(repo_id).exists():
            self._git.restore(repo_id, self._place(repo_id))

    def put_all(self) -> None:
        """At start: what a crash left in its place."""
        with self._db.read() as connection:
            dead = connection.execute(select(repo.c.id).where(repo.c.state == "deleted")).scalars().all()
        for repo_id in dead:
            if self._git.path(repo_id).exists():
                self.put(repo_id)

    def empty(self) -> int:
        """Removes the git directories of repos that can't be brought back; how many."""
        with disk_errors():
            found = [match for match in map(_NAME.match, self._listed()) if match]
            count = 0
            for batch in batches([int(match[1]) for match in found]):
                with self._db.read() as connection:
                    gone = connection.execute(select(repo.c.id).where(repo.c.id.in_(batch), _GONE)).scalars().all()
                for repo_id in gone:
                    shutil.rmtree(self._place(repo_id), ignore_errors=True)  # what is left is for the next time
                    checkpoint("trash.emptied")
                    count += 1
            if count:
                fsync_folder(self._folder)
        return count

    def _listed(self) -> list[str]:
        return sorted(one.name for one in self._folder.iterdir()) if self._folder.is_dir() else []

    def _place(self, repo_id: int) -> Path:
        return trash_of(self._git.incoming.parent, repo_id)


def trash_of(root: Path, repo_id: int) -> Path:
    """Where a deleted repo's git directory lies below the git root."""
    return root / FOLDER / f"{repo_id}.git"


def give_up(connection: Connection, repo_ids: Sequence[int], now_ms: int, actor_id: int | None) -> None:
    """These deleted repos are gone for good: what kept their bytes goes, and their likes. Then `Trash.empty`."""
    for repo_id in repo_ids:
        for table in (hold, xorb_hold, like, intent):
            connection.execute(delete(table).where(table.c.repo_id == repo_id))
        connection.execute(update(repo).where(repo.c.id == repo_id).values(deleted_ms=None))
        events.append(connection, "repo.purged", now_ms, repo_id=repo_id, actor_id=actor_id)


def freed_key(repo_id: int, key: str) -> str:
    """What stands in a deleted repo's `key`, so that its name is free. '#' is in no name: nobody can ask for it."""
    return f"{_FREED}{repo_id}/{key}"


def had_key(key: str) -> ColumnElement[bool]:
    """The WHERE clause over `repo` for deleted ones that had this key."""
    return repo.c.key == literal(_FREED).concat(repo.c.id).concat(f"/{key}")
