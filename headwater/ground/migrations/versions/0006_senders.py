"""Who sent what no commit has named yet: only he may name it, and who may write to the repo."""

from alembic import op

revision = "0006"
down_revision = "0005"

STATEMENTS = (
    "ALTER TABLE hold ADD COLUMN sender_id INTEGER",
    "ALTER TABLE xorb_hold ADD COLUMN sender_id INTEGER",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
