"""Many writers on one branch, and readers of what is being rewritten: nothing is lost, nothing is half of two things."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from asgi_hub import Answer, Hub, Midway, inline, lfs_file, ndjson, noise, sha
from xet_files import chunks_of, unpacked, with_xet, xet_file

from headwater.repos import git

WRITERS = 20
LARGE = 5 << 20  # more than one step of an answer


def commit_body(path: str, **header: str) -> bytes:
    return ndjson([{"key": "header", "value": {"summary": path, **header}}, inline(path, path.encode())])


def history(hub: Hub, repo: str, rev: str = "main") -> list[dict[str, object]]:
    return hub.ok("GET", hub.api(repo, f"/commits/{rev}?limit=1000")).json


def linear(commits: list[dict[str, object]]) -> bool:
    return all(a["parents"] == [b["id"]] for a, b in pairwise(commits))


def test_T20_parallel_commits_without_a_parent_all_land_one_after_the_other(hub: Hub) -> None:
    repo = hub.repo()
    path = hub.api(repo, "/commit/main")
    answers = hub.together(*(hub.asend("POST", path, "ada", body=commit_body(f"f{i}")) for i in range(WRITERS)))
    assert [answer.status for answer in answers] == [200] * WRITERS
    commits = history(hub, repo)
    assert len(commits) == WRITERS + 1
    assert linear(commits)
    assert {answer.json["commitOid"] for answer in answers} == {commit["id"] for commit in commits[:-1]}
    entries = {entry["path"] for entry in hub.ok("GET", hub.api(repo, "/tree/main")).json}
    assert entries == {".gitattributes", *(f"f{i}" for i in range(WRITERS))}


def test_T20_of_parallel_commits_on_one_parent_exactly_one_lands(hub: Hub) -> None:
    repo = hub.repo()
    path, parent = hub.api(repo, "/commit/main"), hub.head_of(repo)
    bodies = [commit_body(f"f{i}", parentCommit=parent) for i in range(WRITERS)]
    answers = hub.together(*(hub.asend("POST", path, "ada", body=body) for body in bodies))
    assert sorted(answer.status for answer in answers) == [200] + [412] * (WRITERS - 1)
    for answer in answers:
        if answer.status == 412:
            assert answer.code == "Stale"
            assert answer.error == "The branch was updated since you opened this page. Please refresh and try again."
    assert len(history(hub, repo)) == 2
    assert len(hub.ok("GET", hub.api(repo, "/tree/main")).json) == 2


def test_T20_writers_who_try_again_on_the_new_head_lose_nothing(hub: Hub) -> None:
    repo = hub.repo()
    waiting = [f"f{i}" for i in range(6)]
    for _ in range(6):
        head = hub.head_of(repo)
        path = hub.api(repo, "/commit/main")
        answers = hub.together(
            *(hub.asend("POST", path, "ada", body=commit_body(name, parentCommit=head)) for name in waiting)
        )
        waiting = [name for name, answer in zip(waiting, answers, strict=True) if answer.status == 412]
    assert waiting == []
    assert linear(history(hub, repo))
    assert len(hub.ok("GET", hub.api(repo, "/tree/main")).json) == 7


def test_T20_parallel_pull_requests_get_numbers_of_their_own(hub: Hub) -> None:
    repo = hub.repo()
    path = hub.api(repo, "/commit/main?create_pr=1")
    answers = hub.together(*(hub.asend("POST", path, "sam", body=commit_body(f"f{i}")) for i in range(8)))
    assert [answer.status for answer in answers] == [200] * 8
    assert len({answer.json["pullRequestUrl"] for answer in answers}) == 8
    pulls = hub.ok("GET", hub.api(repo, "/refs?include_prs=1")).json["pullRequests"]
    assert [pull["name"] for pull in pulls] == [str(n) for n in range(1, 9)]


def test_T20_parallel_creations_of_one_repo_make_one(hub: Hub) -> None:
    name = hub.name()
    asked = json.dumps({"name": name, "organization": "ada"}).encode()
    headers = {"content-type": "application/json"}
    answers = hub.together(
        *(hub.asend("POST", "/api/repos/create", "ada", body=asked, headers=headers) for _ in range(8))
    )
    assert sorted(answer.status for answer in answers) == [200] + [409] * 7
    assert {answer.json["url"] for answer in answers} == {f"http://hub.test/ada/{name}"}


def test_T20_parallel_uploads_of_the_same_file_land_once(hub: Hub) -> None:
    repo, data = hub.repo(), noise("all at once", 1 << 20)
    addresses = [hub.upload_address(repo, data) for _ in range(6)]
    answers = hub.together(*(hub.asend("PUT", address, body=data) for address in addresses))
    assert [answer.status for answer in answers] == [200] * 6
    hub.committed(repo, [lfs_file("m.bin", sha(data), len(data))])
    assert hub.get(f"/{repo}/resolve/main/m.bin").body == data


# --- T22 ---


def rewriting(hub: Hub, repo: str, branch: str) -> Midway:
    """What happens while somebody downloads: the file changes, the branch is squashed, deleted and made anew."""
    ada = {"authorization": f"Bearer {hub.tokens['ada']}"}

    async def do() -> list[int]:
        answers: list[Answer] = [
            await hub.asend("POST", hub.api(repo, f"/commit/{branch}"), body=commit_body("m.bin"), headers=ada),
            await hub.asend("POST", hub.api(repo, f"/super-squash/{branch}"), json={"message": "one"}, headers=ada),
            await hub.asend("DELETE", hub.api(repo, f"/branch/{branch}"), headers=ada),
            await hub.asend("POST", hub.api(repo, f"/branch/{branch}"), json={"emptyBranch": True}, headers=ada),
        ]
        return [answer.status for answer in answers]

    return Midway(do)


def test_T22_a_download_under_way_finishes_with_the_bytes_it_began(hub: Hub) -> None:
    repo, data = hub.repo(), noise("downloaded", LARGE)
    hub.with_lfs(repo, "m.bin", data)
    hub.ok("POST", hub.api(repo, "/branch/work"), "ada", json={})
    midway = rewriting(hub, repo, "work")
    answer = hub.get(f"/{repo}/resolve/work/m.bin", midway=midway)
    assert midway.done == [[200, 200, 200, 200]]
    assert (200, sha(data)) == (answer.status, sha(answer.body))
    assert hub.get(f"/{repo}/resolve/work/m.bin").status == 404
    pinned = hub.get(f"/{repo}/resolve/{answer.headers['x-repo-commit']}/m.bin")
    assert sha(pinned.body) == sha(data)


def test_T22_a_resume_by_commit_gets_the_old_bytes_after_a_force_push(hub: Hub) -> None:
    repo = hub.repo()
    first, second = noise("first", 2000), noise("second", 2000)
    hub.with_lfs(repo, "m.bin", first)
    commit = hub.head_of(repo)
    hub.with_lfs(repo, "m.bin", second)
    hub.ok("POST", hub.api(repo, "/super-squash/main"), "ada", json={"message": "one"})
    rest = hub.get(f"/{repo}/resolve/{commit}/m.bin", headers={"range": "bytes=1000-"})
    assert (206, first[1000:]) == (rest.status, rest.body)
    by_branch = hub.get(f"/{repo}/resolve/main/m.bin", headers={"range": "bytes=1000-", "if-range": f'"{sha(first)}"'})
    assert (200, second) == (by_branch.status, by_branch.body)


def test_T22_a_xet_download_under_way_finishes_too(hub: Hub) -> None:
    repo = hub.repo()
    file = xet_file(noise("by Xet", LARGE), 128 << 10)
    hub.ok("POST", hub.api(repo, "/branch/work"), "ada", json={})
    with_xet(hub, repo, "m.bin", file)
    plan = hub.ok("GET", f"/xet/v1/reconstructions/{file.name}", hub.xet(repo)).json
    ((entry,),) = plan["fetch_info"].values()
    midway = rewriting(hub, repo, "work")
    answer = hub.get(hub.local(entry["url"]), midway=midway)
    assert midway.done
    assert unpacked(answer.body) == file.data
    assert len(chunks_of(file.data, 128 << 10)) == 40


def test_T22_a_repo_deleted_in_the_middle_ends_nobodys_download(hub: Hub) -> None:
    repo, data = hub.repo(), noise("of a deleted repo", LARGE)
    hub.with_lfs(repo, "m.bin", data)
    name = repo.split("/")[1]
    ada = {"authorization": f"Bearer {hub.tokens['ada']}"}

    async def do() -> int:
        answer = await hub.asend("DELETE", "/api/repos/delete", json={"name": name, "organization": "ada"}, headers=ada)
        return answer.status

    midway = Midway(do)
    answer = hub.get(f"/{repo}/resolve/main/m.bin", midway=midway)
    assert ([200], sha(data)) == (midway.done, sha(answer.body))
    assert hub.get(f"/{repo}/resolve/main/m.bin").code == "RepoNotFound"


def test_T20_a_branch_and_a_commit_at_the_same_time_see_one_head(hub: Hub) -> None:
    repo = hub.repo()
    requests = []
    for i in range(6):
        requests.append(hub.asend("POST", hub.api(repo, "/commit/main"), "ada", body=commit_body(f"f{i}")))
        requests.append(hub.asend("POST", hub.api(repo, f"/branch/b{i}"), "ada", json={}))
    assert {answer.status for answer in hub.together(*requests)} == {200}
    known = {commit["id"] for commit in history(hub, repo)}
    branches = hub.ok("GET", hub.api(repo, "/refs")).json["branches"]
    assert len(branches) == 7
    assert all(branch["targetCommit"] in known for branch in branches)


def test_T20_a_reader_who_is_slow_does_not_bring_an_old_head_back(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """He looks at the disk, a commit lands, and only then he remembers what he saw: the next commit must not follow it."""
    repo = hub.repo()
    reading, go_on, read = threading.Event(), threading.Event(), git._read_refs

    def slowly(root: Path) -> dict[str, str]:
        found = read(root)
        if not reading.is_set():
            reading.set()
            go_on.wait(0.5)  # a hub that makes the commit wait for the reader is right, too
        return found

    monkeypatch.setattr(git, "_read_refs", slowly)
    hub.rooms.repos.git.forget(hub.row(repo).id)

    async def both() -> Answer:
        looking = asyncio.create_task(hub.asend("GET", hub.api(repo, "/refs")))
        await asyncio.get_running_loop().run_in_executor(None, reading.wait, 5)
        committed = await hub.asend("POST", hub.api(repo, "/commit/main"), "ada", body=commit_body("first"))
        go_on.set()
        await looking
        return committed

    (first,) = hub.together(both())
    assert hub.head_of(repo) == first.json["commitOid"]
    second = hub.committed(repo, {"second": b"2"})
    assert [c["id"] for c in history(hub, repo)][:2] == [second, first.json["commitOid"]]


def test_T20_twelve_files_of_a_mebibyte_in_one_commit(hub: Hub) -> None:
    repo = hub.repo()
    files = {f"f{i}.txt": base64.b64encode(noise(f"file {i}", 768 << 10)) for i in range(12)}
    hub.committed(repo, files)
    for path in ("f0.txt", "f11.txt"):
        assert hub.get(f"/{repo}/resolve/main/{path}").body == files[path]
