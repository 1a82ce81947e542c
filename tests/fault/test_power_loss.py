"""T02: after a power cut, whatever moment it comes, everything acknowledged is there and the rest is not half there.

The hub runs on a disk that writes down every change and every sync (fault_shim.c). Played back to a moment and less
what was not synced by then, it is what a power cut leaves. The moments are those of each acknowledgement, and some
between.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import Hubs
from fault_hub import ALICE, SEED, Hub, git, rooms_of
from fault_power import Disk, Survives, always, boundaries, by_chance, never, shim_environment
from xet_building import a_xorb, all_of

from headwater import app as root
from headwater.ground.errors import RepoMissing
from headwater.ground.names import RepoId, Sha256
from headwater.upkeep import verify as checking
from headwater.upkeep.backup import refs_of_events

BY_XET = all_of(a_xorb("first", 60_000, 50_000), a_xorb("second", 40_000))
BETWEEN = 10  # cuts at moments that are nobody's acknowledgement


@dataclass(frozen=True)
class Said:
    """All that was acknowledged at a moment: refs by repo, blobs held (committed or not), those that a commit names,
    and what is private."""

    refs: dict[str, dict[str, str]] = field(default_factory=dict)
    blobs: frozenset[tuple[str, str]] = frozenset()
    named: frozenset[tuple[str, str]] = frozenset()
    private: frozenset[str] = frozenset()
    people: bool = False


@dataclass
class Story:
    """What was done to the hub, and where its log of changes stood at each acknowledgement."""

    hub: Hub
    log: Path
    told: list[tuple[int, Said]] = field(default_factory=list)

    def acknowledged(self, **now: object) -> None:
        before = self.told[-1][1] if self.told else Said()
        self.told.append((self.log.stat().st_size, Said(**{**vars(before), **now})))

    def look(self) -> None:
        """The refs of all repos as the hub tells them: they were acknowledged just now."""
        refs: dict[str, dict[str, str]] = {}
        for repo in ("alice/m", "alice/second"):
            answer = self.hub.ask("GET", f"/api/models/{repo}/refs")
            kinds = answer.json.values() if answer.status == 200 else []
            refs[repo] = {ref["ref"]: ref["targetCommit"] for kind in kinds for ref in kind}
        self.acknowledged(refs=refs)

    def held(self, repo: str, data: bytes) -> None:
        blobs = self.told[-1][1].blobs | {(repo, hashlib.sha256(data).hexdigest())}
        self.acknowledged(blobs=blobs)

    def committed(self) -> None:
        """A commit names all that is held."""
        self.acknowledged(named=self.told[-1][1].blobs)
        self.look()


@pytest.fixture
def memory_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose disk gives no inode number twice, where there is one: the log knows files by them."""
    shared = Path("/dev/shm")
    place = shared / f"headwater-{tmp_path.parent.name}-{tmp_path.name}" if shared.is_dir() else tmp_path / "memory"
    place.mkdir()
    yield place
    shutil.rmtree(place)


def _live(story: Story, work: Path) -> None:
    """A hub's first day, told in full."""
    hub = story.hub
    seed = work / "seed.json"
    seed.write_text(json.dumps(SEED))
    assert hub.headwater("admin", "seed", str(seed)).returncode == 0
    story.acknowledged(people=True)
    hub.start()
    hub.create("alice/m")
    story.look()
    for number in range(3):
        large = hashlib.shake_128(b"%d" % number).digest(200_000)
        hub.uploaded("alice/m", large)
        story.held("alice/m", large)
        hub.committed("alice/m", {f"small{number}": b"small"}, large={f"large{number}.bin": large})
        story.committed()
    hub.sent_by_xet("alice/m", BY_XET)
    story.held("alice/m", BY_XET.data)
    hub.committed("alice/m", {}, large={"xet.bin": BY_XET.data})
    story.committed()
    hub.good("POST", "/api/models/alice/m/branch/gone", {})
    story.look()
    hub.good("POST", "/api/models/alice/m/tag/main", {"tag": "v1", "message": "a tag"})
    story.look()
    place = work / "clone"
    git("clone", "-q", f"{hub.url}/alice/m", str(place), cwd=work, GIT_LFS_SKIP_SMUDGE="1")
    (place / "pushed.txt").write_text("pushed\n")
    git("add", "pushed.txt", cwd=place)
    git("commit", "-qm", "pushed", cwd=place)
    git("push", "-q", f"{hub.with_login()}/alice/m", "main", "main:two", cwd=place)
    story.look()
    hub.good("DELETE", "/api/models/alice/m/branch/gone")
    story.look()
    hub.create("alice/second")
    story.look()
    hub.good("DELETE", "/api/repos/delete", {"name": "second"})
    story.look()
    hub.good("PUT", "/api/models/alice/m/settings", {"private": True})
    story.acknowledged(private=frozenset({"alice/m"}))


@dataclass(frozen=True)
class Loss:
    """What a disk keeps of what it was not asked to keep."""

    name: str
    names: Callable[[int], Survives]
    data: Callable[[int], Survives]


LOSSES = (
    Loss("nothing unsynced survives", lambda seed: never, lambda seed: never),
    Loss("names survive and data does not", lambda seed: always, lambda seed: never),
    Loss("some of it survives, in no order", by_chance, by_chance),
)


def test_T02_after_power_loss_at_any_moment_everything_acknowledged_is_there(
    hubs: Hubs, shim: Path, memory_folder: Path, tmp_path: Path
) -> None:
    data, log, control = memory_folder / "data", tmp_path / "changes.log", tmp_path / "control"
    data.mkdir()
    control.mkdir()
    disk = Disk(data)
    hub = hubs(data, **shim_environment(shim, data, control, log, tmp_path))
    story = Story(hub, log)
    _live(story, tmp_path)
    hub.kill()
    changes = log.read_bytes()
    assert len(changes) > 1_000_000, "the shim saw too little: is a library linked statically?"

    chance = random.Random(2)
    between = chance.sample([at for at in boundaries(changes) if at > story.told[0][0]], BETWEEN)
    played = 0
    left = memory_folder / "left"
    for number, at in enumerate(sorted({*(at for at, _ in story.told), *between})):
        disk.play(changes[played:at])
        played = at
        loss = LOSSES[number % len(LOSSES)]
        disk.after_power_loss(left, loss.names(number), loss.data(number))
        must, may = _around(story.told, at)
        found = _lost(left, must, may)
        assert not found, f"cut at byte {at} of {len(changes)} ({loss.name}): {found}"
        shutil.rmtree(left)

    disk.after_power_loss(left, never, never)
    again = hubs(left).start()
    files = again.files("alice/m")
    assert files["pushed.txt"] == b"pushed\n"
    large = [files[name] for name in ("large0.bin", "large1.bin", "large2.bin", "xet.bin")]
    assert {hashlib.sha256(data).hexdigest() for data in large} == {o for _, o in story.told[-1][1].blobs}
    again.committed("alice/m", {"after.txt": b"after"})
    assert again.headwater("verify", "--read-data", "100").returncode == 0


def _around(told: list[tuple[int, Said]], at: int) -> tuple[Said, Said]:
    """What was acknowledged by then, and what was being done."""
    before = [said for when, said in told if when <= at]
    return before[-1], next((said for when, said in told if when > at), before[-1])


def _lost(data: Path, must: Said, may: Said) -> list[str]:
    """What is missing, or there without a reason, when a hub begins to work on what a power cut left."""
    with rooms_of(data) as rooms:
        root.prepare(rooms)
        found = [
            f"{one.what} {one.name}: {one.text}"
            for one in checking.verify(rooms.db, rooms.repos, rooms.store, rooms.xets, 100, lambda _count: None)
        ]
        alice = rooms.accounts.actor_by_token(ALICE)
        refs: dict[str, dict[str, str]] = {}
        for repo in must.refs.keys() | may.refs.keys():
            kind = RepoId("model", *repo.split("/"))
            try:
                opened = rooms.repos.registry.open(alice, kind, "read")
            except RepoMissing:
                continue
            listed = rooms.repos.refs.refs(opened)
            refs[repo] = {ref.ref: ref.target for ref in (*listed.branches, *listed.tags, *listed.pulls)}
            wanted = [Sha256(sha256) for name, sha256 in must.blobs if name == repo]
            lacking = set(wanted) - rooms.repos.holds.sizes(opened.id, wanted).keys()
            found += [f"{repo} lost {sha256}" for sha256 in lacking]
            named = [Sha256(sha256) for name, sha256 in must.named if name == repo]
            found += [
                f"{repo} would collect {sha256}"
                for sha256 in named
                if rooms.repos.holds.shown(opened.id, sha256) is None
            ]
            if repo in must.private and not opened.private:
                found.append(f"{repo} is open")
        for number, told in refs_of_events(rooms.db).items():
            if rooms.repos.git.path(number).exists() and dict(rooms.repos.git.refs(number)) != told:
                found.append(f"repo {number}: git has {dict(rooms.repos.git.refs(number))}, the events tell {told}")
    for repo in must.refs.keys() | may.refs.keys():
        for ref in must.refs.get(repo, {}).keys() | may.refs.get(repo, {}).keys():
            now = refs.get(repo, {}).get(ref)
            if now not in (must.refs.get(repo, {}).get(ref), may.refs.get(repo, {}).get(ref)):
                found.append(f"{repo} {ref} is at {now}")
    return found
