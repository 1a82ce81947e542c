"""A hub whose files are sealed as those of users are: uploaded, committed, sealed by its own child, and evicted."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks import calls
from benchmarks.figures import Skipped
from benchmarks.processes import ROOT, Hub, environment
from benchmarks.store import large
from benchmarks.store.large import Made

PLACE = ROOT / ".cache" / "bench"
SEAL_WAIT_S = 3600.0
LOOK_S = 0.1
AT_ONCE = {"HEADWATER_SEAL_GRACE_S": "0"}


@contextmanager
def room_for(size_bytes: int) -> Iterator[Path]:
    """An empty folder on the disk that data folders would lie on, if there is so much room there."""
    PLACE.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(PLACE).free < size_bytes:
        raise Skipped(f"{size_bytes / large.GB:.0f} GB of disk are needed at {PLACE}")
    with TemporaryDirectory(prefix="run-", dir=PLACE) as work:
        yield Path(work)


def upload(hub: Hub, name: str, made: Made, base: str = "") -> None:
    """The file as the one of a repo of that name, whose card names its base; it is deleted here."""
    repo = calls.create_repo(hub, name)
    calls.put_lfs(hub, repo, made.path, made.sha256)
    card = f"---\nbase_model: {base}\n---\n" if base else "# A base\n"
    calls.commit(
        hub,
        repo,
        [calls.inline("README.md", card.encode()), calls.lfs_file("model.safetensors", made.sha256, made.size)],
    )
    made.path.unlink()


def by_hand(data: Path, *words: str) -> None:
    """`headwater store WORDS`, with raw copies that may leave at once."""
    command = [sys.executable, "-m", "headwater", "store", *words, "--data", str(data)]
    done = subprocess.run(command, cwd=ROOT, env=environment() | AT_ONCE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"headwater store {' '.join(words)}: {done.stdout[-500:]}{done.stderr[-1000:]}")


def evict(data: Path) -> None:
    """The raw copies of sealed files go: first they are leaving, at the second look they are deleted."""
    by_hand(data, "sweep")
    by_hand(data, "sweep")


def await_sealed(hub: Hub, sha256: str) -> float:
    """The most memory of the child meanwhile, in MB."""
    peak, end_s = 0.0, time.perf_counter() + SEAL_WAIT_S
    while time.perf_counter() < end_s:
        row = state(hub.data, sha256)
        peak = max(peak, *(rss_mb(child.pid, "VmHWM") for child in sealing_children(hub)), 0.0)
        if row is not None and row[0]:
            return peak
        if row is not None and row[1]:
            raise RuntimeError(f"{sha256} stays raw: {row[1]}")
        time.sleep(LOOK_S)
    raise RuntimeError(f"{sha256} was not sealed in {SEAL_WAIT_S:.0f} s; see {hub.log}")


def state(data: Path, sha256: str) -> tuple[bool, str | None, str] | None:
    """Whether a file is sealed, why it is not going to be, and where its raw copy is."""
    asked = "SELECT sealed IS NOT NULL, seal_note, raw FROM blob WHERE sha256 = ?"
    with sqlite3.connect(f"file:{data / 'headwater.sqlite'}?mode=ro", uri=True) as connection:
        row = connection.execute(asked, (sha256,)).fetchone()
    connection.close()
    return None if row is None else (bool(row[0]), row[1], str(row[2]))


def sealing_children(hub: Hub) -> list[psutil.Process]:
    """One or none: it ends when it has nothing to do for a while."""
    return [child for child in psutil.Process(hub.pid).children() if "work" in child.cmdline()]


def rss_mb(pid: int, name: str = "VmRSS") -> float:
    """VmRSS is what a process has now, VmHWM the most that it had."""
    told = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in told.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024 / 1e6
