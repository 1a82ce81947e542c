"""The first schema."""

from alembic import op

import headwater.accounts.tables
import headwater.catalog.tables
import headwater.ground.events
import headwater.ground.jobs
import headwater.repos.tables
import headwater.store.tables  # noqa: F401
from headwater.ground.db import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    metadata.create_all(op.get_bind())
