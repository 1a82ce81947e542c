"""A request's query, body, credentials and names; whatever is malformed is a 400, never a bug."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from headwater.front.request import QUERY_FIELDS_MAX, Request
from headwater.ground.errors import HeadwaterError, Invalid, Unauthenticated
from headwater.ground.names import RepoId


def a_request(query: str = "", body: bytes = b"", params: dict[str, str] | None = None, **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("GET", "/x", query.encode(), named, "id", body=body, params=params or {})


# --- query ---


def test_the_last_value_of_a_parameter_counts() -> None:
    request = a_request("a=1&b=&a=2&c=%C3%A9+x")
    assert (request.arg("a"), request.arg("b", "default"), request.arg("c")) == ("2", "", "é x")
    assert request.arg("d", "default") == "default"


def test_lists_are_read_in_all_three_forms_that_clients_use() -> None:
    assert a_request("filter=a&filter=b,c&filter[]=d&other=e").args("filter") == ["a", "b", "c", "d"]


@pytest.mark.parametrize(("text", "expected"), [("1", True), ("True", True), ("on", True), ("0", False), ("", False)])
def test_flags(text: str, expected: bool) -> None:
    assert a_request(f"full={text}").flag("full") is expected


def test_a_number_is_cut_to_what_is_allowed() -> None:
    assert [a_request(f"limit={n}").number("limit", 10, 100) for n in ("", "1", "100", "101", "9" * 18)] == [
        10, 1, 100, 100, 100,
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "1e3", "x", "9" * 19, "%D9%A3", "%20"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="limit"):
        Request("GET", "/x", f"limit={text}".encode(), {}, "id").number("limit", 10, 100)


@pytest.mark.parametrize("query", [b"a=%ff", b"\xff", "&".join(["a=1"] * (QUERY_FIELDS_MAX + 1)).encode()])
def test_a_query_that_is_no_utf8_or_too_long_is_refused(query: bytes) -> None:
    with pytest.raises(Invalid):
        Request("GET", "/x", query, {}, "id").arg("a")


# --- bodies ---


def test_an_empty_body_is_an_empty_object() -> None:
    assert a_request().json() == {}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1} x',
        b"\xff",
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        "{}".encode("utf-16"),
    ],
)
def test_T52_json_that_is_malformed_or_ambiguous_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        a_request(body=body).json()
    assert len(refused.value.text) < 300


def test_T52_large_numbers_are_taken_or_refused_but_never_a_bug() -> None:
    for text in ("1e400", "-1e400", "9" * 100, "1" * 4000, "0." + "1" * 5000):
        try:
            a_request(body=f'{{"a": {text}}}'.encode()).json()
        except Invalid:
            continue


def test_a_form_comes_url_encoded_or_as_json() -> None:
    form = a_request(body=b"paths=a&paths=b%2Fc&expand=true")
    json = a_request(body=b'{"paths": ["a", "b/c"], "expand": true}', content_type="application/json; charset=utf-8")
    assert form.form() == json.form() == [("paths", "a"), ("paths", "b/c"), ("expand", "true")]
    assert (form.field("expand"), form.field("none", "default")) == ("true", "default")


def test_a_form_with_too_many_fields_is_refused() -> None:
    with pytest.raises(Invalid):
        a_request(body=b"&".join([b"a=1"] * 20_001)).form()


# --- who ---


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("", ""),
        ("Bearer hf_x", "hf_x"),
        ("bearer  hf_x ", "hf_x"),
        (basic("ada:hf_x"), "hf_x"),
        (basic("hf_x:"), "hf_x"),
        (basic("hf_x"), "hf_x"),
        (basic("ada:a:b"), "a:b"),
    ],
)
def test_a_token_comes_as_bearer_or_as_either_half_of_basic(header: str, token: str) -> None:
    assert a_request(authorization=header).credentials() == token


@pytest.mark.parametrize(
    "header",
    ["Basic é", "Basic !!!", "Basic " + base64.b64encode(b"\xff:\xff").decode(), "Digest x", "hf_x", "Basic YQ"],
)
def test_credentials_that_cannot_be_read_are_401_and_no_bug(header: str) -> None:
    with pytest.raises(Unauthenticated):
        a_request(authorization=header).credentials()


def test_cookies_are_found_by_their_whole_name() -> None:
    request = a_request(cookie="a=1; headwater_session=s=x ; xheadwater_session=no")
    assert request.cookie("headwater_session") == "s=x"
    assert request.cookie("session") == ""


# --- which repo ---


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"ns": "ada", "name": "x"}, RepoId("model", "ada", "x")),
        ({"name": "gpt2"}, RepoId("model", None, "gpt2")),
        ({"type": "datasets", "ns": "ada", "name": "x.git"}, RepoId("dataset", "ada", "x")),
    ],
)
def test_the_repo_of_an_address(params: dict[str, str], expected: RepoId) -> None:
    assert a_request(params=params).repo_id() == expected


@pytest.mark.parametrize(
    "params", [{"name": ".."}, {"ns": "..", "name": "x"}, {"name": "a/b"}, {"name": "x.git.git"}, {"name": "%2e"}]
)
def test_T47_a_name_that_is_none_is_refused(params: dict[str, Any]) -> None:
    with pytest.raises(HeadwaterError):
        a_request(params=params).repo_id()


def test_a_type_that_is_none_is_refused() -> None:
    with pytest.raises(Invalid):
        a_request(params={"type": "buckets", "ns": "a", "name": "b"}).repo_id()
