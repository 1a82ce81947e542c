"""A card's first sentences and its citation, out of whatever text it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.catalog import prose

CARD = """
# Dataset Card for Things

<!-- Fill this in,
and that. -->
<div align="center"><img src="x.png"></div>

![badge](https://x/y.svg)
This *data set* is about **things** of the [real world](https://example.org/a_b).
It has `rows` & snake_case columns.

| a | b |
|---|---|
| 1 | 2 |

- first
1. second

```python
load("things")
```

[1]: https://example.org
"""


def test_the_description_is_the_words_of_the_card() -> None:
    assert prose.description(CARD) == (
        "This data set is about things of the real world. It has rows & snake_case columns. first second"
    )


@pytest.mark.parametrize("body", ["", "# Only a heading\n", "```\ncode\n```\n", "<!-- never closed", "| a |\n|---|\n"])
def test_a_card_without_sentences_has_no_description(body: str) -> None:
    assert prose.description(body) is None


def test_a_long_description_ends_between_two_words() -> None:
    told = prose.description("word, " * 1000)
    assert told is not None
    assert len(told) <= prose.CHARS_MAX["description"] + 2
    assert told.endswith("word \u2026")


BIBTEX = "@misc{things,\n  title = {Things},\n}"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (f"# Citation\n\n```bibtex\n{BIBTEX}\n```\n", BIBTEX),
        (f"~~~\n{BIBTEX}\n~~~\n```\n@misc{{other}}\n```", BIBTEX),
        (f"```python\nx = 1\n```\n```\n{BIBTEX}\n```", BIBTEX),
        ("```\n@decorated\ndef f(): ...\n```", None),
        (f"{BIBTEX}\n", None),
        ("", None),
    ],
)
def test_the_citation_is_the_first_block_of_bibtex(body: str, told: str | None) -> None:
    assert prose.citation(body) == told


@given(st.text(alphabet="[](){}<>!`*_~@#|- \nab", max_size=2000))
def test_no_text_breaks_it_or_is_told_at_length(body: str) -> None:
    assert len(prose.description(body) or "") <= prose.CHARS_MAX["description"] + 2
    assert len(prose.citation(body) or "") <= prose.CHARS_MAX["citation"]
