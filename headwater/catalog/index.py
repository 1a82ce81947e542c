"""The index: an event -> the rows that lists and pages read. Everything here can be thrown away and made again.

`follow` turns what happened into jobs and remembers how far it has come, in one transaction; `index` reads a repo's
main branch and writes its rows in another. Both may be repeated at will: the same truth gives the same rows.

Refuses to know how a repo is stored: the composition root hands in a `Reader` that answers six questions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection, Table, bindparam, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.sql import func

from headwater.catalog import cards, contents, counts, search
from headwater.catalog.contents import Contents, FileRow, Tally, Weights
from headwater.catalog.tables import (
    MARK,
    POSTING_SHIFT,
    catalog,
    catalog_search,
    posting,
    standing,
    tag,
)
from headwater.ground import events, jobs, names
from headwater.ground.clock import Clock
from headwater.ground.db import Database
from headwater.ground.errors import Corrupt, EntryMissing, HeadwaterError, RepoMissing
from headwater.ground.events import Event
from headwater.ground.names import CommitId, RepoId
from headwater.repos.holds import holding
from headwater.repos.lru import Lru
from headwater.repos.tables import hold, repo
from headwater.store.tables import blob
from headwater.tensors import Read

FOLLOWER = "catalog"
FORM = f"{FOLLOWER}.form-2"
"""What the rows hold, as of this version of Headwater. A new name has every repo read again, once, after an upgrade."""
JOB = "catalog.index"
MAIN = "refs/heads/main"
CARD_BYTES_MAX = 4 << 20  # of README.md: its front matter, and the links in its text
TAGS_MAX = 1_100  # what a card may have, and what files add
USED_MAX = 200  # models, and data sets, of one space
NAME_CHARS_MAX = 2 * names.NAME_LENGTH_MAX + 1
LOCKS = 64
FRESH_WAIT_S = 2.0  # for others who read the same repo: what an ordinary one takes, many times over
TALLIES_WEIGHT_MAX = 16_384  # rows kept of what repos' files come to, about 450 bytes each: as many repos, usually
REBUILD_BATCH = 1_000

_WHOLE = frozenset(("repo.created", "repo.moved", "repo.changed", "repo.deleted", "repo.undeleted"))
_LIKES = frozenset(("repo.liked", "repo.unliked"))


class RepoRow(Protocol):
    """A live repo, as `repos` gives it."""

    @property
    def id(self) -> int: ...
    @property
    def rid(self) -> RepoId: ...
    @property
    def namespace_id(self) -> int | None: ...
    @property
    def private(self) -> bool: ...
    @property
    def gated(self) -> str | None: ...
    @property
    def sdk(self) -> str | None: ...
    @property
    def created_ms(self) -> int: ...
    @property
    def updated_ms(self) -> int: ...


class Reader(Protocol):
    """What the index asks of the truth; no question is asked for anybody, so nothing is hidden from it."""

    def repo(self, repo_id: int) -> RepoRow | None:
        """None: it is not there, or no longer."""

    def head(self, repo_id: int) -> CommitId | None:
        """What main points to; None: there is no main."""

    def files(self, repo_id: int, commit: CommitId) -> Iterable[FileRow]:
        """All entries of the revision, folders included or not, one at a time."""

    def changes(self, repo_id: int, old: CommitId, new: CommitId) -> Iterable[tuple[FileRow | None, FileRow | None]]:
        """What `files` would tell otherwise of the two revisions: before and after; None: not there."""

    def text(self, repo_id: int, commit: CommitId, path: str, bytes_max: int) -> bytes | None:
        """The first `bytes_max` bytes of a file; None: there is no such file."""

    def open(self, repo_id: int, commit: CommitId, path: str) -> Read:
        """Random access to a file's bytes."""


@dataclass(frozen=True, slots=True)
class _Finding:
    """All that one reading of a revision has found out."""

    sha: str
    card: dict[str, Any]
    tags: tuple[str, ...]
    weights: Weights
    regular_bytes: int
    library_name: str | None = None
    pipeline_tag: str | None = None
    config: str | None = None


_BEFORE = (
    select(catalog.c.weights, catalog.c.safetensors, catalog.c.gguf, standing.c.parameters)
    .join_from(catalog, standing, standing.c.repo_id == catalog.c.repo_id)
    .where(catalog.c.repo_id == bindparam("of_repo"))
)
_HELD_BYTES = (
    select(func.coalesce(func.sum(blob.c.size), 0))
    .join_from(hold, blob, hold.c.sha256 == blob.c.sha256)
    .where(hold.c.repo_id == bindparam("of_repo"), hold.c.committed.is_(True))
)
_TAG_IDS = select(catalog.c.tag_ids).where(catalog.c.repo_id == bindparam("of_repo"))
_TAGS_KNOWN = select(tag.c.key, tag.c.id).where(
    tag.c.type == bindparam("of_type"), tag.c.key.in_(bindparam("of_keys", expanding=True))
)
_READ_AT = select(standing.c.modified_ms).where(standing.c.repo_id == bindparam("of_repo"))
_LIVE = (
    select(repo.c.id)
    .where(repo.c.state == "live", repo.c.id > bindparam("after"))
    .order_by(repo.c.id)
    .limit(REBUILD_BATCH)
)


class Index:
    """Thread-safe. `read` gives it the truth; it writes only what can be made again."""

    def __init__(self, db: Database, clock: Clock, read: Reader) -> None:
        self._db = db
        self._clock = clock
        self._read = read
        # One reading of a repo at a time: an older one must not be written after a newer one. Other processes
        # (`headwater rebuild`) have locks of their own: `_is_read`.
        self._locks = tuple(threading.Lock() for _ in range(LOCKS))
        self._following = threading.Lock()
        self._form_is_known = False
        self._tallies: Lru[int, tuple[CommitId, Tally]] = Lru(TALLIES_WEIGHT_MAX)

    # Following events

    def follow(self) -> int:
        """Enqueue what happened since the last call, and count likes; how many events there were."""
        with self._following:
            self._begin_anew()
            return events.follow(self._db, FOLLOWER, self._take)

    def _begin_anew(self) -> None:
        """From the first event, where an older version wrote the rows: they stay as they are until each is read."""
        if self._form_is_known:
            return
        with self._db.read() as connection:
            known = events.reached(connection, FORM)
        if not known:
            with self._db.write_soft() as connection:
                events.reach(connection, FOLLOWER, 0)
                events.reach(connection, FORM, 1)
        self._form_is_known = True

    def _take(self, connection: Connection, batch: list[Event]) -> None:
        changed: dict[int, None] = {}
        beside: dict[int, None] = {}
        liked: dict[int, None] = {}
        for event in batch:
            if event.repo_id is None:
                continue
            if event.kind in _WHOLE or (event.kind == "ref.moved" and event.data.get("ref") == MAIN):
                changed[event.repo_id] = None
            elif event.kind == "ref.moved":
                beside[event.repo_id] = None
            elif event.kind in _LIKES:
                liked[event.repo_id] = None
        if beside:
            # A commit beside main may bring large files, which count among what the repo stores. Text alone does not.
            changed |= dict.fromkeys(sorted(holding(connection, beside)))
        for repo_id in changed:
            jobs.enqueue(connection, self._clock, JOB, str(repo_id), {})
        counts.refresh(connection, [repo_id for repo_id in liked if repo_id not in changed], self._clock.now_ms())

    def work(self, job: jobs.Job) -> None:
        """The handler of JOB."""
        self.index(int(job.key))

    # Reading and writing one repo

    def index(self, repo_id: int) -> None:
        """Bring a repo's rows up to date with its main branch, or remove them if it is gone."""
        with self._locks[repo_id % LOCKS]:
            self._index(repo_id)

    def _index(self, repo_id: int) -> None:
        row = self._read.repo(repo_id)
        if row is None:
            with self._db.write_soft() as connection:
                _forget(connection, repo_id)
            return
        with self._db.read() as connection:
            before = _weights(connection, repo_id)
        finding = self._found(row, before)
        with self._db.write_soft() as connection:
            # Read again inside, where nobody changes it: it may have been deleted since, and rows of a deleted repo
            # would stay; or moved or hidden.
            now = self._read.repo(repo_id)
            if finding is None or now is None:
                _forget(connection, repo_id)
            elif now.updated_ms == row.updated_ms or not _is_read(connection, now):
                _put(connection, now, finding, self._clock.now_ms())

    def _found(self, row: RepoRow, before: Weights | None) -> _Finding | None:
        """None: it was deleted while it was read, so that something of it was not there any more."""
        try:
            return self._find(row, before)
        except RepoMissing:
            return None
        except (Corrupt, EntryMissing):
            if self._read.repo(row.id) is not None:
                raise
            return None

    def fresh(self, repo_id: int, head: str) -> search.Known | None:
        """What is known of main's commit `head`, reading it now if something older is known. None: no such repo.

        Something older it is all the same where others have been reading for seconds: a large repo's many askers must
        not hold all threads.
        """
        known = self.known(repo_id)
        if known is not None and known.sha == head:
            return known
        lock = self._locks[repo_id % LOCKS]
        if not lock.acquire(timeout=-1 if known is None else FRESH_WAIT_S):
            return known
        try:
            known = self.known(repo_id)  # whoever had the lock may have read it
            if known is None or known.sha != head:
                self._index(repo_id)
                known = self.known(repo_id)
            return known
        finally:
            lock.release()

    def known(self, repo_id: int) -> search.Known | None:
        with self._db.read() as connection:
            return search.one(connection, repo_id)

    def rebuild(self, progress: Callable[[int, int], None] = lambda _done, _total: None) -> int:
        """Throw all rows away and make them again from the truth; how many repos. `progress(done, total)`.

        Lists are short while it runs. What happens meanwhile is followed as usual afterwards.
        """
        self._tallies = Lru(TALLIES_WEIGHT_MAX)
        with self._following, self._db.write_soft() as connection:
            last = events.last_id(connection)
            for table in (catalog, standing, posting, tag, catalog_search):
                connection.execute(delete(table))
            events.reach(connection, FOLLOWER, last)
            events.reach(connection, FORM, 1)
            total = connection.execute(select(func.count()).where(repo.c.state == "live")).scalar_one()
        done = after = 0
        while True:
            with self._db.read() as connection:
                batch = connection.execute(_LIVE, {"after": after}).scalars().all()
            if not batch:
                return done
            for after in batch:
                try:
                    self.index(after)
                except HeadwaterError:  # its files can't be read just now: the job tries again, and keeps the reason
                    with self._db.write_soft() as connection:
                        jobs.enqueue(connection, self._clock, JOB, str(after), {})
                done += 1
                progress(done, max(total, done))

    def _find(self, row: RepoRow, before: Weights | None) -> _Finding:
        commit = self._read.head(row.id)
        files = self._tally(row.id, commit).contents()

        def text(path: str, bytes_max: int) -> bytes | None:
            wanted = commit is not None and path in files.root
            return self._read.text(row.id, commit, path, bytes_max) if commit is not None and wanted else None

        card = cards.read(text(contents.README, CARD_BYTES_MAX) or b"")
        declared = cards.tags(card.front, row.rid.type, card.body)
        if row.rid.type != "model" or commit is None:
            return _Finding(
                sha=commit or "",
                card=card.front,
                tags=_listed([*declared, *_formats(row, files)]),
                weights=Weights(""),
                regular_bytes=files.regular_bytes,
            )
        config = contents.config(
            text(contents.CONFIG, contents.CONFIG_BYTES_MAX + 1),
            text(contents.TOKENIZER, contents.CONFIG_BYTES_MAX + 1),
        )
        library_name = card.library_name or contents.library(files, config)
        pipeline_tag = card.pipeline_tag or contents.task(library_name, config)
        from_files = [library_name, *_formats(row, files), config.model_type, pipeline_tag]
        return _Finding(
            sha=commit,
            card=card.front,
            tags=_listed([*from_files, *declared, config.quantization]),
            library_name=library_name,
            pipeline_tag=pipeline_tag,
            config=config.as_json(),
            weights=contents.weights(files, lambda path: self._read.open(row.id, commit, path), before),
            regular_bytes=files.regular_bytes,
        )

    def _tally(self, repo_id: int, commit: CommitId | None) -> Tally:
        """What the files of the revision come to: read wholly once, then only what differs. Under the repo's lock."""
        if commit is None:
            return contents.survey(())
        known = self._tallies.get(repo_id)
        self._tallies.drop(repo_id)  # while it is being changed: an error must not leave half of a change behind
        tally = self._advanced(repo_id, known, commit) if known is not None else None
        if tally is None:
            tally = contents.survey(self._read.files(repo_id, commit))
        if tally.is_whole:
            self._tallies.put(repo_id, (commit, tally), tally.weight)
        return tally

    def _advanced(self, repo_id: int, known: tuple[CommitId, Tally], commit: CommitId) -> Tally | None:
        """The tally brought up to `commit`; None: it can't be, so that all has to be read."""
        at, tally = known
        try:
            for before, after in self._read.changes(repo_id, at, commit) if at != commit else ():
                if before is not None:
                    tally.remove(before)
                if after is not None:
                    tally.add(after)
                if not tally.is_whole:  # and may never end: folders in folders name more files than there are
                    return None
        except (Corrupt, EntryMissing):  # the older revision may be damaged, and is not needed
            return None
        return tally


def _is_read(connection: Connection, now: RepoRow) -> bool:
    """Whether the repo was read as it is now, by another process: an older reading must not be written over that."""
    return connection.execute(_READ_AT, {"of_repo": now.id}).scalar() == now.updated_ms


def _weights(connection: Connection, repo_id: int) -> Weights | None:
    before = connection.execute(_BEFORE, {"of_repo": repo_id}).first()
    if before is None or before.weights is None:
        return None
    return Weights(before.weights, before.safetensors, before.gguf, before.parameters)


def _formats(row: RepoRow, files: Contents) -> list[str]:
    if row.rid.type == "model":
        return sorted(files.formats)
    if row.rid.type == "dataset":
        return [f"format:{name}" for name in sorted(files.data_formats)]
    return [row.sdk] if row.sdk else []


def _listed(found: Iterable[str | None]) -> tuple[str, ...]:
    """Each once, in whatever case: tags are looked up without it."""
    kept: dict[str, str] = {}
    for text in found:
        if text and len(kept) < TAGS_MAX:
            kept.setdefault(text.lower(), text)
    return tuple(kept.values())


def _keys(row: RepoRow, finding: _Finding) -> set[str]:
    """What the repo is listed under: its tags, and what queries ask for besides."""
    keys = {text.lower() for text in finding.tags}
    assert not any(key.startswith(MARK) for key in keys), keys
    keys.add(search.PRIVATE if row.private else search.PUBLIC)
    if row.namespace_id is not None:
        keys.add(search.of_namespace(row.namespace_id))
    if row.gated:
        keys.add(search.GATED)
    if finding.pipeline_tag:
        keys.add(search.of_pipeline(finding.pipeline_tag))
    if finding.library_name:
        keys.add(search.of_library(finding.library_name))
    if row.rid.type == "space":
        uses = [search.of_use("model", name) for name in _used(finding.card, "models")]
        uses += [search.of_use("dataset", name) for name in _used(finding.card, "datasets")]
        keys.update(uses, [search.LINKED] if uses else [])
    return keys


def _used(card: dict[str, Any], field: str) -> list[str]:
    """The repos that a space says it uses."""
    listed = card.get(field)
    named = listed[:USED_MAX] if isinstance(listed, list) else [listed]
    return [name for name in named if isinstance(name, str) and len(name) <= NAME_CHARS_MAX and name.isprintable()]


def _put(connection: Connection, row: RepoRow, finding: _Finding, now_ms: int) -> None:
    tag_ids = _post(connection, row, _keys(row, finding))
    tally = counts.tallies(connection, [row.id], now_ms)[row.id]
    shown = {
        "repo_id": row.id,
        "sha": finding.sha,
        "library_name": finding.library_name,
        "pipeline_tag": finding.pipeline_tag,
        "used_storage": connection.execute(_HELD_BYTES, {"of_repo": row.id}).scalar_one() + finding.regular_bytes,
        "tags": _json(finding.tags),
        "safetensors": finding.weights.safetensors,
        "config": finding.config,
        "tag_ids": _json(tag_ids),
        "weights": finding.weights.read_from or None,
        "gguf": finding.weights.gguf,
        "card": _json(finding.card),
    }
    connection.execute(_PUT_CATALOG, shown)
    stands = {
        "repo_id": row.id,
        "type": row.rid.type,
        "created_ms": row.created_ms,
        "modified_ms": row.updated_ms,
        "downloads": tally.downloads,
        "downloads_all": tally.downloads_all,
        "likes": tally.likes,
        "trending": tally.trending,
        "parameters": finding.weights.parameters,
    }
    connection.execute(_PUT_STANDING, stands)
    key = names.key(row.rid.full)
    if connection.execute(_SEARCHED_AS, {"of_repo": row.id}).scalar() != key:
        connection.execute(_UNSEARCH, {"of_repo": row.id})
        connection.execute(_SEARCH, {"of_repo": row.id, "key": key, "first_letters": search.word_starts(key)})


def _post(connection: Connection, row: RepoRow, keys: set[str]) -> list[int]:
    """The repo's tags are these and no others from now on; their numbers, sorted."""
    known = _known_tags(connection, row, keys)
    new = sorted(keys - known.keys())
    if new:
        connection.execute(insert(tag), [{"type": row.rid.type, "key": key, "count": 0} for key in new])
        known |= _known_tags(connection, row, new)
    had = connection.execute(_TAG_IDS, {"of_repo": row.id}).scalar()
    before = set(msgspec.json.decode(had, type=list[int]) if had else ())
    after = set(known.values())
    _unpost(connection, row.id, before - after)
    added = sorted(after - before)
    if added:
        connection.execute(_POST, [{"id": tag_id << POSTING_SHIFT | row.id} for tag_id in added])
        connection.execute(_COUNT_TAG, [{"of_tag": tag_id, "more": 1} for tag_id in added])
    return sorted(after)


def _known_tags(connection: Connection, row: RepoRow, keys: Iterable[str]) -> dict[str, int]:
    asked = {"of_type": row.rid.type, "of_keys": sorted(keys)}
    return {row.key: row.id for row in connection.execute(_TAGS_KNOWN, asked)}


def _unpost(connection: Connection, repo_id: int, tag_ids: Iterable[int]) -> None:
    gone = sorted(tag_ids)
    if gone:
        connection.execute(_UNPOST, [{"of_posting": tag_id << POSTING_SHIFT | repo_id} for tag_id in gone])
        connection.execute(_COUNT_TAG, [{"of_tag": tag_id, "more": -1} for tag_id in gone])
        connection.execute(_DROP_TAG, [{"of_tag": tag_id} for tag_id in gone])


def _forget(connection: Connection, repo_id: int) -> None:
    had = connection.execute(_TAG_IDS, {"of_repo": repo_id}).scalar()
    if had is not None:
        _unpost(connection, repo_id, msgspec.json.decode(had, type=list[int]))
    for statement in (_UNSEARCH, _DROP_CATALOG, _DROP_STANDING):
        connection.execute(statement, {"of_repo": repo_id})


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _replacing(table: Table) -> Any:
    made = upsert(table)
    others = {column.name: made.excluded[column.name] for column in table.c if column.name != "repo_id"}
    return made.on_conflict_do_update(index_elements=[table.c.repo_id], set_=others)


_PUT_CATALOG = _replacing(catalog)
_PUT_STANDING = _replacing(standing)
_DROP_CATALOG = delete(catalog).where(catalog.c.repo_id == bindparam("of_repo"))
_DROP_STANDING = delete(standing).where(standing.c.repo_id == bindparam("of_repo"))
_SEARCHED_AS = select(catalog_search.c.name).where(catalog_search.c.rowid == bindparam("of_repo"))
_UNSEARCH = delete(catalog_search).where(catalog_search.c.rowid == bindparam("of_repo"))
_SEARCH = insert(catalog_search).values(
    rowid=bindparam("of_repo"), name=bindparam("key"), starts=bindparam("first_letters")
)
_POST = upsert(posting).on_conflict_do_nothing()
_UNPOST = delete(posting).where(posting.c.id == bindparam("of_posting"))
_COUNT_TAG = update(tag).where(tag.c.id == bindparam("of_tag")).values(count=tag.c.count + bindparam("more"))
_DROP_TAG = delete(tag).where(tag.c.id == bindparam("of_tag"), tag.c.count <= 0)
