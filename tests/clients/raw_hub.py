"""The Hub's HTTP API spoken by hand: what a test needs to prepare a repository for curl and git, without any client.

Knows the wire and nothing else: it raises on an unexpected status and shows the answer.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, read whole; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class RawHub:
    """Speaks to the hub at `url` with `token` ("" for nobody)."""

    url: str
    token: str

    def send(
        self, method: str, path: str, body: bytes = b"", *, headers: dict[str, str] | None = None, wants: int = 200
    ) -> Answer:
        """Send one request, follow nothing, and return the answer; AssertionError unless its status is `wants`."""
        host = urlsplit(self.url).netloc
        connection = http.client.HTTPConnection(host, timeout=60)
        sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            connection.request(method, path, body=body or None, headers={**sent, **(headers or {})})
            got = connection.getresponse()
            answer = Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
        finally:
            connection.close()
        assert answer.status == wants, f"{method} {path}: {answer.status} {answer.headers} {answer.body[:2000]!r}"
        return answer

    def send_json(self, method: str, path: str, value: Any, wants: int = 200) -> Answer:
        """Send a JSON body."""
        return self.send(
            method, path, json.dumps(value).encode(), headers={"Content-Type": "application/json"}, wants=wants
        )

    def create_repo(self, repo: str, *, kind: str = "model", private: bool = False) -> None:
        """Create namespace/name."""
        namespace, name = repo.split("/")
        self.send_json(
            "POST", "/api/repos/create", {"name": name, "organization": namespace, "type": kind, "private": private}
        )

    def commit(
        self, repo: str, files: dict[str, bytes], *, query: str = "", rev: str = "main", kind: str = "models"
    ) -> Any:
        """Commit files inline (at most 10 MiB each); return the answer's JSON."""
        lines: list[Any] = [{"key": "header", "value": {"summary": "By hand", "description": ""}}]
        for path, data in files.items():
            value = {"path": path, "content": base64.b64encode(data).decode(), "encoding": "base64"}
            lines.append({"key": "file", "value": value})
        return self._send_commit(repo, lines, rev=rev, kind=kind, query=query)

    def commit_lfs(self, repo: str, path: str, data: bytes) -> None:
        """Upload one file by LFS (batch, PUT, verify) and commit it to main."""
        oid, size = hashlib.sha256(data).hexdigest(), len(data)
        media = {"Content-Type": "application/vnd.git-lfs+json", "Accept": "application/vnd.git-lfs+json"}
        asked = {
            "operation": "upload",
            "transfers": ["basic"],
            "hash_algo": "sha256",
            "objects": [{"oid": oid, "size": size}],
        }
        batch = self.send("POST", f"/{repo}.git/info/lfs/objects/batch", json.dumps(asked).encode(), headers=media).json
        actions = batch["objects"][0].get("actions", {})
        if "upload" in actions:
            target = urlsplit(actions["upload"]["href"])
            nobody = RawHub(self.url, "")
            nobody.send("PUT", f"{target.path}?{target.query}", data, headers=actions["upload"].get("header", {}))
        if "verify" in actions:
            target = urlsplit(actions["verify"]["href"])
            self.send_json("POST", f"{target.path}?{target.query}", {"oid": oid, "size": size})
        header = {"key": "header", "value": {"summary": "By hand, LFS", "description": ""}}
        file = {"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": oid, "size": size}}
        self._send_commit(repo, [header, file])

    def tree(self, repo: str, rev: str = "main") -> dict[str, Any]:
        """Return path -> entry of the whole tree (one page is enough for these tests)."""
        entries = self.send("GET", f"/api/models/{repo}/tree/{quote(rev, safe='')}?recursive=True").json
        return {entry["path"]: entry for entry in entries}

    def _send_commit(
        self, repo: str, lines: list[Any], *, rev: str = "main", kind: str = "models", query: str = ""
    ) -> Any:
        body = "".join(json.dumps(line) + "\n" for line in lines).encode()
        path = f"/api/{kind}/{repo}/commit/{quote(rev, safe='')}{query}"
        return self.send("POST", path, body, headers={"Content-Type": "application/x-ndjson"}).json
