"""Starts the hub that the clients are tested against, exactly as its user would: two commands and a port."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from client_meter import Meter
from client_running import REPOSITORY, SEED, Hub, plain_environment

START_LIMIT_S = 30.0
STOP_LIMIT_S = 20.0


@contextmanager
def open_hub(root: Path, meter: Meter, path: str = "") -> Iterator[Hub]:
    """Seed and serve a hub with its data under `root`, behind `meter`; stop it by SIGTERM at the end.

    `path` is the path prefix of its public address, as "/some/hub".
    """
    root.mkdir(parents=True, exist_ok=True)
    data, log, seed = root / "data", root / "server.log", root / "seed.json"
    seed.write_text(json.dumps(SEED))
    port = meter.target_port = _free_port()
    env = {**plain_environment(root / "home"), "HEADWATER_PUBLIC_URL": meter.url + path}
    headwater = [sys.executable, "-m", "headwater"]
    with log.open("wb") as out:
        seeding = [*headwater, "admin", "seed", str(seed), "--data", str(data)]
        seeded = subprocess.run(
            seeding, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert seeded.returncode == 0, f"headwater admin seed failed:\n{seeded.stdout}{seeded.stderr}"
        serve = [*headwater, "serve", "--host", "127.0.0.1", "--port", str(port), "--data", str(data)]
        process = subprocess.Popen(serve, cwd=REPOSITORY, env=env, stdout=out, stderr=subprocess.STDOUT)
        try:
            _wait_until_answering(f"http://127.0.0.1:{port}", process, log)
            yield Hub(url=meter.url + path, meter=meter, data=data, log=log)
        finally:
            process.terminate()
            try:
                code = process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
    said = log.read_text(errors="replace")
    assert "Traceback" not in said, f"the hub made a mistake behind its clients' backs:\n{said[-8000:]}"
    assert code == 0, f"SIGTERM should end the hub with 0, it ended with {code}:\n{said[-4000:]}"


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait_until_answering(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until:
        if process.poll() is not None:
            pytest.fail(f"the hub ended with {process.returncode} while starting:\n{log.read_text()[-4000:]}")
        try:
            urllib.request.urlopen(f"{url}/api/models?limit=1", timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            time.sleep(0.05)  # nothing listens yet, and a port gives no event to wait for
        else:
            return
    pytest.fail(f"the hub did not answer within {START_LIMIT_S} s:\n{log.read_text()[-4000:]}")
