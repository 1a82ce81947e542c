"""A store in use by several processes that are killed all the time: briefly with every run, for an hour with `make soak`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOAK = Path(__file__).resolve().parents[1] / "soak" / "soak_run.py"
SOAK_S = float(os.environ.get("HEADWATER_SOAK_S", "3600"))
KILLS_MIN = 12


def _soaked(*words: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, the figures of the last line, and all that was said."""
    done = subprocess.run([sys.executable, str(SOAK), *words], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("soak: {")]
    return done.returncode, json.loads(told[-1].removeprefix("soak: ")) if told else {}, said


@pytest.mark.timeout(120)
def test_T28_T29_a_store_whose_processes_are_killed_a_dozen_times_has_every_file_whole() -> None:
    status, figures, said = _soaked(
        "--seconds", "5", "--seed", "7", "--files", "24", "--audit-every", "6", "--kills-min", str(KILLS_MIN),
    )  # fmt: skip
    assert status == 0, said
    assert figures["kills"] >= KILLS_MIN
    assert figures["audits"] >= 2
    assert figures["restored"].get("right", 0) > 0
    assert {"put done", "put.xet done"} <= figures["counts"].keys()
    assert sum(count for name, count in figures["counts"].items() if name.startswith("seal ")) > 0


def test_a_soak_that_finds_something_ends_with_1_says_the_seed_and_keeps_the_data(tmp_path: Path) -> None:
    broken = (
        "import soak_run, soak_lives; soak_lives.Life.whole = lambda *_: 1 / 0; import sys; sys.exit(soak_run.main())"
    )
    words = ["--seconds", "3", "--seed", "8", "--files", "3", "--data", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", broken, *words], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(SOAK.parent)},
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "ZeroDivisionError" in done.stdout
    assert "FAILED with seed 8" in done.stdout
    (kept,) = tmp_path.iterdir()
    assert str(kept) in done.stdout


@pytest.mark.soak
@pytest.mark.timeout(2 * SOAK_S + 900)
def test_T28_T29_a_store_survives_an_hour_of_kill_9_and_comes_back_bit_for_bit(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with capfd.disabled():
        done = subprocess.run([sys.executable, str(SOAK), "--seconds", str(SOAK_S)], check=False)
    assert done.returncode == 0
