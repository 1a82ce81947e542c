"""Whoever knows a SHA-256 or a Xet hash has nothing: bytes are for those who sent them, or may read them anyway (T17).

Each door is asked twice: for bytes that lie in somebody's private repo, and for bytes that the hub has never seen. The
two answers must be the same, or the first would say that the bytes exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from asgi_hub import Answer, Hub, copied, lfs_file, noise, sha
from xet_files import XetFile, Xorb, post_shard, post_xorb, shard_of, with_xet, xet_file

PART = 4096


@pytest.fixture(scope="module")
def hub(new_hub: Callable[..., Hub]) -> Hub:
    return new_hub(lfs_part_size=PART)


@dataclass(frozen=True)
class Secret:
    """What ada has in a private repo, and its like that exists nowhere."""

    repo: str
    lfs: bytes
    xet: XetFile
    unknown_lfs: bytes
    unknown_xet: XetFile


@pytest.fixture(scope="module")
def secret(hub: Hub) -> Secret:
    repo = hub.repo("ada", private=True)
    made = Secret(
        repo, noise("secret", 3000), xet_file(noise("secret xet", 90_000)),
        noise("unknown", 3000), xet_file(noise("unknown xet", 90_000)),
    )  # fmt: skip
    hub.with_lfs(repo, "m.bin", made.lfs)
    with_xet(hub, repo, "x.bin", made.xet)
    return made


def alike(known: Answer, unknown: Answer) -> None:
    """The same but for what was asked for, and for what is random."""
    assert (known.status, known.code) == (unknown.status, unknown.code)
    assert shape(known) == shape(unknown)


def shape(answer: Answer) -> tuple[object, ...]:
    body = re.sub(rb"ticket=[\w-]+", b"ticket=T", answer.body)
    body = re.sub(rb"[0-9a-f]{64}", b"H", body)
    body = re.sub(rb'"id":"[0-9a-f]{16}"', b'"id":"I"', body)
    headers = {k: re.sub("[0-9a-f]{64}", "H", v) for k, v in answer.headers.items()}
    return headers.keys(), re.sub(rb'"request_id":"\w+"', b"", body)


# --- LFS ---


@pytest.mark.parametrize("transfers", [["basic"], ["basic", "multipart", "xet"], ["multipart"]])
def test_T17_a_batch_asks_for_the_bytes_of_what_the_caller_cannot_read(
    hub: Hub, secret: Secret, transfers: list[str]
) -> None:
    mine = hub.repo("sam")
    answers = [
        hub.batch(mine, [(sha(data), len(data))], "sam", transfers=transfers)
        for data in (secret.lfs, secret.unknown_lfs)
    ]
    for answer in answers:
        assert "upload" in answer.json["objects"][0]["actions"]
    objects = [
        re.sub(r"[\w-]{60,}|'X-Xet-Session-Id': '\w+'", "S", str(answer.json["objects"][0])) for answer in answers
    ]
    assert objects[0] == objects[1]


def test_T17_a_download_batch_knows_only_the_repos_own_files(hub: Hub, secret: Secret) -> None:
    mine = hub.repo("sam")
    answers = [
        hub.batch(mine, [(sha(data), len(data))], "sam", operation="download")
        for data in (secret.lfs, secret.unknown_lfs)
    ]
    alike(*answers)
    assert answers[0].json["objects"][0]["error"]["code"] == 404


def test_T17_a_commit_cannot_name_another_tenants_bytes(hub: Hub, secret: Secret) -> None:
    mine = hub.repo("sam")
    lines = [[lfs_file("m.bin", sha(data), len(data))] for data in (secret.lfs, secret.unknown_lfs)]
    alike(*(hub.commit(mine, line, "sam") for line in lines))
    assert hub.commit(mine, lines[0], "sam").status == 422


def test_T17_a_pointer_written_as_a_text_file_does_not_help(hub: Hub, secret: Secret) -> None:
    mine = hub.repo("sam")
    texts = [
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha(data)}\nsize {len(data)}\n".encode()
        for data in (secret.lfs, secret.unknown_lfs)
    ]
    alike(*(hub.commit(mine, {"m.bin": text}, "sam") for text in texts))
    assert hub.commit(mine, {"m.bin": texts[0]}, "sam").status == 422


def test_T17_preupload_tells_of_the_repos_own_files_only(hub: Hub, secret: Secret) -> None:
    mine = hub.repo("sam")
    asked = {"files": [{"path": "m.bin", "size": 3000, "sample": "", "sha256": sha(secret.lfs)}]}
    answer = hub.post(hub.api(mine, "/preupload/main"), "sam", json=asked)
    assert answer.json["files"] == [{"path": "m.bin", "uploadMode": "lfs", "shouldIgnore": False, "oid": None}]


def test_T17_a_copy_reads_from_the_repo_that_is_committed_to(hub: Hub, secret: Secret) -> None:
    mine = hub.repo("sam")
    theirs = hub.head_of(secret.repo)
    for revision in (theirs, theirs[:10], f"../{secret.repo}"):
        answer = hub.commit(mine, [copied("m.bin", "stolen.bin", revision)], "sam")
        assert (answer.status, answer.code) == (404, "RevisionNotFound")
    assert hub.commit(mine, [copied("m.bin", "stolen.bin")], "sam").code == "EntryNotFound"


def test_T17_lfs_files_duplicate_gives_only_what_the_source_has(hub: Hub, secret: Secret) -> None:
    mine, source = hub.repo("sam"), hub.repo("otto")
    path = hub.api(source, "/lfs-files/duplicate")
    answers = [
        hub.post(path, "sam", json={"target": {"type": "model", "name": mine}, "files": [{"sha256": sha(data)}]})
        for data in (secret.lfs, secret.unknown_lfs)
    ]
    alike(*answers)
    assert [sha(secret.lfs)] == [one["sha256"] for one in answers[0].json["failed"]]
    assert hub.commit(mine, [lfs_file("m.bin", sha(secret.lfs), 3000)], "sam").status == 422


def test_T17_what_one_may_read_elsewhere_needs_no_second_upload(hub: Hub) -> None:
    shared, mine, data = hub.repo("otto"), hub.repo("sam"), noise("in the open", 2000)
    hub.with_lfs(shared, "m.bin", data, "otto")
    assert "actions" not in hub.batch(mine, [(sha(data), len(data))], "sam").json["objects"][0]
    assert hub.commit(mine, [lfs_file("m.bin", sha(data), len(data))], "sam").status == 200


def test_T17_bytes_that_were_sent_and_never_committed_are_nobody_elses(hub: Hub) -> None:
    theirs, mine, data = hub.repo("otto"), hub.repo("sam"), noise("not committed yet", 2000)
    hub.upload(theirs, data, "otto")
    assert "actions" in hub.batch(mine, [(sha(data), len(data))], "sam").json["objects"][0]
    assert hub.commit(mine, [lfs_file("m.bin", sha(data), len(data))], "sam").status == 422


def parts_of(hub: Hub, repo: str, data: bytes, who: str) -> dict[str, str]:
    asked = hub.batch(repo, [(sha(data), len(data))], who, transfers=["multipart"]).json["objects"][0]
    upload = asked["actions"]["upload"]
    return {**upload["header"], "complete": upload["href"]}


def test_T17_somebody_elses_parts_do_not_complete_my_upload(hub: Hub) -> None:
    theirs, mine, data = hub.repo("otto", private=True), hub.repo("sam"), noise("in parts", 2 * PART)
    whole = parts_of(hub, theirs, data, "otto")
    for number in (1, 2):
        hub.ok("PUT", hub.local(whole[str(number)]), body=data[(number - 1) * PART : number * PART])
    stolen = parts_of(hub, mine, data, "sam")
    answer = hub.post(hub.local(stolen["complete"]), json={"oid": sha(data), "parts": []})
    assert answer.status == 400
    assert hub.commit(mine, [lfs_file("m.bin", sha(data), len(data))], "sam").status == 422
    assert hub.post(hub.local(whole["complete"]), json={"oid": sha(data), "parts": []}).status == 200


def test_T17_somebody_elses_upload_is_not_disturbed_by_mine(hub: Hub) -> None:
    theirs, mine, data = hub.repo("otto", private=True), hub.repo("sam"), noise("overwritten", 2 * PART)
    whole = parts_of(hub, theirs, data, "otto")
    for number in (1, 2):
        hub.ok("PUT", hub.local(whole[str(number)]), body=data[(number - 1) * PART : number * PART])
    hub.ok("PUT", hub.local(parts_of(hub, mine, data, "sam")["1"]), body=bytes(PART))
    assert hub.post(hub.local(whole["complete"]), json={"oid": sha(data), "parts": []}).status == 200


# --- Xet ---


def asked_twice(hub: Hub, secret: Secret, ask: Callable[[str, XetFile], Answer], scope: str = "write") -> list[Answer]:
    token = hub.xet(hub.repo("sam"), scope, "sam")
    return [ask(token, file) for file in (secret.xet, secret.unknown_xet)]


def test_T17_a_grant_for_a_strangers_xorb_asks_for_its_bytes(hub: Hub, secret: Secret) -> None:
    def ask(token: str, file: XetFile) -> Answer:
        return hub.post(f"/xet/v1/xorb-grants/default/{file.xorbs[0].name}", token, json={"length": 90_000})

    answers = asked_twice(hub, secret, ask)
    alike(*answers)
    assert answers[0].status == 201


@pytest.mark.parametrize("way", ["direct", "grant"])
def test_T17_who_sends_a_xorb_is_not_told_whether_a_stranger_has_it(hub: Hub, way: str) -> None:
    known, unknown = xet_file(noise(f"ada's {way}", 4000)), xet_file(noise(f"nobody's {way}", 4000))
    with_xet(hub, hub.repo("ada", private=True), "x.bin", known)
    token = hub.xet(hub.repo("sam"), "write", "sam")
    said = []
    for xorb in (known.xorbs[0], unknown.xorbs[0]):
        address = f"/xet/v1/xorbs/default/{xorb.name}"
        if way == "grant":
            grant = hub.post(f"/xet/v1/xorb-grants/default/{xorb.name}", token, json={"length": 1})
            address = hub.local(grant.json["url"])
        method, body = "PUT" if way == "grant" else "POST", xorb.serialised()
        said.append([hub.send(method, address, token, body=body).json for _ in range(2)])
    assert said == [[{"was_inserted": True}, {"was_inserted": False}]] * 2


def test_T17_head_of_a_strangers_xorb_is_that_of_none(hub: Hub, secret: Secret) -> None:
    answers = asked_twice(
        hub, secret, lambda token, file: hub.head(f"/xet/v1/xorbs/default/{file.xorbs[0].name}", token)
    )
    alike(*answers)
    assert answers[0].status == 404


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_T17_a_shard_that_names_a_strangers_xorb_is_refused_as_if_it_were_not_there(
    hub: Hub, secret: Secret, version: str
) -> None:
    answers = asked_twice(
        hub, secret, lambda token, file: hub.post(f"/xet/{version}/shards", token, body=shard_of(file))
    )
    alike(*answers)
    assert (b"is not stored here") in answers[0].body
    assert b"shard-cache" in answers[0].body  # what the user is to delete
    if version == "v2":
        last = answers[0].text.splitlines()[-1]
        assert '"type":"error"' in last
    else:
        assert answers[0].status == 303  # to an address that says the same (test_contract_xet.py)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_T17_a_reconstruction_of_a_strangers_file_is_that_of_none(hub: Hub, secret: Secret, version: str) -> None:
    def ask(token: str, file: XetFile) -> Answer:
        return hub.get(f"/xet/{version}/reconstructions/{file.name}", token)

    answers = asked_twice(hub, secret, ask, "read")
    alike(*answers)
    assert answers[0].status == 404
    by_sha = hub.get(f"/xet/{version}/reconstructions/{sha(secret.lfs)}", hub.xet(hub.repo("sam"), as_="sam"))
    assert by_sha.status == 404


@pytest.mark.parametrize("path", ["/xet/v1/chunks/default", "/xet/v1/chunks/default-merkledb", "/xet/chunk/default"])
def test_T17_a_dedup_question_knows_nothing_of_strangers_files(hub: Hub, secret: Secret, path: str) -> None:
    answers = asked_twice(hub, secret, lambda token, file: hub.get(f"{path}/{file.first_chunk}", token), "read")
    alike(*answers)
    assert answers[0].status == 404
    own = hub.get(f"{path}/{secret.xet.first_chunk}", hub.xet(secret.repo))
    assert own.status == 200  # its owner is answered


def test_T17_a_file_head_knows_nothing_of_strangers_files(hub: Hub, secret: Secret) -> None:
    answers = asked_twice(hub, secret, lambda token, file: hub.head(f"/xet/v1/files/{file.name}", token), "read")
    alike(*answers)
    assert answers[0].status == 404


def test_T17_whoever_sends_the_bytes_himself_has_them(hub: Hub) -> None:
    theirs, mine, file = hub.repo("otto", private=True), hub.repo("sam"), xet_file(noise("both have it", 50_000))
    with_xet(hub, theirs, "x.bin", file, "otto")
    with_xet(hub, mine, "x.bin", file, "sam")
    assert hub.get(f"/{mine}/resolve/main/x.bin").body == file.data


LIES = {
    "a wrong range hash": {"range": b"\1" * 32},
    "no range hashes": {"flags": 1 << 30},
    "no sha256": {"flags": 1 << 31},
    "the sha256 of other bytes": {"sha256": "ab" * 32},
    "the name of another file": {"name": "cd" * 32},
    "a longer term": {"longer": 1},
    "chunks beyond the xorb": {"stop": 99},
}


@pytest.mark.parametrize("lie", LIES)
def test_T17_a_shard_is_believed_in_nothing(hub: Hub, lie: str) -> None:
    repo = hub.repo("sam")
    token, file = hub.xet(repo, "write", "sam"), xet_file(noise(lie, 70_000))
    assert post_xorb(hub, token, file.xorbs[0]).status == 200
    assert post_shard(hub, token, file.but(**LIES[lie])).status == 400
    assert hub.commit(repo, [lfs_file("x.bin", file.sha256, 70_000)], "sam").status == 422
    assert hub.commit(repo, [lfs_file("x.bin", "ab" * 32, 70_000)], "sam").status == 422
    assert post_shard(hub, token, file).status == 200


def test_T17_a_part_of_a_strangers_xorb_cannot_be_built_upon(hub: Hub, secret: Secret) -> None:
    mine = hub.repo("sam")
    token, own = hub.xet(mine, "write", "sam"), Xorb((noise("own chunk", 9000),))
    assert post_xorb(hub, token, own).status == 200
    mixed = XetFile(((own, 0, 1), (secret.xet.xorbs[0], 0, 1)))
    refused = post_shard(hub, token, mixed)
    assert (refused.status, refused.code) == (303, "BadRequest")
    assert hub.commit(mine, [lfs_file("x.bin", mixed.sha256, len(mixed.data))], "sam").status == 422
