"""The child that seals: how it is started."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from headwater.ground.clock import FixedClock
from headwater.store import sealing
from headwater.store.sealing import Supervisor


class _Started:
    """In place of a process: what it was started with."""

    environments: list[dict[str, str]] = []  # noqa: RUF012 - emptied by the fixture
    stdin = None

    def __init__(self, _words: list[str], **given: Any) -> None:
        self.environments.append(given["env"])

    def poll(self) -> int | None:
        return None

    def terminate(self) -> None:
        pass

    def wait(self, _wait_s: float | None = None) -> int:
        return 0


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    monkeypatch.setattr(subprocess, "Popen", _Started)
    _Started.environments.clear()
    return _Started.environments


def _one(store: Path) -> Supervisor:
    supervisor = Supervisor(("store", "work"), store, FixedClock(), lambda: True)
    supervisor.begin()
    supervisor.look()
    return supervisor


def test_the_child_computes_on_one_core(tmp_path: Path, started: list[dict[str, str]]) -> None:
    _one(tmp_path).stop()
    assert {name: started[0][name] for name in sealing.ONE_CORE} == sealing.ONE_CORE


def test_whoever_says_how_many_cores_is_believed(
    tmp_path: Path, started: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    _one(tmp_path).stop()
    assert started[0]["OMP_NUM_THREADS"] == "4"
    assert started[0]["OPENBLAS_NUM_THREADS"] == "1"


def test_only_one_child_runs_at_a_time(tmp_path: Path, started: list[dict[str, str]]) -> None:
    supervisor = _one(tmp_path)
    supervisor.look()
    supervisor.stop()
    assert len(started) == 1
