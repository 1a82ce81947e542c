"""Bundles: repos with their history and all their files in a folder that can be carried to another hub.

Nouns: Manifest, Part, Listing (what lies at a revision, as plain lines). Invariants: a folder without its manifest is
no bundle, and the manifest is written last; an import checks every byte of the bundle before anything of it can be
seen; refs move by `Moves.apply` alone, in the process that owns the data folder. `docs/spec/bundle.md` has the format,
`tools/verify_bundle.py` reads it with nothing but Python.

Refuses to know: HTTP, who carries the folder, how bytes are stored.
"""

from __future__ import annotations
