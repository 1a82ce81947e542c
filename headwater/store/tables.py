"""The tables of `store`: which blobs there are and how each is rebuilt; which xorbs there are and what is in them;
which tensors lie in which pack, and what stands on what.
"""

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
    Column("sealed", LargeBinary),  # sealed.encode(...): how it is rebuilt from packs; none: it is not sealed
    Column("raw", Text, nullable=False, server_default=text("'here'")),  # here | gone: only the sealed copy is left
    Column("seal_ms", BigInteger),  # when it was sealed, or it was decided that it stays raw
    Column("seal_note", Text),  # why it stays raw
    Index("blob_xet_hash", "xet_hash"),
)

xorb = Table(
    "xorb",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("raw_bytes", BigInteger, nullable=False),
    Column("hashes", LargeBinary, nullable=False),  # n x 32 bytes
    Column("lengths", LargeBinary, nullable=False),  # n x uint32, little-endian
    Column("state", Text, nullable=False, server_default=text("'here'")),  # here | virtual | gone | damaged
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

pack = Table(
    "pack",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),  # up to its last entry; what follows is nobody's
    Column("created_ms", BigInteger, nullable=False),
    sqlite_autoincrement=True,  # a pack's name is never given twice: readers may still hold the old one
)

tensor = Table(
    "tensor",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", LargeBinary, nullable=False, unique=True),  # codec.key: of form and raw bytes
    Column("size", BigInteger, nullable=False),  # of the raw bytes
    Column("dtype", Text, nullable=False),
    Column("shape", Text, nullable=False),  # "4096,4096"
    Column("pack", ForeignKey("pack.id"), nullable=False),
    Column("start", BigInteger, nullable=False),  # of its entry in the pack
    Column("length", BigInteger, nullable=False),  # of the entry, its index included
    Column("index_bytes", Integer, nullable=False),  # the last so many bytes of the entry
    Column("depth", Integer, nullable=False),  # how many levels of parents it stands on
    Column("kind", Text, nullable=False),  # how it is stored, for people: "delta", "alone", ...
    Column("why", Text, nullable=False),  # why it was given these parents, for people
    Column("alone_bytes", BigInteger, nullable=False),  # what it would take without parents
    Column("state", Text, nullable=False, server_default=text("'whole'")),  # whole | damaged
    Column("created_ms", BigInteger, nullable=False),
    Index("tensor_pack", "pack"),
    sqlite_autoincrement=True,
)

tensor_parent = Table(
    "tensor_parent",
    metadata,
    Column("tensor", ForeignKey("tensor.id"), primary_key=True),
    Column("parent", ForeignKey("tensor.id"), primary_key=True),
    Index("tensor_parent_parent", "parent"),
)

blob_tensor = Table(
    "blob_tensor",
    metadata,
    Column("sha256", ForeignKey("blob.sha256"), primary_key=True),
    Column("tensor", ForeignKey("tensor.id"), primary_key=True),
    Index("blob_tensor_tensor", "tensor"),
)

# A second copy of an entry, byte for byte, in another pack: of tensors that many others stand on.
tensor_copy = Table(
    "tensor_copy",
    metadata,
    Column("tensor", ForeignKey("tensor.id"), primary_key=True),
    Column("pack", ForeignKey("pack.id"), nullable=False),
    Column("start", BigInteger, nullable=False),
    Index("tensor_copy_pack", "pack"),
)
