"""Recipes come back as they were written; damaged ones are Corrupt or another recipe, never another exception."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from headwater.ground.errors import Corrupt
from headwater.store import recipe
from headwater.store.hashes import from_text, to_text
from headwater.store.recipe import Term

U32 = st.integers(0, 2**32 - 1)
HASH = st.binary(min_size=32, max_size=32)
TERMS = st.lists(st.builds(Term, HASH.map(to_text), U32, U32, U32, U32), max_size=20)


@given(TERMS)
def test_a_recipe_comes_back_as_it_was_written(terms: list[Term]) -> None:
    data = recipe.encode(terms)
    assert recipe.decode(data) == terms
    assert len(data) == 1 + 48 * len(terms)


@given(TERMS, st.data())
def test_a_damaged_recipe_is_corrupt_or_another_one(terms: list[Term], data: st.DataObject) -> None:
    encoded = bytearray(recipe.encode(terms))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(Corrupt):
        assert recipe.decode(bytes(encoded)) != terms


@given(st.binary(max_size=200))
def test_any_bytes_are_a_recipe_or_corrupt(data: bytes) -> None:
    try:
        terms = recipe.decode(data)
    except Corrupt:
        return
    assert recipe.encode(terms) == data


@given(HASH)
def test_the_text_form_of_a_hash_is_one_to_one(raw: bytes) -> None:
    assert from_text(to_text(raw)) == raw
