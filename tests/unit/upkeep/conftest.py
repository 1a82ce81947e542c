"""A hub of its own for every test, copied from one that was made once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # importlib mode leaves it out; our modules import each other

from hub_building import Hub, copy_of, make_template, memory_folder


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    with memory_folder() as folder:
        make_template(folder / "data")
        yield folder / "data"


@pytest.fixture
def hub(template: Path) -> Iterator[Hub]:
    with copy_of(template) as opened:
        yield opened
