"""Lists of tags: what public repos have, by sort of tag."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater.catalog.tags import TagLists, TagName, named


@pytest.mark.parametrize(
    ("key", "kind", "type_"),
    [
        ("license:mit", "model", "license"),
        ("text-generation", "model", "pipeline_tag"),
        ("transformers", "model", "library"),
        ("en", "model", "language"),
        ("en", "dataset", "other"),
        ("task_categories:robotics", "dataset", "task_categories"),
        ("license:", "model", "other"),
        ("own:word", "model", "other"),
    ],
)
def test_a_tag_s_sort_is_told_by_its_text(key, kind, type_) -> None:
    assert named(key, kind).type == type_


def test_a_label_is_what_people_read() -> None:
    assert named("license:mit", "model") == TagName("license:mit", "mit", "license")
    assert named("text-generation", "model").label == "Text generation"


def tagged(*tags: str) -> dict[str, str]:
    return {"README.md": f"---\ntags: {json.dumps(list(tags))}\n---\n"}


def ids(lists: TagLists, kind: Any = "model") -> dict[str, list[str]]:
    return {sort: [one.id for one in found] for sort, found in lists.by_type(kind).items()}


def test_the_most_used_come_first_and_types_do_not_mix(hub, known, db, clock) -> None:
    hub.repo("o/a", tagged("b-tag", "a-tag", "license:mit"))
    hub.repo("o/b", tagged("b-tag"))
    hub.repo("o/d", tagged("of-data"), "dataset")
    known.catch_up()
    lists = TagLists(db, clock)
    assert ids(lists) == {"other": ["b-tag", "a-tag"], "license": ["license:mit"]}
    assert ids(lists, "dataset") == {"other": ["of-data"]}
    assert ids(lists, "space") == {}


def test_T34_a_tag_that_only_private_repos_have_is_not_listed(hub, known, db, clock) -> None:
    hub.repo("o/a", tagged("shared"))
    secret = hub.repo("o/b", tagged("shared", "project-x"), private=True)
    known.catch_up()
    assert ids(TagLists(db, clock)) == {"other": ["shared"]}
    hub.change(secret, "repo.changed", private=False)
    assert set(ids(TagLists(db, clock))["other"]) == {"shared", "project-x"}


def test_a_list_is_a_minute_old_at_most(hub, known, db, clock) -> None:
    lists = TagLists(db, clock)
    assert ids(lists) == {}
    hub.repo("o/a", tagged("new"))
    known.catch_up()
    clock.advance(59)
    assert ids(lists) == {}
    clock.advance(1)
    assert ids(lists) == {"other": ["new"]}
