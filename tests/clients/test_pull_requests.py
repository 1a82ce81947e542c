"""Pull requests of whole folders: opened, filled and added to by the repo's owner and by somebody who only reads it.

Since 1.20 a client with hf_xet opens the request first and commits to its ref, perhaps several times.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from client_running import ALICE, BOB, READER, Clients, client_home
from raw_hub import RawHub

BY_API = """
import os, sys
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

repo, folder = sys.argv[1:]
bob, reader = HfApi(token=os.environ["STRANGER_TOKEN"]), HfApi(token=os.environ["READER_TOKEN"])
first = bob.upload_folder(repo_id=repo, folder_path=folder, create_pr=True, commit_message="From bob",
                          commit_description="All of it")
assert first.pr_revision == "refs/pr/1" and first.pr_num == 1, first
told = bob.get_discussion_details(repo, 1)
assert told.title == "From bob" and told.author == "bob" and told.is_pull_request, told
assert told.status == "draft" and told.git_reference == "refs/pr/1", told
assert told.target_branch == "refs/heads/main" and told.conflicting_files == [] and told.diff, told
assert told.events[0].content == "All of it" and told.events[-1].oid == first.oid, told.events
assert first.pr_url == told.url, (first.pr_url, told.url)
bob.upload_file(repo_id=repo, path_or_fileobj=b"more", path_in_repo="more.txt", revision="refs/pr/1")
bob.upload_file(repo_id=repo, path_or_fileobj=os.urandom(20_000), path_in_repo="more.bin", revision="refs/pr/1")
assert {"more.txt", "more.bin"} <= set(bob.list_repo_files(repo, revision="refs/pr/1"))
opened = bob.create_pull_request(repo, title="To be filled")
assert opened == bob.get_discussion_details(repo, 2), opened
for act in (lambda: reader.create_pull_request(repo, title="No"),
            lambda: reader.upload_file(repo_id=repo, path_or_fileobj=b"x", path_in_repo="x", revision="refs/pr/1"),
            lambda: bob.upload_file(repo_id=repo, path_or_fileobj=b"x", path_in_repo="x"),
            lambda: bob.create_discussion(repo, title="A question")):
    try:
        act()
    except HfHubHTTPError as error:
        print("refused", error.response.status_code)
    else:
        raise AssertionError("it went through")
"""


def a_folder(root: Path, count: int) -> dict[str, bytes]:
    """Write `count` small files, a card and 2 MB of weights; return path -> content."""
    files = {f"notes/{number}.txt": b"note %d\n" % number for number in range(count)}
    files |= {"README.md": b"---\nlicense: mit\n---\n# A model\n", "model.bin": os.urandom(2_000_000)}
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return files


def proposed(raw: RawHub, repo: str, number: int, files: dict[str, bytes]) -> None:
    """Assert that the request's ref has exactly these files beside the repo's first one, and main has none of them."""
    tree = raw.tree(repo, f"refs/pr/{number}")
    assert {path for path, entry in tree.items() if entry["type"] == "file"} == {*files, ".gitattributes"}
    for path in ("README.md", "model.bin", "notes/0.txt"):
        assert raw.send("GET", f"/{repo}/resolve/refs%2Fpr%2F{number}/{path}").body == files[path]
    assert set(raw.tree(repo)) == {".gitattributes"}


@pytest.mark.timeout(180)
def test_a_folder_is_proposed_by_the_owner_and_by_a_reader_from_the_command_line(clients: Clients) -> None:
    home, repo = client_home("hub-2.4"), "alice/proposed-by-command"
    raw = RawHub(clients.hub.url, ALICE)
    raw.create_repo(repo)
    for number, (name, token) in enumerate({"owner": ALICE, "stranger": BOB}.items(), start=1):
        env = clients.environment(name, token=token)
        files = a_folder(Path(env["WORK_DIR"]) / "model", 6)
        words = ["upload", repo, "model", ".", "--create-pr", "--commit-message", f"By the {name}"]
        done = clients.run([str(home / "bin" / "hf"), *words], env, cwd=Path(env["WORK_DIR"]))
        assert done.code == 0, done.out
        proposed(raw, repo, number, files)
        assert raw.send("GET", f"/api/models/{repo}/discussions/{number}").json["title"] == f"By the {name}"
    env = clients.environment("only-reads", token=READER)
    a_folder(Path(env["WORK_DIR"]) / "model", 6)
    done = clients.run([str(home / "bin" / "hf"), *words], env, cwd=Path(env["WORK_DIR"]))
    assert done.code != 0, done.out
    pulls = raw.send("GET", f"/api/models/{repo}/refs?include_prs=1").json["pullRequests"]
    assert [pull["name"] for pull in pulls] == ["1", "2"]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("version", ["1.28", "2.4"])
def test_a_reader_proposes_a_folder_in_several_commits_and_adds_to_it_by_the_api(
    clients: Clients, version: str
) -> None:
    home, repo = client_home(f"hub-{version}"), f"alice/proposed-{version}"
    raw = RawHub(clients.hub.url, ALICE)
    raw.create_repo(repo)
    env = clients.environment("stranger", token="")
    files = a_folder(Path(env["WORK_DIR"]) / "model", 300)
    folder = str(Path(env["WORK_DIR"]) / "model")
    done = clients.run([str(home / "bin" / "python"), "-c", BY_API, repo, folder], env)
    assert done.code == 0, done.out
    assert [line.split()[1] for line in done.out.splitlines() if line.startswith("refused ")] == [
        "403", "403", "403", "501",
    ]  # fmt: skip
    assert len(raw.send("GET", f"/api/models/{repo}/commits/refs%2Fpr%2F1").json) >= 4
    proposed(raw, repo, 1, files | {"more.txt": b"", "more.bin": b""})
