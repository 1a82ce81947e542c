"""The tables of `catalog`: derived, thrown away and made again by `headwater rebuild`; and the tallies of downloads.

Laid out for lists over hundreds of thousands of repos: what is sorted by lies apart from what is shown, in rows so
narrow that all of them stay in the page cache; and "this repo has this tag" is one integer, so that a list that walks
a sort's index asks for a tag at the price of one integer lookup (0.2 us a row, measured; three times that with a key
of text and number). benchmarks/lists.py holds the figures.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    column,
    event,
    table,
    text,
)

from headwater.ground.db import metadata
from headwater.ground.errors import Unavailable

# What is shown of a repo, as read from its main branch. What can be large comes last: the rest is read without it.
catalog = Table(
    "catalog",
    metadata,
    Column("repo_id", Integer, ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True),
    Column("sha", Text, nullable=False),  # the commit that was read; empty: there was none
    Column("library_name", Text),
    Column("pipeline_tag", Text),
    Column("used_storage", BigInteger, nullable=False),
    Column("tags", Text, nullable=False),  # JSON list, as shown
    Column("safetensors", Text),  # JSON {"parameters": {dtype: count}, "total": count}
    Column("config", Text),  # JSON {"architectures", "model_type", ...} of config.json
    Column("tag_ids", Text, nullable=False),  # JSON list: which postings are this repo's
    Column("weights", Text),  # what `safetensors` and `gguf` were read from: unchanged files are not read again
    Column("gguf", Text),  # JSON {"total", "architecture", "context_length", "chat_template"}
    Column("card", Text, nullable=False),  # front matter as JSON
)

# What lists sort by. `repo_id` closes each index so that a page can begin after any row.
standing = Table(
    "standing",
    metadata,
    Column("repo_id", Integer, ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True),
    Column("type", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("modified_ms", BigInteger, nullable=False),
    Column("downloads", Integer, nullable=False, server_default=text("0")),  # last 30 days
    Column("downloads_all", Integer, nullable=False, server_default=text("0")),
    Column("likes", Integer, nullable=False, server_default=text("0")),
    Column("trending", Float, nullable=False, server_default=text("0")),  # see counts.trending
    Column("parameters", BigInteger),  # from the safetensors or GGUF header
    Index("standing_modified", "type", "modified_ms", "repo_id"),
    Index("standing_created", "type", "created_ms", "repo_id"),
    Index("standing_downloads", "type", "downloads", "repo_id"),
    Index("standing_likes", "type", "likes", "repo_id"),
    Index("standing_trending", "type", "trending", "repo_id"),
    Index("standing_parameters", "type", "parameters", "repo_id"),
)

tag = Table(
    "tag",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("type", Text, nullable=False),  # of the repos that have it
    Column("key", Text, nullable=False),  # lower-cased; index.py's own ones begin with MARK
    Column("count", Integer, nullable=False),  # of repos that have it, private ones too: for plans, not for people
    UniqueConstraint("type", "key", name="tag_type_key"),
    Index("tag_count", "type", "count"),
)

MARK = "\x01"
"""Begins tags that nobody wrote, such as whose a repo is. No card can hold it: card tags are printable."""

POSTING_SHIFT = 32
"""A posting is `tag.id << 32 | repo_id`: a tag's repos are one range of integers, in the order of their ids."""

posting = Table("posting", metadata, Column("id", Integer, primary_key=True))

# Not derived: nothing else knows how often a file was asked for. A rebuild leaves it alone.
download = Table(
    "download",
    metadata,
    Column("repo_id", ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True),
    Column("day", Integer, primary_key=True),  # days since 1970, UTC; 0 holds all that is older than two months
    Column("count", Integer, nullable=False),
    Column("clients", Integer, nullable=False),  # how many different ones that day
    Index("download_day", "day"),
    sqlite_with_rowid=False,
)

# As little derived as `download`, and kept day by day for years: catalog/pulls.py says what each column means.
pull_day = Table(
    "pull_day",
    metadata,
    Column("repo_id", ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True),
    Column("day", Integer, primary_key=True),  # days since 1970, UTC
    Column("downloads", BigInteger, nullable=False),  # as in `download`, where only two months have their own rows
    Column("pulls", BigInteger, nullable=False),
    Column("pulls_ci", BigInteger, nullable=False),
    Column("heads", BigInteger, nullable=False),
    Column("clients", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Index("pull_day_day", "day"),
    sqlite_with_rowid=False,
)

catalog_search: Any = table("catalog_search", column("rowid"), column("name"), column("starts"))
"""FTS5 over names: `name` by any three letters, `starts` by how words begin (for terms shorter than that)."""

_SEARCH = "CREATE VIRTUAL TABLE IF NOT EXISTS catalog_search USING fts5(name, starts, tokenize='trigram', columnsize=0)"


SQLITE_MIN = (3, 34)  # the first with the trigram tokenizer


def create_search_index(connection: Connection) -> None:
    """For migrations that make tables one by one; `metadata.create_all` calls it by itself."""
    if connection.dialect.name != "sqlite":
        return
    has_fts5 = connection.exec_driver_sql("SELECT sqlite_compileoption_used('ENABLE_FTS5')").scalar()
    if sqlite3.sqlite_version_info < SQLITE_MIN or not has_fts5:
        raise Unavailable(
            f"The SQLite of this Python ({sqlite3.sqlite_version}) can't search: Headwater needs version "
            f"{'.'.join(map(str, SQLITE_MIN))} or newer, built with FTS5."
        )
    connection.exec_driver_sql(_SEARCH)


# SQLAlchemy has no word for virtual tables.
@event.listens_for(metadata, "after_create")
def _after_create(_target: object, connection: Connection, **_more: object) -> None:
    create_search_index(connection)
