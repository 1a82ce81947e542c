"""JSON, JSON lines and CSV as Parquet of texts, in a stream, so that one SQL reads every source.

A line that is no JSON, too long or too deep is put into the account and the next one is read. Numbers become texts:
whether they are numbers is for the fields to say. Nothing is evaluated, no reference is followed.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.ground.errors import Invalid
from headwater.observatory.imports.job import COLUMNS_MAX, ROW, Job, Progress
from headwater.observatory.run import literal
from headwater.observatory.schema import VALUE_CHARS_MAX

LINE_BYTES_MAX = 16 << 20  # one model as JSON has some kilobytes, with all its files some hundred
DOCUMENT_BYTES_MAX = 512 << 20  # of a file that is one JSON value: it is held in memory
PLAIN_BYTES_MAX = 64 << 30  # of a compressed file once it is open: a bomb ends here
BATCH_ROWS = 10_000
REFUSED_MAX = 100_000  # lines kept for the account; more, and the file is something else
TOLD_EVERY = 50_000

HUB_TEXTS = (
    "_id", "id", "modelId", "author", "createdAt", "lastModified", "downloads", "downloadsAllTime", "likes",
    "trendingScore", "pipeline_tag", "library_name", "gated", "private", "disabled", "usedStorage", "cardData",
    "config", "safetensors", "gguf", "baseModels", "inferenceProviderMapping",
)  # fmt: skip
HUB_LISTS = ("tags",)
RADAR_TEXTS = (
    "id", "author", "created_at", "updated_at", "license", "license_name", "pipeline_tag", "library", "likes",
    "downloads_30d", "trending_score", "parameters", "storage_bytes", "gated", "removed", "removed_at",
)  # fmt: skip
RADAR_LISTS = ("languages", "tags", "formats")


@dataclass(slots=True)
class Stage:
    """Rows of texts and of lists of texts, on their way into a Parquet file."""

    path: Path
    texts: tuple[str, ...]
    lists: tuple[str, ...]
    progress: Progress
    unit: str = "rows"
    count: int = 0
    seen: set[str] = field(default_factory=set)
    refused: list[tuple[int, str, str]] = field(default_factory=list)  # row, value, why
    _waiting: list[dict[str, Any]] = field(default_factory=list)
    _writer: pq.ParquetWriter | None = None

    @property
    def schema(self) -> pa.Schema:
        listed = [pa.field(name, pa.list_(pa.string())) for name in self.lists]
        return pa.schema([pa.field(ROW, pa.int64()), *(pa.field(name, pa.string()) for name in self.texts), *listed])

    def add(self, row: int, values: Mapping[str, Any]) -> None:
        kept: dict[str, Any] = {ROW: row}
        for name in self.texts:
            value = values.get(name)
            if value is not None:
                kept[name] = text_of(value)
                self.seen.add(name)
        for name in self.lists:
            value = values.get(name)
            if value is not None:
                kept[name] = (
                    [text_of(one) for one in value if one is not None] if isinstance(value, list) else [text_of(value)]
                )
                self.seen.add(name)
        self._waiting.append(kept)
        self.count += 1
        if len(self._waiting) >= BATCH_ROWS:
            self._flush()
        if self.count % TOLD_EVERY == 0:
            self.progress.done(self.count, None, self.unit)

    def refuse(self, row: int, value: str, why: str) -> None:
        if len(self.refused) >= REFUSED_MAX:
            raise Invalid(f"row {row}: {why}; and so are {REFUSED_MAX} rows before it: this is another kind of file")
        self.refused.append((row, value[:VALUE_CHARS_MAX], why))

    def _flush(self) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, self.schema, compression="zstd")
        self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=self.schema))
        self._waiting.clear()

    def close(self) -> None:
        """The file is complete; without a row it is empty, but there."""
        self._flush()
        assert self._writer is not None
        self._writer.close()


def staged_relation(job: Job, stage: Stage, table: str) -> str:
    """What was staged as a view named `raw`, without columns that no row has; the refused rows go to the account."""
    kept = [ROW, *(name for name in (*stage.texts, *stage.lists) if name in stage.seen)]
    columns = ", ".join('"' + name.replace('"', '""') + '"' for name in kept)
    job.engine.run(f"create or replace view raw as select {columns} from read_parquet({literal(stage.path)})")  # noqa: S608
    if stage.refused:
        columns_of = zip(*stage.refused, strict=True)
        refused = pa.table([pa.array(list(one)) for one in columns_of], names=["row", "value", "why"])
        job.engine.register("refused", refused)
        job.refuse(
            f"select '{table}' as \"table\", row, null::varchar as id, null::varchar as field, "  # noqa: S608
            f"plain(value, {VALUE_CHARS_MAX}) as value, why, true as dropped from refused"
        )
    return "raw"


def text_of(value: Any) -> str:
    """A JSON value as text: strings as they are, all else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


@contextlib.contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, decompressed if they are gzip."""
    with file.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not packed:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as plain:
            yield cast(IO[bytes], plain)


def lines(file: Path) -> Iterator[tuple[int, bytes | None]]:
    """(number from 1, line); None for one that is too long. Bounded, whatever the file holds."""
    number = 0
    taken = 0
    try:
        with opened(file) as source:
            while line := source.readline(LINE_BYTES_MAX):
                number += 1
                taken += len(line)
                whole = line.endswith(b"\n") or len(line) < LINE_BYTES_MAX
                rest = line
                while not rest.endswith(b"\n") and (rest := source.readline(LINE_BYTES_MAX)):
                    taken += len(rest)
                    if taken > PLAIN_BYTES_MAX:
                        break
                if taken > PLAIN_BYTES_MAX:
                    raise Invalid(f"{file.name}: more than {PLAIN_BYTES_MAX} bytes when opened")
                yield number, line if whole else None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Invalid(f"{file.name}: is a damaged gzip file ({error}); get it again") from error


def document(file: Path) -> Any:
    """A file that is one JSON value."""
    try:
        with opened(file) as source:
            raw = source.read(DOCUMENT_BYTES_MAX + 1)
        if len(raw) > DOCUMENT_BYTES_MAX:
            raise Invalid(
                f"{file.name}: one JSON value of more than {DOCUMENT_BYTES_MAX} bytes; use JSON lines instead"
            )
        return msgspec.json.decode(raw)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Invalid(f"{file.name}: is a damaged gzip file ({error}); get it again") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid(f"{file.name}: is no JSON ({str(error)[:200]})") from error


def objects(files: Sequence[Path]) -> Iterator[tuple[int, dict[str, Any] | None, str, str]]:
    """(row, object or None, raw text, why none) of files of one object, of a list of them, or of one per line."""
    row = 0
    for file in files:
        for raw in _values(file):
            row += 1
            if raw is None:
                yield row, None, "", f"a line of more than {LINE_BYTES_MAX} bytes"
                continue
            try:
                value = msgspec.json.decode(raw)
            except (msgspec.DecodeError, RecursionError) as error:
                yield row, None, raw[: 4 * VALUE_CHARS_MAX].decode(errors="replace"), f"is no JSON: {str(error)[:100]}"
                continue
            if isinstance(value, dict):
                yield row, value, "", ""
            else:
                yield row, None, raw[: 4 * VALUE_CHARS_MAX].decode(errors="replace"), "is no JSON object"


def _values(file: Path) -> Iterator[bytes | None]:
    """The raw JSON values of a file."""
    with opened(file) as source:
        start = source.read(4096).lstrip()
    if file.suffix in (".jsonl", ".ndjson") or file.name.endswith((".jsonl.gz", ".ndjson.gz")):
        yield from (line for _, line in lines(file) if line is None or line.strip())
        return
    if not start.startswith(b"["):
        with opened(file) as source:
            raw = source.read(LINE_BYTES_MAX + 1)
        yield raw if len(raw) <= LINE_BYTES_MAX else None
        return
    try:
        with opened(file) as source:
            whole = source.read(DOCUMENT_BYTES_MAX + 1)
        if len(whole) > DOCUMENT_BYTES_MAX:
            raise Invalid(
                f"{file.name}: one JSON value of more than {DOCUMENT_BYTES_MAX} bytes; use JSON lines instead"
            )
        # Raw: what is wrong inside one element is that element's fault alone.
        yield from (bytes(one) for one in msgspec.json.decode(whole, type=list[msgspec.Raw]))
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid(f"{file.name}: is no JSON ({str(error)[:200]})") from error


def stage_objects(stage: Stage, files: Sequence[Path]) -> None:
    """All objects of JSON files; how many files there are is known, how many objects is not."""
    for row, value, raw, why in objects(files):
        if value is None:
            stage.refuse(row, raw, why)
        else:
            stage.add(row, value)
    stage.close()


def stage_dicts(stage: Stage, rows: Iterable[Mapping[str, Any]]) -> None:
    for row, values in enumerate(rows, start=1):
        stage.add(row, values)
    stage.close()


def csv_head(file: Path) -> list[str]:
    """The names in the first line of a CSV file."""
    first = next(lines(file), (0, b""))[1] or b""
    names = next(csv.reader([first.decode("utf-8-sig", errors="replace")], delimiter=_delimiter(first)), [])
    if not names or len(names) > COLUMNS_MAX:
        raise Invalid(f"{file.name}: the first line must name 1 to {COLUMNS_MAX} columns")
    return [name.strip() for name in names]


def _delimiter(head: bytes) -> str:
    return max(",;\t", key=lambda one: head.count(one.encode()))


def stage_csv(stage: Stage, file: Path) -> None:
    """The rows of a CSV file below its head. Row 1 is the first after the head."""
    source = lines(file)
    head = next(source, (0, b""))[1] or b""
    texts = ("" if line is None else line.decode(errors="replace") for _, line in source)
    reader = csv.reader(texts, delimiter=_delimiter(head))
    row = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:  # a cell too long, a quote never closed: the reader goes on with the next line
            row += 1
            stage.refuse(row, "", f"is no CSV: {error}")
            continue
        row += 1
        if not cells:
            stage.refuse(row, "", "is an empty line, or one too long")
        elif len(cells) != len(stage.texts):
            stage.refuse(
                row, ",".join(cells)[: VALUE_CHARS_MAX * 4], f"has {len(cells)} cells, the head {len(stage.texts)}"
            )
        else:
            stage.add(row, {name: cell or None for name, cell in zip(stage.texts, cells, strict=True)})
    stage.close()
