"""The report: whole or not at all, nothing unescaped, nothing from the network."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from headwater.cli import observe_show
from headwater.ground.errors import Conflict, Invalid
from headwater.observatory import report
from headwater.observatory.answer import Evidence, Source, Span
from headwater.observatory.imports.job import Silent
from headwater.observatory.report import el
from headwater.observatory.world import World

EVIL = "<img src=x onerror=alert(1)>\"'&"


class Links(HTMLParser):
    """What a page would load or lead to, and the tags that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        self.found += [value or "" for name, value in attrs if name in ("href", "src", "srcset")]


@pytest.fixture
def evil(world: World, take: Callable[..., Any], parquet: Callable[..., Path]) -> World:
    columns: dict[str, list[Any]] = {
        "id": [f"a/b{EVIL}", "c/d"], "author": ["a", EVIL], "likes": [9, 5], "downloads": [3, 7],
        "downloadsAllTime": [10, 70], "createdAt": ["2026-01-01T00:00:00", "2020-01-01T00:00:00"],
        "pipeline_tag": [EVIL, "text-generation"], "tags": [[f"license:{EVIL}"], ["license:mit"]],
    }  # fmt: skip
    take(
        parquet("evil.parquet", **columns), kind="hub-stats", name="evil", date="2026-06-05", attribution=EVIL,
        biases=EVIL,
    )  # fmt: skip
    return world


NAMES = ("most-liked", "downloads-by-country", "licences")


def test_a_report_is_plain_files_that_escape_everything_and_load_nothing(evil: World, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert")
    written = report.write(evil, tmp_path / "site", Silent(), NAMES)
    assert written.questions == len(NAMES), written.left_out
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) == 2 + len(NAMES)
    for file in pages:
        text = file.read_text()
        seen = Links(text)
        assert not seen.tags & {"script", "iframe", "object", "form"}
        assert "<img src=x" not in text
        for link in seen.found:
            assert not link.startswith("javascript:")
            if not link.startswith(("https://", "http://", "#")):
                target = file.parent / link.partition("#")[0]
                assert target.is_file(), link
    for picture in (tmp_path / "site").rglob("*.svg"):
        assert not re.search(r"<(script|image|a|foreignObject)\b", picture.read_text())


def test_every_claim_names_its_query_and_the_date_licence_and_biases_of_its_data(evil: World, tmp_path: Path) -> None:
    evil.claims_folder.mkdir(parents=True)
    (evil.claims_folder / "mine.toml").write_text(
        'id = "mine"\nsentence = "Many."\nquestion = "most-liked"\nholds = "(select count(*) > 0 from answer)"\n'
        '[source]\ntitle = "me"\n[[case]]\nname = "here"\nchoices = { population = "evil" }\n'
    )
    report.write(evil, tmp_path / "site", Silent(), ("most-liked",))
    text = (tmp_path / "site/claims.html").read_text()
    (section,) = re.findall(r'<section id="mine".*?</section>', text, re.DOTALL)
    assert "reproduced" in section
    assert "evil@2026-06-05</b>, as of 2026-06-05. Licence: unknown" in section
    assert "Biases: &lt;img src=x" in section
    assert "headwater observatory ask most-liked --choice population=evil" in section
    assert re.search(r"<pre>with .*select", section, re.DOTALL)
    shown = CliRunner().invoke(observe_show.claims, ["mine", "--data", str(tmp_path)], catch_exceptions=False).output
    for part in (
        "headwater observatory ask most-liked",
        "evil@2026-06-05, as of 2026-06-05",
        f"Biases: {EVIL}",
        "--sql",
    ):
        assert part in shown
    asked = ["mine", "--sql", "--data", str(tmp_path)]
    sql = CliRunner().invoke(observe_show.claims, asked, catch_exceptions=False).output
    assert sql.startswith("-- holds, over the rows of each case\n(select count(*) > 0 from answer)")
    assert "-- here; evil@2026-06-05\nwith " in sql
    with pytest.raises(Invalid, match="name it"):
        CliRunner().invoke(observe_show.claims, ["--sql", "--data", str(tmp_path)], catch_exceptions=False)


def test_the_gap_without_one_account_stands_beside_that_without_one_model() -> None:
    spans = (Span(-1.0, "a/b", 2.0, "c/d"), Span(-3.25, "a", 4.0, "c"))
    shown = report._evidence([Evidence("x@1", "share", 3, 2, 0.0, 0.0, "US", "CN", 1.5, *spans)])
    assert "-1.0 (without a/b) to 2.0 (without c/d)" in shown
    assert "-3.2 (without a) to 4.0 (without c)" in shown


def test_a_folder_with_something_else_in_it_is_left_alone(evil: World, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(Conflict, match="not empty"):
        report.write(evil, tmp_path / "mine", Silent(), NAMES)
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_a_report_is_written_over_an_older_one(evil: World, tmp_path: Path) -> None:
    report.write(evil, tmp_path / "site", Silent(), ("licences",))
    report.write(evil, tmp_path / "site", Silent(), ("most-liked",))
    assert [file.stem for file in (tmp_path / "site/questions").iterdir()] == ["most-liked"]
    assert sorted(file.name for file in tmp_path.iterdir() if "site" in file.name) == ["site"]


def test_a_report_that_fails_leaves_nothing(evil: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "index_page", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.write(evil, tmp_path / "site", Silent(), ("licences",))
    assert not [file for file in tmp_path.iterdir() if "site" in file.name]


def test_without_data_every_question_is_left_out_with_its_reason(world: World, tmp_path: Path) -> None:
    written = report.write(world, tmp_path / "site", Silent(), NAMES)
    assert set(written.left_out) == set(NAMES)
    assert "import" in (tmp_path / "site/index.html").read_text()


def test_only_what_the_builder_made_goes_in_as_it_is() -> None:
    assert el("p", EVIL, el("b", "x")) == "<p>&lt;img src=x onerror=alert(1)&gt;\"'&amp;<b>x</b></p>"
    assert el("a", "x", href='"><script>') == '<a href="&quot;&gt;&lt;script&gt;">x</a>'


def test_a_csv_cell_is_no_formula() -> None:
    table = pa.table({"id": ["=cmd()", "a/b"], "n": [-1, 2]})
    assert report.as_csv(table) == b"id,n\n'=cmd(),-1\na/b,2\n"


def test_a_source_shows_its_licence_and_attribution_and_no_bad_link() -> None:
    one = Source("x@1", "x", "kind", "2026-01-01", "CC-BY-4.0", "Jane <Doe>", "javascript:alert(1)", "yes", "few")
    shown = report.sources([one])
    assert "CC-BY-4.0" in shown
    assert "Jane &lt;Doe&gt;" in shown
    assert "javascript" not in shown


def test_the_command_line_draws_checks_and_reports(evil: World, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert")
    data = ["--data", str(tmp_path)]
    for name, magic in (("a.png", b"\x89PNG"), ("a.svg", b"<svg"), ("a.json", b"{")):
        command = ["most-liked", "-o", str(tmp_path / name), "--choice", "population=evil", *data]
        assert CliRunner().invoke(observe_show.chart, command, catch_exceptions=False).exit_code == 0
        assert (tmp_path / name).read_bytes().startswith(magic)
    shown = CliRunner().invoke(observe_show.claims, data, catch_exceptions=False).output
    assert "undecidable" in shown
    one = CliRunner().invoke(observe_show.claims, ["r1-most-liked", *data], catch_exceptions=False).output
    assert "most liked model of all time" in one
    assert "is not here" in one
    with pytest.raises(Conflict, match="--force"):
        CliRunner().invoke(
            observe_show.chart, ["most-liked", "-o", str(tmp_path / "a.png"), *data], catch_exceptions=False
        )
    with pytest.raises(Invalid, match=r"\.svg"):
        CliRunner().invoke(observe_show.chart, ["most-liked", "-o", "a.gif", *data], catch_exceptions=False)
