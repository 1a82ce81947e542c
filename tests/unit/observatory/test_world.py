"""Snapshots: they appear whole, stay as they are, and are found again."""

from __future__ import annotations

import os
import time

import msgspec
import pytest

from headwater.ground.errors import Corrupt, EntryMissing, Invalid
from headwater.observatory.world import INCOMING_AGE_MAX_S, Manifest, Snapshot, World, moment, source_name


def manifest(name: str = "hub", date: str = "2026-08-22", sha256: str = "a" * 64) -> Manifest:
    return Manifest(
        id="", source="hub-stats", name=name, date=date, imported_at="2026-11-21T00:00:00Z", version=1, licence="MIT",
        attribution="somebody", url="", ship="yes", biases="", rows={}, unread=0, sha256=sha256,
    )  # fmt: skip


def made(world: World, **fields: str) -> Snapshot:
    with world.importing() as draft:
        return world.finish(draft, manifest(**fields))


def test_a_world_without_a_folder_has_no_snapshots(world: World) -> None:
    assert world.snapshots() == []
    assert not world.root.exists()


def test_a_finished_import_is_a_snapshot_with_its_manifest(world: World) -> None:
    one = made(world)
    assert [found.id for found in world.snapshots()] == ["hub@2026-08-22"]
    assert world.snapshots()[0].manifest == one.manifest
    assert World(world.root).snapshots()[0].manifest.attribution == "somebody"


def test_an_import_that_fails_leaves_nothing(world: World) -> None:
    with pytest.raises(ZeroDivisionError), world.importing() as draft:
        (draft.folder / "model.parquet").write_bytes(b"half")
        raise ZeroDivisionError
    assert world.snapshots() == []
    assert list((world.root / "incoming").iterdir()) == []


def test_what_a_killed_import_left_is_no_snapshot_and_is_swept_later(world: World) -> None:
    left = world.root / "incoming" / "dead"
    left.mkdir(parents=True)
    (left / "manifest.json").write_text("{}")
    assert world.snapshots() == []
    old = time.time() - INCOMING_AGE_MAX_S - 10
    os.utime(left, (old, old))
    with world.importing():
        assert not left.exists()


def test_two_imports_of_one_name_and_day_are_both_kept(world: World) -> None:
    first, second, third = made(world), made(world, sha256="b" * 64), made(world, sha256="b" * 64)
    assert first.id == "hub@2026-08-22"
    assert second.id == "hub@2026-08-22-bbbbbbbb"
    assert third.id.startswith("hub@2026-08-22-")
    assert len({one.id for one in world.snapshots()}) == 3


def test_the_same_input_is_found_by_name_hash_and_date(world: World) -> None:
    one = made(world)
    assert world.same_input("hub", "a" * 64, "2026-08-22") == one
    assert world.same_input("hub", "a" * 64, "2026-08-23") is None
    assert world.same_input("hub", "b" * 64, "2026-08-22") is None
    assert world.same_input("other", "a" * 64, "2026-08-22") is None


def test_a_name_means_the_newest_snapshot_of_it(world: World) -> None:
    made(world, date="2026-08-22")
    made(world, date="2025-01-01", sha256="b" * 64)
    assert world.snapshot("hub").id == "hub@2026-08-22"
    assert world.snapshot("hub@2025-01-01").id == "hub@2025-01-01"
    assert world.snapshot("hub@2025").id == "hub@2025-01-01"


def test_an_unknown_or_ambiguous_snapshot_is_refused_with_the_known_ones(world: World) -> None:
    made(world, date="2026-08-22")
    made(world, date="2025-01-01", sha256="b" * 64)
    with pytest.raises(EntryMissing, match=r"is the beginning of several.*hub@2025-01-01"):
        world.snapshot("hub@20")
    with pytest.raises(EntryMissing, match="is not known"):
        world.snapshot("nothing")


def test_a_removed_snapshot_is_gone_and_may_come_back(world: World) -> None:
    world.remove(made(world))
    assert world.snapshots() == []
    assert made(world, sha256="c" * 64).manifest == world.snapshots()[0].manifest


def test_a_damaged_manifest_is_said_to_be_so(world: World) -> None:
    one = made(world)
    (one.folder / "manifest.json").chmod(0o644)
    (one.folder / "manifest.json").write_text("{" * 5000)
    with pytest.raises(Corrupt, match=r"manifest\.json"):
        World(world.root).snapshots()


def test_a_manifest_survives_fields_that_a_later_version_adds(world: World) -> None:
    one = made(world)
    file = one.folder / "manifest.json"
    file.chmod(0o644)
    file.write_bytes(msgspec.json.encode({**msgspec.to_builtins(one.manifest), "novel": [1]}))
    assert World(world.root).snapshots()[0].id == one.id


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", ".x", "x" * 81, "a..b", "a\n"])
def test_a_name_that_is_no_folder_name_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="name"):
        source_name(name)


@pytest.mark.parametrize("text", ["2026", "2026-13-01", "yesterday", "2026-08-22 20:00", "2026-08-22T20:00:00Z"])
def test_a_date_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="date"):
        moment(text)
