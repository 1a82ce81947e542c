"""The way in: a file, a folder or a hub's address becomes snapshots, one of each source, or an error and nothing.

What kind of source it is, is read off its columns or its content and told; `Options.kind` overrules. The same input
twice is one snapshot.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from headwater.ground.db import Database
from headwater.ground.errors import DigestMismatch, EntryMissing, HeadwaterError, Invalid, TooMuch, Unavailable
from headwater.observatory.ask import prepare
from headwater.observatory.imports import (
    edges,
    history,
    hub_2022,
    hub_stats,
    listing_api,
    llmfit,
    own_events,
    providers,
    published,
    radar,
    releases,
    staging,
    support,
    tokens,
    top_lists,
)
from headwater.observatory.imports.fields import time_sql
from headwater.observatory.imports.folder import dated_name_of, day_in_name, manifest_of, name_of, options_of
from headwater.observatory.imports.importer import Importer
from headwater.observatory.imports.job import Job, Options, Progress, newest_of, parquet_relation
from headwater.observatory.imports.mending import mend
from headwater.observatory.imports.registry_csv import keep_accounts, keep_licences
from headwater.observatory.imports.staging import Stage
from headwater.observatory.registry import Fault
from headwater.observatory.run import Engine, literal
from headwater.observatory.schema import TEXT_CHARS_MAX
from headwater.observatory.texts import link, plain
from headwater.observatory.world import IMPORTER_VERSION, Draft, Manifest, Snapshot, World, moment, source_name

FILES_MAX = 1_000_000  # of a folder
STAGED = "staged.parquet"
SAID_CHARS_MAX = 4 * TEXT_CHARS_MAX  # of an attribution, a bias: sentences
PREPARED_FROM = 100_000  # models: of fewer, any question makes in no time what it wants
PROBLEMS_SHOWN = 200  # kinds of problems in a report
_NOT_UTF8 = re.compile(r"not valid UTF-?8|invalid UTF-?8", re.IGNORECASE)
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}\.parquet\Z")
_TABLE_SUFFIXES = (".parquet", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".csv.gz")

# In the order in which they are tried: the ones with rarer columns first.
IMPORTERS: tuple[Importer, ...] = (
    hub_stats.IMPORTER, published.PUBLISHED, published.NOTABLE, published.MODEL_GROWTH, published.DATASET_GROWTH,
    providers.IMPORTER, tokens.IMPORTER, releases.IMPORTER, support.IMPORTER, llmfit.IMPORTER, radar.IMPORTER,
    top_lists.IMPORTER, history.IMPORTER, edges.IMPORTER, hub_2022.IMPORTER,
)  # fmt: skip
REGISTRY, LICENCES = "registry", "licences"
KINDS: dict[str, str] = {
    **{importer.kind: importer.note for importer in IMPORTERS},
    REGISTRY: "who is behind an account (CSV: account, country, ...)",
    LICENCES: "licences and their families (CSV: license, family, rank)",
}
"""Every kind of source there is, with what it is."""


class Problem(msgspec.Struct, frozen=True):
    """What was wrong with how many rows. `dropped`: they are left out; else only the field is, or was cleaned."""

    table: str
    field: str
    why: str
    count: int
    dropped: bool


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one source."""

    source: str
    kind: str = ""
    snapshot: str = ""
    name: str = ""
    date: str = ""
    dated_by: str = ""
    rows: dict[str, int] = {}
    problems: list[Problem] = []
    unread: int = 0
    rows_dropped: int = 0
    already: bool = False
    error: str = ""
    notes: list[str] = []
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Given:
    """One source: its files, in order; or rows that are made on the spot."""

    label: str
    files: tuple[Path, ...]
    stage: Callable[[Path, Progress], tuple[Stage, str]] | None = None
    kind: str = ""
    more: Callable[[Job], None] | None = None
    """What is filled beside the importer's tables."""
    mended: bool = False
    """Its texts are not UTF-8."""


def import_source(world: World, source: str, options: Options, progress: Progress) -> list[Report]:
    """Imports a file, a folder, or a hub by its address. A single source that fails raises; of several, each reports.

    Raises Invalid for what can't be read at all, EntryMissing for what is not there, UpstreamFailed for a hub,
    Unavailable for a full disk.
    """
    if options.url and not link(options.url):
        raise Invalid(f"url: {options.url[:200]!r} must begin with http:// or https://")
    if options.ship not in ("", "yes", "facts-only"):
        raise Invalid(f"ship: {options.ship[:40]!r} must be yes or facts-only")
    try:
        return _import_any(world, source, options, progress)
    except OSError as error:
        raise _meaning(error, source) from error


def _meaning(error: OSError, source: str) -> HeadwaterError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable("The disk is full; nothing was stored. Free some space and try again.", status=507)
    return Invalid(f"import: {source[:300]!r} can't be read ({error.strerror or error})")


def _import_any(world: World, source: str, options: Options, progress: Progress) -> list[Report]:
    if re.match(r"https?://", source):
        with listing_api.fetched(world, source, progress) as fetch:
            named = msgspec.structs.replace(
                options, name=options.name or fetch.name, date=options.date or fetch.date, url=options.url or source
            )
            given = Given(source, fetch.files, _staging(fetch.files, hub=True), hub_stats.IMPORTER.kind)
            return [_import_one(world, given, named, progress)]
    path = Path(source)
    if not path.exists():
        raise EntryMissing("observatory", text=f"import: {source[:300]!r} does not exist")
    if path.is_file():
        facts = manifest_of(path.parent).get(path.name, {})
        return [_import_file(world, path, facts, options, progress)]
    return _import_folder(world, path, options, progress)


def snapshot_own(
    world: World, db: Database, now_ms: int, options: Options, progress: Progress, whose: own_events.Whose = "public"
) -> Report:
    """This hub itself, as of now: its public models, or all of them. Raises Invalid when it has none yet."""
    now = datetime.fromtimestamp(now_ms // 1000, UTC).replace(tzinfo=None, second=0)

    def stage(path: Path, told: Progress) -> tuple[Stage, str]:
        return own_events.stage_repos(db, now_ms, path, told, whose), hub_stats.IMPORTER.kind

    # Under a name of its own: who asks of `own`, or compares its snapshots, gets public ones only.
    name, ship = (own_events.KIND, "yes") if whose == "public" else (f"{own_events.KIND}-private", "facts-only")
    named = msgspec.structs.replace(
        options, name=options.name or name, date=options.date or now.isoformat(), ship=options.ship or ship,
        biases=options.biases or own_events.SAYS[whose],
    )  # fmt: skip
    given = Given("this hub", (), stage, hub_stats.IMPORTER.kind, lambda job: own_events.fill_days(job, db, now_ms))
    made = _import_one(world, given, named, progress)
    return msgspec.structs.replace(made, notes=[own_events.SAYS[whose], *made.notes])


def _import_folder(world: World, folder: Path, options: Options, progress: Progress) -> list[Report]:
    facts = manifest_of(folder)
    if (folder / "providers").is_dir():
        named = msgspec.structs.replace(options, name=options.name or "models-dev")
        return [_import_one(world, _models_dev(folder, named), named, progress)]
    tables = [one for one in sorted(folder.iterdir()) if one.is_file() and one.name.endswith(_TABLE_SUFFIXES)]
    shards: dict[str, list[Path]] = {}
    for file in tables:
        match = _SHARD.match(file.name)
        if match:
            shards.setdefault(match[1], []).append(file)
    if shards and len(shards) == 1 and sum(map(len, shards.values())) == len(tables):
        named = msgspec.structs.replace(options, name=options.name or name_of(folder.resolve()))
        return [_import_one(world, Given(str(folder), tuple(tables)), named, progress)]
    if not any(file.suffix in (".parquet", ".csv") for file in tables):
        return [_import_json_folder(world, folder, options, progress)]
    if options.name or options.date:
        raise Invalid("import: --name and --date are of one source; this folder has several, import them one by one")
    reports = []
    for file in tables:
        if file.name in ("MANIFEST.json", "expected_answers.json"):
            continue
        progress.stage(file.name)
        try:
            reports.append(_import_file(world, file, facts.get(file.name, {}), options, progress))
        except HeadwaterError as error:
            reports.append(Report(source=str(file), error=error.text))
    if not reports:
        raise Invalid(f"import: {folder} has no files that could be read")
    return reports


def _import_json_folder(world: World, folder: Path, options: Options, progress: Progress) -> Report:
    """A folder of one JSON file per model, at any depth."""
    files = []
    for file in sorted(folder.rglob("*.json")):
        if file.is_file() and not file.is_symlink():
            files.append(file)
        if len(files) > FILES_MAX:
            raise Invalid(f"import: {folder} has more than {FILES_MAX} files")
    if not files:
        raise Invalid(f"import: {folder} has no files that could be read")
    named = msgspec.structs.replace(options, name=options.name or name_of(folder.resolve()))
    return _import_one(world, Given(str(folder), tuple(files), _staging(tuple(files))), named, progress)


def _import_file(world: World, file: Path, facts: dict[str, Any], options: Options, progress: Progress) -> Report:
    named = options_of(file, facts, options)
    if isinstance(facts.get("sha256"), str):
        progress.stage(f"{file.name}: checking its checksum")
        found = _sha256((file,))
        if found != facts["sha256"].lower():
            raise DigestMismatch(f"{file.name} (MANIFEST.json)", str(facts["sha256"])[:64], found)
    if file.name.removesuffix(".gz").endswith((".csv", ".tsv")):
        head = {name.lower() for name in staging.csv_head(file)}
        if named.kind in (REGISTRY, LICENCES) or (not named.kind and _registry_kind(head)):
            return _keep_registry(world, file, named.kind or _registry_kind(head), named)
        return _import_one(world, Given(str(file), (file,), _csv_staging(file)), named, progress)
    if _begins(file, b"PAR1") or file.suffix == ".parquet":
        return _import_one(world, Given(str(file), (file,)), named, progress)
    return _import_one(world, _json_given(file, named), named, progress)


def _registry_kind(head: set[str]) -> str:
    if {"account", "country"} <= head:
        return REGISTRY
    return LICENCES if {"license", "family", "rank"} <= head else ""


def _keep_registry(world: World, file: Path, kind: str, options: Options) -> Report:
    began = time.monotonic()
    keep = keep_accounts if kind == REGISTRY else keep_licences
    count, faults, already = keep(world, file, options)
    return Report(
        source=str(file), kind=kind, name=options.name, rows={"accounts" if kind == REGISTRY else "licences": count},
        problems=_fault_counts(kind, faults), unread=len(faults), rows_dropped=len(faults), already=already,
        notes=[f"line {one.line}: {one.field} {one.value!r} {one.why}" for one in faults[:20]],
        took_s=round(time.monotonic() - began, 3),
    )  # fmt: skip


def _fault_counts(table: str, faults: Sequence[Fault]) -> list[Problem]:
    counts: dict[tuple[str, str], int] = {}
    for fault in faults:
        counts[fault.field, fault.why] = counts.get((fault.field, fault.why), 0) + 1
    return [Problem(table, name, why, count, dropped=True) for (name, why), count in counts.items()]


def _import_one(world: World, given: Given, options: Options, progress: Progress) -> Report:
    """One source into one snapshot. A file with texts that are not UTF-8 is read again, mended."""
    try:
        return _import_as_is(world, given, options, progress)
    except Invalid as error:
        if given.stage is not None or given.mended or not _NOT_UTF8.search(error.text):
            raise
        progress.stage("texts are not UTF-8: writing the input again")
        return _import_as_is(world, replace(given, mended=True), options, progress)


def _import_as_is(world: World, given: Given, options: Options, progress: Progress) -> Report:
    began = time.monotonic()
    name = source_name(options.name)
    if given.files:
        progress.stage("reading the input once for its checksum")
    with world.importing() as draft, Engine(draft.scratch) as engine, _watched(engine, progress):
        relation, importer, stage = _opened(engine, draft, given, options, progress)
        sha256 = _sha256(given.files or (draft.scratch / STAGED,))
        newest, dated_by = _date(engine, relation, importer, given, options)
        before = _before(world, given, name, sha256, _date_text(newest))
        if before is not None:
            return _report(given, before, began, dated_by, already=True)
        named = msgspec.structs.replace(options, name=name)
        job = Job(engine, draft, relation, newest, named, progress)
        if stage is not None:
            job.relation = staging.staged_relation(job, stage, _main_table(importer))
        importer.fill(job)
        if given.mended:
            job.notes.append("some texts are not UTF-8; the bytes that are none are replaced by a mark")
        if given.more is not None:
            given.more(job)
        unread, dropped, counts = job.finish_account()
        if not set(job.rows) - {"unread"}:
            raise Invalid(f"{given.label}: no row could be read{_first_reason(counts)}")
        progress.stage("putting the snapshot in its place")
        made = world.finish(draft, _manifest(importer, named, newest, job, sha256, (unread, dropped)))
        if job.rows.get("model", 0) >= PREPARED_FROM:
            progress.stage("preparing what many questions want")
            with contextlib.suppress(TooMuch, Unavailable):  # the snapshot is there; the first question does it then
                prepare(world, made)
        problems = [Problem(*row) for row in counts[:PROBLEMS_SHOWN]]
        return msgspec.structs.replace(
            _report(given, made, began, dated_by, already=False), problems=problems, notes=job.notes
        )


@contextlib.contextmanager
def _watched(engine: Engine, progress: Progress) -> Iterator[None]:
    """Whoever watches can ask how far a statement is; afterwards nothing of the engine stays with them.

    A bar that kept it until the process ends would have DuckDB taken down after the libraries that it hangs on.
    """
    progress.watch(engine.percent)
    try:
        yield
    finally:
        progress.watch(lambda: -1.0)


def _before(world: World, given: Given, name: str, sha256: str, dated: str) -> Snapshot | None:
    """The snapshot that this input was made into already; older versions kept the date of a file in the name."""
    source = Path("" if re.match(r"https?://", given.label) else given.label).resolve()
    names = [name, dated_name_of(source)] if name == name_of(source) else [name]
    found = (world.same_input(one, sha256, dated) for one in names)
    return next((one for one in found if one is not None), None)


def _main_table(importer: Importer) -> str:
    return {"providers": "listing", "edges": "edge"}.get(importer.kind, "model")


def _first_reason(counts: Sequence[tuple[str, str, str, int, bool]]) -> str:
    return f"; {counts[0][3]} times: {counts[0][1] or 'the row'} {counts[0][2]}" if counts else ""


def _opened(
    engine: Engine, draft: Draft, given: Given, options: Options, progress: Progress
) -> tuple[str, Importer, Stage | None]:
    """The raw rows as a relation, and who can read them."""
    stage = None
    kind = options.kind or given.kind
    if given.stage is not None:
        progress.stage("reading the input")
        stage, guessed = given.stage(draft.scratch / STAGED, progress)
        kind = kind or guessed
        columns = ", ".join(f'"{one}"' for one in ("source_row", *sorted(stage.seen)))
        engine.run(f"create view raw as select {columns} from read_parquet({literal(stage.path)})")  # noqa: S608
        relation = "raw"
    else:
        relation = parquet_relation(engine, _mended(given.files, draft.scratch) if given.mended else given.files)
    found = engine.columns(relation)
    return relation, _importer(kind, {name.lower(): type_ for name, type_ in found.items()}, given.label), stage


def _mended(files: Sequence[Path], scratch: Path) -> list[Path]:
    targets = [scratch / f"mended-{number}.parquet" for number in range(len(files))]
    for file, target in zip(files, targets, strict=True):
        mend(file, target)
    return targets


def _importer(kind: str, columns: Mapping[str, str], label: str) -> Importer:
    if kind:
        for importer in IMPORTERS:
            if importer.kind == kind:
                return importer
        raise Invalid(f"kind: {kind[:40]!r} is not one of {', '.join(KINDS)}")
    for importer in IMPORTERS:
        if importer.knows(columns):
            return importer
    shown = ", ".join(list(columns)[:20])
    raise Invalid(f"{label}: its columns ({shown}) are of no known kind; say which with --kind: {', '.join(KINDS)}")


def _date(engine: Engine, relation: str, importer: Importer, given: Given, options: Options) -> tuple[datetime, str]:
    """The data's date, and how it is known."""
    if options.date:
        return moment(options.date), "given"
    have = {name.lower(): (name, kind) for name, kind in engine.columns(relation).items()}
    for name in importer.dated_by:
        if name.lower() in have:
            real, kind = have[name.lower()]
            found = newest_of(engine, relation, f'"{real}"', kind, time_sql)
            if found is not None:
                return found.replace(microsecond=0), f"the newest {real}"
    named = day_in_name(given.files[0]) if given.files else ""
    if named:
        return moment(named), "the file's name"
    when = max((file.stat().st_mtime for file in given.files), default=time.time())
    today = datetime.fromtimestamp(when, UTC).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
    return today, "the day on which the file was last written"


def _date_text(at: datetime) -> str:
    midnight = at.time() == datetime.min.time()
    return at.date().isoformat() if midnight else at.replace(microsecond=0).isoformat()


def _manifest(
    importer: Importer, options: Options, newest: datetime, job: Job, sha256: str, unread: tuple[int, int]
) -> Manifest:
    return Manifest(
        id="", source=importer.kind, name=options.name, date=_date_text(newest),
        imported_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), version=IMPORTER_VERSION,
        licence=plain(options.licence, TEXT_CHARS_MAX), attribution=plain(options.attribution, SAID_CHARS_MAX),
        url=link(options.url), ship=options.ship or "facts-only", biases=plain(options.biases, SAID_CHARS_MAX),
        rows=job.rows, unread=unread[0], unread_rows_dropped=unread[1], sha256=sha256,
        note=plain(options.note, SAID_CHARS_MAX),
    )  # fmt: skip


def _report(given: Given, snapshot: Snapshot, began: float, dated_by: str, already: bool) -> Report:
    manifest = snapshot.manifest
    return Report(
        source=given.label, kind=manifest.source, snapshot=snapshot.id, name=manifest.name, date=manifest.date,
        dated_by=dated_by, rows={name: count for name, count in manifest.rows.items() if name != "unread"},
        unread=manifest.unread, rows_dropped=manifest.unread_rows_dropped, already=already,
        took_s=round(time.monotonic() - began, 3),
    )  # fmt: skip


def _sha256(files: Sequence[Path]) -> str:
    """Of one file its own hash; of several, of their hashes in order."""
    hashes = []
    for file in files:
        with file.open("rb") as source:
            hashes.append(hashlib.file_digest(source, "sha256").hexdigest())
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _begins(file: Path, magic: bytes) -> bool:
    with file.open("rb") as source:
        return source.read(len(magic)) == magic


def _staging(files: tuple[Path, ...], hub: bool = False) -> Callable[[Path, Progress], tuple[Stage, str]]:
    """Models as JSON: the first object tells whose names of fields they have."""

    def stage(path: Path, progress: Progress) -> tuple[Stage, str]:
        first = next((value for _, value, _, _ in staging.objects(files[:100]) if value is not None), {})
        radar_like = not hub and "downloads_30d" in first
        texts, lists = (
            (staging.RADAR_TEXTS, staging.RADAR_LISTS) if radar_like else (staging.HUB_TEXTS, staging.HUB_LISTS)
        )
        made = Stage(path, texts, lists, progress, "models")
        staging.stage_objects(made, files)
        return made, radar.IMPORTER.kind if radar_like else hub_stats.IMPORTER.kind

    return stage


def _csv_staging(file: Path) -> Callable[[Path, Progress], tuple[Stage, str]]:
    def stage(path: Path, progress: Progress) -> tuple[Stage, str]:
        made = Stage(path, tuple(staging.csv_head(file)), (), progress)
        staging.stage_csv(made, file)
        return made, ""

    return stage


def _json_given(file: Path, options: Options) -> Given:
    """A JSON file: a catalogue of providers, or models."""
    lined = file.name.removesuffix(".gz").endswith((".jsonl", ".ndjson"))
    if not lined and not _begins_list(file):
        value = staging.document(file)
        if providers.is_litellm(value):
            rows = _provider_staging(partial(providers.litellm_rows, value), (file,), options)
            return Given(str(file), (file,), rows)
        if providers.is_models_dev(value):
            rows = _provider_staging(partial(providers.models_dev_rows, value), (file,), options)
            return Given(str(file), (file,), rows)
    return Given(str(file), (file,), _staging((file,)))


def _begins_list(file: Path) -> bool:
    with staging.opened(file) as source:
        return source.read(4096).lstrip().startswith(b"[")


def _models_dev(folder: Path, options: Options) -> Given:
    files = tuple(
        file for file in sorted(folder.glob("providers/*/models/**/*.toml")) if file.is_file() and not file.is_symlink()
    )
    if not files:
        raise Invalid(f"import: {folder} has a folder providers, but no providers/*/models/*.toml")
    rows = _provider_staging(partial(providers.models_dev_folder_rows, folder), files, options)
    return Given(str(folder), files, rows)


def _provider_staging(
    rows: Callable[[date], Iterator[dict[str, Any]]], files: tuple[Path, ...], options: Options
) -> Callable[[Path, Progress], tuple[Stage, str]]:
    """One day's catalogue: the day given, or in the file's name, or on which it was written."""

    def stage(path: Path, progress: Progress) -> tuple[Stage, str]:
        told = options.date or day_in_name(files[0])
        day = moment(told).date() if told else datetime.fromtimestamp(files[0].stat().st_mtime, UTC).date()
        made = Stage(path, providers.TEXTS, (), progress, "listings")
        staging.stage_dicts(made, rows(day))
        return made, providers.IMPORTER.kind

    return stage
