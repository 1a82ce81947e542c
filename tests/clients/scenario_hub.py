"""What a person does with huggingface_hub, whole: run inside one client environment, against one hub.

`test_hub.py` starts it for five generations of the library, with Xet and without. The environment names the hub
(HF_ENDPOINT), the owner's token (HF_TOKEN), a stranger's (STRANGER_TOKEN), a read-only one (READER_TOKEN), the relay's
control port (METER_URL), an empty folder (WORK_DIR) and a word unique to this run (RUN). Run with `--upload-again REPO`,
`--upload-edited REPO` or `--fetch REPO` it is the second process, with fresh caches, of the steps that need one.
"""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    HfFileSystem,
    ModelCard,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from stepping import Steps, Traffic, ask_meter, expect, http_get, leave, say, sha256

step = Steps()
api = HfApi()
ENDPOINT = os.environ["HF_ENDPOINT"]
OWNER_TOKEN = os.environ["HF_TOKEN"]
STRANGER_TOKEN = os.environ["STRANGER_TOKEN"]
READER_TOKEN = os.environ["READER_TOKEN"]
RUN = os.environ["RUN"]
WORK = Path(os.environ["WORK_DIR"])
XET = os.environ.get("HF_HUB_DISABLE_XET") != "1"
BIG_BYTES = 12_000_000
# What may go up when no data does: headers, a shard (48 bytes for each of ~190 chunks), and the 512-byte samples.
NO_DATA_BYTES = 128 * 1024
REPO = f"alice/{RUN}"
BIG = WORK / "big.bin"
EDITED = WORK / "edited.bin"
TEXT = "A small text, and not only ASCII: naïve, 模型, 🌊\n"
FOLDER = {
    "folder/config.json": b'{"hidden_size": 8}\n',
    "folder/deep/er/notes.md": b"# Notes\n",
    "folder/with space/file name.txt": b"a path with spaces\n",
    "folder/üñï/模型 #1 100%.txt": b"a path with everything in it\n",
    "folder/plus+and&equals=.txt": b"reserved characters\n",
    "folder/weights.safetensors": b"",  # filled below
    "folder/empty.bin": b"",
}


def safetensors_bytes() -> bytes:
    """Return a valid safetensors file: one float32 tensor of 100 x 25 elements, 10 kB."""
    header = {"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [100, 25], "data_offsets": [0, 10000]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(range(250)) * 40


FOLDER["folder/weights.safetensors"] = safetensors_bytes()


def status_of(error: Any) -> int:
    """Return the HTTP status an error came from."""
    status: int = error.response.status_code
    return status


def head() -> str:
    """Return the commit id of the repository's main branch."""
    sha: str = api.model_info(REPO).sha
    return sha


def second_process(*arguments: str, xet: bool) -> str:
    """Run this file again with empty caches; return what it printed."""
    env = dict(os.environ)
    home = WORK / f"second-{len(list(WORK.iterdir()))}"
    env.update(HF_HOME=str(home), HF_XET_CACHE=str(home / "xet"), HF_HUB_DISABLE_XET="0" if xet else "1")
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --------------------------------------------------------------------------------------- the repository and its files


@step
def whoami() -> None:
    me = api.whoami()
    assert me["name"] == "alice" and me["type"] == "user", me
    assert "acme" in [org["name"] for org in me["orgs"]], me
    assert me["auth"]["accessToken"]["role"] == "write", me
    error = expect(OSError, HfApi(token="hf_not_a_token_of_this_hub").whoami)  # the library of 0.x gives its own kind
    assert status_of(error) == 401, error


@step
def create_repo() -> None:
    url = api.create_repo(REPO)
    assert url.repo_id == REPO and url.repo_type == "model" and str(url) == f"{ENDPOINT}/{REPO}", repr(url)
    assert api.create_repo(REPO, exist_ok=True).repo_id == REPO
    error = expect(HfHubHTTPError, api.create_repo, REPO)
    assert status_of(error) == 409, error
    assert "Request ID" in str(error), f"no X-Request-Id: {error}"
    assert api.repo_exists(REPO) and not api.repo_exists(REPO + "-not")
    error = expect(HfHubHTTPError, api.create_repo, f"bob/{RUN}")
    assert status_of(error) == 403, error


@step
def a_new_repo_holds_gitattributes_and_one_commit() -> None:
    assert api.list_repo_files(REPO) == [".gitattributes"]
    commits = api.list_repo_commits(REPO)
    assert [commit.title for commit in commits] == ["initial commit"], commits
    assert commits[0].authors == ["alice"], commits
    text = Path(hf_hub_download(REPO, ".gitattributes")).read_text()
    for suffix in (".bin", ".pkl", ".safetensors", ".parquet", ".arrow"):
        assert f"*{suffix} filter=lfs" in text, text


@step
def upload_a_small_text() -> None:
    commit = api.upload_file(
        path_or_fileobj=TEXT.encode(), path_in_repo="notes/text.txt", repo_id=REPO, commit_message="Add a text"
    )
    assert len(commit.oid) == 40 and commit.oid == head(), commit
    assert commit.commit_url == f"{ENDPOINT}/{REPO}/commit/{commit.oid}", commit
    assert Path(hf_hub_download(REPO, "notes/text.txt")).read_text() == TEXT


@step
def upload_12_mb_of_random_bytes() -> None:
    BIG.write_bytes(os.urandom(BIG_BYTES))
    with Traffic() as traffic:
        api.upload_file(path_or_fileobj=str(BIG), path_in_repo="big.bin", repo_id=REPO)
    assert traffic.up_bytes >= BIG_BYTES, f"only {traffic.up_bytes} bytes were seen: the relay is being passed by"
    by_xet, by_lfs = traffic.saw("xet-write-token"), traffic.saw("PUT ") and traffic.saw("/info/lfs/objects/batch")
    assert by_xet if XET else (by_lfs and not by_xet), traffic.lines
    entry = api.get_paths_info(REPO, "big.bin")[0]
    assert entry.size == BIG_BYTES and entry.lfs.sha256 == sha256(BIG) and entry.lfs.size == BIG_BYTES, entry


@step
def upload_an_empty_file() -> None:
    api.upload_file(path_or_fileobj=b"", path_in_repo="empty.txt", repo_id=REPO)
    entry = api.get_paths_info(REPO, "empty.txt")[0]
    assert entry.size == 0 and entry.blob_id == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391", entry
    assert Path(hf_hub_download(REPO, "empty.txt")).read_bytes() == b""


@step
def upload_a_file_object() -> None:
    data = os.urandom(300_000)  # newer clients send file objects by LFS even where they have Xet
    api.upload_file(path_or_fileobj=io.BytesIO(data), path_in_repo="objects/stream.bin", repo_id=REPO)
    assert sha256(hf_hub_download(REPO, "objects/stream.bin")) == sha256(data)


@step
def uploading_an_unchanged_file_makes_no_commit() -> None:
    before = head()
    with Traffic() as traffic:
        api.upload_file(path_or_fileobj=str(BIG), path_in_repo="big.bin", repo_id=REPO)
        api.upload_file(path_or_fileobj=TEXT.encode(), path_in_repo="notes/text.txt", repo_id=REPO)
    assert head() == before
    assert traffic.up_bytes < NO_DATA_BYTES, traffic.up_bytes


@step
def upload_folder() -> None:
    for path, data in FOLDER.items():
        file = WORK / "tree" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (WORK / "tree" / "folder" / "left out.tmp").write_bytes(b"x")
    api.upload_folder(folder_path=str(WORK / "tree"), repo_id=REPO, ignore_patterns=["*.tmp"])
    there = set(api.list_repo_files(REPO))
    assert set(FOLDER) <= there and not any(path.endswith(".tmp") for path in there), there


@step
def a_commit_adds_deletes_and_copies() -> None:
    api.upload_file(path_or_fileobj=b"soon gone", path_in_repo="old/gone.txt", repo_id=REPO)
    api.upload_file(path_or_fileobj=b"gone too", path_in_repo="folder2/a.txt", repo_id=REPO)
    parent = head()
    with Traffic() as traffic:
        commit = api.create_commit(
            REPO,
            operations=[
                CommitOperationAdd("new/added.txt", b"added\n"),
                CommitOperationCopy("big.bin", "copies/big copy.bin"),
                CommitOperationCopy("notes/text.txt", "copies/text.txt"),
                CommitOperationDelete("old/gone.txt"),
                CommitOperationDelete("folder2/"),
            ],
            commit_message="Add, copy, delete",
            commit_description="Two files go, three come.",
            parent_commit=parent,
        )
    assert traffic.up_bytes < NO_DATA_BYTES, traffic.up_bytes
    there = set(api.list_repo_files(REPO))
    assert {"new/added.txt", "copies/big copy.bin", "copies/text.txt"} <= there, there
    assert not {"old/gone.txt", "folder2/a.txt"} & there, there
    assert sha256(hf_hub_download(REPO, "copies/big copy.bin")) == sha256(BIG)
    assert Path(hf_hub_download(REPO, "copies/text.txt", revision=commit.oid)).read_text() == TEXT


@step
def a_stale_parent_is_refused() -> None:
    first = api.list_repo_commits(REPO)[-1].commit_id
    before = head()
    operation = CommitOperationAdd("stale.txt", b"stale")
    error = expect(HfHubHTTPError, api.create_commit, REPO, [operation], commit_message="stale", parent_commit=first)
    assert status_of(error) == 412 and "updated since you opened this page" in str(error), error
    assert head() == before and "stale.txt" not in api.list_repo_files(REPO)


@step
def deleting_a_missing_file_is_refused() -> None:
    error = expect(EntryNotFoundError, api.delete_file, "no/such file.txt", REPO)
    assert "A file with this name doesn't exist" in str(error), error


@step
def list_the_tree() -> None:
    tree = {entry.path: entry for entry in api.list_repo_tree(REPO, recursive=True, expand=True)}
    for path, data in FOLDER.items():
        assert tree[path].size == len(data), tree[path]
    assert tree["big.bin"].lfs.sha256 == sha256(BIG)
    assert tree["big.bin"].last_commit.title, tree["big.bin"]
    assert tree["new/added.txt"].last_commit.title == "Add, copy, delete", tree["new/added.txt"]
    assert hasattr(tree["folder/deep"], "tree_id"), tree["folder/deep"]
    part = [entry.path for entry in api.list_repo_tree(REPO, "folder/with space")]
    assert part == ["folder/with space/file name.txt"], part
    expect(EntryNotFoundError, lambda: list(api.list_repo_tree(REPO, "no/such/folder")))
    found = [entry.path for entry in api.get_paths_info(REPO, ["notes/text.txt", "missing", "folder"])]
    assert sorted(found) == ["folder", "notes/text.txt"], found


@step
def download_one_file() -> None:
    with Traffic() as traffic:
        path = hf_hub_download(REPO, "big.bin")
    assert sha256(path) == sha256(BIG)
    if XET:
        assert traffic.saw("/reconstruction") or traffic.down_bytes < BIG_BYTES, traffic.lines
    with Traffic() as traffic:
        assert hf_hub_download(REPO, "big.bin") == path
        hf_hub_download(REPO, "big.bin", revision=head())
    assert traffic.down_bytes < NO_DATA_BYTES, traffic.down_bytes
    seen = get_hf_file_metadata(hf_hub_url(REPO, "big.bin"))
    assert seen.etag == sha256(BIG) and seen.size == BIG_BYTES and seen.commit_hash == head(), seen
    local = hf_hub_download(REPO, "folder/üñï/模型 #1 100%.txt", local_dir=WORK / "local")
    assert Path(local).read_bytes() == FOLDER["folder/üñï/模型 #1 100%.txt"]


@step
def every_file_comes_by_plain_http_too() -> None:
    status, headers, body = http_get(f"{ENDPOINT}/{REPO}/resolve/main/big.bin", OWNER_TOKEN)
    assert status == 200 and sha256(body) == sha256(BIG), (status, headers)
    _, headers, body = http_get(f"{ENDPOINT}/{REPO}/resolve/main/big.bin", OWNER_TOKEN, Range="bytes=5000000-5000099")
    assert body == BIG.read_bytes()[5_000_000:5_000_100], headers


@step
def every_file_comes_by_xet_too() -> None:
    if XET:
        return  # this very run has just shown it
    with Traffic() as traffic:
        printed = second_process("--fetch", REPO, xet=True)
    assert sha256(BIG) in printed, printed
    assert traffic.saw("/reconstruction"), traffic.lines


@step
def snapshot() -> None:
    where = Path(snapshot_download(REPO))
    for path, data in FOLDER.items():
        assert (where / path).read_bytes() == data, path
    assert sha256(where / "copies/big copy.bin") == sha256(BIG)
    assert where.name == head()
    there = {str(p.relative_to(where)) for p in where.rglob("*") if p.is_file()}
    assert there == set(api.list_repo_files(REPO)), there
    few = Path(snapshot_download(REPO, local_dir=WORK / "few", allow_patterns=["folder/*.json"]))
    assert [p.name for p in (few / "folder").iterdir()] == ["config.json"]


@step
def a_broken_download_is_resumed() -> None:
    if XET:
        ask_meter("/cut?after_bytes=3000000")
        with Traffic() as traffic:
            printed = second_process("--fetch", REPO, xet=True)
        assert sha256(BIG) in printed and "  -- cut" in traffic.lines, traffic.lines
        return
    ask_meter("/cut?after_bytes=11000000")  # the clients keep whole chunks of 10 MB and drop the rest
    with Traffic() as traffic:
        try:
            path = hf_hub_download(REPO, "big.bin", cache_dir=WORK / "resumed")
        except Exception as error:  # noqa: BLE001 - each generation has its own error for a torn answer
            say(f"the cut came through as {type(error).__name__}: asking again, as a person would")
            path = hf_hub_download(REPO, "big.bin", cache_dir=WORK / "resumed")
    assert sha256(path) == sha256(BIG) and "  -- cut" in traffic.lines, traffic.lines
    if not huggingface_hub.__version__.startswith("1.19."):  # that one throws the part away and starts anew
        assert "  -> 206" in traffic.lines and traffic.down_bytes < 1.5 * BIG_BYTES, traffic.lines


@step
def the_same_upload_from_a_fresh_client_sends_no_data() -> None:
    api.create_repo(f"{REPO}-again")
    with Traffic() as traffic:
        second_process("--upload-again", f"{REPO}-again", xet=XET)
    assert traffic.up_bytes < NO_DATA_BYTES, (traffic.up_bytes, traffic.lines)
    assert sha256(hf_hub_download(f"{REPO}-again", "elsewhere.bin")) == sha256(BIG)
    api.delete_repo(f"{REPO}-again")


@step
def a_copy_with_three_edits_sends_little() -> None:
    if not XET:
        return
    data = bytearray(BIG.read_bytes())
    data[1_000_000:1_000_010] = b"0123456789"
    del data[5_000_000:5_000_100]
    data[9_000_000:9_000_000] = b"inserted"
    EDITED.write_bytes(data)
    with Traffic() as traffic:
        second_process("--upload-edited", REPO, xet=True)
    assert traffic.up_bytes < 1_000_000, (traffic.up_bytes, traffic.lines)  # three edits touch 3 to 6 chunks of 64 KiB
    assert sha256(hf_hub_download(REPO, "edited.bin")) == sha256(EDITED)


@step
def a_repo_id_is_found_in_any_case() -> None:
    assert api.model_info(REPO.upper()).id == REPO
    api.upload_file(path_or_fileobj=b"case", path_in_repo="case.txt", repo_id=REPO.upper())
    assert "case.txt" in api.list_repo_files(REPO)


# ------------------------------------------------------------------------------------------------------- refs, history


@step
def branches() -> None:
    api.create_branch(REPO, branch="dev")
    api.create_branch(REPO, branch="dev", exist_ok=True)
    error = expect(HfHubHTTPError, api.create_branch, REPO, branch="dev")
    assert status_of(error) == 409 and "Reference refs/heads/dev already exists" in str(error), error
    api.upload_file(path_or_fileobj=b"dev only", path_in_repo="dev.txt", repo_id=REPO, revision="dev")
    assert "dev.txt" in api.list_repo_files(REPO, revision="dev") and "dev.txt" not in api.list_repo_files(REPO)
    first = api.list_repo_commits(REPO)[-1].commit_id
    api.create_branch(REPO, branch="feature/from-first", revision=first)
    assert api.list_repo_files(REPO, revision="feature/from-first") == [".gitattributes"]
    assert Path(hf_hub_download(REPO, ".gitattributes", revision="feature/from-first")).exists()
    refs = {ref.name: ref for ref in api.list_repo_refs(REPO).branches}
    assert set(refs) == {"main", "dev", "feature/from-first"}, refs
    assert refs["feature/from-first"].target_commit == first and refs["dev"].ref == "refs/heads/dev", refs
    api.delete_branch(REPO, branch="feature/from-first")
    assert "Cannot delete refs/heads/main" in str(expect(HfHubHTTPError, api.delete_branch, REPO, branch="main"))
    assert "Invalid rev id" in str(expect(HfHubHTTPError, api.delete_branch, REPO, branch="never-was"))


@step
def tags() -> None:
    api.create_tag(REPO, tag="v1.0", tag_message="The first")
    api.create_tag(REPO, tag="v1.0", exist_ok=True)
    assert status_of(expect(HfHubHTTPError, api.create_tag, REPO, tag="v1.0")) == 409
    api.create_tag(REPO, tag="dev-tag", revision="dev")
    assert "dev.txt" in api.list_repo_files(REPO, revision="dev-tag")
    refs = {ref.name: ref.target_commit for ref in api.list_repo_refs(REPO).tags}
    assert refs["v1.0"] == head() and set(refs) == {"v1.0", "dev-tag"}, refs
    assert api.model_info(REPO, revision="v1.0").sha == head()
    api.delete_tag(REPO, tag="dev-tag")
    expect(RevisionNotFoundError, api.delete_tag, REPO, tag="dev-tag")


@step
def commits() -> None:
    listed = api.list_repo_commits(REPO, formatted=True)
    titles = [commit.title for commit in listed]
    assert titles[-1] == "initial commit" and "Add a text" in titles, titles
    described = next(commit for commit in listed if commit.title == "Add, copy, delete")
    assert described.message == "Two files go, three come.", described
    assert described.authors == ["alice"] and described.created_at.tzinfo is not None, described
    assert listed[0].commit_id == head()
    assert api.model_info(REPO, revision=described.commit_id[:10]).sha == described.commit_id
    expect(RevisionNotFoundError, api.list_repo_commits, REPO, revision="never-was")


@step
def a_pull_request() -> None:
    commit = api.upload_file(
        path_or_fileobj=b"proposed", path_in_repo="proposed.txt", repo_id=REPO, create_pr=True, commit_message="Propose"
    )
    assert commit.pr_url and commit.pr_revision == "refs/pr/1", commit
    assert Path(hf_hub_download(REPO, "proposed.txt", revision="refs/pr/1")).read_bytes() == b"proposed"
    assert "proposed.txt" not in api.list_repo_files(REPO)
    refs = api.list_repo_refs(REPO, include_pull_requests=True)
    assert [ref.ref for ref in refs.pull_requests] == ["refs/pr/1"], refs
    api.upload_file(path_or_fileobj=b"more", path_in_repo="more.txt", repo_id=REPO, revision="refs/pr/1")
    assert {"more.txt", "proposed.txt"} <= set(api.list_repo_files(REPO, revision="refs/pr/1"))


# ------------------------------------------------------------------------------------------------- errors, and who may


@step
def what_is_not_there_has_its_own_error() -> None:
    missing = f"alice/{RUN}-not"
    expect(RepositoryNotFoundError, api.model_info, missing)
    expect(RepositoryNotFoundError, hf_hub_download, missing, "x.txt")
    expect(RepositoryNotFoundError, api.upload_file, path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=missing)
    expect(RepositoryNotFoundError, api.delete_repo, missing)
    api.delete_repo(missing, missing_ok=True)
    expect(RevisionNotFoundError, api.model_info, REPO, revision="never-was")
    expect(RevisionNotFoundError, hf_hub_download, REPO, "notes/text.txt", revision="never-was")
    error = expect(EntryNotFoundError, hf_hub_download, REPO, "never/was.txt")
    assert "404" in str(error), error
    assert api.file_exists(REPO, "notes/text.txt") and not api.file_exists(REPO, "never/was.txt")
    assert api.revision_exists(REPO, "dev") and not api.revision_exists(REPO, "never-was")
    expect(RepositoryNotFoundError, HfApi(token=False).model_info, missing)


@step
def a_bad_name_is_refused() -> None:
    name = "alice/" + "x" * 300
    answer = expect((HfHubHTTPError, ValueError), api.create_repo, name)
    assert not isinstance(answer, HfHubHTTPError) or status_of(answer) == 400, answer
    for path in ("../up.txt", "a/../../up.txt", ".git/config"):
        operation = CommitOperationAdd("placeholder.txt", b"x")
        operation.path_in_repo = path  # past the client's own check
        error = expect((HfHubHTTPError, ValueError), api.create_commit, REPO, [operation], commit_message="up")
        assert not isinstance(error, HfHubHTTPError) or status_of(error) in (400, 422), error


@step
def a_private_repo_is_invisible_to_others() -> None:
    repo = f"{REPO}-private"
    api.create_repo(repo, private=True)
    api.upload_file(path_or_fileobj=str(BIG), path_in_repo="secret.bin", repo_id=repo)
    assert api.model_info(repo).private is True
    assert sha256(hf_hub_download(repo, "secret.bin")) == sha256(BIG)
    for other in (HfApi(token=STRANGER_TOKEN), HfApi(token=False)):
        expect(RepositoryNotFoundError, other.model_info, repo)
        expect(RepositoryNotFoundError, other.hf_hub_download, repo, "secret.bin", cache_dir=WORK / "other")
        expect(RepositoryNotFoundError, other.list_repo_files, repo)
        assert repo not in [model.id for model in other.list_models(author="alice", limit=1000)]
    stranger = HfApi(token=STRANGER_TOKEN)
    expect(RepositoryNotFoundError, stranger.upload_file, path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=repo)
    expect(RepositoryNotFoundError, stranger.auth_check, repo)
    api.auth_check(repo)
    assert repo in [model.id for model in api.list_models(author="alice", limit=1000)]


@step
def strangers_and_readers_may_not_write() -> None:
    for token in (STRANGER_TOKEN, READER_TOKEN):
        other = HfApi(token=token)
        assert other.model_info(REPO).id == REPO
        put = {"path_or_fileobj": b"x", "path_in_repo": "x.txt", "repo_id": REPO}
        assert status_of(expect(HfHubHTTPError, other.upload_file, **put)) == 403
        assert status_of(expect(HfHubHTTPError, other.create_branch, REPO, branch="theirs")) == 403
        assert status_of(expect(HfHubHTTPError, other.delete_repo, REPO)) == 403
    assert "x.txt" not in api.list_repo_files(REPO)


@step
def settings() -> None:
    repo = f"{REPO}-private"
    api.update_repo_settings(repo, private=False)
    assert HfApi(token=STRANGER_TOKEN).model_info(repo).private is False
    api.update_repo_settings(repo, gated="auto")
    assert api.model_info(repo).gated == "auto"
    api.update_repo_settings(repo, gated=False)
    assert api.model_info(repo).gated is False
    api.update_repo_settings(repo, private=True)
    expect(RepositoryNotFoundError, HfApi(token=STRANGER_TOKEN).model_info, repo)


@step
def move() -> None:
    old, new = f"{REPO}-private", f"acme/{RUN}-moved"
    api.move_repo(old, new)
    assert api.model_info(new).id == new
    assert api.model_info(old).id == new, "the old name must lead to the new one"
    assert sha256(hf_hub_download(new, "secret.bin")) == sha256(BIG)
    assert sha256(hf_hub_download(old, "secret.bin", cache_dir=WORK / "by-old-name")) == sha256(BIG)
    error = expect(HfHubHTTPError, api.move_repo, REPO, new)
    assert "already exists" in str(error), error
    api.delete_repo(new)
    expect(RepositoryNotFoundError, api.model_info, new)


@step
def likes() -> None:
    api.unlike(REPO)
    assert list(api.list_repo_likers(REPO)) == []
    assert REPO not in api.list_liked_repos("alice").models


# --------------------------------------------------------------------------------------------------- listing, metadata


@step
def the_card_becomes_metadata() -> None:
    word = RUN.replace(".", "-")
    text = (
        f"---\nlicense: apache-2.0\ntags: [water, tag-{word}]\npipeline_tag: text-generation\n---\n# The {word} model\n"
    )
    api.upload_file(path_or_fileobj=text.encode(), path_in_repo="README.md", repo_id=REPO)
    info = api.model_info(REPO, files_metadata=True)
    assert info.card_data.license == "apache-2.0" and info.pipeline_tag == "text-generation", info
    assert {"water", "license:apache-2.0"} <= set(info.tags), info.tags
    big = next(sibling for sibling in info.siblings if sibling.rfilename == "big.bin")
    assert big.size == BIG_BYTES and big.lfs["sha256"] == sha256(BIG), big
    assert info.author == "alice" and info.created_at <= info.last_modified, info
    assert "# The" in ModelCard.load(REPO).text
    few = api.model_info(REPO, expand=["downloads", "likes", "sha"])
    assert few.sha == head() and few.downloads is not None and few.siblings is None, few


@step
def list_and_search() -> None:
    assert REPO in [model.id for model in api.list_models(author="alice", limit=1000)]
    found = [model.id for model in api.list_models(search=RUN)]
    assert REPO in found and all(RUN in name for name in found), found
    tag = f"tag-{RUN.replace('.', '-')}"
    assert [model.id for model in api.list_models(filter=[tag, "license:apache-2.0"])] == [REPO]
    assert [model.id for model in api.list_models(filter=tag, pipeline_tag="text-generation")] == [REPO]
    assert list(api.list_models(search="no such name anywhere")) == []
    newest = next(iter(api.list_models(sort="last_modified", limit=1, full=True)))
    assert newest.last_modified is not None, newest
    from_all_pages = [model.id for model in api.list_models(author="alice", sort="created_at")]
    assert REPO in from_all_pages and len(from_all_pages) == len(set(from_all_pages)), from_all_pages


@step
def safetensors_metadata() -> None:
    api.upload_file(path_or_fileobj=safetensors_bytes(), path_in_repo="model.safetensors", repo_id=REPO)
    found = api.get_safetensors_metadata(REPO)
    assert found.parameter_count == {"F32": 2500}, found
    info = api.model_info(REPO, expand=["safetensors"])
    assert info.safetensors is not None and info.safetensors.total == 2500, info


@step
def data_sets_and_spaces() -> None:
    api.create_repo(REPO, repo_type="dataset")
    api.upload_file(path_or_fileobj=b"a,b\n1,2\n", path_in_repo="data/t.csv", repo_id=REPO, repo_type="dataset")
    info = api.dataset_info(REPO)
    assert info.id == REPO and "data/t.csv" in [sibling.rfilename for sibling in info.siblings], info
    assert Path(hf_hub_download(REPO, "data/t.csv", repo_type="dataset")).read_bytes() == b"a,b\n1,2\n"
    assert REPO in [found.id for found in api.list_datasets(search=RUN)]
    assert REPO in [found.id for found in api.list_datasets(dataset_name=RUN, search="alice")]
    for one, other in ((RUN, "no such"), ("no-such", "alice")):
        assert list(api.list_datasets(dataset_name=one, search=other)) == []
    api.create_repo(REPO, repo_type="space", space_sdk="static")
    assert api.space_info(REPO).sdk == "static"
    assert {"README.md", "index.html", "style.css"} <= set(api.list_repo_files(REPO, repo_type="space"))
    assert REPO in [found.id for found in api.list_spaces(search=RUN)]
    for kind in ("dataset", "space"):
        api.delete_repo(REPO, repo_type=kind)
        expect(RepositoryNotFoundError, api.repo_info, REPO, repo_type=kind)
    assert api.repo_exists(REPO), "the model of the same name stays"


@step
def a_name_without_a_namespace_is_my_own() -> None:
    url = api.create_repo(f"{RUN}-bare")
    assert url.repo_id == f"alice/{RUN}-bare", url
    api.delete_repo(f"{RUN}-bare")
    assert not api.repo_exists(f"alice/{RUN}-bare")


@step
def duplicate() -> None:
    if not hasattr(api, "duplicate_repo"):
        return  # came with 1.x
    url = api.duplicate_repo(REPO, f"{REPO}-twin", private=True)
    assert url.repo_id == f"{REPO}-twin", url
    assert sha256(hf_hub_download(f"{REPO}-twin", "big.bin")) == sha256(BIG)
    api.delete_repo(f"{REPO}-twin")


# ----------------------------------------------------------------------------------------------------------- filesystem


@step
def the_file_system() -> None:
    fs = HfFileSystem(skip_instance_cache=True)
    names = fs.ls(REPO, detail=False)
    assert f"{REPO}/big.bin" in names and f"{REPO}/folder" in names, names
    assert fs.info(f"{REPO}/big.bin")["size"] == BIG_BYTES
    with fs.open(f"{REPO}/big.bin", "rb") as file:
        file.seek(7_654_321)
        assert file.read(1000) == BIG.read_bytes()[7_654_321 : 7_654_321 + 1000]
    assert fs.cat_file(f"{REPO}/big.bin", start=100, end=300) == BIG.read_bytes()[100:300]
    assert fs.read_text(f"{REPO}/notes/text.txt") == TEXT
    assert fs.read_text(f"{REPO}@dev/dev.txt") == "dev only"
    assert f"{REPO}/folder/config.json" in fs.glob(f"{REPO}/**/*.json")
    with fs.open(f"{REPO}/written by fs/one.txt", "w") as file:
        file.write("written")
    fs.invalidate_cache()
    assert fs.read_text(f"{REPO}/written by fs/one.txt") == "written"
    fs.cp_file(f"{REPO}/big.bin", f"{REPO}/written by fs/big.bin")
    fs.rm(f"{REPO}/written by fs", recursive=True)
    fs.invalidate_cache()
    assert not fs.exists(f"{REPO}/written by fs/one.txt")
    expect(FileNotFoundError, fs.info, f"{REPO}/never was.txt")
    expect(FileNotFoundError, fs.ls, f"alice/{RUN}-not")


# ------------------------------------------------------------------------------------------------------------ the end


@step
def many_small_files() -> None:
    many = WORK / "many"
    for number in range(120):
        (many / f"d{number % 4}").mkdir(parents=True, exist_ok=True)
        (many / f"d{number % 4}" / f"{number:03}.txt").write_text(f"file {number}\n")
    api.upload_folder(folder_path=str(many), repo_id=REPO, path_in_repo="many", revision="dev")
    where = Path(snapshot_download(REPO, revision="dev", allow_patterns="many/*", local_dir=WORK / "many back"))
    got = {p.name: p.read_text() for p in (where / "many").rglob("*.txt")}
    assert got == {f"{n:03}.txt": f"file {n}\n" for n in range(120)}
    api.delete_folder("many", REPO, revision="dev")
    assert not [path for path in api.list_repo_files(REPO, revision="dev") if path.startswith("many/")]


@step
def lfs_files_are_listed_and_removed_for_good() -> None:
    listed = {file.file_oid: file for file in api.list_lfs_files(REPO)}
    assert listed[sha256(BIG)].size == BIG_BYTES and listed[sha256(BIG)].filename.endswith(".bin"), listed
    stream = [file for file in listed.values() if file.filename == "objects/stream.bin"]
    assert len(stream) == 1 and stream[0].size == 300_000, listed
    api.permanently_delete_lfs_files(REPO, stream)
    assert "objects/stream.bin" not in api.list_repo_files(REPO)
    assert sha256(hf_hub_download(REPO, "big.bin", cache_dir=WORK / "after removal")) == sha256(BIG)


@step
def squash() -> None:
    before = set(api.list_repo_files(REPO))
    api.super_squash_history(REPO, commit_message="One commit")
    listed = api.list_repo_commits(REPO)
    assert [commit.title for commit in listed] == ["One commit"], listed
    assert set(api.list_repo_files(REPO)) == before
    assert sha256(hf_hub_download(REPO, "big.bin", cache_dir=WORK / "squashed")) == sha256(BIG)


@step
def delete() -> None:
    api.delete_file("big.bin", REPO)
    assert "big.bin" not in api.list_repo_files(REPO)
    expect(EntryNotFoundError, hf_hub_download, REPO, "big.bin", cache_dir=WORK / "deleted")
    api.delete_repo(REPO)
    assert not api.repo_exists(REPO)
    expect(RepositoryNotFoundError, api.model_info, REPO)
    assert REPO not in [model.id for model in api.list_models(author="alice", limit=1000)]


def main(arguments: list[str]) -> int:
    """Run the steps named (all, when none is), or one of the second processes."""
    say(f"huggingface_hub {huggingface_hub.__version__}, {'Xet' if XET else 'no Xet'}")
    if arguments[:1] == ["--upload-again"]:
        api.upload_file(path_or_fileobj=str(BIG), path_in_repo="elsewhere.bin", repo_id=arguments[1])
        return 0
    if arguments[:1] == ["--upload-edited"]:
        api.upload_file(path_or_fileobj=str(EDITED), path_in_repo="edited.bin", repo_id=arguments[1])
        return 0
    if arguments[:1] == ["--fetch"]:
        print(sha256(hf_hub_download(arguments[1], "big.bin")))
        return 0
    return step.run(arguments)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
