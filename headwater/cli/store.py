"""`headwater store`: sealing by hand and what it brought; also while the hub runs.

Progress goes to stderr. With `--json` each file is a line of its own, so that long work can be followed by programs.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headwater.accounts import OPERATOR
from headwater.cli.shared import bar, data_option, json_option, rooms_of, settings_of
from headwater.ground import names
from headwater.ground.errors import Corrupt, EntryMissing, HeadwaterError, Invalid, Unavailable
from headwater.ground.names import REPO_TYPES, Sha256

if TYPE_CHECKING:
    from headwater.front.rooms import Rooms
    from headwater.store.seal import Report

IDLE_S = 60.0  # the sealing process waits so long for more work: starting it costs seconds
LOOK_S = 1.0
KIB = 1024

type_option = click.option("--type", "kind", type=click.Choice(REPO_TYPES), default="model", show_default=True)


@dataclass(frozen=True, slots=True)
class File:
    """A stored file that a repo holds; `name` is the path it was last committed under."""

    repo: str
    name: str
    sha256: Sha256
    size: int


def size_text(size_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size_bytes) < KIB:
            return f"{size_bytes:.4g} {unit}"
        size_bytes /= KIB
    return f"{size_bytes:.4g} TiB"


def _files(rooms: Rooms, kind: str, name: str | None) -> list[File]:
    """The files of one repo, or of all; each once, the largest first: what others were made from is often larger."""
    from sqlalchemy import select

    from headwater.repos.tables import repo

    if name is not None:
        repos = [rooms.repos.registry.open(OPERATOR, names.repo_id(names.repo_type(kind), name), "read")]
        ids = [(repos[0].id, repos[0].rid.full)]
    else:
        with rooms.db.read() as connection:
            rows = connection.execute(select(repo).where(repo.c.state == "live").order_by(repo.c.created_ms)).all()
        ids = [(row.id, f"{row.namespace}/{row.name}" if row.namespace else row.name) for row in rows]
    found: dict[Sha256, File] = {}
    for repo_id, full in ids:
        after = ""
        mine: list[File] = []
        while page := rooms.repos.holds.lfs_files(repo_id, after):
            mine += [File(full, one.path, one.sha256, one.size_bytes) for one in page]
            after = page[-1].sha256
        for file in sorted(mine, key=lambda one: -one.size):
            found.setdefault(file.sha256, file)
    return list(found.values())


@click.group("store")
def store_commands() -> None:
    """How files are stored: seal them, see what it brought, check, pause."""


def _chosen(name: str | None, all_repos: bool) -> None:
    if (name is None) is not all_repos:
        raise Invalid("name a repo, or say --all")


@store_commands.command("seal")
@click.argument("repo", required=False)
@click.option("--all", "all_repos", is_flag=True, help="Every file of every repo.")
@type_option
@data_option
@json_option
def seal(repo: str | None, all_repos: bool, kind: str, data: str | None, as_json: bool) -> None:
    """Seal the files of REPO now, against related ones where that pays."""
    _chosen(repo, all_repos)
    _store_all(data, kind, repo, as_json, anew=False)


@store_commands.command("rebase")
@click.argument("repo", required=False)
@click.option("--all", "all_repos", is_flag=True, help="Every file of every repo.")
@type_option
@data_option
@json_option
def rebase(repo: str | None, all_repos: bool, kind: str, data: str | None, as_json: bool) -> None:
    """Store the sealed files of REPO anew where a better parent is known by now, or theirs must not be one any more."""
    _chosen(repo, all_repos)
    _store_all(data, kind, repo, as_json, anew=True)


def _store_all(data: str | None, kind: str, repo: str | None, as_json: bool, *, anew: bool) -> None:
    from headwater import app as root
    from headwater.lineage.job import relative_of

    failed = 0
    with rooms_of(data) as rooms, bar("looking") as show:
        sealing = root.sealing_of(rooms, lambda: True, show)
        work = sealing.work
        files = _files(rooms, kind, repo)
        for number, file in enumerate(files):
            work.look(file.sha256, file.name, file.size)
            show(number + 1, len(files))
        for file in files:
            found = work.parents.relatives(file.sha256) if anew else work.parents.candidates(file.sha256)
            relatives = [relative_of(one) for one in found]
            try:
                how = sealing.rebaser.rebase if anew else sealing.sealer.seal
                report = how(file.sha256, file.name, relatives)
            except EntryMissing:
                continue  # collected meanwhile
            except HeadwaterError as error:
                failed += 1
                told = {"repo": file.repo, "file": file.name, "sha256": file.sha256, "error": error.text}
                _say(as_json, told, f"{file.repo}/{file.name}: {error.text}")
                continue
            work.parents.record(file.sha256, found)
            _say(as_json, {"repo": file.repo, "file": file.name, **msgspec.to_builtins(report)}, _line(file, report))
    if failed:
        sys.exit(Corrupt.exit_status)


def _say(as_json: bool, told: Any, text: str) -> None:
    click.echo(msgspec.json.encode(told) if as_json else text)


def _line(file: File, report: Report) -> str:
    where = f"{file.repo}/{file.name}"
    if report.note:
        return f"{where}: {report.note}"
    parts = f"{report.tensors} tensors, {report.same} stored before, {report.derived} on parents"
    return f"{where}: {size_text(report.size)} in {size_text(report.stored_bytes)} ({parts})"


@store_commands.command("stats")
@data_option
@json_option
def stats(data: str | None, as_json: bool) -> None:
    """What the store holds, what it takes, and how its tensors are stored."""
    from headwater.store import report
    from headwater.store.sealing import is_paused

    with rooms_of(data) as rooms:
        found = report.stats(rooms.store)
        paused = is_paused(rooms.store.objects.root)
    if as_json:
        click.echo(msgspec.json.encode({**msgspec.to_builtins(found), "paused": paused}))
        return
    kept, waiting = found.kept, found.undecided
    free = size_text(found.packs_bytes - found.live_bytes)
    lines = [
        f"{found.files} files, {size_text(found.raw_bytes)} as they were sent, take {size_text(found.disk_bytes)}",
        f"  sealed   {found.sealed} ({size_text(found.sealed_raw_bytes)}); {kept} stay raw, {waiting} not decided",
        f"  packs    {found.packs} with {found.tensors} tensors, {size_text(found.packs_bytes)} ({free} of it free)",
        f"  twice    {found.copies} tensors that many others stand on, {size_text(found.copies_bytes)} for second ones",
        f"  raw      {size_text(found.raw_copies_bytes)} of sealed files are still kept raw as well",
        f"  damaged  {found.damaged}",
        *(["  sealing is paused"] if paused else []),
    ]
    click.echo("\n".join(lines))
    rows = [
        (one.kind, str(one.tensors), size_text(one.raw_bytes), size_text(one.stored_bytes), _share(one))
        for one in found.kinds
    ]
    _table(("stored as", "tensors", "raw", "takes", "left"), rows)


def _share(one: Any) -> str:
    return f"{100 * one.stored_bytes / one.raw_bytes:.3g} %" if one.raw_bytes else ""


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        return
    table = Table(box=None, pad_edge=False)
    for number, title in enumerate(titles):
        table.add_column(title, overflow="fold", justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # as Text: brackets in a name are no markup
    Console(soft_wrap=True).print(table)


@store_commands.command("explain")
@click.argument("repo")
@click.argument("file", required=False)
@type_option
@data_option
@json_option
def explain(repo: str, file: str | None, kind: str, data: str | None, as_json: bool) -> None:
    """What the files of REPO cost, or FILE tensor by tensor: how each is stored, on what, and why."""
    from headwater.store import report

    with rooms_of(data) as rooms:
        files = [one for one in _files(rooms, kind, repo) if file is None or one.name == file]
        if file is not None and not files:
            raise EntryMissing(file, text=f"{repo} holds no large file {file!r}; small ones lie in git")
        found = [(one, report.explain(rooms.store, one.sha256, one.name)) for one in files]
    if as_json:
        click.echo(msgspec.json.encode([{"file": one.name, **msgspec.to_builtins(costs)} for one, costs in found]))
        return
    for one, costs in found:
        click.echo(
            f"{one.name}: {size_text(costs.size)}, {costs.state}{': ' + costs.note if costs.note else ''}; takes "
            f"{size_text(costs.own_bytes)} alone and {size_text(costs.shared_bytes)} shared with other files"
        )
        if file is not None:
            _table(("tensor", "dtype", "shape", "takes", "alone", "stored as", "why", "depth"), _rows(costs))


def _rows(costs: Any) -> list[tuple[str, ...]]:
    return [
        (
            one.name,
            one.dtype,
            "x".join(map(str, one.shape)),
            f"{100 * one.stored_bytes / max(one.raw_bytes, 1):.3g} %",
            f"{100 * one.alone_bytes / max(one.raw_bytes, 1):.3g} %",
            f"{one.kind}{f', shared by {one.others + 1} files' if one.others else ''}",
            one.why,
            str(one.depth),
        )
        for one in costs.tensors
    ]


@store_commands.command("leave")
@click.argument("repo")
@type_option
@data_option
@json_option
def leave(repo: str, kind: str, data: str | None, as_json: bool) -> None:
    """What deleting REPO would free, and what would stay, for whom. Nothing is deleted."""
    from headwater.upkeep import leaving

    with rooms_of(data) as rooms:
        found = rooms.repos.registry.open(OPERATOR, names.repo_id(names.repo_type(kind), repo), "read")
        with rooms.db.read() as connection:
            left = leaving.leaving(connection, OPERATOR, found.id, rooms.clock.now_ms())
        text = leaving.sentence(left, rooms.settings.undelete_s)
    _say(as_json, {**msgspec.to_builtins(left), "kept_for": [one.full for one in left.kept_for]}, text)


@store_commands.command("verify")
@data_option
@click.option("--read-data", "read_percent", type=click.FloatRange(0, 100), default=100.0, show_default=True,
              help="Percent of the stored bytes to read and hash.")  # fmt: skip
@json_option
def verify(data: str | None, read_percent: float, as_json: bool) -> None:
    """Check the store alone: objects, packs, tensors and files. Exit status 22 if anything is wrong."""
    import random

    from headwater.store import check

    problems: list[Any] = []
    done = 0
    with rooms_of(data) as rooms, bar("verifying") as show:
        total = check.count(rooms.store)

        def step(count: int) -> None:
            nonlocal done
            done += count
            show(done, total)

        for finding in check.check(rooms.store, rooms.xets, read_percent, random.Random(), step):  # noqa: S311 - a sample
            problems.append(finding)
            if not as_json:
                click.echo(f"{finding.what} {finding.name}: {finding.text}")
    if as_json:
        click.echo(msgspec.json.encode({"checked": done, "read_percent": read_percent, "problems": problems}))
    else:
        click.echo(f"{done} objects, tensors and files checked, {len(problems)} problems")
    if problems:
        sys.exit(Corrupt.exit_status)


@store_commands.command("sweep")
@data_option
@json_option
def sweep(data: str | None, as_json: bool) -> None:
    """Collect what nobody needs. Beside a running hub: tensors and packs only; the hub does the rest every hour."""
    from headwater import app as root
    from headwater.store import sweep as sweeping

    settings = settings_of(data)
    try:
        with root.owning(Path(settings.data)), rooms_of(data) as rooms:
            root.prepare(rooms)
            found: Any = root.upkeep_of(rooms).collect()
    except Unavailable:
        with rooms_of(data) as rooms:
            tensors = sweeping.tensors(rooms.store)
            packs = sweeping.packs(rooms.store)
            found = sweeping.Swept(tensors=tensors.tensors, packs=packs.packs, freed_bytes=packs.freed_bytes)
    text = f"{found.blobs} files, {found.tensors} tensors and {found.packs} packs collected, "
    _say(as_json, found, f"{text}{size_text(found.freed_bytes)} freed")


@store_commands.command("purge")
@click.argument("sha256", nargs=-1, required=True)
@click.confirmation_option(prompt="Destroy these files, so that nothing of them can be read again?")
@data_option
@json_option
def purge(sha256: tuple[str, ...], data: str | None, as_json: bool) -> None:
    """Destroy files that no repo holds any more, by their SHA-256, and all that is stored of them.

    What others were stored on them is stored anew first. Then the packs are overwritten. Deleted repos that hold one
    of them can't be brought back any more. The hub must not run.
    """
    from headwater import app as root
    from headwater.store import purge as purging
    from headwater.store.rebase import Rebaser

    settings = settings_of(data)
    with root.owning(Path(settings.data)), rooms_of(data) as rooms, bar("storing anew") as show:
        root.prepare(rooms)
        files = [names.sha256(one) for one in sha256]
        for rid in rooms.repos.registry.purge_holders(files):
            click.echo(f"{rid.type} {rid.full} was deleted, and can't be brought back any more", err=True)
        found = purging.purge(rooms.store, rooms.xets, Rebaser(rooms.store, progress=show), files)
    _say(as_json, found, f"{found.files} files destroyed, {found.anew} tensors of others stored anew")


@store_commands.command("pause")
@data_option
def pause(data: str | None) -> None:
    """Seal nothing until `resume`, whatever the setting says. What is sealed stays, and is served."""
    from headwater.store import sealing

    sealing.pause(Path(settings_of(data).data) / "store")
    click.echo("Sealing is paused; a file under way is given up within a minute or so.", err=True)


@store_commands.command("resume")
@data_option
def resume(data: str | None) -> None:
    """Undo `pause`."""
    from headwater.store import sealing

    sealing.resume(Path(settings_of(data).data) / "store")


@store_commands.command("work", hidden=True)
@data_option
def work(data: str | None) -> None:
    """What the serving process starts beside itself: seals what is due, and ends when nothing is."""
    from headwater import app as root
    from headwater.ground import log
    from headwater.ground.jobs import Runner
    from headwater.store import sealing

    settings = settings_of(data)
    log.configure(settings.log_level, settings.log_json)
    sealing.be_the_child()
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the whole group; the parent says when
    with rooms_of(data) as rooms:
        store = rooms.store.objects.root

        def going() -> bool:
            return not stopped and not sealing.is_paused(store)

        made = root.sealing_of(rooms, going, lambda _done, _total: None)
        runner = Runner(rooms.db, rooms.clock, made.work.handlers)
        last_s = rooms.clock.tick_s()
        while going() and rooms.clock.tick_s() - last_s < IDLE_S:
            if runner.drain(jobs_max=1):
                last_s = rooms.clock.tick_s()
            else:
                time.sleep(LOOK_S)
