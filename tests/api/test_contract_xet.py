"""Section 3.2 of the Hub's contract and xet.md: LFS and Xet, and that every file can be had both ways."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgi_hub import URL, Answer, Hub, Midway, lfs_file, noise, page, sha
from xet_files import (
    XetFile,
    Xorb,
    chunks_of,
    fetched_v2,
    post_shard,
    post_xorb,
    rebuilt,
    shard_of,
    unpacked,
    with_xet,
    xet_file,
)

from headwater.ground.names import Sha256
from headwater.store import Blob, XetHash, hashes, shard
from headwater.store.turns import Turns

MEDIA = "application/vnd.git-lfs+json"
PREFIXES = ("default", "default-merkledb")


# --- LFS ---


def test_a_batch_answers_as_git_lfs_reads_it(hub: Hub) -> None:
    repo, data, there = hub.repo(), noise("new", 700), noise("there", 800)
    hub.with_lfs(repo, "there.bin", there)
    asked = {"operation": "upload", "transfers": ["lfs-standalone-file", "basic", "ssh"], "ref": {"name": "refs/heads/main"},
             "objects": [{"oid": sha(data), "size": 700}, {"oid": sha(there), "size": 800}], "hash_algo": "sha256"}  # fmt: skip
    headers = {"accept": MEDIA, "content-type": f"{MEDIA}; charset=utf-8"}
    answer = hub.post(
        f"{page(repo)}.git/info/lfs/objects/batch", "ada", body=json.dumps(asked).encode(), headers=headers
    )
    assert (answer.status, answer.headers["content-type"]) == (200, MEDIA)
    assert (answer.json["transfer"], answer.json["hash_algo"]) == ("basic", "sha256")
    new, present = answer.json["objects"]
    assert (sha(data), 700, True) == (new["oid"], new["size"], new["authenticated"])
    assert set(new["actions"]) == {"upload", "verify"}
    for action in new["actions"].values():
        assert action["href"].startswith(f"{URL}/lfs/{sha(data)}")
        assert action["expires_in"] > 0
        assert "authorization" not in {name.lower() for name in action.get("header", {})}
    assert present == {"oid": sha(there), "size": 800}
    listed = hub.batch(repo, [(sha(there), 800), (sha(data), 700)], "", operation="download").json
    assert listed["transfer"] == "basic"
    found, missing = listed["objects"]
    assert hub.get(hub.local(found["actions"]["download"]["href"])).body == there
    assert {"code": 404, "message": missing["error"]["message"]} == missing["error"]
    assert "actions" not in missing


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["basic"], "basic"),
        (["basic", "multipart"], "basic"),
        (["basic", "multipart", "xet"], "xet"),
        (["xet"], "xet"),
        (None, "basic"),
        ([], "basic"),
    ],
)
def test_xet_is_chosen_where_the_client_offers_it(hub: Hub, offered: list[str] | None, chosen: str) -> None:
    repo = hub.repo()
    answer = hub.batch(repo, [("a" * 64, 5)], transfers=offered).json
    assert answer["transfer"] == chosen
    upload = answer["objects"][0]["actions"]["upload"]
    if chosen == "xet":
        assert upload["href"] == f"{URL}/api/models/{repo}/xet-write-token/main"
        header = upload["header"]
        assert {"X-Xet-Cas-Url", "X-Xet-Access-Token", "X-Xet-Token-Expiration", "X-Xet-Session-Id"} == set(header)
        file = xet_file(noise(repo, 5000))
        assert post_xorb(hub, header["X-Xet-Access-Token"], file.xorbs[0]).status == 200


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"operation": "erase", "objects": []}, 422), ({"objects": []}, 422), ({"operation": "upload"}, 422),
        ({"operation": "upload", "objects": [{"oid": "x", "size": 1}]}, 400),
        ({"operation": "upload", "objects": [{"oid": "A" * 64, "size": 1}]}, 400),
        ({"operation": "upload", "objects": [{"oid": "a" * 64, "size": -1}]}, 422),
        ({"operation": "upload", "objects": [{"oid": "a" * 64, "size": True}]}, 422),
        ({"operation": "upload", "objects": [{"oid": "a" * 64}]}, 422),
        ({"operation": "upload", "objects": [], "hash_algo": "sha512"}, 409),
    ],
)  # fmt: skip
def test_a_batch_that_makes_no_sense_is_refused(hub: Hub, asked: dict[str, object], status: int) -> None:
    answer = hub.post(f"/{hub.repo()}/info/lfs/objects/batch", "ada", json=asked)
    assert (status, "BadRequest") == (answer.status, answer.code)


def test_the_same_object_twice_in_one_batch_is_answered_twice(hub: Hub) -> None:
    answer = hub.batch(hub.repo(), [("a" * 64, 5), ("a" * 64, 5)]).json
    assert [o["oid"] for o in answer["objects"]] == ["a" * 64] * 2


# --- tokens ---


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
@pytest.mark.parametrize("scope", ["read", "write"])
def test_a_xet_token_comes_as_json_and_as_headers(hub: Hub, kind: str, scope: str) -> None:
    repo = hub.repo(kind=kind)
    answer = hub.ok("GET", hub.api(repo, f"/xet-{scope}-token/main", kind), "ada")
    said = answer.json
    assert {"accessToken", "exp", "casUrl"} == set(said)
    assert said["accessToken"] == answer.headers["x-xet-access-token"]
    assert said["casUrl"] == answer.headers["x-xet-cas-url"] == f"{URL}/xet"
    assert str(said["exp"]) == answer.headers["x-xet-token-expiration"]
    left_s = said["exp"] - hub.rooms.clock.now_ms() // 1000
    assert 890 <= left_s <= 900  # as the Hub; clients refresh 30 to 60 s before the end
    assert not said["casUrl"].endswith("/")


def test_a_read_token_is_for_a_revision_that_there_is_and_a_write_token_for_any(hub: Hub) -> None:
    repo = hub.repo()
    assert hub.get(hub.api(repo, "/xet-read-token/none")).code == "RevisionNotFound"
    assert hub.get(hub.api(repo, f"/xet-read-token/{hub.head_of(repo)}")).status == 200
    for rev in ("none-yet", "None", "refs%2Fpr%2F1"):
        assert hub.get(hub.api(repo, f"/xet-write-token/{rev}"), "ada").status == 200
    assert hub.get(hub.api(repo, "/xet-write-token/main"), "sam").status == 403
    assert hub.get(hub.api(repo, "/xet-write-token/main?create_pr=1"), "sam").status == 200


def test_the_cas_is_asked_with_its_own_tokens_only(hub: Hub) -> None:
    for method, path in (("GET", f"/v1/reconstructions/{'a' * 64}"), ("POST", f"/v1/xorbs/default/{'a' * 64}"), ("POST", "/v1/shards"),
                         ("POST", "/v1/telemetry"), ("GET", f"/v1/chunks/default/{'a' * 64}")):  # fmt: skip
        for bearer in ("", "ada", "nonsense"):
            assert hub.send(method, f"/xet{path}", bearer, body=b"x" if method == "POST" else None).status == 401
    read = hub.xet(hub.repo())
    for path in (f"/v1/xorbs/default/{'a' * 64}", "/v1/shards", "/v2/shards"):
        assert hub.post(f"/xet{path}", read, body=b"x").status == 403


# --- xorbs and shards ---


XORB_PATHS = ["/xet/v1/xorbs/default", "/xet/xorbs/default", "/xet/xorb/default", "/xet/v1/xorbs/default-merkledb"]
SHARD_PATHS = [
    ("POST", "/xet/v1/shards"),
    ("POST", "/xet/shards"),
    ("POST", f"/xet/shard/default/{'a' * 64}"),
    ("PUT", f"/xet/shard/default/{'a' * 64}"),
]


@pytest.mark.parametrize("path", XORB_PATHS)
@pytest.mark.parametrize("send", SHARD_PATHS, ids=lambda send: " ".join(send)[:24])
def test_every_generation_of_clients_can_upload(hub: Hub, path: str, send: tuple[str, str]) -> None:
    repo, file = hub.repo(), xet_file(noise(path + send[0] + send[1], 50_000))
    token, xorb = hub.xet(repo, "write"), file.xorbs[0]
    answers = [hub.post(f"{path}/{xorb.name}", token, body=xorb.serialised(scheme)) for scheme in (1, 0)]
    assert [answer.json for answer in answers] == [{"was_inserted": True}, {"was_inserted": False}]
    answer = hub.send(send[0], send[1], token, body=shard_of(file))
    assert answer.json["result"] in (0, 1)
    hub.committed(repo, [lfs_file("x.bin", file.sha256, len(file.data))])
    assert hub.get(f"/{repo}/resolve/main/x.bin").body == file.data


def test_a_grant_is_an_address_to_put_to_without_credentials(hub: Hub) -> None:
    repo, file = hub.repo(), xet_file(noise("granted", 60_000))
    token, xorb = hub.xet(repo, "write"), file.xorbs[0]
    asked = {"length": len(xorb.serialised()), "checksum": {"algo": "crc64nvme", "value": "1"}}
    grant = hub.post(f"/xet/v1/xorb-grants/default/{xorb.name}", token, json=asked)
    assert grant.status == 201
    assert {"id", "method", "url", "headers"} == set(grant.json)
    assert (grant.json["method"], grant.json["headers"]) == ("PUT", {})
    commit = f"/xet/v1/xorb-commits/default/{xorb.name}/grant/{grant.json['id']}"
    assert hub.post(commit, token, body=b"").status == 404  # nothing came yet
    put = hub.local(grant.json["url"])
    assert hub.send("PUT", put, body=xorb.serialised()[:-1]).status == 400
    assert hub.send("PUT", put, body=Xorb((b"another",)).serialised()).status == 400
    assert hub.send("PUT", put, body=xorb.serialised()).status == 200
    assert hub.post(commit, token, body=b"").status == 200
    again = hub.post(f"/xet/v1/xorb-grants/default/{xorb.name}", token, json=asked)
    assert (again.status, again.body) == (200, b"")  # there already: nothing is to be sent
    assert post_shard(hub, token, file).status == 200
    assert hub.head(f"/xet/v1/xorbs/default/{xorb.name}", token).status == 200
    assert hub.head(f"/xet/v1/xorbs/default/{'a' * 64}", token).status == 404


def test_a_shard_of_the_second_version_reports_its_progress(hub: Hub) -> None:
    repo = hub.repo()
    files = [xet_file(noise(f"progress {i}", 300_000)) for i in range(3)]
    token = hub.xet(repo, "write")
    for file in files:
        post_xorb(hub, token, file.xorbs[0])
    answer = hub.ok("POST", "/xet/v2/shards", token, body=shard_of(*files))
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert lines[-1]["type"] == "result"
    progress = [line for line in lines if line["type"] == "validating"]
    assert progress[-1] == {"type": "validating", "verified": 900_000, "total": 900_000}
    assert [line["verified"] for line in progress] == sorted(line["verified"] for line in progress)
    for file in files:
        hub.committed(repo, [lfs_file("x.bin", file.sha256)])


def test_a_stale_client_cache_is_told_what_to_delete(hub: Hub) -> None:
    token, file = hub.xet(hub.repo(), "write"), xet_file(noise("never sent", 40_000))
    answer = hub.ok("POST", "/xet/v2/shards", token, body=shard_of(file))
    error = json.loads(answer.body.splitlines()[-1])
    assert (error["type"], error["retryable"]) == ("error", False)
    for words in (file.xorbs[0].name, "shard-cache", "Delete that cache", "HF_XET_CACHE"):
        assert words in error["message"]
    first = hub.post("/xet/v1/shards", token, body=shard_of(file), headers={"user-agent": "node"})
    assert (400, error["message"]) == (first.status, first.error)
    for agent in ({"user-agent": "huggingface_hub/1.28.0; hf_xet/1.5.2"}, {}):  # up to 1.2 it does not say its name
        shown = hub.post("/xet/v1/shards", token, body=shard_of(file), headers=agent)
        assert (303, error["message"]) == (shown.status, shown.error)
        where = shown.headers["location"]
        assert all(words in where for words in ("delete-the-folder", "/xet/*/shard-cache", "HF_XET_CACHE"))
        assert hub.get(hub.local(where)).status == 404  # this stops the client, which prints the address


# --- many at once ---


class Held:
    """Checks of shards that stand still until `go` is set."""

    def __init__(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        real = hub.rooms.xets.register

        def register(*given: Any) -> list[Blob]:
            assert self.go.wait(10)
            return real(*given)

        monkeypatch.setattr(hub.rooms.xets, "register", register)


async def later(answer: Awaitable[Answer], held: Held) -> Answer:
    """The answer to a request that comes while the checks stand still, which then go on."""
    try:
        return await asyncio.wait_for(answer, 5)
    finally:
        held.go.set()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_long_checks_of_shards_keep_nobody_else_waiting(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    held, token = Held(hub, monkeypatch), hub.xet(hub.repo(), "write")
    more = hub.rooms.settings.threads + 2
    shards = [hub.asend("POST", f"/xet/{version}/shards", token, body=shard_of()) for _ in range(more)]
    *checked, other = hub.together(*shards, later(hub.asend("GET", "/api/models?limit=1"), held))
    assert (200, [200] * more) == (other.status, [answer.status for answer in checked])
    assert all(b'"result":1' in answer.body for answer in checked)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_more_checks_than_the_hub_can_have_are_asked_to_come_again(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(hub.rooms.xets, "checks", Turns(1, 1 << 20))
    held, token = Held(hub, monkeypatch), hub.xet(hub.repo(), "write")
    both = [later(hub.asend("POST", f"/xet/{version}/shards", token, body=shard_of()), held) for _ in range(2)]
    checked, refused = sorted(hub.together(*both), key=lambda answer: answer.status)
    assert [checked.status, refused.status] == [200, 503]
    assert refused.code == "Unavailable"
    assert int(refused.headers["retry-after"]) > 0
    assert hub.post(f"/xet/{version}/shards", token, body=shard_of()).status == 200


def test_a_check_that_nobody_waits_for_any_more_ends(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def endless(_data: bytes, _may_use: object, progress: Callable[[int, int], None]) -> list[Blob]:
        try:
            for done in range(1, 10_000):
                progress(done, 10_000)
                ended.wait(0.001)
        finally:
            ended.set()
        raise AssertionError("it went on")

    async def leave() -> None:
        raise ConnectionResetError

    monkeypatch.setattr(hub.rooms.xets, "register", endless)
    hub.post("/xet/v2/shards", hub.xet(hub.repo(), "write"), body=shard_of(), midway=Midway(leave))
    assert ended.wait(5)
    monkeypatch.undo()
    assert hub.post("/xet/v2/shards", hub.xet(hub.repo(), "write"), body=shard_of()).status == 200


@pytest.mark.parametrize(
    "body", [b"", b"x", b"HFRepoMetaData\0" + bytes(200), shard_of()[:-1], shard_of() + b"x"], ids=len
)
def test_what_is_no_shard_is_refused_in_both_versions(hub: Hub, body: bytes) -> None:
    token = hub.xet(hub.repo(), "write")
    answer = hub.post("/xet/v1/shards", token, body=body)
    assert (answer.status, "shard" in answer.error) == (400, True)
    second = hub.post("/xet/v2/shards", token, body=body)
    assert b'"type":"error"' in second.body or second.status == 400


@pytest.mark.parametrize("name", ["x", "A" * 64, "a" * 63, "a" * 65, "%00" * 64, "g" * 64])
def test_what_is_no_hash_is_refused(hub: Hub, name: str) -> None:
    token = hub.xet(hub.repo(), "write")
    for method, path in (("GET", f"/v1/reconstructions/{name}"), ("GET", f"/v2/reconstructions/{name}"), ("GET", f"/v1/files/{name}"),
                         ("GET", f"/v1/chunks/default/{name}"), ("POST", f"/v1/xorbs/default/{name}"), ("GET", f"/v1/xorbs/default/{name}"),
                         ("POST", f"/v1/xorb-grants/default/{name}")):  # fmt: skip
        answer = hub.send(method, f"/xet{path}", token, json={"length": 1} if "grant" in path else None)
        assert (answer.status, answer.code) == (400, "BadRequest")


def test_telemetry_is_taken_and_not_kept(hub: Hub) -> None:
    token = hub.xet(hub.repo())
    answer = hub.post("/xet/v1/telemetry", token, json={"event": "xet_upload_summary", "metrics": {"x": 1}})
    assert (answer.status, answer.body) == (200, b"")


def test_a_sha256_that_a_shard_claims_is_not_believed(hub: Hub) -> None:
    repo, file = hub.repo(), xet_file(noise("claimed", 30_000))
    token, other = hub.xet(repo, "write"), noise("the real owner of that name", 30_000)
    post_xorb(hub, token, file.xorbs[0])
    answer = post_shard(hub, token, file.but(sha256=sha(other)))
    assert (answer.status, answer.code) == (400, "DigestMismatch")
    assert hub.rooms.store.find(Sha256(sha(other))) is None
    hub.with_lfs(repo, "m.bin", other)
    assert hub.get(f"/{repo}/resolve/main/m.bin").body == other


# --- every file both ways ---


def spread(name: str) -> XetFile:
    """A file of several terms, out of two xorbs, one run used twice."""
    one = Xorb(tuple(chunks_of(noise(name + "1", 40_000), 3000)))
    two = Xorb(tuple(chunks_of(noise(name + "2", 50_001), 7000)))
    return XetFile(((one, 2, 9), (two, 0, 8), (one, 0, 3), (one, 2, 9)))


RANGES = ["", "bytes=0-0", "bytes=0-2999", "bytes=2999-3000", "bytes=20000-60000", "bytes=70000-70000"]
WAYS = ["/xet/v1/reconstructions", "/xet/reconstructions", "/xet/reconstruction", "/xet/v2/reconstructions"]


@pytest.mark.parametrize("asked", RANGES)
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("came", ["by LFS", "by Xet", "in several terms"])
def test_a_file_is_rebuilt_from_its_reconstruction_however_it_came(
    hub: Hub, came: str, version: int, asked: str
) -> None:
    repo, data, name = sources(hub)[came]
    start, stop = map(int, asked.removeprefix("bytes=").split("-")) if asked else (0, len(data) - 1)
    got = rebuilt(hub, hub.xet(repo, as_="sam"), name, asked, version)
    assert sha(got) == sha(data[start : stop + 1])


_SOURCES: dict[int, dict[str, tuple[str, bytes, str]]] = {}


def sources(hub: Hub) -> dict[str, tuple[str, bytes, str]]:
    if id(hub) not in _SOURCES:
        repo, lfs, xet, terms = (
            hub.repo(),
            noise("came by LFS", 400_000),
            xet_file(noise("came by Xet", 90_000), 9000),
            spread("terms"),
        )
        hub.with_lfs(repo, "lfs.bin", lfs)
        with_xet(hub, repo, "xet.bin", xet)
        with_xet(hub, repo, "terms.bin", terms)
        heads = {n: hub.head(f"/{repo}/resolve/main/{n}.bin").headers["x-xet-hash"] for n in ("lfs", "xet", "terms")}
        assert heads["xet"] == xet.name
        assert heads["terms"] == terms.name
        _SOURCES[id(hub)] = {
            "by LFS": (repo, lfs, heads["lfs"]),
            "by Xet": (repo, xet.data, heads["xet"]),
            "in several terms": (repo, terms.data, heads["terms"]),
        }
    return _SOURCES[id(hub)]


@pytest.mark.parametrize("way", WAYS)
def test_every_generation_of_clients_can_ask_for_a_reconstruction(hub: Hub, way: str) -> None:
    repo, data, name = sources(hub)["in several terms"]
    plan = hub.ok("GET", f"{way}/{name}", hub.xet(repo)).json
    assert set(plan) == {"offset_into_first_range", "terms", "xorbs" if "v2" in way else "fetch_info"}
    assert sum(term["unpacked_length"] for term in plan["terms"]) == len(data)
    for term in plan["terms"]:
        assert {"hash", "unpacked_length", "range"} == set(term)
        assert term["range"]["start"] < term["range"]["end"]
    if "v2" in way:
        assert all({"url", "ranges"} == set(entry) for entries in plan["xorbs"].values() for entry in entries)
        assert len(fetched_v2(hub, plan)) == 3  # the run that is used twice is fetched once


def test_the_lfs_bridge_serves_a_xet_file_over_plain_http(hub: Hub) -> None:
    for came in ("by Xet", "in several terms"):
        repo, data, name = sources(hub)[came]
        file = "xet.bin" if came == "by Xet" else "terms.bin"
        answer = hub.ok("GET", f"/{repo}/resolve/main/{file}")
        assert (sha(data), f'"{sha(data)}"', name) == (
            sha(answer.body),
            answer.headers["etag"],
            answer.headers["x-xet-hash"],
        )
        listed = hub.batch(repo, [(sha(data), len(data))], "", operation="download").json["objects"][0]
        bridged = hub.ok("GET", hub.local(listed["actions"]["download"]["href"]))
        assert sha(bridged.body) == sha(data)
        head = hub.head(f"/xet/v1/files/{name}", hub.xet(repo))
        assert (200, str(len(data))) == (head.status, head.headers["x-file-size"])


def test_the_same_bytes_have_one_name_in_every_repo_and_keep_it(hub: Hub) -> None:
    data = noise("twice", 50_000)
    first, second, file = hub.repo("ada"), hub.repo("sam"), xet_file(data)
    with_xet(hub, first, "x.bin", file)
    hub.with_lfs(second, "x.bin", data, "sam")
    names = {hub.head(f"/{repo}/resolve/main/x.bin").headers["x-xet-hash"] for repo in (first, second)}
    assert names == {file.name}


def test_what_was_sent_by_lfs_is_had_by_xet_after_it_was_sent_by_xet_as_well(hub: Hub) -> None:
    data = noise("first by LFS", 50_000)
    repo, file = hub.repo(), xet_file(data)
    hub.with_lfs(repo, "x.bin", data)
    with_xet(hub, repo, "y.bin", file)
    for name in {hub.head(f"/{repo}/resolve/main/{n}.bin").headers["x-xet-hash"] for n in ("x", "y")}:
        assert rebuilt(hub, hub.xet(repo), name) == data
    assert hub.get(f"/{repo}/resolve/main/x.bin").body == data


def test_an_empty_file_can_be_sent_and_had_every_way(hub: Hub) -> None:
    repo = hub.repo()
    hub.with_lfs(repo, "empty.bin", b"")
    assert hub.get(f"/{repo}/resolve/main/empty.bin").body == b""
    token = hub.xet(repo, "write")
    assert post_shard(hub, token, XetFile(())).status == 200
    name = hub.head(f"/{repo}/resolve/main/empty.bin").headers["x-xet-hash"]
    plan = hub.get(f"/xet/v2/reconstructions/{name}", hub.xet(repo))
    assert plan.status in (200, 416)


# --- dedup ---


@pytest.mark.parametrize("path", ["/xet/v1/chunks", "/xet/chunks", "/xet/chunk"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_dedup_answer_names_the_siblings_under_a_key(hub: Hub, path: str, prefix: str) -> None:
    repo = hub.repo()
    one, two = (Xorb(tuple(chunks_of(noise(f"{path}{prefix}{i}", 30_000), 3000))) for i in (1, 2))
    file = XetFile(((one, 0, 10), (two, 0, 10)))
    with_xet(hub, repo, "x.bin", file)
    answer = hub.ok("GET", f"{path}/{prefix}/{file.first_chunk}", hub.xet(repo))
    found = shard.parse(answer.body)
    assert {xorb.hash for xorb in found.xorbs} == {one.name, two.name}
    assert found.files == []
    assert found.footer is not None
    assert found.footer.key != hashes.ZERO
    assert found.footer.expiry_s > hub.rooms.clock.now_ms() // 1000 + 86_400
    for xorb in found.xorbs:
        real = one if xorb.hash == one.name else two
        keyed = b"".join(hashes.keyed(found.footer.key, hashes.chunk_hash(chunk)) for chunk in real.chunks)
        assert xorb.chunk_hashes == keyed
    again = shard.parse(hub.ok("GET", f"{path}/{prefix}/{file.first_chunk}", hub.xet(repo)).body)
    assert again.footer is not None
    assert again.footer.key != found.footer.key
    assert hub.get(f"{path}/{prefix}/{'a' * 64}", hub.xet(repo)).status == 404


def test_a_copy_with_small_edits_sends_only_what_is_new(hub: Hub) -> None:
    repo = hub.repo()
    base = Xorb(tuple(chunks_of(noise("base", 200_000), 4000)))
    with_xet(hub, repo, "base.bin", XetFile(((base, 0, 50),)))
    new = Xorb((noise("edit", 4000),))
    edited = XetFile(((base, 0, 20), (new, 0, 1), (base, 21, 50)))
    token = hub.xet(repo, "write")
    assert post_xorb(hub, token, new).status == 200
    assert post_shard(hub, token, edited).status == 200
    hub.committed(repo, [lfs_file("edited.bin", edited.sha256, len(edited.data))])
    assert hub.get(f"/{repo}/resolve/main/edited.bin").body == edited.data
    assert rebuilt(hub, hub.xet(repo), edited.name) == edited.data


def test_a_signed_address_needs_no_credentials_and_ignores_wrong_ones(hub: Hub) -> None:
    repo, data, name = sources(hub)["by Xet"]
    plan = hub.ok("GET", f"/xet/v1/reconstructions/{name}", hub.xet(repo)).json
    url = hub.local(next(iter(plan["fetch_info"].values()))[0]["url"])
    for headers in ({}, {"authorization": "Bearer nonsense"}, {"cookie": "headwater_session=x"}):
        answer: Answer = hub.get(url, headers=headers)
        assert (200, sha(data)) == (answer.status, hashlib.sha256(unpacked(answer.body)).hexdigest())


def test_a_signed_address_of_a_xorb_that_was_lost_sends_the_client_for_another(hub: Hub) -> None:
    repo, file = hub.repo(), xet_file(noise("lost meanwhile", 30_000))
    with_xet(hub, repo, "x.bin", file)
    plan = hub.ok("GET", f"/xet/v2/reconstructions/{file.name}", hub.xet(repo)).json
    address = hub.local(next(iter(plan["xorbs"].values()))[0]["url"])
    assert hub.get(address).status == 200
    hub.rooms.store.flag_xorb(XetHash(file.xorbs[0].name), "lost")
    assert hub.get(address).status == 403  # there may be a sealed copy: a new reconstruction says so
