"""Lists: every filter means the same whichever way a list is made, and nobody sees what is not his."""

from __future__ import annotations

import base64
import itertools
import json
import random
from typing import Any

import pytest
from sqlalchemy import update

from headwater.accounts.actor import NOBODY
from headwater.accounts.tables import namespace
from headwater.catalog import search as search_file
from headwater.catalog.search import LIMIT_MAX, SORTS, Query, search
from headwater.catalog.tables import standing
from headwater.ground.errors import Invalid

from .conftest import a_safetensors


def card(*tags: str, **more: str) -> dict[str, bytes | str]:
    lines = [f"tags: {json.dumps(list(tags))}", *(f"{name}: {value}" for name, value in more.items())]
    return {"README.md": "---\n" + "\n".join(lines) + "\n---\n"}


@pytest.fixture
def shelf(hub: Any, known: Any) -> Any:
    hub.repo("ann/llama-7b-chat", card("x", "y", pipeline_tag="text-generation", library_name="mlx"))
    hub.repo("ann/yi-small", card("x"), private=True)
    hub.repo("Corp/Llama-13b", card("x", "Y", pipeline_tag="robotics"), gated="auto")
    hub.repo("Corp/secret-llama", card("x", "only-secret"), private=True)
    hub.repo("Corp/data", card("x"), "dataset")
    hub.repo("gpt2", card())
    known.catch_up()
    return known


def test_tags_narrow_a_list_in_any_case_and_together(shelf) -> None:
    assert shelf.list(NOBODY, tags=("x",), sort="createdAt", descending=False) == [
        "ann/llama-7b-chat",
        "Corp/Llama-13b",
    ]
    assert shelf.list(NOBODY, tags=("X", "y"), search="13b") == ["Corp/Llama-13b"]
    assert shelf.list(NOBODY, tags=("x", "never-heard")) == []


def test_authors_tasks_libraries_and_gates_narrow_it_too(shelf) -> None:
    assert shelf.list(NOBODY, author="CORP") == ["Corp/Llama-13b"]
    assert shelf.list(NOBODY, author="nobody-here") == []
    assert shelf.list(NOBODY, pipeline_tag="robotics") == ["Corp/Llama-13b"]
    assert shelf.list(NOBODY, library="mlx") == ["ann/llama-7b-chat"]
    assert shelf.list(NOBODY, gated=True) == ["Corp/Llama-13b"]
    assert shelf.list(NOBODY, gated=False, search="llama") == ["ann/llama-7b-chat"]
    assert shelf.list(NOBODY, "dataset") == ["Corp/data"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("llama", {"ann/llama-7b-chat", "Corp/Llama-13b"}),
        ("LLaMA chat", {"ann/llama-7b-chat"}),
        ("b-chat", {"ann/llama-7b-chat"}),
        ("corp/lla", {"Corp/Llama-13b"}),
        ("lama-1", {"Corp/Llama-13b"}),
        ("7b", {"ann/llama-7b-chat"}),
        ("c", {"ann/llama-7b-chat", "Corp/Llama-13b"}),
        ("7b l", {"ann/llama-7b-chat"}),
        ("b", set()),
        ("gpt2", {"gpt2"}),
        ("gp", {"gpt2"}),
        ("-1", {"Corp/Llama-13b"}),
        ("-", {"ann/llama-7b-chat", "Corp/Llama-13b", "gpt2"}),
        ("zzz", set()),
        ('"', set()),
        ('lla"ma', set()),
        ("lla* OR gpt", set()),
        ("name:llama", set()),
        ("%%%", set()),
        ("___", set()),
        ("ünï", set()),
    ],
)
def test_words_are_found_anywhere_in_a_name_and_short_ones_where_words_begin(shelf, words, found) -> None:
    assert set(shelf.list(NOBODY, search=words)) == found


def test_parameters_are_a_range(hub, known) -> None:
    for size in (10, 20, 30):
        hub.repo(f"o/m{size}", {"model.safetensors": a_safetensors(w=("I8", [size]))})
    hub.repo("o/none")
    known.catch_up()
    assert set(known.list(NOBODY, parameters_min=20)) == {"o/m20", "o/m30"}
    assert known.list(NOBODY, parameters_min=15, parameters_max=25) == ["o/m20"]
    assert set(known.list(NOBODY, parameters_max=20)) == {"o/m10", "o/m20"}


def test_what_somebody_likes_can_be_listed_as_far_as_the_asker_sees_it(hub, known) -> None:
    for name, private in (("o/open", False), ("o/closed", True), ("o/unliked", False)):
        made = hub.repo(name, private=private)
        if name != "o/unliked":
            hub.like("ann", made)
    known.catch_up()
    ann = hub.actor("ann").user_id
    assert known.list(NOBODY, liked_by=ann) == ["o/open"]
    assert set(known.list(hub.actor("o"), liked_by=ann)) == {"o/open", "o/closed"}
    assert known.list(NOBODY, liked_by=10**9) == []


def test_T34_private_repos_are_listed_for_those_who_see_them_and_nobody_else(hub, shelf) -> None:
    def everything(actor: Any) -> set[str]:
        return set(shelf.list(actor)) | set(shelf.list(actor, search="llama")) | set(shelf.list(actor, tags=("x",)))

    public = {"ann/llama-7b-chat", "Corp/Llama-13b", "gpt2"}
    assert everything(NOBODY) == public
    assert everything(hub.actor("stranger")) == public
    assert everything(hub.actor("ann")) == public | {"ann/yi-small"}
    assert everything(hub.actor("ann", "Corp")) == public | {"ann/yi-small", "Corp/secret-llama"}
    assert everything(hub.actor("root", is_admin=True)) == public | {"ann/yi-small", "Corp/secret-llama"}
    assert shelf.list(NOBODY, tags=("only-secret",)) == []
    assert shelf.list(NOBODY, author="corp", search="secret") == []


def test_T33_a_repo_hidden_a_moment_ago_is_gone_before_the_index_knows(hub, shelf) -> None:
    with hub.db.write() as connection:
        connection.execute(update(search_file.repo).where(search_file.repo.c.key == "gpt2").values(private=True))
    for conditions in ({}, {"search": "gpt2"}, {"sort": "createdAt"}):
        assert "gpt2" not in shelf.list(NOBODY, **conditions)


def test_T33_deleted_and_disabled_repos_are_gone_before_the_index_knows(hub, shelf) -> None:
    with hub.db.write() as connection:
        connection.execute(update(search_file.repo).where(search_file.repo.c.key == "gpt2").values(state="deleted"))
        connection.execute(
            update(search_file.repo).where(search_file.repo.c.key == "corp/llama-13b").values(disabled=True)
        )
    assert shelf.list(NOBODY) == ["ann/llama-7b-chat"]
    assert "Corp/Llama-13b" in shelf.list(hub.actor("root", is_admin=True))


def test_a_renamed_author_is_found_by_both_names(hub, shelf) -> None:
    new = hub.namespace("corporation")
    with hub.db.write() as connection:
        connection.execute(update(namespace).where(namespace.c.key == "corp").values(state="moved", moved_to=new))
    for repo_id in (3, 4):
        hub.change(repo_id, "repo.moved", namespace_id=new)
    shelf.catch_up()
    assert shelf.list(NOBODY, author="corp") == shelf.list(NOBODY, author="Corporation") == ["Corp/Llama-13b"]


def test_rows_say_what_is_known(shelf) -> None:
    (row,) = shelf.rows(NOBODY, search="13b")
    assert (row.type, row.namespace, row.name, row.private, row.gated) == ("model", "Corp", "Llama-13b", False, "auto")
    assert json.loads(row.tags) == ["robotics", "x", "Y"]
    assert (row.likes, row.downloads, row.downloads_all, row.trending) == (0, 0, 0, 0.0)


@pytest.fixture
def crowd(hub: Any, known: Any) -> Any:
    """Enough repos with equal values that pages must cut between equals."""
    chance = random.Random(4)
    for number in range(40):
        tags = [name for name, share in (("half", 0.5), ("most", 0.9), ("few", 0.1)) if chance.random() < share]
        hub.repo(f"org{number % 5}/m{number}", card(*tags), private=number % 4 == 0)
        hub.clock.advance(chance.choice((0, 1)))
    known.catch_up()
    with hub.db.write() as connection:
        for number in range(1, 41):
            values = {
                "downloads": chance.randint(0, 3),
                "likes": chance.randint(0, 3),
                "trending": chance.random() // 0.25,
            }
            connection.execute(update(standing).where(standing.c.repo_id == number).values(values))
    return known


def pages(known: Any, actor: Any, **conditions: Any) -> list[Any]:
    rows, cursor = [], None
    for _ in range(100):
        page = search(known.db, actor, Query(type="model", cursor=cursor, **conditions))
        rows += page.rows
        if page.next is None:
            return rows
        assert len(page.rows) == conditions["limit"]
        cursor = page.next
    raise AssertionError("pages without end")


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("descending", [True, False])
def test_pages_put_together_are_the_whole_list_in_order(hub, crowd, sort, descending) -> None:
    actor = hub.actor("me", "org1")
    for conditions in ({}, {"tags": ("half",)}, {"tags": ("few",)}, {"search": "org"}, {"tags": ("most", "half")}):
        whole = crowd.rows(actor, sort=sort, descending=descending, limit=100, **conditions)
        assert pages(crowd, actor, sort=sort, descending=descending, limit=3, **conditions) == whole
        by = search_file._SORTED_BY[sort].name
        places = [(getattr(row, by), row.id) for row in whole]
        assert places == sorted(places, reverse=descending)
        assert len(set(places)) == len(places)


@pytest.mark.parametrize("sort", SORTS)
def test_whichever_way_a_list_is_made_it_is_the_same(hub, crowd, sort, monkeypatch: pytest.MonkeyPatch) -> None:
    """Walking, sorting what any one filter gives, walking that is broken off, asking who sees it while ids are found
    or after that: only time may tell them apart."""
    actor = hub.actor("me", "org1")
    cases: list[dict[str, Any]] = [
        {}, {"tags": ("half", "few")}, {"search": "m1 org"}, {"author": "org1", "tags": ("most",)},
        {"search": "m", "tags": ("half",)}, {"gated": False, "tags": ("most",)}, {"parameters_max": 5},
    ]  # fmt: skip
    for conditions in cases:
        query = Query(type="model", sort=sort, limit=5, **conditions)
        usual = search(crowd.db, actor, query)
        ways = ((1e9, 1e-9, 1), (1e-9, 1e9, 40_000), (1e-9, 1e9, 1))
        for (step, row, common), few in itertools.product(ways, (0, 2)):
            with monkeypatch.context() as patched:
                patched.setattr(search_file, "STEP_COST", step)
                patched.setattr(search_file, "ROW_COST", row)
                patched.setattr(search_file, "ROW_COST_WALKING", 1e-9)
                patched.setattr(search_file, "COUNTED_MAX", common)
                patched.setattr(search_file, "IDS_KEPT_MAX", 0)
                patched.setattr(search_file, "SEEN_BY_FEW", few)
                assert search(crowd.db, actor, query) == usual, (conditions, step, few)


@pytest.mark.parametrize("dear", ["ROW_COST", "STEP_COST"])  # so that the list is walked, or sorted
def test_a_list_is_whole_where_more_is_hidden_than_expected(hub, known, dear, monkeypatch) -> None:
    """Most repos are public, but hardly one of those that the list begins with."""
    for number in range(30):
        hub.repo(f"o/m{number}", card("all"), private=3 <= number < 27)
        hub.repo(f"o/other{number}", card())
        hub.clock.advance(1)
    known.catch_up()
    rounds: list[int | None] = []
    real = search_file._found

    def seen(connection: Any, asked: Any) -> Any:
        rounds.append(asked.listed)
        return real(connection, asked)

    monkeypatch.setattr(search_file, "_found", seen)
    monkeypatch.setattr(search_file, dear, 1e9)
    found = known.list(NOBODY, tags=("all",), sort="createdAt", descending=False, limit=5)
    assert found == ["o/m0", "o/m1", "o/m2", "o/m27", "o/m28"]
    assert rounds == [None, 3]


def test_a_walk_that_finds_too_little_is_broken_off_and_the_list_is_whole(hub, known, monkeypatch) -> None:
    """Two tags, each of half the repos, that only one has together: what a walk meets last."""
    hub.repo("o/both", card("old", "new"))
    for number in range(30):
        hub.repo(f"o/m{number}", card("old" if number < 15 else "new"))
    known.catch_up()
    ways: list[tuple[bool, bool]] = []
    real = search_file._statement

    def seen(asked: Any, start: Any, until: Any) -> Any:
        ways.append((start is None, until is not None))
        return real(asked, start, until)

    monkeypatch.setattr(search_file, "_statement", seen)
    monkeypatch.setattr(search_file, "WALK_STEPS_MIN", 1)
    monkeypatch.setattr(search_file, "WALK_MARGIN", 1)
    monkeypatch.setattr(search_file, "ROW_COST", 0.5)
    monkeypatch.setattr(search_file, "SPARE", 0.0)
    assert known.list(NOBODY, tags=("old", "new"), limit=1, sort="createdAt") == ["o/both"]
    assert ways == [(True, True), (False, False)]


def test_walks_go_along_the_index_of_the_sort(shelf) -> None:
    for sort in SORTS:
        query = Query(type="model", sort=sort)
        with shelf.db.read() as connection:
            asked = search_file._Asked(NOBODY, query, None, *search_file._criteria(connection, NOBODY, query))
            text = str(
                search_file._statement(asked, None, None).compile(connection, compile_kwargs={"literal_binds": True})
            )
            plan = [row[3] for row in connection.exec_driver_sql("EXPLAIN QUERY PLAN " + text)]
        walked = search_file._SORTED_BY[sort].name.removesuffix("_ms")
        assert f"SEARCH standing USING COVERING INDEX standing_{walked} (type=?)" in plan[0], plan
        assert not any("TEMP B-TREE" in step for step in plan), plan


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "e30", "ä" * 10, "A" * 400, "\x00", base64.urlsafe_b64encode(b'[1,2,"x"]').decode(), "bnVsbA"],
)
def test_a_cursor_that_was_not_given_out_is_refused(shelf, cursor) -> None:
    with pytest.raises(Invalid, match="cursor"):
        search(shelf.db, NOBODY, Query(type="model", cursor=cursor))


def test_a_cursor_with_one_character_changed_gives_no_rows_of_others(hub, crowd) -> None:
    page = search(crowd.db, NOBODY, Query(type="model", limit=2))
    assert page.next is not None
    for place in range(len(page.next)):
        changed = page.next[:place] + ("A" if page.next[place] != "A" else "B") + page.next[place + 1 :]
        try:
            rows = search(crowd.db, NOBODY, Query(type="model", limit=2, cursor=changed)).rows
        except Invalid:
            continue
        assert not any(row.private for row in rows)


def test_a_cursor_of_another_list_is_refused(crowd) -> None:
    page = search(crowd.db, NOBODY, Query(type="model", limit=2))
    with pytest.raises(Invalid, match="another list"):
        search(crowd.db, NOBODY, Query(type="model", limit=2, sort="likes", cursor=page.next))
    with pytest.raises(Invalid, match="another list"):
        search(crowd.db, NOBODY, Query(type="model", limit=2, tags=("half",), cursor=page.next))
    assert search(crowd.db, NOBODY, Query(type="model", limit=7, cursor=page.next)).rows


@pytest.mark.parametrize(
    "conditions",
    [
        {"limit": 0}, {"limit": LIMIT_MAX + 1}, {"sort": "size; DROP TABLE repo"}, {"search": "x" * 201},
        {"search": "a b c d e f g h i"}, {"tags": ("x" * 300,)}, {"tags": ("a",) * 40}, {"author": "\x01namespace:1"},
        {"tags": ("\x01private",)}, {"search": "\ud800abc"}, {"tags": ("a\x00b",)}, {"parameters_min": 1 << 63},
        {"parameters_max": -1}, {"pipeline_tag": "\n"},
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_refused(shelf, conditions) -> None:
    with pytest.raises(Invalid):
        search(shelf.db, NOBODY, Query(type="model", **conditions))
