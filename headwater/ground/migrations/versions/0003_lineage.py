"""Sketches of tensor files, what the search looks in, and which parents were offered."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = (
    """
    CREATE TABLE sketch (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        sha256 TEXT NOT NULL,
        tensors INTEGER NOT NULL,
        probes BLOB NOT NULL,
        made_ms BIGINT NOT NULL,
        UNIQUE (sha256),
        FOREIGN KEY(sha256) REFERENCES blob (sha256) ON DELETE CASCADE
    )
    """,
    """
    CREATE TABLE sketch_data (
        sketch_id INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (sketch_id),
        FOREIGN KEY(sketch_id) REFERENCES sketch (id) ON DELETE CASCADE
    )
    """,
    """
    CREATE TABLE sketch_shape (
        shape BIGINT NOT NULL,
        sketch_id INTEGER NOT NULL,
        PRIMARY KEY (shape, sketch_id),
        FOREIGN KEY(sketch_id) REFERENCES sketch (id) ON DELETE CASCADE
    ) WITHOUT ROWID
    """,
    """
    CREATE INDEX sketch_shape_sketch ON sketch_shape (sketch_id)
    """,
    """
    CREATE TABLE kin (
        child_id INTEGER NOT NULL,
        parent_id INTEGER NOT NULL,
        score FLOAT NOT NULL,
        why TEXT NOT NULL,
        PRIMARY KEY (child_id, parent_id),
        FOREIGN KEY(child_id) REFERENCES sketch (id) ON DELETE CASCADE,
        FOREIGN KEY(parent_id) REFERENCES sketch (id) ON DELETE CASCADE
    )
    """,
    """
    CREATE INDEX kin_parent ON kin (parent_id)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
