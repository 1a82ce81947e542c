"""A stored blob as an answer: by nginx where that is configured, else by ourselves, with ranges."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.front import body
from headwater.front.answer import Answer, Piece
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.store import Blob, FileRun


def answer(rooms: Rooms, shaped: Answer, blob: Blob, request: Request) -> Answer:
    """`shaped` (which carries ETag and Content-Type) with the blob's bytes that the request asks for."""
    prefix = rooms.settings.accel_redirect_prefix
    own = blob.terms is None and blob.raw_here
    run = rooms.store.runs(blob, 0, blob.size)[0] if prefix and own and blob.size and request.method == "GET" else None
    if isinstance(run, FileRun):  # a sealed copy that takes the place of a lost object is made, and by ourselves
        shaped.headers["X-Accel-Redirect"] = f"{prefix.rstrip('/')}/{run.path.relative_to(rooms.store.objects.root)}"
        shaped.headers["Accept-Ranges"] = "bytes"
        return shaped

    def pieces(start: int, stop: int) -> Sequence[Piece]:
        return [] if request.method == "HEAD" else rooms.store.runs(blob, start, stop)

    return body.ranged(shaped, blob.size, pieces, request.headers, request.id)


def sent_bytes(shaped: Answer, request: Request, size: int) -> int:
    """How many bytes of a file of `size` bytes the answer to a GET brings, ours or nginx's."""
    if "X-Accel-Redirect" not in shaped.headers:
        return shaped.length or 0
    try:
        runs = body.ranges(request.headers.get("range", ""), size)
    except body.Unsatisfiable:  # nginx will say so
        return 0
    return sum(stop - start for start, stop in runs) if runs else size
