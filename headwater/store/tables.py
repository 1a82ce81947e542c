"""The tables of `store`: which blobs there are and how each is rebuilt; which xorbs there are and what is in them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text, text

from headwater.ground.db import metadata

blob = Table(
    "blob",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("recipe", LargeBinary),  # recipe.encode(...); none: the bytes lie in one object of their own
    Column("xet_hash", Text),  # the hash under which Xet clients know it, when it came through Xet
    Column("state", Text, nullable=False, server_default=text("'whole'")),  # whole | damaged
    Column("created_ms", BigInteger, nullable=False),
    Index("blob_xet_hash", "xet_hash"),
)

xorb = Table(
    "xorb",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("raw_bytes", BigInteger, nullable=False),
    Column("hashes", LargeBinary, nullable=False),  # n x 32 bytes
    Column("lengths", LargeBinary, nullable=False),  # n x uint32, little-endian
    Column("state", Text, nullable=False, server_default=text("'here'")),  # here | gone (a tombstone) | damaged
    Column("offered_ms", BigInteger, nullable=False),  # last uploaded, or named to a client
)

blob_xorb = Table(
    "blob_xorb",
    metadata,
    Column("sha256", ForeignKey("blob.sha256"), primary_key=True),
    Column("xorb", ForeignKey("xorb.hash"), primary_key=True),
    Index("blob_xorb_xorb", "xorb"),
)

dedup = Table(
    "dedup",
    metadata,
    Column("chunk", LargeBinary, primary_key=True),  # only eligible chunks: hash % 1024 == 0, and starts of files
    Column("xorb", ForeignKey("xorb.hash"), primary_key=True),
)

upload = Table(
    "upload",
    metadata,
    Column("id", Text, primary_key=True),
    Column("scope", Text, nullable=False),  # whose it is; the same file may be under way for several
    Column("sha256", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("part_size", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)
