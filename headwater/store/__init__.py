"""The store: bytes by SHA-256, given back exactly. What a client sent is what it gets, or an error, never else.

Nouns: Blob, Recipe, object, xorb. Invariants: a blob exists only after its bytes were hashed; an object is written once
and never changed; nothing is visible before it is on the disk. Refuses to know: repos, actors, HTTP.
"""

from headwater.store.blobs import Blob, BlobSink, Store
from headwater.store.hashes import XetHash, from_text
from headwater.store.objects import FileRun, Unreadable, meaning, unreadable
from headwater.store.turns import Turn
from headwater.store.uploads import PartSink, Uploads
from headwater.store.xets import Layout, Part, Source, Xets, XorbSink

__all__ = [
    "Blob", "BlobSink", "FileRun", "Layout", "Part", "PartSink", "Source", "Store", "Turn", "Unreadable", "Uploads",
    "XetHash", "Xets", "XorbSink", "from_text", "meaning", "unreadable",
]  # fmt: skip
