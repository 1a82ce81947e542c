"""Questions on the command line: the list of them, and the answer to one as a table, CSV, JSON or Parquet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headwater.cli.observe import json_option, open_world
from headwater.cli.shared import data_option
from headwater.ground.errors import Conflict, Invalid

if TYPE_CHECKING:
    from headwater.observatory.answer import Answer, Evidence

CELL_CHARS_MAX = 60  # of a table on a screen; the files have everything


@click.command()
@click.argument("question")
@click.option(
    "--choice", "choices", multiple=True, metavar="NAME=VALUE", help="A choice of the question; may be repeated."
)
@click.option("--csv", "as_csv", is_flag=True, help="CSV on stdout.")
@json_option
@click.option("--parquet", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="A Parquet file.")
@click.option("--sql", "as_sql", is_flag=True, help="Only the SQL behind the answer.")
@click.option("--fresh", is_flag=True, help="Not from the cache.")
@click.option("--force", is_flag=True, help="Write over a file.")
@data_option
def ask(
    *,
    question: str,
    choices: tuple[str, ...],
    as_csv: bool,
    as_json: bool,
    parquet: Path | None,
    as_sql: bool,
    fresh: bool,
    force: bool,
    data: str | None,
) -> None:
    """Answer QUESTION over what was imported, with its choices, coverage, evidence, sources and SQL.

    `headwater observatory questions` lists the questions; docs/reference/questions.md defines them.
    """
    from headwater.observatory import answer as answers
    from headwater.observatory.ask import ask as ask_one
    from headwater.observatory.choices import Choices

    if sum((as_csv, as_json, as_sql, parquet is not None)) > 1:
        raise Invalid("--csv, --json, --sql, --parquet: choose one")
    if parquet is not None and parquet.exists() and not force:
        raise Conflict(f"{parquet} exists; write over it with --force")
    given = Choices.parse(_pair(one) for one in choices)
    found = ask_one(open_world(data), question, given, fresh=fresh)
    if parquet is not None:
        parquet.write_bytes(answers.parquet_bytes(found))
        click.echo(f"{parquet}: {found.table.num_rows} rows", err=True)
    elif as_csv:
        sys.stdout.write(answers.csv_text(found))
    elif as_json:
        click.echo(msgspec.json.format(answers.json_bytes(found), indent=2))
    elif as_sql:
        click.echo(found.sql)
    else:
        _show(found)


@click.command()
@click.argument("question", required=False, metavar="[QUESTION]")
@data_option
@json_option
def questions(question: str | None, data: str | None, as_json: bool) -> None:
    """List the questions, or say all about one: definition, source, choices, columns, and who can answer it."""
    from headwater.observatory.ask import QUESTIONS, can_answer
    from headwater.observatory.ask import question as named

    world = open_world(data)
    chosen = [named(question)] if question else list(QUESTIONS.values())
    able = {one.name: [snapshot.id for snapshot in can_answer(world, one.name)] for one in chosen}
    if as_json:
        rows = [
            {
                "question": one.name, "group": one.group, "title": one.title, "definition": one.definition,
                "source": one.source, "needs": one.needs, "choices": one.choices, "by": one.by,
                "columns": dict(one.columns), "can_answer": able[one.name],
            }
            for one in chosen
        ]  # fmt: skip
        click.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2))
        return
    console = Console(highlight=False)
    if question:
        one = chosen[0]
        console.print(Text(f"{one.name}: {one.title}", style="bold"))
        console.print(Text(one.definition))
        console.print(Text(f"Source: {one.source}", style="dim"))
        console.print(Text(f"Choices: {', '.join(one.choices)}"))
        if one.by:
            console.print(Text(f"by: {', '.join(one.by)}"))
        console.print(Text(f"Can answer: {', '.join(able[one.name]) or 'nothing that is here'}"))
        _print(console, ("column", "meaning"), [(name, note) for name, note in one.columns])
        return
    _print(console, ("question", "title", "answered by"), [
        (one.name, one.title, ", ".join(able[one.name][:3]) + (", ..." if len(able[one.name]) > 3 else ""))
        for one in chosen
    ])  # fmt: skip


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise Invalid(f"--choice: {text[:60]!r} must be NAME=VALUE")
    return name.strip(), value


def _show(answer: Answer) -> None:
    """The table on stdout; what stands behind it on stderr, so that a pipe gets the table alone."""
    out = Console(highlight=False)
    names = answer.table.column_names
    rows = [tuple(_cell(value) for value in row.values()) for row in answer.rows()]
    numeric = {name for name in names if _is_number(answer.table.schema.field(name).type)}
    _print(out, names, rows, numeric)
    said = Console(stderr=True, highlight=False)
    said.print(Text(f"\n{answer.title}. {answer.definition}", style="dim"))
    said.print(Text("Choices: " + " ".join(f"{name}={value}" for name, value in answer.stated.items())))
    for one in answer.evidence:
        said.print(Text(_evidence(one)))
    for source in answer.snapshots:
        if source.role == "population":
            said.print(Text(f"Source: {source.id}, {source.date}; {source.licence}; {source.attribution}", style="dim"))
    said.print(Text(f"Registry {answer.registry_version}, licences {answer.licences_version}", style="dim"))
    for caveat in answer.caveats:
        said.print(Text(f"- {caveat}", style="dim"))
    known = "from the cache" if answer.cached else "asked"
    said.print(Text(f"{answer.table.num_rows} rows, {known}, {answer.took_s:.2f} s", style="dim"))


def _evidence(one: Evidence) -> str:
    parts = [f"{one.snapshot} {one.of}: {one.rows:,} models by {one.authors:,} authors"]
    if one.unmapped_pct is not None:
        parts.append(f"unmapped {one.unmapped_pct:.2f} % ({one.unmapped_rows_pct or 0:.1f} % of models)")
    if one.gap_pct is not None:
        parts.append(f"{one.leader} leads {one.runner_up} by {one.gap_pct:.2f} points")
    for what, span in (("model", one.without_one_model), ("account", one.without_one_account)):
        if span is not None:
            parts.append(
                f"without one {what}: {span.low:.2f} ({span.low_without}) to {span.high:.2f} ({span.high_without})"
            )
    return "; ".join(parts) + (". Leaving one out changes who leads" if one.flips else "")


def _is_number(kind: object) -> bool:
    return str(kind).startswith(("int", "double", "float"))


def _cell(value: object) -> str:
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    text = ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)
    return text if len(text) <= CELL_CHARS_MAX else text[: CELL_CHARS_MAX - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _print(
    console: Console, names: tuple[str, ...] | list[str], rows: list[tuple[str, ...]], right: set[str] | None = None
) -> None:
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(Text(name), justify="right" if right and name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: a name of a model is no markup
    console.print(table)
