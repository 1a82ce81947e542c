"""A file to its sketch: which parts of it are tensors, and in which order llama.cpp left their rows. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.lineage import sketch as sketching
from headwater.lineage.sketch import AS_THEY_ARE, Heads, Sketch
from headwater.tensors import Malformed, Read, Tensor, gguf, segments
from headwater.tensors.segments import Sibling

# Architectures whose query and key rows llama.cpp's converter reorders (`permute` in `convert_hf_to_gguf.py`).
_REORDERED = frozenset("arcee baichuan deci granite internlm2 llama minicpm smollm3 xverse".split())


def sketch_of(read: Read, name: str, size: int, siblings: Sequence[Sibling] = ()) -> Sketch | None:
    """The sketch of a file of any format that is known; None if it has no tensors, or breaks its format's rules."""
    proposal = segments.examine(name, size, read, siblings)
    tensors = [
        Tensor(one.name, one.dtype, one.shape, one.start, one.stop) for one in proposal.segments if one.kind == "tensor"
    ]
    if not tensors:
        return None
    heads = _heads(read, size) if proposal.format == "gguf" else AS_THEY_ARE
    return sketching.make(read, tensors, heads)


def _heads(read: Read, size: int) -> Heads:
    try:
        header = gguf.read_header(read, size)
    except Malformed:  # it was read a moment ago; a file that changes meanwhile is damaged, which is found elsewhere
        return AS_THEY_ARE
    if header.architecture not in _REORDERED:
        return AS_THEY_ARE
    query = header.metadata.get(f"{header.architecture}.attention.head_count")
    key = header.metadata.get(f"{header.architecture}.attention.head_count_kv", query)
    heads_max = 1 << 16
    if type(query) is not int or type(key) is not int or not (0 < query < heads_max and 0 < key < heads_max):
        return AS_THEY_ARE
    return Heads(query, key)
