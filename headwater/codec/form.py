"""What the codec is asked and what it answers: forms, parents, limits, results, keys. It knows no coder and no store.

Everything here is cheap to import: no numpy, no numba.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from blake3 import blake3

from headwater.ground.errors import Corrupt

Read = Callable[[int, int], bytes]
"""`read(start, stop)` gives a tensor's raw bytes [start, stop); called in any order, from one thread."""

KEY_BYTES = 32
DIMENSIONS_MAX = 64  # numpy's own limit; file formats have at most 8
NAME_BYTES_MAX = 64  # of a dtype's name; the longest known is 11

_KEY_TAG = b"headwater tensor 1\n"


class Undecodable(Corrupt):
    """A head or block that is damaged, hostile, of a later version, or does not belong to this form or these parents.

    Its code stays `Corrupt`: for whoever asked for the bytes it is the same fault, stored bytes that are not right.
    """


@dataclass(frozen=True, slots=True)
class Form:
    """What a tensor is: safetensors' or GGML's name of the dtype ("BYTES" for what has no type) and its shape.

    The shape is in the order of the safetensors format: the last dimension is contiguous. () is one element.
    """

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Parent:
    """A stored tensor that may serve to predict another: its form, the size of its raw bytes, and how to read them."""

    form: Form
    size: int
    read: Read


@dataclass(frozen=True, slots=True)
class Limits:
    """The budget for one tensor. Where it is exceeded a cheaper choice is made; that is never an error.

    `depth` is how many levels of parents the result may still stand on: 0 means alone.
    """

    cpu_s: float = 60.0
    memory_bytes: int = 64 << 20
    depth: int = 3


@dataclass(frozen=True, slots=True)
class Encoded:
    """A tensor as it is stored: one head, and blocks that decode each on its own.

    `blocks` is iterated once, in order; they are encoded meanwhile, so that never more than one is in memory. Until
    then `stored_bytes` (head and blocks) is an estimate from a sample, but for tensors of one block.

    `parents` are indices into the parents that `encode` was given: those that are needed. `Decoder` must be given
    exactly these, in this order. `chosen` says how for people ("delta", "lowrank+delta"), `alone_bytes` what the same
    tensor would take without parents, by the sample.
    """

    head: bytes
    blocks: Iterable[bytes]
    parents: tuple[int, ...]
    chosen: str
    stored_bytes: int
    alone_bytes: int


def key(form: Form, digest: bytes) -> bytes:
    """The content address of a tensor, 32 bytes: BLAKE3 of a tag, the form, and the BLAKE3 of its raw bytes.

    The raw bytes are hashed by themselves first, so that one pass over a file serves any form.
    """
    assert len(digest) == KEY_BYTES, len(digest)
    text = f"{form.dtype}\n{','.join(map(str, form.shape))}\n"
    return blake3(_KEY_TAG + text.encode() + digest).digest()


class Hasher:
    """Computes a tensor's key piece by piece: `update` with raw bytes in order, then `key`."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._hash = blake3()

    def update(self, data: bytes | memoryview) -> None:
        self._hash.update(data)

    def key(self) -> bytes:
        return key(self._form, self._hash.digest())


def key_of(form: Form, pieces: Sequence[bytes]) -> bytes:
    """The key of a tensor that is in memory, in pieces."""
    hasher = Hasher(form)
    for piece in pieces:
        hasher.update(piece)
    return hasher.key()
