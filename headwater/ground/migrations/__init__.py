"""The steps from each schema to the next: Alembic, forward only.

A database of a newer Headwater is refused politely; an older one is brought forward when the hub starts.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, inspect, text

from headwater.ground.errors import Unavailable

HEAD = "0001"
"""The newest revision in `versions/`; compared first, so that a usual start does not load Alembic."""


def upgrade(engine: Engine) -> None:
    with engine.connect() as connection:
        known = inspect(connection).has_table("alembic_version")
        at = connection.execute(text("SELECT version_num FROM alembic_version")).scalar() if known else None
    if at == HEAD:
        return
    if at is not None and at > HEAD:
        raise Unavailable(
            f"This data folder was written by a newer Headwater (schema {at}, this one knows {HEAD}). "
            "Start that version, or restore a backup made before the upgrade."
        )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
