"""Counts: downloads, likes, trending. Noted in memory while a request is answered, written down every few seconds.

What counts as a download is the Hub's to say (`downloads.py`): a client may move the count as often as it asks. It
moves the trending score once a day (T74). Clients are told apart by a hash whose salt lives in this process's memory
for a day: no address is stored anywhere.

Refuses to know: who the client is and what the request was.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.sql import func

from headwater.catalog import pulls
from headwater.catalog.downloads import Counted, counted
from headwater.catalog.tables import catalog, download, standing
from headwater.ground.clock import Clock
from headwater.ground.db import Database
from headwater.ground.errors import Unavailable
from headwater.ground.names import RepoType
from headwater.repos.tables import like, repo

DAY_MS = 86_400_000
DAY_S = 86_400
WINDOW_S = 300.0  # the Hub's own window for data sets
FLUSH_S = 5.0
ASKED_MAX = 256  # requests that wait to be told apart: a millisecond's work, since the event loop may have to do it
RECENT_DAYS = 30  # "downloads" on the Hub
KEPT_DAYS = 60  # older days are added up in one row
SEEN_MAX = 200_000  # clients and repos in five minutes, and again in a day: some 15 MB each; more are not counted
NOTED_MAX = 100_000  # repos between two flushes
BATCH = 500  # repos in one transaction, so that no writer waits long
ROLL_BATCHES = 4  # of a day's change in one flush: a hub of 200,000 repos is done in ten minutes, and nobody notices

HALF_LIFE_MS = 5 * DAY_MS  # of trending: what happened a working week ago weighs half
LIKE_WEIGHT = 10.0  # a like takes an account, a download takes an address
LIKES_READ_MAX = 1_000  # the newest; older ones no longer tell in a repo that has so many
_EPOCH_MS = 946_684_800_000  # 2000-01-01; only so that scores are positive


@dataclass(frozen=True, slots=True)
class Tally:
    """The figures of one repo as its rows say; `trending` as `trending` below."""

    downloads: int = 0
    downloads_all: int = 0
    likes: int = 0
    trending: float = 0.0


def trending(parts: Iterable[tuple[int, float]]) -> float:
    """One number for many (when in ms, weight), each halving every HALF_LIFE_MS; 0 for none.

    It is the base-2 logarithm of the decayed sum, carried back to a fixed day: the order of two repos does not change
    while nothing happens to them, so that time alone changes no row (forward decay; Cormode et al., 2009).
    """
    powers = [(max(at_ms - _EPOCH_MS, 0) / HALF_LIFE_MS, weight) for at_ms, weight in parts if weight > 0 and at_ms > 0]
    if not powers:
        return 0.0
    highest = max(power for power, _ in powers)
    return highest + math.log2(sum(weight * math.exp2(power - highest) for power, weight in powers))


def trending_score(value: float, now_ms: int) -> float:
    """What a stored `trending` is worth now, for people: the decayed sum itself."""
    if value <= 0:
        return 0.0
    return round(math.exp2(min(value - (now_ms - _EPOCH_MS) / HALF_LIFE_MS, 60.0)), 2)


_DAYS = select(download.c.repo_id, download.c.day, download.c.count, download.c.clients).where(
    download.c.repo_id.in_(bindparam("ids", expanding=True))
)
_LIBRARY = select(catalog.c.library_name).where(catalog.c.repo_id == bindparam("of_repo"))
_LIKES = select(like.c.at_ms).where(like.c.repo_id == bindparam("of_repo"))
_LIKES_NEWEST = _LIKES.order_by(like.c.at_ms.desc()).limit(LIKES_READ_MAX)
_LIKE_COUNTS = (
    select(like.c.repo_id, func.count().label("likers"))
    .where(like.c.repo_id.in_(bindparam("ids", expanding=True)))
    .group_by(like.c.repo_id)
)
_STAND = (
    update(standing)
    .where(standing.c.repo_id == bindparam("of_repo"))
    .values({name: bindparam(f"new_{name}") for name in ("downloads", "downloads_all", "likes", "trending")})
)
_ADD = insert(download)
_ADD = _ADD.on_conflict_do_update(
    index_elements=[download.c.repo_id, download.c.day],
    set_={
        "count": download.c.count + _ADD.excluded.count,
        "clients": download.c.clients + _ADD.excluded.clients,
    },
)

_LEAVING = (
    select(download.c.repo_id)
    .where(download.c.day.between(bindparam("oldest"), bindparam("newest")), download.c.repo_id > bindparam("after"))
    .distinct()
    .order_by(download.c.repo_id)
    .limit(BATCH)
)


def tallies(connection: Connection, repo_ids: Sequence[int], now_ms: int) -> dict[int, Tally]:
    """The figures of these repos (BATCH at most), made from what was counted and from who likes them."""
    today = now_ms // DAY_MS
    recent = dict.fromkeys(repo_ids, 0)
    whole = dict.fromkeys(repo_ids, 0)
    parts: dict[int, list[tuple[int, float]]] = {repo_id: [] for repo_id in repo_ids}
    for repo_id, day, count, clients in connection.execute(_DAYS, {"ids": list(repo_ids)}):
        whole[repo_id] += count
        if day > today - RECENT_DAYS:
            recent[repo_id] += count
        # A day that has not come yet was counted while the clock was wrong: it trends as if it were today.
        parts[repo_id].append((min(day, today) * DAY_MS, float(clients) if day else 0.0))
    likes = {row.repo_id: row.likers for row in connection.execute(_LIKE_COUNTS, {"ids": list(repo_ids)})}
    for repo_id in likes:
        times = connection.execute(_LIKES_NEWEST, {"of_repo": repo_id}).scalars()
        parts[repo_id].extend((min(at_ms, now_ms), LIKE_WEIGHT) for at_ms in times)
    return {
        repo_id: Tally(recent[repo_id], whole[repo_id], likes.get(repo_id, 0), trending(sorted(parts[repo_id])))
        for repo_id in repo_ids
    }


def refresh(connection: Connection, repo_ids: Sequence[int], now_ms: int) -> None:
    """Bring the rows that lists sort by up to date with what was counted."""
    found = tallies(connection, repo_ids, now_ms)
    rows = [
        {
            "of_repo": repo_id,
            "new_downloads": tally.downloads,
            "new_downloads_all": tally.downloads_all,
            "new_likes": tally.likes,
            "new_trending": tally.trending,
        }
        for repo_id, tally in found.items()
    ]
    if rows:
        connection.execute(_STAND, rows)


class Asked(msgspec.Struct, frozen=True):
    """A request for a file that was answered. `marked` as for `counted`; `client` and `agent` as for `Visitor`."""

    repo_id: int
    kind: RepoType
    path: str
    commit: str
    client: str
    agent: str
    marked: bool
    head: bool
    sent_bytes: int
    at: pulls.Moment


class Counts:
    """Thread-safe. `flush_due` is for a loop that comes by (a feed of the job runner), `flush` for the end."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self.pulls = pulls.Pulls(clock)
        self._db = db
        self._clock = clock
        self._lock = threading.Lock()
        self._noted: dict[int, list[int]] = {}  # repo id -> [downloads, of clients that are new today]
        self._recent: set[int] = set()  # hashes of (repo, client) of this window, and of this day
        self._today: set[int] = set()
        self._salt = bytes.fromhex(clock.token(16))
        self._window_s = self._salted_s = self._flushed_s = clock.tick_s()
        self._rolled_day: int | None = None
        self._roll_after = 0  # repo id
        self._flushing = threading.Lock()
        self._asked: deque[Asked] = deque()
        self._marked: dict[int, int] = {}  # hash of (repo, client) -> repo id, until the next flush
        self._libraries: dict[int, str | None] = {}

    def asked(self, asked: Asked) -> None:
        """What it counts as is found out later, many at once: one by one it would be a fifth of a small answer."""
        self._asked.append(asked)
        if len(self._asked) >= ASKED_MAX:
            self._tell_apart()

    def _tell_apart(self) -> None:
        with contextlib.suppress(IndexError):  # whoever comes by takes the next, until there is none
            while True:
                self._tell(self._asked.popleft())

    def _tell(self, asked: Asked) -> None:
        library = self._library(asked.repo_id) if asked.kind == "model" else None
        how = counted(asked.kind, asked.path, library, marked=asked.marked)
        if how:
            self.note(asked.repo_id, asked.client, how, asked.at.s)
        who = pulls.Visitor.of(asked.client, asked.agent)
        if asked.head:
            self.pulls.head(asked.repo_id, who, asked.at)
        elif pulls.is_weights(asked.kind, asked.path):
            self.pulls.weights(asked.repo_id, asked.commit, who, asked.sent_bytes, asked.at)
        else:
            self.pulls.file(asked.repo_id, who, asked.at)

    def _library(self, repo_id: int) -> str | None:
        if repo_id not in self._libraries:
            with self._db.read() as connection:
                self._libraries[repo_id] = connection.execute(_LIBRARY, {"of_repo": repo_id}).scalar()
        return self._libraries[repo_id]

    def note(self, repo_id: int, client: str, how: Counted = "window", now_s: float | None = None) -> None:
        """A client downloads from the repo. `client` tells clients apart (an address, a user) and is not kept."""
        now_s = self._clock.tick_s() if now_s is None else now_s
        with self._lock:
            self._turn_windows(now_s)
            mark = _mark(self._salt, repo_id, client)
            if how == "marked" and len(self._marked) < SEEN_MAX:
                self._marked.setdefault(mark, repo_id)
            elif how == "each" or (how == "window" and mark not in self._recent):
                self._add(repo_id, mark, once=how == "window")

    def _add(self, repo_id: int, mark: int, *, once: bool) -> None:
        if len(self._recent) < SEEN_MAX:
            self._recent.add(mark)
        elif once:
            return  # it could not be known again
        if repo_id not in self._noted and len(self._noted) >= NOTED_MAX:
            return
        noted = self._noted.setdefault(repo_id, [0, 0])
        noted[0] += 1
        if mark not in self._today and len(self._today) < SEEN_MAX:
            self._today.add(mark)
            noted[1] += 1

    def _add_marked(self) -> None:
        """Who said that he downloads, and asked for no query file: by now he would have."""
        for mark, repo_id in self._marked.items():
            if mark not in self._recent:
                self._add(repo_id, mark, once=True)
        self._marked.clear()

    def _turn_windows(self, now_s: float) -> None:
        # Steady time: a clock that is set forwards and backwards opens no new window.
        if now_s - self._window_s >= WINDOW_S:
            self._recent.clear()
            self._window_s = now_s
        if now_s - self._salted_s >= DAY_S:
            self._today.clear()
            self._recent.clear()
            self._salt = bytes.fromhex(self._clock.token(16))
            self._salted_s = now_s

    def flush_due(self) -> int:
        """`flush`, if the last one was FLUSH_S ago."""
        if self._clock.tick_s() - self._flushed_s < FLUSH_S:
            return 0
        return self.flush()

    def flush(self) -> int:
        """Write down what was noted; how many repos. What can't be written now is kept for the next time."""
        with self._flushing:
            self._flushed_s = self._clock.tick_s()
            now_ms = self._clock.now_ms()
            self._libraries.clear()  # a card may have changed
            self._tell_apart()
            with self._lock:
                self._add_marked()
                noted, self._noted = self._noted, {}
            used = self.pulls.take()
            left, days_left = sorted(noted), sorted(used)
            try:
                while left:
                    self._write(left[:BATCH], noted, now_ms)
                    del left[:BATCH]
                while days_left:
                    with self._db.write_soft() as connection:
                        pulls.write(connection, [(day, used[day]) for day in days_left[:BATCH]])
                    del days_left[:BATCH]
            except Unavailable:
                self._keep({repo_id: noted[repo_id] for repo_id in left})
                self.pulls.give_back({day: used[day] for day in days_left})
                raise
            if self._rolled_day != now_ms // DAY_MS:
                self._roll(now_ms)
            return len(noted.keys() | {repo_id for repo_id, _ in used})

    def _write(self, repo_ids: list[int], noted: dict[int, list[int]], now_ms: int) -> None:
        day = now_ms // DAY_MS
        with self._db.write_soft() as connection:
            known = connection.execute(select(repo.c.id).where(repo.c.id.in_(repo_ids))).scalars().all()
            rows = [
                {"repo_id": repo_id, "day": day, "count": noted[repo_id][0], "clients": noted[repo_id][1]}
                for repo_id in known
            ]
            if rows:
                connection.execute(_ADD, rows)
                kept = [((repo_id, day), pulls.Used(downloads=noted[repo_id][0])) for repo_id in known]
                pulls.write(connection, kept)
                refresh(connection, known, now_ms)

    def _keep(self, unwritten: dict[int, list[int]]) -> None:
        with self._lock:
            for repo_id, (count, clients) in unwritten.items():
                noted = self._noted.setdefault(repo_id, [0, 0])
                noted[0] += count
                noted[1] += clients

    def _roll(self, now_ms: int) -> None:
        """A day has passed: days that are no longer recent leave the figures, days that are old become one row."""
        today = now_ms // DAY_MS
        for _ in range(ROLL_BATCHES):
            with self._db.write_soft() as connection:
                left = {"oldest": 1, "newest": today - RECENT_DAYS, "after": self._roll_after}
                repo_ids = connection.execute(_LEAVING, left).scalars().all()
                if not repo_ids:
                    if pulls.forget(connection, today) == 0:
                        self._rolled_day, self._roll_after = today, 0
                        return
                    continue
                _compact(connection, repo_ids, today - KEPT_DAYS)
                refresh(connection, repo_ids, now_ms)
            self._roll_after = repo_ids[-1]


def _compact(connection: Connection, repo_ids: Sequence[int], until_day: int) -> None:
    """Days before `until_day` are added to day 0."""
    old = (download.c.repo_id.in_(repo_ids), download.c.day.between(1, until_day - 1))
    sums = connection.execute(
        select(download.c.repo_id, func.sum(download.c.count)).where(*old).group_by(download.c.repo_id)
    ).all()
    if not sums:
        return
    connection.execute(delete(download).where(*old))
    connection.execute(_ADD, [{"repo_id": repo_id, "day": 0, "count": count, "clients": 0} for repo_id, count in sums])


def _mark(salt: bytes, repo_id: int, client: str) -> int:
    digest = hashlib.blake2b(f"{repo_id} {client}".encode(errors="replace"), digest_size=8, key=salt).digest()
    return int.from_bytes(digest, "little")
