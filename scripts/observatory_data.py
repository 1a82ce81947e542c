"""Makes headwater/observatory/data/accounts.csv out of the shared table of organisations.

    python scripts/observatory_data.py ../shared/data/org_country.csv

Keeps only rows that may be given to others: a row whose only evidence is emilrugenstein/hf-datasets (a table without a
licence) is left out, whatever its grade of confidence; an operator can import the whole table himself.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import msgspec

from headwater.observatory.registry import Row, read_rows, write_rows

TARGET = Path(__file__).parents[1] / "headwater/observatory/data/accounts.csv"
UNLICENSED = "hf-datasets"
SOURCE = "headwater"


def may_ship(row: Row) -> bool:
    """Whether a row rests on something else than the table without a licence."""
    kinds = {one.partition("(")[0].strip() for one in row.evidence.split("+")}
    return bool(kinds - {UNLICENSED, ""})


def main() -> None:
    source = Path(sys.argv[1])
    rows, faults = read_rows(source.read_text("utf-8"), SOURCE)
    kept = [msgspec.structs.replace(row, ship="yes") for row in rows if may_ship(row)]
    TARGET.write_text(write_rows(sorted(kept, key=lambda row: row.account.lower())), "utf-8")
    with TARGET.open(encoding="utf-8") as written:
        count = sum(1 for _ in csv.reader(written)) - 1
    print(f"{count} of {len(rows)} rows kept, {len(faults)} lines not understood")


if __name__ == "__main__":
    main()
