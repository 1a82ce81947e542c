"""`headwater verify`: everything against its hash; what is wrong is named, with the files and repos that it touches."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import select

from headwater.ground.db import Database
from headwater.ground.errors import HeadwaterError
from headwater.repos import Repos
from headwater.repos.tables import hold, repo
from headwater.store import Store, Xets, check
from headwater.store.tables import blob_xorb

ADVICE = "; run `headwater verify`"  # what errors of damaged repos say to everybody else
FILES_NAMED_MAX = 200  # of one finding
FILES_ASKED_MAX = 10_000  # of those that stand on a damaged tensor: below SQLite's limit of variables


@dataclass(frozen=True, slots=True)
class Problem:
    """`what`: database, repo, blob, xorb or tensor. `repos` are those that would not come back whole; `files` are the
    files of theirs, as repo/path."""

    what: str
    name: str
    text: str
    repos: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def count(db: Database, store: Store) -> int:
    """How many steps `verify` will report."""
    with db.read() as connection:
        live = len(connection.execute(select(repo.c.id).where(repo.c.state == "live")).all())
    return check.count(store) + live


def verify(
    db: Database, repos: Repos, store: Store, xets: Xets, read_percent: float, progress: Callable[[int], None]
) -> Iterator[Problem]:
    """All problems. `read_percent` of the stored bytes are read and hashed; every git repository is walked whole."""
    for text in db.problems():
        yield Problem("database", str(db.path), text)
    for finding in check.check(store, xets, read_percent, random.Random(), progress):  # noqa: S311 - a sample
        places = touched(db, finding)
        repos_named = tuple(dict.fromkeys(place.repo for place in places))
        files_named = tuple(place.file for place in places)
        yield Problem(finding.what, finding.name, finding.text, repos_named, files_named)
    with db.read() as connection:
        rows = connection.execute(select(repo).where(repo.c.state == "live").order_by(repo.c.id)).all()
    for row in rows:
        name = f"{row.type} {row.namespace + '/' if row.namespace else ''}{row.name}"
        for text in _of_repo(repos, row.id):
            if not _is_live(db, row.id):
                break  # deleted under our hands
            yield Problem("repo", name, text, (name,))
        progress(1)


def _is_live(db: Database, repo_id: int) -> bool:
    with db.read() as connection:
        return (
            connection.execute(select(repo.c.id).where(repo.c.id == repo_id, repo.c.state == "live")).first()
            is not None
        )


def _of_repo(repos: Repos, repo_id: int) -> Iterator[str]:
    try:
        yield from repos.git.problems(repo_id)
        yield from _unheld(repos, repo_id)
    except HeadwaterError as error:
        yield error.text.replace(ADVICE, "")


def _unheld(repos: Repos, repo_id: int) -> Iterator[str]:
    """Pointers at the tips of refs whose bytes the repo does not hold: a checkout would fail."""
    seen: set[str] = set()
    for ref, target in sorted(repos.git.refs(repo_id).items()):
        commit = repos.git.find_commit(repo_id, target)
        if commit is None:
            yield f"{ref} names {target}, which is no commit here"
            continue
        for entry in repos.tree.pointers(repo_id, commit):
            if entry.sha256 is None or entry.sha256 in seen:
                continue
            seen.add(entry.sha256)
            if not repos.holds.has(repo_id, entry.sha256):
                yield f"{entry.path} at {ref} names {entry.sha256}, which the repo does not hold"


@dataclass(frozen=True, slots=True)
class Place:
    """A file of a live repo: `repo` with its type, `path` as it was last committed."""

    repo: str
    path: str

    @property
    def file(self) -> str:
        return f"{self.repo}/{self.path}" if self.path else self.repo


def touched(db: Database, finding: check.Finding) -> list[Place]:
    """The files that a finding is about."""
    query = (
        select(repo.c.type, repo.c.namespace, repo.c.name, hold.c.path)
        .join(hold, hold.c.repo_id == repo.c.id)
        .where(repo.c.state == "live")
        .order_by(repo.c.created_ms, repo.c.id, hold.c.path)
        .limit(FILES_NAMED_MAX)
    )
    if finding.what == "xorb":
        query = query.join(blob_xorb, blob_xorb.c.sha256 == hold.c.sha256).where(blob_xorb.c.xorb == finding.name)
    elif finding.what == "tensor":
        query = query.where(hold.c.sha256.in_(finding.files[:FILES_ASKED_MAX]))
    else:
        query = query.where(hold.c.sha256 == finding.name)
    with db.read() as connection:
        return [
            Place(f"{row.type} {row.namespace + '/' if row.namespace else ''}{row.name}", row.path)
            for row in connection.execute(query)
        ]
