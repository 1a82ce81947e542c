"""The job table: what is enqueued is done, once if all goes well, again if not, and never for ever."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from headwater.ground import jobs
from headwater.ground.clock import FixedClock
from headwater.ground.db import Database
from headwater.ground.errors import Unavailable
from headwater.ground.jobs import Job, Runner

DAY_S = 86_400.0


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("jobs") / "hub.db"
    db = Database(path)
    jobs.job.create(db._durable)
    db.close()
    return path


@pytest.fixture
def db(tmp_path: Path, empty_database: Path) -> Iterator[Database]:
    shutil.copy(empty_database, tmp_path / "hub.db")
    opened = Database(tmp_path / "hub.db")
    yield opened
    opened.close()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def enqueue(db: Database, clock: FixedClock) -> Callable[..., None]:
    def put(kind: str = "index", key: str = "1", payload: dict[str, object] | None = None, wait_ms: int = 0) -> None:
        with db.write_soft() as connection:
            jobs.enqueue(connection, clock, kind, key, payload or {}, wait_ms=wait_ms)

    return put


class Work:
    """A handler that notes what it was given, and fails as often as it is told."""

    def __init__(self, fails: int = 0) -> None:
        self.done: list[Job] = []
        self.tries = 0
        self.fails = fails

    def __call__(self, job: Job) -> None:
        self.tries += 1
        if self.tries <= self.fails:
            raise ValueError(f"no luck, hf_abcdefghijkl {self.tries}")
        self.done.append(job)

    @property
    def keys(self) -> list[str]:
        return [job.key for job in self.done]


def runner(db: Database, clock: FixedClock, work: Callable[[Job], None], **more: object) -> Runner:
    return Runner(db, clock, {"index": work}, **more)  # type: ignore[arg-type]


def states(db: Database) -> list[str]:
    with db.read() as connection:
        return list(connection.execute(select(jobs.job.c.state).order_by(jobs.job.c.id)).scalars())


def test_a_job_is_run_once_with_its_payload_and_is_gone(db, clock, enqueue) -> None:
    enqueue(payload={"commit": "abc"})
    work = Work()
    assert runner(db, clock, work).drain() == 1
    assert [(job.key, job.payload, job.attempt) for job in work.done] == [("1", {"commit": "abc"}, 1)]
    assert states(db) == []


def test_waiting_jobs_of_one_kind_and_key_are_one_with_the_newest_payload(db, clock, enqueue) -> None:
    for number in range(3):
        enqueue(payload={"n": number})
    enqueue(key="2")
    work = Work()
    assert runner(db, clock, work).drain() == 2
    assert [job.payload for job in work.done] == [{"n": 2}, {}]


def test_a_job_waits_for_its_time_and_an_earlier_wish_brings_it_forward(db, clock, enqueue) -> None:
    enqueue(wait_ms=60_000)
    work = Work()
    jobs_of = runner(db, clock, work)
    assert jobs_of.drain() == 0
    enqueue(wait_ms=120_000)
    clock.advance(59)
    assert jobs_of.drain() == 0
    clock.advance(1)
    assert jobs_of.drain() == 1
    enqueue(wait_ms=60_000)
    enqueue()
    assert jobs_of.drain() == 1


def test_what_is_enqueued_while_its_like_runs_is_run_afterwards(db, clock, enqueue) -> None:
    seen: list[int] = []

    def work(job: Job) -> None:
        seen.append(job.attempt)
        if len(seen) == 1:
            enqueue()
            assert jobs_of.drain() == 0, "one of a kind and key at a time"

    jobs_of = runner(db, clock, work)
    enqueue()
    assert jobs_of.drain() == 2
    assert states(db) == []


def test_a_failing_job_is_tried_again_after_growing_waits(db, clock, enqueue) -> None:
    enqueue()
    work = Work(fails=2)
    jobs_of = runner(db, clock, work)
    assert jobs_of.drain() == 1
    assert jobs_of.drain() == 0
    clock.advance(2)
    assert jobs_of.drain() == 1
    clock.advance(2)
    assert jobs_of.drain() == 0
    clock.advance(6)
    assert jobs_of.drain() == 1
    assert work.keys == ["1"]
    assert work.done[0].attempt == 3


def test_a_job_that_never_succeeds_is_given_up_with_its_error_and_without_secrets(db, clock, enqueue) -> None:
    enqueue()
    work = Work(fails=100)
    jobs_of = runner(db, clock, work)
    for _ in range(20):
        jobs_of.drain()
        clock.advance(3600)
    assert work.tries == jobs.ATTEMPTS_MAX
    with db.read() as connection:
        (left,) = jobs.given_up(connection)
    assert (left.kind, left.key, left.attempts) == ("index", "1", jobs.ATTEMPTS_MAX)
    assert left.error.startswith("ValueError: no luck")
    assert "hf_abc" not in left.error


def test_enqueueing_again_forgets_that_it_was_given_up(db, clock, enqueue) -> None:
    enqueue()
    work = Work(fails=jobs.ATTEMPTS_MAX)
    jobs_of = runner(db, clock, work)
    for _ in range(20):
        jobs_of.drain()
        clock.advance(3600)
    enqueue()
    assert jobs_of.drain() == 1
    assert work.keys == ["1"]
    assert states(db) == []


def test_a_failed_job_gives_way_to_one_that_was_enqueued_meanwhile(db, clock, enqueue) -> None:
    def work(job: Job) -> None:
        if not job.payload:
            enqueue(payload={"newer": True})
            raise ValueError("the old one")
        done.append(job)

    done: list[Job] = []
    enqueue()
    assert runner(db, clock, work).drain() == 2
    assert [job.payload for job in done] == [{"newer": True}]
    assert states(db) == []


def killed(db: Database, clock: FixedClock) -> None:
    """A process that claimed a job and was gone."""
    assert Runner(db, clock, {"index": Work()})._claim(("index",)) is not None


def test_after_kill_9_the_lease_runs_out_and_the_job_is_run_again(db, clock, enqueue) -> None:
    enqueue()
    killed(db, clock)
    work = Work()
    jobs_of = runner(db, clock, work)
    clock.advance(jobs.LEASE_MS / 1000 - 1)
    assert jobs_of.drain() == 0
    clock.advance(1)
    assert jobs_of.drain() == 1
    assert work.done[0].attempt == 2


def test_a_new_owner_of_the_data_folder_takes_over_at_once(db, clock, enqueue) -> None:
    enqueue()
    killed(db, clock)
    enqueue(payload={"newer": True})
    with db.write_soft() as connection:
        assert jobs.take_over(connection) == 1
    work = Work()
    assert runner(db, clock, work).drain() == 1
    assert work.done[0].payload == {"newer": True}


def test_a_job_that_always_ends_the_process_is_given_up(db, clock, enqueue) -> None:
    enqueue()
    for _ in range(jobs.ATTEMPTS_MAX):
        killed(db, clock)
        with db.write_soft() as connection:
            jobs.take_over(connection)
    work = Work()
    assert runner(db, clock, work).drain() == 0
    assert states(db) == ["given_up"]


def test_T11_a_clock_set_back_by_a_day_delays_nothing(db, clock, enqueue) -> None:
    enqueue(key="waits", wait_ms=1000)
    enqueue(key="held")
    killed(db, clock)
    work = Work()
    clock.at_ms -= int(DAY_S * 1000)
    jobs_of = runner(db, clock, work)
    assert jobs_of.drain() == 2
    assert sorted(work.keys) == ["held", "waits"]


def test_T11_a_clock_stepping_back_a_second_takes_no_lease_away(db, clock, enqueue) -> None:
    enqueue()
    killed(db, clock)
    clock.at_ms -= 1000
    assert runner(db, clock, Work()).drain() == 0


def test_T11_a_clock_set_forward_does_not_run_a_running_job_twice(db, clock, enqueue) -> None:
    def work(job: Job) -> None:
        tries.append(job.attempt)
        clock.at_ms += int(DAY_S * 1000)
        assert jobs_of.drain() == 0

    tries: list[int] = []
    jobs_of = runner(db, clock, work)
    enqueue()
    assert jobs_of.drain() == 1
    assert tries == [1]


def test_a_runner_whose_lease_ran_out_does_not_settle_what_another_now_holds(db, clock, enqueue) -> None:
    def slow(job: Job) -> None:
        clock.advance(jobs.LEASE_MS / 1000)
        assert Runner(db, clock, {"index": Work()})._claim(("index",)) is not None

    enqueue()
    assert runner(db, clock, slow).drain() == 1
    assert states(db) == ["running"], "the other one's job is still his"


def test_jobs_of_a_kind_that_nobody_handles_stay(db, clock, enqueue) -> None:
    enqueue(kind="unheard of")
    assert runner(db, clock, Work()).drain() == 0
    assert states(db) == ["waiting"]


def test_draining_some_kinds_leaves_the_others(db, clock, enqueue) -> None:
    enqueue(kind="index")
    enqueue(kind="sweep")
    swept = Work()
    jobs_of = Runner(db, clock, {"index": Work(), "sweep": swept})
    assert jobs_of.drain(["index"]) == 1
    assert swept.tries == 0
    assert states(db) == ["waiting"]


def test_threads_run_what_is_enqueued_and_stop_when_told(db, clock, enqueue) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        begun.set()
        assert go_on.wait(30)

    jobs_of = runner(db, clock, work, threads=2)
    jobs_of.start()
    enqueue()
    jobs_of.wake()
    assert begun.wait(30)
    go_on.set()
    assert jobs_of.stop(30)
    assert states(db) == []


def test_a_feed_that_fails_ends_neither_the_others_nor_the_thread(db, clock, enqueue) -> None:
    fed = threading.Event()

    def broken() -> None:
        raise ValueError("a bug in a follower")

    jobs_of = runner(db, clock, Work(), feeds=(broken, fed.set))
    jobs_of.start()
    assert fed.wait(30)
    fed.clear()
    jobs_of.wake()
    assert fed.wait(30)
    assert jobs_of.stop(30)


def test_a_feed_that_finds_the_database_busy_comes_again_and_that_is_no_error(
    db, clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    class Log:
        def __getattr__(self, level: str) -> Callable[..., None]:
            return lambda *_, **__: said.append(level)

    def busy() -> None:
        raise Unavailable("The database is busy.")

    def broken() -> None:
        raise ValueError("a bug in a follower")

    monkeypatch.setattr(jobs, "log", Log())
    runner(db, clock, Work(), feeds=(busy, broken))._feed()
    assert said == ["warning", "error"]


def test_a_busy_database_does_not_end_the_thread(db, clock, enqueue, monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    jobs_of = runner(db, clock, lambda job: done.set())
    claim, refused = jobs_of._claim, []

    def busy_once(kinds: tuple[str, ...]) -> Job | None:
        if not refused:
            refused.append(True)
            raise Unavailable("The database is busy.")
        return claim(kinds)

    monkeypatch.setattr(jobs_of, "_claim", busy_once)
    enqueue()
    jobs_of.start()
    jobs_of.wake()
    assert done.wait(30)
    assert jobs_of.stop(30)
    assert refused


def test_stopping_says_when_something_still_runs(db, clock, enqueue) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        begun.set()
        assert go_on.wait(30)

    jobs_of = runner(db, clock, work)
    enqueue()
    jobs_of.start()
    assert begun.wait(30)
    assert not jobs_of.stop(0.01)
    go_on.set()
    assert jobs_of.stop(30)


def test_an_expired_lease_of_a_former_time_is_found_by_its_date_alone(db, clock, enqueue) -> None:
    enqueue()
    killed(db, clock)
    with db.write_soft() as connection:
        connection.execute(update(jobs.job).values(since_ms=0, until_ms=1))
    assert runner(db, clock, Work()).drain() == 1
