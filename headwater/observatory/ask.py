"""Asks a question: finds who can answer it, runs its plan, gathers the evidence, keeps the answer.

`ask(world, "downloads-by-country", Choices(attribution="root"))` is all that pages, the command line, claims and
reports use. Refuses to know SQL of any question (questions/) and how answers are shown.
"""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose was quoted by the questions
from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from typing import Any

import msgspec
import pyarrow as pa

from headwater.ground.errors import EntryMissing, HeadwaterError, Invalid
from headwater.observatory.answer import Answer, Evidence, Source, Span, cache_key, keep, kept
from headwater.observatory.choices import ROWS_MAX, Choices
from headwater.observatory.choices import described as choices_described
from headwater.observatory.families import Families, quoted
from headwater.observatory.heeded import checked, heeds, refusal, stated
from headwater.observatory.questions import (
    adoption,
    concentration,
    derivatives,
    events,
    fingerprints,
    licences,
    likes,
    providers,
    published,
    relations,
    releases,
    shares,
    support,
    trends,
    withdrawn,
)
from headwater.observatory.questions import (
    series as series_questions,
)
from headwater.observatory.questions.over_time import past, said
from headwater.observatory.questions.plan import ATTRIBUTIONS, Plan, Question, Scope, Share, has
from headwater.observatory.questions.population import missing
from headwater.observatory.run import RESTING, Reader
from headwater.observatory.schema import REFERENCE
from headwater.observatory.steps import Step, reads, whole
from headwater.observatory.world import Snapshot, World

VERSION = 3
"""Grows when a question's meaning changes, so that no older answer is taken from the cache."""
ALL = "all"
GROUPS_LOOKED_AT = 5_000  # of a share, the largest first: what could lead, or move a lead
POPULATIONS_MAX = 100  # snapshots that one question may be asked of at once
GROUPS = (shares, derivatives, relations, licences, likes, releases, concentration, trends, adoption, providers,
          support, withdrawn, published, events, series_questions, fingerprints)  # fmt: skip
QUESTIONS: dict[str, Question] = {one.name: one for group in GROUPS for one in group.QUESTIONS}
"""Every question by its name, in the order in which they are listed."""
PREPARED = {"chain-depth": "root", "automated-series": "series"}
"""Questions with a part that lasts and takes longest: the roots of all chains, the automated series."""
Row = dict[str, Any]


def question(name: str) -> Question:
    """Raises EntryMissing for a name that is none, with the names that are near it."""
    if name in QUESTIONS:
        return QUESTIONS[name]
    near = [one for one in QUESTIONS if any(word and word in one for word in name.lower().split("-"))]
    known = ", ".join(near[:12] or list(QUESTIONS)[:12])
    raise EntryMissing("observatory", text=f"question: {name[:60]!r} is not known. Near it: {known}")


def ask(world: World, name: str, choices: Choices | None = None, *, fresh: bool = False) -> Answer:
    """The answer to a question.

    Raises EntryMissing: no such question or snapshot. Invalid: a choice that the question does not honour, or a
    population that lacks what it needs; the text names what is missing and who has it. `fresh`: not from the cache.
    """
    began = time.perf_counter()
    asked = question(name)
    chosen = checked(asked, choices or Choices())
    populations = _populations(world, asked, chosen)
    known = _known(world, asked, chosen, populations)
    every = world.snapshots()
    older = {one.id: past(asked, chosen, one, every) for one in populations}
    key = _key(world, asked, chosen, (*populations, *known, *(one for some in older.values() for one in some)))
    if not fresh and (found := kept(world.cache / "answers", key)) is not None:
        return replace(found, took_s=time.perf_counter() - began)
    parts = [_one(world, asked, chosen, one, known, older[one.id]) for one in populations]
    answer = _joined(parts, populations) if len(parts) > 1 else parts[0]
    answer = replace(answer, key=key, choices=chosen, took_s=time.perf_counter() - began)
    keep(world.cache / "answers", answer)
    return answer


def can_answer(world: World, name: str, choices: Choices | None = None) -> list[Snapshot]:
    """The snapshots that a question can be asked of, the one that it would choose first."""
    return list(_able(world, question(name), choices or Choices()))


def prepare(world: World, snapshot: Snapshot) -> None:
    """Makes what many questions want of a snapshot before the first of them comes; for the end of an import."""
    choices = Choices(population=(snapshot.id,))
    scope = _scope(snapshot, choices, ())
    for name, step in PREPARED.items():
        if not missing(question(name), scope):
            with RESTING.reader(world, (snapshot,), scope.as_of.date()) as reader:
                _define(reader, question(name).build(scope).steps, f"from {step}")


def _populations(world: World, asked: Question, choices: Choices) -> tuple[Snapshot, ...]:
    named = [name for name in choices.population if name != ALL]
    found = {one.id: one for one in (world.snapshot(name) for name in named)}
    for one in found.values():
        older = past(asked, choices, one, world.snapshots())
        lacking = missing(asked, _scope(one, choices, world.having("model"), older))
        if lacking:
            raise _cannot(world, asked, choices, f"{asked.name}: snapshot {one.id} has no {', no '.join(lacking)}")
        if refused := _refusal(world, asked, choices, one):
            raise _cannot(world, asked, choices, refused.text) if isinstance(refused, Invalid) else refused
    if ALL in choices.population:
        found |= {one.id: one for one in sorted(_able(world, asked, choices), key=lambda one: (one.at, one.id))}
    if not choices.population:
        first = next(_able(world, asked, choices), None)
        found = {first.id: first} if first else {}
    if not found:
        for one in _complete(world, asked, choices)[:1]:  # a choice is in the way: the best of them says which
            raise _refusal(world, asked, choices, one) or AssertionError(f"{one.id} can answer")
        needs = ", ".join(map(_part, asked.needs)).replace("`", "")
        raise EntryMissing(
            "observatory",
            text=f"{asked.name}: no snapshot has what it needs ({needs}). Import one: headwater observatory import",
        )
    if len(found) > POPULATIONS_MAX:
        raise Invalid(f"population: {len(found)} snapshots; {POPULATIONS_MAX} can be asked at once")
    return tuple(found.values())


def _cannot(world: World, asked: Question, choices: Choices, why: str) -> Invalid:
    others = ", ".join(able.id for able in islice(_able(world, asked, choices), 10)) or "none"
    return Invalid(f"{why}. Snapshots that can answer: {others}")


def _able(world: World, asked: Question, choices: Choices) -> Iterator[Snapshot]:
    """Those that have all that is needed and to which every choice means something, the best first."""
    found = iter(_complete(world, asked, choices))
    if not choices.made():
        return found
    return (one for one in found if heeds(asked, _told_scope(world, asked, choices, one)))


def _refusal(world: World, asked: Question, choices: Choices, one: Snapshot) -> HeadwaterError | None:
    return refusal(asked, _told_scope(world, asked, choices, one)) if choices.made() else None


def _told_scope(world: World, asked: Question, choices: Choices, one: Snapshot) -> Scope:
    """All that is known before anything is looked at: the population, its past, and those that may tell facts."""
    older = past(asked, choices, one, world.snapshots())
    return _scope(one, choices, _known(world, asked, choices, (one,)), older)


def _complete(world: World, asked: Question, choices: Choices) -> list[Snapshot]:
    """Those that have all that is needed: first what suits the question, then what has most of what it wants, newest
    first. A snapshot that only repeats an older day of the same name comes after its newest."""
    every = world.snapshots()
    told = [one for one in every if one.manifest.rows.get("model")]
    able = []
    for one in every:
        try:
            if not missing(asked, _scope(one, choices, told, past(asked, choices, one, every))):
                able.append(one)
        except Invalid:  # it keeps no days, or lists no models
            continue
    newest = {one.line: one.id for one in every}

    def rank(one: Snapshot) -> tuple[object, ...]:
        named = (one.name, one.line, one.manifest.source)  # a source is suited by its name, or by its kind
        suited = min((asked.suits.index(name) for name in named if name in asked.suits), default=len(asked.suits))
        wanted = sum(1 for want in asked.wants if has(one, want))
        return one.id == newest[one.line], -suited, wanted, one.at, one.id

    return sorted(able, key=rank, reverse=True)


def _known(world: World, asked: Question, choices: Choices, populations: Sequence[Snapshot]) -> tuple[Snapshot, ...]:
    """The snapshots that may tell facts: those chosen, or all listings, the population's own time first."""
    if "known" not in asked.honours:
        return ()
    if choices.known:
        return tuple({one.id: one for one in (world.snapshot(name) for name in choices.known)}.values())
    day = populations[0].at
    own = {one.id for one in populations}
    return tuple(sorted((one for one in world.having("model") if one.id not in own),
                        key=lambda one: (abs(one.at - day), one.id)))  # fmt: skip


def _scope(one: Snapshot, choices: Choices, known: Iterable[Snapshot], older: tuple[Snapshot, ...] = ()) -> Scope:
    def nothing(sql: str) -> pa.Table:
        raise AssertionError(f"nothing may be asked before a population is chosen: {sql}")

    return Scope(choices, one, tuple(known), nothing, older)


def _one(
    world: World, asked: Question, choices: Choices, one: Snapshot, known: tuple[Snapshot, ...],
    older: tuple[Snapshot, ...],
) -> Answer:  # fmt: skip
    day = (choices.as_of or _scope(one, choices, ()).as_of).date()
    every = {snapshot.id: snapshot for snapshot in (one, *older, *known)}
    with RESTING.reader(world, tuple(every.values()), day) as reader:
        scope = Scope(choices, one, known, reader.table, older)
        plan = asked.build(scope)
        # What evidence is taken of is read several times.
        outside = " ".join((plan.select, *(f"from {share.units}" for share in plan.shares)))
        _define(reader, plan.steps, outside)
        _check_sort(reader, plan, choices)
        shown = _ordered(plan, choices)
        table = reader.table(shown)
        seen: dict[str, Row] = {}
        evidence = tuple(_evidence(reader, one, share, seen) for share in plan.shares)
        caveats = [*plan.caveats, *said(scope), *_said_of(plan, choices, table, one)]
        return Answer(
            question=asked.name, title=asked.title, definition=asked.definition, chart=asked.chart, table=table,
            choices=choices, stated=stated(asked, scope), evidence=evidence,
            registry_version=reader.registry.version, licences_version=world.licences().version,
            snapshots=(
                Source.of(one),
                *(Source.of(other, "earlier") for other in older),
                *(Source.of(other, "told facts") for other in known if other not in (one, *older)),
            ),
            sql=_written(plan, shown), caveats=tuple(dict.fromkeys(caveats)), took_s=0.0,
        )  # fmt: skip


def _define(reader: Reader, steps: Sequence[Step], outside: str) -> None:
    """Keeps what several parts read, or what is read `outside`, as tables; what only one part reads becomes a part of
    that one.

    Writing three million rows down for one reader would take as long as the rest of the question. What an earlier
    question has left is used, and then nothing that it was made of is made again.
    """
    wholes = whole(steps)
    lasting = {step.name: _lasting(reader, wholes[step.name]) for step in steps if step.lasting}
    wanted: list[Step] = []
    made: list[str] = []
    tables: set[str] = {name for name, key in lasting.items() if key}
    for step in reversed(steps):
        often = sum(reads(sql, step.name) for sql in made)
        if reads(outside, step.name) or often > 1:
            tables.add(step.name)
        if reads(outside, step.name) or often:
            wanted.insert(0, step)
            if reader.keeps(step.name, wholes[step.name], lasting.get(step.name, "")):
                tables.add(step.name)
            else:
                made.append(step.sql)
    inner: dict[str, str] = {}
    for step in wanted:
        if step.name not in tables:
            inner[step.name] = _with(inner, step.sql)
        else:
            reader.define(step.name, _with(inner, step.sql), wholes[step.name], lasting.get(step.name, ""))


def _lasting(reader: Reader, sql: str) -> str:
    """What the rows of a part hang on, with all that it is made of; nothing if that is more than snapshots."""
    if any(reads(sql, name) for name in REFERENCE) or "family_of(" in sql:
        return ""
    read = [one for one in reader.snapshots if quoted(one.id) in sql]
    return "\n".join((sql, str(VERSION), *(f"{one.manifest.sha256} {one.manifest.version}" for one in read)))


def _with(inner: dict[str, str], sql: str) -> str:
    """A SELECT with the parts that it reads put before it."""
    read = {name: text for name, text in inner.items() if reads(sql, name)}
    if not read:
        return sql
    return f"with {', '.join(f'{name} as ({text})' for name, text in read.items())} select * from ({sql}) part"


def _ordered(plan: Plan, choices: Choices) -> str:
    order = plan.order
    if choices.sort:
        column, way = choices.sort.removeprefix("-"), "asc" if choices.sort.startswith("-") else "desc"
        name = column.replace('"', '""')
        order = f'"{name}" {way} nulls last, {order}'
    return f"select * from ({plan.select}) answer order by {order} limit {choices.top or plan.top or ROWS_MAX}"


def _check_sort(reader: Reader, plan: Plan, choices: Choices) -> None:
    if choices.sort:
        names = reader.table(f"select * from ({plan.select}) answer limit 0").column_names
        if choices.sort.removeprefix("-") not in names:
            raise Invalid(f"sort: {choices.sort[:40]!r} is not a column; there are {', '.join(names)}")


def _written(plan: Plan, shown: str) -> str:
    """The whole as one SELECT that anybody can run over the same snapshots."""
    steps = ",\n".join(f"{step.name} as (\n  {step.sql}\n)" for step in plan.steps)
    return f"with {steps}\n{shown}" if steps else shown


def _said_of(plan: Plan, choices: Choices, table: pa.Table, one: Snapshot) -> list[str]:
    said = []
    limit = choices.top or plan.top or ROWS_MAX
    if table.num_rows == limit:
        said.append(f"Cut to the first {limit} rows.")
    if one.manifest.biases:
        said.append(f"{one.id}: {one.manifest.biases}")
    return said


def _evidence(reader: Reader, one: Snapshot, share: Share, seen: dict[str, Row]) -> Evidence:
    """Coverage, authors, and the leader's gap with every model and every account left out once.

    seen: sums that shares of the same units have in common.
    """
    classes = ", ".join(quoted(name) for name in share.classes) or "''"
    totals = reader.table(
        f"select {share.group} as k, sum({share.weight})::double as d, sum({share.rows})::bigint as n, "
        f"max({share.most})::double as most, arg_max({share.most_id}, {share.most}) as most_id, "
        f"{share.group} in ({classes}) as is_class from {share.units} where {share.rows} > 0 "
        f"group by 1 order by d desc nulls last, k limit {GROUPS_LOOKED_AT}"
    )
    counted = (
        f"select count(distinct author) as authors, coalesce(sum({share.weight}), 0)::double as d, "
        f"coalesce(sum({share.rows}), 0)::bigint as n from {share.units} where {share.rows} > 0"
    )
    sums = seen[counted] = seen.get(counted) or reader.table(counted).to_pylist()[0]
    weight, rows, leading = sums["d"], sums["n"], totals.to_pylist()
    lost = [row for row in leading if row["k"] == share.unknown]
    mapped = share.unknown in share.classes and rows > 0
    base = Evidence(
        snapshot=one.id, of=share.of, rows=rows, authors=sums["authors"],
        unmapped_pct=_pct(sum(row["d"] or 0.0 for row in lost), weight) if mapped else None,
        unmapped_rows_pct=_pct(sum(row["n"] for row in lost), rows) if mapped else None,
    )  # fmt: skip
    ranked = [row for row in leading if not row["is_class"] and row["d"]]
    if len(ranked) < 2 or not weight:
        return base
    first, second = ranked[0], ranked[1]
    return msgspec.structs.replace(
        base, leader=first["k"], runner_up=second["k"], gap_pct=_pct(first["d"] - second["d"], weight),
        without_one_model=_without_one_model(leading, first, second, weight),
        without_one_account=_without_one_account(reader, share, first, second, weight),
    )  # fmt: skip


def _without_one_model(groups: Sequence[Row], first: Row, second: Row, weight: float) -> Span | None:
    """The largest model of each group is enough: leaving out a smaller one of the same group moves the gap less."""
    gaps = []
    for row in groups:
        most = row["most"] or 0.0
        if 0 < most < weight:
            leader = first["d"] - (most if row["k"] == first["k"] else 0.0)
            runner_up = second["d"] - (most if row["k"] == second["k"] else 0.0)
            gaps.append((100.0 * (leader - runner_up) / (weight - most), row["most_id"]))
    return Span(*min(gaps), *max(gaps)) if gaps else None


def _without_one_account(reader: Reader, share: Share, first: Row, second: Row, weight: float) -> Span | None:
    """An account may have models in several groups."""
    units = (
        f"select author, sum({share.weight})::double as x, "
        f"coalesce(sum({share.weight}) filter ({share.group} = $1), 0)::double as l, "
        f"coalesce(sum({share.weight}) filter ({share.group} = $2), 0)::double as r "
        f"from {share.units} where {share.weight} > 0 group by author"
    )
    gap = "100.0 * (($3 - l) - ($4 - r)) / ($5 - x)"
    found = reader.table(
        "select min(gap) as low, arg_min(author, gap) as low_without, max(gap) as high, arg_max(author, gap) as "
        f"high_without from (select author, {gap} as gap from ({units}) u where x < $5) g",
        (first["k"], second["k"], first["d"], second["d"], weight),
    ).to_pylist()[0]
    return Span(**found) if found["low"] is not None else None


def _pct(part: float, whole: float) -> float:
    return 100.0 * part / whole if whole else 0.0


def _joined(parts: Sequence[Answer], populations: Sequence[Snapshot]) -> Answer:
    """Answers of several snapshots as one table with a first column `snapshot`."""
    tables = [
        part.table.add_column(0, "snapshot", pa.array([one.id] * part.table.num_rows, pa.string()))
        for part, one in zip(parts, populations, strict=True)
    ]
    sources = {source.id: source for part in reversed(parts) for source in part.snapshots}
    return replace(
        parts[0],
        table=pa.concat_tables(tables, promote_options="permissive"),
        stated=parts[0].stated | {"population": ",".join(one.id for one in populations)},
        evidence=tuple(evidence for part in parts for evidence in part.evidence),
        snapshots=tuple(sources.values()),
        sql="\n\n".join(f"-- {one.id}\n{part.sql};" for part, one in zip(parts, populations, strict=True)),
        caveats=tuple(dict.fromkeys(text for part in parts for text in part.caveats)),
    )


def _key(world: World, asked: Question, choices: Choices, snapshots: Iterable[Snapshot]) -> str:
    return cache_key([
        str(VERSION), asked.name, choices.text(), world.registry().version, world.licences().version, _families(),
        *(f"{one.id} {one.manifest.sha256} {one.manifest.version}" for one in snapshots),
    ])  # fmt: skip


@lru_cache(maxsize=1)
def _families() -> str:
    families = Families.load()
    return repr((families.pattern_rows(), families.owner_rows()))


_HOW = (
    "Ask with `headwater observatory ask QUESTION --choice NAME=VALUE`, with "
    "`observatory.ask(world, question, Choices(...))` in Python, or at `/api/observatory/answers/QUESTION` over "
    "HTTP. Every answer carries the choices it was made with, what the registry could not map, the number of "
    "distinct authors, the range of the leader's gap when one model or one account is left out, the version of the "
    "registry, the snapshots with their dates, licences and biases, and the SQL."
)
_NEEDS = (
    "A question needs tables or columns; a snapshot without them is refused with the names of those that have "
    "them. `models` stands for any table that names models with counts: a listing, a list kept by the day, a "
    "series of counts, own events; `told` for a listing of its own "
    "or another that may tell facts."
)


def describe() -> str:
    """docs/reference/questions.md: every question with its exact definition, its source, its choices and columns."""
    lines = [
        "# Questions",
        "*Made from `headwater/observatory/questions` by `scripts/reference.py`; change it there.*",
        _HOW,
        _NEEDS,
    ]
    for group in GROUPS:
        lines.append(f"## {(group.__doc__ or '').split(':', 1)[0]}")
        lines.extend(_described(one) for one in group.QUESTIONS)
    rows = [
        f"| `{name}` | {f'`{default}`' if default else ''} | {text} |" for name, default, text in choices_described()
    ]
    lines.append("## Choices\n\n| name | default | meaning |\n| --- | --- | --- |\n" + "\n".join(rows))
    return "\n\n".join(lines) + "\n"


def _described(one: Question) -> str:
    columns = "\n".join(f"| `{name}` | {note} |" for name, note in one.columns)
    facts = [
        f"### `{one.name}`: {one.title}",
        one.definition,
        f"Source of the definition: {one.source}",
        f"Needs: {', '.join(map(_part, one.needs))}."
        + (f" Wants: {', '.join(map(_part, one.wants))}." if one.wants else ""),
        f"Choices: {', '.join(f'`{name}`' for name in one.choices)}."
        + (f" `by` is one of {', '.join(f'`{name}`' for name in one.by)}." if one.by else "")
        + _attributions(one),
        f"| column | meaning |\n| --- | --- |\n{columns}",
    ]
    return "\n\n".join(facts)


def _attributions(one: Question) -> str:
    if "attribution" not in one.choices or one.attributions == ATTRIBUTIONS:
        return ""
    return f" `attribution` is one of {', '.join(f'`{name}`' for name in one.attributions)}."


def _part(need: str) -> str:
    """`table.column|table` in words."""
    named = ("models.downloads" if one == "models.d" else one for one in need.split("|"))
    parts = (one.partition(".") for one in named)
    return " or ".join(f"`{column}` of `{table}`" if column else f"`{table}`" for table, _, column in parts)
