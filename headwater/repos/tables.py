"""The tables of `repos`: names of repos, where old names lead, and which repo may read which blob."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, Table, Text, UniqueConstraint, text

from headwater.ground.db import metadata

repo = Table(
    "repo",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("type", Text, nullable=False),  # model | dataset | space
    Column("namespace_id", ForeignKey("namespace.id")),  # none: a repo without a namespace
    Column("namespace", Text),  # as written, kept with the name so that one row answers
    Column("name", Text, nullable=False),
    Column("key", Text, nullable=False),  # names.key("namespace/name")
    Column("private", Boolean, nullable=False),
    Column("gated", Text),  # auto | manual
    Column("disabled", Boolean, nullable=False, server_default=text("0")),
    Column("sdk", Text),  # of a space
    Column("creator_id", ForeignKey("user_account.id")),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),  # of the last commit on main
    Column("state", Text, nullable=False, server_default=text("'live'")),  # live | deleted
    Column("deleted_ms", BigInteger),  # since when it waits for being brought back; none: it is live, or gone for good
    UniqueConstraint("type", "key", name="repo_type_key"),
    Index("repo_namespace", "namespace_id"),
    Index("repo_deleted", "deleted_ms", sqlite_where=text("deleted_ms IS NOT NULL")),
)

# Old names: of moved repos (repo_id set) and of deleted ones (repo_id null), by whom they may be used again.
old_name = Table(
    "old_name",
    metadata,
    Column("type", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("repo_id", ForeignKey("repo.id")),
    Column("namespace_id", ForeignKey("namespace.id")),
    Column("at_ms", BigInteger, nullable=False),
)

hold = Table(
    "hold",
    metadata,
    Column("repo_id", ForeignKey("repo.id"), primary_key=True),
    Column("sha256", ForeignKey("blob.sha256"), primary_key=True),
    Column("path", Text, nullable=False, server_default=text("''")),  # the last path it was committed under
    Column("committed", Boolean, nullable=False),  # false: uploaded, but no commit has named it yet
    Column("held_ms", BigInteger, nullable=False),
    Column("sender_id", Integer),  # the user who sent it last; none: not known
    Index("hold_sha256", "sha256"),
    Index("hold_pending", "held_ms", sqlite_where=text("committed = 0")),
)

xorb_hold = Table(
    "xorb_hold",
    metadata,
    Column("repo_id", ForeignKey("repo.id"), primary_key=True),
    Column("xorb", ForeignKey("xorb.hash"), primary_key=True),
    Column("held_ms", BigInteger, nullable=False),
    Column("sender_id", Integer),  # the user who sent it last; none: not known
    Index("xorb_hold_xorb", "xorb"),
)

like = Table(
    "repo_like",
    metadata,
    Column("user_id", ForeignKey("user_account.id"), primary_key=True),
    Column("repo_id", ForeignKey("repo.id"), primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Index("repo_like_repo", "repo_id"),
)

# Before a ref moves it is written here; after a crash git alone says whether it did (commit.settle_all).
intent = Table(
    "intent",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("repo_id", Integer, nullable=False),
    Column("ref", Text, nullable=False),
    Column("old", Text),  # none: the ref is created
    Column("new", Text),  # none: the ref is deleted
    Column("kind", Text, nullable=False),
    Column("actor_id", Integer),
    Column("data", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)
