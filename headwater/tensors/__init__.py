"""Tensor files read without their frameworks: names, types, shapes and places of tensors, from the header alone.

Pure: a reader is handed `read(start, stop)` and the file's size and never opens anything itself. It refuses to know
where the bytes come from, what a repo is, and the values of the weights. Every file is hostile until its header holds:
whatever does not is `Malformed`, found within bounded time and memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headwater.ground.errors import Invalid

Read = Callable[[int, int], bytes]
"""`read(start, stop)`: the bytes of the half-open range; fewer only where the file ends."""

HEADER_BYTES_MAX = 100_000_000  # the safetensors library's own bound; no GGUF header seen is a third of it
TENSORS_MAX = 100_000  # five times the largest single file seen; about 40 MB of Tensor objects


class Malformed(Invalid):
    """The file is not what its name says: the text names the field, the value and the rule."""

    meaning = "The tensor file's header breaks its format's rules."


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named, typed slice of a file.

    `shape` has the outermost dimension first in every format (GGUF stores the reverse); `start` and `stop` are byte
    offsets from the beginning of the file, half-open.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int
