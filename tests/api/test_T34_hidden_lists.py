"""No list, count or hint shows a private repo to whoever may not see it (T34).

One hub with one private repo in every place that lists anything; whatever a stranger is told must not name it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from asgi_hub import Hub, noise
from xet_files import with_xet, xet_file

CARD = """---
license: mit
pipeline_tag: text-classification
library_name: hushed-library
tags: [hushed-tag, shared-tag]
datasets: [acme/hushed-data]
base_model: {base}
language: en
---
# Hushed
"""
STRANGERS = ("", "sam", "otto")
INSIDERS = ("ada", "rea", "root")


@dataclass(frozen=True)
class World:
    hub: Hub
    base: str
    public: str
    hidden: str
    hidden_data: str


@pytest.fixture(scope="module")
def world(new_hub: Callable[..., Hub]) -> World:
    hub = new_hub()
    base = hub.repo("sam")
    public, hidden = hub.repo("ada", owner="acme"), hub.repo("ada", owner="acme", private=True)
    hidden_data = hub.repo("ada", owner="acme", kind="dataset", private=True)
    card = CARD.replace("{base}", base)
    hub.committed(public, {"README.md": card.replace("hushed", "open").encode(), "config.json": b"{}"})
    hub.committed(hidden, {"README.md": card.encode(), "config.json": b"{}"})
    hub.committed(hidden_data, {"README.md": b"---\ntags: [hushed-tag]\n---\n"}, kind="dataset")
    file = xet_file(noise("the same weights", 60_000))
    for repo in (public, hidden):
        with_xet(hub, repo, "model.safetensors", file)
    for repo in (public, hidden):
        hub.ok("POST", hub.api(repo, "/like"), headers=hub.session("ada"))
    hub.settle()
    return World(hub, base, public, hidden, hidden_data)


def pages(world: World) -> list[str]:
    hidden, data = world.hidden.split("/")[1], world.hidden_data.split("/")[1]
    found = [
        "/api/models",
        "/api/models?full=true&cardData=true&config=true&limit=1000",
        "/api/models?author=acme",
        "/api/models?author=ACME&sort=lastModified&direction=1",
        f"/api/models?search={hidden}",
        f"/api/models?search=acme/{hidden}",
        f"/api/models?search={hidden[:2]}",
        "/api/models?filter=hushed-tag",
        "/api/models?filter=shared-tag&filter=license:mit",
        "/api/models?filter=dataset:acme/hushed-data",
        f"/api/models?filter=base_model:{world.base}",
        f"/api/models?filter=base_model:finetune:{world.base}",
        "/api/models?library=hushed-library",
        "/api/models?pipeline_tag=text-classification",
        "/api/datasets?author=acme",
        f"/api/datasets?search={data}",
        "/api/datasets?filter=hushed-tag",
        "/api/spaces?author=acme",
        f"/api/spaces?models={world.hidden}",
        f"/api/spaces?datasets={world.hidden_data}",
        "/api/models-tags-by-type",
        "/api/datasets-tags-by-type",
        "/api/users/ada/likes",
        "/api/users/ada/overview",
        "/api/organizations/acme/overview",
        "/api/organizations/acme/settings/repositories",
        "/api/settings/repositories",
        f"/api/models/{world.base}?expand=childrenModelCount&expand=baseModels&expand=spaces",
        f"/api/models/{world.public}",
        f"/api/models/{world.public}?expand=usedStorage&expand=downloads&expand=trendingScore",
        f"/{world.base}",
        f"/{world.public}",
        "/",
        "/models?search=repo",
        f"/models?search={hidden}",
        "/models?other=hushed-tag",
        "/datasets",
        "/acme",
        "/ada",
        "/api/openapi.json",
    ]
    for sort in ("trendingScore", "lastModified", "createdAt", "downloads", "likes"):
        found += [f"/api/models?sort={sort}&direction={way}" for way in ("-1", "1")]
    return found


def test_T34_no_list_page_or_count_names_a_private_repo_to_a_stranger(world: World) -> None:
    traces = [name.split("/")[1] for name in (world.hidden, world.hidden_data)]
    traces += ["hushed-tag", "hushed-library", "hushed-data"]
    told = []
    for address in pages(world):
        for who in STRANGERS:
            answer = world.hub.get(address, who)
            said = (str(answer.headers) + answer.text).replace(address.replace("&", "&amp;"), "")
            # what was asked for stands in the answer of a page: only what the hub adds is looked at
            asked = [word for word in traces if word in address]
            told += [(address, who, trace) for trace in traces if trace in said and trace not in asked]
    assert told == []


def test_T34_a_search_for_its_name_finds_nothing_for_strangers_and_something_for_members(world: World) -> None:
    name = world.hidden.split("/")[1]
    for query in (f"search={name}", "filter=hushed-tag", "library=hushed-library"):
        for who in STRANGERS:
            assert world.hub.ok("GET", f"/api/models?{query}", who).json == []
        for who in INSIDERS:
            assert [world.hidden] == [one["id"] for one in world.hub.ok("GET", f"/api/models?{query}", who).json]


def test_T34_counts_differ_by_exactly_what_may_be_seen(world: World) -> None:
    def counted(who: str) -> list[int]:
        overview = world.hub.ok("GET", "/api/organizations/acme/overview", who).json
        return [overview["numModels"], overview["numDatasets"], overview["numSpaces"]]

    assert [counted(who) for who in STRANGERS] == [[1, 0, 0]] * 3
    assert [counted(who) for who in INSIDERS] == [[2, 1, 0]] * 3


def test_T34_likes_and_derivatives_are_counted_as_far_as_they_may_be_seen(world: World) -> None:
    """A private child of a public base, and a private repo that somebody likes, are in nobody else's figures."""

    def counted(who: str) -> tuple[int, object]:
        likes = world.hub.ok("GET", "/api/users/ada/overview", who).json["numLikes"]
        base = world.hub.ok("GET", f"/api/models/{world.base}?expand=childrenModelCount", who).json
        return likes, base["childrenModelCount"]

    assert [counted(who) for who in STRANGERS] == [(1, {"finetune": 1})] * 3
    assert [counted(who) for who in INSIDERS] == [(2, {"finetune": 2})] * 3


def test_T34_pages_of_a_list_are_full_for_everybody(world: World) -> None:
    """A private row must not leave a gap: filtering happens where the page is cut."""
    for who in (*STRANGERS, *INSIDERS):
        whole = [one["id"] for one in world.hub.ok("GET", "/api/models?sort=createdAt", who).json]
        one_by_one, address = [], "/api/models?sort=createdAt&limit=1"
        while address:
            answer = world.hub.ok("GET", address, who)
            assert len(answer.json) == 1
            one_by_one += [one["id"] for one in answer.json]
            address = world.hub.local(answer.headers["link"][1:].partition(">")[0]) if "link" in answer.headers else ""
        assert one_by_one == whole


def test_T34_likes_of_a_private_repo_are_told_to_its_members_alone(world: World) -> None:
    for who, repos in (("", [world.public]), ("sam", [world.public]), ("rea", [world.public, world.hidden])):
        listed = world.hub.ok("GET", "/api/users/ada/likes", who).json
        assert sorted(one["repo"]["name"] for one in listed) == sorted(repos)


def test_T34_storage_of_a_public_repo_does_not_tell_what_it_shares(world: World) -> None:
    """The same bytes lie in a private repo as well: nothing may look as if they had cost nothing."""
    used = world.hub.ok("GET", f"/api/models/{world.public}?expand=usedStorage").json["usedStorage"]
    assert used >= 60_000


def test_T34_the_default_visibility_of_an_organization_holds(world: World) -> None:
    made = world.hub.ok("POST", "/api/repos/create", "ada", json={"name": "unsaid", "organization": "shy"}).json
    assert made["private"] is True
    assert world.hub.get("/api/models/shy/unsaid", "sam").code == "RepoNotFound"
    said = {"name": "said", "organization": "shy", "visibility": "public"}
    assert world.hub.ok("POST", "/api/repos/create", "ada", json=said).json["private"] is False
    assert world.hub.get("/api/models/shy/said").status == 200


def test_T34_making_a_repo_private_takes_it_from_the_lists_at_once(world: World) -> None:
    hub, repo = world.hub, world.hub.repo("otto")
    hub.settle()
    name = repo.split("/")[1]
    assert [repo] == [one["id"] for one in hub.ok("GET", f"/api/models?search={name}").json]
    hub.ok("PUT", hub.api(repo, "/settings"), "otto", json={"private": True})
    assert hub.ok("GET", f"/api/models?search={name}").json == []
    assert hub.get(hub.api(repo)).code == "RepoNotFound"
    assert name not in json.dumps(hub.ok("GET", "/api/models?author=otto", "sam").json)
    assert [repo] == [one["id"] for one in hub.ok("GET", f"/api/models?search={name}", "otto").json]
