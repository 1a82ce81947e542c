"""What deleting a repo says, in one sentence."""

from __future__ import annotations

import pytest

from headwater.ground.names import RepoId
from headwater.upkeep.leaving import Leaving, sentence


def rid(name: str) -> RepoId:
    return RepoId("model", "a", name)


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (Leaving(0, 0, 0, 0, (), 0, 0), "Frees 0 bytes."),
        (Leaving(2, 300_000_000, 0, 0, (), 0, 0), "Frees 300 MB."),
        (
            Leaving(2, 999, 1_200_000_000, 3, (rid("b"), rid("c")), 0, 0),
            "Frees 999 bytes. Kept 1.2 GB: 3 repos depend on it (a/b, a/c and 1 more).",
        ),
        (
            Leaving(2, 999_700, 5, 1, (rid("b"),), 1, 7 * 10**12),
            "Frees 1 MB. Kept 5 bytes: 1 repo depends on it (a/b). 1 file stays (7 TB), since other repos hold the same.",
        ),
        (
            Leaving(2, 0, 2_000, 1, (rid("b"),), 0, 0, 19),
            "Frees 0 bytes. Kept 2 kB: 1 repo depends on it (a/b), 19 repos have the same tensors.",
        ),
        (Leaving(2, 0, 2_000, 0, (), 0, 0, 1), "Frees 0 bytes. Kept 2 kB: 1 repo has the same tensors."),
    ],
)
def test_deleting_is_told_in_a_sentence(left: Leaving, said: str) -> None:
    assert sentence(left, 0) == said


@pytest.mark.parametrize(
    ("undelete_s", "said"),
    [
        (7 * 86_400, "7 days"),
        (86_400, "1 day"),
        (36 * 3600, "2 days"),
        (5400, "2 hours"),
        (61, "2 minutes"),
        (1, "1 second"),
    ],
)
def test_the_sentence_says_when_the_space_is_back(undelete_s: int, said: str) -> None:
    left = Leaving(2, 300_000_000, 0, 0, (), 0, 0)
    assert sentence(left, undelete_s) == f"Frees 300 MB in {said}."
