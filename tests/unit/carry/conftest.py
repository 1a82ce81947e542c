"""A hub with repos of every sort, a bundle of them, both made once; copies of them and an empty hub for every test."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "upkeep"))  # importlib mode leaves them out
sys.path.insert(0, str(Path(__file__).resolve().parent))

from bundle_building import Bundle, exported, fill
from hub_building import Hub, copy_of, make_template, memory_folder, open_hub


@pytest.fixture(scope="session")
def empty_template() -> Iterator[Path]:
    with memory_folder() as folder:
        make_template(folder / "data")
        yield folder / "data"


@pytest.fixture(scope="session")
def full_template(empty_template: Path) -> Iterator[Path]:
    with memory_folder() as folder:
        shutil.copytree(empty_template, folder / "data")
        (folder / "data" / "secret").unlink()  # another hub has another one
        hub = open_hub(folder / "data")
        fill(hub)
        hub.close()
        yield folder / "data"


@pytest.fixture(scope="session")
def bundle_template(full_template: Path) -> Iterator[Path]:
    with memory_folder() as folder, copy_of(full_template) as hub:
        exported(hub, folder / "bundle")
        yield folder / "bundle"


@pytest.fixture
def source(full_template: Path) -> Iterator[Hub]:
    with copy_of(full_template) as hub:
        yield hub


@pytest.fixture
def target(empty_template: Path) -> Iterator[Hub]:
    with copy_of(empty_template) as hub:
        yield hub


@pytest.fixture
def folder() -> Iterator[Path]:
    with memory_folder() as made:
        yield made


@pytest.fixture
def bundle(bundle_template: Path, folder: Path) -> Bundle:
    shutil.copytree(bundle_template, folder / "bundle")
    return Bundle(folder / "bundle")
