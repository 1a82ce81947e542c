"""Pull requests: opened by whoever sees the repo, added to by whoever opened them, and by nobody else without a right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgi_hub import Answer, Hub, lfs_file, noise, sha
from git_pushes import FILE, Workshop
from sqlalchemy import delete, select
from xet_files import post_shard, post_xorb, xet_file

from headwater.ground.events import event

DESCRIPTION = "Three files, *better* ones"


@pytest.fixture(scope="module")
def hub(new_hub: Callable[..., Hub]) -> Hub:
    return new_hub()


@pytest.fixture
def repo(hub: Hub) -> Iterator[str]:
    """One of ada's with a file in it."""
    made = hub.repo()
    hub.committed(made, {"a.txt": b"a\n"})
    yield made


def opened(hub: Hub, repo: str, as_: str = "sam", kind: str = "model", **asked: Any) -> Answer:
    given = {"title": "Better", "description": DESCRIPTION, "pullRequest": True, **asked}
    return hub.post(hub.api(repo, "/discussions", kind), as_, json=given)


def shown(hub: Hub, repo: str, number: int = 1, as_: str = "sam", query: str = "?diff=1", kind: str = "model") -> Any:
    return hub.ok("GET", hub.api(repo, f"/discussions/{number}{query}", kind), as_).json


def test_one_is_opened_at_the_head_of_main_and_answers_what_is_read_afterwards(hub: Hub, repo: str) -> None:
    head = hub.head_of(repo)
    answer = opened(hub, repo)
    assert answer.status == 200
    assert hub.ok("GET", hub.api(repo, "/refs?include_prs=1")).json["pullRequests"] == [
        {"name": "1", "ref": "refs/pr/1", "targetCommit": head}
    ]
    told = answer.json
    assert shown(hub, repo, query="") == told
    assert (told["num"], told["title"], told["status"]) == (1, "Better", "draft")
    assert told["isPullRequest"] is True
    assert told["repo"] == {"name": repo, "type": "model"}
    assert told["author"] == {"name": "sam"}
    assert told["changes"] == {"base": "refs/heads/main"}
    assert told["filesWithConflicts"] == []
    (comment,) = told["events"]
    assert (comment["type"], comment["author"]) == ("comment", {"name": "sam"})
    assert comment["data"]["latest"]["raw"] == DESCRIPTION
    assert shown(hub, repo)["diff"] == ""


@pytest.mark.parametrize("kind", ["dataset", "space"])
def test_numbers_are_given_once_of_every_type_of_repo(hub: Hub, kind: str) -> None:
    repo = hub.repo(kind=kind)
    assert opened(hub, repo, kind=kind).json["num"] == 1
    made = hub.commit(repo, {"b.txt": b"b"}, "otto", query="?create_pr=1", kind=kind)
    assert made.json["pullRequestUrl"].endswith(f"s/{repo}/discussions/2")
    third = opened(hub, repo, "ada", kind, description=None)
    assert (third.json["num"], third.json["repo"]["type"], third.json["events"]) == (3, kind, [])


def test_what_came_since_is_told_as_commits_and_as_a_diff(hub: Hub, repo: str) -> None:
    opened(hub, repo)
    ids = [hub.committed(repo, {name: b"new\n"}, as_="sam", rev="refs/pr/1", summary=name) for name in ("b", "c")]
    told = shown(hub, repo)
    assert [(one["type"], one["data"].get("oid")) for one in told["events"]] == [
        ("comment", None), ("commit", ids[0]), ("commit", ids[1]),
    ]  # fmt: skip
    assert [one["data"]["subject"] for one in told["events"][1:]] == ["b", "c"]
    assert told["diff"].count("+new") == 2
    assert told["filesWithConflicts"] == []
    hub.committed(repo, {"b": b"another\n"})
    assert shown(hub, repo)["filesWithConflicts"] is None  # nobody has looked
    assert shown(hub, repo)["events"] == told["events"]
    assert "diff" not in shown(hub, repo, query="")


def test_one_that_began_with_a_commit_is_shown_with_it(hub: Hub, repo: str) -> None:
    made = hub.commit(repo, {"b.txt": b"b\n"}, "sam", query="?create_pr=1", summary="At once").json
    told = shown(hub, repo, as_="")
    assert (told["title"], told["author"]) == ("At once", {"name": "sam"})
    assert [one["data"]["oid"] for one in told["events"]] == [made["commitOid"]]
    assert "+b" in told["diff"]


def test_ones_that_there_are_not_are_absent_and_other_discussions_are_not_offered(hub: Hub, repo: str) -> None:
    opened(hub, repo)
    for number in ("2", "0", "999999999"):
        answer = hub.get(hub.api(repo, f"/discussions/{number}"), "ada")
        assert (answer.status, answer.code) == (404, "RevisionNotFound"), number
    for number in ("x", "-1", "1" * 10, "%C2%B2"):
        assert hub.get(hub.api(repo, f"/discussions/{number}"), "ada").status == 400, number
    for asked in ({"title": "A question"}, {"title": "A question", "pullRequest": False}):
        answer = hub.post(hub.api(repo, "/discussions"), "ada", json=asked)
        assert (answer.status, answer.code) == (501, "NotOffered")
        assert "not offered" in answer.error
    assert len(hub.ok("GET", hub.api(repo, "/refs?include_prs=1")).json["pullRequests"]) == 1


def test_all_of_a_repo_are_listed_the_newest_first_by_who_opened_them(hub: Hub, repo: str) -> None:
    def listed(query: str = "", as_: str = "") -> Any:
        return hub.ok("GET", hub.api(repo, f"/discussions{query}"), as_).json

    assert listed() == {"count": 0, "start": 0, "discussions": []}
    opened(hub, repo, title="First")
    hub.commit(repo, {"b.txt": b"b\n"}, "ada", query="?create_pr=1", summary="Second")
    whole = shown(hub, repo, 1)
    told = listed()
    assert [(one["num"], one["title"], one["author"]["name"]) for one in told["discussions"]] == [
        (2, "Second", "ada"), (1, "First", "sam"),
    ]  # fmt: skip
    assert told["discussions"][1] == {key: whole[key] for key in told["discussions"][1]}
    assert [one["num"] for one in listed("?author=SAM&status=open&type=pull_request&p=0")["discussions"]] == [1]
    for none in ("?type=discussion", "?status=closed", "?author=rea"):
        assert listed(none)["count"] == 0
    assert listed("?p=1") == {"count": 2, "start": 50, "discussions": []}
    for wrong in ("?p=x", "?p=-1", "?status=lost", "?type=issue"):
        assert hub.get(hub.api(repo, f"/discussions{wrong}")).status == 400


@pytest.mark.parametrize(
    "asked", [{"title": ""}, {"title": " "}, {"title": 7}, {"description": ["x"]}, {"title": "a\0b"},
              {"description": "x" * 70_000}],
)  # fmt: skip
def test_a_title_and_a_description_are_text_of_a_size(hub: Hub, repo: str, asked: Any) -> None:
    assert opened(hub, repo, **asked).status == 400
    assert hub.ok("GET", hub.api(repo, "/refs?include_prs=1")).json["pullRequests"] == []


# --- who ---


def test_T36_nobody_and_read_tokens_open_none(hub: Hub, repo: str) -> None:
    assert opened(hub, repo, "").status == 401
    assert opened(hub, repo, hub.token("sam", "read")).status == 403
    assert hub.ok("GET", hub.api(repo, "/refs?include_prs=1")).json["pullRequests"] == []


def test_a_private_repo_has_none_for_strangers(hub: Hub) -> None:
    repo = hub.repo(private=True)
    assert opened(hub, repo, "ada").status == 200
    for answer in (opened(hub, repo), hub.get(hub.api(repo, "/discussions/1"), "sam")):
        assert (answer.status, answer.code) == (404, "RepoNotFound")


@pytest.mark.parametrize("by_commit", [False, True])
def test_who_opened_one_adds_to_it_by_every_way_and_other_readers_by_none(
    hub: Hub, repo: str, *, by_commit: bool
) -> None:
    if by_commit:
        assert hub.commit(repo, {"first.txt": b"1"}, "sam", query="?create_pr=1").status == 200
    else:
        opened(hub, repo)
    ways = {"sam": 200, "otto": 403, hub.token("sam", "read"): 403}
    for number, (who, status) in enumerate(ways.items()):
        rev = "refs%2Fpr%2F1"
        asked = {"files": [{"path": "b.txt", "size": 1, "sample": "YQ=="}]}
        assert hub.post(hub.api(repo, f"/preupload/{rev}"), who, json=asked).status == status
        assert hub.get(hub.api(repo, f"/xet-write-token/{rev}"), who).status == status
        assert hub.commit(repo, {f"{number}.txt": b"b"}, who, rev="refs/pr/1").status == status
        for other in ("main", "pr/1", "refs/heads/main", "refs/pr/2"):
            assert hub.commit(repo, {"other.txt": b"b"}, who, rev=other).status == 403
    assert hub.get(f"/{repo}/resolve/refs%2Fpr%2F1/0.txt").status == 200
    assert hub.commit(repo, {"by-owner.txt": b"b"}, rev="refs/pr/1").status == 200


def test_who_opened_one_opens_no_other_ref(hub: Hub, repo: str) -> None:
    opened(hub, repo, "otto")
    opened(hub, repo, "sam")
    assert hub.commit(repo, {"b.txt": b"b"}, "sam", rev="refs/pr/1").status == 403
    assert hub.commit(repo, {"b.txt": b"b"}, "sam", rev="refs/pr/2").status == 200
    assert hub.post(hub.api(repo, "/super-squash/refs%2Fpr%2F2"), "sam", json={}).status == 403


def test_a_large_file_comes_to_ones_own_by_xet(hub: Hub, repo: str) -> None:
    opened(hub, repo)
    file = xet_file(noise("to a pull request", 40_000))
    token = hub.ok("GET", hub.api(repo, "/xet-write-token/refs%2Fpr%2F1"), "sam").json["accessToken"]
    assert post_xorb(hub, token, file.xorbs[0]).status == 200
    assert post_shard(hub, token, file).status == 200
    hub.committed(repo, [lfs_file("m.bin", sha(file.data), len(file.data))], as_="sam", rev="refs/pr/1")
    assert hub.get(f"/{repo}/resolve/refs%2Fpr%2F1/m.bin").body == file.data


def test_who_may_see_a_repo_no_more_adds_to_nothing_in_it(hub: Hub, repo: str) -> None:
    opened(hub, repo)
    hub.ok("PUT", hub.api(repo, "/settings"), "ada", json={"private": True})
    answer = hub.commit(repo, {"b.txt": b"b"}, "sam", rev="refs/pr/1")
    assert (answer.status, answer.code) == (404, "RepoNotFound")


def test_a_git_author_is_no_opener(hub: Hub, repo: str, tmp_path: Any) -> None:
    """Who opened it stands in what the hub wrote down: without that, nobody is let in by what commits say."""
    hub.commit(repo, {"b.txt": b"b"}, "sam", query="?create_pr=1")
    with hub.rooms.db.write() as connection:
        mine = select(event.c.id).where(event.c.repo_id == hub.row(repo).id, event.c.data.contains("refs/pr/1"))
        connection.execute(delete(event).where(event.c.id.in_(mine)))
    assert hub.commit(repo, {"c.txt": b"c"}, "sam", rev="refs/pr/1").status == 403
    told = shown(hub, repo)
    assert "author" not in told
    assert told["events"] == []


def test_the_files_of_a_gated_repo_are_in_no_pull_request_that_others_read(hub: Hub) -> None:
    repo = hub.repo("ada", owner="acme")
    hub.committed(repo, {"a.txt": b"secret\n"})
    hub.commit(repo, {"a.txt": b"secret too\n"}, query="?create_pr=1", summary="Secrets")
    hub.ok("PUT", hub.api(repo, "/settings"), "ada", json={"gated": "manual"})
    assert "+secret too" in shown(hub, repo, as_="rea")["diff"]
    told = shown(hub, repo, as_="sam")
    assert told["events"] == []
    assert "diff" not in told


# --- by git ---


@pytest.fixture
def workshop(tmp_path: Any) -> Workshop:
    made = Workshop(tmp_path / "workshop.git")
    made.init()
    return made


def pushed(hub: Hub, repo: str, as_: str, body: bytes) -> Answer:
    return hub.post(f"/{repo}.git/git-receive-pack", as_, body=body)


def test_who_opened_one_pushes_to_it_and_to_nothing_else(hub: Hub, repo: str, workshop: Workshop) -> None:
    advertisement = f"/{repo}.git/info/refs?service=git-receive-pack"
    assert hub.get(advertisement, "sam").status == 403
    opened(hub, repo)
    assert hub.get(advertisement, "sam").status == 200
    assert hub.get(advertisement, "otto").status == 403
    old = hub.head_of(repo)
    new = workshop.commit(workshop.tree((FILE, "a.txt", workshop.blob(b"a better one\n"))))
    refused = pushed(hub, repo, "sam", workshop.push(new, old))
    assert (refused.status, hub.head_of(repo)) == (200, old)
    assert "ng refs/heads/main you may push to the pull requests that you opened" in refused.text
    assert pushed(hub, repo, "otto", workshop.push(new, old, "refs/pr/1")).status == 403
    assert "ok refs/pr/1" in pushed(hub, repo, "sam", workshop.push(new, old, "refs/pr/1")).text
    assert hub.head_of(repo, "refs/pr/1") == new


def test_a_pushed_binary_file_is_refused_in_the_hubs_words(hub: Hub, repo: str, workshop: Workshop) -> None:
    old = hub.head_of(repo)
    new = workshop.commit(workshop.tree((FILE, "tiny.dat", workshop.blob(b"\0"))))
    said = pushed(hub, repo, "ada", workshop.push(new, old)).text
    assert "ng refs/heads/main pre-receive check: binary files" in said
    assert hub.head_of(repo) == old


def test_large_files_of_a_stranger_go_into_his_pull_request_by_lfs_too(hub: Hub, repo: str) -> None:
    data = noise("a stranger's weights", 5000)
    oid = hub.upload(repo, data, "sam")
    assert hub.commit(repo, [lfs_file("w.safetensors", oid, len(data))], "sam").status == 403
    made = hub.commit(repo, [lfs_file("w.safetensors", oid, len(data))], "sam", query="?create_pr=1")
    assert made.status == 200
    assert hub.ok("GET", f"/{repo}/resolve/refs%2Fpr%2F1/w.safetensors").body == data
    assert hub.get(f"/{repo}/resolve/main/w.safetensors").status == 404


def test_nobody_and_who_may_not_see_the_repo_get_no_upload_address(hub: Hub, repo: str) -> None:
    hidden = hub.repo(private=True)
    assert hub.batch(repo, [("a" * 64, 5)], "").status == 401
    assert hub.batch(hidden, [("a" * 64, 5)], "sam").status == 404


def test_the_address_that_clients_print_leads_to_its_files(hub: Hub, repo: str) -> None:
    made = hub.commit(repo, {"b.txt": b"b"}, "sam", query="?create_pr=1").json["pullRequestUrl"]
    answer = hub.get(hub.local(made))
    assert (answer.status, hub.get(answer.headers["location"]).status) == (302, 200)
    assert answer.headers["location"].endswith(f"/{repo}/tree/refs%2Fpr%2F1")
    assert hub.get(hub.local(made).replace("/1", "/2")).status == 404
