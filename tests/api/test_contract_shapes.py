"""Sections 3.1, 3.3 and 3.4 of the Hub's contract: every field that a client cannot do without is there, and right."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Callable
from typing import Any

import pytest
from asgi_hub import PLURALS, URL, Answer, Hub, copied, deleted, git_sha, inline, lfs_file, links, noise, page, sha

CARD = b"""---
license: mit
language: en
library_name: transformers
pipeline_tag: text-classification
tags: [one, two]
datasets: [ada/some-data]
base_model: ada/base
---
# Card
"""
CONFIG = json.dumps({"architectures": ["BertForSequenceClassification"], "model_type": "bert"}).encode()


def safetensors(*tensors: tuple[str, str, list[int]], **metadata: str) -> bytes:
    """A file of zeros."""
    widths = {"F32": 4, "BF16": 2, "I64": 8}
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    at = 0
    for name, dtype, shape in tensors:
        size = widths[dtype]
        for length in shape:
            size *= length
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


WEIGHTS = safetensors(("a", "F32", [10, 3]), ("b", "BF16", [8]), format="pt")


@pytest.fixture(scope="module")
def model(hub: Hub) -> str:
    repo = hub.repo()
    hub.committed(repo, {"README.md": CARD, "config.json": CONFIG, "folder/deep/note.txt": b"note"})
    hub.with_lfs(repo, "model.safetensors", WEIGHTS)
    hub.settle()
    return repo


# --- 3.1: repos ---


def test_a_new_repo_has_exactly_what_clients_expect_in_one(hub: Hub) -> None:
    for kind, extra in (("model", []), ("dataset", []), ("space", [])):
        repo = hub.repo(kind=kind)
        (commit,) = hub.ok("GET", hub.api(repo, "/commits/main", kind)).json
        assert (commit["title"], commit["authors"]) == ("initial commit", [{"user": "ada"}])
        names = [e["path"] for e in hub.ok("GET", hub.api(repo, "/tree/main", kind)).json]
        assert names == [".gitattributes", *extra]
        patterns = hub.get(f"{page(repo, kind)}/resolve/main/.gitattributes").text
        for suffix in ("bin", "pkl", "safetensors", "parquet", "arrow"):
            assert f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" in patterns
        assert ("*.png filter=lfs" in patterns) == (kind == "dataset")


def test_a_static_space_comes_with_a_page(hub: Hub) -> None:
    asked = {"name": hub.name(), "organization": "ada", "type": "space", "sdk": "static"}
    repo = hub.ok("POST", "/api/repos/create", "ada", json=asked).json["id"]
    names = {e["path"] for e in hub.ok("GET", hub.api(repo, "/tree/main", "space")).json}
    assert names == {".gitattributes", "README.md", "index.html", "style.css"}
    assert hub.ok("GET", hub.api(repo, kind="space")).json["sdk"] == "static"
    assert hub.post("/api/repos/create", "ada", json={"name": "x", "type": "space"}).status == 400


@pytest.mark.parametrize("asked", [{"private": True}, {"visibility": "private"}])
def test_create_answers_url_id_and_name(hub: Hub, asked: dict[str, object]) -> None:
    name = hub.name()
    made = hub.ok("POST", "/api/repos/create", "ada", json={"name": name, **asked}).json
    assert {
        "url": f"{URL}/ada/{name}",
        "id": f"ada/{name}",
        "name": f"ada/{name}",
        "type": "model",
        "private": True,
    } == made
    full = hub.ok("POST", "/api/repos/create", "ada", json={"name": f"acme/{hub.name()}", "type": "dataset"}).json
    assert full["url"] == f"{URL}/datasets/{full['id']}"
    assert full["id"].startswith("acme/")
    more = {
        "hardware": "cpu-basic",
        "storageTier": "small",
        "sleepTimeSeconds": 5,
        "secrets": [],
        "resourceGroupId": None,
        "region": "us",
    }
    assert hub.post("/api/repos/create", "ada", json={"name": hub.name(), **more}).status == 200


def test_a_models_info_has_every_field_that_clients_read(hub: Hub, model: str) -> None:
    shown = hub.ok("GET", hub.api(model), "ada").json
    assert (model, model, "ada") == (shown["id"], shown["modelId"], shown["author"])
    assert shown["sha"] == hub.head_of(model)
    assert re.fullmatch("[0-9a-f]{40}", shown["sha"])
    assert (shown["private"], shown["gated"], shown["disabled"]) == (False, False, False)
    assert (shown["downloads"], shown["likes"]) == (0, 0)
    assert (shown["library_name"], shown["pipeline_tag"]) == ("transformers", "text-classification")
    for tag in (
        "transformers",
        "text-classification",
        "license:mit",
        "en",
        "dataset:ada/some-data",
        "base_model:ada/base",
        "one",
    ):
        assert tag in shown["tags"]
    assert {"license": "mit", "language": "en"}.items() <= shown["cardData"].items()
    assert shown["config"] == {"architectures": ["BertForSequenceClassification"], "model_type": "bert"}
    assert shown["transformersInfo"]["auto_model"] == "AutoModelForSequenceClassification"
    assert shown["safetensors"] == {"total": 38, "parameters": {"F32": 30, "BF16": 8}}
    assert {s["rfilename"] for s in shown["siblings"]} == {
        ".gitattributes", "README.md", "config.json", "folder/deep/note.txt", "model.safetensors",
    }  # fmt: skip
    assert all(set(s) == {"rfilename"} for s in shown["siblings"])
    assert shown["usedStorage"] >= len(WEIGHTS)


def test_blobs_adds_sizes_and_hashes(hub: Hub, model: str) -> None:
    for address in (hub.api(model, "?blobs=true"), hub.api(model, "/revision/main?blobs=True")):
        siblings = {s["rfilename"]: s for s in hub.ok("GET", address).json["siblings"]}
        readme = {"rfilename": "README.md", "size": len(CARD), "blobId": git_sha(CARD)}
        assert siblings["README.md"] == readme
        weights = siblings["model.safetensors"]
        pointer = (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha(WEIGHTS)}\nsize {len(WEIGHTS)}\n".encode()
        )
        assert weights["lfs"] == {"sha256": sha(WEIGHTS), "size": len(WEIGHTS), "pointerSize": len(pointer)}
        assert (weights["size"], weights["blobId"]) == (len(WEIGHTS), git_sha(pointer))


def test_security_status_claims_nothing(hub: Hub, model: str) -> None:
    shown = hub.ok("GET", hub.api(model, "?securityStatus=true")).json
    assert shown["securityRepoStatus"] == {"scansDone": False, "filesWithIssues": []}


def test_expand_returns_only_what_was_asked_for(hub: Hub, model: str) -> None:
    always = {"_id", "id", "modelId"}
    for query in ("expand=author&expand=sha", "expand[]=author&expand[]=sha", "expand=author,sha"):
        assert set(hub.ok("GET", hub.api(model, f"?{query}")).json) == {*always, "author", "sha"}
        (listed,) = hub.ok("GET", f"/api/models?search={model}&{query}").json
        assert set(listed) == {*always, "author", "sha"}
    assert hub.ok("GET", hub.api(model, "?expand=xetEnabled")).json["xetEnabled"] is True
    base = hub.ok("GET", hub.api(model, "?expand=baseModels")).json["baseModels"]
    assert base["models"] == [{"id": "ada/base"}]


EXPANDABLE = {
    "model": "author cardData config createdAt disabled downloads downloadsAllTime evalResults gated inferenceProviderMapping "
    "lastModified library_name likes pipeline_tag private resourceGroup safetensors sha siblings spaces tags transformersInfo "
    "trendingScore usedStorage xetEnabled gitalyUid",
    "dataset": "author cardData createdAt disabled downloads downloadsAllTime gated lastModified likes mainSize private "
    "resourceGroup sha siblings tags trendingScore usedStorage xetEnabled",
    "space": "author cardData createdAt datasets disabled lastModified likes models private region resourceGroup runtime sdk sha "
    "siblings subdomain tags trendingScore usedStorage xetEnabled",
}


@pytest.mark.parametrize("kind", EXPANDABLE)
def test_each_field_can_be_asked_for_by_itself_in_info_and_list(hub: Hub, model: str, kind: str) -> None:
    repo = model if kind == "model" else hub.repo(kind=kind)
    hub.settle()
    missing = []
    for field in EXPANDABLE[kind].split():
        one = hub.ok("GET", hub.api(repo, f"?expand={field}", kind)).json
        (listed,) = hub.ok("GET", f"/api/{kind}s?search={repo}&expand={field}").json
        missing += [(field, where) for where, shown in (("info", one), ("list", listed)) if field not in shown]
        if field in one and field in listed and field != "trendingScore":
            assert one[field] == listed[field]
    assert missing == []


def test_datasets_and_spaces_have_their_own_fields(hub: Hub) -> None:
    data, space = hub.repo(kind="dataset"), hub.repo(kind="space")
    card = b"---\nlicense: mit\ntask_categories: [text-classification]\nsize_categories: [n<1K]\n---\n"
    hub.committed(data, {"README.md": card, "data.jsonl": b'{"a":1}\n'}, kind="dataset")
    shown = hub.ok("GET", hub.api(data, kind="dataset")).json
    assert (data, "ada", False) == (shown["id"], shown["author"], shown["gated"])
    for tag in ("license:mit", "task_categories:text-classification", "size_categories:n<1K"):
        assert tag in shown["tags"]
    shown = hub.ok("GET", hub.api(space, kind="space")).json
    assert (shown["sdk"], shown["runtime"]["stage"]) == ("docker", "NO_APP_FILE")
    assert shown["runtime"]["hardware"] == {"current": None, "requested": None}
    assert re.fullmatch(r"[a-z0-9-]+", shown["subdomain"])


def test_at_an_older_revision_the_card_and_files_are_those_of_then(hub: Hub) -> None:
    repo = hub.repo()
    old = hub.committed(repo, {"README.md": b"---\nlicense: mit\n---\n", "old.txt": b"old"})
    hub.committed(repo, [inline("README.md", b"---\nlicense: apache-2.0\n---\n"), deleted("old.txt")])
    then = hub.ok("GET", hub.api(repo, f"/revision/{old}")).json
    assert ("mit", old) == (then["cardData"]["license"], then["sha"])
    assert "old.txt" in {s["rfilename"] for s in then["siblings"]}
    now = hub.ok("GET", hub.api(repo)).json
    assert (now["cardData"]["license"], "old.txt" in {s["rfilename"] for s in now["siblings"]}) == ("apache-2.0", False)


def test_whoami_names_the_person_the_organizations_and_the_token(hub: Hub) -> None:
    me = hub.ok("GET", "/api/whoami-v2", "wim").json
    assert (
        me["type"],
        me["name"],
        me["fullname"],
        me["email"],
        me["isPro"],
    ) == ("user", "wim", "Wim", "wim@example.org", False)
    (org,) = me["orgs"]
    assert (org["name"], org["fullname"], org["roleInOrg"], org["isEnterprise"]) == ("acme", "Acme", "write", False)
    token = me["auth"]["accessToken"]
    assert (me["auth"]["type"], token["displayName"], token["role"]) == ("access_token", "seed", "write")
    assert hub.ok("GET", "/api/whoami-v2", hub.token("wim", "read")).json["auth"]["accessToken"]["role"] == "read"
    basic = {"authorization": "Basic " + base64.b64encode(f"hf_user:{hub.tokens['wim']}".encode()).decode()}
    assert hub.ok("GET", "/api/whoami-v2", headers=basic).json["name"] == "wim"


def test_validate_yaml_is_always_json(hub: Hub) -> None:
    def ask(content: str, kind: str = "model") -> Answer:
        return hub.post("/api/validate-yaml", json={"content": content, "repoType": kind})

    assert ((a := ask("---\nlicense: mit\n---\n")).status, a.json) == (200, {"errors": [], "warnings": []})
    bare = ask("# no front matter")
    assert (bare.status, bare.json["errors"]) == (200, [])
    assert len(bare.json["warnings"]) == 1
    bad = ask("---\nlicense: [mit\n---\n")
    assert bad.status == 400
    assert all(set(one) == {"message"} for one in bad.json["errors"])
    assert bad.json["errors"]
    assert isinstance(bad.json["warnings"], list)


def test_auth_check_says_yes_with_nothing_more(hub: Hub, model: str) -> None:
    for address, who in (("/auth-check", ""), ("/auth-check", "sam"), ("/auth-check/write", "ada")):
        answer = hub.get(hub.api(model, address), who)
        assert (answer.status, answer.body) == (200, b"")


def test_preupload_tells_how_each_file_is_to_come(hub: Hub, model: str) -> None:
    def file(path: str, size: int, sample: bytes) -> dict[str, object]:
        return {"path": path, "size": size, "sample": base64.b64encode(sample).decode()}

    asked = [
        file("new.txt", 5, b"hello"), file("new.safetensors", 5, b"hello"), file("new.dat", 6, b"\0binary"),
        file("large.txt", (10 << 20) + 1, b"text"), file("edge.txt", 10 << 20, b"text"), file("empty.bin", 0, b""),
        file("model.safetensors", len(WEIGHTS), b""), file("README.md", len(CARD), CARD[:512]),
        file("saved_model/a/b", 4, b"text"), file("x.ignored", 4, b"text"), file("folder/deep", 4, b"text"),
    ]  # fmt: skip
    body = {"files": asked, "gitIgnore": "*.ignored\n"}
    answer = hub.ok("POST", hub.api(model, "/preupload/main"), "ada", json=body).json
    files = {f["path"]: f for f in answer["files"]}
    modes = {path: f["uploadMode"] for path, f in files.items()}
    assert modes == {
        "new.txt": "regular", "new.safetensors": "lfs", "new.dat": "lfs", "large.txt": "lfs", "edge.txt": "regular",
        "empty.bin": "regular", "model.safetensors": "lfs", "README.md": "regular", "saved_model/a/b": "lfs",
        "x.ignored": "regular", "folder/deep": "regular",
    }  # fmt: skip
    assert {path for path, f in files.items() if f["shouldIgnore"]} == {"x.ignored"}
    oids = {path: f["oid"] for path, f in files.items() if f["oid"]}
    assert oids == {"model.safetensors": sha(WEIGHTS), "README.md": git_sha(CARD)}
    assert answer["commitOid"] == hub.head_of(model)
    given = {"files": [file("a.txt", 4, b"text")], "gitAttributes": "*.txt filter=lfs\n"}
    assert hub.ok("POST", hub.api(model, "/preupload/main"), "ada", json=given).json["files"][0]["uploadMode"] == "lfs"


def test_a_commit_answers_where_it_is_and_may_do_everything_at_once(hub: Hub) -> None:
    repo = hub.repo()
    hub.committed(repo, {"a.txt": b"a", "b.txt": b"b", "dir/x": b"x", "dir/y": b"y"})
    oid = hub.upload(repo, WEIGHTS)
    lines = [
        inline("new.txt", b"new"), lfs_file("m.safetensors", oid), deleted("a.txt"), copied("b.txt", "c.txt"),
        {"key": "deletedFolder", "value": {"path": "dir"}},
        {"key": "file", "value": {"path": "plain.txt", "content": "pl\u00e4in", "encoding": "utf-8"}},
    ]  # fmt: skip
    before = hub.head_of(repo)
    made = hub.commit(repo, lines, description="Why.\n\nAt length.", parentCommit=before).json
    assert made["commitUrl"] == f"{URL}/{repo}/commit/{made['commitOid']}"
    assert {"success": True, "hookOutput": ""}.items() <= made.items()
    assert "pullRequestUrl" not in made
    files = {e["path"]: e for e in hub.ok("GET", hub.api(repo, "/tree/main")).json}
    assert set(files) == {".gitattributes", "b.txt", "c.txt", "m.safetensors", "new.txt", "plain.txt"}
    assert files["c.txt"]["oid"] == files["b.txt"]["oid"]
    assert hub.get(f"/{repo}/resolve/main/plain.txt").body == "pl\u00e4in".encode()
    first = hub.ok("GET", hub.api(repo, "/commits/main")).json[0]
    assert ("by a test", "Why.\n\nAt length.", [before]) == (first["title"], first["message"], first["parents"])
    answer = hub.get(made["commitUrl"].removeprefix(URL))
    assert answer.status == 302


def test_a_copy_within_the_repo_takes_an_old_revision(hub: Hub) -> None:
    repo = hub.repo()
    old = hub.committed(repo, {"a.txt": b"old"})
    hub.with_lfs(repo, "m.bin", WEIGHTS)
    hub.committed(repo, {"a.txt": b"new"})
    hub.committed(repo, [copied("a.txt", "was.txt", old), copied("m.bin", "again.bin")])
    assert hub.get(f"/{repo}/resolve/main/was.txt").body == b"old"
    assert hub.get(f"/{repo}/resolve/main/again.bin").body == WEIGHTS


def test_a_pull_request_is_a_commit_on_a_ref_of_its_own(hub: Hub, model: str) -> None:
    main = hub.head_of(model)
    made = hub.commit(model, {"pr.txt": b"pr"}, "sam", query="?create_pr=1").json
    number = made["pullRequestUrl"].rpartition("/")[2]
    assert made["pullRequestUrl"] == f"{URL}/{model}/discussions/{number}"
    assert hub.head_of(model) == main
    pulls = hub.ok("GET", hub.api(model, "/refs?include_prs=1")).json["pullRequests"]
    assert {"name": number, "ref": f"refs/pr/{number}", "targetCommit": made["commitOid"]} in pulls
    for rev in (f"refs%2Fpr%2F{number}", made["commitOid"]):
        assert hub.get(f"/{model}/resolve/{rev}/pr.txt").body == b"pr"
    assert hub.get(f"/{model}/resolve/main/pr.txt").status == 404
    more = hub.commit(model, {"more.txt": b"more"}, rev=f"refs/pr/{number}")
    assert more.status == 200
    assert hub.get(f"/{model}/resolve/refs%2Fpr%2F{number}/more.txt").status == 200


def test_a_commit_that_changes_nothing_is_the_head_there_was(hub: Hub, model: str) -> None:
    head = hub.head_of(model)
    assert hub.commit(model, {"config.json": CONFIG}).json["commitOid"] == head


@pytest.mark.parametrize("flag", ["True", "true", "1", "yes"])
def test_a_tree_entry_has_every_field_that_clients_read(hub: Hub, model: str, flag: str) -> None:
    answer = hub.ok("GET", hub.api(model, f"/tree/main?recursive={flag}&expand={flag}"))
    entries = {e["path"]: e for e in answer.json}
    assert set(entries) == {
        ".gitattributes", "README.md", "config.json", "folder", "folder/deep", "folder/deep/note.txt", "model.safetensors",
    }  # fmt: skip
    assert answer.headers["x-repo-commit"] == hub.head_of(model)
    for entry in entries.values():
        assert entry["type"] in ("file", "directory")
        assert re.fullmatch("[0-9a-f]{40}", entry["oid"])
        assert {"id", "title", "date"} == set(entry["lastCommit"])
    assert entries["README.md"]["size"] == len(CARD)
    weights = entries["model.safetensors"]
    assert weights["lfs"] == {"oid": sha(WEIGHTS), "size": len(WEIGHTS), "pointerSize": weights["lfs"]["pointerSize"]}
    assert {"status", "avScan", "pickleImportScan"} == set(weights["securityFileStatus"])
    assert weights["securityFileStatus"]["status"] != "safe"  # not looked at is not safe
    plain = {e["path"]: e for e in hub.ok("GET", hub.api(model, "/tree/main?recursive=False&expand=False")).json}
    assert set(plain) == {".gitattributes", "README.md", "config.json", "folder", "model.safetensors"}
    assert "lastCommit" not in plain["README.md"]
    assert plain["folder"]["type"] == "directory"


def test_paths_info_leaves_out_what_is_missing_and_takes_forms_and_json(hub: Hub, model: str) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    body = b"paths=README.md&paths=none&paths=folder&paths=model.safetensors&expand=True"
    by_form = hub.ok("POST", hub.api(model, "/paths-info/main"), body=body, headers=form).json
    asked = {"paths": ["README.md", "none", "folder", "model.safetensors"], "expand": True}
    by_json = hub.ok("POST", hub.api(model, "/paths-info/main"), json=asked).json
    assert by_form == by_json
    assert [e["path"] for e in by_form] == ["README.md", "folder", "model.safetensors"]
    assert by_form[2]["lfs"]["oid"] == sha(WEIGHTS)
    assert "lastCommit" in by_form[0]
    one = hub.ok("POST", hub.api(model, "/paths-info/main"), body=b"paths=README.md&expand=False", headers=form).json
    assert "lastCommit" not in one[0]


def test_safetensors_metadata_of_a_file_and_of_shards(hub: Hub) -> None:
    repo = hub.repo()
    second = safetensors(("c", "I64", [2]))
    index = {"metadata": {"total_size": 1}, "weight_map": {"a": "m-1.safetensors", "c": "m-2.safetensors"}}
    hub.with_lfs(repo, "m-1.safetensors", WEIGHTS)
    hub.with_lfs(repo, "m-2.safetensors", second)
    hub.committed(repo, {"m.safetensors.index.json": json.dumps(index).encode()})
    one = hub.ok("GET", hub.api(repo, "/safetensors-metadata/m-1.safetensors")).json
    assert one["headers"]["m-1.safetensors"]["a"] == {"dtype": "F32", "shape": [10, 3], "data_offsets": [0, 120]}
    assert one["headers"]["m-1.safetensors"]["__metadata__"] == {"format": "pt"}
    both = hub.ok("GET", hub.api(repo, "/safetensors-metadata/m.safetensors.index.json")).json
    assert set(both["headers"]) == {"m-1.safetensors", "m-2.safetensors"}
    assert both["index"]["metadata"] == {"total_size": 1}
    for wrong in (".gitattributes", "none.safetensors"):
        assert 400 <= hub.get(hub.api(repo, f"/safetensors-metadata/{wrong}")).status < 500


def test_settings_take_both_words_for_visibility(hub: Hub) -> None:
    repo = hub.repo()
    for asked, private in (
        ({"private": True}, True),
        ({"visibility": "public"}, False),
        ({"visibility": "private"}, True),
    ):
        hub.ok("PUT", hub.api(repo, "/settings"), "ada", json={**asked, "discussionsDisabled": True})
        assert hub.ok("GET", hub.api(repo), "ada").json["private"] is private
    for bad in ({"private": "yes"}, {"visibility": "hidden"}, {"gated": "maybe"}):
        assert hub.send("PUT", hub.api(repo, "/settings"), "ada", json=bad).status == 400


def test_a_duplicate_has_the_files_the_history_and_its_own_visibility(hub: Hub, model: str) -> None:
    name = f"sam/{hub.name()}"
    made = hub.ok("POST", hub.api(model, "/duplicate"), "sam", json={"repository": name, "visibility": "private"}).json
    assert (f"{URL}/{name}", False) == (made["url"], made["filesCopyPending"])
    assert hub.get(f"/{name}/resolve/main/model.safetensors", "sam").body == WEIGHTS
    assert hub.get(hub.api(name)).code == "RepoNotFound"
    assert hub.head_of(name) == hub.head_of(model)
    default = hub.ok("POST", hub.api(model, "/duplicate"), "otto", json={}).json
    assert default["id"] == f"otto/{model.split('/')[1]}"


def test_likes_by_token_are_refused_and_taken_back_by_token(hub: Hub) -> None:
    repo = hub.repo()
    assert hub.post(hub.api(repo, "/like"), "sam").status == 403
    hub.ok("POST", hub.api(repo, "/like"), headers=hub.session("sam"))
    (liker,) = hub.ok("GET", hub.api(repo, "/likers")).json
    assert (liker["user"], liker["fullname"], liker["avatarUrl"]) == ("sam", "Sam", "")
    likes = hub.ok("GET", "/api/users/sam/likes").json
    assert {"name": repo, "type": "model"} in [one["repo"] for one in likes]
    hub.settle()
    assert hub.ok("GET", hub.api(repo)).json["likes"] == 1
    hub.ok("DELETE", hub.api(repo, "/like"), "sam")
    assert hub.ok("GET", hub.api(repo, "/likers")).json == []


def test_people_and_organizations(hub: Hub) -> None:
    hub.repo()
    user = hub.ok("GET", "/api/users/Ada/overview").json
    assert ("ada", "Ada", "user", {"acme", "shy"}) == (
        user["user"],
        user["fullname"],
        user["type"],
        {o["name"] for o in user["orgs"]},
    )
    org = hub.ok("GET", "/api/organizations/ACME/overview").json
    assert (org["name"], org["fullname"], org["type"], org["numUsers"]) == ("acme", "Acme", "org", 4)
    members = hub.ok("GET", "/api/organizations/acme/members").json
    assert {m["user"] for m in members} == {"ada", "wim", "cyd", "rea"}
    for address in (
        "/api/users/acme/overview",
        "/api/organizations/ada/overview",
        "/api/users/none/overview",
        "/api/users/none/likes",
    ):
        assert hub.get(address).status == 404
    own = hub.ok("GET", "/api/settings/repositories", "ada").json
    assert {"id", "type", "updatedAt", "visibility", "storage", "storagePercent"} == set(own[0])
    assert hub.get("/api/organizations/acme/settings/repositories", "sam").status == 404


# --- 3.3: refs, history ---


def test_refs_are_told_with_their_names_and_commits(hub: Hub) -> None:
    repo = hub.repo()
    first = hub.committed(repo, {"a": b"1"})
    hub.ok("POST", hub.api(repo, "/branch/dev"), "ada", json={"startingPoint": first})
    second = hub.committed(repo, {"a": b"2"})
    hub.ok("POST", hub.api(repo, f"/tag/{first[:7]}"), "ada", json={"tag": "v1", "message": "annotated"})
    hub.ok("POST", hub.api(repo, "/tag/main"), "ada", json={"tag": "v2"})
    refs = hub.ok("GET", hub.api(repo, "/refs")).json
    assert refs == {
        "branches": [
            {"name": "dev", "ref": "refs/heads/dev", "targetCommit": first},
            {"name": "main", "ref": "refs/heads/main", "targetCommit": second},
        ],
        "converts": [],
        "tags": [
            {"name": "v1", "ref": "refs/tags/v1", "targetCommit": first},
            {"name": "v2", "ref": "refs/tags/v2", "targetCommit": second},
        ],
    }
    assert hub.ok("GET", hub.api(repo, "/refs?include_prs=1")).json["pullRequests"] == []
    hub.ok("DELETE", hub.api(repo, "/tag/v1"), "ada")
    hub.ok("DELETE", hub.api(repo, "/branch/dev"), "ada")
    left = hub.ok("GET", hub.api(repo, "/refs")).json
    assert ([b["name"] for b in left["branches"]], [t["name"] for t in left["tags"]]) == (["main"], ["v2"])


def test_an_empty_branch_and_an_overwritten_one(hub: Hub, model: str) -> None:
    hub.ok("POST", hub.api(model, "/branch/empty"), "ada", json={"emptyBranch": True})
    assert hub.ok("GET", hub.api(model, "/tree/empty")).json == []
    hub.ok("POST", hub.api(model, "/branch/empty"), "ada", json={"startingPoint": "main", "overwrite": True})
    assert hub.head_of(model, "empty") == hub.head_of(model)
    hub.ok("DELETE", hub.api(model, "/branch/empty"), "ada")


def test_history_comes_newest_first_in_pages_with_the_formatted_texts_if_asked(hub: Hub) -> None:
    repo = hub.repo()
    ids = [hub.committed(repo, {"a": b"%d" % i}, summary=f"step <{i}>", description="a & b") for i in range(7)]
    seen, address = [], hub.api(repo, "/commits/main?limit=3&expand[]=formatted")
    while address:
        answer = hub.ok("GET", address)
        seen += answer.json
        address = hub.local(links(answer)["next"]) if "link" in answer.headers else ""
        assert len(answer.json) <= 3
    assert [c["id"] for c in seen[:7]] == ids[::-1]
    newest = seen[0]
    assert (newest["title"], newest["message"]) == ("step <6>", "a & b")
    assert newest["formatted"] == {"title": "step &lt;6&gt;", "message": "a &amp; b"}
    assert newest["authors"] == [{"user": "ada"}]
    assert "formatted" not in hub.ok("GET", hub.api(repo, "/commits/main")).json[0]


def test_super_squash_leaves_one_commit_with_the_same_files(hub: Hub) -> None:
    repo = hub.repo()
    for i in range(3):
        old = hub.committed(repo, {f"f{i}": b"x"})
    tree = hub.ok("GET", hub.api(repo, "/tree/main")).json
    hub.ok("POST", hub.api(repo, "/super-squash/main"), "ada", json={"message": "all in one"})
    (only,) = hub.ok("GET", hub.api(repo, "/commits/main")).json
    assert (only["title"], only["parents"]) == ("all in one", [])
    assert hub.ok("GET", hub.api(repo, "/tree/main")).json == tree
    assert hub.get(f"/{repo}/resolve/{old}/f0").status == 200
    number = hub.commit(repo, {"p": b""}, query="?create_pr=1").json["pullRequestUrl"].rpartition("/")[2]
    hub.ok("POST", hub.api(repo, f"/super-squash/refs%2Fpr%2F{number}"), "ada", json={})
    assert len(hub.ok("GET", hub.api(repo, f"/commits/refs%2Fpr%2F{number}")).json) == 1


def test_compare_is_a_unified_diff(hub: Hub) -> None:
    repo = hub.repo()
    old = hub.committed(repo, {"a.txt": b"one\ntwo\n"})
    new = hub.committed(repo, {"a.txt": b"one\n2\n"})
    for dots in ("..", "..."):
        answer = hub.ok("GET", hub.api(repo, f"/compare/{old}{dots}{new}?raw=true"))
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert "-two\n+2\n" in answer.text


def test_large_files_are_listed_deleted_and_given_on(hub: Hub) -> None:
    repo, other = hub.repo(), hub.repo()
    for i in range(3):
        hub.with_lfs(repo, f"m{i}.bin", noise(f"large {i}", 100 + i))
    seen, address = [], hub.api(repo, "/lfs-files?limit=2")
    while address:
        answer = hub.ok("GET", address, "ada")
        seen += answer.json
        address = hub.local(links(answer)["next"]) if "link" in answer.headers else ""
    assert {f["filename"]: f["size"] for f in seen} == {"m0.bin": 100, "m1.bin": 101, "m2.bin": 102}
    for f in seen:
        assert {"fileOid", "filename", "oid", "pushedAt", "size", "ref"} == set(f)
        assert f["oid"] == f["fileOid"] == sha(noise(f"large {f['filename'][1]}", f["size"]))
    asked = {
        "target": {"type": "model", "name": other},
        "files": [{"sha256": seen[0]["oid"], "xetHash": "x", "filename": "y"}, {"sha256": "a" * 64}],
    }
    failed = hub.ok("POST", hub.api(repo, "/lfs-files/duplicate"), "ada", json=asked).json["failed"]
    assert [(f["sha256"], bool(f["error"])) for f in failed] == [("a" * 64, True)]
    hub.committed(other, [lfs_file("given.bin", seen[0]["oid"])])
    gone = next(f for f in seen if f["filename"] == "m1.bin")
    hub.ok(
        "POST",
        hub.api(repo, "/lfs-files/batch"),
        "ada",
        json={"deletions": {"sha": [gone["oid"]], "rewriteHistory": True}},
    )
    names = {e["path"] for e in hub.ok("GET", hub.api(repo, "/tree/main")).json}
    assert names == {".gitattributes", "m0.bin", "m2.bin"}
    assert gone["oid"] not in {f["oid"] for f in hub.ok("GET", hub.api(repo, "/lfs-files"), "ada").json}
    assert (
        hub.batch(repo, [(gone["oid"], gone["size"])], operation="download").json["objects"][0]["error"]["code"] == 404
    )


# --- 3.4: lists ---


@pytest.fixture(scope="module")
def listed(new_hub: Callable[..., Hub]) -> Hub:
    hub = new_hub()
    for i in range(7):
        owner = "sam" if i % 2 else "ada"
        repo = hub.repo(owner)
        tags = f"---\nlicense: {'mit' if i < 4 else 'apache-2.0'}\ntags: [t{i}, every]\nlibrary_name: {'timm' if i == 3 else 'peft'}\n---\n"
        files = {"README.md": tags.encode()}
        hub.committed(repo, files, as_=owner)
        hub.with_lfs(repo, "model.safetensors", safetensors(("a", "F32", [10 ** min(i, 5)])), owner)
    hub.repo("ada", kind="dataset")
    hub.repo("ada", kind="space")
    hub.settle()
    return hub


def ids(hub: Hub, query: str, kind: str = "models") -> list[str]:
    return [one["id"] for one in hub.ok("GET", f"/api/{kind}?{query}").json]


def test_every_search_that_is_given_must_match(listed: Hub) -> None:
    """huggingface_hub sends `dataset_name` and `search` as two of one name."""
    one = ids(listed, "search=ada")[0]
    name = one.partition("/")[2]
    assert ids(listed, f"search=ada&search={name}") == ids(listed, f"search={name}&search=ada") == [one]
    assert ids(listed, f"search=sam&search={name}") == ids(listed, f"search={name}&search=sam") == []
    assert ids(listed, f"search=&search={name}&search=") == [one]


def test_there_are_no_space_templates_and_no_search_by_meaning(listed: Hub) -> None:
    assert listed.ok("GET", "/api/spaces/templates").json == {"templates": []}
    answer = listed.get("/api/spaces/semantic-search?q=a+cat", "ada")
    assert (answer.status, answer.code) == (501, "NotOffered")
    assert "search=" in answer.error


def test_a_list_is_an_array_of_repos(listed: Hub) -> None:
    shown = listed.ok("GET", "/api/models").json
    assert len(shown) == 7
    for one in shown:
        assert {
            "id",
            "author",
            "likes",
            "downloads",
            "tags",
            "private",
            "createdAt",
            "lastModified",
            "gated",
            "sha",
        } <= set(one)
        assert "cardData" not in one
        assert "siblings" not in one
    full = listed.ok("GET", "/api/models?full=True&cardData=True").json
    assert all({"siblings", "cardData", "sha", "lastModified"} <= set(one) for one in full)
    assert full[0]["cardData"]["library_name"]
    assert (len(ids(listed, "", "datasets")), len(ids(listed, "", "spaces"))) == (1, 1)


def test_filters_narrow_a_list_and_all_must_hold(listed: Hub) -> None:
    assert len(ids(listed, "filter=every")) == 7
    assert len(ids(listed, "filter=license:mit")) == 4
    assert len(ids(listed, "filter=license:mit&filter=every&author=sam")) == 2
    assert len(ids(listed, "filter=license:mit,t1")) == 1
    assert len(ids(listed, "author=SAM")) == 3
    assert len(ids(listed, "library=timm")) == 1
    assert ids(listed, "author=nobody-at-all") == []
    assert ids(listed, "filter=no-such-tag") == []
    assert ids(listed, "pipeline_tag=no-such-task") == []
    assert len(ids(listed, "gated=false")) == 7
    assert ids(listed, "gated=true") == []
    assert ids(listed, "inference=warm") == []
    assert ids(listed, "inference_provider=all") == []
    assert len(ids(listed, "num_parameters=min:1K")) == 4
    assert len(ids(listed, "num_parameters=min:100,max:10K")) == 3
    name = ids(listed, "limit=1")[0]
    assert ids(listed, f"search={name.upper()}") == [name]
    assert ids(listed, f"search={name.split('/')[1]}") == [name]


@pytest.mark.parametrize(
    ("written", "field"),
    [("lastModified", "lastModified"), ("last_modified", "lastModified"), ("createdAt", "createdAt"), ("created_at", "createdAt"),
     ("downloads", "downloads"), ("likes", "likes"), ("trendingScore", "trendingScore"), ("trending_score", "trendingScore")],
)  # fmt: skip
def test_a_list_can_be_sorted_both_ways(listed: Hub, written: str, field: str) -> None:
    down = [one[field] for one in listed.ok("GET", f"/api/models?sort={written}&direction=-1&expand={field}").json]
    up = [one[field] for one in listed.ok("GET", f"/api/models?sort={written}&direction=1&expand={field}").json]
    assert down == sorted(down, reverse=True)
    assert up == sorted(up)
    default = [one[field] for one in listed.ok("GET", f"/api/models?sort={written}&expand={field}").json]
    assert default == down


@pytest.mark.parametrize(
    "query", ["sort=createdAt", "filter=every&sort=likes", "search=repo", "author=ada&full=true", "expand=sha"]
)
def test_lists_come_in_pages_linked_absolutely(listed: Hub, query: str) -> None:
    whole = ids(listed, query)
    seen, address = [], f"/api/models?{query}&limit=2"
    while address:
        answer = listed.ok("GET", address)
        seen += [one["id"] for one in answer.json]
        found = links(answer)
        assert set(found) <= {"next"}
        if found:
            assert found["next"].startswith(f"{URL}/api/models?")
            assert "limit=2" in found["next"]
        address = listed.local(found["next"]) if found else ""
    assert seen == whole
    assert len(seen) > 2


def test_tags_by_type_are_lists_of_id_label_and_type(listed: Hub) -> None:
    tags = listed.ok("GET", "/api/models-tags-by-type").json
    assert {"id": "license:mit", "label": "mit", "type": "license"} in tags["license"]
    for kind, named in tags.items():
        assert all({"id", "label", "type"} == set(one) and one["type"] == kind for one in named)
    assert isinstance(listed.ok("GET", "/api/datasets-tags-by-type").json, dict)


def test_telemetry_and_agent_harnesses_are_answered(hub: Hub) -> None:
    assert hub.head("/api/telemetry/py_commit_scheduler/x", headers={"authorization": "Bearer wrong"}).status == 200
    assert isinstance(hub.ok("GET", "/api/agent-harnesses").json, dict)


def test_every_type_has_the_plural_that_addresses_use() -> None:
    assert set(PLURALS) == {"model", "dataset", "space"}
