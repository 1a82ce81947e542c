"""The tables of `lineage`: derived, each row can be made again from the stored files."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, LargeBinary, Table, Text

from headwater.ground.db import metadata

# A row for every file that was looked at, in order of arrival: a parent is one that came before.
sketch = Table(
    "sketch",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("sha256", ForeignKey("blob.sha256", ondelete="CASCADE"), nullable=False, unique=True),
    Column("tensors", Integer, nullable=False),  # 0: it is no tensor file, or none that can be read
    Column("probes", LargeBinary, nullable=False),  # search.Probes.encode(...): what the search compares
    Column("made_ms", BigInteger, nullable=False),
    sqlite_autoincrement=True,  # an order of arrival is never given twice
)

# Apart from the rows that a search walks: a megabyte each.
sketch_data = Table(
    "sketch_data",
    metadata,
    Column("sketch_id", Integer, ForeignKey("sketch.id", ondelete="CASCADE"), primary_key=True),
    Column("data", LargeBinary, nullable=False),  # sketch.encode(...)
)

sketch_shape = Table(
    "sketch_shape",
    metadata,
    Column("shape", BigInteger, primary_key=True),  # search.shape_key(...) of its largest shapes
    Column("sketch_id", Integer, ForeignKey("sketch.id", ondelete="CASCADE"), primary_key=True),
    Index("sketch_shape_sketch", "sketch_id"),
    sqlite_with_rowid=False,
)

# The best parent that was offered for a file, so that a better one that comes later is known for it.
kin = Table(
    "kin",
    metadata,
    Column("child_id", Integer, ForeignKey("sketch.id", ondelete="CASCADE"), primary_key=True),
    Column("parent_id", Integer, ForeignKey("sketch.id", ondelete="CASCADE"), primary_key=True),
    Column("score", Float, nullable=False),  # the share of the file that the parent is expected to save
    Column("why", Text, nullable=False),  # declared | repo | similar
    Index("kin_parent", "parent_id"),
)
