"""What commands over a data folder share: which folder, its rooms while they are asked, how work is told and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import Progress, ProgressColumn

from headwater.ground.errors import Invalid
from headwater.ground.settings import Settings, from_environment

if TYPE_CHECKING:
    from headwater.front.rooms import Rooms

data_option = click.option("--data", type=click.Path(file_okay=False), help="The hub's data folder.")
json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")


def settings_of(data: str | None) -> Settings:
    """Of a hub that is there: no command makes a data folder by mistake."""
    settings = from_environment(data=data)
    if not (Path(settings.data) / "headwater.sqlite").exists():
        raise Invalid(f"{Path(settings.data).resolve()} is no data folder of a hub; name one with --data")
    return settings


@contextmanager
def rooms_of(data: str | None) -> Iterator[Rooms]:
    from headwater import app as root

    rooms = root.open_rooms(settings_of(data))
    try:
        yield rooms
    finally:
        rooms.db.close()


@contextmanager
def bar(what: str, *columns: ProgressColumn) -> Iterator[Callable[[int, int], None]]:
    """Progress on stderr: `show(done, total)`."""
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
