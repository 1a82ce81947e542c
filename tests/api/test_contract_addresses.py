"""Addresses as the clients write them: revisions as one segment, ids in any case, no namespace, moved, behind a prefix."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from asgi_hub import ROOT, Answer, Hub, inline, links, ndjson, noise, page, sha
from xet_files import fetched_v1, with_xet, xet_file

from headwater.ground.errors import Invalid
from headwater.ground.names import RepoId

PREFIX = "https://hub.example/some/where"


# --- revisions ---


@pytest.mark.parametrize(
    "branch", ["feature/deep/one", "v1.0", "a-b_c", "100%", "\u00fc", "a+b", "a&b=c", "x@y", "main2"]
)
def test_a_revision_is_one_percent_encoded_segment(hub: Hub, branch: str) -> None:
    repo, rev = hub.repo(), quote(branch, safe="")
    hub.ok("POST", hub.api(repo, f"/branch/{rev}"), "ada", json={})
    hub.committed(repo, {"folder/a.txt": b"here"}, rev=branch)
    assert hub.ok("GET", f"/{repo}/resolve/{rev}/folder/a.txt").body == b"here"
    assert hub.ok("GET", f"/{repo}/resolve/{rev}/folder%2Fa.txt").body == b"here"
    for rest in (f"/revision/{rev}", f"/tree/{rev}", f"/tree/{rev}/folder", f"/tree/{rev}/folder%2Fa.txt", f"/commits/{rev}",
                 f"/xet-read-token/{rev}", f"/compare/main..{rev}"):  # fmt: skip
        answer = hub.get(hub.api(repo, rest))
        assert answer.status == (404 if "a.txt" in rest else 200), rest
    assert hub.ok("POST", hub.api(repo, f"/paths-info/{rev}"), json={"paths": ["folder"]}).json[0]["path"] == "folder"
    asked = {"files": [{"path": "a", "size": 1, "sample": ""}]}
    assert hub.post(hub.api(repo, f"/preupload/{rev}"), "ada", json=asked).status == 200
    assert hub.get(hub.api(repo, f"/xet-write-token/{rev}"), "ada").status == 200
    assert hub.get(f"/{repo}/tree/{rev}/folder").status == 200
    assert hub.get(f"/{repo}/blob/{rev}/folder/a.txt").status == 200
    hub.ok("POST", hub.api(repo, f"/tag/{rev}"), "ada", json={"tag": f"t/{branch}"})
    assert hub.get(f"/{repo}/resolve/{quote(f't/{branch}', safe='')}/folder/a.txt").status == 200
    hub.ok("DELETE", hub.api(repo, f"/tag/{quote(f't/{branch}', safe='')}"), "ada")
    hub.ok("DELETE", hub.api(repo, f"/branch/{rev}"), "ada")


def test_refs_pr_1_is_a_revision_in_every_spelling(hub: Hub) -> None:
    repo = hub.repo()
    hub.commit(repo, {"pr.txt": b"pr"}, query="?create_pr=1")
    for rev in ("refs%2Fpr%2F1", "refs%2fpr%2f1", "pr%2F1"):
        assert hub.get(f"/{repo}/resolve/{rev}/pr.txt").body == b"pr"
        assert hub.get(hub.api(repo, f"/revision/{rev}")).status == 200
    assert hub.get(f"/{repo}/resolve/refs/pr/1/pr.txt").status == 404  # three segments are another path
    assert hub.get(f"/{repo}/resolve/refs%2Fheads%2Fmain/.gitattributes").status == 200
    assert hub.get(hub.api(repo, "/xet-write-token/None?create_pr=1"), "sam").status == 200


def test_a_commit_id_is_a_revision_whole_or_short(hub: Hub) -> None:
    repo = hub.repo()
    commit = hub.committed(repo, {"a": b"1"})
    hub.committed(repo, {"a": b"2"})
    for rev in (commit, commit[:7], commit[:12]):
        assert hub.get(f"/{repo}/resolve/{rev}/a").body == b"1"
    assert hub.get(f"/{repo}/resolve/{commit[:6]}/a").status == 404


def test_a_branch_named_like_a_commit_cannot_be_made(hub: Hub) -> None:
    repo = hub.repo()
    assert hub.post(hub.api(repo, f"/branch/{'a' * 40}"), "ada", json={}).status == 400
    assert hub.post(hub.api(repo, "/branch/refs%2Fheads%2Fx"), "ada", json={}).status == 400


# --- repo ids ---


def test_repo_ids_are_the_same_in_any_case_on_every_door(hub: Hub) -> None:
    repo = hub.repo("ada", owner="acme")
    data = noise("case", 500)
    for spelling in (repo.upper(), repo.title(), repo.swapcase()):
        hub.committed(spelling, {f"{spelling.split('/')[1]}.txt".lower(): spelling.encode()})
        assert hub.ok("GET", hub.api(spelling)).json["id"] == repo
        hub.with_lfs(spelling, "m.bin", data)
        answer = hub.head(f"/{spelling}/resolve/main/m.bin")
        assert answer.status == 200
        assert f"/api/models/{repo}/" in answer.headers["x-xet-refresh-route"]
        assert hub.get(f"/{spelling}.git/info/refs?service=git-upload-pack").status == 200
        assert hub.get(f"/{spelling}").status == 200
    listed = hub.ok("GET", hub.api(repo, "/commits/main")).json
    assert {c["title"] for c in listed} == {"initial commit", "by a test"}


def test_git_addresses_work_with_and_without_the_ending(hub: Hub) -> None:
    for kind in ("model", "dataset", "space"):
        where = page(hub.repo(kind=kind), kind)
        for ending in ("", ".git"):
            assert hub.get(f"{where}{ending}/info/refs?service=git-upload-pack").status == 200
            asked = {"operation": "download", "objects": []}
            assert hub.post(f"{where}{ending}/info/lfs/objects/batch", json=asked).status == 200


def test_git_without_the_smart_protocol_is_told_so(hub: Hub) -> None:
    answer = hub.get(f"/{hub.repo()}.git/info/refs", "ada")
    assert (answer.status, "smart protocol" in answer.error) == (403, True)


@pytest.fixture(scope="module")
def plain(hub: Hub) -> str:
    """A repo without a namespace, with files."""
    name = hub.name("gpt")
    hub.rooms.repos.registry.create(ROOT, RepoId("model", None, name), private=False)
    hub.committed(
        name, {"config.json": b"{}", "README.md": b"---\nlicense: mit\n---\n# Plain\n", "d/e.txt": b"e"}, as_="root"
    )
    hub.with_lfs(name, "m.safetensors", noise("plain", 4000), "root")
    return name


def test_a_repo_without_a_namespace_is_served_by_every_door(hub: Hub, plain: str) -> None:
    shown = hub.ok("GET", f"/api/models/{plain}").json
    assert (plain, plain) == (shown["id"], shown["modelId"])
    assert shown.get("author") is None
    assert hub.ok("GET", f"/{plain}/resolve/main/config.json").body == b"{}"
    assert hub.ok("GET", f"/{plain}/resolve/main/d/e.txt").body == b"e"
    head = hub.head(f"/{plain}/resolve/main/m.safetensors")
    assert (
        head.headers["x-xet-refresh-route"] == f"http://hub.test/api/models/{plain}/xet-read-token/{hub.head_of(plain)}"
    )
    for rest in ("/tree/main", "/tree/main/d", "/revision/main", "/refs", "/commits/main", "/xet-read-token/main", "/auth-check",
                 "/likers", "/compare/main..main"):  # fmt: skip
        assert hub.get(f"/api/models/{plain}{rest}").status == 200, rest
    for rest in ("", "/tree/main", "/tree/main/d", "/blob/main/d/e.txt", "/commits/main"):
        assert hub.get(f"/{plain}{rest}").status == 200, rest
    assert hub.get(f"/{plain}.git/info/refs?service=git-upload-pack").status == 200
    made = hub.commit(plain, {"new.txt": b"new"}, "root").json
    assert made["commitUrl"] == f"http://hub.test/{plain}/commit/{made['commitOid']}"
    assert hub.commit(plain, {"new.txt": b"no"}, "ada").status == 403
    listed = hub.batch(plain, [(sha(noise("plain", 4000)), 4000)], "", operation="download").json["objects"][0]
    assert hub.get(hub.local(listed["actions"]["download"]["href"])).body == noise("plain", 4000)
    hub.settle()
    assert [plain] == [one["id"] for one in hub.ok("GET", f"/api/models?search={plain}").json]
    assert [plain] == [one["id"] for one in hub.ok("GET", "/api/models?filter=license:mit").json]


def test_only_the_hubs_administrators_name_repos_without_a_namespace(hub: Hub) -> None:
    repo, name = hub.repo("ada"), hub.name("bare")
    assert hub.post("/api/repos/move", "ada", json={"fromRepo": repo, "toRepo": name, "type": "model"}).status == 403
    assert hub.post("/api/repos/move", "root", json={"fromRepo": repo, "toRepo": name, "type": "model"}).status == 200
    assert hub.get(hub.api(repo)).headers["location"] == f"/api/models/{name}"


# --- moved ---


MOVED = [
    ("GET", "API"), ("HEAD", "API"), ("GET", "API/revision/main"), ("GET", "API/tree/main?recursive=True&expand=False"),
    ("GET", "PAGE/resolve/main/a.txt"), ("HEAD", "PAGE/resolve/main/a.txt"), ("GET", "PAGE/resolve/refs%2Fheads%2Fmain/a%20b.txt"),
    ("POST", "API/paths-info/main"), ("POST", "API/commit/main"), ("POST", "API/preupload/main"), ("GET", "API/xet-write-token/main"),
    ("GET", "PAGE.git/info/refs?service=git-upload-pack"), ("GET", "PAGE/info/refs?service=git-receive-pack"),
    ("POST", "PAGE.git/git-upload-pack"), ("POST", "PAGE.git/git-receive-pack"), ("POST", "PAGE.git/info/lfs/objects/batch"),
    ("GET", "API/refs"), ("PUT", "API/settings"), ("DELETE", "API/branch/x"), ("POST", "API/duplicate"), ("GET", "PAGE"),
    ("GET", "PAGE/tree/main"), ("GET", "PAGE/blob/main/a.txt"),
]  # fmt: skip


@pytest.fixture(scope="module")
def moves(hub: Hub) -> dict[str, tuple[str, str]]:
    """type -> old id and new id; `plain`: from no namespace into one, under a name that other addresses contain."""
    found = {}
    for kind in ("model", "dataset", "space"):
        old, new = hub.repo("ada", kind=kind), f"acme/{hub.name('next')}"
        hub.committed(old, {"a.txt": b"a", "a b.txt": b"ab"}, kind=kind)
        hub.ok("POST", "/api/repos/move", "ada", json={"fromRepo": old, "toRepo": new, "type": kind})
        found[kind] = (old, new)
    hub.rooms.repos.registry.create(ROOT, RepoId("model", None, "a"), private=False)
    hub.ok("POST", "/api/repos/move", "root", json={"fromRepo": "a", "toRepo": "acme/was-a", "type": "model"})
    found["plain"] = ("a", "acme/was-a")
    return found


@pytest.mark.parametrize(("method", "address"), MOVED, ids=[f"{m} {a}" for m, a in MOVED])
@pytest.mark.parametrize("kind", ["model", "dataset", "space", "plain"])
def test_a_moved_repo_redirects_every_request_to_the_same_address_under_its_new_name(
    hub: Hub, moves: dict[str, tuple[str, str]], kind: str, method: str, address: str
) -> None:
    old, new = moves[kind]
    kind = "model" if kind == "plain" else kind

    def spelled(repo: str) -> str:
        return address.replace("API", hub.api(repo, kind=kind)).replace("PAGE", page(repo, kind))

    answer = hub.send(method, spelled(old), "ada", json={"operation": "download"} if method != "GET" else None)
    assert (answer.status, answer.code) == (307, "Moved")
    assert answer.headers["location"] == spelled(new)  # a path: older clients follow no absolute one
    if method in ("GET", "HEAD"):
        for accept in ("*/*", "text/html"):
            followed = hub.send(method, answer.headers["location"], "ada", headers={"accept": accept})
            assert followed.status < 400 or "a%20b" in address or (old == "a" and "a.txt" in address)


def test_a_body_sent_to_an_old_name_is_taken_at_the_new_one(hub: Hub, moves: dict[str, tuple[str, str]]) -> None:
    old, _ = moves["model"]
    body = ndjson([{"key": "header", "value": {"summary": "s"}}, inline("moved.txt", b"moved")])
    answer = hub.post(hub.api(old, "/commit/main"), "ada", body=body)
    answer = hub.post(answer.headers["location"], "ada", body=body)
    assert answer.status == 200


def test_a_browser_at_an_old_name_is_led_to_the_new_page(hub: Hub, moves: dict[str, tuple[str, str]]) -> None:
    old, new = moves["dataset"]
    for rest in ("", "/tree/main", "/blob/main/a.txt"):
        answer = hub.get(f"/datasets/{old}{rest}", headers={"accept": "text/html"})
        assert (answer.status, answer.headers["location"].startswith(f"/datasets/{new}")) == (307, True)


# --- a public URL with a path prefix ---


@pytest.fixture(scope="module")
def prefixed(new_hub: Callable[..., Hub]) -> Hub:
    return new_hub(public_url=PREFIX + "/", lfs_part_size=1000)


def at(hub: Hub, url: str) -> str:
    """The request line of one of the hub's absolute addresses, prefix and all."""
    assert url.startswith(PREFIX + "/"), url
    return url.removeprefix("https://hub.example")


def test_everything_works_behind_a_path_prefix(prefixed: Hub) -> None:
    hub, base = prefixed, "/some/where"
    name = hub.name()
    made = hub.ok("POST", f"{base}/api/repos/create", "ada", json={"name": name}).json
    assert made["url"] == f"{PREFIX}/ada/{name}"
    repo = made["id"]
    data, file = noise("prefixed", 2500), xet_file(noise("prefixed xet", 30_000))
    asked = {"operation": "upload", "transfers": ["multipart"], "objects": [{"oid": sha(data), "size": len(data)}]}
    actions = hub.ok("POST", f"{base}/{repo}.git/info/lfs/objects/batch", "ada", json=asked).json["objects"][0][
        "actions"
    ]
    for number in (1, 2, 3):
        part = data[(number - 1) * 1000 : number * 1000]
        hub.ok("PUT", at(hub, actions["upload"]["header"][str(number)]), body=part)
    hub.ok("POST", at(hub, actions["upload"]["href"]), json={"oid": sha(data), "parts": []})
    hub.ok("POST", at(hub, actions["verify"]["href"]), json={"oid": sha(data), "size": len(data)})
    token = hub.ok("GET", f"{base}/api/models/{repo}/xet-write-token/main", "ada")
    assert token.json["casUrl"] == token.headers["x-xet-cas-url"] == f"{PREFIX}/xet"
    with_xet(hub, repo, "x.bin", file)
    head = hub.head(f"{base}/{repo}/resolve/main/x.bin")
    for address in (head.headers["x-xet-refresh-route"], *links(head).values()):
        assert address.startswith(f"{PREFIX}/")
    read = hub.ok("GET", at(hub, head.headers["x-xet-refresh-route"])).json
    plan = hub.ok("GET", f"{at(hub, read['casUrl'])}/v1/reconstructions/{file.name}", read["accessToken"]).json
    assert b"".join(fetched_v1(hub, plan).values()) == file.data
    made = hub.commit(repo, {"a": b"a"}).json
    assert made["commitUrl"].startswith(f"{PREFIX}/{repo}/commit/")
    listed = hub.ok("GET", f"{base}/api/models/{repo}/tree/main?limit=1")
    following = at(hub, links(listed)["next"])
    assert hub.ok("GET", following).json != listed.json


def test_redirects_and_pages_stay_behind_the_prefix(prefixed: Hub) -> None:
    hub, base = prefixed, "/some/where"
    old, new = hub.repo(), f"ada/{hub.name('next')}"
    hub.ok("POST", f"{base}/api/repos/move", "ada", json={"fromRepo": old, "toRepo": new, "type": "model"})
    for address in (
        f"/api/models/{old}",
        f"/{old}/resolve/main/.gitattributes",
        f"/{old}.git/info/refs?service=git-upload-pack",
    ):
        assert hub.get(base + address).headers["location"] == base + address.replace(old, new)
    html = hub.get(f"{base}/{new}", headers={"accept": "text/html"}).text
    addresses = re.findall(r'(?:href|src|action)="(/[^"]*)"', html)
    assert len(addresses) > 5
    assert [a for a in addresses if not a.startswith(base + "/") and a != base] == []
    for address in (base, f"{base}/"):
        assert hub.get(address, headers={"accept": "text/html"}).status == 200
    static = next(a for a in addresses if "/static/" in a)
    assert hub.get(static).status == 200
    login = hub.get(f"{base}/new", headers={"accept": "text/html"})
    assert (303, f"{base}/login?next=%2Fnew") == (login.status, login.headers["location"])
    missing = hub.get(f"{base}/no/such", headers={"accept": "text/html"})
    assert f'href="{base}/' in missing.text


def test_a_proxy_that_takes_the_prefix_off_is_fine_too(prefixed: Hub) -> None:
    repo = prefixed.repo()
    for base in ("", "/some/where"):
        assert prefixed.get(f"{base}/api/models/{repo}").status == 200
    assert prefixed.get("/some/where-else/api/models").status >= 400


def test_what_crawlers_and_browsers_ask_every_host_for_is_no_repo(hub: Hub) -> None:
    robots = hub.ok("GET", "/robots.txt", headers={"authorization": "Bearer hf_wrong"})
    assert robots.headers["content-type"].startswith("text/plain")
    assert robots.text.splitlines()[:2] == ["User-agent: *", "Disallow: /api/"]
    icon = hub.ok("GET", "/favicon.ico")
    assert icon.headers["content-type"] == "image/svg+xml"
    assert icon.text.lstrip().startswith("<svg")
    assert hub.head("/robots.txt").headers["content-length"] == str(len(robots.body))


@pytest.mark.parametrize("name", ["templates", "semantic-search", "hardware", "robots.txt", "favicon.ico"])
def test_a_name_that_is_an_address_of_the_hubs_own_is_given_to_no_repo(hub: Hub, name: str) -> None:
    with pytest.raises(Invalid, match="reserved"):
        hub.rooms.repos.registry.create(ROOT, RepoId("space", None, name), None, "docker")


def test_a_space_of_addresses_that_are_nearly_routes_is_never_a_bug(hub: Hub) -> None:
    """Trailing, doubled and missing slashes; long paths; odd escapes."""
    repo = hub.repo()
    odd = ["//", "///", f"/{repo}/", f"//{repo}", f"/{repo}//resolve/main/x", "/api", "/api/", "/api/models/", "/api/models//x",
           hub.api(repo) + "/", hub.api(repo, "/tree/main/"), hub.api(repo, "/tree//"), hub.api(repo, "/tree"), "/xet/", "/lfs/",
           "/%", "/%zz", "/%ff", "/a%2f", "/" + "a/" * 100, "/" + "x" * 5000, f"/{repo}/resolve/main/", f"/{repo}/resolve/main",
           "/datasets/", "/spaces//", "*", f"/{repo}/commit/", "/static/", "/docs/../x", "/login/link/", "/settings"]  # fmt: skip
    for address in odd:
        for method in ("GET", "POST", "HEAD", "DELETE"):
            answer: Answer = hub.send(method, address, "ada")
            assert answer.status < 500, (method, address, answer.body)
