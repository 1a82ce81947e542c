"""`verify` names what is wrong and the repos that it touches, wherever the wrong byte lies (T25)."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hub_building import Hub
from sqlalchemy import delete
from xet_building import a_file, a_xorb, flip, noise

from headwater.ground.errors import Corrupt
from headwater.repos.tables import hold
from headwater.upkeep import verify as checking
from headwater.upkeep.verify import Problem

DATA = noise("weights", 4000)
X, Y = a_xorb("x", 1000, 2000), a_xorb("y", 500)
FILE = a_file((X, 0, 2), (Y, 0, 1))


@pytest.fixture
def full(hub: Hub) -> Hub:
    """A model with a plain and a Xet file, and a data set with the same plain one."""
    model, dataset = hub.repo("ada/x"), hub.repo("ada/d", "dataset", private=True)
    hub.commit(model, {"README.md": b"# x\n"}, {"a.bin": hub.upload(model, DATA), "b.bin": hub.upload_xet(model, FILE)})
    hub.commit(dataset, large={"a.bin": hub.upload(dataset, DATA)})
    return hub


def problems(hub: Hub, read_percent: float = 100) -> list[Problem]:
    rooms = hub.rooms
    steps: list[int] = []
    total = checking.count(rooms.db, rooms.store)
    found = list(checking.verify(rooms.db, rooms.repos, rooms.store, rooms.xets, read_percent, steps.append))
    assert sum(steps) == total
    return found


def test_a_sound_hub_has_no_problems(full: Hub) -> None:
    assert problems(full) == []
    assert problems(full, 0) == []


def test_T25_a_flipped_bit_in_a_plain_file_is_named_with_every_repo_that_holds_it(full: Hub) -> None:
    name = full.upload(full.rooms.repos.registry.by_id(1), DATA)
    flip(full.object(name), 3999)
    (problem,) = problems(full)
    assert (problem.what, problem.name) == ("blob", name)
    assert sorted(problem.repos) == ["dataset ada/d", "model ada/x"]
    with pytest.raises(Corrupt):
        full.read(name)


def test_T25_a_flipped_bit_in_a_xorb_is_named_with_the_repos_of_the_files_over_it(full: Hub) -> None:
    flip(full.xorb(Y))
    found = problems(full)
    assert [(problem.what, problem.name, problem.repos) for problem in found] == [
        ("xorb", Y.name, ("model ada/x",)),
        ("blob", FILE.real_sha256, ("model ada/x",)),
    ]


def test_T25_a_flipped_bit_in_a_git_pack_is_named_with_its_repo(full: Hub) -> None:
    packs = sorted((full.rooms.repos.git.path(1) / "objects/pack").glob("*.pack"))
    packs[0].chmod(0o644)
    flip(packs[0], packs[0].stat().st_size // 2)
    found = problems(full)
    assert found
    assert {(problem.what, problem.repos) for problem in found} == {("repo", ("model ada/x",))}


def test_T25_a_git_repository_that_is_gone_is_a_problem_and_not_the_end_of_the_check(full: Hub) -> None:
    full.rooms.repos.git.path(1).rename(full.data / "aside")
    full.rooms.repos.git.forget(1)
    found = problems(full)
    assert found
    assert {(problem.what, problem.name) for problem in found} == {("repo", "model ada/x")}


def test_T25_a_damaged_page_of_the_database_is_named(full: Hub) -> None:
    full.rooms.db.close()
    path = full.rooms.db.path
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'event_repo'").fetchone()
    data = bytearray(path.read_bytes())
    data[(page - 1) * 4096 + 2000 : page * 4096] = b"\x5a" * 2096
    path.write_bytes(data)
    found = problems(full, 0)
    assert {(problem.what, problem.name) for problem in found} == {("database", str(path))}


def test_a_pointer_whose_bytes_the_repo_does_not_hold_is_a_problem(full: Hub) -> None:
    with full.rooms.db.write() as connection:
        connection.execute(delete(hold).where(hold.c.repo_id == 1, hold.c.sha256 == FILE.real_sha256))
    (problem,) = problems(full)
    assert (problem.what, problem.name) == ("repo", "model ada/x")
    assert "b.bin at refs/heads/main" in problem.text


def test_a_ref_that_names_nothing_is_a_problem(full: Hub) -> None:
    (full.rooms.repos.git.path(1) / "refs/heads/lost").write_text("ab" * 20 + "\n")
    full.rooms.repos.git.forget(1)
    assert any("refs/heads/lost" in problem.text for problem in problems(full))


def test_a_repo_that_is_deleted_while_the_check_runs_is_no_problem(full: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    git, registry = full.rooms.repos.git, full.rooms.repos.registry
    real = git.problems
    ada = full.ada

    def delete_first(repo_id: int) -> list[str]:
        if repo_id == 1:
            registry.delete(ada, registry.by_id(1).rid)
        return real(repo_id)

    monkeypatch.setattr(git, "problems", delete_first)
    assert problems(full) == []


def test_a_deleted_repo_is_not_looked_at(full: Hub) -> None:
    full.rooms.repos.registry.delete(full.ada, full.rooms.repos.registry.by_id(1).rid)
    assert problems(full) == []
