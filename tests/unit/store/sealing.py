"""Files of tensors for the tests of sealing, and the steps that most of them are made of."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from store_cas import Cas
from xet_building import sha256_of

from headwater.ground.names import Sha256
from headwater.store import tables
from headwater.store.seal import Bounds, Relative, Report, Sealer


def safetensors(tensors: Mapping[str, bytes], dtype: str = "U8") -> bytes:
    header: dict[str, Any] = {}
    at = 0
    for name, data in tensors.items():
        header[name] = {"dtype": dtype, "shape": [len(data)], "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(tensors.values())


def weights(seed: int, size: int = 200_000) -> bytes:
    """Bytes that shrink by about half."""
    chance = random.Random(seed)
    return bytes(chance.choices(range(16), k=size))


def tuned(data: bytes, seed: int, share: float = 0.01) -> bytes:
    """The same with a few bytes changed."""
    chance = random.Random(seed)
    changed = bytearray(data)
    for _ in range(int(len(data) * share)):
        changed[chance.randrange(len(data))] ^= 1
    return bytes(changed)


def seal(cas: Cas, sha256: Sha256, *relatives: Relative, name: str = "model.safetensors", **bounds: Any) -> Report:
    return Sealer(cas.store, Bounds(**bounds)).seal(sha256, name, relatives)


def relative(data: bytes, **more: Any) -> Relative:
    return Relative(sha256_of(data), "its base", "model.safetensors", **more)


def sealed(cas: Cas, data: bytes, *relatives: Relative, **more: Any) -> Sha256:
    """A file, stored and sealed."""
    blob = cas.put(data)
    report = seal(cas, blob.sha256, *relatives, **more)
    assert report.sealed, report
    return blob.sha256


def drop_raw(cas: Cas, sha256: Sha256) -> None:
    """Only the sealed copy is left."""
    cas.change(sha256, raw="gone")
    cas.path(sha256).unlink(missing_ok=True)


def only_sealed(cas: Cas, data: bytes, *relatives: Relative, **more: Any) -> Sha256:
    sha256 = sealed(cas, data, *relatives, **more)
    drop_raw(cas, sha256)
    return sha256


def count(cas: Cas, table: Any) -> int:
    with cas.db.read() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def tensor_rows(cas: Cas) -> list[Any]:
    with cas.db.read() as connection:
        return list(connection.execute(select(tables.tensor).order_by(tables.tensor.c.id)))
