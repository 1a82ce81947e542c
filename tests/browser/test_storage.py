"""What things cost, in a browser: a repo's storage with its heat map, and the store for administrators; looked at in
both schemes, wide and narrow.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import hub_filling
import numpy as np
import pytest
from browsing import DESK, PHONE, Tab
from conftest import serving
from hub_filling import Filler, Hub
from sqlalchemy import create_engine, text

Tabs = Callable[..., Tab]
Model = dict[str, np.ndarray]
LAYERS, WIDTH = 24, 64
EVIL = "<img src=x onerror=document.title='stolen'>.safetensors"
PARTS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")  # fmt: skip


def model(seed: int) -> Model:
    rng = np.random.default_rng(seed)
    names = ["model.embed_tokens", *(f"model.layers.{n}.{part}" for n in range(LAYERS) for part in PARTS), "lm_head"]
    return {f"{name}.weight": rng.normal(0, 0.02, (WIDTH, WIDTH)).astype(np.float32) for name in names}


def trained(base: Model) -> Model:
    """As a fine-tune is: the later a layer, the more it moved; the first six were frozen, and so was what is no layer."""
    rng = np.random.default_rng(7)
    made = {}
    for name, array in base.items():
        layer = int(name.split(".")[2]) if ".layers." in name else -1
        step = 0.0 if layer < 6 else 2e-6 * 1.45**layer * (3 if "_proj" in name and "mlp" in name else 1)
        made[name] = array + rng.normal(0, 1, array.shape).astype(np.float32) * np.float32(step)
    return made


def safetensors(made: Model) -> bytes:
    header: dict[str, object] = {}
    body = b""
    for name, array in made.items():
        data = (array.view(np.uint32) + 0x8000 >> 16).astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": list(array.shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + body


def operator(hub_data: Any, *words: str) -> None:
    command = [sys.executable, "-m", "headwater", *words, "--data", str(hub_data)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def hub(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    data = tmp_path_factory.mktemp("stored")
    with serving(data) as (made, _):
        seed = data / "seed.json"
        seed.write_text(json.dumps(hub_filling.SEED))
        subprocess.run(
            [sys.executable, "-m", "headwater", "admin", "--data", str(data), "seed", str(seed)],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        subprocess.run(
            [sys.executable, "-m", "headwater", "admin", "--data", str(data), "user", "make-admin", "ada"],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        fill(made)
        operator(data, "store", "seal", "--all")
        late = Filler(made, str(hub_filling.SEED["users"][1]["token"]))  # type: ignore[index]
        with late.http:
            late.make("grace/late")
            late.commit("grace/late", {}, "Add", large={EVIL: safetensors(model(4))})
        break_something(data)
        yield made


def fill(made: Hub) -> None:
    ada, grace = (Filler(made, str(user["token"])) for user in hub_filling.SEED["users"])
    with ada.http, grace.http:
        base = model(1)
        ada.make("river-lab/delta-1b")
        ada.commit("river-lab/delta-1b", {}, "Add", large={"model.safetensors": safetensors(base)})
        grace.make("grace/delta-1b-chat")
        card = b"---\nbase_model: river-lab/delta-1b\n---\n# chat\n"
        grace.commit("grace/delta-1b-chat", {"README.md": card}, "Add", large={"model.safetensors": safetensors(trained(base)), EVIL: b"no model " * 9000})  # fmt: skip
        grace.make("grace/plain")


def break_something(data: Any) -> None:
    engine = create_engine(f"sqlite:///{data}/headwater.sqlite")
    with engine.begin() as connection:
        connection.execute(text("update tensor set state = 'damaged' where id = (select min(id) from tensor)"))
        connection.execute(
            text(
                "insert into job (kind, key, payload, state, attempts, since_ms, until_ms, holder, error) values "
                "('lineage.seal', 'f00d', '{}', 'given_up', 8, 0, 0, '', 'Corrupt: <b>it</b> does not come back')"
            )
        )
    engine.dispose()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_costs_are_shown_in_both_schemes_wide_and_narrow(tabs: Tabs, scheme: str, size: dict[str, int]) -> None:
    """`Tab` notes violations of the policy, requests to elsewhere, and pages that scroll sideways."""
    look = tabs(color_scheme=scheme, viewport=size)
    assert look.go("/grace/delta-1b-chat/storage").status == 200
    assert look.page.get_by_role("link", name="river-lab/delta-1b").first.is_visible()
    assert look.page.locator("table.heat tbody tr").count() == LAYERS
    look.shoot(f"storage.{scheme}")
    look.page.locator("table.heat").scroll_into_view_if_needed()
    look.shoot(f"storage-heat.{scheme}")
    for name, path in {
        "storage-base": "/river-lab/delta-1b/storage",
        "storage-none": "/grace/plain/storage",
        "storage-waits": "/grace/late/storage/main",
    }.items():
        assert look.go(path).status == 200
        look.shoot(f"{name}.{scheme}")
    assert look.go("/grace/delta-1b-chat/storage/main?by=share&file=model.safetensors").status == 200
    look.page.locator("#tensors").scroll_into_view_if_needed()
    look.shoot(f"storage-tensors.{scheme}")
    look.sign_in()
    assert look.go("/settings/store").status == 200
    look.shoot(f"store.{scheme}")
    look.page.get_by_role("heading", name="Last errors").scroll_into_view_if_needed()
    look.shoot(f"store-below.{scheme}")
    assert look.page.title() != "stolen"


def test_the_heat_map_reads_as_a_table_and_changes_its_measure_without_a_script(tabs: Tabs) -> None:
    look = tabs(java_script_enabled=False)
    look.page.goto(look.hub.base + "/grace/delta-1b-chat")
    look.page.get_by_role("link", name="Storage").click()
    look.page.wait_for_url("**/storage/main")
    table = look.page.get_by_role("table", name="Change of each kind of tensor in each layer, in per cent")
    assert table.get_by_role("columnheader").all_inner_texts() == ["Layer", "q", "k", "v", "o", "gate", "up", "down"]
    assert table.get_by_role("row").nth(1).inner_text().split() == ["0", *["0"] * 7]
    look.page.get_by_role("link", name="Share of weights").click()
    look.page.wait_for_url("**by=share**")
    assert "share of weights whose bits differ" in look.page.locator("main").inner_text()
    last = look.page.get_by_role("table", name="Change of each").get_by_role("row").last.inner_text().split()
    assert int(last[0]) == LAYERS - 1
    assert all(int(value) > 50 for value in last[1:])


@pytest.fixture
def tabs(tab: Tabs, hub: Hub) -> Tabs:
    return tab
