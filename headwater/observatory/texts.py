"""Texts that strangers wrote, made fit to be kept: the one rule for it, once in Python and once as DuckDB macros.

A metadata dump is attacker-controlled text (in July 2026 payloads sat in the configurations of data sets). What comes
out of here is Unicode normal form C, has no control, direction or invisible characters, and is no longer than its
limit. It is still only text: pages escape it, nobody evaluates it.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import urlsplit

from headwater.observatory.schema import LIST_ITEMS_MAX, TAG_CHARS_MAX

URL_CHARS_MAX = 2_000  # what browsers and proxies carry

# Controls; zero-width and direction marks; line separators; the byte order mark; the invisible "tag" characters, which
# carry hidden orders to readers that are language models. Variation selectors stay: emoji need them.
_HIDDEN_RANGES = (
    (0x00, 0x08), (0x0E, 0x1F), (0x7F, 0x9F), (0xAD, 0xAD), (0x061C, 0x061C), (0x180E, 0x180E), (0x200B, 0x200F),
    (0x202A, 0x202E), (0x2060, 0x2069), (0xFEFF, 0xFEFF), (0xFFF9, 0xFFFB), (0xE0000, 0xE007F),
)  # fmt: skip
_BREAKS_RE2 = r"[\t\n\x0B\f\r\x{2028}\x{2029}]+"
_BREAKS = re.compile("[\t\n\x0b\f\r\u2028\u2029]+")
_HIDDEN = re.compile("[" + "".join(f"{chr(a)}-{chr(b)}" for a, b in _HIDDEN_RANGES) + "\ud800-\udfff]")
_HIDDEN_RE2 = "[" + "".join(rf"\x{{{a:X}}}-\x{{{b:X}}}" for a, b in _HIDDEN_RANGES) + "]"
_PLAIN_ASCII_NOT = r"[^\x20-\x7E]"

NORMALISING_MAX = 4  # NFC makes no text longer than three times its length; cut before, so that 10 MB cost nothing


def plain(text: str, chars_max: int) -> str:
    """`text` without what does not show, in normal form C, at most `chars_max` characters."""
    if len(text) <= chars_max and text.isascii() and text.isprintable():
        return text.strip()
    shown = unicodedata.normalize("NFC", text[: chars_max * NORMALISING_MAX])
    return _HIDDEN.sub("", re.sub(_BREAKS, " ", shown).replace("\u2028", " ").replace("\u2029", " "))[
        :chars_max
    ].strip()


def link(text: str) -> str:
    """A link that may be shown, or nothing: only http and https with a host ever are."""
    shown = plain(text, URL_CHARS_MAX)
    try:
        parts = urlsplit(shown)
    except ValueError:
        return ""
    return shown if parts.scheme in ("http", "https") and parts.netloc and " " not in shown else ""


def macros() -> list[str]:
    """`plain(text, chars)`, `hostile(text)` and `plain_list(list)` for DuckDB.

    Printable ASCII passes untouched: it is 99 % of all texts, and three million rows shall not wait for the rest.
    """
    cut = f"left(x, n * {NORMALISING_MAX})"
    shown = f"regexp_replace(regexp_replace({cut}, '{_BREAKS_RE2}', ' ', 'g'), '{_HIDDEN_RE2}', '', 'g')"
    slow = f"nfc_normalize({shown})"  # last: DuckDB's function ends at the first NUL
    simple = f"not regexp_matches(x, '{_PLAIN_ASCII_NOT}')"
    longest = "coalesce(list_max(list_transform(x, lambda t: strlen(t))), 0)"
    simple_list = (
        f"list_count(x) = len(x) and len(x) <= {LIST_ITEMS_MAX} and {longest} <= {TAG_CHARS_MAX} "
        f"and not regexp_matches(array_to_string(x, ' '), '{_PLAIN_ASCII_NOT}')"
    )
    slow_list = f"list_transform(x[1:{LIST_ITEMS_MAX}], lambda t: slow_plain(t, {TAG_CHARS_MAX}))"
    bodies = {
        "slow_plain(x, n)": f"nullif(trim(left({slow}, n)), '')",
        "plain(x, n)": f"case when strlen(x) <= n and {simple} then nullif(trim(x), '') else slow_plain(x, n) end",
        "hostile(x)": f"regexp_matches(x, '{_PLAIN_ASCII_NOT}') and regexp_matches(x, '{_HIDDEN_RE2}')",
        "plain_list(x)": f"case when {simple_list} then x else list_filter({slow_list}, lambda t: t is not null) end",
    }
    return [f"create or replace macro {head} as {body}" for head, body in bodies.items()]
