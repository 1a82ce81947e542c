"""Uploads by LFS and by commit: what is wrong is refused and leaves nothing, what is right needs sending only once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from asgi_hub import Answer, Body, Hub, in_pieces, inline, lfs_file, ndjson, noise, sha
from xet_files import Xorb, chunks_of, post_xorb

from headwater.ground.names import Sha256

GIB = 1 << 30
PART = 4096


@pytest.fixture(scope="module")
def parts(new_hub: Callable[..., Hub]) -> Hub:
    """Where files above 4 KiB come in parts."""
    return new_hub(lfs_part_size=PART)


@pytest.fixture(scope="module")
def strict(new_hub: Callable[..., Hub]) -> Hub:
    return new_hub(
        commit_lines_max=20,
        lfs_batch_max=30,
        lfs_file_max=10**6,
        json_body_max=20_000,
        inline_file_max=9_000,
        shard_max=20_000,
        push_max=20_000,
    )


def stored(hub: Hub, data: bytes) -> bool:
    return hub.rooms.store.find(Sha256(sha(data))) is not None


def leftovers(hub: Hub) -> list[str]:
    """Bytes that nobody will ever ask for."""
    places = (hub.data / "store" / "incoming", hub.data / "incoming", hub.data / "git" / "incoming")
    return [file.name for place in places if place.is_dir() for file in place.rglob("*") if file.is_file()]


# --- T13, T14: one PUT ---


WRONG = {
    "shorter": lambda data: data[:-1],
    "longer": lambda data: data + b"!",
    "empty": lambda data: b"",
    "other bytes": lambda data: bytes(len(data)),
    "one bit": lambda data: bytes([data[0] ^ 1]) + data[1:],
}


@pytest.mark.parametrize("length", ["declared", "not declared", "a lie"])
@pytest.mark.parametrize("wrong", WRONG)
def test_T13_a_body_that_is_not_what_was_announced_leaves_nothing(hub: Hub, wrong: str, length: str) -> None:
    repo, data = hub.repo(), noise(f"{wrong} {length}", 3000)
    address, sent = hub.upload_address(repo, data), WRONG[wrong](data)
    said = {"declared": len(sent), "not declared": "", "a lie": len(data)}[length]
    answer = hub.send("PUT", address, body=Body(in_pieces(sent, 3) if sent else [], said))
    assert (answer.status, stored(hub, data), leftovers(hub)) == (400, False, [])
    assert "Nothing was stored" in answer.error
    assert hub.commit(repo, [lfs_file("m.bin", sha(data), len(data))]).status == 422
    # the same address still takes the right bytes
    assert hub.send("PUT", address, body=data).status == 200
    assert stored(hub, data)


def test_T13_a_wrong_length_is_refused_before_a_byte_is_read(hub: Hub) -> None:
    data = noise("declared too long", 100_000)
    answer = hub.send("PUT", hub.upload_address(hub.repo(), data), body=Body(in_pieces(data, 4), len(data) + 1))
    assert (answer.status, answer.taken, answer.headers["connection"]) == (400, 0, "close")


def test_T13_a_client_that_leaves_in_the_middle_leaves_nothing(hub: Hub) -> None:
    data = noise("cut off", 100_000)
    address = hub.upload_address(hub.repo(), data)
    with pytest.raises(AssertionError, match="no answer"):
        hub.send("PUT", address, body=Body(in_pieces(data[:60_000], 3), len(data), cut=True))
    assert not stored(hub, data)
    assert leftovers(hub) == []


def test_T13_a_size_that_was_announced_wrongly_is_refused_by_verify_and_commit(hub: Hub) -> None:
    repo, data = hub.repo(), noise("verified", 2000)
    action = hub.batch(repo, [(sha(data), len(data))]).json["objects"][0]["actions"]
    verify = hub.local(action["verify"]["href"])
    assert hub.post(verify, json={"oid": sha(data), "size": len(data)}).status == 404
    hub.ok("PUT", hub.local(action["upload"]["href"]), body=data)
    assert hub.post(verify, json={"oid": sha(data), "size": len(data) + 1}).status == 422
    assert hub.post(verify, json={"oid": sha(data), "size": len(data)}).status == 200
    assert hub.commit(repo, [lfs_file("m.bin", sha(data), len(data) - 1)]).status == 422
    assert hub.batch(repo, [(sha(data), 7)]).json["objects"][0]["error"]["code"] == 422
    assert hub.commit(repo, [lfs_file("m.bin", sha(data), len(data))]).status == 200


def test_T14_an_oid_that_is_there_keeps_its_bytes(hub: Hub) -> None:
    repo, data = hub.repo(), noise("first", 5000)
    address = hub.upload_address(repo, data)
    hub.with_lfs(repo, "m.bin", data)
    for other in (noise("second", 5000), data[:-1], data + b"x"):
        assert hub.send("PUT", address, body=Body([other], "")).status == 400
    assert hub.send("PUT", address, body=data).status == 200  # the same again does no harm
    assert hub.get(f"/{repo}/resolve/main/m.bin").body == data


# --- T15: parts ---


class Upload:
    """An upload in parts, as huggingface_hub does it."""

    def __init__(self, hub: Hub, repo: str, data: bytes) -> None:
        self.hub, self.data = hub, data
        answer = hub.batch(repo, [(sha(data), len(data))], transfers=["basic", "multipart"]).json
        assert answer["transfer"] == "multipart"
        self.actions = answer["objects"][0]["actions"]
        self.header = self.actions["upload"]["header"]
        self.etags: dict[int, str] = {}

    @property
    def count(self) -> int:
        return -(-len(self.data) // int(self.header["chunk_size"]))

    def part(self, number: int, body: bytes | None = None) -> Answer:
        start = (number - 1) * PART
        answer = self.hub.send(
            "PUT", self.hub.local(self.header[str(number)]), body=body or self.data[start : start + PART]
        )
        if answer.status == 200:
            self.etags[number] = answer.headers["etag"]
        return answer

    def complete(self, **more: object) -> Answer:
        listed = [{"partNumber": number, "etag": etag} for number, etag in self.etags.items()]
        asked = {"oid": sha(self.data), "parts": listed, **more}
        return self.hub.post(self.hub.local(self.actions["upload"]["href"]), json=asked)


@pytest.mark.parametrize("percent", [1, 50, 99])
def test_T15_after_a_cut_only_the_rest_travels(parts: Hub, percent: int) -> None:
    repo, data = parts.repo(), noise(f"cut at {percent}", 100 * PART - 5)
    first = Upload(parts, repo, data)
    assert (100, str(PART)) == (first.count, first.header["chunk_size"])
    assert sorted(first.header) == sorted(["chunk_size", *map(str, range(1, 101))])
    for number in range(1, percent + 1):
        assert first.part(number).status == 200
    assert first.complete().status == 400
    assert not stored(parts, data)
    again = Upload(parts, repo, data)
    for number in range(percent + 1, 101):
        assert again.part(number).status == 200
    assert again.complete().status == 200
    verify = parts.local(again.actions["verify"]["href"])
    assert parts.post(verify, json={"oid": sha(data), "size": len(data)}).status == 200
    parts.committed(repo, [lfs_file("m.bin", sha(data), len(data))])
    assert parts.get(f"/{repo}/resolve/main/m.bin").body == data
    assert not list((parts.data / "uploads").iterdir())


def test_T15_two_clients_send_one_file_in_parts_at_once_and_neither_fails(parts: Hub) -> None:
    repo, data = parts.repo(), noise("two at once", 3 * PART)
    quick, slow = Upload(parts, repo, data), Upload(parts, repo, data)
    assert slow.part(1).status == 200
    for number in (1, 2, 3):
        assert quick.part(number).status == 200
    assert quick.complete().status == 200
    assert {slow.part(2).status, slow.part(3).status} == {200}
    assert quick.etags == slow.etags
    for upload in (slow, quick):  # the second: a client whose answer was lost asks again
        assert upload.complete().status == 200
    parts.committed(repo, [lfs_file("m.bin", sha(data), len(data))])
    assert not list((parts.data / "uploads").iterdir())


def test_T19_a_late_part_is_not_longer_than_its_file(parts: Hub) -> None:
    upload = Upload(parts, parts.repo(), noise("late and endless", 2 * PART))
    for number in (1, 2):
        assert upload.part(number).status == 200
    assert upload.complete().status == 200
    assert upload.part(1, bytes(2 * PART + 1)).status == 400


def test_T15_a_part_may_be_sent_again_and_the_last_one_counts(parts: Hub) -> None:
    upload = Upload(parts, parts.repo(), noise("sent again", 3 * PART))
    assert upload.part(2, bytes(PART)).status == 200
    for number in (1, 2, 3):
        assert upload.part(number).status == 200
    assert upload.complete().status == 200


def test_T13_parts_that_are_wrong_are_refused_and_the_file_does_not_exist(parts: Hub) -> None:
    data = noise("wrong parts", 3 * PART)
    upload = Upload(parts, parts.repo(), data)
    assert upload.part(1, b"too short").status == 400
    assert upload.part(3, bytes(PART + 1)).status == 400
    for number in (1, 2, 3):
        assert upload.part(number, bytes(PART) if number == 2 else None).status == 200
    refused = upload.complete()
    assert (refused.status, refused.code) == (400, "DigestMismatch")
    assert upload.part(2).status == 200
    upload.etags[1] = '"' + "0" * 64 + '"'
    assert upload.complete().status == 400
    upload.part(1)
    assert upload.complete().status == 200
    assert stored(parts, data)
    assert upload.complete().status == 200  # it is done: who missed the answer asks again


@pytest.mark.parametrize("number", ["0", "4", "99999", "-1", "x", "%C2%B2", "1e0"])
def test_T43_a_part_that_was_not_offered_is_refused(parts: Hub, number: str) -> None:
    upload = Upload(parts, parts.repo(), noise("numbers", 3 * PART))
    address = parts.local(upload.header["1"]).replace("/part/1?", f"/part/{number}?")
    assert parts.send("PUT", address, body=bytes(PART)).status == 400


# --- T16, T18: commits ---


def test_T16_a_commit_names_only_objects_that_its_repo_holds(hub: Hub) -> None:
    repo, elsewhere = hub.repo(), hub.repo("otto", private=True)
    never, others = noise("never sent", 100), noise("sent elsewhere", 100)
    hub.with_lfs(elsewhere, "m.bin", others, "otto")
    before = hub.head_of(repo)
    answer = hub.commit(
        repo, [inline("a.txt", b"a"), lfs_file("n.bin", sha(never), 100), lfs_file("o.bin", sha(others), 100)]
    )
    assert (422, before) == (answer.status, hub.head_of(repo))
    assert sorted(answer.json["missing"]) == sorted([sha(never), sha(others)])
    assert all(oid in answer.error for oid in (sha(never), sha(others)))


def test_T18_one_bad_file_of_a_thousand_refuses_all_and_the_good_ones_need_no_second_upload(hub: Hub) -> None:
    repo = hub.repo()
    good = [noise(f"good {i}", 50) for i in range(5)]
    for data in good:
        hub.upload(repo, data)
    bad = noise("file 777", 60)
    lines = [inline(f"folder{i % 10}/f{i}.txt", b"%d" % i) for i in range(1000)]
    lines[776] = lfs_file("folder6/f776.bin", sha(bad), len(bad))
    lines += [lfs_file(f"good{i}.bin", sha(data), len(data)) for i, data in enumerate(good)]
    before = hub.head_of(repo)
    refused = hub.commit(repo, lines)
    assert (422, [sha(bad)], before) == (refused.status, refused.json["missing"], hub.head_of(repo))
    assert hub.get(f"/{repo}/resolve/main/folder0/f0.txt").status == 404
    asked = hub.batch(repo, [(sha(data), len(data)) for data in [*good, bad]]).json["objects"]
    assert ["actions" in one for one in asked] == [False] * 5 + [True]
    hub.upload(repo, bad)
    assert hub.commit(repo, lines).status == 200
    assert hub.get(f"/{repo}/resolve/main/folder6/f776.bin").body == bad


@pytest.mark.parametrize(
    "bad",
    [
        inline("a/../b", b""),
        {"key": "file", "value": {"path": "x", "content": "not base64!", "encoding": "base64"}},
        {"key": "deletedFile", "value": {"path": "never-there"}},
        {"key": "copyFile", "value": {"srcPath": "never-there", "path": "y"}},
        {"key": "lfsFile", "value": {"path": "x", "algo": "sha256", "oid": "A" * 64}},
        {"key": "lfsFile", "value": {"path": "x", "algo": "md5", "oid": "a" * 64}},
        {"key": "nonsense", "value": {}},
        {"key": "header", "value": {"summary": "a second one"}},
        {"key": "file"},
        inline("README.md", b"---\nlicense: [mit\n---\n"),
        inline("f1.txt/inside", b"goes through a file"),
    ],
    ids=lambda line: str(line)[:50],
)
def test_T18_a_bad_line_of_any_kind_refuses_the_whole_commit(hub: Hub, bad: dict[str, object]) -> None:
    repo = hub.repo()
    before = hub.head_of(repo)
    answer = hub.commit(repo, [inline("f1.txt", b"1"), bad, inline("f2.txt", b"2")])
    assert 400 <= answer.status < 500
    assert answer.error
    assert hub.head_of(repo) == before


# --- T19: limits, answered before bytes are sent ---


def test_T19_an_answer_with_addresses_of_parts_does_not_grow_with_what_is_announced(parts: Hub) -> None:
    answer = parts.batch(parts.repo(), [(sha(b"%d" % n), 10**11) for n in range(50)], transfers=["multipart"])
    actions = [one["actions"]["upload"] for one in answer.json["objects"]]
    sizes = [int(action["header"]["chunk_size"]) for action in actions]
    assert [-(-(10**11) // size) for size in sizes] == [len(action["header"]) - 1 for action in actions]
    assert sum(len(action["header"]) for action in actions) < 11_000
    assert len(answer.body) < 6_000_000


def test_addresses_are_good_for_as_long_as_a_slow_client_takes_for_the_whole_batch(hub: Hub) -> None:
    expected = {10: 3600, 100 * GIB: 3600 + 102_400, 400 * GIB: 3600 + 409_600}
    for size, lifetime_s in expected.items():
        actions = hub.batch(hub.repo(), [(sha(b"large"), size)]).json["objects"][0]["actions"]
        assert [lifetime_s] * 2 == [actions[name]["expires_in"] for name in ("upload", "verify")]
    many = hub.batch(hub.repo(), [(sha(b"%d" % n), 400 * GIB) for n in range(9)]).json["objects"]
    assert {7 * 86_400} == {one["actions"]["upload"]["expires_in"] for one in many}  # then it is collected


def test_T19_500_gb_are_refused_when_they_are_announced(hub: Hub) -> None:
    repo, size = hub.repo(), 500 * 10**9 + 1
    batch = hub.batch(repo, [("a" * 64, size)])
    asked = {"files": [{"path": "m.bin", "size": size, "sample": ""}]}
    preupload = hub.post(hub.api(repo, "/preupload/main"), "ada", json=asked)
    for answer in (batch, preupload):
        assert (answer.status, answer.code) == (413, "LimitExceeded")
        assert "lfs_file_max" in answer.error
    assert "actions" in hub.batch(repo, [("a" * 64, size - 1)]).json["objects"][0]


def endless() -> Iterator[bytes]:
    while True:
        yield bytes(1 << 20)


BODIES = [
    ("POST", "API/commit/main", 5 * GIB),
    ("POST", "API/preupload/main", 9 << 20),
    ("POST", "REPO/git-receive-pack", 3 * GIB),
    ("POST", "REPO/git-upload-pack", 9 << 20),
    ("POST", "/xet/v1/shards", 97 << 20),
    ("POST", "/xet/v2/shards", 97 << 20),
    ("POST", f"/xet/v1/xorbs/default/{'a' * 64}", 200 << 20),
    ("POST", "/api/repos/create", 9 << 20),
    ("POST", "/login", 9 << 20),
]


@pytest.mark.parametrize(("method", "address", "size"), BODIES, ids=[address for _, address, _ in BODIES])
def test_T19_a_declared_length_beyond_the_limit_is_answered_before_a_byte_is_read(
    hub: Hub, method: str, address: str, size: int
) -> None:
    repo = hub.repo()
    token = hub.xet(repo, "write") if address.startswith("/xet/") else "ada"
    where = address.replace("API", hub.api(repo)).replace("REPO", f"/{repo}")
    answer = hub.send(method, where, token, body=Body(endless(), size))
    assert (answer.status, answer.taken) == (413, 0)
    assert answer.error


@pytest.mark.parametrize(("method", "address", "size"), BODIES, ids=[address for _, address, _ in BODIES])
def test_T19_a_body_without_a_length_is_read_to_the_limit_and_no_further(
    strict: Hub, method: str, address: str, size: int
) -> None:
    repo = strict.repo()
    token = strict.xet(repo, "write") if address.startswith("/xet/") else "ada"
    where = address.replace("API", strict.api(repo)).replace("REPO", f"/{repo}")
    answer = strict.send(method, where, token, body=Body(endless(), ""))
    assert answer.status in (400, 413)
    assert answer.taken <= 2 << 20
    assert leftovers(strict) == []


NO_RIGHT = [
    ("API/commit/main", "sam"),
    ("API/commit/main", ""),
    ("REPO/git-receive-pack", "sam"),
    ("/xet/v1/shards", ""),
    ("/xet/v2/shards", "ada"),
    ("/xet/shard/default/x", ""),
]


@pytest.mark.parametrize(("address", "who"), NO_RIGHT)
def test_T19_nobody_fills_the_disk_without_a_right_to(hub: Hub, address: str, who: str) -> None:
    repo = hub.repo()
    where = address.replace("API", hub.api(repo)).replace("REPO", f"/{repo}")
    answer = hub.post(where, who, body=Body(endless(), 1 << 20))
    assert answer.status in (401, 403)
    assert answer.taken == 0


def test_T19_a_xorb_beyond_xets_limit_is_refused_as_soon_as_it_is_known(hub: Hub) -> None:
    repo = hub.repo()
    token, xorb = hub.xet(repo, "write"), Xorb((bytes(128 << 10),))

    def chunks() -> Iterator[bytes]:
        for _ in range(1000):
            yield xorb.serialised() * 8  # a MiB

    answer = post_xorb(hub, token, xorb, Body(chunks(), ""))
    assert (answer.status, answer.taken <= 66 << 20) == (413, True)
    assert leftovers(hub) == []


def test_T19_too_many_operations_objects_and_files_are_refused(strict: Hub) -> None:
    repo = strict.repo()
    before = strict.head_of(repo)
    answer = strict.commit(repo, [inline(f"f{i}", b"") for i in range(21)])
    assert (413, before) == (answer.status, strict.head_of(repo))
    assert "commit_lines_max" in answer.error
    assert strict.commit(repo, [inline(f"f{i}", b"") for i in range(20)]).status == 200
    batch = strict.batch(repo, [(f"{i:064x}", 1) for i in range(31)])
    assert (batch.status, "lfs_batch_max" in batch.error) == (413, True)
    assert strict.batch(repo, [(f"{i:064x}", 1) for i in range(30)]).status == 200


def test_T19_questions_about_too_many_files_are_refused(hub: Hub) -> None:
    repo = hub.repo()
    files = [{"path": f"f{i}", "size": 1, "sample": ""} for i in range(5001)]
    assert hub.post(hub.api(repo, "/preupload/main"), "ada", json={"files": files}).status == 413
    assert hub.post(hub.api(repo, "/paths-info/main"), json={"paths": [f"f{i}" for i in range(10_001)]}).status == 413
    asked = "&".join(f"paths=f{i}" for i in range(10_001)).encode()
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert hub.post(hub.api(repo, "/paths-info/main"), body=asked, headers=form).status == 413
    listed = {"target": {"type": "model", "name": repo}, "files": [{"sha256": "a" * 64}] * 1001}
    assert hub.post(hub.api(repo, "/lfs-files/duplicate"), "ada", json=listed).status == 400


def test_T19_a_file_too_large_for_the_commit_itself_is_told_to_go_through_lfs(strict: Hub) -> None:
    repo = strict.repo()
    assert strict.commit(repo, {"f.txt": bytes(9_000)}).status == 200
    answer = strict.commit(repo, {"g.txt": bytes(9_001)})
    assert (answer.status, "inline_file_max" in answer.error) == (413, True)


def test_git_lfs_finds_what_is_wrong_where_it_looks_for_it(hub: Hub) -> None:
    repo, data = hub.repo(), noise("said", 500)
    refused = hub.batch(repo, [(sha(data), 10**15)])
    assert (413, refused.error) == (refused.status, refused.json["message"])
    wrong = hub.send("PUT", hub.upload_address(repo, data), body=bytes(500))
    assert (400, wrong.error) == (wrong.status, wrong.json["message"])
    verify = hub.local(hub.batch(repo, [(sha(data), 500)]).json["objects"][0]["actions"]["verify"]["href"])
    missing = hub.post(verify, json={"oid": sha(data), "size": 500})
    assert (404, missing.error) == (missing.status, missing.json["message"])


def test_T19_a_folder_of_many_files_comes_in_pages(hub: Hub) -> None:
    repo = hub.repo()
    hub.committed(repo, [inline(f"many/f{i:05d}", b"") for i in range(2500)])
    seen, address = [], hub.api(repo, "/tree/main/many")
    while address:
        answer = hub.ok("GET", address)
        assert len(answer.json) <= 1000
        seen += [entry["path"] for entry in answer.json]
        address = hub.local(answer.headers["link"][1:].partition(">")[0]) if "link" in answer.headers else ""
    assert seen == [f"many/f{i:05d}" for i in range(2500)]


def test_T19_chunks_beyond_xets_limits_are_refused(hub: Hub) -> None:
    token = hub.xet(hub.repo(), "write")
    for chunk in (bytes((128 << 10) + 1), b""):
        assert post_xorb(hub, token, Xorb((chunk,)), name="a" * 64).status in (400, 413)
    many = Xorb(tuple(chunks_of(bytes(8193), 1)))
    assert post_xorb(hub, token, many, name="a" * 64).status == 413


def test_T19_a_commit_of_only_a_header_or_nothing_changes_nothing(hub: Hub) -> None:
    repo = hub.repo()
    before = hub.head_of(repo)
    assert hub.commit(repo, []).json["commitOid"] == before
    assert hub.post(hub.api(repo, "/commit/main"), "ada", body=b"").status == 400
    assert hub.post(hub.api(repo, "/commit/main"), "ada", body=ndjson([inline("a", b"")])).status == 400
    assert hub.head_of(repo) == before
