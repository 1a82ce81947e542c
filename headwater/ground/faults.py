"""Named places where a test may end the process, fill the disk or fail a read. Nothing happens unless a test says so.

`HEADWATER_CRASH_AT=name[:nth]` in the environment ends the process there as kill -9 would (T01). The names in use are
collected by `tests/fault`, which loops over all of them.
"""

from __future__ import annotations

import os
import signal

_AT, _, _NTH = os.environ.get("HEADWATER_CRASH_AT", "").partition(":")
_left = int(_NTH or 1)


def checkpoint(name: str) -> None:
    """A step boundary called `name`; costs a comparison when no test is at work."""
    global _left  # noqa: PLW0603 - one countdown for the whole process
    if _AT and name == _AT:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
