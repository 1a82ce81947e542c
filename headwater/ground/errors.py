"""The error taxonomy: the single list of what can go wrong for a reason that is not a bug.

Each class fixes its code, HTTP status, Hub headers and CLI exit status once. `front/answer.py` turns them into HTTP,
`cli` into an exit status, `docs/reference/errors.md` is generated from them. All else that is raised is a bug: 500.
"""

from __future__ import annotations

from typing import Any, ClassVar


class HeadwaterError(Exception):
    """The root of the taxonomy. `text` is shown to the user as it is, so it names what was wrong and what to do.

    `details` is merged into the JSON body (for example `url` on a conflict); `headers` go out as they are.
    """

    code: ClassVar[str] = "Error"
    status: int = 500
    exit_status: ClassVar[int] = 1
    meaning: ClassVar[str] = ""

    def __init__(self, text: str, *, headers: dict[str, str] | None = None, **details: Any) -> None:
        super().__init__(text)
        self.text = text
        self.headers = headers or {}
        self.details = details


class RepoMissing(HeadwaterError):
    """No such repo, or none that this actor may know of. 404 with a token, 401 without (the Hub's rule)."""

    code = "RepoNotFound"
    status = 404
    exit_status = 10
    meaning = "No such repo, or none that you may see. The two are never told apart."

    def __init__(self, repo: str, **more: Any) -> None:
        # One text for "absent" and "forbidden": the difference would say that a private repo exists.
        super().__init__("Repository not found", **more)
        self.repo = repo


class RevisionMissing(HeadwaterError):
    code = "RevisionNotFound"
    status = 404
    exit_status = 11
    meaning = "The repo has no such branch, tag, pull ref or commit."

    def __init__(self, revision: str, text: str | None = None, **more: Any) -> None:
        super().__init__(text or f"Invalid rev id: {revision}", **more)


class EntryMissing(HeadwaterError):
    """No such path at this revision; `commit` goes out as X-Repo-Commit so that clients may cache the absence."""

    code = "EntryNotFound"
    status = 404
    exit_status = 12
    meaning = "The revision has no such file or folder."

    def __init__(self, path: str, commit: str | None = None, text: str | None = None, **more: Any) -> None:
        headers = {"X-Repo-Commit": commit} if commit else {}
        super().__init__(text or f"Entry not found: {path!r} does not exist at this revision", headers=headers, **more)


class Gated(HeadwaterError):
    code = "GatedRepo"
    status = 403
    exit_status = 13
    meaning = "The repo is gated and access was not granted. 401 without a token, 403 with one."


class Disabled(HeadwaterError):
    code = "Disabled"
    status = 403
    exit_status = 14
    meaning = "Policy refuses this resource."

    def __init__(self, **more: Any) -> None:
        super().__init__("Access to this resource is disabled.", **more)


class Forbidden(HeadwaterError):
    code = "Forbidden"
    status = 403
    exit_status = 15
    meaning = "You may see it, but not do this; the text names the missing grant."


class Unauthenticated(HeadwaterError):
    code = "InvalidCredentials"
    status = 401
    exit_status = 16
    meaning = "The credentials are missing, wrong, expired or revoked."

    def __init__(self, text: str = "Invalid credentials in Authorization header", **more: Any) -> None:
        super().__init__(text, **more)


class Invalid(HeadwaterError):
    """Malformed input: the text names the field, the value and the rule. 400, or 422 for paths and contents."""

    code = "BadRequest"
    status = 400
    exit_status = 2
    meaning = "Malformed input: the text names the field, the value and the rule."

    def __init__(self, text: str, *, status: int = 400, **more: Any) -> None:
        super().__init__(text, **more)
        self.status = status


class NotOffered(HeadwaterError):
    code = "NotOffered"
    status = 404
    exit_status = 2
    meaning = "No such route, or one that this version does not offer (501)."

    def __init__(self, text: str, *, status: int = 404, **more: Any) -> None:
        super().__init__(text, **more)
        self.status = status


class Conflict(HeadwaterError):
    code = "Conflict"
    status = 409
    exit_status = 17
    meaning = "It exists already, or another operation is in its way."


class Stale(HeadwaterError):
    code = "Stale"
    status = 412
    exit_status = 17
    meaning = "The branch moved since you looked: fetch and try again."

    def __init__(self, **more: Any) -> None:
        # huggingface_hub's own test compares this text.
        super().__init__(
            "The branch was updated since you opened this page. Please refresh and try again.",
            **more,
        )


class TooMuch(HeadwaterError):
    """A limit. 413 for sizes, 429 for rates (with Retry-After), 414 and 431 for URLs and headers."""

    code = "LimitExceeded"
    status = 413
    exit_status = 18
    meaning = "A limit was reached; the text names the limit and the setting that holds it."

    def __init__(self, text: str, *, status: int = 413, **more: Any) -> None:
        super().__init__(text, **more)
        self.status = status


class DigestMismatch(HeadwaterError):
    code = "DigestMismatch"
    status = 400
    exit_status = 19
    meaning = "The bytes received do not hash to what was declared. Nothing was stored."

    def __init__(self, what: str, expected: str, got: str, **more: Any) -> None:
        super().__init__(f"{what}: expected {expected}, got {got}. Nothing was stored; send it again.", **more)


class UpstreamFailed(HeadwaterError):
    code = "Upstream"
    status = 502
    exit_status = 20
    meaning = "The upstream hub failed; never sent for a client's own fault."


class Unavailable(HeadwaterError):
    """Full disk (507), read-only, busy, starting or stopping (503 with Retry-After)."""

    code = "Unavailable"
    status = 503
    exit_status = 21
    meaning = "The hub can't do this just now (full disk, read-only, busy, stopping). Nothing was stored."

    def __init__(self, text: str, *, status: int = 503, retry_after_s: int = 5, **more: Any) -> None:
        super().__init__(text, headers={"Retry-After": str(retry_after_s)}, **more)
        self.status = status


class Corrupt(HeadwaterError):
    code = "Corrupt"
    status = 500
    exit_status = 22
    meaning = "Stored bytes do not match their hash. They are never served; see `headwater verify`."


TAXONOMY: tuple[type[HeadwaterError], ...] = (
    RepoMissing, RevisionMissing, EntryMissing, Gated, Disabled, Forbidden, Unauthenticated, Invalid, NotOffered,
    Conflict, Stale, TooMuch, DigestMismatch, UpstreamFailed, Unavailable, Corrupt,
)  # fmt: skip
