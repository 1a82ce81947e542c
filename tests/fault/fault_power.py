"""A disk after a power cut: what fault_shim.c wrote down, played back up to a moment, less what was never synced.

File data survives once the file was synced, names once their folder was; a cut in the model POSIX promises and no more.
Kinder and more random disks are there too, since real ones keep some of what they were not asked to keep. Knows the
shim's records; refuses to know what the files mean.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
_HEAD = struct.Struct("<IBQqII")


def build_shim(folder: Path) -> Path | None:
    """The shim, compiled; None where there is no C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    made = folder / "fault_shim.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(made), str(HERE / "fault_shim.c"), "-ldl", "-lpthread"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return made


def shim_environment(shim: Path, data: Path, control: Path, log: Path | None, folder: Path) -> dict[str, str]:
    """What a hub is started with, so that it and the git processes it starts (by PATH, with little else) run on it."""
    told = {"LD_PRELOAD": str(shim), "FAULT_ROOT": str(data), "FAULT_CONTROL": str(control)}
    if log is not None:
        told["FAULT_LOG"] = str(log)
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    real_git = shutil.which("git")
    words = " ".join(f"{name}='{value}'" for name, value in told.items())
    (programs / "git").write_text(f'#!/bin/sh\n{words} exec {real_git} "$@"\n')
    (programs / "git").chmod(0o755)
    return {**told, "PATH": f"{programs}:{os.environ['PATH']}"}


@dataclass
class File:
    now: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Since the last sync: (offset, data), or (size, None) for a cut."""


@dataclass
class Folder:
    now: dict[str, int] = field(default_factory=dict)
    synced: dict[str, int] = field(default_factory=dict)


Survives = Callable[[], bool]


def never() -> bool:
    """Nothing outlives the cut that was not synced."""
    return False


def always() -> bool:
    """Everything does: what kill -9 leaves."""
    return True


def by_chance(seed: int) -> Survives:
    """Some of it does, in no order."""
    chance = random.Random(seed)
    return lambda: chance.random() < 0.5


class Disk:
    """The folder `root` as it was when the log began, moved on by `play`, written out by `after_power_loss`."""

    def __init__(self, root: Path) -> None:
        self._root = str(root.resolve())
        self._nodes: dict[int, File | Folder] = {}
        self._top = self._take_in(root)

    def _take_in(self, path: Path) -> int:
        number = path.stat().st_ino
        if path.is_dir():
            folder = Folder({child.name: self._take_in(child) for child in path.iterdir()})
            folder.synced = dict(folder.now)
            self._nodes[number] = folder
        else:
            data = path.read_bytes()
            self._nodes[number] = File(bytearray(data), data)
        return number

    def play(self, log: bytes) -> None:
        """Moves on by whole records."""
        for op, number, at, first, second in _records(log):
            self._step(op, number, at, first, second)

    def _step(self, op: str, number: int, at: int, first: bytes, second: bytes) -> None:
        node = self._nodes.get(number)
        if op == "w" and isinstance(node, File):
            node.now.extend(bytes(max(0, at + len(second) - len(node.now))))
            node.now[at : at + len(second)] = second
            node.pending.append((at, second))
        elif op == "t" and isinstance(node, File):
            _cut(node.now, at)
            node.pending.append((at, None))
        elif op == "s" and node is not None:
            self._sync(node)
        elif op == "S":
            for each in self._nodes.values():
                self._sync(each)
        elif op in "omurl":
            self._name(op, number, at, os.fsdecode(first), os.fsdecode(second))

    def _sync(self, node: File | Folder) -> None:
        if isinstance(node, File):
            node.synced, node.pending = bytes(node.now), []
        else:
            node.synced = dict(node.now)

    def _name(self, op: str, number: int, at: int, path: str, other: str) -> None:
        parent, name = self._place(path)
        if op == "o":
            self._opened(parent, name, number, cut=bool(at))
        elif op == "m" and parent is not None:
            self._nodes[number] = Folder()
            parent.now[name] = number
        elif op == "u" and parent is not None:
            parent.now.pop(name, None)
        elif op in "rl":
            to, new_name = self._place(other)
            moved = parent.now.get(name) if parent is not None else None
            if op == "r" and parent is not None:
                parent.now.pop(name, None)
            if to is not None:
                assert moved is not None, f"{other} came from {path}, which was not seen being made"
                to.now[new_name] = moved

    def _opened(self, parent: Folder | None, name: str, number: int, *, cut: bool) -> None:
        if parent is None:
            self._nodes.pop(number, None)  # the disk gave a number of ours to a file outside
            return
        if parent.now.get(name) != number:
            parent.now[name] = number
            self._nodes[number] = File()
        node = self._nodes[number]
        if cut and isinstance(node, File) and node.now:
            node.now.clear()
            node.pending.append((0, None))

    def _place(self, path: str) -> tuple[Folder | None, str]:
        """The folder that holds a path, and its name there; None for paths outside."""
        plain = os.path.normpath(path)
        if not plain.startswith(self._root + "/"):
            return None, ""
        node: File | Folder | None = self._nodes[self._top]
        *folders, name = plain[len(self._root) + 1 :].split("/")
        for part in folders:
            node = self._nodes.get(node.now.get(part, -1)) if isinstance(node, Folder) else None
        return (node if isinstance(node, Folder) else None), name

    def after_power_loss(self, target: Path, names: Survives, data: Survives) -> None:
        """Writes into `target` what is left; `names` and `data` say which unsynced changes survive."""
        self._write(self._top, target, names, data, {})

    def _write(self, number: int, target: Path, names: Survives, data: Survives, made: dict[int, Path]) -> None:
        node = self._nodes[number]
        if isinstance(node, Folder):
            target.mkdir(exist_ok=True)
            for name, child in sorted(_surviving(node, names).items()):
                self._write(child, target / name, names, data, made)
        elif number in made:
            target.hardlink_to(made[number])
        else:
            left = bytearray(node.synced)
            for at, written in node.pending:
                if data():
                    _apply(left, at, written)
            target.write_bytes(left)
            target.chmod(0o600)
            made[number] = target


def _surviving(folder: Folder, names: Survives) -> dict[str, int]:
    left = dict(folder.synced)
    for name in sorted(folder.synced.keys() | folder.now.keys()):
        if folder.synced.get(name) != folder.now.get(name) and names():
            left.pop(name, None)
            if name in folder.now:
                left[name] = folder.now[name]
    return left


def _apply(data: bytearray, at: int, written: bytes | None) -> None:
    if written is None:
        _cut(data, at)
    else:
        data.extend(bytes(max(0, at + len(written) - len(data))))
        data[at : at + len(written)] = written


def _cut(data: bytearray, size: int) -> None:
    if size < len(data):
        del data[size:]
    else:
        data.extend(bytes(size - len(data)))


def _records(log: bytes) -> Iterator[tuple[str, int, int, bytes, bytes]]:
    at = 0
    while at < len(log):
        total, op, number, offset, first, second = _HEAD.unpack_from(log, at)
        middle = at + _HEAD.size + first
        yield chr(op), number, offset, log[at + _HEAD.size : middle], log[middle : middle + second]
        at += total


def boundaries(log: bytes) -> list[int]:
    """Where records end."""
    found, at = [], 0
    while at < len(log):
        at += _HEAD.unpack_from(log, at)[0]
        found.append(at)
    return found
