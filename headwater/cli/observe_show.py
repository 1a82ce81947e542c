"""What the Observatory found, as commands: verdicts of claims, a chart in a file, the whole as a static site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headwater.cli.observe import json_option, open_world, watching
from headwater.cli.shared import data_option
from headwater.ground.errors import Conflict, Invalid

if TYPE_CHECKING:
    from headwater.observatory.claims import ClaimResult

_STYLES = {"reproduced": "green", "contradicted": "red", "depends on": "yellow", "undecidable": "dim"}
_KINDS = (".png", ".svg", ".json")
FEW = 4  # names of snapshots in a table's cell


@click.command()
@click.argument("claim_id", required=False, metavar="[ID]")
@click.option("--sql", "as_sql", is_flag=True, help="Only the rule and the SQL of every case of one claim.")
@data_option
@json_option
def claims(claim_id: str | None, data: str | None, as_json: bool, as_sql: bool) -> None:
    """Check what people publish: every claim with its verdict, or one with all its cases, queries and data.

    A claim of your own is a TOML file in DATA/observatory/claims.
    """
    from headwater.observatory.claims import Claims, check, check_all

    if as_sql and (as_json or not claim_id):
        raise Invalid("--sql: shows the SQL of one claim; name it, and leave out --json")
    world = open_world(data)
    if claim_id:
        one = check(world, Claims.load(world).named(claim_id))
        if as_json:
            click.echo(msgspec.json.encode(one))
        elif as_sql:
            click.echo(_sql_of(one))
        else:
            _show_one(one)
        return
    results, unreadable = check_all(world)
    for bad in unreadable:
        click.echo(f"{bad.file}: {bad.why}", err=True)
    if as_json:
        click.echo(msgspec.json.encode(results))
        return
    table = Table(box=None, pad_edge=False, expand=True)
    for name in ("verdict", "claim", "sentence"):
        table.add_column(name, no_wrap=name != "sentence")
    for one in results:
        table.add_row(Text(one.verdict, style=_STYLES[one.verdict]), one.claim.id, Text(_sentence(one)))
    Console().print(table)


@click.command()
@click.argument("question")
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="FILE.png, .svg or .json."
)
@click.option(
    "--choice", "choices", multiple=True, metavar="NAME=VALUE", help="A choice of the question; may be repeated."
)
@click.option("--theme", type=click.Choice(["light", "dark"]), default="light", show_default=True)
@click.option("--width", "width_px", type=int, default=720, show_default=True, help="In pixels; a phone has some 360.")
@click.option("--scale", type=float, default=2.0, show_default=True, help="Pixels of a PNG per pixel of the width.")
@click.option("--force", is_flag=True, help="Write over a file.")
@data_option
def chart(
    *,
    question: str,
    output: Path,
    choices: tuple[str, ...],
    theme: str,
    width_px: int,
    scale: float,
    force: bool,
    data: str | None,
) -> None:
    """Draw the answer to a question: PNG, SVG, or the Vega-Lite specification as JSON."""
    from headwater.observatory import charts
    from headwater.observatory.ask import ask
    from headwater.observatory.choices import Choices

    if output.suffix not in _KINDS:
        raise Invalid(f"-o: {output.name[:100]!r} must end in {', '.join(_KINDS)}")
    if output.exists() and not force:
        raise Conflict(f"{output} exists; write over it with --force")
    answer = ask(open_world(data), question, Choices.parse(pair_of(one) for one in choices))
    spec = charts.themed(
        charts.draw(answer.chart, answer.table, answer.title), "dark" if theme == "dark" else "light", width_px
    )
    if output.suffix == ".json":
        output.write_bytes(msgspec.json.format(msgspec.json.encode(spec), indent=1))
    elif output.suffix == ".svg":
        output.write_text(charts.svg(spec), "utf-8")
    else:
        output.write_bytes(charts.png(spec, scale))
    click.echo(f"{output}: {answer.title}, {answer.choices.text()}", err=True)


@click.command()
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the site."
)
@data_option
def report(output: Path, data: str | None) -> None:
    """Write a static site of all claims and questions: it opens from disk, offline, and prints well."""
    from headwater.observatory import report as reports

    with watching() as progress:
        written = reports.write(open_world(data), output, progress)
    for name, why in written.left_out.items():
        click.echo(f"left out: {name}: {why}", err=True)
    click.echo(f"{output / 'index.html'}: {written.claims} claims, {written.questions} questions")


def pair_of(text: str) -> tuple[str, str]:
    """`name=value` as a pair."""
    name, equals, value = text.partition("=")
    if not equals:
        raise Invalid(f"--choice: {text[:60]!r} must be NAME=VALUE")
    return name.strip(), value


def _sentence(one: ClaimResult) -> str:
    from headwater.observatory.report import flip_words

    why = flip_words(one) or one.missing
    return f"{one.claim.sentence}\n  {why}" if why else one.claim.sentence


def _show_one(one: ClaimResult) -> None:
    console = Console()
    console.print(Text(one.claim.sentence, style="bold"))
    console.print(Text(one.verdict, style=_STYLES[one.verdict]), Text(_sentence(one).partition("\n")[2].strip()))
    source = one.claim.source
    console.print(
        Text(f"Source: {', '.join(part for part in (source.title, source.date, source.url) if part)}", style="dim")
    )
    if one.claim.note:
        console.print(Text(one.claim.note, style="dim"))
    if not one.cases:
        return
    table = Table(box=None, pad_edge=False)
    for name in ("case", "holds", *one.claim.figures, "data"):
        table.add_column(Text(name), overflow="fold")
    for case in one.cases:
        holds = {True: "yes", False: "no", None: case.why or "can't tell"}[case.holds]
        figures = (Text(_figure(case.figures.get(name))) for name in one.claim.figures)
        table.add_row(Text(case.name), Text(holds), *figures, Text(_few(case.snapshots)))
    console.print(table)
    _show_behind(console, one)


def _show_behind(console: Console, one: ClaimResult) -> None:
    """What a verdict rests on: the query of every case, and the snapshots with date, licence and biases."""
    from headwater.observatory.claims import command, data_of

    console.print(Text("\nQueries", style="bold"))
    if one.claim.question:
        for case in one.cases:
            console.print(Text(f"{case.name}: {command(one.claim, case)}"), soft_wrap=True)
    console.print(Text(f"The rule and the SQL: headwater observatory claims {one.claim.id} --sql"), soft_wrap=True)
    found = data_of(one)
    if found:
        console.print(Text("\nData", style="bold"))
    for data in found:
        parts = (f"{data.id}, as of {data.date}", f"licence: {data.licence or 'unknown'}", data.attribution)
        console.print(Text("; ".join(part for part in parts if part)), soft_wrap=True)
        if data.biases:
            console.print(Text(f"  Biases: {data.biases}", style="dim"), soft_wrap=True)


def _sql_of(one: ClaimResult) -> str:
    """The rule, and the SELECT of every case, that anybody can ask of the same snapshots."""
    holds = f"-- holds, over the rows of each case\n{one.claim.holds.strip()}" if one.claim.holds else ""
    cases = (
        f"-- {case.name}; {', '.join(case.snapshots) or 'no data'}\n{case.sql or one.claim.sql.strip()};"
        for case in one.cases
    )
    return "\n\n".join(part for part in (holds, *cases) if part) or f"{one.claim.id} has no rule: no data can decide it"


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")


def _figure(value: object) -> str:
    return (
        f"{value:,}"
        if isinstance(value, int | float) and not isinstance(value, bool)
        else str(value if value is not None else "\N{EN DASH}")
    )
