"""The database: `read()`, `write()` and `write_soft()` over SQLAlchemy Core. The only owner of an engine.

SQLite in WAL mode. One writer at a time, queued in the process instead of spinning on SQLITE_BUSY; readers never wait.
`write()` returns after the WAL is fsynced: what it did survives power loss. `write_soft()` is for what may be lost in
a power cut (counters, last-used times): about a hundred times cheaper, just as atomic.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from headwater.ground.errors import Corrupt, HeadwaterError, Unavailable

_T = TypeVar("_T")

metadata = MetaData()
"""All tables of all rooms; each room declares its own in its `tables.py`."""

BATCH = 500  # names in one statement: far below SQLite's 32,766 variables
READERS_MAX = 64  # one per worker thread, with room for background threads
MAPPED_BYTES_MAX = 256 << 20  # read through the page cache: a quarter off lists with many rows
VERSION_BELIEVED_S = 0.05  # of other processes' commits: asking takes four system calls, a good part of a small request
WAL_WAIT_S = 0.01  # between two tries to take a new file to WAL, which takes a few milliseconds
CACHE_PAGES_KIB = 16_384  # of page cache per connection: the index pages of a large hub's hot lists


def batches(values: Iterable[_T]) -> Iterator[list[_T]]:
    """As many values at a time as one statement takes."""
    left = iter(values)
    while batch := list(itertools.islice(left, BATCH)):
        yield batch


class Database:
    _writes = 0  # that this process has ended, to whatever file

    def __init__(self, path: Path, busy_wait_s: float = 10.0) -> None:
        self.path = path
        self._busy_wait_s = busy_wait_s
        self._turn = threading.Lock()
        self._readers = _engine(path, "NORMAL", busy_wait_s, "BEGIN")
        # A deferred transaction that writes later can fail half-way with SQLITE_BUSY; a writer says so at once.
        self._durable = _engine(path, "FULL", busy_wait_s, "BEGIN IMMEDIATE")
        self._soft = _engine(path, "NORMAL", busy_wait_s, "BEGIN IMMEDIATE")
        self._watcher: sqlite3.Connection | None = None
        self._watching = threading.Lock()
        self._seen = (0, 0, 0.0)  # version, after how many writes, until when it is believed

    def version(self) -> int:
        """Another number after every commit of anybody: at once in this process, of another one within milliseconds.

        What was read after asking for it may be remembered under it: whoever gets the same number sees the same rows.
        (SQLite's `PRAGMA data_version`, on a connection that never writes.)
        """
        version, writes, until_s = self._seen
        if writes == self._writes and time.monotonic() < until_s:
            return version
        with _translated(), self._watching:
            if self._watcher is None:
                self._watcher = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
            writes = self._writes  # before it is read: a write that ends meanwhile has it read again
            version = int(self._watcher.execute("PRAGMA data_version").fetchone()[0])
            self._seen = (version, writes, time.monotonic() + VERSION_BELIEVED_S)
            return version

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view; what is read does not change while the block runs."""
        with _translated(), self._readers.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is on the disk when the block ends, or has not happened."""
        with _translated(), self._alone(), self._durable.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def write_soft(self) -> Iterator[Connection]:
        """A transaction that a power cut may undo; never for anything that is acknowledged as kept."""
        with _translated(), self._alone(), self._soft.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=self._busy_wait_s):
            raise Unavailable("The database is busy with other writes; nothing was stored. Try again in a moment.")
        try:
            yield
        finally:
            Database._writes += 1  # a lost count does no harm: whoever counts has committed before
            self._turn.release()

    def copy_to(self, target: Path) -> None:
        """A consistent copy while others read and write (SQLite's online backup)."""
        with (
            _translated(),
            contextlib.closing(sqlite3.connect(self.path)) as source,
            contextlib.closing(sqlite3.connect(target)) as to,
        ):
            source.backup(to)

    def problems(self) -> list[str]:
        """What SQLite's own integrity check finds; empty when all is well."""
        try:
            with self.read() as connection:
                rows = [str(row[0]) for row in connection.execute(text("PRAGMA integrity_check(20)"))]
        except Corrupt as error:
            return [str(error.__cause__)]  # damaged so badly that the check itself gave up
        return [] if rows == ["ok"] else rows

    def migrate(self) -> None:
        """Brings the schema to this version's; refuses a newer one. Forward only, in one transaction a step."""
        from headwater.ground import migrations  # noqa: PLC0415 - which need this module

        with _translated():
            migrations.upgrade(self._durable, metadata)

    def close(self) -> None:
        for engine in (self._readers, self._durable, self._soft):
            engine.dispose()
        with self._watching:
            if self._watcher is not None:
                self._watcher.close()
                self._watcher = None


def _engine(path: Path, synchronous: str, busy_wait_s: float, begin: str) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=QueuePool,
        pool_size=READERS_MAX,
        max_overflow=0,
        pool_timeout=busy_wait_s,
        # isolation_level None: the driver begins nothing by itself, the listener below does
        connect_args={"check_same_thread": False, "timeout": busy_wait_s, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def _prepare(raw: sqlite3.Connection, _record: object) -> None:
        _use_wal(raw, busy_wait_s)
        for pragma in (
            f"synchronous={synchronous}",
            "foreign_keys=ON",
            f"cache_size=-{CACHE_PAGES_KIB}",
            f"mmap_size={MAPPED_BYTES_MAX}",
            "temp_store=MEMORY",
            "trusted_schema=OFF",
        ):
            raw.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # straight to the driver: this is a third of what a small read costs
        connection.connection.driver_connection.execute(begin)  # type: ignore[union-attr]

    return engine


def _use_wal(raw: sqlite3.Connection, busy_wait_s: float) -> None:
    """A new file takes this mode from one connection alone, and SQLite tells others to wait instead of waiting."""
    until_s = time.monotonic() + busy_wait_s
    while True:
        try:
            raw.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until_s:
                raise
            time.sleep(WAL_WAIT_S)
        else:
            return


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """SQLite's operational failures as the taxonomy's: busy, full, read-only, unreadable."""
    try:
        yield
    except IntegrityError:
        raise  # rooms know what a broken uniqueness means
    except PoolTimeout as error:
        raise Unavailable("The database is busy: too many requests at once. Try again in a moment.") from error
    except (DBAPIError, sqlite3.Error) as error:  # the second kind: from BEGIN, which goes to the driver itself
        meaning = _meaning(error)
        if meaning is None:
            raise
        raise meaning from error


def _meaning(error: DBAPIError | sqlite3.Error) -> HeadwaterError | None:
    """None: not of the disk's making, so a bug."""
    said = str(error.orig if isinstance(error, DBAPIError) else error).lower()
    if "locked" in said or "busy" in said:
        return Unavailable("The database is busy; nothing was stored. Try again in a moment.")
    if "full" in said:
        return Unavailable("The disk is full; nothing was stored. Free some space and try again.", status=507)
    if "readonly" in said or "read-only" in said:
        return Unavailable("The hub's disk is read-only; nothing was stored.", retry_after_s=60)
    if "malformed" in said or "not a database" in said:
        return Corrupt("The database is damaged; run `headwater verify`.")
    if "disk i/o" in said or "unable to open" in said:
        return Unavailable("The hub's disk answers with errors; nothing was stored.", retry_after_s=60)
    return None
