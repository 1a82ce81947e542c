"""A hub on which everybody works at once over a handful of names: five minutes with `make soak`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHURN = Path(__file__).resolve().parent / "churn_run.py"
CHURN_S = float(os.environ.get("HEADWATER_CHURN_S", "300"))


@pytest.mark.soak
@pytest.mark.timeout(2 * CHURN_S + 900)
def test_a_hub_on_which_everything_collides_answers_keeps_and_comes_to_rest(capfd: pytest.CaptureFixture[str]) -> None:
    with capfd.disabled():
        done = subprocess.run([sys.executable, str(CHURN), "--seconds", str(CHURN_S)], check=False)
    assert done.returncode == 0


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_churn_that_finds_something_ends_with_1_says_the_seed_and_keeps_the_data(tmp_path: Path) -> None:
    broken = (
        "import churn_run, sys; after = churn_run.after;"
        "churn_run.after = lambda before, edits: {**after(before, edits), 'never': 'sent'}; sys.exit(churn_run.main())"
    )
    words = ["--seconds", "8", "--seed", "8", "--threads", "2", "--data", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", broken, *words], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(CHURN.parent)},
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "is not what was sent" in done.stdout
    assert "FAILED with seed 8" in done.stdout
    (kept,) = tmp_path.iterdir()
    assert str(kept) in done.stdout
    figures = [line for line in done.stdout.splitlines() if line.startswith("churn: {")]
    assert json.loads(figures[-1].removeprefix("churn: "))["failures"] > 0
