"""git smart HTTP: what `git clone`, `fetch` and `push` speak. Protocol: git's `gitprotocol-http(5)`."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import partial
from typing import IO

from headwater.catalog import cards
from headwater.front import answer as answers
from headwater.front import opening
from headwater.front.answer import Answer
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground.errors import Forbidden, HeadwaterError, Invalid, TooMuch
from headwater.ground.log import redact
from headwater.repos import Moved, Repo

SERVICES = ("git-upload-pack", "git-receive-pack")
NO_CACHE = {"Cache-Control": "no-cache, max-age=0, must-revalidate", "Pragma": "no-cache", "Expires": "0"}
PLAIN = {"Content-Type": "text/plain; charset=utf-8"}
READ_STEP = 1 << 16
RATIO_MAX = 100  # what git sends packed is text of hashes, at best a tenth of its size
RATIO_FREE = 1 << 20  # bytes that any request may unpack to
NEGOTIATION_MAX = 64 << 20  # a fetch's wants and haves, unpacked


def info_refs(rooms: Rooms, request: Request) -> Answer:
    """What every clone, fetch and push begins with: so here it is refused, in plain text, which is what git shows."""
    try:
        return _info_refs(rooms, request)
    except HeadwaterError as error:
        if (
            isinstance(error, Moved)
            or error.status >= 500
            or not request.headers.get("user-agent", "").startswith("git/")
        ):
            raise
        refused = answers.of_error(error, request.id, signed_in=request.actor.signed_in)
        return answers.text(f"{redact(error.text)}\n", refused.status, refused.headers | PLAIN)


def _info_refs(rooms: Rooms, request: Request) -> Answer:
    service = request.arg("service")
    if service not in SERVICES:
        raise Forbidden("Only git's smart protocol is offered; upgrade git")
    found = may_push(rooms, request) if service == "git-receive-pack" else opening.contents(rooms, request)
    pieces = rooms.repos.wire.advertise(found, service, request.headers.get("git-protocol"))
    return Answer(200, {"Content-Type": f"application/x-{service}-advertisement", **NO_CACHE}, b"".join(pieces))


def upload_pack(rooms: Rooms, request: Request) -> Answer:
    found = opening.contents(rooms, request)
    pieces = rooms.repos.wire.upload_pack(found, _body(request, NEGOTIATION_MAX), request.headers.get("git-protocol"))
    return Answer(200, {"Content-Type": "application/x-git-upload-pack-result", **NO_CACHE}, pieces=[pieces])


def may_push(rooms: Rooms, request: Request) -> Repo:
    """Also whoever opened a pull request, if he may still read what he adds to; which refs he moves is seen later."""
    found = opening.repo(rooms, request)
    rooms.repos.wire.admit_push(request.actor, found)
    rooms.repos.registry.admit_content(request.actor, found)
    return found


def receive_pack(rooms: Rooms, request: Request) -> Answer:
    found = may_push(rooms, request)

    def check_card(text: bytes) -> list[str]:
        return cards.validate(text, found.rid.type)[0]

    pieces = rooms.repos.wire.receive_pack(request.actor, found, _body(request, rooms.settings.push_max), check_card)

    def steps() -> Iterator[bytes]:
        # where every long answer is made, not among the threads for requests: checking a push may take minutes
        try:
            yield from pieces
        finally:
            rooms.jobs.wake()

    return Answer(200, {"Content-Type": "application/x-git-receive-pack-result", **NO_CACHE}, pieces=[steps()])


def _body(request: Request, most: int) -> Iterator[bytes]:
    """The spooled body, unpacked if git packed it, with a cap on what comes out (T56)."""
    assert request.file is not None
    encoding = request.headers.get("content-encoding", "identity")
    if encoding in ("gzip", "x-gzip"):
        return _unpacked(request.file, most)
    if encoding != "identity":
        raise Invalid(f"Content-Encoding {encoding[:40]!r} is not offered; use gzip or none", status=415)
    return iter(partial(request.file.read, READ_STEP), b"")


def _unpacked(file: IO[bytes], most: int) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(wbits=31)
    out = 0
    try:
        while data := file.read(READ_STEP):
            while data:
                piece = unpacker.decompress(data, READ_STEP)
                out += len(piece)
                packed = file.tell() - len(unpacker.unconsumed_tail)
                if out > most or out > RATIO_FREE + RATIO_MAX * packed:
                    raise TooMuch(f"The request unpacks to more than {most} bytes, or {RATIO_MAX} times its size")
                if piece:
                    yield piece
                data = unpacker.unconsumed_tail
        if not unpacker.eof:
            raise Invalid("The packed request is cut off")
    except zlib.error as error:
        raise Invalid("The request is not valid gzip") from error
