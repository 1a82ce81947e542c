"""What the linters say of the whole project: ruff's rules, its formatting, and mypy --strict on the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("headwater", "scripts", "tests", "benchmarks")
LIMIT_S = 280  # mypy without a cache takes about 40 s on two idle cores


def said(*arguments: str) -> tuple[int, str]:
    """Exit status and output of one of the linters, run as a module of this interpreter's environment."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_ruff_finds_nothing() -> None:
    status, output = said("ruff", "check", *FOLDERS)
    assert status == 0, output


def test_everything_is_formatted() -> None:
    status, output = said("ruff", "format", "--check", *FOLDERS)
    assert status == 0, output


def test_mypy_finds_nothing() -> None:
    status, output = said("mypy")
    assert status == 0, output


def test_a_type_error_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text('"""Wrong."""\n\n\ndef size() -> int:\n    return "one"\n')
    status, output = said("mypy", "--config-file", "pyproject.toml", str(tmp_path / "wrong.py"))
    assert status != 0
    assert "Incompatible return value type" in output


def test_a_lint_error_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text('"""Wrong."""\n\nimport os\n')
    status, output = said("ruff", "check", "--config", "pyproject.toml", str(tmp_path / "wrong.py"))
    assert status != 0
    assert "F401" in output
