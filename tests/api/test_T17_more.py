"""What was sent and not yet committed is for who sent it: whoever sees a repo may open a pull request in it (T17).

As in `test_T17_possession.py`, each door is asked twice, and must answer the same of what is there and of what is not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from asgi_hub import Hub, lfs_file, noise, sha
from git_pushes import FILE, Workshop
from test_T17_possession import alike
from xet_files import post_shard, post_xorb, shard_of, with_xet, xet_file

PART = 4096


@pytest.fixture(scope="module")
def hub(new_hub: Callable[..., Hub]) -> Hub:
    return new_hub(lfs_part_size=PART)


def test_T17_a_pull_request_cannot_name_what_others_sent_to_the_repo_and_have_not_committed(hub: Hub) -> None:
    repo, sent, never = hub.repo("otto"), noise("sent, not committed", 3000), noise("never sent", 3000)
    hub.upload(repo, sent, "otto")
    lines = [[lfs_file("m.bin", sha(data), len(data))] for data in (sent, never)]
    alike(*(hub.commit(repo, line, "sam", query="?create_pr=1") for line in lines))
    assert hub.commit(repo, lines[0], "sam", query="?create_pr=1").status == 422
    batches = [hub.batch(repo, [(sha(data), len(data))], "sam").json["objects"][0] for data in (sent, never)]
    assert ["actions" in one for one in batches] == [True, True]
    verified = [
        hub.post(hub.local(one["actions"]["verify"]["href"]), json={"oid": sha(data), "size": len(data)})
        for one, data in zip(batches, (sent, never), strict=True)
    ]
    alike(*verified)
    assert verified[0].status == 404
    assert hub.commit(repo, lines[0], "otto").status == 200  # who sent it names it


def test_T17_whoever_sends_it_too_may_name_it_in_his_pull_request_and_takes_nothing_from_the_writers(hub: Hub) -> None:
    repo, data = hub.repo("otto"), noise("sent by two", 3000)
    hub.upload(repo, data, "otto")
    hub.upload(repo, data, "sam")
    line = [lfs_file("m.bin", sha(data), len(data))]
    assert hub.commit(repo, line, "sam", query="?create_pr=1").status == 200
    again = noise("sent by two, the other way round", 3000)
    hub.upload(repo, again, "sam")
    hub.upload(repo, again, "otto")
    assert hub.commit(repo, [lfs_file("n.bin", sha(again), len(again))], "otto").status == 200


def test_T17_a_push_to_a_pull_request_cannot_name_it_either(hub: Hub, tmp_path: Path) -> None:
    workshop = Workshop(tmp_path / "workshop.git")
    workshop.init()
    repo, data = hub.repo("otto"), noise("sent, not committed, pushed", 3000)
    hub.upload(repo, data, "otto")
    hub.ok("POST", hub.api(repo, "/discussions"), "sam", json={"title": "t", "pullRequest": True})
    head = hub.head_of(repo)
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha(data)}\nsize {len(data)}\n".encode()
    made = workshop.commit(workshop.tree((FILE, "m.bin", workshop.blob(text))))
    body = workshop.push(made, ref="refs/pr/1", old=head)
    said = hub.ok("POST", f"/{repo}.git/git-receive-pack", "sam", body=body).text
    assert "ng refs/pr/1" in said
    assert "unpack ok" not in said


def test_T17_parts_that_one_has_sent_are_not_completed_or_overwritten_by_another(hub: Hub) -> None:
    repo, data = hub.repo("otto"), noise("in parts, to an open repo", 2 * PART)

    def upload(who: str) -> dict[str, str]:
        asked = hub.batch(repo, [(sha(data), len(data))], who, transfers=["multipart"]).json["objects"][0]
        action = asked["actions"]["upload"]
        return {**action["header"], "complete": action["href"]}

    mine = upload("otto")
    for number in (1, 2):
        hub.ok("PUT", hub.local(mine[str(number)]), body=data[(number - 1) * PART : number * PART])
    theirs = upload("sam")
    assert hub.post(hub.local(theirs["complete"]), json={"parts": []}).status == 400
    hub.ok("PUT", hub.local(theirs["1"]), body=bytes(PART))
    assert hub.post(hub.local(mine["complete"]), json={"parts": []}).status == 200


@pytest.mark.parametrize("through", ["the same repo", "a repo of his own"])
def test_T17_a_xorb_that_no_commit_has_named_is_for_who_sent_it(hub: Hub, through: str) -> None:
    repo, sent, never = hub.repo("otto"), xet_file(noise(through, 70_000)), xet_file(noise(f"not {through}", 70_000))
    token = hub.xet(repo, "write", "otto")
    assert post_xorb(hub, token, sent.xorbs[0]).status == 200
    assert post_shard(hub, token, sent).status == 200
    mine = hub.repo("sam") if through == "a repo of his own" else repo
    his = hub.xet(mine, "write", "sam", query="?create_pr=1")
    files = (sent, never)
    asked = {"length": 70_000}
    grants = [hub.post(f"/xet/v1/xorb-grants/default/{file.xorbs[0].name}", his, json=asked) for file in files]
    assert [answer.status for answer in grants] == [201, 201]
    alike(*(hub.head(f"/xet/v1/xorbs/default/{file.xorbs[0].name}", his) for file in files))
    alike(*(hub.get(f"/xet/v1/chunks/default/{file.first_chunk}", his) for file in files))
    alike(*(hub.post("/xet/v1/shards", his, body=shard_of(file)) for file in files))
    commits = [f"/xet/v1/xorb-commits/default/{file.xorbs[0].name}/grant/1" for file in files]
    alike(*(hub.post(path, his, json={}) for path in commits))
    assert hub.post("/xet/v1/shards", his, body=shard_of(sent)).status == 303  # an address that says 400
    assert hub.get(f"/xet/v1/chunks/default/{sent.first_chunk}", hub.xet(repo, as_="otto")).status == 200


def test_T17_whoever_sends_a_strangers_xorb_is_not_told_that_it_was_here(hub: Hub) -> None:
    hidden, known, unknown = (
        hub.repo("ada", private=True),
        noise("a secret xorb", 70_000),
        noise("no such xorb", 70_000),
    )
    with_xet(hub, hidden, "x.bin", xet_file(known))
    token = hub.xet(hub.repo("sam"), "write", "sam")
    told = [post_xorb(hub, token, xet_file(data).xorbs[0]).json for data in (known, unknown)]
    assert told == [{"was_inserted": True}] * 2
    again = [post_xorb(hub, token, xet_file(data).xorbs[0]).json for data in (known, unknown)]
    assert again == [{"was_inserted": False}] * 2  # his own by now


def test_T17_a_gated_repos_files_are_not_had_by_their_sha256(hub: Hub) -> None:
    """Everybody sees its name and its pointers, so everybody knows the SHA-256."""
    gated, mine = hub.repo("ada"), hub.repo("sam")
    data, file = noise("behind the gate", 3000), xet_file(noise("behind the gate, by Xet", 70_000))
    hub.with_lfs(gated, "m.bin", data)
    with_xet(hub, gated, "x.bin", file)
    hub.ok("PUT", hub.api(gated, "/settings"), "ada", json={"gated": "manual"})
    assert "actions" in hub.batch(mine, [(sha(data), len(data))], "sam").json["objects"][0]
    assert hub.commit(mine, [lfs_file("m.bin", sha(data), len(data))], "sam").status == 422
    token = hub.xet(mine, "write", "sam")
    assert hub.post(f"/xet/v1/xorb-grants/default/{file.xorbs[0].name}", token, json={"length": 9}).status == 201
    assert hub.get(f"/xet/v1/chunks/default/{file.first_chunk}", token).status == 404
    assert hub.post("/xet/v1/shards", token, body=shard_of(file)).status == 303
    duplicated = {"target": {"type": "model", "name": mine}, "files": [{"sha256": sha(data), "filename": "m.bin"}]}
    assert hub.post(hub.api(gated, "/lfs-files/duplicate"), "sam", json=duplicated).code == "GatedRepo"
    assert hub.post(hub.api(gated, "/duplicate"), "sam", json={"repository": f"sam/{hub.name()}"}).code == "GatedRepo"
