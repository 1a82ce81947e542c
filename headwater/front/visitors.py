"""What browsers and crawlers ask every host for, before they have read a page of it."""

from __future__ import annotations

from headwater.front.answer import Answer, text
from headwater.front.pages import render
from headwater.front.request import Request
from headwater.front.rooms import Rooms

ICON = "headwater.svg"
DAY = {"Cache-Control": "public, max-age=86400"}
# Pages may be found; files are large, and the API's answers are no pages.
ROBOTS = "User-agent: *\nDisallow: /api/\nDisallow: /*/resolve/\nDisallow: /*/raw/\n"


def robots(rooms: Rooms, request: Request) -> Answer:
    return text(ROBOTS, headers=DAY)


def favicon(rooms: Rooms, request: Request) -> Answer:
    """The pages name their icon themselves; this is for whoever shows none of them."""
    icon = render.static_files()[ICON]
    return Answer(200, {"Content-Type": icon.media_type, **DAY}, icon.body)
