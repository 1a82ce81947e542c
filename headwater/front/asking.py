"""The way to the Observatory for its pages and its HTTP API: who sees what of it, and whose turn it is.

A question can take both cores for seconds, and anybody may ask. So one runs at a time, a few may wait for it, and the
others are told to come back. What was asked before comes out of the Observatory's own cache and waits for nobody. No
page waits for verdicts: claims over new data are checked beside it, after whoever asks a question.
Refuses to know how an answer is shown. Importing this file brings DuckDB and Arrow (46 MB): handlers do it when they
are first called.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import msgspec

from headwater.accounts.actor import Actor
from headwater.front.rooms import Rooms
from headwater.ground.errors import EntryMissing, HeadwaterError, Invalid, Unavailable
from headwater.observatory.answer import Answer, kept
from headwater.observatory.ask import ask, question
from headwater.observatory.choices import Choices
from headwater.observatory.claims import (
    Claim,
    ClaimResult,
    Claims,
    Unreadable,
    Verdict,
    check,
    kept_result,
    state_of,
)
from headwater.observatory.run import run
from headwater.observatory.world import Snapshot, World

WAIT_S = 10.0  # for one's turn: what a person waits for a page
CLAIMS_S = 8.0  # of one request for claims that nobody has checked yet; the next request goes on
SO_FAR_S = 0.1  # of a page for verdicts that are worked out just then: a few claims over little data take less
WAITING_SHARE = 4  # one request thread in four may wait for a turn; the others serve the hub
RETRY_AFTER_S = 10
ANSWERS_KNOWN_MAX = 4_000  # as many as the cache has files; 200 bytes each
VERDICTS_KNOWN_MAX = 1_000  # of 26 shipped claims and the operator's, for a few states of the data
VERDICT_ORDER: tuple[Verdict, ...] = ("depends on", "contradicted", "reproduced", "undecidable")
"""What hangs on a choice comes first."""

_Known = TypeVar("_Known", str, ClaimResult)


@dataclass(frozen=True, slots=True)
class Checked:
    """The claims with their verdicts, the files that could not be taken, and the claims that are yet to be checked."""

    results: tuple[ClaimResult, ...]
    unreadable: tuple[Unreadable, ...]
    pending: tuple[Claim, ...]


class PublicWorld(World):
    """The world without the snapshots that tell of private models: those are for the hub's administrators.

    A snapshot of this hub has private models when its operator asked for them, and somebody's dump may have any.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._private: dict[tuple[str, str, str], bool] = {}

    def snapshots(self) -> list[Snapshot]:
        every = super().snapshots()
        new = [one for one in every if one.manifest.rows.get("model") and _identity(one) not in self._private]
        if new:
            private = self._with_private(new)
            self._private.update({_identity(one): one.id in private for one in new})
        return [one for one in every if not self._private.get(_identity(one), False)]

    def _with_private(self, some: list[Snapshot]) -> set[str]:
        """The ids of those with private models; one that can't be read is not for everybody's eyes either."""
        try:
            found = run(self, "select distinct snapshot from model where private", snapshots=some)
        except (HeadwaterError, OSError, ValueError):  # Arrow's own errors are of the last two kinds
            if len(some) == 1:
                return {some[0].id}
            return {name for one in some for name in self._with_private([one])}
        return set(found["snapshot"].to_pylist())


def _identity(one: Snapshot) -> tuple[str, str, str]:
    """A removed snapshot's id may come back with other contents."""
    return one.id, one.manifest.sha256, one.manifest.imported_at


class Turns:
    """One at a time computes, a few wait."""

    def __init__(self, waiting_max: int, wait_s: float = WAIT_S) -> None:
        self.wait_s = wait_s
        self._waiting_max = waiting_max
        self._turn = threading.Lock()
        self._count = threading.Condition()
        self._waiting = 0

    @contextmanager
    def mine(self) -> Iterator[None]:
        """For work over the data. Unavailable: too many wait already, or the turn did not come in time."""
        with self._count:
            if self._waiting >= self._waiting_max:
                raise _busy()
            self._waiting += 1
        try:
            come = self._turn.acquire(timeout=self.wait_s)
        finally:
            with self._count:
                self._waiting -= 1
                self._count.notify_all()
        if not come:
            raise _busy()
        try:
            yield
        finally:
            self._turn.release()

    @property
    def waiting(self) -> int:
        """How many wait for their turn just now."""
        return self._waiting

    @contextmanager
    def spare(self) -> Iterator[None]:
        """For work that nobody waits for: whoever waits for a turn goes first."""
        with self._count:
            self._count.wait_for(lambda: not self.waiting)
        with self._turn:
            yield


class Desk:
    """What somebody may see of the world, and what was asked of it before."""

    def __init__(self, world: World, turns: Turns) -> None:
        self.world = world
        self.turns = turns
        self._lock = threading.Lock()
        self._answers: OrderedDict[bytes, str] = OrderedDict()
        """What was asked, of which data -> the key under which the Observatory's cache has the answer."""
        self._verdicts: OrderedDict[bytes, ClaimResult] = OrderedDict()
        self._worker: threading.Thread | None = None
        self._failed: Exception | None = None
        """What ended the worker; the next who looks is told."""

    def answer(self, name: str, choices: Choices) -> Answer:
        """The answer to a question, from the cache or in one's turn.

        EntryMissing: no such question, or no data for it. Invalid: a choice that can't be made, an unknown snapshot
        among them. Unavailable: others ask.
        """
        began = time.perf_counter()
        asked = _digest(state_of(self.world), question(name).name, choices.text())
        key = self._answers.get(asked)
        found = kept(self.world.cache / "answers", key) if key else None
        if found is not None:
            return replace(found, took_s=time.perf_counter() - began)
        try:
            with self.turns.mine():
                made = ask(self.world, name, choices)
        except EntryMissing as missing:
            if choices.population or choices.known:
                raise Invalid(missing.text) from missing
            raise
        with self._lock:
            _remember(self._answers, asked, made.key, ANSWERS_KNOWN_MAX)
        return made

    def claims(self) -> Checked:
        """Every claim; those that are checked for the first time take at most CLAIMS_S, and then wait for the next
        request."""
        loaded, state = Claims.load(self.world), state_of(self.world)
        stop = time.monotonic() + CLAIMS_S
        pending = self._unknown(loaded, state)
        while pending and time.monotonic() < stop:
            try:
                with self.turns.mine():
                    self._check(pending[0], state)
            except Unavailable:  # the page tells the others, and this one next time
                break
            pending = pending[1:]
        return self._checked(loaded, state)

    def claims_so_far(self) -> Checked:
        """Every claim, at once: those that nobody has checked yet are worked out for whoever looks next."""
        loaded, state = Claims.load(self.world), state_of(self.world)
        with self._lock:
            failed, self._failed = self._failed, None
        if failed is not None:
            raise failed
        pending = self._unknown(loaded, state)
        if pending:
            self._begin(pending, state).join(SO_FAR_S)
        return self._checked(loaded, state)

    def _checked(self, loaded: Claims, state: bytes) -> Checked:
        known = [(claim, self._verdict(claim, state)) for claim in loaded.claims]
        found = sorted(
            (result for _, result in known if result is not None),
            key=lambda one: (VERDICT_ORDER.index(one.verdict), one.claim.id),
        )
        return Checked(tuple(found), loaded.unreadable, tuple(claim for claim, result in known if result is None))

    def _unknown(self, loaded: Claims, state: bytes) -> list[Claim]:
        return [claim for claim in loaded.claims if self._verdict(claim, state) is None]

    def _verdict(self, claim: Claim, state: bytes) -> ClaimResult | None:
        asked = _digest(state, msgspec.json.encode(claim))
        known = self._verdicts.get(asked)
        if known is None and (known := kept_result(self.world, claim, state)) is not None:
            with self._lock:
                _remember(self._verdicts, asked, known, VERDICTS_KNOWN_MAX)
        return known

    def _check(self, claim: Claim, state: bytes) -> None:
        """Works out a verdict, in one's turn. What an import came into is for nobody: the next asks of the new data."""
        result = check(self.world, claim, state=state)
        if state_of(self.world) != state:
            return
        with self._lock:
            _remember(self._verdicts, _digest(state, msgspec.json.encode(claim)), result, VERDICTS_KNOWN_MAX)

    def _begin(self, pending: list[Claim], state: bytes) -> threading.Thread:
        """Whoever works out verdicts: one at a time."""
        with self._lock:
            if self._worker is None or not self._worker.is_alive():
                self._worker = threading.Thread(target=self._work, args=(pending, state), name="claims")
                self._worker.start()
            return self._worker

    def _work(self, pending: list[Claim], state: bytes) -> None:
        try:
            for claim in pending:
                with self.turns.spare():
                    # The process that ends waits for no more than one claim; after an import the next page begins anew.
                    if not threading.main_thread().is_alive() or state_of(self.world) != state:
                        return
                    self._check(claim, state)
        except (HeadwaterError, OSError, ValueError) as error:  # Arrow's own errors are of the last two kinds
            with self._lock:
                self._failed = error


def desk(rooms: Rooms, actor: Actor) -> Desk:
    """That of this hub; its administrators see all, everybody else what tells of no private model."""
    public, whole = _desks(Path(rooms.settings.data) / "observatory", max(1, rooms.settings.threads // WAITING_SHARE))
    return whole if actor.is_admin else public


@lru_cache(maxsize=8)
def _desks(folder: Path, waiting_max: int) -> tuple[Desk, Desk]:
    """One pair per data folder, because they know who waits."""
    turns = Turns(waiting_max)
    return Desk(PublicWorld(folder), turns), Desk(World(folder), turns)


def _busy() -> Unavailable:
    return Unavailable(
        "The Observatory is answering other questions just now; ask again in a moment", retry_after_s=RETRY_AFTER_S
    )


def _digest(*parts: bytes | str) -> bytes:
    return hashlib.sha256(b"\0".join(one.encode() if isinstance(one, str) else one for one in parts)).digest()


def _remember(known: OrderedDict[bytes, _Known], key: bytes, value: _Known, most: int) -> None:
    known[key] = value
    known.move_to_end(key)
    while len(known) > most:
        known.popitem(last=False)
