"""What keeps a hub well, as commands: verify, backup, restore, rebuild, collect, and a check of a download."""

from __future__ import annotations

import hashlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from headwater import __version__
from headwater.cli.shared import bar, data_option, json_option, rooms_of, settings_of
from headwater.ground.clock import SystemClock, iso
from headwater.ground.errors import Corrupt, Invalid
from headwater.ground.settings import from_environment

READ_STEP = 1 << 20
NOTES = ".cache/huggingface/download"  # in a folder made with --local-dir: what the client downloaded, and when
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@click.command()
@data_option
@click.option("--read-data", "read_percent", type=click.FloatRange(0, 100), default=0.0, show_default=True,
              help="Percent of the stored bytes to read and hash.")  # fmt: skip
@json_option
def verify(data: str | None, read_percent: float, as_json: bool) -> None:
    """Check everything against its hash. Also while the hub serves. Exit status 22 if anything is wrong.

    \b
    headwater verify --read-data 5      # and read 5 % of the bytes, chosen by chance
    """  # noqa: D301 - a backspace as such: it tells click to keep the lines as they are
    from headwater.upkeep import verify as checking

    problems: list[checking.Problem] = []
    done = 0

    def tell(problem: checking.Problem) -> None:
        problems.append(problem)
        if not as_json:
            named = problem.files or problem.repos
            click.echo("\n  touches ".join([f"{problem.what} {problem.name}: {problem.text}", *named]))

    try:
        with rooms_of(data) as rooms, bar("verifying") as show:
            total = checking.count(rooms.db, rooms.store)

            def step(count: int) -> None:
                nonlocal done
                done += count
                show(done, total)

            for problem in checking.verify(rooms.db, rooms.repos, rooms.store, rooms.xets, read_percent, step):
                tell(problem)
    except Corrupt as error:
        # So damaged that it can't be opened, or not be read to its end: what it names can't be checked.
        database = Path(settings_of(data).data).resolve() / "headwater.sqlite"
        text = f"{error.text.replace(checking.ADVICE, '')} Nothing more can be checked; restore it from a backup."
        tell(checking.Problem("database", str(database), text))
    if as_json:
        click.echo(msgspec.json.encode({"checked": done, "read_percent": read_percent, "problems": problems}))
    else:
        click.echo(f"{done} objects and repos checked, {read_percent:g} % of the bytes read, {len(problems)} problems")
    if problems:
        sys.exit(Corrupt.exit_status)


@click.command()
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
@data_option
@json_option
def backup(target: Path, data: str | None, as_json: bool) -> None:
    """Copy the whole hub into the folder TARGET. Also while it serves; run again, it copies only what is new.

    \b
    headwater backup /mnt/backup/hub
    headwater restore /mnt/backup/hub --data /srv/headwater-restored
    """  # noqa: D301 - a backspace as such: it tells click to keep the lines as they are
    from headwater.upkeep import backup as keeping

    settings = settings_of(data)
    with bar("backing up") as show:
        report = keeping.backup(Path(settings.data), target, __version__, iso(SystemClock().now_ms()), show)
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        click.echo(
            f"{report.repos} repos and {report.objects} objects are in {target}, {report.copied_bytes} bytes of them "
            f"new; everything up to event {report.event_id}"
        )


@click.command()
@click.argument("source", type=click.Path(file_okay=False, exists=True, path_type=Path))
@data_option
def restore(source: Path, data: str | None) -> None:
    """Make a data folder out of the backup SOURCE. The folder must be empty or not exist."""
    from headwater.upkeep import backup as keeping

    folder = Path(from_environment(data=data).data)
    with bar("restoring") as show:
        manifest = keeping.restore(source, folder, show)
    click.echo(
        f"{folder} is the hub as of {manifest.made} (event {manifest.event_id}); "
        f"now run: headwater verify --data {shlex.quote(str(folder))}"
    )


@click.command()
@data_option
def rebuild(data: str | None) -> None:
    """Make search, tags and sizes anew from the truth. All that is derived is thrown away first."""
    with rooms_of(data) as rooms, bar("rebuilding") as show:
        count = rooms.index.rebuild(show)
    click.echo(f"{count} repos read again")


@click.command()
@data_option
@json_option
def collect(data: str | None, as_json: bool) -> None:
    """Collect abandoned uploads and bytes that no repo holds. A running hub does so by itself every hour."""
    from headwater import app as root

    settings = settings_of(data)
    with root.owning(Path(settings.data)):
        rooms = root.open_rooms(settings)
        root.prepare(rooms)
        found = root.upkeep_of(rooms).collect()
        rooms.db.close()
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        click.echo(f"{found.blobs} files and {found.xorbs} xorbs collected, {found.freed_bytes} bytes freed")


@click.command("verify-download")
@click.argument("folder", type=click.Path(file_okay=False, exists=True, path_type=Path))
@json_option
def verify_download(folder: Path, as_json: bool) -> None:
    """Check a download, file by file, against its hashes. FOLDER is a snapshot, a client's cache or a --local-dir.

    A client's cache names every blob by its hash: SHA-256 for large files, git's SHA-1 for small ones. For a folder
    made with --local-dir, the hashes come from its .cache/huggingface/download/*.metadata. Nothing is asked of a
    server. Exit status 22 if a file is wrong.
    """
    wrong: list[dict[str, str]] = []
    count = 0
    for path, expected in _expected(folder):
        count += 1
        got = _hash_of(path, len(expected))
        if got != expected:
            wrong.append({"file": str(path), "expected": expected, "got": got})
            if not as_json:
                click.echo(f"{path}: expected {expected}, got {got}")
    if as_json:
        click.echo(msgspec.json.encode({"checked": count, "wrong": wrong}))
    else:
        click.echo(f"{count} files checked, {len(wrong)} wrong")
    if not count:
        raise Invalid(f"{folder} holds neither a client's cache nor a folder made with --local-dir")
    if wrong:
        sys.exit(Corrupt.exit_status)


def _expected(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files, with the hash that a blob's name or the client's note says; a link of a snapshot stands for its blob."""
    blobs = {path.resolve() for path in folder.rglob("*") if path.is_symlink() or path.parent.name == "blobs"}
    for blob in sorted(blobs):
        if blob.parent.name == "blobs" and _HASH.fullmatch(blob.name):
            yield blob, blob.name
    for notes in sorted(folder.rglob(NOTES)):
        root = notes.parents[len(Path(NOTES).parts) - 1]
        for note in sorted(notes.rglob("*.metadata")):
            # three lines: commit, ETag, time
            lines = note.read_text(errors="replace").splitlines()
            if len(lines) >= 2 and _HASH.fullmatch(lines[1]):
                yield root / str(note.relative_to(notes)).removesuffix(".metadata"), lines[1]


def _hash_of(path: Path, length: int) -> str:
    """SHA-256, or for 40 digits git's SHA-1 of a blob; '' when the file is not there."""
    if not path.is_file():
        return ""
    digest = hashlib.sha256() if length == 64 else hashlib.sha1(usedforsecurity=False)
    if length == 40:
        digest.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb", buffering=0) as file:
        while data := file.read(READ_STEP):
            digest.update(data)
    return digest.hexdigest()
