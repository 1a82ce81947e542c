"""`headwater export` and `headwater import`: repos in a folder that is carried to another hub, or away for good.

Both work beside a running hub. What was done goes to stdout, progress to stderr.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from headwater.cli.shared import bar, data_option, json_option, rooms_of, type_option
from headwater.ground import names
from headwater.ground.errors import Invalid, Unavailable
from headwater.ground.names import REPO_TYPES, RepoId

if TYPE_CHECKING:
    from headwater.carry.export import Rooms as Carrying
    from headwater.carry.landing import Landed
    from headwater.front.rooms import Rooms

_SIZE = re.compile(r"(\d{1,18})\s*([KMGT]?)(i?)B?\Z", re.IGNORECASE)
_POWERS = ("", "K", "M", "G", "T")
PART_SIZE = "4GB"  # the largest round size that a FAT32 stick takes


def size_bytes(text: str) -> int:
    """`4GB` is 4,000,000,000 bytes, `4GiB` 4,294,967,296. Invalid for anything else."""
    found = _SIZE.match(text.strip())
    if found is None:
        raise Invalid(f"part size: {text[:40]!r} is not a size such as 4GB, 650MB or 4GiB")
    return int(found[1]) * int((1024 if found[3] else 1000) ** _POWERS.index(found[2].upper()))


def _bar(what: str) -> AbstractContextManager[Callable[[int, int], None]]:
    """Of bytes."""
    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return bar(what, *columns)


def _carrying(rooms: Rooms) -> Carrying:
    from headwater.carry.export import Rooms as Carrying

    data = Path(rooms.settings.data).resolve()
    return Carrying(data, rooms.settings, rooms.clock, rooms.db, rooms.repos, rooms.store)


def _wanted(rooms: Rooms, repos: Sequence[str], kind: str, *, every: bool) -> list[RepoId]:
    """The named repos (`datasets/...` says another type for one of them), or all that there are."""
    from sqlalchemy import select

    from headwater.repos.tables import repo

    if bool(repos) is every:
        raise Invalid("name the repos to export, or say --all")
    if every:
        with rooms.db.read() as connection:
            rows = connection.execute(
                select(repo).where(repo.c.state == "live").order_by(repo.c.type, repo.c.key)
            ).all()
        return [RepoId(row.type, row.namespace, row.name) for row in rows]
    found: dict[RepoId, None] = {}
    for text in repos:
        prefix, _, rest = text.partition("/")
        typed = prefix in [f"{one}s" for one in REPO_TYPES]
        found[names.repo_id(names.repo_type(prefix if typed else kind), rest if typed else text)] = None
    return list(found)


@click.command()
@click.argument("repos", nargs=-1, metavar="REPO...")
@click.option("--to", "folder", type=click.Path(file_okay=False, path_type=Path), required=True,
              help="An empty or new folder.")  # fmt: skip
@click.option("--all", "every", is_flag=True, help="Every repo of the hub, instead of naming them.")
@type_option("REPO")
@click.option("--revision", metavar="REV", help="Only the files of this branch, tag or commit, without history.")
@click.option("--pulls", is_flag=True, help="The refs of pull requests too.")
@click.option("--part-size", default=PART_SIZE, show_default=True, help="What a file of the bundle may have at most.")
@data_option
@json_option
def export(
    repos: tuple[str, ...],
    folder: Path,
    *,
    every: bool,
    kind: str,
    revision: str | None,
    pulls: bool,
    part_size: str,
    data: str | None,
    as_json: bool,
) -> None:
    """Write repos with history and all files into a folder. Also while the hub serves.

    Private repos too: whoever has the folder has them. The last line is the SHA-256 of the bundle's manifest; tell it
    to whoever imports the bundle, by another way than the bundle itself.
    """
    from headwater.carry import export as exporting

    with rooms_of(data) as rooms, _bar("exporting") as show:
        wanted = exporting.Wanted(_wanted(rooms, repos, kind, every=every), revision, pulls)
        report = exporting.export(_carrying(rooms), wanted, folder, size_bytes(part_size), show)
    if as_json:
        click.echo(msgspec.json.encode(report))
        return
    click.echo(
        f"{folder} holds {report.repos} repos: {report.files} files, {report.size_bytes} bytes, {report.parts} parts"
    )
    click.echo(f"manifest SHA-256 {report.manifest_sha256}")


@click.command("import")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--into", metavar="NAMESPACE", help="Put the repos under this user or organization.")
@click.option("--as", "name", metavar="NAME", help="Another id for the bundle's only repo.")
@click.option("--expect", metavar="SHA256", help="What `headwater export` said of the manifest.")
@click.option("--force", is_flag=True, help="Have what the bundle says, also where commits made here are lost.")
@click.option("--again", is_flag=True, help="Also a bundle that is older than what was imported.")
@data_option
@json_option
def import_(
    folder: Path,
    *,
    into: str | None,
    name: str | None,
    expect: str | None,
    force: bool,
    again: bool,
    data: str | None,
    as_json: bool,
) -> None:
    """Take in the repos of the bundle FOLDER. Those that the hub has are brought up to date.

    Everything in the bundle is checked before anything of it can be seen. Without a running hub this needs the data
    folder for itself. Run again, it changes nothing.
    """
    from headwater.carry import importing

    wish = importing.Wish(into, name, expect, force, again)
    with rooms_of(data) as rooms, ExitStack() as stack:
        owning = _owning(rooms, stack)
        steps = importing.Steps(_lazily(stack, "checking"), _lazily(stack, "storing"))
        landed = importing.receive(_carrying(rooms), rooms.accounts, folder, wish, owning=owning, steps=steps)
        for one in landed:
            click.echo(msgspec.json.encode(one) if as_json else _line(one))


def _owning(rooms: Rooms, stack: ExitStack) -> Callable[[], AbstractContextManager[object]]:
    """Owns the data folder from now on if nobody else does; else tries again whenever it is called."""
    from headwater import app as root

    @contextmanager
    def own() -> Iterator[None]:
        with root.owning(Path(rooms.settings.data)):
            root.prepare(rooms)
            yield

    try:
        stack.enter_context(own())
    except Unavailable:
        return own
    return nullcontext


def _lazily(stack: ExitStack, what: str) -> Callable[[int, int], None]:
    """A bar that appears with the first step and goes with the last."""
    shown: list[Callable[[int, int], None]] = []
    own = stack.enter_context(ExitStack())

    def show(done: int, total: int) -> None:
        if not shown:
            shown.append(own.enter_context(_bar(what)))
        shown[0](done, total)
        if done >= total:
            own.close()
            shown[:] = [lambda _done, _total: None]

    return show


def _line(one: Landed) -> str:
    parts = [f"{len(one.moved)} refs" if one.moved else "as in the bundle"]
    if one.ahead:
        parts.append(f"ahead of the bundle: {', '.join(one.ahead[:10])}")
    return f"{one.repo}: {'created, ' if one.created else ''}{'; '.join(parts)}"
