"""The Observatory in a browser: charts that one can touch under a policy without eval, and choices in the address."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browsing import DESK, PHONE, Tab
from conftest import serving
from hub_filling import Hub

Tabs = Callable[..., Tab]
QUESTION = "/observatory/questions/downloads-by-country"
EVIL = "<img src=x onerror=document.title='stolen'>"
DRAWN = "figure.chart[data-drawn]"
KINDS = (
    "downloads-by-country", "country-flip", "derivatives-by-family", "licence-flows", "liked-countries",
    "concentration-curve", "modality-over-time", "most-liked",
)  # fmt: skip
"""A question for each kind of chart."""


@pytest.fixture(scope="module")
def hub(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """One with a snapshot of some models, of which one uploader means harm."""
    data = tmp_path_factory.mktemp("observed")
    owners = ("Qwen", "deepseek-ai", "meta-llama", "google", "mistralai", EVIL)
    ids = [f"{owner}/model-{n}" for owner in owners for n in range(8)]
    licences = ("apache-2.0", "mit", EVIL)
    columns: dict[str, list[Any]] = {
        "id": ids,
        "author": [one.rpartition("/")[0] for one in ids],
        "likes": [(n * 37) % 101 for n in range(len(ids))],
        "downloads": [(n * 7919) % 5_003 for n in range(len(ids))],
        "downloadsAllTime": [(n * 7919) % 50_021 for n in range(len(ids))],
        "createdAt": [f"202{3 + n % 4}-0{1 + n % 5}-11T00:00:00" for n in range(len(ids))],
        "pipeline_tag": [("text-generation", "text-to-image", EVIL)[n % 3] for n in range(len(ids))],
        "tags": [
            [f"license:{licences[n % 3]}", f"base_model:{ids[n % 7]}", f"base_model:finetune:{ids[n % 7]}"][: 1 + n % 3]
            for n in range(len(ids))
        ],
    }
    file = data / "dump.parquet"
    pq.write_table(pa.table(columns), file)
    command = [sys.executable, "-m", "headwater", "observatory", "import", str(file), "--data", str(data)]
    facts = ["--kind", "hub-stats", "--name", "tiny", "--date", "2026-06-05", "--attribution", EVIL]
    subprocess.run([*command, *facts], check=True, capture_output=True, timeout=60)
    with serving(data) as (served, _):
        yield served


def drawn(tab: Tab, path: str) -> None:
    assert tab.go(path).status == 200
    tab.page.wait_for_selector(DRAWN)
    tab.check()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_charts_are_drawn_under_the_policy_and_ask_nobody_else(tab: Tabs, scheme: str, size: dict[str, int]) -> None:
    """`Tab` notes every line on the console, violations of the policy among them, and every request to elsewhere."""
    look = tab(color_scheme=scheme, viewport=size)
    for name in KINDS:
        drawn(look, f"/observatory/questions/{name}")
        assert look.page.locator(".live svg").count() == 1, name
        wide = look.page.locator(".live").evaluate("one => one.scrollWidth <= one.clientWidth")
        assert wide, f"{name} is cut off"
        look.shoot(f"observe-{name}.{scheme}")
    for name, path in {"observatory": "/observatory", "claims": "/observatory/claims"}.items():
        assert look.go(path).status == 200
        look.shoot(f"{name}.{scheme}")
    assert look.page.title() != "stolen"


def test_a_choice_changes_the_address_and_the_answer(tab: Tabs) -> None:
    look = tab()
    drawn(look, QUESTION)
    assert look.page.get_by_role("columnheader", name="models uploader", exact=True).count() == 1
    look.page.get_by_label("attribution").select_option("uploader")
    look.page.get_by_label("modality").fill("text-generation")
    look.page.get_by_role("button", name="Ask").click()
    look.page.wait_for_url("**/downloads-by-country?attribution=uploader&modality=text-generation")
    look.page.wait_for_selector(DRAWN)
    assert look.page.get_by_role("columnheader", name="models uploader", exact=True).count() == 0
    assert look.page.get_by_label("attribution").input_value() == "uploader"
    assert look.page.locator("tr", has_text="attribution").filter(has_text="uploader").count() >= 1
    look.check()
    look.page.go_back()
    look.page.wait_for_url("**/downloads-by-country")
    assert look.page.get_by_label("attribution").input_value() == ""


def test_a_choice_that_can_not_be_made_is_told_beside_the_form(tab: Tabs) -> None:
    look = tab()
    drawn(look, QUESTION)
    look.page.get_by_label("window").fill("forever")
    look.page.get_by_role("button", name="Ask").click()
    look.page.get_by_role("alert").get_by_text("forever").wait_for()
    assert look.page.get_by_label("window").input_value() == "forever"


def test_the_pointer_gets_figures_and_the_legend_picks_out(tab: Tabs) -> None:
    look = tab()
    drawn(look, QUESTION)
    look.page.locator(".live svg .mark-symbol.role-mark path").first.hover()
    look.page.locator("#vg-tooltip-element.visible").get_by_text("share, %").wait_for()
    faint = ".live svg .mark-symbol.role-mark path[opacity='0.12']"
    assert look.page.locator(faint).count() == 0
    look.page.locator(".live svg .role-legend-symbol path").first.click()
    look.page.wait_for_selector(faint, state="attached")
    look.check()


def test_a_chart_follows_the_theme_and_the_width(tab: Tabs) -> None:
    look = tab()
    drawn(look, QUESTION)
    first = look.page.locator(DRAWN).get_attribute("data-drawn")
    assert str(first).startswith("light")
    look.page.locator("#theme").click()
    look.page.wait_for_selector("figure.chart[data-drawn^=dark]")
    paper = look.page.locator(".live svg").evaluate("one => getComputedStyle(one).backgroundColor")
    assert paper == "rgb(17, 26, 27)"
    look.page.set_viewport_size(PHONE)
    look.page.wait_for_selector(f"figure.chart:not([data-drawn='dark{str(first)[5:]}'])")
    look.check()


def test_without_scripts_there_is_a_picture_and_a_form(tab: Tabs) -> None:
    pytest.importorskip("vl_convert")
    look = tab(java_script_enabled=False)
    look.page.goto(look.hub.base + QUESTION)
    image = look.page.locator("picture.for-light img")
    image.scroll_into_view_if_needed()
    look.page.wait_for_load_state("networkidle")
    assert image.evaluate("one => one.complete && one.naturalWidth") > 300
    look.page.get_by_label("attribution").select_option("uploader")
    look.page.get_by_role("button", name="Ask").click()
    look.page.wait_for_url("**/downloads-by-country?attribution=uploader")
    assert look.faults == []


def test_sql_and_data_are_one_click_away(tab: Tabs) -> None:
    look = tab()
    drawn(look, f"{QUESTION}?attribution=uploader")
    look.page.get_by_text("SQL", exact=True).click()
    look.page.locator("details[open] code", has_text="select").first.wait_for()
    with look.page.expect_download() as got:
        look.page.get_by_role("link", name="CSV").click()
    assert got.value.suggested_filename == "downloads-by-country.csv"
    assert look.faults == []


def test_a_claim_leads_to_its_question_and_back_to_the_menu(tab: Tabs) -> None:
    look = tab()
    look.go("/")
    look.page.get_by_role("navigation", name="Main").get_by_role("link", name="Observatory").click()
    look.page.get_by_role("heading", name="The Observatory").wait_for()
    look.page.locator("section", has_text="Claims").get_by_role("link").first.click()
    look.page.wait_for_url("**/observatory/claims#*")
    look.page.get_by_text("Rule and SQL").first.click()
    look.page.get_by_text("-- holds").first.wait_for()
    look.check()
