"""The project keeps its own rules: code, texts and what the texts say of the code."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import tidy_rules as rules

from headwater.front.routes import ROUTES
from headwater.ground.errors import TAXONOMY, HeadwaterError
from headwater.ground.events import KINDS
from headwater.ground.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "headwater"
ENGINE_OWNERS = {PACKAGE / "ground" / "db.py"}
ENGINE_NAMES = frozenset({"sqlalchemy.create_engine", "sqlalchemy.engine.create_engine", "sqlite3.connect"})
LINT_LIMIT_S = 120


def package_modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def python_files() -> list[Path]:
    folders = (PACKAGE, ROOT / "scripts", ROOT / "tests", ROOT / "benchmarks")
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def documents() -> list[Path]:
    return sorted((ROOT / "docs").rglob("*.md"))


def texts() -> list[Path]:
    """Every text for people: documentation, decisions, changes and what stands at the root."""
    folders = [*(ROOT / "decisions").glob("*.md"), *(ROOT / "changes").glob("*.md"), *ROOT.glob("*.md")]
    return sorted([*documents(), *folders])


def of_source(rule: Callable[[str], list[str]]) -> Callable[[Path], list[str]]:
    return lambda path: rule(path.read_text(encoding="utf-8"))


def reference_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("headwater_reference", ROOT / "scripts" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- code ---


def test_every_module_says_what_it_is_for() -> None:
    assert rules.each(package_modules(), of_source(rules.missing_docstring), ROOT) == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    files = [*python_files(), *(ROOT / "docs").rglob("*")]
    assert rules.each(files, lambda path: rules.bad_names(path.relative_to(ROOT)), ROOT) == []


def test_only_the_database_module_opens_databases() -> None:
    others = [path for path in package_modules() if path not in ENGINE_OWNERS]
    assert rules.each(others, of_source(lambda source: rules.names_of_owner(source, ENGINE_NAMES)), ROOT) == []


def test_every_function_fits_a_screen() -> None:
    assert rules.each(package_modules(), of_source(rules.long_functions), ROOT) == []


def test_no_comment_promises_work_without_an_issue() -> None:
    assert rules.each(python_files(), of_source(rules.open_promises), ROOT) == []
    assets = [path for path in PACKAGE.rglob("*") if path.suffix in (".html", ".css", ".js")]
    assert rules.each(assets, of_source(rules.open_promises_in_text), ROOT) == []


def test_the_storeys_hold() -> None:
    done = lint_imports(ROOT, "pyproject.toml")
    assert done.returncode == 0, done.stdout + done.stderr


def lint_imports(folder: Path, config: str) -> subprocess.CompletedProcess[str]:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", program, "--config", config, "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LINT_LIMIT_S,
        check=False,
    )


def test_a_broken_contract_is_found(tmp_path: Path) -> None:
    for name, source in (("low", "import sample.high\n"), ("high", "")):
        (tmp_path / "sample" / name).mkdir(parents=True)
        (tmp_path / "sample" / name / "__init__.py").write_text(source)
    (tmp_path / "sample" / "__init__.py").write_text("")
    (tmp_path / "contracts.toml").write_text(
        '[tool.importlinter]\nroot_package = "sample"\n'
        '[[tool.importlinter.contracts]]\nname = "s"\ntype = "layers"\nlayers = ["sample.high", "sample.low"]\n'
    )
    done = lint_imports(tmp_path, "contracts.toml")
    assert done.returncode != 0
    assert "sample.low is not allowed to import sample.high" in done.stdout


# --- texts ---


def test_the_reference_says_what_the_code_says() -> None:
    reference = reference_script()
    assert reference.out_of_date(reference.FOLDER) == [], "run `python scripts/reference.py`"


def test_a_reference_that_is_old_or_missing_is_found(tmp_path: Path) -> None:
    reference = reference_script()
    assert reference.out_of_date(tmp_path) == list(reference.PAGES)
    for name, make in reference.PAGES.items():
        (tmp_path / name).write_text(make(), encoding="utf-8")
    assert reference.out_of_date(tmp_path) == []
    (tmp_path / "errors.md").write_text(reference.PAGES["errors.md"]().replace("RepoNotFound", "RepoGone"))
    assert reference.out_of_date(tmp_path) == ["errors.md"]
    assert reference.main(["--check", "--folder", str(tmp_path)]) == 1


def classes_of_errors() -> set[type[HeadwaterError]]:
    """Every class of the taxonomy that some module defines; the route table has imported all modules that serve."""
    found: set[type[HeadwaterError]] = set()
    left = [HeadwaterError]
    while left:
        below = left.pop().__subclasses__()
        found |= set(below)
        left += below
    return {kind for kind in found if kind.__module__.startswith("headwater.")}


def test_the_reference_names_everything_there_is() -> None:
    reference = reference_script()
    pages = {name: make() for name, make in reference.PAGES.items()}
    assert [name for name in Settings.__struct_fields__ if f"`{name}`" not in pages["settings.md"]] == []
    assert {kind.code for kind in classes_of_errors()} - set(re.findall(r"`(\w+)`", pages["errors.md"])) == set()
    assert [kind.code for kind in TAXONOMY if f"`{kind.code}`" not in pages["errors.md"]] == []
    assert [kind for kind in KINDS if f"`{kind}`" not in pages["events.md"]] == []
    rows = set(pages["routes.md"].splitlines())
    lost = [
        r
        for r in ROUTES
        if not any(row.startswith(f"| {r.method} | `{reference._folded(r.pattern)}` ") for row in rows)
    ]
    assert lost == []


def test_every_link_between_documents_leads_somewhere() -> None:
    found = []
    for path in texts():
        # The hub serves docs/ and nothing beside it, so its pages may not lead out of it.
        inside = ROOT / "docs" if path.is_relative_to(ROOT / "docs") else ROOT
        found += [f"{path.relative_to(ROOT)}: {one}" for one in rules.broken_links(path, path.read_text(), inside)]
    assert found == []


def test_no_text_names_a_line_of_a_file() -> None:
    assert rules.each(texts(), of_source(rules.line_numbers), ROOT) == []


def test_every_file_that_a_text_names_exists() -> None:
    roots = (ROOT, PACKAGE, ROOT / "docs")
    assert rules.each(texts(), of_source(lambda text: rules.missing_paths(text, roots)), ROOT) == []


def test_every_function_that_a_text_names_exists() -> None:
    code = rules.Code()
    for path in package_modules():
        parts = path.relative_to(ROOT).with_suffix("").parts
        code.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path.read_text())
    assert rules.each(texts(), of_source(lambda text: rules.unknown_names(text, code)), ROOT) == []


def test_every_promise_that_a_text_names_by_number_has_its_test() -> None:
    tests = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    public = [*documents(), ROOT / "README.md", ROOT / "ARCHITECTURE.md"]
    assert rules.each(public, of_source(lambda text: rules.unheld_promises(text, tests)), ROOT) == []


def test_the_architecture_fits_its_bound() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert text.startswith("# ")
    assert rules.too_long(text, rules.ARCHITECTURE_LINES_MAX) == []


def test_every_decision_has_the_form() -> None:
    paths = sorted((ROOT / "decisions").glob("*.md"))
    assert len(paths) >= 12
    assert rules.each(paths, lambda path: rules.decision_form(path.name, path.read_text()), ROOT) == []


def test_every_change_fragment_has_the_form() -> None:
    paths = [path for path in sorted((ROOT / "changes").glob("*")) if path.name != "README.md"]
    assert rules.each(paths, lambda path: rules.fragment_form(path.name, path.read_text()), ROOT) == []


def test_the_licence_is_whole() -> None:
    assert rules.licence_gaps((ROOT / "LICENSE").read_text()) == []
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()
