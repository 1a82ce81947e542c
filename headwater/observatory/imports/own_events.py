"""This hub's own repos, counts and days, as the same tables that other people's data fill.

Only what everybody may see, unless the operator asks for private repos too: whoever opens a page over a snapshot sees
all of it. Disabled repos are always left out. Reads the database in slices, beside a running hub.

A day's figures are those of catalog/pulls.py. Days from before it kept any have downloads and clients alone.
"""

# ruff: noqa: S608 - the SQL put together here is this package's own
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import CursorResult, select

from headwater.catalog.counts import trending_score
from headwater.catalog.tables import catalog, download, pull_day, standing
from headwater.ground.clock import iso
from headwater.ground.db import Database
from headwater.observatory.imports.job import Job, Progress
from headwater.observatory.imports.staging import HUB_LISTS, HUB_TEXTS, Stage, stage_dicts
from headwater.observatory.run import literal
from headwater.repos.tables import repo

SLICE = 2_000  # repos read at a time: a long read would keep SQLite's log from being emptied
SLICE_DAYS = 10_000  # days of repos held at a time
KIND = "own"
Whose = Literal["public", "all"]
SAYS: dict[Whose, str] = {
    "public": "This hub only, and of it the public models: what private models are pulled is not in it.",
    "all": "This hub only, with its private models: not for everybody's eyes.",
}
"""What a snapshot says of itself."""

_REPOS = (
    select(
        repo.c.id, repo.c.namespace, repo.c.name, repo.c.gated, repo.c.private, repo.c.created_ms,
        standing.c.modified_ms, standing.c.downloads, standing.c.downloads_all, standing.c.likes, standing.c.trending,
        catalog.c.library_name, catalog.c.pipeline_tag, catalog.c.used_storage, catalog.c.tags, catalog.c.safetensors,
        catalog.c.config, catalog.c.gguf, catalog.c.card,
    )
    .join(standing, standing.c.repo_id == repo.c.id)
    .join(catalog, catalog.c.repo_id == repo.c.id)
    .where(repo.c.type == "model", repo.c.state == "live", repo.c.disabled.is_(False))
    .order_by(repo.c.id)
    .limit(SLICE)
)  # fmt: skip
_DOWNLOADS = select(download.c.repo_id, download.c.day, download.c["count"], download.c.clients)
_PULLS = select(
    pull_day.c.repo_id, pull_day.c.day, pull_day.c.downloads, pull_day.c.pulls, pull_day.c.pulls_ci, pull_day.c.heads,
    pull_day.c.clients, pull_day.c["bytes"],
)  # fmt: skip


def stage_repos(db: Database, now_ms: int, path: Path, progress: Progress, whose: Whose) -> Stage:
    """The models under the Hub's names of fields, as hub_stats.py reads them."""
    stage = Stage(path, HUB_TEXTS, HUB_LISTS, progress, "models")
    stage_dicts(stage, _repo_rows(db, now_ms, whose))
    return stage


def _repo_rows(db: Database, now_ms: int, whose: Whose) -> Iterator[dict[str, Any]]:
    after = 0
    wanted = _REPOS if whose == "all" else _REPOS.where(repo.c.private.is_(False))
    while True:
        with db.read() as connection:
            rows = connection.execute(wanted.where(repo.c.id > after)).all()
        for row in rows:
            yield {
                "_id": key_of(row.id),
                "id": f"{row.namespace}/{row.name}" if row.namespace else row.name,
                "createdAt": iso(row.created_ms),
                "lastModified": iso(row.modified_ms),
                "downloads": row.downloads,
                "downloadsAllTime": row.downloads_all,
                "likes": row.likes,
                "trendingScore": trending_score(row.trending, now_ms),
                "pipeline_tag": row.pipeline_tag,
                "library_name": row.library_name,
                "gated": row.gated or "false",
                "private": "true" if row.private else "false",
                "usedStorage": row.used_storage,
                "cardData": row.card or None,
                "config": row.config,
                "safetensors": row.safetensors,
                "gguf": row.gguf,
                "tags": msgspec.json.decode(row.tags) if row.tags else None,
            }
        if len(rows) < SLICE:
            return
        after = rows[-1].id


def key_of(repo_id: int) -> str:
    """As `_id` in this hub's own API."""
    return f"{repo_id:024x}"


_FIGURES = ("downloads", "pulls", "pulls_ci", "heads", "clients", "bytes")
_COUNTED = pa.schema([("key", pa.string()), ("day", pa.int64()), ("count", pa.int64()), ("clients", pa.int64())])
_USED = pa.schema([("key", pa.string()), ("day", pa.int64()), *((name, pa.int64()) for name in _FIGURES)])


def fill_days(job: Job, db: Database, now_ms: int) -> None:
    """The tables event_day and count: what every day brought, and the cumulative count at its end."""
    counted, used = job.draft.scratch / "downloads.parquet", job.draft.scratch / "pulls.parquet"
    with db.read() as connection:
        _write_days(counted, _COUNTED, connection.execute(_DOWNLOADS))
        _write_days(used, _USED, connection.execute(_PULLS))
    # Day 0 of `download` is the sum of what is older than its other days. A day still to come is a clock's mistake.
    today = now_ms // 86_400_000
    shown = f"(select key, id from read_parquet({literal(job.draft.path('model'))}))"
    days = (
        f"(select coalesce(c.key, u.key) as key, coalesce(c.day, u.day) as day, "
        "coalesce(c.count, u.downloads, 0) as downloads, u.pulls, u.pulls_ci, u.heads, "
        "coalesce(u.clients, c.clients) as clients, u.bytes "
        f"from (select * from read_parquet({literal(counted)}) where day > 0) c "
        f"full join read_parquet({literal(used)}) u on c.key = u.key and c.day = u.day)"
    )
    job.write(
        "event_day",
        f"select {_DATE} as day, key as repo_key, m.id, downloads as downloads_hub, pulls, pulls_ci, heads, clients, "
        f"bytes from {shown} m join {days} d using (key) where d.day <= {today}",
    )
    # Nothing happens on days without a row, so the count of the last one holds.
    earlier = (
        f"(select key, sum(downloads) as downloads from (select key, count as downloads "
        f"from read_parquet({literal(counted)}) union all select key, -downloads from {days} d) group by key)"
    )
    job.write(
        "count",
        f"select m.id, cast({_DATE} as timestamp) as counted_at, null::bigint as downloads_30d, "
        "cast(coalesce(e.downloads, 0) + sum(d.downloads) over (partition by key order by d.day) as bigint) "
        "as downloads_all, null::bigint as likes, null::double as trending, false as removed, true as change_only "
        f"from {shown} m join {days} d using (key) left join {earlier} e using (key) where d.day <= {today}",
    )


_DATE = "(date '1970-01-01' + cast(d.day as integer))"


def _write_days(path: Path, schema: pa.Schema, found: CursorResult[Any]) -> None:
    """Rows of (repo id, ...) under the schema, whose first column is the repo's key."""
    with pq.ParquetWriter(path, schema) as writer:
        for rows in found.partitions(SLICE_DAYS):
            ids, *figures = zip(*rows, strict=True)
            writer.write_table(pa.table([[key_of(one) for one in ids], *figures], schema=schema))
