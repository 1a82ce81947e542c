"""Git child processes for the wire: no hooks, no configuration from outside, bounded memory and time, never left over.

What they are asked is the caller's business. They get their input from a file or a pipe, their complaints go to an
unnamed file, and whatever happens they are ended with everything they started.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, cast

from headwater.ground.errors import RepoMissing, Unavailable
from headwater.repos.git import child_environment

MEMORY_BYTES_MAX = 2 << 30  # address space of one child: packs are mapped in windows, blobs are at most a few MiB
CPU_S_MAX = 1800  # a clone of the largest repo that fits into the limits takes less; a pack bomb would take more
END_WAIT_S = 60.0  # from the end of a child's output to its own
STEP_BYTES = 1 << 18  # read at a time: four of the wire's longest lines
COMPLAINT_BYTES_MAX = 8192  # of standard error that are read back

_CONFIG = {
    "safe.directory": "*",  # the data folder was chosen by whoever started the hub, perhaps as another user
    "core.hooksPath": os.devnull,
    "core.packedGitWindowSize": "16m",
    "core.packedGitLimit": "256m",
    "core.bigFileThreshold": "16m",  # larger objects are streamed instead of held
    "core.fsync": "all",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "pack.threads": "1",  # requests are the unit of concurrency here
    "pack.windowMemory": "64m",
    "pack.deltaCacheSize": "16m",
    "uploadpack.allowFilter": "true",
    # In version 2 of the protocol git allows it always; in the older ones it is what partial clones ask for.
    "uploadpack.allowAnySHA1InWant": "true",
}


class Child:
    """A running git process. `complaints` is what it said on standard error, shortened."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self.process = process
        self.stdout = io.BufferedReader(cast("io.RawIOBase", process.stdout), STEP_BYTES)
        self._errors = errors

    @property
    def stdin(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    def feed(self, data: bytes) -> bool:
        """False: the child reads no more, and will say why."""
        left = memoryview(data)
        try:
            while left:
                left = left[self.stdin.write(left) or 0 :]
        except BrokenPipeError:
            return False
        return True

    def end_input(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()

    def done(self, wait_s: float) -> bool:
        try:
            self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def allow_cpu(self, seconds: int) -> None:
        """No more than that from its start on, and never more than CPU_S_MAX; it is ended then."""
        if sys.platform == "linux":
            with contextlib.suppress(ProcessLookupError):
                limit = (min(seconds, CPU_S_MAX), CPU_S_MAX)
                resource.prlimit(self.process.pid, resource.RLIMIT_CPU, limit)

    def complaints(self) -> str:
        self._errors.seek(0)
        return self._errors.read(COMPLAINT_BYTES_MAX).decode("utf-8", "replace")


@contextlib.contextmanager
def running(
    arguments: Sequence[str],
    git_dir: Path,
    source: int | IO[bytes] = subprocess.DEVNULL,
    more_environment: Mapping[str, str] | None = None,
) -> Iterator[Child]:
    """`git *arguments` on that repository while the block runs; `source`: its standard input (subprocess.PIPE: fed)."""
    config = [word for name, value in _CONFIG.items() for word in ("-c", f"{name}={value}")]
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(  # noqa: S603  # fixed words and our own paths
                ["git", *config, *arguments],  # noqa: S607  # the git of the PATH the hub was started with
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=child_environment(git_dir) | dict(more_environment or {}),
                cwd=git_dir,
                bufsize=0,
                start_new_session=True,  # so that it can be ended together with what it starts
            )
        except FileNotFoundError as error:
            if not git_dir.exists():
                raise RepoMissing(git_dir.stem) from error  # deleted since the caller's row was read
            raise Unavailable(
                "The hub can't start git; its administrator must install it.", retry_after_s=60
            ) from error
        started = Child(process, errors)
        try:
            _limit(process.pid)
            yield started
        finally:
            _end(started)


def _limit(pid: int) -> None:
    """Before it was given anything to read; so it has not started children of its own either."""
    if sys.platform == "linux":
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
            resource.prlimit(pid, resource.RLIMIT_CPU, (CPU_S_MAX, CPU_S_MAX))


def _end(started: Child) -> None:
    process = started.process
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    started.stdout.close()
    process.wait()


def reason(child: Child, hide: Path) -> str:
    """Its own words for why it failed, without our paths; one line."""
    said = [
        line.split(": ", 1)[1] for line in child.complaints().splitlines() if line.startswith(("error: ", "fatal: "))
    ]
    if child.process.returncode == -signal.SIGXCPU:
        said.append("it takes too long")
    return "; ".join(said).replace(str(hide), "")[:500] or f"git ended with status {child.process.returncode}"
