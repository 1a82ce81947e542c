"""`headwater export` and `headwater import`, as an operator types them; what the pages tell him to type works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bundle_building import LFS, MODEL, Bundle, files_of, imported, main_of, state
from click.testing import CliRunner, Result
from hub_building import Hub

from headwater import app as root
from headwater.carry import importing
from headwater.carry.landing import JOB, Landing
from headwater.cli import program
from headwater.cli.carry import size_bytes
from headwater.ground.clock import SystemClock
from headwater.ground.errors import Conflict, DigestMismatch, HeadwaterError, Invalid, Unavailable
from headwater.ground.jobs import Runner


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWATER_CONFIG", raising=False)
    monkeypatch.setenv("HEADWATER_PUBLIC_URL", "https://hub.test")


def run(*words: object) -> Result:
    return CliRunner().invoke(program, [str(word) for word in words], standalone_mode=False)


def ok(*words: object) -> str:
    result = run(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def refused(*words: object) -> HeadwaterError:
    error = run(*words).exception
    assert isinstance(error, HeadwaterError), error
    return error


def test_everything_goes_from_one_hub_to_another(source: Hub, target: Hub, folder: Path) -> None:
    said = ok("export", "--all", "--to", folder / "b", "--data", source.data, "--part-size", "30KB", "--pulls")
    assert said.splitlines()[0].startswith(f"{folder / 'b'} holds 5 repos: ")
    told = said.split()[-1]
    assert Bundle(folder / "b").verified("--expect", told)[0] == 0
    lines = ok("import", folder / "b", "--data", target.data, "--expect", told).splitlines()
    assert "model ada/m: created, 5 refs" in lines
    assert "dataset ada/d: created, 1 refs" in lines
    assert state(target) == state(source)
    assert "model ada/m: as in the bundle" in ok("import", folder / "b", "--data", target.data)


def test_json_is_one_object_for_a_bundle_and_one_for_each_repo(source: Hub, target: Hub, folder: Path) -> None:
    report = json.loads(ok("export", "ada/m", "datasets/ada/d", "--to", folder / "b", "--data", source.data, "--json"))
    assert (report["repos"], report["parts"]) == (2, 1)
    lines = ok("import", folder / "b", "--data", target.data, "--json").splitlines()
    assert [json.loads(line)["repo"] for line in lines] == ["model ada/m", "dataset ada/d"]


def test_a_snapshot_under_another_name(source: Hub, target: Hub, folder: Path) -> None:
    ok("export", "ada/m", "--revision", "v2", "--to", folder / "b", "--data", source.data)
    assert ok("import", folder / "b", "--as", "ada/copy", "--data", target.data) == "model ada/copy: created, 2 refs\n"
    rid = type(MODEL)("model", "ada", "copy")
    assert files_of(target, rid, main_of(target, rid))["w.bin"] == LFS


def test_what_makes_no_sense_is_refused(source: Hub, folder: Path) -> None:
    to = ("--to", folder / "b", "--data", source.data)
    assert isinstance(refused("export", *to), Invalid)
    assert isinstance(refused("export", "ada/m", "--all", *to), Invalid)
    assert isinstance(refused("export", "ada/m", "--part-size", "huge", *to), Invalid)
    assert refused("export", "ada/none", *to).code == "RepoNotFound"
    assert refused("export", "ada/m", "--revision", "none", *to).code == "RevisionNotFound"
    assert isinstance(refused("export", "ada/m", "--to", folder / "b", "--data", folder), Invalid)
    assert not (folder / "b" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4_000_000_000), ("4 GiB", 1 << 32), ("650m", 650_000_000), ("4096", 4096), ("1kib", 1024)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert size_bytes(text) == size


def test_an_import_waits_for_the_hub_that_owns_the_folder(
    target: Hub, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "LANDING_WAIT_S", 0.0)
    with root.owning(target.data):
        error = refused("import", bundle.folder, "--data", target.data)
    assert isinstance(error, Unavailable)
    assert "did not take the import up" in error.text
    assert state(target) == {}
    imported(target, bundle.folder)


def test_the_words_of_the_options_reach_the_import(target: Hub, source: Hub, bundle: Bundle, folder: Path) -> None:
    data: tuple[Any, ...] = ("--data", target.data)
    assert isinstance(refused("import", bundle.folder, "--expect", "0" * 64, *data), DigestMismatch)
    mine = target.repo("ada/m")
    target.commit(mine, {"mine.txt": b"mine\n"})
    assert isinstance(refused("import", bundle.folder, *data), Conflict)
    assert "ada/m" in ok("import", bundle.folder, "--force", *data)
    source.commit(source.rooms.repos.open(source.ada, MODEL, "read"), {"new.txt": b"new\n"})
    ok("export", "ada/m", "--to", folder / "new", "--data", source.data)
    ok("import", folder / "new", *data)
    assert isinstance(refused("import", bundle.folder, *data), Conflict)
    assert "ahead of the bundle: refs/heads/main" in ok("import", bundle.folder, "--again", *data)


def test_a_running_hub_lands_the_import_and_knows_of_it_at_once(
    target: Hub, source: Hub, bundle: Bundle, folder: Path
) -> None:
    """It answers refs from memory, so nobody else may move them."""
    imported(target, bundle.folder)
    assert state(target) == state(source)
    model = source.rooms.repos.open(source.ada, MODEL, "read")
    source.commit(model, {"new.txt": b"new\n"}, {"new.bin": source.upload(model, b"new" * 5000)})
    ok("export", "ada/m", "--to", folder / "new", "--data", source.data, "--pulls")
    rooms = target.rooms
    landing = Landing(rooms.db, rooms.clock, rooms.repos, rooms.store, target.data.resolve())
    jobs = Runner(rooms.db, SystemClock(), {JOB: landing.work})
    with root.owning(target.data):
        jobs.start()
        try:
            assert ok("import", folder / "new", "--data", target.data) == "model ada/m: 1 refs\n"
            assert "model ada/m: as in the bundle" in ok("import", folder / "new", "--data", target.data)
        finally:
            assert jobs.stop()
    assert state(target) == state(source)
