"""T01 for imports: killed at any step, nothing is half there, and a second import completes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bundle_building import BARE, MODEL, exported, state
from hub_building import Hub, open_hub
from sqlalchemy import func, select

from headwater.carry.landing import FOLDER, GIT, LOCK, clean, locked
from headwater.repos.tables import intent

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 120
STEPS = (
    "pack.visible",  # of a scratch repository: the bundle is being checked
    "object-written",
    "object-landed",
    "object-landed:2",
    "create.founded",
    "move.begun",  # the git objects are there
    "move.intended",
    "ref.staged",
    "ref.renamed",
    "ref.renamed:2",
    "move.moved",
    "move.moved:3",
    "move.settled",
    "create.founded:2",
    "move.settled:2",
)


def headwater(*words: object, crash_at: str = "") -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "HEADWATER_CRASH_AT": crash_at}
    command = [sys.executable, "-m", "headwater", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False)


@pytest.fixture
def carried(source: Hub, folder: Path) -> dict[str, Any]:
    exported(source, folder / "b", MODEL, BARE)
    whole = state(source)
    return {name: whole[name] for name in ("model ada/m", "model gpt2")}


@pytest.mark.parametrize("at", STEPS)
def test_T01_an_import_that_was_killed_shows_nothing_half_and_the_next_one_completes(
    at: str, carried: dict[str, Any], target: Hub, folder: Path
) -> None:
    target.close()
    died = headwater("import", folder / "b", "--data", target.data, crash_at=at)
    assert died.returncode == -9, f"{at} was not passed: {died.stdout}{died.stderr}"

    hub = open_hub(target.data)
    for name, seen in state(hub).items():
        for ref, commit in seen["refs"].items():
            just_made = ref == "refs/heads/main" and set(seen["files"][ref]) == {".gitattributes"}
            assert just_made or commit == carried[name]["refs"][ref], (name, ref)
            assert just_made or seen["files"][ref] == carried[name]["files"][ref], (name, ref)
    with hub.rooms.db.read() as connection:
        assert connection.execute(select(func.count()).select_from(intent)).scalar() == 0
    hub.close()

    again = headwater("import", folder / "b", "--data", target.data)
    assert again.returncode == 0, again.stderr
    hub = open_hub(target.data)
    assert state(hub) == carried
    assert not list((target.data / FOLDER).iterdir())
    hub.close()


def test_the_folders_of_killed_imports_are_cleared_and_those_of_living_ones_are_not(folder: Path) -> None:
    for name in ("dead", "living"):
        (folder / name / GIT).mkdir(parents=True)
        (folder / name / LOCK).touch()
    (folder / "a file").touch()
    with locked(folder / "living"):
        clean(folder)
        assert sorted(path.name for path in folder.iterdir()) == ["a file", "living"]
    clean(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["a file"]
