"""git and git-lfs: clone, push, fetch; what the API committed and what git pushed are the same history."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from client_running import ALICE, BOB, READER, Clients, Done, Hub, program
from raw_hub import RawHub

LFS_BYTES = 15_000_000


@dataclass(frozen=True)
class Git:
    """A person with git and git-lfs and an empty configuration."""

    clients: Clients
    env: dict[str, str]
    raw: RawHub

    def __call__(self, *words: str, cwd: Path | str = ".", fails: bool = False) -> Done:
        """Run git; assert that it ends well (or, with `fails`, that it does not)."""
        done = self.clients.run([program("git", "git"), *words], self.env, cwd=self.work / cwd)
        assert (done.code != 0) == fails, f"git {' '.join(words)} ended with {done.code}\n{done.out}"
        return done

    @property
    def work(self) -> Path:
        """The folder in which clones lie."""
        return Path(self.env["WORK_DIR"])

    def address(self, path: str, user: str = "alice", token: str = ALICE) -> str:
        """Return a clone address with credentials in it."""
        return f"{self.clients.hub.with_login(user, token)}/{path}"

    def commit(self, folder: str, message: str, files: dict[str, bytes]) -> None:
        """Write files into a clone and commit them."""
        for path, data in files.items():
            (self.work / folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.work / folder / path).write_bytes(data)
        self("add", "-A", cwd=folder)
        self("commit", "-qm", message, cwd=folder)

    def head(self, folder: str) -> str:
        """Return the commit id a clone stands on."""
        return self("rev-parse", "HEAD", cwd=folder).out.strip()


@pytest.fixture
def git(clients: Clients, hub: Hub) -> Git:
    """git with a name, and git-lfs where it is installed."""
    program("git-lfs", "git-lfs")
    found = Git(clients, clients.environment("git", token=""), RawHub(hub.url, ALICE))
    for key, value in (("user.name", "Alice"), ("user.email", "alice@example.org"), ("init.defaultBranch", "main")):
        found("config", "--global", key, value)
    found("lfs", "install", "--skip-repo")
    return found


@pytest.mark.timeout(120)
def test_a_push_with_an_lfs_file_comes_back_equal_in_a_fresh_clone(git: Git) -> None:
    big = os.urandom(LFS_BYTES)
    git.raw.create_repo("alice/git-push")
    git("clone", "-q", git.address("alice/git-push"), "one")
    assert [p.name for p in (git.work / "one").iterdir() if p.name != ".git"] == [".gitattributes"]
    git.commit("one", "Weights and words", {"model.bin": big, "words/naïve file.txt": "naïve\n".encode(), "empty": b""})
    git("push", "-q", "origin", "main", cwd="one")

    tree = git.raw.tree("alice/git-push")
    assert tree["model.bin"]["lfs"]["oid"] == hashlib.sha256(big).hexdigest() and tree["model.bin"]["size"] == LFS_BYTES
    assert tree["words/naïve file.txt"]["size"] == 7 and "empty" in tree
    assert git.raw.send("GET", "/api/models/alice/git-push").json["sha"] == git.head("one")
    assert git.raw.send("GET", "/api/models/alice/git-push/commits/main").json[0]["title"] == "Weights and words"

    git("clone", "-q", git.address("alice/git-push.git"), "two")
    assert (git.work / "two" / "model.bin").read_bytes() == big
    assert (git.work / "two" / "words" / "naïve file.txt").read_text() == "naïve\n"
    assert git.head("two") == git.head("one")
    git("fsck", "--strict", cwd="two")


@pytest.mark.timeout(120)
def test_the_api_and_git_build_one_history(git: Git) -> None:
    weights = os.urandom(2_000_000)
    git.raw.create_repo("alice/git-both")
    git("clone", "-q", git.address("alice/git-both"), "one")
    git.commit("one", "From git", {"a.txt": b"a\n"})
    git("push", "-q", cwd="one")
    git.raw.commit("alice/git-both", {"b.txt": b"b\n"})
    git.raw.commit_lfs("alice/git-both", "weights.safetensors", weights)
    git.commit("one", "Stale", {"c.txt": b"c\n"})
    assert "rejected" in git("push", cwd="one", fails=True).out
    git("pull", "-q", "--rebase", cwd="one")
    git("push", "-q", cwd="one")
    assert (git.work / "one" / "weights.safetensors").read_bytes() == weights
    titles = [commit["title"] for commit in git.raw.send("GET", "/api/models/alice/git-both/commits/main").json]
    assert titles == ["Stale", "By hand, LFS", "By hand", "From git", "initial commit"]


@pytest.mark.timeout(120)
def test_branches_and_tags_are_pushed_and_deleted(git: Git) -> None:
    git.raw.create_repo("alice/git-refs")
    git("clone", "-q", git.address("alice/git-refs"), "one")
    git("checkout", "-q", "-b", "feature/one", cwd="one")
    git.commit("one", "On a branch", {"f.txt": b"f\n"})
    git("tag", "-a", "v1", "-m", "The first", cwd="one")
    git("push", "-q", "origin", "feature/one", "v1", cwd="one")
    refs = git.raw.send("GET", "/api/models/alice/git-refs/refs").json
    assert {ref["ref"] for ref in refs["branches"]} == {"refs/heads/main", "refs/heads/feature/one"}
    assert [(ref["ref"], ref["targetCommit"]) for ref in refs["tags"]] == [("refs/tags/v1", git.head("one"))]
    git("push", "-q", "origin", "--delete", "feature/one", cwd="one")
    git("push", "origin", "--delete", "main", cwd="one", fails=True)
    refs = git.raw.send("GET", "/api/models/alice/git-refs/refs").json
    assert [ref["name"] for ref in refs["branches"]] == ["main"]
    git("clone", "-q", "--depth", "1", "--branch", "v1", git.address("alice/git-refs"), "shallow")
    assert (git.work / "shallow" / "f.txt").read_bytes() == b"f\n"


@pytest.mark.timeout(120)
def test_a_pull_request_is_fetched_and_pushed_as_refs_pr(git: Git) -> None:
    git.raw.create_repo("alice/git-pr")
    git.raw.commit("alice/git-pr", {"proposed.txt": b"proposed\n"}, query="?create_pr=1")
    git("clone", "-q", git.address("alice/git-pr"), "one")
    assert not (git.work / "one" / "proposed.txt").exists()
    git("fetch", "-q", "origin", "refs/pr/1:pr1", cwd="one")
    git("checkout", "-q", "pr1", cwd="one")
    assert (git.work / "one" / "proposed.txt").read_bytes() == b"proposed\n"
    git.commit("one", "Better", {"proposed.txt": b"better\n"})
    git("push", "-q", "origin", "pr1:refs/pr/1", cwd="one")
    got = git.raw.send("GET", "/alice/git-pr/resolve/refs%2Fpr%2F1/proposed.txt")
    assert got.body == b"better\n"
    assert "proposed.txt" not in git.raw.tree("alice/git-pr")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("version", ["0", "2"])
def test_a_partial_clone_gets_the_rest_when_it_needs_it(git: Git, version: str) -> None:
    git.raw.create_repo(f"alice/git-partial-{version}")
    git.raw.commit(f"alice/git-partial-{version}", {"dir/a.txt": b"a\n"})
    git("config", "--global", "protocol.version", version)
    git("clone", "-q", "--filter=blob:none", git.address(f"alice/git-partial-{version}"), "one")
    assert (git.work / "one" / "dir" / "a.txt").read_bytes() == b"a\n"


@pytest.mark.timeout(120)
def test_a_private_repo_is_cloned_by_its_owner_only(git: Git) -> None:
    git.raw.create_repo("alice/git-private", private=True)
    plain = f"{git.clients.hub.url}/alice/git-private"
    git("clone", plain, "nobody", fails=True)
    git("clone", git.address("alice/git-private", "bob", BOB), "stranger", fails=True)
    git("-c", f"http.extraHeader=Authorization: Bearer {ALICE}", "clone", "-q", plain, "bearer")
    basic = base64.b64encode(f"hf_user:{ALICE}".encode()).decode()
    git("-c", f"http.extraHeader=Authorization: Basic {basic}", "clone", "-q", plain, "basic")
    assert git.head("bearer") == git.head("basic")


@pytest.mark.timeout(120)
def test_nobody_pushes_to_what_is_not_theirs(git: Git) -> None:
    git.raw.create_repo("alice/git-theirs")
    before = git.raw.send("GET", "/api/models/alice/git-theirs").json["sha"]
    for number, (user, token, why) in enumerate(
        [("bob", BOB, ""), ("reader", READER, ": your token has only the role")]
    ):
        git("clone", "-q", git.address("alice/git-theirs", user, token), f"c{number}")
        git.commit(f"c{number}", "Theirs", {"x.txt": b"x\n"})
        said = git("push", cwd=f"c{number}", fails=True).out
        assert f"remote: You don't have the rights to write to the model alice/git-theirs{why}" in said
    git("clone", "-q", f"{git.clients.hub.url}/alice/git-theirs", "anonymous")
    git.commit("anonymous", "Theirs", {"x.txt": b"x\n"})
    git("push", cwd="anonymous", fails=True)
    assert git.raw.send("GET", "/api/models/alice/git-theirs").json["sha"] == before


@pytest.mark.timeout(120)
def test_a_large_file_without_lfs_is_refused_by_name(git: Git) -> None:
    git.raw.create_repo("alice/git-large")
    git("clone", "-q", git.address("alice/git-large"), "one")
    git.commit("one", "Too large", {"dir/large.txt": b"0123456789abcde\n" * 700_000})
    said = git("push", cwd="one", fails=True).out
    assert "files larger than 10 MiB" in said and "dir/large.txt (ref: refs/heads/main)" in said, said
    assert list(git.raw.tree("alice/git-large")) == [".gitattributes"]


@pytest.mark.timeout(120)
def test_a_pointer_without_its_object_is_refused(git: Git) -> None:
    git.raw.create_repo("alice/git-dangling")
    git("clone", "-q", git.address("alice/git-dangling"), "one")
    git.commit("one", "Weights", {"model.bin": os.urandom(50_000)})
    said = git("push", "--no-verify", "origin", "main", cwd="one", fails=True).out  # --no-verify skips git-lfs's upload
    assert "model.bin" in said, said
    assert list(git.raw.tree("alice/git-dangling")) == [".gitattributes"]
    git("push", "-q", "origin", "main", cwd="one")
    assert "model.bin" in git.raw.tree("alice/git-dangling")


@pytest.mark.timeout(120)
def test_a_data_set_has_a_clone_address_of_its_own(git: Git) -> None:
    git.raw.create_repo("alice/git-data", kind="dataset")
    git("clone", "-q", git.address("datasets/alice/git-data"), "one")
    git.commit("one", "Rows", {"rows.parquet": os.urandom(100_000), "rows.csv": b"a,b\n"})
    git("push", "-q", cwd="one")
    git("clone", "-q", git.address("datasets/alice/git-data"), "two")
    assert (git.work / "two" / "rows.parquet").read_bytes() == (git.work / "one" / "rows.parquet").read_bytes()
