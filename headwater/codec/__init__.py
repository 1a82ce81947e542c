"""The codec: the bytes of one tensor, and of its parents, into encoded blocks and back. Lossless for every bit pattern.

It has no disk, no database, no threads of its own, and no idea of files or repos. The parts: `form` (what is asked and
answered), `layout` (a tensor's bytes as planes of words), `predict` (the words a tensor probably has, out of its
parents'), `coders` (words, given the predicted ones, as streams of bytes), `tensor` (puts them together and chooses),
`kernels` (the loops, compiled) and `reference` (the same loops in plain numpy).
"""

from headwater.codec.coders import warm
from headwater.codec.encoder import encode
from headwater.codec.form import (
    KEY_BYTES,
    Encoded,
    Form,
    Hasher,
    Limits,
    Parent,
    Read,
    Undecodable,
    key,
    key_of,
)
from headwater.codec.tensor import BLOCK_BYTES_MAX, Decoder, parents_of

__all__ = [
    "BLOCK_BYTES_MAX",
    "KEY_BYTES",
    "Decoder",
    "Encoded",
    "Form",
    "Hasher",
    "Limits",
    "Parent",
    "Read",
    "Undecodable",
    "encode",
    "key",
    "key_of",
    "parents_of",
    "warm",
]
