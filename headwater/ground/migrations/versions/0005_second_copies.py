"""When a repo was deleted, so that it can be brought back for a while; second copies of what families stand on."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = (
    "ALTER TABLE repo ADD COLUMN deleted_ms BIGINT",
    "CREATE INDEX repo_deleted ON repo (deleted_ms) WHERE deleted_ms IS NOT NULL",
    """
    CREATE TABLE tensor_copy (
        tensor INTEGER NOT NULL,
        pack INTEGER NOT NULL,
        start BIGINT NOT NULL,
        PRIMARY KEY (tensor),
        FOREIGN KEY(tensor) REFERENCES tensor (id),
        FOREIGN KEY(pack) REFERENCES pack (id)
    )
    """,
    "CREATE INDEX tensor_copy_pack ON tensor_copy (pack)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
