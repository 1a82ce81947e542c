"""verify, backup, restore, rebuild, collect and verify-download, as an operator types them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hub_building import Hub, memory_folder
from xet_building import a_xorb, all_of, flip, noise

from headwater import app as root
from headwater.catalog import search
from headwater.cli import program
from headwater.ground.errors import Conflict, HeadwaterError, Invalid, Unavailable

DATA = noise("weights", 4000)
X = a_xorb("x", 1000, 2000)
DAY_S = 86_400


def run(*words: object) -> Result:
    return CliRunner().invoke(program, [str(word) for word in words], standalone_mode=False)


def ok(*words: object) -> str:
    result = run(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def refused(*words: object) -> HeadwaterError:
    error = run(*words).exception
    assert isinstance(error, HeadwaterError), error
    return error


@pytest.fixture
def full(a_hub: Hub) -> Hub:
    repo = a_hub.repo("ada/x")
    a_hub.commit(
        repo, {"README.md": b"# x\n"}, {"a.bin": a_hub.upload(repo, DATA), "b.bin": a_hub.upload_xet(repo, all_of(X))}
    )
    return a_hub


@pytest.fixture
def folder() -> Iterator[Path]:
    with memory_folder() as made:
        yield made


# --- verify ---


def test_a_sound_hub_verifies_with_exit_status_0(full: Hub) -> None:
    assert ok("verify", "--data", full.data).endswith(
        "4 objects and repos checked, 0 % of the bytes read, 0 problems\n"
    )
    report = json.loads(ok("verify", "--data", full.data, "--read-data", "100", "--json"))
    assert report == {"checked": 4, "read_percent": 100.0, "problems": []}


def test_T25_a_flipped_bit_ends_with_exit_status_22_and_names_the_file_and_its_repo(full: Hub) -> None:
    sha256 = full.upload(full.rooms.repos.registry.by_id(1), DATA)
    flip(full.object(sha256), 7)
    assert run("verify", "--data", full.data).exit_code == 0
    result = run("verify", "--data", full.data, "--read-data", "100")
    assert result.exception is not None
    assert result.exit_code == 22
    assert sha256 in result.stdout
    assert "model ada/x" in result.stdout
    # it is known from now on, whatever is read
    report = run("verify", "--data", full.data, "--json")
    assert report.exit_code == 22
    (problem,) = json.loads(report.stdout)["problems"]
    assert (problem["what"], problem["name"], problem["repos"]) == ("blob", sha256, ["model ada/x"])
    assert [file.startswith("model ada/x") for file in problem["files"]] == [True]


def test_T25_a_running_hub_stops_serving_what_verify_found(full: Hub) -> None:
    full.rooms.store.follow()
    sha256 = full.upload(full.rooms.repos.registry.by_id(1), DATA)
    assert full.read(sha256) == DATA
    flip(full.object(sha256), 7)
    run("verify", "--data", full.data, "--read-data", "100")
    full.rooms.store.follow()
    with pytest.raises(HeadwaterError):
        full.read(sha256)


def test_T25_a_database_that_cannot_be_opened_is_a_finding_with_what_to_do(full: Hub) -> None:
    full.rooms.db.close()
    path = full.rooms.db.path
    path.write_bytes(path.read_bytes()[:4096] + b"\x5a" * 8192)
    for name in ("-wal", "-shm"):
        path.with_name(path.name + name).unlink(missing_ok=True)
    result = run("verify", "--data", full.data, "--json")
    assert result.exit_code == 22
    (problem,) = json.loads(result.stdout)["problems"]
    assert (problem["what"], problem["name"]) == ("database", str(path))
    assert "restore it from a backup" in problem["text"]
    assert "headwater verify" not in problem["text"]


def test_what_goes_into_a_pipe_has_no_progress_in_it(full: Hub, folder: Path) -> None:
    for words in (("verify",), ("backup", folder / "backup"), ("rebuild",)):
        result = run(*words, "--data", full.data)
        assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("command", ["verify", "backup", "rebuild", "collect"])
def test_a_folder_that_is_no_hub_is_refused_and_left_alone(folder: Path, command: str) -> None:
    target = [folder / "target"] if command == "backup" else []
    error = refused(command, *target, "--data", folder / "nowhere")
    assert (type(error), error.exit_status) == (Invalid, 2)
    assert list(folder.iterdir()) == []


# --- backup and restore ---


def test_a_backup_restores_to_a_hub_that_verifies(full: Hub, folder: Path) -> None:
    said = ok("backup", folder / "backup", "--data", full.data)
    assert said.startswith("1 repos and 2 objects are in")
    again = json.loads(ok("backup", folder / "backup", "--data", full.data, "--json"))
    assert (again["repos"], again["objects"]) == (1, 2)
    assert again["copied_bytes"] < 1000
    assert "now run: headwater verify" in ok("restore", folder / "backup", "--data", folder / "data")
    assert "0 problems" in ok("verify", "--data", folder / "data", "--read-data", "100")


def test_a_restore_over_a_hub_is_refused(full: Hub, folder: Path) -> None:
    ok("backup", folder / "backup", "--data", full.data)
    error = refused("restore", folder / "backup", "--data", full.data)
    assert (type(error), error.exit_status) == (Conflict, 17)
    assert full.rooms.repos.registry.by_id(1).rid.full == "ada/x"


# --- rebuild, collect ---


def test_a_rebuild_makes_the_lists_anew(full: Hub) -> None:
    assert ok("rebuild", "--data", full.data) == "1 repos read again\n"
    with full.rooms.db.read() as connection:
        known = search.one(connection, 1)
    assert known is not None
    assert known.used_storage >= 7000


def test_collecting_frees_what_nobody_holds(full: Hub) -> None:
    full.clock.at_ms = 0  # the command's clock is the machine's
    full.upload(full.rooms.repos.registry.by_id(1), noise("abandoned", 100))
    found = json.loads(ok("collect", "--data", full.data, "--json"))
    nothing = {"uploads": 0, "xorbs": 0, "unnamed": 0, "packs": 0, "raw_copies": 0, "tensors": 0}
    nothing |= {"repos": 0, "second_copies": 0}
    assert found == nothing | {"holds": 1, "blobs": 1, "freed_bytes": 100}
    assert ok("collect", "--data", full.data) == "0 files and 0 xorbs collected, 0 bytes freed\n"
    assert full.read(all_of(X).real_sha256) == X.plain


def test_T10_collecting_beside_a_running_hub_is_refused(full: Hub) -> None:
    with root.owning(full.data):
        error = refused("collect", "--data", full.data)
    assert (type(error), error.exit_status) == (Unavailable, 21)


# --- verify-download ---


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


SMALL = b'{"a": 1}\n'


@pytest.fixture
def cache(folder: Path) -> Path:
    """A client's cache of one model: two blobs, a snapshot of links to them, and what is no blob."""
    repo = folder / "models--ada--x"
    names = {"config.json": git_sha1(SMALL), "model.safetensors": hashlib.sha256(DATA).hexdigest()}
    (repo / "blobs").mkdir(parents=True)
    (repo / "blobs" / names["config.json"]).write_bytes(SMALL)
    (repo / "blobs" / names["model.safetensors"]).write_bytes(DATA)
    (repo / "blobs" / f"{'ab' * 32}.incomplete").write_bytes(b"half")
    (repo / "blobs" / ("not-a-hash-but-as-long-as-one" + "-" * 10)).write_bytes(b"x")
    snapshot = repo / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    for name, blob in names.items():
        (snapshot / name).symlink_to(f"../../blobs/{blob}")
    return folder


@pytest.fixture
def local(folder: Path) -> Path:
    """What `hf download --local-dir` leaves."""
    data = folder / "local"
    for name, content, etag in [
        ("config.json", SMALL, git_sha1(SMALL)),
        ("sub/model.safetensors", DATA, hashlib.sha256(DATA).hexdigest()),
    ]:
        note = data / ".cache/huggingface/download" / f"{name}.metadata"
        for path in (note, data / name):
            path.parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(content)
        note.write_text(f"{'c' * 40}\n{etag}\n1767225600.0\n")
    return data


def downloaded(path: Path) -> tuple[int, dict[str, Any]]:
    result = run("verify-download", path, "--json")
    return result.exit_code, json.loads(result.stdout)


@pytest.mark.parametrize("below", ["", "models--ada--x", "models--ada--x/snapshots/" + "c" * 40])
def test_T26_a_clients_cache_is_checked_from_the_cache_the_model_or_the_snapshot(cache: Path, below: str) -> None:
    assert downloaded(cache / below) == (0, {"checked": 2, "wrong": []})
    path = cache / "models--ada--x/blobs" / hashlib.sha256(DATA).hexdigest()
    flip(path, 99)
    status, report = downloaded(cache / below)
    assert (status, [wrong["file"] for wrong in report["wrong"]]) == (22, [str(path)])


def test_T26_a_local_folder_is_checked_by_what_the_client_noted(local: Path) -> None:
    assert downloaded(local) == (0, {"checked": 2, "wrong": []})
    flip(local / "sub/model.safetensors", 99)
    status, report = downloaded(local)
    assert (status, [wrong["file"] for wrong in report["wrong"]]) == (22, [str(local / "sub/model.safetensors")])
    assert report["wrong"][0]["expected"] == hashlib.sha256(DATA).hexdigest()


def test_T26_a_file_that_is_gone_is_wrong(local: Path) -> None:
    (local / "config.json").unlink()
    assert downloaded(local)[1]["wrong"] == [
        {"file": str(local / "config.json"), "expected": git_sha1(SMALL), "got": ""}
    ]


def test_what_is_found_is_told_in_words_too(local: Path) -> None:
    assert ok("verify-download", local) == "2 files checked, 0 wrong\n"
    flip(local / "config.json")
    result = run("verify-download", local)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (22, "2 files checked, 1 wrong")
    assert "config.json" in result.stdout


def test_a_folder_below_another_one_that_a_client_made_is_told_by_its_own_notes(local: Path) -> None:
    inner = local / ".cache/huggingface/download/inner"
    shutil.copytree(local / "sub", inner)
    assert downloaded(local)[0] == 0


@pytest.mark.parametrize("content", ["nothing", "file called blobs", "damaged notes"])
def test_a_folder_without_a_download_is_refused(folder: Path, content: str) -> None:
    if content == "file called blobs":
        (folder / "blobs").write_text("x")
    elif content == "damaged notes":
        note = folder / ".cache/huggingface/download/a.metadata"
        note.parent.mkdir(parents=True)
        note.write_bytes(b"\xff\xfe\n\xff\n")
    error = refused("verify-download", folder)
    assert (type(error), error.exit_status) == (Invalid, 2)
