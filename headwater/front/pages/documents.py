"""The documentation, served by the hub itself: also who has no internet has it.

The pages are the Markdown files of the folder `docs`, found once. Only their names are ever looked up, so no address
reaches another file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import headwater
from headwater.front.answer import Answer
from headwater.front.pages import frame, render
from headwater.front.pages.present import Choice, DocsPage
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground.errors import NotOffered

_PACKAGE = Path(headwater.__file__).parent
PLACES = (_PACKAGE / "docs", _PACKAGE.parent / "docs")  # in an installed package; in a checkout
FRONT_PAGE = "index"
# Sections in the order a newcomer needs them; others follow by name.
_ORDER = ("", "tutorial", "how-to", "reference", "spec", "explanation")
_TITLES = {"how-to": "How to", "spec": "Specification"}


@dataclass(frozen=True, slots=True)
class _Document:
    name: str  # its path without `.md`
    title: str
    text: str

    @property
    def section(self) -> str:
        return str(PurePosixPath(self.name).parent).removeprefix(".")

    @property
    def href(self) -> str:
        return "/docs" if self.name == FRONT_PAGE else f"/docs/{self.name}"


def get(rooms: Rooms, request: Request) -> Answer:
    name = request.params.get("path", "").strip("/").removesuffix(".md") or FRONT_PAGE
    found = _documents().get(name) or _documents().get(f"{name}/{FRONT_PAGE}")
    if found is None and name == FRONT_PAGE:
        found = _contents()
    if found is None:
        raise NotOffered("The documentation has no such page")
    html = _html(found, frame.base_path(rooms.settings))
    page = DocsPage(found.title, html, _sections(found))
    return frame.shown(render.render_docs(frame.site(rooms, request), page))


@cache
def _documents() -> dict[str, _Document]:
    folder = next((place for place in PLACES if place.is_dir()), None)
    found: dict[str, _Document] = {}
    for path in sorted(folder.rglob("*.md")) if folder else ():
        name = path.relative_to(folder).with_suffix("").as_posix() if folder else ""
        text = path.read_text()
        heading = next((line[2:].strip() for line in text.splitlines() if line.startswith("# ")), path.stem)
        found[name] = _Document(name, heading.replace("`", ""), text)
    return found


def _contents() -> _Document:
    """The front page where the folder has none: a list of what there is."""
    lines = [f"- [{one.title}]({one.name}.md)" for one in _documents().values()]
    return _Document(FRONT_PAGE, "Documentation", "\n".join(["# Documentation", "", *lines]))


@cache
def _html(document: _Document, base_path: str) -> str:
    from headwater.front.pages import markdown  # noqa: PLC0415 - see `repository.py`

    base = f"{base_path}/docs/{document.section}/" if document.section else f"{base_path}/docs/"
    return markdown.render(document.text, link_base=base, image_base=base)


def _rank(one: _Document) -> tuple[bool, bool, str]:
    """Within a section: the front page, then what to begin with, then by name."""
    return one.name != FRONT_PAGE, not one.name.startswith("tutorial"), one.name


def _sections(shown: _Document) -> tuple[tuple[str, tuple[Choice, ...]], ...]:
    groups: dict[str, list[Choice]] = {}
    for one in sorted(_documents().values(), key=_rank):
        groups.setdefault(one.section, []).append(Choice(one.title, one.href, one.name == shown.name))
    ranked = sorted(groups, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))
    return tuple((_TITLES.get(name, name.replace("-", " ").capitalize()), tuple(groups[name])) for name in ranked)
