"""Signing in: no guessing, no telling who exists, no session from elsewhere, and no form but our own (T46)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from access_rows import ROWS, Target, key, spelled
from asgi_hub import Answer, Hub
from conftest import PASSWORD

from headwater.front.router import Route
from headwater.front.routes import ROUTES
from headwater.ground.clock import FixedClock

FORM = {"content-type": "application/x-www-form-urlencoded"}
TRIES = 4


@pytest.fixture(scope="module")
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture(scope="module")
def hub(new_hub: Callable[..., Hub], clock: FixedClock) -> Hub:
    return new_hub(clock, signin_tries_max=TRIES)


@pytest.fixture(autouse=True)
def later(clock: FixedClock) -> None:
    """Each test comes when the tries of the one before are forgotten."""
    clock.advance(601)


def sign_in(hub: Hub, name: str, password: str, client: str = "10.0.0.1", **headers: str) -> Answer:
    body = f"name={quote(name)}&password={quote(password)}&next=%2F".encode()
    return hub.post("/login", body=body, headers={**FORM, **headers}, client=client)


def cookie_of(answer: Answer) -> str:
    (cookie,) = answer.cookies
    return cookie.partition(";")[0]


# --- sessions ---


def test_T46_a_password_signs_in_and_the_cookie_is_for_this_hub_alone(hub: Hub) -> None:
    answer = sign_in(hub, "Ada", PASSWORD)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    (cookie,) = answer.cookies
    assert re.fullmatch(r"headwater_session=[0-9a-f]{64}; Path=/; Max-Age=\d+; HttpOnly; SameSite=Lax", cookie)
    me = hub.get("/api/whoami-v2", headers={"cookie": cookie_of(answer)})
    assert (me.json["name"], me.json["auth"]["type"]) == ("ada", "session")


def test_T46_over_https_the_cookie_is_secure(new_hub: Callable[..., Hub]) -> None:
    secure = new_hub(public_url="https://hub.test/models/hub")
    (cookie,) = sign_in(secure, "ada", PASSWORD).cookies
    assert "; Secure" in cookie
    assert "; Path=/models/hub;" in cookie


def test_T46_a_planted_session_is_worth_nothing_and_is_replaced(hub: Hub) -> None:
    planted = "f" * 64
    assert hub.get("/api/whoami-v2", headers={"cookie": f"headwater_session={planted}"}).status == 401
    answer = sign_in(hub, "ada", PASSWORD, cookie=f"headwater_session={planted}")
    assert planted not in cookie_of(answer)
    assert hub.get("/api/whoami-v2", headers={"cookie": f"headwater_session={planted}"}).status == 401


def test_T46_signing_in_again_ends_the_session_that_was(hub: Hub) -> None:
    browser = hub.session("sam")
    answer = sign_in(hub, "ada", PASSWORD, **browser)
    assert answer.status == 303
    assert hub.get("/api/whoami-v2", headers={"cookie": browser["cookie"]}).status == 401
    assert hub.get("/api/whoami-v2", headers={"cookie": cookie_of(answer)}).json["name"] == "ada"


def test_T46_signing_out_ends_it_and_clears_the_cookie(hub: Hub) -> None:
    browser = hub.session("ada")
    answer = hub.post(
        "/logout",
        headers=browser,
        body=b"",
    )
    assert (answer.status, cookie_of(answer)) == (303, "headwater_session=")
    assert "Max-Age=0" in answer.cookies[0]
    assert hub.get("/api/whoami-v2", headers={"cookie": browser["cookie"]}).status == 401


def test_T46_a_session_ends_with_its_time(hub: Hub, clock: FixedClock) -> None:
    browser = hub.session("ada")
    clock.advance(hub.rooms.settings.session_s - 5)
    assert hub.get("/api/whoami-v2", headers=browser).status == 200
    clock.advance(5)
    assert hub.get("/api/whoami-v2", headers=browser).status == 401


def test_T46_a_one_time_link_signs_in_once_and_asks_first(hub: Hub, clock: FixedClock) -> None:
    user_id = hub.actor("sam").user_id or 0
    secret = hub.rooms.accounts.make_signin_link(user_id)
    for _ in range(3):  # a mail scanner that follows it uses nothing up
        assert hub.get(f"/login/link/{secret}").status == 200
    body = f"secret={secret}".encode()
    answer = hub.post("/login/link", body=body, headers=FORM)
    assert answer.status == 303
    assert hub.get("/api/whoami-v2", headers={"cookie": cookie_of(answer)}).json["name"] == "sam"
    again = hub.post("/login/link", body=body, headers=FORM)
    assert (again.status, again.cookies) == (401, ())
    late = hub.rooms.accounts.make_signin_link(user_id)
    clock.advance(hub.rooms.settings.signin_link_s)
    assert hub.post("/login/link", body=f"secret={late}".encode(), headers=FORM).status == 401


@pytest.mark.parametrize(
    "after",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil",
        "javascript:alert(1)",
        "/a\nb",
        "/%0d%0a",
        "",
    ],
)
def test_T46_after_signing_in_one_stays_on_this_hub(hub: Hub, after: str) -> None:
    body = f"name=ada&password={quote(PASSWORD)}&next={quote(after)}".encode()
    location = hub.post("/login", body=body, headers=FORM).headers["location"]
    assert location.startswith("/")
    assert not location.startswith(("//", "/\\"))
    assert "\n" not in location


# --- guessing ---


def test_T46_a_wrong_name_and_a_wrong_password_are_told_alike(hub: Hub) -> None:
    wrong = sign_in(hub, "ada", "wrong password!", client="10.1.0.1")
    nobody = sign_in(hub, "nob", "wrong password!", client="10.1.0.2")
    no_password = sign_in(hub, "sam", "wrong password!", client="10.1.0.3")
    disabled_id = "wim"
    hub.rooms.accounts.disable(hub.actor("root"), disabled_id)
    disabled = sign_in(hub, "wim", "wrong password!", client="10.1.0.4")
    hub.rooms.accounts.enable(hub.actor("root"), disabled_id)
    told = {
        (a.status, a.cookies, re.sub(r'value="(ada|nob|sam|wim)"', "NAME", a.text))
        for a in (wrong, nobody, no_password, disabled)
    }
    assert len(told) == 1
    assert wrong.status == 401
    assert "Wrong name or password" in wrong.text


@pytest.mark.parametrize("name", ["ada", "nobody-at-all"])
def test_T46_guesses_at_an_account_end_in_429_whether_it_exists_or_not(hub: Hub, name: str) -> None:
    answers = [sign_in(hub, name, f"guess {i}", client=f"10.2.{i}.1") for i in range(TRIES + 1)]
    assert [answer.status for answer in answers] == [401] * TRIES + [429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 600
    assert sign_in(hub, name.upper(), PASSWORD, client="10.9.9.9").status == 429  # even with the right one


def test_T46_guesses_from_one_address_end_in_429_whatever_the_names(hub: Hub, clock: FixedClock) -> None:
    answers = [sign_in(hub, f"name{i}", "guess") for i in range(TRIES + 1)]
    assert [answer.status for answer in answers] == [401] * TRIES + [429]
    assert sign_in(hub, "ada", PASSWORD, client="10.0.0.2").status == 303
    clock.advance(600)
    assert sign_in(hub, "ada", PASSWORD).status == 303


def test_T46_an_address_in_a_header_is_believed_of_a_trusted_proxy_only(hub: Hub, new_hub: Callable[..., Hub]) -> None:
    for i in range(TRIES):
        sign_in(hub, f"x{i}", "guess", **{"x-forwarded-for": f"10.3.0.{i}"})
    assert sign_in(hub, "x9", "guess", **{"x-forwarded-for": "10.3.0.99"}).status == 429
    proxied = new_hub(signin_tries_max=TRIES, trusted_proxies="10.0.0.1")
    for i in range(TRIES + 2):
        assert sign_in(proxied, f"x{i}", "guess", **{"x-forwarded-for": f"1.1.1.1, 10.3.0.{i}"}).status == 401


def test_T46_successful_sign_ins_are_not_counted(hub: Hub) -> None:
    assert [sign_in(hub, "ada", PASSWORD).status for _ in range(TRIES + 2)] == [303] * (TRIES + 2)


def test_T46_a_password_of_a_megabyte_costs_nothing(hub: Hub) -> None:
    assert sign_in(hub, "ada", "x" * (1 << 20), client="10.4.0.1").status == 401
    assert sign_in(hub, "a" * (1 << 20), PASSWORD, client="10.4.0.2").status == 401
    assert sign_in(hub, "ada", "\x00", client="10.4.0.3").status == 401


# --- forms from elsewhere ---


def cookie_writes() -> list[Any]:
    changing = [route for route in ROUTES if route.method != "GET" and route.auth == "actor"]
    return [pytest.param(route, id=f"{route.method} {route.pattern}") for route in changing]


@pytest.mark.parametrize("route", cookie_writes())
def test_T46_every_write_by_cookie_needs_the_pages_own_secret(hub: Hub, route: Route) -> None:
    """Generated from the route table: a new route is tried as soon as it is there."""
    repo = shared_repo(hub)
    row = ROWS[key(route)]
    target = Target(hub, "model", repo, me="ada")
    target = row.before(target) if row.before else target
    browser = hub.session("ada")
    address = spelled(route, row, target)
    given = row.json(target) if callable(row.json) else row.json
    body = row.body(target) if callable(row.body) else row.body
    for csrf in (
        {},
        {"x-csrf-token": ""},
        {"x-csrf-token": "0" * 64},
        {"x-csrf-token": hub.session("sam")["x-csrf-token"]},
    ):
        headers = {**row.headers, "cookie": browser["cookie"], **csrf}
        answer = hub.send(route.method, address, headers=headers, json=given, body=body)
        assert (answer.status, answer.code) == (403, "Forbidden")
        assert "another site" in answer.error
    in_form = f"csrf={browser['x-csrf-token'][:-1]}x".encode()
    if body is None:
        answer = hub.send(route.method, address, headers={"cookie": browser["cookie"], **FORM}, body=in_form)
        assert answer.status == 403


_SHARED: dict[int, str] = {}


def shared_repo(hub: Hub) -> str:
    if id(hub) not in _SHARED:
        _SHARED[id(hub)] = hub.repo()
    return _SHARED[id(hub)]


def test_T46_the_secret_of_the_form_lets_the_form_through(hub: Hub) -> None:
    browser = hub.session("ada")
    name = hub.name()
    body = f"csrf={browser['x-csrf-token']}&type=model&owner=ada&name={name}&visibility=private".encode()
    answer = hub.post("/new", headers={"cookie": browser["cookie"], **FORM}, body=body)
    assert (303, f"/ada/{name}") == (answer.status, answer.headers["location"])
    page = hub.get("/new", headers={"cookie": browser["cookie"]})
    assert browser["x-csrf-token"] in page.text


def test_T46_a_token_needs_no_such_secret_and_a_cookie_beside_it_changes_nothing(hub: Hub) -> None:
    browser = hub.session("sam")
    answer = hub.post("/api/repos/create", "ada", json={"name": hub.name()}, headers={"cookie": browser["cookie"]})
    assert answer.json["id"].startswith("ada/")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://hub.test.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
    ],
    ids=str,
)
def test_T46_nobody_is_signed_in_by_a_form_of_another_site(hub: Hub, headers: dict[str, str]) -> None:
    refused = sign_in(hub, "ada", PASSWORD, **headers)
    assert (refused.status, refused.code, refused.cookies) == (401, "Forbidden", ())
    link = hub.rooms.accounts.make_signin_link(hub.actor("sam").user_id or 0)
    assert hub.post("/login/link", body=f"secret={link}".encode(), headers={**FORM, **headers}).code == "Forbidden"
    assert hub.post("/login/link", body=f"secret={link}".encode(), headers=FORM).status == 303  # it was not used up


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://hub.test"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"host": "10.0.0.5:8411", "origin": "http://10.0.0.5:8411"},
    ],
    ids=str,
)
def test_T46_our_own_form_signs_in(hub: Hub, headers: dict[str, str]) -> None:
    assert sign_in(hub, "ada", PASSWORD, **headers).status == 303


def test_T46_pages_let_no_other_site_frame_or_script_them(hub: Hub) -> None:
    for address in ("/", "/login", "/new", "/settings/tokens"):
        policy = hub.get(address, headers=hub.session("ada"))
        if policy.status == 303:
            continue
        said = policy.headers["content-security-policy"]
        for rule in ("default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"):
            assert rule in said
        assert "unsafe" not in said


def test_T46_a_browser_without_a_session_is_sent_to_sign_in_and_back(hub: Hub) -> None:
    answer = hub.get("/settings/tokens", headers={"accept": "text/html"})
    assert (answer.status, answer.headers["location"]) == (303, "/login?next=%2Fsettings%2Ftokens")
