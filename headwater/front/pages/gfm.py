"""What cards use beyond CommonMark, as GitHub and the Hub read it: bare links, task lists, alerts, formulas.

Formulas are shown as they were written: their `_`, `*` and backslashes are not taken for Markdown.

Rules for markdown-it that change its tokens and write no HTML; what they make is judged like all of a card's in
`markdown`. Knows nothing of repos.
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

ALERTS = {"note": "Note", "tip": "Tip", "important": "Important", "warning": "Warning", "caution": "Caution"}
ALERT_CLASS = "alert-"  # and its kind
TASK_CLASS = "card-task"
FORMULA_LINES_MAX = 40  # each line that begins one is followed so far
ADDRESS_CHARS_MAX = 1_000  # a longer one stays text

_ALERT = re.compile(rf"\[!({'|'.join(ALERTS)})\]\s*", re.IGNORECASE)
_TASK = re.compile(r"\[([ xX])\](?=\s+\S)")
_BOXES = {" ": "\N{BALLOT BOX}", "x": "\N{BALLOT BOX WITH CHECK}"}
# Not in the middle of a Latin word; it ends at a blank, and at what East Asian sentences put around an address.
_BARE = re.compile(
    r"(?<![A-Za-z0-9_/.@-])(?:https?://|www\.)[\w\[][^\s<>\"`\u201c\u201d\u3000-\u303f\uff00-\uffef]+", re.IGNORECASE
)
_AFTER = "?!.,:;*_~'"  # ends a sentence, not an address
# `$$x$$`; `$x$` as Pandoc reads it, so that two prices are none; `\\(x\\)` and `\\[x\\]`, as on the Hub.
_FORMULA = re.compile(
    r"\$\$(?!\$).{1,2000}?\$\$|\$(?![\s$])[^$\n]{0,300}(?<![\s\\])\$(?!\w)"
    r"|\\\\\(.{1,1000}?\\\\\)|\\\\\[.{1,2000}?\\\\\]",
    re.DOTALL,
)
_ANCHOR = re.compile(r"<(/?)a[\s>]", re.IGNORECASE)


def add_to(parser: MarkdownIt) -> None:
    interrupted = ["paragraph", "reference", "blockquote", "list"]
    parser.block.ruler.before("fence", "formula_block", _formula_block, {"alt": interrupted})
    parser.inline.ruler.before("escape", "formula", _formula)
    parser.core.ruler.push("alerts", _mark_alerts)
    parser.core.ruler.push("tasks", _mark_tasks)
    parser.core.ruler.push("bare_links", _link_bare)


def _formula_block(state: StateBlock, start: int, stop: int, silent: bool) -> bool:
    """Lines from one that begins with `$$` to one that ends so."""
    if not _text(state, start).startswith("$$") or state.is_code_block(start):
        return False
    for line in range(start, min(stop, start + FORMULA_LINES_MAX)):
        text = _text(state, line)
        if text and state.sCount[line] < state.blkIndent:
            return False  # the list that it stands in is over
        if text.endswith("$$") and (line > start or len(text) > len("$$$$")):
            break
    else:
        return False
    if not silent:
        state.line = line + 1
        token = state.push("code_block", "code", 0)
        token.content = state.getLines(start, line + 1, state.blkIndent, True)
    return True


def _text(state: StateBlock, line: int) -> str:
    return state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]].rstrip()


def _formula(state: StateInline, silent: bool) -> bool:
    before = state.src[state.pos - 1] if state.pos else " "
    if state.src[state.pos] not in "$\\" or before == "$" or before.isalnum():
        return False
    found = _FORMULA.match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    if not silent:
        # In Markdown two backslashes are one; between dollars they are TeX's.
        text = found[0] if found[0].startswith("$") else found[0].replace("\\\\", "\\")
        state.push("code_inline", "code", 0).content = text.replace("\n", " ")
    state.pos = found.end()
    return True


def _mark_alerts(state: StateCore) -> None:
    """`> [!NOTE]` on a line of its own: a quote with a class, and with the kind as its first line."""
    for position, token in enumerate(state.tokens[:-2]):
        inline = state.tokens[position + 2]
        if token.type != "blockquote_open" or inline.type != "inline" or not inline.children:
            continue
        first, *rest = inline.children
        found = _ALERT.fullmatch(first.content) if first.type == "text" else None
        if found is None or (rest and rest[0].type not in ("softbreak", "hardbreak")):
            continue
        kind = found[1].lower()
        token.attrSet("class", ALERT_CLASS + kind)
        words = Token("text", "", 0, content=ALERTS[kind])
        break_line = [Token("hardbreak", "br", 0)] if rest else []
        opened, closed = Token("strong_open", "strong", 1), Token("strong_close", "strong", -1)
        inline.children = [opened, words, closed, *break_line, *rest[1:]]


def _mark_tasks(state: StateCore) -> None:
    """`- [x] done`: a box that is a character, for a card can't have a form."""
    for position, token in enumerate(state.tokens[:-2]):
        inline = state.tokens[position + 2]
        if token.type != "list_item_open" or inline.type != "inline" or not inline.children:
            continue
        first = inline.children[0]
        found = _TASK.match(inline.content) if first.type == "text" else None
        if found is not None and first.content.startswith(found[0]):
            first.content = _BOXES[found[1].lower()] + first.content[len(found[0]) :]
            token.attrSet("class", TASK_CLASS)


def _link_bare(state: StateCore) -> None:
    for inline in state.tokens:
        if inline.type == "inline" and inline.children and _BARE.search(inline.content):
            inline.children = _with_links(state.md, inline.children)


def _with_links(parser: MarkdownIt, tokens: list[Token]) -> list[Token]:
    made: list[Token] = []
    depth = 0  # of links; within one there is no other
    for token in tokens:
        if token.type == "html_inline":
            depth = _depth_after(token.content, depth)
        elif token.type in ("link_open", "link_close"):
            depth += token.nesting
        if token.type == "text" and not depth:
            made += _split(parser, token.content)
        else:
            made.append(token)
    return made


def _depth_after(html: str, depth: int) -> int:
    anchor = _ANCHOR.match(html)
    if anchor is None:
        return depth
    return max(0, depth - 1) if anchor[1] else depth + 1


def _split(parser: MarkdownIt, text: str) -> list[Token]:
    made: list[Token] = []
    at = 0
    for found in _BARE.finditer(text):
        shown = _address(found[0])
        if not shown:
            continue
        target = shown if shown.lower().startswith("http") else f"http://{shown}"
        made += [
            Token("text", "", 0, content=text[at : found.start()]),
            Token("link_open", "a", 1, attrs={"href": parser.normalizeLink(target)}),
            Token("text", "", 0, content=shown),
            Token("link_close", "a", -1),
        ]
        at = found.start() + len(shown)
    return [*made, Token("text", "", 0, content=text[at:])]


def _address(text: str) -> str:
    """Without the marks that end a sentence, and without a bracket that was opened before the address."""
    if len(text) > ADDRESS_CHARS_MAX:
        return ""
    while text.endswith(tuple(_AFTER)) or (text.endswith(")") and text.count(")") > text.count("(")):
        text = text[:-1]
    return text
