"""A client remembers for weeks which xorbs a hub holds. What if the hub has lost them, or is another one by now?"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from client_hub import open_hub
from client_meter import Meter
from client_running import Clients, client_home

UPLOAD = "from huggingface_hub import HfApi; HfApi().create_repo('alice/weights', exist_ok=True); HfApi().upload_file(repo_id='alice/weights', path_or_fileobj='w.bin', path_in_repo='w.bin'); print('uploaded')"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("version", ["0.34", "2.4"])
def test_a_client_that_remembers_lost_xorbs_is_told_what_to_do(tmp_path: Path, version: str) -> None:
    python = str(client_home(f"hub-{version}") / "bin" / "python")
    meter = Meter()
    meter.start()
    with open_hub(tmp_path / "first", meter) as hub:
        clients = Clients(hub, tmp_path)
        env = clients.environment("one")
        (Path(env["HOME"]) / "w.bin").write_bytes(os.urandom(3_000_000))
        done = clients.run([python, "-c", UPLOAD], env)
        assert done.code == 0 and "uploaded" in done.out, done.out
    with open_hub(tmp_path / "second", meter) as hub:
        clients = Clients(hub, tmp_path)
        done = clients.run([python, "-c", UPLOAD], env)
        if done.code:  # a client may also find out by itself, and send everything again
            assert "HF_XET_CACHE" in done.out and "shard-cache" in done.out, done.out
            for cache in Path(env["HF_XET_CACHE"]).glob("*/shard-cache"):  # what the message says
                shutil.rmtree(cache)
            done = clients.run([python, "-c", UPLOAD], env)
        assert done.code == 0 and "uploaded" in done.out, done.out
    meter.stop()
