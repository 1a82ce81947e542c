"""Cards and docs -> safe HTML. The text is hostile: nothing in the result runs, submits, styles or loads from afar.

Four steps, each bounded: cut the text to what is worth parsing; markdown-it-py makes HTML of it, raw HTML included;
`_Rewriter` writes that HTML anew with known tags only, well nested, links resolved, foreign images turned into links;
nh3 has the last word on what is safe. Refuses to know repos and cards: it is given text and two bases.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from html import escape, unescape
from itertools import islice
from urllib.parse import urljoin, urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, table
from markdown_it.rules_core import StateCore

from headwater.front.pages import gfm

CHARS_MAX = 1 << 20
# What costs time is not length but marks: each line, bracket or star takes 5 to 25 microseconds, so this is a second.
# 300 KB of tables, lists and code have as many.
MARKS_MAX = 40_000
CELLS_MAX = 30_000  # of all tables, because a row shorter than its table's head is filled up with cells
NESTING_MAX = 20  # of Markdown blocks and spans
DEPTH_MAX = 100  # of HTML elements: nh3 takes quadratic time in the depth
# A reference is written once and used thousands of times, so its length multiplies.
URL_CHARS_MAX = 1_000
TITLE_CHARS_MAX = 300
OUTPUT_CHARS_MAX = 8 << 20
SLUG_CHARS_MAX = 100
ID_PREFIX = "user-content-"  # no id of a card can be mistaken for one of the page (DOM clobbering)

_MARKS = re.compile(r"[\n\[\]{}*_`<>&\\~|!:#+.)$%=@^-]")
_CUT_NOTE = "<p><em>The rest of this text is too long to be shown here.</em></p>"


def render(text: str, *, link_base: str, image_base: str, root: str = "") -> str:
    """Markdown (CommonMark, tables, strikethrough, and what `gfm` adds) to HTML that may go into a page as it is.

    Relative links are resolved against `link_base`, relative images against `image_base`; both end in `/`. An address
    that begins with `/` is the hub's own: `root`, its path prefix, goes in front. Images from anywhere but below
    `image_base` become links. What is beyond the bounds is left out, with a note.
    """
    text = text.encode(errors="replace").decode()  # half surrogate pairs, which nh3 can't take
    shown = _bounded(text)
    rewriter = _Rewriter(link_base, image_base, root)
    html = rewriter.rewrite(_parser().render(shown))
    safe = nh3.clean(
        html,
        tags=set(_TAGS),
        attributes={tag: set(names) for tag, names in _SAFE_ATTRIBUTES.items()},
        url_schemes=set(_SCHEMES),
        link_rel=None,  # the rewriter gave every link out of here its rel, and lets no other through
    )
    return safe + _CUT_NOTE if len(shown) < len(text) or rewriter.cut else safe


def _bounded(text: str) -> str:
    """The beginning of the text, up to the end of a line, that has no more characters and marks than allowed."""
    stop = min(len(text), CHARS_MAX)
    beyond = next(islice(_MARKS.finditer(text, 0, stop), MARKS_MAX, None), None)
    if beyond is not None:
        stop = beyond.start()
    if stop == len(text):
        return text
    return text[: text.rfind("\n", 0, stop) + 1] or text[:stop]


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": True, "maxNesting": NESTING_MAX, "xhtmlOut": False})
    parser.enable(["table", "strikethrough"])
    parser.block.ruler.at("table", _bounded_table, {"alt": ["paragraph", "reference"]})
    parser.core.ruler.after("block", "bounded_references", _bound_references)
    parser.core.ruler.push("heading_ids", _give_headings_ids)
    gfm.add_to(parser)
    return parser


def _bounded_table(state: StateBlock, start: int, stop: int, silent: bool) -> bool:
    """markdown-it's rule for tables, until they have CELLS_MAX cells; the rest stays text."""
    if not table(state, start, stop, True):
        return False
    if "blank_after" not in state.env:
        state.env.update(blank_after=_blank_after(state), cells=0)
    columns = state.src.count("|", state.bMarks[start], state.eMarks[start]) + 1
    cells = state.env["cells"] + columns * (min(state.env["blank_after"][start], stop) - start)
    if cells > CELLS_MAX:
        return False
    if silent:
        return True
    state.env["cells"] = cells
    return table(state, start, stop, False)


def _blank_after(state: StateBlock) -> list[int]:
    """For each line the next blank one, where a table ends at the latest."""
    lines = len(state.bMarks) - 1  # `lineMax` is less inside a quote
    found = [lines] * (lines + 1)
    for line in range(lines - 1, -1, -1):
        found[line] = line if state.isEmpty(line) else found[line + 1]
    return found


def _bound_references(state: StateCore) -> None:
    references = state.env.get("references", {})
    for label, reference in list(references.items()):
        if len(reference["href"]) > URL_CHARS_MAX or len(reference["title"]) > TITLE_CHARS_MAX:
            del references[label]


def _give_headings_ids(state: StateCore) -> None:
    """Ids as on GitHub and the Hub: the heading's words in lower case, joined by `-`; a number where taken."""
    taken: Counter[str] = Counter()
    for position, token in enumerate(state.tokens):
        if token.type != "heading_open":
            continue
        children = state.tokens[position + 1].children or []
        words = "".join(child.content for child in children if child.type in ("text", "code_inline"))
        slug = re.sub(r"[^\w\- ]", "", words.lower()).strip().replace(" ", "-")[:SLUG_CHARS_MAX]
        if slug:
            token.attrSet("id", f"{slug}-{taken[slug]}" if taken[slug] else slug)
            taken[slug] += 1


_SCHEMES = frozenset({"http", "https", "mailto"})
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_CELLS = frozenset({"td", "th"})
_TABLE_PARTS = _CELLS | {"caption", "col", "colgroup", "tbody", "tfoot", "thead", "tr"}
_VOID = frozenset({"br", "col", "hr", "img", "wbr"})
_BLOCKS = _HEADINGS | {
    "blockquote", "center", "dd", "details", "div", "dl", "dt", "figcaption", "figure", "hr", "li", "ol", "p", "pre",
    "summary", "table", "ul",
}  # fmt: skip
_SPANS = frozenset(
    {
        "a", "abbr", "b", "br", "cite", "code", "del", "dfn", "em", "i", "img", "ins", "kbd", "mark", "q", "s", "samp",
        "small", "span", "strike", "strong", "sub", "sup", "tt", "u", "var", "wbr",
    }
)  # fmt: skip
_TAGS = _BLOCKS | _SPANS | _TABLE_PARTS
# A start tag closes an open element of these, if there is one above the nearest of those.
_SIBLINGS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "li": (frozenset({"li"}), frozenset({"ol", "ul", "table"})),
    "dd": (frozenset({"dd", "dt"}), frozenset({"dl", "table"})),
    "dt": (frozenset({"dd", "dt"}), frozenset({"dl", "table"})),
    "tr": (frozenset({"tr"}), frozenset({"table"})),
    "td": (_CELLS, frozenset({"table"})),
    "th": (_CELLS, frozenset({"table"})),
}
_TABLE_WALLS = frozenset({"table", "caption", *_CELLS})

# Attribute -> what its whole value must look like.
_VALUES = {
    "align": re.compile(r"left|right|center|justify", re.IGNORECASE),
    "alt": re.compile(r".{0,2000}", re.DOTALL),
    "class": re.compile(rf"language-[\w#+.-]{{1,50}}|{gfm.TASK_CLASS}|{gfm.ALERT_CLASS}(?:{'|'.join(gfm.ALERTS)})"),
    "colspan": re.compile(r"\d{1,3}"),
    "height": re.compile(r"\d{1,4}(?:px|%)?"),
    "id": re.compile(r"[^\s\x00]{1,200}"),
    "open": re.compile(r"(?:open)?", re.IGNORECASE),
    "rowspan": re.compile(r"\d{1,3}"),
    "start": re.compile(r"-?\d{1,9}"),
    "title": re.compile(r".{0,300}", re.DOTALL),
    "width": re.compile(r"\d{1,4}(?:px|%)?"),
}
_EVERYWHERE = ("id", "title")
_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "blockquote": ("class",),
    "code": ("class",),
    "details": ("open",),
    "li": ("class",),
    "ol": ("start",),
    "td": ("align", "colspan", "rowspan"),
    "th": ("align", "colspan", "rowspan"),
    **dict.fromkeys([*_HEADINGS, "div", "p", "table", "tr"], ("align",)),
}
_SAFE_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    **_ATTRIBUTES,
    "*": _EVERYWHERE,
    "a": ("href", "rel"),
    "img": ("src", "alt", "width", "height", "align", "loading"),
    "pre": ("tabindex",),
}

# One piece of HTML that is not text. Each alternative either matches or runs to the end of the text, so that a
# thousand unclosed beginnings cost no more than one. Elements whose content is no text are matched whole; where they
# are written `<iframe .../>`, they are meant to have none (browsers would drop the rest of the card).
_MARKUP = re.compile(
    r"""
      <!--(?:.*?-->|.*\Z)
    | <(?:audio|canvas|iframe|math|object|svg|video)(?=[\s/>])[^>]*+(?<=/)>
    | <(?P<whole>audio|canvas|head|iframe|math|noembed|noframes|noscript|object|plaintext|script|select|style|svg
        |template|textarea|title|video|xmp)(?=[\s/>]).*?(?:</(?P=whole)(?=[\s/>])[^>]*+(?:>|\Z)|\Z)
    | <(?P<close>/?)(?P<tag>[a-z][^\s/>]*+)
        (?P<attributes>(?:[^>=]++|=\s*+(?:"[^"]*+"|'[^']*+'|))*+)(?P<end>>|\Z)
    | <[!?/][^>]*+(?:>|\Z)
    """,
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_ATTRIBUTE = re.compile(r"""([^\s"'<>/=]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++)))?+""")
_TEXT_ALIGN = re.compile(r"text-align:(left|right|center)")


class _Rewriter:
    """Writes HTML anew: known tags and attributes only, every element closed, none nested deeper than DEPTH_MAX.

    nh3 alone would be as safe, but its parser mends broken nesting as browsers do: some kilobytes of unclosed tags
    can make it build gigabytes.
    """

    def __init__(self, link_base: str, image_base: str, root: str) -> None:
        self._link_base = link_base
        self._image_base = image_base
        self._root = root
        self._out: list[str] = []
        self._out_chars = 0
        self._open: list[str] = []
        self._left_out: Counter[str] = Counter()  # elements that were too deep: their end tags must close nothing
        self.cut = False

    def rewrite(self, html: str) -> str:
        at = 0
        for piece in _MARKUP.finditer(html):
            self._write(html[at : piece.start()].replace("<", "&lt;"))
            at = piece.end()
            tag = (piece["tag"] or "").lower()
            if tag in _TAGS and piece["end"]:
                if piece["close"]:
                    self._end(tag)
                else:
                    self._start(tag, _attributes(piece["attributes"]))
            if self._out_chars > OUTPUT_CHARS_MAX:
                self.cut = True
                break
        else:
            self._write(html[at:].replace("<", "&lt;"))
        self._close_down_to(0)
        return "".join(self._out)

    def _write(self, piece: str) -> None:
        self._out.append(piece)
        self._out_chars += len(piece)

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag in _TABLE_PARTS and "table" not in self._open:
            return
        if tag in _BLOCKS:
            self._close_open(frozenset({"p"}), _TABLE_WALLS)
        if tag in _SIBLINGS:
            self._close_open(*_SIBLINGS[tag])
        if tag == "img":
            self._image(attributes)
            return
        if tag not in _VOID:
            if len(self._open) >= DEPTH_MAX or (tag == "a" and "a" in self._open):
                self._left_out[tag] += 1
                return
            self._open.append(tag)
        kept = _kept(attributes, (*_ATTRIBUTES.get(tag, ()), *_EVERYWHERE))
        if tag == "a":
            kept |= self._link(attributes)
        if tag == "pre":
            kept["tabindex"] = "0"  # it may be wider than the page: the keyboard must be able to scroll it
        self._write(_written(tag, kept))

    def _end(self, tag: str) -> None:
        if self._left_out[tag]:
            self._left_out[tag] -= 1
            return
        # An end tag inside a table closes nothing outside it.
        walls = frozenset({"table"}) if tag in _TABLE_PARTS or tag == "table" else _TABLE_WALLS
        self._close_open(frozenset({tag}), walls)

    def _close_open(self, tags: frozenset[str], walls: frozenset[str]) -> None:
        """Close the innermost open element of `tags` and all within it, unless one of `walls` is in between."""
        for depth in range(len(self._open) - 1, -1, -1):
            if self._open[depth] in tags:
                self._close_down_to(depth)
                return
            if self._open[depth] in walls:
                return

    def _close_down_to(self, depth: int) -> None:
        while len(self._open) > depth:
            self._write(f"</{self._open.pop()}>")

    def _link(self, attributes: dict[str, str]) -> dict[str, str]:
        kept = {}
        name = attributes.get("name", "")
        if "id" not in attributes and _VALUES["id"].fullmatch(name):
            kept["id"] = ID_PREFIX + name.removeprefix(ID_PREFIX)
        href = attributes.get("href", "").strip()
        if href.startswith("#"):
            kept["href"] = f"#{ID_PREFIX}{href[1:].removeprefix(ID_PREFIX)}" if href != "#" else "#"
        elif url := _resolved(href, self._link_base, self._root):
            kept["href"] = url
            if _LEAVES.match(url) and not _is_below(url, self._link_base):
                kept["rel"] = "nofollow noopener"
        return kept

    def _image(self, attributes: dict[str, str]) -> None:
        """An image of this repo; of any other its text, as a link: looking at a page must tell nobody about it."""
        kept = _kept(attributes, ("alt", "width", "height", "align", *_EVERYWHERE))
        url = _resolved(attributes.get("src", ""), self._image_base, self._root)
        if url and _is_below(url, self._image_base):
            self._write(_written("img", {"src": url, "alt": "", **kept, "loading": "lazy"}))
            return
        label = kept.get("alt", "").strip() or kept.get("title", "").strip() or "image"
        if url and "a" not in self._open and not url.startswith("mailto:"):
            link = {"href": url} | ({"rel": "nofollow noopener"} if _LEAVES.match(url) else {})
            self._write(f"{_written('a', link)}{escape(label)}</a>")
        else:
            self._write(escape(label))


def _attributes(text: str) -> dict[str, str]:
    """Of an attribute that is there twice the first counts, as in browsers."""
    found: dict[str, str] = {}
    for name, quoted, apostrophed, bare in _ATTRIBUTE.findall(text):
        found.setdefault(name.lower(), unescape(quoted or apostrophed or bare))
    align = _TEXT_ALIGN.fullmatch(found.get("style", ""))  # how markdown-it aligns a table's cells
    if align:
        found["align"] = align[1]
    return found


def _kept(attributes: dict[str, str], names: tuple[str, ...]) -> dict[str, str]:
    kept = {
        name: attributes[name] for name in names if name in attributes and _VALUES[name].fullmatch(attributes[name])
    }
    if "id" in kept:
        kept["id"] = ID_PREFIX + kept["id"].removeprefix(ID_PREFIX)
    return kept


def _written(tag: str, attributes: dict[str, str]) -> str:
    inside = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
    return f"<{tag}{inside}>"


_LEAVES = re.compile("https?:", re.IGNORECASE)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
# Browsers drop these wherever they are in a URL, and take `\` for `/`.
_IGNORED_IN_URLS = re.compile(r"[\t\n\r]|\A[\x00-\x20]+|[\x00-\x20]+\Z")
_ENCODED_DOT = re.compile("%2e", re.IGNORECASE)


def _resolved(url: str, base: str, root: str) -> str | None:
    """The URL as a browser would understand it at `base`, on a hub whose addresses all begin with `root`.

    None if it is empty, too long, or of a scheme not allowed.
    """
    url = _IGNORED_IN_URLS.sub("", url).replace("\\", "/")
    if not url or len(url) > URL_CHARS_MAX:
        return None
    scheme = _SCHEME.match(url)
    if scheme:
        return url if scheme[1].lower() in _SCHEMES else None
    if url.startswith("//"):
        return f"https:{url}"
    if url.startswith("/") and not url.startswith(f"{root}/"):
        url = root + url
    try:
        joined = urljoin(base, _ENCODED_DOT.sub(".", url))
    except ValueError:  # brackets where a host may stand
        return None
    # `/..//host` climbs into what a browser takes for a host.
    return None if joined.startswith("//") else joined


def _is_below(url: str, base: str) -> bool:
    """Whether the URL is in the folder that `base` names, after `..` was resolved."""
    folder = base[: base.rfind("/") + 1]
    return bool(folder) and url.startswith(folder) and not _climbs(url)


def _climbs(url: str) -> bool:
    try:
        return ".." in _ENCODED_DOT.sub(".", urlsplit(url).path).split("/")
    except ValueError:
        return True
