"""A stored blob as an answer: by nginx where that is configured, else by ourselves, with ranges."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.front import body
from headwater.front.answer import Answer, Piece
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.store import Blob


def answer(rooms: Rooms, shaped: Answer, blob: Blob, request: Request) -> Answer:
    """`shaped` (which carries ETag and Content-Type) with the blob's bytes that the request asks for."""
    prefix = rooms.settings.accel_redirect_prefix
    if prefix and blob.terms is None and blob.size and request.method == "GET":
        run = rooms.store.runs(blob, 0, blob.size)[0]
        shaped.headers["X-Accel-Redirect"] = f"{prefix.rstrip('/')}/{run.path.relative_to(rooms.store.objects.root)}"
        shaped.headers["Accept-Ranges"] = "bytes"
        return shaped

    def pieces(start: int, stop: int) -> Sequence[Piece]:
        return [] if request.method == "HEAD" else rooms.store.runs(blob, start, stop)

    return body.ranged(shaped, blob.size, pieces, request.headers, request.id)
