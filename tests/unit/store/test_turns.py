"""How many checks are under way at once: what does not fit waits, and beyond a number the next one is refused."""

from __future__ import annotations

import threading

import pytest

from headwater.ground.errors import Unavailable
from headwater.store.turns import Turns


class Check(threading.Thread):
    """A check that waits for room and then stays as long as `end` is not called."""

    def __init__(self, turns: Turns, size: int) -> None:
        super().__init__(daemon=True)
        self._turn = turns.take(size)
        self.began, self._over = threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        with self._turn:
            self.began.set()
            self._over.wait(10)

    def end(self) -> None:
        self._over.set()
        self.join(10)


def test_what_does_not_fit_waits_and_smaller_ones_pass_it() -> None:
    turns = Turns(9, 100)
    first = Check(turns, 70)
    assert first.began.wait(10)
    large, small = Check(turns, 60), Check(turns, 30)
    assert small.began.wait(10)
    assert not large.began.is_set()
    first.end()
    assert large.began.wait(10)
    for check in (large, small):
        check.end()


def test_one_that_is_larger_than_all_the_room_has_it_alone() -> None:
    turns = Turns(9, 100)
    large = Check(turns, 1000)
    assert large.began.wait(10)
    small = Check(turns, 1)
    assert not small.began.is_set()
    large.end()
    assert small.began.wait(10)
    small.end()


def test_too_many_are_refused_and_told_to_come_again() -> None:
    turns = Turns(2, 100)
    checks = [Check(turns, 1), Check(turns, 1)]
    with pytest.raises(Unavailable, match="try again") as refused:
        turns.take(1)
    assert refused.value.headers["Retry-After"] == "10"
    for check in checks:
        check.end()
    with pytest.raises(ZeroDivisionError), turns.take(1):  # what fails gives its turn back
        _ = 1 // 0
    for check in (Check(turns, 1), Check(turns, 1)):
        check.end()
