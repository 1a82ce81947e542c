"""LFS pointer text: what a git tree holds in place of a large file. Format: git-lfs docs/spec.md, "The Pointer".

Strict when reading: what is not exactly a pointer is an ordinary small file, and is served as one. Knows no store: that
a pointer's blob exists, and who may read it, is asked of `holds`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from headwater.ground.names import Sha256

POINTER_BYTES_MAX = 1024  # the specification's bound; git-lfs does not look into larger files
SIZE_MAX = (1 << 63) - 1  # git-lfs reads the size into a signed 64-bit number

# version first, then keys in alphabetical order; extensions are allowed by the specification and kept out of our way.
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n"
    rb"(?:ext-\d-[a-z0-9.-]+ sha256:[0-9a-f]{64}\n){0,8}"
    rb"oid sha256:(?P<sha256>[0-9a-f]{64})\n"
    rb"size (?P<size>0|[1-9][0-9]{0,18})\n?\Z"
)


@dataclass(frozen=True, slots=True)
class Pointer:
    sha256: Sha256
    size: int


def text(sha256: Sha256, size: int) -> bytes:
    """The canonical pointer to a blob of `size` bytes; equal blobs have equal pointers."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def parse(data: bytes) -> Pointer | None:
    """None: not a pointer, hence a file of its own."""
    found = _POINTER.match(data) if len(data) <= POINTER_BYTES_MAX else None
    if found is None or int(found["size"]) > SIZE_MAX:
        return None
    return Pointer(Sha256(found["sha256"].decode()), int(found["size"]))
