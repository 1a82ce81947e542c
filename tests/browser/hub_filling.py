"""Fills a running hub with small real-shaped repos over its own HTTP API, as a client would."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

SEED = {
    "users": [
        {"name": "ada", "fullname": "Ada Lovelace", "email": "ada@example.org", "password": "analytical engine 1843", "token": "hf_AdaAdaAdaAdaAdaAdaAdaAdaAdaAdaAda0", "token_role": "write"},
        {"name": "grace", "fullname": "Grace Hopper", "email": "grace@example.org", "password": "nanoseconds of wire 1906", "token": "hf_GraceGraceGraceGraceGraceGraceGra", "token_role": "write"},
    ],
    "orgs": [{"name": "river-lab", "fullname": "River Lab", "members": {"ada": "admin", "grace": "read"}, "default_visibility": "public"}, {"name": "quiet-lab", "fullname": "Quiet Lab", "members": {"ada": "admin"}, "default_visibility": "private"}],
}  # fmt: skip
CARD = """---
license: apache-2.0
library_name: sentence-transformers
pipeline_tag: sentence-similarity
language: en
tags:
- sentence-transformers
- feature-extraction
base_model: river-lab/delta
datasets:
- ada/rivers
---

# tiny-sentences

Maps sentences to a **64-dimensional** space. [The settings](config.json) are small; see the [onnx folder](onnx).

## Usage

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("ada/tiny-sentences")
embeddings = model.encode(["Water finds its way.", "Rivers begin somewhere."])
```

| Layer | Tensors | Parameters |
|---|---:|---:|
| embeddings | 2 | 66,048 |
| encoder | 24 | 147,840 |

> Input longer than 128 word pieces is truncated.

![A river](river.png)

- trained on `ada/rivers`
- evaluated on nothing yet
"""
HOSTILE_CARD = """---
license: "<script>alert('licence')</script>"
tags: ["<img src=x onerror=alert(1)>", "مرحبا"]
---
# <script>alert('card')</script>

<img src="https://elsewhere.example/pixel.png" onerror="alert(2)">
<a href="javascript:alert(3)">click</a> [link](javascript:alert(4))
<style>body { display: none }</style><form action="https://elsewhere.example"><input name="password"></form>

{{ 7 * 7 }} {% raw %}
"""
# 1 x 1 pixel
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@dataclass(frozen=True)
class Hub:
    url: str
    prefix: str = ""

    @property
    def base(self) -> str:
        return self.url + self.prefix


def safetensors_file() -> bytes:
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (1000, 64),
        "embeddings.position_embeddings.weight": (32, 64),
    }
    for layer in range(4):
        for part in ("query", "key", "value"):
            shapes[f"encoder.layer.{layer}.attention.self.{part}.weight"] = (64, 64)
            shapes[f"encoder.layer.{layer}.attention.self.{part}.bias"] = (64,)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, shape in shapes.items():
        count = 1
        for one in shape:
            count *= one
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, start + 4 * count]}
        start += 4 * count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(range(256)) * (start // 256) + bytes(start % 256)


def gguf_file() -> bytes:
    def text(words: str) -> bytes:
        return struct.pack("<Q", len(words)) + words.encode()

    pairs = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("general.name") + struct.pack("<I", 8) + text("Tiny Llama"),
        text("llama.context_length") + struct.pack("<II", 4, 2048),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 100) + b"".join(text(f"t{i}") for i in range(100)),
    ]
    tensors, data = [], b""
    for name, shape, kind, size in (
        ("token_embd.weight", (256, 100), 12, 256 * 100 // 256 * 144),
        ("blk.0.attn_q.weight", (256, 256), 14, 256 * 256 // 256 * 210),
        ("output_norm.weight", (256,), 0, 1024),
    ):
        dims = struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", one) for one in shape)
        tensors.append(text(name) + dims + struct.pack("<IQ", kind, len(data)))
        data += bytes(size) + bytes(-size % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + data


class Filler:
    """One user's hands: what he makes and commits."""

    def __init__(self, hub: Hub, token: str) -> None:
        self.http = httpx.Client(
            base_url=hub.base, headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False
        )

    def make(self, full: str, kind: str = "model", *, private: bool = False) -> None:
        namespace, _, name = full.partition("/")
        body = {"name": name, "organization": namespace, "type": kind, "private": private}
        self.http.post("/api/repos/create", json=body).raise_for_status()

    def commit(
        self,
        full: str,
        files: Mapping[str, bytes],
        title: str,
        kind: str = "model",
        large: Mapping[str, bytes] | None = None,
    ) -> None:
        lines: list[dict[str, object]] = [{"key": "header", "value": {"summary": title, "description": ""}}]
        for path, data in files.items():
            value = {"path": path, "encoding": "base64", "content": base64.b64encode(data).decode()}
            lines.append({"key": "file", "value": value})
        for path, data in (large or {}).items():
            oid = self._upload(full, kind, data)
            lines.append({"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": oid, "size": len(data)}})
        body = "\n".join(json.dumps(line) for line in lines)
        answer = self.http.post(
            f"/api/{kind}s/{full}/commit/main", content=body, headers={"Content-Type": "application/x-ndjson"}
        )
        assert answer.status_code == 200, answer.text

    def _upload(self, full: str, kind: str, data: bytes) -> str:
        oid = hashlib.sha256(data).hexdigest()
        prefix = "" if kind == "model" else f"{kind}s/"
        asked = {
            "operation": "upload",
            "transfers": ["basic"],
            "hash_algo": "sha256",
            "objects": [{"oid": oid, "size": len(data)}],
        }
        batch = self.http.post(f"/{prefix}{full}.git/info/lfs/objects/batch", json=asked).raise_for_status().json()
        upload = batch["objects"][0].get("actions", {}).get("upload")
        if upload:
            httpx.put(
                upload["href"], content=data, headers=upload.get("header", {}), timeout=60, trust_env=False
            ).raise_for_status()
        return oid


def fill(hub: Hub) -> None:
    ada, grace = (Filler(hub, str(user["token"])) for user in SEED["users"])
    with ada.http, grace.http:
        _fill(ada, grace)


def _fill(ada: Filler, grace: Filler) -> None:
    ada.make("ada/tiny-sentences")
    ada.commit("ada/tiny-sentences", {"README.md": CARD.encode(), "config.json": b'{\n  "hidden_size": 64\n}\n', "onnx/notes.txt": b"later\n"}, "Say what it is", large={"river.png": PNG})  # fmt: skip
    ada.commit("ada/tiny-sentences", {}, "Add weights", large={"model.safetensors": safetensors_file()})
    ada.http.post("/api/models/ada/tiny-sentences/tag/main", json={"tag": "v1.0"}).raise_for_status()
    ada.http.post("/api/models/ada/tiny-sentences/branch/try-onnx", json={}).raise_for_status()
    ada.make("river-lab/delta")
    card = b"---\nlicense: mit\nlibrary_name: gguf\npipeline_tag: text-generation\n---\n# delta\n\nQuantized.\n"
    ada.commit("river-lab/delta", {"README.md": card}, "Quantize", large={"delta.Q4_K_M.gguf": gguf_file()})
    ada.make("ada/secret-plans", private=True)
    ada.make("ada/rivers", "dataset")
    lines = b"".join(json.dumps({"id": i, "name": f"river {i}"}).encode() + b"\n" for i in range(40))
    card = (
        b"---\nlicense: cc-by-4.0\ntask_categories:\n- text-classification\nsize_categories:\n- n<1K\n---\n# rivers\n"
    )
    ada.commit("ada/rivers", {"README.md": card, "data/train.jsonl": lines}, "Add rivers", "dataset")
    grace.make("grace/hostile")
    names = {"README.md": HOSTILE_CARD.encode(), "<img src=x onerror=alert(5)>.txt": b"</code><script>alert(6)</script>\n", "شلال-الماء.json": b"{}\n", "x" * 200 + ".md": b"long\n"}  # fmt: skip
    grace.commit("grace/hostile", names, "<script>alert(7)</script> " + "very long title " * 30)
