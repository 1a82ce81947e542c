"""What answers hold beyond what clients cannot do without: nothing known is left out, nothing asked for is dropped."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from asgi_hub import Hub, inline, links, noise, page, sha

from headwater.front.hub import lists
from headwater.ground.errors import RepoMissing

BASE_CARD = b"---\nlicense: mit\nlibrary_name: transformers\nwidget:\n- text: Hi\n---\n# Base\n"
CONFIG = json.dumps({"architectures": ["BertForMaskedLM"], "model_type": "bert"}).encode()
TOKENIZER = json.dumps({"mask_token": "[MASK]", "pad_token": {"content": "[PAD]"}, "vocab": 3}).encode()
BIBTEX = "@misc{things}"
DATA_CARD = f"""---
license: mit
---
# Things

All *things* there are.

```bibtex
{BIBTEX}
```
""".encode()


class World:
    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.base = hub.repo()
        hub.committed(
            self.base,
            {"README.md": BASE_CARD, "config.json": CONFIG, "tokenizer_config.json": TOKENIZER, "a.txt": b"a"},
        )
        self.data, self.space, self.alone = (hub.repo(kind=kind) for kind in ("dataset", "space", "space"))
        hub.committed(self.data, {"README.md": DATA_CARD}, kind="dataset")
        using = f"---\nmodels: [{self.base}]\ndatasets: [{self.data}]\n---\n"
        hub.committed(self.space, {"README.md": using.encode()}, kind="space")
        self.children = {
            relation: self.child(f"base_model: {self.base}\nbase_model_relation: {relation}")
            for relation in ("finetune", "quantized")
        }
        self.merged = self.child(f"base_model: [{self.base}, x/y]")
        self.hidden = self.child(f"base_model: {self.base}", private=True)
        hub.settle()

    def child(self, card: str, private: bool = False) -> str:
        repo = self.hub.repo(private=private)
        self.hub.committed(repo, {"README.md": f"---\n{card}\n---\n".encode()})
        return repo

    def shown(self, repo: str, field: str, who: str = "", kind: str = "model") -> tuple[Any, Any]:
        """A field of the repo itself, and of the repo in a list."""
        one = self.hub.ok("GET", self.hub.api(repo, f"?expand={field}", kind), who).json
        (listed,) = self.hub.ok("GET", f"/api/{kind}s?search={repo}&expand={field}", who).json
        return one.get(field), listed.get(field)


@pytest.fixture(scope="module")
def world(new_hub: Callable[..., Hub]) -> World:
    return World(new_hub())


def test_what_a_card_says_is_the_same_in_a_list_and_by_itself(world: World) -> None:
    for repo, field, told, kind in (
        (world.base, "widgetData", [{"text": "Hi"}], "model"),
        (world.children["quantized"], "baseModels", {"relation": "quantized", "models": [{"id": world.base}]}, "model"),
        (world.merged, "baseModels", {"relation": "merge", "models": [{"id": world.base}, {"id": "x/y"}]}, "model"),
        (world.space, "models", [world.base], "space"),
        (world.space, "datasets", [world.data], "space"),
        (world.data, "description", "All things there are.", "dataset"),
        (world.data, "citation", BIBTEX, "dataset"),
    ):
        assert world.shown(repo, field, kind=kind) == (told, told), field


def test_a_model_tells_its_tokens_who_uses_it_and_what_came_of_it(world: World) -> None:
    assert world.shown(world.base, "mask_token") == ("[MASK]", "[MASK]")
    tokens = {"mask_token": "[MASK]", "pad_token": "[PAD]"}
    assert [one["tokenizer_config"] for one in world.shown(world.base, "config")] == [tokens] * 2
    assert world.shown(world.base, "spaces") == ([world.space],) * 2
    assert world.shown(world.base, "childrenModelCount") == ({"finetune": 1, "quantized": 1, "merge": 1},) * 2
    # what is private counts for those who see it
    assert world.shown(world.base, "childrenModelCount", "ada")[0] == {"finetune": 2, "quantized": 1, "merge": 1}
    assert world.shown(world.merged, "childrenModelCount") == ({}, {})


def test_full_brings_what_clients_say_it_brings(world: World) -> None:
    def item(kind: str, repo: str) -> dict[str, Any]:
        (one,) = world.hub.ok("GET", f"/api/{kind}s?search={repo}&full=True").json
        return dict(one)

    model, data, space = item("model", world.base), item("dataset", world.data), item("space", world.space)
    assert "cardData" not in model  # that is `cardData`'s own
    assert {s["rfilename"] for s in model["siblings"]} >= {"README.md", "a.txt"}
    assert (data["cardData"], data["description"]) == ({"license": "mit"}, "All things there are.")
    assert space["cardData"]["models"] == space["models"] == [world.base]
    assert {"siblings", "runtime", "subdomain"} <= set(space)


def test_an_older_revision_tells_of_its_own_card(world: World) -> None:
    hub, repo = world.hub, world.hub.repo(kind="dataset")
    old = hub.committed(repo, {"README.md": b"Once.\n"}, kind="dataset")
    hub.committed(repo, {"README.md": b"---\ndescription: Declared.\n---\nNow.\n"}, kind="dataset")
    for rev, told in ((old, "Once."), ("main", "Declared.")):
        assert hub.ok("GET", hub.api(repo, f"/revision/{rev}", "dataset")).json["description"] == told


def test_linked_spaces_are_those_that_use_something(world: World) -> None:
    assert [one["id"] for one in world.hub.ok("GET", "/api/spaces?linked=True").json] == [world.space]
    assert {one["id"] for one in world.hub.ok("GET", "/api/spaces").json} == {world.space, world.alone}


def test_a_page_with_every_file_is_shorter_and_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "_READ_LIMIT", 2)
    seen, address = [], "/api/models?full=true&limit=1000"
    while address:
        answer = world.hub.ok("GET", address)
        assert len(answer.json) <= 2
        seen += [one["id"] for one in answer.json]
        address = world.hub.local(links(answer)["next"]) if "link" in answer.headers else ""
    assert seen == [one["id"] for one in world.hub.ok("GET", "/api/models").json]


def test_a_repo_that_goes_while_a_list_is_made_does_not_spoil_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, rows = type(world.hub.rooms.repos.registry), world.hub.ok("GET", "/api/models?full=true").json
    by_id, gone = registry.by_id, world.hub.row(world.base).id

    def deleted(self: Any, repo_id: int) -> Any:
        if repo_id == gone:
            raise RepoMissing(world.base)
        return by_id(self, repo_id)

    monkeypatch.setattr(registry, "by_id", deleted)
    now = world.hub.ok("GET", "/api/models?full=true").json
    assert [one["id"] for one in now] == [one["id"] for one in rows]
    assert [one["id"] for one in now if "siblings" not in one] == [world.base]


@pytest.mark.parametrize("query", ["gated=perhaps", "direction=down", "direction=0"])
def test_a_list_refuses_what_it_does_not_understand(world: World, query: str) -> None:
    answer = world.hub.get(f"/api/models?{query}")
    assert (answer.status, answer.code) == (400, "BadRequest")
    assert query.partition("=")[0] in answer.error


def test_storage_is_told_in_percent_of_all_and_in_pages(new_hub: Callable[..., Hub]) -> None:
    hub = new_hub()
    sizes = {hub.repo("sam"): size for size in (100_000, 300_000, 600_000)}
    for repo, size in sizes.items():
        hub.with_lfs(repo, "m.bin", noise(repo, size), "sam")
    hub.settle()
    whole = hub.ok("GET", "/api/settings/repositories", "sam").json
    assert [one["id"] for one in whole] == sorted(sizes, key=lambda repo: -sizes[repo])
    assert [round(one["storagePercent"]) for one in whole] == [60, 30, 10]
    paged, address = [], "/api/settings/repositories?limit=1"
    while address:
        answer = hub.ok("GET", address, "sam")
        paged += answer.json
        address = hub.local(links(answer)["next"]) if "link" in answer.headers else ""
    assert paged == whole
    assert hub.get("/api/settings/repositories?cursor=x", "sam").status == 400


def test_likes_are_counted_and_listed_in_pages_as_far_as_they_may_be_seen(world: World) -> None:
    hub = world.hub
    for repo in (world.base, world.merged, world.hidden):
        hub.ok("POST", hub.api(repo, "/like"), headers=hub.session("ada"))
    assert [hub.ok("GET", "/api/users/ada/overview", who).json["numLikes"] for who in ("", "ada")] == [2, 3]
    seen, address = [], "/api/users/ada/likes?limit=1"
    while address:
        answer = hub.ok("GET", address)
        seen += [one["repo"]["name"] for one in answer.json]
        address = hub.local(links(answer)["next"]) if "link" in answer.headers else ""
    assert seen == [world.base, world.merged]


def test_large_files_tell_whether_they_stand_on_main(hub: Hub) -> None:
    repo = hub.repo()
    hub.with_lfs(repo, "kept.bin", noise("kept", 50))
    hub.with_lfs(repo, "changed.bin", noise("before", 50))
    hub.with_lfs(repo, "changed.bin", noise("after", 50))
    refs = {one["oid"]: one["ref"] for one in hub.ok("GET", hub.api(repo, "/lfs-files"), "ada").json}
    main = "refs/heads/main"
    assert refs == {sha(noise("kept", 50)): main, sha(noise("after", 50)): main, sha(noise("before", 50)): None}


def test_a_squash_without_a_message_names_its_branch(hub: Hub) -> None:
    repo = hub.repo()
    hub.ok("POST", hub.api(repo, "/branch/dev"), "ada", json={})
    hub.ok("POST", hub.api(repo, "/super-squash/dev"), "ada", json={})
    (only,) = hub.ok("GET", hub.api(repo, "/commits/dev")).json
    assert only["title"] == "Super-squash branch 'dev'"


def test_safetensors_metadata_always_has_an_index_and_names_no_tensor_twice(hub: Hub, world: World) -> None:
    """huggingface_hub 2.4 reads `index` of whatever file it was told."""
    repo, header = hub.repo(), b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    hub.with_lfs(repo, "m.safetensors", len(header).to_bytes(8, "little") + header + bytes(4))
    index = {"metadata": {"total_size": 4}, "weight_map": {"a": "m.safetensors"}}
    hub.committed(repo, {"model.safetensors.index.json": json.dumps(index).encode()})
    for file, told in (("m.safetensors", {}), ("model.safetensors.index.json", {"metadata": {"total_size": 4}})):
        shown = hub.ok("GET", hub.api(repo, f"/safetensors-metadata/{file}")).json
        assert (shown["index"], set(shown["headers"])) == (told, {"m.safetensors"})


def test_paths_in_a_body_that_is_not_read_are_not_taken_for_none(hub: Hub) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="paths"\r\n\r\n.gitattributes\r\n--x--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = hub.post(hub.api(hub.repo(), "/paths-info/main"), body=body, headers=headers)
    assert (answer.status, answer.code) == (415, "BadRequest")
    assert "application/x-www-form-urlencoded" in answer.error


# --- what is asked for at creation ---


def created(hub: Hub, who: str = "ada", owner: str = "ada", **asked: Any) -> tuple[str, Any]:
    name = hub.name()
    return f"{owner}/{name}", hub.post("/api/repos/create", who, json={"name": name, "organization": owner, **asked})


def first(path: str, data: bytes) -> dict[str, str]:
    return {"path": path, "content": base64.b64encode(data).decode(), "encoding": "base64"}


def test_files_that_come_with_a_new_repo_are_in_it(hub: Hub) -> None:
    """huggingface.js: `createRepo({files, license})`."""
    data = noise("first", 700)
    repo, answer = created(hub, files=[first("a/b.txt", b"text"), first("w.safetensors", data)], license="apache-2.0")
    assert (answer.status, answer.headers.get("x-hf-warning")) == (200, None)
    assert hub.get(f"/{repo}/resolve/main/a/b.txt").body == b"text"
    assert hub.get(f"/{repo}/resolve/main/w.safetensors").body == data
    assert hub.ok("GET", hub.api(repo)).json["cardData"] == {"license": "apache-2.0"}
    own, answer = created(hub, files=[inline("README.md", b"# Mine\n")["value"]], license="mit")
    assert hub.get(f"/{own}/resolve/main/README.md").body == b"# Mine\n"


@pytest.mark.parametrize(
    "asked",
    [
        {"files": [first("../a", b"")]},
        {"files": [first("a", b""), first("a/b", b"")]},
        {"files": [first("README.md", b"---\nlicense: [\n---\n")]},
        {"files": [{"path": "a"}]},
        {"files": "a"},
        {"files": [first(str(i), b"") for i in range(101)]},
        {"license": "a: [b"},
        {"license": ["mit"]},
        {"type": "space", "sdk": "static", "template": "x/y"},
    ],
    ids=["path", "folder", "card", "content", "text", "many", "licence", "licences", "template"],
)
@pytest.mark.parametrize("who", ["ada", "cyd"])
def test_a_repo_whose_beginning_is_refused_is_not_made(hub: Hub, asked: dict[str, Any], who: str) -> None:
    repo, answer = created(hub, who, "acme", **asked)
    assert 400 <= answer.status < 500, answer.text
    assert answer.code in ("BadRequest", "LimitExceeded")
    kind = str(asked.get("type", "model"))
    assert hub.get(hub.api(repo, kind=kind), who).code == "RepoNotFound"
    again = {"name": repo, "type": kind, "sdk": "static", "files": [first("a", b"good")]}
    assert hub.post("/api/repos/create", who, json=again).status == 200
    assert hub.get(f"{page(repo, kind)}/resolve/main/a", who).body == b"good"


def test_what_is_not_kept_is_said_so(hub: Hub) -> None:
    secrets = [{"key": "a", "value": "hidden"}]
    space: dict[str, Any] = {
        "type": "space",
        "sdk": "gradio",
        "hardware": "t4-medium",
        "secrets": secrets,
        "license": "mit",
    }
    _, answer = created(hub, **space)
    assert answer.headers["x-hf-warning"] == "not kept; Not kept by this hub: hardware, license, secrets"
    assert answer.status == 200
    _, plain = created(hub, private=False, resourceGroupId=None, secrets=[])
    assert "x-hf-warning" not in plain.headers
    repo = hub.repo()
    settings = hub.ok("PUT", hub.api(repo, "/settings"), "ada", json={"private": False, "discussionsDisabled": True})
    assert settings.headers["x-hf-warning"] == "not kept; Not kept by this hub: discussionsDisabled"
    odd = hub.ok("PUT", hub.api(repo, "/settings"), "ada", json={"b\u00e9\r\nx: y": 1})
    assert odd.headers["x-hf-warning"] == "not kept; Not kept by this hub: bxy"


def test_a_name_that_contradicts_its_organization_is_nobodys(hub: Hub) -> None:
    repo = hub.repo(owner="acme")
    name = repo.partition("/")[2]
    asked = {"name": f"ada/{name}", "organization": "acme"}
    for method, address in (("POST", "/api/repos/create"), ("DELETE", "/api/repos/delete")):
        answer = hub.send(method, address, "ada", json=asked)
        assert (answer.status, "organization" in answer.error) == (400, True)
    assert hub.get(hub.api(repo), "ada").status == 200
    same = {"name": f"ACME/{name}", "organization": "acme"}
    assert hub.send("DELETE", "/api/repos/delete", "ada", json=same).status == 200
