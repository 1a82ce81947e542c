"""Git LFS: batch, upload (whole or in parts), verify. Locks are not offered; git-lfs does without.

Every href is a signed ticket bound to repo, oid, size, purpose and time: a PUT carries no Authorization (T43). Source:
git-lfs `docs/api/batch.md`, `basic-transfers.md`; the multipart shape is huggingface_hub's `lfs.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headwater.accounts.actor import Actor
from headwater.accounts.people import require_sign_in
from headwater.accounts.tickets import Fields
from headwater.catalog.pulls import Visitor
from headwater.front import blobs, body, grants, opening
from headwater.front.answer import Answer, json
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground import names
from headwater.ground.errors import EntryMissing, Forbidden, HeadwaterError, Invalid, TooMuch
from headwater.ground.log import redact
from headwater.ground.names import Sha256
from headwater.repos import Repo
from headwater.store import PartSink

MEDIA_TYPE = "application/vnd.git-lfs+json"
PARTS_MAX = 10_000  # addresses in one answer, 400 bytes each; parts grow with what they are parts of
SLOWEST_BYTES_PER_S = 1 << 20  # of a client whose addresses are still good when it gets to the last file


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Errors as git-lfs reads them: it shows its user `message`, and knows no other field."""
    try:
        yield
    except HeadwaterError as error:
        error.details.setdefault("message", redact(error.text))
        raise


@_told()
def batch(rooms: Rooms, request: Request) -> Answer:
    asked = request.json()
    operation = asked.get("operation")
    if operation not in ("upload", "download"):
        raise Invalid("operation: must be upload or download", status=422)
    found = opening.contents(rooms, request)
    if operation == "upload":
        # Not "write" in the repo: whoever may read it may open a pull request, and clients upload before they say so.
        require_sign_in(request.actor)
    if asked.get("hash_algo", "sha256") not in ("sha256", "sha_256"):  # huggingface.js writes the second
        raise Invalid("hash_algo: only sha256 is offered", status=409)
    objects = asked.get("objects")
    if not isinstance(objects, list):
        raise Invalid("objects: a list is required", status=422)
    if len(objects) > rooms.settings.lfs_batch_max:
        raise TooMuch(
            f"{len(objects)} objects in one batch; at most {rooms.settings.lfs_batch_max} (setting lfs_batch_max)"
        )
    offered = [str(name) for name in asked.get("transfers") or ["basic"]]
    wanted = [_object(one) for one in objects]
    if operation == "download":
        shown, transfer = [_download(rooms, request.actor, found, oid, size) for oid, size in wanted], "basic"
    else:
        for _oid, size in wanted:
            rooms.store.check_size(size)
        transfer = _transfer(rooms, offered, wanted)
        offer = _Offer(transfer, _part_size(rooms, wanted), _lifetime_s(rooms, wanted))
        present = rooms.repos.holds.hold_if_readable(request.actor, found, [oid for oid, _ in wanted])
        shown = [_upload(rooms, request.actor, found, oid, size, offer, present=oid in present) for oid, size in wanted]
    answer = json({"transfer": transfer, "objects": shown, "hash_algo": "sha256"})
    answer.headers["Content-Type"] = MEDIA_TYPE
    return answer


def _object(one: Any) -> tuple[Sha256, int]:
    if not isinstance(one, dict) or not isinstance(one.get("oid"), str):
        raise Invalid("objects: each needs oid and size", status=422)
    size = one.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise Invalid(f"objects: the size of {one['oid'][:80]!r} is not a whole number of bytes", status=422)
    return names.sha256(one["oid"]), size


def _transfer(rooms: Rooms, offered: list[str], wanted: list[tuple[Sha256, int]]) -> str:
    """Xet where the client offers it (huggingface_hub 0.36 to 1.19); parts for large files; else one PUT."""
    if "xet" in offered:
        return "xet"
    if "multipart" in offered and any(size > rooms.settings.lfs_part_size for _, size in wanted):
        return "multipart"
    return "basic"


@dataclass(frozen=True, slots=True)
class _Offer:
    """How the files of one batch are to be sent."""

    transfer: str
    part_size: int
    lifetime_s: int


def _part_size(rooms: Rooms, wanted: list[tuple[Sha256, int]]) -> int:
    """So large that no answer has more addresses than PARTS_MAX and one for each file, however much is announced."""
    least = rooms.settings.lfs_part_size
    parts = sum(-(-size // least) for _, size in wanted)
    return least * max(1, -(-parts // PARTS_MAX))


def _lifetime_s(rooms: Rooms, wanted: list[tuple[Sha256, int]]) -> int:
    """How long the addresses of a batch are good: until a slow client has sent all of it, and verified the last file.

    Clients ask for the addresses of hundreds of files at once. Each use of one looks at the right behind it (T37).
    """
    needed_s = rooms.settings.signed_url_s + sum(size for _, size in wanted) // SLOWEST_BYTES_PER_S
    return min(needed_s, max(rooms.settings.upload_grace_s, rooms.settings.signed_url_s))


def _download(rooms: Rooms, actor: Actor, found: Repo, oid: Sha256, size: int) -> dict[str, Any]:
    held = rooms.repos.holds.shown(found.id, oid)
    if held is None:
        return {"oid": oid, "size": size, "error": {"code": 404, "message": f"{oid} is not in this repo"}}
    ticket = rooms.tickets.sign("lfs-get", {**grants.owner(actor, found), "oid": oid}, rooms.settings.signed_url_s)
    href = f"{rooms.settings.base_url}/lfs/{oid}?ticket={ticket}"
    return {
        "oid": oid,
        "size": held,
        "authenticated": True,
        "actions": {"download": {"href": href, "expires_in": rooms.settings.signed_url_s}},
    }


def _upload(
    rooms: Rooms, actor: Actor, found: Repo, oid: Sha256, size: int, offer: _Offer, *, present: bool
) -> dict[str, Any]:
    if present:
        held = rooms.repos.holds.sizes(found.id, [oid]).get(oid)
        if held is not None and held != size:
            message = f"{oid} has {held} bytes, not {size}"
            return {"oid": oid, "size": size, "error": {"code": 422, "message": message}}
        return {"oid": oid, "size": size}
    if offer.transfer == "xet":
        return {"oid": oid, "size": size, "actions": {"upload": _xet_action(rooms, actor, found)}}
    fields = {**grants.owner(actor, found), "oid": oid, "size": size}
    ticket = rooms.tickets.sign("lfs-put", fields, offer.lifetime_s)
    base = f"{rooms.settings.base_url}/lfs/{oid}"
    action: dict[str, Any] = {
        "href": f"{base}?ticket={ticket}",
        "header": {},
        "expires_in": offer.lifetime_s,
    }
    part_size = offer.part_size
    if offer.transfer == "multipart" and size > part_size:
        # A repo's and a person's: whoever sees a repo may upload to it, for a pull request (T17).
        upload = rooms.uploads.begin(f"repo {found.id} user {actor.user_id}", oid, size, part_size)
        fields["upload"] = upload
        ticket = rooms.tickets.sign("lfs-put", fields, offer.lifetime_s)
        action["href"] = f"{base}/complete?ticket={ticket}"
        action["header"] = {"chunk_size": str(part_size)} | {
            str(number): f"{base}/part/{number}?ticket={ticket}" for number in range(1, -(-size // part_size) + 1)
        }
    # Everything by ticket, verify too: credentials that the user gave for one name of this host fit no other.
    verify = {"href": f"{base}/verify?ticket={ticket}", "expires_in": offer.lifetime_s}
    return {"oid": oid, "size": size, "authenticated": True, "actions": {"upload": action, "verify": verify}}


def _xet_action(rooms: Rooms, actor: Actor, found: Repo) -> dict[str, Any]:
    grant = grants.make(rooms, actor, found, "write")
    return {
        "href": f"{rooms.settings.base_url}{found.rid.api_path}/xet-write-token/main",
        "header": {**grants.headers(grant), "X-Xet-Session-Id": rooms.clock.token(13)},
        "expires_in": rooms.settings.xet_token_s,
    }


def _ticket(rooms: Rooms, request: Request, purpose: str) -> Fields:
    actor, _, fields = grants.signed(rooms, purpose, request.arg("ticket"), "read")
    if purpose == "lfs-put":
        require_sign_in(actor)
    if fields["oid"] != request.params["oid"]:
        raise Forbidden("This address is for another file")
    return fields


def _hold(rooms: Rooms, fields: Fields) -> None:
    """The file has arrived: the ticket's repo may name it, and the ticket's user."""
    rooms.repos.holds.hold(int(fields["repo"]), [names.sha256(str(fields["oid"]))], int(fields["user"]))


def _held(rooms: Rooms, fields: Fields) -> int | None:
    """The size of the ticket's file, if its user may name it in the ticket's repo."""
    actor, found = grants.by_now(rooms, fields, "read")
    oid = names.sha256(str(fields["oid"]))
    return rooms.repos.holds.nameable(actor, found, [oid]).get(oid)


class _Put:
    """One whole file on its way in."""

    def __init__(self, rooms: Rooms, fields: Fields, size: int) -> None:
        self._rooms, self._fields = rooms, fields
        self._sink = rooms.store.sink(names.sha256(str(fields["oid"])), size)

    @_told()
    def write(self, data: bytes) -> None:
        self._sink.write(data)

    @_told()
    def finish(self) -> Answer:
        blob = self._sink.land()
        _hold(self._rooms, self._fields)
        return Answer(200, {"ETag": f'"{blob.sha256}"'})

    def abort(self) -> None:
        self._sink.abort()


@_told()
def put(rooms: Rooms, request: Request) -> body.Sink:
    fields = _ticket(rooms, request, "lfs-put")
    size = int(fields["size"])
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) != size:
        raise Invalid(f"The body has {declared} bytes, {size} were announced. Nothing was stored.")
    return _Put(rooms, fields, size)


@_told()
def put_part(rooms: Rooms, request: Request) -> body.Sink:
    fields = _ticket(rooms, request, "lfs-put")
    number = request.params["number"]
    if "upload" not in fields or not number.isascii() or not number.isdigit() or len(number) > 5:
        raise Invalid(f"part: {number[:20]!r} is not a part of this upload")
    try:
        return _PartPut(rooms, fields, rooms.uploads.part(str(fields["upload"]), int(number)))
    except EntryMissing:
        if not _is_here(rooms, fields):
            raise
        return _LatePart(int(fields["size"]))


def _is_here(rooms: Rooms, fields: Fields) -> bool:
    """Whether the file of this upload has arrived: another client was quicker, or an answer was lost on its way."""
    return _held(rooms, fields) is not None


class _PartPut:
    """One part on its way in."""

    def __init__(self, rooms: Rooms, fields: Fields, sink: PartSink) -> None:
        self._rooms, self._fields, self._sink = rooms, fields, sink

    def write(self, data: bytes) -> None:
        self._sink.write(data)

    def finish(self) -> Answer:
        try:
            self._sink.land()
        except EntryMissing:
            if not _is_here(self._rooms, self._fields):
                raise
        return Answer(200, {"ETag": f'"{self._sink.etag}"'})

    def abort(self) -> None:
        self._sink.abort()


class _LatePart:
    """One part of a file that is here by now: taken and dropped, since the client that sends it did no wrong."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise Invalid("part: it is longer than its file")
        self._hash.update(data)

    def finish(self) -> Answer:
        return Answer(200, {"ETag": f'"{self._hash.hexdigest()}"'})

    def abort(self) -> None:
        """Nothing was kept."""


@_told()
def complete(rooms: Rooms, request: Request) -> Answer:
    """Joins the parts, hashing; only then does the file exist."""
    fields = _ticket(rooms, request, "lfs-put")
    if "upload" not in fields:
        raise Invalid("This upload has no parts")
    asked = request.json()
    parts = asked.get("parts")
    etags: dict[int, str] = {}
    for part in parts if isinstance(parts, list) else []:
        if isinstance(part, dict) and isinstance(part.get("partNumber"), int):
            etags[part["partNumber"]] = str(part.get("etag", "")).strip('"')
    upload = str(fields["upload"])
    try:
        rooms.uploads.complete(upload, etags)
        _hold(rooms, fields)
    except EntryMissing:
        if not _is_here(rooms, fields):
            raise
    rooms.uploads.drop(upload)  # last: who finds it gone finds the file here
    return json({"oid": fields["oid"], "size": fields["size"]})


@_told()
def get(rooms: Rooms, request: Request) -> Answer:
    fields = _ticket(rooms, request, "lfs-get")
    oid = names.sha256(str(fields["oid"]))
    if not rooms.repos.holds.has(int(fields["repo"]), oid):
        raise Forbidden("This download address is no longer good")
    blob = rooms.store.blob(oid)
    shaped = Answer(headers={"ETag": f'"{oid}"', "Content-Type": "application/octet-stream"})
    answer = blobs.answer(rooms, shaped, blob, request)
    if request.method == "GET" and rooms.counts.pulls.may_be_weights(oid):
        # which commit it is for, git-lfs does not say
        who = Visitor.of(request.client, request.headers.get("user-agent", ""))
        rooms.counts.pulls.weights(int(fields["repo"]), "", who, blobs.sent_bytes(answer, request, blob.size))
    return answer


@_told()
def verify(rooms: Rooms, request: Request) -> Answer:
    fields = _ticket(rooms, request, "lfs-put")
    oid, size = _object(request.json())
    if oid != fields["oid"]:
        raise Forbidden("This verify address is for another file")
    held = _held(rooms, fields)
    if held is None:
        raise Invalid(f"{oid} was not uploaded to this repo", status=404)
    if held != size:
        raise Invalid(f"{oid} has {held} bytes, not {size}", status=422)
    return json({"oid": oid, "size": held})
