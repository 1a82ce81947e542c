"""Registries that an operator brings: organisations (account, country, ...) and licence families, as CSV.

They change no snapshot: they are kept beside them, in the order in which they came, and later ones win (registry.py).
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import msgspec

from headwater.ground.errors import Invalid
from headwater.observatory import licences, registry
from headwater.observatory.imports.job import Options
from headwater.observatory.registry import FILE_BYTES_MAX, Fault
from headwater.observatory.world import World, source_name

_NUMBERED = re.compile(r"(\d{4})-(.+)\.origin\.json\Z")


class Origin(msgspec.Struct, frozen=True):
    """What is known of a registry file, kept beside it."""

    name: str
    sha256: str
    licence: str
    attribution: str
    ship: str
    rows: int


def keep_accounts(world: World, file: Path, options: Options) -> tuple[int, list[Fault], bool]:
    """Takes a registry of organisations: (rows, lines not taken, whether it was here already)."""
    text = _text(file)
    rows, faults = registry.read_rows(text, options.name)
    if not rows:
        raise Invalid(f"{file.name}: no row names an account and a country")
    made = registry.write_rows(rows)
    return len(rows), faults, _keep(world, made, len(rows), registry.SUFFIX, options)


def keep_licences(world: World, file: Path, options: Options) -> tuple[int, list[Fault], bool]:
    """Takes a table of licence families, as `keep_accounts`."""
    rows, faults = licences.read_licences(_text(file))
    if not rows:
        raise Invalid(f"{file.name}: no row names a licence and its family")
    return len(rows), faults, _keep(world, licences.write_licences(rows), len(rows), licences.SUFFIX, options)


def _text(file: Path) -> str:
    if file.stat().st_size > FILE_BYTES_MAX:
        raise Invalid(f"{file.name}: more than {FILE_BYTES_MAX} bytes")
    return file.read_bytes().decode("utf-8-sig", errors="replace")


def _keep(world: World, text: str, rows: int, suffix: str, options: Options) -> bool:
    """Writes the file under the next number, or over an older one of the same name; True: nothing is new."""
    folder = world.registry_folder
    folder.mkdir(parents=True, exist_ok=True)
    name = source_name(options.name)
    origin = Origin(
        name, hashlib.sha256(text.encode()).hexdigest(), options.licence, options.attribution, options.ship, rows
    )
    known = {match[2]: match[1] for one in folder.iterdir() if (match := _NUMBERED.match(one.name))}
    number = known.get(name) or f"{max((int(one) for one in known.values()), default=0) + 1:04d}"
    beside = folder / f"{number}-{name}.origin.json"
    if beside.exists() and msgspec.json.decode(beside.read_bytes(), type=Origin) == origin:
        return True
    _replace(folder / f"{number}-{name}{suffix}", text.encode())
    _replace(beside, msgspec.json.encode(origin) + b"\n")
    return False


def _replace(file: Path, content: bytes) -> None:
    """A file that is either the old one or the new one, whenever somebody looks."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    with fresh.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)
