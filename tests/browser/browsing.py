"""A tab of Chromium on a hub: what the tests do in it, and what no page may ever do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hub_filling
from hub_filling import Hub

SHOTS = Path(__file__).parent / "shots"
DESK = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


class Tab:
    """A page of Chromium that notes what no page may do: errors on the console, requests to elsewhere."""

    def __init__(self, context: Any, hub: Hub) -> None:
        self.hub = hub
        self.page = context.new_page()
        self.faults: list[str] = []
        self.page.on(
            "console", lambda line: self.faults.append(line.text) if line.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on(
            "request", lambda asked: None if asked.url.startswith(hub.base + "/") else self.faults.append(asked.url)
        )
        self.page.on("dialog", lambda dialog: dialog.accept())

    def go(self, path: str) -> Any:
        answer = self.page.goto(self.hub.base + path)
        self.check()
        return answer

    def check(self) -> None:
        assert self.faults == []
        width, shown = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width <= shown, f"{self.page.url} scrolls sideways"

    def shoot(self, name: str) -> None:
        self.check()
        SHOTS.mkdir(exist_ok=True)
        size = "phone" if self.page.viewport_size["width"] < 600 else "desk"
        self.page.screenshot(path=SHOTS / f"{name}.{size}.png")

    def sign_in(self) -> None:
        self.go("/login")
        self.page.get_by_label("Name").fill("ada")
        self.page.get_by_label("Password").fill(str(hub_filling.SEED["users"][0]["password"]))
        self.page.locator("main").get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(self.hub.base + "/")
