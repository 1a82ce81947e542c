"""Pulls: who took weights, once in five minutes; clients of a day by a hash that ends with it; bounded, and no address."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import select

from headwater.catalog import pulls as pulls_file
from headwater.catalog.counts import Counts
from headwater.catalog.pulls import DAY_MS, KEPT_DAYS, Pulls, Used, Visitor, is_weights
from headwater.catalog.tables import pull_day
from headwater.ground.errors import Unavailable

DAY_S = 86_400
COMMIT, OTHER = "a" * 40, "b" * 40
ADA, BOB = Visitor("192.0.2.77"), Visitor("192.0.2.78")
ROBOT = Visitor("192.0.2.99", ci=True)


@pytest.fixture
def repo(hub, known) -> int:
    made = hub.repo("o/m")
    known.catch_up()
    return made


def days(db, repo_id: int) -> dict[int, Used]:
    with db.read() as connection:
        found = connection.execute(select(pull_day).where(pull_day.c.repo_id == repo_id).order_by(pull_day.c.day))
        return {row.day: Used(*row[2:]) for row in found}


def day(db, repo_id: int) -> Used:
    (used,) = days(db, repo_id).values()
    return used


@pytest.mark.parametrize(
    ("kind", "path", "weights"),
    [
        ("model", "model-00001-of-00002.safetensors", True),
        ("model", "sub/model-Q4_K_M.gguf", True),
        ("model", "pytorch_model.bin", True),
        ("model", "checkpoint-5/optimizer.pt", False),
        ("model", "tokenizer.json", False),
        ("model", "tokenizer.model", False),
        ("model", "config.json", False),
        ("dataset", "data/train-00000-of-00001.parquet", True),
        ("dataset", "README.md", False),
        ("space", "model.safetensors", False),
    ],
)
def test_weights_are_told_by_the_ending_of_the_name(kind, path, weights) -> None:
    assert is_weights(kind, path) is weights


@pytest.mark.parametrize(
    ("agent", "ci"),
    [
        ("transformers/4.57.0; python/3.11.2; session_id/0; torch/2.9; is_ci/true; hf_hub/1.28", True),
        ("transformers/4.57.0; python/3.11.2; session_id/0; torch/2.9; hf_hub/1.28", False),
        ("GitLab-Runner 17.2", True),
        ("git-lfs/3.4.1 (GitHub; linux amd64; go 1.22)", False),
        ("unknown/None; hf_hub/2.4.0; python/3.11.2", False),
        ("", False),
        ("x" * 1_000_000 + "is_ci/true", False),
    ],
)
def test_an_agent_of_ci_is_told_by_what_it_says(agent, ci) -> None:
    assert Visitor.of("192.0.2.1", agent) == ("192.0.2.1", ci)


def test_files_and_ranges_of_one_commit_are_one_pull_of_one_client_in_a_window(repo, db, counts, clock) -> None:
    for size_bytes in (100, 20, 3):
        counts.pulls.weights(repo, COMMIT, ADA, size_bytes)
    counts.pulls.weights(repo, OTHER, ADA, 1000)
    counts.pulls.weights(repo, COMMIT, BOB, 1000)
    clock.advance(300)
    counts.pulls.weights(repo, COMMIT, ADA, 1000)
    assert counts.flush() == 1
    assert day(db, repo) == Used(pulls=4, clients=2, bytes=3123)


def test_ci_and_heads_are_apart_and_only_people_are_clients(repo, db, counts) -> None:
    counts.pulls.weights(repo, COMMIT, ROBOT, 10)
    counts.pulls.head(repo, ROBOT)
    counts.pulls.head(repo, ADA)
    counts.pulls.head(repo, ADA)
    counts.pulls.file(repo, BOB)
    counts.flush()
    assert day(db, repo) == Used(pulls_ci=1, heads=3, clients=2, bytes=10)


def test_an_answer_without_bytes_is_no_pull(repo, db, counts) -> None:
    counts.pulls.weights(repo, COMMIT, ADA, 0)
    counts.flush()
    assert day(db, repo) == Used(clients=1)


def test_downloads_are_kept_with_their_day_for_years(repo, db, counts, clock) -> None:
    first = clock.now_ms() // DAY_MS
    for _ in range(100):
        counts.note(repo, "a")
        counts.flush()
        clock.advance(DAY_S)
    assert list(days(db, repo)) == [first + number for number in range(100)]
    assert {used.downloads for used in days(db, repo).values()} == {1}


def test_midnight_turns_the_salt_and_no_address_is_written(repo, db, counts, clock) -> None:
    until_midnight_s = (DAY_MS - clock.now_ms() % DAY_MS) / 1000
    clock.advance(until_midnight_s - 1)
    counts.pulls.weights(repo, COMMIT, ADA, 1)
    counts.pulls.weights(repo, COMMIT, ADA, 1)
    before = counts.pulls._day_salt, set(counts.pulls._today)
    clock.advance(1)
    counts.pulls.weights(repo, COMMIT, ADA, 1)
    after = counts.pulls._day_salt, set(counts.pulls._today)
    assert before[0] != after[0]
    assert not before[1] & after[1]
    counts.flush()
    # the window goes on over midnight, the day does not
    assert list(days(db, repo).values()) == [Used(pulls=1, clients=1, bytes=2), Used(clients=1, bytes=1)]
    for path in db.path.parent.iterdir():
        assert ADA.address.encode() not in path.read_bytes()


def test_T11_a_clock_set_back_and_forth_opens_no_new_window(repo, db, counts, clock) -> None:
    for step_ms in (0, -1000, DAY_MS, -DAY_MS, 1000):
        clock.at_ms += step_ms
        counts.pulls.weights(repo, COMMIT, ADA, 1)
    counts.flush()
    assert sum(used.pulls for used in days(db, repo).values()) == 1


def test_a_restart_loses_only_what_came_after_the_last_flush(repo, db, counts, clock) -> None:
    counts.pulls.weights(repo, COMMIT, ADA, 5)
    clock.advance(5)
    counts.flush_due()
    counts.pulls.weights(repo, OTHER, ADA, 7)
    again = Counts(db, clock)
    again.pulls.weights(repo, COMMIT, BOB, 11)
    again.flush()
    assert day(db, repo) == Used(pulls=2, clients=2, bytes=16)


def test_what_cannot_be_written_now_is_written_later(repo, db, counts, monkeypatch: pytest.MonkeyPatch) -> None:
    counts.note(repo, "a")
    counts.pulls.weights(repo, COMMIT, ADA, 5)
    with monkeypatch.context() as patched:
        patched.setattr(db, "write_soft", lambda: (_ for _ in ()).throw(Unavailable("busy")))
        with pytest.raises(Unavailable):
            counts.flush()
    counts.pulls.weights(repo, COMMIT, ADA, 6)
    counts.flush()
    assert day(db, repo) == Used(downloads=1, pulls=1, clients=1, bytes=11)


def test_a_repo_that_is_gone_is_passed_over(repo, db, counts) -> None:
    counts.pulls.weights(10**6, COMMIT, ADA, 5)
    counts.pulls.weights(repo, COMMIT, ADA, 5)
    counts.flush()
    assert day(db, repo).pulls == 1
    assert days(db, 10**6) == {}


def test_many_repos_are_written_in_batches(hub, known, db, counts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.catalog.counts.BATCH", 2)
    made = [hub.repo(f"o/m{number}") for number in range(5)]
    known.catch_up()
    for repo_id in made:
        counts.pulls.weights(repo_id, COMMIT, ADA, 5)
    assert counts.flush() == 5
    assert [day(db, repo_id).pulls for repo_id in made] == [1] * 5


def test_days_older_than_three_years_are_forgotten_in_batches(
    repo, db, counts, clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulls_file, "FORGET_ROWS", 2)
    for _ in range(5):
        counts.pulls.weights(repo, COMMIT, ADA, 5)
        counts.flush()
        clock.advance(DAY_S)
    clock.advance((KEPT_DAYS - 2) * DAY_S)
    counts.pulls.weights(repo, COMMIT, ADA, 5)
    for _ in range(3):
        counts.flush()
    oldest = clock.now_ms() // DAY_MS - KEPT_DAYS
    assert len(days(db, repo)) == 3
    assert min(days(db, repo)) == oldest


def test_memory_is_bounded_whoever_asks(repo, db, clock, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in (("SEEN_MAX", 100), ("NOTED_MAX", 10), ("OTHERS_MAX", 10)):
        monkeypatch.setattr(pulls_file, name, most)
    pulls = Pulls(clock)
    for number in range(1000):
        pulls.weights(repo, COMMIT, Visitor(f"client {number}"), 1)
        pulls.head(number + 2, ADA)
        pulls.no_weights(f"{number:064x}")
    assert len(pulls._window) <= 100
    assert len(pulls._today) <= 100
    assert len(pulls._used) <= 10
    assert len(pulls._others) <= 10
    assert pulls.take()[repo, clock.now_ms() // DAY_MS].bytes == 1000


def test_what_a_name_says_is_no_weights_is_remembered(clock) -> None:
    pulls = Pulls(clock)
    assert pulls.may_be_weights("c" * 64)
    pulls.no_weights("c" * 64)
    assert not pulls.may_be_weights("c" * 64)


def test_threads_lose_no_note(repo, db, counts) -> None:
    def many(name: str) -> None:
        for number in range(500):
            counts.pulls.weights(repo, COMMIT, Visitor(f"{name} {number}"), 2)
            if number % 100 == 0:
                counts.flush()

    threads = [threading.Thread(target=many, args=(f"thread {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts.flush()
    assert day(db, repo) == Used(pulls=2000, clients=2000, bytes=4000)


@pytest.mark.parametrize("odd", ["", "\ud800", "a b", "::1%eth0", "\0"])
def test_any_address_can_be_hashed(repo, counts, odd: Any) -> None:
    counts.pulls.weights(repo, odd, Visitor(odd), 1)
    assert counts.flush() == 1
