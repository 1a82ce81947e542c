"""A whole hub without its front door: rooms over a data folder in memory-backed storage, one user, and her repos."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "store"))  # importlib mode leaves it out

from xet_building import File, Xorb, a_shard, sha256_of

from headwater import app as root
from headwater.accounts.actor import Actor
from headwater.front.rooms import Rooms
from headwater.ground import names
from headwater.ground.clock import FixedClock
from headwater.ground.names import CommitId, FilePath, RepoType, Sha256
from headwater.ground.settings import Settings
from headwater.repos import AddInline, AddPointer, Message, Operation, Repo
from headwater.store.objects import blob_key, xorb_key
from headwater.upkeep import Upkeep

MEMORY = Path("/dev/shm")


@contextmanager
def memory_folder() -> Iterator[Path]:
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as made:
        yield Path(made)


def settings_of(data: Path) -> Settings:
    return Settings(data=str(data), public_url="https://hub.test")


@dataclass
class Hub:
    data: Path
    rooms: Rooms
    clock: FixedClock

    @property
    def ada(self) -> Actor:
        return self.rooms.accounts.actor_again(self.rooms.accounts.user("ada").id, None)

    @property
    def upkeep(self) -> Upkeep:
        return root.upkeep_of(self.rooms)

    def repo(self, name: str, kind: RepoType = "model", *, private: bool = False) -> Repo:
        return self.rooms.repos.registry.create(self.ada, names.repo_id(kind, name), private).repo

    def upload(self, repo: Repo, data: bytes) -> Sha256:
        """A large file as LFS brings it: stored, and held until a commit names it."""
        sha256 = sha256_of(data)
        self.rooms.store.ingest([data], sha256, len(data))
        self.rooms.repos.holds.hold(repo.id, [sha256])
        return sha256

    def upload_xet(self, repo: Repo, file: File) -> Sha256:
        """The same as Xet brings it."""
        for xorb in {xorb.name: xorb for xorb, _, _ in file.spans}.values():
            sink = self.rooms.xets.sink(xorb.name)
            sink.write(xorb.wire)
            sink.land()
            self.rooms.repos.holds.hold_xorbs(repo.id, [xorb.name])
        (blob,) = self.rooms.xets.register(a_shard(file), lambda _name: True, lambda _done, _total: None)
        self.rooms.repos.holds.hold(repo.id, [blob.sha256])
        return blob.sha256

    def commit(
        self, repo: Repo, inline: Mapping[str, bytes] | None = None, large: Mapping[str, Sha256] | None = None,
        revision: str = "main",
    ) -> CommitId:  # fmt: skip
        operations: list[Operation] = [AddInline(FilePath(path), data) for path, data in (inline or {}).items()]
        operations += [AddPointer(FilePath(path), sha256, None) for path, sha256 in (large or {}).items()]
        return self.rooms.repos.commit.apply(self.ada, repo, revision, None, Message("change"), iter(operations)).commit

    def object(self, sha256: Sha256) -> Path:
        return self.rooms.store.objects.path(blob_key(sha256))

    def xorb(self, xorb: Xorb) -> Path:
        return self.rooms.store.objects.path(xorb_key(xorb.name))

    def read(self, sha256: Sha256) -> bytes:
        return b"".join(self.rooms.store.read(sha256))

    def close(self) -> None:
        self.rooms.db.close()


def open_hub(data: Path) -> Hub:
    """The rooms over a data folder, as a start would have them before its first request."""
    clock = FixedClock()
    rooms = root.open_rooms(settings_of(data), clock)
    root.prepare(rooms)
    return Hub(data, rooms, clock)


def make_template(data: Path) -> None:
    """A data folder with the user ada and nothing else."""
    hub = open_hub(data)
    hub.rooms.accounts.create_user("ada", "Ada Lovelace")
    hub.close()


@contextmanager
def copy_of(template: Path) -> Iterator[Hub]:
    with memory_folder() as folder:
        shutil.copytree(template, folder / "data")
        hub = open_hub(folder / "data")
        yield hub
        hub.close()
