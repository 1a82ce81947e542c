"""The Observatory's pages: what can be asked and what is claimed; one question with its choices, chart, table and SQL.

The choices are the address: a form whose fields are its parameters, so that every answer can be linked, and works
without scripts. With scripts a chart is drawn in the browser out of the page's own data; without, it is a picture that
is drawn here and can run nothing. Refuses to know how answers come about (headwater.observatory), who has to wait for
one (asking.py), and the HTTP API beside these pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

import msgspec

from headwater.front import answer as answers
from headwater.front.answer import Answer as Reply
from headwater.front.asking import Desk, desk
from headwater.front.pages import frame, render
from headwater.front.pages.present import with_query
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground.errors import EntryMissing, HeadwaterError, NotOffered
from headwater.observatory import charts, report
from headwater.observatory.answer import Answer
from headwater.observatory.ask import QUESTIONS, can_answer, question
from headwater.observatory.choices import Choices, allowed, described
from headwater.observatory.claims import data_of, query, said
from headwater.observatory.questions.plan import Question
from headwater.observatory.texts import link
from headwater.observatory.world import World

ROWS_SHOWN = 100  # of a table on a page; the downloads have all
PICTURES_KEPT = 128  # of some 50 KB each
FIRST_CHOICES = ("population", "attribution", "modality", "window", "age_days_max", "exclude", "by", "grain")
"""Shown at once; the others are one click away."""
SUGGESTED = ("modality", "exclude")
"""Choices that take several values: any text, with what it may be made of as suggestions."""
SIZES = {"wide": 820, "narrow": 340}
PICTURE_HEADERS = {
    "Content-Type": "image/svg+xml",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, max-age=60",
}
FORMATS = {"CSV": "csv", "JSON": "json", "Parquet": "parquet"}


@dataclass(frozen=True, slots=True)
class Control:
    """One choice as a form shows it. `options`: (value, text); empty: any text, perhaps one of `suggested`."""

    name: str
    about: str
    value: str
    default: str
    options: tuple[tuple[str, str], ...]
    suggested: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QuestionPage:
    """`answer` is None where `error` says why there is none; `chart` is what the browser draws, or None."""

    question: Question
    controls: tuple[Control, ...]
    more: tuple[Control, ...]
    query: str
    answer: Answer | None
    error: str
    chart: dict[str, Any] | None
    rows: list[dict[str, Any]]
    numeric: tuple[bool, ...]
    """Of each column of the answer's table."""
    links: tuple[tuple[str, str], ...]


def index(rooms: Rooms, request: Request) -> Reply:
    here = desk(rooms, request.actor)
    groups: dict[str, list[Question]] = {}
    for one in QUESTIONS.values():
        groups.setdefault(one.group, []).append(one)
    return _shown(
        rooms, request, "index", "Observatory", checked=here.claims_so_far(), groups=groups,
        snapshots=here.world.snapshots(), registry=here.world.registry().version,
    )  # fmt: skip


def claims(rooms: Rooms, request: Request) -> Reply:
    return _shown(rooms, request, "claims", "Claims", checked=desk(rooms, request.actor).claims_so_far())


def one_question(rooms: Rooms, request: Request) -> Reply:
    """A question under the choices of the address; one with empty fields leads to the same without them."""
    asked = question(request.params["question"])
    given = [(name, value) for name, value in request.query if value]
    if len(given) < len(request.query):
        return frame.see(rooms, with_query(f"/observatory/questions/{asked.name}", given))
    here = desk(rooms, request.actor)
    answer, choices, refused = None, Choices(), None
    try:
        choices = Choices.parse(given)
        answer = here.answer(asked.name, choices)
    except HeadwaterError as error:
        refused = error
    page = _page(here, asked, given, choices, answer, refused.text if refused else "")
    # Without data there is still a page that says what to import; a choice that can't be made is the asker's.
    status = 200 if refused is None or isinstance(refused, EntryMissing) else refused.status
    made = _shown(rooms, request, "question", asked.title, status, page=page)
    made.headers.update(refused.headers if refused else {})
    return made


def picture(rooms: Rooms, request: Request) -> Reply:
    """`/observatory/charts/{theme}-{size}/{name}.svg`, or .json for the specification; the query is the choices."""
    theme, _, size = request.params["look"].partition("-")
    name, _, kind = request.params["file"].rpartition(".")
    if theme not in charts.PALETTES or size not in SIZES or kind not in ("svg", "json"):
        raise NotOffered("No such picture: /observatory/charts/light-wide/NAME.svg; dark, narrow and .json go as well")
    here = desk(rooms, request.actor)
    answer = here.answer(name, Choices.parse(request.query))
    spec = charts.draw(answer.chart, answer.table, answer.title)
    look: charts.Theme = "dark" if theme == "dark" else "light"
    if kind == "json":
        return answers.json(charts.themed(spec, look, SIZES[size]))
    return Reply(200, dict(PICTURE_HEADERS), _svg(here, msgspec.json.encode(spec), look, SIZES[size]))


@lru_cache(maxsize=PICTURES_KEPT)
def _svg(here: Desk, spec: bytes, theme: charts.Theme, width_px: int) -> bytes:
    with here.turns.mine():
        return charts.svg(charts.themed(msgspec.json.decode(spec), theme, width_px)).encode()


def _page(
    here: Desk, asked: Question, given: list[tuple[str, str]], choices: Choices, answer: Answer | None, error: str
) -> QuestionPage:
    controls = _controls(here.world, asked, given, choices)
    query = urlencode(list(choices.made().items()))
    rows = answer.table.slice(0, ROWS_SHOWN).to_pylist() if answer else []
    at = f"/api/observatory/answers/{asked.name}"
    return QuestionPage(
        question=asked,
        controls=tuple(one for one in controls if one.name in FIRST_CHOICES),
        more=tuple(one for one in controls if one.name not in FIRST_CHOICES),
        query=query, answer=answer, error=error, chart=_chart(answer) if answer else None, rows=rows,
        numeric=_numeric(answer.table.column_names, rows) if answer else (),
        links=tuple((shown, _with(at, f"{query}&format={kind}".strip("&"))) for shown, kind in FORMATS.items()),
    )  # fmt: skip


def _chart(answer: Answer) -> dict[str, Any] | None:
    """What the browser draws; None where the answer is a table alone, or too large for a picture."""
    try:
        return charts.live(charts.draw(answer.chart, answer.table, answer.title))
    except HeadwaterError:
        return None


def _numeric(names: list[str], rows: list[dict[str, Any]]) -> tuple[bool, ...]:
    return tuple(any(isinstance(row[name], int | float) for row in rows) for name in names)


def _controls(world: World, asked: Question, given: list[tuple[str, str]], choices: Choices) -> tuple[Control, ...]:
    """Every choice that the question honours, as it stands; what could not be parsed stays as it was written."""
    written = {**choices.written(), **dict(given)}
    stated = set(dict(given))
    found = []
    for name, default, about in described():
        if name not in asked.choices:
            continue
        values = () if name in SUGGESTED else tuple((value, value) for value in allowed(name))
        if name == "population":
            able = dict.fromkeys((one.name, one.id) for one in can_answer(world, asked.name))
            values = (*able, ("all", "all of them"))
        elif name in ("by", "attribution"):
            values = tuple((value, value) for value in (asked.by if name == "by" else asked.attributions))
        value = written[name] if name in stated else ""
        if value and values and value not in dict(values):
            values = (*values, (value, value))
        found.append(Control(name, about, value, default, values, allowed(name) if name in SUGGESTED else ()))
    return tuple(found)


def _with(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path


def _shown(rooms: Rooms, request: Request, template: str, title: str, status: int = 200, **values: object) -> Reply:
    made = render.render_observe(
        frame.site(rooms, request), template, title, cell=report.cell, said=said, flip_words=report.flip_words,
        left_out=report.left_out, data_of=data_of, case_query=query,
        safe_link=link, spoken=charts.spoken, with_query=_with, rows_shown=ROWS_SHOWN, **values,
    )  # fmt: skip
    return frame.shown(made, status)
