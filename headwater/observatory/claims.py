"""Claims: sentences that people publish, asked again of the data. A verdict is computed and never typed in.

A claim is one TOML file: the sentence, its source, a question or a SELECT, and a rule, which is an SQL expression over
the answer's rows. The rule is asked once per case, and a case states its choices; cases that disagree make the verdict
"depends on", and the case that differs from the first in the fewest choices is shown as the one that flips it. A case
without its data, or whose rule gives NULL, says nothing. Refuses to know how a verdict is shown.

Rules and SQL only ever go to a `Reader`: one SELECT, no files, no network, bounded time.
"""

# ruff: noqa: S608 - claims are SQL by nature; a Reader takes one SELECT and can reach nothing
from __future__ import annotations

import hashlib
import re
import shlex
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol
from urllib.parse import urlencode

import msgspec
import pyarrow as pa
from msgspec import Meta

from headwater.ground.errors import Corrupt, EntryMissing, HeadwaterError, Invalid
from headwater.observatory.answer import Source as Data
from headwater.observatory.ask import VERSION as ASK_VERSION
from headwater.observatory.ask import ask as ask_one
from headwater.observatory.choices import Choices
from headwater.observatory.families import quoted
from headwater.observatory.run import Reader
from headwater.observatory.schema import REFERENCE, TABLES
from headwater.observatory.world import Snapshot, World

Verdict = Literal["reproduced", "contradicted", "depends on", "undecidable"]
Word = str | int | float | bool | list[str]
"""A value that a claim states: a choice of a question, or a parameter of its SQL."""

VERSION = 2
"""Grows when the same claim over the same data would give another verdict; kept results are then asked again."""

DEFAULT = "default"  # of a choice that a case leaves out
FILE_BYTES_MAX = 64 << 10  # a claim is a page of text
CLAIMS_MAX = 500  # of the operator's; a page shows all of them
CASES_MAX = 40
FIGURES_MAX = 12
ANSWER_ROWS_MAX = 5_000  # of a question's answer, given to a rule as literals
TEXT_CHARS_MAX = 300  # of a figure: it may come from a stranger's metadata
CACHE_BYTES_MAX = 1 << 20
_ID = r"^[a-z0-9][a-z0-9-]{0,79}$"
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,59}\Z")

Text = Annotated[str, Meta(min_length=1, max_length=4_000)]
Sql = Annotated[str, Meta(max_length=20_000)]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the sentence was published."""

    title: Text
    url: Annotated[str, Meta(max_length=1_000)] = ""
    date: Annotated[str, Meta(max_length=40)] = ""


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way to ask. `choices` are a question's; `values` parameters of the SQL, as columns of the row `choice`.

    `snapshots` are for SQL: names or ids; `*TABLE` is the newest of each name that has rows of the table.
    """

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    snapshots: Annotated[tuple[str, ...], Meta(max_length=20)] = ()
    choices: dict[str, Word] = {}
    values: dict[str, Word] = {}


class Claim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`holds` is an SQL expression over the table `answer`; NULL means that these rows can't tell."""

    id: Annotated[str, Meta(pattern=_ID)]
    sentence: Text
    source: Source
    holds: Sql = ""
    question: Annotated[str, Meta(max_length=100)] = ""
    sql: Sql = ""
    figures: Annotated[dict[str, Sql], Meta(max_length=FIGURES_MAX)] = {}
    case: Annotated[tuple[Case, ...], Meta(max_length=CASES_MAX)] = ()
    needs: Annotated[tuple[str, ...], Meta(max_length=20)] = ()
    decides: Annotated[str, Meta(max_length=2_000)] = ""
    note: Annotated[str, Meta(max_length=2_000)] = ""


_ORDER: tuple[Verdict, ...] = ("depends on", "contradicted", "reproduced", "undecidable")

Figure = str | int | float | bool | None


class CaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """`holds` is None where the case says nothing; `why` then tells what was missing.

    `sql` can be asked again as it stands; `data` says of each snapshot its date, licence and biases.
    """

    name: str
    holds: bool | None
    figures: dict[str, Figure] = {}
    why: str = ""
    snapshots: tuple[str, ...] = ()
    data: tuple[Data, ...] = ()
    choices: dict[str, Word] = {}
    sql: str = ""


class Flip(msgspec.Struct, frozen=True):
    """The case that disagrees with the first one, and in which choices it differs: name -> (first's, its own)."""

    first: str
    other: str
    differs: dict[str, tuple[str, str]]


class ClaimResult(msgspec.Struct, frozen=True, kw_only=True):
    claim: Claim
    verdict: Verdict
    cases: tuple[CaseResult, ...]
    flip: Flip | None = None
    missing: str = ""
    """What data would decide it, where it is undecidable."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A claim's file that could not be taken."""

    file: str
    why: str


@dataclass(frozen=True, slots=True)
class Claims:
    """The shipped claims and the operator's; one of the operator's replaces a shipped one of the same id."""

    claims: tuple[Claim, ...]
    unreadable: tuple[Unreadable, ...]

    @classmethod
    def load(cls, world: World) -> Claims:
        found: dict[str, Claim] = {}
        bad: list[Unreadable] = []
        for name, raw in _shipped():
            try:
                one = parse(raw)
            except Invalid as error:
                raise Corrupt(f"observatory: the package's claim {name}: {error.text}; install it again") from error
            found[one.id] = one
        for path in _added(world):
            try:
                one = parse(_bounded(path))
            except (Invalid, OSError) as error:
                bad.append(Unreadable(path.name, error.text if isinstance(error, Invalid) else str(error.strerror)))
                continue
            found[one.id] = one
        return cls(tuple(found[key] for key in sorted(found)), tuple(bad))

    def named(self, claim_id: str) -> Claim:
        for one in self.claims:
            if one.id == claim_id:
                return one
        known = ", ".join(one.id for one in self.claims)
        raise EntryMissing("observatory", text=f"claim: {claim_id[:100]!r} is not known. Claims: {known}")


def parse(raw: bytes) -> Claim:
    """One file. Invalid: names the field and the rule."""
    try:
        claim = msgspec.convert(tomllib.loads(raw.decode("utf-8")), Claim)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, msgspec.ValidationError) as error:
        raise Invalid(f"claim: {error}") from error
    if claim.source.url and not claim.source.url.startswith(("https://", "http://")):
        raise Invalid(f"claim {claim.id}: source.url must begin with https:// or http://")
    if claim.question and claim.sql:
        raise Invalid(f"claim {claim.id}: has a question and sql; one of them makes the answer")
    if not claim.needs and not (claim.holds and claim.case and (claim.question or claim.sql)):
        raise Invalid(f"claim {claim.id}: needs a question or sql, a rule `holds` and at least one [[case]]")
    for case in claim.case:
        if claim.question and case.values:
            raise Invalid(f"claim {claim.id}: case {case.name!r} has values, which are for sql; a question has choices")
        if claim.sql and case.choices:
            raise Invalid(f"claim {claim.id}: case {case.name!r} has choices, which are a question's; sql has values")
        if claim.question and case.snapshots:
            raise Invalid(f"claim {claim.id}: case {case.name!r} has snapshots; a question's are its choice population")
        for name in case.values:
            if not _NAME.match(name):
                raise Invalid(f"claim {claim.id}: {name[:60]!r} is no name of a value: use lower-case letters and '_'")
    if len({case.name for case in claim.case}) != len(claim.case):
        raise Invalid(f"claim {claim.id}: two cases have the same name")
    return claim


class Answered(Protocol):
    """What a rule needs of a question's answer."""

    @property
    def table(self) -> pa.Table: ...

    @property
    def sql(self) -> str: ...

    @property
    def snapshots(self) -> Sequence[Data]: ...


Ask = Callable[[World, str, dict[str, Word]], Answered]
"""Asks a question by name; the choices are those of the case."""


def ask_question(world: World, name: str, choices: dict[str, Word]) -> Answered:
    """The question's answer, with the choices as a claim writes them."""
    return ask_one(world, name, Choices.parse(written(choices)))


def written(choices: dict[str, Word]) -> list[tuple[str, str]]:
    """The choices of a case as an address and the command line have them."""
    return [(key, said(value) if not isinstance(value, list) else ",".join(value)) for key, value in choices.items()]


def query(claim: Claim, case: CaseResult) -> str:
    """What asks the question of a case: its choices as an address has them; nothing for a claim with its own SQL."""
    return urlencode(written(case.choices)) if claim.question else ""


def command(claim: Claim, case: CaseResult) -> str:
    """What asks the question of a case on the command line; nothing for a claim with its own SQL."""
    if not claim.question:
        return ""
    choices = (f"--choice {shlex.quote(f'{name}={value}')}" for name, value in written(case.choices))
    return " ".join(("headwater observatory ask", claim.question, *choices))


def data_of(result: ClaimResult) -> list[Data]:
    """Every snapshot behind a verdict, once."""
    return list({one.id: one for case in result.cases for one in case.data}.values())


def check(world: World, claim: Claim, ask: Ask = ask_question, state: bytes | None = None) -> ClaimResult:
    """Computes the verdict, or takes it from the cache if neither claim nor data nor registry changed.

    state: `state_of(world)`, for who checks many.
    """
    state = state or state_of(world)
    before = kept_result(world, claim, state)
    if before is not None:
        return before
    result = judge(claim, _unmet(world, claim), tuple(_case(world, claim, case, ask) for case in claim.case))
    if state_of(world) != state:  # an import came in between: whoever comes next asks of the new data
        return result
    kept = _cache_file(world, claim, state)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        made = kept.with_name(f"{kept.name}.{hashlib.sha256(str(datetime.now(UTC)).encode()).hexdigest()[:8]}")
        made.write_bytes(msgspec.json.encode(result))
        made.replace(kept)
    except OSError:
        pass  # a read-only world can be asked
    return result


def kept_result(world: World, claim: Claim, state: bytes) -> ClaimResult | None:
    """The verdict from the cache, if neither claim nor data nor registry changed since."""
    kept = _cache_file(world, claim, state)
    try:
        if kept.stat().st_size <= CACHE_BYTES_MAX:
            return msgspec.json.decode(kept.read_bytes(), type=ClaimResult)
    except (OSError, msgspec.MsgspecError):
        pass  # the cache may be deleted or be another version's at any time
    return None


def check_all(world: World, ask: Ask = ask_question) -> tuple[list[ClaimResult], tuple[Unreadable, ...]]:
    """Every claim with its verdict, what hangs on a choice first, and the files that could not be taken."""
    loaded = Claims.load(world)
    state = state_of(world)
    results = [check(world, claim, ask, state) for claim in loaded.claims]
    return sorted(results, key=lambda one: (_ORDER.index(one.verdict), one.claim.id)), loaded.unreadable


def judge(claim: Claim, unmet: Sequence[str], cases: tuple[CaseResult, ...]) -> ClaimResult:
    """The verdict of cases: pure, so that nothing but their rules can decide it."""
    known = () if unmet else tuple(case for case in cases if case.holds is not None)
    if not known:
        lacking = [f"no snapshot here has {one}" for one in unmet] or sorted({case.why for case in cases if case.why})
        parts = (claim.decides.rstrip("."), "; ".join(lacking))
        missing = " ".join(f"{part[0].upper()}{part[1:]}." for part in parts if part)
        return ClaimResult(claim=claim, verdict="undecidable", cases=cases, missing=missing)
    first = known[0]
    others = [case for case in known if case.holds != first.holds]
    if not others:
        verdict: Verdict = "reproduced" if first.holds else "contradicted"
        return ClaimResult(claim=claim, verdict=verdict, cases=cases)
    flips = [Flip(first.name, other.name, differences(first, other)) for other in others]
    nearest = min(flips, key=lambda flip: len(flip.differs))
    return ClaimResult(claim=claim, verdict="depends on", cases=cases, flip=nearest)


def differences(one: CaseResult, other: CaseResult) -> dict[str, tuple[str, str]]:
    """The choices in which two cases differ: name -> both values as text; the default is said as such."""
    stated = [
        {"data": ", ".join(case.snapshots) or DEFAULT, **{name: said(value) for name, value in case.choices.items()}}
        for case in (one, other)
    ]
    names = dict.fromkeys([*stated[0], *stated[1]])
    pairs = {name: (stated[0].get(name, DEFAULT), stated[1].get(name, DEFAULT)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def said(value: Word) -> str:
    """A choice as people read it."""
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return str(value).lower() if isinstance(value, bool) else (str(value) or "none")


def _case(world: World, claim: Claim, case: Case, ask: Ask) -> CaseResult:
    stated: dict[str, Word] = {**case.choices, **case.values}
    snapshots: list[Snapshot] = []
    data: tuple[Data, ...] = ()
    sql = ""
    try:
        if claim.question:
            answer = ask(world, claim.question, dict(case.choices))
            sql, body = answer.sql, rows_sql(answer.table)
            data = tuple(one for one in answer.snapshots if one.role == "population")
        else:
            snapshots = [one for name in case.snapshots for one in _named(world, name)]
            data = tuple(Data.of(one) for one in snapshots)
            body = claim.sql.strip()
            sql = f"{_choice_sql(case)}\nselect * from (\n{body}\n) answer" if case.values else body
        with Reader(world, snapshots) as reader:
            row = reader.table(_rule_sql(claim, case, body)).to_pylist()[0]
    except (HeadwaterError, IndexError) as error:
        why = error.text if isinstance(error, HeadwaterError) else "the rule gave no row"
        ids = tuple(one.id for one in data) or case.snapshots
        return CaseResult(name=case.name, holds=None, why=why, snapshots=ids, data=data, choices=stated, sql=sql)
    return CaseResult(
        name=case.name, holds=row["holds"], why="" if row["holds"] is not None else "its rows can't tell",
        figures={name: figure(row[f"figure_{at}"]) for at, name in enumerate(claim.figures)},
        snapshots=tuple(one.id for one in data), data=data, choices=stated, sql=sql,
    )  # fmt: skip


def _rule_sql(claim: Claim, case: Case, body: str) -> str:
    figures = "".join(f",\n({sql}\n) as figure_{at}" for at, sql in enumerate(claim.figures.values()))
    return (
        f"{_choice_sql(case)}, answer as materialized (\n{body}\n)\n"
        f"select (\n{claim.holds}\n)::boolean as holds{figures}"
    )


def _choice_sql(case: Case) -> str:
    """The case's values as the one row that its SQL reads."""
    choice = ", ".join(f"{literal_of(value)} as {name}" for name, value in case.values.items()) or "null as nothing"
    return f"with choice as (select {choice})"


def rows_sql(table: pa.Table) -> str:
    """An answer's rows as a SELECT of literals, so that a rule can be asked of them. TooMuch rows: Invalid."""
    if table.num_rows > ANSWER_ROWS_MAX:
        raise Invalid(f"claim: the answer has more than {ANSWER_ROWS_MAX} rows; ask a narrower question")
    names = [f'"{name.replace(chr(34), chr(34) * 2)}"' for name in table.column_names]
    types = [_sql_type(field.type) for field in table.schema]
    nulls = ", ".join(f"null::{kind} as {name}" for name, kind in zip(names, types, strict=True))
    if not table.num_rows:
        return f"select {nulls} where false"
    rows = ",\n".join(
        "(" + ", ".join(f"{literal_of(v)}::{t}" for v, t in zip(row.values(), types, strict=True)) + ")"
        for row in table.to_pylist()
    )
    return f"select * from (values {rows}) as rows({', '.join(names)})"


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind):
        return "bigint"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "double"
    if pa.types.is_date(kind):
        return "date"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    return "varchar[]" if pa.types.is_list(kind) or pa.types.is_large_list(kind) else "varchar"


def literal_of(value: object) -> str:
    """A value as an SQL literal; what is no plain value goes in as its text."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float | Decimal):
        return f"{quoted(str(value))}::double"
    if isinstance(value, list | tuple):
        return f"[{', '.join(quoted(str(one)) for one in value)}]::varchar[]"
    return quoted(value.isoformat() if isinstance(value, date) else str(value))


def figure(value: Any) -> Figure:
    """A cell of an answer as a figure: numbers stay numbers, the rest is short text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float | Decimal):
        made = round(float(value), 4)
        return int(made) if made.is_integer() else made
    text = ", ".join(str(one) for one in value) if isinstance(value, list) else str(value)
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 1] + "…"


def _unmet(world: World, claim: Claim) -> list[str]:
    """Which of `needs` (table or table.column) no snapshot has."""
    return [need for need in claim.needs if not _offers(world, need)]


def _offers(world: World, need: str) -> bool:
    name, _, column = need.partition(".")
    table = TABLES.get(name)
    if table is None or (column and column not in table.names):
        return False
    if not column:
        return bool(world.having(name))
    question = f'select 1 as found from "{name}" where "{column}" is not null limit 1'
    with Reader(world, world.having(name)) as reader:
        return len(reader.table(question)) > 0


def _named(world: World, name: str) -> list[Snapshot]:
    """The snapshots that a case names. EntryMissing: there are none."""
    if not name.startswith("*"):
        try:
            return [world.snapshot(name)]
        except EntryMissing as error:
            raise EntryMissing("observatory", text=f"the snapshot {name!r} is not here") from error
    newest = {one.name: one for one in world.having(name[1:])}
    if not newest:
        raise EntryMissing("observatory", text=f"no snapshot here has rows of {name[1:]}")
    return list(newest.values())


def state_of(world: World) -> bytes:
    """All of the world that a verdict may hang on."""
    data = [(one.id, one.manifest.sha256, one.manifest.version) for one in world.snapshots()]
    return msgspec.json.encode(
        [VERSION, ASK_VERSION, data, world.registry().version, world.licences().version, sorted((*TABLES, *REFERENCE))]
    )


def _cache_file(world: World, claim: Claim, state: bytes) -> Path:
    key = hashlib.sha256(state + msgspec.json.encode(claim)).hexdigest()[:24]
    return world.cache / "claims" / f"{claim.id}-{key}.json"


def _shipped() -> list[tuple[str, bytes]]:
    folder = resources.files("headwater.observatory").joinpath("data/claims")
    return sorted((one.name, one.read_bytes()) for one in folder.iterdir() if one.name.endswith(".toml"))


def _added(world: World) -> list[Path]:
    if not world.claims_folder.is_dir():
        return []
    return sorted(world.claims_folder.glob("*.toml"))[:CLAIMS_MAX]


def _bounded(path: Path) -> bytes:
    if not path.is_file():
        raise Invalid("claim: is no file")
    with path.open("rb") as file:
        raw = file.read(FILE_BYTES_MAX + 1)
    if len(raw) > FILE_BYTES_MAX:
        raise Invalid(f"claim: has more than {FILE_BYTES_MAX} bytes")
    return raw
