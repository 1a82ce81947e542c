"""A hub per module over a copy of one data folder, in memory-backed storage, with the same people in each.

`ada` is admin of the organization acme, `wim` writes in it, `cyd` contributes, `rea` reads; `sam` is in no
organization; `otto` is admin of another one; `root` administers the hub.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog

sys.path.insert(0, str(Path(__file__).resolve().parent))  # importlib mode leaves it out; our modules import each other

from asgi_hub import Hub, open_hub

from headwater.accounts.seed import seed
from headwater.app import open_rooms, prepare
from headwater.ground.clock import Clock
from headwater.ground.settings import Settings

PEOPLE = ("ada", "wim", "cyd", "rea", "sam", "otto")
PASSWORD = "correct horse battery"
MEMORY = Path("/dev/shm")


def token_of(name: str) -> str:
    return f"hf_{name}WritesInTheTestsOfThisHub{'x' * (5 - len(name))}"


def seeded() -> bytes:
    users = [{"name": n, "fullname": n.title(), "email": f"{n}@example.org", "token": token_of(n)} for n in PEOPLE]
    users[0]["password"] = PASSWORD
    orgs = [
        {
            "name": "acme",
            "fullname": "Acme",
            "members": {"ada": "admin", "wim": "write", "cyd": "contributor", "rea": "read"},
        },
        {"name": "other", "members": {"otto": "admin"}},
        {"name": "shy", "members": {"ada": "admin"}, "default_visibility": "private"},
    ]
    return json.dumps({"users": users, "orgs": orgs}).encode()


@pytest.fixture(scope="session")
def folders() -> Iterator[Callable[[], Path]]:
    """New empty folders in memory, gone at the end."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None, prefix="headwater-api-") as base:
        yield lambda: Path(tempfile.mkdtemp(dir=base))


@pytest.fixture(scope="session")
def peopled(folders: Callable[[], Path]) -> Path:
    """A data folder with the people in it, to be copied."""
    data = folders() / "data"
    rooms = open_rooms(Settings(data=str(data)))
    prepare(rooms)
    seed(rooms.accounts, seeded())
    rooms.accounts.create_user("root", is_admin=True)
    rooms.db.close()
    return data


@pytest.fixture(scope="module")
def new_hub(folders: Callable[[], Path], peopled: Path) -> Iterator[Callable[..., Hub]]:
    """Hubs with settings and clocks of their own: `new_hub(clock=..., lfs_part_size=...)`."""
    with ExitStack() as stack:

        def made(clock: Clock | None = None, **settings: Any) -> Hub:
            data = folders() / "data"
            shutil.copytree(peopled, data)
            hub = stack.enter_context(open_hub(data, clock, **settings))
            hub.tokens.update({name: token_of(name) for name in PEOPLE})
            hub.tokens["root"] = hub.token("root")
            return hub

        yield made


@pytest.fixture(scope="module")
def hub(new_hub: Callable[..., Hub]) -> Hub:
    return new_hub()


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """What the hub logs is nobody's business but that of the tests that read it (test_T45)."""
    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[], cache_logger_on_first_use=False)
    yield
    structlog.configure(**before)
