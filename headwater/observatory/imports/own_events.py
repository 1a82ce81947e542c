"""This hub's own repos, counts and days, as the same tables that other people's data fill.

Only what everybody may see: private and disabled repos are left out, so that a page over a snapshot can't tell of
them. Reads the database in slices, beside a running hub.
"""

# ruff: noqa: S608 - the SQL put together here is this package's own
from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, select

from headwater.catalog.counts import trending_score
from headwater.catalog.tables import catalog, download, standing
from headwater.ground.clock import iso
from headwater.ground.db import Database
from headwater.observatory.imports.job import Job, Progress
from headwater.observatory.imports.staging import HUB_LISTS, HUB_TEXTS, Stage, stage_dicts
from headwater.observatory.run import literal
from headwater.repos.tables import repo

SLICE = 2_000  # repos read at a time: a long read would keep SQLite's log from being emptied
KIND = "own"

_REPOS = (
    select(
        repo.c.id, repo.c.namespace, repo.c.name, repo.c.gated, repo.c.created_ms, standing.c.modified_ms,
        standing.c.downloads, standing.c.downloads_all, standing.c.likes, standing.c.trending, catalog.c.library_name,
        catalog.c.pipeline_tag, catalog.c.used_storage, catalog.c.tags, catalog.c.safetensors, catalog.c.config,
        catalog.c.gguf, catalog.c.card,
    )
    .join(standing, standing.c.repo_id == repo.c.id)
    .join(catalog, catalog.c.repo_id == repo.c.id)
    .where(repo.c.type == "model", repo.c.state == "live", repo.c.private.is_(False), repo.c.disabled.is_(False))
    .order_by(repo.c.id)
    .limit(SLICE)
)  # fmt: skip
_DAYS = (
    select(download.c.repo_id, download.c.day, download.c.count, download.c.clients)
    .order_by(download.c.repo_id, download.c.day)
)  # fmt: skip


def stage_repos(db: Database, now_ms: int, path: Path, progress: Progress) -> Stage:
    """The public models under the Hub's names of fields, as hub_stats.py reads them."""
    stage = Stage(path, HUB_TEXTS, HUB_LISTS, progress, "models")
    stage_dicts(stage, _repo_rows(db, now_ms))
    return stage


def _repo_rows(db: Database, now_ms: int) -> Iterator[dict[str, Any]]:
    after = 0
    while True:
        with db.read() as connection:
            rows = connection.execute(_REPOS.where(repo.c.id > after)).all()
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
                "private": "false",
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


def fill_days(job: Job, db: Database) -> None:
    """The tables event_day and count: what every day brought, and the cumulative count at its end."""
    path = job.draft.scratch / "days.parquet"
    schema = pa.schema([("key", pa.string()), ("day", pa.date32()), ("count", pa.int64()), ("clients", pa.int64())])
    with db.read() as connection, pq.ParquetWriter(path, schema) as writer:
        for rows in _day_slices(connection):
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    public = "(select key, id from " + f"read_parquet({literal(job.draft.path('model'))}))"
    days = f"{public} m join read_parquet({literal(path)}) d using (key)"
    job.write(
        "event_day",
        "select d.day, key as repo_key, m.id, d.count as downloads_hub, null::bigint as pulls, "
        "null::bigint as pulls_ci, null::bigint as heads, d.clients, null::bigint as bytes "
        f"from {days} where d.day is not null",
    )
    # Nothing happens on days without a row, so the count of the last one holds.
    job.write(
        "count",
        "select id, cast(day as timestamp) as counted_at, null::bigint as downloads_30d, downloads_all, "
        "null::bigint as likes, null::double as trending, false as removed, true as change_only from "
        "(select m.id, d.day, cast(sum(d.count) over (partition by key order by d.day nulls first) as bigint) "
        f"as downloads_all from {days}) where day is not null",
    )


def _day_slices(connection: Connection) -> Iterator[list[dict[str, Any]]]:
    for slice_ in connection.execute(_DAYS).partitions(10_000):
        yield [
            {
                "key": key_of(row.repo_id),
                # Day 0 is the sum of all that is older than the days that are kept.
                "day": datetime.fromtimestamp(row.day * 86_400, UTC).date() if row.day else None,
                "count": row.count,
                "clients": row.clients,
            }
            for row in slice_
        ]
