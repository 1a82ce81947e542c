"""The pages over real rooms: who sees what, signing in and out, tokens, new repos, and what errors look like."""

from __future__ import annotations

import asyncio
import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from headwater import app as root
from headwater.accounts import OPERATOR
from headwater.front.asgi import SESSION_COOKIE, App
from headwater.front.pages import contents, repository
from headwater.front.rooms import Rooms
from headwater.ground.clock import FixedClock
from headwater.ground.names import FilePath, RepoId
from headwater.ground.settings import Settings
from headwater.repos import AddInline, Message

PASSWORD = "analytical engine 1843"
PREFIX = "/hubs/one"
CARD = b"---\nlicense: mit\npipeline_tag: text-generation\nlibrary_name: transformers\n---\n# Tiny\n\n[settings](config.json) ![x](x.png)\n"


@dataclass
class Browser:
    """Keeps a cookie and reads pages, as a browser without JavaScript does."""

    app: App
    cookie: str = ""

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self._send("GET", path, None, headers)

    def post(self, path: str, fields: dict[str, str], **headers: str) -> httpx.Response:
        return self._send("POST", path, fields, headers)

    def submit(self, page: str, action: str, fields: dict[str, str]) -> httpx.Response:
        """Posts a form of `page`, with the hidden fields that it has there."""
        html = self.get(page).text
        form = re.search(rf'<form[^>]*action="{PREFIX}{action}".*?</form>', html, re.DOTALL)
        assert form is not None, html
        hidden = re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', form[0])
        return self.post(action, {**{name: unescape(value) for name, value in hidden}, **fields})

    def _send(self, method: str, path: str, fields: dict[str, str] | None, more: dict[str, str]) -> httpx.Response:
        headers = {"Accept": "text/html", **{name.replace("_", "-"): value for name, value in more.items()}}
        if self.cookie:
            headers["Cookie"] = f"{SESSION_COOKIE}={self.cookie}"
        if fields is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = urlencode(fields) if fields is not None else None
        answer = asyncio.run(self._sent(method, path, headers, body))
        for cookie in answer.headers.get_list("set-cookie"):
            self.cookie = cookie.partition("=")[2].partition(";")[0]
        return answer

    async def _sent(self, method: str, path: str, headers: dict[str, str], body: str | None) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://hub.example") as client:
            return await client.request(method, PREFIX + path, headers=headers, content=body)


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[Rooms]:
    settings = Settings(data=str(tmp_path), public_url=f"http://hub.example{PREFIX}")
    made = root.open_rooms(settings, FixedClock())
    root.prepare(made)
    made.accounts.create_user("ada", "Ada Lovelace")
    made.accounts.create_user("grace", "Grace Hopper")
    yield made
    made.db.close()


@pytest.fixture
def app(rooms: Rooms) -> Iterator[App]:
    made = root.make_app(rooms)
    yield made
    made.close()


@pytest.fixture
def nobody(app: App) -> Browser:
    return Browser(app)


@pytest.fixture
def password(rooms: Rooms) -> str:
    """Ada's; few tests need it, and making it takes as long as all else."""
    rooms.accounts.set_password(OPERATOR, "ada", PASSWORD)
    return PASSWORD


@pytest.fixture
def ada(app: App) -> Browser:
    return signed_in(app, "ada")


def signed_in(app: App, name: str) -> Browser:
    accounts = app.rooms.accounts
    return Browser(app, accounts.sign_in(accounts.user(name).id))


def make(
    rooms: Rooms,
    full: str = "ada/tiny",
    *,
    private: bool = False,
    gated: str | None = None,
    files: dict[str, bytes] | None = None,
) -> None:
    namespace, name = full.split("/")
    user = rooms.accounts.actor_again(rooms.accounts.user(namespace).id, None)
    made = rooms.repos.registry.create(user, RepoId("model", namespace, name), private, gated=gated)
    operations = [AddInline(FilePath(path), data) for path, data in (files or {"README.md": CARD}).items()]
    rooms.repos.commit.apply(user, made.repo, "main", None, Message("Add <b>files</b>"), operations)
    rooms.index.follow()
    rooms.index.index(made.repo.id)


# ---- signing in ----


def test_a_session_is_new_hidden_from_scripts_and_bound_to_the_prefix(nobody: Browser, password: str) -> None:
    nobody.cookie = "planted"
    answer = nobody.submit("/login", "/login", {"name": "ada", "password": password})
    cookie = answer.headers["set-cookie"]
    assert "planted" not in cookie
    assert f"Path={PREFIX}; " in cookie
    assert "HttpOnly; SameSite=Lax" in cookie
    assert answer.headers["location"] == f"{PREFIX}/"


def test_T46_a_wrong_password_and_an_unknown_name_look_the_same(nobody: Browser, password: str) -> None:
    wrong = nobody.post("/login", {"name": "ada", "password": "wrong wrong wrong"})
    unknown = nobody.post("/login", {"name": "nobody", "password": "wrong wrong wrong"})
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.text.replace('value="ada"', "") == unknown.text.replace('value="nobody"', "")
    assert "set-cookie" not in wrong.headers
    assert "www-authenticate" not in wrong.headers


def test_T46_too_many_tries_are_told_so_on_the_page(nobody: Browser, password: str) -> None:
    answers = [nobody.post("/login", {"name": "ada", "password": "wrong wrong"}) for _ in range(11)]
    assert answers[-1].status_code == 429
    assert "retry-after" in answers[-1].headers


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://elsewhere.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}]
)
def test_T46_another_site_cannot_sign_anybody_in(nobody: Browser, headers: dict[str, str], password: str) -> None:
    answer = nobody.post("/login", {"name": "ada", "password": password}, **headers)
    assert answer.status_code == 403
    assert nobody.cookie == ""


def test_our_own_page_may_be_reached_under_another_name(nobody: Browser, password: str) -> None:
    fields = {"name": "ada", "password": password}
    assert nobody.post("/login", fields, Origin="http://hub.example").status_code == 303


@pytest.mark.parametrize(
    "after", ["//elsewhere.example", "https://elsewhere.example/", "/\\elsewhere", "x", "/\r\nX: y"]
)
def test_signing_in_never_leads_away(nobody: Browser, after: str, password: str) -> None:
    answer = nobody.post("/login", {"name": "ada", "password": password, "next": after})
    assert answer.headers["location"] == f"{PREFIX}/"


def test_signing_in_leads_back_to_where_one_was(nobody: Browser, password: str) -> None:
    asked = nobody.get("/new?type=dataset")
    assert asked.status_code == 303
    assert asked.headers["location"] == f"{PREFIX}/login?next=%2Fnew%3Ftype%3Ddataset"
    form = asked.headers["location"].removeprefix(PREFIX)
    answer = nobody.submit(form, "/login", {"name": "ada", "password": password})
    assert answer.headers["location"] == f"{PREFIX}/new?type=dataset"


def test_a_one_time_link_is_used_by_its_button_and_only_once(rooms: Rooms, nobody: Browser) -> None:
    secret = rooms.accounts.make_signin_link(rooms.accounts.user("ada").id)
    assert nobody.get(f"/login/link/{secret}").headers["referrer-policy"] == "strict-origin"
    answer = nobody.submit(f"/login/link/{secret}", "/login/link", {})
    assert answer.status_code == 303
    assert "Your repos" in nobody.get("/").text
    nobody.cookie = ""
    again = nobody.submit(f"/login/link/{secret}", "/login/link", {})
    assert again.status_code == 401
    assert nobody.cookie == ""


def test_signing_out_ends_the_session_itself(ada: Browser) -> None:
    old = ada.cookie
    assert ada.submit("/", "/logout", {}).status_code == 303
    assert ada.cookie == ""
    ada.cookie = old
    assert "Your repos" not in ada.get("/").text


def test_T46_a_form_without_the_sessions_secret_changes_nothing(rooms: Rooms, ada: Browser) -> None:
    for path, fields in (("/new", {"type": "model", "owner": "ada", "name": "x"}), ("/settings/tokens", {"name": "t", "role": "read"}), ("/logout", {})):  # fmt: skip
        assert ada.post(path, fields).status_code == 403
        assert ada.post(path, {**fields, "csrf": "guess"}).status_code == 403
    assert rooms.accounts.list_tokens(rooms.accounts.user("ada").id) == []
    assert "Your repos" in ada.get("/").text


# ---- tokens ----


def test_a_token_is_shown_once_and_works(rooms: Rooms, ada: Browser) -> None:
    made = ada.submit("/settings/tokens", "/settings/tokens", {"name": "laptop", "role": "write", "days": "30"})
    assert made.headers["cache-control"] == "private, no-store"
    secret = re.search(r"hf_[A-Za-z0-9]{20,}", made.text)
    assert secret is not None
    assert rooms.accounts.actor_by_token(secret[0]).name == "ada"
    later = ada.get("/settings/tokens").text
    assert secret[0] not in later
    assert "laptop" in later


def test_a_revoked_token_is_gone_from_the_page_and_from_use(rooms: Rooms, ada: Browser) -> None:
    user = rooms.accounts.actor_again(rooms.accounts.user("ada").id, None)
    token, _ = rooms.accounts.create_token(user, "worn-out", "read")
    assert ada.submit("/settings/tokens", "/settings/tokens/revoke", {"id": str(token.id)}).status_code == 303
    assert "worn-out" not in ada.get("/settings/tokens").text


def test_T35_nobody_revokes_anothers_token(rooms: Rooms, ada: Browser) -> None:
    grace = rooms.accounts.actor_again(rooms.accounts.user("grace").id, None)
    token, _ = rooms.accounts.create_token(grace, "hers", "read")
    rooms.accounts.create_token(rooms.accounts.actor_again(rooms.accounts.user("ada").id, None), "mine", "read")
    assert ada.submit("/settings/tokens", "/settings/tokens/revoke", {"id": str(token.id)}).status_code == 404
    assert [one.name for one in rooms.accounts.list_tokens(rooms.accounts.user("grace").id)] == ["hers"]


@pytest.mark.parametrize(("field", "value"), [("name", " "), ("role", "root"), ("days", "-1"), ("days", "9" * 30)])
def test_a_token_that_cannot_be_made_says_why_on_the_page(ada: Browser, field: str, value: str) -> None:
    fields = {"name": "laptop", "role": "read", "days": "", field: value}
    answer = ada.submit("/settings/tokens", "/settings/tokens", fields)
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text


# ---- new repo ----


def test_a_new_repo_is_made_and_shown_with_what_to_do_next(ada: Browser) -> None:
    fields = {"type": "dataset", "owner": "ada", "name": "rivers", "visibility": "private"}
    answer = ada.submit("/new?type=dataset", "/new", fields)
    assert answer.headers["location"] == f"{PREFIX}/datasets/ada/rivers"
    page = ada.get("/datasets/ada/rivers").text
    assert "hf upload ada/rivers ./folder --repo-type dataset" in page
    assert "export HF_TOKEN=hf_..." in page
    assert "Private" in page


@pytest.mark.parametrize("kind", ["model", "space"])
def test_every_type_can_be_made(ada: Browser, kind: str) -> None:
    fields = {"type": kind, "owner": "ada", "name": "one", "visibility": "public"}
    assert ada.submit("/new", "/new", fields).status_code == 303


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"name": "tiny"}, 409), ({"name": "../x"}, 400), ({"name": "a--b"}, 400), ({"name": "x", "owner": "grace"}, 403), ({"name": "x", "owner": "<marquee>"}, 400)],
)  # fmt: skip
def test_a_repo_that_cannot_be_made_says_why_and_keeps_the_form(
    rooms: Rooms, ada: Browser, fields: dict[str, str], status: int
) -> None:
    make(rooms, "ada/tiny")
    answer = ada.submit("/new", "/new", {"type": "model", "owner": "ada", "visibility": "private", **fields})
    assert answer.status_code == status
    assert 'role="alert"' in answer.text
    assert "<marquee>" not in answer.text
    assert re.search(r'value="private" checked', answer.text)


@pytest.fixture
def acme(rooms: Rooms) -> str:
    """An organization of Ada's whose new repos are private, on a hub whose new repos are public."""
    rooms.accounts.create_org(OPERATOR, "acme", "", "private")
    rooms.accounts.set_member(OPERATOR, "acme", "ada", "admin")
    return "acme"


def checked(page: str) -> list[str]:
    """The choice of visibility that the form comes with."""
    return re.findall(r'name="visibility" value="([^"]*)" checked', page)


@pytest.mark.parametrize(("owner", "private"), [("acme", True), ("ada", False)])
def test_a_new_repo_is_as_its_owner_has_it_unless_somebody_says_otherwise(
    rooms: Rooms, ada: Browser, acme: str, owner: str, private: bool
) -> None:
    page = ada.get(f"/new?owner={owner}").text
    assert checked(page) == [""]
    assert f"{'Private' if private else 'Public'} for {owner}" in page
    assert re.findall(r'<option value="(\w+)".*?>(.*?)<', page) == [("ada", "ada (public)"), (acme, "acme (private)")]
    ada.submit("/new", "/new", {"type": "model", "owner": owner, "name": "x", "visibility": checked(page)[0]})
    assert rooms.repos.registry.open(OPERATOR, RepoId("model", owner, "x"), "read").private is private


@pytest.mark.parametrize("said", ["public", "private"])
def test_what_is_said_on_the_form_goes_before_what_the_owner_has(
    rooms: Rooms, ada: Browser, acme: str, said: str
) -> None:
    ada.submit("/new", "/new", {"type": "model", "owner": acme, "name": "x", "visibility": said})
    assert rooms.repos.registry.open(OPERATOR, RepoId("model", acme, "x"), "read").private is (said == "private")


def test_a_form_with_one_kind_of_owner_says_plainly_what_a_new_repo_is(ada: Browser) -> None:
    page = ada.get("/new").text
    assert "<small>Public</small>" in page
    assert "(public)" not in page


def test_a_form_that_comes_back_keeps_as_the_owner_has_it(ada: Browser, acme: str) -> None:
    answer = ada.submit("/new", "/new", {"type": "model", "owner": acme, "name": "a--b", "visibility": ""})
    assert (answer.status_code, checked(answer.text)) == (400, [""])


# ---- a like ----


def hearts(page: str) -> tuple[str, bool]:
    """The count beside the heart, and whether it is this person's."""
    (found,) = re.findall(r'<(?:button|a) class="stat like( liked)?".*?<b class="num">(\d+)</b>', page, re.DOTALL)
    return found[1], bool(found[0])


def test_a_like_is_given_on_the_page_and_taken_back_by_a_second_press(rooms: Rooms, ada: Browser, app: App) -> None:
    make(rooms, "grace/tiny")
    grace = signed_in(app, "grace")
    assert hearts(ada.get("/grace/tiny").text) == ("0", False)
    assert ada.submit("/grace/tiny", "/grace/tiny/like", {}).headers["location"] == f"{PREFIX}/grace/tiny"
    assert hearts(ada.get("/grace/tiny").text) == ("1", True)
    assert hearts(grace.get("/grace/tiny").text) == ("1", False)
    grace.submit("/grace/tiny", "/grace/tiny/like", {})
    assert hearts(grace.get("/grace/tiny").text) == ("2", True)
    ada.submit("/grace/tiny", "/grace/tiny/like", {})
    assert hearts(ada.get("/grace/tiny").text) == ("1", False)


def test_a_like_leads_back_to_where_it_was_pressed_and_never_elsewhere(rooms: Rooms, ada: Browser) -> None:
    make(rooms)
    for page in ("/ada/tiny/tree/main", "/ada/tiny/commits/main?cursor="):
        assert ada.submit(page, "/ada/tiny/like", {}).headers["location"] == PREFIX + page
    for elsewhere in ("https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example"):
        answer = ada.submit("/ada/tiny", "/ada/tiny/like", {"next": elsewhere})
        assert answer.headers["location"] == f"{PREFIX}/ada/tiny"


def test_whoever_is_not_signed_in_sees_the_count_and_the_way_in(rooms: Rooms, nobody: Browser, ada: Browser) -> None:
    make(rooms)
    ada.submit("/ada/tiny", "/ada/tiny/like", {})
    page = nobody.get("/ada/tiny").text
    assert hearts(page) == ("1", False)
    assert f'href="{PREFIX}/login?next=/ada/tiny"' in page
    assert "/ada/tiny/like" not in page
    assert nobody.post("/ada/tiny/like", {}).status_code == 401


def test_T46_a_like_needs_the_pages_own_secret(rooms: Rooms, ada: Browser) -> None:
    make(rooms)
    assert ada.post("/ada/tiny/like", {}).status_code == 403
    assert hearts(ada.get("/ada/tiny").text) == ("0", False)


def test_T34_nobody_likes_what_he_does_not_see(rooms: Rooms, ada: Browser, app: App) -> None:
    make(rooms, private=True)
    make(rooms, "grace/open")
    grace = signed_in(app, "grace")
    assert grace.submit("/grace/open", "/grace/open/like", {}).status_code == 303
    secret = re.findall(r'name="csrf" value="([^"]*)"', grace.get("/grace/open").text)[0]
    assert grace.post("/ada/tiny/like", {"csrf": secret}).status_code == 404
    assert hearts(ada.get("/ada/tiny").text) == ("0", False)


# ---- recently deleted ----


def deleted(rooms: Rooms, full: str = "ada/tiny", **more: bool) -> int:
    make(rooms, full, **more)
    rid = RepoId("model", *full.split("/"))
    number = rooms.repos.registry.open(OPERATOR, rid, "read").id
    rooms.repos.registry.delete(OPERATOR, rid)
    return number


def test_a_deleted_repo_is_brought_back_from_the_page(rooms: Rooms, ada: Browser) -> None:
    number = deleted(rooms, private=True)
    page = ada.get("/settings/deleted").text
    assert "ada/tiny" in page and "Private" in page
    answer = ada.submit("/settings/deleted", "/settings/deleted/undelete", {"name": "tiny"})
    assert answer.headers["location"] == f"{PREFIX}/ada/tiny"
    assert rooms.repos.registry.by_id(number).rid.full == "ada/tiny"
    assert "Nothing was deleted lately" in ada.get("/settings/deleted").text


@pytest.mark.parametrize(("name", "status"), [("tiny", 409), ("a--b", 400), ("<marquee>", 400), ("", 400)])
def test_a_name_that_a_repo_cannot_come_back_to_is_refused_and_another_one_does(
    rooms: Rooms, ada: Browser, name: str, status: int
) -> None:
    number = deleted(rooms)
    make(rooms)
    answer = ada.submit("/settings/deleted", "/settings/deleted/undelete", {"name": name})
    assert answer.status_code == status
    assert 'role="alert"' in answer.text and "<marquee>" not in answer.text
    ada.submit("/settings/deleted", "/settings/deleted/undelete", {"name": "tiny-2"})
    assert rooms.repos.registry.by_id(number).rid.full == "ada/tiny-2"


@pytest.mark.parametrize("number", ["{}", "0", "-1", "x", "9" * 30])
def test_T35_nobody_sees_or_brings_back_what_others_deleted(rooms: Rooms, ada: Browser, app: App, number: str) -> None:
    mine = deleted(rooms)
    grace = signed_in(app, "grace")
    deleted(rooms, "grace/hers")
    assert "ada/tiny" not in grace.get("/settings/deleted").text
    fields = {"number": number.format(mine), "name": "tiny"}
    answer = grace.submit("/settings/deleted", "/settings/deleted/undelete", fields)
    assert answer.status_code == 404
    assert "ada/tiny" not in answer.text
    assert len(rooms.repos.registry.deleted(OPERATOR)) == 2


# ---- what is seen ----


def test_T33_a_private_repo_and_a_missing_one_look_the_same_to_strangers(
    rooms: Rooms, nobody: Browser, app: App
) -> None:
    make(rooms, "ada/secret", private=True)
    grace = signed_in(app, "grace")
    for tail in ("", "/tree/main", "/blob/main/README.md", "/commits/main"):
        for browser in (nobody, grace):
            hidden, missing = browser.get(f"/ada/secret{tail}"), browser.get(f"/ada/nosuch{tail}")
            assert hidden.status_code == missing.status_code == 404
            assert hidden.text.replace("secret", "nosuch") == missing.text
    assert "secret" not in nobody.get("/").text
    assert "secret" not in nobody.get("/ada").text


def test_the_owner_sees_a_private_repo_everywhere(rooms: Rooms, ada: Browser) -> None:
    make(rooms, "ada/secret", private=True)
    for path in ("/", "/ada", "/ada/secret", "/ada/secret/tree/main", "/models?search=secret"):
        answer = ada.get(path)
        assert answer.status_code == 200
        assert "Private" in answer.text


def test_a_gated_repo_shows_its_card_and_not_its_files(rooms: Rooms, nobody: Browser) -> None:
    make(rooms, "ada/gated", gated="manual")
    assert "Gated" in nobody.get("/ada/gated").text
    files = nobody.get("/ada/gated/tree/main")
    assert files.status_code == 403
    assert "Sign in" in files.text
    assert "config.json" not in files.text


def test_the_card_is_rendered_with_links_into_the_repo(rooms: Rooms, nobody: Browser) -> None:
    make(rooms)
    page = nobody.get("/ada/tiny").text
    assert f'href="{PREFIX}/ada/tiny/blob/main/config.json"' in page
    assert f'src="{PREFIX}/ada/tiny/resolve/main/x.png"' in page
    assert "license: mit" not in page
    assert "pipeline(&#34;text-generation&#34;, model=&#34;ada/tiny&#34;)" in page


def test_a_broken_front_matter_is_told_and_the_card_still_shown(rooms: Rooms, nobody: Browser) -> None:
    make(rooms, files={"README.md": b"---\na: [\n---\n# Tiny\n"})
    page = nobody.get("/ada/tiny").text
    assert "Tiny</h1>" in page
    assert "front matter" in page


def test_a_card_that_is_not_wholly_shown_says_why_and_where_it_is(rooms: Rooms, nobody: Browser) -> None:
    make(rooms, files={"README.md": b"---\nlicense: mit\n---\n"})
    make(rooms, "ada/long", files={"README.md": b"# Long\n\n" + b"some words in a line\n" * 30_000 + b"the end\n"})
    make(rooms, "ada/none", files={"a.txt": b"a"})
    bare, long, none = (nobody.get(f"/ada/{name}").text for name in ("tiny", "long", "none"))
    assert f'href="{PREFIX}/ada/tiny/blob/main/README.md">Open README.md' in bare
    assert "README.md has 630 kB: its beginning is shown." in long
    assert "Long</h1>" in long
    assert "the end" not in long
    assert ["no README.md" in page for page in (bare, long, none)] == [False, False, True]


def test_T53_a_header_of_long_names_makes_no_long_page(rooms: Rooms, nobody: Browser) -> None:
    tensors = {
        "n" * 50_000 + str(number): {"dtype": "U8", "shape": [1], "data_offsets": [number, number + 1]}
        for number in range(20)
    }
    header = json.dumps({"__metadata__": {"k" * 500_000: "v" * 500_000}, **tensors}).encode()
    make(rooms, files={"a.safetensors": struct.pack("<Q", len(header)) + header + bytes(20)})
    page = nobody.get("/ada/tiny/blob/main/a.safetensors").text
    assert page.count("n" * contents.NAME_CHARS_MAX) == 20
    assert len(page) < 50_000


def test_a_file_shows_its_lines_and_hostile_text_stays_text(rooms: Rooms, nobody: Browser) -> None:
    make(rooms, files={"<i>.txt": b"one\r\n<script>alert(1)</script>\x0bx\n"})
    page = nobody.get("/ada/tiny/blob/main/%3Ci%3E.txt").text
    assert '<span class="ln" id="L2">&lt;script&gt;' in page
    assert "L3" not in page
    assert "<i>" not in page


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("x.bin", b"\xff\xfe\x00", "binary data"),
        ("empty.txt", b"", "empty"),
        ("long.txt", b"x" * 600_000, "too large"),
        ("bad.safetensors", b"\xff" * 16, "Its header could not be read"),
        ("bad.gguf", b"GGUF\xff\xff\xff\xff", "Its header could not be read"),
    ],
)
def test_what_cannot_be_shown_is_named(rooms: Rooms, nobody: Browser, name: str, data: bytes, said: str) -> None:
    make(rooms, files={name: data})
    answer = nobody.get(f"/ada/tiny/blob/main/{name}")
    assert answer.status_code == 200
    assert said in answer.text


def test_text_that_turns_itself_round_is_told_of(rooms: Rooms, nobody: Browser) -> None:
    make(rooms, files={"a.py": "x = 1\ny = 2  # \u202e\u2066 # no\n".encode(), "b.txt": "\u0634\u0644\n".encode()})
    assert "change the order of letters, first in line 2:" in nobody.get("/ada/tiny/blob/main/a.py").text
    assert "order of letters" not in nobody.get("/ada/tiny/blob/main/b.txt").text


def test_the_menu_of_revisions_has_the_main_branch_and_the_one_shown(
    rooms: Rooms, nobody: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "REVISIONS_SHOWN", 3)
    make(rooms)
    user = rooms.accounts.actor_again(rooms.accounts.user("ada").id, None)
    repo = rooms.repos.registry.open(user, RepoId("model", "ada", "tiny"), "write")
    for name in ("a1", "a2", "a3", "a4"):
        rooms.repos.refs.create_branch(user, repo, name, "main")
    page = nobody.get("/ada/tiny/tree/a4").text
    listed = re.findall(rf'href="{PREFIX}/ada/tiny/tree/(\w+)"(?: aria-current="true")?><svg', page)
    assert listed == ["main", "a4", "a1"]


def test_a_licence_of_ones_own_is_called_by_its_name(rooms: Rooms, nobody: Browser) -> None:
    card = b"---\nlicense: %s\nlicense_name: river-licence-2\n---\n# x\n"
    make(rooms, files={"README.md": card % b"other"})
    make(rooms, "ada/free", files={"README.md": card % b"mit"})
    assert f'<a href="{PREFIX}/models?license=other">river-licence-2</a>' in nobody.get("/ada/tiny").text
    assert "river-licence-2" not in nobody.get("/ada/free").text


def test_tree_and_blob_lead_to_each_other(rooms: Rooms, nobody: Browser) -> None:
    make(rooms, files={"a/b.txt": b"x\n"})
    assert nobody.get("/ada/tiny/blob/main/a").headers["location"] == f"{PREFIX}/ada/tiny/tree/main/a"
    assert nobody.get("/ada/tiny/tree/main/a/b.txt").headers["location"] == f"{PREFIX}/ada/tiny/blob/main/a/b.txt"
    assert nobody.get("/ada/tiny/tree/main/nosuch").status_code == 404
    assert nobody.get("/ada/tiny/tree/nosuch").status_code == 404


def test_a_long_folder_has_pages_and_every_file_once(rooms: Rooms, nobody: Browser) -> None:
    wanted = {f"f{number:03}.txt" for number in range(230)}
    make(rooms, files=dict.fromkeys(wanted, b"x\n"))
    seen: list[str] = []
    path = "/ada/tiny/tree/main"
    while path:
        page = nobody.get(path).text
        seen += re.findall(r'<bdi class="clip">(f\d+\.txt)</bdi>', page)
        found = re.search(rf'rel="next" href="{PREFIX}([^"]*)"', page)
        path = unescape(found[1]) if found else ""
    assert sorted(wanted) == sorted(seen)


def test_commits_are_listed_with_hostile_titles_as_text(rooms: Rooms, nobody: Browser) -> None:
    make(rooms)
    page = nobody.get("/ada/tiny/commits/main").text
    assert "Add &lt;b&gt;files&lt;/b&gt;" in page
    assert "initial commit" in page


def test_search_filters_and_order_are_links_that_keep_each_other(rooms: Rooms, nobody: Browser) -> None:
    make(rooms, "ada/tiny")
    make(rooms, "grace/other", files={"README.md": b"---\nlicense: mit\n---\n"})
    page = nobody.get("/models?search=tiny&license=mit&sort=likes").text
    assert "<b>tiny</b>" in page
    assert "<b>other</b>" not in page
    assert 'href="/hubs/one/models?search=tiny&amp;license=mit&amp;sort=downloads"' in page
    assert '<input type="hidden" name="license" value="mit">' in page
    assert "Nothing fits" in nobody.get("/models?search=tiny&license=gpl").text


def test_a_new_hub_says_what_to_do(nobody: Browser, ada: Browser) -> None:
    assert f"export HF_ENDPOINT=http://hub.example{PREFIX}" in nobody.get("/").text
    assert "hf upload ada/my-dataset ./folder --repo-type dataset" in ada.get("/datasets").text


def test_a_name_is_a_persons_page_in_any_case_or_nobodys(nobody: Browser) -> None:
    assert "Ada Lovelace" in nobody.get("/ada").text
    assert nobody.get("/ADA").headers["location"] == f"{PREFIX}/ada"
    assert nobody.get("/nobody-here").status_code == 404


def test_a_moved_repo_is_found_under_its_old_name(rooms: Rooms, nobody: Browser) -> None:
    make(rooms)
    user = rooms.accounts.actor_again(rooms.accounts.user("ada").id, None)
    rooms.repos.registry.move(user, RepoId("model", "ada", "tiny"), RepoId("model", "ada", "small"))
    assert nobody.get("/ada/tiny").headers["location"] == f"{PREFIX}/ada/small"


def test_pages_are_kept_by_no_cache_and_static_files_for_good(nobody: Browser) -> None:
    page = nobody.get("/")
    assert page.headers["cache-control"] == "private, no-store"
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'; script-src 'self'")
    static = re.search(rf'"{PREFIX}(/static/app\.[0-9a-f]+\.css)"', page.text)
    assert static is not None
    assert "immutable" in nobody.get(static[1]).headers["cache-control"]
    assert nobody.get("/static/app.000000000000.css").status_code == 404


def test_errors_are_pages_for_browsers_and_json_for_tools(nobody: Browser) -> None:
    page = nobody.get("/ada/nosuch")
    assert page.headers["content-type"].startswith("text/html")
    assert "www-authenticate" not in page.headers
    assert page.headers["x-error-code"] == "RepoNotFound"
    assert nobody.get("/ada/nosuch", Accept="application/json").json()["code"] == "RepoNotFound"


def test_a_slash_at_the_end_is_taken_for_a_slip(rooms: Rooms, nobody: Browser) -> None:
    make(rooms)
    for path, query in (("/ada/tiny", ""), ("/models", ""), ("/ada", ""), ("/datasets", "?search=x")):
        answer = nobody.get(f"{path}/{query}")
        assert (answer.status_code, answer.headers["location"]) == (307, PREFIX + path + query)
        assert nobody.get(path + query).status_code == 200


def test_a_slash_at_the_end_never_leads_away(nobody: Browser) -> None:
    for path in ("//e.com/", "/\\e.com/", "/%5Ce.com/x/y/z/", "///"):
        location = nobody.get(path).headers.get("location", f"{PREFIX}/")
        assert location.startswith(f"{PREFIX}/"), path
        assert not location.startswith((f"{PREFIX}//", f"{PREFIX}/\\")), path


def test_what_is_missing_in_a_repo_leads_back_to_it(rooms: Rooms, nobody: Browser) -> None:
    make(rooms)
    for rest in ("/tree/nosuch", "/blob/main/nosuch", "/tree/main/no/such", "/commits/nosuch"):
        page = nobody.get(f"/ada/tiny{rest}")
        assert page.status_code == 404
        assert f'href="{PREFIX}/ada/tiny">Go to ada/tiny</a>' in page.text, rest


def test_a_form_that_comes_after_signing_out_leads_back_to_itself(nobody: Browser) -> None:
    for path in ("/new", "/settings/tokens"):
        page = nobody.post(path, {"name": "late"})
        assert page.status_code == 401
        assert f'href="{PREFIX}/login?next={path}"' in page.text.replace("%2F", "/")


def test_a_base_model_is_a_link_where_it_is_here_and_may_be_seen(rooms: Rooms, nobody: Browser, ada: Browser) -> None:
    make(rooms, "ada/base")
    make(rooms, "ada/secret", private=True)
    card = b"---\nbase_model: [ada/Base, ada/secret, far/away, 'no repo id']\n---\n# Tuned\n"
    make(rooms, "grace/tuned", files={"README.md": card})
    for viewer, seen in ((nobody, {"/ada/base"}), (ada, {"/ada/base", "/ada/secret"})):
        page = viewer.get("/grace/tuned").text
        for written in ("ada/Base", "ada/secret", "far/away", "no repo id"):
            assert f"{written}</" in page
        linked = {f"/{path}" for path in ("ada/base", "ada/secret", "far/away") if f'href="{PREFIX}/{path}"' in page}
        assert linked == seen


def test_the_documentation_is_served_and_leads_nowhere_else(nobody: Browser) -> None:
    assert nobody.get("/docs").status_code == 200
    assert nobody.get("/docs/reference/settings").status_code == 200
    for path in ("/docs/../pyproject.toml", "/docs/%2e%2e/pyproject", "/docs/nosuch"):
        assert nobody.get(path).status_code == 404
