"""One hub for all client tests of a run, behind a relay (client_meter.py) that counts what goes over the wire."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # importlib mode leaves it out; our modules import each other

from client_hub import open_hub
from client_meter import Meter
from client_running import Clients, Hub


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A seeded hub with a data folder of its own."""
    meter = Meter()
    meter.start()
    with open_hub(tmp_path_factory.mktemp("hub"), meter) as opened:
        yield opened
    meter.stop()


@pytest.fixture
def clients(hub: Hub, tmp_path: Path) -> Clients:
    """The runner of client programs for one test."""
    return Clients(hub, tmp_path)
