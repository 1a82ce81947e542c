"""What a repo costs and stands on, over the API; and that nothing of it tells of what the asker may not read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from asgi_hub import Hub, noise
from sqlalchemy import insert, update
from stored_models import base, safetensors, seal, tuned

from headwater.ground.clock import FixedClock
from headwater.ground.jobs import enqueue, job
from headwater.store.tables import tensor

ROOT = base(1)
EVIL = "<img src=x onerror=alert(1)>.safetensors"


@pytest.fixture(scope="module")
def hub(new_hub: Callable[..., Hub]) -> Hub:
    return new_hub(FixedClock(), seal=True)


def upload(
    hub: Hub, data: bytes, as_: str = "ada", path: str = "model.safetensors", base_model: str = "", **more: Any
) -> str:
    repo = hub.repo(as_, **more)
    if base_model:
        hub.committed(repo, {"README.md": f"---\nbase_model: {base_model}\n---\n".encode()}, as_=as_)
    hub.with_lfs(repo, path, data, as_)
    return repo


def storage(hub: Hub, repo: str, as_: str = "", rest: str = "/storage") -> Any:
    return hub.ok("GET", hub.api(repo, rest), as_).json


def hide(hub: Hub, repo: str, as_: str, **how: Any) -> None:
    hub.ok("PUT", hub.api(repo, "/settings"), as_, json=how)


def test_a_fine_tune_costs_what_it_changed_and_names_its_base(hub: Hub) -> None:
    root = upload(hub, safetensors(ROOT))
    data = safetensors(tuned(ROOT, 2))
    child = upload(hub, data, "sam", base_model=root)
    seal(hub)
    found = storage(hub, child)
    assert (found["complete"], found["size"]) == (True, len(data))
    assert found["stored"] < 0.6 * len(data)
    assert found["shared"] == 0
    assert [(one["id"], one["type"], one["why"], one["tensors"]) for one in found["parents"]] == [
        (root, "model", "declared base model", len(ROOT))
    ]
    file = found["files"][0]
    assert (file["path"], file["state"], file["stored"]) == ("model.safetensors", "sealed", found["stored"])
    assert file["parents"][0]["path"] == "model.safetensors"
    assert sum(one["tensors"] for one in file["predictors"] if one["predictor"] not in ("alone", "chunks")) == len(ROOT)
    assert all(one["stored"] < one["alone"] for one in file["predictors"] if one["predictor"] == "delta")
    assert storage(hub, child, rest="/storage/main") == found
    inside = storage(hub, child, rest="/storage?path=model.safetensors")
    assert [one["name"] for one in inside["tensors"]] == list(ROOT)
    assert {(one["parent"], one["why"]) for one in inside["tensors"]} == {(root, "declared base model")}
    assert sum(one["stored"] for one in inside["tensors"]) < inside["stored"] < found["size"]
    page = hub.get(f"/{child}/storage?file=model.safetensors").text
    assert all(name in page for name in ROOT)
    assert hub.get(hub.api(child, "/storage?path=none")).status == 404
    assert storage(hub, root)["parents"] == []


def test_what_other_repos_share_is_told_apart(hub: Hub) -> None:
    model = base(3)
    first = upload(hub, safetensors(model))
    second = upload(hub, safetensors(tuned(model, 4, only=lambda name: ".layers.1." in name)), "sam")
    seal(hub)
    for repo in (first, second):
        found = storage(hub, repo)
        assert 0.3 * found["size"] < found["shared"] < found["stored"]
    whole = upload(hub, safetensors(model), "otto")
    assert storage(hub, whole)["shared"] > 0.9 * storage(hub, whole)["stored"]


def test_a_file_that_is_not_sealed_costs_what_it_weighs(hub: Hub) -> None:
    data = noise("incompressible", 200_000)
    repo = upload(hub, data, path="data.bin")
    assert [(one["state"], one["stored"]) for one in storage(hub, repo)["files"]] == [("waiting", len(data))]
    seal(hub)
    assert [(one["state"], one["stored"]) for one in storage(hub, repo)["files"]] == [("raw", len(data))]


def test_a_repo_without_large_files_costs_nothing_here(hub: Hub) -> None:
    found = storage(hub, hub.repo())
    assert (found["files"], found["size"], found["stored"]) == ([], 0, 0)


# --- what must not leak ---


@pytest.mark.parametrize("how", [{"private": True}, {"gated": "manual"}], ids=["private", "gated"])
def test_T34_a_hidden_parent_leaves_no_trace_in_a_public_repos_figures(
    new_hub: Callable[..., Hub], how: dict[str, Any]
) -> None:
    """Also in the time between hiding it and the work that stores the child anew."""
    child_data = safetensors(tuned(ROOT, 2))
    alone = new_hub(FixedClock())
    untouched = upload(alone, child_data, "sam")
    seal(alone)
    hub = new_hub(FixedClock())
    root = upload(hub, safetensors(ROOT), "ada")
    child = upload(hub, child_data, "sam")
    seal(hub)
    assert storage(hub, child)["parents"][0]["id"] == root
    hide(hub, root, "ada", **how)
    expected = without_names(storage(alone, untouched, "sam"))
    for as_ in ("", "sam", "otto"):
        assert without_names(storage(hub, child, as_)) == expected
        page = hub.get(f"/{child}/storage?file=model.safetensors", as_).text
        assert root not in page
        inside = storage(hub, child, as_, "/storage?path=model.safetensors")
        assert {(one["predictor"], one["parent"], one["why"]) for one in inside["tensors"]} == {("alone", None, None)}
        assert "layer by layer" not in page
    assert storage(hub, child, "root")["parents"][0]["id"] == root
    seal(hub)
    assert without_names(storage(hub, child, "otto")) == expected
    assert "layer by layer" not in hub.get(f"/{child}/storage", "otto").text


def without_names(found: Any) -> str:
    return json.dumps({**found, "id": "", "sha": ""})


def test_T34_a_private_repo_that_shares_tensors_is_not_told_of(new_hub: Callable[..., Hub]) -> None:
    """Neither by what is shared, nor because it was stored first, on a parent that is private as well."""
    data = safetensors(tuned(ROOT, 2))
    alone = new_hub(FixedClock())
    untouched = upload(alone, data, "sam")
    seal(alone)
    hub = new_hub(FixedClock())
    upload(hub, safetensors(ROOT), "ada", private=True)
    upload(hub, data, "ada", private=True)
    seal(hub)
    public = upload(hub, data, "sam")
    assert storage(hub, public, "sam")["files"][0]["state"] == "waiting"
    hub.rooms.clock.advance(3601)
    for _ in range(2):
        assert without_names(storage(hub, public, "sam")) == without_names(storage(alone, untouched, "sam"))
        seal(hub)
    assert storage(hub, public, "ada")["shared"] > 0


def test_T34_a_file_that_was_only_sealed_because_of_hidden_ones_is_told_as_it_is(new_hub: Callable[..., Hub]) -> None:
    hub = new_hub(FixedClock())
    dull = {"a.weight": np.random.default_rng(5).integers(0, 1 << 32, (256, 128), np.uint32).view(np.float32)}
    secret = safetensors({**dull, **base(6)})
    upload(hub, secret, "ada", private=True)
    seal(hub)
    guess = safetensors(dull)
    public = upload(hub, guess, "sam")
    seal(hub)
    hub.rooms.clock.advance(3601)
    found = storage(hub, public, "sam")
    assert (found["files"][0]["state"], found["stored"], found["shared"]) == ("raw", len(guess), 0)


def test_members_see_what_their_private_repo_stands_on(hub: Hub) -> None:
    model = base(8)
    root = upload(hub, safetensors(model), "ada", owner="acme", private=True)
    child = upload(hub, safetensors(tuned(model, 2)), "ada", owner="acme", private=True)
    seal(hub)
    assert storage(hub, child, "rea")["parents"][0]["id"] == root
    assert hub.get(hub.api(child, "/storage"), "sam").status == 404


def test_a_base_that_was_deleted_still_counts_and_has_no_name(hub: Hub) -> None:
    model = base(9)
    root = upload(hub, safetensors(model), "ada")
    child = upload(hub, safetensors(tuned(model, 2)), "sam")
    seal(hub)
    before = storage(hub, child)["stored"]
    hub.ok("DELETE", "/api/repos/delete", "ada", json={"name": root.split("/")[1], "organization": "ada"})
    found = storage(hub, child)
    assert found["stored"] == before
    assert [(one["id"], one["why"]) for one in found["parents"]] == [(None, "no longer here")]
    assert "no longer here" in hub.get(f"/{child}/storage").text


# --- deleting ---


def delete(hub: Hub, repo: str, as_: str) -> Any:
    owner, name = repo.split("/")
    return hub.ok("DELETE", "/api/repos/delete", as_, json={"name": name, "organization": owner}).json


def test_deleting_says_what_is_freed_and_what_is_kept_for_whom(hub: Hub) -> None:
    model = base(10)
    root = upload(hub, safetensors(model), "ada")
    children = [upload(hub, safetensors(tuned(model, seed)), "sam") for seed in (1, 2)]
    copy = upload(hub, safetensors(model), "ada", path="copy.safetensors")
    seal(hub)
    said = delete(hub, copy, "ada")
    assert (said["sharedFiles"], said["files"], said["freed"]) == (1, 0, 0)
    said = delete(hub, root, "ada")
    assert [one["id"] for one in said["keptFor"]] == sorted(children)
    assert said["kept"] > 0.5 * len(safetensors(model))
    assert said["message"].endswith(f"2 repos depend on it ({', '.join(sorted(children))}).")
    said = delete(hub, children[0], "sam")
    assert (said["kept"], said["dependants"]) == (0, 0)
    assert said["freed"] > 0


def test_who_merely_has_the_same_tensors_is_not_said_to_depend(hub: Hub) -> None:
    model = base(15)
    root = upload(hub, safetensors(model), "ada")
    upload(hub, safetensors({**model, "more": next(iter(model.values())) * 2}), "sam")
    seal(hub)
    owner, name = root.split("/")
    answer = hub.ok("DELETE", "/api/repos/delete", "ada", json={"name": name, "organization": owner})
    said = answer.json
    assert (said["dependants"], said["keptFor"], said["alike"]) == (0, [], 1)
    assert said["kept"] > 0
    assert said["message"].endswith("1 repo has the same tensors.")
    assert answer.headers["x-hf-warning"] == f"deleted; {said['message']}"


def test_T34_deleting_tells_nothing_of_private_repos_that_stand_on_it(hub: Hub) -> None:
    model = base(11)
    root = upload(hub, safetensors(model), "ada")
    upload(hub, safetensors(tuned(model, 1)), "sam", private=True)
    seal(hub)
    said = delete(hub, root, "ada")
    assert (said["kept"], said["dependants"], said["keptFor"]) == (0, 0, [])
    assert said["freed"] > 0


# --- pages ---


def test_the_page_shows_cost_base_and_the_heat_of_change(hub: Hub) -> None:
    model = base(12)
    root = upload(hub, safetensors(model), "ada")
    child = upload(hub, safetensors(tuned(model, 2, only=lambda name: ".layers.2." in name)), "sam")
    seal(hub)
    page = hub.get(f"/{child}/storage").text
    assert f">{root}<" in page
    assert "Layer 2 changed most. 2 of 3 layers did not change: 0 to 1." in page
    assert '<th scope="row">2</th>' in page
    assert 'title="attn_q"><bdi>q</bdi>' in page
    assert '<td class="h0" title="0 % of weights changed, by 0 % of their size">0</td>' in page
    by_share = hub.get(f"/{child}/storage/main?by=share").text
    assert "share of weights whose bits differ" in by_share
    assert hub.get(f"/{root}/storage").status == 200
    assert "layer by layer" not in hub.get(f"/{root}/storage").text


def test_a_page_without_sealed_files_says_so_in_plain_words(hub: Hub) -> None:
    assert "This revision has no large files." in hub.get(f"/{hub.repo()}/storage").text
    waiting = upload(hub, noise("waits", 9000), path="data.bin")
    assert "nothing is sealed yet" in hub.get(f"/{waiting}/storage").text


def test_hostile_names_of_files_and_tensors_are_text(hub: Hub) -> None:
    model = base(13)
    evil = {
        f'model.layers.0.<script>alert("{n}")</script>.weight': model["model.embed_tokens.weight"] + n for n in range(2)
    }
    upload(hub, safetensors({**model, **evil}), "ada", path=EVIL)
    child = upload(hub, safetensors(tuned({**model, **evil}, 2)), "sam", path=EVIL)
    seal(hub)
    page = hub.get(f"/{child}/storage?file={quote(EVIL)}").text
    assert "&lt;img src=x" in page
    assert "&lt;script&gt;" in page
    assert "model.layers.0.&lt;script&gt;" in page
    assert "<img" not in page
    assert "<script>alert" not in page
    assert storage(hub, child)["files"][0]["path"] == EVIL


# --- administrators ---


def test_the_store_as_a_whole_is_for_administrators_of_the_hub(hub: Hub) -> None:
    for address in ("/settings/store", "/api/settings/store"):
        assert [hub.get(address, as_).status for as_ in ("", "ada", "root")] == [401, 403, 200]


def test_totals_tell_savings_queue_errors_and_damage(new_hub: Callable[..., Hub]) -> None:
    hub = new_hub(FixedClock(), seal=True)
    root = upload(hub, safetensors(ROOT), "ada")
    child = upload(hub, safetensors(tuned(ROOT, 2, only=lambda name: ".layers.1." in name)), "sam", path=EVIL)
    seal(hub)
    late = upload(hub, noise("late", 9000), "sam", path="late.bin")
    with hub.rooms.db.write() as connection:
        enqueue(connection, hub.rooms.clock, "lineage.seal", "0" * 64, {})
        connection.execute(update(job).values(error="Corrupt: <b>no</b>", state="given_up", attempts=8))
        connection.execute(
            insert(job).values(kind="lineage.seal", key="1" * 64, payload="{}", state="waiting", since_ms=0, until_ms=0)
        )
        found = connection.execute(tensor.select().where(tensor.c.kind == "alone").limit(1)).one()
        connection.execute(update(tensor).where(tensor.c.id == found.id).values(state="damaged"))
    told = hub.ok("GET", "/api/settings/store", "root").json
    assert (told["stats"]["files"], told["stats"]["sealed"], told["stats"]["undecided"]) == (3, 2, 1)
    assert told["same_tensors"] >= 10
    assert {one["kind"] for one in told["stats"]["kinds"]} >= {"alone", "delta"}
    assert [(one["waiting"], one["due"], one["given_up"]) for one in told["queues"] if one["kind"] == "seal"] == [
        (1, 1, 1)
    ]
    assert [(one["text"], one["given_up"]) for one in told["faults"]] == [("Corrupt: <b>no</b>", True)]
    assert {f"{one['rid']['namespace']}/{one['rid']['name']}" for one in told["damaged"][0]["places"]} == {root, child}
    assert [one["path"] for one in told["waiting"]] == ["late.bin"]
    assert (told["on"], told["paused"]) == (True, False)
    page = hub.ok("GET", "/settings/store", "root").text
    assert late in page
    assert "<b>no</b>" not in page
    assert "<img" not in page
    assert found.key.hex() in page
