"""A hub that lives under a path of somebody's web server: http://host/some/hub."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from client_hub import open_hub
from client_meter import Meter
from client_running import ALICE, Clients, client_home, program

ROUND_TRIP = """
import hashlib, io, os, pathlib, sys
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
data = pathlib.Path("w.bin").read_bytes()
api = HfApi()
url = api.create_repo("alice/under-a-path")
assert url.repo_id == "alice/under-a-path" and url.url.startswith(os.environ["HF_ENDPOINT"] + "/"), repr(url)
info = api.upload_file(repo_id="alice/under-a-path", path_or_fileobj="w.bin", path_in_repo="w.bin")
assert info.commit_url.startswith(os.environ["HF_ENDPOINT"] + "/alice/under-a-path/commit/"), info
api.upload_file(repo_id="alice/under-a-path", path_or_fileobj=io.BytesIO(data[::-1]), path_in_repo="lfs.bin")
where = pathlib.Path(snapshot_download("alice/under-a-path"))
assert (where / "w.bin").read_bytes() == data and (where / "lfs.bin").read_bytes() == data[::-1]
api.move_repo("alice/under-a-path", "alice/moved")
assert pathlib.Path(hf_hub_download("alice/under-a-path", "w.bin", cache_dir="other")).read_bytes() == data
api.move_repo("alice/moved", "alice/under-a-path")
assert len(list(api.list_models(author="alice"))) == 1
print("done")
"""


@pytest.mark.timeout(120)
def test_a_hub_under_a_path_works_for_clients_and_git(tmp_path: Path) -> None:
    home = client_home("hub-2.4")
    meter = Meter()
    meter.start()
    with open_hub(tmp_path / "hub", meter, path="/some/hub") as hub:
        clients = Clients(hub, tmp_path)
        env = clients.environment("one")
        data = os.urandom(2_000_000)
        (Path(env["HOME"]) / "w.bin").write_bytes(data)
        done = clients.run([str(home / "bin" / "python"), "-c", ROUND_TRIP], env)
        assert done.code == 0 and "done" in done.out, done.out
        program("git-lfs", "git-lfs")
        for words in (["lfs", "install"], ["clone", "-q", hub.with_login("alice", ALICE) + "/alice/under-a-path", "c"]):
            done = clients.run([program("git", "git"), *words], env)
            assert done.code == 0, done.out
        assert (Path(env["HOME"]) / "c" / "w.bin").read_bytes() == data
    meter.stop()
