"""A hub of its own for every test, copied from one that was made once; nothing of the machine's settings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "upkeep"))  # importlib mode leaves it out

from hub_building import Hub, copy_of, make_template, memory_folder


@pytest.fixture(scope="session")
def hub_template() -> Iterator[Path]:
    with memory_folder() as folder:
        make_template(folder / "data")
        yield folder / "data"


@pytest.fixture
def a_hub(hub_template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.delenv("HEADWATER_CONFIG", raising=False)
    monkeypatch.setenv("HEADWATER_PUBLIC_URL", "https://hub.test")
    monkeypatch.setenv("COLUMNS", "200")
    with copy_of(hub_template) as opened:
        yield opened
