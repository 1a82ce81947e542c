"""Parents: which stored files a file may be stored against, and for which files a new one is the better parent.

Three sources, in this order of trust: what the card of a repo that holds the file declares; earlier revisions and
neighbours in that repo; the search over all sketches. All are hints: each candidate is compared by its sketch. Whoever
may read the file may read each of its candidates (`readers` has the rule), and what nobody but others may read changes
no answer. A parent arrived before its child, so that no circle can form; `later_children` is for the other order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from sqlalchemy import CTE, Connection, Select, bindparam, delete, insert, select
from sqlalchemy.sql import func

from headwater.catalog import cards
from headwater.catalog.tables import catalog
from headwater.ground import names
from headwater.ground.db import Database, batches
from headwater.ground.errors import Corrupt, Invalid
from headwater.ground.log import log
from headwater.ground.names import Sha256
from headwater.lineage import graphs, kinship, readers
from headwater.lineage.align import Probed
from headwater.lineage.graphs import Place
from headwater.lineage.kinship import Kinship, Match
from headwater.lineage.readers import Holder
from headwater.lineage.sketches import NEVER, Known, Near, Sketches
from headwater.lineage.tables import kin, sketch
from headwater.repos.tables import old_name, repo
from headwater.store.tables import blob_tensor, tensor, tensor_parent

CANDIDATES_MAX = 8  # that are offered; more cost the sealer more than they bring
COMPARED_MAX = 12  # whole sketches
GLANCED_MAX = 32  # of the search, and as many of the hints: a megabyte is read of each
HINTED_MAX = 256  # files of declared bases and of the same repos that are considered, newest first
UNSEEN_MAX = 4  # hinted ones that the search thinks nothing of, and that are compared all the same
BASES_MAX = 8  # declared base models; a merge of more has its cards' first ones considered
CHILDREN_MAX = 32  # considered when a new file may be the better parent
SCORE_MIN = 0.02  # of the file: less is not worth depending on another file
GAIN_MIN = 0.05  # of the file: what a better parent must save beyond the present one to be worth encoding again

Why = Literal["declared", "repo", "similar"]
WORDS: dict[Why, str] = {
    "declared": "declared base model",
    "repo": "from the same repo",
    "similar": "similar weights",
}
"""For people; names nobody."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may be a parent. `place` is where it lies; `score` the share of the child it would save."""

    sha256: Sha256
    place: Place
    why: Why
    score: float
    matches: tuple[Match, ...]

    @property
    def pairs(self) -> dict[str, str]:
        """Tensor of the child -> tensor of the parent."""
        return {match.target: match.parent for match in self.matches}


@dataclass(frozen=True, slots=True)
class Child:
    """A file for which a new one would be a better parent: shares of it saved with the new one, and at present."""

    sha256: Sha256
    score: float
    before: float


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question: the file, its sketch, who holds it, whose hints count, and from when on arrivals are too late."""

    known: Known
    probed: Probed
    holders: Sequence[Holder]
    hinting: Sequence[Holder]
    stop: int


_CARDS = select(catalog.c.card).where(catalog.c.repo_id.in_(bindparam("of_repos", expanding=True)))
_MODELS = select(repo.c.id).where(
    repo.c.type == "model", repo.c.state == "live", repo.c.key.in_(bindparam("of_keys", expanding=True))
)
_MOVED_MODELS = (
    select(repo.c.id)
    .join_from(old_name, repo, old_name.c.repo_id == repo.c.id)
    .where(old_name.c.type == "model", repo.c.state == "live", old_name.c.key.in_(bindparam("of_keys", expanding=True)))
)
_USERS = (
    select(blob_tensor.c.sha256)
    .join_from(blob_tensor, tensor, tensor.c.id == blob_tensor.c.tensor)
    .where(tensor.c.key == bindparam("of_key"))
)
_BEST = (
    select(func.max(kin.c.score)).join_from(kin, sketch, kin.c.child_id == sketch.c.id).where(
        sketch.c.sha256 == bindparam("of_sha")
    )
)  # fmt: skip


class Parents:
    def __init__(self, db: Database, sketches: Sketches) -> None:
        self._db = db
        self._sketches = sketches

    def candidates(self, sha256: Sha256) -> list[Candidate]:
        """Files that arrived before this one and may be its parents, those to try first in front."""
        known = self._sketches.known(sha256)
        return [] if known is None else self._candidates(known, known.id)

    def relatives(self, sha256: Sha256) -> list[Candidate]:
        """The same among all files, whenever they came: for storing a file anew. The store refuses circles."""
        known = self._sketches.known(sha256)
        return [] if known is None else self._candidates(known, NEVER)

    def allowed(self, sha256: Sha256, among: Iterable[Sha256]) -> set[Sha256]:
        """Those of these files that may be parents of this one, as repos are now."""
        with self._db.read() as connection:
            return readers.allowed(connection, readers.holders(connection, sha256), among)

    def may(self, sha256: Sha256) -> Callable[[bytes], bool]:
        """Whether a stored tensor, by its key, may be a parent of this file's, as repos are when that is first asked.

        A tensor that is no file's own any more may not: nobody can tell who might read it.
        """
        told: dict[bytes, bool] = {}
        with self._db.read() as connection:
            holders = readers.holders(connection, sha256)

        def may(key: bytes) -> bool:
            if key not in told:
                with self._db.read() as connection:
                    users = [Sha256(one) for one in connection.execute(_USERS, {"of_key": key}).scalars()]
                    told[key] = sha256 in users or bool(readers.allowed(connection, holders, users))
            return told[key]

        return may

    def record(self, sha256: Sha256, found: Sequence[Candidate]) -> None:
        """Remembers what was offered, so that `later_children` knows what would be better."""
        arrivals = self._sketches.arrivals([sha256, *(one.sha256 for one in found)])
        child = arrivals.get(sha256)
        if child is None:
            return
        rows = [
            {"child_id": child.id, "parent_id": arrivals[one.sha256].id, "score": one.score, "why": one.why}
            for one in found
            if one.sha256 in arrivals
        ]
        with self._db.write_soft() as connection:
            connection.execute(delete(kin).where(kin.c.child_id == child.id))
            if rows and connection.execute(select(sketch.c.id).where(sketch.c.id == child.id)).first():
                alive = set(
                    connection.execute(
                        select(sketch.c.id).where(sketch.c.id.in_([row["parent_id"] for row in rows]))
                    ).scalars()
                )
                kept = [row for row in rows if row["parent_id"] in alive]
                if kept:
                    connection.execute(insert(kin), kept)

    def later_children(self, sha256: Sha256) -> list[Child]:
        """Files that came before this one, and would be stored clearly better on it than on what they were offered.

        Those that this file itself stands on are left out. Most is gained by the first.
        """
        known, probed = self._sketches.known(sha256), self._sketch(sha256)
        if known is None or probed is None:
            return []
        mine = self.stands_on(sha256)
        found = []
        for near in self._sketches.near(probed, known.id)[:CHILDREN_MAX]:
            if near.sha256 in mine or not self.allowed(near.sha256, [sha256]):
                continue
            child = self._sketch(near.sha256)
            if child is None:
                continue
            score = kinship.compare(child, probed).score
            with self._db.read() as connection:
                before = connection.execute(_BEST, {"of_sha": near.sha256}).scalar() or 0.0
            if score >= before + GAIN_MIN:
                found.append(Child(near.sha256, score, before))
        return sorted(found, key=lambda one: (one.before - one.score, one.sha256))

    # Of what is sealed already

    def stands_on(self, sha256: Sha256) -> set[Sha256]:
        """All files with a tensor that some tensor of this file is stored on, directly or through others."""
        with self._db.read() as connection:
            return {Sha256(row.sha256) for row in connection.execute(_users(_ancestors(sha256)))}

    def standing_on(self, sha256: Sha256) -> set[Sha256]:
        """All files with a tensor that is stored on one of this file's, directly or through others."""
        with self._db.read() as connection:
            return {Sha256(row.sha256) for row in connection.execute(_users(_descendants(sha256)))}

    def forbidden(self, sha256: Sha256) -> bool:
        """Whether a sealed file stands on a tensor that some reader of it may not read, as repos are now.

        That comes about when a repo changes hands or visibility, and when equal tensors are stored once. What no
        repo holds any more gives nothing away, and has no readers.
        """
        with self._db.read() as connection:
            holders = readers.holders(connection, sha256)
            if not holders:
                return False
            above = connection.execute(_users(_ancestors(sha256)))
            files: dict[int, set[Sha256]] = {}
            for row in above:
                files.setdefault(row.tensor, set()).add(Sha256(row.sha256))
            for users in {frozenset(one) for one in files.values() if sha256 not in one}:
                if readers.allowed(connection, holders, users):
                    continue
                if any(readers.holders(connection, name) for name in users):
                    return True
        return False

    # Finding

    def _sketch(self, sha256: Sha256) -> Probed | None:
        """A sketch that can't be read is as good as none: it is derived, and costs a chance, never bytes."""
        try:
            return self._sketches.of(sha256)
        except Corrupt as error:
            log.warning("sketch unreadable", sha256=sha256, why=error.text)
            return None

    def _candidates(self, known: Known, stop: int) -> list[Candidate]:
        probed = self._sketch(known.sha256)
        if probed is None:
            return []
        with self._db.read() as connection:
            holders = readers.holders(connection, known.sha256)
        asked = _Asked(known, probed, holders, readers.hinting(holders), stop)
        whys = self._gather(asked)
        glanced = self._ranked(asked, list(whys))
        compared: list[tuple[Sha256, Kinship]] = []
        for sha256 in glanced[:COMPARED_MAX]:
            other = self._sketch(sha256)
            if other is not None:
                compared.append((sha256, kinship.compare(probed, other)))
        chosen = kinship.choose([one for _, one in compared], CANDIDATES_MAX, SCORE_MIN)
        with self._db.read() as connection:
            places = {compared[i][0]: graphs.place(connection, compared[i][0]) or Place("") for i in chosen}
        return [
            Candidate(sha256, places[sha256], whys[sha256], one.score, one.matches)
            for sha256, one in (compared[i] for i in chosen)
        ]

    def _gather(self, asked: _Asked) -> dict[Sha256, Why]:
        """Files worth a look, each with the best reason why."""
        found: dict[Sha256, Why] = {}
        with self._db.read() as connection:
            declared = _declared(connection, [one.repo_id for one in asked.hinting])
            bases = readers.readable(connection, asked.holders, declared)
            hinted: tuple[tuple[Why, list[int]], ...] = (
                ("declared", bases),
                ("repo", [one.repo_id for one in asked.hinting]),
            )
            named = {why: readers.neighbours(connection, ids, HINTED_MAX) for why, ids in hinted}
        for why, files in named.items():
            for sha256 in self._hinted(asked, files):
                found.setdefault(sha256, why)
        for near in self._searched(asked):
            found.setdefault(near.sha256, "similar")
        children = self._declared_children(asked, list(found))
        return {sha256: why for sha256, why in found.items() if sha256 not in children}

    def _hinted(self, asked: _Asked, files: Sequence[Sha256]) -> list[Sha256]:
        arrived = self._sketches.arrivals(files)
        early = [name for name in files if name in arrived and arrived[name].id < asked.stop]
        with self._db.read() as connection:
            may = readers.allowed(connection, asked.holders, [name for name in early if name != asked.known.sha256])
        visible = [name for name in early if name in may]
        near = [one.sha256 for one in self._sketches.nearest_of(asked.probed, visible)][:GLANCED_MAX]
        return near + [name for name in visible if name not in near][:UNSEEN_MAX]

    def _searched(self, asked: _Asked) -> list[Near]:
        """The nearest ones that may be named; those that may not take nobody's place."""
        found: list[Near] = []
        others = [one for one in self._sketches.near(asked.probed, asked.stop) if one.id != asked.known.id]
        with self._db.read() as connection:
            for batch in batches(others):
                may = readers.allowed(connection, asked.holders, [one.sha256 for one in batch])
                found += [one for one in batch if one.sha256 in may]
                if len(found) >= GLANCED_MAX:
                    break
        return found[:GLANCED_MAX]

    def _declared_children(self, asked: _Asked, files: Sequence[Sha256]) -> set[Sha256]:
        """Those of these whose repos declare this file's repo as their base, while this one's declares none of theirs.

        The base is the better root of a family, whoever came first.
        """
        mine = [one.repo_id for one in asked.hinting]
        children = set()
        with self._db.read() as connection:
            bases = set(_declared(connection, mine))
            for sha256 in files:
                theirs = [one.repo_id for one in readers.hinting(readers.holders(connection, sha256))]
                if not bases & set(theirs) and set(_declared(connection, theirs)) & set(mine) - set(theirs):
                    children.add(sha256)
        return children

    def _ranked(self, asked: _Asked, files: Sequence[Sha256]) -> list[Sha256]:
        scores: dict[Sha256, float] = {}
        for sha256 in files:
            other = self._sketch(sha256)
            if other is not None:
                scores[sha256] = kinship.glance(asked.probed, other)
        return sorted((name for name in scores if scores[name] > 0), key=lambda name: -scores[name])


def _declared(connection: Connection, repo_ids: Sequence[int]) -> list[int]:
    """The live model repos that the cards of these repos name as base models, under their old names too."""
    if not repo_ids:
        return []
    keys: dict[str, None] = {}
    for card in connection.execute(_CARDS, {"of_repos": list(repo_ids)[: readers.BATCH]}).scalars():
        for text in cards.base_models(_front(card))[:BASES_MAX]:
            try:
                keys[names.key(names.repo_id("model", text).full)] = None
            except Invalid:
                continue  # somebody's text
    asked = {"of_keys": list(keys)[: readers.BATCH]}
    found = [*connection.execute(_MODELS, asked).scalars(), *connection.execute(_MOVED_MODELS, asked).scalars()]
    return list(dict.fromkeys(found))


def _ancestors(sha256: Sha256) -> CTE:
    """The tensors that those of a file stand on, at any depth. UNION and not UNION ALL: a circle ends, too."""
    own = select(tensor_parent.c.parent.label("tensor")).join_from(
        tensor_parent, blob_tensor, blob_tensor.c.tensor == tensor_parent.c.tensor
    )
    first = own.where(blob_tensor.c.sha256 == sha256).cte(recursive=True)
    return first.union(
        select(tensor_parent.c.parent).join_from(tensor_parent, first, tensor_parent.c.tensor == first.c.tensor)
    )


def _descendants(sha256: Sha256) -> CTE:
    own = select(tensor_parent.c.tensor.label("tensor")).join_from(
        tensor_parent, blob_tensor, blob_tensor.c.tensor == tensor_parent.c.parent
    )
    first = own.where(blob_tensor.c.sha256 == sha256).cte(recursive=True)
    return first.union(
        select(tensor_parent.c.tensor).join_from(tensor_parent, first, tensor_parent.c.parent == first.c.tensor)
    )


def _users(tensors: CTE) -> Select[tuple[int, str]]:
    """(tensor, file) for each of these tensors."""
    return select(blob_tensor.c.tensor, blob_tensor.c.sha256).join_from(
        blob_tensor, tensors, blob_tensor.c.tensor == tensors.c.tensor
    )


def _front(card: str) -> dict[str, Any]:
    found = msgspec.json.decode(card)
    return found if isinstance(found, dict) else {}
