"""T30: a deleted repo comes back byte for byte within its window, is nobody's meanwhile, and then its space is back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgi_hub import Hub, noise, page, sha
from stored_models import base, safetensors, seal, tuned
from xet_files import with_xet, xet_file

from headwater.app import sealing_of, upkeep_of
from headwater.ground.clock import FixedClock
from headwater.ground.jobs import Runner
from headwater.lineage.following import SETTLE_MS, SURVEY, follow
from headwater.upkeep import verify

DAY_S = 86_400
WINDOW_S = 7 * DAY_S
ROOT = base(30)


@pytest.fixture(scope="module")
def hub(new_hub: Callable[..., Hub]) -> Hub:
    return new_hub(FixedClock(), seal=True, raw_cache_bytes=0, seal_grace_s=0)


def du(folder: Path) -> int:
    """Bytes that the files below the folder occupy, as du counts them; folders themselves are left out."""
    return sum(one.stat().st_blocks * 512 for one in folder.rglob("*") if one.is_file())


def delete(hub: Hub, repo: str, as_: str = "ada", kind: str = "model") -> Any:
    return hub.ok("DELETE", "/api/repos/delete", as_, json={"name": repo, "type": kind}).json


def undelete(hub: Hub, repo: str, as_: str = "ada", **more: Any) -> Any:
    return hub.ok("POST", "/api/repos/undelete", as_, json={"name": repo, **more}).json


def clock_of(hub: Hub) -> FixedClock:
    assert isinstance(hub.rooms.clock, FixedClock)
    return hub.rooms.clock


def wait(hub: Hub, seconds: float) -> None:
    """Time passes, with a round of collecting before and after."""
    for step in (0.0, seconds, DAY_S / 24):
        clock_of(hub).advance(step)
        upkeep_of(hub.rooms).collect()


def everything(hub: Hub, repo: str, as_: str = "ada") -> dict[str, Any]:
    """All that a client can ask of a repo: its refs, its history, every file with its bytes and ETag."""
    found: dict[str, Any] = {
        rest: hub.ok("GET", hub.api(repo, rest), as_).json
        for rest in ("/refs?include_prs=1", "/commits/main", "/tree/main?recursive=true&expand=true", "/likers")
    }
    for one in found["/tree/main?recursive=true&expand=true"]:
        if one["type"] == "file":
            got = hub.ok("GET", f"{page(repo)}/resolve/main/{one['path']}", as_)
            found[one["path"]] = (got.body, got.headers["etag"])
    info = hub.ok("GET", hub.api(repo), as_).json
    return found | {name: info[name] for name in ("_id", "id", "sha", "private", "createdAt", "likes", "tags")}


def a_full_repo(hub: Hub, seed: str, **more: Any) -> str:
    """With a sealed file, one by LFS, one by Xet, small ones, a branch, a tag, a pull ref and a like."""
    repo = hub.repo(**more)
    hub.committed(repo, {"README.md": b"---\nlicense: mit\n---\n# gone\n", "folder/a.txt": b"a"})
    hub.with_lfs(repo, "model.safetensors", safetensors(tuned(ROOT, len(seed))))
    hub.with_lfs(repo, "m.bin", noise(f"{seed} by LFS", 300_000))
    with_xet(hub, repo, "x.bin", xet_file(noise(f"{seed} by Xet", 200_000)))
    hub.ok("POST", hub.api(repo, "/branch/dev"), "ada", json={})
    hub.ok("POST", hub.api(repo, "/tag/main"), "ada", json={"tag": "v1"})
    assert hub.commit(repo, {"b.txt": b"b"}, query="?create_pr=1").status == 200
    hub.ok("POST", hub.api(repo, "/like"), headers=hub.session("sam")) if not more.get("private") else None
    hub.settle()
    return repo


# --- within the window ---


def test_T30_a_repo_undeleted_within_the_window_is_byte_for_byte_what_it_was(hub: Hub) -> None:
    hub.with_lfs(hub.repo(), "model.safetensors", safetensors(ROOT))
    repo = a_full_repo(hub, "back")
    seal(hub)
    wait(hub, DAY_S)
    before = everything(hub, repo)

    said = delete(hub, repo)
    wait(hub, WINDOW_S - 3 * DAY_S)
    hub.settle()
    assert hub.get(hub.api(repo), "ada").code == "RepoNotFound"
    assert said["message"].startswith("Frees ") and " in 7 days." in said["message"]
    answer = undelete(hub, repo)
    hub.settle()

    assert (answer["id"], answer["url"]) == (repo, f"{hub.rooms.settings.base_url}{page(repo)}")
    assert everything(hub, repo) == before
    assert repo in [one["id"] for one in hub.ok("GET", f"/api/models?search={repo}", "ada").json]
    assert hub.committed(repo, {"after.txt": b"after"})
    assert upkeep_problems(hub) == []


def upkeep_problems(hub: Hub) -> list[str]:
    rooms = hub.rooms
    found = verify.verify(rooms.db, rooms.repos, rooms.store, rooms.xets, 100, lambda _count: None)
    return [f"{one.what} {one.name}: {one.text}" for one in found]


def test_verify_has_nothing_against_deleted_repos(hub: Hub) -> None:
    delete(hub, a_full_repo(hub, "verified"))
    assert upkeep_problems(hub) == []


def test_the_deleted_repos_of_those_who_administer_them_are_listed(hub: Hub) -> None:
    mine, theirs = hub.repo(), hub.repo("wim", owner="acme", private=True)
    clock_of(hub).advance(1)
    delete(hub, mine)
    clock_of(hub).advance(1)
    delete(hub, theirs)
    listed = {one["id"]: one for one in hub.ok("GET", "/api/deleted", "ada").json}
    assert list(listed)[:2] == [theirs, mine]
    assert listed[theirs].keys() == {"number", "id", "type", "private", "deletedAt", "until"}
    assert (listed[theirs]["type"], listed[theirs]["private"], listed[mine]["private"]) == ("model", True, False)
    assert hub.ok("GET", "/api/deleted", "wim").json == []
    assert {mine, theirs} <= {one["id"] for one in hub.ok("GET", "/api/deleted", "root").json}


def test_another_with_that_name_is_a_conflict_that_says_what_helps(hub: Hub) -> None:
    repo = hub.repo()
    number = hub.row(repo).id
    delete(hub, repo)
    hub.ok("POST", "/api/repos/create", "ada", json={"name": repo.split("/")[1]})
    refused = hub.post("/api/repos/undelete", "ada", json={"name": repo})
    assert refused.status == 409 and "name another one" in refused.error
    assert undelete(hub, repo, to=f"{repo}-back")["id"] == f"{repo}-back"
    assert hub.row(f"{repo}-back").id == number != hub.row(repo).id


def test_a_repo_is_brought_back_by_its_number(hub: Hub) -> None:
    repo = hub.repo(kind="dataset")
    number = hub.row(repo, "dataset").id
    delete(hub, repo, kind="dataset")
    answer = hub.ok("POST", "/api/repos/undelete", "ada", json={"number": number, "type": "dataset"}).json
    assert (answer["id"], answer["type"]) == (repo, "dataset")


@pytest.mark.parametrize(
    "asked",
    [{"number": "1"}, {"number": True}, {"number": -1}, {"number": 1 << 70}, {"name": 7}, {"name": "x", "to": 3}],
)
def test_what_makes_no_sense_is_refused(hub: Hub, asked: dict[str, Any]) -> None:
    assert hub.post("/api/repos/undelete", "ada", json=asked).status == 400


@pytest.mark.parametrize("as_", ["wim", "cyd", "rea", "sam", "otto", ""])
def test_T35_nobody_else_brings_a_repo_back(hub: Hub, as_: str) -> None:
    repo = hub.repo("ada", owner="acme")
    number = hub.row(repo).id
    delete(hub, repo)
    wanted = 401 if not as_ else 403 if as_ in ("wim", "cyd", "rea") else 404
    for asked in ({"name": repo}, {"number": number}):
        assert hub.post("/api/repos/undelete", as_, json=asked).status == wanted
    assert hub.get(hub.api(repo), "ada").status == 404


# --- meanwhile ---


def test_T17_T37_what_only_a_deleted_repo_holds_is_had_by_nobody(hub: Hub) -> None:
    repo, lfs, xet = hub.repo(), noise("had by nobody", 5000), xet_file(noise("nor by Xet", 150_000))
    oid = hub.with_lfs(repo, "m.bin", lfs)
    with_xet(hub, repo, "x.bin", xet)
    asked = {"operation": "download", "transfers": ["basic"], "objects": [{"oid": oid, "size": len(lfs)}]}
    batch = f"{page(repo)}.git/info/lfs/objects/batch"
    ticket = hub.local(hub.ok("POST", batch, json=asked).json["objects"][0]["actions"]["download"]["href"])
    token, write = hub.xet(repo), hub.xet(repo, "write")
    terms = hub.ok("GET", f"/xet/v2/reconstructions/{xet.name}", token).json
    fetch = hub.local(next(iter(terms["xorbs"].values()))[0]["url"])
    number = hub.row(repo).id
    delete(hub, repo)

    for as_ in ("", "ada", "sam", "root"):
        for path in ("/resolve/main/m.bin", "/raw/main/m.bin", "/tree/main", "/info/refs?service=git-upload-pack"):
            assert hub.get(f"{page(repo)}{path}", as_).status in (401, 404), path
        for rest in ("", "/tree/main", "/commits/main", "/refs", "/xet-read-token/main", "/lfs-files", "/storage"):
            assert hub.get(hub.api(repo, rest), as_).status in (401, 404), rest
        assert hub.post(batch, as_, json=asked).status in (401, 404)
    assert hub.get(ticket).status == 403
    assert hub.get(fetch).status == 403
    for path in (f"v2/reconstructions/{xet.name}", f"v1/chunks/default/{xet.first_chunk}", f"v1/files/{xet.name}"):
        for bearer in (token, write):
            assert hub.get(f"/xet/{path}", bearer).status in (401, 404), path

    other = hub.repo("sam")
    bearer = hub.xet(other, "write", "sam")
    assert hub.get(f"/xet/v1/chunks/default/{xet.first_chunk}", bearer).status == 404
    assert hub.get(f"/xet/v1/xorbs/default/{xet.xorbs[0].name}", bearer).status == 404
    for one in (hub.batch(other, [(oid, len(lfs))], "sam"), hub.batch(hub.repo(), [(oid, len(lfs))])):
        assert "actions" in one.json["objects"][0], "he must send the bytes"
    hub.settle()
    assert hub.get(f"/api/models?search={repo.split('/')[1]}", "ada").json == []
    assert number not in [one["_id"] for one in hub.ok("GET", "/api/models?author=ada", "ada").json]
    assert hub.get("/api/settings/repositories", "ada").text.count(repo) == 0
    undelete(hub, repo)
    assert hub.ok("GET", ticket).body == lfs  # the right behind the address stands again


def test_a_deleted_repo_counts_in_no_figure_of_another(hub: Hub) -> None:
    data = noise("held by two", 90_000)
    mine, theirs = hub.repo(), hub.repo("sam")
    hub.with_lfs(mine, "m.bin", data)
    hub.with_lfs(theirs, "m.bin", data, "sam")
    shared = hub.ok("GET", hub.api(theirs, "/storage"), "sam").json
    delete(hub, mine)
    alone = hub.ok("GET", hub.api(theirs, "/storage"), "sam").json
    assert (shared["shared"], alone["shared"]) == (len(data), 0)
    left = delete(hub, theirs, "sam")
    assert (left["files"], left["freed"], left["sharedFiles"]) == (1, len(data), 0)


def test_a_tensor_that_only_deleted_repos_hold_is_told_as_gone_and_named_again_when_they_are_back(hub: Hub) -> None:
    model = base(31)
    root, child = hub.repo(), hub.repo("sam")
    hub.with_lfs(root, "model.safetensors", safetensors(model))
    hub.committed(child, {"README.md": f"---\nbase_model: {root}\n---\n".encode()}, as_="sam")
    hub.with_lfs(child, "model.safetensors", safetensors(tuned(model, 9)), "sam")
    hub.settle()
    seal(hub)

    def parents() -> list[Any]:
        return [(one["id"], one["why"]) for one in hub.ok("GET", hub.api(child, "/storage"), "sam").json["parents"]]

    assert parents() == [(root, "declared base model")]
    delete(hub, root)
    hub.settle()
    seal(hub)
    assert parents() == [(None, "no longer here")]
    undelete(hub, root)
    hub.settle()
    seal(hub)
    assert parents() == [(root, "declared base model")]


def test_a_file_whose_turn_to_be_sealed_came_while_its_repo_was_deleted_is_sealed_when_it_is_back(hub: Hub) -> None:
    repo = hub.repo()
    oid = hub.with_lfs(repo, "model.safetensors", safetensors(base(32)))
    hub.settle()
    work = sealing_of(hub.rooms, lambda: True, lambda _done, _total: None).work
    follow(hub.rooms.db, hub.rooms.clock)
    clock_of(hub).advance(SETTLE_MS / 1000)
    Runner(hub.rooms.db, hub.rooms.clock, {SURVEY: work.survey}).drain()
    delete(hub, repo)
    seal(hub)
    assert not hub.rooms.store.blob(oid).sealed
    undelete(hub, repo)
    seal(hub)
    assert hub.rooms.store.blob(oid).sealed


# --- after it ---


def test_T30_after_the_window_the_space_is_back_as_du_counts_it(new_hub: Callable[..., Hub]) -> None:
    hub = new_hub(FixedClock(), seal=True, raw_cache_bytes=0, seal_grace_s=0, xorb_keep_s=DAY_S)
    hub.with_lfs(hub.repo(), "stays.bin", noise("stays", 100_000))
    seal(hub)
    wait(hub, 8 * DAY_S)
    places = [hub.data / name for name in ("store", "git", "uploads", "incoming")]
    empty = sum(map(du, places))

    repo = a_full_repo(hub, "freed")
    hub.with_lfs(repo, "base.safetensors", safetensors(ROOT))
    seal(hub)
    wait(hub, 8 * DAY_S)
    full = sum(map(du, places))
    assert any(one.is_file() for one in (hub.data / "store" / "packs").rglob("*"))
    assert full - empty > 600_000
    said = delete(hub, repo)
    assert said["freed"] > 500_000
    wait(hub, WINDOW_S - 2 * DAY_S)
    assert sum(map(du, places)) > full - 100_000, "its bytes stay within the window"
    wait(hub, 3 * DAY_S)

    assert sum(map(du, places)) <= empty + 16_384
    assert not list((hub.data / "git" / "trash").iterdir())
    assert hub.post("/api/repos/undelete", "ada", json={"name": repo}).status == 404
    assert hub.ok("GET", "/api/deleted", "ada").json == []


def test_without_a_window_the_space_is_back_with_the_next_round(new_hub: Callable[..., Hub]) -> None:
    hub = new_hub(FixedClock(), undelete_s=0)
    repo, data = hub.repo(), noise("no window", 300_000)
    hub.with_lfs(repo, "m.bin", data)
    clock_of(hub).advance(8 * DAY_S)
    said = delete(hub, repo)
    assert said["message"] == "Frees 300 kB."
    assert hub.post("/api/repos/undelete", "ada", json={"name": repo}).status == 404
    upkeep_of(hub.rooms).collect()
    assert du(hub.data / "store") == 0
    assert sha(data) not in str(list((hub.data / "store").rglob("*")))
