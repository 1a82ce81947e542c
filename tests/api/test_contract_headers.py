"""What every answer carries, and what none may: ids, validators, no compression; addresses that clients follow."""

from __future__ import annotations

import re

import pytest
from asgi_hub import URL, Hub, git_sha, links, noise, sha

from headwater.front.routes import ROUTES


@pytest.fixture(scope="module")
def repo(hub: Hub) -> str:
    made = hub.repo()
    hub.committed(made, {"a.txt": b"text " * 1000, "config.json": b"{}"})
    hub.with_lfs(made, "m.safetensors", noise("weights", 3000))
    return made


ANY = [
    "/api/models",
    "/api/models/none/none",
    "/api/whoami-v2",
    "/health/live",
    "/",
    "/no/such",
    "/xet/fetch/x",
    "/static/x",
    "/login",
]


@pytest.mark.parametrize("address", ANY)
def test_the_clients_request_id_comes_back_on_every_answer(hub: Hub, address: str) -> None:
    for name in ("x-request-id", "x-amzn-trace-id"):
        for given in (
            "abc-123",
            "Root=1-67891233-abcdef012345678912345678;Self=1",
            "550e8400-e29b-41d4-a716-446655440000",
        ):
            assert hub.get(address, headers={name: given}).headers["x-request-id"] == given
    both = hub.get(address, headers={"x-request-id": "mine", "x-amzn-trace-id": "other"})
    assert both.headers["x-request-id"] == "mine"
    for bad in ("a b", "a\tb", "<script>", "x" * 101, "", '"', "a,b"):
        made = hub.get(address, headers={"x-request-id": bad}).headers["x-request-id"]
        assert made != bad
        assert len(made) >= 16
    assert hub.get(address).headers["x-request-id"] != hub.get(address).headers["x-request-id"]


def test_nothing_is_compressed_whatever_the_client_accepts(hub: Hub, repo: str) -> None:
    for address in (
        f"/{repo}/resolve/main/a.txt",
        hub.api(repo),
        "/api/models",
        "/",
        f"/{repo}/resolve/main/config.json",
    ):
        for method in ("GET", "HEAD"):
            answer = hub.send(method, address, headers={"accept-encoding": "gzip, br, zstd"})
            assert "content-encoding" not in answer.headers
            if method == "HEAD" and "resolve" in address:
                size = 5000 if "a.txt" in address else 2
                assert int(answer.headers["content-length"]) == size


def test_head_of_a_regular_file_has_all_that_a_client_reads(hub: Hub, repo: str) -> None:
    data = b"text " * 1000
    answer = hub.head(f"/{repo}/resolve/main/a.txt")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["x-repo-commit"] == hub.head_of(repo)
    assert answer.headers["etag"] == f'"{git_sha(data)}"'
    assert answer.headers["content-length"] == "5000"
    assert 'filename="a.txt"' in answer.headers["content-disposition"]
    for absent in ("x-xet-hash", "x-linked-etag", "link", "location"):
        assert absent not in answer.headers
    commit = hub.head_of(repo)
    assert hub.head(f"/{repo}/resolve/{commit}/a.txt").headers["x-repo-commit"] == commit
    assert len(commit) == 40


def test_head_of_an_lfs_file_has_all_that_a_client_reads(hub: Hub, repo: str) -> None:
    data = noise("weights", 3000)
    answer = hub.head(f"/{repo}/resolve/main/m.safetensors")
    commit = hub.head_of(repo)
    assert answer.headers["etag"] == answer.headers["x-linked-etag"] == f'"{sha(data)}"'
    assert answer.headers["x-linked-size"] == answer.headers["content-length"] == "3000"
    assert len(answer.headers["x-xet-hash"]) == 64
    route = f"{URL}/api/models/{repo}/xet-read-token/{commit}"
    assert answer.headers["x-xet-refresh-route"] == route
    assert links(answer) == {
        "xet-auth": route,
        "xet-reconstruction-info": f"{URL}/xet/v1/reconstructions/{answer.headers['x-xet-hash']}",
    }
    assert "location" not in answer.headers
    exposed = answer.headers["access-control-expose-headers"]
    for name in ("X-Repo-Commit", "X-Linked-Size", "X-Linked-Etag", "X-Xet-Hash", "ETag", "Link"):
        assert name in exposed


def test_the_xet_file_info_that_huggingface_js_asks_for(hub: Hub, repo: str) -> None:
    headers = {"accept": "application/vnd.xet-fileinfo+json, */*", "range": "bytes=0-0"}
    answer = hub.get(f"/{repo}/resolve/main/m.safetensors", headers=headers)
    assert answer.headers["content-type"].startswith("application/vnd.xet-fileinfo+json")
    assert answer.json["hash"] == answer.headers["x-xet-hash"]
    assert (answer.json["size"], answer.headers["x-linked-size"]) == (3000, "3000")
    assert {"xet-auth", "xet-reconstruction-info"} == set(links(answer))
    regular = hub.get(f"/{repo}/resolve/main/a.txt", headers=headers)
    assert (regular.status, regular.body) == (206, b"t")


def test_tree_paths_info_and_resolve_agree_on_xet(hub: Hub, repo: str) -> None:
    """A listing that announces Xet makes snapshot_download skip HEAD: together, or nowhere."""
    head = hub.head(f"/{repo}/resolve/main/m.safetensors").headers
    tree = {e["path"]: e for e in hub.ok("GET", hub.api(repo, "/tree/main")).json}["m.safetensors"]
    (info,) = hub.ok("POST", hub.api(repo, "/paths-info/main"), json={"paths": ["m.safetensors"]}).json
    assert tree == info
    assert tree["xetHash"] == head["x-xet-hash"]
    assert f'"{tree["lfs"]["oid"]}"' == head["etag"]
    assert (tree["size"], tree["lfs"]["size"]) == (3000, 3000)


def test_answers_to_errors_are_json_that_no_browser_takes_for_a_page(hub: Hub) -> None:
    for address in ("/api/models/none/none", "/none/none/resolve/main/x", "/no/such", "/xet/v1/reconstructions/x"):
        answer = hub.get(address)
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert set(answer.json) == {"error", "code", "request_id"}


def test_a_page_is_served_to_browsers_and_json_to_tools(hub: Hub) -> None:
    page = hub.get("/none/none", headers={"accept": "text/html,application/xhtml+xml"})
    assert (page.status, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert page.headers["x-error-code"] == "RepoNotFound"
    assert "www-authenticate" not in page.headers  # no dialog: the page offers to sign in
    assert hub.get("/none/none").status == 401


def test_head_is_answered_wherever_get_is(hub: Hub, repo: str) -> None:
    plain = [r.pattern for r in ROUTES if r.method == "GET" and "{" not in r.pattern]
    assert len(plain) > 10
    for address in [*plain, hub.api(repo), f"/{repo}", f"/{repo}/resolve/main/a.txt", "/api/models?limit=1"]:
        head, got = hub.head(address, "ada"), hub.get(address, "ada")
        assert (got.status, b"") == (head.status, head.body)
        assert head.headers.get("content-length") == got.headers.get("content-length")


def test_dates_have_the_one_form_that_clients_parse(hub: Hub, repo: str) -> None:
    form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    shown = hub.ok("GET", hub.api(repo)).json
    dates = [shown["createdAt"], shown["lastModified"]]
    dates += [c["date"] for c in hub.ok("GET", hub.api(repo, "/commits/main")).json]
    dates += [e["lastCommit"]["date"] for e in hub.ok("GET", hub.api(repo, "/tree/main?expand=True")).json]
    dates += [f["pushedAt"] for f in hub.ok("GET", hub.api(repo, "/lfs-files"), "ada").json]
    dates.append(hub.ok("GET", "/api/whoami-v2", "ada").json["auth"]["accessToken"]["createdAt"])
    dates.append(hub.ok("GET", "/api/users/ada/overview").json["createdAt"])
    assert len(dates) >= 10
    assert [date for date in dates if not re.fullmatch(form, date)] == []


def test_a_download_that_is_marked_is_counted_once_for_each_client(hub: Hub) -> None:
    repo = hub.repo()
    hub.committed(repo, {"a.txt": b"a"})
    for client in ("10.0.0.1", "10.0.0.2", "10.0.0.1"):
        hub.get(f"/{repo}/resolve/main/a.txt", headers={"x-hf-download-counter": "1"}, client=client)
    hub.get(f"/{repo}/resolve/main/a.txt", client="10.0.0.3")
    hub.settle()
    assert hub.ok("GET", hub.api(repo, "?expand=downloads")).json["downloads"] == 2
