"""Pages of what things cost: a repo's files with the heat of change by layer; and the store as a whole, for
administrators.

The heat map is a table whose cells are coloured: it needs no script, and whoever can't see it reads its values.
Figures are those of `catalog.costs`, and files are compared only with bases that the viewer may read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headwater.catalog.costs import Costs, FileCost, Parent, Way, told
from headwater.front import opening, storing
from headwater.front.answer import Answer
from headwater.front.pages import frame, render
from headwater.front.pages.present import Choice, blob_path, storage_path, with_query
from headwater.front.pages.repository import Opened, head_of, open_at, revisions_of
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground.names import RepoId, Sha256

if TYPE_CHECKING:
    from headwater.lineage.warmth import Cell, Grid

FILES_SHOWN = 100  # the largest ones; the API has all
TENSORS_SHOWN = 1_000  # of one file, in its order; the API has all
REPOS_NAMED = 4
STEPS_PCT = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Where the colours of relative steps begin, beyond none: three to a decade, since steps differ by orders."""
SHARES_PCT = (0.0, 1.0, 10.0, 25.0, 40.0, 55.0, 70.0, 85.0, 95.0)
_SHORT = {
    "attn_norm": "norm",
    "attn_q": "q",
    "attn_k": "k",
    "attn_v": "v",
    "attn_qkv": "qkv",
    "attn_q_norm": "q norm",
    "attn_k_norm": "k norm",
    "attn_output": "o",
    "attn_output_norm": "o norm",
    "ffn_norm": "ffn norm",
    "ffn_gate_inp": "router",
    "ffn_gate": "gate",
    "ffn_up": "up",
    "ffn_down": "down",
    "token_embd": "embed",
    "output": "head",
    "output_norm": "last norm",
}
STATES = {
    "sealed": "sealed",
    "raw": "as it is",
    "waiting": "waiting",
    "damaged": "damaged",
}


@dataclass(frozen=True, slots=True)
class HeatCell:
    """`level` is one of the stylesheet's h0 to h9; `text` is per cent, as short as can be."""

    level: int
    text: str
    about: str


@dataclass(frozen=True, slots=True)
class HeatMap:
    """`bases` are what the files are compared with. `choices` lead to the same map by another measure."""

    bases: tuple[RepoId, ...]
    kinds: tuple[tuple[str, str], ...]  # as people call them, and in full
    layers: tuple[tuple[int, tuple[HeatCell | None, ...]], ...]
    outside: tuple[tuple[str, str, HeatCell], ...]
    choices: tuple[Choice, ...]
    scale: tuple[tuple[int, str], ...]
    words: str
    tensors: int


@dataclass(frozen=True, slots=True)
class WayRow:
    way: Way
    about: str


@dataclass(frozen=True, slots=True)
class FileLine:
    name: str
    href: str
    cost: FileCost
    state: str
    parents: tuple[Parent, ...]
    tensors_href: str
    """Where it is told tensor by tensor; empty where it is not sealed."""


def page(rooms: Rooms, request: Request) -> Answer:
    opened = open_at(rooms, request, opening.contents(rooms, request))
    stored = storing.of_revision(rooms, request, opened.repo, opened.commit)
    total = stored.costs
    path = request.arg("file")
    tensors = storing.of_file(rooms, request, opened.repo, stored.file(path)) if path else []
    largest = sorted(total.files, key=lambda one: (-one.file.size_bytes, one.file.path))
    shown = render.render_storage(
        frame.site(rooms, request),
        head_of(rooms, request, opened),
        f"{opened.rid.full}: storage",
        revisions=revisions_of(rooms, opened, "storage"),
        total=total,
        complete=stored.complete,
        bases=total.parents[:REPOS_NAMED],
        left_pct=left(total.stored_bytes, total.size_bytes),
        summary=_summary(rooms, total),
        ways=[WayRow(way, told(way.kind)) for way in total.ways],
        files=[_line(opened, one) for one in largest[:FILES_SHOWN]],
        more=max(0, len(largest) - FILES_SHOWN),
        path=path,
        tensors=tensors[:TENSORS_SHOWN],
        more_tensors=max(0, len(tensors) - TENSORS_SHOWN),
        heat=_heat(rooms, request, opened, total),
        left=left,
    )
    return frame.shown(shown)


def left(stored_bytes: int, size_bytes: int) -> str:
    """Per cent of `size_bytes`, as short as it can be told."""
    if not size_bytes:
        return "0"
    return _short_pct(100 * stored_bytes / size_bytes)


def _summary(rooms: Rooms, total: Costs) -> str:
    """The state of things in plain words."""
    if not total.files:
        return "This revision has no large files. Small ones lie in git and cost what they weigh."
    if total.count("sealed"):
        return ""
    if not rooms.settings.seal:
        return "This hub does not seal: its files are stored as they came."
    if total.count("waiting"):
        return (
            "These files are stored as they came. The hub looks at new files in the background; nothing is sealed yet."
        )
    return "These files are stored as they came: sealing them would not make them smaller."


def _line(opened: Opened, cost: FileCost) -> FileLine:
    path = cost.file.path
    inside = with_query(storage_path(opened.rid, opened.revision), [("file", path)]) if cost.ways else ""
    return FileLine(path, blob_path(opened.rid, opened.revision, path), cost, STATES[cost.state], cost.parents, inside)


# ---- heat ----


def _heat(rooms: Rooms, request: Request, opened: Opened, total: Costs) -> HeatMap | None:
    """None where no file has a base that this viewer may read, or none of both was sampled."""
    from headwater.lineage import warmth  # noqa: PLC0415 - a hub whose pages nobody opens does without

    pairs: list[tuple[Sha256, Sha256]] = []
    bases: dict[RepoId, None] = {}
    with rooms.db.read() as connection:
        for cost in sorted(total.files, key=lambda one: -one.file.size_bytes)[: warmth.PAIRS_MAX]:
            known = [(one.sha256, one.rid) for one in cost.parents if one.sha256 and one.rid]
            known += [(one.sha256, one.rid) for one in warmth.bases(connection, request.actor, cost.file.sha256)]
            # a base tells more than an earlier file of the same repo, which may be the nearer parent
            known.sort(key=lambda one: one[1] == opened.rid)
            if known:
                pairs.append((cost.file.sha256, known[0][0]))
                bases.setdefault(known[0][1])
    if not pairs:
        return None
    grid = warmth.grid(rooms.db, rooms.clock, pairs)
    if not grid.tensors:
        return None
    return heat_map(grid, tuple(bases)[:REPOS_NAMED], storage_path(opened.rid, opened.revision), request.arg("by"))


def heat_map(grid: Grid, bases: tuple[RepoId, ...], here: str, by: str) -> HeatMap:
    """By relative step, or by the share of weights that changed (`by` is "share", or nothing told of steps)."""
    by_share = by == "share" or all(cell.rel_step is None for cell in grid.cells)
    bounds = SHARES_PCT if by_share else STEPS_PCT

    def cell(found: Cell) -> HeatCell:
        step = None if found.rel_step is None else 100 * found.rel_step
        value = found.changed_pct if by_share else step
        about = f"{_short_pct(found.changed_pct)} % of weights changed"
        about += "" if step is None else f", by {_short_pct(step)} % of their size"
        if value is None:
            return HeatCell(0, "", about)
        return HeatCell(sum(value > bound for bound in bounds), _short_pct(value), about)

    return HeatMap(
        bases=bases,
        kinds=tuple((_SHORT.get(kind, kind), kind) for kind in grid.kinds),
        layers=tuple((layer, tuple(cell(one) if one else None for one in cells)) for layer, cells in grid.layers),
        outside=tuple((_SHORT.get(kind, kind), kind, cell(one)) for kind, one in grid.outside),
        choices=(
            Choice("Size of the change", here, not by_share),
            Choice("Share of weights", with_query(here, [("by", "share")]), by_share),
        ),
        scale=((0, "0"), *((number, f"> {bound:g}") for number, bound in enumerate(bounds, start=1))),
        words=_words(grid),
        tensors=grid.tensors,
    )


def _short_pct(pct: float) -> str:
    """Three characters or so: 0, <.01, .03, 1.2, 45."""
    if pct == 0:
        return "0"
    if pct < 0.01:
        return "<.01"
    if pct >= 10:
        return f"{pct:.0f}" if pct < 99.5 or pct >= 100 else "99"
    text = f"{pct:.1f}" if pct >= 1 else f"{pct:.2f}"
    return text.removeprefix("0").rstrip("0").rstrip(".") if pct < 1 else text.removesuffix(".0")


def _words(grid: Grid) -> str:
    """What the map shows at a glance, for who reads it only."""
    if not grid.layers:
        return ""
    changed = {layer: max((one.changed_pct for one in cells if one), default=0.0) for layer, cells in grid.layers}
    still = [layer for layer, pct in changed.items() if pct == 0]
    if len(still) == len(changed):
        return "No sampled weight of any layer differs from the base."
    strength = {layer: _strength(cells) for layer, cells in grid.layers}
    most = max(strength, key=lambda layer: strength[layer])
    said = f"Layer {most} changed most."
    if still:
        said += f" {len(still)} of {len(changed)} layers did not change: {_runs(still)}."
    return said


def _strength(cells: Sequence[Cell | None]) -> float:
    steps = [one.rel_step if one.rel_step is not None else one.changed_pct / 100 for one in cells if one]
    return sum(steps) / len(steps) if steps else 0.0


def _runs(numbers: Sequence[int]) -> str:
    """`0 to 3, 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(low) if low == high else f"{low} to {high}" for low, high in runs)


# ---- the whole store ----


def admin(rooms: Rooms, request: Request) -> Answer:
    found = storing.of_all(rooms, request)
    stats = found.stats
    saved = [_saved(kind.kind, kind.tensors, kind.raw_bytes, kind.stored_bytes) for kind in stats.kinds]
    if found.same_tensors:
        saved.insert(0, _saved("same", found.same_tensors, found.same_bytes, 0))
    shown = render.render_store(
        frame.site(rooms, request),
        found=found,
        stats=stats,
        left_pct=left(stats.disk_bytes, stats.raw_bytes),
        relations=saved,
        queue=[one for one in found.queues if one.waiting or one.running or one.given_up],
        place_href=_place_href,
    )
    return frame.shown(shown)


def _saved(kind: str, tensors: int, raw_bytes: int, stored_bytes: int) -> dict[str, Any]:
    about = "found stored already: stored once, however many files have it" if kind == "same" else told(kind)
    return {
        "kind": kind,
        "about": about,
        "tensors": tensors,
        "raw": raw_bytes,
        "stored": stored_bytes,
        "saved": max(0, raw_bytes - stored_bytes),
        "left": left(stored_bytes, raw_bytes),
    }


def _place_href(rid: RepoId, path: str) -> str:
    return blob_path(rid, "main", path) if path else rid.url_path
