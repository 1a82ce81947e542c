"""What a card's text says at a glance: its first sentences, and how to cite it. For cards whose front matter does not.

Pure, and bounded: the text is somebody's, so only its beginning is looked at, and no pattern here can run long.
Refuses to know front matter, and Markdown beyond what has to go for the words to be left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import MappingProxyType

CHARS_MAX = MappingProxyType({"description": 300, "citation": 4_000})
SEARCHED_CHARS_MAX = MappingProxyType({"description": 1 << 14, "citation": 1 << 16})  # citations stand at the end
LINE_CHARS_MAX = 2_000  # of which a description takes a few hundred

_FENCE = re.compile(r" {0,3}(?:```|~~~)")
_ENTRY = re.compile(r"@[A-Za-z]{1,30}\s{0,10}\{")  # how BibTeX begins
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_IMAGE = re.compile(r"!\[[^\[\]]{0,200}\]\([^()]{0,500}\)")
_LINK = re.compile(r"\[([^\[\]]{1,200})\](?:\([^()]{0,500}\)|\[[^\[\]]{0,100}\])")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,300}>")
_MARKS = re.compile(r"\*{1,3}|`{1,3}|(?<!\w)_{1,3}(?=\S)|(?<=\S)_{1,3}(?!\w)")
_BEGINS = re.compile(r"\A\s{0,8}(?:[-*+]|\d{1,3}[.)]|>{1,5})\s+")  # of a list or a quotation
_NO_WORDS = re.compile(r"\s{0,8}(?:#{1,6}(?:\s|\Z)|\||[-=*_~\s]{3,}\Z|\[[^\[\]]{1,100}\]:)")  # headings, tables, rules


def description(body: str) -> str | None:
    """The first sentences, as plain text in one line; None where there are none."""
    told, length = [], 0
    for line, fenced in _lines(_COMMENT.sub(" ", body[: SEARCHED_CHARS_MAX["description"]])):
        if fenced or _NO_WORDS.match(line):
            continue
        words = " ".join(_plain(line).split())
        if words:
            told.append(words)
            length += len(words) + 1
        if length > CHARS_MAX["description"]:
            break
    return _cut(" ".join(told)) or None


def citation(body: str) -> str | None:
    """The first block of BibTeX; None where there is none."""
    block: list[str] = []
    for line, fenced in _lines(body[: SEARCHED_CHARS_MAX["citation"]]):
        if fenced and (block or _ENTRY.match(line.strip())):
            block.append(line)
        elif block:
            break
    return "\n".join(block)[: CHARS_MAX["citation"]].strip() or None


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it stands in a fenced block; the fences themselves are left out."""
    fenced = False
    for line in text.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
            yield "", False  # where two blocks meet, one ends
        else:
            yield line[:LINE_CHARS_MAX], fenced


def _plain(line: str) -> str:
    line = _BEGINS.sub("", line, count=1)
    return _MARKS.sub("", _TAG.sub(" ", _LINK.sub(r"\1", _IMAGE.sub(" ", line))))


def _cut(words: str) -> str:
    most = CHARS_MAX["description"]
    if len(words) <= most:
        return words
    return words[:most].rpartition(" ")[0].rstrip(" ,;:") + " \u2026"
