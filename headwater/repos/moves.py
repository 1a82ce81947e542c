"""Intent, ref, settle: the one way by which any ref of any repo moves (commit, push, branch, tag, squash).

Git and the database cannot share a transaction. So what is about to happen is written down durably first (intent), then
the ref moves in one atomic step, then the intent becomes an event (settle), then the client is answered. After a crash
git alone says whether the ref moved; there is no third state (T01).

Refuses to know: what the moved commits hold and who may move which ref.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from headwater.accounts.actor import Actor
from headwater.ground import events
from headwater.ground.clock import Clock
from headwater.ground.db import Database
from headwater.ground.errors import Conflict, Invalid, RepoMissing, Stale, TooMuch, Unavailable
from headwater.ground.faults import checkpoint
from headwater.ground.log import log
from headwater.ground.names import RefName
from headwater.repos.git import REFS_MAX, Git
from headwater.repos.tables import intent, repo
from headwater.repos.values import RefMove, Repo

MAIN = RefName("refs/heads/main")
TURN_WAIT_S = 120.0  # for other commits to the same repo: a hundred thousand files under way take less
REF_PART_BYTES_MAX = 200  # a part of a ref is a file's name, and 255 bytes are every file system's limit

_OURS = re.compile(r"refs/(?:heads|tags|pr|convert)/.")
_INTEND = insert(intent)
_SETTLED = delete(intent).where(intent.c.id == bindparam("intent"))
_TOUCH = update(repo).where(repo.c.id == bindparam("of_repo")).values(updated_ms=bindparam("now"))
_OPEN = select(intent).order_by(intent.c.id)
_PUT_AWAY = select(repo.c.id).where(repo.c.state == "deleted", repo.c.deleted_ms.is_not(None))


class Moves:
    def __init__(self, db: Database, git: Git, clock: Clock) -> None:
        self._db = db
        self._git = git
        self._clock = clock
        self._turns: dict[int, tuple[threading.RLock, int]] = {}  # repo -> its lock, and how many hold or want it
        self._guard = threading.Lock()
        self._owing: set[int] = set()  # repos with a move that happened and whose intent could not be settled yet

    def refs(self, repo_id: int) -> Mapping[str, str]:
        return self._git.refs(repo_id)

    @contextlib.contextmanager
    def turn(self, repo_id: int) -> Iterator[None]:
        """One at a time in each repo; the same thread may enter again."""
        with self._guard:
            lock, wanted = self._turns.get(repo_id) or (threading.RLock(), 0)
            self._turns[repo_id] = (lock, wanted + 1)
        entered = False
        try:
            entered = lock.acquire(timeout=TURN_WAIT_S)
            if not entered:
                raise Unavailable("Other commits to this repo are still under way; nothing was stored. Try again.")
            yield
        finally:
            if entered:
                lock.release()
            with self._guard:
                lock, wanted = self._turns[repo_id]
                if wanted > 1:
                    self._turns[repo_id] = (lock, wanted - 1)
                else:
                    del self._turns[repo_id]

    def apply(
        self,
        actor: Actor,
        moved: Repo,
        moves: Sequence[RefMove],
        kind: str,
        *,
        data: Mapping[str, Any] | None = None,
        with_intent: Callable[[Connection], None] | None = None,
    ) -> None:
        """All of `moves`, durably, or an error before the first. The objects they name are in the repo already.

        Stale: a ref is not at its `old`. Conflict: a new ref exists, or is a folder of another's name. `with_intent`
        writes what must be so before the ref moves, in the intent's transaction. `data` goes into the events,
        beside ref, old, new and cause (`kind`).
        """
        with self.turn(moved.id):
            if moved.id in self._owing:
                self._settle_owed(moved.id)
            self.check(moved.id, moves)
            checkpoint("move.begun")
            said = msgspec.json.encode({"cause": kind, **(data or {})}).decode()
            row = {"repo_id": moved.id, "kind": kind, "actor_id": actor.user_id, "data": said}
            ids = self._intend(row, moves, with_intent)
            checkpoint("move.intended")
            try:
                for move in moves:
                    self._git.move_ref(moved.id, move.ref, move.new)
                    checkpoint("move.moved")
            except BaseException:
                # Perhaps some moved: settled from what git says, at once if the disk lets us.
                self._git.forget(moved.id)
                self._owing.add(moved.id)
                with contextlib.suppress(Unavailable):
                    self._settle_owed(moved.id)
                raise
            try:
                self._settle(ids)
            except Unavailable:
                # The move is done and durable, so it is acknowledged; its event follows with the next move or start.
                self._owing.add(moved.id)
                log.warning("intent not settled yet", repo_id=moved.id)
            checkpoint("move.settled")

    def settle_all(self) -> int:
        """At start: what a crash left between intent and event. Returns how many moves turned out to have happened.

        Those of a deleted repo that can be brought back wait for that (`settle_in`): its git directory is put away.
        """
        with self._db.read() as connection:
            rows = connection.execute(_OPEN.where(intent.c.repo_id.not_in(_PUT_AWAY))).all()
        return self._settle_rows(rows)

    def settle_in(self, connection: Connection, repo_id: int) -> None:
        """The same for one repo, inside the caller's transaction, while nobody can move its refs."""
        rows = connection.execute(_OPEN.where(intent.c.repo_id == repo_id)).all()
        _write_settled(connection, rows, self._happened(rows))

    def check(self, repo_id: int, moves: Sequence[RefMove]) -> None:
        """What `apply` asks first, with its errors; true as long as the turn is held."""
        refs = self._git.refs(repo_id)
        seen: set[str] = set()
        made: set[str] = set()
        for move in moves:
            now = refs.get(move.ref)
            if move.ref in seen or not _OURS.match(move.ref):
                raise Invalid(f"ref: {move.ref[:100]!r} can't be moved, or not twice at once")
            if move.old is None and now is not None:
                raise Conflict(f"Reference {move.ref} already exists")
            if now != move.old:
                raise Stale
            if now is None and move.new is not None:
                made.add(move.ref)
            seen.add(move.ref)
        if made:
            _check_new(made, refs)

    def _intend(
        self, row: Mapping[str, Any], moves: Sequence[RefMove], also: Callable[[Connection], None] | None
    ) -> list[int]:
        at_ms = self._clock.now_ms()
        ids: list[int] = []
        with self._db.write() as connection:
            for move in moves:
                made = connection.execute(
                    _INTEND, {**row, "ref": move.ref, "old": move.old, "new": move.new, "at_ms": at_ms}
                )
                assert made.inserted_primary_key is not None
                ids.append(made.inserted_primary_key[0])
            if also is not None:
                also(connection)
        return ids

    def _settle(self, ids: Sequence[int]) -> None:
        with self._db.write_soft() as connection:
            # Soft: if a power cut undoes it, the intent is back, and git still says that the ref moved.
            for row in connection.execute(_OPEN.where(intent.c.id.in_(ids))).all():
                _becomes_event(connection, row)

    def _settle_owed(self, repo_id: int) -> None:
        """Of a repo that a command beside the hub has just deleted: left to whoever brings it back, as `settle_all`."""
        with self._db.read() as connection:
            mine = _OPEN.where(intent.c.repo_id == repo_id, intent.c.repo_id.not_in(_PUT_AWAY))
            rows = connection.execute(mine).all()
        self._settle_rows(rows)
        self._owing.discard(repo_id)

    def _settle_rows(self, rows: Sequence[Row[Any]]) -> int:
        happened = self._happened(rows)
        with self._db.write_soft() as connection:
            _write_settled(connection, rows, happened)
        return len(happened)

    def _happened(self, rows: Sequence[Row[Any]]) -> list[Row[Any]]:
        """Asked newest first: a later move that happened started from where an earlier one had led."""
        happened: list[Row[Any]] = []
        led_from: dict[tuple[int, str], set[str | None]] = {}
        for row in reversed(rows):
            where = (row.repo_id, row.ref)
            if row.new in led_from.get(where, ()) or self._did_move(row):
                happened.append(row)
                led_from.setdefault(where, set()).add(row.old)
        return happened[::-1]

    def _did_move(self, row: Row[Any]) -> bool:
        try:
            now = self._git.refs(row.repo_id).get(row.ref)
        except RepoMissing:
            return False
        if row.new is None or now is None or now == row.new:
            return bool(now == row.new)
        # Neither there nor a step on the way that is written down: a backup may have taken git later than the database.
        return self._git.contains(row.repo_id, now, row.new)


def _write_settled(connection: Connection, rows: Sequence[Row[Any]], happened: Sequence[Row[Any]]) -> None:
    for row in happened:
        _becomes_event(connection, row)
    for row in rows:
        connection.execute(_SETTLED, {"intent": row.id})


def _becomes_event(connection: Connection, row: Row[Any]) -> None:
    data = {"ref": row.ref, "old": row.old, "new": row.new, **msgspec.json.decode(row.data)}
    events.append(connection, "ref.moved", row.at_ms, repo_id=row.repo_id, actor_id=row.actor_id, **data)
    if row.ref == MAIN:
        connection.execute(_TOUCH, {"of_repo": row.repo_id, "now": row.at_ms})
    connection.execute(_SETTLED, {"intent": row.id})


def _check_new(made: Collection[str], refs: Mapping[str, str]) -> None:
    """Whether these can be made, beside those that are there and beside each other."""
    if len(refs) + len(made) > REFS_MAX:
        raise TooMuch(f"A repo may have {REFS_MAX} branches, tags and pull refs; delete some first.")
    there = {*refs, *made}
    folders = {above for ref in there for above in _above(ref)}
    for ref in sorted(made):
        if any(len(part.encode()) > REF_PART_BYTES_MAX for part in ref.split("/")):
            raise Invalid(f"ref: {ref[:100]!r} has a part of more than {REF_PART_BYTES_MAX} bytes")
        others = [above for above in _above(ref) if above in there]
        if ref in folders:
            others += [other for other in sorted(there) if other.startswith(f"{ref}/")]
        if others:
            raise Conflict(
                f"Reference {ref} can't be made while {others[0]} exists: one would be a folder of the other"
            )


def _above(ref: str) -> list[str]:
    """The folders that a ref's name needs, below refs/heads and the like."""
    parts = ref.split("/")
    return ["/".join(parts[:length]) for length in range(3, len(parts))]
