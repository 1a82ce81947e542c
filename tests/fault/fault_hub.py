"""A hub in a process of its own, on a data folder of its own, that a test may kill, starve and look into.

Knows how the hub is started and how its API is spoken; refuses to know what a test is after. Nothing here sleeps for
luck: waits poll for something that will happen and give up loudly.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psutil
from fault_fork import Forked, Forks
from xet_building import File, a_shard

from headwater import app as root
from headwater.ground.settings import Settings
from headwater.upkeep import verify as checking
from headwater.upkeep.backup import refs_of_events

REPOSITORY = Path(__file__).resolve().parents[2]
START_LIMIT_S = 60.0  # on a crowded machine; a start takes about 1.2 s of CPU
END_LIMIT_S = 60.0
ALICE, BOB = "hf_aliceAliceAliceAliceAliceAliceAA", "hf_bobBobBobBobBobBobBobBobBobBobBo"
SEED = {
    "users": [
        {"name": "alice", "fullname": "Alice", "email": "a@example.org", "token": ALICE, "token_role": "write"},
        {"name": "bob", "fullname": "Bob", "email": "b@example.org", "token": BOB, "token_role": "write"},
    ]
}
LFS_JSON = {"Content-Type": "application/vnd.git-lfs+json", "Accept": "application/vnd.git-lfs+json"}


def until(happened: Callable[[], Any], what: str, limit_s: float = END_LIMIT_S) -> Any:
    """What `happened` returns as soon as it is true."""
    end = time.monotonic() + limit_s
    while not (found := happened()):
        assert time.monotonic() < end, f"{what} did not happen within {limit_s} s"
        time.sleep(0.01)  # other processes give no event to wait for
    return found


def environment(**more: str) -> dict[str, str]:
    """Nothing of the developer's."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@example.org",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@example.org",
        **more,
    }


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, read whole; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.headers.get("x-error-code", "")


class Gone(Exception):
    """The server ended the connection before its answer was whole."""


@dataclass
class Hub:
    """`url` answers while `process` runs; several starts may follow each other on one folder and port."""

    folder: Path
    data: Path
    env: dict[str, str] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen[bytes] | Forked | None = None
    forks: Forks | None = None
    """Where there are some, starts and commands are forks, unless a library is to be loaded before them."""

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # --- life ---

    def launch(self, **env: str) -> subprocess.Popen[bytes] | Forked:
        """Starts it and waits for nothing."""
        self.port = self.port or free_port()
        words = ("serve", "--port", str(self.port), "--data", str(self.data))
        env = environment(**{**self.env, **env})
        with self.log.open("ab") as log:
            if self.forks is not None and "LD_PRELOAD" not in env:
                self.process = self.forks.start(words, REPOSITORY, env, log, log)
            else:
                command = [sys.executable, "-m", "headwater", *words]
                self.process = subprocess.Popen(command, cwd=REPOSITORY, env=env, stdout=log, stderr=subprocess.STDOUT)
        return self.process

    def start(self, **env: str) -> Hub:
        self.launch(**env)
        until(self.answers, f"the start of the hub on {self.data}", START_LIMIT_S)
        return self

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the hub ended with {self.process.returncode}:\n{self.said()}"
        try:
            return self.ask("GET", "/health/ready", token="").status == 200
        except (OSError, Gone):
            return False

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-6000:]

    def stop(self) -> int:
        """By SIGTERM; the exit status."""
        if self.process is None:
            return 0
        self.process.terminate()
        return self.ended()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def ended(self) -> int:
        """Waits for its end."""
        assert self.process is not None
        try:
            return self.process.wait(END_LIMIT_S)
        finally:
            self.kill()

    @property
    def rss_bytes(self) -> int:
        assert self.process is not None
        return int(psutil.Process(self.process.pid).memory_info().rss)

    # --- the command line ---

    def headwater(self, *words: str, data: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        return self.headwater_alone(*words, "--data", str(data or self.data), **env)

    def headwater_alone(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """A command that needs no data folder."""
        env = environment(**{**self.env, **env})
        if self.forks is not None and "LD_PRELOAD" not in env:
            return self.forks.run(words, REPOSITORY, env, limit_s=120)
        command = [sys.executable, "-m", "headwater", *words]
        return subprocess.run(
            command, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=120, check=False
        )

    # --- the API ---

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None = None,
        *,
        token: str = ALICE,
        headers: Mapping[str, str] | None = None,
        limit_s: float = 60,
    ) -> Answer:
        """One request, its answer read whole. Gone if the connection broke."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=limit_s)
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            connection.request(method, path, body, {**sent, **(headers or {})})
            got = connection.getresponse()
            found = Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
        except (http.client.HTTPException, ConnectionError) as error:
            if isinstance(error, ConnectionRefusedError):
                raise
            raise Gone(str(error)) from error
        finally:
            connection.close()
        return found

    def good(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """The same with JSON for a body, and it has to go well."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        kind = {"Content-Type": "application/json"} if data is not body else {}
        answer = self.ask(method, path, data, **{"headers": kind, **more})
        assert answer.status in (200, 201), f"{method} {path}: {answer.status} {answer.body[:500]!r}"
        return answer

    def create(self, repo: str, **more: Any) -> None:
        organization, name = repo.split("/")
        self.good("POST", "/api/repos/create", {"name": name, "organization": organization, **more})

    def head(self, repo: str, branch: str = "main") -> str | None:
        """The commit that a branch is at; None: no such branch."""
        refs = self.good("GET", f"/api/models/{repo}/refs").json
        return next((str(one["targetCommit"]) for one in refs["branches"] if one["name"] == branch), None)

    def commit(
        self,
        repo: str,
        files: Mapping[str, bytes] | None = None,
        *,
        large: Mapping[str, bytes] | None = None,
        branch: str = "main",
        parent: str | None = None,
    ) -> Answer:
        """A commit of small files inline and of `large` ones that were uploaded before."""
        lines: list[Any] = [{"key": "header", "value": {"summary": "a change", "parentCommit": parent}}]
        for path, data in (files or {}).items():
            content = base64.b64encode(data).decode()
            lines.append({"key": "file", "value": {"path": path, "content": content, "encoding": "base64"}})
        for path, data in (large or {}).items():
            value = {"path": path, "algo": "sha256", "oid": hashlib.sha256(data).hexdigest(), "size": len(data)}
            lines.append({"key": "lfsFile", "value": value})
        body = "".join(json.dumps(line) + "\n" for line in lines).encode()
        path = f"/api/models/{repo}/commit/{quote(branch, safe='')}"
        return self.ask("POST", path, body, headers={"Content-Type": "application/x-ndjson"})

    def committed(self, repo: str, files: Mapping[str, bytes] | None = None, **more: Any) -> str:
        """The id of a commit that has to go well."""
        answer = self.commit(repo, files, **more)
        assert answer.status == 200, f"{answer.status} {answer.body[:500]!r}"
        return str(answer.json["commitOid"])

    def upload_path(self, repo: str, oid: str, size: int) -> str | None:
        """Where to PUT a file; None: it is there."""
        asked = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": oid, "size": size}]}
        path = f"/{repo}.git/info/lfs/objects/batch"
        found = self.good("POST", path, json.dumps(asked).encode(), headers=LFS_JSON).json["objects"][0]
        if "actions" not in found:
            return None
        href = urlsplit(found["actions"]["upload"]["href"])
        return f"{href.path}?{href.query}"

    def upload(self, repo: str, data: bytes) -> Answer | None:
        """A file by LFS, not yet committed."""
        path = self.upload_path(repo, hashlib.sha256(data).hexdigest(), len(data))
        return None if path is None else self.ask("PUT", path, data, token="")

    def uploaded(self, repo: str, data: bytes) -> None:
        answer = self.upload(repo, data)
        assert answer is None or answer.status == 200, f"{answer.status} {answer.body[:500]!r}"

    def sent_by_xet(self, repo: str, file: File) -> None:
        """The xorbs and the shard of a file, not yet committed."""
        token = self.good("GET", f"/api/models/{repo}/xet-write-token/main").json["accessToken"]
        for xorb in dict.fromkeys(xorb for xorb, _, _ in file.spans):
            self.good("POST", f"/xet/v1/xorbs/default/{xorb.name}", xorb.wire, token=token)
        self.good("POST", "/xet/v1/shards", a_shard(file), token=token)

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        """Every file of a revision, as downloaded; but for the .gitattributes that a new repo has."""
        listed = self.good("GET", f"/api/models/{repo}/tree/{quote(revision, safe='')}?recursive=true").json
        paths = [entry["path"] for entry in listed if entry["type"] == "file" and entry["path"] != ".gitattributes"]
        return {path: self.good("GET", f"/{repo}/resolve/{quote(revision, safe='')}/{path}").body for path in paths}

    def with_login(self, user: str = "alice", token: str = ALICE) -> str:
        return f"http://{user}:{token}@127.0.0.1:{self.port}"

    # --- what lies on the disk ---

    def git_folder(self, repo: str) -> Path:
        name = repo.split("/")[1]
        with closing(sqlite3.connect(self.data / "headwater.sqlite")) as db:
            asked = "SELECT id FROM repo WHERE name = ? AND state = 'live'"
            (number,) = db.execute(asked, (name,)).fetchone()
        return self.data / "git" / f"{number % 256:02x}" / f"{number}.git"

    def fsck(self, repo: str) -> None:
        git("fsck", "--full", "--strict", cwd=self.git_folder(repo))


class Download:
    """A download that reads its first bytes and waits; its connection takes in little that is not read."""

    def __init__(self, hub: Hub, path: str, *, first: int = 1000) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=60)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self._connection.request("GET", path, headers={"Authorization": f"Bearer {ALICE}"})
        self._got = self._connection.getresponse()
        assert self._got.status == 200
        self._begun = self._got.read(first)

    def rest(self) -> bytes:
        with closing(self._connection):
            return bytes(self._begun + self._got.read())


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def git(*words: str, cwd: Path, wants: int | None = 0, **env: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=cwd, env=environment(**env), capture_output=True, text=True, timeout=120, check=False
    )
    assert wants is None or done.returncode == wants, f"git {words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@contextmanager
def rooms_of(data: Path, **settings: Any) -> Iterator[Any]:
    """The rooms over a data folder, for looking; also beside a running hub, as the command line does."""
    rooms = root.open_rooms(Settings(data=str(data), **settings))
    try:
        yield rooms
    finally:
        rooms.db.close()


def verified(data: Path) -> list[str]:
    """What `headwater verify --read-data 100` finds."""
    with rooms_of(data) as rooms:
        found = checking.verify(rooms.db, rooms.repos, rooms.store, rooms.xets, 100, lambda _count: None)
        return [f"{one.what} {one.name}: {one.text} {one.repos}" for one in found]


def problems(data: Path) -> list[str]:
    """The same, and whether events and git tell the same of every ref."""
    found = verified(data)
    with rooms_of(data) as rooms:
        for repo_id, told in refs_of_events(rooms.db).items():
            if not rooms.repos.git.path(repo_id).exists():
                continue  # deleted, and in the trash: a live one without is found above
            refs = dict(rooms.repos.git.refs(repo_id))
            if refs != told:
                found.append(f"repo {repo_id}: git has {refs}, the events tell {told}")
    return found


def du(folder: Path) -> int:
    """Bytes that the files of a folder occupy."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


def clone_of(template: Path, data: Path) -> Path:
    """A data folder that nobody serves, copied."""
    shutil.copytree(template, data)
    return data
