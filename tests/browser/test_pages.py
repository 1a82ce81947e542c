"""A person with a browser: walks through every page, in light and dark, at a desk and on a phone, with and without
JavaScript. The screenshots in `shots/` are there to be looked at."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import hub_filling
import pytest
from browsing import DESK, PHONE, Tab
from hub_filling import Hub

Tabs = Callable[..., Tab]
MODEL = "/ada/tiny-sentences"
WALK = {
    "home": "/",
    "search": "/models?search=tiny",
    "nothing": "/models?search=nosuchthing",
    "datasets": "/datasets",
    "spaces": "/spaces",
    "card": MODEL,
    "card-gguf": "/river-lab/delta",
    "card-dataset": "/datasets/ada/rivers",
    "card-hostile": "/grace/hostile",
    "files": f"{MODEL}/tree/main",
    "files-hostile": "/grace/hostile/tree/main",
    "folder": f"{MODEL}/tree/main/onnx",
    "text": f"{MODEL}/blob/main/config.json",
    "tensors": f"{MODEL}/blob/main/model.safetensors",
    "tensors-gguf": "/river-lab/delta/blob/main/delta.Q4_K_M.gguf",
    "image": f"{MODEL}/blob/main/river.png",
    "commits": f"{MODEL}/commits/main",
    "commits-hostile": "/grace/hostile/commits/main",
    "person": "/ada",
    "organization": "/river-lab",
    "sign-in": "/login",
    "docs": "/docs/reference/settings",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_every_page_is_whole_and_asks_nobody_else(tab: Tabs, scheme: str, size: dict[str, int]) -> None:
    page = tab(color_scheme=scheme, viewport=size)
    for name, path in WALK.items():
        assert page.go(path).status == 200, path
        page.shoot(f"{name}.{scheme}")


def test_every_page_works_without_javascript(tab: Tabs) -> None:
    page = tab(java_script_enabled=False)
    for path in WALK.values():
        assert page.page.goto(page.hub.base + path).status == 200
    page.sign_in()
    page.page.goto(page.hub.base + f"{MODEL}/blob/main/model.safetensors?q=layer.3+bias")
    assert page.page.locator("#tensors tbody tr").count() == 3
    page.page.goto(page.hub.base + MODEL)
    page.page.get_by_text("curl", exact=True).click()
    page.page.get_by_text("curl -L -O").wait_for()
    assert not page.page.get_by_text("hf download").is_visible()
    assert not page.page.locator("button.copy").first.is_visible()


def test_search_and_filters_narrow_the_list(tab: Tabs) -> None:
    page = tab()
    page.go("/")
    page.page.keyboard.press("/")
    page.page.keyboard.type("delta")
    page.page.keyboard.press("Enter")
    page.page.wait_for_url("**/models?search=delta")
    assert page.page.locator(".repos > li").count() == 1
    page.go("/models")
    page.page.locator(".filters").get_by_role("link", name="apache-2.0").click()
    page.page.wait_for_url("**/models?license=apache-2.0")
    assert page.page.locator(".repos b").all_inner_texts()[:1] == ["tiny-sentences"]
    page.page.get_by_role("link", name="Likes").click()
    page.page.wait_for_url("**sort=likes")
    assert "license=apache-2.0" in page.page.url
    page.page.get_by_role("link", name="Clear all").click()
    page.page.wait_for_url("**/models")
    page.check()


def test_from_the_list_to_the_bytes(tab: Tabs) -> None:
    page = tab()
    page.go("/")
    page.page.get_by_role("link", name="tiny-sentences").click()
    page.page.get_by_role("heading", name="Usage").wait_for()
    page.page.get_by_text("64-dimensional").wait_for()
    assert "license:" not in page.page.locator(".prose").inner_text()
    image = page.page.locator(".prose img")
    assert image.evaluate("image => image.complete && image.naturalWidth") == 1
    page.page.get_by_role("link", name="Files", exact=True).click()
    page.page.get_by_role("link", name="model.safetensors", exact=True).click()
    page.page.get_by_text("26 tensors", exact=True).wait_for()
    with page.page.expect_download() as got:
        page.page.get_by_role("link", name="Download").click()
    assert got.value.suggested_filename == "model.safetensors"
    assert page.faults == []


def test_the_tensor_table_filters_as_one_types(tab: Tabs) -> None:
    page = tab()
    page.go(f"{MODEL}/blob/main/model.safetensors")
    box = page.page.get_by_label("Filter tensors")
    box.fill("layer.2 weight")
    rows = page.page.locator("#tensors tbody tr:visible")
    assert rows.count() == 3
    assert page.page.locator("#shown").inner_text().strip() == "3 of"
    box.fill("32x64")
    assert rows.locator(".name").all_inner_texts() == ["embeddings.position_embeddings.weight"]
    page.shoot("tensors-filtered")


def test_copying_gives_the_snippet_and_says_so(tab: Tabs) -> None:
    page = tab(permissions=["clipboard-read", "clipboard-write"])
    page.go(MODEL)
    page.page.get_by_label("Copy the setting").click()
    page.page.locator("#live", has_text="Copied").wait_for(state="attached")
    assert page.page.evaluate("navigator.clipboard.readText()") == f"export HF_ENDPOINT={page.hub.base}"


def test_the_code_of_a_card_can_be_copied_and_its_table_is_aligned(tab: Tabs) -> None:
    page = tab(permissions=["clipboard-read", "clipboard-write"])
    page.go(MODEL)
    page.page.locator(".prose").get_by_label("Copy").click()
    page.page.locator("#live", has_text="Copied").wait_for(state="attached")
    assert page.page.evaluate("navigator.clipboard.readText()").startswith("from sentence_transformers import")
    numbers = page.page.locator(".prose td", has_text="66,048")
    assert numbers.evaluate("cell => getComputedStyle(cell).textAlign").endswith("right")


def test_a_form_that_is_sent_twice_is_taken_once(tab: Tabs) -> None:
    page = tab()
    page.sign_in()
    page.go("/settings/tokens")
    page.page.get_by_label("New token").fill("twice")
    create = page.page.get_by_role("button", name="Create")
    create.evaluate("button => { button.click(); button.click() }")
    page.page.locator("#made").wait_for()
    page.check()


def test_a_tablet_shows_the_filters_beside_the_search(tab: Tabs) -> None:
    page = tab(viewport={"width": 768, "height": 1024})
    page.go("/models?license=mit")
    button = page.page.get_by_text("Filters (1)")
    search, filters = page.page.locator(".find.big").bounding_box(), button.bounding_box()
    assert search and filters
    assert search["x"] + search["width"] + 8 < filters["x"]
    page.shoot("filtered.tablet")


def test_a_press_on_a_number_puts_the_line_into_the_address(tab: Tabs) -> None:
    page = tab()
    page.go(f"{MODEL}/blob/main/config.json")
    line = page.page.locator("#L2")
    line.click(position={"x": 300, "y": 5})
    assert "#" not in page.page.url
    line.click(position={"x": 20, "y": 5})
    page.page.wait_for_url("**/config.json#L2")
    page.check()


def test_a_chosen_theme_is_kept_and_never_flashes(tab: Tabs) -> None:
    page = tab(color_scheme="light")
    page.go("/")
    light = page.page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.page.get_by_label("Use dark colours").click()
    dark = page.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light != dark
    page.go(MODEL)
    assert dark == page.page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.page.get_by_label("Use light colours").click()
    assert light == page.page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_the_keyboard_reaches_everything_visibly(tab: Tabs) -> None:
    page = tab()
    page.go(MODEL)
    page.page.keyboard.press("Tab")
    assert page.page.evaluate("document.activeElement.textContent") == "Skip to content"
    for _ in range(12):
        page.page.keyboard.press("Tab")
        outline = page.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", page.page.evaluate("document.activeElement.outerHTML")


def test_nothing_moves_while_a_page_loads(tab: Tabs) -> None:
    page = tab()
    page.page.add_init_script(
        "window.moved = 0; new PerformanceObserver(list => { for (const one of list.getEntries()) window.moved += one.value })"
        ".observe({type: 'layout-shift', buffered: true})"
    )
    for path in ("/", MODEL, f"{MODEL}/blob/main/model.safetensors"):
        page.go(path)
        assert page.page.evaluate("window.moved") < 0.01


def test_what_people_wrote_never_runs(tab: Tabs) -> None:
    page = tab()
    asked: list[str] = []
    page.page.on("dialog", lambda dialog: asked.append(dialog.message))
    for path in ("/grace/hostile", "/grace/hostile/tree/main", "/grace/hostile/commits/main", "/grace", "/models"):
        page.go(path)
    page.page.get_by_role("link", name="hostile").first.click()
    page.go("/grace/hostile/tree/main")
    page.page.get_by_role("link", name="<img src=x onerror=alert(5)>.txt", exact=True).click()
    page.page.get_by_text("</code><script>alert(6)</script>").wait_for()
    assert asked == []
    page.check()


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_deleted_repo_is_brought_back_to_another_name(tab: Tabs, size: dict[str, int]) -> None:
    page, name = tab(viewport=size), f"undone-{size['width']}"
    page.sign_in()
    token = {"Authorization": f"Bearer {hub_filling.SEED['users'][0]['token']}"}
    for method, what in (("POST", "create"), ("DELETE", "delete"), ("POST", "create")):
        where = f"{page.hub.base}/api/repos/{what}"
        assert page.page.request.fetch(where, method=method, data={"name": name}, headers=token).ok
    page.page.locator(".who summary").click()
    page.page.locator(".who").get_by_role("link", name="Recently deleted").click()
    page.page.get_by_role("button", name=f"Bring back ada/{name}").click()
    page.page.get_by_role("alert").wait_for()
    page.faults.clear()  # Chromium notes the 409
    page.shoot("deleted")
    page.page.get_by_label(f"Name that ada/{name} comes back to").fill(f"{name}-2")
    page.page.get_by_role("button", name=f"Bring back ada/{name}").click()
    page.page.wait_for_url(f"**/ada/{name}-2")
    page.go("/settings/deleted")
    page.page.get_by_text("Nothing was deleted lately").wait_for()


@pytest.mark.parametrize("script", [True, False], ids=["", "no JavaScript"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_new_repo_is_as_its_owner_has_it_unless_somebody_says_otherwise(
    tab: Tabs, size: dict[str, int], script: bool
) -> None:
    page, name = tab(viewport=size, java_script_enabled=script), f"quiet-{size['width']}-{script}"
    page.sign_in()
    page.go("/new?owner=quiet-lab")
    assert page.page.get_by_role("radio", name="As the owner has it").is_checked()
    page.page.get_by_text("Private for quiet-lab").wait_for()
    page.shoot("new-repo-as-owner")
    page.page.get_by_label("Name").fill(name)
    page.page.get_by_role("button", name="Create repo").click()
    page.page.wait_for_url(f"**/quiet-lab/{name}")
    page.page.locator(".badge.private").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_like_is_given_and_taken_back_without_javascript(tab: Tabs, size: dict[str, int], scheme: str) -> None:
    page = tab(viewport=size, color_scheme=scheme, java_script_enabled=False)
    page.go(f"{MODEL}/tree/main")
    before = int(page.page.locator("a.like b").inner_text())
    page.page.locator("a.like").click()
    page.page.get_by_label("Password").wait_for()
    page.sign_in()
    page.go(f"{MODEL}/tree/main")
    page.shoot(f"like-before.{scheme}")
    page.page.get_by_role("button", name="Like this model").click()
    page.page.wait_for_url(f"**{MODEL}/tree/main")
    assert page.page.locator(".liked b").inner_text() == str(before + 1)
    page.shoot(f"like-given.{scheme}")
    page.page.get_by_role("button", name="Take your like back").click()
    page.page.get_by_role("button", name="Like this model").wait_for()
    assert page.page.locator("button.like b").inner_text() == str(before)
    assert page.page.locator(".liked").count() == 0


def test_sign_in_make_a_repo_and_a_token_and_sign_out(tab: Tabs) -> None:
    page = tab()
    page.go("/login")
    page.page.get_by_label("Name").fill("ada")
    page.page.get_by_label("Password").fill("not hers")
    page.page.locator("main").get_by_role("button", name="Sign in").click()
    page.page.get_by_role("alert").wait_for()
    page.faults.clear()  # Chromium notes the 401
    page.sign_in()
    page.page.locator(".repos b", has_text="secret-plans").wait_for()
    page.shoot("home-signed-in")

    page.page.locator(".who summary").click()
    page.shoot("menu")
    page.page.locator(".who").get_by_role("link", name="New repo").click()
    page.page.get_by_role("radio", name="Dataset").check()
    page.page.get_by_role("combobox", name="Owner").select_option("river-lab")
    page.page.get_by_label("Name").fill("gauges")
    page.page.get_by_role("radio", name="Private").check()
    page.shoot("new-repo")
    page.page.get_by_role("button", name="Create repo").click()
    page.page.wait_for_url("**/datasets/river-lab/gauges")
    page.page.get_by_text("This dataset is empty").wait_for()
    page.shoot("empty-repo")

    page.go("/settings/tokens")
    page.page.get_by_label("New token").fill("laptop")
    page.page.get_by_role("button", name="Create").click()
    secret = page.page.locator("#made").inner_text()
    assert re.fullmatch(r"hf_[A-Za-z0-9]{20,}", secret)
    page.shoot("token-made")
    who = page.page.request.get(page.hub.base + "/api/whoami-v2", headers={"Authorization": f"Bearer {secret}"})
    assert who.json()["name"] == "ada"
    page.go("/settings/tokens")
    assert secret not in page.page.content()
    page.page.get_by_label("Revoke laptop").click()
    page.page.get_by_label("Revoke laptop").wait_for(state="detached")
    page.shoot("tokens")

    page.page.locator(".who summary").click()
    page.page.get_by_role("button", name="Sign out").click()
    page.page.get_by_role("link", name="Sign in").wait_for()
    assert page.page.locator(".repos b", has_text="secret-plans").count() == 0
    page.check()


def test_a_missing_page_is_a_page(tab: Tabs) -> None:
    page = tab()
    answer: Any = page.page.goto(page.hub.base + "/ada/nosuch")
    assert answer.status == 404
    page.page.get_by_role("heading", name="Not here").wait_for()
    page.faults.clear()  # Chromium notes the 404
    page.shoot("missing")


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_new_hub_says_what_to_do_first(chromium: Any, new_hub: tuple[Hub, str], size: dict[str, int]) -> None:
    hub, _ = new_hub
    context = chromium.new_context(viewport=size)
    page = Tab(context, hub)
    page.go("/")
    page.page.get_by_text(f"export HF_ENDPOINT={hub.base}").wait_for()
    page.page.get_by_text("hf upload").wait_for()
    page.shoot("new-hub")
    context.close()


def test_the_first_administrator_signs_in_by_the_printed_link(chromium: Any, new_hub: tuple[Hub, str]) -> None:
    hub, announced = new_hub
    link = re.search(r"\S+/login/link/\S+", announced)
    assert link is not None, announced
    context = chromium.new_context(viewport=DESK)
    page = Tab(context, hub)
    page.page.goto(link[0])
    page.shoot("link")
    page.page.locator("main").get_by_role("button", name="Sign in").click()
    page.page.wait_for_url(hub.base + "/")
    page.page.locator(".who").wait_for()
    page.page.goto(link[0])
    page.page.locator("main").get_by_role("button", name="Sign in").click()
    page.page.get_by_role("alert").wait_for()
    context.close()
