"""Who may read which file, as sets of readers: the rule that no parent is one that some reader of the child can't read.

The rule. A repo is *open* if it is live, not disabled, not private and not gated: everybody reads it. The readers of
any other live repo are the members of its namespace. A file P may be a parent of a file T if for every live repo that
holds T there is a live, enabled repo that holds P and is either open, or belongs to the same namespace, the latter
only if T's repo is not open. So what an open repo holds stands only on what open repos hold, and what a namespace
keeps to itself on what is open or its own. The relation is transitive: a chain of parents obeys it if its links do.
Administrators of the hub read everything and are left out. Hints (cards, neighbours in a repo) obey the same rule:
those of closed repos count only for files that no open repo holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select

from headwater.ground.db import batches
from headwater.ground.names import Sha256
from headwater.repos.tables import hold, repo

BATCH = 500  # names in one statement
HOLDERS_MAX = 10_000  # repos of one file that are looked at; one in more has no parents


@dataclass(frozen=True, slots=True)
class Holder:
    """A live repo that holds a file."""

    repo_id: int
    is_open: bool
    namespace_id: int | None


_HOLDERS = (
    select(hold.c.sha256, repo.c.id, repo.c.private, repo.c.gated, repo.c.disabled, repo.c.namespace_id)
    .join_from(hold, repo, repo.c.id == hold.c.repo_id)
    .where(hold.c.committed.is_(True), repo.c.state == "live")
)
_ENABLED = select(repo.c.id, repo.c.private, repo.c.gated, repo.c.namespace_id).where(
    repo.c.id.in_(bindparam("of_repos", expanding=True)), repo.c.state == "live", repo.c.disabled.is_(False)
)
_OF_ONE = _HOLDERS.where(hold.c.sha256 == bindparam("of_sha")).order_by(repo.c.id).limit(HOLDERS_MAX)
_OF_MANY = _HOLDERS.where(hold.c.sha256.in_(bindparam("of_shas", expanding=True)), repo.c.disabled.is_(False))


def holders(connection: Connection, sha256: Sha256) -> list[Holder]:
    """The live repos that hold a file, disabled ones too: what is enabled again must not have leaked meanwhile."""
    rows = connection.execute(_OF_ONE, {"of_sha": sha256})
    return [Holder(row.id, _is_open(row), row.namespace_id) for row in rows]


def hinting(found: Sequence[Holder]) -> list[Holder]:
    """Whose cards and neighbours may be listened to: the open ones, if there are any."""
    return [one for one in found if one.is_open] or list(found)


def allowed(connection: Connection, target: Sequence[Holder], names: Iterable[Sha256]) -> set[Sha256]:
    """Those of these files that may be parents of a file with these holders. None, where nobody holds it."""
    if not target or len(target) == HOLDERS_MAX:
        return set()
    own = _own(target)
    return {
        name
        for name, (some_open, namespaces) in _readers(connection, list(dict.fromkeys(names))).items()
        if some_open or (own and own <= namespaces)
    }


def readable(connection: Connection, target: Sequence[Holder], repo_ids: Sequence[int]) -> list[int]:
    """Those of these repos that all readers of the target read; in the order given."""
    own = _own(target)
    rows = connection.execute(_ENABLED, {"of_repos": list(repo_ids)[:BATCH]})
    seen = {row.id for row in rows if _is_open(row) or (own and own <= {row.namespace_id})}
    return [repo_id for repo_id in repo_ids if repo_id in seen]


def is_open(connection: Connection, repo_id: int) -> bool:
    """Whether everybody reads this repo."""
    row = connection.execute(_ENABLED, {"of_repos": [repo_id]}).first()
    return row is not None and _is_open(row)


def _own(target: Sequence[Holder]) -> set[int | None]:
    """The namespaces in all of which a closed parent must be held; none: only open ones will do."""
    if any(one.is_open or one.namespace_id is None for one in target):
        return set()
    return {one.namespace_id for one in target}


def _is_open(row: Any) -> bool:
    return bool(not row.private and row.gated is None)


def _readers(connection: Connection, names: Sequence[Sha256]) -> dict[Sha256, tuple[bool, set[int | None]]]:
    """Of each file: whether an open repo holds it, and in which namespaces it is held."""
    found: dict[Sha256, tuple[bool, set[int | None]]] = {}
    for batch in batches(names):
        for row in connection.execute(_OF_MANY, {"of_shas": batch}):
            some_open, namespaces = found.get(row.sha256, (False, set()))
            namespaces.add(row.namespace_id)
            found[row.sha256] = (some_open or _is_open(row), namespaces)
    return found


def neighbours(connection: Connection, repo_ids: Sequence[int], limit: int) -> list[Sha256]:
    """The newest files that these repos hold."""
    asked = (
        select(hold.c.sha256)
        .where(hold.c.repo_id.in_(repo_ids[:BATCH]), hold.c.committed.is_(True))
        .order_by(hold.c.held_ms.desc(), hold.c.sha256)
        .limit(limit)
    )
    return [Sha256(row.sha256) for row in connection.execute(asked)]
