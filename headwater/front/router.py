"""From a raw path to a handler: a trie over the still percent-encoded segments, decoded after the match.

Decoding first, as frameworks do, would turn the revision `refs%2Fpr%2F1` into three segments. A literal segment wins
over a placeholder; `{path*}` takes the rest. See decisions/0005.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

from headwater.ground.errors import Invalid, NotOffered

if TYPE_CHECKING:
    from headwater.front.request import Request
    from headwater.front.rooms import Rooms

BodyKind = Literal["none", "json", "spool", "sink"]
"""How a request's body reaches the handler: not at all, in memory (small), as a file, or piece by piece (`Sink`)."""
Auth = Literal["actor", "ticket", "open"]
"""Who may call: by token or session; by a signed ticket that the handler checks; anybody, credentials unread."""

Handler = Callable[..., Any]
"""`(rooms, request) -> Answer`, or `-> Sink` for routes whose body is `sink`."""
TYPES = frozenset({"models", "datasets", "spaces"})
NO_PEOPLE = frozenset({"api", "oauth"})  # first segments that clients ask for and that are never a namespace
SEGMENTS_MAX = 80  # a path inside a repo has 64 parts at most


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    pattern: str
    handler: Callable[[Rooms, Request], Any]
    does: str
    """One line for the reference and the OpenAPI document."""
    body: BodyKind = "none"
    auth: Auth = "actor"
    needs: str = ""
    """The grant it takes, for the reference and the access matrix: '', 'signed-in', 'read', 'write', 'admin'."""
    body_max: str = ""
    """The setting that limits the body, when it is not the usual one of its kind."""
    admits: Handler | None = None
    """Asked before the body is read, where that is large: refuses whoever may not send one."""
    lines: bool = False
    """The body is read line by line: one that is too long is refused as it arrives, not when all has come."""
    quick: bool = False
    """Answered on the event loop: a few rows and what is mapped into memory, no writer's lock, no walk. Handing such a
    request to a thread costs three times the request (decisions/0018)."""
    first: Handler | None = None
    """`(rooms, request) -> what request.opened is to be`, asked before the handler: all that the address says before
    the path of a file. `Revisited` remembers it."""


@dataclass(slots=True)
class _Node:
    literal: dict[str, _Node] = field(default_factory=dict)
    any: _Node | None = None
    rest: dict[str, tuple[Route, tuple[str, ...]]] = field(default_factory=dict)
    here: dict[str, tuple[Route, tuple[str, ...]]] = field(default_factory=dict)


class Router:
    def __init__(self, routes: list[Route]) -> None:
        self.routes = routes
        self._root = _Node()
        for route in routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        node, names = self._root, []
        for part in route.pattern.split("/")[1:]:
            if part.endswith("*}"):
                names.append(part[1:-2])
                assert route.method not in node.rest, route.pattern
                node.rest[route.method] = (route, tuple(names))
                return
            if part.startswith("{"):
                names.append(part[1:-1])
                node.any = node.any or _Node()
                node = node.any
            else:
                node = node.literal.setdefault(part, _Node())
        assert route.method not in node.here, route.pattern
        node.here[route.method] = (route, tuple(names))

    def match(self, method: str, raw_path: str) -> tuple[Route, dict[str, str]]:
        """The route and its decoded parameters. NotOffered (404, or 405 with Allow) where there is none."""
        parts = raw_path.split("/")[1:]
        if len(parts) > SEGMENTS_MAX:
            raise NotOffered("No such page: the path has too many parts")
        found: list[tuple[dict[str, tuple[Route, tuple[str, ...]]], list[str]]] = []
        _walk(self._root, parts, 0, [], found)
        found = [one for one in found if _can_be_ours(*one)]
        for table, values in found:
            # HEAD is GET without the body
            hit = table.get(method) or (table.get("GET") if method == "HEAD" else None)
            if hit is not None:
                route, names = hit
                return route, {name: decoded(value) for name, value in zip(names, values, strict=True)}
        if found:
            allowed = ", ".join(sorted({verb for table, _ in found for verb in table}))
            raise NotOffered(
                f"{method} is not offered here; this address takes {allowed}", status=405, headers={"Allow": allowed}
            )
        raise NotOffered("No such address on this hub, or not offered by this version")

    def settles(self, raw_start: str, route: Route) -> bool:
        """Whether every address below `raw_start` is read as this route, with all that follows as its `{path*}`."""
        node = _first_below(self._root, raw_start.split("/")[1:], 0)
        return node is not None and not node.literal and node.any is None and node.rest.get("GET", (None,))[0] is route


def _can_be_ours(table: dict[str, tuple[Route, tuple[str, ...]]], values: list[str]) -> bool:
    """Whether what stands in the place of a type or a namespace can be one; else the address is that of another thing,
    which this version does not offer (`/api/jobs/...`, `/oauth/...`)."""
    for _, names in table.values():
        for name, value in zip(names, values, strict=True):
            if name == "ns" and (value in NO_PEOPLE or value[:1] == "."):
                return False
            if name == "type" and value not in TYPES:
                return False
        break  # those of all methods stand in the same places
    return True


def _walk(node: _Node, parts: list[str], at: int, values: list[str], found: list[Any]) -> None:
    """Every table of methods that fits, best first: literal before placeholder before rest."""
    if at == len(parts):
        if node.here:
            found.append((node.here, list(values)))
        return
    part = parts[at]
    if (below := node.literal.get(part)) is not None:
        _walk(below, parts, at + 1, values, found)
    if node.any is not None and part:
        values.append(part)
        _walk(node.any, parts, at + 1, values, found)
        values.pop()
    if node.rest:
        found.append((node.rest, [*values, "/".join(parts[at:])]))


def _first_below(node: _Node, parts: list[str], at: int) -> _Node | None:
    """Where `_walk` stands first after these parts, or where a rest takes them all."""
    if at == len(parts):
        return node
    for below in (node.literal.get(parts[at]), node.any if parts[at] else None):
        found = below and _first_below(below, parts, at + 1)
        if found is not None:
            return found
    return node if node.rest else None


def decoded(raw: str) -> str:
    if "%" not in raw:
        return raw
    try:
        return unquote(raw, errors="strict")
    except UnicodeDecodeError as error:
        raise Invalid("the address is not valid UTF-8 once percent-decoded") from error
