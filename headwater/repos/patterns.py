"""Patterns of .gitattributes and .gitignore: which paths they match. Pure; source: gitattributes(5), gitignore(5).

The patterns are hostile input: matching is linear in path and pattern (atomic groups leave a regular expression nothing
to try again), and both files are read up to a limit only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

PATTERN_FILE_BYTES_MAX = 256 << 10  # the rest is not read; the Hub's default .gitattributes has 2 KiB
PATTERNS_MAX = 1_000
PATTERN_LENGTH_MAX = 1_024  # as long as a path may be

_CLASS = re.compile(r"\[(?P<not>[!^]?)(?P<of>\]?(?:\[:[a-z]{1,8}:\]|[^\]\\]|\\.)*)\]")
_POSIX = {
    "[:alpha:]": "a-zA-Z", "[:digit:]": "0-9", "[:alnum:]": "a-zA-Z0-9", "[:upper:]": "A-Z", "[:lower:]": "a-z",
    "[:space:]": r"\s", "[:xdigit:]": "0-9A-Fa-f", "[:blank:]": r" \t",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pattern:
    """`parts`: one for each part of the path, None for `**`. Of a `floating` pattern the one part is matched with the
    path's last."""

    parts: tuple[re.Pattern[str] | None, ...]
    floating: bool

    def matches(self, parts: tuple[str, ...]) -> bool:
        if self.floating:
            only = self.parts[0]
            return only is None or only.match(parts[-1]) is not None
        return _match_parts(self.parts, parts)


def compile_pattern(text: str) -> Pattern | None:
    """None for what can match nothing: empty, too long, or not well-formed."""
    if not text or len(text) > PATTERN_LENGTH_MAX:
        return None
    floating = "/" not in text
    pieces = text.removeprefix("/").split("/")
    if "" in pieces:
        return None
    parts: list[re.Pattern[str] | None] = []
    for piece in pieces:
        if piece == "**":
            if not parts or parts[-1] is not None:
                parts.append(None)
            continue
        try:
            parts.append(re.compile(_expression(piece), re.DOTALL))
        except re.error:
            return None
    if parts[-1] is None and len(parts) > 1:
        # A trailing `/**` is everything inside, not the folder itself.
        parts.append(re.compile(""))
    return Pattern(tuple(parts), floating)


# .gitattributes


@dataclass(frozen=True, slots=True)
class Attributes:
    """What `filter` is for each path; later lines win."""

    lines: tuple[tuple[Pattern, bool], ...]

    def is_lfs(self, path: str) -> bool:
        parts = tuple(path.split("/"))
        return next((lfs for pattern, lfs in reversed(self.lines) if pattern.matches(parts)), False)


def read_attributes(text: str) -> Attributes:
    """Only lines that say something of `filter`; macros and patterns that git ignores are left out."""
    lines: list[tuple[Pattern, bool]] = []
    for line in text[:PATTERN_FILE_BYTES_MAX].splitlines():
        name, words = _attribute_line(line.strip())
        state = next((word for word in reversed(words) if word.lstrip("-!").split("=")[0] == "filter"), None)
        # `!` is forbidden in patterns here, a trailing slash never matches, `[attr]` defines a macro.
        if state is None or name.startswith(("!", "#", "[attr]")) or name.endswith("/"):
            continue
        pattern = compile_pattern(name)
        if pattern is not None:
            lines.append((pattern, state == "filter=lfs"))
        if len(lines) == PATTERNS_MAX:
            break
    return Attributes(tuple(lines))


def _attribute_line(line: str) -> tuple[str, list[str]]:
    if line.startswith('"'):
        quoted = re.match(r'"((?:[^"\\]|\\.)*)"\s', line)
        if quoted:
            return re.sub(r"\\(.)", r"\1", quoted[1]), line[quoted.end() :].split()
    words = line.split()
    return (words[0], words[1:]) if words else ("", [])


# .gitignore


@dataclass(frozen=True, slots=True)
class Ignores:
    """(pattern, only folders, ignored or taken back) in the order of the file."""

    lines: tuple[tuple[Pattern, bool, bool], ...]

    def ignores(self, path: str) -> bool:
        """A file in an ignored folder is ignored, whatever later lines say of it (gitignore(5))."""
        parts = tuple(path.split("/"))
        return any(
            self._last_word(parts[:depth], "folder" if depth < len(parts) else "file")
            for depth in range(1, len(parts) + 1)
        )

    def _last_word(self, parts: tuple[str, ...], what: Literal["file", "folder"]) -> bool:
        for pattern, only_folders, ignored in reversed(self.lines):
            if (what == "folder" or not only_folders) and pattern.matches(parts):
                return ignored
        return False


def read_ignores(text: str) -> Ignores:
    lines: list[tuple[Pattern, bool, bool]] = []
    for line in text[:PATTERN_FILE_BYTES_MAX].splitlines():
        name = line.rstrip() if not line.rstrip().endswith("\\") else line
        if not name or name.startswith("#"):
            continue
        ignored = not name.startswith("!")
        name = name.removeprefix("!")
        pattern = compile_pattern(name.removesuffix("/"))
        if pattern is not None:
            lines.append((pattern, name.endswith("/"), ignored))
        if len(lines) == PATTERNS_MAX:
            break
    return Ignores(tuple(lines))


# Matching


def _match_parts(pattern: tuple[re.Pattern[str] | None, ...], path: tuple[str, ...]) -> bool:
    """Part by part; where it fails, the last `**` takes one part more. At most len(pattern) * len(path) steps."""
    i = j = 0
    star, resume = -1, 0
    while j < len(path):
        part = pattern[i] if i < len(pattern) else None
        if i < len(pattern) and part is None:
            star, resume = i, j
            i += 1
        elif part is not None and part.match(path[j]):
            i += 1
            j += 1
        elif star >= 0:
            resume += 1
            i, j = star + 1, resume
        else:
            return False
    return all(part is None for part in pattern[i:])


def _expression(piece: str) -> str:
    """One part of a pattern as a regular expression.

    Between two stars the first place that fits is as good as any later one, so it is taken for good; the text behind
    the last star has a fixed length, so one look back from the end decides.
    """
    chunks: list[list[str]] = [[]]
    i = 0
    while i < len(piece):
        if piece[i] == "*":
            chunks.append([])
            i += 1
        else:
            token, i = _token(piece, i)
            chunks[-1].append(token)
    first, *rest = ["".join(chunk) for chunk in chunks]
    if not rest:
        return rf"{first}\Z"
    middle = "".join(f"(?>.*?{chunk})" for chunk in rest[:-1] if chunk)
    last = rf"(?>.{{{len(chunks[-1])},}})(?<={rest[-1]})" if rest[-1] else ".*"
    return rf"{first}{middle}{last}\Z"


def _token(piece: str, i: int) -> tuple[str, int]:
    """What matches exactly one character, and where the next token begins."""
    char = piece[i]
    if char == "?":
        return ".", i + 1
    if char == "\\" and i + 1 < len(piece):
        return re.escape(piece[i + 1]), i + 2
    found = _CLASS.match(piece, i) if char == "[" else None
    if found is None:
        return re.escape(char), i + 1
    return f"[{'^' if found['not'] else ''}{_class(found['of'])}]", found.end()


def _class(of: str) -> str:
    """The inside of `[...]` as a regular expression's; characters and ranges one by one, since Python reads more into
    them than git does."""
    inside = ""
    i = 0
    while i < len(of):
        posix = next((name for name in _POSIX if of.startswith(name, i)), None)
        if posix is not None:
            inside += _POSIX[posix]
            i += len(posix)
            continue
        first, i = _plain(of, i)
        last = first
        if of[i : i + 1] == "-" and i + 1 < len(of):
            last, i = _plain(of, i + 1)
        if first <= last:  # a range backwards holds nothing
            inside += f"{re.escape(first)}-{re.escape(last)}"
    return inside or r"^\s\S"


def _plain(of: str, i: int) -> tuple[str, int]:
    return (of[i + 1], i + 2) if of[i] == "\\" else (of[i], i + 1)
