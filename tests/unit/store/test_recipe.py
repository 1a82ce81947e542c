"""Recipes, byte by byte as docs/spec/store.md has them."""

from __future__ import annotations

import pytest

from headwater.ground.errors import Corrupt
from headwater.store import recipe
from headwater.store.hashes import to_text
from headwater.store.recipe import Term

RAW = bytes(range(32))
TERM = Term(to_text(RAW), 1, 3, 0x01020304, 0x01020404)
ENCODED = b"\x01" + RAW + bytes.fromhex("01000000 03000000 04030201 04040201")


def test_a_recipe_is_written_as_the_specification_says() -> None:
    assert recipe.encode([TERM]) == ENCODED
    assert recipe.encode([TERM, TERM]) == ENCODED + ENCODED[1:]
    assert recipe.encode([]) == b"\x01"


def test_a_recipe_is_read_as_it_was_written() -> None:
    assert recipe.decode(ENCODED) == [TERM]
    assert recipe.decode(b"\x01") == []
    assert (TERM.size, recipe.size([TERM, TERM])) == (256, 512)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x02" + ENCODED[1:], ENCODED[:-1], ENCODED + b"x", b"\x01x"])
def test_another_version_or_length_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt, match="headwater verify"):
        recipe.decode(data)
