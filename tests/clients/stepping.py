"""How a client script runs as a list of named steps; shared by all scenario scripts, run inside the client environments.

Each script is one process that imports its client library once. It prints `plan NAME` for every step, then `ok NAME`
or `FAIL NAME` with a traceback, and goes on after a failure so that one run shows everything that is wrong. Standard
library only, because it runs beside five generations of client libraries.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

Step = Callable[[], None]


class Steps:
    """The ordered steps of one script."""

    def __init__(self) -> None:
        self.known: list[Step] = []

    def __call__(self, function: Step) -> Step:
        """Add a step; used as a decorator, the function's name is the step's name."""
        self.known.append(function)
        return function

    def run(self, only: list[str] | None = None) -> int:
        """Run all steps (or those named) in order; return the number that failed."""
        chosen = [step for step in self.known if not only or step.__name__ in only]
        for step in chosen:
            print(f"plan {step.__name__}", flush=True)
        failures = 0
        for step in chosen:
            started = time.monotonic()
            try:
                step()
            except Exception:  # noqa: BLE001 - the whole list of what fails is worth more than the first
                failures += 1
                print(f"FAIL {step.__name__}\n{traceback.format_exc()}", flush=True)
            else:
                print(f"ok {step.__name__}", flush=True)
                print(f"  took {time.monotonic() - started:.2f} s", flush=True)
        return failures


def ask_meter(path: str) -> dict[str, Any]:
    """Ask the relay's control port; see client_meter.py."""
    with urllib.request.urlopen(os.environ["METER_URL"] + path, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


class Traffic:
    """What went over the wire inside a `with` block: `.up_bytes`, `.down_bytes`, `.lines` after it."""

    def __enter__(self) -> Self:
        self.before = ask_meter("/state?since=1000000000")
        return self

    def __exit__(self, *_: object) -> None:
        after = ask_meter(f"/state?since={self.before['count']}")
        self.up_bytes: int = after["up_bytes"] - self.before["up_bytes"]
        self.down_bytes: int = after["down_bytes"] - self.before["down_bytes"]
        self.lines: list[str] = after["lines"]

    def saw(self, part: str) -> bool:
        """Return whether any request line holds `part`."""
        return any(part in line for line in self.lines)


def sha256(data: bytes | str | Path) -> str:
    """Return the SHA-256 of bytes, or of the file at a path, in hex."""
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha256(Path(data).read_bytes()).hexdigest()


def http_get(url: str, token: str | None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """GET without any client library (redirects followed); return status, lower-cased headers, body."""
    asked = urllib.request.Request(url, headers=headers)
    if token:
        asked.add_unredirected_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()


def expect(
    raised: type[BaseException] | tuple[type[BaseException], ...], call: Callable[..., Any], *args: Any, **kw: Any
) -> Any:
    """Return the error that `call` raises; fail when it raises nothing, let any other error through."""
    try:
        got = call(*args, **kw)
    except raised as error:
        return error
    raise AssertionError(f"{getattr(call, '__name__', call)} should have failed with {raised}, but gave {got!r}")


def say(text: str) -> None:
    """Print a line that the tests pass on only when something failed."""
    print(f"  {text}", flush=True)


def leave(failures: int) -> None:
    """End the process without waiting for the library's threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if failures else 0)
