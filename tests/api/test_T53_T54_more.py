"""Malformed safetensors (T53) and GGUF (T54) as people and clients meet them: uploaded, listed, looked at, asked for.

`tests/unit/tensors` holds the parsers to their bounds; here every door behind which one of them is called stays open.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from asgi_hub import Hub, page

PAD = bytes(range(256)) * 8  # what follows the lie


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def tensor(dtype: str = "F32", shape: tuple[int, ...] = (2,), start: int = 0, stop: int = 8) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def text(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(value) if length is None else length) + value


def gguf(tensors: int, pairs: int, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, pairs) + rest


def array_of_arrays(depth: int) -> bytes:
    return text(b"a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * depth


MALFORMED = {
    "length-2-63.safetensors": safetensors({"w": tensor()}, PAD, length=1 << 63),
    "length-100-mb.safetensors": safetensors({"w": tensor()}, PAD, length=100 * 10**6),
    "overlapping.safetensors": safetensors({"a": tensor(), "b": tensor(start=4, stop=12)}, bytes(12)),
    "beyond-the-end.safetensors": safetensors({"w": tensor(shape=(2**20,), stop=2**22)}, PAD),
    "negative.safetensors": safetensors({"w": tensor(start=-8, stop=0)}, PAD),
    "shape-overflow.safetensors": safetensors({"w": tensor(shape=(2**62, 2**62))}, PAD),
    "dtype.safetensors": safetensors({"w": tensor(dtype="F7")}, PAD),
    "twice.safetensors": safetensors(b'{"w":%s,"w":%s}' % ((json.dumps(tensor()).encode(),) * 2), bytes(8)),
    "trailing.safetensors": safetensors({"w": tensor()}, bytes(8) + PAD),
    "nested.safetensors": safetensors(b"[" * 3000, PAD),
    "empty.safetensors": b"",
    "tensors-2-60.gguf": gguf(1 << 60, 0, PAD),
    "pairs-2-60.gguf": gguf(0, 1 << 60, PAD),
    "string-overflow.gguf": gguf(0, 1, text(b"key", length=(1 << 64) - 1) + PAD),
    "recursive.gguf": gguf(0, 1, array_of_arrays(1000) + PAD),
    "beyond-the-end.gguf": gguf(1, 0, text(b"w") + struct.pack("<IQIQ", 1, 2**40, 0, 2**50) + PAD),
    "shape-overflow.gguf": gguf(1, 0, text(b"w") + struct.pack("<I4QIQ", 4, *[2**62] * 4, 0, 0) + PAD),
    "half.gguf": b"GGUF\x03",
}
GOOD = safetensors({"w": tensor()}, bytes(8))


@dataclass(frozen=True)
class World:
    hub: Hub
    repo: str


@pytest.fixture(scope="module")
def world(new_hub: Callable[..., Hub]) -> World:
    hub = new_hub()
    repo = hub.repo()
    for name, data in MALFORMED.items():
        if data:
            hub.with_lfs(repo, name, data)
    hub.committed(repo, {"empty.safetensors": b"", "config.json": b"{}"})
    hub.with_lfs(repo, "model.safetensors", GOOD)
    hub.settle()
    return World(hub, repo)


@pytest.mark.parametrize("name", MALFORMED)
def test_T53_T54_a_malformed_file_is_served_as_it_is_and_marked_where_people_look_at_it(
    world: World, name: str
) -> None:
    hub, repo, data = world.hub, world.repo, MALFORMED[name]
    assert hub.ok("GET", f"/{repo}/resolve/main/{name}").body == data
    shown = hub.get(f"{page(repo)}/blob/main/{name}", headers={"accept": "text/html"})
    assert shown.status == 200
    assert "Its header could not be read" in shown.text
    if name.endswith(".safetensors"):
        answer = hub.get(hub.api(repo, f"/safetensors-metadata/{name}"))
        assert (answer.status, answer.code) == (400, "BadRequest")
        assert len(answer.body) < 2000
    cost = hub.get(hub.api(repo, f"/storage?path={name}"))
    assert cost.status in (200, 404)  # small ones lie in git


def test_T53_T54_malformed_files_beside_a_good_one_break_no_list_and_no_page(world: World) -> None:
    hub, repo = world.hub, world.repo
    listed = hub.ok("GET", f"/api/models?search={repo.split('/')[1]}&full=true&config=true").json
    assert [one["id"] for one in listed] == [repo]
    for address in (
        hub.api(repo), hub.api(repo, "?expand=safetensors&expand=gguf&expand=usedStorage"), f"/{repo}",
        f"/{repo}/tree/main", f"/{repo}/storage", hub.api(repo, "/storage"), hub.api(repo, "/tree/main?expand=true"),
    ):  # fmt: skip
        assert hub.get(address).status == 200, address
    metadata = hub.ok("GET", hub.api(repo, "/safetensors-metadata/model.safetensors")).json
    assert metadata["headers"]["model.safetensors"]["w"]["shape"] == [2]


def test_T53_a_repo_of_one_malformed_file_says_nothing_of_its_parameters(new_hub: Callable[..., Hub]) -> None:
    hub = new_hub()
    for name, data in (
        ("model.safetensors", MALFORMED["overlapping.safetensors"]), ("model.gguf", MALFORMED["tensors-2-60.gguf"]),
    ):  # fmt: skip
        repo = hub.repo()
        hub.with_lfs(repo, name, data)
        hub.settle()
        told = hub.ok("GET", hub.api(repo, "?expand=safetensors&expand=gguf")).json
        assert not told.get("safetensors")
        assert not told.get("gguf")
