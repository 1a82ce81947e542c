"""Every page, plain and hostile: well formed, escaped, within the CSP, with links under the base path, and quick."""

from __future__ import annotations

import importlib.util
import re
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest
from jinja2 import UndefinedError

from headwater.front.pages import render

RENDER_MS_MAX = 5
CSS_BYTES_MAX = 25_000
JS_BYTES_MAX = 8_000
VOID = frozenset("area base br col embed hr img input link meta source track wbr path rect circle use".split())


def _samples() -> ModuleType:
    """tests/browser/page_samples.py, which the gallery shows as well."""
    path = Path(__file__).parents[2] / "browser" / "page_samples.py"
    spec = importlib.util.spec_from_file_location("page_samples", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["page_samples"] = module
    spec.loader.exec_module(module)
    return module


samples = _samples()
every_page = pytest.mark.parametrize("name", sorted(samples.PAGES))


class Page(HTMLParser):
    """Elements with their attributes; fails on elements that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.forms: list[tuple[dict[str, str], list[dict[str, str]]]] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.elements.append((tag, found))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "form":
            self.forms.append((found, []))
        if tag == "input" and self.forms and "form" in self.open:
            self.forms[-1][1].append(found)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


@every_page
def test_every_page_is_well_formed(name: str) -> None:
    page = Page(samples.page(name))
    ids = [found["id"] for _, found in page.elements if "id" in found]
    assert len(ids) == len(set(ids))
    assert sum(tag == "h1" for tag, _ in page.elements) >= 1


@every_page
def test_no_page_needs_what_the_policy_forbids(name: str) -> None:
    for tag, found in Page(samples.page(name)).elements:
        assert not any(key.startswith("on") or key == "style" for key in found), (tag, found)
        assert tag != "style"
        if tag == "script":
            assert found["src"].startswith("/static/")


@every_page
def test_what_people_wrote_is_never_markup(name: str) -> None:
    html = samples.page(name)
    assert "<script>alert" not in html
    assert samples.EVIL not in html


@every_page
def test_every_link_is_under_the_base_path(name: str) -> None:
    for tag, found in Page(samples.page(name, "/hubs/one")).elements:
        for key in ("href", "src", "action"):
            if key in found and (tag, name) not in {("a", "card"), ("a", "docs")}:  # links of the sample card itself
                assert found[key].startswith(("/hubs/one/", "#")), (tag, found)


@every_page
def test_every_form_that_changes_something_carries_the_secret(name: str) -> None:
    viewer = samples.ADA.csrf if name in samples.SIGNED_IN else ""
    for form, inputs in Page(samples.page(name)).forms:
        if form.get("method") == "post":
            assert [one["value"] for one in inputs if one.get("name") == "csrf"] == [viewer]


@every_page
def test_every_icon_and_label_exists(name: str) -> None:
    page = Page(samples.page(name))
    ids = {found["id"] for _, found in page.elements if "id" in found}
    for tag, found in page.elements:
        if tag == "use":
            assert found["href"].removeprefix("#") in ids
        if tag == "label" and "for" in found:
            assert found["for"] in ids
        if tag == "button" and found.get("data-copy-from"):
            assert found["data-copy-from"] in ids


@every_page
def test_a_page_is_rendered_within_its_time(name: str) -> None:
    samples.page(name)
    spent = []
    for _ in range(5):
        start = time.thread_time()
        samples.page(name)
        spent.append(time.thread_time() - start)
    assert min(spent) * 1000 < RENDER_MS_MAX


def test_no_page_sends_people_to_a_sign_in_that_the_hub_does_not_offer() -> None:
    """`hf auth login` alone opens a browser at /oauth/device."""
    said = "".join(samples.page(name) for name in samples.PAGES)
    assert "hf auth login --token hf_" in said
    assert not re.search(r"hf auth login(?! --token )", said)


def test_a_template_fails_on_a_name_it_does_not_know() -> None:
    with pytest.raises(UndefinedError):
        render._page("card.html", samples.site(), "model", "x")


def test_static_files_are_small_and_named_by_their_content() -> None:
    files = render.static_files()
    own = {name for name in files if not name.startswith("vendor/")}
    assert own >= {"app.css", "app.js", "headwater.svg", "observe.css", "observe.js"}
    assert {name for name in files if name not in own} == {
        "vendor/LICENSES.txt", "vendor/vega.min.js", "vendor/vega-lite.min.js", "vendor/vega-embed.min.js"
    }  # fmt: skip
    for name in own:
        assert len(files[name].body) <= (CSS_BYTES_MAX if name.endswith("css") else JS_BYTES_MAX)
    for file in files.values():
        assert re.fullmatch(r"/static/[A-Za-z.-]+\.[0-9a-f]{12}\.[a-z]+", file.url_path)
        assert render.static_file(file.url_path.removeprefix("/static/")) is file


def test_other_peoples_scripts_come_with_their_licences_and_evaluate_nothing_by_themselves() -> None:
    licences = render.static_files()["vendor/LICENSES.txt"].body.decode()
    for name in (
        "vega 6.4.0",
        "vega-lite 6.4.3",
        "vega-embed 7.3.0",
        "vega-interpreter",
        "d3-array",
        "fast-json-patch",
    ):
        assert name in licences
    assert "ast: true" in render.static_files()["observe.js"].body.decode()


def test_an_outdated_or_foreign_static_name_is_nobodys() -> None:
    for name in ("app.css", "app.000000000000.css", "../render.py", ""):
        assert render.static_file(name) is None


def test_the_compacted_stylesheet_says_the_same() -> None:
    written = (Path(render.__file__).parent / "static" / "app.css").read_text()
    css = render.static_files()["app.css"].body.decode()
    for sign in "{};":
        in_code = re.sub(r"/\*.*?\*/", "", written, flags=re.DOTALL).count(sign)
        assert css.count(sign) == (in_code if sign != ";" else css.count(";"))
    assert "/*" not in css
    assert "calc(100% + 6px)" in css
    assert "url(" not in css


def test_colours_have_the_contrast_of_wcag_aa() -> None:
    css = (Path(render.__file__).parent / "static" / "app.css").read_text()
    found = dict(re.findall(r"--([a-z-]+): light-dark\((#[0-9a-f]+, #[0-9a-f]+)\)", css))
    for scheme in (0, 1):
        colour = {name: pair.split(", ")[scheme] for name, pair in found.items()}
        for text in ("text", "muted", "accent"):
            for ground in ("bg", "surface", "raised", "sunk"):
                assert _contrast(colour[text], colour[ground]) >= 4.5, (scheme, text, ground)
        for text, ground in (("on-fill", "fill"), ("warn", "warn-bg"), ("accent", "accent-bg"), ("bad", "raised"), ("good", "surface")):  # fmt: skip
            assert _contrast(colour[text], colour[ground]) >= 4.5, (scheme, text, ground)


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
