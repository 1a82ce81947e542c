"""The static files: named by their content's hash, so a browser keeps them for good and never asks again."""

from __future__ import annotations

from headwater.front.answer import Answer
from headwater.front.pages import render
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground.errors import NotOffered


def get(rooms: Rooms, request: Request) -> Answer:
    found = render.static_file(request.params["file"])
    if found is None:
        raise NotOffered("No such file; the page that named it is older than this version, so load it again")
    return Answer(200, {"Content-Type": found.media_type, "Cache-Control": render.STATIC_CACHE_CONTROL}, found.body)
