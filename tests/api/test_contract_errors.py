"""Section 1 of the Hub's contract: status, X-Error-Code and texts by which the real clients choose an exception."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from asgi_hub import Answer, Hub, deleted, inline, lfs_file
from sqlalchemy import update

from headwater.ground.errors import TAXONOMY
from headwater.repos.tables import repo as repo_table

NOT_THERE = "ada/never-there"


@pytest.fixture(scope="module")
def repo(hub: Hub) -> str:
    made = hub.repo()
    hub.committed(made, {"a.txt": b"a", "folder/b.txt": b"b"})
    return made


def told(answer: Answer, status: int, code: str) -> None:
    assert (status, code) == (answer.status, answer.code)
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.error  # header and body say the same


OF_A_REPO = [
    "API", "API/revision/main", "REPO/resolve/main/a.txt", "REPO/raw/main/a.txt", "API/tree/main", "API/refs", "API/commits/main",
    "API/xet-read-token/main", "API/auth-check", "API/likers", "API/compare/main..main", "REPO.git/info/refs?service=git-upload-pack",
    "API/safetensors-metadata/x.safetensors", "API/paths-info/main",
]  # fmt: skip


@pytest.mark.parametrize("address", OF_A_REPO)
@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_a_missing_repo_is_404_with_a_token_and_401_without(hub: Hub, address: str, kind: str) -> None:
    where = address.replace("API", hub.api(NOT_THERE, kind=kind))
    where = where.replace("REPO", f"/{NOT_THERE}" if kind == "model" else f"/{kind}s/{NOT_THERE}")
    method = "POST" if "paths-info" in address else "GET"
    told(hub.send(method, where, "sam"), 404, "RepoNotFound")
    nobody = hub.send(method, where)
    told(nobody, 401, "RepoNotFound")
    # what makes git ask for a password
    assert nobody.headers["www-authenticate"].startswith("Basic ")
    assert nobody.headers["x-error-message"] != "Invalid credentials in Authorization header"


@pytest.mark.parametrize(
    "address",
    ["API/revision/no-such", "REPO/resolve/no-such/a.txt", "API/tree/no-such", "API/commits/no-such", "API/xet-read-token/no-such",
     "API/tree/" + "0" * 40, "REPO/resolve/refs%2Fpr%2F9/a.txt", "API/compare/main..no-such", "API/compare/no-such..main"],
)  # fmt: skip
def test_a_missing_revision_says_so(hub: Hub, repo: str, address: str) -> None:
    where = address.replace("API", hub.api(repo)).replace("REPO", f"/{repo}")
    told(hub.get(where), 404, "RevisionNotFound")
    assert "Invalid rev id" in hub.get(where).error
    head = hub.head(where)
    assert (head.status, head.code, head.body) == (404, "RevisionNotFound", b"")


def test_a_missing_entry_says_so_and_names_the_commit_it_is_missing_in(hub: Hub, repo: str) -> None:
    commit = hub.head_of(repo)
    for address in (f"/{repo}/resolve/main/no-such", f"/{repo}/resolve/main/folder", hub.api(repo, "/tree/main/no-such"),
                    f"/{repo}/resolve/main/a.txt/inside", hub.api(repo, "/tree/main/a.txt"),
                    f"/{repo}/resolve/{commit}/no-such"):  # fmt: skip
        told(hub.get(address), 404, "EntryNotFound")
        for answer in (hub.get(address), hub.head(address)):
            assert answer.headers["x-repo-commit"] == commit


def test_a_gated_repo_is_401_for_nobody_and_403_for_others_and_its_metadata_stays_readable(hub: Hub) -> None:
    repo = hub.repo("ada", owner="acme")
    hub.committed(repo, {"a.txt": b"a"})
    hub.ok("PUT", hub.api(repo, "/settings"), "ada", json={"gated": "manual"})
    for address in (f"/{repo}/resolve/main/a.txt", hub.api(repo, "/tree/main"), hub.api(repo, "/auth-check"),
                    hub.api(repo, "/xet-read-token/main"), f"/{repo}.git/info/refs?service=git-upload-pack",
                    hub.api(repo, "/commits/main"), f"/{repo}/raw/main/a.txt"):  # fmt: skip
        told(hub.get(address), 401, "GatedRepo")
        told(hub.get(address, "sam"), 403, "GatedRepo")
        assert hub.get(address, "rea").status == 200
    shown = hub.ok("GET", hub.api(repo)).json
    assert ("manual", repo) == (shown["gated"], shown["id"])
    assert hub.get(f"/{repo}").status == 200
    for gate in ("auto", False):
        hub.ok("PUT", hub.api(repo, "/settings"), "ada", json={"gated": gate})
        assert hub.ok("GET", hub.api(repo)).json["gated"] == gate
    assert hub.get(f"/{repo}/resolve/main/a.txt").status == 200


def test_a_disabled_repo_has_the_hubs_exact_words(hub: Hub) -> None:
    repo = hub.repo()
    with hub.rooms.db.write() as connection:
        connection.execute(update(repo_table).where(repo_table.c.id == hub.row(repo).id).values(disabled=True))
    for who in ("", "sam", "ada"):
        answer = hub.get(hub.api(repo), who)
        assert (answer.status, answer.code) == (403, "Disabled")
        assert answer.headers["x-error-message"] == "Access to this resource is disabled."
    assert hub.get(hub.api(repo), "root").status == 200


@pytest.mark.parametrize("token", ["hf_unknown", "nonsense", "x" * 5000, "hf_\xe9", " "])
def test_wrong_credentials_have_the_hubs_exact_words(hub: Hub, repo: str, token: str) -> None:
    for address in (hub.api(repo), f"/{repo}/resolve/main/a.txt", "/api/whoami-v2", "/api/models"):
        answer = hub.get(address, headers={"authorization": f"Bearer {token}"})
        if not token.strip():
            assert answer.status in (200, 401)
            continue
        told(answer, 401, "InvalidCredentials")
        assert answer.error == "Invalid credentials in Authorization header"


@pytest.mark.parametrize("header", ["Bearer", "Basic !!!", "Basic " + "eA" * 9, "Digest x", "Negotiate x", "hf_x"])
def test_a_scheme_that_is_not_spoken_is_refused(hub: Hub, repo: str, header: str) -> None:
    answer = hub.get(hub.api(repo), headers={"authorization": header})
    assert answer.status in (200, 401)
    assert (answer.status == 200) == (header == "Bearer")


def test_whoami_of_nobody_has_the_hubs_exact_words(hub: Hub) -> None:
    answer = hub.get("/api/whoami-v2")
    told(answer, 401, "InvalidCredentials")
    assert answer.error == "Invalid user token"


def test_400_names_the_field_and_the_rule(hub: Hub, repo: str) -> None:
    for address in ("/api/models?limit=0", "/api/models?limit=x", "/api/models?sort=nonsense", "/api/models?cursor=!",
                    "/api/models?num_parameters=lots", hub.api(repo, "/commits/main?cursor=x"),
                    hub.api(repo, "?expand=nonsense"), hub.api(repo, "/compare/main"), "/api/models?a=%ff"):  # fmt: skip
        told(hub.get(address), 400, "BadRequest")


def test_an_unknown_expand_lists_what_there_is(hub: Hub, repo: str) -> None:
    expected = {
        "model": "author, baseModels, cardData, childrenModelCount, config, createdAt, disabled, downloads, downloadsAllTime, "
        "evalResults, gated, gguf, inference, inferenceProviderMapping, lastModified, library_name, likes, mask_token, model-index, "
        "pipeline_tag, private, resourceGroup, safetensors, sha, siblings, spaces, tags, transformersInfo, trendingScore, "
        "usedStorage, widgetData, gitalyUid, xetEnabled",
        "dataset": "author, cardData, citation, createdAt, description, disabled, downloads, downloadsAllTime, gated, lastModified, "
        "likes, mainSize, paperswithcode_id, private, resourceGroup, sha, siblings, tags, trendingScore, usedStorage, gitalyUid, "
        "xetEnabled",
        "space": "author, cardData, createdAt, datasets, disabled, lastModified, likes, models, private, region, resourceGroup, "
        "runtime, sdk, sha, siblings, subdomain, tags, trendingScore, usedStorage, gitalyUid, xetEnabled",
    }
    for kind, names in expected.items():
        made = repo if kind == "model" else hub.repo(kind=kind)
        for address in (
            hub.api(made, "?expand=foo", kind),
            f"/api/{kind}s?expand=foo",
            f"/api/{kind}s?expand=author,foo",
        ):
            assert hub.get(address).error.startswith(f'"expand" must be one of [{names}]')


def test_403_names_the_missing_right(hub: Hub, repo: str) -> None:
    answer = hub.commit(repo, {"x": b""}, "sam")
    told(answer, 403, "Forbidden")
    assert f"You don't have the rights to write to the model {repo}" in answer.error
    create = hub.post("/api/repos/create", "sam", json={"name": "x", "organization": "acme"})
    told(create, 403, "Forbidden")
    assert 'under the namespace "acme"' in create.error
    only_read = hub.token("ada", "read")
    assert "role 'read'" in hub.get(hub.api(repo, "/auth-check/write"), only_read).error


def test_409_of_a_repo_that_exists_carries_its_url(hub: Hub, repo: str) -> None:
    answer = hub.post("/api/repos/create", "ada", json={"name": repo.split("/")[1], "organization": "ada"})
    told(answer, 409, "Conflict")
    assert answer.json["url"] == f"http://hub.test/{repo}"
    assert answer.json["id"] == repo
    assert "You already created this model repo" in answer.error
    taken = hub.repo()
    moved = hub.post("/api/repos/move", "ada", json={"fromRepo": taken, "toRepo": repo, "type": "model"})
    told(moved, 409, "Conflict")
    assert f"A model repository called {repo} already exists" in moved.error
    duplicate = hub.post(hub.api(taken, "/duplicate"), "ada", json={"repository": repo})
    assert (409, f"http://hub.test/{repo}") == (duplicate.status, duplicate.json["url"])


def test_409_and_404_of_branches_and_tags_have_the_texts_that_clients_match(hub: Hub) -> None:
    repo = hub.repo()
    for _ in range(2):
        answer = hub.post(hub.api(repo, "/branch/dev"), "ada", json={})
    told(answer, 409, "Conflict")
    assert answer.error == "Reference refs/heads/dev already exists"
    hub.ok("POST", hub.api(repo, "/tag/main"), "ada", json={"tag": "v1"})
    answer = hub.post(hub.api(repo, "/tag/main"), "ada", json={"tag": "v1"})
    assert (answer.status, answer.error) == (409, "Reference refs/tags/v1 already exists")
    assert hub.send("DELETE", hub.api(repo, "/branch/main"), "ada").error == "Cannot delete refs/heads/main"
    assert hub.send("DELETE", hub.api(repo, "/branch/main"), "ada").status == 403
    for missing in ("/branch/none", "/branch/v1", "/tag/none", "/tag/dev"):
        answer = hub.send("DELETE", hub.api(repo, missing), "ada")
        told(answer, 404, "RevisionNotFound")
        assert "Invalid rev id" in answer.error
    told(hub.post(hub.api(repo, "/branch/b"), "ada", json={"startingPoint": "none"}), 404, "RevisionNotFound")
    told(hub.post(hub.api(repo, "/tag/none"), "ada", json={"tag": "t"}), 404, "RevisionNotFound")
    for bad in ("a b", "a..b", "-a", "a~b", "a:b", "a^", "@", "HEAD", "a.lock", "a" * 300, "refs/heads/x", "a\\b"):
        assert hub.post(hub.api(repo, "/tag/main"), "ada", json={"tag": bad}).status == 400
    assert hub.post(hub.api(repo, "/branch/v1"), "ada", json={}).status == 200  # a branch may share a tag's name


def test_412_has_the_exact_words(hub: Hub) -> None:
    repo = hub.repo()
    old = hub.head_of(repo)
    hub.committed(repo, {"a": b"1"})
    answer = hub.commit(repo, {"b": b"2"}, parentCommit=old)
    told(answer, 412, "Stale")
    assert answer.error == "The branch was updated since you opened this page. Please refresh and try again."
    head = hub.head_of(repo)
    assert hub.commit(repo, {"b": b"2"}, parentCommit=head[:7].upper()).status == 200


def test_416_shows_the_range_and_the_size(hub: Hub, repo: str) -> None:
    answer = hub.get(f"/{repo}/resolve/main/a.txt", headers={"range": "bytes=5-9"})
    told(answer, 416, "BadRequest")
    assert answer.headers["content-range"] == "bytes */1"
    assert "bytes=5-9" in answer.error


def test_422_of_a_path_and_of_an_object_that_is_not_there(hub: Hub, repo: str) -> None:
    told(hub.commit(repo, [inline("..\\x", b"")]), 422, "BadRequest")
    answer = hub.commit(repo, [lfs_file("m.bin", "a" * 64, 1)])
    told(answer, 422, "BadRequest")
    assert answer.json["missing"] == ["a" * 64]
    told(hub.commit(repo, {"a.txt/x": b""}), 422, "BadRequest")
    told(hub.commit(repo, {"folder": b""}), 422, "BadRequest")


def test_404_of_deleting_or_copying_what_is_not_there(hub: Hub, repo: str) -> None:
    for line in (
        deleted("none.txt"),
        deleted("folder"),
        {"key": "copyFile", "value": {"srcPath": "none", "path": "x"}},
    ):
        answer = hub.commit(repo, [line])
        told(answer, 404, "EntryNotFound")
        assert "A file with this name doesn't exist" in answer.error
    told(hub.commit(repo, [{"key": "deletedFolder", "value": {"path": "a.txt"}}]), 404, "EntryNotFound")


def test_a_commit_to_what_is_no_branch_is_a_missing_revision(hub: Hub, repo: str) -> None:
    hub.post(hub.api(repo, "/tag/main"), "ada", json={"tag": "vx"})
    for rev in ("none", hub.head_of(repo), "vx", "refs/tags/vx", "refs/heads/none", "refs/pr/99"):
        for query in ("", "?create_pr=1"):
            told(hub.commit(repo, {"x": b""}, rev=rev, query=query), 404, "RevisionNotFound")
    told(hub.post(hub.api(repo, "/preupload/none"), "ada", json={"files": []}), 404, "RevisionNotFound")


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [
        ("PUT", "/api/models/ada/x/discussions", 405), ("GET", "/api/models/ada/x/discussions/1/comment", 404),
        ("GET", "/api/spaces/semantic-search?q=a+cat", 501), ("GET", "/api/spaces/hardware", 501), ("POST", "/robots.txt", 405), ("PUT", "/favicon.ico", 405),
        ("GET", "/api/buckets/ada/x", 404), ("GET", "/api/buckets/ada", 404), ("GET", "/api/kernels/ada/x", 404),
        ("GET", "/api/collections", 404), ("GET", "/api/collections/ada/x-1", 404), ("GET", "/api/settings/webhooks", 404),
        ("GET", "/api/daily_papers", 404), ("GET", "/api/jobs/ada", 404), ("POST", "/api/jobs/ada", 404),
        ("POST", "/oauth/device", 404), ("GET", "/no/such/place/at/all", 404),
        ("POST", "/ada/x.git/info/lfs/locks", 404), ("GET", "/ada/x.git/info/lfs/locks", 404),
        ("POST", "/ada/x.git/info/lfs/locks/verify", 404), ("GET", "/.well-known/openid-configuration", 404),
        ("PATCH", "/api/models/ada/x", 405), ("DELETE", "/api/whoami-v2", 405), ("PUT", "/api/repos/create", 405),
        ("GET", "/api/models?apps=unknown", 501), ("OPTIONS", "/api/models", 405), ("TRACE", "/", 405),
    ],
)  # fmt: skip
def test_what_is_not_offered_says_so_and_succeeds_at_nothing(hub: Hub, method: str, address: str, status: int) -> None:
    answer = hub.send(method, address, "ada")
    told(answer, status, "NotOffered")
    if status == 405:
        assert method not in answer.headers["allow"].split(", ")


def test_429_says_when_to_come_again(new_hub: Callable[..., Hub]) -> None:
    small = new_hub(signin_tries_max=1)
    body, headers = b"name=x&password=y", {"content-type": "application/x-www-form-urlencoded"}
    answers = [small.post("/login", body=body, headers=headers) for _ in range(2)]
    assert [answer.status for answer in answers] == [401, 429]
    assert 0 < int(answers[1].headers["retry-after"]) <= 600


def test_503_while_the_database_is_busy_says_when_to_come_again(new_hub: Callable[..., Hub]) -> None:
    small = new_hub(busy_wait_s=0.05)
    with small.rooms.db.write():
        answer = small.post("/api/repos/create", "ada", json={"name": "x"})
    told(answer, 503, "Unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert "nothing was stored" in answer.error
    assert small.post("/api/repos/create", "ada", json={"name": "x"}).status == 200


def test_every_class_of_the_taxonomy_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in TAXONOMY]
    assert len(set(codes)) == len(codes)
    assert {"RepoNotFound", "RevisionNotFound", "EntryNotFound", "GatedRepo"} <= set(codes)


def test_an_error_text_with_line_breaks_or_letters_beyond_ascii_cannot_break_the_header(hub: Hub, repo: str) -> None:
    answer = hub.get(f"/{repo}/resolve/main/%0D%0ASet-Cookie%3A%20x%3D1/%E2%98%83")
    assert answer.status == 404
    assert answer.headers["x-error-message"].isascii()
    assert "\n" not in answer.headers["x-error-message"]
    assert answer.cookies == ()
