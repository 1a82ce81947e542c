"""How numbers, sizes, times and addresses are written for people."""

from __future__ import annotations

import pytest

from headwater.front.pages import present
from headwater.front.pages.present import CommitLine
from headwater.ground.names import RepoId

DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1k"),
        (12_345, "12.3k"),
        (22_713_728, "22.7M"),
        (7_241_732_096, "7.24B"),
        (10**12, "1T"),
    ],
)
def test_counts_have_three_digits(number: int, written: str) -> None:
    assert written == present.count(number)


@pytest.mark.parametrize(
    ("size_bytes", "written"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1 kB"), (90_868_376, "90.9 MB"), (5 * 10**12, "5 TB")],
)
def test_sizes_are_in_powers_of_ten(size_bytes: int, written: str) -> None:
    assert written == present.size(size_bytes)


@pytest.mark.parametrize(
    ("ago_ms", "written"),
    [
        (0, "just now"),
        (61_000, "1 minute ago"),
        (7_200_000, "2 hours ago"),
        (3 * DAY_MS, "3 days ago"),
        (400 * DAY_MS, "1 year ago"),
    ],
)
def test_ages_name_the_largest_unit(ago_ms: int, written: str) -> None:
    assert written == present.age(10**12, 10**12 - ago_ms)


def test_a_time_in_the_future_is_just_now() -> None:
    assert present.age(1000, 10**12) == "just now"


def test_a_revision_travels_as_one_segment_and_hostile_paths_stay_paths() -> None:
    rid = RepoId("dataset", "ada", "rivers")
    assert present.tree_path(rid, "refs/pr/1") == "/datasets/ada/rivers/tree/refs%2Fpr%2F1"
    assert present.blob_path(rid, "main", "a b/<x>?#.txt") == "/datasets/ada/rivers/blob/main/a%20b/%3Cx%3E%3F%23.txt"


def test_shares_cover_the_bar_once_and_the_smallest_dtypes_are_one() -> None:
    parameters = {f"T{place}": 2**place for place in range(9)}
    made = present.shares(parameters)
    assert len(made) == present.DTYPE_CLASSES
    assert made[-1].label == "other"
    assert sum(parameters.values()) == sum(one.count for one in made)
    assert sum(one.width for one in made) == pytest.approx(100, abs=0.1)
    assert [one.start for one in made] == sorted(one.start for one in made)


def test_a_model_without_parameters_has_an_empty_bar() -> None:
    assert present.shares({}) == ()


def test_empty_parameters_are_left_out_of_an_address() -> None:
    assert present.with_query("/models", [("search", "a b&c"), ("sort", "")]) == "/models?search=a+b%26c"
    assert present.with_query("/models", []) == "/models"


def test_commits_are_grouped_by_day_in_the_order_given() -> None:
    commits = [CommitLine("a" * 40, str(place), 10**12 - place * DAY_MS // 2) for place in range(4)]
    days = present.by_day(commits)
    assert [one.title for _, lines in days for one in lines] == ["0", "1", "2", "3"]
    assert len(days) > 1
