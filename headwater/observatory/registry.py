"""Who is behind an account: the registry of organisations, as data with evidence, conflicts and overrides.

Rows shipped with the package come first, then the operator's own files in the order in which they came: a later row
replaces an earlier one of the same account and time, and a row with an override beats all rows without. Nothing is
lost by that: what was replaced stays in its file, and `conflict` keeps what other evidence says.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from importlib import resources
from pathlib import Path

import msgspec

from headwater.ground.errors import Invalid
from headwater.observatory.schema import ACCOUNTS, ID_CHARS_MAX, TEXT_CHARS_MAX
from headwater.observatory.texts import plain

FILE_BYTES_MAX = 64 << 20  # a registry of a million accounts
ROWS_MAX = 1_000_000
FIELD_CHARS_MAX = 10_000  # of one cell before it is cut; a longer one is an attack on the reader
INTERNATIONAL, PERSON = "INT", "USER"
SUFFIX = ".accounts.csv"
COLUMNS = (
    "account", "country", "type", "organisation", "parent", "valid_from", "valid_to", "evidence", "conflict",
    "override", "source", "ship",
)  # fmt: skip
_NEEDED = frozenset({"account", "country"})


class Row(msgspec.Struct, frozen=True):
    """One line of a registry. `country` is ISO-2, INT or USER; `override` is a country that wins over it."""

    account: str
    country: str
    type: str = ""
    organisation: str = ""
    parent: str = ""
    valid_from: date | None = None
    valid_to: date | None = None
    evidence: str = ""
    conflict: str = ""
    override: str = ""
    source: str = ""
    ship: str = ""

    @property
    def decided(self) -> str:
        """The country after overrides."""
        return self.override or self.country

    def holds_on(self, day: date) -> bool:
        return (self.valid_from is None or self.valid_from <= day) and (self.valid_to is None or day < self.valid_to)


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that was not taken."""

    line: int
    field: str
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Registry:
    """All rows, the later ones later. `version` names exactly these rows."""

    rows: tuple[Row, ...]
    version: str

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Registry:
        every = tuple(rows)
        return cls(every, hashlib.sha256(msgspec.json.encode(every)).hexdigest()[:12])

    @classmethod
    def load(cls, folder: Path) -> Registry:
        """The shipped rows and those of the operator's files in `folder`, by name."""
        rows = [row for text, source in _texts(folder) for row in read_rows(text, source)[0]]
        return cls.of(rows)

    def on(self, day: date) -> dict[str, Row]:
        """The row that decides about each account on a day."""
        found: dict[str, Row] = {}
        for row in self.rows:
            before = found.get(row.account)
            if row.holds_on(day) and (before is None or row.override or not before.override):
                found[row.account] = row
        return found

    def account_rows(self, day: date) -> list[tuple[object, ...]]:
        """Rows of the view `accounts`."""
        assert ACCOUNTS.names[1:3] == ("country", "country_listed")
        return [
            (
                row.account, row.decided, row.country, row.type or None, row.organisation or None, row.parent or None,
                row.valid_from, row.valid_to, row.evidence or None, row.conflict or None, row.source or None,
            )
            for row in self.on(day).values()
        ]  # fmt: skip


def _texts(folder: Path) -> Iterator[tuple[str, str]]:
    shipped = resources.files("headwater.observatory").joinpath("data/accounts.csv")
    if shipped.is_file():
        yield shipped.read_text("utf-8"), "headwater"
    if folder.is_dir():
        for file in sorted(folder.glob(f"*{SUFFIX}")):
            yield file.read_bytes().decode(errors="replace"), file.name.removesuffix(SUFFIX)


def read_rows(text: str, source: str) -> tuple[list[Row], list[Fault]]:
    """The rows of a CSV file with a head, and the lines that are none. A file without the columns is refused whole."""
    if len(text) > FILE_BYTES_MAX:
        raise Invalid(f"registry: more than {FILE_BYTES_MAX} characters")
    rows: list[Row] = []
    faults: list[Fault] = []
    for line, cells in table_lines(text, _NEEDED, "registry"):
        row = _row(cells, source)
        if isinstance(row, Row):
            rows.append(row)
        else:
            faults.append(Fault(line, *row))
    return rows, faults


def table_lines(text: str, needed: frozenset[str], what: str) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, cells by column) of a CSV file; cells are bounded, the columns in `needed` must be there."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff").replace("\0", "")))
    try:
        head = [name.strip().lower() for name in next(reader, [])]
        if needed - set(head):
            raise Invalid(f"{what}: the first line must name the columns {', '.join(sorted(needed))}")
        for count, cells in enumerate(reader):
            if count >= ROWS_MAX:
                raise Invalid(f"{what}: more than {ROWS_MAX} rows")
            if cells:
                bounded = [cell[:FIELD_CHARS_MAX] for cell in cells]
                yield reader.line_num, dict(zip(head, bounded, strict=False))
    except csv.Error as error:
        raise Invalid(f"{what}: line {reader.line_num}: {error}") from error


def _row(cells: dict[str, str], source: str) -> Row | tuple[str, str, str]:
    """A row, or (field, value, why not)."""
    texts = {name: plain(cells.get(name, ""), TEXT_CHARS_MAX) for name in COLUMNS}
    account = texts["account"]
    if not account or len(account) > ID_CHARS_MAX or "/" in account:
        return "account", account[:TEXT_CHARS_MAX], "is no name of an account"
    for name in ("country", "override"):
        texts[name] = texts[name].upper()
        if not (_is_country(texts[name]) or (name == "override" and not texts[name])):
            return name, texts[name], f"must be a country of two letters, {INTERNATIONAL} or {PERSON}"
    days: dict[str, date | None] = {}
    for name in ("valid_from", "valid_to"):
        try:
            days[name] = date.fromisoformat(texts[name]) if texts[name] else None
        except ValueError:
            return name, texts[name], "must be a date, YYYY-MM-DD"
    return Row(
        account=account, country=texts["country"], type=texts["type"], organisation=texts["organisation"],
        parent=texts["parent"], valid_from=days["valid_from"], valid_to=days["valid_to"], evidence=texts["evidence"],
        conflict=texts["conflict"], override=texts["override"], source=texts["source"] or source, ship=texts["ship"],
    )  # fmt: skip


def _is_country(text: str) -> bool:
    return text in (INTERNATIONAL, PERSON) or (len(text) == 2 and text.isascii() and text.isalpha())


def write_rows(rows: Iterable[Row]) -> str:
    """The rows as a registry file."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        values = (getattr(row, name) for name in COLUMNS)
        writer.writerow("" if value is None else str(value) for value in values)
    return out.getvalue()
