"""The real git against the wire: what is pushed is wholly there or was refused before it was called ok (T21)."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest
from sqlalchemy import select

from headwater.accounts.actor import NOBODY
from headwater.ground.errors import (
    Forbidden,
    HeadwaterError,
    Invalid,
    RepoMissing,
    TooMuch,
    Unauthenticated,
    Unavailable,
)
from headwater.ground.names import FilePath, Sha256, repo_id
from headwater.repos import inspection, pktline, pointers, wire
from headwater.repos.pull_requests import PullRequests
from headwater.repos.tables import hold, intent
from headwater.repos.values import AddInline, Message
from headwater.repos.wire import RECEIVE_PACK, UPLOAD_PACK, Wire

ZERO = "0" * 40


def noise(size_bytes: int) -> str:
    """Text of which git can save half."""
    return os.urandom(size_bytes).hex()


def no_card(data: bytes) -> list[str]:
    return ["license: 'wrong' is not known"] if b"license: wrong" in data else []


@pytest.fixture
def pull_requests(db, git, moves, refs) -> PullRequests:
    return PullRequests(db, git, moves, refs)


@pytest.fixture
def the_wire(git, moves, holds, pull_requests, clock, settings) -> Wire:
    return Wire(git, moves, holds, pull_requests, clock, settings)


@dataclass
class Hub:
    """A few lines of HTTP around a Wire: `repos` by the first part of the path, and who pushes to them."""

    wire: Wire
    repos: dict[str, Any]
    actor: Any
    url: str
    log: list[str]


@pytest.fixture
def hub(the_wire: Wire) -> Iterator[Hub]:
    served = Hub(the_wire, {}, None, "", [])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_args: Any) -> None:
            pass

        def body(self) -> Iterator[bytes]:
            data = bytearray()
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline(), 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                data += self.rfile.read(int(self.headers["Content-Length"]))
            whole = gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else bytes(data)
            for start in range(0, len(whole), 10_000):
                yield whole[start : start + 10_000]

        def answer(self, call: Any) -> None:
            try:
                stream = call()
            except HeadwaterError as error:
                self.send_response(error.status)
                text = error.text.encode()
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)
                return
            whole = b"".join(stream)
            self.send_response(200)
            self.send_header("Content-Type", self.kind)
            self.send_header("Content-Length", str(len(whole)))
            self.end_headers()
            self.wfile.write(whole)

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            service = parse_qs(url.query)["service"][0]
            self.kind = f"application/x-{service}-advertisement"
            target = served.repos[url.path.split("/")[1]]
            self.answer(lambda: served.wire.advertise(target, service, self.headers.get("Git-Protocol")))

        def do_POST(self) -> None:
            _, name, service = self.path.split("/")
            self.kind = f"application/x-{service}-result"
            target, body = served.repos[name], self.body()
            served.log.append(service)
            if service == UPLOAD_PACK:
                protocol = self.headers.get("Git-Protocol")
                self.answer(lambda: served.wire.upload_pack(target, body, protocol))
            else:
                self.answer(lambda: served.wire.receive_pack(served.actor, target, body, no_card))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Work:
    """A person's checkout."""

    at: Path

    def git(self, *words: str, ok: bool = True, data: bytes | None = None) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.at.parent),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": "ann",
            "GIT_AUTHOR_EMAIL": "a@x",
            "GIT_COMMITTER_NAME": "ann",
            "GIT_COMMITTER_EMAIL": "a@x",
            "GIT_LFS_SKIP_PUSH": "1",
        }
        done = subprocess.run(
            ["git", *words], cwd=self.at, env=environment, input=data, capture_output=True, check=False, timeout=60
        )
        said = (done.stdout + done.stderr).decode()
        assert (done.returncode == 0) is ok, said
        return done.stdout.decode().strip() if ok else said

    def commit(self, files: dict[str, bytes | str], text: str = "more") -> str:
        for name, data in files.items():
            (self.at / name).parent.mkdir(parents=True, exist_ok=True)
            (self.at / name).write_bytes(data.encode() if isinstance(data, str) else data)
        self.git("add", "-A", "-f")
        self.git("commit", "-q", "-m", text)
        return self.git("rev-parse", "HEAD")

    def raw_commit(self, tree: str, *parents: str) -> str:
        """A commit of a tree that no working tree could hold."""
        words = [word for parent in parents for word in ("-p", parent)]
        return self.git("commit-tree", tree, "-m", "raw", *words)

    def raw_tree(self, items: list[tuple[str, str, bytes]]) -> str:
        data = b"".join(f"{mode} ".encode() + name + b"\0" + bytes.fromhex(oid) for mode, oid, name in items)
        (self.at / ".git" / "raw").write_bytes(data)
        return self.git("hash-object", "-t", "tree", "-w", "--literally", str(self.at / ".git" / "raw"))

    def blob(self, data: bytes = b"x") -> str:
        return self.git("hash-object", "-w", "--stdin", data=data)


@pytest.fixture
def ann(people):
    return people.user("ann")


@pytest.fixture
def made(hub, a_repo, ann):
    hub.actor = ann
    hub.repos["x.git"] = a_repo(ann, "ann/x")
    return hub.repos["x.git"]


@pytest.fixture
def work(hub, made, git, tmp_path) -> Work:
    """A fresh clone of `made`, by the quickest way; what is said to `origin` goes over the wire."""
    Work(tmp_path).git("clone", "-q", str(git.path(made.id)), "work")
    there = Work(tmp_path / "work")
    there.git("remote", "set-url", "origin", f"{hub.url}/x.git")
    return there


@pytest.fixture
def send(the_wire, ann):
    """A push spoken by hand: whole, or in pieces."""

    def push(made, body):
        return b"".join(the_wire.receive_pack(ann, made, [body] if isinstance(body, bytes) else body, no_card))

    return push


def fsck(git, made):
    done = subprocess.run(
        ["git", "fsck", "--full", "--strict"], cwd=git.path(made.id), capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def nothing_moved(git, made, before, tmp_path):
    assert dict(git.refs(made.id)) == before
    git.forget(made.id)
    assert dict(git.refs(made.id)) == before
    assert not any((tmp_path / "git" / "incoming").iterdir())


# Fetching


def test_a_new_repo_is_cloned(hub, git, made, tmp_path):
    Work(tmp_path).git("clone", "-q", f"{hub.url}/x.git", "work")
    work = Work(tmp_path / "work")
    assert work.git("rev-parse", "HEAD") == git.refs(made.id)["refs/heads/main"]
    assert work.git("ls-files") == ".gitattributes"
    assert work.git("symbolic-ref", "HEAD") == "refs/heads/main"


@pytest.mark.parametrize("version", ["0", "1", "2"])
def test_every_version_of_the_protocol_clones_shallowly_and_without_blobs(hub, made, tmp_path, version):
    here = Work(tmp_path)
    config = ["-c", f"protocol.version={version}"]
    here.git(*config, "clone", "-q", "--depth", "1", f"{hub.url}/x.git", "shallow")
    for number, what in enumerate(("blob:none", "tree:0", "blob:limit=10")):
        thin = Work(tmp_path / f"thin{number}")
        here.git(*config, "clone", "-q", f"--filter={what}", f"{hub.url}/x.git", thin.at.name)
        assert (thin.at / ".gitattributes").read_text().startswith("*.7z filter=lfs")
    listing = here.git(*config, "ls-remote", f"{hub.url}/x.git")
    assert "refs/heads/main" in listing


def test_pull_refs_are_fetched_and_pushed_but_not_made_nor_deleted(hub, work, git, moves, made, ann):
    main = git.refs(made.id)["refs/heads/main"]
    moves.apply(ann, made, [wire.RefMove(wire.RefName("refs/pr/1"), None, main)], "test")
    work.git("fetch", "-q", "origin", "refs/pr/1:pr/1")
    work.git("checkout", "-q", "pr/1")
    head = work.commit({"a.txt": "a"})
    work.git("push", "-q", "origin", "pr/1:refs/pr/1")
    assert git.refs(made.id)["refs/pr/1"] == head
    assert "pull request" in work.git("push", "origin", "pr/1:refs/pr/2", ok=False)
    assert "pull request" in work.git("push", "origin", ":refs/pr/1", ok=False)
    assert set(git.refs(made.id)) == {"refs/heads/main", "refs/pr/1"}


def test_who_opened_a_pull_request_pushes_to_it_and_to_nothing_else(
    hub, work, git, made, pull_requests, people, tmp_path
):
    bob = people.user("bob")
    hub.actor = bob
    for opener in (bob, people.user("ann")):
        pull_requests.open(opener, made, Message("Mine"))
    before = dict(git.refs(made.id))
    head = work.commit({"a.txt": "a"})
    for ref in ("refs/heads/main", "refs/heads/new", "refs/tags/v1", "refs/pr/2"):
        assert "the pull requests that you opened" in work.git("push", "origin", f"main:{ref}", ok=False)
    assert "another ref of this push was refused" in work.git(
        "push", "origin", "main:refs/pr/1", "main:refs/pr/2", ok=False
    )
    nothing_moved(git, made, before, tmp_path)
    work.git("push", "-q", "origin", "main:refs/pr/1")
    assert dict(git.refs(made.id)) == {**before, "refs/pr/1": head}
    hub.actor = replace(bob, token_role="read")
    work.commit({"b.txt": "b"})
    assert "403" in work.git("push", "origin", "main:refs/pr/1", ok=False)


def test_a_consumer_that_leaves_ends_the_child(the_wire, work, made):
    def children():
        return set(psutil.Process().children(recursive=True))

    work.commit({"big.txt": noise(3_000_000)})
    work.git("push", "-q", "origin", "main")
    head = work.git("rev-parse", "HEAD")
    request = pktline.line(f"want {head} side-band-64k ofs-delta\n".encode()) + pktline.FLUSH + pktline.line(b"done\n")
    before = children()
    stream = the_wire.upload_pack(made, [request], None)
    assert next(stream) == b"0008NAK\n"
    started = children() - before
    assert started
    stream.close()
    # the child's own child notices a moment later that nobody reads any more
    assert psutil.wait_procs(started, timeout=10)[1] == []


def test_only_so_many_fetch_at_once_and_the_next_waits_for_a_turn_but_not_for_ever(the_wire, git, made, clock):
    main = git.refs(made.id)["refs/heads/main"]
    request = pktline.line(f"want {main}\n".encode()) + pktline.FLUSH + pktline.line(b"done\n")
    for _ in range(wire.FETCHED_AT_ONCE):
        assert the_wire._fetching.acquire(blocking=False)
    waiting, late = (the_wire.upload_pack(made, [request], None) for _ in range(2))
    assert [next(waiting), next(waiting), next(late)] == [b"", b"", b""]
    the_wire._fetching.release()
    assert b"".join(waiting).startswith(b"0008NAK\nPACK")
    assert the_wire._fetching.acquire(blocking=False)  # it gave its turn back
    clock.advance(wire.FETCH_WAIT_S)
    assert b"".join(late).endswith(b"ERR This hub serves as many clones as it can; try again in a few minutes.\n")
    assert not the_wire._fetching.acquire(blocking=False)


@pytest.mark.parametrize("version", ["0", "2"])
def test_git_shows_why_there_was_no_turn(the_wire, work, git, commits, made, ann, monkeypatch, version):
    commits.apply(ann, made, "main", None, Message("more"), [AddInline(FilePath("a"), b"a")])
    monkeypatch.setattr(wire, "FETCH_WAIT_S", 0)
    monkeypatch.setattr(the_wire, "_fetching", threading.Semaphore(0))
    said = work.git("-c", f"protocol.version={version}", "fetch", "origin", ok=False)
    assert "remote error: This hub serves as many clones as it can" in said


@pytest.mark.parametrize("body", [b"0032want " + b"f" * 40 + b"\n00000009done\n", b"garbage", b"zzzz", b"ffff"])
def test_nonsense_fetches_are_refused_and_leave_no_file(the_wire, made, body, tmp_path):
    try:
        answer = b"".join(the_wire.upload_pack(made, [body], None))
        assert b"ERR" in answer
    except Invalid as error:
        assert str(tmp_path) not in error.text
    assert not any((tmp_path / "git" / "incoming").iterdir())


def test_a_fetch_request_without_end_is_refused(the_wire, made, monkeypatch):
    monkeypatch.setattr(wire, "FETCH_BYTES_MAX", 1000)
    with pytest.raises(TooMuch):
        the_wire.upload_pack(made, (b"x" * 100 for _ in range(11)), None)


def test_no_configuration_or_hook_of_the_repo_runs_a_program(hub, work, git, made, tmp_path):
    root = git.path(made.id)
    (root / "hooks").mkdir()
    for name in ("pre-receive", "update", "post-receive", "reference-transaction"):
        (root / "hooks" / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran-{name}\n")
        (root / "hooks" / name).chmod(0o755)
    with (root / "config").open("a") as config:
        config.write(f'[uploadpack]\n\tpackObjectsHook = "touch {tmp_path}/ran-pack; false"\n')
    work.commit({"a": "a"})
    work.git("push", "-q", "origin", "main")
    work.git("fetch", "-q", "origin")
    Work(tmp_path).git("clone", "-q", f"{hub.url}/x.git", "again")
    assert not list(tmp_path.glob("ran-*"))


def test_an_unknown_service_is_refused(the_wire, made):
    with pytest.raises(Invalid, match="git-upload-archive"):
        the_wire.advertise(made, "git-upload-archive", None)


def test_the_protocol_header_hands_nothing_on_but_a_version():
    assert wire._version("version=2") == "2"
    assert wire._version("foo:version=1:bar") == "1"
    assert wire._version("version=2; rm -rf /") is None
    assert wire._version("version=22") is None
    assert wire._version(None) is None


# Pushing


def test_T21_what_was_pushed_is_cloned_back_equal_and_passes_fsck(hub, work, git, made, tmp_path, happened, db):
    files = {f"d{i % 7}/f{i}.txt": f"file {i}\n" * i for i in range(120)} | {"noise.txt": noise(200_000)}
    for step in range(3):
        head = work.commit(files | {"step": str(step)}, f"step {step}")
    work.git("tag", "v1")
    work.git("tag", "-a", "v2", "-m", "annotated")
    work.git("push", "-q", "origin", "main", "main:refs/heads/dev", "--tags")
    refs = git.refs(made.id)
    assert refs["refs/heads/main"] == refs["refs/heads/dev"] == refs["refs/tags/v1"] == head
    assert git.find_commit(made.id, refs["refs/tags/v2"]) == head
    fsck(git, made)
    Work(tmp_path).git("clone", "-q", f"{hub.url}/x.git", "back")
    back = Work(tmp_path / "back")
    assert back.git("rev-parse", "HEAD^{tree}") == work.git("rev-parse", "HEAD^{tree}")
    assert (back.at / "noise.txt").read_text() == files["noise.txt"]
    moved = {event.data["ref"]: event.data for event in happened("ref.moved")}
    assert set(moved) == set(refs)
    assert moved["refs/heads/main"]["new"] == head
    with db.read() as connection:
        assert connection.execute(select(intent)).all() == []
    assert not any((tmp_path / "git" / "incoming").iterdir())


def test_a_second_push_sends_only_what_is_new_on_top_of_what_is_there(work, git, made):
    work.commit({"a.txt": "a\n" * 5000})
    work.git("push", "-q", "origin", "main")
    head = work.commit({"a.txt": "a\n" * 5000 + "b\n"})  # a thin pack: a delta against what the hub has
    work.git("push", "-q", "origin", "main")
    assert git.refs(made.id)["refs/heads/main"] == head
    fsck(git, made)


def test_a_branch_at_a_commit_that_is_there_needs_no_objects(work, git, made):
    packs = list((git.path(made.id) / "objects/pack").glob("*.pack"))
    work.git("push", "-q", "origin", "main:refs/heads/other", "main:refs/heads/feature/a")
    assert set(git.refs(made.id)) == {"refs/heads/main", "refs/heads/other", "refs/heads/feature/a"}
    assert list((git.path(made.id) / "objects/pack").glob("*.pack")) == packs


def test_a_force_push_by_a_writer_moves_the_branch_back(work, git, made):
    first = git.refs(made.id)["refs/heads/main"]
    work.commit({"a": "a"})
    work.git("push", "-q", "origin", "main")
    work.git("reset", "-q", "--hard", first)
    other = work.commit({"b": "b"})
    assert "non-fast-forward" in work.git("push", "origin", "main", ok=False)
    work.git("push", "-q", "--force", "origin", "main")
    assert git.refs(made.id)["refs/heads/main"] == other


def test_branches_and_tags_are_deleted_but_never_main(work, git, made):
    work.git("push", "-q", "origin", "main:refs/heads/dev", "main:refs/tags/v1")
    work.git("push", "-q", "origin", ":refs/heads/dev", ":refs/tags/v1")
    assert set(git.refs(made.id)) == {"refs/heads/main"}
    assert "Cannot delete refs/heads/main" in work.git("push", "origin", ":refs/heads/main", ok=False)
    assert set(git.refs(made.id)) == {"refs/heads/main"}


def test_T22_a_clone_under_way_finishes_on_the_old_commit_after_a_force_push(the_wire, work, git, made):
    old = work.commit({"big.txt": noise(2_000_000)})
    work.git("push", "-q", "origin", "main")
    request = pktline.line(f"want {old} ofs-delta\n".encode()) + pktline.FLUSH + pktline.line(b"done\n")
    stream = the_wire.upload_pack(made, [request], None)
    got = next(stream)
    work.git("reset", "-q", "--hard", "HEAD~1")
    work.commit({"b": "b"})
    work.git("push", "-q", "--force", "origin", "main")
    got += b"".join(stream)
    pack = got.removeprefix(b"0008NAK\n")
    checked = subprocess.run(
        ["git", "index-pack", "--stdin", "--strict"],
        cwd=work.at,
        input=pack,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stderr


def test_only_branches_tags_and_pull_refs_are_pushed(work, git, made, tmp_path):
    before = dict(git.refs(made.id))
    work.commit({"a": "a"})
    refused = ("notes/x", "heads/" + "a" * 40, "heads/HEAD", "tags/v1\u202e", "convert/parquet", "pr/x", "x")
    for ref in refused:
        assert "remote rejected" in work.git("push", "origin", f"main:refs/{ref}", ok=False)
    nothing_moved(git, made, before, tmp_path)


def test_a_branch_whose_name_no_new_one_may_have_is_still_deleted_by_git(work, git, moves, made, ann):
    main = git.refs(made.id)["refs/heads/main"]
    moves.apply(ann, made, [wire.RefMove(wire.RefName("refs/heads/HEAD"), None, main)], "test")
    work.git("push", "-q", "origin", ":refs/heads/HEAD")
    assert set(git.refs(made.id)) == {"refs/heads/main"}


def test_a_ref_that_is_no_utf8_is_refused(send, work, git, made, tmp_path):
    before = dict(git.refs(made.id))
    main = before["refs/heads/main"]
    line = f"{ZERO} {main} ".encode() + b"refs/heads/\xff\0report-status\n"
    said = send(made, pktline.line(line) + pktline.FLUSH + work_pack(work, "HEAD", "^HEAD"))
    assert b"ng refs/heads/\xff the name has characters that are not shown, or are no UTF-8" in said
    nothing_moved(git, made, before, tmp_path)


def test_if_one_ref_is_refused_none_moves(work, git, made, tmp_path):
    before = dict(git.refs(made.id))
    work.commit({"a": "a"})
    said = work.git("push", "origin", "main", "main:refs/heads/dev", "main:refs/notes/n", ok=False)
    assert said.count("another ref of this push was refused") == 2
    nothing_moved(git, made, before, tmp_path)


def test_two_new_refs_of_which_one_would_be_a_folder_of_the_other_are_refused(work, git, made, tmp_path):
    before = dict(git.refs(made.id))
    said = work.git("push", "origin", "main:refs/heads/p", "main:refs/heads/p/q", ok=False)
    assert "Reference refs/heads/p can't be made while refs/heads/p/q exists" in said
    nothing_moved(git, made, before, tmp_path)


def test_a_file_over_10_mib_is_refused_with_its_path_and_ref(work, git, made, tmp_path):
    before = dict(git.refs(made.id))
    work.commit({"ok.bin": b"1" * 10_485_760})
    work.commit({"deep/big.bin": b"1" * 10_485_761, "deep/small": "s"})
    said = work.git("push", "origin", "main", ok=False)
    assert f"remote: {'-' * 73}" in said
    assert "Your push was rejected because it contains files larger than 10 MiB." in said
    assert "Offending files:" in said
    assert "- deep/big.bin (ref: refs/heads/main)" in said
    assert "ok.bin" not in said
    assert "remote rejected" in said
    assert "unpack ok" not in said
    nothing_moved(git, made, before, tmp_path)
    assert not (git.path(made.id) / "objects" / work.git("rev-parse", "HEAD:deep/big.bin")[:2]).exists()


def test_a_binary_file_is_refused_whatever_its_size_with_its_path_and_ref(work, git, made, tmp_path):
    before = dict(git.refs(made.id))
    work.commit({"deep/é.dat": b"\x00\x01", "fine.txt": "é\n" * 400, "empty": b""})
    work.commit({"deep/é.dat": "text by now", "tracked.bin": noise(20), "latin.txt": b"caf\xe9"})
    said = work.git("push", "origin", "main", ok=False)
    assert "Your push was rejected because it contains binary files." in said
    assert "- deep/é.dat (ref: refs/heads/main)" in said  # only in the history
    assert "- latin.txt (ref: refs/heads/main)" in said
    assert said.count("(ref: refs/heads/main)") == 2
    assert "unpack ok" not in said
    nothing_moved(git, made, before, tmp_path)


def test_a_binary_file_is_refused_where_lfs_should_have_taken_it(work, git, made, tmp_path):
    assert "*.bin filter=lfs" in (work.at / ".gitattributes").read_text()
    before = dict(git.refs(made.id))
    work.git("config", "filter.lfs.clean", "cat")  # as without git-lfs
    work.commit({"w.bin": os.urandom(200)})
    assert "- w.bin (ref: refs/heads/main)" in work.git("push", "origin", "main", ok=False)
    nothing_moved(git, made, before, tmp_path)


def test_a_binary_file_that_the_repo_has_does_not_stop_later_pushes(work, git, made, commits, ann, clock):
    commits.apply(ann, made, "main", None, Message("by the API"), [AddInline(FilePath("tiny.dat"), b"\x00")])
    work.git("pull", "-q", "--rebase", "origin", "main")
    head = work.commit({"a.txt": "a"})
    work.git("push", "-q", "origin", "main")
    assert git.refs(made.id)["refs/heads/main"] == head


def test_a_large_file_in_the_history_is_found_though_the_tip_has_it_no_more(work, git, made):
    work.commit({"big.bin": b"1" * 10_485_761})
    (work.at / "big.bin").unlink()
    work.commit({"ok": "ok"})
    assert "- big.bin (ref: refs/heads/main)" in work.git("push", "origin", "main", ok=False)


def test_many_findings_are_counted_and_some_named(work, monkeypatch, the_wire):
    the_wire._limits = replace(the_wire._limits, inline_file_max=10)
    work.commit({f"f{i}": f"{i} is too large" for i in range(25)})
    said = work.git("push", "origin", "main", ok=False)
    assert said.count("(ref: refs/heads/main)") == inspection.NAMED_MAX
    assert "and 5 more" in said


def pointer(digit: str, size: int) -> bytes:
    return pointers.text(Sha256(digit * 64), size)


def test_T16_pointers_to_bytes_that_were_never_uploaded_are_refused_with_their_oids(work, git, made, tmp_path):
    before = dict(git.refs(made.id))
    work.commit({"w.bin": pointer("a", 5), "v.bin": pointer("b", 6)})
    said = work.git("push", "origin", "main", ok=False)
    assert "a" * 64 in said
    assert "b" * 64 in said
    nothing_moved(git, made, before, tmp_path)


def test_T17_pointers_to_another_tenants_bytes_are_refused_like_unknown_ones(
    work, made, people, a_repo, a_blob, holds, db
):
    theirs = a_repo(people.user("bob"), "bob/x", private=True)
    theirs_sha = a_blob("a", size=5)
    holds.hold(theirs.id, [theirs_sha])
    with db.write() as connection:
        holds.commit(connection, theirs.id, {theirs_sha: "w.bin"})
    work.commit({"w.bin": pointer("a", 5)})
    known = work.git("push", "origin", "main", ok=False)
    work.git("reset", "-q", "--hard", "HEAD~1")
    work.commit({"w.bin": pointer("b", 5)})
    unknown = work.git("push", "origin", "main", ok=False)
    assert known.replace("a" * 64, "b" * 64) == unknown


def test_pointers_to_uploaded_bytes_are_pushed_and_their_holds_committed(work, git, made, a_blob, holds, db):
    sha = a_blob("a", size=5)
    holds.hold(made.id, [sha])
    head = work.commit({"dir/w.bin": pointer("a", 5), "notes.txt": "version https://git-lfs.github.com/spec/v1\nno\n"})
    work.git("push", "-q", "origin", "main")
    assert git.refs(made.id)["refs/heads/main"] == head
    (row,) = holds.lfs_files(made.id)
    assert (row.sha256, row.path) == (sha, "dir/w.bin")


def test_a_pointer_that_lies_about_the_size_is_refused(work, made, a_blob, holds, db):
    holds.hold(made.id, [a_blob("a", size=5)])
    work.commit({"w.bin": pointer("a", 6)})
    assert f"{'a' * 64} of 6 bytes" in work.git("push", "origin", "main", ok=False)
    with db.read() as connection:
        assert [row.committed for row in connection.execute(select(hold))] == [False]


def test_a_card_with_invalid_metadata_is_refused_and_the_same_card_again_is_not_asked(work, git, made):
    work.commit({"README.md": "---\nlicense: wrong\n---\n"})
    said = work.git("push", "origin", "main", ok=False)
    assert "the metadata in README.md is invalid" in said
    assert "license: 'wrong' is not known" in said
    head = work.commit({"README.md": "---\nlicense: mit\n---\n"})
    work.git("push", "-q", "origin", "main")
    assert git.refs(made.id)["refs/heads/main"] == head


def test_T47_names_that_some_client_cannot_hold_are_refused_each_by_its_rule(work, git, made, tmp_path):
    before = dict(git.refs(made.id))
    rules = {
        b"a\\b": "relative",
        b"con": "reserved",
        b"aux.txt": "reserved",
        b"end.": "ends with a dot",
        b"trail ": "ends with a dot or a space",
        b"bell\x07": "control characters",
        b"rtl\xe2\x80\xae": "hide its direction",
        b"e\xcc\x81": "normal form C",
        b"\xff\xfe": "not UTF-8",
        b"n" * 256: "255 bytes",
    }
    blob = work.blob()
    for name, why in rules.items():
        inner = work.raw_tree([("100644", blob, name)])
        head = work.raw_commit(work.raw_tree([("40000", inner, b"dir")]), "HEAD")
        assert why in work.git("push", "origin", f"{head}:refs/heads/main", ok=False)
    nothing_moved(git, made, before, tmp_path)


def test_T47_names_that_would_escape_are_refused_by_git_or_by_us(work, git, made, tmp_path):
    before = dict(git.refs(made.id))
    blob = work.blob()
    for name in (b"..", b".git", b".GIT", b"git~1", b".", b"a/b"):
        head = work.raw_commit(work.raw_tree([("100644", blob, name)]), "HEAD")
        assert "rejected" in work.git("push", "origin", f"{head}:refs/heads/main", ok=False)
    nothing_moved(git, made, before, tmp_path)


def test_T47_a_path_of_more_than_1024_characters_is_refused(work, git, made):
    tree = work.raw_tree([("100644", work.blob(), b"f" * 200)])
    for _ in range(5):
        tree = work.raw_tree([("40000", tree, b"d" * 200)])
    head = work.raw_commit(tree, "HEAD")
    assert "1024 characters" in work.git("push", "origin", f"{head}:refs/heads/main", ok=False)


def test_T47_a_path_that_grows_too_long_push_by_push_is_refused(work, git, made):
    """Each push brings a few folders around those that are there, so that none of them shows the whole path."""
    tree, head = work.raw_tree([("100644", work.blob(), b"file")]), "HEAD"
    for _ in range(2):
        for _ in range(30):
            tree = work.raw_tree([("40000", tree, b"d")])
        head = work.raw_commit(tree, head)
        work.git("push", "-q", "origin", f"{head}:refs/heads/deep")
    before = dict(git.refs(made.id))
    for _ in range(30):
        tree = work.raw_tree([("40000", tree, b"d")])
    said = work.git("push", "origin", f"{work.raw_commit(tree, head)}:refs/heads/deep", ok=False)
    assert "a path has 91 parts" in said
    assert dict(git.refs(made.id)) == before


def test_a_few_folders_that_unfold_to_billions_of_paths_are_refused(work, git, made, tmp_path):
    before = dict(git.refs(made.id))
    tree = work.raw_tree([("100644", work.blob(), b"file")])
    for _ in range(40):
        tree = work.raw_tree([("40000", tree, b"d%d" % i) for i in range(10)])
    said = work.git("push", "origin", f"{work.raw_commit(tree)}:refs/heads/many", ok=False)
    assert "more than 1000000 files and folders in one revision" in said
    nothing_moved(git, made, before, tmp_path)


def test_what_an_earlier_push_brought_counts_to_what_a_revision_unfolds_to(work, made, monkeypatch):
    monkeypatch.setattr(inspection, "ENTRIES_MAX", 10)
    tree = work.raw_tree([("100644", work.blob(), b"f%d" % i) for i in range(8)])
    work.git("push", "-q", "origin", f"{work.raw_commit(tree)}:refs/heads/eight")
    twice = work.raw_commit(work.raw_tree([("40000", tree, name) for name in (b"a", b"b")]))
    assert "more than 10 files" in work.git("push", "origin", f"{twice}:refs/heads/twice", ok=False)
    once = work.raw_commit(work.raw_tree([("40000", tree, b"a")]))
    work.git("push", "-q", "origin", f"{once}:refs/heads/once")


def test_T49_names_that_differ_only_in_case_are_refused(work, git, made, tmp_path):
    before = dict(git.refs(made.id))
    blob = work.blob()
    inner = work.raw_tree([("100644", blob, b"Model.bin"), ("100644", blob, b"model.bin")])
    head = work.raw_commit(work.raw_tree([("40000", inner, b"dir")]), "HEAD")
    said = work.git("push", "origin", f"{head}:refs/heads/main", ok=False)
    assert "dir/Model.bin and model.bin differ only in case" in said
    nothing_moved(git, made, before, tmp_path)


def test_T48_symbolic_links_and_submodules_are_kept_and_nobody_follows_them(work, git, made):
    link = work.blob(b"/etc/passwd")
    items = [("120000", link, b"link"), ("160000", "1" * 40, b"sub")]
    head = work.raw_commit(work.raw_tree(items), "HEAD")
    work.git("push", "-q", "origin", f"{head}:refs/heads/main")
    tree = git.tree(made.id, git.commit(made.id, head).tree)
    assert {name: mode for name, (mode, _) in tree.items()} == {b"link": b"120000", b"sub": b"160000"}
    assert git.blob(made.id, link) == b"/etc/passwd"


def test_a_submodule_file_that_would_run_a_command_is_refused(work, made):
    work.commit({".gitmodules": '[submodule "x"]\n\tpath = x\n\turl = -u./payload\n'})
    assert "gitmodulesUrl" in work.git("push", "origin", "main", ok=False)


def test_a_branch_leads_to_a_commit_and_a_tag_to_one_at_last(send, work, git, made, tmp_path):
    before = dict(git.refs(made.id))
    blob, tree = work.blob(b"new"), work.git("rev-parse", "HEAD^{tree}")
    work.git("tag", "-a", "of-a-blob", "-m", "t", blob)
    for source, ref in ((blob, "refs/tags/b"), (tree, "refs/tags/t"), ("of-a-blob", "refs/tags/of-a-blob")):
        assert "does not lead to a commit" in work.git("push", "origin", f"{source}:{ref}", ok=False)
    work.git("tag", "-a", "fine", "-m", "t")
    fine = work.git("rev-parse", "fine")
    body = command(ZERO, fine, "refs/heads/x") + work_pack(work, fine)
    assert b"does not lead to a commit" in send(made, body)
    nothing_moved(git, made, before, tmp_path)


def test_a_push_from_a_shallow_clone_lands_on_what_the_hub_has(hub, work, git, made, tmp_path):
    work.commit({"a": "a"})
    work.commit({"b": "b"})
    work.git("push", "-q", "origin", "main")
    Work(tmp_path).git("clone", "-q", "--depth", "1", f"{hub.url}/x.git", "shallow")
    shallow = Work(tmp_path / "shallow")
    head = shallow.commit({"c": "c"})
    shallow.git("push", "-q", "origin", "main")
    assert git.refs(made.id)["refs/heads/main"] == head
    fsck(git, made)


# Pushes that no git would send


def command(old: str, new: str, ref: str, capabilities: str = "report-status") -> bytes:
    return pktline.line(f"{old} {new} {ref}\0{capabilities}\n".encode()) + pktline.FLUSH


def work_pack(work: Work, *wanted: str) -> bytes:
    done = subprocess.run(
        ["git", "pack-objects", "--stdout", "-q", "--revs"],
        cwd=work.at,
        input="".join(f"{name}\n" for name in wanted).encode(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_T36_nobody_strangers_and_read_tokens_push_nothing(the_wire, made, people, ann):
    body = [pktline.FLUSH]
    for actor, refused in (
        (NOBODY, Unauthenticated),
        (people.user("bob"), Forbidden),
        (replace(ann, token_role="read"), Forbidden),
    ):
        with pytest.raises(refused):
            the_wire.receive_pack(actor, made, body, no_card)
    assert list(the_wire.receive_pack(ann, made, body, no_card)) == []  # the probe of clients that ask first


@pytest.mark.parametrize(
    "body",
    [b"zzzz", b"0003", b"0004", b"ffff", b"0010short", b"00", pktline.line(b"push-cert\0x\n"), pktline.line(b"a b c")],
)
def test_malformed_requests_are_refused(send, made, body):
    with pytest.raises(Invalid, match="git request"):
        send(made, body)


def test_too_many_refs_are_refused(send, made, monkeypatch):
    monkeypatch.setattr(wire, "REFS_MAX", 3)
    line = pktline.line(f"{ZERO} {'1' * 40} refs/heads/x\n".encode())
    with pytest.raises(TooMuch, match="refs"):
        send(made, line * 4 + pktline.FLUSH)


def test_T21_a_pack_that_is_cut_short_or_changed_is_refused_before_unpack_ok(send, work, git, made, tmp_path):
    before = dict(git.refs(made.id))
    head = work.commit({"a": os.urandom(5000)})
    pack = work_pack(work, head)
    flipped = bytearray(pack)
    flipped[len(pack) // 2] ^= 1
    for broken in (pack[:-30], bytes(flipped), b"", b"PACK", b"not a pack" * 10, pack[:8] + b"\0\0\0\1" + pack[12:]):
        said = send(made, command(before["refs/heads/main"], head, "refs/heads/main") + broken)
        assert b"unpack ok" not in said
        assert b"ng refs/heads/main the pack was refused" in said
        assert str(tmp_path).encode() not in said
        nothing_moved(git, made, before, tmp_path)


def test_a_pack_without_the_parents_is_refused(send, work, git, made, tmp_path):
    before = dict(git.refs(made.id))
    work.commit({"a": "a"})
    parent = work.git("rev-parse", "HEAD")
    head = work.commit({"b": "b"})
    pack = work_pack(work, head, f"^{parent}")
    said = send(made, command(before["refs/heads/main"], head, "refs/heads/main") + pack)
    assert b"unpack ok" not in said
    nothing_moved(git, made, before, tmp_path)


def test_a_ref_to_an_object_that_nobody_has_is_refused(send, work, git, made, tmp_path):
    before = dict(git.refs(made.id))
    empty = work_pack(work, "HEAD", "^HEAD")
    said = send(made, command(ZERO, "1" * 40, "refs/heads/x") + empty)
    assert b"ng refs/heads/x missing object" in said
    nothing_moved(git, made, before, tmp_path)


def test_a_stale_old_value_is_refused(send, work, git, made, tmp_path):
    before = dict(git.refs(made.id))
    head = work.commit({"a": "a"})
    for old in (ZERO, "1" * 40):
        said = send(made, command(old, head, "refs/heads/main") + work_pack(work, head))
        assert b"ng refs/heads/main stale info" in said
    nothing_moved(git, made, before, tmp_path)


def test_T20_a_branch_that_moves_while_the_push_is_checked_is_not_lost(
    send, work, git, moves, made, ann, tmp_path, monkeypatch
):
    before = git.refs(made.id)["refs/heads/main"]
    head = work.commit({"a": "a"})
    work.git("push", "-q", "origin", "main:refs/heads/other")
    steps = inspection.Inspection.steps

    def slowly(self, tips):
        yield from steps(self, tips)
        moves.apply(ann, made, [wire.RefMove(wire.MAIN, before, head)], "test")

    monkeypatch.setattr(inspection.Inspection, "steps", slowly)
    late = work.commit({"b": "b"})
    packs = len(list((git.path(made.id) / "objects/pack").iterdir()))
    said = send(made, command(before, late, "refs/heads/main") + work_pack(work, late))
    assert len(list((git.path(made.id) / "objects/pack").iterdir())) == packs  # nobody would ever ask for it
    assert b"ng refs/heads/main stale info: the ref is not where you think it is; fetch first" in said
    assert git.refs(made.id)["refs/heads/main"] == head


def test_the_same_ref_twice_and_deleting_what_is_not_there_are_refused(send, git, made):
    main = git.refs(made.id)["refs/heads/main"]
    twice = pktline.line(f"{ZERO} {main} refs/heads/x\0report-status\n".encode())
    twice += pktline.line(f"{ZERO} {main} refs/heads/x\n".encode()) + pktline.FLUSH
    assert b"ng refs/heads/x a ref is named twice" in send(made, twice)
    assert b"ng refs/heads/y no such ref" in send(made, command(ZERO, ZERO, "refs/heads/y"))


def test_a_push_larger_than_the_limit_is_refused_while_it_comes(send, the_wire, work, git, made, tmp_path):
    before = dict(git.refs(made.id))
    head = work.commit({"a": os.urandom(50_000)})
    the_wire._push_max = 20_000
    pack = work_pack(work, head)
    body = [command(before["refs/heads/main"], head, "refs/heads/main")] + [
        pack[i : i + 1000] for i in range(0, len(pack), 1000)
    ]
    said = send(made, body)
    assert b"unpack push refused" in said
    assert b"ng refs/heads/main This git request is larger than 20000 bytes (setting push_max)" in said
    nothing_moved(git, made, before, tmp_path)


def test_more_objects_than_the_limit_are_refused_by_the_packs_own_word(send, git, made, tmp_path):
    before = dict(git.refs(made.id))
    head = b"PACK\0\0\0\2\xff\xff\xff\xff"
    said = send(made, [command(before["refs/heads/main"], "1" * 40, "refs/heads/main"), head[:5], head[5:]])
    assert b"ng refs/heads/main A push may have 5000000 objects" in said
    nothing_moved(git, made, before, tmp_path)


def test_a_client_that_breaks_off_leaves_nothing(send, git, made, tmp_path):
    before = dict(git.refs(made.id))

    class Gone(Exception):
        pass

    def body():
        yield command(before["refs/heads/main"], "1" * 40, "refs/heads/main")
        yield b"PACK\0\0\0\2\0\0\0\1"
        raise Gone

    with pytest.raises(Gone):
        send(made, body())
    nothing_moved(git, made, before, tmp_path)


def test_T21_a_disk_that_fails_at_the_end_is_not_called_ok(send, work, git, moves, made, tmp_path, monkeypatch):
    before = dict(git.refs(made.id))
    head = work.commit({"a": "a"})

    def full(*_args, **_more):
        raise Unavailable("The disk is full; nothing was stored.", status=507)

    monkeypatch.setattr(moves, "apply", full)
    said = send(made, command(before["refs/heads/main"], head, "refs/heads/main") + work_pack(work, head))
    assert said.startswith(b"0018unpack push refused\n")
    assert b"ng refs/heads/main The disk is full" in said
    nothing_moved(git, made, before, tmp_path)


def test_a_push_into_a_repo_that_a_command_deletes_meanwhile_is_told_so(send, work, git, made, tmp_path, monkeypatch):
    head = work.commit({"a": "a"})
    old = git.refs(made.id)["refs/heads/main"]
    pack = work_pack(work, head)
    flush = wire._fsync

    def away(file):
        flush(file)
        if git.path(made.id).exists():
            git.path(made.id).rename(tmp_path / "elsewhere")

    monkeypatch.setattr(wire, "_fsync", away)
    said = send(made, command(old, head, "refs/heads/main") + pack)
    assert b"ng refs/heads/main Repository not found" in said
    assert list(git.incoming.iterdir()) == []


def test_a_hold_that_expires_while_the_push_is_checked_stops_it(
    send, work, git, made, a_blob, holds, monkeypatch, tmp_path, clock
):
    before = dict(git.refs(made.id))
    holds.hold(made.id, [a_blob("a", size=5)])
    head = work.commit({"w.bin": pointer("a", 5)})
    steps = inspection.Inspection.steps

    def slowly(self, tips):
        yield from steps(self, tips)
        holds.release(holds.pending(clock.now_ms() + 1))

    monkeypatch.setattr(inspection.Inspection, "steps", slowly)
    said = send(made, command(before["refs/heads/main"], head, "refs/heads/main") + work_pack(work, head))
    assert b"unpack push refused" in said
    assert b"a" * 64 in said
    nothing_moved(git, made, before, tmp_path)


def test_a_client_without_side_bands_gets_the_bare_report(send, work, git, made):
    old = git.refs(made.id)["refs/heads/main"]
    head = work.commit({"a": "a"})
    said = send(made, command(old, head, "refs/heads/main") + work_pack(work, head))
    assert said == b"000eunpack ok\n" + pktline.line(b"ok refs/heads/main\n") + b"0000"


def test_long_checks_show_signs_of_life(send, work, git, made, clock, monkeypatch):
    old = git.refs(made.id)["refs/heads/main"]
    head = work.commit({"a": "a"})
    steps = inspection.Inspection.steps

    def slowly(self, tips):
        for step in steps(self, tips):
            clock.advance(6)
            yield step

    monkeypatch.setattr(inspection.Inspection, "steps", slowly)
    body = command(old, head, "refs/heads/main", "report-status side-band-64k") + work_pack(work, head)
    said = send(made, body)
    assert said.startswith(pktline.KEEPALIVE)
    assert b"unpack ok" in said


def test_a_pack_that_takes_too_long_to_unpack_is_refused_and_says_so(send, work, git, made, tmp_path):
    before = dict(git.refs(made.id))
    head = work.commit({"a": "a"})
    pack = work_pack(work, head)
    limits = []

    def body():
        yield command(before["refs/heads/main"], head, "refs/heads/main")
        yield pack[:20]
        (child,) = psutil.Process().children()
        limits.append(child.rlimit(psutil.RLIMIT_CPU))
        child.send_signal(signal.SIGXCPU)  # what the system does when the time is over
        yield pack[20:]

    said = send(made, body())
    assert limits == [(wire.INDEX_CPU_S, 1800)]
    assert b"ng refs/heads/main the pack was refused: it takes too long" in said
    nothing_moved(git, made, before, tmp_path)


def test_only_so_many_pushes_are_checked_at_once_and_the_next_waits_and_shows_that_it_lives(
    the_wire, work, git, made, ann, clock
):
    old, head = git.refs(made.id)["refs/heads/main"], work.commit({"a": "a"})
    body = command(old, head, "refs/heads/main", "report-status side-band-64k") + work_pack(work, head)
    for _ in range(wire.CHECKED_AT_ONCE):
        assert the_wire._checking.acquire(blocking=False)
    waiting = the_wire.receive_pack(ann, made, [body], no_card)
    assert [next(waiting), next(waiting)] == [b"", b""]
    clock.advance(6)
    assert [next(waiting), next(waiting)] == [pktline.KEEPALIVE, b""]
    assert git.refs(made.id)["refs/heads/main"] == old
    the_wire._checking.release()
    assert b"unpack ok" in b"".join(waiting)
    assert the_wire._checking.acquire(blocking=False)  # it gave its turn back


def test_a_push_whose_client_leaves_while_it_is_checked_leaves_nothing(
    the_wire, work, git, made, ann, clock, monkeypatch, tmp_path
):
    before = dict(git.refs(made.id))
    head = work.commit({"a": "a"})

    def without_end(_self, _tips):
        while True:
            clock.advance(6)
            yield

    monkeypatch.setattr(inspection.Inspection, "steps", without_end)
    body = command(before["refs/heads/main"], head, "refs/heads/main") + work_pack(work, head)
    stream = the_wire.receive_pack(ann, made, [body], no_card)
    assert [next(stream), next(stream)] == [b"", b""]  # no side-bands, so nothing to say; but a place to stop at
    stream.close()
    nothing_moved(git, made, before, tmp_path)
    assert the_wire._checking._value == wire.CHECKED_AT_ONCE


def test_commits_and_listings_beyond_all_measure_are_refused(work, made, monkeypatch):
    monkeypatch.setattr(inspection, "TREE_BYTES_MAX", 500)
    work.commit({f"file-{i:03}": "x" for i in range(40)})
    assert "too many names" in work.git("push", "origin", "main", ok=False)
    monkeypatch.setattr(inspection, "COMMIT_BYTES_MAX", 300)
    work.git("reset", "-q", "--hard", "HEAD~1")
    work.commit({"a": "a"}, "m" * 500)
    assert "larger than 300 bytes" in work.git("push", "origin", "main", ok=False)


def test_more_lfs_objects_than_the_limit_are_refused(work, made, monkeypatch):
    monkeypatch.setattr(inspection, "POINTERS_MAX", 2)
    work.commit({f"{digit}.bin": pointer(digit, 5) for digit in "abc"})
    assert "more than 2 LFS objects" in work.git("push", "origin", "main", ok=False)


def test_the_advertisement_names_every_ref_once_and_what_a_push_may_do(the_wire, git, made):
    main = git.refs(made.id)["refs/heads/main"]
    whole = b"".join(the_wire.advertise(made, RECEIVE_PACK, "version=2"))
    assert whole.startswith(b"001f# service=git-receive-pack\n0000")
    assert f"{main} refs/heads/main\0report-status".encode() in whole
    assert b"side-band-64k" in whole
    assert whole.endswith(b"0000")


def test_a_deleted_repo_is_neither_fetched_nor_pushed_to(send, the_wire, registry, made, ann):
    registry.delete(ann, repo_id("model", "ann/x"))
    with pytest.raises(RepoMissing):
        the_wire.upload_pack(made, [pktline.FLUSH], None)
    for service in (UPLOAD_PACK, RECEIVE_PACK):
        with pytest.raises(RepoMissing):
            list(the_wire.advertise(made, service, None))
    with pytest.raises(RepoMissing):
        send(made, command(ZERO, "1" * 40, "refs/heads/x"))


def test_a_repo_that_is_deleted_while_a_push_is_looked_at_takes_nothing(
    send, registry, work, git, made, ann, monkeypatch
):
    old = git.refs(made.id)["refs/heads/main"]
    head = work.commit({"a": "a"})
    steps = inspection.Inspection.steps

    def slowly(self, tips):
        yield from steps(self, tips)
        registry.delete(ann, repo_id("model", "ann/x"))

    monkeypatch.setattr(inspection.Inspection, "steps", slowly)
    said = send(made, command(old, head, "refs/heads/main") + work_pack(work, head))
    assert b"ng refs/heads/main Repository not found" in said
    assert b"unpack ok" not in said


def test_without_a_git_program_the_hub_says_so(the_wire, made, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Unavailable, match="git"):
        the_wire.upload_pack(made, [pktline.FLUSH], None)


def test_T17_a_commit_of_another_repo_is_not_taken_by_its_id(send, work, git, made, a_repo, people):
    theirs = a_repo(people.user("bob"), "bob/x", "dataset", private=True)
    head = git.refs(theirs.id)["refs/heads/main"]
    said = send(made, command(ZERO, head, "refs/heads/x") + work_pack(work, "HEAD", "^HEAD"))
    assert b"ng refs/heads/x missing object" in said
