"""Page values -> HTML, and the static files: the only place that knows the templates.

Every template escapes by default and fails on a name it does not know. Static files carry their content's hash in the
URL, so browsers may keep them for ever. Knows no room and no request.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from headwater.front.pages import present
from headwater.front.pages.present import (
    CardPage,
    CommitsPage,
    DeletedPage,
    DocsPage,
    ErrorPage,
    FilePage,
    FilesPage,
    LinkPage,
    ListPage,
    NewRepoPage,
    ProfilePage,
    RepoHead,
    SignInPage,
    Site,
    TokensPage,
)

_HERE = Path(__file__).parent
_HASH_LETTERS = 12
STATIC_PREFIX = "/static/"
STATIC_CACHE_CONTROL = "public, max-age=31536000, immutable"

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
PAGE_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Pages differ by who looks: no shared cache may keep one, and the back button must not show one after sign-out.
    "Cache-Control": "private, no-store",
    "Vary": "Cookie",
}

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}

Nav = Literal["model", "dataset", "space", "docs", "observatory", ""]


@dataclass(frozen=True, slots=True)
class StaticFile:
    url_path: str
    media_type: str
    body: bytes


@cache
def static_files() -> dict[str, StaticFile]:
    """By path as it stands in the folder (`vendor/` is other people's); `url_path` is without base path."""
    folder = _HERE / "static"
    made: dict[str, StaticFile] = {}
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        body = _compact(path.read_text()).encode() if path.suffix == ".css" else path.read_bytes()
        digest = hashlib.sha256(body).hexdigest()[:_HASH_LETTERS]
        url_path = f"{STATIC_PREFIX}{path.stem}.{digest}{path.suffix}"
        made[path.relative_to(folder).as_posix()] = StaticFile(url_path, _MEDIA_TYPES[path.suffix], body)
    return made


def _compact(css: str) -> str:
    """The stylesheet without comments and spare blanks: what a build step would do, done once at the first request.

    Holds because no string in it contains braces, semicolons, commas or runs of blanks.
    """
    text = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s*([{};,])\s*|(:)\s+", r"\1\2", text)
    return text.replace(";}", "}").strip()


@cache
def _static_by_url_name() -> dict[str, StaticFile]:
    return {file.url_path.removeprefix(STATIC_PREFIX): file for file in static_files().values()}


def static_file(url_name: str) -> StaticFile | None:
    """The file under `/static/{url_name}`; None for any other name, an outdated hash included."""
    return _static_by_url_name().get(url_name)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Templates are part of the program: they change when it is installed anew, except for who writes them.
        auto_reload="HEADWATER_TEMPLATES_RELOAD" in os.environ,
    )
    made.filters.update(
        count=present.count,
        exact=present.exact,
        size=present.size,
        moment=present.moment,
        day=present.day,
        shape=present.shape,
        task=present.task_title,
        lines=_numbered,
        island=_island,
        spans=_spans,
    )
    made.globals.update(
        KINDS=[(kind, present.PLURAL[kind], f"/{kind}s") for kind in present.KINDS],
        tree_path=present.tree_path,
        commits_path=present.commits_path,
        storage_path=present.storage_path,
    )
    return made


def _numbered(lines: tuple[str, ...]) -> Markup:
    """The lines of a file, each an anchor `#L12`; made here, because a loop in a template is ten times slower."""
    parts = [f'<span class="ln" id="L{number}">{escape(line)}\n</span>' for number, line in enumerate(lines, start=1)]
    return Markup("".join(parts))  # noqa: S704 - every line was escaped


def _spans(text: str) -> Markup:
    """A sentence of the code or of a stranger, with what stands between backticks as code; nothing else is read."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before


def _island(value: Any) -> Markup:
    """Data for a script, as the text of a `<script type="application/json">`: no character of it ends the element."""
    text = msgspec.json.encode(value).decode()
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - made harmless above


def _page(template: str, site: Site, nav: Nav, title: str, **values: Any) -> str:
    def url(path: str) -> str:
        return site.base_path + path

    def static(name: str) -> str:
        return site.base_path + static_files()[name].url_path

    def ago(then_ms: int) -> str:
        return present.age(site.now_ms, then_ms)

    return (
        _environment()
        .get_template(template)
        .render(site=site, viewer=site.viewer, nav=nav, title=title, url=url, static=static, ago=ago, **values)
    )


def render_list(site: Site, page: ListPage) -> str:
    return _page("list.html", site, page.kind, present.PLURAL[page.kind], page=page)


def render_card(site: Site, page: CardPage) -> str:
    return _page(
        "card.html", site, page.head.rid.type, page.head.rid.full, page=page, head=page.head, tab="card",
        card=Markup(page.card_html) if page.card_html is not None else None,  # noqa: S704 - markdown.render made it safe
    )  # fmt: skip


def render_files(site: Site, page: FilesPage) -> str:
    title = f"{page.head.rid.full}: files at {page.revisions.label}"
    return _page("files.html", site, page.head.rid.type, title, page=page, head=page.head, tab="files")


def render_file(site: Site, page: FilePage) -> str:
    title = f"{page.name} · {page.head.rid.full}"
    return _page("file.html", site, page.head.rid.type, title, page=page, head=page.head, tab="files")


def render_commits(site: Site, page: CommitsPage) -> str:
    title = f"{page.head.rid.full}: commits"
    return _page("commits.html", site, page.head.rid.type, title, page=page, head=page.head, tab="commits")


def render_signin(site: Site, page: SignInPage) -> str:
    return _page("signin.html", site, "", "Sign in", page=page)


def render_link(site: Site, page: LinkPage) -> str:
    return _page("link.html", site, "", "Sign in", page=page)


def render_new_repo(site: Site, page: NewRepoPage) -> str:
    return _page("new.html", site, "", "New repo", page=page)


def render_tokens(site: Site, page: TokensPage) -> str:
    return _page("tokens.html", site, "", "Access tokens", page=page)


def render_deleted(site: Site, page: DeletedPage) -> str:
    return _page("deleted.html", site, "", "Recently deleted", page=page)


def render_profile(site: Site, page: ProfilePage) -> str:
    return _page("profile.html", site, "", page.name, page=page)


def render_error(site: Site, page: ErrorPage) -> str:
    return _page("error.html", site, "", page.title, page=page)


def render_docs(site: Site, page: DocsPage) -> str:
    return _page("docs.html", site, "docs", page.title, page=page, body=Markup(page.html))  # noqa: S704 - markdown.render made it safe


def render_storage(site: Site, head: RepoHead, title: str, **values: Any) -> str:
    """What a repo costs; its values are told by pages/storage.py."""
    return _page("storage.html", site, head.rid.type, title, head=head, tab="storage", **values)


def render_store(site: Site, **values: Any) -> str:
    """How the store stands, for administrators; its values are told by pages/storage.py."""
    return _page("store.html", site, "", "Store", **values)


def render_observe(site: Site, template: str, title: str, **values: Any) -> str:
    """A page of the Observatory: `observe_{template}.html`; its values are told by pages/observe.py."""
    return _page(f"observe_{template}.html", site, "observatory", title, **values)
