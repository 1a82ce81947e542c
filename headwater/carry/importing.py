"""A bundle into the hub: everything is checked first, then the files are stored, then the repos land.

Works beside a running hub: the process that owns the data folder lands what this one has checked (`carry.landing`).
Refuses to know HTTP and how a bundle came here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy import select

from headwater.accounts import OPERATOR, Accounts
from headwater.carry.export import Rooms
from headwater.carry.landing import JOB, RESULT, Aim, Landed, Landing, Plan, Result
from headwater.carry.manifest import Carried, Manifest
from headwater.carry.parts import PartsReader, Progress
from headwater.carry.staging import Staging, staged
from headwater.ground import names
from headwater.ground.errors import Conflict, DigestMismatch, EntryMissing, Invalid, RepoMissing, Unavailable
from headwater.ground.jobs import enqueue
from headwater.ground.names import RepoId, Sha256
from headwater.store.tables import blob as blob_table

LANDING_WAIT_S = 600.0  # for the running hub: it looks for work every second, and a repo takes some fsyncs
LOOK_S = 0.2
FRESH_SHARE = 0.5  # of the time for which bytes that nobody holds are kept: younger ones need not be stored again

Owning = Callable[[], AbstractContextManager[object]]
"""Makes this process the owner of the data folder, its rooms prepared; Unavailable while another one is."""


@dataclass(frozen=True, slots=True)
class Wish:
    """`into` another namespace, `name` another id (of a bundle with one repo); `expect` the manifest's SHA-256."""

    into: str | None = None
    name: str | None = None
    expect: str | None = None
    force: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True)
class Steps:
    """What is shown of long work."""

    verifying: Progress
    storing: Progress


def receive(
    rooms: Rooms, accounts: Accounts, folder: Path, wish: Wish, *, owning: Owning, steps: Steps
) -> Iterator[Landed]:
    """Each repo as it lands. Until the first one nothing of the bundle can be seen, whatever is wrong with it.

    DigestMismatch, Invalid or TooMuch name the part, file, repo or ref that is wrong; Conflict: a bundle that is older
    than what is here, or refs that would lose commits.
    """
    reader = PartsReader(folder)
    manifest = reader.manifest
    if wish.expect is not None and wish.expect.lower() != reader.sha256:
        raise DigestMismatch("the bundle's manifest", wish.expect[:80], reader.sha256)
    landing = Landing(rooms.db, rooms.clock, rooms.repos, rooms.store, rooms.data)
    aims = [_aim(rooms, accounts, number, repo, wish) for number, repo in enumerate(manifest.repos)]
    if len({(aim.type, names.key(aim.rid.full)) for aim in aims}) < len(aims):
        raise Invalid("two repos of the bundle would get the same name; import them with their own namespaces")
    landing.check_age(_plan(manifest, wish, aims))
    _check_sizes(rooms, manifest)
    name = f"{manifest.id}-{rooms.clock.token(8)}"
    with staged(landing.folder, name, manifest, rooms.settings.inline_file_max) as staging:
        staging.take(reader, steps.verifying)
        checked = [_checked(staging, aim, held) for aim, held in zip(aims, staging.check(), strict=True)]
        plan = _plan(manifest, wish, checked)
        landing.check(staging.folder, plan)
        _store(rooms, reader, plan, steps.storing)
        staging.keep(msgspec.json.encode(plan))
        yield from _land(rooms, landing, staging.folder, owning)


def _aim(rooms: Rooms, accounts: Accounts, number: int, repo: Carried, wish: Wish) -> Aim:
    """What a repo of the bundle is to be here, if it may be that."""
    rid = repo.rid
    if wish.name is not None:
        rid = names.repo_id(rid.type, wish.name)
        if number > 0:
            raise Invalid("--as names one repo, and the bundle has several; use --into")
    if wish.into is not None:
        rid = RepoId(rid.type, names.name(wish.into, "namespace"), rid.name)
    try:
        here = rooms.repos.open(OPERATOR, rid, "write")
        if repo.private and not here.private and not wish.force:
            raise Conflict(
                f"{repo.shown} is private where it comes from, and {rid.full} is public here. Make it private first "
                "(headwater admin repo set-visibility), or say --force."
            )
    except RepoMissing:
        names.new_repo_name(rid.name)
        if rid.namespace is not None:
            try:
                accounts.namespace(rid.namespace)
            except EntryMissing:
                raise Invalid(
                    f"{repo.shown}: this hub has no user or organization {rid.namespace!r}; make it "
                    f"(headwater admin org create {rid.namespace}), or choose another with --into"
                ) from None
    refs = {ref.name: ref.target for ref in repo.refs}
    private = True if repo.private else None  # a public one becomes what the hub's or the namespace's default says
    return Aim(number, rid.type, rid.namespace, rid.name, private, repo.gated, repo.sdk, "", refs, {})


def _checked(staging: Staging, aim: Aim, held: dict[Sha256, str]) -> Aim:
    return msgspec.structs.replace(aim, pack=staging.packs[aim.number], large=dict(held))


def _plan(manifest: Manifest, wish: Wish, aims: list[Aim]) -> Plan:
    return Plan(manifest.id, manifest.source.id, manifest.sequence, wish.force, wish.again, aims)


def _check_sizes(rooms: Rooms, manifest: Manifest) -> None:
    sizes = {file.sha256: file.size for file in manifest.files}
    for repo in manifest.repos:
        for sha256 in repo.large:
            rooms.store.check_size(sizes[sha256])


def _store(rooms: Rooms, reader: PartsReader, plan: Plan, progress: Progress) -> None:
    """Every large file that is not here yet; hashed once more while it is written, since folders can change."""
    sizes = {Sha256(file.sha256): file.size for file in reader.manifest.files}
    wanted = dict.fromkeys(Sha256(sha256) for aim in plan.repos for sha256 in aim.large)
    held = {sha256 for aim in plan.repos for sha256 in _held(rooms, aim)}
    done, total = 0, sum(sizes[sha256] for sha256 in wanted)
    for sha256 in wanted:
        if sha256 not in held and not _is_kept(rooms, sha256):
            rooms.store.ingest(reader.read(sha256), sha256, sizes[sha256])
        done += sizes[sha256]
        progress(done, total)


def _is_kept(rooms: Rooms, sha256: Sha256) -> bool:
    """Whether it is here, and will be until the repos hold it."""
    asked = select(blob_table.c.state, blob_table.c.created_ms).where(blob_table.c.sha256 == sha256)
    with rooms.db.read() as connection:
        row = connection.execute(asked).first()
    fresh_ms = rooms.clock.now_ms() - rooms.settings.upload_grace_s * 1000 * FRESH_SHARE
    return row is not None and row.state == "whole" and row.created_ms > fresh_ms


def _held(rooms: Rooms, aim: Aim) -> set[Sha256]:
    """Those of its files that the repo holds already, in good order."""
    try:
        here = rooms.repos.open(OPERATOR, aim.rid, "read")
    except RepoMissing:
        return set()
    held = rooms.repos.holds.sizes(here.id, [Sha256(sha256) for sha256 in aim.large])
    return {sha256 for sha256 in held if not rooms.store.blob(sha256).damaged}


def _land(rooms: Rooms, landing: Landing, folder: Path, owning: Owning) -> Iterator[Landed]:
    """Here, if no hub runs; else the running one does it, and this waits."""
    begun_s = rooms.clock.tick_s()
    result = folder / RESULT
    asked = False
    while not result.exists():
        with ExitStack() as stack:
            try:
                stack.enter_context(owning())
            except Unavailable:
                pass
            else:
                yield from landing.land(folder)
                return
        if not asked:
            with rooms.db.write() as connection:
                enqueue(connection, rooms.clock, JOB, folder.name, {})
            asked = True
        if rooms.clock.tick_s() - begun_s > LANDING_WAIT_S:
            raise Unavailable(
                f"The running hub did not take the import up within {LANDING_WAIT_S:g} s (its log says why). Stop it "
                "and import again; what was stored is used then."
            )
        time.sleep(LOOK_S)  # another process gives no event to wait for
    told = msgspec.json.decode(result.read_bytes(), type=Result)
    yield from told.landed
    if told.error:
        raise Conflict(told.error)
