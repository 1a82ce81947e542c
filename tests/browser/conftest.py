"""A real hub with content, and Chromium to look at it. Skipped, with the reason, where there is no browser."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import hub_filling
from browsing import DESK, SHOTS, Tab
from hub_filling import Hub

PREFIX = "/hubs/one"
PLACES = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    place = os.environ.get("HEADWATER_CHROMIUM") or next((one for one in PLACES if Path(one).exists()), None)
    if place is None:
        pytest.skip("no Chromium: install it (apt-get install chromium) or name it in HEADWATER_CHROMIUM")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=place, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def hub(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A served hub with users and repos, under a path prefix, so that no link forgets it."""
    data = tmp_path_factory.mktemp("hub")
    with serving(data) as (made, _):
        seed = data / "seed.json"
        seed.write_text(json.dumps(hub_filling.SEED))
        command = [sys.executable, "-m", "headwater", "admin", "--data", str(data), "seed", str(seed)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        hub_filling.fill(made)
        yield made


@pytest.fixture(scope="session")
def new_hub(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, str]]:
    """A hub that was just started for the first time, and what it printed."""
    with serving(tmp_path_factory.mktemp("new")) as found:
        yield found


class serving:
    """`python -m headwater serve` until the block ends; gives the hub and what it announced."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def __enter__(self) -> tuple[Hub, str]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        hub = Hub(f"http://127.0.0.1:{port}", PREFIX)
        command = [sys.executable, "-m", "headwater", "serve", "--port", str(port), "--data", str(self.data)]
        environment = {**os.environ, "HEADWATER_PUBLIC_URL": hub.base}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True)
        assert self.process.stderr is not None
        announced = []
        for line in self.process.stderr:
            announced.append(line)
            if "HF_ENDPOINT" in line:  # the last line of the announcement: it accepts connections
                return hub, "".join(announced)
        raise AssertionError("".join(announced))

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def tab(chromium: Any, hub: Hub) -> Iterator[Callable[..., Tab]]:
    """`tab(**options)`: a page in a context of its own."""
    contexts = []

    def opened(**options: Any) -> Tab:
        context = chromium.new_context(**{"viewport": DESK, "color_scheme": "light", **options})
        context.set_default_timeout(15_000)
        contexts.append(context)
        return Tab(context, hub)

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="session", autouse=True)
def empty_shots() -> None:
    shutil.rmtree(SHOTS, ignore_errors=True)
