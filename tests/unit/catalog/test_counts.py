"""Counts: downloads that many asked for, not one often; written down in the background; trending that fades."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import select

from headwater.accounts.actor import NOBODY
from headwater.catalog import counts as counts_file
from headwater.catalog.counts import DAY_MS, Asked, Counts, trending, trending_score
from headwater.catalog.downloads import QUERY_FILES, counted
from headwater.catalog.pulls import Moment
from headwater.catalog.tables import download, pull_day
from headwater.ground.errors import Unavailable

DAY_S = 86_400


@pytest.mark.parametrize(
    ("kind", "library", "path", "how"),
    [
        ("model", None, "config.json", "each"),
        ("model", "transformers", "params.json", "each"),
        ("model", None, "sub/config.json", ""),
        ("model", None, "model.safetensors", ""),
        ("model", "timm", "model-Q4_K_M.gguf", "each"),
        ("model", "peft", "adapter_config.json", "each"),
        ("model", "PEFT", "config.json", ""),
        ("model", "sentence-transformers", "modules.json", ""),
        ("model", "diffusers", "model_index.json", "each"),
        ("model", "diffusers", "pixel.safetensors", "each"),
        ("model", "diffusers", "unet/diffusion.safetensors", ""),
        ("model", "diffusers", "unet/config.json", ""),
        ("model", "nemo", "deep/model.nemo", "each"),
        ("model", "tic-clip", "checkpoints/a/b.pt", "each"),
        ("model", "tic-clip", "b.pt", ""),
        ("model", "wan2.2", "high/config.json", "each"),
        ("model", "wan2.2", "high/my_config.json", ""),
        ("dataset", None, "data/train.parquet", "window"),
        ("space", None, "app.py", ""),
    ],
)
def test_a_download_is_what_the_hub_counts_as_one(kind, library, path, how) -> None:
    assert counted(kind, path, library, marked=False) == how
    assert counted(kind, path, library, marked=True) == (how or ("" if kind == "space" else "marked"))


def test_every_library_has_files_that_can_be_asked_for() -> None:
    assert len(QUERY_FILES) > 100
    for library, patterns in QUERY_FILES.items():
        assert library == library.lower()
        for pattern in patterns:
            example = pattern.removeprefix("/").replace("**/", "deep/").replace("*", "name")
            assert counted("model", example, library, marked=False) == "each", (library, pattern)


@pytest.fixture
def repo(hub, known) -> int:
    made = hub.repo("o/m")
    known.catch_up()
    return made


def figures(known, repo_id: int) -> tuple[int, int]:
    row = known.index.known(repo_id)
    return row.downloads, row.downloads_all


def test_what_was_noted_is_in_lists_after_a_flush(known, repo, counts) -> None:
    counts.note(repo, "a")
    counts.note(repo, "b")
    assert figures(known, repo) == (0, 0)
    assert counts.flush() == 1
    assert figures(known, repo) == (2, 2)
    assert counts.flush() == 0


def asked(repo: int, clock, path: str = "config.json", client: str = "a", **other) -> Asked:
    given = {"kind": "model", "agent": "hf/2.4", "marked": False, "head": False, "sent_bytes": 7, **other}
    at = Moment(clock.now_ms(), clock.tick_s())
    return Asked(repo_id=repo, path=path, commit="c" * 40, client=client, at=at, **given)


def test_requests_are_told_apart_at_the_flush_by_when_they_came(known, db, repo, counts, clock) -> None:
    until_midnight_s = (DAY_MS - clock.now_ms() % DAY_MS) / 1000
    clock.advance(until_midnight_s - 1)
    day = clock.now_ms() // DAY_MS
    counts.asked(asked(repo, clock, head=True))
    counts.asked(asked(repo, clock))
    counts.asked(asked(repo, clock, "model.safetensors"))
    counts.asked(asked(repo, clock, "model.safetensors", client="b"))
    counts.asked(asked(repo, clock, "README.md", client="c"))
    clock.advance(2)
    counts.flush()
    with db.read() as connection:
        row = connection.execute(select(pull_day).where(pull_day.c.day == day)).one()
    assert (row.heads, row.pulls, row.bytes, row.clients) == (1, 2, 14, 3)
    assert figures(known, repo) == (2, 2)


def test_many_requests_are_told_apart_before_anybody_asks(repo, counts, clock) -> None:
    for number in range(counts_file.ASKED_MAX):
        assert counts.pulls.take() == {}
        counts.asked(asked(repo, clock, client=f"client {number}"))
    ((_, used),) = counts.pulls.take().items()
    assert used.clients == counts_file.ASKED_MAX


def test_T74_ten_thousand_requests_of_one_client_trend_as_one(known, hub, repo, counts, clock) -> None:
    other = hub.repo("o/other")
    known.catch_up()
    for number in range(10_000):
        counts.asked(asked(repo, clock, head=number % 2 == 0))
    counts.asked(asked(other, clock))
    counts.flush()
    # the count is the Hub's own, and comparable with it: every request for a query file
    assert figures(known, repo) == (10_000, 10_000)
    assert known.index.known(repo).trending == known.index.known(other).trending


def test_files_of_a_data_set_that_one_client_asks_for_in_five_minutes_are_one_download(
    known, hub, counts, clock
) -> None:
    repo = hub.repo("o/data")
    known.catch_up()
    for client in "aab":
        counts.asked(asked(repo, clock, f"{client}.parquet", client=client, kind="dataset"))
    clock.advance(300)
    counts.asked(asked(repo, clock, "a.parquet", kind="dataset"))
    counts.flush()
    assert figures(known, repo) == (3, 3)


def test_who_says_that_he_downloads_counts_once_where_he_asks_for_no_query_file(
    known, hub, repo, counts, clock
) -> None:
    bare = hub.repo("o/bare")
    known.catch_up()
    for path in ("README.md", "a.safetensors", "b.safetensors", "config.json"):
        for head in (True, False):
            counts.asked(asked(repo, clock, path, marked=True, head=head))
            if path != "config.json":
                counts.asked(asked(bare, clock, path, marked=True, head=head))
    counts.flush()
    assert figures(known, repo) == (2, 2)
    assert figures(known, bare) == (1, 1)
    counts.asked(asked(bare, clock, "a.safetensors", marked=True))
    counts.flush()
    assert figures(known, bare) == (1, 1)


def test_T74_a_client_that_comes_all_day_counts_by_window_and_trends_once(known, repo, counts, clock) -> None:
    for _ in range(12):
        for _ in range(100):
            counts.note(repo, "eager")
        counts.flush()
        clock.advance(300)
    assert figures(known, repo) == (12, 12)
    once = trending([((clock.now_ms() // DAY_MS) * DAY_MS, 1.0)])
    assert known.index.known(repo).trending == pytest.approx(once)


def test_T11_a_clock_set_back_and_forth_opens_no_new_window(known, repo, counts, clock) -> None:
    for step in (0, -1000, DAY_MS, -DAY_MS, 1000):
        clock.at_ms += step
        counts.note(repo, "a")
    counts.flush()
    assert figures(known, repo) == (1, 1)


def test_T11_a_day_counted_by_a_wrong_clock_does_not_trend_for_ever(known, hub, repo, counts, clock) -> None:
    clock.at_ms += 1000 * DAY_MS
    counts.note(repo, "a")
    counts.flush()
    clock.at_ms -= 1000 * DAY_MS
    honest = hub.repo("o/honest")
    known.catch_up()
    for client in "abc":
        counts.note(honest, client)
    counts.flush()
    known.index.index(repo)
    assert figures(known, repo) == (1, 1)
    assert known.list(NOBODY)[0] == "o/honest"


def test_no_client_is_written_down_and_the_salt_changes_every_day(db, repo, counts, clock) -> None:
    counts.note(repo, "192.0.2.77")
    counts.flush()
    salt = counts._salt
    clock.advance(DAY_S)
    counts.note(repo, "192.0.2.77")
    assert counts._salt != salt
    counts.flush()
    assert b"192.0.2.77" not in db.path.read_bytes()
    with db.read() as connection:
        assert [tuple(row) for row in connection.execute(select(download.c.count, download.c.clients))] == [
            (1, 1),
            (1, 1),
        ]


def test_after_thirty_days_a_download_is_no_longer_recent_and_after_sixty_the_days_are_one(
    db, known, repo, counts, clock
) -> None:
    counts.note(repo, "a")
    counts.flush()
    clock.advance(29 * DAY_S)
    counts.note(repo, "b")
    counts.flush()
    assert figures(known, repo) == (2, 2)
    clock.advance(DAY_S)
    counts.flush()
    assert figures(known, repo) == (1, 2)
    clock.advance(60 * DAY_S)
    counts.flush()
    assert figures(known, repo) == (0, 2)
    with db.read() as connection:
        assert [(repo, 0, 2, 0)] == [tuple(row) for row in connection.execute(select(download))]


def test_a_day_s_change_is_worked_off_in_batches(hub, known, counts, clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts_file, "BATCH", 2)
    monkeypatch.setattr(counts_file, "_LEAVING", counts_file._LEAVING.limit(2))
    monkeypatch.setattr(counts_file, "ROLL_BATCHES", 1)
    made = [hub.repo(f"o/m{number}") for number in range(5)]
    known.catch_up()
    for repo_id in made:
        counts.note(repo_id, "a")
    counts.flush()
    clock.advance(31 * DAY_S)
    for _ in range(4):
        counts.flush()
    assert [figures(known, repo_id) for repo_id in made] == [(0, 1)] * 5


def test_what_cannot_be_written_now_is_written_later(known, repo, counts, db, monkeypatch: pytest.MonkeyPatch) -> None:
    counts.note(repo, "a")
    with monkeypatch.context() as patched:
        patched.setattr(db, "write_soft", lambda: (_ for _ in ()).throw(Unavailable("busy")))
        with pytest.raises(Unavailable):
            counts.flush()
    counts.note(repo, "b")
    counts.flush()
    assert figures(known, repo) == (2, 2)


def test_flushes_come_seconds_apart(repo, counts, clock) -> None:
    counts.note(repo, "a")
    assert counts.flush_due() == 0
    clock.advance(5)
    assert counts.flush_due() == 1


def test_downloads_of_a_repo_that_is_gone_are_dropped(repo, counts) -> None:
    counts.note(10**6, "a")
    counts.note(repo, "a")
    assert counts.flush() == 2


def test_memory_is_bounded_whoever_asks(repo, db, clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts_file, "SEEN_MAX", 100)
    monkeypatch.setattr(counts_file, "NOTED_MAX", 10)
    counts = Counts(db, clock)
    for number in range(1000):
        counts.note(repo, f"client {number}")
        counts.note(number, "one")
    assert len(counts._recent) <= 100
    assert len(counts._today) <= 100
    assert len(counts._noted) <= 10


def test_threads_lose_no_note(known, repo, counts) -> None:
    def many(name: str) -> None:
        for number in range(500):
            counts.note(repo, f"{name} {number}")
            if number % 100 == 0:
                counts.flush()

    threads = [threading.Thread(target=many, args=(f"thread {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts.flush()
    assert figures(known, repo) == (2000, 2000)


def test_trending_halves_with_time_and_keeps_its_order() -> None:
    now_ms = 1_767_225_600_000
    half_ms = counts_file.HALF_LIFE_MS
    assert trending([]) == 0.0
    assert trending_score(0.0, now_ms) == 0.0
    assert trending_score(trending([(now_ms, 8.0)]), now_ms) == 8.0
    assert trending_score(trending([(now_ms, 8.0)]), now_ms + half_ms) == 4.0
    assert trending_score(trending([(now_ms - half_ms, 8.0), (now_ms, 1.0)]), now_ms) == 5.0
    assert trending([(now_ms, 5.0)]) > trending([(now_ms - half_ms, 8.0)])
    assert trending([(10**30, 1e300), (0, 1.0), (-5, 1.0)]) > 0


def test_likes_trend_more_than_downloads_and_old_ones_fade(hub, known, counts, clock) -> None:
    old, new, loaded = (hub.repo(f"o/{name}") for name in ("old", "new", "loaded"))
    hub.like("ann", old)
    hub.like("bob", old)
    clock.advance(20 * DAY_S)
    hub.like("ann", new)
    counts.note(loaded, "x")
    counts.flush()
    known.catch_up()
    assert known.list(NOBODY, sort="likes")[0] == "o/old"
    assert known.list(NOBODY, sort="trendingScore") == ["o/new", "o/old", "o/loaded"] or known.list(
        NOBODY, sort="trendingScore"
    ) == ["o/new", "o/loaded", "o/old"]
