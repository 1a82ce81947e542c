"""How a test runs a real client program: in a process of its own, with nothing inherited from the developer.

Each process starts with a fresh HF_HOME and Xet cache, no proxy, no token but the one given. Where a client
environment is not built the test is skipped with the command that builds it; HEADWATER_REQUIRE_CLIENTS=1 makes that a
failure, so that CI cannot go green by not running. Knows the client environments, refuses to know how the hub starts.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from client_meter import Meter

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]

ALICE, BOB, READER = (
    "hf_aliceAliceAliceAliceAliceAliceAA",
    "hf_bobBobBobBobBobBobBobBobBobBobBo",
    "hf_readerReaderReaderReaderReader00",
)
SEED = {
    "users": [
        {
            "name": "alice",
            "fullname": "Alice A.",
            "email": "alice@example.org",
            "password": "alice-password-1",
            "token": ALICE,
            "token_role": "write",
        },
        {
            "name": "bob",
            "fullname": "Bob B.",
            "email": "bob@example.org",
            "password": "bob-password-1",
            "token": BOB,
            "token_role": "write",
        },
        {
            "name": "reader",
            "fullname": "Reader R.",
            "email": "reader@example.org",
            "password": "reader-password-1",
            "token": READER,
            "token_role": "read",
        },
    ],
    "orgs": [
        {
            "name": "acme",
            "fullname": "Acme",
            "members": {"alice": "admin", "reader": "read"},
            "default_visibility": "public",
        }
    ],
}


@dataclass(frozen=True)
class Hub:
    """The running hub: `url` is what clients are told, `meter` counts what passes, `log` is the server's output."""

    url: str
    meter: Meter
    data: Path
    log: Path

    def with_login(self, user: str, token: str) -> str:
        """Return the address with credentials in it, as git takes them."""
        return self.url.replace("http://", f"http://{user}:{token}@")


@dataclass(frozen=True)
class Done:
    """How a client process ended."""

    code: int
    out: str

    def steps(self, word: str) -> list[str]:
        """Return the names of the steps printed with `word` (plan, ok or FAIL)."""
        return [line.split()[1] for line in self.out.splitlines() if line.startswith(f"{word} ")]


def _setup_module() -> Any:
    spec = importlib.util.spec_from_file_location("clients_setup", REPOSITORY / "scripts" / "clients" / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["clients_setup"] = module  # its dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


SETUP = _setup_module()


def lacking(reason: str) -> None:
    """Skip the running test, or fail it where a run without this client would be worth nothing."""
    if os.environ.get("HEADWATER_REQUIRE_CLIENTS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def client_home(name: str) -> Path:
    """Return the folder of a client environment; skip or fail when it is not built."""
    recipe = next(recipe for recipe in SETUP.RECIPES if recipe.name == name)
    if not SETUP.is_built(recipe):
        lacking(f"client environment {name} is not built: run `python scripts/clients/setup.py {name}`")
    return Path(SETUP.clients_dir()) / name


def program(name: str, package: str) -> str:
    """Return the path of a system program; skip or fail when it is missing."""
    found = shutil.which(name)
    if found is None:
        lacking(f"{name} is not on this machine: install the system package {package}")
    return str(found)


def plain_environment(home: Path) -> dict[str, str]:
    """Return an environment that holds nothing of the developer's: no proxy, no token, no cache."""
    home.mkdir(parents=True, exist_ok=True)
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }


@dataclass(frozen=True)
class Clients:
    """Runs client programs against the hub, each with a fresh home under `folder`."""

    hub: Hub
    folder: Path

    def environment(self, name: str, *, xet: bool = True, token: str = ALICE, **more: str) -> dict[str, str]:
        """Return the environment of one client process; `name` keeps its home apart from the others."""
        home = self.folder / name
        env = plain_environment(home)
        env.update(
            HF_ENDPOINT=self.hub.url,
            HF_HOME=str(home / "hf"),
            HF_XET_CACHE=str(home / "hf" / "xet"),
            HF_HUB_DISABLE_PROGRESS_BARS="1",
            HF_HUB_DISABLE_UPDATE_CHECK="1",  # it asks a package registry
            HF_HUB_ETAG_TIMEOUT="30",
            METER_URL=self.hub.meter.control_url,
            STRANGER_TOKEN=BOB,
            READER_TOKEN=READER,
            WORK_DIR=str(home / "work"),
        )
        (home / "work").mkdir(exist_ok=True)
        if not xet:
            env["HF_HUB_DISABLE_XET"] = "1"
        if token:
            env["HF_TOKEN"] = token
        env.update(more)
        return env

    def run(self, command: list[str], env: dict[str, str], *, limit_s: float = 120.0, cwd: Path | None = None) -> Done:
        """Run a command to its end and return its code and output (both streams, in order)."""
        done = subprocess.run(
            command,
            env=env,
            cwd=cwd or Path(env["HOME"]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
        )
        return Done(done.returncode, done.stdout)

    def scenario(self, script: str, home: Path, env: dict[str, str], *, limit_s: float = 120.0) -> Done:
        """Run a scenario script in a client environment and assert that every step it planned went well."""
        done = self.run([str(home / "bin" / "python"), str(HERE / script)], env, limit_s=limit_s)
        failed = done.steps("FAIL")
        said = f"{script} ended with {done.code}; failed steps: {failed or 'none'}\n{done.out[-20000:]}"
        assert done.code == 0 and not failed and done.steps("plan"), said
        assert done.steps("ok") == done.steps("plan"), said
        return done
