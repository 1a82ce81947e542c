"""The Observatory's pages: what can be asked and what is claimed; one question with its choices, chart, table and SQL.

The choices are the address: a form whose fields are its parameters, so that every answer can be linked, and works
without scripts. Pictures are drawn here and shown as images, which can run nothing. Refuses to know how answers come
about (headwater.observatory) and the HTTP API beside these pages.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlencode

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.front import answer as answers
from headwater.front.answer import Answer as Reply
from headwater.front.pages import frame, render
from headwater.front.pages.present import with_query
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.front.router import Route
from headwater.ground.errors import HeadwaterError, NotOffered
from headwater.observatory import charts, report
from headwater.observatory.answer import Answer
from headwater.observatory.ask import QUESTIONS, ask, can_answer, question
from headwater.observatory.choices import Choices, allowed, described
from headwater.observatory.claims import check_all, said
from headwater.observatory.questions.plan import Question
from headwater.observatory.texts import link
from headwater.observatory.world import World

ROWS_SHOWN = 100  # of a table on a page; the downloads have all
PICTURES_KEPT = 128  # of some 50 KB each
FIRST_CHOICES = ("population", "attribution", "modality", "window", "age_days_max", "exclude", "by", "grain")
"""Shown at once; the others are one click away."""
SIZES = {"wide": 820, "narrow": 340}
PICTURE_HEADERS = {
    "Content-Type": "image/svg+xml",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, max-age=60",
}
_MEDIA = {
    "csv": "text/csv; charset=utf-8", "json": "application/json; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}  # fmt: skip

_SHOWN = {"csv": "CSV", "json": "JSON", "parquet": "Parquet"}


@dataclass(frozen=True, slots=True)
class Control:
    """One choice as a form shows it. `options`: (value, text); empty: any text."""

    name: str
    about: str
    value: str
    default: str
    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class QuestionPage:
    """`answer` is None where `error` says why there is none."""

    question: Question
    controls: tuple[Control, ...]
    more: tuple[Control, ...]
    query: str
    answer: Answer | None
    error: str
    drawn: bool
    numeric: tuple[bool, ...]
    """Of each column of the answer's table."""
    links: tuple[tuple[str, str], ...]


def index(rooms: Rooms, request: Request) -> Reply:
    world = world_of(rooms)
    results, unreadable = check_all(world)
    groups: dict[str, list[Question]] = {}
    for one in QUESTIONS.values():
        groups.setdefault(one.group, []).append(one)
    return _shown(
        rooms, request, "observe_index.html", "Observatory", results=results, unreadable=unreadable,
        groups=groups, snapshots=world.snapshots(), registry=world.registry().version,
    )  # fmt: skip


def claims(rooms: Rooms, request: Request) -> Reply:
    results, unreadable = check_all(world_of(rooms))
    return _shown(rooms, request, "observe_claims.html", "Claims", results=results, unreadable=unreadable)


def one_question(rooms: Rooms, request: Request) -> Reply:
    """A question under the choices of the address; one with empty fields leads to the same without them."""
    asked = question(request.params["name"])
    given = [(name, value) for name, value in request.query if value]
    if len(given) < len(request.query):
        return frame.see(rooms, with_query(f"/observatory/questions/{asked.name}", given))
    world = world_of(rooms)
    answer, error, choices = None, "", Choices()
    try:
        choices = Choices.parse(given)
        answer = ask(world, asked.name, choices)
    except HeadwaterError as refused:
        error = refused.text
    drawn = answer is not None and _drawn(answer)
    controls = _controls(world, asked, given, choices)
    query = urlencode(list(choices.made().items()))
    page = QuestionPage(
        question=asked,
        controls=tuple(one for one in controls if one.name in FIRST_CHOICES),
        more=tuple(one for one in controls if one.name not in FIRST_CHOICES),
        query=query, answer=answer, error=error, drawn=drawn, numeric=_numeric(answer) if answer else (),
        links=tuple((shown, _with(f"/observatory/data/{asked.name}.{kind}", query)) for kind, shown in _SHOWN.items()),
    )  # fmt: skip
    status = 200 if answer else 400
    return _shown(rooms, request, "observe_question.html", asked.title, status, page=page, rows_shown=ROWS_SHOWN)


def picture(rooms: Rooms, request: Request) -> Reply:
    """`/observatory/charts/{theme}-{size}/{name}.svg`, or .json for the specification; the query is the choices."""
    theme, _, size = request.params["look"].partition("-")
    name, _, kind = request.params["file"].rpartition(".")
    if theme not in charts.PALETTES or size not in SIZES or kind not in ("svg", "json"):
        raise NotOffered("No such picture: /observatory/charts/light-wide/NAME.svg; dark, narrow and .json go as well")
    answer = ask(world_of(rooms), name, Choices.parse(request.query))
    spec = charts.draw(answer.chart, answer.table, answer.title)
    look: charts.Theme = "dark" if theme == "dark" else "light"
    if kind == "json":
        return answers.json(charts.themed(spec, look, SIZES[size]))
    return Reply(200, dict(PICTURE_HEADERS), _svg(msgspec.json.encode(spec), look, SIZES[size]))


def data(rooms: Rooms, request: Request) -> Reply:
    """`/observatory/data/{name}.csv`, .json or .parquet: the whole answer."""
    name, _, kind = request.params["file"].rpartition(".")
    if kind not in _MEDIA:
        raise NotOffered(f"No such format; there are {', '.join(_MEDIA)}")
    answer = ask(world_of(rooms), name, Choices.parse(request.query))
    if kind == "csv":
        body = report.as_csv(answer.table)
    elif kind == "json":
        body = msgspec.json.encode(report.plain_rows(answer.table))
    else:
        out = io.BytesIO()
        pq.write_table(answer.table, out, compression="zstd")
        body = out.getvalue()
    headers = {
        "Content-Type": _MEDIA[kind],
        "Content-Disposition": f'attachment; filename="{answer.question}.{kind}"',
        "X-Content-Type-Options": "nosniff",
    }
    return Reply(200, headers, body)


@lru_cache(maxsize=4)
def _world(folder: Path) -> World:
    return World(folder)


def world_of(rooms: Rooms) -> World:
    """The hub's own; kept, because it remembers the manifests that it has read."""
    return _world(Path(rooms.settings.data) / "observatory")


@lru_cache(maxsize=PICTURES_KEPT)
def _svg(spec: bytes, theme: charts.Theme, width_px: int) -> bytes:
    return charts.svg(charts.themed(msgspec.json.decode(spec), theme, width_px)).encode()


def _drawn(answer: Answer) -> bool:
    try:
        charts.draw(answer.chart, answer.table, answer.title)
    except HeadwaterError:
        return False
    return True


def _numeric(answer: Answer) -> tuple[bool, ...]:
    kinds = [field.type for field in answer.table.schema]
    return tuple(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds)


def _controls(world: World, asked: Question, given: list[tuple[str, str]], choices: Choices) -> tuple[Control, ...]:
    """Every choice that the question honours, as it stands; what could not be parsed stays as it was written."""
    written = {**choices.written(), **dict(given)}
    stated = set(dict(given))
    found = []
    for name, default, about in described():
        if name not in asked.choices:
            continue
        values = tuple((value, value) for value in allowed(name))
        if name == "population":
            able = dict.fromkeys((one.name, one.id) for one in can_answer(world, asked.name))
            values = (*able, ("all", "all of them"))
        elif name == "by":
            values = tuple((value, value) for value in asked.by)
        elif name == "exclude":
            values = ()
        value = written[name] if name in stated else ""
        if value and values and value not in dict(values):
            values = (*values, (value, value))
        found.append(Control(name, about, value, default, values))
    return tuple(found)


def _with(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path


def _shown(rooms: Rooms, request: Request, template: str, title: str, status: int = 200, **values: object) -> Reply:
    # render.py's own functions are one per page; the Observatory's pages need no more than its way in
    page: Callable[..., str] = render._page  # noqa: SLF001
    site = frame.site(rooms, request)
    made = page(
        template, site, "", title, cell=report.cell, said=said, flip_words=report.flip_words, safe_link=link,
        spoken=charts.spoken, with_query=_with, **values,
    )  # fmt: skip
    return frame.shown(made, status)


OBSERVE_PAGES: list[Route] = [
    Route("GET", "/observatory", index, "The Observatory: its claims, questions and data"),
    Route("GET", "/observatory/claims", claims, "Every public claim with its computed verdict"),
    Route("GET", "/observatory/questions/{name}", one_question, "A question: its choices, chart, table and SQL"),
    Route("GET", "/observatory/charts/{look}/{file}", picture, "The chart of a question as SVG or Vega-Lite"),
    Route("GET", "/observatory/data/{file}", data, "The answer to a question as CSV, JSON or Parquet"),
]
