"""The world on disk: finished snapshots that never change, and the only door by which one comes into being.

A snapshot is a folder with a manifest and one Parquet file per table. It is put together under another name and
appears by one rename, so that a crash, a full disk or a bad file leaves nothing that could be read. Refuses to know
what is in the tables: that is the importers' (imports/) and the questions' business.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from headwater.ground.errors import Conflict, Corrupt, EntryMissing, Invalid
from headwater.observatory.licences import Licences
from headwater.observatory.registry import Registry
from headwater.observatory.schema import TABLES

IMPORTER_VERSION = 1
"""Grows when the same input would give other tables; then an input that is here already is read again."""

MANIFEST_BYTES_MAX = 1 << 20  # a larger one was not written by this file
INCOMING_AGE_MAX_S = 2 * 86_400  # an import that has not finished by then was killed
NAME_CHARS_MAX = 80  # of a source: it is part of a folder's name
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*\Z")
_DAYS = re.compile(r"[-_.]?(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2})?)?\Z")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What `manifest.json` says of a snapshot."""

    id: str
    source: Annotated[str, Meta(description="the kind of importer that made it")]
    name: Annotated[str, Meta(description="of the source; snapshots of one name, but for days, are one over time")]
    date: Annotated[str, Meta(description="of the data, not of the import: YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, UTC")]
    imported_at: str
    version: int
    licence: str
    attribution: str
    url: str
    ship: Annotated[str, Meta(description="yes: may be given to others with the attribution; facts-only: undecided")]
    biases: str
    rows: dict[str, int]
    unread: int
    unread_rows_dropped: int = 0
    sha256: Annotated[str, Meta(description="of the input")]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A finished import."""

    manifest: Manifest
    folder: Path

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def line(self) -> str:
        """The source over time: its name without the days that older versions took over from a file's name."""
        return undated(self.name)

    @property
    def at(self) -> datetime:
        """The data's date; midnight where only a day is known."""
        return moment(self.manifest.date)

    def table_path(self, table: str) -> Path | None:
        """The Parquet file of a table, or None if the snapshot has no such rows."""
        return self.folder / f"{table}.parquet" if table in self.manifest.rows else None


@dataclass(frozen=True, slots=True)
class Draft:
    """A snapshot in the making; importers write `<table>.parquet` into `folder`."""

    folder: Path
    scratch: Path

    def path(self, table: str) -> Path:
        assert table in TABLES, f"no such table: {table}"
        return self.folder / f"{table}.parquet"


@lru_cache(maxsize=10_000)
def undated(name: str) -> str:
    """A name without the days in it; a name that is nothing else stays."""
    return _DAYS.sub("", name).strip("-._") or name


def older(one: Snapshot, every: Sequence[Snapshot]) -> tuple[Snapshot, ...]:
    """Those of the same source from before it, oldest first; of two of one date, the one imported last."""
    found: dict[datetime, Snapshot] = {}
    for other in every:
        if other.line == one.line and other.at < one.at:
            before = found.get(other.at)
            if before is None or before.manifest.imported_at <= other.manifest.imported_at:
                found[other.at] = other
    return tuple(found[at] for at in sorted(found))


def moment(text: str) -> datetime:
    """`2026-08-22` or `2026-08-22T20:00:00` as naive UTC."""
    if not _DATE.match(text):
        raise Invalid(f"date: {text[:40]!r} must be YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise Invalid(f"date: {text!r} is no date of the calendar") from error


def source_name(text: str) -> str:
    """Checks the name of a source: it becomes a folder's name."""
    if len(text) > NAME_CHARS_MAX or not _NAME.match(text) or ".." in text:
        raise Invalid(
            f"name: {text[:100]!r} must be 1 to {NAME_CHARS_MAX} lower-case letters, digits, '-', '_' or '.', "
            "and start with a letter or a digit"
        )
    return text


class World:
    """All that the Observatory knows, in one folder (DATA/observatory). Safe to use from several threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._manifests: dict[tuple[Path, int, int], Manifest] = {}
        self._known: tuple[object, Registry, Licences] | None = None

    @property
    def cache(self) -> Path:
        """For results that may be deleted at any time."""
        return self.root / "cache"

    @property
    def registry_folder(self) -> Path:
        return self.root / "registry"

    @property
    def claims_folder(self) -> Path:
        return self.root / "claims"

    def snapshots(self) -> list[Snapshot]:
        """Every finished snapshot, by source and then by date."""
        folder = self.root / "snapshots"
        if not folder.is_dir():
            return []
        found = [self._read(one) for one in folder.iterdir() if one.is_dir() and not one.name.startswith(".")]
        return sorted(found, key=lambda snapshot: (snapshot.line, snapshot.manifest.date, snapshot.id))

    def snapshot(self, text: str) -> Snapshot:
        """By id, by name (then the newest of it), or by the beginning of exactly one id."""
        every = self.snapshots()
        for one in every:
            if one.id == text:
                return one
        named = [one for one in every if one.line == text] or [one for one in every if one.name == text]
        if named:
            return named[-1]
        begun = [one for one in every if text and one.id.startswith(text)]
        if len(begun) == 1:
            return begun[0]
        known = ", ".join(one.id for one in (begun or every)[:20]) or "none; `headwater observatory import` makes one"
        why = "is the beginning of several" if begun else "is not known"
        raise EntryMissing("observatory", text=f"snapshot: {text[:100]!r} {why}. Snapshots: {known}")

    def having(self, table: str) -> list[Snapshot]:
        """The snapshots with rows of a table."""
        return [one for one in self.snapshots() if one.manifest.rows.get(table)]

    def same_input(self, name: str, sha256: str, dated: str) -> Snapshot | None:
        """The snapshot that this very input was made into, for the same date and by this version of the importers."""
        for one in self.snapshots():
            was = one.manifest
            if (was.name, was.sha256, was.date, was.version) == (name, sha256, dated, IMPORTER_VERSION):
                return one
        return None

    def registry(self) -> Registry:
        """The organisations, as shipped and as the operator's files change them."""
        return self._registries()[1]

    def licences(self) -> Licences:
        """Licence families, likewise."""
        return self._registries()[2]

    def _registries(self) -> tuple[object, Registry, Licences]:
        """Read anew when a file has changed."""
        folder = self.registry_folder
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        stamp = tuple((file.name, (stat := file.stat()).st_mtime_ns, stat.st_size, stat.st_ino) for file in files)
        known = self._known
        if known is None or known[0] != stamp:
            known = self._known = (stamp, Registry.load(folder), Licences.load(folder))
        return known

    @contextlib.contextmanager
    def importing(self) -> Iterator[Draft]:
        """A place to put a snapshot together; all of it is gone at the end, but for what `finish` made of it."""
        incoming = self.root / "incoming"
        incoming.mkdir(parents=True, exist_ok=True)
        _sweep(incoming)
        place = incoming / secrets.token_hex(8)
        draft = Draft(place / "snapshot", place / "scratch")
        try:
            draft.folder.mkdir(parents=True)
            draft.scratch.mkdir()
            yield draft
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def finish(self, draft: Draft, manifest: Manifest) -> Snapshot:
        """Makes the draft a snapshot; its id is chosen here. The rename is the moment at which it exists."""
        folder = self.root / "snapshots"
        folder.mkdir(parents=True, exist_ok=True)
        base = f"{source_name(manifest.name)}@{moment(manifest.date).date()}"
        for snapshot_id in (base, f"{base}-{manifest.sha256[:8]}", f"{base}-{secrets.token_hex(4)}"):
            if (folder / snapshot_id).exists():
                continue
            made = msgspec.structs.replace(manifest, id=snapshot_id)
            (draft.folder / "manifest.json").write_bytes(
                msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n"
            )
            for file in draft.folder.iterdir():
                file.chmod(0o444)
                _sync(file)
            _sync(draft.folder)
            try:
                draft.folder.rename(folder / snapshot_id)
            except OSError as error:
                if (folder / snapshot_id).exists():  # another import was quicker
                    continue
                raise Conflict(f"snapshot {snapshot_id}: {error.strerror}") from error
            _sync(folder)
            return Snapshot(made, folder / snapshot_id)
        raise Conflict(f"snapshot {base}: every name for it is taken")

    def remove(self, snapshot: Snapshot) -> None:
        """Forgets a snapshot; first by a rename, so that no half of it can be read."""
        grave = self.root / "incoming" / secrets.token_hex(8)
        grave.parent.mkdir(parents=True, exist_ok=True)
        snapshot.folder.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)

    def _read(self, folder: Path) -> Snapshot:
        file = folder / "manifest.json"
        try:
            stat = file.stat()
            key = (folder, stat.st_ino, stat.st_mtime_ns)  # a removed snapshot may come back under the same name
            if key not in self._manifests:
                raw = file.read_bytes() if stat.st_size <= MANIFEST_BYTES_MAX else b""
                self._manifests[key] = msgspec.json.decode(raw, type=Manifest)
        except (OSError, msgspec.MsgspecError, RecursionError) as error:
            raise Corrupt(f"observatory: {file} can't be read ({error}); remove the folder and import again") from error
        return Snapshot(self._manifests[key], folder)


def _sweep(incoming: Path) -> None:
    for left in incoming.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > INCOMING_AGE_MAX_S:
                shutil.rmtree(left, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
