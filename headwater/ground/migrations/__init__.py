"""The steps from each schema to the next: Alembic, forward only.

A database of a newer Headwater is refused politely; an older one is brought forward when the hub starts. A new one is
made as the rooms declare it, without walking the steps: a test holds that both lead to the same, and a first start
does not load Alembic and what it brings (12 MB that a hub would keep for good).
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, MetaData, inspect, text

from headwater.ground.errors import Unavailable

HEAD = "0006"
"""The newest revision in `versions/`; compared first, so that a usual start does not load Alembic."""


def upgrade(engine: Engine, declared: MetaData) -> None:
    """To HEAD. Unavailable: the schema is a newer Headwater's. `declared`: the tables of all rooms."""
    with engine.connect() as connection:
        known = inspect(connection).has_table("alembic_version")
        at = connection.execute(text("SELECT version_num FROM alembic_version")).scalar() if known else None
        empty = not inspect(connection).get_table_names()
    if at == HEAD:
        return
    if empty and _made_anew(engine, declared):
        return
    if at is not None and at > HEAD:
        raise Unavailable(
            f"This data folder was written by a newer Headwater (schema {at}, this one knows {HEAD}). "
            "Start that version, or restore a backup made before the upgrade."
        )
    walk(engine)


def walk(engine: Engine) -> None:
    """Every step from what is there to HEAD."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _made_anew(engine: Engine, declared: MetaData) -> bool:
    """False if another process was quicker: then there is something to look at again."""
    with engine.begin() as connection:
        if inspect(connection).get_table_names():
            return False
        declared.create_all(connection)
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})
    return True
