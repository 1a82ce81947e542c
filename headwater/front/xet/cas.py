"""The CAS: xorbs and shards in, reconstructions and ranges out. Paths and shapes: xet.md, sections 1.2 and 1.3."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from typing import IO, Any

import msgspec

from headwater.accounts.actor import Actor
from headwater.accounts.actors import author_id
from headwater.catalog.pulls import Visitor
from headwater.front import body, grants
from headwater.front.answer import Answer, json
from headwater.front.grants import Caller
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground.errors import Corrupt, EntryMissing, Forbidden, HeadwaterError, Invalid, TooMuch
from headwater.ground.log import log
from headwater.repos import Repo
from headwater.store import Blob, Source, Turn, XetHash, from_text
from headwater.store.xorb import FOOTER_BYTES_MAX, SERIALISED_BYTES_MAX

XORB_BODY_MAX = SERIALISED_BYTES_MAX + FOOTER_BYTES_MAX  # as clients before 1.1.10 send them, footer included
HEARTBEAT_S = 15.0  # clients give up on a silent shard upload after 300 s
DEDUP_EXPIRY_S = 21 * 86_400  # clients forget after three weeks; xorbs stay a week longer (setting xorb_keep_s)

STALE_CACHE = (
    "/xet/what-this-clients-cache-names-is-not-stored-here/delete-the-folder/~/.cache/huggingface/xet/*/shard-cache"
    "/or-where-HF_XET_CACHE-is-set/$HF_XET_CACHE/*/shard-cache/and-upload-again"
)


def _hash(request: Request, name: str = "hash") -> XetHash:
    from_text(request.params[name])
    return XetHash(request.params[name])


# --- xorbs ---


class _XorbPut:
    """One xorb on its way in, checked chunk by chunk."""

    def __init__(self, rooms: Rooms, actor: Actor, found: Repo, name: XetHash) -> None:
        self._rooms, self._actor, self._repo, self._name = rooms, actor, found, name
        self._sink = rooms.xets.sink(name)

    def write(self, data: bytes) -> None:
        self._sink.write(data)

    def finish(self) -> Answer:
        self._sink.land()
        holds = self._rooms.repos.holds
        # New to this repo: whether a stranger has the same bytes is not told (T17).
        new = not holds.may_use_xorb(self._actor, self._repo, self._name)
        holds.hold_xorbs(self._repo.id, [self._name], author_id(self._actor))
        return json({"was_inserted": new})

    def abort(self) -> None:
        self._sink.abort()


def post_xorb(rooms: Rooms, request: Request) -> body.Sink:
    caller = grants.caller(rooms, request, "write")
    return _put(rooms, request, caller.actor, caller.repo)


def _put(rooms: Rooms, request: Request, actor: Actor, found: Repo) -> body.Sink:
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:18]) > XORB_BODY_MAX:
        raise TooMuch(f"xorb: {declared[:18]} bytes are more than the {XORB_BODY_MAX} that one may have")
    return _XorbPut(rooms, actor, found, _hash(request))


def head_xorb(rooms: Rooms, request: Request) -> Answer:
    caller = grants.caller(rooms, request, "read")
    name = _hash(request)
    if not _may_use(rooms, caller, name) or rooms.xets.index(name) is None:
        raise EntryMissing(name, text="No such xorb")
    return Answer(200)


def grant_xorb(rooms: Rooms, request: Request) -> Answer:
    """200: already here, send nothing. 201: an address to send it to. Who may not see a xorb is told to send it."""
    caller = grants.caller(rooms, request, "write")
    name = _hash(request)
    if _may_use(rooms, caller, name) and rooms.xets.index(name) is not None:
        rooms.xets.offered([name])
        rooms.repos.holds.hold_xorbs(caller.repo.id, [name], author_id(caller.actor))
        return Answer(200)
    length = request.json().get("length")
    if not isinstance(length, int) or isinstance(length, bool) or length < 0:
        raise Invalid("length: the size of the xorb in bytes is required")
    fields = {**grants.owner(caller.actor, caller.repo), "xorb": name}
    ticket = rooms.tickets.sign("xorb-put", fields, rooms.settings.signed_url_s)
    url = f"{rooms.settings.base_url}/xet/v1/xorb-puts/{name}?ticket={ticket}"
    return json({"id": rooms.clock.token(8), "method": "PUT", "url": url, "headers": {}}, 201)


def put_xorb(rooms: Rooms, request: Request) -> body.Sink:
    actor, found, fields = grants.signed(rooms, "xorb-put", request.arg("ticket"), "read")
    name = _hash(request)
    if fields["xorb"] != name or not actor.can_write:
        raise Forbidden("This upload address is for another xorb, or its token may only read by now")
    return _put(rooms, request, actor, found)


def commit_grant(rooms: Rooms, request: Request) -> Answer:
    """The upload of a grant has landed; 404 makes the client ask for a new grant."""
    caller = grants.caller(rooms, request, "write")
    name = _hash(request)
    if not rooms.repos.holds.may_use_xorb(caller.actor, caller.repo, name):
        raise EntryMissing(name, text="Nothing was uploaded under this grant")
    return json({"was_inserted": True})


def _may_use(rooms: Rooms, caller: Caller, name: XetHash) -> bool:
    """Whether the caller may build on a xorb: it was sent to his repo, by him or for him, or he may read it (T17)."""
    holds = rooms.repos.holds
    return holds.may_use_xorb(caller.actor, caller.repo, name) or holds.xorb_readable(caller.actor, name)


# --- shards ---


def may_write(rooms: Rooms, request: Request) -> Caller:
    return grants.caller(rooms, request, "write")


def post_shard(rooms: Rooms, request: Request) -> Answer:
    """One answer when all is checked (clients before 1.6; they wait as long as it takes).

    Made as a body is, by a thread for those that wait: a few long checks must not keep everybody else waiting.
    """
    caller, file = grants.caller(rooms, request, "write"), _shard(request)
    said = json({"result": 1})

    def checked() -> Iterator[bytes]:
        try:
            with rooms.xets.checks.take(_size(file)):
                _register(rooms, caller, file.read(), lambda done, total: None)
        except Invalid as error:
            agent = request.headers.get("user-agent", "")
            if "xorb" in error.details and (not agent or "hf_xet/" in agent):  # older ones say nothing
                raise _shown_by_its_address(rooms, error) from error
            raise
        yield said.body

    return Answer(said.status, said.headers, pieces=[checked()], length=len(said.body))


def _shown_by_its_address(rooms: Rooms, error: Invalid) -> Invalid:
    """The same error for clients that show their user no body, only the address that an error came from.

    They follow the redirect, find nothing there, and say so with the whole address. hf_xet since 1.6 reads the body.
    """
    return Invalid(error.text, status=303, headers={"Location": rooms.settings.base_url + STALE_CACHE}, **error.details)


def post_shard_v2(rooms: Rooms, request: Request) -> Answer:
    """The same with progress, a line at a time; the text of an error reaches the user as it is."""
    caller, file = grants.caller(rooms, request, "write"), _shard(request)
    turn = rooms.xets.checks.take(_size(file))
    request.file = None  # the thread closes it: it may read it when this request is over
    lines = _Lines()
    worker = threading.Thread(target=_register_with_lines, args=(rooms, caller, file, turn, lines), daemon=True)
    worker.start()
    return Answer(200, {"Content-Type": "application/x-ndjson"}, pieces=[iter(lines)])


def _shard(request: Request) -> IO[bytes]:
    assert request.file is not None
    return request.file


def _size(file: IO[bytes]) -> int:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def _register(rooms: Rooms, caller: Caller, data: bytes, progress: Callable[[int, int], None]) -> None:
    # the xorbs that this shard names become the repo's own: what it may use now, it may read later
    used: set[XetHash] = set()

    def may_use(name: XetHash) -> bool:
        if name in used or _may_use(rooms, caller, name):
            used.add(name)
            return True
        return False

    blobs = rooms.xets.register(data, may_use, progress)
    sender_id = author_id(caller.actor)
    rooms.repos.holds.hold_xorbs(caller.repo.id, sorted(used), sender_id)
    rooms.repos.holds.hold(caller.repo.id, sorted({blob.sha256 for blob in blobs}), sender_id)


class _ClientLeft(Exception):
    """Nobody waits for the check any more. A client that comes back begins it again."""


class _Lines:
    """Lines that one thread writes and another sends, with a heartbeat while nothing happens."""

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes | None] = queue.Queue()
        self._last_done = -1
        self._left = False

    def put(self, **line: Any) -> None:
        self._queue.put(msgspec.json.encode(line) + b"\n")

    def progress(self, done: int, total: int) -> None:
        if self._left:
            raise _ClientLeft
        step = done * 20 // total if total else 20
        if step != self._last_done:  # at most twenty lines, whatever the size
            self._last_done = step
            self.put(type="validating", verified=done, total=total)

    def end(self) -> None:
        self._queue.put(None)

    def __iter__(self) -> Iterator[bytes]:
        try:
            while True:
                try:
                    line = self._queue.get(timeout=HEARTBEAT_S)
                except queue.Empty:
                    yield msgspec.json.encode({"type": "committing", "stage": "syncing"}) + b"\n"
                    continue
                if line is None:
                    return
                yield line
        finally:
            self._left = True


def _register_with_lines(rooms: Rooms, caller: Caller, file: IO[bytes], turn: Turn, lines: _Lines) -> None:
    try:
        with turn, file:
            _register(rooms, caller, file.read(), lines.progress)
        lines.put(type="result", result=1)
    except _ClientLeft:
        log.info("left", where="shard", repo=caller.repo.id)
    except HeadwaterError as error:
        lines.put(type="error", message=error.text, retryable=error.status in (429, 503))
    except Exception as error:  # noqa: BLE001 - the thread's own last door; the headers are out already
        log.error("bug", where="shard", exc_info=error)
        lines.put(type="error", message="The hub made a mistake while it checked the upload", retryable=False)
    finally:
        lines.end()


# --- reconstructions ---


def _blob(rooms: Rooms, caller: Caller, name: XetHash) -> Blob:
    """The blob that Xet clients know by this name, if the token's repo holds it: a leaked hash reads nothing."""
    for blob in rooms.store.by_xet_hash(name):
        if rooms.repos.holds.shown(caller.repo.id, blob.sha256) is not None:
            return blob
    raise EntryMissing(name, text="No such file in this repo")


def reconstruct_v2(rooms: Rooms, request: Request) -> Answer:
    layout, fetches = _reconstruct(rooms, request)
    xorbs: dict[str, list[dict[str, Any]]] = {}
    for name, url, part in fetches:
        ranges = {
            "chunks": {"start": part.chunk_start, "end": part.chunk_stop},
            "bytes": {"start": part.start, "end": part.stop - 1},
        }
        xorbs.setdefault(name, []).append({"url": url, "ranges": [ranges]})
    return json({"offset_into_first_range": layout.skip, "terms": _terms(layout.parts), "xorbs": xorbs})


def reconstruct_v1(rooms: Rooms, request: Request) -> Answer:
    layout, fetches = _reconstruct(rooms, request)
    info: dict[str, list[dict[str, Any]]] = {}
    for name, url, part in fetches:
        info.setdefault(name, []).append(
            {
                "range": {"start": part.chunk_start, "end": part.chunk_stop},
                "url": url,
                "url_range": {"start": part.start, "end": part.stop - 1},
            }
        )
    return json({"offset_into_first_range": layout.skip, "terms": _terms(layout.parts), "fetch_info": info})


def _terms(parts: Any) -> list[dict[str, Any]]:
    return [
        {
            "hash": part.xorb,
            "unpacked_length": part.size,
            "range": {"start": part.chunk_start, "end": part.chunk_stop},
        }
        for part in parts
    ]


def _reconstruct(rooms: Rooms, request: Request) -> tuple[Any, list[tuple[str, str, Any]]]:
    """The layout of the asked range, and a signed address for each distinct run of chunks.

    Each run gets an address of its own: clients before 1.3 tell downloads apart by it (xet.md, 1.4).
    """
    caller = grants.caller(rooms, request, "read")
    blob = _blob(rooms, caller, _hash(request, "file"))
    header = request.headers.get("range", "")
    runs = body.ranges(header, blob.size) if header else None
    start, stop = runs[0] if runs else (0, blob.size)
    layout = rooms.xets.layout(blob, start, stop)
    pull = caller.pull if rooms.counts.pulls.may_be_weights(blob.sha256) else {}
    fetches: dict[tuple[str, int, int], tuple[str, str, Any]] = {}
    for part in layout.parts:
        key = (part.xorb, part.chunk_start, part.chunk_stop)
        if key not in fetches:
            fields = {
                **grants.owner(caller.actor, caller.repo),
                "k": part.source.kind,
                "n": part.source.name,
                "p": part.source.number,
                "a": part.start,
                "b": part.stop,
                **pull,
            }
            ticket = rooms.tickets.sign("xet-get", fields, rooms.settings.signed_url_s)
            fetches[key] = (part.xorb, f"{rooms.settings.base_url}/xet/fetch/{ticket}", part)
    return layout, list(fetches.values())


def fetch(rooms: Rooms, request: Request) -> Answer:
    """Bytes of a xorb (or pseudo-xorb) by a signed address; no bearer token comes with it."""
    # 403 makes the client ask for the reconstruction again (xet.md, 1.2 row 10)
    _, _, fields = grants.signed(rooms, "xet-get", request.params["ticket"], "read")
    source = Source("xorb" if fields["k"] == "xorb" else "piece", str(fields["n"]), int(fields["p"]))
    low, high = int(fields["a"]), int(fields["b"])
    header = request.headers.get("range", "")
    # the whole container is addressed, but only the signed run of it may be read
    runs = body.ranges(header, high) if header else None
    start, stop = runs[0] if runs else (low, high)
    if start < low or stop > high or (runs and len(runs) > 1):
        raise body.Unsatisfiable(header, high)
    answer = Answer(206 if runs else 200, {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"})
    if runs:
        answer.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{high}"
    try:
        answer.pieces, answer.length = [rooms.xets.fetch(source, start, stop)], stop - start
    except Corrupt as error:
        # The xorb was lost since. There may be a sealed copy of the file, of which a new reconstruction tells.
        raise Forbidden("These bytes lie here no longer; ask for the reconstruction again") from error
    if "c" in fields and request.method == "GET":
        who = Visitor(request.client, bool(fields["ci"]))
        rooms.counts.pulls.weights(int(fields["repo"]), str(fields["c"]), who, stop - start)
    return answer


def head_file(rooms: Rooms, request: Request) -> Answer:
    caller = grants.caller(rooms, request, "read")
    blob = _blob(rooms, caller, _hash(request, "file"))
    return Answer(200, {"X-File-Size": str(blob.size)})


# --- dedup, telemetry ---


def dedup(rooms: Rooms, request: Request) -> Answer:
    caller = grants.caller(rooms, request, "read")
    answers = rooms.xets.dedup(
        _hash(request),
        lambda names: {XetHash(name) for name in rooms.repos.holds.xorbs_readable(caller.actor, names)},
        bytes.fromhex(rooms.clock.token(32)),
        rooms.clock.now_ms() // 1000 + DEDUP_EXPIRY_S,
    )
    if answers is None:
        raise EntryMissing(request.params["hash"], text="No such chunk")
    return Answer(200, {"Content-Type": "application/octet-stream"}, answers)


def telemetry(rooms: Rooms, request: Request) -> Answer:
    """Clients report how a transfer went. Taken, so that they are content; not kept."""
    grants.caller(rooms, request, "read")
    return Answer(200)
