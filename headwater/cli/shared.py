"""What commands over a data folder share: which folder, its rooms while they are asked, how work is told and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console
from rich.progress import Progress, ProgressColumn

from headwater.ground.errors import Invalid
from headwater.ground.names import REPO_TYPES
from headwater.ground.settings import Settings, from_environment

if TYPE_CHECKING:
    from headwater.front.rooms import Rooms

FC = TypeVar("FC", bound=Callable[..., Any])
FOLDER = click.Path(file_okay=False)
DATA_HELP = "The hub's data folder (./headwater-data)."
_DATA = "headwater.data"


def remembered_data(ctx: click.Context, _parameter: object = None, value: str | None = None) -> str | None:
    """What `--data` names, before the command's own name or behind it."""
    if value is not None:
        ctx.meta[_DATA] = value
    found: str | None = ctx.meta.get(_DATA)
    return found


def type_option(named: str) -> Callable[[FC], FC]:
    """`--type`, of the repo that the argument `named` names."""
    choice = click.Choice(REPO_TYPES)
    return click.option("--type", "kind", type=choice, default="model", show_default=True, help=f"What {named} is.")


data_option = click.option("--data", type=FOLDER, callback=remembered_data, help=DATA_HELP)
json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")


def settings_of(data: str | None) -> Settings:
    """Of a hub that is there: no command makes a data folder by mistake."""
    return of_a_hub(from_environment(data=data))


def of_a_hub(settings: Settings) -> Settings:
    """The same, or Invalid if the data folder is not there."""
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
    """Progress on stderr, if somebody looks: `show(done, total)`. In a file or a pipe it would be rubbish."""
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
