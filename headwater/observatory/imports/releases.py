"""New repos per organisation and week, as CEPS/aiWorld counted them."""

from __future__ import annotations

from headwater.observatory.imports.fields import Value
from headwater.observatory.imports.importer import Importer, has
from headwater.observatory.imports.job import Job


def _fill(job: Job) -> None:
    fields = job.fields
    daily = fields.column("week") is None
    ending = "day" if daily else "week"
    values = {
        "org": fields.text("org", needed=True),
        "day": fields.day("week", "day", needed=True),
        "grain": Value(f"'{ending}'"),
        "variant": fields.text("variant"),
        "filter": fields.text("filter"),
        **{
            name: fields.whole(f"{name}_{ending}", name)
            for name in ("repos", "models", "datasets", "spaces", "likes", "downloads")
        },
    }
    job.fill("release", values, shown="cast(org as varchar)")


IMPORTER = Importer(
    kind="releases", note="new repos per organisation and week or day", fill=_fill,
    dated_by=("committed", "week", "day"),
    knows=lambda columns: has("org", "week", "repos_week")(columns) or has("org", "day", "repos")(columns),
)  # fmt: skip
