"""The pages of one repo: card, files, one file, commits.

Whoever may not see the repo learns nothing; a gated repo shows its card, not its files. Everything that people wrote is
bounded before it is shown: titles are cut, long folders and histories are paged, large files are named and not shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import msgspec

from headwater.accounts.actor import Actor
from headwater.catalog import cards, search
from headwater.catalog.search import Known
from headwater.front import opening
from headwater.front.answer import Answer
from headwater.front.pages import contents, frame, render
from headwater.front.pages.present import (
    CardPage,
    Choice,
    CommitLine,
    CommitsPage,
    FilePage,
    FileRow,
    FilesPage,
    Pager,
    RepoHead,
    Revisions,
    TensorSummary,
    age,
    blob_path,
    by_day,
    commits_path,
    count,
    day,
    download_path,
    exact,
    resolve_path,
    shares,
    size,
    storage_path,
    task_title,
    tree_path,
    with_query,
)
from headwater.front.pages.snippets import Usage, snippets
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground import names
from headwater.ground.errors import Disabled, EntryMissing, Invalid, RepoMissing
from headwater.ground.names import CommitId, FilePath, RepoId
from headwater.repos import Commit, Entry, Moved, Repo

ENTRIES_PAGE = 100  # with the last commit of each, which costs a walk
COMMITS_PAGE = 40
REVISIONS_SHOWN = 100  # of branches, of tags, of pull requests: the selector is a menu, not an archive
TAGS_SHOWN = 8
TITLE_CHARS_MAX = 300
MESSAGE_CHARS_MAX = 4_000
AUTHOR_CHARS_MAX = 80
ROOT_ENTRIES_READ = 500  # of a revision's top folder, to tell how it is used
WEIGHT_LINKS = 6
BASE_MODELS_SHOWN = 4
CARD_CHARS_KEPT_MAX = 65_536  # a longer card is rendered each time: what is kept stays under a few megabytes
CARDS_KEPT = 32
README = FilePath("README.md")
_OURS = frozenset({".gitattributes"})  # what the hub itself puts into a new repo
_PLAIN_PREFIXES = frozenset({"task_categories", "size_categories", "language", "format", "modality"})
_WEIGHTS = (".safetensors", ".gguf")


@dataclass(frozen=True, slots=True)
class Opened:
    """A repo at a revision. `revision` is as the address says it: a branch, a tag, a commit."""

    repo: Repo
    revision: str
    commit: CommitId
    known: Known | None

    @property
    def rid(self) -> RepoId:
        return self.repo.rid


def open_at(rooms: Rooms, request: Request, repo: Repo) -> Opened:
    revision = request.params.get("rev") or "main"
    commit = rooms.repos.refs.resolve(repo, revision)
    main = commit if revision == "main" else rooms.repos.refs.resolve(repo, "main")
    # The catalog follows behind; a page shows what is there now.
    return Opened(repo, revision, commit, rooms.index.fresh(repo.id, main))


def head_of(rooms: Rooms, request: Request, opened: Opened) -> RepoHead:
    known = opened.known
    tags: list[str] = msgspec.json.decode(known.tags) if known else []
    # What points elsewhere comes last: base models have their own line beside the card.
    ordered = sorted((tag for tag in tags if not tag.startswith("base_model:")), key=_points_elsewhere)
    choices = [_tag(opened.rid, tag, known.pipeline_tag if known else None) for tag in ordered]
    repo = opened.repo
    return RepoHead(
        rid=opened.rid,
        revision=opened.revision,
        private=repo.private,
        gated=repo.gated,
        tags=tuple(choices[:TAGS_SHOWN]),
        more_tags=tuple(choices[TAGS_SHOWN:]),
        likes=rooms.repos.likes.count(repo.id),  # the catalog follows behind, and people look at what they pressed
        liked=request.actor.user_id is not None and rooms.repos.likes.likes(request.actor.user_id, repo.id),
        downloads=known.downloads if known else 0,
        may_write=request.actor.may_write(namespace_id=repo.namespace_id, creator_id=repo.creator_id),
    )


def _tag(rid: RepoId, tag: str, pipeline: str | None) -> Choice:
    """What people read, and the list of all that have it."""
    lists = f"/{rid.type}s"
    prefix, _, rest = tag.partition(":")
    if prefix == "license" and rest:
        return Choice(rest, with_query(lists, [("license", rest)]))
    if tag == pipeline and rid.type == "model":
        return Choice(task_title(tag), with_query(lists, [("pipeline_tag", tag)]))
    label = rest if prefix in _PLAIN_PREFIXES and rest else tag
    return Choice(label, with_query(lists, [("other", tag)]))


def _points_elsewhere(tag: str) -> bool:
    return tag.startswith(("dataset:", "arxiv:", "doi:"))


# ---- card ----


def card(rooms: Rooms, request: Request) -> Answer:
    opened = open_at(rooms, request, opening.repo(rooms, request))
    root, _ = rooms.repos.tree.listing(opened.repo, opened.commit, "", limit=ROOT_ENTRIES_READ)
    entries = {entry.path: entry for entry in root}
    text, note = _card_text(rooms, opened.repo, entries.get(README))
    read = cards.read(text) if text is not None else None
    front = read.front if read else {}
    body = read.body if read else None
    faults = [problem.text for problem in read.problems if problem.level == "error"] if read else []
    page = CardPage(
        head=head_of(rooms, request, opened),
        card_html=_card_html(rooms, opened, body) if body is not None and body.strip() else None,
        snippets=snippets(_usage(rooms, opened, root)),
        facts=_facts(rooms, request.actor, opened, front),
        tensors=_tensors(rooms, opened, root),
        card_note=note or (f"The card's {faults[0]}" if faults else ""),
        readme=blob_path(opened.rid, opened.revision, README) if README in entries else "",
        empty=set(entries) <= _OURS,
    )
    return frame.shown(render.render_card(frame.site(rooms, request), page))


def _card_text(rooms: Rooms, repo: Repo, entry: Entry | None) -> tuple[bytes | None, str]:
    if entry is None or entry.kind != "file":
        return None, ""
    if entry.sha256 is not None:
        return None, f"README.md is not shown: its {size(entry.size)} are stored as a large file."
    text = rooms.repos.tree.read_inline(repo, entry)
    if len(text) <= contents.TEXT_BYTES_MAX:
        return text, ""
    start = text[: contents.TEXT_BYTES_MAX]
    return start[: start.rfind(b"\n") + 1] or start, f"README.md has {size(entry.size)}: its beginning is shown."


def _card_html(rooms: Rooms, opened: Opened, body: str) -> str:
    base = frame.base_path(rooms.settings)
    link_base = base + blob_path(opened.rid, opened.revision, "")
    image_base = base + resolve_path(opened.rid, opened.revision, "")
    made = _kept_html if len(body) <= CARD_CHARS_KEPT_MAX else _kept_html.__wrapped__
    return made(body, link_base, image_base, base)


@lru_cache(maxsize=CARDS_KEPT)
def _kept_html(body: str, link_base: str, image_base: str, root: str) -> str:
    from headwater.front.pages import markdown  # noqa: PLC0415 - 6 MB that a hub without a browser never needs

    return markdown.render(body, link_base=link_base, image_base=image_base, root=root)


def _usage(rooms: Rooms, opened: Opened, root: Sequence[Entry]) -> Usage:
    known = opened.known
    files = [entry for entry in root if entry.kind == "file"]
    weights = [entry.path for entry in files if entry.path.endswith(_WEIGHTS)]
    largest = max(files, key=lambda entry: entry.size, default=None)
    return Usage(
        rid=opened.rid,
        public_url=rooms.settings.base_url,
        library=(known.library_name if known else None) or "",
        pipeline=(known.pipeline_tag if known else None) or "",
        tags=frozenset(msgspec.json.decode(known.tags)) if known else frozenset(),
        sample=weights[0] if weights else largest.path if largest else "",
        gguf=next((path for path in weights if path.endswith(".gguf")), ""),
        needs_token=opened.repo.private or opened.repo.gated is not None,
    )


def _facts(rooms: Rooms, actor: Actor, opened: Opened, front: dict[str, Any]) -> tuple[tuple[str, str, str], ...]:
    repo, known = opened.repo, opened.known
    made: list[tuple[str, str, str]] = []
    tags: list[str] = msgspec.json.decode(known.tags) if known else []
    licence = next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), "")
    if licence:
        own = front.get("license_name")  # of one that has no name on the Hub's list
        label = own[:TITLE_CHARS_MAX] if licence == "other" and isinstance(own, str) and own.strip() else licence
        made.append(("Licence", label, with_query(f"/{repo.rid.type}s", [("license", licence)])))
    bases = cards.base_models(front)[:BASE_MODELS_SHOWN]
    made += [("Base model", base[:TITLE_CHARS_MAX], _model_path(rooms, actor, base)) for base in bases]
    if known and known.used_storage:
        made.append(("Size", size(known.used_storage), ""))
    made.append(("Updated", age(rooms.clock.now_ms(), known.modified_ms if known else repo.updated_ms), ""))
    made.append(("Created", day(repo.created_ms), ""))
    made.append(("Commit", opened.commit[:12], tree_path(repo.rid, opened.commit)))
    return tuple(made)


def _model_path(rooms: Rooms, actor: Actor, written: str) -> str:
    """The page of a card's base model, if it is here and this actor may see it: most are on another hub."""
    try:
        return rooms.repos.registry.open(actor, names.repo_id("model", written), "read").rid.url_path
    except Moved as moved:
        return moved.new.url_path
    except (Invalid, RepoMissing, Disabled):
        return ""


def _tensors(rooms: Rooms, opened: Opened, root: Sequence[Entry]) -> TensorSummary | None:
    known = opened.known
    files = tuple(
        Choice(entry.path, blob_path(opened.rid, opened.revision, entry.path))
        for entry in root
        if entry.kind == "file" and entry.path.endswith(_WEIGHTS)
    )
    if known is None or not files:
        return None
    if known.safetensors:
        found: dict[str, Any] = msgspec.json.decode(known.safetensors)
        return TensorSummary("Safetensors", found["total"], shares(found["parameters"]), (), _first_and_more(files))
    with rooms.db.read() as connection:
        extra = search.extras(connection, [opened.repo.id]).get(opened.repo.id)
    if extra is None or not extra.gguf:
        return None
    gguf: dict[str, Any] = msgspec.json.decode(extra.gguf)
    rows = [("Architecture", str(gguf["architecture"])[:100])] if gguf.get("architecture") else []
    if gguf.get("context_length"):
        rows.append(("Context length", exact(int(gguf["context_length"]))))
    return TensorSummary("GGUF", int(gguf.get("total") or 0), (), tuple(rows), _first_and_more(files))


def _first_and_more(files: tuple[Choice, ...]) -> tuple[Choice, ...]:
    if len(files) <= WEIGHT_LINKS:
        return files
    folder = files[0].href.replace("/blob/", "/tree/", 1).rpartition("/")[0]
    return (*files[: WEIGHT_LINKS - 1], Choice(f"{count(len(files) - WEIGHT_LINKS + 1)} more", folder))


# ---- files ----


def files(rooms: Rooms, request: Request) -> Answer:
    opened = open_at(rooms, request, opening.contents(rooms, request))
    path = opening.folder(request, opened.commit)
    try:
        entries, after = rooms.repos.tree.listing(
            opened.repo, opened.commit, path, after=request.arg("cursor") or None, limit=ENTRIES_PAGE
        )
    except EntryMissing:
        if not path or rooms.repos.tree.find(opened.repo, opened.commit, path) is None:
            raise
        return frame.see(rooms, blob_path(opened.rid, opened.revision, path), 307)
    paths = [entry.path for entry in entries]
    last = rooms.repos.tree.last_commits(opened.repo, opened.commit, [*paths, *([path] if path else [])])
    latest = last.get(path) if path else rooms.repos.refs.commit(opened.repo, opened.commit)
    ordered = sorted(entries, key=lambda entry: entry.kind != "directory")
    here = tree_path(opened.rid, opened.revision, path)
    page = FilesPage(
        head=head_of(rooms, request, opened),
        revisions=revisions_of(rooms, opened, "tree"),
        crumbs=_crumbs(opened, path),
        rows=tuple(_file_row(rooms, opened, entry, last.get(entry.path)) for entry in ordered),
        parent=tree_path(opened.rid, opened.revision, path.rpartition("/")[0]) if path else "",
        latest=_line(opened, latest) if latest else None,
        commits_href=commits_path(opened.rid, opened.revision),
        pager=Pager(here if request.arg("cursor") else "", with_query(here, [("cursor", after)]) if after else ""),
    )
    return frame.shown(render.render_files(frame.site(rooms, request), page))


def _file_row(rooms: Rooms, opened: Opened, entry: Entry, last: Commit | None) -> FileRow:
    rid, revision = opened.rid, opened.revision
    folder = entry.kind == "directory"
    return FileRow(
        name=entry.path.rpartition("/")[2],
        kind=entry.kind,
        href=tree_path(rid, revision, entry.path) if folder else blob_path(rid, revision, entry.path),
        size_bytes=entry.size,
        storage=_storage(rooms, entry),
        download=download_path(rid, revision, entry.path) if entry.kind == "file" else "",
        commit=_line(opened, last) if last else None,
    )


def _storage(rooms: Rooms, entry: Entry) -> Literal["", "Xet", "LFS"]:
    if entry.sha256 is None:
        return ""
    blob = rooms.store.find(entry.sha256)
    return "Xet" if blob is not None and blob.terms is not None else "LFS"


def _crumbs(opened: Opened, path: str) -> tuple[Choice, ...]:
    made = [Choice(opened.rid.name, tree_path(opened.rid, opened.revision))]
    parts = path.split("/") if path else []
    for depth, part in enumerate(parts, start=1):
        made.append(Choice(part, tree_path(opened.rid, opened.revision, "/".join(parts[:depth]))))
    return tuple(made)


def revisions_of(rooms: Rooms, opened: Opened, page: Literal["tree", "commits", "storage"]) -> Revisions:
    refs = rooms.repos.refs.refs(opened.repo)
    shown = opened.revision
    at = {"tree": tree_path, "commits": commits_path, "storage": storage_path}[page]

    def choices(found: Sequence[tuple[str, str]]) -> tuple[Choice, ...]:
        return tuple(Choice(label, at(opened.rid, name), name == shown) for label, name in found[:REVISIONS_SHOWN])

    # The menu is cut: what people look for most, and where they are, must be in it.
    ranked = sorted(refs.branches, key=lambda one: (one.name != "main", one.name != shown))
    branches = [(one.name, one.name) for one in ranked]
    tags = [(one.name, one.name) for one in refs.tags]
    pulls = [(f"pr/{one.name}", one.ref) for one in refs.pulls]
    kind: Literal["branch", "tag", "commit", "pull"] = "commit"
    if any(name == shown for _, name in branches):
        kind = "branch"
    elif any(name == shown for _, name in tags):
        kind = "tag"
    elif any(name == shown for _, name in pulls):
        kind = "pull"
    label = shown[:12] if kind == "commit" and names.is_commit_id(shown) else shown
    return Revisions(label, kind, choices(branches), choices(tags), choices(pulls), opened.commit)


def _line(opened: Opened, one: Commit) -> CommitLine:
    return CommitLine(
        id=one.id,
        title=_cut(one.title, TITLE_CHARS_MAX),
        at_ms=one.at_ms,
        author=_cut(one.author_name, AUTHOR_CHARS_MAX),
        message=_cut(one.message, MESSAGE_CHARS_MAX),
        href=tree_path(opened.rid, one.id),
    )


def _cut(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


# ---- one file ----


def file(rooms: Rooms, request: Request) -> Answer:
    opened = open_at(rooms, request, opening.contents(rooms, request))
    path = opening.folder(request, opened.commit)
    if not path:
        return frame.see(rooms, tree_path(opened.rid, opened.revision), 307)
    entry = rooms.repos.tree.entry(opened.repo, opened.commit, path)
    if entry.kind == "directory":
        return frame.see(rooms, tree_path(opened.rid, opened.revision, path), 307)
    last = rooms.repos.tree.last_commits(opened.repo, opened.commit, [path]).get(path)
    here = blob_path(opened.rid, opened.revision, path)
    inside = contents.look(rooms, opened.repo, entry, contents.Asked(here, request.arg("q"), _page_number(request)))
    is_file = entry.kind == "file"
    page = FilePage(
        head=head_of(rooms, request, opened),
        revisions=revisions_of(rooms, opened, "tree"),
        crumbs=_crumbs(opened, path),
        name=path.rpartition("/")[2],
        size_bytes=entry.size,
        sha256=entry.sha256 or "",
        oid=entry.oid,
        storage=_storage(rooms, entry),
        download=download_path(opened.rid, opened.revision, path) if is_file else "",
        raw=resolve_path(opened.rid, opened.revision, path) if inside.lines is not None else "",
        latest=_line(opened, last) if last else None,
        lines=inside.lines,
        image=resolve_path(opened.rid, opened.revision, path) if inside.is_image else "",
        tensors=inside.tensors,
        note=inside.note,
        problem=inside.problem,
    )
    return frame.shown(render.render_file(frame.site(rooms, request), page))


def _page_number(request: Request) -> int:
    return request.number("p", 1, contents.PAGES_MAX)


# ---- commits ----


def commits(rooms: Rooms, request: Request) -> Answer:
    opened = open_at(rooms, request, opening.contents(rooms, request))
    cursor = request.arg("cursor")
    after = names.commit_id(cursor) if cursor else None
    listed, following = rooms.repos.refs.commits(opened.repo, opened.revision, after, COMMITS_PAGE)
    here = commits_path(opened.rid, opened.revision)
    page = CommitsPage(
        head=head_of(rooms, request, opened),
        revisions=revisions_of(rooms, opened, "commits"),
        days=by_day(_line(opened, one) for one in listed),
        pager=Pager(here if cursor else "", with_query(here, [("cursor", following)]) if following else ""),
    )
    return frame.shown(render.render_commits(frame.site(rooms, request), page))


def commit(rooms: Rooms, request: Request) -> Answer:
    """The address that clients print after a commit. Its changes are not shown yet; its files are."""
    found = opening.contents(rooms, request)
    return frame.see(rooms, tree_path(found.rid, request.params["rev"]), 302)


def pull_request(rooms: Rooms, request: Request) -> Answer:
    """The address that clients print after opening one. It has no page yet; its files are shown."""
    found = opening.contents(rooms, request)
    ref = f"refs/pr/{request.params['number']}"
    rooms.repos.refs.resolve(found, ref)
    return frame.see(rooms, tree_path(found.rid, ref), 302)
