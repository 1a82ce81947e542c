"""What questions leave for each other: tables in memory and on the disk, never older than the data or the registry."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from headwater.observatory.answer import Answer
from headwater.observatory.ask import ask, prepare
from headwater.observatory.choices import Choices
from headwater.observatory.run import RESTING, RESTING_MAX, Reader, Readers
from headwater.observatory.world import World

Take = Callable[..., Any]
Parquet = Callable[..., Path]


@pytest.fixture
def readers() -> Iterator[Readers]:
    made = Readers()
    yield made
    made.close()


def columns(owner: str) -> dict[str, list[Any]]:
    return {
        "id": [f"{owner}/base", "somebody/tuned", "somebody/tuned-again"],
        "author": [owner, "somebody", "somebody"],
        "downloads": [10, 30, 60],
        "createdAt": ["2026-01-01T00:00:00"] * 3,
        "tags": [[], [f"base_model:finetune:{owner}/base"], ["base_model:finetune:somebody/tuned"]],
    }


@pytest.fixture
def hub(take: Take, parquet: Parquet) -> None:
    take(parquet("hub.parquet", **columns("Qwen")), kind="hub-stats", name="hub", date="2026-06-05")


def depths(world: World) -> dict[int, int]:
    return {row["depth"]: row["n"] for row in ask(world, "chain-depth", fresh=True).rows()}


def origins(answer: Answer) -> dict[str, float]:
    return {row["country"]: row["pct_origin"] for row in answer.rows()}


def lasting(world: World) -> list[Path]:
    return sorted((world.cache / "steps").glob("*.parquet"))


@pytest.mark.usefixtures("hub")
def test_roots_last_on_the_disk_and_are_used_by_the_next_process(world: World) -> None:
    assert depths(world) == {1: 1, 2: 1}
    (file,) = lasting(world)
    RESTING.close()  # another process has no tables in memory
    written = file.stat().st_ino
    assert depths(world) == {1: 1, 2: 1}
    assert [one.stat().st_ino for one in lasting(world)] == [written]


@pytest.mark.usefixtures("hub")
def test_what_lasts_may_be_deleted_at_any_time(world: World) -> None:
    assert depths(world) == {1: 1, 2: 1}
    for file in lasting(world):
        file.unlink()
    assert depths(world) == {1: 1, 2: 1}
    RESTING.close()
    shutil.rmtree(world.cache)
    assert depths(world) == {1: 1, 2: 1}


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("left", [0, 4, 200])
def test_a_torn_file_is_made_anew(world: World, left: int) -> None:
    assert depths(world) == {1: 1, 2: 1}
    RESTING.close()
    (file,) = lasting(world)
    file.write_bytes(file.read_bytes()[:left])
    assert depths(world) == {1: 1, 2: 1}
    (file,) = lasting(world)  # rows are written in any order, so its length may differ by bytes
    assert file.read_bytes()[-4:] == b"PAR1"


@pytest.mark.usefixtures("hub")
def test_a_world_whose_cache_cannot_be_written_is_asked_all_the_same(world: World) -> None:
    shutil.rmtree(world.cache, ignore_errors=True)
    world.cache.write_text("a file where a folder should be")
    assert depths(world) == {1: 1, 2: 1}


@pytest.mark.usefixtures("hub")
def test_other_data_under_the_same_name_has_other_roots(world: World, take: Take, parquet: Parquet) -> None:
    assert origins(ask(world, "downloads-by-country", fresh=True)) == {"CN": 100.0, "??": 0.0}
    world.remove(world.snapshot("hub"))
    take(parquet("hub.parquet", **columns("meta-llama")), kind="hub-stats", name="hub", date="2026-06-05")
    assert origins(ask(world, "downloads-by-country", fresh=True)) == {"US": 100.0, "??": 0.0}


@pytest.mark.usefixtures("hub")
def test_another_registry_gives_other_countries_at_once(world: World) -> None:
    before = origins(ask(world, "downloads-by-country", fresh=True))
    world.registry_folder.mkdir(parents=True, exist_ok=True)
    (world.registry_folder / "mine.accounts.csv").write_text("account,country\nQwen,FR\n")
    after = origins(ask(world, "downloads-by-country", fresh=True))
    assert (before["CN"], after["FR"]) == (100.0, 100.0)


@pytest.mark.usefixtures("hub")
def test_choices_do_not_share_what_they_change(world: World) -> None:
    steps = [ask(world, "chain-depth", Choices(steps=steps), fresh=True).rows() for steps in (8, 1, 8)]
    assert [len(rows) for rows in steps] == [2, 1, 2]
    assert steps[0] == steps[2]


@pytest.mark.usefixtures("hub")
def test_preparing_makes_what_the_first_question_would(world: World) -> None:
    prepare(world, world.snapshot("hub"))
    prepared = [file.name for file in lasting(world)]
    assert len(prepared) == 2  # roots and series
    RESTING.close()
    depths(world)
    ask(world, "automated-series", fresh=True)
    ask(world, "downloads-by-country", Choices(exclude=("series",)), fresh=True)
    assert [file.name for file in lasting(world)] == prepared


@pytest.mark.usefixtures("hub")
def test_a_resting_reader_is_used_again_and_by_one_question_at_a_time(world: World, readers: Readers) -> None:
    snapshots, day = world.snapshots(), date(2026, 6, 5)
    with readers.reader(world, snapshots, day) as first:
        first.define("one", "select 1 as x")
        with readers.reader(world, snapshots, day) as second:
            assert second is not first
    with readers.reader(world, snapshots, day) as third:
        assert third is first
        with pytest.raises(Exception, match="one"):
            third.table("select * from one")  # names are forgotten, tables are not


@pytest.mark.usefixtures("hub")
def test_a_reader_of_a_question_that_failed_does_not_rest(world: World, readers: Readers) -> None:
    failed: list[Reader] = []
    with pytest.raises(ZeroDivisionError), readers.reader(world, world.snapshots(), date(2026, 6, 5)) as reader:
        failed.append(reader)
        raise ZeroDivisionError
    with readers.reader(world, world.snapshots(), date(2026, 6, 5)) as reader:
        assert reader is not failed[0]


@pytest.mark.usefixtures("hub")
def test_only_so_many_readers_rest(world: World, readers: Readers) -> None:
    days = [date(2026, 6, 1 + n) for n in range(RESTING_MAX + 1)]
    used: list[Reader] = []
    for day in days:
        with readers.reader(world, world.snapshots(), day) as reader:
            used.append(reader)
    with readers.reader(world, world.snapshots(), days[-1]) as reader:
        assert reader is used[-1]
    with readers.reader(world, world.snapshots(), days[0]) as reader:
        assert reader is not used[0]
