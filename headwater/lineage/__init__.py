"""Lineage: who may have been made from whom, told from the weights themselves.

Nouns: sketch (a small sample of a tensor file), candidate (a parent that a file may be stored against), pair (which
tensor of the parent stands for which of the file). Invariants: whoever may read a file may read each of its
candidates; a sketch holds nothing that cannot be made again; a hostile file costs bounded time and memory. Refuses to
know: how bytes are kept or encoded, HTTP, and whether a guess is true: the store measures before it believes.
"""
