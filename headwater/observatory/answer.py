"""An answer: a table, and beside it all that a reader needs to judge it. Also how answers are kept in the cache.

Refuses to know how it came about: ask.py makes answers, pages and the command line show them.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.observatory.choices import Choices
from headwater.observatory.world import Snapshot

CACHE_FILES_MAX = 4_000  # one answer each; beyond it the oldest go
CACHE_BYTES_MAX = 2 << 30  # anybody may ask: without a bound strangers could fill the disk
CACHE_ANSWER_BYTES_MAX = 64 << 20  # a larger one is quicker to ask again than it is worth its place
_META = b"headwater"
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula at the start of a text that a stranger wrote."""


class Source(msgspec.Struct, frozen=True):
    """A snapshot behind an answer: what to cite, and what is wrong with it."""

    id: str
    name: str
    kind: str
    date: str
    licence: str
    attribution: str
    url: str
    ship: str
    biases: str
    role: str = "population"

    @classmethod
    def of(cls, snapshot: Snapshot, role: str = "population") -> Source:
        m = snapshot.manifest
        return cls(m.id, m.name, m.source, m.date, m.licence, m.attribution, m.url, m.ship, m.biases, role)


class Span(msgspec.Struct, frozen=True):
    """The leader's gap when one is left out: the lowest and the highest, in points, and who was left out."""

    low: float
    low_without: str
    high: float
    high_without: str


class Evidence(msgspec.Struct, frozen=True):
    """What stands behind a share. `gap_pct`: leader minus runner-up, in points; None where fewer than two are known."""

    snapshot: str
    of: str
    rows: int
    authors: int
    unmapped_pct: float | None = None
    unmapped_rows_pct: float | None = None
    leader: str | None = None
    runner_up: str | None = None
    gap_pct: float | None = None
    without_one_model: Span | None = None
    without_one_account: Span | None = None

    @property
    def flips(self) -> bool:
        """Whether leaving out one model or one account changes who leads."""
        spans = (self.without_one_model, self.without_one_account)
        return any(span is not None and span.low < 0 for span in spans)


@dataclass(frozen=True, slots=True)
class Answer:
    """`choices` are those asked for; `stated` all that the question honoured, with the defaults filled in."""

    question: str
    title: str
    definition: str
    chart: str
    table: pa.Table
    choices: Choices
    stated: dict[str, str]
    evidence: tuple[Evidence, ...]
    registry_version: str
    licences_version: str
    snapshots: tuple[Source, ...]
    sql: str
    caveats: tuple[str, ...]
    took_s: float
    key: str = ""
    cached: bool = field(default=False, compare=False)

    @property
    def coverage_pct(self) -> float | None:
        """The share of what is counted that the registry knows, of the first share; None where nothing is mapped."""
        unmapped = self.evidence[0].unmapped_pct if self.evidence else None
        return None if unmapped is None else 100.0 - unmapped

    @property
    def authors(self) -> int | None:
        """Distinct authors behind the first share."""
        return self.evidence[0].authors if self.evidence else None

    @property
    def leave_one_out(self) -> Span | None:
        """The range of the leader's gap when one model is left out, of the first share."""
        return self.evidence[0].without_one_model if self.evidence else None

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.table.to_pylist()
        return rows


class _Kept(msgspec.Struct):
    """All of an Answer but its table, as it goes into the file."""

    question: str
    title: str
    definition: str
    chart: str
    choices: dict[str, str]
    stated: dict[str, str]
    evidence: tuple[Evidence, ...]
    registry_version: str
    licences_version: str
    snapshots: tuple[Source, ...]
    sql: str
    caveats: tuple[str, ...]
    took_s: float
    key: str


def cache_key(parts: Sequence[str]) -> str:
    """One name for the same question, choices, data, registry and rules."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def keep(folder: Path, answer: Answer) -> None:
    """Puts an answer into the cache. A cache that can't be written is no cache, and no error."""
    names = [name for name in _Kept.__struct_fields__ if name != "choices"]
    kept = _Kept(choices=answer.choices.made(), **{name: getattr(answer, name) for name in names})
    table = answer.table.replace_schema_metadata({_META: msgspec.json.encode(kept)})
    if table.nbytes > CACHE_ANSWER_BYTES_MAX:
        return
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f"{secrets.token_hex(8)}.draft"
        try:
            with pa.OSFile(str(draft), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
                writer.write_table(table)
            draft.replace(folder / f"{answer.key}.arrow")
        finally:
            draft.unlink(missing_ok=True)
        _sweep(folder)


def kept(folder: Path, key: str) -> Answer | None:
    """An answer from the cache; None where there is none, or one that can't be read."""
    try:
        with pa.OSFile(str(folder / f"{key}.arrow"), "rb") as source, pa.ipc.open_file(source) as reader:
            table = reader.read_all()
        found = msgspec.json.decode((table.schema.metadata or {}).get(_META, b""), type=_Kept)
        choices = Choices.parse(found.choices.items())
    except (OSError, pa.ArrowException, msgspec.MsgspecError):
        return None
    parts = {name: getattr(found, name) for name in _Kept.__struct_fields__ if name != "choices"}
    return Answer(table=table.replace_schema_metadata(None), choices=choices, cached=True, **parts)


def _sweep(folder: Path) -> None:
    """The oldest answers go, until the others are few and small enough."""
    files = [(status.st_mtime, status.st_size, file) for file in folder.glob("*.arrow") if (status := _status(file))]
    count, size = len(files), sum(one for _, one, _ in files)
    for _, file_size, file in sorted(files):
        if count <= CACHE_FILES_MAX and size <= CACHE_BYTES_MAX:
            return
        file.unlink(missing_ok=True)
        count, size = count - 1, size - file_size


def _status(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except FileNotFoundError:  # another process sweeps too
        return None


def csv_text(answer: Answer) -> str:
    """The table as CSV with a head; lists are joined by spaces, and a text that looks like a formula gets an apostrophe
    before it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(answer.table.column_names)
    for row in answer.rows():
        writer.writerow(_csv_cell(value) for value in row.values())
    return out.getvalue()


def _csv_cell(value: object) -> object:
    if isinstance(value, list):
        value = " ".join(str(item) for item in value)
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return "" if value is None else value


def parquet_bytes(answer: Answer) -> bytes:
    """The table as a Parquet file; its metadata says the question, the choices, the sources and the SQL."""
    meta = {b"headwater": msgspec.json.encode(facts(answer))}
    out = pa.BufferOutputStream()
    pq.write_table(answer.table.replace_schema_metadata(meta), out, compression="zstd")
    return bytes(out.getvalue())


def json_bytes(answer: Answer) -> bytes:
    """All of an answer as JSON: `rows` is a list of objects."""
    return msgspec.json.encode({**facts(answer), "columns": answer.table.column_names, "rows": answer.rows()})


def facts(answer: Answer) -> dict[str, object]:
    """All of an answer but its table."""
    return {
        "question": answer.question, "title": answer.title, "definition": answer.definition, "chart": answer.chart,
        "choices": answer.choices.made(), "stated": answer.stated, "coverage_pct": answer.coverage_pct,
        "authors": answer.authors, "evidence": answer.evidence, "registry_version": answer.registry_version,
        "licences_version": answer.licences_version, "snapshots": answer.snapshots, "sql": answer.sql,
        "caveats": answer.caveats, "took_s": answer.took_s, "cached": answer.cached,
    }  # fmt: skip
