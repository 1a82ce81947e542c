"""Leaving: what becomes free when a repo is deleted, and what stays, for whom. SQL over the dependency tables alone.

Told to one actor, by the rule of `catalog.costs`: a repo of which he may not know keeps nothing, as far as he is told,
so that nobody learns by deleting who stands on him. The operator and administrators of the hub are told all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, case, func, select

from headwater.accounts.actor import Actor
from headwater.catalog import costs
from headwater.catalog.costs import Shown, Viewed, readable
from headwater.ground.db import batches
from headwater.ground.names import RepoId, Sha256
from headwater.repos.tables import hold, repo
from headwater.store.blobs import standing_on
from headwater.store.tables import blob, blob_tensor

NAMED_MAX = 20  # dependants in one answer; the others are counted


@dataclass(frozen=True, slots=True)
class Leaving:
    """What deleting a repo would do. Bytes are those of the disk; the grace period of the sweep comes first.

    `freed_bytes`: of `files` that nobody else holds, what nothing else needs. `kept_bytes`: of those files, what stays
    because files of `dependants` repos are stored on it, the first of which are `kept_for`, or because files of `alike`
    more repos have the same tensors. `shared_files` and `shared_bytes` stay because other repos hold the same files.
    """

    files: int
    freed_bytes: int
    kept_bytes: int
    dependants: int
    kept_for: tuple[RepoId, ...]
    shared_files: int
    shared_bytes: int
    alike: int = 0


def leaving(connection: Connection, actor: Actor, repo_id: int, now_ms: int) -> Leaving:
    """Before it is deleted."""
    held = connection.execute(
        select(hold.c.sha256, blob.c.size)
        .join_from(hold, blob, blob.c.sha256 == hold.c.sha256)
        .where(hold.c.repo_id == repo_id)
        .order_by(hold.c.sha256)
    ).all()
    sizes = {Sha256(row.sha256): row.size for row in held}
    shared = _held_elsewhere(connection, actor, repo_id, list(sizes))
    going = [name for name in sizes if name not in shared]
    viewed = Viewed(actor, repo_id, now_ms, 0.0)
    tensors: dict[int, Shown] = {}
    for batch in batches(going):
        for found in costs.tensors_of(connection, viewed, batch).values():
            tensors.update((one.id, one) for one in found)
    kept, repos, alike = _kept(connection, viewed, sorted(tensors))
    kept_bytes = sum(tensors[one].stored_bytes for one in kept)
    return Leaving(
        files=len(going),
        freed_bytes=_raw_bytes(connection, going) + sum(one.stored_bytes for one in tensors.values()) - kept_bytes,
        kept_bytes=kept_bytes,
        dependants=len(repos),
        kept_for=tuple(sorted(repos, key=lambda rid: (rid.type, rid.full.lower()))[:NAMED_MAX]),
        shared_files=len(shared),
        shared_bytes=sum(sizes[name] for name in shared),
        alike=len(alike),
    )


def sentence(left: Leaving, undelete_s: int) -> str:
    """`Frees 300 MB in 7 days. Kept 1.2 GB: 3 repos depend on it (a/b, c/d, e/f).` Until then it can be undone."""
    said = f"Frees {_size(left.freed_bytes)}{f' in {_time(undelete_s)}' if undelete_s else ''}."
    if left.dependants or left.alike:
        why = []
        if left.dependants:
            named = ", ".join(one.full for one in left.kept_for)
            more = f" and {left.dependants - len(left.kept_for)} more" if left.dependants > len(left.kept_for) else ""
            depend = "1 repo depends" if left.dependants == 1 else f"{left.dependants} repos depend"
            why.append(f"{depend} on it ({named}{more})")
        if left.alike:
            why.append(
                "1 repo has the same tensors" if left.alike == 1 else f"{left.alike} repos have the same tensors"
            )
        said += f" Kept {_size(left.kept_bytes)}: {', '.join(why)}."
    if left.shared_files:
        files = "1 file stays" if left.shared_files == 1 else f"{left.shared_files} files stay"
        said += f" {files} ({_size(left.shared_bytes)}), since other repos hold the same."
    return said


def _time(wait_s: int) -> str:
    """In the largest unit of which there is at least one, rounded up: nothing is free earlier than it says."""
    units = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))
    unit, unit_s = next((unit, unit_s) for unit, unit_s in units if wait_s >= unit_s)
    count = -(-wait_s // unit_s)
    return f"{count} {unit}{'s' if count > 1 else ''}"


def _size(size_bytes: int) -> str:
    """In powers of ten, as the pages have it."""
    value, units = float(size_bytes), ("bytes", "kB", "MB", "GB", "TB")
    for unit in units[:-1]:
        if value < 999.5:
            return f"{value:.4g} {unit}" if unit == "bytes" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} {units[-1]}"


def _held_elsewhere(connection: Connection, actor: Actor, repo_id: int, files: Sequence[Sha256]) -> set[Sha256]:
    found: set[Sha256] = set()
    for batch in batches(files):
        asked = (
            select(hold.c.sha256)
            .join(repo, repo.c.id == hold.c.repo_id)
            .where(hold.c.sha256.in_(batch), hold.c.repo_id != repo_id, readable(actor))
        )
        found |= {Sha256(name) for name in connection.execute(asked.distinct()).scalars()}
    return found


def _raw_bytes(connection: Connection, files: Sequence[Sha256]) -> int:
    """Of files that are kept raw as well, or only so. What they share with others as Xet chunks is counted in full."""
    raw = case((and_(blob.c.sealed.is_not(None), blob.c.raw == "gone"), 0), else_=blob.c.size)
    return sum(
        int(connection.execute(select(func.coalesce(func.sum(raw), 0)).where(blob.c.sha256.in_(batch))).scalar_one())
        for batch in batches(files)
    )


def _kept(connection: Connection, viewed: Viewed, roots: Sequence[int]) -> tuple[set[int], set[RepoId], set[RepoId]]:
    """Those of these tensors that a file of another repo needs of which the actor may know.

    And those repos: with files that stand on one, and others that merely have the same.
    """
    kept: set[int] = set()
    standing: set[RepoId] = set()
    alike: set[RepoId] = set()
    for batch in batches(roots):
        below = standing_on(batch)
        users = (
            select(below.c.root, (below.c.root == below.c.id).label("same"), repo.c.type, repo.c.namespace, repo.c.name)
            .join_from(below, blob_tensor, blob_tensor.c.tensor == below.c.id)
            .join(hold, hold.c.sha256 == blob_tensor.c.sha256)
            .join(repo, repo.c.id == hold.c.repo_id)
            .where(repo.c.id != viewed.repo_id, readable(viewed.actor))
            .distinct()
        )
        for row in connection.execute(users):
            kept.add(row.root)
            (alike if row.same else standing).add(RepoId(row.type, row.namespace, row.name))
    return kept, standing, alike - standing
