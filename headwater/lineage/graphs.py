"""Graphs: the ONNX files beside a file of weights that has no header of its own, which say what lies where in it.

Refuses to read them: the parser does, as far as it has to.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from sqlalchemy import Connection, bindparam, select

from headwater.ground.names import Sha256
from headwater.repos.tables import hold, repo
from headwater.store.splitting import Beside
from headwater.store.tables import blob

GRAPHS_MAX = 4  # that are asked about one file; walking a large one may take a second
GRAPH_BYTES_MAX = 256 << 20  # a graph whose weights lie elsewhere is small
FOUND_MAX = 1_000  # of one repo, the newest ones
# What these hold they say themselves, or there are no tensors in it.
_SAY_THEMSELVES = frozenset(
    (
        ".onnx .safetensors .gguf .npy .npz .pt .pth .ckpt .tar .zip .gz .zst .json .jsonl .txt .md .csv .parquet .png "
        ".jpg .jpeg .gif .webp .mp4 .wav .model .pdf"
    ).split()
)

_PLACE = (
    select(hold.c.path, hold.c.repo_id, hold.c.held_ms, repo.c.type)
    .join_from(hold, repo, repo.c.id == hold.c.repo_id)
    .where(hold.c.sha256 == bindparam("of_sha"), hold.c.committed.is_(True), repo.c.state == "live")
    .order_by(repo.c.private, hold.c.repo_id)
    .limit(1)
)
_GRAPHS = (
    select(hold.c.path, hold.c.sha256, hold.c.held_ms, blob.c.size)
    .join_from(hold, blob, blob.c.sha256 == hold.c.sha256)
    .where(
        hold.c.repo_id == bindparam("of_repo"),
        hold.c.committed.is_(True),
        hold.c.path.endswith(".onnx"),
        blob.c.state == "whole",
        blob.c.size <= GRAPH_BYTES_MAX,
    )
    .order_by(hold.c.held_ms.desc(), hold.c.sha256)
    .limit(FOUND_MAX)
)


@dataclass(frozen=True, slots=True)
class Place:
    """A path that a file has in a live repo, an open one if there is one, and the graphs that may say what it holds."""

    path: str
    beside: tuple[Beside, ...] = ()


def place(connection: Connection, sha256: Sha256) -> Place | None:
    """None for a file that no live repo holds."""
    row = connection.execute(_PLACE, {"of_sha": sha256}).first()
    if row is None:
        return None
    path = PurePosixPath(row.path)
    if row.type != "model" or path.suffix.lower() in _SAY_THEMSELVES:
        return Place(row.path)
    # A graph names what lies in its folder or below. Most are called as their data is, and came with it.
    graphs = [
        one
        for one in connection.execute(_GRAPHS, {"of_repo": row.repo_id})
        if one.sha256 != sha256 and PurePosixPath(one.path).parent in path.parents
    ]
    graphs.sort(key=lambda one: (not row.path.startswith(one.path), abs(one.held_ms - row.held_ms)))
    return Place(row.path, tuple(Beside(one.path, Sha256(one.sha256), one.size) for one in graphs[:GRAPHS_MAX]))
