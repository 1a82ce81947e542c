"""What docs/how-to/carry-across-an-air-gap.md tells people to type works as it stands."""

from __future__ import annotations

import sys
from pathlib import Path

from bundle_building import VERIFIER

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "docs"))  # importlib mode leaves it out

import doc_running as docs  # noqa: E402 - after the path


def test_the_steps_on_one_machine_work(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "how-to" / "carry-across-an-air-gap.md").read_text()
    assert len(docs.steps(text)) > 6
    (tmp_path / "verify_bundle.py").symlink_to(VERIFIER)
    assert docs.play(text, tmp_path, docs.environment(tmp_path), docs.ADDRESS, limit_s=120) == []
