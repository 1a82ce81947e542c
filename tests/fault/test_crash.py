"""T01: killed at any step of a change, the hub comes back with the change or without it, and with all before it."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import test_seal
import test_undelete
from conftest import Hubs
from fault_hub import REPOSITORY, Gone, Hub, git, problems, until
from xet_building import a_xorb, all_of

PACKS = 52  # one more than `headwater.repos.git.PACKS_MAX` and the pack of the repo's birth: joined at the next start


@dataclass
class Told:
    """What the hub has acknowledged of alice/m: the files of each branch."""

    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {"first.txt": b"first\n"}})
    repos: set[str] = field(default_factory=lambda: {"alice/m"})


@dataclass(frozen=True)
class Walk:
    """One change, done again for every checkpoint on its way. `change(hub, told, number, work)` returns what holds if
    it went well; `at` are the checkpoints it passes, `name:2` the second time; it `adds` so many files to a branch."""

    change: Callable[[Hub, Told, int, Path], Told]
    at: tuple[str, ...]
    adds: int = 0


def by_api(hub: Hub, told: Told, number: int, _work: Path) -> Told:
    """A small file, one by Xet and one by LFS."""
    small, large = b"small %d\n" % number, hashlib.shake_128(b"large %d" % number).digest(300_000)
    xet = all_of(a_xorb(number, 60_000, 50_000))
    hub.sent_by_xet("alice/m", xet)
    hub.uploaded("alice/m", large)
    added = {f"large{number}.bin": large, f"xet{number}.bin": xet.data}
    hub.committed("alice/m", {f"small{number}.txt": small}, large=added)
    files = {**told.branches["main"], f"small{number}.txt": small, **added}
    return Told({**told.branches, "main": files}, told.repos)


def by_push(hub: Hub, told: Told, number: int, work: Path) -> Told:
    """Two branches in one push: `main` goes on, another begins."""
    place = work / f"push{number}"
    git("clone", "-q", f"{hub.url}/alice/m", str(place), cwd=work)
    (place / f"pushed{number}.txt").write_text(f"pushed {number}\n")
    git("add", "-A", cwd=place)
    git("commit", "-qm", "pushed", cwd=place)
    said = git("push", "-q", f"{hub.with_login()}/alice/m", "main", f"main:b{number}", cwd=place, wants=None)
    if "error" in said or "fatal" in said:
        raise Gone(said)
    files = {**told.branches["main"], f"pushed{number}.txt": b"pushed %d\n" % number}
    return Told({**told.branches, "main": files, f"b{number}": files}, told.repos)


def by_branch(hub: Hub, told: Told, number: int, _work: Path) -> Told:
    """A branch begins if there is none, and ends if there is one."""
    others = [name for name in told.branches if name != "main"]
    if others:
        hub.good("DELETE", f"/api/models/alice/m/branch/{others[0]}")
        return Told({"main": told.branches["main"]}, told.repos)
    hub.good("POST", f"/api/models/alice/m/branch/b{number}", {})
    return Told({**told.branches, f"b{number}": told.branches["main"]}, told.repos)


def by_repo(hub: Hub, told: Told, number: int, _work: Path) -> Told:
    """A repo begins if there is but one, and ends if there are two."""
    others = [name for name in told.repos if name != "alice/m"]
    if others:
        hub.good("DELETE", "/api/repos/delete", {"name": others[0].split("/")[1]})
        return Told(told.branches, {"alice/m"})
    hub.create(f"alice/r{number}")
    return Told(told.branches, {*told.repos, f"alice/r{number}"})


MOVE = ("move.begun", "move.intended", "ref.staged", "ref.renamed", "move.moved", "move.settled")
WALKS = {
    "commit": Walk(
        by_api,
        (
            "object-written",
            "object-landed",
            "object-landed:2",
            "commit.spooled",
            "commit.written",
            "pack.written",
            "pack.visible",
            *MOVE,
        ),
        adds=3,
    ),
    "push": Walk(by_push, ("push.received", "push.checked", "push.landed", "ref.renamed:2", "move.moved:2"), adds=1),
    "branch": Walk(by_branch, ("ref.renamed", "ref.deleted")),
    "repo": Walk(by_repo, ("create.founded", "delete.marked")),
}
UPKEEP = ("packs.joined", "jobs.claimed", "jobs.done")
ELSEWHERE = (  # crashed at over there
    *test_seal.SEALING,
    *test_seal.EVICTING,
    *test_seal.SWEEPING,
    *test_seal.REBASING,
    *test_undelete.UNDELETING,
)


def test_T01_every_checkpoint_of_the_package_is_crashed_at() -> None:
    found = {
        name
        for file in (REPOSITORY / "headwater").rglob("*.py")
        for name in re.findall(r'checkpoint\("([^"]+)"\)', file.read_text())
    }

    assert found == {at.split(":")[0] for walk in WALKS.values() for at in walk.at} | set(UPKEEP) | set(ELSEWHERE)


@pytest.mark.parametrize("name", WALKS)
def test_T01_killed_at_any_step_a_change_has_happened_or_not_and_what_was_acknowledged_stays(
    name: str, hubs: Hubs, tmp_path: Path
) -> None:
    walk, hub, told = WALKS[name], hubs(), Told()
    hub.start(HEADWATER_CRASH_AT=walk.at[0])
    for number, at in enumerate(walk.at):
        told = _change_until_crash(hub, walk, told, at, 10 * number, tmp_path)
        # the start that recovers is the one that crashes next
        hub.start(HEADWATER_CRASH_AT=walk.at[number + 1] if number + 1 < len(walk.at) else "")
        holding = _holding(hub)
        _one_of(holding, told, at, walk.adds)
        assert problems(hub.data) == [], at
        assert _open_intents(hub.data) == 0, at
        told = holding

    told = walk.change(hub, told, 10 * len(walk.at), tmp_path)
    assert _holding(hub) == told
    hub.fsck("alice/m")
    done = hub.headwater("verify", "--read-data", "100")
    assert done.returncode == 0, done.stdout
    assert hub.stop() == 0


def _change_until_crash(hub: Hub, walk: Walk, told: Told, at: str, number: int, work: Path) -> Told:
    """What was acknowledged before the crash. Some changes alternate: the checkpoint may be on the way of the next."""
    for again in range(3):
        try:
            told = walk.change(hub, told, number + again, work)
        except (Gone, OSError):
            assert hub.ended() == -9, hub.said()
            return told
    raise AssertionError(f"{at} was not passed")


def _one_of(holding: Told, before: Told, at: str, adds: int) -> None:
    """Nothing acknowledged is lost, and what is more than that is one whole change."""
    gone_repos, gone_branches = before.repos - holding.repos, before.branches.keys() - holding.branches.keys()
    assert len(gone_repos) + len(gone_branches) <= 1, at
    if gone_repos or gone_branches:
        assert at in ("ref.deleted", "delete.marked"), f"{at}: {gone_repos} {gone_branches} went"
    for branch, files in before.branches.items():
        now = holding.branches.get(branch)
        if now is not None:
            assert now.items() >= files.items(), f"{at}: {branch} lost a file"
            assert len(now) - len(files) in (0, adds), f"{at}: {branch} has half a change"


def _holding(hub: Hub) -> Told:
    """What the hub gives out."""
    refs = hub.good("GET", "/api/models/alice/m/refs").json
    branches = {one["name"]: hub.files("alice/m", one["name"]) for one in refs["branches"]}
    with closing(sqlite3.connect(hub.data / "headwater.sqlite")) as db:
        repos = {f"alice/{name}" for (name,) in db.execute("SELECT name FROM repo WHERE state = 'live'")}
    for repo in repos:
        assert hub.files(repo) is not None
    return Told(branches, repos)


def _open_intents(data: Path) -> int:
    with closing(sqlite3.connect(data / "headwater.sqlite")) as db:
        return int(db.execute("SELECT count(*) FROM intent").fetchone()[0])


def test_T01_killed_while_packs_are_joined_nothing_is_missing_and_the_work_is_done_again(hubs: Hubs) -> None:
    hub = hubs().start()
    for number in range(PACKS):
        hub.committed("alice/m", {"number.txt": b"%d\n" % number})
    held = _holding(hub)
    assert hub.stop() == 0
    packs = hub.git_folder("alice/m") / "objects" / "pack"
    before = len(list(packs.glob("*.pack")))

    for at in UPKEEP:
        hub.launch(HEADWATER_CRASH_AT=at)
        assert hub.ended() == -9, f"{at} was not passed"

    hub.start()
    until(lambda: len(list(packs.glob("*.pack"))) < before // 2, "joining packs after the crashes")
    assert _holding(hub) == held
    hub.fsck("alice/m")
    assert problems(hub.data) == []
    with suppress(FileNotFoundError):
        assert not list((hub.data / "git" / "incoming").iterdir())
    assert hub.stop() == 0
