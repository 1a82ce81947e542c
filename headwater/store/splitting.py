"""Splitting: where the tensors of a file lie, as far as its format tells. What a parser proposes is never trusted.

A format that is not known, or a file that breaks its rules, has no tensors: it is kept by chunks. Whether the parts
make up the file is proven by reading it back (`seal.py`), so a wrong proposal costs space and never bytes.
"""

from __future__ import annotations

from collections.abc import Callable

from headwater.tensors import Tensor, segments

Named = Tensor
"""A tensor's name, dtype, shape, and where its bytes lie in the file."""


def split(name: str, size: int, read: Callable[[int, int], bytes]) -> tuple[Named, ...]:
    """The tensors of a file of `size` bytes. `name` is its file name; `read(start, stop)` gives its bytes."""
    return tuple(
        Tensor(one.name, one.dtype, one.shape, one.start, one.stop)
        for one in segments.propose(name, size, read)
        if one.kind == "tensor"
    )
