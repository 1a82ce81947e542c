"""Tokens served per author and day (OpenRouter's public ranking)."""

from __future__ import annotations

from headwater.observatory.imports.importer import Importer, has
from headwater.observatory.imports.job import Job

TOKENS_MAX = 10**18  # a thousand times the largest week


def _fill(job: Job) -> None:
    fields = job.fields
    values = {
        "day": fields.day("date", "day", needed=True),
        "rank": fields.whole("rank", top=10**6),
        "author": fields.text("author", needed=True),
        "tokens_week": fields.whole("tokens_week", top=TOKENS_MAX),
        "share_pct": fields.real("share_pct", top=100.0),
    }
    job.fill("tokens", values, shown="cast(author as varchar)")


IMPORTER = Importer(
    kind="tokens",
    note="tokens served per author",
    knows=has("author", "tokens_week"),
    fill=_fill,
    dated_by=("date", "day"),
)
