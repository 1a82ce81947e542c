"""Named places where a test may end the process; nothing happens anywhere else."""

from __future__ import annotations

import signal

import pytest

from headwater.ground import faults


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    signals: list[int] = []
    monkeypatch.setattr(faults.os, "kill", lambda _pid, number: signals.append(number))
    monkeypatch.setattr(faults, "_AT", "object-landed")
    monkeypatch.setattr(faults, "_left", 2)
    return signals


def test_the_process_ends_at_the_nth_time_and_only_there(killed: list[int]) -> None:
    faults.checkpoint("object-landed")
    faults.checkpoint("object-written")
    assert killed == []
    faults.checkpoint("object-landed")
    faults.checkpoint("object-landed")
    assert killed == [signal.SIGKILL]


def test_without_a_test_at_work_nothing_ends(killed: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "_AT", "")
    faults.checkpoint("")
    faults.checkpoint("object-landed")
    assert killed == []
