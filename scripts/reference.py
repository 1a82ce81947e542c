#!/usr/bin/env python3
"""Write docs/reference from the code: settings, commands, routes, errors, events, questions. Nobody writes it by hand.

    python scripts/reference.py            write the pages
    python scripts/reference.py --check    write nothing; say which pages are out of date and exit with 1

Knows where each list lives in the code; refuses to add to them: what a page should say better, its source must say.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from headwater.cli import program
from headwater.front.routes import ROUTES
from headwater.ground.errors import TAXONOMY
from headwater.ground.events import KINDS
from headwater.ground.settings import Settings
from headwater.observatory import describe as questions

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
DAY_S, HOUR_S = 86_400, 3_600
UNITS = ((10**9, "GB"), (1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
TYPES = {"IntType": "whole number", "FloatType": "number", "StrType": "text", "BoolType": "true or false"}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; `|` in a cell is escaped, a line break becomes a space."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def page(title: str, source: str, *parts: str) -> str:
    note = f"*Made from `{source}` by `scripts/reference.py`; change it there.*"
    return "\n\n".join([f"# {title}", note, *(part for part in parts if part)]) + "\n"


# --- settings ---


def settings() -> str:
    info = msgspec.inspect.type_info(Settings)
    assert isinstance(info, msgspec.inspect.StructType)
    groups = _setting_groups(inspect.getsource(Settings))
    rows: dict[str, list[list[str]]] = {}
    for field in info.fields:
        kind, about, bounds = _described(field.type)
        rows.setdefault(groups[field.name], []).append(
            [code(field.name), kind + (f", {bounds}" if bounds else ""), _default(field.name, field.default), about]
        )
    parts = [f"## {group[0].upper()}{group[1:]}\n\n" + _settings_table(found) for group, found in rows.items()]
    return page(
        "Settings",
        "headwater/ground/settings.py",
        "Each option has a default. A TOML file that `HEADWATER_CONFIG` names comes next, then the environment, then "
        "the command line. In the environment an option is written in capitals with `HEADWATER_` before it: "
        "`HEADWATER_PUBLIC_URL=https://hub.example.org`. In the TOML file it is written as below: "
        '`public_url = "https://hub.example.org"`. An unknown name in the file, or a value that breaks its rule, ends '
        "the start with a message. Sizes are in bytes and times in seconds.",
        *parts,
    )


def _settings_table(rows: list[list[str]]) -> str:
    return table(("option", "what it takes", "default", "meaning"), rows)


def _setting_groups(source: str) -> dict[str, str]:
    """Which group a field belongs to: the comment line above it in the class."""
    group, groups = "", {}
    for line in source.splitlines():
        if found := re.match(r"    # (.+)", line):
            group = found.group(1)
        elif found := re.match(r"    (\w+): ", line):
            groups[found.group(1)] = group
    return groups


def _described(kind: msgspec.inspect.Type) -> tuple[str, str, str]:
    """(what it takes, description, bounds)."""
    about, bounds = "", []
    if isinstance(kind, msgspec.inspect.Metadata):
        about = (kind.extra_json_schema or {}).get("description", "")
        kind = kind.type
    pattern = getattr(kind, "pattern", None)
    if pattern:
        choices = pattern.removeprefix("^(").removesuffix(")$").split("|")
        return "one of " + ", ".join(code(choice) for choice in choices), about, ""
    for name, words in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below")):
        if (limit := getattr(kind, name, None)) is not None:
            bounds.append(f"{words} {limit}")
    return TYPES[type(kind).__name__], about, ", ".join(bounds)


def _default(name: str, value: Any) -> str:
    if value in ("", msgspec.NODEFAULT):
        return "(empty)"
    if isinstance(value, bool):
        return code(str(value).lower())
    shown = code(str(value))
    if isinstance(value, int) and not isinstance(value, bool) and not name.endswith("_s"):
        for unit, word in UNITS:
            if value >= unit and value % unit == 0:
                return f"{shown} ({value // unit} {word})"
    if name.endswith("_s") and value >= HOUR_S and value % HOUR_S == 0:
        days, hours = divmod(int(value), DAY_S)
        return f"{shown} ({days} days)" if not hours else f"{shown} ({int(value) // HOUR_S} hours)"
    return shown


# --- command line ---


def commands() -> str:
    parts = [_command(context, command) for context, command in _walk_commands(program, None, "headwater")]
    exits = (
        "## Exit status\n\n0: done. 1: a fault of the program. 130: stopped from the keyboard. Every other status "
        "stands for an error of [the list of errors](errors.md)."
    )
    return page("Command line", "headwater/cli", *parts, exits)


def _walk_commands(
    command: click.Command, parent: click.Context | None, name: str
) -> Iterator[tuple[click.Context, click.Command]]:
    context = click.Context(command, info_name=name, parent=parent)
    yield context, command
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            if found is not None and not found.hidden:
                yield from _walk_commands(found, context, below)


def _command(context: click.Context, command: click.Command) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    rows = [
        [_option(found), _meaning(found)]
        for found in command.get_params(context)
        if isinstance(found, click.Option) and not found.hidden and found.name != "help"
    ]
    return "\n\n".join(
        part
        for part in (
            f"## {context.command_path}",
            f"```\n{usage}\n```",
            _help(command.help or ""),
            table(("option", "meaning"), rows) if rows else "",
        )
        if part
    )


def _help(text: str) -> str:
    """Click's help as CommonMark: a paragraph that click keeps as it is becomes a code block."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        "```\n" + part.removeprefix("\b\n") + "\n```" if part.startswith("\b") else part for part in paragraphs
    )


def _option(found: click.Option) -> str:
    names = ", ".join(sorted(found.opts, key=len) + found.secondary_opts)
    return code(names if found.is_flag else f"{names} {_placeholder(found)}")


def _placeholder(found: click.Option) -> str:
    if found.metavar:
        return found.metavar
    if isinstance(found.type, click.Choice):
        return "|".join(str(choice) for choice in found.type.choices)
    return found.type.name.upper().replace(" RANGE", "")


def _meaning(found: click.Option) -> str:
    said = found.help or ""
    if found.show_default and found.default is not None:
        said += f" Default: {found.default}."
    if found.required:
        said += " Required."
    if found.multiple:
        said += " May be given more than once."
    return said


# --- routes ---

SECTIONS = (
    ("/api/{type}/{repo}", "The API of one repo", "`{type}` is `models`, `datasets` or `spaces`."),
    ("/api", "The rest of the API", ""),
    ("/xet", "Xet CAS", "Below the `casUrl` that a Xet token names. Older clients use the shorter addresses."),
    ("/lfs", "LFS contents", "Signed addresses that an LFS batch gives out."),
    ("{repo}", "A repo's own address", "A data set's address begins with `/datasets/`, a space's with `/spaces/`."),
    ("/health", "The hub itself", ""),
    ("", "Pages", ""),
)


def routes() -> str:
    folded: dict[tuple[str, str], list[str]] = {}
    for route in ROUTES:
        address = _folded(route.pattern)
        folded.setdefault(
            (address, route.method),
            [route.method, code(address), _who(route.auth, route.needs), _body(route.body, route.body_max), route.does],
        )
    sections: dict[str, list[list[str]]] = {title: [] for _, title, _ in SECTIONS}
    for (address, _), row in folded.items():
        sections[_section(address)].append(row)
    parts = []
    for _, title, note in SECTIONS:
        if sections[title]:
            rows = table(("method", "address", "who may", "body", "what"), sections[title])
            parts.append("\n\n".join(part for part in (f"## {title}", note, rows) if part))
    return page(
        "Routes",
        "headwater/front/routes.py",
        "A repo is `{repo}`: `namespace/name`, or `name` alone for a repo without a namespace. A revision is one "
        "segment and arrives percent-encoded (`refs%2Fpr%2F1`). `*` takes the rest of the path. `HEAD` works "
        "wherever `GET` does. What is not in this list answers 404 with the code `NotOffered`. The same list for "
        "programs is `/api/openapi.json`.",
        "*Who may*: **anyone** reads no credentials; **all** takes a token or a session and shows what its owner may "
        "see; **signed-in**, **read**, **write**, **admin** name the grant; **ticket** is a signed address or a Xet "
        "token. *Body*: **json** is limited by `json_body_max`, **file** by the setting in brackets, **stream** is "
        "taken piece by piece and limited by what was declared.",
        *parts,
    )


def _folded(pattern: str) -> str:
    """One address for the spellings of a repo: with and without a namespace, with each type's prefix."""
    shown = pattern.replace("{ns}/{name}", "{repo}").replace("{name}", "{repo}")
    return re.sub(r"^/(?:datasets|spaces)/\{repo\}", "/{repo}", shown)


def _section(address: str) -> str:
    for prefix, title, _ in SECTIONS:
        if address.startswith((prefix, "/" + prefix)):
            return title
    raise AssertionError(address)


def _who(auth: str, needs: str) -> str:
    if auth == "actor":
        return needs or "all"
    return {"open": "anyone", "ticket": "ticket"}[auth]


def _body(kind: str, limit: str) -> str:
    words = {"none": "", "json": "json", "spool": "file", "sink": "stream"}[kind]
    return f"{words} ({code(limit)})" if limit else words


# --- errors, events ---


def errors() -> str:
    rows = [
        [code(kind.code), str(kind.status), str(kind.exit_status), kind.meaning, code(kind.__name__)]
        for kind in TAXONOMY
    ]
    return page(
        "Errors",
        "headwater/ground/errors.py",
        "Every refusal has a code. Over HTTP it is in the header `X-Error-Code` and in the body, "
        '`{"error": text, "code": code, "request_id": id}`; the text is also in `X-Error-Message`, and the same '
        "request id is in `X-Request-Id` and in the hub's log. On the command line the text goes to stderr and the "
        "code decides the exit status.",
        table(("code", "HTTP", "exit", "meaning", "class"), rows),
        "The status can be another where the protocol asks for it: who has no credentials gets 401 instead of 404 and "
        "403 for repos; paths and contents that break a rule get 422; limits on rates, addresses and headers get 429, "
        "414 and 431; a full disk gets 507; what a later version will offer gets 501; a range outside a file gets 416; "
        "a repo that has another name now answers 307 with the code `Moved`. "
        "Anything that is not in this list is a bug: 500 with the code `InternalError`, and its traceback in the log "
        "under the request id.",
    )


def events() -> str:
    return page(
        "Events",
        "headwater/ground/events.py",
        "What happened is one line in the table `event`: kind, repo, actor, time and a small JSON object. Lines are "
        "appended in the transaction of what they tell of, and never changed nor deleted. Everything derived (search, "
        "tags, sizes) is made from them and can be made again with `headwater rebuild`.",
        table(("kind", "meaning"), [[code(kind), meaning] for kind, meaning in KINDS.items()]),
    )


PAGES = {
    "settings.md": settings,
    "cli.md": commands,
    "routes.md": routes,
    "errors.md": errors,
    "events.md": events,
    "questions.md": questions,
}


def out_of_date(folder: Path) -> list[str]:
    """Names of the pages in `folder` that do not say what the code says."""
    return [
        name
        for name, make in PAGES.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != make()
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write docs/reference from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 if a page is out of date")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the pages lie")
    chosen = parser.parse_args(arguments)
    old = out_of_date(chosen.folder)
    for name in old:
        if chosen.check:
            print(f"{chosen.folder / name} is out of date: run `python scripts/reference.py`", file=sys.stderr)
        else:
            chosen.folder.mkdir(parents=True, exist_ok=True)
            (chosen.folder / name).write_text(PAGES[name](), encoding="utf-8")
            print(f"wrote {chosen.folder / name}")
    return 1 if old and chosen.check else 0


if __name__ == "__main__":
    raise SystemExit(main())
