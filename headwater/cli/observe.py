"""`headwater observatory`: import other people's data, see what is here, make a snapshot of this hub.

Works on DATA/observatory, also while the hub runs. Reports go to stdout, progress to stderr. Questions, claims, charts
and reports are commands of the same group, in files of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from headwater.cli.shared import data_option, rooms_of
from headwater.ground.clock import SystemClock
from headwater.ground.errors import Invalid
from headwater.ground.settings import from_environment

if TYPE_CHECKING:
    from headwater.observatory.imports.door import Report
    from headwater.observatory.imports.own_events import Whose
    from headwater.observatory.world import World

json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
PROBLEMS_SHOWN = 10


def open_world(data: str | None) -> World:
    """DATA/observatory; a data folder without a hub will do."""
    from headwater.observatory.world import World

    return World(Path(from_environment(data=data).data) / "observatory")


class _Metered(Progress):
    """A bar that asks how far things are, each time it is drawn."""

    meter: Callable[[], float] | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        percent = self.meter() if self.meter is not None else -1.0
        if percent >= 0:
            for task in self.tasks:
                task.completed, task.total = percent, 100.0
        return super().get_renderables()


class Watching:
    """What goes on, as one line with a spinner on stderr."""

    def __init__(self, progress: _Metered) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None, amount="")

    def watch(self, percent: Callable[[], float]) -> None:
        self._progress.meter = percent

    def stage(self, text: str) -> None:
        # As plain text: a file's name is no markup.
        self._progress.update(self._task, description=Text(text).markup, completed=0, total=None, amount="")

    def done(self, count: int, total: int | None, unit: str) -> None:
        self._progress.update(self._task, completed=count, total=total, amount=f"{count:,} {unit}")


@contextmanager
def watching() -> Iterator[Watching]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[amount]}"))
    console, shown = Console(stderr=True), (*columns, TimeElapsedColumn())
    with _Metered(*shown, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Watching(progress)


@click.group()
def observatory() -> None:
    """The open-model ecosystem measured: import, ask, check."""


@observatory.command("import")
@click.argument("source")
@data_option
@click.option("--kind", default="", help="What SOURCE is, if its columns do not say so.")
@click.option("--name", default="", help="Name of the source; snapshots of one name are the same thing over time.")
@click.option("--date", "dated", default="", help="The data's date: YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, UTC.")
@click.option("--licence", default="", help="Licence of the data, kept with it.")
@click.option("--attribution", default="", help="Whom to name, kept with it.")
@click.option("--url", default="", help="Where the data is from, kept with it.")
@click.option("--ship", type=click.Choice(["yes", "facts-only"]), help="May the data be given to others?")
@json_option
def import_(
    *, source: str, data: str | None, kind: str, name: str, dated: str, licence: str, attribution: str, url: str,
    ship: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Make a dated snapshot of SOURCE: a file, a folder, or the address of a hub (https://huggingface.co).

    The same input twice is one snapshot. What could not be read is reported row by row and kept in the snapshot.
    Exit status 2 if a file of a folder could not be read at all; the others are then still imported.
    """
    from headwater.observatory.imports.door import KINDS, import_source
    from headwater.observatory.imports.job import Options

    if kind and kind not in KINDS:
        raise Invalid(f"--kind: {kind[:40]!r} is not one of {', '.join(KINDS)}")
    options = Options(
        kind=kind, name=name, date=dated, licence=licence, attribution=attribution, url=url, ship=ship or ""
    )
    with watching() as progress:
        reports = import_source(open_world(data), source, options, progress)
    _show_reports(reports, as_json)
    if any(report.error for report in reports):
        sys.exit(Invalid.exit_status)


@observatory.command("snapshot")
@data_option
@click.option("--name", default="", help="Name of the snapshots of this hub; default: own, or own-private.")
@click.option("--private", is_flag=True, help="Private models too. Everybody who sees the Observatory sees them then.")
@json_option
def snapshot(data: str | None, name: str, private: bool, as_json: bool) -> None:
    """Make a snapshot of this hub itself: its public models, their counts and every day's downloads and pulls."""
    from headwater.observatory.imports.door import snapshot_own
    from headwater.observatory.imports.job import Options

    with rooms_of(data) as rooms, watching() as progress:
        whose: Whose = "all" if private else "public"
        made = snapshot_own(open_world(data), rooms.db, SystemClock().now_ms(), Options(name=name), progress, whose)
    _show_reports([made], as_json)


@observatory.command("kinds")
def kinds() -> None:
    """List the kinds of sources that can be imported."""
    from headwater.observatory.imports.door import KINDS

    for kind, note in KINDS.items():
        click.echo(f"{kind:18}{note}")


@observatory.command("snapshots")
@data_option
@json_option
def snapshots(data: str | None, as_json: bool) -> None:
    """List the snapshots: what they are, of which day, how many rows, under which licence."""
    found = open_world(data).snapshots()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode([one.manifest for one in found]), indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for title in ("snapshot", "kind", "date", "rows", "unread", "licence", "ship"):
        table.add_column(title, overflow="fold", no_wrap=title == "snapshot")
    for one in found:
        said = one.manifest
        rows = ", ".join(f"{count:,} {name}" for name, count in said.rows.items() if name != "unread")
        cells = (said.id, said.source, said.date, rows, str(said.unread or ""), said.licence, said.ship)
        table.add_row(*(Text(cell) for cell in cells))
    Console().print(table)


@observatory.command("forget")
@click.argument("snapshot_id")
@data_option
def forget(snapshot_id: str, data: str | None) -> None:
    """Remove a snapshot; its source can be imported again."""
    world = open_world(data)
    one = next((one for one in world.snapshots() if one.id == snapshot_id), None) or world.snapshot(snapshot_id)
    if one.id != snapshot_id:
        raise Invalid(f"forget: name the whole id, {one.id}")
    world.remove(one)
    click.echo(f"Removed {one.id}.", err=True)


@observatory.command("registry")
@click.argument("account", required=False)
@data_option
@json_option
def registry(account: str | None, data: str | None, as_json: bool) -> None:
    """The organisations in force; with ACCOUNT, every row about it, the last one that holds deciding."""
    found = open_world(data).registry()
    rows = [row for row in found.rows if account is None or row.account == account]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode({"version": found.version, "rows": rows}), indent=2))
        return
    table = Table(box=None, pad_edge=False)
    titles = ("account", "country", "override", "organisation", "parent", "type", "valid", "evidence", "conflict",
              "source")  # fmt: skip
    for title in titles:
        table.add_column(title, overflow="fold", no_wrap=title == "account")
    for row in rows:
        valid = f"{row.valid_from or ''}..{row.valid_to or ''}" if row.valid_from or row.valid_to else ""
        cells = (row.account, row.country, row.override, row.organisation, row.parent, row.type, valid)
        table.add_row(*(Text(cell) for cell in (*cells, row.evidence, row.conflict, row.source)))
    Console().print(table)
    click.echo(f"{len(rows)} rows, version {found.version}", err=True)


def _show_reports(reports: list[Report], as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(reports), indent=2))
        return
    console = Console(highlight=False)
    for report in reports:
        console.print(Text(_sentence(report)), soft_wrap=True)
        for problem in report.problems[:PROBLEMS_SHOWN]:
            what = "rows left out" if problem.dropped else "values"
            console.print(
                Text(f"    {problem.count:,} {what}: {problem.table}.{problem.field or '*'} {problem.why}"),
                soft_wrap=True,
            )
        if len(report.problems) > PROBLEMS_SHOWN:
            console.print(Text(f"    and {len(report.problems) - PROBLEMS_SHOWN} other kinds of problems"))
        for note in report.notes:
            console.print(Text(f"    {note}"), soft_wrap=True)


def _sentence(report: Report) -> str:
    if report.error:
        return f"{report.source}: not imported. {report.error}"
    rows = ", ".join(f"{count:,} {name}" for name, count in report.rows.items())
    known = "was here already" if report.already else f"{report.took_s:.1f} s"
    if not report.snapshot:
        return f"{report.name} ({report.kind}): {rows}; {known}"
    return f"{report.snapshot} ({report.kind}; dated {report.date}, {report.dated_by}): {rows}; {known}"
