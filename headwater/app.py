"""Composition root: settings -> rooms -> ASGI app. The one file that knows every room, and who follows whom.

What happens after an event is said in `open_rooms` (feeds and handlers of jobs); rooms append events and never call
upward.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

import headwater.lineage.tables  # noqa: F401 - a new database is made of the tables that are declared
from headwater.accounts import Accounts
from headwater.accounts.tickets import load_secret
from headwater.carry.landing import JOB as LAND
from headwater.carry.landing import Landing
from headwater.catalog.counts import Counts
from headwater.catalog.index import JOB, Index
from headwater.catalog.tags import TagLists
from headwater.catalog.truth import Truth
from headwater.front.asgi import App
from headwater.front.pages.errors import error_page
from headwater.front.rooms import Rooms
from headwater.front.router import Router
from headwater.front.routes import ROUTES
from headwater.ground.clock import Clock, SystemClock
from headwater.ground.db import Database
from headwater.ground.errors import Invalid, Unavailable
from headwater.ground.jobs import Handler, Runner, is_any_due, take_over
from headwater.ground.settings import Settings
from headwater.lineage import following
from headwater.repos import Repos
from headwater.store import Store, Uploads, Xets
from headwater.store.sealing import Supervisor, needs_codec
from headwater.upkeep import Upkeep

if TYPE_CHECKING:
    # sealing is the child's: what it needs is loaded there
    from headwater.lineage.job import Work
    from headwater.store.rebase import Rebaser
    from headwater.store.seal import Sealer

DATABASE = "headwater.sqlite"
SEAL_WAIT_S = 600.0  # for another process that seals, or empties packs


@dataclass(frozen=True, slots=True)
class Places:
    """Where things lie in the data folder; `docs/spec/store.md` describes them."""

    data: Path

    @property
    def database(self) -> Path:
        return self.data / DATABASE

    @property
    def git(self) -> Path:
        return self.data / "git"

    @property
    def store(self) -> Path:
        return self.data / "store"

    @property
    def uploads(self) -> Path:
        return self.data / "uploads"

    @property
    def incoming(self) -> Path:
        return self.data / "incoming"


@contextlib.contextmanager
def owning(data: Path) -> Iterator[IO[bytes]]:
    """The data folder for this process alone (T10). The lock is the kernel's: a killed owner leaves none behind."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        opened = (data / "lock").open("ab+")
    except OSError as error:
        raise Invalid(f"data: {data} can't be used as the data folder: {error.strerror}") from error
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            owner = lock.read(100).decode("ascii", "replace").strip()
            raise Unavailable(
                f"Another Headwater (process {owner or 'unknown'}) serves {data}; stop it first, or use another --data."
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n".encode())
        lock.flush()
        yield lock


def open_rooms(settings: Settings, clock: Clock | None = None) -> Rooms:
    """All rooms over a data folder, its schema brought up to date. Starts nothing."""
    clock = clock or SystemClock()
    places = Places(Path(settings.data).resolve())
    places.data.mkdir(parents=True, exist_ok=True)
    places.incoming.mkdir(exist_ok=True)
    db = Database(places.database, settings.busy_wait_s)
    db.migrate()
    accounts = Accounts(db, clock, settings, load_secret(places.data))
    store = Store(db, places.store, clock, settings.lfs_file_max, settings.block_cache_bytes)
    xets, uploads = Xets(store), Uploads(store, places.uploads)
    repos = Repos(db, places.git, store, clock, settings)
    accounts.followers = (repos.follow_namespace,)
    index = Index(db, clock, Truth(repos, store))
    counts = Counts(db, clock)
    upkeep = Upkeep(db, clock, settings, repos, store, xets, uploads)
    handlers: dict[str, Handler] = {
        JOB: index.work,
        "git.maintenance": lambda job: upkeep.maintain(int(job.key)),
        "upkeep": lambda _job: _keep_up(upkeep, store),
        LAND: Landing(db, clock, repos, store, places.data).work,
    }
    sealing = _supervisor(settings, places, db, clock) if settings.seal else None
    feeds = [_when_changed(db, index.follow), _when_changed(db, store.follow), counts.flush_due, accounts.flush_used]
    if sealing is not None:
        feeds += [_when_changed(db, partial(following.follow, db, clock)), sealing.look]
    jobs = Runner(db, clock, handlers, feeds=feeds)
    return Rooms(
        settings,
        clock,
        db,
        accounts,
        accounts.tickets,
        store,
        xets,
        uploads,
        repos,
        index,
        counts,
        TagLists(db, clock),
        jobs,
        sealing,
    )


def _when_changed(db: Database, follow: Callable[[], object]) -> Callable[[], None]:
    """A follower of events, asked only after a commit of anybody's: an idle hub asks for next to nothing."""
    done = -1

    def feed() -> None:
        nonlocal done
        version = db.version()  # before it looks: what comes meanwhile is for the next time
        if version != done:
            follow()
            done = version

    feed.__qualname__ = getattr(follow, "__qualname__", "feed")  # by which the log knows it
    return feed


def _keep_up(upkeep: Upkeep, store: Store) -> None:
    """At the start and every hour. Raw copies leave only here, so readers of files without one find a warm codec."""
    _warm_codec(store)
    upkeep.collect_and_schedule()
    _warm_codec(store)


def _warm_codec(store: Store) -> None:
    """Loading the codec takes a second and a hundred megabytes: nothing for the first reader, or for an empty hub."""
    if needs_codec(store):
        from headwater import codec  # noqa: PLC0415 - see above

        codec.warm()


def _supervisor(settings: Settings, places: Places, db: Database, clock: Clock) -> Supervisor:
    words = ("store", "work", "--data", str(places.data))
    return Supervisor(words, places.store, clock, partial(_is_there_to_seal, db, clock))


def _is_there_to_seal(db: Database, clock: Clock) -> bool:
    with db.read() as connection:
        return is_any_due(connection, following.FOLLOWER, clock.now_ms())


@dataclass(frozen=True, slots=True)
class Sealing:
    """What seals: by itself (`work`), or a file at a time."""

    sealer: Sealer
    rebaser: Rebaser
    work: Work


def sealing_of(rooms: Rooms, going: Callable[[], bool], progress: Callable[[int, int], None]) -> Sealing:
    """For a process of its own: it loads the codec and its libraries. `progress(done, total)` is of one file."""
    from headwater.lineage.job import Work  # noqa: PLC0415 - see above
    from headwater.store.entries import Bounds  # noqa: PLC0415 - see above
    from headwater.store.rebase import Rebaser  # noqa: PLC0415 - see above
    from headwater.store.seal import Sealer  # noqa: PLC0415 - see above

    given = rooms.settings
    bounds = Bounds(given.seal_cpu_s, given.seal_memory_bytes, given.seal_depth_max, given.seal_margin_percent / 100)
    sealer = Sealer(rooms.store, bounds, going, progress, SEAL_WAIT_S)
    rebaser = Rebaser(rooms.store, bounds, going, progress, SEAL_WAIT_S)
    work = Work(rooms.db, rooms.clock, rooms.store.read, sealer.seal, rebaser.rebase, going)
    return Sealing(sealer, rebaser, work)


def prepare(rooms: Rooms) -> None:
    """Before the first request, under the data folder's lock: clears and settles what a crash left."""
    rooms.store.objects.prepare()
    rooms.repos.prepare()


def make_app(rooms: Rooms) -> App:
    app = App(rooms, Router(ROUTES))
    app.show_errors_as_pages(error_page)
    return app


def upkeep_of(rooms: Rooms) -> Upkeep:
    return Upkeep(rooms.db, rooms.clock, rooms.settings, rooms.repos, rooms.store, rooms.xets, rooms.uploads)


def start_work(rooms: Rooms) -> None:
    """Jobs and counters begin; the derived catches up with what happened last."""
    with rooms.db.write_soft() as connection:
        take_over(connection)
    upkeep_of(rooms).schedule(0)
    if rooms.sealing is not None:
        rooms.sealing.begin()
    rooms.jobs.start()


def stop_work(rooms: Rooms) -> None:
    if rooms.sealing is not None:
        rooms.sealing.stop()
    rooms.jobs.stop()
    rooms.counts.flush()
    rooms.accounts.flush_used()
