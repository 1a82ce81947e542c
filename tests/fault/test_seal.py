"""Sealing with the process killed at each of its steps, and beside a serving hub: no file ever loses a byte."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from fault_hub import LFS_JSON, Gone, Hub, clone_of, problems, until

Hubs = Callable[..., Hub]

SEALING = ("pack.blocks", "seal.packed", "seal.proven", "seal.switched")
EVICTING = ("evict.leaving", "evict.deleted", "evict.virtual")
TWICE = ("twice.written", "twice.named")
SWEEPING = ("sweep.tensors", "sweep.moved", "sweep.packs", *TWICE)
REBASING = ("rebase.packed", "rebase.switched")
"""All checkpoints of sealed files; `test_crash.py` compares them with those of the package."""


def _weights(seed: int, drift: float = 0.0) -> bytes:
    """A small model; `drift` is how far it was tuned away from the one of the same seed."""
    chance = np.random.default_rng(seed)
    tuning = np.random.default_rng(seed + 1000)
    header, parts, at = {}, [], 0
    for number in range(3):
        values = chance.normal(0, 0.02, (128, 256)).astype("<f4")
        values += tuning.normal(0, 1, values.shape).astype("<f4") * np.float32(drift)
        data = (values.view("<u4") >> 16).astype("<u2").tobytes()
        header[f"layers.{number}.weight"] = {
            "dtype": "BF16", "shape": list(values.shape), "data_offsets": [at, at + len(data)],
        }  # fmt: skip
        parts.append(data)
        at += len(data)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(parts)


FILES = {
    "base.safetensors": _weights(1),
    "tuned.safetensors": _weights(1, 1e-4),
    "notes.txt": b"what was seen and what was not\n" * 20_000,
}


def _filled(hub: Hub) -> Hub:
    """A hub that stopped, with three files that nobody has sealed."""
    hub.start()
    for data in FILES.values():
        hub.uploaded("alice/m", data)
    hub.committed("alice/m", large=FILES)
    assert hub.stop() == 0
    return hub


def _crashed(hub: Hub, at: str, *words: str, **env: str) -> bool:
    """Whether the command was killed at that step."""
    done = hub.headwater(*words, HEADWATER_CRASH_AT=at, **env)
    assert done.returncode in (0, -9), done.stdout + done.stderr
    return done.returncode == -9


def _told(hub: Hub, *words: str, **env: str) -> str:
    done = hub.headwater(*words, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _same(hub: Hub) -> None:
    """Everything verifies, and comes out of the serving hub as it went in."""
    _told(hub, "verify", "--read-data", "100")
    hub.start()
    found = hub.files("alice/m")
    assert {name: found[name] for name in FILES} == FILES
    assert hub.stop() == 0
    assert problems(hub.data) == []


def _states(data: Path) -> list[tuple[bool, str]]:
    with closing(sqlite3.connect(data / "headwater.sqlite")) as db:
        return [
            (bool(row[0]), row[1])
            for row in db.execute("SELECT sealed IS NOT NULL, raw FROM blob WHERE size > 1000 ORDER BY sha256")
        ]


@pytest.fixture(scope="module")
def filled(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled")
    hub = _filled(Hub(folder, clone_of(template, folder / "data")))
    return hub.data


def _copy(filled: Path, hubs: Hubs, tmp_path: Path) -> Hub:
    return hubs(clone_of(filled, tmp_path / "copy"))


def test_T01_killed_at_any_step_of_sealing_each_file_is_raw_or_sealed_and_whole(
    filled: Path, hubs: Hubs, tmp_path: Path
) -> None:
    hub = _copy(filled, hubs, tmp_path)
    for at in SEALING:
        for nth in ("", ":3"):
            _crashed(hub, at + nth, "store", "seal", "alice/m")
            assert all(raw == "here" for _sealed, raw in _states(hub.data))
            _told(hub, "store", "verify")
    _told(hub, "store", "seal", "alice/m")
    assert all(sealed for sealed, _raw in _states(hub.data))
    _same(hub)


def test_T29_killed_at_any_step_of_evicting_and_sweeping_nothing_that_is_needed_goes(
    filled: Path, hubs: Hubs, tmp_path: Path
) -> None:
    hub = _copy(filled, hubs, tmp_path)
    _told(hub, "store", "seal", "alice/m")
    passed = []
    env = {"HEADWATER_SEAL_GRACE_S": "0", "HEADWATER_SECOND_COPY_FROM": "1"}
    # those that come last in a sweep first: a sweep that is not killed leaves nothing for them to do
    for at in ("evict.leaving", "evict.deleted", *TWICE, *EVICTING, *SWEEPING):
        if _crashed(hub, at, "store", "sweep", **env):
            passed.append(at)
        _told(hub, "store", "verify")
    assert {"evict.leaving", "evict.deleted", "sweep.tensors", *TWICE} <= set(passed)
    for _ in range(2):
        _told(hub, "store", "sweep", **env)
    assert all(state == (True, "gone") for state in _states(hub.data))
    _same(hub)


def test_T01_killed_at_any_step_of_storing_anew_each_tensor_is_the_old_or_the_new_one(
    filled: Path, hubs: Hubs, tmp_path: Path
) -> None:
    hub = _copy(filled, hubs, tmp_path)
    _told(hub, "store", "seal", "alice/m")
    for _ in range(2):
        _told(hub, "store", "sweep", HEADWATER_SEAL_GRACE_S="0")
    for at in REBASING:
        assert _crashed(hub, at, "store", "rebase", "alice/m")
        _told(hub, "store", "verify")
    _told(hub, "store", "rebase", "alice/m")
    _same(hub)


def test_a_serving_hub_seals_what_is_uploaded_in_a_process_of_its_own_that_dies_with_it(hubs: Hubs) -> None:
    hub = hubs(None, HEADWATER_SEAL="true", HEADWATER_SEAL_GRACE_S="0").start()
    for data in FILES.values():
        hub.uploaded("alice/m", data)
    hub.committed("alice/m", large=FILES)

    until(lambda: _states(hub.data) and all(sealed for sealed, _raw in _states(hub.data)), "sealing", 120)

    child = next(iter(_children(hub)))
    assert child.nice() == 19
    found = hub.files("alice/m")
    assert {name: found[name] for name in FILES} == FILES
    hub.kill()
    until(lambda: not child.is_running() or child.status() == "zombie", "the end of the sealing process")
    _same(hub)


def _children(hub: Hub) -> list[psutil.Process]:
    assert hub.process is not None
    return [one for one in psutil.Process(hub.process.pid).children() if "work" in one.cmdline()]


def test_a_paused_store_seals_nothing_until_it_is_resumed(hubs: Hubs) -> None:
    hub = hubs(None, HEADWATER_SEAL="true").start()
    _told(hub, "store", "pause")
    for data in FILES.values():
        hub.uploaded("alice/m", data)
    hub.committed("alice/m", large=FILES)
    assert json.loads(_told(hub, "store", "stats", "--json"))["paused"] is True
    hub.headwater("store", "work")
    assert not any(sealed for sealed, _raw in _states(hub.data))
    _told(hub, "store", "resume")
    until(lambda: all(sealed for sealed, _raw in _states(hub.data)), "sealing", 120)
    assert hub.stop() == 0


@pytest.fixture
def evicted(filled: Path, hubs: Hubs, tmp_path: Path) -> Hub:
    """A hub whose files have only their sealed copies."""
    hub = _copy(filled, hubs, tmp_path)
    _told(hub, "store", "seal", "alice/m")
    for _ in range(2):
        _told(hub, "store", "sweep", HEADWATER_SEAL_GRACE_S="0")
    assert all(state == (True, "gone") for state in _states(hub.data))
    return hub


def test_a_sealed_file_answers_ranges_and_heads_as_a_raw_one_and_leaves_by_lfs_too(evicted: Hub) -> None:
    hub = evicted.start()
    data = FILES["tuned.safetensors"]
    path = "/alice/m/resolve/main/tuned.safetensors"
    whole = hub.good("GET", path)
    assert (whole.body, whole.headers["etag"]) == (data, f'"{hashlib.sha256(data).hexdigest()}"')
    head = hub.ask("HEAD", path)
    assert (head.status, head.headers["content-length"], head.body) == (200, str(len(data)), b"")
    for start, stop in ((0, 1), (100, 70_000), (len(data) - 5, len(data))):
        part = hub.ask("GET", path, headers={"Range": f"bytes={start}-{stop - 1}"})
        assert (part.status, part.body) == (206, data[start:stop])
    two = hub.ask("GET", path, headers={"Range": "bytes=0-9,50000-50009"})
    assert two.status == 206
    assert data[:10] in two.body
    assert data[50_000:50_010] in two.body
    asked = {"operation": "download", "transfers": ["basic"], "objects": [{"oid": _oid(data), "size": len(data)}]}
    found = hub.good("POST", "/alice/m.git/info/lfs/objects/batch", json.dumps(asked).encode(), headers=LFS_JSON)
    href = urlsplit(found.json["objects"][0]["actions"]["download"]["href"])
    assert hub.ask("GET", f"{href.path}?{href.query}", token="").body == data
    assert hub.stop() == 0


def _oid(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_T25_a_damaged_pack_costs_an_error_and_never_a_wrong_byte_and_uploading_heals_it(evicted: Hub) -> None:
    (pack,) = (evicted.data / "store" / "packs").iterdir()
    damaged = bytearray(pack.read_bytes())
    for at in range(100, len(damaged), 997):
        damaged[at] ^= 0x40
    pack.write_bytes(damaged)
    hub = evicted.start()
    for name in FILES:
        try:
            answer = hub.ask("GET", f"/alice/m/resolve/main/{name}")
        except Gone:
            continue  # its first blocks were right
        assert (answer.status, answer.code) == (500, "Corrupt"), name
    said = hub.headwater("verify")
    assert said.returncode == 22
    for data in FILES.values():
        hub.uploaded("alice/m", data)
    found = hub.files("alice/m")
    assert {name: found[name] for name in FILES} == FILES
    assert hub.stop() == 0
    _told(hub, "store", "seal", "alice/m")
    for _ in range(2):
        _told(hub, "store", "sweep", HEADWATER_SEAL_GRACE_S="0")
    _same(hub)
