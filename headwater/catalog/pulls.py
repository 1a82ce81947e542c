"""Pulls: who took weights, beside the Hub's count of downloads. Noted in memory, written down by counts.py.

The Hub counts requests for a small file that every use of a model asks for. That makes figures comparable and tells
neither users nor transfers. So this hub counts four more things a day of each repo:

* pulls: distinct (client, repo, commit) in five minutes that were sent bytes of weights, however many files, ranges
  and connections that took; pulls by agents of CI systems are counted apart;
* HEAD requests for files, of which clients with a warm cache make many;
* bytes of weights in the answers that were begun, CI included. What a client broke off counts whole;
* clients: distinct ones that asked for any file, CI left out. They are told apart by a hash whose salt lives in this
  process's memory until midnight, UTC. No address is stored anywhere, and days can't be joined.

Refuses to know requests, tokens and how files are stored.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, delete, select, tuple_
from sqlalchemy.dialects.sqlite import insert

from headwater.catalog.tables import pull_day
from headwater.ground.clock import Clock
from headwater.ground.names import RepoType
from headwater.repos.tables import repo

DAY_MS = 86_400_000
WINDOW_S = 300.0  # as counts.py has it
KEPT_DAYS = 1_100  # three years: adoption is compared up to a year after release; a row has some 40 bytes
SEEN_MAX = 200_000  # pulls in five minutes, and clients of a day: some 15 MB each; more are not counted
NOTED_MAX = 100_000  # repos and days between two flushes
OTHERS_MAX = 50_000  # files known to be no weights, some 8 MB; then they are learnt anew
FORGET_ROWS = 5_000  # deleted in one transaction, so that no writer waits long
COMMIT_CHARS = 12  # of a commit's id: commits of one repo are told apart, and a signed address stays short

# How formats of weights end. An archive is none: nobody can say what is in it.
_WEIGHTS = (
    ".safetensors", ".gguf", ".ggml", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".hdf5", ".keras", ".msgpack", ".onnx",
    ".onnx_data", ".tflite", ".pb", ".nemo", ".mlmodel", ".npz", ".npy", ".pdparams", ".pkl", ".pickle", ".joblib",
    ".skops", ".llamafile", ".task", ".litertlm", ".engine",
)  # fmt: skip
_NO_WEIGHTS = ("training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.bin", "scheduler.pt")
_NO_DATA = (".md", ".gitattributes", ".gitignore")

# transformers says is_ci/true where the variable CI is set; the others are CI systems that fetch by themselves.
# Not "github": git-lfs calls itself "git-lfs/3.4.1 (GitHub; ...)" everywhere.
_CI_SIGNS = (
    "is_ci/true", "github-actions", "gitlab-runner", "circleci", "travis", "jenkins", "buildkite", "azure-pipelines",
    "azuredevops", "teamcity", "drone-ci", "semaphoreci", "appveyor", "bitbucket-pipelines", "woodpecker-ci",
)  # fmt: skip
AGENT_CHARS_MAX = 1_000  # of a User-Agent that are looked at; the longest that transformers writes has 400


def is_weights(kind: RepoType, path: str) -> bool:
    """Whether the bytes of this file make a pull: formats of weights in models, all data in data sets."""
    if kind == "model":
        return path.endswith(_WEIGHTS) and not path.endswith(_NO_WEIGHTS)
    return kind == "dataset" and not path.endswith(_NO_DATA)


class Visitor(NamedTuple):
    """Who asks: an address that tells clients apart and is not kept, and whether the agent belongs to a CI system."""

    address: str
    ci: bool = False

    @classmethod
    def of(cls, address: str, agent: str) -> Visitor:
        """`agent`: the User-Agent header, or ''."""
        return cls(address, _is_ci(agent[:AGENT_CHARS_MAX]))


@lru_cache(256)  # clients of a version say the same
def _is_ci(agent: str) -> bool:
    said = agent.lower()
    return any(sign in said for sign in _CI_SIGNS)


class Moment(msgspec.Struct, frozen=True):
    """When something was asked: `ms` since 1970 decides the day, `s` on the steady clock the window."""

    ms: int
    s: float


@dataclass(slots=True)
class Used:
    """What a repo's day has come to since the last flush."""

    downloads: int = 0
    pulls: int = 0
    pulls_ci: int = 0
    heads: int = 0
    clients: int = 0
    bytes: int = 0

    def add(self, other: Used) -> None:
        for name in _COLUMNS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_COLUMNS = tuple(field.name for field in fields(Used))
Day = tuple[int, int]
"""(repo id, days since 1970)."""


class Pulls:
    """Thread-safe. `at` is when it happened, where that is not now."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._used: dict[Day, Used] = {}
        self._others: set[str] = set()
        self._window: set[bytes] = set()
        self._window_salt, self._window_s = self._salt(), clock.tick_s()
        self._today: set[bytes] = set()
        self._day_salt, self._day = self._salt(), clock.now_ms() // DAY_MS

    def _salt(self) -> bytes:
        return bytes.fromhex(self._clock.token(16))

    def head(self, repo_id: int, who: Visitor, at: Moment | None = None) -> None:
        """A HEAD request for a file."""
        with self._lock:
            used = self._turned(repo_id, who, at)
            if used is not None:
                used.heads += 1

    def file(self, repo_id: int, who: Visitor, at: Moment | None = None) -> None:
        """A file that is no weights."""
        with self._lock:
            self._turned(repo_id, who, at)

    def weights(self, repo_id: int, commit: str, who: Visitor, size_bytes: int, at: Moment | None = None) -> None:
        """An answer with `size_bytes` bytes of weights is about to be sent. `commit` is '' where it is not known."""
        with self._lock:
            used = self._turned(repo_id, who, at)
            if used is None or size_bytes <= 0:
                return
            used.bytes += size_bytes
            mark = _mark(self._window_salt, f"{repo_id} {commit[:COMMIT_CHARS]} {who.address}")
            if mark in self._window or len(self._window) >= SEEN_MAX:
                return
            self._window.add(mark)
            if who.ci:
                used.pulls_ci += 1
            else:
                used.pulls += 1

    def no_weights(self, sha256: str) -> None:
        """A large file whose name says that it holds none; Xet and LFS, which know no names, ask `may_be_weights`."""
        if len(self._others) >= OTHERS_MAX:
            # A client asks for a file by its name just before it asks for its bytes.
            self._others.clear()
        self._others.add(sha256)

    def may_be_weights(self, sha256: str) -> bool:
        return sha256 not in self._others

    def _turned(self, repo_id: int, who: Visitor, at: Moment | None) -> Used | None:
        """The day of the repo, with this client counted in it; None: there are too many."""
        at = at or Moment(self._clock.now_ms(), self._clock.tick_s())
        now_ms, now_s = at.ms, at.s
        day = now_ms // DAY_MS
        if day != self._day:
            self._today.clear()
            self._day_salt, self._day = self._salt(), day
        # Steady time: a clock that is set forwards and backwards opens no new window (T11).
        if now_s - self._window_s >= WINDOW_S:
            self._window.clear()
            self._window_salt, self._window_s = self._salt(), now_s
        used = self._used.get((repo_id, day))
        if used is None:
            if len(self._used) >= NOTED_MAX:
                return None
            used = self._used[repo_id, day] = Used()
        if not who.ci and len(self._today) < SEEN_MAX:
            mark = _mark(self._day_salt, f"{repo_id} {who.address}")
            if mark not in self._today:
                self._today.add(mark)
                used.clients += 1
        return used

    def take(self) -> dict[Day, Used]:
        """What was noted since the last time; it is the caller's now."""
        with self._lock:
            used, self._used = self._used, {}
        return used

    def give_back(self, unwritten: Mapping[Day, Used]) -> None:
        with self._lock:
            for day, used in unwritten.items():
                self._used.setdefault(day, Used()).add(used)


def _mark(salt: bytes, said: str) -> bytes:
    return hashlib.blake2b(said.encode(errors="replace"), digest_size=8, key=salt).digest()


_INSERT = insert(pull_day)
_ADD = _INSERT.on_conflict_do_update(
    index_elements=[pull_day.c.repo_id, pull_day.c.day],
    set_={name: pull_day.c[name] + _INSERT.excluded[name] for name in _COLUMNS},
)


def write(connection: Connection, used: Iterable[tuple[Day, Used]]) -> None:
    """Adds to what the days have already. A repo that is gone by now is passed over."""
    rows = [
        {"repo_id": repo_id, "day": day, **{name: getattr(one, name) for name in _COLUMNS}}
        for (repo_id, day), one in used
    ]
    wanted = {row["repo_id"] for row in rows}
    known = set(connection.execute(select(repo.c.id).where(repo.c.id.in_(wanted))).scalars())
    if rows := [row for row in rows if row["repo_id"] in known]:
        connection.execute(_ADD, rows)


def forget(connection: Connection, today: int) -> int:
    """Deletes some of the days that are older than KEPT_DAYS; how many."""
    old = select(pull_day.c.repo_id, pull_day.c.day).where(pull_day.c.day < today - KEPT_DAYS).limit(FORGET_ROWS)
    return connection.execute(delete(pull_day).where(tuple_(pull_day.c.repo_id, pull_day.c.day).in_(old))).rowcount
