"""What the storage pages make of figures: colours, short numbers, and words for who does not see the colours."""

from __future__ import annotations

import re

import pytest

from headwater.catalog.costs import Costs, told
from headwater.front.pages.present import RepoHead, Revisions, Site, Viewer
from headwater.front.pages.render import render_storage, static_files
from headwater.front.pages.storage import heat_map, left
from headwater.ground.names import RepoId
from headwater.lineage.warmth import Cell, Grid

BASE = RepoId("model", "ada", "base")
HERE = "/eve/child/storage/main"


def grid(*layers: list[Cell | None], kinds: tuple[str, ...] = ("attn_q", "ffn_up")) -> Grid:
    return Grid(kinds, tuple((number, tuple(cells)) for number, cells in enumerate(layers)), ())


def still() -> Cell:
    return Cell(0.0, 0.0, 1)


@pytest.mark.parametrize(
    ("step", "level", "text"),
    [(0, 0, "0"), (1e-9, 1, "<.01"), (2e-4, 2, ".02"), (0.0095, 5, ".95"), (0.0123, 6, "1.2"), (0.02, 6, "2"),
     (0.456, 9, "46"), (1.0, 9, "100"), (7.3, 9, "730")],
)  # fmt: skip
def test_a_step_has_a_colour_and_a_short_number(step: float, level: int, text: str) -> None:
    made = heat_map(grid([Cell(50.0, step, 1), None]), (BASE,), HERE, "").layers[0][1]
    assert made[0] is not None
    assert (made[0].level, made[0].text) == (level, text)
    assert made[1] is None


@pytest.mark.parametrize(("pct", "level", "text"), [(0, 0, "0"), (0.5, 1, ".5"), (50, 5, "50"), (99.7, 9, "99"), (100, 9, "100")])  # fmt: skip
def test_the_share_of_weights_has_its_own_scale_and_never_says_all_too_early(pct: float, level: int, text: str) -> None:
    made = heat_map(grid([Cell(pct, 0.1, 1), None]), (BASE,), HERE, "share").layers[0][1][0]
    assert made is not None
    assert (made.level, made.text) == (level, text)


def test_where_steps_mean_nothing_the_share_is_shown() -> None:
    made = heat_map(grid([Cell(40.0, None, 1), None]), (BASE,), HERE, "")
    assert made.choices[1].active
    assert made.layers[0][1][0].text == "40"


def test_every_level_has_a_colour_in_the_stylesheet() -> None:
    css = static_files()["storage.css"].body.decode()
    levels = {level for level, _ in heat_map(grid([still(), None]), (BASE,), HERE, "").scale}
    assert levels == set(range(10))
    assert all(f".h{level}{{" in css.replace(" ", "") for level in levels)


def test_words_name_the_layer_that_changed_most_and_those_that_did_not() -> None:
    warm, hot = Cell(90.0, 0.01, 1), Cell(90.0, 0.05, 1)
    rows = [[still(), still()], [still(), None], [warm, still()], [hot, warm], [still(), still()]]
    assert heat_map(grid(*rows), (BASE,), HERE, "").words == (
        "Layer 3 changed most. 3 of 5 layers did not change: 0 to 1, 4."
    )
    assert heat_map(grid([still(), still()]), (BASE,), HERE, "").words.startswith("No sampled weight of any layer")
    assert heat_map(grid(), (BASE,), HERE, "").words == ""


def test_kinds_are_called_as_people_call_them() -> None:
    made = heat_map(grid([still(), still()], kinds=("attn_output", "<b>")), (BASE,), HERE, "")
    assert made.kinds == (("o", "attn_output"), ("<b>", "<b>"))


def test_what_is_left_is_told_in_per_cent() -> None:
    assert [left(0, 0), left(0, 10), left(1, 100_000), left(45, 100), left(999, 1000), left(10, 10)] == [
        "0", "0", "<.01", "45", "99", "100",
    ]  # fmt: skip


def test_a_kind_of_storing_is_said_in_words() -> None:
    assert told("delta") == "as the difference to its parent"
    assert told("lowrank+delta") == f"{told('lowrank')}; {told('delta')}"
    assert told("prefix identity+exact") == f"{told('prefix')}; {told('exact')}"
    assert told("something new") == "something new"


def test_names_of_strangers_are_text_in_the_map() -> None:
    evil = "<script>alert(1)</script>"
    made = heat_map(grid([still(), Cell(3.0, 0.1, 1)], kinds=("attn_q", evil)), (BASE,), HERE, "")
    page = render_storage(
        Site("http://hub.example", "", Viewer(), 0),
        RepoHead(RepoId("model", "eve", "child"), "main"),
        "eve/child: storage",
        revisions=Revisions("main", "branch"), total=Costs((), 0, 0, 0, (), ()), complete=True, bases=(), left_pct="0", summary="", ways=[], files=[],
        more=0, heat=made, left=left, path=evil, tensors=[], more_tensors=0,
    )  # fmt: skip
    assert evil not in page
    assert "&lt;script&gt;alert(1)" in page
    assert len(re.findall(r'<th scope="col"', page)) == 3
    assert '<th scope="row">0</th>' in page
