"""Choices: written one way everywhere, read back as they were, and refused with the rule that they break."""

from __future__ import annotations

from datetime import date

import pytest

from headwater.ground.errors import Invalid
from headwater.observatory.choices import ITEMS_MAX, MODALITIES, Choices, allowed, described
from headwater.observatory.world import moment


def test_what_is_written_is_read_back() -> None:
    made = Choices(
        population=("radar",), attribution="root", window="2026-07-01..2026-08-01", modality=("llm", "none"),
        exclude=("mirrors", "account:amazon", "id:a/b"), as_of=moment("2026-08-22T20:00:00"), day=date(2026, 8, 1),
        cuts=(10, 100), sizes_b=(1.0, 2.5), top=5, sort="-pct",
    )  # fmt: skip
    assert Choices.parse(made.made().items()) == made


def test_only_what_was_chosen_is_written() -> None:
    assert Choices().made() == {}
    assert Choices().text() == "(defaults)"
    assert Choices(top=3).text() == "top=3"


def test_lists_are_separated_by_commas_or_given_repeatedly() -> None:
    once = Choices.parse([("exclude", "mirrors, tests")])
    twice = Choices.parse([("exclude", "mirrors"), ("exclude", "tests")])
    assert once.exclude == twice.exclude == ("mirrors", "tests")


def test_a_text_in_python_is_a_list_of_its_parts() -> None:
    assert Choices(modality="llm,none").modality == ("llm", "none")  # type: ignore[arg-type]


def test_an_empty_value_is_the_default() -> None:
    assert Choices.parse([("top", ""), ("modality", "")]) == Choices()


def test_groups_of_tasks_are_resolved_and_other_words_are_tags() -> None:
    assert Choices(modality=("llm", "fill-mask")).tags == (*MODALITIES["llm"], "fill-mask")


def test_accounts_and_ids_are_told_apart_from_classes() -> None:
    made = Choices(exclude=("series", "account:amazon", "id:a/b"))
    assert (made.excluded_accounts, made.excluded_ids) == (("amazon",), ("a/b",))


def test_a_window_is_two_days() -> None:
    assert Choices(window="2026-07-01..2026-08-01").window_days == (date(2026, 7, 1), date(2026, 8, 1))
    assert Choices(window="all").window_days is None


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("colour", "red", "is not one of population"),
        ("top", "0", ">= 1"),
        ("top", "many", "int"),
        ("steps", "65", "<= 64"),
        ("window", "7d", "must be 30d, all or FROM..TO"),
        ("window", "2026-08-01..2026-07-01", "begin before it ends"),
        ("window", "2026-02-30..2026-07-01", "no date of the calendar"),
        ("exclude", "bots", "must be one of mirrors"),
        ("exclude", "id:", "must be one of mirrors"),
        ("attribution", "nobody", "Invalid enum value"),
        ("as_of", "yesterday", "must be YYYY-MM-DD"),
        ("day", "2026-13-01", "Invalid"),
        ("cuts", "100,10", "must ascend"),
        ("sizes_b", "-1", "> 0"),
        ("account", "x" * 201, "1 to 200 characters"),
        ("id", ",".join(f"a/{n}" for n in range(ITEMS_MAX + 1)), "are allowed"),
    ],
)
def test_a_choice_that_breaks_a_rule_is_refused_with_the_rule(name: str, value: str, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        Choices.parse([(name, value)])


def test_one_value_given_twice_is_refused() -> None:
    with pytest.raises(Invalid, match="given twice"):
        Choices.parse([("top", "1"), ("top", "2")])


def test_too_many_choices_are_refused() -> None:
    with pytest.raises(Invalid, match="more than 100"):
        Choices.parse([("exclude", "mirrors")] * 101)


def test_since_lies_before_until() -> None:
    with pytest.raises(Invalid, match="before until"):
        Choices(since=date(2026, 1, 2), until=date(2026, 1, 2))


def test_every_choice_has_a_meaning_and_some_have_a_list_of_values() -> None:
    rows = list(described())
    assert [name for name, _, _ in rows] == list(Choices.__struct_fields__)
    assert all(meaning for _, _, meaning in rows)
    assert "root" in allowed("attribution")
    assert allowed("top") == ()
