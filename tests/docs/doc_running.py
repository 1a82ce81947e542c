"""Runs what a page says: its commands in one shell, in order, against a hub of its own; compares what comes out.

A `console` block has lines that begin with `$ ` (typed) and the output that must follow. `...` stands for anything: at
a line's end or middle for the rest of it, as a whole line for any lines. Output that the page does not show is allowed.
Knows nothing of what the pages teach.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "http://127.0.0.1:8411"  # what the pages say; each test has a port of its own
START_LIMIT_S = 30.0
STOP_LIMIT_S = 30.0
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_MARK = "@@headwater-step@@"


@dataclass(frozen=True)
class Step:
    """A command and the lines that the page shows after it."""

    command: str
    expected: tuple[str, ...]


def blocks(text: str, language: str) -> list[str]:
    """The contents of the fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def steps(text: str) -> list[Step]:
    """The steps of all `console` blocks of a page."""
    found: list[Step] = []
    for block in blocks(text, "console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Step(line[2:], ()))
            else:
                found[-1] = Step(found[-1].command, (*found[-1].expected, line))
    return found


def missing_lines(expected: Sequence[str], output: str) -> list[str]:
    """The expected lines that do not come, in this order, in the output."""
    left = [line.rstrip() for line in _ANSI.sub("", output).replace("\r", "\n").splitlines()]
    missing = []
    for line in expected:
        if line.strip() == "...":
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in line.rstrip().split("...")) + r"\Z")
        at = next((i for i, got in enumerate(left) if pattern.match(got)), None)
        if at is None:
            missing.append(line)
        else:
            left = left[at + 1 :]
    return missing


def play(text: str, folder: Path, env: dict[str, str], address: str, *, limit_s: float) -> list[str]:
    """Runs a page's steps in one shell in `folder`; what went wrong, in words."""
    todo = steps(text.replace(ADDRESS, address))
    script = "".join(f"printf '\\n%s\\n' '{_MARK}'\n{step.command}\n" for step in todo)
    done = shell(script, folder, env, limit_s=limit_s)
    outputs = done.stdout.split(f"{_MARK}\n")[1:]
    found = [
        f"$ {step.command}\n  should print {line!r}; it printed:\n{output}"
        for step, output in zip(todo, outputs, strict=False)
        for line in missing_lines(step.expected, output)
    ]
    if done.returncode:
        failed = todo[len(outputs) - 1].command if outputs else "(the first command)"
        found.append(f"$ {failed}\n  ended with {done.returncode}:\n{outputs[-1] if outputs else done.stdout}")
    return found


def shell(script: str, folder: Path, env: dict[str, str], *, limit_s: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=limit_s,
        check=False,
    )


def _clients() -> Any:
    spec = importlib.util.spec_from_file_location("clients_setup", ROOT / "scripts" / "clients" / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["clients_setup"] = module  # its dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def client_home(name: str) -> Path:
    """The folder of a client environment; skips (or fails, in CI) where it is not built."""
    clients = _clients()
    recipe = next(recipe for recipe in clients.RECIPES if recipe.name == name)
    if not clients.is_built(recipe):
        reason = f"client environment {name} is not built: run `python scripts/clients/setup.py {name}`"
        if os.environ.get("HEADWATER_REQUIRE_CLIENTS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return Path(clients.clients_dir()) / name


def environment(folder: Path, *programs: Path) -> dict[str, str]:
    """Nothing of the developer's; `headwater` and the given folders of programs within reach."""
    own = folder / "bin"
    own.mkdir(exist_ok=True)
    program = own / "headwater"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m headwater "$@"\n')
    program.chmod(0o755)
    return {
        "PATH": os.pathsep.join([str(own), *map(str, programs), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",  # it would ask a package registry
    }


@contextlib.contextmanager
def served(folder: Path, env: dict[str, str]) -> Iterator[str]:
    """`headwater serve` as the pages start it: in the folder, with the default data folder. Its address."""
    log = folder / "serve.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "headwater", "serve"],
            cwd=folder,
            env={**env, "HEADWATER_PORT": "0"},
            stdout=out,
            stderr=out,
        )
        try:
            address = _address(process, log)
            # what `headwater admin` prints is made from the settings, which here name the port that was found
            env["HEADWATER_PORT"] = address.rpartition(":")[2]
            yield address
        finally:
            process.terminate()
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until:
        found = re.search(r"^Headwater serves (\S+)$", log.read_text(errors="replace"), re.MULTILINE)
        if found:
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.05)  # a file gives no event to wait for
    pytest.fail(f"the hub did not start:\n{log.read_text(errors='replace')[-4000:]}")
