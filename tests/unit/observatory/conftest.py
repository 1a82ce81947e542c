"""Worlds in temporary folders, and tiny sources made by code; `shared` is the project's shared data, where it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headwater.observatory.imports.door import Report, import_source
from headwater.observatory.imports.job import Options, Silent
from headwater.observatory.run import run
from headwater.observatory.world import World

SHARED = Path(__file__).resolve().parents[4] / "shared/data"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "observatory")


@pytest.fixture
def shared() -> Path:
    if not (SHARED / "MANIFEST.json").is_file():
        pytest.skip(f"the shared data is not at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, dict[str, Report]]:
    """All of the shared data, imported once: the world, and the reports by name."""
    if not (SHARED / "MANIFEST.json").is_file():
        pytest.skip(f"the shared data is not at {SHARED}")
    made = World(tmp_path_factory.mktemp("shared") / "observatory")
    return made, {report.name: report for report in import_source(made, str(SHARED), Options(), Silent())}


@pytest.fixture
def take(world: World) -> Callable[..., Report]:
    """Imports one source: `take(path, name="x")`."""

    def taken(source: Path | str, **options: Any) -> Report:
        (report,) = import_source(world, str(source), Options(**options), Silent())
        return report

    return taken


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., Path]:
    """A Parquet file of columns: `parquet("a.parquet", id=[...], likes=[...])`."""

    def made(file: str, **columns: list[Any]) -> Path:
        path = tmp_path / file
        pq.write_table(pa.table(dict(columns)), path)
        return path

    return made


@pytest.fixture(scope="session")
def worlds_made() -> dict[str, Path]:
    return {}


@pytest.fixture
def listed(
    world: World, take: Callable[..., Report], parquet: Callable[..., Path], worlds_made: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., World]:  # fmt: skip
    """A world with one listing, `listed("a.parquet", columns, name="x")`, made once and copied for every other test."""

    def made(file: str, columns: dict[str, list[Any]], **options: Any) -> World:
        key = repr((file, columns, options))
        if key in worlds_made:
            shutil.copytree(worlds_made[key], world.root)
        else:
            take(parquet(file, **columns), **options)
            worlds_made[key] = shutil.copytree(world.root, tmp_path_factory.mktemp("listed") / "observatory")
        return world

    return made


@pytest.fixture
def ask(world: World) -> Callable[..., list[dict[str, Any]]]:
    """Rows of one SELECT over all snapshots."""

    def asked(sql: str, *params: object) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = run(world, sql, params, world.snapshots()).to_pylist()
        return rows

    return asked
