"""Data folders and hubs for the fault tests. Every hub listens on 127.0.0.1 only and ends with its test."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # importlib mode leaves it out; our modules import each other
sys.path.append(str(Path(__file__).resolve().parents[1] / "unit" / "store"))  # where xorbs and shards are made

from fault_fork import Forks
from fault_hub import SEED, Hub, clone_of, environment
from fault_power import build_shim

Hubs = Callable[..., Hub]
LONGEST = "test_seal.py"


@pytest.hookimpl(trylast=True)  # after they were shuffled
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that take longest come first: begun last, one of them would be waited for alone."""
    items.sort(key=lambda item: item.path.name != LONGEST)


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Runs the hub's commands."""
    made = Forks(tmp_path_factory.mktemp("forks"), environment())
    yield made
    made.close()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Path:
    """A data folder with alice and bob, and alice/m with one file: copied by each test, served by none."""
    folder = tmp_path_factory.mktemp("template")
    hub = Hub(folder, folder / "data", forks=forks)
    (folder / "seed.json").write_text(json.dumps(SEED))
    done = hub.headwater("admin", "seed", str(folder / "seed.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    hub.start()
    try:
        hub.create("alice/m")
        hub.committed("alice/m", {"first.txt": b"first\n"})
    finally:
        assert hub.stop() == 0, hub.said()
    return hub.data


@pytest.fixture
def hubs(template: Path, tmp_path: Path, forks: Forks) -> Iterator[Hubs]:
    """Makes hubs on copies of the template (or on `data` as it is); whatever runs at the end is killed."""
    made: list[Hub] = []

    def make(data: Path | None = None, **env: str) -> Hub:
        folder = tmp_path / f"hub{len(made)}"
        folder.mkdir()
        if data is None:
            data = clone_of(template, folder / "data")
        made.append(Hub(folder, data, dict(env), forks=forks))
        return made[-1]

    yield make
    for hub in made:
        hub.kill()


@pytest.fixture(scope="session")
def hub(template: Path, tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Iterator[Hub]:
    """One running hub for tests that do no harm to others: each works in a repo of its own."""
    folder = tmp_path_factory.mktemp("hub")
    running = Hub(folder, clone_of(template, folder / "data"), forks=forks).start()
    yield running
    assert running.stop() == 0, running.said()


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disk of fault_shim.c, compiled."""
    made = build_shim(tmp_path_factory.mktemp("shim"))
    if made is None:
        pytest.skip("no C compiler: install the system package gcc to run the tests of failing disks")
    return made


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a disk of so many bytes in memory; its folder."""
    mounted: list[Path] = []

    def make(size_bytes: int) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "headwater-test", str(place)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("a small disk can't be mounted: run as root to run the tests of full disks")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)
