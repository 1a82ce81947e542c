"""Cards: README.md -> front matter, body, and what was wrong in it; the tags that the Hub derives from it.

Pure, and never raises: a card is somebody's text, so whatever is wrong becomes a `Problem`, within bounded time and
memory. It refuses to know repos, files other than the card, and which licences or tasks exist.

The YAML is read from the parser's events, not by a YAML loader: no tag makes a Python object, aliases are counted as
often as they are used, and plain words mean what they mean in YAML 1.2's core schema, as on the Hub: `no` is a
language, `2024-01-01` is text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import yaml

from headwater.ground.names import RepoType

BLANK_CHARS_MAX = 1024  # blank lines before the front matter, which the Hub's client allows
FRONT_BYTES_MAX = 256 * 1024  # the largest seen (evaluation results in a model card) has 150 KB
NODES_MAX = 20_000  # what an alias stands for counts each time
TEXT_CHARS_MAX = 1 << 20  # all scalars together, again counting aliases
DEPTH_MAX = 32
PROBLEMS_MAX = 50  # more help nobody
TAGS_MAX = 1_000
TAG_CHARS_MAX = 256
ARXIV_MAX = 50
BODY_SEARCHED_CHARS_MAX = 1 << 20

NO_FRONT_MATTER = "empty or missing yaml metadata in repo card"

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is fifty times as fast, but not everywhere built in
_CLOSING = re.compile(r"^---[ \t]*$", re.MULTILINE)
_ARXIV = re.compile(r"\barxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})(?!\d)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a card. An error makes the front matter unusable, a warning does not."""

    level: Literal["error", "warning"]
    text: str


@dataclass(frozen=True, slots=True)
class Card:
    """A card as read. `front` is {} if there was none or it could not be used; all of it can go out as JSON."""

    front: dict[str, Any]
    body: str
    problems: tuple[Problem, ...]

    @property
    def pipeline_tag(self) -> str | None:
        return _word(self.front.get("pipeline_tag"))

    @property
    def library_name(self) -> str | None:
        return _word(self.front.get("library_name"))

    @property
    def license(self) -> str | None:
        """The first one, where the card lists several."""
        return next(_words(self.front.get("license")), None)


def read(text: bytes | str) -> Card:
    """Split a README.md into front matter and body. Anything that can't be used is in `problems`."""
    text, problems = _decoded(text)
    front_text, body = _split(text)
    if front_text is None:
        return Card({}, body, (*problems, Problem("warning", NO_FRONT_MATTER)))
    front: dict[str, Any] = {}
    try:
        reader = _Reader(front_text)
        front = reader.mapping()
        problems += reader.problems
        if not front:
            problems.append(Problem("warning", NO_FRONT_MATTER))
    except _UnusableError as fault:
        problems.append(Problem("error", f"front matter: {fault}"))
    except yaml.YAMLError as fault:
        problems.append(Problem("error", f"front matter is not YAML: {_where(fault)}"))
    return Card(front, body, tuple(problems[:PROBLEMS_MAX]))


def validate(text: bytes | str, kind: RepoType) -> tuple[list[str], list[str]]:
    """(errors, warnings) as `POST /api/validate-yaml` reports them. Unknown fields are nobody's business."""
    card = read(text)
    errors = [problem.text for problem in card.problems if problem.level == "error"]
    warnings = [problem.text for problem in card.problems if problem.level == "warning"]
    errors += _wrong_types(card.front, kind)
    return errors[:PROBLEMS_MAX], warnings


def tags(front: dict[str, Any], kind: RepoType, body: str = "") -> list[str]:
    """The tags a repo has because of its card, in the Hub's order, each once. Tags from files are not made here."""
    if kind == "dataset":
        found = [
            *_prefixed(front, _DATASET_FIELDS),
            *(f"language:{word}" for word in _words(front.get("language"))),
            *_words(front.get("tags")),
        ]
    else:
        library = "sdk" if kind == "space" else "library_name"
        found = [
            *_words(front.get(library)),
            *_words(front.get("pipeline_tag")),
            *_words(front.get("tags")),
            *_words(front.get("language")),
            *(f"dataset:{word}" for word in _words(front.get("datasets"))),
            *_base_model_tags(front),
        ]
    found += [f"arxiv:{number}" for number in _arxiv(body)]
    found += [f"license:{word}" for word in _words(front.get("license"))]
    return list(dict.fromkeys(found))[:TAGS_MAX]


Relation = Literal["finetune", "adapter", "merge", "quantized"]
RELATIONS: tuple[Relation, ...] = ("finetune", "adapter", "merge", "quantized")
# What the Hub takes for a hint where the card names base models but no relation.
_ADAPTER_HINTS = frozenset({"peft", "lora", "adapter"})
_QUANTIZED_HINTS = frozenset({"gguf", "gptq", "awq", "exl2", "quantized"})


def base_models(front: dict[str, Any]) -> list[str]:
    """Repo ids that the card names as what this model was made from; not checked to exist or to be well formed."""
    return list(dict.fromkeys(_words(front.get("base_model"))))[:TAGS_MAX]


def base_model_relation(front: dict[str, Any]) -> Relation | None:
    """How the model was made from its base models: as declared, else as the Hub infers it; None without any."""
    bases = base_models(front)
    if not bases:
        return None
    declared = front.get("base_model_relation")
    for relation in RELATIONS:
        if declared == relation:
            return relation
    if len(bases) > 1:
        return "merge"
    hints = {word.lower() for field in ("library_name", "tags") for word in _words(front.get(field))}
    if hints & _ADAPTER_HINTS:
        return "adapter"
    return "quantized" if hints & _QUANTIZED_HINTS else "finetune"


def _decoded(text: bytes | str) -> tuple[str, list[Problem]]:
    """Text that can be encoded again, without a byte order mark."""
    problems = []
    if isinstance(text, str):
        text = text.encode(errors="replace")  # half surrogate pairs, which JSON can spell
    decoded = text.decode(errors="replace")
    if "\ufffd" in decoded:
        try:
            text.decode()
        except UnicodeDecodeError as fault:
            problems.append(Problem("warning", f"the card is not UTF-8 (byte {fault.start})"))
    return decoded.removeprefix("\ufeff"), problems


def _split(text: str) -> tuple[str | None, str]:
    """Front matter is what lies between a first line `---` and the next such line; no second line, no front matter."""
    blank = len(text[:BLANK_CHARS_MAX]) - len(text[:BLANK_CHARS_MAX].lstrip())
    if not text.startswith("---", blank):
        return None, text
    text = text[blank:].replace("\r\n", "\n").replace("\r", "\n")
    opening = _CLOSING.match(text)
    closing = _CLOSING.search(text, opening.end()) if opening else None
    if opening is None or closing is None:
        return None, text
    return text[opening.end() + 1 : closing.start()], text[closing.end() + 1 :]


class _UnusableError(Exception):
    """Front matter beyond the bounds, or of the wrong kind."""


@dataclass(slots=True)
class _Node:
    """A value with its cost, which an alias pays again."""

    value: Any
    nodes: int
    chars: int
    key: str  # what it is called where it is a key


_CORE = "tag:yaml.org,2002:"
_TAGS_OF_COLLECTIONS: frozenset[str | None] = frozenset({None, "!", _CORE + "map", _CORE + "seq"})
_TAGS_OF_TEXT = frozenset({"!", _CORE + "str", _CORE + "timestamp"})
_TAGS_OF_PLAIN = frozenset({_CORE + "int", _CORE + "float", _CORE + "bool", _CORE + "null"})


class _Reader:
    """One document's events -> one mapping. Raises `_UnusableError` or `yaml.YAMLError`."""

    def __init__(self, text: str) -> None:
        self.problems: list[Problem] = []
        if len(text) > FRONT_BYTES_MAX or len(text.encode()) > FRONT_BYTES_MAX:
            raise _UnusableError(f"over the limit of {FRONT_BYTES_MAX} bytes")
        if text.startswith("%") or "\n%" in text:
            raise _UnusableError("a line must not begin with '%': YAML directives are not read")
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=_LOADER))
        self._anchors: dict[str, _Node] = {}
        self._nodes = 0
        self._chars = 0

    def mapping(self) -> dict[str, Any]:
        for event in self._events:
            if isinstance(event, yaml.StreamEndEvent):
                return {}
            if isinstance(event, yaml.NodeEvent):
                break
        node = self._node(event, 0)
        if next((True for event in self._events if isinstance(event, yaml.DocumentStartEvent)), False):
            raise _UnusableError("more than one YAML document")
        if node.value is None:
            return {}
        if not isinstance(node.value, dict):
            raise _UnusableError(f"must be a mapping of fields to values, not {_kind(node.value)}")
        return node.value

    def _node(self, event: Any, depth: int) -> _Node:
        if isinstance(event, yaml.AliasEvent):
            node = self._anchors.get(event.anchor or "")
            if node is None:  # also one that would contain itself
                raise _UnusableError(f"alias *{(event.anchor or '')[:80]} has no anchor before it")
            self._charge(node.nodes, node.chars)
            return node
        self._charge(1, 0)
        if depth > DEPTH_MAX:
            raise _UnusableError(f"nests deeper than {DEPTH_MAX}")
        if isinstance(event, yaml.ScalarEvent):
            text = event.value.encode(errors="replace").decode()  # the parser in Python passes half surrogate pairs
            self._charge(0, len(text))
            node = _Node(_scalar(event, text), 1, len(text), text)
        else:
            if event.tag not in _TAGS_OF_COLLECTIONS:
                raise _UnusableError(f"the tag {event.tag[:80]!r} is not allowed")
            nodes, chars = self._nodes, self._chars
            sequence = isinstance(event, yaml.SequenceStartEvent)
            value = self._sequence(depth) if sequence else self._mapping(depth)
            node = _Node(value, 1 + self._nodes - nodes, self._chars - chars, "")
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _charge(self, nodes: int, chars: int) -> None:
        self._nodes += nodes
        self._chars += chars
        if self._nodes > NODES_MAX:
            raise _UnusableError(f"has over {NODES_MAX} values, aliases counted as often as they are used")
        if self._chars > TEXT_CHARS_MAX:
            raise _UnusableError(f"has over {TEXT_CHARS_MAX} characters, aliases counted as often as they are used")

    def _sequence(self, depth: int) -> list[Any]:
        found = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._node(event, depth + 1).value)
        return found

    def _mapping(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: list[Any] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            plain_merge = isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1).value
            if plain_merge:
                merged += value if isinstance(value, list) else [value]
                continue
            name = key.key or _name(key.value)
            if name in found:
                self.problems.append(Problem("warning", f"{name[:80]!r} is there twice; the last one counts"))
            found[name] = value
        for one in merged:
            if not isinstance(one, dict):
                raise _UnusableError("'<<' must be given a mapping, or a list of mappings")
            for name, value in one.items():
                found.setdefault(name, value)
        return found


def _name(value: Any) -> str:
    return "" if isinstance(value, str) else msgspec.json.encode(value).decode()


_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NUMBER_CHARS_MAX = 40  # a longer one is no number that anybody computes with


def _scalar(event: yaml.ScalarEvent, text: str) -> Any:
    """YAML 1.2.2 section 10.3.2 (core schema), but for what JSON can't carry: that stays text."""
    if event.tag in _TAGS_OF_TEXT or (event.tag is None and not event.implicit[0]):
        return text
    if event.tag is not None and event.tag not in _TAGS_OF_PLAIN:
        raise _UnusableError(f"the tag {event.tag[:80]!r} is not allowed")
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if len(text) <= _NUMBER_CHARS_MAX:
        if _INTEGER.match(text):
            number = int(text, 0 if text[:2] in ("0o", "0x") else 10)
            return number if -(1 << 63) <= number < 1 << 63 else text
        if _FLOAT.match(text):
            decimal = float(text)
            return decimal if math.isfinite(decimal) else text
    return text


def _where(fault: yaml.YAMLError) -> str:
    """The first line of what the parser says, with the line in the file that it means."""
    mark = getattr(fault, "problem_mark", None)
    said = getattr(fault, "problem", None) or str(fault).split("\n", 1)[0]
    # The parser counts from 0, and the file's first line is `---`.
    return f"{said[:200]} (line {mark.line + 2}, column {mark.column + 1})" if mark else str(said)[:200]


def _word(value: Any) -> str | None:
    """A value as one word of a tag: numbers too (`tags: [2024]`), but nothing that would break a tag's line."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    word = str(value).strip()
    return word if 0 < len(word) <= TAG_CHARS_MAX and word.isprintable() else None


def _words(value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        word = _word(one)
        if word is not None:
            yield word


# Field of a dataset card: its values become tags prefixed with the field's name.
_DATASET_FIELDS = (
    "task_categories",
    "task_ids",
    "annotations_creators",
    "language_creators",
    "multilinguality",
    "source_datasets",
    "size_categories",
)


def _prefixed(front: dict[str, Any], fields: Iterable[str]) -> Iterator[str]:
    for field in fields:
        for word in _words(front.get(field)):
            yield f"{field}:{word}"


def _base_model_tags(front: dict[str, Any]) -> Iterator[str]:
    relation = base_model_relation(front)
    for base in base_models(front):
        yield f"base_model:{base}"
        yield f"base_model:{relation}:{base}"


def _arxiv(body: str) -> list[str]:
    numbers = (found.group(1) for found in _ARXIV.finditer(body, 0, BODY_SEARCHED_CHARS_MAX))
    return list(dict.fromkeys(numbers))[:ARXIV_MAX]


# Field -> what the Hub accepts in it.
_TEXT_FIELDS: dict[RepoType, tuple[str, ...]] = {
    "model": ("pipeline_tag", "library_name", "license_name", "license_link", "base_model_relation"),
    "dataset": ("pretty_name", "license_name", "license_link"),
    "space": ("title", "sdk", "app_file", "license_name"),
}
_LIST_FIELDS: dict[RepoType, tuple[str, ...]] = {
    "model": ("tags",),
    "dataset": ("tags",),
    "space": ("tags",),
}
_TEXT_OR_LIST_FIELDS: dict[RepoType, tuple[str, ...]] = {
    "model": ("language", "license", "datasets", "base_model"),
    # huggingface_hub's DatasetCardData writes one string where there is only one
    "dataset": ("language", "license", "task_categories", "task_ids", "size_categories"),
    "space": ("license", "models", "datasets"),
}


def _wrong_types(front: dict[str, Any], kind: RepoType) -> list[str]:
    errors = [
        f'"{field}" must be a string'
        for field in _TEXT_FIELDS[kind]
        if front.get(field) is not None and not isinstance(front[field], str)
    ]
    errors += [
        f'"{field}" must be an array of strings'
        for field in _LIST_FIELDS[kind]
        if front.get(field) is not None and not _all_text(front[field])
    ]
    for field in _TEXT_OR_LIST_FIELDS[kind]:
        value = front.get(field)
        if value is not None and not isinstance(value, str) and not _all_text(value):
            errors.append(f'"{field}" must be a string or an array of strings')
    if kind == "model":
        errors += _wrong_results(front.get("model-index"))
    return errors


def _all_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _wrong_results(index: Any) -> list[str]:
    """`model-index`: a list of {name, results: [{task, dataset, metrics}]}."""
    if index is None:
        return []
    if not isinstance(index, list):
        return ['"model-index" must be an array']
    errors = []
    for position, model in enumerate(index):
        where = f"model-index[{position}]"
        if not isinstance(model, dict):
            errors.append(f'"{where}" must be an object')
            continue
        if not isinstance(model.get("name"), str):
            errors.append(f'"{where}.name" must be a string')
        results = model.get("results")
        if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
            errors.append(f'"{where}.results" must be an array of objects')
    return errors


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else "a single value"
