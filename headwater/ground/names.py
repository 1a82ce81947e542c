"""Names, parsed once at the edge and typed from there on: nothing below `front` checks a name again.

Sources: the Hub's naming rules as huggingface_hub's `validate_repo_id` and git's `check-ref-format` state them.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NewType

from headwater.ground.errors import Invalid

Sha256 = NewType("Sha256", str)
"""64 lower-case hex digits: the name of a Blob."""
CommitId = NewType("CommitId", str)
"""40 lower-case hex digits: clients' caches test for this form."""
RefName = NewType("RefName", str)
"""A full git ref: refs/heads/main, refs/tags/v1, refs/pr/1."""
FilePath = NewType("FilePath", str)
"""A path inside a repo: relative, `/`-separated, safe on every file system the clients run on."""

RepoType = Literal["model", "dataset", "space"]
REPO_TYPES: tuple[RepoType, ...] = ("model", "dataset", "space")

NAME_LENGTH_MAX = 96  # huggingface_hub refuses longer ids
PATH_LENGTH_MAX = 1024  # longer ones break git checkouts on Windows and the clients' caches
PATH_PART_BYTES_MAX = 255  # NAME_MAX of every common file system
PATH_DEPTH_MAX = 64
REF_LENGTH_MAX = 255

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_HEX40 = re.compile(r"[0-9a-f]{40}\Z")
_HEX64 = re.compile(r"[0-9a-f]{64}\Z")

# First segments of URLs: none of them can be a namespace.
RESERVED_NAMESPACES = frozenset(
    "api auth blob buckets collections datasets discussions docs edit favicon.ico hardware health join kernels "
    "lfs login logout me metrics models new none null oauth observatory organizations orgs papers raw resolve "
    "resolve-cache robots.txt search semantic-search settings signin signup spaces static tags templates tokens "
    "tree undefined upload uploads users webhooks well-known whoami xet".split()
)
# Segments that follow a repo's id: a repo without a namespace would be one repo with this one's name in it.
RESERVED_REPO_NAMES = frozenset(
    "auth-check blob branch commit commits compare discussions duplicate edit git-receive-pack git-upload-pack info "
    "lfs-files like likers overview paths-info preupload raw refs resolve resolve-cache revision "
    "safetensors-metadata settings storage super-squash tag tree xet-read-token xet-write-token".split()
)

# Device names: a file so named cannot be created, or opens a device, on Windows clients.
_WINDOWS_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"com{i}" for i in range(1, 10)), *(f"lpt{i}" for i in range(1, 10))}
)


@dataclass(frozen=True, slots=True, order=True)
class RepoId:
    """`namespace/name` of one type; `namespace` is None for the few repos that have none (`gpt2`)."""

    type: RepoType
    namespace: str | None
    name: str

    @property
    def full(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def url_path(self) -> str:
        """The path of its page: `/ns/name`, `/datasets/ns/name`, `/spaces/ns/name`."""
        return f"/{self.full}" if self.type == "model" else f"/{self.type}s/{self.full}"

    @property
    def api_path(self) -> str:
        return f"/api/{self.type}s/{self.full}"

    def __str__(self) -> str:
        return self.full


def repo_type(text: str) -> RepoType:
    """`model`, `dataset`, `space`, or their plurals."""
    singular = text.removesuffix("s")
    if singular not in REPO_TYPES:
        raise Invalid(f"type: {text[:40]!r} is not one of model, dataset, space")
    return singular


def name(text: str, what: str = "name") -> str:
    """One segment of a repo id, or a namespace: letters, digits, `-`, `_`, `.`; in ASCII no letters look alike."""
    if not text or len(text) > NAME_LENGTH_MAX or not _NAME.match(text):
        raise Invalid(
            f"{what}: {text[:100]!r} must be 1 to {NAME_LENGTH_MAX} letters, digits, '-', '_' or '.', "
            "and start with a letter or a digit"
        )
    # ids are case-insensitive, so are the endings that git and its URLs take for their own
    if text.lower().endswith((".", ".git", ".lock", "-")) or ".." in text or "--" in text:
        raise Invalid(f"{what}: {text!r} must not contain '..' or '--', nor end in '.', '-', '.git' or '.lock'")
    return text


def new_namespace(text: str) -> str:
    """The name of a user or an organization that is about to be made: also refuses the words that URLs need."""
    return _unreserved(name(text), RESERVED_NAMESPACES, "name")


def new_repo_name(text: str) -> str:
    """The last part of the id of a repo that is about to be made."""
    return _unreserved(name(text, "repo name"), RESERVED_REPO_NAMES, "repo name")


def _unreserved(text: str, reserved: frozenset[str], what: str) -> str:
    if text.lower() in reserved or text.lower() in _WINDOWS_DEVICES:
        raise Invalid(f"{what}: {text!r} is reserved; choose another")
    return text


def repo_id(kind: RepoType, text: str) -> RepoId:
    """`ns/name` or `name`."""
    namespace, slash, last = text.rpartition("/")
    return RepoId(kind, name(namespace, "namespace") if slash else None, name(last, "repo name"))


def key(text: str) -> str:
    """The form under which a name is looked up: ids are case-insensitive."""
    return text.lower()


def skeleton(text: str) -> str:
    """The form under which look-alikes collide: case folded, and `-`, `_`, `.` taken for one (T42)."""
    return re.sub(r"[-_.]+", "-", unicodedata.normalize("NFKC", text).casefold())


def sha256(text: str) -> Sha256:
    if not _HEX64.match(text):
        raise Invalid(f"sha256: {text[:80]!r} is not 64 lower-case hex digits")
    return Sha256(text)


def is_commit_id(text: str) -> bool:
    return bool(_HEX40.match(text))


def commit_id(text: str) -> CommitId:
    if not is_commit_id(text):
        raise Invalid(f"commit id: {text[:60]!r} is not 40 lower-case hex digits")
    return CommitId(text)


_REF_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|\Z)")


def ref_part(text: str, what: str = "ref") -> str:
    """A branch or tag name, by git's check-ref-format."""
    if (
        not text
        or len(text) > REF_LENGTH_MAX
        or _REF_FORBIDDEN.search(text)
        or text.startswith(("/", ".", "-"))
        or text.endswith(("/", "."))
        or text == "@"
    ):
        raise Invalid(f"{what}: {text[:100]!r} is not a valid git ref name")
    return text


@lru_cache(4096)  # clients ask for a file twice: HEAD, then GET
def file_path(text: str) -> FilePath:
    """A path inside a repo. 422, as the Hub answers for paths.

    Refused: what escapes (`..`, absolute), what some client cannot hold (backslash, control characters, trailing dot
    or space, Windows device names, over-long parts), what git or git-lfs would obey (`.git` in any case), and text
    that is not NFC-normalised or hides its direction: two names that look the same must not be two files (T47).
    """

    def refuse(rule: str) -> Invalid:
        return Invalid(f"path: {text[:200]!r} {rule}", status=422)

    if not text or len(text) > PATH_LENGTH_MAX:
        raise refuse(f"must have 1 to {PATH_LENGTH_MAX} characters")
    if text.startswith("/") or text.endswith("/") or "\\" in text:
        raise refuse("must be relative and use '/' between its parts")
    if _hides_something(text):
        raise refuse("contains control characters or marks that hide its direction")
    if not unicodedata.is_normalized("NFC", text):
        raise refuse("is not in Unicode normal form C")
    parts = text.split("/")
    if len(parts) > PATH_DEPTH_MAX:
        raise refuse(f"has more than {PATH_DEPTH_MAX} parts")
    for part in parts:
        if part in ("", ".", ".."):
            raise refuse("has an empty part, '.' or '..'")
        if part.endswith((".", " ")) or part.startswith(" "):
            raise refuse("has a part that begins with a space or ends with a dot or a space")
        if len(part.encode()) > PATH_PART_BYTES_MAX:
            raise refuse(f"has a part of more than {PATH_PART_BYTES_MAX} bytes")
        if _is_reserved(part):
            raise refuse(f"has the reserved part {part!r}")
    return FilePath(text)


@lru_cache(1024)
def repo_id_of(kind: str, namespace: str | None, last: str) -> RepoId:
    """A repo by the parts of its address."""
    return RepoId(repo_type(kind), name(namespace, "namespace") if namespace else None, name(last, "repo name"))


def _hides_something(text: str) -> bool:
    if _PRINTED.match(text):  # nearly every path there is
        return False
    return any(unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn") or c in _DIRECTION_MARKS for c in text)


def _is_reserved(part: str) -> bool:
    """Whether some file system takes this name for `.git` or for a device.

    HFS+ overlooks format characters, NTFS and Windows what follows a colon, and Windows blanks before the suffix.
    """
    seen = part if part.isascii() else "".join(c for c in part if unicodedata.category(c) != "Cf")
    low = seen.casefold().partition(":")[0]
    return low == ".git" or low.partition(".")[0].rstrip(" ") in _WINDOWS_DEVICES or bool(_GIT_SHORT.match(low))


_DIRECTION_MARKS = frozenset(
    "\u200b\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
)
_PRINTED = re.compile(r"[\x20-\x7e]+\Z")
_GIT_SHORT = re.compile(r"git~\d+\Z")  # NTFS short names of .git
