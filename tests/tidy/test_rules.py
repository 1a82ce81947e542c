"""Each rule of the tidy tests finds what it is there for: a rule that cannot fail holds nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import tidy_rules as rules

GOOD_DECISION = """# 7. A title
Status: accepted 2026-11-21 (replaces -, replaced by 12)

## Context
c
## Decision
d
## Consequences
e
## Considered
f
## Revisit when
g
"""


def test_a_module_without_a_docstring_is_found() -> None:
    assert rules.missing_docstring('"""What it is for."""\n') == []
    assert len(rules.missing_docstring("import os\n")) == 1
    assert len(rules.missing_docstring("")) == 1


@pytest.mark.parametrize("path", ["headwater/utils.py", "headwater/common/git.py", "tests/Helpers.py", "a/misc.py"])
def test_a_name_that_says_nothing_is_found(path: str) -> None:
    assert len(rules.bad_names(Path(path))) == 1


def test_a_name_that_only_contains_such_a_word_is_fine() -> None:
    assert rules.bad_names(Path("headwater/store/community.py")) == []


@pytest.mark.parametrize(
    "source", ["from sqlalchemy import create_engine\n", "import sqlalchemy\nsqlalchemy.create_engine('x')\n"]
)
def test_an_engine_made_elsewhere_is_found(source: str) -> None:
    assert rules.names_of_owner(source, frozenset({"sqlalchemy.create_engine"})) == ["uses sqlalchemy.create_engine"]


def test_other_names_of_the_same_library_are_fine() -> None:
    assert rules.names_of_owner("from sqlalchemy import select\n", frozenset({"sqlalchemy.create_engine"})) == []


def test_a_function_longer_than_a_screen_is_found() -> None:
    body = "".join(f"    x{i} = {i}\n" for i in range(rules.FUNCTION_LINES_MAX - 1))
    assert rules.long_functions(f"def f():\n{body}") == []
    assert len(rules.long_functions(f"def f():\n{body}    y = 1\n")) == 1


def test_a_class_inside_a_function_is_counted_by_its_methods() -> None:
    body = "".join(f"        x{i} = {i}\n" for i in range(rules.FUNCTION_LINES_MAX))
    assert rules.long_functions(f"def f():\n    class A:\n{body}    return A\n") == []


def test_a_seventh_positional_argument_is_found() -> None:
    assert rules.long_functions("class A:\n    def f(self, a, b, c, d, e, g, *, h): pass\n") == []
    assert len(rules.long_functions("def f(a, b, c, d, e, g, h): pass\n")) == 1


def test_a_promise_needs_an_issue() -> None:
    assert rules.open_promises("x = 1  # TODO(#12): later\n") == []
    assert rules.open_promises("x = 'a TODO in a text'\n") == []
    assert len(rules.open_promises("x = 1  # TODO later\n# FIXME\n")) == 2
    assert len(rules.open_promises_in_text("<!-- XXX -->\n")) == 1


def test_links_that_lead_nowhere_or_out_are_found(tmp_path: Path) -> None:
    inside = tmp_path / "docs"
    inside.mkdir()
    (tmp_path / "outside.md").write_text("# Out\n")
    (inside / "other.md").write_text("# A heading, `here`\n\n```\n# no heading\n```\n")
    page = inside / "page.md"
    page.write_text("# Own\n")
    good = "[a](other.md) [b](other.md#a-heading-here) [c](https://example.org/x) [d](#own) `[e](nowhere.md)`"
    assert rules.broken_links(page, good, inside) == []
    for bad in ("[a](nowhere.md)", "[a](other.md#no-heading)", "[a](#missing)", "[a](../outside.md)", "![a](x.png)"):
        assert len(rules.broken_links(page, bad, inside)) == 1, bad


@pytest.mark.parametrize("text", ["see app.py:12", "front/routes.py#L4", "`a/b.md:3`"])
def test_a_line_number_is_found(text: str) -> None:
    assert len(rules.line_numbers(text)) == 1


def test_an_address_with_a_port_is_no_line_number() -> None:
    assert rules.line_numbers("http://127.0.0.1:8411 and hub.example.org:443 and `front/routes.py`") == []


def test_a_text_that_is_too_long_is_found() -> None:
    assert rules.too_long("x\n" * 3, 3) == []
    assert len(rules.too_long("x\n" * 4, 3)) == 1


def test_a_decision_in_form_is_fine() -> None:
    assert rules.decision_form("0007-a-title.md", GOOD_DECISION) == []
    bold = GOOD_DECISION.replace("## ", "")
    assert rules.decision_form("0007-a-title.md", bold) == []


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("7-a-title.md", "", ""),
        ("0008-a-title.md", "", ""),
        ("0007-a-title.md", "Status: accepted 2026-11-21", "Status: perhaps"),
        ("0007-a-title.md", "## Considered", "## Weighed"),
        ("0007-a-title.md", "## Decision\nd\n", ""),
        ("0007-a-title.md", "g\n", "g\n" * 60),
    ],
)
def test_a_decision_out_of_form_is_found(name: str, old: str, new: str) -> None:
    assert len(rules.decision_form(name, GOOD_DECISION.replace(old, new) if old else GOOD_DECISION)) == 1


@pytest.mark.parametrize("name", ["2.added.md", "0002.new.md", "0002.added.txt", "0002_x.fixed.md"])
def test_a_change_fragment_out_of_form_is_found(name: str) -> None:
    assert len(rules.fragment_form(name, "Something.")) == 1


def test_a_change_fragment_in_form_is_fine() -> None:
    assert rules.fragment_form("0002.added.md", "A hub.") == []
    assert rules.fragment_form("0002-pages.format.md", "A hub.") == []
    assert len(rules.fragment_form("0002.added.md", "\n")) == 1


def test_a_cut_licence_is_found() -> None:
    whole = "\n".join(rules.LICENCE_MARKS)
    assert rules.licence_gaps(whole) == []
    assert len(rules.licence_gaps(whole.replace("Grant of Patent License.", ""))) == 1


def sample_code() -> rules.Code:
    code = rules.Code()
    code.add(
        "headwater.repos.moves",
        "LIMIT = 3\ndef free(): pass\nclass Moves:\n    def apply(self): self.held = 1\n    size: int\n",
    )
    return code


@pytest.mark.parametrize(
    "span",
    ["Moves.apply", "Moves.apply(actor)", "moves.free", "repos.moves.free", "moves.LIMIT", "Moves.held", "Moves.size",
     "headwater.repos.moves", "hashlib.sha256", "sys.path", "git push", "Moves"],
)  # fmt: skip
def test_names_that_exist_or_are_not_ours_are_fine(span: str) -> None:
    assert rules.unknown_names(f"so `{span}` does it", sample_code()) == []


@pytest.mark.parametrize("span", ["Moves.perform", "moves.gone", "Moves.perform(actor, ref)", "repos.moves.gone"])
def test_names_of_nothing_are_found(span: str) -> None:
    assert rules.unknown_names(f"so `{span}` does it", sample_code()) == [f"`{span}` names nothing in the code"]


def test_paths_of_nothing_are_found(tmp_path: Path) -> None:
    (tmp_path / "front").mkdir()
    (tmp_path / "front" / "routes.py").write_text("")
    assert rules.missing_paths("`front/routes.py` and `/api/models` and `git/05/5.git`", [tmp_path]) == []
    assert rules.missing_paths("`front/roads.py`", [tmp_path]) == ["`front/roads.py` is no file"]


def test_a_promise_without_its_test_is_found() -> None:
    tests = ["def test_T01_a(): pass\n", "def test_T03_b(): pass\ndef test_x(): pass\n"]
    assert rules.unheld_promises("held (T01), and T03; not a number: XT02, T021", tests) == []
    assert rules.unheld_promises("T01 to T03", tests) == ["T02 is named, and no test carries it"]
