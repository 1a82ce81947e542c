"""What a repo's files cost the hub and on what they stand; for administrators, how the whole store stands.

Figures are those of `catalog.costs`: nothing is told that hangs on a repo which the caller may not read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from headwater.catalog.costs import FileCost, Parent, Way, told
from headwater.front import opening, storing
from headwater.front.answer import Answer, json
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.repos import Repo


def get(rooms: Rooms, request: Request) -> Answer:
    found = opening.contents(rooms, request)
    commit = opening.revision(rooms, request, found)
    stored = storing.of_revision(rooms, request, found, commit)
    total = stored.costs
    path = request.arg("path")
    if path:
        return json(_tensors(rooms, request, found, stored.file(path)), headers={"X-Repo-Commit": commit})
    return json(
        {
            "id": found.rid.full,
            "sha": commit,
            "complete": stored.complete,
            "size": total.size_bytes,
            "stored": total.stored_bytes,
            "shared": total.shared_bytes,
            "predictors": _ways(total.ways),
            "parents": _parents(total.parents),
            "files": [_file(one) for one in total.files],
        },
        headers={"X-Repo-Commit": commit},
    )


def _tensors(rooms: Rooms, request: Request, found: Repo, cost: FileCost) -> dict[str, Any]:
    """One file, tensor by tensor."""
    return {
        **_file(cost),
        "tensors": [
            {
                "name": one.name,
                "dtype": one.dtype,
                "shape": one.shape,
                "predictor": one.how.kind,
                "size": one.how.raw_bytes,
                "stored": one.how.stored_bytes,
                "alone": one.how.alone_bytes,
                "shared": one.how.shared,
                "parent": one.parent.rid.full if one.parent and one.parent.rid else None,
                "why": one.parent.why if one.parent else None,
            }
            for one in storing.of_file(rooms, request, found, cost)
        ],
    }


def _file(cost: FileCost) -> dict[str, Any]:
    return {
        "path": cost.file.path,
        "oid": cost.file.sha256,
        "size": cost.file.size_bytes,
        "state": cost.state,
        "stored": cost.stored_bytes,
        "shared": cost.shared_bytes,
        "predictors": _ways(cost.ways),
        "parents": _parents(cost.parents),
    }


def _ways(ways: Iterable[Way]) -> list[dict[str, Any]]:
    return [
        {
            "predictor": way.kind,
            "about": told(way.kind),
            "tensors": way.tensors,
            "size": way.raw_bytes,
            "stored": way.stored_bytes,
            "alone": way.alone_bytes,
            "shared": way.shared_bytes,
        }
        for way in ways
    ]


def _parents(parents: Iterable[Parent]) -> list[dict[str, Any]]:
    return [
        {
            "id": one.rid.full if one.rid else None,
            "type": one.rid.type if one.rid else None,
            "path": one.path or None,
            "why": one.why,
            "tensors": one.tensors,
            "size": one.raw_bytes,
        }
        for one in parents
    ]


def totals(rooms: Rooms, request: Request) -> Answer:
    found = storing.of_all(rooms, request)
    shown = msgspec.to_builtins(found)
    return json({**shown, "same_tensors": found.same_tensors, "same_bytes": found.same_bytes})
