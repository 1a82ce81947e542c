"""Questions, answers and claims as JSON, CSV and Parquet; every answer names its snapshots, licences and whom to thank.

In CSV, which has no place for it, the names stand in headers, and a link leads to the whole as JSON. Refuses to know
SQL, and how an answer comes about.
"""

from __future__ import annotations

import json as ascii_json
from collections.abc import Callable
from typing import Any

from headwater.front import answer as answers
from headwater.front.answer import Answer as Reply
from headwater.front.asking import desk
from headwater.front.observe.parameters import FORMATS, choices_of
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground.errors import Invalid
from headwater.observatory.answer import Answer, Source, csv_text, json_bytes, parquet_bytes
from headwater.observatory.ask import QUESTIONS, can_answer, question
from headwater.observatory.choices import Choices
from headwater.observatory.questions.plan import Question

CACHE_CONTROL = "private, max-age=60"  # the same question over the same data; an import may come at any time
SOURCES_CHARS_MAX = 4_000  # of a header: clients and proxies refuse more than 8 KB of all
HERE = "/api/observatory"


def index(rooms: Rooms, request: Request) -> Reply:
    """What can be asked, and of which data."""
    world = desk(rooms, request.actor).world
    return answers.json({
        "questions": [_told(rooms, one) for one in QUESTIONS.values()],
        "choices": choices_of(tuple(Choices.__struct_fields__)),
        "formats": list(FORMATS),
        "snapshots": [one.manifest for one in world.snapshots()],
        "registry_version": world.registry().version,
        "licences_version": world.licences().version,
    })  # fmt: skip


def one_question(rooms: Rooms, request: Request) -> Reply:
    asked = question(request.params["question"])
    able = can_answer(desk(rooms, request.actor).world, asked.name)
    told = _told(rooms, asked) | {
        "choices": choices_of(asked.choices),
        "columns": [{"name": name, "meaning": meaning} for name, meaning in asked.columns],
        "snapshots": [Source.of(one) for one in able],
    }
    return answers.json(told)


def answer(rooms: Rooms, request: Request) -> Reply:
    asked = question(request.params["question"])
    pairs = [(name, value) for name, value in request.query if name != "format"]
    kind = request.arg("format", "json")
    if kind not in FORMATS:
        raise Invalid(f"format: {kind[:40]!r} is not one of {', '.join(FORMATS)}")
    made = desk(rooms, request.actor).answer(asked.name, Choices.parse(pairs))
    tag = f'W/"{made.key[:32]}-{kind}"'
    headers = {
        "Content-Type": FORMATS[kind],
        "ETag": tag,
        "Cache-Control": CACHE_CONTROL,
        "Vary": "Authorization, Cookie",
        "Content-Disposition": f'{"inline" if kind == "json" else "attachment"}; filename="{made.question}.{kind}"',
        "X-Observatory-Sources": _sources(made),
        "Link": f'<{rooms.settings.base_url}{HERE}/questions/{made.question}>; rel="describedby"',
    }
    if tag in request.headers.get("if-none-match", "").split(", "):
        return Reply(304, headers)
    return Reply(200, headers, _WRITTEN[kind](made))


_WRITTEN: dict[str, Callable[[Answer], bytes]] = {
    "json": json_bytes,
    "csv": lambda made: csv_text(made).encode(),
    "parquet": parquet_bytes,
}


def claims(rooms: Rooms, request: Request) -> Reply:
    """Every claim with its verdict; `pending` are those that were not checked in the time of one request."""
    here = desk(rooms, request.actor)
    checked = here.claims()
    return answers.json({
        "claims": checked.results,
        "pending": [one.id for one in checked.pending],
        "unreadable": checked.unreadable,
        "snapshots": [Source.of(one) for one in here.world.snapshots()],
        "registry_version": here.world.registry().version,
    })  # fmt: skip


def _told(rooms: Rooms, one: Question) -> dict[str, Any]:
    return {
        "name": one.name, "group": one.group, "title": one.title, "definition": one.definition, "source": one.source,
        "needs": one.needs, "wants": one.wants, "choices": one.choices, "by": one.by, "chart": one.chart,
        "columns": [name for name, _ in one.columns], "answer": f"{rooms.settings.base_url}{HERE}/answers/{one.name}",
    }  # fmt: skip


def _sources(made: Answer) -> str:
    """Whom to name, as JSON in ASCII: what strangers wrote ends no header. The names alone where it grows too long."""
    sources = [one for one in made.snapshots if one.role == "population"]
    whole = [
        {"id": one.id, "licence": one.licence, "attribution": one.attribution, "url": one.url} for one in sources
    ]  # fmt: skip
    shown = ascii_json.dumps(whole)
    if len(shown) > SOURCES_CHARS_MAX:
        shown = ascii_json.dumps([one.id for one in sources])
    return shown if len(shown) <= SOURCES_CHARS_MAX else ascii_json.dumps([f"{len(sources)} snapshots: see the JSON"])
