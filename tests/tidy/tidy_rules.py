"""The rules that no linter has, each a function from text to findings; an empty list means that the rule holds.

`test_tidy.py` applies them to the project, `test_rules.py` proves on bad samples that each can find something. Knows
what the project promises of itself (docs/style.md); refuses to know pytest.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

BAD_STEMS = frozenset({"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers", "tools"})
FUNCTION_LINES_MAX = 60  # one screen
POSITIONAL_MAX = 6
ARCHITECTURE_LINES_MAX = 150
DECISION_LINES_MAX = 60
DECISION_PARTS = ("Context", "Decision", "Consequences", "Considered", "Revisit when")
LICENCE_MARKS = (
    "Apache License",
    "Version 2.0, January 2004",
    *(f"{number}. {title}" for number, title in enumerate(
        ("Definitions.", "Grant of Copyright License.", "Grant of Patent License.", "Redistribution.",
         "Submission of Contributions.", "Trademarks.", "Disclaimer of Warranty.", "Limitation of Liability.",
         "Accepting Warranty or Additional Liability."), start=1)),
    "END OF TERMS AND CONDITIONS",
)  # fmt: skip


# --- code ---


def missing_docstring(source: str) -> list[str]:
    """A module begins with what it is for."""
    if ast.get_docstring(ast.parse(source)):
        return []
    return ["no docstring that says what the module is for and what it refuses to know"]


def bad_names(path: Path) -> list[str]:
    """Names that say nothing about what is inside."""
    return [f"{part!r} says nothing" for part in (*path.parts[:-1], path.stem) if part.lower() in BAD_STEMS]


def names_of_owner(source: str, owned: frozenset[str]) -> list[str]:
    """Uses of names that belong to one file, whether imported or reached through their module (`sqlalchemy.x`)."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{one.name}" for one in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.append(f"{node.value.id}.{node.attr}")
    return [f"uses {name}" for name in sorted(set(found)) if name in owned]


def long_functions(source: str) -> list[str]:
    """Functions longer than a screen, and those with more positional arguments than one can remember.

    A class inside a function is counted by its own methods. A constructor may take as many as it is handed rooms.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = _length(node) - sum(_length(inner) for inner in ast.walk(node) if isinstance(inner, ast.ClassDef))
            positional = [*node.args.posonlyargs, *node.args.args]
            count = len(positional) - (bool(positional) and positional[0].arg in ("self", "cls"))
            if lines > FUNCTION_LINES_MAX:
                found.append(f"{node.name} has {lines} lines, at most {FUNCTION_LINES_MAX} fit a screen")
            if count > POSITIONAL_MAX and node.name != "__init__":
                found.append(
                    f"{node.name} has {count} positional arguments, at most {POSITIONAL_MAX} can be remembered"
                )
    return found


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


_PROMISE = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b(?!\(#\d+\))")


def open_promises(source: str) -> list[str]:
    """Comments that promise work without saying where it is kept: `TODO(#12)` is fine, `TODO` is not."""
    comments = (
        token.string
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    )
    return [f"{comment.strip()[:60]!r} names no issue" for comment in comments if _PROMISE.search(comment)]


def open_promises_in_text(text: str) -> list[str]:
    """The same for files that are not Python, where every line counts."""
    return [f"{line.strip()[:60]!r} names no issue" for line in text.splitlines() if _PROMISE.search(line)]


# --- text ---

_FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`[^`\n]+`")
_LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_LINE_NUMBER = re.compile(r"[\w./-]+\.(?:py|md|toml|html|css|js|sql|sh)(?::\d+|#L\d+)|\blines? \d+ of `")


def without_code(text: str) -> str:
    """The text without code blocks and code spans."""
    return _SPAN.sub("", _FENCE.sub("", text))


def slug(heading: str) -> str:
    """The anchor of a heading, as the hub's own renderer and most others make it."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def anchors(text: str) -> set[str]:
    return {
        slug(line.lstrip("#").replace("`", "")) for line in _FENCE.sub("", text).splitlines() if line.startswith("#")
    }


def broken_links(page: Path, text: str, inside: Path) -> list[str]:
    """Relative links that lead nowhere, or out of the folder `inside` within which the page is published."""
    found = []
    for target in _LINK.findall(without_code(text)):
        if re.match(r"[a-z][a-z0-9+.-]*:", target) or target.startswith("//"):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page.resolve()
        if not place.exists():
            found.append(f"{target} leads nowhere")
        elif not place.is_relative_to(inside.resolve()):
            found.append(f"{target} leads out of {inside.name}")
        elif anchor and place.suffix == ".md" and anchor not in anchors(place.read_text(encoding="utf-8")):
            found.append(f"{target}: there is no such heading")
    return found


def line_numbers(text: str) -> list[str]:
    """Places in files named by line: lines move, and nobody moves the text after them."""
    return [f"{found!r} names a line" for found in _LINE_NUMBER.findall(text)]


def too_long(text: str, most: int) -> list[str]:
    lines = len(text.splitlines())
    return [f"{lines} lines, at most {most}"] if lines > most else []


_PART = re.compile(r"^(?:#+ |\*\*)?(Context|Decision|Consequences|Considered|Revisit when)\b", re.MULTILINE)


def decision_form(name: str, text: str) -> list[str]:
    """A decision: number and title, its status, and five parts in their order, on a page."""
    found = too_long(text, DECISION_LINES_MAX)
    lines = text.splitlines() or [""]
    if not re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", name):
        found.append("the file is not called NNNN-title.md")
    elif not re.match(rf"# 0*{int(name[:4])}\. \S", lines[0]):
        found.append(f"the first line is not '# {int(name[:4])}. Title'")
    status = r"Status: (accepted|proposed|replaced|rejected) \d{4}-\d\d-\d\d \(replaces [-\d]+, replaced by [-\d]+\)"
    if not any(re.match(status, line) for line in lines[1:4]):
        found.append("no line 'Status: accepted YYYY-MM-DD (replaces -, replaced by -)'")
    parts = list(dict.fromkeys(_PART.findall(text)))
    if tuple(parts) != DECISION_PARTS:
        found.append(f"its parts are {parts}, not {list(DECISION_PARTS)}")
    return found


_KINDS = ("added", "changed", "fixed", "removed", "security", "format")


def fragment_form(name: str, text: str) -> list[str]:
    found = []
    if not re.fullmatch(rf"\d{{4}}(?:-[a-z0-9-]+)?\.(?:{'|'.join(_KINDS)})\.md", name):
        found.append(f"the file is not called NNNN.kind.md with a kind of {', '.join(_KINDS)}")
    if not text.strip():
        found.append("it says nothing")
    return found


def licence_gaps(text: str) -> list[str]:
    return [f"{mark!r} is missing" for mark in LICENCE_MARKS if mark not in text]


# --- what a text says of the code ---


@dataclass
class Code:
    """What there is to name: `Class.member`, `module.name`, and paths."""

    known: set[str] = field(default_factory=set)
    classes: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)

    def add(self, module: str, source: str) -> None:
        """A module by its dotted name; what it defines is known under the last part of that name, and under its folder's."""
        tree = ast.parse(source)
        parts = module.split(".")
        owners = {parts[-1], ".".join(parts[-2:])}
        if source and len(parts) > 1:
            owners.add(parts[-2])  # a room: Store, Repos
        self.modules |= {parts[-1], ".".join(parts[1:])}
        self.known |= _checkpoints(tree)
        for name, node in _defined(tree):
            self.known |= {f"{owner}.{name}" for owner in owners}
            if isinstance(node, ast.ClassDef):
                self.classes.add(name)
                self.known |= {f"{name}.{member}" for member in _members(node)}


def _checkpoints(tree: ast.Module) -> set[str]:
    """The named places where tests end the process: texts name them as they stand in the code."""
    return {
        str(node.args[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "checkpoint"
        and isinstance(node.args[0], ast.Constant)
    }


def _defined(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node
        elif isinstance(node, ast.ImportFrom):
            for one in node.names:
                yield one.asname or one.name, node


def _members(tree: ast.ClassDef) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            yield node.attr


_NAMED = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(?:\(.*\))?\Z")


def unknown_names(text: str, code: Code) -> list[str]:
    """Code spans of the form `Class.method` or `module.function` that name nothing in the code.

    A span whose first word is neither a class nor a module of ours is somebody else's and is not judged.
    """
    found = []
    for span in re.findall(r"`([^`\n]+)`", _FENCE.sub("", text)):
        named = _NAMED.match(span)
        if named is None or _FILE.search(span):
            continue
        words = named[1].removeprefix("headwater.")
        owner, _, last = words.rpartition(".")
        ours = owner.split(".")[-1] in code.classes or owner in code.modules or owner.split(".")[-1] in code.modules
        tail = f"{owner.split('.')[-1]}.{last}"
        if ours and words not in code.known and tail not in code.known and words not in code.modules:
            found.append(f"`{span}` names nothing in the code")
    return found


_FILE = re.compile(r"\.(?:py|md|toml|html|css|js|sh|sql|svg|sqlite|json|git)\Z")
_PATH = re.compile(r"(?:[A-Za-z0-9_.-]+/)+[A-Za-z0-9_.-]*\.(?:py|md|toml|html|css|js|sh|sql|svg)\Z")


def missing_paths(text: str, roots: Iterable[Path]) -> list[str]:
    """Code spans that are paths of files which do not exist below any of the roots."""
    places = list(roots)
    return [
        f"`{span}` is no file"
        for span in re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))
        if _PATH.match(span) and not any((root / span).exists() for root in places)
    ]


_NUMBER = re.compile(r"\bT(\d\d)\b(?: to T(\d\d)\b)?")
_NUMBERED_TEST = re.compile(r"def test_T(\d\d)_")


def unheld_promises(text: str, tests: Iterable[str]) -> list[str]:
    """Numbers of promised tests (T01, T47 to T54) that no test carries. `tests`: the sources of all tests."""
    held = {number for source in tests for number in _NUMBERED_TEST.findall(source)}
    named = {
        f"{number:02d}" for first, last in _NUMBER.findall(text) for number in range(int(first), int(last or first) + 1)
    }
    return [f"T{number} is named, and no test carries it" for number in sorted(named - held)]


def each(paths: Iterable[Path], rule: Callable[[Path], list[str]], root: Path) -> list[str]:
    """The findings of a rule over files, each with the file's path."""
    return [f"{path.relative_to(root)}: {finding}" for path in paths for finding in rule(path)]
