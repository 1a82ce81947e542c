"""A file by name: the hottest route. HEAD for metadata, GET with ranges; announces Xet on every LFS file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import NamedTuple
from urllib.parse import quote

from headwater.catalog.counts import Asked
from headwater.catalog.pulls import Moment, is_weights
from headwater.front import blobs, body, opening
from headwater.front.answer import Answer, Piece, json
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground.errors import EntryMissing
from headwater.ground.names import CommitId, FilePath
from headwater.repos import Entry, Repo
from headwater.store import Blob

# What a browser may show by itself; everything else, HTML above all, is text or bytes (T50).
_SHOWN = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp",
    "mp4": "video/mp4", "webm": "video/webm", "mp3": "audio/mpeg", "wav": "audio/wav", "ogg": "audio/ogg",
    "flac": "audio/flac", "json": "application/json",
}  # fmt: skip
# A drawing runs scripts where it is a page: so it is one for <img> alone, where it runs none, and else a download.
_KINDS = _SHOWN | {"svg": "image/svg+xml"}
_TEXT = frozenset(
    "txt md py js ts css csv tsv yaml yml toml cfg ini sh xml html htm xhtml jsonl rst tex c h cpp rs go java "
    "jinja model gitattributes gitignore".split()
)
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+\Z")  # stands for itself, quoted either way
HEADERS_KEPT = 8192  # files whose headers are remembered, about 1 KB each: a client asks HEAD, then GET
AT_ONCE_BYTES = 64 << 10  # of a file in git, read on the event loop: a fifth of a millisecond
FILEINFO = "application/vnd.xet-fileinfo+json"  # what huggingface.js asks for before it downloads


def first(rooms: Rooms, request: Request) -> tuple[Repo, CommitId]:
    """The repo and the commit, which are the same for all files of a revision."""
    found = opening.contents(rooms, request)
    return found, opening.revision(rooms, request, found)


def get(rooms: Rooms, request: Request) -> Answer:
    found: Repo
    commit: CommitId
    found, commit = request.opened
    # Not judged by the rules for new paths: what breaks them is in no tree.
    path = FilePath(request.params["path"])
    entry = rooms.repos.tree.entry(found, commit, path)
    if entry.kind == "directory":
        raise EntryMissing(path, commit)
    is_small = entry.kind == "file" and entry.sha256 is None and entry.size <= AT_ONCE_BYTES
    if is_small and body.CONDITIONS.isdisjoint(request.headers):
        answer = _whole(rooms, request, found, commit, entry)
    else:
        answer = _shown(rooms, request, found, commit, entry)
    count(rooms, request, found, commit, entry, answer)
    return answer


def _shown(rooms: Rooms, request: Request, found: Repo, commit: CommitId, entry: Entry) -> Answer:
    answer = Answer(headers=_headers(rooms, found, commit, entry))
    if entry.kind in ("symlink", "submodule"):
        # never followed: a link is served as the text it is (T48)
        data = rooms.repos.tree.read_inline(found, entry) if entry.kind == "symlink" else entry.oid.encode()
        return body.ranged(answer, len(data), lambda start, stop: [data[start:stop]], request.headers, request.id)
    if entry.sha256 is None:
        if request.method == "HEAD":
            return body.ranged(answer, entry.size, lambda start, stop: [], request.headers, request.id)
        if entry.size > AT_ONCE_BYTES:
            return body.ranged(answer, entry.size, partial(_later, rooms, found, entry), request.headers, request.id)
        data = rooms.repos.tree.read_inline(found, entry)
        return body.ranged(answer, len(data), lambda start, stop: [data[start:stop]], request.headers, request.id)
    blob = rooms.store.blob(entry.sha256)
    _announce_xet(answer, rooms, found, commit, blob)
    if FILEINFO in request.headers.get("accept", ""):
        return _file_info(answer, rooms, found, commit, blob)
    return blobs.answer(rooms, answer, blob, request)


def _whole(rooms: Rooms, request: Request, found: Repo, commit: CommitId, entry: Entry) -> Answer:
    """A small file of git for whoever asks for nothing but the file: most requests of most clients."""
    made = _made_headers(found.private, commit, entry)
    if request.method == "HEAD":
        return Answer(encoded=made.encoded, pieces=(), length=entry.size)
    data = rooms.repos.tree.read_inline(found, entry)
    return Answer(encoded=made.encoded, pieces=(data,), length=len(data))


def _later(rooms: Rooms, found: Repo, entry: Entry, start: int, stop: int) -> list[Piece]:
    """The bytes [start, stop), read when they are sent: by then a thread waits for them and not the event loop."""

    def read() -> Iterator[bytes]:
        yield rooms.repos.tree.read_inline(found, entry)[start:stop]

    return [read()]


def raw(rooms: Rooms, request: Request) -> Answer:
    """What git itself holds at the path: the file, or the pointer of an LFS file."""
    found = opening.contents(rooms, request)
    commit = opening.revision(rooms, request, found)
    entry = rooms.repos.tree.entry(found, commit, opening.path(request, commit))
    if entry.kind not in ("file", "symlink"):
        raise EntryMissing(entry.path, commit)
    as_git = replace(entry, sha256=None, size=entry.pointer_size if entry.sha256 else entry.size)
    data = rooms.repos.tree.read_inline(found, as_git)
    answer = Answer(headers=_headers(rooms, found, commit, as_git))
    return body.ranged(answer, len(data), lambda start, stop: [data[start:stop]], request.headers, request.id)


def _headers(rooms: Rooms, found: Repo, commit: CommitId, entry: Entry) -> dict[str, str]:
    return dict(_made_headers(found.private, commit, entry).headers)


class _Headers(NamedTuple):
    """`encoded`: the same for the line, with what is said of a file that comes whole. Whoever changes them copies."""

    headers: dict[str, str]
    encoded: Sequence[tuple[bytes, bytes]]


@lru_cache(HEADERS_KEPT)
def _made_headers(private: bool, commit: CommitId, entry: Entry) -> _Headers:
    """What the client of a commit's file is told never changes."""
    name = entry.path.rsplit("/", 1)[-1]
    suffix = name.rsplit(".", 1)[-1].lower() if "." in name else ""
    kind = _KINDS.get(suffix) or ("text/plain; charset=utf-8" if suffix in _TEXT else "application/octet-stream")
    etag = entry.sha256 or entry.oid
    plain = quoted = name
    if not _PLAIN.match(name):
        plain = "".join(c if 32 <= ord(c) < 127 and c not in '"\\' else "_" for c in name)
        quoted = quote(name, safe="")
    shown = "inline" if suffix in _SHOWN or suffix in _TEXT else "attachment"
    headers = {
        "X-Repo-Commit": commit,
        "ETag": f'"{etag}"',
        "Content-Type": kind,
        "Content-Disposition": f"{shown}; filename*=UTF-8''{quoted}; filename=\"{plain}\";",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, no-cache" if private else "no-cache",
        "Vary": "Authorization, Cookie",
        "Access-Control-Expose-Headers": "X-Repo-Commit, X-Linked-Size, X-Linked-Etag, X-Xet-Hash, ETag, Link",
    }
    if entry.sha256 is not None:
        headers["X-Linked-Etag"] = f'"{etag}"'
        headers["X-Linked-Size"] = str(entry.size)
    return _Headers(headers, body.encoded({**headers, **body.WHOLE}))


def _announce_xet(answer: Answer, rooms: Rooms, found: Repo, commit: CommitId, blob: Blob) -> None:
    token = f"{rooms.settings.base_url}{found.rid.api_path}/xet-read-token/{commit}"
    reconstruction = f"{rooms.settings.base_url}/xet/v1/reconstructions/{blob.xet_hash}"
    answer.headers["X-Xet-Hash"] = blob.xet_hash
    answer.headers["X-Xet-Refresh-Route"] = token
    answer.headers["Link"] = f'<{token}>; rel="xet-auth", <{reconstruction}>; rel="xet-reconstruction-info"'


def _file_info(answer: Answer, rooms: Rooms, found: Repo, commit: CommitId, blob: Blob) -> Answer:
    token = f"{rooms.settings.base_url}{found.rid.api_path}/xet-read-token/{commit}"
    about = json(
        {
            "hash": blob.xet_hash,
            "refreshUrl": token,
            "reconstructionUrl": f"{rooms.settings.base_url}/xet/v1/reconstructions/{blob.xet_hash}",
            "etag": answer.headers["ETag"],
            "size": blob.size,
        }
    )
    about.headers = {**answer.headers, "Content-Type": f"{FILEINFO}; charset=utf-8"}
    return about


def count(rooms: Rooms, request: Request, found: Repo, commit: CommitId, entry: Entry, answer: Answer) -> None:
    """Notes it for downloads by the Hub's rules, and pulls; in memory, never in the way of the answer."""
    if entry.sha256 is not None and not is_weights(found.rid.type, entry.path):
        rooms.counts.pulls.no_weights(entry.sha256)
    head = request.method == "HEAD"
    asked = Asked(
        found.id,
        found.rid.type,
        entry.path,
        commit,
        request.client,
        request.headers.get("user-agent", ""),
        marked=request.headers.get("x-hf-download-counter") == "1",
        head=head,
        sent_bytes=0 if head else blobs.sent_bytes(answer, request, entry.size),
        at=Moment(rooms.clock.now_ms(), rooms.clock.tick_s()),
    )
    rooms.counts.asked(asked)
