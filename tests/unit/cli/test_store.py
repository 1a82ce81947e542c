"""`headwater store`, command by command, on a hub with a base, a model tuned from it, and a text."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hub_building import Hub, memory_folder, open_hub
from sqlalchemy import select

from headwater.accounts import OPERATOR
from headwater.cli import store
from headwater.cli.store import size_text, store_commands
from headwater.ground import jobs, names
from headwater.ground.errors import EntryMissing, Invalid, RepoMissing, Unavailable
from headwater.ground.names import Sha256
from headwater.lineage.following import RESEAL
from headwater.repos.tables import repo as repo_table
from headwater.store import sealing, tables
from headwater.upkeep import backup as keeping
from headwater.upkeep import verify as checking


def _model(drift: float) -> bytes:
    chance, tuning = np.random.default_rng(1), np.random.default_rng(2)
    values = chance.normal(0, 0.02, (96, 128)).astype("<f4") + tuning.normal(0, 1, (96, 128)) * drift
    data = (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    told = {"dtype": "BF16", "shape": [96, 128], "data_offsets": [0, len(data)]}
    text = json.dumps({"layer.weight": told}).encode()
    return len(text).to_bytes(8, "little") + text + data


BASE, TUNED = _model(0.0), _model(1e-5)
TEXT = b"a line that comes again and again\n" * 2000


@pytest.fixture
def filled(a_hub: Hub) -> Hub:
    base, tuned = a_hub.repo("ada/base"), a_hub.repo("ada/tuned")
    a_hub.commit(base, large={"model.safetensors": a_hub.upload(base, BASE)})
    a_hub.commit(tuned, large={"model.safetensors": a_hub.upload(tuned, TUNED), "notes.txt": a_hub.upload(tuned, TEXT)})
    return a_hub


def run(hub: Hub, *words: str, wanted: int = 0) -> str:
    result = tried(hub, *words)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == wanted, result.output
    return result.stdout


def tried(hub: Hub, *words: str) -> Result:
    return CliRunner().invoke(store_commands, [*words, "--data", str(hub.data)], standalone_mode=False)


def told(hub: Hub, *words: str) -> Any:
    return json.loads(run(hub, *words, "--json"))


def lines(text: str) -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_all_repos_are_sealed_and_each_file_is_told_with_what_became_of_it(filled: Hub) -> None:
    reports = lines(run(filled, "seal", "--all", "--json"))
    assert {(one["repo"], one["file"], one["sealed"]) for one in reports} == {
        ("ada/base", "model.safetensors", True),
        ("ada/tuned", "model.safetensors", True),
        ("ada/tuned", "notes.txt", True),
    }
    assert sum(one["derived"] for one in reports) == 1
    assert "it is sealed" in run(filled, "seal", "ada/tuned")
    stats = told(filled, "stats")
    assert (stats["files"], stats["sealed"], stats["damaged"], stats["paused"]) == (3, 3, 0, False)
    assert stats["live_bytes"] < 0.9 * stats["raw_bytes"]
    assert "3 files" in run(filled, "stats")


@pytest.mark.parametrize("words", [("seal",), ("seal", "ada/base", "--all"), ("rebase",)])
def test_a_repo_or_all_has_to_be_said_and_not_both(filled: Hub, words: tuple[str, ...]) -> None:
    with pytest.raises(Invalid, match="name a repo, or say --all"):
        run(filled, *words)


def test_a_file_is_explained_tensor_by_tensor(filled: Hub) -> None:
    assert told(filled, "explain", "ada/tuned")[0]["state"] == "raw"
    run(filled, "seal", "--all")
    (found,) = told(filled, "explain", "ada/tuned", "model.safetensors")
    (tensor,) = found["tensors"]
    assert (tensor["name"], tensor["dtype"], tensor["shape"]) == ("layer.weight", "BF16", [96, 128])
    assert (tensor["depth"] > 0) == bool(tensor["parents"])
    shown = run(filled, "explain", "ada/tuned", "model.safetensors")
    (row,) = [line for line in shown.splitlines() if line.startswith("layer.weight")]  # a tensor is one line
    (base,) = told(filled, "explain", "ada/base", "model.safetensors")[0]["tensors"]
    stands = tensor if tensor["parents"] else base
    (stood_on,) = {"ada/base/model.safetensors", "ada/tuned/model.safetensors"} & set(stands["stored_on"])
    if stands is tensor:
        assert stood_on in row
    with pytest.raises(EntryMissing, match=r"no large file 'other\.bin'"):
        run(filled, "explain", "ada/tuned", "other.bin")


def test_leaving_says_for_whom_something_stays(filled: Hub) -> None:
    run(filled, "seal", "--all")
    both = {"ada/base", "ada/tuned"}
    kept = {name: told(filled, "leave", name)["kept_for"] for name in both}
    (base,) = [name for name in both if kept[name]]
    assert kept[base] == sorted(both - {base})
    assert "1 repo depends on it" in run(filled, "leave", base)
    assert "Frees" in run(filled, "leave", "ada/tuned")


def test_verify_is_content_and_exits_with_22_when_a_pack_is_damaged(filled: Hub) -> None:
    run(filled, "seal", "--all")
    assert told(filled, "verify")["problems"] == []
    _drop_raw(filled)
    (pack,) = (filled.data / "store" / "packs").iterdir()
    data = bytearray(pack.read_bytes())
    data[200] ^= 1
    pack.write_bytes(data)
    (found, *_) = json.loads(run(filled, "verify", "--json", wanted=22))["problems"]
    assert {"model ada/base/model.safetensors", "model ada/tuned/model.safetensors"} & set(found["named"])
    said = run(filled, "verify", wanted=22)  # it is known from now on
    assert "0 problems" not in said
    assert "\n  touches model ada/" in said


def test_what_sweep_takes_is_never_the_last_right_copy_of_what_verify_marked(filled: Hub) -> None:
    run(filled, "seal", "--all")
    with filled.rooms.db.write() as connection:
        connection.execute(tables.blob.update().values(raw="leaving"))
    filled.rooms.store._rows.clear()
    (pack,) = (filled.data / "store" / "packs").iterdir()
    data = bytearray(pack.read_bytes())
    data[200:264] = bytes(byte ^ 0xFF for byte in data[200:264])
    pack.write_bytes(data)
    assert "model ada/base/model.safetensors" in run(filled, "verify", wanted=22)
    for _ in range(2):
        run(filled, "sweep")
    for file in (BASE, TUNED, TEXT):
        assert filled.read(hashlib.sha256(file).hexdigest()) == file
    assert told(filled, "verify")["problems"] == []


def _drop_raw(hub: Hub) -> None:
    with hub.rooms.db.write() as connection:
        connection.execute(tables.blob.update().values(raw="gone"))
    for file in (hub.data / "store" / "blobs").glob("*/*"):
        file.unlink()
    hub.rooms.store._rows.clear()  # as after a start


def test_rebase_says_what_was_stored_anew(filled: Hub) -> None:
    run(filled, "seal", "--all")
    reports = lines(run(filled, "rebase", "--all", "--json"))
    assert len(reports) == 3
    assert told(filled, "verify")["problems"] == []


def test_T34_sealing_by_hand_leaves_no_public_file_on_a_private_one(a_hub: Hub) -> None:
    hidden, tuned = a_hub.repo("ada/hidden", private=True), a_hub.repo("ada/tuned", private=True)
    a_hub.commit(hidden, large={"model.safetensors": a_hub.upload(hidden, BASE)})
    a_hub.commit(tuned, large={"model.safetensors": a_hub.upload(tuned, TUNED)})
    run(a_hub, "seal", "--all")
    assert told(a_hub, "explain", "ada/tuned")[0]["tensors"][0]["parents"]
    shown = a_hub.repo("ada/shown")
    two = {f"{note}.safetensors": a_hub.upload(shown, _noted(TUNED, note)) for note in ("one", "two")}
    a_hub.commit(shown, large=two)
    run(a_hub, "seal", "--all")
    for one in told(a_hub, "explain", "ada/shown"):
        assert [(tensor["others"], tensor["parents"]) for tensor in one["tensors"]] == [(2, [])]


def _noted(model: bytes, note: str) -> bytes:
    """The same tensors in another file."""
    text, data = model[8:].split(b"}}", 1)
    text += b'},"__metadata__":{"note":"' + note.encode() + b'"}}'
    return len(text).to_bytes(8, "little") + text + data


def test_sweep_collects_what_a_deleted_repo_leaves(filled: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    run(filled, "seal", "--all")
    with filled.rooms.db.read() as connection:
        assert len(connection.execute(select(repo_table.c.id)).all()) == 2
    for name in ("ada/base", "ada/tuned"):
        _delete(filled, name)
    monkeypatch.setenv("HEADWATER_UPLOAD_GRACE_S", "0")
    swept = told(filled, "sweep")
    assert swept["blobs"] == 3
    assert swept["tensors"] > 0
    assert told(filled, "stats")["disk_bytes"] == 0


def _delete(hub: Hub, name: str) -> None:
    hub.rooms.repos.registry.delete(OPERATOR, names.repo_id("model", name))


def test_a_purge_takes_what_no_repo_holds_and_refuses_what_one_does(filled: Hub) -> None:
    run(filled, "seal", "--all")
    sha256 = hashlib.sha256(BASE).hexdigest()
    result = tried(filled, "purge", sha256, "--yes")
    assert "still held" in str(result.exception)
    _delete(filled, "ada/base")
    filled.clock.advance(1)
    assert told(filled, "purge", sha256, "--yes")["files"] == 1
    with filled.rooms.db.read() as connection:
        soon = list(connection.execute(select(jobs.job.c.key).where(jobs.job.c.kind == RESEAL)).scalars())
    assert soon == [hashlib.sha256(TUNED).hexdigest()]  # which looks for another relative
    assert told(filled, "verify")["problems"] == []
    with pytest.raises(RepoMissing):  # the destroyed file was its: it is not brought back without
        filled.rooms.repos.registry.find_deleted(OPERATOR, names.repo_id("model", "ada/base"))


def test_pause_and_resume_leave_a_mark_that_the_sealing_process_sees(filled: Hub) -> None:
    store = filled.data / "store"
    run(filled, "pause")
    assert sealing.is_paused(store)
    assert told(filled, "stats")["paused"] is True
    run(filled, "resume")
    run(filled, "resume")
    assert not sealing.is_paused(store)


def test_a_folder_that_is_no_hub_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(store_commands, ["stats", "--data", str(tmp_path)], standalone_mode=False)
    assert "no data folder" in str(result.exception)


def test_sizes_are_told_in_units_that_people_read() -> None:
    assert [size_text(n) for n in (0, 1023, 1024, 1536, 3 << 30, 5 << 40)] == [
        "0 B", "1023 B", "1 KiB", "1.5 KiB", "3 GiB", "5 TiB",
    ]  # fmt: skip


def test_a_backup_holds_sealed_files_and_is_whole_without_their_raw_bytes(filled: Hub) -> None:
    run(filled, "seal", "--all")
    _drop_raw(filled)
    with memory_folder() as folder:
        keeping.backup(filled.data, folder / "backup", "1", "2026-11-22T00:00:00.000Z", lambda _done, _total: None)
        keeping.restore(folder / "backup", folder / "data", lambda _done, _total: None)
        back = open_hub(folder / "data")
        for data in (BASE, TUNED, TEXT):
            (sha256,) = {
                one for one in _names(filled) if _size(filled, one) == len(data) and _read(filled, one) == data
            }
            assert _read(back, sha256) == data
        rooms = back.rooms
        assert list(checking.verify(rooms.db, rooms.repos, rooms.store, rooms.xets, 100, lambda _count: None)) == []
        rooms.db.close()


def _names(hub: Hub) -> list[Sha256]:
    with hub.rooms.db.read() as connection:
        return [Sha256(one) for one in connection.execute(select(tables.blob.c.sha256)).scalars()]


def _size(hub: Hub, sha256: Sha256) -> int:
    return hub.rooms.store.blob(sha256).size


def _read(hub: Hub, sha256: Sha256) -> bytes:
    return b"".join(hub.rooms.store.read(sha256))


def test_the_program_loads_the_commands_only_when_they_are_asked_for() -> None:
    code = "import sys, headwater.cli; sys.exit('headwater.cli.store' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_process_that_seals_waits_for_a_busy_database(filled: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def busy(*_: object, **__: object) -> int:
        asked.append(1)
        raise Unavailable("The database is busy.")

    monkeypatch.setattr(jobs.Runner, "drain", busy)
    monkeypatch.setattr(sealing, "be_the_child", lambda: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(store, "IDLE_S", 0.02)
    monkeypatch.setattr(store, "LOOK_S", 0.001)
    run(filled, "work")
    assert asked
