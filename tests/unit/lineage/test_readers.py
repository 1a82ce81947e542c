"""The rule of readers: no parent that some reader of the child may not read, and no trace of what he may not."""

from __future__ import annotations

import pytest
from conftest import Hub
from model_building import base, safetensors, tuned
from sqlalchemy import insert

from headwater.ground.names import Sha256
from headwater.lineage.parents import Candidate
from headwater.store.tables import blob_tensor, pack, tensor, tensor_parent

ROOT = base(1)


def names(found: list[Candidate]) -> list[Sha256]:
    return [one.sha256 for one in found]


@pytest.mark.parametrize("closed", [{"private": True}, {"gated": "auto"}, {"gated": "manual"}, {"disabled": True}])
def test_T34_a_closed_file_is_no_parent_of_an_open_one(hub: Hub, closed: dict[str, object]) -> None:
    hub.put("ada/base", safetensors(ROOT), **closed)
    assert hub.found(hub.put("eve/child", safetensors(tuned(ROOT, 5)))) == []


def test_T34_not_even_in_the_same_repo_or_namespace_or_when_declared(hub: Hub) -> None:
    hub.put("ada/base", safetensors(ROOT), private=True)
    assert hub.found(hub.put("ada/child", safetensors(tuned(ROOT, 5)), base_model="ada/base")) == []


def test_a_private_file_stands_on_open_ones_and_on_its_own_namespaces(hub: Hub) -> None:
    own = hub.put("ada/secret", safetensors(tuned(ROOT, 3)), private=True)
    public = hub.put("bob/base", safetensors(ROOT))
    hub.put("eve/secret", safetensors(tuned(ROOT, 4)), private=True)
    child = hub.put("ada/child", safetensors(tuned(ROOT, 5)), private=True)
    assert names(hub.found(child)) == [public, own]


def test_a_private_file_of_two_namespaces_stands_only_on_what_both_read(hub: Hub) -> None:
    hub.put("ada/secret", safetensors(tuned(ROOT, 3)), private=True)
    both = hub.put("ada/shared", safetensors(tuned(ROOT, 4)), private=True)
    hub.hold("eve/shared", both, private=True)
    child = hub.put("ada/child", safetensors(tuned(ROOT, 5)), private=True)
    hub.hold("eve/child", child, private=True)
    assert names(hub.found(child)) == [both]


def test_a_private_file_that_an_open_repo_holds_too_is_open(hub: Hub) -> None:
    file = hub.put("ada/base", safetensors(ROOT), private=True)
    hub.hold("bob/copy", file)
    assert names(hub.found(hub.put("eve/child", safetensors(tuned(ROOT, 5))))) == [file]


def test_T34_an_open_copy_of_a_private_child_loses_its_private_parents(hub: Hub) -> None:
    file = hub.put("ada/base", safetensors(ROOT), private=True)
    child = hub.put("ada/child", safetensors(tuned(ROOT, 5)), private=True)
    assert names(hub.found(child)) == [file]
    hub.hold("ada/published", child)
    assert hub.found(child) == []
    assert hub.parents.allowed(child, [file]) == set()


def test_a_deleted_repos_files_are_nobodys_parents(hub: Hub) -> None:
    hub.put("ada/base", safetensors(ROOT), state="deleted")
    assert hub.found(hub.put("eve/child", safetensors(tuned(ROOT, 5)))) == []


def test_a_file_that_nobody_holds_has_no_parents(hub: Hub) -> None:
    hub.put("ada/base", safetensors(ROOT))
    child = hub.put("eve/child", safetensors(tuned(ROOT, 5)), state="deleted")
    assert hub.found(child) == []


def test_a_private_repo_without_a_namespace_stands_on_open_files_only(hub: Hub) -> None:
    hub.put("ada/secret", safetensors(tuned(ROOT, 3)), private=True, namespace_id=None)
    child = hub.put("ada/child", safetensors(tuned(ROOT, 5)), private=True, namespace_id=None)
    assert hub.found(child) == []


def test_T34_answers_are_the_same_whether_private_files_are_there_or_not(hub: Hub) -> None:
    hub.put("bob/base", safetensors(ROOT))
    for n in range(3):
        hub.put(f"bob{n}/sibling", safetensors(tuned(ROOT, 20 + n)))
    child = hub.put("eve/child", safetensors(tuned(ROOT, 5)))
    late = hub.put("bob/late", safetensors(tuned(ROOT, 6)))
    before = (hub.parents.relatives(child), hub.parents.candidates(late))
    for n in range(34):  # nearer than all others, and more of them than are ever looked at
        hub.put(
            f"zoe{n}/secret", safetensors(tuned(tuned(ROOT, 5), 100 + n, 1e-6)), private=True, base_model="bob/base"
        )
    hub.hold("zoe/secret-copy", child, private=True, base_model="bob/late")
    assert (hub.parents.relatives(child), hub.parents.candidates(late)) == before


def test_T34_a_private_childs_better_base_is_told_only_if_its_readers_may_read_it(hub: Hub) -> None:
    child = hub.put("ada/child", safetensors(tuned(ROOT, 5)), private=True)
    hidden = hub.put("eve/base", safetensors(ROOT), private=True)
    assert hub.parents.later_children(hidden) == []
    hub.change("eve/base", private=False)
    assert [one.sha256 for one in hub.parents.later_children(hidden)] == [child]


def test_T34_a_declared_base_that_is_closed_takes_no_open_ones_place(hub: Hub) -> None:
    for n in range(5):
        hub.put("zoe/secret", safetensors(base(50 + n)), f"{n}.safetensors", private=True)
    file = hub.put("bob/base", safetensors(ROOT))
    child = hub.put("eve/child", safetensors(tuned(ROOT, 5)), base_model=["zoe/secret", "bob/base"])
    assert [(one.sha256, one.why) for one in hub.found(child)] == [(file, "declared")]
    own = hub.put("zoe/child", safetensors(tuned(ROOT, 6)), base_model=["zoe/secret", "bob/base"], private=True)
    assert next((one.sha256, one.why) for one in hub.found(own)) == (file, "declared")


# --- what is sealed already ---


def a_tensor(hub: Hub, number: int, *files: Sha256, on: int | None = None) -> int:
    with hub.db.write_soft() as connection:
        if number == 1:
            connection.execute(insert(pack).values(id=1, size_bytes=0, created_ms=0))
        connection.execute(
            insert(tensor).values(
                id=number, key=bytes([number]) * 32, size=1, dtype="U8", shape="1", pack=1, start=0, length=1,
                index_bytes=1, depth=0, kind="alone", why="", alone_bytes=1, created_ms=0,
            )
        )  # fmt: skip
        for sha256 in files:
            connection.execute(insert(blob_tensor).values(sha256=sha256, tensor=number))
        if on is not None:
            connection.execute(insert(tensor_parent).values(tensor=number, parent=on))
    return number


def three_files(hub: Hub) -> tuple[Sha256, Sha256, Sha256]:
    """Each sealed on the one before, of one private namespace."""
    files = [hub.put(f"ada/model-{n}", safetensors(tuned(ROOT, n)), private=True) for n in range(3)]
    a_tensor(hub, 1, files[0])
    a_tensor(hub, 2, files[1], on=1)
    a_tensor(hub, 3, files[2], on=2)
    return files[0], files[1], files[2]


def test_what_a_file_stands_on_is_known_over_several_steps(hub: Hub) -> None:
    first, second, third = three_files(hub)
    assert hub.parents.stands_on(third) == {first, second}
    assert hub.parents.stands_on(first) == set()
    assert hub.parents.standing_on(first) == {second, third}
    assert hub.parents.standing_on(third) == set()


def test_a_circle_in_the_tables_ends(hub: Hub) -> None:
    first, _, third = three_files(hub)
    with hub.db.write_soft() as connection:
        connection.execute(insert(tensor_parent).values(tensor=1, parent=3))
    assert first in hub.parents.stands_on(third)


def test_T34_a_file_that_becomes_public_may_not_stand_on_private_ones(hub: Hub) -> None:
    _, _, third = three_files(hub)
    assert not hub.parents.forbidden(third)
    hub.change("ada/model-2", private=False)
    assert hub.parents.forbidden(third)
    hub.change("ada/model-1", private=False)
    assert hub.parents.forbidden(third)  # through the second, on the first
    hub.change("ada/model-0", private=False)
    assert not hub.parents.forbidden(third)


def test_T34_equal_tensors_that_a_private_file_stored_first_are_noticed(hub: Hub) -> None:
    hidden = hub.put("ada/base", safetensors(ROOT), private=True)
    child = hub.put("ada/child", safetensors(tuned(ROOT, 5)), private=True)
    public = hub.put("eve/other", safetensors(base(9)))
    a_tensor(hub, 1, hidden)
    a_tensor(hub, 2, child, public, on=1)
    assert hub.parents.forbidden(public)
    assert not hub.parents.forbidden(child)


def test_what_a_file_has_itself_gives_nothing_away(hub: Hub) -> None:
    hidden = hub.put("ada/base", safetensors(ROOT), private=True)
    public = hub.put("eve/other", safetensors(base(9)))
    a_tensor(hub, 1, hidden, public)
    a_tensor(hub, 2, public, on=1)
    assert not hub.parents.forbidden(public)


def test_what_no_repo_holds_any_more_gives_nothing_away(hub: Hub) -> None:
    _, _, third = three_files(hub)
    hub.change("ada/model-2", private=False)
    hub.change("ada/model-1", state="deleted")
    hub.change("ada/model-0", state="deleted")
    assert not hub.parents.forbidden(third)


def test_a_file_does_not_become_the_base_of_what_it_stands_on(hub: Hub) -> None:
    child = hub.put("eve/child", safetensors(tuned(ROOT, 5)))
    file = hub.put("ada/base", safetensors(ROOT))
    assert [one.sha256 for one in hub.parents.later_children(file)] == [child]
    a_tensor(hub, 1, child)
    a_tensor(hub, 2, file, on=1)
    assert hub.parents.later_children(file) == []
