"""What the files of a revision cost, for the API and the pages alike: asked of the catalog, for whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from headwater.catalog import costs
from headwater.catalog.costs import Costs, File, FileCost, Parent, Shown, Viewed
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground.errors import EntryMissing, Forbidden
from headwater.ground.names import CommitId
from headwater.repos import Repo
from headwater.store.kin import reader_of
from headwater.store.splitting import split
from headwater.upkeep import totals
from headwater.upkeep.leaving import Leaving, leaving


@dataclass(frozen=True, slots=True)
class Stored:
    """`complete` is False where a revision has more large files than are counted."""

    costs: Costs
    complete: bool

    def file(self, path: str) -> FileCost:
        """EntryMissing for what is no large file of the revision."""
        for one in self.costs.files:
            if one.file.path == path:
                return one
        raise EntryMissing(path, text=f"{path[:200]!r} is no large file of this revision; small ones lie in git")


def of_revision(rooms: Rooms, request: Request, found: Repo, commit: CommitId) -> Stored:
    """`found` must be a repo whose files this actor may read."""
    entries = list(islice(rooms.repos.tree.pointers(found.id, commit), costs.FILES_MAX + 1))
    files = [File(one.path, one.sha256, one.size) for one in entries[: costs.FILES_MAX] if one.sha256 is not None]
    with rooms.db.read() as connection:
        told = costs.costs(connection, _viewed(rooms, request, found), files)
    return Stored(told, len(entries) <= costs.FILES_MAX)


def _viewed(rooms: Rooms, request: Request, found: Repo) -> Viewed:
    return Viewed(request.actor, found.id, rooms.clock.now_ms(), rooms.settings.seal_margin_percent / 100)


@dataclass(frozen=True, slots=True)
class Told:
    """A tensor of a sealed file, in the order of the file. `parent` is None for one that is stored without."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    how: Shown
    parent: Parent | None


def of_file(rooms: Rooms, request: Request, found: Repo, cost: FileCost) -> list[Told]:
    """One of the files that `of_revision` told, tensor by tensor; nothing of a file that is not sealed."""
    blob = rooms.store.find(cost.file.sha256)
    with rooms.db.read() as connection:
        known = costs.by_key(connection, _viewed(rooms, request, found), cost)
    if blob is None or not known:
        return []
    recipe = rooms.store.sealed_recipe(blob)
    return [
        Told(tensor.name, tensor.dtype, tensor.shape, *known[segment.key])
        for tensor in split(cost.file.path, blob.size, reader_of(rooms.store, blob))
        for segment in recipe.segments(tensor.start, tensor.stop)
        if segment.key in known and segment.start == 0
    ]


def of_all(rooms: Rooms, request: Request) -> totals.Totals:
    """Forbidden to all but administrators of the hub."""
    if not request.actor.is_admin:
        raise Forbidden("Only administrators of this hub see how its store stands")
    return totals.totals(rooms.store, rooms.clock.now_ms(), on=rooms.settings.seal)


def of_leaving(rooms: Rooms, request: Request, dying: Repo) -> Leaving:
    """What deleting the repo would do, as far as this actor may know."""
    with rooms.db.read() as connection:
        return leaving(connection, request.actor, dying.id, rooms.clock.now_ms())
