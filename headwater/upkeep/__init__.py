"""What keeps a hub well: collecting what nobody needs, joining packs, verifying, backing up, restoring.

Uses the rooms of the truth; is used by `app` and `cli`. Invariants: nothing that is held, or might be, is ever
deleted; a backup is the hub as it was at one event. Refuses to know: HTTP, what is derived.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import select

from headwater.ground.clock import Clock
from headwater.ground.db import Database
from headwater.ground.jobs import enqueue
from headwater.ground.log import log
from headwater.ground.settings import Settings
from headwater.repos import Repos
from headwater.repos.tables import repo
from headwater.store import Store, Uploads, Xets, evict, sweep, twice
from headwater.store.sweep import Swept

COLLECT_EVERY_S = 3600
LOOK_EVERY_S = 86_400  # for objects that no row names: only a crash leaves any, and all objects are walked
PAGE = 500


@dataclass(frozen=True, slots=True)
class Collected:
    holds: int
    uploads: int
    blobs: int
    xorbs: int
    unnamed: int
    freed_bytes: int
    tensors: int = 0
    packs: int = 0
    raw_copies: int = 0
    """Of sealed files, which do without them."""
    repos: int = 0
    """Deleted ones that can't be brought back any more."""
    second_copies: int = 0
    """Of tensors that many others stand on; written."""


class Upkeep:
    def __init__(
        self, db: Database, clock: Clock, settings: Settings, repos: Repos, store: Store, xets: Xets, uploads: Uploads
    ) -> None:
        self._db, self._clock, self._settings = db, clock, settings
        self._repos, self._store, self._xets, self._uploads = repos, store, xets, uploads
        self._looked_s: float | None = None  # when all objects were walked

    def collect(self) -> Collected:
        """Deleted repos whose time is over; abandoned uploads, then blobs nobody holds, then xorbs of no blob that no
        client remembers (T23).

        Then tensors that nothing stands on, raw copies of sealed files, and packs that are half empty. What many stand
        on gets a second copy.

        Once a day also objects that no row names. Only in the process that owns the data folder.
        """
        now_ms = self._clock.now_ms()
        grace_ms = now_ms - self._settings.upload_grace_s * 1000
        keep_ms = now_ms - self._settings.xorb_keep_s * 1000
        repos = self._repos.registry.expire()
        uploads = self._uploads.expire(grace_ms)
        released = 0
        while pending := self._repos.holds.pending(grace_ms, PAGE):
            count = self._repos.holds.release(pending)
            released += count
            if count == 0:
                break  # all were committed meanwhile
        blobs = xorbs = freed = 0
        after = ""
        while unheld := self._repos.holds.unheld_blobs(grace_ms, after, PAGE):
            swept = sweep.blobs(self._store, unheld, grace_ms)
            blobs, freed, after = blobs + swept.blobs, freed + swept.freed_bytes, unheld[-1]
        after = ""
        while unused := self._repos.holds.unheld_xorbs(keep_ms, after, PAGE):
            swept = sweep.xorbs(self._xets, unused, keep_ms)
            xorbs, freed, after = xorbs + swept.xorbs, freed + swept.freed_bytes, unused[-1]
        left = Swept()
        if self._looked_s is None or self._clock.tick_s() - self._looked_s > LOOK_EVERY_S:
            left = sweep.unnamed(self._store, grace_ms)
            self._looked_s = self._clock.tick_s()
        tensors = sweep.tensors(self._store)
        packs = sweep.packs(self._store)
        raw = self._evict(now_ms, keep_ms)
        copies = twice.keep(self._store, self._settings.second_copy_from)
        freed += left.freed_bytes + packs.freed_bytes + raw.freed_bytes
        found = Collected(
            released, uploads, blobs, xorbs, left.objects, freed, tensors.tensors, packs.packs, raw.gone, repos,
            copies.written,
        )  # fmt: skip
        if any(asdict(found).values()):
            log.info("collected", **asdict(found))
        return found

    def _evict(self, now_ms: int, keep_ms: int) -> evict.Evicted:
        """Also when sealing is off: what was sealed before is proven, and goes on as it is."""
        return evict.evict(
            self._store,
            self._xets,
            now_ms - self._settings.seal_grace_s * 1000,
            keep_ms,
            self._settings.raw_cache_bytes,
            self._store.take_heat(),
        )

    def collect_and_schedule(self) -> None:
        self.collect()
        self.schedule(COLLECT_EVERY_S)

    def schedule(self, in_s: int) -> None:
        """The next round; also looks for repos whose packs should be joined."""
        with self._db.read() as connection:
            live = connection.execute(select(repo.c.id).where(repo.c.state == "live")).scalars().all()
        wanting = [repo_id for repo_id in live if self._repos.git.needs_maintenance(repo_id)]
        with self._db.write_soft() as connection:
            enqueue(connection, self._clock, "upkeep", "all", {}, wait_ms=in_s * 1000)
            for repo_id in wanting:
                enqueue(connection, self._clock, "git.maintenance", str(repo_id), {})

    def maintain(self, repo_id: int) -> None:
        self._repos.git.maintenance(repo_id)
