"""Who uses a model: only what the asking actor may see is named or counted."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.accounts.actor import NOBODY
from headwater.catalog import uses


def card(**front: str) -> dict[str, str]:
    return {"README.md": "---\n" + "".join(f"{name}: {value}\n" for name, value in front.items()) + "---\n"}


@pytest.fixture
def shelf(hub: Any, known: Any) -> Any:
    hub.repo("org/Base", card())
    hub.repo("ann/tuned", card(base_model="org/Base"))
    hub.repo("ann/tuned-too", card(base_model="ORG/base"))
    hub.repo("ann/small", card(base_model="org/Base", base_model_relation="quantized"))
    hub.repo("ann/merged", card(base_model="[org/Base, org/Other]"))
    hub.repo("ann/hidden", card(base_model="org/Base"), private=True)
    hub.repo("ann/disabled", card(base_model="org/Base"), disabled=True)
    hub.repo("ann/demo", card(models="[org/Base]"), "space", sdk="gradio")
    hub.repo("ann/hidden-demo", card(models="[org/Base]"), "space", sdk="gradio", private=True)
    hub.repo("ann/alone", card(title="x"), "space", sdk="gradio")
    hub.repo("ann/of-data", card(datasets="[org/data]"), "space", sdk="gradio")
    known.catch_up()
    return known


def test_children_are_counted_by_how_they_were_made(hub: Any, shelf: Any) -> None:
    assert uses.children(shelf.db, NOBODY, "org/Base") == {"finetune": 2, "quantized": 1, "merge": 1}
    assert uses.children(shelf.db, hub.actor("ann"), "ORG/BASE") == {"finetune": 3, "quantized": 1, "merge": 1}
    assert uses.children(shelf.db, hub.actor("ann", is_admin=True), "org/Base")["finetune"] == 4
    assert uses.children(shelf.db, NOBODY, "org/Base-2") == {}


def test_spaces_are_those_that_name_the_model(hub: Any, shelf: Any) -> None:
    assert uses.spaces(shelf.db, NOBODY, "org/base") == ["ann/demo"]
    assert set(uses.spaces(shelf.db, hub.actor("ann"), "org/Base")) == {"ann/demo", "ann/hidden-demo"}
    assert uses.spaces(shelf.db, NOBODY, "ann/tuned") == []


def test_linked_spaces_use_some_model_or_data_set(hub: Any, shelf: Any) -> None:
    assert set(shelf.list(NOBODY, "space", linked=True)) == {"ann/demo", "ann/of-data"}
    assert set(shelf.list(hub.actor("ann"), "space", linked=True)) == {"ann/demo", "ann/of-data", "ann/hidden-demo"}
    hub.commit(next(one.id for one in shelf.rows(NOBODY, "space", search="demo")), card(title="no more"))
    shelf.catch_up()
    assert shelf.list(NOBODY, "space", linked=True) == ["ann/of-data"]
