"""The Observatory: the open-model ecosystem measured, with every choice stated and every claim checked.

This room turns other people's metadata and the hub's own events into dated snapshots of one set of tables (schema.py),
kept in files of their own (world.py), and answers questions over them (run.py). It refuses to know HTTP servers, pages
and people: what it reads was written by strangers, and what it answers is a table.

    from pathlib import Path
    from headwater import observatory

    world = observatory.World(Path("data/observatory"))
    answer = observatory.ask(world, "downloads-by-country", observatory.Choices(modality="llm"))
    answer.table  # a pyarrow.Table: answer.table.to_pandas(), polars.from_arrow(answer.table)
"""

from headwater.observatory.answer import Answer, Evidence, Source, Span
from headwater.observatory.ask import QUESTIONS, ask, can_answer, describe, question
from headwater.observatory.choices import Choices
from headwater.observatory.questions.plan import Question
from headwater.observatory.run import run
from headwater.observatory.world import Snapshot, World

__all__ = [
    "QUESTIONS", "Answer", "Choices", "Evidence", "Question", "Snapshot", "Source", "Span", "World", "ask",
    "can_answer", "describe", "question", "run",
]  # fmt: skip
