"""The newest Hugging Face client, run unmodified in a process of its own with a fresh home and Xet cache."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from benchmarks.calls import TIMEOUT_S
from benchmarks.figures import Skipped
from benchmarks.processes import TOKEN, environment

NEWEST = "hub-2.4"  # as scripts/clients builds it


def newest_client() -> Path:
    named = os.environ.get("HEADWATER_CLIENTS_DIR")
    clients = Path(named) if named else Path.home() / ".cache" / "headwater" / "clients"
    found = clients / NEWEST / "bin" / "python"
    if not found.exists():
        raise Skipped(f"the client is not built: {found} is absent (run scripts/clients/setup.py)")
    return found


def run(url: str, verb: str, repo: str, folder: Path, work: Path) -> float:
    """Seconds that the call took inside the client."""
    with tempfile.TemporaryDirectory(dir=work) as home:
        settings = {
            "HF_ENDPOINT": url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": f"{home}/hf",
            "HF_XET_CACHE": f"{home}/xet",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        done = subprocess.run(
            [str(newest_client()), str(Path(__file__).with_name("real_client.py")), verb, repo, str(folder)],
            env=environment() | settings,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"the client failed to {verb} {repo}: {done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])
