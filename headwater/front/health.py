"""Whether the hub lives and can work; and what clients send or ask that needs no room."""

from __future__ import annotations

from headwater import __version__
from headwater.front.answer import Answer, empty, json
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground import events


def live(rooms: Rooms, request: Request) -> Answer:
    return json({"status": "live", "version": __version__})


def ready(rooms: Rooms, request: Request) -> Answer:
    """Reads the database; a hub that can't answers 503 by itself."""
    with rooms.db.read() as connection:
        events.last_id(connection)
    return json({"status": "ready", "version": __version__})


def telemetry(rooms: Rooms, request: Request) -> Answer:
    return empty()


def agent_harnesses(rooms: Rooms, request: Request) -> Answer:
    return json({"harnesses": {}, "standardEnvVars": []})
