"""Time as people see it, and time that never goes back."""

from __future__ import annotations

import pytest

from headwater.ground.clock import FixedClock, SystemClock, iso


@pytest.mark.parametrize(
    ("at_ms", "expected"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_660_893_578_123, "2022-08-19T07:19:38.123Z"),
        (1_767_225_599_999, "2025-12-31T23:59:59.999Z"),
    ],
)
def test_times_are_written_in_the_one_form_that_clients_parse(at_ms: int, expected: str) -> None:
    assert iso(at_ms) == expected


def test_T11_the_ticks_of_a_running_process_never_go_back() -> None:
    clock = SystemClock()
    ticks = [clock.tick_s() for _ in range(1000)]
    assert ticks == sorted(ticks)


def test_wall_time_is_in_milliseconds() -> None:
    assert iso(SystemClock().now_ms()) > "2025"


@pytest.mark.parametrize("clock", [SystemClock(), FixedClock()])
def test_tokens_are_hex_of_the_length_asked_for_and_differ(clock: SystemClock | FixedClock) -> None:
    tokens = {clock.token(16) for _ in range(100)}
    assert len(tokens) == 100
    assert {len(bytes.fromhex(token)) for token in tokens} == {16}


def test_a_fixed_clock_stands_until_it_is_moved() -> None:
    clock = FixedClock(1000)
    before = (clock.now_ms(), clock.tick_s())
    assert before == (clock.now_ms(), clock.tick_s())
    clock.advance(2.5)
    assert (clock.now_ms() - before[0], clock.tick_s() - before[1]) == (2500, 2.5)
