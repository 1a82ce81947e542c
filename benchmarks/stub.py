"""The peer of the small-files row: just enough of a hub for one upload and one download, kept in memory, on uvicorn.

    python -m benchmarks.stub PORT

No token is read, nothing is checked, nothing is kept: what a hub costs beyond this is what a hub does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from typing import Any

import uvicorn

COMMIT = "c" * 40
FILES: dict[str, tuple[str, bytes]] = {}  # by path: ETag and contents


async def app(scope: Any, receive: Any, send: Any) -> None:
    path, method = scope["path"], scope["method"]
    if "/resolve/" in path:
        name = path.split("/resolve/", 1)[1].split("/", 1)[1]
        etag, data = FILES[name]
        headers = [
            (b"x-repo-commit", COMMIT.encode()),
            (b"etag", f'"{etag}"'.encode()),
            (b"content-length", str(len(data)).encode()),
            (b"content-type", b"text/plain"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": data if method == "GET" else b""})
        return
    body = json.dumps(_told(path, await _whole(receive))).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _whole(receive: Any) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _told(path: str, body: bytes) -> Any:
    if "/preupload/" in path:
        files = json.loads(body)["files"]
        asked = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None} for one in files]
        return {"files": asked, "commitOid": COMMIT}
    if "/commit/" in path:
        for line in body.splitlines():
            operation = json.loads(line)
            if operation["key"] == "file":
                data = base64.b64decode(operation["value"]["content"])
                FILES[operation["value"]["path"]] = (hashlib.sha256(data).hexdigest()[:40], data)
        return {"success": True, "commitOid": COMMIT, "commitUrl": f"http://127.0.0.1/bench/small/commit/{COMMIT}"}
    if "/tree/" in path:
        return [{"type": "file", "path": name, "oid": etag, "size": len(data)} for name, (etag, data) in FILES.items()]
    siblings = [{"rfilename": name} for name in FILES]
    return {"id": "bench/small", "modelId": "bench/small", "sha": COMMIT, "siblings": siblings, "private": False}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), lifespan="off", log_level="critical")
