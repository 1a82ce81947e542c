"""Warmth: the heat of change of a whole revision, as a grid: layers down, kinds of tensors across.

Joins what `heat` tells of each of its files. Which file is compared with which base is the caller's choice, and so is
whether somebody may see it; `bases` gives the offers among those that an actor may read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select

from headwater.accounts.actor import Actor
from headwater.catalog.costs import readable
from headwater.ground.clock import Clock
from headwater.ground.db import Database
from headwater.ground.errors import Corrupt
from headwater.ground.log import log
from headwater.ground.names import RepoId, Sha256
from headwater.lineage.heat import Warmth, heat
from headwater.lineage.sketches import Sketches
from headwater.lineage.tables import kin, sketch
from headwater.repos.lru import Lru
from headwater.repos.tables import hold, repo

PAIRS_MAX = 32  # files of one revision that are compared: a sketch is read and aligned in some ten milliseconds
LAYERS_MAX = 256  # rows of a grid; no model that is known has more
KINDS_MAX = 14  # columns: the others are one
KIND_CHARS_MAX = 40
CELLS_KEPT = 50_000  # of pairs that were compared, in all; about 200 bytes each
OTHER, BIAS = "other", "bias"
# In the order in which a layer computes; what is not named here follows by name.
_ORDER = (
    "attn_norm attn_q attn_k attn_v attn_qkv attn_q_norm attn_k_norm attn_output attn_output_norm ffn_norm "
    "ffn_gate_inp ffn_gate ffn_up ffn_down pre_ffw_norm post_ffw_norm layer_output_norm"
).split()
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|\Z)")  # of an expert, or of a module in a list


@dataclass(frozen=True, slots=True)
class Cell:
    """Of all tensors of that kind in that layer: per cent of the sampled weights that differ, and the mean step as a
    share of the base's weights (None where they are not numbers)."""

    changed_pct: float
    rel_step: float | None
    tensors: int


@dataclass(frozen=True, slots=True)
class Grid:
    """`layers` are rows: a layer and, for each of `kinds`, its cell or None. `outside`: what is in no layer."""

    kinds: tuple[str, ...]
    layers: tuple[tuple[int, tuple[Cell | None, ...]], ...]
    outside: tuple[tuple[str, Cell], ...]

    @property
    def tensors(self) -> int:
        return sum(cell.tensors for cell in self.cells)

    @property
    def cells(self) -> list[Cell]:
        return [cell for _, cells in self.layers for cell in cells if cell] + [cell for _, cell in self.outside]


@dataclass(frozen=True, slots=True)
class Base:
    """A file that another may be compared with, and a repo that holds it."""

    sha256: Sha256
    rid: RepoId


_Place = tuple[int | None, str]
_Cells = Mapping[_Place, Cell]
_kept: Lru[tuple[Sha256, Sha256], _Cells] = Lru(CELLS_KEPT)  # the same for every hub: names are of contents

_OFFERED = (
    select(kin.c.parent_id, kin.c.score)
    .join_from(kin, sketch, sketch.c.id == kin.c.child_id)
    .where(sketch.c.sha256 == bindparam("of_sha"))
    .order_by(kin.c.score.desc(), kin.c.parent_id)
)


def bases(connection: Connection, actor: Actor, sha256: Sha256) -> list[Base]:
    """The parents that were offered for a file, as far as this actor may read them; the best one first."""
    found = []
    for row in connection.execute(_OFFERED, {"of_sha": sha256}).all():
        held = (
            select(sketch.c.sha256, repo.c.type, repo.c.namespace, repo.c.name)
            .join_from(sketch, hold, hold.c.sha256 == sketch.c.sha256)
            .join(repo, repo.c.id == hold.c.repo_id)
            .where(sketch.c.id == row.parent_id, hold.c.committed.is_(True), readable(actor))
            .order_by(repo.c.private, hold.c.held_ms)
            .limit(1)
        )
        seen = connection.execute(held).first()
        if seen is not None:
            found.append(Base(Sha256(seen.sha256), RepoId(seen.type, seen.namespace, seen.name)))
    return found


def grid(db: Database, clock: Clock, pairs: Sequence[tuple[Sha256, Sha256]]) -> Grid:
    """The change from base to file over all these (file, base); empty where nothing was sampled of either."""
    sketches = Sketches(db, clock)
    found: dict[_Place, list[Cell]] = {}
    for sha256, base in pairs[:PAIRS_MAX]:
        cells = _kept.get((sha256, base))
        if cells is None:
            try:
                cells = _cells(heat(sketches, sha256, base))
            except Corrupt as error:
                log.warning("sketch unreadable", sha256=sha256, why=error.text)
                continue
            if cells:  # else it may be looked at later
                _kept.put((sha256, base), cells, len(cells))
        for place, cell in cells.items():
            found.setdefault(place, []).append(cell)
    return _grid({place: _joined(cells) for place, cells in found.items()})


def _cells(rows: Iterable[Warmth]) -> _Cells:
    found: dict[_Place, list[Cell]] = {}
    for row in rows:
        found.setdefault((row.layer, _kind(row.kind)), []).append(Cell(row.changed_pct, row.rel_step, 1))
    return {place: _joined(cells) for place, cells in found.items()}


def _kind(kind: str) -> str:
    """Experts of one layer, and all biases, are one kind each."""
    if kind.endswith(".bias"):
        return BIAS
    return _NUMBER.sub("*", kind)[:KIND_CHARS_MAX]


def _joined(cells: Sequence[Cell]) -> Cell:
    count = sum(cell.tensors for cell in cells)
    steps = [(cell.rel_step, cell.tensors) for cell in cells if cell.rel_step is not None]
    squares = sum(step * step * tensors for step, tensors in steps)
    return Cell(
        sum(cell.changed_pct * cell.tensors for cell in cells) / count,
        math.sqrt(squares / sum(tensors for _, tensors in steps)) if steps else None,
        count,
    )


def _grid(found: _Cells) -> Grid:
    tensors: dict[str, int] = {}
    for (layer, kind), cell in found.items():
        if layer is not None:
            tensors[kind] = tensors.get(kind, 0) + cell.tensors
    shown = sorted(tensors, key=lambda kind: (kind not in _ORDER, -tensors[kind], kind))
    kept = set(shown if len(shown) <= KINDS_MAX else shown[: KINDS_MAX - 1])
    kinds = [kind for kind in _ORDER if kind in kept] + sorted(kept - {*_ORDER, BIAS}) + sorted(kept & {BIAS})
    kinds += [OTHER] if len(kept) < len(shown) else []
    rows: dict[int, dict[str, list[Cell]]] = {}
    outside: dict[str, list[Cell]] = {}
    for (layer, kind), cell in found.items():
        if layer is None:
            outside.setdefault(kind, []).append(cell)
        else:
            rows.setdefault(layer, {}).setdefault(kind if kind in kept else OTHER, []).append(cell)
    return Grid(
        tuple(kinds),
        tuple(
            (layer, tuple(_joined(rows[layer][kind]) if kind in rows[layer] else None for kind in kinds))
            for layer in sorted(rows)[:LAYERS_MAX]
        ),
        tuple((kind, _joined(cells)) for kind, cells in sorted(outside.items())[:KINDS_MAX]),
    )
