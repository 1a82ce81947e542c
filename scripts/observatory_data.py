"""Makes headwater/observatory/data/accounts.csv out of the shared table of organisations.

    python scripts/observatory_data.py ../shared/data/org_country.csv

Keeps only rows that may be given to others: a row whose only evidence is emilrugenstein/hf-datasets (a table without a
licence) is left out, whatever its grade of confidence; an operator can import the whole table himself. What the design
and the other shared files say of an account (its parent, other countries that somebody gives it) is put into its row,
with where it is said.
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

DARMSTADT = "observatory.md-0.2 (born at TU Darmstadt)"
HUGGING_FACE = "observatory.md-0.2:US (run by Hugging Face now, since when is not known)"
STANFORD = "ecosystem-graphs (observatory.md-0.3)"
NAMED = "org_country.csv (parent)"
PARENTS = {
    "sentence-transformers": ("Hugging Face", DARMSTADT),
    "cross-encoder": ("Hugging Face", DARMSTADT),
    "agentica-org": ("UC Berkeley", NAMED),
    "intfloat": ("Microsoft", NAMED),
    "lmsys": ("UC Berkeley", NAMED),
    "Nanbeige": ("BOSS Zhipin", NAMED),
    "sbintuitions": ("SoftBank", NAMED),
    "timm": ("Hugging Face", NAMED),
    "voyageai": ("MongoDB", NAMED),
}
"""Account -> its parent, and who says so."""
CONFLICTS = {
    "sentence-transformers": HUGGING_FACE,
    "cross-encoder": HUGGING_FACE,
    "deepseek-ai": f"{STANFORD}:US",
    "01-ai": f"{STANFORD}:FR",
    "mistralai": f"{STANFORD}:US",
}
"""Account -> what another table says of its country."""
MULTINATIONAL = ("Hugging Face", "EleutherAI", "LAION", "Stability AI")
"""Organisations that Epoch AI's table calls multinational, beside a country."""


def told(row: Row) -> Row:
    """The row with what the design and the other shared files say of it."""
    parent, who = PARENTS.get(row.account, (row.parent, ""))
    conflicts = [row.conflict, CONFLICTS.get(row.account, "")]
    if row.organisation in MULTINATIONAL:
        conflicts.append("epoch:INT")
    return msgspec.structs.replace(
        row,
        parent=parent,
        evidence="+".join(one for one in (row.evidence, who) if one),
        conflict="; ".join(one for one in conflicts if one),
    )


def may_ship(row: Row) -> bool:
    """Whether a row rests on something else than the table without a licence."""
    kinds = {one.partition("(")[0].strip() for one in row.evidence.split("+")}
    return bool(kinds - {UNLICENSED, ""})


def main() -> None:
    source = Path(sys.argv[1])
    rows, faults = read_rows(source.read_text("utf-8"), SOURCE)
    kept = [msgspec.structs.replace(row, ship="yes") for row in map(told, rows) if may_ship(row)]
    TARGET.write_text(write_rows(sorted(kept, key=lambda row: row.account.lower())), "utf-8")
    with TARGET.open(encoding="utf-8") as written:
        count = sum(1 for _ in csv.reader(written)) - 1
    print(f"{count} of {len(rows)} rows kept, {len(faults)} lines not understood")


if __name__ == "__main__":
    main()
