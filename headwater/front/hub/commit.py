"""A commit by the API: NDJSON, a line an operation, read line by line from the spooled body."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import IO, Any

from headwater.catalog import cards
from headwater.front import body, opening
from headwater.front.answer import Answer, json
from headwater.front.request import Request, decoded
from headwater.front.rooms import Rooms
from headwater.ground import names
from headwater.ground.errors import Forbidden, Invalid, TooMuch
from headwater.ground.names import RepoType
from headwater.repos import AddInline, AddPointer, Copy, DeleteFile, DeleteFolder, Message, Operation, Repo

SUMMARY_MAX = 10_000  # of a commit's title; git has no limit, pages do
DESCRIPTION_MAX = 100_000


def admit(rooms: Rooms, request: Request) -> Repo:
    """Whoever sees a repo may open a pull request and add to it, but not with a token that only reads (T36)."""
    found = opening.changing(rooms, request)
    if not request.actor.can_write:
        raise Forbidden("This token may only read; use one with the role 'write'")
    return found


def make(rooms: Rooms, request: Request) -> Answer:
    create_pr = request.flag("create_pr")
    found = admit(rooms, request)
    assert request.file is not None
    lines = _lines(request.file, rooms.settings.inline_file_max, rooms.settings.commit_lines_max)
    message, parent = _header(next(lines, None))
    result = rooms.repos.commit.apply(
        request.actor,
        found,
        request.params["rev"],
        parent,
        message,
        _operations(lines, found.rid.type),
        create_pr=create_pr,
    )
    if result.changed:
        rooms.jobs.wake()
    url = opening.url(rooms, found)
    answer: dict[str, Any] = {
        "success": True,
        "commitOid": result.commit,
        "commitUrl": f"{url}/commit/{result.commit}",
        "hookOutput": "",
    }
    if result.pull is not None:
        answer["pullRequestUrl"] = f"{url}/discussions/{result.pull}"
    return json(answer)


def _lines(file: IO[bytes], inline_max: int, lines_max: int) -> Iterator[tuple[str, dict[str, Any]]]:
    line_max = body.line_max(inline_max)
    for number in range(1, lines_max + 3):
        line = file.readline(line_max + 1)
        if not line:
            return
        if len(line) > line_max:
            raise TooMuch(
                f"line {number} is longer than {line_max} bytes: a file of more than {inline_max} bytes has to go "
                "through LFS or Xet (setting inline_file_max)"
            )
        if not line.strip():
            continue
        value = decoded(line, f"line {number}")
        if (
            not isinstance(value, dict)
            or not isinstance(value.get("key"), str)
            or not isinstance(value.get("value"), dict)
        ):
            raise Invalid(f'line {number} is not of the form {{"key": ..., "value": {{...}}}}')
        yield value["key"], value["value"]
    raise TooMuch(f"more than {lines_max} operations in one commit (setting commit_lines_max); split it")


def _header(first: tuple[str, dict[str, Any]] | None) -> tuple[Message, names.CommitId | None]:
    if first is None or first[0] != "header":
        raise Invalid("the first line must be the header, with the commit's summary")
    value = first[1]
    summary, description = value.get("summary", ""), value.get("description") or ""
    if not isinstance(summary, str) or not isinstance(description, str) or not summary.strip():
        raise Invalid("summary: the commit needs a title")
    if len(summary) > SUMMARY_MAX or len(description) > DESCRIPTION_MAX:
        raise TooMuch(f"summary or description longer than {SUMMARY_MAX} and {DESCRIPTION_MAX} characters")
    parent = value.get("parentCommit")
    if parent is None or parent == "":
        return Message(summary, description), None
    if not isinstance(parent, str):
        raise Invalid("parentCommit: must be a commit id")
    return Message(summary, description), names.CommitId(parent.lower())


def _operations(lines: Iterator[tuple[str, dict[str, Any]]], kind: RepoType) -> Iterator[Operation]:
    for key, value in lines:
        if key == "file":
            yield inline(value, kind)
        elif key == "lfsFile":
            yield _pointer(value)
        elif key == "deletedFile":
            yield DeleteFile(_path(value))
        elif key in ("deletedFolder", "deletedEntry"):
            yield DeleteFolder(names.file_path(_text(value, "path").rstrip("/")))
        elif key == "copyFile":
            revision = value.get("srcRevision")
            yield Copy(
                names.file_path(_text(value, "srcPath")), revision if isinstance(revision, str) else None, _path(value)
            )
        elif key == "header":
            raise Invalid("the header comes once, in the first line")
        else:
            raise Invalid(
                f"key: {key[:40]!r} is not one of header, file, lfsFile, deletedFile, deletedFolder, copyFile"
            )


def inline(value: dict[str, Any], kind: RepoType) -> AddInline:
    """A file whose contents come along. Invalid: it can't be one, or is a card that is none."""
    path, content = _path(value), _text(value, "content")
    encoding = value.get("encoding", "utf-8")
    if encoding == "base64":
        try:
            data = base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Invalid(f"{path}: the content is not base64") from error
    elif encoding in ("utf-8", "utf8", None):
        data = content.encode()
    else:
        raise Invalid(f"{path}: encoding {str(encoding)[:40]!r} is not base64 or utf-8")
    if path == "README.md":
        errors, _warnings = cards.validate(data, kind)
        if errors:
            raise Invalid(f"README.md: {'; '.join(errors[:5])}", errors=errors[:20])
    return AddInline(path, data)


def _pointer(value: dict[str, Any]) -> AddPointer:
    path = _path(value)
    if value.get("algo", "sha256") != "sha256":
        raise Invalid(f"{path}: algo must be sha256")
    size = value.get("size")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise Invalid(f"{path}: size is not a whole number of bytes")
    return AddPointer(path, names.sha256(_text(value, "oid")), size)


def _path(value: dict[str, Any]) -> names.FilePath:
    return names.file_path(_text(value, "path"))


def _text(value: dict[str, Any], key: str) -> str:
    found = value.get(key)
    if not isinstance(found, str):
        raise Invalid(f"{key}: text is required")
    return found
