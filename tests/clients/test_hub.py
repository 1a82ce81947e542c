"""Five generations of huggingface_hub, each with Xet and without, do everything a person does with them."""

from __future__ import annotations

import pytest
from client_running import Clients, client_home

VERSIONS = ("0.34", "0.36", "1.19", "1.28", "2.4")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("xet", [True, False], ids=["xet", "no-xet"])
@pytest.mark.parametrize("version", VERSIONS)
def test_huggingface_hub_does_all_it_can_against_the_hub(clients: Clients, version: str, xet: bool) -> None:
    home = client_home(f"hub-{version}")
    seen = clients.hub.meter.state()["count"]
    run = f"hub-{version}-{'xet' if xet else 'lfs'}"
    done = clients.scenario("scenario_hub.py", home, clients.environment("one", xet=xet, RUN=run))
    assert f"huggingface_hub {version}." in done.out, "another version than the one named has run"
    lines = clients.hub.meter.state(since=seen)["lines"]
    faults = [lines[max(0, at - 3) : at + 1] for at, line in enumerate(lines) if line.startswith("  -> 5")]
    assert not faults, f"no answer may blame the server (the client would wait and retry): {faults}"
