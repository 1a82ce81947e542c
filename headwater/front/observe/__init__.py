"""The Observatory over HTTP: the questions as JSON, CSV and Parquet, the claims with their verdicts.

Handlers only; the work is in answers.py, which is imported when somebody first asks: with it come DuckDB and Arrow,
46 MB that a hub whose Observatory nobody asks has no use for.
"""

from __future__ import annotations

from headwater.front.answer import Answer
from headwater.front.request import Request
from headwater.front.rooms import Rooms


def index(rooms: Rooms, request: Request) -> Answer:
    from headwater.front.observe import answers  # noqa: PLC0415 - see above

    return answers.index(rooms, request)


def one_question(rooms: Rooms, request: Request) -> Answer:
    from headwater.front.observe import answers  # noqa: PLC0415 - see above

    return answers.one_question(rooms, request)


def answer(rooms: Rooms, request: Request) -> Answer:
    from headwater.front.observe import answers  # noqa: PLC0415 - see above

    return answers.answer(rooms, request)


def claims(rooms: Rooms, request: Request) -> Answer:
    from headwater.front.observe import answers  # noqa: PLC0415 - see above

    return answers.claims(rooms, request)
