"""curl against the resolve route: whole files, ranges, resume, HEAD, redirects, odd names and odd revisions."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from client_running import ALICE, BOB, Clients, Hub, program
from raw_hub import RawHub

REPO = "alice/curl"
BIG = os.urandom(12_000_000)
SMALL = b'{"small": true}\n' * 20
ODD = "dir with space/ünï 模型 #1 100%? +&=.txt"


@pytest.fixture(scope="module")
def repo(hub: Hub) -> Iterator[str]:
    """A private repository with a 12 MB LFS file, a small file, a file of an awkward name, a tag-free branch and a PR."""
    raw = RawHub(hub.url, ALICE)
    raw.create_repo(REPO, private=True)
    raw.commit(REPO, {"config.json": SMALL, ODD: b"odd\n", "empty.txt": b""})
    raw.commit_lfs(REPO, "model.safetensors.bin", BIG)
    raw.send_json("POST", f"/api/models/{REPO}/branch/feature%2Fone", {})
    raw.commit(REPO, {"only-here.txt": b"feature\n"}, rev="feature/one")
    raw.commit(REPO, {"pr.txt": b"proposed\n"}, query="?create_pr=1")
    yield REPO
    raw.send_json("DELETE", "/api/repos/delete", {"organization": "alice", "name": "curl", "type": "model"})


@dataclass(frozen=True)
class Fetched:
    """What curl printed and wrote: the last answer's status and headers, and the body's file."""

    code: int
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Curl:
    """Runs curl in a folder of its own, following redirects as a person's `curl -L` does."""

    clients: Clients

    def __call__(self, path: str, *flags: str, token: str = ALICE, out: str = "body") -> Fetched:
        folder = self.clients.folder / "curl"
        env = self.clients.environment("curl", token="")
        folder.mkdir(exist_ok=True)
        login = ["-H", f"Authorization: Bearer {token}"] if token else []
        base = [
            program("curl", "curl"),
            "-sS",
            "-L",
            "--max-time",
            "60",
            "-D",
            "headers",
            "-o",
            out,
            "-w",
            "%{http_code}",
        ]
        done = subprocess.run(
            [*base, *login, *flags, f"{self.clients.hub.url}{path}"],
            cwd=folder, env=env, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        last = (folder / "headers").read_text("latin-1").strip().split("\r\n\r\n")[-1]
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in last.splitlines()[1:])}
        body = folder / out
        return Fetched(done.returncode, int(done.stdout or 0), headers, body.read_bytes() if body.exists() else b"")


@pytest.fixture
def curl(clients: Clients) -> Curl:
    """A person with curl."""
    return Curl(clients)


BIG_PATH = f"/{REPO}/resolve/main/model.safetensors.bin"


@pytest.mark.usefixtures("repo")
def test_a_large_file_comes_whole(curl: Curl) -> None:
    got = curl(BIG_PATH)
    assert got.status == 200 and got.body == BIG
    assert got.headers["accept-ranges"] == "bytes" and int(got.headers["content-length"]) == len(BIG)


@pytest.mark.usefixtures("repo")
@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("0-0", 0, 1),
        ("0-99", 0, 100),
        ("8000000-8000999", 8_000_000, 8_001_000),
        ("11999990-", 11_999_990, 12_000_000),
        ("-7", 11_999_993, 12_000_000),
        ("11999990-99999999", 11_999_990, 12_000_000),
    ],
)
def test_a_range_is_answered_with_exactly_its_bytes(curl: Curl, asked: str, start: int, stop: int) -> None:
    got = curl(BIG_PATH, "-r", asked)
    assert got.status == 206 and got.body == BIG[start:stop]
    assert got.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(BIG)}"


@pytest.mark.usefixtures("repo")
def test_a_range_past_the_end_is_refused_with_the_size(curl: Curl) -> None:
    got = curl(BIG_PATH, "-r", "12000000-12000001")
    assert got.status == 416 and got.headers["content-range"] == "bytes */12000000"


@pytest.mark.usefixtures("repo")
def test_a_range_of_a_small_file_works_too(curl: Curl) -> None:
    got = curl(f"/{REPO}/resolve/main/config.json", "-r", "5-24")
    assert got.status == 206 and got.body == SMALL[5:25]


@pytest.mark.usefixtures("repo")
def test_a_broken_download_goes_on_where_it_stopped(curl: Curl) -> None:
    part = curl.clients.folder / "curl"
    part.mkdir()
    (part / "part.bin").write_bytes(BIG[:5_000_000])
    before = curl.clients.hub.meter.state()["down_bytes"]
    got = curl(BIG_PATH, "-C", "-", out="part.bin")
    assert got.status == 206 and got.body == BIG
    assert curl.clients.hub.meter.state()["down_bytes"] - before < 7_100_000


@pytest.mark.usefixtures("repo")
def test_head_tells_what_clients_need_to_know(curl: Curl) -> None:
    got = curl(BIG_PATH, "-I")
    sha = hashlib.sha256(BIG).hexdigest()
    etag = got.headers.get("x-linked-etag", got.headers["etag"])
    assert got.status == 200 and etag.strip('W/"') == sha, got.headers
    assert len(got.headers["x-repo-commit"]) == 40 and got.headers["x-request-id"], got.headers
    assert int(got.headers.get("x-linked-size", got.headers["content-length"])) == len(BIG), got.headers
    small = curl(f"/{REPO}/resolve/main/config.json", "-I")
    blob = hashlib.sha1(b"blob %d\0" % len(SMALL) + SMALL).hexdigest()
    assert small.headers["etag"].strip('W/"') == blob and int(small.headers["content-length"]) == len(SMALL)


@pytest.mark.usefixtures("repo")
def test_a_known_etag_is_answered_with_304(curl: Curl) -> None:
    etag = curl(f"/{REPO}/resolve/main/config.json").headers["etag"]
    again = curl(f"/{REPO}/resolve/main/config.json", "-H", f"If-None-Match: {etag}", out="again")
    assert again.status == 304 and again.body == b""


@pytest.mark.usefixtures("repo")
def test_a_name_with_spaces_and_unicode_is_found(curl: Curl) -> None:
    got = curl(f"/{REPO}/resolve/main/{quote(ODD)}")
    assert got.status == 200 and got.body == b"odd\n"
    assert curl(f"/{REPO}/resolve/main/empty.txt").body == b""


@pytest.mark.usefixtures("repo")
def test_revisions_arrive_percent_encoded(curl: Curl) -> None:
    assert curl(f"/{REPO}/resolve/refs%2Fpr%2F1/pr.txt").body == b"proposed\n"
    assert curl(f"/{REPO}/resolve/feature%2Fone/only-here.txt").body == b"feature\n"
    commit = curl(f"/{REPO}/resolve/main/config.json", "-I").headers["x-repo-commit"]
    assert curl(f"/{REPO}/resolve/{commit}/config.json").body == SMALL


@pytest.mark.usefixtures("repo")
def test_what_is_not_there_says_so_in_headers_and_body(curl: Curl) -> None:
    entry = curl(f"/{REPO}/resolve/main/missing.txt")
    assert (entry.status, entry.headers["x-error-code"]) == (404, "EntryNotFound") and len(
        entry.headers["x-repo-commit"]
    ) == 40
    assert b'"error"' in entry.body and entry.headers["x-error-message"]
    revision = curl(f"/{REPO}/resolve/missing/config.json")
    assert (revision.status, revision.headers["x-error-code"]) == (404, "RevisionNotFound")
    repository = curl("/alice/missing/resolve/main/config.json")
    assert (repository.status, repository.headers["x-error-code"]) == (404, "RepoNotFound")


@pytest.mark.usefixtures("repo")
def test_a_private_file_is_for_its_owner_only(curl: Curl) -> None:
    assert curl(BIG_PATH, "-I", token=BOB).status == 404
    assert curl(BIG_PATH, "-I", token="").status == 401
    wrong = curl(BIG_PATH, "-I", token="hf_wrongWrongWrongWrong")
    assert wrong.status == 401, wrong


def test_telemetry_goes_nowhere_and_does_not_fail(curl: Curl) -> None:
    assert curl("/api/telemetry/examples/run", "-I", token="").status == 200
    assert curl("/api/agent-harnesses", token="").status in {200, 404}
