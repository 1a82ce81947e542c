"""Calls to the hub's API, as a client makes them: repos, LFS uploads, commits. curl moves the large bodies."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.figures import Skipped
from benchmarks.processes import TOKEN, USER, Server

TIMEOUT_S = 600
LFS = "application/vnd.git-lfs+json"


def call(server: Server, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
    """The answer's JSON; raises with the hub's words where it refuses."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_S)
    try:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:500]!r}")
        return json.loads(data) if data else None
    finally:
        connection.close()


def create_repo(server: Server, name: str, *, private: bool = False) -> str:
    """Its id."""
    body = json.dumps({"name": name, "type": "model", "private": private}).encode()
    call(server, "POST", "/api/repos/create", body)
    return f"{USER}/{name}"


def commit(server: Server, repo: str, operations: list[dict[str, Any]], title: str = "bench") -> None:
    lines = [{"key": "header", "value": {"summary": title}}, *operations]
    body = b"\n".join(json.dumps(line).encode() for line in lines)
    call(server, "POST", f"/api/models/{repo}/commit/main", body, "application/x-ndjson")


def inline(path: str, data: bytes) -> dict[str, Any]:
    content = base64.b64encode(data).decode()
    return {"key": "file", "value": {"path": path, "content": content, "encoding": "base64"}}


def lfs_file(path: str, sha256: str, size: int) -> dict[str, Any]:
    return {"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": sha256, "size": size}}


def lfs_address(server: Server, repo: str, sha256: str, size: int) -> str:
    """Where to PUT a file, by the LFS batch API."""
    asked = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": sha256, "size": size}]}
    answer = call(server, "POST", f"/{repo}.git/info/lfs/objects/batch", json.dumps(asked).encode(), LFS)
    return str(answer["objects"][0]["actions"]["upload"]["href"])


def put_lfs(server: Server, repo: str, file: Path, sha256: str) -> None:
    """Uploads the file; it is in no commit yet."""
    upload(lfs_address(server, repo, sha256, file.stat().st_size), file)


def upload(url: str, file: Path) -> None:
    _curl("-T", str(file), "-H", "Expect:", url)


def download(url: str) -> int:
    """Takes the whole body and drops it; its size in bytes."""
    return int(_curl("-H", f"Authorization: Bearer {TOKEN}", "-o", "/dev/null", "-w", "%{size_download}", url))


def _curl(*words: str) -> str:
    found = shutil.which("curl")
    if found is None:
        raise Skipped("curl is not installed")
    command = [found, "-sS", "--fail-with-body", "--noproxy", "*", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S * 5, check=False)
    if done.returncode:
        raise RuntimeError(f"curl {urlsplit(words[-1]).path}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.stdout
