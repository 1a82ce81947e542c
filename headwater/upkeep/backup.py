"""Backup and restore while the hub serves.

The database is copied first, in one consistent piece: it is the mark. All that it names is on the disk by then and is
never changed: objects of the store, git objects. Refs come out of the copied events, not from the live repository, so
every repository in the backup stands exactly where the database says, however many writers were at work (T09). Deleted
repos that can be brought back are copied like live ones, and can be brought back from the copy as long as from the hub.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy import or_, select

from headwater.ground import events
from headwater.ground.db import Database
from headwater.ground.errors import Conflict, Corrupt, Invalid
from headwater.ground.events import event
from headwater.repos.git import place_of
from headwater.repos.tables import intent, repo
from headwater.repos.trash import RECOVERABLE, trash_of
from headwater.store.objects import PACKS, blob_key, sync_folder, xorb_key
from headwater.store.tables import blob, pack, xorb

FORMAT = 1
MANIFEST = "backup.json"
DATABASE = "headwater.sqlite"
LOCK = "lock"  # in a data folder since its first start; a backup never has it
PRIVATE = 0o700  # of folders that are made here: they hold private repos, in the clear
TRIES = 5  # to list a repository's packs while they are being joined, or to follow a hub that deletes


class Manifest(msgspec.Struct, frozen=True):
    """What a backup folder says of itself."""

    format: int
    version: str
    made: str
    event_id: int


@dataclass(frozen=True, slots=True)
class Report:
    event_id: int
    repos: int
    objects: int
    copied_bytes: int


def backup(data: Path, target: Path, version: str, made: str, progress: Callable[[int, int], None]) -> Report:
    """A copy of the data folder as it is now. Run again over the same target, it copies what is new."""
    if target.resolve().is_relative_to(data.resolve()):
        raise Invalid(f"The backup folder {target} lies inside the data folder {data}; choose another place")
    if (target / LOCK).exists():
        raise Conflict(f"{target} is the data folder of a hub, which a backup would overwrite; choose another place")
    target.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    # a backup that is being renewed is none until it is whole again
    (target / MANIFEST).unlink(missing_ok=True)
    report = _copy_marked(data, target, progress)
    shutil.copy2(data / "secret", target / "secret")
    os.sync()  # before the manifest says that all is there
    manifest = Manifest(FORMAT, version, made, report.event_id)
    _write(target / MANIFEST, msgspec.json.encode(manifest))
    return report


def _copy_marked(data: Path, target: Path, progress: Callable[[int, int], None]) -> Report:
    """The database, and then all that it names."""
    attempt = 1
    while True:
        _copy_database(data, target)
        with contextlib.closing(Database(target / DATABASE)) as copied:
            try:
                return _copy_named(copied, data, target, progress)
            except Corrupt:
                # What the mark names may have been deleted and swept since: then the next mark does not name it.
                if attempt == TRIES:
                    raise
        attempt += 1


def _copy_database(data: Path, target: Path) -> None:
    fresh = target / f"{DATABASE}.new"
    # A log that a killed backup left beside its copy would be taken for the new one's.
    for name in (fresh.name, f"{DATABASE}-wal", f"{DATABASE}-shm"):
        (target / name).unlink(missing_ok=True)
    live = Database(data / DATABASE)
    with contextlib.closing(live):
        live.copy_to(fresh)
    fresh.replace(target / DATABASE)


def _copy_named(db: Database, data: Path, target: Path, progress: Callable[[int, int], None]) -> Report:
    keys = list(_keys(db))
    refs = refs_of_events(db)
    total = len(keys) + len(refs)
    bytes_copied = 0
    for number, key in enumerate(keys):
        bytes_copied += _copy(data / "store" / key, target / "store" / key)
        progress(number + 1, total)
    for number, (repo_id, table) in enumerate(sorted(refs.items())):
        bytes_copied += _copy_repository(_lies(data / "git", repo_id), target / "git" / place_of(repo_id), table)
        progress(len(keys) + number + 1, total)
    with db.read() as connection:
        return Report(events.last_id(connection), len(refs), len(keys), bytes_copied)


def _keys(db: Database) -> Iterator[str]:
    with db.read() as connection:
        for name in connection.execute(
            select(blob.c.sha256).where(blob.c.recipe.is_(None), blob.c.state == "whole", blob.c.raw == "here")
        ).scalars():
            yield blob_key(name)
        for name in connection.execute(select(xorb.c.hash).where(xorb.c.state == "here")).scalars():
            yield xorb_key(name)
        # A pack is copied whole, and again when it has grown; what lies behind its last named entry harms nobody.
        for number in connection.execute(select(pack.c.id).where(pack.c.size_bytes > 0)).scalars():
            yield f"{PACKS}/{number:08x}"


def refs_of_events(db: Database) -> dict[int, dict[str, str]]:
    """Where every ref of every repo that is live, or can be brought back, stood at the last event: the first commit,
    then each move."""
    with db.read() as connection:
        kept = or_(repo.c.state == "live", RECOVERABLE)
        live = set(connection.execute(select(repo.c.id).where(kept)).scalars())
        refs: dict[int, dict[str, str]] = {repo_id: {} for repo_id in live}
        moves = select(event.c.repo_id, event.c.kind, event.c.data).where(
            event.c.kind.in_(("repo.created", "ref.moved"))
        )
        for repo_id, kind, data in connection.execute(moves.order_by(event.c.id)):
            if repo_id not in refs:
                continue
            told = msgspec.json.decode(data)
            if kind == "repo.created":
                refs[repo_id]["refs/heads/main"] = told["commit"]
            elif told["new"] is None:
                refs[repo_id].pop(told["ref"], None)
            else:
                refs[repo_id][told["ref"]] = told["new"]
    return refs


def _lies(root: Path, repo_id: int) -> Path:
    """Where a repository is. In the copy all lie in their places: a start puts the deleted ones into the trash."""
    place, trashed = root / place_of(repo_id), trash_of(root, repo_id)
    return trashed if trashed.is_dir() and not place.is_dir() else place


def _copy(source: Path, target: Path) -> int:
    """Copies an object that never changes, unless it is there already. Half a copy never carries the name."""
    try:
        size = source.stat().st_size
        if target.exists() and target.stat().st_size == size:
            return 0
        target.parent.mkdir(parents=True, exist_ok=True)
        half = target.with_name(f".{target.name}.half")
        shutil.copyfile(source, half)
        half.replace(target)
    except FileNotFoundError as error:
        raise Corrupt(f"{source} is named by the database and missing; run `headwater verify`") from error
    return size


def _copy_repository(source: Path, target: Path, refs: dict[str, str]) -> int:
    copied = 0
    for attempt in range(TRIES):
        files = [file for file in (source / "objects").rglob("*") if file.is_file() and "quarantine" not in file.parts]
        try:
            for file in files:
                copied += _copy(file, target / file.relative_to(source))
            break
        except Corrupt:
            # packs were joined under our hands: what they held is in the joined one, so look again
            if attempt == TRIES - 1:
                raise
    for name in ("HEAD", "config"):
        # it may have changed between two backups, so it is copied each time
        (target / name).unlink(missing_ok=True)
        copied += _copy(source / name, target / name)
    shutil.rmtree(target / "refs", ignore_errors=True)
    for folder in ("refs/heads", "refs/tags"):
        (target / folder).mkdir(parents=True)
    lines = "".join(f"{oid} {ref}\n" for ref, oid in sorted(refs.items()))
    _write(target / "packed-refs", f"# pack-refs with: sorted \n{lines}".encode())
    return copied


def restore(source: Path, data: Path, progress: Callable[[int, int], None]) -> Manifest:
    """A data folder out of a backup. The folder must be empty: nothing is ever written over."""
    try:
        manifest = msgspec.json.decode((source / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise Invalid(f"{source} holds no finished backup ({MANIFEST} is missing)") from error
    except (msgspec.DecodeError, OSError) as error:
        raise Invalid(f"{source / MANIFEST} can't be read: {error}") from error
    if manifest.format > FORMAT:
        raise Invalid(f"{source} was made by Headwater {manifest.version}; restore it with that version or a later one")
    for name in (DATABASE, "secret"):
        if not (source / name).is_file():
            raise Corrupt(f"{source} is no whole backup any more: {name} is missing")
    data.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    if any(data.iterdir()):
        raise Conflict(f"{data} is not empty; give an empty folder to restore into")
    files = [file for file in source.rglob("*") if file.is_file() and _belongs(file.name)]
    # The database last: without it, a folder that was half restored is taken for none by every command.
    files.sort(key=lambda file: (file.name == DATABASE, file))
    for number, file in enumerate(files):
        _copy(file, data / file.relative_to(source))
        progress(number + 1, len(files))
    for repository in (data / "git").glob("*/*.git"):
        # git takes a folder for a repository only if it has these, empty or not
        for folder in ("refs/heads", "refs/tags"):
            (repository / folder).mkdir(parents=True, exist_ok=True)
    (data / "secret").chmod(0o600)
    _forget_intents(data)
    os.sync()
    return manifest


def _belongs(name: str) -> bool:
    """Whether a file is part of a backup, and not its label or what a killed run left."""
    return name not in (MANIFEST, f"{DATABASE}.new") and not name.endswith(".half")


def _forget_intents(data: Path) -> None:
    """Moves that were under way at the mark did not happen in the copy: its refs are those of the settled ones."""
    db = Database(data / DATABASE)
    with contextlib.closing(db), db.write() as connection:
        connection.execute(intent.delete())


def _write(path: Path, data: bytes) -> None:
    half = path.with_name(f".{path.name}.half")
    with half.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)
    sync_folder(path.parent)
