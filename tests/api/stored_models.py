"""Tiny models in safetensors files, their fine-tunes, and a hub that seals what it holds when it is told to."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable

import numpy as np
from asgi_hub import Hub

from headwater.app import sealing_of
from headwater.ground.jobs import Runner
from headwater.lineage.following import SETTLE_MS, follow

Model = dict[str, np.ndarray]
WIDTH, WORDS = 128, 256


def base(seed: int, layers: int = 3) -> Model:
    rng = np.random.default_rng(seed)

    def weight(rows: int) -> np.ndarray:
        return (rng.standard_normal((rows, WIDTH)) * np.exp(rng.normal(-4, 0.4, (rows, 1)))).astype(np.float32)

    model: Model = {"model.embed_tokens.weight": weight(WORDS)}
    for layer in range(layers):
        for part in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj"):
            model[f"model.layers.{layer}.{part}.weight"] = weight(WIDTH)
    return model


def tuned(model: Model, seed: int, step: float = 2e-4, only: Callable[[str], bool] = lambda _name: True) -> Model:
    rng = np.random.default_rng(seed)
    return {
        name: array + rng.standard_normal(array.shape).astype(np.float32) * step if only(name) else array
        for name, array in model.items()
    }


def safetensors(model: Model) -> bytes:
    header: dict[str, object] = {}
    body = b""
    for name, array in model.items():
        whole = np.ascontiguousarray(array, np.float32).view(np.uint32).astype(np.uint64)
        data = ((whole + 0x7FFF + ((whole >> 16) & 1)) >> 16).astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": list(array.shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def seal(hub: Hub, work_seconds: float = SETTLE_MS / 1000) -> None:
    """All that waits, here and now; the hub's clock must be one that can be moved."""
    work = sealing_of(hub.rooms, lambda: True, lambda _done, _total: None).work
    runner = Runner(hub.rooms.db, hub.rooms.clock, work.handlers)
    hub.settle()
    for _ in range(4):  # a parent that is not sealed yet lets its children wait
        follow(hub.rooms.db, hub.rooms.clock)
        hub.rooms.clock.advance(work_seconds)  # type: ignore[attr-defined]
        runner.drain()
        work_seconds = 120.0
    hub.rooms.store.tensors.forget()
