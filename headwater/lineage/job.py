"""The work that `following.py` asks for: new files are looked at, offered parents, and handed to the sealer.

Four kinds of jobs. SURVEY (of a repo): each of its files that was not looked at yet is sketched, the largest first, so
that what others were quantized from arrives before them; then each is to be sealed. SEAL (of a file): its parents are
found and the sealer is called. REVIEW (of a repo whose readers changed): whether a file stands on what some reader of
it may no longer read. RESEAL (of a file): stored anew, because of a review or because a better parent came after it.
Refuses to know how files are sealed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Row, and_, bindparam, exists, or_, select

from headwater.ground import jobs
from headwater.ground.clock import Clock
from headwater.ground.db import Database
from headwater.ground.errors import Conflict, Corrupt, EntryMissing, HeadwaterError
from headwater.ground.jobs import Handler, Job
from headwater.ground.log import log
from headwater.ground.names import Sha256
from headwater.lineage import graphs, readers
from headwater.lineage.files import sketch_of
from headwater.lineage.following import RESEAL, REVIEW, SEAL, SURVEY
from headwater.lineage.parents import WORDS, Candidate, Parents
from headwater.lineage.sketches import Sketches
from headwater.lineage.tables import sketch
from headwater.repos.tables import hold, repo
from headwater.store.kin import May, Relative
from headwater.store.seal import Stopped
from headwater.store.splitting import Beside, ReadFile, siblings
from headwater.store.tables import blob
from headwater.tensors.segments import Sibling

PAGE = 500  # files of a repo at once
PAUSED_MS = 60_000  # how long a file waits while sealing is paused
PARENT_MS = 30_000  # how long a file waits for a parent that is to be sealed before it
CHANGED_MS = 2_000  # how long a file waits that changed, or whose relatives did, while it was sealed
CHANGED_MAX = 20  # times in a row; then it is an error
WAITS_MAX = 20  # for parents; then it is sealed without them


class Seal(Protocol):
    """The store's sealer, or what stores a sealed file anew."""

    def __call__(
        self, sha256: Sha256, name: str, relatives: Sequence[Relative], may: May, beside: Sequence[Beside], /
    ) -> object: ...


class Offer(NamedTuple):
    """What a sealer is told of a file: see `Seal`."""

    name: str
    relatives: list[Relative]
    may: May
    beside: tuple[Beside, ...]


_other = hold.alias()
_COMMITTED = and_(hold.c.repo_id == bindparam("of_repo"), hold.c.committed.is_(True))
_UNSEEN = (
    select(hold.c.sha256, hold.c.path, blob.c.size)
    .join_from(hold, blob, blob.c.sha256 == hold.c.sha256)
    .join(repo, repo.c.id == hold.c.repo_id)
    .join(sketch, sketch.c.sha256 == hold.c.sha256, isouter=True)
    .where(_COMMITTED, repo.c.state == "live", blob.c.state == "whole", sketch.c.id.is_(None))
    .where(
        or_(
            blob.c.size < bindparam("below"),
            and_(blob.c.size == bindparam("below"), hold.c.sha256 > bindparam("after")),
        )
    )
    .order_by(blob.c.size.desc(), hold.c.sha256)
    .limit(PAGE)
)
_HELD = select(hold.c.sha256).where(_COMMITTED, hold.c.sha256 > bindparam("after")).order_by(hold.c.sha256).limit(PAGE)
_SHARED = _HELD.where(exists().where(_other.c.sha256 == hold.c.sha256, _other.c.repo_id != hold.c.repo_id))
_SENT = select(blob.c.created_ms).where(blob.c.sha256 == bindparam("of_sha"))
_SEALED = select(blob.c.sha256).where(blob.c.sha256 == bindparam("of_sha"), blob.c.sealed.is_not(None))
_UNDECIDED = select(blob.c.sha256).where(
    blob.c.sha256.in_(bindparam("of_shas", expanding=True)),
    blob.c.sealed.is_(None),
    blob.c.seal_ms.is_(None),
    blob.c.state == "whole",
)
_ENDLESS = 1 << 62


class Work:
    """`going` says whether sealing goes on; while it does not, files wait and nothing is given up."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        read: ReadFile,
        seal: Seal,
        reseal: Seal,
        going: Callable[[], bool] = lambda: True,
    ) -> None:
        self._db, self._clock, self._read = db, clock, read
        self._seal, self._reseal, self._going = seal, reseal, going
        self.sketches = Sketches(db, clock)
        self.parents = Parents(db, self.sketches)

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """For the runner of jobs; SEAL and RESEAL take minutes a file, and belong in a runner of their own."""
        return {
            SURVEY: self.survey,
            REVIEW: self.review,
            SEAL: self.seal,
            RESEAL: self.reseal,
        }

    # Looking at files

    def survey(self, job: Job) -> None:
        """Of the repo that is the job's key."""
        repo_id = int(job.key)
        below, after = _ENDLESS, ""
        while page := self._page(_UNSEEN, {"of_repo": repo_id, "below": below, "after": after}):
            done = [Sha256(row.sha256) for row in page if self.look(Sha256(row.sha256), row.path, row.size)]
            self._enqueue(SEAL, done)
            below, after = page[-1].size, page[-1].sha256
        for sha256 in self._files(_SHARED, repo_id):  # a second repo that holds a file may have other readers
            self._review(sha256)

    def look(self, sha256: Sha256, name: str, size: int) -> bool:
        """Sketches one file, if it can be read; False if not, or if it is gone."""
        with self._db.read() as connection:
            place = graphs.place(connection, sha256)
        beside: list[Sibling] = []
        if place is not None and place.beside:
            name, beside = place.path, siblings(place.beside, self._read)
        try:
            made = sketch_of(lambda start, stop: b"".join(self._read(sha256, start, stop)), name, size, beside)
        except (Corrupt, EntryMissing) as error:
            log.warning("file not sketched", sha256=sha256, why=error.text)
            return False
        return self.sketches.put(sha256, made) is not None

    # Sealing

    def seal(self, job: Job) -> None:
        sha256 = Sha256(job.key)
        if self._waits(job):
            return
        found = self.parents.candidates(sha256)
        waited = int(job.payload.get("waited", 0))
        if waited < WAITS_MAX and self._are_undecided([one.sha256 for one in found]):
            self._again(job, PARENT_MS, {"waited": waited + 1})
            return
        if self._stored(job, self._seal, found):
            self.settle(sha256, found)

    def offer(self, sha256: Sha256, found: Sequence[Candidate]) -> Offer | None:
        """For sealing a file on these of its relatives; None if no live repo holds it any more."""
        with self._db.read() as connection:
            place = graphs.place(connection, sha256)
        if place is None:
            return None
        return Offer(place.path, [relative_of(one) for one in found], self.parents.may(sha256), place.beside)

    def settle(self, sha256: Sha256, found: Sequence[Candidate]) -> None:
        """After a file was sealed, or decided on: what is to be stored anew for it is enqueued."""
        self.parents.record(sha256, found)
        self._review(sha256)  # equal tensors are stored once, on whatever parents the first of them had
        if self._is_sealed(sha256):  # only then can others stand on it
            self._enqueue(RESEAL, [child.sha256 for child in self.parents.later_children(sha256)])

    def reseal(self, job: Job) -> None:
        sha256 = Sha256(job.key)
        if self._waits(job):
            return
        found = self.parents.relatives(sha256)
        if self._stored(job, self._reseal, found):
            self.parents.record(sha256, found)

    def review(self, job: Job) -> None:
        """Of the repo that is the job's key, after its readers changed: its files, and what stands on them."""
        with self._db.read() as connection:
            is_open = readers.is_open(connection, int(job.key))
        for sha256 in self._files(_HELD, int(job.key)):
            # what everybody reads, everybody's files may stand on
            children = set() if is_open else self.parents.standing_on(sha256)
            for one in {sha256, *children}:
                self._review(one)
            if self._are_undecided([sha256]) and self.sketches.known(sha256) is not None:
                self._enqueue(SEAL, [sha256])  # its turn came while nobody held it: its repo was deleted, and is back

    def _review(self, sha256: Sha256) -> None:
        if self.parents.forbidden(sha256):
            self._enqueue(RESEAL, [sha256])

    def _waits(self, job: Job) -> bool:
        if not self._going():
            self._again(job, PAUSED_MS, job.payload)
            return True
        return False

    def _stored(self, job: Job, how: Seal, found: Sequence[Candidate]) -> bool:
        """False if nobody needs the file any more, or sealing was stopped: then it waits."""
        sha256 = Sha256(job.key)
        with self._db.read() as connection:
            sent_ms = connection.execute(_SENT, {"of_sha": sha256}).scalar()
        offer = self.offer(sha256, found)
        if offer is None or sent_ms is None:
            return False
        try:
            how(sha256, *offer)
        except EntryMissing:
            return False
        except Stopped:
            self._again(job, PAUSED_MS, job.payload)
            return False
        except (Conflict, Corrupt) as error:
            if not self._went_on(job, error, sent_ms):
                raise
            return False
        return True

    def _went_on(self, job: Job, error: HeadwaterError, sent_ms: int) -> bool:
        """Whether the hub only went on meanwhile: the file was swept or sent again, or what it shares with others went.

        Then it is no error; if the file is there, its turn comes again.
        """
        with self._db.read() as connection:
            now_ms = connection.execute(_SENT, {"of_sha": job.key}).scalar()
        if now_ms is None:
            return True
        tried = int(job.payload.get("tried", 0))
        if tried >= CHANGED_MAX or (isinstance(error, Corrupt) and now_ms == sent_ms):
            return False
        self._again(job, CHANGED_MS, {**job.payload, "tried": tried + 1})
        return True

    def _is_sealed(self, sha256: Sha256) -> bool:
        with self._db.read() as connection:
            return connection.execute(_SEALED, {"of_sha": sha256}).first() is not None

    def _are_undecided(self, names: Sequence[Sha256]) -> bool:
        """Whether one of these files is still to be sealed: only a sealed one can be stood on."""
        with self._db.read() as connection:
            return bool(names) and connection.execute(_UNDECIDED, {"of_shas": names}).first() is not None

    def _again(self, job: Job, wait_ms: int, payload: Mapping[str, Any]) -> None:
        with self._db.write_soft() as connection:
            jobs.enqueue(connection, self._clock, job.kind, job.key, payload, wait_ms=wait_ms)

    # Reading and writing tables

    def _enqueue(self, kind: str, keys: Sequence[str]) -> None:
        if keys:
            with self._db.write_soft() as connection:
                for key in keys:
                    jobs.enqueue(connection, self._clock, kind, key, {})

    def _page(self, asked: Any, values: Mapping[str, object]) -> Sequence[Row[Any]]:
        with self._db.read() as connection:
            found: Sequence[Row[Any]] = connection.execute(asked, dict(values)).all()
            return found

    def _files(self, asked: Any, repo_id: int) -> Iterator[Sha256]:
        after = ""
        while page := self._page(asked, {"of_repo": repo_id, "after": after}):
            for row in page:
                after = row.sha256
                yield Sha256(after)


def relative_of(found: Candidate) -> Relative:
    return Relative(found.sha256, WORDS[found.why], found.place.path, found.pairs, found.place.beside)
