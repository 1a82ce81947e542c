"""Days of each repo: what was served, beside the count of downloads."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = (
    """
    CREATE TABLE pull_day (
        repo_id INTEGER NOT NULL,
        day INTEGER NOT NULL,
        downloads BIGINT NOT NULL,
        pulls BIGINT NOT NULL,
        pulls_ci BIGINT NOT NULL,
        heads BIGINT NOT NULL,
        clients BIGINT NOT NULL,
        bytes BIGINT NOT NULL,
        PRIMARY KEY (repo_id, day),
        FOREIGN KEY(repo_id) REFERENCES repo (id) ON DELETE CASCADE
    ) WITHOUT ROWID
    """,
    """
    CREATE INDEX pull_day_day ON pull_day (day)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
