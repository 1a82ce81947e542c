"""A hub on which everybody works at once, over a handful of names, so that whatever can collide does.

    python tests/soak/churn_run.py [--seconds 300] [--seed N] [--threads N] [--burners N] [--nice N] [--data FOLDER]

Threads create, commit, upload, branch, tag, move, hide, delete, bring back, duplicate, squash, list, read, clone and
push; commands of the command line work beside them, and the hub's own jobs come all the time instead of every hour. No
answer may be a 5xx (but a 503 that says when to come back), and the log may hold no error. In the end everything comes
to rest: `verify` finds nothing, every commit is what was sent, every file comes back byte for byte, the catalog is what
a rebuild makes of it. Ends with 1, and keeps the data folder, when anything was wrong.

What was sent is known by the titles of commits: each names an operation of ours, and what that does to its parent.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import http.client
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fault"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "store"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "tensors"))

import numpy as np
from fault_hub import ALICE, BOB, LFS_JSON, REPOSITORY, SEED, Answer, Gone, Hub, environment, problems
from sqlalchemy import Connection, func, select, text, update
from tensor_files import safetensors_file
from xet_building import Xorb, a_file, a_shard, unpacked

from headwater import app as root
from headwater.accounts import OPERATOR
from headwater.catalog.tables import POSTING_SHIFT
from headwater.front.rooms import Rooms
from headwater.ground import events, jobs, names, settings
from headwater.ground.clock import SystemClock
from headwater.ground.db import Database
from headwater.ground.errors import HeadwaterError
from headwater.ground.jobs import job
from headwater.ground.names import RepoId
from headwater.repos import pointers
from headwater.repos.git import place_of
from headwater.repos.tables import repo

MEMORY = Path("/dev/shm")
SETTINGS = {
    "HEADWATER_LOG_JSON": "1",
    "HEADWATER_LFS_PART_SIZE": "20000",
    "HEADWATER_UPLOAD_GRACE_S": "4",
    "HEADWATER_XORB_KEEP_S": "4",
    "HEADWATER_SEAL_GRACE_S": "1",
    "HEADWATER_SEAL_MARGIN_PERCENT": "0",
    "HEADWATER_RAW_CACHE_BYTES": "200000",
    "HEADWATER_SECOND_COPY_FROM": "2",
    "HEADWATER_TOKEN_CACHE_S": "0.2",
}
UNDELETE_S = ("0", "1", "4")
NAMES = ("alice/a", "alice/b", "lab/a", "works/a", "bob/a")
ORG = ("lab", "works")  # one and the same organization is called the one or the other
KINDS = ("model", "model", "model", "model", "dataset", "space")
PREFIX = {"model": "", "dataset": "datasets/", "space": "spaces/"}
BRANCHES = ("main", "main", "main", "dev", "dev/x", "feature")
TAGS = ("v1", "v1/x", "latest")
PATHS = ("a", "a/b.txt", "a/c/d.txt", "notes.md", "data/train.csv", "data")
WEIGHTS = ("model.safetensors", "a/model.safetensors", "weights/tuned.safetensors")
PAGES = ("", "/tree/main", "/tree/dev", "/blob/main/README.md", "/commits/main", "/storage", "/blob/main/a/b.txt")
QUESTIONS = (
    "", "/revision/dev", "/tree/main?recursive=true&expand=true", "/tree/v1", "/refs?include_prs=1", "/commits/main",
    "/commits/dev?limit=2", "/storage", "/likers", "/auth-check", "/xet-read-token/main", "/compare/main..dev",
    "/lfs-files", "/safetensors-metadata/model.safetensors", "?blobs=true&securityStatus=true",
)  # fmt: skip
LISTS = (
    "/api/models?full=true", "/api/models?search=a", "/api/models?author=alice&sort=downloads", "/api/datasets",
    "/api/models?filter=churn&config=true", "/api/models?filter=license:mit&sort=lastModified", "/api/spaces?full=true",
    "/api/models-tags-by-type", "/api/datasets-tags-by-type", "/api/settings/repositories", "/api/deleted",
    "/api/organizations/lab/overview", "/api/organizations/works/overview", "/api/users/alice/overview",
    "/api/settings/store", "/api/observatory", "/api/users/bob/likes", "/", "/models", "/datasets", "/lab", "/alice",
)  # fmt: skip
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("verify", "--read-data", "100"), ("store", "verify"), ("store", "seal", "--all"), ("store", "rebase", "--all"),
    ("store", "sweep"), ("rebuild",), ("store", "leave", "NAME"), ("store", "seal", "NAME"),
    ("admin", "repo", "delete", "NAME", "--yes"), ("admin", "repo", "undelete", "NAME"),
    ("admin", "repo", "purge", "NAME", "--yes"), ("admin", "repo", "list"), ("admin", "org", "rename", *ORG),
    ("admin", "org", "rename", *ORG[::-1]), ("backup", "BACKUP"),
    ("admin", "org", "create", "fleeting"), ("admin", "org", "delete", "fleeting", "--yes"),
    ("admin", "user", "create", "passer"), ("admin", "user", "delete", "passer", "--yes"),
    ("admin", "user", "disable", "bob"), ("admin", "user", "enable", "bob"), ("admin", "user", "enable", "bob"),
)  # fmt: skip
RIGHT_EXITS = frozenset((0, 2, *range(10, 20), 21))
"""Of commands: it went well, or what is asked for is not there, not now, not so."""
FAMILIES, SIBLINGS, TENSORS = 3, 4, 3
UPKEEP_S = 3.0  # in place of an hour; between two of them a read that has begun gets hold of its file
CLONE_S = 60
COMMAND_S = 600  # beside others that take all the time there is, sealing takes minutes
REST_S = 300.0  # without a job that gets done, though some wait
FAILURES_MAX = 20
WARNINGS_SHOWN = 3  # of each sort
STEPS_KEPT = 400
TELL_EVERY_S = 30.0

Files = dict[str, str]
"""path -> git's name of its blob."""


class Failed(Exception):
    """The churn found something."""


@dataclass(frozen=True)
class Edit:
    """What an operation does: put (`blob`), delete, folder (deletes all of it), copy (from `source`)."""

    what: str
    path: str
    blob: str = ""
    source: str = ""


def blob_name(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def after(before: Files, edits: Sequence[Edit]) -> Files:
    """The files of a commit whose parent had `before`."""
    made = dict(before)
    for edit in edits:
        if edit.what == "put":
            made[edit.path] = edit.blob
        elif edit.what == "copy":
            made[edit.path] = before[edit.source]
        elif edit.what == "delete":
            del made[edit.path]
        else:
            made = {path: blob for path, blob in made.items() if not path.startswith(f"{edit.path}/")}
    return made


def model(family: int, sibling: int) -> bytes:
    """A small model: of a family all have some tensors in common, and others nearly."""
    chance, own = np.random.default_rng(family), np.random.default_rng((family, sibling))
    tensors: dict[str, tuple[str, list[int], bytes]] = {}
    for number in range(TENSORS):
        value = chance.normal(0, 0.02, (48, 64))
        if number < sibling % (TENSORS + 1):
            value += own.normal(0, 1e-5, value.shape)
        tensors[f"layers.{number}.weight"] = ("F32", list(value.shape), value.astype("<f4").tobytes())
    return safetensors_file(tensors)


def local(address: str) -> str:
    """An address of the hub, as requests have it."""
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


class Ledger:
    """What was sent, by everybody, and what went wrong."""

    def __init__(self) -> None:
        self.weights: dict[str, bytes] = {}
        self.pointers: dict[str, str] = {}  # git's name of a pointer -> SHA-256
        self.usual = [self.add(model(number % FAMILIES, number // FAMILIES)) for number in range(FAMILIES * SIBLINGS)]
        self.contents: dict[str, bytes] = {}  # git's name of a blob -> its bytes
        self.edits: dict[str, list[Edit]] = {}  # the title of a commit -> what it does
        self.acknowledged: dict[str, str] = {}  # commit -> title
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.history: deque[str] = deque(maxlen=STEPS_KEPT)
        self.rewrote = False
        self.begun_s = time.monotonic()
        self._lock = threading.Lock()
        self._serial = itertools.count(1)

    def begin(self, edits: Sequence[Edit]) -> str:
        title = f"op-{next(self._serial)}"
        self.edits[title] = list(edits)
        return title

    def note(self, who: str, step: str, outcome: object) -> None:
        with self._lock:
            self.counts[f"{step} {outcome}"] += 1
            self.history.append(f"{time.monotonic() - self.begun_s:9.3f} {who:8} {step} {outcome}")

    def fail(self, why: str) -> None:
        with self._lock:
            self.failures.append(f"{time.monotonic() - self.begun_s:.3f} s: {why}")
        print(f"FOUND {why}", flush=True)

    def add(self, data: bytes) -> str:
        """A large file that may be sent; git's name of its pointer."""
        sha = hashlib.sha256(data).hexdigest()
        blob = blob_name(pointers.text(names.Sha256(sha), len(data)))
        self.weights[sha], self.pointers[blob] = data, sha
        return blob

    def put(self, path: str, data: bytes) -> Edit:
        name = blob_name(data)
        self.contents[name] = data
        return Edit("put", path, name)


class Person:
    """One thread's work. Knows no state of the hub: it asks for what may be there, and takes what it gets."""

    def __init__(self, name: str, hub: Hub, ledger: Ledger, seed: str, folder: Path) -> None:
        self.name, self.hub, self.ledger, self.folder = name, hub, ledger, folder
        self.chance = random.Random(seed)
        self._connection: http.client.HTTPConnection | None = None
        self.steps: dict[Callable[[], None], int] = {
            self.create: 12, self.commit: 24, self.upload: 12, self.xet: 6, self.rebuild: 6, self.branch: 8, self.unbranch: 4, self.tag: 5,
            self.untag: 4, self.move: 3, self.settings: 4, self.delete: 3, self.undelete: 4, self.duplicate: 5,
            self.squash: 2, self.forget: 1, self.read: 14, self.question: 18, self.listing: 10, self.page: 8,
            self.pull: 3, self.clone: 1, self.push: 1,
        }  # fmt: skip

    def work(self, until: threading.Event) -> None:
        doing, shares = list(self.steps), list(self.steps.values())
        while not until.is_set():
            step = self.chance.choices(doing, shares)[0]
            try:
                step()
            except (Gone, OSError, http.client.HTTPException) as error:
                if until.is_set() and self.hub.process is None:
                    return
                self.ledger.note(self.name, step.__name__, f"gone ({type(error).__name__})")
                self._connection = None

    # --- speaking ---

    def ask(
        self, step: str, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str
    ) -> Answer:
        if token is None:
            token = self.chance.choice((ALICE, ALICE, ALICE, BOB))
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        if data is not body:
            sent["Content-Type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.hub.port, timeout=60)
        try:
            self._connection.request(method, path, data, sent)
            got = self._connection.getresponse()
            answer = Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
        except BaseException:
            self._connection.close()
            self._connection = None
            raise
        self.ledger.note(self.name, step, answer.status)
        if answer.status >= 500 and not (answer.status == 503 and "retry-after" in answer.headers):
            self.ledger.fail(f"{step}: {method} {path} answers {answer.status} {answer.body[:300]!r}")
        return answer

    def api(self, kind: str, name: str, rest: str = "") -> str:
        return f"/api/{kind}s/{name}{rest}"

    def any_repo(self) -> tuple[str, str]:
        return self.chance.choice(KINDS), self.chance.choice(NAMES)

    def named(self, kind: str, name: str, **more: object) -> dict[str, object]:
        organization, short = name.split("/")
        return {"type": kind, "name": short, "organization": organization, **more}

    # --- repos ---

    def create(self) -> None:
        kind, name = self.any_repo()
        more: dict[str, object] = {"sdk": "static"} if kind == "space" else {}
        private = self.chance.random() < 0.3
        self.ask("create", "POST", "/api/repos/create", self.named(kind, name, private=private, **more))

    def delete(self) -> None:
        self.ask("delete", "DELETE", "/api/repos/delete", self.named(*self.any_repo()))

    def undelete(self) -> None:
        kind, name = self.any_repo()
        more = {"to": self.chance.choice(NAMES)} if self.chance.random() < 0.3 else {}
        self.ask("undelete", "POST", "/api/repos/undelete", self.named(kind, name, **more))

    def move(self) -> None:
        kind, name = self.any_repo()
        asked = {"type": kind, "fromRepo": name, "toRepo": self.chance.choice(NAMES)}
        self.ask("move", "POST", "/api/repos/move", asked)

    def settings(self) -> None:
        asked = self.chance.choice(({"private": True}, {"private": False}, {"gated": "auto"}, {"gated": False}))
        self.ask("settings", "PUT", self.api(*self.any_repo(), "/settings"), asked)

    def duplicate(self) -> None:
        asked = {"repository": self.chance.choice(NAMES)}
        self.ask("duplicate", "POST", self.api(*self.any_repo(), "/duplicate"), asked)

    # --- commits ---

    def text_of(self, path: str) -> bytes:
        lines = self.chance.randint(1, 40)
        return f"{path} {self.chance.getrandbits(64):x}\n".encode() * lines

    def card(self) -> Edit:
        base = self.chance.choice(("", "base_model: alice/a\n", "base_model: lab/a\n"))
        licence = self.chance.choice(("mit", "apache-2.0"))
        data = f"---\nlicense: {licence}\ntags:\n- churn\n{base}---\n# {self.chance.getrandbits(32)}\n"
        return self.ledger.put("README.md", data.encode())

    def edits(self) -> list[Edit]:
        made: list[Edit] = []
        for _ in range(self.chance.randint(1, 3)):
            path = self.chance.choice(PATHS)
            match self.chance.randint(0, 9):
                case 0:
                    made.append(Edit("delete", path))
                case 1:
                    made.append(Edit("folder", path))
                case 2:
                    made.append(Edit("copy", path, source=self.chance.choice((*PATHS, *WEIGHTS))))
                case 3:
                    made.append(self.card())
                case _:
                    made.append(self.ledger.put(path, self.text_of(path)))
        return made

    def send(self, kind: str, name: str, edits: Sequence[Edit], rest: str, token: str | None = None) -> Answer:
        title = self.ledger.begin(edits)
        lines = [{"key": "header", "value": {"summary": title}}, *(self.line(edit) for edit in edits)]
        body = "".join(json.dumps(line) + "\n" for line in lines).encode()
        path = self.api(kind, name, f"/commit/{rest}")
        answer = self.ask("commit", "POST", path, body, token=token, Content_Type="application/x-ndjson")
        if answer.status == 200:
            self.ledger.acknowledged[answer.json["commitOid"]] = title
        return answer

    def line(self, edit: Edit) -> dict[str, object]:
        path = edit.path
        if edit.what == "copy":
            return {"key": "copyFile", "value": {"path": path, "srcPath": edit.source}}
        if edit.what in ("delete", "folder"):
            return {"key": "deletedFile" if edit.what == "delete" else "deletedFolder", "value": {"path": path}}
        if edit.blob in self.ledger.pointers:
            sha = self.ledger.pointers[edit.blob]
            value = {"path": path, "algo": "sha256", "oid": sha, "size": len(self.ledger.weights[sha])}
            return {"key": "lfsFile", "value": value}
        content = base64.b64encode(self.ledger.contents[edit.blob]).decode()
        return {"key": "file", "value": {"path": path, "content": content, "encoding": "base64"}}

    def commit(self) -> None:
        self.send(*self.any_repo(), self.edits(), quote(self.chance.choice(BRANCHES), safe=""))

    def pull(self) -> None:
        self.send(*self.any_repo(), self.edits(), "main?create_pr=1")

    def some_weights(self) -> str:
        """The usual ones are nearly always held by somebody; others go when their repo does."""
        if self.chance.random() < 0.5:
            return self.chance.choice(self.ledger.usual)
        return self.ledger.add(model(self.chance.randrange(FAMILIES), self.chance.randrange(1000)))

    def xet(self) -> None:
        """As Xet's clients upload: a xorb that holds more than the file, a shard, and a commit that names it."""
        kind, name = self.any_repo()
        told = self.ask("xet token", "GET", self.api(kind, name, "/xet-write-token/main"), token=ALICE)
        if told.status != 200:
            return
        token, blob = told.json["accessToken"], self.some_weights()
        both = [self.ledger.weights[self.ledger.pointers[one]] for one in (blob, self.chance.choice(self.ledger.usual))]
        xorb = Xorb(tuple(both))
        for path, body in ((f"xorbs/default/{xorb.name}", xorb.wire), ("shards", a_shard(a_file((xorb, 0, 1))))):
            if self.ask(path.partition("/")[0], "POST", f"/xet/v1/{path}", body, token=token).status != 200:
                return
        self.send(kind, name, [Edit("put", self.chance.choice(WEIGHTS), blob)], "main", token=ALICE)

    def rebuild(self) -> None:
        """As Xet's clients download: chunks by signed addresses, whose bytes have to be the file's."""
        kind, name = self.any_repo()
        head = self.ask(
            "head", "HEAD", f"/{PREFIX[kind]}{name}/resolve/main/{self.chance.choice(WEIGHTS)}", token=ALICE
        )
        told = self.ask("xet token", "GET", self.api(kind, name, "/xet-read-token/main"), token=ALICE)
        if head.status != 200 or told.status != 200:
            return
        path = f"/xet/v1/reconstructions/{head.headers['x-xet-hash']}"
        plan = self.ask("rebuild", "GET", path, token=told.json["accessToken"])
        if plan.status != 200:
            return
        data = b""
        for term in plan.json["terms"]:
            (place,) = [one for one in plan.json["fetch_info"][term["hash"]] if one["range"] == term["range"]]
            low, high = place["url_range"]["start"], place["url_range"]["end"]
            got = self.ask("fetch", "GET", local(place["url"]), token="", Range=f"bytes={low}-{high}")
            if got.status != 206:
                return
            data += b"".join(unpacked(got.body))
        if hashlib.sha256(data).hexdigest() != head.headers["x-linked-etag"].strip('"'):
            self.ledger.fail(f"{kind} {name}: by Xet come {len(data)} other bytes than {head.headers['x-linked-etag']}")

    def upload(self) -> None:
        """By LFS, and a commit that names it."""
        kind, name = self.any_repo()
        blob = self.some_weights()
        sha = self.ledger.pointers[blob]
        data = self.ledger.weights[sha]
        if self.sent(kind, name, sha, data):
            edits = [Edit("put", self.chance.choice(WEIGHTS), blob)]
            if self.chance.random() < 0.4:
                edits.append(self.card())
            self.send(kind, name, edits, quote(self.chance.choice(BRANCHES), safe=""), token=ALICE)

    def sent(self, kind: str, name: str, sha: str, data: bytes) -> bool:
        """Whether the repo has the file now; whole or in parts."""
        transfers = self.chance.choice((["basic"], ["basic", "multipart"]))
        asked = {"operation": "upload", "transfers": transfers, "objects": [{"oid": sha, "size": len(data)}]}
        path = f"/{PREFIX[kind]}{name}.git/info/lfs/objects/batch"
        told = self.ask("batch", "POST", path, json.dumps(asked).encode(), token=ALICE, **LFS_JSON)
        if told.status != 200:
            return False
        action = told.json["objects"][0].get("actions", {}).get("upload")
        if action is None:
            return True
        if "chunk_size" not in action["header"]:
            return self.ask("put", "PUT", local(action["href"]), data, token="").status == 200
        size, etags = int(action["header"].pop("chunk_size")), []
        for number, address in sorted((int(number), address) for number, address in action["header"].items()):
            part = self.ask("part", "PUT", local(address), data[size * (number - 1) : size * number], token="")
            if part.status != 200:
                return False
            etags.append({"partNumber": number, "etag": part.headers["etag"].strip('"')})
        return self.ask("complete", "POST", local(action["href"]), {"oid": sha, "parts": etags}, token="").status == 200

    def forget(self) -> None:
        rewrite = self.chance.random() < 0.5
        self.ledger.rewrote |= rewrite
        asked = {
            "deletions": {
                "sha": [self.ledger.pointers[self.chance.choice(self.ledger.usual)]],
                "rewriteHistory": rewrite,
            }
        }
        self.ask("forget", "POST", self.api(*self.any_repo(), "/lfs-files/batch"), asked)

    # --- refs ---

    def branch(self) -> None:
        asked = self.chance.choice(({}, {}, {"startingPoint": "dev"}, {"emptyBranch": True}, {"overwrite": True}))
        path = self.api(*self.any_repo(), f"/branch/{quote(self.chance.choice(BRANCHES), safe='')}")
        self.ask("branch", "POST", path, asked)

    def unbranch(self) -> None:
        path = self.api(*self.any_repo(), f"/branch/{quote(self.chance.choice(BRANCHES), safe='')}")
        self.ask("unbranch", "DELETE", path)

    def tag(self) -> None:
        asked = {"tag": self.chance.choice(TAGS), "message": self.chance.choice((None, "a release"))}
        self.ask("tag", "POST", self.api(*self.any_repo(), f"/tag/{self.chance.choice(('main', 'dev'))}"), asked)

    def untag(self) -> None:
        self.ask("untag", "DELETE", self.api(*self.any_repo(), f"/tag/{quote(self.chance.choice(TAGS), safe='')}"))

    def squash(self) -> None:
        path = self.api(*self.any_repo(), f"/super-squash/{self.chance.choice(('main', 'dev'))}")
        self.ask("squash", "POST", path, {"message": "squashed"})

    # --- reading ---

    def read(self) -> None:
        """A file's bytes have to hash to the name that the answer gives them."""
        kind, name = self.any_repo()
        branch, path = self.chance.choice(("main", "main", "dev")), self.chance.choice((*PATHS, *WEIGHTS, "README.md"))
        answer = self.ask("read", "GET", f"/{PREFIX[kind]}{name}/resolve/{branch}/{path}")
        if answer.status != 200:
            return
        etag = answer.headers["etag"].strip('"')
        got = hashlib.sha256(answer.body).hexdigest() if len(etag) == 64 else blob_name(answer.body)
        if got != etag:
            self.ledger.fail(f"{kind} {name}: {path} at {branch} comes as {got}, named {etag}")

    def question(self) -> None:
        self.ask("question", "GET", self.api(*self.any_repo(), self.chance.choice(QUESTIONS)), token=self.anybody())

    def listing(self) -> None:
        self.ask("list", "GET", self.chance.choice(LISTS), token=self.anybody())

    def page(self) -> None:
        kind, name = self.any_repo()
        path = f"/{PREFIX[kind]}{name}{self.chance.choice(PAGES)}"
        self.ask("page", "GET", path, token=self.anybody(), Accept="text/html")

    def anybody(self) -> str:
        return self.chance.choice((ALICE, BOB, ""))

    # --- git ---

    def git(self, *words: str, cwd: Path) -> bool:
        done = subprocess.run(
            ["git", *words], cwd=cwd, env=environment(GIT_LFS_SKIP_SMUDGE="1"), capture_output=True, text=True,
            timeout=CLONE_S, check=False,
        )  # fmt: skip
        self.ledger.note(self.name, f"git {words[0]}", done.returncode)
        return done.returncode == 0

    @contextlib.contextmanager
    def cloned(self) -> Iterator[Path | None]:
        kind, name = self.any_repo()
        url = f"{self.hub.with_login()}/{PREFIX[kind]}{name}"
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            there = Path(folder) / "clone"
            spoken = f"protocol.version={self.chance.choice((0, 1, 2))}"
            yield there if self.git("clone", "-c", spoken, "--quiet", url, str(there), cwd=self.folder) else None

    def clone(self) -> None:
        with self.cloned() as there:
            if there is not None and not self.git("fsck", "--strict", cwd=there):
                self.ledger.fail("a clone is not whole")

    def push(self) -> None:
        with self.cloned() as there:
            if there is None:
                return
            path = f"pushed-{self.chance.randint(1, 3)}.txt"
            data = self.text_of(path)
            title = self.ledger.begin([self.ledger.put(path, data)])
            (there / path).write_bytes(data)
            self.git("add", path, cwd=there)
            if self.git("commit", "--quiet", "-m", title, cwd=there):
                self.git("push", "--quiet", "origin", "HEAD:main", cwd=there)


class Churn:
    def __init__(self, folder: Path, seed: int, threads: int) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.ledger = Ledger()
        undelete_s = self.chance.choice(UNDELETE_S)
        self.hub = Hub(folder, folder / "data", {**SETTINGS, "HEADWATER_UNDELETE_S": undelete_s})
        (folder / "work").mkdir()
        self.people = [
            Person(f"person{n}", self.hub, self.ledger, f"{seed}-{n}", folder / "work") for n in range(threads)
        ]
        self.ended = threading.Event()
        self.clock = SystemClock()
        self._read_to = 0

    # --- life ---

    def prepare(self) -> None:
        users = [{**one, "fullname": one["name"].title()} for one in SEED["users"]]
        org = {"name": ORG[0], "fullname": "Lab", "members": {"alice": "admin", "bob": "write"}}
        (self.folder / "seed.json").write_text(json.dumps({"users": users, "orgs": [org]}))
        for words in (("admin", "seed", str(self.folder / "seed.json")), ("admin", "user", "make-admin", "alice")):
            done = self.command(*words)
            if done.returncode:
                raise Failed(f"{words}: {done.stdout}{done.stderr}")
        self.hub.start()
        self.db = Database(self.hub.data / "headwater.sqlite")

    def run(self, seconds: float) -> None:
        work = [person.work for person in self.people] + [self.hurry, self.commands, self.operate]
        threads = [threading.Thread(target=self._guarded, args=(one,), daemon=True) for one in work]
        for thread in threads:
            thread.start()
        end_s, told_s = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < end_s and len(self.ledger.failures) < FAILURES_MAX:
            time.sleep(0.5)
            self.read_log()
            self.look()
            if self.hub.process is None or self.hub.process.poll() is not None:
                self.ledger.fail("the hub has ended")
                break
            if time.monotonic() - told_s > TELL_EVERY_S:
                told_s = time.monotonic()
                self.progress()
        self.ended.set()
        for thread in threads:
            thread.join(COMMAND_S)
            if thread.is_alive():
                self.ledger.fail(f"{thread.name} does not end")

    def _guarded(self, work: Callable[[threading.Event], None]) -> None:
        try:
            work(self.ended)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run has found it
            self.ledger.fail(f"{work}: {type(error).__name__}: {error}")

    def hurry(self, until: threading.Event) -> None:
        """What the hub does every hour, or after a while, it does now."""
        chance = random.Random(self.chance.random())
        kept_s = time.monotonic()
        while not until.wait(chance.choice((0.05, 0.3, 1.0))):
            with self.db.write_soft() as connection:
                self.make_due(connection)
                if time.monotonic() - kept_s > UPKEEP_S:
                    kept_s = time.monotonic()
                    jobs.enqueue(connection, self.clock, "upkeep", "all", {})
                live = connection.execute(select(repo.c.id).where(repo.c.state == "live")).scalars().all()
                for repo_id in chance.sample(list(live), min(2, len(live))):
                    jobs.enqueue(connection, self.clock, "git.maintenance", str(repo_id), {})

    def make_due(self, connection: Connection) -> None:
        soon = update(job).where(job.c.state == "waiting", job.c.kind != "upkeep", job.c.attempts == 0)
        connection.execute(soon.values(until_ms=self.clock.now_ms()))

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        asked = [sys.executable, "-m", "headwater", *words, "--data", str(self.hub.data)]
        return subprocess.run(
            asked, cwd=REPOSITORY, env=environment(**self.hub.env), capture_output=True, text=True, timeout=COMMAND_S,
            check=False,
        )  # fmt: skip

    def commands(self, until: threading.Event) -> None:
        """The command line, one command after the other beside the hub."""
        chance = random.Random(self.chance.random())
        while not until.wait(chance.uniform(0.0, 2.0)):
            kind = chance.choice(KINDS)
            words = [
                {"NAME": chance.choice(NAMES), "BACKUP": str(self.folder / "backup")}.get(word, word)
                for word in chance.choice(COMMANDS)
            ]
            if any(word in NAMES for word in words):
                words += ["--type", kind]
            done = self.command(*words)
            step = " ".join(words[: 3 if words[0] == "admin" else 2])
            self.ledger.note("command", step, done.returncode)
            if done.returncode not in RIGHT_EXITS or "Traceback" in done.stderr:
                said = f"{done.stdout}{done.stderr}"[-3000:]
                self.ledger.fail(f"headwater {' '.join(words)} ends with {done.returncode}: {said}")

    def look(self) -> None:
        """What sealing has come to, for the summary: a churn without any would prove less than it seems."""
        asked = {
            "sealed files": "SELECT count(*) FROM blob WHERE sealed IS NOT NULL",
            "files without raw bytes": "SELECT count(*) FROM blob WHERE raw = 'gone'",
            "tensors on others": "SELECT count(DISTINCT tensor) FROM tensor_parent",
            "second copies": "SELECT count(*) FROM tensor_copy",
        }
        with self.db.read() as connection:
            for name, question in asked.items():
                most = int(connection.execute(text(question)).scalar_one())
                self.ledger.counts[name] = max(most, self.ledger.counts[name])

    def operate(self, until: threading.Event) -> None:
        """What the commands for repos do, in a process beside the hub, without the second that each takes to start."""
        chance = random.Random(self.chance.random())
        steps: dict[str, Callable[[Rooms, RepoId], object]] = {
            "delete": lambda rooms, rid: rooms.repos.registry.delete(OPERATOR, rid),
            "undelete": lambda rooms, rid: rooms.repos.registry.undelete(OPERATOR, found(rooms, rid)),
            "purge": lambda rooms, rid: rooms.repos.registry.purge(OPERATOR, found(rooms, rid)),
            "move": lambda rooms, rid: rooms.repos.registry.move(
                OPERATOR, rid, names.repo_id(rid.type, chance.choice(NAMES))
            ),
            "rebuild": lambda rooms, _rid: rooms.index.rebuild(),
        }

        def found(rooms: Rooms, rid: RepoId) -> int:
            return rooms.repos.registry.find_deleted(OPERATOR, rid).repo.id

        while not until.wait(chance.uniform(0.0, 0.6)):
            step = chance.choice(("delete", "undelete", "undelete", "purge", "move", "rebuild"))
            rid = names.repo_id(names.repo_type(chance.choice(KINDS)), chance.choice(NAMES))
            # A command opens its rooms, does its work and ends; what it remembers is never old.
            rooms = root.open_rooms(settings.load(None, self.hub.env, {"data": str(self.hub.data)}))
            try:
                steps[step](rooms, rid)
                outcome = "done"
            except HeadwaterError as error:
                outcome = error.code
                if error.exit_status not in RIGHT_EXITS:
                    self.ledger.fail(f"the operator's {step} of {rid.type} {rid.full}: {error.code} {error.text}")
            finally:
                rooms.db.close()
            self.ledger.note("operator", step, outcome)

    def read_log(self) -> None:
        with self.hub.log.open("rb") as log:
            log.seek(self._read_to)
            data = log.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read_to += len(whole)
        for raw in whole.decode(errors="replace").splitlines():
            try:
                line = json.loads(raw)
            except ValueError:
                line = {"level": "error"} if "Traceback" in raw else {}
            level = line.get("level", "")
            if level in ("error", "critical") or "Traceback" in raw:
                self.ledger.fail(f"the log says: {line.get('event', raw)} {line}"[:200] + f"\n{line.get('exception')}")
            elif level == "warning":
                kind = f"warning {line.get('event')} {line.get('code', '')}"
                self.ledger.counts[kind] += 1
                if self.ledger.counts[kind] <= WARNINGS_SHOWN:
                    print(f"the log warns: {raw}", flush=True)

    # --- rest ---

    def rest(self) -> None:
        """Nothing is left to do; then the catalog is what a rebuild makes, and the hub ends."""
        self.settle()
        told = self.catalog()
        done = self.command("rebuild")
        if done.returncode:
            self.ledger.fail(f"rebuild: {done.stdout}{done.stderr}")
        made = self.catalog()
        for key in sorted(told.keys() | made.keys()):
            if self.differ(told.get(key), made.get(key)):
                self.ledger.fail(f"the catalog says of {key}: {told.get(key)}; made anew it says: {made.get(key)}")
        self.read_files()
        status = self.hub.stop()
        if status != 0:
            self.ledger.fail(f"the hub ended with {status}")
        self.read_log()
        self.db.close()
        done = self.command("verify", "--read-data", "100")
        if done.returncode:
            self.ledger.fail(f"verify: {done.stdout}{done.stderr}")
        for problem in problems(self.hub.data):
            self.ledger.fail(problem)

    def differ(self, told: Any, made: Any) -> bool:
        if self.ledger.rewrote and isinstance(told, dict) and isinstance(made, dict) and "used_storage" in told:
            # No event tells that a repo let go of a file which is in no history of its: it counts until the next one.
            return (
                told | {"used_storage": 0} != made | {"used_storage": 0} or told["used_storage"] < made["used_storage"]
            )
        return bool(told != made)

    def settle(self) -> None:
        """Sealing has what time others leave: it may take long, as long as something of it gets done."""
        asked = select(job.c.kind, job.c.key, job.c.state, job.c.error, job.c.attempts).where(job.c.kind != "upkeep")
        least, got_on_s = 1 << 60, time.monotonic()
        while True:
            with self.db.write_soft() as connection:
                self.make_due(connection)
                left = connection.execute(asked).all()
                behind = events.reached(connection, "catalog") < events.last_id(connection)
            if not left and not behind:
                return
            if len(left) < least:
                least, got_on_s = len(left), time.monotonic()
            if time.monotonic() - got_on_s > REST_S:
                self.ledger.fail(f"nothing gets done since {REST_S} s: {left[:10]}")
                return
            time.sleep(0.5)

    def catalog(self) -> dict[str, Any]:
        """What lists are made of, without numbers that a rebuild gives anew."""
        with self.db.read() as connection:
            tags = {row.id: (row.type, row.key) for row in connection.execute(text("SELECT * FROM tag"))}
            found: dict[str, Any] = {}
            for table in ("catalog", "standing"):
                for row in connection.execute(text(f"SELECT * FROM {table}")).mappings():
                    values = {k: v for k, v in row.items() if k not in ("tag_ids", "trending", "downloads")}
                    if table == "catalog":
                        values["tag_ids"] = sorted(tags.get(one, "?") for one in json.loads(row["tag_ids"]))
                    found[f"{table} of repo {row['repo_id']}"] = values
            for row in connection.execute(text("SELECT * FROM tag WHERE count > 0")):
                found[f"tag {row.type} {row.key!r}"] = row.count
            posts: dict[str, set[Any]] = {}
            for number in connection.execute(text("SELECT id FROM posting")).scalars():
                named = tags.get(number >> POSTING_SHIFT)
                posts.setdefault(f"postings of {named}", set()).add(number & ((1 << POSTING_SHIFT) - 1))
            found |= posts
            for row in connection.execute(text("SELECT rowid, name FROM catalog_search")):
                found[f"searched {row.rowid}"] = row.name
            return found

    def live(self) -> list[tuple[int, str, str]]:
        with self.db.read() as connection:
            rows = connection.execute(select(repo).where(repo.c.state == "live").order_by(repo.c.id)).all()
        return [(row.id, row.type, f"{row.namespace}/{row.name}") for row in rows]

    def read_files(self) -> None:
        """Every live repo: its commits are what was sent, and its files come back."""
        for repo_id, kind, name in self.live():
            folder = self.hub.data / "git" / place_of(repo_id)
            commits = self.history(folder, f"{kind} {name}")
            heads = self.git(folder, "for-each-ref", "--format=%(objectname)", "refs/heads")
            for head in sorted(set(heads.split())):
                self.compare(folder, kind, name, head, commits[head])
        self.acknowledged()

    def git(self, folder: Path, *words: str) -> str:
        done = subprocess.run(
            ["git", "--git-dir", str(folder), *words], capture_output=True, text=True, check=False, env=environment()
        )
        if done.returncode:
            raise Failed(f"git {words} in {folder}: {done.stderr}")
        return done.stdout

    def history(self, folder: Path, where: str) -> dict[str, Files]:
        """Commit -> its files, as git tells them; each compared with what its title says."""
        found: dict[str, Files] = {}
        said = self.git(
            folder, "log", "--all", "--reverse", "--topo-order", "--root", "--raw", "-r", "--no-renames", "--no-abbrev",
            "-m", "--first-parent", "--format=commit %H %P%x09%s",
        )  # fmt: skip
        for part in said.split("commit ")[1:] if said else []:
            first, *lines = part.splitlines()
            ids, _, title = first.partition("\t")
            commit, *parents = ids.split()
            before = found[parents[0]] if parents else {}
            files = dict(before)
            for line in filter(None, lines):
                facts, path = line.split("\t")
                blob = facts.split()[3]
                if blob.strip("0"):
                    files[path] = blob
                else:
                    files.pop(path, None)
            found[commit] = files
            if title in self.ledger.edits and self.differs(files, after(before, self.ledger.edits[title])):
                self.ledger.fail(f"{where}: commit {commit} ({title}) is not what was sent")
        return found

    def differs(self, files: Files, expected: Files) -> bool:
        if files == expected:
            return False
        # history without some large files may have been written anew
        gone = expected.items() - files.items()
        taken = self.ledger.rewrote and all(blob in self.ledger.pointers for _path, blob in gone)
        return not (taken and files.items() <= expected.items())

    def compare(self, folder: Path, kind: str, name: str, head: str, files: Files) -> None:
        for path, blob in files.items():
            if blob in self.ledger.pointers:
                expected = self.ledger.weights[self.ledger.pointers[blob]]
            elif blob in self.ledger.contents:
                expected = self.ledger.contents[blob]
            else:
                expected = self.git(folder, "cat-file", "blob", blob).encode()  # what a new repo begins with
            answer = self.hub.ask("GET", f"/{PREFIX[kind]}{name}/resolve/{head}/{path}")
            if answer.status != 200 or answer.body != expected:
                self.ledger.fail(f"{kind} {name}: {path} at {head} answers {answer.status}, {len(answer.body)} bytes")
            self.ledger.counts["files compared"] += 1

    def acknowledged(self) -> None:
        """No commit that was acknowledged is without its event, and each ref's events follow each other."""
        with self.db.read() as connection:
            told_of = events.event.c.kind.in_(("repo.created", "ref.moved"))
            asked = select(events.event.c.repo_id, events.event.c.data).where(told_of)
            rows = connection.execute(asked.order_by(events.event.c.id)).all()
            self.ledger.counts["events"] = connection.execute(
                select(func.count()).select_from(events.event)
            ).scalar_one()
        at: dict[tuple[int, str], str | None] = {}
        seen: set[str | None] = set()
        for repo_id, data in rows:
            told = json.loads(data)
            if "commit" in told:
                told = {"ref": "refs/heads/main", "old": None, "new": told["commit"]}
            ref = (repo_id, told["ref"])
            if ref in at and at[ref] != told["old"]:
                self.ledger.fail(f"repo {repo_id}: {told['ref']} moved from {told['old']}, and was at {at[ref]}")
            at[ref] = told["new"]
            seen.add(told["new"])
        copied = {repo_id for repo_id, data in rows if json.loads(data).get("cause") == "duplicate"}
        kept = [self.hub.data / "git" / place_of(repo_id) for repo_id, _, _ in self.live() if repo_id not in copied]
        for commit, title in self.ledger.acknowledged.items():
            # Of a repo that was given up at that very moment nothing has to tell.
            if commit not in seen and any(self.holds(folder, commit) for folder in kept):
                self.ledger.fail(f"commit {commit} ({title}) was acknowledged, and nothing tells of it")

    def holds(self, folder: Path, commit: str) -> bool:
        asked = ["git", "--git-dir", str(folder), "cat-file", "-e", commit]
        return subprocess.run(asked, capture_output=True, check=False, env=environment()).returncode == 0

    # --- telling ---

    def progress(self) -> None:
        spent_s = time.monotonic() - self.ledger.begun_s
        steps = sum(count for name, count in self.ledger.counts.items() if not name.startswith("warning"))
        print(f"{spent_s:6.0f} s: {steps} steps, {len(self.ledger.failures)} failures", flush=True)

    def summary(self) -> dict[str, object]:
        return {
            "lived_s": round(time.monotonic() - self.ledger.begun_s, 1),
            "counts": dict(sorted(self.ledger.counts.items())),
            "acknowledged": len(self.ledger.acknowledged),
            "failures": len(self.ledger.failures),
        }


@contextlib.contextmanager
def burning(count: int) -> Iterator[None]:
    """So many processes that do nothing but take time from the others."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seconds", type=float, default=float(os.environ.get("HEADWATER_CHURN_S", "300")))
    asked.add_argument("--seed", type=int, default=int(time.time()))
    asked.add_argument("--threads", type=int, default=6)
    asked.add_argument("--burners", type=int, default=0, help="processes that only take time from the others")
    asked.add_argument("--nice", type=int, default=0)
    asked.add_argument(
        "--data", type=Path, default=MEMORY if MEMORY.is_dir() else None, help="where its folder is made"
    )
    told = asked.parse_args()
    os.nice(told.nice)
    print(f"churn: seed {told.seed}, {told.seconds:.0f} s, {told.threads} threads", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="headwater-churn-", dir=told.data))
    churn = Churn(folder, told.seed, told.threads)
    try:
        with burning(told.burners):
            churn.prepare()
            churn.run(told.seconds)
        churn.rest()
    except BaseException as error:
        churn.ledger.fail(f"{type(error).__name__}: {error}")
        if not isinstance(error, Failed):
            raise
    finally:
        churn.hub.kill()
        if churn.ledger.failures:
            print("\n".join(churn.ledger.history))
            print("\n".join(churn.ledger.failures))
            print(f"FAILED with seed {told.seed}; the data folder is {folder}", flush=True)
        else:
            shutil.rmtree(folder)
        print("churn: " + json.dumps(churn.summary()), flush=True)
    return 1 if churn.ledger.failures else 0


if __name__ == "__main__":
    sys.exit(main())
