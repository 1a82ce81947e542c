"""Names never change hands by themselves (T41), and none is given that looks like another or that URLs need (T42)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from asgi_hub import Hub, page

from headwater.ground.errors import Conflict
from headwater.ground.names import RESERVED_NAMESPACES, RESERVED_REPO_NAMES


def create(hub: Hub, name: str, as_: str = "ada", owner: str = "", **more: object) -> object:
    return hub.post("/api/repos/create", as_, json={"name": name, "organization": owner or as_, **more})


def move(hub: Hub, source: str, target: str, as_: str = "ada", kind: str = "model") -> object:
    return hub.post("/api/repos/move", as_, json={"fromRepo": source, "toRepo": target, "type": kind})


# --- T41 ---


def test_T41_a_moved_repos_old_name_leads_to_it_and_is_given_to_nobody_by_accident(hub: Hub) -> None:
    old, new = hub.repo("ada", owner="acme"), f"acme/{hub.name('next')}"
    hub.committed(old, {"a.txt": b"a"})
    assert move(hub, old, new).status == 200
    for address in (hub.api(old), f"/{old}/resolve/main/a.txt"):
        answer = hub.get(address, "wim")
        assert (307, address.replace(old, new)) == (answer.status, answer.headers["location"])
    refused = create(hub, old.split("/")[1], "wim", "acme")
    assert (refused.status, "was the name of a model that was moved" in refused.error) == (409, True)
    assert move(hub, hub.repo("wim", owner="acme"), old, "wim").status == 409
    assert hub.get(hub.api(old)).headers["location"] == hub.api(new)  # still


def test_T41_an_administrator_may_take_the_old_name_again_and_the_redirect_ends(hub: Hub) -> None:
    old, new = hub.repo("ada", owner="acme"), f"acme/{hub.name('next')}"
    assert move(hub, old, new).status == 200
    assert create(hub, old.split("/")[1], "ada", "acme").status == 200
    assert (200, old) == (hub.get(hub.api(old)).status, hub.get(hub.api(old)).json["id"])
    assert hub.get(hub.api(new)).json["id"] == new


def test_T41_a_deleted_repos_name_is_kept_for_its_owners_administrators(hub: Hub) -> None:
    repo = hub.repo("wim", owner="acme")
    name = repo.split("/")[1]
    assert hub.send("DELETE", "/api/repos/delete", "wim", json={"name": name, "organization": "acme"}).status == 200
    assert hub.get(hub.api(repo)).code == "RepoNotFound"
    assert create(hub, name, "cyd", "acme").status == 409
    assert create(hub, name, "ada", "acme").status == 200


def test_T41_a_chain_of_moves_leads_to_where_the_repo_is_now(hub: Hub) -> None:
    first = hub.repo("ada")
    names = [first, *(f"ada/{hub.name('next')}" for _ in range(3))]
    for source, target in pairwise(names):
        assert move(hub, source, target).status == 200
    for name in names[:-1]:
        assert hub.get(hub.api(name)).headers["location"] == hub.api(names[-1])
    assert move(hub, names[-1], first).status == 200  # and back to a name of its own
    assert hub.get(hub.api(first)).status == 200
    assert hub.get(hub.api(names[2])).headers["location"] == hub.api(first)


def test_T41_a_renamed_namespace_keeps_its_old_name_from_others(hub: Hub) -> None:
    accounts = hub.rooms.accounts
    accounts.create_user("oldname")
    hub.tokens["oldname"] = hub.token("oldname")
    repo = hub.repo("oldname", kind="dataset")
    accounts.rename_namespace(hub.actor("oldname"), "oldname", "newname")
    moved = repo.replace("oldname", "newname")
    assert hub.get(f"/api/datasets/{repo}").headers["location"] == f"/api/datasets/{moved}"
    for name in ("oldname", "OldName"):
        with pytest.raises(Conflict):
            accounts.create_user(name)
    with pytest.raises(Conflict):
        accounts.create_org(hub.actor("sam"), "oldname")
    assert create(hub, "x", "sam", "oldname").status == 403
    assert hub.get("/api/users/oldname/overview").json["user"] == "newname"


def test_T41_a_deleted_namespace_is_nobodys_for_ever(hub: Hub) -> None:
    accounts = hub.rooms.accounts
    accounts.create_user("gonename")
    accounts.delete_namespace(hub.actor("root"), "gonename")
    for making in (accounts.create_user, lambda name: accounts.create_org(hub.actor("root"), name)):
        with pytest.raises(Conflict):
            making("gonename")
    assert create(hub, "x", "sam", "gonename").status == 403
    assert hub.get("/api/users/gonename/overview").status == 404


def test_T41_a_stranger_learns_nothing_from_the_old_name_of_a_private_repo(hub: Hub) -> None:
    old, new = hub.repo("ada", owner="acme", private=True), f"acme/{hub.name('next')}"
    assert move(hub, old, new).status == 200
    assert hub.get(hub.api(old), "sam").code == "RepoNotFound"
    assert "location" not in hub.get(hub.api(old), "sam").headers
    assert hub.get(hub.api(old), "rea").status == 307


def test_T41_the_old_name_in_a_body_is_told_apart_from_an_absent_one(hub: Hub) -> None:
    """No redirect reaches a name in a body, and nothing is deleted under a name that somebody remembers wrongly."""
    old, new = hub.repo("ada"), f"ada/{hub.name('next')}"
    assert move(hub, old, new).status == 200
    answer = hub.send("DELETE", "/api/repos/delete", "ada", json={"name": old.split("/")[1], "organization": "ada"})
    assert (answer.status, new in answer.error) == (409, True)
    assert move(hub, old, f"ada/{hub.name('next')}").status == 409
    assert hub.get(hub.api(new)).status == 200
    target = {"target": {"type": "model", "name": old}, "files": []}
    assert hub.post(hub.api(new, "/lfs-files/duplicate"), "ada", json=target).status == 409


# --- T42 ---


@pytest.mark.parametrize("name", sorted(RESERVED_REPO_NAMES))
def test_T42_a_word_that_urls_need_is_no_repos_name(hub: Hub, name: str) -> None:
    assert create(hub, name).status == 400
    assert create(hub, name.upper()).status == 400
    assert move(hub, hub.repo(), f"ada/{name}").status == 400


def test_T42_the_first_segments_of_urls_are_nobodys_namespace(hub: Hub) -> None:
    for word in ("api", "datasets", "spaces", "resolve", "models", "settings", "xet", "lfs", "login", "health", "docs"):
        assert word in RESERVED_NAMESPACES
        assert create(hub, "x", "ada", word).status == 403
        assert hub.get(f"/{word}/x/resolve/main/y", "ada").status >= 400


BAD = [
    "", ".", "..", "...", "a..b", "a--b", "-a", "a-", ".a", "a.", "a.git", "a.GIT", "a.lock", "a b", "a/b/c", "a\\b",
    "a%2fb", "a?b", "a#b", "a:b", "a@b", "a\x00b", "a\nb", "x" * 97, "con", "NUL", "com1", "\u0430dmin", "mod\u00e9le",
    "\uff41bc", "a\u200bb", "\u202eabc", "\U0001f917", "a\u0301",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_T42_a_name_that_is_unsafe_or_looks_like_another_alphabet_is_refused(hub: Hub, name: str) -> None:
    answer = create(hub, name)
    assert (answer.status, answer.code) == (400, "BadRequest")
    assert "name" in answer.error
    assert move(hub, hub.repo(), f"ada/{name}").status == 400
    form = {"type": "model", "owner": "ada", "name": name}
    assert hub.post("/new", headers=hub.session("ada"), json=form).status == 400


@pytest.mark.parametrize("kind", ["kernel", "bucket", "", "MODEL", "models/", 7, ["model"]])
def test_T42_a_type_that_there_is_not_is_refused(hub: Hub, kind: object) -> None:
    answer = create(hub, hub.name(), type=kind)
    assert answer.status == (200 if kind == "" else 400)


def test_T42_names_that_differ_in_case_are_the_same_name(hub: Hub) -> None:
    repo = hub.repo()
    name = repo.split("/")[1]
    for same in (name.upper(), name.capitalize(), name):
        answer = create(hub, same)
        assert (409, f"http://hub.test/{repo}") == (answer.status, answer.json["url"])
    assert create(hub, name, type="dataset").status == 200  # another type is another name


def test_T42_a_look_alike_in_the_same_namespace_is_made_with_a_warning(hub: Hub) -> None:
    name = hub.name("look-alike-")
    assert create(hub, name).status == 200
    for alike in (name.replace("-", "_"), name.replace("-", "."), name.replace("-", "_", 1).upper()):
        answer = create(hub, alike)
        assert answer.status == 200
        assert answer.headers["x-hf-warning"].startswith("look-alike; ")
        assert name in answer.headers["x-hf-warning"]
    assert "x-hf-warning" not in create(hub, hub.name()).headers


def test_T42_a_repo_without_a_namespace_takes_nobodys_name(hub: Hub) -> None:
    for name in ("ada", "acme", "ADA"):
        assert move(hub, hub.repo("root"), name, "root").status == 409
    assert move(hub, hub.repo("ada"), hub.name()).status == 403
    plain = hub.name("plain")
    assert move(hub, hub.repo("root"), plain, "root").status == 200
    assert hub.get(page(plain)).status == 200


def test_T42_an_address_with_a_strange_repo_id_is_refused_or_absent_and_never_a_bug(hub: Hub) -> None:
    for strange in ("..", "%2e%2e", "a%00b", "a%2fb", "%ff", "a%0d%0ab", "%E2%80%AE", "-", "x" * 200):
        for address in (f"/api/models/{strange}/x", f"/api/models/ada/{strange}", f"/{strange}/x/resolve/main/y"):
            assert hub.get(address).status in (400, 401, 404)
