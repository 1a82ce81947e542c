"""What is exported is what another hub has after the import: every ref, every file, every time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundle_building import (
    ALL,
    BARE,
    DATASET,
    LFS,
    MODEL,
    OLD,
    SEALED,
    SEALED_REPO,
    Bundle,
    exported,
    files_of,
    imported,
    main_of,
    nothing,
    rooms_of,
    state,
)
from hub_building import Hub, open_hub
from xet_building import sha256_of

from headwater.accounts import OPERATOR
from headwater.carry.export import Wanted, export
from headwater.carry.landing import JOB, Landing, last_import
from headwater.carry.parts import PartsReader
from headwater.ground import events
from headwater.ground.errors import Conflict, Corrupt, DigestMismatch, Invalid, TooMuch, Unavailable
from headwater.ground.jobs import Runner, enqueue
from headwater.ground.names import RefName, RepoId
from headwater.repos import RefMove, objects, pointers
from headwater.repos.objects import CommitObject


def test_everything_that_was_exported_is_there_after_the_import(source: Hub, target: Hub, bundle: Bundle) -> None:
    landed = imported(target, bundle.folder)
    assert [one.created for one in landed] == [True] * len(ALL)
    assert state(target) == state(source)
    refs = state(target)["model ada/m"]["refs"]
    assert {"refs/heads/main", "refs/heads/dev", "refs/tags/v1", "refs/tags/v2", "refs/pr/1"} == set(refs)
    assert state(target)["dataset ada/d"]["private"]
    assert files_of(target, SEALED_REPO, main_of(target, SEALED_REPO))["model.safetensors"] == SEALED
    assert not list((target.data / "carry").iterdir())


def test_importing_again_changes_nothing(target: Hub, bundle: Bundle) -> None:
    imported(target, bundle.folder)
    before = state(target)
    with target.rooms.db.read() as connection:
        last = events.last_id(connection)
    packs = sorted((target.data / "git").rglob("*.pack"))
    landed = imported(target, bundle.folder)
    assert all(not one.created and not one.moved and not one.ahead for one in landed)
    assert state(target) == before
    with target.rooms.db.read() as connection:
        assert events.last_id(connection) == last
    assert sorted((target.data / "git").rglob("*.pack")) == packs


def test_a_later_bundle_brings_what_is_new(source: Hub, target: Hub, bundle: Bundle, folder: Path) -> None:
    imported(target, bundle.folder)
    model = source.rooms.repos.open(OPERATOR, MODEL, "read")
    source.commit(model, {"later.txt": b"later\n"}, {"later.bin": source.upload(model, b"later" * 1000)})
    exported(source, folder / "later", MODEL)
    landed = imported(target, folder / "later")
    assert landed[0].moved == ["refs/heads/main"]
    assert state(target) == state(source)


def test_pull_refs_are_left_out_unless_asked_for(source: Hub, target: Hub, folder: Path) -> None:
    exported(source, folder / "b", MODEL, pulls=False)
    imported(target, folder / "b")
    assert "refs/pr/1" not in state(target)["model ada/m"]["refs"]


def test_a_repo_gets_another_namespace_or_another_name(target: Hub, source: Hub, bundle: Bundle, folder: Path) -> None:
    target.rooms.accounts.create_org(OPERATOR, "lab", "", None)
    exported(source, folder / "one", BARE)
    assert [one.repo for one in imported(target, folder / "one", name="lab/copy")] == ["model lab/copy"]
    assert {one.repo for one in imported(target, bundle.folder, into="lab")} >= {"model lab/m", "dataset lab/d"}
    with pytest.raises(Invalid, match="--into"):
        imported(target, bundle.folder, name="lab/other")
    with pytest.raises(Invalid, match="no user or organization 'nobody'"):
        imported(target, bundle.folder, into="nobody")


def test_a_snapshot_is_one_commit_with_the_files_of_a_revision(source: Hub, target: Hub, folder: Path) -> None:
    exported(source, folder / "s", MODEL, revision="v1")
    imported(target, folder / "s")
    refs = state(target)["model ada/m"]["refs"]
    assert set(refs) == {"refs/heads/main", "refs/tags/v1"}
    assert files_of(target, MODEL, refs["refs/heads/main"]) == files_of(source, MODEL, _target(source, "refs/tags/v1"))
    assert target.rooms.store.find(sha256_of(LFS)) is None
    assert target.rooms.store.find(sha256_of(OLD)) is not None
    exported(source, folder / "t", MODEL, revision="v1")
    assert all(not one.moved for one in imported(target, folder / "t"))


def _target(hub: Hub, ref: str) -> str:
    return hub.rooms.repos.git.refs(hub.rooms.repos.open(OPERATOR, MODEL, "read").id)[ref]


# --- what is here already ---


def test_what_went_another_way_here_is_refused_and_force_has_it(target: Hub, source: Hub, bundle: Bundle) -> None:
    mine = target.repo("ada/m")
    target.commit(mine, {"mine.txt": b"mine\n"})
    before = state(target)
    with pytest.raises(Conflict, match="refs/heads/main went another way"):
        imported(target, bundle.folder)
    assert state(target) == before
    imported(target, bundle.folder, force=True)
    assert main_of(target) == main_of(source)


def test_a_repo_that_is_ahead_of_the_bundle_stays(target: Hub, bundle: Bundle) -> None:
    imported(target, bundle.folder)
    model = target.rooms.repos.open(OPERATOR, MODEL, "read")
    commit = target.commit(model, {"mine.txt": b"mine\n"})
    landed = next(one for one in imported(target, bundle.folder) if one.repo == "model ada/m")
    assert landed.ahead == ["refs/heads/main"]
    assert main_of(target) == commit


def test_another_commit_under_a_tag_is_refused(target: Hub, bundle: Bundle) -> None:
    imported(target, bundle.folder)
    model = target.rooms.repos.open(OPERATOR, MODEL, "read")
    target.rooms.repos.refs.delete_tag(target.ada, model, "v2")
    target.rooms.repos.refs.create_tag(target.ada, model, "v2", "v1")
    with pytest.raises(Conflict, match="refs/tags/v2"):
        imported(target, bundle.folder)


def test_a_private_repo_does_not_land_in_a_public_one(target: Hub, bundle: Bundle) -> None:
    target.repo("ada/d", "dataset")
    with pytest.raises(Conflict, match="is private where it comes from"):
        imported(target, bundle.folder)


def test_files_larger_than_the_hub_takes_are_refused_before_a_byte_is_read(
    source: Hub, folder: Path, target: Hub
) -> None:
    exported(source, folder / "b", MODEL)
    target.rooms.store._file_max = len(LFS) - 1
    with pytest.raises(TooMuch, match="lfs_file_max"):
        imported(target, folder / "b")


# --- beside a running hub ---


def test_the_running_hub_lands_what_another_process_checked(target: Hub, source: Hub, bundle: Bundle) -> None:
    landed = imported(target, bundle.folder, owning=_HubThatRuns(target).owned)
    assert len(landed) == len(ALL)
    assert state(target) == state(source)


def test_what_the_running_hub_refuses_is_told(target: Hub, bundle: Bundle) -> None:
    def late() -> None:
        mine = target.repo("ada/m")
        target.commit(mine, {"mine.txt": b"mine\n"})

    with pytest.raises(Conflict, match="went another way"):
        imported(target, bundle.folder, owning=_HubThatRuns(target, late).owned)


class _HubThatRuns:
    """Another owner of the data folder, with a thread that does the jobs."""

    def __init__(self, hub: Hub, before: object = None) -> None:
        self._hub, self._before = hub, before
        self._asked = 0

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        self._asked += 1
        if self._asked == 2:  # the job is in the table by now
            if callable(self._before):
                self._before()
            thread = threading.Thread(target=self._work)
            thread.start()
            thread.join()
        raise Unavailable("Another Headwater serves here")
        yield

    def _work(self) -> None:
        rooms = self._hub.rooms
        landing = Landing(rooms.db, rooms.clock, rooms.repos, rooms.store, self._hub.data)
        assert Runner(rooms.db, rooms.clock, {JOB: landing.work}).drain() == 1


def test_a_job_whose_import_is_gone_does_nothing(target: Hub) -> None:
    rooms = target.rooms
    landing = Landing(rooms.db, rooms.clock, rooms.repos, rooms.store, target.data)
    with rooms.db.write() as connection:
        enqueue(connection, rooms.clock, JOB, "gone", {})
    assert Runner(rooms.db, rooms.clock, {JOB: landing.work}).drain() == 1
    assert state(target) == {}


# --- exporting ---


def test_a_folder_that_is_not_empty_is_not_written_to(source: Hub, folder: Path) -> None:
    (folder / "b").mkdir()
    (folder / "b" / "mine").touch()
    with pytest.raises(Conflict, match="is not empty"):
        exported(source, folder / "b")


def test_a_damaged_file_ends_the_export_and_there_is_no_bundle(source: Hub, folder: Path) -> None:
    path = source.object(sha256_of(LFS))
    path.write_bytes(bytes(len(LFS)))
    with pytest.raises(Corrupt, match=f"ada/m, file {sha256_of(LFS)}: .* is damaged"):
        exported(source, folder / "b", MODEL)
    assert not (folder / "b" / "manifest.json").exists()
    with pytest.raises(Invalid, match="no finished bundle"):
        PartsReader(folder / "b")


def test_a_file_of_several_repos_is_in_the_bundle_once(bundle: Bundle) -> None:
    assert sum(one["sha256"] == sha256_of(LFS) for one in bundle.manifest["files"]) == 1
    assert sum(sha256_of(LFS) in one["large"] for one in bundle.manifest["repos"]) == 2
    assert sum(one["size"] for one in bundle.manifest["files"]) == len(bundle.stream())


def test_the_manifest_tells_the_licence_and_where_it_comes_from(bundle: Bundle, source: Hub) -> None:
    model = bundle.manifest["repos"][0]
    assert (model["name"], model["licence"]) == ("ada/m", "mit")
    assert bundle.manifest["source"]["name"] == "https://hub.test"
    secret = (source.data / "secret").read_bytes()
    assert secret.hex() not in json.dumps(bundle.manifest)


def test_an_import_is_written_down_in_the_events(target: Hub, bundle: Bundle) -> None:
    imported(target, bundle.folder)
    with target.rooms.db.read() as connection:
        repo = target.rooms.repos.open(OPERATOR, MODEL, "read")
        last = last_import(connection, repo.id, bundle.manifest["source"]["id"])
        assert last is not None
        assert (last.sequence, last.bundle) == (bundle.manifest["sequence"], bundle.manifest["id"])
        assert last_import(connection, repo.id, "0" * 32) is None


def test_a_hub_that_is_started_anew_has_it_all(target: Hub, source: Hub, bundle: Bundle, folder: Path) -> None:
    imported(target, bundle.folder)
    shutil.copytree(target.data, folder / "again")
    again = open_hub(folder / "again")
    assert state(again) == state(source)
    again.close()


def test_the_manifest_that_was_told_is_compared(target: Hub, bundle: Bundle) -> None:
    with pytest.raises(DigestMismatch, match="manifest"):
        imported(target, bundle.folder, expect="0" * 64)
    told = hashlib.sha256(bundle.path.read_bytes()).hexdigest()
    assert imported(target, bundle.folder, expect=told.upper())


def test_parts_too_small_and_bundles_of_nothing_are_refused(source: Hub, folder: Path) -> None:
    with pytest.raises(Invalid, match="part size"):
        exported(source, folder / "b", part=100)
    with pytest.raises(TooMuch):
        export(rooms_of(source), Wanted(()), folder / "c", 10_000, nothing)


def test_two_repos_that_would_get_one_name_are_refused(source: Hub, target: Hub, folder: Path) -> None:
    source.rooms.accounts.create_org(OPERATOR, "lab", "", None)
    source.rooms.repos.registry.create(OPERATOR, RepoId("model", "lab", "m"), False)
    exported(source, folder / "b", MODEL, RepoId("model", "lab", "m"))
    with pytest.raises(Invalid, match="the same name"):
        imported(target, folder / "b", into="ada")


def test_the_dataset_keeps_its_type(target: Hub, bundle: Bundle) -> None:
    imported(target, bundle.folder)
    assert files_of(target, DATASET, main_of(target, DATASET))["rows.bin"] == LFS


def test_links_programs_and_submodules_are_carried_as_git_has_them(source: Hub, target: Hub, folder: Path) -> None:
    repos, repo = source.rooms.repos, source.repo("ada/odd")
    pack = repos.git.pack()
    pointer = pointers.text(source.upload(repo, LFS), len(LFS))  # in a listing, a link's text is no pointer
    items = [
        (objects.EXECUTABLE, b"run.sh", pack.add("blob", b"#!/bin/sh\n")),
        (objects.SYMLINK, b"link", pack.add("blob", pointer)),
        (objects.SUBMODULE, b"sub", bytes.fromhex("12" * 20)),
        (
            objects.FOLDER,
            b"deep",
            pack.add("tree", objects.encode_tree([(objects.FILE, b"x", pack.add("blob", b"x"))])),
        ),
    ]
    made = CommitObject(pack.add("tree", objects.encode_tree(items)).hex(), (), "ada", "a@x", 0, "odd\n")
    commit = pack.add("commit", objects.encode_commit(made)).hex()
    repos.git.land(repo.id, pack)
    repos.moves.apply(source.ada, repo, [RefMove(RefName("refs/heads/odd"), None, commit)], "test")

    exported(source, folder / "b", repo.rid)
    bundle = Bundle(folder / "b")
    listing = next(ref for ref in bundle.manifest["repos"][0]["refs"] if ref["name"] == "refs/heads/odd")["listing"]
    lines = [json.loads(line) for line in bundle.file(listing).splitlines()]
    assert [line[:2] for line in lines] == [
        ["deep/x", "100644"], ["link", "120000"], ["run.sh", "100755"], ["sub", "160000"]
    ]  # fmt: skip
    assert lines[1][2] == hashlib.sha256(pointer).hexdigest()
    assert bundle.manifest["repos"][0]["large"] == [sha256_of(LFS)]
    imported(target, folder / "b")
    assert state(target)["model ada/odd"]["refs"]["refs/heads/odd"] == commit

    odd_alone = [ref for ref in bundle.manifest["repos"][0]["refs"] if ref["name"] == "refs/heads/odd"]
    bundle.change(lambda manifest: manifest["repos"][0].update(refs=odd_alone))
    assert bundle.verified("--extract", folder / "out")[0] == 0
    out = folder / "out" / "models" / "ada" / "odd"
    assert {str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir()} == {"deep/x", "run.sh"}
