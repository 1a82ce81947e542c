"""What one generation of the Xet client has uploaded, every other can read: weights that compress, and zeros."""

from __future__ import annotations

import array
import hashlib
import random
from pathlib import Path

import pytest
from client_running import Clients, client_home
from test_hub import VERSIONS

UPLOAD = """
import sys
from huggingface_hub import HfApi
api = HfApi()
api.create_repo("alice/generations", exist_ok=True)
api.upload_file(repo_id="alice/generations", path_or_fileobj=sys.argv[1], path_in_repo=sys.argv[2])
"""
DOWNLOAD = """
import hashlib, pathlib, sys
from huggingface_hub import snapshot_download
where = pathlib.Path(snapshot_download("alice/generations"))
for file in sorted(where.glob("*.bin")):
    print("got", file.name, hashlib.sha256(file.read_bytes()).hexdigest())
"""


def weights(seed: str) -> bytes:
    """Return 3 MB that the client packs in each of its ways: floats (grouped bytes), zeros (LZ4), noise (as it is)."""
    chance = random.Random(seed)
    floats = array.array("f", (chance.gauss(0, 0.02) for _ in range(300_000))).tobytes()
    return floats + bytes(800_000) + chance.randbytes(1_000_000)


@pytest.mark.timeout(180)
def test_every_generation_reads_what_every_other_has_written(clients: Clients) -> None:
    wanted = {}
    for version in VERSIONS:
        env = clients.environment(f"up-{version}")
        data, name = weights(version), f"from-{version}.bin"
        (Path(env["WORK_DIR"]) / name).write_bytes(data)
        wanted[name] = hashlib.sha256(data).hexdigest()
        python = str(client_home(f"hub-{version}") / "bin" / "python")
        done = clients.run([python, "-c", UPLOAD, str(Path(env["WORK_DIR"]) / name), name], env)
        assert done.code == 0, done.out
    for version in VERSIONS:
        seen = clients.hub.meter.state()["count"]
        python = str(client_home(f"hub-{version}") / "bin" / "python")
        done = clients.run([python, "-c", DOWNLOAD], clients.environment(f"down-{version}"))
        got = dict(line.split()[1:] for line in done.out.splitlines() if line.startswith("got "))
        assert done.code == 0 and got == wanted, done.out
        lines = clients.hub.meter.state(since=seen)["lines"]
        assert any("/reconstruction" in line for line in lines), f"{version} did not use Xet: {lines}"
    plain = clients.run([python, "-c", DOWNLOAD], clients.environment("plain", xet=False))
    got = dict(line.split()[1:] for line in plain.out.splitlines() if line.startswith("got "))
    assert plain.code == 0 and got == wanted, plain.out
