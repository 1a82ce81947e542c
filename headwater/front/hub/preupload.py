"""LFS or inline, asked before an upload; and the check of a card before it is committed."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from headwater.catalog import cards
from headwater.front import opening
from headwater.front.answer import Answer, json
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.ground import names
from headwater.ground.errors import Invalid, TooMuch
from headwater.repos import Candidate

FILES_MAX = 5000  # huggingface_hub asks for 256 at a time, huggingface.js for 100
SAMPLE_MAX = 4096  # clients send 512 bytes


def ask(rooms: Rooms, request: Request) -> Answer:
    found = opening.changing(rooms, request)
    commit = opening.revision(rooms, request, found)
    asked = request.json()
    files = asked.get("files")
    if not isinstance(files, list):
        raise Invalid("files: a list of {path, size, sample} is required")
    if len(files) > FILES_MAX:
        raise TooMuch(f"files: {len(files)} at once; at most {FILES_MAX}")
    modes = rooms.repos.tree.modes(
        found,
        commit,
        [_candidate(file, rooms.settings.lfs_file_max) for file in files],
        git_ignore=_optional_text(asked, "gitIgnore"),
        git_attributes=_optional_text(asked, "gitAttributes"),
    )
    return json(
        {
            "files": [
                {"path": mode.path, "uploadMode": mode.mode, "shouldIgnore": mode.ignore, "oid": mode.oid}
                for mode in modes
            ],
            "commitOid": commit,
        }
    )


def _candidate(file: Any, most: int) -> Candidate:
    if not isinstance(file, dict) or not isinstance(file.get("path"), str):
        raise Invalid("files: each needs a path")
    size = file.get("size", 0)
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise Invalid(f"files: the size of {file['path'][:200]!r} is not a whole number of bytes")
    if size > most:
        raise TooMuch(f"{file['path'][:200]!r} has {size} bytes; at most {most} are taken (setting lfs_file_max)")
    sample = file.get("sample") or ""
    try:
        data = base64.b64decode(sample[: 2 * SAMPLE_MAX], validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise Invalid(f"files: the sample of {file['path'][:200]!r} is not base64") from error
    return Candidate(names.file_path(file["path"]), size, data[:SAMPLE_MAX])


def _optional_text(asked: dict[str, Any], key: str) -> str | None:
    value = asked.get(key)
    if value is not None and not isinstance(value, str):
        raise Invalid(f"{key}: must be text")
    return value


def validate_yaml(rooms: Rooms, request: Request) -> Answer:
    """Always JSON: the client parses it before it looks at the status."""
    asked = request.json()
    content = asked.get("content")
    if not isinstance(content, str):
        raise Invalid("content: the text of the card is required")
    errors, warnings = cards.validate(content, names.repo_type(str(asked.get("repoType") or "model")))
    return json(
        {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]},
        400 if errors else 200,
    )
