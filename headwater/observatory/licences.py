"""Licences and the families they fall into: a coarse order from permissive (0) to non-commercial (4), as data.

For statistics of drift, not legal advice. The operator's own files (`*.licences.csv` beside the registries) come after
the shipped one; the last row of a licence counts.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import msgspec

from headwater.observatory.registry import Fault, table_lines
from headwater.observatory.schema import TEXT_CHARS_MAX
from headwater.observatory.texts import plain

SUFFIX = ".licences.csv"
RANK_MAX = 4
_NEEDED = frozenset({"license", "family", "rank"})


class Licence(msgspec.Struct, frozen=True):
    """`rank` is None where the licence can't be placed in the order."""

    license: str
    family: str
    rank: int | None


@dataclass(frozen=True, slots=True)
class Licences:
    rows: tuple[Licence, ...]
    version: str

    @classmethod
    def load(cls, folder: Path) -> Licences:
        texts = [resources.files("headwater.observatory").joinpath("data/licence_families.csv").read_text("utf-8")]
        if folder.is_dir():
            texts += [file.read_bytes().decode(errors="replace") for file in sorted(folder.glob(f"*{SUFFIX}"))]
        found = {row.license: row for text in texts for row in read_licences(text)[0]}
        return cls(tuple(found.values()), _version(found.values()))

    def licence_rows(self) -> list[tuple[object, ...]]:
        """Rows of the view `licence_family`."""
        return [(row.license, row.family, row.rank) for row in self.rows]


def _version(rows: Iterable[Licence]) -> str:
    return hashlib.sha256(msgspec.json.encode(list(rows))).hexdigest()[:12]


def read_licences(text: str) -> tuple[list[Licence], list[Fault]]:
    """The rows of a CSV file (license, family, rank), and the lines that are none."""
    rows: list[Licence] = []
    faults: list[Fault] = []
    for line, cells in table_lines(text, _NEEDED, "licence families"):
        name, family, rank = (plain(cells.get(column, ""), TEXT_CHARS_MAX) for column in ("license", "family", "rank"))
        if not name or not family:
            faults.append(Fault(line, "license", name, "license and family must both be given"))
        elif rank and not (rank.isdecimal() and int(rank) <= RANK_MAX):
            faults.append(Fault(line, "rank", rank, f"must be 0 to {RANK_MAX}, or empty"))
        else:
            rows.append(Licence(name, family, int(rank) if rank else None))
    return rows, faults


def write_licences(rows: Iterable[Licence]) -> str:
    """The rows as a file that `read_licences` reads."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("license", "family", "rank"))
    writer.writerows((row.license, row.family, "" if row.rank is None else row.rank) for row in rows)
    return out.getvalue()
