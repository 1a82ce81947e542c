"""The job table: work that is to be done later, exactly once if all goes well and again if not.

A job is a kind, a key and a small JSON payload. It waits, runs under a lease, and is gone when its handler returns;
a handler that raises is tried again after a growing wait, and given up after ATTEMPTS_MAX tries with the error kept.
Handlers must stand being run again: after kill -9 the lease runs out, or the next process takes the job over at once.
Refuses to know what the work is.

Times in the table are wall-clock times, because they outlive the process. They are not believed when they lie in the
future by more than a clock's usual corrections: after a jump back by a day nothing waits for a day (T11).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    Row,
    Table,
    Text,
    and_,
    delete,
    exists,
    insert,
    or_,
    select,
    text,
    update,
)

from headwater.ground.clock import Clock
from headwater.ground.db import Database, metadata
from headwater.ground.errors import Unavailable
from headwater.ground.faults import checkpoint
from headwater.ground.log import log, redact

job = Table(
    "job",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),  # whom it is about; two waiting jobs of one kind and key are one
    Column("payload", Text, nullable=False),  # JSON
    Column("state", Text, nullable=False),  # waiting | running | given_up
    Column("attempts", Integer, nullable=False, server_default=text("0")),  # begun, this one included
    Column("since_ms", BigInteger, nullable=False),  # when it came into this state
    Column("until_ms", BigInteger, nullable=False),  # waiting: not before then; running: the lease's end
    Column("holder", Text, nullable=False, server_default=text("''")),  # which runner runs it
    Column("error", Text),  # of the last try
    Index("job_waiting", "kind", "key", unique=True, sqlite_where=text("state = 'waiting'")),
    Index("job_state", "state", "until_ms"),
    sqlite_autoincrement=True,  # a late runner must not settle another job under a reused id
)

LEASE_MS = 10 * 60_000  # longer than any handler should take; a process's own running jobs need no lease
ATTEMPTS_MAX = 8  # with the waits below: given up after about two hours
BACKOFF_MS = 2_000
BACKOFF_FACTOR = 4
BACKOFF_MS_MAX = 3_600_000
CLOCK_STEP_MS = 60_000  # a clock that is set right moves by less; a larger step back makes stored times meaningless
ERROR_CHARS_MAX = 1_000
POLL_S = 1.0  # how long a job may wait if nobody wakes the runner


@dataclass(frozen=True, slots=True)
class Job:
    """`attempt` counts from 1."""

    id: int
    kind: str
    key: str
    payload: dict[str, Any]
    attempt: int


Handler = Callable[[Job], None]


def enqueue(
    connection: Connection, clock: Clock, kind: str, key: str, payload: Mapping[str, Any], *, wait_ms: int = 0
) -> None:
    """Have it done, inside the caller's transaction. A waiting job of this kind and key takes over the new payload.

    One that is running does not: what it works on may have changed since it began, so another will follow it. An
    earlier one that was given up is forgotten.
    """
    now_ms = clock.now_ms()
    encoded = msgspec.json.encode(payload).decode()
    same = and_(job.c.kind == kind, job.c.key == key)
    waiting = connection.execute(
        select(job.c.id, job.c.until_ms, job.c.since_ms).where(same, job.c.state == "waiting")
    ).first()
    if waiting is not None:
        stale = waiting.since_ms > now_ms + CLOCK_STEP_MS
        until_ms = now_ms + wait_ms if stale else min(waiting.until_ms, now_ms + wait_ms)
        values = {"payload": encoded, "attempts": 0, "since_ms": now_ms, "until_ms": until_ms}
        connection.execute(update(job).where(job.c.id == waiting.id).values(values))
        return
    connection.execute(delete(job).where(same, job.c.state == "given_up"))
    connection.execute(
        insert(job).values(
            kind=kind, key=key, payload=encoded, state="waiting", since_ms=now_ms, until_ms=now_ms + wait_ms
        )
    )


def take_over(connection: Connection) -> int:
    """End all leases: for a process that begins to own the data folder, when nobody can be running anything."""
    held = connection.execute(select(job.c.id, job.c.kind, job.c.key).where(job.c.state == "running")).all()
    for row in held:
        _put_back(connection, row.id, {"since_ms": 0, "until_ms": 0})
    return len(held)


def is_any_due(connection: Connection, group: str, now_ms: int) -> bool:
    """Whether a job whose kind begins with `group.` waits to be run, or was left behind by a process that is gone."""
    asked = select(job.c.id).where(
        job.c.kind.startswith(f"{group}."), job.c.state.in_(("waiting", "running")), _past(now_ms)
    )
    return connection.execute(asked.limit(1)).first() is not None


@dataclass(frozen=True, slots=True)
class GivenUp:
    """`at_ms` is when the last try failed."""

    kind: str
    key: str
    attempts: int
    error: str
    at_ms: int


def given_up(connection: Connection, limit: int = 100) -> list[GivenUp]:
    """What nobody will do any more unless it is enqueued again, newest first."""
    rows = connection.execute(
        select(job).where(job.c.state == "given_up").order_by(job.c.since_ms.desc(), job.c.id.desc()).limit(limit)
    )
    return [GivenUp(row.kind, row.key, row.attempts, row.error or "", row.since_ms) for row in rows]


class Runner:
    """Runs due jobs in its threads, and in the thread of whoever calls `drain`.

    `feeds` are called whenever it looks for work, so that what happened can become jobs (the followers of events) or
    be written down (counters). Jobs of a kind without a handler stay in the table.
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        handlers: Mapping[str, Handler],
        threads: int = 1,
        *,
        feeds: Sequence[Callable[[], object]] = (),
    ) -> None:
        self._db = db
        self._clock = clock
        self._handlers = dict(handlers)
        self._feeds = tuple(feeds)
        self._holder = clock.token(8)
        self._mine: set[int] = set()  # running here, whatever the lease says
        self._lock = threading.Lock()
        self._feeding = threading.Lock()
        self._woken = threading.Condition()
        self._calls = 0  # of wake(), so that none is lost while a thread is busy
        self._stopping = False
        self._threads = [threading.Thread(target=self._loop, name=f"jobs-{n}", daemon=True) for n in range(threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, wait_s: float = 10.0) -> bool:
        """Begin nothing more and wait for what runs; False if something still runs: it will be run again."""
        with self._woken:
            self._stopping = True
            self._woken.notify_all()
        begun_s = self._clock.tick_s()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, wait_s - (self._clock.tick_s() - begun_s)))
        return not any(thread.is_alive() for thread in self._threads)

    def wake(self) -> None:
        """Something may be due."""
        with self._woken:
            self._calls += 1
            self._woken.notify_all()

    def drain(self, kinds: Sequence[str] = (), jobs_max: int = 10_000) -> int:
        """Run what is due (of these kinds; of all if none is named) here and now; how many were run."""
        done = 0
        while done < jobs_max and self._run_one(tuple(kinds) or tuple(self._handlers)):
            done += 1
        return done

    def _loop(self) -> None:
        while not self._stopping:
            with self._woken:
                calls = self._calls
            try:
                self._feed()
                if self._run_one(tuple(self._handlers)):
                    continue
            except Unavailable as error:  # the job is still there
                _wait(error)
            with self._woken:
                if self._calls == calls and not self._stopping:
                    self._woken.wait(POLL_S)

    def _feed(self) -> None:
        if not self._feeding.acquire(blocking=False):
            return  # another thread is at it
        try:
            for feed in self._feeds:
                self._outcome(partial(_unless_busy, feed), getattr(feed, "__qualname__", "feed"), "")
        finally:
            self._feeding.release()

    def _run_one(self, kinds: tuple[str, ...]) -> bool:
        claimed = self._claim(kinds)
        if claimed is None:
            return False
        try:
            checkpoint("jobs.claimed")
            handler = self._handlers[claimed.kind]
            error = self._outcome(lambda: handler(claimed), claimed.kind, claimed.key)
            checkpoint("jobs.done")
            self._settle(claimed, error)
        finally:
            with self._lock:
                self._mine.discard(claimed.id)
        return True

    def _outcome(self, work: Callable[[], object], kind: str, key: str) -> str | None:
        """The text of what went wrong, logged here and nowhere else; None if nothing did."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever a handler raises must not end the runner
            log.error("job failed", kind=kind, key=key, exc_info=True)
            return redact(f"{type(error).__name__}: {error}")[:ERROR_CHARS_MAX]
        return None

    def _claim(self, kinds: tuple[str, ...]) -> Job | None:
        if not kinds:
            return None
        with self._lock:
            now_ms = self._clock.now_ms()
            with self._db.read() as connection:  # usually there is nothing, and nobody need wait for the writer's turn
                if connection.execute(_due(kinds, now_ms, self._mine)).first() is None:
                    return None
            with self._db.write_soft() as connection:
                while (row := connection.execute(_due(kinds, now_ms, self._mine)).first()) is not None:
                    if row.attempts < ATTEMPTS_MAX:
                        self._mine.add(row.id)
                        return self._begin(connection, row, now_ms)
                    # It never came back from its last try: what ends the process must not do so for ever.
                    _give_up(connection, row.id, row.error or "the process ended while it ran", now_ms)
        return None

    def _begin(self, connection: Connection, row: Row[Any], now_ms: int) -> Job:
        values = {
            "state": "running",
            "attempts": row.attempts + 1,
            "since_ms": now_ms,
            "until_ms": now_ms + LEASE_MS,
            "holder": self._holder,
        }
        connection.execute(update(job).where(job.c.id == row.id).values(values))
        return Job(row.id, row.kind, row.key, msgspec.json.decode(row.payload), row.attempts + 1)

    def _settle(self, done: Job, error: str | None) -> None:
        now_ms = self._clock.now_ms()
        # Fenced: another runner may have begun it anew after the lease ran out, and then it is that one's to settle.
        held = and_(job.c.id == done.id, job.c.state == "running", job.c.holder == self._holder)
        with self._db.write_soft() as connection:
            if connection.execute(select(job.c.id).where(held)).first() is None:
                return
            if error is None:
                connection.execute(delete(job).where(job.c.id == done.id))
            elif done.attempt >= ATTEMPTS_MAX:
                _give_up(connection, done.id, error, now_ms)
            else:
                wait_ms = min(BACKOFF_MS * BACKOFF_FACTOR ** (done.attempt - 1), BACKOFF_MS_MAX)
                values = {"since_ms": now_ms, "until_ms": now_ms + wait_ms, "error": error}
                _put_back(connection, done.id, values)


def _unless_busy(feed: Callable[[], object]) -> None:
    """It comes again within a second."""
    try:
        feed()
    except Unavailable as error:
        _wait(error)


def _wait(error: Unavailable) -> None:
    """A busy or full database is no fault of a job's."""
    log.warning("jobs wait", reason=error.text)


def _put_back(connection: Connection, job_id: int, values: dict[str, Any]) -> None:
    """running -> waiting; or gone, if another one of its kind and key waits already."""
    other = job.alias()
    twin = exists().where(other.c.state == "waiting", other.c.kind == job.c.kind, other.c.key == job.c.key)
    connection.execute(delete(job).where(job.c.id == job_id, twin))
    connection.execute(update(job).where(job.c.id == job_id).values(state="waiting", holder="", **values))


def _give_up(connection: Connection, job_id: int, error: str, now_ms: int) -> None:
    values = {"state": "given_up", "since_ms": now_ms, "until_ms": now_ms, "holder": "", "error": error}
    connection.execute(update(job).where(job.c.id == job_id).values(values))


def _past(now_ms: int) -> ColumnElement[bool]:
    return or_(job.c.until_ms <= now_ms, job.c.since_ms > now_ms + CLOCK_STEP_MS)


def _due(kinds: tuple[str, ...], now_ms: int, mine: set[int]) -> Any:
    """The next job to run: waiting long enough, or running under a lease that has ended, the oldest first."""
    other = job.alias()
    # One kind and key at a time: a handler need not expect itself.
    twin_runs = exists().where(
        other.c.state == "running",
        other.c.kind == job.c.kind,
        other.c.key == job.c.key,
        other.c.id != job.c.id,
    )
    return (
        select(job)
        .where(
            job.c.state.in_(("waiting", "running")), job.c.kind.in_(kinds), job.c.id.not_in(sorted(mine)), _past(now_ms)
        )
        .where(~twin_runs)
        .order_by(job.c.until_ms, job.c.id)
        .limit(1)
    )
