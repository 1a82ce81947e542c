"""Sealed files: packs, the tensors in them, what stands on what, and how a blob is rebuilt from them."""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    """
    ALTER TABLE blob ADD COLUMN sealed BLOB
    """,
    """
    ALTER TABLE blob ADD COLUMN raw TEXT DEFAULT 'here' NOT NULL
    """,
    """
    ALTER TABLE blob ADD COLUMN seal_ms BIGINT
    """,
    """
    ALTER TABLE blob ADD COLUMN seal_note TEXT
    """,
    """
    CREATE TABLE pack (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        size_bytes BIGINT NOT NULL,
        created_ms BIGINT NOT NULL
    )
    """,
    """
    CREATE TABLE tensor (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        "key" BLOB NOT NULL,
        size BIGINT NOT NULL,
        dtype TEXT NOT NULL,
        shape TEXT NOT NULL,
        pack INTEGER NOT NULL,
        start BIGINT NOT NULL,
        length BIGINT NOT NULL,
        index_bytes INTEGER NOT NULL,
        depth INTEGER NOT NULL,
        kind TEXT NOT NULL,
        why TEXT NOT NULL,
        alone_bytes BIGINT NOT NULL,
        state TEXT DEFAULT 'whole' NOT NULL,
        created_ms BIGINT NOT NULL,
        UNIQUE ("key"),
        FOREIGN KEY(pack) REFERENCES pack (id)
    )
    """,
    """
    CREATE INDEX tensor_pack ON tensor (pack)
    """,
    """
    CREATE TABLE tensor_parent (
        tensor INTEGER NOT NULL,
        parent INTEGER NOT NULL,
        PRIMARY KEY (tensor, parent),
        FOREIGN KEY(tensor) REFERENCES tensor (id),
        FOREIGN KEY(parent) REFERENCES tensor (id)
    )
    """,
    """
    CREATE INDEX tensor_parent_parent ON tensor_parent (parent)
    """,
    """
    CREATE TABLE blob_tensor (
        sha256 TEXT NOT NULL,
        tensor INTEGER NOT NULL,
        PRIMARY KEY (sha256, tensor),
        FOREIGN KEY(sha256) REFERENCES blob (sha256),
        FOREIGN KEY(tensor) REFERENCES tensor (id)
    )
    """,
    """
    CREATE INDEX blob_tensor_tensor ON blob_tensor (tensor)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
