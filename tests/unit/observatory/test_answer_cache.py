"""The cache of answers: bounded by files and by bytes, the oldest going first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headwater.observatory import answer


@pytest.mark.parametrize(("most", "bound", "left"), [(2, 1 << 30, ["3", "4"]), (100, 250, ["3", "4"]), (100, 99, [])])
def test_the_oldest_answers_go_until_the_others_are_few_and_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, bound: int, left: list[str]
) -> None:
    monkeypatch.setattr(answer, "CACHE_FILES_MAX", most)
    monkeypatch.setattr(answer, "CACHE_BYTES_MAX", bound)
    for number in range(5):
        file = tmp_path / f"{number}.arrow"
        file.write_bytes(bytes(100))
        os.utime(file, (number, number))
    answer._sweep(tmp_path)
    assert sorted(file.stem for file in tmp_path.iterdir()) == left
