"""The manifest of a bundle: what is in it, where, and how all of it hashes. Format: `docs/spec/bundle.md`.

Read strictly: there is exactly one text for each manifest, so that whoever signed its hash signed everything. Refuses
to know the disk, git and whether what is named is there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from headwater.ground import names
from headwater.ground.errors import DigestMismatch, HeadwaterError, Invalid, TooMuch
from headwater.ground.names import RepoId, RepoType, Sha256

FORMAT = 1
NAME = "manifest.json"
MANIFEST_BYTES_MAX = 64 << 20  # half a million files; it is held in memory as a whole
PARTS_MAX = 99_999  # five digits, so that names sort as numbers do
PART_BYTES_MIN = 4096  # smaller parts are slower than what they are carried on
REPOS_MAX = 1000  # of one bundle: they land in one job of the hub
REFS_MAX = 20_000  # of one repo, as `repos.git` has it

_HEX64 = r"\A[0-9a-f]{64}\Z"
Hash: TypeAlias = Annotated[str, Meta(pattern=_HEX64)]
GitId: TypeAlias = Annotated[str, Meta(pattern=r"\A[0-9a-f]{40}\Z")]
Size: TypeAlias = Annotated[int, Meta(ge=0, le=1 << 53)]  # what every JSON reader holds exactly: eight petabytes
Text: TypeAlias = Annotated[str, Meta(max_length=512)]

_REF = re.compile(r"refs/(?:(?:heads|tags|convert)/(?P<name>.+)|pr/[1-9][0-9]{0,8})\Z", re.DOTALL)


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The hub that it comes from: `id` stays the same for one data folder, `name` is its address."""

    id: Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    name: Text


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: Annotated[int, Meta(ge=1, le=PARTS_MAX)]
    sha256: Hash
    size: Size


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run of the parts' bytes: from byte `offset` of part `part` on; it may go on in the next parts."""

    sha256: Hash
    size: Size
    part: Annotated[int, Meta(ge=1, le=PARTS_MAX + 1)]
    offset: Size


class Ref(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`target` is a tag object's for an annotated tag; `listing` names the file with the lines of `carry.listing`."""

    name: Text
    target: GitId
    commit: GitId
    listing: Hash


class Carried(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A repo. `pack` is the file with its git objects, `large` are the files that its history names as pointers.

    `snapshot_of`: its one commit has the files of that commit, and no history.
    """

    type: RepoType
    name: Text
    private: bool
    gated: Literal["auto", "manual"] | None
    sdk: Literal["gradio", "docker", "static", "streamlit"] | None
    licence: Text | None
    snapshot_of: GitId | None
    pack: Hash
    refs: Annotated[list[Ref], Meta(min_length=1, max_length=REFS_MAX)]
    large: list[Hash]

    @property
    def rid(self) -> RepoId:
        return names.repo_id(self.type, self.name)

    @property
    def shown(self) -> str:
        return f"{self.type} {self.name}"


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sequence` grows with every change of the source hub; `root` is the SHA-256 of the text with an empty `root`."""

    format: int
    id: Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    made: Text
    source: Source
    sequence: Size
    part_size: Annotated[int, Meta(ge=PART_BYTES_MIN, le=1 << 53)]
    parts: Annotated[list[Part], Meta(min_length=1, max_length=PARTS_MAX)]
    files: list[File]
    repos: Annotated[list[Carried], Meta(min_length=1, max_length=REPOS_MAX)]
    root: str = ""

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)


def part_name(number: int) -> str:
    return f"{number:05d}"


def canonical(value: Any) -> bytes:
    """JSON in the one form that bundles use: sorted keys, no blanks, UTF-8, a newline at the end of the text."""
    try:
        return (json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        raise Invalid("a bundle's names must be UTF-8") from None


def encode(manifest: Manifest) -> bytes:
    """The text, with its own hash in it. TooMuch if no reader would take it."""
    plain = {**msgspec.to_builtins(manifest), "root": ""}
    text = canonical({**plain, "root": hashlib.sha256(canonical(plain)).hexdigest()})
    if len(text) > MANIFEST_BYTES_MAX:
        raise TooMuch(
            f"The bundle's manifest would have more than {MANIFEST_BYTES_MAX} bytes; export fewer repos at once"
        )
    return text


def decode(text: bytes) -> Manifest:
    """The manifest, if every detail of it is in order. Invalid says what is not; DigestMismatch: it was changed."""
    try:
        kind = msgspec.json.decode(text, type=_Kind)
        if kind.format != FORMAT:
            raise Invalid(
                f"{NAME}: format {kind.format} is not one that this version reads ({FORMAT}); update Headwater"
            )
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"{NAME}: {error}") from None
    plain = {**msgspec.to_builtins(manifest), "root": ""}
    got = hashlib.sha256(canonical(plain)).hexdigest()
    if got != manifest.root:
        raise DigestMismatch(f"{NAME}: its own hash (root)", manifest.root[:80], got)
    if canonical({**plain, "root": got}) != text:
        raise Invalid(f"{NAME}: is not in its canonical form (sorted keys, no blanks, each key once)")
    for wrong in _wrong(manifest):
        raise Invalid(f"{NAME}: {wrong}")
    return manifest


class _Kind(msgspec.Struct):
    format: int


def _wrong(manifest: Manifest) -> Iterator[str]:
    """What is out of order in a manifest whose text is."""
    yield from _wrong_parts(manifest)
    known = {file.sha256 for file in manifest.files}
    if len(known) < len(manifest.files):
        yield "a file is named twice"
    seen: set[tuple[str, str]] = set()
    for repo in manifest.repos:
        try:
            key = (repo.type, names.key(repo.rid.full))
        except HeadwaterError as error:
            yield f"repo {repo.name[:100]!r}: {error.text}"
            return
        if key in seen:
            yield f"{repo.shown} is named twice"
        seen.add(key)
        yield from (f"{repo.shown}: {wrong}" for wrong in _wrong_repo(repo, known))


def _wrong_parts(manifest: Manifest) -> Iterator[str]:
    last = len(manifest.parts)
    for number, part in enumerate(manifest.parts, start=1):
        if part.number != number:
            yield f"part {part.number} stands where part {number} belongs"
        full = part.size == manifest.part_size
        if not full and not (number == last and 0 < part.size < manifest.part_size):
            yield f"part {part_name(number)} has {part.size} bytes; all but the last have {manifest.part_size}"
    at = 0
    for file in manifest.files:
        if (file.part - 1) * manifest.part_size + file.offset != at or file.offset >= manifest.part_size:
            yield f"file {file.sha256} does not begin where the one before it ends"
        at += file.size
    if at != manifest.size:
        yield f"its files have {at} bytes, its parts {manifest.size}"


def _wrong_repo(repo: Carried, known: set[str]) -> Iterator[str]:
    if (repo.sdk is None) is (repo.type == "space"):
        yield f"sdk {repo.sdk!r} does not fit a {repo.type}"
    refs: set[str] = set()
    for ref in repo.refs:
        if ref.name in refs:
            yield f"{ref.name} is named twice"
        refs.add(ref.name)
        wrong = _wrong_ref(ref)
        if wrong:
            yield wrong
        if ref.listing not in known:
            yield f"{ref.name}: its listing {ref.listing} is not among the files"
    if repo.pack not in known:
        yield f"its git objects {repo.pack} are not among the files"
    if sorted(set(repo.large)) != repo.large:
        yield "its large files are not sorted, or one is named twice"
    for sha256 in repo.large:
        if sha256 not in known:
            yield f"its file {sha256} is not in the bundle"


def _wrong_ref(ref: Ref) -> str | None:
    found = _REF.match(ref.name)
    if found is None:
        return f"{ref.name[:100]!r} is no branch, tag or pull ref"
    if found["name"] is not None:
        try:
            names.ref_part(found["name"])
        except Invalid as error:
            return error.text
    if not ref.name.startswith("refs/tags/") and ref.target != ref.commit:
        return f"{ref.name} is not at its commit"
    return None


def sizes(manifest: Manifest) -> dict[Sha256, int]:
    return {Sha256(file.sha256): file.size for file in manifest.files}
