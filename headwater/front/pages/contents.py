"""What is inside one file, as far as a page shows it: lines of text, a table of tensors, an image, or a word why not.

Files are hostile: only small ones are read whole, of tensor files only the header, one header at a time. Refuses to
know addresses and templates.
"""

from __future__ import annotations

import math
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from headwater.front.pages.present import (
    TIMES,
    Pager,
    TensorRow,
    TensorSummary,
    TensorTable,
    count,
    exact,
    shape,
    shares,
    size,
    with_query,
)
from headwater.front.rooms import Rooms
from headwater.ground.names import Sha256
from headwater.repos import Entry, Repo
from headwater.tensors import Malformed, Read, Tensor, gguf, safetensors

TEXT_BYTES_MAX = 1 << 19  # more is slow to scroll; it is a click away as it is
LINES_MAX = 10_000
LINE_CHARS_MAX = 5_000
IMAGE_BYTES_MAX = 10 << 20
TENSORS_PAGE = 400
PAGES_MAX = 1_000  # TENSORS_MAX / TENSORS_PAGE, and some
QUERY_CHARS_MAX = 200
VALUE_CHARS_MAX = 2_000
NAME_CHARS_MAX = 500  # of a tensor's name, or a metadata key's: in a header of 100 MB it may be as long
METADATA_ROWS_MAX = 500
HEADERS_KEPT_TENSORS = 100_000  # of all kept headers together: about 40 MB
TENSOR_BYTES = 400  # of one that is kept; a header with few tensors and long names weighs by its length
# They turn the order of letters round, so that code reads otherwise than it runs (CVE-2021-42574).
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
_IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg")  # what /resolve serves as images (T50)


@dataclass(frozen=True, slots=True)
class Asked:
    """Which page of a table, and of which rows; `here` is the page's own path."""

    here: str
    query: str
    page: int


@dataclass(frozen=True, slots=True)
class Inside:
    lines: tuple[str, ...] | None = None
    tensors: TensorTable | None = None
    is_image: bool = False
    note: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """A tensor file's header, whichever format; `facts` are what people look for first."""

    format: str
    tensors: tuple[Tensor, ...]
    parameters: dict[str, int]
    metadata: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    data_start: int

    @property
    def weight(self) -> int:
        return max(len(self.tensors), self.data_start // TENSOR_BYTES)


def look(rooms: Rooms, repo: Repo, entry: Entry, asked: Asked) -> Inside:
    name = entry.path.lower()
    if entry.kind == "submodule":
        return Inside(note=f"A submodule: commit {entry.oid} of another repository. Submodules are not followed.")
    if entry.kind == "symlink":
        target = rooms.repos.tree.read_inline(repo, entry).decode("utf-8", "replace")
        return Inside(note=f"A symbolic link to {target[:LINE_CHARS_MAX]!r}. Links are not followed.")
    if name.endswith((".safetensors", ".gguf")):
        try:
            return Inside(tensors=_table(_headers.get(rooms, repo, entry), asked))
        except Malformed as error:
            return Inside(problem=error.text, note="Its header could not be read, so nothing of it is shown.")
    if name.endswith(_IMAGES) and entry.size <= IMAGE_BYTES_MAX:
        return Inside(is_image=True)
    return _text(rooms, repo, entry)


def _text(rooms: Rooms, repo: Repo, entry: Entry) -> Inside:
    if entry.size > TEXT_BYTES_MAX:
        return Inside(note=f"{size(entry.size)}: too large to be shown here.")
    data = _reader(rooms, repo, entry)(0, entry.size)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Inside(note=f"{size(len(data))} of binary data.")
    if "\0" in text:
        return Inside(note=f"{size(len(data))} of binary data.")
    if not text:
        return Inside(note="This file is empty.")
    # Only line feeds end a line: splitlines() also splits at characters that no editor counts as one.
    lines = text.removesuffix("\n").replace("\r\n", "\n").split("\n")
    problems = []
    if len(lines) > LINES_MAX or any(len(line) > LINE_CHARS_MAX for line in lines):
        problems.append(f"Shown in part: at most {exact(LINES_MAX)} lines of {exact(LINE_CHARS_MAX)} characters.")
    if turning := next((number for number, line in enumerate(lines, start=1) if _TURNING.search(line)), 0):
        problems.append(
            f"Has invisible characters that change the order of letters, first in line {exact(turning)}: "
            "what it says or does may not be what you see."
        )
    return Inside(lines=tuple(line[:LINE_CHARS_MAX] for line in lines[:LINES_MAX]), problem=" ".join(problems))


# ---- tensor tables ----


class _Headers:
    """Headers as read, by blob; the least recently used go first. One is parsed at a time, which bounds memory."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Header] = OrderedDict()
        self._weight = 0
        self._lock = threading.Lock()
        self._parsing = threading.Lock()

    def get(self, rooms: Rooms, repo: Repo, entry: Entry) -> Header:
        """The header of a file that the caller may read. Malformed, if it breaks its format's rules."""
        key = f"{entry.sha256 or entry.oid} {entry.path.lower().rpartition('.')[2]}"  # one blob may have both suffixes
        found = self._find(key)
        if found is not None:
            return found
        with self._parsing:
            found = self._find(key)  # somebody else may have read it while we waited
            if found is None:
                found = _parsed(entry, _reader(rooms, repo, entry))
                self._keep(key, found)
        return found

    def _find(self, key: str) -> Header | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: str, header: Header) -> None:
        with self._lock:
            self._kept[key] = header
            self._weight += header.weight
            while self._weight > HEADERS_KEPT_TENSORS and len(self._kept) > 1:
                _, gone = self._kept.popitem(last=False)
                self._weight -= gone.weight


_headers = _Headers()


def _reader(rooms: Rooms, repo: Repo, entry: Entry) -> Read:
    if entry.sha256 is None:
        data = rooms.repos.tree.read_inline(repo, entry)
        return lambda start, stop: data[start:stop]
    sha256: Sha256 = entry.sha256
    return lambda start, stop: b"".join(rooms.store.read(sha256, start, min(stop, entry.size)))


def _parsed(entry: Entry, read: Read) -> Header:
    if entry.path.lower().endswith(".gguf"):
        return _gguf(gguf.read_header(read, entry.size))
    found = safetensors.read_header(read, entry.size)
    metadata = _metadata(found.metadata)
    return Header("Safetensors", found.tensors, found.parameters, metadata, (), found.data_start)


def _gguf(found: gguf.GgufFile) -> Header:
    facts = [("Version", str(found.version))]
    if found.architecture:
        facts.insert(0, ("Architecture", _cut(found.architecture)))
    if found.context_length:
        facts.append(("Context length", exact(found.context_length)))
    metadata = _metadata({key: _value(value) for key, value in islice(found.metadata.items(), METADATA_ROWS_MAX)})
    return Header("GGUF", found.tensors, found.parameters, metadata, tuple(facts), found.data_start)


def _metadata(found: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((_cut(key, NAME_CHARS_MAX), _cut(value)) for key, value in islice(found.items(), METADATA_ROWS_MAX))


def _value(value: Any) -> str:
    if isinstance(value, gguf.Omitted):
        return f"{exact(value.count)} of {value.type.lower()}"
    if isinstance(value, float):
        return f"{value:g}" if math.isfinite(value) else str(value)
    if isinstance(value, list):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    return str(value)


def _cut(text: str, chars_max: int = VALUE_CHARS_MAX) -> str:
    return text if len(text) <= chars_max else f"{text[:chars_max]}… ({count(len(text))} characters)"


def _table(header: Header, asked: Asked) -> TensorTable:
    query = asked.query[:QUERY_CHARS_MAX].strip()
    fitting = _fitting(header.tensors, query)
    pages = max(1, -(-len(fitting) // TENSORS_PAGE))
    page = min(asked.page, pages)
    start = (page - 1) * TENSORS_PAGE
    rows = fitting[start : start + TENSORS_PAGE]
    total = sum(header.parameters.values())

    def href(number: int) -> str:
        return with_query(asked.here, [("q", query), ("p", str(number) if number > 1 else "")])

    text = f"{exact(start + 1)} to {exact(start + len(rows))} of {exact(len(fitting))}"
    return TensorTable(
        summary=TensorSummary(header.format, total, shares(header.parameters), header.facts),
        rows=tuple(
            TensorRow(_cut(one.name, NAME_CHARS_MAX), one.dtype, one.shape, one.stop - one.start, one.start)
            for one in rows
        ),
        count=len(header.tensors),
        matching=len(fitting),
        query=query,
        metadata=header.metadata,
        header_bytes=header.data_start,
        pager=Pager(
            href(page - 1) if page > 1 else "",
            href(page + 1) if page < pages else "",
            text if pages > 1 else "",
            "Previous",
        ),
    )


def _fitting(tensors: Sequence[Tensor], query: str) -> Sequence[Tensor]:
    """Those with every word of the query in their name, dtype or shape; a shape may be written `384x384`."""
    words = query.lower().replace(TIMES, " ").split()
    if not words:
        return tensors
    return [one for one in tensors if all(word in _searched(one) for word in words)]


def _searched(tensor: Tensor) -> str:
    dimensions = [str(one) for one in tensor.shape]
    return f"{tensor.name} {tensor.dtype} {'x'.join(dimensions)} {shape(tensor.shape)}".lower()
