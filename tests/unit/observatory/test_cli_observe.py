"""The commands, as a person types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from headwater.cli.observe import observatory
from headwater.ground.errors import EntryMissing, Invalid
from headwater.observatory.imports.door import import_source
from headwater.observatory.imports.job import Options, Silent
from headwater.observatory.run import Engine
from headwater.observatory.world import World

MADE = "2026-01-01T00:00:00.000Z"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "models_2026-05-01.parquet"
    pq.write_table(pa.table({"id": ["a/x", "[red]b", "a/y"], "createdAt": [MADE] * 3, "likes": [1, 2, -3]}), path)
    return path


def typed(tmp_path: Path, *words: str) -> Result:
    return CliRunner().invoke(observatory, [words[0], *words[1:], "--data", str(tmp_path / "data")])


def test_an_import_says_what_it_made_and_what_it_could_not_read(tmp_path: Path, source: Path) -> None:
    result = typed(tmp_path, "import", str(source))
    assert result.exit_code == 0
    assert "models@" in result.stdout
    assert "2 model" in result.stdout
    assert "1 rows left out: model.id is no id of a model" in result.stdout
    assert "1 values: model.likes must be a whole number" in result.stdout
    assert "was here already" in typed(tmp_path, "import", str(source)).stdout


@pytest.mark.parametrize("kind", ["", "radar"])
def test_nothing_of_an_import_stays_with_whoever_watched_it(tmp_path: Path, source: Path, kind: str) -> None:
    """A bar lives until the process ends; a DuckDB that it held would be taken down too late, with forty lines told."""

    class Watcher(Silent):
        asked: ClassVar[list[Callable[[], float]]] = []

        def watch(self, percent: Callable[[], float]) -> None:
            self.asked.append(percent)

    with suppress(Invalid):  # the one of the wrong kind
        import_source(World(tmp_path / "observatory"), str(source), Options(kind=kind), Watcher())
    during, after = Watcher.asked[-2:]
    assert isinstance(getattr(during, "__self__", None), Engine)
    assert getattr(after, "__self__", None) is None
    assert after() < 0


def test_a_report_can_be_had_as_json(tmp_path: Path, source: Path) -> None:
    (report,) = json.loads(typed(tmp_path, "import", str(source), "--date", "2026-05-01", "--json").stdout)
    assert report["snapshot"] == "models@2026-05-01"
    assert report["rows"] == {"model": 2}
    assert report["problems"][0]["count"] == 1


def test_the_list_of_snapshots_names_licence_and_rows(tmp_path: Path, source: Path) -> None:
    typed(tmp_path, "import", str(source), "--name", "mine", "--licence", "MIT", "--date", "2026-05-01")
    assert "mine@2026-05-01" in typed(tmp_path, "snapshots").stdout
    (manifest,) = json.loads(typed(tmp_path, "snapshots", "--json").stdout)
    assert (manifest["licence"], manifest["rows"]["model"]) == ("MIT", 2)


def test_a_snapshot_is_forgotten_only_by_its_whole_id(tmp_path: Path, source: Path) -> None:
    typed(tmp_path, "import", str(source), "--name", "mine", "--date", "2026-05-01")
    assert isinstance(typed(tmp_path, "forget", "mine").exception, Invalid)
    assert typed(tmp_path, "forget", "mine@2026-05-01").exit_code == 0
    assert json.loads(typed(tmp_path, "snapshots", "--json").stdout) == []


def test_the_registry_shows_every_row_about_an_account(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("account,country\ndeepseek-ai,FR\n")
    typed(tmp_path, "import", str(file))
    found = json.loads(typed(tmp_path, "registry", "deepseek-ai", "--json").stdout)
    assert [(row["country"], row["source"]) for row in found["rows"]] == [("CN", "headwater"), ("FR", "mine")]
    assert "deepseek-ai" in typed(tmp_path, "registry", "deepseek-ai").stdout


def test_what_cannot_be_read_is_an_error_of_the_taxonomy(tmp_path: Path) -> None:
    assert isinstance(typed(tmp_path, "import", str(tmp_path / "nothing")).exception, EntryMissing)
    assert isinstance(typed(tmp_path, "import", str(tmp_path), "--kind", "nonsense").exception, Invalid)
    assert isinstance(typed(tmp_path, "snapshot").exception, Invalid)


def test_a_folder_with_one_bad_file_ends_with_status_2(tmp_path: Path, source: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    result = typed(tmp_path, "import", str(tmp_path))
    assert result.exit_code == 2
    assert "bad.parquet: not imported" in result.stdout
    assert "models@" in result.stdout
