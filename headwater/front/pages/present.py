"""What the pages show, as plain values, and how numbers, sizes and times are written for people.

Pure: knows neither HTTP nor a room nor a template. Paths in these values begin with `/` and carry no base path; the
templates put it in front (`url()`), so that one place serves a hub under a path prefix.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlencode

from headwater.ground.names import RepoId, RepoType

KINDS: tuple[RepoType, ...] = ("model", "dataset", "space")
PLURAL: dict[RepoType, str] = {"model": "Models", "dataset": "Datasets", "space": "Spaces"}

_COUNT_STEPS = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k"))
_SIZE_STEPS = ((10**15, "PB"), (10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
_AGE_STEPS_S = ((31_536_000, "year"), (2_592_000, "month"), (86_400, "day"), (3_600, "hour"), (60, "minute"))
TIMES = "\N{MULTIPLICATION SIGN}"
DTYPE_CLASSES = 6  # so many colours the stylesheet has for segments of a bar


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks: `name` is empty for nobody. `csrf` goes into every form that changes something."""

    name: str = ""
    csrf: str = ""
    is_admin: bool = False
    """Of the hub."""

    @property
    def signed_in(self) -> bool:
        return bool(self.name)


@dataclass(frozen=True, slots=True)
class Site:
    """What every page needs to know of the hub: `base_path` has no trailing slash, nor has `public_url`."""

    public_url: str
    base_path: str
    viewer: Viewer
    now_ms: int
    version: str = ""
    here: str = "/"  # the path of this page, for the way back after signing in


@dataclass(frozen=True, slots=True)
class Choice:
    """A link among alternatives: a sort order, a filter, a branch, a page of the documentation."""

    label: str
    href: str
    active: bool = False
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Facet:
    """One group of filters; `chosen` names what is picked in it and `clear` leads back out."""

    title: str
    options: tuple[Choice, ...]
    chosen: str = ""
    clear: str = ""


@dataclass(frozen=True, slots=True)
class Pager:
    """`back` leads towards the start, under the name `back_text`: a cursor knows only the way on and the start."""

    back: str = ""
    next: str = ""
    text: str = ""  # "31 to 60 of 1,204"
    back_text: str = "First page"


@dataclass(frozen=True, slots=True)
class RepoRow:
    rid: RepoId
    updated_ms: int
    private: bool = False
    gated: str | None = None
    pipeline: str = ""
    library: str = ""
    licence: str = ""
    sdk: str = ""
    parameters: int | None = None
    downloads: int = 0
    likes: int = 0


@dataclass(frozen=True, slots=True)
class ListPage:
    """The home page and the lists. `new_hub`: nothing is here yet that this viewer may see, and nothing was asked."""

    kind: RepoType
    rows: tuple[RepoRow, ...]
    search: str = ""
    hidden: tuple[tuple[str, str], ...] = ()  # the other choices, carried along by the search form
    sorts: tuple[Choice, ...] = ()
    facets: tuple[Facet, ...] = ()
    total: int | None = None
    pager: Pager = Pager()
    new_hub: bool = False
    clear: str = ""  # where "clear all filters" leads; empty when none is set


@dataclass(frozen=True, slots=True)
class RepoHead:
    """The top of every page of a repo. `revision` is a branch, tag or commit as the URL names it."""

    rid: RepoId
    revision: str
    private: bool = False
    gated: str | None = None
    tags: tuple[Choice, ...] = ()
    more_tags: tuple[Choice, ...] = ()
    likes: int = 0
    liked: bool = False  # by who looks
    downloads: int = 0
    may_write: bool = False


@dataclass(frozen=True, slots=True)
class Snippet:
    """`hint` is one line above the code: what must be installed, what comes next."""

    label: str
    language: str
    code: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """A segment of a bar: `start` and `width` in per cent, `colour` one of the stylesheet's DTYPE_CLASSES."""

    label: str
    count: int
    start: float
    width: float
    colour: int


@dataclass(frozen=True, slots=True)
class TensorSummary:
    """How many parameters of which type; `rows` are further facts (architecture, context length)."""

    format: str  # Safetensors | GGUF
    total: int
    shares: tuple[Share, ...]
    rows: tuple[tuple[str, str], ...] = ()
    files: tuple[Choice, ...] = ()


@dataclass(frozen=True, slots=True)
class CardPage:
    """`card_html` is safe HTML made by `markdown.render`; None when the repo has no card."""

    head: RepoHead
    card_html: str | None
    snippets: tuple[Snippet, ...]
    facts: tuple[tuple[str, str, str], ...] = ()  # name, value, link or ""
    tensors: TensorSummary | None = None
    card_note: str = ""
    readme: str = ""  # where the card's file is, if there is one
    empty: bool = False  # nothing but what the hub itself put there


@dataclass(frozen=True, slots=True)
class Revisions:
    """The revision selector: what is shown, what else there is, and on which commit it stands."""

    label: str
    kind: Literal["branch", "tag", "commit", "pull"]
    branches: tuple[Choice, ...] = ()
    tags: tuple[Choice, ...] = ()
    pulls: tuple[Choice, ...] = ()
    commit: str = ""


@dataclass(frozen=True, slots=True)
class CommitLine:
    id: str
    title: str
    at_ms: int
    author: str = ""
    message: str = ""  # what the title does not say
    href: str = ""


@dataclass(frozen=True, slots=True)
class FileRow:
    name: str
    kind: Literal["file", "directory", "symlink", "submodule"]
    href: str
    size_bytes: int = 0
    storage: Literal["", "Xet", "LFS"] = ""
    download: str = ""
    commit: CommitLine | None = None


@dataclass(frozen=True, slots=True)
class FilesPage:
    head: RepoHead
    revisions: Revisions
    crumbs: tuple[Choice, ...]
    rows: tuple[FileRow, ...]
    parent: str = ""
    latest: CommitLine | None = None
    commits_href: str = ""
    pager: Pager = Pager()


@dataclass(frozen=True, slots=True)
class TensorRow:
    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    start: int


@dataclass(frozen=True, slots=True)
class TensorTable:
    """`matching` of `count` tensors fit the filter; `rows` are one page of them."""

    summary: TensorSummary
    rows: tuple[TensorRow, ...]
    count: int
    matching: int
    query: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    header_bytes: int | None = None
    pager: Pager = Pager()


@dataclass(frozen=True, slots=True)
class FilePage:
    """One of `lines`, `tensors`, `image` or `note` says what is inside."""

    head: RepoHead
    revisions: Revisions
    crumbs: tuple[Choice, ...]
    name: str
    size_bytes: int
    sha256: str = ""
    oid: str = ""
    storage: Literal["", "Xet", "LFS"] = ""
    download: str = ""
    raw: str = ""
    latest: CommitLine | None = None
    lines: tuple[str, ...] | None = None
    image: str = ""
    tensors: TensorTable | None = None
    note: str = ""
    problem: str = ""  # why its header could not be read


@dataclass(frozen=True, slots=True)
class CommitsPage:
    head: RepoHead
    revisions: Revisions
    days: tuple[tuple[str, tuple[CommitLine, ...]], ...]
    pager: Pager = Pager()


@dataclass(frozen=True, slots=True)
class SignInPage:
    """`problem` is one text for every reason, so that it says nothing about who exists (T46)."""

    next: str = "/"
    problem: str = ""
    name: str = ""
    notice: str = ""


@dataclass(frozen=True, slots=True)
class LinkPage:
    """A one-time link is used by a button, not by opening it: programs that preview links must not use it up."""

    token: str
    problem: str = ""


Visibility = Literal["public", "private"]


@dataclass(frozen=True, slots=True)
class NewRepoPage:
    """`owners` with the visibility that their new repos have. `visibility` empty: as the owner has it."""

    owners: tuple[tuple[str, Visibility], ...]
    owner: str
    kind: RepoType = "model"
    name: str = ""
    visibility: str = ""
    problem: str = ""

    @property
    def default(self) -> Visibility:
        return dict(self.owners)[self.owner]

    @property
    def differs(self) -> bool:
        """Whether it depends on the owner how the repo will be if nothing is said."""
        return len({default for _, default in self.owners}) > 1


@dataclass(frozen=True, slots=True)
class TokenRow:
    id: int
    name: str
    role: str
    hint: str
    created_ms: int
    used_ms: int | None = None
    expires_ms: int | None = None
    expired: bool = False


@dataclass(frozen=True, slots=True)
class TokensPage:
    rows: tuple[TokenRow, ...]
    made: str = ""  # the secret of the token just created: shown this once
    made_name: str = ""
    name: str = ""
    role: str = "write"
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DeletedRow:
    """`name` is what its field says: the name it had, or the one that was just refused."""

    number: int
    rid: RepoId
    private: bool
    deleted_ms: int
    until_ms: int
    name: str


@dataclass(frozen=True, slots=True)
class DeletedPage:
    rows: tuple[DeletedRow, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ProfilePage:
    name: str
    fullname: str
    kind: Literal["user", "org"]
    groups: tuple[tuple[RepoType, tuple[RepoRow, ...], str], ...]  # type, the newest, where all are
    members: tuple[tuple[str, str], ...] = ()  # name, role
    since_ms: int | None = None
    own: bool = False


@dataclass(frozen=True, slots=True)
class ErrorPage:
    status: int
    title: str
    text: str
    request_id: str = ""
    offer_sign_in: bool = False
    after: str = "/"  # where signing in leads
    repo: RepoId | None = None  # whose page leads on, where something in it is missing


@dataclass(frozen=True, slots=True)
class DocsPage:
    title: str
    html: str
    sections: tuple[tuple[str, tuple[Choice, ...]], ...]


def segment(text: str) -> str:
    """One URL segment: a revision `refs/pr/1` travels as `refs%2Fpr%2F1`."""
    return quote(text, safe="")


def path_text(text: str) -> str:
    """A path inside a repo, for a URL."""
    return quote(text, safe="/")


def tree_path(rid: RepoId, revision: str, path: str = "") -> str:
    tail = f"/{path_text(path)}" if path else ""
    return f"{rid.url_path}/tree/{segment(revision)}{tail}"


def blob_path(rid: RepoId, revision: str, path: str) -> str:
    return f"{rid.url_path}/blob/{segment(revision)}/{path_text(path)}"


def resolve_path(rid: RepoId, revision: str, path: str) -> str:
    return f"{rid.url_path}/resolve/{segment(revision)}/{path_text(path)}"


def download_path(rid: RepoId, revision: str, path: str) -> str:
    return resolve_path(rid, revision, path) + "?download=true"


def commits_path(rid: RepoId, revision: str) -> str:
    return f"{rid.url_path}/commits/{segment(revision)}"


def storage_path(rid: RepoId, revision: str) -> str:
    return f"{rid.url_path}/storage/{segment(revision)}"


def with_query(path: str, pairs: Iterable[tuple[str, str]]) -> str:
    """`path?a=1&b=2`, leaving out what is empty."""
    kept = [(key, value) for key, value in pairs if value]
    return f"{path}?{urlencode(kept)}" if kept else path


def count(number: int) -> str:
    """`1.2k`, `22.7M`, `7.24B`: three digits, as people compare parameters and downloads."""
    for step, letter in _COUNT_STEPS:
        if number >= step:
            return _three_digits(number / step) + letter
    return str(number)


def exact(number: int) -> str:
    """`1,234,567`."""
    return f"{number:,}"


def size(size_bytes: int) -> str:
    """`90.9 MB`, in powers of ten like the Hub and every disk."""
    for step, unit in _SIZE_STEPS:
        if size_bytes >= step:
            return f"{_three_digits(size_bytes / step)} {unit}"
    return "1 byte" if size_bytes == 1 else f"{size_bytes} bytes"


def _three_digits(value: float) -> str:
    text = f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def age(now_ms: int, then_ms: int) -> str:
    """`3 days ago`; what lies in the future (a client's clock) is `just now`."""
    seconds = max(0, now_ms - then_ms) // 1000
    for step_s, unit in _AGE_STEPS_S:
        if seconds >= step_s:
            many = seconds // step_s
            return f"{many} {unit}{'' if many == 1 else 's'} ago"
    return "just now"


def day(at_ms: int) -> str:
    """`21 November 2026`, UTC."""
    moment = time.gmtime(at_ms // 1000)
    return f"{moment.tm_mday} {time.strftime('%B %Y', moment)}"


def moment(at_ms: int) -> str:
    """`2026-11-21 22:07 UTC`."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at_ms // 1000))


def shape(dimensions: Sequence[int]) -> str:
    """Its dimensions, outermost first."""
    return f" {TIMES} ".join(str(one) for one in dimensions) if dimensions else "scalar"


def task_title(pipeline: str) -> str:
    """`feature-extraction` as people read it."""
    return pipeline.replace("-", " ").capitalize()


def shares(parameters: dict[str, int]) -> tuple[Share, ...]:
    """The dtypes of a model as segments of a bar, largest first; those beyond the colours are one segment."""
    ranked = sorted(parameters.items(), key=lambda pair: (-pair[1], pair[0]))
    if len(ranked) > DTYPE_CLASSES:
        rest = sum(number for _, number in ranked[DTYPE_CLASSES - 1 :])
        ranked = [*ranked[: DTYPE_CLASSES - 1], ("other", rest)]
    total = sum(number for _, number in ranked) or 1
    made: list[Share] = []
    start = 0.0
    for place, (dtype, number) in enumerate(ranked):
        width = 100 * number / total
        made.append(Share(dtype, number, round(start, 2), round(width, 2), place))
        start += width
    return tuple(made)


def by_day(commits: Iterable[CommitLine]) -> tuple[tuple[str, tuple[CommitLine, ...]], ...]:
    """Commits under the days on which they were made, in the order given."""
    groups: list[tuple[str, list[CommitLine]]] = []
    for one in commits:
        name = day(one.at_ms)
        if not groups or groups[-1][0] != name:
            groups.append((name, []))
        groups[-1][1].append(one)
    return tuple((name, tuple(lines)) for name, lines in groups)
