"""Several people work on one repository at the same time, and nobody's commit is lost."""

from __future__ import annotations

import subprocess

import pytest
from client_running import ALICE, Clients, client_home
from raw_hub import RawHub

COMMITS = 6
UPLOADS = """
import os, sys
from huggingface_hub import HfApi
for number in range(int(sys.argv[2])):
    HfApi().upload_file(repo_id="alice/together", path_or_fileobj=os.urandom(20_000), path_in_repo=f"{sys.argv[1]}/{number}.bin")
"""


@pytest.mark.timeout(120)
def test_commits_made_at_the_same_time_are_all_there(clients: Clients) -> None:
    raw = RawHub(clients.hub.url, ALICE)
    raw.create_repo("alice/together")
    running = []
    for who, version in (("one", "2.4"), ("two", "2.4"), ("three", "0.36")):
        python = str(client_home(f"hub-{version}") / "bin" / "python")
        env = clients.environment(who)
        command = [python, "-c", UPLOADS, who, str(COMMITS)]
        running.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    for process in running:
        said, _ = process.communicate(timeout=90)
        assert process.returncode == 0, said
    wanted = {f"{who}/{number}.bin" for who in ("one", "two", "three") for number in range(COMMITS)}
    assert {path for path, entry in raw.tree("alice/together").items() if entry["type"] == "file"} == wanted | {
        ".gitattributes"
    }
    commits = raw.send("GET", "/api/models/alice/together/commits/main?limit=100").json
    assert len(commits) == 3 * COMMITS + 1
