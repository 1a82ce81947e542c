"""Runs the hub's program in forks of one process that has imported it: four of five seconds of a short command go there.

A fork is a process like any other: it has its own id, files and environment, and can be killed at any moment. What its
interpreter imported, as `python -m headwater` would have, it shares. Run as a program, this file is the process that
forks; it has no threads of its own, serves one test process, and ends with it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from headwater.ground import faults

MESSAGE_BYTES_MAX = 1 << 20  # a command with its environment
START_LIMIT_S = 60.0
LOADED = (
    "headwater.app", "headwater.cli", "headwater.cli.address", "headwater.cli.store", "headwater.codec",
    "headwater.lineage", "headwater.store.seal", "headwater.upkeep", "uvloop",
)  # fmt: skip


class Forked:
    """A running fork, as subprocess.Popen shows a process."""

    def __init__(self, call: socket.socket) -> None:
        self._call = call
        self.pid = int(self._said())
        self.returncode: int | None = None

    def _said(self) -> str:
        data = b""
        while not data.endswith(b"\n"):
            more = self._call.recv(100)
            assert more, "the process that forks has ended"
            data += more
        return data.decode()

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._call], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("headwater", timeout or 0)
            self.returncode = int(self._said())
            self._call.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forks:
    """The process that forks, seen from the tests."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._address = str(folder / "door")
        command = [sys.executable, __file__, self._address]
        self._process = subprocess.Popen(
            command, env={**environment, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def run(
        self, words: Sequence[str], cwd: Path, env: dict[str, str], limit_s: float
    ) -> subprocess.CompletedProcess[str]:
        """As subprocess.run."""
        with TemporaryFile("w+") as out, TemporaryFile("w+") as errors:
            process = self.start(words, cwd, env, out, errors)
            try:
                process.wait(limit_s)
            finally:
                process.kill()
            out.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(["headwater", *words], process.wait(), out.read(), errors.read())

    def start(self, words: Sequence[str], cwd: Path, env: dict[str, str], out: IO[Any], errors: IO[Any]) -> Forked:
        """`headwater WORDS` in a process of its own."""
        call = socket.socket(socket.AF_UNIX)
        call.settimeout(START_LIMIT_S)
        call.connect(self._address)
        message = json.dumps({"words": words, "cwd": str(cwd), "env": env}).encode()
        assert len(message) < MESSAGE_BYTES_MAX
        socket.send_fds(call, [message], [out.fileno(), errors.fileno()])
        call.shutdown(socket.SHUT_WR)
        call.settimeout(None)
        return Forked(call)

    def close(self) -> None:
        self._process.communicate()  # closes its input, at which it ends


# --- the process that forks ---


def _serve(address: str) -> None:
    for name in LOADED:
        importlib.import_module(name)
    importlib.import_module("headwater.codec").warm()  # the compiled loops
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen(64)
        os.write(1, b"ready\n")
        while True:
            ready = select.select([door, 0], [], [])[0]
            with contextlib.suppress(ChildProcessError):  # none is left
                while os.waitpid(-1, os.WNOHANG)[0]:  # keepers whose program has ended
                    continue
            if 0 in ready:  # the tests have ended
                os._exit(0)
            call, _ = door.accept()
            if os.fork() == 0:
                door.close()
                _keep(call)
                return
            call.close()


def _keep(call: socket.socket) -> None:
    """In a fork: forks the program, waits for it and says how it ended. Returns in the program, at its end."""
    first, files, _, _ = socket.recv_fds(call, MESSAGE_BYTES_MAX, 2)
    asked = json.loads(b"".join((first, *_rest(call))))
    pid = os.fork()
    if pid:
        for file in files:
            os.close(file)
        call.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(OSError):  # nobody asks any more
            call.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    call.close()
    _become(asked, files)


def _rest(call: socket.socket) -> Iterator[bytes]:
    while more := call.recv(MESSAGE_BYTES_MAX):
        yield more


def _become(asked: dict[str, Any], files: list[int]) -> None:
    """The program, with nothing of the tests' process but what was handed over."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((nothing, *files)):
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    importlib.reload(faults)  # reads the environment when it is imported
    sys.argv = ["headwater", *asked["words"]]
    from headwater.cli import main  # noqa: PLC0415 - only forks need it

    main()


if __name__ == "__main__":
    _serve(sys.argv[1])
