"""huggingface.js, the client of web pages and of Node programs."""

from __future__ import annotations

import pytest
from client_running import HERE, Clients, client_home, program


@pytest.mark.timeout(120)
def test_huggingface_js_uploads_lists_and_downloads(clients: Clients) -> None:
    home = client_home("js")
    env = clients.environment("js", CLIENT_HOME=str(home))
    done = clients.run([program("node", "nodejs"), str(HERE / "scenario_js.mjs")], env)
    assert done.code == 0 and done.steps("plan"), done.out
    assert done.steps("ok") == done.steps("plan"), done.out
