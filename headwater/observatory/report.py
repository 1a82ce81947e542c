"""The static report: every claim with its verdict, every question with its table, chart and SQL, as plain files.

It opens from disk, without a network and without scripts, in light and dark, on a phone and on paper. All text in it
may be a stranger's, so that nothing reaches a page but through `el`, which escapes everything that it did not make
itself. Refuses to know how answers and verdicts come about.
"""

from __future__ import annotations

import csv
import html
import io
import secrets
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pyarrow as pa

from headwater.ground.errors import Conflict, HeadwaterError
from headwater.observatory import charts
from headwater.observatory.answer import Answer, Evidence, Source, Span
from headwater.observatory.ask import QUESTIONS
from headwater.observatory.ask import ask as ask_one
from headwater.observatory.claims import (
    CaseResult,
    ClaimResult,
    Unreadable,
    check_all,
    command,
    data_of,
    said,
)
from headwater.observatory.texts import link
from headwater.observatory.world import Snapshot, World

MARK = ".headwater-report"
"""A file in every report: only a folder that has it is written over."""

ROWS_SHOWN = 100  # of a table on a page; the CSV beside it has all
CELL_CHARS_MAX = 120
WIDE_PX, NARROW_PX = 760, 340
QUESTIONS_MAX = 200
VERDICT_WORDS = {
    "reproduced": "reproduced",
    "contradicted": "contradicted",
    "depends on": "depends on",
    "undecidable": "undecidable",
}


class Watcher(Protocol):
    """Told what is done, for people to watch."""

    def stage(self, text: str) -> None: ...

    def done(self, count: int, total: int | None, unit: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Written:
    """What a report holds. `left_out`: question -> why it could not be answered or drawn."""

    folder: Path
    claims: int
    questions: int
    left_out: dict[str, str] = field(default_factory=dict)


class Html(str):
    """Text that `el` made: the only kind that goes into a page as it is."""

    __slots__ = ()


Child = str | Html | None | Iterable["Child"]


def el(tag: str, *children: Child, **attributes: str | bool | None) -> Html:
    """One element. Texts and attributes are escaped; `class_` is class, `data_x` data-x; None leaves one out."""
    shown = "".join(
        f" {name.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{html.escape(str(value))}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in ("meta", "link", "img", "source", "br"):
        return Html(f"<{tag}{shown}>")
    return Html(f"<{tag}{shown}>{_inner(children)}</{tag}>")


def _inner(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return str(child)
    if isinstance(child, str):
        return html.escape(child, quote=False)
    return "".join(_inner(one) for one in child)


def spans(text: str) -> list[Child]:
    """A sentence, with what stands between backticks as code; nothing else of it is read."""
    parts = text.split("`")
    whole = len(parts) % 2 == 1  # a lone backtick is a backtick
    return [el("code", part) if at % 2 else part for at, part in enumerate(parts)] if whole else [text]


def write(world: World, folder: Path, watcher: Watcher, questions: Sequence[str] = ()) -> Written:
    """Writes the report into `folder`; it appears whole or not at all.

    Conflict: the folder has something else in it. A question that has no data is left out, with the reason told.
    """
    target = folder.absolute()
    if target.exists() and not (target / MARK).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise Conflict(f"{folder} is not empty and no report; choose another folder")
    draft = target.with_name(f".{target.name}-{secrets.token_hex(6)}")
    draft.mkdir(parents=True)
    try:
        written = _fill(world, draft, watcher, questions or tuple(QUESTIONS)[:QUESTIONS_MAX])
        old = target.with_name(f".{target.name}-{secrets.token_hex(6)}")
        if target.exists():
            target.rename(old)
        draft.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Written(folder, written.claims, written.questions, written.left_out)


def _fill(world: World, folder: Path, watcher: Watcher, questions: Sequence[str]) -> Written:
    watcher.stage("claims")
    results, unreadable = check_all(world)
    left_out: dict[str, str] = {}
    answered: list[Answer] = []
    (folder / "questions").mkdir()
    (folder / "data").mkdir()
    (folder / "charts").mkdir()
    for count, name in enumerate(questions):
        watcher.stage(name)
        watcher.done(count, len(questions), "questions")
        try:
            answer = ask_one(world, name)
        except HeadwaterError as error:
            left_out[name] = error.text
            continue
        answered.append(answer)
        (folder / "data" / f"{name}.csv").write_bytes(as_csv(answer.table))
        (folder / "data" / f"{name}.json").write_bytes(msgspec.json.encode(plain_rows(answer.table)))
        drawn = _draw(folder / "charts", name, answer, left_out)
        page = question_page(answer, drawn=drawn)
        (folder / "questions" / f"{name}.html").write_text(page, "utf-8")
    snapshots = world.snapshots()
    (folder / "claims.html").write_text(claims_page(results, unreadable), "utf-8")
    (folder / "index.html").write_text(
        index_page(results, answered, left_out, snapshots, world.registry().version), "utf-8"
    )
    (folder / "report.css").write_bytes(
        resources.files("headwater.observatory").joinpath("data/report.css").read_bytes()
    )
    (folder / MARK).write_text("written by headwater observatory report\n", "utf-8")
    return Written(folder, len(results), len(answered), left_out)


def _draw(folder: Path, name: str, answer: Answer, left_out: dict[str, str]) -> bool:
    """The four pictures of an answer, and its Vega-Lite specification."""
    try:
        spec = charts.draw(answer.chart, answer.table, answer.title)
        for theme in charts.PALETTES:
            for width, px in (("wide", WIDE_PX), ("narrow", NARROW_PX)):
                picture = charts.svg(charts.themed(spec, theme, px))
                (folder / f"{name}.{theme}.{width}.svg").write_text(picture, "utf-8")
    except HeadwaterError as error:
        if answer.chart != "table":
            left_out[f"{name} (chart)"] = error.text
        return False
    (folder / f"{name}.vl.json").write_bytes(msgspec.json.encode(charts.themed(spec)))
    return True


# --- pages ---------------------------------------------------------------------------------------------------------


def page(title: str, up: str, *content: Child) -> str:
    """A whole page. `up`: the way to the report's folder, with a slash, or nothing."""
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el(
            "meta",
            http_equiv="Content-Security-Policy",
            content="default-src 'none'; style-src 'self' file:; img-src 'self' file:",
        ),
        el("title", f"{title} · Observatory"),
        el("link", rel="stylesheet", href=f"{up}report.css"),
    )
    top = el("header", el("a", "The Observatory", href=f"{up}index.html"), el("a", "Claims", href=f"{up}claims.html"))
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    foot = el("footer", f"Written by Headwater on {made}. Every figure is computed from the snapshots named with it.")
    return "<!doctype html>\n" + el(
        "html", head, el("body", top, el("main", el("h1", title), content), foot), lang="en"
    )


def index_page(
    results: Sequence[ClaimResult],
    answered: Sequence[Answer],
    left_out: dict[str, str],
    snapshots: Sequence[Snapshot],
    registry: str,
) -> str:
    claims = [
        el(
            "tr",
            el("td", badge(one.verdict)),
            el("td", el("a", one.claim.sentence, href=f"claims.html#{one.claim.id}")),
            el("td", flip_words(one) or one.claim.source.title, class_="muted"),
        )
        for one in results
    ]
    questions = [
        el("li", el("a", answer.title, href=f"questions/{answer.question}.html"), " ",
           el("span", ", ".join(one.id for one in answer.snapshots if one.role == "population"), class_="muted"))
        for answer in answered
    ]  # fmt: skip
    missing = [el("li", el("b", name), ": ", why) for name, why in left_out.items()]
    return page(
        "The open-model ecosystem, measured",
        "",
        el(
            "p",
            "Public claims asked again of data, with every choice stated. Open a claim to see the cases behind it, "
            "a question to see its table, chart, choices and SQL.",
            class_="lead",
        ),
        el("h2", "Claims"),
        el("div", el("table", claims, class_="claims"), class_="scroll"),
        el("h2", "Questions"),
        el("ul", questions, class_="columns"),
        [el("h2", "Left out"), el("ul", missing)] if missing else None,
        el("h2", "Data"),
        el("p", f"Registry of organisations: version {registry}."),
        sources([Source.of(one) for one in snapshots]),
    )


def claims_page(results: Sequence[ClaimResult], unreadable: Sequence[Unreadable]) -> str:
    bad = [el("li", el("b", one.file), ": ", one.why) for one in unreadable]
    return page(
        "Claims",
        "",
        el(
            "p",
            "A verdict is computed by a rule over the answer's rows, once per case; where cases disagree, it depends "
            "on the choice "
            "that tells them apart.",
            class_="lead",
        ),
        [claim_section(one) for one in results],
        [el("h2", "Files that could not be read"), el("ul", bad)] if bad else None,
    )


def claim_section(result: ClaimResult) -> Html:
    claim = result.claim
    url = link(claim.source.url)
    source = el("a", claim.source.title, href=url, rel="noreferrer") if url else claim.source.title
    return el(
        "section",
        el("h2", claim.sentence), el("p", badge(result.verdict), " ", flip_words(result), class_="verdict"),
        el("p", "Source: ", source, f", {claim.source.date}" if claim.source.date else "", class_="muted"),
        el("p", "What would decide it: ", result.missing) if result.missing else None,
        el("p", claim.note) if claim.note else None,
        _cases(result) if result.cases else None,
        [el("h3", "Data"), sources(data)] if (data := data_of(result)) else None,
        _claim_sql(result),
        id=claim.id, class_="claim",
    )  # fmt: skip


def _cases(result: ClaimResult) -> Html:
    names = list(result.claim.figures)
    head = el("tr", el("th", "case"), el("th", "holds"), [el("th", name, class_="num") for name in names])
    return el(
        "div", el("table", el("thead", head), el("tbody", [_case(one, names) for one in result.cases])), class_="scroll"
    )


def _case(one: CaseResult, names: Sequence[str]) -> Html:
    stated = ", ".join(f"{name}: {said(value)}" for name, value in one.choices.items())
    data = ", ".join(one.snapshots[:4]) + (f" and {len(one.snapshots) - 4} more" if len(one.snapshots) > 4 else "")
    words = {True: "yes", False: "no", None: "can't tell"}[one.holds]
    small = el(
        "div",
        "; ".join(part for part in (stated, f"data: {data}" if data else "", one.why) if part),
        class_="muted small",
    )
    return el("tr", el("td", one.name, small), el("td", words),
              [el("td", cell(one.figures.get(name)), class_="num") for name in names])  # fmt: skip


def _claim_sql(result: ClaimResult) -> Html | None:
    claim = result.claim
    if not claim.holds:
        return None
    asked = (
        [el("p", "Question: ", el("a", claim.question, href=f"questions/{claim.question}.html"))]
        if claim.question
        else []
    )
    queries = [
        [
            el("h3", one.name),
            el("p", el("code", command(claim, one)), class_="small") if claim.question else None,
            el("pre", one.sql),
        ]
        for one in result.cases
        if one.sql
    ]
    return el(
        "details",
        el("summary", "Rule and SQL"),
        asked,
        el("pre", f"-- holds\n{claim.holds.strip()}"),
        queries or (el("pre", claim.sql.strip()) if claim.sql else None),
    )


def flip_words(result: ClaimResult) -> str:
    """What flips a verdict, in words; empty where nothing does."""
    flip = result.flip
    if flip is None:
        return ""
    holds = {one.name: one.holds for one in result.cases}
    yes, no = (flip.first, flip.other) if holds.get(flip.first) else (flip.other, flip.first)
    changes = "; ".join(f"{name}: {one} or {other}" for name, (one, other) in flip.differs.items())
    return f"holds for “{yes}”, not for “{no}” ({changes})"


def question_page(answer: Answer, *, drawn: bool) -> str:
    name = answer.question
    stated = [el("tr", el("th", key), el("td", value)) for key, value in answer.stated.items()]
    picture = None
    if drawn:
        at = f"../charts/{name}"
        picture = el(
            "picture",
            el("source", media="print", srcset=f"{at}.light.wide.svg"),
            el("source", media="(prefers-color-scheme: dark) and (max-width: 600px)", srcset=f"{at}.dark.narrow.svg"),
            el("source", media="(prefers-color-scheme: dark)", srcset=f"{at}.dark.wide.svg"),
            el("source", media="(max-width: 600px)", srcset=f"{at}.light.narrow.svg"),
            el("img", src=f"{at}.light.wide.svg", alt=f"Chart: {answer.title}. The table below has its figures."),
        )
    return page(
        answer.title,
        "../",
        el("p", spans(answer.definition), class_="lead"),
        picture,
        table_html(answer.table),
        el(
            "p",
            el("a", "CSV", href=f"../data/{name}.csv"),
            " · ",
            el("a", "JSON", href=f"../data/{name}.json"),
            [" · ", el("a", "Vega-Lite", href=f"../charts/{name}.vl.json")] if drawn else None,
            class_="muted",
        ),
        el("h2", "Choices"),
        el("div", el("table", stated, class_="choices"), class_="scroll"),
        _evidence(answer.evidence) if answer.evidence else None,
        [el("h2", "Caveats"), el("ul", [el("li", spans(one)) for one in answer.caveats])] if answer.caveats else None,
        el("h2", "Data"),
        el("p", f"Registry of organisations: version {answer.registry_version}; licences: {answer.licences_version}."),
        sources([one for one in answer.snapshots if one.role == "population"]),
        el("details", el("summary", "SQL"), el("pre", answer.sql)),
    )


def _evidence(evidence: Sequence[Evidence]) -> Html:
    rows = []
    for one in evidence:
        gap = f"{one.leader} leads {one.runner_up} by {one.gap_pct:.1f} points" if one.gap_pct is not None else ""
        without = [left_out(span) for span in (one.without_one_model, one.without_one_account)]
        unmapped = f"{one.unmapped_pct:.1f} %" if one.unmapped_pct is not None else ""
        rows.append(
            el(
                "tr",
                *(el("td", text) for text in (one.of, f"{one.rows:,}", f"{one.authors:,}", unmapped, gap, *without)),
                class_="flips" if one.flips else None,
            )
        )
    titles = ("share", "models", "authors", "unmapped", "leader's gap", "gap with one model left out",
              "gap with one account left out")  # fmt: skip
    head = el("tr", [el("th", text) for text in titles])
    return Html(
        el("h2", "Coverage and what it hangs on")
        + el("div", el("table", el("thead", head), el("tbody", rows)), class_="scroll")
    )


def left_out(span: Span | None) -> str:
    """The range of the leader's gap when one model or one account is left out; nothing where there is none."""
    if span is None:
        return ""
    return f"{span.low:.1f} (without {span.low_without}) to {span.high:.1f} (without {span.high_without})"


def sources(items: Sequence[Source]) -> Html:
    """Snapshots with licence, attribution and biases."""
    rows = []
    for one in items:
        url = link(one.url)
        rows.append(
            el(
                "li",
                el("b", one.id),
                f", as of {one.date}. Licence: {one.licence or 'unknown'}. ",
                f"Attribution: {one.attribution}. " if one.attribution else "",
                el("a", "Source", href=url, rel="noreferrer") if url else None,
                el("div", f"Biases: {one.biases}", class_="muted small") if one.biases else None,
            )
        )
    return el("ul", rows, class_="sources")


def badge(verdict: str) -> Html:
    return el("span", VERDICT_WORDS[verdict], class_=f"badge {verdict.replace(' ', '-')}")


def table_html(table: pa.Table) -> Html:
    """The first rows as a table; numbers to the right."""
    names = table.column_names
    rows = table.slice(0, ROWS_SHOWN).to_pylist()
    # By the column, so that an empty cell stands where its neighbours do.
    kind = {name: "num" if any(_is_number(row[name]) for row in rows) else None for name in names}
    body = [el("tr", [el("td", cell(row[name]), class_=kind[name]) for name in names]) for row in rows]
    head = el("thead", el("tr", [el("th", spoken(name), class_=kind[name]) for name in names]))
    more = (
        el("p", f"{table.num_rows:,} rows, of which {ROWS_SHOWN} are shown.", class_="muted")
        if table.num_rows > ROWS_SHOWN
        else None
    )
    return Html(el("div", el("table", head, el("tbody", body)), class_="scroll") + _inner(more))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def spoken(column: str) -> str:
    """A column's name as a table says it."""
    return column.replace("_", " ")


def cell(value: object) -> str:
    """A value as people read it."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4f}".rstrip("0").rstrip(".") if abs(value) < 1e15 else f"{value:.3g}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds").removesuffix(" 00:00:00")
    text = ", ".join(str(one) for one in value) if isinstance(value, list) else str(value)
    return text if len(text) <= CELL_CHARS_MAX else text[: CELL_CHARS_MAX - 1] + "…"


def as_csv(table: pa.Table) -> bytes:
    """The whole table as CSV, UTF-8. What a spreadsheet would take for a formula gets an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.column_names)
    for row in table.to_pylist():
        writer.writerow([_csv_cell(value) for value in row.values()])
    return out.getvalue().encode()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
    if isinstance(value, list):
        return " ".join(str(one) for one in value)
    return value.isoformat() if isinstance(value, date) else value


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    return [
        {name: value.isoformat() if isinstance(value, date) else charts.finite(value) for name, value in row.items()}
        for row in table.to_pylist()
    ]
