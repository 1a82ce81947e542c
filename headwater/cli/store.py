"""`headwater store`: sealing by hand and what it brought; also while the hub runs.

Progress goes to stderr. With `--json` each file is a line of its own, so that long work can be followed by programs.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headwater.accounts import OPERATOR
from headwater.cli.shared import bar, data_option, json_option, rooms_of, settings_of, type_option
from headwater.ground import names
from headwater.ground.errors import Corrupt, EntryMissing, HeadwaterError, Invalid, Unavailable
from headwater.ground.names import Sha256

if TYPE_CHECKING:
    from headwater.app import Sealing
    from headwater.front.rooms import Rooms
    from headwater.store.report import Costs
    from headwater.store.seal import Report

IDLE_S = 60.0  # the sealing process waits so long for more work: starting it costs seconds
LOOK_S = 1.0
KIB = 1024
UNFOLDED_COLUMNS = 4_096  # wider than any row


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
    """How files are stored: seal them, see why, check, pause."""


def _chosen(name: str | None, all_repos: bool) -> None:
    if (name is None) is not all_repos:
        raise Invalid("name a repo, or say --all")


@store_commands.command("seal")
@click.argument("repo", required=False)
@click.option("--all", "all_repos", is_flag=True, help="Every file of every repo.")
@type_option("REPO")
@data_option
@json_option
def seal(repo: str | None, all_repos: bool, kind: str, data: str | None, as_json: bool) -> None:
    """Seal the files of REPO now, against related ones where that pays."""
    _chosen(repo, all_repos)
    _store_all(data, kind, repo, as_json, anew=False)


@store_commands.command("rebase")
@click.argument("repo", required=False)
@click.option("--all", "all_repos", is_flag=True, help="Every file of every repo.")
@type_option("REPO")
@data_option
@json_option
def rebase(repo: str | None, all_repos: bool, kind: str, data: str | None, as_json: bool) -> None:
    """Store the sealed files of REPO anew where a better parent is known by now, or theirs must not be one any more."""
    _chosen(repo, all_repos)
    _store_all(data, kind, repo, as_json, anew=True)


def _store_all(data: str | None, kind: str, repo: str | None, as_json: bool, *, anew: bool) -> None:
    from headwater import app as root
    from headwater.store.sealing import is_paused

    failed: set[int] = set()
    with rooms_of(data) as rooms, bar("looking") as show:
        if is_paused(rooms.store.objects.root):
            click.echo("Sealing is paused; what is asked for by hand is done all the same.", err=True)
        sealing = root.sealing_of(rooms, lambda: True, show)
        work = sealing.work
        files = _files(rooms, kind, repo)
        if not files:
            click.echo("No stored files: what is small lies in git.", err=True)
        for number, file in enumerate(files):
            work.look(file.sha256, file.name, file.size)
            show(number + 1, len(files))
        for file in files:
            try:
                report = _stored(sealing, file.sha256, anew)
            except EntryMissing:
                continue  # collected meanwhile
            except HeadwaterError as error:
                failed.add(error.exit_status)
                told = {"repo": file.repo, "file": file.name, "sha256": file.sha256, "error": error.text}
                _say(as_json, told, f"{file.repo}/{file.name}: {error.text}")
                continue
            _say(as_json, {"repo": file.repo, "file": file.name, **msgspec.to_builtins(report)}, _line(file, report))
    if failed:
        sys.exit(max(failed))  # damage before anything else


def _stored(sealing: Sealing, sha256: Sha256, anew: bool) -> Report:
    """Seals a file, or stores it anew. EntryMissing if no live repo holds it any more."""
    work = sealing.work
    found = work.parents.relatives(sha256) if anew else work.parents.candidates(sha256)
    offer = work.offer(sha256, found)
    if offer is None:
        raise EntryMissing(sha256)
    if anew:
        report = sealing.rebaser.rebase(sha256, *offer)
        work.parents.record(sha256, found)
        return report
    report = sealing.sealer.seal(sha256, *offer)
    work.settle(sha256, found)
    if work.parents.forbidden(sha256):  # at once; should it fail, the hub does it, as it does all else that follows
        _stored(sealing, sha256, anew=True)
    return report


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
    # A terminal folds what is too wide for it; a file or a program gets a line a row.
    Console(soft_wrap=True, width=None if sys.stdout.isatty() else UNFOLDED_COLUMNS).print(table)


@store_commands.command("explain")
@click.argument("repo")
@click.argument("file", required=False)
@type_option("REPO")
@data_option
@json_option
def explain(repo: str, file: str | None, kind: str, data: str | None, as_json: bool) -> None:
    """What the files of REPO cost, or FILE tensor by tensor: how each is stored, on what, and why."""
    with rooms_of(data) as rooms:
        files = [one for one in _files(rooms, kind, repo) if file is None or one.name == file]
        if file is not None and not files:
            raise EntryMissing(file, text=f"{repo} holds no large file {file!r}; small ones lie in git")
        found = [(one, _costs(rooms, one)) for one in files]
        parents = _files_of(rooms, {key for _, costs in found for tensor in costs.tensors for key in tensor.parents})
    if as_json:
        click.echo(msgspec.json.encode([_explained(one, costs, parents) for one, costs in found]))
        return
    for one, costs in found:
        click.echo(
            f"{one.name}: {size_text(costs.size)}, {costs.state}{': ' + costs.note if costs.note else ''}; takes "
            f"{size_text(costs.own_bytes)} alone and {size_text(costs.shared_bytes)} shared with other files"
        )
        if file is not None:
            _table(
                ("tensor", "dtype", "shape", "raw", "takes", "left", "alone", "stored as", "on", "why", "depth"),
                _rows(costs, parents),
            )


def _costs(rooms: Rooms, file: File) -> Costs:
    from headwater.lineage import graphs
    from headwater.store import report

    with rooms.db.read() as connection:
        place = graphs.place(connection, file.sha256) or graphs.Place(file.name)
    return report.explain(rooms.store, file.sha256, place.path, place.beside)


def _files_of(rooms: Rooms, keys: Collection[str]) -> dict[str, str]:
    """Stored tensors by key, each in the file that brought it first, as repo/path. Those that no live repo has lack."""
    from sqlalchemy import select

    from headwater.ground.db import batches
    from headwater.repos.tables import hold, repo
    from headwater.store.tables import blob_tensor, tensor

    found: dict[str, str] = {}
    with rooms.db.read() as connection:
        for batch in batches(sorted(keys)):
            rows = connection.execute(
                select(tensor.c.key, repo.c.namespace, repo.c.name, hold.c.path)
                .join_from(tensor, blob_tensor, blob_tensor.c.tensor == tensor.c.id)
                .join(hold, hold.c.sha256 == blob_tensor.c.sha256)
                .join(repo, repo.c.id == hold.c.repo_id)
                .where(
                    tensor.c.key.in_([bytes.fromhex(key) for key in batch]), hold.c.committed, repo.c.state == "live"
                )
                .order_by(repo.c.created_ms, repo.c.id)
            )
            for key, *place in rows:
                found.setdefault(key.hex(), "/".join(part for part in place if part))
    return found


def _explained(file: File, costs: Any, parents: Mapping[str, str]) -> dict[str, Any]:
    shown = {"file": file.name, **msgspec.to_builtins(costs)}
    for one in shown["tensors"]:
        one["stored_on"] = [parents.get(key) for key in one["parents"]]
    return shown


def _rows(costs: Any, parents: Mapping[str, str]) -> list[tuple[str, ...]]:
    return [
        (
            one.name,
            one.dtype,
            "x".join(map(str, one.shape)),
            size_text(one.raw_bytes),
            size_text(one.stored_bytes),
            f"{100 * one.stored_bytes / max(one.raw_bytes, 1):.3g} %",
            f"{100 * one.alone_bytes / max(one.raw_bytes, 1):.3g} %",
            f"{one.kind}{f', shared by {one.others + 1} files' if one.others else ''}",
            ", ".join(dict.fromkeys(parents.get(key, "a deleted repo's file") for key in one.parents)),
            one.why,
            str(one.depth),
        )
        for one in costs.tensors
    ]


@store_commands.command("leave")
@click.argument("repo")
@type_option("REPO")
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
    from headwater.upkeep.verify import touched

    problems: list[Any] = []
    done = 0
    with rooms_of(data) as rooms, bar("verifying") as show:
        total = check.count(rooms.store)

        def step(count: int) -> None:
            nonlocal done
            done += count
            show(done, total)

        for finding in check.check(rooms.store, rooms.xets, read_percent, random.Random(), step):  # noqa: S311 - a sample
            named = [place.file for place in touched(rooms.db, finding)]
            problems.append({**msgspec.to_builtins(finding), "named": named})
            if not as_json:
                click.echo("\n  touches ".join([f"{finding.what} {finding.name}: {finding.text}", *named]))
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
    raw = ""
    with bar("collecting"):
        try:
            with root.owning(Path(settings.data)), rooms_of(data) as rooms:
                root.prepare(rooms)
                found: Any = root.upkeep_of(rooms).collect()
                raw = f", {found.raw_copies} raw copies of sealed files"
        except Unavailable:
            with rooms_of(data) as rooms:
                tensors = sweeping.tensors(rooms.store)
                packs = sweeping.packs(rooms.store)
                found = sweeping.Swept(tensors=tensors.tensors, packs=packs.packs, freed_bytes=packs.freed_bytes)
    text = f"{found.blobs} files{raw}, {found.tensors} tensors and {found.packs} packs collected, "
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
    from headwater.ground import jobs
    from headwater.lineage.following import RESEAL
    from headwater.store import purge as purging
    from headwater.store.rebase import Rebaser

    settings = settings_of(data)
    with root.owning(Path(settings.data)), rooms_of(data) as rooms, bar("storing anew") as show:
        root.prepare(rooms)
        files = [names.sha256(one) for one in sha256]
        for rid in rooms.repos.registry.purge_holders(files):
            click.echo(f"{rid.type} {rid.full} was deleted, and can't be brought back any more", err=True)

        def moved(dependants: Collection[Sha256]) -> None:
            """The hub will look for other relatives of theirs."""
            with rooms.db.write_soft() as connection:
                for one in dependants:
                    jobs.enqueue(connection, rooms.clock, RESEAL, one, {})

        found = purging.purge(rooms.store, rooms.xets, Rebaser(rooms.store, progress=show), files, moved)
    _say(as_json, found, f"{found.files} files destroyed, {found.anew} tensors of others stored anew")


@store_commands.command("pause")
@data_option
def pause(data: str | None) -> None:
    """Seal nothing until `resume` but by hand, whatever the setting says. What is sealed stays, and is served."""
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
            try:
                done = runner.drain(jobs_max=1)
            except Unavailable as error:  # a busy or full database; the job is still there
                log.log.warning("jobs wait", reason=error.text)
                done = 0
            if done:
                last_s = rooms.clock.tick_s()
            else:
                time.sleep(LOOK_S)
