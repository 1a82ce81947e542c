"""The nouns of the room as frozen values: Repo, Entry, Commit, refs, and the operations a commit is made of.

Knows nothing of git's or the database's formats: everything in the room speaks in these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headwater.ground.names import CommitId, FilePath, RefName, RepoId, Sha256

EntryKind = Literal["file", "directory", "symlink", "submodule"]


@dataclass(frozen=True, slots=True)
class Repo:
    """One row of `repo`; to have one means that `Registry.open` let this actor in (or that no actor was asked)."""

    id: int
    rid: RepoId
    namespace_id: int | None
    private: bool
    gated: str | None
    disabled: bool
    sdk: str | None
    creator_id: int | None
    created_ms: int
    updated_ms: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A path at a revision. `size` in bytes is the real one; `pointer_size` is the pointer's when `sha256` is set.

    `oid` is git's SHA-1 of the blob or tree (of the commit, for a submodule). `sha256` set: an LFS or Xet file, whose
    blob in the tree is a pointer.
    """

    path: FilePath
    kind: EntryKind
    oid: str
    size: int
    sha256: Sha256 | None = None
    pointer_size: int = 0


@dataclass(frozen=True, slots=True)
class Commit:
    """`title` is the first line of what the author wrote, `message` the rest without the empty line between."""

    id: CommitId
    title: str
    message: str
    at_ms: int
    author_name: str
    author_email: str
    parents: tuple[CommitId, ...]


@dataclass(frozen=True, slots=True)
class RefInfo:
    """`name` is what people call it (`main`, `v1`, `3` of `refs/pr/3`); `target` the commit, also of annotated tags."""

    name: str
    ref: RefName
    target: CommitId


@dataclass(frozen=True, slots=True)
class RefsList:
    branches: tuple[RefInfo, ...]
    converts: tuple[RefInfo, ...]
    tags: tuple[RefInfo, ...]
    pulls: tuple[RefInfo, ...]


@dataclass(frozen=True, slots=True)
class RefMove:
    """A ref goes from `old` to `new` (40 hex; of a tag object for an annotated tag). None: it is created, deleted."""

    ref: RefName
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class AddInline:
    path: FilePath
    data: bytes


@dataclass(frozen=True, slots=True)
class AddPointer:
    """A file whose bytes are a blob that the repo holds. `size` None (clients' copies leave it out): the blob's."""

    path: FilePath
    sha256: Sha256
    size: int | None


@dataclass(frozen=True, slots=True)
class DeleteFile:
    path: FilePath


@dataclass(frozen=True, slots=True)
class DeleteFolder:
    path: FilePath


@dataclass(frozen=True, slots=True)
class Copy:
    """`source_revision` None: the revision that is committed to, before this commit."""

    source_path: FilePath
    source_revision: str | None
    path: FilePath


Operation = AddInline | AddPointer | DeleteFile | DeleteFolder | Copy


@dataclass(frozen=True, slots=True)
class Message:
    summary: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class CommitResult:
    """`changed` False: the operations left the tree as it was, and `commit` is the head that was there before."""

    commit: CommitId
    ref: RefName
    pull: int | None
    changed: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that a client is about to upload; `sample` is its first bytes (512 at most)."""

    path: FilePath
    size: int
    sample: bytes


@dataclass(frozen=True, slots=True)
class UploadMode:
    """How a candidate is to be sent. `oid` of the file now at that path: SHA-256 if it is LFS, else git's SHA-1."""

    path: FilePath
    mode: Literal["lfs", "regular"]
    ignore: bool
    oid: str | None
