"""Request: what a handler may ask of an HTTP request; names are parsed here, once.

The actor is resolved before the handler runs (`asgi.py`). Nothing here is believed of Host or X-Forwarded-*: links are
made from the configured public URL (T62).
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import IO, Any
from urllib.parse import parse_qsl

import msgspec

from headwater.accounts.actor import NOBODY, Actor
from headwater.ground import names
from headwater.ground.errors import Invalid, Unauthenticated

FORM_FIELDS_MAX = 20_000  # paths-info may ask for many paths at once
QUERY_FIELDS_MAX = 500


@dataclass(slots=True)
class Request:
    method: str
    raw_path: str
    query_bytes: bytes
    headers: dict[str, str]
    """Lower-case names; a header that came more than once is joined with ', '."""
    id: str
    client: str = ""
    params: dict[str, str] = field(default_factory=dict)
    actor: Actor = NOBODY
    csrf: str = ""
    body: bytes = b""
    file: IO[bytes] | None = None
    """The spooled body of routes that take large ones; positioned at its start."""
    base_url: str = ""
    opened: Any = None
    """What the route's `first` found."""
    _query: list[tuple[str, str]] | None = None

    @property
    def query(self) -> list[tuple[str, str]]:
        if self._query is None:
            self._query = pairs(self.query_bytes, QUERY_FIELDS_MAX)
        return self._query

    def arg(self, name: str, default: str = "") -> str:
        """The last value of a query parameter."""
        for key, value in reversed(self.query):
            if key == name:
                return value
        return default

    def args(self, name: str) -> list[str]:
        """All values; `name[]` and comma-separated lists count too, as clients write them all three ways."""
        found = [value for key, value in self.query if key in (name, f"{name}[]")]
        return [part for value in found for part in value.split(",") if part]

    def flag(self, name: str) -> bool:
        return self.arg(name).lower() in ("1", "true", "yes", "on")

    def number(self, name: str, default: int, top: int) -> int:
        """A query parameter as a whole number between 1 and `top`; more than `top` is cut, as the Hub does."""
        written = self.arg(name)
        if not written:
            return default
        if not written.isascii() or not written.isdigit() or len(written) > 18 or int(written) < 1:
            raise Invalid(f"{name}: {written[:40]!r} is not a whole number above 0")
        return min(int(written), top)

    def json(self) -> dict[str, Any]:
        """The body as a JSON object."""
        value = decoded(self.body or b"{}", "the body")
        if not isinstance(value, dict):
            raise Invalid("the body must be a JSON object")
        return value

    def form(self) -> list[tuple[str, str]]:
        """An URL-encoded form, or the same as a JSON object."""
        if self.headers.get("content-type", "").startswith("application/json"):
            flat: list[tuple[str, str]] = []
            for key, value in self.json().items():
                flat.extend((key, _text(item)) for item in (value if isinstance(value, list) else [value]))
            return flat
        return pairs(self.body, FORM_FIELDS_MAX)

    def field(self, name: str, default: str = "") -> str:
        return next((value for key, value in self.form() if key == name), default)

    def repo_id(self, kind: str | None = None) -> names.RepoId:
        """The repo that the path names, without the `.git` that git adds."""
        last = self.params["name"].removesuffix(".git")
        return names.repo_id_of(kind or self.params.get("type") or "model", self.params.get("ns"), last)

    def credentials(self) -> str:
        """The token of the Authorization header (Bearer, or the password of Basic), or ''."""
        given = self.headers.get("authorization", "")
        scheme, _, rest = given.partition(" ")
        if not given:
            return ""
        if scheme.lower() == "bearer":
            return rest.strip()
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(rest, validate=True).decode().partition(":")
            except ValueError as error:  # not base64, not ASCII, or not UTF-8 inside
                raise Unauthenticated from error
            # git asks for a user name too; with a token alone, it comes as the user name
            return password or user
        raise Unauthenticated

    def cookie(self, name: str) -> str:
        for part in self.headers.get("cookie", "").split(";"):
            key, _, value = part.strip().partition("=")
            if key == name:
                return value
        return ""


def decoded(data: bytes, what: str) -> Any:
    """JSON as RFC 8259 has it, and no name twice in an object: readers differ in which of the two they take (T52)."""
    try:
        value = msgspec.json.decode(data)
        # What the strict decoder takes, this one does too; it alone shows the names as they were sent.
        json.loads(data, object_pairs_hook=_once)
    except _TwiceNamed as error:
        raise Invalid(f"{what} names {str(error)[:60]!r} twice in one object") from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Invalid(f"{what} is not valid JSON: {error}") from error
    return value


class _TwiceNamed(Exception):
    """A name that occurs twice in one JSON object."""


def _once(members: list[tuple[str, Any]]) -> None:
    if len(dict(members)) == len(members):
        return
    seen: set[str] = set()
    for name, _ in members:
        if name in seen:
            raise _TwiceNamed(name)
        seen.add(name)


def pairs(encoded: bytes, most: int) -> list[tuple[str, str]]:
    try:
        return parse_qsl(encoded.decode("ascii"), keep_blank_values=True, max_num_fields=most, errors="strict")
    except (ValueError, UnicodeError) as error:
        raise Invalid(f"the query or form can't be read: {error}") from error


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
