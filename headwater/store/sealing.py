"""Sealing: the child process that seals, and the mark by which people pause it.

Encoding is minutes of arithmetic, much of it in loops that hold the interpreter, and its libraries take a hundred
megabytes: in the serving process every request would feel it. So a child does it, at the lowest priority, and only
while there is something to do. It dies with its parent, at any step: what it had not named yet is nobody's
(`packs.py`). Refuses to know what is sealed and in which order.

The serving process loads the codec's libraries only when it has to: `needs_codec` says whether that is so.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import select

from headwater.ground.clock import Clock
from headwater.ground.log import log
from headwater.store import tables
from headwater.store.blobs import Store
from headwater.store.objects import sync_folder

NICE = 19  # what is left of the processors
AGAIN_S = 60.0  # after a child that failed
STOP_S = 10.0  # a child that is told to stop ends after the tensor under way, or is killed
ONE_CORE = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL")}
"""For the child's environment: numpy's libraries spin on every core for matrices that are too small to gain by it."""

PAUSED = "paused"  # in the store's folder: while this file is there, nothing is sealed


def is_paused(store: Path) -> bool:
    return (store / PAUSED).exists()


def pause(store: Path) -> None:
    (store / PAUSED).touch()
    sync_folder(store)


def resume(store: Path) -> None:
    (store / PAUSED).unlink(missing_ok=True)
    sync_folder(store)


def needs_codec(store: Store) -> bool:
    """Whether there are files whose raw bytes are gone or leaving: their readers are given what the codec decodes."""
    with store.db.read() as connection:
        if connection.execute(select(tables.blob_tensor.c.tensor).limit(1)).first() is None:
            return False  # nothing is sealed: told without a look at every file's row
        unsealed = select(tables.blob.c.sha256).where(tables.blob.c.raw != "here", tables.blob.c.sealed.is_not(None))
        return connection.execute(unsealed.limit(1)).first() is not None


class Supervisor:
    """Starts `python -m headwater WORDS` when there is work, one at a time, from `begin` to `stop`.

    `look` is called about once a second.
    """

    def __init__(self, words: Sequence[str], store: Path, clock: Clock, wanted: Callable[[], bool]) -> None:
        self._words, self._store, self._clock, self._wanted = tuple(words), store, clock, wanted
        self._child: subprocess.Popen[bytes] | None = None
        self._not_before_s = 0.0
        self._lock = threading.Lock()
        self._begun = False

    def begin(self) -> None:
        """The process serves: it will also say when to stop."""
        with self._lock:
            self._begun = True

    def look(self) -> None:
        with self._lock:
            if not self._begun or self._runs() or self._clock.tick_s() < self._not_before_s:
                return
            if is_paused(self._store) or not self._wanted():
                return
            # its standard input ends when this process does, however it ends
            self._child = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "headwater", *self._words],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=ONE_CORE | os.environ,
            )

    def stop(self) -> None:
        with self._lock:
            self._begun = False
            child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        finally:
            _close(child)

    def _runs(self) -> bool:
        if self._child is None:
            return False
        status = self._child.poll()
        if status is None:
            return True
        if status:
            log.error("sealing process ended", status=status)
            self._not_before_s = self._clock.tick_s() + AGAIN_S
        _close(self._child)
        self._child = None
        return False


def _close(child: subprocess.Popen[bytes]) -> None:
    if child.stdin is not None:
        with contextlib.suppress(OSError):
            child.stdin.close()


def be_the_child() -> None:
    """For the child itself: the lowest priority, and the end as soon as the parent is gone.

    Linux takes the priority for the disk from it too, where nobody set another (ioprio_set(2)).
    """
    os.nice(NICE)

    def follow() -> None:
        with contextlib.suppress(OSError):
            while os.read(sys.stdin.fileno(), 1):
                pass
        os._exit(0)

    threading.Thread(target=follow, name="parent", daemon=True).start()
